package up

import (
	"context"
	"time"

	"godwit/projections/owner"
)

// tellEvery is how often a long start says how far it is.
const tellEvery = 10 * time.Second

// openViews opens the views that this process keeps.
func (p *process) openViews(ctx context.Context) error {
	ctx, cancel := p.opening(ctx)
	defer cancel()
	owners, err := owner.Open(ctx, owner.Config{Bus: p.bus, Dir: p.dir.Views(), Logger: p.log.With("part", "owner")})
	if err != nil {
		return err
	}
	p.owners = owners
	p.close(owners)
	registerViews(p.registry, p.bus, owners)
	return nil
}

func (p *process) startViews(context.Context) error {
	p.stages.start("owner", p.owners.Run)
	return nil
}

// await waits until done is closed, and says meanwhile how far the views are.
func (p *process) await(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case err := <-p.stages.failed:
			return err
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p.tellFolds(ctx)
	}
}

func (p *process) tellFolds(ctx context.Context) {
	if p.owners == nil {
		return
	}
	for _, s := range p.bus.Streams() {
		v := p.owners.View(s)
		if v == nil {
			continue
		}
		if last, err := p.bus.LastSequence(ctx, s); err == nil && v.Folded() < last {
			p.log.Info("replaying", "view", v.Name(), "seq", v.Folded(), "of", last)
		}
	}
}

// awaitViews waits until the process can do its work.
func (p *process) awaitViews(ctx context.Context) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for told := time.Now(); ; {
		if p.owners.Ready() == nil || p.warm(ctx) {
			return nil
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			p.tellFolds(ctx)
		}
		select {
		case err := <-p.stages.failed:
			return err
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// warm tells whether every view has come to the end of its stream.
func (p *process) warm(ctx context.Context) bool {
	for _, s := range p.bus.Streams() {
		v := p.owners.View(s)
		if v == nil {
			continue
		}
		if last, err := p.bus.LastSequence(ctx, s); err != nil || v.Folded() < last {
			return false
		}
	}
	return true
}

package up

import (
	"cmp"
	"context"
	"time"

	"godwit/bus"
	"godwit/projections/owner"
)

// tellEvery is how often a long start says how far it is.
const tellEvery = 10 * time.Second

// openViews opens the views that this process keeps.
func (p *process) openViews(ctx context.Context) error {
	ctx, cancel := p.opening(ctx)
	defer cancel()
	cfg := owner.Config{Bus: p.bus, Dir: p.dir.Views(), Standbys: p.cfg.Standbys, Registerer: p.registry, Logger: p.log.With("part", "owner")}
	if p.role == bus.RoleProjector {
		var err error
		if cfg.Snapshots, err = p.bus.Objects(ctx, snapshotStore(p.cfg)); err != nil {
			return err
		}
	}
	owners, err := owner.Open(ctx, cfg)
	if err != nil {
		return err
	}
	p.owners = owners
	p.close(owners)
	p.registry.MustRegister(viewCollector{owners})
	return nil
}

// DefaultSnapshotStore is Config.SnapshotStore where nothing else is said.
const DefaultSnapshotStore = 16 << 30

// snapshotStore holds copies of views, for projectors that lack them.
func snapshotStore(cfg Config) bus.StoreConfig {
	return bus.StoreConfig{Name: bus.SnapshotsStore, MaxBytes: int64(cmp.Or(cfg.SnapshotStore, DefaultSnapshotStore))}
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

// awaitViews waits until the views have caught up.
func (p *process) awaitViews(ctx context.Context) error {
	done := make(chan struct{})
	look, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(done)
		for p.owners.Ready() != nil {
			select {
			case <-look.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	err := p.await(ctx, done)
	stop()
	<-done
	return err
}

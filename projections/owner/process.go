package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/projections/people"
	"godwit/projections/presence"
	"godwit/projections/timeline"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"

	"golang.org/x/sync/errgroup"
)

// Intervals and limits of the fan-out (design section 6).
const (
	heartbeatEvery = 250 * time.Millisecond
	forgetAfter    = 10 * time.Second
	frameSoftLimit = 256 << 10
	pageSoftLimit  = 512 << 10
	pageLimit      = 768 << 10
	// audienceSoftLimit is the size up to which an audience never gets a frame of its own.
	audienceSoftLimit = 1 << 10
	queryWorkers      = 8
)

// Config of a Process.
type Config struct {
	Bus    *bus.Bus
	Dir    string         // where the view files lie
	Owns   []event.Stream // streams to follow and stand for; nil: all
	Logger *slog.Logger

	// ForgetAfter is how long a node may be silent before its users are forgotten;
	// default 10 s.
	ForgetAfter time.Duration
	// EffectsHeld replaces view.EffectsHeld in tests.
	EffectsHeld uint64
}

// Process is the set of views that one process keeps.
type Process struct {
	cfg     Config
	bus     *bus.Bus
	log     *slog.Logger
	streams map[event.Stream]*stream

	mu    sync.Mutex
	lives map[event.ID]time.Time // nodes heard, and when
}

// fold is what the owner needs of a projection.
type fold interface {
	view.Fold
	Answer(r *view.Reader, q *query.Request) *query.Answer
}

// FoldFor makes the projection of a stream.
func FoldFor(s event.Stream) view.Fold { return foldFor(s) }

func foldFor(s event.Stream) fold {
	switch s {
	case event.People:
		return people.New()
	case event.Presence:
		return presence.New()
	}
	return timeline.New(s.Partition())
}

// Open opens (or begins) the views. It fails only for what the operator has to
// mend, such as a directory that can't be written.
func Open(ctx context.Context, cfg Config) (*Process, error) {
	cfg.ForgetAfter = cmp.Or(cfg.ForgetAfter, forgetAfter)
	p := &Process{cfg: cfg, bus: cfg.Bus, log: cfg.Logger, streams: map[event.Stream]*stream{}, lives: map[event.ID]time.Time{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	owns := cfg.Owns
	if owns == nil {
		owns = cfg.Bus.Streams()
	}
	for _, s := range owns {
		st, err := p.open(ctx, s)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.streams[s] = st
	}
	return p, nil
}

func (p *Process) open(ctx context.Context, s event.Stream) (*stream, error) {
	f := foldFor(s)
	v, err := view.Open(view.Config{Dir: p.cfg.Dir, Fold: f, Log: p.bus.LogID(), Logger: p.log, EffectsHeld: p.cfg.EffectsHeld})
	if err != nil {
		return nil, fmt.Errorf("open view %s: %w", f.Name(), err)
	}
	st := &stream{p: p, s: s, fold: f, view: v, nodes: map[event.ID]*node{}, advanced: make(chan struct{})}
	epoch, err := p.bus.Epoch(ctx, s)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoch of %s: %w", s, err), v.Close())
	}
	switch v.Epoch() {
	case epoch:
	case event.ID{}:
		v.SetEpoch(epoch)
	default:
		p.log.Warn("view is of another epoch, replaying", "view", f.Name())
		if err := v.Reset(epoch); err != nil {
			return nil, errors.Join(fmt.Errorf("reset view %s: %w", f.Name(), err), v.Close())
		}
	}
	return st, nil
}

// Close commits and closes the views; Run must have returned.
func (p *Process) Close() error {
	var errs []error
	for _, st := range p.streams {
		errs = append(errs, st.view.Close())
	}
	return errors.Join(errs...)
}

// Run follows, folds, fans out and answers until ctx ends. A view that can't go on
// (an unknown rule) stops alone and is told by Ready.
func (p *Process) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	stopBeats, err := p.bus.ReceiveBeats(p.heard)
	if err != nil {
		return fmt.Errorf("receive beats: %w", err)
	}
	defer stopBeats()
	type service struct {
		subject, queue string
		workers        int
		handle         func(context.Context, []byte) []byte
	}
	own := p.bus.Process()
	services := []service{
		// One worker: a node's attaches are applied in the order they were sent.
		{bus.OwnerSubject(own, "attach"), "", 1, p.attach},
		{bus.OwnerSubject(own, "changes"), "", queryWorkers, p.changes},
		{bus.OwnerSubject(own, "resync"), "", 2, p.resync},
		{bus.OwnerSubject(own, "query"), "", queryWorkers, p.queryTimeline},
		{bus.OwnerSubject(own, "relay"), "", relayWorkers, p.relay},
	}
	if st := p.streams[event.People]; st != nil {
		services = append(services, service{bus.PeopleQuery, "views", queryWorkers, p.queryOne(st)})
	}
	if st := p.streams[event.Presence]; st != nil {
		services = append(services, service{bus.PresenceQuery, "views", queryWorkers, p.queryOne(st)})
	}
	for _, s := range services {
		stop, err := p.bus.Serve(s.subject, s.queue, s.workers, s.handle)
		if err != nil {
			return fmt.Errorf("serve %s: %w", s.subject, err)
		}
		defer stop()
	}
	for _, st := range p.streams {
		g.Go(func() error { return st.follow(ctx) })
		g.Go(func() error { return st.hold(ctx) })
	}
	g.Go(func() error { return p.beat(ctx) })
	err = g.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ready is nil when every view is folded to within a second of its stream and
// fans out; else it says what is missing.
func (p *Process) Ready() error {
	for _, st := range p.streams {
		if err := st.ready(); err != nil {
			return err
		}
	}
	return nil
}

// View is the view of stream s, nil if this process does not keep it.
func (p *Process) View(s event.Stream) *view.View {
	if st := p.streams[s]; st != nil {
		return st.view
	}
	return nil
}

// heard notes a node's beat; one that is new is greeted with a heartbeat at once.
func (p *Process) heard(data []byte) {
	var b frame.Beat
	if err := proto.Unmarshal(data, &b); err != nil {
		return
	}
	life := event.ToID(b.Life)
	p.mu.Lock()
	_, known := p.lives[life]
	if b.Stopping {
		if known {
			p.lives[life] = time.Time{} // forgotten with what the streams know of it
		}
	} else {
		p.lives[life] = time.Now()
	}
	p.mu.Unlock()
	if !known && !b.Stopping {
		p.heartbeat(life)
	}
}

// met notes a node that attaches, so that it is forgotten also if it is never heard.
func (p *Process) met(life event.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.lives[life]; !known {
		p.lives[life] = time.Now()
	}
}

// beat sends heartbeats and forgets nodes that fell silent.
func (p *Process) beat(ctx context.Context) error {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now := time.Now()
		var live, gone []event.ID
		p.mu.Lock()
		for life, at := range p.lives {
			if now.Sub(at) > p.cfg.ForgetAfter {
				delete(p.lives, life)
				gone = append(gone, life)
			} else {
				live = append(live, life)
			}
		}
		p.mu.Unlock()
		for _, life := range gone {
			for _, st := range p.streams {
				st.forget(life)
			}
		}
		for _, life := range live {
			p.heartbeat(life)
		}
		for _, st := range p.streams {
			st.mend()
		}
	}
}

func (p *Process) heartbeat(life event.ID) {
	h := &frame.Heartbeat{Owner: p.bus.Process()}
	for _, st := range p.streams {
		if e := st.heartbeat(life); e != nil {
			h.Streams = append(h.Streams, e)
		}
	}
	if len(h.Streams) == 0 {
		return
	}
	b, err := proto.Marshal(&frame.Push{Body: &frame.Push_Heartbeat{Heartbeat: h}})
	if err != nil {
		p.log.Error("encode heartbeat", "err", err)
		return
	}
	if err := p.bus.Push(life, b); err != nil {
		p.log.Debug("send heartbeat", "life", life, "err", err)
	}
}

package owner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/projections/people"
	"godwit/projections/presence"
	"godwit/projections/timeline"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
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
	Dir    string // where the view files lie
	Logger *slog.Logger

	// Standbys is how many other projectors keep a timeline warm beside its owner; default
	// 1, below 0 all of them. All projectors should say the same.
	Standbys int
	// Snapshots is where owners put copies of their views, and processes that lack a view
	// take them from; nil: neither.
	Snapshots *bus.Objects
	// A snapshot is written when SnapshotRecords have been folded since the last one and
	// it is SnapshotEvery old; default 50,000 and 10 minutes. One is taken where the own
	// file is SnapshotRecords behind it.
	SnapshotRecords uint64
	SnapshotEvery   time.Duration
	Registerer      prometheus.Registerer // of the metrics; nil: none

	// Owns are the streams to follow and stand for, whoever else is there; nil: what
	// falls to this process among all that are. For tests.
	Owns []event.Stream
	// ForgetAfter is how long a node may be silent before its users are forgotten;
	// default 10 s.
	ForgetAfter time.Duration
	// EffectsHeld replaces view.EffectsHeld in tests.
	EffectsHeld uint64
}

func (c *Config) defaults() {
	c.ForgetAfter = cmp.Or(c.ForgetAfter, forgetAfter)
	c.Standbys = cmp.Or(c.Standbys, 1)
	c.SnapshotRecords = cmp.Or(c.SnapshotRecords, 50_000)
	c.SnapshotEvery = cmp.Or(c.SnapshotEvery, 10*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Process is the set of views that one process keeps.
type Process struct {
	cfg  Config
	bus  *bus.Bus
	log  *slog.Logger
	host string
	pace pace

	smu      sync.RWMutex
	streams  map[event.Stream]*stream
	opening  map[event.Stream]bool // or closing
	unopened map[event.Stream]error
	left     map[event.Stream]bool // their owners have said that they stop
	duties   map[event.Stream]duty // as they were looked at last

	roster    roster
	others    atomic.Int64 // projectors that are heard, but this one
	leaving   atomic.Bool
	balancer  balancer
	news      chan struct{} // who is there has changed
	beatNow   chan struct{}
	openings  chan struct{}  // as many views at a time
	work      sync.WaitGroup // all that Run has begun
	stopHears func()
	count     counts

	// Of Run: what a stream runs in, and what it tries to own in.
	working, holding context.Context

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

// Open finds out who else keeps views. Where there is nobody, and no store of snapshots,
// it opens (or begins) them all; else Run does with what falls to this process. It fails
// only for what the operator has to mend, such as a directory that can't be written.
func Open(ctx context.Context, cfg Config) (*Process, error) {
	cfg.defaults()
	p := &Process{
		cfg: cfg, bus: cfg.Bus, log: cfg.Logger, pace: usualPace,
		streams: map[event.Stream]*stream{}, opening: map[event.Stream]bool{}, unopened: map[event.Stream]error{},
		left: map[event.Stream]bool{}, lives: map[event.ID]time.Time{},
		balancer: balancer{duties: map[event.Stream]*duty{}},
		news:     make(chan struct{}, 1), beatNow: make(chan struct{}, 1), openings: make(chan struct{}, 2),
	}
	p.roster.self = cfg.Bus.Process()
	p.host, _ = os.Hostname() // for people
	if err := p.clean(); err != nil {
		return nil, err
	}
	if err := p.register(cfg.Registerer); err != nil {
		return nil, err
	}
	owns := cfg.Owns
	if owns == nil {
		stop, err := p.bus.ReceiveProjectorBeats(p.hearProjector)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("receive beats: %w", err), p.Close())
		}
		p.stopHears = stop
		others, err := p.callRoll(ctx)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		if !others && cfg.Snapshots == nil {
			owns = cfg.Bus.Streams()
		}
	}
	for _, s := range owns {
		st, err := p.open(ctx, s)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.add(st)
	}
	return p, nil
}

// leftovers are what a process leaves in its directory when it is killed: views that were
// built beside the present ones, and snapshots on their way.
var leftovers = []string{".replay-*", ".snapshot-*"}

// clean removes them, and finds out whether the directory can be written.
func (p *Process) clean() error {
	for _, pattern := range leftovers {
		left, err := filepath.Glob(filepath.Join(p.cfg.Dir, pattern))
		if err != nil {
			return fmt.Errorf("directory of the views: %w", err)
		}
		for _, path := range left {
			if err := os.RemoveAll(path); err != nil {
				return fmt.Errorf("directory of the views: %w", err)
			}
			p.log.Info("a leftover was removed", "path", path)
		}
	}
	probe, err := os.CreateTemp(p.cfg.Dir, ".snapshot-")
	if err != nil {
		return fmt.Errorf("directory of the views: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func (p *Process) open(ctx context.Context, s event.Stream) (*stream, error) {
	f := foldFor(s)
	epoch, err := p.bus.Epoch(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("epoch of %s: %w", s, err)
	}
	took := taker{p: p, ctx: ctx, s: s, fold: f, epoch: epoch}
	v, err := view.Open(view.Config{Dir: p.cfg.Dir, Fold: f, Log: p.bus.LogID(), Logger: p.log, EffectsHeld: p.cfg.EffectsHeld, Newer: took.newer()})
	if err != nil {
		return nil, fmt.Errorf("open view %s: %w", f.Name(), err)
	}
	st := &stream{p: p, s: s, fold: f, view: v, nodes: map[event.ID]*node{}, advanced: make(chan struct{}), rank: -1, ranked: make(chan struct{})}
	if p.cfg.Owns != nil {
		st.rank = 0
	}
	switch cp := v.Checkpoint(); {
	case took.sequence != 0 && cp.Sequence == took.sequence && !took.is(cp):
		p.log.Error("a snapshot holds another position than it says, replaying", "view", f.Name())
		err = v.Reset(epoch)
	case cp.Epoch == epoch:
	case cp.Epoch == event.ID{}:
		v.SetEpoch(epoch)
	default:
		p.log.Warn("view is of another epoch, replaying", "view", f.Name())
		err = v.Reset(epoch)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reset view %s: %w", f.Name(), err), v.Close())
	}
	return st, nil
}

// stream is one that this process keeps, nil if it does not.
func (p *Process) stream(s event.Stream) *stream {
	p.smu.RLock()
	defer p.smu.RUnlock()
	return p.streams[s]
}

// all are the streams that this process keeps, by number.
func (p *Process) all() []*stream {
	p.smu.RLock()
	defer p.smu.RUnlock()
	return slices.SortedFunc(maps.Values(p.streams), func(a, b *stream) int { return cmp.Compare(a.s, b.s) })
}

func (p *Process) add(st *stream) {
	p.smu.Lock()
	defer p.smu.Unlock()
	p.streams[st.s] = st
}

// Close commits and closes the views; Run must have returned.
func (p *Process) Close() error {
	if p.stopHears != nil {
		p.stopHears()
	}
	p.unregister(p.cfg.Registerer)
	var errs []error
	for _, st := range p.all() {
		errs = append(errs, st.view.Close())
	}
	return errors.Join(errs...)
}

// goodbye is how long others get to learn that this process is about to give up what it
// owns, so that they stand ready.
const goodbye = 100 * time.Millisecond

// Run follows, folds, fans out and answers until ctx ends; what it owns it then gives up
// before anything else, so that another can go on. A view that can't go on (an unknown
// rule) stops alone and is told by Ready.
func (p *Process) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	hold, letGo := context.WithCancel(work)
	defer letGo()
	p.working, p.holding = work, hold
	stopBeats, err := p.bus.ReceiveBeats(p.heard)
	if err != nil {
		return fmt.Errorf("receive beats: %w", err)
	}
	defer stopBeats()
	type service struct {
		subject string
		workers int
		handle  func(context.Context, []byte) []byte
	}
	own := p.bus.Process()
	services := []service{
		// One worker: a node's attaches are applied in the order they were sent.
		{bus.OwnerSubject(own, "attach"), 1, p.attach},
		{bus.OwnerSubject(own, "changes"), queryWorkers, p.changes},
		{bus.OwnerSubject(own, "resync"), 2, p.resync},
		{bus.OwnerSubject(own, "query"), queryWorkers, p.queryTimeline},
		{bus.OwnerSubject(own, "relay"), relayWorkers, p.relay},
	}
	for _, s := range services {
		stop, err := p.bus.Serve(s.subject, "", s.workers, s.handle)
		if err != nil {
			return fmt.Errorf("serve %s: %w", s.subject, err)
		}
		defer stop()
	}
	for _, st := range p.all() {
		p.start(st)
	}
	p.work.Go(func() { p.beat(work) })
	if p.cfg.Owns == nil {
		p.work.Go(func() { p.tellProjectors(work) })
		p.work.Go(func() { p.balance(hold) })
	}
	if p.cfg.Snapshots != nil {
		p.work.Go(func() { p.writeSnapshots(hold) })
	}
	<-ctx.Done()

	p.leaving.Store(true)
	if p.others.Load() > 0 {
		p.nudge(p.beatNow)
		time.Sleep(goodbye)
	}
	letGo()
	for _, st := range p.all() {
		st.awaitHeld()
	}
	stop()
	p.work.Wait()
	for _, st := range p.all() {
		st.stopAll()
	}
	return nil
}

// start has a stream followed and stood for. Who finds a stream among the process's own may
// wait for its end, so one that is opened while others run is started first.
func (p *Process) start(st *stream) {
	work, stop := context.WithCancel(p.working)
	hold, letGo := context.WithCancel(p.holding)
	st.stop, st.letGo = stop, letGo
	st.followed.Go(func() { st.follow(work) })
	st.followed.Go(func() { st.watch(work) })
	st.held.Go(func() { st.hold(hold) })
	st.followed.Go(func() { st.serve(work) })
}

// stopAll ends what start began.
func (st *stream) stopAll() {
	if st.stop == nil {
		return
	}
	st.letGo()
	st.awaitHeld()
	st.stop()
	st.followed.Wait()
}

// awaitHeld waits until the lease has been given up. A fold that waits for a full disk stands
// in the way, and is ended.
func (st *stream) awaitHeld() {
	given := make(chan struct{})
	go func() { st.held.Wait(); close(given) }()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-given:
			return
		case <-look.C:
			if st.view.Healthy() != nil {
				st.view.Interrupt()
			}
		}
	}
}

// serve answers for a view that every projector keeps, from when it has caught up.
func (st *stream) serve(ctx context.Context) {
	subject := map[event.Stream]string{event.People: bus.PeopleQuery, event.Presence: bus.PresenceQuery}[st.s]
	if subject == "" {
		return
	}
	if _, ok := st.catchUp(ctx, nil); !ok {
		return
	}
	stop, err := st.p.bus.Serve(subject, "views", queryWorkers, st.p.queryOne(st))
	if err != nil {
		if ctx.Err() == nil {
			st.p.log.Error("questions are not answered", "view", st.fold.Name(), "err", err)
		}
		return
	}
	defer stop()
	<-ctx.Done()
}

// View is the view of stream s, nil if this process does not keep it.
func (p *Process) View(s event.Stream) *view.View {
	if st := p.stream(s); st != nil {
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
func (p *Process) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
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
			for _, st := range p.all() {
				st.forget(life)
			}
		}
		for _, life := range live {
			p.heartbeat(life)
		}
		for _, st := range p.all() {
			st.mend()
		}
	}
}

// greet sends every node a heartbeat at once, for there is something new in it.
func (p *Process) greet() {
	p.mu.Lock()
	lives := slices.Collect(maps.Keys(p.lives))
	p.mu.Unlock()
	for _, life := range lives {
		p.heartbeat(life)
	}
}

func (p *Process) heartbeat(life event.ID) {
	h := &frame.Heartbeat{Owner: p.bus.Process()}
	for _, st := range p.all() {
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

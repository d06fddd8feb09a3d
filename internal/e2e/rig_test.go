package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/connector"
	"godwit/connector/delivery"
	"godwit/internal/admin"
	"godwit/internal/password"
	"godwit/internal/watch"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// rig is the parts of the program in this process, as many of each as a test wants,
// on one log. Every part has a link of its own to the log's server.
type rig struct {
	t      *testing.T
	nats   *natsd.Server
	store  string // its directory
	log    *slog.Logger
	lines  *output
	hasher *password.Hasher
	frames frames
	edges  []*edge
	hooks  *bus.Hooks        // of the edges to come
	see    func(data []byte) // is shown what owners send

	ends [phases][]func() // what ends the parts, by phase
}

// The parts end in the order in which each can still do its last work.
const (
	endEdges = iota
	endOwners
	endBuses
	endLog
	phases
)

func (r *rig) atEnd(phase int, f func()) { r.ends[phase] = append(r.ends[phase], f) }

const rigPartitions = 3

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, store: t.TempDir(), lines: newOutput()}
	r.startLog(natsd.RANDOM_PORT)
	var err error
	r.log = slog.New(slog.NewTextHandler(r.lines, nil))
	if r.hasher, err = password.NewHasher(password.Cost{MemoryKiB: 64, Iterations: 1}); err != nil {
		t.Fatal(err)
	}
	r.atEnd(endLog, func() {
		r.nats.Shutdown()
		r.nats.WaitForShutdown()
	})
	t.Cleanup(func() {
		for _, ends := range r.ends {
			for _, end := range slices.Backward(ends) {
				end()
			}
		}
		if t.Failed() {
			t.Logf("the end of the log:\n%s", r.lines.tail())
		}
	})
	return r
}

func (r *rig) startLog(port int) {
	r.t.Helper()
	s, err := natsd.NewServer(&natsd.Options{
		ServerName: "log", Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: r.store, MaxPayload: 1 << 20,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		r.t.Fatal("nats-server did not start")
	}
	r.nats = s
}

// restartLog stops the log's server, calls between, and starts it at the same port.
func (r *rig) restartLog(between func()) {
	r.t.Helper()
	port := r.nats.Addr().(*net.TCPAddr).Port
	r.nats.Shutdown()
	r.nats.WaitForShutdown()
	between()
	r.startLog(port)
}

// open opens a bus over a link of its own.
func (r *rig) open(name string, hooks *bus.Hooks) (*bus.Bus, *link) {
	r.t.Helper()
	l := newLink(r)
	b, err := bus.Open(r.t.Context(), bus.Config{
		URL: "nats://" + l.addr, Partitions: rigPartitions, Process: name, Hooks: hooks, Logger: r.log.With("at", name),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.atEnd(endBuses, func() {
		l.mend()
		if err := b.Close(); err != nil {
			r.t.Errorf("close the bus of %s: %v", name, err)
		}
	})
	return b, l
}

// part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (r *rig) run(phase int, name string, f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if p.err = f(ctx); p.err != nil && ctx.Err() == nil {
			r.t.Errorf("%s ended by itself: %v", name, p.err)
		}
	}()
	r.atEnd(phase, p.stop)
	return p
}

func (p *part) stop() {
	p.cancel()
	<-p.done
}

// owning is an owner process.
type owning struct {
	*owner.Process
	*part
	bus  *bus.Bus
	link *link
	dir  string

	drop          atomic.Pointer[func(life event.ID, f *frame.Frame) bool]
	sent, dropped atomic.Int64 // frames
}

// owner starts an owner process: it owns what nobody else does, and stands by for
// the rest.
func (r *rig) owner(name string) *owning {
	r.t.Helper()
	o := &owning{dir: r.t.TempDir()}
	o.bus, o.link = r.open(name, &bus.Hooks{DropPush: func(life event.ID, data []byte) bool { return r.pushed(o, life, data) }})
	p, err := owner.Open(r.t.Context(), owner.Config{Bus: o.bus, Dir: o.dir, Logger: r.log.With("at", name)})
	if err != nil {
		r.t.Fatal(err)
	}
	o.Process = p
	r.atEnd(endBuses, func() {
		if err := p.Close(); err != nil {
			r.t.Errorf("close the views of %s: %v", name, err)
		}
	})
	o.part = r.run(endOwners, name, p.Run)
	return o
}

// pushed sees every frame that an owner sends, and decides whether it gets lost.
func (r *rig) pushed(o *owning, life event.ID, data []byte) (lose bool) {
	var p frame.Push
	if err := proto.Unmarshal(data, &p); err != nil {
		r.t.Errorf("a push that nobody can read: %v", err)
		return false
	}
	f := p.GetFrame()
	if f == nil {
		return false // a heartbeat
	}
	r.frames.saw(f)
	if r.see != nil {
		r.see(data)
	}
	o.sent.Add(1)
	if drop := o.drop.Load(); drop != nil && (*drop)(life, f) {
		o.dropped.Add(1)
		return true
	}
	return false
}

// losing sets which frames of the owner get lost; nil loses none.
func (o *owning) losing(f func(life event.ID, f *frame.Frame) bool) {
	if f == nil {
		o.drop.Store(nil)
		return
	}
	o.drop.Store(&f)
}

// frames counts what owners send.
type frames struct {
	mu      sync.Mutex
	highest map[uint32]*frame.Term
	terms   int // how often a stream's frames went over to a higher term
	stale   int // frames sent under a lower term than one before
}

func (s *frames) saw(f *frame.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.highest == nil {
		s.highest = map[uint32]*frame.Term{}
	}
	switch h := s.highest[f.Stream]; {
	case h == nil:
		s.highest[f.Stream] = f.Term
	case higher(f.Term, h):
		s.highest[f.Stream] = f.Term
		s.terms++
	case higher(h, f.Term):
		s.stale++
	}
}

func higher(a, b *frame.Term) bool {
	return a.Revision > b.Revision || a.Revision == b.Revision && a.Start > b.Start
}

func (s *frames) counts() (terms, stale int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms, s.stale
}

// edge is a node with its sockets.
type edge struct {
	*part
	rig    *rig
	node   *delivery.Node
	bus    *bus.Bus
	link   *link
	addr   string
	people *admin.LogPeople
}

// edge starts a node and its connector, and waits until clients may connect.
func (r *rig) edge(name string) *edge {
	r.t.Helper()
	e := &edge{rig: r}
	e.bus, e.link = r.open(name, r.hooks)
	log := r.log.With("at", name)
	srv, err := connector.New(connector.Config{
		Listen: "127.0.0.1:0", Hasher: r.hasher, Partitions: e.bus.Partitions(), Logger: log,
		RecallTime: time.Hour, EditTime: time.Hour, ResumeTime: time.Hour,
		Secrets: func(ctx context.Context) ([][]byte, error) { return e.bus.Secrets(ctx, "resume", 2*time.Hour) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	e.node, err = delivery.New(delivery.Config{Bus: e.bus, Handler: srv.Handler(), Name: name, Logger: log})
	if err != nil {
		r.t.Fatal(err)
	}
	r.run(endEdges, name+" node", e.node.Run)
	r.run(endEdges, name+" watch", func(ctx context.Context) error { return watch.Run(ctx, e.bus, e.node, log) })
	e.part = r.run(endEdges, name+" connector", func(ctx context.Context) error { return srv.Run(ctx, e.node) })
	select {
	case <-srv.Listening():
	case <-time.After(patience):
		r.t.Fatalf("%s does not listen after %v: %v\n%s", name, patience, e.node.Ready(), r.lines.tail())
	}
	e.addr = srv.Addr().String()
	e.people = admin.NewPeople(e.node, r.hasher)
	r.edges = append(r.edges, e)
	return e
}

// register makes people u1, u2, … and returns their numbers. It waits until every
// edge has heard of them: a node that has not may still say that there is no such name.
func (e *edge) register(t *testing.T, n int) []uint32 {
	t.Helper()
	ids := make([]uint32, n)
	for i := range ids {
		p, err := e.people.Add(t.Context(), admin.NewPerson{Name: name(i), Password: name(i)})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = p.Number
	}
	for _, o := range e.rig.edges {
		e.rig.eventually("every edge has heard of the people", func() bool { return o.node.PeopleSeen() >= e.node.PeopleSeen() })
	}
	return ids
}

// link carries bytes between a part and the log's server, and can hold or cut them.
type link struct {
	addr string
	to   string
	wg   sync.WaitGroup

	mu     sync.Mutex
	cut    bool
	held   chan struct{} // not nil: closed when bytes flow again
	conns  map[net.Conn]bool
	closed bool
}

func newLink(r *rig) *link {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	l := &link{addr: ln.Addr().String(), to: r.nats.Addr().String(), conns: map[net.Conn]bool{}}
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.carry(c) })
		}
	})
	r.atEnd(endLog, func() {
		l.mend()
		_ = ln.Close()
		l.sever(true)
		l.wg.Wait()
	})
	return l
}

func (l *link) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer out.Close()
	l.mu.Lock()
	if l.cut || l.closed {
		l.mu.Unlock()
		return
	}
	l.conns[in], l.conns[out] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.copy(out, in) })
	both.Go(func() { l.copy(in, out) })
	both.Wait()
	l.mu.Lock()
	delete(l.conns, in)
	delete(l.conns, out)
	l.mu.Unlock()
}

func (l *link) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			l.mu.Lock()
			held := l.held
			l.mu.Unlock()
			if held != nil {
				<-held
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// sever breaks all connections and takes no more until mend.
func (l *link) sever(forGood bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.closed = true, l.closed || forGood
	for c := range l.conns {
		_ = c.Close()
	}
}

// hold lets no byte through until mend; the connections stay.
func (l *link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

// mend ends sever and hold.
func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// eventually waits until a condition holds.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			r.t.Fatalf("never came about in %v: %s", patience, what)
		}
	}
}

// everywhere connects the people to the edges by turns, phones elsewhere than their
// desktops, and has them talk.
func (w *world) everywhere(edges ...*edge) {
	w.t.Helper()
	w.connectTo(edges...)
	w.each(func(p *person) error { return p.sync(true) })
	w.each(func(p *person) error { return p.talkOn() })
}

func (w *world) connectTo(edges ...*edge) {
	w.t.Helper()
	for _, p := range w.people {
		i := p.id
		if p.device != deviceWindows {
			i++
		}
		p.at = edges[i%uint32(len(edges))].addr
	}
	w.each(func(p *person) error { return p.connect(p.at) })
}

// returned logs in again whoever lost his connection, until all are there.
func (w *world) returned() error {
	for _, p := range w.people {
		select {
		case <-p.session.done:
		default:
			continue
		}
		p.leave()
		if err := p.connect(p.at); err != nil {
			return fmt.Errorf("%s comes back: %w", p.name, err)
		}
		if err := p.sync(false); err != nil {
			return fmt.Errorf("%s syncs: %w", p.name, err)
		}
		if err := p.talkOn(); err != nil {
			return fmt.Errorf("%s talks on: %w", p.name, err)
		}
	}
	return nil
}

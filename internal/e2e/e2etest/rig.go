package e2etest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
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

// Rig is the parts of the program in this process, as many of each as a test wants,
// on one log. Every part has a link of its own to the log's server.
type Rig struct {
	T      *testing.T
	Nats   *natsd.Server
	Store  string // its directory
	log    *slog.Logger
	Lines  *Output
	hasher *password.Hasher
	Frames frames
	Hooks  *bus.Hooks              // of the edges to come
	See    func(data []byte)       // is shown what owners send
	Clock  func(name string) Clock // of a part by its name; nil: the true one

	Servers  []func() string           // where the log's servers are, "" for one that is down
	Replicas int                       // of new streams; 0: what the bus takes
	Made     func(server int, l *Link) // is told of every link of a part to a server; may be nil

	ends [phases][]func() // what ends the parts, by phase

	mu    sync.Mutex
	edges []*Edge
}

// Edges are all that were started. Clients may ask for them while more are.
func (r *Rig) Edges() []*Edge {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.edges)
}

// The parts end in the order in which each can still do its last work.
const (
	EndEdges = iota
	EndOwners
	EndBuses
	EndLog
	phases
)

func (r *Rig) AtEnd(phase int, f func()) { r.ends[phase] = append(r.ends[phase], f) }

const RigPartitions = 3

// Clock tells a part the time.
type Clock func() time.Time

func NewRig(t *testing.T) *Rig {
	t.Helper()
	r := NewBareRig(t)
	r.Store = t.TempDir()
	r.startLog(natsd.RANDOM_PORT)
	addr := r.Nats.Addr().String() // of every start
	r.Servers = []func() string{func() string { return addr }}
	r.AtEnd(EndLog, func() {
		r.Nats.Shutdown()
		r.Nats.WaitForShutdown()
	})
	return r
}

// NewBareRig is a rig without a log.
func NewBareRig(t *testing.T) *Rig {
	t.Helper()
	r := &Rig{T: t, Lines: NewOutput()}
	var err error
	r.log = slog.New(slog.NewTextHandler(r.Lines, nil))
	if r.hasher, err = password.NewHasher(password.Cost{MemoryKiB: 64, Iterations: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, ends := range r.ends {
			for _, end := range slices.Backward(ends) {
				end()
			}
		}
		if t.Failed() {
			t.Logf("the end of the log:\n%s", r.Lines.Tail())
		}
	})
	return r
}

func (r *Rig) startLog(port int) {
	r.T.Helper()
	s, err := natsd.NewServer(&natsd.Options{
		ServerName: "log", Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: r.Store, MaxPayload: 1 << 20,
	})
	if err != nil {
		r.T.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(Patience) {
		r.T.Fatal("nats-server did not start")
	}
	r.Nats = s
}

// RestartLog stops the log's server, calls between, and starts it at the same port.
func (r *Rig) RestartLog(between func()) {
	r.T.Helper()
	port := r.Nats.Addr().(*net.TCPAddr).Port
	r.Nats.Shutdown()
	r.Nats.WaitForShutdown()
	between()
	r.startLog(port)
}

// open opens a bus over links of its own.
func (r *Rig) open(name string, hooks *bus.Hooks) (*bus.Bus, Links) {
	r.T.Helper()
	l := r.Links()
	b, err := bus.Open(r.T.Context(), bus.Config{
		URL: l.Urls(), Partitions: RigPartitions, Replicas: r.Replicas, Process: name, Hooks: hooks, Logger: r.log.With("at", name),
	})
	if err != nil {
		r.T.Fatal(err)
	}
	r.AtEnd(EndBuses, func() {
		l.Mend()
		if err := b.Close(); err != nil {
			r.T.Errorf("close the bus of %s: %v", name, err)
		}
	})
	return b, l
}

// Links makes a link to each of the log's servers.
func (r *Rig) Links() Links {
	r.T.Helper()
	var all Links
	for i, to := range r.Servers {
		l := NewLink(r, to)
		if r.Made != nil {
			r.Made(i, l)
		}
		all = append(all, l)
	}
	return all
}

// part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (r *Rig) run(phase int, name string, f func(context.Context) error) *part {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if p.err = f(ctx); p.err != nil && ctx.Err() == nil {
			r.T.Errorf("%s ended by itself: %v", name, p.err)
		}
	}()
	r.AtEnd(phase, p.Stop)
	return p
}

func (p *part) Stop() {
	p.cancel()
	<-p.done
}

// background runs f now and waits for it at the end.
func (r *Rig) background(phase int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	r.AtEnd(phase, func() { <-done })
}

// Owning is an owner process.
type Owning struct {
	*owner.Process
	*part
	rig     *Rig
	closing sync.Once
	Name    string
	Bus     *bus.Bus
	Link    Links
	Dir     string

	drop          atomic.Pointer[func(life event.ID, f *frame.Frame) bool]
	Sent, Dropped atomic.Int64 // frames
}

// Owner starts an owner process: it owns what nobody else does, and stands by for
// the rest.
func (r *Rig) Owner(name string) *Owning {
	r.T.Helper()
	return r.OwnerIn(name, r.T.TempDir())
}

// OwnerIn is owner with views in a directory that may hold some already.
func (r *Rig) OwnerIn(name, dir string) *Owning {
	r.T.Helper()
	o := &Owning{Name: name, Dir: dir, rig: r}
	o.Bus, o.Link = r.open(name, &bus.Hooks{DropPush: func(life event.ID, data []byte) bool { return r.pushed(o, life, data) }})
	p, err := owner.Open(r.T.Context(), owner.Config{Bus: o.Bus, Dir: o.Dir, Logger: r.log.With("at", name)})
	if err != nil {
		r.T.Fatal(err)
	}
	o.Process = p
	r.AtEnd(EndBuses, o.close)
	o.part = r.run(EndOwners, name, p.Run)
	return o
}

// close closes the views of an owner that has ended.
func (o *Owning) close() {
	o.closing.Do(func() {
		if err := o.Close(); err != nil {
			o.rig.T.Errorf("close the views of %s: %v", o.Name, err)
		}
	})
}

// Leave ends the owner as an operator would, so that another can open its views.
func (o *Owning) Leave() {
	o.Stop()
	o.close()
	if err := o.Bus.Close(); err != nil {
		o.rig.T.Errorf("close the bus of %s: %v", o.Name, err)
	}
}

// Kill ends the owner for everybody else at once. What is left of it here ends behind
// its cut links.
func (o *Owning) Kill() {
	o.Link.Sever(true)
	o.rig.background(EndOwners, o.Leave)
}

// pushed sees every frame that an owner sends, and decides whether it gets lost.
func (r *Rig) pushed(o *Owning, life event.ID, data []byte) (lose bool) {
	var p frame.Push
	if err := proto.Unmarshal(data, &p); err != nil {
		r.T.Errorf("a push that nobody can read: %v", err)
		return false
	}
	f := p.GetFrame()
	if f == nil {
		for _, h := range p.GetHeartbeat().GetStreams() {
			r.Frames.shown(o.Name, h.Stream, h.Term)
		}
		return false
	}
	r.Frames.shown(o.Name, f.Stream, f.Term)
	r.Frames.saw(f)
	if r.See != nil {
		r.See(data)
	}
	o.Sent.Add(1)
	if drop := o.drop.Load(); drop != nil && (*drop)(life, f) {
		o.Dropped.Add(1)
		return true
	}
	return false
}

// Losing sets which frames of the owner get lost; nil loses none.
func (o *Owning) Losing(f func(life event.ID, f *frame.Frame) bool) {
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
	stale   int // frames and heartbeats sent under a lower term than one before
	all     map[uint32]Reign
}

// Reign is the highest term that an owner has shown of a stream, by a frame or a
// heartbeat.
type Reign struct {
	term  *frame.Term
	Owner string
	Began time.Time // when it was first shown
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
	}
}

// shown notes the term that an owner shows of a stream.
func (s *frames) shown(owner string, stream uint32, term *frame.Term) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[uint32]Reign{}
	}
	switch was := s.all[stream].term; {
	case was == nil || higher(term, was):
		s.all[stream] = Reign{term, owner, time.Now()}
	case higher(was, term):
		s.stale++
	}
}

// Foremost is the one of the owners that speaks for the most streams.
func (r *Rig) Foremost(of ...*Owning) *Owning {
	speaks := map[string]int{}
	for _, reign := range r.Frames.Reigns() {
		speaks[reign.Owner]++
	}
	return slices.MaxFunc(of, func(a, b *Owning) int { return speaks[a.Name] - speaks[b.Name] })
}

// Supplanted waits until others speak for every stream for which an owner spoke.
func (r *Rig) Supplanted(o *Owning) {
	r.T.Helper()
	r.Eventually("others speak for the streams of "+o.Name, func() bool {
		for _, reign := range r.Frames.Reigns() {
			if reign.Owner == o.Name {
				return false
			}
		}
		return true
	})
}

// Reigns are the highest terms by stream.
func (s *frames) Reigns() map[uint32]Reign {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.all)
}

func higher(a, b *frame.Term) bool {
	return a.Revision > b.Revision || a.Revision == b.Revision && a.Start > b.Start
}

func (s *frames) Counts() (terms, stale int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terms, s.stale
}

// Edge is a node with its sockets.
type Edge struct {
	*part
	Name   string
	rig    *Rig
	Node   *delivery.Node
	Server *connector.Server
	Bus    *bus.Bus
	Link   Links
	front  *Link   // between clients and the connector
	others []*part // the node and its watch, in the order of their start
	Addr   string
	people *admin.LogPeople
}

// Edge starts a node and its connector, and waits until clients may connect.
func (r *Rig) Edge(name string) *Edge {
	r.T.Helper()
	e := &Edge{Name: name, rig: r}
	e.Bus, e.Link = r.open(name, r.Hooks)
	log := r.log.With("at", name)
	var now Clock
	if r.Clock != nil {
		now = r.Clock(name)
	}
	srv, node, err := NewEdge(e.Bus, r.hasher, name, now, log)
	if err != nil {
		r.T.Fatal(err)
	}
	e.Server, e.Node = srv, node
	e.others = []*part{
		r.run(EndEdges, name+" node", e.Node.Run),
		r.run(EndEdges, name+" watch", func(ctx context.Context) error { return watch.Run(ctx, e.Bus, e.Node, log) }),
	}
	e.part = r.run(EndEdges, name+" connector", func(ctx context.Context) error { return srv.Run(ctx, e.Node) })
	select {
	case <-srv.Listening():
	case <-time.After(Patience):
		r.T.Fatalf("%s does not listen after %v: %v\n%s", name, Patience, e.Node.Ready(), r.Lines.Tail())
	}
	e.front = NewLink(r, func() string { return srv.Addr().String() })
	e.Addr = e.front.Addr
	e.people = admin.NewPeople(e.Node, r.hasher)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.edges = append(r.edges, e)
	return e
}

// Leave ends the edge as an operator would.
func (e *Edge) Leave() {
	e.Stop()
	for _, p := range slices.Backward(e.others) {
		p.Stop()
	}
	if err := e.Bus.Close(); err != nil {
		e.rig.T.Errorf("close the bus of %s: %v", e.Name, err)
	}
}

// Kill ends the edge for everybody else at once. What is left of it here ends behind
// its cut links.
func (e *Edge) Kill() {
	e.front.Sever(true)
	e.Link.Sever(true)
	e.rig.background(EndEdges, e.Leave)
}

// NewEdge makes a connector and its node.
func NewEdge(b *bus.Bus, hasher *password.Hasher, name string, now Clock, log *slog.Logger) (*connector.Server, *delivery.Node, error) {
	srv, err := connector.New(connector.Config{
		Listen: "127.0.0.1:0", Hasher: hasher, Partitions: b.Partitions(), Logger: log,
		RecallTime: time.Hour, EditTime: time.Hour, ResumeTime: time.Hour,
		Secrets: func(ctx context.Context) ([][]byte, error) { return b.Secrets(ctx, "resume", 2*time.Hour) },
	})
	if err != nil {
		return nil, nil, err
	}
	node, err := delivery.New(delivery.Config{Bus: b, Handler: srv.Handler(), Name: name, Clock: now, Logger: log})
	return srv, node, err
}

// Register makes people u1, u2, … and returns their numbers. It waits until every
// edge has heard of them: a node that has not may still say that there is no such name.
func (e *Edge) Register(t *testing.T, n int) []uint32 {
	t.Helper()
	ids := make([]uint32, n)
	for i := range ids {
		p, err := e.people.Add(t.Context(), admin.NewPerson{Name: Name(i), Password: Name(i)})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = p.Number
	}
	for _, o := range e.rig.Edges() {
		e.rig.Eventually("every edge has heard of the people", func() bool { return o.Node.PeopleSeen() >= e.Node.PeopleSeen() })
	}
	return ids
}

// Links are the ways from a part to each of the log's servers.
type Links []*Link

func (all Links) Urls() string {
	var urls []string
	for _, l := range all {
		urls = append(urls, "nats://"+l.Addr)
	}
	return strings.Join(urls, ",")
}

func (all Links) Sever(forGood bool) {
	for _, l := range all {
		l.Sever(forGood)
	}
}

func (all Links) Hold() {
	for _, l := range all {
		l.hold()
	}
}

func (all Links) Mend() {
	for _, l := range all {
		l.Mend()
	}
}

// Only leaves one of the links.
func (all Links) Only(at int) {
	for i, l := range all {
		if i != at {
			l.Sever(false)
		}
	}
}

// Link carries bytes between two parts, and can hold or cut them.
type Link struct {
	Addr string
	to   func() string // "": nobody is there
	wg   sync.WaitGroup

	mu     sync.Mutex
	cut    bool
	held   chan struct{} // not nil: closed when bytes flow again
	conns  map[net.Conn]bool
	closed bool
}

func NewLink(r *Rig, to func() string) *Link {
	r.T.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.T.Fatal(err)
	}
	l := &Link{Addr: ln.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	l.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.carry(c) })
		}
	})
	r.AtEnd(EndLog, func() {
		l.Mend()
		_ = ln.Close()
		l.Sever(true)
		l.wg.Wait()
	})
	return l
}

func (l *Link) carry(in net.Conn) {
	defer in.Close()
	to := l.to()
	if to == "" {
		return
	}
	out, err := net.Dial("tcp", to)
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

func (l *Link) copy(to, from net.Conn) {
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

// Sever breaks all connections and takes no more until mend.
func (l *Link) Sever(forGood bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.closed = true, l.closed || forGood
	for c := range l.conns {
		_ = c.Close()
	}
}

// hold lets no byte through until mend; the connections stay.
func (l *Link) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

// Mend ends sever and hold.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// Carries is how many connections go over the link.
func (l *Link) Carries() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns) / 2
}

// Eventually waits until a condition holds.
func (r *Rig) Eventually(what string, holds func() bool) {
	r.T.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(Patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			r.T.Fatalf("never came about in %v: %s", Patience, what)
		}
	}
}

// Everywhere connects the people to the edges by turns, phones elsewhere than their
// desktops, and has them talk.
func (w *World) Everywhere(edges ...*Edge) {
	w.t.Helper()
	w.EverywhereOf(addrs(edges))
}

func (w *World) EverywhereOf(addrs []string) {
	w.t.Helper()
	w.connectTo(addrs)
	w.Each(func(p *Person) error { return p.Sync(true) })
	w.Each(func(p *Person) error { return p.TalkOn() })
}

func addrs(of []*Edge) (all []string) {
	for _, e := range of {
		all = append(all, e.Addr)
	}
	return all
}

func (w *World) connectTo(addrs []string) {
	w.t.Helper()
	for _, p := range w.People {
		i := p.id
		if p.device != DeviceWindows {
			i++
		}
		p.At = addrs[i%uint32(len(addrs))]
	}
	w.Each(func(p *Person) error { return p.Connect(p.At) })
}

// Returned logs in again whoever lost his connection, until all are there.
func (w *World) Returned() error {
	for _, p := range w.People {
		select {
		case <-p.Session.Done:
		default:
			continue
		}
		p.Leave()
		if err := p.Connect(p.At); err != nil {
			return fmt.Errorf("%s comes back: %w", p.Name, err)
		}
		if err := p.Sync(false); err != nil {
			return fmt.Errorf("%s syncs: %w", p.Name, err)
		}
		if err := p.TalkOn(); err != nil {
			return fmt.Errorf("%s talks on: %w", p.Name, err)
		}
	}
	return nil
}

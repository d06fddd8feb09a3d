package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/event"
	"godwit/schema/query"
)

// cluster is a rig over three NATS servers, each route between which and each link to
// which can be cut. What is written is on two disks before it is acked.
type cluster struct {
	*e2etest.Rig
	nats   [3]*natsServer
	rnd    *rand.Rand
	ways   [3][]*e2etest.Link // to each server, of all parts
	owners []*e2etest.Owning
	dead   map[*e2etest.Edge]bool
	extra  []string // addresses of edges that are processes of their own

	world  *e2etest.World
	twins  *e2etest.Twins
	ends   func() // of those who come back
	mu     sync.Mutex
	client *nats.Conn
	js     jetstream.JetStream
}

// natsServer is one of them.
type natsServer struct {
	c      *cluster
	at     int
	name   string
	store  string
	routes [3]*e2etest.Link // to the others; nil to itself

	mu     sync.Mutex
	srv    *natsd.Server // nil while it is down, or another process
	client string        // its addresses; "" while it is down
	route  string
	child  *child // where it is another process
}

func newCluster(t *testing.T) *cluster { return newClusterOf(t, false) }

// newClusterOf starts a cluster; with processes its servers are processes of their own.
func newClusterOf(t *testing.T, processes bool) *cluster {
	t.Helper()
	c := &cluster{Rig: e2etest.NewBareRig(t), rnd: random(t), dead: map[*e2etest.Edge]bool{}}
	c.Replicas = 3
	// Clocks are minutes apart, each wrong by as much for good.
	slow := time.Duration(1+c.rnd.IntN(60)) * time.Second
	c.Rig.Clock = func(name string) e2etest.Clock {
		off := map[string]time.Duration{"a": -time.Minute - slow, "b": time.Minute}[name]
		return func() time.Time { return time.Now().Add(off) }
	}
	for i := range c.nats {
		c.nats[i] = &natsServer{c: c, at: i, name: fmt.Sprintf("n%d", i), store: t.TempDir()}
		c.Rig.Servers = append(c.Rig.Servers, c.nats[i].clientAddr)
	}
	c.Rig.Made = func(i int, l *e2etest.Link) { c.ways[i] = append(c.ways[i], l) }
	for i, s := range c.nats {
		for j, to := range c.nats {
			if i != j {
				s.routes[j] = e2etest.NewLink(c.Rig, to.routeAddr)
			}
		}
	}
	for _, s := range c.nats {
		s.start(processes)
		c.AtEnd(e2etest.EndLog, s.stop)
	}
	c.whole()
	return c
}

func (s *natsServer) clientAddr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (s *natsServer) routeAddr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.route
}

// natsConfig is what a server needs to know.
type natsConfig struct {
	Name, Store string
	Routes      []string
}

func (s *natsServer) config() natsConfig {
	cfg := natsConfig{Name: s.name, Store: s.store}
	for _, l := range s.routes {
		if l != nil {
			cfg.Routes = append(cfg.Routes, "nats://"+l.Addr)
		}
	}
	return cfg
}

// startNATS starts a server of the cluster. It takes other servers only by the ways
// that it is told of, and tells clients of none.
func startNATS(cfg natsConfig) (*natsd.Server, error) {
	o := &natsd.Options{
		ServerName: cfg.Name, Host: "127.0.0.1", Port: natsd.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: cfg.Store, SyncAlways: true, MaxPayload: 1 << 20,
		Cluster: natsd.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: natsd.RANDOM_PORT, NoAdvertise: true, Advertise: "127.0.0.1:1"},
	}
	for _, r := range cfg.Routes {
		u, err := url.Parse(r)
		if err != nil {
			return nil, err
		}
		o.Routes = append(o.Routes, u)
	}
	srv, err := natsd.NewServer(o)
	if err != nil {
		return nil, err
	}
	go srv.Start()
	if !srv.ReadyForConnections(e2etest.Patience) {
		srv.Shutdown()
		return nil, errors.New("nats-server did not start")
	}
	return srv, nil
}

// start starts the server, anew or after its end.
func (s *natsServer) start(process bool) {
	s.c.T.Helper()
	if process {
		ch := s.c.child(s.name, childConfig{NATS: new(s.config())})
		line := ch.find("nats is up")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.child, s.client, s.route = ch, field(line, "client"), field(line, "route")
		return
	}
	srv, err := startNATS(s.config())
	if err != nil {
		s.c.T.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv, s.client, s.route = srv, srv.Addr().String(), srv.ClusterAddr().String()
}

// down marks it as down and gives what ran.
func (s *natsServer) down() (*natsd.Server, *child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	srv, ch := s.srv, s.child
	s.srv, s.child, s.client, s.route = nil, nil, "", ""
	return srv, ch
}

// stop ends the server in good order.
func (s *natsServer) stop() {
	srv, ch := s.down()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if ch != nil {
		ch.kill()
	}
}

// kill ends the server as abruptly as possible: a process by kill -9; else nobody
// hears another word of it before it ends.
func (s *natsServer) kill() {
	srv, ch := s.down()
	if ch != nil {
		ch.kill()
		return
	}
	s.cut(true)
	srv.Shutdown()
	srv.WaitForShutdown()
	s.mend()
}

// cut cuts the server off from the other two, and from clients too if they are not to be
// left alone with it.
func (s *natsServer) cut(clients bool) {
	for i, o := range s.c.nats {
		if i != s.at {
			s.routes[i].Sever(false)
			o.routes[s.at].Sever(false)
		}
	}
	if clients {
		e2etest.Links(s.c.ways[s.at]).Sever(false)
	}
}

func (s *natsServer) mend() {
	for i, o := range s.c.nats {
		if i != s.at {
			s.routes[i].Mend()
			o.routes[s.at].Mend()
		}
	}
	e2etest.Links(s.c.ways[s.at]).Mend()
}

// leads tells whether the server leads the stream.
func (s *natsServer) leads(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv != nil && s.srv.JetStreamIsStreamLeader("$G", stream)
}

// leader waits for the server that leads a stream.
func (c *cluster) leader(stream string) (found *natsServer) {
	c.T.Helper()
	c.Eventually("somebody leads "+stream, func() bool {
		i := slices.IndexFunc(c.nats[:], func(s *natsServer) bool { return s.leads(stream) })
		if i >= 0 {
			found = c.nats[i]
		}
		return i >= 0
	})
	return found
}

// leads counts how many of the log's streams each server leads.
func (c *cluster) leading() (n [3]int) {
	for p := range e2etest.RigPartitions {
		for i, s := range c.nats {
			if s.leads(event.ConversationStream(p).String()) {
				n[i]++
			}
		}
	}
	for i, s := range c.nats {
		for _, stream := range []string{event.People.String(), event.Presence.String()} {
			if s.leads(stream) {
				n[i]++
			}
		}
	}
	return n
}

// whole waits until all servers are up and have all that the others have.
func (c *cluster) whole() {
	c.T.Helper()
	c.Eventually("the cluster of NATS is whole", func() bool {
		for _, s := range c.nats {
			s.mu.Lock()
			srv, ch := s.srv, s.child
			s.mu.Unlock()
			switch {
			case ch != nil:
				continue // asked by way of the streams
			case srv == nil || srv.Healthz(&natsd.HealthzOptions{}).StatusCode != 200:
				return false
			}
		}
		return c.current()
	})
}

// current tells whether every replica of every stream has everything.
func (c *cluster) current() bool {
	ctx, cancel := context.WithTimeout(c.T.Context(), 2*time.Second)
	defer cancel()
	js := c.jetStream()
	n := 0
	list := js.ListStreams(ctx)
	for s := range list.Info() {
		if s.Cluster == nil || s.Cluster.Leader == "" || len(s.Cluster.Replicas) < s.Config.Replicas-1 ||
			slices.ContainsFunc(s.Cluster.Replicas, func(r *jetstream.PeerInfo) bool { return !r.Current || r.Offline }) {
			return false
		}
		n++
	}
	return list.Err() == nil
}

// jetStream asks the cluster past everything that is cut.
func (c *cluster) jetStream() jetstream.JetStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil {
		return c.js
	}
	var urls []string
	for _, to := range c.Rig.Servers {
		l := e2etest.NewLink(c.Rig, to) // servers come back at other ports
		urls = append(urls, "nats://"+l.Addr)
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(100*time.Millisecond))
	if err == nil {
		c.js, err = jetstream.New(nc)
	}
	if err != nil {
		c.T.Fatal(err)
	}
	c.client = nc
	c.AtEnd(e2etest.EndBuses, nc.Close)
	return c.js
}

// own starts an owner process.
func (c *cluster) own(name string) *e2etest.Owning {
	c.T.Helper()
	o := c.Owner(name)
	c.owners = append(c.owners, o)
	return o
}

// addrs are where clients may connect: where a load balancer would send them.
func (c *cluster) addrs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.extra)
	for _, e := range c.Edges() {
		if !c.dead[e] {
			all = append(all, e.Addr)
		}
	}
	return all
}

// bury has clients go elsewhere.
func (c *cluster) bury(e *e2etest.Edge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead[e] = true
}

// revive has clients come back to it.
func (c *cluster) revive(e *e2etest.Edge) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.dead, e)
}

// edgeProcess is an edge that is a process of its own.
type edgeProcess struct {
	*child
	front *e2etest.Link
}

func (c *cluster) edgeProcess(name string) *edgeProcess {
	c.T.Helper()
	ch := c.child(name, childConfig{Edge: &partConfig{URLs: c.Rig.Links().Urls()}})
	addr := field(ch.find("edge is up"), "clients")
	p := &edgeProcess{ch, e2etest.NewLink(c.Rig, func() string { return addr })}
	c.AtEnd(e2etest.EndEdges, ch.end)
	c.show(p)
	return p
}

// show lets clients connect to it, and hide sends them elsewhere.
func (c *cluster) show(p *edgeProcess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extra = append(c.extra, p.front.Addr)
}

func (c *cluster) hide(p *edgeProcess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extra = slices.DeleteFunc(c.extra, func(a string) bool { return a == p.front.Addr })
}

func (c *cluster) ownerProcess(name string) *child {
	c.T.Helper()
	ch := c.child(name, childConfig{Owner: &partConfig{URLs: c.Rig.Links().Urls(), Dir: c.T.TempDir()}})
	ch.find("owner is up")
	c.AtEnd(e2etest.EndOwners, ch.end)
	return ch
}

// last is what the child has said last of something.
func (ch *child) last(what string) string {
	ch.out.Mu.Lock()
	defer ch.out.Mu.Unlock()
	for _, l := range slices.Backward(ch.out.Lines) {
		if strings.Contains(l, what) {
			return field(l, "now")
		}
	}
	return ""
}

// alive are the edges of this process that have not been buried.
func (c *cluster) alive() []*e2etest.Edge {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(c.Edges(), func(e *e2etest.Edge) bool { return c.dead[e] })
}

// populate brings people onto the edges, who talk all the time and come back when they
// lose their connection, and others who log in everywhere at once.
func (c *cluster) populate() *e2etest.World {
	c.T.Helper()
	w := e2etest.NewWorld(c.T, c.rnd.Uint64())
	ids := c.Edges()[0].Register(c.T, 8)
	w.Populate(ids[:6], 4)
	w.Phones(ids[:6], 3)
	w.EverywhereOf(c.addrs())
	c.world = w
	c.ends = w.Returning(c.addrs)
	c.twins = w.Twins([]string{e2etest.Name(6), e2etest.Name(7)}, ids[6:], c.rnd.Uint64(), c.addrs)
	w.Await(100, nil)
	return w
}

// finish lets the world come to rest and holds everything against the model: what was
// acked, who is online, what the views hold.
func (c *cluster) finish() {
	c.T.Helper()
	w := c.world
	c.ready()
	c.twins.End()
	w.Quiet(nil)
	c.ready()
	c.noGhosts()
	c.ends()
	w.Check()
	w.Settle()
	w.Audit()
	for _, p := range w.People {
		p.Leave()
	}
	c.twins.Leave()
	c.empty()
	c.T.Logf("%d acked, %d pushed, %d sent again, %d came back; of twins %d logins, %d kicks",
		w.Acked, w.Pushes, w.Repeats, w.Returns, c.twins.Logins, c.twins.Kicks)
}

// ready waits until every part that is left says that it can do its work.
func (c *cluster) ready() {
	c.T.Helper()
	c.Eventually("every edge is ready", func() bool {
		return !slices.ContainsFunc(c.alive(), func(e *e2etest.Edge) bool { return e.Server.Ready() != nil })
	})
}

// presence asks one of the edges who is online, as of now.
func (c *cluster) presence(users []uint32) (map[e2etest.Online]int, *query.PresenceTotalsAnswer, error) {
	e := c.alive()[0]
	last, err := e.Bus.LastSequence(c.T.Context(), event.Presence)
	if err != nil {
		return nil, nil, err
	}
	at := []*query.AtLeast{{Stream: uint32(event.Presence), Sequence: last}}
	got := map[e2etest.Online]int{}
	for _, u := range users {
		a, err := e.Node.Ask(c.T.Context(), &query.Request{AtLeast: at, Body: &query.Request_SessionsOf{SessionsOf: &query.SessionsOf{User: u}}})
		if err != nil {
			return nil, nil, err
		}
		for _, s := range a.GetSessionsOf().GetSessions() {
			got[e2etest.Online{User: s.User, Class: s.DeviceClass}]++
		}
	}
	a, err := e.Node.Ask(c.T.Context(), &query.Request{AtLeast: at, Body: &query.Request_PresenceTotals{PresenceTotals: &query.PresenceTotals{}}})
	if err != nil {
		return nil, nil, err
	}
	return got, a.GetPresenceTotals(), nil
}

// noGhosts waits until presence tells of exactly the sessions that clients hold, each
// user once in each class.
func (c *cluster) noGhosts() {
	c.T.Helper()
	var why string
	defer func() {
		if c.T.Failed() {
			c.T.Log(why)
		}
	}()
	c.Eventually("presence tells of exactly the sessions that there are", func() bool {
		want := c.world.Sockets()
		for u, n := range c.twins.Sockets() {
			want[e2etest.Online{User: u, Class: event.DeviceClass_DEVICE_CLASS_DESKTOP}] += n
		}
		got, totals, err := c.presence(append(e2etest.Users(c.world.Sockets()), c.twins.Ids...))
		if err != nil {
			why = err.Error()
			return false
		}
		all := 0
		for who, n := range want {
			all += n
			if n != 1 || got[who] != 1 {
				why = fmt.Sprintf("%v holds %d sessions, presence tells of %d", who, n, got[who])
				return false
			}
		}
		why = fmt.Sprintf("%d sessions on %d edges; presence tells of %v and %v", all, len(c.addrs()), got, totals)
		return len(got) == len(want) && len(want) == len(c.world.People)+len(c.twins.Ids) &&
			int(totals.GetSessions()) == all && int(totals.GetLives()) == len(c.addrs())
	})
}

// empty waits until presence tells of nobody.
func (c *cluster) empty() {
	c.T.Helper()
	c.Eventually("presence tells of nobody once all have left", func() bool {
		_, totals, err := c.presence(nil)
		return err == nil && totals.GetSessions() == 0
	})
}

// says waits until a part says why it can't do its work.
func (c *cluster) says(what string, ready func() error) error {
	c.T.Helper()
	var err error
	c.Eventually(what+" says that it can't do its work", func() bool {
		err = ready()
		return err != nil
	})
	c.T.Logf("%s: %v", what, err)
	return err
}

// rounds runs a fault again and again, each time in a cluster of its own.
func rounds(t *testing.T, f func(t *testing.T)) {
	for i := range *flagRounds {
		t.Run(fmt.Sprint(i+1), f)
	}
}

// A child is this test binary as another process with one part in it.
type child struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *e2etest.Output
	gone chan struct{}
}

// childConfig says what a child is; one of the parts is given.
type childConfig struct {
	Name  string
	NATS  *natsConfig `json:",omitempty"`
	Edge  *partConfig `json:",omitempty"`
	Owner *partConfig `json:",omitempty"`
}

type partConfig struct {
	URLs string
	Dir  string
}

const childEnv = "GODWIT_E2E_CHILD"

func (c *cluster) child(name string, cfg childConfig) *child {
	c.T.Helper()
	cfg.Name = name
	b, err := json.Marshal(cfg)
	if err != nil {
		c.T.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		c.T.Fatal(err)
	}
	ch := &child{t: c.T, name: name, out: e2etest.NewOutput(), gone: make(chan struct{})}
	ch.cmd = exec.Command(exe)
	ch.cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	ch.cmd.Stdout, ch.cmd.Stderr = ch.out, ch.out
	ch.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if ch.in, err = ch.cmd.StdinPipe(); err == nil {
		err = ch.cmd.Start()
	}
	if err != nil {
		c.T.Fatal(err)
	}
	go func() {
		_ = ch.cmd.Wait() // it is killed
		ch.out.End()
		close(ch.gone)
	}()
	c.AtEnd(e2etest.EndLog, func() {
		ch.kill()
		if ch.out.Count(e2etest.DataRace) > 0 {
			c.T.Errorf("the race detector found something in %s", name)
		}
		if c.T.Failed() {
			c.T.Logf("the end of the log of %s:\n%s", name, ch.out.Tail())
		}
	})
	return ch
}

// find waits for a line of the child.
func (ch *child) find(words ...string) string {
	ch.t.Helper()
	line, err := ch.out.Find(words...)
	if err != nil {
		ch.t.Fatalf("%s: %v", ch.name, err)
	}
	return line
}

func (ch *child) signal(s syscall.Signal) {
	ch.t.Helper()
	if err := ch.cmd.Process.Signal(s); err != nil {
		ch.t.Fatalf("%s: %v: %v", ch.name, s, err)
	}
}

func (ch *child) kill() {
	_ = ch.cmd.Process.Kill() // it may have ended
	<-ch.gone
}

// end ends the child as an operator would.
func (ch *child) end() {
	ch.t.Helper()
	if err := ch.in.Close(); err != nil {
		ch.t.Error(err)
	}
	select {
	case <-ch.gone:
	case <-time.After(e2etest.Patience):
		ch.kill()
		ch.t.Errorf("%s did not end", ch.name)
	}
}

// field is a value in a line of the log.
func field(line, key string) string {
	for f := range strings.FieldsSeq(line) {
		if k, v, _ := strings.Cut(f, "="); k == key {
			return v
		}
	}
	return ""
}

// untilClosed ends the context when the parent closes our input, or has ended.
func untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		}
	}()
	return ctx, cancel
}

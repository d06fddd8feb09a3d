package bustest

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"

	"github.com/nats-io/nats-server/v2/server"
)

// Server runs a nats-server of its own that listens on a free loopback port, for
// tests in which several buses share one log. It gives the server's URL.
func Server(t testing.TB, change ...func(*server.Options)) (at string) {
	t.Helper()
	at, _ = StoppableServer(t, t.TempDir(), change...)
	return at
}

// StoppableServer is Server on a directory of its own, so that one server can follow another
// on what it left behind; stop ends it before the test does.
func StoppableServer(t testing.TB, dir string, change ...func(*server.Options)) (at string, stop func()) {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir,
	}
	for _, f := range change {
		f(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("bustest: server: %v", err)
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("bustest: server does not start")
	}
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	t.Cleanup(stop)
	return s.ClientURL(), stop
}

// Cluster runs three nats-servers as one cluster. It gives their URLs, and a way to
// stop the one that leads a stream.
func Cluster(t testing.TB) (urls string, stopLeader func(stream string)) {
	t.Helper()
	c := NewCluster(t)
	return c.URLs(), func(stream string) {
		t.Helper()
		c.Stop(c.AwaitLeader(stream))
	}
}

// Servers are three nats-servers that are one cluster. Each keeps its port and its directory
// when it is stopped and started again.
type Servers struct {
	t       testing.TB
	options []*server.Options
	mu      sync.Mutex
	running []*server.Server // nil: stopped
}

// NewCluster runs three nats-servers and waits until they are one cluster.
func NewCluster(t testing.TB, change ...func(*server.Options)) *Servers {
	t.Helper()
	const size = 3
	c := &Servers{t: t, running: make([]*server.Server, size)}
	ports := FreePorts(t, 2*size)
	var routes []*url.URL
	for i := range size {
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))})
	}
	for i := range size {
		o := &server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: ports[size+i],
			NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
			LameDuckDuration: time.Second, LameDuckGracePeriod: 100 * time.Millisecond,
			Cluster: server.ClusterOpts{Name: "bustest", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		}
		for _, f := range change {
			f(o)
		}
		c.options = append(c.options, o)
	}
	t.Cleanup(func() {
		for i := range size {
			c.Stop(i)
		}
	})
	for i := range size {
		c.Start(i)
	}
	c.Await()
	return c
}

// FreePorts gives loopback ports that nobody listens on just now. None is one of those that the system gives to whoever
// asks for any: another program could have it before it is used, or while its server is stopped.
func FreePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range 1000 {
		port := 15_000 + rand.IntN(15_000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // all at once, so that none is given twice
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("bustest: no free ports")
	return nil
}

// URLs lists all the servers' URLs.
func (c *Servers) URLs() string {
	var all []string
	for _, o := range c.options {
		all = append(all, "nats://"+net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	}
	return strings.Join(all, ",")
}

// Start brings a server up, and doesn't wait for it.
func (c *Servers) Start(i int) {
	c.t.Helper()
	o := c.options[i].Clone()
	s, err := server.NewServer(o)
	if err != nil {
		c.t.Fatalf("bustest: cluster: %v", err)
	}
	go s.Start()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[i] = s
}

// Stop ends a server in good order; it is no error that it is stopped already.
func (c *Servers) Stop(i int) {
	if s := c.take(i); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// Retire makes a server send its clients away before it ends.
func (c *Servers) Retire(i int) {
	if s := c.take(i); s != nil {
		s.LameDuckShutdown()
		s.WaitForShutdown()
	}
}

func (c *Servers) take(i int) *server.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.running[i]
	c.running[i] = nil
	return s
}

func (c *Servers) all() (running []*server.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.running {
		if s != nil {
			running = append(running, s)
		}
	}
	return running
}

// Await waits until those that run take connections and have a leader.
func (c *Servers) Await() {
	c.t.Helper()
	Eventually(c.t, "the cluster has a leader", func() bool {
		all := c.all()
		return slices.ContainsFunc(all, (*server.Server).JetStreamIsLeader) &&
			!slices.ContainsFunc(all, func(s *server.Server) bool {
				return !s.ReadyForConnections(time.Millisecond) || !s.JetStreamIsCurrent()
			})
	})
}

// AwaitCurrent waits until every server that runs has all that the streams hold, so that
// another one may go.
func (c *Servers) AwaitCurrent() {
	c.t.Helper()
	Eventually(c.t, "the streams are current", func() bool {
		for _, s := range c.all() {
			if h := s.Healthz(&server.HealthzOptions{}); h.StatusCode != 200 {
				return false
			}
		}
		return true
	})
}

// Leader is the number of the server that leads a stream, -1 if none does.
func (c *Servers) Leader(stream string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.IndexFunc(c.running, func(s *server.Server) bool {
		return s != nil && s.Running() && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream)
	})
}

// AwaitLeader is Leader, once a server leads the stream.
func (c *Servers) AwaitLeader(stream string) (i int) {
	c.t.Helper()
	Eventually(c.t, stream+" has a leader", func() bool { i = c.Leader(stream); return i >= 0 })
	return i
}

// TLS is a change for Server: it takes connections over TLS only.
func TLS(cert tls.Certificate) func(*server.Options) {
	return func(o *server.Options) {
		o.TLS = true
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
}

// At uses the server at url instead of an embedded one.
func At(url string) Option {
	return WithConfig(func(c *bus.Config) { c.URL, c.Durability = url, "" })
}

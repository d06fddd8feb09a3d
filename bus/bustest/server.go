package bustest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
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
	const size = 3
	var ports [size]int
	var routes []*url.URL
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("bustest: cluster: %v", err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		if err := l.Close(); err != nil {
			t.Fatalf("bustest: cluster: %v", err)
		}
	}
	var all []*server.Server
	var list []string
	for i := range size {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(),
			Cluster: server.ClusterOpts{Name: "bustest", Host: "127.0.0.1", Port: ports[i]}, Routes: routes,
		})
		if err != nil {
			t.Fatalf("bustest: cluster: %v", err)
		}
		go s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		all = append(all, s)
	}
	for _, s := range all {
		if !s.ReadyForConnections(30 * time.Second) {
			t.Fatal("bustest: cluster does not start")
		}
		list = append(list, s.ClientURL())
	}
	Eventually(t, "the cluster has a leader", func() bool {
		return slices.ContainsFunc(all, (*server.Server).JetStreamIsLeader) &&
			!slices.ContainsFunc(all, func(s *server.Server) bool { return !s.JetStreamIsCurrent() })
	})
	return strings.Join(list, ","), func(stream string) {
		for _, s := range all {
			if s.Running() && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				s.Shutdown()
				s.WaitForShutdown()
				return
			}
		}
		t.Errorf("bustest: nobody leads %s", stream)
	}
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

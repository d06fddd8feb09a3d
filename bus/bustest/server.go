package bustest

import (
	"crypto/tls"
	"testing"
	"time"

	"godwit/bus"

	"github.com/nats-io/nats-server/v2/server"
)

// Server runs a nats-server of its own that listens on a free loopback port, for
// tests in which several buses share one log. It gives the server's URL.
func Server(t testing.TB, change ...func(*server.Options)) (url string) {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(),
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
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	return s.ClientURL()
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

package connector

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/internal/certtest"
	"godwit/schema/client"
)

// behind is how connections come to a server: on its plain port or over TLS.
type behind struct {
	name string
	dial func(t *testing.T, r *running, header string) *dialled
}

// ports are both of them. A header goes in front of TLS.
var ports = []behind{
	{"plain", func(t *testing.T, r *running, header string) *dialled {
		c := r.dial()
		c.put([]byte(header))
		return c
	}},
	{"tls", func(t *testing.T, r *running, header string) *dialled {
		c, err := net.Dial("tcp", r.srv.TLSAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(header)); err != nil {
			t.Fatal(err)
		}
		return dialledOver(t, tls.Client(c, &tls.Config{InsecureSkipVerify: true}))
	}},
}

// log collects what is written to a logger.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startBehind(t *testing.T, trusted ...string) (*running, *logged) {
	log := &logged{}
	cert, key := certtest.Write(t, t.TempDir(), "a", certtest.Ends)
	return start(t, func(c *Config) {
		c.TLSListen, c.TLSCert, c.TLSKey = "127.0.0.1:0", cert, key
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, p := range trusted {
			c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(p))
		}
	}), log
}

const headerOfSecondVersion = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x01\x00\x1f\x40"

// The address of limits and of the picture store is the client's, whatever version the
// balancer speaks and however its header is cut.
func TestAddressBehindABalancer(t *testing.T) {
	for _, port := range ports {
		for version, header := range map[string]string{
			"v1": "PROXY TCP4 192.0.2.7 192.0.2.1 256 8000\r\n", "v2": headerOfSecondVersion,
		} {
			t.Run(port.name+version, func(t *testing.T) {
				r, _ := startBehind(t, "127.0.0.0/8")
				c := port.dial(t, r, header)
				c.login("ann", windows)
				if !r.srv.HasAddress(netip.MustParseAddr("192.0.2.7")) || r.srv.HasAddress(netip.MustParseAddr("127.0.0.1")) {
					t.Error("the session is the balancer's")
				}
				c.put(pack(t, client.CmdMsgData, 7, msg(2, text, "hi")))
				c.until(client.CmdMsgDataAck)
				c.Close()
				r.eventually("it is gone", func() bool { return r.srv.Sessions() == 0 })
			})
		}
	}
	t.Run("in pieces", func(t *testing.T) {
		r, _ := startBehind(t, "127.0.0.0/8")
		c := r.dial()
		for i := range len(headerOfSecondVersion) {
			c.put([]byte(headerOfSecondVersion[i : i+1]))
		}
		c.login("ann", windows)
		if !r.srv.HasAddress(netip.MustParseAddr("192.0.2.7")) {
			t.Error("the session is the balancer's")
		}
	})
	t.Run("with the login", func(t *testing.T) {
		r, _ := startBehind(t, "127.0.0.0/8")
		c := r.dial()
		c.put([]byte(headerOfSecondVersion), pack(t, client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
		c.until(client.CmdLoginRes)
	})
}

// A header from somebody who is not trusted is bad input, and changes nobody's address; one
// who is trusted can't do without.
func TestHeadersFromStrangers(t *testing.T) {
	for _, c := range []struct {
		name    string
		trusted []string
		header  string
		in      bool
	}{
		{"nobody is trusted, no header", nil, "", true},
		{"nobody is trusted", nil, "PROXY TCP4 192.0.2.7 192.0.2.1 256 8000\r\n", false},
		{"nobody is trusted, v2", nil, headerOfSecondVersion, false},
		{"another one is trusted", []string{"10.0.0.0/8", "::1/128"}, "PROXY TCP4 192.0.2.7 192.0.2.1 256 8000\r\n", false},
		{"another one is trusted, v2", []string{"10.0.0.0/8"}, headerOfSecondVersion, false},
		{"another one is trusted, no header", []string{"10.0.0.0/8"}, "", true},
		{"trusted, no header", []string{"127.0.0.1/32"}, "", false},
		{"trusted, half a header", []string{"127.0.0.1/32"}, "PROXY TCP4 192.0.2.7\r\n", false},
		{"trusted, header twice", []string{"127.0.0.1/32"}, headerOfSecondVersion + headerOfSecondVersion, false},
	} {
		for _, port := range ports {
			t.Run(c.name+port.name, func(t *testing.T) {
				r, _ := startBehind(t, c.trusted...)
				conn := port.dial(t, r, c.header)
				if c.in {
					conn.login("ann", windows)
					return
				}
				conn.Write(pack(t, client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
				if _, err := conn.next(); err == nil {
					t.Error("it is served")
				}
				if r.srv.HasAddress(netip.MustParseAddr("192.0.2.7")) {
					t.Error("the header is believed")
				}
				conn.Conn.Close()
				r.eventually("it is gone", func() bool { return r.srv.Sessions() == 0 })
			})
		}
	}
}

// A balancer looks whether the server is there. That is no client, and nothing to be told of.
func TestHealthChecksLeaveNoTrace(t *testing.T) {
	r, log := startBehind(t, "127.0.0.0/8")
	for _, header := range []string{"", "PROXY UNKNOWN\r\n", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "PROXY TCP4 19"} {
		for _, port := range ports {
			c := port.dial(t, r, header)
			if n := r.srv.Sessions(); n != 0 {
				t.Errorf("%q counts as %d clients", header, n)
			}
			c.Conn.Close()
		}
	}
	r.eventually("they are forgotten", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return len(r.srv.headless) == 0
	})
	if n := gathered(t, r.srv.cfg.Registerer, "godwit_connector_connections_accepted_total"); n != 0 {
		t.Errorf("%v connections are counted", n)
	}
	if s := log.text(); strings.Contains(s, "session closed") || strings.Contains(s, "level=WARN") {
		t.Errorf("logged: %s", s)
	}
}

// A balancer's connections without header don't pile up, and don't hold up a drain.
func TestConnectionsWithoutHeaderEnd(t *testing.T) {
	r, _ := startBehind(t, "127.0.0.0/8")
	var all []*dialled
	for _, port := range ports {
		all = append(all, port.dial(t, r, "PROXY"))
	}
	r.eventually("they wait", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return len(r.srv.headless) == 2
	})
	r.srv.endHeadless(r.srv.tick(), false)
	r.srv.mu.Lock()
	n := len(r.srv.headless)
	r.srv.mu.Unlock()
	if n != 2 {
		t.Errorf("%d wait before their time is over", n)
	}
	r.srv.endHeadless(r.srv.tick()+ticks(headerTime)+1, false)
	if err := all[0].ended(); err != nil {
		t.Error(err)
	}
	late := ports[0].dial(t, r, "PROXY")
	r.eventually("one waits", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return len(r.srv.headless) == 1
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if err := late.ended(); err != nil {
		t.Error(err)
	}
}

// gathered is the value of a metric without labels.
func gathered(t *testing.T, reg prometheus.Registerer, name string) float64 {
	t.Helper()
	all, err := reg.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatal(fmt.Sprint("no metric ", name))
	return 0
}

package connector

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"godwit/connector/proxyheader"
	"godwit/connector/reactor"
)

const (
	// headerTime is how long a trusted balancer may take for its header.
	headerTime = 5 * time.Second
	// maxHeadless bounds the connections whose header is not there yet; those beyond are
	// closed.
	maxHeadless = 10_000
)

// trusts tells whether a connection from the address has to begin with a header that says
// whose it is.
func (srv *Server) trusts(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return slices.ContainsFunc(srv.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(from) })
}

// welcome makes the peer of a new connection on the plain port; nil refuses it.
func (srv *Server) welcome(w reactor.Waker, from netip.Addr) reactor.Peer {
	if !srv.trusts(from) {
		return peer(srv.admit(w, from))
	}
	h := &headless{srv: srv, wire: w}
	if !srv.await(h, func() { h.over.Store(true); w.Wake() }) {
		return nil
	}
	return h
}

// await notes a connection without header, and how it is ended when its time is over. It is
// false if there are too many, or the server takes nobody any more.
func (srv *Server) await(key any, end func()) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.draining.Load() || len(srv.headless) >= maxHeadless {
		srv.metrics.rejected.WithLabelValues("header").Inc()
		return false
	}
	if srv.headless == nil {
		srv.headless = make(map[any]waits)
	}
	srv.headless[key] = waits{end, srv.tick() + ticks(headerTime)}
	return true
}

// waits is a connection whose header is to come.
type waits struct {
	end      func()
	deadline uint32 // tick
}

// awaited forgets a connection that was waited for.
func (srv *Server) awaited(key any) {
	srv.mu.Lock()
	delete(srv.headless, key)
	srv.mu.Unlock()
}

// endHeadless ends the connections whose time is over; all says that this is so for each.
func (srv *Server) endHeadless(now uint32, all bool) {
	var over []func()
	srv.mu.Lock()
	for key, w := range srv.headless {
		if all || now > w.deadline {
			over = append(over, w.end)
			delete(srv.headless, key)
		}
	}
	srv.mu.Unlock()
	for _, end := range over {
		end()
	}
}

// headless is the peer of a connection from a trusted balancer: until its header is there
// nobody's, from then on that of a session. A balancer's own connection, by which it sees
// whether the server is alive, stays nobody's until it ends: it is no client and leaves no
// trace.
type headless struct {
	srv  *Server
	wire reactor.Waker
	in   []byte
	then reactor.Peer // once the header is there
	own  bool         // the balancer's
	over atomic.Bool
}

// Input takes the header, and hands on what follows it.
func (h *headless) Input(p []byte) {
	switch {
	case h.then != nil:
		h.then.Input(p)
		return
	case h.own:
		return
	}
	if len(h.in) > 0 {
		h.in = append(h.in, p...)
		p = h.in
	}
	head, n, err := proxyheader.Parse(p)
	switch {
	case err != nil:
		h.srv.metrics.rejected.WithLabelValues("header").Inc()
		h.over.Store(true)
	case n == 0:
		if len(h.in) == 0 {
			h.in = bytes.Clone(p)
		}
		return
	case !head.From.IsValid():
		h.own = true
		h.in = nil
		return
	default:
		h.srv.awaited(h)
		if h.then = peer(h.srv.admit(h.wire, head.From.Addr())); h.then == nil {
			h.over.Store(true)
		} else if len(p) > n {
			h.then.Input(p[n:])
		}
	}
	h.in = nil
}

// Turn reads on until there is a session.
func (h *headless) Turn(free bool) reactor.Next {
	switch {
	case h.then != nil:
		return h.then.Turn(free)
	case h.over.Load():
		return reactor.Next{Close: reactor.CloseNow}
	}
	return reactor.Next{Read: true}
}

// Sent, Hangup and Closed are the session's, once there is one.

func (h *headless) Sent(b []byte) {
	if h.then != nil {
		h.then.Sent(b)
	}
}

func (h *headless) Hangup() {
	if h.then != nil {
		h.then.Hangup()
	}
}

func (h *headless) Closed(err error) {
	if h.then != nil {
		h.then.Closed(err)
		return
	}
	h.srv.awaited(h)
	h.in = nil
}

// serveSecure serves one accepted TLS connection until it ends.
func (srv *Server) serveSecure(conn net.Conn, config *tls.Config) {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		conn.Close()
		return
	}
	if srv.trusts(from.Addr()) {
		ahead, err := srv.readHeader(conn)
		if err != nil || !ahead.from.IsValid() {
			conn.Close()
			return
		}
		conn, from = ahead, ahead.from
	}
	reactor.NewStream(tls.Server(conn, config), func(w reactor.Waker) reactor.Peer { return peer(srv.admit(w, from.Addr())) }).Run()
}

// headed is a connection whose header has been read, and with it perhaps more.
type headed struct {
	net.Conn
	from netip.AddrPort // not valid: the balancer's own connection
	rest []byte
}

func (c *headed) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.rest = nil
	}
	return n, nil
}

// CloseWrite is the connection's own, if it can be half closed.
func (c *headed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// readHeader waits for the header of a balancer's connection, as long as it may take.
func (srv *Server) readHeader(conn net.Conn) (*headed, error) {
	if !srv.await(conn, func() { conn.Close() }) {
		return nil, net.ErrClosed
	}
	defer srv.awaited(conn)
	var in []byte
	buf := make([]byte, 512)
	for {
		n, err := conn.Read(buf)
		in = append(in, buf[:n]...)
		if n == 0 && err != nil {
			return nil, err
		}
		h, size, failed := proxyheader.Parse(in)
		switch {
		case failed != nil:
			srv.metrics.rejected.WithLabelValues("header").Inc()
			return nil, fmt.Errorf("from %v: %w", conn.RemoteAddr(), failed)
		case size > 0:
			return &headed{conn, h.From, in[size:]}, nil
		case err != nil:
			return nil, err
		}
	}
}

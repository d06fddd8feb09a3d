package connector

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	rfc6455 "github.com/gobwas/ws"

	"godwit/connector/reactor"
	"godwit/connector/ws"
	"godwit/internal/origin"
	"godwit/schema/event"
	"godwit/schema/pdu"
)

// upgradeTime is how long a client may take to accept the answer to its upgrade.
const upgradeTime = 10 * time.Second

// WebSocket serves requests for sessions over WebSocket (see package ws), while Run does. Such a session counts against
// the same limits as one over a plain connection; what can't be let in is refused before it is upgraded:
//
//	400  not a proper upgrade
//	403  a page of another site asks (see Config.Origins)
//	405  not GET
//	426  no upgrade is asked for
//	429  too many connections from the address
//	503  too many connections, or the server is not serving
//
// A plain TCP connection joins the server's loops, and costs what one of the plain port does; any other keeps goroutines of
// its own. If the connection, or that beneath its TLS, has a method Release, it is called once the connection is a
// session's; if it has a method Unwrap() net.Conn, that tells which connection it stands for.
func (srv *Server) WebSocket() http.Handler { return http.HandlerFunc(srv.upgrade) }

func (srv *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	refuse := func(reason string, status int, text string) {
		srv.metrics.notUpgraded.WithLabelValues(reason).Inc()
		if status != http.StatusUpgradeRequired {
			// A proxy may take any answer for a yes, and hand on unseen what its client sends then.
			w.Header().Set("Connection", "close")
		}
		http.Error(w, text, status)
	}
	away := func() {
		w.Header().Set("Retry-After", "5")
		refuse("stopping", http.StatusServiceUnavailable, "This server takes no sessions now. Try again later.")
	}
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse("request", http.StatusMethodNotAllowed, "Sessions over WebSocket begin with GET.")
		return
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		refuse("request", http.StatusUpgradeRequired, "This is the place of sessions over WebSocket: ask for an upgrade.")
		return
	case r.ContentLength != 0:
		refuse("request", http.StatusBadRequest, "An upgrade has no body.")
		return
	case !srv.origins.allow(r):
		refuse("origin", http.StatusForbidden, "Pages of this site may not open sessions here. An operator can allow it with --origin.")
		return
	}
	select {
	case <-srv.listening:
	default:
		away()
		return
	}
	if srv.draining.Load() {
		away()
		return
	}
	from, ok := srv.clientOf(r)
	if !ok {
		refuse("request", http.StatusBadRequest, "The request has no address.")
		return
	}
	switch srv.full(from) {
	case "":
	case "address":
		srv.metrics.rejected.WithLabelValues("address").Inc()
		refuse("address", http.StatusTooManyRequests, "Too many connections from your address.")
		return
	default:
		srv.metrics.rejected.WithLabelValues("connections").Inc()
		w.Header().Set("Retry-After", "5")
		refuse("connections", http.StatusServiceUnavailable, "Too many connections. Try again later.")
		return
	}
	conn, rw, _, err := rfc6455.HTTPUpgrader{Timeout: upgradeTime}.Upgrade(r, w)
	if err != nil {
		srv.metrics.notUpgraded.WithLabelValues("request").Inc()
		if conn != nil {
			conn.Close() // the client has been told
		}
		return
	}
	var first []byte
	if n := rw.Reader.Buffered(); n > 0 {
		first = make([]byte, n)
		_, _ = rw.Reader.Read(first) // they are there
	}
	srv.metrics.upgraded.Inc()
	srv.serveUpgraded(conn, first, func(w reactor.Waker) reactor.Peer { return srv.admitWebSocket(w, from) })
}

// serveUpgraded gives an upgraded connection its session, and returns; first has been read from it already.
func (srv *Server) serveUpgraded(conn net.Conn, first []byte, open func(reactor.Waker) reactor.Peer) {
	_ = conn.SetDeadline(time.Time{})
	inner := conn
	if wrapped, ok := conn.(interface{ Unwrap() net.Conn }); ok {
		inner = wrapped.Unwrap()
	}
	if plain, ok := inner.(*net.TCPConn); ok && srv.loops.Adopt(plain, first, open) {
		conn.Close() // gives its place back; the session has a duplicate
		return
	}
	counted := conn
	if secure, ok := conn.(*tls.Conn); ok {
		counted = secure.NetConn()
	}
	if place, ok := counted.(interface{ Release() }); ok {
		place.Release()
	}
	stream := reactor.NewStream(&headed{Conn: inner, rest: first}, open)
	if !srv.upgraded.do(stream.Run) {
		inner.Close()
	}
}

// admitWebSocket makes the peer of an upgraded connection; nil refuses it.
func (srv *Server) admitWebSocket(w reactor.Waker, from netip.Addr) reactor.Peer {
	s := srv.admit(w, from)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.framed = true
	s.mu.Unlock()
	srv.metrics.webSockets.Inc()
	return ws.NewConn(&srv.frames, framed{s})
}

// full says which limit leaves no room for a connection from the address, "" if none.
func (srv *Server) full(from netip.Addr) string {
	key := origin.Of(from)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch {
	case len(srv.sessions) >= srv.limits.Connections:
		return "connections"
	case int(srv.perAddress[key]) >= srv.limits.PerAddress:
		return "address"
	}
	return ""
}

// clientOf is the address of the client that asks: the connection's, or, behind trusted proxies, the nearest that is not
// one of theirs.
func (srv *Server) clientOf(r *http.Request) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	from := at.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !srv.trusts(from) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break // what stands to the left of what nobody can read is hearsay
		}
		from = next.Unmap().WithZone("")
	}
	return from, true
}

// origins are the sites whose pages may open sessions, in lower case.
type origins struct {
	any    bool
	listed []string
}

func newOrigins(listed []string) origins {
	o := origins{any: slices.Contains(listed, "*")}
	for _, l := range listed {
		o.listed = append(o.listed, strings.ToLower(l))
	}
	return o
}

// allow tells whether whoever asks may: no page at all, a page of this server's own, or one of a listed site.
func (o origins) allow(r *http.Request) bool {
	given := r.Header.Values("Origin")
	switch {
	case len(given) == 0 || o.any:
		return true
	case len(given) > 1:
		return false
	}
	site := strings.ToLower(given[0])
	_, host, ok := strings.Cut(site, "://")
	return ok && host != "" && strings.EqualFold(host, r.Host) || slices.Contains(o.listed, site) || ok && slices.Contains(o.listed, host)
}

// ValidOrigin tells whether an entry of [Config].Origins can match anything: an origin, a host with or without a port, or *.
func ValidOrigin(o string) bool {
	if o == "*" {
		return true
	}
	if !strings.Contains(o, "://") {
		o = "any://" + o
	}
	u, err := url.Parse(o)
	return err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && u.Path == "" && u.RawQuery == "" && u.Fragment == "" && !u.ForceQuery
}

// framed is a session towards its WebSocket connection.
type framed struct{ *session }

var _ ws.Session = framed{}

// Heard tells that the client lives.
func (s framed) Heard() { s.seen.Store(s.srv.tick()) }

// Limit is how many bytes a PDU may have. What comes while the session logs in waits until that is through.
func (s framed) Limit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == connected {
		return pdu.MaxBeforeLogin
	}
	return pdu.MaxAfterLogin
}

// Charge holds a client that makes too much work beside its PDUs.
func (s framed) Charge(eighths int) {
	if wait := s.bucket.owe(s.srv.rate, time.Since(s.srv.start), eighths); wait > 0 {
		s.srv.metrics.held.WithLabelValues("rate").Inc()
		s.holdFor(holdRate, wait)
	}
}

// End ends the session of a client that says goodbye.
func (s framed) End() { s.close(event.EndReason_END_REASON_CLOSED, true) }

// Break ends the session of a client that breaks the rules.
func (s framed) Break() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closing {
		return false
	}
	s.closeLocked(event.EndReason_END_REASON_PROTOCOL, true)
	return true
}

// Closed is the end of the connection.
func (s framed) Closed(err error) {
	s.srv.metrics.webSockets.Dec()
	s.session.Closed(err)
}

// Farewell tells why a closing session ends.
func (s framed) Farewell() (why ws.Code, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.farewell(), s.abort
}

// farewell is the code for the session's end. mu is held.
func (s *session) farewell() ws.Code {
	switch s.reason {
	case event.EndReason_END_REASON_LOGOUT:
		return ws.Normal
	case event.EndReason_END_REASON_NODE_STOPPED, event.EndReason_END_REASON_NODE_LOST:
		return ws.GoingAway
	case event.EndReason_END_REASON_PROTOCOL:
		return ws.Policy
	case event.EndReason_END_REASON_TIMEOUT:
		return ws.Silent
	case event.EndReason_END_REASON_ABANDONED:
		return ws.Refused
	case event.EndReason_END_REASON_ADMIN:
		return ws.ByOperator
	case event.EndReason_END_REASON_DISABLED:
		return ws.Disabled
	case event.EndReason_END_REASON_PASSWORD_CHANGED:
		return ws.NewPassword
	case event.EndReason_END_REASON_REPLACED:
		if s.kicked {
			return ws.Replaced
		}
	case event.EndReason_END_REASON_KICKED:
		if s.kicked {
			return ws.SentAway
		}
	}
	return ws.TryLater // it is meant to come back
}

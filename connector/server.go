package connector

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/certfile"
	"godwit/connector/delivery"
	"godwit/connector/reactor"
	"godwit/connector/ws"
	"godwit/internal/origin"
	"godwit/internal/password"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// acceptPause is how long accepting waits when descriptors have run out.
const acceptPause = 50 * time.Millisecond

// maxOwed bounds the ends of sessions that wait for room in the log. Those beyond are
// told by the end of the node's life.
const maxOwed = 100_000

// Server holds the clients of one node.
type Server struct {
	Gate
	cfg     Config
	limits  Limits
	policy  commands.DevicePolicy
	rate    rate
	log     *slog.Logger
	metrics *metrics
	start   time.Time
	origins origins
	certs   atomic.Pointer[certfile.Files] // of the TLS port

	ctx  context.Context // of everything that works for sessions
	stop context.CancelFunc

	limiter    *password.Limiter
	remembered *password.Remembered
	recalled   []byte // msg_data of what was recalled
	permits    permits
	members    memberships
	statuses   statuses
	logins     pool[*login]
	checks     fair[netip.Addr, *login] // by address: a guesser must not hold up the others
	asks       pool[*session]
	notices    pool[*notice]

	suspended atomic.Bool
	draining  atomic.Bool
	leaving   atomic.Uint32 // while it drains, the most seconds after which clients are asked to come back
	stopping  atomic.Bool   // the time for draining is over
	away      atomic.Bool   // nothing is stored, and clients were told
	partial   atomic.Int64  // bytes of incomplete PDUs
	pending   atomic.Int64  // appends without outcome
	rehashing atomic.Int32  // hashes that are being replaced
	present   presentAt     // who is logged in, by address

	listening chan struct{} // closed once clients are accepted
	addr      net.Addr      // set before that
	tlsAddr   net.Addr
	loops     *loops    // set before that
	frames    ws.Shared // of WebSocket connections
	upgraded  crew      // WebSocket connections that have goroutines of their own

	mu          sync.Mutex
	sessions    []*session
	byUser      map[uint32]*session // from register to unregister, linked by next
	perAddress  map[netip.Addr]int32
	headless    map[any]waits // connections of balancers that don't say yet whose they are
	credentials uint64        // newest PEOPLE position at which somebody's credentials changed
	missed      uint64        // how often changes may have gone unheard
	owed        []owedEnd
	emptied     chan struct{} // closed when the last session has gone; nil: nobody waits

	ground crew // background work
}

type owedEnd struct {
	s      *session
	reason event.EndReason
}

// New makes a server. It serves once Run is called; until then its Handler may be
// given to a node.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("connector: %w", err)
	}
	cfg.Limits.defaults()
	cfg.Contacts = cmp.Or(cfg.Contacts, Everyone)
	def(&cfg.StatusLimit, 1000)
	def(&cfg.DrainTimeout, 5*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Limiter == nil {
		cfg.Limiter = password.NewLimiter(time.Now, password.DefaultLimiterEntries)
	}
	if cfg.Remembered == nil {
		cfg.Remembered = password.NewRemembered(time.Now, password.DefaultRememberFor, password.DefaultRemembered)
	}
	if cfg.Policy == nil {
		cfg.Policy = commands.DefaultDevicePolicy()
	}
	srv := &Server{
		cfg: cfg, limits: cfg.Limits, policy: cfg.Policy, log: cfg.Logger,
		rate: newRate(cfg.Limits.Rate, cfg.Limits.Burst), start: time.Now(),
		limiter: cfg.Limiter, remembered: cfg.Remembered, listening: make(chan struct{}),
		byUser: make(map[uint32]*session), perAddress: make(map[netip.Addr]int32),
		present: presentAt{count: make(map[netip.Addr]int32)},
	}
	srv.origins = newOrigins(cfg.Origins)
	srv.frames = ws.Shared{
		Tick:  srv.tick,
		Keep:  func(n int) bool { return srv.partial.Add(int64(n)) <= int64(srv.limits.PartialInput) },
		Wrote: func(n int) { srv.metrics.outputBytes.Add(float64(max(n, 0))) },
	}
	var err error
	if srv.metrics, err = newMetrics(cfg.Registerer, srv); err != nil {
		return nil, fmt.Errorf("connector: %w", err)
	}
	srv.ctx, srv.stop = context.WithCancel(context.Background())
	srv.recalled = content.EncryptText(cmp.Or(cfg.RecalledText, DefaultRecalledText))
	srv.Gate.init(GateConfig{ResumeTime: cfg.ResumeTime, Secrets: cfg.Secrets, Ask: cfg.Limits.Ask}, srv.tick)
	srv.permits = newPermits(srv)
	srv.statuses = statuses{srv: srv, changed: make(map[uint32]userStatus), shown: make(map[uint32]shown), friends: make(map[uint32][]uint32)}
	srv.logins = pool[*login]{limit: cfg.Limits.LoginWorkers, run: (*login).look}
	srv.checks = fair[netip.Addr, *login]{limit: 2 * runtime.GOMAXPROCS(0), run: (*login).check}
	srv.asks = pool[*session]{limit: cfg.Limits.QuestionWorkers, run: (*session).ask}
	srv.members = memberships{srv: srv, known: make(map[membership]memberPermit), waiting: make(map[membership][]*session),
		stale: make(map[membership]struct{})}
	srv.members.asks = pool[membership]{limit: memberQuestions, run: srv.members.look}
	srv.notices = pool[*notice]{limit: noticeWorkers, run: (*notice).make}
	return srv, nil
}

// Run listens, serves clients once the node has started, and drains when ctx ends: nobody
// new is let in, and the sessions that are there are closed one after the other, each when
// what it has sent is answered, for at most DrainTimeout (see Config); clients have Limits.Goodbye
// to take what is left for them. The node must run until Run has returned; its end then tells
// the log.
func (srv *Server) Run(ctx context.Context, node Node) error {
	srv.Use(node)
	defer srv.stop()
	loops, err := newLoops()
	if err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	defer loops.Close()
	srv.loops = loops
	plain, secure, config, err := srv.listen(ctx)
	if err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	defer closeListeners(plain, secure)
	select {
	case <-ctx.Done():
		return nil
	case <-node.Started():
	}
	close(srv.listening)
	node.Announce()

	var work sync.WaitGroup // outlives ctx: sessions need it while they drain
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer work.Wait()
	defer stopWork()
	work.Go(func() { srv.sweepUntil(workCtx) })
	work.Go(func() { srv.statuses.run(workCtx) })
	work.Go(func() { srv.watchLog(workCtx) })

	g, serving := errgroup.WithContext(ctx)
	var streams sync.WaitGroup
	if plain != nil {
		g.Go(func() error {
			return loops.Serve(serving, plain, func(w reactor.Waker, from netip.AddrPort) reactor.Peer { return srv.welcome(w, from.Addr()) })
		})
	}
	if secure != nil {
		g.Go(func() error { return srv.serveTLS(serving, secure, config, &streams) })
	}
	<-serving.Done()
	srv.drain()
	err = g.Wait()
	loops.Close()
	streams.Wait()
	srv.upgraded.end()
	srv.stop()
	srv.logins.close()
	srv.checks.close()
	srv.asks.close()
	srv.members.asks.close()
	srv.notices.close()
	srv.ground.end()
	if err != nil {
		return fmt.Errorf("connector: %w", err)
	}
	return nil
}

// peer keeps a nil session a nil peer.
func peer(s *session) reactor.Peer {
	if s == nil {
		return nil
	}
	return s
}

func closeListeners(plain, secure *net.TCPListener) {
	if plain != nil {
		plain.Close()
	}
	if secure != nil {
		secure.Close()
	}
}

func (srv *Server) listen(ctx context.Context) (plain, secure *net.TCPListener, config *tls.Config, err error) {
	var lc net.ListenConfig
	if srv.cfg.Listen != "" {
		ln, err := lc.Listen(ctx, "tcp", srv.cfg.Listen)
		if err != nil {
			return nil, nil, nil, err
		}
		plain, srv.addr = ln.(*net.TCPListener), ln.Addr()
	}
	if srv.cfg.TLSListen != "" {
		certs, err := certfile.Open(srv.cfg.TLSCert, srv.cfg.TLSKey, srv.log)
		var ln net.Listener
		if err == nil {
			ln, err = lc.Listen(ctx, "tcp", srv.cfg.TLSListen)
		}
		if err != nil {
			closeListeners(plain, nil)
			return nil, nil, nil, err
		}
		secure, srv.tlsAddr = ln.(*net.TCPListener), ln.Addr()
		srv.certs.Store(certs)
		config = &tls.Config{GetCertificate: certs.Get, MinVersion: tls.VersionTLS12}
	}
	return plain, secure, config, nil
}

// Listening is closed once clients are accepted.
func (srv *Server) Listening() <-chan struct{} { return srv.listening }

// Addr is where plain TCP is accepted, nil if nowhere. It is set when Listening is
// closed.
func (srv *Server) Addr() net.Addr { return srv.addr }

// TLSAddr is where TLS is accepted, nil if nowhere. It is set when Listening is closed.
func (srv *Server) TLSAddr() net.Addr { return srv.tlsAddr }

// Ready tells why clients can't be served now, nil if they can.
func (srv *Server) Ready() error {
	select {
	case <-srv.listening:
	default:
		return errors.New("connector: not listening yet")
	}
	if srv.draining.Load() {
		return errors.New("connector: stopping")
	}
	if srv.suspended.Load() {
		return errors.New("connector: suspended")
	}
	return srv.node.Ready()
}

// Serving is what the node's beats say of this server: it is for delivery.Config.Serving.
func (srv *Server) Serving() delivery.Serving {
	s := delivery.Serving{Clients: srv.count(), Capacity: srv.limits.Connections}
	select {
	case <-srv.listening:
	default:
		return s
	}
	s.Serves = !srv.draining.Load() && !srv.suspended.Load()
	for _, a := range []net.Addr{srv.addr, srv.tlsAddr} {
		if a, ok := a.(*net.TCPAddr); ok && s.Port == 0 {
			s.Port = a.Port
		}
	}
	return s
}

// Sessions is how many clients are connected, logged in or not.
func (srv *Server) Sessions() int { return srv.count() }

// serveTLS accepts TLS clients until ctx ends. Each is served on the standard library's
// connection.
func (srv *Server) serveTLS(ctx context.Context, ln net.Listener, config *tls.Config, streams *sync.WaitGroup) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil: // out of descriptors: wait for connections to end
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		streams.Go(func() { srv.serveSecure(conn, config) })
	}
}

// admit makes a session for a new connection; nil refuses it.
func (srv *Server) admit(w reactor.Waker, from netip.Addr) *session {
	if srv.draining.Load() {
		return nil
	}
	from = from.Unmap()
	key := origin.Of(from)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	switch {
	case len(srv.sessions) >= srv.limits.Connections:
		srv.metrics.rejected.WithLabelValues("connections").Inc()
		return nil
	case int(srv.perAddress[key]) >= srv.limits.PerAddress:
		srv.metrics.rejected.WithLabelValues("address").Inc()
		return nil
	}
	now := srv.tick()
	s := &session{srv: srv, wire: w, addr: from, index: int32(len(srv.sessions)), deadline: now + ticks(srv.limits.LoginWait)}
	s.seen.Store(now)
	srv.sessions = append(srv.sessions, s)
	srv.perAddress[key]++
	srv.metrics.accepted.Inc()
	return s
}

// remove forgets a session whose connection has ended.
func (srv *Server) remove(s *session) {
	key := origin.Of(s.addr)
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if s.index < 0 {
		return
	}
	last := len(srv.sessions) - 1
	moved := srv.sessions[last]
	srv.sessions[s.index], moved.index = moved, s.index
	srv.sessions[last] = nil
	srv.sessions = srv.sessions[:last]
	s.index = -1
	if srv.perAddress[key]--; srv.perAddress[key] <= 0 {
		delete(srv.perAddress, key)
	}
	if last == 0 && srv.emptied != nil {
		close(srv.emptied)
		srv.emptied = nil
	}
}

// unregister takes the session out of its user's.
func (srv *Server) unregister(s *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if first := srv.byUser[s.user]; first == s {
		if s.next == nil {
			delete(srv.byUser, s.user)
		} else {
			srv.byUser[s.user] = s.next
		}
	} else {
		for ; first != nil; first = first.next {
			if first.next == s {
				first.next = s.next
				break
			}
		}
	}
	s.next = nil
}

// find is the first session of the user that fits.
func (srv *Server) find(user uint32, fits func(s *session) bool) *session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := srv.byUser[user]; s != nil; s = s.next {
		if fits(s) {
			return s
		}
	}
	return nil
}

// each calls f for the registered sessions of the user, under srv.mu.
func (srv *Server) each(user uint32, f func(s *session)) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for s := srv.byUser[user]; s != nil; s = s.next {
		f(s)
	}
}

// all calls f for all sessions, with no lock held.
func (srv *Server) all(f func(s *session)) {
	srv.mu.Lock()
	sessions := append([]*session(nil), srv.sessions...)
	srv.mu.Unlock()
	for _, s := range sessions {
		f(s)
	}
}

func (srv *Server) count() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.sessions)
}

// background runs f on a goroutine that Run waits for. It is false when the server
// has stopped.
func (srv *Server) background(f func()) bool { return srv.ground.do(f) }

// crew is goroutines that somebody waits for.
type crew struct {
	mu   sync.Mutex
	over bool // no more of them
	wg   sync.WaitGroup
}

// do runs f on a goroutine; it is false if the crew has ended.
func (c *crew) do(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.wg.Go(f)
	return true
}

// end takes no more and waits for those that run.
func (c *crew) end() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.wg.Wait()
}

// tick is the time in whole seconds since the server was made.
func (srv *Server) tick() uint32 { return uint32(time.Since(srv.start) / time.Second) }

func ticks(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

func (srv *Server) newID() event.ID { return ulid.Make() }

// sweepUntil looks after all time limits, once a second.
func (srv *Server) sweepUntil(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var sessions []*session
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		srv.mu.Lock()
		sessions = append(sessions[:0], srv.sessions...)
		srv.mu.Unlock()
		now := srv.tick()
		for _, s := range sessions {
			s.sweep(now)
		}
		clear(sessions)
		srv.endHeadless(now, false)
		srv.settleOwed()
		if now%16 == 0 {
			srv.accounts.sweep(now)
			srv.permits.sweep(now)
			srv.members.sweep(now)
		}
	}
}

// sweep ends what has lasted too long.
func (s *session) sweep(now uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case connected:
		if now > s.deadline {
			s.closeLocked(event.EndReason_END_REASON_TIMEOUT, false)
		}
	case loggingIn:
		if now > s.deadline {
			s.failLogin("late", loginServer, textServer, errLate)
		}
	case open:
		idle := s.srv.limits.IdleDesktop
		if s.Mobile() {
			idle = s.srv.limits.IdleMobile
		}
		switch {
		case len(s.questions) > 0 && !s.asking && s.srv.away.Load():
			s.asked = now // what its list waits for is late like everything
		case len(s.questions) > 0 && !s.asking && now > s.asked+ticks(s.srv.limits.Ask):
			// The outcomes that its list waits for do not come: an owner is away.
			s.closeLocked(event.EndReason_END_REASON_CLOSED, false)
		case s.stalled(now):
			s.slow()
		case s.holding():
			s.seen.Store(now) // it may well have said something
		case now > s.seen.Load()+ticks(idle):
			s.closeLocked(event.EndReason_END_REASON_TIMEOUT, true)
		case s.framed && now >= s.seen.Load()+ws.PingAfter:
			s.wire.Wake() // it asks the client whether it lives
		}
	case closing:
		if now > s.deadline && !s.abort {
			s.abort = true
			s.wire.Wake()
		}
	}
}

// endSession tells the log of a session's end.
func (srv *Server) endSession(s *session, reason event.EndReason) {
	s.mu.Lock()
	turn := s.leaving
	s.mu.Unlock()
	if srv.stopping.Load() && !turn {
		return // the end of the node's life says it for all whose turn did not come
	}
	if reason == event.EndReason_END_REASON_NODE_STOPPED {
		reason = event.EndReason_END_REASON_CLOSED // the life still lives
	}
	if !srv.appendEnd(s, reason) {
		srv.mu.Lock()
		if len(srv.owed) < maxOwed {
			srv.owed = append(srv.owed, owedEnd{s, reason})
		}
		srv.mu.Unlock()
	}
}

func (srv *Server) appendEnd(s *session, reason event.EndReason) bool {
	ev, err := commands.EndSession{At: time.Now(), Session: s.id, User: s.user, Reason: reason}.Decide(commands.SessionState{User: s.user})
	if err != nil {
		srv.log.Error("session end can't be told", "session", s.id, "reason", reasonName(reason), "err", err)
		return true
	}
	err = srv.node.Append(event.Presence, ev, func(delivery.Result) {})
	return err == nil || errors.Is(err, delivery.ErrStopped) || errors.Is(err, bus.ErrClosed)
}

func (srv *Server) settleOwed() {
	srv.mu.Lock()
	owed := srv.owed
	srv.owed = nil
	srv.mu.Unlock()
	for i, o := range owed {
		if srv.appendEnd(o.s, o.reason) {
			continue
		}
		srv.mu.Lock()
		srv.owed = append(srv.owed, owed[i:]...)
		srv.mu.Unlock()
		return
	}
}

// refuse counts a request that got no answer.
func (srv *Server) refuse(reason string, s *session, err error) {
	srv.metrics.refused.WithLabelValues(reason).Inc()
	if srv.log.Enabled(srv.ctx, slog.LevelDebug) {
		srv.log.Debug("request refused", "user", s.user, "session", s.id, "err", err)
	}
}

// void counts a message that came to nothing in the log.
func (srv *Server) void(s *session, v frame.Void) {
	srv.metrics.voids.WithLabelValues(voidName(v)).Inc()
	if srv.log.Enabled(srv.ctx, slog.LevelDebug) {
		srv.log.Debug("message void", "user", s.user, "session", s.id, "void", voidName(v))
	}
}

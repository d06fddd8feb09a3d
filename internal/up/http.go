package up

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/connector/certfile"
	"godwit/internal/origin"
)

// Bounds of an HTTP port. Requests are small and answers quick; a handler that needs
// longer, an import or a replay, moves its own deadlines.
const (
	headerTime = 10 * time.Second
	readTime   = 20 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = time.Minute
	pageIdle   = 10 * time.Second // public: a browser opens several connections for a page, and of one address there may be many
	maxHeader  = 16 << 10

	publicConnections = 2048
	publicPerAddress  = 512 // or from one IPv6 /64
	adminConnections  = 256
)

// listen is net.Listen for the address of a flag, with an error that says how to mend
// it.
func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	mend := "give an address of this machine"
	if errors.Is(err, syscall.EADDRINUSE) {
		mend = "end what listens there, or give another address"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		err = errno
		if errno == syscall.EACCES {
			mend = "give a port above 1023"
		}
	}
	return nil, fmt.Errorf("--%s is %q: %w: %s", flag, addr, err, mend)
}

// listen is listen until the process ends.
func (p *process) listen(flag, addr string) (net.Listener, error) {
	l, err := listen(flag, addr)
	if err == nil {
		p.closers = append(p.closers, func() error {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil // whoever served it has closed it
		})
	}
	return l, err
}

// listenHTTP takes the addresses of the public HTTP port, plain and over TLS, where there are to be such.
func (p *process) listenHTTP(context.Context) (err error) {
	if p.cfg.HTTP != "" {
		if p.public, err = p.listen("http", p.cfg.HTTP); err != nil {
			return err
		}
	}
	if p.cfg.HTTPS == "" {
		return nil
	}
	if p.certificate, err = certfile.Open(p.cfg.TLSCert, p.cfg.TLSKey, p.log.With("part", "http")); err != nil {
		return certificateError(p.cfg, err)
	}
	p.secure, err = p.listen("https", p.cfg.HTTPS)
	return err
}

func certificateError(cfg Config, err error) error {
	return fmt.Errorf("--tls-cert is %q and --tls-key is %q: %w: give a certificate and its key in PEM files", cfg.TLSCert, cfg.TLSKey, err)
}

func (p *process) listenAdmin(context.Context) (err error) {
	p.private, err = p.listen("admin", p.cfg.Admin)
	return err
}

// tryClients refuses addresses of clients and a certificate that can't be used, which
// the connector would find out only when the log is open.
func tryClients(cfg Config) error {
	for _, port := range []struct{ flag, addr string }{{"listen", cfg.Listen}, {"tls-listen", cfg.TLSListen}} {
		if port.addr == "" {
			continue
		}
		l, err := listen(port.flag, port.addr)
		if err != nil {
			return err
		}
		l.Close()
	}
	if cfg.TLSListen != "" {
		if _, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey); err != nil {
			return certificateError(cfg, err)
		}
	}
	return nil
}

// serveHTTP serves until its stage is stopped, then lets requests finish. Further
// connections than limit wait to be accepted; those of one address beyond its share, unless
// that is 0 or the address is one of the proxies, which stand for many, are closed.
func serveHTTP(l net.Listener, limit, share int, proxies []netip.Prefix, h http.Handler) func(context.Context) error {
	idle := idleTime
	if share > 0 { // the public
		idle = pageIdle
	}
	return serveListener(newLimited(l, limit, share, proxies), h, idle, nil)
}

// serveHTTPS is serveHTTP over TLS.
func serveHTTPS(l net.Listener, limit, share int, proxies []netip.Prefix, of *certfile.Files, log *slog.Logger, h http.Handler) func(context.Context) error {
	// HTTP/2 has no connection that a session over WebSocket could have for its own.
	config := &tls.Config{GetCertificate: of.Get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	return serveListener(tls.NewListener(newLimited(l, limit, share, proxies), config), h, pageIdle, stdlog.New(serverLog{log}, "", 0))
}

// serverLog takes what an http.Server says. That somebody shook hands wrong is everyday, from whoever looks for open ports.
type serverLog struct{ *slog.Logger }

func (l serverLog) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	l.Log(context.Background(), level, strings.TrimSpace(string(line)))
	return len(line), nil
}

func serveListener(l net.Listener, h http.Handler, idle time.Duration, log *stdlog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		s := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime,
			IdleTimeout: idle, MaxHeaderBytes: maxHeader, ErrorLog: log}
		var wg sync.WaitGroup
		defer wg.Wait()
		stopped := make(chan struct{})
		defer close(stopped)
		wg.Go(func() {
			select {
			case <-ctx.Done():
			case <-stopped:
			}
			c, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			if s.Shutdown(c) != nil {
				_ = s.Close()
			}
		})
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}

// bodiless serves requests whose bodies nobody reads: one that is still to come ends the
// connection at once, and holds no place for as long as it drips.
func bodiless(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // a writer without deadlines has no connection
		}
		h.ServeHTTP(w, r)
	})
}

// limited accepts no more while its limit of connections is open, and of one address no
// more than its share: one client alone must not keep all others waiting.
type limited struct {
	net.Listener
	room    chan struct{} // holds one for each connection
	share   int           // 0: all
	proxies []netip.Prefix
	closed  chan struct{}
	once    sync.Once

	mu   sync.Mutex
	from map[netip.Addr]int // connections that are open
}

func newLimited(l net.Listener, limit, share int, proxies []netip.Prefix) *limited {
	return &limited{Listener: l, room: make(chan struct{}, limit), share: share, proxies: proxies, closed: make(chan struct{}), from: make(map[netip.Addr]int)}
}

// proxy tells whether the other end stands for many.
func (l *limited) proxy(hostport string) bool {
	from, err := netip.ParseAddrPort(hostport)
	a := from.Addr().Unmap().WithZone("")
	return err == nil && slices.ContainsFunc(l.proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// enter counts a connection, unless its address has its share.
func (l *limited) enter(a netip.Addr, proxy bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.share > 0 && l.from[a] >= l.share && !proxy {
		return false
	}
	l.from[a]++
	return true
}

func (l *limited) leave(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from[a]--; l.from[a] == 0 {
		delete(l.from, a)
	}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			<-l.room
			return nil, err
		}
		from := conn.RemoteAddr().String()
		a := origin.OfPeer(from)
		if !l.enter(a, l.proxy(from)) {
			conn.Close()
			continue
		}
		return &counted{Conn: conn, leave: sync.OnceFunc(func() {
			l.leave(a)
			<-l.room
		})}, nil
	}
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// counted is a connection with a place of its listener, for as long as it is open or until it is released.
type counted struct {
	net.Conn
	leave func()
}

// Release gives the place back while the connection lives on: what it became after an upgrade is counted by those who
// serve that. It may be called more than once.
func (c *counted) Release() { c.leave() }

// Unwrap is the connection itself.
func (c *counted) Unwrap() net.Conn { return c.Conn }

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

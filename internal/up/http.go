package up

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"godwit/internal/origin"
)

// Bounds of an HTTP port. Requests are small and answers quick; a handler that needs
// longer, an import or a replay, moves its own deadlines.
const (
	headerTime = 10 * time.Second
	readTime   = 20 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = time.Minute
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

func (p *process) listenHTTP(context.Context) (err error) {
	p.public, err = p.listen("http", p.cfg.HTTP)
	return err
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
			return fmt.Errorf("--tls-cert is %q and --tls-key is %q: %w: give a certificate and its key in PEM files", cfg.TLSCert, cfg.TLSKey, err)
		}
	}
	return nil
}

// serveHTTP serves until its stage is stopped, then lets requests finish. Further
// connections than limit wait to be accepted; those of one address beyond its share, unless
// that is 0, are closed.
func serveHTTP(l net.Listener, limit, share int, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		s := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime,
			IdleTimeout: idleTime, MaxHeaderBytes: maxHeader}
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
		if err := s.Serve(newLimited(l, limit, share)); !errors.Is(err, http.ErrServerClosed) {
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
	room   chan struct{} // holds one for each connection
	share  int           // 0: all
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	from map[netip.Addr]int // connections that are open
}

func newLimited(l net.Listener, limit, share int) *limited {
	return &limited{Listener: l, room: make(chan struct{}, limit), share: share, closed: make(chan struct{}), from: make(map[netip.Addr]int)}
}

// enter counts a connection, unless its address has its share.
func (l *limited) enter(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.share > 0 && l.from[a] >= l.share {
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
		a := origin.OfPeer(conn.RemoteAddr().String())
		if !l.enter(a) {
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

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/internal/origin"
)

// acceptPause is how long accepting waits when descriptors have run out.
const acceptPause = 50 * time.Millisecond

// Config of a Server. Store is needed; zero values take the defaults named.
type Config struct {
	Store  *Store
	Limits Limits
	// MayLogIn tells whether a user's account lets him in; nil: everybody's does.
	MayLogIn   func(ctx context.Context, user uint32) (bool, error)
	Logger     *slog.Logger          // default: none
	Registerer prometheus.Registerer // of the metrics; default: none
}

// Limits bound what clients can cost.
type Limits struct {
	Connections int           // at once; default 512. Each takes up to 400 KiB
	PerAddress  int           // at once from one IPv4 address or IPv6 /64; default 64
	LoginWait   time.Duration // from connecting to the login; default 15 s
	Idle        time.Duration // without a byte of the client; default 120 s
	Write       time.Duration // for a client to take one PDU; default 30 s
	Grace       time.Duration // for a side of an online transfer to come back; default 30 s
	Goodbye     time.Duration // for a client to close after the last PDU; default 3 s
}

func def[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (l *Limits) defaults() {
	def(&l.Connections, 512)
	def(&l.PerAddress, 64)
	def(&l.LoginWait, 15*time.Second)
	def(&l.Idle, 120*time.Second)
	def(&l.Write, 30*time.Second)
	def(&l.Grace, 30*time.Second)
	def(&l.Goodbye, 3*time.Second)
}

// Server is the file port.
type Server struct {
	store  *Store
	may    func(ctx context.Context, user uint32) (bool, error)
	limits Limits
	log    *slog.Logger
	count  counters

	mu         sync.Mutex
	conns      map[*conn]struct{}
	perAddress map[netip.Addr]int
	sides      map[side]*conn       // logged in
	transfers  map[string]*transfer // online, with at least one side
	stopped    bool
	wg         sync.WaitGroup
}

// side is one end of a task.
type side struct {
	task string
	role role
}

type counters struct {
	refused *prometheus.CounterVec
	ended   *prometheus.CounterVec
	bytes   *prometheus.CounterVec
}

// New makes a server; it works while Serve runs.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil {
		return nil, errors.New("files: no store")
	}
	cfg.Limits.defaults()
	l := cfg.Limits
	for _, n := range []int{l.Connections, l.PerAddress, int(l.LoginWait), int(l.Idle), int(l.Write), int(l.Grace), int(l.Goodbye)} {
		if n < 0 {
			return nil, errors.New("files: a limit is negative")
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MayLogIn == nil {
		cfg.MayLogIn = func(context.Context, uint32) (bool, error) { return true, nil }
	}
	srv := &Server{store: cfg.Store, may: cfg.MayLogIn, limits: l, log: cfg.Logger, conns: make(map[*conn]struct{}),
		perAddress: make(map[netip.Addr]int), sides: make(map[side]*conn), transfers: make(map[string]*transfer)}
	counter := func(name, label, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "godwit", Subsystem: "files", Name: name, Help: help}, []string{label})
	}
	srv.count = counters{
		refused: counter("refused_total", "reason", "Connections and logins of the file port that were refused."),
		ended:   counter("transfers_ended_total", "result", "File transfers that came to an end here."),
		bytes:   counter("bytes_total", "way", "Bytes of files taken, given and passed on."),
	}
	if cfg.Registerer != nil {
		open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "godwit", Subsystem: "files", Name: "connections",
			Help: "Connections open on the file port."}, func() float64 { return float64(srv.Connections()) })
		for _, c := range []prometheus.Collector{srv.count.refused, srv.count.ended, srv.count.bytes, open} {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("files: %w", err)
			}
		}
	}
	return srv, nil
}

// Connections is how many there are.
func (srv *Server) Connections() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.conns)
}

// Serve serves clients until ctx ends, closes ln and all connections then, and returns when
// all of them are done with. What breaks off may be resumed.
func (srv *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer srv.wg.Wait()
	defer srv.stop()
	defer context.AfterFunc(ctx, func() {
		ln.Close()
		srv.stop()
	})()
	for {
		nc, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("files: accept: %w", err)
		case err != nil: // out of descriptors: wait for connections to end
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		srv.admit(ctx, nc)
	}
}

func (srv *Server) stop() {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.stopped = true
	for c := range srv.conns {
		c.nc.Close()
	}
	for _, t := range srv.transfers {
		t.quit()
	}
}

func (srv *Server) admit(ctx context.Context, nc net.Conn) {
	c := &conn{srv: srv, ctx: ctx, nc: nc, addr: origin.OfPeer(nc.RemoteAddr().String()), done: make(chan struct{}), loginBy: time.Now().Add(srv.limits.LoginWait)}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	why := ""
	switch {
	case srv.stopped:
		why = "stopping"
	case len(srv.conns) >= srv.limits.Connections:
		why = "connections"
	case srv.perAddress[c.addr] >= srv.limits.PerAddress:
		why = "address"
	}
	if why != "" {
		srv.count.refused.WithLabelValues(why).Inc()
		nc.Close()
		return
	}
	srv.conns[c] = struct{}{}
	srv.perAddress[c.addr]++
	srv.wg.Go(func() {
		defer srv.leave(c)
		c.serve()
	})
}

// leave forgets a connection that is done with.
func (srv *Server) leave(c *conn) {
	c.nc.Close()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.conns, c)
	if srv.perAddress[c.addr]--; srv.perAddress[c.addr] == 0 {
		delete(srv.perAddress, c.addr)
	}
	if srv.sides[c.side] == c {
		delete(srv.sides, c.side)
	}
	close(c.done)
}

// enter makes c the connection of its side. One that held it before is closed, and has
// ended when enter returns: it is the same client, who has come back.
func (srv *Server) enter(c *conn) error {
	for {
		srv.mu.Lock()
		before := srv.sides[c.side]
		if before == nil {
			srv.sides[c.side] = c
			srv.mu.Unlock()
			return nil
		}
		srv.mu.Unlock()
		before.nc.Close()
		select {
		case <-before.done:
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

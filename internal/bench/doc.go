// Package bench loads a server over the real protocol and checks every message of the
// load: who sent it, to whom, which number it has, and that not a bit of it changed.
//
// The load shares its machine with the server, so it has to be cheap: one goroutine
// and one epoll set carry all connections, a batch of PDUs costs one read, and what
// answers a batch leaves in one write.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Account is somebody to log in as.
type Account struct {
	Name     string
	Password string // as it travels: the md5 of the plain one in lower-case hex
}

// Probe is what the server says about its log.
type Probe struct {
	Records    uint64 // in all conversation streams
	Partitions int
	Durability string
}

// Options are common to all benches.
type Options struct {
	Server string // HOST:PORT; of WebSockets that of HTTP
	// Also are more nodes of the same cluster: people connect to all of them by turns. The
	// benches that measure one server alone (sync, faults, hostile clients) ask Server only.
	Also []string
	// Transport is how the loads connect, default TCP. Sync, faults and hostile clients know TCP only.
	Transport Transport
	Device    uint32 // TeamTalk's ClientType
	Accounts  func(ctx context.Context, n int) ([]Account, error)
	// Befriend makes each two friends, where only friends may write to each other; nil: no need.
	Befriend func(ctx context.Context, pairs [][2]Account) error
	Probe    func(ctx context.Context) (Probe, error) // nil: not known
	PID      int                                      // of the server, 0: not measured
	Seed     uint64                                   // of the payloads; the same seed makes the same bytes
	Parallel int                                      // logins under way at a time, default 64
	Log      *slog.Logger                             // what the bench does, default silent
}

const defaultParallel = 64

// epoch is what the times of payloads count from.
var epoch = time.Now()

func sinceEpoch(t time.Time) int64 { return int64(t.Sub(epoch)) }

func (o *Options) complete() {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Device == 0 {
		o.Device = 1
	}
	if o.Transport == "" {
		o.Transport = TCP
	}
}

// befriend makes n pairs friends, if that is needed.
func (o *Options) befriend(ctx context.Context, n int, pair func(i int) (a, z Account)) error {
	if o.Befriend == nil {
		return nil
	}
	pairs := make([][2]Account, n)
	for i := range pairs {
		pairs[i][0], pairs[i][1] = pair(i)
	}
	if err := o.Befriend(ctx, pairs); err != nil {
		return fmt.Errorf("make friends: %w", err)
	}
	return nil
}

// resolve finds the addresses once; the load connects thousands of times.
func (o *Options) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	for _, server := range append([]string{o.Server}, o.Also...) {
		addr, err := resolve(ctx, server)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

var errServerClosed = errors.New("the server closed the connection")

// loop is what carries a load's connections to the servers.
func (o *Options) loop(ctx context.Context) (*loop, error) {
	addrs, err := o.resolve(ctx)
	if err != nil {
		return nil, err
	}
	return newLoop(addrs, o.Transport, o.Server)
}

func resolve(ctx context.Context, server string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("server %s: %w", server, err)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("server %s: %w", server, err)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("server %s: %w", server, err)
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(number)), nil
}

// raiseFileLimit makes room for n connections, as far as the system allows.
func raiseFileLimit(n int) error {
	want := uint64(n) + 200
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	if l.Cur >= want {
		return nil
	}
	l.Cur = want
	l.Max = max(l.Max, want)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("%d connections need %d open files, the limit is %d: run ulimit -n %d first (%w)", n, want, l.Max, want, err)
	}
	return nil
}

func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// per100k is CPU seconds for each 100,000 of n.
func per100k(cpu time.Duration, n uint64) float64 {
	if n == 0 {
		return 0
	}
	return cpu.Seconds() * 100_000 / float64(n)
}

func line(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\n", args...) // a report that nobody reads is no failure
}

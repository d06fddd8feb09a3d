package reactor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readSize is how much one read takes at most; it bounds what a session that
	// stops reading still has to keep.
	readSize = 64 << 10
	// eventsPerWait bounds one round of a loop.
	eventsPerWait = 256
	// acceptBackoff is how long accepting pauses when descriptors have run out.
	acceptBackoff = 50 * time.Millisecond
)

var _ Waker = (*Conn)(nil)

// Conn is one connection of a loop.
type Conn struct {
	loop    *loop
	peer    Peer
	out     []byte // handed out by Turn, not yet written wholly
	written int
	drained int // discarded while lingering
	fd      int32
	slot    uint32
	gen     uint32
	mask    uint32
	queued  atomic.Bool
	hungup  bool
	linger  bool
}

// Wake makes the loop give the peer a turn soon. It may be called from any
// goroutine, under any lock but those that Peer methods take on the same loop while
// they wait for the caller; it never blocks on I/O.
func (c *Conn) Wake() {
	if c.queued.CompareAndSwap(false, true) {
		c.loop.wake(c)
	}
}

// newConn makes a connection that is not its loop's yet: until it is, it counts as woken already.
func newConn(l *loop, fd int) *Conn {
	c := &Conn{loop: l, fd: int32(fd)}
	c.queued.Store(true)
	return c
}

// Group is a set of loops.
type Group struct {
	loops []*loop
	next  atomic.Uint32
	wg    sync.WaitGroup
}

// NewGroup starts n loops, one per processor if n is 0.
func NewGroup(n int) (*Group, error) {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	g := &Group{}
	for range n {
		l, err := newLoop()
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.loops = append(g.loops, l)
		g.wg.Go(l.run)
	}
	return g, nil
}

// Close closes all connections at once and waits until the loops have ended.
func (g *Group) Close() error {
	for _, l := range g.loops {
		l.stop()
	}
	g.wg.Wait()
	var errs []error
	for _, l := range g.loops {
		errs = append(errs, l.file.Close())
	}
	return errors.Join(errs...)
}

// Serve accepts connections on ln until ctx ends, and closes ln. open makes the
// peer of each, before anything is read; nil refuses it. open is called on one
// goroutine.
func (g *Group) Serve(ctx context.Context, ln *net.TCPListener, open func(w Waker, from netip.AddrPort) Peer) error {
	f, err := ln.File()
	ln.Close() // f is a duplicate and goes on listening
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil {
		var fd int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(lfd uintptr) bool {
			fd, from, failed = unix.Accept4(int(lfd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return failed != unix.EAGAIN
		})
		switch {
		case ctx.Err() != nil:
			if err == nil && failed == nil {
				unix.Close(fd)
			}
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		case failed == unix.EINTR, failed == unix.ECONNABORTED:
		case failed != nil:
			// EMFILE, ENFILE, ENOBUFS, ENOMEM: wait for connections to end.
			select {
			case <-ctx.Done():
			case <-time.After(acceptBackoff):
			}
		default:
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			g.add(fd, address(from), open)
		}
	}
	return nil
}

func address(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func (g *Group) add(fd int, from netip.AddrPort, open func(Waker, netip.AddrPort) Peer) {
	l := g.loops[int(g.next.Add(1))%len(g.loops)]
	c := newConn(l, fd)
	c.peer = open(c, from)
	if c.peer == nil {
		unix.Close(fd)
		return
	}
	l.adopt(c, nil)
}

// Adopt takes a connection over from the standard library: first has been read from it already, and comes before what is
// read from now on. open makes its peer, as in Serve. conn must not be used any more, nor have anybody who uses it; it may
// only be closed, which is of no matter to the connection. Adopt is false if the connection can't be taken, which is then
// as it was.
func (g *Group) Adopt(conn *net.TCPConn, first []byte, open func(w Waker) Peer) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	if raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }) != nil || err != nil {
		return false
	}
	conn.Close()                                                  // fd is a duplicate; only so the library's poller lets go of the socket
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0) // as of those that are accepted here: sessions have a time limit
	l := g.loops[int(g.next.Add(1))%len(g.loops)]
	c := newConn(l, fd)
	if c.peer = open(c); c.peer == nil {
		unix.Close(fd)
		return true
	}
	l.adopt(c, first)
	return true
}

// loop is one epoll set and the goroutine that serves it.
type loop struct {
	file   *os.File // the epoll set
	raw    syscall.RawConn
	epfd   int
	buf    []byte
	events [eventsPerWait]unix.EpollEvent

	mu     sync.Mutex
	conns  []*Conn  // by slot
	free   []uint32 // slots
	gen    uint32
	woken  []*Conn
	spare  []*Conn
	firsts []first
	parked bool
	ending bool
}

// first is what was read of a connection before it came to its loop.
type first struct {
	c *Conn
	b []byte
}

func newLoop() (*loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// Go's poller takes only descriptors that don't block.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{file: os.NewFile(uintptr(epfd), "epoll"), epfd: epfd, buf: make([]byte, readSize)}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return l, nil
}

func (l *loop) wake(c *Conn) {
	l.mu.Lock()
	l.woken = append(l.woken, c)
	l.unpark()
	l.mu.Unlock()
}

// unpark is called with mu held, so that the loop, once it has mu again, knows
// whether a deadline was set and must be taken back.
func (l *loop) unpark() {
	if l.parked {
		l.parked = false
		l.file.SetReadDeadline(time.Unix(1, 0))
	}
}

func (l *loop) stop() {
	l.mu.Lock()
	l.ending = true
	l.unpark()
	l.mu.Unlock()
}

// adopt registers the connection and gives its peer what was read before, and a first turn.
func (l *loop) adopt(c *Conn, before []byte) {
	l.mu.Lock()
	if l.ending {
		l.mu.Unlock()
		unix.Close(int(c.fd))
		c.fd = -1
		c.peer.Closed(net.ErrClosed)
		return
	}
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.conns[c.slot] = c
	} else {
		c.slot = uint32(len(l.conns))
		l.conns = append(l.conns, c)
	}
	l.gen++
	c.gen = l.gen
	if len(before) > 0 {
		l.firsts = append(l.firsts, first{c, before})
	}
	l.woken = append(l.woken, c)
	l.unpark()
	l.mu.Unlock()
}

func (l *loop) run() {
	for {
		l.mu.Lock()
		if l.ending {
			l.mu.Unlock()
			l.closeAll()
			return
		}
		woken := l.woken
		l.woken, l.spare = l.spare[:0], nil
		firsts := l.firsts
		l.firsts = nil
		l.parked = len(woken) == 0
		l.mu.Unlock()

		for _, f := range firsts {
			f.c.peer.Input(f.b)
		}
		n := 0
		if len(woken) > 0 {
			for i, c := range woken {
				woken[i] = nil
				c.queued.Store(false)
				l.service(c)
			}
			n = l.wait()
		} else {
			n = l.park()
		}
		l.mu.Lock()
		l.spare = woken[:0]
		if cap(l.spare) > 16<<10 {
			l.spare = nil // one burst must not be paid for ever
		}
		l.mu.Unlock()
		for i := range n {
			l.handle(&l.events[i])
		}
	}
}

func (l *loop) wait() int {
	n, err := unix.EpollWait(l.epfd, l.events[:], 0)
	if err != nil {
		return 0 // EINTR: the events are still there
	}
	return n
}

// park waits for an event or a wake.
func (l *loop) park() int {
	n := 0
	l.raw.Read(func(uintptr) bool {
		n = l.wait()
		return n > 0
	})
	l.mu.Lock()
	woken := !l.parked
	l.parked = false
	l.mu.Unlock()
	if woken {
		l.file.SetReadDeadline(time.Time{})
	}
	return n
}

func (l *loop) closeAll() {
	l.mu.Lock()
	conns := l.conns
	l.conns, l.woken, l.firsts = nil, nil, nil
	l.mu.Unlock()
	for _, c := range conns {
		if c != nil {
			l.shut(c, net.ErrClosed)
		}
	}
}

func (l *loop) find(ev *unix.EpollEvent) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	slot := uint32(ev.Fd)
	if slot >= uint32(len(l.conns)) {
		return nil
	}
	c := l.conns[slot]
	if c == nil || c.gen != uint32(ev.Pad) {
		return nil // closed earlier in this round
	}
	return c
}

func (l *loop) handle(ev *unix.EpollEvent) {
	c := l.find(ev)
	if c == nil || c.fd < 0 {
		return
	}
	const broken = unix.EPOLLERR | unix.EPOLLHUP
	switch {
	case c.mask&unix.EPOLLIN != 0 && ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|broken) != 0:
		if !l.read(c) {
			return
		}
	case ev.Events&broken != 0:
		l.close(c, ErrReset)
		return
	case ev.Events&unix.EPOLLRDHUP != 0 && !c.hungup:
		c.hungup = true
		c.peer.Hangup()
	}
	l.service(c)
}

// read takes what is there, once: with level-triggered events the rest comes with
// the next round, after the others have had theirs.
func (l *loop) read(c *Conn) bool {
	n, err := unix.Read(int(c.fd), l.buf)
	switch {
	case n > 0 && c.linger:
		if c.drained += n; c.drained > lingerBytes {
			l.close(c, nil)
			return false
		}
	case n > 0:
		c.peer.Input(l.buf[:n])
	case err == unix.EAGAIN || err == unix.EINTR:
	case c.linger:
		l.close(c, nil)
		return false
	case err != nil:
		l.close(c, os.NewSyscallError("read", err))
		return false
	default:
		l.close(c, io.EOF)
		return false
	}
	return true
}

// service gives the peer turns until there is nothing more to write.
func (l *loop) service(c *Conn) {
	for c.fd >= 0 {
		free := len(c.out) == 0
		next := c.peer.Turn(free)
		if next.Close == CloseNow {
			l.close(c, nil)
			return
		}
		if free && len(next.Write) > 0 {
			c.out, c.written = next.Write, 0
		}
		if len(c.out) > 0 && !next.Hold {
			if !l.write(c) {
				return
			}
			if len(c.out) == 0 {
				continue
			}
		}
		if next.Close == CloseGently && len(c.out) == 0 && !c.linger {
			c.linger = true
			if unix.Shutdown(int(c.fd), unix.SHUT_WR) != nil {
				l.close(c, nil)
				return
			}
		}
		l.watch(c, next)
		return
	}
}

func (l *loop) write(c *Conn) bool {
	n, err := unix.Write(int(c.fd), c.out[c.written:])
	if n > 0 {
		c.written += n
	}
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil:
		l.close(c, os.NewSyscallError("write", err))
		return false
	case c.written == len(c.out):
		b := c.out
		c.out, c.written = nil, 0
		c.peer.Sent(b)
	}
	return true
}

// watch sets the events to be heard of, if they have changed.
func (l *loop) watch(c *Conn, next Next) {
	var mask uint32
	switch {
	case next.Read || c.linger:
		mask = unix.EPOLLIN
	case !c.hungup:
		mask = unix.EPOLLRDHUP
	}
	if len(c.out) > 0 && !next.Hold {
		mask |= unix.EPOLLOUT
	}
	op := unix.EPOLL_CTL_MOD
	if c.mask == 0 {
		op = unix.EPOLL_CTL_ADD
	} else if c.mask == mask|registered {
		return
	}
	ev := unix.EpollEvent{Events: mask, Fd: int32(c.slot), Pad: int32(c.gen)}
	if err := unix.EpollCtl(l.epfd, op, int(c.fd), &ev); err != nil {
		l.close(c, os.NewSyscallError("epoll_ctl", err))
		return
	}
	c.mask = mask | registered
}

// registered marks a mask that the kernel has, so that an empty one differs from
// none.
const registered = 1 << 27

func (l *loop) close(c *Conn, err error) {
	l.mu.Lock()
	if c.slot < uint32(len(l.conns)) && l.conns[c.slot] == c {
		l.conns[c.slot] = nil
		l.free = append(l.free, c.slot)
	}
	l.mu.Unlock()
	l.shut(c, err)
}

func (l *loop) shut(c *Conn, err error) {
	if c.fd < 0 {
		return
	}
	unix.Close(int(c.fd)) // leaves the epoll set with it
	c.fd = -1
	c.out = nil
	c.peer.Closed(err)
}

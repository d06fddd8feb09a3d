package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"godwit/schema/pdu"
)

// loop carries all connections of a bench on one goroutine over one epoll set: the
// load shares its cores with the server, so a connection costs no goroutine, a batch
// of PDUs one read, and all answers to a batch one write.
//
// Everything here belongs to the goroutine of run.
type loop struct {
	epoll   int
	by      Transport
	host    string          // what a WebSocket asks for
	servers []unix.Sockaddr // connected to by turns
	dials   int
	conns   map[int32]*conn
	dirty   []*conn // with output since the last flush
	read    []byte
	events  []unix.EpollEvent
}

// conn is one connection to the server.
type conn struct {
	l       *loop
	fd      int
	h       handler
	rest    []byte // of what is incomplete
	out     []byte // PDUs that are not written yet
	carrier *carrier
	wire    []byte // where there is a carrier: what it made of them
	dialing bool
	dirty   bool
	writing bool // waits for room in the socket
	closed  bool
}

// handler is whose connection it is. Its methods may queue output, and open and close
// connections. Frames are valid during the call.
type handler interface {
	connected(c *conn)
	frame(c *conn, f pdu.Frame)
	// lost: the server closed, or the network failed. Not called after close.
	lost(c *conn, err error)
}

func newLoop(servers []netip.AddrPort, by Transport, host string) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l := &loop{
		epoll: epoll, by: by, host: host, conns: map[int32]*conn{},
		read: make([]byte, 256<<10), events: make([]unix.EpollEvent, 512),
	}
	for _, server := range servers {
		if a := server.Addr().Unmap(); a.Is4() {
			l.servers = append(l.servers, &unix.SockaddrInet4{Port: int(server.Port()), Addr: a.As4()})
		} else {
			l.servers = append(l.servers, &unix.SockaddrInet6{Port: int(server.Port()), Addr: a.As16()})
		}
	}
	return l, nil
}

// close ends every connection.
func (l *loop) close() {
	for _, c := range l.conns {
		c.close()
	}
	_ = unix.Close(l.epoll)
}

// dial opens a connection; h hears how it goes.
func (l *loop) dial(h handler) (*conn, error) {
	server := l.servers[l.dials%len(l.servers)]
	l.dials++
	family := unix.AF_INET
	if _, six := server.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	c := &conn{l: l, fd: fd, h: h, dialing: true}
	if l.by != TCP {
		c.carrier = &carrier{json: l.by == JSON}
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil {
		if err = unix.Connect(fd, server); errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
	}
	if err == nil {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(fd)})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect: %w", err)
	}
	l.conns[int32(fd)] = c
	return c, nil
}

// run handles events until done says so or ctx ends. tick is called at least every so
// often as it says, and decides when it wants to be called again.
func (l *loop) run(ctx context.Context, tick func(now time.Time) (again time.Duration, done bool)) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		again, done := tick(time.Now())
		l.flush()
		if done {
			return nil
		}
		n, err := unix.EpollWait(l.epoll, l.events, int(min(max(again.Milliseconds(), 0), 100)))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range l.events[:max(n, 0)] {
			if c := l.conns[e.Fd]; c != nil {
				c.ready(e.Events)
			}
		}
		l.flush()
	}
}

func (l *loop) flush() {
	for i := 0; i < len(l.dirty); i++ { // a lost connection may make others dirty
		c := l.dirty[i]
		c.dirty = false
		if !c.closed && !c.writing {
			c.write()
		}
	}
	l.dirty = l.dirty[:0]
}

func (c *conn) ready(events uint32) {
	if c.dialing {
		code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err != nil {
			c.fail(fmt.Errorf("connect: %w", err))
			return
		}
		c.dialing = false
		c.interest(unix.EPOLL_CTL_MOD, unix.EPOLLIN)
		if c.carrier != nil { // the session hears of it when the server agrees
			c.wire = c.carrier.hello(c.wire, c.l.host)
			c.queue()
			return
		}
		c.h.connected(c)
		return
	}
	if events&unix.EPOLLOUT != 0 && !c.closed {
		c.write()
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 && !c.closed {
		c.readAll()
	}
}

func (c *conn) interest(op int, events uint32) {
	if err := unix.EpollCtl(c.l.epoll, op, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.fd)}); err != nil {
		c.fail(fmt.Errorf("epoll: %w", err))
	}
}

// readAll takes what is there. What a read that fills the buffer leaves comes with the
// next round.
func (c *conn) readAll() {
	n, err := unix.Read(c.fd, c.l.read)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return
	case err != nil:
		c.fail(fmt.Errorf("read: %w", err))
		return
	case n == 0:
		c.fail(errServerClosed)
		return
	}
	data := c.l.read[:n]
	if len(c.rest) > 0 {
		c.rest = append(c.rest, data...)
		data = c.rest
	}
	for !c.closed {
		size, err := c.next(data)
		if err != nil {
			c.fail(fmt.Errorf("read: %w", err))
			return
		}
		if size == 0 {
			break
		}
		data = data[size:]
	}
	switch {
	case c.closed || len(data) == 0:
		c.rest = nil // an idle connection keeps no buffer
	default:
		c.rest = append(make([]byte, 0, len(data)), data...)
	}
}

// next handles the first whole thing in what came, and says how long it is.
func (c *conn) next(data []byte) (int, error) {
	if c.carrier == nil {
		f, n, err := pdu.Next(data, pdu.MaxAfterLogin)
		if n > 0 {
			c.h.frame(c, f)
		}
		return n, err
	}
	if !c.carrier.open {
		n, err := c.carrier.agreed(data)
		if n > 0 {
			c.h.connected(c)
		}
		return n, err
	}
	f, answer, n, err := c.carrier.next(data)
	if len(answer) > 0 {
		c.wire = append(c.wire, answer...)
		c.queue()
	}
	if f.Raw != nil {
		c.h.frame(c, f)
	}
	return n, err
}

// queue marks output that the caller appended to c.out.
func (c *conn) queue() {
	if !c.dirty && !c.closed {
		c.dirty = true
		c.l.dirty = append(c.l.dirty, c)
	}
}

func (c *conn) write() {
	out := &c.out
	if c.carrier != nil {
		if c.carrier.open {
			var err error
			if c.wire, err = c.carrier.appendFrames(c.wire, c.out); err != nil {
				c.fail(err)
				return
			}
			c.out = c.out[:0]
		}
		out = &c.wire
	}
	if len(*out) == 0 {
		return
	}
	n, err := unix.Write(c.fd, *out)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		c.fail(fmt.Errorf("write: %w", err))
		return
	}
	*out = (*out)[:copy(*out, (*out)[max(n, 0):])]
	if full := len(*out) > 0; full != c.writing {
		c.writing = full
		events := uint32(unix.EPOLLIN)
		if full {
			events |= unix.EPOLLOUT
		}
		c.interest(unix.EPOLL_CTL_MOD, events)
	}
}

func (c *conn) fail(err error) {
	if !c.closed {
		c.close()
		c.h.lost(c, err)
	}
}

func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	delete(c.l.conns, int32(c.fd))
	_ = unix.Close(c.fd) // also leaves the epoll set
	c.rest, c.out, c.wire = nil, nil, nil
}

//go:build linux

package reactor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a peer that a test drives.
type script struct {
	w     Waker
	echo  bool
	mu    sync.Mutex
	in    []byte
	out   [][]byte
	pause bool
	hold  bool
	end   Close
	hung  int
	sent  int
	turns int
	over  bool
	cause error
}

func (p *script) Input(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = append(p.in, b...)
	if p.echo {
		p.out = append(p.out, bytes.Clone(b))
	}
}

func (p *script) Turn(free bool) Next {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns++
	n := Next{Read: !p.pause, Hold: p.hold}
	if free && !p.hold && len(p.out) > 0 {
		n.Write, p.out = p.out[0], p.out[1:]
	}
	if len(p.out) == 0 || p.end == CloseNow {
		n.Close = p.end
	}
	return n
}

func (p *script) Sent(b []byte) { p.set(func() { p.sent += len(b) }) }
func (p *script) Hangup()       { p.set(func() { p.hung++ }) }
func (p *script) Closed(err error) {
	p.set(func() {
		if p.over {
			panic("closed twice")
		}
		p.over, p.cause = true, err
	})
}

func (p *script) set(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
}

// change is set, and the connection is told.
func (p *script) change(f func()) {
	p.set(f)
	p.w.Wake()
}

func (p *script) eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		p.mu.Lock()
		ok := f()
		p.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// kind is a way to serve a connection; all must pass the same tests.
type kind struct {
	name string
	dial func(t *testing.T, p *script) *net.TCPConn
	// sees tells whether a client that leaves is noticed while it is not read.
	sees bool
}

var kinds = []kind{{"loop", dialLoop, true}, {"adopted", dialAdopted, true}, {"stream", dialStream, false}}

func dialLoop(t *testing.T, p *script) *net.TCPConn {
	g, err := NewGroup(2)
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		served <- g.Serve(ctx, ln, func(w Waker, from netip.AddrPort) Peer {
			if !from.Addr().IsLoopback() {
				t.Errorf("connection from %v", from)
			}
			p.w = w
			close(ready)
			return p
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	c := dial(t, ln)
	<-ready
	return c
}

func dialAdopted(t *testing.T, p *script) *net.TCPConn {
	g := group(t)
	c, s := pair(t)
	adopt(t, g, s, nil, p)
	return c
}

func group(t *testing.T) *Group {
	g, err := NewGroup(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// pair is both ends of a connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	ln := listen(t)
	defer ln.Close()
	client = dial(t, ln)
	s, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return client, s
}

func adopt(t *testing.T, g *Group, s *net.TCPConn, first []byte, p *script) {
	t.Helper()
	if !g.Adopt(s, first, func(w Waker) Peer {
		p.w = w
		return p
	}) {
		t.Fatal("not adopted")
	}
}

func TestWhatWasReadBeforeAnAdoptionComesFirst(t *testing.T) {
	g := group(t)
	for range 50 {
		p := &script{}
		c, s := pair(t)
		s.SetDeadline(time.Now()) // it was the library's, and does not matter
		if _, err := io.WriteString(c, " then that"); err != nil {
			t.Fatal(err)
		}
		adopt(t, g, s, []byte("first this,"), p)
		p.w.Wake()
		s.Close()
		if _, err := io.WriteString(c, " and more"); err != nil {
			t.Fatal(err)
		}
		p.eventually(t, "all has come in order", func() bool { return string(p.in) == "first this, then that and more" })
		p.change(func() { p.out = [][]byte{[]byte("answer")} })
		b := make([]byte, 6)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "answer" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

// A session can be found, and woken, before its connection is ready.
func TestWakeWhileTheConnectionIsOpened(t *testing.T) {
	early := func(w Waker, p *script) Peer {
		w.Wake()
		time.Sleep(10 * time.Millisecond)
		w.Wake()
		p.w = w
		return p
	}
	check := func(p *script) {
		t.Helper()
		p.eventually(t, "it has a turn", func() bool { return p.turns > 0 })
		p.change(func() { p.end = CloseNow })
		p.eventually(t, "it is over", func() bool { return p.over })
	}
	_, s := pair(t)
	p := &script{}
	if !group(t).Adopt(s, nil, func(w Waker) Peer { return early(w, p) }) {
		t.Fatal("not adopted")
	}
	check(p)
	_, s = pair(t)
	p = &script{}
	var done sync.WaitGroup
	done.Go(NewStream(s, func(w Waker) Peer { return early(w, p) }).Run)
	check(p)
	done.Wait()
}

func TestAdoptionRefused(t *testing.T) {
	g := group(t)
	c, s := pair(t)
	if !g.Adopt(s, nil, func(Waker) Peer { return nil }) {
		t.Fatal("not taken")
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("by nobody: %v", err)
	}
	_, s = pair(t)
	s.Close()
	if g.Adopt(s, nil, func(Waker) Peer { t.Error("opened"); return nil }) {
		t.Error("a closed connection was adopted")
	}
	c, s = pair(t)
	closed, err := NewGroup(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	p := &script{}
	adopt(t, closed, s, []byte("x"), p)
	p.eventually(t, "it ends", func() bool { return p.over })
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read something")
	}
}

func dialStream(t *testing.T, p *script) *net.TCPConn {
	ln := listen(t)
	done := make(chan struct{})
	c := dial(t, ln)
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	stream := NewStream(s, func(w Waker) Peer { p.w = w; return p })
	go func() {
		stream.Run()
		close(done)
	}()
	t.Cleanup(func() {
		ln.Close()
		p.change(func() { p.end = CloseNow })
		<-done
	})
	return c
}

func listen(t *testing.T) *net.TCPListener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

func dial(t *testing.T, ln net.Listener) *net.TCPConn {
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

func both(t *testing.T, f func(t *testing.T, k kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { f(t, k) })
	}
}

func TestBytesComeBackInOrder(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		c := k.dial(t, &script{echo: true})
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		go c.Write(want)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("came back changed: %v", err)
		}
	})
}

func TestPausedConnectionIsHeldByTCP(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{pause: true}
		c := k.dial(t, p)
		c.SetWriteDeadline(time.Now().Add(700 * time.Millisecond))
		chunk, sent := make([]byte, 1<<16), 0
		for range 1 << 12 {
			n, err := c.Write(chunk)
			sent += n
			if err != nil {
				break
			}
		}
		if sent > 64<<20 {
			t.Fatalf("%d bytes were let in", sent)
		}
		p.mu.Lock()
		got := len(p.in)
		p.mu.Unlock()
		if got > streamRead { // a stream may have one read under way
			t.Errorf("the peer was given %d bytes", got)
		}
		p.change(func() { p.pause = false })
		p.eventually(t, "all of it arrives afterwards", func() bool { return len(p.in) == sent })
	})
}

func TestPauseHoldsBackWithinAStretchOfInput(t *testing.T) {
	p := &script{}
	c := dialLoop(t, p)
	c.Write([]byte("one"))
	p.eventually(t, "one", func() bool { return string(p.in) == "one" })
	p.change(func() { p.pause = true })
	p.eventually(t, "a turn", func() bool { return p.turns >= 3 })
	c.Write([]byte("two"))
	p.change(func() { p.out = append(p.out, []byte("x")) }) // a turn with the bytes there
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p.set(func() {
		if string(p.in) != "one" {
			t.Errorf("read while paused: %q", p.in)
		}
	})
	p.change(func() { p.pause = false })
	p.eventually(t, "two", func() bool { return string(p.in) == "onetwo" })
}

func TestClientThatDoesNotReadHoldsOnlyItself(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		chunk := bytes.Repeat([]byte("z"), 1<<20)
		p.change(func() {
			for range 32 {
				p.out = append(p.out, chunk)
			}
		})
		c.Write([]byte("still heard"))
		p.eventually(t, "input goes on", func() bool { return string(p.in) == "still heard" })
		p.set(func() {
			if p.sent >= 32<<20 {
				t.Error("everything was written though nobody reads")
			}
		})
		if n, err := io.CopyN(io.Discard, c, 32<<20); err != nil || n != 32<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
		p.eventually(t, "all buffers are back", func() bool { return p.sent == 32<<20 })
	})
}

func TestHoldWritesNothing(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{hold: true}
		c := k.dial(t, p)
		p.change(func() { p.out = append(p.out, []byte("later")) })
		for range 3 { // wakes may fall together, but not with a turn that has begun
			turns := 0
			p.change(func() { turns = p.turns })
			p.eventually(t, "a turn", func() bool { return p.turns > turns })
		}
		p.set(func() {
			if p.sent != 0 {
				t.Error("written while held")
			}
		})
		p.change(func() { p.hold = false })
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			t.Error(err)
		}
	})
}

func TestGentleCloseIsReadToItsEnd(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{pause: true}
		c := k.dial(t, p)
		// Unread bytes at the server must not turn the close into a reset.
		c.Write(make([]byte, 100_000))
		p.change(func() {
			p.out = append(p.out, bytes.Repeat([]byte("g"), 1<<20))
			p.end = CloseGently
		})
		got, err := io.ReadAll(c)
		if err != nil || len(got) != 1<<20 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		c.Close()
		p.eventually(t, "closed", func() bool { return p.over })
		if p.cause != nil {
			t.Errorf("cause %v", p.cause)
		}
	})
}

func TestGentleCloseOfAClientThatStays(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		p.change(func() { p.end = CloseGently })
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		p.change(func() { p.end = CloseNow })
		p.eventually(t, "closed", func() bool { return p.over })
	})
}

func TestLingeringDoesNotDrinkForEver(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		p.change(func() { p.end = CloseGently })
		for {
			if _, err := c.Write(make([]byte, 1<<16)); err != nil {
				break
			}
		}
		p.eventually(t, "closed", func() bool { return p.over })
	})
}

func TestCloseNow(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		p.change(func() {
			p.out = append(p.out, make([]byte, 64<<20)) // more than is taken
			p.end = CloseNow
		})
		if n, _ := io.Copy(io.Discard, c); n > 63<<20 {
			t.Errorf("%d bytes came", n)
		}
		p.eventually(t, "closed", func() bool { return p.over && p.cause == nil })
	})
}

func TestClientsEnd(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		c.Write([]byte("bye"))
		c.Close()
		p.eventually(t, "closed", func() bool { return p.over })
		if string(p.in) != "bye" || !errors.Is(p.cause, io.EOF) {
			t.Errorf("%q, %v", p.in, p.cause)
		}
	})
}

func TestReset(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		c.SetLinger(0)
		c.Close()
		p.eventually(t, "closed", func() bool { return p.over })
		if p.cause == nil || errors.Is(p.cause, io.EOF) {
			t.Errorf("cause %v", p.cause)
		}
	})
}

func TestHangupIsToldOnceWhilePausedAndTheRestIsRead(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		if !k.sees {
			t.Skip("a stream sees the end only by reading")
		}
		p := &script{pause: true}
		c := k.dial(t, p)
		p.eventually(t, "the first turn", func() bool { return p.turns > 0 })
		c.Write([]byte("last"))
		c.CloseWrite()
		p.eventually(t, "hangup", func() bool { return p.hung == 1 })
		p.change(func() { p.out = append(p.out, []byte("x")) })
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		turns := 0
		p.set(func() { turns = p.turns })
		for range 1000 {
			runtime.Gosched()
		}
		p.set(func() {
			if p.hung != 1 || p.turns > turns+3 {
				t.Errorf("%d hangups, the loop spins: %d turns", p.hung, p.turns-turns)
			}
		})
		p.change(func() { p.pause = false })
		p.eventually(t, "closed", func() bool { return p.over && string(p.in) == "last" })
	})
}

func TestWakesFromEverywhere(t *testing.T) {
	both(t, func(t *testing.T, k kind) {
		p := &script{}
		c := k.dial(t, p)
		const writers, each = 8, 2000
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					p.change(func() { p.out = append(p.out, []byte("w")) })
				}
			})
		}
		if n, err := io.CopyN(io.Discard, c, writers*each); err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		wg.Wait()
	})
}

func TestAnIdleLoopIsWoken(t *testing.T) {
	p := &script{}
	c := dialLoop(t, p)
	for range 200 { // each wake finds the loop parked again, or nearly
		p.change(func() { p.out = append(p.out, []byte("p")) })
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestManyConnectionsShareFewGoroutines(t *testing.T) {
	g, err := NewGroup(2)
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	addr := ln.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var peers []*script
	before := runtime.NumGoroutine()
	served := make(chan error, 1)
	go func() {
		served <- g.Serve(ctx, ln, func(w Waker, _ netip.AddrPort) Peer {
			mu.Lock()
			defer mu.Unlock()
			if len(peers) == 300 {
				return nil
			}
			p := &script{w: w, echo: true}
			peers = append(peers, p)
			return p
		})
	}()
	var conns []net.Conn
	for range 300 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(time.Minute))
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := runtime.NumGoroutine() - before; n > 5 {
		t.Errorf("%d goroutines", n)
	}
	refused, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Close()
	if b, err := io.ReadAll(refused); err != nil && !strings.Contains(err.Error(), "reset") || len(b) > 0 {
		t.Errorf("refused connection: %q %v", b, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		t.Error("still listening")
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range peers {
		if !p.over || !errors.Is(p.cause, net.ErrClosed) {
			t.Fatalf("closed %v, %v", p.over, p.cause)
		}
		p.w.Wake() // after the end: nothing happens
	}
}

package web

import (
	"io"
	"net"
	"sync"
	"testing"

	"godwit/internal/e2e/e2etest"
)

// relay stands between a browser and a server, as the network does, and can be cut.
type relay struct {
	addr, to string
	mu       sync.Mutex
	cut      bool
	mute     bool         // the server's answers are lost
	gate     sync.RWMutex // locked while they wait
	open     map[net.Conn]bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String(), to: to, open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		r.set(true)
		all.Wait()
	})
	return r
}

func (r *relay) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer s.Close()
	r.mu.Lock()
	cut := r.cut
	r.open[c], r.open[s] = true, true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, c)
		delete(r.open, s)
	}()
	if cut {
		return
	}
	var both sync.WaitGroup
	for _, x := range []struct {
		to   io.Writer
		from io.Reader
	}{{s, c}, {answers{r, c}, s}} {
		both.Go(func() {
			_, _ = io.Copy(x.to, x.from) // it ends when either side does
			c.Close()
			s.Close()
		})
	}
	both.Wait()
}

// answers are what goes back to the browser, unless that is lost.
type answers struct {
	r  *relay
	to net.Conn
}

func (a answers) Write(b []byte) (int, error) {
	a.r.gate.RLock()
	defer a.r.gate.RUnlock()
	a.r.mu.Lock()
	mute := a.r.mute
	a.r.mu.Unlock()
	if mute {
		return len(b), nil
	}
	return a.to.Write(b)
}

func (r *relay) setMute(mute bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = mute
}

// set cuts the network, or mends it.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		for c := range r.open {
			c.Close()
		}
	}
}

// held has what the server says wait while f runs.
func (r *relay) held(f func()) {
	r.gate.Lock()
	defer r.gate.Unlock()
	f()
}

// signedIn gives somebody a window where he is signed in by way of the relay.
func (r *relay) signedIn(t *testing.T, me person) *client {
	t.Helper()
	return (&server{&e2etest.Server{HTTP: r.addr}}).signedIn(t, me, desktop)
}

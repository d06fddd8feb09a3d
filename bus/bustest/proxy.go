package bustest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy stands between a bus and its server, and can be cut: then what is connected through
// it hears nothing any more and can send nothing, as behind a broken network.
type Proxy struct {
	t  testing.TB
	ln net.Listener

	mu    sync.Mutex
	to    string // host and port, "" for nobody
	cut   bool
	ready *sync.Cond // on cut
	conns map[net.Conn]struct{}
	ended bool
	wg    sync.WaitGroup
}

// NewProxy listens on a free loopback port and leads to the server at the URL; "": to nobody
// yet.
func NewProxy(t testing.TB, server string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("bustest: proxy: %v", err)
	}
	p := &Proxy{t: t, ln: ln, conns: map[net.Conn]struct{}{}}
	p.ready = sync.NewCond(&p.mu)
	if server != "" {
		p.To(server)
	}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is where it listens.
func (p *Proxy) URL() string { return "nats://" + p.ln.Addr().String() }

// To leads what connects from now on to the server at the URL.
func (p *Proxy) To(server string) {
	p.t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		p.t.Fatalf("bustest: proxy: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = u.Host
}

// Cut lets nothing through any more, without closing anything; Mend lets all of it through,
// what was held back too.
func (p *Proxy) Cut() { p.set(true) }

// Mend ends a cut.
func (p *Proxy) Mend() { p.set(false) }

func (p *Proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.ready.Broadcast()
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.ended = true
	p.ready.Broadcast()
	for c := range p.conns {
		_ = c.Close() // the copying ends with it
	}
	p.mu.Unlock()
	_ = p.ln.Close()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		to := p.to
		p.mu.Unlock()
		s, err := net.Dial("tcp", to)
		if err != nil || !p.add(c, s) {
			_ = c.Close()
			continue
		}
		p.wg.Go(func() { p.copy(s, c) })
		p.wg.Go(func() { p.copy(c, s) })
	}
}

func (p *Proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.ended {
			_ = c.Close()
			continue
		}
		p.conns[c] = struct{}{}
	}
	return !p.ended
}

func (p *Proxy) copy(to, from net.Conn) {
	_, _ = io.Copy(&gate{p, to}, from) // either end may go at any time
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// gate writes once the proxy is not cut.
type gate struct {
	p  *Proxy
	to net.Conn
}

func (g *gate) Write(b []byte) (int, error) {
	g.p.mu.Lock()
	for g.p.cut && !g.p.ended {
		g.p.ready.Wait()
	}
	g.p.mu.Unlock()
	return g.to.Write(b)
}

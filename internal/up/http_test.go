package up

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn, 10), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func serving(t *testing.T, limit, share int) *pipes {
	p := newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- serveHTTP(p, limit, share, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestAClientThatDripsIsClosed(t *testing.T) {
	for name, begin := range map[string]string{
		"header": "GET / HTTP/1.1\r\nHost: x\r\n",
		"body":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := serving(t, 10, 0).dial()
				start := time.Now()
				var dripping sync.WaitGroup
				dripping.Go(func() {
					io.WriteString(c, begin)
					for range 100 { // a byte now and then
						if _, err := io.WriteString(c, "a"); err != nil {
							return
						}
						time.Sleep(3 * time.Second)
					}
					c.Close()
				})
				io.Copy(io.Discard, c)
				c.Close()
				dripping.Wait()
				if took := time.Since(start); took > 40*time.Second {
					t.Errorf("closed after %s", took)
				}
			})
		})
	}
}

// Browsers keep the connections of a page; an office of them must not use up what one address has.
func TestAConnectionThatHasNothingToAskGivesItsPlaceBackSoon(t *testing.T) {
	for share, least := range map[int]time.Duration{0: 30 * time.Second, 2: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := serving(t, 10, share).dial()
			defer c.Close()
			go io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			io.Copy(io.Discard, c)
			if took := time.Since(start); took < least || took > 3*least {
				t.Errorf("with a share of %d closed after %s", share, took)
			}
		})
	}
}

func TestNoMoreConnectionsThanTheLimitAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serving(t, 1, 0)
		first, second := p.dial(), p.dial()
		defer first.Close()
		defer second.Close()
		answered := make(chan error, 1)
		go func() {
			io.WriteString(second, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			_, err := io.ReadAll(second)
			answered <- err
		}()
		synctest.Wait()
		if len(answered) > 0 {
			t.Error("the second is served beside the first")
		}
		first.Close()
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

// at is a connection from an address.
type at struct {
	net.Conn
	from string
}

func (c at) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from)) }

func TestOneAddressLeavesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serving(t, 7, 2)
		dial := func(from string) net.Conn {
			client, server := net.Pipe()
			p.conns <- at{server, from}
			return client
		}
		// get is one request on a connection that stays open after it.
		get := func(c net.Conn) error {
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				return err
			}
			_, err := http.ReadResponse(bufio.NewReader(c), nil)
			return err
		}
		var greedy []net.Conn
		for n := range 5 {
			c := dial("[2001:db8::" + string(rune('1'+n)) + "]:1000")
			defer c.Close()
			if err := get(c); (err == nil) != (n < 2) {
				t.Errorf("connection %d of the address: %v", n+1, err)
			}
			greedy = append(greedy, c)
		}
		other := dial("192.0.2.1:1000")
		defer other.Close()
		if err := get(other); err != nil {
			t.Errorf("another address: %v", err)
		}
		for n := range 3 { // a proxy stands for many
			c := dial("198.51.100.7:" + string(rune('1'+n)))
			defer c.Close()
			if err := get(c); err != nil {
				t.Errorf("connection %d of a proxy: %v", n+1, err)
			}
		}
		greedy[0].Close()
		synctest.Wait()
		again := dial("[2001:db8::9]:1000")
		defer again.Close()
		if err := get(again); err != nil {
			t.Errorf("in the place of one that was closed: %v", err)
		}
	})
}

func TestABodyThatNobodyReadsEndsTheConnectionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serveHTTP(p, 10, 0, nil, bodiless(http.NotFoundHandler()))(ctx) }()
		defer func() {
			cancel()
			<-done
		}()
		c := p.dial()
		defer c.Close()
		start := time.Now()
		go io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\na")
		io.Copy(io.Discard, c)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("closed after %s", took)
		}
	})
}

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/pdu/pdutest"
)

// pair is two well-behaved people who talk all the time while others misbehave.
type pair struct {
	*e2etest.World
	s *server
}

func talking(t *testing.T, s *server) *pair {
	t.Helper()
	w := e2etest.NewWorld(t, random(t).Uint64())
	w.Populate(s.register(t, 4)[:2], 4)
	w.Each(func(p *e2etest.Person) error { return p.Connect(s.Clients) })
	w.Each(func(p *e2etest.Person) error { return p.Sync(true) })
	w.Each(func(p *e2etest.Person) error { return p.TalkOn() })
	w.Await(10, s)
	return &pair{w, s}
}

// unharmed demands that the two have gone on, and lost nothing.
func (p *pair) unharmed(t *testing.T) {
	t.Helper()
	p.Await(20, p.s)
	p.Quiet(p.s)
	p.Settle()
	p.Audit()
}

// memoryBound is what the server may hold beside a normal load, whatever clients do.
const memoryBound = 512 << 20

func (p *pair) bounded(t *testing.T, what string) {
	t.Helper()
	rss := p.s.rss(t)
	t.Logf("%s: %d MiB resident", what, rss>>20)
	if rss > memoryBound {
		t.Errorf("%s: %d MiB resident, the bound is %d", what, rss>>20, memoryBound>>20)
	}
}

// TestHostileClients lets misbehaving clients loose on a server on which two people
// talk: each gets what it deserves, and the two notice nothing.
func TestHostileClients(t *testing.T) {
	t.Run("malformed", func(t *testing.T) {
		t.Parallel()
		s := start(t, t.TempDir(), "--durability", "os")
		p := talking(t, s)
		var all sync.WaitGroup
		slots := make(chan struct{}, 16)
		for i, c := range pdutest.Malformed {
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if err := malformed(s.Clients, i, c); err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
			})
		}
		all.Wait()
		p.unharmed(t)
		p.bounded(t, fmt.Sprint(len(pdutest.Malformed), " malformed inputs"))
	})

	t.Run("before login", func(t *testing.T) {
		t.Parallel()
		s := start(t, t.TempDir(), "--durability", "os")
		p := talking(t, s)
		for command, body := range pdutest.Requests {
			if err := refusedBeforeLogin(s.Clients, command, body); err != nil {
				t.Errorf("command %#04x before login: %v", command, err)
			}
		}
		p.unharmed(t)
	})

	t.Run("never reads", func(t *testing.T) {
		t.Parallel()
		s := start(t, t.TempDir(), "--durability", "os")
		p := talking(t, s)
		neverReads(t, s)
		p.unharmed(t)
		p.bounded(t, "a client that never reads")
	})

	t.Run("flood", func(t *testing.T) {
		t.Parallel()
		s := start(t, t.TempDir(), "--durability", "os")
		p := talking(t, s)
		flood(t, s)
		p.unharmed(t)
		p.bounded(t, "a flood")
	})

	t.Run("silent", func(t *testing.T) {
		s := start(t, t.TempDir(), "--durability", "os")
		p := talking(t, s)
		silent(t, p)
	})
}

// malformed sends one case on a connection of its own and holds the server to what
// the case says. Several cases may use the same person: phones of u3 and u4 kick each
// other, so each case after login has a name that nothing else uses at the time.
func malformed(addr string, i int, c pdutest.Case) error {
	conn, err := e2etest.Dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(e2etest.Patience)); err != nil {
		return err
	}
	if c.AfterLogin {
		unlock := locked(i)
		defer unlock()
		who, device := e2etest.Name(2+i%2), e2etest.DeviceWindows
		if i%4 > 1 {
			device = e2etest.DeviceAndroid
		}
		if _, err := conn.Login(who, device); err != nil {
			return err
		}
		if err := conn.SetDeadline(time.Now().Add(e2etest.Patience)); err != nil {
			return err
		}
	}
	if _, err := conn.Write(c.Bytes); err != nil {
		return err
	}
	switch c.Want {
	case pdutest.Close:
		// A heartbeat in front of the bad PDU is answered; nothing else comes but the end.
		rest, err := readRest(conn)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("should have been closed: %w", err)
		}
		if echo := rest; len(echo) > 0 && !bytes.HasPrefix(c.Bytes, pdutest.Heartbeat[:8]) {
			return fmt.Errorf("was answered with % x", echo)
		}
		return nil
	case pdutest.Ignore:
		return alive(conn)
	default: // the rest of the PDU is waited for, so nothing is answered and nothing closed
		if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return err
		}
		rest, err := readRest(conn)
		if err, ok := errors.AsType[net.Error](err); ok && err.Timeout() && len(rest) == 0 {
			return nil
		}
		return fmt.Errorf("was answered with % x and ended with %w", rest, err)
	}
}

var lanes [4]sync.Mutex

// locked holds one of the four sessions that u3 and u4 may have without kicking.
func locked(i int) (unlock func()) {
	lanes[i%4].Lock()
	return lanes[i%4].Unlock
}

// readRest reads to the end, and leaves out notices that a session may be sent.
func readRest(c *e2etest.Conn) ([]byte, error) {
	var rest []byte
	for {
		p, err := c.Next()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return rest, nil
		case err != nil:
			return rest, err
		case p.Command == e2etest.CmdStatus || p.Command == e2etest.CmdDesktop:
		default:
			rest = append(rest, byte(p.Command>>8), byte(p.Command))
		}
	}
}

// alive demands that a heartbeat is the next thing that is answered.
func alive(c *e2etest.Conn) error {
	if _, err := c.Write(pdutest.Heartbeat); err != nil {
		return err
	}
	for {
		p, err := c.Next()
		switch {
		case err != nil:
			return fmt.Errorf("heartbeat was not answered: %w", err)
		case p.Command == e2etest.CmdHeartbeat:
			return nil
		case p.Command == e2etest.CmdStatus || p.Command == e2etest.CmdDesktop:
		default:
			return fmt.Errorf("was answered with %#04x", p.Command)
		}
	}
}

// refusedBeforeLogin demands that a command of a logged-in client comes to nothing:
// no answer, whether the connection is then closed or goes on.
func refusedBeforeLogin(addr string, command uint16, body []byte) error {
	c, err := e2etest.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(e2etest.Patience)); err != nil {
		return err
	}
	if err := c.Send(command, 7, body); err != nil {
		return err
	}
	if _, err := c.Write(pdutest.Heartbeat); err != nil {
		return nil // closed
	}
	p, err := c.Next()
	if err != nil || p.Command == e2etest.CmdHeartbeat {
		return nil
	}
	return fmt.Errorf("was answered with %#04x", p.Command)
}

// neverReads has a logged-in client ask for more than it takes.
func neverReads(t *testing.T, s *server) {
	t.Helper()
	c, err := e2etest.Dial(s.Clients)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	user, err := c.Login(e2etest.Name(2), e2etest.DeviceWindows)
	if err != nil {
		t.Fatal(err)
	}
	// Some history that is worth asking for.
	writer, err := e2etest.Open(s.Clients, e2etest.Name(3), e2etest.DeviceWindows, func(e2etest.Packet) {})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.End()
	for range 20 {
		if _, err := writer.Say(user, string(bytes.Repeat([]byte("y"), 2000))); err != nil {
			t.Fatal(err)
		}
	}
	// The server stops to read, or closes: either way this ends, once the buffers of the
	// system between the two are full.
	requests := bytes.Repeat(e2etest.Pdu(e2etest.CmdHistory, 9, e2etest.Body(user, 1, writer.User, 0, 100)), 1000)
	const most = 64 << 20
	for asked := 0; asked < most; {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Write(requests)
		if asked += n; err != nil {
			t.Logf("never reads: held or closed after %d KiB of requests: %v", asked>>10, err)
			return
		}
	}
	t.Errorf("the server took %d MiB of requests of a client that reads no answer", most>>20)
}

// flood sends messages as fast as the server takes them, without waiting for acks.
func flood(t *testing.T, s *server) {
	t.Helper()
	acks := make(chan uint32, 1<<16)
	a, err := e2etest.Open(s.Clients, e2etest.Name(2), e2etest.DeviceWindows, func(p e2etest.Packet) {
		if p.Command == e2etest.CmdAck {
			acks <- p.Body.Num(3)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.End()
	b, err := e2etest.Open(s.Clients, e2etest.Name(3), e2etest.DeviceWindows, func(e2etest.Packet) {})
	if err != nil {
		t.Fatal(err)
	}
	defer b.End()
	const messages = 2500 // over the burst, so that its socket rests for a while
	begin := time.Now()
	for i := range messages {
		if err := a.Send(e2etest.CmdMessage, uint16(i+1), e2etest.Body(a.User, b.User, 0, 0, 1, fmt.Sprint("flood ", i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range messages {
		select {
		case id := <-acks:
			if id != uint32(i+1) {
				t.Fatalf("ack %d of the flood has id %d: something was dropped or turned round", i+1, id)
			}
		case <-time.After(e2etest.Patience):
			t.Fatalf("only %d of %d messages of a flood were acked", i, messages)
		}
	}
	took := time.Since(begin)
	t.Logf("a flood of %d messages was taken in %v, none dropped", messages, took.Round(time.Millisecond))
	// 1,000 at once and 500 a second: the rest takes three seconds, less what timers round.
	if took < 2*time.Second {
		t.Errorf("a flood of %d messages went through in %v: nothing held it", messages, took)
	}
}

// silent opens connections that say nothing, as many as the limits of this machine
// allow, and demands that they are closed at the end of the login wait.
func silent(t *testing.T, p *pair) {
	want := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < limit.Max {
		limit.Cur = limit.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	// The test and the server each need one for every connection.
	if most := int(min(limit.Cur, 1<<20)) - 500; most < want {
		t.Logf("the limit of open files allows %d silent connections instead of %d", most, want)
		want = most
	}
	ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
	defer cancel()
	var all sync.WaitGroup
	var open, closed atomic.Int64
	next := make(chan struct{}, want)
	for range want {
		next <- struct{}{}
	}
	close(next)
	conns := make([][]net.Conn, 16)
	for i := range conns {
		all.Go(func() {
			var d net.Dialer
			for range next {
				c, err := d.DialContext(ctx, "tcp", p.s.Clients)
				if err != nil {
					t.Errorf("connection %d: %v", open.Load(), err)
					return
				}
				open.Add(1)
				conns[i] = append(conns[i], c)
			}
		})
	}
	all.Wait()
	// Some say a byte a second, for a header that never ends.
	begin := time.Now()
	for i := range conns {
		all.Go(func() {
			c := conns[i][0]
			every := time.NewTicker(time.Second)
			defer every.Stop()
			for _, b := range e2etest.Pdu(e2etest.CmdLogin, 1, make([]byte, 100)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return // closed, as it should be
				}
				<-every.C
			}
			t.Errorf("a login of a byte a second was suffered for %v", time.Since(begin))
		})
	}
	p.Await(20, p.s) // while all of them are there
	p.bounded(t, fmt.Sprint(open.Load(), " silent connections"))
	for i := range conns {
		all.Go(func() {
			for _, c := range conns[i] {
				_ = c.SetReadDeadline(time.Now().Add(e2etest.Patience))
				var b [1]byte
				if _, err := c.Read(b[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					closed.Add(1)
				}
				_ = c.Close()
			}
		})
	}
	all.Wait()
	if closed.Load() != int64(want) {
		t.Errorf("%d of %d silent connections were closed by the server", closed.Load(), want)
	}
	p.unharmed(t)
	if n := memberFiles(t, p.s); n > 500 {
		t.Errorf("the server holds %d files after %d silent connections are gone", n, want)
	}
}

// memberFiles is how many files the process has open.
func memberFiles(t *testing.T, s *server) int {
	t.Helper()
	d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

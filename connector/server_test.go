package connector

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"godwit/internal/certtest"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/pdu"
	"godwit/schema/pdu/pdutest"
)

// running is a server with sockets over a fake node that works by itself.
type running struct {
	t    testing.TB
	srv  *Server
	node *fakeNode
	stop func() error
}

func start(t testing.TB, edit ...func(c *Config)) *running {
	h := cheapHasher(t)
	c := testConfig(t, h)
	c.Logger = slog.New(slog.DiscardHandler)
	c.DrainTimeout, c.Limits.Goodbye = time.Second, time.Second
	c.Registerer = prometheus.NewRegistry()
	for _, e := range edit {
		e(&c)
	}
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	n := newFakeNode(t)
	n.handler, n.auto = srv.Handler(), true
	for i, name := range []string{"ann", "bob", "cy"} {
		n.person(h, uint32(i+1), name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, n) }()
	select {
	case <-srv.Listening():
	case err := <-done:
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return &running{t, srv, n, stop}
}

// dialled is a client with a socket.
type dialled struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (r *running) dial() *dialled {
	c, err := net.Dial("tcp", r.srv.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	return dialledOver(r.t, c)
}

func dialledOver(t testing.TB, c net.Conn) *dialled {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return &dialled{t, c, bufio.NewReader(c)}
}

func (d *dialled) put(b ...[]byte) {
	d.t.Helper()
	if _, err := d.Write(joined(b)); err != nil {
		d.t.Fatal(err)
	}
}

func joined(b [][]byte) (all []byte) {
	for _, x := range b {
		all = append(all, x...)
	}
	return all
}

func (d *dialled) next() (got, error) {
	head, err := d.r.Peek(16)
	if err != nil {
		return got{}, err
	}
	h, _ := pdu.ParseHeader(head)
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(d.r, b); err != nil {
		return got{}, err
	}
	m, err := client.Decode(h.Command, b[16:])
	return got{h, m}, err
}

// until reads up to a PDU of the command.
func (d *dialled) until(command uint16) proto.Message {
	d.t.Helper()
	for {
		g, err := d.next()
		if err != nil {
			d.t.Fatalf("waiting for %s: %v", client.Name(command), err)
		}
		if g.Command == command {
			return g.m
		}
	}
}

// ended reads until the server has closed.
func (d *dialled) ended() error {
	for {
		if _, err := d.next(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			return nil
		}
	}
}

func (d *dialled) login(name string, kind imbase.ClientType) *dialled {
	d.t.Helper()
	d.put(pack(d.t, client.CmdLoginReq, 1, loginReq(name, "pw", kind)))
	if m := d.until(client.CmdLoginRes).(*imlogin.IMLoginRes); m.GetResultCode() != loginOK {
		d.t.Fatalf("login: %v", m)
	}
	return d
}

func (r *running) eventually(what string, f func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not in time: %s", what)
		}
		runtime.Gosched()
	}
}

func TestTalkOverSockets(t *testing.T) {
	r := start(t)
	ann, bob := r.dial().login("ann", windows), r.dial().login("bob", android)
	const n = 900 // fewer than may be sent at once
	go func() {
		for i := range n {
			ann.Write(pack(t, client.CmdMsgData, uint16(i), msg(2, text, fmt.Sprint("m", i))))
		}
	}()
	for i := range n {
		if m := bob.until(client.CmdMsgData).(*immessage.IMMsgData); m.GetMsgId() != uint32(i+1) || string(m.GetMsgData()) != fmt.Sprint("m", i) {
			t.Fatalf("message %d is %v", i, m)
		}
		if m := ann.until(client.CmdMsgDataAck).(*immessage.IMMsgDataAck); m.GetMsgId() != uint32(i+1) {
			t.Fatalf("ack %d is %v", i, m)
		}
	}
}

func TestKickedClientReadsItsKickBeforeTheEnd(t *testing.T) {
	r := start(t)
	old := r.dial().login("ann", windows)
	// Bytes the server has not read must not make the close a reset that takes the
	// kick with it.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := old.Write(pdutest.Heartbeat); err != nil {
					return
				}
			}
		}
	})
	r.dial().login("ann", mac)
	if m := old.until(client.CmdKickUser).(*imlogin.IMKickUser); m.GetKickReason() != imbase.KickReasonType_KICK_REASON_DUPLICATE_USER {
		t.Errorf("%v", m)
	}
	close(stop)
	wg.Wait()
	old.Close()
	r.eventually("the session goes", func() bool { return r.srv.Sessions() == 1 })
}

func TestFailedLoginIsAnsweredAndClosed(t *testing.T) {
	r := start(t)
	d := r.dial()
	d.put(pack(t, client.CmdLoginReq, 1, loginReq("ann", "wrong", windows)), pdutest.Heartbeat)
	if m := d.until(client.CmdLoginRes).(*imlogin.IMLoginRes); m.GetResultCode() != loginWrong {
		t.Errorf("%v", m)
	}
	if err := d.ended(); err != nil {
		t.Error(err)
	}
}

func TestFloodIsHeldByTCP(t *testing.T) {
	r := start(t)
	ann, bob := r.dial().login("ann", windows), r.dial().login("bob", windows)
	stopped := make(chan int)
	go func() {
		// Far more than sockets and server may buffer.
		big := msg(2, text, strings.Repeat("x", 4000))
		sent := 0
		ann.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond))
		for i := range 1 << 20 {
			n, err := ann.Write(pack(t, client.CmdMsgData, uint16(i+1), big))
			sent += n
			if err != nil {
				break
			}
		}
		stopped <- sent
	}()
	go io.Copy(io.Discard, bob.Conn)
	go io.Copy(io.Discard, ann.Conn)
	cy := r.dial().login("cy", windows)
	worst := time.Duration(0)
	for range 200 {
		at := time.Now()
		cy.put(pdutest.Heartbeat)
		cy.until(client.CmdHeartBeat)
		worst = max(worst, time.Since(at))
	}
	sent := <-stopped
	// 1,000 at once, then 500 a second, each with a header, and what sockets hold.
	if limit := 4100*2100 + 12<<20; sent > limit {
		t.Errorf("the server took %d bytes in 1.5 s", sent)
	}
	if n := r.srv.partial.Load(); n > 256<<10 {
		t.Errorf("%d bytes wait in the server", n)
	}
	t.Logf("flooder was let send %d bytes; another's worst echo took %v", sent, worst)
}

func TestClientThatNeverReads(t *testing.T) {
	r := start(t)
	deaf, err := (&net.Dialer{}).Dial("tcp", r.srv.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	deaf.(*net.TCPConn).SetReadBuffer(4 << 10)
	dialledOver(t, deaf).login("bob", windows)
	ann := r.dial().login("ann", windows)
	go io.Copy(io.Discard, ann.Conn)
	go func() {
		for i := range 10_000 {
			if r.srv.Sessions() < 2 {
				return
			}
			if _, err := ann.Write(pack(t, client.CmdMsgData, uint16(i+1), msg(2, text, strings.Repeat("y", 100<<10)))); err != nil {
				return
			}
		}
	}()
	r.eventually("the slow session is closed", func() bool { return r.srv.Sessions() == 1 })
	if e := r.node.find("SessionEnded"); e == nil {
		r.eventually("its end is told", func() bool { return r.node.find("SessionEnded") != nil })
	}
}

func TestMalformedInputOverSockets(t *testing.T) {
	r := start(t)
	for _, c := range pdutest.Malformed {
		if c.Want != pdutest.Close {
			continue
		}
		d := r.dial()
		if c.AfterLogin {
			d.login("ann", windows)
		}
		d.put(c.Bytes)
		if err := d.ended(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	r.eventually("all are gone", func() bool { return r.srv.Sessions() == 0 })
	if r.srv.partial.Load() != 0 {
		t.Errorf("%d bytes are still counted", r.srv.partial.Load())
	}
}

func TestSilentConnectionsAreClosedAfterTheLoginWait(t *testing.T) {
	r := start(t, func(c *Config) { c.Limits.LoginWait = 6 * time.Second })
	const n = 500
	var conns []*dialled
	for i := range n {
		d := r.dial()
		if i%2 == 1 {
			d.put([]byte{0, 0, 1, 0, 0}) // a header that never ends
		}
		conns = append(conns, d)
	}
	r.eventually("all are in", func() bool { return r.srv.Sessions() == n })
	r.dial().login("ann", windows) // nobody is kept out
	for _, d := range conns {
		if err := d.ended(); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("they are gone", func() bool { return r.srv.Sessions() == 1 })
}

func TestConnectionLimits(t *testing.T) {
	for name, edit := range map[string]func(c *Config){
		"in all":      func(c *Config) { c.Limits.Connections = 3 },
		"per address": func(c *Config) { c.Limits.PerAddress = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, edit)
			var first *dialled
			for range 3 {
				d := r.dial()
				d.put(pdutest.Heartbeat)
				d.until(client.CmdHeartBeat)
				first = d
			}
			if err := r.dial().ended(); err != nil {
				t.Fatal(err)
			}
			first.Close()
			r.eventually("there is room again", func() bool { return r.srv.Sessions() == 2 })
			d := r.dial()
			d.put(pdutest.Heartbeat)
			d.until(client.CmdHeartBeat)
		})
	}
}

func TestDrainDeliversPendingAcks(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainTimeout = time.Minute })
	ann, idle := r.dial().login("ann", windows), r.dial()
	r.node.mu.Lock()
	r.node.auto = false
	r.node.mu.Unlock()
	ann.put(pack(t, client.CmdMsgData, 44, msg(2, text, "x")))
	r.eventually("the message is appended", func() bool { return r.srv.pending.Load() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	r.eventually("it drains", func() bool { return r.srv.draining.Load() })
	if _, err := net.DialTimeout("tcp", r.srv.Addr().String(), time.Second); err == nil {
		r.eventually("nobody is let in", func() bool { return r.srv.Sessions() <= 2 })
	}
	r.node.step()
	if m := ann.until(client.CmdMsgDataAck).(*immessage.IMMsgDataAck); m.GetMsgId() != 1 {
		t.Errorf("%v", m)
	}
	for _, d := range []*dialled{ann, idle} {
		if err := d.ended(); err != nil {
			t.Error(err)
		}
		d.Close()
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	r.node.step()
	if ev := r.node.find("SessionEnded").GetSessionEnded(); ev.GetUser() != 1 || ev.GetReason() != event.EndReason_END_REASON_CLOSED {
		t.Errorf("the log has %v", r.node.kinds())
	}
}

func TestDrainDoesNotWaitForEver(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainTimeout = 100 * time.Millisecond })
	ann := r.dial().login("ann", windows)
	r.node.mu.Lock()
	r.node.auto = false
	r.node.mu.Unlock()
	ann.put(pack(t, client.CmdMsgData, 44, msg(2, text, "x")))
	r.eventually("the message is appended", func() bool { return r.srv.pending.Load() == 1 })
	if err := r.stop(); err != nil { // ann never closes her end
		t.Error(err)
	}
}

func TestHalfClosedClientIsStillServed(t *testing.T) {
	r := start(t)
	ann := r.dial().login("ann", windows)
	ann.put(pack(t, client.CmdMsgData, 1, msg(2, text, "last words")))
	ann.Conn.(*net.TCPConn).CloseWrite()
	r.eventually("the message is in the log", func() bool { return r.node.find("MessageSent") != nil })
	r.eventually("the session ends", func() bool { return r.srv.Sessions() == 0 })
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := certtest.Write(t, dir, "first", certtest.Ends)
	r := start(t, func(c *Config) { c.TLSListen, c.TLSCert, c.TLSKey = "127.0.0.1:0", cert, key })
	dial := func() (*dialled, string) {
		c, err := tls.Dial("tcp", r.srv.TLSAddr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return dialledOver(t, c), c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	ann, name := dial()
	if name != "first" {
		t.Errorf("certificate of %q", name)
	}
	ann.login("ann", windows)
	bob := r.dial().login("bob", windows)
	big := strings.Repeat("z", 300<<10)
	ann.put(pack(t, client.CmdMsgData, 1, msg(2, text, big)))
	if m := bob.until(client.CmdMsgData).(*immessage.IMMsgData); string(m.GetMsgData()) != big {
		t.Error("the message arrived changed")
	}
	ann.until(client.CmdMsgDataAck)
	bob.put(pack(t, client.CmdMsgData, 1, msg(1, text, big)))
	if m := ann.until(client.CmdMsgData).(*immessage.IMMsgData); string(m.GetMsgData()) != big {
		t.Error("the message arrived changed")
	}

	certtest.Write(t, dir, "second", certtest.Ends)
	r.eventually("the new certificate is served", func() bool { _, name := dial(); return name == "second" })
	os.WriteFile(key, []byte("half a fi"), 0o600)
	if _, name := dial(); name != "second" {
		t.Errorf("certificate of %q", name)
	}

	ann2, _ := dial()
	ann2.login("ann", mac)
	if m := ann.until(client.CmdKickUser).(*imlogin.IMKickUser); m.GetUserId() != 1 {
		t.Errorf("%v", m)
	}
	if err := ann.ended(); err != nil {
		t.Error(err)
	}
}

func TestTLSPortBoundsThoseWhoSayNothing(t *testing.T) {
	cert, key := certtest.Write(t, t.TempDir(), "x", certtest.Ends)
	r := start(t, func(c *Config) {
		c.TLSListen, c.TLSCert, c.TLSKey = "127.0.0.1:0", cert, key
		c.Limits.LoginWait = time.Second
	})
	c, err := net.Dial("tcp", r.srv.TLSAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := dialledOver(t, c).ended(); err != nil {
		t.Error(err)
	}
	r.eventually("it is gone", func() bool { return r.srv.Sessions() == 0 })
}

func TestMsgServer(t *testing.T) {
	r := start(t)
	_, port, _ := net.SplitHostPort(r.srv.Addr().String())
	cases := []struct{ advertise, host, port string }{
		{"", "127.0.0.1", port},
		{"chat.example", "chat.example", port},
		{"192.0.2.7:9000", "192.0.2.7", "9000"},
		{"[2001:db8::1]:9000", "2001:db8::1", "9000"},
		{"[2001:db8::1]", "2001:db8::1", port},
		{":9000", "127.0.0.1", "9000"},
	}
	for _, c := range cases {
		d := &Discovery{Server: r.srv, Advertise: c.advertise, MSFS: "http://m/", Directory: "http://d/"}
		web := httptest.NewServer(d)
		res, err := http.Post(web.URL+"/msg_server?x=1", "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		web.Close()
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"code": 0.0, "msg": "", "priorIP": c.host, "backupIP": c.host, "port": c.port,
			"msfsPrior": "http://m/", "msfsBackup": "http://m/", "discovery": "http://d/"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %s", c.advertise, b)
		}
		if res.Proto != "HTTP/1.1" || res.ContentLength != int64(len(b)) || res.Header.Get("Content-Type") != "text/html;charset=utf-8" {
			t.Errorf("%s %v", res.Proto, res.Header)
		}
	}
	r.node.mu.Lock()
	r.node.unavailable = errAway
	r.node.mu.Unlock()
	rec := httptest.NewRecorder()
	(&Discovery{Server: r.srv}).ServeHTTP(rec, httptest.NewRequest("GET", "/msg_server", nil))
	if !strings.Contains(rec.Body.String(), "没有msg_server") || strings.Contains(rec.Body.String(), "priorIP") {
		t.Errorf("%s", rec.Body)
	}
	rec = httptest.NewRecorder()
	(&Discovery{Server: r.srv}).ServeHTTP(rec, httptest.NewRequest("GET", "/other", nil))
	if rec.Code != http.StatusNotFound {
		t.Errorf("other path: %d", rec.Code)
	}
}

func TestPortInUseIsSaidAtOnce(t *testing.T) {
	r := start(t)
	srv, err := New(func() Config { c := testConfig(t, cheapHasher(t)); c.Listen = r.srv.Addr().String(); return c }())
	if err != nil {
		t.Fatal(err)
	}
	n := newFakeNode(t)
	n.started = make(chan struct{})
	if err := srv.Run(t.Context(), n); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := testConfig(t, cheapHasher(t))
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(c *Config){
		"no address":       func(c *Config) { c.Listen = "" },
		"bad port":         func(c *Config) { c.Listen = "localhost:99999" },
		"no port":          func(c *Config) { c.Listen = "localhost" },
		"TLS without cert": func(c *Config) { c.TLSListen = ":1" },
		"cert without TLS": func(c *Config) { c.TLSCert, c.TLSKey = "a", "b" },
		"missing cert":     func(c *Config) { c.TLSListen, c.TLSCert, c.TLSKey = ":1", "/no/a", "/no/b" },
		"contacts":         func(c *Config) { c.Contacts = "nobody" },
		"no hasher":        func(c *Config) { c.Hasher = nil },
		"no partitions":    func(c *Config) { c.Partitions = 0 },
		"negative":         func(c *Config) { c.Limits.Pending = -1 },
		"small output":     func(c *Config) { c.Limits.Output = 1000 },
	} {
		c := good
		edit(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

package connector

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/connector/reactor"
	"godwit/connector/ws"
	"godwit/internal/certtest"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	imother "godwit/schema/client/other"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
)

// The client of these tests makes frames by hand, so that both sides can't be wrong in the same way.

const (
	opMore   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
)

// site is a server's WebSocket handler behind an HTTP server as the public port has one.
type site struct {
	*running
	addr     string
	registry *prometheus.Registry
}

func startSite(t testing.TB, edit ...func(c *Config)) *site {
	registry := prometheus.NewRegistry()
	r := start(t, append([]func(c *Config){func(c *Config) { c.Registerer = registry }}, edit...)...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveSite(t, r, ln)
	return &site{r, ln.Addr().String(), registry}
}

func serveSite(t testing.TB, r *running, ln net.Listener) {
	mux := http.NewServeMux()
	mux.Handle("/ws", r.srv.WebSocket())
	hs := &http.Server{Handler: mux, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		hs.Serve(ln)
	}()
	t.Cleanup(func() {
		hs.Close()
		<-done
	})
}

// tab is a client with a WebSocket.
type tab struct {
	t testing.TB
	net.Conn
	r     *bufio.Reader
	mask  uint32
	begun *arrived // a message that is not over
}

// handshake is a request for an upgrade; headers come on top of it.
func handshake(host string, headers ...string) string {
	return "GET /ws HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// ask sends a request and gives the status of its answer.
func (s *site) ask(request string) (*tab, *http.Response) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return asked(s.t, c, request)
}

func asked(t testing.TB, c net.Conn, request string) (*tab, *http.Response) {
	t.Helper()
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t, Conn: c, r: bufio.NewReader(c), mask: 0x9d3c70a5}
	res, err := http.ReadResponse(b.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, res
}

// counted is the sum of a metric over its labels, 0 while it has none.
func (s *site) counted(name string) (sum float64) {
	s.t.Helper()
	all, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// browse opens a WebSocket.
func (s *site) browse(headers ...string) *tab {
	s.t.Helper()
	b, res := s.ask(handshake(s.addr, headers...))
	// The answer to this key is the one of RFC 6455, section 1.3.
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		s.t.Fatalf("upgrade: %s %v", res.Status, res.Header)
	}
	return b
}

// framed is a client's frame; fin says that it ends its message.
func (b *tab) frame(op byte, fin bool, payload []byte) []byte {
	b.mask = b.mask*1664525 + 1013904223
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], b.mask)
	if fin {
		op |= 0x80
	}
	f := []byte{op}
	switch n := len(payload); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	f = append(f, mask[:]...)
	for i, c := range payload {
		f = append(f, c^mask[i%4])
	}
	return f
}

func (b *tab) put(frames ...[]byte) {
	b.t.Helper()
	if _, err := b.Write(bytes.Join(frames, nil)); err != nil {
		b.t.Fatal(err)
	}
}

// arrived is a frame of the server.
type arrived struct {
	op   byte
	body []byte
}

// code is that of a close frame, 0 if it has none.
func (a arrived) code() int {
	if a.op != opClose || len(a.body) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(a.body))
}

// next is the next frame, or the next message whose last frame it is: large texts come in several.
func (b *tab) next() (a arrived, err error) {
	for {
		last := false
		if a, last, err = b.part(); err != nil || last && a.op > opMore && b.begun == nil || a.op >= opClose {
			return a, err
		}
		switch {
		case (a.op == opMore) != (b.begun != nil):
			return a, fmt.Errorf("frame %x of the server is out of order", a.op)
		case b.begun == nil:
			b.begun = &arrived{op: a.op}
		}
		b.begun.body = append(b.begun.body, a.body...)
		if last {
			a, b.begun = *b.begun, nil
			return a, nil
		}
	}
}

// part is the next frame; last says that it ends its message.
func (b *tab) part() (a arrived, last bool, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(b.r, head); err != nil {
		return a, false, err
	}
	if head[0]&0x70 != 0 || head[1]&0x80 != 0 {
		return a, false, fmt.Errorf("a frame of the server begins with %x", head)
	}
	n := uint64(head[1])
	if n > 125 {
		long := make([]byte, 8)
		size := 2 + 6*int(n-126)
		if _, err := io.ReadFull(b.r, long[8-size:]); err != nil {
			return a, false, err
		}
		n = binary.BigEndian.Uint64(long)
	}
	if n > 4<<20 {
		return a, false, fmt.Errorf("a frame of %d bytes", n)
	}
	a = arrived{head[0] & 0xf, make([]byte, n)}
	_, err = io.ReadFull(b.r, a.body)
	return a, head[0]&0x80 != 0, err
}

// await is the next frame of a kind; what comes before is dropped.
func (b *tab) await(op byte) arrived {
	b.t.Helper()
	for {
		a, err := b.next()
		if err != nil {
			b.t.Fatalf("waiting for frame %x: %v", op, err)
		}
		if a.op == op {
			return a
		}
	}
}

// until reads up to a PDU of the command, in binary.
func (b *tab) until(command uint16) (m any) {
	b.t.Helper()
	for {
		a := b.await(opBinary)
		f, n, err := pdu.Next(a.body, pdu.MaxAfterLogin)
		if err != nil || n != len(a.body) {
			b.t.Fatalf("a message is not one PDU: %x, %v", a.body, err)
		}
		if f.Command == command {
			m, err := client.Decode(f.Command, f.Body)
			if err != nil {
				b.t.Fatal(err)
			}
			return m
		}
	}
}

// said is a text of the server.
type said struct {
	Service int
	Command string
	Seq     int
	Body    map[string]any
	Error   string
}

// hear reads up to a text of the command.
func (b *tab) hear(command string) (s said) {
	b.t.Helper()
	for {
		a := b.await(opText)
		s = said{}
		if err := json.Unmarshal(a.body, &s); err != nil {
			b.t.Fatalf("%q: %v", a.body, err)
		}
		if s.Command == command {
			return s
		}
	}
}

func (b *tab) pdu(command, seq uint16, m any) []byte {
	return b.frame(opBinary, true, pack(b.t, command, seq, m.(proto.Message)))
}

func (b *tab) say(text string) { b.t.Helper(); b.put(b.frame(opText, true, []byte(text))) }

// closed reads up to the close frame, checks that the connection ends after it, and gives its code.
func (b *tab) closed() int {
	b.t.Helper()
	code := b.await(opClose).code()
	if _, err := b.next(); !errors.Is(err, io.EOF) {
		b.t.Errorf("after the close frame: %v", err)
	}
	return code
}

func (s *site) login(name string, kind imbase.ClientType) *tab {
	s.t.Helper()
	b := s.browse()
	b.put(b.pdu(client.CmdLoginReq, 1, loginReq(name, "pw", kind)))
	if m := b.until(client.CmdLoginRes).(*imlogin.IMLoginRes); m.GetResultCode() != loginOK {
		s.t.Fatalf("login: %v", m)
	}
	return b
}

func TestWebSocketTalk(t *testing.T) {
	r := startSite(t)
	ann := r.login("ann", windows)
	bob := r.browse()
	bob.say(`{"command":"IMLoginReq","seq":1,"body":{"userName":"bob","plainPassword":"pw","onlineStatus":"USER_STATUS_ONLINE","clientType":"CLIENT_TYPE_WEB"}}`)
	if got := bob.hear("IMLoginRes"); got.Seq != 1 || got.Body["resultCode"] != "REFUSE_REASON_NONE" {
		t.Fatalf("%+v", got)
	}
	big := strings.Repeat("z", 300<<10)
	for i, body := range []string{"hello", big, "and again"} {
		ann.put(ann.pdu(client.CmdMsgData, uint16(i+2), msg(2, text, body)))
		if m := ann.until(client.CmdMsgDataAck).(*immessage.IMMsgDataAck); m.GetMsgId() != uint32(i+1) {
			t.Errorf("%v", m)
		}
		if got := bob.hear("IMMsgData"); got.Seq != 0 || got.Body["msgData"] != base64.StdEncoding.EncodeToString([]byte(body)) {
			t.Errorf("message %d arrived changed", i)
		}
	}
	bob.say(`{"command":"IMMsgData","seq":8,"body":{"fromUserId":2,"toSessionId":1,"msgId":0,"createTime":0,"msgType":"MSG_TYPE_SINGLE_TEXT","text":"good day"}}`)
	if got := bob.hear("IMMsgDataAck"); got.Seq != 8 {
		t.Errorf("%+v", got)
	}
	if m := ann.until(client.CmdMsgData).(*immessage.IMMsgData); m.GetFromUserId() != 2 {
		t.Errorf("%v", m)
	}
	bob.say(`{"command":"IMNothing","seq":9}`)
	if a := bob.await(opText); !strings.Contains(string(a.body), `"error"`) {
		t.Errorf("%s", a.body)
	}
	bob.put(bob.frame(opPing, true, []byte("still there?")))
	if a := bob.await(opPong); string(a.body) != "still there?" {
		t.Errorf("%q", a.body)
	}
	bob.say(`{"command":"IMLogoutReq","seq":9}`)
	bob.hear("IMLogoutRsp")
	if code := bob.closed(); code != 1000 {
		t.Errorf("closed with %d after a logout", code)
	}
	bob.Close()
	if n := r.counted("godwit_connector_websocket_upgrades_total"); n != 2 {
		t.Errorf("%v upgrades", n)
	}
	r.eventually("one is gone", func() bool { return r.counted("godwit_connector_websocket_connections") == 1 })
}

// What a client sends behind its request arrives with it.
func TestWebSocketWithoutWaitingForTheUpgrade(t *testing.T) {
	r := startSite(t)
	b := &tab{t: t, mask: 7}
	login := b.pdu(client.CmdLoginReq, 1, loginReq("ann", "pw", windows))
	for cut := 0; cut <= len(login); cut += 13 {
		c, res := r.ask(handshake(r.addr) + string(login[:cut]))
		if res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(res.Status)
		}
		c.put(login[cut:])
		if m := c.until(client.CmdLoginRes).(*imlogin.IMLoginRes); m.GetResultCode() != loginOK {
			t.Fatalf("%v", m)
		}
		c.Close()
	}
}

func TestWebSocketOverTLS(t *testing.T) {
	r := start(t)
	cert, key := certtest.Write(t, t.TempDir(), "x", certtest.Ends)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	places := &placing{Listener: plain}
	serveSite(t, r, tls.NewListener(places, &tls.Config{Certificates: []tls.Certificate{pair}}))
	c, err := tls.Dial("tcp", plain.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	login := (&tab{t: t}).pdu(client.CmdLoginReq, 1, loginReq("ann", "pw", windows))
	ann, res := asked(t, c, handshake("x")+string(login))
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	ann.until(client.CmdLoginRes)
	r.eventually("the place is given back", func() bool { return places.released.Load() > 0 })
	if n := places.deadlines.Load(); n != 0 {
		t.Errorf("%d deadlines of the HTTP server outlive the upgrade", n)
	}
	ann.put(ann.frame(opPing, true, nil), ann.pdu(client.CmdLogoutReq, 2, &imlogin.IMLogoutReq{}))
	ann.until(client.CmdLogoutRsp)
	if code := ann.closed(); code != 1000 {
		t.Errorf("closed with %d", code)
	}
	ann.Close()
	r.eventually("it is gone", func() bool { return r.srv.Sessions() == 0 })
}

// placing is a listener with places.
type placing struct {
	net.Listener
	released  atomic.Int32 // how often a place was
	deadlines atomic.Int32 // set on the last connection
}

func (l *placing) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &placed{Conn: c, l: l}, err
}

type placed struct {
	net.Conn
	l       *placing
	mu      sync.Mutex
	in, out bool // has a deadline
}

func (c *placed) deadline(in, out *bool, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range []*bool{in, out} {
		if d != nil {
			*d = !t.IsZero()
		}
	}
	n := int32(0)
	for _, d := range []bool{c.in, c.out} {
		if d {
			n++
		}
	}
	c.l.deadlines.Store(n)
}

func (c *placed) SetDeadline(t time.Time) error {
	c.deadline(&c.in, &c.out, t)
	return c.Conn.SetDeadline(t)
}

func (c *placed) SetReadDeadline(t time.Time) error {
	c.deadline(&c.in, nil, t)
	return c.Conn.SetReadDeadline(t)
}

func (c *placed) SetWriteDeadline(t time.Time) error {
	c.deadline(nil, &c.out, t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *placed) Unwrap() net.Conn { return c.Conn }

func (c *placed) Release() { c.l.released.Add(1) }

func (c *placed) Close() error {
	c.Release()
	return c.Conn.Close()
}

func TestWebSocketGivesItsPlaceBack(t *testing.T) {
	r := start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	places := &placing{Listener: ln}
	serveSite(t, r, places)
	s := &site{r, ln.Addr().String(), nil}
	const n = 50
	for i := range n {
		s.browse()
		s.eventually("the place is given back", func() bool { return int(places.released.Load()) == i+1 && r.srv.Sessions() == i+1 })
	}
	s.eventually("they have no goroutines", func() bool { return runtime.NumGoroutine() < n })
	s.login("ann", windows)
}

func TestWebSocketRefusals(t *testing.T) {
	r := startSite(t)
	good := handshake(r.addr)
	cases := []struct {
		name, request string
		status        int
	}{
		{"a page", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusUpgradeRequired},
		{"another upgrade", strings.Replace(good, "Upgrade: websocket", "Upgrade: h2c", 1), http.StatusUpgradeRequired},
		{"an old version", strings.Replace(good, "Version: 13", "Version: 8", 1), http.StatusUpgradeRequired},
		{"no version", strings.Replace(good, "Sec-WebSocket-Version: 13\r\n", "", 1), http.StatusBadRequest},
		{"no key", strings.Replace(good, "Sec-WebSocket-Key", "X", 1), http.StatusBadRequest},
		{"no Connection", strings.Replace(good, "Connection: keep-alive, Upgrade", "Connection: keep-alive", 1), http.StatusBadRequest},
		{"POST", strings.Replace(good, "GET", "POST", 1), http.StatusMethodNotAllowed},
		{"a body", handshake(r.addr, "Content-Length: 5") + "hello", http.StatusBadRequest},
		{"a body in chunks", handshake(r.addr, "Transfer-Encoding: chunked") + "0\r\n\r\n", http.StatusBadRequest},
		{"another site", handshake(r.addr, "Origin: https://evil.example"), http.StatusForbidden},
	}
	for _, c := range cases {
		b, res := r.ask(c.request)
		if res.StatusCode != c.status {
			t.Errorf("%s: %s", c.name, res.Status)
		}
		// A proxy may take any answer to an upgrade for a yes: nothing that follows one must be taken for a request.
		if asks := strings.Contains(c.request, "Upgrade: websocket"); asks {
			io.Copy(io.Discard, res.Body)
			b.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := b.r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection stays open: %v", c.name, err)
			}
		}
	}
	if n := r.counted("godwit_connector_websocket_refused_total"); n != float64(len(cases)) {
		t.Errorf("%v refusals counted", n)
	}
	if r.srv.Sessions() != 0 {
		t.Errorf("%d sessions", r.srv.Sessions())
	}
}

func TestWebSocketWhileTheServerDoesNotRun(t *testing.T) {
	srv, err := New(testConfig(t, cheapHasher(t)))
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(srv.WebSocket())
	defer h.Close()
	ask := func() int {
		c, err := net.Dial("tcp", h.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, res := asked(t, c, handshake("x"))
		c.Close()
		return res.StatusCode
	}
	if status := ask(); status != http.StatusServiceUnavailable {
		t.Errorf("before it runs: %d", status)
	}
	n := newFakeNode(t)
	n.handler, n.auto = srv.Handler(), true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, n) }()
	<-srv.Listening()
	if status := ask(); status != http.StatusSwitchingProtocols {
		t.Errorf("while it runs: %d", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if status := ask(); status != http.StatusServiceUnavailable {
		t.Errorf("when it has run: %d", status)
	}
}

func TestWebSocketLimits(t *testing.T) {
	local := netip.MustParsePrefix("127.0.0.0/8")
	r := startSite(t, func(c *Config) {
		c.Limits.Connections, c.Limits.PerAddress = 3, 2
		c.TrustedProxies = []netip.Prefix{local}
	})
	from := func(addr string) int {
		_, res := r.ask(handshake(r.addr, "X-Forwarded-For: "+addr))
		return res.StatusCode
	}
	for i, c := range []struct {
		addr   string
		status int
	}{{"192.0.2.1", 101}, {"192.0.2.1", 101}, {"192.0.2.1", 429}, {"192.0.2.2", 101}, {"192.0.2.3", 503}} {
		if got := from(c.addr); got != c.status {
			t.Errorf("connection %d: %d, want %d", i, got, c.status)
		}
		if c.status == 101 { // the session is made a moment after the upgrade
			r.eventually("it is counted", func() bool { return r.srv.Sessions() >= min(i+1, 3) || i == 3 && r.srv.Sessions() == 3 })
		}
	}
}

func TestWebSocketOrigins(t *testing.T) {
	cases := []struct {
		host, origin string
		listed       []string
		want         bool
	}{
		{"chat.example", "", nil, true},
		{"chat.example", "https://chat.example", nil, true},
		{"chat.example", "http://chat.example", nil, true}, // TLS may end before us
		{"Chat.Example", "https://chat.example", nil, true},
		{"chat.example:8443", "https://chat.example:8443", nil, true},
		{"chat.example", "https://chat.example:8443", nil, false},
		{"chat.example:8443", "https://chat.example", nil, false},
		{"chat.example", "https://evil.example", nil, false},
		{"chat.example", "https://chat.example.evil", nil, false},
		{"chat.example", "https://evil-chat.example", nil, false},
		{"chat.example", "chat.example", nil, false},
		{"chat.example", "null", nil, false},
		{"", "https://", nil, false},
		{"chat.example", "https://app.example", []string{"https://app.example"}, true},
		{"chat.example", "http://app.example", []string{"https://app.example"}, false},
		{"chat.example", "http://app.example", []string{"app.example"}, true},
		{"chat.example", "http://app.example:81", []string{"app.example"}, false},
		{"chat.example", "https://APP.example", []string{"https://App.Example"}, true},
		{"chat.example", "null", []string{"app.example"}, false},
		{"chat.example", "null", []string{"*"}, true},
		{"chat.example", "https://evil.example", []string{"app.example", "*"}, true},
	}
	for _, c := range cases {
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if got := newOrigins(c.listed).allow(r); got != c.want {
			t.Errorf("%q at %q with %q: %v", c.origin, c.host, c.listed, got)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	r.Host = "a.example"
	r.Header["Origin"] = []string{"https://a.example", "https://evil.example"}
	if newOrigins(nil).allow(r) {
		t.Error("two origins are allowed")
	}
	for o, valid := range map[string]bool{"*": true, "https://a.example": true, "a.example": true, "a.example:8080": true, "": false,
		"https://a.example/": false, "https://": false, "a.example/x": false, "https://u@a.example": false, "https://a.example?x": false, "null": true} {
		c := testConfig(t, cheapHasher(t))
		c.Origins = []string{o}
		if err := c.Validate(); (err == nil) != valid {
			t.Errorf("%q: %v", o, err)
		}
	}
}

func TestWebSocketAddressBehindProxies(t *testing.T) {
	c := testConfig(t, cheapHasher(t))
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		remote    string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:80", nil, "192.0.2.1"},
		{"192.0.2.1:80", []string{"198.51.100.7"}, "192.0.2.1"}, // anybody may write it
		{"10.0.0.1:80", nil, "10.0.0.1"},
		{"10.0.0.1:80", []string{"198.51.100.7"}, "198.51.100.7"},
		{"10.0.0.1:80", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"10.0.0.1:80", []string{"203.0.113.9, 198.51.100.7,10.2.2.2"}, "198.51.100.7"},
		{"10.0.0.1:80", []string{"203.0.113.9", "198.51.100.7", "10.2.2.2"}, "198.51.100.7"},
		{"10.0.0.1:80", []string{"10.3.3.3, 10.2.2.2"}, "10.3.3.3"},
		{"10.0.0.1:80", []string{"203.0.113.9, who knows, 10.2.2.2"}, "10.2.2.2"},
		{"10.0.0.1:80", []string{"203.0.113.9,"}, "10.0.0.1"},
		{"[fd00::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		{"[::ffff:10.0.0.1]:80", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
	}
	for _, c := range cases {
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.RemoteAddr = c.remote
		r.Header["X-Forwarded-For"] = c.forwarded
		if got, ok := srv.clientOf(r); got.String() != c.want || !ok {
			t.Errorf("%s forwarded for %q: %v", c.remote, c.forwarded, got)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	r.RemoteAddr = "@"
	if a, ok := srv.clientOf(r); ok {
		t.Errorf("no address: %v", a)
	}
}

func TestWebSocketFloodIsHeldByTCP(t *testing.T) {
	r := startSite(t)
	ann, bob := r.login("ann", windows), r.login("bob", windows)
	big := msg(2, text, strings.Repeat("x", 4000))
	go io.Copy(io.Discard, bob.Conn)
	go io.Copy(io.Discard, ann.Conn)
	stopped := make(chan int)
	go func() {
		sent := 0
		ann.SetWriteDeadline(time.Now().Add(600 * time.Millisecond))
		for i := range 1 << 20 {
			n, err := ann.Write(ann.pdu(client.CmdMsgData, uint16(i+1), big))
			if sent += n; err != nil {
				break
			}
		}
		stopped <- sent
	}()
	cy := r.login("cy", windows)
	for range 200 {
		cy.put(cy.pdu(client.CmdHeartBeat, 0, &imother.IMHeartBeat{}))
		cy.until(client.CmdHeartBeat)
	}
	// 1,000 at once, then 500 a second, each with its headers, and what sockets hold.
	if sent := <-stopped; sent > 4110*2100+12<<20 {
		t.Errorf("the server took %d bytes in 0.6 s", sent)
	}
	if n := r.srv.partial.Load(); n > 256<<10 {
		t.Errorf("%d bytes wait in the server", n)
	}
}

// Pings cost their sender what heartbeats do: whoever floods with them is not read.
func TestWebSocketPingFloodIsHeld(t *testing.T) {
	r := startSite(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 10, 10 })
	ann := r.login("ann", windows)
	flood := bytes.Repeat(ann.frame(opPing, true, nil), 5000)
	go func() {
		for {
			if _, err := ann.Write(flood); err != nil {
				return
			}
		}
	}()
	r.eventually("it is held", func() bool { return r.counted("godwit_connector_holds_total") > 0 })
	cy := r.login("cy", windows)
	for i := range 5 {
		cy.put(cy.frame(opPing, true, []byte{byte(i)}))
		cy.await(opPong)
	}
	ann.Close()
}

func TestWebSocketThatNeverReads(t *testing.T) {
	r := startSite(t)
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	deaf, _ := asked(t, c, handshake("x"))
	deaf.say(`{"command":"IMLoginReq","seq":1,"body":{"userName":"bob","plainPassword":"pw","onlineStatus":1,"clientType":1}}`)
	deaf.hear("IMLoginRes")
	ann := r.login("ann", windows)
	go io.Copy(io.Discard, ann.Conn)
	go func() {
		for i := range 10_000 {
			if r.counted("godwit_connector_slow_closes_total") > 0 {
				return
			}
			if _, err := ann.Write(ann.pdu(client.CmdMsgData, uint16(i+1), msg(2, text, strings.Repeat("y", 100<<10)))); err != nil {
				return
			}
		}
	}()
	r.eventually("the slow session is closed", func() bool { return r.counted("godwit_connector_slow_closes_total") == 1 })
	r.eventually("its end is told", func() bool { return r.node.find("SessionEnded") != nil })
}

func TestWebSocketCutOffWithoutGoodbye(t *testing.T) {
	r := startSite(t)
	ann := r.login("ann", windows)
	ann.put(ann.frame(opText, true, nil)[:1])
	ann.Close()
	r.eventually("its end is told", func() bool { return r.node.find("SessionEnded") != nil })
	if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_CLOSED {
		t.Errorf("%v", e)
	}
	r.eventually("it is gone", func() bool { return r.srv.Sessions() == 0 && r.srv.partial.Load() == 0 })
}

func TestWebSocketDrain(t *testing.T) {
	r := startSite(t, func(c *Config) { c.DrainTimeout = time.Minute })
	ann, idle := r.login("ann", windows), r.browse()
	r.eventually("both are there", func() bool { return r.srv.Sessions() == 2 })
	r.node.mu.Lock()
	r.node.auto = false
	r.node.mu.Unlock()
	ann.put(ann.pdu(client.CmdMsgData, 44, msg(2, text, "x")))
	r.eventually("the message is appended", func() bool { return r.srv.pending.Load() == 1 })
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	r.eventually("it drains", func() bool { return r.srv.draining.Load() })
	if _, res := r.ask(handshake(r.addr)); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("let in: %s", res.Status)
	}
	r.node.step()
	ann.until(client.CmdMsgDataAck)
	for _, b := range []*tab{ann, idle} {
		if code := b.closed(); code != 1001 {
			t.Errorf("closed with %d", code)
		}
		b.Close()
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// An idle session over WebSocket costs little more than one over a plain connection.
func TestIdleWebSocketsKeepNoMemoryBeyondTheirStructs(t *testing.T) {
	const n = 500
	r := startSite(t, func(c *Config) { c.StatusLimit = 1 })
	const first = 100 // they pay for what is made once
	for i := range uint32(first + n) {
		r.node.set(func() { r.node.people[1000+i] = clonePerson(r.node.people[1], 1000+i) })
	}
	before, goroutines := uint64(0), runtime.NumGoroutine()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	b := &tab{t: t, mask: 5}
	for i := range first + n {
		if i == first {
			before = heap()
		}
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		c.SetDeadline(time.Now().Add(time.Minute))
		b.Conn, b.r = c, bufio.NewReader(c)
		b.put([]byte(handshake("x")))
		if res, err := http.ReadResponse(b.r, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(err)
		}
		b.put(b.pdu(client.CmdLoginReq, 1, loginReq(fmt.Sprint("p", 1000+i), "pw", android)))
		b.until(client.CmdLoginRes)
		b.put(b.frame(opPing, true, nil))
		b.await(opPong)
	}
	b.Conn, b.r = nil, nil
	r.eventually("all buffers are back", func() bool {
		return r.srv.resting() && runtime.NumGoroutine()-goroutines < 50
	})
	if each := r.heldByEach(before, n); each > 2000 {
		t.Errorf("an idle session takes %d bytes", each)
	}
	runtime.KeepAlive(conns)
}

// page is a WebSocket connection without a socket.
type page struct {
	*wire
	tab
}

// connectPage is connect over WebSocket.
func (r *rig) connectPage() *page {
	w := &wire{r: r}
	w.peer = r.srv.admitWebSocket(w, testAddr)
	w.s = r.srv.sessions[len(r.srv.sessions)-1]
	w.pump()
	return &page{w, tab{t: r.t, mask: 3}}
}

func (r *rig) loginPage(name string, kind imbase.ClientType) *page {
	p := r.connectPage()
	p.wire.send(p.pdu(client.CmdLoginReq, 1, loginReq(name, "pw", kind)))
	r.step(p.wire)
	if p.until(client.CmdLoginRes).(*imlogin.IMLoginRes).GetResultCode() != loginOK {
		r.t.Fatalf("%s can't log in", name)
	}
	return p
}

// frames makes what was written readable by the methods of a tab.
func (p *page) received() *page {
	p.tab.r = bufio.NewReader(bytes.NewReader(p.got))
	p.got = nil
	return p
}

func (p *page) until(command uint16) any { return p.received().tab.until(command) }

// ended is the code of the close frame, which is the last thing that was written, and how many kicks stood before it.
func (p *page) ended() (code, kicks int) {
	p.received()
	for {
		a, err := p.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.tab.t.Error(err)
			}
			return code, kicks
		}
		if code != 0 {
			p.tab.t.Errorf("frame %x after the close frame", a.op)
		}
		code = a.code()
		if a.op == opBinary {
			if h, err := pdu.ParseHeader(a.body); err == nil && h.Command == client.CmdKickUser {
				kicks++
			}
		}
	}
}

func TestWebSocketCloseCodes(t *testing.T) {
	over := func(reason event.EndReason) func(r *rig, p *page) {
		return func(r *rig, p *page) {
			r.srv.Handler().SessionOver(&frame.SessionOver{User: 1, Session: p.s.id[:], Reason: reason})
		}
	}
	cases := []struct {
		name string
		do   func(r *rig, p *page)
		code int
		kick int
	}{
		{"logout", func(r *rig, p *page) { p.wire.send(p.pdu(client.CmdLogoutReq, 5, &imlogin.IMLogoutReq{})) }, 1000, 0},
		{"replaced", func(r *rig, p *page) { r.login("ann", windows, p.wire) }, 4001, 1},
		{"replaced by nobody knows whom", func(r *rig, p *page) {
			r.node.set(func() { r.node.unavailable = errAway })
			over(event.EndReason_END_REASON_REPLACED)(r, p)
		}, 1013, 0},
		{"kicked", over(event.EndReason_END_REASON_KICKED), 4002, 1},
		{"operator", over(event.EndReason_END_REASON_ADMIN), 4003, 0},
		{"disabled", func(r *rig, p *page) { r.node.changed(credentials(1, event.EndReason_END_REASON_DISABLED)) }, 4004, 0},
		{"password", func(r *rig, p *page) { r.node.changed(credentials(1, event.EndReason_END_REASON_PASSWORD_CHANGED)) }, 4005, 0},
		{"node lost", func(r *rig, p *page) { r.srv.Handler().CloseAll(delivery.ErrLifeLost) }, 1001, 0},
		{"nobody answers", func(r *rig, p *page) { r.srv.Handler().CloseAll(errAway) }, 1013, 0},
		{"protocol", func(r *rig, p *page) { p.s.close(event.EndReason_END_REASON_PROTOCOL, false) }, 1008, 0},
		{"leaves", func(r *rig, p *page) { p.s.close(event.EndReason_END_REASON_NODE_STOPPED, true) }, 1001, 0},
		{"slow", over(event.EndReason_END_REASON_SLOW), 1013, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.loginPage("ann", mac)
				c.do(r, p)
				r.sleep(time.Second, p.wire)
				if code, kicks := p.ended(); code != c.code || kicks != c.kick {
					t.Errorf("closed with %d after %d kicks", code, kicks)
				}
				if !p.over || p.close != reactor.CloseGently {
					t.Errorf("over %v, close %v", p.over, p.close)
				}
			})
		})
	}
}

func TestWebSocketFailedLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.connectPage()
		p.wire.send(p.pdu(client.CmdLoginReq, 1, loginReq("ann", "wrong", windows)))
		r.step(p.wire)
		all := p.received()
		if m := all.tab.until(client.CmdLoginRes).(*imlogin.IMLoginRes); m.GetResultCode() != loginWrong {
			t.Errorf("%v", m)
		}
		if a := p.await(opClose); a.code() != 4006 {
			t.Errorf("closed with %d", a.code())
		}
	})
}

// What may come in grows with the login.
func TestWebSocketLimitsOfMessages(t *testing.T) {
	large := func(p *page, n int) []byte {
		return p.pdu(client.CmdMsgData, 1, msg(2, text, strings.Repeat("x", n)))
	}
	spaces := func(p *page, n int) []byte {
		return p.frame(opText, true, []byte(`{"command":"IMHeartBeat"}`+strings.Repeat(" ", n)))
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for name, f := range map[string]func(p *page) []byte{
			"binary": func(p *page) []byte { return large(p, pdu.MaxBeforeLogin) },
			"text":   func(p *page) []byte { return spaces(p, ws.MaxTextBeforeLogin) },
		} {
			p := r.connectPage()
			p.wire.send(f(p))
			if code, _ := p.ended(); code != 1009 || !p.over {
				t.Errorf("%s before login: closed with %d", name, code)
			}
		}
		ann := r.loginPage("ann", windows)
		ann.wire.send(large(ann, pdu.MaxBeforeLogin))
		r.step(ann.wire)
		ann.until(client.CmdMsgDataAck)
		ann.wire.send(ann.frame(opBinary, true, make([]byte, pdu.MaxAfterLogin+1)))
		if code, _ := ann.ended(); code != 1009 {
			t.Errorf("closed with %d", code)
		}
		bob := r.connectPage()
		bob.wire.send(bob.frame(opText, true, []byte(`{"command":"IMLoginReq","body":{"userName":"bob","plainPassword":"pw","onlineStatus":1,"clientType":33}}`)))
		r.step(bob.wire)
		bob.wire.send(spaces(bob, ws.MaxTextBeforeLogin))
		bob.wire.send(spaces(bob, ws.MaxText))
		if code, _ := bob.ended(); code != 1009 {
			t.Errorf("closed with %d", code)
		}
		if n := r.srv.partial.Load(); n != 0 {
			t.Errorf("%d bytes stay counted", n)
		}
	})
}

func TestWebSocketSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		stranger := r.connectPage()
		r.sleep(20*time.Second, stranger.wire)
		if code, _ := stranger.ended(); code != 4007 || !stranger.over {
			t.Errorf("without a login: closed with %d", code)
		}

		// Who answers pings lives as long as he likes.
		p := r.loginPage("ann", windows)
		p.got = nil
		for range 20 {
			r.sleep(32*time.Second, p.wire)
			if a, err := p.received().next(); err != nil || a.op != opPing {
				t.Fatalf("no ping: %v", err)
			}
			p.wire.send(p.frame(opPong, true, nil))
		}
		if p.over {
			t.Fatal("ended")
		}
		// Who doesn't is closed like any silent client.
		r.sleep(115*time.Second, p.wire)
		if p.over {
			t.Fatal("ended too early")
		}
		r.sleep(10*time.Second, p.wire)
		if code, _ := p.ended(); code != 4007 || !p.over {
			t.Errorf("closed with %d", code)
		}
		r.step(p.wire)
		if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_TIMEOUT {
			t.Errorf("%v", e)
		}
	})
}

func TestWebSocketGoodbyeOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.loginPage("ann", windows)
		p.got = nil
		// The message is stored though the tab is closed right behind it.
		p.wire.send(p.pdu(client.CmdMsgData, 7, msg(2, text, "bye")), p.frame(opClose, true, []byte{0x03, 0xe9}))
		if code, _ := p.ended(); code != 1001 || !p.over {
			t.Errorf("answered with %d", code)
		}
		r.step(p.wire)
		if r.node.find("MessageSent") == nil {
			t.Errorf("the log has %v", r.node.kinds())
		}
		if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_CLOSED {
			t.Errorf("%v", e)
		}

		// One that leaves while it logs in.
		p = r.connectPage()
		p.wire.send(p.pdu(client.CmdLoginReq, 1, loginReq("ann", "pw", windows)), p.frame(opClose, true, nil))
		r.step(p.wire)
		if !p.over || len(r.node.members[1]) != 0 {
			t.Error("it stays")
		}
	})
}

func TestWebSocketIsHeldOverItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 10, 20 })
		p := r.loginPage("ann", windows)
		var b [][]byte
		for range 40 {
			b = append(b, p.pdu(client.CmdClientTimeReq, 1, &immessage.IMClientTimeReq{}))
		}
		p.got = nil
		p.wire.send(b...)
		if p.read {
			t.Fatal("it is read")
		}
		r.sleep(time.Second, p.wire)
		if p.read {
			t.Fatal("it is read again too early")
		}
		r.sleep(3*time.Second, p.wire)
		if n := bytes.Count(p.got, []byte{0, 1, 0, 0, 0, 3}); !p.read || n == 0 {
			t.Errorf("read %v", p.read)
		}
		// Pings alone, the rest of a burst and eighty more.
		p.got = nil
		r.sleep(10*time.Second, p.wire)
		var pings [][]byte
		for range 8 * (20 + 10) {
			pings = append(pings, p.frame(opPing, true, nil))
		}
		p.wire.send(pings...)
		if p.read {
			t.Fatal("a flood of pings is read")
		}
		r.sleep(900*time.Millisecond, p.wire)
		if p.read {
			t.Fatal("a flood of pings is read again too early")
		}
		r.sleep(200*time.Millisecond, p.wire)
		if !p.read {
			t.Fatal("it is not read again")
		}
	})
}

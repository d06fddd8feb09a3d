package ttclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	"godwit/connector/connectortest"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	immsg "godwit/schema/client/message"
)

// The server's side of these tests makes its bytes by hand, so that it cannot share a
// mistake with the client.

const okBody = "\x08\x01\x10\x00" // server_time 1, result 0

func userInfo(id uint32) connectortest.Body {
	b := connectortest.Body(nil).Num(1, id).Num(2, 0).Text(3, "Ann").Text(4, "").Num(5, 0).Text(6, "")
	return b.Text(7, "ann").Text(8, "").Text(9, "").Num(10, 0).Text(11, "")
}

// peer is the server's end of one connection.
type peer struct {
	t    *testing.T
	conn net.Conn
}

func (p *peer) next() (connectortest.PDU, error) {
	head := make([]byte, connectortest.HeaderLen)
	if _, err := io.ReadFull(p.conn, head); err != nil {
		return connectortest.PDU{}, err
	}
	length := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	raw := append(head, make([]byte, length-len(head))...)
	if _, err := io.ReadFull(p.conn, raw[connectortest.HeaderLen:]); err != nil {
		return connectortest.PDU{}, err
	}
	return connectortest.ParsePDU(raw)
}

func (p *peer) send(service, command, seq uint16, body connectortest.Body) {
	_, _ = p.conn.Write(connectortest.Request(service, command, seq, body).Bytes())
}

// serve accepts one connection and lets the test play the server.
func serve(t *testing.T, play func(p *peer)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		play(&peer{t, conn})
	}()
	return l.Addr().String()
}

// letIn answers the login request.
func (p *peer) letIn() bool {
	req, err := p.next()
	if err != nil || req.Command != 0x0103 || req.Service != 1 {
		p.t.Errorf("login request: %+v, %v", req, err)
		return false
	}
	m, err := connectortest.ParseMessage(req.Body)
	if err != nil || m.Text(1) != "ann" || m.Text(2) != "md5" || m.Num(3) != 1 || m.Num(4) != 17 {
		p.t.Errorf("login request: %v, %v", m, err)
		return false
	}
	p.send(1, 0x0104, req.Seq, connectortest.Body(okBody).Bytes(5, userInfo(7)))
	return true
}

func options(addr string) Options {
	return Options{Addr: addr, Name: "ann", Password: "md5", Device: imbase.ClientType_CLIENT_TYPE_IOS, Timeout: time.Minute}
}

func login(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := Login(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAnswersFindTheirRequests(t *testing.T) {
	pushed := make(chan uint16, 1)
	o := options(serve(t, func(p *peer) {
		if !p.letIn() {
			return
		}
		first, err1 := p.next()
		second, err2 := p.next()
		if err1 != nil || err2 != nil {
			p.t.Errorf("%v, %v", err1, err2)
			return
		}
		p.send(3, 0x0304, 0, connectortest.Body(nil).Num(1, 7).Num(2, 2).Num(3, 9).Num(4, 1)) // push
		p.send(3, 0x0306, 999, connectortest.Body(nil).Num(1, 5))                             // an answer that nobody waits for
		p.send(9, 0x7777, 0, nil)                                                             // of another protocol
		p.send(3, 0x0306, second.Seq, connectortest.Body(nil).Num(1, uint32(second.Seq)))
		p.send(3, 0x0306, first.Seq, connectortest.Body(nil).Num(1, uint32(first.Seq)))
		_, _ = p.next() // until the client closes
	}))
	o.Push = func(command uint16, _ proto.Message) { pushed <- command }
	c := login(t, o)
	if c.ID() != 7 || c.Self().GetUserNickName() != "Ann" {
		t.Errorf("self is %v", c.Self())
	}
	results := make(chan error, 2)
	for _, seq := range []uint16{100, 0xff03} {
		go func() {
			m, err := c.CallSeq(t.Context(), client.CmdClientTimeReq, seq, &immsg.IMClientTimeReq{})
			if err == nil && m.(*immsg.IMClientTimeRsp).GetServerTime() != uint32(seq) {
				err = errors.New("answer of another request")
			}
			results <- err
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if got := <-pushed; got != 0x0304 {
		t.Errorf("pushed 0x%04x", got)
	}
}

func TestRefusedLoginSaysWhy(t *testing.T) {
	addr := serve(t, func(p *peer) {
		if req, err := p.next(); err == nil {
			p.send(1, 0x0104, req.Seq, connectortest.Body(nil).Num(1, 1).Num(2, 6).Text(3, "no"))
		}
	})
	_, err := Login(t.Context(), options(addr))
	refused, ok := errors.AsType[*LoginError](err)
	if !ok || refused.Code != imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED || refused.Text != "no" {
		t.Errorf("%v", err)
	}
}

func TestKickEndsTheConnectionWithItsReason(t *testing.T) {
	told := make(chan uint16, 1)
	o := options(serve(t, func(p *peer) {
		if p.letIn() {
			p.send(1, 0x0107, 0, connectortest.Body(nil).Num(1, 7).Num(2, 2))
			_, _ = p.next()
		}
	}))
	o.Push = func(command uint16, _ proto.Message) { told <- command }
	c := login(t, o)
	<-c.Done()
	kicked, ok := errors.AsType[*KickedError](c.Err())
	if !ok || kicked.Reason != imbase.KickReasonType_KICK_REASON_MOBILE_KICK || <-told != 0x0107 {
		t.Errorf("ended with %v", c.Err())
	}
	if _, err := c.Call(t.Context(), client.CmdClientTimeReq, &immsg.IMClientTimeReq{}); !errors.Is(err, kicked) {
		t.Errorf("a request after it: %v", err)
	}
}

func TestRequestsEndWithTheConnection(t *testing.T) {
	addr := serve(t, func(p *peer) {
		if p.letIn() {
			_, _ = p.next() // and leaves
		}
	})
	c := login(t, options(addr))
	if _, err := c.Call(t.Context(), client.CmdClientTimeReq, &immsg.IMClientTimeReq{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if c.Err() == nil {
		t.Error("the connection has not ended")
	}
}

func TestSilentServerIsNoticed(t *testing.T) {
	o := options(serve(t, func(p *peer) {
		if p.letIn() {
			for { // reads, and never answers
				if _, err := p.next(); err != nil {
					return
				}
			}
		}
	}))
	o.Heartbeat = 10 * time.Millisecond
	c := login(t, o)
	select {
	case <-c.Done():
		if !errors.Is(c.Err(), ErrSilent) {
			t.Errorf("ended with %v", c.Err())
		}
	case <-time.After(time.Minute):
		t.Error("never noticed")
	}
}

func TestHeartbeatsKeepAConnection(t *testing.T) {
	beats := make(chan struct{}, 100)
	o := options(serve(t, func(p *peer) {
		if !p.letIn() {
			return
		}
		for {
			b, err := p.next()
			if err != nil {
				return
			}
			if b.Command == 0x0701 && len(b.Body) == 0 && b.Service == 7 {
				beats <- struct{}{}
				p.send(7, 0x0701, b.Seq, nil)
			}
		}
	}))
	o.Heartbeat = 200 * time.Millisecond // no answer is so late
	c := login(t, o)
	for range 2 * deadAfter {
		select {
		case <-beats:
		case <-c.Done():
		}
	}
	if c.Err() != nil {
		t.Errorf("ended with %v", c.Err())
	}
}

func TestOneSequenceNumberIsOneRequest(t *testing.T) {
	addr := serve(t, func(p *peer) {
		if p.letIn() {
			_, _ = p.next()
			_, _ = p.next()
		}
	})
	c := login(t, options(addr))
	c.mu.Lock()
	c.waiting[5] = &waiter{}
	c.mu.Unlock()
	if _, err := c.CallSeq(t.Context(), client.CmdClientTimeReq, 5, &immsg.IMClientTimeReq{}); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
}

func TestSequenceStaysOutOfPushesAndWindowsConstants(t *testing.T) {
	var s Sequence
	for i := range 70_000 {
		if n := s.Next(); n == 0 || n > 0xfeff || i == 0 && n != 1 || i == 0xfeff && n != 1 {
			t.Fatalf("number %d after %d", n, i)
		}
	}
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			p := &peer{t, conn}
			p.letIn()
			_, _ = p.next()
		}
	}()
	o := options(l.Addr().String())
	trusted := x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	o.TLS = &tls.Config{RootCAs: trusted, ServerName: "example.com"}
	if c := login(t, o); c.ID() != 7 {
		t.Errorf("number %d", c.ID())
	}
}

// A directory of three PDUs, of which the server sends all at once and the client takes
// the first.
func TestADirectoryOfSeveralPDUsIsTakenWhole(t *testing.T) {
	pages := []connectortest.Body{nil, nil, nil}
	const each = 4000
	for i := range uint32(2*each + 10) {
		n := min(i/each, 2)
		if len(pages[n]) == 0 {
			pages[n] = pages[n].Num(1, 7).Num(2, 100*(n+1))
		}
		pages[n] = pages[n].Bytes(3, userInfo(1000+i).Text(4, "http://somewhere/a/picture"))
	}
	c := login(t, options(serve(t, func(p *peer) {
		if !p.letIn() {
			return
		}
		for {
			req, err := p.next()
			if err != nil {
				return
			}
			m, err := connectortest.ParseMessage(req.Body)
			if err != nil || req.Command != 0x0208 {
				p.t.Errorf("request %+v, %v", req, err)
				return
			}
			for _, page := range pages[m.Num(2)/100:] {
				p.send(2, 0x0209, req.Seq, page)
			}
		}
	})))
	users, latest, err := c.Users(t.Context(), 0)
	if err != nil || len(users) != 2*each+10 || latest != 300 {
		t.Errorf("%d people up to %d, %v", len(users), latest, err)
	}
}

// A session over a WebSocket is the same, and ends with what the server says of it.
func TestLoginOverWebSocket(t *testing.T) {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		frame, err := ws.ReadFrame(conn)
		if err != nil {
			t.Error(err)
			return
		}
		req, err := connectortest.ParsePDU(ws.UnmaskFrame(frame).Payload)
		if err != nil || req.Command != 0x0103 || frame.Header.OpCode != ws.OpBinary {
			t.Errorf("%+v, %v", req, err)
		}
		answer := connectortest.Request(1, 0x0104, req.Seq, connectortest.Body(okBody).Bytes(5, userInfo(7)))
		ws.MustWriteFrame(conn, ws.NewBinaryFrame(answer.Bytes()))
		ws.MustWriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(4003, "ended by an operator")))
		_, _ = io.Copy(io.Discard, conn)
	}))
	defer front.Close()
	c := login(t, options("ws"+strings.TrimPrefix(front.URL, "http")+"/ws"))
	if c.ID() != 7 {
		t.Errorf("logged in as %d", c.ID())
	}
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "4003 ended by an operator") {
		t.Errorf("ended with %v", err)
	}
	if !IsWebSocket("wss://x/ws") || IsWebSocket("localhost:8000") {
		t.Error("addresses are mixed up")
	}
}

package ttclient

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector/connectortest"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
)

func entry(id, head, read uint32) connectortest.Body {
	return connectortest.Body(nil).Num(1, id).Num(2, 1).Num(3, head).Num(4, read)
}

// letInNew answers the login of a new client: without a name, with tokens.
func (p *peer) letInNew() (req connectortest.PDU, ok bool) {
	req, err := p.next()
	m, parseErr := connectortest.ParseMessage(req.Body)
	if err != nil || parseErr != nil || m.Text(1) != "" || m.Num(100) != 11 || m.Text(101) != "resume" || m.Text(102) != "since" || m.Text(103) != "jwt" {
		p.t.Errorf("login request: %v, %v, %v", m, err, parseErr)
		return req, false
	}
	p.send(1, 0x0104, req.Seq, connectortest.Body(okBody).Bytes(5, userInfo(7)).Num(100, 3).Text(101, "next").Num(102, 1800000000))
	return req, true
}

func newOptions(addr string) Options {
	o := options(addr)
	o.Name, o.Password = "", ""
	o.Features, o.ResumeToken, o.SyncToken, o.Identity = 11, []byte("resume"), []byte("since"), "jwt"
	return o
}

func TestALoginBringsWhatHasChanged(t *testing.T) {
	pushed := make(chan uint16, 4)
	o := newOptions(serve(t, func(p *peer) {
		req, ok := p.letInNew()
		if !ok {
			return
		}
		p.send(0x20, 0x2002, req.Seq, connectortest.Body(nil).Text(1, "a").Num(2, 1).Num(3, 1).Bytes(4, entry(5, 9, 8)))
		p.send(3, 0x0304, 0, connectortest.Body(nil).Num(1, 7).Num(2, 2).Num(3, 9).Num(4, 1))
		p.send(0x20, 0x2002, req.Seq, connectortest.Body(nil).Text(1, "b").Bytes(4, entry(6, 1, 1)).Num(5, 1).Num(7, 1))
		again, err := p.next()
		m, parseErr := connectortest.ParseMessage(again.Body)
		if err != nil || parseErr != nil || again.Command != 0x2001 || m.Text(1) != "b" {
			p.t.Errorf("request %+v, %v", again, err)
		}
		p.send(0x20, 0x2002, again.Seq, connectortest.Body(nil).Text(1, "c"))
		_, _ = p.next()
	}))
	o.Push = func(command uint16, _ proto.Message) { pushed <- command }
	c := login(t, o)
	token, expires := c.ResumeToken()
	if c.Features() != 3 || string(token) != "next" || !expires.Equal(time.Unix(1800000000, 0)) {
		t.Errorf("features %d, token %q until %v", c.Features(), token, expires)
	}
	s := c.Synced()
	if s == nil || string(s.Token) != "b" || !s.Whole || !s.Directory || s.Departments || !s.Friends || len(s.Entries) != 2 ||
		s.Entries[0].GetSessionId() != 5 || s.Entries[0].GetReadMsgId() != 8 {
		t.Errorf("synced %+v", s)
	}
	if got := <-pushed; got != 0x0304 {
		t.Errorf("pushed %#x", got)
	}
	if s, err := c.Sync(t.Context(), s.Token); err != nil || string(s.Token) != "c" || s.Whole || len(s.Entries) != 0 {
		t.Errorf("again: %+v, %v", s, err)
	}
}

func TestARefusedLoginWaitsForNothingMore(t *testing.T) {
	_, err := Login(t.Context(), newOptions(serve(t, func(p *peer) {
		if req, err := p.next(); err == nil {
			p.send(1, 0x0104, req.Seq, connectortest.Body(nil).Num(1, 1).Num(2, 6))
			_, _ = p.next()
		}
	})))
	if _, ok := errors.AsType[*LoginError](err); !ok {
		t.Errorf("%v", err)
	}
}

func TestRequestsOfNewClients(t *testing.T) {
	id := NewMessageID()
	type want struct {
		command uint16
		fields  string // of the request
		answer  func(p *peer, seq uint16)
	}
	group := Conversation{ID: 5, Group: true}
	refuse := func(command uint16) func(p *peer, seq uint16) {
		return func(p *peer, seq uint16) {
			p.send(0x20, command, seq, connectortest.Body(nil).Num(1, 7).Num(2, 5).Num(3, 2).Num(4, 9))
		}
	}
	script := []want{
		{0x0301, fmt.Sprintf("2=5 5=17 100=%x", id), func(p *peer, seq uint16) {
			p.send(3, 0x0302, seq, connectortest.Body(nil).Num(1, 7).Num(2, 5).Num(3, 9).Num(4, 2).Bytes(100, id).Num(101, 77))
		}},
		{0x0301, "2=2 5=1 100=", func(p *peer, seq uint16) {
			p.send(0x20, 0x2003, seq, connectortest.Body(nil).Num(1, 2).Num(2, 1).Num(3, 6))
		}},
		{0x2005, "1=5 2=2 3=9", refuse(0x2006)},
		{0x2007, "1=5 2=2 3=9", refuse(0x2008)},
		{0x200a, "1=5 2=2 3=9", nil},
		{0x200e, "1=5 2=2 3=1", nil},
		{0x200c, "1=5 2=2 3=9", func(p *peer, seq uint16) {
			p.send(0x20, 0x200d, seq, connectortest.Body(nil).Num(1, 5).Num(2, 2).Num(3, 9).Num(4, 11).Num(4, 12).Num(5, 13))
		}},
	}
	c := login(t, options(serve(t, func(p *peer) {
		if !p.letIn() {
			return
		}
		for _, w := range script {
			req, err := p.next()
			if err != nil {
				p.t.Error(err)
				return
			}
			m, err := connectortest.ParseMessage(req.Body)
			got := ""
			switch {
			case err != nil:
				p.t.Error(err)
			case req.Command == 0x0301:
				got = fmt.Sprintf("2=%d 5=%d 100=%x", m.Num(2), m.Num(5), m.Text(100))
			default:
				got = fmt.Sprintf("1=%d 2=%d 3=%d", m.Num(1), m.Num(2), m.Num(3))
			}
			if req.Command != w.command || got != w.fields {
				p.t.Errorf("request %#x %s, want %#x %s", req.Command, got, w.command, w.fields)
			}
			if w.answer != nil {
				w.answer(p, req.Seq)
			}
		}
		_, _ = p.next()
	})))
	why := func(err error) imextension.Refusal {
		r, ok := errors.AsType[*RefusedError](err)
		if !ok {
			t.Errorf("error %v", err)
			return -1
		}
		return r.Why
	}
	if n, err := c.SendMessage(t.Context(), group, Message{Data: []byte("x"), ID: id}); n != 9 || err != nil {
		t.Errorf("sent as %d, %v", n, err)
	}
	if _, err := c.SendMessage(t.Context(), Conversation{ID: 2}, Message{Data: []byte("x")}); why(err) != imextension.Refusal_REFUSAL_BLOCKED {
		t.Errorf("refused: %v", err)
	}
	if err := c.Recall(t.Context(), group, 9); why(err) != imextension.Refusal_REFUSAL_NOT_FRIENDS {
		t.Errorf("recall: %v", err)
	}
	if err := c.Edit(t.Context(), group, 9, []byte("y")); why(err) != imextension.Refusal_REFUSAL_NOT_FRIENDS {
		t.Errorf("edit: %v", err)
	}
	if err := errors.Join(c.Received(group, 9), c.Typing(group, true)); err != nil {
		t.Error(err)
	}
	read, delivered, err := c.Receipts(t.Context(), group, 9)
	if !slices.Equal(read, []uint32{11, 12}) || !slices.Equal(delivered, []uint32{13}) || err != nil {
		t.Errorf("receipts %v %v, %v", read, delivered, err)
	}
	if bytes.Equal(NewMessageID(), id) || len(id) != 16 {
		t.Error("a message id is not new")
	}
}

func TestEveryRefusalHasWords(t *testing.T) {
	seen := map[string]bool{}
	for n := range imextension.Refusal_name {
		err := refusal(imextension.Refusal(n))
		if n == 0 {
			if err != nil {
				t.Errorf("success is %v", err)
			}
			continue
		}
		if text := err.Error(); text == "" || seen[text] {
			t.Errorf("%d: %q", n, text)
		}
		seen[err.Error()] = true
	}
	if imbase.SessionType_SESSION_TYPE_GROUP != *(Conversation{Group: true}).kind() {
		t.Error("a group is no group")
	}
}

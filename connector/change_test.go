package connector

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	immessage "godwit/schema/client/message"
	imswitch "godwit/schema/client/switchservice"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// enterAs logs in with or without the features of a new client.
func (r *rig) enterAs(name string, kind imbase.ClientType, features uint32) *wire {
	r.t.Helper()
	req := loginReq(name, "pw", kind)
	if features != 0 {
		req.Features = &features
	}
	w, res := r.enter(req)
	if res.GetResultCode() != loginOK {
		r.t.Fatalf("login: %v", res)
	}
	w.take()
	return w
}

// deliver brings the sessions of some users a delivery, as a frame does.
func (r *rig) deliver(d *frame.Delivery, users ...uint32) {
	r.node.mu.Lock()
	for _, u := range users {
		for _, m := range r.node.members[u] {
			m.Deliver(&delivery.Delivery{Stream: event.Conversation0, Sequence: 9, Delivery: d})
			m.Flush()
		}
	}
	r.node.mu.Unlock()
}

func withTimes(c *Config) { c.RecallTime, c.EditTime = 90*time.Second, time.Hour }

func (w *wire) recall(seq uint16, id uint32) {
	w.send(w.pack(client.CmdRecallReq, seq, &imextension.RecallReq{SessionId: new(uint32(2)), SessionType: new(single), MsgId: &id}))
}

func (w *wire) edit(seq uint16, id uint32, body []byte) {
	w.send(w.pack(client.CmdEditReq, seq, &imextension.EditReq{SessionId: new(uint32(2)), SessionType: new(single), MsgId: &id, MsgData: body}))
}

func TestRecallsAndEditsAreAppendedAndAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTimes)
		w := r.login("ann", windows)
		w.take()
		w.recall(7, 3)
		w.nothing() // before its outcome
		r.step(w)
		if m := one[*imextension.RecallRsp](w, 7); m.GetRefusal() != 0 || m.GetSessionId() != 2 || m.GetMsgId() != 3 || m.GetSessionType() != single {
			t.Errorf("answer %v", m)
		}
		e := r.node.find("MessageRecalled").GetMessageRecalled()
		if !bytes.Equal(e.GetConversation(), key(1, 2)) || e.GetUser() != 1 || e.GetMsgId() != 3 || e.GetWithin() != 90 ||
			event.ToID(e.GetSession()) != w.s.id {
			t.Errorf("event %v", e)
		}
		w.edit(8, 4, []byte("new"))
		r.step(w)
		if m := one[*imextension.EditRsp](w, 8); m.GetRefusal() != 0 || m.GetSessionId() != 2 || m.GetMsgId() != 4 {
			t.Errorf("answer %v", m)
		}
		x := r.node.find("MessageEdited").GetMessageEdited()
		if !bytes.Equal(x.GetConversation(), key(1, 2)) || x.GetUser() != 1 || x.GetMsgId() != 4 || x.GetWithin() != 3600 ||
			string(x.GetBody()) != "new" || event.ToID(x.GetSession()) != w.s.id {
			t.Errorf("event %v", x)
		}
		w.send(w.pack(client.CmdReceivedReq, 9, &imextension.ReceivedReq{SessionId: new(uint32(5)), SessionType: new(group), MsgId: new(uint32(6))}))
		r.step(w)
		w.nothing()
		d := r.node.find("DeliveredAdvanced").GetDeliveredAdvanced()
		if g := event.Group(5); !bytes.Equal(d.GetConversation(), g[:]) || d.GetUser() != 1 || d.GetMsgId() != 6 {
			t.Errorf("event %v", d)
		}
	})
}

func TestRecallsAndEditsThatAreRefused(t *testing.T) {
	voids := map[frame.Void]imextension.Refusal{
		frame.Void_VOID_NO_SUCH_MESSAGE: imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE,
		frame.Void_VOID_NOT_ALLOWED:     imextension.Refusal_REFUSAL_NOT_ALLOWED,
		frame.Void_VOID_TOO_LATE:        imextension.Refusal_REFUSAL_TOO_LATE,
		frame.Void_VOID_NO_EFFECT:       imextension.Refusal_REFUSAL_NO_EFFECT,
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, withTimes)
		w := r.login("ann", windows)
		w.take()
		for v, want := range voids {
			r.node.set(func() {
				r.node.result = func(ev *event.Event) (delivery.Result, bool) { return delivery.Result{Void: v}, true }
			})
			w.recall(7, 3)
			r.step(w)
			if m := one[*imextension.RecallRsp](w, 7); m.GetRefusal() != want {
				t.Errorf("recall, %v: %v", v, m)
			}
			w.edit(8, 3, []byte("new"))
			r.step(w)
			if m := one[*imextension.EditRsp](w, 8); m.GetRefusal() != want {
				t.Errorf("edit, %v: %v", v, m)
			}
		}
		r.node.set(func() {
			r.node.result = func(*event.Event) (delivery.Result, bool) {
				return delivery.Result{Err: delivery.ErrLifeLost}, true
			}
		})
		w.recall(7, 3)
		r.step(w)
		if m := one[*imextension.RecallRsp](w, 7); m.GetRefusal() != imextension.Refusal_REFUSAL_UNKNOWN {
			t.Errorf("of unknown fate: %v", m)
		}
		before := len(r.node.kinds())
		w.edit(9, 3, []byte{})
		if m := one[*imextension.EditRsp](w, 9); m.GetRefusal() != imextension.Refusal_REFUSAL_MALFORMED {
			t.Errorf("an empty body: %v", m)
		}
		w.recall(9, 0)
		if m := one[*imextension.RecallRsp](w, 9); m.GetRefusal() != imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE {
			t.Errorf("no id: %v", m)
		}
		w.edit(9, 3, make([]byte, event.MaxEventBytes))
		if m := one[*imextension.EditRsp](w, 9); m.GetRefusal() != imextension.Refusal_REFUSAL_LIMIT {
			t.Errorf("a large body: %v", m)
		}
		if r.step(w); len(r.node.kinds()) != before {
			t.Error("what was refused was appended")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t) // without times
		w := r.login("ann", windows)
		w.take()
		w.recall(7, 3)
		if m := one[*imextension.RecallRsp](w, 7); m.GetRefusal() != imextension.Refusal_REFUSAL_NOT_ALLOWED {
			t.Errorf("switched off: %v", m)
		}
		w.edit(8, 3, []byte("new"))
		if m := one[*imextension.EditRsp](w, 8); m.GetRefusal() != imextension.Refusal_REFUSAL_NOT_ALLOWED {
			t.Errorf("switched off: %v", m)
		}
	})
}

func TestChangedMessagesAreToldToClientsThatUnderstand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.enterAs("ann", windows, allFeatures), r.enterAs("ann", android, allFeatures)
		bob, old := r.enterAs("bob", windows, allFeatures), r.enterAs("bob", android, uint32(imextension.Feature_FEATURE_TYPING))
		r.settle(ann, phone, bob, old)
		for _, w := range []*wire{ann, phone, bob, old} {
			w.take()
		}
		change := &frame.MessageChange{Conversation: key(1, 2), Id: 3, From: 1, Type: 1, Body: []byte("new"), Edits: 2, Created: 77, Session: ann.s.id.Bytes()}
		r.deliver(&frame.Delivery{Body: &frame.Delivery_MessageChange{MessageChange: change}}, 1, 2)
		r.settle(ann, phone, bob, old)
		ann.nothing()
		old.nothing()
		for w, peer := range map[*wire]uint32{phone: 2, bob: 1} {
			m := one[*imextension.MessageChangedNotify](w, 0)
			if g := m.GetMessage(); m.GetSessionId() != peer || m.GetSessionType() != single || g.GetMsgId() != 3 || g.GetFromSessionId() != 1 ||
				g.GetCreateTime() != 77 || string(g.GetMsgData()) != "new" || g.GetEdits() != 2 || g.Recalled != nil {
				t.Errorf("edited: %v", m)
			}
		}
		grp := event.Group(5)
		change = &frame.MessageChange{Conversation: grp[:], Id: 3, From: 1, Type: 0x11, Recalled: true}
		r.deliver(&frame.Delivery{Body: &frame.Delivery_MessageChange{MessageChange: change}}, 1, 2)
		r.settle(ann, phone, bob, old)
		for _, w := range []*wire{ann, phone, bob} {
			m := one[*imextension.MessageChangedNotify](w, 0)
			if g := m.GetMessage(); m.GetSessionId() != 5 || m.GetSessionType() != group || !g.GetRecalled() || !bytes.Equal(g.GetMsgData(), r.srv.recalled) {
				t.Errorf("recalled: %v", m)
			}
		}
		// Who came to the group after the message may not read it, and gets the same notice.
		change = &frame.MessageChange{Conversation: grp[:], Id: 3, From: 1, Type: 0x11, Body: []byte("new"), Edits: 1}
		r.deliver(&frame.Delivery{Body: &frame.Delivery_MessageChange{MessageChange: change}}, 1, 2)
		r.settle(ann, phone, bob, old)
		for _, w := range []*wire{ann, phone, bob} {
			m := one[*imextension.MessageChangedNotify](w, 0)
			if g := m.GetMessage(); g.GetEdits() != 1 || len(g.GetMsgData()) != 0 {
				t.Errorf("edited in a group: %v", m)
			}
		}
		old.nothing()
	})
}

func TestReceiptsAreToldToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.enterAs("ann", windows, allFeatures), r.enterAs("ann", android, allFeatures)
		bob, old := r.enterAs("bob", windows, allFeatures), r.enterAs("bob", android, uint32(imextension.Feature_FEATURE_NOTICES))
		all := []*wire{ann, phone, bob, old}
		r.settle(all...)
		for _, w := range all {
			w.take()
		}
		// Ann has read on her desktop: her phone clears its mark, Bob is told.
		read := &frame.Delivery{Body: &frame.Delivery_Read{Read: &frame.Read{Conversation: key(1, 2), User: 1, MsgId: 4, Session: ann.s.id.Bytes()}}}
		r.deliver(read, 1, 2)
		r.settle(all...)
		ann.nothing()
		old.nothing()
		if m := one[*immessage.IMMsgDataReadNotify](phone, 0); m.GetMsgId() != 4 || m.GetSessionId() != 2 {
			t.Errorf("own read: %v", m)
		}
		if m := one[*imextension.ReceiptNotify](bob, 0); m.GetSessionId() != 1 || m.GetUserId() != 1 || m.GetReadMsgId() != 4 || m.DeliveredMsgId != nil {
			t.Errorf("read: %v", m)
		}
		grp := event.Group(5)
		r.deliver(&frame.Delivery{Body: &frame.Delivery_Receipt{Receipt: &frame.Receipt{Conversation: grp[:], User: 1, MsgId: 9}}}, 1, 2)
		r.settle(all...)
		ann.nothing()
		phone.nothing()
		old.nothing()
		if m := one[*imextension.ReceiptNotify](bob, 0); m.GetSessionId() != 5 || m.GetSessionType() != group || m.GetUserId() != 1 ||
			m.GetDeliveredMsgId() != 9 || m.ReadMsgId != nil {
			t.Errorf("received: %v", m)
		}
	})
}

func TestWhoHasReadIsAskedOfTheTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.login("ann", windows)
		w.take()
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if x := q.GetReceipts(); x != nil && x.User == 1 && x.MsgId == 7 && bytes.Equal(x.Conversation, key(1, 2)) {
				return &query.Answer{Body: &query.Answer_Receipts{Receipts: &query.ReceiptsAnswer{Read: []uint32{2}, Delivered: []uint32{3}}}}, nil
			}
			return nil, nil
		})
		ask := func(id, message uint32) *imextension.ReceiptsRsp {
			w.send(w.pack(client.CmdReceiptsReq, 5, &imextension.ReceiptsReq{SessionId: &id, SessionType: new(single), MsgId: &message}))
			return one[*imextension.ReceiptsRsp](w, 5)
		}
		if m := ask(2, 7); fmt.Sprint(m.GetRead(), m.GetDelivered()) != "[2] [3]" || m.GetMsgId() != 7 || m.GetSessionId() != 2 {
			t.Errorf("answer %v", m)
		}
		if m := ask(1, 7); len(m.GetRead())+len(m.GetDelivered()) != 0 {
			t.Errorf("of oneself: %v", m)
		}
	})
}

func (w *wire) command(to uint32, text string) {
	w.send(w.pack(client.CmdP2PCmdMsg, 12, &imswitch.IMP2PCmdMsg{FromUserId: new(uint32(99)), ToUserId: &to, CmdMsgData: &text}))
}

func TestCommandsPassFromClientToClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone, bob, bobs := r.login("ann", windows), r.login("ann", android), r.login("bob", windows), r.login("bob", android)
		cy := r.login("cy", windows)
		all := []*wire{ann, phone, bob, bobs, cy}
		r.settle(all...)
		for _, w := range all {
			w.take()
		}
		const shake = `{"service_id":1,"cmd_id":65537,"content":"shakewindow"}`
		ann.command(2, shake)
		r.settle(all...)
		for _, w := range []*wire{phone, bob, bobs} {
			if m := one[*imswitch.IMP2PCmdMsg](w, 0); m.GetFromUserId() != 1 || m.GetToUserId() != 2 || m.GetCmdMsgData() != shake {
				t.Errorf("passed on: %v", m)
			}
		}
		ann.nothing()
		cy.nothing()
		relays := r.node.relays
		ann.command(1, "to oneself")
		ann.command(0, "to nobody")
		ann.command(2, "")
		ann.command(2, "\xff\xfe")
		ann.command(2, strings.Repeat("x", maxCommand+1))
		if r.settle(all...); r.node.relays != relays {
			t.Error("what is none was passed on")
		}
		ann.command(2, strings.Repeat("x", maxCommand))
		r.settle(all...)
		if m := one[*imswitch.IMP2PCmdMsg](bob, 0); len(m.GetCmdMsgData()) != maxCommand {
			t.Errorf("the longest: %d bytes", len(m.GetCmdMsgData()))
		}
		// An owner that is away costs a command, not the session.
		r.node.set(func() { r.node.unavailable = errAway })
		ann.command(2, shake)
		r.node.set(func() { r.node.unavailable = nil })
		r.settle(all...)
		bob.take()
		ann.send(ann.pack(client.CmdClientTimeReq, 3, &immessage.IMClientTimeReq{}))
		one[*immessage.IMClientTimeRsp](ann, 3)
		for _, ev := range r.node.kinds() {
			if ev != "SessionOpened" {
				t.Errorf("%s was appended", ev)
			}
		}
	})
}

// Nobody loses his session by what others pass to him, and nobody else waits for him.
func TestWhoeverFloodsAnotherWithCommandsIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		bob.deaf = true
		text := strings.Repeat("x", maxCommand)
		for range 60 {
			ann.command(2, text)
			r.sleep(time.Second, ann, bob)
		}
		if r.node.relays != 60 {
			t.Fatalf("%d commands were passed on", r.node.relays)
		}
		bob.s.mu.Lock()
		backlog, st := bob.s.backlog(), bob.s.state
		bob.s.mu.Unlock()
		if st != open || backlog > r.srv.limits.Output/relayRoom || backlog < maxCommand {
			t.Errorf("bob is %s with %d bytes waiting", st, backlog)
		}
	})
}

func TestTypingIsToldToClientsThatUnderstand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.enterAs("ann", windows, allFeatures), r.enterAs("ann", android, allFeatures)
		bob, old := r.enterAs("bob", windows, allFeatures), r.enterAs("bob", android, 0)
		all := []*wire{ann, phone, bob, old}
		r.settle(all...)
		for _, w := range all {
			w.take()
		}
		for _, on := range []bool{true, false} {
			ann.send(ann.pack(client.CmdTypingReq, 4, &imextension.TypingReq{SessionId: new(uint32(2)), SessionType: new(single), Typing: &on}))
			r.settle(all...)
			if m := one[*imextension.TypingNotify](bob, 0); m.GetSessionId() != 1 || m.GetSessionType() != single || m.GetUserId() != 1 || m.GetTyping() != on {
				t.Errorf("typing %t: %v", on, m)
			}
			ann.nothing()
			phone.nothing()
			old.nothing()
		}
		// Behind an answer that takes long it is of no interest any more.
		r.sleep(3*time.Second, all...)
		for _, w := range all {
			w.take() // who has come
		}
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetReceipts() != nil {
				time.Sleep(7 * time.Second)
			}
			return nil, nil
		})
		ann.send(ann.pack(client.CmdReceiptsReq, 5, &imextension.ReceiptsReq{SessionId: new(uint32(2)), SessionType: new(single), MsgId: new(uint32(1))}),
			ann.pack(client.CmdTypingReq, 6, &imextension.TypingReq{SessionId: new(uint32(2)), SessionType: new(single), Typing: new(true)}))
		r.sleep(10*time.Second, all...)
		one[*imextension.ReceiptsRsp](ann, 5)
		bob.nothing()
		grp := event.Group(5)
		r.node.mu.Lock()
		r.srv.relayed(&frame.Relay{Conversation: grp[:], From: 3, To: []uint32{1, 2, 3}, Typing: true})
		r.node.mu.Unlock()
		r.settle(all...)
		for _, w := range []*wire{ann, phone, bob} {
			if m := one[*imextension.TypingNotify](w, 0); m.GetSessionId() != 5 || m.GetSessionType() != group || m.GetUserId() != 3 || !m.GetTyping() {
				t.Errorf("in a group: %v", m)
			}
		}
		old.nothing()
	})
}

func TestAmongFriendsStrangersPassNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if f := q.GetFriends(); f.GetUser() == 1 {
				return &query.Answer{Body: &query.Answer_Friends{Friends: &query.FriendsAnswer{Users: []uint32{3}}}}, nil
			}
			return nil, nil
		})
		ann := r.login("ann", windows)
		ann.command(2, "stranger")
		if r.node.relays != 0 {
			t.Error("passed to a stranger")
		}
		ann.command(3, "friend")
		if r.node.relays != 1 {
			t.Error("not passed to a friend")
		}
	})
}

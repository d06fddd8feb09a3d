package connector

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/client/content"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	text  = imbase.MsgType_MSG_TYPE_SINGLE_TEXT
	audio = imbase.MsgType_MSG_TYPE_SINGLE_AUDIO
)

func msg(to uint32, kind imbase.MsgType, data string) *immessage.IMMsgData {
	return &immessage.IMMsgData{FromUserId: new(uint32(99)), ToSessionId: &to, MsgId: new(uint32(0)), CreateTime: new(uint32(12345)),
		MsgType: &kind, MsgData: []byte(data), AttachData: []byte("cookie")}
}

func (w *wire) msg(seq uint16, to uint32, data string) {
	w.send(w.pack(client.CmdMsgData, seq, msg(to, text, data)))
}

func TestMessageIsAckedAndCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone, bob, cy := r.login("ann", windows), r.login("ann", android), r.login("bob", mac), r.login("cy", windows)
		r.step(ann, phone, bob, cy)
		for _, w := range []*wire{ann, phone, bob, cy} {
			w.take()
		}
		ann.msg(0xff02, 2, "hello")
		ann.nothing() // not before the log has it
		r.step(ann, phone, bob, cy)

		ack := one[*immessage.IMMsgDataAck](ann, 0xff02)
		if ack.GetUserId() != 1 || ack.GetSessionId() != 2 || ack.GetMsgId() != 1 || ack.GetSessionType() != single {
			t.Errorf("ack %v", ack)
		}
		for _, w := range []*wire{phone, bob} {
			m := one[*immessage.IMMsgData](w, 0)
			if m.GetFromUserId() != 1 || m.GetToSessionId() != 2 || m.GetMsgId() != 1 || string(m.GetMsgData()) != "hello" ||
				m.GetCreateTime() != uint32(time.Now().Unix()) || m.AttachData != nil {
				t.Errorf("copy %v", m)
			}
		}
		cy.nothing()
	})
}

func TestMessageBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", android)
		r.step(ann, bob)
		bob.take()
		ann.take()
		body, _ := hex.DecodeString("080110021800200028013203616263")
		ann.send(header(0x0301, 7, body))
		r.step(ann, bob)
		if want := "00000018" + "0001" + "0000" + "0003" + "0302" + "0007" + "0000" + "0801100218012001"; hex.EncodeToString(ann.got) != want {
			t.Errorf("ack  %x\nwant %s", ann.got, want)
		}
		now := fmt.Sprintf("%x", binaryVarint(uint64(time.Now().Unix())))
		want := "00000023" + "0001" + "0000" + "0003" + "0301" + "0000" + "0000" + "08011002180120" + now + "28013203616263"
		if hex.EncodeToString(bob.got) != want {
			t.Errorf("copy %x\nwant %s", bob.got, want)
		}
	})
}

func binaryVarint(v uint64) (b []byte) {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func TestAckLeavesBeforeAnyCopyOnThisNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		ann.take()
		bob.take()
		// Both write to each other; one frame brings both outcomes and both copies.
		ann.msg(1, 2, "a")
		bob.msg(1, 1, "b")
		r.step(ann, bob)
		for _, w := range []*wire{ann, bob} {
			all := w.take()
			if len(all) != 2 || all[0].Command != client.CmdMsgDataAck || all[1].Command != client.CmdMsgData {
				t.Errorf("got %v", all)
			}
		}
	})
}

func TestOneFrameLeavesInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		bob.take()
		for i := range 10 {
			ann.msg(uint16(i+1), 2, fmt.Sprint("m", i))
		}
		r.node.step()
		n := bob.s.Turn(true)
		if got := bytes.Count(n.Write, []byte{0x03, 0x01, 0, 0, 0, 0}); got != 10 {
			t.Errorf("one write brings %d of 10 messages", got)
		}
	})
}

func TestRepeatIsAckedWithTheFirstID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		ann.take()
		bob.take()
		for range 2 {
			ann.msg(33, 2, "same")
			r.step(ann, bob)
			if ack := one[*immessage.IMMsgDataAck](ann, 33); ack.GetMsgId() != 1 {
				t.Errorf("ack %v", ack)
			}
		}
		one[*immessage.IMMsgData](bob, 0)
	})
}

func TestMessagesThatComeToNothing(t *testing.T) {
	cases := []struct {
		name string
		m    *immessage.IMMsgData
		edit func(r *rig)
	}{
		{"to oneself", msg(1, text, "x"), nil},
		{"to nobody", msg(77, text, "x"), nil},
		{"to user 0", msg(0, text, "x"), nil},
		{"to a disabled account", msg(2, text, "x"), func(r *rig) { r.node.people[2].Disabled = true }},
		{"empty", msg(2, text, ""), nil},
		{"voice without sound", msg(2, audio, "\x00\x00\x00\x05"), nil},
		{"to a group", msg(2, imbase.MsgType_MSG_TYPE_GROUP_TEXT, "x"), nil},
		{"too large for an event", msg(2, text, strings.Repeat("x", 390<<10)), nil},
		{"void", msg(2, text, "x"), func(r *rig) {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Void: frame.Void_VOID_BLOCKED}, ev.GetMessageSent() != nil
			}
		}},
		{"of unknown fate", msg(2, text, "x"), func(r *rig) {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Err: delivery.ErrUnavailable}, ev.GetMessageSent() != nil
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				if c.edit != nil {
					c.edit(r)
				}
				ann := r.login("ann", windows)
				ann.send(ann.pack(client.CmdMsgData, 4, c.m))
				r.step(ann)
				ann.nothing()
				if ann.over || ann.s.pending != 0 || r.srv.pending.Load() != 0 {
					t.Errorf("closed %v, pending %d", ann.over, ann.s.pending)
				}
				ann.send(header(client.CmdHeartBeat, 0, nil))
				if len(ann.take()) != 1 {
					t.Error("the connection does not go on")
				}
			})
		})
	}
}

func TestReceiptsAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		ann.send(ann.pack(client.CmdMsgDataAck, 3, &immessage.IMMsgDataAck{UserId: new(uint32(0)), SessionId: new(uint32(2)),
			MsgId: new(uint32(1)), SessionType: new(single)}))
		r.step(ann)
		ann.nothing()
	})
}

func TestReadIsToldToOwnOtherDevicesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob, phone := r.login("ann", windows), r.login("bob", windows), r.login("bob", android)
		ann.msg(1, 2, "x")
		r.step(ann, bob, phone)
		for _, w := range []*wire{ann, bob, phone} {
			w.take()
		}
		bob.send(bob.pack(client.CmdMsgDataReadAck, 3, &immessage.IMMsgDataReadAck{UserId: new(uint32(9)), SessionId: new(uint32(1)),
			MsgId: new(uint32(1)), SessionType: new(single)}))
		r.step(ann, bob, phone)
		m := one[*immessage.IMMsgDataReadNotify](phone, 0)
		if m.GetUserId() != 2 || m.GetSessionId() != 1 || m.GetMsgId() != 1 || m.GetSessionType() != single {
			t.Errorf("notice %v", m)
		}
		ann.nothing()
		bob.nothing()
	})
}

func TestRemoveSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.login("ann", windows), r.login("ann", android)
		req := func(kind imbase.SessionType, id uint32) []byte {
			return ann.pack(client.CmdRemoveSessionReq, 8, &imbuddy.IMRemoveSessionReq{UserId: new(uint32(5)), SessionType: &kind, SessionId: &id})
		}
		ann.msg(1, 2, "x")
		r.step(ann, phone)
		ann.take()
		phone.take()
		ann.send(req(single, 2))
		ann.nothing()
		r.step(ann, phone)
		if m := one[*imbuddy.IMRemoveSessionRsp](ann, 8); m.GetResultCode() != 0 || m.GetSessionId() != 2 || m.GetUserId() != 1 {
			t.Errorf("answer %v", m)
		}
		if m := one[*imbuddy.IMRemoveSessionNotify](phone, 0); m.GetSessionId() != 2 || m.GetUserId() != 1 {
			t.Errorf("notice %v", m)
		}
		for _, b := range [][]byte{req(single, 3), req(group, 2), req(single, 1)} {
			ann.send(b)
			r.step(ann, phone)
			if m := one[*imbuddy.IMRemoveSessionRsp](ann, 8); m.GetResultCode() != 1 {
				t.Errorf("answer %v", m)
			}
			phone.nothing()
		}
	})
}

func TestPendingSendsHoldTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		ann.take()
		bob.take()
		var all []byte
		for i := range 100 {
			all = append(all, ann.pack(client.CmdMsgData, uint16(i+1), msg(2, text, fmt.Sprint("m", i)))...)
		}
		ann.send(all)
		if n := len(r.node.queue); n != 64 || ann.read {
			t.Fatalf("%d appended, read %v", n, ann.read)
		}
		r.step(ann, bob)
		if !ann.read || len(r.node.queue) != 36 {
			t.Fatalf("%d appended afterwards, read %v", len(r.node.queue), ann.read)
		}
		r.step(ann, bob)
		if acks := ann.take(); len(acks) != 100 {
			t.Errorf("%d acks", len(acks))
		}
		for i, g := range bob.take() {
			if string(g.m.(*immessage.IMMsgData).GetMsgData()) != fmt.Sprint("m", i) {
				t.Fatalf("message %d is %v", i, g)
			}
		}
	})
}

func TestRateHoldsTheClientAndDropsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Limits.Pending = 1 << 14 })
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		ann.take()
		bob.take()
		const n = 3000
		var all []byte
		for i := range n {
			all = append(all, ann.pack(client.CmdMsgData, uint16(i+1), msg(2, text, fmt.Sprint("m", i)))...)
		}
		start := time.Now()
		ann.send(all)
		if k := len(r.node.queue); k < 995 || k > 1005 || ann.read {
			t.Fatalf("%d at once, read %v", k, ann.read)
		}
		got := 0
		for got < n && time.Since(start) < time.Minute {
			r.sleep(100*time.Millisecond, ann, bob)
			r.step(ann, bob)
			got += len(bob.take())
		}
		if took := time.Since(start); got != n || took < 3900*time.Millisecond || took > 4400*time.Millisecond {
			t.Errorf("%d messages in %v", got, took)
		}
		r.sleep(time.Second, ann)
		if !ann.read || ann.over {
			t.Error("not read any more")
		}
	})
}

func TestFullLogHoldsTheClientAndDropsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		r.step(ann)
		ann.take()
		r.node.set(func() { r.node.full = true })
		ann.msg(1, 2, "x")
		r.sleep(10*time.Second, ann)
		if ann.read || ann.over || len(r.node.queue) != 0 {
			t.Fatalf("read %v, closed %v", ann.read, ann.over)
		}
		r.node.set(func() { r.node.full = false })
		r.sleep(time.Second, ann)
		r.step(ann)
		one[*immessage.IMMsgDataAck](ann, 1)
		if !ann.read {
			t.Error("not read any more")
		}
	})
}

func TestUnknownReceiversHoldUntilPeopleAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		r.step(ann)
		ann.take()
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetAccounts() != nil {
				return nil, errAway
			}
			return nil, nil
		})
		ann.msg(1, 2, "x")
		r.sleep(5*time.Second, ann)
		if ann.read || len(r.node.queue) != 0 {
			t.Fatal("sent without a permit")
		}
		r.node.set(func() { r.node.onAsk = nil })
		r.sleep(time.Second, ann)
		r.step(ann)
		one[*immessage.IMMsgDataAck](ann, 1)
		// Known for a while, until something changes.
		asked := r.node.asked.Load()
		ann.msg(2, 2, "y")
		r.step(ann)
		one[*immessage.IMMsgDataAck](ann, 2)
		if r.node.asked.Load() != asked {
			t.Error("asked again")
		}
		r.node.set(func() { r.node.people[2].Disabled = true })
		r.node.changed(&frame.PersonChanged{User: 2})
		ann.msg(3, 2, "z")
		r.step(ann)
		ann.nothing()
	})
}

func TestSlowReaderIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		bob := r.login("bob", windows)
		r.step(bob)
		bob.deaf = true
		for range 30 {
			r.node.push(1, 2, strings.Repeat("x", 100<<10))
			r.step(bob)
		}
		if !bob.over {
			t.Fatal("not closed")
		}
		if held := cap(bob.got); held > 2<<20 {
			t.Errorf("%d bytes held", held)
		}
		r.node.step()
		if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_SLOW {
			t.Errorf("ended %v", e)
		}
	})
}

func TestNewerLoginKicksTheOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old, phone := r.login("ann", windows), r.login("ann", android)
		r.step(old, phone)
		old.take()
		phone.take()
		fresh := r.login("ann", mac, old, phone)
		old.nothing()
		old.s.Input(old.pack(client.CmdMsgData, 1, msg(2, text, "late"))) // says nothing any more
		r.sleep(300*time.Millisecond, old, fresh, phone)
		m := one[*imlogin.IMKickUser](old, 0)
		if m.GetUserId() != 1 || m.GetKickReason() != imbase.KickReasonType_KICK_REASON_DUPLICATE_USER || !old.over {
			t.Errorf("%v, closed %v", m, old.over)
		}
		if fresh.over || phone.over {
			t.Error("another one was closed")
		}
		r.step(fresh)
		if slices.Contains(r.node.kinds(), "SessionEnded") || slices.Contains(r.node.kinds(), "MessageSent") {
			t.Errorf("appended %v", r.node.kinds())
		}
	})
}

// Of three logins at once the second is a winner that lives no more when the first
// asks; its client must not come back all the same.
func TestReplacedSessionIsKickedIfTheWinnerWasReplacedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		first := r.login("ann", windows)
		r.step(first)
		first.take()
		second, third := r.connect(), r.connect()
		second.send(second.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", mac)))
		third.send(third.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", windows)))
		r.settle(second, third)
		r.step(first, second, third)
		r.sleep(300*time.Millisecond, first, second, third)
		if m := one[*imlogin.IMKickUser](first, 0); !first.over || m.GetKickReason() != imbase.KickReasonType_KICK_REASON_DUPLICATE_USER {
			t.Errorf("the first: %v, closed %v", m, first.over)
		}
		if second.over == third.over {
			t.Errorf("closed: second %v, third %v", second.over, third.over)
		}
	})
}

func TestReplacedSessionIsNotKickedIfTheWinnerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.login("ann", windows)
		r.step(old)
		old.take()
		fresh := r.connect()
		fresh.send(fresh.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", mac)))
		fresh.s.Hangup()
		r.settle(fresh)
		r.step(old, fresh) // opened and abandoned in one frame
		r.sleep(300*time.Millisecond, old)
		old.nothing()
		if !old.over {
			t.Error("not closed")
		}
	})
}

func TestPhoneKicksThePC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pc, phone := r.login("ann", windows), r.login("ann", android)
		r.step(pc, phone)
		pc.take()
		phone.take()
		req := phone.pack(client.CmdKickPCClientReq, 6, &imlogin.IMKickPCClientReq{UserId: new(uint32(7))})
		pc.send(req)
		r.step(pc, phone)
		pc.nothing() // only a phone may
		phone.send(req)
		r.step(pc, phone)
		if m := one[*imlogin.IMKickUser](pc, 0); m.GetKickReason() != imbase.KickReasonType_KICK_REASON_MOBILE_KICK || !pc.over {
			t.Errorf("%v, closed %v", m, pc.over)
		}
		all := phone.take()
		if len(all) != 2 || all[0].Command != client.CmdKickPCClientRsp || all[0].Seq != 6 ||
			all[1].m.(*imbuddy.IMPCLoginStatusNotify).GetLoginStat() != imbase.UserStatType_USER_STATUS_OFFLINE {
			t.Errorf("phone got %v", all)
		}
		phone.send(req) // also when no PC is there
		r.step(phone)
		if m := one[*imlogin.IMKickPCClientRsp](phone, 6); m.GetResultCode() != 0 || m.GetUserId() != 1 {
			t.Errorf("answer %v", m)
		}
	})
}

func TestPhoneIsToldOfThePC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		phone := r.login("ann", android)
		phone.nothing() // no PC: nothing
		pc := r.login("ann", windows, phone)
		if m := one[*imbuddy.IMPCLoginStatusNotify](phone, 0); m.GetLoginStat() != imbase.UserStatType_USER_STATUS_ONLINE || m.GetUserId() != 1 {
			t.Errorf("%v", m)
		}
		pc.nothing()
		r.node.auto = true
		phone.s.Closed(nil)
		phone.over = true
		w := r.connect()
		r.node.auto = false
		w.send(w.pack(client.CmdLoginReq, 1, loginReq("ann", "pw", android)))
		r.step(w)
		all := w.take() // with the PC there already: after its login answer
		if len(all) != 2 || all[0].Command != client.CmdLoginRes || all[1].Command != client.CmdPCLoginStatusNotify {
			t.Errorf("got %v", all)
		}
	})
}

func TestOtherEndsComeWithoutAKick(t *testing.T) {
	for _, reason := range []event.EndReason{event.EndReason_END_REASON_ADMIN, event.EndReason_END_REASON_NODE_LOST,
		event.EndReason_END_REASON_DISABLED} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			w := r.login("ann", windows)
			id := w.s.id
			r.node.mu.Lock()
			r.srv.Handler().SessionOver(&frame.SessionOver{Session: id[:], User: 1, Reason: reason})
			r.node.mu.Unlock()
			r.step(w)
			w.nothing()
			if !w.over || slices.Contains(r.node.kinds(), "SessionEnded") {
				t.Errorf("%v: closed %v, appended %v", reason, w.over, r.node.kinds())
			}
		})
	}
}

func TestCloseAllAndSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		ann.take()
		r.srv.Handler().Suspend(true)
		r.settle(ann, bob)
		if ann.read || bob.read || r.srv.Ready() == nil {
			t.Error("read while suspended")
		}
		r.node.push(2, 1, "x")
		r.step(ann, bob)
		ann.nothing()
		r.srv.Handler().Suspend(false)
		r.settle(ann, bob)
		one[*immessage.IMMsgData](ann, 0)
		if !ann.read {
			t.Error("not read afterwards")
		}
		r.srv.Handler().CloseAll(delivery.ErrLifeLost)
		r.settle(ann, bob)
		ann.nothing()
		if !ann.over || !bob.over {
			t.Error("not closed")
		}
		r.step()
		if slices.Contains(r.node.kinds(), "SessionEnded") {
			t.Error("the old life's sessions were ended in the new one")
		}
	})
}

func TestSuspendedGoodbyeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		ann.take()
		r.srv.Handler().Suspend(true)
		r.settle(ann)
		ann.s.mu.Lock()
		ann.s.kick(event.EndReason_END_REASON_KICKED, imbase.KickReasonType_KICK_REASON_MOBILE_KICK)
		ann.s.mu.Unlock()
		r.settle(ann)
		if ann.over {
			t.Fatal("closed with the kick unsaid")
		}
		r.srv.Handler().Suspend(false)
		r.settle(ann)
		if one[*imlogin.IMKickUser](ann, 0); !ann.over {
			t.Error("not closed")
		}
	})
}

func TestStatusNoticesAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.login("ann", windows), r.login("bob", android)
		r.sleep(1100*time.Millisecond, ann, phone)
		phone.nothing() // never to a phone
		if m := one[*imbuddy.IMUserStatNotify](ann, 0); m.GetUserStat().GetUserId() != 1 {
			t.Errorf("the user himself is told as well: %v", m)
		}
		h := r.srv.Handler()
		h.UserStatus(2, true, 50)
		h.UserStatus(2, false, 51)
		h.UserStatus(3, true, 52)
		h.UserStatus(2, true, 49) // older than what is known
		r.settle(ann)
		ann.nothing()
		r.sleep(1100*time.Millisecond, ann, phone)
		got := map[uint32]imbase.UserStatType{}
		for _, g := range ann.take() {
			st := g.m.(*imbuddy.IMUserStatNotify).GetUserStat()
			if _, twice := got[st.GetUserId()]; twice {
				t.Error("told twice")
			}
			got[st.GetUserId()] = st.GetStatus()
		}
		if len(got) != 2 || got[2] != imbase.UserStatType_USER_STATUS_OFFLINE || got[3] != imbase.UserStatType_USER_STATUS_ONLINE {
			t.Errorf("told %v", got)
		}
		phone.nothing()
	})
}

func TestStatusNoticesStopAboveTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.StatusLimit = 1 })
		ann := r.login("ann", windows)
		r.sleep(1100*time.Millisecond, ann)
		if len(ann.take()) != 1 {
			t.Error("not told below the limit")
		}
		bob := r.login("bob", windows)
		r.sleep(1100*time.Millisecond, ann, bob)
		ann.nothing()
		bob.nothing()
	})
}

// As when another node is lost: fewer are online afterwards than the limit says, and
// the notices would be more than a session's output may hold.
func TestMoreStatusChangesThanTheLimitAreNotPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		r.sleep(1100*time.Millisecond, ann)
		ann.take()
		for i := range uint32(50_000) {
			r.srv.Handler().UserStatus(1000+i, false, 50)
		}
		r.sleep(1100*time.Millisecond, ann)
		ann.nothing()
		if ann.over {
			t.Error("closed as slow")
		}
	})
}

func TestFriendsAreToldOfEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetFriends() == nil {
				return nil, nil
			}
			friends := map[uint32][]uint32{1: {2}, 2: {1}}
			return &query.Answer{Body: &query.Answer_Friends{Friends: &query.FriendsAnswer{Users: friends[q.GetFriends().GetUser()]}}}, nil
		})
		ann, cy := r.login("ann", windows), r.login("cy", windows)
		r.sleep(1100*time.Millisecond, ann, cy)
		ann.take()
		cy.take()
		bob := r.login("bob", windows)
		r.sleep(1100*time.Millisecond, ann, bob, cy)
		if m := one[*imbuddy.IMUserStatNotify](ann, 0); m.GetUserStat().GetUserId() != 2 {
			t.Errorf("told %v", m)
		}
		cy.nothing()
	})
}

func TestOwedEndsAreToldWhenTheLogHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.login("ann", windows)
		r.node.set(func() { r.node.full = true })
		w.s.Closed(nil)
		w.over = true
		r.sleep(5*time.Second, w)
		r.node.set(func() { r.node.full = false })
		r.sleep(1100*time.Millisecond, w)
		r.step()
		if !slices.Contains(r.node.kinds(), "SessionEnded") {
			t.Error("the end is lost")
		}
	})
}

func TestVoiceIsPreviewedInLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		ann.send(ann.pack(client.CmdMsgData, 1, msg(2, audio, "\x00\x00\x00\x05sound")))
		r.step(ann)
		ann.take()
		ann.send(ann.pack(client.CmdRecentContactSessionReq, 2,
			&imbuddy.IMRecentContactSessionReq{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(0))}))
		l := one[*imbuddy.IMRecentContactSessionRsp](ann, 2).GetContactSessionList()
		if len(l) != 1 || string(l[0].GetLatestMsgData()) != "QhGXlpFjvMFUNrtl1aaPzA==" || l[0].GetLatestMsgType() != audio ||
			l[0].GetLatestMsgFromUserId() != 2 || l[0].GetLatestMsgId() != 1 || l[0].GetSessionId() != 2 {
			t.Errorf("list %v", l)
		}
		long := content.EncryptText(strings.Repeat("long ", 600))
		_, p := r.srv.preview(&query.Message{Type: 1, Body: long})
		if s, err := content.DecryptText(p); len(p) > maxPreview || err != nil || !strings.HasPrefix(s, "long long") {
			t.Errorf("preview of %d bytes: %q %v", len(p), s, err)
		}
	})
}

package connector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

func (w *wire) history(seq uint16, peer, begin, count uint32) []byte {
	return w.pack(client.CmdGetMsgListReq, seq, &immessage.IMGetMsgListReq{UserId: new(uint32(9)), SessionType: new(single),
		SessionId: &peer, MsgIdBegin: &begin, MsgCnt: &count})
}

func ids(list []*imbase.MsgInfo) (all []uint32) {
	for _, m := range list {
		all = append(all, m.GetMsgId())
	}
	return all
}

// talk makes ann write n messages to bob.
func (r *rig) talk(n int) (ann, bob *wire) {
	ann, bob = r.login("ann", windows), r.login("bob", windows)
	r.step(ann, bob)
	for i := range n {
		ann.msg(uint16(i+1), 2, fmt.Sprint("m", i+1))
	}
	r.step(ann, bob)
	ann.take()
	bob.take()
	return ann, bob
}

func TestHistory(t *testing.T) {
	cases := []struct {
		peer, begin, count uint32
		want               []uint32
	}{
		{1, 0, 3, []uint32{5, 4, 3}},
		{1, 4, 2, []uint32{4, 3}},
		{1, 0, 100, []uint32{5, 4, 3, 2, 1}},
		{1, 0, 4_000_000_000, []uint32{5, 4, 3, 2, 1}},
		{1, 0, 0, nil},
		{3, 0, 5, nil},
		{2, 0, 5, nil}, // with himself
		{0, 0, 5, nil},
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(5)
		for _, c := range cases {
			bob.send(bob.history(0xff02, c.peer, c.begin, c.count))
			m := one[*immessage.IMGetMsgListRsp](bob, 0xff02)
			if !slices.Equal(ids(m.GetMsgList()), c.want) || m.GetUserId() != 2 || m.GetSessionId() != c.peer || m.GetMsgIdBegin() != c.begin {
				t.Errorf("%v: %v", c, m)
			}
		}
		bob.send(bob.history(1, 1, 0, 1))
		m := one[*immessage.IMGetMsgListRsp](bob, 1).GetMsgList()[0]
		if m.GetFromSessionId() != 1 || string(m.GetMsgData()) != "m5" || m.GetMsgType() != text || m.GetCreateTime() == 0 {
			t.Errorf("message %v", m)
		}
	})
}

func TestHistoryFitsInOnePDU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(1)
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetHistory() == nil {
				return nil, nil
			}
			a := &query.MessagesAnswer{}
			for i := range 40 {
				a.Messages = append(a.Messages, &query.Message{Id: uint32(40 - i), From: 1, Type: 1, Body: make([]byte, 50<<10)})
			}
			return &query.Answer{Body: &query.Answer_Messages{Messages: a}}, nil
		})
		bob.send(bob.history(1, 1, 0, 100))
		if len(bob.got) > pdu.MaxAfterLogin {
			t.Errorf("a PDU of %d bytes", len(bob.got))
		}
		if got := ids(one[*immessage.IMGetMsgListRsp](bob, 1).GetMsgList()); len(got) != 7 || got[0] != 40 {
			t.Errorf("ids %v", got) // the newest seven
		}
	})
}

func TestLatestIDAndByIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(5)
		latest := func(kind imbase.SessionType, peer uint32) uint32 {
			bob.send(bob.pack(client.CmdGetLatestMsgIdReq, 4, &immessage.IMGetLatestMsgIdReq{UserId: new(uint32(0)), SessionType: &kind, SessionId: &peer}))
			return one[*immessage.IMGetLatestMsgIdRsp](bob, 4).GetLatestMsgId()
		}
		if a, b, c := latest(single, 1), latest(single, 3), latest(group, 1); a != 5 || b != 0 || c != 0 {
			t.Errorf("latest %d %d %d", a, b, c)
		}
		many := []uint32{2, 4, 4, 77}
		for i := range 200 {
			many = append(many, uint32(1000+i))
		}
		asked := 0
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if b := q.GetByIds(); b != nil {
				asked = len(b.GetIds())
			}
			return nil, nil
		})
		byIDs := func(list []uint32) []uint32 {
			bob.send(bob.pack(client.CmdGetMsgByIdReq, 5, &immessage.IMGetMsgByIdReq{UserId: new(uint32(0)), SessionType: new(single),
				SessionId: new(uint32(1)), MsgIdList: list}))
			return ids(one[*immessage.IMGetMsgByIdRsp](bob, 5).GetMsgList())
		}
		if got := byIDs(many[:4]); !slices.Equal(got, []uint32{4, 2}) {
			t.Errorf("by ids %v", got)
		}
		if byIDs(many); asked != 100 {
			t.Errorf("%d ids asked", asked)
		}
	})
}

func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.talk(5)
		ask := func(w *wire) *immessage.IMUnreadMsgCntRsp {
			w.send(w.pack(client.CmdUnreadMsgCntReq, 3, &immessage.IMUnreadMsgCntReq{UserId: new(uint32(0))}))
			return one[*immessage.IMUnreadMsgCntRsp](w, 3)
		}
		m := ask(bob)
		if l := m.GetUnreadinfoList(); m.GetTotalCnt() != 5 || len(l) != 1 || l[0].GetUnreadCnt() != 5 || l[0].GetSessionId() != 1 ||
			l[0].GetLatestMsgId() != 5 || l[0].GetLatestMsgFromUserId() != 1 || string(l[0].GetLatestMsgData()) != "m5" {
			t.Errorf("unread %v", m)
		}
		bob.send(bob.pack(client.CmdMsgDataReadAck, 3, &immessage.IMMsgDataReadAck{UserId: new(uint32(0)), SessionId: new(uint32(1)),
			MsgId: new(uint32(3)), SessionType: new(single)}))
		r.step(ann, bob)
		if m := ask(bob); m.GetTotalCnt() != 2 {
			t.Errorf("after reading 3: %v", m)
		}
		if m := ask(ann); m.GetTotalCnt() != 0 || len(m.GetUnreadinfoList()) != 0 {
			t.Errorf("the writer: %v", m)
		}
	})
}

func TestListsWaitForOwnAppendsAndTheAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.set(func() { r.node.attach = false })
		ann := r.login("ann", windows)
		asked := r.node.asked.Load()
		ann.msg(1, 2, "x")
		asked++ // the permit
		ann.send(ann.history(2, 2, 0, 10))
		ann.msg(3, 2, "later") // does not hold the list up
		if r.node.asked.Load() != asked {
			t.Fatal("asked before the append has its outcome")
		}
		later := r.node.queue[1:]
		r.node.queue = r.node.queue[:1]
		r.step(ann)
		if r.node.asked.Load() != asked {
			t.Fatal("asked before the session is attached")
		}
		ann.take()
		r.node.attached(ann.s)
		r.settle(ann)
		if m := one[*immessage.IMGetMsgListRsp](ann, 2); !slices.Equal(ids(m.GetMsgList()), []uint32{1}) {
			t.Errorf("history %v", m)
		}
		r.node.queue = later
		r.step(ann)
		one[*immessage.IMMsgDataAck](ann, 3)

		asked = r.node.asked.Load()
		ann.msg(4, 2, "y")
		ann.send(ann.history(5, 2, 0, 10))
		if r.node.asked.Load() != asked {
			t.Fatal("asked before the append has its outcome, attached")
		}
		r.step(ann)
		all := ann.take()
		if len(all) != 2 || all[0].Seq != 4 || all[1].Seq != 5 {
			t.Errorf("got %v", all)
		}
	})
}

func TestAnswerStandsBetweenThePushesAtAndAboveItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(1)
		arrived, goOn := make(chan struct{}), make(chan struct{})
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetHistory() == nil {
				return nil, nil
			}
			close(arrived)
			<-goOn
			return nil, nil // answered as of then
		})
		bob.s.Input(bob.history(9, 1, 0, 100))
		bob.pump()
		<-arrived
		r.node.push(1, 2, "in the answer")
		r.node.push(3, 2, "elsewhere")
		r.step(bob)
		bob.nothing() // held back
		// Two more, which the answer, taken in between, does not hold.
		var ans *query.Answer
		ans, _ = r.node.answerNow(&query.Request{Body: &query.Request_History{History: &query.History{
			Conversation: key(1, 2), User: 2, Count: 100}}})
		r.node.push(1, 2, "later")
		r.step(bob)
		bob.nothing()
		r.node.set(func() { r.node.onAsk = nil })
		r.node.set(func() { r.node.frozen = ans })
		close(goOn)
		r.settle(bob)
		var order []string
		for _, g := range bob.take() {
			switch m := g.m.(type) {
			case *immessage.IMMsgData:
				order = append(order, string(m.GetMsgData()))
			case *immessage.IMGetMsgListRsp:
				order = append(order, fmt.Sprint("answer ", ids(m.GetMsgList())))
			}
		}
		if want := []string{"in the answer", "elsewhere", "answer [2 1]", "later"}; !slices.Equal(order, want) {
			t.Errorf("order %q\nwant  %q", order, want)
		}
		r.node.push(1, 2, "after")
		r.step(bob)
		one[*immessage.IMMsgData](bob, 0)
	})
}

func TestHeldPushesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(1)
		goOn := make(chan struct{})
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetHistory() != nil {
				<-goOn
			}
			return nil, nil
		})
		bob.s.Input(bob.history(9, 1, 0, 100))
		bob.pump()
		for range 40 {
			r.node.push(1, 2, string(make([]byte, 50<<10)))
			r.step(bob)
		}
		if !bob.over {
			t.Error("not closed")
		}
		close(goOn)
	})
}

func TestAnswerThatOverflowsTheOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(1)
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetHistory() == nil {
				return nil, nil
			}
			return &query.Answer{Body: &query.Answer_Messages{Messages: &query.MessagesAnswer{Messages: []*query.Message{
				{Id: 1, From: 1, Type: 1, Body: make([]byte, 300<<10)}}}}}, nil
		})
		bob.deaf = true
		for range 6 {
			if !bob.over {
				bob.send(bob.history(1, 1, 0, 1))
			}
		}
		if !bob.over {
			t.Fatal("not closed")
		}
		r.node.step()
		if e := r.node.find("SessionEnded").GetSessionEnded(); e.GetReason() != event.EndReason_END_REASON_SLOW {
			t.Errorf("ended %v", e)
		}
	})
}

func TestListThatNoOwnerAnswersClosesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(1)
		r.node.hook(func(*query.Request) (*query.Answer, error) {
			time.Sleep(10 * time.Second)
			return nil, errAway
		})
		bob.s.Input(bob.history(9, 1, 0, 100))
		bob.pump()
		r.sleep(9*time.Second, bob)
		if bob.over {
			t.Fatal("closed too early")
		}
		bob.send(header(client.CmdHeartBeat, 0, nil))
		if len(bob.take()) != 1 {
			t.Error("nothing else goes on")
		}
		r.sleep(2*time.Second, bob)
		bob.nothing()
		if !bob.over {
			t.Error("not closed")
		}
	})
}

func TestListBehindAnAppendWithoutOutcomeClosesTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, _ := r.talk(1)
		ann.msg(100, 2, "x")
		ann.send(ann.history(9, 2, 0, 100))
		r.sleep(20*time.Second, ann)
		if !ann.over {
			t.Error("not closed")
		}
	})
}

func TestManyQuestionsHoldTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(3)
		goOn := make(chan struct{})
		r.node.onAsk = func(*query.Request) (*query.Answer, error) { <-goOn; return nil, nil }
		for i := range 100 {
			bob.s.Input(bob.history(uint16(i), 1, 0, 1))
			bob.pump()
		}
		if bob.read || len(bob.s.questions) != 32 {
			t.Errorf("read %v, %d questions", bob.read, len(bob.s.questions))
		}
		close(goOn)
		r.settle(bob)
		all := bob.take()
		for i, g := range all {
			if g.Seq != uint16(i) {
				t.Fatalf("answer %d has seq %d", i, g.Seq)
			}
		}
		if len(all) != 100 || !bob.read {
			t.Errorf("%d answers, read %v", len(all), bob.read)
		}
	})
}

func TestRecentSessionsAreNewestFirstAndAtMostAHundred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		since := uint32(0)
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			l := q.GetLists()
			if l == nil {
				return nil, nil
			}
			since = l.GetSince()
			a := &query.ListsAnswer{}
			for i := range uint32(150) {
				a.Entries = append(a.Entries, &query.ListEntry{Conversation: key(1, i+2), Head: 1, Updated: 1000 + i*7%150,
					Latest: &query.Message{Id: 1, From: 1, Type: 1, Body: []byte("x")}})
			}
			return &query.Answer{Body: &query.Answer_Lists{Lists: a}}, nil
		})
		ann.send(ann.pack(client.CmdRecentContactSessionReq, 2,
			&imbuddy.IMRecentContactSessionReq{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(777))}))
		l := one[*imbuddy.IMRecentContactSessionRsp](ann, 2).GetContactSessionList()
		if len(l) != 100 || since != 777 || l[0].GetUpdatedTime() != 1149 || l[0].GetLatestMsgFromUserId() != l[0].GetSessionId() {
			t.Errorf("%d entries since %d, first %v", len(l), since, l[0])
		}
		if !slices.IsSortedFunc(l, func(a, b *imbase.ContactSessionInfo) int { return int(b.GetUpdatedTime()) - int(a.GetUpdatedTime()) }) {
			t.Error("not newest first")
		}
	})
}

func TestUsersInfoAndStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.login("ann", windows), r.login("bob", android)
		r.step(ann, phone)
		ann.take()
		ann.send(ann.pack(client.CmdUsersInfoReq, 2, &imbuddy.IMUsersInfoReq{UserId: new(uint32(7)), UserIdList: []uint32{3, 2, 99}}))
		l := one[*imbuddy.IMUsersInfoRsp](ann, 2).GetUserInfoList()
		if len(l) != 2 || l[0].GetUserRealName() != "cy" || l[1].GetUserNickName() != "Nick bob" {
			t.Errorf("info %v", l)
		}
		ann.send(ann.pack(client.CmdUsersStatReq, 3, &imbuddy.IMUsersStatReq{UserId: new(uint32(7)), UserIdList: []uint32{99, 2, 1}}))
		var got strings.Builder
		for _, s := range one[*imbuddy.IMUsersStatRsp](ann, 3).GetUserStatList() {
			got.WriteString(fmt.Sprint(s.GetUserId(), s.GetStatus().Number(), " "))
		}
		if got.String() != "99 2 2 2 1 1 " { // a phone does not count
			t.Errorf("status %q", got.String())
		}
	})
}

func TestDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		r.node.people[3].Employment = 3
		ask := func(since uint32) *imbuddy.IMAllUserRsp {
			ann.send(ann.pack(client.CmdAllUserReq, 6, &imbuddy.IMAllUserReq{UserId: new(uint32(7)), LatestUpdateTime: &since}))
			return one[*imbuddy.IMAllUserRsp](ann, 6)
		}
		all := ask(0)
		if n := len(all.GetUserList()); n != 2 || all.GetLatestUpdateTime() != 3 {
			t.Errorf("%d users, latest %d", n, all.GetLatestUpdateTime())
		}
		if m := ask(2); len(m.GetUserList()) != 1 || m.GetUserList()[0].GetStatus() != 3 || m.GetLatestUpdateTime() != 3 {
			t.Errorf("who has left: %v", m)
		}
		for _, since := range []uint32{3, 1 << 31} {
			if m := ask(since); len(m.GetUserList()) != 0 || m.GetLatestUpdateTime() != since {
				t.Errorf("nothing new: %v", m)
			}
		}
	})
}

func TestLargeDirectoryGoesOutInSeveralPDUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		const n = 3000
		for i := range uint32(n) {
			// 300 of a second, which are more than fit in one PDU.
			r.node.people[100+i] = &query.Account{User: 100 + i, Name: fmt.Sprint("user", i), Nick: string(make([]byte, 2000)), Updated: 10 + i/300}
		}
		ann.s.Input(ann.pack(client.CmdAllUserReq, 6, &imbuddy.IMAllUserReq{UserId: new(uint32(7)), LatestUpdateTime: new(uint32(0))}))
		ann.pump()
		r.settle(ann)
		all := ann.take()
		if len(all) < 10 {
			t.Fatalf("%d PDUs", len(all))
		}
		since, seen := uint32(0), map[uint32]bool{}
		for i, g := range all {
			m := g.m.(*imbuddy.IMAllUserRsp)
			if g.Length > pdu.MaxAfterLogin || g.Seq != 6 || m.GetLatestUpdateTime() < since || m.GetLatestUpdateTime() == 0 {
				t.Fatalf("PDU %d: %d bytes, seq %d, latest %d after %d", i, g.Length, g.Seq, m.GetLatestUpdateTime(), since)
			}
			since = m.GetLatestUpdateTime()
			for _, u := range m.GetUserList() {
				seen[u.GetUserId()] = true
			}
			// A client that leaves now and asks again later has missed nobody.
			for _, p := range r.node.people {
				if p.Updated <= since && !seen[p.User] {
					t.Fatalf("PDU %d says %d and leaves user %d of %d out", i, since, p.User, p.Updated)
				}
			}
		}
		if len(seen) != n+3 {
			t.Errorf("%d users", len(seen))
		}
	})
}

// Clients that match an answer to its request by seq take one PDU only, so a directory
// is cut where a PDU is really full.
func TestADirectoryThatFitsIsOnePDU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		for i := range uint32(10_000) {
			r.node.people[100+i] = &query.Account{User: 100 + i, Name: fmt.Sprint("u", i), Nick: fmt.Sprint("u", i), Updated: 10 + i}
		}
		ann.send(ann.pack(client.CmdAllUserReq, 6, &imbuddy.IMAllUserReq{UserId: new(uint32(7)), LatestUpdateTime: new(uint32(0))}))
		all := ann.take()
		if n := len(all[0].m.(*imbuddy.IMAllUserRsp).GetUserList()); len(all) != 1 || n != 10_003 {
			t.Errorf("%d PDUs, %d people in the first", len(all), n)
		}
	})
}

func TestLargeDirectoryWaitsForASlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		for i := range uint32(12000) {
			r.node.people[100+i] = &query.Account{User: 100 + i, Name: fmt.Sprint("user", i), Nick: string(make([]byte, 200)), Updated: 10 + i}
		}
		ann.deaf = true
		ann.s.Input(ann.pack(client.CmdAllUserReq, 6, &imbuddy.IMAllUserReq{UserId: new(uint32(7)), LatestUpdateTime: new(uint32(0))}))
		ann.pump()
		r.sleep(30*time.Second, ann)
		ann.s.mu.Lock()
		backlog := ann.s.backlog()
		ann.s.mu.Unlock()
		if ann.over || backlog > 512<<10 {
			t.Fatalf("closed %v, %d bytes wait", ann.over, backlog)
		}
		r.sleep(40*time.Second, ann)
		if !ann.over {
			t.Error("waits for ever")
		}
	})
}

func (n *fakeNode) answerNow(q *query.Request) (*query.Answer, error) {
	hook := n.onAsk
	n.hook(nil)
	defer n.hook(hook)
	return n.answer(context.Background(), q)
}

func TestLargeQuestionsHoldTheClientSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, bob := r.talk(3)
		goOn := make(chan struct{})
		r.node.onAsk = func(*query.Request) (*query.Answer, error) { <-goOn; return nil, nil }
		ids := make([]uint32, 30_000)
		for i := range ids {
			ids[i] = uint32(i)
		}
		for i := range 20 {
			bob.s.Input(bob.pack(client.CmdUsersInfoReq, uint16(i), &imbuddy.IMUsersInfoReq{UserId: new(uint32(2)), UserIdList: ids}))
			bob.pump()
		}
		if bob.read || len(bob.s.questions) != 2 {
			t.Errorf("read %v, %d questions of 100 KB wait", bob.read, len(bob.s.questions))
		}
		close(goOn)
		r.settle(bob)
		if all := bob.take(); len(all) != 20 || !bob.read {
			t.Errorf("%d answers, read %v", len(all), bob.read)
		}
	})
}

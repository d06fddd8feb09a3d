package connector

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

// modern logs in a client that understands notices.
func (r *rig) modern(name string, kind imbase.ClientType) *wire {
	r.t.Helper()
	req := loginReq(name, "pw", kind)
	req.Features = new(uint32(imextension.Feature_FEATURE_NOTICES))
	w, res := r.enter(req)
	if res.GetResultCode() != loginOK {
		r.t.Fatalf("login: %v", res)
	}
	return w
}

const (
	befriend = imextension.FriendAction_FRIEND_ACTION_REQUEST
	accept   = imextension.FriendAction_FRIEND_ACTION_ACCEPT
	refuse   = imextension.FriendAction_FRIEND_ACTION_REFUSE
	withdraw = imextension.FriendAction_FRIEND_ACTION_WITHDRAW
	part     = imextension.FriendAction_FRIEND_ACTION_REMOVE
	remark   = imextension.FriendAction_FRIEND_ACTION_REMARK
	block    = imextension.FriendAction_FRIEND_ACTION_BLOCK
	unblock  = imextension.FriendAction_FRIEND_ACTION_UNBLOCK
)

func word(a imextension.FriendAction) string {
	return strings.ToLower(strings.TrimPrefix(a.String(), "FRIEND_ACTION_"))
}

// friend does something and gives the refusal.
func (w *wire) friend(user uint32, action imextension.FriendAction, text string, others ...*wire) string {
	w.r.t.Helper()
	m := &imextension.FriendReq{UserId: &user, Action: &action}
	if text != "" {
		m.Text = &text
	}
	w.send(w.pack(client.CmdFriendReq, 8, m))
	w.r.step(append(others, w)...)
	rsp := one[*imextension.FriendRsp](w, 8)
	if rsp.GetUserId() != user || rsp.GetAction() != action {
		w.r.t.Errorf("answer %v to %v", rsp, m)
	}
	return strings.ToLower(strings.TrimPrefix(rsp.GetRefusal().String(), "REFUSAL_"))
}

// hears is what the session was pushed of friends.
func (w *wire) hears() string {
	w.r.t.Helper()
	var all []string
	for _, g := range w.take() {
		m, ok := g.m.(*imextension.FriendNotify)
		if !ok {
			if g.Command != client.CmdUserStatNotify && g.Command != client.CmdPCLoginStatusNotify {
				w.r.t.Errorf("got %v", g)
			}
			continue
		}
		if g.Seq != 0 {
			w.r.t.Errorf("a push with seq %d", g.Seq)
		}
		s := fmt.Sprint(word(m.GetAction()), " ", m.GetUserId())
		if m.GetOwn() {
			s += " own"
		}
		if m.Text != nil {
			s += " " + m.GetText()
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

func TestFriendsAndWhoIsTold(t *testing.T) {
	steps := []struct {
		who    int // 1 ann, 2 bob
		action imextension.FriendAction
		other  uint32
		text   string
		want   string
		phone  string // what ann's phone hears
		bob    string // what bob's desktop hears
	}{
		{1, befriend, 2, "hello", "none", "request 2 own hello", "request 1 hello"},
		{1, befriend, 2, "hello", "no_effect", "", ""},
		{2, refuse, 1, "", "none", "refuse 2", ""},
		{2, accept, 1, "", "no_effect", "", ""},
		{1, befriend, 2, "", "none", "request 2 own", "request 1"},
		{1, withdraw, 2, "", "none", "withdraw 2 own", "withdraw 1"},
		{1, withdraw, 2, "", "no_effect", "", ""},
		{1, remark, 2, "Bobby", "not_friends", "", ""},
		{1, part, 2, "", "not_friends", "", ""},
		{1, befriend, 2, "", "none", "request 2 own", "request 1"},
		{2, accept, 1, "", "none", "accept 2", ""},
		{1, befriend, 2, "", "no_effect", "", ""},
		{1, remark, 2, "Bobby", "none", "remark 2 own Bobby", ""},
		{1, remark, 2, "", "none", "remark 2 own", ""},
		{1, remark, 2, strings.Repeat("é", 32) + "x", "limit", "", ""},
		{2, part, 1, "", "none", "remove 2", ""},
		{1, block, 2, "", "none", "block 2 own", ""}, // bob is not told
		{1, block, 2, "", "no_effect", "", ""},
		{1, befriend, 2, "", "blocked", "", ""},
		{2, befriend, 1, "", "blocked", "", ""},
		{1, unblock, 2, "", "none", "unblock 2 own", ""},
		{2, befriend, 1, strings.Repeat("x", 129), "limit", "", ""},
		{2, befriend, 1, "a\nb", "malformed", "", ""},
		{1, befriend, 1, "", "not_allowed", "", ""},
		{1, block, 1, "", "not_allowed", "", ""},
		{1, befriend, 0, "", "no_such_user", "", ""},
		{1, befriend, 99, "", "no_such_user", "", ""},
		{1, block, 99, "", "no_such_user", "", ""},
		{1, befriend, 4, "", "no_such_user", "", ""}, // a closed account
		{1, block, 4, "", "none", "block 4 own", ""},
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.person(r.hasher, 4, "dan").Disabled = true
		ann, phone, bob := r.modern("ann", windows), r.modern("ann", android), r.modern("bob", windows)
		old := r.login("bob", android)
		r.sleep(1100*time.Millisecond, ann, phone, bob, old)
		for _, w := range []*wire{ann, phone, bob, old} {
			w.take()
		}
		for i, s := range steps {
			who := ann
			if s.who == 2 {
				who = bob
			}
			if got := who.friend(s.other, s.action, s.text, ann, phone, bob, old); got != s.want {
				t.Errorf("step %d: %s is %s, want %s", i, word(s.action), got, s.want)
			}
			if got := phone.hears(); got != s.phone {
				t.Errorf("step %d: ann's phone hears %q, want %q", i, got, s.phone)
			}
			if s.who == 1 {
				if got := bob.hears(); got != s.bob {
					t.Errorf("step %d: bob hears %q, want %q", i, got, s.bob)
				}
			} else {
				ann.take()
			}
			old.nothing() // it would not understand
		}
	})
}

func TestWhatBecomesOfAFriendRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.modern("ann", windows)
		ann.take()
		r.node.set(func() { r.node.circle.full = true })
		if got := ann.friend(2, befriend, ""); got != "limit" {
			t.Errorf("over a limit: %s", got)
		}
		r.node.set(func() {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Err: delivery.ErrLifeLost}, ev.GetFriendRequested() != nil
			}
		})
		if got := ann.friend(2, befriend, ""); got != "unknown" {
			t.Errorf("of unknown fate: %s", got)
		}
		r.node.set(func() { r.node.result, r.node.circle.full = nil, false })

		// The log has no room for a while.
		r.node.set(func() { r.node.full = true })
		ann.send(ann.pack(client.CmdFriendReq, 8, &imextension.FriendReq{UserId: new(uint32(2)), Action: new(befriend)}))
		r.sleep(time.Second, ann)
		ann.take()
		r.node.set(func() { r.node.full = false })
		r.sleep(time.Second, ann)
		r.step(ann)
		if m := one[*imextension.FriendRsp](ann, 8); m.GetRefusal() != imextension.Refusal_REFUSAL_NONE {
			t.Errorf("later: %v", m)
		}
		// Nobody can be asked.
		r.node.hook(func(*query.Request) (*query.Answer, error) { return nil, errAway })
		if got := ann.friend(2, withdraw, ""); got != "unknown" {
			t.Errorf("nobody answers: %s", got)
		}
		if ann.over {
			t.Error("closed")
		}
	})
}

func (w *wire) friendList(seq uint16) []byte {
	return w.pack(client.CmdFriendListReq, seq, &imextension.FriendListReq{})
}

func TestTheListOfFriends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range uint32(3) {
			r.node.person(r.hasher, 4+i, fmt.Sprint("p", i))
		}
		ann := r.modern("ann", windows)
		ann.take()
		r.node.set(func() {
			r.node.setFriends(1, 2, true)
			put(&r.node.circle.remarks, [2]uint32{1, 2}, "Bobby")
			put(&r.node.circle.asks, [2]uint32{3, 1}, "hi")
			put(&r.node.circle.asks, [2]uint32{1, 4}, "")
			put(&r.node.circle.blocks, [2]uint32{1, 6}, true)
			put(&r.node.circle.blocks, [2]uint32{1, 5}, true)
			put(&r.node.circle.blocks, [2]uint32{2, 1}, true)
		})
		// What is asked for after a request shows what it did.
		ann.send(ann.friendList(3), ann.pack(client.CmdFriendReq, 4, &imextension.FriendReq{UserId: new(uint32(3)), Action: new(accept)}), ann.friendList(5))
		r.step(ann)
		all := ann.take()
		if len(all) != 3 || all[0].Seq != 3 || all[2].Seq != 5 {
			t.Fatalf("got %v", all)
		}
		want := &imextension.FriendListRsp{Blocked: []uint32{5, 6}, Friends: []*imextension.Friend{
			{UserId: new(uint32(2)), State: new(imextension.FriendState_FRIEND_STATE_FRIEND), Since: new(uint32(5)), Remark: new("Bobby")},
			{UserId: new(uint32(3)), State: new(imextension.FriendState_FRIEND_STATE_INCOMING), Since: new(uint32(6)), Text: new("hi")},
			{UserId: new(uint32(4)), State: new(imextension.FriendState_FRIEND_STATE_OUTGOING), Since: new(uint32(7))},
		}}
		if !proto.Equal(all[0].m, want) {
			t.Errorf("list %v", all[0].m)
		}
		want.Friends[1].State, want.Friends[1].Text, want.Friends[1].Since = new(imextension.FriendState_FRIEND_STATE_FRIEND), nil, new(uint32(5))
		if !proto.Equal(all[2].m, want) {
			t.Errorf("list after accepting %v", all[2].m)
		}
	})
}

func TestALongListOfFriendsGoesOutInSeveralPDUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.modern("ann", windows)
		ann.take()
		const friends, blocked = 7000, 80_000
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			switch {
			case q.GetFriendList() != nil:
				a := &query.FriendListAnswer{}
				for i := range uint32(friends) {
					a.Friends = append(a.Friends, &query.Friend{User: 1 + i, Friends: true, Since: 1 << 31, Remark: strings.Repeat("x", 64)})
				}
				return &query.Answer{Body: &query.Answer_FriendList{FriendList: a}}, nil
			case q.GetBlocks() != nil:
				a := &query.UsersAnswer{}
				for i := range uint32(blocked) {
					a.Users = append(a.Users, 1<<31+i)
				}
				return &query.Answer{Body: &query.Answer_Users{Users: a}}, nil
			}
			return nil, nil
		})
		ann.s.Input(ann.friendList(3))
		ann.pump()
		r.settle(ann)
		all := ann.take()
		var got, bad int
		for i, g := range all {
			m := g.m.(*imextension.FriendListRsp)
			got += len(m.GetFriends())
			bad += len(m.GetBlocked())
			if g.Seq != 3 || g.Length > pdu.MaxAfterLogin || m.GetMore() != (i < len(all)-1) {
				t.Errorf("PDU %d: seq %d, %d bytes, more %v", i, g.Seq, g.Length, m.GetMore())
			}
		}
		if got != friends || bad != blocked || len(all) < 3 {
			t.Errorf("%d friends, %d blocked in %d PDUs", got, bad, len(all))
		}
	})
}

// msgTo is a message of the session to a user, acked or not.
func (w *wire) says(to uint32, text string, others ...*wire) (acked bool) {
	w.r.t.Helper()
	w.msg(11, to, text)
	w.r.step(append(others, w)...)
	for _, g := range w.take() {
		acked = acked || g.Command == client.CmdMsgDataAck
	}
	return acked
}

func TestStrangersMayNotWriteWhereContactsAreFriends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		ann, bob, cy := r.modern("ann", windows), r.login("bob", windows), r.login("cy", windows)
		r.step(ann, bob, cy)
		for _, w := range []*wire{ann, bob, cy} {
			w.take()
		}
		ann.msg(11, 2, "hello")
		r.step(ann, bob)
		if m := one[*imextension.SendRefused](ann, 11); m.GetRefusal() != imextension.Refusal_REFUSAL_NOT_FRIENDS || m.GetSessionId() != 2 {
			t.Errorf("refused with %v", m)
		}
		if bob.says(1, "hello", ann) {
			t.Error("a stranger's message was taken")
		}
		if slices.Contains(r.node.kinds(), "MessageSent") {
			t.Fatal("the log has a stranger's message")
		}
		r.node.befriend(1, 2, true)
		if !ann.says(2, "now", bob) || !bob.says(1, "and back", ann) {
			t.Error("a friend's message was not taken")
		}
		if cy.says(1, "me too?", ann) || ann.says(3, "and you?", cy) {
			t.Error("a stranger's message was taken")
		}
		r.node.befriend(1, 2, false)
		if ann.says(2, "still there?", bob) || bob.says(1, "no", ann) {
			t.Error("who is a friend no more has written")
		}
	})
}

// A permit that changes while it is asked for is asked for again.
func TestAFriendshipThatEndsWhileItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		r.node.set(func() { r.node.setFriends(1, 2, true) })
		ann := r.login("ann", windows)
		r.step(ann)
		ann.take()
		asked := 0
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetRelations() == nil {
				return nil, nil
			}
			if asked++; asked == 1 {
				ans, err := r.node.answerNow(q)
				r.node.befriend(1, 2, false)
				return ans, err
			}
			return nil, nil
		})
		if ann.says(2, "hello") || asked != 2 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestOnlyFriendsAreSeenWhereContactsAreFriends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		r.node.person(r.hasher, 4, "dan")
		r.node.set(func() {
			r.node.setFriends(1, 2, true)
			put(&r.node.circle.asks, [2]uint32{4, 1}, "hi")
		})
		ann, bob, cy, dan := r.login("ann", windows), r.login("bob", windows), r.login("cy", windows), r.login("dan", windows)
		r.sleep(1100*time.Millisecond, ann, bob, cy, dan)
		for _, w := range []*wire{ann, bob, cy, dan} {
			w.take()
		}
		ids := []uint32{4, 3, 2, 1, 99}
		ann.send(ann.pack(client.CmdUsersInfoReq, 2, &imbuddy.IMUsersInfoReq{UserId: new(uint32(1)), UserIdList: ids}))
		var got []uint32
		for _, p := range one[*imbuddy.IMUsersInfoRsp](ann, 2).GetUserInfoList() {
			got = append(got, p.GetUserId())
		}
		if !slices.Equal(got, []uint32{4, 2, 1}) { // and who asks to be a friend
			t.Errorf("info of %v", got)
		}
		ann.send(ann.pack(client.CmdUsersStatReq, 3, &imbuddy.IMUsersStatReq{UserId: new(uint32(1)), UserIdList: ids}))
		var stats []string
		for _, p := range one[*imbuddy.IMUsersStatRsp](ann, 3).GetUserStatList() {
			stats = append(stats, fmt.Sprint(p.GetUserId(), " ", p.GetStatus().Number()))
		}
		if !slices.Equal(stats, []string{"4 2", "3 2", "2 1", "1 1", "99 2"}) {
			t.Errorf("statuses %v", stats)
		}
		ann.send(ann.pack(client.CmdAllUserReq, 4, &imbuddy.IMAllUserReq{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(0))}))
		got = nil
		for _, p := range one[*imbuddy.IMAllUserRsp](ann, 4).GetUserList() {
			got = append(got, p.GetUserId())
		}
		if !slices.Equal(got, []uint32{1, 2}) {
			t.Errorf("directory %v", got)
		}

		// A conversation with who is a friend no more is not listed; history is.
		bob.says(1, "hello", ann)
		ann.take()
		recent := func() int {
			ann.send(ann.pack(client.CmdRecentContactSessionReq, 5, &imbuddy.IMRecentContactSessionReq{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(0))}))
			return len(one[*imbuddy.IMRecentContactSessionRsp](ann, 5).GetContactSessionList())
		}
		if n := recent(); n != 1 {
			t.Errorf("%d conversations", n)
		}

		// What is shown of a person goes to friends and himself.
		bob.send(bob.signature(6, "new"))
		r.step(bob)
		bob.take()
		r.sleep(1100*time.Millisecond, ann, bob, cy, dan)
		for i, w := range []*wire{ann, bob, cy, dan} {
			if got := w.notices(); slices.Contains(got, "signature 2 new") != (i < 2) {
				t.Errorf("%d was told %v", i, got)
			}
		}
		r.node.befriend(1, 2, false)
		if n := recent(); n != 0 {
			t.Errorf("%d conversations with strangers", n)
		}
	})
}

func TestTheFriendsThatAreCachedAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetFriends() == nil {
				return nil, nil
			}
			return &query.Answer{Body: &query.Answer_Friends{Friends: &query.FriendsAnswer{Users: make([]uint32, 5000)}}}, nil
		})
		c := &r.srv.statuses
		sum := func() (n int) {
			for _, f := range c.friends {
				n += len(f)
			}
			return n
		}
		for user := range uint32(2 * friendsKept / 5000) {
			if _, err := c.friendsOf(t.Context(), user); err != nil {
				t.Fatal(err)
			}
			if user%100 == 99 {
				c.dropFriends(user)
			}
			if c.kept > friendsKept || user%97 == 0 && sum() != c.kept {
				t.Fatalf("after %d users %d are kept, counted as %d", user+1, sum(), c.kept)
			}
		}
		if c.kept < friendsKept/4 {
			t.Errorf("only %d are kept", c.kept)
		}
		c.dropAllFriends()
		if c.kept != 0 || len(c.friends) != 0 {
			t.Errorf("%d are kept, counted as %d", sum(), c.kept)
		}
	})
}

// What is known of friends is dropped with one of them, and bounded.
func TestPermitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		c := &r.srv.permits
		var keys []permitKey
		found := map[permitKey]permit{}
		for i := range uint32(permitEntries + 100) {
			k := permitKey{1 + i%7, 1 + i/7}
			keys = append(keys, k)
			found[k] = permit{exists: true}
		}
		c.learn(keys, found)
		total := 0
		for _, senders := range c.known {
			total += len(senders)
		}
		if total != c.entries || total > permitEntries || total < permitEntries/2 {
			t.Errorf("%d entries, counted as %d", total, c.entries)
		}
		to := keys[len(keys)-1].to
		if _, known := c.between(keys[len(keys)-1].from, to); !known {
			t.Error("the last one is not known")
		}
		c.drop(to)
		if _, known := c.between(keys[len(keys)-1].from, to); known {
			t.Error("known after it was dropped")
		}
		time.Sleep((permitTicks + 2) * time.Second)
		c.sweep(r.srv.tick())
		if len(c.known) != 0 || c.entries != 0 {
			t.Errorf("%d receivers, %d entries are kept", len(c.known), c.entries)
		}
	})
}

// A friend's block that was pushed before an answer shows in it is told before it.
func TestBlocksOfAnotherDeviceAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.modern("ann", windows), r.login("ann", android)
		r.step(ann, phone)
		ann.take()
		phone.take()
		k := event.Direct(1, 2)
		ev := &event.Event{Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{Conversation: k[:], User: 1, Blocked: true}}}
		if err := r.node.Append(k.Stream(testPartitions), ev, func(delivery.Result) {}); err != nil {
			t.Fatal(err)
		}
		r.step(ann, phone)
		if got := ann.hears(); got != "block 2 own" {
			t.Errorf("hears %q", got)
		}
		phone.nothing()
		if m := ann.s.blockNotify(&frame.BlockChange{Conversation: k[:], User: 2, Blocked: true}); m != nil {
			t.Errorf("told of the other one's block: %v", m)
		}
	})
}

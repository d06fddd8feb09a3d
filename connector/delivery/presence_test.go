package delivery_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	desktop = event.DeviceClass_DEVICE_CLASS_DESKTOP
	mobile  = event.DeviceClass_DEVICE_CLASS_MOBILE
)

// opened is a member's login; it replaces those of its class.
func opened(m *member, life event.ID, class event.DeviceClass) *event.Event {
	return &event.Event{At: 1, Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{
		Session: m.session[:], User: m.user, ClientType: 1, DeviceClass: class, Life: life[:], Replaces: []event.DeviceClass{class}}}}
}

func (m *member) open(class event.DeviceClass) delivery.Result {
	m.w.t.Helper()
	r, err := m.node.AppendWait(m.w.t.Context(), event.Presence, opened(m, m.node.Life(), class))
	if err != nil || r.Void != frame.Void_VOID_NONE {
		m.w.t.Errorf("open: %+v, %v", r, err)
	}
	return r
}

func live(n *node, m *member) bool {
	ans, err := n.Ask(n.w.t.Context(), &query.Request{Body: &query.Request_SessionLive{SessionLive: &query.SessionLive{Session: m.session[:], User: m.user}}})
	if err != nil {
		n.w.t.Error(err)
	}
	return ans.GetSessionLive().GetLive()
}

func isFrame(data []byte, s event.Stream) bool {
	f := pushOf(data).GetFrame()
	return f != nil && event.Stream(f.Stream) == s
}

func TestSessionsAndStatuses(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	phone, first, second := a.joinFirst(1), a.join(1), b.joinFirst(1)
	phone.open(mobile)
	first.open(desktop)
	for _, n := range []*node{a, b} {
		bustest.Eventually(t, "all nodes are told of the desktop", func() bool { return n.rec.status(1).online })
	}
	bustest.Eventually(t, "the phone's node too", func() bool { a.rec.mu.Lock(); defer a.rec.mu.Unlock(); return a.rec.desktops[1].online })
	second.open(desktop)
	bustest.Eventually(t, "the older desktop is over", func() bool { _, n := a.rec.ended(first.session); return n > 0 })
	if reason, n := a.rec.ended(first.session); n != 1 || reason != event.EndReason_END_REASON_REPLACED {
		t.Errorf("over %d times, for %s", n, reason)
	}
	if _, n := b.rec.ended(first.session); n != 0 {
		t.Error("the wrong node was told")
	}
	if _, n := a.rec.ended(phone.session); n != 0 {
		t.Error("the phone was ended")
	}
	ans, err := a.Ask(t.Context(), &query.Request{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: []uint32{1, 2}}}})
	if err != nil || fmt.Sprint(ans.GetStatuses().GetDesktopOnline()) != "[true false]" {
		t.Errorf("statuses %v, %v", ans, err)
	}
}

// What lost frames of PRESENCE would have told is told by the resync: the end of a
// session, statuses, outcomes. Sessions of the life that nobody holds are ended; one
// whose login is under way is not.
func TestPresenceIsResynced(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	old, newer := a.joinFirst(1), b.joinFirst(1)
	old.open(desktop)
	orphan := &member{w: w, node: a, user: 7, session: newID()}
	if _, err := a.AppendWait(t.Context(), event.Presence, opened(orphan, a.Life(), mobile)); err != nil {
		t.Fatal(err)
	}
	pending := a.joinFirst(8)
	if !live(b, orphan) || !live(b, old) {
		t.Fatal("the sessions are not live")
	}
	life := a.Life()
	k.DropPushes(func(to event.ID, data []byte) bool { return to == life && isFrame(data, event.Presence) })
	newer.open(desktop)
	other := b.joinFirst(9)
	other.open(desktop)
	late := a.joinFirst(10) // opened in the hole
	got := make(chan delivery.Result, 1)
	if err := a.Append(event.Presence, opened(late, life, mobile), func(r delivery.Result) { got <- r }); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.Err != nil || r.Void != 0 {
		t.Errorf("outcome %+v", r)
	}
	bustest.Eventually(t, "the end is told", func() bool { _, n := a.rec.ended(old.session); return n > 0 })
	bustest.Eventually(t, "the status is told", func() bool { return a.rec.status(9).online })
	if k.DroppedPushes.Load() == 0 {
		t.Error("no frame was lost")
	}
	bustest.Eventually(t, "the orphan is ended", func() bool { return !live(b, orphan) })
	if reason, _ := a.rec.ended(old.session); reason != event.EndReason_END_REASON_REPLACED {
		t.Errorf("ended for %s", reason)
	}
	for _, m := range []*member{pending, late} {
		if _, n := a.rec.ended(m.session); n != 0 {
			t.Errorf("the session of user %d was ended", m.user)
		}
	}
	if !live(b, late) {
		t.Error("the session that was opened in the hole was ended in the log")
	}
}

// A node holds more sessions than one request and one answer carry.
func TestPresenceIsResyncedInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	const users, orphans = 60_000, 60_000 // a listing takes some 24 bytes, a NATS message 1 MiB
	life := a.Life()
	var left atomic.Int64
	open := func(m *member) {
		left.Add(1)
		if err := a.Append(event.Presence, opened(m, life, desktop), func(delivery.Result) { left.Add(-1) }); err != nil {
			t.Fatal(err)
		}
	}
	members := make([]*member, users)
	for i := range members {
		// No join of the world: it would have every handler call look at all of them.
		m := &member{w: w, node: a, user: uint32(i + 1), session: newID()}
		a.Join(m)
		open(m)
		members[i] = m
	}
	for i := range orphans {
		open(&member{w: w, node: a, user: uint32(100_000 + i), session: newID()})
	}
	bustest.Eventually(t, "all are live", func() bool { return left.Load() == 0 })
	k.DropPushes(func(to event.ID, data []byte) bool { return to == life && isFrame(data, event.Presence) })
	for i, m := range members {
		if i%2 == 0 {
			end := &event.Event{At: 1, Body: &event.Event_SessionEnded{SessionEnded: &event.SessionEnded{
				Session: m.session[:], User: m.user, Reason: event.EndReason_END_REASON_ADMIN}}}
			left.Add(1)
			if err := b.Append(event.Presence, end, func(delivery.Result) { left.Add(-1) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	bustest.Eventually(t, "half of them are ended", func() bool { return left.Load() == 0 })
	k.DropPushes(nil)
	ended := map[event.ID]bool{}
	bustest.Eventually(t, "the node is told", func() bool {
		a.rec.mu.Lock()
		defer a.rec.mu.Unlock()
		for _, o := range a.rec.over {
			ended[event.ToID(o.Session)] = true
		}
		a.rec.over = nil
		return len(ended) >= users/2
	})
	for i, m := range members {
		if ended[m.session] != (i%2 == 0) {
			t.Fatalf("session %d: told that it is over: %v", i, ended[m.session])
		}
	}
	bustest.Eventually(t, "the orphans are ended", func() bool {
		ans, err := b.Ask(t.Context(), &query.Request{Body: &query.Request_PresenceTotals{PresenceTotals: &query.PresenceTotals{}}})
		return err == nil && ans.GetPresenceTotals().GetSessions() == users/2
	})
}

// The loss of a node ends more sessions in one record than fit into one frame.
func TestLossOfALargeNodeIsTold(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	const users = 120_000
	gone := newID()
	var left atomic.Int64
	add := func(ev *event.Event) {
		left.Add(1)
		if err := b.Append(event.Presence, ev, func(r delivery.Result) {
			if r.Void != 0 || r.Err != nil {
				t.Errorf("%+v", r)
			}
			left.Add(-1)
		}); err != nil {
			t.Fatal(err)
		}
	}
	add(&event.Event{At: 1, Body: &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{Life: gone[:], Node: "gone"}}})
	for i := range uint32(users) {
		add(opened(&member{user: i + 1, session: newID()}, gone, desktop))
	}
	bustest.Eventually(t, "all are live", func() bool { return left.Load() == 0 })
	refills := a.Stats().Refills
	add(lost(gone))
	bustest.Eventually(t, "all are told to be gone", func() bool {
		a.rec.mu.Lock()
		defer a.rec.mu.Unlock()
		if len(a.rec.statuses) < users {
			return false
		}
		for _, s := range a.rec.statuses {
			if s.online {
				return false
			}
		}
		return true
	})
	if n := a.Stats().Refills; n != refills {
		t.Error("it took a resync")
	}
}

func TestPeopleReachEveryNode(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	register := func(name string) uint32 {
		r, err := a.AppendWait(t.Context(), event.People, &event.Event{At: 1, Body: &event.Event_PersonRegistered{
			PersonRegistered: &event.PersonRegistered{Name: name, PasswordHash: "x", Nick: name}}})
		if err != nil || r.ID == 0 {
			t.Fatalf("register: %+v, %v", r, err)
		}
		return r.ID
	}
	user := register("anna")
	changed := func(n *node) (times int, credentials bool) {
		n.rec.mu.Lock()
		defer n.rec.mu.Unlock()
		for _, c := range n.rec.persons {
			if c.User == user {
				times++
				credentials = credentials || c.Credentials
			}
		}
		return times, credentials
	}
	password := func() {
		r, err := a.AppendWait(t.Context(), event.People, &event.Event{At: 1, Body: &event.Event_PasswordChanged{
			PasswordChanged: &event.PasswordChanged{User: user, PasswordHash: "y"}}})
		if err != nil || r.Void != 0 {
			t.Fatalf("password: %+v, %v", r, err)
		}
	}
	password()
	for _, n := range []*node{a, b} {
		bustest.Eventually(t, "told", func() bool { _, credentials := changed(n); return credentials })
	}
	// The same with the frame lost on its way to a node that holds the user.
	b.joinFirst(user)
	drops := b.rec.dropped()
	before, _ := changed(b)
	life := b.Life()
	k.DropPushes(func(to event.ID, data []byte) bool { return to == life && isFrame(data, event.People) })
	password()
	bustest.Eventually(t, "caches are dropped", func() bool { return b.rec.dropped() > drops })
	bustest.Eventually(t, "the user's sessions are to end", func() bool { n, _ := changed(b); return n > before })
	if k.DroppedPushes.Load() == 0 {
		t.Error("no frame was lost")
	}
	ans, err := b.Ask(t.Context(), &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: "anna"}}})
	if err != nil || ans.GetAccount().GetAccount().GetPasswordHash() != "y" {
		t.Errorf("account %v, %v", ans, err)
	}
}

// What a node missed is more than one page of changes holds.
func TestLargeRefillComesInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	m := b.joinFirst(2)
	w.settled(k, a, b)
	life := b.Life()
	var cut atomic.Bool
	cut.Store(true)
	k.DropPushes(func(to event.ID, _ []byte) bool { return to == life && cut.Load() })
	large := make([]byte, 150<<10)
	var left atomic.Int64
	for range 20 {
		left.Add(1)
		if err := a.Append(a.stream(1, 2), w.text(1, 2, event.ID{}, large), func(delivery.Result) { left.Add(-1) }); err != nil {
			t.Fatal(err)
		}
	}
	bustest.Eventually(t, "stored", func() bool { return left.Load() == 0 })
	cut.Store(false)
	w.settled(k, a, b)
	w.check(k, m)
	if m.count() != 20 {
		t.Errorf("%d messages", m.count())
	}
}

// The same for one user, behind whose attach a lot happened.
func TestLargeAttachComesInPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k, func(c *delivery.Config) { c.WithLimits(8<<20, 64<<20) })
	w.settled(k, a)
	ghost := newGhost(t, k, a)
	ghost.lead()
	bustest.Eventually(t, "the node listens to the other term", func() bool { return ghost.attached.Load() >= 2 && a.Ready() == nil })
	ghost.loseAttaches(1 << 30)
	m := a.joinFirst(2)
	large := make([]byte, 150<<10)
	var left atomic.Int64
	for range 20 {
		left.Add(1)
		if err := a.Append(a.stream(1, 2), w.text(1, 2, event.ID{}, large), func(delivery.Result) { left.Add(-1) }); err != nil {
			t.Fatal(err)
		}
	}
	bustest.Eventually(t, "stored", func() bool { return left.Load() == 0 })
	if m.count() != 0 {
		t.Error("pushed before the attach was through")
	}
	ghost.loseAttaches(0)
	w.settled(k, a)
	second := a.join(2)
	w.settled(k, a)
	w.check(k, m, second)
	if m.count() != 20 {
		t.Errorf("%d messages", m.count())
	}
}

// A node that missed more than the effects go back closes its sessions; appends whose
// outcomes lay there are told so.
func TestTooFarClosesSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k, func(c *owner.Config) { c.EffectsHeld = 20 })
	a, b := w.node(k), w.node(k)
	m := b.joinFirst(2)
	w.settled(k, a, b)
	life := b.Life()
	var cut atomic.Bool
	cut.Store(true)
	k.DropPushes(func(to event.ID, _ []byte) bool { return to == life && cut.Load() })
	got := make(chan delivery.Result, 1)
	b.send(2, 1, func(r delivery.Result) { got <- r })
	for range 60 {
		a.sendWait(1, 2)
	}
	cut.Store(false)
	bustest.Eventually(t, "closed", m.isClosed)
	if all := b.rec.closed(); all[0] != delivery.ErrPositionsLost {
		t.Errorf("closed: %v", all)
	}
	if r := <-got; r.Err != delivery.ErrPositionsLost {
		t.Errorf("the append: %+v", r)
	}
	again := b.joinFirst(2)
	if r := b.sendWait(2, 1); r.ID != 62 {
		t.Errorf("the next: %+v", r)
	}
	w.settled(k, a, b)
	w.check(k, again)
}

// A login that begins while a resync is under way is in the log and not in the list;
// it is not taken for a session that nobody holds.
func TestLoginDuringAResyncIsNotEnded(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	life := a.Life()
	ghost := newGhost(t, k, a)
	var m *member
	outcome := make(chan delivery.Result, 1)
	ghost.before = sync.OnceFunc(func() {
		m = a.join(5)
		if err := a.Append(event.Presence, opened(m, life, mobile), func(r delivery.Result) { outcome <- r }); err != nil {
			t.Error(err)
		}
		bustest.Eventually(t, "in the log", func() bool { return live(b, m) })
	})
	ghost.lead()
	if r := <-outcome; r.Err != nil || r.Void != 0 {
		t.Errorf("outcome %+v", r)
	}
	bustest.Eventually(t, "ready", func() bool { return a.Ready() == nil })
	if _, n := a.rec.ended(m.session); n != 0 {
		t.Error("the session was ended")
	}
	a.stop()
	for _, ev := range w.events(k, event.Presence) {
		if e := ev.GetSessionEnded(); e != nil {
			t.Errorf("the node ended %v", e)
		}
	}
}

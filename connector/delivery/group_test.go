package delivery_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// groupStream is where a group's conversation lies.
func (n *node) groupStream(group uint32) event.Stream {
	return event.Group(group).Stream(n.bus.Partitions())
}

// toGroup makes a message to a group that repeats none.
func (w *world) toGroup(from, group uint32, session event.ID, body []byte) *event.Event {
	key := event.Group(group)
	repeat := make([]byte, 16)
	binary.BigEndian.PutUint64(repeat, w.keys.Add(1))
	return &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
		Conversation: key[:], From: from, Type: 17, Body: body, Session: session[:], RepeatKey: repeat}}}
}

// create makes a group, by the API.
func (n *node) create(group uint32, members ...uint32) {
	n.w.t.Helper()
	key := event.Group(group)
	n.did(group, &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: key[:], Type: event.GroupType_GROUP_TYPE_NORMAL, Name: fmt.Sprint("group ", group), Members: members, Limit: 40_000}}})
}

func membersChanged(group uint32, added, removed []uint32) *event.Event {
	key := event.Group(group)
	return &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{
		Conversation: key[:], Added: added, Removed: removed, Limit: 40_000}}}
}

// move changes members, by the API; it need not have an effect.
func (n *node) move(group uint32, added, removed []uint32) {
	n.w.t.Helper()
	if r, err := n.AppendWait(n.w.t.Context(), n.groupStream(group), membersChanged(group, added, removed)); err != nil {
		n.w.t.Fatalf("move: %+v, %v", r, err)
	}
}

func (n *node) did(group uint32, ev *event.Event) delivery.Result {
	n.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := n.AppendWait(ctx, n.groupStream(group), ev)
	if err != nil || r.Void != frame.Void_VOID_NONE {
		n.w.t.Fatalf("%T: %+v, %v", ev.Body, r, err)
	}
	return r
}

// say sends to a group and waits.
func (n *node) say(from, group uint32) delivery.Result {
	n.w.t.Helper()
	return n.did(group, n.w.toGroup(from, group, event.ID{}, fmt.Appendf(nil, "from %d to all of %d", from, group)))
}

// groupTraffic is traffic in groups: messages, people added and removed, and messages
// between two, all at random.
func (w *world) groupTraffic(seed uint64, count, window int, groups, users []uint32, nodes ...*node) (done *atomic.Int64, wait func()) {
	w.t.Helper()
	done = new(atomic.Int64)
	rnd := rand.New(rand.NewPCG(seed, 1))
	slots := make(chan struct{}, window)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var wg sync.WaitGroup
		for range count {
			group, user := groups[rnd.IntN(len(groups))], users[rnd.IntN(len(users))]
			n := nodes[rnd.IntN(len(nodes))]
			s, ev := n.groupStream(group), w.toGroup(user, group, event.ID{}, []byte("to all"))
			switch k := rnd.IntN(100); {
			case k < 15:
				var moved [2][]uint32
				for _, i := range rnd.Perm(len(users))[:1+rnd.IntN(3)] {
					way := rnd.IntN(2)
					moved[way] = append(moved[way], users[i])
				}
				ev = membersChanged(group, moved[0], moved[1])
			case k < 25:
				other := users[rnd.IntN(len(users))]
				if other != user {
					s, ev = n.stream(user, other), w.text(user, other, event.ID{}, []byte("to one"))
				}
			}
			slots <- struct{}{}
			wg.Add(1)
			err := n.Append(s, ev, func(r delivery.Result) {
				if r.Err == nil && r.Void == frame.Void_VOID_NONE {
					done.Add(1)
				}
				<-slots
				wg.Done()
			})
			if err != nil {
				w.t.Errorf("append: %v", err)
				<-slots
				wg.Done()
			}
		}
		wg.Wait()
	}()
	return done, func() {
		w.t.Helper()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			w.t.Fatalf("%d of %d events have an outcome", done.Load(), count)
		}
	}
}

// groupsIn makes groups whose conversations lie in all partitions, each with some of the
// users.
func (n *node) groupsIn(count int, users []uint32) (groups []uint32) {
	n.w.t.Helper()
	streams := map[event.Stream]bool{}
	for g := range uint32(count) {
		groups = append(groups, g+1)
		streams[n.groupStream(g+1)] = true
		n.create(g+1, users[:len(users)/2+int(g)]...)
	}
	if len(streams) != n.bus.Partitions() {
		n.w.t.Fatalf("groups in %v only", streams)
	}
	return groups
}

// Who comes to a group gets what is written from then on, who goes is told so and gets
// nothing more, on every node.
func TestGroupsReachTheirMembers(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	one, two, three, four := a.joinFirst(1), b.joinFirst(2), b.joinFirst(3), a.joinFirst(4)
	phone := b.join(1)
	w.settled(k, a, b)
	a.create(7, 1, 2)
	a.say(1, 7)
	b.move(7, []uint32{3}, nil)
	b.say(2, 7)
	b.move(7, []uint32{4}, []uint32{2})
	if r, err := b.AppendWait(t.Context(), b.groupStream(7), w.toGroup(2, 7, event.ID{}, nil)); err != nil || r.Void != frame.Void_VOID_NOT_PARTY {
		t.Errorf("of one who has left: %+v, %v", r, err)
	}
	a.say(3, 7)
	b.move(7, []uint32{2}, []uint32{1, 3})
	a.say(4, 7)
	w.settled(k, a, b)
	w.check(k, w.all()...)
	for _, want := range []struct {
		m       *member
		ids     []uint32
		changes int
	}{
		// Created; 3 added; 4 added and 2 removed; 2 added and 1 and 3 removed.
		{one, []uint32{1, 2, 3}, 5}, {phone, []uint32{1, 2, 3}, 5}, {two, []uint32{1, 2, 4}, 5}, {three, []uint32{2, 3}, 4}, {four, []uint32{3, 4}, 4},
	} {
		var ids []uint32
		for _, g := range want.m.got {
			ids = append(ids, g.id)
		}
		if !slices.Equal(ids, want.ids) || len(want.m.changes) != want.changes {
			t.Errorf("user %d got messages %v and %d changes, want %v and %d", want.m.user, ids, len(want.m.changes), want.ids, want.changes)
		}
	}
}

// Groups change under traffic, frames are lost, and sessions come and go: each gets what
// was written in its time of membership and its stay.
func TestGroupsUnderLossAndComeAndGo(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		w := newWorld(t)
		k := bustest.New(t)
		w.owner(k)
		a, b := w.node(k), w.node(k)
		users := userRange(1, 10)
		groups := a.groupsIn(4, users)
		var mu sync.Mutex
		rnd := rand.New(rand.NewPCG(seed, 2))
		k.DropPushes(func(_ event.ID, data []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			return rnd.IntN(100) < 8 && pushOf(data).GetFrame() != nil
		})
		var ended atomic.Bool
		done, wait := w.groupTraffic(seed, 4000, 60, groups, users, a, b)
		var storm sync.WaitGroup
		for i := range 6 {
			n := []*node{a, b}[i%2]
			rnd := rand.New(rand.NewPCG(seed, uint64(i)+5))
			storm.Go(func() {
				for !ended.Load() {
					m := n.join(users[rnd.IntN(len(users))])
					switch rnd.IntN(3) {
					case 0: // leaves in the middle of its attach
					case 1:
						bustest.Eventually(t, "attached", m.isAttached)
					default:
						until := done.Load() + int64(rnd.IntN(200))
						bustest.Eventually(t, "traffic", func() bool { return ended.Load() || done.Load() >= until })
					}
					m.leave()
				}
			})
		}
		for i, u := range users {
			[]*node{a, b}[i%2].join(u)
		}
		wait()
		ended.Store(true)
		storm.Wait()
		k.DropPushes(nil)
		w.settled(k, a, b)
		w.check(k, w.all()...)
		t.Logf("%d sessions, node a %+v, node b %+v", len(w.all()), a.Stats(), b.Stats())
		// Without loss every audience is known after it was told once.
		holes := a.Stats().Holes + b.Stats().Holes
		for range 3 {
			for _, g := range groups {
				a.move(g, users[:2], nil)
				a.move(g, nil, users[1:2])
				a.say(users[0], g)
			}
		}
		w.settled(k, a, b)
		w.check(k, w.all()...)
		if more := a.Stats().Holes + b.Stats().Holes - holes; more > 0 {
			t.Errorf("%d holes though nothing was lost", more)
		}
		if len(w.all()) < 100 || k.DroppedPushes.Load() < 10 {
			t.Errorf("no storm: %d sessions, %d frames lost", len(w.all()), k.DroppedPushes.Load())
		}
		if all := append(a.rec.closed(), b.rec.closed()...); len(all) > 0 {
			t.Errorf("sessions were closed: %v", all)
		}
		w.checkKinds(k)
	}
}

// checkKinds makes sure that the log held what the test is about.
func (w *world) checkKinds(k *bustest.Kit) {
	w.t.Helper()
	truth, kinds := w.truth(k), map[frame.GroupChange_Kind]int{}
	for c := range truth.changes {
		kinds[c.kind]++
	}
	if len(truth.hears) < 100 || kinds[frame.GroupChange_KIND_ADDED] < 20 || kinds[frame.GroupChange_KIND_REMOVED] < 20 {
		w.t.Errorf("the log holds %d messages in groups and changes %v", len(truth.hears), kinds)
	}
}

// The same while the owner changes, first to a process that begins with the log as it is,
// then back and forth between two terms at once.
func TestGroupsUnderChangingOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := externalServer(t)
	k1, k2, k3 := process(t, url, "one"), process(t, url, "two"), process(t, url, "three")
	first := w.owner(k1)
	a, b := w.node(k2), w.node(k3)
	second := w.owner(k2)
	users := userRange(1, 8)
	groups := a.groupsIn(4, users)
	for i, u := range users {
		[]*node{a, b}[i%2].joinFirst(u)
	}
	w.settled(k2, a, b)
	done, wait := w.groupTraffic(3, 4000, 20, groups, users, a, b)
	bustest.Eventually(t, "traffic flows", func() bool { return done.Load() > 300 })
	terms := a.Stats().Terms
	first.stop()
	bustest.Eventually(t, "traffic flows on", func() bool { return done.Load() > 1200 })
	w.owner(k3)
	second.stop()
	wait()
	w.settled(k3, a, b)
	w.check(k3, w.all()...)
	if n := a.Stats().Terms; n < terms+4 {
		t.Errorf("the node heard of %d new owners", n-terms)
	}
	if all := append(a.rec.closed(), b.rec.closed()...); len(all) > 0 {
		t.Errorf("sessions were closed: %v", all)
	}
	w.checkKinds(k3)
}

// A second owner says the same in a term of its own, now and then: the audiences that a
// node was told in one term are of no use in another.
func TestGroupsOfTwoOwnersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	users := userRange(1, 6)
	groups := a.groupsIn(3, users)
	for i, u := range users {
		[]*node{a, b}[i%2].joinFirst(u)
	}
	w.settled(k, a, b)
	newer := newGhost(t, k, a, b)
	done, wait := w.groupTraffic(5, 4000, 10, groups, users, a, b)
	for _, until := range []int64{600, 1200} {
		bustest.Eventually(t, "traffic flows", func() bool { return done.Load() > until })
		attached := newer.attached.Load()
		newer.lead()
		bustest.Eventually(t, "the nodes go over to the newer term", func() bool { return newer.attached.Load() >= attached+4 })
		terms := a.Stats().Terms
		newer.silence()
		bustest.Eventually(t, "the nodes come back after the silence", func() bool { return a.Stats().Terms >= terms+4 })
	}
	wait()
	w.settled(k, a, b)
	w.check(k, w.all()...)
	w.checkKinds(k)
}

// What a node has missed for too long is not read any more: its sessions close, and what
// they had been told until then was theirs.
func TestGroupsTooFar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k, func(c *owner.Config) { c.EffectsHeld = 50 })
	a, b := w.node(k), w.node(k)
	users := userRange(1, 6)
	groups := a.groupsIn(3, users)
	for i, u := range users {
		[]*node{a, b}[i%2].joinFirst(u)
	}
	w.settled(k, a, b)
	_, wait := w.groupTraffic(7, 200, 10, groups, users, a)
	wait()
	w.settled(k, a, b)
	w.check(k, w.all()...)
	k.DropPushes(func(life event.ID, _ []byte) bool { return life == b.Life() })
	_, wait = w.groupTraffic(8, 600, 10, groups, users, a)
	wait()
	k.DropPushes(nil)
	bustest.Eventually(t, "the sessions of the node close", func() bool { return len(b.rec.closed()) > 0 })
	var stayed []*member
	for _, m := range w.all() {
		if m.node == b {
			bustest.Eventually(t, "closed", m.isClosed)
		} else {
			stayed = append(stayed, m)
		}
	}
	w.settled(k, a, b) // each stream closes them once for itself
	again := b.join(2)
	w.settled(k, a, b)
	_, wait = w.groupTraffic(9, 200, 10, groups, users, a, b)
	wait()
	w.settled(k, a, b)
	w.check(k, append(stayed, again)...)
}

// A group of 10,000 members: one append, one frame per node, and its audience by number
// once it is known.
func TestLargeGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	const size, local = 10_000, 2_000
	users := userRange(100_000, size)
	for g := range uint32(4) {
		a.create(g+1, users...)
	}
	type sent struct {
		f    *frame.Frame
		size int
	}
	var mu sync.Mutex
	var frames []sent
	stop, err := k.ReceivePushes(b.Life(), func(data []byte) {
		if f := pushOf(data).GetFrame(); len(f.GetDeliveries()) > 0 {
			mu.Lock()
			defer mu.Unlock()
			frames = append(frames, sent{f, len(data)})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	for _, u := range users[:local] {
		b.joinFirst(u)
	}
	w.settled(k, a, b)
	take := func() []sent {
		mu.Lock()
		defer mu.Unlock()
		all := frames
		frames = nil
		return all
	}
	group := uint32(0)
	undisturbed := func() bool {
		if group++; group > 4 {
			t.Fatal("the node takes its owner for gone all the time")
		}
		refills := b.Stats().Refills
		last, err := k.LastSequence(t.Context(), a.groupStream(group))
		if err != nil {
			t.Fatal(err)
		}
		take()
		for range 3 {
			a.say(users[1000], group)
		}
		w.settled(k, a, b)
		told := take()
		if now, err := k.LastSequence(t.Context(), a.groupStream(group)); err != nil || now != last+3 {
			t.Errorf("three messages took %d records, %v", now-last, err)
		}
		// Somebody comes and somebody leaves the node.
		gone, comes := w.all()[group], users[local+int(group)]
		gone.leave()
		b.joinFirst(comes)
		w.settled(k, a, b)
		b.say(users[1000], group)
		w.settled(k, a, b)
		if b.Stats().Refills != refills {
			return false // a machine so slow that the node took its owner for gone
		}
		moved := take()
		if len(told) != 3 || len(moved) != 1 {
			t.Fatalf("%d and %d frames for three messages and one", len(told), len(moved))
		}
		first := told[0].f.Deliveries[0].Audience
		if !first.Full || len(first.Added) != local || told[0].size < 2*local {
			t.Errorf("the first frame has %d bytes and names %d users", told[0].size, len(first.Added))
		}
		for _, f := range told[1:] {
			if au := f.f.Deliveries[0].Audience; f.size > 300 || au.Number != first.Number || au.Full || len(au.Added) > 0 {
				t.Errorf("a frame after it has %d bytes: %v", f.size, au)
			}
		}
		au := moved[0].f.Deliveries[0].Audience
		if moved[0].size > 400 || au.Base != first.Number || !slices.Equal(au.Added, []uint32{comes}) || !slices.Equal(au.Removed, []uint32{gone.user}) {
			t.Errorf("the change was told in %d bytes as %v", moved[0].size, au)
		}
		return true
	}
	for !undisturbed() {
	}
	w.check(k, w.all()...)
	if s := b.Stats(); s.Holes != 0 {
		t.Errorf("holes: %+v", s)
	}
}

// A record of messages to groups that all have so many members on a node that their
// audiences fit neither into a frame nor, as lists, into a page.
func TestManyLargeGroupsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	users := userRange(1<<28, 12_000)
	var groups []uint32
	for g := uint32(1); len(groups) < 16; g++ {
		if s := a.groupStream(g); s == a.groupStream(1) {
			groups = append(groups, g)
			a.create(g, users[g:]...)
		}
	}
	for _, u := range users {
		b.joinFirst(u)
	}
	ghost := newGhost(t, k, b)
	ghost.lead()
	bustest.Eventually(t, "the node listens to the other term", func() bool { return ghost.attached.Load() >= 2 && b.Ready() == nil })
	w.settled(k, a, b)
	var ahead, largest, lost atomic.Int64
	var lose atomic.Pointer[func(f *frame.Frame) bool]
	k.DropPushes(func(life event.ID, data []byte) bool {
		f := pushOf(data).GetFrame()
		if life != b.Life() || f == nil || len(f.Deliveries) == 0 || f.Term.GetRevision() != ghost.revision {
			return false
		}
		largest.Store(max(largest.Load(), int64(len(data))))
		if f.Deliveries[0].Body == nil {
			ahead.Add(1)
		}
		if l := lose.Load(); l != nil && (*l)(f) {
			lost.Add(1)
			return true
		}
		return false
	})
	// The first of a burst make a record of their own, the others go together.
	burst := func(rounds int) (from, to uint64) {
		var wg sync.WaitGroup
		from, to = 1<<63, 0
		for _, g := range slices.Repeat(groups, rounds) {
			wg.Add(1)
			err := a.Append(a.groupStream(g), w.toGroup(users[5_000], g, event.ID{}, []byte("to all")), func(r delivery.Result) {
				if r.Err != nil || r.Void != frame.Void_VOID_NONE {
					t.Errorf("to group %d: %+v", g, r)
				}
				from, to = min(from, r.Sequence), max(to, r.Sequence)
				wg.Done()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		return from, to
	}
	burst(1)
	w.settled(k, a, b)
	if n := ahead.Load(); n == 0 || b.Stats().Holes != 0 {
		t.Errorf("%d audiences went ahead of their frames, node %+v", n, b.Stats())
	}
	if n := largest.Load(); n > 512<<10 {
		t.Errorf("a frame of %d bytes", n)
	}

	// After a hole the audiences are told anew. The loss of one that goes ahead is a hole.
	for _, ahead := range []bool{false, true} {
		refills := b.Stats().Refills
		lost.Store(0)
		lose.Store(new(func(f *frame.Frame) bool { return ahead == (f.Deliveries[0].Body == nil) && lost.Load() == 0 }))
		burst(1)
		w.settled(k, a, b)
		if b.Stats().Refills == refills || lost.Load() != 1 {
			t.Errorf("ahead %v: %d frames lost, node %+v", ahead, lost.Load(), b.Stats())
		}
	}

	// Everything of a burst is lost: the refill's pages end inside a record. One that
	// begins there is lost as well, and the next refill goes on where it had come to.
	ghost.loseChanges(1)
	lose.Store(new(func(*frame.Frame) bool { return true }))
	from, to := burst(4)
	life := b.Life()
	epoch, err := k.Epoch(t.Context(), a.groupStream(1))
	if err != nil {
		t.Fatal(err)
	}
	req := &frame.ChangesRequest{Life: life[:], Stream: uint32(a.groupStream(1)), Epoch: epoch[:], Since: from - 1, To: to, Users: users}
	inside := 0
	for ans := (&frame.ChangesAnswer{More: true}); ans.More; req.Since, req.SinceIndex = ans.NextSequence, ans.NextIndex {
		bustest.Eventually(t, "the owner answers", func() bool {
			data, err := k.Ask(t.Context(), bus.OwnerSubject(k.Process(), "changes"), encode(t, req))
			return err == nil && len(data) > 0 && proto.Unmarshal(data, ans) == nil
		})
		if ans.NextIndex > 0 {
			inside++
		}
	}
	if inside == 0 {
		t.Errorf("no page from %d to %d ends inside a record", from, to)
	}
	w.settled(k, a, b)
	if n := ghost.lostChanges.Load(); n != 1 {
		t.Errorf("%d pages were lost", n)
	}
	lose.Store(nil)
	burst(1)
	w.settled(k, a, b)
	late := b.join(users[7_000])
	w.settled(k, a, b)
	w.check(k, w.all()...)
	if late.count() > 0 {
		t.Errorf("one who came after it all has %d messages", late.count())
	}
}

// Everything that is told goes to the users whom it concerns and to nobody else, live as
// well as by a refill.
func TestEveryKindReachesItsUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keep = true
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	var live, refilled []*member
	for u := range uint32(5) {
		live, refilled = append(live, a.joinFirst(u+1)), append(refilled, b.joinFirst(u+1))
	}
	w.settled(k, a, b)
	k.DropPushes(func(life event.ID, data []byte) bool { return life == b.Life() && pushOf(data).GetHeartbeat() == nil })
	beats := b.Stats()

	const group = 7
	two, all := event.Direct(1, 2), event.Group(group)
	want := map[uint32][]string{}
	do := func(conv event.ConversationKey, ev *event.Event, told ...string) {
		t.Helper()
		ev.At = time.Now().UnixMilli()
		r, err := a.AppendWait(t.Context(), conv.Stream(k.Partitions()), ev)
		if err != nil || r.Void != frame.Void_VOID_NONE {
			t.Fatalf("%T: %+v, %v", ev.Body, r, err)
		}
		// Each is a kind and the users who hear of it, by their digits.
		for _, s := range told {
			kind, users, _ := strings.Cut(s, " ")
			for _, u := range users {
				want[uint32(u-'0')] = append(want[uint32(u-'0')], fmt.Sprintf("%s of %s at %d", kind, conv, r.Sequence))
			}
		}
	}
	do(two, w.text(1, 2, event.ID{}, []byte("one")), "Message 12")
	do(two, w.text(1, 2, event.ID{}, []byte("two")), "Message 12")
	do(two, &event.Event{Body: &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{Conversation: two[:], User: 2, MsgId: 2}}}, "Receipt 12")
	do(two, &event.Event{Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: two[:], User: 2, MsgId: 2}}}, "Read 12")
	do(two, &event.Event{Body: &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{Conversation: two[:], MsgId: 1, User: 1, Body: []byte("ONE")}}}, "MessageChange 12")
	do(two, &event.Event{Body: &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{Conversation: two[:], MsgId: 2, User: 1}}}, "MessageChange 12")
	do(two, &event.Event{Body: &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{Conversation: two[:], User: 1}}}, "EntryRemoved 1")
	do(two, &event.Event{Body: &event.Event_FileOffered{FileOffered: &event.FileOffered{Conversation: two[:], From: 1, To: 2, Task: "t", Name: "f", Size: 1}}}, "FileOffer 2")
	do(two, &event.Event{Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{Conversation: two[:], User: 2, Blocked: true}}}, "BlockChange 2")

	do(all, &event.Event{Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: all[:], Type: event.GroupType_GROUP_TYPE_TEMPORARY, Name: "g", Creator: 1, Members: []uint32{2, 3}}}}, "GroupChange 123")
	do(all, w.toGroup(1, group, event.ID{}, []byte("one")), "Message 123")
	do(all, &event.Event{Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: all[:], User: 2, MsgId: 1}}}, "Read 123")
	do(all, membersChanged(group, []uint32{4}, nil), "GroupChange 1234")
	do(all, &event.Event{Body: &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{Conversation: all[:], User: 3, MsgId: 1}}}, "Receipt 1234")
	do(all, w.toGroup(2, group, event.ID{}, []byte("two")), "Message 1234")
	do(all, &event.Event{Body: &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{Conversation: all[:], MsgId: 2, User: 2, Body: []byte("TWO")}}}, "MessageChange 1234")
	do(all, membersChanged(group, []uint32{5}, []uint32{3}), "GroupChange 1245", "GroupChange 12345")
	do(all, &event.Event{Body: &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{Conversation: all[:], MsgId: 2, User: 2}}}, "MessageChange 1245")
	do(all, &event.Event{Body: &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{Conversation: all[:], User: 4}}}, "EntryRemoved 4")
	do(all, &event.Event{Body: &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{Conversation: all[:], User: 4, Shielded: true}}})
	do(all, &event.Event{Body: &event.Event_GroupChanged{GroupChanged: &event.GroupChanged{Conversation: all[:], User: 1, Name: new("h")}}}, "GroupChange 1245")
	do(all, &event.Event{Body: &event.Event_GroupChanged{GroupChanged: &event.GroupChanged{Conversation: all[:], User: 1, Dissolved: true}}}, "GroupChange 1245")

	w.settled(k, a, b)
	if k.DroppedPushes.Load() == 0 || b.Stats().Refills == beats.Refills {
		t.Errorf("%d frames were lost, node %+v", k.DroppedPushes.Load(), b.Stats())
	}
	for _, m := range append(live, refilled...) {
		var got []string
		for _, d := range m.bodies {
			name, conv := strings.TrimPrefix(fmt.Sprintf("%T", d.Body), "*frame.Delivery_"), all
			for _, first := range []func() []byte{
				d.GetMessage().GetConversation, d.GetReceipt().GetConversation, d.GetRead().GetConversation, d.GetMessageChange().GetConversation,
				d.GetEntryRemoved().GetConversation, d.GetFileOffer().GetConversation, d.GetBlockChange().GetConversation, d.GetGroupChange().GetConversation,
			} {
				if key, ok := event.ParseConversation(first()); ok {
					conv = key
				}
			}
			got = append(got, fmt.Sprintf("%s of %s at %d", name, conv, d.Sequence))
		}
		slices.Sort(got)
		expected := slices.Sorted(slices.Values(want[m.user]))
		if !slices.Equal(got, expected) {
			t.Errorf("user %d (refilled %v) heard\n%s\nwant\n%s", m.user, m.node == b, strings.Join(got, "\n"), strings.Join(expected, "\n"))
		}
	}
	// What was taken back while a node was away is not brought to it any more.
	for _, m := range refilled {
		for _, d := range m.bodies {
			if g := d.GetMessage(); g.GetRecalled() != (g.GetId() == 2) || g.GetRecalled() && len(g.GetBody()) > 0 {
				t.Errorf("user %d was told %v", m.user, g)
			}
		}
	}
}

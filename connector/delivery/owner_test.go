package delivery_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// The owner stops in the middle of the traffic and another process takes over.
func TestOwnerChangesUnderTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := externalServer(t)
	k1, k2, k3 := process(t, url, "one"), process(t, url, "two"), process(t, url, "three")
	first := w.owner(k1)
	a, b := w.node(k2), w.node(k3)
	w.owner(k2)
	users := userRange(1, 6)
	var members []*member
	for i, u := range users {
		members = append(members, []*node{a, b}[i%2].joinFirst(u))
	}
	w.settled(k2, a, b)
	counted, wait := w.traffic(3000, 20, users, a, b)
	bustest.Eventually(t, "traffic flows", func() bool { return counted.Load() > 300 })
	terms := a.Stats().Terms
	first.stop()
	wait()
	w.settled(k2, a, b)
	w.check(k2, members...)
	if n := a.Stats().Terms; n == terms {
		t.Error("the node heard of no new owner")
	}
	if all := append(a.rec.closed(), b.rec.closed()...); len(all) > 0 {
		t.Errorf("sessions were closed: %v", all)
	}
}

// Two owners fan out at once, one of them of an older term, one now and then of a
// newer one: a node listens to one.
func TestTwoOwnersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	users := userRange(1, 6)
	var members []*member
	for i, u := range users {
		members = append(members, []*node{a, b}[i%2].joinFirst(u))
	}
	w.settled(k, a, b)
	stale, newer := newGhostAt(t, k, 0, a, b), newGhost(t, k, a, b)
	stale.lead()
	counted, wait := w.traffic(6000, 10, users, a, b)
	for _, until := range []int64{800, 1600} {
		bustest.Eventually(t, "traffic flows", func() bool { return counted.Load() > until })
		attached := newer.attached.Load()
		newer.lead()
		bustest.Eventually(t, "the nodes go over to the newer term", func() bool { return newer.attached.Load() >= attached+4 })
		terms := a.Stats().Terms
		newer.silence()
		bustest.Eventually(t, "the nodes come back after the silence", func() bool { return a.Stats().Terms >= terms+4 })
	}
	wait()
	w.settled(k, a, b)
	w.check(k, members...)
	if stale.frames.Load() == 0 || newer.frames.Load() == 0 {
		t.Error("the other owners told nothing")
	}
	if stale.attached.Load() > 0 {
		t.Error("a node listened to the stale owner")
	}
}

// Frames of a term that the node does not listen to tell it nothing.
func TestFramesOfAnotherTermAreIgnored(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	m := a.joinFirst(2)
	w.settled(k, a)
	s := a.stream(1, 2)
	key := event.Direct(1, 2)
	seen := a.Seen(s)
	for _, revision := range []uint64{0, 1 << 50} {
		f := &frame.Frame{Stream: uint32(s), Term: &frame.Term{Revision: revision, Start: 1}, From: seen, To: seen + 1,
			Deliveries: []*frame.Delivery{{Sequence: seen + 1, Body: &frame.Delivery_Message{Message: &frame.Message{
				Conversation: key[:], Id: 1, From: 1, Body: []byte("forged")}}}}}
		if err := k.Push(a.Life(), encode(t, &frame.Push{Body: &frame.Push_Frame{Frame: f}})); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Push(a.Life(), []byte("\xff\xff no frame")); err != nil {
		t.Fatal(err)
	}
	a.sendWait(1, 2)
	w.settled(k, a)
	w.check(k, m)
}

func TestConnectionsCutUnderTraffic(t *testing.T) {
	w := newWorld(t)
	url := externalServer(t)
	k1, k2 := process(t, url, "one"), process(t, url, "two")
	w.owner(k1)
	a, b := w.node(k1), w.node(k2)
	users := userRange(1, 6)
	var members []*member
	for i, u := range users {
		members = append(members, []*node{a, b}[i%2].joinFirst(u))
	}
	w.settled(k1, a, b)
	counted, wait := w.traffic(4000, 20, users, a, b)
	for i := range int64(6) {
		bustest.Eventually(t, "traffic flows", func() bool { return counted.Load() > (i+1)*400 })
		[]*bustest.Kit{k1, k2}[i%2].CutConnections()
	}
	wait()
	w.settled(k1, a, b)
	w.check(k1, members...)
}

func lists(user uint32) *query.Request {
	return &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{User: user}}}
}

func head(key event.ConversationKey, user uint32) *query.Request {
	return &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: key[:], User: user}}}
}

// An answer comes only when everything up to its position has been handed over, also
// where the frames are lost.
func TestAnswersComeAfterPushes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	m := b.joinFirst(2)
	w.settled(k, a, b)
	k.DropPushes(func(life event.ID, data []byte) bool {
		return life == b.Life() && len(pushOf(data).GetFrame().GetDeliveries()) > 0
	})
	key := event.Direct(1, 2)
	for i := range uint32(8) {
		r := a.sendWait(1, 2)
		q := head(key, 2)
		if i%2 == 1 {
			q = lists(2)
		}
		q.AtLeast = []*query.AtLeast{{Stream: uint32(b.stream(1, 2)), Sequence: r.Sequence}}
		if q.GetLists() == nil {
			ans, err := b.AskTimeline(t.Context(), key, q)
			if err != nil {
				t.Fatal(err)
			}
			if h := ans.GetHead(); h.GetHead() != i+1 {
				t.Errorf("head %d, want %d", h.GetHead(), i+1)
			}
		} else {
			ans, err := b.AskLists(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if e := ans.GetLists().GetEntries(); len(e) != 1 || e[0].Head != i+1 {
				t.Errorf("lists %v, want one with head %d", e, i+1)
			}
		}
		if n := m.count(); n != int(i+1) {
			t.Errorf("at the answer %d messages had been pushed, want %d", n, i+1)
		}
	}
	if k.DroppedPushes.Load() < 8 {
		t.Errorf("%d frames were lost", k.DroppedPushes.Load())
	}
	w.check(k, m)
}

func TestAnswersOfSeveralOwners(t *testing.T) {
	w := newWorld(t)
	url := externalServer(t)
	k1, k2 := process(t, url, "one"), process(t, url, "two")
	all := k1.Streams()
	w.owner(k1, owns(all[0], all[1], all[2]))
	w.owner(k2, owns(all[3]))
	a := w.node(k1)
	peers := map[event.Stream]int{}
	for u := uint32(2); u < 10; u++ {
		a.sendWait(1, u)
		peers[a.stream(1, u)]++
	}
	if len(peers) != 2 {
		t.Fatalf("conversations in %v", peers)
	}
	ans, err := a.AskLists(t.Context(), lists(1))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ans.GetLists().GetEntries()); n != 8 || len(ans.At) != 2 {
		t.Errorf("%d entries of %d streams", n, len(ans.At))
	}
	q := lists(1)
	q.GetLists().Limit = 3
	ans, err = a.AskLists(t.Context(), q)
	if err != nil || len(ans.GetLists().GetEntries()) != 3 {
		t.Errorf("with a limit: %v, %v", ans, err)
	}
	if _, err := a.AskLists(t.Context(), head(event.Direct(1, 2), 1)); err == nil {
		t.Error("a head was taken for lists")
	}
	bad := head(event.Direct(1, 2), 1)
	bad.GetHead().Conversation = []byte("no such key")
	if _, err := a.AskTimeline(t.Context(), event.Direct(1, 2), bad); err == nil || errors.Is(err, delivery.ErrUnavailable) {
		t.Errorf("a bad question: %v", err)
	}
}

// Every question about all timelines is put to all owners, and their answers are one.
func TestEveryQuestionGoesToAllOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := externalServer(t)
	k1, k2 := process(t, url, "one"), process(t, url, "two")
	all := k1.Streams()
	w.owner(k1, owns(all[0], all[1], all[2]))
	w.owner(k2, owns(all[3]))
	a := w.node(k1)
	groups := a.groupsIn(6, userRange(1, 12))
	for _, g := range groups {
		a.say(2, g)
	}
	var blocked []uint32
	streams := map[event.Stream]bool{}
	for u := uint32(2); u < 8; u++ {
		a.sendWait(u, 1)
		key := event.Direct(1, u)
		s := key.Stream(2)
		streams[s] = true
		for _, ev := range []*event.Event{
			{At: int64(100 - u), Body: &event.Event_FileOffered{FileOffered: &event.FileOffered{Conversation: key[:], From: u, To: 1, Task: fmt.Sprint("task ", u), Name: "f", Size: 1}}},
			{At: 1, Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{Conversation: key[:], User: 1, Blocked: true}}},
		} {
			if r, err := a.AppendWait(t.Context(), s, ev); err != nil || r.Void != frame.Void_VOID_NONE {
				t.Fatalf("%T: %+v, %v", ev.Body, r, err)
			}
		}
		blocked = append(blocked, u)
	}
	if len(streams) != 2 {
		t.Fatalf("conversations in %v only", streams)
	}
	ask := func(q *query.Request) *query.Answer {
		t.Helper()
		ans, err := a.AskLists(t.Context(), q)
		if err != nil {
			t.Fatalf("%T: %v", q.Body, err)
		}
		if len(ans.At) != 2 {
			t.Errorf("%T: answered at %v", q.Body, ans.At)
		}
		return ans
	}
	var got []uint32
	for after := uint32(0); ; {
		l := ask(&query.Request{Body: &query.Request_GroupList{GroupList: &query.GroupList{User: 1, After: after, Limit: 4}}}).GetGroupList()
		for _, g := range l.Groups {
			got = append(got, g.Group)
		}
		if !l.More {
			break
		}
		after = got[len(got)-1]
	}
	if !slices.Equal(got, groups) {
		t.Errorf("groups %v, want %v", got, groups)
	}
	if got := ask(&query.Request{Body: &query.Request_Blocks{Blocks: &query.Blocks{User: 1}}}).GetUsers().GetUsers(); !slices.Equal(got, blocked) {
		t.Errorf("blocks %v, want %v", got, blocked)
	}
	var tasks []string
	for _, f := range ask(&query.Request{Body: &query.Request_Files{Files: &query.Files{User: 1}}}).GetFiles().GetFiles() {
		tasks = append(tasks, f.Task)
	}
	slices.Reverse(tasks) // the oldest first is the one offered last
	if want := []string{"task 2", "task 3", "task 4", "task 5", "task 6", "task 7"}; !slices.Equal(tasks, want) {
		t.Errorf("files %v", tasks)
	}
	// One message of each of the six groups and of each peer; user 2 wrote in all groups.
	if got := ask(&query.Request{Body: &query.Request_UnreadTotals{UnreadTotals: &query.UnreadTotals{Users: []uint32{1, 2, 99}}}}).GetUnreadTotals().GetTotals(); !slices.Equal(got, []uint32{12, 0, 0}) {
		t.Errorf("unread totals %v", got)
	}
	sync := ask(&query.Request{Body: &query.Request_Sync{Sync: &query.Sync{User: 1}}}).GetSync()
	if len(sync.GetEntries()) != 12 || sync.GetMore() || len(sync.GetNext()) != 2 {
		t.Errorf("sync of %d entries, more %v, next %v", len(sync.GetEntries()), sync.GetMore(), sync.GetNext())
	}
	nothing := ask(&query.Request{Body: &query.Request_Sync{Sync: &query.Sync{User: 1, Since: sync.GetNext()}}}).GetSync()
	if len(nothing.GetEntries()) != 0 {
		t.Errorf("a sync after it gives %v", nothing.GetEntries())
	}
}

// What the timelines of one process answer together may not fit into one message: then
// it comes in several, and whole all the same.
func TestAnswersThatDoNotFitIntoOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	const peers = 240
	body := bytes.Repeat([]byte("x"), 6<<10)
	var done sync.WaitGroup
	streams := map[event.Stream]int{}
	for u := range uint32(peers) {
		done.Add(1)
		s := a.stream(1, u+2)
		streams[s]++
		err := a.Append(s, w.text(u+2, 1, event.ID{}, body), func(r delivery.Result) {
			if r.Err != nil || r.ID != 1 {
				t.Errorf("message of %d: %+v", u+2, r)
			}
			done.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	done.Wait()
	ans, err := a.AskLists(t.Context(), lists(1))
	if err != nil {
		t.Fatal(err)
	}
	entries, size := ans.GetLists().GetEntries(), proto.Size(ans)
	if len(entries) != peers || len(ans.At) != 2 || len(ans.Rest) != 0 {
		t.Errorf("%d entries of %d streams, rest %v", len(entries), len(ans.At), ans.Rest)
	}
	if size < 1<<20 {
		t.Errorf("all of it is %d bytes and would have fitted into one message; conversations %v", size, streams)
	}
	if !slices.IsSortedFunc(entries, func(a, b *query.ListEntry) int { return cmp.Compare(b.Updated, a.Updated) }) {
		t.Error("the entries are not the newest first")
	}
	// A question about conversations of several streams has no one to answer it.
	x, y := event.Direct(1, 2), event.Direct(1, 3)
	for u := uint32(3); x.Stream(2) == y.Stream(2); u++ {
		y = event.Direct(1, u)
	}
	q := &query.Request{Body: &query.Request_Pushes{Pushes: &query.Pushes{Asked: []*query.PushAsked{{Conversation: x[:]}, {Conversation: y[:]}}}}}
	if _, err := a.AskStream(t.Context(), x.Stream(2), q); err == nil || errors.Is(err, delivery.ErrUnavailable) {
		t.Errorf("a question about two streams: %v", err)
	}
}

// While there is no owner questions fail after AskTimeout; appends wait and get their
// outcome from the next one.
func TestQuestionsWithoutOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	first := w.owner(k)
	a := w.node(k, func(c *delivery.Config) { c.AskTimeout = 300 * time.Millisecond })
	m := a.joinFirst(2)
	w.settled(k, a)
	first.stop()
	key := event.Direct(1, 2)
	for what, ask := range map[string]func() error{
		"timeline": func() error { _, err := a.AskTimeline(t.Context(), key, head(key, 1)); return err },
		"lists":    func() error { _, err := a.AskLists(t.Context(), lists(1)); return err },
		"people": func() error {
			_, err := a.Ask(t.Context(), &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: "x"}}})
			return err
		},
	} {
		began := time.Now()
		if err := ask(); !errors.Is(err, delivery.ErrUnavailable) {
			t.Errorf("%s without owner: %v", what, err)
		}
		if took := time.Since(began); took < 250*time.Millisecond {
			t.Errorf("%s gave up after %v", what, took)
		}
	}
	bustest.Eventually(t, "the node says so", func() bool { return a.Ready() != nil })
	got := make(chan delivery.Result, 1)
	a.send(1, 2, func(r delivery.Result) { got <- r })
	w.owner(k)
	if r := <-got; r.Err != nil || r.ID != 1 {
		t.Errorf("the outcome of the next owner: %+v", r)
	}
	w.settled(k, a)
	w.check(k, m)
	bustest.Eventually(t, "ready again", func() bool { return a.Ready() == nil })
}

// An owner that says it is none (any more) is asked again.
func TestNotOwnerIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	ghost := newGhost(t, k, a)
	var asked atomic.Int64
	ghost.refuse = func() bool { return asked.Add(1) <= 3 }
	ghost.lead()
	bustest.Eventually(t, "the node listens to the other term", func() bool { return ghost.attached.Load() >= 2 && a.Ready() == nil })
	key := event.Direct(1, 2)
	if _, err := a.AskTimeline(t.Context(), key, head(key, 1)); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n < 4 {
		t.Errorf("asked %d times", n)
	}
}

func owns(all ...event.Stream) func(*owner.Config) {
	return func(c *owner.Config) { c.Owns = all }
}

// A frame that reaches back behind what the node has seen tells only what is new.
func TestOverlappingFrameTellsOnce(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	m := a.joinFirst(2)
	w.settled(k, a)
	s, life := a.stream(1, 2), a.Life()
	merged := make(chan []byte, 1)
	var last *frame.Frame // of the hook, which one goroutine of the owner calls at a time
	k.DropPushes(func(to event.ID, data []byte) bool {
		f := pushOf(data).GetFrame()
		if to != life || f == nil || event.Stream(f.Stream) != s || len(f.Deliveries) == 0 {
			return false
		}
		if last == nil {
			last = f
			return false
		}
		f.From = last.From
		f.Deliveries = append(last.Deliveries, f.Deliveries...)
		select {
		case merged <- encode(t, &frame.Push{Body: &frame.Push_Frame{Frame: f}}):
			return true
		default:
			return false
		}
	})
	a.sendWait(1, 2)
	got := make(chan delivery.Result, 1)
	a.send(1, 2, func(r delivery.Result) { got <- r })
	data := <-merged
	k.DropPushes(nil)
	if err := k.Push(life, data); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.ID != 2 {
		t.Errorf("outcome %+v", r)
	}
	w.settled(k, a)
	w.check(k, m)
	if m.count() != 2 {
		t.Errorf("%d messages", m.count())
	}
}

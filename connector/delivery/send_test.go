package delivery_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
)

func TestSendTellsOutcomeThenDeliversOnce(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	phone, pc, peer, stranger := a.join(1), a.join(1), b.join(2), b.join(3)
	w.settled(k, a, b)

	var told []delivery.Result
	var mu sync.Mutex
	done := make(chan struct{})
	for i := range 3 {
		err := a.Append(a.stream(1, 2), w.text(1, 2, phone.session, []byte{byte(i)}), func(r delivery.Result) {
			mu.Lock()
			defer mu.Unlock()
			// The outcome comes before the copy on the same node.
			if n := pc.count(); n != len(told) && !(len(told) > 0 && told[len(told)-1].Sequence == r.Sequence) {
				t.Errorf("outcome %d was told after %d deliveries", len(told), n)
			}
			told = append(told, r)
			a.NotifyFlush(phone)
			if len(told) == 3 {
				close(done)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	<-done
	for i, r := range told {
		if r.Err != nil || r.Void != frame.Void_VOID_NONE || r.ID != uint32(i+1) || r.Sequence == 0 {
			t.Errorf("outcome %d is %+v", i, r)
		}
	}
	bustest.Eventually(t, "all have three", func() bool {
		return phone.count() == 3 && pc.count() == 3 && peer.count() == 3
	})
	w.settled(k, a, b)
	w.check(k, phone, pc, peer, stranger)
	if n := stranger.count(); n != 0 {
		t.Errorf("a stranger was told %d messages", n)
	}
}

func TestVoidsAreToldAndNotDelivered(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	peer := a.join(2)
	w.settled(k, a)

	first := w.text(1, 2, event.ID{}, []byte("x"))
	r, err := a.AppendWait(t.Context(), a.stream(1, 2), first)
	if err != nil || r.ID != 1 {
		t.Fatalf("first: %+v, %v", r, err)
	}
	r, err = a.AppendWait(t.Context(), a.stream(1, 2), proto.CloneOf(first))
	if err != nil || r.Void != frame.Void_VOID_REPEAT || r.FirstID != 1 || r.ID != 0 {
		t.Errorf("repeat: %+v, %v", r, err)
	}
	group := event.Group(5)
	toGroup := w.text(1, 2, event.ID{}, []byte("x"))
	toGroup.GetMessageSent().Conversation = group[:]
	r, err = a.AppendWait(t.Context(), group.Stream(k.Partitions()), toGroup)
	if err != nil || r.Void != frame.Void_VOID_NOT_PARTY {
		t.Errorf("group: %+v, %v", r, err)
	}
	if r := a.sendWait(1, 2); r.ID != 2 {
		t.Errorf("the next one has id %d, want 2", r.ID)
	}
	w.settled(k, a)
	if n := peer.count(); n != 2 {
		t.Errorf("%d deliveries, want 2", n)
	}
}

func TestAppendRefusesWhatDoesNotFit(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	large := w.text(1, 2, event.ID{}, bytes.Repeat([]byte("x"), event.MaxEventBytes))
	if err := a.Append(a.stream(1, 2), large, func(delivery.Result) { t.Error("told though not taken") }); err == nil {
		t.Error("an event of more than the limit was taken")
	}
	a.stop()
	if err := a.Append(a.stream(1, 2), w.text(1, 2, event.ID{}, nil), nil); !errors.Is(err, delivery.ErrStopped) {
		t.Errorf("append to a stopped node: %v", err)
	}
}

// Everything of thousands of messages arrives exactly once though a third of all
// frames is lost.
func TestDroppedFramesAreMadeUp(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	users := userRange(1, 12)
	var members []*member
	for i, u := range users {
		members = append(members, []*node{a, b}[i%2].join(u))
		if i%3 == 0 {
			members = append(members, b.join(u), a.join(u))
		}
	}
	w.settled(k, a, b)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 2))
	k.DropPushes(func(_ event.ID, data []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(100) < 30 && pushOf(data).GetFrame() != nil
	})
	_, wait := w.traffic(4000, 40, users, a, b)
	wait()
	k.DropPushes(nil)
	w.settled(k, a, b)
	w.check(k, members...)
	if n := k.DroppedPushes.Load(); n < 20 {
		t.Errorf("only %d frames were lost", n)
	}
	for _, n := range []*node{a, b} {
		if s := n.Stats(); s.Holes == 0 || s.Refills < s.Holes {
			t.Errorf("no hole was met: %+v", s)
		}
	}
	if n := len(w.counted(k)); n != 4000 {
		t.Errorf("the log holds %d messages", n)
	}
	if all := append(a.rec.closed(), b.rec.closed()...); len(all) > 0 {
		t.Errorf("sessions were closed: %v", all)
	}
}

// A lost frame that no other follows is found by the heartbeat.
func TestLastFrameBeforeSilenceIsMadeUp(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	peer := b.join(2)
	w.settled(k, a, b)
	before := b.Seen(b.stream(1, 2))
	var dropped sync.Once
	k.DropPushes(func(life event.ID, data []byte) (drop bool) {
		f := pushOf(data).GetFrame()
		if life == b.Life() && len(f.GetDeliveries()) > 0 {
			dropped.Do(func() { drop = true })
		}
		return drop
	})
	if r := a.sendWait(1, 2); r.ID != 1 {
		t.Fatalf("outcome %+v", r)
	}
	bustest.Eventually(t, "the message arrives", func() bool { return peer.count() == 1 })
	if k.DroppedPushes.Load() != 1 {
		t.Errorf("%d frames were lost, want 1", k.DroppedPushes.Load())
	}
	if b.Seen(b.stream(1, 2)) <= before {
		t.Error("seen did not move")
	}
	w.check(k, peer)
}

// Outcomes whose frames are lost come with the refill.
func TestLostOutcomesAreMadeUp(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	k.DropPushes(func(_ event.ID, data []byte) bool { return len(pushOf(data).GetFrame().GetOutcomes()) > 0 })
	for i := range uint32(3) {
		if r := a.sendWait(1, 2); r.ID != i+1 {
			t.Fatalf("outcome %+v, want id %d", r, i+1)
		}
	}
	if n := k.DroppedPushes.Load(); n < 3 {
		t.Errorf("%d frames were lost", n)
	}
}

func TestReadsAndRemovedEntriesReachTheOtherSessions(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	pc, phone, peer := a.join(1), b.join(1), b.join(2)
	w.settled(k, a, b)
	key := event.Direct(1, 2)
	b.sendWait(2, 1)
	at := func(ev *event.Event) delivery.Result {
		r, err := a.AppendWait(t.Context(), key.Stream(k.Partitions()), ev)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	read := &event.Event{At: 1, Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: key[:], User: 1, MsgId: 1, Session: pc.session[:]}}}
	if r := at(read); r.Void != frame.Void_VOID_NONE {
		t.Errorf("read: %+v", r)
	}
	if r := at(proto.CloneOf(read)); r.Void != frame.Void_VOID_NO_EFFECT {
		t.Errorf("read again: %+v", r)
	}
	at(&event.Event{At: 1, Body: &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{Conversation: key[:], User: 1, Session: pc.session[:]}}})
	w.settled(k, a, b)
	for _, m := range []*member{pc, phone} {
		if len(m.reads) != 1 || len(m.removed) != 1 || !slices.Equal(sortedPlaces(m.at), []place{m.got[0].place, m.reads[0], m.removed[0]}) {
			t.Errorf("session of the reader: reads %v, removed %v, all %v", m.reads, m.removed, m.at)
		}
	}
	// The peer gets the read as a receipt.
	if len(peer.reads) != 1 || peer.reads[0] != pc.reads[0] || len(peer.removed) != 0 {
		t.Errorf("session of the peer: reads %v, removed %v", peer.reads, peer.removed)
	}
	w.check(k, pc, phone, peer)
}

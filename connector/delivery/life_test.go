package delivery_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// events reads a stream from its beginning.
func (w *world) events(k *bustest.Kit, s event.Stream) (all []*event.Event) {
	w.t.Helper()
	last, err := k.LastSequence(context.Background(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	for r, err := range k.Replay(context.Background(), s, 1, last) {
		if err != nil {
			w.t.Fatal(err)
		}
		var rec event.Record
		if err := proto.Unmarshal(r.Data, &rec); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, rec.Events...)
	}
	return all
}

func lost(life event.ID) *event.Event {
	return &event.Event{At: 1, Body: &event.Event_NodeLost{NodeLost: &event.NodeLost{Life: life[:]}}}
}

func TestNodeSaysThatItStops(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	life := a.Life()
	m := a.joinFirst(1)
	a.sendWait(1, 2)
	var pending atomic.Int32
	for range 100 {
		pending.Add(1)
		a.send(1, 2, func(delivery.Result) { pending.Add(-1) })
	}
	a.stop()
	if n := pending.Load(); n != 0 {
		t.Errorf("%d appends were never told", n)
	}
	all := w.events(k, event.Presence)
	if got := event.ToID(all[len(all)-1].GetNodeStopped().GetLife()); got != life {
		t.Errorf("the last event of PRESENCE is %v", all[len(all)-1])
	}
	a.Leave(m)
	if err := a.Ready(); !errors.Is(err, delivery.ErrStopped) {
		t.Errorf("ready says %v", err)
	}
	bustest.Eventually(t, "the node's goroutines end", func() bool {
		buf := make([]byte, 1<<20)
		return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "delivery.(*Node).")
	})
}

// A life that the log has ended is begun anew; what was on its way is told so.
func TestLostLifeBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	m := a.joinFirst(1)
	w.settled(k, a, b)
	life := a.Life()
	// The outcome of this append is lost with the life.
	k.DropPushes(func(to event.ID, data []byte) bool {
		f := pushOf(data).GetFrame()
		return to == life && f != nil && event.Stream(f.Stream).IsConversation()
	})
	got := make(chan delivery.Result, 2)
	a.send(1, 2, func(r delivery.Result) { got <- r })
	if _, err := b.AppendWait(t.Context(), event.Presence, lost(life)); err != nil {
		t.Fatal(err)
	}
	var open delivery.Result
	for open.Void == frame.Void_VOID_NONE { // a session's SessionOpened tells the node what has become of it
		var err error
		open, err = a.AppendWait(t.Context(), event.Presence, opened(m, life, event.DeviceClass_DEVICE_CLASS_MOBILE))
		if err != nil {
			break
		}
	}
	bustest.Eventually(t, "a new life", func() bool { return a.Life() != life && a.Ready() == nil })
	k.DropPushes(nil)
	if r := <-got; r.Err == nil && r.ID != 1 || r.Err != nil && !errors.Is(r.Err, delivery.ErrLifeLost) {
		t.Errorf("an append of the old life: %+v", r)
	}
	if all := a.rec.closed(); len(all) != 1 || !errors.Is(all[0], delivery.ErrLifeLost) {
		t.Errorf("closed: %v", all)
	}
	if !m.isClosed() || a.Stats().Users != 0 {
		t.Errorf("the session is still there: %+v", a.Stats())
	}
	again := a.joinFirst(1)
	if r := a.sendWait(2, 1); r.ID != 2 {
		t.Errorf("the new life's message: %+v", r)
	}
	w.settled(k, a, b)
	w.check(k, again)
	if all := b.rec.closed(); len(all) > 0 {
		t.Errorf("the other node's sessions were closed: %v", all)
	}
}

// A node that does not hear itself rests its sockets, and goes on when its life still
// counts.
func TestSilenceSuspends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	b := w.node(k)
	var mute atomic.Bool
	var ahead atomic.Int64
	a := w.node(k, func(c *delivery.Config) {
		c.WithMute(mute.Load)
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	m := a.joinFirst(1)
	w.settled(k, a, b)
	life := a.Life()

	mute.Store(true)
	ahead.Add(int64(6 * time.Second))
	bustest.Eventually(t, "suspended", func() bool { s := a.rec.suspended(); return len(s) == 1 && s[0] })
	if a.Ready() == nil {
		t.Error("a suspended node is ready")
	}
	mute.Store(false)
	bustest.Eventually(t, "goes on", func() bool { s := a.rec.suspended(); return len(s) == 2 && !s[1] })
	if a.Life() != life || m.isClosed() {
		t.Error("the life was given up though it is live")
	}
	b.sendWait(2, 1)
	w.settled(k, a, b)
	w.check(k, m)

	// The same once more, and now the watch is faster.
	mute.Store(true)
	ahead.Add(int64(6 * time.Second))
	bustest.Eventually(t, "suspended again", func() bool { return len(a.rec.suspended()) == 3 })
	if _, err := b.AppendWait(t.Context(), event.Presence, lost(life)); err != nil {
		t.Fatal(err)
	}
	mute.Store(false)
	bustest.Eventually(t, "a new life", func() bool { return a.Life() != life && a.Ready() == nil })
	bustest.Eventually(t, "sockets work again", func() bool { s := a.rec.suspended(); return len(s) == 4 && !s[3] })
	if !m.isClosed() {
		t.Error("a session of the old life is still there")
	}
}

// A conversation stream loses its tail under a live node: sessions are closed, the
// views are made again, and everything goes on from what the log holds.
func TestRollbackOfAConversation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	m := a.joinFirst(1)
	for range 5 {
		a.sendWait(2, 1)
	}
	s := a.stream(1, 2)
	epoch, err := k.Epoch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	copied := k.Copy(s)
	for i := range uint32(5) {
		if r := a.sendWait(2, 1); r.ID != 6+i {
			t.Fatalf("before the rollback: %+v", r)
		}
	}
	bustest.Eventually(t, "all pushed", func() bool { return m.count() == 10 })
	life := a.Life()
	k.RollBack(s, copied)
	bustest.Eventually(t, "sessions closed", m.isClosed)
	if all := a.rec.closed(); !errors.Is(all[0], delivery.ErrPositionsLost) {
		t.Errorf("closed: %v", all)
	}
	bustest.Eventually(t, "node ready", func() bool { return a.Ready() == nil })
	if now, err := k.Epoch(t.Context(), s); err != nil || now == epoch {
		t.Errorf("epoch %s, was %s (%v)", now, epoch, err)
	}
	again := a.joinFirst(1)
	r := a.sendWait(2, 1)
	if r.ID != 6 {
		t.Errorf("after the rollback: %+v", r)
	}
	w.settled(k, a)
	w.check(k, again)
	ans, err := a.AskTimeline(t.Context(), event.Direct(1, 2), head(event.Direct(1, 2), 1))
	if err != nil || ans.GetHead().GetHead() != 6 {
		t.Errorf("head %v, %v", ans.GetHead(), err)
	}
	if a.Life() != life {
		t.Error("a new life though PRESENCE is whole")
	}
	if n := a.Stats().Epochs; n != 1 {
		t.Errorf("%d new epochs", n)
	}
}

// PRESENCE loses the node's life with its tail: the node begins a new one.
func TestRollbackOfPresence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	copied := k.Copy(event.Presence)
	w.owner(k)
	a := w.node(k)
	m := a.joinFirst(1)
	a.sendWait(2, 1)
	life := a.Life()
	k.RollBack(event.Presence, copied)
	bustest.Eventually(t, "a new life", func() bool { return a.Life() != life && a.Ready() == nil })
	if !m.isClosed() {
		t.Error("the old life's session is still there")
	}
	again := a.joinFirst(1)
	a.sendWait(2, 1)
	w.settled(k, a)
	w.check(k, again)
	ans, err := a.Ask(t.Context(), &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
	if err != nil || len(ans.GetLives().GetLives()) != 1 || event.ToID(ans.GetLives().GetLives()[0].Life) != a.Life() {
		t.Errorf("lives %v, %v", ans, err)
	}
}

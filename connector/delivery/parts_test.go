package delivery_test

import (
	"sync/atomic"
	"testing"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Of a record that takes several frames one in the middle may be lost: the frames around
// it move no position that would show it.
func TestLostPartOfALargeRecordIsMadeUp(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	const users = 8_000 // three frames; a resync tells of so many
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
	w.settled(k, a, b)
	var parts atomic.Int64
	life := a.Life()
	k.DropPushes(func(to event.ID, data []byte) bool {
		if to != life || !isPart(pushOf(data).GetFrame()) {
			return false
		}
		return parts.Add(1) == 2
	})
	add(lost(gone))
	bustest.Eventually(t, "all are told to be gone", func() bool {
		a.rec.mu.Lock()
		defer a.rec.mu.Unlock()
		off := 0
		for _, s := range a.rec.statuses {
			if !s.online {
				off++
			}
		}
		return off == users
	})
	if parts.Load() < 2 || k.DroppedPushes.Load() != 1 {
		t.Errorf("%d parts, %d lost", parts.Load(), k.DroppedPushes.Load())
	}
}

func isPart(f *frame.Frame) bool {
	k := len(f.GetDeliveries())
	return k > 0 && f.Deliveries[k-1].Sequence > f.To
}

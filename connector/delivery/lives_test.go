package delivery_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Beats say which nodes there are, and where clients may go.
func TestLivesAreHeard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	var serves atomic.Bool
	a := w.node(k, func(c *delivery.Config) {
		c.Name, c.Advertise = "a", "chat.example"
		c.Serving = func() delivery.Serving {
			return delivery.Serving{Serves: serves.Load(), Clients: 3, Capacity: 10, Port: 8000}
		}
	})
	b := w.node(k, func(c *delivery.Config) {
		c.Name = "b"
		c.Clock = func() time.Time { return time.Now().Add(time.Minute) }
	})
	b.joinFirst(1)
	seen := func(by *node, name string) (found delivery.Live) {
		for _, l := range by.Lives() {
			if l.Node == name {
				found = l
			}
		}
		return found
	}
	bustest.Eventually(t, "both hear each other", func() bool { return len(a.Lives()) == 2 && len(b.Lives()) == 2 })
	if l := seen(b, "a"); l.Life != a.Life() || l.Process != k.Process() || l.Advertise != "chat.example:8000" || l.Serves || l.Clients != 3 || l.Capacity != 10 {
		t.Errorf("a is %+v", l)
	}
	serves.Store(true)
	a.Announce()
	bustest.Eventually(t, "a serves", func() bool { return seen(b, "a").Serves })
	bustest.Eventually(t, "b has one session, and no sockets", func() bool {
		l := seen(a, "b")
		return l.Clients == 1 && l.Capacity == 0 && !l.Serves
	})
	if l := seen(a, "b"); l.Ahead < 30*time.Second || l.Ahead > 90*time.Second {
		t.Errorf("its clock is %v ahead", l.Ahead)
	}
	if l := seen(b, "a"); l.Ahead > -30*time.Second || l.Ahead < -90*time.Second {
		t.Errorf("a's clock is %v ahead of b's", l.Ahead)
	}
	a.stop()
	bustest.Eventually(t, "a stops", func() bool { l := seen(b, "a"); return l.Node == "" || l.Stopping && !l.Serves })
	bustest.Eventually(t, "and is forgotten", func() bool { return len(b.Lives()) == 1 })
}

// A node whose clock is far from everybody's says so, and writes nothing until it is right.
func TestWrongClockWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	var behind atomic.Int64 // of the others, in minutes
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			at := time.Now().Add(-time.Duration(behind.Load()) * time.Minute).UnixMilli()
			for _, p := range []string{"one", "two", "three"} {
				b, _ := proto.Marshal(&frame.ProjectorBeat{Process: p, At: at})
				_ = k.SendProjectorBeat(b)
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	a.sendWait(1, 2)
	behind.Store(2)
	bustest.Eventually(t, "the difference is seen", func() bool { return a.Skew() > time.Minute })
	if err := errors.Join(a.Ready(), a.Writable()); err != nil {
		t.Errorf("two minutes apart: %v", err)
	}
	behind.Store(10)
	bustest.Eventually(t, "it is not ready", func() bool { return errors.Is(a.Ready(), delivery.ErrClock) })
	if err := a.Writable(); !errors.Is(err, delivery.ErrClock) {
		t.Errorf("writable: %v", err)
	}
	ev := &event.Event{At: 1, Body: &event.Event_NodeLost{NodeLost: &event.NodeLost{Life: make([]byte, 16)}}}
	if err := a.Append(event.Presence, ev, func(delivery.Result) {}); !errors.Is(err, delivery.ErrClock) {
		t.Errorf("append: %v", err)
	}
	behind.Store(0)
	bustest.Eventually(t, "it is right again", func() bool { return a.Ready() == nil })
	a.sendWait(1, 2)
}

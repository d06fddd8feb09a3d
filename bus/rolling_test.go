package bus_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
)

// stream of events, appended one by one until it is told to stop, and followed.
type traffic struct {
	t    *testing.T
	k    *bustest.Kit
	w    *bus.Writer
	sent atomic.Int64
	last *fate
	r    *reader
	stop context.CancelFunc
	done chan struct{}
}

func startTraffic(t *testing.T, k *bustest.Kit) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	f := &traffic{t: t, k: k, w: k.NewWriter(life()), r: &reader{}, stop: stop, done: make(chan struct{})}
	follow(t, k.Bus, f.r)
	go func() {
		defer close(f.done)
		for ctx.Err() == nil {
			last := newFate()
			if err := f.w.Append(conv, message(fmt.Sprint(f.sent.Load())), last); err != nil {
				t.Error(err)
				return
			}
			f.last = last
			f.sent.Add(1)
			select {
			case <-last.done:
			case <-time.After(5 * time.Millisecond): // while nothing is stored, some wait
			}
		}
	}()
	return f
}

// whole stops it, and sees that all of it was stored and followed, once and in order.
func (f *traffic) whole() {
	f.t.Helper()
	f.stop()
	<-f.done
	if _, err := f.last.wait(f.t); err != nil {
		f.t.Fatal(err)
	}
	events := int(f.sent.Load())
	bustest.Eventually(f.t, "all followed", func() bool { return f.r.seen() >= events })
	if fmt.Sprint(counted(records(f.t, f.k.Bus, conv))) != fmt.Sprint(numbers(0, events)) {
		f.t.Error("lost, repeated or out of order in the log")
	}
	if fmt.Sprint(f.r.texts) != fmt.Sprint(numbers(0, events)) || f.r.jump != nil {
		f.t.Errorf("the follower saw something else: %v", f.r.jump)
	}
	f.t.Logf("%d events, %+v", events, f.k.Stats())
}

func (f *traffic) more(n int64) {
	f.t.Helper()
	was := int64(f.k.Stats().Events)
	bustest.Eventually(f.t, "more events stored", func() bool { return int64(f.k.Stats().Events) >= was+n })
}

// Every server is sent home in turn, as an upgrade does it, while events are written.
func TestARollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	c := bustest.NewCluster(t)
	k := bustest.New(t, bustest.At(c.URLs()), bustest.Partitions(1))
	f := startTraffic(t, k)
	for i := range 3 {
		f.more(20)
		c.Retire(i)
		f.more(20)
		c.Start(i)
		c.Await()
		c.AwaitCurrent()
	}
	f.more(20)
	f.whole()
	if k.Stats().Reconnects == 0 {
		t.Error("no connection was moved")
	}
}

// All servers go at once and come back: what was acknowledged is there, what waited follows.
func TestAllServersGoAndComeBack(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	c := bustest.NewCluster(t)
	k := bustest.New(t, bustest.At(c.URLs()), bustest.Partitions(1))
	lease, err := k.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	f := startTraffic(t, k)
	f.more(20)
	for i := range 3 {
		c.Stop(i)
	}
	unwritable(t, k)
	for i := range 3 {
		c.Start(i)
	}
	c.Await()
	f.more(20)
	f.whole()
	bustest.Eventually(t, "writable", func() bool { return k.Writable() == nil })
	select {
	case <-lease.Lost():
		t.Error("a lease was lost to nobody")
	default:
	}
}

package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"

	"github.com/nats-io/nats.go/jetstream"
)

// In a cluster streams have three replicas; the server that leads one is stopped
// while it is written to and followed.
func TestAClusterLosesItsLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	urls, stopLeader := bustest.Cluster(t)
	k := bustest.New(t, bustest.At(urls), bustest.WithConfig(func(c *bus.Config) { c.Partitions = 1 }))
	st, err := jetStream(t, urls).Stream(t.Context(), conv.String())
	if err != nil {
		t.Fatal(err)
	}
	if cfg := st.CachedInfo().Config; cfg.Replicas != 3 || cfg.Storage != jetstream.FileStorage {
		t.Fatalf("replicas %d, storage %v", cfg.Replicas, cfg.Storage)
	}
	if c := st.CachedInfo().Cluster; c == nil || c.Name == "" {
		t.Fatalf("%+v: what a new leader lacks would be taken for lost at once", c)
	}
	w := k.NewWriter(life())
	r := &reader{}
	follow(t, k.Bus, r)
	const events = 900
	var last *fate
	for i := range events {
		last = newFate()
		if err := w.Append(conv, message(fmt.Sprint(i)), last); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			select { // it may take an election, so nobody waits for it here
			case <-last.done:
			case <-time.After(10 * time.Millisecond):
			}
		}
		if i == events/2 {
			stopLeader(conv.String())
		}
	}
	bustest.Eventually(t, "the last event stored", func() bool {
		select {
		case <-last.done:
			return true
		default:
			return false
		}
	})
	if fmt.Sprint(counted(records(t, k.Bus, conv))) != fmt.Sprint(numbers(0, events)) {
		t.Error("lost, repeated or out of order in the log")
	}
	bustest.Eventually(t, "all followed", func() bool { return r.seen() >= events })
	if fmt.Sprint(r.texts) != fmt.Sprint(numbers(0, events)) || r.jump != nil {
		t.Errorf("the follower saw something else: %v", r.jump)
	}
	// Both of its codes for a lost compare and set are conflicts.
	if _, err := register(t, w, "ada", "first", 0).wait(t); err != nil {
		t.Fatal(err)
	}
	w2 := k.NewWriter(life())
	if _, err := register(t, w2, "ada", "second", 0).wait(t); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("%v, want a conflict", err)
	}
	a, b := register(t, w, "eve", "one", 0), register(t, w2, "eve", "two", 0)
	_, errA := a.wait(t)
	_, errB := b.wait(t)
	if (errA == nil) == (errB == nil) || !errors.Is(errors.Join(errA, errB), bus.ErrConflict) {
		t.Errorf("of two at once: %v and %v", errA, errB)
	}
	if _, err := k.Epoch(t.Context(), event.People); err != nil {
		t.Error(err)
	}
}

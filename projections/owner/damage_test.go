package owner_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"

	"godwit/bus/bustest"
	"godwit/projections/owner"
	"godwit/projections/view"
	"godwit/schema/event"
)

// A view's file that is damaged under a running process is dropped and replayed,
// also when nothing more is written to its stream.
func TestDamagedFileIsReplayedWhileRunning(t *testing.T) {
	b := bustest.Start(t, bustest.Partitions(1))
	dir := t.TempDir()
	p, err := owner.Open(t.Context(), owner.Config{Bus: b, Dir: dir, Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	defer func() {
		cancel()
		wg.Wait()
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()

	s := event.ConversationStream(0)
	w := b.NewWriter(ulid.Make())
	key := event.Direct(1, 2)
	for i := range 2000 {
		ev := &event.Event{At: int64(i + 1), Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
			Conversation: key[:], From: 1, Type: 1, Body: make([]byte, 100)}}}
		if err := w.Append(s, ev, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	last, err := b.LastSequence(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	v := p.View(s)
	if err := v.WaitCommitted(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	before, _, err := v.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(v.Path(), 8192); err != nil {
		t.Fatal(err)
	}
	// The next reader meets the damage; its question fails, the view comes back.
	damaged := v.Read(func(r *view.Reader) error {
		for range r.Scan("message", nil) {
		}
		return nil
	})
	if damaged == nil {
		t.Fatal("the damage was not met")
	}
	var after view.Digest
	bustest.Eventually(t, "the view is whole again", func() bool {
		d, at, err := v.Digest()
		after = d
		return err == nil && at == last
	})
	if after != before {
		t.Errorf("digest %s after the replay, %s before", after, before)
	}
	bustest.Eventually(t, "fan-out goes on", func() bool { return p.Ready() == nil })
}

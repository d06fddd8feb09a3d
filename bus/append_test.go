package bus_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
)

// fate collects what a ticket hears.
type fate struct {
	mu     sync.Mutex
	n      uint64
	index  int
	placed int
	stored uint64
	err    error
	done   chan struct{}
}

func newFate() *fate { return &fate{done: make(chan struct{})} }

func (f *fate) Placed(n uint64, index int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.index = n, index
	f.placed++
}

func (f *fate) Stored(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = seq
	close(f.done)
}

func (f *fate) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	close(f.done)
}

// wait blocks until the event's fate is known.
func (f *fate) wait(t testing.TB) (seq uint64, err error) {
	t.Helper()
	select {
	case <-f.done:
	case <-time.After(20 * time.Second):
		t.Fatal("an event's fate stayed unknown")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored, f.err
}

func message(text string) *event.Event {
	key := event.Direct(1, 2)
	return &event.Event{At: 1, Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
		Conversation: key[:], From: 1, Type: 1, Body: []byte(text),
	}}}
}

func text(ev *event.Event) string { return string(ev.GetMessageSent().GetBody()) }

func life() event.ID { return ulid.Make() }

// records reads the whole stream but its first record.
func records(t testing.TB, b *bus.Bus, s event.Stream) []*event.Record {
	t.Helper()
	var all []*event.Record
	for r, err := range b.Replay(t.Context(), s, 2, 0) {
		if err != nil {
			t.Fatalf("replay: %v", err)
		}
		rec := new(event.Record)
		if err := proto.Unmarshal(r.Data, rec); err != nil {
			t.Fatalf("record %d: %v", r.Sequence, err)
		}
		all = append(all, rec)
	}
	return all
}

// counted is what a fold that skips repeated records sees.
func counted(recs []*event.Record) (texts []string) {
	last := map[event.ID]uint64{}
	for _, r := range recs {
		w := event.ToID(r.GetWriter())
		if r.GetN() <= last[w] {
			continue
		}
		last[w] = r.GetN()
		for _, ev := range r.GetEvents() {
			texts = append(texts, text(ev))
		}
	}
	return texts
}

const conv = event.Conversation0

func TestAppendsAreStoredInOrderWithOneRecordInFlight(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	const events = 5000
	fates := make([]*fate, events)
	for i := range fates {
		fates[i] = newFate()
		if err := w.Append(conv, message(fmt.Sprint(i)), fates[i]); err != nil {
			t.Fatal(err)
		}
	}
	recs := func() []*event.Record {
		for _, f := range fates {
			if _, err := f.wait(t); err != nil {
				t.Fatal(err)
			}
		}
		return records(t, k.Bus, conv)
	}()
	i := 0
	for j, r := range recs {
		if r.GetN() != uint64(j+1) {
			t.Fatalf("record %d has n %d", j, r.GetN())
		}
		if len(r.GetEvents()) > event.MaxRecordEvents {
			t.Fatalf("record of %d events", len(r.GetEvents()))
		}
		for x, ev := range r.GetEvents() {
			f := fates[i]
			if text(ev) != fmt.Sprint(i) || f.n != r.GetN() || f.index != x || f.stored != uint64(j+2) || f.placed != 1 {
				t.Fatalf("event %d: %q n %d index %d stored %d placed %d times", i, text(ev), f.n, f.index, f.stored, f.placed)
			}
			i++
		}
	}
	if i != events {
		t.Fatalf("%d events in the log, want %d", i, events)
	}
	if len(recs) > events/50 {
		t.Errorf("%d records for %d events: appends were not grouped", len(recs), events)
	}
}

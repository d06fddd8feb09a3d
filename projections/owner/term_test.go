package owner

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
)

// No term begins on a view that holds another record than the log, however early the
// lease comes: what it told would be of a history that is not there.
func TestNoTermBeginsOnAnotherHistory(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	s := write(t, k, k.NewWriter(event.ID{1}), 3)
	st := p.stream(s)
	var log []bus.Recorded
	for rec, err := range k.Replay(t.Context(), s, 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, rec)
	}
	other, err := proto.Marshal(&event.Record{Writer: make([]byte, 16), N: 1, Rule: event.Rule, Events: []*event.Event{text(1, 2, "another")}})
	if err != nil {
		t.Fatal(err)
	}
	lease, err := k.AcquireLease(t.Context(), st.fold.Name())
	if err != nil {
		t.Fatal(err)
	}
	tryWith := func(last bus.Recorded, limit time.Duration) (began bool) {
		if err := st.view.Reset(st.view.Epoch()); err != nil {
			t.Fatal(err)
		}
		if _, err := st.view.Apply(append(log[:len(log)-1:len(log)-1], last)); err != nil {
			t.Fatal(err)
		}
		st.folded = last.Sequence
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for st.fanOut(ctx, lease) {
			}
		}()
		for ; !began && ctx.Err() == nil; time.Sleep(time.Millisecond) {
			st.mu.Lock()
			began = st.term != nil
			st.mu.Unlock()
		}
		cancel()
		<-done
		return began
	}
	if tryWith(bus.Recorded{Sequence: 4, Data: other}, 300*time.Millisecond) {
		t.Error("a term began")
	}
	st.term = nil
	if !tryWith(log[3], 30*time.Second) {
		t.Error("no term began on the log's own history")
	}
}

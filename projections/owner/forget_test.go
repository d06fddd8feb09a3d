package owner

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// A node that stops, or that attached and was never heard, leaves nothing behind.
func TestNodesThatAreGoneAreForgotten(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k, func(c *Config) { c.ForgetAfter = 3 * time.Second })
	run(t, p)
	settled(t, p)
	s := event.Direct(1, 2).Stream(k.Partitions())
	st := p.stream(s)
	stops, silent := event.ID{1}, event.ID{2}
	beat := func(stopping bool) {
		data, err := proto.Marshal(&frame.Beat{Life: stops[:], Stopping: stopping})
		if err != nil {
			t.Fatal(err)
		}
		p.heard(data)
	}
	beat(false)
	for _, life := range []event.ID{stops, silent} {
		req, err := proto.Marshal(&frame.AttachRequest{Life: life[:], Counter: 1, Streams: []*frame.AttachStream{{Stream: uint32(s), Refill: true, Users: []uint32{1}}}})
		if err != nil {
			t.Fatal(err)
		}
		p.attach(t.Context(), req)
	}
	beat(true)
	left := func() int {
		st.mu.Lock()
		defer st.mu.Unlock()
		return len(st.nodes)
	}
	if left() != 2 {
		t.Fatalf("%d nodes attached", left())
	}
	bustest.Eventually(t, "both are forgotten", func() bool { return left() == 0 })
}

// An answer is never older than what was asked for, also where the view is dropped while
// the question waits.
func TestAnswersAreNotOfADroppedView(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	s := write(t, k, k.NewWriter(event.ID{1}), 5)
	st := p.stream(s)
	var log []bus.Recorded
	for rec, err := range k.Replay(t.Context(), s, 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, rec)
	}
	epoch := st.view.Epoch()
	key := event.Direct(1, 2)
	req := &query.Request{AtLeast: []*query.AtLeast{{Stream: uint32(s), Sequence: 6, Epoch: epoch[:]}},
		Body: &query.Request_Head{Head: &query.Head{Conversation: key[:], User: 1}}}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := 0
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if a := st.answer(ctx, req); a.Code == query.Code_CODE_OK && a.GetHead().GetHead() != 5 {
					t.Errorf("answered %v", a)
				}
			}
		})
	}
	for range 150 {
		if _, err := st.view.Apply(log); err != nil {
			t.Fatal(err)
		}
		if a := st.answer(ctx, req); a.Code == query.Code_CODE_OK {
			answers++
		}
		if err := st.view.Reset(epoch); err != nil {
			t.Fatal(err)
		}
	}
	if answers == 0 {
		t.Error("nothing was answered")
	}
}

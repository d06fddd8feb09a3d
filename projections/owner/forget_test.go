package owner

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// A node that stops, or that attached and was never heard, leaves nothing behind.
func TestNodesThatAreGoneAreForgotten(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k, func(c *Config) { c.ForgetAfter = time.Second })
	run(t, p)
	settled(t, p)
	s := event.Direct(1, 2).Stream(k.Partitions())
	st := p.streams[s]
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

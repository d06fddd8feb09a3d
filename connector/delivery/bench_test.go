package delivery

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/schema/event"
	"godwit/schema/frame"
)

type quiet struct{}

func (quiet) SessionOver(*frame.SessionOver)             {}
func (quiet) UserStatus(uint32, bool, uint64)            {}
func (quiet) DesktopStatus(uint32, bool, uint64)         {}
func (quiet) PersonChanged(*frame.PersonChanged, uint64) {}
func (quiet) DropCaches()                                {}
func (quiet) CloseAll(error)                             {}
func (quiet) Suspend(bool)                               {}

type sink struct {
	user  uint32
	id    event.ID
	bytes int
}

func (s *sink) User() uint32        { return s.user }
func (s *sink) Session() event.ID   { return s.id }
func (s *sink) Mobile() bool        { return false }
func (s *sink) Deliver(d *Delivery) { s.bytes += len(d.GetMessage().GetBody()) }
func (s *sink) Flush()              {}
func (s *sink) Attached()           {}

// A node works off frames of many messages between users of its own.
func BenchmarkNodeFrames(b *testing.B) {
	const users, perFrame = 1000, 100
	k := bustest.New(b)
	n, err := New(Config{Bus: k.Bus, Handler: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	n.life = event.ID{1}
	for _, s := range k.Streams() {
		n.streams = append(n.streams, &stream{n: n, s: s, state: following, term: &frame.Term{Revision: 1},
			pending: map[uint32]pend{}, from: map[uint32]uint64{}, queue: map[uint32]struct{}{}, records: map[uint64][]*ticket{}})
	}
	for u := range uint32(users) {
		n.Join(&sink{user: u + 1, id: event.ID{2}})
	}
	for _, st := range n.streams {
		for u := range n.users {
			if _, ok := st.pending[u]; ok {
				st.through(u, 0)
			}
		}
	}
	f := &frame.Frame{Stream: 2, Term: &frame.Term{Revision: 1}, From: 0, To: 1}
	body := make([]byte, 100)
	st := n.streams[2]
	for i := range uint32(perFrame) {
		key := event.Direct(i%users+1, (i*7+3)%users+1)
		session := event.ID{15: byte(i)}
		f.Deliveries = append(f.Deliveries, &frame.Delivery{Sequence: 1, Index: i, Body: &frame.Delivery_Message{Message: &frame.Message{
			Conversation: key[:], Id: i + 1, From: i%users + 1, Created: 1700000000, Type: 1, Body: body, Session: session[:]}}})
		f.Outcomes = append(f.Outcomes, &frame.Outcome{N: 1, Index: i, Id: i + 1, Sequence: 1})
	}
	data, err := proto.Marshal(&frame.Push{Body: &frame.Push_Frame{Frame: f}})
	if err != nil {
		b.Fatal(err)
	}
	told := func(Result) {}
	b.ReportAllocs()
	for b.Loop() {
		st.seen = 0
		for i := range perFrame {
			(&ticket{st: st, done: told}).Placed(1, i)
		}
		n.onPush(n.life, data)
	}
	if n.stats.Deliveries < uint64(b.N)*perFrame*2 {
		b.Fatalf("%d deliveries in %d frames", n.stats.Deliveries, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perFrame, "ns/message")
	b.ReportMetric(float64(n.stats.Deliveries)/b.Elapsed().Seconds(), "deliveries/s")
}

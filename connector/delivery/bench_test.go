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
func (quiet) Relay(*frame.Relay)                         {}
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

// benchUsers gives a node users who are attached.
func benchUsers(n *Node, k *bustest.Kit, users uint32) {
	n.life = event.ID{1}
	for _, s := range k.Streams() {
		n.streams = append(n.streams, &stream{n: n, s: s, state: following, term: &frame.Term{Revision: 1},
			pending: map[uint32]pend{}, from: map[uint32]uint64{}, queue: map[uint32]struct{}{}, records: map[uint64][]*ticket{}})
	}
	for u := range users {
		n.Join(&sink{user: u + 1, id: event.ID{2}})
	}
	for _, st := range n.streams {
		for u := range n.users {
			if _, ok := st.pending[u]; ok {
				st.through(u, 0)
			}
		}
	}
}

// A node works off frames of messages to a group with 500 members of its own.
func BenchmarkNodeGroup(b *testing.B) {
	const users, perFrame = 500, 20
	k := bustest.New(b)
	n, err := New(Config{Bus: k.Bus, Handler: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	benchUsers(n, k, users)
	key, body := event.Group(1), make([]byte, 200)
	frameOf := func(full bool) []byte {
		f := &frame.Frame{Stream: 2, Term: &frame.Term{Revision: 1}, From: 0, To: 1}
		for i := range uint32(perFrame) {
			session := event.ID{15: byte(i)}
			d := &frame.Delivery{Sequence: 1, Index: i, Audience: &frame.Audience{Group: 1, Number: 7}, Body: &frame.Delivery_Message{Message: &frame.Message{
				Conversation: key[:], Id: i + 1, From: i + 1, Created: 1700000000, Type: 17, Body: body, Session: session[:]}}}
			if full && i == 0 {
				d.Audience.Full = true
				for u := range uint32(users) {
					d.Audience.Added = append(d.Audience.Added, u+1)
				}
			}
			f.Deliveries = append(f.Deliveries, d)
		}
		data, err := proto.Marshal(&frame.Push{Body: &frame.Push_Frame{Frame: f}})
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	n.onPush(n.life, frameOf(true))
	data := frameOf(false)
	before := n.stats.Deliveries
	b.ReportAllocs()
	for b.Loop() {
		n.streams[2].seen = 0
		n.onPush(n.life, data)
	}
	if n.stats.Deliveries-before != uint64(b.N)*perFrame*users {
		b.Fatalf("%d deliveries in %d frames", n.stats.Deliveries-before, b.N)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perFrame/users, "ns/delivery")
	b.ReportMetric(float64(n.stats.Deliveries-before)/b.Elapsed().Seconds(), "deliveries/s")
}

// A node works off frames of many messages between users of its own.
func BenchmarkNodeFrames(b *testing.B) {
	const users, perFrame = 1000, 100
	k := bustest.New(b)
	n, err := New(Config{Bus: k.Bus, Handler: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	benchUsers(n, k, users)
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

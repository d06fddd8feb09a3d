package connector

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/connector/reactor"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu/pdutest"
	"godwit/schema/query"
)

func TestStructsOfASessionAreSmall(t *testing.T) {
	s, c := unsafe.Sizeof(session{}), unsafe.Sizeof(reactor.Conn{})
	t.Logf("session %d bytes, connection %d bytes", s, c)
	if s+c > 512 {
		t.Errorf("a session takes %d bytes and its connection %d", s, c)
	}
}

// heap is how many bytes are in use once all garbage is gone.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// resting tells whether every session is open and holds no buffer.
func (srv *Server) resting() bool {
	idle := true
	srv.all(func(s *session) {
		s.mu.Lock()
		idle = idle && s.state == open && s.out == nil && s.sending == nil && s.gate == nil && s.questions == nil
		s.mu.Unlock()
	})
	return idle
}

func TestIdleSessionsKeepNoMemoryBeyondTheirStructs(t *testing.T) {
	const n = 1000
	r := start(t, func(c *Config) { c.StatusLimit = 1 })
	for i := range uint32(n) {
		r.node.set(func() { r.node.people[1000+i] = clonePerson(r.node.people[1], 1000+i) })
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range n {
		c, err := net.Dial("tcp", r.srv.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		c.SetDeadline(time.Now().Add(time.Minute))
		login := pack(t, client.CmdLoginReq, 1, loginReq(fmt.Sprint("p", 1000+i), "pw", android))
		if _, err := c.Write(append(login, pdutest.Heartbeat...)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		for got := 0; got < 100; {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
	}
	r.eventually("all buffers are back", r.srv.resting)
	if each := r.heldByEach(before, n); each > 1600 {
		t.Errorf("an idle session takes %d bytes", each)
	}
	if more := runtime.NumGoroutine() - goroutines; more > 50 {
		t.Errorf("%d goroutines for %d sessions", more, n)
	}
	runtime.KeepAlive(conns)
}

// heldByEach is how many bytes of heap each of n sessions takes beyond before. What the fake node and the test keep of them is
// not the connector's.
func (r *running) heldByEach(before uint64, n int64) int64 {
	r.t.Helper()
	r.node.set(func() { r.node.events, r.node.repeats = nil, nil })
	r.srv.accounts.dropAll()
	r.srv.remembered.ForgetAll()
	each := (int64(heap()) - int64(before)) / n
	r.t.Logf("%d bytes of heap per idle session, with what the test keeps of its own sockets", each)
	return each
}

// nullNode takes appends and gives outcomes at once.
type nullNode struct {
	*fakeNode
	done func(delivery.Result)
}

func (n *nullNode) Append(_ event.Stream, _ *event.Event, done func(delivery.Result)) error {
	n.done = done
	return nil
}

func (n *nullNode) NotifyFlush(m delivery.Member) { m.Flush() }

// BenchmarkMessage is a message's way through one node: PDU in, event, outcome, ack
// out, and a delivery to another session.
func BenchmarkMessage(b *testing.B) {
	srv, err := New(testConfig(b, cheapHasher(b)))
	if err != nil {
		b.Fatal(err)
	}
	n := &nullNode{fakeNode: newFakeNode(b)}
	srv.node = n
	srv.rate = newRate(1e9, 1e9)
	srv.permits.known[2] = map[uint32]permit{0: {expires: 1 << 30, exists: true}}
	session := func(user uint32) (*session, *wire) {
		w := &wire{}
		w.s = srv.admit(w, netip.Addr{})
		w.s.user, w.s.id, w.s.state, w.s.class = user, srv.newID(), open, uint8(imbase.ClientType_CLIENT_TYPE_WINDOWS)
		return w.s, w
	}
	from, _ := session(1)
	to, _ := session(2)
	body := make([]byte, 200)
	in := pack(b, client.CmdMsgData, 0, msg(2, text, string(body)))
	k := event.Direct(1, 2)
	d := &delivery.Delivery{Stream: 2, Delivery: &frame.Delivery{Body: &frame.Delivery_Message{Message: &frame.Message{
		Conversation: k[:], Id: 1, From: 1, Created: 1, Type: 1, Body: body}}}}
	id := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		in[12]++ // another sequence number
		from.Input(in)
		id++
		n.done(delivery.Result{ID: id})
		from.Sent(from.Turn(true).Write)
		to.Deliver(d)
		to.Flush()
		to.Sent(to.Turn(true).Write)
	}
}

func clonePerson(p *query.Account, user uint32) *query.Account {
	p = proto.CloneOf(p)
	p.User, p.Name = user, fmt.Sprint("p", user)
	return p
}

// BenchmarkGroupMessage is the delivery of a group's message to each of 500 sessions.
func BenchmarkGroupMessage(b *testing.B) {
	srv, err := New(testConfig(b, cheapHasher(b)))
	if err != nil {
		b.Fatal(err)
	}
	srv.node = newFakeNode(b)
	sessions := make([]*session, 500)
	for i := range sessions {
		s := srv.admit(&wire{}, netip.Addr{})
		s.user, s.id, s.state, s.class = uint32(i+1), srv.newID(), open, uint8(event.DeviceClass_DEVICE_CLASS_DESKTOP)
		sessions[i] = s
	}
	k := event.Group(1)
	body := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		d := &delivery.Delivery{Stream: 2, Delivery: &frame.Delivery{Body: &frame.Delivery_Message{Message: &frame.Message{
			Conversation: k[:], Id: 1, From: 1000, Created: 1, Type: uint32(groupText), Body: body}}}}
		for _, s := range sessions {
			s.Deliver(d)
			s.Flush()
		}
		for _, s := range sessions {
			s.Sent(s.Turn(true).Write)
		}
	}
	b.ReportMetric(float64(b.N*len(sessions))/b.Elapsed().Seconds(), "deliveries/s")
}

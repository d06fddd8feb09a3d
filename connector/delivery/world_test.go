package delivery_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// world is a log with the owners and nodes that a test puts around it.
type world struct {
	t    testing.TB
	keys atomic.Uint64
	keep bool // what is delivered, whole

	mu      sync.Mutex
	members []*member
	nodes   []*node
}

func newWorld(t testing.TB) *world { return &world{t: t} }

// externalServer is a nats-server on a free port of the loopback, for tests in which
// several processes share one log.
func externalServer(t testing.TB) (url string) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, JetStream: true, StoreDir: t.TempDir(),
		DisableJetStreamBanner: true, NoLog: true, MaxPending: 128 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("nats-server did not start")
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv.ClientURL()
}

// process opens one more bus on an external log.
func process(t testing.TB, url, name string) *bustest.Kit {
	return bustest.New(t, bustest.WithConfig(func(c *bus.Config) {
		c.URL, c.Process, c.Partitions, c.Replicas = url, name, 2, 1
	}))
}

// running is something with a Run method that a test may stop.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func run(t testing.TB, what string, f func(context.Context) error) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = f(ctx)
	}()
	t.Cleanup(func() {
		r.stop()
		if r.err != nil {
			t.Errorf("%s: %v", what, r.err)
		}
	})
	return r
}

func (r *running) stop() {
	r.cancel()
	<-r.done
}

// views is an owner process at work.
type views struct {
	*owner.Process
	*running
}

func (w *world) owner(k *bustest.Kit, change ...func(*owner.Config)) *views {
	w.t.Helper()
	cfg := owner.Config{Bus: k.Bus, Dir: w.t.TempDir(), Logger: bustest.Logger(w.t)}
	for _, f := range change {
		f(&cfg)
	}
	p, err := owner.Open(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			w.t.Error(err)
		}
	})
	v := &views{Process: p, running: run(w.t, "owner", p.Run)}
	w.t.Cleanup(w.stopNodes) // while there is somebody who tells them what became of it
	return v
}

func (w *world) stopNodes() {
	w.mu.Lock()
	nodes := w.nodes
	w.mu.Unlock()
	for _, n := range nodes {
		n.stop()
	}
}

// node is a delivery.Node at work, with what its handler heard.
type node struct {
	*delivery.Node
	*running
	w   *world
	bus *bustest.Kit
	rec *recorder
}

func (w *world) node(k *bustest.Kit, change ...func(*delivery.Config)) *node {
	w.t.Helper()
	n := w.begin(k, change...)
	n.awaitStarted()
	return n
}

func (w *world) begin(k *bustest.Kit, change ...func(*delivery.Config)) *node {
	w.t.Helper()
	n := &node{w: w, bus: k, rec: &recorder{}}
	n.rec.n = n
	cfg := delivery.Config{Bus: k.Bus, Handler: n.rec, Name: "n", Logger: bustest.Logger(w.t)}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if n.Node, err = delivery.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	n.running = run(w.t, "node", n.Node.Run)
	w.mu.Lock()
	w.nodes = append(w.nodes, n)
	w.mu.Unlock()
	return n
}

func (n *node) awaitStarted() {
	n.w.t.Helper()
	select {
	case <-n.Started():
	case <-n.done:
		n.w.t.Fatalf("node ended: %v", n.err)
	case <-time.After(2 * time.Minute):
		n.w.t.Fatalf("node did not start: %v", n.Ready())
	}
}

// recorder is a Handler that does what the connector does: CloseAll and SessionOver
// close members, which leave from a goroutine of their own.
type recorder struct {
	n *node

	mu        sync.Mutex
	over      []*frame.SessionOver
	statuses  map[uint32]told
	desktops  map[uint32]told
	persons   []*frame.PersonChanged
	drops     int
	closeAlls []error
	relays    []*frame.Relay
	suspends  []bool
}

type told struct {
	online   bool
	sequence uint64
	times    int
}

func (r *recorder) SessionOver(over *frame.SessionOver) {
	r.mu.Lock()
	r.over = append(r.over, over)
	r.mu.Unlock()
	for _, m := range r.n.w.all() {
		if m.node == r.n && m.session == event.ToID(over.Session) {
			m.close()
		}
	}
}

func (r *recorder) UserStatus(user uint32, online bool, sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statuses = note(r.statuses, user, online, sequence)
}

func (r *recorder) DesktopStatus(user uint32, online bool, sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.desktops = note(r.desktops, user, online, sequence)
}

func note(all map[uint32]told, user uint32, online bool, sequence uint64) map[uint32]told {
	if all == nil {
		all = map[uint32]told{}
	}
	was := all[user]
	if sequence >= was.sequence {
		all[user] = told{online, sequence, was.times + 1}
	}
	return all
}

func (r *recorder) PersonChanged(c *frame.PersonChanged, _ uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.persons = append(r.persons, c)
}

func (r *recorder) DropCaches() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drops++
}

func (r *recorder) CloseAll(why error) {
	r.mu.Lock()
	r.closeAlls = append(r.closeAlls, why)
	r.mu.Unlock()
	for _, m := range r.n.w.all() {
		if m.node == r.n {
			m.close()
		}
	}
}

func (r *recorder) Relay(relay *frame.Relay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = append(r.relays, relay)
}

func (r *recorder) relayed() []*frame.Relay {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.relays)
}

func (r *recorder) Suspend(suspended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspends = append(r.suspends, suspended)
}

func (r *recorder) closed() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.closeAlls)
}

func (r *recorder) ended(session event.ID) (reason event.EndReason, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.over {
		if event.ToID(o.Session) == session {
			reason = o.Reason
			times++
		}
	}
	return reason, times
}

func (r *recorder) suspended() []bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.suspends)
}

func (r *recorder) status(user uint32) told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.statuses[user]
}

func (r *recorder) dropped() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drops
}

// place is where a message lies in the log.
type place struct {
	stream   event.Stream
	sequence uint64
	index    uint32
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.stream, q.stream), cmp.Compare(p.sequence, q.sequence), cmp.Compare(p.index, q.index))
}

// message is one counted message as the log has it.
type message struct {
	place
	conv event.ConversationKey
	id   uint32
	from uint32
}

// change is one kind of change of a group.
type change struct {
	place
	kind frame.GroupChange_Kind
}

// truth is what the log says should be told, and to whom in groups.
type truth struct {
	messages []message
	hears    map[place]map[uint32]bool // of messages in groups
	changes  map[change]map[uint32]bool
}

// member is a session that keeps what was delivered to it.
type member struct {
	w       *world
	node    *node
	user    uint32
	session event.ID
	mobile  bool

	joined map[event.Stream]uint64 // the node's seen when it was told that it is attached
	first  map[event.Stream]uint64 // right after Join, where nobody shares the user; else nil
	left   map[event.Stream]uint64 // and right before Leave; nil while it is there

	mu        sync.Mutex
	got       []message
	reads     []place
	removed   []place
	at        map[place]int     // how often
	changes   map[change]int    // of groups, how often
	bodies    []*frame.Delivery // where the world keeps them
	unflushed bool
	attached  int
	closed    bool
}

func (m *member) User() uint32      { return m.user }
func (m *member) Session() event.ID { return m.session }
func (m *member) Mobile() bool      { return m.mobile }

func (m *member) Deliver(d *delivery.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	p := place{d.Stream, d.Sequence, d.Index}
	m.unflushed = true
	if m.w.keep {
		m.bodies = append(m.bodies, d.Delivery)
	}
	if c := d.GetGroupChange(); c != nil {
		if m.changes == nil {
			m.changes = map[change]int{}
		}
		m.changes[change{p, c.Kind}]++
		return
	}
	if m.at == nil {
		m.at = map[place]int{}
	}
	m.at[p]++
	switch b := d.Body.(type) {
	case *frame.Delivery_Message:
		key, _ := event.ParseConversation(b.Message.Conversation)
		m.got = append(m.got, message{p, key, b.Message.Id, b.Message.From})
	case *frame.Delivery_Read:
		m.reads = append(m.reads, p)
	case *frame.Delivery_EntryRemoved:
		m.removed = append(m.removed, p)
	}
}

func (m *member) Flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unflushed = false
}

func (m *member) Attached() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.attached++; m.attached == 1 {
		m.joined = map[event.Stream]uint64{}
		for _, s := range m.node.bus.Streams() {
			m.joined[s] = m.node.SeenLocked(s)
		}
	}
}

func (m *member) isAttached() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.attached > 0
}

func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.got)
}

// close is what the connector does when a session must go: nothing is delivered any
// more, and it leaves when it can.
func (m *member) close() {
	m.mu.Lock()
	was := m.closed
	m.closed = true
	m.mu.Unlock()
	if !was {
		go m.node.Leave(m)
	}
}

func (m *member) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (w *world) all() []*member {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.members)
}

func (n *node) seen() map[event.Stream]uint64 {
	all := map[event.Stream]uint64{}
	for _, s := range n.bus.Streams() {
		all[s] = n.Seen(s)
	}
	return all
}

// join has a session of the user join the node.
func (n *node) join(user uint32) *member {
	m := &member{w: n.w, node: n, user: user, session: newID()}
	n.w.mu.Lock()
	n.w.members = append(n.w.members, m)
	n.w.mu.Unlock()
	n.Join(m)
	return m
}

// joinFirst is join for a user who has no other session on the node: what is promised
// holds from the moment of Join.
func (n *node) joinFirst(user uint32) *member {
	m := n.join(user)
	m.first = n.seen()
	return m
}

// leave takes the member off its node; what it has by then is kept for the check.
func (m *member) leave() {
	left := m.node.seen()
	m.node.Leave(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = left
}

func newID() event.ID { return ulid.Make() }

// text makes a message of from to to that repeats none.
func (w *world) text(from, to uint32, session event.ID, body []byte) *event.Event {
	key := event.Direct(from, to)
	repeat := make([]byte, 16)
	binary.BigEndian.PutUint64(repeat, w.keys.Add(1))
	return &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
		Conversation: key[:], From: from, Type: 1, Body: body, Session: session[:], RepeatKey: repeat}}}
}

// stream of the conversation of two users.
func (n *node) stream(a, b uint32) event.Stream { return event.Direct(a, b).Stream(n.bus.Partitions()) }

// send appends and leaves the outcome to be counted by the world's sender.
func (n *node) send(from, to uint32, done func(delivery.Result)) {
	n.w.t.Helper()
	if done == nil {
		done = func(delivery.Result) {}
	}
	ev := n.w.text(from, to, event.ID{}, fmt.Appendf(nil, "from %d to %d", from, to))
	if err := n.Append(n.stream(from, to), ev, done); err != nil {
		n.w.t.Errorf("send from %d to %d: %v", from, to, err)
	}
}

// sendWait sends and waits for the outcome.
func (n *node) sendWait(from, to uint32) delivery.Result {
	n.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := n.AppendWait(ctx, n.stream(from, to), n.w.text(from, to, event.ID{}, []byte("hello")))
	if err != nil {
		n.w.t.Errorf("send from %d to %d: %v", from, to, err)
	}
	return r
}

// counted reads the log and gives every message that counts, with its id.
func (w *world) counted(k *bustest.Kit) []message { return w.truth(k).messages }

// truth reads the log: every message that counts, with its id, and every change of a
// group's members. It knows the changes that the API makes.
func (w *world) truth(k *bustest.Kit) *truth {
	w.t.Helper()
	all := &truth{hears: map[place]map[uint32]bool{}, changes: map[change]map[uint32]bool{}}
	heads := map[event.ConversationKey]uint32{}
	members := map[event.ConversationKey]map[uint32]bool{}
	for _, s := range k.Streams() {
		if !s.IsConversation() {
			continue
		}
		last, err := k.LastSequence(context.Background(), s)
		if err != nil {
			w.t.Fatal(err)
		}
		newest := map[event.ID]uint64{}
		for r, err := range k.Replay(context.Background(), s, 1, last) {
			if err != nil {
				w.t.Fatal(err)
			}
			var rec event.Record
			if err := proto.Unmarshal(r.Data, &rec); err != nil {
				w.t.Fatal(err)
			}
			if id := event.ToID(rec.Writer); rec.N > 0 && id != (event.ID{}) {
				if rec.N <= newest[id] {
					continue
				}
				newest[id] = rec.N
			}
			for i, ev := range rec.Events {
				p := place{s, r.Sequence, uint32(i)}
				switch b := ev.Body.(type) {
				case *event.Event_MessageSent:
					m := b.MessageSent
					key, _ := event.ParseConversation(m.Conversation)
					if !key.IsDirect() {
						if !members[key][m.From] {
							continue // void
						}
						all.hears[p] = maps.Clone(members[key])
					}
					heads[key]++
					all.messages = append(all.messages, message{p, key, heads[key], m.From})
				case *event.Event_GroupCreated:
					key, _ := event.ParseConversation(b.GroupCreated.Conversation)
					if members[key] == nil {
						members[key] = map[uint32]bool{}
						all.changed(p, members[key], b.GroupCreated.Members, nil)
					}
				case *event.Event_GroupMembersChanged:
					key, _ := event.ParseConversation(b.GroupMembersChanged.Conversation)
					if members[key] != nil {
						all.changed(p, members[key], b.GroupMembersChanged.Added, b.GroupMembersChanged.Removed)
					}
				}
			}
		}
	}
	return all
}

// changed moves the members of a group and notes who hears of it.
func (t *truth) changed(p place, members map[uint32]bool, added, removed []uint32) {
	came, went := false, map[uint32]bool{}
	for _, u := range added {
		came = came || !members[u]
		members[u] = true
	}
	for _, u := range removed {
		if members[u] {
			went[u] = true
		}
		delete(members, u)
	}
	if came {
		t.changes[change{p, frame.GroupChange_KIND_ADDED}] = maps.Clone(members)
	}
	if len(went) > 0 {
		hears := maps.Clone(members)
		maps.Copy(hears, went)
		t.changes[change{p, frame.GroupChange_KIND_REMOVED}] = hears
	}
}

// concerns tells whether a user was a party of a message when it was sent.
func (t *truth) concerns(m message, user uint32) bool {
	if m.conv.IsDirect() {
		return party(m.conv, user)
	}
	return t.hears[m.place][user]
}

func party(key event.ConversationKey, user uint32) bool { return key.Peer(user) != 0 }

// settled waits until every node has worked off everything in the log and every
// member that is still there is attached.
func (w *world) settled(k *bustest.Kit, nodes ...*node) {
	w.t.Helper()
	last := map[event.Stream]uint64{}
	for _, s := range k.Streams() {
		seq, err := k.LastSequence(context.Background(), s)
		if err != nil {
			w.t.Fatal(err)
		}
		last[s] = seq
	}
	for _, n := range nodes {
		bustest.Eventually(w.t, "node has seen all", func() bool {
			for s, seq := range last {
				if s.IsConversation() && n.Seen(s) < seq {
					return false
				}
			}
			return true
		})
	}
	bustest.Eventually(w.t, "all attached", func() bool {
		for _, m := range w.all() {
			m.mu.Lock()
			waits := m.left == nil && !m.closed && m.attached == 0 && slices.Contains(nodes, m.node)
			m.mu.Unlock()
			if waits {
				return false
			}
		}
		return true
	})
}

// check holds every member to its promise: each message of its conversations beyond
// the position at which it joined exactly once, none twice, in order in each
// conversation, with the id that the log gives it; of groups those of the time in which
// its user was a member, and no other.
func (w *world) check(k *bustest.Kit, members ...*member) {
	w.t.Helper()
	truth := w.truth(k)
	ids := map[place]message{}
	for _, m := range truth.messages {
		ids[m.place] = m
	}
	faults := 0
	fault := func(m *member, format string, args ...any) {
		if faults++; faults <= 10 {
			w.t.Errorf("user %d (session %s): %s", m.user, m.session, fmt.Sprintf(format, args...))
		}
	}
	for _, m := range members {
		m.mu.Lock()
		last := map[event.ConversationKey]uint32{}
		for _, g := range m.got {
			if t, ok := ids[g.place]; !ok || t != g {
				fault(m, "was told %v, the log has %v", g, t)
			} else if !truth.concerns(g, m.user) {
				fault(m, "was told %v, which was not for him", g)
			}
			// Who has left a group and come back has not had all of it.
			if was, ok := last[g.conv]; ok && (g.id <= was || g.conv.IsDirect() && g.id != was+1) {
				fault(m, "in %s message %d came after %d", g.conv, g.id, was)
			}
			last[g.conv] = g.id
		}
		for p, n := range m.at {
			if n != 1 {
				fault(m, "%v was delivered %d times", p, n)
			}
		}
		for c, n := range m.changes {
			if hears, ok := truth.changes[c]; !ok || n != 1 || !hears[m.user] {
				fault(m, "was told %d times of %v; in the log %v, for him %v", n, c, ok, hears[m.user])
			}
		}
		if m.unflushed {
			fault(m, "something was delivered and never flushed")
		}
		if m.attached > 1 {
			fault(m, "was told %d times that it is attached", m.attached)
		}
		if m.left == nil && !m.closed && m.attached == 0 {
			fault(m, "was never attached")
		}
		promised := func(p place) bool {
			begin := m.joined
			if m.first != nil {
				begin = m.first
			}
			beyond := m.attached > 0 && p.sequence > begin[p.stream]
			if m.left != nil {
				beyond = beyond && p.sequence <= m.left[p.stream]
			}
			return beyond
		}
		missing := 0
		for _, t := range truth.messages {
			if truth.concerns(t, m.user) && promised(t.place) && m.at[t.place] == 0 {
				if missing++; missing == 1 {
					fault(m, "joined at %v, left at %v, lacks %v", m.joined, m.left, t)
				}
			}
		}
		for c, hears := range truth.changes {
			if hears[m.user] && promised(c.place) && m.changes[c] == 0 {
				if missing++; missing == 1 {
					fault(m, "joined at %v, left at %v, lacks the change %v", m.joined, m.left, c)
				}
			}
		}
		if missing > 1 {
			fault(m, "lacks %d messages in all", missing)
		}
		m.mu.Unlock()
	}
	if faults > 10 {
		w.t.Errorf("%d faults in all", faults)
	}
}

// traffic sends messages between random users through random nodes, until stop is
// closed or count are sent, at most window without an outcome at a time. It gives
// the number of messages that got an id.
func (w *world) traffic(count, window int, users []uint32, nodes ...*node) (counted *atomic.Int64, wait func()) {
	w.t.Helper()
	counted = new(atomic.Int64)
	slots := make(chan struct{}, window)
	var wg sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range count {
			from := users[i*7%len(users)]
			to := users[(i*7+1+i%(len(users)-1))%len(users)]
			slots <- struct{}{}
			wg.Add(1)
			nodes[i%len(nodes)].send(from, to, func(r delivery.Result) {
				if r.Err == nil && r.ID > 0 {
					counted.Add(1)
				}
				<-slots
				wg.Done()
			})
		}
		wg.Wait()
	}()
	return counted, func() {
		w.t.Helper()
		select {
		case <-done:
		case <-time.After(2 * time.Minute):
			w.t.Fatalf("%d of %d messages have an outcome", counted.Load(), count)
		}
	}
}

func userRange(from, n uint32) []uint32 {
	all := make([]uint32, 0, n)
	for u := range n {
		all = append(all, from+u)
	}
	return all
}

// pushOf reads what was pushed to a node.
func pushOf(data []byte) *frame.Push {
	p := &frame.Push{}
	if proto.Unmarshal(data, p) != nil {
		return &frame.Push{}
	}
	return p
}

func sortedPlaces(m map[place]int) []place {
	return slices.SortedFunc(maps.Keys(m), place.compare)
}

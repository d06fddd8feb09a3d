package connector

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/connector/reactor"
	"godwit/internal/password"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

const testPartitions = 4

// fakeNode is a node over a log in memory: appends get their outcomes, and sessions
// their deliveries, when step is called, frame by frame as the real one does it.
type fakeNode struct {
	t       testing.TB
	handler delivery.Handler
	life    event.ID
	epoch   byte
	relays  int
	page    int // conversations in an answer to Sync; 0: all
	touched map[event.ConversationKey]uint64
	news    *query.PeopleChangedAnswer
	started chan struct{}
	auto    bool // step after every append
	groups  fakeGroups
	circle  fakeCircle

	mu       sync.Mutex
	queue    []fakeAppend
	events   []*event.Event // all that had an outcome
	sequence [2 + testPartitions]uint64
	members  map[uint32][]delivery.Member
	live     map[event.ID]*event.SessionOpened
	heads    map[event.ConversationKey]uint32
	cursors  map[event.ConversationKey]map[uint32]uint32
	log      map[event.ConversationKey][]*query.Message
	repeats  map[string]uint32
	dirty    []delivery.Member
	people   map[uint32]*query.Account
	friends  [][2]uint32 // the lower first
	latest   uint32

	attach      bool // Join is followed by Attached
	unavailable error
	unwritable  error
	full        bool
	onAppend    func(ev *event.Event)
	conflict    func() // a compare and set has failed
	result      func(ev *event.Event) (delivery.Result, bool)
	onAsk       func(q *query.Request) (*query.Answer, error) // nil answer: as ever
	frozen      *query.Answer                                 // the next answer, if set
	asked       atomic.Int64
	announced   atomic.Int64
}

type fakeAppend struct {
	stream  event.Stream
	ev      *event.Event
	done    func(delivery.Result)
	subject string // of a compare and set
	expect  uint64
}

func newFakeNode(t testing.TB) *fakeNode {
	n := &fakeNode{t: t, life: ulid.Make(), started: make(chan struct{}), attach: true,
		members: map[uint32][]delivery.Member{}, live: map[event.ID]*event.SessionOpened{},
		touched: map[event.ConversationKey]uint64{}, news: &query.PeopleChangedAnswer{},
		heads: map[event.ConversationKey]uint32{}, cursors: map[event.ConversationKey]map[uint32]uint32{},
		log: map[event.ConversationKey][]*query.Message{}, repeats: map[string]uint32{}, people: map[uint32]*query.Account{}}
	close(n.started)
	for i := range n.sequence {
		n.sequence[i] = 1
	}
	return n
}

func (n *fakeNode) person(h *password.Hasher, user uint32, name string) *query.Account {
	phc, err := h.Hash(context.Background(), md5hex("pw"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sequence[event.People]++
	n.latest++
	p := &query.Account{User: user, Name: name, Nick: "Nick " + name, PasswordHash: phc, AvatarUrl: "http://a/" + name,
		Gender: 1, Department: 7, Email: name + "@x", Telephone: "1", Domain: name, Signature: "hi", Updated: n.latest}
	n.people[user] = p
	return p
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// set changes the node's settings.
func (n *fakeNode) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// hook makes f answer the questions from now on.
func (n *fakeNode) hook(f func(q *query.Request) (*query.Answer, error)) {
	n.set(func() { n.onAsk = f })
}

func (n *fakeNode) Started() <-chan struct{} { return n.started }
func (n *fakeNode) Life() event.ID           { return n.life }
func (n *fakeNode) Ready() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.unavailable, n.unwritable)
}

// Writable is for the log alone; Ready fails with it.
func (n *fakeNode) Writable() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unwritable
}

func (n *fakeNode) Announce() { n.announced.Add(1) }

func (n *fakeNode) PeopleSeen() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sequence[event.People]
}

// Epoch is another one for each stream.
func (n *fakeNode) Epoch(s event.Stream) event.ID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return event.ID{14: n.epoch, 15: byte(s) + 1}
}

func (n *fakeNode) Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error {
	return n.AppendCAS(s, "", 0, ev, done)
}

func (n *fakeNode) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error {
	n.mu.Lock()
	onAppend := n.onAppend
	n.mu.Unlock()
	if onAppend != nil {
		onAppend(ev)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.full {
		return bus.ErrFull
	}
	if proto.Size(ev) > event.MaxEventBytes {
		return bus.ErrTooLarge
	}
	n.queue = append(n.queue, fakeAppend{s, proto.CloneOf(ev), done, subject, expect})
	if n.auto {
		go n.step()
	}
	return nil
}

func (n *fakeNode) Join(m delivery.Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members[m.User()] = append(n.members[m.User()], m)
	if n.attach {
		go n.attached(m)
	}
}

func (n *fakeNode) attached(m delivery.Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m.Attached()
}

func (n *fakeNode) Leave(m delivery.Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members[m.User()] = slices.DeleteFunc(n.members[m.User()], func(o delivery.Member) bool { return o == m })
}

func (n *fakeNode) NotifyFlush(m delivery.Member) { n.dirty = append(n.dirty, m) }

// step works off what was appended: outcomes first, then deliveries, then flushes.
func (n *fakeNode) step() {
	n.mu.Lock()
	defer n.mu.Unlock()
	queue := n.queue
	n.queue = nil
	var after []func()
	for _, a := range queue {
		if a.subject != "" && n.groups.subjects[a.subject] != a.expect {
			if n.conflict != nil {
				n.conflict()
			}
			a.done(delivery.Result{Err: bus.ErrConflict})
			continue
		}
		n.sequence[a.stream]++
		if a.subject != "" {
			n.groups.wrote(a.subject, n.sequence[a.stream])
		}
		r := delivery.Result{Sequence: n.sequence[a.stream]}
		forced := false
		if n.result != nil {
			if fr, ok := n.result(a.ev); ok {
				r, forced = fr, true
			}
		}
		if !forced {
			after = append(after, n.apply(a, &r)...)
		}
		n.events = append(n.events, a.ev)
		a.done(r)
	}
	for _, f := range after {
		f()
	}
	for _, m := range n.dirty {
		m.Flush()
	}
	n.dirty = nil
}

func (n *fakeNode) apply(a fakeAppend, r *delivery.Result) (after []func()) {
	seq := r.Sequence
	deliver := func(d *frame.Delivery, users ...uint32) {
		d.Sequence = seq
		after = append(after, func() {
			dl := &delivery.Delivery{Stream: a.stream, Sequence: seq, Delivery: d}
			for _, u := range users {
				for _, m := range n.members[u] {
					m.Deliver(dl)
					n.dirty = append(n.dirty, m)
				}
			}
		})
	}
	switch b := a.ev.GetBody().(type) {
	case *event.Event_SessionOpened:
		o := b.SessionOpened
		before := n.online(o.User)
		for id, old := range n.live {
			if old.User == o.User && slices.Contains(o.Replaces, old.DeviceClass) {
				after = append(after, n.over(id, old, event.EndReason_END_REASON_REPLACED, o.Session))
			}
		}
		n.live[event.ToID(o.Session)] = o
		after = append(after, n.statusChange(o.User, before, seq)...)
		if before > 0 && o.DeviceClass == event.DeviceClass_DEVICE_CLASS_MOBILE {
			after = append(after, func() { n.handler.DesktopStatus(o.User, true, seq) })
		}
	case *event.Event_SessionEnded:
		before := n.online(b.SessionEnded.User)
		delete(n.live, event.ToID(b.SessionEnded.Session))
		after = append(after, n.statusChange(b.SessionEnded.User, before, seq)...)
	case *event.Event_DeviceClassKicked:
		before := n.online(b.DeviceClassKicked.User)
		for id, old := range n.live {
			if k := b.DeviceClassKicked; old.User == k.User && (old.DeviceClass == k.DeviceClass || slices.Contains(k.Also, old.DeviceClass)) {
				after = append(after, n.over(id, old, b.DeviceClassKicked.Reason, b.DeviceClassKicked.BySession))
			}
		}
		after = append(after, n.statusChange(b.DeviceClassKicked.User, before, seq)...)
	case *event.Event_MessageSent:
		m := b.MessageSent
		k, _ := event.ParseConversation(m.Conversation)
		if !k.IsDirect() && !n.groups.has(k.GroupID(), m.From) {
			r.Void = frame.Void_VOID_NOT_PARTY
			return after
		}
		if id, ok := n.repeats[string(m.RepeatKey)]; ok && len(m.RepeatKey) > 0 {
			r.Void, r.FirstID = frame.Void_VOID_REPEAT, id
			return after
		}
		n.heads[k]++
		n.touched[k] = seq
		r.ID = n.heads[k]
		if len(m.RepeatKey) > 0 {
			n.repeats[string(m.RepeatKey)] = r.ID
		}
		created := uint32(a.ev.At / 1000)
		n.log[k] = append(n.log[k], &query.Message{Id: r.ID, From: m.From, Created: created, Type: m.Type, Body: m.Body})
		n.advance(k, m.From, r.ID)
		lo, hi := k.Parties()
		parties := []uint32{lo, hi}
		if !k.IsDirect() {
			parties = n.groups.members(k.GroupID())
		}
		deliver(&frame.Delivery{Body: &frame.Delivery_Message{Message: &frame.Message{Conversation: m.Conversation, Id: r.ID,
			From: m.From, Created: created, Type: m.Type, Body: m.Body, Session: m.Session, ClientMessageId: m.ClientMessageId}}}, parties...)
	case *event.Event_ReadAdvanced:
		k, _ := event.ParseConversation(b.ReadAdvanced.Conversation)
		if !n.advance(k, b.ReadAdvanced.User, min(b.ReadAdvanced.MsgId, n.heads[k])) {
			r.Void = frame.Void_VOID_NO_EFFECT
			return after
		}
		n.touched[k] = seq
		deliver(&frame.Delivery{Body: &frame.Delivery_Read{Read: &frame.Read{Conversation: b.ReadAdvanced.Conversation,
			User: b.ReadAdvanced.User, MsgId: b.ReadAdvanced.MsgId, Session: b.ReadAdvanced.Session}}}, b.ReadAdvanced.User)
	case *event.Event_SessionEntryRemoved:
		x := b.SessionEntryRemoved
		k, _ := event.ParseConversation(x.Conversation)
		if n.heads[k] == 0 {
			r.Void = frame.Void_VOID_NO_EFFECT
			return after
		}
		deliver(&frame.Delivery{Body: &frame.Delivery_EntryRemoved{EntryRemoved: &frame.EntryRemoved{Conversation: x.Conversation,
			User: x.User, Session: x.Session}}}, x.User)
	default:
		n.groups.apply(a, r, deliver)
		after = append(after, n.circle.apply(n, a, r, deliver)...)
	}
	return after
}

func (n *fakeNode) advance(k event.ConversationKey, user, id uint32) bool {
	if n.cursors[k] == nil {
		n.cursors[k] = map[uint32]uint32{}
	}
	if n.cursors[k][user] >= id {
		return false
	}
	n.cursors[k][user] = id
	return true
}

// online counts the sessions by which others see a user.
func (n *fakeNode) online(user uint32) (count int) {
	for _, s := range n.live {
		if s.User == user && s.DeviceClass.Shown() {
			count++
		}
	}
	return count
}

func (n *fakeNode) over(id event.ID, old *event.SessionOpened, reason event.EndReason, by []byte) func() {
	delete(n.live, id)
	return func() {
		n.handler.SessionOver(&frame.SessionOver{Session: id[:], User: old.User, Reason: reason, BySession: by})
	}
}

func (n *fakeNode) statusChange(user uint32, before int, seq uint64) []func() {
	now := n.online(user)
	if (before > 0) == (now > 0) {
		return nil
	}
	return []func(){func() {
		n.handler.UserStatus(user, now > 0, seq)
		n.handler.DesktopStatus(user, now > 0, seq)
	}}
}

// changed tells the handler of a change of a person, under the node's lock.
func (n *fakeNode) changed(c *frame.PersonChanged) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sequence[event.People]++
	n.handler.PersonChanged(c, n.sequence[event.People])
}

// push delivers a message to its parties as if another node had written it.
func (n *fakeNode) push(from, to uint32, body string) {
	k := event.Direct(from, to)
	sent := &event.MessageSent{Conversation: k[:], From: from, Type: 1, Body: []byte(body)}
	if err := n.Append(k.Stream(testPartitions), &event.Event{At: time.Now().UnixMilli(),
		Body: &event.Event_MessageSent{MessageSent: sent}}, func(delivery.Result) {}); err != nil {
		n.t.Error(err)
	}
}

// Relay passes on to the two of a conversation, at once.
func (n *fakeNode) Relay(_ context.Context, r *frame.Relay) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unavailable != nil {
		return n.unavailable
	}
	n.relays++
	k, _ := event.ParseConversation(r.GetConversation())
	lower, higher := k.Parties()
	r = proto.CloneOf(r)
	r.To = []uint32{lower, higher}
	n.handler.Relay(r)
	return nil
}

func (n *fakeNode) Ask(ctx context.Context, q *query.Request) (*query.Answer, error) {
	return n.answer(ctx, q)
}

func (n *fakeNode) AskTimeline(ctx context.Context, _ event.ConversationKey, q *query.Request) (*query.Answer, error) {
	return n.answer(ctx, q)
}

func (n *fakeNode) AskLists(ctx context.Context, q *query.Request) (*query.Answer, error) {
	return n.answer(ctx, q)
}

func (n *fakeNode) answer(ctx context.Context, q *query.Request) (*query.Answer, error) {
	n.asked.Add(1)
	n.mu.Lock()
	onAsk := n.onAsk
	n.mu.Unlock()
	if onAsk != nil {
		if ans, err := onAsk(q); ans != nil || err != nil {
			return ans, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unavailable != nil {
		return nil, n.unavailable
	}
	if ans := n.frozen; ans != nil {
		n.frozen = nil
		return ans, nil
	}
	ans := &query.Answer{}
	for s, seq := range n.sequence {
		epoch := event.ID{14: n.epoch, 15: byte(s) + 1}
		ans.At = append(ans.At, &query.AtLeast{Stream: uint32(s), Sequence: seq, Epoch: epoch[:]})
	}
	switch b := q.GetBody().(type) {
	case *query.Request_AccountByName:
		a := &query.AccountAnswer{}
		for _, p := range n.people {
			if p.Name == b.AccountByName.Name {
				a.Account = proto.CloneOf(p)
			}
		}
		ans.Body = &query.Answer_Account{Account: a}
	case *query.Request_Accounts:
		a := &query.AccountsAnswer{}
		for _, u := range b.Accounts.Users {
			if p := n.people[u]; p != nil {
				a.Accounts = append(a.Accounts, proto.CloneOf(p))
			}
		}
		ans.Body = &query.Answer_Accounts{Accounts: a}
	case *query.Request_AccountsChanged:
		ans.Body = &query.Answer_Accounts{Accounts: n.accountsChanged(b.AccountsChanged)}
	case *query.Request_Statuses:
		a := &query.StatusesAnswer{}
		for _, u := range b.Statuses.Users {
			a.DesktopOnline = append(a.DesktopOnline, false)
			a.AnyOnline = append(a.AnyOnline, false)
			a.Online = append(a.Online, n.online(u) > 0)
		}
		ans.Body = &query.Answer_Statuses{Statuses: a}
	case *query.Request_SessionsOf:
		a := &query.SessionsOfAnswer{}
		for id, s := range n.live {
			if s.User == b.SessionsOf.User {
				a.Sessions = append(a.Sessions, &query.SessionRow{Session: id.Bytes(), User: s.User, DeviceClass: s.DeviceClass})
			}
		}
		ans.Body = &query.Answer_SessionsOf{SessionsOf: a}
	case *query.Request_PresenceTotals:
		users := map[uint32]bool{}
		for _, s := range n.live {
			users[s.User] = users[s.User] || s.DeviceClass.Shown()
		}
		ans.Body = &query.Answer_PresenceTotals{PresenceTotals: &query.PresenceTotalsAnswer{DesktopOnlineUsers: uint32(len(users))}}
	case *query.Request_Lists:
		a := &query.ListsAnswer{}
		for k, head := range n.heads {
			party := k.IsDirect() && k.Peer(b.Lists.User) != 0 || !k.IsDirect() && n.groups.has(k.GroupID(), b.Lists.User)
			if !party || b.Lists.UnreadOnly && n.cursors[k][b.Lists.User] >= head {
				continue
			}
			last := n.log[k][head-1]
			a.Entries = append(a.Entries, &query.ListEntry{Conversation: slices.Clone(k[:]), Head: head, Cursor: n.cursors[k][b.Lists.User],
				Updated: last.Created, Latest: proto.CloneOf(last)})
		}
		ans.Body = &query.Answer_Lists{Lists: a}
	case *query.Request_History:
		a := &query.MessagesAnswer{}
		k, _ := event.ParseConversation(b.History.Conversation)
		for _, m := range slices.Backward(n.log[k]) {
			if (b.History.Begin == 0 || m.Id <= b.History.Begin) && len(a.Messages) < int(b.History.Count) {
				a.Messages = append(a.Messages, proto.CloneOf(m))
			}
		}
		ans.Body = &query.Answer_Messages{Messages: a}
	case *query.Request_ByIds:
		a := &query.MessagesAnswer{}
		k, _ := event.ParseConversation(b.ByIds.Conversation)
		for _, m := range slices.Backward(n.log[k]) {
			if slices.Contains(b.ByIds.Ids, m.Id) {
				a.Messages = append(a.Messages, proto.CloneOf(m))
			}
		}
		ans.Body = &query.Answer_Messages{Messages: a}
	case *query.Request_Head:
		k, _ := event.ParseConversation(b.Head.Conversation)
		ans.Body = &query.Answer_Head{Head: &query.HeadAnswer{Head: n.heads[k]}}
	case *query.Request_Receipts:
		ans.Body = &query.Answer_Receipts{Receipts: &query.ReceiptsAnswer{}}
	case *query.Request_PeopleChanged:
		ans.Body = &query.Answer_PeopleChanged{PeopleChanged: proto.CloneOf(n.news)}
	case *query.Request_Sync:
		ans.Body = &query.Answer_Sync{Sync: n.sync(b.Sync)}
	default:
		if !n.groups.answer(q, ans) && !n.circle.answer(n, q, ans) {
			return nil, fmt.Errorf("unexpected question %T", b)
		}
	}
	return ans, nil
}

func (n *fakeNode) accountsChanged(q *query.AccountsChanged) *query.AccountsAnswer {
	all := make([]*query.Account, 0, len(n.people))
	for _, p := range n.people {
		if p.Updated > q.Since && (q.Of == 0 || q.Of == p.User || n.areFriends(q.Of, p.User)) {
			all = append(all, proto.CloneOf(p))
		}
	}
	slices.SortFunc(all, func(a, b *query.Account) int {
		return int(int64(a.Updated)<<20-int64(b.Updated)<<20) + int(a.User) - int(b.User)
	})
	a := &query.AccountsAnswer{Latest: q.Since}
	for _, p := range all {
		if len(a.Accounts) >= int(q.Limit) && p.Updated != a.Latest {
			a.More = true
			break
		}
		a.Accounts, a.Latest = append(a.Accounts, p), p.Updated
	}
	return a
}

// kinds names the bodies of the events that had an outcome.
func (n *fakeNode) kinds() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ev := range n.events {
		all = append(all, fmt.Sprintf("%T", ev.Body)[len("*event.Event_"):])
	}
	return all
}

func (n *fakeNode) find(kind string) *event.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, ev := range slices.Backward(n.events) {
		if fmt.Sprintf("%T", ev.Body) == "*event.Event_"+kind {
			return ev
		}
	}
	return nil
}

// rig is a server without sockets, inside a synctest bubble.
type rig struct {
	t      *testing.T
	srv    *Server
	node   *fakeNode
	hasher *password.Hasher
}

var testAddr = netip.MustParseAddr("192.0.2.1")

func testConfig(t testing.TB, h *password.Hasher) Config {
	return Config{Listen: "127.0.0.1:0", Hasher: h, Partitions: testPartitions,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

func cheapHasher(t testing.TB) *password.Hasher {
	h, err := password.NewHasher(password.Cost{MemoryKiB: password.MinMemoryKiB, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newRig(t *testing.T, edit ...func(c *Config)) *rig {
	r := &rig{t: t, node: newFakeNode(t), hasher: cheapHasher(t)}
	c := testConfig(t, r.hasher)
	for _, e := range edit {
		e(&c)
	}
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.srv = srv
	srv.node = r.node
	r.node.handler = srv.Handler()
	for i, name := range []string{"ann", "bob", "cy"} {
		r.node.person(r.hasher, uint32(i+1), name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go srv.sweepUntil(ctx)
	go srv.statuses.run(ctx)
	go srv.watchLog(ctx)
	t.Cleanup(func() {
		cancel()
		srv.stop()
		srv.logins.close()
		srv.checks.close()
		srv.asks.close()
		srv.ground.end()
	})
	return r
}

// wire is a connection without a socket.
type wire struct {
	r     *rig
	s     *session
	peer  reactor.Peer // what stands before the session; nil: nothing does
	woken atomic.Bool
	got   []byte
	read  bool
	close reactor.Close
	over  bool
	deaf  bool // takes nothing
}

func (w *wire) Wake() { w.woken.Store(true) }

func (r *rig) connect() *wire {
	w := &wire{r: r}
	w.s = r.srv.admit(w, testAddr)
	if w.s == nil {
		return nil
	}
	w.pump()
	return w
}

// side is what the connection talks to.
func (w *wire) side() reactor.Peer {
	if w.peer != nil {
		return w.peer
	}
	return w.s
}

// pump gives the session turns until it has nothing more to write.
func (w *wire) pump() {
	for !w.over {
		n := w.side().Turn(!w.deaf || w.s.sending == nil)
		w.read, w.close = n.Read, n.Close
		if n.Write != nil && !w.deaf {
			w.got = append(w.got, n.Write...)
			w.side().Sent(n.Write)
			continue
		}
		if n.Close == reactor.CloseNow || n.Close == reactor.CloseGently && !w.deaf {
			w.over = true
			w.side().Closed(nil)
		}
		return
	}
}

// settle lets everything that was set going come to rest.
func (r *rig) settle(ws ...*wire) {
	for {
		synctest.Wait()
		again := false
		for _, w := range ws {
			if w.woken.Swap(false) {
				w.pump()
				again = true
			}
		}
		if !again {
			return
		}
	}
}

// send feeds bytes and lets the node work.
func (w *wire) send(b ...[]byte) {
	if w.over {
		w.r.t.Fatal("the connection is closed")
	}
	w.side().Input(bytes.Join(b, nil))
	w.pump()
	w.r.settle(w)
}

// step lets the node do a frame.
func (r *rig) step(ws ...*wire) {
	r.settle(ws...)
	r.node.step()
	r.settle(ws...)
}

type got struct {
	pdu.Header
	m proto.Message
}

func (g got) String() string {
	return fmt.Sprintf("%s seq %d {%v}", client.Name(g.Command), g.Seq, g.m)
}

// take empties what the client has received.
func (w *wire) take() (all []got) {
	w.r.t.Helper()
	for len(w.got) > 0 {
		f, n, err := pdu.Next(w.got, pdu.MaxAfterLogin)
		if err != nil || n == 0 {
			w.r.t.Fatalf("server wrote a bad PDU: %v, %d bytes left", err, len(w.got))
		}
		if f.Service != client.Service(f.Command) {
			w.r.t.Errorf("command %#x with service %d", f.Command, f.Service)
		}
		m, err := client.Decode(f.Command, f.Body)
		if err != nil {
			w.r.t.Fatalf("server wrote a bad %s: %v", client.Name(f.Command), err)
		}
		all = append(all, got{f.Header, m})
		w.got = w.got[n:]
	}
	return all
}

// one is take for exactly one PDU, of the type given.
func one[M proto.Message](w *wire, seq uint16) M {
	w.r.t.Helper()
	all := w.take()
	if _, wanted := any(*new(M)).(*imbuddy.IMUserStatNotify); !wanted {
		all = slices.DeleteFunc(all, func(g got) bool { return g.Command == client.CmdUserStatNotify }) // they come by the clock
	}
	if len(all) != 1 {
		w.r.t.Fatalf("got %d PDUs, want 1: %v", len(all), all)
	}
	m, ok := all[0].m.(M)
	if !ok {
		w.r.t.Fatalf("got %v", all[0])
	}
	if all[0].Seq != seq {
		w.r.t.Errorf("seq %d, want %d", all[0].Seq, seq)
	}
	return m
}

func (w *wire) nothing() {
	w.r.t.Helper()
	if all := w.take(); len(all) > 0 {
		w.r.t.Fatalf("got %v, want nothing", all)
	}
}

func pack(t testing.TB, command, seq uint16, m proto.Message) []byte {
	t.Helper()
	b, err := pdu.AppendMessage(nil, command, seq, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *wire) pack(command, seq uint16, m proto.Message) []byte { return pack(w.r.t, command, seq, m) }

func loginReq(name, pw string, kind imbase.ClientType) *imlogin.IMLoginReq {
	return &imlogin.IMLoginReq{UserName: &name, Password: new(md5hex(pw)), OnlineStatus: new(imbase.UserStatType_USER_STATUS_ONLINE),
		ClientType: &kind, ClientVersion: new("test")}
}

const (
	windows = imbase.ClientType_CLIENT_TYPE_WINDOWS
	mac     = imbase.ClientType_CLIENT_TYPE_MAC
	android = imbase.ClientType_CLIENT_TYPE_ANDROID
	browser = imbase.ClientType_CLIENT_TYPE_WEB
)

// login connects and logs in.
func (r *rig) login(name string, kind imbase.ClientType, others ...*wire) *wire {
	r.t.Helper()
	w := r.connect()
	w.send(w.pack(client.CmdLoginReq, 9, loginReq(name, "pw", kind)))
	r.step(append(others, w)...)
	res := w.take()
	if len(res) == 0 {
		r.t.Fatal("no answer to the login")
	}
	if m, ok := res[0].m.(*imlogin.IMLoginRes); !ok || m.GetResultCode() != loginOK {
		r.t.Fatalf("login: %v", res[0])
	}
	return w
}

func (r *rig) sleep(d time.Duration, ws ...*wire) {
	time.Sleep(d)
	r.settle(ws...)
}

var errAway = errors.New("away")

// header is a PDU of a Windows client, written by hand.
func header(command, seq uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
	for _, v := range []uint16{1, 0, command >> 8, command, seq, 0} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, body...)
}

func voidNotLive(ev *event.Event) (delivery.Result, bool) {
	return delivery.Result{Void: frame.Void_VOID_NODE_NOT_LIVE}, ev.GetSessionOpened() != nil
}

func lifeLost(ev *event.Event) (delivery.Result, bool) {
	return delivery.Result{Err: delivery.ErrLifeLost}, ev.GetSessionOpened() != nil
}

func credentials(user uint32, reason event.EndReason) *frame.PersonChanged {
	return &frame.PersonChanged{User: user, Credentials: true, Reason: reason}
}

func key(a, b uint32) []byte {
	k := event.Direct(a, b)
	return k[:]
}

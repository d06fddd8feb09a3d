package webhook

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/projections/owner"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// silent is a Handler for a node without sessions.
type silent struct{}

func (silent) SessionOver(*frame.SessionOver)             {}
func (silent) UserStatus(uint32, bool, uint64)            {}
func (silent) DesktopStatus(uint32, bool, uint64)         {}
func (silent) PersonChanged(*frame.PersonChanged, uint64) {}
func (silent) DropCaches()                                {}
func (silent) CloseAll(error)                             {}
func (silent) Relay(*frame.Relay)                         {}
func (silent) Suspend(bool)                               {}

// world is a log with its views and one node: all that a process has beside the sender.
type world struct {
	*testing.T
	logDir, viewDir string
	keys            atomic.Uint64

	kit  *bustest.Kit
	node *delivery.Node
	down []func() // ends what is up, the last one first
	own  func()   // ends the owner alone
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, logDir: t.TempDir(), viewDir: t.TempDir()}
	w.up()
	return w
}

// up opens the log and brings up views and node.
func (w *world) up() {
	w.Helper()
	w.kit = bustest.New(w.T, bustest.WithDir(w.logDir), bustest.Partitions(3))
	w.Cleanup(w.stop) // before the kit closes the bus

	w.down = append(w.down, func() {
		if err := w.kit.Close(); err != nil {
			w.Error(err)
		}
	})
	w.ownerUp()
	w.down = append(w.down, func() { w.own() })
	n, err := delivery.New(delivery.Config{Bus: w.kit.Bus, Handler: silent{}, Name: "n", Logger: bustest.Logger(w.T)})
	if err != nil {
		w.Fatal(err)
	}
	w.node = n
	w.run(n.Run)
	select {
	case <-n.Started():
	case <-time.After(2 * time.Minute):
		w.Fatalf("node did not start: %v", n.Ready())
	}
}

func (w *world) ownerUp() {
	w.Helper()
	p, err := owner.Open(w.Context(), owner.Config{Bus: w.kit.Bus, Dir: w.viewDir, Logger: bustest.Logger(w.T)})
	if err != nil {
		w.Fatal(err)
	}
	end := start(w.T, p.Run)
	w.own = sync.OnceFunc(func() {
		end()
		if err := p.Close(); err != nil {
			w.Error(err)
		}
	})
}

// start runs f until end is called.
func start(t *testing.T, f func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// run is start for what ends with the process.
func (w *world) run(f func(context.Context) error) (end func()) {
	end = start(w.T, f)
	w.down = append(w.down, end)
	return end
}

// stop ends the process in order.
func (w *world) stop() {
	for _, f := range slices.Backward(w.down) {
		f()
	}
	w.down = nil
}

// sender brings up a sender; it ends with the process, or by the function given back.
func (w *world) sender(change ...func(*Config)) (end func()) {
	w.Helper()
	cfg := Config{Bus: w.kit.Bus, Node: w.node, Logger: bustest.Logger(w.T), look: 10 * time.Millisecond, least: 2 * time.Millisecond, most: 20 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		w.Fatal(err)
	}
	return w.run(s.Run)
}

// append stores an event and waits for what it came to.
func (w *world) append(s event.Stream, ev *event.Event) delivery.Result {
	w.Helper()
	if ev.At == 0 {
		ev.At = time.Now().UnixMilli()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := w.node.AppendWait(ctx, s, ev)
	if err != nil {
		w.Fatalf("append: %v", err)
	}
	return r
}

// must is append of what has to count.
func (w *world) must(s event.Stream, ev *event.Event) delivery.Result {
	w.Helper()
	r := w.append(s, ev)
	if r.Void != frame.Void_VOID_NONE {
		w.Fatalf("%T came to nothing: %s", ev.Body, r.Void)
	}
	return r
}

// people registers so many and gives their numbers.
func (w *world) people(n int) (users []uint32) {
	w.Helper()
	for i := range n {
		users = append(users, w.must(event.People, &event.Event{Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{
			Name: fmt.Sprint("p", i), PasswordHash: "-", Nick: fmt.Sprint("Nick ", i)}}}).ID)
	}
	return users
}

func (w *world) token(user uint32, kind imbase.ClientType, token string) {
	w.Helper()
	w.must(event.People, &event.Event{Body: &event.Event_DeviceTokenSet{DeviceTokenSet: &event.DeviceTokenSet{
		User: user, ClientType: uint32(kind), Token: token}}})
}

func (w *world) shield(user uint32) {
	w.Helper()
	w.must(event.People, &event.Event{Body: &event.Event_PushShieldSet{PushShieldSet: &event.PushShieldSet{User: user, On: true}}})
}

// online opens a session of the user.
func (w *world) online(user uint32, kind imbase.ClientType) {
	w.Helper()
	id, life := newID(), w.node.Life()
	w.must(event.Presence, &event.Event{Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{
		Session: id[:], User: user, ClientType: uint32(kind), DeviceClass: event.ClassOf(uint32(kind)), Life: life[:], OnlineStatus: 1}}})
}

func newID() event.ID { return ulid.Make() }

// target makes a target at url as the API does.
func (w *world) target(id, url string) {
	w.Helper()
	if err := Begin(w.Context(), w.kit.Bus, id); err != nil {
		w.Fatal(err)
	}
	w.set(id, url, false)
}

func (w *world) set(id, url string, disabled bool) {
	w.Helper()
	w.must(event.People, &event.Event{Body: &event.Event_WebhookSet{WebhookSet: &event.WebhookSet{
		Id: id, Url: url, Secret: secret, Disabled: disabled}}})
}

const secret = "a secret of a webhook"

func (w *world) stream(k event.ConversationKey) event.Stream { return k.Stream(w.kit.Partitions()) }

// message is a text that repeats none.
func (w *world) message(k event.ConversationKey, from uint32, text string, change ...func(*event.MessageSent)) *event.Event {
	kind := imbase.MsgType_MSG_TYPE_SINGLE_TEXT
	if !k.IsDirect() {
		kind = imbase.MsgType_MSG_TYPE_GROUP_TEXT
	}
	repeat := make([]byte, 16)
	binary.BigEndian.PutUint64(repeat, w.keys.Add(1))
	m := &event.MessageSent{Conversation: k[:], From: from, Type: uint32(kind), Body: content.EncryptText(text), RepeatKey: repeat}
	for _, f := range change {
		f(m)
	}
	return &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_MessageSent{MessageSent: m}}
}

func (w *world) send(k event.ConversationKey, from uint32, text string, change ...func(*event.MessageSent)) uint32 {
	w.Helper()
	return w.must(w.stream(k), w.message(k, from, text, change...)).ID
}

// sendMany sends messages without waiting for each, so that records hold several. In each
// conversation one party writes, for who writes has read what was written before.
func (w *world) sendMany(n int, conversations []event.ConversationKey) {
	w.Helper()
	var wg sync.WaitGroup
	for i := range n {
		k := conversations[i%len(conversations)]
		from, _ := k.Parties()
		wg.Add(1)
		err := w.node.Append(w.stream(k), w.message(k, from, fmt.Sprint("text ", i)), func(r delivery.Result) {
			if r.Err != nil || r.ID == 0 {
				w.Errorf("message %d came to %+v", i, r)
			}
			wg.Done()
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	wg.Wait()
}

func (w *world) read(k event.ConversationKey, user, id uint32) {
	w.Helper()
	w.must(w.stream(k), &event.Event{Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: k[:], User: user, MsgId: id}}})
}

func (w *world) group(number uint32, members ...uint32) event.ConversationKey {
	w.Helper()
	k := event.Group(number)
	slices.Sort(members)
	w.must(w.stream(k), &event.Event{Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: k[:], Type: event.GroupType_GROUP_TYPE_NORMAL, Name: "g", Creator: members[0], Members: members}}})
	return k
}

// entry is a message of the log, as whoever reads the log's definition sees it.
type entry struct {
	id   string // event id of its first block
	msg  uint32 // rank in its conversation
	from uint32
	key  event.ConversationKey
	text string
}

// log reads all messages, where none is void.
func (w *world) log() (all []entry) {
	w.Helper()
	heads := map[event.ConversationKey]uint32{}
	for _, s := range w.kit.Streams() {
		if !s.IsConversation() {
			continue
		}
		for r, err := range w.kit.Replay(context.Background(), s, 1, 0) {
			if err != nil {
				w.Fatal(err)
			}
			var rec event.Record
			if err := proto.Unmarshal(r.Data, &rec); err != nil {
				w.Fatal(err)
			}
			for i, ev := range rec.Events {
				if m := ev.GetMessageSent(); m != nil {
					key, _ := event.ParseConversation(m.Conversation)
					heads[key]++
					text, err := content.DecryptText(m.Body)
					if err != nil {
						w.Fatal(err)
					}
					all = append(all, entry{fmt.Sprintf("%s:%d:%d", s, r.Sequence, i), heads[key], m.From, key, text})
				}
			}
		}
	}
	return all
}

// receiver takes documents over real HTTP, as it is told to.
type receiver struct {
	t    *testing.T
	url  string
	addr string
	srv  *httptest.Server

	mu       sync.Mutex
	answer   func(n int, d *Document) (status int, stall bool) // to the n-th request; nil: 200
	got      []request                                         // all that came whole
	taken    []*Document                                       // what was answered with 2xx
	flight   map[string]int                                    // requests under way, by stream
	most     int                                               // of one stream at a time
	stalls   int
	failures int
	cuts     int
}

type request struct {
	Document

	body []byte
	sign string
}

// cutNow is an answer that is none: the connection is cut.
const cutNow = -1

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, flight: map[string]int{}}
	r.listen("127.0.0.1:0")
	t.Cleanup(func() { r.close() })
	return r
}

func (r *receiver) listen(addr string) {
	r.t.Helper()
	var l net.Listener
	bustest.Eventually(r.t, "the receiver's port is free", func() bool {
		var err error
		l, err = net.Listen("tcp", addr)
		return err == nil
	})
	r.srv = &httptest.Server{Listener: l, Config: &http.Server{Handler: r}}
	r.srv.Start()
	r.addr = l.Addr().String()
	r.url = r.srv.URL + "/push?key=k"
}

func (r *receiver) close() { r.srv.Close() }

func (r *receiver) answers(f func(n int, d *Document) (status int, stall bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	q := request{body: body, sign: req.Header.Get(SignatureHeader)}
	d := &q.Document
	if err := json.Unmarshal(body, d); err != nil {
		r.t.Errorf("%v in %s", err, body)
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(q.sign, "t="), ",")
	seconds, err := time.ParseDuration(at + "s")
	if err != nil || q.sign != Sign(secret, time.Unix(int64(seconds/time.Second), 0), body) {
		r.t.Errorf("signature %q of %s", q.sign, body)
	}
	if req.Method != http.MethodPost || req.Header.Get(EventHeader) != d.EventID || req.Header.Get("Content-Type") != "application/json" ||
		req.URL.RequestURI() != "/push?key=k" {
		r.t.Errorf("request %s %s with %v", req.Method, req.URL, req.Header)
	}
	stream, _, _ := strings.Cut(d.EventID, ":")
	r.mu.Lock()
	r.got = append(r.got, q)
	r.flight[stream]++
	r.most = max(r.most, r.flight[stream])
	status, stall := http.StatusOK, false
	if r.answer != nil {
		status, stall = r.answer(len(r.got), d)
	}
	switch {
	case stall:
		r.stalls++
	case status == cutNow:
		r.cuts++
	case status >= 200 && status < 300:
		r.taken = append(r.taken, d)
	default:
		r.failures++
	}
	r.mu.Unlock()
	time.Sleep(100 * time.Microsecond) // in which a second one of the stream would be seen
	r.mu.Lock()
	r.flight[stream]--
	r.mu.Unlock()
	switch {
	case stall:
		<-req.Context().Done()
	case status == cutNow:
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(status)
		_, _ = w.Write([]byte("what nobody reads"))
	}
}

// all is what was answered with 2xx.
func (r *receiver) all() []*Document {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.taken)
}

// await waits for so many documents in all.
func (r *receiver) await(n int) []*Document {
	r.t.Helper()
	bustest.Eventually(r.t, fmt.Sprint(n, " documents"), func() bool { return len(r.all()) >= n })
	return r.all()
}

// settled waits until the feeds of a target have come to the end of the log: then
// everything that is to be sent was sent.
func (w *world) settled(id string) {
	w.Helper()
	for _, s := range w.kit.Streams() {
		if !s.IsConversation() {
			continue
		}
		last := w.last(s)
		bustest.Eventually(w.T, "the cursor is at the end", func() bool { return w.cursor(id, s) > last })
	}
}

func (w *world) last(s event.Stream) uint64 {
	w.Helper()
	last, err := w.kit.LastSequence(context.Background(), s)
	if err != nil {
		w.Fatal(err)
	}
	return last
}

// cursor is the record that a target goes on with.
func (w *world) cursor(id string, s event.Stream) uint64 {
	c, err := w.kit.Cursor(context.Background(), cursorName(id, s))
	if err != nil && !errors.Is(err, bus.ErrClosed) {
		w.Error(err)
	}
	return c.Value >> indexBits
}

// checkAll compares what a receiver took with the log, for conversations of two who are all
// offline: each message is told to its other party, with ids and texts of its own, in the
// order of the log in each stream. It gives how many came more than once.
func (w *world) checkAll(docs []*Document) (again int) {
	w.Helper()
	want := w.log()
	byID := map[string]*Document{}
	next := map[string]int{} // by stream
	var order []string
	for _, d := range docs {
		if first, ok := byID[d.EventID]; ok {
			again++
			if first.Message.ID != d.Message.ID || first.Conversation != d.Conversation {
				w.Errorf("%s was sent twice, for %+v and %+v", d.EventID, first, d)
			}
			continue
		}
		byID[d.EventID] = d
		order = append(order, d.EventID)
	}
	wanted := map[string]entry{}
	place := map[string]int{}
	for i, e := range want {
		wanted[e.id], place[e.id] = e, i
		d := byID[e.id]
		if d == nil {
			w.Errorf("%s was never sent", e.id)
			continue
		}
		to := e.key.Peer(e.from)
		if d.Message.ID != e.msg || d.Message.From != e.from || d.Message.Text != e.text || len(d.Recipients) != 1 || d.Recipients[0].User != to ||
			d.Conversation != (Conversation{"user", e.from}) || d.Version != Version {
			w.Errorf("%s: %+v, want %+v", e.id, d, e)
		}
	}
	for _, id := range order {
		if _, ok := wanted[id]; !ok {
			w.Errorf("%s is no message of the log", id)
		}
		stream, _, _ := strings.Cut(id, ":")
		if place[id] < next[stream] {
			w.Errorf("%s came after what is behind it in the log", id)
		}
		next[stream] = max(next[stream], place[id]+1)
	}
	return again
}

// direct are conversations of all with all.
func direct(users []uint32) (all []event.ConversationKey) {
	for i, a := range users {
		for _, b := range users[:i] {
			all = append(all, event.Direct(a, b))
		}
	}
	return all
}

// one is the document of a message to one recipient, and its only one.
func one(t *testing.T, docs []*Document) *Document {
	t.Helper()
	if len(docs) != 1 {
		t.Fatalf("%d documents, want one", len(docs))
	}
	return docs[0]
}

func users(d *Document) (all []uint32) {
	for _, r := range d.Recipients {
		all = append(all, r.User)
	}
	return all
}

func find(d *Document, user uint32) *Recipient {
	i := slices.IndexFunc(d.Recipients, func(r Recipient) bool { return r.User == user })
	if i < 0 {
		return nil
	}
	return &d.Recipients[i]
}

// replaceViews takes the views away and has them folded again, with the node going on.
func (w *world) replaceViews() {
	w.Helper()
	w.own()
	if err := os.RemoveAll(w.viewDir); err != nil {
		w.Fatal(err)
	}
	if err := os.MkdirAll(w.viewDir, 0o700); err != nil {
		w.Fatal(err)
	}
	w.ownerUp()
}

// asked waits until a view answers about a message.
func (w *world) asked(k event.ConversationKey, user uint32) uint32 {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ans, err := w.node.AskTimeline(ctx, k, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: k[:], User: user}}})
	if err != nil {
		w.Fatal(err)
	}
	return ans.GetHead().GetHead()
}

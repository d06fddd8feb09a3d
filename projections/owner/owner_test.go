package owner

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// open brings up a process without running it.
func open(t *testing.T, k *bustest.Kit, change ...func(*Config)) *Process {
	t.Helper()
	cfg := Config{Bus: k.Bus, Dir: t.TempDir(), Logger: bustest.Logger(t)}
	for _, f := range change {
		f(&cfg)
	}
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func run(t *testing.T, p *Process) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// settled waits until the process owns all its streams.
func settled(t *testing.T, p *Process) {
	t.Helper()
	bustest.Eventually(t, "the process fans out", func() bool { return p.Ready() == nil })
}

func text(from, to uint32, body string) *event.Event {
	key := event.Direct(from, to)
	return &event.Event{At: 1, Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
		Conversation: key[:], From: from, Body: []byte(body)}}}
}

type ticket chan error

func (t ticket) Placed(uint64, int) {}
func (t ticket) Stored(uint64)      { t <- nil }
func (t ticket) Failed(err error)   { t <- err }

// write stores messages between users 1 and 2 and gives their stream.
func write(t *testing.T, k *bustest.Kit, w *bus.Writer, count int) event.Stream {
	t.Helper()
	s := event.Direct(1, 2).Stream(k.Partitions())
	for range count {
		done := make(ticket, 1)
		if err := w.Append(s, text(1, 2, "hello"), done); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func attachAll(st *stream, life event.ID, counter uint64, users ...uint32) *frame.AttachedStream {
	return st.attach(life, counter, &frame.AttachStream{Stream: uint32(st.s), Refill: true, Users: users})
}

// A refill's pages are those of the node's users. Without them there is no page: an
// empty one would be taken for a range in which nothing happened.
func TestRefillOfAForgottenNodeIsRefused(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	run(t, p)
	settled(t, p)
	life := event.ID{1}
	s := write(t, k, k.NewWriter(life), 5)
	st := p.stream(s)
	bustest.Eventually(t, "folded", func() bool { st.mu.Lock(); defer st.mu.Unlock(); return st.folded == 6 })
	at := attachAll(st, life, 1, 2)
	if at.Refused || at.At != 6 {
		t.Fatalf("attached %v", at)
	}
	req := &frame.ChangesRequest{Life: life[:], Stream: uint32(s), Epoch: at.Epoch, Since: 1, To: at.At, Refill: true}
	ans, err := st.changes(t.Context(), req)
	if err != nil || len(ans.Deliveries) != 5 || len(ans.Outcomes) != 5 || ans.More || ans.TooFar {
		t.Errorf("changes %v, %v", ans, err)
	}
	st.forget(life)
	if ans, err := st.changes(t.Context(), req); err == nil {
		t.Errorf("a forgotten node got %v", ans)
	}
	req.Refill, req.Users = false, []uint32{2}
	if ans, err := st.changes(t.Context(), req); err != nil || len(ans.Deliveries) != 5 || len(ans.Outcomes) != 0 {
		t.Errorf("changes of a user: %v, %v", ans, err)
	}
	req.Users = []uint32{3}
	if ans, err := st.changes(t.Context(), req); err != nil || len(ans.Deliveries) != 0 {
		t.Errorf("changes of a stranger: %v, %v", ans, err)
	}
	other := event.ID{9}
	req.Epoch = other[:]
	if ans, err := st.changes(t.Context(), req); err != nil || !ans.TooFar {
		t.Errorf("changes of another epoch: %v, %v", ans, err)
	}
	if at := st.attach(life, 2, &frame.AttachStream{Users: []uint32{2}}); !at.Refused {
		t.Error("users were added to nothing")
	}
}

// The newest word on a user counts, whatever order requests come in.
func TestAttachesByCounter(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	run(t, p)
	settled(t, p)
	st, life := p.stream(event.ConversationStream(0)), event.ID{1}
	attachAll(st, life, 5, 1, 2)
	if at := attachAll(st, life, 4); !at.Refused {
		t.Error("an older refill replaced a newer one")
	}
	st.attach(life, 3, &frame.AttachStream{Gone: []uint32{1}})
	st.attach(life, 6, &frame.AttachStream{Users: []uint32{3}, Gone: []uint32{2}})
	e := st.heartbeat(life)
	if want := frame.UserDigest(1) ^ frame.UserDigest(3); e.Digest != want || e.Users != 2 || e.Counter != 6 || !e.Attached {
		t.Errorf("heartbeat %v, want users 1 and 3", e)
	}
	if e := st.heartbeat(event.ID{2}); e.Attached || e.To != 0 {
		t.Errorf("heartbeat of an unknown node %v", e)
	}
}

// A view that meets a rule it does not know stops alone, gives its lease up, and says
// so; the others go on.
func TestUnknownRuleStopsOneView(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("no server")
	}
	k := bustest.New(t, bustest.WithConfig(func(c *bus.Config) { c.URL, c.Partitions, c.Replicas = srv.ClientURL(), 2, 1 }))
	p := open(t, k)
	run(t, p)
	settled(t, p)
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	life := event.ID{1}
	data, err := proto.Marshal(&event.Record{Writer: life[:], N: 1, Rule: event.Rule + 1, Events: []*event.Event{text(1, 2, "from the future")}})
	if err != nil {
		t.Fatal(err)
	}
	s := event.Direct(1, 2).Stream(2)
	if _, err := nc.Request(bus.EventSubject(s), data, time.Minute); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the process says so", func() bool { return errors.Is(p.Ready(), view.ErrUnknownRule) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lease, err := k.AcquireLease(ctx, p.stream(s).fold.Name())
	if err != nil {
		t.Fatalf("the stopped view kept its lease: %v", err)
	}
	if err := lease.Release(ctx); err != nil {
		t.Error(err)
	}
	other := event.ConversationStream(1 - s.Partition())
	if err := p.stream(other).ready(); err != nil {
		t.Errorf("another view: %v", err)
	}
	ans := p.queryTimeline(t.Context(), encodeT(t, &query.Request{WaitMs: 100, Body: &query.Request_Lists{Lists: &query.Lists{User: 1, Streams: []uint32{uint32(s)}}}}))
	var a query.Answer
	if err := proto.Unmarshal(ans, &a); err != nil || a.Code != query.Code_CODE_NOT_OWNER {
		t.Errorf("the stopped view answers %v, %v", &a, err)
	}
}

func encodeT(t *testing.T, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A rebuilt view equals the one that was folded live, and has nobody to tell.
func TestRebuildEqualsLive(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	stop := run(t, p)
	settled(t, p)
	s := write(t, k, k.NewWriter(event.ID{1}), 30)
	st := p.stream(s)
	if err := st.view.WaitCommitted(t.Context(), 31); err != nil {
		t.Fatal(err)
	}
	digest, at, err := st.view.Digest()
	if err != nil || at != 31 {
		t.Fatal(at, err)
	}
	steps := 0
	r, err := Rebuild(t.Context(), k.Bus, s, t.TempDir(), at, bustest.Logger(t), func(done, total uint64) { steps++ })
	if err != nil || r.Digest != digest || r.Events != 31 || steps == 0 {
		t.Errorf("rebuilt %+v, live %v, %v", r, digest, err)
	}
	if _, err := Rebuild(t.Context(), k.Bus, s, t.TempDir(), at+1, bustest.Logger(t), nil); err == nil {
		t.Error("a position beyond the log's end was reached")
	}
	stop()
	if err := p.Ready(); err == nil {
		t.Error("a stopped process is ready")
	}
}

// A process begins where its views are, and replays those of another epoch.
func TestViewsAreTakenUpAgain(t *testing.T) {
	k := bustest.New(t)
	dir := t.TempDir()
	once := func(change func(*Process)) (replayed bool) {
		p, err := Open(t.Context(), Config{Bus: k.Bus, Dir: dir, Logger: bustest.Logger(t)})
		if err != nil {
			t.Fatal(err)
		}
		s := event.Direct(1, 2).Stream(k.Partitions())
		before := p.View(s).Folded()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		settled(t, p)
		change(p)
		cancel()
		if err := errors.Join(<-done, p.Close()); err != nil {
			t.Fatal(err)
		}
		return before == 0
	}
	var s event.Stream
	once(func(p *Process) {
		s = write(t, k, k.NewWriter(event.ID{1}), 5)
		if err := p.View(s).WaitCommitted(t.Context(), 6); err != nil {
			t.Error(err)
		}
	})
	if once(func(p *Process) {}) {
		t.Error("the view began anew")
	}
	epoch, err := k.Epoch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.RenewEpoch(t.Context(), s, epoch); err != nil {
		t.Fatal(err)
	}
	if !once(func(p *Process) {
		if n := p.View(s).Folded(); n != 6 {
			t.Errorf("replayed up to %d", n)
		}
	}) {
		t.Error("the view of another epoch was taken up")
	}
}

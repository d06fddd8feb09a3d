package delivery_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// ghost is a second owner of all streams at the same time: it says what the real one
// says, a moment later and in a term of its own. It tells nodes apart from nothing
// else than the term which of the two they may listen to.
type ghost struct {
	t        testing.TB
	k        *bustest.Kit
	name     string
	revision uint64

	refuse   func() bool  // a question
	before   func()       // a resync of PRESENCE is answered
	mode     atomic.Int32 // 0 silent, 1 speaks
	frames   atomic.Int64
	attached atomic.Int64 // refills answered
	toLose   atomic.Int64
	lost     atomic.Int64

	changesToLose, lostChanges atomic.Int64

	mu       sync.Mutex
	real     string
	counters map[event.Stream]uint64 // newest attach of each stream
	life     event.ID
}

// newGhost makes an owner whose terms are above all others.
func newGhost(t testing.TB, k *bustest.Kit, nodes ...*node) *ghost {
	return newGhostAt(t, k, 1<<40, nodes...)
}

func newGhostAt(t testing.TB, k *bustest.Kit, revision uint64, nodes ...*node) *ghost {
	t.Helper()
	g := &ghost{t: t, k: k, name: "ghost-" + newID().String(), revision: revision, counters: map[event.Stream]uint64{}}
	for _, n := range nodes {
		life := n.Life()
		g.life = life
		stop, err := k.ReceivePushes(life, func(data []byte) { g.relay(life, data) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	for what, h := range map[string]func(context.Context, []byte) []byte{
		"attach": g.attach, "changes": g.changes, "resync": g.resync, "query": g.query, "relay": g.forward("relay"),
	} {
		stop, err := k.Serve(bus.OwnerSubject(g.name, what), "", 1, h)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	bustest.Eventually(t, "the owner is heard", func() bool { return g.owner() != "" })
	return g
}

func (g *ghost) lead()                { g.mode.Store(1) }
func (g *ghost) silence()             { g.mode.Store(0) }
func (g *ghost) loseAttaches(n int64) { g.toLose.Store(n) }

func (g *ghost) owner() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.real
}

// own is the ghost's term in place of a real one.
func (g *ghost) own(t *frame.Term) *frame.Term {
	return &frame.Term{Revision: g.revision, Start: t.GetRevision()<<16 + t.GetStart()}
}

func (g *ghost) relay(life event.ID, data []byte) {
	p := pushOf(data)
	switch b := p.Body.(type) {
	case *frame.Push_Frame:
		if b.Frame.Term.GetRevision() == g.revision {
			return
		}
		b.Frame.Term = g.own(b.Frame.Term)
		if g.mode.Load() != 0 {
			g.frames.Add(1)
		}
	case *frame.Push_Heartbeat:
		if len(b.Heartbeat.Owner) > 5 && b.Heartbeat.Owner[:5] == "ghost" {
			return
		}
		g.mu.Lock()
		g.real = b.Heartbeat.Owner
		g.mu.Unlock()
		b.Heartbeat.Owner = g.name
		for _, e := range b.Heartbeat.Streams {
			e.Term = g.own(e.Term)
		}
	}
	if g.mode.Load() == 0 {
		return
	}
	if err := g.k.Push(life, encode(g.t, p)); err != nil {
		g.t.Log(err)
	}
}

func encode(t testing.TB, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Error(err)
	}
	return b
}

func (g *ghost) ask(ctx context.Context, what string, data []byte) []byte {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b, err := g.k.Ask(ctx, bus.OwnerSubject(g.owner(), what), data)
	if err != nil {
		return nil
	}
	return b
}

// loseChanges loses so many questions for a page that begins inside a record.
func (g *ghost) loseChanges(n int64) { g.changesToLose.Store(n) }

func (g *ghost) forward(what string) func(context.Context, []byte) []byte {
	return func(ctx context.Context, data []byte) []byte { return g.ask(ctx, what, data) }
}

func (g *ghost) changes(ctx context.Context, data []byte) []byte {
	var req frame.ChangesRequest
	if proto.Unmarshal(data, &req) == nil && req.SinceIndex > 0 && g.changesToLose.Load() > 0 {
		g.changesToLose.Add(-1)
		g.lostChanges.Add(1)
		return nil
	}
	return g.ask(ctx, "changes", data)
}

func (g *ghost) query(ctx context.Context, data []byte) []byte {
	if g.refuse != nil && g.refuse() {
		return encode(g.t, &query.Answer{Code: query.Code_CODE_NOT_OWNER})
	}
	return g.ask(ctx, "query", data)
}

func (g *ghost) attach(ctx context.Context, data []byte) []byte {
	var req frame.AttachRequest
	if err := proto.Unmarshal(data, &req); err != nil {
		return nil
	}
	refill := req.Streams[0].Refill
	if !refill && g.toLose.Load() > 0 {
		g.toLose.Add(-1)
		g.lost.Add(1)
		return nil
	}
	var ans frame.AttachAnswer
	if b := g.ask(ctx, "attach", data); b == nil || proto.Unmarshal(b, &ans) != nil {
		return nil
	}
	g.mu.Lock()
	for _, s := range req.Streams {
		g.counters[event.Stream(s.Stream)] = req.Counter
	}
	g.mu.Unlock()
	for _, s := range ans.Streams {
		if s.Term != nil {
			s.Term = g.own(s.Term)
		}
	}
	if refill {
		g.attached.Add(1)
	}
	return encode(g.t, &ans)
}

func (g *ghost) resync(ctx context.Context, data []byte) []byte {
	var req frame.ResyncRequest
	if proto.Unmarshal(data, &req) == nil && event.Stream(req.Stream) == event.Presence && g.before != nil {
		g.before()
	}
	var ans frame.ResyncAnswer
	if b := g.ask(ctx, "resync", data); b == nil || proto.Unmarshal(b, &ans) != nil {
		return nil
	}
	ans.Term = g.own(ans.Term)
	return encode(g.t, &ans)
}

// detach has the real owner forget a user behind the node's back.
func (g *ghost) detach(s event.Stream, user uint32) {
	g.t.Helper()
	g.mu.Lock()
	counter := g.counters[s]
	g.mu.Unlock()
	req := &frame.AttachRequest{Life: g.life[:], Counter: counter, Streams: []*frame.AttachStream{{Stream: uint32(s), Gone: []uint32{user}}}}
	if g.ask(context.Background(), "attach", encode(g.t, req)) == nil {
		g.t.Error("detach was not answered")
	}
}

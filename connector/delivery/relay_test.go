package delivery_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// What is passed on reaches the nodes of a conversation's parties, and nobody else; not of
// who is no party, nor between two of whom one blocks the other.
func TestRelayReachesTheParties(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b, c := w.node(k), w.node(k), w.node(k)
	from := a.join(1)
	for _, u := range []uint32{2, 4} {
		b.join(u)
	}
	c.join(3)
	w.settled(k, a, b, c)
	a.create(7, 1, 2, 3)
	sent := 0
	pass := func(conv event.ConversationKey, user uint32, command string) {
		t.Helper()
		sent++
		if err := a.Relay(t.Context(), &frame.Relay{Conversation: conv[:], From: user, Session: from.session[:], Command: command}); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
	direct, group := event.Direct(1, 2), event.Group(7)
	pass(direct, 1, "to one")
	pass(group, 1, "to all")
	pass(group, 4, "of a stranger to the group")
	pass(direct, 3, "of a stranger to the two")
	pass(event.Direct(1, 9), 1, "to nobody who is there")
	block := &event.Event{At: 1, Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{Conversation: direct[:], User: 2, Blocked: true}}}
	if r, err := a.AppendWait(t.Context(), a.stream(1, 2), block); err != nil || r.Void != frame.Void_VOID_NONE {
		t.Fatalf("block: %+v, %v", r, err)
	}
	// The view's file is up to 50 ms behind.
	bustest.Eventually(t, "the block holds", func() bool {
		before := len(b.rec.relayed())
		pass(direct, 1, "maybe")
		pass(group, 1, "mark")
		bustest.Eventually(t, "the mark arrives", func() bool {
			r := b.rec.relayed()
			return len(r) > before && r[len(r)-1].Command == "mark"
		})
		return len(b.rec.relayed()) == before+1
	})
	pass(direct, 1, "to one who blocks")
	pass(direct, 2, "of one who blocks")
	a.move(7, nil, []uint32{3})
	pass(group, 1, "to who is left")
	last := func(n *node) *frame.Relay {
		all := n.rec.relayed()
		return all[len(all)-1]
	}
	bustest.Eventually(t, "the last one arrives", func() bool {
		return last(a).Command == "to who is left" && last(b).Command == "to who is left"
	})
	heard := func(n *node) (commands []string, to [][]uint32) {
		for _, r := range n.rec.relayed() {
			if r.Command == "maybe" || r.Command == "mark" {
				continue
			}
			commands, to = append(commands, r.Command), append(to, r.To)
			if event.ToID(r.Session) != from.session || r.From != 1 {
				t.Errorf("%s: from %d, session %x", r.Command, r.From, r.Session)
			}
		}
		return commands, to
	}
	for _, want := range []struct {
		n        *node
		commands []string
		to       [][]uint32
	}{
		{a, []string{"to one", "to all", "to nobody who is there", "to who is left"}, [][]uint32{{1}, {1}, {1}, {1}}},
		{b, []string{"to one", "to all", "to who is left"}, [][]uint32{{2}, {2}, {2}}},
		{c, []string{"to all"}, [][]uint32{{3}}},
	} {
		commands, to := heard(want.n)
		if !slices.Equal(commands, want.commands) || !slices.EqualFunc(to, want.to, slices.Equal) {
			t.Errorf("heard %q for %v, want %q for %v", commands, to, want.commands, want.to)
		}
	}
	if s := a.Stats(); s.Relays != uint64(sent) || s.RelaysDropped != 0 {
		t.Errorf("%d sent, stats %+v", sent, s)
	}
}

// Groups with many people online pass nothing on, a node passes on so much at a time, and
// without an owner nothing passes; what is dropped is counted.
func TestRelayHasLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	first := w.owner(k)
	a, b := w.node(k, func(c *delivery.Config) { c.AskTimeout = 2 * time.Second }), w.node(k)
	users := userRange(1, 101)
	a.create(1, users[:100]...)
	a.create(2, users...)
	for _, u := range users {
		b.join(u)
	}
	w.settled(k, a, b)
	typing := func(group uint32) *frame.Relay {
		key := event.Group(group)
		return &frame.Relay{Conversation: key[:], From: 1, Typing: true}
	}
	for _, g := range []uint32{2, 1} {
		if err := a.Relay(t.Context(), typing(g)); err != nil {
			t.Errorf("in group %d: %v", g, err)
		}
	}
	bustest.Eventually(t, "one passes", func() bool { return len(b.rec.relayed()) > 0 })
	if all := b.rec.relayed(); len(all) != 1 || len(all[0].To) != 100 || event.ConversationKey(all[0].Conversation) != event.Group(1) {
		t.Errorf("heard %v", all)
	}
	first.stop()
	var wg sync.WaitGroup
	dropped := a.Stats().RelaysDropped
	for range 300 {
		wg.Go(func() {
			if err := a.Relay(t.Context(), typing(1)); !errors.Is(err, delivery.ErrUnavailable) {
				t.Errorf("without an owner: %v", err)
			}
		})
	}
	wg.Wait()
	if n := a.Stats().RelaysDropped - dropped; n != 300 {
		t.Errorf("%d of 300 were counted as dropped", n)
	}
	w.owner(k) // tells the nodes what became of them
}

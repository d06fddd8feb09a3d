package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"godwit/schema/event"
)

// said is what n messages of the tests below say.
func said(from, to int) (texts []string) {
	for i := from; i <= to; i++ {
		texts = append(texts, fmt.Sprint("message ", i))
	}
	return texts
}

// sayAll sends messages whose ids must run from the first number to the last.
func (s *session) sayAll(t *testing.T, to uint32, first, last int) {
	t.Helper()
	for i, text := range said(first, last) {
		if id, err := s.say(to, text); err != nil || id != uint32(first+i) {
			t.Fatalf("message %d got id %d: %v", first+i, id, err)
		}
	}
}

// has demands that the whole history with a peer is that.
func (s *session) has(t *testing.T, peer uint32, want []string) {
	t.Helper()
	if got, err := s.messages(peer); err != nil || !slices.Equal(got, want) {
		t.Fatalf("history is %q (%v), should be %q", got, err, want)
	}
}

// arrives waits for the push of one message.
func arrives(t *testing.T, got <-chan packet, id uint32, text string) {
	t.Helper()
	select {
	case p := <-got:
		if p.body.Num(3) != id || p.body.Text(6) != text {
			t.Fatalf("%d %q was pushed, waited for %d %q", p.body.Num(3), p.body.Text(6), id, text)
		}
	case <-time.After(patience):
		t.Fatalf("%d %q was never pushed", id, text)
	}
}

// TestLogTailCutOff puts an older copy of the log behind the views' backs, as a power
// loss at durability os or a careless restore does. The start notices, says so, and
// rebuilds; what the log has holds.
func TestLogTailCutOff(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	old := filepath.Join(t.TempDir(), "nats")
	s := start(t, data)
	ids := s.register(t, 2)
	a, b, _ := talkers(t, s.clients, ids)
	a.sayAll(t, ids[1], 1, 10)
	a.close()
	b.close()
	s.stop(t)
	copyTree(t, filepath.Join(data, "nats"), old)

	s = start(t, data)
	a, b, _ = talkers(t, s.clients, ids)
	a.sayAll(t, ids[1], 11, 20)
	b.has(t, ids[0], said(1, 20))
	a.close()
	b.close()
	s.stop(t)
	copyTree(t, old, filepath.Join(data, "nats"))

	s = start(t, data)
	stream := event.Direct(ids[0], ids[1]).Stream(event.DefaultPartitions)
	if _, err := s.out.find("level=ERROR", fmt.Sprintf("timeline-%02d", stream.Partition()), "renewing the epoch"); err != nil {
		t.Error(err)
	}
	if _, err := s.out.find("epoch renewed", "stream="+stream.String()); err != nil {
		t.Error(err)
	}
	a, b, got := talkers(t, s.clients, ids)
	b.has(t, ids[0], said(1, 10))
	if id, err := a.say(ids[1], "anew"); err != nil || id != 11 {
		t.Fatalf("the message after the loss got id %d: %v", id, err)
	}
	arrives(t, got, 11, "anew")
	b.has(t, ids[0], append(said(1, 10), "anew"))
	a.close()
	b.close()
	s.stop(t)
	verify(t, data)
}

// TestLogTailCutOffLive is the same under nodes and owners that stay up, as when a
// server of the log is restored. Sessions are closed, come back and sync.
func TestLogTailCutOffLive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := r.owner("owner")
	at := r.edge("a")
	edges := []*edge{at, r.edge("b")}
	ids := at.register(t, 2)
	got := make(chan packet, 64)
	connect := func() (a, b *session) {
		t.Helper()
		a, err := open(edges[0].addr, name(0), deviceWindows, func(packet) {})
		if err != nil {
			t.Fatal(err)
		}
		b, err = open(edges[1].addr, name(1), deviceWindows, func(p packet) {
			if p.command == cmdMessage {
				got <- p
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	a, b := connect()
	a.sayAll(t, ids[1], 1, 10)
	for i, text := range said(1, 10) {
		arrives(t, got, uint32(i+1), text)
	}
	stream := event.Direct(ids[0], ids[1]).Stream(rigPartitions)
	files := filepath.Join("jetstream", "$G", "streams", stream.String())
	old := filepath.Join(t.TempDir(), "stream")
	r.restartLog(func() { copyTree(t, filepath.Join(r.store, files), old) })
	a.sayAll(t, ids[1], 11, 20)
	for i, text := range said(11, 20) {
		arrives(t, got, uint32(i+11), text)
	}
	r.restartLog(func() { copyTree(t, old, filepath.Join(r.store, files)) })

	for _, s := range []*session{a, b} {
		select {
		case <-s.done:
		case <-time.After(patience):
			t.Fatal("a session whose positions are lost was not closed")
		}
	}
	if r.lines.count("renewing the epoch") == 0 || r.lines.count("epoch renewed", "stream="+stream.String()) == 0 {
		t.Error("the loss was not said in the log")
	}
	r.eventually("both nodes are ready", func() bool {
		return errors.Join(edges[0].node.Ready(), edges[1].node.Ready()) == nil
	})
	a, b = connect()
	defer a.close()
	defer b.close()
	b.has(t, ids[0], said(1, 10))
	if id, err := a.say(ids[1], "anew"); err != nil || id != 11 {
		t.Fatalf("the message after the loss got id %d: %v", id, err)
	}
	arrives(t, got, 11, "anew")
	replayed(t, o, stream)
}

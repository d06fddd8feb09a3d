package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/event"
)

// arrives waits for the push of one message.
func arrives(t *testing.T, got <-chan e2etest.Packet, id uint32, text string) {
	t.Helper()
	select {
	case p := <-got:
		if p.Body.Num(3) != id || p.Body.Text(6) != text {
			t.Fatalf("%d %q was pushed, waited for %d %q", p.Body.Num(3), p.Body.Text(6), id, text)
		}
	case <-time.After(e2etest.Patience):
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
	a, b, _ := talkers(t, s.Clients, ids)
	a.SayAll(t, ids[1], 1, 10)
	a.End()
	b.End()
	s.stop(t)
	copyTree(t, filepath.Join(data, "nats"), old)

	s = start(t, data)
	a, b, _ = talkers(t, s.Clients, ids)
	a.SayAll(t, ids[1], 11, 20)
	b.Has(t, ids[0], e2etest.Said(1, 20))
	a.End()
	b.End()
	s.stop(t)
	copyTree(t, old, filepath.Join(data, "nats"))

	s = start(t, data)
	stream := event.Direct(ids[0], ids[1]).Stream(event.DefaultPartitions)
	if _, err := s.Out.Find("level=ERROR", fmt.Sprintf("timeline-%02d", stream.Partition()), "renewing the epoch"); err != nil {
		t.Error(err)
	}
	if _, err := s.Out.Find("epoch renewed", "stream="+stream.String()); err != nil {
		t.Error(err)
	}
	a, b, got := talkers(t, s.Clients, ids)
	b.Has(t, ids[0], e2etest.Said(1, 10))
	if id, err := a.Say(ids[1], "anew"); err != nil || id != 11 {
		t.Fatalf("the message after the loss got id %d: %v", id, err)
	}
	arrives(t, got, 11, "anew")
	b.Has(t, ids[0], append(e2etest.Said(1, 10), "anew"))
	a.End()
	b.End()
	s.stop(t)
	verify(t, data)
}

// TestLogTailCutOffLive is the same under nodes and owners that stay up, as when a
// server of the log is restored. Sessions are closed, come back and sync.
func TestLogTailCutOffLive(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	at := r.Edge("a")
	edges := []*e2etest.Edge{at, r.Edge("b")}
	ids := at.Register(t, 2)
	got := make(chan e2etest.Packet, 64)
	connect := func() (a, b *e2etest.Session) {
		t.Helper()
		a, err := e2etest.Open(edges[0].Addr, e2etest.Name(0), e2etest.DeviceWindows, func(e2etest.Packet) {})
		if err != nil {
			t.Fatal(err)
		}
		b, err = e2etest.Open(edges[1].Addr, e2etest.Name(1), e2etest.DeviceWindows, func(p e2etest.Packet) {
			if p.Command == e2etest.CmdMessage {
				got <- p
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	a, b := connect()
	a.SayAll(t, ids[1], 1, 10)
	for i, text := range e2etest.Said(1, 10) {
		arrives(t, got, uint32(i+1), text)
	}
	stream := event.Direct(ids[0], ids[1]).Stream(e2etest.RigPartitions)
	files := filepath.Join("jetstream", "$G", "streams", stream.String())
	old := filepath.Join(t.TempDir(), "stream")
	r.RestartLog(func() { copyTree(t, filepath.Join(r.Store, files), old) })
	a.SayAll(t, ids[1], 11, 20)
	for i, text := range e2etest.Said(11, 20) {
		arrives(t, got, uint32(i+11), text)
	}
	r.RestartLog(func() { copyTree(t, old, filepath.Join(r.Store, files)) })

	for _, s := range []*e2etest.Session{a, b} {
		select {
		case <-s.Done:
		case <-time.After(e2etest.Patience):
			t.Fatal("a session whose positions are lost was not closed")
		}
	}
	r.Eventually("the loss is said in the log", func() bool {
		return r.Lines.Count("renewing the epoch") > 0 && r.Lines.Count("epoch renewed", "stream="+stream.String()) > 0
	})
	r.Eventually("both nodes are ready", func() bool {
		return errors.Join(edges[0].Node.Ready(), edges[1].Node.Ready()) == nil
	})
	a, b = connect()
	defer a.End()
	defer b.End()
	b.Has(t, ids[0], e2etest.Said(1, 10))
	if id, err := a.Say(ids[1], "anew"); err != nil || id != 11 {
		t.Fatalf("the message after the loss got id %d: %v", id, err)
	}
	arrives(t, got, 11, "anew")
	replayed(t, o, stream)
}

package owner

import (
	"slices"
	"testing"
	"time"

	"godwit/schema/event"
	"godwit/schema/frame"
)

func beatOf(process string, stopping bool, streams ...*frame.ProjectorStream) *frame.ProjectorBeat {
	return &frame.ProjectorBeat{Process: process, Stopping: stopping, Streams: streams}
}

// A projector lives while it is heard, and is gone at once when it says so.
func TestWhoIsLive(t *testing.T) {
	r := roster{self: "me"}
	t0 := time.Unix(1000, 0)
	names := func(now time.Time) (all []string) {
		for _, p := range r.live(now) {
			all = append(all, p.name)
		}
		return all
	}
	term := &frame.Term{Revision: 3}
	owns := &frame.ProjectorStream{Stream: 4, Term: term, Warm: true}
	for _, name := range []string{"b", "a", "me", ""} {
		if fresh, _ := r.hear(beatOf(name, false, owns), t0); fresh != (name == "a" || name == "b") {
			t.Errorf("%q: fresh %v", name, fresh)
		}
	}
	if got := names(t0.Add(beatSilence)); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("live are %v", got)
	}
	if fresh, _ := r.hear(beatOf("b", false, owns), t0.Add(time.Second)); fresh {
		t.Error("b came again without having gone")
	}
	if got := names(t0.Add(beatSilence + 1)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("live are %v", got)
	}
	b := r.live(t0.Add(2 * time.Second))[0]
	if !warmFor(&b, 4, t0.Add(2*time.Second), 2*time.Second) || warmFor(&b, 4, t0.Add(2*time.Second), 3*time.Second) || warmFor(&b, 5, t0, 0) {
		t.Error("b is warm since it was first heard to be")
	}
	if _, left := r.hear(beatOf("b", true), t0.Add(2*time.Second)); !slices.Equal(left, []event.Stream{4}) {
		t.Errorf("b leaves %v", left)
	}
	if _, left := r.hear(beatOf("b", true), t0.Add(2*time.Second)); left != nil || slices.Contains(names(t0.Add(2*time.Second)), "b") {
		t.Errorf("b leaves %v once more, live are %v", left, names(t0.Add(2*time.Second)))
	}
	if r.live(t0.Add(time.Hour)); len(r.peers) != 0 {
		t.Errorf("%d are remembered", len(r.peers))
	}
}

// The latest term owns, whoever else believes to.
func TestTheLatestTermOwns(t *testing.T) {
	term := func(revision, start uint64) *frame.Term { return &frame.Term{Revision: revision, Start: start} }
	streams := func(t *frame.Term) map[event.Stream]*frame.ProjectorStream {
		return map[event.Stream]*frame.ProjectorStream{1: {Term: t}, 2: {}}
	}
	live := []peer{{name: "a", streams: streams(term(5, 1))}, {name: "b", streams: streams(term(4, 9))}}
	for want, own := range map[string]*frame.Term{"a": nil, "me": term(5, 2), "a ": term(5, 0)} {
		terms := map[event.Stream]*frame.Term{}
		if own != nil {
			terms[1] = own
		}
		if got := owners("me", terms, live); got[1] != want[:max(1, len(want)-b2i(want == "a "))] || got[2] != "" {
			t.Errorf("with own %v: %v, want %s", own, got, want)
		}
	}
}

func TestLag(t *testing.T) {
	var l lag
	t0 := time.Unix(1000, 0)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	l.note(at(0), 10, 10)
	if d, n := l.behind(at(5), 10); d != 0 || n != 0 || !l.known {
		t.Errorf("behind by %s, %d", d, n)
	}
	l.note(at(6), 20, 10)
	l.note(at(7), 30, 15)
	if d, n := l.behind(at(8), 15); d != 2*time.Second || n != 15 {
		t.Errorf("behind by %s, %d", d, n)
	}
	if d, n := l.behind(at(8), 25); d != time.Second || n != 5 {
		t.Errorf("behind by %s, %d", d, n)
	}
	l.note(at(9), 5, 0) // rolled back
	if d, n := l.behind(at(10), 0); d != time.Second || n != 5 {
		t.Errorf("behind by %s, %d", d, n)
	}
	for i := range 1000 {
		l.note(at(20+i), uint64(100+i), 0)
	}
	if d, _ := l.behind(at(1020), 0); d != 1011*time.Second || len(l.ends) > mostEnds {
		t.Errorf("behind by %s, %d ends", d, len(l.ends))
	}
}

package bus

import (
	"errors"
	"testing"
	"time"

	"godwit/schema/event"

	"pgregory.net/rapid"
)

// What one who waits for a lease makes of what it hears and reads.
func TestALeaseIsFreeWhenItsHolderIsSilent(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	const ttl = int(LeaseTTL / time.Millisecond)
	for name, c := range map[string]struct {
		tell func(s *sighting)
		free map[int]bool // by milliseconds
	}{
		"nobody has it":         {func(*sighting) {}, map[int]bool{0: true}},
		"it was given up":       {func(s *sighting) { s.read("a", 1, at(0)); s.read("", 0, at(10)) }, map[int]bool{10: true}},
		"read once":             {func(s *sighting) { s.read("a", 1, at(0)) }, map[int]bool{0: false, ttl - 1: false, ttl: true}},
		"read again, unrenewed": {func(s *sighting) { s.read("a", 1, at(0)); s.read("a", 1, at(ttl)) }, map[int]bool{ttl: true}},
		"renewed unheard":       {func(s *sighting) { s.read("a", 1, at(0)); s.read("a", 2, at(ttl)) }, map[int]bool{ttl: false, 2*ttl - 1: false}},
		"heard":                 {func(s *sighting) { s.read("a", 1, at(0)); s.hear("a", 2, at(900)) }, map[int]bool{ttl + 899: false, ttl + 900: true}},
		"heard, and not stored": {func(s *sighting) { s.read("a", 1, at(0)); s.hear("a", 2, at(900)); s.read("a", 1, at(ttl)) }, map[int]bool{ttl: false}},
		"another one tries":     {func(s *sighting) { s.read("a", 1, at(0)); s.hear("b", 1, at(900)) }, map[int]bool{ttl: true}},
		"another one has it":    {func(s *sighting) { s.read("a", 1, at(0)); s.hear("b", 1, at(900)); s.read("b", 1, at(901)) }, map[int]bool{ttl: false, ttl + 901: true}},
		"an outage of our own":  {func(s *sighting) { s.read("a", 1, at(0)); s.anew(at(9000)) }, map[int]bool{9000: false, 9000 + ttl: true}},
	} {
		var s sighting
		c.tell(&s)
		for ms, free := range c.free {
			if s.free(at(ms)) != free {
				t.Errorf("%s: free after %d ms is %v", name, ms, !free)
			}
		}
	}
}

// However it is heard and read, a holder that makes itself heard often enough keeps its lease.
func TestAHolderThatIsHeardKeepsItsLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now, s := time.Unix(1000, 0), sighting{}
		s.read("a", 0, now)
		stored := uint64(0)
		for n := uint64(1); n < 20; n++ {
			now = now.Add(rapid.Custom(func(t *rapid.T) time.Duration {
				return time.Duration(rapid.IntRange(0, int(LeaseTTL)-1).Draw(t, "pause"))
			}).Draw(t, "after"))
			if s.free(now) {
				t.Fatalf("free at attempt %d", n)
			}
			if rapid.Bool().Draw(t, "stored") {
				stored = n
			}
			if rapid.Bool().Draw(t, "a rival") {
				s.hear("b", n, now)
			}
			if n == stored && rapid.Bool().Draw(t, "unheard") {
				s.read("a", stored, now)
			} else {
				s.hear("a", n, now)
			}
			s.read("a", stored, now)
		}
	})
}

func TestALeaderNeedsToHearMostReplicas(t *testing.T) {
	here, late, gone := replicaState{Active: time.Second}, replicaState{Active: unheard}, replicaState{Offline: true}
	for name, c := range map[string]struct {
		leader   string
		replicas []replicaState
		ok       bool
	}{
		"one alone":         {"s0", nil, true},
		"three":             {"s0", []replicaState{here, here}, true},
		"two of three":      {"s0", []replicaState{here, late}, true},
		"one of three":      {"s0", []replicaState{gone, late}, false},
		"three of five":     {"s0", []replicaState{here, here, gone, late}, true},
		"two of five":       {"s0", []replicaState{here, late, gone, late}, false},
		"one of two":        {"s0", []replicaState{late}, false},
		"nobody leads":      {"", []replicaState{here, here}, false},
		"nobody leads none": {"", nil, false},
	} {
		i := &streamInfo{Cluster: &clusterState{Leader: c.leader, Replicas: c.replicas}}
		if err := i.quorum(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(streamInfo).quorum(); err != nil {
		t.Errorf("no cluster: %v", err)
	}
}

// Only what has lasted counts, and not for a stream that has stored something since.
func TestOnlyLastingTroubleCounts(t *testing.T) {
	now := time.Unix(1000, 0)
	never := func(event.Stream) time.Time { return time.Time{} }
	oops := errors.New("oops")
	old, young := now.Add(-patience), now.Add(-patience+1)
	for name, c := range map[string]struct {
		h      *health
		stored func(event.Stream) time.Time
		since  time.Time // zero: writable
	}{
		"nothing":               {&health{}, never, time.Time{}},
		"just cut":              {&health{cut: trouble{young, oops}}, never, time.Time{}},
		"cut":                   {&health{cut: trouble{old, oops}}, never, old},
		"unanswered for long":   {&health{unanswered: map[event.Stream]*trouble{1: {old, oops}}}, never, old},
		"just unanswered":       {&health{unanswered: map[event.Stream]*trouble{1: {young, oops}}}, never, time.Time{}},
		"unanswered but stores": {&health{unanswered: map[event.Stream]*trouble{1: {old, oops}}}, func(event.Stream) time.Time { return young }, time.Time{}},
		"refused":               {&health{refused: map[event.Stream]error{1: oops}, refusedSince: map[event.Stream]time.Time{1: old}}, never, old},
		"overdue":               {&health{waiting: map[event.Stream]int{1: 2}, waitingSince: map[event.Stream]time.Time{1: old}}, never, old},
		"no more overdue":       {&health{waiting: map[event.Stream]int{1: 0}, waitingSince: map[event.Stream]time.Time{1: old}}, never, time.Time{}},
		"the oldest counts":     {&health{cut: trouble{old, oops}, unanswered: map[event.Stream]*trouble{1: {old.Add(-1), oops}}}, never, old.Add(-1)},
	} {
		e := c.h.held(now, c.stored)
		switch {
		case (e == nil) != c.since.IsZero():
			t.Errorf("%s: %v", name, e)
		case e != nil && !e.Since.Equal(c.since):
			t.Errorf("%s: since %v, want %v", name, e.Since, c.since)
		}
	}
}

package owner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"godwit/schema/event"
)

// cluster is what assignments make of a number of projectors, one after the other.
type cluster struct {
	streams  []event.Stream
	standbys int
	live     []candidate
	places   map[event.Stream]place
}

func (c *cluster) assign() { c.places = assign(c.streams, c.standbys, c.live) }

// settle has every projector do what it is assigned, and keep what it kept where it stays.
func (c *cluster) settle() {
	for i := range c.live {
		l := &c.live[i]
		l.owns = nil
		for _, s := range c.streams {
			rank := c.places[s].rankOf(l.name)
			if rank == 0 {
				l.owns = append(l.owns, s)
			}
			if rank >= 0 && !slices.Contains(l.keeps, s) {
				l.keeps = append(l.keeps, s)
			}
		}
	}
}

// owners is how many streams of a kind each projector owns.
func (c *cluster) owners(of func(event.Stream) bool) map[string]int {
	n := map[string]int{}
	for _, l := range c.live {
		n[l.name] = 0
	}
	for s, p := range c.places {
		if of(s) {
			n[p.owner]++
		}
	}
	return n
}

func allStreams(event.Stream) bool { return true }

func spreadOf(n map[string]int) (least, most int) {
	values := slices.Collect(maps.Values(n))
	return slices.Min(values), slices.Max(values)
}

// check holds every assignment against what assign promises.
func (c *cluster) check(t interface{ Fatalf(string, ...any) }) {
	if len(c.places) != len(c.streams) {
		t.Fatalf("%d places for %d streams", len(c.places), len(c.streams))
	}
	for what, of := range map[string]func(event.Stream) bool{"timelines": event.Stream.IsConversation, "streams": allStreams} {
		if least, most := spreadOf(c.owners(of)); most-least > 1 {
			t.Fatalf("%s are owned from %d to %d: %v", what, least, most, c.places)
		}
	}
	stands := map[string]int{}
	timelines := 0
	want := c.standbys
	if want < 0 || want > len(c.live)-1 {
		want = len(c.live) - 1
	}
	for s, p := range c.places {
		count := want
		if !s.IsConversation() {
			count = len(c.live) - 1
		} else {
			timelines++
			for _, name := range p.standbys {
				stands[name]++
			}
		}
		names := append([]string{p.owner}, p.standbys...)
		slices.Sort(names)
		if len(p.standbys) != count || len(slices.Compact(names)) != count+1 {
			t.Fatalf("%s: owner %s, standbys %v, want %d others", s, p.owner, p.standbys, count)
		}
		for _, name := range names {
			if !slices.ContainsFunc(c.live, func(l candidate) bool { return l.name == name }) {
				t.Fatalf("%s is with %q, who does not live", s, name)
			}
		}
	}
	share := (timelines*want + len(c.live) - 1) / len(c.live)
	owned := (timelines + len(c.live) - 1) / len(c.live)
	for name, n := range stands {
		if n > share+owned {
			t.Fatalf("%s stands by for %d timelines, a share is %d, and %d as owner", name, n, share, owned)
		}
	}
}

func changedOwner(was, is map[event.Stream]place, of func(event.Stream) bool) (streams []event.Stream) {
	for s, p := range is {
		if of(s) && was[s].owner != "" && was[s].owner != p.owner {
			streams = append(streams, s)
		}
	}
	return streams
}

func TestAssignmentsAreBalancedAndMoveLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cluster{streams: event.Streams(rapid.IntRange(1, 64).Draw(t, "partitions")), standbys: rapid.IntRange(-1, 3).Draw(t, "standbys")}
		next := 0
		come := func(t *rapid.T) {
			if len(c.live) >= 12 {
				t.Skip("full")
			}
			n, was := len(c.live), c.places
			name := fmt.Sprint("p", next, rapid.StringMatching(`[a-z]{0,8}`).Draw(t, "name"))
			next++
			c.live = append(c.live, candidate{name: name})
			c.assign()
			c.check(t)
			if n == 0 {
				return
			}
			moves := changedOwner(was, c.places, event.Stream.IsConversation)
			if most := (len(c.streams) - 2) / (n + 1); len(moves) > most {
				t.Fatalf("%d timelines moved when one came to %d, at most %d", len(moves), n, most)
			}
			for _, s := range moves {
				if c.places[s].owner != name {
					t.Fatalf("%s moved to %s, who was there before", s, c.places[s].owner)
				}
			}
		}
		come(t)
		c.settle()
		t.Repeat(map[string]func(*rapid.T){
			"comes": func(t *rapid.T) { come(t); c.settle() },
			"goes": func(t *rapid.T) {
				if len(c.live) < 2 {
					t.Skip("the last one")
				}
				i, was := rapid.IntRange(0, len(c.live)-1).Draw(t, "who"), c.places
				gone := c.live[i].name
				c.live = slices.Delete(c.live, i, i+1)
				c.assign()
				c.check(t)
				for _, s := range changedOwner(was, c.places, event.Stream.IsConversation) {
					if was[s].owner != gone {
						t.Fatalf("%s moved from %s to %s when %s went", s, was[s].owner, c.places[s].owner, gone)
					}
				}
				c.settle()
			},
			"stays": func(t *rapid.T) {
				was := c.places
				c.assign()
				if m := changedOwner(was, c.places, allStreams); len(m) > 0 {
					t.Fatalf("%v moved though nothing happened", m)
				}
				if !maps.EqualFunc(was, c.places, func(a, b place) bool { return a.owner == b.owner && len(a.standbys) == len(b.standbys) }) {
					t.Fatalf("was %v, is %v", was, c.places)
				}
				c.settle()
			},
			"forgets": func(t *rapid.T) { // what nobody owns or keeps any more
				i := rapid.IntRange(0, len(c.live)-1).Draw(t, "who")
				c.live[i].keeps = slices.DeleteFunc(c.live[i].keeps, func(s event.Stream) bool { return !slices.Contains(c.live[i].owns, s) })
			},
		})
	})
}

// The assignment is right from wherever it begins, and the same whatever the order.
func TestAssignmentOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &cluster{streams: event.Streams(rapid.IntRange(1, 32).Draw(t, "partitions")), standbys: rapid.IntRange(-1, 3).Draw(t, "standbys")}
		some := rapid.SliceOf(rapid.SampledFrom(append(c.streams, 60000)))
		for i := range rapid.IntRange(1, 9).Draw(t, "projectors") {
			c.live = append(c.live, candidate{name: fmt.Sprint("p", i), owns: some.Draw(t, "owns"), keeps: some.Draw(t, "keeps")})
		}
		c.assign()
		c.check(t)
		first := c.places
		shuffle := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		shuffle.Shuffle(len(c.live), func(i, k int) { c.live[i], c.live[k] = c.live[k], c.live[i] })
		shuffle.Shuffle(len(c.streams), func(i, k int) { c.streams[i], c.streams[k] = c.streams[k], c.streams[i] })
		for i := range c.live {
			shuffle.Shuffle(len(c.live[i].owns), func(x, y int) { c.live[i].owns[x], c.live[i].owns[y] = c.live[i].owns[y], c.live[i].owns[x] })
		}
		c.assign()
		if !maps.EqualFunc(first, c.places, func(a, b place) bool { return a.owner == b.owner && slices.Equal(a.standbys, b.standbys) }) {
			t.Fatalf("in another order: %v, before %v", c.places, first)
		}
	})
}

func TestAssignmentPrefersWhoKeepsAStream(t *testing.T) {
	streams := event.Streams(4)
	a := candidate{name: "a", owns: streams, keeps: streams}
	b := candidate{name: "b", keeps: []event.Stream{event.ConversationStream(1), event.ConversationStream(3)}}
	places := assign(streams, 1, []candidate{a, b})
	for i, want := range []string{"a", "b", "a", "b"} {
		if p := places[event.ConversationStream(i)]; p.owner != want {
			t.Errorf("%s is with %s, want %s", event.ConversationStream(i), p.owner, want)
		}
	}
	if len(assign(streams, 1, nil)) != 0 {
		t.Error("nobody was given something")
	}
}

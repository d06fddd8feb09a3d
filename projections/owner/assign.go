package owner

import (
	"cmp"
	"hash/fnv"
	"slices"

	"godwit/schema/event"
)

// candidate is a live projector, as far as the assignment asks about it.
type candidate struct {
	name  string
	owns  []event.Stream // it fans out
	keeps []event.Stream // it follows, whether it owns them or stands by
}

// place is who is to do what for one stream.
type place struct {
	owner    string
	standbys []string // in the order in which they are to take over
}

// rankOf is 0 for the owner, 1 for the first standby and so on; -1 for who has no place.
func (p place) rankOf(name string) int {
	if p.owner == name {
		return 0
	}
	if i := slices.Index(p.standbys, name); i >= 0 {
		return i + 1
	}
	return -1
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// assign gives each stream an owner and so many standbys out of the live projectors (fewer
// where there are not enough; all others where standbys is below 0). It is a pure function,
// and the order of what it is given does not matter.
//
// Timelines are balanced within one, and so are all streams together. Whoever owns a stream
// keeps it as long as that holds: what moves is what some projectors own beyond their share,
// and no more. So nothing moves while it is balanced; when a projector goes, only what it
// owned gets another owner; when one comes to n, at most a part of n+1 of the timelines goes
// to it, rounded down, and nothing else moves but possibly PEOPLE and PRESENCE. A stream
// rather goes to a projector that keeps it already.
//
// PEOPLE and PRESENCE are kept by all: whoever does not own them stands by.
func assign(streams []event.Stream, standbys int, live []candidate) map[event.Stream]place {
	a := assignment{keeps: map[string]map[event.Stream]bool{}, load: map[string]int{}, owner: map[event.Stream]string{}, stands: map[string]int{}}
	for _, c := range live {
		if a.keeps[c.name] != nil {
			continue
		}
		a.names = append(a.names, c.name)
		a.keeps[c.name] = map[event.Stream]bool{}
		for _, s := range c.keeps {
			a.keeps[c.name][s] = true
		}
	}
	slices.Sort(a.names)
	places := make(map[event.Stream]place, len(streams))
	if len(a.names) == 0 {
		return places
	}
	now := map[event.Stream]string{}
	for _, c := range live {
		for _, s := range c.owns {
			// Two that own a stream are not to be told apart here; the names decide.
			if was := now[s]; was == "" || c.name < was {
				now[s] = c.name
			}
		}
	}
	streams = slices.Compact(slices.Sorted(slices.Values(streams)))
	var timelines, rest []event.Stream
	for _, s := range streams {
		if s.IsConversation() {
			timelines = append(timelines, s)
		} else {
			rest = append(rest, s)
		}
	}
	a.spread(timelines, now)
	a.spread(rest, now)
	for _, s := range rest {
		places[s] = place{a.owner[s], a.order(s, a.others(s))}
	}
	for s, names := range a.standbys(timelines, standbys) {
		places[s] = place{a.owner[s], names}
	}
	return places
}

type assignment struct {
	names  []string // sorted
	keeps  map[string]map[event.Stream]bool
	load   map[string]int // streams owned
	owner  map[event.Stream]string
	stands map[string]int // timelines stood by for
}

// spread gives streams their owners, so that the load of all projectors is balanced again.
func (a *assignment) spread(streams []event.Stream, now map[event.Stream]string) {
	held := map[string][]event.Stream{}
	total := len(streams)
	for _, s := range streams {
		if a.keeps[now[s]] != nil {
			held[now[s]] = append(held[now[s]], s)
		}
	}
	for _, n := range a.load {
		total += n
	}
	// So many projectors have one more than the others: those that have most now, for then
	// the fewest streams move.
	share, more := total/len(a.names), total%len(a.names)
	most := slices.SortedStableFunc(slices.Values(a.names), func(x, y string) int {
		return cmp.Compare(a.load[y]+len(held[y]), a.load[x]+len(held[x]))
	})
	target := map[string]int{}
	for i, name := range most {
		target[name] = share + b2i(i < more)
	}
	room := func(name string) int { return target[name] - a.load[name] }
	short := slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return len(held[name]) >= room(name) })
	for _, name := range a.names {
		// What one of those that get more keeps already goes first.
		slices.SortStableFunc(held[name], func(x, y event.Stream) int { return cmp.Compare(a.kept(x, short), a.kept(y, short)) })
		keep := min(len(held[name]), max(room(name), 0))
		for _, s := range held[name][:keep] {
			a.owner[s] = name
		}
		a.load[name] += keep
	}
	free := slices.DeleteFunc(slices.Clone(streams), func(s event.Stream) bool { return a.owner[s] != "" })
	// Those that somebody keeps first, so that he has room for them.
	slices.SortStableFunc(free, func(x, y event.Stream) int { return cmp.Compare(a.kept(y, short), a.kept(x, short)) })
	for _, s := range free {
		open := slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return room(name) <= 0 })
		to := a.order(s, open)[0]
		a.owner[s] = to
		a.load[to]++
	}
}

// kept is how many of the projectors keep a stream.
func (a *assignment) kept(s event.Stream, by []string) (n int) {
	for _, name := range by {
		n += b2i(a.keeps[name][s])
	}
	return n
}

// order sorts projectors by how well a stream would be with them: those that keep it
// first, then as a hash of both says.
func (a *assignment) order(s event.Stream, names []string) []string {
	return slices.SortedFunc(slices.Values(names), func(x, y string) int {
		return cmp.Or(cmp.Compare(b2i(a.keeps[y][s]), b2i(a.keeps[x][s])), cmp.Compare(affinity(y, s), affinity(x, s)), cmp.Compare(x, y))
	})
}

func (a *assignment) others(s event.Stream) []string {
	return slices.DeleteFunc(slices.Clone(a.names), func(name string) bool { return name == a.owner[s] })
}

// standbys chooses who stands by for the timelines: rather who keeps one already, and
// nobody for many more than his share.
func (a *assignment) standbys(timelines []event.Stream, count int) map[event.Stream][]string {
	if count < 0 || count > len(a.names)-1 {
		count = len(a.names) - 1
	}
	chosen := make(map[event.Stream][]string, len(timelines))
	share := (len(timelines)*count + len(a.names) - 1) / len(a.names)
	choose := func(s event.Stream, name string) {
		chosen[s] = append(chosen[s], name)
		a.stands[name]++
	}
	for _, s := range timelines {
		chosen[s] = nil
		for _, name := range a.order(s, a.others(s)) {
			if len(chosen[s]) < count && a.keeps[name][s] && a.stands[name] < share {
				choose(s, name)
			}
		}
	}
	for _, s := range timelines {
		for len(chosen[s]) < count {
			open := slices.DeleteFunc(a.others(s), func(name string) bool { return slices.Contains(chosen[s], name) })
			choose(s, slices.MinFunc(open, func(x, y string) int {
				return cmp.Or(cmp.Compare(a.stands[x], a.stands[y]), cmp.Compare(affinity(y, s), affinity(x, s)), cmp.Compare(x, y))
			}))
		}
	}
	a.level(timelines, chosen, share)
	return chosen
}

// level takes from those that stand by for more than their share, where somebody with less
// can do it. Somebody who can't owns the timeline or stands by for it himself, so nobody
// is left with more than his share and that of the owners together.
func (a *assignment) level(timelines []event.Stream, chosen map[event.Stream][]string, share int) {
	for _, s := range timelines {
		for i, name := range chosen[s] {
			if a.stands[name] <= share {
				continue
			}
			less := slices.DeleteFunc(a.others(s), func(n string) bool { return a.stands[n] >= share || slices.Contains(chosen[s], n) })
			if len(less) > 0 {
				to := a.order(s, less)[0]
				chosen[s][i] = to
				a.stands[name]--
				a.stands[to]++
			}
		}
	}
}

// affinity is a number for a projector and a stream by which streams without an owner
// fall to different projectors.
func affinity(name string, s event.Stream) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(append([]byte(name), 0, byte(s), byte(s>>8))) // never fails
	// The last bytes of FNV hardly reach its upper bits.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

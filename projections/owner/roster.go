package owner

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// Times of beats.
const (
	beatEvery = 500 * time.Millisecond
	// beatSilence is how long a projector may be silent before it counts as gone.
	beatSilence = 2 * time.Second
	// beatForgotten is after what nothing is known of it any more.
	beatForgotten = time.Minute
	// mostProjectors bounds what a roster remembers.
	mostProjectors = 1024
)

// roster is which other projectors there are, by what is heard of them.
type roster struct {
	mu    sync.Mutex
	self  string
	peers map[string]*peer
}

// peer is another projector. What it says of a stream is replaced as a whole.
type peer struct {
	name, node string
	heard      time.Time
	stopping   bool
	streams    map[event.Stream]*frame.ProjectorStream
	warmSince  map[event.Stream]time.Time
}

// hear takes a beat in. It tells whether its sender was not live before, and gives the
// streams that it is about to give up, where it says for the first time that it stops.
func (r *roster) hear(b *frame.ProjectorBeat, now time.Time) (fresh bool, left []event.Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Process == "" || b.Process == r.self {
		return false, nil
	}
	p := r.peers[b.Process]
	if p == nil {
		if len(r.peers) >= mostProjectors {
			return false, nil
		}
		if r.peers == nil {
			r.peers = map[string]*peer{}
		}
		p = &peer{name: b.Process}
		r.peers[b.Process] = p
	}
	fresh = !p.live(now) && !b.Stopping
	if b.Stopping && !p.stopping {
		for s, st := range p.streams {
			if st.Term != nil {
				left = append(left, s)
			}
		}
	}
	was := p.warmSince
	p.node, p.heard, p.stopping = b.Node, now, b.Stopping
	p.streams, p.warmSince = make(map[event.Stream]*frame.ProjectorStream, len(b.Streams)), map[event.Stream]time.Time{}
	for _, st := range b.Streams {
		s := event.Stream(st.Stream)
		p.streams[s] = st
		if st.Warm {
			p.warmSince[s] = now
			if since, ok := was[s]; ok && !fresh {
				p.warmSince[s] = since
			}
		}
	}
	return fresh, left
}

func (p *peer) live(now time.Time) bool {
	return !p.heard.IsZero() && !p.stopping && now.Sub(p.heard) <= beatSilence
}

// live are the others that are there, by name.
func (r *roster) live(now time.Time) []peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	var live []peer
	maps.DeleteFunc(r.peers, func(_ string, p *peer) bool { return now.Sub(p.heard) > beatForgotten })
	for _, name := range slices.Sorted(maps.Keys(r.peers)) {
		if p := r.peers[name]; p.live(now) {
			live = append(live, *p)
		}
	}
	return live
}

// later tells whether a term is later than another one; nil is earlier than any.
func later(a, b *frame.Term) bool {
	return a != nil && (b == nil || cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Start, b.Start)) > 0)
}

// owners are who fans a stream out, by the latest term that is heard of. self's own are
// given.
func owners(self string, own map[event.Stream]*frame.Term, live []peer) map[event.Stream]string {
	owner, term := map[event.Stream]string{}, map[event.Stream]*frame.Term{}
	for s, t := range own {
		owner[s], term[s] = self, t
	}
	for _, p := range live {
		for s, st := range p.streams {
			if later(st.Term, term[s]) {
				owner[s], term[s] = p.name, st.Term
			}
		}
	}
	return owner
}

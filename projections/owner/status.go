package owner

import (
	"context"
	"fmt"
	"maps"
	"time"

	"godwit/bus"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Times of a view's lag.
const (
	lagEvery = time.Second
	// warmWithin is how far behind a view may be that could be owned at once.
	warmWithin = 1500 * time.Millisecond
	// lagLimit is how far behind it may be in a process that is ready.
	lagLimit = 10 * time.Second
	// termGrace is how long nobody may fan out a stream, where others could.
	termGrace = 5 * time.Second
	// epochEvery is how often a follower asks for the stream's epoch, in looks at its lag.
	epochEvery = 5
)

// lag is how far a fold is behind its stream. It knows no clock but the process's own:
// what was the end a moment ago must be folded by now.
type lag struct {
	known bool   // the end was ever asked for
	last  uint64 // newest end
	ends  []end  // those that are not folded yet
}

type end struct {
	at   time.Time
	last uint64
}

// mostEnds bounds what a lag remembers.
const mostEnds = 64

// note takes in where the stream ends, and how far the fold is.
func (l *lag) note(now time.Time, last, folded uint64) {
	if last < l.last { // rolled back
		l.ends = nil
	}
	l.known, l.last = true, last
	if len(l.ends) < mostEnds {
		l.ends = append(l.ends, end{now, last})
	}
	l.drop(folded)
}

func (l *lag) drop(folded uint64) {
	for len(l.ends) > 0 && l.ends[0].last <= folded {
		l.ends = l.ends[1:]
	}
}

// behind is how long ago the stream ended where the fold is now, and how many records it
// lacks of the newest end that is known.
func (l *lag) behind(now time.Time, folded uint64) (time.Duration, uint64) {
	l.drop(folded)
	records := l.last - min(folded, l.last)
	if len(l.ends) == 0 {
		return 0, records
	}
	return now.Sub(l.ends[0].at), records
}

// watch keeps an eye on the stream's end and on its epoch.
func (st *stream) watch(ctx context.Context) {
	for n := 0; ; n++ {
		asking, cancel := context.WithTimeout(ctx, 2*lagEvery)
		last, err := st.p.bus.LastSequence(asking, st.s)
		cancel()
		if err == nil {
			st.mu.Lock()
			st.lag.note(time.Now(), last, st.folded)
			st.mu.Unlock()
		}
		if n%epochEvery == epochEvery-1 {
			if err := st.learnEpoch(ctx); err != nil && ctx.Err() == nil {
				st.p.log.Warn("epoch not learned", "view", st.fold.Name(), "err", err)
			}
		}
		wait := lagEvery
		if !st.warm() {
			wait /= 5 // it may be about to become so
		}
		if !pause(ctx, nil, wait) {
			return
		}
	}
}

// learnEpoch takes over an epoch that others have renewed, where this view's records are
// the log's own: it stands below the place where the log was cut off. If they are not,
// following finds that out.
func (st *stream) learnEpoch(ctx context.Context) error {
	st.epochMu.Lock()
	defer st.epochMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	epoch, err := st.p.bus.Epoch(ctx, st.s)
	if err != nil || epoch == st.view.Epoch() || st.view.Epoch() == (event.ID{}) {
		return err
	}
	if same, err := st.ofThisLog(ctx); !same {
		return err
	}
	st.p.log.Warn("the stream has a new epoch, and this view was below the cut", "view", st.fold.Name(), "epoch", epoch)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.endTerm()
	st.resets++ // what was told under the old one ends
	st.view.SetEpoch(epoch)
	st.wake()
	return nil
}

// warm tells whether the view could be owned at once.
func (st *stream) warm() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.warmLocked(time.Now())
}

func (st *stream) warmLocked(now time.Time) bool {
	behind, _ := st.lag.behind(now, st.folded)
	return st.stopped == nil && st.lag.known && behind <= warmWithin && st.folded > 0
}

// beat is what the process tells other projectors of the stream.
func (st *stream) beat() *frame.ProjectorStream {
	healthy := !st.p.sick() // it would take nothing
	st.mu.Lock()
	defer st.mu.Unlock()
	return &frame.ProjectorStream{Stream: uint32(st.s), Folded: st.folded, Warm: healthy && st.warmLocked(time.Now()), Term: st.term}
}

// Ready is nil when every view that this process is to keep is open and not lagging, and
// those that it is to own fan out; else it says what is missing. While the log takes no
// records nothing comes to be folded, and nobody may hear of what was.
func (p *Process) Ready() error {
	if err := p.bus.Writable(); err != nil {
		return err
	}
	for _, st := range p.all() {
		if err := st.ready(); err != nil {
			return err
		}
	}
	p.smu.RLock()
	defer p.smu.RUnlock()
	if p.cfg.Owns == nil && len(p.streams) == 0 {
		return fmt.Errorf("no view is open yet")
	}
	for s, err := range p.unopened {
		if p.duties[s].rank >= 0 { // else it has become another's matter
			return fmt.Errorf("view %s can't be opened: %w", foldFor(s).Name(), err)
		}
	}
	for s, d := range p.duties {
		if d.rank >= 0 && p.streams[s] == nil {
			return fmt.Errorf("view %s %w", foldFor(s).Name(), errNotOpen)
		}
	}
	return nil
}

// publish shows what was looked at last to Ready and Status.
func (p *Process) publish() {
	p.smu.Lock()
	defer p.smu.Unlock()
	p.duties = make(map[event.Stream]duty, len(p.balancer.duties))
	for s, d := range p.balancer.duties {
		p.duties[s] = *d
	}
}

func (p *Process) duty(s event.Stream) duty {
	p.smu.RLock()
	defer p.smu.RUnlock()
	return p.duties[s]
}

func (st *stream) ready() error {
	// First, as a fold that waits for the disk holds the lock.
	if err := st.view.Healthy(); err != nil {
		return err
	}
	d := st.p.duty(st.s)
	st.mu.Lock()
	defer st.mu.Unlock()
	now := time.Now()
	behind, records := st.lag.behind(now, st.folded)
	switch {
	case st.stopped != nil:
		return st.stopped
	case st.term == nil && st.p.others.Load() == 0:
		return fmt.Errorf("view %s does not fan out yet", st.fold.Name())
	case behind > lagLimit:
		return fmt.Errorf("view %s is %d records behind its stream, for %s", st.fold.Name(), records, behind.Round(time.Second))
	case !st.lag.known:
		return fmt.Errorf("view %s does not know yet how far it is behind", st.fold.Name())
	case st.term == nil && d.rank == 0 && d.owner == "" && now.Sub(d.ownerHeard) > termGrace && now.Sub(st.termless) > termGrace:
		return fmt.Errorf("view %s does not fan out", st.fold.Name())
	}
	return nil
}

// ViewStatus is how a view of this process stands.
type ViewStatus struct {
	Stream    event.Stream
	View      string
	Folded    uint64        // position of the fold
	Committed uint64        // position of the file
	Last      uint64        // the stream's end as it was asked for last, about every second
	Lag       time.Duration // how long ago the stream ended where the fold is now
	Warm      bool          // it could be owned at once
	Term      *frame.Term   // while this process fans out, else nil
	Owner     string        // process that is heard to fan out, "" if none is
	Assigned  string        // process that is to own it
	Standbys  []string      // processes that are to stand by, in their order
	Nodes     int           // attached, in a term
}

// Status tells of all views that this process keeps, by stream.
func (p *Process) Status() []ViewStatus {
	var all []ViewStatus
	for _, st := range p.all() {
		d := p.duty(st.s)
		s := ViewStatus{Stream: st.s, View: st.fold.Name(), Committed: st.view.Committed(), Owner: d.owner, Assigned: d.place.owner, Standbys: d.standbys}
		now := time.Now()
		st.mu.Lock()
		s.Folded, s.Last, s.Term, s.Nodes, s.Warm = st.folded, st.lag.last, st.term, len(st.order), st.warmLocked(now)
		s.Lag, _ = st.lag.behind(now, st.folded)
		st.mu.Unlock()
		if s.Term != nil {
			s.Owner = p.bus.Process()
		}
		all = append(all, s)
	}
	return all
}

// Projector is a live projector as it is heard.
type Projector struct {
	Process string
	Node    string // its host, for people
	Views   map[event.Stream]*frame.ProjectorStream
}

// Projectors hears of all that there are, wherever it runs.
type Projectors struct {
	roster roster
	stop   func()
}

// HearProjectors begins to hear; whoever does so closes it.
func HearProjectors(b *bus.Bus) (*Projectors, error) {
	p := &Projectors{}
	stop, err := b.ReceiveProjectorBeats(func(data []byte) {
		if b, err := parseBeat(data); err == nil {
			p.roster.hear(b, time.Now())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("receive projectors' beats: %w", err)
	}
	p.stop = stop
	return p, nil
}

// Live are those that were heard within the last two seconds and don't stop, by name.
func (p *Projectors) Live() []Projector {
	var all []Projector
	for _, l := range p.roster.live(time.Now()) {
		all = append(all, Projector{Process: l.name, Node: l.node, Views: maps.Clone(l.streams)})
	}
	return all
}

// Close ends the hearing.
func (p *Projectors) Close() { p.stop() }

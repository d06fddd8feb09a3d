package owner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// pace is how fast a process does what others have to bear. Tests are quicker.
type pace struct {
	look      time.Duration // between two looks at who is there
	open      time.Duration // for so long a stream must be assigned before its view is opened
	close     time.Duration // and for so long it must not, before it is closed
	rank      time.Duration // between the attempts of two ranks to take a free lease
	settles   time.Duration // for so long a rank must have changed, before a waiting attempt is given up for it
	mourn     time.Duration // for so long after an owner was heard last, ranks stay as they are
	handAfter time.Duration // for so long another must be assigned, and warm, before it is handed a stream
	handEvery time.Duration // between two hand-overs of a process
	handLimit time.Duration // after which a hand-over counts as over, whatever came of it
	rollCall  time.Duration // for which a new process waits for the others' beats
}

var usualPace = pace{
	look: 250 * time.Millisecond, open: 2 * time.Second, close: 30 * time.Second,
	rank: 300 * time.Millisecond, settles: time.Second, mourn: 6 * time.Second,
	handAfter: 1500 * time.Millisecond, handEvery: time.Second, handLimit: 5 * time.Second,
	rollCall: time.Second,
}

// duty is what a process has to do for a stream, as it sees the others. It belongs to the
// balancing goroutine.
type duty struct {
	place
	rank       int       // of this process; -1: none
	since      time.Time // of the owner
	wanted     time.Time // since when there is a rank, zero: there is none
	idle       time.Time // since when there is none
	owner      string    // who fans it out now, "" if that is not heard of anybody
	ownerHeard time.Time
}

// handOver is one that is under way.
type handOver struct {
	stream event.Stream
	began  time.Time
}

// balancer decides what the process follows, stands for and hands over.
type balancer struct {
	duties  map[event.Stream]*duty
	handing *handOver
	handed  time.Time // when the last one was over
}

// callRoll makes the process known and waits for the beats of those who hold leases. It
// tells whether anybody is there.
func (p *Process) callRoll(ctx context.Context) (others bool, err error) {
	leases, err := p.bus.Leases(ctx)
	if err != nil {
		return false, fmt.Errorf("who owns the views: %w", err)
	}
	holders := map[string]bool{}
	for _, l := range leases {
		if l.Process != "" && l.Process != p.bus.Process() {
			holders[l.Process] = true
		}
	}
	if len(holders) == 0 {
		return false, nil
	}
	if err := p.sendBeat(true); err != nil {
		p.log.Debug("beat not sent", "err", err)
	}
	limit := time.NewTimer(p.pace.rollCall)
	defer limit.Stop()
	for {
		heard := 0
		live := p.roster.live(time.Now())
		for _, peer := range live {
			if holders[peer.name] {
				heard++
			}
		}
		if heard == len(holders) {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-limit.C:
			return len(live) > 0, nil
		case <-p.news:
		}
	}
}

// hearProjector takes in what another projector says.
func (p *Process) hearProjector(data []byte) {
	b, err := parseBeat(data)
	if err != nil || b.Process == p.bus.Process() {
		return
	}
	fresh, left := p.roster.hear(b, time.Now())
	for _, ps := range b.Streams {
		if ps.Term != nil {
			if st := p.stream(event.Stream(ps.Stream)); st != nil {
				st.supersede(ps.Term, b.Process)
			}
		}
	}
	if len(left) > 0 {
		p.smu.Lock()
		for _, s := range left {
			p.left[s] = true
		}
		p.smu.Unlock()
	}
	if fresh || len(left) > 0 {
		p.nudge(p.news)
	}
	if fresh {
		p.nudge(p.beatNow) // it need not wait to know of us
	}
}

func parseBeat(data []byte) (*frame.ProjectorBeat, error) {
	b := new(frame.ProjectorBeat)
	return b, proto.Unmarshal(data, b)
}

func (p *Process) nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sendBeat says which views this process keeps. One that only begins keeps none yet.
func (p *Process) sendBeat(begins bool) error {
	b := &frame.ProjectorBeat{Process: p.bus.Process(), Node: p.host, Stopping: p.leaving.Load(), At: time.Now().UnixMilli()}
	if !begins {
		for _, st := range p.all() {
			b.Streams = append(b.Streams, st.beat())
		}
	}
	data, err := proto.Marshal(b)
	if err != nil {
		return err
	}
	return p.bus.SendProjectorBeat(data)
}

// tellProjectors sends beats until ctx ends, at once when there is something new.
func (p *Process) tellProjectors(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		if err := p.sendBeat(false); err != nil {
			p.log.Debug("beat not sent", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.beatNow:
			// No more than so many, whatever happens.
			if !pause(ctx, nil, 20*time.Millisecond) {
				return
			}
		}
	}
}

// balance looks again and again at who is there, and does what follows from it.
func (p *Process) balance(ctx context.Context) {
	tick := time.NewTicker(p.pace.look)
	defer tick.Stop()
	for first := true; ; first = false {
		p.look(ctx, time.Now(), first)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.news:
		}
	}
}

// look is one look. What is assigned at the first one is not waited with.
func (p *Process) look(ctx context.Context, now time.Time, first bool) {
	live := p.roster.live(now)
	p.others.Store(int64(len(live)))
	me := candidate{name: p.bus.Process()}
	terms := map[event.Stream]*frame.Term{}
	for _, st := range p.all() {
		me.keeps = append(me.keeps, st.s)
		if t := st.termNow(); t != nil {
			terms[st.s] = t
		}
	}
	owner := owners(me.name, terms, live)
	candidates := []candidate{me}
	for _, peer := range live {
		candidates = append(candidates, candidate{name: peer.name, keeps: slices.Collect(maps.Keys(peer.streams))})
	}
	for s, name := range owner {
		for i := range candidates {
			if candidates[i].name == name {
				candidates[i].owns = append(candidates[i].owns, s)
			}
		}
	}
	places := assign(p.bus.Streams(), p.cfg.Standbys, candidates)
	p.smu.Lock()
	left := p.left
	p.left = map[event.Stream]bool{}
	p.smu.Unlock()

	for _, s := range p.bus.Streams() {
		d := p.balancer.duties[s]
		if d == nil {
			d = &duty{idle: now}
			p.balancer.duties[s] = d
		}
		if d.place.owner != places[s].owner {
			d.since = now
		}
		d.place, d.rank, d.owner = places[s], places[s].rankOf(me.name), owner[s]
		if d.owner != "" {
			d.ownerHeard = now
		}
		if d.rank >= 0 && d.wanted.IsZero() {
			d.wanted, d.idle = now, time.Time{}
		} else if d.rank < 0 && d.idle.IsZero() {
			d.wanted, d.idle = time.Time{}, now
		}
		p.keep(ctx, s, d, now, first, left[s])
	}
	p.handOver(live, now)
	p.publish()
}

// keep opens and closes the view of a stream, and says how soon it is to take the lease.
func (p *Process) keep(ctx context.Context, s event.Stream, d *duty, now time.Time, first, left bool) {
	st := p.stream(s)
	if st == nil {
		urgent := first || d.rank == 0 && d.owner == ""
		if d.rank >= 0 && (urgent || now.Sub(d.wanted) >= p.pace.open) {
			p.openLater(ctx, s)
		}
		return
	}
	if d.rank < 0 && now.Sub(d.idle) >= p.pace.close && st.termNow() == nil {
		p.closeLater(st)
		return
	}
	if was, _, _ := st.rankNow(); was >= 0 && d.owner == "" && now.Sub(d.ownerHeard) < p.pace.mourn && !left {
		// He has died, and the wait for his lease runs. A new attempt would begin it anew.
		return
	}
	rank := d.rank
	if rank < 0 {
		rank = len(d.standbys) + 1 // better than nobody
	}
	st.setRank(rank, left)
}

// handOver gives one stream to whom it is assigned, when he is heard and warm, and no other
// one is being handed over.
func (p *Process) handOver(live []peer, now time.Time) {
	b := &p.balancer
	me := p.bus.Process()
	if h := b.handing; h != nil {
		if o := b.duties[h.stream].owner; o != "" && o != me || now.Sub(h.began) >= p.pace.handLimit {
			b.handing, b.handed = nil, now
		}
		return
	}
	if now.Sub(b.handed) < p.pace.handEvery || p.leaving.Load() {
		return
	}
	for _, s := range p.bus.Streams() {
		d := b.duties[s]
		if d.owner != me || d.rank == 0 || now.Sub(d.since) < p.pace.handAfter {
			continue
		}
		i := slices.IndexFunc(live, func(l peer) bool { return l.name == d.place.owner })
		if i < 0 || !warmFor(&live[i], s, now, p.pace.handAfter) {
			continue
		}
		if st := p.stream(s); st != nil && st.give() {
			p.log.Info("handing over", "view", st.fold.Name(), "to", d.place.owner)
			p.count.handovers.Add(1)
			b.handing = &handOver{s, now}
			return
		}
	}
}

// warmFor tells whether a projector could have owned a stream for some time.
func warmFor(l *peer, s event.Stream, now time.Time, d time.Duration) bool {
	since, warm := l.warmSince[s]
	return warm && now.Sub(since) >= d
}

// openLater opens a view behind the caller's back, and has it followed.
func (p *Process) openLater(ctx context.Context, s event.Stream) {
	p.smu.Lock()
	if p.opening[s] || p.streams[s] != nil {
		p.smu.Unlock()
		return
	}
	p.opening[s] = true
	p.smu.Unlock()
	p.work.Go(func() {
		defer func() {
			p.smu.Lock()
			delete(p.opening, s)
			p.smu.Unlock()
			p.nudge(p.news)
		}()
		select {
		case p.openings <- struct{}{}:
			defer func() { <-p.openings }()
		case <-ctx.Done():
			return
		}
		st, err := p.open(ctx, s)
		if err != nil {
			if ctx.Err() == nil {
				p.log.Error("a view was not opened and is tried again", "stream", s.String(), "err", err)
				p.openFailed(s, err)
				pause(ctx, nil, 5*time.Second)
			}
			return
		}
		p.openFailed(s, nil)
		p.start(st)
		p.add(st)
		p.nudge(p.beatNow)
	})
}

func (p *Process) openFailed(s event.Stream, err error) {
	p.smu.Lock()
	defer p.smu.Unlock()
	if err == nil {
		delete(p.unopened, s)
	} else {
		p.unopened[s] = err
	}
}

// closeLater ends the following of a stream that is another's matter now. Its file stays.
func (p *Process) closeLater(st *stream) {
	p.smu.Lock()
	if p.opening[st.s] || p.streams[st.s] != st {
		p.smu.Unlock()
		return
	}
	p.opening[st.s] = true // not again before it is closed
	delete(p.streams, st.s)
	p.smu.Unlock()
	p.work.Go(func() {
		st.stopAll()
		err := st.view.Close()
		p.log.Info("view is not kept any more", "view", st.fold.Name(), "err", err)
		p.smu.Lock()
		delete(p.opening, st.s)
		p.smu.Unlock()
	})
}

// errNotOpen: a view that this process is to keep is not open yet.
var errNotOpen = errors.New("is not open yet")

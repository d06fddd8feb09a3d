package delivery

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/commands"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// state of a stream on this node.
type state int

const (
	silent    state = iota // no term is heard
	refilling              // a term is adopted; what lies up to its x is being read
	following              // frames are applied as they come
)

// stream is what a node knows of one stream. Guarded by the node's lock, but for
// records.
type stream struct {
	n     *Node
	s     event.Stream
	epoch event.ID
	seen  uint64 // every position up to here has been worked off
	index uint32 // and of the record after it the events below this one, by a refill
	parts uint32 // and so many frames with parts of it, or with audiences for it

	audiences map[uint32]*audience // by group
	sweepAt   int                  // number of them at which each is looked at

	state state
	gen   uint64 // of refills; an older one must not touch anything
	term  *frame.Term
	owner string
	heard time.Time

	waiting      []*frame.Frame // frames behind a refill
	waitingBytes int
	waiters      []waiter // answers that wait for seen

	queue   map[uint32]struct{} // users whose attach state has to be told
	pending map[uint32]pend     // users whose attach is not through
	from    map[uint32]uint64   // users whose deliveries are in the frames from there on only, beyond seen
	ahead   uint64              // the farthest of them, and of what sessions had
	counter uint64              // newest request that named this stream

	rmu     sync.Mutex
	records map[uint64][]*ticket // own records whose outcomes are not known
	dead    error                // outcomes will not come any more, and why
}

// pend is an attach that is not through.
type pend struct {
	since   mark   // what lies beyond it has yet to be brought to his sessions
	counter uint64 // request that carries it; 0: not sent yet
}

type waiter struct {
	sequence uint64
	done     chan error // of capacity 1
}

// ticket follows one event of this node from its append to its outcome.
type ticket struct {
	st      *stream
	done    func(Result)
	session event.ID // of a SessionOpened
	user    uint32

	// guarded by st.rmu
	n       uint64 // record, 0 while there is none
	index   int
	settled bool
}

// Placed remembers the event under its record. Tickets of a record come in order.
func (t *ticket) Placed(n uint64, index int) {
	st := t.st
	st.rmu.Lock()
	defer st.rmu.Unlock()
	if st.dead != nil {
		t.settled = true
		st.n.tellFailure(t, st.dead)
		return
	}
	r := st.records[n]
	for len(r) <= index {
		r = append(r, nil)
	}
	r[index] = t
	st.records[n] = r
	t.n, t.index = n, index
}

// Stored does nothing: an outcome says more than an acknowledgement.
func (t *ticket) Stored(uint64) {}

// Failed ends an event that was never stored.
func (t *ticket) Failed(err error) {
	st := t.st
	st.rmu.Lock()
	defer st.rmu.Unlock()
	if t.settled {
		return // told already, when its life or its positions were lost
	}
	t.settled = true
	if r := st.records[t.n]; t.index < len(r) && r[t.index] == t {
		st.forget(t.n, r, t.index)
	}
	st.n.tellFailure(t, err)
}

// forget takes one ticket out of a record; rmu is held.
func (st *stream) forget(k uint64, r []*ticket, i int) {
	r[i] = nil
	for _, t := range r {
		if t != nil {
			return
		}
	}
	delete(st.records, k)
}

// settle finds the ticket of an outcome, nil if it was settled before.
func (st *stream) settle(o *frame.Outcome) *ticket {
	st.rmu.Lock()
	defer st.rmu.Unlock()
	r := st.records[o.N]
	if int(o.Index) >= len(r) || r[o.Index] == nil {
		return nil
	}
	t := r[o.Index]
	t.settled = true
	// The last event of a record ends it; the common case needs no scan.
	if int(o.Index) == len(r)-1 {
		st.forget(o.N, r, int(o.Index))
	} else {
		r[o.Index] = nil
	}
	return t
}

// takeAll takes every ticket whose record has been placed. With why the stream is
// dead: so are those whose records are still to come.
func (st *stream) takeAll(why error) (all []*ticket) {
	st.rmu.Lock()
	defer st.rmu.Unlock()
	if why != nil && st.dead == nil {
		st.dead = why
	}
	for _, n := range slices.Sorted(maps.Keys(st.records)) {
		for _, t := range st.records[n] {
			if t != nil {
				t.settled = true
				all = append(all, t)
			}
		}
	}
	clear(st.records)
	return all
}

func (st *stream) failWaiters(why error) {
	for _, w := range st.waiters {
		w.done <- why
	}
	st.waiters = nil
}

// onPush is where frames and heartbeats of this life arrive, in the order in which
// each owner sent them.
func (n *Node) onPush(life event.ID, data []byte) {
	var push frame.Push
	if err := proto.Unmarshal(data, &push); err != nil {
		n.log.Error("push not understood", "err", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if life != n.life {
		return
	}
	switch b := push.Body.(type) {
	case *frame.Push_Frame:
		if f := b.Frame; int(f.Stream) < len(n.streams) {
			n.stats.Frames++
			n.streams[f.Stream].onFrame(f, len(data))
			n.flush()
		}
	case *frame.Push_Relay:
		n.stats.Relayed++
		n.handler.Relay(b.Relay)
		n.flush()
	case *frame.Push_Heartbeat:
		for _, e := range b.Heartbeat.Streams {
			if int(e.Stream) < len(n.streams) {
				n.streams[e.Stream].onHeartbeat(b.Heartbeat.Owner, e)
			}
		}
		n.flush()
	}
}

func (st *stream) onFrame(f *frame.Frame, size int) {
	switch {
	case st.state == silent || !st.term.Same(f.Term):
		return // of a term this node does not listen to
	case st.state == refilling:
		st.holdBack(f, size)
	case f.To < st.seen, f.To == st.seen && st.s.IsConversation() && (f.From < f.To || f.Parts < st.parts):
		return
	case f.From > st.seen, f.From == st.seen && f.Parts != st.parts, !st.knows(f.Deliveries):
		st.n.stats.Holes++
		st.n.log.Info("hole in the frames, refilling", "stream", st.s, "seen", st.seen, "from", f.From)
		st.holdBack(f, size)
		st.refill(0)
	default:
		st.work(f.Outcomes, f.Deliveries, nil)
		st.sweep()
		st.moveSeen(f.To)
		k := len(f.Deliveries)
		switch {
		case st.s.IsConversation():
			if f.From == f.To && k > 0 {
				st.parts++ // an audience that the next frame needs
			}
		case k > 0 && f.Deliveries[k-1].Sequence > f.To:
			// Part of a record that is too large for one frame. Whoever loses another
			// resyncs, and the same is told twice; of these streams that does no harm.
			st.parts++
		}
	}
}

// holdBack keeps a frame until the refill is through. What is over the limit is
// dropped and shows as a hole again.
func (st *stream) holdBack(f *frame.Frame, size int) {
	if st.waitingBytes+size > st.n.cfg.waitingLimit {
		st.n.stats.FramesDropped++
		return
	}
	st.waiting = append(st.waiting, f)
	st.waitingBytes += size
}

// work applies outcomes first, then deliveries; those at or below seen are repeats. lists
// are of a page of changes.
func (st *stream) work(outcomes []*frame.Outcome, deliveries []*frame.Delivery, lists []*frame.UserList) {
	for _, o := range outcomes {
		if t := st.settle(o); t != nil {
			if t.user != 0 && o.Void == frame.Void_VOID_NONE {
				st.n.sessionLive(t)
			}
			t.done(Result{ID: o.Id, Void: o.Void, FirstID: o.FirstId, Sequence: o.Sequence, Index: o.Index})
			if o.Void == frame.Void_VOID_NODE_NOT_LIVE {
				st.n.suspectLife()
			}
		}
	}
	seen := mark{st.seen, st.index}
	for _, d := range deliveries {
		if d.Audience != nil {
			st.learn(d.Audience)
		}
		if seen.before(d) {
			st.deliver(d, lists)
		}
	}
}

func (st *stream) moveSeen(to uint64) {
	if to <= st.seen {
		return
	}
	st.seen, st.index, st.parts = to, 0, 0
	st.waiters = slices.DeleteFunc(st.waiters, func(w waiter) bool {
		if w.sequence <= to {
			w.done <- nil
			return true
		}
		return false
	})
	if len(st.n.late) > 0 {
		st.n.late = slices.DeleteFunc(st.n.late, func(s *seat) bool {
			if !s.gone && !st.n.reached(s) {
				return false
			}
			s.begin = nil
			if !s.gone {
				st.n.attached(s.of)
			}
			return true
		})
	}
	if to >= st.ahead {
		clear(st.from)
		if len(st.n.ahead) > 0 {
			st.n.trim()
		}
	}
}

// sessionLive notes that the log has shown a session of this node live.
func (n *Node) sessionLive(t *ticket) {
	if u := n.users[t.user]; u != nil {
		for _, s := range u.seats {
			if s.Session() == t.session {
				s.live = true
			}
		}
	}
}

func (st *stream) deliver(d *frame.Delivery, lists []*frame.UserList) {
	n := st.n
	switch b := d.Body.(type) {
	case *frame.Delivery_SessionOver:
		st.sessionOver(b.SessionOver)
	case *frame.Delivery_UserStatus:
		n.handler.UserStatus(b.UserStatus.User, b.UserStatus.Online, d.Sequence)
	case *frame.Delivery_DesktopStatus:
		n.handler.DesktopStatus(b.DesktopStatus.User, b.DesktopStatus.Online, d.Sequence)
	case *frame.Delivery_PersonChanged:
		n.handler.PersonChanged(b.PersonChanged, d.Sequence)
	default:
		dl := st.wrap(d)
		st.recipients(d, lists, func(user uint32) { st.deliverTo(user, dl) })
	}
}

// wrap is what all sessions get of a delivery.
func (st *stream) wrap(d *frame.Delivery) *Delivery {
	return &Delivery{Stream: st.s, Sequence: d.Sequence, Index: d.Index, Delivery: d}
}

func (st *stream) sessionOver(over *frame.SessionOver) {
	if over.Reason == event.EndReason_END_REASON_NODE_LOST {
		st.n.suspectLife()
	}
	st.n.handler.SessionOver(over)
}

func (st *stream) deliverTo(id uint32, d *Delivery) {
	u := st.n.users[id]
	if u == nil {
		return
	}
	if _, ok := st.pending[id]; ok {
		u.bytes += 64 + len(d.GetMessage().GetBody())
		if u.bytes > st.n.cfg.userWaitLimit {
			// Its sessions find everything by sync; they never see a hole.
			st.n.closeUser(u)
			return
		}
		u.waiting = append(u.waiting, d)
		return
	}
	st.n.hand(u, d)
}

// hand gives a delivery to those of the user's sessions that do not have it yet.
func (n *Node) hand(u *user, d *Delivery) {
	for _, s := range u.seats {
		if s.had != nil && d.Sequence <= s.had[d.Stream] {
			continue
		}
		n.stats.Deliveries++
		s.Deliver(d)
		n.mark(s)
	}
}

// brought notes that the user's changes up to x have been handed to the sessions
// that he has now. Frames up to x may still be on their way.
func (st *stream) brought(u *user, x uint64) {
	for _, s := range u.seats {
		s.had[st.s] = max(s.had[st.s], x)
	}
	st.ahead = max(st.ahead, x)
}

// begins has a session keep positions of its own for a while; n.mu is held.
func (n *Node) begins(s *seat) {
	if s.had != nil {
		return
	}
	s.had = make([]uint64, len(n.streams))
	for i, st := range n.streams {
		s.had[i] = st.seen
	}
	n.ahead = append(n.ahead, s)
}

// trim ends that where the frames have caught up; n.mu is held. While users keep
// coming under traffic some stream is always behind: then sessions are looked at one
// by one, whenever there are twice as many as the last time.
func (n *Node) trim() {
	for _, st := range n.streams {
		if st.ahead > st.seen && len(n.ahead) < n.trimAt {
			return
		}
	}
	n.ahead = slices.DeleteFunc(n.ahead, func(s *seat) bool {
		if !s.gone && (s.of.pending > 0 || !n.caughtUpWith(s)) {
			return false
		}
		s.had = nil
		return true
	})
	n.trimAt = max(trimFrom, 2*len(n.ahead))
}

func (n *Node) caughtUpWith(s *seat) bool {
	for i, st := range n.streams {
		if s.had[i] > st.seen {
			return false
		}
	}
	return true
}

// closeUser has the handler close a user's sessions without 0x0107.
func (n *Node) closeUser(u *user) {
	u.waiting, u.bytes = nil, 0
	for _, s := range u.seats {
		id := s.Session()
		n.handler.SessionOver(&frame.SessionOver{Session: id[:], User: s.User(), Reason: event.EndReason_END_REASON_SLOW})
	}
}

// through ends a user's attach on this stream at position x: what is at or below x
// has been brought by the changes, what waits beyond follows.
func (st *stream) through(id uint32, x uint64) {
	delete(st.pending, id)
	u := st.n.users[id]
	if u == nil {
		return
	}
	st.brought(u, x)
	if x > st.seen {
		st.from[id] = x
	}
	rest := u.waiting[:0]
	for _, d := range u.waiting {
		if d.Stream == st.s {
			st.n.hand(u, d)
		} else {
			rest = append(rest, d)
		}
	}
	clear(u.waiting[len(rest):])
	u.waiting = rest
	u.pending--
	if u.pending == 0 {
		u.waiting, u.bytes = nil, 0
		st.n.attached(u)
	}
}

// onHeartbeat decides which term to listen to, and finds holes that no later frame
// would show.
func (st *stream) onHeartbeat(owner string, e *frame.HeartbeatStream) {
	now := st.n.cfg.Clock()
	switch {
	case e.Term == nil:
	case st.term == nil || st.term.Less(e.Term):
		st.adopt(owner, e)
	case st.term.Same(e.Term):
		st.heard = now
		if st.state != following {
			return
		}
		switch {
		case !e.Attached, event.ToID(e.Epoch) != st.epoch:
			st.refill(0)
		case e.To > st.seen:
			st.n.stats.Holes++
			st.n.log.Info("frame before a silence lost, refilling", "stream", st.s, "seen", st.seen, "to", e.To)
			st.refill(0)
		case st.s.IsConversation() && e.Counter == st.counter && len(st.pending) == 0 && len(st.queue) == 0 &&
			(e.Digest != st.n.digest || int(e.Users) != len(st.n.users)):
			st.n.stats.Mismatches++
			st.n.log.Info("owner has other users attached, refilling", "stream", st.s, "users", len(st.n.users), "attached", e.Users)
			st.refill(0)
		}
	default:
		if now.Sub(st.heard) > termSilence {
			st.adopt(owner, e)
		}
	}
}

// adopt goes over to another term. Nodes that had one spread over half a second.
func (st *stream) adopt(owner string, e *frame.HeartbeatStream) {
	st.n.stats.Terms++
	var wait time.Duration
	if st.term != nil {
		wait = rand.N(reattachSpread)
	}
	st.term, st.owner, st.heard = e.Term, owner, st.n.cfg.Clock()
	st.waiting, st.waitingBytes = nil, 0
	st.refill(wait)
}

// refill begins to read what lies between seen and the owner's fold. n.mu is held.
func (st *stream) refill(after time.Duration) {
	st.state = refilling
	st.parts = 0
	clear(st.audiences) // the owner begins anew with its telling
	st.gen++
	st.n.stats.Refills++
	gen, ctx := st.gen, st.n.lifeCtx
	st.n.wg.Go(func() {
		if after > 0 {
			sleep(ctx, after)
		}
		for ctx.Err() == nil {
			var ok, again bool
			if st.s.IsConversation() {
				ok, again = st.refillTimeline(ctx, gen)
			} else {
				ok, again = st.resync(ctx, gen)
			}
			if ok {
				return
			}
			st.n.mu.Lock()
			if st.gen != gen {
				st.n.mu.Unlock()
				return
			}
			if !again || st.n.cfg.Clock().Sub(st.heard) > termSilence {
				// Wait for a heartbeat; any term will do.
				st.state, st.term = silent, nil
				st.waiting, st.waitingBytes = nil, 0
				st.n.mu.Unlock()
				return
			}
			st.n.mu.Unlock()
			sleep(ctx, retryEvery)
		}
	})
}

// refillTimeline attaches all users whose attach is not pending, and stands for
// the frames up to the answered x.
func (st *stream) refillTimeline(ctx context.Context, gen uint64) (ok, again bool) {
	n := st.n
	n.mu.Lock()
	if st.gen != gen {
		n.mu.Unlock()
		return true, false
	}
	n.counter++
	owner, life := st.owner, n.life
	req := &frame.AttachRequest{Life: life[:], Counter: n.counter}
	part := st.refillRequest()
	st.counter = n.counter
	req.Streams = []*frame.AttachStream{part}
	n.mu.Unlock()

	var ans frame.AttachAnswer
	if err := n.call(ctx, owner, "attach", attachTimeout, req, &ans); err != nil || len(ans.Streams) != 1 {
		n.log.Debug("attach not answered", "stream", st.s, "owner", owner, "err", err)
		return false, true
	}
	at := ans.Streams[0]
	if at.Refused {
		return false, false
	}
	n.mu.Lock()
	if st.gen != gen {
		n.mu.Unlock()
		return true, false
	}
	if st.term.Less(at.Term) {
		st.term, st.heard = at.Term, n.cfg.Clock()
	}
	if event.ToID(at.Epoch) != st.epoch {
		st.newEpoch(event.ToID(at.Epoch), at.At)
	}
	since := mark{st.seen, st.index}
	n.mu.Unlock()
	if at.At < since.whole() {
		return false, true // its fold is behind what this node has seen: not yet
	}
	for since.sequence < at.At {
		page, err := st.readChanges(ctx, owner, &frame.ChangesRequest{
			Life: life[:], Stream: uint32(st.s), Epoch: at.Epoch, Since: since.sequence, SinceIndex: since.index, To: at.At, Refill: true})
		if err != nil {
			n.log.Debug("changes not answered", "stream", st.s, "err", err)
			return false, true
		}
		n.mu.Lock()
		if st.gen != gen {
			n.mu.Unlock()
			return true, false
		}
		if page.TooFar {
			st.tooFar(at.At)
			since = mark{sequence: at.At}
		} else {
			st.work(page.Outcomes, page.Deliveries, page.Lists)
			since = end(page, at.At)
			st.moveSeen(since.sequence)
			st.index = since.index
		}
		n.flush()
		n.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.gen == gen {
		st.caughtUp()
	}
	return true, false
}

// refillRequest attaches the users whose attach is not pending, and as many as one request
// holds; n.mu is held.
func (st *stream) refillRequest() *frame.AttachStream {
	part := &frame.AttachStream{Stream: uint32(st.s), Refill: true}
	for id, u := range st.n.users {
		if _, pending := st.pending[id]; pending {
			continue
		}
		if len(part.Users) == attachLimit {
			st.attachLater(id, u, mark{st.seen, st.index}) // the request would not fit
			continue
		}
		part.Users = append(part.Users, id)
	}
	// Those that are pending are attached one by one afterwards, from their own since.
	clear(st.queue)
	for id, p := range st.pending {
		st.pending[id] = pend{since: p.since}
		st.queue[id] = struct{}{}
	}
	return part
}

// caughtUp ends a refill: what waited behind it is worked off. n.mu is held.
func (st *stream) caughtUp() {
	st.state = following
	waiting := st.waiting
	st.waiting, st.waitingBytes = nil, 0
	for i, f := range waiting {
		if st.state == refilling {
			for _, g := range waiting[i:] {
				st.holdBack(g, proto.Size(g))
			}
			break
		}
		st.onFrame(f, proto.Size(f))
	}
	st.n.flush()
	st.n.checkStarted()
	st.n.wake()
}

// newEpoch takes over a stream whose positions mean something else now: nothing
// that was seen counts, clients sync again. n.mu is held.
func (st *stream) newEpoch(epoch event.ID, at uint64) {
	st.n.stats.Epochs++
	st.n.log.Warn("stream has a new epoch, sessions sync again", "stream", st.s)
	st.epoch = epoch
	st.tooFar(at)
}

// tooFar gives up the range up to at: sessions close and find everything by sync.
func (st *stream) tooFar(at uint64) {
	st.seen, st.index = 0, 0
	st.moveSeen(at)
	for u, p := range st.pending {
		if at < p.since.whole() {
			p.since = mark{sequence: at}
		}
		st.pending[u] = p
	}
	st.ahead = 0
	clear(st.from)
	for _, s := range st.n.ahead {
		if s.had != nil {
			s.had[st.s] = at
		}
	}
	for _, s := range st.n.late {
		delete(s.begin, st.s)
	}
	st.failWaiters(ErrPositionsLost)
	// What was on its way may have been cut off with the tail, or its outcome lies
	// in what can't be read any more: its client sends it again, and if it was
	// stored the repeat is recognised.
	for _, t := range st.takeAll(nil) {
		t.done(Result{Err: ErrPositionsLost})
	}
	if st.s == event.Presence {
		st.n.suspectLife()
	}
	st.n.handler.CloseAll(ErrPositionsLost)
}

func (st *stream) readChanges(ctx context.Context, owner string, req *frame.ChangesRequest) (*frame.ChangesAnswer, error) {
	var ans frame.ChangesAnswer
	if err := st.n.call(ctx, owner, "changes", changesTimeout, req, &ans); err != nil {
		return nil, err
	}
	return &ans, nil
}

// call asks an owner process.
func (n *Node) call(ctx context.Context, owner, what string, limit time.Duration, req, ans proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	b, err = n.bus.Ask(ctx, bus.OwnerSubject(owner, what), b)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return ErrUnavailable
	}
	return proto.Unmarshal(b, ans)
}

// attachRound tells one owner process what has changed among this node's users.
// It returns true while there may be more.
func (n *Node) attachRound(ctx context.Context, owner string) (more bool, err error) {
	n.mu.Lock()
	n.counter++
	counter, life, lifeCtx := n.counter, n.life, n.lifeCtx
	req := &frame.AttachRequest{Life: life[:], Counter: counter}
	left := attachLimit
	for _, st := range n.streams {
		if st.owner != owner || st.state != following || len(st.queue) == 0 || left <= 0 {
			continue
		}
		part := &frame.AttachStream{Stream: uint32(st.s)}
		for u := range st.queue {
			if left--; left < 0 {
				break
			}
			delete(st.queue, u)
			if n.users[u] == nil {
				part.Gone = append(part.Gone, u)
			} else if p, ok := st.pending[u]; ok && p.counter == 0 {
				p.counter = counter
				st.pending[u] = p
				part.Users = append(part.Users, u)
			}
		}
		if len(part.Users)+len(part.Gone) > 0 {
			st.counter = counter
			req.Streams = append(req.Streams, part)
		}
	}
	n.mu.Unlock()
	if ctx.Err() != nil || len(req.Streams) == 0 {
		return false, nil
	}
	var ans frame.AttachAnswer
	err = n.call(lifeCtx, owner, "attach", attachTimeout, req, &ans)
	if err == nil && len(ans.Streams) != len(req.Streams) {
		err = errors.New("answer of another form")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != life {
		return false, nil
	}
	refused := false
	for i, part := range req.Streams {
		st := n.streams[part.Stream]
		if err != nil {
			st.requeue(part, counter)
			continue
		}
		at := ans.Streams[i]
		if at.Refused || !st.term.Same(at.Term) || event.ToID(at.Epoch) != st.epoch {
			st.requeue(part, counter)
			refused = true
			continue
		}
		st.attached(part.Users, counter, at, owner, life)
	}
	n.flush()
	if err == nil && refused {
		err = errRefused
	}
	return err == nil, err
}

// errRefused: not the owner (any more), or it does not know this node; a heartbeat will
// tell.
var errRefused = errors.New("refused")

// requeue has another round (or the next refill) carry what this one did not.
func (st *stream) requeue(part *frame.AttachStream, counter uint64) {
	for _, u := range part.Users {
		if p, ok := st.pending[u]; ok && p.counter == counter {
			st.pending[u] = pend{since: p.since}
			st.queue[u] = struct{}{}
		}
	}
	for _, u := range part.Gone {
		if st.n.users[u] == nil {
			st.queue[u] = struct{}{}
		}
	}
}

// attached goes on for users that the owner has registered at x: those with
// nothing between are through at once, the others after their changes. n.mu is held.
func (st *stream) attached(users []uint32, counter uint64, at *frame.AttachedStream, owner string, life event.ID) {
	var behind []uint32
	since := mark{sequence: at.At}
	for _, u := range users {
		p, ok := st.pending[u]
		if !ok || p.counter != counter {
			continue
		}
		if p.since.sequence >= at.At {
			st.through(u, at.At)
			continue
		}
		behind = append(behind, u)
		if p.since.compare(since) < 0 {
			since = p.since
		}
	}
	if len(behind) == 0 {
		return
	}
	ctx, gen := st.n.lifeCtx, st.gen
	st.n.wg.Go(func() { st.changesOf(ctx, behind, counter, gen, since, at, owner, life) })
}

// changesOf brings users what lies in (since, x], each from its own since on.
func (st *stream) changesOf(ctx context.Context, users []uint32, counter, gen uint64, since mark, at *frame.AttachedStream, owner string, life event.ID) {
	n := st.n
	for since.sequence < at.At {
		page, err := st.readChanges(ctx, owner, &frame.ChangesRequest{
			Life: life[:], Stream: uint32(st.s), Epoch: at.Epoch, Since: since.sequence, SinceIndex: since.index, To: at.At, Users: users})
		n.mu.Lock()
		if n.life != life {
			n.mu.Unlock()
			return
		}
		if err != nil || st.gen != gen {
			st.requeue(&frame.AttachStream{Users: users}, counter)
			n.mu.Unlock()
			return
		}
		since = end(page, at.At)
		for _, d := range page.Deliveries {
			st.deliverChange(d, page.Lists, counter)
		}
		// In the same breath: a session that joins after it must not be taken for one
		// that has this page, and a retry must not bring it again.
		for _, id := range users {
			p, ok := st.pending[id]
			if !ok || p.counter != counter {
				continue
			}
			u := n.users[id]
			if page.TooFar {
				n.closeUser(u)
			}
			if since.sequence == at.At {
				st.through(id, at.At)
				continue
			}
			st.brought(u, since.sequence)
			if p.since.compare(since) < 0 {
				p.since = since
			}
			st.pending[id] = p
		}
		n.flush()
		n.mu.Unlock()
	}
}

// deliverChange hands one change to those of the request's users whom it concerns.
func (st *stream) deliverChange(d *frame.Delivery, lists []*frame.UserList, counter uint64) {
	dl := st.wrap(d)
	st.recipients(d, lists, func(id uint32) {
		if p, ok := st.pending[id]; ok && p.counter == counter && p.since.before(d) {
			if u := st.n.users[id]; u != nil {
				st.n.hand(u, dl)
			}
		}
	})
}

// resync recovers PRESENCE or PEOPLE: the node lists what it holds, in pages by user,
// and is told what became of it. The first page's answer says up to where.
func (st *stream) resync(ctx context.Context, gen uint64) (ok, again bool) {
	var from uint32
	var first frame.ResyncAnswer
	for begun := false; !begun || from != 0; begun = true {
		req, owner, current := st.resyncPage(gen, from)
		if !current {
			return true, false
		}
		var ans frame.ResyncAnswer
		if err := st.n.call(ctx, owner, "resync", changesTimeout, req, &ans); err != nil {
			st.n.log.Debug("resync not answered", "stream", st.s, "owner", owner, "err", err)
			return false, true
		}
		switch {
		case !begun:
			first.Term, first.Epoch, first.At = ans.Term, ans.Epoch, ans.At
		case !first.Term.Same(ans.Term) || event.ToID(first.Epoch) != event.ToID(ans.Epoch):
			return false, true
		}
		if ok, again := st.applyResync(gen, &ans, !begun); !ok {
			return false, again
		}
		if ans.Covered < from {
			return false, true
		}
		from = 0
		if ans.Covered < math.MaxUint32 {
			from = ans.Covered + 1
		}
	}
	st.n.mu.Lock()
	defer st.n.mu.Unlock()
	if st.gen == gen {
		st.moveSeen(first.At)
		st.caughtUp()
	}
	return true, false
}

// resyncPage lists the node's users from a number on.
func (st *stream) resyncPage(gen uint64, from uint32) (req *frame.ResyncRequest, owner string, current bool) {
	n := st.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.gen != gen {
		return nil, "", false
	}
	life, epoch := n.life, st.epoch
	req = &frame.ResyncRequest{Life: life[:], Stream: uint32(st.s), Epoch: epoch[:], Since: st.seen, FromUser: from, ToUser: math.MaxUint32}
	ids := make([]uint32, 0, len(n.users))
	for id := range n.users {
		if id >= from {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		if len(req.Users)+len(req.Sessions) >= resyncLimit {
			req.ToUser = id - 1
			break
		}
		if st.s == event.People {
			req.Users = append(req.Users, &frame.ResyncUser{User: id, PeopleSequence: st.seen})
			continue
		}
		for _, m := range n.users[id].seats {
			s := m.Session()
			req.Sessions = append(req.Sessions, &frame.ResyncSession{Session: s[:], User: id})
		}
	}
	return req, st.owner, true
}

// applyResync works one page off.
func (st *stream) applyResync(gen uint64, ans *frame.ResyncAnswer, first bool) (ok, again bool) {
	n := st.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.gen != gen {
		return false, false
	}
	if first {
		if st.term.Less(ans.Term) {
			st.term, st.heard = ans.Term, n.cfg.Clock()
		}
		epoch := event.ToID(ans.Epoch)
		if ans.At < st.seen && epoch == st.epoch {
			return false, true
		}
		if st.s == event.People && (ans.At > st.seen || epoch != st.epoch) {
			n.handler.DropCaches()
		}
		if epoch != st.epoch {
			st.newEpoch(epoch, ans.At)
		} else if ans.TooFar {
			st.tooFar(ans.At)
		}
	}
	st.work(ans.Outcomes, nil, nil)
	for _, over := range ans.Over {
		if n.holds(event.ToID(over.Session), over.User, true) {
			st.sessionOver(over)
		}
	}
	// The login of one that has joined is under way.
	unknown := slices.DeleteFunc(ans.Unknown, func(s *frame.ResyncSession) bool {
		return n.holds(event.ToID(s.Session), s.User, false)
	})
	if len(unknown) > 0 {
		n.endUnknown(unknown)
	}
	for _, s := range ans.Statuses {
		n.handler.UserStatus(s.User, s.Online, ans.At)
		if n.users[s.User] != nil {
			n.handler.DesktopStatus(s.User, s.Online, ans.At)
		}
	}
	for _, c := range ans.People {
		n.handler.PersonChanged(c, ans.At)
	}
	n.flush()
	return true, false
}

// holds tells whether a session is on this node, and if live is asked for, whether
// the log has shown it live: one whose login is under way is in no view yet.
func (n *Node) holds(session event.ID, id uint32, live bool) bool {
	u := n.users[id]
	return u != nil && slices.ContainsFunc(u.seats, func(s *seat) bool {
		return s.Session() == session && (s.live || !live)
	})
}

// endUnknown ends sessions that the log shows on this life but nobody here holds.
func (n *Node) endUnknown(all []*frame.ResyncSession) {
	at, ctx := n.cfg.Clock(), n.lifeCtx
	n.wg.Go(func() {
		for len(all) > 0 && ctx.Err() == nil {
			s := all[0]
			end := commands.EndSession{At: at, Session: event.ToID(s.Session), User: s.User, Reason: event.EndReason_END_REASON_ABANDONED}
			ev, err := end.Decide(commands.SessionState{User: s.User})
			if err != nil {
				n.log.Error("unknown session can't be ended", "session", end.Session, "user", s.User, "err", err)
				all = all[1:]
				continue
			}
			if err := n.Append(event.Presence, ev, func(Result) {}); err != nil {
				// Nobody else ends them for as long as this life lasts.
				n.log.Warn("unknown sessions not ended yet", "err", err)
				sleep(ctx, time.Second)
				continue
			}
			all = all[1:]
		}
	})
}

package delivery

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
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

	state  state
	gen    uint64 // of refills; an older one must not touch anything
	term   *frame.Term
	owner  string
	heard  time.Time
	failed int // refills in a row that came to nothing

	waiting      []*frame.Frame // frames behind a refill
	waitingBytes int
	waiters      []waiter // answers that wait for seen

	queue   []uint32        // users whose attach state has to be told
	pending map[uint32]pend // users whose attach is not through
	counter uint64          // newest request that named this stream

	rmu     sync.Mutex
	records map[uint64][]*ticket // own records whose outcomes are not known
}

// pend is an attach that is not through.
type pend struct {
	since   uint64 // the node's seen when the user was registered
	counter uint64 // request that carries it; 0: not sent yet
}

type waiter struct {
	sequence uint64
	done     chan struct{}
}

// ticket follows one event of this node from its append to its outcome.
type ticket struct {
	st   *stream
	done func(Result)
}

// Placed remembers the event under its record. Tickets of a record come in order.
func (t *ticket) Placed(n uint64, index int) {
	st := t.st
	st.rmu.Lock()
	defer st.rmu.Unlock()
	r := st.records[n]
	for len(r) <= index {
		r = append(r, nil)
	}
	r[index] = t
	st.records[n] = r
}

// Stored does nothing: an outcome says more than an acknowledgement.
func (t *ticket) Stored(uint64) {}

// Failed ends an event that was never stored.
func (t *ticket) Failed(err error) {
	n := t.st.n
	st := t.st
	st.rmu.Lock()
	for k, r := range st.records {
		if i := slices.Index(r, t); i >= 0 {
			st.forget(k, r, i)
		}
	}
	st.rmu.Unlock()
	n.wg.Go(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		t.done(Result{Err: err})
		n.flush()
	})
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
	// The last event of a record ends it; the common case needs no scan.
	if int(o.Index) == len(r)-1 {
		st.forget(o.N, r, int(o.Index))
	} else {
		r[o.Index] = nil
	}
	return t
}

func (st *stream) takeAll() (all []*ticket) {
	st.rmu.Lock()
	defer st.rmu.Unlock()
	for _, r := range st.records {
		for _, t := range r {
			if t != nil {
				all = append(all, t)
			}
		}
	}
	clear(st.records)
	return all
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
			n.streams[f.Stream].onFrame(f, len(data))
			n.flush()
		}
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
	case f.To <= st.seen:
		return
	case f.From > st.seen:
		st.n.log.Info("hole in the frames, refilling", "stream", st.s, "seen", st.seen, "from", f.From)
		st.holdBack(f, size)
		st.refill(0)
	default:
		st.work(f.Outcomes, f.Deliveries)
		st.moveSeen(f.To)
	}
}

// holdBack keeps a frame until the refill is through. What is over the limit is
// dropped and shows as a hole again.
func (st *stream) holdBack(f *frame.Frame, size int) {
	if st.waitingBytes+size > waitingLimit {
		return
	}
	st.waiting = append(st.waiting, f)
	st.waitingBytes += size
}

// work applies outcomes first, then deliveries; those at or below seen are repeats.
func (st *stream) work(outcomes []*frame.Outcome, deliveries []*frame.Delivery) {
	for _, o := range outcomes {
		if t := st.settle(o); t != nil {
			t.done(Result{ID: o.Id, Void: o.Void, FirstID: o.FirstId, Sequence: o.Sequence})
			if o.Void == frame.Void_VOID_NODE_NOT_LIVE {
				st.n.suspectLife()
			}
		}
	}
	for _, d := range deliveries {
		if d.Sequence > st.seen {
			st.deliver(d)
		}
	}
}

func (st *stream) moveSeen(to uint64) {
	if to <= st.seen {
		return
	}
	st.seen = to
	st.waiters = slices.DeleteFunc(st.waiters, func(w waiter) bool {
		if w.sequence <= to {
			close(w.done)
			return true
		}
		return false
	})
}

func (st *stream) deliver(d *frame.Delivery) {
	n := st.n
	switch b := d.Body.(type) {
	case *frame.Delivery_Message:
		key, ok := event.ParseConversation(b.Message.Conversation)
		if !ok || !key.IsDirect() {
			return
		}
		lower, higher := key.Parties()
		dl := &Delivery{Stream: st.s, Sequence: d.Sequence, Index: d.Index, Delivery: d}
		st.deliverTo(lower, dl)
		st.deliverTo(higher, dl)
	case *frame.Delivery_Read:
		st.deliverTo(b.Read.User, &Delivery{Stream: st.s, Sequence: d.Sequence, Index: d.Index, Delivery: d})
	case *frame.Delivery_EntryRemoved:
		st.deliverTo(b.EntryRemoved.User, &Delivery{Stream: st.s, Sequence: d.Sequence, Index: d.Index, Delivery: d})
	case *frame.Delivery_SessionOver:
		st.sessionOver(b.SessionOver)
	case *frame.Delivery_UserStatus:
		n.handler.UserStatus(b.UserStatus.User, b.UserStatus.Online, d.Sequence)
	case *frame.Delivery_DesktopStatus:
		n.handler.DesktopStatus(b.DesktopStatus.User, b.DesktopStatus.Online, d.Sequence)
	case *frame.Delivery_PersonChanged:
		n.handler.PersonChanged(b.PersonChanged, d.Sequence)
	}
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
		if u.bytes > userWaitLimit {
			// Its sessions find everything by sync; they never see a hole.
			st.n.closeUser(u)
			return
		}
		u.waiting = append(u.waiting, d)
		return
	}
	st.n.hand(u, d)
}

func (n *Node) hand(u *user, d *Delivery) {
	for _, m := range u.members {
		m.Deliver(d)
		n.dirty = append(n.dirty, m)
	}
}

// closeUser has the handler close a user's sessions without 0x0107.
func (n *Node) closeUser(u *user) {
	u.waiting, u.bytes = nil, 0
	for _, m := range u.members {
		id := m.Session()
		n.handler.SessionOver(&frame.SessionOver{Session: id[:], User: m.User(), Reason: event.EndReason_END_REASON_SLOW})
	}
}

// through ends a user's attach on this stream at position x: what waits at or below
// x has been brought by the changes, the rest follows.
func (st *stream) through(id uint32, x uint64) {
	delete(st.pending, id)
	u := st.n.users[id]
	if u == nil {
		return
	}
	rest := u.waiting[:0]
	for _, d := range u.waiting {
		switch {
		case d.Stream != st.s:
			rest = append(rest, d)
		case d.Sequence > x:
			st.n.hand(u, d)
		}
	}
	clear(u.waiting[len(rest):])
	u.waiting = rest
	u.pending--
	if u.pending <= 0 {
		u.waiting, u.bytes = nil, 0
		for _, m := range u.members {
			m.Attached()
			st.n.dirty = append(st.n.dirty, m)
		}
	}
}

// onHeartbeat decides which term to listen to, and finds holes that no later frame
// would show.
func (st *stream) onHeartbeat(owner string, e *frame.HeartbeatStream) {
	now := st.n.cfg.Clock()
	switch {
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
			st.n.log.Info("frame before a silence lost, refilling", "stream", st.s, "seen", st.seen, "to", e.To)
			st.refill(0)
		case st.s.IsConversation() && e.Counter == st.counter && len(st.pending) == 0 && len(st.queue) == 0 &&
			(e.Digest != st.n.digest || int(e.Users) != len(st.n.users)):
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
	st.gen++
	gen, term, ctx := st.gen, st.term, st.n.lifeCtx
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
				if st.term.Same(term) {
					st.state, st.term = silent, nil
				}
				st.n.mu.Unlock()
				return
			}
			st.n.mu.Unlock()
			sleep(ctx, 50*time.Millisecond)
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
	req := &frame.AttachRequest{Life: n.life[:], Counter: n.counter}
	part := &frame.AttachStream{Stream: uint32(st.s), Refill: true}
	for u := range n.users {
		if _, pending := st.pending[u]; !pending {
			part.Users = append(part.Users, u)
		}
	}
	// Those that are pending are attached one by one afterwards, from their own since.
	st.queue = st.queue[:0]
	for u := range st.pending {
		st.pending[u] = pend{since: st.pending[u].since}
		st.queue = append(st.queue, u)
	}
	st.counter = n.counter
	req.Streams = []*frame.AttachStream{part}
	owner, life := st.owner, n.life
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
	since := st.seen
	if event.ToID(at.Epoch) != st.epoch {
		st.newEpoch(event.ToID(at.Epoch), at.At)
		since = at.At
	}
	n.mu.Unlock()
	if at.At < since {
		return false, true // its fold is behind what this node has seen: not yet
	}
	for since < at.At {
		page, err := st.readChanges(ctx, owner, &frame.ChangesRequest{
			Life: life[:], Stream: uint32(st.s), Epoch: at.Epoch, Since: since, To: at.At, Refill: true})
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
			since = at.At
		} else {
			st.work(page.Outcomes, page.Deliveries)
			since = at.At
			if page.More {
				since = page.NextSequence
			}
			st.moveSeen(since)
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
	st.n.log.Warn("stream has a new epoch, sessions sync again", "stream", st.s)
	st.epoch = epoch
	st.tooFar(at)
	// What was on its way may have been cut off with the tail: its client sends it
	// again, and if it was stored the repeat is recognised.
	for _, t := range st.takeAll() {
		t.done(Result{Err: ErrPositionsLost})
	}
	if st.s == event.Presence {
		st.n.suspectLife()
	}
}

// tooFar gives up the range up to at: sessions close and find everything by sync.
func (st *stream) tooFar(at uint64) {
	st.seen = 0
	st.moveSeen(at)
	for u, p := range st.pending {
		p.since = min(p.since, at)
		st.pending[u] = p
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
func (n *Node) attachRound(ctx context.Context, owner string) bool {
	n.mu.Lock()
	n.counter++
	counter, life, lifeCtx := n.counter, n.life, n.lifeCtx
	req := &frame.AttachRequest{Life: life[:], Counter: counter}
	for _, st := range n.streams {
		if st.owner != owner || st.state != following || len(st.queue) == 0 {
			continue
		}
		part := &frame.AttachStream{Stream: uint32(st.s)}
		for _, u := range st.queue {
			if n.users[u] == nil {
				part.Gone = append(part.Gone, u)
			} else if p, ok := st.pending[u]; ok && p.counter == 0 {
				p.counter = counter
				st.pending[u] = p
				part.Users = append(part.Users, u)
			}
		}
		st.queue = st.queue[:0]
		if cap(st.queue) > 4096 {
			st.queue = nil
		}
		if len(part.Users)+len(part.Gone) > 0 {
			st.counter = counter
			req.Streams = append(req.Streams, part)
		}
	}
	n.mu.Unlock()
	if len(req.Streams) == 0 {
		return false
	}
	var ans frame.AttachAnswer
	err := n.call(lifeCtx, owner, "attach", attachTimeout, req, &ans)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != life {
		return false
	}
	if err != nil || len(ans.Streams) != len(req.Streams) {
		n.log.Debug("attach not answered", "owner", owner, "err", err)
		for _, part := range req.Streams {
			n.streams[part.Stream].requeue(part, counter)
		}
		return false // the retry tick comes back to it
	}
	for i, part := range req.Streams {
		st, at := n.streams[part.Stream], ans.Streams[i]
		if at.Refused || !st.term.Same(at.Term) || event.ToID(at.Epoch) != st.epoch {
			st.requeue(part, counter)
			continue
		}
		st.attached(part.Users, counter, at, owner, life)
	}
	n.flush()
	return true
}

// requeue has another round (or the next refill) carry what this one did not.
func (st *stream) requeue(part *frame.AttachStream, counter uint64) {
	for _, u := range part.Users {
		if p, ok := st.pending[u]; ok && p.counter == counter {
			st.pending[u] = pend{since: p.since}
			st.queue = append(st.queue, u)
		}
	}
	for _, u := range part.Gone {
		if st.n.users[u] == nil {
			st.queue = append(st.queue, u)
		}
	}
}

// attached goes on for users that the owner has registered at x: those with
// nothing between are through at once, the others after their changes. n.mu is held.
func (st *stream) attached(users []uint32, counter uint64, at *frame.AttachedStream, owner string, life event.ID) {
	var behind []uint32
	since := at.At
	for _, u := range users {
		p, ok := st.pending[u]
		if !ok || p.counter != counter {
			continue
		}
		if p.since >= at.At {
			st.through(u, at.At)
			continue
		}
		behind = append(behind, u)
		since = min(since, p.since)
	}
	if len(behind) == 0 {
		return
	}
	ctx, gen := st.n.lifeCtx, st.gen
	st.n.wg.Go(func() { st.changesOf(ctx, behind, counter, gen, since, at, owner, life) })
}

// changesOf brings users what lies in (since, x], each from its own since on.
func (st *stream) changesOf(ctx context.Context, users []uint32, counter, gen, since uint64, at *frame.AttachedStream, owner string, life event.ID) {
	n := st.n
	for since < at.At {
		page, err := st.readChanges(ctx, owner, &frame.ChangesRequest{
			Life: life[:], Stream: uint32(st.s), Epoch: at.Epoch, Since: since, To: at.At, Users: users})
		n.mu.Lock()
		if n.life != life {
			n.mu.Unlock()
			return
		}
		if err != nil || st.gen != gen {
			st.requeue(&frame.AttachStream{Users: users}, counter)
			n.wake()
			n.mu.Unlock()
			return
		}
		since = at.At
		if page.More {
			since = page.NextSequence
		}
		if page.TooFar {
			for _, id := range users {
				if u := n.users[id]; u != nil {
					n.closeUser(u)
				}
			}
		}
		for _, d := range page.Deliveries {
			st.deliverChange(d, users, counter)
		}
		if page.More {
			for _, id := range users { // a retry must not bring this page again
				if p, ok := st.pending[id]; ok && p.counter == counter {
					p.since = max(p.since, since)
					st.pending[id] = p
				}
			}
		}
		n.flush()
		n.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life != life {
		return
	}
	for _, id := range users {
		if p, ok := st.pending[id]; ok && p.counter == counter {
			st.through(id, at.At)
		}
	}
	n.flush()
}

// deliverChange hands one change to those of the attaching users it concerns.
func (st *stream) deliverChange(d *frame.Delivery, users []uint32, counter uint64) {
	var concerned [2]uint32
	switch b := d.Body.(type) {
	case *frame.Delivery_Message:
		key, ok := event.ParseConversation(b.Message.Conversation)
		if !ok || !key.IsDirect() {
			return
		}
		concerned[0], concerned[1] = key.Parties()
	case *frame.Delivery_Read:
		concerned[0] = b.Read.User
	case *frame.Delivery_EntryRemoved:
		concerned[0] = b.EntryRemoved.User
	}
	dl := &Delivery{Stream: st.s, Sequence: d.Sequence, Index: d.Index, Delivery: d}
	for _, id := range concerned {
		if p, ok := st.pending[id]; ok && p.counter == counter && d.Sequence > p.since && slices.Contains(users, id) {
			if u := st.n.users[id]; u != nil {
				st.n.hand(u, dl)
			}
		}
	}
}

// resync recovers PRESENCE or PEOPLE.
func (st *stream) resync(ctx context.Context, gen uint64) (ok, again bool) {
	n := st.n
	n.mu.Lock()
	if st.gen != gen {
		n.mu.Unlock()
		return true, false
	}
	req := &frame.ResyncRequest{Life: n.life[:], Stream: uint32(st.s), Epoch: st.epoch[:], Since: st.seen}
	for id, u := range n.users {
		if st.s == event.People {
			req.Users = append(req.Users, &frame.ResyncUser{User: id, PeopleSequence: st.seen})
			continue
		}
		for _, m := range u.members {
			s := m.Session()
			req.Sessions = append(req.Sessions, &frame.ResyncSession{Session: s[:], User: id})
		}
	}
	owner := st.owner
	n.mu.Unlock()

	var ans frame.ResyncAnswer
	if err := n.call(ctx, owner, "resync", changesTimeout, req, &ans); err != nil {
		n.log.Debug("resync not answered", "stream", st.s, "owner", owner, "err", err)
		return false, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if st.gen != gen {
		return true, false
	}
	if st.term.Less(ans.Term) {
		st.term, st.heard = ans.Term, n.cfg.Clock()
	}
	if ans.At < st.seen && event.ToID(ans.Epoch) == st.epoch {
		return false, true
	}
	hole := ans.At > st.seen || event.ToID(ans.Epoch) != st.epoch
	if event.ToID(ans.Epoch) != st.epoch {
		st.newEpoch(event.ToID(ans.Epoch), ans.At)
	} else if ans.TooFar {
		st.tooFar(ans.At)
	}
	st.work(ans.Outcomes, nil)
	if hole && st.s == event.People {
		n.handler.DropCaches()
	}
	for _, over := range ans.Over {
		st.sessionOver(over)
	}
	for _, s := range ans.Unknown {
		n.endUnknown(s)
	}
	for _, s := range ans.Statuses {
		n.handler.UserStatus(s.User, s.Online, ans.At)
	}
	for _, c := range ans.People {
		n.handler.PersonChanged(c, ans.At)
	}
	st.moveSeen(ans.At)
	st.caughtUp()
	return true, false
}

// endUnknown ends a session that the log shows on this life but nobody here holds.
func (n *Node) endUnknown(s *frame.ResyncSession) {
	if u := n.users[s.User]; u != nil {
		id := event.ToID(s.Session)
		if slices.ContainsFunc(u.members, func(m Member) bool { return m.Session() == id }) {
			return // joined while the answer was on its way
		}
	}
	ev := &event.Event{At: n.cfg.Clock().UnixMilli(), Body: &event.Event_SessionEnded{SessionEnded: &event.SessionEnded{
		Session: s.Session, User: s.User, Reason: event.EndReason_END_REASON_ABANDONED}}}
	n.wg.Go(func() {
		if err := n.Append(event.Presence, ev, func(Result) {}); err != nil {
			n.log.Warn("unknown session not ended", "err", err)
		}
	})
}

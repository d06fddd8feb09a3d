package owner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/projections/timeline"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// stream is one view with its fan-out.
type stream struct {
	p    *Process
	s    event.Stream
	fold fold
	view *view.View

	mu        sync.Mutex // guards what follows, and orders folds, frames and attaches
	term      *frame.Term
	starts    uint64 // starts of fan-out since the process began
	resets    uint64 // times the view was dropped: a term does not outlast one
	folded    uint64
	nodes     map[event.ID]*node
	order     []*node                 // the same, to be walked
	advanced  chan struct{}           // closed and renewed when folded, resets or stopped change
	stopped   error                   // the view can't go on
	interrupt context.CancelCauseFunc // ends the present Follow
	buf       []byte
	groups    memberships // timelines, in a term
	moves     *moves      // while they are being read
	numbers   uint64      // of audiences told
	rank      int         // how soon it takes a lease that is free: 0 at once; -1: not at all yet
	urgent    bool        // the rank is to count at once
	ranked    chan struct{}
	giving    bool      // the term is to end, for somebody else
	termless  time.Time // since when the process holds no term
	lag       lag

	epochMu sync.Mutex // of whatever changes the epoch

	// Of Process.start.
	stop, letGo    context.CancelFunc
	followed, held sync.WaitGroup
}

// node is one node life as a stream's owner knows it in the present term.
type node struct {
	life    event.ID
	to      uint64            // end of the last frame sent
	parts   uint32            // frames sent with parts of record to + 1
	users   map[uint32]uint64 // attached users, and the counter of their attach
	digest  uint64
	counter uint64 // newest request that was applied
	frames  uint64 // sent, so the number of the one that is being filled
	next    frame.Frame
	size    int

	audiences map[uint32]*audience // by group, of those with attached members
}

// add attaches a user to a node; st.mu is held.
func (st *stream) add(n *node, user uint32, counter uint64) {
	if _, ok := n.users[user]; !ok {
		n.digest ^= frame.UserDigest(user)
		for _, group := range st.groups[user] {
			n.joined(user, group)
		}
	}
	n.users[user] = counter
}

// remove detaches a user, unless that was asked for before its attach; st.mu is held.
func (st *stream) remove(n *node, user uint32, counter uint64) {
	if c, ok := n.users[user]; ok && c <= counter {
		delete(n.users, user)
		n.digest ^= frame.UserDigest(user)
		for _, group := range st.groups[user] {
			n.left(user, group)
		}
	}
}

// follow folds the stream for ever. When the log turns out not to be the one that
// was folded, the epoch is renewed and the view begins anew.
func (st *stream) follow(ctx context.Context) {
	log := st.p.log.With("view", st.fold.Name())
	st.mu.Lock()
	st.folded = st.view.Folded()
	st.wake() // hold may be waiting already, and a quiet stream brings nothing that wakes it
	st.mu.Unlock()
	// A fold that waits for a full disk must not keep the process from its end.
	defer context.AfterFunc(ctx, st.view.Interrupt)()
	for {
		following, interrupt := context.WithCancelCause(ctx)
		st.mu.Lock()
		st.interrupt = interrupt
		st.mu.Unlock()
		err := st.p.bus.Follow(following, st.s, st.view.Checkpoint, st.apply)
		interrupt(nil)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, view.ErrCorrupt) || errors.Is(context.Cause(following), view.ErrCorrupt) {
			// The log is sound and positions stay what they are: only the file goes.
			log.Error("the view's file is damaged: replaying", "err", err)
			if err = st.drop(func() (event.ID, error) { return st.view.Epoch(), nil }); err == nil {
				continue
			}
		}
		if rollback, ok := errors.AsType[*bus.RollbackError](err); ok {
			log.Error("the log is not the one this view was folded from: renewing the epoch and replaying", "err", rollback)
			renew := func() (event.ID, error) { return st.p.bus.RenewEpoch(ctx, st.s, st.view.Epoch()) }
			if err := st.drop(renew); err != nil {
				if ctx.Err() != nil {
					return
				}
				log.Error("renew epoch", "err", err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Second):
				}
			}
			continue
		}
		if !errors.Is(err, view.ErrClosed) { // the process ends
			log.Error("view stopped", "err", err)
		}
		st.mu.Lock()
		st.stopped = fmt.Errorf("view %s stopped: %w", st.fold.Name(), err)
		st.endTerm()
		st.wake()
		st.mu.Unlock()
		<-ctx.Done()
		return
	}
}

// drop begins the view anew, silently, in the epoch that is asked for once the
// fan-out has ended.
func (st *stream) drop(epochOf func() (event.ID, error)) error {
	st.p.count.resets.Add(1)
	st.epochMu.Lock()
	defer st.epochMu.Unlock()
	st.mu.Lock()
	st.endTerm()
	st.resets++
	st.folded = 0 // no term before the replay has caught up
	st.wake()
	st.mu.Unlock()
	epoch, err := epochOf()
	if err != nil {
		return err
	}
	return st.view.Reset(epoch)
}

// endTerm silences the stream; st.mu is held.
func (st *stream) endTerm() {
	if st.term != nil {
		st.termless = time.Now()
		st.p.nudge(st.p.beatNow)
	}
	st.term = nil
	clear(st.nodes)
	st.order = nil
	st.groups = nil
}

// wake tells whoever waits for the fold to move; st.mu is held.
func (st *stream) wake() {
	close(st.advanced)
	st.advanced = make(chan struct{})
}

// hold keeps trying for the lease and fans out while it is held. It begins to try
// once the fold has reached the stream's end, so that a view that has yet to be
// replayed leaves the lease to one that need not.
func (st *stream) hold(ctx context.Context) {
	for {
		if _, ok := st.catchUp(ctx, nil); !ok {
			return
		}
		if st.p.sick() && st.p.others.Load() > 0 {
			if !pause(ctx, nil, sickLook) {
				return
			}
			continue
		}
		lease, err := st.acquire(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if !errors.Is(err, errRank) {
				st.p.log.Warn("acquire lease", "view", st.fold.Name(), "err", err)
				pause(ctx, nil, time.Second)
			}
			continue
		}
		guarding, stop := context.WithCancel(ctx)
		var guard sync.WaitGroup
		guard.Go(func() { st.leaveWhenSick(guarding, lease) })
		for st.fanOut(ctx, lease) {
		}
		stop()
		guard.Wait()
		st.mu.Lock()
		st.endTerm()
		stopped, giving := st.stopped != nil, st.giving
		st.giving = false
		st.mu.Unlock()
		if ctx.Err() != nil || stopped || giving {
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			if err := lease.Release(release); err != nil {
				st.p.log.Debug("release lease", "view", st.fold.Name(), "err", err)
			}
			cancel()
		}
		if ctx.Err() != nil || stopped {
			return
		}
		if giving {
			pause(ctx, nil, st.p.pace.settles) // for who is to have it
		}
	}
}

// Times of a process that can't write its views.
const (
	sickLook = time.Second
	sickFor  = 5 * time.Second
)

// sick tells whether a view of the process can't be written, as on a full disk. Its fold soon
// waits, and all that the process tells others waits with it.
func (p *Process) sick() bool {
	return slices.ContainsFunc(p.all(), func(st *stream) bool { return st.view.Healthy() != nil })
}

// leaveWhenSick releases the lease when the process has been sick for a while and there are
// others. It takes no lock of the stream's, which the fold may hold.
func (st *stream) leaveWhenSick(ctx context.Context, lease *bus.Lease) {
	well := time.Now()
	for pause(ctx, lease.Lost(), sickLook) {
		if !st.p.sick() || st.p.others.Load() == 0 {
			well = time.Now()
		}
		if time.Since(well) < sickFor {
			continue
		}
		st.p.log.Error("this process can't write its views: others are to fan out", "view", st.fold.Name())
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := lease.Release(release); err != nil {
			st.p.log.Debug("release lease", "view", st.fold.Name(), "err", err)
		}
		return
	}
}

// errRank: an attempt to take a lease was given up, because it is to be made sooner or
// later than it was begun.
var errRank = errors.New("rank changed")

// acquire waits for the lease, as long as its rank says once that is free.
func (st *stream) acquire(ctx context.Context) (*bus.Lease, error) {
	rank, _, changed := st.rankNow()
	for rank < 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
		rank, _, changed = st.rankNow()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	trying, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wg.Go(func() {
		for {
			select {
			case <-trying.Done():
				return
			case <-changed:
			}
			// A new attempt begins the wait for a silent holder anew. So it must be worth
			// it, unless the holder says himself that he goes.
			now, urgent, next := st.rankNow()
			if now != rank && !urgent {
				if !pause(trying, nil, st.p.pace.settles) {
					return
				}
				now, _, next = st.rankNow()
			}
			if now != rank {
				cancel(errRank)
				return
			}
			changed = next
		}
	})
	lease, err := st.p.bus.AcquireLease(trying, st.fold.Name(), time.Duration(rank)*st.p.pace.rank)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(trying), errRank) {
		return nil, errRank
	}
	return lease, err
}

func (st *stream) rankNow() (rank int, urgent bool, changed <-chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.rank, st.urgent, st.ranked
}

// setRank says how soon the stream is to take its lease when that is free.
func (st *stream) setRank(rank int, urgent bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.rank == rank && st.urgent == urgent {
		return
	}
	st.rank, st.urgent = rank, urgent
	close(st.ranked)
	st.ranked = make(chan struct{})
}

// give has the term end, so that another projector can begin one; false if there is none.
func (st *stream) give() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.term == nil {
		return false
	}
	st.giving = true
	st.wake()
	return true
}

// supersede ends the term when somebody else's is later: the lease has gone, and this
// process has yet to learn it.
func (st *stream) supersede(by *frame.Term, process string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.term == nil || !later(by, st.term) {
		return
	}
	st.p.log.Warn("another process fans out: ending the term", "view", st.fold.Name(), "process", process, "revision", by.Revision, "own", st.term.Revision)
	st.giving = true
	st.endTerm()
	st.wake()
}

func (st *stream) termNow() *frame.Term {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.term
}

// catchUp waits until what is in the log by now has been folded. resets tells the
// folding that did it. It is not ok when ctx or the lease has ended, or the view.
func (st *stream) catchUp(ctx context.Context, lost <-chan struct{}) (resets uint64, ok bool) {
	for {
		st.mu.Lock()
		resets, stopped := st.resets, st.stopped
		st.mu.Unlock()
		if stopped != nil {
			return 0, false
		}
		last, err := st.p.bus.LastSequence(ctx, st.s)
		if err != nil {
			if !pause(ctx, lost, 100*time.Millisecond) {
				return 0, false
			}
			continue
		}
		if st.waitUntil(ctx, lost, func() bool { return st.folded >= last || st.resets != resets }) != nil {
			return 0, false
		}
		st.mu.Lock()
		done := st.resets == resets
		st.mu.Unlock()
		if done {
			return resets, true
		}
	}
}

var errOver = errors.New("over")

// waitUntil waits for a state of the stream; it fails when ctx or the lease has
// ended, or the view.
func (st *stream) waitUntil(ctx context.Context, lost <-chan struct{}, cond func() bool) error {
	for {
		st.mu.Lock()
		reached, stopped, moved := cond(), st.stopped != nil, st.advanced
		st.mu.Unlock()
		switch {
		case stopped:
			return errOver
		case reached:
			return nil
		}
		select {
		case <-ctx.Done():
			return errOver
		case <-lost:
			return errOver
		case <-moved:
		}
	}
}

// pause waits for d; false when ctx or the lease ended first.
func pause(ctx context.Context, lost <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-lost:
		return false
	case <-t.C:
		return true
	}
}

// fanOut is one term: from the moment at which all that was in the log when the
// lease was gained has been folded, to the end of the lease or the view's next
// reset. It is true where another term is to follow under the same lease.
func (st *stream) fanOut(ctx context.Context, lease *bus.Lease) bool {
	resets, ok := st.catchUp(ctx, lease.Lost())
	if !ok {
		return false
	}
	if same, err := st.ofThisLog(ctx); !same {
		// Following finds it out as well, and has the view begin anew.
		st.p.log.Warn("fan-out waits: the view is not of this log", "view", st.fold.Name(), "err", err)
		return pause(ctx, lease.Lost(), 100*time.Millisecond)
	}
	groups, at, ok := st.readGroups(ctx, lease.Lost())
	if !ok {
		st.mu.Lock()
		st.moves = nil
		st.mu.Unlock()
		return pause(ctx, lease.Lost(), 100*time.Millisecond)
	}
	if !st.begin(lease.Revision(), resets, groups, at) {
		return true
	}
	st.p.count.terms.Add(1)
	st.p.nudge(st.p.beatNow)
	st.p.greet()
	giving := false
	err := st.waitUntil(ctx, lease.Lost(), func() bool { giving = st.giving; return giving || st.resets != resets })
	return err == nil && !giving
}

// begin begins a term with the groups as they were read at a position, and as they have
// changed since. It does not where the view was reset meanwhile, or too much has changed.
func (st *stream) begin(revision, resets uint64, groups memberships, at uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	moves := st.moves
	st.moves = nil
	if st.resets != resets || st.stopped != nil || moves.users > movesLimit {
		return false
	}
	for _, m := range moves.all {
		if m.sequence > at {
			groups.move(m.group, m.members)
		}
	}
	st.groups = groups
	st.starts++
	st.term = &frame.Term{Revision: revision, Start: st.starts}
	st.nodes, st.order = map[event.ID]*node{}, nil
	st.p.log.Debug("fan-out begins", "view", st.fold.Name(), "revision", revision, "start", st.starts)
	return true
}

// readGroups reads who is in which group, as of a committed position. What is folded
// meanwhile is in st.moves when it returns.
func (st *stream) readGroups(ctx context.Context, lost <-chan struct{}) (groups memberships, at uint64, ok bool) {
	groups = memberships{}
	st.mu.Lock()
	st.moves = &moves{}
	folded := st.folded
	st.mu.Unlock()
	if !st.s.IsConversation() {
		return groups, 0, true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := st.view.WaitCommitted(ctx, folded)
	if err == nil {
		err = st.view.Read(func(r *view.Reader) error {
			at = r.Sequence()
			for user, group := range timeline.Memberships(r) {
				groups[user] = append(groups[user], group)
			}
			return nil
		})
	}
	if err != nil {
		if ctx.Err() == nil {
			st.p.log.Warn("fan-out waits: the groups were not read", "view", st.fold.Name(), "err", err)
		}
		return nil, 0, false
	}
	return groups, at, true
}

// ofThisLog compares the record at the fold's position with the log's own: a view whose
// log was cut off behind its back must tell nobody what it holds.
func (st *stream) ofThisLog(ctx context.Context) (bool, error) {
	cp := st.view.Checkpoint()
	if cp.Sequence == 0 {
		return true, nil
	}
	rec, err := st.p.bus.ReadRecord(ctx, st.s, cp.Sequence)
	if err != nil && !errors.Is(err, bus.ErrNoRecord) {
		return false, err
	}
	return bus.FingerprintOf(rec.Data) == cp.Fingerprint, err
}

// apply folds a batch and frames it.
func (st *stream) apply(batch []bus.Recorded) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	applied, err := st.view.Apply(batch)
	for i := range applied {
		st.route(&applied[i])
	}
	if st.term != nil {
		for _, n := range st.order {
			if len(n.next.Outcomes) > 0 || len(n.next.Deliveries) > 0 {
				st.send(n, applied[len(applied)-1].Sequence)
			}
		}
	}
	if len(applied) > 0 {
		st.folded = applied[len(applied)-1].Sequence
		st.wake()
	}
	return err
}

// route puts one record's outcomes and deliveries into the frames they belong to;
// st.mu is held.
func (st *stream) route(a *view.Applied) {
	if a.Repeated {
		return
	}
	if n := st.nodes[a.Writer]; n != nil {
		for i := range a.Effects {
			e := &a.Effects[i]
			n.next.Outcomes = append(n.next.Outcomes, &frame.Outcome{
				N: a.N, Index: uint32(i), Id: e.ID, Void: e.Void, FirstId: e.FirstID, Sequence: a.Sequence})
			n.size += 32
		}
	}
	trace := st.term != nil && st.p.log.Enabled(context.Background(), slog.LevelDebug)
	for i := range a.Effects {
		e := &a.Effects[i]
		if trace && st.s.IsConversation() && e.ID != 0 && len(e.Deliveries) > 0 && e.Deliveries[0].GetMessage() != nil {
			st.p.log.Debug("message folded", "trace", fmt.Sprintf("%s/%d/%d", st.s, a.Sequence, i), "view", st.fold.Name(), "id", e.ID)
		}
		if e.Members != nil {
			st.move(a.Sequence, e)
		}
		if len(st.order) == 0 {
			continue
		}
		for k, d := range e.Deliveries {
			st.audience(e, k, d)
		}
	}
	for _, n := range st.order {
		if n.size > frameSoftLimit {
			st.send(n, a.Sequence)
		}
	}
}

// audience puts delivery k of an effect into the frames of those it concerns.
func (st *stream) audience(e *view.Effect, k int, d *frame.Delivery) {
	switch {
	case st.s.IsConversation():
		c := timeline.ConcernOf(e, d)
		if c.Group != 0 {
			st.deliverGroup(c, e, d)
			return
		}
		for _, n := range st.order {
			if n.has(c.First) || n.has(c.Second) {
				n.deliver(d)
			}
		}
	case k < len(e.Routes) && !e.Routes[k].All:
		for _, life := range e.Routes[k].Lives {
			if n := st.nodes[life]; n != nil {
				st.deliverPart(n, d)
			}
		}
	default:
		for _, n := range st.order {
			st.deliverPart(n, d)
		}
	}
}

// has tells whether a user is attached; user 0 never is.
func (n *node) has(user uint32) bool {
	_, ok := n.users[user]
	return ok
}

func (n *node) deliver(d *frame.Delivery) {
	n.next.Deliveries = append(n.next.Deliveries, d)
	n.size += deliveryBytes(d)
}

// deliveryBytes is about what a delivery takes in a frame or a page.
func deliveryBytes(d *frame.Delivery) int {
	size := 96
	switch b := d.GetBody().(type) {
	case *frame.Delivery_Message:
		size += len(b.Message.GetBody())
	case *frame.Delivery_MessageChange:
		size += len(b.MessageChange.GetBody())
	case *frame.Delivery_GroupChange:
		size += len(b.GroupChange.GetName()) + len(b.GroupChange.GetAvatarUrl())
	case *frame.Delivery_FileOffer:
		size += len(b.FileOffer.GetName())
	case *frame.Delivery_PersonChanged:
		c := b.PersonChanged
		size += len(c.GetFriend().GetText()) + len(c.GetDirectory().GetSignature()) + len(c.GetDirectory().GetAvatarUrl())
	}
	if a := d.GetAudience(); a != nil {
		size += audienceBytes(a)
	}
	return size
}

// deliverPart delivers what one record may bring more of than fits into a frame: a
// lost node ends all its sessions. A part moves no position, so parts are counted; of
// these streams a node may be told the same twice.
func (st *stream) deliverPart(n *node, d *frame.Delivery) {
	n.deliver(d)
	if n.size <= frameSoftLimit {
		return
	}
	to, before := max(n.to, d.Sequence-1), n.parts
	if to > n.to {
		before = 0
	}
	st.send(n, to)
	n.parts = before + 1
}

// send closes the node's frame at position to and pushes it; st.mu is held.
func (st *stream) send(n *node, to uint64) {
	f := &n.next
	st.push(n, f, to)
	n.to, n.parts = to, 0
	n.size = 0
	n.frames++
	clear(f.Outcomes)
	clear(f.Deliveries)
	f.Outcomes, f.Deliveries = f.Outcomes[:0], f.Deliveries[:0]
}

// push sends one frame of the node's from where the last one ended.
func (st *stream) push(n *node, f *frame.Frame, to uint64) {
	f.Stream, f.Term, f.From, f.To, f.Parts = uint32(st.s), st.term, n.to, to, n.parts
	epoch := st.view.Epoch()
	f.Epoch = epoch[:]
	var err error
	st.buf, err = proto.MarshalOptions{}.MarshalAppend(st.buf[:0], &frame.Push{Body: &frame.Push_Frame{Frame: f}})
	if err == nil {
		st.p.count.frames.Add(1)
		st.p.count.frameBytes.Add(uint64(len(st.buf)))
		err = st.p.bus.Push(n.life, st.buf)
	}
	if err != nil {
		st.p.count.frameErrors.Add(1)
		// The node finds the hole by the next frame or heartbeat and refills. The bus has said
		// once that a connection is lost; this would be said for each frame and node.
		level := slog.LevelWarn
		if errors.Is(err, bus.ErrDisconnected) {
			level = slog.LevelDebug
		}
		st.p.log.Log(context.Background(), level, "frame not sent", "view", st.fold.Name(), "life", n.life, "err", err)
	}
	if cap(st.buf) > 4*frameSoftLimit {
		st.buf = nil
	}
}

// register makes a node anew at the fold's position; st.mu is held.
func (st *stream) register(life event.ID, users int) *node {
	st.forgetLocked(life)
	n := &node{life: life, to: st.folded, users: make(map[uint32]uint64, users), frames: 1, audiences: map[uint32]*audience{}}
	st.nodes[life] = n
	st.order = append(st.order, n)
	return n
}

func (st *stream) forgetLocked(life event.ID) {
	if n := st.nodes[life]; n != nil {
		delete(st.nodes, life)
		st.order = slices.DeleteFunc(st.order, func(o *node) bool { return o == n })
	}
}

// upTo brings an attached node to the fold by an empty frame, if it is behind.
func (st *stream) upTo(life event.ID) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n := st.nodes[life]; n != nil && n.to < st.folded {
		st.send(n, st.folded)
	}
}

// heartbeat is this stream's entry for a node, nil while it does not fan out.
func (st *stream) heartbeat(life event.ID) *frame.HeartbeatStream {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.term == nil {
		return nil
	}
	epoch := st.view.Epoch()
	e := &frame.HeartbeatStream{Stream: uint32(st.s), Term: st.term, Epoch: epoch[:]}
	if n := st.nodes[life]; n != nil {
		if n.to < st.folded {
			st.send(n, st.folded)
		}
		e.Attached, e.To, e.Users, e.Digest, e.Counter = true, n.to, uint32(len(n.users)), n.digest, n.counter
	}
	return e
}

// mend has the view replayed when its file turned out damaged while nothing was to
// be folded.
func (st *stream) mend() {
	if err := st.view.Healthy(); errors.Is(err, view.ErrCorrupt) {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.interrupt != nil {
			st.interrupt(err)
		}
	}
}

func (st *stream) forget(life event.ID) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.forgetLocked(life)
}

package owner

import (
	"context"
	"errors"
	"fmt"
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

	mu       sync.Mutex // guards what follows, and orders folds, frames and attaches
	term     *frame.Term
	starts   uint64 // starts of fan-out since the process began
	restart  bool   // the view was dropped: the present term is over
	folded   uint64
	nodes    map[event.ID]*node
	advanced chan struct{} // closed and renewed when folded moves or restart is set
	stopped  error         // the view can't go on
	buf      []byte
}

// node is one node life as a stream's owner knows it in the present term.
type node struct {
	to      uint64            // end of the last frame sent
	users   map[uint32]uint64 // attached users, and the counter of their attach
	digest  uint64
	counter uint64 // newest request that was applied
	next    frame.Frame
	size    int
}

func (n *node) add(user uint32, counter uint64) {
	if _, ok := n.users[user]; !ok {
		n.digest ^= frame.UserDigest(user)
	}
	n.users[user] = counter
}

func (n *node) remove(user uint32, counter uint64) {
	if c, ok := n.users[user]; ok && c <= counter {
		delete(n.users, user)
		n.digest ^= frame.UserDigest(user)
	}
}

// follow folds the stream for ever. When the log turns out not to be the one that
// was folded, the epoch is renewed and the view begins anew.
func (st *stream) follow(ctx context.Context) error {
	log := st.p.log.With("view", st.fold.Name())
	st.mu.Lock()
	st.folded = st.view.Folded()
	st.mu.Unlock()
	for {
		err := st.p.bus.Follow(ctx, st.s, st.view.Checkpoint, st.apply)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if rollback, ok := errors.AsType[*bus.RollbackError](err); ok {
			log.Error("the log is not the one this view was folded from: renewing the epoch and replaying", "err", rollback)
			if err := st.rollback(ctx); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				log.Error("renew epoch", "err", err)
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Second):
				}
			}
			continue
		}
		log.Error("view stopped", "err", err)
		st.mu.Lock()
		st.stopped = fmt.Errorf("view %s stopped: %w", st.fold.Name(), err)
		st.term = nil
		st.mu.Unlock()
		<-ctx.Done()
		return ctx.Err()
	}
}

func (st *stream) rollback(ctx context.Context) error {
	st.mu.Lock()
	st.endTerm()
	st.restart = true
	st.folded = 0 // no term before the replay has caught up
	st.mu.Unlock()
	epoch, err := st.p.bus.RenewEpoch(ctx, st.s, st.view.Epoch())
	if err != nil {
		return err
	}
	if err := st.view.Reset(epoch); err != nil {
		return err
	}
	st.mu.Lock()
	st.wake()
	st.mu.Unlock()
	return nil
}

// endTerm silences the stream; st.mu is held.
func (st *stream) endTerm() {
	st.term = nil
	clear(st.nodes)
}

// wake tells whoever waits for the fold to move; st.mu is held.
func (st *stream) wake() {
	close(st.advanced)
	st.advanced = make(chan struct{})
}

// hold keeps trying for the lease and fans out while it is held.
func (st *stream) hold(ctx context.Context) error {
	for ctx.Err() == nil {
		lease, err := st.p.bus.AcquireLease(ctx, st.fold.Name())
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			st.p.log.Warn("acquire lease", "view", st.fold.Name(), "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		st.fanOut(ctx, lease)
		st.mu.Lock()
		st.endTerm()
		st.mu.Unlock()
		if ctx.Err() != nil {
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = lease.Release(release)
			cancel()
		}
	}
	return ctx.Err()
}

// fanOut begins terms under one lease, one after the other, until it is lost.
func (st *stream) fanOut(ctx context.Context, lease *bus.Lease) {
	for {
		// What is in the log by now was, or will be, folded before the term.
		last, err := st.p.bus.LastSequence(ctx, st.s)
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-lease.Lost():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		st.mu.Lock()
		st.restart = false
		for st.folded < last && !st.restart {
			moved := st.advanced
			st.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-lease.Lost():
				return
			case <-moved:
			}
			st.mu.Lock()
		}
		if st.restart || st.stopped != nil {
			st.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-lease.Lost():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		st.starts++
		st.term = &frame.Term{Revision: lease.Revision(), Start: st.starts}
		clear(st.nodes)
		st.mu.Unlock()
		st.p.log.Debug("fan-out begins", "view", st.fold.Name(), "revision", lease.Revision(), "start", st.starts)
		for over := false; !over; {
			st.mu.Lock()
			over = st.restart
			moved := st.advanced
			st.mu.Unlock()
			if over {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-lease.Lost():
				st.p.log.Warn("lease lost", "view", st.fold.Name())
				return
			case <-moved:
			}
		}
	}
}

// apply folds a batch and frames it.
func (st *stream) apply(batch []bus.Recorded) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	applied, err := st.view.Apply(batch)
	if st.term != nil {
		for i := range applied {
			st.route(&applied[i])
		}
		for life, n := range st.nodes {
			if len(n.next.Outcomes) > 0 || len(n.next.Deliveries) > 0 {
				st.send(life, n, applied[len(applied)-1].Sequence)
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
	if a.Repeated || len(st.nodes) == 0 {
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
	for i := range a.Effects {
		e := &a.Effects[i]
		for k, d := range e.Deliveries {
			st.audience(e, k, d)
		}
	}
	for life, n := range st.nodes {
		if n.size > frameSoftLimit {
			st.send(life, n, a.Sequence)
		}
	}
}

// audience puts delivery k of an effect into the frames of those it concerns.
func (st *stream) audience(e *view.Effect, k int, d *frame.Delivery) {
	switch {
	case st.s.IsConversation():
		lower, higher := timeline.Concerns(d)
		for _, n := range st.nodes {
			if _, ok := n.users[lower]; !ok {
				if _, ok := n.users[higher]; !ok {
					continue
				}
			}
			n.deliver(d)
		}
	case k < len(e.Routes) && !e.Routes[k].All:
		for _, life := range e.Routes[k].Lives {
			if n := st.nodes[life]; n != nil {
				n.deliver(d)
			}
		}
	default:
		for _, n := range st.nodes {
			n.deliver(d)
		}
	}
}

func (n *node) deliver(d *frame.Delivery) {
	n.next.Deliveries = append(n.next.Deliveries, d)
	n.size += 96 + len(d.GetMessage().GetBody())
}

// send closes the node's frame at position to and pushes it; st.mu is held.
func (st *stream) send(life event.ID, n *node, to uint64) {
	f := &n.next
	f.Stream, f.Term, f.From, f.To = uint32(st.s), st.term, n.to, to
	epoch := st.view.Epoch()
	f.Epoch = epoch[:]
	var err error
	st.buf, err = proto.MarshalOptions{}.MarshalAppend(st.buf[:0], &frame.Push{Body: &frame.Push_Frame{Frame: f}})
	if err == nil {
		err = st.p.bus.Push(life, st.buf)
	}
	if err != nil {
		// The node finds the hole by the next frame or heartbeat and refills.
		st.p.log.Warn("frame not sent", "view", st.fold.Name(), "life", life, "err", err)
	}
	n.to = to
	n.size = 0
	clear(f.Outcomes)
	clear(f.Deliveries)
	f.Outcomes, f.Deliveries = f.Outcomes[:0], f.Deliveries[:0]
	if cap(st.buf) > 4*frameSoftLimit {
		st.buf = nil
	}
}

// upTo brings an attached node to the fold by an empty frame, if it is behind.
func (st *stream) upTo(life event.ID) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if n := st.nodes[life]; n != nil && n.to < st.folded {
		st.send(life, n, st.folded)
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
			st.send(life, n, st.folded)
		}
		e.Attached, e.To, e.Users, e.Digest, e.Counter = true, n.to, uint32(len(n.users)), n.digest, n.counter
	}
	return e
}

func (st *stream) forget(life event.ID) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.nodes, life)
}

func (st *stream) ready() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.stopped != nil:
		return st.stopped
	case st.term == nil:
		return fmt.Errorf("view %s does not fan out yet", st.fold.Name())
	}
	return st.view.Healthy()
}

package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"godwit/schema/event"
)

// Times of the probe. Together they find a lost quorum within about five seconds.
const (
	probeEvery   = time.Second            // a look at one stream while all is well
	probeSoon    = 500 * time.Millisecond // a look at all of them while something is not
	probeTimeout = 2 * time.Second
	// unheard is how long the leader may hear nothing of a replica that counts for the quorum;
	// they speak each second.
	unheard = 3 * time.Second
	// patience is how long a trouble may last before appends count as held up.
	patience = 3 * time.Second
)

// UnwritableError says that appends are held, since when by this process's clock, and why.
type UnwritableError struct {
	Since  time.Time
	Reason error
}

func (e *UnwritableError) Error() string {
	return fmt.Sprintf("bus: the log has taken no records since %s: %v", e.Since.UTC().Format("15:04:05"), e.Reason)
}

func (e *UnwritableError) Unwrap() error { return e.Reason }

// Writable is nil while appends come through. It is an *UnwritableError within about five
// seconds of the loss of a stream's quorum or of the connection, when nothing is appended
// too, and at once where the embedded server's disk has no room. Appends are taken all the
// same, and stored later. It costs nothing to ask.
func (b *Bus) Writable() error {
	if b.closed.Load() {
		return ErrClosed
	}
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold != nil {
		return &UnwritableError{Since: h.holdSince, Reason: h.hold}
	}
	if e := h.held(time.Now(), b.stored); e != nil {
		return e
	}
	return nil
}

// trouble is what is wrong with a stream, and since when.
type trouble struct {
	since time.Time
	err   error
}

// begin keeps the first since of a trouble that goes on.
func (t *trouble) begin(since time.Time, err error) {
	if t.err == nil {
		t.since = since
	}
	t.err = err
}

func (t *trouble) lasts(now time.Time) bool { return t.err != nil && now.Sub(t.since) >= patience }

// held joins the troubles that have lasted. A stream that has stored something since its
// trouble was seen last has none. h.mu is held.
func (h *health) held(now time.Time, stored func(event.Stream) time.Time) *UnwritableError {
	var all []trouble
	if h.cut.lasts(now) {
		all = append(all, h.cut)
	}
	for s, t := range h.unanswered {
		if t.lasts(now) && stored(s).Before(t.since) {
			all = append(all, *t)
		}
	}
	for s, err := range h.refused {
		if t := (trouble{h.refusedSince[s], err}); t.lasts(now) {
			all = append(all, trouble{t.since, fmt.Errorf("bus: %s takes no records: %w", s, err)})
		}
	}
	for s, n := range h.waiting {
		if t := (trouble{h.waitingSince[s], fmt.Errorf("bus: %s does not answer", s)}); n > 0 && t.lasts(now) {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return nil
	}
	e := &UnwritableError{Since: all[0].since}
	var errs []error
	for _, t := range all {
		if t.since.Before(e.Since) {
			e.Since = t.since
		}
		errs = append(errs, t.err)
	}
	e.Reason = errors.Join(errs...)
	return e
}

// connected is told of each change of the connection that appends travel on.
func (b *Bus) connected(is bool) {
	h := &b.health
	h.mu.Lock()
	if is {
		h.cut = trouble{}
	} else {
		h.cut.begin(time.Now(), ErrDisconnected)
	}
	h.mu.Unlock()
	b.changed.fire()
}

// stored is when the stream last acknowledged a record of this process.
func (b *Bus) stored(s event.Stream) time.Time {
	return time.Unix(0, b.lastStored[s].Load())
}

// probe looks at the streams' leaders until the bus closes: at one after the other, and at
// all of them as long as one is in trouble.
func (b *Bus) probe() {
	t := time.NewTimer(probeEvery)
	defer t.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-b.ctx.Done():
			return
		case <-t.C:
		}
		streams := b.Streams()
		if !b.health.inTrouble() {
			streams = streams[turn%len(streams):][:1]
		}
		var wg sync.WaitGroup
		for _, s := range streams {
			wg.Go(func() { b.look(s) })
		}
		wg.Wait()
		next := probeEvery
		if b.health.inTrouble() {
			next = probeSoon
		}
		t.Reset(next)
	}
}

// inTrouble tells whether a leader that was asked last did not answer well.
func (h *health) inTrouble() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.unanswered) > 0 || h.cut.err != nil
}

// look asks a stream's leader how it is, and notes the answer.
func (b *Bus) look(s event.Stream) {
	began := time.Now()
	if began.Sub(b.stored(s)) < probeEvery {
		b.note(s, trouble{})
		return
	}
	if !b.events.IsConnected() {
		return // that is known, and said
	}
	ctx, cancel := context.WithTimeout(b.ctx, probeTimeout)
	defer cancel()
	i := new(streamInfo)
	err := b.api(ctx, "STREAM.INFO."+s.String(), nil, i)
	if err == nil {
		if err = i.quorum(); err != nil {
			err, began = fmt.Errorf("bus: %s: %w", s, err), began.Add(-unheard)
		}
	}
	if b.ctx.Err() == nil {
		b.note(s, trouble{began, err})
	}
}

func (b *Bus) note(s event.Stream, t trouble) {
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.unanswered[s]
	switch {
	case t.err == nil && known != nil:
		delete(h.unanswered, s)
		b.log.Info("a stream's leader answers again", "stream", s.String(), "after", time.Since(known.since).Round(time.Millisecond))
	case t.err != nil && known != nil:
		known.begin(t.since, t.err)
	case t.err != nil:
		if h.unanswered == nil {
			h.unanswered = map[event.Stream]*trouble{}
		}
		h.unanswered[s] = &t
		b.log.Warn("a stream's leader is in trouble", "stream", s.String(), "err", t.err)
	}
}

// quorum tells why what the leader stores can't be acknowledged, nil if it can.
func (i *streamInfo) quorum() error {
	if i.Cluster == nil {
		return nil
	}
	if i.Cluster.Leader == "" {
		return errors.New("no leader")
	}
	heard := 1
	for _, r := range i.Cluster.Replicas {
		if !r.Offline && r.Active < unheard {
			heard++
		}
	}
	if of := len(i.Cluster.Replicas) + 1; 2*heard <= of {
		return fmt.Errorf("%d of %d replicas can be heard", heard, of)
	}
	return nil
}

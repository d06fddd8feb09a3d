package bus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Limits of one batch that a follower is handed.
const (
	MaxBatchRecords = 512
	MaxBatchBytes   = 4 << 20
)

// Recorded is one record as the stream holds it. Data is the receiver's to keep. A
// sequence that the stream has lost for good comes with nil Data, so that positions
// stay dense; it decodes to a record without events.
type Recorded struct {
	Sequence uint64
	Data     []byte
	Time     time.Time // when the server stored it; never used for order
}

// Fingerprint tells one record's bytes from another's.
type Fingerprint [16]byte

// FingerprintOf is the first half of the SHA-256 of a record's bytes.
func FingerprintOf(data []byte) Fingerprint {
	sum := sha256.Sum256(data)
	return Fingerprint(sum[:16])
}

// Checkpoint says how far a view has come, and what it saw there. The zero value
// stands before the first record.
type Checkpoint struct {
	Sequence    uint64
	Fingerprint Fingerprint // of the record at Sequence
	Epoch       event.ID    // of the stream when it was read; Follow passes it by
}

// Follow hands h every record of the stream after the caller's checkpoint, in order
// and without a jump, in batches of what is at hand (at most MaxBatchRecords and
// MaxBatchBytes), on the caller's goroutine, until ctx ends, the bus closes
// (ErrClosed) or h fails (its error). from is asked for the newest checkpoint
// whenever a consumer is made and at each periodic check, never while h runs; what h
// has returned from must be in it.
//
// Before the first record after every (re)start, and every few seconds, the record
// at the checkpoint is read from the stream's leader. When it is another one, or is
// gone although leader and replicas are up to date, Follow ends with a
// *RollbackError. Lost connections and consumers are mended inside.
func (b *Bus) Follow(ctx context.Context, s event.Stream, from func() Checkpoint, h func(batch []Recorded) error) error {
	if err := b.check(s); err != nil {
		return err
	}
	fctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	pause := time.Duration(0)
	for {
		f := &feed{b: b, s: s, h: h}
		err := f.run(fctx, from)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case b.ctx.Err() != nil:
			return ErrClosed
		}
		if he, ok := errors.AsType[*handlerError](err); ok {
			return he.err
		}
		if rb, ok := errors.AsType[*RollbackError](err); ok {
			b.count.rollbacks.Add(1)
			b.log.Error("the log was rolled back", "stream", s.String(), "seq", rb.At, "reason", rb.Reason)
			return rb
		}
		b.count.followRestarts.Add(1)
		b.log.Info("following anew", "stream", s.String(), "err", err)
		if f.moved || errors.Is(err, errAgain) {
			pause = 0
		}
		if pause > 0 && sleep(fctx, pause) != nil {
			continue
		}
		pause = min(max(2*pause, 10*time.Millisecond), time.Second)
	}
}

// Replay yields the records from..to of the stream, both included; to = 0 means up
// to the last one there is now. It ends with an error (and no record) when ctx ends,
// the bus closes or the stream is rolled back on the way. Nothing is yielded where
// from is beyond the end.
func (b *Bus) Replay(ctx context.Context, s event.Stream, from, to uint64) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		last, err := b.LastSequence(ctx, s)
		if err != nil {
			yield(Recorded{}, err)
			return
		}
		if to == 0 {
			to = last
		}
		from = max(from, 1)
		if from > to {
			return
		}
		if to > last {
			yield(Recorded{}, fmt.Errorf("bus: replay of %s to %d: %w", s, to, ErrNoRecord))
			return
		}
		var at Recorded
		if from > 1 {
			at, err = b.ReadRecord(ctx, s, from-1)
			if errors.Is(err, ErrNoRecord) {
				at, err = Recorded{Sequence: from - 1}, nil
			}
			if err != nil {
				yield(Recorded{}, err)
				return
			}
		}
		done := errors.New("done")
		err = b.Follow(ctx, s,
			func() Checkpoint {
				if at.Sequence == 0 {
					return Checkpoint{}
				}
				return Checkpoint{Sequence: at.Sequence, Fingerprint: FingerprintOf(at.Data)}
			},
			func(batch []Recorded) error {
				for _, r := range batch {
					at = r
					if !yield(r, nil) || r.Sequence >= to {
						return done
					}
				}
				return nil
			})
		if !errors.Is(err, done) {
			yield(Recorded{}, err)
		}
	}
}

// verify compares the checkpoint with what the stream's leader holds there.
func (b *Bus) verify(ctx context.Context, s event.Stream, cp Checkpoint) error {
	if cp.Sequence == 0 {
		return nil
	}
	differs := &RollbackError{Stream: s, At: cp.Sequence, Reason: "it holds another record"}
	m, err := b.get(ctx, s.String(), msgGet{Seq: cp.Sequence})
	switch {
	case err == nil && FingerprintOf(m.Data) != cp.Fingerprint:
		return differs
	case err == nil:
		return nil
	case !errors.Is(err, ErrNoRecord):
		return err
	}
	i, err := b.info(ctx, s)
	if err != nil {
		return err
	}
	if !i.current() {
		return fmt.Errorf("bus: %s: the checkpoint %d is missing, but not all replicas are up to date", s, cp.Sequence)
	}
	if cp.Fingerprint == FingerprintOf(nil) && i.State.LastSeq >= cp.Sequence {
		return nil // known as lost already
	}
	if err := b.missing(ctx, s, i, msgGet{Seq: cp.Sequence}); err != nil && !errors.Is(err, errThere) {
		return fmt.Errorf("bus: %s: the checkpoint %d is missing: %w", s, cp.Sequence, err)
	}
	if i, err = b.info(ctx, s); err != nil {
		return err
	}
	if i.State.LastSeq < cp.Sequence {
		return &RollbackError{Stream: s, At: cp.Sequence, Reason: fmt.Sprintf("it holds nothing, the stream ends at %d", i.State.LastSeq)}
	}
	// It may have been stored between the two questions.
	m, err = b.get(ctx, s.String(), msgGet{Seq: cp.Sequence})
	switch {
	case err == nil && FingerprintOf(m.Data) != cp.Fingerprint:
		return differs
	case err == nil:
		return nil
	case !errors.Is(err, ErrNoRecord):
		return err
	}
	return &RollbackError{Stream: s, At: cp.Sequence, Reason: "it holds nothing any more, though the stream goes on"}
}

// leaderSettles is how long a leader must have been the same before what it lacks is lost.
const leaderSettles = 10 * time.Second

// errThere says that what was missing has been found.
var errThere = errors.New("it is there after all")

// missing waits until a leader has led for a while, with all replicas up to date and nothing
// at what g asks for: one that is new answers before it has worked off what was stored under
// the one before. Where that changes meanwhile it fails at once, and has to be asked again. A
// server without a cluster has nothing to work off.
func (b *Bus) missing(ctx context.Context, s event.Stream, seen *streamInfo, g msgGet) error {
	if seen.Cluster == nil || seen.Cluster.Name == "" {
		return nil
	}
	for end := time.Now().Add(leaderSettles); time.Now().Before(end); {
		if err := sleep(ctx, leaderSettles/20); err != nil {
			return err
		}
		i, err := b.info(ctx, s)
		if err != nil {
			return err
		}
		if !i.current() || i.Cluster == nil || i.Cluster.Leader != seen.Cluster.Leader {
			return errors.New("the leader has only begun")
		}
		switch _, err := b.get(ctx, s.String(), g); {
		case err == nil:
			return errThere
		case !errors.Is(err, ErrNoRecord):
			return err
		}
	}
	return nil
}

// handlerError carries the error of a follower's own function out.
type handlerError struct{ err error }

func (e *handlerError) Error() string { return e.err.Error() }

// Times of a consumer. The server says each second that it is there.
const (
	consumerHeartbeat = time.Second
	consumerSilence   = 2500 * time.Millisecond
	consumerForgotten = 30 * time.Second
	consumerStands    = 10 * time.Second // behind its stream, without moving
)

// feedBytes bounds what is taken off the connection before the handler has it; the
// server's own flow control bounds what may be on its way behind that.
const feedBytes = 2 * MaxBatchBytes

// feed is one life of one consumer: a push consumer without acks in the server's
// memory, thrown away at the first sign of a loss.
type feed struct {
	b     *Bus
	s     event.Stream
	h     func([]Recorded) error
	moved bool // something was handed over

	reconnects uint64 // of the connection when this life began

	mu     sync.Mutex
	room   *sync.Cond
	ready  chan struct{}
	items  []Recorded
	bytes  int
	heard  time.Time
	cseq   uint64 // last consumer sequence taken
	broken error
	ended  bool
}

type consumerConfig struct {
	Name              string        `json:"name"`
	DeliverSubject    string        `json:"deliver_subject"`
	DeliverPolicy     string        `json:"deliver_policy"`
	OptStartSeq       uint64        `json:"opt_start_seq"`
	AckPolicy         string        `json:"ack_policy"`
	ReplayPolicy      string        `json:"replay_policy"`
	FlowControl       bool          `json:"flow_control"`
	IdleHeartbeat     time.Duration `json:"idle_heartbeat"`
	InactiveThreshold time.Duration `json:"inactive_threshold"`
	NumReplicas       int           `json:"num_replicas"`
	MemStorage        bool          `json:"mem_storage"`
}

// run follows until something is lost. Its error is ctx's, *handlerError,
// *RollbackError, or says what was lost.
func (f *feed) run(ctx context.Context, from func() Checkpoint) error {
	b := f.b
	changed := b.changed.wait()
	f.reconnects = b.events.Stats().Reconnects
	f.room, f.ready = sync.NewCond(&f.mu), make(chan struct{}, 1)
	cp := from()
	if err := b.verify(ctx, f.s, cp); err != nil {
		return err
	}
	inbox := b.events.NewInbox()
	sub, err := b.events.Subscribe(inbox, f.take)
	if err != nil {
		return fmt.Errorf("bus: follow %s: %w", f.s, err)
	}
	defer f.end(sub)
	// The server's flow control is the bound; a limit here would only lose records.
	if err := sub.SetPendingLimits(-1, 128<<20); err != nil {
		return fmt.Errorf("bus: follow %s: %w", f.s, err)
	}
	f.heard = time.Now()
	name := nuid.Next()
	create := struct {
		Stream string         `json:"stream_name"`
		Config consumerConfig `json:"config"`
		Action string         `json:"action"`
	}{f.s.String(), consumerConfig{
		Name:              name,
		DeliverSubject:    inbox,
		DeliverPolicy:     "by_start_sequence",
		OptStartSeq:       cp.Sequence + 1,
		AckPolicy:         "none",
		ReplayPolicy:      "instant",
		FlowControl:       true,
		IdleHeartbeat:     consumerHeartbeat,
		InactiveThreshold: consumerForgotten,
		NumReplicas:       1,
		MemStorage:        true,
	}, "create"}
	if err := b.api(ctx, "CONSUMER.CREATE."+f.s.String()+"."+name, create, nil); err != nil {
		return err
	}
	defer func() {
		// The server forgets it by itself later; it need not wait for that.
		_ = b.events.Publish("$JS.API.CONSUMER.DELETE."+f.s.String()+"."+name, nil)
	}()

	last := cp.Sequence
	tick := time.NewTicker(consumerHeartbeat)
	defer tick.Stop()
	verified, ended := time.Now(), false
	var stood struct { // since when the feed stands where it does though the stream's leader has more
		at    uint64
		since time.Time
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			return errAgain
		case <-f.ready:
			if last, err = f.hand(ctx, last); err != nil {
				return err
			}
		case <-tick.C:
			if err := f.silent(); err != nil {
				return err
			}
		}
		due := time.Since(verified) >= b.hooks.verifyEvery()
		if due {
			if err := b.verify(ctx, f.s, from()); err != nil {
				return err
			}
			verified = time.Now()
		}
		if due || !ended {
			var end uint64
			if last, end, err = f.tail(ctx, last); err != nil {
				return err
			}
			// A consumer lives with one replica, and is as late as that one is. Another may be
			// up to date.
			switch {
			case end <= last:
				stood.since = time.Time{}
			case stood.since.IsZero() || stood.at != last:
				stood.at, stood.since = last, time.Now()
			case time.Since(stood.since) > consumerStands:
				return fmt.Errorf("bus: consumer of %s stands at %d, its stream has %d", f.s, last, end)
			}
			ended = true
		}
	}
}

func (f *feed) end(sub *nats.Subscription) {
	f.mu.Lock()
	f.ended = true
	f.items = nil
	f.room.Broadcast()
	f.mu.Unlock()
	_ = sub.Unsubscribe() // fails only where the connection has gone, and it with it
}

func (f *feed) silent() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil && len(f.items) == 0 && time.Since(f.heard) > consumerSilence {
		return fmt.Errorf("bus: consumer of %s is silent", f.s)
	}
	return f.broken
}

// hand gives the handler all that is at hand.
func (f *feed) hand(ctx context.Context, last uint64) (uint64, error) {
	for {
		f.mu.Lock()
		n, size := 0, 0
		for n < len(f.items) && n < MaxBatchRecords && (n == 0 || size+len(f.items[n].Data) <= MaxBatchBytes) {
			size += len(f.items[n].Data)
			n++
		}
		batch := f.items[:n:n]
		if f.items = f.items[n:]; len(f.items) == 0 {
			f.items = nil
		}
		f.bytes -= size
		f.room.Signal()
		broken := f.broken
		f.mu.Unlock()
		if n == 0 {
			return last, broken
		}
		// What came over a newer connection has not been verified. Its counter moves
		// before its first message does.
		if f.b.events.Stats().Reconnects != f.reconnects {
			return last, errAgain
		}
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		for len(batch) > 0 {
			if batch[0].Sequence != last+1 {
				if err := f.lost(ctx, last+1, batch[0].Sequence); err != nil {
					return last, err
				}
			}
			k := 1
			for k < len(batch) && batch[k].Sequence == batch[k-1].Sequence+1 {
				k++
			}
			last = batch[k-1].Sequence
			if err := f.give(batch[:k:k]); err != nil {
				return last, err
			}
			batch = batch[k:]
		}
	}
}

func (f *feed) give(batch []Recorded) error {
	f.moved = true
	f.b.count.followed.Add(uint64(len(batch)))
	if err := f.h(batch); err != nil {
		return &handlerError{err}
	}
	return nil
}

// lost hands over the sequences [first, next) as lost, once the stream's leader says
// that they are, and leader and replicas are up to date.
func (f *feed) lost(ctx context.Context, first, next uint64) error {
	if next < first {
		return fmt.Errorf("bus: consumer of %s went back from %d to %d", f.s, first, next)
	}
	i, err := f.b.info(ctx, f.s)
	if err != nil {
		return err
	}
	if !i.current() || i.State.LastSeq < next {
		return fmt.Errorf("bus: %s: sequence %d is missing, but not all replicas are up to date", f.s, first)
	}
	if err := f.b.missing(ctx, f.s, i, msgGet{Seq: first}); err != nil {
		return fmt.Errorf("bus: %s: sequence %d is missing: %w", f.s, first, err)
	}
	for _, seq := range []uint64{first, next - 1} {
		if _, err := f.b.get(ctx, f.s.String(), msgGet{Seq: seq}); !errors.Is(err, ErrNoRecord) {
			return errors.Join(fmt.Errorf("bus: consumer of %s left out %d", f.s, seq), err)
		}
	}
	return f.giveLost(first, next)
}

// tail hands over the sequences up to the stream's last one where no record is left
// behind last: a consumer has nothing to say of them before another is written. It gives
// where the feed stands then, and the stream's last sequence.
func (f *feed) tail(ctx context.Context, last uint64) (now, end uint64, err error) {
	i, err := f.b.info(ctx, f.s)
	if err != nil {
		return last, 0, err
	}
	end = i.State.LastSeq
	if end <= last || !i.current() {
		return last, end, nil
	}
	_, err = f.b.get(ctx, f.s.String(), msgGet{Seq: last + 1, Next: ">"})
	if !errors.Is(err, ErrNoRecord) {
		return last, end, err
	}
	if err := f.b.missing(ctx, f.s, i, msgGet{Seq: last + 1, Next: ">"}); errors.Is(err, errThere) {
		return last, end, nil // and the consumer brings it
	} else if err != nil {
		return last, end, err
	}
	return end, end, f.giveLost(last+1, end+1)
}

func (f *feed) giveLost(first, next uint64) error {
	f.b.log.Error("the log has lost records for good", "stream", f.s.String(), "from", first, "to", next-1)
	f.b.count.lostSequences.Add(next - first)
	for first < next {
		batch := make([]Recorded, 0, min(next-first, MaxBatchRecords))
		for ; first < next && len(batch) < cap(batch); first++ {
			batch = append(batch, Recorded{Sequence: first})
		}
		if err := f.give(batch); err != nil {
			return err
		}
	}
	return nil
}

// take is called by the connection with each message of the consumer, in order.
func (f *feed) take(m *nats.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.broken != nil {
		return
	}
	f.heard = time.Now()
	if m.Header.Get("Status") != "" {
		f.status(m)
		return
	}
	r, cseq, err := meta(m)
	switch {
	case err != nil:
		f.breaks(err)
		return
	case cseq != f.cseq+1:
		f.breaks(fmt.Errorf("bus: consumer of %s jumped from %d to %d", f.s, f.cseq, cseq))
		return
	}
	f.cseq = cseq
	f.items = append(f.items, r)
	f.bytes += len(r.Data)
	select {
	case f.ready <- struct{}{}:
	default:
	}
	for f.bytes > feedBytes && !f.ended {
		f.room.Wait()
	}
}

func (f *feed) breaks(err error) {
	f.broken = err
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// status answers flow control and reads heartbeats.
func (f *feed) status(m *nats.Msg) {
	if m.Reply != "" { // flow control: all before it has been taken
		_ = m.Respond(nil)
		return
	}
	if stalled := m.Header.Get("Nats-Consumer-Stalled"); stalled != "" {
		_ = f.b.events.Publish(stalled, nil)
	}
	switch status := m.Header.Get("Status"); status {
	case "100":
		if sent, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && sent != f.cseq {
			f.breaks(fmt.Errorf("bus: consumer of %s sent %d, got %d", f.s, sent, f.cseq))
		}
	default:
		f.breaks(fmt.Errorf("bus: consumer of %s ended: %s %s", f.s, status, m.Header.Get("Description")))
	}
}

// meta reads what the server says of a message in its reply subject:
// $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>,
// with domain and account before the stream and a token behind in the newer form.
func meta(m *nats.Msg) (r Recorded, cseq uint64, err error) {
	bad := fmt.Errorf("bus: unreadable reply subject %q", m.Reply)
	rest, ok := strings.CutPrefix(m.Reply, "$JS.ACK.")
	if !ok {
		return r, 0, bad
	}
	skip := 3
	if strings.Count(rest, ".") >= 8 {
		skip = 5
	}
	for range skip {
		if _, rest, ok = strings.Cut(rest, "."); !ok {
			return r, 0, bad
		}
	}
	var n [3]uint64
	for i := range n {
		var tok string
		if tok, rest, ok = strings.Cut(rest, "."); !ok {
			return r, 0, bad
		}
		if n[i], err = strconv.ParseUint(tok, 10, 64); err != nil {
			return r, 0, bad
		}
	}
	return Recorded{Sequence: n[0], Data: m.Data, Time: time.Unix(0, int64(n[2]))}, n[1], nil
}

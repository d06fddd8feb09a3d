package bus

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"

	"godwit/schema/event"
)

// MaxWaiting is how many bytes of events may wait on one stream of one writer; what
// is over it is refused with ErrFull.
const MaxWaiting = 32 << 20

// Ticket hears what becomes of one event. Its methods are called on the lane's
// goroutine, for the events of a stream in the order they were appended, and must
// not block. Placed is followed by Stored or Failed; an event that was never placed
// may still fail. Where the writer is closed while a record's fate is unknown,
// nothing more is heard of its events.
type Ticket interface {
	// Placed: the record that carries the event is formed and not yet sent; the event
	// is the one at index in record n of this writer and stream.
	Placed(n uint64, index int)
	// Stored: the stream has acknowledged the record at sequence. Of a record that was
	// stored twice it is the later one.
	Stored(sequence uint64)
	// Failed: the event was never stored and never will be: ErrConflict or ErrClosed.
	// A record's number n that failed is used again by the next one.
	Failed(err error)
}

// Writer appends events in the name of one node life. Each of its streams is a lane
// of its own: what is appended to one stream is stored in that order, exactly once
// for whoever skips a record number it has seen. The zero Writer is not usable.
type Writer struct {
	b      *Bus
	life   event.ID
	id     string // life in the short form of message ids
	mu     sync.Mutex
	closed atomic.Bool
	abort  context.CancelFunc
	ctx    context.Context // ends when what is left must be given up
	lanes  []atomic.Pointer[lane]
	wg     sync.WaitGroup
}

type writers struct {
	mu  sync.Mutex
	all map[*Writer]struct{}
}

func (ws *writers) wait() {
	ws.mu.Lock()
	var all []*Writer
	for w := range ws.all {
		all = append(all, w)
	}
	ws.mu.Unlock()
	for _, w := range all {
		w.close(w.ctx) // the bus's context has ended, and with it every lane gives up
	}
}

// NewWriter makes the writer of a node life. There must be one per life for ever:
// its record numbers begin at 1.
func (b *Bus) NewWriter(life event.ID) *Writer {
	w := &Writer{b: b, life: life, id: idText(life), lanes: make([]atomic.Pointer[lane], len(b.subjects))}
	w.ctx, w.abort = context.WithCancel(b.ctx)
	b.writers.mu.Lock()
	defer b.writers.mu.Unlock()
	if b.writers.all == nil {
		b.writers.all = map[*Writer]struct{}{}
	}
	b.writers.all[w] = struct{}{}
	return w
}

// idText is a ULID in 22 characters.
func idText(id event.ID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Append puts an event in line on its stream and returns at once. The event is
// encoded before Append returns and may be changed afterwards. A nil ticket is
// allowed. It refuses with ErrFull, ErrTooLarge, ErrClosed or an encoding error, and
// then no method of the ticket is called.
func (w *Writer) Append(s event.Stream, ev *event.Event, t Ticket) error {
	l, err := w.lane(s)
	if err != nil {
		return err
	}
	return l.put(ev, t, "", 0)
}

// AppendCAS puts an event in line that is stored only if expect is the last sequence
// of subject (0: nothing was ever written there) when its turn comes; else its
// ticket fails with ErrConflict. It travels alone.
func (w *Writer) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, t Ticket) error {
	l, err := w.lane(s)
	if err != nil {
		return err
	}
	if subject == "" || subject == l.subject {
		return fmt.Errorf("bus: %q is no compare-and-set subject of %s", subject, s)
	}
	return l.put(ev, t, subject, expect)
}

// Close takes no new appends and waits until all that is waiting has been stored.
// When ctx ends first, what was never sent fails with ErrClosed.
func (w *Writer) Close(ctx context.Context) error {
	err := w.close(ctx)
	w.b.writers.mu.Lock()
	delete(w.b.writers.all, w)
	w.b.writers.mu.Unlock()
	return err
}

func (w *Writer) close(ctx context.Context) error {
	w.mu.Lock()
	w.closed.Store(true)
	w.mu.Unlock()
	for i := range w.lanes {
		if l := w.lanes[i].Load(); l != nil {
			l.end()
		}
	}
	done := make(chan struct{})
	go func() {
		w.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("bus: closing a writer: %w", ctx.Err())
	}
	w.abort()
	<-done
	return err
}

func (w *Writer) lane(s event.Stream) (*lane, error) {
	if int(s) >= len(w.lanes) {
		return nil, fmt.Errorf("%w: %d", ErrNoStream, s)
	}
	if l := w.lanes[s].Load(); l != nil {
		return l, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lanes[s].Load(); l != nil {
		return l, nil
	}
	if w.closed.Load() || w.ctx.Err() != nil {
		return nil, ErrClosed
	}
	l := &lane{w: w, s: s, subject: w.b.subjects[s], wake: make(chan struct{}, 1), acks: make(chan ack, 4)}
	l.prefix = w.b.acks.add(l)
	w.lanes[s].Store(l)
	w.wg.Go(l.run)
	return l, nil
}

package bus

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// recordHead is room left before a record's events for its first three fields.
const recordHead = 2 + 16 + 1 + 10 + 1 + 5

// segment is a record that is being gathered.
type segment struct {
	buf     []byte // room for the head, then the encoded events
	tickets []Ticket
	subject string // compare and set: its subject
	expect  uint64
}

var segments = sync.Pool{New: func() any { return new(segment) }}

// keepSegment bounds the buffers that wait to be used again.
const keepSegment = event.MaxRecordBytes + recordHead

func (g *segment) free() {
	clear(g.tickets)
	if cap(g.buf) > keepSegment {
		return
	}
	*g = segment{buf: g.buf[:0], tickets: g.tickets[:0]}
	segments.Put(g)
}

// lane is the road of one writer to one stream: one record in flight, the next ones
// gathering behind it.
type lane struct {
	w       *Writer
	s       event.Stream
	subject string
	prefix  string // of reply subjects
	n       uint64 // number of the last record placed and not failed; the lane's goroutine only
	wake    chan struct{}
	acks    chan ack

	sent       time.Time // when the last record was first sent, and how many events
	sentEvents int       // it had; the lane's goroutine only
	overdue    bool      // an answer is late, the guard has been told; as above

	mu      sync.Mutex
	queue   []*segment
	waiting int // bytes in queue
	ended   bool
}

// put encodes the event at the end of the last record that still has room.
func (l *lane) put(ev *event.Event, t Ticket, subject string, expect uint64) error {
	size := proto.Size(ev)
	if size > event.MaxEventBytes {
		return ErrTooLarge
	}
	framed := 1 + protowire.SizeBytes(size)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return ErrClosed
	}
	if l.waiting+framed > MaxWaiting {
		l.w.b.count.full.Add(1)
		return ErrFull
	}
	var g *segment
	if k := len(l.queue); k > 0 && subject == "" {
		last := l.queue[k-1]
		if last.subject == "" && len(last.tickets) < event.MaxRecordEvents && len(last.buf)+framed <= event.MaxRecordBytes {
			g = last
		}
	}
	fresh := g == nil
	if fresh {
		g = segments.Get().(*segment)
		g.buf = append(g.buf[:0], make([]byte, recordHead)...)
		g.subject, g.expect = subject, expect
	}
	was := len(g.buf)
	buf := protowire.AppendTag(g.buf, 4, protowire.BytesType)
	buf = protowire.AppendVarint(buf, uint64(size))
	buf, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(buf, ev)
	if err != nil {
		if fresh {
			g.free()
		} else {
			g.buf = g.buf[:was]
		}
		return fmt.Errorf("bus: encode event: %w", err)
	}
	g.buf = buf
	g.tickets = append(g.tickets, t)
	l.waiting += len(buf) - was
	if fresh {
		l.queue = append(l.queue, g)
	}
	if (fresh && len(l.queue) <= 2) || (len(l.queue) == 1 && len(g.tickets) == gatherEnough) {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (l *lane) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run sends one record after the other until the lane has ended and is empty, or
// must give up.
func (l *lane) run() {
	defer l.w.b.acks.remove(l)
	for l.await() && l.gather() {
		g := l.take()
		if g == nil {
			return
		}
		if !l.send(g) {
			break
		}
		g.free()
	}
	l.giveUp()
}

// await blocks until a record may be taken and sent; false when the lane must give up.
func (l *lane) await() bool {
	for {
		l.mu.Lock()
		waits, ended := len(l.queue) > 0, l.ended
		l.mu.Unlock()
		switch {
		case waits:
			return l.free()
		case ended:
			return true
		}
		select {
		case <-l.w.ctx.Done():
			return false
		case <-l.wake:
		}
	}
}

// A record costs the server and the disk much the same whatever it holds. Where
// records have lately held gatherFrom events and more, there is load enough for the
// next one to wait until gatherFor after the last one was sent, or until it has
// gatherEnough. Where events come one by one, none waits.
const (
	gatherFor    = 4 * time.Millisecond
	gatherFrom   = 4
	gatherEnough = 64
)

// gather gives the next record time to grow under load; false when the lane must
// give up.
func (l *lane) gather() bool {
	if l.sentEvents < gatherFrom {
		return true
	}
	wait := gatherFor - time.Since(l.sent)
	if wait <= 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		l.mu.Lock()
		enough := l.ended || len(l.queue) != 1 || l.queue[0].subject != "" || len(l.queue[0].tickets) >= gatherEnough
		l.mu.Unlock()
		if enough {
			return true
		}
		select {
		case <-l.w.ctx.Done():
			return false
		case <-l.wake:
		case <-t.C:
			return true
		}
	}
}

// free blocks while the bus holds appends; false when the lane must give up.
func (l *lane) free() bool {
	for {
		released, why := l.w.b.held()
		if why == nil {
			return l.w.ctx.Err() == nil
		}
		select {
		case <-l.w.ctx.Done():
			return false
		case <-released:
		}
	}
}

// take removes the first record of the queue, nil when there is none.
func (l *lane) take() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	g := l.queue[0]
	l.queue[0] = nil
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		l.queue = nil
	}
	l.waiting -= len(g.buf) - recordHead
	return g
}

// giveUp fails what was never sent.
func (l *lane) giveUp() {
	l.end()
	for g := l.take(); g != nil; g = l.take() {
		for _, t := range g.tickets {
			if t != nil {
				t.Failed(ErrClosed)
			}
		}
	}
}

// finish writes the record's head before its events and gives the whole.
func (g *segment) finish(writer event.ID, n uint64) []byte {
	var room [recordHead]byte
	head := protowire.AppendTag(room[:0], 1, protowire.BytesType)
	head = protowire.AppendBytes(head, writer[:])
	head = protowire.AppendTag(head, 2, protowire.VarintType)
	head = protowire.AppendVarint(head, n)
	head = protowire.AppendTag(head, 3, protowire.VarintType)
	head = protowire.AppendVarint(head, uint64(event.Rule))
	at := recordHead - len(head)
	copy(g.buf[at:], head)
	return g.buf[at:]
}

// send stores one record and tells its tickets; false when the lane must give up,
// with the record's fate unknown.
func (l *lane) send(g *segment) bool {
	b := l.w.b
	n := l.n + 1
	for i, t := range g.tickets {
		if t != nil {
			t.Placed(n, i)
		}
	}
	data := g.finish(l.w.life, n)
	began := time.Now()
	l.sent, l.sentEvents = began, len(g.tickets)
	seq, err := l.store(g, n, data)
	switch {
	case err == nil:
		l.n = n
		b.lastStored[l.s].Store(time.Now().UnixNano())
		b.count.records.Add(1)
		b.count.events.Add(uint64(len(g.tickets)))
		b.count.bytes.Add(uint64(len(data)))
		took := time.Since(began)
		b.count.latency.Add(uint64(took))
		b.metrics.appended(len(g.tickets), len(data), took)
		for _, t := range g.tickets {
			if t != nil {
				t.Stored(seq)
			}
		}
		return true
	case errors.Is(err, ErrConflict), errors.Is(err, errUnsent):
		if errors.Is(err, ErrConflict) {
			b.count.conflicts.Add(1)
		} else {
			err = ErrClosed
		}
		for _, t := range g.tickets {
			if t != nil {
				t.Failed(err)
			}
		}
		return err != ErrClosed
	}
	return false
}

var (
	errUnsent  = errors.New("bus: never sent")
	errUnknown = errors.New("bus: fate unknown")
)

// store tries until the record's fate is known: its sequence, ErrConflict, errUnsent
// when the lane gave up before anything was sent, errUnknown when it gave up after.
func (l *lane) store(g *segment, n uint64, data []byte) (uint64, error) {
	b := l.w.b
	m := &nats.Msg{Subject: l.subject, Data: data, Header: nats.Header{nats.MsgIdHdr: {msgID(l.w.id, n)}}}
	if g.subject != "" {
		m.Subject = g.subject
		m.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(g.expect, 10)}
	}
	doubt := false  // an earlier attempt may have been stored
	unanswered := 0 // attempts: a leader that died answers none, one that is slow gets more time
	lost := func() error {
		if doubt {
			return errUnknown
		}
		return errUnsent
	}
	refused := false
	var contradicted time.Time // when a refusal was first not borne out by what is there
	defer func() {
		if refused {
			b.setRefused(l.s, nil)
		}
		if l.overdue {
			l.overdue = false
			b.setOverdue(l.s, -1)
		}
	}()
	pause := 10 * time.Millisecond
	for attempt := 1; ; attempt++ {
		if attempt > 1 {
			b.count.retries.Add(1)
			if !l.free() {
				return 0, lost()
			}
		}
		if b.hooks != nil && b.hooks.Sending != nil {
			b.hooks.Sending(l.s, n, attempt)
		}
		changed := b.changed.wait()
		m.Reply = l.prefix + strconv.FormatUint(n, 36) + "." + strconv.Itoa(attempt)
		err := b.events.PublishMsg(m)
		if err == nil {
			var a ack
			a, err = l.answer(n, attempt, changed, b.hooks.ackTimeout()<<min(unanswered, 2))
			switch {
			case err != nil:
				doubt = true
				unanswered++
			case a.err == nil:
				if a.duplicate {
					b.count.duplicates.Add(1)
				}
				return a.seq, nil
			case g.subject != "" && isCode(a.err, errCodeWrongLast, errCodeWrongLastConst):
				if !doubt {
					return 0, ErrConflict
				}
				if isCode(a.err, errCodeWrongLastConst) {
					err = a.err // another write is under way, so nothing is decided
					break
				}
				seq, won, rerr := l.won(g, m.Header.Get(nats.MsgIdHdr))
				switch {
				case errors.Is(rerr, ErrNoRecord) && contradicted.IsZero():
					contradicted, err = time.Now(), rerr
				case errors.Is(rerr, ErrNoRecord) && time.Since(contradicted) >= contradicts:
					return 0, ErrConflict // the stream was rolled back
				case rerr != nil:
					err = rerr
				case won:
					return seq, nil
				default:
					return 0, ErrConflict
				}
			default:
				err = a.err
				// A store that met a write error refuses, and may find the record on the
				// disk all the same when it is opened again.
				doubt = doubt || !isUnanswered(a.err)
				refused = true
				b.count.refusals.Add(1)
				b.setRefused(l.s, a.err)
				if attempt&(attempt-1) == 0 { // an election takes many attempts
					b.log.Warn("the log refuses a record", "stream", l.s.String(), "n", n, "attempt", attempt, "err", a.err)
				}
			}
		} else if !errors.Is(err, nats.ErrReconnectBufExceeded) {
			doubt = true // some of it may have been written
		}
		if errors.Is(err, errUnknown) || errors.Is(err, nats.ErrConnectionClosed) || l.w.ctx.Err() != nil {
			return 0, lost()
		}
		if !errors.Is(err, errAgain) {
			if !l.pause(pause) {
				return 0, lost()
			}
			pause = min(2*pause, maxPause)
		}
	}
}

// contradicts is how long a compare and set that has lost to nothing that can be found stays
// undecided: the leader may have changed after it refused, and the new one may have yet to
// work off what the old one had. Were it taken for lost, its number would be another's.
const contradicts = leaderSettles + 5*time.Second

// maxPause is between attempts: the first one after an election should come soon.
const maxPause = 500 * time.Millisecond

// isUnanswered tells that no stream was there to take a record.
func isUnanswered(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Code == 503 && e.ErrCode == 0
}

// pause waits d, less when the connection changes; false when the lane must give up.
func (l *lane) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.w.ctx.Done():
		return false
	case <-l.w.b.changed.wait():
	case <-t.C:
	}
	return true
}

var (
	errAgain    = errors.New("bus: connection changed")
	errOverdue  = errors.New("bus: no answer in time")
	overdueWait = time.Second // after which the guard is asked to look at the store
)

// answer waits for what becomes of an attempt. An error means that it is unknown.
func (l *lane) answer(n uint64, attempt int, changed <-chan struct{}, timeout time.Duration) (ack, error) {
	b := l.w.b
	t := time.NewTimer(min(timeout, overdueWait))
	defer t.Stop()
	began := time.Now()
	for {
		select {
		case <-l.w.ctx.Done():
			return ack{}, errUnknown
		case a := <-l.acks:
			// A late answer to an earlier attempt is good news or no news.
			if a.n != n || (a.err != nil && a.attempt != attempt) {
				continue
			}
			if b.hooks != nil && b.hooks.Acked != nil && b.hooks.Acked(l.s, n, attempt) {
				continue
			}
			return a, nil
		case <-changed:
			if !b.events.IsConnected() {
				// The answer may be lost with the connection; ask when there is one.
				changed = b.changed.wait()
				if b.events.IsConnected() {
					return ack{}, errAgain
				}
				continue
			}
			return ack{}, errAgain
		case <-t.C:
			if !l.overdue {
				l.overdue = true
				b.setOverdue(l.s, 1)
			}
			if time.Since(began) >= timeout {
				return ack{}, errOverdue
			}
			t.Reset(timeout - time.Since(began))
		}
	}
}

// won reads what came next on a compare-and-set subject after the expected
// sequence: if it is our record, an earlier attempt was stored and we won, whatever
// has been written there since. ErrNoRecord where nothing came.
func (l *lane) won(g *segment, id string) (seq uint64, won bool, err error) {
	m, err := l.w.b.get(l.w.ctx, l.s.String(), msgGet{Seq: g.expect + 1, Next: g.subject})
	if err != nil {
		return 0, false, err
	}
	h, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return 0, false, fmt.Errorf("bus: headers of %s: %w", g.subject, err)
	}
	return m.Sequence, h.Get(nats.MsgIdHdr) == id, nil
}

package connector

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"godwit/connector/delivery"
	"godwit/connector/reactor"
	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	"godwit/schema/event"
	"godwit/schema/pdu"
	"godwit/schema/query"

	"google.golang.org/protobuf/proto"
)

// state of a session; it only moves forward.
type state uint8

const (
	connected state = iota
	loggingIn
	open
	closing
)

func (st state) String() string {
	return [...]string{"connected", "logging in", "open", "closing"}[st]
}

// Reasons not to read for a while that end by an event of their own.
const (
	holdRate   = 1 << iota // over its rate
	holdFull               // the log takes no more just now
	holdPermit             // it is being asked whether a receiver exists
	holdOver               // the log has ended the session, or its client has; it waits for its end
)

// session is one client's connection. It implements [reactor.Peer] towards its
// connection and [delivery.Member] towards the node. There are many of them and most
// are idle, so its size counts.
type session struct {
	srv  *Server
	wire reactor.Waker
	addr netip.Addr

	// Guarded by srv.mu.
	next  *session // of the same user
	index int32    // in srv.all; -1: not there

	// Of the connection's goroutine.
	in      []byte // received and not consumed
	bucket  bucket
	partial int32 // bytes of in counted in srv.partial

	// Written once, before the session is registered with server and node.
	user       uint32
	id         event.ID
	peopleSeq  uint64 // PEOPLE position that the login was decided at
	features   uint32 // bits of imextension.Feature that client and server understand
	clientType uint8
	class      uint8 // event.DeviceClass

	state    state
	hold     uint8
	reason   event.EndReason
	gentle   bool // closing: write what is left first
	abort    bool // closing: the time for that is over
	finished bool // finish has been called
	opening  bool // the login appends SessionOpened just now
	opened   bool // SessionOpened was appended
	live     bool // the client was told that it is logged in
	logEnded bool // the log knows of the end
	attached bool
	asking   bool // the first question is being asked
	again    bool // in holds whole PDUs that were held back
	leaving  bool // it is closed as soon as nothing is under way
	kicked   bool // it was told so with 0x0107
	framed   bool // its connection is WebSocket
	notice   int8 // 0x020e due after login: 0 none, 1 online, 2 offline

	mu       sync.Mutex    // the fields from state to here, and below
	pending  uint16        // appends without outcome
	loginSeq uint16        // of the login request
	ordinal  uint32        // of the last append
	deadline uint32        // tick at which its state must be over
	asked    uint32        // tick at which the first question became the first
	unsent   int32         // bytes handed to the connection
	handed   uint32        // tick at which they were
	seen     atomic.Uint32 // tick of the last byte received

	out       *buffer    // to be written
	box       *outbox    // and after it, pushes that had to wait
	sending   *buffer    // handed to the connection
	questions []question // the first is, or is about to be, asked
	gate      *gate      // holds pushes back
	room      chan struct{}
}

// buffer is a pooled byte slice, or one that is lent and stays as it is.
type buffer struct {
	b    []byte
	lent bool
}

const (
	bufferSize = 2 << 10
	bufferKeep = 64 << 10
)

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, bufferSize)} }}

func (b *buffer) free() {
	if b != nil && !b.lent && cap(b.b) <= bufferKeep {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// gate holds pushes back, encoded, with their positions.
type gate struct {
	bytes  []byte
	shared int // bytes that shared ones count for
	held   []heldPush
}

type heldPush struct {
	stream   uint32
	end      uint32 // in bytes; it starts where the one before ends
	sequence uint64
	shared   *shared // instead of bytes
}

func (s *session) User() uint32      { return s.user }
func (s *session) Session() event.ID { return s.id }
func (s *session) Mobile() bool {
	return s.class == uint8(event.DeviceClass_DEVICE_CLASS_MOBILE)
}

// has tells whether the client understands a feature.
func (s *session) has(f imextension.Feature) bool { return s.features&uint32(f) != 0 }

func (s *session) desktop() bool {
	return s.class == uint8(event.DeviceClass_DEVICE_CLASS_DESKTOP)
}

// Input takes bytes of the client.
func (s *session) Input(p []byte) {
	s.seen.Store(s.srv.tick())
	if len(s.in) > 0 {
		s.in = append(s.in, p...)
		p = s.in
	}
	s.keep(p[s.consume(p):])
}

// keep makes rest, which may be lent, what is left to consume.
func (s *session) keep(rest []byte) {
	switch {
	case len(rest) == 0:
		s.in = nil
	case len(s.in) > 0 && len(s.in) <= 2*len(rest)+1024:
		s.in = rest // a tail of itself, that holds on to little more
	default:
		s.in = append(make([]byte, 0, len(rest)), rest...)
	}
	counted := 0
	if len(s.in) > pdu.MaxBeforeLogin {
		counted = cap(s.in)
	}
	if d := counted - int(s.partial); d != 0 {
		s.partial = int32(counted)
		if s.srv.partial.Add(int64(d)) > int64(s.srv.limits.PartialInput) && d > 0 {
			s.close(event.EndReason_END_REASON_PROTOCOL, false)
		}
	}
}

// consume serves PDUs at the start of b, stops where the session must be held, and
// tells how many bytes it took.
func (s *session) consume(b []byte) (n int) {
	now := time.Since(s.srv.start)
	for n < len(b) {
		s.mu.Lock()
		st, held := s.state, s.holding()
		s.again = held && st != closing
		s.mu.Unlock()
		if st == closing {
			return len(b)
		}
		if held {
			return n
		}
		limit := pdu.MaxBeforeLogin
		if st == open {
			limit = pdu.MaxAfterLogin
		}
		f, size, err := pdu.Next(b[n:], limit)
		if err != nil {
			// What came before it is answered, as far as it can be at once.
			s.close(event.EndReason_END_REASON_PROTOCOL, true)
			return len(b)
		}
		if size == 0 {
			return n
		}
		if wait := s.bucket.take(s.srv.rate, now, cost(f.Command, size)); wait > 0 {
			s.srv.metrics.held.WithLabelValues("rate").Inc()
			s.holdFor(holdRate, wait)
			continue
		}
		if !s.serve(&f, st) {
			continue // it is held now, and the PDU comes again
		}
		n += size
	}
	return n
}

// serve dispatches one PDU. It is false if the PDU must come again when the session is
// no longer held.
func (s *session) serve(f *pdu.Frame, st state) bool {
	h := lookup(f.Command)
	if h == nil || st != open && !h.early {
		return true
	}
	return h.serve(s, f)
}

// holding tells whether nothing must be read. mu is held.
func (s *session) holding() bool {
	return s.state == loggingIn || s.state == closing || s.hold != 0 ||
		int(s.pending) >= s.srv.limits.Pending || s.lined() ||
		s.srv.suspended.Load() || s.leaving
}

// minHold keeps a client that is over its rate from being held and let go for every
// single PDU.
const minHold = 2 * time.Millisecond

// holdFor holds the session for a time.
func (s *session) holdFor(why uint8, d time.Duration) {
	s.mu.Lock()
	s.hold |= why
	s.mu.Unlock()
	time.AfterFunc(max(d, minHold), func() { s.unhold(why) })
}

// unhold ends one reason to hold the session.
func (s *session) unhold(why uint8) {
	s.mu.Lock()
	s.hold &^= why
	s.mu.Unlock()
	s.wire.Wake()
}

// Turn says what the connection is to do next.
func (s *session) Turn(free bool) reactor.Next {
	s.mu.Lock()
	again := s.again && !s.holding()
	s.mu.Unlock()
	if again {
		s.seen.Store(s.srv.tick())
		s.keep(s.in[s.consume(s.in):])
	}

	s.mu.Lock()
	if s.state == closing && !s.finished {
		s.finished = true
		s.mu.Unlock()
		s.finish()
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	n := reactor.Next{Read: !s.holding(), Hold: s.srv.suspended.Load()}
	if free && !n.Hold {
		if b := s.nextWrite(); b != nil {
			s.sending, s.unsent, s.handed = b, int32(len(b.b)), s.srv.tick()
			n.Write = b.b
		}
	}
	switch {
	case s.state != closing:
	case !s.gentle || s.abort:
		n.Close = reactor.CloseNow
	case s.out == nil || len(s.out.b) == 0:
		n.Close = reactor.CloseGently // once what was handed over has left
	}
	return n
}

// Sent takes a written buffer back.
func (s *session) Sent(b []byte) {
	s.srv.metrics.outputBytes.Add(float64(len(b)))
	s.mu.Lock()
	s.sending.free()
	s.sending, s.unsent = nil, 0
	if s.room != nil && s.backlog() < roomBelow {
		close(s.room)
		s.room = nil
	}
	s.mu.Unlock()
}

// Hangup: the client sends no more. While its login is under way this means that it
// has left; else what it has sent is still to be served.
func (s *session) Hangup() {
	s.mu.Lock()
	if s.state == loggingIn {
		s.closeLocked(event.EndReason_END_REASON_CLOSED, false)
	}
	s.mu.Unlock()
}

// Closed is the end of the connection.
func (s *session) Closed(err error) {
	s.mu.Lock()
	if s.state != closing {
		s.closeLocked(event.EndReason_END_REASON_CLOSED, false)
	}
	finish := !s.finished
	s.finished = true
	s.out, s.box = nil, nil
	s.sending = nil
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	s.mu.Unlock()
	if finish {
		s.finish()
	}
	s.in = nil
	s.srv.partial.Add(-int64(s.partial))
	s.partial = 0
	if err != nil && !errors.Is(err, io.EOF) {
		s.srv.log.Debug("connection broke", "session", s.id, "err", err)
	}
	s.srv.remove(s)
}

// close ends the session: gently, after writing what is left, or at once.
func (s *session) close(reason event.EndReason, gently bool) {
	s.mu.Lock()
	s.closeLocked(reason, gently)
	s.mu.Unlock()
}

func (s *session) closeLocked(reason event.EndReason, gently bool) {
	if s.state == closing {
		return
	}
	s.state = closing
	s.reason, s.gentle = reason, gently
	s.deadline = s.srv.tick() + ticks(s.srv.limits.Goodbye) + 1
	s.gate, s.questions, s.box = nil, nil, nil
	if !gently {
		s.out = nil
	}
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
	s.wire.Wake()
}

// finish tells node and log that the session is over. It runs once, on the
// connection's goroutine, with no lock held.
func (s *session) finish() {
	s.mu.Lock()
	opening, opened, live, reason := s.opening, s.opened, s.live, s.reason
	s.mu.Unlock()
	if live {
		s.srv.present.add(s.addr, -1)
		s.srv.metrics.sessions.WithLabelValues(className(s.class)).Dec()
	}
	s.srv.metrics.closes.WithLabelValues(reasonName(reason)).Inc()
	if s.srv.log.Enabled(s.srv.ctx, slog.LevelDebug) {
		s.srv.log.Debug("session closed", "session", s.id, "user", s.user, "addr", s.addr, "reason", reasonName(reason))
	}
	if opening {
		return // the login sees it when its append is through
	}
	if opened {
		s.depart(reason)
	}
}

// depart takes an opened session out of the node's and the server's tables, and
// tells the log if it doesn't know.
func (s *session) depart(reason event.EndReason) {
	s.srv.node.Leave(s)
	s.srv.unregister(s)
	s.mu.Lock()
	ended := s.logEnded
	s.logEnded = true
	if !s.live {
		reason = event.EndReason_END_REASON_ABANDONED
	}
	s.mu.Unlock()
	if !ended {
		s.srv.endSession(s, reason)
	}
}

// backlog is how many bytes wait to be written. mu is held.
func (s *session) backlog() int {
	n := int(s.unsent)
	if s.out != nil {
		n += len(s.out.b)
	}
	if s.box != nil {
		n += s.box.bytes
	}
	return n
}

// bound closes a session that lets more pile up than it may, with so many bytes beside
// those that wait to be written. mu is held.
func (s *session) bound(beside int) {
	if s.backlog()+beside > s.srv.limits.Output {
		s.slow()
	}
}

// write appends to the output what f appends, and closes a session that has let too
// much pile up. mu is held. The caller sees to it that the connection is woken.
func (s *session) write(f func(b []byte) []byte) {
	if s.state == closing && !s.gentle {
		return
	}
	if s.out == nil {
		s.out = buffers.Get().(*buffer)
	}
	if s.out.b = f(s.out.b); len(s.out.b) == 0 {
		s.out.free()
		s.out = nil
	}
	s.bound(0)
}

// leastPace is how many bytes a second a client has to take of what it is sent, once
// Limits.Stall has passed.
const leastPace = 4 << 10

// stalled tells whether what was handed to the connection should have left by now: a client
// that says something now and then, and never reads, would keep its output for ever. mu is
// held.
func (s *session) stalled(now uint32) bool {
	if s.sending == nil {
		return false
	}
	if s.srv.suspended.Load() {
		s.handed = now
	}
	return now > s.handed+ticks(s.srv.limits.Stall)+uint32(s.unsent/leastPace)
}

// slow ends a session that doesn't read. It finds everything again by sync.
func (s *session) slow() {
	if s.state != closing {
		s.srv.metrics.slow.Inc()
		s.closeLocked(event.EndReason_END_REASON_SLOW, false)
	}
}

// send writes one message as the answer to, or push of, a command. mu is not held.
func (s *session) send(command, seq uint16, m proto.Message) {
	s.mu.Lock()
	s.sendLocked(command, seq, m)
	s.mu.Unlock()
}

func (s *session) sendLocked(command, seq uint16, m proto.Message) {
	s.write(func(b []byte) []byte {
		b, err := pdu.AppendMessage(b, command, seq, m)
		if err != nil {
			s.srv.log.Error("answer can't be encoded", "command", client.Name(command), "err", err)
		}
		return b
	})
}

// Deliver takes one push of a timeline.
func (s *session) Deliver(d *delivery.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closing {
		return
	}
	sh := s.sharedPush(d)
	if s.gate == nil {
		if sh != nil {
			s.share(sh)
		}
		s.follow(func(b []byte) []byte { return s.appendPush(b, d) })
		return
	}
	g := s.gate
	if sh != nil {
		g.shared += sh.size()
		g.held = append(g.held, heldPush{stream: uint32(d.Stream), sequence: d.Sequence, end: uint32(len(g.bytes)), shared: sh})
	}
	was := len(g.bytes)
	if g.bytes = s.appendPush(g.bytes, d); len(g.bytes) > was {
		g.held = append(g.held, heldPush{stream: uint32(d.Stream), sequence: d.Sequence, end: uint32(len(g.bytes))})
	}
	s.bound(len(g.bytes) + g.shared)
}

// Flush lets the connection write what the frame brought.
func (s *session) Flush() { s.wire.Wake() }

// Attached opens the session's timelines to questions.
func (s *session) Attached() {
	s.mu.Lock()
	s.attached = true
	s.askNext()
	s.mu.Unlock()
}

// release writes an answer between the pushes held back that are at or below its
// positions and those that are later. mu is held.
func (s *session) release(at []*query.AtLeast, answer []byte) {
	g := s.gate
	s.gate = nil
	if g == nil || len(g.held) == 0 {
		if len(answer) > 0 {
			s.follow(func(b []byte) []byte { return append(b, answer...) })
		}
		return
	}
	later := func(h heldPush) bool {
		i := slices.IndexFunc(at, func(a *query.AtLeast) bool { return a.GetStream() == h.stream })
		return i >= 0 && h.sequence > at[i].GetSequence()
	}
	pass := func(want bool) {
		start := uint32(0)
		for _, h := range g.held {
			switch {
			case later(h) != want:
			case h.shared != nil:
				s.share(h.shared)
			default:
				s.follow(func(b []byte) []byte { return append(b, g.bytes[start:h.end]...) })
			}
			start = h.end
		}
	}
	pass(false)
	s.follow(func(b []byte) []byte { return append(b, answer...) })
	pass(true)
}

// begin counts an append that is about to be made; mu is not held. Its outcome is
// told to settle with the ordinal.
func (s *session) begin() (ordinal uint32) {
	s.mu.Lock()
	s.pending++
	s.ordinal++
	ordinal = s.ordinal
	s.mu.Unlock()
	s.srv.pending.Add(1)
	return ordinal
}

// settle counts an append's outcome. mu is held. The caller sees to it that the
// connection is woken: the session may have been held.
func (s *session) settle(ordinal uint32) {
	s.srv.pending.Add(-1)
	s.pending--
	for i := range s.questions {
		if ordinal <= s.questions[i].ordinal {
			s.questions[i].waits--
		}
	}
	s.askNext()
}

// append appends an event for the session. done runs under the node's lock with the
// session's held. It is false if the event must be tried again later; the session is
// held until then.
func (s *session) append(stream event.Stream, ev *event.Event, done func(r delivery.Result)) bool {
	ordinal := s.begin()
	err := s.srv.node.Append(stream, ev, func(r delivery.Result) {
		s.mu.Lock()
		if s.state == open {
			done(r)
		}
		s.settle(ordinal)
		s.mu.Unlock()
		s.srv.node.NotifyFlush(s)
	})
	if err == nil {
		return true
	}
	s.mu.Lock()
	s.settle(ordinal)
	s.mu.Unlock()
	return s.refusedByLog(err)
}

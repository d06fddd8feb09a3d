package ws

import (
	"encoding/binary"
	"iter"
	"sync"

	rfc6455 "github.com/gobwas/ws"

	"godwit/connector/reactor"
	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

const (
	// PingAfter is how many seconds a client may be silent before it is asked whether it lives.
	PingAfter = 30
	// MaxText is the largest text message, in bytes: the JSON form is longer than the PDU.
	MaxText = 1 << 20
	// MaxTextBeforeLogin is that of a client that has not logged in.
	MaxTextBeforeLogin = 16 << 10
	// MaxMisses is how many texts that are not understood a connection has; with the last of them it ends.
	MaxMisses = 100

	// frameUpTo is how many bytes of frames are made at a time, and a little more.
	frameUpTo = 32 << 10
	// directFrom is how large a PDU has to be, in bytes, to be written without a copy.
	directFrom = 16 << 10
	// pieceSize is about how many bytes of a large PDU's text a frame has.
	pieceSize = 16 << 10
	// maxOwed bounds the answers to texts that were not understood, in bytes, that wait to be written.
	maxOwed = 64 << 10
	// uncounted is how many bytes of a text a connection may keep without their being counted.
	uncounted = pdu.MaxBeforeLogin
)

// Session is what stands behind a connection. Its methods are called as those of a [reactor.Peer] are.
type Session interface {
	reactor.Peer
	// Heard tells that the client lives.
	Heard()
	// Limit is how many bytes a PDU of the client may have now.
	Limit() int
	// Charge counts what cost work and was no PDU against what the client may send, in eighths of a PDU.
	Charge(eighths int)
	// End ends the session of a client that says goodbye.
	End()
	// Break ends the session of a client that breaks the rules; false if it was ending already.
	Break() bool
	// Farewell tells why a session that asks to be closed ends, and whether its time for that is over.
	Farewell() (why Code, over bool)
}

// Shared is what the connections of a server have in common. All of it is needed.
type Shared struct {
	// Tick is the time in whole seconds since any moment.
	Tick func() uint32
	// Keep counts bytes of messages that are not whole yet, of all connections together; it is false if they
	// have become too many.
	Keep func(bytes int) bool
	// Wrote counts bytes that were written beside those that the session is told of.
	Wrote func(bytes int)

	texts texts
}

// Conn is one WebSocket connection. It is the [reactor.Peer] of its connection.
type Conn struct {
	shared  *Shared
	session Session

	// Coming in: the frame.
	left  int64                        // bytes of its payload to come
	mask  [4]byte                      //
	head  [rfc6455.MaxHeaderSize]uint8 // of a header that is not whole
	heads uint8                        // bytes in head
	op    rfc6455.OpCode               // of the frame
	turn  uint8                        // where in mask its next byte stands
	frame bool                         // it has begun
	fin   bool                         // the data frame that came last ends its message

	// Coming in: the message.
	form    rfc6455.OpCode // of all messages; 0: none came
	begun   bool           // a message has, and is not over
	misses  uint8          // texts that were not understood; at most MaxMisses
	start   [4]byte        // of a PDU whose length is not whole
	got     uint32         // bytes of the message so far, without those to come in this frame
	want    uint32         // bytes of its PDU; 0: not known
	kept    uint32         // bytes counted by Keep
	cost    uint32         // to be charged
	heard   uint32         // tick of the last byte
	pinged  uint32         // tick of the last ping
	deaf    bool           // nothing that comes in matters any more
	leaving bool           // the client said goodbye, and what it sent before is still to be served
	hungUp  bool
	said    bool // the close frame is written or under way

	// Going out.
	out  *buffer // under way, made here
	body []byte  // PDUs of the session that are being written
	off  uint32  // bytes of body that are framed
	rest uint32  // bytes of body, from off on, whose header is written
	sent uint32  // bytes written since the session was last told

	rare *rare // nil while it is empty
}

// rare is what most connections do without most of the time.
type rare struct {
	text    []byte // of a text that is not whole
	control []byte // of a control frame that is not whole
	pong    []byte // to be written; nil: none
	owed    []byte // frames to be written that are no PDUs of the session
	pieces  *pieces
	why     *farewell
}

// pieces are what is still to come of the text of a large PDU.
type pieces struct {
	next func() ([]byte, bool)
	stop func()
	op   rfc6455.OpCode // of the next frame
	pdu  uint32         // bytes of the PDU
}

// more is what the connection has beyond its struct, to be changed.
func (c *Conn) more() *rare {
	if c.rare == nil {
		c.rare = &rare{}
	}
	return c.rare
}

// tidy lets go of what is empty.
func (c *Conn) tidy() {
	if r := c.rare; r != nil && r.text == nil && r.control == nil && r.pong == nil && r.owed == nil && r.pieces == nil && r.why == nil {
		c.rare = nil
	}
}

// NewConn makes a connection that has been upgraded.
func NewConn(shared *Shared, session Session) *Conn {
	now := shared.Tick()
	return &Conn{shared: shared, session: session, heard: now, pinged: now}
}

// buffer is a pooled byte slice, or a text that is lent and stays as it is.
type buffer struct {
	b    []byte
	lent *text
}

const (
	bufferSize = 2 << 10
	bufferKeep = 64 << 10
)

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, bufferSize)} }}

func (b *buffer) free() {
	if b.lent == nil && cap(b.b) <= bufferKeep {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// Turn says what the connection is to do next.
func (c *Conn) Turn(free bool) reactor.Next {
	next := c.session.Turn(free && c.body == nil)
	if len(next.Write) > 0 {
		c.body, c.off = next.Write, 0
		next.Write = nil
	}
	if c.leaving && next.Read {
		c.leaving = false
		c.session.End() // it asks for another turn
	}
	ends := next.Close != reactor.Stay
	if next.Close == reactor.CloseNow && !c.mayStill(free) {
		return next
	}
	next.Close = reactor.Stay
	if free && !next.Hold {
		next.Write = c.fill(ends)
	}
	if ends && c.said {
		next.Close = reactor.CloseGently
	}
	return next
}

// mayStill tells whether the client of a session that ends at once can be told why: nothing is half written. What is
// left of the session's is thrown away.
func (c *Conn) mayStill(free bool) bool {
	_, over := c.session.Farewell()
	switch {
	case over:
		return false
	case c.said:
		return true
	case !free || c.rest > 0:
		return false
	}
	c.body = nil
	c.stop()
	return true
}

// stop writes no more of the text that is under way. A close frame may stand between its frames.
func (c *Conn) stop() {
	if c.rare != nil && c.rare.pieces != nil {
		c.rare.pieces.stop()
		c.rare.pieces = nil
		c.tidy()
	}
}

// Sent takes a written buffer back, and gives the session its own when all of it has left.
func (c *Conn) Sent(b []byte) {
	c.sent += uint32(len(b))
	if c.out != nil {
		c.out.free()
		c.out = nil
	}
	switch body := c.body; {
	case body == nil:
		c.shared.Wrote(int(c.sent))
	case int(c.off) < len(body):
		return
	default:
		c.body = nil
		c.shared.Wrote(int(c.sent) - len(body))
		c.session.Sent(body)
	}
	c.sent = 0
}

// Hangup tells the session that the client will send no more.
func (c *Conn) Hangup() {
	if !c.hungUp {
		c.hungUp = true
		c.session.Hangup()
	}
}

// Closed is the end of the connection.
func (c *Conn) Closed(err error) {
	c.deaf = true
	c.stop()
	c.rare = nil
	c.out, c.body = nil, nil // the connection may still be writing them
	c.count()
	c.session.Closed(err)
}

// fill makes the next bytes to be written; last tells that the session writes no more.
func (c *Conn) fill(last bool) []byte {
	if c.said {
		return nil
	}
	if n := c.rest; n > 0 {
		b := c.body[c.off : c.off+n]
		c.off, c.rest = c.off+n, 0
		return b
	}
	now := c.shared.Tick()
	ping := now >= c.heard+PingAfter && now >= c.pinged+PingAfter && !last
	r := c.rare
	owes := r != nil && (r.pong != nil || r.owed != nil && r.pieces == nil)
	if c.body == nil && !owes && !ping && !last {
		return nil
	}
	out := buffers.Get().(*buffer)
	b := out.b
	if owes {
		if r.pieces == nil { // no message stands within another
			b = append(b, r.owed...)
			r.owed = nil
		}
		if r.pong != nil {
			b = append(appendHeader(b, rfc6455.OpPong, len(r.pong)), r.pong...)
		}
		r.pong = nil
		c.tidy()
	}
	if ping {
		b = appendHeader(b, rfc6455.OpPing, 0)
		c.pinged = now
	}
	for int(c.off) < len(c.body) && c.rest == 0 && len(b) < frameUpTo {
		var large *text
		if b, large = c.next(b); large == nil {
			continue
		}
		if len(b) > 0 {
			break // it is lent next, once this has left
		}
		out.free()
		c.off += uint32(len(large.pdu))
		c.out = &buffer{b: large.frame, lent: large}
		return large.frame
	}
	if last && int(c.off) >= len(c.body) {
		b = c.appendClose(b)
		c.said = true
	}
	out.b, c.out = b, out
	return b
}

// next frames the next PDU of the session, unless that is a large text that many get.
func (c *Conn) next(b []byte) ([]byte, *text) {
	if c.rare != nil && c.rare.pieces != nil {
		return c.piece(b, nil), nil
	}
	f, n, err := pdu.Next(c.body[c.off:], pdu.MaxAfterLogin)
	if n == 0 || err != nil { // a session writes only whole PDUs
		n = len(c.body) - int(c.off)
		f = pdu.Frame{Raw: c.body[c.off:]}
	}
	switch {
	case c.form == rfc6455.OpText:
		switch t := c.shared.texts.find(&f); {
		case t == nil && n >= directFrom:
			return c.piece(b, &f), nil
		case t == nil:
			b = appendPDU(b, &f)
		case len(t.frame) >= directFrom:
			return b, t
		default:
			b = append(b, t.frame...)
		}
	case n >= directFrom:
		c.rest = uint32(n)
		return appendHeader(b, rfc6455.OpBinary, n), nil
	default:
		b = append(appendHeader(b, rfc6455.OpBinary, n), f.Raw...)
	}
	c.off += uint32(n)
	return b, nil
}

// piece appends the next frame of a large PDU's text; f is one whose text begins. The last frame is empty.
func (c *Conn) piece(b []byte, f *pdu.Frame) []byte {
	r := c.more()
	if f != nil {
		next, stop := iter.Pull(pdujson.Pieces(f, pieceSize))
		r.pieces = &pieces{next, stop, rfc6455.OpText, uint32(len(f.Raw))}
	}
	p := r.pieces
	text, more := p.next()
	start := len(b)
	b = append(appendHeader(b, p.op, len(text)), text...)
	p.op = rfc6455.OpContinuation
	if more {
		b[start] &^= 0x80
		return b
	}
	c.off += p.pdu
	r.pieces = nil
	c.tidy()
	return b
}

// appendPDU appends a PDU as a text message.
func appendPDU(b []byte, f *pdu.Frame) []byte {
	return appendText(b, func(b []byte) []byte {
		t, err := pdujson.AppendText(b, f)
		if err != nil {
			return pdujson.AppendError(b, err)
		}
		return t
	})
}

func (c *Conn) appendClose(b []byte) []byte {
	var why farewell
	if c.rare != nil && c.rare.why != nil {
		why = *c.rare.why
	} else {
		why.code, _ = c.session.Farewell()
		why.text = why.code.text()
	}
	if why.code == 0 {
		return appendHeader(b, rfc6455.OpClose, 0)
	}
	b = appendHeader(b, rfc6455.OpClose, 2+len(why.text))
	b = binary.BigEndian.AppendUint16(b, uint16(why.code))
	return append(b, why.text...)
}

// appendHeader appends the header of a whole message from a server.
func appendHeader(b []byte, op rfc6455.OpCode, n int) []byte {
	b = append(b, 0x80|byte(op))
	switch {
	case n < 126:
		return append(b, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
}

// appendText appends a text message of what f appends. Its header takes four bytes in nearly all cases.
func appendText(b []byte, f func(b []byte) []byte) []byte {
	const guess = 4
	start := len(b)
	b = f(append(b, make([]byte, guess)...))
	n := len(b) - start - guess
	var head [rfc6455.MaxHeaderSize]byte
	h := appendHeader(head[:0], rfc6455.OpText, n)
	if d := len(h) - guess; d != 0 {
		b = append(b, head[:max(d, 0)]...)
		copy(b[start+len(h):], b[start+guess:start+guess+n])
		b = b[:start+len(h)+n]
	}
	copy(b[start:], h)
	return b
}

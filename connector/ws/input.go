package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf8"

	rfc6455 "github.com/gobwas/ws"

	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

// Input takes what was read. It unmasks p in place.
func (c *Conn) Input(p []byte) {
	c.heard = c.shared.Tick()
	c.session.Heard()
	for !c.deaf {
		if !c.frame {
			if p = c.header(p); !c.frame {
				break
			}
		}
		if len(p) == 0 && c.left > 0 {
			break
		}
		n := int(min(int64(len(p)), c.left))
		part := p[:n:n]
		p = p[n:]
		rfc6455.Cipher(part, c.mask, int(c.turn))
		c.turn = uint8((int(c.turn) + n) % 4)
		c.left -= int64(n)
		c.frame = c.left > 0
		switch {
		case c.op.IsControl():
			c.onControl(part)
		case c.form == rfc6455.OpBinary:
			c.onBinary(part)
		default:
			c.onText(part)
		}
	}
	if c.cost > 0 {
		c.session.Charge(int(c.cost))
		c.cost = 0
	}
	c.tidy()
}

// fail ends the connection of a client that breaks the rules.
func (c *Conn) fail(code Code, text string) {
	c.deaf = true
	if c.session.Break() {
		c.more().why = &farewell{code, text}
	}
}

// header takes the header of a frame, or what there is of it, off p. A frame has begun once it is whole.
func (c *Conn) header(p []byte) (rest []byte) {
	size := rfc6455.MinHeaderSize
	for {
		if c.heads >= rfc6455.MinHeaderSize {
			size = headerSize(c.head[1])
		}
		if int(c.heads) == size {
			break
		}
		if len(p) == 0 {
			return nil
		}
		n := copy(c.head[c.heads:size], p)
		c.heads += uint8(n)
		p = p[n:]
	}
	c.heads = 0
	h, err := rfc6455.ReadHeader(bytes.NewReader(c.head[:size]))
	if err == nil && rfc6455.HeaderSize(h) != size {
		err = errLongHeader
	}
	if err == nil {
		state := rfc6455.StateServerSide
		if c.begun {
			state = state.Set(rfc6455.StateFragmented)
		}
		err = rfc6455.CheckHeader(h, state)
	}
	if err != nil {
		c.fail(BadFrame, err.Error())
		return nil
	}
	if !c.begin(h) {
		return nil
	}
	c.op, c.mask, c.left, c.turn, c.frame = h.OpCode, h.Mask, h.Length, 0, true
	return p
}

var errLongHeader = errors.New("a length is not in its shortest form")

// headerSize is the size of a header by its second byte.
func headerSize(second byte) int {
	n := rfc6455.MinHeaderSize
	if second&0x80 != 0 {
		n += 4
	}
	switch second & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	return n
}

// begin judges a frame by its header; it is false if the frame ends the connection.
func (c *Conn) begin(h rfc6455.Header) bool {
	if h.OpCode.IsControl() {
		c.cost++
		return true
	}
	if h.OpCode == rfc6455.OpContinuation {
		c.cost++
	} else {
		if c.form == 0 {
			c.form = h.OpCode
		}
		if c.form != h.OpCode {
			c.fail(WrongForm, "text and binary messages are mixed")
			return false
		}
		c.begun, c.got, c.want = true, 0, 0
	}
	c.fin = h.Fin
	limit := c.session.Limit()
	if c.form == rfc6455.OpText {
		limit = textLimit(limit)
	}
	total := int64(c.got) + h.Length
	switch {
	case total > int64(limit) || total < 0:
		c.fail(TooLarge, "the message is too large")
		return false
	case c.form == rfc6455.OpBinary && c.want > 0 && !c.fits(total):
		c.fail(NotPDU, notOne)
		return false
	}
	return true
}

const notOne = "a binary message is not exactly one PDU"

// fits tells whether a message of so many bytes, or more unless it ends with this frame, can be its PDU.
func (c *Conn) fits(total int64) bool {
	return total == int64(c.want) || total < int64(c.want) && !c.fin
}

// textLimit is how long a text may be where a PDU may have so many bytes.
func textLimit(pdus int) int {
	if pdus < pdu.MaxAfterLogin {
		return MaxTextBeforeLogin
	}
	return MaxText
}

// ended tells whether the message ends with the bytes that were just taken.
func (c *Conn) ended() bool { return c.fin && !c.frame }

// onBinary hands bytes of a PDU on once its length is known to be right.
func (c *Conn) onBinary(b []byte) {
	if c.want == 0 {
		if c.got == 0 && len(b) >= len(c.start) {
			copy(c.start[:], b)
		} else {
			n := copy(c.start[c.got:], b)
			b = b[n:]
			c.got += uint32(n)
			if int(c.got) < len(c.start) {
				if c.ended() {
					c.fail(NotPDU, notOne)
				}
				return
			}
		}
		c.want = binary.BigEndian.Uint32(c.start[:])
		switch {
		case c.want < pdu.HeaderLen:
			c.fail(NotPDU, notOne)
		case int64(c.want) > int64(c.session.Limit()):
			c.fail(TooLarge, "the PDU is too large")
		case !c.fits(int64(c.got) + int64(len(b)) + c.left):
			c.fail(NotPDU, notOne)
		}
		if c.deaf {
			return
		}
		if c.got > 0 {
			c.session.Input(c.start[:])
		}
	}
	if len(b) > 0 {
		c.got += uint32(len(b))
		c.session.Input(b)
	}
	if c.ended() {
		c.begun = false
	}
}

// onText gathers a text and hands on the PDU that it says.
func (c *Conn) onText(b []byte) {
	c.got += uint32(len(b))
	if !c.ended() || c.rare != nil && len(c.rare.text) > 0 {
		r := c.more()
		r.text = append(r.text, b...)
		c.count()
		if c.deaf || !c.ended() {
			return
		}
		b = r.text
	}
	c.begun = false
	scratch := buffers.Get().(*buffer)
	p, err := pdujson.Append(scratch.b, b)
	switch {
	case errors.Is(err, pdujson.ErrNotJSON):
		c.fail(NotPDU, "a text message is not a JSON object")
	case err != nil:
		c.missed(err, len(b))
	case len(p) > c.session.Limit():
		c.fail(TooLarge, "the PDU is too large")
	default:
		c.cost += sizeCost(len(b) - len(p)) // the PDU is charged by the session
		c.session.Input(p)
	}
	scratch.b = p
	scratch.free()
	if c.rare != nil {
		c.rare.text = nil
		c.count()
	}
}

// sizeCost is what so many bytes of a text cost, in eighths of a PDU: as many as those of a large PDU, for reading them is
// work whatever they say, be it white space.
func sizeCost(bytes int) uint32 { return uint32(max(bytes, 0) / (4 << 10) * 8) }

// missed answers a text that was not understood.
func (c *Conn) missed(err error, size int) {
	r := c.more()
	r.owed = appendText(r.owed, func(b []byte) []byte { return pdujson.AppendError(b, err) })
	c.cost += 8 + sizeCost(size)
	if c.misses++; c.misses >= MaxMisses || len(r.owed) > maxOwed {
		c.fail(Policy, "too many messages were not understood")
	}
}

// count counts what is kept of a text.
func (c *Conn) count() {
	counted := 0
	if c.rare != nil && len(c.rare.text) > uncounted {
		counted = cap(c.rare.text)
	}
	d := counted - int(c.kept)
	if d == 0 {
		return
	}
	c.kept = uint32(counted)
	if !c.shared.Keep(d) && d > 0 && !c.deaf {
		c.fail(Policy, "too much is waiting for its end")
	}
}

// onControl serves a control frame once it is whole.
func (c *Conn) onControl(b []byte) {
	if c.frame || c.rare != nil && len(c.rare.control) > 0 {
		r := c.more()
		r.control = append(r.control, b...)
		if c.frame {
			return
		}
		b, r.control = r.control, nil
	}
	switch c.op {
	case rfc6455.OpPing:
		c.more().pong = append([]byte{}, b...) // only the last one that waits is answered
	case rfc6455.OpClose:
		c.onClose(b)
	}
}

// onClose is the client's goodbye. It is answered once the session has taken what came before.
func (c *Conn) onClose(b []byte) {
	why := &farewell{}
	if len(b) > 0 {
		code, reason := rfc6455.ParseCloseFrameData(b)
		err := rfc6455.CheckCloseFrameData(code, reason)
		if 1012 <= code && code <= 1014 { // registered since
			err = nil
		}
		switch {
		case len(b) > 1 && !utf8.ValidString(reason):
			c.fail(NotPDU, "the reason is not UTF-8")
			return
		case err != nil || len(b) == 1:
			c.fail(BadFrame, "not a code to close with")
			return
		}
		why.code = Code(code)
	}
	c.deaf, c.leaving, c.more().why = true, true, why
	c.Hangup()
}

package ws

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"godwit/connector/reactor"
	"godwit/schema/client"
	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

// side is a connection with a session that notes what it is told, and a client that makes frames by hand.
type side struct {
	t    failer
	conn *Conn
	tick uint32

	// The session.
	in      []byte
	pdus    [][]byte
	out     [][]byte // to be written
	lent    []byte   // handed out and not back
	given   int      // bytes that came back
	open    bool     // logged in
	held    bool
	close   reactor.Close
	why     Code
	over    bool
	broken  int
	ended   int
	hangups int
	charged int
	closes  int
	woken   bool // wants another turn

	// What is shared.
	kept, keepLimit, wrote int

	// The connection.
	mask   uint32
	wire   []byte // what was written
	deaf   bool   // nothing can be written
	stuck  []byte // handed over and not written
	closed reactor.Close
	last   reactor.Next
}

type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func newSide(t failer) *side {
	s := &side{t: t, open: true, keepLimit: 1 << 30, mask: 0x12345678}
	s.conn = NewConn(&Shared{
		Tick:  func() uint32 { return s.tick },
		Keep:  func(n int) bool { s.kept += n; return s.kept <= s.keepLimit },
		Wrote: func(n int) { s.wrote += n },
	}, s)
	return s
}

func (s *side) Input(p []byte) {
	s.in = append(s.in, p...)
	for {
		f, n, err := pdu.Next(s.in, s.Limit())
		if err != nil {
			s.t.Fatalf("the session was given what is no PDU: %v", err)
		}
		if n == 0 {
			return
		}
		s.pdus = append(s.pdus, bytes.Clone(f.Raw))
		s.in = s.in[n:]
	}
}

func (s *side) Turn(free bool) reactor.Next {
	n := reactor.Next{Read: !s.held && s.close == reactor.Stay, Close: s.close}
	if free && len(s.out) > 0 && s.close != reactor.CloseNow {
		if s.lent != nil {
			s.t.Fatalf("the session was asked for more before it had its buffer back")
		}
		n.Write, s.out = s.out[0], s.out[1:]
		s.lent = n.Write
	}
	if s.close == reactor.CloseGently && len(s.out) > 0 {
		n.Close = reactor.Stay
	}
	return n
}

func (s *side) Sent(b []byte) {
	if s.lent == nil || len(b) != len(s.lent) || &b[0] != &s.lent[0] {
		s.t.Fatalf("the session was given back what is not its own")
	}
	s.given += len(b)
	s.lent = nil
}

func (s *side) Hangup()      { s.hangups++ }
func (s *side) Closed(error) { s.closes++ }
func (s *side) Heard()       {}
func (s *side) Charge(n int) { s.charged += n }
func (s *side) Limit() int {
	if s.open {
		return pdu.MaxAfterLogin
	}
	return pdu.MaxBeforeLogin
}

func (s *side) End() {
	s.ended++
	s.woken = true
	s.close, s.why = reactor.CloseGently, TryLater
}

func (s *side) Break() bool {
	if s.close != reactor.Stay {
		return false
	}
	s.broken++
	s.close, s.why = reactor.CloseGently, Policy
	return true
}

func (s *side) Farewell() (Code, bool) { return s.why, s.over }

// pump gives turns until there is nothing more to write.
func (s *side) pump() {
	for s.closed == reactor.Stay {
		n := s.conn.Turn(s.stuck == nil)
		s.last = n
		if n.Close == reactor.CloseNow {
			s.closed = n.Close
			return
		}
		if len(n.Write) > 0 {
			if s.stuck != nil {
				s.t.Fatalf("more was handed over than could be written")
			}
			s.stuck = n.Write
		}
		if s.stuck != nil && !s.deaf {
			b := s.stuck
			s.stuck = nil
			s.wire = append(s.wire, b...)
			s.conn.Sent(b)
			continue
		}
		if n.Close == reactor.CloseGently && s.stuck == nil {
			s.closed = n.Close
		}
		if !s.woken {
			return
		}
		s.woken = false
	}
}

// send feeds bytes, in reads of at most so many, which it clones since they are unmasked in place.
func (s *side) send(b []byte, read int) {
	for chunk := range slices.Chunk(bytes.Clone(b), max(read, 1)) {
		if s.closed != reactor.Stay {
			return
		}
		s.conn.Input(chunk)
		s.pump()
	}
}

// frame is a client's.
func (s *side) frame(op byte, fin bool, payload []byte) []byte {
	s.mask = s.mask*1664525 + 1013904223
	mask := binary.BigEndian.AppendUint32(nil, s.mask)
	b := bare(op, fin, true, len(payload))
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func bare(op byte, fin, masked bool, n int) []byte {
	if fin {
		op |= 0x80
	}
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch {
	case n < 126:
		return []byte{op, bit | byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{op, bit | 126}, uint16(n))
	}
	return binary.BigEndian.AppendUint64([]byte{op, bit | 127}, uint64(n))
}

// message cuts a payload into frames of the sizes, and the rest; between them stand what between says.
func (s *side) message(op byte, payload []byte, sizes []int, between func() []byte) (b []byte) {
	for _, n := range sizes {
		n = min(n, len(payload))
		b = append(b, s.frame(op, false, payload[:n])...)
		payload, op = payload[n:], 0
		b = append(b, between()...)
	}
	return append(b, s.frame(op, true, payload)...)
}

func nothing() []byte { return nil }

// got is a server's frame.
type got struct {
	op   byte
	body string
}

// frames cuts what was written into frames, and checks that they are whole and well formed. A message in fragments is one.
func (s *side) frames() (all []got) {
	s.t.Helper()
	begun := -1 // the message in all that is not over
	for b := s.wire; len(b) > 0; {
		head, n := 2, 0
		if len(b) < 2 || b[0]&0x70 != 0 || b[1]&0x80 != 0 {
			s.t.Fatalf("the server wrote a frame that begins with %x", b[:min(len(b), 8)])
		}
		switch n = int(b[1]); n {
		case 126:
			head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
		}
		if len(b) < head+n {
			s.t.Fatalf("the server wrote half a frame")
		}
		op, last, body := b[0]&0xf, b[0]&0x80 != 0, string(b[head:head+n])
		b = b[head+n:]
		switch {
		case op >= 8 && last:
			all = append(all, got{op, body})
			continue
		case op >= 8 || (op == 0) != (begun >= 0):
			s.t.Fatalf("the server wrote frame %x out of order", op)
		case op == 0:
			all[begun].body += body
		default:
			begun, all = len(all), append(all, got{op, body})
		}
		if last {
			begun = -1
		}
	}
	return all
}

// farewell is the code and the text of the close frame, which must be the last; 0 if there is none.
func (s *side) farewell() (code Code, text string) {
	s.t.Helper()
	all := s.frames()
	i := slices.IndexFunc(all, func(g got) bool { return g.op == 8 })
	if i < 0 {
		return 0, ""
	}
	if i != len(all)-1 {
		s.t.Errorf("frames %q after the close frame", all[i+1:])
	}
	b := all[i].body
	if len(b) < 2 {
		return 0, b
	}
	return Code(binary.BigEndian.Uint16([]byte(b))), b[2:]
}

// binaries are the payloads of the binary messages that were written.
func (s *side) binaries() (all []string) {
	for _, g := range s.frames() {
		if g.op == 2 {
			all = append(all, g.body)
		}
	}
	return all
}

// raw is a PDU of n bytes.
func raw(n int) []byte {
	return pdu.Append(nil, 7, client.CmdHeartBeat, uint16(n), func(b []byte) []byte {
		for i := range n - pdu.HeaderLen {
			b = append(b, byte(i*7))
		}
		return b
	})
}

const heartbeat = `{"service":7,"command":"IMHeartBeat","seq":5,"body":{}}`

func TestSizeOfAConnection(t *testing.T) {
	n := unsafe.Sizeof(Conn{})
	t.Logf("%d bytes", n)
	if n > 176 {
		t.Errorf("a connection takes %d bytes", n)
	}
}

func TestMessagesCutAnywhere(t *testing.T) {
	s := newSide(t)
	var stream []byte
	ping := func() []byte { return s.frame(9, true, []byte("are you there")) }
	stream = append(stream, s.frame(2, true, raw(16))...)
	stream = append(stream, ping()...)
	stream = append(stream, s.message(2, raw(200), []int{0, 1, 2, 30, 0}, ping)...)
	stream = append(stream, s.frame(10, true, nil)...)
	stream = append(stream, s.frame(2, true, raw(130))...)
	stream = append(stream, s.frame(2, true, raw(16))...)
	want := [][]byte{raw(16), raw(200), raw(130), raw(16)}
	check := func(s *side, what string) {
		t.Helper()
		if !slices.EqualFunc(s.pdus, want, bytes.Equal) || len(s.in) > 0 || s.broken > 0 {
			t.Fatalf("%s: got %d PDUs, %d bytes left, broken %d", what, len(s.pdus), len(s.in), s.broken)
		}
		pongs := s.frames()
		if len(pongs) == 0 || slices.ContainsFunc(pongs, func(g got) bool { return g != got{10, "are you there"} }) {
			t.Fatalf("%s: answered %q", what, pongs)
		}
	}
	for cut := range len(stream) {
		s := newSide(t)
		s.send(stream[:cut], cut)
		s.send(stream[cut:], len(stream))
		check(s, fmt.Sprint("cut at ", cut))
	}
	for _, read := range []int{1, 2, 3, 7, 13} {
		s := newSide(t)
		s.send(stream, read)
		check(s, fmt.Sprint("in reads of ", read))
	}
}

func TestTextsCutAnywhere(t *testing.T) {
	s := newSide(t)
	var stream []byte
	stream = append(stream, s.frame(1, true, []byte(heartbeat))...)
	stream = append(stream, s.message(1, []byte(heartbeat), []int{3, 0, 20}, func() []byte { return s.frame(9, true, nil) })...)
	for cut := range len(stream) {
		s := newSide(t)
		s.send(stream[:cut], max(cut, 1))
		s.send(stream[cut:], len(stream))
		if len(s.pdus) != 2 || !bytes.Equal(s.pdus[0], s.pdus[1]) || s.broken > 0 || s.kept != 0 {
			t.Fatalf("cut at %d: %d PDUs, broken %d, kept %d", cut, len(s.pdus), s.broken, s.kept)
		}
		f, _, _ := pdu.Next(s.pdus[0], 100)
		if f.Command != client.CmdHeartBeat || f.Seq != 5 || f.Service != 7 {
			t.Fatalf("got %+v", f.Header)
		}
	}
}

// However a client cuts its messages into frames, puts control frames between them, and however the bytes arrive: the
// session gets the same PDUs, the client a pong for the last ping, and nothing is kept.
func TestAnyFragmentationIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSide(t)
		texts := rapid.Bool().Draw(t, "texts")
		var stream []byte
		var want [][]byte
		last := ""
		between := func() (b []byte) {
			for range rapid.IntRange(0, 2).Draw(t, "controls") {
				p := rapid.SliceOfN(rapid.Byte(), 0, 125).Draw(t, "payload")
				op := rapid.SampledFrom([]byte{9, 10}).Draw(t, "control")
				if op == 9 {
					last = string(p)
				}
				b = append(b, s.frame(op, true, p)...)
			}
			return b
		}
		pings := 0
		for i := range rapid.IntRange(1, 5).Draw(t, "messages") {
			p := raw(rapid.IntRange(pdu.HeaderLen, 2000).Draw(t, "size"))
			op, payload := byte(2), p
			if texts {
				payload = fmt.Appendf(nil, `{"command":"IMHeartBeat","seq":%d}`, i)
				payload = append(payload, strings.Repeat(" ", rapid.IntRange(0, 300).Draw(t, "padding"))...)
				op = 1
				var err error
				if p, err = pdujson.Append(nil, payload); err != nil {
					t.Fatalf("%v", err)
				}
			}
			want = append(want, p)
			stream = append(stream, s.message(op, payload, rapid.SliceOfN(rapid.IntRange(0, 700), 0, 6).Draw(t, "fragments"), between)...)
			stream = append(stream, between()...)
		}
		for b := stream; len(b) > 0 && s.closed == reactor.Stay; {
			n := min(len(b), rapid.IntRange(1, 900).Draw(t, "read"))
			s.send(b[:n], n)
			b = b[n:]
		}
		if !slices.EqualFunc(s.pdus, want, bytes.Equal) {
			t.Fatalf("%d PDUs of %d", len(s.pdus), len(want))
		}
		for _, g := range s.frames() {
			if g.op != 10 {
				t.Fatalf("answered %q", g)
			}
			pings++
			if last == g.body {
				last = ""
			}
		}
		if last != "" {
			t.Fatalf("the last ping was not answered")
		}
		if len(s.in) > 0 || s.broken > 0 || s.kept != 0 || s.conn.rare != nil || s.conn.out != nil {
			t.Fatalf("left %d, broken %d, kept %d", len(s.in), s.broken, s.kept)
		}
	})
}

func TestBrokenRules(t *testing.T) {
	s := newSide(t)
	two := append(raw(20), raw(20)...)
	short := raw(20)
	binary.BigEndian.PutUint32(short, 15)
	huge := raw(20)
	binary.BigEndian.PutUint32(huge, pdu.MaxAfterLogin+1)
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	cases := []struct {
		name  string
		bytes []byte
		code  Code
		pdus  int
	}{
		{"not masked", join(bare(2, true, false, 16), raw(16)), BadFrame, 0},
		{"a reserved bit", join([]byte{0xc2, 0x80, 1, 2, 3, 4}), BadFrame, 0},
		{"a reserved opcode", s.frame(3, true, raw(16)), BadFrame, 0},
		{"a reserved control opcode", s.frame(11, true, nil), BadFrame, 0},
		{"a ping in fragments", s.frame(9, false, nil), BadFrame, 0},
		{"a long ping", bare(9, true, true, 126), BadFrame, 0},
		{"a continuation of nothing", s.frame(0, true, raw(16)), BadFrame, 0},
		{"a message in a message", join(s.frame(2, false, raw(16)[:3]), s.frame(2, true, raw(16))), BadFrame, 0},
		{"a text in a binary message", join(s.frame(2, false, raw(16)[:3]), s.frame(1, true, nil)), BadFrame, 0},
		{"a length in eight bytes that needs two", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4}, BadFrame, 0},
		{"a length in two bytes that needs none", []byte{0x82, 0xfe, 0, 16, 1, 2, 3, 4}, BadFrame, 0},
		{"a negative length", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, BadFrame, 0},
		{"text after binary", join(s.frame(2, true, raw(16)), s.frame(1, true, []byte(heartbeat))), WrongForm, 1},
		{"binary after text", join(s.frame(1, true, []byte(heartbeat)), s.frame(2, true, raw(16))), WrongForm, 1},
		{"an empty binary message", s.frame(2, true, nil), NotPDU, 0},
		{"three bytes", s.frame(2, true, raw(16)[:3]), NotPDU, 0},
		{"an empty message in fragments", join(s.frame(2, false, nil), s.frame(0, false, nil), s.frame(0, true, nil)), NotPDU, 0},
		{"half a PDU", s.frame(2, true, raw(30)[:20]), NotPDU, 0},
		{"half a PDU in fragments", join(s.frame(2, false, raw(30)[:20]), s.frame(0, true, raw(30)[20:29])), NotPDU, 0},
		{"two PDUs", s.frame(2, true, two), NotPDU, 0},
		{"two PDUs in fragments", join(s.frame(2, false, two[:20]), s.frame(0, true, two[20:])), NotPDU, 1},
		{"a PDU and a byte to come", join(s.frame(2, false, two[:19]), s.frame(0, false, two[19:21])), NotPDU, 0},
		{"a length below the header's", s.frame(2, true, short), NotPDU, 0},
		{"a PDU that is too large", s.frame(2, false, huge), TooLarge, 0},
		{"a frame that is too large", bare2(pdu.MaxAfterLogin + 1), TooLarge, 0},
		{"an endless frame", []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, TooLarge, 0},
		{"no JSON", s.frame(1, true, []byte("hello")), NotPDU, 0},
		{"no JSON object", s.frame(1, true, []byte("[]")), NotPDU, 0},
		{"an empty text", s.frame(1, true, nil), NotPDU, 0},
		{"no UTF-8", s.frame(1, true, []byte("{\"command\":\"\xff\"}")), NotPDU, 0},
		{"a close frame of one byte", s.frame(8, true, []byte{3}), BadFrame, 0},
		{"a code that must not be sent", s.frame(8, true, []byte{0x03, 0xed}), BadFrame, 0},
		{"a code out of range", s.frame(8, true, []byte{0, 1}), BadFrame, 0},
		{"a reason that is no UTF-8", s.frame(8, true, []byte{0x03, 0xe8, 0xff}), NotPDU, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, read := range []int{1, 5, len(c.bytes)} {
				s := newSide(t)
				s.send(c.bytes, read)
				s.send(s.frame(2, true, raw(16)), 100) // nothing that follows is taken
				code, text := s.farewell()
				if code != c.code || text == "" || len(text) > 123 {
					t.Errorf("in reads of %d: closed with %d %q, want %d", read, code, text, c.code)
				}
				if s.broken != 1 || s.closed != reactor.CloseGently || len(s.pdus) != c.pdus {
					t.Errorf("in reads of %d: broken %d, close %d, %d PDUs", read, s.broken, s.closed, len(s.pdus))
				}
			}
		})
	}
}

// bare2 is the header of a binary frame of n bytes, masked.
func bare2(n int) []byte { return append(bare(2, true, true, n), 1, 2, 3, 4) }

func TestLimits(t *testing.T) {
	cases := []struct {
		name string
		op   byte
		open bool
		most int
	}{
		{"binary before login", 2, false, pdu.MaxBeforeLogin},
		{"binary", 2, true, pdu.MaxAfterLogin},
		{"text before login", 1, false, MaxTextBeforeLogin},
		{"text", 1, true, MaxText},
	}
	for _, c := range cases {
		payload := raw(c.most)
		if c.op == 1 {
			payload = append([]byte(heartbeat), bytes.Repeat([]byte(" "), c.most-len(heartbeat))...)
		}
		for _, sizes := range [][]int{nil, {1, c.most / 2}} {
			s := newSide(t)
			s.open = c.open
			s.send(s.message(c.op, payload, sizes, nothing), 64<<10)
			if len(s.pdus) != 1 || s.broken > 0 {
				t.Errorf("%s: %d bytes are refused", c.name, c.most)
			}
		}
		s := newSide(t)
		s.open = c.open
		s.send(append(bare(c.op, true, true, c.most+1), 1, 2, 3, 4), 100)
		if code, _ := s.farewell(); code != TooLarge {
			t.Errorf("%s: a header of %d bytes closed with %d", c.name, c.most+1, code)
		}
		s = newSide(t)
		s.open = c.open
		s.send(append(s.frame(c.op, false, payload[:c.most-1]), s.frame(0, false, []byte("  "))...), 64<<10)
		if code, _ := s.farewell(); code != TooLarge && !(c.op == 2 && code == NotPDU) {
			t.Errorf("%s: fragments of %d bytes closed with %d", c.name, c.most+1, code)
		}
	}
	// A text that is short enough may still say a PDU that is not.
	s := newSide(t)
	s.open = false
	s.send(s.frame(1, true, fmt.Appendf(nil, `{"command":"IMLoginReq","body":{"userName":"%s","password":"x","onlineStatus":1,"clientType":1}}`,
		strings.Repeat("x", pdu.MaxBeforeLogin))), 64<<10)
	if code, _ := s.farewell(); code != TooLarge || len(s.pdus) > 0 {
		t.Errorf("a PDU beyond the limit closed with %d", code)
	}
}

func TestLongTextsCostWhatLongPDUsDo(t *testing.T) {
	s := newSide(t)
	long := append([]byte(heartbeat), bytes.Repeat([]byte(" "), MaxText-len(heartbeat))...)
	s.send(s.frame(1, true, long), 64<<10)
	if want := MaxText / (4 << 10) * 8; len(s.pdus) != 1 || s.charged < want*9/10 || s.charged > want {
		t.Errorf("%d PDUs, charged %d of %d", len(s.pdus), s.charged, want)
	}
	s = newSide(t)
	s.send(s.frame(1, true, []byte(heartbeat)), 100)
	if s.charged != 0 {
		t.Errorf("a short one is charged %d beside its PDU", s.charged)
	}
}

func TestTextsThatAreNotUnderstood(t *testing.T) {
	s := newSide(t)
	for i := range MaxMisses - 1 {
		s.send(s.frame(1, true, fmt.Appendf(nil, `{"command":"IMNothing","seq":%d}`, i)), 100)
	}
	s.send(s.frame(1, true, []byte(heartbeat)), 100)
	answers := s.frames()
	if len(answers) != MaxMisses-1 || len(s.pdus) != 1 || s.broken > 0 {
		t.Fatalf("%d answers, %d PDUs, broken %d", len(answers), len(s.pdus), s.broken)
	}
	if a := answers[7]; a.op != 1 || !strings.Contains(a.body, `"seq":7`) || !strings.Contains(a.body, `"error":"`) {
		t.Errorf("answered %q", a)
	}
	if s.charged < 8*(MaxMisses-1) {
		t.Errorf("charged %d", s.charged)
	}
	s.send(s.frame(1, true, []byte(`{"command":"IMNothing","seq":77}`)), 100)
	if code, _ := s.farewell(); code != Policy {
		t.Errorf("closed with %d", code)
	}
	if all := s.frames(); len(all) != MaxMisses+1 || !strings.Contains(all[MaxMisses-1].body, `"seq":77`) {
		t.Errorf("the last is not answered: %d frames", len(all))
	}
	if s.wrote != len(s.wire) {
		t.Errorf("%d bytes counted of %d", s.wrote, len(s.wire))
	}
}

func TestWhatAClientThatDoesNotReadCosts(t *testing.T) {
	s := newSide(t)
	s.deaf = true
	ping := func(i int) []byte { return s.frame(9, true, fmt.Appendf(nil, "%0125d", i)) }
	var flood []byte
	for i := range 1000 {
		flood = append(flood, ping(i)...)
	}
	s.send(flood, 64<<10)
	if len(s.stuck) > 130 || len(s.conn.rare.pong) > 125 || s.conn.rare.owed != nil {
		t.Errorf("%d bytes under way, %d to be answered", len(s.stuck), len(s.conn.rare.pong))
	}
	if s.charged < 1000 {
		t.Errorf("1000 pings were charged with %d", s.charged)
	}
	s.deaf = false
	s.pump()
	if all := s.frames(); len(all) != 2 || !strings.HasSuffix(all[1].body, "999") {
		t.Errorf("answered %d", len(all))
	}

	// Fragments without end and without bytes.
	s = newSide(t)
	flood = s.frame(2, false, raw(16)[:10])
	for range 1000 {
		flood = append(flood, s.frame(0, false, nil)...)
	}
	s.send(flood, 64<<10)
	if s.charged < 1000 || len(s.in) != 10 {
		t.Errorf("1000 empty fragments were charged with %d", s.charged)
	}

	// A text without end, in memory that all share.
	s = newSide(t)
	s.keepLimit = 100 << 10
	s.send(s.frame(1, false, []byte("{")), 100)
	sent := 0
	for s.closed == reactor.Stay && sent < MaxText {
		s.send(s.frame(0, false, bytes.Repeat([]byte(" "), 1000)), 2000)
		sent += 1000
	}
	if code, _ := s.farewell(); code != Policy || sent > 100<<10 {
		t.Errorf("closed with %d after %d bytes", code, sent)
	}
	s.conn.Closed(nil)
	if s.kept != 0 {
		t.Errorf("%d bytes stay counted", s.kept)
	}
}

func TestGoodbyeOfTheClient(t *testing.T) {
	for _, c := range []struct{ name, payload string }{{"", ""}, {"1000", "\x03\xe8done"}, {"4321", "\x10\xe1"}, {"1013", "\x03\xf5"}} {
		s := newSide(t)
		s.send(append(s.frame(2, true, raw(16)), s.frame(8, true, []byte(c.payload))...), 100)
		if s.ended != 1 || s.broken > 0 || s.hangups != 1 || s.closed != reactor.CloseGently || len(s.pdus) != 1 {
			t.Errorf("%q: ended %d, broken %d, hangups %d, close %d", c.name, s.ended, s.broken, s.hangups, s.closed)
		}
		want := c.payload[:min(2, len(c.payload))]
		if all := s.frames(); len(all) != 1 || all[0] != (got{8, want}) {
			t.Errorf("%q: answered %q", c.name, all)
		}
		s.conn.Hangup()
		if s.hangups != 1 {
			t.Error("told twice of the hang-up")
		}
	}
	// What was sent before is served first, also by a session that is held just now.
	s := newSide(t)
	s.held = true
	s.send(append(s.frame(2, true, raw(16)), s.frame(8, true, nil)...), 100)
	s.pump()
	if s.ended > 0 || len(s.wire) > 0 || s.hangups != 1 {
		t.Fatalf("ended %d, answered %x", s.ended, s.wire)
	}
	s.out = [][]byte{raw(20)}
	s.held = false
	s.pump()
	if all := s.frames(); s.ended != 1 || len(all) != 2 || all[1] != (got{8, ""}) {
		t.Errorf("ended %d, answered %q", s.ended, all)
	}
}

func TestGoodbyeOfTheSession(t *testing.T) {
	// Gently: all that was written comes first.
	s := newSide(t)
	s.out = [][]byte{append(raw(40), raw(70_000)...), raw(16)}
	s.close, s.why = reactor.CloseGently, Replaced
	s.pump()
	if code, text := s.farewell(); code != Replaced || text == "" || !slices.Equal(s.binaries(), []string{string(raw(40)), string(raw(70_000)), string(raw(16))}) {
		t.Errorf("closed with %d %q after %d frames", code, text, len(s.frames()))
	}
	if s.closed != reactor.CloseGently {
		t.Errorf("close %d", s.closed)
	}

	// So does what takes more than one piece.
	s = newSide(t)
	s.out = [][]byte{bytes.Repeat(raw(1000), 100)}
	s.close, s.why = reactor.CloseGently, Normal
	s.pump()
	if code, _ := s.farewell(); code != Normal || len(s.binaries()) != 100 || s.lent != nil {
		t.Errorf("closed with %d after %d frames", code, len(s.binaries()))
	}

	// At once: what waits is thrown away, and the client is told why.
	s = newSide(t)
	s.out = [][]byte{raw(40)}
	s.close, s.why = reactor.CloseNow, Silent
	s.pump()
	if code, _ := s.farewell(); code != Silent || len(s.frames()) != 1 || s.closed != reactor.CloseGently {
		t.Errorf("closed with %d, %d frames, close %d", code, len(s.frames()), s.closed)
	}

	// At once, with a frame half written: there is no place for another.
	s = newSide(t)
	s.deaf = true
	s.out = [][]byte{raw(40)}
	s.pump()
	s.close, s.why = reactor.CloseNow, TryLater
	s.pump()
	if s.closed != reactor.CloseNow || s.lent == nil {
		t.Errorf("close %d", s.closed)
	}

	// The same between the header and the payload of a large PDU.
	s = newSide(t)
	s.out = [][]byte{raw(100_000)}
	n := s.conn.Turn(true)
	s.conn.Sent(n.Write)
	s.close, s.why = reactor.CloseNow, TryLater
	if n = s.conn.Turn(true); n.Close != reactor.CloseNow {
		t.Errorf("close %d, %d bytes to be written", n.Close, len(n.Write))
	}

	// A client that does not take the close frame has only so much time.
	s = newSide(t)
	s.deaf = true
	s.close, s.why = reactor.CloseNow, Silent
	s.pump()
	if s.closed != reactor.Stay {
		t.Fatalf("close %d", s.closed)
	}
	s.over = true
	s.pump()
	if s.closed != reactor.CloseNow {
		t.Errorf("close %d", s.closed)
	}
}

// No close frame is said twice, and none is followed by anything, whichever side begins.
func TestBothSayGoodbye(t *testing.T) {
	s := newSide(t)
	s.deaf = true
	s.close, s.why = reactor.CloseGently, Normal
	s.pump()
	s.conn.Input(s.frame(9, true, []byte("x")))
	s.conn.Input(s.frame(8, true, []byte("\x03\xe8")))
	s.pump()
	s.deaf = false
	s.pump()
	if code, _ := s.farewell(); code != Normal || s.closed != reactor.CloseGently {
		t.Errorf("closed with %d, close %d", code, s.closed)
	}
}

func TestOutput(t *testing.T) {
	sizes := []int{16, 17, 125, 126, 127, 4000, directFrom - 1, directFrom, 1<<16 - 1, 1 << 16, 1<<16 + 1, pdu.MaxAfterLogin, 16}
	var body []byte
	var want []string
	for _, n := range sizes {
		body = append(body, raw(n)...)
		want = append(want, string(raw(n)))
	}
	s := newSide(t)
	s.out = [][]byte{body, raw(50)}
	s.pump()
	if !slices.Equal(s.binaries(), append(want, string(raw(50)))) || len(s.frames()) != len(sizes)+1 {
		t.Errorf("%d frames", len(s.frames()))
	}
	if s.given != len(body)+50 || s.lent != nil {
		t.Errorf("%d bytes came back", s.given)
	}
	if s.given+s.wrote != len(s.wire) {
		t.Errorf("%d and %d bytes counted of %d", s.given, s.wrote, len(s.wire))
	}
	if s.conn.body != nil || s.conn.out != nil || s.conn.rare != nil {
		t.Error("buffers are kept")
	}

	// The same with a client that takes texts.
	s = newSide(t)
	s.send(s.frame(1, true, []byte(heartbeat)), 100)
	beat := pdu.Append(nil, 7, client.CmdHeartBeat, 9, nil)
	unknown := pdu.Append(nil, 7, 0x7fff, 3, nil)
	s.out = [][]byte{append(bytes.Repeat(beat, 3), unknown...)}
	s.pump()
	all := s.frames()
	if len(all) != 4 || all[0] != (got{1, strings.Replace(heartbeat, "5", "9", 1)}) || all[2] != all[0] || !strings.Contains(all[3].body, `"error"`) {
		t.Errorf("wrote %q", all)
	}
	if s.given+s.wrote != len(s.wire) {
		t.Errorf("%d and %d bytes counted of %d", s.given, s.wrote, len(s.wire))
	}
}

func TestTextHeaders(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 1<<16 - 1, 1 << 16, 1<<16 + 5} {
		text := strings.Repeat("a", n)
		b := appendText([]byte("before"), func(b []byte) []byte { return append(b, text...) })
		want := string(bare(1, true, false, n)) + text
		if string(b) != "before"+want {
			t.Errorf("%d: begins with %q", n, b[:min(len(b), 20)])
		}
	}
}

func TestLargeOutputIsNotCopied(t *testing.T) {
	s := newSide(t)
	body := raw(300_000)
	s.out = [][]byte{body}
	n := s.conn.Turn(true)
	if len(n.Write) != 10 {
		t.Fatalf("%d bytes first", len(n.Write))
	}
	s.conn.Sent(n.Write)
	if n = s.conn.Turn(true); len(n.Write) != len(body) || &n.Write[0] != &body[0] {
		t.Errorf("%d bytes then", len(n.Write))
	}
	s.conn.Sent(n.Write)
	if s.lent != nil {
		t.Error("the buffer did not come back")
	}
}

func TestHeldOutput(t *testing.T) {
	s := newSide(t)
	s.conn.session = &holding{s}
	s.send(s.frame(9, true, nil), 100)
	if len(s.wire) > 0 || s.stuck != nil {
		t.Errorf("wrote %x while it is held", s.wire)
	}
}

type holding struct{ *side }

func (h *holding) Turn(free bool) reactor.Next {
	n := h.side.Turn(free)
	n.Hold = true
	return n
}

func TestSilentClientsAreAsked(t *testing.T) {
	s := newSide(t)
	pings := func() int {
		s.pump()
		n := 0
		for _, g := range s.frames() {
			if g != (got{9, ""}) {
				t.Fatalf("wrote %q", g)
			}
			n++
		}
		return n
	}
	for _, step := range []struct {
		at    uint32
		want  int
		frame []byte
	}{
		{29, 0, nil}, {30, 1, nil}, {31, 1, nil}, {59, 1, nil}, {60, 2, nil},
		{70, 2, s.frame(10, true, nil)}, {99, 2, nil}, {100, 3, nil}, {110, 3, s.frame(2, true, raw(16))[:3]}, {139, 3, nil}, {140, 4, nil},
	} {
		s.tick = step.at
		if step.frame != nil {
			s.conn.Input(step.frame)
		}
		if n := pings(); n != step.want {
			t.Errorf("%d pings at %d, want %d", n, step.at, step.want)
		}
	}
}

func TestEndOfTheConnection(t *testing.T) {
	s := newSide(t)
	s.send(s.frame(1, false, bytes.Repeat([]byte(" "), 10_000)), 64<<10)
	if s.kept < 10_000 {
		t.Fatalf("%d bytes counted", s.kept)
	}
	s.conn.Closed(io.EOF)
	if s.kept != 0 || s.closes != 1 {
		t.Errorf("%d bytes stay counted, closed %d times", s.kept, s.closes)
	}
}

// FuzzInput: whatever comes, and however it is cut, the session gets whole PDUs only and the same ones, and the client
// well-formed frames.
func FuzzInput(f *testing.F) {
	s := newSide(f)
	f.Add(s.frame(2, true, raw(20)), uint16(7))
	f.Add(s.frame(1, true, []byte(heartbeat)), uint16(3))
	f.Add(append(s.message(2, raw(300), []int{1, 2, 100}, func() []byte { return s.frame(9, true, []byte("x")) }), s.frame(8, true, []byte("\x03\xe8"))...), uint16(30))
	f.Add(append(bare(2, true, false, 16), raw(16)...), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		whole, parts := newSide(t), newSide(t)
		whole.send(b, len(b))
		parts.send(b, int(cut))
		if !slices.EqualFunc(whole.pdus, parts.pdus, bytes.Equal) {
			t.Errorf("%d PDUs at once, %d in reads of %d", len(whole.pdus), len(parts.pdus), cut)
		}
		a, atext := whole.farewell()
		b2, btext := parts.farewell()
		if a != b2 || atext != btext || whole.closed != parts.closed {
			t.Errorf("closed with %d %q at once, %d %q in reads", a, atext, b2, btext)
		}
		for _, s := range []*side{whole, parts} {
			s.conn.Closed(nil)
			if s.kept != 0 {
				t.Errorf("%d bytes stay counted", s.kept)
			}
		}
	})
}

package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	ct "godwit/connector/connectortest"
	"godwit/internal/up"
)

// The defects of the original that a client can see and that are mended, by their numbers in
// the list of known defects. The table mended says which test holds which.

// TestDefect2Repeat: the same PDU again is the same message, on the same connection and on
// another of the class; anything else is a new one.
func TestDefect2Repeat(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			me, peer := main.person(t), main.person(t)
			d, own := main.login(t, me, k.kind), main.login(t, me, acrossFrom(k.kind))
			dp := main.login(t, peer, ct.Windows)
			body := text(me.id, peer.id, 0, 1440000000, 1, []byte("again"))
			acked := func(d *device, seq uint16, body ct.Body, id uint32) {
				t.Helper()
				d.request(0x0301, seq, body)
				d.expect(0x0302, seq, ack(me.id, peer.id, id))
			}
			acked(d, 0x1f4, body, 1)
			acked(d, 0x1f4, body, 1)
			acked(d, 0x1f4, body, 1)
			// While the first is still under way: both are acked, with one id.
			d.Write(join(d.pdu(0x0301, 0x1f5, body), d.pdu(0x0301, 0x1f5, body)))
			d.expect(0x0302, 0x1f5, ack(me.id, peer.id, 2))
			d.expect(0x0302, 0x1f5, ack(me.id, peer.id, 2))
			// Other bytes, or another number.
			acked(d, 0x1f4, text(me.id, peer.id, 0, 1440000001, 1, []byte("again")), 3)
			acked(d, 0x1f6, body, 4)
			// 0 is the number of clients that do not count.
			acked(d, 0, body, 5)
			acked(d, 0, body, 6)
			// The other class counts for itself.
			acked(own, 0x1f4, body, 7)
			// A later connection of the class is the same client come back.
			newer := main.login(t, me, classmate(k.kind))
			acked(newer, 0x1f4, body, 1)
			acked(newer, 0x1f5, body, 2)

			for id := uint32(1); id <= 7; id++ { // each once
				if m := dp.Receive(); m.ID != id {
					t.Errorf("id %d came for %d", m.ID, id)
				}
			}
			dp.quiet("a repeat is delivered to nobody")
			if n := newer.Latest(peer.id); n != 7 {
				t.Errorf("%d messages", n)
			}
			// The same words to somebody else are another body.
			third := main.person(t)
			newer.request(0x0301, 0x1f4, text(me.id, third.id, 0, 1440000000, 1, []byte("again")))
			newer.expect(0x0302, 0x1f4, ack(me.id, third.id, 1))
		})
	}
}

// TestDefect3Order is also TestHundredMessagesAtOnce; here two devices of one user write at
// once, and everybody sees one order, by ids without holes.
func TestDefect3Order(t *testing.T) {
	t.Parallel()
	const n = 60
	me, peer := main.person(t), main.person(t)
	writers := []*device{main.login(t, me, ct.Windows), main.login(t, me, ct.Android), main.login(t, peer, ct.Mac)}
	reader := main.login(t, peer, ct.IOS)
	forget(reader, writers[1])
	for w, d := range writers {
		to := peer
		if w == 2 {
			to = me
		}
		var in bytes.Buffer
		for i := range n {
			in.Write(d.pdu(0x0301, uint16(i+1), text(0, to.id, 0, 0, 1, fmt.Appendf(nil, "%d/%d", w, i))).Bytes())
		}
		d.Write(in.Bytes())
	}
	next := map[byte]int{}
	for id := uint32(1); id <= 3*n; id++ {
		m := reader.Receive()
		if m.ID != id {
			t.Fatalf("id %d came for %d", m.ID, id)
		}
		w := m.Content[0]
		if string(m.Content[2:]) != fmt.Sprint(next[w]) {
			t.Fatalf("%s came, writer %c is at %d", m.Content, w, next[w])
		}
		next[w]++
	}
	reader.quiet("one copy each")
}

// TestDefect7Unread: unread is the newest id less the read mark, whatever happens between.
func TestDefect7Unread(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	dp := main.login(t, peer, ct.Windows)
	for i := range uint16(20) { // to somebody who is away
		dp.request(0x0301, i+1, text(0, me.id, 0, 0, 1, []byte{byte(i + 1)}))
	}
	dp.settle()
	pc, phone := main.login(t, me, ct.Mac), main.login(t, me, ct.Android)
	for _, d := range []*device{pc, phone} {
		if n := d.Unread()[peer.id]; n != 20 {
			t.Errorf("%d unread", n)
		}
	}
	pc.MarkRead(peer.id, 7)
	pc.settle()
	pc.Logout()
	if n := main.login(t, me, ct.Windows).Unread()[peer.id]; n != 13 {
		t.Errorf("%d unread after a login elsewhere", n)
	}
	if n := phone.Unread()[peer.id]; n != 13 {
		t.Errorf("%d unread on the other device", n)
	}
}

// TestDefect10FirstMessagesAtOnce make one conversation.
func TestDefect10FirstMessagesAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		a, b := main.person(t), main.person(t)
		da, db := main.login(t, a, ct.Windows), main.login(t, b, ct.Android)
		da.request(0x0301, 1, text(0, b.id, 0, 0, 1, []byte("a")))
		db.request(0x0301, 1, text(0, a.id, 0, 0, 1, []byte("b")))
		ids := field(t, da.await(0x0302, 1), 3) + field(t, db.await(0x0302, 1), 3)
		if ids != 1+2 {
			t.Errorf("the ids add up to %d", ids)
		}
		da.Receive()
		db.Receive()
		if x, y := da.recent(0), db.recent(0); len(x) != 1 || len(y) != 1 || x[0].Num(5) != 2 || y[0].Num(5) != 2 {
			t.Errorf("lists %v and %v", x, y)
		}
	}
}

// TestDefect11NothingLeaks: neither the number of the sender's request nor what only servers
// put in reaches anybody. All pushes are compared whole elsewhere; here the client tries.
func TestDefect11NothingLeaks(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, own, dp := main.login(t, me, ct.Android), main.login(t, me, ct.Windows), main.login(t, peer, ct.Android)
	cookie := ct.Body(nil).Bytes(20, bytes.Repeat([]byte{7}, 12))
	d.request(0x0301, 0x1234, append(text(me.id, peer.id, 0, 0, 1, []byte("x")), cookie...))
	d.expect(0x0302, 0x1234, ack(me.id, peer.id, 1))
	for _, c := range []*device{own, dp} {
		got := c.await(0x0301, 0)
		c.compare(got, 0x0301, 0, text(me.id, peer.id, 1, field(t, got, 4), 1, []byte("x")))
	}
	own.request(0x0303, 0x1234, append(ack(me.id, peer.id, 1), cookie...))
	d.request(0x0206, 0x1234, append(ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id), cookie...))
	d.expect(0x0207, 0x1234, ct.Body(nil).Num(1, me.id).Num(2, 0).Num(3, 1).Num(4, peer.id))
	own.expect(0x020f, 0, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id))
	for _, p := range append(own.rest(), dp.rest()...) {
		t.Errorf("unexpected %s", show(p))
	}
}

// TestDefect24LockOut: wrong passwords are limited by address and name; nobody locks
// another out.
func TestDefect24LockOut(t *testing.T) {
	t.Parallel()
	p, other := main.person(t), main.person(t)
	const guesser = "127.0.2.1"
	for range 10 {
		d := main.dialFrom(t, guesser, ct.Windows)
		d.request(0x0103, 1, loginBody(p.name, "guess", 1, ct.Windows))
		d.refused(1, 6, wrongText)
	}
	for _, plain := range []string{"guess", password1} {
		d := main.dialFrom(t, guesser, ct.Windows)
		d.request(0x0103, 0xff01, loginBody(p.name, plain, 1, ct.Windows))
		d.refused(0xff01, 6, tooOftenText)
	}
	// The owner comes in from elsewhere, and others from the guesser's address.
	d := main.dialFrom(t, "127.0.2.2", ct.Windows)
	d.signIn(p)
	d = main.dialFrom(t, guesser, ct.Windows)
	d.signIn(other)
}

// TestDefect27Limits: a length above the limit closes, before anything of it is waited for;
// one at the limit is served.
func TestDefect27Limits(t *testing.T) {
	t.Parallel()
	for _, k := range kinds[:3:3] {
		p := main.person(t)
		for length, closes := range map[uint32]bool{4096: false, 4097: true, 409600: true, 1 << 31: true, 1<<32 - 1: true} {
			d := main.dial(t, k.kind)
			d.lengthTest(length, closes)
		}
		for length, closes := range map[uint32]bool{4097: false, 409600: false, 409601: true, 1 << 31: true, 1<<32 - 1: true} {
			d := main.login(t, p, k.kind)
			d.lengthTest(length, closes)
			if !closes {
				d.Logout()
			}
		}
	}
}

// lengthTest sends a PDU of the length, whole if it is to be taken.
func (d *device) lengthTest(length uint32, closes bool) {
	d.t.Helper()
	head := d.pdu(0x0601, 1, nil)
	head.Length = length
	d.request(0x0701, 2, nil) // what came before is answered
	if closes {
		d.Write(head.Bytes())
		d.await(0x0701, 2)
		d.ExpectClosed()
		return
	}
	d.await(0x0701, 2)
	d.Write(append(head.Bytes(), make([]byte, length-ct.HeaderLen)...))
	d.request(0x0701, 3, nil)
	d.await(0x0701, 3)
}

// TestDefect28ShortLengths: a length of less than a header closes.
func TestDefect28ShortLengths(t *testing.T) {
	t.Parallel()
	p := main.person(t)
	for length := range uint32(16) {
		for _, in := range []bool{false, true} {
			d := main.dial(t, ct.Windows)
			if in {
				d.signIn(p)
			}
			d.lengthTest(length, true)
			d = main.dial(t, ct.Android)
			d.Write(binary.BigEndian.AppendUint32(nil, length)) // the length alone is enough
			if in {
				d.Write(make([]byte, 12))
			}
			d.ExpectClosed()
		}
	}
}

// TestDefect41LyingTexts: a text whose encrypted length lies is passed on as it is, and a
// list that has to shorten it lives.
func TestDefect41LyingTexts(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	d := main.login(t, me, ct.Windows)
	for _, lie := range []uint32{4093, 4094, 4096, 4097, 1 << 31, 1<<32 - 1} {
		peer := main.person(t)
		dp := main.login(t, peer, ct.Mac)
		data := encryptLying(4096, lie)
		dp.sends(me, data, d)
		dp.Logout()
		if h := d.History(peer.id, 0, 1); len(h) != 1 || !bytes.Equal(h[0].Content, data) {
			t.Errorf("length %d: the history has %d messages", lie, len(h))
		}
	}
	for _, data := range [][]byte{bytes.Repeat([]byte("="), 5000), bytes.Repeat([]byte{0xff}, 5000), bytes.Repeat([]byte("A"), 5001)} {
		peer := main.person(t)
		dp := main.login(t, peer, ct.Mac)
		dp.sends(me, data, d)
		dp.Logout()
	}
	if list := d.recent(0); len(list) != 9 {
		t.Errorf("%d sessions", len(list))
	}
	if n := d.Unread(); len(n) != 9 {
		t.Errorf("%d conversations unread", len(n))
	}
	d.quiet("lists")
}

// TestContactsFriends: with the other way of contacts, friends are told of each other.
func TestContactsFriends(t *testing.T) {
	t.Parallel()
	s := reservedServer(t)
	a, b, c := s.person(t), s.person(t), s.person(t)
	if err := s.people.SetFriends(t.Context(), a.name, b.name, true); err != nil {
		t.Fatal(err)
	}
	db, dc := s.login(t, b, ct.Windows), s.login(t, c, ct.Windows)
	db.awaitStatus(b.id, 1)
	dc.awaitStatus(c.id, 1)
	da := s.login(t, a, ct.Mac)
	da.awaitStatus(a.id, 1)
	db.awaitStatus(a.id, 1)
	da.Logout()
	db.awaitStatus(a.id, 2)
	dc.settle()
	if told := dc.statuses(a.id); len(told) != 0 {
		t.Errorf("who is no friend was told %v", told)
	}
	// Nor does a stranger learn it by asking.
	if on := dc.Statuses(b.id, c.id); on[0] || !on[1] {
		t.Errorf("a stranger is online: %v", on)
	}
	da = s.login(t, a, ct.Mac)
	if on := da.Statuses(b.id, c.id); !on[0] || on[1] {
		t.Errorf("a friend, and a stranger, are online: %v", on)
	}
}

// TestStatusLimit: above so many online users notices stop, and the question is answered.
func TestStatusLimit(t *testing.T) {
	t.Parallel()
	s := other(t, func(c *up.Config) { c.StatusLimit = 2 })
	a, b, c := s.person(t), s.person(t), s.person(t)
	da := s.login(t, a, ct.Windows)
	da.awaitStatus(a.id, 1)
	db := s.login(t, b, ct.Mac)
	da.awaitStatus(b.id, 1)
	dc := s.login(t, c, ct.Windows)
	if on := da.Statuses(c.id); !on[0] {
		t.Error("the third is offline")
	}
	dc.Logout()
	db.Logout()
	da.awaitStatus(b.id, 2) // it comes with or after what there is to tell of c
	if told := da.statuses(c.id); len(told) > 1 || len(told) == 1 && told[0] != 2 {
		t.Errorf("above the limit was told %v", told)
	}
}

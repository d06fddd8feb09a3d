package conformance

import (
	"bytes"
	"fmt"
	"testing"

	ct "godwit/connector/connectortest"
)

func sendDetail(t *testing.T, kind uint32) {
	me, peer := main.person(t), main.person(t)
	d, own := main.login(t, me, kind), main.login(t, me, acrossFrom(kind))
	pc, phone := main.login(t, peer, ct.Windows), main.login(t, peer, ct.IOS)
	forget(d, own, phone)
	all := []*device{own, pc, phone}

	// Ack with the number of the request, copies with 0: to the own other device and to all
	// of the peer's; nothing to the sender.
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	id, next := uint32(0), uint16(0x700)
	say := func(kind uint32, data []byte, request ct.Body) {
		t.Helper()
		id++
		next++
		d.request(0x0301, next, request)
		d.expect(0x0302, next, ack(me.id, peer.id, id))
		for _, c := range all {
			got := c.await(0x0301, 0)
			c.compare(got, 0x0301, 0, text(me.id, peer.id, id, c.clock(field(t, got, 4)), kind, data))
		}
	}
	say(1, []byte("hi"), text(me.id, peer.id, 0, 0, 1, []byte("hi")))
	say(1, ct.EncryptText("你好"), text(me.id, peer.id, 0, 0, 1, ct.EncryptText("你好")))
	say(1, every, text(me.id, peer.id, 0, 0, 1, every)) // byte for byte
	say(2, append([]byte{0, 0, 0, 60}, every...), text(me.id, peer.id, 0, 0, 2, append([]byte{0, 0, 0, 60}, every...)))
	say(2, []byte{0, 0, 0, 1, 0}, text(me.id, peer.id, 0, 0, 2, []byte{0, 0, 0, 1, 0}))
	// Id, time and sender are the server's; what only servers put in goes no further.
	say(1, []byte("spoof"), append(text(1, peer.id, 77, 12345, 1, []byte("spoof")), ct.Body(nil).Bytes(20, []byte("cookie"))...))
	say(1, []byte("spoof"), text(peer.id, peer.id, 0, 0, 1, []byte("spoof")))
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<10) // 320 KiB
	say(1, large, text(me.id, peer.id, 0, 0, 1, large))

	// Refused without a word, and no id is lost.
	nobody := uint32(4_000_000_000)
	disabled := main.person(t)
	if err := main.people.SetEnabled(t.Context(), disabled.name, false); err != nil {
		t.Fatal(err)
	}
	for name, request := range map[string]ct.Body{
		"empty":             text(me.id, peer.id, 0, 0, 1, nil),
		"empty voice":       text(me.id, peer.id, 0, 0, 2, nil),
		"voice of no sound": text(me.id, peer.id, 0, 0, 2, []byte{0, 0, 0, 3}),
		"to oneself":        text(0, me.id, 0, 0, 1, []byte("x")),
		"to nobody":         text(me.id, nobody, 0, 0, 1, []byte("x")),
		"to user 0":         text(me.id, 0, 0, 0, 1, []byte("x")),
		"to a disabled":     text(me.id, disabled.id, 0, 0, 1, []byte("x")),
		"to a group":        text(me.id, peer.id, 0, 0, 17, []byte("x")),
		"voice to a group":  text(me.id, peer.id, 0, 0, 18, []byte("12345")),
		"too large":         text(me.id, peer.id, 0, 0, 1, make([]byte, 390<<10)),
		"unknown type":      text(me.id, peer.id, 0, 0, 5, []byte("x")),
	} {
		d.request(0x0301, 0x99, request)
		for _, p := range d.rest() {
			t.Errorf("%s: %s", name, show(p))
		}
	}
	say(1, []byte("after"), text(me.id, peer.id, 0, 0, 1, []byte("after")))

	// A receipt of a client means nothing, whoever is in it.
	phone.request(0x0302, 5, ack(peer.id, me.id, id))
	phone.request(0x0302, 6, ack(me.id, peer.id, id))
	phone.request(0x0302, 7, ack(0, me.id, 1<<31))
	for _, x := range append(all, d) {
		x.quiet("after all")
	}
	if n := pc.Unread()[me.id]; n != id {
		t.Errorf("%d unread of %d", n, id)
	}
}

func readDetail(t *testing.T, kind uint32) {
	me, peer := main.person(t), main.person(t)
	d, own := main.login(t, me, kind), main.login(t, me, acrossFrom(kind))
	dp, peerPhone := main.login(t, peer, ct.Mac), main.login(t, peer, ct.Android)
	for i := range 5 {
		dp.sends(me, []byte{byte('0' + i)}, d, own)
	}
	forget(d, own, dp, peerPhone)
	read := func(id uint32) {
		t.Helper()
		d.request(0x0303, 0xff02, ct.Body(nil).Num(1, 1).Num(2, peer.id).Num(3, id).Num(4, 1))
	}
	unread := func(want uint32) {
		t.Helper()
		for _, x := range []*device{d, own} {
			if n := x.Unread()[peer.id]; n != want {
				t.Errorf("%d unread, want %d", n, want)
			}
		}
	}
	// Up to its msg_id, and no further (defect 6).
	read(2)
	own.expect(0x0304, 0, ack(me.id, peer.id, 2))
	unread(3)
	// Never back.
	read(1)
	read(0)
	d.settle()
	unread(3)
	forget(own)
	// Another device of the user may read on; this one is told.
	own.request(0x0303, 1, ack(me.id, peer.id, 4))
	d.expect(0x0304, 0, ack(me.id, peer.id, 4))
	unread(1)
	// Beyond the newest is the newest: what comes later is unread.
	read(1<<32 - 1)
	own.expect(0x0304, 0, ack(me.id, peer.id, 5))
	unread(0)
	dp.sends(me, []byte("later"), d, own)
	unread(1)
	d.request(0x0307, 9, ct.Body(nil).Num(1, me.id))
	d.expect(0x0308, 9, ct.Body(nil).Num(1, me.id).Num(2, 1).Bytes(3, unreadInfo(peer.id, 1, 6, "later", 1)))
	// Of groups, of oneself and of nobody there is nothing to read.
	for _, body := range []ct.Body{
		ct.Body(nil).Num(1, me.id).Num(2, peer.id).Num(3, 6).Num(4, 2), ack(me.id, me.id, 6), ack(me.id, 0, 6), ack(me.id, 1<<32-1, 6),
	} {
		d.request(0x0303, 3, body)
	}
	unread(1)
	d.quiet("no answer")
	own.quiet("one notice for each advance")
	// The author is not told.
	dp.quiet("the author")
	peerPhone.rest()
	if n := dp.Unread()[me.id]; n != 0 {
		t.Errorf("the author has %d unread", n)
	}
}

// TestHundredMessagesAtOnce: what the original drops without a word is served.
func TestHundredMessagesAtOnce(t *testing.T) {
	t.Parallel()
	for _, k := range kinds[1:3] {
		me, peer := main.person(t), main.person(t)
		d, dp := main.login(t, me, k.kind), main.login(t, peer, acrossFrom(k.kind))
		var in bytes.Buffer
		for i := range 100 {
			in.Write(d.pdu(0x0301, uint16(i+1), text(0, peer.id, 0, 0, 1, fmt.Append(nil, i))).Bytes())
		}
		d.Write(in.Bytes())
		for i := range 100 { // defect 3: numbered, acked and delivered in the order sent
			got := d.Await("an ack", func(p ct.PDU) bool { return p.Command == 0x0302 })
			d.compare(got, 0x0302, uint16(i+1), ack(me.id, peer.id, uint32(i+1)))
			if m := dp.Receive(); m.ID != uint32(i+1) || string(m.Content) != fmt.Sprint(i) {
				t.Fatalf("message %d came with id %d and says %s", i, m.ID, m.Content)
			}
		}
		for i, m := range d.History(peer.id, 0, 100) {
			if m.ID != uint32(100-i) || string(m.Content) != fmt.Sprint(99-i) {
				t.Fatalf("history %d: id %d says %s", i, m.ID, m.Content)
			}
		}
		d.quiet("acks only")
	}
}

// TestManyRequestsAtOnce: above its rate a client is read later; nothing is dropped, and the
// answers are in order.
func TestManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	const n = 1500 // half as many again as are served at once
	d := main.login(t, main.person(t), ct.Windows)
	var in bytes.Buffer
	for i := range n {
		in.Write(d.pdu(0x0305, uint16(i), nil).Bytes())
	}
	d.Write(in.Bytes())
	for i := range n {
		got := d.Await("the time", func(p ct.PDU) bool { return p.Command == 0x0306 })
		d.compare(got, 0x0306, uint16(i), ct.Body(nil).Num(1, d.clock(field(t, got, 1))))
	}
	d.quiet("one answer each")
}

package conformance

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	ct "godwit/connector/connectortest"
	"godwit/internal/ttclient"
)

// Service 32, as docs/protocol.md describes it, command by command and byte for byte. Old
// clients stand beside: whatever of it came to them would fail their test, and what they have
// asked for is answered.

// mixed is who is around when a client with extensions does something: the user's other device
// has them as well; of the other one's two devices one has, the one of the other class; and a
// third person has an old client. Over all kinds of clients each is a PC and a phone.
type mixed struct {
	me, bob, eve person
	d, own       *device // with extensions
	new, old     *device // of bob
	third        *device // of eve, old
}

func newMixed(t *testing.T, s *server, kind uint32) *mixed {
	t.Helper()
	m := &mixed{me: s.person(t), bob: s.person(t), eve: s.person(t)}
	m.d, m.own = s.newer(t, m.me, kind), s.newer(t, m.me, acrossFrom(kind))
	m.new, m.old = s.newer(t, m.bob, acrossFrom(kind)), s.login(t, m.bob, kind)
	m.third = s.login(t, m.eve, kind)
	forget(m.d, m.own, m.new, m.old, m.third)
	return m
}

func (m *mixed) quiet(why string) {
	m.d.t.Helper()
	for name, d := range map[string]*device{"asker": m.d, "own": m.own, "new": m.new, "old": m.old, "third": m.third} {
		d.quiet(why + ", " + name)
	}
}

// Bodies of the extension.

func changedMessage(session, kind uint32, info ct.Body) ct.Body {
	return ct.Body(nil).Num(1, session).Num(2, kind).Bytes(3, info)
}

func done4(refusal, session, kind, id uint32) ct.Body {
	return ct.Body(nil).Num(1, refusal).Num(2, session).Num(3, kind).Num(4, id)
}

func received(user, session, kind, delivered uint32) ct.Body {
	return ct.Body(nil).Num(1, session).Num(2, kind).Num(3, user).Num(4, delivered)
}

func hasRead(user, session, kind, read uint32) ct.Body {
	return ct.Body(nil).Num(1, session).Num(2, kind).Num(3, user).Num(5, read)
}

// told is FriendNotify.
func told(user, action uint32, own bool, text string) ct.Body {
	b := ct.Body(nil).Num(1, user).Num(2, action)
	if own {
		b = b.Num(3, 1)
	}
	if text != "" {
		b = b.Text(4, text)
	}
	return b
}

// befriends asks for a change between users and compares the answer.
func (d *device) befriends(user, action uint32, text string, refusal uint32) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	req := ct.Body(nil).Num(1, user).Num(2, action)
	if text != "" {
		req = req.Text(3, text)
	}
	d.request(0x2013, seq, req)
	d.expect(0x2014, seq, ct.Body(nil).Num(1, refusal).Num(2, user).Num(3, action))
}

const (
	asks, accepts, refuses, withdraws, removes, remarks, blocks, unblocks = uint32(1), uint32(2), uint32(3), uint32(4), uint32(5), uint32(6), uint32(7), uint32(8)
)

// sendRefusedDetail: a refused message has an answer for clients that understand it, and none
// for others.
func sendRefusedDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	d := m.d
	closed, blocker := main.person(t), main.person(t)
	if err := main.people.SetEnabled(t.Context(), closed.name, false); err != nil {
		t.Fatal(err)
	}
	main.newer(t, blocker, ct.Mac).befriends(m.me.id, blocks, "", 0)
	group := m.new.creates("not mine", []*device{m.old}, m.eve.id)
	m.third.expect(0x040b, 0, membersChanged(m.bob.id, 1, group, []uint32{m.bob.id, m.eve.id}, []uint32{m.bob.id, m.eve.id}))
	id := ttclient.NewMessageID()
	stale := bytes.Repeat([]byte{1}, 16)
	for what, c := range map[string]struct {
		to, kind, refusal uint32
		data, id          []byte
	}{
		"empty":             {m.bob.id, 1, 1, nil, nil},
		"voice of no sound": {m.bob.id, 2, 1, []byte{0, 0, 0, 1}, id},
		"a stale id":        {m.bob.id, 1, 1, []byte("x"), stale},
		"a short id":        {m.bob.id, 1, 1, []byte("x"), stale[:15]},
		"to nobody":         {4_000_000_000, 1, 2, []byte("x"), id},
		"to a closed one":   {closed.id, 1, 2, []byte("x"), nil},
		"to no group":       {4_000_000_000, 17, 3, []byte("x"), id},
		"to another group":  {group, 17, 3, []byte("x"), nil},
		"to oneself":        {m.me.id, 1, 5, []byte("x"), nil},
		"to who blocks":     {blocker.id, 1, 6, []byte("x"), nil},
		"too large":         {m.bob.id, 1, 9, make([]byte, 390<<10), nil},
	} {
		t.Run(what, func(t *testing.T) {
			body := text(0, c.to, 0, 0, c.kind, c.data)
			want := ct.Body(nil).Num(1, c.to).Num(2, 1+c.kind>>4).Num(3, c.refusal)
			if c.id != nil {
				body, want = body.Bytes(100, c.id), want.Bytes(4, c.id)
			}
			d.request(0x0301, 0xff03, body)
			got := d.Await("0x2003", func(p ct.PDU) bool { return p.Seq == 0xff03 })
			if w := ct.Request(0x20, 0x2003, 0xff03, want); !bytes.Equal(got.Bytes(), w.Bytes()) {
				t.Errorf("\n got %s\nwant %s", show(got), show(w))
			}
			d.compared(0x2003)
		})
	}
	m.old.request(0x0301, 0x99, text(0, m.bob.id, 0, 0, 1, []byte("to oneself"))) // an old client hears nothing
	m.quiet("what was refused")
}

// clientIDDetail: a message with an id of the client's own counts once, wherever it comes from.
func clientIDDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	m.old.Newer = true // it passes over fields that it does not know
	id := ttclient.NewMessageID()
	m.d.request(0x0301, 0x1f4, text(0, m.bob.id, 0, 0, 1, []byte("once")).Bytes(100, id))
	got := m.d.await(0x0302, 0x1f4)
	created := m.d.clock(field(t, got, 101))
	m.d.compare(got, 0x0302, 0x1f4, ack(m.me.id, m.bob.id, 1).Bytes(100, id).Num(101, created))
	for _, x := range []*device{m.own, m.new, m.old} {
		x.expect(0x0301, 0, text(m.me.id, m.bob.id, 1, created, 1, []byte("once")).Bytes(100, id))
	}
	// Another device, another number, other bytes: it is the same message.
	m.own.request(0x0301, 7, text(0, m.bob.id, 0, 1, 1, []byte("once more")).Bytes(100, id))
	m.own.expect(0x0302, 7, ack(m.me.id, m.bob.id, 1).Bytes(100, id))
	m.new.request(0x0309, 8, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, m.me.id).Num(4, 0).Num(5, 9))
	m.new.expect(0x030a, 8, ct.Body(nil).Num(1, m.bob.id).Num(2, 1).Num(3, m.me.id).Num(4, 0).
		Bytes(5, msgInfo(1, m.me.id, created, 1, []byte("once")).Bytes(103, id)))
	// Of somebody else it is another one.
	m.new.request(0x0301, 9, text(0, m.me.id, 0, 0, 1, []byte("mine")).Bytes(100, id))
	if got := m.new.await(0x0302, 9); field(t, got, 3) != 2 {
		t.Errorf("another's id gave %s", show(got))
	}
	for _, x := range []*device{m.d, m.own, m.old} {
		if got := x.await(0x0301, 0); field(t, got, 3) != 2 {
			t.Errorf("another's message came as %s", show(got))
		}
	}
	m.quiet("a repeat")
}

// messageChangeDetail: recalls and edits, their refusals, and who is told.
func messageChangeDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	m.old.Newer = true // it passes over fields that it does not know
	me, bob := m.me.id, m.bob.id
	others := []*device{m.own, m.new, m.old}
	secret, typo, right := ct.EncryptText("a secret"), ct.EncryptText("a tyop"), ct.EncryptText("a typo")
	_, first := m.d.sends(m.bob, secret, others...)
	_, second := m.d.sends(m.bob, typo, others...)
	m.d.request(0x0301, 3, text(0, bob, 0, 0, 2, []byte("\x00\x00\x00\x01voice")))
	m.d.await(0x0302, 3)
	for _, x := range others {
		x.await(0x0301, 0)
	}
	recall := func(d *device, peer, id, refusal uint32) {
		t.Helper()
		d.request(0x2005, 0xff01, ct.Body(nil).Num(1, peer).Num(2, 1).Num(3, id))
		d.expect(0x2006, 0xff01, done4(refusal, peer, 1, id))
	}
	edit := func(d *device, peer, id uint32, data []byte, refusal uint32) {
		t.Helper()
		d.request(0x2007, 0xff02, ct.Body(nil).Num(1, peer).Num(2, 1).Num(3, id).Bytes(4, data))
		d.expect(0x2008, 0xff02, done4(refusal, peer, 1, id))
	}
	recall(m.new, me, 1, 5) // another's
	edit(m.new, me, 2, right, 5)
	recall(m.d, bob, 9, 4) // none
	recall(m.d, m.eve.id, 1, 4)
	recall(m.d, me, 1, 5) // with oneself
	edit(m.d, bob, 9, right, 4)
	edit(m.d, bob, 2, nil, 1)
	edit(m.d, bob, 2, typo, 10) // as it is
	edit(m.d, bob, 3, right, 5) // voice
	m.quiet("what was refused")

	tell := func(info ct.Body) {
		t.Helper()
		m.own.expect(0x2009, 0, changedMessage(bob, 1, info))
		m.new.expect(0x2009, 0, changedMessage(me, 1, info))
	}
	edit(m.d, bob, 2, right, 0)
	edited := msgInfo(2, me, second, 1, right).Num(102, 1)
	tell(edited)
	recall(m.own, bob, 1, 0) // from another device of the sender
	gone := msgInfo(1, me, first, 1, ct.EncryptText("此消息已撤回")).Num(101, 1)
	m.d.expect(0x2009, 0, changedMessage(bob, 1, gone))
	m.new.expect(0x2009, 0, changedMessage(me, 1, gone))
	recall(m.d, bob, 1, 4) // it is gone
	edit(m.d, bob, 1, right, 4)
	edit(m.d, bob, 2, right, 10)
	edit(m.d, bob, 2, typo, 0)
	edited = msgInfo(2, me, second, 1, typo).Num(102, 2)
	tell(edited)

	// So it is in every answer, for an old client too, and counts until it is read.
	for _, x := range []*device{m.old, m.new} {
		x.request(0x030d, 0xff03, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, me).Nums(4, 1, 2))
		x.expect(0x030e, 0xff03, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, me).Bytes(4, edited).Bytes(4, gone))
		if n := x.Unread()[me]; n != 3 {
			t.Errorf("%d unread", n)
		}
	}
	m.quiet("changes of messages")

	// In groups, for members.
	group := m.d.creates("changing", others, bob)
	m.d.writes(group, "one", others...)
	m.d.request(0x2005, 5, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1))
	m.d.expect(0x2006, 5, done4(0, group, 2, 1))
	for _, x := range []*device{m.own, m.new} {
		got := x.await(0x2009, 0)
		p, err := ct.ParseMessage(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		x.compare(got, 0x2009, 0, changedMessage(group, 2, msgInfo(1, me, p.Sub(3).Num(3), 17, ct.EncryptText("此消息已撤回")).Num(101, 1)))
	}
	m.third.request(0x2005, 6, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1))
	m.third.expect(0x2006, 6, done4(3, group, 2, 1))
	m.quiet("a change in a group")
}

// receiptDetail: who has received and read what is told to the others that understand it.
func receiptDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	me, bob := m.me.id, m.bob.id
	for i := range 3 {
		m.d.sends(m.bob, []byte{byte('0' + i)}, m.own, m.new, m.old)
	}
	who := func(d *device, peer, kind, id uint32, read, delivered []uint32) {
		t.Helper()
		d.request(0x200c, 0xff03, ct.Body(nil).Num(1, peer).Num(2, kind).Num(3, id))
		d.expect(0x200d, 0xff03, ids(ids(ct.Body(nil).Num(1, peer).Num(2, kind).Num(3, id), 4, read...), 5, delivered...))
	}
	tell := func(body ct.Body) {
		t.Helper()
		m.d.expect(0x200b, 0, body)
		m.own.expect(0x200b, 0, body)
	}
	who(m.d, bob, 1, 2, nil, nil)
	m.new.request(0x200a, 5, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, 2))
	tell(received(bob, bob, 1, 2))
	who(m.d, bob, 1, 2, nil, []uint32{bob})
	m.new.request(0x200a, 5, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, 1)) // never back
	m.new.settle()
	m.old.request(0x0303, 6, ack(bob, me, 2)) // an old client reads, too
	tell(hasRead(bob, bob, 1, 2))
	m.new.expect(0x0304, 0, ack(bob, me, 2))
	m.new.request(0x200a, 5, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, 1<<32-1)) // nor beyond the newest
	tell(received(bob, bob, 1, 3))
	who(m.own, bob, 1, 2, []uint32{bob}, nil)
	who(m.own, bob, 1, 3, nil, []uint32{bob})
	who(m.new, me, 1, 2, []uint32{bob}, nil) // the reader may ask as well
	for _, c := range [][3]uint32{{bob, 1, 0}, {bob, 1, 9}, {m.eve.id, 1, 1}, {me, 1, 1}, {4_000_000_000, 2, 1}} {
		who(m.d, c[0], c[1], c[2], nil, nil)
	}
	who(m.third, me, 1, 2, nil, nil)
	m.third.request(0x200a, 5, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, 2)) // who has nothing to receive
	m.quiet("receipts")

	group := m.d.creates("small", []*device{m.own, m.new, m.old}, bob)
	m.d.writes(group, "x", m.own, m.new, m.old)
	m.new.request(0x200a, 5, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1))
	tell(received(bob, group, 2, 1))
	m.new.request(0x0303, 5, ct.Body(nil).Num(1, 0).Num(2, group).Num(3, 1).Num(4, 2))
	tell(hasRead(bob, group, 2, 1))
	m.old.expect(0x0304, 0, ct.Body(nil).Num(1, bob).Num(2, group).Num(3, 1).Num(4, 2))
	who(m.d, group, 2, 1, []uint32{bob}, nil)
	who(m.third, group, 2, 1, nil, nil)
	m.quiet("receipts of a group")
}

// passingDetail: typing and the commands of clients are passed on to who is there.
func passingDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	me, bob := m.me.id, m.bob.id
	group := m.d.creates("passing", []*device{m.own, m.new, m.old}, bob)
	for typing := range uint32(2) {
		m.d.request(0x200e, 0x55, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, typing))
		m.new.expect(0x200f, 0, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, me).Num(4, typing))
		m.own.request(0x200e, 0x55, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, typing))
		m.new.expect(0x200f, 0, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, me).Num(4, typing))
	}
	// The sender is the server's word (defect 30), the number of the request goes no further.
	const shake = `{"service_id":1,"cmd_id":65537,"content":"shakewindow"}`
	m.d.request(0x0601, 0x1234, ct.Body(nil).Num(1, bob).Num(2, bob).Text(3, shake))
	for _, x := range []*device{m.own, m.new, m.old} {
		x.expect(0x0601, 0, ct.Body(nil).Num(1, me).Num(2, bob).Text(3, shake))
	}
	m.old.request(0x0601, 0xff01, ct.Body(nil).Num(1, 0).Num(2, me).Text(3, "写"))
	for _, x := range []*device{m.d, m.own, m.new} {
		x.expect(0x0601, 0, ct.Body(nil).Num(1, bob).Num(2, me).Text(3, "写"))
	}
	// One's own devices hear of it whoever it is for, as in the original.
	m.d.request(0x0601, 1, ct.Body(nil).Num(1, me).Num(2, 4_000_000_000).Text(3, "x"))
	m.own.expect(0x0601, 0, ct.Body(nil).Num(1, me).Num(2, 4_000_000_000).Text(3, "x"))
	// Not what is none, nor to oneself, nor where one blocks.
	for _, c := range []struct {
		to   uint32
		text string
	}{{bob, ""}, {bob, strings.Repeat("x", 64<<10+1)}, {bob, "\xff"}, {me, "x"}, {0, "x"}} {
		m.d.request(0x0601, 1, ct.Body(nil).Num(1, me).Num(2, c.to).Text(3, c.text))
	}
	m.third.request(0x200e, 1, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1)) // no member
	m.d.request(0x200e, 1, ct.Body(nil).Num(1, 4_000_000_000).Num(2, 2).Num(3, 1))
	m.new.befriends(me, blocks, "", 0)
	m.new.settle() // what passes is not ordered with what the log has
	m.d.request(0x0601, 2, ct.Body(nil).Num(1, me).Num(2, bob).Text(3, "blocked"))
	m.d.request(0x200e, 2, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, 1))
	m.new.request(0x0601, 2, ct.Body(nil).Num(1, me).Num(2, me).Text(3, "blocking"))
	m.d.settle() // behind what both have sent
	m.new.settle()
	m.new.befriends(me, unblocks, "", 0)
	m.new.settle()
	// What passes comes in the order of the session's requests, so this is the last.
	m.d.request(0x0601, 3, ct.Body(nil).Num(1, me).Num(2, bob).Text(3, "last"))
	all([]*device{m.own, m.new, m.old}, 0x0601, ct.Body(nil).Num(1, me).Num(2, bob).Text(3, "last"))
	m.new.request(0x0601, 3, ct.Body(nil).Num(1, bob).Num(2, me).Text(3, "last"))
	all([]*device{m.d, m.own, m.old}, 0x0601, ct.Body(nil).Num(1, bob).Num(2, me).Text(3, "last"))
	m.quiet("what is passed on to nobody")
}

// friendDetail: requests, friendships, names and blocks; each refusal, and who is told.
func friendDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	me, bob, eve := m.me.id, m.bob.id, m.eve.id
	list := func(d *device, blocked []uint32, friends ...ct.Body) {
		t.Helper()
		d.request(0x2011, 0xff02, nil)
		got := d.await(0x2012, 0xff02)
		p, err := ct.ParseMessage(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		var want ct.Body
		for i, f := range friends { // since when is the server's word
			since := uint32(0)
			if have := p.Subs(1); i < len(have) {
				since = d.clock(have[i].Num(3))
			}
			want = want.Bytes(1, bytes.Replace(f, ct.Body(nil).Num(3, 0), ct.Body(nil).Num(3, since), 1))
		}
		d.compare(got, 0x2012, 0xff02, ids(want, 2, blocked...))
	}
	is := func(user, state uint32) ct.Body { return ct.Body(nil).Num(1, user).Num(2, state).Num(3, 0) }
	closed := main.person(t)
	main.newer(t, closed, kind).befriends(me, asks, "", 0)
	all([]*device{m.d, m.own}, 0x2015, told(closed.id, asks, false, ""))
	if err := main.people.SetEnabled(t.Context(), closed.name, false); err != nil {
		t.Fatal(err)
	}
	for action := asks; action <= unblocks; action++ {
		m.d.befriends(me, action, "", 5)
		m.d.befriends(4_000_000_000, action, "", 2)
	}
	m.d.befriends(closed.id, asks, "", 2)
	m.d.befriends(closed.id, accepts, "", 2)
	m.d.befriends(closed.id, refuses, "", 0)
	m.own.expect(0x2015, 0, told(closed.id, refuses, true, ""))
	for action, refusal := range map[uint32]uint32{accepts: 10, refuses: 10, withdraws: 10, removes: 7, remarks: 7, unblocks: 10} {
		m.d.befriends(bob, action, "", refusal)
	}
	m.d.befriends(bob, asks, "two\nlines", 1)
	if m.d.speaks("\xff") {
		m.d.befriends(bob, asks, "\xff", 1)
	}
	m.d.befriends(bob, asks, strings.Repeat("é", 64)+"x", 9)
	for _, action := range []uint32{0, 9, 1<<32 - 1} {
		m.d.request(0x2013, 1, ct.Body(nil).Num(1, bob).Num(2, action))
	}
	list(m.d, nil)
	m.quiet("what was refused")

	// Asked, withdrawn, refused, accepted.
	longest := strings.Repeat("é", 64)
	m.d.befriends(bob, asks, longest, 0)
	m.own.expect(0x2015, 0, told(bob, asks, true, longest))
	m.new.expect(0x2015, 0, told(me, asks, false, longest))
	m.d.befriends(bob, asks, "", 10)
	list(m.own, nil, is(bob, 3).Text(5, longest))
	list(m.old, nil, is(me, 2).Text(5, longest)) // an old client may ask
	m.own.befriends(bob, withdraws, "", 0)
	m.d.expect(0x2015, 0, told(bob, withdraws, true, ""))
	m.new.expect(0x2015, 0, told(me, withdraws, false, ""))
	m.new.befriends(me, accepts, "", 10)
	m.d.befriends(bob, asks, "", 0)
	m.own.expect(0x2015, 0, told(bob, asks, true, ""))
	m.new.expect(0x2015, 0, told(me, asks, false, ""))
	m.old.befriends(me, refuses, "", 0)
	m.new.expect(0x2015, 0, told(me, refuses, true, ""))
	for _, x := range []*device{m.d, m.own} {
		x.expect(0x2015, 0, told(bob, refuses, false, ""))
	}
	m.new.befriends(me, asks, "hi", 0)
	for _, x := range []*device{m.d, m.own} {
		x.expect(0x2015, 0, told(bob, asks, false, "hi"))
	}
	m.own.befriends(bob, asks, "", 0) // both have asked: they are friends
	m.d.expect(0x2015, 0, told(bob, accepts, true, ""))
	m.new.expect(0x2015, 0, told(me, accepts, false, ""))
	m.d.befriends(bob, asks, "", 10)
	m.d.befriends(bob, accepts, "", 10)
	list(m.d, nil, is(bob, 1))

	// A name for a friend is one's own.
	m.d.befriends(bob, remarks, "Bobby", 0)
	m.own.expect(0x2015, 0, told(bob, remarks, true, "Bobby"))
	m.d.befriends(bob, remarks, strings.Repeat("x", 65), 9)
	list(m.own, nil, is(bob, 1).Text(4, "Bobby"))
	list(m.new, nil, is(me, 1))
	m.own.befriends(bob, remarks, "", 0)
	m.d.expect(0x2015, 0, told(bob, remarks, true, ""))
	m.quiet("a name for a friend")

	// Blocked: the other one is told nothing, and is refused at once, in both directions.
	m.d.befriends(bob, blocks, "", 0)
	m.own.expect(0x2015, 0, told(bob, blocks, true, ""))
	m.d.befriends(bob, blocks, "", 10)
	list(m.d, []uint32{bob}, is(bob, 1))
	m.new.request(0x0301, 0x101, text(0, me, 0, 0, 1, []byte("x")))
	m.new.expect(0x2003, 0x101, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, 6))
	m.d.request(0x0301, 0x102, text(0, bob, 0, 0, 1, []byte("x")))
	m.d.expect(0x2003, 0x102, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, 6))
	m.third.befriends(me, blocks, "", 0)
	m.d.befriends(eve, asks, "", 6)
	m.third.befriends(me, asks, "", 6)
	m.own.befriends(bob, unblocks, "", 0)
	m.d.expect(0x2015, 0, told(bob, unblocks, true, ""))
	m.d.sends(m.bob, []byte("again"), m.own, m.new, m.old)
	m.quiet("blocks")

	// The end; and what an operator does.
	m.new.befriends(me, removes, "", 0)
	for _, x := range []*device{m.d, m.own} {
		x.expect(0x2015, 0, told(bob, removes, false, ""))
	}
	m.d.befriends(bob, removes, "", 7)
	for action, friends := range map[uint32]bool{accepts: true} {
		if err := main.people.SetFriends(t.Context(), m.me.name, m.bob.name, friends); err != nil {
			t.Fatal(err)
		}
		m.d.expect(0x2015, 0, told(bob, action, false, ""))
		m.own.expect(0x2015, 0, told(bob, action, false, ""))
		m.new.expect(0x2015, 0, told(me, action, false, ""))
	}
	if err := main.people.SetFriends(t.Context(), m.me.name, m.bob.name, false); err != nil {
		t.Fatal(err)
	}
	m.d.expect(0x2015, 0, told(bob, removes, false, ""))
	m.own.expect(0x2015, 0, told(bob, removes, false, ""))
	m.new.expect(0x2015, 0, told(me, removes, false, ""))
	m.quiet("friends")
}

// groupUpdateDetail: name, avatar, administrator and end of a group; refusals, and who is told.
func groupUpdateDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	me, bob := m.me.id, m.bob.id
	others := []*device{m.own, m.new, m.old}
	group := m.d.creates("lunch", others, bob)
	update := func(d *device, group uint32, what ct.Body, refusal uint32) {
		t.Helper()
		d.request(0x2017, 0xff03, append(ct.Body(nil).Num(1, group), what...))
		d.expect(0x2018, 0xff03, ct.Body(nil).Num(1, refusal).Num(2, group))
	}
	is := func(version, by uint32, name, avatar string, administrator uint32) ct.Body {
		return ct.Body(nil).Num(1, group).Num(2, version).Num(3, by).Text(4, name).Text(5, avatar).Num(6, administrator)
	}
	name := func(v string) ct.Body { return ct.Body(nil).Text(2, v) }
	const avatar = "http://x/g.png"
	update(m.new, group, name("mine"), 5)
	update(m.third, group, name("mine"), 3)
	update(m.d, 4_000_000_000, name("none"), 3)
	update(m.d, 0, name("none"), 3)
	update(m.d, group, nil, 10)
	update(m.d, group, name("lunch"), 10)
	update(m.d, group, name(""), 1)
	update(m.d, group, name(strings.Repeat("x", 65)), 1)
	update(m.d, group, name("two\nlines"), 1)
	update(m.d, group, ct.Body(nil).Text(3, strings.Repeat("x", 256)), 1)
	update(m.d, group, ct.Body(nil).Num(4, m.eve.id), 3)
	m.quiet("what was refused")

	update(m.d, group, name("dinner"), 0)
	all([]*device{m.own, m.new}, 0x2019, is(2, me, "dinner", avatar, me))
	update(m.own, group, append(name("breakfast"), ct.Body(nil).Text(3, "http://x/b.png").Num(4, bob)...), 0)
	all([]*device{m.d, m.new}, 0x2019, is(3, me, "breakfast", "http://x/b.png", bob))
	update(m.d, group, name("again"), 5) // no administrator any more
	// An old client finds it by its version.
	m.old.request(0x0403, 7, ct.Body(nil).Num(1, 0).Bytes(2, ct.Body(nil).Num(1, group).Num(2, 1)))
	if g := m.old.message(0x0404, 7).Sub(2); g.Num(2) != 3 || g.Text(3) != "breakfast" || g.Text(4) != "http://x/b.png" {
		t.Errorf("an old client sees %v", g)
	}
	// The API may do it, too.
	main.api(t, http.MethodPatch, fmt.Sprintf("/groups/%d", group), map[string]any{"name": "brunch"}, nil)
	all([]*device{m.d, m.own, m.new}, 0x2019, is(4, 0, "brunch", "http://x/b.png", bob))
	// The end: of all members, by 0x040b for everybody.
	update(m.old, group, ct.Body(nil).Num(5, 1), 0)
	gone := membersChanged(bob, 2, group, nil, []uint32{me, bob})
	all([]*device{m.d, m.own, m.new}, 0x040b, gone)
	update(m.d, group, name("over"), 3)
	fixed := main.fixed(t, "fixed", me, me, bob).Number
	two := []uint32{me, bob}
	all(append([]*device{m.d}, others...), 0x040b, membersChanged(me, 1, fixed, two, two))
	update(m.d, fixed, ct.Body(nil).Num(5, 1), 5)
	for _, x := range []*device{m.d, m.own, m.new} {
		for _, p := range x.rest() {
			if p.Command != 0x2019 { // that the group ended may be told so as well
				t.Errorf("unexpected %s", show(p))
			}
		}
	}
	m.quiet("a group's end")
}

// syncDetail: what has changed since a token, asked for and with a login.
func syncDetail(t *testing.T, kind uint32) {
	m := newMixed(t, main, kind)
	me, bob := m.me.id, m.bob.id
	entries := func(p ct.PDU) (all []string, token []byte, message ct.Message) {
		t.Helper()
		message, err := ct.ParseMessage(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range message {
			if f.Number == 4 {
				all = append(all, fmt.Sprintf("%x", f.Bytes))
			}
		}
		return all, message.Bytes(1), message
	}
	ask := func(d *device, token []byte) (all []string, next []byte, message ct.Message) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x2001, seq, ct.Body(nil).Bytes(1, token))
		p := d.await(0x2002, seq)
		d.compared(0x2002) // its form by the client, its entries below
		return entries(p)
	}
	is := func(what string, got []string, want ...ct.Body) {
		t.Helper()
		var w []string
		for _, b := range want {
			w = append(w, fmt.Sprintf("%x", []byte(b)))
		}
		if fmt.Sprint(got) != fmt.Sprint(w) {
			t.Errorf("%s:\n got %v\nwant %v", what, got, w)
		}
	}
	got, token, answer := ask(m.d, nil)
	is("nothing there is", got)
	if answer.Num(2) != 1 || answer.Num(5) != 1 || len(token) > 150 {
		t.Errorf("the first answer is %v", answer)
	}
	hello := ct.EncryptText("hello")
	_, created := m.new.sends(m.me, hello, m.d, m.own, m.old)
	entry := func(read uint32, more ct.Body) ct.Body {
		return append(ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, 1).Num(4, read).Num(5, created), more...)
	}
	newest := ct.Body(nil).Num(11, 1).Num(12, 1).Bytes(13, msgInfo(1, bob, created, 1, hello))
	for _, d := range []*device{m.d, m.own} {
		got, _, _ = ask(d, token)
		is("a message came", got, entry(0, newest))
	}
	_, token, _ = ask(m.d, token)
	got, same, answer := ask(m.d, token)
	is("nothing new", got)
	if answer.Num(2) != 0 || len(same) == 0 {
		t.Errorf("nothing new: %v", answer)
	}
	m.own.request(0x0303, 5, ack(me, bob, 1))
	m.d.expect(0x0304, 0, ack(me, bob, 1))
	m.new.expect(0x200b, 0, hasRead(me, me, 1, 1))
	got, token, _ = ask(m.d, token)
	is("it was read", got, entry(1, newest))
	m.d.befriends(bob, blocks, "", 0)
	m.own.expect(0x2015, 0, told(bob, blocks, true, ""))
	got, token, _ = ask(m.d, token)
	is("blocked", got, entry(1, append(ct.Body(nil).Num(9, 1), newest...)))
	m.d.request(0x0206, 6, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, bob))
	m.d.await(0x0207, 6)
	m.own.expect(0x020f, 0, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, bob))
	if got, token, _ = ask(m.d, token); len(got) != 1 || !strings.Contains(got[0], "3001") {
		t.Errorf("removed: %v", got)
	}
	group := m.d.creates("synced", []*device{m.own, m.new, m.old}, bob)
	got, token, _ = ask(m.own, token)
	if len(got) != 1 {
		t.Errorf("a group was made: %v", got)
	}
	m.d.changed(m.d.changes(2, group, me), 2, group, 0, []uint32{bob}, []uint32{me})
	all([]*device{m.own, m.new, m.old}, 0x040b, membersChanged(me, 2, group, []uint32{bob}, []uint32{me}))

	// With a login the same comes by itself, behind its answer and with its number; a token of
	// another user, or of no making of ours, brings everything.
	left := ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 0).Num(4, 0).Num(7, 1)
	for _, c := range []struct {
		who   person
		token []byte
		whole uint32
	}{{m.me, token, 0}, {m.bob, token, 1}, {m.me, []byte("no token"), 1}} {
		d := main.dial(t, kind)
		d.Newer = true
		d.request(0x0103, 0xff02, loginBody(c.who.name, password1, 1, kind).Bytes(102, c.token))
		d.signedIn(c.who, 0xff02, 1)
		got, next, answer := entries(d.await(0x2002, 0xff02))
		if answer.Num(2) != c.whole || len(next) == 0 {
			t.Errorf("with a login: %v", answer)
		}
		if c.whole == 0 {
			is("with a login", got, left)
		}
		d.Logout()
	}
}

// newLoginDetail: a resume token lets in without the password; features that are not known are
// passed over, and who asks for none is answered as ever.
func newLoginDetail(t *testing.T, kind uint32) {
	p := main.person(t)
	enter := func(name string, more ct.Body) (d *device, token []byte, features uint32) {
		t.Helper()
		d = main.dial(t, kind)
		d.Newer, d.who, d.ID = true, p, p.id
		body := ct.Body(nil).Text(1, name).Text(2, ct.MD5(password1)).Num(3, 1).Num(4, kind)
		if name == "" {
			body = ct.Body(nil).Text(1, "").Text(2, "").Num(3, 1).Num(4, kind)
		}
		d.request(0x0103, 0xff01, append(body, more...))
		got := d.Next()
		m, err := ct.ParseMessage(got.Body)
		if err != nil {
			t.Fatal(err)
		}
		want := ct.Body(nil).Num(1, d.clock(m.Num(1))).Num(2, 0).Text(3, "成功").Num(4, 1).Bytes(5, userInfo(p))
		if m.Num(100) != 0 {
			want = want.Num(100, m.Num(100))
		}
		if token = m.Bytes(101); token != nil {
			want = want.Bytes(101, token).Num(102, m.Num(102))
			if len(token) != 57 || m.Num(102) < m.Num(1)+3500 {
				t.Errorf("a token of %d bytes until %d", len(token), m.Num(102))
			}
		}
		d.compare(got, 0x0104, 0xff01, want)
		return d, token, m.Num(100)
	}
	old, token, features := enter(p.name, nil)
	if features != 0 || token != nil {
		t.Errorf("an old client got features %d and a token of %d bytes", features, len(token))
	}
	d, token, features := enter(p.name, ct.Body(nil).Num(100, 8|1<<31))
	if features != 8 || token == nil {
		t.Errorf("features %d, a token of %d bytes", features, len(token))
	}
	old.sentAway(1)
	resumed, next, _ := enter("", ct.Body(nil).Num(100, 8).Bytes(101, token))
	d.sentAway(1)
	if bytes.Equal(next, token) {
		t.Error("the token is the same again")
	}
	forged := bytes.Clone(token)
	forged[len(forged)-1] ^= 1
	d = main.dialFrom(t, fmt.Sprintf("127.0.4.%d", kind), kind)
	d.request(0x0103, 0xff02, ct.Body(nil).Text(1, "").Text(2, "").Num(3, 1).Num(4, kind).Bytes(101, forged))
	d.refused(0xff02, 6, wrongText)
	resumed.settle()
}

package conformance

import (
	"slices"
	"testing"

	ct "godwit/connector/connectortest"
)

// The other configuration: contacts are friends, groups are small, and recalls, edits and
// logins without a password are switched off.

// friends makes two people friends, as an operator does.
func (s *server) friends(t testing.TB, a, b person, yes bool) {
	t.Helper()
	if err := s.people.SetFriends(t.Context(), a.name, b.name, yes); err != nil {
		t.Fatal(err)
	}
}

// TestContactsAreFriends: friends see each other and write to each other, strangers do neither.
func TestContactsAreFriends(t *testing.T) {
	t.Parallel()
	s := reservedServer(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			contactsAreFriends(t, s, k.kind)
		})
	}
}

func contactsAreFriends(t *testing.T, s *server, kind uint32) {
	m := newMixed(t, s, kind) // eve is nobody's friend
	me, bob, eve := m.me.id, m.bob.id, m.eve.id
	bobsPC := m.old
	if mobile(kind) {
		bobsPC = m.new
	}
	// Strangers at first, all three: nothing is written, shown, or passed on.
	refusedAt := func(d *device, to, why uint32) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x0301, seq, text(0, to, 0, 0, 1, []byte("x")))
		d.expect(0x2003, seq, ct.Body(nil).Num(1, to).Num(2, 1).Num(3, why))
	}
	seen := func(d *device, want ...person) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x0204, seq, ct.Body(nil).Num(1, 0).Nums(2, me, bob, eve))
		rsp := ct.Body(nil).Num(1, d.who.id)
		for _, p := range want {
			rsp = rsp.Bytes(2, userInfo(p))
		}
		d.expect(0x0205, seq, rsp)
	}
	online := func(d *device, user, status uint32) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x020a, seq, ct.Body(nil).Num(1, 0).Num(2, user))
		d.expect(0x020b, seq, ct.Body(nil).Num(1, d.who.id).Bytes(2, ct.Body(nil).Num(1, user).Num(2, status)))
	}
	listed := func(d *device, since uint32) (users []uint32, latest uint32) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x0208, seq, ct.Body(nil).Num(1, 0).Num(2, since))
		a := d.message(0x0209, seq)
		for _, u := range a.Subs(3) {
			if u.Num(10) == 3 {
				continue
			}
			users = append(users, u.Num(1))
		}
		slices.Sort(users)
		return users, a.Num(2)
	}
	refusedAt(m.d, bob, 7)
	refusedAt(m.new, me, 7)
	m.old.request(0x0301, 0x99, text(0, me, 0, 0, 1, []byte("an old client hears nothing")))
	m.d.request(0x0601, 1, ct.Body(nil).Num(1, 0).Num(2, bob).Text(3, "shake"))
	m.d.request(0x200e, 1, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, 1))
	seen(m.d, m.me)
	online(m.d, bob, 2)
	if got, _ := listed(m.d, 0); !slices.Equal(got, []uint32{me}) {
		t.Errorf("a stranger lists %v", got)
	}
	m.quiet("strangers")

	// Who has asked is shown, but not where and whether he is there.
	m.d.befriends(bob, asks, "it's me", 0)
	m.own.expect(0x2015, 0, told(bob, asks, true, "it's me"))
	m.new.expect(0x2015, 0, told(me, asks, false, "it's me"))
	seen(m.new, m.me, m.bob)
	seen(m.d, m.me)
	online(m.new, me, 2)
	refusedAt(m.d, bob, 7)
	_, before := listed(m.d, 0)
	m.new.befriends(me, accepts, "", 0)
	for _, d := range []*device{m.d, m.own} {
		d.expect(0x2015, 0, told(bob, accepts, false, ""))
	}
	// Friends: listed, shown, online, written to, and told of each other.
	m.d.sends(m.bob, []byte("hello"), m.own, m.new, m.old)
	if got, after := listed(m.d, before); !slices.Contains(got, bob) || after <= before {
		t.Errorf("with a friend listed since %d: %v, at %d", before, got, after)
	}
	if got, _ := listed(m.old, 0); !slices.Equal(got, []uint32{me, bob}) {
		t.Errorf("a friend lists %v", got)
	}
	seen(m.d, m.me, m.bob)
	online(m.d, bob, 1)
	m.d.request(0x0213, 3, ct.Body(nil).Num(1, 0).Text(2, "busy"))
	m.d.expect(0x0214, 3, ct.Body(nil).Num(1, me).Num(2, 0).Text(3, "busy"))
	for _, d := range []*device{m.d, m.own, m.new, m.old} {
		d.awaitNotice(0x0215, me, "busy")
	}
	m.new.request(0x020c, 4, ct.Body(nil).Num(1, 0).Text(2, "http://x/b.png"))
	m.new.expect(0x020d, 4, ct.Body(nil).Num(1, bob).Num(2, 0))
	for _, d := range []*device{m.d, m.own, m.new, m.old} {
		if !mobile(d.kind) {
			d.awaitNotice(0x0212, bob, "http://x/b.png")
		}
	}
	m.third.settle()
	for _, p := range m.third.Late() {
		if p.Command == 0x0215 || p.Command == 0x0212 || p.Command == 0x0203 && !slices.Equal(p.Body, status(eve, 1)) {
			t.Errorf("a stranger was told %s", show(p))
		}
	}

	// Into a group one brings friends only, and no more than fit.
	others := []*device{m.own, m.new, m.old}
	group := m.d.creates("friends", others, bob)
	m.d.changed(m.d.changes(1, group, eve), 1, group, 1, nil, nil)
	m.d.request(0x0405, 5, ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "no friends").Text(4, "").Num(5, eve))
	alone := field(t, m.d.await(0x0406, 5), 3)
	m.own.expect(0x040b, 0, membersChanged(me, 1, alone, []uint32{me}, []uint32{me}))
	var many []uint32
	for range reservedGroups {
		p := s.person(t)
		s.friends(t, m.me, p, true)
		for _, d := range []*device{m.d, m.own} {
			d.expect(0x2015, 0, told(p.id, accepts, false, ""))
		}
		many = append(many, p.id)
	}
	m.d.request(0x0405, 6, ids(ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "too many").Text(4, ""), 5, many...))
	m.d.expect(0x0406, 6, ct.Body(nil).Num(1, me).Num(2, 1).Text(4, "too many"))
	m.d.changed(m.d.changes(1, group, many[:reservedGroups-1]...), 1, group, 1, nil, nil)
	full := append([]uint32{me, bob}, many[:reservedGroups-2]...)
	m.d.changed(m.d.changes(1, group, many[:reservedGroups-2]...), 1, group, 0, full, many[:reservedGroups-2])
	all(others, 0x040b, membersChanged(me, 1, group, full, many[:reservedGroups-2]))
	m.quiet("groups of friends")

	// A block holds at once, for both.
	m.d.befriends(bob, blocks, "", 0)
	m.own.expect(0x2015, 0, told(bob, blocks, true, ""))
	refusedAt(m.new, me, 6)
	refusedAt(m.own, bob, 6)
	m.d.befriends(bob, unblocks, "", 0)
	m.own.expect(0x2015, 0, told(bob, unblocks, true, ""))

	// What is switched off is refused.
	m.d.request(0x2005, 7, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, 1))
	m.d.expect(0x2006, 7, done4(5, bob, 1, 1))
	m.d.request(0x2007, 8, ct.Body(nil).Num(1, bob).Num(2, 1).Num(3, 1).Text(4, "x"))
	m.d.expect(0x2008, 8, done4(5, bob, 1, 1))

	// Friends no more: told, not to be written to, gone from the lists of people and sessions;
	// what was said is still there.
	_, before = listed(m.d, 0)
	m.new.befriends(me, removes, "", 0)
	for _, d := range []*device{m.d, m.own} {
		d.expect(0x2015, 0, told(bob, removes, false, ""))
	}
	refusedAt(m.d, bob, 7)
	refusedAt(m.new, me, 7)
	if got, after := listed(m.d, before); slices.Contains(got, bob) || after <= before {
		t.Errorf("with a friend less listed since %d: %v, at %d", before, got, after)
	}
	seen(m.d, personWith(m.me, "busy"))
	online(m.d, bob, 2)
	for _, d := range []*device{m.d, m.old} {
		for _, l := range d.recent(0) {
			if l.Num(2) == 1 {
				t.Errorf("a stranger is in the list: %v", l)
			}
		}
	}
	if h := m.old.History(me, 0, 9); len(h) != 1 || string(h[0].Content) != "hello" {
		t.Errorf("the history is %v", h)
	}
	if n := bobsPC.Unread()[me]; n != 1 {
		t.Errorf("%d unread of who was a friend", n)
	}
	m.d.writes(group, "in a group strangers read each other", others...)
	m.quiet("friends no more")
}

// personWith is a person who has set a signature.
func personWith(p person, signature string) person {
	p.signature = signature
	return p
}

// TestNoResume: where logins without the password are switched off, no token is given.
func TestNoResume(t *testing.T) {
	t.Parallel()
	s := reservedServer(t)
	p := s.person(t)
	for _, k := range kinds {
		d := s.dial(t, k.kind)
		d.Newer, d.who, d.ID = true, p, p.id
		d.request(0x0103, 1, loginBody(p.name, password1, 1, k.kind).Num(100, 15))
		got := d.Next()
		d.compare(got, 0x0104, 1, ct.Body(nil).Num(1, d.clock(field(t, got, 1))).Num(2, 0).Text(3, "成功").Num(4, 1).Bytes(5, userInfo(p)).Num(100, 7))
		d.Logout()
	}
}

package conformance

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	ct "godwit/connector/connectortest"
	"godwit/internal/admin"
	"godwit/internal/up"
)

// voicePreview is the protocol's own text for a voice message in a list.
const voicePreview = `QhGXlpFjvMFUNrtl1aaPzA==`

// session is ContactSessionInfo of a conversation of two.
func session(peer, updated, latest uint32, data string, kind uint32) ct.Body {
	return ct.Body(nil).Num(1, peer).Num(2, 1).Num(3, 0).Num(4, updated).Num(5, latest).Text(6, data).Num(7, kind).Num(8, peer)
}

// unreadInfo is UnreadInfo of a conversation of two.
func unreadInfo(peer, count, latest uint32, data string, kind uint32) ct.Body {
	return ct.Body(nil).Num(1, peer).Num(2, 1).Num(3, count).Num(4, latest).Text(5, data).Num(6, kind).Num(7, peer)
}

func msgInfo(id, from, created, kind uint32, data []byte) ct.Body {
	return ct.Body(nil).Num(1, id).Num(2, from).Num(3, created).Num(4, kind).Bytes(5, data)
}

// recent asks for the sessions since a time and gives the entries as they came.
func (d *device) recent(since uint32) []ct.Message {
	d.t.Helper()
	seq := d.NextSeq() | 0x2000
	d.request(0x0201, seq, ct.Body(nil).Num(1, d.who.id).Num(2, since))
	return d.message(0x0202, seq).Subs(2)
}

func recentDetail(t *testing.T, kind uint32) {
	me, a, b := main.person(t), main.person(t), main.person(t)
	d, da, db := main.login(t, me, kind), main.login(t, a, ct.Windows), main.login(t, b, ct.Android)
	hello, secret := ct.EncryptText("hello"), ct.EncryptText("hello world!")
	d.sends(a, hello, da)
	_, created := da.sends(me, secret, d) // whoever wrote last: from is the peer

	d.request(0x0201, 0xff01, ct.Body(nil).Num(1, me.id).Num(2, 0))
	d.expect(0x0202, 0xff01, ct.Body(nil).Num(1, me.id).Bytes(2, session(a.id, created, 2, string(secret), 1)))
	da.request(0x0201, 0, ct.Body(nil).Num(1, 7).Num(2, 0))
	da.expect(0x0202, 0, ct.Body(nil).Num(1, a.id).Bytes(2, session(me.id, created, 2, string(secret), 1)))

	// A voice message is shown as its text; newest first.
	waitSecond(t, created)
	voice := append([]byte{0, 0, 0, 9}, "speex"...)
	d.request(0x0301, 0x101, text(me.id, b.id, 0, 0, 2, voice))
	d.expect(0x0302, 0x101, ack(me.id, b.id, 1))
	got := db.await(0x0301, 0)
	later := db.clock(field(t, got, 4))
	db.compare(got, 0x0301, 0, text(me.id, b.id, 1, later, 2, voice))
	d.request(0x0201, 2, ct.Body(nil).Num(1, me.id).Num(2, 0))
	d.expect(0x0202, 2, ct.Body(nil).Num(1, me.id).
		Bytes(2, session(b.id, later, 1, voicePreview, 2)).Bytes(2, session(a.id, created, 2, string(secret), 1)))

	// What changed after the time given is there, whatever else comes again; and what
	// changed long before it is not.
	if list := d.recent(created); len(list) < 1 || list[0].Num(1) != b.id {
		t.Errorf("since %d: %v", created, list)
	}
	if list := d.recent(later + 3600); len(list) != 0 {
		t.Errorf("an hour after the last change came %v", list)
	}
	d.quiet("lists")
}

// waitSecond waits until the clock of seconds is past one.
func waitSecond(t *testing.T, second uint32) {
	t.Helper()
	<-time.After(time.Until(time.Unix(int64(second)+1, 0)))
}

func usersInfoDetail(t *testing.T, kind uint32) {
	me, a, b := main.person(t), main.person(t), main.person(t)
	d := main.login(t, me, kind)
	d.request(0x0204, 0xff01, ct.Body(nil).Num(1, 0).Nums(2, b.id, 0, 1<<32-1, me.id, a.id))
	d.expect(0x0205, 0xff01, ct.Body(nil).Num(1, me.id).Bytes(2, userInfo(b)).Bytes(2, userInfo(me)).Bytes(2, userInfo(a)))
	d.request(0x0204, 0, ct.Body(nil).Num(1, me.id))
	d.expect(0x0205, 0, ct.Body(nil).Num(1, me.id))
}

func removeDetail(t *testing.T, kind uint32) {
	me, peer := main.person(t), main.person(t)
	d, own, dp := main.login(t, me, kind), main.login(t, me, acrossFrom(kind)), main.login(t, peer, ct.IOS)
	forget(d, own)
	remove := func(seq, result uint32) {
		t.Helper()
		d.request(0x0206, uint16(seq), ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id))
		d.expect(0x0207, uint16(seq), ct.Body(nil).Num(1, me.id).Num(2, result).Num(3, 1).Num(4, peer.id))
	}
	remove(1, 1) // there is none yet
	own.quiet("nothing was removed")

	dp.sends(me, []byte("one"), d, own)
	remove(0xff02, 0)
	own.expect(0x020f, 0, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id))
	remove(3, 1)
	for _, dev := range []*device{d, own} {
		if list := dev.recent(0); len(list) != 0 {
			t.Errorf("removed and still listed: %v", list)
		}
		if n := dev.Unread()[peer.id]; n != 0 {
			t.Errorf("removed and %d unread", n)
		}
	}
	if list := dp.recent(0); len(list) != 1 {
		t.Errorf("the peer lists %v", list)
	}
	own.quiet("one notice for one removal")

	// A new message lists it again, for both; what was removed is read.
	_, created := dp.sends(me, []byte("two"), d, own)
	d.request(0x0201, 5, ct.Body(nil).Num(1, me.id).Num(2, 0))
	d.expect(0x0202, 5, ct.Body(nil).Num(1, me.id).Bytes(2, session(peer.id, created, 2, "two", 1)))
	if n := d.Unread()[peer.id]; n != 1 {
		t.Errorf("%d unread, one came since", n)
	}
	remove(6, 0)
	own.expect(0x020f, 0, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id))
	d.sends(peer, []byte("three"), dp, own) // one's own message too
	if list := d.recent(0); len(list) != 1 || list[0].Num(5) != 3 {
		t.Errorf("after a new message listed: %v", list)
	}
	// The history is not touched.
	if h := d.History(peer.id, 0, 10); len(h) != 3 {
		t.Errorf("history of %d", len(h))
	}

	// Of groups and of oneself there is none.
	d.request(0x0206, 7, ct.Body(nil).Num(1, me.id).Num(2, 2).Num(3, peer.id))
	d.expect(0x0207, 7, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, 2).Num(4, peer.id))
	for seq, id := range map[uint16]uint32{8: me.id, 9: 0, 10: 1<<32 - 1} {
		d.request(0x0206, seq, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, id))
		d.expect(0x0207, seq, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, 1).Num(4, id))
	}
	own.quiet("nothing was removed")
	dp.quiet("the peer is not told")
	d.quiet("removals")
}

func allUsersDetail(t *testing.T, kind uint32) {
	me := main.person(t)
	d := main.login(t, me, kind)
	ask := func(since uint32) (list []ct.Message, latest uint32) {
		t.Helper()
		seq := d.NextSeq() | 0x2000
		d.request(0x0208, seq, ct.Body(nil).Num(1, 0).Num(2, since))
		m := d.message(0x0209, seq)
		if m.Num(1) != me.id {
			t.Errorf("answered to user %d", m.Num(1))
		}
		return m.Subs(3), m.Num(2)
	}
	find := func(list []ct.Message, p person) ct.Message {
		for _, u := range list {
			if u.Num(1) == p.id {
				return u
			}
		}
		return nil
	}
	all, at := ask(0)
	if u := find(all, me); u == nil || u.Text(3) != me.nick || u.Text(7) != me.name || u.Num(10) != 0 {
		t.Errorf("of %d users oneself is %v", len(all), u)
	}
	// Everybody who comes is found from the time before, however quickly; and the time
	// of an answer that holds anybody is another than that of its request (rule 10).
	for range 3 {
		added := main.person(t)
		list, next := ask(at)
		if find(list, added) == nil {
			t.Errorf("somebody who came after %d is not in the changes since then: %d users, next %d", at, len(list), next)
		}
		if len(list) > 0 && next == at {
			t.Errorf("%d changed users at the time of the request, %d", len(list), at)
		}
		if next < at {
			t.Errorf("the time ran back from %d to %d", at, next)
		}
		at = next
	}
	d.request(0x0208, 0xff01, ct.Body(nil).Num(1, me.id).Num(2, later))
	d.expect(0x0209, 0xff01, ct.Body(nil).Num(1, me.id).Num(2, later))
	// What an administrator changes shows as well (defect 21).
	changed := main.person(t)
	_, at = ask(0)
	if err := main.people.SetEnabled(t.Context(), changed.name, false); err != nil {
		t.Fatal(err)
	}
	if list, next := ask(at); find(list, changed) == nil || next == at {
		t.Errorf("an account that was disabled is not among %d changes; time %d, then %d", len(list), at, next)
	}
	d.quiet("directories")
}

func unreadDetail(t *testing.T, kind uint32) {
	me, a, b := main.person(t), main.person(t), main.person(t)
	d, da, db := main.login(t, me, kind), main.login(t, a, ct.Windows), main.login(t, b, ct.Mac)
	d.request(0x0307, 0xff03, ct.Body(nil).Num(1, 99))
	d.expect(0x0308, 0xff03, ct.Body(nil).Num(1, me.id).Num(2, 0))

	for i := range 3 {
		da.sends(me, fmt.Append(nil, "a", i), d)
	}
	_, created := da.sends(me, []byte("a3"), d)
	waitSecond(t, created)
	db.request(0x0301, 0x77, text(b.id, me.id, 0, 0, 2, []byte("\x00\x00\x00\x01voice")))
	db.expect(0x0302, 0x77, ack(b.id, me.id, 1))
	d.await(0x0301, 0)
	d.request(0x0307, 4, ct.Body(nil).Num(1, me.id))
	d.expect(0x0308, 4, ct.Body(nil).Num(1, me.id).Num(2, 5).
		Bytes(3, unreadInfo(b.id, 1, 1, voicePreview, 2)).Bytes(3, unreadInfo(a.id, 4, 4, "a3", 1)))
	// Own messages are never unread; who writes has read.
	if n := da.Unread(); len(n) != 0 {
		t.Errorf("own messages are unread: %v", n)
	}
	d.sends(a, []byte("answer"), da)
	d.request(0x0307, 5, ct.Body(nil).Num(1, me.id))
	d.expect(0x0308, 5, ct.Body(nil).Num(1, me.id).Num(2, 1).Bytes(3, unreadInfo(b.id, 1, 1, voicePreview, 2)))
	da.request(0x0307, 6, ct.Body(nil).Num(1, a.id))
	da.expect(0x0308, 6, ct.Body(nil).Num(1, a.id).Num(2, 1).Bytes(3, unreadInfo(me.id, 1, 5, "answer", 1)))
	d.quiet("counts")
}

func historyDetail(t *testing.T, kind uint32) {
	me, peer, stranger := main.person(t), main.person(t), main.person(t)
	d, dp, ds := main.login(t, me, kind), main.login(t, peer, ct.Mac), main.login(t, stranger, ct.Windows)
	var infos []ct.Body // by id
	add := func(from, to *device, kind uint32, data []byte) {
		t.Helper()
		from.request(0x0301, 0x600+uint16(len(infos)), text(from.who.id, to.who.id, 0, 0, kind, data))
		id := uint32(len(infos) + 1)
		from.expect(0x0302, 0x600+uint16(len(infos)), ack(from.who.id, to.who.id, id))
		got := to.await(0x0301, 0)
		created := field(t, got, 4)
		to.compare(got, 0x0301, 0, text(from.who.id, to.who.id, id, created, kind, data))
		infos = append(infos, msgInfo(id, from.who.id, created, kind, data))
	}
	for i := range 4 {
		add(d, dp, 1, fmt.Append(nil, "mine ", i))
		add(dp, d, 1, fmt.Append(nil, "yours ", i))
	}
	add(d, dp, 2, []byte("\x00\x00\x00\x05\x00\xff\x80 voice")) // voice comes as it was sent
	add(dp, d, 1, []byte{0, 1, 2, 0xff})                        // and so does what is no text

	ask := func(d *device, peer person, seq uint16, begin, count uint32, ids ...int) {
		t.Helper()
		d.request(0x0309, seq, ct.Body(nil).Num(1, 1).Num(2, 1).Num(3, peer.id).Num(4, begin).Num(5, count))
		want := ct.Body(nil).Num(1, d.who.id).Num(2, 1).Num(3, peer.id).Num(4, begin)
		for _, id := range ids {
			want = want.Bytes(5, infos[id-1])
		}
		d.expect(0x030a, seq, want)
	}
	for _, v := range []struct {
		d    *device
		peer person
	}{{d, peer}, {dp, me}} { // both see the same
		ask(v.d, v.peer, 0xff01, 0, 3, 10, 9, 8)                       // 0: the newest
		ask(v.d, v.peer, 0xff02, 7, 3, 7, 6, 5)                        // the beginning is one of them
		ask(v.d, v.peer, 0xff03, 4, 100, 4, 3, 2, 1)                   // fewer than asked: that is all
		ask(v.d, v.peer, 0, 1, 1, 1)                                   //
		ask(v.d, v.peer, 5, 99, 2, 10, 9)                              // beyond the newest
		ask(v.d, v.peer, 6, 0, 1<<32-1, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1) //
		ask(v.d, v.peer, 7, 1<<32-1, 1, 10)                            //
		ask(v.d, v.peer, 8, 0, 0)                                      //
	}
	// Nobody else's: not a stranger's, not one's own, no group's.
	ask(ds, me, 9, 0, 10)
	ask(ds, peer, 10, 0, 10)
	ask(d, me, 11, 0, 10)
	for _, typ := range []uint32{2} {
		d.request(0x0309, 12, ct.Body(nil).Num(1, me.id).Num(2, typ).Num(3, peer.id).Num(4, 0).Num(5, 10))
		d.expect(0x030a, 12, ct.Body(nil).Num(1, me.id).Num(2, typ).Num(3, peer.id).Num(4, 0))
	}
	d.quiet("history")
}

func latestDetail(t *testing.T, kind uint32) {
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, kind), main.login(t, peer, ct.Mac)
	for i := range uint32(3) {
		d.sends(peer, []byte{byte(i)}, dp)
		for _, v := range []struct {
			d    *device
			peer person
		}{{d, peer}, {dp, me}} {
			v.d.request(0x030b, 0xff02, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, v.peer.id))
			v.d.expect(0x030c, 0xff02, ct.Body(nil).Num(1, v.d.who.id).Num(2, 1).Num(3, v.peer.id).Num(4, i+1))
		}
	}
	for _, c := range []struct{ typ, id uint32 }{{2, peer.id}, {1, me.id}, {1, 0}, {1, 1<<32 - 1}} {
		d.request(0x030b, 3, ct.Body(nil).Num(1, me.id).Num(2, c.typ).Num(3, c.id))
		d.expect(0x030c, 3, ct.Body(nil).Num(1, me.id).Num(2, c.typ).Num(3, c.id).Num(4, 0))
	}
}

func byIDsDetail(t *testing.T, kind uint32) {
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, kind), main.login(t, peer, ct.Mac)
	var in bytes.Buffer
	const n = 130
	for i := range n {
		in.Write(dp.pdu(0x0301, uint16(i+1), text(0, me.id, 0, 0, 1, fmt.Append(nil, "m", i+1))).Bytes())
	}
	dp.Write(in.Bytes())
	created := make([]uint32, n+1)
	for i := range uint32(n) {
		created[i+1] = field(t, d.await(0x0301, 0), 4)
	}
	info := func(id uint32) ct.Body { return msgInfo(id, peer.id, created[id], 1, fmt.Append(nil, "m", id)) }
	ask := func(seq uint16, ids []uint32, want ...uint32) {
		t.Helper()
		d.request(0x030d, seq, ct.Body(nil).Num(1, 9).Num(2, 1).Num(3, peer.id).Nums(4, ids...))
		body := ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id)
		for _, id := range want {
			body = body.Bytes(4, info(id))
		}
		d.expect(0x030e, seq, body)
	}
	ask(0xff01, []uint32{3, 100, 7}, 100, 7, 3)                       // newest first
	ask(0xff02, []uint32{0, 130, 131, 5, 5, 1<<32 - 1, 1}, 130, 5, 1) // unknown ones are missing
	ask(0, nil)                                                       //
	ids, back := make([]uint32, n), make([]uint32, 0, 100)            // at most 100
	for i := range ids {
		ids[i] = uint32(i + 1)
	}
	for id := uint32(n); len(back) < 100; id-- {
		back = append(back, id)
	}
	ask(4, ids, back...)
	d.request(0x030d, 5, ct.Body(nil).Num(1, me.id).Num(2, 2).Num(3, peer.id).Num(4, 1))
	d.expect(0x030e, 5, ct.Body(nil).Num(1, me.id).Num(2, 2).Num(3, peer.id))
	d.quiet("by ids")
}

// TestAtMostAHundredSessions: of more conversations the newest are listed.
func TestAtMostAHundredSessions(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	d := main.login(t, me, ct.Windows)
	crowd := main.crowd(t, 103)
	for i, p := range crowd {
		d.request(0x0301, uint16(i+1), text(me.id, p.id, 0, 0, 1, []byte("hello")))
	}
	for i, p := range crowd {
		d.expect(0x0302, uint16(i+1), ack(me.id, p.id, 1))
	}
	list := d.recent(0)
	if len(list) != 100 {
		t.Fatalf("%d sessions", len(list))
	}
	seen := map[uint32]bool{}
	for i, s := range list {
		if seen[s.Num(1)] {
			t.Errorf("%d twice", s.Num(1))
		}
		seen[s.Num(1)] = true
		if i > 0 && s.Num(4) > list[i-1].Num(4) {
			t.Errorf("entry %d is newer than the one before", i)
		}
	}
}

// TestLargeDirectories: one that fits in a PDU comes in one, for clients may take the first
// for the whole answer. Of a larger one every part is an answer to the request and carries
// a time other than the one asked with; together they are everybody.
func TestLargeDirectories(t *testing.T) {
	t.Parallel()
	s := other(t, func(*up.Config) {})
	add := func(n int, name, nick string) {
		t.Helper()
		list := make([]admin.NewPerson, n)
		for i := range list {
			list[i] = admin.NewPerson{Name: fmt.Sprintf("%s%04d", name, i), Nick: nick, Password: password1}
		}
		err := s.people.Import(t.Context(), list, func(p admin.ImportProgress) {
			if len(p.Refused) > 0 {
				t.Errorf("refused: %+v", p.Refused[0])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	me := s.person(t)
	d := s.login(t, me, ct.Windows)
	read := func(since uint32, n int) (parts int) {
		t.Helper()
		seen, latest := map[uint32]bool{}, since
		d.request(0x0208, 0xff01, ct.Body(nil).Num(1, me.id).Num(2, since))
		for len(seen) < n {
			p := d.await(0x0209, 0xff01)
			if p.Length > 400<<10 {
				t.Errorf("a part of %d bytes", p.Length)
			}
			m, err := ct.ParseMessage(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			users := m.Subs(3)
			if len(users) == 0 || m.Num(2) == since || m.Num(2) < latest {
				t.Fatalf("part %d has %d users and the time %d after %d", parts, len(users), m.Num(2), latest)
			}
			latest = m.Num(2)
			for _, u := range users {
				seen[u.Num(1)] = true
			}
			parts++
		}
		d.quiet("the directory")
		d.request(0x0208, 3, ct.Body(nil).Num(1, me.id).Num(2, latest))
		d.expect(0x0209, 3, ct.Body(nil).Num(1, me.id).Num(2, latest))
		return parts
	}
	const few, many = 600, 1600
	add(few, "clerk-", "")
	for _, since := range []uint32{0, 1} {
		if parts := read(since, 1+few); parts != 1 {
			t.Errorf("%d people come in %d parts", few, parts)
		}
	}
	add(many, strings.Repeat("员", 28), strings.Repeat("😀", 32))
	for _, since := range []uint32{0, 1} {
		if parts := read(since, 1+few+many); parts != 2 {
			t.Errorf("%d people come in %d parts", few+many, parts)
		}
	}
}

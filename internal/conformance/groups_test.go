package conformance

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	ct "godwit/connector/connectortest"
)

// The commands of groups one by one, from each kind of client. TestGroups tells a story of
// them together.

// cast is who is around when one asks: the asker's other device, somebody with a PC and a phone
// who is concerned as well, and somebody with both who is not.
type cast struct {
	me, bob, eve      person
	d, own            *device
	pc, phone         *device
	evePC, evePhone   *device
	everybody, others []*device // others: of me and bob, without the asking one
}

func newCast(t *testing.T, kind uint32) *cast {
	t.Helper()
	c := &cast{me: main.person(t), bob: main.person(t), eve: main.person(t)}
	c.d, c.own = main.login(t, c.me, kind), main.login(t, c.me, acrossFrom(kind))
	c.pc, c.phone = main.login(t, c.bob, ct.Mac), main.login(t, c.bob, ct.Android)
	c.evePC, c.evePhone = main.login(t, c.eve, ct.Windows), main.login(t, c.eve, ct.IOS)
	c.others = []*device{c.own, c.pc, c.phone}
	c.everybody = append([]*device{c.d, c.evePC, c.evePhone}, c.others...)
	forget(c.everybody...)
	return c
}

// quiet checks that nobody got more than was awaited.
func (c *cast) quiet(why string) {
	c.d.t.Helper()
	for _, d := range c.everybody {
		d.quiet(why)
	}
}

// all awaits the same push on devices.
func all(devices []*device, command uint16, body ct.Body) {
	for _, d := range devices {
		d.t.Helper()
		d.expect(command, 0, body)
	}
}

// groupMade is what the API says of a group that it has made or changed.
type groupMade struct {
	Number  uint32 `json:"number"`
	Updated uint32 `json:"updated"`
}

// api does a request of the server API.
func (s *server) api(t testing.TB, method, path string, body, to any) {
	t.Helper()
	if err := s.people.Call(t.Context(), method, path, body, to); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// fixed makes a normal group, which only the API can.
func (s *server) fixed(t testing.TB, name string, creator uint32, members ...uint32) groupMade {
	t.Helper()
	var g groupMade
	s.api(t, http.MethodPost, "/groups", map[string]any{"name": name, "type": "normal", "creator": creator, "members": members}, &g)
	return g
}

// infoOf asks for groups (0x0403), each from version 0 on, and compares: each is GroupInfo.
func (d *device) infoOf(groups []uint32, want ...ct.Body) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	req, rsp := ct.Body(nil).Num(1, 0), ct.Body(nil).Num(1, d.who.id)
	for _, g := range groups {
		req = req.Bytes(2, ct.Body(nil).Num(1, g).Num(2, 0))
	}
	for _, g := range want {
		rsp = rsp.Bytes(2, g)
	}
	d.request(0x0403, seq, req)
	d.expect(0x0404, seq, rsp)
}

// tempInfo is GroupInfo of a group that creates has made.
func tempInfo(group, version uint32, name string, creator, shield uint32, members ...uint32) ct.Body {
	return ids(ct.Body(nil).Num(1, group).Num(2, version).Text(3, name).Text(4, "http://x/g.png").Num(5, creator).Num(6, 2).Num(7, shield), 8, members...)
}

// groupListDetail: fixed groups only, latest change first, to members only.
func groupListDetail(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	list := func(d *device, want ...[2]uint32) {
		t.Helper()
		d.request(0x0401, 0xff01, ct.Body(nil).Num(1, c.bob.id))
		rsp := ct.Body(nil).Num(1, d.who.id)
		for _, g := range want {
			rsp = rsp.Bytes(2, ct.Body(nil).Num(1, g[0]).Num(2, g[1]))
		}
		d.expect(0x0402, 0xff01, rsp)
	}
	two := []uint32{c.me.id, c.bob.id}
	first := main.fixed(t, "first", 0, two...)
	all(append([]*device{c.d}, c.others...), 0x040b, membersChanged(0, 1, first.Number, two, two)) // nobody has asked
	waitSecond(t, first.Updated)
	second := main.fixed(t, "second", 0, two...)
	all(append([]*device{c.d}, c.others...), 0x040b, membersChanged(0, 1, second.Number, two, two))
	c.d.creates("temporary", c.others, c.bob.id) // is in no list
	list(c.d, [2]uint32{second.Number, 1}, [2]uint32{first.Number, 1})
	list(c.evePC)

	waitSecond(t, second.Updated)
	main.api(t, http.MethodPost, fmt.Sprintf("/groups/%d/members", first.Number), map[string]any{"remove": []uint32{c.bob.id}}, nil)
	all(append([]*device{c.d}, c.others...), 0x040b, membersChanged(0, 2, first.Number, []uint32{c.me.id}, []uint32{c.bob.id}))
	list(c.d, [2]uint32{first.Number, 2}, [2]uint32{second.Number, 1})
	list(c.phone, [2]uint32{second.Number, 1})
	c.quiet("lists of groups")
}

// groupInfoDetail: members only, newer ones only, with the shield of who asks (defects 16, 17).
func groupInfoDetail(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	two := []uint32{c.me.id, c.bob.id}
	group := c.d.creates("one", c.others, c.bob.id)
	seen := tempInfo(group, 1, "one", c.me.id, 0, two...)
	for _, d := range append([]*device{c.d}, c.others...) {
		d.infoOf([]uint32{group}, seen)
		d.infoOf([]uint32{0, 4_000_000_000, group, group}, seen) // unknown ones are missing
		d.infoOf(nil)
	}
	c.evePC.infoOf([]uint32{group})
	c.evePhone.infoOf([]uint32{group})
	for version, want := range map[uint32]bool{0: true, 1: false, 2: false, 1<<32 - 1: false} {
		c.d.request(0x0403, 7, ct.Body(nil).Num(1, 0).Bytes(2, ct.Body(nil).Num(1, group).Num(2, version)))
		rsp := ct.Body(nil).Num(1, c.me.id)
		if want {
			rsp = rsp.Bytes(2, seen)
		}
		c.d.expect(0x0404, 7, rsp)
	}
	// Latest change first, of however many.
	var groups []uint32
	var infos []ct.Body
	for i := range 6 {
		name := fmt.Sprint("group ", i)
		g := c.pc.creates(name, []*device{c.phone, c.d, c.own}, c.me.id)
		groups, infos = append(groups, g), append(infos, tempInfo(g, 1, name, c.bob.id, 0, two...))
	}
	seq := c.d.NextSeq() | 0x4000
	req := ct.Body(nil).Num(1, 0)
	for _, g := range groups {
		req = req.Bytes(2, ct.Body(nil).Num(1, g).Num(2, 0))
	}
	c.d.request(0x0403, seq, req)
	m := c.d.message(0x0404, seq)
	got := map[uint32]bool{}
	for _, g := range m.Subs(2) {
		got[g.Num(1)] = true
	}
	if len(m.Subs(2)) != len(groups) || len(got) != len(groups) {
		t.Errorf("asked for %v, got %v", groups, got)
	}
	c.d.infoOf(groups[5:], infos[5])
	c.quiet("infos of groups")
}

// groupCreateDetail: a fixed group is not for clients to make; asked for one, the original is
// silent. The creator is a member, and all are told (defect 18).
func groupCreateDetail(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	d := c.d
	d.request(0x0405, 3, ct.Body(nil).Num(1, c.me.id).Num(2, 1).Text(3, "fixed").Text(4, "").Num(5, c.me.id))
	c.quiet("a fixed group")

	disabled := main.person(t)
	if err := main.people.SetEnabled(t.Context(), disabled.name, false); err != nil {
		t.Fatal(err)
	}
	two := []uint32{c.me.id, c.bob.id}
	// Whether listed or not, each once, and whom there is; user_id is the session's.
	for i, members := range [][]uint32{{c.bob.id}, {c.bob.id, c.me.id}, {c.bob.id, c.bob.id, c.me.id, c.me.id}, {4_000_000_000, disabled.id, 0, c.bob.id}} {
		name := fmt.Sprint("Gruppe №", i)
		d.request(0x0405, 0xff01, ids(ct.Body(nil).Num(1, c.eve.id).Num(2, 2).Text(3, name).Text(4, ""), 5, members...))
		got := d.await(0x0406, 0xff01)
		group := field(t, got, 3)
		d.compare(got, 0x0406, 0xff01, ids(ct.Body(nil).Num(1, c.me.id).Num(2, 0).Num(3, group).Text(4, name), 5, two...))
		all(c.others, 0x040b, membersChanged(c.me.id, 1, group, two, two))
	}
	// As long as they may be.
	longest := strings.Repeat("组", 64)
	d.creates(longest, c.others, c.bob.id)
	for what, req := range map[string]ct.Body{
		"no name":         ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "").Text(4, "").Num(5, c.bob.id),
		"nobody":          ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "x").Text(4, ""),
		"a name too long": ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, longest+"x").Text(4, "").Num(5, c.bob.id),
		"lines":           ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "two\nlines").Text(4, "").Num(5, c.bob.id),
		"no text":         ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "\xffx").Text(4, "").Num(5, c.bob.id),
		"a long avatar":   ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "x").Text(4, strings.Repeat("x", 256)).Num(5, c.bob.id),
	} {
		m, err := ct.ParseMessage(req)
		if err != nil {
			t.Fatal(err)
		}
		if !d.speaks(m.Text(3)) {
			continue
		}
		d.request(0x0405, 0xff02, req)
		got := d.await(0x0406, 0xff02)
		if want := ct.Body(nil).Num(1, c.me.id).Num(2, 1).Text(4, strings.ToValidUTF8(m.Text(3), "\ufffd")); string(got.Body) != string(want) {
			t.Errorf("%s: %s, want %x", what, show(got), want)
		}
	}
	c.quiet("groups of others, and what was refused")
}

// groupChangeDetail: who may change members, and what is told of it to whom.
func groupChangeDetail(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	dan, disabled := main.person(t), main.person(t)
	danPhone := main.login(t, dan, ct.IOS)
	if err := main.people.SetEnabled(t.Context(), disabled.name, false); err != nil {
		t.Fatal(err)
	}
	me, bob, eve := c.me.id, c.bob.id, c.eve.id
	eves := []*device{c.evePC, c.evePhone}
	// The asker is a member of bob's temporary group: he adds, and removes nobody but himself.
	group := c.pc.creates("bob's", []*device{c.phone, c.d, c.own}, me)
	refused := func(d *device, kind, group uint32, users ...uint32) {
		t.Helper()
		d.changed(d.changes(kind, group, users...), kind, group, 1, nil, nil)
	}
	refused(c.evePC, 1, group, eve)       // no member (defect 17)
	refused(c.evePhone, 1, group, dan.id) //
	refused(c.evePC, 2, group, bob)
	refused(c.d, 1, 4_000_000_000, dan.id)
	refused(c.d, 1, 0, dan.id)
	refused(c.d, 1, group)                                                  // nobody
	refused(c.d, 1, group, me, bob)                                         // who are in it
	refused(c.d, 1, group, 4_000_000_000, disabled.id)                      // whom there is not
	refused(c.d, 2, group, bob)                                             // not his to do
	refused(c.d, 2, group, me, bob)                                         // neither with himself
	c.d.changed(c.d.changes(2, group), 2, group, 0, []uint32{me, bob}, nil) // an empty list succeeds, in the original too
	c.quiet("what was refused")

	three := []uint32{me, bob, eve}
	seq := c.d.changes(1, group, eve, bob, 4_000_000_000, eve)
	c.d.changed(seq, 1, group, 0, three, []uint32{eve})
	all(append(eves, c.others...), 0x040b, membersChanged(me, 1, group, three, []uint32{eve})) // each once (defect 20)
	c.quiet("somebody came")

	// The administrator removes; of a removal the ids asked for are told.
	two := []uint32{me, bob}
	seq = c.phone.changes(2, group, eve, dan.id)
	c.phone.changed(seq, 2, group, 0, two, []uint32{eve, dan.id})
	all(append(eves, c.pc, c.d, c.own), 0x040b, membersChanged(bob, 2, group, two, []uint32{eve}))
	seq = c.pc.changes(2, group, eve) // who is no member is removed for nothing
	c.pc.changed(seq, 2, group, 0, two, []uint32{eve})
	refused(c.evePC, 1, group, eve) // and does not come back by himself
	c.quiet("somebody was removed")
	danPhone.quiet("was never in it")

	// Whoever wants leaves; the next one has the administration.
	seq = c.pc.changes(2, group, bob)
	c.pc.changed(seq, 2, group, 0, []uint32{me}, []uint32{bob})
	all([]*device{c.phone, c.d, c.own}, 0x040b, membersChanged(bob, 2, group, []uint32{me}, []uint32{bob}))
	seq = c.d.changes(1, group, eve)
	c.d.changed(seq, 1, group, 0, []uint32{me, eve}, []uint32{eve})
	all(append(eves, c.own), 0x040b, membersChanged(me, 1, group, []uint32{me, eve}, []uint32{eve}))
	seq = c.own.changes(2, group, eve)
	c.own.changed(seq, 2, group, 0, []uint32{me}, []uint32{eve})
	all(append(eves, c.d), 0x040b, membersChanged(me, 2, group, []uint32{me}, []uint32{eve}))
	seq = c.d.changes(2, group, me) // the last one
	c.d.changed(seq, 2, group, 0, nil, []uint32{me})
	c.own.expect(0x040b, 0, membersChanged(me, 2, group, nil, []uint32{me}))
	c.quiet("everybody has left")

	// A fixed group is its administrator's: nobody else adds.
	fixed := main.fixed(t, "fixed", bob, me, bob).Number
	all(append([]*device{c.d}, c.others...), 0x040b, membersChanged(bob, 1, fixed, two, two)) // in the name of who is to have it
	refused(c.d, 1, fixed, eve)
	seq = c.pc.changes(1, fixed, eve)
	c.pc.changed(seq, 1, fixed, 0, three, []uint32{eve})
	all(append(eves, c.phone, c.d, c.own), 0x040b, membersChanged(bob, 1, fixed, three, []uint32{eve}))
	seq = c.d.changes(2, fixed, me) // but may go
	c.d.changed(seq, 2, fixed, 0, []uint32{bob, eve}, []uint32{me})
	all(append(eves, c.pc, c.phone, c.own), 0x040b, membersChanged(me, 2, fixed, []uint32{bob, eve}, []uint32{me}))
	c.quiet("a fixed group")
}

// groupNotifyDetail: what the API does is told to all sessions, and who is out hears of nothing more.
func groupNotifyDetail(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	me, bob, eve := c.me.id, c.bob.id, c.eve.id
	mine, eves := []*device{c.d, c.own}, []*device{c.evePC, c.evePhone}
	bobs := []*device{c.pc, c.phone}
	group := main.fixed(t, "told", 0, me, bob).Number
	two, three := []uint32{me, bob}, []uint32{me, bob, eve}
	all(slices.Concat(mine, bobs), 0x040b, membersChanged(0, 1, group, two, two))
	path := fmt.Sprintf("/groups/%d", group)
	main.api(t, http.MethodPost, path+"/members", map[string]any{"add": []uint32{eve}}, nil)
	all(slices.Concat(mine, bobs, eves), 0x040b, membersChanged(0, 1, group, three, []uint32{eve}))
	main.api(t, http.MethodPost, path+"/members", map[string]any{"remove": []uint32{me}}, nil)
	all(slices.Concat(mine, bobs, eves), 0x040b, membersChanged(0, 2, group, []uint32{bob, eve}, []uint32{me}))
	c.pc.writes(group, "without you", append(eves, c.phone)...)
	main.api(t, http.MethodPost, path+"/members", map[string]any{"remove": []uint32{bob}}, nil)
	all(slices.Concat(bobs, eves), 0x040b, membersChanged(0, 2, group, []uint32{eve}, []uint32{bob}))
	main.api(t, http.MethodDelete, path, nil, nil)
	all(eves, 0x040b, membersChanged(0, 2, group, nil, []uint32{eve}))
	c.evePC.infoOf([]uint32{group})
	c.evePC.request(0x0301, 5, text(eve, group, 0, 0, 17, []byte("x")))
	c.quiet("a group that is no more")
}

// groupShieldDetail: a shield is one's own, and messages come all the same (defect 16).
func groupShieldDetail(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	two := []uint32{c.me.id, c.bob.id}
	group := c.pc.creates("quiet", []*device{c.phone, c.d, c.own}, c.me.id)
	set := func(d *device, group, status, result uint32) {
		t.Helper()
		d.request(0x0409, 0xff02, ct.Body(nil).Num(1, c.bob.id).Num(2, group).Num(3, status))
		d.expect(0x040a, 0xff02, ct.Body(nil).Num(1, d.who.id).Num(2, group).Num(3, result))
	}
	shown := func(shield uint32) {
		t.Helper()
		for _, d := range []*device{c.d, c.own} {
			d.infoOf([]uint32{group}, tempInfo(group, 1, "quiet", c.bob.id, shield, two...))
		}
		c.pc.infoOf([]uint32{group}, tempInfo(group, 1, "quiet", c.bob.id, 0, two...))
	}
	set(c.d, group, 1, 0)
	shown(1)
	set(c.own, group, 1, 0) // once more
	shown(1)
	c.pc.writes(group, "heard", c.phone, c.d, c.own)
	set(c.d, group, 0, 0)
	shown(0)
	set(c.evePC, group, 1, 1)
	set(c.evePhone, group, 0, 1)
	set(c.d, 4_000_000_000, 1, 1)
	set(c.d, 0, 1, 1)
	c.quiet("shields")
}

// TestGroupConversations: a group's messages and lists, as those of two, from each kind of
// client; for members only.
func TestGroupConversations(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			groupConversation(t, k.kind)
		})
	}
}

func groupConversation(t *testing.T, kind uint32) {
	c := newCast(t, kind)
	d, me, bob := c.d, c.me.id, c.bob.id
	group := d.creates("talk", c.others, bob)
	// Sent: acked with the kind of session, copied to all but the sender, byte for byte.
	say := func(d *device, id, kind uint32, data []byte, copies ...*device) (created uint32) {
		t.Helper()
		d.request(0x0301, 0xff00|uint16(id), text(1, group, 77, 12345, kind, data))
		d.expect(0x0302, 0xff00|uint16(id), ct.Body(nil).Num(1, d.who.id).Num(2, group).Num(3, id).Num(4, 2))
		for _, o := range copies {
			got := o.await(0x0301, 0)
			created = o.clock(field(t, got, 4))
			o.compare(got, 0x0301, 0, text(d.who.id, group, id, created, kind, data))
		}
		return created
	}
	hello, voice := ct.EncryptText("hello"), []byte("\x00\x00\x00\x09\x00\xff speex")
	first := say(d, 1, 17, hello, c.others...)
	second := say(c.phone, 2, 18, voice, c.pc, d, c.own)
	for what, req := range map[string]ct.Body{
		"empty": text(me, group, 0, 0, 17, nil), "voice of no sound": text(me, group, 0, 0, 18, []byte{0, 0, 0, 3}),
		"to no group": text(me, 4_000_000_000, 0, 0, 17, []byte("x")), "too large": text(me, group, 0, 0, 17, make([]byte, 390<<10)),
	} {
		d.request(0x0301, 0x99, req)
		for _, p := range d.rest() {
			t.Errorf("%s: %s", what, show(p))
		}
	}
	c.evePC.request(0x0301, 0x99, text(c.eve.id, group, 0, 0, 17, []byte("x")))
	// The same PDU again is the same message, in groups too (defect 2).
	d.request(0x0301, 0xff01, text(1, group, 77, 12345, 17, hello))
	d.expect(0x0302, 0xff01, ct.Body(nil).Num(1, me).Num(2, group).Num(3, 1).Num(4, 2))
	c.quiet("what was refused, and a repeat")

	// Listed, with the sender of the newest, and counted.
	entry := func(from uint32) ct.Body {
		return ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 0).Num(4, second).Num(5, 2).Text(6, voicePreview).Num(7, 18).Num(8, from)
	}
	for _, x := range []*device{d, c.own, c.pc} {
		x.request(0x0201, 0xff01, ct.Body(nil).Num(1, 0).Num(2, 0))
		x.expect(0x0202, 0xff01, ct.Body(nil).Num(1, x.who.id).Bytes(2, entry(bob)))
	}
	unread := func(x *device, want ...ct.Body) {
		t.Helper()
		rsp := ct.Body(nil).Num(1, x.who.id)
		if len(want) == 0 {
			rsp = rsp.Num(2, 0)
		}
		for _, u := range want {
			m, err := ct.ParseMessage(u)
			if err != nil {
				t.Fatal(err)
			}
			rsp = rsp.Num(2, m.Num(3)).Bytes(3, u)
		}
		x.request(0x0307, 0xff03, ct.Body(nil).Num(1, 0))
		x.expect(0x0308, 0xff03, rsp)
	}
	unread(d, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1).Num(4, 2).Text(5, voicePreview).Num(6, 18).Num(7, bob))
	unread(c.pc) // who writes has read
	unread(c.evePC)
	// Read: told to one's own other devices, never beyond the newest and never back (defect 6).
	read := func(id uint32) ct.Body { return ct.Body(nil).Num(1, me).Num(2, group).Num(3, id).Num(4, 2) }
	d.request(0x0303, 9, read(1<<32-1))
	c.own.expect(0x0304, 0, read(2))
	d.request(0x0303, 9, read(1))
	unread(d)
	c.evePC.request(0x0303, 9, read(1))
	c.quiet("reading")

	// History, newest id, by ids: of members.
	infos := []ct.Body{msgInfo(2, bob, second, 18, voice), msgInfo(1, me, first, 17, hello)}
	history := func(x *device, want ...ct.Body) {
		t.Helper()
		list, byIDs := ct.Body(nil).Num(1, x.who.id).Num(2, 2).Num(3, group).Num(4, 0), ct.Body(nil).Num(1, x.who.id).Num(2, 2).Num(3, group)
		newest := uint32(0)
		for _, m := range want {
			list, byIDs = list.Bytes(5, m), byIDs.Bytes(4, m)
			newest = 2
		}
		x.request(0x0309, 0xff01, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group).Num(4, 0).Num(5, 10))
		x.expect(0x030a, 0xff01, list)
		x.request(0x030d, 0xff02, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group).Nums(4, 1, 9, 2))
		x.expect(0x030e, 0xff02, byIDs)
		x.request(0x030b, 0xff03, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group))
		x.expect(0x030c, 0xff03, ct.Body(nil).Num(1, x.who.id).Num(2, 2).Num(3, group).Num(4, newest))
	}
	for _, x := range append([]*device{d}, c.others...) {
		history(x, infos...)
	}
	history(c.evePC)
	history(c.evePhone)

	// Taken out of the list: nobody is told of a group's, and it comes back when he himself writes.
	d.request(0x0206, 5, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group))
	d.expect(0x0207, 5, ct.Body(nil).Num(1, me).Num(2, 0).Num(3, 2).Num(4, group))
	d.request(0x0206, 6, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group))
	d.expect(0x0207, 6, ct.Body(nil).Num(1, me).Num(2, 1).Num(3, 2).Num(4, group))
	if list := c.own.recent(0); len(list) != 0 {
		t.Errorf("removed and listed: %v", list)
	}
	third := say(c.pc, 3, 17, hello, c.phone, d, c.own)
	if list := d.recent(0); len(list) != 0 {
		t.Errorf("listed again by another's message: %v", list)
	}
	unread(d, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1).Num(4, 3).Bytes(5, hello).Num(6, 17).Num(7, bob))
	say(c.own, 4, 17, hello, d, c.pc, c.phone)
	if list := d.recent(0); len(list) != 1 || list[0].Num(5) != 4 || list[0].Num(4) < third {
		t.Errorf("after one's own message listed: %v", list)
	}
	unread(d)

	// Removed, one reads nothing more; added again, what comes from then on.
	seq := d.changes(2, group, bob)
	d.changed(seq, 2, group, 0, []uint32{me}, []uint32{bob})
	all(c.others, 0x040b, membersChanged(me, 2, group, []uint32{me}, []uint32{bob}))
	say(d, 5, 17, []byte("while he is away"), c.own)
	history(c.pc)
	unread(c.pc)
	if list := c.phone.recent(0); len(list) != 0 {
		t.Errorf("who is out lists %v", list)
	}
	seq = d.changes(1, group, bob)
	two := []uint32{me, bob}
	d.changed(seq, 1, group, 0, two, []uint32{bob})
	all(c.others, 0x040b, membersChanged(me, 1, group, two, []uint32{bob}))
	if got := c.pc.history(group); len(got) != 0 {
		t.Errorf("who came back reads %v", got)
	}
	unread(c.pc)
	say(d, 6, 17, []byte("back"), c.others...)
	if got := c.phone.history(group); !slices.Equal(got, []uint32{6}) {
		t.Errorf("who came back reads %v", got)
	}
	c.quiet("a group's talk")
}

package conformance

import (
	"slices"
	"sync"
	"testing"

	ct "godwit/connector/connectortest"
	"godwit/internal/up"
)

// Groups: reference 5.13 and what is mended of it (9, numbers 16 to 20).

// ids is a field that is repeated.
func ids(b ct.Body, no int, users ...uint32) ct.Body {
	for _, u := range users {
		b = b.Num(no, u)
	}
	return b
}

// membersChanged is IMGroupChangeMemberNotify.
func membersChanged(by, kind, group uint32, members, changed []uint32) ct.Body {
	return ids(ids(ct.Body(nil).Num(1, by).Num(2, kind).Num(3, group), 4, members...), 5, changed...)
}

// creates makes a group and gives its number.
func (d *device) creates(name string, others []*device, members ...uint32) uint32 {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0405, seq, ids(ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, name).Text(4, "http://x/g.png"), 5, members...))
	all := append(slices.Clone(members), d.who.id)
	slices.Sort(all)
	all = slices.Compact(all)
	got := d.await(0x0406, seq)
	number := field(d.t, got, 3)
	d.compare(got, 0x0406, seq, ids(ct.Body(nil).Num(1, d.who.id).Num(2, 0).Num(3, number).Text(4, name), 5, all...))
	for _, o := range others {
		o.expect(0x040b, 0, membersChanged(d.who.id, 1, number, all, all))
	}
	return number
}

// changes asks for members to come (1) or go (2).
func (d *device) changes(kind, group uint32, users ...uint32) (seq uint16) {
	d.t.Helper()
	seq = d.NextSeq() | 0x4000
	d.request(0x0407, seq, ids(ct.Body(nil).Num(1, 0).Num(2, kind).Num(3, group), 4, users...))
	return seq
}

func (d *device) changed(seq uint16, kind, group, result uint32, members, changed []uint32) {
	d.t.Helper()
	d.expect(0x0408, seq, ids(ids(ct.Body(nil).Num(1, d.who.id).Num(2, kind).Num(3, result).Num(4, group), 5, members...), 6, changed...))
}

// writes puts a text into a group and awaits its ack and its copies.
func (d *device) writes(group uint32, data string, copies ...*device) (id uint32) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0301, seq, text(0, group, 0, 0, 17, []byte(data)))
	got := d.await(0x0302, seq)
	id = field(d.t, got, 3)
	d.compare(got, 0x0302, seq, ct.Body(nil).Num(1, d.who.id).Num(2, group).Num(3, id).Num(4, 2))
	for _, c := range copies {
		got := c.await(0x0301, 0)
		c.compare(got, 0x0301, 0, text(d.who.id, group, id, c.clock(field(d.t, got, 4)), 17, []byte(data)))
	}
	return id
}

// history is the ids of a group's messages that the device may read, newest first.
func (d *device) history(group uint32) (all []uint32) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0309, seq, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group).Num(4, 0).Num(5, 100))
	for _, m := range d.message(0x030a, seq).Subs(5) {
		all = append(all, m.Num(1))
	}
	return all
}

func TestGroups(t *testing.T) {
	t.Parallel()
	s := other(t, func(*up.Config) {})
	ann, bob, cy, dan := s.person(t), s.person(t), s.person(t), s.person(t)
	pc, phone := s.login(t, ann, ct.Windows), s.login(t, ann, ct.Android)
	bobPC, cyPhone, danPC := s.login(t, bob, ct.Mac), s.login(t, cy, ct.IOS), s.login(t, dan, ct.Windows)
	all := []*device{pc, phone, bobPC, cyPhone, danPC}
	forget(all...)

	// Made: everybody in it is told, but who asked.
	group := pc.creates("lunch", []*device{phone, bobPC}, bob.id)
	two := []uint32{ann.id, bob.id}
	cyPhone.quiet("of a group of others")

	// Written to, by members only; all devices of all members get it.
	pc.writes(group, "one", phone, bobPC)
	danPC.request(0x0301, 0x4001, text(0, group, 0, 0, 17, []byte("let me in")))
	danPC.quiet("of a message to a group of others")
	bobPC.writes(group, "two", pc, phone)

	// Somebody comes: he is told once, and reads what is written from now on.
	three := []uint32{ann.id, bob.id, cy.id}
	seq := bobPC.changes(1, group, cy.id, ann.id)
	bobPC.changed(seq, 1, group, 0, three, []uint32{cy.id})
	for _, d := range []*device{pc, phone, cyPhone} {
		d.expect(0x040b, 0, membersChanged(bob.id, 1, group, three, []uint32{cy.id}))
	}
	pc.writes(group, "three", phone, bobPC, cyPhone)
	if got := cyPhone.history(group); !slices.Equal(got, []uint32{3}) {
		t.Errorf("who came after two reads %v", got)
	}
	if got := pc.history(group); !slices.Equal(got, []uint32{3, 2, 1}) {
		t.Errorf("who was there from the first reads %v", got)
	}

	// Asked for, muted.
	pc.request(0x0409, 0x4010, ct.Body(nil).Num(1, 0).Num(2, group).Num(3, 1))
	pc.expect(0x040a, 0x4010, ct.Body(nil).Num(1, ann.id).Num(2, group).Num(3, 0))
	info := func(d *device, version, shield uint32) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x0403, seq, ct.Body(nil).Num(1, 0).Bytes(2, ct.Body(nil).Num(1, group).Num(2, version)))
		d.expect(0x0404, seq, ct.Body(nil).Num(1, d.who.id).Bytes(2, ids(ct.Body(nil).Num(1, group).Num(2, 2).Text(3, "lunch").
			Text(4, "http://x/g.png").Num(5, ann.id).Num(6, 2).Num(7, shield), 8, three...)))
	}
	info(pc, 0, 1)
	info(bobPC, 1, 0)
	for d, version := range map[*device]uint32{bobPC: 2, danPC: 0} {
		d.request(0x0403, 0x4020, ct.Body(nil).Num(1, 0).Bytes(2, ct.Body(nil).Num(1, group).Num(2, version)))
		d.expect(0x0404, 0x4020, ct.Body(nil).Num(1, d.who.id))
	}
	pc.writes(group, "four", phone, bobPC, cyPhone) // muted is not silent

	// Only the administrator sends others away.
	seq = bobPC.changes(2, group, cy.id)
	bobPC.changed(seq, 2, group, 1, nil, nil)
	seq = pc.changes(2, group, cy.id)
	pc.changed(seq, 2, group, 0, two, []uint32{cy.id})
	for _, d := range []*device{phone, bobPC, cyPhone} {
		d.expect(0x040b, 0, membersChanged(ann.id, 2, group, two, []uint32{cy.id}))
	}
	pc.writes(group, "five", phone, bobPC)
	if got := cyPhone.history(group); len(got) != 0 {
		t.Errorf("who is out reads %v", got)
	}
	cyPhone.request(0x030b, 0x4030, ct.Body(nil).Num(1, 0).Num(2, 2).Num(3, group))
	cyPhone.expect(0x030c, 0x4030, ct.Body(nil).Num(1, cy.id).Num(2, 2).Num(3, group).Num(4, 0))
	cyPhone.request(0x0301, 0x4031, text(0, group, 0, 0, 17, []byte("again")))

	// Unread is counted, read is told to the own devices.
	phone.request(0x0307, 0x4040, ct.Body(nil).Num(1, 0))
	if m := phone.message(0x0308, 0x4040); m.Num(2) != 0 { // whoever writes has read
		t.Errorf("ann has %d unread", m.Num(2))
	}
	bobPC.request(0x0307, 0x4041, ct.Body(nil).Num(1, 0))
	if m := bobPC.message(0x0308, 0x4041); m.Num(2) != 3 || m.Sub(3).Num(1) != group || m.Sub(3).Num(2) != 2 || m.Sub(3).Num(4) != 5 || m.Sub(3).Num(7) != ann.id {
		t.Errorf("bob's unread: %v", m)
	}

	// One goes by himself.
	seq = bobPC.changes(2, group, bob.id)
	bobPC.changed(seq, 2, group, 0, []uint32{ann.id}, []uint32{bob.id})
	for _, d := range []*device{pc, phone} {
		d.expect(0x040b, 0, membersChanged(bob.id, 2, group, []uint32{ann.id}, []uint32{bob.id}))
	}
	for _, d := range all {
		d.quiet("all was awaited")
	}
}

// Many change a group at once: in the end all are told one state, that of the log.
func TestGroupChangedByManyAtOnce(t *testing.T) {
	t.Parallel()
	s := other(t, func(*up.Config) {})
	owner := s.person(t)
	pc := s.login(t, owner, ct.Windows)
	var members, guests []person
	for range 4 {
		members, guests = append(members, s.person(t)), append(guests, s.person(t))
	}
	var numbers []uint32
	var devices []*device
	for _, p := range members {
		numbers = append(numbers, p.id)
		devices = append(devices, s.login(t, p, ct.Windows))
	}
	group := pc.creates("busy", devices, numbers...)
	forget(append(devices, pc)...)

	// Each member brings somebody, and the owner sends two of the members away.
	var wg sync.WaitGroup
	answers := make([][]uint32, len(devices))
	for i, d := range devices {
		wg.Go(func() { answers[i] = d.message(0x0408, d.changes(1, group, guests[i].id)).Nums(5) })
	}
	wg.Go(func() {
		seq := pc.changes(2, group, members[0].id, members[1].id)
		if m := pc.message(0x0408, seq); m.Num(3) != 0 {
			t.Errorf("the administrator was refused: %v", m)
		}
	})
	wg.Wait()

	state := func(d *device) []uint32 {
		seq := d.NextSeq() | 0x4000
		d.request(0x0403, seq, ct.Body(nil).Num(1, 0).Bytes(2, ct.Body(nil).Num(1, group).Num(2, 0)))
		return d.message(0x0404, seq).Sub(2).Nums(8)
	}
	end := state(pc)
	for _, gone := range members[:2] {
		if slices.Contains(end, gone.id) {
			t.Errorf("%d is still there: %v", gone.id, end)
		}
	}
	for i, guest := range guests[2:] {
		if !slices.Contains(end, guest.id) {
			t.Errorf("the guest of member %d did not come: %v", i+2, end)
		}
	}
	for i, d := range devices[2:] {
		if got := state(d); !slices.Equal(got, end) {
			t.Errorf("%s sees %v, the owner %v", d.who.name, got, end)
		}
		// Of the changes it has heard of, its own by the answer, one was the last.
		heard := [][]uint32{answers[i+2]}
		for _, p := range d.rest() {
			m, err := ct.ParseMessage(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			if p.Command == 0x040b {
				heard = append(heard, m.Nums(4))
			}
		}
		if !slices.ContainsFunc(heard, func(members []uint32) bool { return slices.Equal(members, end) }) {
			t.Errorf("%s was told of %v, never of %v", d.who.name, heard, end)
		}
	}
}

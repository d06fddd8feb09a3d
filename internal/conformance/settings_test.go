package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	ct "godwit/connector/connectortest"
)

// pushesTo is where a person's pushes go, as the API shows it.
func (s *server) pushesTo(t testing.TB, p person) (kind, token string) {
	t.Helper()
	var d struct{ Type, Token string }
	s.api(t, http.MethodGet, fmt.Sprintf("/users/%d/device", p.id), nil, &d)
	return d.Type, d.Token
}

// shielded asks for the quiet nights. Behind it everything that the session has set is shown.
func (d *device) shielded(want uint32) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x010e, seq, ct.Body(nil).Num(1, 0))
	d.expect(0x010f, seq, ct.Body(nil).Num(1, d.who.id).Num(2, 0).Num(3, want))
}

// deviceTokenDetail: a phone's token, of which a user has one and which one user has; defects
// 13 and 14.
func deviceTokenDetail(t *testing.T, kind uint32) {
	p := main.person(t)
	is := func(p person, kind, token string) {
		t.Helper()
		if k, tok := main.pushesTo(t, p); k != kind || tok != token {
			t.Errorf("pushes of %s go to %s %q, want %s %q", p.name, k, tok, kind, token)
		}
	}
	set := func(d *device, token string) {
		t.Helper()
		d.request(0x0108, 0xff01, ct.Body(nil).Num(1, 1).Text(2, token).Num(3, ct.Windows)) // the kind is that of the login
		d.expect(0x0109, 0xff01, ct.Body(nil).Num(1, d.who.id))
		d.shielded(0)
	}
	own := fmt.Sprint("token of ", p.name)
	if !mobile(kind) {
		pc, phone := main.login(t, p, kind), main.login(t, p, ct.IOS)
		forget(phone)
		pc.request(0x0108, 1, ct.Body(nil).Num(1, p.id).Text(2, "of a PC"))
		pc.quiet("a PC has no token")
		is(p, "none", "")
		set(phone, own)
		is(p, "ios", own)
		pc.Logout() // leaves the phone's alone
		phone.shielded(0)
		is(p, "ios", own)
		return
	}
	name := map[uint32]string{ct.IOS: "ios", ct.Android: "android"}
	d, q := main.login(t, p, kind), main.person(t)
	set(d, own)
	is(p, name[kind], own)
	set(d, strings.Repeat("x", 500)+own[:12])
	d.request(0x0108, 2, ct.Body(nil).Num(1, p.id).Text(2, strings.Repeat("x", 513)))
	d.quiet("a token that is too long")
	is(p, name[kind], strings.Repeat("x", 500)+own[:12])
	set(d, "")
	is(p, "none", "")
	set(d, own)
	// Who has it next has it alone.
	e := main.login(t, q, classmate(kind))
	set(e, own)
	is(q, name[classmate(kind)], own)
	is(p, "none", "")
	// A logout takes it away; a newer login of another phone does not.
	f := main.login(t, q, kind)
	e.sentAway(1)
	f.shielded(0)
	is(q, name[classmate(kind)], own)
	f.Logout()
	for until := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if k, _ := main.pushesTo(t, q); k == "none" {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the token outlives the logout")
		}
	}
}

// pushShieldDetail: quiet nights are the user's, on whatever device he asks.
func pushShieldDetail(t *testing.T, kind uint32) {
	p := main.person(t)
	d, own := main.login(t, p, kind), main.login(t, p, acrossFrom(kind))
	forget(d, own)
	d.shielded(0)
	for _, status := range []uint32{1, 1, 0, 1} {
		d.request(0x010c, 0xff02, ct.Body(nil).Num(1, 0).Num(2, status))
		d.request(0x010e, 0xff03, ct.Body(nil).Num(1, 0)) // in the same breath
		d.expect(0x010d, 0xff02, ct.Body(nil).Num(1, p.id).Num(2, 0).Num(3, status))
		d.expect(0x010f, 0xff03, ct.Body(nil).Num(1, p.id).Num(2, 0).Num(3, status))
		own.shielded(status)
	}
	for _, status := range []uint32{2, 1<<32 - 1} {
		d.request(0x010c, 0xff01, ct.Body(nil).Num(1, 0).Num(2, status))
		d.expect(0x010d, 0xff01, ct.Body(nil).Num(1, p.id).Num(2, 1))
	}
	d.shielded(1)
	d.quiet("settings")
	own.quiet("settings")
}

// leftDetail: who has left is hidden, and told so to those who knew him.
func leftDetail(t *testing.T, kind uint32) {
	p := main.person(t)
	d, theirs := main.login(t, main.person(t), kind), main.login(t, p, kind)
	info, before := d.directory(0, p.id)
	if info == nil || info.Num(10) != 0 {
		t.Errorf("at first listed as %v", info)
	}
	main.api(t, http.MethodPatch, fmt.Sprintf("/users/%d", p.id), map[string]any{"employment": 3}, nil)
	theirs.closedAfter()
	d.shielded(0)
	if info, _ := d.directory(0, p.id); info != nil {
		t.Errorf("a first question lists %v", info)
	}
	if info, after := d.directory(before, p.id); info.Num(10) != 3 || after <= before {
		t.Errorf("since %d listed as %v, at %d", before, info, after)
	}
	d.request(0x0204, 7, ct.Body(nil).Num(1, 0).Num(2, p.id))
	if m := d.message(0x0205, 7); m.Sub(2).Num(1) != p.id || m.Sub(2).Num(10) != 3 {
		t.Errorf("by number shown as %v", m)
	}
	back := main.dialFrom(t, fmt.Sprintf("127.0.5.%d", kind), kind)
	back.request(0x0103, 8, loginBody(p.name, password1, 1, kind))
	back.refused(8, 6, wrongText)
}

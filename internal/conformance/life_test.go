package conformance

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	ct "godwit/connector/connectortest"
	"godwit/internal/certtest"
	"godwit/internal/up"
)

// What docs/protocol.md says of how sessions end, of restarts and of TLS.

// TestHeadersOfAllClients: version, flag and reserved are whatever they are; answers have
// the server's own.
func TestHeadersOfAllClients(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	for name, h := range map[string]ct.PDU{
		"windows and mac":  {Version: 1},
		"ios":              {Version: 13, Reserved: 1},
		"android":          {Version: 6, Reserved: 48},
		"dart, javascript": {},
		"python":           {Version: 1, Flag: 1},
		"anything":         {Version: 0xffff, Flag: 0x8000, Reserved: 0xffff, Service: 0xffff},
	} {
		t.Run(name, func(t *testing.T) {
			d := main.dial(t, ct.Windows)
			ask := func(command, seq uint16, body ct.Body) {
				p := h
				p.Length, p.Command, p.Seq, p.Body = uint32(ct.HeaderLen+len(body)), command, seq, body
				if p.Service == 0 {
					p.Service = command >> 8
				}
				d.Write(p.Bytes())
			}
			ask(0x0103, 0xfffe, loginBody(me.name, password1, 1, ct.Windows))
			d.signedIn(me, 0xfffe, 1)
			ask(0x0307, 0xff01, ct.Body(nil).Num(1, me.id))
			d.expect(0x0308, 0xff01, ct.Body(nil).Num(1, me.id).Num(2, 0))
			ask(0x0105, 0, nil)
			d.closedAfter(ct.Request(1, 0x0106, 0, ct.Body(nil).Num(1, 0)))
		})
	}
}

// TestEndsWithoutKick: a password that was changed and an account that was disabled end
// sessions without 0x0107, so that the client comes back and is told.
func TestEndsWithoutKick(t *testing.T) {
	t.Parallel()
	p := main.person(t)
	enter := func(plain string) *device {
		t.Helper()
		d := main.dialFrom(t, "127.0.2.4", ct.Android)
		d.request(0x0103, 5, loginBody(p.name, plain, 1, ct.Android))
		return d
	}
	pc, phone := main.login(t, p, ct.Mac), main.login(t, p, ct.IOS)
	forget(phone)
	if err := main.people.SetPassword(t.Context(), p.name, "another"); err != nil {
		t.Fatal(err)
	}
	pc.closedAfter()
	for _, p := range phone.ExpectClosed() {
		if p.Command != 0x020e {
			t.Errorf("before the close came %s", show(p))
		}
	}
	enter(password1).refused(5, 6, wrongText)
	d := enter("another")
	d.signedIn(p, 5, 1)
	if err := main.people.SetEnabled(t.Context(), p.name, false); err != nil {
		t.Fatal(err)
	}
	d.closedAfter()
	enter("another").refused(5, 6, wrongText)
	if err := main.people.SetEnabled(t.Context(), p.name, true); err != nil {
		t.Fatal(err)
	}
	enter("another").signedIn(p, 5, 1)
}

// TestHangup: what a client has sent before it hangs up is served, though nobody is there to
// hear of it.
func TestHangup(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	dp := main.login(t, peer, ct.Android)
	for id := uint32(1); id <= 5; id++ {
		d := main.login(t, me, ct.Windows)
		d.request(0x0301, 7, text(0, peer.id, 0, id, 1, []byte{byte(id)}))
		if err := d.Conn().(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if m := dp.Receive(); m.ID != id || m.Content[0] != byte(id) {
			t.Errorf("message %d came with id %d", m.Content[0], m.ID)
		}
		d.ExpectClosed()
	}
	for until := time.Now().Add(patience); dp.Statuses(me.id)[0]; time.Sleep(5 * time.Millisecond) { // the close may be faster than the log
		if time.Now().After(until) {
			t.Fatal("online after hanging up")
		}
	}
}

// serverLeaves: a server that ends tells who understands it, and closes without 0x0107.
func serverLeaves(t *testing.T, by ...transport) {
	s := other(t, func(*up.Config) {})
	var olds, all []*device
	for _, over := range by {
		a := s.person(t)
		old, knows := s.dialOver(t, over, "", ct.Windows), s.dialOver(t, over, "", ct.Android)
		old.signIn(a)
		knows.signInNewer(a)
		olds, all = append(olds, old), append(all, knows)
	}
	forget(olds...)
	forget(all...)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for i, knows := range all {
		olds[i].closedAfter()
		told := 0
		for _, p := range knows.ExpectClosed() {
			if p.Command == 0x0107 {
				t.Error("kicked by a server that ends")
			}
			if p.Command != 0x201b {
				continue
			}
			told++
			knows.compare(p, 0x201b, 0, ct.Body(nil).Num(1, 3).Num(2, field(t, p, 2)))
		}
		if told != 1 {
			t.Errorf("told %d times that the server leaves", told)
		}
	}
}

// TestRestart: sessions of a server that ends are closed without 0x0107; the next server has
// everything, knows repeats, and shows nobody online who is not.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	here := func(c *up.Config) { c.DataDir = dir }
	s := other(t, here)
	a, b := s.person(t), s.person(t)
	da, db := s.login(t, a, ct.Windows), s.login(t, b, ct.Android)
	body := text(0, b.id, 0, 1, 1, []byte("one"))
	da.request(0x0301, 500, body)
	da.expect(0x0302, 500, ack(a.id, b.id, 1))
	db.Receive()
	_, created := da.sends(b, []byte("two"), db)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	da.closedAfter()
	db.closedAfter()

	s = other(t, here)
	db = s.login(t, b, ct.Android)
	if on := db.Statuses(a.id, b.id); on[0] || on[1] {
		t.Errorf("online after a restart: %v", on)
	}
	db.request(0x0307, 4, ct.Body(nil).Num(1, b.id))
	db.expect(0x0308, 4, ct.Body(nil).Num(1, b.id).Num(2, 2).Bytes(3, unreadInfo(a.id, 2, 2, "two", 1)))
	db.request(0x0201, 5, ct.Body(nil).Num(1, b.id).Num(2, 0))
	db.expect(0x0202, 5, ct.Body(nil).Num(1, b.id).Bytes(2, session(a.id, created, 2, "two", 1)))
	da = s.login(t, a, ct.Mac)
	da.request(0x0301, 500, body) // Windows did not see the ack
	da.expect(0x0302, 500, ack(a.id, b.id, 1))
	if id, _ := da.sends(b, []byte("three"), db); id != 3 {
		t.Errorf("the next id is %d", id)
	}
	if h := db.History(a.id, 0, 10); len(h) != 3 || string(h[0].Content) != "three" || string(h[2].Content) != "one" {
		t.Errorf("history %v", h)
	}
}

// TestTLS: the same sessions.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := certtest.Write(t, t.TempDir(), "test", certtest.Ends)
	s := other(t, func(c *up.Config) { c.TLSListen, c.TLSCert, c.TLSKey = "127.0.0.1:0", cert, key })
	a, b := s.person(t), s.person(t)
	secure := func(p person, kind uint32) *device {
		t.Helper()
		dialer := tls.Dialer{Config: certtest.Trust(t, cert)}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.tls)
		if err != nil {
			t.Fatal(err)
		}
		d := &device{Client: ct.New(t, conn), t: t, kind: kind}
		d.signIn(p)
		return d
	}
	da, db := secure(a, ct.Windows), s.login(t, b, ct.IOS)
	da.sends(b, []byte("over TLS"), db)
	db.sends(a, []byte("over TCP"), da)
	da.request(0x0309, 0xff01, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, b.id).Num(4, 1).Num(5, 1))
	da.message(0x030a, 0xff01)
	newer := s.login(t, a, ct.Mac)
	da.sentAway(1)
	older := secure(b, ct.Android)
	db.sentAway(1)
	d := s.dial(t, ct.Windows)
	d.request(0x0103, 1, loginBody(a.name, "wrong", 1, ct.Windows))
	d.refused(1, 6, wrongText)
	older.Logout()
	newer.Logout()
}

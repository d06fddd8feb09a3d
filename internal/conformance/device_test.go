package conformance

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	ct "godwit/connector/connectortest"
)

// kinds are the clients that there are.
var kinds = []struct {
	name string
	kind uint32
}{{"windows", ct.Windows}, {"mac", ct.Mac}, {"ios", ct.IOS}, {"android", ct.Android}}

func mobile(kind uint32) bool { return kind&0x10 != 0 }

// classmate is the other kind of the same class, and acrossFrom one of the other class.
func classmate(kind uint32) uint32 { return kind ^ 3 }

func acrossFrom(kind uint32) uint32 { return kind ^ 0x10 }

// device is a client's connection that fills headers as its kind of client does.
type device struct {
	*ct.Client
	t    testing.TB
	kind uint32
	over transport
	who  person
	mark uint16
}

// compared counts, by transport and command, what was asked for, and what was compared byte for
// byte with the tables.
var compared struct {
	sync.Mutex
	asked, commands [transports]map[uint16]int
}

func init() {
	for over := range transports {
		compared.asked[over], compared.commands[over] = map[uint16]int{}, map[uint16]int{}
	}
}

// dial connects without logging in, by the transport that the test is about.
func (s *server) dial(t testing.TB, kind uint32) *device {
	t.Helper()
	return s.dialOver(t, transportOf(t), "", kind)
}

// dialFrom connects from an address of this machine.
func (s *server) dialFrom(t testing.TB, from string, kind uint32) *device {
	t.Helper()
	return s.dialOver(t, transportOf(t), from, kind)
}

// login is a person's device that is logged in.
func (s *server) login(t testing.TB, p person, kind uint32) *device {
	t.Helper()
	d := s.dial(t, kind)
	d.signIn(p)
	return d
}

// newer is a device that says at login that it understands what godwit has beyond the
// protocol: notices, receipts and typing.
func (s *server) newer(t testing.TB, p person, kind uint32) *device {
	t.Helper()
	d := s.dial(t, kind)
	d.signInNewer(p)
	return d
}

func (d *device) signInNewer(p person) {
	d.t.Helper()
	d.Newer = true
	const understood = 1 + 2 + 4
	d.request(0x0103, 0xff01, append(loginBody(p.name, password1, 1, d.kind), ct.Body(nil).Num(100, understood|1<<30)...))
	d.who, d.ID = p, p.id
	got := d.Next()
	d.compare(got, 0x0104, 0xff01, ct.Body(nil).Num(1, d.clock(field(d.t, got, 1))).Num(2, 0).Text(3, "成功").Num(4, 1).
		Bytes(5, userInfo(p)).Num(100, understood))
}

// signIn logs in and compares the whole answer.
func (d *device) signIn(p person) {
	d.t.Helper()
	d.request(0x0103, 1, loginBody(p.name, password1, 1, d.kind))
	d.signedIn(p, 1, 1)
}

// signedIn awaits the answer to a login: the next PDU, whatever else is on its way.
func (d *device) signedIn(p person, seq uint16, status uint32) {
	d.t.Helper()
	d.who, d.ID = p, p.id
	got := d.Next()
	now := d.clock(field(d.t, got, 1))
	d.compare(got, 0x0104, seq, ct.Body(nil).Num(1, now).Num(2, 0).Text(3, "成功").Num(4, status).Bytes(5, userInfo(p)))
}

// refused awaits the answer to a login that failed, and the close after it.
func (d *device) refused(seq uint16, code uint32, text string) {
	d.t.Helper()
	got := d.Next()
	now := d.clock(field(d.t, got, 1))
	d.compare(got, 0x0104, seq, ct.Body(nil).Num(1, now).Num(2, code).Text(3, text))
	if more := d.ExpectClosed(); len(more) > 0 {
		d.t.Errorf("after a refused login came %v", more)
	}
}

func loginBody(name, plain string, status, kind uint32) ct.Body {
	return ct.Body(nil).Text(1, name).Text(2, ct.MD5(plain)).Num(3, status).Num(4, kind).Text(5, "win_10086")
}

// userInfo is a person whom an administrator made with a name, a nick and a password.
func userInfo(p person) ct.Body {
	return ct.Body(nil).Num(1, p.id).Num(2, 0).Text(3, p.nick).Text(4, "").Num(5, 0).Text(6, "").
		Text(7, p.name).Text(8, "").Text(9, "").Num(10, 0).Text(11, p.signature)
}

// field is a number of a body.
func field(t testing.TB, p ct.PDU, no int) uint32 {
	t.Helper()
	m, err := ct.ParseMessage(p.Body)
	if err != nil {
		t.Fatalf("0x%04x: %v", p.Command, err)
	}
	return m.Num(no)
}

// clock checks that a time of the server is the present one, in seconds.
func (d *device) clock(v uint32) uint32 {
	d.t.Helper()
	if age := time.Now().Unix() - int64(v); age < -2 || age > 60 {
		d.t.Errorf("the server's time is %d, the present one %d", v, time.Now().Unix())
	}
	return v
}

// pdu is a request with a header as this kind of client fills it.
func (d *device) pdu(command, seq uint16, body ct.Body) ct.PDU {
	p := ct.Request(command>>8, command, seq, body)
	switch {
	case d.over == overJSON: // which has no other header
	case d.kind == ct.IOS:
		p.Version, p.Reserved = 13, 1
	case d.kind == ct.Android:
		p.Version, p.Reserved = 6, 48
	}
	return p
}

// speaks tells whether a text can be said over the device's transport: in JSON what is no UTF-8
// can't, and would be refused before the server looks at it.
func (d *device) speaks(text string) bool { return d.over != overJSON || utf8.ValidString(text) }

// request sends one.
func (d *device) request(command, seq uint16, body ct.Body) {
	d.t.Helper()
	d.Write(d.pdu(command, seq, body).Bytes())
	compared.Lock()
	defer compared.Unlock()
	compared.asked[d.over][command]++
}

// expect awaits a PDU and compares all of it. Pushes have the number 0.
func (d *device) expect(command, seq uint16, body ct.Body) {
	d.t.Helper()
	d.compare(d.await(command, seq), command, seq, body)
}

// await is the next PDU of a command with a number.
func (d *device) await(command, seq uint16) ct.PDU {
	d.t.Helper()
	return d.Await(fmt.Sprintf("0x%04x with number %d", command, seq), func(p ct.PDU) bool {
		return p.Command == command && p.Seq == seq
	})
}

// message is await with the body taken apart. Its bytes are held against the tables by
// the client, its values by the caller.
func (d *device) message(command, seq uint16) ct.Message {
	d.t.Helper()
	m, err := ct.ParseMessage(d.await(command, seq).Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return m
}

func (d *device) compare(got ct.PDU, command, seq uint16, body ct.Body) {
	d.t.Helper()
	want := ct.Request(command>>8, command, seq, body)
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		d.t.Fatalf("\n got %s\nwant %s", show(got), show(want))
	}
	d.compared(command)
}

// compared counts that a PDU of a command was as the tables have it.
func (d *device) compared(command uint16) {
	compared.Lock()
	defer compared.Unlock()
	compared.commands[d.over][command]++
}

func show(p ct.PDU) string {
	b := p.Bytes()
	return fmt.Sprintf("%x %x", b[:ct.HeaderLen], b[ct.HeaderLen:min(len(b), 400)])
}

// settle waits until the server has done all that this device has asked, and until
// all that other devices have seen happen in conversations has come here.
func (d *device) settle() {
	d.t.Helper()
	d.mark++
	seq := 0xe000 | d.mark&0x0fff
	d.request(0x0307, seq, ct.Body(nil).Num(1, d.who.id))
	d.await(0x0308, seq)
}

// general tells of notices that are for everybody and so come from all tests: who is
// online, and what is shown of people.
func (d *device) general(p ct.PDU) bool {
	switch p.Command {
	case 0x0203, 0x0212:
		return !mobile(d.kind)
	case 0x0215:
		return true
	}
	return false
}

// rest is all that came and that nobody awaited, but for what is for everybody.
func (d *device) rest() []ct.PDU {
	d.t.Helper()
	d.settle()
	var all []ct.PDU
	for _, p := range d.Late() {
		if !d.general(p) {
			all = append(all, p)
		}
	}
	return all
}

// forget lets go of what came so far: the notices about own PCs.
func forget(devices ...*device) {
	for _, d := range devices {
		d.t.Helper()
		d.settle()
		d.Late()
	}
}

// quiet checks that nothing came but what was awaited.
func (d *device) quiet(why string) {
	d.t.Helper()
	for _, p := range d.rest() {
		d.t.Errorf("%s: unexpected %s", why, show(p))
	}
}

// closedAfter checks that the server closes and what it says before: for each of the
// PDUs, in order, the same bytes.
func (d *device) closedAfter(want ...ct.PDU) {
	d.t.Helper()
	var got []ct.PDU
	for _, p := range d.ExpectClosed() {
		if !d.general(p) {
			got = append(got, p)
		}
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			d.t.Errorf("before the close missing %s", show(want[i]))
		case i >= len(want):
			d.t.Errorf("before the close unexpected %s", show(got[i]))
		default:
			d.compare(got[i], want[i].Command, want[i].Seq, want[i].Body)
		}
	}
}

// Bodies that several tests share.

func text(from, to, id, created uint32, kind uint32, data []byte) ct.Body {
	return ct.Body(nil).Num(1, from).Num(2, to).Num(3, id).Num(4, created).Num(5, kind).Bytes(6, data)
}

func ack(user, session, id uint32) ct.Body {
	return ct.Body(nil).Num(1, user).Num(2, session).Num(3, id).Num(4, 1)
}

// status is IMUserStatNotify.
func status(user, stat uint32) ct.Body {
	return ct.Body(nil).Bytes(1, ct.Body(nil).Num(1, user).Num(2, stat))
}

// awaitStatus awaits the notice that a user came (1) or went (2), and compares it.
func (d *device) awaitStatus(user, stat uint32) {
	d.t.Helper()
	want := status(user, stat)
	got := d.Await(fmt.Sprintf("notice that user %d is %d", user, stat), func(p ct.PDU) bool {
		return p.Command == 0x0203 && bytes.Equal(p.Body, want)
	})
	d.compare(got, 0x0203, 0, want)
}

// statuses are the notices about a user that came and were not awaited.
func (d *device) statuses(user uint32) (all []uint32) {
	d.t.Helper()
	for _, p := range d.Late() {
		if m, err := ct.ParseMessage(p.Body); err == nil && p.Command == 0x0203 && m.Sub(1).Num(1) == user {
			all = append(all, m.Sub(1).Num(2))
		}
	}
	return all
}

// sends writes a text and awaits its ack and its copies, and gives its id and time.
func (d *device) sends(to person, data []byte, copies ...*device) (id, created uint32) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0301, seq, text(d.who.id, to.id, 0, 0, 1, data))
	got := d.await(0x0302, seq)
	id = field(d.t, got, 3)
	d.compare(got, 0x0302, seq, ack(d.who.id, to.id, id))
	for _, c := range copies {
		got := c.await(0x0301, 0)
		created = c.clock(field(d.t, got, 4))
		c.compare(got, 0x0301, 0, text(d.who.id, to.id, id, created, 1, data))
	}
	return id, created
}

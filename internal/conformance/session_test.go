package conformance

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	ct "godwit/connector/connectortest"
)

// flagRun is what -run says.
func flagRun() string { return flag.Lookup("test.run").Value.String() }

// details is what else is asked of a command, from each kind of client.
var details = map[uint16]func(t *testing.T, kind uint32){
	0x0103: loginDetail,
	0x0104: newLoginDetail,
	0x0105: logoutDetail,
	0x0107: kickDetail,
	0x0108: deviceTokenDetail,
	0x010a: kickPCDetail,
	0x010c: pushShieldDetail,
	0x0201: recentDetail,
	0x0203: statusNoticeDetail,
	0x0204: usersInfoDetail,
	0x0206: removeDetail,
	0x0208: allUsersDetail,
	0x0209: leftDetail,
	0x020a: statusQueryDetail,
	0x020e: pcNoticeDetail,
	0x0210: departmentDetail,
	0x0212: avatarDetail,
	0x0215: signatureDetail,
	0x0301: sendDetail,
	0x0302: clientIDDetail,
	0x0303: readDetail,
	0x0307: unreadDetail,
	0x0309: historyDetail,
	0x030b: latestDetail,
	0x030d: byIDsDetail,
	0x0401: groupListDetail,
	0x0403: groupInfoDetail,
	0x0405: groupCreateDetail,
	0x0407: groupChangeDetail,
	0x0409: groupShieldDetail,
	0x040b: groupNotifyDetail,
	0x0502: fileLoginDetail,
	0x0505: fileOnlineDetail,
	0x0507: fileRequestDetail,
	0x050a: fileStoredDetail,
	0x0701: heartbeatDetail,
	0x2001: syncDetail,
	0x2003: sendRefusedDetail,
	0x2009: messageChangeDetail,
	0x200b: receiptDetail,
	0x200f: passingDetail,
	0x2015: friendDetail,
	0x2019: groupUpdateDetail,
}

const (
	wrongText    = "用户名/密码错误"
	tooOftenText = "用户名/密码错误次数太多"
)

func kick(user, reason uint32) ct.PDU {
	return ct.Request(1, 0x0107, 0, ct.Body(nil).Num(1, user).Num(2, reason))
}

// sentAway awaits the kick and the close behind it. A phone may once more be told that
// its PC is there, since another phone has come.
func (d *device) sentAway(reason uint32) {
	d.t.Helper()
	k := kick(d.who.id, reason)
	got := d.Await("the kick", func(p ct.PDU) bool { return p.Command == k.Command })
	d.compare(got, k.Command, k.Seq, k.Body)
	for _, p := range d.Late() {
		if !d.general(p) && (p.Command != 0x020e || !mobile(d.kind)) {
			d.t.Errorf("before the kick came %s", show(p))
		}
	}
	d.closedAfter()
}

func loginDetail(t *testing.T, kind uint32) {
	p := main.person(t)

	for _, status := range []uint32{1, 2, 3} {
		d := main.dial(t, kind)
		d.request(0x0103, 0xff01, loginBody(p.name, password1, status, kind))
		d.signedIn(p, 0xff01, status)
		d.settle()
		d.Logout()
	}
	// Without the optional version; and names are told apart by their letters, not their case.
	d := main.dial(t, kind)
	d.request(0x0103, 0, ct.Body(nil).Text(1, "PERSON"+p.name[len("person"):]).Text(2, ct.MD5(password1)).Num(3, 1).Num(4, kind))
	d.signedIn(p, 0, 1)

	// A second login on the connection is ignored, right or wrong.
	d.request(0x0103, 2, loginBody(p.name, password1, 1, kind))
	d.request(0x0103, 3, loginBody(p.name, "wrong", 1, kind))
	d.request(0x0103, 4, loginBody(main.person(t).name, password1, 1, acrossFrom(kind)))
	d.quiet("a second login")
	d.Logout()

	// Also while the first is under way; what follows in the same packet is served after it.
	d = main.dial(t, kind)
	d.Write(join(
		d.pdu(0x0103, 5, loginBody(p.name, password1, 1, kind)), d.pdu(0x0103, 6, loginBody(p.name, "wrong", 1, kind)),
		d.pdu(0x0701, 7, nil), d.pdu(0x0307, 8, ct.Body(nil).Num(1, p.id)), d.pdu(0x0305, 9, nil)))
	d.signedIn(p, 5, 1)
	d.expect(0x0308, 8, ct.Body(nil).Num(1, p.id).Num(2, 0))
	d.await(0x0701, 7)
	d.await(0x0306, 9)
	d.quiet("a second login in the same packet")

	// Refusals: the result and its text, no user_info, then the close.
	gone := main.person(t)
	if err := main.people.SetEnabled(t.Context(), gone.name, false); err != nil {
		t.Fatal(err)
	}
	md5 := ct.MD5(password1)
	for name, body := range map[string]ct.Body{
		"wrong password":   loginBody(p.name, "wrong", 1, kind),
		"unknown name":     loginBody("nobody-of-this-name", password1, 1, kind),
		"empty name":       loginBody("", password1, 1, kind),
		"disabled account": loginBody(gone.name, password1, 1, kind),
		"injection":        loginBody("x' or '1'='1", password1, 1, kind), // defect 22
		"name no text":     loginBody("\xff\xfe", password1, 1, kind),
		"long name":        loginBody(strings.Repeat("\x7f", 3000), password1, 1, kind),
		"plain password":   ct.Body(nil).Text(1, p.name).Text(2, password1).Num(3, 1).Num(4, kind),
		"password longer":  ct.Body(nil).Text(1, p.name).Text(2, md5+"0").Num(3, 1).Num(4, kind),
		"empty password":   ct.Body(nil).Text(1, p.name).Text(2, "").Num(3, 1).Num(4, kind),
	} {
		t.Run(name, func(t *testing.T) {
			d := main.dialFrom(t, fmt.Sprintf("127.0.1.%d", kind), kind)
			if m, err := ct.ParseMessage(body); err != nil || !d.speaks(m.Text(1)) {
				t.Skip("JSON has texts only")
			}
			d.request(0x0103, 0xff02, body)
			d.refused(0xff02, 6, wrongText)
		})
	}
	d.quiet("a wrong password elsewhere") // nobody is sent away by it

	// What cannot be read is ignored; the login after it is served.
	d = main.dial(t, kind)
	ok := fields{str(1, p.name), str(2, md5), enum(3, 1), enum(4, kind)}
	for i := range ok {
		d.request(0x0103, 20, append(ok[:i:i], ok[i+1:]...).body())
	}
	for _, v := range []uint32{0, 4, 99} {
		d.request(0x0103, 21, ct.Body(nil).Text(1, p.name).Text(2, md5).Num(3, v).Num(4, kind))
	}
	for _, v := range []uint32{0, 3, 16, 19, 0x20, 0x31} {
		d.request(0x0103, 22, ct.Body(nil).Text(1, p.name).Text(2, md5).Num(3, 1).Num(4, v))
	}
	d.request(0x0103, 23, ct.Body("garbage\xff"))
	d.signIn(p)
}

func join(pdus ...ct.PDU) (b []byte) {
	for _, p := range pdus {
		b = append(b, p.Bytes()...)
	}
	return b
}

func logoutDetail(t *testing.T, kind uint32) {
	p, peer := main.person(t), main.person(t)
	other := main.login(t, p, acrossFrom(kind))
	d := main.login(t, p, kind)
	// What follows a logout in the same packet is not served.
	d.Write(join(d.pdu(0x0105, 0xff01, nil), d.pdu(0x0301, 5, text(p.id, peer.id, 0, 0, 1, []byte("too late"))), d.pdu(0x0701, 6, nil)))
	var before []ct.PDU
	if mobile(kind) { // the PC is there
		before = append(before, ct.Request(2, 0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1)))
	}
	d.closedAfter(append(before, ct.Request(1, 0x0106, 0xff01, ct.Body(nil).Num(1, 0)))...)
	if n := other.Latest(peer.id); n != 0 {
		t.Errorf("a message after the logout was stored with id %d", n)
	}
	if !mobile(kind) {
		other.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
		other.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 2))
	}
	other.quiet("a logout touches no other class")
	main.login(t, p, kind) // and one may come back
}

// kickDetail: the newer login of a class sends the older away, which is closed.
func kickDetail(t *testing.T, kind uint32) {
	for _, newer := range []uint32{kind, classmate(kind)} {
		p, peer := main.person(t), main.person(t)
		across := main.login(t, p, acrossFrom(kind))
		witness := main.login(t, peer, ct.Windows)
		old := main.login(t, p, kind)
		if mobile(kind) {
			old.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
		} else {
			across.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
			witness.awaitStatus(p.id, 1)
		}
		d := main.login(t, p, newer)
		old.sentAway(1) // defect 5: closed, and nothing after
		if mobile(kind) {
			d.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
		}
		// The new one is served, the other class never noticed.
		d.sends(peer, []byte("hello"), across, witness)
		d.quiet("the newer login")
		across.quiet("the other class")
		if on := witness.Statuses(p.id); !on[0] {
			t.Error("offline after a kick")
		}
		for _, stat := range witness.statuses(p.id) {
			if stat == 2 {
				t.Error("a kick by a newer login was told as going offline")
			}
		}
	}
}

func kickPCDetail(t *testing.T, kind uint32) {
	p, peer := main.person(t), main.person(t)
	witness := main.login(t, peer, ct.Windows)
	if !mobile(kind) {
		// Asked by a PC it is ignored.
		phone, d := main.login(t, p, acrossFrom(kind)), main.login(t, p, kind)
		d.request(0x010a, 3, ct.Body(nil).Num(1, p.id))
		d.quiet("a PC may not ask")
		phone.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
		phone.quiet("a PC may not ask")
		return
	}
	phone := main.login(t, p, kind)
	for _, pc := range []uint32{ct.Windows, ct.Mac} {
		d := main.login(t, p, pc)
		phone.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
		witness.awaitStatus(p.id, 1)
		phone.request(0x010a, 0xff03, ct.Body(nil).Num(1, peer.id)) // only ever the own PC
		phone.expect(0x010b, 0xff03, ct.Body(nil).Num(1, p.id).Num(2, 0))
		d.closedAfter(kick(p.id, 2))
		phone.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 2))
		witness.awaitStatus(p.id, 2)
	}
	phone.request(0x010a, 9, ct.Body(nil).Num(1, p.id)) // nobody is there: the same answer
	phone.expect(0x010b, 9, ct.Body(nil).Num(1, p.id).Num(2, 0))
	phone.quiet("nobody to send away")
	if on := witness.Statuses(p.id, peer.id); on[0] || !on[1] {
		t.Errorf("online %v", on)
	}
}

// statusNoticeDetail: PCs are told of PCs that come and go.
func statusNoticeDetail(t *testing.T, kind uint32) {
	p, peer := main.person(t), main.person(t)
	witness, witnessPhone := main.login(t, peer, ct.Mac), main.login(t, peer, ct.IOS)
	forget(witnessPhone)
	d := main.login(t, p, kind)
	if mobile(kind) {
		// Of a phone nobody is told; of the PC of the same user yes, and it comes after.
		d.Logout()
		d = main.login(t, p, kind)
		pc := main.login(t, p, ct.Windows)
		witness.awaitStatus(p.id, 1)
		pc.awaitStatus(p.id, 1) // the user himself included
		d.Close()
		pc.Close()
		witness.awaitStatus(p.id, 2)
		if more := witness.statuses(p.id); len(more) != 0 {
			t.Errorf("a phone came and went, and %v was told", more)
		}
	} else {
		d.awaitStatus(p.id, 1)
		witness.awaitStatus(p.id, 1)
		own := main.login(t, p, acrossFrom(kind))
		own.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 1))
		d.Close() // without a word
		witness.awaitStatus(p.id, 2)
		own.expect(0x020e, 0, ct.Body(nil).Num(1, p.id).Num(2, 2))
		own.quiet("no 0x0203 to phones")
	}
	witnessPhone.quiet("no 0x0203 to phones")
}

func statusQueryDetail(t *testing.T, kind uint32) {
	me, pc, phone, both, gone := main.person(t), main.person(t), main.person(t), main.person(t), main.person(t)
	d := main.login(t, me, kind)
	main.login(t, pc, ct.Mac)
	main.login(t, phone, ct.Android)
	main.login(t, both, ct.IOS)
	main.login(t, both, ct.Windows)
	ids := []uint32{phone.id, pc.id, 1<<32 - 1, both.id, gone.id, me.id, 0, pc.id}
	mine := uint32(1)
	if mobile(kind) {
		mine = 2 // a phone alone is offline to others
	}
	want := ct.Body(nil).Num(1, me.id)
	for i, stat := range []uint32{2, 1, 2, 1, 2, mine, 2, 1} {
		want = want.Bytes(2, ct.Body(nil).Num(1, ids[i]).Num(2, stat))
	}
	d.request(0x020a, 0xff01, ct.Body(nil).Num(1, me.id).Nums(2, ids...))
	d.expect(0x020b, 0xff01, want)
	d.request(0x020a, 0, ct.Body(nil).Num(1, me.id))
	d.expect(0x020b, 0, ct.Body(nil).Num(1, me.id))
	// 300 in one, as Windows asks.
	many, answer := ct.Body(nil).Num(1, me.id), ct.Body(nil).Num(1, me.id)
	for i := range uint32(300) {
		many, answer = many.Num(2, 3_000_000_000+i), answer.Bytes(2, ct.Body(nil).Num(1, 3_000_000_000+i).Num(2, 2))
	}
	d.request(0x020a, 6, many)
	d.expect(0x020b, 6, answer)
}

// pcNoticeDetail: the phone is told of the own PC, a PC never.
func pcNoticeDetail(t *testing.T, kind uint32) {
	p := main.person(t)
	on, off := ct.Body(nil).Num(1, p.id).Num(2, 1), ct.Body(nil).Num(1, p.id).Num(2, 2)
	if !mobile(kind) {
		main.login(t, p, kind)
		phone := main.login(t, p, acrossFrom(kind))
		phone.expect(0x020e, 0, on) // a phone that comes where a PC is
		phone.Close()
		d := main.login(t, p, classmate(kind))
		d.quiet("no 0x020e to a PC")
		return
	}
	phone := main.login(t, p, kind)
	phone.quiet("no PC is there")
	pc := main.login(t, p, ct.Windows)
	phone.expect(0x020e, 0, on)
	pc.Logout()
	phone.expect(0x020e, 0, off)
	pc = main.login(t, p, ct.Mac)
	phone.expect(0x020e, 0, on)
	newer := main.login(t, p, classmate(kind))
	newer.expect(0x020e, 0, on)
	phone.sentAway(1)
	pc.Close()
	newer.expect(0x020e, 0, off)
	newer.quiet("one notice for each change")
}

func heartbeatDetail(t *testing.T, kind uint32) {
	// The header comes back as it was, whatever is in it, before and after login.
	p := main.person(t)
	d := main.dial(t, kind)
	beat := func() {
		t.Helper()
		for _, h := range []ct.PDU{
			{Length: 16, Version: 1, Service: 7, Command: 0x0701},
			{Length: 16, Version: 13, Flag: 1, Service: 7, Command: 0x0701, Seq: 0xff01, Reserved: 1},
			{Length: 16, Version: 0xffff, Flag: 0xffff, Service: 7, Command: 0x0701, Seq: 0xffff, Reserved: 48},
			{Length: 16, Version: 0, Service: 7, Command: 0x0701, Seq: 1},
		} {
			d.Write(h.Bytes())
			if d.over == overJSON { // which has the number alone
				h.Version, h.Flag, h.Reserved = 1, 0, 0
			}
			if got := d.await(0x0701, h.Seq); string(got.Bytes()) != string(h.Bytes()) {
				t.Errorf("\n got %s\nwant %s", show(got), show(h))
			}
		}
	}
	beat()
	d.signIn(p)
	beat()
	d.quiet("heartbeats")
}

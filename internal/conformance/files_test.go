package conformance

import (
	"bytes"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	ct "godwit/connector/connectortest"
)

// Files: reference 5.15, and what is mended of it (9, numbers 31 to 33). The bytes pass over the
// file server's own port.

const (
	online, offline = uint32(1), uint32(2)

	peerReady, cancelled, refused, done = uint32(0), uint32(1), uint32(2), uint32(3)
)

var taskID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// address is IpAddr of the file server.
func (s *server) address(t testing.TB) ct.Body {
	t.Helper()
	host, port, _ := strings.Cut(s.files, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatalf("the file server is at %q", s.files)
	}
	return ct.Body(nil).Text(1, host).Num(2, uint32(n))
}

func fileRequest(to uint32, name string, size, mode uint32) ct.Body {
	return ct.Body(nil).Num(1, to).Num(2, to).Text(3, name).Num(4, size).Num(5, mode)
}

// fileRefused is 0x0507 with result 1.
func fileRefused(from, to uint32, name string, mode uint32) ct.Body {
	return ct.Body(nil).Num(1, 1).Num(2, from).Num(3, to).Text(4, name).Text(5, "").Num(7, mode)
}

// offers asks to send a file, compares the answer, and gives the task.
func (d *device) offers(to person, name string, size, mode, got uint32) (task string) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0506, seq, fileRequest(to.id, name, size, mode))
	p := d.await(0x0507, seq)
	m, err := ct.ParseMessage(p.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if task = m.Text(5); !taskID.MatchString(task) {
		d.t.Errorf("task %q", task)
	}
	d.compare(p, 0x0507, seq, ct.Body(nil).Num(1, 0).Num(2, d.who.id).Num(3, to.id).Text(4, name).Text(5, task).Bytes(6, main.address(d.t)).Num(7, got))
	return task
}

// isOffered awaits 0x0508.
func (d *device) isOffered(from person, name string, size uint32, task string, mode, ready uint32) {
	d.t.Helper()
	d.expect(0x0508, 0, ct.Body(nil).Num(1, from.id).Num(2, d.who.id).Text(3, name).Num(4, size).Text(5, task).
		Bytes(6, main.address(d.t)).Num(7, mode).Num(8, ready))
}

// waiting asks for the files that wait (0x0509) and compares them: each is OfflineFileInfo.
func (d *device) waiting(files ...ct.Body) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0509, seq, ct.Body(nil).Num(1, 0))
	want := ct.Body(nil).Num(1, d.who.id)
	for _, f := range files {
		want = want.Bytes(2, f)
	}
	d.expect(0x050a, seq, want.Bytes(3, main.address(d.t)))
}

// bytesPort is a connection to the file server, on which nobody is known. Each kind of client
// has an address of its own, of which there may be so many connections.
func bytesPort(t testing.TB, p person, kind uint32) *device {
	t.Helper()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("127.0.3.%d", kind))}, Timeout: ct.Patience}
	conn, err := from.DialContext(t.Context(), "tcp", main.files)
	if err != nil {
		t.Fatal(err)
	}
	return &device{Client: ct.New(t, conn), t: t, kind: kind, who: p}
}

// joins takes a role in a transfer.
func (d *device) joins(task string, role uint32) *device {
	d.t.Helper()
	d.request(0x0501, 0xff01, ct.Body(nil).Num(1, d.who.id).Text(2, task).Num(3, role))
	d.expect(0x0502, 0xff01, ct.Body(nil).Num(1, 0).Text(2, task))
	return d
}

// turnedAway does not get a role, and is closed.
func (d *device) turnedAway(task string, role uint32) {
	d.t.Helper()
	d.request(0x0501, 0xff01, ct.Body(nil).Num(1, d.who.id).Text(2, task).Num(3, role))
	d.closedAfter(ct.Request(5, 0x0502, 0xff01, ct.Body(nil).Num(1, 1).Text(2, task)))
	d.Close()
}

// pull is 0x0504, piece 0x0505 and fileState 0x0503.
func pull(task string, user, mode, offset, size uint32) ct.Body {
	return ct.Body(nil).Text(1, task).Num(2, user).Num(3, mode).Num(4, offset).Num(5, size)
}

func piece(task string, user, offset uint32, data []byte) ct.Body {
	return ct.Body(nil).Num(1, 0).Text(2, task).Num(3, user).Num(4, offset).Bytes(5, data)
}

func fileState(state uint32, task string, user uint32) ct.Body {
	return ct.Body(nil).Num(1, state).Text(2, task).Num(3, user)
}

// stores uploads a file whose receiver has not been told yet.
func (d *device) stores(to person, name string, data []byte) (task string) {
	d.t.Helper()
	task = d.offers(to, name, uint32(len(data)), offline, offline)
	c := bytesPort(d.t, d.who, d.kind).joins(task, 3)
	for offset := 0; offset < len(data); {
		size := min(32768, len(data)-offset)
		c.expect(0x0504, 0, pull(task, d.who.id, offline, uint32(offset), uint32(size)))
		c.request(0x0505, uint16(offset), piece(task, d.who.id, uint32(offset), data[offset:offset+size]))
		offset += size
	}
	c.closedAfter(ct.Request(5, 0x0503, 0, fileState(done, task, d.who.id)))
	return task
}

// uploaded says that a file is stored (0x050b), in words that don't count but for the task.
func (d *device) uploaded(to person, task string) {
	d.t.Helper()
	d.request(0x050b, 0x77, ct.Body(nil).Num(1, 0).Num(2, to.id).Text(3, task).Text(4, "another name").Num(5, 1))
}

// fetched takes a stored file, and compares it.
func (d *device) fetched(from person, task string, data []byte) {
	d.t.Helper()
	c := bytesPort(d.t, d.who, d.kind).joins(task, 4)
	for offset := 0; offset < len(data); {
		size := min(32768, len(data)-offset)
		c.request(0x0504, 0xff00|uint16(offset>>15), pull(task, d.who.id, offline, uint32(offset), 32768))
		want := piece(task, d.who.id, uint32(offset), data[offset:offset+size])
		got := c.await(0x0505, 0xff00|uint16(offset>>15))
		if m, err := ct.ParseMessage(got.Body); err != nil || !bytes.Equal(m.Bytes(5), data[offset:offset+size]) {
			d.t.Fatalf("piece at %d of %d bytes differs: %v", offset, len(m.Bytes(5)), err)
		}
		m, _ := ct.ParseMessage(got.Body)
		if m.Num(1) != 0 || m.Text(2) != task || m.Num(4) != uint32(offset) {
			d.t.Errorf("piece %s, want %x", show(got), want[:60])
		}
		c.compared(0x0505)
		offset += size
	}
	c.closedAfter(ct.Request(5, 0x0503, 0, fileState(done, task, from.id)))
}

// passedOn awaits what another client has sent, with that one's header.
func (d *device) passedOn(from *device, command, seq uint16, body ct.Body) {
	d.t.Helper()
	got := d.await(command, seq)
	if want := from.pdu(command, seq, body); !bytes.Equal(got.Bytes(), want.Bytes()) {
		d.t.Fatalf("\n got %s\nwant %s", show(got), show(want))
	}
	d.compared(command)
}

// fileRequestDetail: who may send what to whom, and who is told; rule 14.
func fileRequestDetail(t *testing.T, kind uint32) {
	me, peer, mobileOnly, away := main.person(t), main.person(t), main.person(t), main.person(t)
	d, own := main.login(t, me, kind), main.login(t, me, acrossFrom(kind))
	pc, phone, alone := main.login(t, peer, ct.Mac), main.login(t, peer, ct.IOS), main.login(t, mobileOnly, ct.Android)
	forget(d, own, pc, phone, alone)
	name := "C:\\Träume\\文件 \xff\xfe.txt" // not all of it is a text
	if !d.speaks(name) {
		name = strings.ToValidUTF8(name, "\ufffd")
	}

	task := d.offers(peer, name, 7, online, online)
	pc.isOffered(me, "C:\\Träume\\文件 \ufffd.txt", 7, task, online, 0)
	task = d.offers(peer, "wanted so", 1, offline, offline)
	pc.isOffered(me, "wanted so", 1, task, offline, 0)
	// Only a desktop takes a file at once (defect 31), and phones are not told.
	d.offers(mobileOnly, name, 7, online, offline)
	d.offers(away, name, 7, online, offline)
	alone.quiet("a phone is offered no file")
	phone.quiet("a phone is offered no file")
	own.quiet("the sender's other device")

	disabled, blocker := main.person(t), main.person(t)
	if err := main.people.SetEnabled(t.Context(), disabled.name, false); err != nil {
		t.Fatal(err)
	}
	b := main.login(t, blocker, ct.Windows)
	b.request(0x2013, 9, ct.Body(nil).Num(1, me.id).Num(2, 7))
	b.expect(0x2014, 9, ct.Body(nil).Num(1, 0).Num(2, me.id).Num(3, 7))
	for _, c := range []struct {
		what string
		to   uint32
		name string
		size uint32
	}{
		{"to oneself", me.id, "x", 1}, {"to nobody", 4_000_000_000, "x", 1}, {"to user 0", 0, "x", 1}, {"to a disabled", disabled.id, "x", 1},
		{"to who blocks", blocker.id, "x", 1}, {"an empty one", peer.id, "x", 0}, {"one too large", peer.id, "x", 100<<20 + 1},
		{"without a name", peer.id, "", 1}, {"a name too long", peer.id, strings.Repeat("ä", 2049), 1},
	} {
		for mode := online; mode <= offline; mode++ {
			seq := d.NextSeq() | 0x4000
			d.request(0x0506, seq, fileRequest(c.to, c.name, c.size, mode))
			got := d.await(0x0507, seq)
			if want := fileRefused(me.id, c.to, c.name, mode); !bytes.Equal(got.Body, want) {
				t.Errorf("%s: %s, want %x", c.what, show(got), want)
			}
		}
	}
	// No more than 16 that are not over: four there are.
	for range 12 {
		d.offers(away, "one more", 1, offline, offline)
	}
	d.request(0x0506, 0xff03, fileRequest(away.id, "too many", 1, offline))
	d.expect(0x0507, 0xff03, fileRefused(me.id, away.id, "too many", offline))
	d.quiet("answers only")
	b.quiet("who blocks is offered nothing")
	pc.quiet("what was refused")
}

// fileLoginDetail: a task's number is not enough, its party and role are asked for as well
// (defect 32); and the port beats as the other one does.
func fileLoginDetail(t *testing.T, kind uint32) {
	me, peer, third := main.person(t), main.person(t), main.person(t)
	d := main.login(t, me, kind)
	main.login(t, peer, ct.Windows)
	live, stored := d.offers(peer, "live", 7, online, online), d.offers(peer, "stored", 7, offline, offline)
	for role := uint32(1); role <= 4; role++ {
		for _, c := range []struct {
			who  person
			task string
			may  uint32
		}{{me, live, 1}, {peer, live, 2}, {third, live, 0}, {me, stored, 3}, {peer, stored, 0}, {third, stored, 0}, {me, task, 0}, {me, "", 0},
			{me, "../../../../etc/passwd", 0}, {me, strings.ToUpper(stored), 0}, {me, "\xff\x00", 0}, {person{}, stored, 0}} {
			if role != c.may {
				bytesPort(t, c.who, kind).turnedAway(c.task, role)
			}
		}
	}
	c := bytesPort(t, me, kind)
	beat := func() {
		t.Helper()
		c.request(0x0701, 0xff03, nil)
		got := c.await(0x0701, 0xff03)
		if want := c.pdu(0x0701, 0xff03, nil); !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("\n got %s\nwant %s", show(got), show(want))
		}
	}
	beat() // also before the login
	c.joins(stored, 3).expect(0x0504, 0, pull(stored, me.id, offline, 0, 7))
	beat()
	bytesPort(t, me, kind).joins(stored, 3) // who comes again takes the place
	c.closedAfter()
	again := bytesPort(t, me, kind).joins(live, 1)
	again.request(0x0504, 1, pull(live, me.id, online, 0, 7)) // senders don't pull
	again.closedAfter()
	for what, body := range map[string]ct.Body{
		"no role": ct.Body(nil).Num(1, me.id).Text(2, stored), "garbage": ct.Body("\xff\xff"),
		"role 9": ct.Body(nil).Num(1, me.id).Text(2, stored).Num(3, 9),
	} {
		t.Run(what, func(t *testing.T) {
			c := bytesPort(t, me, kind)
			c.request(0x0501, 1, body)
			c.closedAfter()
		})
	}
	early := bytesPort(t, me, kind)
	early.request(0x0504, 1, pull(stored, me.id, offline, 0, 7)) // before a login
	early.request(0x0503, 1, fileState(cancelled, stored, me.id))
	for _, p := range early.ExpectClosed() {
		t.Errorf("before the login came %s", show(p))
	}
}

// fileOnlineDetail: from desktop to desktop, piece by piece, and every way to end it.
func fileOnlineDetail(t *testing.T, kind uint32) {
	me, peer := main.person(t), main.person(t)
	d, receiver := main.login(t, me, kind), main.login(t, peer, ct.Windows)
	forget(d, receiver)                                     // offers go to who is there by now
	data := bytes.Repeat([]byte("godwits fly far. "), 3000) // 51,000 bytes
	meet := func(size int) (task string, from, to *device) {
		t.Helper()
		task = d.offers(peer, "a file", uint32(size), online, online)
		receiver.isOffered(me, "a file", uint32(size), task, online, 0)
		from, to = bytesPort(t, me, kind), bytesPort(t, peer, ct.Windows)
		from.joins(task, 1)
		to.joins(task, 2).expect(0x0503, 0, fileState(peerReady, task, me.id))
		return task, from, to
	}
	task, from, to := meet(len(data))
	for offset := 0; offset < len(data); offset += 32768 {
		size := min(32768, len(data)-offset)
		ask := pull(task, peer.id, online, uint32(offset), uint32(size))
		seq := 0xff01 + uint16(offset>>15)
		to.request(0x0504, seq, ask)
		from.passedOn(to, 0x0504, seq, ask)
		from.request(0x0505, 5, piece(task, me.id, uint32(offset), data[offset:offset+size]))
		to.passedOn(from, 0x0505, seq, piece(task, me.id, uint32(offset), data[offset:offset+size]))
	}
	to.request(0x0503, 9, fileState(done, task, peer.id))
	from.closedAfter(ct.Request(5, 0x0503, 0, fileState(done, task, peer.id)))
	to.closedAfter()
	bytesPort(t, me, kind).turnedAway(task, 1) // it is over

	for _, end := range []uint32{cancelled, refused, done} {
		task, from, to := meet(7)
		to.request(0x0503, 9, fileState(end, task, peer.id))
		from.closedAfter(ct.Request(5, 0x0503, 0, fileState(end, task, peer.id)))
		to.closedAfter()
	}
	task, from, to = meet(7)
	from.request(0x0503, 9, fileState(cancelled, task, me.id))
	to.closedAfter(ct.Request(5, 0x0503, 0, fileState(cancelled, task, me.id)))
	from.closedAfter()
	// What does not fit ends it, and the other side is told (defect 33): in another's name, of
	// another task, of no size, of a state that servers send, of more than was asked for.
	for what, bad := range map[string]func(task string, from, to *device) (guilty, other *device){
		"another's name": func(task string, from, to *device) (guilty, other *device) {
			to.request(0x0504, 1, pull(task, me.id, online, 0, 7))
			return to, from
		},
		"another task": func(_ string, from, to *device) (guilty, other *device) {
			to.request(0x0504, 1, pull(task, peer.id, online, 0, 7))
			return to, from
		},
		"no size": func(task string, from, to *device) (guilty, other *device) {
			to.request(0x0504, 1, pull(task, peer.id, online, 0, 0))
			return to, from
		},
		"not asked for": func(task string, from, to *device) (guilty, other *device) {
			from.request(0x0505, 1, piece(task, me.id, 0, []byte("1234567")))
			return from, to
		},
		"more than asked for": func(task string, from, to *device) (guilty, other *device) {
			to.request(0x0504, 1, pull(task, peer.id, online, 0, 3))
			from.expect(0x0504, 1, pull(task, peer.id, online, 0, 3))
			from.request(0x0505, 1, piece(task, me.id, 0, []byte("1234567")))
			return from, to
		},
	} {
		t.Run(what, func(t *testing.T) {
			task, from, to := meet(7)
			guilty, other := bad(task, from, to)
			guilty.closedAfter()
			other.closedAfter(ct.Request(5, 0x0503, 0, fileState(cancelled, task, guilty.who.id)))
		})
	}
	d.quiet("nothing of it on the message port")
	receiver.quiet("nothing of it on the message port")
}

// fileStoredDetail: by way of the store, from the upload to the removal.
func fileStoredDetail(t *testing.T, kind uint32) {
	me, peer, third := main.person(t), main.person(t), main.person(t)
	d, own := main.login(t, me, kind), main.login(t, me, acrossFrom(kind))
	pc, phone, stranger := main.login(t, peer, ct.Windows), main.login(t, peer, ct.IOS), main.login(t, third, ct.Windows)
	forget(d, own, pc, phone, stranger)
	const name = "Träume.txt"
	data := bytes.Repeat([]byte("01234567890123456789"), 2000) // 40,000 bytes, as docs/protocol.md has it
	info := func(task, name string, size int) ct.Body {
		return ct.Body(nil).Num(1, me.id).Text(2, task).Text(3, name).Num(4, uint32(size))
	}

	pc.waiting()
	first := d.stores(peer, name, data)
	pc.isOffered(me, name, 40000, first, offline, 0)
	unfinished := d.offers(peer, "not yet", 7, offline, offline)
	pc.isOffered(me, "not yet", 7, unfinished, offline, 0)
	stranger.uploaded(peer, first) // not his to say
	pc.uploaded(peer, first)       //
	d.uploaded(third, first)       // not whom it is for
	d.uploaded(peer, unfinished)   // not there
	d.uploaded(peer, task)         // no such task
	for _, x := range []*device{stranger, pc, d} {
		x.settle()
	}
	pc.waiting()
	d.uploaded(peer, first)
	pc.isOffered(me, name, 40000, first, offline, 1)
	d.uploaded(peer, first) // once more
	d.waiting()             // one's own are not among what waits for one
	second := own.stores(peer, "b.txt", []byte("7 bytes"))
	pc.isOffered(me, "b.txt", 7, second, offline, 0)
	own.uploaded(peer, second)
	pc.isOffered(me, "b.txt", 7, second, offline, 1)
	for _, x := range []*device{pc, phone} { // oldest first, and from anywhere
		x.waiting(info(first, name, 40000), info(second, "b.txt", 7))
	}
	pc.quiet("one notice for each")
	phone.quiet("phones are offered no files")
	own.quiet("the sender's other device")

	// Fetched by its receiver only, in order, as often as he likes.
	bytesPort(t, third, kind).turnedAway(first, 4)
	bytesPort(t, me, kind).turnedAway(first, 4)
	wrong := bytesPort(t, peer, ct.Windows).joins(first, 4)
	wrong.request(0x0504, 1, pull(first, peer.id, offline, 0, 100))
	wrong.expect(0x0505, 1, piece(first, peer.id, 0, data[:100]))
	wrong.request(0x0504, 2, pull(first, peer.id, offline, 5000, 100))
	wrong.closedAfter()
	pc.fetched(me, first, data)
	phone.fetched(me, second, []byte("7 bytes"))

	// Removed by its receiver or its sender, and then it is gone.
	remove := func(x *device, from, to person, task string) {
		t.Helper()
		x.request(0x050c, 0x66, ct.Body(nil).Num(1, from.id).Num(2, to.id).Text(3, task))
		x.settle()
	}
	remove(stranger, me, peer, first)
	remove(stranger, third, peer, first)
	remove(stranger, me, third, first)
	remove(pc, me, third, first)
	pc.waiting(info(first, name, 40000), info(second, "b.txt", 7))
	remove(pc, me, peer, first)
	pc.waiting(info(second, "b.txt", 7))
	remove(d, me, peer, second)
	phone.waiting()
	bytesPort(t, peer, ct.Windows).turnedAway(first, 4)
	for _, x := range []*device{d, own, pc, phone, stranger} {
		x.quiet(fmt.Sprint("removals, ", x.kind))
	}
}

// TestNoFileServer: without one requests are refused, and nothing waits.
func TestNoFileServer(t *testing.T) {
	t.Parallel()
	s := reservedServer(t)
	for _, k := range kinds {
		me := s.person(t)
		d := s.login(t, me, k.kind)
		d.request(0x0506, 0xff01, fileRequest(me.id, "x", 1, online))
		d.expect(0x0507, 0xff01, fileRefused(me.id, me.id, "x", online))
		d.request(0x0509, 0xff02, ct.Body(nil).Num(1, 0))
		d.expect(0x050a, 0xff02, ct.Body(nil).Num(1, me.id))
		d.uploaded(me, task)
		d.request(0x050c, 3, ct.Body(nil).Num(1, me.id).Num(2, me.id).Text(3, task))
		d.quiet("without a file server")
	}
}

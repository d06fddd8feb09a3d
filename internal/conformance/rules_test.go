package conformance

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	ct "godwit/connector/connectortest"
)

// The rules that old clients really depend on, by number. Every test here and elsewhere
// compares whole PDUs; these look at what a rule is about.

// TestRule1FrameSeqAndService: the frame is that of the tables, all 16 bits of a request's
// number come back, pushes have 0, and every PDU the service of its command.
func TestRule1FrameSeqAndService(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Windows), main.login(t, peer, ct.IOS)
	for i, seq := range []uint16{0xff01, 0xff02, 0xff03, 0x8000, 0xffff, 0x7fff, 1} {
		d.request(0x0301, seq, text(0, peer.id, 0, 0, 1, []byte{byte(i + 1)}))
		d.expect(0x0302, seq, ack(me.id, peer.id, uint32(i+1)))
		got := dp.Await("the copy", func(p ct.PDU) bool { return p.Command == 0x0301 })
		dp.compare(got, 0x0301, 0, text(me.id, peer.id, uint32(i+1), field(t, got, 4), 1, []byte{byte(i + 1)}))
	}
	// One byte at a time, many at once, and cut anywhere: the stream has no other borders.
	var in []byte
	for seq := uint16(0xff00); seq != 0; seq++ {
		in = append(in, d.pdu(0x030b, seq, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id)).Bytes()...)
	}
	for i := range 64 {
		d.Write(in[i : i+1])
	}
	d.Write(in[64:1000])
	d.Write(in[1000:])
	for seq := uint16(0xff00); seq != 0; seq++ {
		d.expect(0x030c, seq, ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, peer.id).Num(4, 7))
	}
	d.quiet("one answer each")
}

// TestRule2RequiredFieldsZeroIncluded: in every answer of the catalogue; here those whose
// fields are all zero.
func TestRule2RequiredFieldsZeroIncluded(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	d := main.login(t, me, ct.Android)
	for _, c := range []struct {
		command, answer uint16
		request, want   ct.Body
	}{
		{0x010a, 0x010b, ct.Body(nil).Num(1, 0), ct.Body(nil).Num(1, me.id).Num(2, 0)},
		{0x010e, 0x010f, ct.Body(nil).Num(1, 0), ct.Body(nil).Num(1, me.id).Num(2, 0).Num(3, 0)},
		// Departments of other tests may be there already: none is newer than this.
		{0x0210, 0x0211, ct.Body(nil).Num(1, 0).Num(2, math.MaxUint32), ct.Body(nil).Num(1, me.id).Num(2, math.MaxUint32)},
		{0x0307, 0x0308, ct.Body(nil).Num(1, 0), ct.Body(nil).Num(1, me.id).Num(2, 0)},
		{0x0309, 0x030a, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, 0).Num(4, 0).Num(5, 0), ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, 0).Num(4, 0)},
		{0x030b, 0x030c, ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, 0), ct.Body(nil).Num(1, me.id).Num(2, 1).Num(3, 0).Num(4, 0)},
		{0x0506, 0x0507, ct.Body(nil).Num(1, 0).Num(2, 0).Text(3, "").Num(4, 0).Num(5, 1),
			ct.Body(nil).Num(1, 1).Num(2, me.id).Num(3, 0).Text(4, "").Text(5, "").Num(7, 1)},
		{0x0405, 0x0406, ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "").Text(4, ""), ct.Body(nil).Num(1, me.id).Num(2, 1).Text(4, "")},
	} {
		d.request(c.command, 4, c.request)
		d.expect(c.answer, 4, c.want)
	}
}

// TestRule3Heartbeat is the vector of the protocol; heartbeatDetail has more.
func TestRule3Heartbeat(t *testing.T) {
	t.Parallel()
	beat, _ := hex.DecodeString("00000010000100000007070100000000")
	d := main.dial(t, ct.Windows)
	for range 3 {
		d.Write(beat)
		if got := d.Next(); !bytes.Equal(got.Bytes(), beat) {
			t.Errorf("%x came back", got.Bytes())
		}
	}
}

// TestRule4Discovery: HTTP/1.1 with a length, JSON with all keys, the port a string; a client
// that goes there can log in.
func TestRule4Discovery(t *testing.T) {
	t.Parallel()
	for _, request := range []string{
		"GET /msg_server HTTP/1.1\r\nHost: " + main.http + "\r\n\r\n",
		"POST /msg_server?x=1 HTTP/1.1\r\nHost: " + main.http + "\r\nContent-Length: 0\r\n\r\n",
		"GET /msg_server/any HTTP/1.1\r\nHost: " + main.http + "\r\nConnection: close\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", main.http)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(conn) // one request, then it is closed
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(raw, []byte("HTTP/1.1 200 OK\r\n")) {
			t.Errorf("answered %.40q", raw)
		}
		if len(raw) > 1024 {
			t.Errorf("%d bytes", len(raw))
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.Header.Get("Content-Length") != strconv.Itoa(len(body)) || resp.Header.Get("Content-Type") != "text/html;charset=utf-8" {
			t.Errorf("%d bytes, header %v, %v", len(body), resp.Header, err)
		}
		var m map[string]any
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		for _, key := range []string{"priorIP", "backupIP", "port", "msg", "msfsPrior", "msfsBackup", "discovery"} {
			if _, text := m[key].(string); !text {
				t.Errorf("%s is %v, no text", key, m[key])
			}
		}
		if m["code"] != 0.0 {
			t.Errorf("code %v", m["code"])
		}
		addr := fmt.Sprintf("%s:%s", m["priorIP"], m["port"])
		if addr != main.clients {
			t.Errorf("clients are sent to %s, they are served at %s", addr, main.clients)
		}
	}
}

// TestRule5LoginResults is in loginDetail and TestDefect24LockOut: codes and texts, the close
// after a failure. Here: what came before and after the request on the wire.
func TestRule5LoginResults(t *testing.T) {
	t.Parallel()
	p := main.person(t)
	d := main.dialFrom(t, "127.0.2.3", ct.Android)
	d.Write(join(d.pdu(0x0103, 3, loginBody(p.name, "wrong", 1, ct.Android)), d.pdu(0x0103, 4, loginBody(p.name, password1, 1, ct.Android)),
		d.pdu(0x0701, 5, nil)))
	d.refused(3, 6, wrongText) // nothing behind it is served
}

// TestRule6LoginAnswerIsFirst: messages that arrive while somebody logs in, and the notices of
// his login, come after the answer.
func TestRule6LoginAnswerIsFirst(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	writer := main.login(t, peer, ct.Mac)
	main.login(t, me, ct.Mac)
	total := uint32(0)
	for round := range uint16(10) {
		d := main.dial(t, ct.Android)
		var in bytes.Buffer
		for i := range uint16(20) {
			in.Write(writer.pdu(0x0301, round*20+i+1, text(0, me.id, 0, 0, 1, []byte("x"))).Bytes())
		}
		d.request(0x0103, 0xff01, loginBody(me.name, password1, 1, ct.Android))
		writer.Write(in.Bytes())
		d.signedIn(me, 0xff01, 1) // the very next PDU
		total += 20
		for i := range uint16(20) {
			writer.await(0x0302, round*20+i+1)
		}
		// Each message is in the history or was pushed; with both none twice by push.
		d.settle()
		last := uint32(0)
		for _, p := range d.Late() {
			if p.Command != 0x0301 {
				continue
			}
			id := field(t, p, 3)
			if last != 0 && id != last+1 || id > total {
				t.Errorf("pushed %d after %d", id, last)
			}
			last = id
		}
		if last != 0 && last != total {
			t.Errorf("pushed up to %d of %d", last, total)
		}
		if n := d.Latest(peer.id); n != total {
			t.Errorf("newest id %d of %d", n, total)
		}
		d.Logout()
	}
}

// TestRule7AckFirst: an answer to a message never overtakes the message's own ack, since the
// ack leaves before any copy does.
func TestRule7AckFirst(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Windows), main.login(t, peer, ct.Android)
	id := uint32(0)
	for i := range uint16(30) {
		d.request(0x0301, i+1, text(0, peer.id, 0, 0, 1, []byte("ping")))
		dp.await(0x0301, 0)
		dp.request(0x0301, i+1, text(0, me.id, 0, 0, 1, []byte("pong")))
		dp.await(0x0302, i+1)
		got := d.Await("ack or pong", func(p ct.PDU) bool { return p.Command == 0x0302 || p.Command == 0x0301 })
		d.compare(got, 0x0302, i+1, ack(me.id, peer.id, id+1))
		got = d.await(0x0301, 0)
		d.compare(got, 0x0301, 0, text(peer.id, me.id, id+2, field(t, got, 4), 1, []byte("pong")))
		id += 2
	}
}

// TestRule8NoticesByClass: 0x0203 goes to no phone and 0x020e to no PC, whatever comes and
// goes.
func TestRule8NoticesByClass(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	witness := main.login(t, peer, ct.Windows)
	phone, pc := main.login(t, me, ct.Android), main.login(t, me, ct.Windows)
	var pcs, phones []*device
	for _, k := range []uint32{ct.Mac, ct.Windows, ct.Mac} {
		pcs, phones = append(pcs, pc), append(phones, phone)
		pc = main.login(t, me, k)
		phone = main.login(t, me, k^0x10)
	}
	witness.awaitStatus(me.id, 1)
	for _, d := range append(pcs, phones...) {
		for _, p := range d.ExpectClosed() {
			if p.Command == 0x0203 && mobile(d.kind) || p.Command == 0x020e && !mobile(d.kind) {
				t.Errorf("to %d came %s", d.kind, show(p))
			}
		}
	}
	pc.Logout()
	witness.awaitStatus(me.id, 2)
	for _, p := range phone.rest() {
		if p.Command == 0x0203 {
			t.Errorf("to a phone came %s", show(p))
		}
	}
}

// TestRule9NoAttachData: a client that sends it gets it back from nowhere. The client of these
// tests refuses every field that the tables do not have.
func TestRule9NoAttachData(t *testing.T) {
	t.Parallel()
	for id, c := range catalogue {
		if c.answer == 0 || c.once || id == 0x0701 || id == 0x0305 {
			continue
		}
		s := scene{me: main.person(t), peer: main.person(t)}
		s.d = main.login(t, s.me, ct.Android)
		main.login(t, s.peer, ct.Mac)
		s.d.request(id, 3, c.body(s).body().Bytes(20, []byte("attached")))
		s.d.answered(c, s, 3)
		s.d.Logout()
	}
}

// TestRule10LatestUpdateTime is in allUsersDetail and TestLargeDirectories; here
// the answer to a time far back and to a future one.
func TestRule10LatestUpdateTime(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	d := main.login(t, me, ct.IOS)
	for _, since := range []uint32{0, 1, 1_000_000_000} {
		d.request(0x0208, 2, ct.Body(nil).Num(1, me.id).Num(2, since))
		m := d.message(0x0209, 2)
		if m.Num(2) == since || len(m.Subs(3)) == 0 {
			t.Errorf("since %d: %d users, time %d", since, len(m.Subs(3)), m.Num(2))
		}
	}
}

// TestRule11DenseIDs: 1, 2, 3, … in every conversation for itself, both directions together,
// without a hole where something was refused or repeated.
func TestRule11DenseIDs(t *testing.T) {
	t.Parallel()
	me, a, b := main.person(t), main.person(t), main.person(t)
	d, da, db := main.login(t, me, ct.Windows), main.login(t, a, ct.Android), main.login(t, b, ct.Mac)
	for i := range uint32(10) {
		if id, _ := d.sends(a, fmt.Append(nil, i), da); id != 2*i+1 {
			t.Fatalf("id %d", id)
		}
		d.request(0x0301, 0x99, text(0, a.id, 0, 0, 1, nil)) // refused
		if id, _ := da.sends(me, fmt.Append(nil, i), d); id != 2*i+2 {
			t.Fatalf("id %d", id)
		}
		if id, _ := db.sends(me, fmt.Append(nil, i), d); id != i+1 {
			t.Fatalf("id %d", id)
		}
	}
	d.quiet("ids")
}

// TestRule12CiphertextAsItCame: the vectors of the protocol go through byte for byte.
func TestRule12CiphertextAsItCame(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.IOS), main.login(t, peer, ct.Android)
	for i, data := range []string{
		"8+lyaGSNdKxdsEEADyYxvw==", "nnZSBwfPCz60q69ddmfIJA==", "B4ARdOHy4UktX4x32eJ3vQ==",
		"7W7M97iH/ULKFoq4Tji+uwr+GZ43+2mMfQMFqTsGBjY=", "BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g=",
		"UKheN9KmjZEOcj7ZdGedvw==", "QhGXlpFjvMFUNrtl1aaPzA==", "no cipher at all", "\x00", "====", " \r\n",
	} {
		d.sends(peer, []byte(data), dp)
		if h := dp.ByIDs(me.id, uint32(i+1)); len(h) != 1 || string(h[0].Content) != data {
			t.Errorf("history has %v", h)
		}
		if list := dp.recent(0); len(list) != 1 || list[0].Text(6) != data {
			t.Errorf("listed as %v", list)
		}
	}
	// A text longer than the original could hold is whole in the history; lists may show
	// its beginning, and it is a text that clients can read.
	long := ct.EncryptText(string(bytes.Repeat([]byte("long "), 2000)))
	d.sends(peer, long, dp)
	if h := dp.History(me.id, 0, 1); len(h) != 1 || !bytes.Equal(h[0].Content, long) {
		t.Error("a long text changed on its way")
	}
	list := dp.recent(0)
	if len(list) != 1 {
		t.Fatalf("%d sessions", len(list))
	}
	if plain, err := decrypt(list[0].Bytes(6)); err != nil || !bytes.HasPrefix(plain, []byte("long long ")) {
		t.Errorf("listed as %.40q, %v", plain, err)
	}
}

// TestRule13Silence: nobody who may be silent is closed for it, and who never logs in is,
// after 15 seconds. With -silence 4m it is Android's pause, and a PC is closed at 120 s.
func TestRule13Silence(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	phone := main.login(t, me, ct.Android)
	pc := main.login(t, me, ct.Windows)
	began := time.Now()
	stranger := main.dial(t, ct.Windows)
	stranger.request(0x0701, 1, nil) // a heartbeat is no login
	stranger.await(0x0701, 1)
	stranger.ExpectClosed()
	if took := time.Since(began); took < 13*time.Second {
		t.Errorf("closed after %v without a login", took)
	}
	<-time.After(*flagSilence - time.Since(began))
	phone.expect(0x020e, 0, ct.Body(nil).Num(1, me.id).Num(2, 1))
	for _, p := range phone.rest() { // it is still served, and was told of its PC only
		if p.Command != 0x020e {
			t.Errorf("unexpected %s", show(p))
		}
	}
	if *flagSilence > 121*time.Second {
		pc.ExpectClosed()
	} else {
		pc.settle()
	}
}

// TestRule14FileName: 0x0507 has the file_name of its request, to the byte, whether the request
// is granted or not, and whether the name is a text or not.
func TestRule14FileName(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		me, peer := main.person(t), main.person(t)
		d := main.login(t, me, k.kind)
		main.login(t, peer, ct.Windows).settle()
		for i, name := range []string{`C:\Users\me\ä\文件.txt`, " x ", "a/../b", "\xc4\xe3\xba\xc3.txt", "nul\x00in it", strings.Repeat("n", 4096)} {
			d.offers(peer, name, 1+uint32(i), online, online)
			for mode := online; mode <= offline; mode++ {
				seq := uint16(0xff00 + 2*i + int(mode))
				d.request(0x0506, seq, fileRequest(peer.id, name, 1<<32-1, mode)) // too large
				d.expect(0x0507, seq, fileRefused(me.id, peer.id, name, mode))
			}
		}
	}
}

// TestRule15Repeat is TestDefect2Repeat; here it is Windows, word for word: one message at a
// time, and after a pause the same bytes once more.
func TestRule15Repeat(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Windows), main.login(t, peer, ct.Mac)
	b := d.pdu(0x0301, 998, text(me.id, peer.id, 0, uint32(time.Now().Unix()), 1, ct.EncryptText("hello"))).Bytes()
	d.Write(b)
	d.expect(0x0302, 998, ack(me.id, peer.id, 1))
	<-time.After(5 * time.Second) // as Windows waits
	d.Write(b)
	d.expect(0x0302, 998, ack(me.id, peer.id, 1))
	dp.Receive()
	dp.quiet("a repeat")
	d.quiet("a repeat")
}

// encryptLying is a text of n bytes of cipher whose hidden length says something else.
func encryptLying(n int, says uint32) []byte {
	b := bytes.Repeat([]byte("lies"), n/4)
	binary.BigEndian.PutUint32(b[n-4:], says)
	c, err := aes.NewCipher([]byte(ct.AESKey))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	for i := 0; i < n; i += 16 {
		c.Encrypt(b[i:], b[i:i+16])
	}
	return []byte(base64.StdEncoding.EncodeToString(b))
}

// decrypt is the text of a message.
func decrypt(data []byte) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil || len(b) == 0 || len(b)%16 != 0 {
		return nil, fmt.Errorf("%d bytes are no text: %w", len(b), err)
	}
	c, err := aes.NewCipher([]byte(ct.AESKey))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(b); i += 16 {
		c.Decrypt(b[i:], b[i:i+16])
	}
	n := binary.BigEndian.Uint32(b[len(b)-4:])
	if int64(n) > int64(len(b)-4) {
		return nil, fmt.Errorf("length %d of %d", n, len(b))
	}
	return b[:n], nil
}

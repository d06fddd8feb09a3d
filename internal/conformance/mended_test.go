package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ct "godwit/connector/connectortest"
)

// More of the original's defects that a client can see, by their numbers in the list. Where a
// detail of a command holds one already, the table of [mended] says so.

// mended is, for each number of the list of defects that a client can see, the test that
// holds it; of the others, why no client sees it.
var mended = map[int]string{
	1:  "TestDefect1AckedIsStored",
	2:  "TestDefect2Repeat",
	3:  "TestDefect3Order",
	4:  "TestBeforeLogin",
	5:  "kickDetail",
	6:  "readDetail, groupConversation",
	7:  "TestDefect7Unread",
	8:  "- a connection of the original's store",
	9:  "TestDefect9FirstMessageIsListed",
	10: "TestDefect10FirstMessagesAtOnce",
	11: "TestDefect11NothingLeaks, TestRule9NoAttachDataInPushes",
	12: "- a push per server; one event goes to the receivers of pushes, see internal/up and connector/webhook",
	13: "deviceTokenDetail",
	14: "deviceTokenDetail",
	15: "avatarDetail",
	16: "groupShieldDetail",
	17: "groupChangeDetail, groupInfoDetail, groupConversation",
	18: "groupCreateDetail",
	19: "TestDefect19GroupsEnd",
	20: "groupChangeDetail",
	21: "allUsersDetail, TestDefect21ListsAreComputed",
	22: "loginDetail, TestDefect22NoQuoting",
	23: "TestTLS",
	24: "TestDefect24LockOut",
	25: "- one server of the original's; see internal/e2e",
	26: "TestStatusLimit",
	27: "TestDefect27Limits",
	28: "TestDefect28ShortLengths",
	29: "TestRule13Silence",
	30: "passingDetail",
	31: "fileRequestDetail, fileStoredDetail",
	32: "fileLoginDetail",
	33: "fileOnlineDetail",
	34: "TestDefect34Pictures",
	35: "TestDefect35HTTPAsksForAKey",
	36: "- Apple's protocol of then; see connector/webhook",
	37: "- a leak of the original's",
	38: "- a port that no client uses",
	39: "- a wait inside the original; a voice message is stored as it came: sendDetail",
	40: "- sample configurations of the original",
	41: "TestDefect41LyingTexts",
}

// rules is, for each rule that old clients depend on, the tests that name it.
var rules = map[int]string{
	1:  "TestRule1FrameSeqAndService, TestRule9NoAttachDataInPushes",
	2:  "TestRule2RequiredFieldsZeroIncluded, TestCommands",
	3:  "TestRule3Heartbeat, heartbeatDetail",
	4:  "TestRule4Discovery",
	5:  "TestRule5LoginResults, loginDetail, TestDefect24LockOut",
	6:  "TestRule6LoginAnswerIsFirst",
	7:  "TestRule7AckFirst, TestRule7AckFirstInGroups",
	8:  "TestRule8NoticesByClass",
	9:  "TestRule9NoAttachData, TestRule9NoAttachDataInPushes",
	10: "TestRule10LatestUpdateTime, TestRule10DepartmentsTime, allUsersDetail, TestLargeDirectories",
	11: "TestRule11DenseIDs, TestRule11DenseIDsInGroups",
	12: "TestRule12CiphertextAsItCame",
	13: "TestRule13Silence, TestRule13AnyByteCounts",
	14: "TestRule14FileName, fileRequestDetail",
	15: "TestRule15Repeat, TestDefect2Repeat",
}

// TestRulesAndDefectsAreWhole: none of the 15 rules and 41 defects is left out, and the tests
// that hold them are there.
func TestRulesAndDefectsAreWhole(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(b)
	}
	for what, held := range map[string]struct {
		by map[int]string
		n  int
	}{"rule": {rules, 15}, "defect": {mended, 41}} {
		if len(held.by) != held.n {
			t.Errorf("%d %ss are held, there are %d", len(held.by), what, held.n)
		}
		for n := 1; n <= held.n; n++ {
			if why, none := strings.CutPrefix(held.by[n], "- "); none && why != "" {
				continue
			}
			for name := range strings.SplitSeq(held.by[n], ", ") {
				if name == "" || !strings.Contains(source.String(), "\nfunc "+name+"(t *testing.T") {
					t.Errorf("%s %d is to be held by %q, which there is not", what, n, name)
				}
			}
		}
	}
}

// TestDefect1AckedIsStored: what was acked is in the history, whatever was refused around it;
// what has no ack is not.
func TestDefect1AckedIsStored(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Windows), main.login(t, peer, ct.Android)
	voice := append([]byte{0, 0, 0, 60}, bytes.Repeat([]byte("speex"), 60<<10)...) // 300 KiB
	long := ct.EncryptText(strings.Repeat("x", 60000))                             // 80,000 characters, where the original had 4,096
	var in []byte
	for i, b := range []ct.Body{
		text(0, peer.id, 0, 0, 1, long), text(0, peer.id, 0, 0, 1, nil), text(0, peer.id, 0, 0, 2, voice),
		text(0, peer.id, 0, 0, 1, make([]byte, 390<<10)), text(0, peer.id, 0, 0, 1, []byte("last")),
	} {
		in = append(in, d.pdu(0x0301, uint16(i+1), b).Bytes()...)
	}
	d.Write(in)
	for seq, id := range map[uint16]uint32{1: 1, 3: 2, 5: 3} {
		d.expect(0x0302, seq, ack(me.id, peer.id, id))
	}
	d.quiet("what was not stored has no ack")
	for id, data := range map[uint32][]byte{1: long, 2: voice, 3: []byte("last")} {
		if m := dp.Receive(); m.ID > 3 {
			t.Errorf("message %d came", m.ID)
		}
		for _, x := range []struct {
			*device
			peer person
		}{{d, peer}, {dp, me}} {
			if h := x.History(x.peer.id, id, 1); len(h) != 1 || h[0].ID != id || !bytes.Equal(h[0].Content, data) {
				t.Errorf("message %d is not in the history as it was sent", id)
			}
		}
	}
}

// TestDefect9FirstMessageIsListed: a first message lists the conversation for the sender too,
// with its time.
func TestDefect9FirstMessageIsListed(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		me, peer := main.person(t), main.person(t)
		d, dp := main.login(t, me, k.kind), main.login(t, peer, ct.Mac)
		_, created := d.sends(peer, []byte("first"), dp)
		for x, other := range map[*device]person{d: peer, dp: me} {
			x.request(0x0201, 5, ct.Body(nil).Num(1, 0).Num(2, created-1))
			x.expect(0x0202, 5, ct.Body(nil).Num(1, x.who.id).Bytes(2, session(other.id, created, 1, "first", 1)))
		}
	}
}

// TestDefect19GroupsEnd: members that went are counted no more, the version tells of it, and a
// group that was dissolved is none, not a fixed one.
func TestDefect19GroupsEnd(t *testing.T) {
	t.Parallel()
	c := newCast(t, ct.Windows)
	me, bob, eve := c.me.id, c.bob.id, c.eve.id
	group := main.fixed(t, "to end", me, me, bob, eve)
	path := fmt.Sprintf("/groups/%d", group.Number)
	var g struct {
		Members, Version uint32
		Dissolved        bool
	}
	main.api(t, http.MethodPost, path+"/members", map[string]any{"remove": []uint32{bob}}, nil)
	if main.api(t, http.MethodGet, path, nil, &g); g.Members != 2 || g.Version != 2 {
		t.Errorf("after one was removed: %+v", g)
	}
	main.api(t, http.MethodDelete, path, nil, nil)
	if main.api(t, http.MethodGet, path, nil, &g); g.Members != 0 || !g.Dissolved {
		t.Errorf("after the end: %+v", g)
	}
	for _, d := range []*device{c.d, c.pc, c.evePhone} {
		d.request(0x0401, 5, ct.Body(nil).Num(1, 0))
		d.expect(0x0402, 5, ct.Body(nil).Num(1, d.who.id))
		d.infoOf([]uint32{group.Number})
	}
	c.d.changed(c.d.changes(1, group.Number, bob), 1, group.Number, 1, nil, nil)
}

// TestDefect21ListsAreComputed: a group's message is in every member's list at once, however it
// was written, also for who was away.
func TestDefect21ListsAreComputed(t *testing.T) {
	t.Parallel()
	me, peer, away := main.person(t), main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Windows), main.login(t, peer, ct.Android)
	group := d.creates("at once", []*device{dp}, peer.id, away.id)
	for id := uint32(1); id <= 5; id++ {
		d.writes(group, fmt.Sprint(id), dp)
		if l := dp.recent(0); len(l) != 1 || l[0].Num(1) != group || l[0].Num(5) != id {
			t.Fatalf("after message %d a member lists %v", id, l)
		}
	}
	da := main.login(t, away, ct.IOS)
	if l := da.recent(0); len(l) != 1 || l[0].Num(5) != 5 || da.Unread()[group] != 5 {
		t.Errorf("who was away lists %v", l)
	}
}

// TestDefect22NoQuoting: what a client writes is a text and nothing else, wherever it goes.
func TestDefect22NoQuoting(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Android), main.login(t, peer, ct.Mac)
	forget(d, dp)
	const evil = `'; DROP TABLE IMUser; -- " \ %s %00 <b>&amp; ${x} *.> $JS.API`
	d.request(0x0213, 5, ct.Body(nil).Num(1, 0).Text(2, evil))
	d.expect(0x0214, 5, ct.Body(nil).Num(1, me.id).Num(2, 0).Text(3, evil))
	dp.awaitNotice(0x0215, me.id, evil)
	d.request(0x020c, 6, ct.Body(nil).Num(1, 0).Text(2, evil))
	d.expect(0x020d, 6, ct.Body(nil).Num(1, me.id).Num(2, 0))
	dp.awaitNotice(0x0212, me.id, evil)
	d.request(0x0405, 7, ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, evil).Text(4, evil).Num(5, peer.id))
	group := field(t, d.await(0x0406, 7), 3)
	two := []uint32{me.id, peer.id}
	dp.expect(0x040b, 0, membersChanged(me.id, 1, group, two, two))
	dp.infoOf([]uint32{group}, ids(ct.Body(nil).Num(1, group).Num(2, 1).Text(3, evil).Text(4, evil).Num(5, me.id).Num(6, 2).Num(7, 0), 8, two...))
	d.request(0x0108, 8, ct.Body(nil).Num(1, 0).Text(2, evil))
	d.expect(0x0109, 8, ct.Body(nil).Num(1, me.id))
	d.shielded(0)
	if _, token := main.pushesTo(t, me); token != evil {
		t.Errorf("token %q", token)
	}
	d.offers(peer, evil, 1, offline, offline)
	d.sends(peer, []byte(evil), dp)
}

// TestDefect34Pictures: uploads are of users, and one too large is refused; internal/up has the
// rest of the store.
func TestDefect34Pictures(t *testing.T) {
	t.Parallel()
	post := func(from string, size int) string {
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: ct.Patience}
		c := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}, Timeout: ct.Patience}
		defer c.CloseIdleConnections()
		body := "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a_1x1.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\xff" +
			strings.Repeat("p", size) + "\r\n--x--\r\n"
		resp, err := c.Post("http://"+main.http+"/", "multipart/form-data; boundary=x", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		_, _ = b.ReadFrom(resp.Body)
		return b.String()
	}
	const stranger, user = "127.0.6.1", "127.0.6.2"
	d := main.dialFrom(t, user, ct.Android)
	d.signIn(main.person(t))
	d.settle()
	if a := post(stranger, 100); !strings.Contains(a, `"error_code":13`) {
		t.Errorf("a stranger's upload: %s", a)
	}
	if a := post(user, 100); !strings.Contains(a, `"error_code":0`) || !strings.Contains(a, `_1x1.jpg"`) {
		t.Errorf("a user's upload: %s", a)
	}
	if a := post(user, 6<<20); !strings.Contains(a, `"error_code":1,`) {
		t.Errorf("a large upload: %s", a)
	}
}

// TestDefect35HTTPAsksForAKey: TeamTalk's http_msg_server changes groups with a key and not
// without, and what it changes is told as ever.
func TestDefect35HTTPAsksForAKey(t *testing.T) {
	t.Parallel()
	c := newCast(t, ct.Windows)
	post := func(path, body string) (answer struct {
		Code  int    `json:"error_code"`
		Group uint32 `json:"group_id"`
	}) {
		t.Helper()
		resp, err := http.Post("http://"+main.adminAt+path, "application/x-www-form-urlencoded", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	create := func(key string) string {
		return fmt.Sprintf(`{"req_user_id":0,"app_key":%q,"group_name":"by HTTP","group_type":1,"group_avatar":"","user_id_list":[%d,%d]}`,
			key, c.me.id, c.bob.id)
	}
	change := func(key string, group uint32) string {
		return fmt.Sprintf(`{"req_user_id":0,"app_key":%q,"group_id":%d,"modify_type":2,"user_id_list":[%d]}`, key, group, c.bob.id)
	}
	for _, key := range []string{"", "asdfghjkl", main.token[1:]} {
		if a := post("/query/CreateGroup", create(key)); a.Code == 0 || a.Group != 0 {
			t.Errorf("with the key %q: %+v", key, a)
		}
	}
	c.d.request(0x0401, 5, ct.Body(nil).Num(1, 0))
	c.d.expect(0x0402, 5, ct.Body(nil).Num(1, c.me.id))
	made := post("/query/CreateGroup", create(main.token))
	if made.Code != 0 {
		t.Fatalf("with a key: %+v", made)
	}
	two := []uint32{c.me.id, c.bob.id}
	all(append(c.others, c.d), 0x040b, membersChanged(0, 1, made.Group, two, two))
	if a := post("/query/ChangeMembers", change("", made.Group)); a.Code == 0 {
		t.Errorf("without a key: %+v", a)
	}
	if a := post("/query/ChangeMembers", change(main.token, made.Group)); a.Code != 0 {
		t.Errorf("with a key: %+v", a)
	}
	all(append(c.others, c.d), 0x040b, membersChanged(0, 2, made.Group, []uint32{c.me.id}, []uint32{c.bob.id}))
	c.quiet("groups by HTTP")
}

// TestRule7AckFirstInGroups: an answer to a message never overtakes the message's own ack.
func TestRule7AckFirstInGroups(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, dp := main.login(t, me, ct.Windows), main.login(t, peer, ct.Android)
	group := d.creates("ping", []*device{dp}, peer.id)
	for i := range uint16(20) {
		d.request(0x0301, i+1, text(0, group, 0, 0, 17, []byte("ping")))
		dp.await(0x0301, 0)
		dp.request(0x0301, i+1, text(0, group, 0, 0, 17, []byte("pong")))
		dp.await(0x0302, i+1)
		got := d.Await("ack or pong", func(p ct.PDU) bool { return p.Command == 0x0302 || p.Command == 0x0301 })
		d.compare(got, 0x0302, i+1, ct.Body(nil).Num(1, me.id).Num(2, group).Num(3, 2*uint32(i)+1).Num(4, 2))
		d.await(0x0301, 0)
	}
}

// TestRule9NoAttachDataInPushes: what a client puts into field 20 of anything that is told to
// others reaches nobody; neither does the number of its request (rule 1). The clients of these
// tests refuse every field that the tables do not have, and every push with a number.
func TestRule9NoAttachDataInPushes(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			c := newCast(t, k.kind)
			cookie := ct.Body(nil).Bytes(20, []byte("cookie"))
			with := func(b ct.Body) ct.Body { return append(slices.Clone(b), cookie...) }
			d := c.d
			d.request(0x0405, 0x1234, with(ct.Body(nil).Num(1, 0).Num(2, 2).Text(3, "x").Text(4, "").Num(5, c.bob.id)))
			two, three := []uint32{c.me.id, c.bob.id}, []uint32{c.me.id, c.bob.id, c.eve.id}
			group := field(t, d.await(0x0406, 0x1234), 3)
			all(c.others, 0x040b, membersChanged(c.me.id, 1, group, two, two))
			d.request(0x0407, 0x1234, with(ct.Body(nil).Num(1, 0).Num(2, 1).Num(3, group).Num(4, c.eve.id)))
			d.changed(0x1234, 1, group, 0, three, []uint32{c.eve.id})
			all(append(c.others, c.evePC, c.evePhone), 0x040b, membersChanged(c.me.id, 1, group, three, []uint32{c.eve.id}))
			d.request(0x0301, 0x1234, with(text(0, group, 0, 0, 17, []byte("x"))))
			d.await(0x0302, 0x1234)
			for _, x := range append(c.others, c.evePC, c.evePhone) {
				got := x.await(0x0301, 0)
				x.compare(got, 0x0301, 0, text(c.me.id, group, 1, field(t, got, 4), 17, []byte("x")))
			}
			c.own.request(0x0303, 0x1234, with(ct.Body(nil).Num(1, 0).Num(2, group).Num(3, 1).Num(4, 2)))
			d.request(0x0213, 0x1234, with(ct.Body(nil).Num(1, 0).Text(2, "x")))
			d.await(0x0214, 0x1234)
			d.request(0x020c, 0x1234, with(ct.Body(nil).Num(1, 0).Text(2, "y")))
			d.await(0x020d, 0x1234)
			for _, x := range []*device{c.pc, c.evePhone} {
				x.awaitNotice(0x0215, c.me.id, "x")
			}
			c.pc.awaitNotice(0x0212, c.me.id, "y")
			d.request(0x0506, 0x1234, with(fileRequest(c.bob.id, "x", 1, offline)))
			task := d.message(0x0507, 0x1234).Text(5)
			c.pc.isOffered(c.me, "x", 1, task, offline, 0)
			d.request(0x0409, 0x1234, with(ct.Body(nil).Num(1, 0).Num(2, group).Num(3, 1)))
			d.await(0x040a, 0x1234)
			d.request(0x0601, 0x1234, with(ct.Body(nil).Num(1, 0).Num(2, c.bob.id).Text(3, "x")))
			all(c.others, 0x0601, ct.Body(nil).Num(1, c.me.id).Num(2, c.bob.id).Text(3, "x"))
			c.quiet("field 20")
		})
	}
}

// TestRule10DepartmentsTime: the time of departments too is another one when any are listed.
func TestRule10DepartmentsTime(t *testing.T) {
	t.Parallel()
	me := main.person(t)
	d := main.login(t, me, ct.Windows)
	var made struct{ Number uint32 }
	at := uint32(0)
	for i := range 3 {
		main.api(t, http.MethodPost, "/departments", map[string]any{"name": fmt.Sprint("time ", i, " ", me.name)}, &made)
		d.request(0x0210, 5, ct.Body(nil).Num(1, 0).Num(2, at))
		m := d.message(0x0211, 5)
		if !slices.ContainsFunc(m.Subs(3), func(p ct.Message) bool { return p.Num(1) == made.Number }) || m.Num(2) <= at {
			t.Errorf("a department made after %d: %d listed, at %d", at, len(m.Subs(3)), m.Num(2))
		}
		at = m.Num(2)
	}
}

// TestRule11DenseIDsInGroups: 1, 2, 3, … whoever writes, without a hole where something was
// refused or repeated, where members came and went, and where a message was recalled.
func TestRule11DenseIDsInGroups(t *testing.T) {
	t.Parallel()
	me, peer, guest, stranger := main.person(t), main.person(t), main.person(t), main.person(t)
	d, dp := main.newer(t, me, ct.Windows), main.login(t, peer, ct.Android)
	dg, ds := main.login(t, guest, ct.Mac), main.login(t, stranger, ct.IOS)
	dp.Newer = true
	group := d.creates("dense", []*device{dp}, peer.id)
	next := uint32(1)
	say := func(w *device, copies ...*device) {
		t.Helper()
		if id := w.writes(group, fmt.Sprint(next), copies...); id != next {
			t.Fatalf("id %d came for %d", id, next)
		}
		next++
	}
	for range 5 {
		say(d, dp)
		ds.request(0x0301, 9, text(0, group, 0, 0, 17, []byte("refused")))
		ds.settle()
		d.request(0x0301, 9, text(0, group, 0, 0, 17, nil))
		d.expect(0x2003, 9, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1))
		d.changed(d.changes(1, group, guest.id), 1, group, 0, slices.Sorted(slices.Values([]uint32{me.id, peer.id, guest.id})), []uint32{guest.id})
		say(dp, d, dg)
		d.request(0x2005, 9, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, next-2))
		d.expect(0x2006, 9, done4(0, group, 2, next-2))
		say(dg, d, dp)
		d.changed(d.changes(2, group, guest.id), 2, group, 0, []uint32{me.id, peer.id}, []uint32{guest.id})
		say(d, dp)
	}
	all := make([]uint32, 0, next)
	for id := next - 1; id > 0; id-- {
		all = append(all, id)
	}
	if got := dp.history(group); !slices.Equal(got, all) {
		t.Errorf("the history has %v", got)
	}
}

// TestOldClientsAreSpared: of all that new clients do to each other and to an old one, the old one
// gets what it knows and nothing of service 32.
func TestOldClientsAreSpared(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		me, old := main.person(t), main.person(t)
		d, o := main.newer(t, me, ct.Windows), main.login(t, old, k.kind)
		forget(d, o)
		group := d.creates("x", []*device{o}, old.id)
		d.sends(old, []byte("one"), o)
		d.writes(group, "one", o)
		o.Newer = true // what it would be sent of service 32 is to be seen, not to end the test
		for _, c := range []struct {
			command, answer uint16
			body            ct.Body
		}{
			{0x2007, 0x2008, ct.Body(nil).Num(1, old.id).Num(2, 1).Num(3, 1).Text(4, "two")},
			{0x2005, 0x2006, ct.Body(nil).Num(1, group).Num(2, 2).Num(3, 1)},
			{0x2013, 0x2014, ct.Body(nil).Num(1, old.id).Num(2, asks)},
			{0x2017, 0x2018, ct.Body(nil).Num(1, group).Text(2, "y")},
		} {
			d.request(c.command, 9, c.body)
			if p := d.await(c.answer, 9); field(t, p, 1) != 0 {
				t.Errorf("refused: %s", show(p))
			}
		}
		d.request(0x200e, 9, ct.Body(nil).Num(1, old.id).Num(2, 1).Num(3, 1))
		d.request(0x200a, 9, ct.Body(nil).Num(1, old.id).Num(2, 1).Num(3, 1))
		o.request(0x0301, 9, text(0, old.id, 0, 0, 1, []byte("refused: to oneself")))
		o.sends(me, []byte("mine"), d)
		d.request(0x0303, 9, ack(0, old.id, 2))
		d.request(0x0601, 9, ct.Body(nil).Num(1, 0).Num(2, old.id).Text(3, "the last"))
		o.expect(0x0601, 0, ct.Body(nil).Num(1, me.id).Num(2, old.id).Text(3, "the last"))
		o.quiet("an old client")
	}
}

// TestRule13AnyByteCounts: a PDU that comes byte by byte is read when it is whole, and what can't
// be read does no harm. The limits of silence, without the wait, are in package connector.
func TestRule13AnyByteCounts(t *testing.T) {
	t.Parallel()
	d := main.login(t, main.person(t), ct.Android)
	head := d.pdu(0x0301, 5, nil)
	head.Length = 4000
	b := head.Bytes()
	for i := range b {
		d.Write(b[i : i+1])
	}
	d.Write(make([]byte, 4000-len(b)))
	d.settle()
}

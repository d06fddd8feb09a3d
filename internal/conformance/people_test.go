package conformance

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	ct "godwit/connector/connectortest"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/pdu"
)

// awaitNotice awaits a notice about a user that is for everybody, and compares it.
func (d *device) awaitNotice(command, user uint32, text string) {
	d.t.Helper()
	want := ct.Body(nil).Num(1, user).Text(2, text)
	got := d.Await(fmt.Sprintf("notice 0x%04x of user %d", command, user), func(p ct.PDU) bool {
		return p.Command == uint16(command) && strings.HasPrefix(string(p.Body), string(ct.Body(nil).Num(1, user)))
	})
	d.compare(got, uint16(command), 0, want)
}

// directory is what 0x0208 lists of a person since a time, and the time to ask with next.
func (d *device) directory(since, user uint32) (info ct.Message, latest uint32) {
	d.t.Helper()
	seq := d.NextSeq() | 0x4000
	d.request(0x0208, seq, ct.Body(nil).Num(1, 0).Num(2, since))
	m := d.message(0x0209, seq)
	for _, p := range m.Subs(3) {
		if p.Num(1) == user {
			info = p
		}
	}
	return info, m.Num(2)
}

// avatarDetail: desktops are told of an avatar, phones find it in the directory.
func avatarDetail(t *testing.T, kind uint32) { // defect 15
	p, peer := main.person(t), main.person(t)
	d := main.login(t, p, kind)
	witness, phone := main.login(t, peer, ct.Mac), main.login(t, peer, ct.IOS)
	_, before := phone.directory(0, p.id)
	url := fmt.Sprintf("http://x/%d.png", p.id)
	d.request(0x020c, 0xff05, ct.Body(nil).Num(1, peer.id).Text(2, url)) // whatever it says it is one's own
	d.expect(0x020d, 0xff05, ct.Body(nil).Num(1, p.id).Num(2, 0))
	witness.awaitNotice(0x0212, p.id, url)
	if !mobile(kind) {
		d.awaitNotice(0x0212, p.id, url)
	}
	info, after := phone.directory(before, p.id)
	if info.Text(4) != url || after <= before {
		t.Errorf("the directory has %q at %d, before it was at %d", info.Text(4), after, before)
	}
	for _, q := range phone.Late() {
		if q.Command == 0x0212 {
			t.Errorf("a phone was told %s", show(q))
		}
	}
	for _, bad := range []string{strings.Repeat("x", 256), "two\nlines", "\xff"} {
		if !d.speaks(bad) {
			continue
		}
		d.request(0x020c, 0xff06, ct.Body(nil).Num(1, 0).Text(2, bad))
		d.expect(0x020d, 0xff06, ct.Body(nil).Num(1, p.id).Num(2, 1))
	}
	d.request(0x020c, 0xff07, ct.Body(nil).Num(1, 0).Text(2, url)) // it is so already
	d.expect(0x020d, 0xff07, ct.Body(nil).Num(1, p.id).Num(2, 0))
	if info, _ := phone.directory(0, p.id); info.Text(4) != url {
		t.Errorf("a refused avatar is shown: %q", info.Text(4))
	}
}

// signatureDetail: every session of everybody is told of a signature.
func signatureDetail(t *testing.T, kind uint32) {
	p, peer := main.person(t), main.person(t)
	d := main.login(t, p, kind)
	own, witness, phone := main.login(t, p, acrossFrom(kind)), main.login(t, peer, ct.Mac), main.login(t, peer, ct.IOS)
	longest := strings.Repeat("é", 64) // 128 bytes
	d.request(0x0213, 0xff05, ct.Body(nil).Num(1, peer.id).Text(2, longest))
	d.expect(0x0214, 0xff05, ct.Body(nil).Num(1, p.id).Num(2, 0).Text(3, longest))
	for _, w := range []*device{d, own, witness, phone} {
		w.awaitNotice(0x0215, p.id, longest)
	}
	for i, text := range []string{longest + "x", "two\nlines", "\xff"} {
		seq := uint16(0xff06 + i)
		if !d.speaks(text) {
			continue
		}
		d.request(0x0213, seq, ct.Body(nil).Num(1, 0).Text(2, text))
		d.expect(0x0214, seq, ct.Body(nil).Num(1, p.id).Num(2, 1))
	}
	seq := witness.NextSeq() | 0x4000
	witness.request(0x0204, seq, ct.Body(nil).Num(1, 0).Num(2, p.id))
	if info := witness.message(0x0205, seq).Subs(2); len(info) != 1 || info[0].Text(11) != longest {
		t.Errorf("shown as %v", info)
	}
}

// departmentDetail: departments are given as they change, deleted ones too.
func departmentDetail(t *testing.T, kind uint32) {
	d := main.login(t, main.person(t), kind)
	ask := func(since uint32) (byID map[uint32]ct.Message, latest uint32) {
		t.Helper()
		seq := d.NextSeq() | 0x4000
		d.request(0x0210, seq, ct.Body(nil).Num(1, 0).Num(2, since))
		m := d.message(0x0211, seq)
		byID = map[uint32]ct.Message{}
		for _, p := range m.Subs(3) {
			byID[p.Num(1)] = p
		}
		return byID, m.Num(2)
	}
	var made struct {
		ID uint32 `json:"number"`
	}
	call := func(method, path string, body any) {
		t.Helper()
		if err := main.people.Call(t.Context(), method, path, body, &made); err != nil {
			t.Fatal(err)
		}
	}
	call(http.MethodPost, "/departments", map[string]any{"name": "Sales", "priority": 3})
	sales := made.ID
	call(http.MethodPost, "/departments", map[string]any{"name": "Abroad", "parent": sales})
	abroad := made.ID
	all, first := ask(0)
	for _, want := range []struct {
		id, priority, parent uint32
		name                 string
	}{{sales, 3, 0, "Sales"}, {abroad, 0, sales, "Abroad"}} {
		p := all[want.id]
		if p.Num(2) != want.priority || p.Text(3) != want.name || p.Num(4) != want.parent || p.Num(5) != 0 {
			t.Errorf("department %d is %v", want.id, p)
		}
	}
	if err := main.people.Call(t.Context(), http.MethodDelete, fmt.Sprintf("/departments/%d", abroad), nil, nil); err != nil {
		t.Fatal(err)
	}
	changed, second := ask(first)
	if p, ok := changed[abroad]; !ok || p.Num(5) != 1 || second <= first {
		t.Errorf("deleted: %v at %d after %d", p, second, first)
	}
	if _, again := changed[sales]; again {
		t.Error("what has not changed came again")
	}
}

// TestDeviceSettings: reference 5.6 and 5.7, and defects 13 and 14.
func TestDeviceSettings(t *testing.T) {
	t.Parallel()
	p := main.person(t)
	pc, phone := main.login(t, p, ct.Windows), main.login(t, p, ct.Android)
	forget(pc, phone)
	shield := func(d *device, seq uint16, want uint32) {
		t.Helper()
		d.request(0x010e, seq, ct.Body(nil).Num(1, 0))
		d.expect(0x010f, seq, ct.Body(nil).Num(1, p.id).Num(2, 0).Num(3, want))
	}
	shield(phone, 0x4001, 0)
	// Asked in the same breath it is answered with what was set.
	phone.Write(slices.Concat(phone.pdu(0x010c, 0x4002, ct.Body(nil).Num(1, 0).Num(2, 1)).Bytes(), phone.pdu(0x010e, 0x4003, ct.Body(nil).Num(1, 0)).Bytes()))
	phone.expect(0x010d, 0x4002, ct.Body(nil).Num(1, p.id).Num(2, 0).Num(3, 1))
	phone.expect(0x010f, 0x4003, ct.Body(nil).Num(1, p.id).Num(2, 0).Num(3, 1))
	shield(pc, 0x4004, 1)
	pc.request(0x010c, 0x4005, ct.Body(nil).Num(1, 0).Num(2, 7))
	pc.expect(0x010d, 0x4005, ct.Body(nil).Num(1, p.id).Num(2, 1))
	shield(pc, 0x4006, 1)

	pc.request(0x0108, 0x4007, ct.Body(nil).Num(1, 0).Text(2, "of a PC"))
	pc.quiet("a PC has no token")
	phone.request(0x0108, 0x4008, ct.Body(nil).Num(1, 0).Text(2, "0011"))
	phone.expect(0x0109, 0x4008, ct.Body(nil).Num(1, p.id))
	phone.request(0x0108, 0x4009, ct.Body(nil).Num(1, 0).Text(2, strings.Repeat("x", 513)))
	phone.quiet("a token that is too long")
}

// befriender is a client that understands godwit's own notices.
type befriender struct {
	t    *testing.T
	who  person
	conn net.Conn
	in   []byte
	late []*imextension.FriendNotify
	seq  uint16
}

func (s *server) befriender(t *testing.T, p person, kind imbase.ClientType) *befriender {
	t.Helper()
	conn, err := net.Dial("tcp", s.clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &befriender{t: t, who: p, conn: conn, seq: 0x4000}
	var res imlogin.IMLoginRes
	m.ask(client.CmdLoginReq, &imlogin.IMLoginReq{UserName: &p.name, Password: new(ct.MD5(password1)), ClientType: &kind,
		OnlineStatus: new(imbase.UserStatType_USER_STATUS_ONLINE), Features: new(uint32(imextension.Feature_FEATURE_NOTICES))}, client.CmdLoginRes, &res)
	if res.GetResultCode() != 0 || res.GetFeatures() != uint32(imextension.Feature_FEATURE_NOTICES) {
		t.Fatalf("login: %v", &res)
	}
	return m
}

// next is the next PDU, with a limit of time.
func (m *befriender) next() *pdu.Frame {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	for {
		f, n, err := pdu.Next(m.in, pdu.MaxAfterLogin)
		if err != nil {
			m.t.Fatal(err)
		}
		if n > 0 {
			m.in = m.in[n:]
			return &f
		}
		b := make([]byte, 64<<10)
		n, err = m.conn.Read(b)
		m.in = append(m.in, b[:n]...)
		if err != nil && n == 0 {
			if err == io.EOF {
				m.t.Fatal("the server closed")
			}
			m.t.Fatalf("nothing came: %v", err)
		}
	}
}

// ask sends a request and awaits its answer; notices that come meanwhile are kept.
func (m *befriender) ask(command uint16, req proto.Message, answer uint16, to proto.Message) {
	m.t.Helper()
	m.seq++
	b, err := pdu.AppendMessage(nil, command, m.seq, req)
	if err == nil {
		_, err = m.conn.Write(b)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	for {
		f := m.next()
		if f.Command == answer && f.Seq == m.seq {
			if err := client.Unmarshal(f.Body, to); err != nil {
				m.t.Fatal(err)
			}
			return
		}
		m.keep(f)
	}
}

func (m *befriender) keep(f *pdu.Frame) {
	m.t.Helper()
	if f.Command == client.CmdFriendNotify {
		n := &imextension.FriendNotify{}
		if err := client.Unmarshal(f.Body, n); err != nil || f.Seq != 0 {
			m.t.Fatalf("notice with seq %d: %v", f.Seq, err)
		}
		m.late = append(m.late, n)
	}
}

// hears awaits the next notice of friends.
func (m *befriender) hears(user person, action imextension.FriendAction, own bool, text string) {
	m.t.Helper()
	for len(m.late) == 0 {
		m.keep(m.next())
	}
	n := m.late[0]
	m.late = m.late[1:]
	if n.GetUserId() != user.id || n.GetAction() != action || n.GetOwn() != own || n.GetText() != text {
		m.t.Errorf("heard %v, want %s of %d, own %v, %q", n, action, user.id, own, text)
	}
}

// quiet checks that no notice came before the answer to another request.
func (m *befriender) quiet() {
	m.t.Helper()
	m.list()
	if len(m.late) > 0 {
		m.t.Errorf("heard %v", m.late)
		m.late = nil
	}
}

func (m *befriender) does(action imextension.FriendAction, user person, text string, want imextension.Refusal) {
	m.t.Helper()
	req := &imextension.FriendReq{UserId: &user.id, Action: &action}
	if text != "" {
		req.Text = &text
	}
	var rsp imextension.FriendRsp
	m.ask(client.CmdFriendReq, req, client.CmdFriendRsp, &rsp)
	if rsp.GetRefusal() != want || rsp.GetUserId() != user.id || rsp.GetAction() != action {
		m.t.Errorf("%s: %v, want %s", action, &rsp, want)
	}
}

// list is "<state> <user> <remark>" of each friend, and whom the user blocks.
func (m *befriender) list() (all []string) {
	m.t.Helper()
	var rsp imextension.FriendListRsp
	m.ask(client.CmdFriendListReq, &imextension.FriendListReq{}, client.CmdFriendListRsp, &rsp)
	for _, f := range rsp.GetFriends() {
		state := strings.ToLower(strings.TrimPrefix(f.GetState().String(), "FRIEND_STATE_"))
		all = append(all, strings.TrimSpace(fmt.Sprint(state, " ", f.GetUserId(), " ", f.GetRemark(), f.GetText())))
	}
	for _, u := range rsp.GetBlocked() {
		all = append(all, fmt.Sprint("blocked ", u))
	}
	return all
}

// writes tells why a message was refused.
func (m *befriender) writes(to person) imextension.Refusal {
	m.t.Helper()
	m.seq++
	b, err := pdu.AppendMessage(nil, client.CmdMsgData, m.seq, &immessage.IMMsgData{FromUserId: new(uint32(0)), ToSessionId: &to.id, MsgId: new(uint32(0)),
		CreateTime: new(uint32(0)), MsgType: new(imbase.MsgType_MSG_TYPE_SINGLE_TEXT), MsgData: []byte("text")})
	if err == nil {
		_, err = m.conn.Write(b)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	for {
		f := m.next()
		switch {
		case f.Seq == m.seq && f.Command == client.CmdMsgDataAck:
			return imextension.Refusal_REFUSAL_NONE
		case f.Seq == m.seq && f.Command == client.CmdSendRefused:
			var r imextension.SendRefused
			if err := client.Unmarshal(f.Body, &r); err != nil || r.GetSessionId() != to.id {
				m.t.Fatalf("%v: %v", &r, err)
			}
			return r.GetRefusal()
		}
		m.keep(f)
	}
}

func TestFriends(t *testing.T) {
	t.Parallel()
	const (
		request = imextension.FriendAction_FRIEND_ACTION_REQUEST
		accept  = imextension.FriendAction_FRIEND_ACTION_ACCEPT
		remove  = imextension.FriendAction_FRIEND_ACTION_REMOVE
		remark  = imextension.FriendAction_FRIEND_ACTION_REMARK
		block   = imextension.FriendAction_FRIEND_ACTION_BLOCK
		unblock = imextension.FriendAction_FRIEND_ACTION_UNBLOCK

		done = imextension.Refusal_REFUSAL_NONE
	)
	s := reservedServer(t)
	a, b, c := s.person(t), s.person(t), s.person(t)
	ann, phone := s.befriender(t, a, imbase.ClientType_CLIENT_TYPE_WINDOWS), s.befriender(t, a, imbase.ClientType_CLIENT_TYPE_ANDROID)
	bob, cy := s.befriender(t, b, imbase.ClientType_CLIENT_TYPE_MAC), s.befriender(t, c, imbase.ClientType_CLIENT_TYPE_WINDOWS)

	// Strangers don't write to each other.
	if why := ann.writes(b); why != imextension.Refusal_REFUSAL_NOT_FRIENDS {
		t.Errorf("to a stranger: %s", why)
	}
	ann.does(request, b, "hello", done)
	phone.hears(b, request, true, "hello")
	bob.hears(a, request, false, "hello")
	ann.does(request, b, "hello", imextension.Refusal_REFUSAL_NO_EFFECT)
	if got := bob.list(); !slices.Equal(got, []string{fmt.Sprintf("incoming %d hello", a.id)}) {
		t.Errorf("bob's list %v", got)
	}
	bob.does(accept, a, "", done)
	ann.hears(b, accept, false, "")
	phone.hears(b, accept, false, "")
	bob.quiet()
	for _, w := range []struct {
		from *befriender
		to   person
	}{{ann, b}, {bob, a}} {
		if why := w.from.writes(w.to); why != done {
			t.Errorf("to a friend: %s", why)
		}
	}
	ann.does(remark, b, "Bobby", done)
	phone.hears(b, remark, true, "Bobby")
	if got := phone.list(); !slices.Equal(got, []string{fmt.Sprintf("friend %d Bobby", b.id)}) {
		t.Errorf("ann's list %v", got)
	}

	// A block holds for both, at once, and only the blocker's devices hear of it.
	bob.does(block, a, "", done)
	if why := ann.writes(b); why != imextension.Refusal_REFUSAL_BLOCKED {
		t.Errorf("to who blocks: %s", why)
	}
	if why := bob.writes(a); why != imextension.Refusal_REFUSAL_BLOCKED {
		t.Errorf("to who is blocked: %s", why)
	}
	ann.quiet()
	phone.does(block, b, "", done)
	ann.hears(b, block, true, "")
	bob.does(unblock, a, "", done)
	bob.does(unblock, a, "", imextension.Refusal_REFUSAL_NO_EFFECT)
	if why := bob.writes(a); why != imextension.Refusal_REFUSAL_BLOCKED {
		t.Errorf("while the other one blocks: %s", why)
	}
	if got := ann.list(); !slices.Equal(got, []string{fmt.Sprintf("friend %d Bobby", b.id), fmt.Sprint("blocked ", b.id)}) {
		t.Errorf("ann's list %v", got)
	}
	phone.does(unblock, b, "", done)
	ann.hears(b, unblock, true, "")
	if why := ann.writes(b); why != done {
		t.Errorf("after all: %s", why)
	}
	cy.does(block, a, "", done)
	ann.does(request, c, "", imextension.Refusal_REFUSAL_BLOCKED)
	cy.does(request, a, "", imextension.Refusal_REFUSAL_BLOCKED)

	// The end, and what is left of it.
	bob.does(remove, a, "", done)
	ann.hears(b, remove, false, "")
	phone.hears(b, remove, false, "")
	if why := ann.writes(b); why != imextension.Refusal_REFUSAL_NOT_FRIENDS {
		t.Errorf("to who is a friend no more: %s", why)
	}
	// Both ask at once: they are friends, whoever was first.
	ann.does(request, b, "", done)
	bob.does(request, a, "", done)
	if got := ann.list(); !slices.Equal(got, []string{fmt.Sprintf("friend %d", b.id)}) {
		t.Errorf("ann's list %v", got)
	}
	// What an operator does is told as well.
	if err := s.people.SetFriends(t.Context(), a.name, c.name, true); err != nil {
		t.Fatal(err)
	}
	cy.hears(a, accept, false, "")
}

// Where contacts are friends, others are seen nowhere.
func TestOnlyFriendsAreSeen(t *testing.T) {
	t.Parallel()
	s := reservedServer(t)
	ann, bob, cy := s.person(t), s.person(t), s.person(t)
	if err := s.people.SetFriends(t.Context(), ann.name, bob.name, true); err != nil {
		t.Fatal(err)
	}
	pc, bobs, cys := s.login(t, ann, ct.Windows), s.login(t, bob, ct.Windows), s.login(t, cy, ct.Windows)
	seen := func(since uint32) (got []string, latest uint32) {
		t.Helper()
		seq := pc.NextSeq() | 0x4000
		pc.request(0x0208, seq, ct.Body(nil).Num(1, 0).Num(2, since))
		m := pc.message(0x0209, seq)
		for _, p := range m.Subs(3) {
			got = append(got, fmt.Sprint(p.Num(1), " ", p.Num(10)))
		}
		slices.Sort(got)
		return got, m.Num(2)
	}
	got, first := seen(0)
	if want := slices.Sorted(slices.Values([]string{fmt.Sprint(ann.id, " 0"), fmt.Sprint(bob.id, " 0")})); !slices.Equal(got, want) {
		t.Errorf("the directory is %v, want %v", got, want)
	}
	pc.request(0x020a, 0x4100, ct.Body(nil).Num(1, 0).Num(2, bob.id).Num(2, cy.id))
	pc.expect(0x020b, 0x4100, ct.Body(nil).Num(1, ann.id).
		Bytes(2, ct.Body(nil).Num(1, bob.id).Num(2, 1)).Bytes(2, ct.Body(nil).Num(1, cy.id).Num(2, 2)))
	pc.request(0x0204, 0x4101, ct.Body(nil).Num(1, 0).Num(2, bob.id).Num(2, cy.id))
	pc.expect(0x0205, 0x4101, ct.Body(nil).Num(1, ann.id).Bytes(2, userInfo(bob)))

	bobs.request(0x0213, 0x4102, ct.Body(nil).Num(1, 0).Text(2, "bob's"))
	bobs.expect(0x0214, 0x4102, ct.Body(nil).Num(1, bob.id).Num(2, 0).Text(3, "bob's"))
	pc.awaitNotice(0x0215, bob.id, "bob's")
	cys.request(0x0213, 0x4103, ct.Body(nil).Num(1, 0).Text(2, "cy's"))
	cys.expect(0x0214, 0x4103, ct.Body(nil).Num(1, cy.id).Num(2, 0).Text(3, "cy's"))
	cys.awaitNotice(0x0215, cy.id, "cy's")
	pc.settle()
	for _, p := range pc.Late() {
		if p.Command == 0x0215 || p.Command == 0x0203 && string(p.Body) == string(status(cy.id, 1)) {
			t.Errorf("of a stranger came %s", show(p))
		}
	}

	// Who becomes a friend comes, and who is one no more comes once again, as having left.
	if err := s.people.SetFriends(t.Context(), ann.name, cy.name, true); err != nil {
		t.Fatal(err)
	}
	got, second := seen(first)
	if !slices.Contains(got, fmt.Sprint(cy.id, " 0")) || second <= first {
		t.Errorf("with another friend: %v at %d, after %d", got, second, first)
	}
	if err := s.people.SetFriends(t.Context(), ann.name, cy.name, false); err != nil {
		t.Fatal(err)
	}
	if got, _ := seen(second); !slices.Equal(got, []string{fmt.Sprint(cy.id, " 3")}) {
		t.Errorf("with one friend less: %v", got)
	}
}

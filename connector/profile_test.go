package connector

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

func TestDepartmentsAreGivenAsTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		r.node.set(func() {
			r.node.circle.departments = []*query.Department{
				{Department: 2, Name: "Sales", Priority: 4, Parent: 1, Updated: 10}, {Department: 1, Updated: 12, Deleted: true},
			}
		})
		ask := func(since uint32) string {
			ann.send(ann.pack(client.CmdDepartmentReq, 6, &imbuddy.IMDepartmentReq{UserId: new(uint32(7)), LatestUpdateTime: &since}))
			m := one[*imbuddy.IMDepartmentRsp](ann, 6)
			var got strings.Builder
			fmt.Fprint(&got, m.GetUserId(), " ", m.GetLatestUpdateTime())
			for _, d := range m.GetDeptList() {
				fmt.Fprintf(&got, " %d%s/%d/%d/%d", d.GetDeptId(), d.GetDeptName(), d.GetPriority(), d.GetParentDeptId(), d.GetDeptStatus())
			}
			return got.String()
		}
		for since, want := range map[uint32]string{0: "1 12 2Sales/4/1/0 1/0/0/1", 10: "1 12 1/0/0/1", 12: "1 12", 99: "1 99"} {
			if got := ask(since); got != want {
				t.Errorf("since %d: %q, want %q", since, got, want)
			}
		}
	})
}

func TestManyDepartmentsGoOutInSeveralPDUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		const n = 2000
		r.node.set(func() {
			for i := range uint32(n) {
				r.node.circle.departments = append(r.node.circle.departments,
					&query.Department{Department: i + 1, Name: strings.Repeat("x", 500), Updated: 10 + i/700})
			}
		})
		ann.s.Input(ann.pack(client.CmdDepartmentReq, 6, &imbuddy.IMDepartmentReq{UserId: new(uint32(1)), LatestUpdateTime: new(uint32(0))}))
		ann.pump()
		r.settle(ann)
		seen, since := map[uint32]bool{}, uint32(0)
		all := ann.take()
		for _, g := range all {
			m := g.m.(*imbuddy.IMDepartmentRsp)
			if g.Length > pdu.MaxAfterLogin || g.Seq != 6 || m.GetLatestUpdateTime() < since || m.GetLatestUpdateTime() == 0 {
				t.Fatalf("%d bytes, seq %d, latest %d after %d", g.Length, g.Seq, m.GetLatestUpdateTime(), since)
			}
			since = m.GetLatestUpdateTime()
			for _, d := range m.GetDeptList() {
				seen[d.GetDeptId()] = true
			}
		}
		if len(seen) != n || len(all) < 3 || since != 12 {
			t.Errorf("%d departments in %d PDUs, up to %d", len(seen), len(all), since)
		}
	})
}

// notices are what a session was pushed of people, without statuses.
func (w *wire) notices() (all []string) {
	w.r.t.Helper()
	for _, g := range w.take() {
		switch m := g.m.(type) {
		case *imbuddy.IMAvatarChangedNotify:
			all = append(all, fmt.Sprint("avatar ", m.GetChangedUserId(), " ", m.GetAvatarUrl()))
		case *imbuddy.IMSignInfoChangedNotify:
			all = append(all, fmt.Sprint("signature ", m.GetChangedUserId(), " ", m.GetSignInfo()))
		case *imbuddy.IMUserStatNotify, *imbuddy.IMPCLoginStatusNotify:
			continue
		default:
			w.r.t.Errorf("got %v", g)
		}
		if g.Seq != 0 {
			w.r.t.Errorf("a push with seq %d", g.Seq)
		}
	}
	return all
}

func (w *wire) avatar(seq uint16, url string) []byte {
	return w.pack(client.CmdChangeAvatarReq, seq, &imbuddy.IMChangeAvatarReq{UserId: new(uint32(9)), AvatarUrl: &url})
}

func (w *wire) signature(seq uint16, text string) []byte {
	return w.pack(client.CmdChangeSignInfoReq, seq, &imbuddy.IMChangeSignInfoReq{UserId: new(uint32(9)), SignInfo: &text})
}

// crowd is ann at a desktop and on a phone, bob at a desktop, cy on a phone, with nothing
// left to read.
func (r *rig) crowd() (ann, annsPhone, bob, cy *wire) {
	ann, annsPhone = r.login("ann", windows), r.login("ann", android)
	bob, cy = r.login("bob", mac), r.login("cy", android)
	r.sleep(1100*time.Millisecond, ann, annsPhone, bob, cy)
	for _, w := range []*wire{ann, annsPhone, bob, cy} {
		w.take()
	}
	return ann, annsPhone, bob, cy
}

func TestAvatarsAndSignaturesAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, annsPhone, bob, cy := r.crowd()
		ann.send(ann.avatar(4, "http://b"))
		ann.nothing() // not before the log has it
		r.step(ann)
		if m := one[*imbuddy.IMChangeAvatarRsp](ann, 4); m.GetResultCode() != 0 || m.GetUserId() != 1 {
			t.Errorf("avatar: %v", m)
		}
		annsPhone.send(annsPhone.signature(5, "bye"))
		r.step(annsPhone)
		if m := one[*imbuddy.IMChangeSignInfoRsp](annsPhone, 5); m.GetResultCode() != 0 || m.GetSignInfo() != "bye" || m.GetUserId() != 1 {
			t.Errorf("signature: %v", m)
		}
		r.sleep(1100*time.Millisecond, ann, annsPhone, bob, cy)
		both := []string{"avatar 1 http://b", "signature 1 bye"}
		for name, c := range map[string]struct {
			w    *wire
			want []string
		}{"ann": {ann, both}, "her phone": {annsPhone, both[1:]}, "bob": {bob, both}, "cy's phone": {cy, both[1:]}} {
			if got := c.w.notices(); !slices.Equal(got, c.want) {
				t.Errorf("%s was told %v, want %v", name, got, c.want)
			}
		}
		if ev := r.node.find("ProfileChanged").GetProfileChanged(); ev.GetUser() != 1 || event.ToID(ev.GetSession()) != annsPhone.s.id || ev.AvatarUrl != nil {
			t.Errorf("the log has %v", ev)
		}
	})
}

func TestProfilesThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		r.sleep(1100*time.Millisecond, ann)
		ann.take()
		ann.send(ann.signature(5, strings.Repeat("é", 64)+"x")) // 129 bytes
		if m := one[*imbuddy.IMChangeSignInfoRsp](ann, 5); m.GetResultCode() != 1 || m.SignInfo != nil {
			t.Errorf("signature: %v", m)
		}
		ann.send(ann.avatar(6, strings.Repeat("x", 256)))
		if m := one[*imbuddy.IMChangeAvatarRsp](ann, 6); m.GetResultCode() != 1 {
			t.Errorf("avatar: %v", m)
		}
		if slices.Contains(r.node.kinds(), "ProfileChanged") {
			t.Error("the log has it")
		}
		for _, c := range []struct {
			r    delivery.Result
			want uint32
		}{{delivery.Result{Void: frame.Void_VOID_NO_EFFECT}, 0}, {delivery.Result{Void: frame.Void_VOID_NO_SUCH_PERSON}, 1}, {delivery.Result{Err: delivery.ErrLifeLost}, 1}} {
			r.node.set(func() {
				r.node.result = func(ev *event.Event) (delivery.Result, bool) { return c.r, ev.GetProfileChanged() != nil }
			})
			ann.send(ann.signature(7, "x"))
			r.step(ann)
			if m := one[*imbuddy.IMChangeSignInfoRsp](ann, 7); m.GetResultCode() != c.want || (m.SignInfo != nil) != (c.want == 0) {
				t.Errorf("%v: %v", c.r, m)
			}
		}
		r.sleep(1100*time.Millisecond, ann)
		if got := ann.notices(); got != nil {
			t.Errorf("told %v", got)
		}
	})
}

func TestProfileNoticesAreCoalescedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, _, bob, cy := r.crowd()
		h := r.srv.Handler()
		show := func(user uint32, avatar, signature *string) {
			h.PersonChanged(&frame.PersonChanged{User: user, Directory: &frame.DirectoryChange{User: user, AvatarUrl: avatar, Signature: signature}}, 50)
		}
		show(7, new("http://1"), nil)
		show(7, nil, new("first"))
		show(7, new("http://2"), nil)
		show(7, nil, new("second"))
		h.PersonChanged(&frame.PersonChanged{Directory: &frame.DirectoryChange{Departments: true}}, 51)
		r.settle(bob)
		if got := bob.notices(); got != nil {
			t.Errorf("at once: %v", got)
		}
		r.sleep(1100*time.Millisecond, bob, cy)
		if got := bob.notices(); !slices.Equal(got, []string{"avatar 7 http://2", "signature 7 second"}) {
			t.Errorf("told %v", got)
		}
		ann.take()
		cy.take()

		// As when an import changes everybody: nobody is closed for it.
		for i := range uint32(100_000) {
			show(1000+i, new(strings.Repeat("x", 255)), new(strings.Repeat("y", 128)))
		}
		r.srv.statuses.mu.Lock()
		if n := len(r.srv.statuses.shown); n != shownMax {
			t.Errorf("%d changes wait", n)
		}
		r.srv.statuses.mu.Unlock()
		r.sleep(1100*time.Millisecond, ann, bob, cy)
		if len(bob.got) > noticeBytes+2048 || len(bob.got) < noticeBytes/2 || bob.over || cy.over {
			t.Errorf("%d bytes, closed %v %v", len(bob.got), bob.over, cy.over)
		}
	})
}

func TestProfileNoticesStopAboveTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.StatusLimit = 1 })
		ann, _, bob, cy := r.crowd()
		ann.send(ann.signature(5, "x"))
		r.step(ann)
		one[*imbuddy.IMChangeSignInfoRsp](ann, 5)
		r.sleep(1100*time.Millisecond, ann, bob, cy)
		for _, w := range []*wire{ann, bob, cy} {
			if got := w.notices(); got != nil {
				t.Errorf("told %v", got)
			}
		}
		bob.send(bob.pack(client.CmdAllUserReq, 6, &imbuddy.IMAllUserReq{UserId: new(uint32(2)), LatestUpdateTime: new(uint32(3))}))
		m := one[*imbuddy.IMAllUserRsp](bob, 6)
		if l := m.GetUserList(); len(l) != 1 || l[0].GetUserId() != 1 || l[0].GetSignInfo() != "x" || m.GetLatestUpdateTime() <= 3 {
			t.Errorf("the directory says %v", m)
		}
	})
}

func deviceToken(w *wire, seq uint16, token string) []byte {
	return w.pack(client.CmdDeviceTokenReq, seq, &imlogin.IMDeviceTokenReq{UserId: new(uint32(9)), DeviceToken: &token, ClientType: new(windows)})
}

func TestDeviceTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.login("ann", windows), r.login("ann", android)
		r.step(ann, phone)
		ann.take()
		phone.take()
		token := func() string {
			r.node.mu.Lock()
			defer r.node.mu.Unlock()
			return fmt.Sprint(r.node.circle.devices[1].GetType(), " ", r.node.circle.devices[1].GetToken())
		}
		ann.send(deviceToken(ann, 3, "t"))
		r.step(ann)
		ann.nothing()
		if slices.Contains(r.node.kinds(), "DeviceTokenSet") {
			t.Error("a desktop has set a token")
		}
		phone.send(deviceToken(phone, 4, "0011"))
		phone.nothing()
		r.step(phone)
		if m := one[*imlogin.IMDeviceTokenRsp](phone, 4); m.GetUserId() != 1 {
			t.Errorf("answer %v", m)
		}
		if got := token(); got != fmt.Sprint(uint32(android), " 0011") {
			t.Errorf("the log has %s", got)
		}
		phone.send(deviceToken(phone, 5, strings.Repeat("x", 513)))
		r.step(phone)
		phone.nothing()

		// The desktop's end is no matter of the phone's.
		ann.send(ann.pack(client.CmdLogoutReq, 6, &imlogin.IMLogoutReq{}))
		r.step(ann, phone)
		if got := token(); got != fmt.Sprint(uint32(android), " 0011") || !ann.over {
			t.Errorf("after the desktop's logout: %s, closed %v", got, ann.over)
		}
		phone.take()
		phone.send(phone.pack(client.CmdLogoutReq, 7, &imlogin.IMLogoutReq{}), header(cmdHeartbeat, 8, nil))
		phone.nothing()
		r.step(phone)
		if m := one[*imlogin.IMLogoutRsp](phone, 7); m.GetResultCode() != 0 || !phone.over {
			t.Errorf("logout %v, closed %v", m, phone.over)
		}
		if got := token(); !strings.HasSuffix(got, " ") {
			t.Errorf("after the phone's logout: %s", got)
		}
		r.step()
		if ev := r.node.find("SessionEnded").GetSessionEnded(); ev.GetReason() != event.EndReason_END_REASON_LOGOUT {
			t.Errorf("ended: %v", ev)
		}
	})
}

func TestQuietNights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		set := func(seq uint16, on uint32) []byte {
			return ann.pack(client.CmdPushShieldReq, seq, &imlogin.IMPushShieldReq{UserId: new(uint32(9)), ShieldStatus: &on})
		}
		ask := func(seq uint16) []byte {
			return ann.pack(client.CmdQueryPushShieldReq, seq, &imlogin.IMQueryPushShieldReq{UserId: new(uint32(9))})
		}
		ann.send(ask(3))
		if m := one[*imlogin.IMQueryPushShieldRsp](ann, 3); m.GetResultCode() != 0 || m.ShieldStatus == nil || m.GetShieldStatus() != 0 || m.GetUserId() != 1 {
			t.Errorf("at first: %v", m)
		}
		// Asked in the same breath it is answered after what was set.
		ann.send(set(4, 1), ask(5))
		ann.nothing()
		r.step(ann)
		all := ann.take()
		if len(all) != 2 || !proto.Equal(all[0].m, &imlogin.IMPushShieldRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0)), ShieldStatus: new(uint32(1))}) ||
			!proto.Equal(all[1].m, &imlogin.IMQueryPushShieldRsp{UserId: new(uint32(1)), ResultCode: new(uint32(0)), ShieldStatus: new(uint32(1))}) {
			t.Errorf("got %v", all)
		}
		ann.send(set(6, 2))
		if m := one[*imlogin.IMPushShieldRsp](ann, 6); m.GetResultCode() != 1 || m.ShieldStatus != nil {
			t.Errorf("neither on nor off: %v", m)
		}
		ann.send(set(7, 0))
		r.step(ann)
		one[*imlogin.IMPushShieldRsp](ann, 7)
		ann.send(ask(8))
		if m := one[*imlogin.IMQueryPushShieldRsp](ann, 8); m.GetShieldStatus() != 0 {
			t.Errorf("off: %v", m)
		}
		r.node.set(func() { delete(r.node.people, 1) })
		ann.send(ask(9))
		if m := one[*imlogin.IMQueryPushShieldRsp](ann, 9); m.GetResultCode() != 1 || m.ShieldStatus != nil {
			t.Errorf("nobody: %v", m)
		}
	})
}

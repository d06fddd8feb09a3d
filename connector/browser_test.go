package connector

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
)

// What is different for a session of the web class, and what is not.

func TestABrowserIsToldWhatADesktopIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		page := r.login("bob", browser)
		r.sleep(1100*time.Millisecond, page)
		page.take()
		ann := r.login("ann", windows, page)
		ann.send(ann.avatar(4, "http://b"))
		r.step(ann)
		ann.send(ann.signature(5, "bye"))
		r.step(ann)
		r.sleep(1100*time.Millisecond, ann, page)
		var got []string
		for _, g := range page.take() {
			switch m := g.m.(type) {
			case *imbuddy.IMUserStatNotify:
				got = append(got, fmt.Sprint("status ", m.GetUserStat().GetUserId(), " ", m.GetUserStat().GetStatus().Number()))
			case *imbuddy.IMAvatarChangedNotify:
				got = append(got, "avatar "+m.GetAvatarUrl())
			case *imbuddy.IMSignInfoChangedNotify:
				got = append(got, "signature "+m.GetSignInfo())
			default:
				t.Errorf("got %v", g)
			}
		}
		if want := []string{"status 1 1", "avatar http://b", "signature bye"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestABrowserIsSeenAsADesktopIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone := r.login("ann", windows), r.login("bob", android)
		r.sleep(1100*time.Millisecond, ann, phone)
		ann.take()
		phone.take()
		asked := func() (status imbase.UserStatType) {
			ann.send(ann.pack(client.CmdUsersStatReq, 3, &imbuddy.IMUsersStatReq{UserId: new(uint32(7)), UserIdList: []uint32{2}}))
			return one[*imbuddy.IMUsersStatRsp](ann, 3).GetUserStatList()[0].GetStatus()
		}
		if got := asked(); got != imbase.UserStatType_USER_STATUS_OFFLINE {
			t.Errorf("with a phone alone bob is %s", got)
		}
		page := r.login("bob", browser, phone)
		if m := one[*imbuddy.IMPCLoginStatusNotify](phone, 0); m.GetLoginStat() != imbase.UserStatType_USER_STATUS_ONLINE || m.GetUserId() != 2 {
			t.Errorf("his phone is told %v", m)
		}
		if got := asked(); got != imbase.UserStatType_USER_STATUS_ONLINE {
			t.Errorf("with a browser bob is %s", got)
		}
		r.sleep(1100*time.Millisecond, ann, phone, page)
		if m := one[*imbuddy.IMUserStatNotify](ann, 0); m.GetUserStat().GetUserId() != 2 || m.GetUserStat().GetStatus() != imbase.UserStatType_USER_STATUS_ONLINE {
			t.Errorf("ann is told %v", m)
		}
		page.take()
		page.send(page.pack(client.CmdLogoutReq, 4, &imlogin.IMLogoutReq{}))
		r.step(page, phone)
		if m := one[*imbuddy.IMPCLoginStatusNotify](phone, 0); m.GetLoginStat() != imbase.UserStatType_USER_STATUS_OFFLINE {
			t.Errorf("then his phone is told %v", m)
		}
		r.sleep(1100*time.Millisecond, ann)
		if m := one[*imbuddy.IMUserStatNotify](ann, 0); m.GetUserStat().GetStatus() != imbase.UserStatType_USER_STATUS_OFFLINE {
			t.Errorf("then ann is told %v", m)
		}
	})
}

func TestAPhoneSendsDesktopAndBrowserAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pc, page, phone := r.login("ann", windows), r.login("ann", browser), r.login("ann", android)
		r.step(pc, page, phone)
		for _, w := range []*wire{pc, page, phone} {
			w.take()
		}
		page.send(page.pack(client.CmdKickPCClientReq, 6, &imlogin.IMKickPCClientReq{UserId: new(uint32(1))}))
		r.step(pc, page, phone)
		pc.nothing() // only a phone may
		phone.send(phone.pack(client.CmdKickPCClientReq, 6, &imlogin.IMKickPCClientReq{UserId: new(uint32(1))}))
		r.step(pc, page, phone)
		for name, w := range map[string]*wire{"the desktop": pc, "the browser": page} {
			if m := one[*imlogin.IMKickUser](w, 0); m.GetKickReason() != imbase.KickReasonType_KICK_REASON_MOBILE_KICK || !w.over {
				t.Errorf("%s got %v, closed %v", name, m, w.over)
			}
		}
		all := phone.take()
		if len(all) != 2 || all[0].Command != client.CmdKickPCClientRsp ||
			all[1].m.(*imbuddy.IMPCLoginStatusNotify).GetLoginStat() != imbase.UserStatType_USER_STATUS_OFFLINE {
			t.Errorf("phone got %v", all)
		}
	})
}

func TestBrowsersReplaceEachOtherAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		pc, phone, page := r.login("ann", windows), r.login("ann", android), r.login("ann", browser)
		r.step(pc, phone, page)
		for _, w := range []*wire{pc, phone, page} {
			w.take()
		}
		fresh := r.login("ann", browser, pc, phone, page)
		r.sleep(300*time.Millisecond, pc, phone, page, fresh)
		if m := one[*imlogin.IMKickUser](page, 0); m.GetKickReason() != imbase.KickReasonType_KICK_REASON_DUPLICATE_USER || !page.over {
			t.Errorf("the first browser got %v, closed %v", m, page.over)
		}
		phone.nothing() // neither came nor went
		pc.nothing()
		if pc.over || phone.over || fresh.over {
			t.Errorf("closed: desktop %v, phone %v, the second browser %v", pc.over, phone.over, fresh.over)
		}
	})
}

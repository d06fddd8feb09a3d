package commands

import (
	"strings"
	"testing"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

const (
	desktop = event.DeviceClass_DEVICE_CLASS_DESKTOP
	mobile  = event.DeviceClass_DEVICE_CLASS_MOBILE
	web     = event.DeviceClass_DEVICE_CLASS_WEB
)

func TestOpenSession(t *testing.T) {
	proved := LoginState{Person: alice, PasswordProved: true, PeopleSequence: 99}
	with := func(change func(*OpenSession)) OpenSession {
		c := OpenSession{At: noon, Session: id(1), Life: id(9), ClientType: imbase.ClientType_CLIENT_TYPE_WINDOWS,
			OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE, ClientVersion: "win_10086", Policy: DefaultDevicePolicy()}
		change(&c)
		return c
	}
	opened := func(change func(*event.SessionOpened)) *event.SessionOpened {
		e := &event.SessionOpened{Session: id(1).Bytes(), User: 7, ClientType: 1, DeviceClass: desktop, Life: id(9).Bytes(),
			Replaces: []event.DeviceClass{desktop}, PeopleSequence: 99, OnlineStatus: 1, ClientVersion: "win_10086"}
		change(e)
		return e
	}
	same := func(*OpenSession) {}
	play(t, []scenario[LoginState]{
		{name: "Windows replaces desktops", given: proved, when: with(same), then: opened(func(*event.SessionOpened) {})},
		{name: "Mac replaces desktops", given: proved, when: with(func(c *OpenSession) { c.ClientType = imbase.ClientType_CLIENT_TYPE_MAC }),
			then: opened(func(e *event.SessionOpened) { e.ClientType = 2 })},
		{name: "iOS replaces phones", given: proved, when: with(func(c *OpenSession) { c.ClientType = imbase.ClientType_CLIENT_TYPE_IOS }),
			then: opened(func(e *event.SessionOpened) {
				e.ClientType, e.DeviceClass, e.Replaces = 17, mobile, []event.DeviceClass{mobile}
			})},
		{name: "Android replaces phones", given: proved, when: with(func(c *OpenSession) { c.ClientType = imbase.ClientType_CLIENT_TYPE_ANDROID }),
			then: opened(func(e *event.SessionOpened) {
				e.ClientType, e.DeviceClass, e.Replaces = 18, mobile, []event.DeviceClass{mobile}
			})},
		{name: "a browser replaces browsers", given: proved, when: with(func(c *OpenSession) { c.ClientType = imbase.ClientType_CLIENT_TYPE_WEB }),
			then: opened(func(e *event.SessionOpened) {
				e.ClientType, e.DeviceClass, e.Replaces = 33, web, []event.DeviceClass{web}
			})},
		{name: "the policy says what is replaced", given: proved, when: with(func(c *OpenSession) { c.Policy = DevicePolicy{{mobile, desktop}, {desktop, web}} }),
			then: opened(func(e *event.SessionOpened) { e.Replaces = []event.DeviceClass{desktop, mobile, web} })},
		{name: "without a policy nothing is replaced", given: proved, when: with(func(c *OpenSession) { c.Policy = nil }),
			then: opened(func(e *event.SessionOpened) { e.Replaces = nil })},
		{name: "away is kept", given: proved, when: with(func(c *OpenSession) { c.OnlineStatus = imbase.UserStatType_USER_STATUS_LEAVE }),
			then: opened(func(e *event.SessionOpened) { e.OnlineStatus = 3 })},
		{name: "an unknown status is online", given: proved, when: with(func(c *OpenSession) { c.OnlineStatus = 9 }), then: opened(func(*event.SessionOpened) {})},
		{name: "no status is online", given: proved, when: with(func(c *OpenSession) { c.OnlineStatus = 0 }), then: opened(func(*event.SessionOpened) {})},
		{name: "a version is cut to whole characters of text", given: proved, when: with(func(c *OpenSession) { c.ClientVersion = "x" + strings.Repeat("雁", 100) }),
			then: opened(func(e *event.SessionOpened) { e.ClientVersion = "x" + strings.Repeat("雁", 21) })},
		{name: "a version that is no text is made one", given: proved, when: with(func(c *OpenSession) { c.ClientVersion = "1\xff" }),
			then: opened(func(e *event.SessionOpened) { e.ClientVersion = "1\ufffd" })},

		{name: "nobody of this name", given: LoginState{PasswordProved: true}, when: with(same), refuse: ErrWrongPassword},
		{name: "wrong password", given: LoginState{Person: alice}, when: with(same), refuse: ErrWrongPassword},
		{name: "disabled", given: LoginState{Person: gone, PasswordProved: true}, when: with(same), refuse: ErrPersonDisabled},
		{name: "disabled and wrong password", given: LoginState{Person: gone}, when: with(same), refuse: ErrWrongPassword},
		{name: "an unknown client type", given: proved, when: with(func(c *OpenSession) { c.ClientType = 3 }), refuse: ErrUnknownDevice},
		{name: "an unknown client type with the bit of phones", given: proved, when: with(func(c *OpenSession) { c.ClientType = 0x13 }), refuse: ErrUnknownDevice},
		{name: "no session id", given: proved, when: with(func(c *OpenSession) { c.Session = event.ID{} }), refuse: ErrIncomplete},
		{name: "no life", given: proved, when: with(func(c *OpenSession) { c.Life = event.ID{} }), refuse: ErrIncomplete},
	})
}

func TestEndSession(t *testing.T) {
	c := EndSession{At: noon, Session: id(1), User: 7, Reason: event.EndReason_END_REASON_LOGOUT}
	mine := SessionState{User: 7}
	play(t, []scenario[SessionState]{
		{name: "a logout", given: mine, when: c, then: &event.SessionEnded{Session: id(1).Bytes(), User: 7, Reason: event.EndReason_END_REASON_LOGOUT}},
		{name: "an operator", given: mine, when: EndSession{At: noon, Session: id(1), User: 7, Reason: event.EndReason_END_REASON_ADMIN, By: "admin"},
			then: &event.SessionEnded{Session: id(1).Bytes(), User: 7, Reason: event.EndReason_END_REASON_ADMIN, By: "admin"}},
		{name: "twice", given: SessionState{User: 7, Ended: true}, when: c, refuse: ErrSessionOver},
		{name: "another's", given: SessionState{User: 3}, when: c, refuse: ErrNotYours},
		{name: "no reason", given: mine, when: EndSession{At: noon, Session: id(1), User: 7}, refuse: ErrIncomplete},
		{name: "no session", given: mine, when: EndSession{At: noon, User: 7, Reason: c.Reason}, refuse: ErrIncomplete},
		{name: "no user", when: EndSession{At: noon, Session: id(1), Reason: c.Reason}, refuse: ErrIncomplete},
		{name: "no time", given: mine, when: EndSession{Session: id(1), User: 7, Reason: c.Reason}, refuse: ErrIncomplete},
	})
}

func TestEndSessionGivesNoReasonThatFollowsFromOtherEvents(t *testing.T) {
	follows := map[event.EndReason]bool{
		event.EndReason_END_REASON_UNSPECIFIED: true, event.EndReason_END_REASON_REPLACED: true, event.EndReason_END_REASON_KICKED: true,
		event.EndReason_END_REASON_NODE_STOPPED: true, event.EndReason_END_REASON_NODE_LOST: true,
	}
	for number := range event.EndReason_name {
		_, err := EndSession{At: noon, Session: id(1), User: 7, Reason: event.EndReason(number)}.Decide(SessionState{User: 7})
		if (err != nil) != follows[event.EndReason(number)] {
			t.Errorf("%s: %v", event.EndReason(number), err)
		}
	}
}

func TestKickDesktop(t *testing.T) {
	play(t, []scenario[struct{}]{
		{name: "the phone sends desktop and browser away", when: alone{KickDesktop{At: noon, From: phone}},
			then: &event.DeviceClassKicked{User: 7, DeviceClass: desktop, Also: []event.DeviceClass{web}, Reason: event.EndReason_END_REASON_KICKED, BySession: phone.ID.Bytes()}},
		{name: "a desktop may not", when: alone{KickDesktop{At: noon, From: desk}}, refuse: ErrNotMobile},
		{name: "a browser may not", when: alone{KickDesktop{At: noon, From: Session{ID: id(3), User: 7, Class: web}}}, refuse: ErrNotMobile},
		{name: "before login", when: alone{KickDesktop{At: noon}}, refuse: ErrNotLoggedIn},
		{name: "no time", when: alone{KickDesktop{From: phone}}, refuse: ErrIncomplete},
	})
}

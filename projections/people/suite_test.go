package people

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
)

func TestPeoplePassesTheSuite(t *testing.T) {
	projectiontest.Suite{New: func() view.Fold { return New() }, Event: drawEvent}.Run(t)
}

func drawEvent(t *rapid.T) *event.Event {
	ev := &event.Event{At: projectiontest.Epoch + int64(rapid.IntRange(-5000, 60_000).Draw(t, "ms"))}
	user := uint32(rapid.IntRange(0, 6).Draw(t, "user"))
	other := uint32(rapid.IntRange(0, 6).Draw(t, "other"))
	flag := rapid.Bool().Draw(t, "flag")
	if n := rapid.IntRange(0, 12).Draw(t, "request"); n > 0 && n < 4 {
		ev.Request = bytes.Repeat([]byte{byte(n)}, 16)
	} else if n == 4 {
		ev.Request = []byte("short")
	}
	small := func(what string) *uint32 {
		if !rapid.Bool().Draw(t, what+" set") {
			return nil
		}
		return new(uint32(rapid.IntRange(0, 4).Draw(t, what)))
	}
	word := func(what string) string { return rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, what) }
	maybe := func(what string) *string {
		if w := word(what); w != "" {
			return &w
		}
		return nil
	}
	switch rapid.IntRange(0, 24).Draw(t, "event") {
	case 0:
		ev.Body = &event.Event_PasswordChanged{PasswordChanged: &event.PasswordChanged{User: user, PasswordHash: "new"}}
	case 1:
		ev.Body = &event.Event_PersonDisabled{PersonDisabled: &event.PersonDisabled{User: user}}
	case 2:
		ev.Body = &event.Event_PersonEnabled{PersonEnabled: &event.PersonEnabled{User: user}}
	case 3, 4:
		ev.Body = &event.Event_FriendAdded{FriendAdded: &event.FriendAdded{Lower: user, Higher: other}}
	case 5, 6:
		ev.Body = &event.Event_FriendRemoved{FriendRemoved: &event.FriendRemoved{Lower: min(user, other), Higher: max(user, other), User: uint32(rapid.SampledFrom([]int{0, int(user), 6}).Draw(t, "did"))}}
	case 7, 8, 9:
		ev.Body = &event.Event_FriendRequested{FriendRequested: &event.FriendRequested{From: user, To: other, Text: word("text")}}
	case 10, 11:
		ev.Body = &event.Event_FriendAnswered{FriendAnswered: &event.FriendAnswered{From: user, To: other, Accept: flag, Withdrawn: rapid.Bool().Draw(t, "withdrawn")}}
	case 12:
		ev.Body = &event.Event_FriendRemarked{FriendRemarked: &event.FriendRemarked{User: user, Friend: other, Remark: word("remark")}}
	case 13:
		ev.Body = &event.Event_ProfileChanged{ProfileChanged: &event.ProfileChanged{User: user, Nick: maybe("nick"), AvatarUrl: maybe("avatar"), Signature: maybe("signature"), Employment: small("employment"), Department: small("department")}}
	case 14, 15:
		ev.Body = &event.Event_DepartmentChanged{DepartmentChanged: &event.DepartmentChanged{Department: other, Make: flag, Name: maybe("name"), Parent: small("parent"), Priority: small("priority"), Deleted: new(rapid.Bool().Draw(t, "deleted"))}}
	case 16:
		n := uint32(0)
		if flag {
			n = other
		}
		ev.Body = &event.Event_GroupReserved{GroupReserved: &event.GroupReserved{Number: n}}
	case 17, 18:
		ev.Body = &event.Event_DeviceTokenSet{DeviceTokenSet: &event.DeviceTokenSet{User: user, ClientType: 17, Token: word("token")}}
	case 19:
		ev.Body = &event.Event_PushShieldSet{PushShieldSet: &event.PushShieldSet{User: user, On: flag}}
	case 20:
		ev.Body = &event.Event_PasswordRehashed{PasswordRehashed: &event.PasswordRehashed{User: user, PasswordHash: word("hash"), CredentialsSequence: uint64(rapid.IntRange(0, 3).Draw(t, "credentials"))}}
	case 21:
		ev.Body = &event.Event_ApiKeyAdded{ApiKeyAdded: &event.ApiKeyAdded{Id: word("id"), Hash: make([]byte, 32), Scopes: []string{"x"}}}
		if flag {
			ev.Body = &event.Event_ApiKeyRevoked{ApiKeyRevoked: &event.ApiKeyRevoked{Id: word("revoked")}}
		}
	case 22:
		ev.Body = &event.Event_WebhookSet{WebhookSet: &event.WebhookSet{Id: word("id"), Url: word("url"), Secret: word("secret"), Disabled: flag}}
	case 23:
		ev.Body = &event.Event_WebhookRemoved{WebhookRemoved: &event.WebhookRemoved{Id: word("id")}}
	default:
		p := &event.PersonRegistered{PasswordHash: "hash", Nick: "Nick", Gender: 1, Compared: flag}
		if n := rapid.IntRange(0, 6).Draw(t, "name"); n > 0 {
			p.Name = fmt.Sprint("name", n)
		}
		if rapid.IntRange(0, 3).Draw(t, "numbered") == 0 {
			p.Number = user
		}
		ev.Body = &event.Event_PersonRegistered{PersonRegistered: p}
	}
	return ev
}

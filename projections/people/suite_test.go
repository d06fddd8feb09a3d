package people

import (
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
	switch rapid.IntRange(0, 8).Draw(t, "event") {
	case 0:
		ev.Body = &event.Event_PasswordChanged{PasswordChanged: &event.PasswordChanged{User: user, PasswordHash: "new"}}
	case 1:
		ev.Body = &event.Event_PersonDisabled{PersonDisabled: &event.PersonDisabled{User: user}}
	case 2:
		ev.Body = &event.Event_PersonEnabled{PersonEnabled: &event.PersonEnabled{User: user}}
	case 3, 4:
		ev.Body = &event.Event_FriendAdded{FriendAdded: &event.FriendAdded{Lower: user, Higher: other}}
	case 5:
		ev.Body = &event.Event_FriendRemoved{FriendRemoved: &event.FriendRemoved{Lower: user, Higher: other}}
	default:
		p := &event.PersonRegistered{PasswordHash: "hash", Nick: "Nick", Gender: 1}
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

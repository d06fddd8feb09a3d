package presence

import (
	"testing"

	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
)

func TestPresencePassesTheSuite(t *testing.T) {
	projectiontest.Suite{
		New:   func() view.Fold { return &Presence{endedKept: 5} },
		Event: drawEvent,
	}.Run(t)
}

var classes = []event.DeviceClass{
	event.DeviceClass_DEVICE_CLASS_DESKTOP, event.DeviceClass_DEVICE_CLASS_MOBILE, event.DeviceClass_DEVICE_CLASS_WEB,
}

func drawEvent(t *rapid.T) *event.Event {
	ev := &event.Event{At: projectiontest.Epoch}
	life := projectiontest.ID(byte(rapid.IntRange(1, 3).Draw(t, "life")))
	sessionID := projectiontest.ID(byte(rapid.IntRange(10, 25).Draw(t, "session")))
	user := uint32(rapid.IntRange(0, 3).Draw(t, "user"))
	class := rapid.SampledFrom(classes).Draw(t, "class")
	switch rapid.IntRange(0, 11).Draw(t, "event") {
	case 0, 1:
		ev.Body = &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{Life: life[:], Node: "n", Advertise: "a:1"}}
	case 2:
		ev.Body = &event.Event_NodeStopped{NodeStopped: &event.NodeStopped{Life: life[:]}}
	case 3:
		ev.Body = &event.Event_NodeLost{NodeLost: &event.NodeLost{Life: life[:]}}
	case 4, 5:
		ev.Body = &event.Event_SessionEnded{SessionEnded: &event.SessionEnded{
			Session: sessionID[:], User: user, Reason: event.EndReason_END_REASON_CLOSED,
		}}
	case 6:
		ev.Body = &event.Event_DeviceClassKicked{DeviceClassKicked: &event.DeviceClassKicked{
			User: user, DeviceClass: class, Reason: event.EndReason_END_REASON_KICKED, BySession: sessionID[:],
			Also: rapid.SliceOfN(rapid.SampledFrom(classes), 0, 2).Draw(t, "also"),
		}}
	default:
		o := &event.SessionOpened{
			Session: sessionID[:], User: user, ClientType: 1, DeviceClass: class, Life: life[:], PeopleSequence: 3,
		}
		if rapid.Bool().Draw(t, "exclusive") {
			o.Replaces = []event.DeviceClass{class}
		}
		ev.Body = &event.Event_SessionOpened{SessionOpened: o}
	}
	return ev
}

package timeline

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
)

func TestTimelinePassesTheSuite(t *testing.T) {
	projectiontest.Suite{New: func() view.Fold { return New(0) }, Event: drawEvent}.Run(t)
}

func drawConversation(t *rapid.T) []byte {
	a := uint32(rapid.IntRange(1, 3).Draw(t, "a"))
	b := uint32(rapid.IntRange(1, 3).Draw(t, "b"))
	if rapid.IntRange(0, 15).Draw(t, "group") == 0 {
		k := event.Group(a)
		return k[:]
	}
	k := event.Direct(a, b) // of one user with himself: malformed
	return k[:]
}

// drawTime is mostly a little later than others, sometimes days away.
func drawTime(t *rapid.T) int64 {
	at := projectiontest.Epoch + int64(rapid.IntRange(0, 300).Draw(t, "seconds"))*1000
	if rapid.IntRange(0, 3).Draw(t, "far") == 0 {
		at += int64(rapid.IntRange(-10, 10).Draw(t, "days")) * 24 * int64(time.Hour/time.Millisecond)
	}
	return at
}

func drawEvent(t *rapid.T) *event.Event {
	ev := &event.Event{At: drawTime(t)}
	conversation := drawConversation(t)
	user := uint32(rapid.IntRange(0, 4).Draw(t, "user"))
	session := projectiontest.ID(byte(user))
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0:
		ev.Body = &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{
			Conversation: conversation, User: user, MsgId: uint32(rapid.IntRange(0, 12).Draw(t, "read")), Session: session[:],
		}}
	case 1:
		ev.Body = &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{
			Conversation: conversation, User: user, Session: session[:],
		}}
	case 2:
		ev.Body = &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{
			Conversation: conversation, User: user, Blocked: rapid.IntRange(0, 3).Draw(t, "block") == 0,
		}}
	default:
		m := &event.MessageSent{
			Conversation: conversation, From: user, Type: 1, Session: session[:],
			Body:   []byte(rapid.StringN(0, 20, -1).Draw(t, "body")),
			Origin: rapid.SampledFrom([]event.Origin{0, 0, 0, 0, 0, 1, 2}).Draw(t, "origin"),
		}
		if key := rapid.IntRange(0, 5).Draw(t, "repeat key"); key < 4 {
			id := projectiontest.ID(byte(key))
			m.RepeatKey = id[:]
			if key%2 == 0 {
				m.ClientMessageId = id[:]
			}
		}
		if rapid.IntRange(0, 9).Draw(t, "odd") == 0 {
			m.Session, m.KeyId = nil, "key"
		}
		ev.Body = &event.Event_MessageSent{MessageSent: m}
	}
	return ev
}

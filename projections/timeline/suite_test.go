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
	if rapid.IntRange(0, 2).Draw(t, "group") == 0 {
		return drawGroup(t)
	}
	k := event.Direct(a, b) // of one user with himself: malformed
	return k[:]
}

func drawGroup(t *rapid.T) []byte {
	k := event.Group(uint32(rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "number")))
	return k[:]
}

func drawUsers(t *rapid.T, name string) []uint32 {
	return rapid.SliceOfN(rapid.SampledFrom([]uint32{1, 1, 2, 2, 3, 3, 4, 4, 0}), 0, 3).Draw(t, name)
}

// rarely is true once in n times.
func rarely(t *rapid.T, n int, name string) bool {
	return rapid.IntRange(0, n-1).Draw(t, name) == 0
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
	id := func() uint32 { return uint32(rapid.SampledFrom([]int{0, 1, 1, 1, 2, 2, 3, 4, 9}).Draw(t, "id")) }
	within := func() uint32 { return uint32(rapid.SampledFrom([]int{0, 100}).Draw(t, "within")) }
	switch rapid.IntRange(0, 26).Draw(t, "event") {
	case 0, 1:
		ev.Body = &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{
			Conversation: conversation, User: user, MsgId: id(), Session: session[:],
		}}
	case 2:
		ev.Body = &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{
			Conversation: conversation, User: user, Session: session[:],
		}}
	case 3:
		ev.Body = &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{
			Conversation: conversation, User: user, Blocked: rarely(t, 4, "block"), Session: session[:],
		}}
	case 4, 5:
		ev.Body = &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{
			Conversation: conversation, User: user, MsgId: id(), Session: session[:],
		}}
	case 6, 7:
		ev.Body = &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
			Conversation: drawGroup(t), Type: event.GroupType(rapid.SampledFrom([]int32{2, 2, 2, 1, 0}).Draw(t, "type")),
			Name: "group", Creator: user, Members: drawUsers(t, "members"), Limit: uint32(rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "limit")), Session: session[:],
		}}
	case 8, 9, 10:
		c := &event.GroupMembersChanged{
			Conversation: drawGroup(t), User: user, Added: drawUsers(t, "added"), Session: session[:],
			Limit: uint32(rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "limit")),
		}
		if len(c.Added) == 0 || rarely(t, 4, "both") {
			c.Removed = drawUsers(t, "removed")
		}
		if len(c.Added) == 0 && rarely(t, 3, "himself") {
			c.Removed = []uint32{user}
		}
		if rarely(t, 8, "import") {
			c.User, c.ImportAfter, c.ImportStep = 0, id()%4, 1+id()%2
		}
		ev.Body = &event.Event_GroupMembersChanged{GroupMembersChanged: c}
	case 11:
		c := &event.GroupChanged{Conversation: drawGroup(t), User: user, Session: session[:]}
		if rarely(t, 2, "named") {
			c.Name = new(rapid.SampledFrom([]string{"group", "crew"}).Draw(t, "name"))
		}
		if rarely(t, 2, "handed") {
			c.Administrator = new(uint32(rapid.IntRange(0, 4).Draw(t, "administrator")))
		}
		c.Dissolved = rarely(t, 6, "dissolved")
		ev.Body = &event.Event_GroupChanged{GroupChanged: c}
	case 12:
		ev.Body = &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{
			Conversation: drawGroup(t), User: user, Shielded: rapid.Bool().Draw(t, "shielded"), Session: session[:],
		}}
	case 13:
		ev.Body = &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{
			Conversation: conversation, User: user, MsgId: id(), Within: within(), Session: session[:],
		}}
	case 14, 15:
		ev.Body = &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{
			Conversation: conversation, User: user, MsgId: id(), Within: within(), Session: session[:],
			Body: []byte(rapid.SampledFrom([]string{"", "x", "y", "from 1"}).Draw(t, "body")),
		}}
	case 16:
		i := &event.MessageImported{Conversation: conversation, MsgId: 1 + id()%4, From: user, Type: 1, Body: []byte("old")}
		if i.Missing = rarely(t, 4, "missing"); i.Missing && !rarely(t, 4, "odd") {
			i.Body = nil
		}
		ev.Body = &event.Event_MessageImported{MessageImported: i}
	case 17:
		ev.Body = &event.Event_FileOffered{FileOffered: &event.FileOffered{
			Conversation: conversation, From: user, To: uint32(rapid.IntRange(1, 3).Draw(t, "to")), Name: "f", Size: 9,
			Task: rapid.SampledFrom([]string{"one", "two", ""}).Draw(t, "task"), Session: session[:],
		}}
	case 18:
		ev.Body = &event.Event_FileRemoved{FileRemoved: &event.FileRemoved{
			Conversation: conversation, User: user, Task: rapid.SampledFrom([]string{"one", "two"}).Draw(t, "task"), Session: session[:],
		}}
	default:
		m := &event.MessageSent{
			Conversation: conversation, From: user, Type: uint32(rapid.SampledFrom([]int{1, 1, 1, 2, 18}).Draw(t, "type")), Session: session[:],
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

package explain_test

import (
	"strings"
	"testing"
	"time"

	"godwit/projections/explain"
	"godwit/schema/event"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func id(n byte) event.ID {
	var id event.ID
	id[15] = n
	return id
}

// story is a log that a test tells, one record for each event, a second apart.
type story struct {
	entries []explain.Entry
	last    map[event.Stream]uint64
}

func (s *story) tell(stream event.Stream, body any) {
	ev := &event.Event{}
	switch b := body.(type) {
	case *event.SessionOpened:
		ev.Body = &event.Event_SessionOpened{SessionOpened: b}
	case *event.SessionEnded:
		ev.Body = &event.Event_SessionEnded{SessionEnded: b}
	case *event.DeviceClassKicked:
		ev.Body = &event.Event_DeviceClassKicked{DeviceClassKicked: b}
	case *event.NodeStarted:
		ev.Body = &event.Event_NodeStarted{NodeStarted: b}
	case *event.NodeStopped:
		ev.Body = &event.Event_NodeStopped{NodeStopped: b}
	case *event.NodeLost:
		ev.Body = &event.Event_NodeLost{NodeLost: b}
	case *event.PasswordChanged:
		ev.Body = &event.Event_PasswordChanged{PasswordChanged: b}
	case *event.PersonDisabled:
		ev.Body = &event.Event_PersonDisabled{PersonDisabled: b}
	case *event.PersonEnabled:
		ev.Body = &event.Event_PersonEnabled{PersonEnabled: b}
	case *event.ProfileChanged:
		ev.Body = &event.Event_ProfileChanged{ProfileChanged: b}
	case *event.MessageSent:
		ev.Body = &event.Event_MessageSent{MessageSent: b}
	case *event.MessageRecalled:
		ev.Body = &event.Event_MessageRecalled{MessageRecalled: b}
	case *event.ReadAdvanced:
		ev.Body = &event.Event_ReadAdvanced{ReadAdvanced: b}
	case *event.SessionEntryRemoved:
		ev.Body = &event.Event_SessionEntryRemoved{SessionEntryRemoved: b}
	case *event.GroupCreated:
		ev.Body = &event.Event_GroupCreated{GroupCreated: b}
	case *event.GroupMembersChanged:
		ev.Body = &event.Event_GroupMembersChanged{GroupMembersChanged: b}
	default:
		panic(body)
	}
	at := noon.Add(time.Duration(len(s.entries)) * time.Second)
	ev.At = at.UnixMilli()
	if s.last == nil {
		s.last = map[event.Stream]uint64{}
	}
	s.last[stream]++
	s.entries = append(s.entries, explain.Entry{Stream: stream, Sequence: s.last[stream], Stored: at, Event: ev})
}

const (
	desktop = event.DeviceClass_DEVICE_CLASS_DESKTOP
	mobile  = event.DeviceClass_DEVICE_CLASS_MOBILE
	web     = event.DeviceClass_DEVICE_CLASS_WEB
)

func opened(session byte, user uint32, class event.DeviceClass, life byte) *event.SessionOpened {
	kind := map[event.DeviceClass]uint32{desktop: 1, mobile: 17, web: 33}[class]
	return &event.SessionOpened{Session: id(session).Bytes(), User: user, DeviceClass: class, ClientType: kind, Life: id(life).Bytes(), Replaces: []event.DeviceClass{class}}
}

func ended(session byte, r event.EndReason, by string) *event.SessionEnded {
	return &event.SessionEnded{Session: id(session).Bytes(), User: 2, Reason: r, By: by}
}

var names = explain.Names{Users: map[uint32]string{1: "anna", 2: "bela"}, Groups: map[uint32]string{5: "lunch"}, Nodes: map[event.ID]string{id(100): "east", id(101): "west"}}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not said in: %s", p, text)
		}
	}
}

func TestWhyASessionEnded(t *testing.T) {
	for _, c := range []struct {
		name   string
		after  []any // PRESENCE, but what happens to the account
		reason event.EndReason
		says   []string
		shown  int // entries that explain it
	}{
		{"replaced", []any{opened(11, 2, desktop, 101)}, event.EndReason_END_REASON_REPLACED, []string{"bela signed in on the desktop (Windows)", "at the node on east", "signed in again", "replaced it"}, 2},
		{"phone", []any{opened(12, 2, mobile, 100), &event.DeviceClassKicked{User: 2, DeviceClass: desktop, Reason: event.EndReason_END_REASON_KICKED, BySession: id(12).Bytes()}},
			event.EndReason_END_REASON_KICKED, []string{"The phone, signed in on the mobile (iOS), sent it away"}, 2},
		{"operator", []any{ended(10, event.EndReason_END_REASON_ADMIN, "operator")}, event.EndReason_END_REASON_ADMIN, []string{"An operator ended it by hand"}, 2},
		{"key", []any{ended(10, event.EndReason_END_REASON_ADMIN, "key:4kq2")}, event.EndReason_END_REASON_ADMIN, []string{"The holder of the API key 4kq2 ended it"}, 2},
		{"disabled", []any{&event.PersonDisabled{User: 2, By: "operator"}, ended(10, event.EndReason_END_REASON_DISABLED, "")},
			event.EndReason_END_REASON_DISABLED, []string{"The account was disabled by an operator on 23 November 2026 at 12:00:02 UTC"}, 3},
		{"left", []any{&event.ProfileChanged{User: 2, Employment: new(uint32(3)), By: "key:hr"}, ended(10, event.EndReason_END_REASON_DISABLED, "")},
			event.EndReason_END_REASON_DISABLED, []string{"bela was marked as one who has left, by the holder of the API key hr"}, 3},
		{"password", []any{&event.PasswordChanged{User: 1, By: "key:other"}, &event.PasswordChanged{User: 2, By: "operator"}, &event.PasswordChanged{User: 1, By: "key:other"}, ended(10, event.EndReason_END_REASON_PASSWORD_CHANGED, "")},
			event.EndReason_END_REASON_PASSWORD_CHANGED, []string{"The password was set by an operator on 23 November 2026 at 12:00:03 UTC"}, 3},
		{"silent", []any{ended(10, event.EndReason_END_REASON_TIMEOUT, "")}, event.EndReason_END_REASON_TIMEOUT, []string{"Nothing was heard of its client for too long"}, 2},
		{"slow", []any{ended(10, event.EndReason_END_REASON_SLOW, "")}, event.EndReason_END_REASON_SLOW, []string{"did not read what was sent"}, 2},
		{"node lost", []any{&event.NodeLost{Life: id(100).Bytes(), By: id(101).Bytes()}}, event.EndReason_END_REASON_NODE_LOST, []string{"The node on east, which held its connection, was lost, which the node on west noticed"}, 2},
		{"node stopped", []any{&event.NodeStopped{Life: id(100).Bytes()}}, event.EndReason_END_REASON_NODE_STOPPED, []string{"The node on east", "stopped in order"}, 2},
		{"signed out", []any{ended(10, event.EndReason_END_REASON_LOGOUT, "")}, event.EndReason_END_REASON_LOGOUT, []string{"bela signed out"}, 2},
		{"closed", []any{ended(10, event.EndReason_END_REASON_CLOSED, "")}, event.EndReason_END_REASON_CLOSED, []string{"closed from the client's side"}, 2},
		{"protocol", []any{ended(10, event.EndReason_END_REASON_PROTOCOL, "")}, event.EndReason_END_REASON_PROTOCOL, []string{"broke the protocol"}, 2},
		{"abandoned", []any{ended(10, event.EndReason_END_REASON_ABANDONED, "")}, event.EndReason_END_REASON_ABANDONED, []string{"gone before the sign-in was through"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s story
			s.tell(event.Presence, &event.NodeStarted{Life: id(100).Bytes(), Node: "east"})
			s.tell(event.Presence, opened(10, 2, desktop, 100))
			for _, body := range c.after {
				stream := event.Presence
				switch body.(type) {
				case *event.PasswordChanged, *event.PersonDisabled, *event.ProfileChanged:
					stream = event.People
				}
				s.tell(stream, body)
			}
			// What ends nothing any more.
			s.tell(event.Presence, &event.NodeLost{Life: id(102).Bytes()})
			s.tell(event.Presence, ended(10, event.EndReason_END_REASON_CLOSED, ""))
			s.tell(event.Presence, opened(30, 1, desktop, 101)) // somebody else's
			all, _ := explain.Sessions(explain.Account{User: 2}, s.entries, nil, names, true, noon)
			for _, got := range all {
				if got.ID != id(10) {
					continue
				}
				if got.Reason != c.reason || got.Ended.IsZero() || !got.Opened.Equal(noon.Add(time.Second)) || len(got.Entries) != c.shown {
					t.Errorf("%+v", got)
				}
				holds(t, got.Explanation, append(c.says, "It ended on 23 November 2026 at 12:00:0")...)
				return
			}
			t.Errorf("the session is missing: %+v", all)
		})
	}
}

func TestWhyNobodyIsSignedIn(t *testing.T) {
	sessions := func(a explain.Account, s story, live []explain.Session, complete bool) ([]explain.Session, string) {
		all, why := explain.Sessions(a, s.entries, live, names, complete, noon)
		return all, strings.Join(why, " ")
	}
	var s story
	_, why := sessions(explain.Account{User: 2}, s, nil, true)
	holds(t, why, "bela is not signed in anywhere, and never was.")
	_, why = sessions(explain.Account{User: 2}, s, nil, false)
	holds(t, why, "no sign-in was found since 23 November 2026 at 12:00:00 UTC")

	s.tell(event.Presence, opened(10, 2, web, 100))
	s.tell(event.Presence, ended(10, event.EndReason_END_REASON_TIMEOUT, ""))
	s.tell(event.People, &event.PasswordChanged{User: 2, By: "operator"})
	_, why = sessions(explain.Account{User: 2}, s, nil, true)
	holds(t, why, "The last session, on the web, ended on 23 November 2026 at 12:00:01 UTC: nothing was heard of its client", "The password was set by an operator", "nobody has signed in with the new one")
	s.tell(event.People, &event.PersonDisabled{User: 2, By: "key:k"})
	_, why = sessions(explain.Account{User: 2, Disabled: true}, s, nil, true)
	holds(t, why, "The account is disabled, by the holder of the API key k on 23 November 2026 at 12:00:03 UTC")
	s.tell(event.People, &event.PersonEnabled{User: 2, By: "operator"})
	s.tell(event.Presence, opened(11, 2, mobile, 101))
	all, why := sessions(explain.Account{User: 2}, s, []explain.Session{{ID: id(11), Class: mobile}, {ID: id(9), Class: desktop, ClientType: 2, Opened: noon.Add(-time.Hour)}}, false)
	holds(t, why, "bela is signed in on the desktop (Mac) and the mobile (iOS).")
	if len(all) != 3 || all[0].ID != id(11) || all[1].ID != id(10) || all[2].ID != id(9) || !all[0].Ended.IsZero() || all[0].Over {
		t.Errorf("%+v", all)
	}
	// The view has the last word: a login that came to nothing.
	all, why = sessions(explain.Account{User: 2}, s, nil, true)
	holds(t, why, "bela is not signed in anywhere.")
	if !all[0].Over || !strings.Contains(all[0].Explanation, "never came to be") {
		t.Errorf("%+v", all[0])
	}
}

// unread tells what a mark comes to, walking over the story from its end; most bounds what is walked over, 0: all.
func unread(m explain.Mark, s story, most int) (string, []explain.Entry, bool) {
	w := explain.Unread(m, names)
	done := false
	for i := len(s.entries) - 1; i >= 0 && !done; i-- {
		if most--; most == -1 {
			return strings.Join(w.Explanation(noon), " "), w.Entries(), w.Complete()
		}
		done = w.Over(s.entries[i])
	}
	if !done {
		w.End()
	}
	return strings.Join(w.Explanation(noon), " "), w.Entries(), w.Complete()
}

func TestWhyAConversationIsUnread(t *testing.T) {
	direct, group := event.Direct(1, 2), event.Group(5)
	const stream = event.Conversation0
	sent := func(from uint32, origin event.Origin) *event.MessageSent {
		return &event.MessageSent{Conversation: direct[:], From: from, Origin: origin, DeviceClass: mobile, Body: []byte("MARKER")}
	}
	read := func(id uint32, session byte, by string) *event.ReadAdvanced {
		r := &event.ReadAdvanced{Conversation: direct[:], User: 2, MsgId: id, By: by}
		if by == "" {
			r.Session = []byte{15: session}
		}
		return r
	}
	const client, api = event.Origin_ORIGIN_CLIENT, event.Origin_ORIGIN_API
	at := func(second int) uint32 { return uint32(noon.Unix()) + uint32(second) }
	for _, c := range []struct {
		name  string
		log   []any
		mark  explain.Mark
		says  []string
		shown int
	}{
		{"read on a device, then three came", []any{sent(1, client), read(1, 10, ""), read(1, 11, ""), sent(1, client), sent(1, client), &event.MessageRecalled{Conversation: direct[:], MsgId: 3, User: 1}, sent(1, api)},
			explain.Mark{Head: 4, Read: 1, Messages: []explain.Message{{4, 1, at(6), false}, {3, 1, at(4), true}, {2, 1, at(3), false}, {1, 1, at(0), false}}},
			[]string{"bela has 3 unread messages in the conversation with anna: the newest message is 4, and bela has read up to message 1.",
				"bela read up to message 1 on the desktop (session 0000000000000000000000000A, which still lives), on 23 November 2026 at 12:00:01 UTC",
				"Since then came the messages 2 to 4: all by anna, from 23 November 2026 at 12:00:03 UTC to 23 November 2026 at 12:00:06 UTC.", "1 of them was recalled"}, 5},
		{"own message", []any{sent(1, client), sent(2, client), sent(1, client)},
			explain.Mark{Head: 3, Read: 2, Messages: []explain.Message{{3, 1, at(2), false}, {2, 2, at(1), false}}},
			[]string{"1 unread message in", "Message 2 is bela's own, written on the mobile", "who writes has read all that stood before", "Since then came message 3, by anna"}, 2},
		{"own over the API", []any{sent(1, client), read(1, 11, ""), sent(2, api)},
			explain.Mark{Head: 2, Read: 1, Messages: []explain.Message{{2, 2, at(2), false}, {1, 1, at(0), false}}},
			[]string{"in the session 0000000000000000000000000B", "1 of them was written in bela's own name over the API, which does not move the mark"}, 2},
		{"own over the API, then read", []any{sent(1, client), sent(2, api), read(2, 10, "")},
			explain.Mark{Head: 2, Read: 2, Messages: []explain.Message{{2, 2, at(1), false}}},
			[]string{"bela read up to message 2 on the desktop"}, 1},
		{"marked over the API, beyond the newest", []any{sent(1, client), read(99, 0, "key:k")},
			explain.Mark{Head: 1, Read: 1, Messages: []explain.Message{{1, 1, at(0), false}}},
			[]string{"bela has read the conversation with anna up to its newest message, 1: nothing is unread.", "The mark was put at message 1 over the API by key:k"}, 1},
		{"taken off the list", []any{sent(1, client), &event.SessionEntryRemoved{Conversation: direct[:], User: 2}, &event.SessionEntryRemoved{Conversation: direct[:], User: 1}, sent(1, client)},
			explain.Mark{Head: 2, Read: 1, Messages: []explain.Message{{2, 1, at(3), false}, {1, 1, at(0), false}}},
			[]string{"bela took the conversation off the list on 23 November 2026 at 12:00:01 UTC"}, 2},
		{"two wrote", []any{sent(1, client), sent(2, api), sent(1, client)},
			explain.Mark{Head: 3, Read: 0, Messages: []explain.Message{{3, 1, at(2), false}, {2, 2, at(1), false}, {1, 1, at(0), false}}},
			[]string{"They are the messages 1 to 3: 2 by anna and 1 by bela, from"}, 3},
		{"never read", []any{sent(1, client), read(0, 10, "")},
			explain.Mark{Head: 1, Read: 0, Messages: []explain.Message{{1, 1, at(0), false}}},
			[]string{"none of them was read", "No device of bela has ever said"}, 1},
		{"a message that came to nothing has no number", []any{sent(1, client), read(1, 10, ""), sent(2, client), sent(1, client)},
			explain.Mark{Head: 2, Read: 1, Messages: []explain.Message{{2, 1, at(3), false}, {1, 1, at(0), false}}},
			[]string{"bela read up to message 1 on the desktop"}, 2},
		{"joined later", []any{&event.GroupCreated{Conversation: group[:], Name: "lunch", Members: []uint32{1}}, &event.MessageSent{Conversation: group[:], From: 1},
			&event.GroupMembersChanged{Conversation: group[:], Added: []uint32{2}, User: 1}, &event.MessageSent{Conversation: group[:], From: 1}},
			explain.Mark{Conversation: group, Head: 2, Read: 1, Messages: []explain.Message{{2, 1, at(3), false}}},
			[]string{`in the group "lunch"`, "bela joined on 23 November 2026 at 12:00:02 UTC (by anna)", "Since then came message 2"}, 2},
		{"a member from the beginning", []any{&event.GroupCreated{Conversation: group[:], Name: "lunch", Creator: 1, Members: []uint32{1, 2}}, &event.MessageSent{Conversation: group[:], From: 1}},
			explain.Mark{Conversation: group, Head: 1, Read: 0, Messages: []explain.Message{{1, 1, at(1), false}}},
			[]string{"bela is a member since the group was made"}, 2},
		{"nothing written", nil, explain.Mark{}, []string{"Nothing has been written in the conversation with anna yet"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s story
			for _, body := range c.log {
				s.tell(stream, body)
			}
			c.mark.User, c.mark.Devices = 2, map[event.ID]event.DeviceClass{id(10): desktop}
			if c.mark.Conversation == (event.ConversationKey{}) {
				c.mark.Conversation = direct
			}
			why, shown, complete := unread(c.mark, s, -1)
			holds(t, why, c.says...)
			if len(shown) != c.shown || !complete {
				t.Errorf("%d events, complete %v: %s", len(shown), complete, why)
			}
			for i := 1; i < len(shown); i++ {
				if shown[i].Sequence >= shown[i-1].Sequence {
					t.Errorf("event %d is not older than the one before it", i)
				}
			}
			if strings.Contains(why, "MARKER") {
				t.Error(why)
			}
		})
	}
	// The log was not read far enough.
	var s story
	for _, body := range []any{sent(1, client), read(1, 10, ""), sent(1, client), sent(1, client)} {
		s.tell(stream, body)
	}
	why, _, complete := unread(explain.Mark{User: 2, Conversation: direct, Head: 3, Read: 1,
		Messages: []explain.Message{{3, 1, at(3), false}, {2, 1, at(2), false}, {1, 1, at(0), false}}}, s, 2)
	holds(t, why, "What put the read mark at message 1 was not found: the log was read back to 23 November 2026 at 12:00:00 UTC only.")
	if complete {
		t.Error("two events of four were enough")
	}
}

// However much is unread, what stands beside the explanation is bounded, and the cause is among it.
func TestAnExplanationIsBounded(t *testing.T) {
	direct := event.Direct(1, 2)
	var s story
	s.tell(event.Conversation0, &event.MessageSent{Conversation: direct[:], From: 1})
	s.tell(event.Conversation0, &event.ReadAdvanced{Conversation: direct[:], User: 2, MsgId: 1})
	m := explain.Mark{User: 2, Conversation: direct, Head: 1001, Read: 1}
	for i := range 1000 {
		s.tell(event.Conversation0, &event.MessageSent{Conversation: direct[:], From: 1})
		m.Messages = append(m.Messages, explain.Message{ID: uint32(1001 - i), From: 1, Created: uint32(noon.Unix()) + uint32(1001-i)})
	}
	m.Messages = append(m.Messages, explain.Message{ID: 1, From: 1, Created: uint32(noon.Unix())})
	why, shown, complete := unread(m, s, -1)
	if len(shown) != 51 || shown[50].Event.GetReadAdvanced() == nil || !complete {
		t.Errorf("%d events, complete %v: %s", len(shown), complete, why)
	}
	// Where not all that is unread was looked at, that is said.
	m.Messages = m.Messages[:100]
	why, _, complete = unread(m, s, -1)
	holds(t, why, "The newest 100 of them, messages 902 to 1001, are all by anna")
	if !complete {
		t.Error(why)
	}
}

func TestAPhoneSendsABrowserAwayToo(t *testing.T) {
	var s story
	s.tell(event.Presence, opened(10, 2, web, 100))
	s.tell(event.Presence, opened(11, 2, desktop, 100))
	s.tell(event.Presence, opened(12, 2, mobile, 100))
	s.tell(event.Presence, &event.DeviceClassKicked{User: 2, DeviceClass: desktop, Also: []event.DeviceClass{web},
		Reason: event.EndReason_END_REASON_KICKED, BySession: id(12).Bytes()})
	all, _ := explain.Sessions(explain.Account{User: 2}, s.entries, []explain.Session{{ID: id(12), Class: mobile}}, names, true, noon)
	sent := 0
	for _, one := range all {
		switch {
		case one.ID == id(12):
			if !one.Ended.IsZero() {
				t.Errorf("the phone's own ended: %+v", one)
			}
		case one.Reason == event.EndReason_END_REASON_KICKED && !one.Over:
			sent++
			holds(t, one.Explanation, "The phone, signed in on the mobile (iOS), sent it away")
		}
	}
	if sent != 2 {
		t.Errorf("%d were sent away: %+v", sent, all)
	}
	holds(t, explain.Describe(s.entries[3].Event, names).Summary, "sent the desktop and web sessions away")
}

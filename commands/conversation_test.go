package commands

import (
	"testing"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

const (
	single = imbase.SessionType_SESSION_TYPE_SINGLE
	group  = imbase.SessionType_SESSION_TYPE_GROUP
)

func TestAdvanceRead(t *testing.T) {
	c := AdvanceRead{At: noon, From: desk, Kind: single, Peer: 3, MsgID: 12}
	read := &event.ReadAdvanced{Conversation: unhex("640000000300000007"), User: 7, MsgId: 12, Session: desk.ID.Bytes()}
	play(t, []scenario[ReadState]{
		{name: "nothing is known", when: c, then: read},
		{name: "further than before", given: ReadState{Cursor: 11}, when: c, then: read},
		{name: "as far as before", given: ReadState{Cursor: 12}, when: c, refuse: ErrNothingNew},
		{name: "less far than before", given: ReadState{Cursor: 13}, when: c, refuse: ErrNothingNew},
		{name: "message 0", when: AdvanceRead{At: noon, From: desk, Kind: single, Peer: 3}, refuse: ErrNothingNew},
		{name: "before login", when: AdvanceRead{At: noon, Kind: single, Peer: 3, MsgID: 12}, refuse: ErrNotLoggedIn},
		{name: "with oneself", when: AdvanceRead{At: noon, From: desk, Kind: single, Peer: 7, MsgID: 12}, refuse: ErrOneself},
		{name: "with number 0", when: AdvanceRead{At: noon, From: desk, Kind: single, MsgID: 12}, refuse: ErrNoSuchPerson},
		{name: "in a group", when: AdvanceRead{At: noon, From: desk, Kind: group, Peer: 3, MsgID: 12},
			then: &event.ReadAdvanced{Conversation: unhex("670000000000000003"), User: 7, MsgId: 12, Session: desk.ID.Bytes()}},
		{name: "in a group of one's own number", when: AdvanceRead{At: noon, From: desk, Kind: group, Peer: 7, MsgID: 12},
			then: &event.ReadAdvanced{Conversation: unhex("670000000000000007"), User: 7, MsgId: 12, Session: desk.ID.Bytes()}},
		{name: "in group 0", when: AdvanceRead{At: noon, From: desk, Kind: group, MsgID: 12}, refuse: ErrNoSuchGroup},
		{name: "in an unknown kind", when: AdvanceRead{At: noon, From: desk, Kind: 3, Peer: 3, MsgID: 12}, refuse: ErrSessionType},
		{name: "in a user's name", when: AdvanceRead{At: noon, From: Session{User: 7}, Kind: single, Peer: 3, MsgID: 12, By: "key:k1"},
			then: &event.ReadAdvanced{Conversation: unhex("640000000300000007"), User: 7, MsgId: 12, By: "key:k1"}},
		{name: "in nobody's name", when: AdvanceRead{At: noon, Kind: single, Peer: 3, MsgID: 12, By: "key:k1"}, refuse: ErrIncomplete},
		{name: "in the name of a session", when: AdvanceRead{At: noon, From: desk, Kind: single, Peer: 3, MsgID: 12, By: "key:k1"}, refuse: ErrIncomplete},
		{name: "no time", when: AdvanceRead{From: desk, Kind: single, Peer: 3, MsgID: 12}, refuse: ErrIncomplete},
	})
}

func TestRemoveEntry(t *testing.T) {
	play(t, []scenario[struct{}]{
		{name: "an entry goes", when: alone{RemoveEntry{At: noon, From: phone, Kind: single, Peer: 3}},
			then: &event.SessionEntryRemoved{Conversation: unhex("640000000300000007"), User: 7, Session: phone.ID.Bytes()}},
		{name: "before login", when: alone{RemoveEntry{At: noon, Kind: single, Peer: 3}}, refuse: ErrNotLoggedIn},
		{name: "with oneself", when: alone{RemoveEntry{At: noon, From: phone, Kind: single, Peer: 7}}, refuse: ErrOneself},
		{name: "with number 0", when: alone{RemoveEntry{At: noon, From: phone, Kind: single}}, refuse: ErrNoSuchPerson},
		{name: "of a group", when: alone{RemoveEntry{At: noon, From: phone, Kind: group, Peer: 3}},
			then: &event.SessionEntryRemoved{Conversation: unhex("670000000000000003"), User: 7, Session: phone.ID.Bytes()}},
		{name: "of group 0", when: alone{RemoveEntry{At: noon, From: phone, Kind: group}}, refuse: ErrNoSuchGroup},
		{name: "of an unknown kind", when: alone{RemoveEntry{At: noon, From: phone, Peer: 3}}, refuse: ErrSessionType},
		{name: "no time", when: alone{RemoveEntry{From: phone, Kind: single, Peer: 3}}, refuse: ErrIncomplete},
	})
}

func TestAdvanceDelivered(t *testing.T) {
	c := AdvanceDelivered{At: noon, From: phone, Kind: single, Peer: 3, MsgID: 12}
	got := &event.DeliveredAdvanced{Conversation: unhex("640000000300000007"), User: 7, MsgId: 12, Session: phone.ID.Bytes()}
	play(t, []scenario[DeliveredState]{
		{name: "nothing is known", when: c, then: got},
		{name: "further than before", given: DeliveredState{Cursor: 11}, when: c, then: got},
		{name: "as far as before", given: DeliveredState{Cursor: 12}, when: c, refuse: ErrNothingNew},
		{name: "message 0", when: AdvanceDelivered{At: noon, From: phone, Kind: single, Peer: 3}, refuse: ErrNothingNew},
		{name: "in a group", when: AdvanceDelivered{At: noon, From: phone, Kind: group, Peer: 3, MsgID: 12},
			then: &event.DeliveredAdvanced{Conversation: unhex("670000000000000003"), User: 7, MsgId: 12, Session: phone.ID.Bytes()}},
		{name: "before login", when: AdvanceDelivered{At: noon, Kind: single, Peer: 3, MsgID: 12}, refuse: ErrNotLoggedIn},
		{name: "with oneself", when: AdvanceDelivered{At: noon, From: phone, Kind: single, Peer: 7, MsgID: 12}, refuse: ErrOneself},
		{name: "no time", when: AdvanceDelivered{From: phone, Kind: single, Peer: 3, MsgID: 12}, refuse: ErrIncomplete},
	})
}

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
		{name: "in a group", when: AdvanceRead{At: noon, From: desk, Kind: group, Peer: 3, MsgID: 12}, refuse: ErrNoSuchGroup},
		{name: "in an unknown kind", when: AdvanceRead{At: noon, From: desk, Kind: 3, Peer: 3, MsgID: 12}, refuse: ErrSessionType},
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
		{name: "of a group", when: alone{RemoveEntry{At: noon, From: phone, Kind: group, Peer: 3}}, refuse: ErrNoSuchGroup},
		{name: "of an unknown kind", when: alone{RemoveEntry{At: noon, From: phone, Peer: 3}}, refuse: ErrSessionType},
		{name: "no time", when: alone{RemoveEntry{From: phone, Kind: single, Peer: 3}}, refuse: ErrIncomplete},
	})
}

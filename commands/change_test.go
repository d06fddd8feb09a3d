package commands

import (
	"testing"
	"time"

	"godwit/schema/event"
)

func TestRecallMessage(t *testing.T) {
	c := func(change func(*Place)) alone {
		p := Place{At: noon, From: desk, Kind: single, Peer: 3, MsgID: 12, Within: 2 * time.Minute}
		change(&p)
		return alone{RecallMessage{p}}
	}
	recalled := func(change func(*event.MessageRecalled)) *event.MessageRecalled {
		e := &event.MessageRecalled{Conversation: unhex("640000000300000007"), MsgId: 12, User: 7, Within: 120, Session: desk.ID.Bytes()}
		change(e)
		return e
	}
	play(t, []scenario[struct{}]{
		{name: "a message goes", when: c(func(*Place) {}), then: recalled(func(*event.MessageRecalled) {})},
		{name: "of a group", when: c(func(p *Place) { p.Kind = group }), then: recalled(func(e *event.MessageRecalled) { e.Conversation = unhex("670000000000000003") })},
		{name: "begun seconds count", when: c(func(p *Place) { p.Within = 1500 * time.Millisecond }), then: recalled(func(e *event.MessageRecalled) { e.Within = 2 })},
		{name: "without a limit", when: c(func(p *Place) { p.Within = 0 }), then: recalled(func(e *event.MessageRecalled) { e.Within = 0 })},
		{name: "by the API", when: c(func(p *Place) {
			*p = Place{At: noon, Conversation: event.Direct(3, 7), MsgID: 12, By: "key k1"}
		}), then: &event.MessageRecalled{Conversation: unhex("640000000300000007"), MsgId: 12, By: "key k1"}},
		{name: "by the API nowhere", when: c(func(p *Place) { *p = Place{At: noon, MsgID: 12, By: "key k1"} }), refuse: ErrIncomplete},
		{name: "by the API and a session", when: c(func(p *Place) { p.By, p.Conversation = "key k1", event.Direct(3, 7) }), refuse: ErrIncomplete},
		{name: "message 0", when: c(func(p *Place) { p.MsgID = 0 }), refuse: ErrNoSuchMessage},
		{name: "with oneself", when: c(func(p *Place) { p.Peer = 7 }), refuse: ErrOneself},
		{name: "before login", when: c(func(p *Place) { p.From = Session{} }), refuse: ErrNotLoggedIn},
		{name: "no time", when: c(func(p *Place) { p.At = time.Time{} }), refuse: ErrIncomplete},
	})
}

func TestEditMessage(t *testing.T) {
	place := Place{At: noon, From: desk, Kind: single, Peer: 3, MsgID: 12, Within: time.Minute}
	edited := &event.MessageEdited{Conversation: unhex("640000000300000007"), MsgId: 12, User: 7, Body: []byte("other"), Within: 60, Session: desk.ID.Bytes()}
	play(t, []scenario[struct{}]{
		{name: "another body", when: alone{EditMessage{place, []byte("other")}}, then: edited},
		{name: "by the API", when: alone{EditMessage{Place{At: noon, Conversation: event.Group(3), MsgID: 12, By: "key k1"}, []byte("other")}},
			then: &event.MessageEdited{Conversation: unhex("670000000000000003"), MsgId: 12, Body: []byte("other"), By: "key k1"}},
		{name: "no body", when: alone{EditMessage{place, nil}}, refuse: ErrEmptyBody},
		{name: "too large a body", when: alone{EditMessage{place, make([]byte, event.MaxEventBytes)}}, refuse: ErrTooLarge},
		{name: "too large with what is around it", when: alone{EditMessage{place, make([]byte, event.MaxEventBytes-20)}}, refuse: ErrTooLarge},
		{name: "message 0", when: alone{EditMessage{Place{At: noon, From: desk, Kind: single, Peer: 3}, []byte("other")}}, refuse: ErrNoSuchMessage},
		{name: "before login", when: alone{EditMessage{Place{At: noon, Kind: single, Peer: 3, MsgID: 12}, []byte("other")}}, refuse: ErrNotLoggedIn},
	})
}

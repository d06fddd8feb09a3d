package commands

import (
	"strings"
	"testing"
	"time"

	"godwit/schema/event"
)

const task = "0b8a9f3c-4a0e-4a39-b1f0-4bd2a6f0c0de"

func TestOfferFile(t *testing.T) {
	c := func(change func(*OfferFile)) OfferFile {
		o := OfferFile{At: noon, From: 7, To: 3, Session: desk.ID, Task: task, Name: `C:\a.doc`, Size: 9}
		change(&o)
		return o
	}
	same := func(*OfferFile) {}
	offered := &event.FileOffered{Conversation: unhex("640000000300000007"), From: 7, To: 3, Task: task, Name: `C:\a.doc`, Size: 9, Session: desk.ID.Bytes()}
	long := &event.FileOffered{Conversation: unhex("640000000300000007"), From: 7, To: 3, Task: task, Name: strings.Repeat("x", MaxFileName), Size: 9}
	play(t, []scenario[Permit]{
		{name: "a file", given: Permit{Peer: bob}, when: c(same), then: offered},
		{name: "of a long name, from no session", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.Name, o.Session = strings.Repeat("x", 2*MaxFileName), event.ID{} }), then: long},
		{name: "to nobody", when: c(same), refuse: ErrNoSuchPerson},
		{name: "to a closed account", given: Permit{Peer: gone}, when: c(same), refuse: ErrPersonDisabled},
		{name: "blocked", given: Permit{Peer: bob, Blocked: true}, when: c(same), refuse: ErrBlocked},
		{name: "to a stranger, where only friends may", given: Permit{Peer: bob, Stranger: true}, when: c(same), refuse: ErrNotFriends},
		{name: "to oneself", given: Permit{Peer: alice}, when: c(func(o *OfferFile) { o.To = 7 }), refuse: ErrOneself},
		{name: "of no task", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.Task = "" }), refuse: ErrFile},
		{name: "of a task with a path", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.Task = "../x" }), refuse: ErrFile},
		{name: "of a long task", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.Task = strings.Repeat("x", MaxFileTask+1) }), refuse: ErrFile},
		{name: "without a name", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.Name = "" }), refuse: ErrFile},
		{name: "without a byte", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.Size = 0 }), refuse: ErrFile},
		{name: "by nobody", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.From = 0 }), refuse: ErrIncomplete},
		{name: "no time", given: Permit{Peer: bob}, when: c(func(o *OfferFile) { o.At = time.Time{} }), refuse: ErrIncomplete},
	})
}

func TestRemoveFile(t *testing.T) {
	c := func(change func(*RemoveFile)) alone {
		r := RemoveFile{At: noon, User: 3, From: 7, To: 3, Session: id(4), Task: task}
		change(&r)
		return alone{r}
	}
	removed := func(user uint32, session []byte) *event.FileRemoved {
		return &event.FileRemoved{Conversation: unhex("640000000300000007"), User: user, Task: task, Session: session}
	}
	play(t, []scenario[struct{}]{
		{name: "by its receiver", when: c(func(*RemoveFile) {}), then: removed(3, id(4).Bytes())},
		{name: "by its sender", when: c(func(r *RemoveFile) { r.User = 7 }), then: removed(7, id(4).Bytes())},
		{name: "when its time is over", when: c(func(r *RemoveFile) { r.User, r.Expired, r.Session = 0, true, event.ID{} }), then: removed(0, nil)},
		{name: "by another", when: c(func(r *RemoveFile) { r.User = 4 }), refuse: ErrNotParty},
		{name: "by nobody", when: c(func(r *RemoveFile) { r.User = 0 }), refuse: ErrIncomplete},
		{name: "between nobody", when: c(func(r *RemoveFile) { r.From, r.User = 0, 3 }), refuse: ErrNoSuchPerson},
		{name: "with oneself", when: c(func(r *RemoveFile) { r.From = 3 }), refuse: ErrOneself},
		{name: "of no task", when: c(func(r *RemoveFile) { r.Task = "" }), refuse: ErrFile},
		{name: "no time", when: c(func(r *RemoveFile) { r.At = time.Time{} }), refuse: ErrIncomplete},
	})
}

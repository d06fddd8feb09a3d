package commands

import (
	"strings"
	"testing"

	"godwit/schema/event"
)

func TestBefriend(t *testing.T) {
	c := Befriend{At: noon, A: 7, B: 3, By: "admin"}
	play(t, []scenario[PairState]{
		{name: "two people, the smaller number first", given: PairState{A: alice, B: bob}, when: c, then: &event.FriendAdded{Lower: 3, Higher: 7, By: "admin"}},
		{name: "the other way round", given: PairState{A: bob, B: alice}, when: Befriend{At: noon, A: 3, B: 7}, then: &event.FriendAdded{Lower: 3, Higher: 7}},
		{name: "again", given: PairState{A: alice, B: bob, Friends: true}, when: c, refuse: ErrAlreadyFriends},
		{name: "with oneself", given: PairState{A: alice, B: alice}, when: Befriend{At: noon, A: 7, B: 7}, refuse: ErrOneself},
		{name: "with nobody", given: PairState{A: alice}, when: c, refuse: ErrNoSuchPerson},
		{name: "nobody with somebody", given: PairState{B: bob}, when: c, refuse: ErrNoSuchPerson},
		{name: "nobody with nobody", when: Befriend{At: noon}, refuse: ErrNoSuchPerson},
		{name: "with a closed account", given: PairState{A: alice, B: gone}, when: c, refuse: ErrPersonDisabled},
		{name: "a state of others", given: PairState{A: bob, B: alice}, when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: PairState{A: alice, B: bob}, when: Befriend{A: 7, B: 3}, refuse: ErrIncomplete},
	})
}

func TestUnfriend(t *testing.T) {
	c := Unfriend{At: noon, A: 7, B: 3, By: "admin"}
	play(t, []scenario[PairState]{
		{name: "two friends, the smaller number first", given: PairState{A: alice, B: bob, Friends: true}, when: c, then: &event.FriendRemoved{Lower: 3, Higher: 7, By: "admin"}},
		{name: "a closed account loses friends", given: PairState{A: alice, B: gone, Friends: true}, when: c, then: &event.FriendRemoved{Lower: 3, Higher: 7, By: "admin"}},
		{name: "no friends", given: PairState{A: alice, B: bob}, when: c, refuse: ErrNotFriends},
		{name: "one of them does it", given: PairState{A: alice, B: bob, Friends: true}, when: Unfriend{At: noon, A: 7, B: 3, User: 7, Session: id(4)},
			then: &event.FriendRemoved{Lower: 3, Higher: 7, User: 7, Session: id(4).Bytes()}},
		{name: "a third one does it", given: PairState{A: alice, B: bob, Friends: true}, when: Unfriend{At: noon, A: 7, B: 3, User: 5}, refuse: ErrNotParty},
		{name: "with oneself", given: PairState{A: alice, B: alice, Friends: true}, when: Unfriend{At: noon, A: 7, B: 7}, refuse: ErrOneself},
		{name: "with nobody", given: PairState{A: alice, Friends: true}, when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: PairState{A: alice, B: bob, Friends: true}, when: Unfriend{A: 7, B: 3}, refuse: ErrIncomplete},
	})
}

func TestRequestFriend(t *testing.T) {
	c := RequestFriend{At: noon, From: 7, To: 3, Text: "hello", Session: id(4)}
	asked := &event.FriendRequested{From: 7, To: 3, Text: "hello", Session: id(4).Bytes()}
	two := PairState{A: alice, B: bob}
	with := func(f func(s *PairState)) PairState {
		s := two
		f(&s)
		return s
	}
	text := func(s string) RequestFriend { return RequestFriend{At: noon, From: 7, To: 3, Text: s, By: "admin"} }
	play(t, []scenario[PairState]{
		{name: "a stranger", given: two, when: c, then: asked},
		{name: "who has asked already", given: with(func(s *PairState) { s.BAsked = true }), when: c, then: asked},
		{name: "in a user's name", given: two, when: text(""), then: &event.FriendRequested{From: 7, To: 3, By: "admin"}},
		{name: "a text of 128 bytes", given: two, when: text(strings.Repeat("é", 64)), then: &event.FriendRequested{From: 7, To: 3, Text: strings.Repeat("é", 64), By: "admin"}},
		{name: "of 129", given: two, when: text(strings.Repeat("é", 64) + "x"), refuse: ErrField},
		{name: "no text", given: two, when: text("\xff"), refuse: ErrField},
		{name: "again", given: with(func(s *PairState) { s.AAsked = true }), when: c, refuse: ErrAlreadyAsked},
		{name: "a friend", given: with(func(s *PairState) { s.Friends = true }), when: c, refuse: ErrAlreadyFriends},
		{name: "one of them blocks the other", given: with(func(s *PairState) { s.Blocked = true }), when: c, refuse: ErrBlocked},
		{name: "a closed account", given: PairState{A: alice, B: gone}, when: c, refuse: ErrPersonDisabled},
		{name: "oneself", given: PairState{A: alice, B: alice}, when: RequestFriend{At: noon, From: 7, To: 7}, refuse: ErrOneself},
		{name: "nobody", given: PairState{A: alice}, when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: two, when: RequestFriend{From: 7, To: 3}, refuse: ErrIncomplete},
	})
}

func TestAnswerFriend(t *testing.T) {
	yes := AnswerFriend{At: noon, User: 7, Asker: 3, Accept: true, Session: id(4)}
	no := AnswerFriend{At: noon, User: 7, Asker: 3, By: "admin"}
	asked := PairState{A: alice, B: bob, BAsked: true}
	play(t, []scenario[PairState]{
		{name: "accepted", given: asked, when: yes, then: &event.FriendAnswered{From: 3, To: 7, Accept: true, Session: id(4).Bytes()}},
		{name: "refused", given: asked, when: no, then: &event.FriendAnswered{From: 3, To: 7, By: "admin"}},
		{name: "one's own request", given: PairState{A: alice, B: bob, AAsked: true}, when: yes, refuse: ErrNoSuchRequest},
		{name: "none", given: PairState{A: alice, B: bob, Friends: true}, when: no, refuse: ErrNoSuchRequest},
		{name: "accepted, of a closed account", given: PairState{A: alice, B: gone, BAsked: true}, when: yes, refuse: ErrPersonDisabled},
		{name: "refused, of a closed account", given: PairState{A: alice, B: gone, BAsked: true}, when: no, then: &event.FriendAnswered{From: 3, To: 7, By: "admin"}},
		{name: "of nobody", given: PairState{A: alice, BAsked: true}, when: yes, refuse: ErrNoSuchPerson},
		{name: "no time", given: asked, when: AnswerFriend{User: 7, Asker: 3}, refuse: ErrIncomplete},
	})
}

func TestWithdrawFriend(t *testing.T) {
	c := WithdrawFriend{At: noon, From: 7, To: 3, Session: id(4)}
	play(t, []scenario[PairState]{
		{name: "an open request", given: PairState{A: alice, B: gone, AAsked: true}, when: c,
			then: &event.FriendAnswered{From: 7, To: 3, Withdrawn: true, Session: id(4).Bytes()}},
		{name: "the other one's", given: PairState{A: alice, B: bob, BAsked: true}, when: c, refuse: ErrNoSuchRequest},
		{name: "of nobody", given: PairState{A: alice, AAsked: true}, when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: PairState{A: alice, B: bob, AAsked: true}, when: WithdrawFriend{From: 7, To: 3}, refuse: ErrIncomplete},
	})
}

func TestRemarkFriend(t *testing.T) {
	friends := PairState{A: alice, B: bob, Friends: true}
	remark := func(s string) RemarkFriend {
		return RemarkFriend{At: noon, User: 7, Friend: 3, Remark: s, Session: id(4)}
	}
	play(t, []scenario[PairState]{
		{name: "a name", given: friends, when: remark("Bobby"), then: &event.FriendRemarked{User: 7, Friend: 3, Remark: "Bobby", Session: id(4).Bytes()}},
		{name: "none", given: friends, when: remark(""), then: &event.FriendRemarked{User: 7, Friend: 3, Session: id(4).Bytes()}},
		{name: "in a user's name", given: friends, when: RemarkFriend{At: noon, User: 7, Friend: 3, Remark: "Bobby", By: "key:k1"},
			then: &event.FriendRemarked{User: 7, Friend: 3, Remark: "Bobby", By: "key:k1"}},
		{name: "one that is too long", given: friends, when: remark(strings.Repeat("é", 32) + "x"), refuse: ErrField},
		{name: "no text", given: friends, when: remark("a\tb"), refuse: ErrField},
		{name: "of no friend", given: PairState{A: alice, B: bob}, when: remark("Bobby"), refuse: ErrNotFriends},
		{name: "of nobody", given: PairState{A: alice, Friends: true}, when: remark("Bobby"), refuse: ErrNoSuchPerson},
		{name: "no time", given: friends, when: RemarkFriend{User: 7, Friend: 3, Remark: "Bobby"}, refuse: ErrIncomplete},
	})
}

func TestBlockUser(t *testing.T) {
	between := event.Direct(7, 3)
	two := PairState{A: alice, B: bob}
	play(t, []scenario[PairState]{
		{name: "blocks", given: two, when: BlockUser{At: noon, User: 7, Other: 3, Blocked: true, Session: id(4)},
			then: &event.BlockChanged{Conversation: between[:], User: 7, Blocked: true, Session: id(4).Bytes()}},
		{name: "unblocks", given: PairState{A: alice, B: gone}, when: BlockUser{At: noon, User: 7, Other: 3, By: "admin"},
			then: &event.BlockChanged{Conversation: between[:], User: 7, By: "admin"}},
		{name: "oneself", given: PairState{A: alice, B: alice}, when: BlockUser{At: noon, User: 7, Other: 7, Blocked: true}, refuse: ErrOneself},
		{name: "nobody", given: PairState{A: alice}, when: BlockUser{At: noon, User: 7, Other: 3, Blocked: true}, refuse: ErrNoSuchPerson},
		{name: "no time", given: two, when: BlockUser{User: 7, Other: 3}, refuse: ErrIncomplete},
	})
}

package commands

import (
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
		{name: "with oneself", given: PairState{A: alice, B: alice, Friends: true}, when: Unfriend{At: noon, A: 7, B: 7}, refuse: ErrOneself},
		{name: "with nobody", given: PairState{A: alice, Friends: true}, when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: PairState{A: alice, B: bob, Friends: true}, when: Unfriend{A: 7, B: 3}, refuse: ErrIncomplete},
	})
}

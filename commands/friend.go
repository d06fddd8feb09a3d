package commands

import (
	"time"

	"godwit/schema/event"
)

// PairState is what the people view knows about two users.
type PairState struct {
	A, B    Person // in the order of the command
	Friends bool
}

// Befriend makes two people friends of each other; there is no asking and accepting, an operator does it.
type Befriend struct {
	At   time.Time
	A, B uint32
	By   string
}

// Decide gives FriendAdded, the smaller number first. A disabled account makes no new friends.
func (c Befriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.A, c.B, s); err != nil {
		return nil, err
	}
	if s.A.Disabled || s.B.Disabled {
		return nil, ErrPersonDisabled
	}
	if s.Friends {
		return nil, ErrAlreadyFriends
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendAdded{FriendAdded: &event.FriendAdded{
		Lower: min(c.A, c.B), Higher: max(c.A, c.B), By: cut(c.By, maxBy),
	}}}, nil
}

// Unfriend ends a friendship for both.
type Unfriend struct {
	At   time.Time
	A, B uint32
	By   string
}

// Decide gives FriendRemoved, the smaller number first.
func (c Unfriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.A, c.B, s); err != nil {
		return nil, err
	}
	if !s.Friends {
		return nil, ErrNotFriends
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendRemoved{FriendRemoved: &event.FriendRemoved{
		Lower: min(c.A, c.B), Higher: max(c.A, c.B), By: cut(c.By, maxBy),
	}}}, nil
}

func checkPair(at time.Time, a, b uint32, s PairState) error {
	switch {
	case noTime(at):
		return ErrIncomplete
	case a == b && a != 0:
		return ErrOneself
	case !s.A.exists(a) || !s.B.exists(b):
		return ErrNoSuchPerson
	}
	return nil
}

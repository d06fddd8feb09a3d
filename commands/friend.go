package commands

import (
	"time"

	"godwit/schema/event"
)

// Longest texts between friends, in bytes.
const (
	MaxRequestText = 128
	MaxRemark      = 64
)

// PairState is what the views know about two users. The people view does not know Blocked: the timeline of their direct
// conversation does.
type PairState struct {
	A, B    Person // in the order of the command
	Friends bool
	AAsked  bool // a request of A to B is open
	BAsked  bool
	Blocked bool // one of them blocks the other
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
	At      time.Time
	A, B    uint32
	User    uint32   // which of the two does it; 0: an operator
	Session event.ID // of the client that asks, if one does
	By      string
}

// Decide gives FriendRemoved, the smaller number first.
func (c Unfriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.A, c.B, s); err != nil {
		return nil, err
	}
	if c.User != 0 && c.User != c.A && c.User != c.B {
		return nil, ErrNotParty
	}
	if !s.Friends {
		return nil, ErrNotFriends
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendRemoved{FriendRemoved: &event.FriendRemoved{
		Lower: min(c.A, c.B), Higher: max(c.A, c.B), User: c.User, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// RequestFriend asks somebody to be friends.
type RequestFriend struct {
	At       time.Time
	From, To uint32
	Text     string
	Session  event.ID
	By       string
}

// Decide gives FriendRequested, by which they are friends at once if the other one has asked already. A is who asks.
func (c RequestFriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.From, c.To, s); err != nil {
		return nil, err
	}
	if err := checkField("text", c.Text, MaxRequestText); err != nil {
		return nil, err
	}
	if err := checkBytes("text", c.Text, MaxRequestText); err != nil {
		return nil, err
	}
	switch {
	case s.A.Disabled || s.B.Disabled:
		return nil, ErrPersonDisabled
	case s.Blocked:
		return nil, ErrBlocked
	case s.Friends:
		return nil, ErrAlreadyFriends
	case s.AAsked:
		return nil, ErrAlreadyAsked
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendRequested{FriendRequested: &event.FriendRequested{
		From: c.From, To: c.To, Text: c.Text, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// AnswerFriend accepts or refuses what somebody has asked.
type AnswerFriend struct {
	At      time.Time
	User    uint32 // who answers
	Asker   uint32
	Accept  bool
	Session event.ID
	By      string
}

// Decide gives FriendAnswered. A is who answers.
func (c AnswerFriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.User, c.Asker, s); err != nil {
		return nil, err
	}
	switch {
	case !s.BAsked:
		return nil, ErrNoSuchRequest
	case c.Accept && (s.A.Disabled || s.B.Disabled):
		return nil, ErrPersonDisabled
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendAnswered{FriendAnswered: &event.FriendAnswered{
		From: c.Asker, To: c.User, Accept: c.Accept, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// WithdrawFriend takes one's own request back.
type WithdrawFriend struct {
	At       time.Time
	From, To uint32
	Session  event.ID
	By       string
}

// Decide gives FriendAnswered. A is who had asked.
func (c WithdrawFriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.From, c.To, s); err != nil {
		return nil, err
	}
	if !s.AAsked {
		return nil, ErrNoSuchRequest
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendAnswered{FriendAnswered: &event.FriendAnswered{
		From: c.From, To: c.To, Withdrawn: true, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// RemarkFriend gives a friend a name that only its giver sees; empty takes it away.
type RemarkFriend struct {
	At      time.Time
	User    uint32
	Friend  uint32
	Remark  string
	Session event.ID
	By      string
}

// Decide gives FriendRemarked. Whether the name is another one than before is told by the outcome of the event.
func (c RemarkFriend) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.User, c.Friend, s); err != nil {
		return nil, err
	}
	if err := checkField("remark", c.Remark, MaxRemark); err != nil {
		return nil, err
	}
	if err := checkBytes("remark", c.Remark, MaxRemark); err != nil {
		return nil, err
	}
	if !s.Friends {
		return nil, ErrNotFriends
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_FriendRemarked{FriendRemarked: &event.FriendRemarked{
		User: c.User, Friend: c.Friend, Remark: c.Remark, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// BlockUser blocks or unblocks the direct conversation with somebody: nothing can be written in it any more, by either
// side, from the event's position on. A friendship stays.
type BlockUser struct {
	At      time.Time
	User    uint32
	Other   uint32
	Blocked bool
	Session event.ID
	By      string
}

// Decide gives BlockChanged, for the stream of the conversation. Whether it was so already is told by the outcome of the
// event. A disabled account can be blocked: it may be enabled again.
func (c BlockUser) Decide(s PairState) (*event.Event, error) {
	if err := checkPair(c.At, c.User, c.Other, s); err != nil {
		return nil, err
	}
	conversation := event.Direct(c.User, c.Other)
	return &event.Event{At: millis(c.At), Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{
		Conversation: conversation[:], User: c.User, Blocked: c.Blocked, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
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

package commands

import (
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

// ReadState is what is known of how far a user has read in a conversation. The zero value is safe where nothing is known.
type ReadState struct {
	Cursor uint32
}

// AdvanceRead is a client's 0x0303: everything up to a message has been read.
type AdvanceRead struct {
	At    time.Time
	From  Session // of the API: the user alone
	Kind  imbase.SessionType
	Peer  uint32 // the conversation as the client names it: the other user, or the group
	MsgID uint32
	By    string // the API's caller; empty for a session
}

// Decide gives ReadAdvanced. Beyond the head it is cut by the fold, which alone knows the head at its position, and who is
// a member of a group.
func (c AdvanceRead) Decide(s ReadState) (*event.Event, error) {
	conversation, err := conversationAs(c.At, c.From, c.By, c.Kind, c.Peer)
	if err != nil {
		return nil, err
	}
	if c.MsgID <= s.Cursor {
		return nil, ErrNothingNew
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{
		Conversation: conversation[:], User: c.From.User, MsgId: c.MsgID, Session: c.From.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// RemoveEntry is a client's 0x0206: it takes a conversation out of the user's list until somebody writes in it.
type RemoveEntry struct {
	At   time.Time
	From Session
	Kind imbase.SessionType
	Peer uint32 // as in AdvanceRead
}

// Decide gives SessionEntryRemoved. Whether there was such an entry is told by the outcome of the event.
func (c RemoveEntry) Decide() (*event.Event, error) {
	conversation, err := conversationOf(c.At, c.From, c.Kind, c.Peer)
	if err != nil {
		return nil, err
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{
		Conversation: conversation[:], User: c.From.User, Session: c.From.ID.Bytes(),
	}}}, nil
}

// DeliveredState is what is known of how far a user's clients have received what was written in a conversation. The zero
// value is safe where nothing is known.
type DeliveredState struct {
	Cursor uint32
}

// AdvanceDelivered is a new client's 0x200a: it has received everything up to a message.
type AdvanceDelivered struct {
	At    time.Time
	From  Session
	Kind  imbase.SessionType
	Peer  uint32 // as in AdvanceRead
	MsgID uint32
}

// Decide gives DeliveredAdvanced, which the fold cuts as it cuts ReadAdvanced.
func (c AdvanceDelivered) Decide(s DeliveredState) (*event.Event, error) {
	conversation, err := conversationOf(c.At, c.From, c.Kind, c.Peer)
	if err != nil {
		return nil, err
	}
	if c.MsgID <= s.Cursor {
		return nil, ErrNothingNew
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{
		Conversation: conversation[:], User: c.From.User, MsgId: c.MsgID, Session: c.From.ID.Bytes(),
	}}}, nil
}

// conversationOf is the conversation that a session means by its kind and number.
func conversationOf(at time.Time, from Session, kind imbase.SessionType, peer uint32) (event.ConversationKey, error) {
	return conversationAs(at, from, "", kind, peer)
}

// conversationAs is conversationOf where a caller of the API may act in a user's name.
func conversationAs(at time.Time, from Session, by string, kind imbase.SessionType, peer uint32) (event.ConversationKey, error) {
	if noTime(at) {
		return event.ConversationKey{}, ErrIncomplete
	}
	if err := from.asks(by); err != nil {
		return event.ConversationKey{}, err
	}
	switch {
	case kind == imbase.SessionType_SESSION_TYPE_GROUP && peer == 0:
		return event.ConversationKey{}, ErrNoSuchGroup
	case kind == imbase.SessionType_SESSION_TYPE_GROUP:
		return event.Group(peer), nil
	case kind != imbase.SessionType_SESSION_TYPE_SINGLE:
		return event.ConversationKey{}, ErrSessionType
	case peer == 0:
		return event.ConversationKey{}, ErrNoSuchPerson
	case peer == from.User:
		return event.ConversationKey{}, ErrOneself
	}
	return event.Direct(from.User, peer), nil
}

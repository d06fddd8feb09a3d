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
	From  Session
	Kind  imbase.SessionType
	Peer  uint32 // the conversation as the client names it: the other user, or the group
	MsgID uint32
}

// Decide gives ReadAdvanced. Beyond the head it is cut by the fold, which alone knows the head at its position.
func (c AdvanceRead) Decide(s ReadState) (*event.Event, error) {
	conversation, err := conversationOf(c.At, c.From, c.Kind, c.Peer)
	if err != nil {
		return nil, err
	}
	if c.MsgID <= s.Cursor {
		return nil, ErrNothingNew
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{
		Conversation: conversation[:], User: c.From.User, MsgId: c.MsgID, Session: c.From.ID.Bytes(),
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

// conversationOf is the conversation that a session means by its kind and number.
func conversationOf(at time.Time, from Session, kind imbase.SessionType, peer uint32) (event.ConversationKey, error) {
	switch {
	case noTime(at):
		return event.ConversationKey{}, ErrIncomplete
	case !from.loggedIn():
		return event.ConversationKey{}, ErrNotLoggedIn
	case kind == imbase.SessionType_SESSION_TYPE_GROUP:
		return event.ConversationKey{}, ErrNoSuchGroup
	case kind != imbase.SessionType_SESSION_TYPE_SINGLE:
		return event.ConversationKey{}, ErrSessionType
	case peer == 0:
		return event.ConversationKey{}, ErrNoSuchPerson
	case peer == from.User:
		return event.ConversationKey{}, ErrOneself
	}
	return event.Direct(from.User, peer), nil
}

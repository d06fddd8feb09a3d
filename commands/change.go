package commands

import (
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"

	"google.golang.org/protobuf/proto"
)

// Place is a message that is to be changed, as who asks names it: a session by kind and peer, the API by the conversation.
type Place struct {
	At           time.Time
	From         Session // zero for the API
	Kind         imbase.SessionType
	Peer         uint32                // as in AdvanceRead
	Conversation event.ConversationKey // of the API
	MsgID        uint32
	Within       time.Duration // after the message's own time, in whole seconds begun; 0: no limit
	By           string        // the API's caller; empty for a session
}

// check is what the message's conversation is.
func (p Place) check() (conversation event.ConversationKey, err error) {
	if p.By != "" {
		var ok bool
		if conversation, ok = event.ParseConversation(p.Conversation[:]); !ok || noTime(p.At) || p.From != (Session{}) {
			return conversation, ErrIncomplete
		}
	} else if conversation, err = conversationOf(p.At, p.From, p.Kind, p.Peer); err != nil {
		return conversation, err
	}
	if p.MsgID == 0 {
		return conversation, ErrNoSuchMessage
	}
	return conversation, nil
}

func (p Place) within() uint32 { return uint32((p.Within + time.Second - 1) / time.Second) }

// RecallMessage takes a message back.
type RecallMessage struct{ Place }

// Decide gives MessageRecalled. Whose the message is, and whether the time for it is over, is told by the outcome of the
// event: what is known before it is no surer.
func (c RecallMessage) Decide() (*event.Event, error) {
	conversation, err := c.check()
	if err != nil {
		return nil, err
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{
		Conversation: conversation[:], MsgId: c.MsgID, User: c.From.User, Within: c.within(), Session: c.From.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// EditMessage gives a message another body.
type EditMessage struct {
	Place
	Body []byte // as msg_data; the event holds this very slice
}

// Decide gives MessageEdited. What is not known here is told by the outcome, as in RecallMessage.
func (c EditMessage) Decide() (*event.Event, error) {
	conversation, err := c.check()
	if err != nil {
		return nil, err
	}
	if len(c.Body) == 0 {
		return nil, ErrEmptyBody
	}
	e := &event.Event{At: millis(c.At), Body: &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{
		Conversation: conversation[:], MsgId: c.MsgID, User: c.From.User, Body: c.Body, Within: c.within(), Session: c.From.session(), By: cut(c.By, maxBy),
	}}}
	if len(c.Body) > event.MaxEventBytes-1024 && proto.Size(e) > event.MaxEventBytes {
		return nil, ErrTooLarge
	}
	return e, nil
}

package commands

import (
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"

	"google.golang.org/protobuf/proto"
)

// ClientIDAge is how far the time inside a client message id may be from the server's, either way. It is well inside
// [event.RepeatWindow], so that every repeat that is let in is recognised.
const ClientIDAge = 24 * time.Hour

// voiceHead is the duration in front of a voice message; one with nothing behind it is empty.
const voiceHead = 4

// Permit is what the views say about writing to a peer.
type Permit struct {
	Peer    Person
	Blocked bool // the direct conversation, by either side
}

// SendMessage is a client's 0x0301.
type SendMessage struct {
	At              time.Time
	From            Session
	To              uint32 // the user or the group, as Type says
	Type            imbase.MsgType
	Body            []byte // msg_data as received; the event holds this very slice
	ClientMessageID []byte // of a new client: a ULID; empty for an old one
	Seq             uint16 // the PDU's seq_num, for old clients
	Received        []byte // the PDU's body as received, for old clients; only read
}

// Decide gives MessageSent for the conversation with the peer. Its repeat key comes from the client message id where there
// is one, else from seq_num and the bytes; with neither (seq_num 0) a repeat is a new message.
func (c SendMessage) Decide(s Permit) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !c.From.loggedIn() {
		return nil, ErrNotLoggedIn
	}
	empty := 0
	switch c.Type {
	case imbase.MsgType_MSG_TYPE_SINGLE_TEXT:
	case imbase.MsgType_MSG_TYPE_SINGLE_AUDIO:
		empty = voiceHead
	case imbase.MsgType_MSG_TYPE_GROUP_TEXT, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		return nil, ErrNoSuchGroup
	default:
		return nil, ErrMessageType
	}
	if len(c.Body) <= empty {
		return nil, ErrEmptyBody
	}
	if err := c.checkPeer(s); err != nil {
		return nil, err
	}
	if err := c.checkID(); err != nil {
		return nil, err
	}
	conversation := event.Direct(c.From.User, c.To)
	sent := &event.MessageSent{
		Conversation:    conversation[:],
		From:            c.From.User,
		Type:            uint32(c.Type),
		Body:            c.Body,
		Session:         c.From.ID.Bytes(),
		DeviceClass:     c.From.Class,
		ClientMessageId: c.ClientMessageID,
	}
	if len(c.ClientMessageID) > 0 {
		sent.RepeatKey = event.RepeatKey(c.From.User, conversation, c.ClientMessageID)
	} else {
		sent.RepeatKey = event.RepeatKeyOld(c.From.User, c.From.Class, c.Seq, c.Received)
	}
	e := &event.Event{At: millis(c.At), Body: &event.Event_MessageSent{MessageSent: sent}}
	// All but the body takes well under 1 KiB, so nearly every message is spared the counting.
	if len(c.Body) > event.MaxEventBytes-1024 && proto.Size(e) > event.MaxEventBytes {
		return nil, ErrTooLarge
	}
	return e, nil
}

func (c SendMessage) checkPeer(s Permit) error {
	switch {
	case c.To == c.From.User:
		return ErrOneself
	case !s.Peer.exists(c.To):
		return ErrNoSuchPerson
	case s.Peer.Disabled:
		return ErrPersonDisabled
	case s.Blocked:
		return ErrBlocked
	}
	return nil
}

func (c SendMessage) checkID() error {
	if len(c.ClientMessageID) == 0 {
		return nil
	}
	id := event.ToID(c.ClientMessageID)
	if id == (event.ID{}) {
		return ErrClientMessageID
	}
	if age := c.At.Sub(time.UnixMilli(int64(id.Time()))); age > ClientIDAge || age < -ClientIDAge {
		return ErrClientMessageID
	}
	return nil
}

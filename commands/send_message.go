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

// Permit is what the views say about writing to a peer or to a group. What a message does not need may be left out.
type Permit struct {
	Peer     Person
	Blocked  bool // the direct conversation, by either side
	Stranger bool // they are no friends, where only friends may write to each other
	Group    GroupPermit
}

// GroupPermit is what the views say about a user in a group. The zero value is no group.
type GroupPermit struct {
	Number    uint32
	Member    bool
	Dissolved bool
}

// exists also tells a permit for another group from the one asked for.
func (p GroupPermit) exists(group uint32) bool {
	return group != 0 && p.Number == group && !p.Dissolved
}

// SendMessage is a client's 0x0301, or a message that the API sends in a user's name (ORIGIN_API) or as the system
// (ORIGIN_SYSTEM).
type SendMessage struct {
	At              time.Time
	From            Session // of the API only the user: in whose name, 0 for the system in a group
	Origin          event.Origin
	To              uint32 // the user or the group, as Type says
	Type            imbase.MsgType
	Body            []byte // msg_data as received; the event holds this very slice
	ClientMessageID []byte // of a new client: a ULID; empty for an old one
	Seq             uint16 // the PDU's seq_num, for old clients
	Received        []byte // the PDU's body as received, for old clients; only read
	By              string // the API's caller; empty for a session
}

// Decide gives MessageSent for the conversation with the peer or of the group. Its repeat key comes from the client message
// id where there is one, else from seq_num and the bytes; with neither (seq_num 0) a repeat is a new message. The system
// may write to whoever exists.
func (c SendMessage) Decide(s Permit) (*event.Event, error) {
	conversation, least, err := c.place()
	if err != nil {
		return nil, err
	}
	if len(c.Body) <= least {
		return nil, ErrEmptyBody
	}
	if conversation.IsDirect() {
		err = c.checkPeer(s)
	} else {
		err = c.checkGroup(s.Group)
	}
	if err != nil {
		return nil, err
	}
	if err := c.checkID(); err != nil {
		return nil, err
	}
	sent := &event.MessageSent{
		Conversation:    conversation[:],
		From:            c.From.User,
		Type:            uint32(c.Type),
		Body:            c.Body,
		Session:         c.From.session(),
		DeviceClass:     c.From.Class,
		ClientMessageId: c.ClientMessageID,
		Origin:          c.Origin,
		By:              cut(c.By, maxBy),
	}
	switch {
	case len(c.ClientMessageID) > 0:
		sent.RepeatKey = event.RepeatKey(c.From.User, conversation, c.ClientMessageID)
	case c.Origin == event.Origin_ORIGIN_CLIENT:
		sent.RepeatKey = event.RepeatKeyOld(c.From.User, c.From.Class, c.Seq, c.Received)
	}
	e := &event.Event{At: millis(c.At), Body: &event.Event_MessageSent{MessageSent: sent}}
	// All but the body takes well under 1 KiB, so nearly every message is spared the counting.
	if len(c.Body) > event.MaxEventBytes-1024 && proto.Size(e) > event.MaxEventBytes {
		return nil, ErrTooLarge
	}
	return e, nil
}

// place is where the message goes, and how many bytes of its body are not content.
func (c SendMessage) place() (conversation event.ConversationKey, least int, err error) {
	switch {
	case noTime(c.At):
		return conversation, 0, ErrIncomplete
	case c.Origin == event.Origin_ORIGIN_CLIENT && !c.From.loggedIn():
		return conversation, 0, ErrNotLoggedIn
	}
	direct := false
	switch c.Type {
	case imbase.MsgType_MSG_TYPE_SINGLE_TEXT:
		direct = true
	case imbase.MsgType_MSG_TYPE_SINGLE_AUDIO:
		direct, least = true, voiceHead
	case imbase.MsgType_MSG_TYPE_GROUP_TEXT:
	case imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		least = voiceHead
	default:
		return conversation, 0, ErrMessageType
	}
	switch {
	case c.From.User == 0 && (direct || c.Origin != event.Origin_ORIGIN_SYSTEM):
		return conversation, 0, ErrIncomplete
	case direct && c.To == 0:
		return conversation, 0, ErrNoSuchPerson
	case direct && c.To == c.From.User:
		return conversation, 0, ErrOneself
	case direct:
		return event.Direct(c.From.User, c.To), least, nil
	case c.To == 0:
		return conversation, 0, ErrNoSuchGroup
	}
	return event.Group(c.To), least, nil
}

func (c SendMessage) checkPeer(s Permit) error {
	switch {
	case !s.Peer.exists(c.To):
		return ErrNoSuchPerson
	case c.Origin == event.Origin_ORIGIN_SYSTEM:
		return nil
	case s.Peer.Disabled:
		return ErrPersonDisabled
	case s.Blocked:
		return ErrBlocked
	case s.Stranger:
		return ErrNotFriends
	}
	return nil
}

func (c SendMessage) checkGroup(s GroupPermit) error {
	switch {
	case !s.exists(c.To):
		return ErrNoSuchGroup
	case !s.Member && c.Origin != event.Origin_ORIGIN_SYSTEM:
		return ErrNotMember
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

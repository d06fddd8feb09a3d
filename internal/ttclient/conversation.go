package ttclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	immsg "godwit/schema/client/message"
)

// Conversation is one with a person, or a group.
type Conversation struct {
	ID    uint32 // the person's or the group's
	Group bool
}

func (v Conversation) kind() *imbase.SessionType {
	if v.Group {
		return imbase.SessionType_SESSION_TYPE_GROUP.Enum()
	}
	return imbase.SessionType_SESSION_TYPE_SINGLE.Enum()
}

// Message is what SendMessage sends.
type Message struct {
	Data  []byte // as it travels: text is encrypted already
	Voice bool
	Seq   uint16 // 0: the next of the sequence
	// ID is one of NewMessageID: with it a message may be sent again for days, over any
	// connection, and counts once. Empty: seq and body tell a repeat, for two minutes.
	ID []byte
}

// NewMessageID makes an id for a message that may have to be sent again.
func NewMessageID() []byte {
	id := ulid.Make()
	return id[:]
}

// RefusedError is a request that the server refused and said why.
type RefusedError struct {
	Why imextension.Refusal
}

func (e *RefusedError) Error() string {
	switch e.Why {
	case imextension.Refusal_REFUSAL_NO_SUCH_USER:
		return "refused: there is no such user"
	case imextension.Refusal_REFUSAL_NO_SUCH_GROUP:
		return "refused: there is no such group, or you are no member of it"
	case imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE:
		return "refused: there is no such message"
	case imextension.Refusal_REFUSAL_NOT_ALLOWED:
		return "refused: only somebody else may do this"
	case imextension.Refusal_REFUSAL_BLOCKED:
		return "refused: one of you blocks the other"
	case imextension.Refusal_REFUSAL_NOT_FRIENDS:
		return "refused: you are no friends"
	case imextension.Refusal_REFUSAL_TOO_LATE:
		return "refused: the time for it is over"
	case imextension.Refusal_REFUSAL_LIMIT:
		return "refused: a limit is met"
	case imextension.Refusal_REFUSAL_NO_EFFECT:
		return "refused: it is so already"
	case imextension.Refusal_REFUSAL_UNKNOWN:
		return "the server does not know what became of it: try again"
	}
	return "refused: the request is malformed"
}

// refusal is nil where nothing was refused.
func refusal(why imextension.Refusal) error {
	if why == imextension.Refusal_REFUSAL_NONE {
		return nil
	}
	return &RefusedError{Why: why}
}

// SendMessage sends a message and waits for its ack, which brings its id. A server tells only
// a client with the feature NOTICES what it refused, by a RefusedError; others wait in vain.
func (c *Client) SendMessage(ctx context.Context, to Conversation, m Message) (id uint32, err error) {
	kind := map[[2]bool]imbase.MsgType{
		{false, false}: imbase.MsgType_MSG_TYPE_SINGLE_TEXT, {false, true}: imbase.MsgType_MSG_TYPE_SINGLE_AUDIO,
		{true, false}: imbase.MsgType_MSG_TYPE_GROUP_TEXT, {true, true}: imbase.MsgType_MSG_TYPE_GROUP_AUDIO,
	}[[2]bool{to.Group, m.Voice}]
	if m.Seq == 0 {
		m.Seq = c.o.Sequence.Next()
	}
	req := &immsg.IMMsgData{
		FromUserId:  new(c.ID()),
		ToSessionId: &to.ID,
		MsgId:       new(uint32(0)),
		CreateTime:  new(uint32(0)),
		MsgType:     &kind,
		MsgData:     m.Data,
	}
	if len(m.ID) > 0 {
		req.ClientMessageId = m.ID
	}
	answer, err := c.CallSeq(ctx, client.CmdMsgData, m.Seq, req)
	if err != nil {
		return 0, err
	}
	switch a := answer.(type) {
	case *immsg.IMMsgDataAck:
		return a.GetMsgId(), nil
	case *imextension.SendRefused:
		return 0, &RefusedError{Why: a.GetRefusal()}
	}
	return 0, fmt.Errorf("message was answered with %s", nameOf(answer))
}

// Read tells that everything up to id has been read.
func (c *Client) Read(v Conversation, id uint32) error {
	return c.Send(client.CmdMsgDataReadAck, &immsg.IMMsgDataReadAck{
		UserId: new(c.ID()), SessionId: &v.ID, MsgId: &id, SessionType: v.kind(),
	})
}

// Messages are at most count of a conversation, newest first, from begin downwards; 0 begins
// at the newest.
func (c *Client) Messages(ctx context.Context, v Conversation, begin, count uint32) ([]*imbase.MsgInfo, error) {
	a, err := ask[*immsg.IMGetMsgListRsp](ctx, c, client.CmdGetMsgListReq, &immsg.IMGetMsgListReq{
		UserId: new(c.ID()), SessionType: v.kind(), SessionId: &v.ID, MsgIdBegin: &begin, MsgCnt: &count,
	})
	return a.GetMsgList(), err
}

// MessagesByID are those of the given ids that there are, newest first.
func (c *Client) MessagesByID(ctx context.Context, v Conversation, ids ...uint32) ([]*imbase.MsgInfo, error) {
	a, err := ask[*immsg.IMGetMsgByIdRsp](ctx, c, client.CmdGetMsgByIdReq, &immsg.IMGetMsgByIdReq{
		UserId: new(c.ID()), SessionType: v.kind(), SessionId: &v.ID, MsgIdList: ids,
	})
	return a.GetMsgList(), err
}

// Recall takes an own message back.
func (c *Client) Recall(ctx context.Context, v Conversation, id uint32) error {
	a, err := ask[*imextension.RecallRsp](ctx, c, client.CmdRecallReq, &imextension.RecallReq{
		SessionId: &v.ID, SessionType: v.kind(), MsgId: &id})
	if err != nil {
		return err
	}
	return refusal(a.GetRefusal())
}

// Edit gives an own message another body.
func (c *Client) Edit(ctx context.Context, v Conversation, id uint32, data []byte) error {
	a, err := ask[*imextension.EditRsp](ctx, c, client.CmdEditReq, &imextension.EditReq{
		SessionId: &v.ID, SessionType: v.kind(), MsgId: &id, MsgData: data})
	if err != nil {
		return err
	}
	return refusal(a.GetRefusal())
}

// Received tells that everything up to id has come in here.
func (c *Client) Received(v Conversation, id uint32) error {
	return c.Send(client.CmdReceivedReq, &imextension.ReceivedReq{SessionId: &v.ID, SessionType: v.kind(), MsgId: &id})
}

// Receipts are who has read a message, and who has received and not read it.
func (c *Client) Receipts(ctx context.Context, v Conversation, id uint32) (read, delivered []uint32, err error) {
	a, err := ask[*imextension.ReceiptsRsp](ctx, c, client.CmdReceiptsReq, &imextension.ReceiptsReq{
		SessionId: &v.ID, SessionType: v.kind(), MsgId: &id})
	return a.GetRead(), a.GetDelivered(), err
}

// Typing tells the others that the user begins or ends to type.
func (c *Client) Typing(v Conversation, on bool) error {
	return c.Send(client.CmdTypingReq, &imextension.TypingReq{SessionId: &v.ID, SessionType: v.kind(), Typing: &on})
}

// errShort: an answer ends before its end.
var errShort = errors.New("the answer is incomplete")

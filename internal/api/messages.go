package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"godwit/commands"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// The words for what a message is made of.
const (
	textMessage  = "text"
	voiceMessage = "voice"
)

// Message is one message of a conversation.
type Message struct {
	ID       uint32    `json:"id" doc:"1, 2, 3, … in the conversation, without a hole"`
	From     uint32    `json:"from" doc:"Number of the sender; 0: the system"`
	Created  time.Time `json:"created"`
	Kind     string    `json:"kind" doc:"text, voice, or unknown"`
	Data     []byte    `json:"data,omitempty" doc:"msg_data as clients see it, in base64; not there when recalled or missing"`
	Text     string    `json:"text,omitempty" doc:"Of a text that can be decrypted"`
	Recalled bool      `json:"recalled" doc:"Taken back: it keeps its id and has lost its body"`
	Edits    uint32    `json:"edits" doc:"How often it was edited"`
	Missing  bool      `json:"missing" doc:"Lost before it was moved in from another system"`
}

func messageOf(m *query.Message) Message {
	out := Message{ID: m.GetId(), From: m.GetFrom(), Created: time.Unix(int64(m.GetCreated()), 0).UTC(), Kind: kindOf(m.GetType()),
		Data: m.GetBody(), Recalled: m.GetRecalled(), Edits: m.GetEdits(), Missing: m.GetMissing()}
	out.Text = textOf(out.Kind, m.GetBody())
	return out
}

func kindOf(messageType uint32) string {
	switch imbase.MsgType(messageType) {
	case imbase.MsgType_MSG_TYPE_SINGLE_TEXT, imbase.MsgType_MSG_TYPE_GROUP_TEXT:
		return textMessage
	case imbase.MsgType_MSG_TYPE_SINGLE_AUDIO, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		return voiceMessage
	}
	return "unknown"
}

func textOf(kind string, body []byte) string {
	if kind != textMessage || len(body) == 0 {
		return ""
	}
	text, err := content.DecryptText(body)
	if err != nil {
		return "" // whatever its sender meant
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// conversation is one as a user sees it: the one with another user, or a group.
type conversation struct {
	name  string // "user-7", "group-5"
	group bool
	peer  uint32 // or the group
	key   event.ConversationKey
}

// OfConversation is the path of whatever belongs to a conversation of a user.
type OfConversation struct {
	OfUser
	Conversation string `path:"conversation" pattern:"^(user|group)-[1-9][0-9]{0,9}$" doc:"user- and the other user's number, or group- and the group's"`
}

func (in OfConversation) read() (conversation, error) {
	kind, number, _ := strings.Cut(in.Conversation, "-")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 {
		return conversation{}, invalid("%s is no conversation: its number is too large", in.Conversation)
	}
	c := conversation{name: in.Conversation, peer: uint32(n)}
	if kind == "group" {
		c.group, c.key = true, event.Group(c.peer)
		return c, nil
	}
	if c.peer == in.User {
		return c, commands.ErrOneself
	}
	c.key = event.Direct(in.User, c.peer)
	return c, nil
}

// nameOf is how a user calls a conversation.
func nameOf(key []byte, user uint32) string {
	k, ok := event.ParseConversation(key)
	switch {
	case !ok:
		return ""
	case k.IsDirect():
		return fmt.Sprint("user-", k.Peer(user))
	}
	return fmt.Sprint("group-", k.GroupID())
}

// OfMessage is the path of one message.
type OfMessage struct {
	OfConversation
	Message uint32 `path:"message" minimum:"1" maximum:"4294967295" doc:"Id of the message"`
}

// messageBody is what a message is to hold.
type messageBody struct {
	Text string `json:"text,omitempty" maxLength:"200000" doc:"Plain; it is put into the form that clients expect"`
	Data []byte `json:"data,omitempty" maxLength:"600000" contentEncoding:"base64" doc:"msg_data as clients expect it, in base64, instead of text"`
}

// bytes are the msg_data.
func (b messageBody) bytes() ([]byte, error) {
	switch {
	case b.Text != "" && len(b.Data) > 0:
		return nil, invalid("give text or data, not both")
	case b.Text != "":
		return content.EncryptText(b.Text), nil
	case len(b.Data) > 0:
		return b.Data, nil
	}
	return nil, fmt.Errorf("%w: give text or data", commands.ErrEmptyBody)
}

type messageOut struct{ Body Message }

func (a *API) messages() {
	const tag = "Messages"
	register(a, route{id: "send-message", method: http.MethodPost, path: "/messages", scope: MessagesSend, tag: tag, status: http.StatusCreated,
		summary: "Send a message as a user or as the system",
		description: "As a user it moves no read cursor, and is refused where the user could not write: he is blocked, or is no member. " +
			"As the system it is refused by nobody; it needs a user in whose name clients show it, but in a group, where it may come from nobody."}, a.sendMessage)
	register(a, route{id: "list-messages", method: http.MethodGet, path: "/users/{user}/conversations/{conversation}/messages", scope: MessagesRead, tag: tag,
		summary:     "List the messages of a conversation that a user may read, the newest first",
		description: "A page may hold fewer than asked for; the last has no next."}, a.listMessages)
	register(a, route{id: "get-message", method: http.MethodGet, path: "/users/{user}/conversations/{conversation}/messages/{message}", scope: MessagesRead, tag: tag,
		summary: "Get a message that a user may read"}, a.getMessage)
	register(a, route{id: "edit-message", method: http.MethodPatch, path: "/users/{user}/conversations/{conversation}/messages/{message}", scope: MessagesSend, tag: tag,
		summary: "Give a message another body", description: "At any time, and whoever has sent it. Voice stays as it is."}, a.editMessage)
	register(a, route{id: "recall-message", method: http.MethodDelete, path: "/users/{user}/conversations/{conversation}/messages/{message}", scope: MessagesSend, tag: tag,
		summary: "Take a message back", description: "At any time, and whoever has sent it. It keeps its id; its body is gone."}, a.recallMessage)
	register(a, route{id: "list-edits", method: http.MethodGet, path: "/users/{user}/conversations/{conversation}/messages/{message}/edits", scope: MessagesRead, tag: tag,
		summary: "List the bodies that a message has had, the present one last"}, a.listEdits)
	register(a, route{id: "list-receipts", method: http.MethodGet, path: "/users/{user}/conversations/{conversation}/messages/{message}/receipts", scope: MessagesRead, tag: tag,
		summary: "List who has received and who has read a message"}, a.listReceipts)
}

// Sent is what came of a message.
type Sent struct {
	ID   uint32 `json:"id" doc:"Of the message in its conversation"`
	From uint32 `json:"from"`
}

func (a *API) sendMessage(ctx context.Context, in *struct {
	Body struct {
		From    uint32 `json:"from,omitempty" doc:"Number of the sender. 0 is the system, which writes to groups"`
		System  bool   `json:"system,omitempty" doc:"Nobody can refuse it, by a block or otherwise"`
		ToUser  uint32 `json:"to_user,omitempty" doc:"This, or to_group"`
		ToGroup uint32 `json:"to_group,omitempty" doc:"This, or to_user"`
		Kind    string `json:"kind,omitempty" enum:"text,voice" default:"text"`
		Text    string `json:"text,omitempty" maxLength:"200000" doc:"Plain; it is put into the form that clients expect"`
		Data    []byte `json:"data,omitempty" maxLength:"600000" contentEncoding:"base64" doc:"msg_data as clients expect it, in base64, instead of text"`
	}
}) (*struct{ Body Sent }, error) {
	b := in.Body
	data, err := messageBody{b.Text, b.Data}.bytes()
	switch {
	case err != nil:
		return nil, err
	case (b.ToUser == 0) == (b.ToGroup == 0):
		return nil, invalid("give to_user or to_group")
	case b.From == 0 && !b.System:
		return nil, invalid("give from, or send as the system")
	case b.From == 0 && b.ToUser != 0:
		return nil, invalid("clients can't show a message to a user that comes from nobody: give from, the number of an account of your own")
	case b.Kind == voiceMessage && b.Text != "":
		return nil, invalid("a voice message is data: its length in seconds, 4 bytes, and the audio")
	}
	send := commands.SendMessage{
		From: commands.Session{User: b.From}, Origin: event.Origin_ORIGIN_API, To: b.ToUser, Type: imbase.MsgType_MSG_TYPE_SINGLE_TEXT, Body: data,
		By: callOf(ctx).name,
	}
	if b.System {
		send.Origin = event.Origin_ORIGIN_SYSTEM
	}
	switch voice := b.Kind == voiceMessage; {
	case b.ToGroup != 0 && voice:
		send.To, send.Type = b.ToGroup, imbase.MsgType_MSG_TYPE_GROUP_AUDIO
	case b.ToGroup != 0:
		send.To, send.Type = b.ToGroup, imbase.MsgType_MSG_TYPE_GROUP_TEXT
	case voice:
		send.Type = imbase.MsgType_MSG_TYPE_SINGLE_AUDIO
	}
	if c := callOf(ctx); c.id != (event.ID{}) {
		// A repeat carries the same id, and the conversation knows it.
		send.ClientMessageID = c.id.Bytes()
	}
	permit, err := a.permit(ctx, send, b.ToGroup)
	if err != nil {
		return nil, err
	}
	send.At = a.now()
	ev, err := send.Decide(permit)
	if err != nil {
		return nil, err
	}
	key, _ := event.ParseConversation(ev.GetMessageSent().GetConversation())
	res, err := a.append(ctx, key.Stream(a.cfg.Partitions), ev)
	if err != nil {
		return nil, err
	}
	if res.Void == frame.Void_VOID_NONE {
		a.sent.Inc()
	}
	return &struct{ Body Sent }{Sent{ID: res.ID, From: b.From}}, nil
}

// permit is what the views say about a message.
func (a *API) permit(ctx context.Context, m commands.SendMessage, group uint32) (p commands.Permit, err error) {
	if m.From.User != 0 {
		from, _, err := a.person(ctx, m.From.User)
		if err != nil {
			return p, err
		}
		if from.Disabled && m.Origin != event.Origin_ORIGIN_SYSTEM {
			return p, commands.ErrPersonDisabled
		}
	}
	if group == 0 {
		if p.Peer, _, err = a.person(ctx, m.To); err != nil || !a.cfg.FriendsOnly {
			return p, err
		}
		r, err := a.relation(ctx, m.From.User, m.To)
		p.Stranger = !r.GetFriends()
		return p, err
	}
	s, err := a.groupState(ctx, group, m.From.User, false, nil)
	if err != nil {
		return p, err
	}
	p.Group = commands.GroupPermit{Number: s.GetGroup().GetGroup(), Member: s.GetMember(), Dissolved: s.GetGroup().GetDissolved()}
	return p, nil
}

type messagePage struct {
	Body struct {
		Messages []Message `json:"messages" nullable:"false"`
		Next     string    `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}

func (a *API) listMessages(ctx context.Context, in *struct {
	OfConversation
	Paged
}) (*messagePage, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	if _, _, err := a.person(ctx, in.User); err != nil {
		return nil, err
	}
	kind := fmt.Sprintf("messages %d %s", in.User, c.name)
	begin, err := in.number(kind)
	if err != nil {
		return nil, err
	}
	page, next, err := a.history(ctx, c.key, in.User, begin, in.limit())
	if err != nil {
		return nil, err
	}
	out := &messagePage{}
	out.Body.Messages = []Message{}
	for _, m := range page {
		out.Body.Messages = append(out.Body.Messages, messageOf(m))
	}
	if next > 0 {
		out.Body.Next = cursor(kind, strconv.FormatUint(uint64(next), 10))
	}
	return out, nil
}

// history is a page from begin downwards, 0 meaning the newest, and where the next one begins, 0 after the last.
func (a *API) history(ctx context.Context, key event.ConversationKey, user, begin, limit uint32) (page []*query.Message, next uint32, err error) {
	ans, err := a.cfg.Node.AskTimeline(ctx, key, &query.Request{Body: &query.Request_History{History: &query.History{
		Conversation: key[:], User: user, Begin: begin, Count: limit,
	}}})
	if err != nil {
		return nil, 0, err
	}
	page = ans.GetMessages().GetMessages()
	if len(page) > 0 {
		next = page[len(page)-1].GetId() - 1
	}
	return page, next, nil
}

// message reads one that the user may read; without one it is a *Problem.
func (a *API) message(ctx context.Context, c conversation, user, id uint32) (*query.Message, error) {
	ans, err := a.cfg.Node.AskTimeline(ctx, c.key, &query.Request{Body: &query.Request_ByIds{ByIds: &query.ByIds{
		Conversation: c.key[:], User: user, Ids: []uint32{id},
	}}})
	if err != nil {
		return nil, err
	}
	for _, m := range ans.GetMessages().GetMessages() {
		if m.GetId() == id {
			return m, nil
		}
	}
	return nil, notFound(commands.ErrNoSuchMessage.Name(), fmt.Sprintf("user %d can read no message %d in %s", user, id, c.name))
}

func (a *API) getMessage(ctx context.Context, in *OfMessage) (*messageOut, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	m, err := a.message(ctx, c, in.User, in.Message)
	if err != nil {
		return nil, err
	}
	return &messageOut{Body: messageOf(m)}, nil
}

// place names a message to the commands. The API acts, not the user of the path, who only says in which conversation.
func (a *API) place(ctx context.Context, c conversation, id uint32) commands.Place {
	return commands.Place{At: a.now(), Conversation: c.key, MsgID: id, By: callOf(ctx).name}
}

func (a *API) editMessage(ctx context.Context, in *struct {
	OfMessage
	Body messageBody
}) (*messageOut, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	data, err := in.Body.bytes()
	if err != nil {
		return nil, err
	}
	if _, err := a.message(ctx, c, in.User, in.Message); err != nil {
		return nil, err
	}
	ev, err := commands.EditMessage{Place: a.place(ctx, c, in.Message), Body: data}.Decide()
	if err != nil {
		return nil, err
	}
	if _, err := a.append(ctx, c.key.Stream(a.cfg.Partitions), ev); err != nil {
		return nil, err
	}
	return a.getMessage(ctx, &in.OfMessage)
}

func (a *API) recallMessage(ctx context.Context, in *OfMessage) (*struct{}, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	m, err := a.message(ctx, c, in.User, in.Message)
	if err != nil || m.GetRecalled() {
		return nil, err
	}
	ev, err := commands.RecallMessage{Place: a.place(ctx, c, in.Message)}.Decide()
	if err != nil {
		return nil, err
	}
	res, err := a.append(ctx, c.key.Stream(a.cfg.Partitions), ev)
	if res.Void == frame.Void_VOID_NO_SUCH_MESSAGE {
		return nil, nil // it was there a moment ago, so somebody else has recalled it
	}
	return nil, err
}

type editList struct {
	Body struct {
		Edits []Edit `json:"edits" nullable:"false"`
	}
}

// Edit is a body that a message has had.
type Edit struct {
	At   time.Time `json:"at"`
	Data []byte    `json:"data,omitempty" doc:"msg_data, in base64"`
	Text string    `json:"text,omitempty" doc:"Of a text that can be decrypted"`
}

func (a *API) listEdits(ctx context.Context, in *OfMessage) (*editList, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	m, err := a.message(ctx, c, in.User, in.Message)
	if err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.AskTimeline(ctx, c.key, &query.Request{Body: &query.Request_Edits{Edits: &query.Edits{
		Conversation: c.key[:], User: in.User, MsgId: in.Message,
	}}})
	if err != nil {
		return nil, err
	}
	out := &editList{}
	out.Body.Edits = []Edit{}
	for _, e := range ans.GetEdits().GetEdits() {
		out.Body.Edits = append(out.Body.Edits, Edit{At: time.UnixMilli(e.GetAt()).UTC(), Data: e.GetBody(), Text: textOf(kindOf(m.GetType()), e.GetBody())})
	}
	return out, nil
}

type receiptList struct {
	Body struct {
		Read      []uint32 `json:"read" nullable:"false" doc:"Numbers of users"`
		Delivered []uint32 `json:"delivered" nullable:"false" doc:"Who has received it and not read it yet"`
	}
}

func (a *API) listReceipts(ctx context.Context, in *OfMessage) (*receiptList, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	if _, err := a.message(ctx, c, in.User, in.Message); err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.AskTimeline(ctx, c.key, &query.Request{Body: &query.Request_Receipts{Receipts: &query.Receipts{
		Conversation: c.key[:], User: in.User, MsgId: in.Message,
	}}})
	if err != nil {
		return nil, err
	}
	out := &receiptList{}
	out.Body.Read = append([]uint32{}, ans.GetReceipts().GetRead()...)
	out.Body.Delivered = append([]uint32{}, ans.GetReceipts().GetDelivered()...)
	return out, nil
}

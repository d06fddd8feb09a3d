package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/commands"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Conversation is one as a user sees it.
type Conversation struct {
	Name    string   `json:"conversation" doc:"user- and the other user's number, or group- and the group's"`
	Head    uint32   `json:"head" doc:"Id of the newest message"`
	Read    uint32   `json:"read" doc:"The user has read up to this message"`
	Unread  uint32   `json:"unread" doc:"head less read"`
	Updated uint32   `json:"updated" doc:"Fold time of the newest message, Unix seconds"`
	Muted   bool     `json:"muted" doc:"A group whose pushes the user does not want"`
	Blocked bool     `json:"blocked" doc:"By this user"`
	Hidden  bool     `json:"hidden" doc:"The user has taken it out of the list"`
	Left    bool     `json:"left" doc:"A group that the user is no member of any more; nothing else is said of it"`
	Latest  *Message `json:"latest,omitempty"`
}

func (a *API) conversations() {
	const tag = "Conversations"
	register(a, route{id: "list-conversations", method: http.MethodGet, path: "/users/{user}/conversations", scope: MessagesRead, tag: tag,
		summary: "List a user's conversations, the oldest change first",
		description: "The cursor of the last page is given too: asked with it later, the list holds what has changed since. " +
			"A conversation that changes while pages are read comes again."}, a.listConversations)
	register(a, route{id: "get-unread", method: http.MethodGet, path: "/users/{user}/unread", scope: MessagesRead, tag: tag,
		summary: "Count a user's unread messages", description: "With the conversations that have some, the latest change first, as many as fit."}, a.getUnread)
	register(a, route{id: "get-read-mark", method: http.MethodGet, path: "/users/{user}/conversations/{conversation}/read", scope: MessagesRead, tag: tag,
		summary: "Get how far a user has read in a conversation"}, a.getReadMark)
	register(a, route{id: "set-read-mark", method: http.MethodPut, path: "/users/{user}/conversations/{conversation}/read", scope: MessagesSend, tag: tag,
		summary: "Have a user have read up to a message", description: "The mark never goes back: where the user has read further it stays. " +
			"The user's clients are told, and the others get their receipts, as when a client reads."}, a.setReadMark)
}

// ReadMark is how far a user has read in a conversation.
type ReadMark struct {
	Read   uint32 `json:"read" doc:"The user has read up to this message"`
	Head   uint32 `json:"head" doc:"Id of the newest message"`
	Unread uint32 `json:"unread" doc:"head less read"`
}

type readMarkOut struct{ Body ReadMark }

// readMark asks how far a user has read in a conversation that he is a party of; if he is none it is a *Problem or a
// refusal.
func (a *API) readMark(ctx context.Context, c conversation, user uint32) (*readMarkOut, error) {
	if c.group {
		if _, err := a.member(ctx, OfMember{OfGroup{c.peer}, OfUser{user}}); err != nil {
			return nil, err
		}
	} else if _, _, err := a.person(ctx, c.peer); err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.AskTimeline(ctx, c.key, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: c.key[:], User: user}}})
	if err != nil {
		return nil, err
	}
	h := ans.GetHead()
	return &readMarkOut{Body: ReadMark{Read: h.GetCursor(), Head: h.GetHead(), Unread: h.GetHead() - min(h.GetCursor(), h.GetHead())}}, nil
}

func (a *API) getReadMark(ctx context.Context, in *OfConversation) (*readMarkOut, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	if _, _, err := a.person(ctx, in.User); err != nil {
		return nil, err
	}
	return a.readMark(ctx, c, in.User)
}

func (a *API) setReadMark(ctx context.Context, in *struct {
	OfConversation
	Body struct {
		Message uint32 `json:"message" minimum:"1" doc:"Id of the last one read; greater than the newest message's it is the newest's"`
	}
}) (*readMarkOut, error) {
	mark, err := a.getReadMark(ctx, &in.OfConversation)
	if err != nil {
		return nil, err
	}
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	read := commands.AdvanceRead{At: a.now(), From: commands.Session{User: in.User}, Kind: imbase.SessionType_SESSION_TYPE_SINGLE, Peer: c.peer,
		MsgID: in.Body.Message, By: callOf(ctx).name}
	if c.group {
		read.Kind = imbase.SessionType_SESSION_TYPE_GROUP
	}
	ev, err := read.Decide(commands.ReadState{Cursor: mark.Body.Read})
	if errors.Is(err, commands.ErrNothingNew) {
		return mark, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := a.append(ctx, c.key.Stream(a.cfg.Partitions), ev); err != nil {
		return nil, err
	}
	return a.readMark(ctx, c, in.User)
}

type conversationPage struct {
	Body struct {
		Conversations []Conversation `json:"conversations" nullable:"false"`
		More          bool           `json:"more" doc:"There is another page now"`
		Next          string         `json:"next" doc:"Cursor of the next page, or of what changes later"`
	}
}

// sync is a page of a user's conversations in which something has changed after the positions, and the positions of the
// next page.
func (a *API) sync(ctx context.Context, user uint32, since []*query.AtLeast) (*query.SyncAnswer, error) {
	ans, err := a.cfg.Node.AskLists(ctx, &query.Request{Body: &query.Request_Sync{Sync: &query.Sync{User: user, Since: since}}})
	s := ans.GetSync()
	if s != nil {
		// Of two who have never written there is no conversation, though one may block the other: that is a list of its own.
		s.Entries = slices.DeleteFunc(s.Entries, func(e *query.SyncEntry) bool {
			k, ok := event.ParseConversation(e.GetConversation())
			return ok && k.IsDirect() && e.GetHead() == 0
		})
	}
	return s, err
}

func (a *API) listConversations(ctx context.Context, in *struct {
	OfUser
	Cursor string `query:"cursor" maxLength:"8192" doc:"Where the page begins: next of the page before it, empty for the first"`
}) (*conversationPage, error) {
	if _, _, err := a.person(ctx, in.User); err != nil {
		return nil, err
	}
	kind := fmt.Sprint("conversations ", in.User)
	text, err := Paged{Cursor: in.Cursor}.begin(kind)
	if err != nil {
		return nil, err
	}
	since, err := positions(text)
	if err != nil {
		return nil, err
	}
	s, err := a.sync(ctx, in.User, since)
	if err != nil {
		return nil, err
	}
	out := &conversationPage{}
	out.Body.Conversations = []Conversation{}
	for _, e := range s.GetEntries() {
		out.Body.Conversations = append(out.Body.Conversations, conversationOf(e, in.User))
	}
	out.Body.More = s.GetMore()
	at, err := proto.Marshal(&query.SyncAnswer{Next: s.GetNext()})
	if err != nil {
		return nil, fmt.Errorf("cursor: %w", err)
	}
	out.Body.Next = cursor(kind, base64.RawURLEncoding.EncodeToString(at))
	return out, nil
}

// positions reads a cursor of conversations.
func positions(text string) ([]*query.AtLeast, error) {
	var at query.SyncAnswer
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = proto.Unmarshal(b, &at)
	}
	if err != nil {
		return nil, invalid("the cursor is none of this list")
	}
	return at.GetNext(), nil
}

func conversationOf(e *query.SyncEntry, user uint32) Conversation {
	c := Conversation{Name: nameOf(e.GetConversation(), user), Left: e.GetLeft()}
	if c.Left {
		return c
	}
	c.Head, c.Read, c.Updated, c.Muted = e.GetHead(), e.GetCursor(), e.GetUpdated(), e.GetShielded()
	c.Unread, c.Blocked, c.Hidden = c.Head-min(c.Read, c.Head), e.GetBlocked(), e.GetRemoved()
	if e.GetLatest() != nil {
		c.Latest = new(messageOf(e.GetLatest()))
	}
	return c
}

type unreadOut struct {
	Body struct {
		Total         uint32         `json:"total" doc:"In all conversations"`
		Conversations []Conversation `json:"conversations" nullable:"false"`
	}
}

func (a *API) getUnread(ctx context.Context, in *struct {
	OfUser
	Limit uint32 `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most conversations"`
}) (*unreadOut, error) {
	if _, _, err := a.person(ctx, in.User); err != nil {
		return nil, err
	}
	totals, err := a.cfg.Node.AskLists(ctx, &query.Request{Body: &query.Request_UnreadTotals{UnreadTotals: &query.UnreadTotals{Users: []uint32{in.User}}}})
	if err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.AskLists(ctx, &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{User: in.User, UnreadOnly: true, Limit: in.Limit}}})
	if err != nil {
		return nil, err
	}
	out := &unreadOut{}
	out.Body.Conversations = []Conversation{}
	for _, n := range totals.GetUnreadTotals().GetTotals() {
		out.Body.Total += n
	}
	for _, e := range ans.GetLists().GetEntries() {
		out.Body.Conversations = append(out.Body.Conversations, conversationOf(&query.SyncEntry{
			Conversation: e.GetConversation(), Head: e.GetHead(), Cursor: e.GetCursor(), Updated: e.GetUpdated(), Shielded: e.GetShielded(), Latest: e.GetLatest(),
		}, in.User))
	}
	return out, nil
}

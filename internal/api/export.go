package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"godwit/schema/event"
	"godwit/schema/query"
)

// exportPage is how many groups or messages an export reads at a time: all that it holds in memory.
const exportPage = 200

// ExportLine is one line of an export; kind says which of the others is there.
type ExportLine struct {
	Kind         string         `json:"kind"`
	User         *User          `json:"user,omitempty"`
	Device       *Device        `json:"device,omitempty"`
	Friend       *Friend        `json:"friend,omitempty"`
	Request      *FriendRequest `json:"request,omitempty"`
	Blocked      uint32         `json:"blocked,omitempty"`
	Group        *Group         `json:"group,omitempty"`
	Session      *Session       `json:"session,omitempty"`
	Conversation *Conversation  `json:"conversation,omitempty"`
	In           string         `json:"in,omitempty"` // of a message: the conversation
	Message      *Message       `json:"message,omitempty"`
	Problem      *Problem       `json:"problem,omitempty"`
	Lines        int            `json:"lines,omitempty"` // of the end: how many came before it
}

func (a *API) export() {
	register(a, route{id: "export-user", method: http.MethodGet, path: "/users/{user}/export", scope: ExportScope, tag: "Export", lines: reflect.TypeFor[ExportLine](),
		summary: "Export what is kept of a person",
		description: "A stream of JSON lines, each with a kind: user, device, friend, request, blocked, group, session, conversation, and the messages " +
			"that the user may read behind their conversation, the newest first. The last line has the kind end; a stream without it broke off, and a line of the kind problem says why."},
		func(ctx context.Context, in *OfUser) (*huma.StreamResponse, error) {
			_, acc, err := a.person(ctx, in.User)
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(hc huma.Context) {
				_, w := humago.Unwrap(hc)
				e := &exporting{a: a, ctx: hc.Context(), user: in.User, out: json.NewEncoder(w), rc: http.NewResponseController(w)}
				w.Header().Set("Content-Type", "application/x-ndjson")
				e.run(acc)
			}}, nil
		})
}

// exporting writes one export.
type exporting struct {
	a     *API
	ctx   context.Context
	user  uint32
	out   *json.Encoder
	rc    *http.ResponseController
	lines int
}

func (e *exporting) line(l ExportLine) error {
	e.lines++
	return e.out.Encode(l)
}

// page gives the reader time for what was written, and the next page some of its own.
func (e *exporting) page() (context.Context, context.CancelFunc) {
	_ = e.rc.SetWriteDeadline(time.Now().Add(streamLimit)) // a writer without deadlines has none to move
	_ = e.rc.Flush()
	return context.WithTimeout(e.ctx, runLimit)
}

func (e *exporting) run(acc *query.Account) {
	err := e.all(acc)
	switch {
	case err == nil:
		err = e.line(ExportLine{Kind: "end", Lines: e.lines})
	case e.ctx.Err() == nil:
		err = errors.Join(err, e.line(ExportLine{Kind: "problem", Problem: e.a.problem("export-user", err)}))
	}
	if err != nil {
		e.a.log.Warn("export broke off", "user", e.user, "err", err)
	}
}

func (e *exporting) all(acc *query.Account) error {
	if err := e.line(ExportLine{Kind: "user", User: new(userOf(acc))}); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{e.people, e.sessions} {
		ctx, cancel := e.page()
		err := part(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	if err := e.groups(); err != nil {
		return err
	}
	return e.conversations()
}

// people are what the people view and the blocks say: a bounded number.
func (e *exporting) people(ctx context.Context) error {
	d, err := e.a.device(ctx, e.user)
	if err != nil {
		return err
	}
	if err := e.line(ExportLine{Kind: "device", Device: new(deviceOf(d))}); err != nil {
		return err
	}
	ans, err := e.a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_FriendList{FriendList: &query.FriendList{User: e.user}}})
	if err != nil {
		return err
	}
	for _, f := range ans.GetFriendList().GetFriends() {
		l := ExportLine{Kind: "friend", Friend: &Friend{User: f.GetUser(), Remark: f.GetRemark(), Since: f.GetSince()}}
		if !f.GetFriends() {
			l = ExportLine{Kind: "request", Request: &FriendRequest{User: f.GetUser(), Outgoing: f.GetOutgoing(), Text: f.GetText(), Since: f.GetSince()}}
		}
		if err := e.line(l); err != nil {
			return err
		}
	}
	blocked, err := e.a.blocks(ctx, e.user)
	if err != nil {
		return err
	}
	for _, user := range blocked {
		if err := e.line(ExportLine{Kind: "blocked", Blocked: user}); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporting) sessions(ctx context.Context) error {
	all, err := e.a.sessionsOf(ctx, e.user)
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := e.line(ExportLine{Kind: "session", Session: new(sessionOf(s))}); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporting) groups() error {
	for after, more := uint32(0), true; more; {
		ctx, cancel := e.page()
		l, err := e.a.groupList(ctx, e.user, after, exportPage)
		cancel()
		if err != nil {
			return err
		}
		for _, g := range l.GetGroups() {
			if err := e.line(ExportLine{Kind: "group", Group: new(groupOf(g))}); err != nil {
				return err
			}
			after = g.GetGroup()
		}
		more = l.GetMore() && len(l.GetGroups()) > 0
	}
	return nil
}

func (e *exporting) conversations() error {
	var since []*query.AtLeast
	for more := true; more; {
		ctx, cancel := e.page()
		s, err := e.a.sync(ctx, e.user, since)
		cancel()
		if err != nil {
			return err
		}
		for _, entry := range s.GetEntries() {
			c := conversationOf(entry, e.user)
			if err := e.line(ExportLine{Kind: "conversation", Conversation: &c}); err != nil {
				return err
			}
			key, ok := event.ParseConversation(entry.GetConversation())
			if !ok || c.Left {
				continue
			}
			if err := e.messages(key, c.Name, entry.GetHead()); err != nil {
				return err
			}
		}
		since, more = s.GetNext(), s.GetMore()
	}
	return nil
}

// messages are those up to the head, which the line of the conversation has named.
func (e *exporting) messages(key event.ConversationKey, name string, head uint32) error {
	for begin := head; begin > 0; {
		ctx, cancel := e.page()
		page, next, err := e.a.history(ctx, key, e.user, begin, exportPage)
		cancel()
		if err != nil {
			return err
		}
		for _, m := range page {
			if err := e.line(ExportLine{Kind: "message", In: name, Message: new(messageOf(m))}); err != nil {
				return err
			}
		}
		begin = next
	}
	return nil
}

package api

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/projections/explain"
	"godwit/schema/event"
	"godwit/schema/query"
)

// LogEvent is one event of the log in words, without what somebody wrote and without secrets.
type LogEvent struct {
	Stream   string         `json:"stream"`
	Sequence uint64         `json:"sequence" doc:"Of its record in the stream"`
	Index    int            `json:"index" doc:"Of the event in its record, from 0"`
	At       time.Time      `json:"at" doc:"When it was decided, by the clock of the node that did"`
	Type     string         `json:"type" doc:"As schema/event names it" example:"PasswordChanged"`
	Who      string         `json:"who" doc:"A login name; operator; key:<id>; identity provider; import; server"`
	Summary  string         `json:"summary"`
	Fields   map[string]any `json:"fields" doc:"What is harmless of it, by the names in schema/event"`
}

func (a *API) logRead() {
	const tag = "Log"
	register(a, route{id: "list-events", method: http.MethodGet, path: "/events", scope: LogRead, tag: tag,
		summary: "List what the log holds, the newest first",
		description: "With user those that name the user: done by, or to, or written in a conversation of two with the user. " +
			"A request looks for 5 seconds: a page may hold fewer than limit, or none, and have a next all the same."}, a.listEvents)
	register(a, route{id: "why-user", method: http.MethodGet, path: "/users/{user}/why", scope: LogRead, tag: tag,
		summary: "Explain a user's sessions: which live, and why others ended"}, a.whyUser)
	register(a, route{id: "why-conversation", method: http.MethodGet, path: "/users/{user}/conversations/{conversation}/why", scope: LogRead, tag: tag,
		summary: "Explain why so much of a conversation is unread"}, a.whyConversation)
}

type eventPage struct {
	Body struct {
		Events     []LogEvent `json:"events" nullable:"false"`
		Next       string     `json:"next,omitempty" doc:"What before is for older events; not there when the log was read to its beginning"`
		SearchedTo *time.Time `json:"searched_to,omitempty" doc:"All that the log took after that was looked at; not there: all"`
		AsOf       int64      `json:"as_of" doc:"When the request came, in Unix milliseconds: with since, a little earlier than that, only what is new is read"`
	}
}

// keyText is a conversation as fields of events name it.
var keyText = regexp.MustCompile(`^(?:d-([1-9][0-9]{0,9})-([1-9][0-9]{0,9})|g-([1-9][0-9]{0,9}))$`)

// conversationKey reads the name of a conversation: user-7, as a user sees it, group-5, or as the log names both.
func conversationKey(text string, user uint32) (event.ConversationKey, error) {
	if m := keyText.FindStringSubmatch(text); m != nil {
		var n [3]uint64
		for i := range n {
			if m[i+1] != "" {
				var err error
				if n[i], err = strconv.ParseUint(m[i+1], 10, 32); err != nil {
					return event.ConversationKey{}, invalid("%s is no conversation: a number is too large", text)
				}
			}
		}
		if n[2] > 0 {
			return event.Group(uint32(n[2])), nil
		}
		if n[0] >= n[1] {
			return event.ConversationKey{}, invalid("%s is no conversation: the smaller number comes first", text)
		}
		return event.Direct(uint32(n[0]), uint32(n[1])), nil
	}
	if strings.HasPrefix(text, "user-") && user == 0 {
		return event.ConversationKey{}, invalid("%s is a conversation as a user sees it: say which user, or d-1-2 for that of users 1 and 2", text)
	}
	c, err := OfConversation{OfUser: OfUser{user}, Conversation: text}.read()
	return c.key, err
}

func (a *API) listEvents(ctx context.Context, in *struct {
	Stream       string `query:"stream" pattern:"^(PEOPLE|PRESENCE|CONVERSATION-[0-9]{2})$" doc:"Only of this stream"`
	Type         string `query:"type" maxLength:"64" doc:"Only of this kind"`
	User         uint32 `query:"user" maximum:"4294967295" doc:"Only those that name this user"`
	Conversation string `query:"conversation" pattern:"^((user|group)-[1-9][0-9]{0,9}|g-[1-9][0-9]{0,9}|d-[1-9][0-9]{0,9}-[1-9][0-9]{0,9})$" doc:"Only of this one: user-7 with user, group-5, or as fields name it"`
	Before       string `query:"before" maxLength:"4096" doc:"next of the page before"`
	Since        int64  `query:"since" minimum:"0" doc:"Unix milliseconds: only what the log took then or later"`
	Limit        int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Most events of the page"`
}) (*eventPage, error) {
	f := explain.Filter{Type: in.Type, User: in.User}
	if in.Type != "" && !slices.Contains(explain.Types(), in.Type) {
		return nil, invalid("there is no kind of event %q", in.Type)
	}
	if in.User != 0 {
		_, acc, err := a.person(ctx, in.User)
		if err != nil {
			return nil, err
		}
		f.Name = acc.GetName()
	}
	if in.Conversation != "" {
		var err error
		if f.Conversation, err = conversationKey(in.Conversation, in.User); err != nil {
			return nil, err
		}
	}
	streams := f.Streams(a.cfg.Partitions)
	if in.Stream != "" {
		i := slices.IndexFunc(event.Streams(a.cfg.Partitions), func(s event.Stream) bool { return s.String() == in.Stream })
		if i < 0 {
			return nil, invalid("there is no stream %s", in.Stream)
		}
		streams = slices.DeleteFunc(streams, func(s event.Stream) bool { return s != event.Stream(i) })
	}
	var from map[event.Stream]place
	if in.Before != "" {
		text, err := Paged{Cursor: in.Before}.begin("events")
		if err != nil {
			return nil, err
		}
		if from, err = parsePlaces(text); err != nil {
			return nil, err
		}
	}
	limit := max(in.Limit, 1)
	asOf, since, past := a.now().UnixMilli(), time.UnixMilli(in.Since), false
	done, err := a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var found []explain.Entry
	s, err := a.backward(ctx, streams, from, func(e explain.Entry) bool {
		if past = e.Stored.Before(since); past {
			return false
		}
		if f.Matches(e.Event) {
			found = append(found, e)
		}
		return len(found) < limit
	})
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, found)
	if err != nil {
		return nil, err
	}
	out := &eventPage{}
	out.Body.Events, out.Body.SearchedTo = inWords(found, n), s.searchedTo()
	out.Body.AsOf = asOf
	if !s.complete() && !past {
		out.Body.Next = cursor("events", placesText(s.places))
	}
	return out, nil
}

// inWords describes events.
func inWords(entries []explain.Entry, n explain.Names) []LogEvent {
	all := make([]LogEvent, 0, len(entries))
	for _, e := range entries {
		d := explain.Describe(e.Event, n)
		all = append(all, LogEvent{Stream: e.Stream.String(), Sequence: e.Sequence, Index: e.Index, At: e.At(),
			Type: d.Type, Who: d.Who, Summary: d.Summary, Fields: d.Fields})
	}
	return all
}

// How many users of one event, and how many groups in all, are given by name.
const (
	namedUsers  = 8
	namedGroups = 50
)

// names are what those are called whom some events name, and the users besides.
func (a *API) names(ctx context.Context, entries []explain.Entry, users ...uint32) (explain.Names, error) {
	n := explain.Names{Users: map[uint32]string{}, Groups: map[uint32]string{}, Nodes: map[event.ID]string{}}
	asked := map[uint32]bool{}
	wanted := func(u uint32) {
		if u != 0 && !asked[u] {
			asked[u] = true
			users = append(users, u)
		}
	}
	for _, u := range users {
		asked[u] = true
	}
	for _, e := range entries {
		for _, u := range explain.Users(e.Event, namedUsers) {
			wanted(u)
		}
		if s := e.Event.GetNodeStarted(); s != nil {
			n.Nodes[event.ToID(s.GetLife())] = s.GetNode()
		}
		k, ok := explain.Conversation(e.Event)
		if !ok || k.IsDirect() {
			continue
		}
		if _, known := n.Groups[k.GroupID()]; known || len(n.Groups) >= namedGroups {
			continue
		}
		g, err := a.groupState(ctx, k.GroupID(), 0, false, nil)
		if err != nil {
			return n, err
		}
		n.Groups[k.GroupID()] = g.GetGroup().GetName()
	}
	accounts, err := a.accounts(ctx, users...)
	if err != nil {
		return n, err
	}
	for u, acc := range accounts {
		n.Users[u] = acc.GetName()
	}
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
	if err != nil {
		return n, err
	}
	for _, l := range ans.GetLives().GetLives() {
		n.Nodes[event.ToID(l.GetLife())] = l.GetNode()
	}
	return n, nil
}

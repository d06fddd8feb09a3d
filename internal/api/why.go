package api

import (
	"context"
	"time"

	"godwit/projections/explain"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Bounds of explanations.
const (
	whySessions = 20   // sign-ins that are looked for
	whyMessages = 500  // unread messages that are looked at
	whyNodes    = 2000 // starts and ends of nodes
)

type whyConversationOut struct {
	Body struct {
		Unread      uint32     `json:"unread" doc:"head less read"`
		Head        uint32     `json:"head" doc:"Id of the newest message"`
		Read        uint32     `json:"read" doc:"The user has read up to this message"`
		Explanation []string   `json:"explanation" nullable:"false" doc:"Sentences for people"`
		Events      []LogEvent `json:"events" nullable:"false" doc:"What put the mark where it is and the newest of what came since, the newest first"`
		Complete    bool       `json:"complete" doc:"The log was read far enough to be sure"`
		SearchedTo  *time.Time `json:"searched_to,omitempty" doc:"How far back it was read, where that was not enough"`
	}
}

func (a *API) whyConversation(ctx context.Context, in *OfConversation) (*whyConversationOut, error) {
	c, err := in.read()
	if err != nil {
		return nil, err
	}
	mark, err := a.getReadMark(ctx, in)
	if err != nil {
		return nil, err
	}
	m := explain.Mark{User: in.User, Conversation: c.key, Head: mark.Body.Head, Read: mark.Body.Read, Devices: map[event.ID]event.DeviceClass{}}
	wanted := min(mark.Body.Unread+1, whyMessages)
	ans, err := a.cfg.Node.AskTimeline(ctx, c.key, &query.Request{Body: &query.Request_History{History: &query.History{
		Conversation: c.key[:], User: in.User, Begin: m.Head, Count: wanted}}})
	if err != nil {
		return nil, err
	}
	for _, msg := range ans.GetMessages().GetMessages() {
		m.Messages = append(m.Messages, explain.Message{ID: msg.GetId(), From: msg.GetFrom(), Created: msg.GetCreated(), Recalled: msg.GetRecalled()})
	}
	sessions, err := a.sessionsOf(ctx, in.User)
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		m.Devices[event.ToID(s.GetSession())] = s.GetDeviceClass()
	}

	w := explain.Unread(m, explain.Names{})
	chosen := explain.Filter{Conversation: c.key}
	done, err := a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	s := scan{}
	if m.Head > 0 {
		if s, err = a.backward(ctx, chosen.Streams(a.cfg.Partitions), nil, func(e explain.Entry) bool {
			return !chosen.Matches(e.Event) || !w.Over(e)
		}); err != nil {
			return nil, err
		}
	}
	if s.complete() {
		w.End()
	}
	users := []uint32{in.User}
	if !c.group {
		users = append(users, c.peer)
	}
	for _, msg := range m.Messages[:min(len(m.Messages), namedUsers)] {
		if msg.From != 0 {
			users = append(users, msg.From)
		}
	}
	n, err := a.names(ctx, w.Entries(), users...)
	if err != nil {
		return nil, err
	}
	if _, known := n.Groups[c.peer]; c.group && !known {
		g, err := a.groupState(ctx, c.peer, 0, false, nil)
		if err != nil {
			return nil, err
		}
		n.Groups[c.peer] = g.GetGroup().GetName()
	}
	w.Names(n)
	out := &whyConversationOut{}
	b := &out.Body
	b.Unread, b.Head, b.Read = mark.Body.Unread, m.Head, m.Read
	b.Explanation, b.Events, b.Complete = w.Explanation(s.reached), inWords(w.Entries(), n), w.Complete()
	if !b.Complete {
		b.SearchedTo = s.searchedTo()
	}
	return out, nil
}

// WhySession is one sign-in of a user, and why it lives or ended.
type WhySession struct {
	ID          string     `json:"id"`
	Device      string     `json:"device" doc:"desktop, mobile, web, or unknown where its beginning was not read"`
	Client      string     `json:"client,omitempty" doc:"Windows, Mac, iOS, Android, web"`
	Version     string     `json:"client_version,omitempty" doc:"As the client said"`
	Node        string     `json:"node,omitempty" doc:"Host of the node that held its connection"`
	Opened      *time.Time `json:"opened,omitempty" doc:"Not there: before what was read of the log"`
	Ended       *time.Time `json:"ended,omitempty" doc:"Not there: it lives, or came to nothing"`
	Lives       bool       `json:"lives"`
	Reason      string     `json:"reason,omitempty" doc:"Why it ended: logout, closed, timeout, replaced, kicked, node_stopped, node_lost, disabled, password_changed, abandoned, admin, slow, protocol"`
	Explanation string     `json:"explanation" doc:"Sentences for people"`
	Events      []LogEvent `json:"events" nullable:"false" doc:"Those that explain it, the newest first"`
}

type whyUserOut struct {
	Body struct {
		Sessions    []WhySession `json:"sessions" nullable:"false" doc:"The newest first"`
		Explanation []string     `json:"explanation" nullable:"false" doc:"Sentences for people: where the user is signed in, or why nowhere"`
		Complete    bool         `json:"complete" doc:"The log was read to its beginning"`
		SearchedTo  *time.Time   `json:"searched_to,omitempty" doc:"How far back it was read"`
	}
}

func (a *API) whyUser(ctx context.Context, in *OfUser) (*whyUserOut, error) {
	p, _, err := a.person(ctx, in.User)
	if err != nil {
		return nil, err
	}
	done, err := a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	ofUser := explain.Filter{User: in.User}
	var entries []explain.Entry
	logins, nodes := 0, 0
	presence, err := a.backward(ctx, []event.Stream{event.Presence}, nil, func(e explain.Entry) bool {
		switch e.Event.Body.(type) {
		case *event.Event_NodeStarted, *event.Event_NodeStopped, *event.Event_NodeLost:
			if nodes++; nodes <= whyNodes {
				entries = append(entries, e)
			}
			return true
		}
		if ofUser.Matches(e.Event) {
			entries = append(entries, e)
			if e.Event.GetSessionOpened() != nil {
				logins++
			}
		}
		return logins < whySessions
	})
	if err != nil {
		return nil, err
	}
	// What happened to the account since then; if it is disabled, what did that, however long ago.
	sought := p.Disabled
	if _, err := a.backward(ctx, []event.Stream{event.People}, nil, func(e explain.Entry) bool {
		switch e.Event.Body.(type) {
		case *event.Event_PasswordChanged, *event.Event_PersonDisabled, *event.Event_PersonEnabled, *event.Event_ProfileChanged:
			if ofUser.Matches(e.Event) {
				entries = append(entries, e)
				sought = sought && e.Event.GetPersonDisabled() == nil
			}
		}
		return sought || e.Stored.After(presence.reached.Add(-time.Minute))
	}); err != nil {
		return nil, err
	}
	// The view comes last: it knows all that was read.
	rows, err := a.sessionsOf(ctx, in.User)
	if err != nil {
		return nil, err
	}
	var live []explain.Session
	for _, s := range rows {
		live = append(live, explain.Session{ID: event.ToID(s.GetSession()), Class: s.GetDeviceClass(), ClientType: s.GetClientType(),
			Life: event.ToID(s.GetLife()), Opened: time.UnixMilli(s.GetOpened()).UTC()})
	}
	n, err := a.names(ctx, entries, in.User)
	if err != nil {
		return nil, err
	}
	all, explanation := explain.Sessions(explain.Account{User: in.User, Disabled: p.Disabled}, entries, live, n, presence.complete(), presence.reached)
	out := &whyUserOut{}
	out.Body.Sessions, out.Body.Explanation = []WhySession{}, explanation
	out.Body.Complete, out.Body.SearchedTo = presence.complete(), presence.searchedTo()
	for _, s := range all {
		w := WhySession{ID: s.ID.String(), Device: explain.Device(s.Class), Version: s.Version, Node: n.Nodes[s.Life],
			Lives: s.Ended.IsZero() && !s.Over, Explanation: s.Explanation, Events: inWords(s.Entries, n)}
		if s.Class == event.DeviceClass_DEVICE_CLASS_UNSPECIFIED {
			w.Device = "unknown"
		}
		if s.ClientType != 0 {
			w.Client = explain.Client(s.ClientType)
		}
		if !s.Opened.IsZero() {
			w.Opened = &s.Opened
		}
		if !s.Ended.IsZero() {
			w.Ended, w.Reason = &s.Ended, explain.Reason(s.Reason)
		}
		out.Body.Sessions = append(out.Body.Sessions, w)
	}
	return out, nil
}

package connector

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// kickDelay is how long a replaced session waits before it asks whether the login that
// replaced it lives: one whose client has left already must not leave the user without
// any.
const kickDelay = 200 * time.Millisecond

// Handler is what the node tells of.
func (srv *Server) Handler() delivery.Handler { return (*handlerOf)(srv) }

type handlerOf Server

// SessionOver ends a session that the log has ended, or that the node gives up: then
// the reason is that it was too slow, and the log has yet to be told.
func (h *handlerOf) SessionOver(over *frame.SessionOver) {
	srv := (*Server)(h)
	id := event.ToID(over.GetSession())
	s := srv.find(over.GetUser(), func(s *session) bool { return s.id == id })
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logEnded = s.logEnded || over.GetReason() != event.EndReason_END_REASON_SLOW
	if s.state == closing {
		return
	}
	switch reason := over.GetReason(); {
	case s.state == loggingIn:
		s.closeLocked(reason, false) // it was never told that it is logged in
	case reason == event.EndReason_END_REASON_REPLACED:
		s.hold |= holdOver
		winner := event.ToID(over.GetBySession())
		if !srv.background(func() { s.kickIfReplaced(winner) }) {
			s.closeLocked(reason, false)
		}
	case reason == event.EndReason_END_REASON_KICKED:
		s.kick(reason, imbase.KickReasonType_KICK_REASON_MOBILE_KICK)
	default:
		s.closeLocked(reason, true)
	}
}

// kick says goodbye with 0x0107, after which clients do not come back by themselves.
// mu is held.
func (s *session) kick(reason event.EndReason, why imbase.KickReasonType) {
	if s.state == closing {
		return
	}
	s.srv.metrics.kicks.WithLabelValues(reasonName(reason)).Inc()
	s.sendLocked(client.CmdKickUser, 0, &imlogin.IMKickUser{UserId: &s.user, KickReason: &why})
	s.kicked = true
	s.closeLocked(reason, true)
}

// kickIfReplaced kicks the session if its place is taken: by the login that replaced it
// or by one that came after that. If not, or if nobody can say, it is only closed, so
// that its client comes back.
func (s *session) kickIfReplaced(winner event.ID) {
	srv := s.srv
	select {
	case <-srv.ctx.Done():
		return
	case <-time.After(kickDelay):
	}
	ctx, cancel := context.WithTimeout(srv.ctx, srv.limits.Ask)
	defer cancel()
	ans, err := checked(srv.node.Ask(ctx, &query.Request{Body: &query.Request_SessionsOf{
		SessionsOf: &query.SessionsOf{User: s.user}}}))
	if err != nil {
		srv.log.Debug("winner of a login is unknown", "user", s.user, "err", err)
	}
	// The winner may have been replaced in its turn: what counts is that somebody
	// holds the place. A client that was only disconnected would take it back.
	taken := slices.ContainsFunc(ans.GetSessionsOf().GetSessions(), func(o *query.SessionRow) bool {
		return event.ToID(o.GetSession()) == winner || slices.Contains(srv.policy.Replaces(o.GetDeviceClass()), event.DeviceClass(s.class))
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if taken {
		s.kick(event.EndReason_END_REASON_REPLACED, imbase.KickReasonType_KICK_REASON_DUPLICATE_USER)
		return
	}
	s.closeLocked(event.EndReason_END_REASON_REPLACED, true)
}

// UserStatus gathers who came and went for the next second's notices.
func (h *handlerOf) UserStatus(user uint32, online bool, sequence uint64) {
	h.statuses.add(user, online, sequence)
}

// DesktopStatus tells the user's phones of the PC, or of a browser in its place.
func (h *handlerOf) DesktopStatus(user uint32, online bool, _ uint64) {
	(*Server)(h).each(user, func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case !s.Mobile():
		case s.state == open:
			s.desktopNotice(online)
			s.wire.Wake()
		case s.state == loggingIn:
			s.notice = -1
			if online {
				s.notice = 1
			}
		}
	})
}

// desktopNotice writes 0x020e. mu is held.
func (s *session) desktopNotice(online bool) {
	s.sendLocked(client.CmdPCLoginStatusNotify, 0,
		&imbuddy.IMPCLoginStatusNotify{UserId: &s.user, LoginStat: new(status(online))})
}

// PersonChanged drops what is known of the person, tells who is to know, and ends the
// sessions that were let in by what holds no longer.
func (h *handlerOf) PersonChanged(c *frame.PersonChanged, sequence uint64) {
	srv, user := (*Server)(h), c.GetUser()
	if c.GetFriends() {
		srv.statuses.dropFriends(user)
		srv.permits.drop(user)
	}
	if d := c.GetDirectory(); d != nil {
		srv.statuses.show(d)
	}
	if f := c.GetFriend(); f != nil {
		srv.friendNotice(f)
	} else if user != 0 {
		srv.accounts.drop(user)
		srv.permits.drop(user)
	}
	if !c.GetCredentials() {
		return
	}
	srv.remembered.Forget(user)
	srv.mu.Lock()
	srv.credentials = max(srv.credentials, sequence)
	srv.mu.Unlock()
	reason := c.GetReason()
	if reason == event.EndReason_END_REASON_UNSPECIFIED {
		reason = event.EndReason_END_REASON_PASSWORD_CHANGED
	}
	srv.each(user, func(s *session) {
		if s.peopleSeq < sequence {
			// Without 0x0107: the client comes back and is told by its login why it may not.
			s.close(reason, true)
		}
	})
}

// DropCaches drops everything that is cached of people.
func (h *handlerOf) DropCaches() {
	srv := (*Server)(h)
	srv.accounts.dropAll()
	srv.permits.dropAll()
	srv.statuses.dropAllFriends()
	srv.remembered.ForgetAll()
	// Of a login that is looked up and not registered nobody is told: it starts over.
	srv.mu.Lock()
	srv.missed++
	srv.mu.Unlock()
}

// CloseAll closes every session without 0x0107.
func (h *handlerOf) CloseAll(reason error) {
	srv := (*Server)(h)
	srv.log.Warn("all sessions closed", "err", reason)
	// With the life the log has ended its sessions. Else it calls them live until it is
	// told.
	why, over := event.EndReason_END_REASON_CLOSED, errors.Is(reason, delivery.ErrLifeLost)
	if over {
		why = event.EndReason_END_REASON_NODE_LOST
	}
	// Positions may mean something else from here on, and no login that is under way
	// goes on.
	srv.mu.Lock()
	srv.credentials = 0
	srv.mu.Unlock()
	srv.all(func(s *session) {
		s.mu.Lock()
		s.logEnded = s.logEnded || over
		s.closeLocked(why, false)
		s.mu.Unlock()
	})
}

// Relay passes on commands from client to client, who is typing, and that a file is offered.
func (h *handlerOf) Relay(r *frame.Relay) {
	if r.GetFile() != nil {
		(*Server)(h).passFile(r)
		return
	}
	(*Server)(h).relayed(r)
}

// Suspend stops and resumes reading and writing.
func (h *handlerOf) Suspend(suspended bool) {
	srv := (*Server)(h)
	if srv.suspended.Swap(suspended) == suspended {
		return
	}
	srv.log.LogAttrs(srv.ctx, slog.LevelWarn, "sockets suspended", slog.Bool("suspended", suspended))
	srv.all(func(s *session) { s.wire.Wake() })
}

package connector

import (
	"context"
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"

	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

// What a login comes to, and the texts that clients show.
const (
	textOK       = "成功"
	textServer   = "服务端异常"
	textWrong    = "用户名/密码错误"
	textTooOften = "用户名/密码错误次数太多"

	loginOK     = imbase.ResultType_REFUSE_REASON_NONE
	loginServer = imbase.ResultType_REFUSE_REASON_NO_DB_SERVER
	loginWrong  = imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED
)

// login is one login under way.
type login struct {
	s   *session
	seq uint16
	req *imlogin.IMLoginReq
}

// onLogin is 0x0103. A second one on a connection is ignored.
func (s *session) onLogin(f *pdu.Frame) bool {
	req := &imlogin.IMLoginReq{}
	if client.Unmarshal(f.Body, req) != nil {
		return true
	}
	s.mu.Lock()
	first := s.state == connected
	if first {
		s.state = loggingIn
	}
	s.mu.Unlock()
	if first {
		s.srv.logins.put(&login{s: s, seq: f.Seq, req: req})
	}
	return true
}

// run decides a login; it runs on the pool of logins.
func (l *login) run() {
	srv := l.s.srv
	ctx, cancel := context.WithTimeout(srv.ctx, srv.limits.Ask)
	defer cancel()
	if err := srv.node.Ready(); err != nil {
		l.fail("unavailable", loginServer, textServer, err)
		return
	}
	// Before the session is registered: a life that ends closes all registered sessions,
	// so that none of them may be opened in the next one.
	life := srv.node.Life()
	// A change of somebody's credentials between the look-up and the registration
	// makes it start over: the session must be found by the next one.
	for {
		p, sequence, ok := l.prove(ctx)
		if !ok {
			return
		}
		registered, again := l.register(p, sequence)
		if again {
			continue
		}
		if registered {
			l.open(p, sequence, life)
		}
		return
	}
}

// prove checks name and password. It is not ok if the login has failed and was
// answered.
func (l *login) prove(ctx context.Context) (p *query.Account, sequence uint64, ok bool) {
	srv := l.s.srv
	name, text := commands.NormalName(l.req.GetUserName()), l.req.GetPassword()
	if !utf8.ValidString(name) || len(name) > 4*commands.MaxName {
		name = "" // nobody has it
	}
	if err := srv.limiter.Allow(l.s.addr, name); err != nil {
		l.fail("limited", loginWrong, textTooOften, err)
		return nil, 0, false
	}
	p, sequence, err := srv.accounts.find(ctx, name)
	if err != nil {
		srv.limiter.Abandoned(l.s.addr, name)
		l.fail("unavailable", loginServer, textServer, err)
		return nil, 0, false
	}
	proved := false
	switch {
	case p == nil:
		err = srv.cfg.Hasher.VerifyNobody(ctx, text)
	case srv.remembered.Check(name, text, p.GetPasswordHash()):
		proved = true
	default:
		if proved, err = srv.cfg.Hasher.Verify(ctx, text, p.GetPasswordHash()); proved {
			srv.remembered.Remember(name, text, p.GetUser(), p.GetPasswordHash())
		}
	}
	switch {
	case err != nil:
		srv.limiter.Abandoned(l.s.addr, name)
		l.fail("unavailable", loginServer, textServer, err)
		return nil, 0, false
	case !proved:
		srv.limiter.Failed(l.s.addr, name)
		l.fail("wrong", loginWrong, textWrong, commands.ErrWrongPassword)
		return nil, 0, false
	case p.GetDisabled() || p.GetEmployment() == left:
		srv.limiter.Abandoned(l.s.addr, name)
		l.fail("disabled", loginWrong, textWrong, commands.ErrPersonDisabled)
		return nil, 0, false
	}
	srv.limiter.Succeeded(l.s.addr, name)
	return p, sequence, true
}

// register makes the session findable by its user. again tells that credentials have
// changed since the look-up.
func (l *login) register(p *query.Account, sequence uint64) (registered, again bool) {
	s, srv := l.s, l.s.srv
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.credentials > sequence {
		return false, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != loggingIn {
		srv.metrics.logins.WithLabelValues("abandoned").Inc()
		return false, false // its client has left
	}
	s.user, s.id, s.peopleSeq = p.GetUser(), srv.newID(), sequence
	s.clientType = uint8(l.req.GetClientType())
	s.class = uint8(event.ClassOf(uint32(l.req.GetClientType())))
	s.gate = &gate{} // pushes wait for 0x0104
	s.opening = true
	s.next = srv.byUser[s.user]
	srv.byUser[s.user] = s
	return true, false
}

// open appends SessionOpened and lets the outcome answer the client.
func (l *login) open(p *query.Account, sequence uint64, life event.ID) {
	s, srv := l.s, l.s.srv
	ev, err := commands.OpenSession{
		At: time.Now(), Session: s.id, Life: life, ClientType: l.req.GetClientType(),
		OnlineStatus: l.req.GetOnlineStatus(), ClientVersion: validText(l.req.GetClientVersion()), Policy: srv.policy,
	}.Decide(commands.LoginState{
		Person:         commands.Person{Number: p.GetUser(), Disabled: p.GetDisabled()},
		PasswordProved: true, PeopleSequence: sequence,
	})
	if err == nil {
		srv.node.Join(s)
		err = srv.node.Append(event.Presence, ev, func(r delivery.Result) { l.outcome(p, r) })
		if err != nil {
			srv.node.Leave(s)
		}
	}
	s.mu.Lock()
	s.opening = false
	s.opened = err == nil
	gone, reason := s.finished, s.reason
	s.mu.Unlock()
	if err != nil {
		srv.unregister(s)
		l.fail("unavailable", loginServer, textServer, err)
		return
	}
	if gone {
		s.depart(reason)
	}
}

// outcome hears what SessionOpened came to, under the node's lock.
func (l *login) outcome(p *query.Account, r delivery.Result) {
	s, srv := l.s, l.s.srv
	if r.Err != nil || r.Void != frame.Void_VOID_NONE {
		s.mu.Lock()
		s.logEnded = s.logEnded || r.Err == nil // it never lived
		s.mu.Unlock()
		err := r.Err
		if err == nil {
			err = errors.New(r.Void.String())
		}
		l.fail("unavailable", loginServer, textServer, err)
		return
	}
	s.mu.Lock()
	if s.state == loggingIn {
		s.state = open
		s.seen.Store(srv.tick())
		info := userInfo(p)
		info.Status = new(uint32(0))
		s.sendLocked(client.CmdLoginRes, l.seq, &imlogin.IMLoginRes{
			ServerTime: new(unixNow()), ResultCode: new(loginOK), ResultString: new(textOK),
			OnlineStatus: l.req.OnlineStatus, UserInfo: info,
		})
		s.release(nil, nil)
		if s.notice != 0 {
			s.desktopNotice(s.notice > 0)
			s.notice = 0
		}
		srv.metrics.logins.WithLabelValues("ok").Inc()
		srv.metrics.sessions.WithLabelValues(className(s.class)).Inc()
		s.live = true
		if srv.log.Enabled(srv.ctx, slog.LevelDebug) {
			srv.log.Debug("session opened", "session", s.id, "user", s.user, "addr", s.addr,
				"client", l.req.GetClientType(), "class", className(s.class))
		}
	}
	s.mu.Unlock()
	srv.node.NotifyFlush(s)
}

// fail answers a login that failed, and closes.
func (l *login) fail(result string, code imbase.ResultType, text string, why error) {
	s, srv := l.s, l.s.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != loggingIn {
		return
	}
	srv.metrics.logins.WithLabelValues(result).Inc()
	if srv.log.Enabled(srv.ctx, slog.LevelDebug) {
		srv.log.Debug("login failed", "addr", s.addr, "result", result, "err", why)
	}
	s.sendLocked(client.CmdLoginRes, l.seq, &imlogin.IMLoginRes{
		ServerTime: new(unixNow()), ResultCode: &code, ResultString: &text})
	s.closeLocked(event.EndReason_END_REASON_ABANDONED, true)
}

// validText cuts a client's free text down to what can be stored.
func validText(t string) string {
	if utf8.ValidString(t) {
		return t
	}
	return ""
}

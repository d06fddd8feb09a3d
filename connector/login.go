package connector

import (
	"context"
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"

	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/connector/identity"
	"godwit/internal/origin"
	"godwit/internal/password"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

// errCrowded: the user has as many sessions as one may have.
var errCrowded = errors.New("too many sessions of one user")

// errLate: the log did not show the session live in time, or too many passwords are
// being checked.
var errLate = errors.New("login took too long")

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

// supported are the features that this server has.
func (srv *Server) supported() uint32 {
	all := imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RECEIPTS | imextension.Feature_FEATURE_TYPING
	if srv.tokens.on() {
		all |= imextension.Feature_FEATURE_RESUME
	}
	return uint32(all)
}

// login is one login under way. It goes through two pools: one that looks things up, and
// one for passwords that must be checked the dear way, so that a crowd of guessers does
// not stand in the way of clients that were proved right lately.
type login struct {
	s    *session
	req  *imlogin.IMLoginReq
	name string // normalised
	life event.ID

	account  *query.Account // nil: nobody has the name
	sequence uint64         // PEOPLE position that account is from
	missed   uint64         // Server.missed before the look-up

	counted bool   // the limiter has let it try, and is to be told how it ends
	token   []byte // to be given with the answer
	expires uint32 // of token
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
		s.loginSeq = f.Seq
		s.deadline = s.srv.tick() + ticks(s.srv.limits.LoginWait)
	}
	s.mu.Unlock()
	if first {
		s.srv.logins.put(&login{s: s, req: req})
	}
	return true
}

// gone tells whether the client has left already.
func (l *login) gone() bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.state == loggingIn {
		return false
	}
	l.s.srv.metrics.logins.WithLabelValues("abandoned").Inc()
	return true
}

// look is the first part: everything that is cheap.
func (l *login) look() {
	srv := l.s.srv
	if l.gone() {
		return
	}
	if err := srv.node.Ready(); err != nil {
		l.fail("unavailable", loginServer, textServer, err)
		return
	}
	// Before the session is registered: a life that ends closes all registered sessions,
	// so that none of them may be opened in the next one.
	l.life = srv.node.Life()
	srv.mu.Lock()
	l.missed = srv.missed
	srv.mu.Unlock()
	l.name = commands.NormalName(l.req.GetUserName())
	if !utf8.ValidString(l.name) || len(l.name) > 4*commands.MaxName {
		l.name = "" // nobody has it
	}
	ctx, cancel := context.WithTimeout(srv.ctx, srv.limits.Ask)
	defer cancel()
	switch {
	case len(l.req.GetResumeToken()) > 0:
		l.resume(ctx)
		return
	case l.req.GetIdentityToken() != "" && srv.cfg.Identity != nil:
		l.identify(ctx)
		return
	}
	if err := srv.limiter.Allow(l.s.addr, l.name); err != nil {
		l.fail("limited", loginWrong, textTooOften, err)
		return
	}
	l.counted = true
	var err error
	if l.account, l.sequence, err = srv.accounts.find(ctx, l.name); err != nil {
		srv.limiter.Abandoned(l.s.addr, l.name)
		l.fail("unavailable", loginServer, textServer, err)
		return
	}
	if l.account != nil && srv.remembered.Check(l.name, l.req.GetPassword(), l.account.GetPasswordHash()) {
		l.proved()
		return
	}
	if !srv.checks.put(origin.Of(l.s.addr), l) {
		srv.limiter.Abandoned(l.s.addr, l.name)
	}
}

// resume lets in who brings a token of an earlier login. Nothing is guessed here, so nothing is
// counted: the chance to forge a token is none, and one that is good must pass also where
// somebody else fails again and again.
func (l *login) resume(ctx context.Context) {
	srv := l.s.srv
	if !srv.tokens.on() {
		l.fail("token", loginWrong, textWrong, errNoResume)
		return
	}
	user, credentials, err := srv.tokens.check(ctx, l.req.GetResumeToken(), time.Now())
	if err == nil && l.name == "" {
		l.name, err = srv.accounts.nameOf(ctx, user)
	}
	if err == nil {
		l.account, l.sequence, err = srv.accounts.find(ctx, l.name)
	}
	switch {
	case errors.Is(err, errForged), errors.Is(err, errExpired):
		l.fail("token", loginWrong, textWrong, err)
	case err != nil:
		l.fail("unavailable", loginServer, textServer, err)
	case l.account.GetUser() != user || user == 0 || l.account.GetCredentialsSequence() != credentials:
		l.fail("token", loginWrong, textWrong, errOutlived)
	default:
		l.proved()
	}
}

// identify lets in who brings the token of an identity provider, and makes the account of a
// first login where that is configured. The provider's signature can't be guessed either.
func (l *login) identify(ctx context.Context) {
	srv := l.s.srv
	claims, err := srv.cfg.Identity.Verify(ctx, l.req.GetIdentityToken())
	if err == nil {
		l.name = claims.Name
		l.account, l.sequence, err = srv.accounts.find(ctx, l.name)
	}
	if err == nil && l.account == nil && srv.cfg.Identity.Creates() {
		l.account, l.sequence, err = identity.Register(ctx, srv.node, claims, srv.cfg.Hasher.Unusable(), time.Now())
	}
	switch {
	case errors.Is(err, identity.ErrRefused):
		l.fail("token", loginWrong, textWrong, err)
	case err != nil:
		l.fail("unavailable", loginServer, textServer, err)
	case l.account == nil:
		l.fail("wrong", loginWrong, textWrong, commands.ErrNoSuchPerson)
	default:
		l.proved()
	}
}

// check is the second part, for a password that is not remembered.
func (l *login) check() {
	srv, text := l.s.srv, l.req.GetPassword()
	if l.gone() {
		srv.limiter.Abandoned(l.s.addr, l.name)
		return
	}
	ctx, cancel := context.WithTimeout(srv.ctx, srv.limits.Ask)
	defer cancel()
	right := false
	var err error
	if l.account == nil {
		err = srv.cfg.Hasher.VerifyNobody(ctx, text)
	} else if right, err = srv.cfg.Hasher.Verify(ctx, text, l.account.GetPasswordHash()); right {
		srv.remembered.Remember(l.name, text, l.account.GetUser(), l.account.GetPasswordHash())
	}
	switch {
	case err != nil:
		srv.limiter.Abandoned(l.s.addr, l.name)
		l.fail("unavailable", loginServer, textServer, err)
	case !right:
		srv.limiter.Failed(l.s.addr, l.name)
		l.fail("wrong", loginWrong, textWrong, commands.ErrWrongPassword)
	default:
		if password.Outdated(l.account.GetPasswordHash()) {
			l.rehash()
		}
		l.proved()
	}
}

// maxRehashing bounds the hashes that are being replaced or wait for it. Whose turn did not
// come keeps his until his next login.
const maxRehashing = 256

// rehash replaces the account's hash, whose password is known now, by one of our own. The
// login does not wait for it.
func (l *login) rehash() {
	srv, p, name, text := l.s.srv, l.account, l.name, l.req.GetPassword()
	if srv.rehashing.Add(1) > maxRehashing {
		srv.rehashing.Add(-1)
		return
	}
	work := func() {
		defer srv.rehashing.Add(-1)
		hash, err := srv.cfg.Hasher.Hash(srv.ctx, text)
		if err != nil {
			srv.log.Debug("hash not replaced", "user", p.GetUser(), "err", err)
			return
		}
		ev, err := commands.RehashPassword{
			At: time.Now(), User: p.GetUser(), PasswordHash: hash, CredentialsSequence: p.GetCredentialsSequence(),
		}.Decide(commands.Person{Number: p.GetUser(), Disabled: p.GetDisabled()})
		if err == nil {
			err = srv.node.Append(event.People, ev, func(r delivery.Result) {
				if r.Err == nil && r.Void == frame.Void_VOID_NONE {
					srv.remembered.Remember(name, text, p.GetUser(), hash)
				}
			})
		}
		if err != nil {
			srv.log.Warn("hash not replaced", "user", p.GetUser(), "err", err)
		}
	}
	if !srv.background(work) {
		srv.rehashing.Add(-1)
	}
}

// proved goes on with a login whose password, or token, is right.
func (l *login) proved() {
	srv := l.s.srv
	if l.account.GetDisabled() || l.account.GetEmployment() == left {
		if l.counted {
			srv.limiter.Abandoned(l.s.addr, l.name)
		}
		l.fail("disabled", loginWrong, textWrong, commands.ErrPersonDisabled)
		return
	}
	if l.counted {
		srv.limiter.Succeeded(l.s.addr, l.name)
		l.counted = false
	}
	if srv.tokens.on() && l.req.GetFeatures()&uint32(imextension.Feature_FEATURE_RESUME) != 0 {
		ctx, cancel := context.WithTimeout(srv.ctx, srv.limits.Ask)
		var err error
		l.token, l.expires, err = srv.tokens.issue(ctx, l.account.GetUser(), l.account.GetCredentialsSequence(), time.Now())
		cancel()
		if err != nil { // it gets in without
			srv.log.Warn("no resume token could be made", "err", err)
		}
	}
	switch registered, again := l.register(); {
	case again:
		// Somebody's credentials have changed since the look-up: it starts over, so that
		// the session either knows of the change or is found by it.
		srv.logins.put(l)
	case registered:
		l.open()
	}
}

// register makes the session findable by its user. again tells that credentials have
// changed since the look-up, or may have.
func (l *login) register() (registered, again bool) {
	s, srv := l.s, l.s.srv
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.credentials > l.sequence || srv.missed != l.missed {
		return false, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != loggingIn {
		srv.metrics.logins.WithLabelValues("abandoned").Inc()
		return false, false // its client has left
	}
	sessions := 0
	for o := srv.byUser[l.account.GetUser()]; o != nil; o = o.next {
		sessions++
	}
	if sessions >= srv.limits.PerUser {
		s.failLogin("crowded", loginServer, textServer, errCrowded)
		return false, false
	}
	s.user, s.id, s.peopleSeq = l.account.GetUser(), srv.newID(), l.sequence
	s.clientType = uint8(l.req.GetClientType())
	s.features = l.req.GetFeatures() & srv.supported()
	s.class = uint8(event.ClassOf(uint32(l.req.GetClientType())))
	s.gate = &gate{} // pushes wait for 0x0104
	s.opening = true
	s.next = srv.byUser[s.user]
	srv.byUser[s.user] = s
	return true, false
}

// open appends SessionOpened and lets the outcome answer the client.
func (l *login) open() {
	s, srv, p := l.s, l.s.srv, l.account
	ev, err := commands.OpenSession{
		At: time.Now(), Session: s.id, Life: l.life, ClientType: l.req.GetClientType(),
		OnlineStatus: l.req.GetOnlineStatus(), ClientVersion: validText(l.req.GetClientVersion()), Policy: srv.policy,
	}.Decide(commands.LoginState{
		Person:         commands.Person{Number: p.GetUser(), Disabled: p.GetDisabled()},
		PasswordProved: true, PeopleSequence: l.sequence,
	})
	if err == nil {
		srv.node.Join(s)
		err = srv.node.Append(event.Presence, ev, l.outcome)
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
func (l *login) outcome(r delivery.Result) {
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
		info := userInfo(l.account)
		info.Status = new(uint32(0))
		res := &imlogin.IMLoginRes{
			ServerTime: new(unixNow()), ResultCode: new(loginOK), ResultString: new(textOK),
			OnlineStatus: l.req.OnlineStatus, UserInfo: info,
		}
		if l.req.Features != nil {
			res.Features = new(s.features)
		}
		if len(l.token) > 0 {
			res.ResumeToken, res.ResumeExpires = l.token, &l.expires
		}
		s.sendLocked(client.CmdLoginRes, s.loginSeq, res)
		s.release(nil, nil)
		if l.req.SyncToken != nil {
			m := &imextension.SyncReq{SyncToken: l.req.SyncToken}
			s.line(question{seq: s.loginSeq, timeline: true, size: int32(len(m.SyncToken)),
				run: func(a *asking) error { return syncSince(a, m) }})
		}
		if s.notice != 0 {
			s.desktopNotice(s.notice > 0)
			s.notice = 0
		}
		s.leavingNotice()
		srv.metrics.logins.WithLabelValues("ok").Inc()
		srv.metrics.sessions.WithLabelValues(className(s.class)).Inc()
		s.live = true
		srv.present.add(s.addr, 1)
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
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.failLogin(result, code, text, why)
}

// failLogin is fail; mu is held.
func (s *session) failLogin(result string, code imbase.ResultType, text string, why error) {
	if s.state != loggingIn {
		return
	}
	s.srv.metrics.logins.WithLabelValues(result).Inc()
	if s.srv.log.Enabled(s.srv.ctx, slog.LevelDebug) {
		s.srv.log.Debug("login failed", "addr", s.addr, "result", result, "err", why)
	}
	s.sendLocked(client.CmdLoginRes, s.loginSeq, &imlogin.IMLoginRes{
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

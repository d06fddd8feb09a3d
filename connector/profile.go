package connector

import (
	"time"

	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// profileHandlers serve departments, avatars and signatures.
func profileHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdChangeAvatarReq:   body((*session).onChangeAvatar),
		client.CmdDepartmentReq:     other[imbuddy.IMDepartmentReq](departments),
		client.CmdChangeSignInfoReq: body((*session).onChangeSignature),
	}
}

// self is the session's user as a decision needs him: an account that exists, as nobody
// logs in to another, and nothing that he does to himself hangs on more.
func (s *session) self() commands.Person { return commands.Person{Number: s.user} }

// onChangeAvatar is 0x020c. Desktops are told by 0x0212, once the log holds it.
func (s *session) onChangeAvatar(seq uint16, m *imbuddy.IMChangeAvatarReq) bool {
	return s.changeProfile(commands.ChangeProfile{AvatarURL: m.AvatarUrl}, func(code uint32) {
		s.sendLocked(client.CmdChangeAvatarRsp, seq, &imbuddy.IMChangeAvatarRsp{UserId: &s.user, ResultCode: &code})
	})
}

// onChangeSignature is 0x0213. Everybody is told by 0x0215.
func (s *session) onChangeSignature(seq uint16, m *imbuddy.IMChangeSignInfoReq) bool {
	return s.changeProfile(commands.ChangeProfile{Signature: m.SignInfo}, func(code uint32) {
		rsp := &imbuddy.IMChangeSignInfoRsp{UserId: &s.user, ResultCode: &code}
		if code == 0 {
			rsp.SignInfo = m.SignInfo
		}
		s.sendLocked(client.CmdChangeSignInfoRsp, seq, rsp)
	})
}

// changeProfile appends a change of the user's own profile and answers with its result.
func (s *session) changeProfile(c commands.ChangeProfile, answer func(code uint32)) bool {
	c.At, c.User, c.Session = time.Now(), s.user, s.id
	ev, err := c.Decide(s.self())
	return s.appendOwn(ev, err, answer)
}

// appendOwn appends an event of the user about himself and answers with the result code:
// 0, also where it was so already, or 1. mu is held in answer.
func (s *session) appendOwn(ev *event.Event, err error, answer func(code uint32)) bool {
	if err != nil {
		s.mu.Lock()
		answer(failed)
		s.mu.Unlock()
		s.wire.Wake()
		return s.refused(err)
	}
	return s.append(event.People, ev, func(r delivery.Result) {
		switch {
		case r.Err != nil:
			s.srv.metrics.unknown.Inc()
			answer(failed)
		case r.Void != frame.Void_VOID_NONE && r.Void != frame.Void_VOID_NO_EFFECT:
			answer(failed)
		default:
			answer(0)
		}
	})
}

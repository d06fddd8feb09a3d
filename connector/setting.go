package connector

import (
	"time"

	"godwit/commands"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imlogin "godwit/schema/client/login"
	"godwit/schema/event"
	"godwit/schema/query"
)

// settingHandlers serve device tokens and quiet nights.
func settingHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdDeviceTokenReq:     body((*session).onDeviceToken),
		client.CmdPushShieldReq:      body((*session).onPushShield),
		client.CmdQueryPushShieldReq: settled[imlogin.IMQueryPushShieldReq](pushShield),
	}
}

// onDeviceToken is 0x0108, from phones only. Empty text takes the token away.
func (s *session) onDeviceToken(seq uint16, m *imlogin.IMDeviceTokenReq) bool {
	if !s.Mobile() {
		return true
	}
	ev, err := s.deviceToken(m.GetDeviceToken())
	if err != nil {
		return s.refused(err) // there is no result to tell it by
	}
	return s.appendOwn(ev, nil, func(code uint32) {
		if code == 0 {
			s.sendLocked(client.CmdDeviceTokenRsp, seq, &imlogin.IMDeviceTokenRsp{UserId: &s.user})
		}
	})
}

func (s *session) deviceToken(token string) (*event.Event, error) {
	return commands.SetDeviceToken{At: time.Now(), User: s.user, ClientType: imbase.ClientType(s.clientType), Token: token, Session: s.id}.Decide(s.self())
}

// onPushShield is 0x010c.
func (s *session) onPushShield(seq uint16, m *imlogin.IMPushShieldReq) bool {
	ev, err := commands.SetPushShield{At: time.Now(), User: s.user, On: m.GetShieldStatus() == 1, Session: s.id}.Decide(s.self())
	if m.GetShieldStatus() > 1 {
		ev, err = nil, commands.ErrField
	}
	return s.appendOwn(ev, err, func(code uint32) {
		rsp := &imlogin.IMPushShieldRsp{UserId: &s.user, ResultCode: &code}
		if code == 0 {
			rsp.ShieldStatus = m.ShieldStatus
		}
		s.sendLocked(client.CmdPushShieldRsp, seq, rsp)
	})
}

// pushShield is 0x010e.
func pushShield(a *asking, _ *imlogin.IMQueryPushShieldReq) error {
	ans, err := a.view(&query.Request{Body: &query.Request_Devices{Devices: &query.Devices{Users: []uint32{a.s.user}}}})
	if err != nil {
		return err
	}
	rsp := &imlogin.IMQueryPushShieldRsp{UserId: &a.s.user, ResultCode: new(failed)}
	for _, d := range ans.GetDevices().GetDevices() {
		status := uint32(0)
		if d.GetPushShield() {
			status = 1
		}
		rsp.ResultCode, rsp.ShieldStatus = new(uint32(0)), &status
	}
	return a.answer(client.CmdQueryPushShieldRsp, rsp)
}

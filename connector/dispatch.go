package connector

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/schema/client"
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/pdu"
)

const (
	cmdReceipt   = client.CmdMsgDataAck
	cmdHeartbeat = client.CmdHeartBeat
)

// handler serves one command. serve is false if the PDU must come again once the
// session is no longer held.
type handler struct {
	serve func(s *session, f *pdu.Frame) bool
	early bool // also before login
}

// lookup finds the handler of a command. Commands without one are ignored, as the
// protocol has it: those that only servers send, receipts, and numbers that are no
// command.
func lookup(command uint16) *handler {
	if service := command >> 8; service > client.ServiceExtension || command&0xff >= 0x40 {
		return nil
	}
	return handlers[command>>8][command&0x3f]
}

var handlers [client.ServiceExtension + 1][0x40]*handler

func init() {
	register(map[uint16]handler{
		client.CmdLoginReq:      {serve: (*session).onLogin, early: true},
		client.CmdHeartBeat:     {serve: (*session).onHeartbeat, early: true},
		client.CmdClientTimeReq: {serve: (*session).onTime, early: true},
		client.CmdLogoutReq:     {serve: (*session).onLogout},

		client.CmdKickPCClientReq:  body((*session).onKickPC),
		client.CmdMsgData:          {serve: (*session).onMessage},
		client.CmdMsgDataReadAck:   body((*session).onRead),
		client.CmdRemoveSessionReq: body((*session).onRemoveSession),

		// Questions about timelines.
		client.CmdRecentContactSessionReq: timeline[imbuddy.IMRecentContactSessionReq](recentSessions),
		client.CmdUnreadMsgCntReq:         timeline[immessage.IMUnreadMsgCntReq](unread),
		client.CmdGetMsgListReq:           timeline[immessage.IMGetMsgListReq](history),
		client.CmdGetLatestMsgIdReq:       timeline[immessage.IMGetLatestMsgIdReq](latestID),
		client.CmdGetMsgByIdReq:           timeline[immessage.IMGetMsgByIdReq](byIDs),

		// Questions about people and presence.
		client.CmdUsersInfoReq: other[imbuddy.IMUsersInfoReq](usersInfo),
		client.CmdAllUserReq:   other[imbuddy.IMAllUserReq](allUsers),
		client.CmdUsersStatReq: other[imbuddy.IMUsersStatReq](usersStatus),
	})
	register(groupHandlers())
	register(profileHandlers())
	register(settingHandlers())
	register(fileHandlers())
	register(changeHandlers())
	register(friendHandlers())
	register(syncHandlers())
}

func register(all map[uint16]handler) {
	for command, h := range all {
		handlers[command>>8][command&0x3f] = &h
	}
}

// request is a pointer to a message.
type request[T any] interface {
	*T
	proto.Message
}

// body makes a handler that is given the decoded body; one that can't be read is
// ignored.
func body[T any, P request[T]](serve func(s *session, seq uint16, m P) bool) handler {
	return handler{serve: func(s *session, f *pdu.Frame) bool {
		m := P(new(T))
		if client.Unmarshal(f.Body, m) != nil {
			return true
		}
		return serve(s, f.Seq, m)
	}}
}

// timeline makes a handler that puts a question to timelines.
func timeline[T any, P request[T]](run func(a *asking, m P) error) handler {
	return queued[T](question{timeline: true}, run)
}

// other makes a handler that puts a question to people or presence.
func other[T any, P request[T]](run func(a *asking, m P) error) handler {
	return queued[T](question{}, run)
}

// settled is other for a question whose answer hangs on what the session has just done.
func settled[T any, P request[T]](run func(a *asking, m P) error) handler {
	return queued[T](question{after: true}, run)
}

func queued[T any, P request[T]](q question, run func(a *asking, m P) error) handler {
	return handler{serve: func(s *session, f *pdu.Frame) bool {
		m := P(new(T))
		if client.Unmarshal(f.Body, m) != nil {
			return true
		}
		trim(m)
		q := q
		q.seq, q.size = f.Seq, int32(len(f.Body))
		q.run = func(a *asking) error { return run(a, m) }
		s.question(q)
		return true
	}}
}

// trim lets go of the part of a request that is not answered, before it waits in line.
func trim(m proto.Message) {
	switch m := m.(type) {
	case *imbuddy.IMUsersInfoReq:
		m.UserIdList = slices.Clone(m.UserIdList[:min(len(m.UserIdList), maxUsersInfo)])
		m.AttachData = nil
	case *imbuddy.IMUsersStatReq:
		m.UserIdList = slices.Clone(m.UserIdList[:min(len(m.UserIdList), maxUsersStat)])
		m.AttachData = nil
	case *imextension.SyncReq:
		if len(m.SyncToken) > maxSyncToken {
			m.SyncToken = nil // none of ours
		}
	case *imgroup.IMGroupInfoListReq:
		m.GroupVersionList = slices.Clone(m.GroupVersionList[:min(len(m.GroupVersionList), maxGroupInfos)])
		m.AttachData = nil
	case *imgroup.IMGroupCreateReq:
		m.MemberIdList = slices.Clone(m.MemberIdList[:min(len(m.MemberIdList), tooManyMembers)])
		m.AttachData = nil
	case *imgroup.IMGroupChangeMemberReq:
		m.MemberIdList = slices.Clone(m.MemberIdList[:min(len(m.MemberIdList), tooManyMembers)])
		m.AttachData = nil
	case *immessage.IMGetMsgByIdReq:
		slices.Sort(m.MsgIdList)
		ids := slices.Compact(m.MsgIdList)
		m.MsgIdList = slices.Clone(ids[max(0, len(ids)-maxByIDs):]) // the newest, as the original
		m.AttachData = nil
	}
}

func (s *session) onHeartbeat(f *pdu.Frame) bool {
	s.mu.Lock()
	s.write(func(b []byte) []byte { return append(b, f.Raw...) })
	s.mu.Unlock()
	return true
}

func (s *session) onTime(f *pdu.Frame) bool {
	s.send(client.CmdClientTimeRsp, f.Seq, &immessage.IMClientTimeRsp{ServerTime: new(unixNow())})
	return true
}

// onLogout is 0x0105. A phone that logs out gets no more pushes; a desktop or browser that
// does leaves the phone's alone.
func (s *session) onLogout(f *pdu.Frame) bool {
	seq := f.Seq
	bye := func() {
		s.sendLocked(client.CmdLogoutRsp, seq, &imlogin.IMLogoutRsp{ResultCode: new(uint32(0))})
		s.closeLocked(event.EndReason_END_REASON_LOGOUT, true)
	}
	if s.Mobile() {
		if ev, err := s.deviceToken(""); err == nil {
			taken := s.append(event.People, ev, func(delivery.Result) { bye() })
			if taken {
				s.mu.Lock()
				s.hold |= holdOver // nothing that follows is served
				s.mu.Unlock()
			}
			return taken
		}
	}
	s.mu.Lock()
	bye()
	s.mu.Unlock()
	return true
}

// failed is the result code of everything that is not a login.
const failed = uint32(1)

func unixNow() uint32 { return uint32(time.Now().Unix()) }

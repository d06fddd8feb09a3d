package connector

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imfile "godwit/schema/client/file"
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
// protocol has it: those that only servers send, receipts, and services that are not
// offered and whose requests have no answer.
func lookup(command uint16) *handler {
	if service := command >> 8; service >= 8 || command&0xff >= 0x40 {
		return nil
	}
	return handlers[command>>8][command&0x3f]
}

var handlers [8][0x40]*handler

func init() {
	for command, h := range map[uint16]handler{
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

		// Services that this server does not offer: what the original answers when it
		// has nothing, or when the server behind it is missing.
		client.CmdDeviceTokenReq:       body((*session).onDeviceToken),
		client.CmdPushShieldReq:        body((*session).onPushShield),
		client.CmdQueryPushShieldReq:   body((*session).onQueryPushShield),
		client.CmdChangeAvatarReq:      body((*session).onChangeAvatar),
		client.CmdDepartmentReq:        body((*session).onDepartments),
		client.CmdChangeSignInfoReq:    body((*session).onChangeSignature),
		client.CmdNormalGroupListReq:   body((*session).onGroupList),
		client.CmdGroupInfoListReq:     body((*session).onGroupInfo),
		client.CmdGroupCreateReq:       body((*session).onGroupCreate),
		client.CmdGroupChangeMemberReq: body((*session).onGroupChange),
		client.CmdGroupShieldReq:       body((*session).onGroupShield),
		client.CmdFileReq:              body((*session).onFile),
		client.CmdFileHasOfflineReq:    body((*session).onWaitingFiles),
	} {
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
	return queued[T](true, run)
}

// other makes a handler that puts a question to people or presence.
func other[T any, P request[T]](run func(a *asking, m P) error) handler {
	return queued[T](false, run)
}

func queued[T any, P request[T]](timeline bool, run func(a *asking, m P) error) handler {
	return handler{serve: func(s *session, f *pdu.Frame) bool {
		m := P(new(T))
		if client.Unmarshal(f.Body, m) != nil {
			return true
		}
		trim(m)
		s.question(question{seq: f.Seq, timeline: timeline, size: int32(len(f.Body)),
			run: func(a *asking) error { return run(a, m) }})
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

func (s *session) onLogout(f *pdu.Frame) bool {
	s.mu.Lock()
	s.sendLocked(client.CmdLogoutRsp, f.Seq, &imlogin.IMLogoutRsp{ResultCode: new(uint32(0))})
	s.closeLocked(event.EndReason_END_REASON_LOGOUT, true)
	s.mu.Unlock()
	return true
}

func (s *session) onDeviceToken(seq uint16, _ *imlogin.IMDeviceTokenReq) bool {
	if s.Mobile() {
		s.send(client.CmdDeviceTokenRsp, seq, &imlogin.IMDeviceTokenRsp{UserId: &s.user})
	}
	return true
}

func (s *session) onPushShield(seq uint16, _ *imlogin.IMPushShieldReq) bool {
	s.send(client.CmdPushShieldRsp, seq, &imlogin.IMPushShieldRsp{UserId: &s.user, ResultCode: new(failed)})
	return true
}

func (s *session) onQueryPushShield(seq uint16, _ *imlogin.IMQueryPushShieldReq) bool {
	s.send(client.CmdQueryPushShieldRsp, seq, &imlogin.IMQueryPushShieldRsp{UserId: &s.user, ResultCode: new(failed)})
	return true
}

func (s *session) onChangeAvatar(seq uint16, _ *imbuddy.IMChangeAvatarReq) bool {
	s.send(client.CmdChangeAvatarRsp, seq, &imbuddy.IMChangeAvatarRsp{UserId: &s.user, ResultCode: new(failed)})
	return true
}

func (s *session) onDepartments(seq uint16, m *imbuddy.IMDepartmentReq) bool {
	s.send(client.CmdDepartmentRsp, seq,
		&imbuddy.IMDepartmentRsp{UserId: &s.user, LatestUpdateTime: m.LatestUpdateTime})
	return true
}

func (s *session) onChangeSignature(seq uint16, _ *imbuddy.IMChangeSignInfoReq) bool {
	s.send(client.CmdChangeSignInfoRsp, seq, &imbuddy.IMChangeSignInfoRsp{UserId: &s.user, ResultCode: new(failed)})
	return true
}

func (s *session) onGroupList(seq uint16, _ *imgroup.IMNormalGroupListReq) bool {
	s.send(client.CmdNormalGroupListRsp, seq, &imgroup.IMNormalGroupListRsp{UserId: &s.user})
	return true
}

func (s *session) onGroupInfo(seq uint16, _ *imgroup.IMGroupInfoListReq) bool {
	s.send(client.CmdGroupInfoListRsp, seq, &imgroup.IMGroupInfoListRsp{UserId: &s.user})
	return true
}

func (s *session) onGroupCreate(seq uint16, m *imgroup.IMGroupCreateReq) bool {
	if m.GetGroupType() == imbase.GroupType_GROUP_TYPE_NORMAL {
		return true // not for clients to make, and not answered
	}
	s.send(client.CmdGroupCreateRsp, seq,
		&imgroup.IMGroupCreateRsp{UserId: &s.user, ResultCode: new(failed), GroupName: m.GroupName})
	return true
}

func (s *session) onGroupChange(seq uint16, m *imgroup.IMGroupChangeMemberReq) bool {
	s.send(client.CmdGroupChangeMemberRsp, seq, &imgroup.IMGroupChangeMemberRsp{
		UserId: &s.user, ChangeType: m.ChangeType, ResultCode: new(failed), GroupId: m.GroupId})
	return true
}

func (s *session) onGroupShield(seq uint16, m *imgroup.IMGroupShieldReq) bool {
	s.send(client.CmdGroupShieldRsp, seq,
		&imgroup.IMGroupShieldRsp{UserId: &s.user, GroupId: m.GroupId, ResultCode: new(failed)})
	return true
}

func (s *session) onFile(seq uint16, m *imfile.IMFileReq) bool {
	s.send(client.CmdFileRsp, seq, &imfile.IMFileRsp{ResultCode: new(failed), FromUserId: &s.user,
		ToUserId: m.ToUserId, FileName: m.FileName, TaskId: new(""), TransMode: m.TransMode})
	return true
}

func (s *session) onWaitingFiles(seq uint16, _ *imfile.IMFileHasOfflineReq) bool {
	s.send(client.CmdFileHasOfflineRsp, seq, &imfile.IMFileHasOfflineRsp{UserId: &s.user})
	return true
}

// failed is the result code of everything that is not a login.
const failed = uint32(1)

func unixNow() uint32 { return uint32(time.Now().Unix()) }

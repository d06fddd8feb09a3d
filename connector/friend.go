package connector

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/commands"
	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// friendHandlers serve friends and blocks.
func friendHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdFriendListReq: timeline[imextension.FriendListReq](friendList),
		client.CmdFriendReq:     settled[imextension.FriendReq](friendRequest),
	}
}

// blockedBytes is what a blocked user takes in an answer, at most.
const blockedBytes = 6

// friendList is 0x2011. What does not fit in one answer follows in others.
func friendList(a *asking, _ *imextension.FriendListReq) error {
	ans, err := a.view(&query.Request{Body: &query.Request_FriendList{FriendList: &query.FriendList{User: a.s.user}}})
	if err != nil {
		return err
	}
	blocked, err := a.blocks()
	if err != nil {
		return err
	}
	rsp, size := &imextension.FriendListRsp{}, 64
	room := func(n int) error {
		if size += n; size <= maxAnswer {
			return nil
		}
		rsp.More = new(true)
		err := a.answer(client.CmdFriendListRsp, rsp)
		rsp, size = &imextension.FriendListRsp{}, 64+n
		if err != nil {
			return err
		}
		return a.flush()
	}
	for _, f := range ans.GetFriendList().GetFriends() {
		info := friendInfo(f)
		if err := room(proto.Size(info) + 6); err != nil {
			return err
		}
		rsp.Friends = append(rsp.Friends, info)
	}
	for _, user := range blocked {
		if err := room(blockedBytes); err != nil {
			return err
		}
		rsp.Blocked = append(rsp.Blocked, user)
	}
	return a.answer(client.CmdFriendListRsp, rsp)
}

func friendInfo(f *query.Friend) *imextension.Friend {
	info := &imextension.Friend{UserId: &f.User, Since: &f.Since, State: new(imextension.FriendState_FRIEND_STATE_INCOMING)}
	switch {
	case f.GetFriends():
		info.State = new(imextension.FriendState_FRIEND_STATE_FRIEND)
	case f.GetOutgoing():
		info.State = new(imextension.FriendState_FRIEND_STATE_OUTGOING)
	}
	if f.GetRemark() != "" {
		info.Remark = &f.Remark
	}
	if f.GetText() != "" {
		info.Text = &f.Text
	}
	return info
}

// blocks are the users whom the asker blocks, ascending.
func (a *asking) blocks() ([]uint32, error) {
	ans, err := a.owners(&query.Request{Body: &query.Request_Blocks{Blocks: &query.Blocks{User: a.s.user}}})
	return slices.Sorted(slices.Values(ans.GetUsers().GetUsers())), err
}

// friendTexts are the longest texts of actions that have one, in bytes.
var friendTexts = map[imextension.FriendAction]int{
	imextension.FriendAction_FRIEND_ACTION_REQUEST: commands.MaxRequestText,
	imextension.FriendAction_FRIEND_ACTION_REMARK:  commands.MaxRemark,
}

// friendRequest is 0x2013. It is always answered.
func friendRequest(a *asking, m *imextension.FriendReq) error {
	refusal, err := a.friend(m)
	if err != nil {
		// Whatever became of it, the client can ask again.
		a.s.srv.log.Debug("friend request not decided", "user", a.s.user, "err", err)
		refusal = imextension.Refusal_REFUSAL_UNKNOWN
	}
	return a.answer(client.CmdFriendRsp, &imextension.FriendRsp{Refusal: &refusal, UserId: m.UserId, Action: m.Action})
}

// friend does what the request says; an error says that nobody knows whether it did.
func (a *asking) friend(m *imextension.FriendReq) (imextension.Refusal, error) {
	s, other := a.s, m.GetUserId()
	state, err := a.pair(other, m.GetAction() == imextension.FriendAction_FRIEND_ACTION_REQUEST)
	if err != nil {
		return 0, err
	}
	if longest, limited := friendTexts[m.GetAction()]; limited && len(m.GetText()) > longest {
		return imextension.Refusal_REFUSAL_LIMIT, nil
	}
	now, stream := time.Now(), event.People
	var ev *event.Event
	switch m.GetAction() {
	case imextension.FriendAction_FRIEND_ACTION_REQUEST:
		ev, err = commands.RequestFriend{At: now, From: s.user, To: other, Text: m.GetText(), Session: s.id}.Decide(state)
	case imextension.FriendAction_FRIEND_ACTION_ACCEPT, imextension.FriendAction_FRIEND_ACTION_REFUSE:
		accept := m.GetAction() == imextension.FriendAction_FRIEND_ACTION_ACCEPT
		ev, err = commands.AnswerFriend{At: now, User: s.user, Asker: other, Accept: accept, Session: s.id}.Decide(state)
	case imextension.FriendAction_FRIEND_ACTION_WITHDRAW:
		ev, err = commands.WithdrawFriend{At: now, From: s.user, To: other, Session: s.id}.Decide(state)
	case imextension.FriendAction_FRIEND_ACTION_REMOVE:
		ev, err = commands.Unfriend{At: now, A: s.user, B: other, User: s.user, Session: s.id}.Decide(state)
	case imextension.FriendAction_FRIEND_ACTION_REMARK:
		ev, err = commands.RemarkFriend{At: now, User: s.user, Friend: other, Remark: m.GetText(), Session: s.id}.Decide(state)
	case imextension.FriendAction_FRIEND_ACTION_BLOCK, imextension.FriendAction_FRIEND_ACTION_UNBLOCK:
		blocked := m.GetAction() == imextension.FriendAction_FRIEND_ACTION_BLOCK
		stream = event.Direct(s.user, other).Stream(s.srv.cfg.Partitions)
		ev, err = commands.BlockUser{At: now, User: s.user, Other: other, Blocked: blocked, Session: s.id}.Decide(state)
	default:
		return imextension.Refusal_REFUSAL_MALFORMED, nil
	}
	if err != nil {
		s.refused(err)
		return refusalOf(err), nil
	}
	r, err := a.append(stream, "", 0, ev)
	return refusalOfVoid(r.Void, false), err
}

// pair is what the views know of the asker and another user; who blocks whom only if that
// is needed.
func (a *asking) pair(other uint32, blocks bool) (commands.PairState, error) {
	s := a.s
	state := commands.PairState{A: s.self()}
	if other == 0 || other == s.user {
		return state, nil
	}
	ans, err := a.view(&query.Request{Body: &query.Request_Relations{Relations: &query.Relations{User: s.user, Others: []uint32{other}}}})
	if err != nil {
		return state, err
	}
	for _, r := range ans.GetRelations().GetRelations() {
		if r.GetExists() && r.GetOther() == other {
			state.B = commands.Person{Number: other, Disabled: r.GetDisabled()}
		}
		state.Friends, state.AAsked, state.BAsked = r.GetFriends(), r.GetOutgoing(), r.GetIncoming()
	}
	if !blocks || state.B.Number == 0 {
		return state, nil
	}
	between := event.Direct(s.user, other)
	for _, side := range [2][2]uint32{{s.user, other}, {other, s.user}} {
		ctx, cancel := a.timeout()
		ans, err := checked(s.srv.node.AskTimeline(ctx, between, &query.Request{Body: &query.Request_Blocks{
			Blocks: &query.Blocks{User: side[0], Streams: []uint32{uint32(between.Stream(s.srv.cfg.Partitions))}}}}))
		cancel()
		if err != nil {
			return state, err
		}
		state.Blocked = state.Blocked || slices.Contains(ans.GetUsers().GetUsers(), side[1])
	}
	return state, nil
}

// friendActions are what a client is told of what happened.
var friendActions = map[frame.FriendChange_Kind]imextension.FriendAction{
	frame.FriendChange_KIND_REQUESTED: imextension.FriendAction_FRIEND_ACTION_REQUEST,
	frame.FriendChange_KIND_FRIENDS:   imextension.FriendAction_FRIEND_ACTION_ACCEPT,
	frame.FriendChange_KIND_REFUSED:   imextension.FriendAction_FRIEND_ACTION_REFUSE,
	frame.FriendChange_KIND_WITHDRAWN: imextension.FriendAction_FRIEND_ACTION_WITHDRAW,
	frame.FriendChange_KIND_REMOVED:   imextension.FriendAction_FRIEND_ACTION_REMOVE,
	frame.FriendChange_KIND_REMARKED:  imextension.FriendAction_FRIEND_ACTION_REMARK,
}

// friendNotice tells a user's sessions, but the one that did it, of a change between him
// and another: 0x2015.
func (srv *Server) friendNotice(c *frame.FriendChange) {
	action, ok := friendActions[c.GetKind()]
	if !ok {
		return
	}
	m := &imextension.FriendNotify{UserId: &c.Other, Action: &action}
	if c.GetOwn() {
		m.Own = new(true)
	}
	if c.GetText() != "" {
		m.Text = &c.Text
	}
	by := event.ToID(c.GetSession())
	srv.each(c.GetUser(), func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state == open && s.id != by && s.has(imextension.Feature_FEATURE_NOTICES) {
			s.sendLocked(client.CmdFriendNotify, 0, m)
			s.wire.Wake()
		}
	})
}

// blockNotify is what another session of the user's has blocked or unblocked, as
// [session.appendPush] needs it; nil if it is none of this session's business.
func (s *session) blockNotify(c *frame.BlockChange) *imextension.FriendNotify {
	other, kind, ok := s.conversation(c.GetConversation(), c.GetUser())
	if !ok || kind != single || c.GetUser() != s.user || event.ToID(c.GetSession()) == s.id || !s.has(imextension.Feature_FEATURE_NOTICES) {
		return nil
	}
	action := imextension.FriendAction_FRIEND_ACTION_UNBLOCK
	if c.GetBlocked() {
		action = imextension.FriendAction_FRIEND_ACTION_BLOCK
	}
	return &imextension.FriendNotify{UserId: &other, Action: &action, Own: new(true)}
}

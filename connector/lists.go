package connector

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/client/content"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/query"
)

const (
	maxSessions = 100 // in an answer to 0x0201
	maxByIDs    = 100 // in an answer to 0x030d

	// maxPreview is the longest text that a list shows as it is, in bytes of msg_data; a
	// hundred of them fit in one answer. Of a longer one the beginning is shown.
	maxPreview     = 3 << 10
	previewLetters = 500
)

// voicePreview stands for a voice message in lists: the protocol's own text.
var voicePreview = content.EncryptText("[语音]")

// missingText stands for a message that another system had lost before it was imported.
var missingText = content.EncryptText("[missing at import]")

// moreText stands for a text that is not shown.
var moreText = content.EncryptText("…")

// shown is what clients are given of a message. Of one that was recalled or is missing it is
// a text that says so.
func (srv *Server) shown(m *query.Message) (t imbase.MsgType, data []byte) {
	t = imbase.MsgType(m.GetType())
	switch {
	case m.GetRecalled():
		return textOf(t), srv.recalled
	case m.GetMissing():
		return textOf(t), missingText
	case m.GetBody() == nil:
		return t, []byte{}
	}
	return t, m.GetBody()
}

// preview is what a list shows of a message.
func (srv *Server) preview(m *query.Message) (t imbase.MsgType, data []byte) {
	t, data = srv.shown(m)
	switch t {
	case imbase.MsgType_MSG_TYPE_SINGLE_AUDIO, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		return t, voicePreview
	}
	switch {
	case len(data) == 0:
		return t, moreText // the list was too long to bring it along
	case len(data) <= maxPreview:
		return t, data
	}
	text, err := content.DecryptText(data)
	if err != nil {
		return t, moreText
	}
	if letters := []rune(text); len(letters) > previewLetters {
		text = string(letters[:previewLetters]) + "…"
	}
	return t, content.EncryptText(text)
}

// entry is one conversation as a list shows it.
type entry struct {
	*query.ListEntry
	id   uint32
	kind imbase.SessionType
	from uint32
}

// entries are the conversations of an answer that hold a message, newest first.
func (a *asking) entries(ans *query.Answer) []entry {
	var all []entry
	for _, e := range ans.GetLists().GetEntries() {
		k, ok := event.ParseConversation(e.GetConversation())
		if !ok || e.GetHead() == 0 || !client.KnownMsgType(int32(e.GetLatest().GetType())) {
			continue
		}
		if k.IsDirect() {
			if peer := k.Peer(a.s.user); peer != 0 {
				// Of a conversation of two it is always the peer, whoever wrote last.
				all = append(all, entry{e, peer, single, peer})
			}
			continue
		}
		all = append(all, entry{e, k.GroupID(), group, e.GetLatest().GetFrom()})
	}
	slices.SortStableFunc(all, func(x, y entry) int { return int(int64(y.GetUpdated()) - int64(x.GetUpdated())) })
	return all
}

// fits cuts a list of messages where the next one would make the answer too large.
func fits[M proto.Message](list []M) []M {
	size := 64
	for i, m := range list {
		if size += proto.Size(m) + 6; size > maxAnswer {
			return list[:i]
		}
	}
	return list
}

// recentSessions is 0x0201.
func recentSessions(a *asking, m *imbuddy.IMRecentContactSessionReq) error {
	limit := uint32(maxSessions)
	if a.s.srv.cfg.Contacts == Friends {
		limit *= 10 // some of them are with strangers
	}
	ans, err := a.lists(&query.Lists{User: a.s.user, Since: m.GetLatestUpdateTime(), Limit: limit})
	if err != nil {
		return err
	}
	all, err := a.contacts(a.entries(ans))
	if err != nil {
		return err
	}
	var list []*imbase.ContactSessionInfo
	for _, e := range all {
		if len(list) == maxSessions {
			break
		}
		kind, text := a.s.srv.preview(e.Latest)
		list = append(list, &imbase.ContactSessionInfo{
			SessionId: &e.id, SessionType: &e.kind, SessionStatus: new(imbase.SessionStatusType_SESSION_STATUS_OK),
			UpdatedTime: &e.Updated, LatestMsgId: &e.Head, LatestMsgData: text,
			LatestMsgType: &kind, LatestMsgFromUserId: &e.from,
		})
	}
	return a.answer(client.CmdRecentContactSessionRsp,
		&imbuddy.IMRecentContactSessionRsp{UserId: &a.s.user, ContactSessionList: fits(list)})
}

// unread is 0x0307: conversations of two first, then groups. The total counts also
// what no longer fits in the list.
func unread(a *asking, _ *immessage.IMUnreadMsgCntReq) error {
	ans, err := a.lists(&query.Lists{User: a.s.user, UnreadOnly: true})
	if err != nil {
		return err
	}
	total := uint32(0)
	var singles, groups []*imbase.UnreadInfo
	for _, e := range a.entries(ans) {
		if e.Head <= e.Cursor {
			continue
		}
		n := e.Head - e.Cursor
		total += n
		kind, text := a.s.srv.preview(e.Latest)
		info := &imbase.UnreadInfo{
			SessionId: &e.id, SessionType: &e.kind, UnreadCnt: &n, LatestMsgId: &e.Head, LatestMsgData: text,
			LatestMsgType: &kind, LatestMsgFromUserId: &e.from,
		}
		if e.kind == single {
			singles = append(singles, info)
		} else {
			groups = append(groups, info)
		}
	}
	return a.answer(client.CmdUnreadMsgCntRsp, &immessage.IMUnreadMsgCntRsp{
		UserId: &a.s.user, TotalCnt: &total, UnreadinfoList: fits(append(singles, groups...))})
}

// readable is the conversation that a request names, if the session can have one: not with
// itself. Whether its user is a member of a group is known to the timeline.
func (a *asking) readable(kind imbase.SessionType, id uint32) (event.ConversationKey, bool) {
	if id == 0 || kind == single && id == a.s.user {
		return event.ConversationKey{}, false
	}
	return conversationOf(a.s.user, kind, id), true
}

// messages puts a view's messages into a client's form, newest first.
func (srv *Server) messages(ans *query.Answer) []*imbase.MsgInfo {
	var list []*imbase.MsgInfo
	for _, m := range ans.GetMessages().GetMessages() {
		if !client.KnownMsgType(int32(m.GetType())) {
			continue
		}
		list = append(list, srv.msgInfo(m))
	}
	slices.SortStableFunc(list, func(x, y *imbase.MsgInfo) int { return int(int64(y.GetMsgId()) - int64(x.GetMsgId())) })
	return fits(list)
}

// history is 0x0309.
func history(a *asking, m *immessage.IMGetMsgListReq) error {
	var list []*imbase.MsgInfo
	if k, ok := a.readable(m.GetSessionType(), m.GetSessionId()); ok && m.GetMsgCnt() > 0 {
		ans, err := a.timeline(k, &query.Request{Body: &query.Request_History{History: &query.History{
			Conversation: k[:], User: a.s.user, Begin: m.GetMsgIdBegin(),
			Count: min(m.GetMsgCnt(), uint32(a.s.srv.limits.HistoryCount)), MaxBytes: maxAnswer,
		}}})
		if err != nil {
			return err
		}
		list = a.s.srv.messages(ans)
	}
	return a.answer(client.CmdGetMsgListRsp, &immessage.IMGetMsgListRsp{UserId: &a.s.user, SessionType: m.SessionType,
		SessionId: m.SessionId, MsgIdBegin: m.MsgIdBegin, MsgList: list})
}

// byIDs is 0x030d, with the ids as trim leaves them.
func byIDs(a *asking, m *immessage.IMGetMsgByIdReq) error {
	ids := m.GetMsgIdList()
	var list []*imbase.MsgInfo
	if k, ok := a.readable(m.GetSessionType(), m.GetSessionId()); ok && len(ids) > 0 {
		ans, err := a.timeline(k, &query.Request{Body: &query.Request_ByIds{ByIds: &query.ByIds{
			Conversation: k[:], User: a.s.user, Ids: ids, MaxBytes: maxAnswer,
		}}})
		if err != nil {
			return err
		}
		list = a.s.srv.messages(ans)
	}
	return a.answer(client.CmdGetMsgByIdRsp, &immessage.IMGetMsgByIdRsp{UserId: &a.s.user, SessionType: m.SessionType,
		SessionId: m.SessionId, MsgList: list})
}

// latestID is 0x030b.
func latestID(a *asking, m *immessage.IMGetLatestMsgIdReq) error {
	head := uint32(0)
	if k, ok := a.readable(m.GetSessionType(), m.GetSessionId()); ok {
		ans, err := a.timeline(k, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: k[:], User: a.s.user}}})
		if err != nil {
			return err
		}
		head = ans.GetHead().GetHead()
	}
	return a.answer(client.CmdGetLatestMsgIdRsp, &immessage.IMGetLatestMsgIdRsp{UserId: &a.s.user,
		SessionType: m.SessionType, SessionId: m.SessionId, LatestMsgId: &head})
}

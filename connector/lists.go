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

// preview is what a list shows of a message.
func preview(m *query.Message) []byte {
	switch imbase.MsgType(m.GetType()) {
	case imbase.MsgType_MSG_TYPE_SINGLE_AUDIO, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		return voicePreview
	}
	if len(m.GetBody()) <= maxPreview {
		return m.GetBody()
	}
	text, err := content.DecryptText(m.GetBody())
	if err != nil {
		return content.EncryptText("…")
	}
	if letters := []rune(text); len(letters) > previewLetters {
		text = string(letters[:previewLetters]) + "…"
	}
	return content.EncryptText(text)
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
	ans, err := a.lists(&query.Lists{User: a.s.user, Since: m.GetLatestUpdateTime(), Limit: maxSessions})
	if err != nil {
		return err
	}
	var list []*imbase.ContactSessionInfo
	for _, e := range a.entries(ans) {
		if len(list) == maxSessions {
			break
		}
		list = append(list, &imbase.ContactSessionInfo{
			SessionId: &e.id, SessionType: &e.kind, SessionStatus: new(imbase.SessionStatusType_SESSION_STATUS_OK),
			UpdatedTime: &e.Updated, LatestMsgId: &e.Head, LatestMsgData: preview(e.Latest),
			LatestMsgType: new(imbase.MsgType(e.Latest.GetType())), LatestMsgFromUserId: &e.from,
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
		info := &imbase.UnreadInfo{
			SessionId: &e.id, SessionType: &e.kind, UnreadCnt: &n, LatestMsgId: &e.Head, LatestMsgData: preview(e.Latest),
			LatestMsgType: new(imbase.MsgType(e.Latest.GetType())), LatestMsgFromUserId: &e.from,
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

// readable is the conversation that a request names, if the session can have one: not
// with itself, and no group, of which nobody is a member yet.
func (a *asking) readable(kind imbase.SessionType, id uint32) (event.ConversationKey, bool) {
	if kind != single || id == 0 || id == a.s.user {
		return event.ConversationKey{}, false
	}
	return event.Direct(a.s.user, id), true
}

// messages puts a view's messages into a client's form, newest first.
func messages(ans *query.Answer) []*imbase.MsgInfo {
	var list []*imbase.MsgInfo
	for _, m := range ans.GetMessages().GetMessages() {
		if !client.KnownMsgType(int32(m.GetType())) {
			continue
		}
		data := m.GetBody()
		if data == nil {
			data = []byte{}
		}
		list = append(list, &imbase.MsgInfo{MsgId: &m.Id, FromSessionId: &m.From, CreateTime: &m.Created,
			MsgType: new(imbase.MsgType(m.GetType())), MsgData: data})
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
		list = messages(ans)
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
		list = messages(ans)
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

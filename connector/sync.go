package connector

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	"godwit/schema/event"
	"godwit/schema/query"
)

// syncHandlers serve what has changed since a token.
func syncHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdSyncReq: timeline[imextension.SyncReq](syncSince),
	}
}

// A sync token says up to where a client has seen everything. Numbers are big-endian:
//
//	0  1  version, 1
//	1  4  user number
//	5  4  of people: the newest change, as Account.updated
//	   for each conversation stream, in order:
//	   4  end of the stream's epoch, all zero where nothing of it was seen
//	   .  position, as a varint
//
// It is not signed: a client could only keep something from itself. One that can't be read,
// of another user, or of another history is as good as none.
const (
	syncVersion  = 1
	syncHead     = 9
	syncEpoch    = 4
	maxSyncToken = syncHead + event.MaxPartitions*(syncEpoch+binary.MaxVarintLen64)
)

// seenUpTo is a sync token that was read.
type seenUpTo struct {
	people  uint32
	streams []*query.AtLeast // by partition; nil: nothing of it was seen
}

// nothing is what a client has seen that comes without a token.
func (srv *Server) nothing() seenUpTo {
	return seenUpTo{streams: make([]*query.AtLeast, srv.cfg.Partitions)}
}

// parseSync reads a token of the user's; ok is false where it is as good as none.
func (srv *Server) parseSync(token []byte, user uint32) (at seenUpTo, ok bool) {
	none := srv.nothing()
	if len(token) < syncHead || token[0] != syncVersion || binary.BigEndian.Uint32(token[1:]) != user {
		return none, false
	}
	at = srv.nothing()
	at.people = binary.BigEndian.Uint32(token[5:])
	token = token[syncHead:]
	for p := range at.streams {
		if len(token) < syncEpoch {
			return none, false
		}
		seen := [syncEpoch]byte(token)
		sequence, n := binary.Uvarint(token[syncEpoch:])
		if n <= 0 {
			return none, false
		}
		token = token[syncEpoch+n:]
		if seen == [syncEpoch]byte{} && sequence == 0 {
			continue
		}
		epoch := srv.node.Epoch(event.ConversationStream(p))
		if [syncEpoch]byte(epoch[len(epoch)-syncEpoch:]) != seen {
			return none, false
		}
		at.streams[p] = &query.AtLeast{Stream: uint32(event.ConversationStream(p)), Sequence: sequence, Epoch: epoch[:]}
	}
	if len(token) > 0 {
		return none, false
	}
	return at, true
}

// token is what parseSync reads.
func (at seenUpTo) token(user uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{syncVersion}, user)
	b = binary.BigEndian.AppendUint32(b, at.people)
	for _, p := range at.streams {
		if epoch := p.GetEpoch(); len(epoch) >= syncEpoch {
			b = append(b, epoch[len(epoch)-syncEpoch:]...)
			b = binary.AppendUvarint(b, p.GetSequence())
		} else {
			b = append(b, 0, 0, 0, 0, 0)
		}
	}
	return b
}

// since are the positions to ask with.
func (at seenUpTo) since() []*query.AtLeast {
	return slices.DeleteFunc(slices.Clone(at.streams), func(p *query.AtLeast) bool { return p == nil })
}

// advance is at with the positions up to which an answer is complete.
func (at seenUpTo) advance(next []*query.AtLeast) seenUpTo {
	at.streams = slices.Clone(at.streams)
	for _, p := range next {
		if s := event.Stream(p.GetStream()); s.IsConversation() && s.Partition() < len(at.streams) {
			at.streams[s.Partition()] = p
		}
	}
	return at
}

// syncSince is 0x2001, and what follows a login with a sync token. The conversations come from
// the timelines page by page, and from here in PDUs that fit; each carries the token of what
// is complete by then. What belongs to people comes last, and so does its part of the token:
// a client that left in the middle is told of it again.
func syncSince(a *asking, m *imextension.SyncReq) error {
	srv, user := a.s.srv, a.s.user
	at, known := srv.parseSync(m.GetSyncToken(), user)
	people, err := a.view(&query.Request{Body: &query.Request_PeopleChanged{PeopleChanged: &query.PeopleChanged{
		User: user, Since: at.people, FriendsOnly: srv.cfg.Contacts == Friends,
	}}})
	if err != nil {
		return err
	}
	whole := !known
	for {
		ans, err := a.changes(at)
		if err == nil && lost(at, ans.GetSync().GetWhole()) {
			whole, at = true, srv.nothing()
			ans, err = a.changes(at)
		}
		if err != nil {
			return err
		}
		got := ans.GetSync()
		strangers := slices.ContainsFunc(got.GetEntries(), nobodyWrote)
		entries := a.syncEntries(got.GetEntries())
		next := at.advance(got.GetNext())
		more := got.GetMore()
		if more && len(entries) == 0 && bytes.Equal(next.token(user), at.token(user)) {
			return errors.New("sync: a page that leads nowhere")
		}
		for {
			fit := fits(entries)
			entries = entries[len(fit):]
			rsp := &imextension.SyncRsp{Entries: fit}
			if whole {
				rsp.Whole, whole = new(true), false
			}
			if len(entries) == 0 {
				at = next
				rsp.FriendsChanged = yes(strangers) // they are in the friend list
			}
			if len(entries) == 0 && !more {
				p := people.GetPeopleChanged()
				at.people = p.GetLatest()
				rsp.DirectoryChanged, rsp.DepartmentsChanged = yes(p.GetDirectory()), yes(p.GetDepartments())
				rsp.FriendsChanged = yes(strangers || p.GetFriends())
				rsp.SyncToken = at.token(user)
				return a.answer(client.CmdSyncRsp, rsp)
			}
			rsp.More, rsp.SyncToken = new(true), at.token(user)
			if err := a.answer(client.CmdSyncRsp, rsp); err != nil {
				return err
			}
			if err := a.flush(); err != nil {
				return err
			}
			if len(entries) == 0 {
				break
			}
		}
	}
}

// yes is a flag that is left out where it is false.
func yes(b bool) *bool {
	if b {
		return &b
	}
	return nil
}

// lost tells whether one of the positions that were asked with was no good.
func lost(at seenUpTo, whole []uint32) bool {
	return slices.ContainsFunc(whole, func(s uint32) bool {
		p := event.Stream(s).Partition()
		return p >= 0 && p < len(at.streams) && at.streams[p] != nil
	})
}

// changes asks all timelines for one page of what has changed.
func (a *asking) changes(at seenUpTo) (*query.Answer, error) {
	ctx, cancel := a.timeout()
	defer cancel()
	ans, err := checked(a.s.srv.node.AskLists(ctx, &query.Request{Body: &query.Request_Sync{
		Sync: &query.Sync{User: a.s.user, Since: at.since()}}}))
	a.at = ans.GetAt()
	return ans, err
}

// nobodyWrote tells what is no conversation: of two who have never written, where one blocks
// the other, or has ceased to.
func nobodyWrote(e *query.SyncEntry) bool {
	k, ok := event.ParseConversation(e.GetConversation())
	return ok && k.IsDirect() && e.GetHead() == 0 && !e.GetLeft()
}

// syncEntries puts conversations into a client's form, oldest change first.
func (a *asking) syncEntries(list []*query.SyncEntry) []*imextension.SyncEntry {
	slices.SortStableFunc(list, func(x, y *query.SyncEntry) int { return cmp.Compare(x.GetUpdated(), y.GetUpdated()) })
	var all []*imextension.SyncEntry
	for _, e := range list {
		k, ok := event.ParseConversation(e.GetConversation())
		if !ok || nobodyWrote(e) {
			continue
		}
		id, kind := k.GroupID(), group
		if k.IsDirect() {
			if id, kind = k.Peer(a.s.user), single; id == 0 {
				continue
			}
		}
		out := &imextension.SyncEntry{SessionId: &id, SessionType: &kind, LatestMsgId: &e.Head, ReadMsgId: &e.Cursor}
		all = append(all, out)
		if e.GetLeft() {
			out.Left = new(true)
			continue
		}
		out.UpdatedTime = nonzero(e.GetUpdated())
		out.Removed, out.Shielded, out.Blocked = yes(e.GetRemoved()), yes(e.GetShielded()), yes(e.GetBlocked())
		out.Version, out.PeerRead, out.PeerDelivered = nonzero(e.GetVersion()), nonzero(e.GetPeerRead()), nonzero(e.GetPeerDelivered())
		if m := e.GetLatest(); m != nil && client.KnownMsgType(int32(m.GetType())) {
			out.Latest = a.s.srv.brief(m)
		}
		// What is too much for one entry comes in further ones of the same conversation.
		part := out
		for ids := range slices.Chunk(e.GetChanged(), maxChanged) {
			if part.Changed != nil {
				part = proto.CloneOf(part)
				part.Latest = nil
				all = append(all, part)
			}
			part.Changed = ids
		}
	}
	return all
}

// maxChanged bounds the ids of recalled and edited messages in one entry.
const maxChanged = 1000

func nonzero(n uint32) *uint32 {
	if n == 0 {
		return nil
	}
	return &n
}

// msgInfo is a message as clients are given it.
func (srv *Server) msgInfo(m *query.Message) *imbase.MsgInfo {
	kind, data := srv.shown(m)
	info := &imbase.MsgInfo{MsgId: &m.Id, FromSessionId: &m.From, CreateTime: &m.Created, MsgType: &kind, MsgData: data,
		Edits: nonzero(m.GetEdits()), Recalled: yes(m.GetRecalled())}
	if id := m.GetClientMessageId(); len(id) > 0 {
		info.ClientMessageId = id
	}
	return info
}

// brief is a message in a list: without its body if that is large, or voice.
func (srv *Server) brief(m *query.Message) *imbase.MsgInfo {
	info := srv.msgInfo(m)
	if len(info.GetMsgData()) > maxPreview {
		info.MsgData = []byte{}
	}
	return info
}

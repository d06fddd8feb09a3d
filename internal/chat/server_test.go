package chat

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	imlogin "godwit/schema/client/login"
	immsg "godwit/schema/client/message"
	"godwit/schema/pdu"
)

// world is a small server: three people, of whom number 1 chats. It answers as the
// protocol says and does what a test makes it do besides.
type world struct {
	t    *testing.T
	l    net.Listener
	done sync.WaitGroup

	mu       sync.Mutex
	conn     net.Conn // of person 1, nil while he is away
	logins   int
	online   map[uint32]bool
	store    map[uint32][]*imbase.MsgInfo // with each peer, oldest first
	cursor   map[uint32]uint32
	received map[uint32]uint32
	repeats  map[uint16]string // body of a message by its number
	sent     int               // message requests

	registered []*imbase.UserInfo // people who came later

	// onSend runs at a message request, before anything else. False: the request is
	// stored and the connection cut, so that its ack is lost.
	onSend func(n int) bool
	refuse imbase.ResultType
}

var names = map[uint32]string{1: "ann", 2: "bob", 3: "cyd"}

func newWorld(t *testing.T) *world {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, l: l, online: map[uint32]bool{2: true}, store: map[uint32][]*imbase.MsgInfo{},
		cursor: map[uint32]uint32{}, received: map[uint32]uint32{}, repeats: map[uint16]string{},
	}
	w.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.done.Go(func() { w.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		w.done.Wait()
	})
	return w
}

// cut ends the connection.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

func (w *world) serve(conn net.Conn) {
	defer conn.Close()
	for {
		head := make([]byte, pdu.HeaderLen)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		raw := append(head, make([]byte, binary.BigEndian.Uint32(head)-pdu.HeaderLen)...)
		if _, err := io.ReadFull(conn, raw[pdu.HeaderLen:]); err != nil {
			return
		}
		f, _, err := pdu.Next(raw, pdu.MaxAfterLogin)
		if err != nil {
			return
		}
		if f.Command == client.CmdHeartBeat {
			_, _ = conn.Write(raw)
			continue
		}
		m, err := client.Decode(f.Command, f.Body)
		if err != nil {
			w.t.Errorf("request 0x%04x: %v", f.Command, err)
			return
		}
		if !w.answer(conn, f, m) {
			return
		}
	}
}

func (w *world) writeLocked(conn net.Conn, command, seq uint16, m proto.Message) {
	b, err := pdu.AppendMessage(nil, command, seq, m)
	if err != nil {
		w.t.Errorf("answer 0x%04x: %v", command, err)
		return
	}
	_, _ = conn.Write(b)
}

// push sends person 1 something unasked.
func (w *world) push(command uint16, m proto.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		w.writeLocked(w.conn, command, 0, m)
	}
}

// say stores a message of from to the conversation with peer, and pushes it if asked.
func (w *world) say(peer, from uint32, text string, live bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.keepLocked(peer, from, content.EncryptText(text))
	if live && w.conn != nil {
		to := uint32(1)
		if from == 1 {
			to = peer
		}
		w.writeLocked(w.conn, client.CmdMsgData, 0, &immsg.IMMsgData{
			FromUserId: &from, ToSessionId: &to, MsgId: m.MsgId, CreateTime: m.CreateTime, MsgType: m.MsgType, MsgData: m.MsgData,
		})
	}
}

func (w *world) keepLocked(peer, from uint32, data []byte) *imbase.MsgInfo {
	m := &imbase.MsgInfo{
		MsgId: new(uint32(len(w.store[peer]) + 1)), FromSessionId: &from, CreateTime: new(uint32(1_700_000_000)),
		MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: data,
	}
	w.store[peer] = append(w.store[peer], m)
	if from == 1 {
		w.cursor[peer] = m.GetMsgId()
	}
	return m
}

func info(id uint32) *imbase.UserInfo {
	zero, none := new(uint32(0)), new("")
	return &imbase.UserInfo{
		UserId: &id, UserGender: zero, UserNickName: new(names[id]), AvatarUrl: none, DepartmentId: zero, Email: none,
		UserRealName: new(names[id]), UserTel: none, UserDomain: none, Status: zero,
	}
}

func (w *world) answer(conn net.Conn, f pdu.Frame, m proto.Message) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	me := new(uint32(1))
	reply := func(command uint16, m proto.Message) { w.writeLocked(conn, command, f.Seq, m) }
	single := imbase.SessionType_SESSION_TYPE_SINGLE.Enum()
	switch m := m.(type) {
	case *imlogin.IMLoginReq:
		res := &imlogin.IMLoginRes{ServerTime: new(uint32(1)), ResultCode: w.refuse.Enum()}
		if w.refuse == imbase.ResultType_REFUSE_REASON_NONE {
			res.UserInfo = info(1)
			w.conn = conn
		}
		w.logins++
		reply(client.CmdLoginRes, res)
		return w.refuse == imbase.ResultType_REFUSE_REASON_NONE
	case *imlogin.IMLogoutReq:
		reply(client.CmdLogoutRsp, &imlogin.IMLogoutRsp{ResultCode: new(uint32(0))})
		return false
	case *imbuddy.IMAllUserReq:
		list := []*imbase.UserInfo{info(1), info(2), info(3)}
		if m.GetLatestUpdateTime() > 0 {
			list = w.registered
		}
		reply(client.CmdAllUserRsp, &imbuddy.IMAllUserRsp{UserId: me, LatestUpdateTime: new(uint32(5)), UserList: list})
	case *imbuddy.IMUsersStatReq:
		res := &imbuddy.IMUsersStatRsp{UserId: me}
		for _, id := range m.GetUserIdList() {
			res.UserStatList = append(res.UserStatList, stat(id, w.online[id]))
		}
		reply(client.CmdUsersStatRsp, res)
	case *imbuddy.IMRecentContactSessionReq:
		res := &imbuddy.IMRecentContactSessionRsp{UserId: me}
		for _, peer := range []uint32{2, 3} {
			if all := w.store[peer]; len(all) > 0 {
				last := all[len(all)-1]
				res.ContactSessionList = append(res.ContactSessionList, &imbase.ContactSessionInfo{
					SessionId: &peer, SessionType: single, SessionStatus: imbase.SessionStatusType_SESSION_STATUS_OK.Enum(),
					UpdatedTime: new(uint32(1)), LatestMsgId: last.MsgId, LatestMsgData: last.MsgData, LatestMsgType: last.MsgType,
					LatestMsgFromUserId: &peer,
				})
			}
		}
		reply(client.CmdRecentContactSessionRsp, res)
	case *immsg.IMUnreadMsgCntReq:
		res := &immsg.IMUnreadMsgCntRsp{UserId: me, TotalCnt: new(uint32(0))}
		for _, peer := range []uint32{2, 3} {
			all := w.store[peer]
			if n := uint32(len(all)) - w.cursor[peer]; n > 0 {
				*res.TotalCnt += n
				last := all[len(all)-1]
				res.UnreadinfoList = append(res.UnreadinfoList, &imbase.UnreadInfo{
					SessionId: &peer, SessionType: single, UnreadCnt: &n, LatestMsgId: last.MsgId, LatestMsgData: last.MsgData,
					LatestMsgType: last.MsgType, LatestMsgFromUserId: &peer,
				})
			}
		}
		reply(client.CmdUnreadMsgCntRsp, res)
	case *immsg.IMGetMsgListReq:
		all := slices.Clone(w.store[m.GetSessionId()])
		slices.Reverse(all)
		reply(client.CmdGetMsgListRsp, &immsg.IMGetMsgListRsp{
			UserId: me, SessionType: single, SessionId: m.SessionId, MsgIdBegin: m.MsgIdBegin,
			MsgList: all[:min(int(m.GetMsgCnt()), len(all))],
		})
	case *immsg.IMMsgDataReadAck:
		w.cursor[m.GetSessionId()] = m.GetMsgId()
	case *immsg.IMMsgData:
		return w.sendLocked(f, m, reply)
	case *imgroup.IMNormalGroupListReq:
		reply(client.CmdNormalGroupListRsp, &imgroup.IMNormalGroupListRsp{UserId: me})
	case *imextension.ReceivedReq:
		w.received[m.GetSessionId()] = m.GetMsgId()
	case *imlogin.IMKickPCClientReq:
		reply(client.CmdKickPCClientRsp, &imlogin.IMKickPCClientRsp{UserId: me, ResultCode: new(uint32(0))})
	default:
		w.t.Errorf("request %T", m)
	}
	return true
}

func (w *world) sendLocked(f pdu.Frame, m *immsg.IMMsgData, reply func(uint16, proto.Message)) bool {
	w.sent++
	keepOn := w.onSend == nil || w.onSend(w.sent)
	id := uint32(0)
	if body, again := w.repeats[f.Seq]; again {
		if body != string(f.Body) {
			w.t.Errorf("number %d comes again with another body", f.Seq)
		}
		for _, old := range w.store[m.GetToSessionId()] {
			if string(old.GetMsgData()) == string(m.GetMsgData()) {
				id = old.GetMsgId()
			}
		}
	} else {
		w.repeats[f.Seq] = string(f.Body)
		id = w.keepLocked(m.GetToSessionId(), 1, m.GetMsgData()).GetMsgId()
	}
	if !keepOn {
		return false
	}
	reply(client.CmdMsgDataAck, &immsg.IMMsgDataAck{
		UserId: new(uint32(1)), SessionId: m.ToSessionId, MsgId: &id, SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(),
	})
	return true
}

func stat(id uint32, online bool) *imbase.UserStat {
	s := imbase.UserStatType_USER_STATUS_OFFLINE
	if online {
		s = imbase.UserStatType_USER_STATUS_ONLINE
	}
	return &imbase.UserStat{UserId: &id, Status: s.Enum()}
}

package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immsg "godwit/schema/client/message"
	"godwit/schema/pdu"
)

// syncServer knows people by number (bench-N has N), and of everybody's conversations when
// they changed last. Its tokens are that time.
type syncServer struct {
	t    *testing.T
	l    net.Listener
	done sync.WaitGroup
	// spoil may change what is answered.
	spoil func(m proto.Message)

	mu    sync.Mutex
	clock uint32
	heads map[[2]uint32]uint32
	at    map[[2]uint32]uint32
	conns []net.Conn
}

func startSyncServer(t *testing.T, spoil func(m proto.Message)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &syncServer{t: t, l: l, spoil: spoil, heads: map[[2]uint32]uint32{}, at: map[[2]uint32]uint32{}}
	s.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.done.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return l.Addr().String()
}

func (s *syncServer) serve(conn net.Conn) {
	defer conn.Close()
	user := uint32(0)
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		f, n, err := pdu.Next(buf, pdu.MaxAfterLogin)
		if err != nil {
			return
		}
		if n == 0 {
			k, err := conn.Read(chunk)
			if err != nil {
				return
			}
			buf = append(buf, chunk[:k]...)
			continue
		}
		req, err := client.Decode(f.Command, f.Body)
		if err != nil {
			s.t.Error(err)
			return
		}
		for _, a := range s.answer(&user, req) {
			if s.spoil != nil {
				s.spoil(a.m)
			}
			b, err := pdu.AppendMessage(nil, a.command, f.Seq, a.m)
			if err != nil {
				s.t.Error(err)
			}
			_, _ = conn.Write(b)
		}
		buf = buf[n:]
	}
}

type syncAnswer struct {
	command uint16
	m       proto.Message
}

func (s *syncServer) answer(user *uint32, req proto.Message) []syncAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m := req.(type) {
	case *imlogin.IMLoginReq:
		_, _ = fmt.Sscanf(m.GetUserName(), "bench-%d", user)
		all := []syncAnswer{{client.CmdLoginRes, &imlogin.IMLoginRes{ServerTime: new(uint32(1)), ResultCode: new(imbase.ResultType(0)),
			UserInfo: person(*user), ResumeToken: []byte("resume")}}}
		if m.SyncToken != nil {
			all = append(all, syncAnswer{client.CmdSyncRsp, s.since(*user, m.SyncToken)})
		}
		return all
	case *imextension.SyncReq:
		return []syncAnswer{{client.CmdSyncRsp, s.since(*user, m.SyncToken)}}
	case *imbuddy.IMAllUserReq:
		rsp := &imbuddy.IMAllUserRsp{UserId: user, LatestUpdateTime: m.LatestUpdateTime}
		for n := range uint32(50) {
			rsp.UserList = append(rsp.UserList, person(n+1))
		}
		return []syncAnswer{{client.CmdAllUserRsp, rsp}}
	case *immsg.IMMsgData:
		if len(m.GetClientMessageId()) != 16 {
			s.t.Error("a message without an id of its own may be taken for a repeat")
		}
		k := [2]uint32{min(*user, m.GetToSessionId()), max(*user, m.GetToSessionId())}
		s.clock++
		s.heads[k]++
		s.at[k] = s.clock
		return []syncAnswer{{client.CmdMsgDataAck, &immsg.IMMsgDataAck{UserId: user, SessionId: m.ToSessionId, MsgId: new(s.heads[k]),
			SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum()}}}
	}
	return nil
}

func person(n uint32) *imbase.UserInfo {
	return &imbase.UserInfo{UserId: &n, UserGender: new(uint32(0)), UserNickName: new(""), AvatarUrl: new(""), DepartmentId: new(uint32(0)),
		Email: new(""), UserRealName: new(fmt.Sprint("bench-", n)), UserTel: new(""), UserDomain: new(""), Status: new(uint32(0)), SignInfo: new("")}
}

func (s *syncServer) since(user uint32, token []byte) *imextension.SyncRsp {
	rsp := &imextension.SyncRsp{SyncToken: binary.BigEndian.AppendUint32(nil, s.clock)}
	since := uint32(0)
	if len(token) == 4 {
		since = binary.BigEndian.Uint32(token)
	} else {
		rsp.Whole = new(true)
	}
	for k, at := range s.at {
		if at > since && (k[0] == user || k[1] == user) {
			rsp.Entries = append(rsp.Entries, &imextension.SyncEntry{SessionId: new(k[0] + k[1] - user),
				SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(), LatestMsgId: new(s.heads[k]), ReadMsgId: new(uint32(0))})
		}
	}
	return rsp
}

func benchPeople(_ context.Context, n int) ([]Account, error) {
	var all []Account
	for i := range n {
		all = append(all, Account{Name: fmt.Sprint("bench-", i+1), Password: "x"})
	}
	return all, nil
}

func TestSyncBenchMeasuresAndChecks(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(m proto.Message)
		err   string // "": none
	}{
		{"right", nil, ""},
		{"a conversation is missing", func(m proto.Message) {
			if r, ok := m.(*imextension.SyncRsp); ok && r.Whole == nil && len(r.Entries) > 0 {
				r.Entries = r.Entries[1:]
			}
		}, "told wrong"},
		{"one is too much", func(m proto.Message) {
			if r, ok := m.(*imextension.SyncRsp); ok && len(r.Entries) == 0 && r.Whole == nil {
				r.Entries = append(r.Entries, &imextension.SyncEntry{SessionId: new(uint32(9)), SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(),
					LatestMsgId: new(uint32(1)), ReadMsgId: new(uint32(1))})
			}
		}, "told wrong"},
		{"an old head", func(m proto.Message) {
			if r, ok := m.(*imextension.SyncRsp); ok && r.Whole == nil && len(r.Entries) > 0 {
				r.Entries[0].LatestMsgId = new(r.Entries[0].GetLatestMsgId() - 1)
			}
		}, "told wrong"},
		{"too many bytes", func(m proto.Message) {
			if r, ok := m.(*imlogin.IMLoginRes); ok {
				r.ResultString = new(strings.Repeat("x", UnchangedBytes))
			}
		}, "an unchanged login took"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Server: startSyncServer(t, c.spoil), Accounts: benchPeople, Device: 1}
			r, err := Sync{Conversations: 40, Changed: 3, Logins: 2}.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			switch err := r.Err(); {
			case c.err == "" && err != nil, c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %q", err, c.err)
			}
			if r.Prepared != 40 || r.Full.Entries != 40 || r.Full.Logins != 2 || r.None.PDUs != 2 || r.None.Bytes == 0 || r.Full.Took.Max <= 0 {
				t.Errorf("report %+v", r)
			}
			if c.err == "" && (r.Some.Entries != 3 || r.None.Entries != 0 || r.None.Bytes >= r.Some.Bytes || r.Some.Bytes >= r.Full.Bytes) {
				t.Errorf("report %+v", r)
			}
			var text strings.Builder
			if r.Write(&text); !strings.Contains(text.String(), "unchanged") {
				t.Error(text.String())
			}
		})
	}
}

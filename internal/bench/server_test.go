package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immsg "godwit/schema/client/message"
	"godwit/schema/pdu"
)

// fakeServer relays messages as a real one does, and can be told to do it wrong.
type fakeServer struct {
	t *testing.T
	l net.Listener

	features atomic.Uint32 // of clients' login requests, that it has as well
	done     sync.WaitGroup

	// fault may change what is delivered of a message: the PDUs in their order, each
	// to a user. The ack goes out before.
	fault func(n int, m client.MsgData) []delivery
	// onAck may change the acks of a message.
	onAck func(n int, id uint32) []uint32
	// groupFault may change who gets what of a message to the group.
	groupFault func(n int, all []delivery) []delivery
	dissolved  int // groups
	// receiptFault may change who is told what of a receipt.
	receiptFault func(n int, all []notice) []notice
	// friends are who may write to each other, by name; nil: everybody.
	friends map[[2]string]bool

	mu    sync.Mutex
	users map[uint32]net.Conn
	heads map[[2]uint32]uint32
	count int

	marks    map[receiptMark]uint32
	receipts int // that moved a mark
	members  []uint32
}

// receiptMark is how far somebody is in a conversation.
type receiptMark struct {
	key  [2]uint32
	user uint32
	read bool
}

// notice is a 0x200b to somebody.
type notice struct {
	to, at, user, id uint32
	kind             imbase.SessionType
	read             bool
}

type delivery struct {
	to      uint32
	id      uint32
	from    uint32
	content []byte
}

func startServer(t *testing.T) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{t: t, l: l, users: map[uint32]net.Conn{}, heads: map[[2]uint32]uint32{}, marks: map[receiptMark]uint32{}}
	s.features.Store(uint32(imextension.Feature_FEATURE_RECEIPTS))
	s.done.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.users {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

// be makes the server wrong; either may be nil.
func (s *fakeServer) be(fault func(int, client.MsgData) []delivery, onAck func(int, uint32) []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.onAck = fault, onAck
}

func (s *fakeServer) accept() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		s.done.Go(func() { s.serve(conn) })
	}
}

func (s *fakeServer) serve(conn net.Conn) {
	defer conn.Close()
	var user uint32
	for {
		f, err := readPDU(conn)
		if err != nil {
			return
		}
		switch f.Command {
		case client.CmdLoginReq:
			m, err := client.Decode(f.Command, f.Body)
			if err != nil {
				return
			}
			user = s.logIn(conn, m.(*imlogin.IMLoginReq), f.Seq)
			if user == 0 {
				return
			}
		case client.CmdMsgData:
			m, err := client.ParseMsgData(f.Body)
			if err != nil || user == 0 {
				return
			}
			s.relay(user, m, f.Seq)
		case client.CmdGroupCreateReq, client.CmdGroupUpdateReq:
			s.group(user, f)
		case client.CmdReceivedReq, client.CmdMsgDataReadAck:
			if m, err := client.Decode(f.Command, f.Body); err == nil && user != 0 {
				s.receipt(user, m)
			}
		}
	}
}

func (s *fakeServer) logIn(conn net.Conn, r *imlogin.IMLoginReq, seq uint16) uint32 {
	n, err := strconv.Atoi(strings.TrimPrefix(r.GetUserName(), "p"))
	res := &imlogin.IMLoginRes{ServerTime: new(uint32(1)), ResultCode: imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED.Enum()}
	if err == nil && r.GetPassword() == "secret" {
		res.ResultCode = imbase.ResultType_REFUSE_REASON_NONE.Enum()
		res.Features = new(r.GetFeatures() & s.features.Load())
		zero := new(uint32(0))
		res.UserInfo = &imbase.UserInfo{
			UserId: new(uint32(n)), UserGender: zero, UserNickName: new(""), AvatarUrl: new(""), DepartmentId: zero, Email: new(""),
			UserRealName: r.UserName, UserTel: new(""), UserDomain: new(""), Status: zero,
		}
	}
	b, err := pdu.AppendMessage(nil, client.CmdLoginRes, seq, res)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = conn.Write(b)
	if res.UserInfo == nil {
		return 0
	}
	s.users[uint32(n)] = conn
	return uint32(n)
}

func (s *fakeServer) relay(from uint32, m client.MsgData, seq uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]uint32{min(from, m.To), max(from, m.To)}
	if m.To == theGroup {
		key = [2]uint32{theGroup, theGroup}
	} else if !s.knows(from, m.To) {
		return
	}
	s.heads[key]++
	id := s.heads[key]
	s.count++
	acks := []uint32{id}
	if s.onAck != nil {
		acks = s.onAck(s.count, id)
	}
	for _, id := range acks {
		b := pdu.Append(nil, 3, client.CmdMsgDataAck, seq, func(b []byte) []byte { return client.AppendMsgDataAck(b, from, m.To, id, 1) })
		_, _ = s.users[from].Write(b)
	}
	m.From, m.ID = from, id
	all := []delivery{{m.To, id, from, m.Data}}
	if m.To == theGroup {
		all = all[:0]
		for to := range uint32(len(s.users)) {
			if to+1 != from {
				all = append(all, delivery{to + 1, id, from, m.Data})
			}
		}
		if s.groupFault != nil {
			all = s.groupFault(s.count, all)
		}
	}
	if s.fault != nil {
		all = s.fault(s.count, m)
	}
	for _, d := range all {
		if conn := s.users[d.to]; conn != nil {
			b := pdu.Append(nil, 3, client.CmdMsgData, 0, func(b []byte) []byte {
				return client.AppendMsgData(b, d.from, m.To, d.id, 1, m.Type, d.content)
			})
			_, _ = conn.Write(b)
		}
	}
}

// knows tells whether two may write to each other.
func (s *fakeServer) knows(a, z uint32) bool {
	return s.friends == nil || s.friends[[2]string{fmt.Sprintf("p%d", min(a, z)), fmt.Sprintf("p%d", max(a, z))}]
}

// receipt moves a mark, and tells the others.
func (s *fakeServer) receipt(user uint32, m proto.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kind imbase.SessionType
	var at, id uint32
	r, read := m.(*immsg.IMMsgDataReadAck)
	if read {
		kind, at, id = r.GetSessionType(), r.GetSessionId(), r.GetMsgId()
	} else {
		r := m.(*imextension.ReceivedReq)
		kind, at, id = r.GetSessionType(), r.GetSessionId(), r.GetMsgId()
	}
	key, others := [2]uint32{min(user, at), max(user, at)}, []uint32{at}
	if kind == imbase.SessionType_SESSION_TYPE_GROUP {
		key, others = [2]uint32{theGroup, theGroup}, s.members
	}
	mark := receiptMark{key, user, read}
	id = min(id, s.heads[key])
	if id <= s.marks[mark] {
		return
	}
	s.marks[mark] = id
	s.receipts++
	var all []notice
	for _, to := range others {
		n := notice{to: to, at: user, user: user, id: id, kind: kind, read: read}
		if kind == imbase.SessionType_SESSION_TYPE_GROUP {
			n.at = theGroup
		}
		if to != user {
			all = append(all, n)
		}
	}
	if s.receiptFault != nil {
		all = s.receiptFault(s.receipts, all)
	}
	for _, n := range all {
		told := &imextension.ReceiptNotify{SessionId: &n.at, SessionType: &n.kind, UserId: &n.user, DeliveredMsgId: &n.id}
		if n.read {
			told.DeliveredMsgId, told.ReadMsgId = nil, &n.id
		}
		b, err := pdu.AppendMessage(nil, client.CmdReceiptNotify, 0, told)
		if err != nil {
			s.t.Error(err)
		}
		if conn := s.users[n.to]; conn != nil {
			_, _ = conn.Write(b)
		}
	}
}

// befriend has only friends write to each other, and makes them.
func (s *fakeServer) befriend(_ context.Context, pairs [][2]Account) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pairs {
		s.friends[[2]string{p[0].Name, p[1].Name}] = true
	}
	return nil
}

func (s *fakeServer) options() Options {
	return Options{
		Server: s.l.Addr().String(), Seed: 1,
		Accounts: func(_ context.Context, n int) ([]Account, error) {
			all := make([]Account, n)
			for i := range all {
				all[i] = Account{Name: fmt.Sprintf("p%d", i+1), Password: "secret"}
			}
			return all, nil
		},
	}
}

// longer runs a load for longer and longer, until it lasted long enough on a machine that may be busy.
func longer(run func(d time.Duration) (enough bool)) {
	for d := 200 * time.Millisecond; !run(d) && d < 10*time.Second; d *= 4 {
	}
}

// relayed is how many messages there were in all.
func (s *fakeServer) relayed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func run(t *testing.T, s *fakeServer, c OneOne) (r *OneOneReport) {
	t.Helper()
	c.Size = 100
	wrong := s.fault != nil || s.onAck != nil
	if wrong {
		c.Drain = 800 * time.Millisecond // for what may never come
	}
	if c.Pairs == 0 {
		c.Pairs = 2
	}
	if c.Window == 0 {
		c.Window = 4
	}
	longer(func(d time.Duration) bool {
		c.Duration = d
		var err error
		if r, err = c.Run(t.Context(), s.options()); err != nil {
			t.Fatal(err)
		}
		// The seventh message is the one that is served wrong.
		return s.relayed() >= 7 && (wrong || r.Received >= 10 && (r.Hostile == nil || r.Hostile.Connections > 0))
	})
	r.Write(io.Discard)
	return r
}

func TestRightServiceIsFoundRight(t *testing.T) {
	for _, c := range []OneOne{{}, {Both: true}, {Window: 1}, {Pairs: 20, Window: 16}, {Rate: 100}} {
		began := time.Now()
		r := run(t, startServer(t), c)
		took := time.Since(began).Seconds()
		if err := r.Err(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if r.Received < 10 || r.Received != r.Sent || r.Delivered == 0 || r.Ack.Count == 0 || r.Receive.P50 == 0 {
			t.Errorf("%+v: %+v", c, r)
		}
		if c.Rate > 0 && float64(r.Sent) > 2*(c.Rate*took+1) {
			t.Errorf("%d messages in %.3f s at rate %v of 2 senders", r.Sent, took, c.Rate)
		}
	}
}

// once turns the n-th message of all into something else.
func once(n int, change func(m client.MsgData) []delivery) func(int, client.MsgData) []delivery {
	return func(count int, m client.MsgData) []delivery {
		if count == n {
			return change(m)
		}
		return []delivery{{m.To, m.ID, m.From, m.Data}}
	}
}

func TestEveryWrongServiceIsFound(t *testing.T) {
	var held *client.MsgData
	for _, c := range []struct {
		name  string
		fault func(int, client.MsgData) []delivery
		onAck func(int, uint32) []uint32
		found func(r *OneOneReport) uint64
	}{
		{name: "lost", fault: once(7, func(client.MsgData) []delivery { return nil }),
			found: func(r *OneOneReport) uint64 { return r.Lost }},
		{name: "duplicated", fault: once(7, func(m client.MsgData) []delivery {
			d := delivery{m.To, m.ID, m.From, m.Data}
			return []delivery{d, d}
		}), found: func(r *OneOneReport) uint64 { return r.Duplicated }},
		{name: "out of order", fault: func(n int, m client.MsgData) []delivery {
			now := delivery{m.To, m.ID, m.From, m.Data}
			switch {
			case n == 7:
				m.Data = append([]byte(nil), m.Data...)
				held = &m
				return nil
			case held != nil && held.To == m.To:
				before := *held
				held = nil
				return []delivery{now, {before.To, before.ID, before.From, before.Data}}
			}
			return []delivery{now}
		}, found: func(r *OneOneReport) uint64 { return r.Disorder }},
		{name: "corrupt", fault: once(7, func(m client.MsgData) []delivery {
			m.Data[60] ^= 4
			return []delivery{{m.To, m.ID, m.From, m.Data}}
		}), found: func(r *OneOneReport) uint64 { return r.Corrupt }},
		{name: "to somebody else", fault: once(7, func(m client.MsgData) []delivery {
			return []delivery{{m.To, m.ID, m.From, m.Data}, {(m.To+1)%4 + 1, m.ID, m.From, m.Data}}
		}), found: func(r *OneOneReport) uint64 { return r.Misplaced }},
		{name: "under a false sender", fault: once(7, func(m client.MsgData) []delivery {
			return []delivery{{m.To, m.ID, m.To, m.Data}}
		}), found: func(r *OneOneReport) uint64 { return r.Misplaced }},
		{name: "with another id than the ack's", fault: once(7, func(m client.MsgData) []delivery {
			return []delivery{{m.To, m.ID + 5, m.From, m.Data}}
		}), found: func(r *OneOneReport) uint64 { return r.BadIDs }},
		{name: "ack with a wrong id", onAck: func(n int, id uint32) []uint32 {
			if n == 7 {
				id += 3
			}
			return []uint32{id}
		}, found: func(r *OneOneReport) uint64 { return r.BadIDs }},
		{name: "ack twice", onAck: func(n int, id uint32) []uint32 {
			if n == 7 {
				return []uint32{id, id}
			}
			return []uint32{id}
		}, found: func(r *OneOneReport) uint64 { return r.StrayAcks }},
		{name: "no ack", onAck: func(n int, id uint32) []uint32 {
			if n == 7 {
				return nil
			}
			return []uint32{id}
		}, found: func(r *OneOneReport) uint64 { return r.Unacked }},
	} {
		t.Run(c.name, func(t *testing.T) {
			held = nil
			s := startServer(t)
			s.be(c.fault, c.onAck)
			r := run(t, s, OneOne{})
			// A wrong id may make the ids after it look wrong as well.
			if n := c.found(r); n != 1 && (n == 0 || n != r.BadIDs) {
				t.Errorf("counted %d times, want once: %+v", n, r)
			}
			if r.Err() == nil {
				t.Error("the report is content")
			}
		})
	}
}

func TestDisconnectedSessionIsFound(t *testing.T) {
	s := startServer(t)
	s.be(once(7, func(m client.MsgData) []delivery {
		_ = s.users[m.To].Close()
		return nil
	}), nil)
	r := run(t, s, OneOne{})
	if r.Dropped != 1 || r.DroppedWhy == "" || r.Err() == nil {
		t.Errorf("dropped %d, %q, %v", r.Dropped, r.DroppedWhy, r.Err())
	}
}

func TestRefusedLoginEndsTheBench(t *testing.T) {
	o := startServer(t).options()
	o.Accounts = func(context.Context, int) ([]Account, error) {
		return []Account{{"p1", "wrong"}, {"p2", "secret"}}, nil
	}
	if _, err := (OneOne{Pairs: 1, Window: 1, Size: 50, Duration: time.Second}).Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "p1") {
		t.Errorf("error %v, want one that names p1", err)
	}
}

func TestIdleAndLogin(t *testing.T) {
	s := startServer(t)
	i, err := Idle{Sessions: 50, Settle: 10 * time.Millisecond}.Run(t.Context(), s.options())
	if err != nil || i.Err() != nil || i.Sessions != 50 || i.Login.Count != 50 {
		t.Errorf("idle: %+v, %v", i, err)
	}
	var l *LoginReport
	longer(func(d time.Duration) bool {
		l, err = Login{Sessions: 20, Duration: d, Parallel: 5}.Run(t.Context(), s.options())
		return err != nil || l.Logins >= 20
	})
	if err != nil || l.Err() != nil || l.Logins < 20 || l.PerSecond == 0 {
		t.Errorf("login: %+v, %v", l, err)
	}
	i.Write(io.Discard)
	l.Write(io.Discard)
}

func TestHostileClientsDoTheirWorstAndStop(t *testing.T) {
	for kind := range hostileKinds {
		t.Run(kind, func(t *testing.T) {
			r := run(t, startServer(t), OneOne{Hostile: kind, HostileCount: 2})
			if r.Hostile == nil || r.Hostile.Connections == 0 {
				t.Errorf("%+v", r.Hostile)
			}
			if err := r.Err(); err != nil {
				t.Error(err)
			}
		})
	}
	if err := CheckHostile("nice"); err == nil || !strings.Contains(err.Error(), "slowloris") {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestRawMeasuresJetStream(t *testing.T) {
	s := startServer(t)
	o := s.options()
	o.Probe = func(context.Context) (Probe, error) {
		return Probe{Records: uint64(time.Since(epoch)), Partitions: 2, Durability: "os"}, nil
	}
	r, err := OneOne{Pairs: 2, Window: 4, Size: 100, Duration: 100 * time.Millisecond, Raw: true, RawDir: t.TempDir(), RawBatch: 10}.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Raw.Batched.PerRecord != 10 || r.Raw.Batched.PerSecond == 0 || r.Raw.Single.PerRecord != 1 || r.Raw.Batched.Share == 0 {
		t.Errorf("%+v", r.Raw)
	}
}

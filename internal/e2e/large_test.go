package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/connector/delivery"
	"godwit/internal/e2e/e2etest"
	"godwit/schema/client"
	"godwit/schema/client/basedefine"
	"godwit/schema/client/group"
	"godwit/schema/client/message"
	"godwit/schema/event"
)

// metric reads a counter or gauge of the process, summed over its labels.
func (s *server) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	resp, err := http.Get("http://" + s.AdminAddr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum, found = sum+n, true
		}
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return sum
}

// listener is a member of a large group who counts what he hears.
type listener struct {
	*e2etest.Session
	mu       sync.Mutex
	messages map[uint32]int // of the group, by id
	bodies   map[uint32]string
	notices  []*imgroup.IMGroupChangeMemberNotify
}

func listen(t *testing.T, addr, name string, group uint32) *listener {
	l := &listener{messages: map[uint32]int{}, bodies: map[uint32]string{}}
	var err error
	l.Session, err = e2etest.Open(addr, name, e2etest.DeviceWindows, func(p e2etest.Packet) {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch p.Command {
		case e2etest.CmdMessage:
			l.messages[p.Body.Num(3)]++
			l.bodies[p.Body.Num(3)] = p.Body.Text(6)
		case client.CmdGroupChangeMemberNotify:
			m := new(imgroup.IMGroupChangeMemberNotify)
			if err := proto.Unmarshal(p.Raw, m); err != nil {
				t.Error(err)
			}
			if group == 0 || m.GetGroupId() == group {
				l.notices = append(l.notices, m)
			}
		}
	})
	if err != nil {
		t.Error(err)
		return nil
	}
	return l
}

// listenAll logs the first n people in, a few at a time.
func listenAll(t *testing.T, addr string, n int) []*listener {
	t.Helper()
	all := make([]*listener, n)
	var logins sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range all {
		logins.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			all[i] = listen(t, addr, e2etest.Name(i), 0)
		})
	}
	logins.Wait()
	if slices.Contains(all, nil) {
		t.Fatal("not everybody is in")
	}
	t.Cleanup(func() {
		for _, l := range all {
			l.End()
		}
	})
	return all
}

// write sends a text to a group and waits for its ack.
func (l *listener) write(t *testing.T, group uint32, text string) {
	t.Helper()
	m := &immessage.IMMsgData{FromUserId: &l.User, ToSessionId: &group, MsgId: new(uint32(0)), CreateTime: new(uint32(0)),
		MsgType: imbase.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte(text)}
	a := new(immessage.IMMsgDataAck)
	l.Request(t, client.CmdMsgData, m, a)
	if a.GetMsgId() == 0 {
		t.Fatalf("%q got no id", text)
	}
}

func (l *listener) changeMembers(t *testing.T, kind imbase.GroupModifyType, group uint32, users ...uint32) {
	t.Helper()
	a := new(imgroup.IMGroupChangeMemberRsp)
	l.Request(t, client.CmdGroupChangeMemberReq, &imgroup.IMGroupChangeMemberReq{UserId: &l.User, ChangeType: &kind, GroupId: &group, MemberIdList: users}, a)
	if a.GetResultCode() != 0 {
		t.Fatalf("%v of %v is refused", kind, users)
	}
}

// TestGroupOfTenThousand has a group of 10,000 on a server, 320 of them there, and some of
// those deaf: a message is one event however many hear it, a change of members is told to
// each once, with all 10,000 names, and the server's memory stays bounded. It runs alone:
// under the race detector its listeners keep every core busy for long, and other tests have
// nodes in this process that must be heard each second.
func TestGroupOfTenThousand(t *testing.T) {
	const people, there, deaf = 10_000, 320, 160
	s := start(t, t.TempDir())
	ids := s.register(t, people)
	all := listenAll(t, s.Clients, there)
	ann := all[0]
	made := new(imgroup.IMGroupCreateRsp)
	ann.Request(t, client.CmdGroupCreateReq, &imgroup.IMGroupCreateReq{UserId: &ann.User, GroupType: imbase.GroupType_GROUP_TYPE_TMP.Enum(),
		GroupName: new("all"), GroupAvatar: new(""), MemberIdList: ids[:people-10]}, made)
	g := made.GetGroupId()
	if g == 0 || len(made.GetUserIdList()) != people-10 {
		t.Fatalf("the group is %d with %d members", g, len(made.GetUserIdList()))
	}

	// A message is stored once, and delivered to each.
	for _, l := range all {
		if id := l.Latest(t, g); id != 0 {
			t.Fatalf("a new group has a message %d", id)
		}
	}
	records, events, delivered := s.metric(t, "godwit_bus_records_total"), s.metric(t, "godwit_bus_events_total"), s.metric(t, "godwit_connector_deliveries_total")
	ann.write(t, g, "hello all")
	for i, l := range all {
		if id := l.Latest(t, g); id != 1 {
			t.Fatalf("%s sees the id %d", e2etest.Name(i), id)
		}
		l.mu.Lock()
		if want := min(i, 1); l.messages[1] != want || want == 1 && l.bodies[1] != "hello all" {
			t.Errorf("%s was pushed message 1 %d times, %q", e2etest.Name(i), l.messages[1], l.bodies[1])
		}
		l.mu.Unlock()
	}
	if r, e, d := s.metric(t, "godwit_bus_records_total")-records, s.metric(t, "godwit_bus_events_total")-events, s.metric(t, "godwit_connector_deliveries_total")-delivered; r != 1 || e != 1 || d != there-1 {
		t.Errorf("a message was %v records with %v events, and %v deliveries; should be 1, 1, %d", r, e, d, there-1)
	}

	// Others are there who never read what they are sent, while members change.
	for i := range deaf {
		c, err := e2etest.Dial(s.Clients)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login(e2etest.Name(there+i), e2etest.DeviceWindows); err != nil {
			t.Fatal(err)
		}
	}
	before := s.rss(t)
	highest := atomic.Int64{}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				highest.Store(max(highest.Load(), int64(s.rss(t))))
			}
		}
	})
	const changes = 10
	for i := range changes / 2 {
		ann.changeMembers(t, imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, g, ids[people-1-i%10])
		ann.changeMembers(t, imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL, g, ids[people-1-i%10])
	}
	ann.changeMembers(t, imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, g, ids[people-10:]...)
	for i, l := range all {
		l.Latest(t, g)
		l.mu.Lock()
		want := changes + 2 // and its making
		if i == 0 {
			want = 0
		}
		if len(l.notices) != want {
			t.Errorf("%s heard of %d changes of members, should be %d", e2etest.Name(i), len(l.notices), want)
		} else if want > 0 {
			for n, m := range l.notices {
				now := people - 10 + n%2
				if n == 0 {
					now = people - 10
				}
				if n == len(l.notices)-1 {
					now = people
				}
				if len(m.GetCurUserIdList()) != now {
					t.Errorf("%s heard in notice %d of %d members, should be %d", e2etest.Name(i), n, len(m.GetCurUserIdList()), now)
					break
				}
			}
		}
		l.mu.Unlock()
	}
	close(done)
	watching.Wait()
	growth := int(highest.Load()) - before
	t.Logf("%d MiB resident before %d changes of members, up to %d more meanwhile", before>>20, changes+1, growth>>20)
	if growth > 64<<20 {
		t.Errorf("%d changes of members took %d MiB", changes+1, growth>>20)
	}

	// Who is removed is told, and keeps nothing new.
	bob := all[1]
	ann.changeMembers(t, imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL, g, bob.User)
	ann.write(t, g, "not for bob")
	if id := all[2].Latest(t, g); id != 2 {
		t.Errorf("the group has %d messages", id)
	}
	if id := bob.Latest(t, g); id != 0 {
		t.Errorf("who was removed sees message %d", id)
	}
	bob.mu.Lock()
	last := bob.notices[len(bob.notices)-1]
	if bob.messages[2] != 0 || last.GetChangeType() != imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL || !slices.Equal(last.GetChgUserIdList(), []uint32{bob.User}) {
		t.Errorf("who was removed was pushed message 2 %d times, and heard last of %v %v", bob.messages[2], last.GetChangeType(), last.GetChgUserIdList())
	}
	bob.mu.Unlock()
	if list, err := bob.GroupHistory(g); err != nil || list != 0 {
		t.Errorf("who was removed reads %d messages: %v", list, err)
	}
}

// TestOneFrameForAGroup counts what the owner sends for a message to a group of 10,000 of
// which hundreds are at one node: one frame, with the message in it once.
func TestOneFrameForAGroup(t *testing.T) {
	t.Parallel()
	const there = 300
	r := e2etest.NewRig(t)
	var mu sync.Mutex
	var frames [][]byte
	r.See = func(data []byte) {
		mu.Lock()
		defer mu.Unlock()
		frames = append(frames, bytes.Clone(data))
	}
	o := r.Owner("owner")
	e := r.Edge("a")
	ids := e.Register(t, there)
	members := slices.Clone(ids)
	for u := slices.Max(ids) + 1; len(members) < 10_000; u++ {
		members = append(members, u) // nobody has these numbers, or needs to
	}
	key := event.Group(1)
	got := make(chan delivery.Result, 1)
	if err := e.Node.Append(key.Stream(e2etest.RigPartitions), &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: key[:], Type: event.GroupType_GROUP_TYPE_NORMAL, Name: "all", Members: members}}}, func(r delivery.Result) { got <- r }); err != nil {
		t.Fatal(err)
	}
	select {
	case res := <-got:
		if res.Err != nil || res.ID != 1 {
			t.Fatalf("the group came to %+v", res)
		}
	case <-time.After(e2etest.Patience):
		t.Fatal("no outcome")
	}
	all := listenAll(t, e.Addr, there)
	for _, l := range all {
		l.Latest(t, 1)
	}
	stored := func() uint64 {
		n, err := o.Bus.LastSequence(t.Context(), key.Stream(e2etest.RigPartitions))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := stored()
	text := fmt.Sprint("once upon a time ", strings.Repeat("x", 1000))
	all[0].write(t, 1, text)
	for i, l := range all {
		l.Latest(t, 1)
		l.mu.Lock()
		if n := l.messages[1]; n != min(i, 1) {
			t.Errorf("%s was pushed the message %d times", e2etest.Name(i), n)
		}
		l.mu.Unlock()
	}
	mu.Lock()
	defer mu.Unlock()
	with, times := 0, 0
	for _, f := range frames {
		if n := bytes.Count(f, []byte(text)); n > 0 {
			with, times = with+1, times+n
		}
	}
	if with != 1 || times != 1 || stored()-before != 1 {
		t.Errorf("a message to %d members was %d records and is in %d frames %d times; should be 1, 1, 1", len(members), stored()-before, with, times)
	}
}

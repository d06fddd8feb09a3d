package bench

import (
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	"godwit/schema/pdu"
)

// theGroup is the number of the one group that the fake server makes.
const theGroup = 900

// group answers the making of the group, and its end.
func (s *fakeServer) group(user uint32, f pdu.Frame) {
	m, err := client.Decode(f.Command, f.Body)
	if err != nil {
		return // of a hostile client
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var command uint16
	var answer proto.Message
	switch m := m.(type) {
	case *imgroup.IMGroupCreateReq:
		m.MemberIdList = slices.DeleteFunc(m.MemberIdList, func(n uint32) bool { return n != user && !s.knows(user, n) })
		s.members = m.MemberIdList
		command, answer = client.CmdGroupCreateRsp, &imgroup.IMGroupCreateRsp{
			UserId: &user, ResultCode: new(uint32(0)), GroupId: new(uint32(theGroup)), GroupName: m.GroupName, UserIdList: m.MemberIdList}
	case *imextension.GroupUpdateReq:
		s.dissolved++
		command, answer = client.CmdGroupUpdateRsp, &imextension.GroupUpdateRsp{Refusal: imextension.Refusal_REFUSAL_NONE.Enum(), GroupId: m.GroupId}
	}
	b, err := pdu.AppendMessage(nil, command, f.Seq, answer)
	if err != nil {
		s.t.Error(err)
	}
	if conn := s.users[user]; conn != nil {
		_, _ = conn.Write(b)
	}
}

func runGroup(t *testing.T, s *fakeServer, c Group) (r *GroupReport) {
	t.Helper()
	c.Members, c.Senders, c.Size, c.Window = 5, 2, 100, 4
	wrong := s.groupFault != nil
	if wrong {
		c.Drain = 800 * time.Millisecond // for what may never come
	}
	groups := 0
	longer(func(d time.Duration) bool {
		c.Duration = d
		var err error
		if r, err = c.Run(t.Context(), s.options()); err != nil {
			t.Fatal(err)
		}
		groups++
		return s.relayed() >= 7 && (wrong || r.Sent >= 10)
	})
	r.Write(io.Discard)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dissolved != groups {
		t.Errorf("%d of %d groups were dissolved", s.dissolved, groups)
	}
	return r
}

func TestRightGroupIsFoundRight(t *testing.T) {
	for _, c := range []Group{{}, {Rate: 100}} {
		r := runGroup(t, startServer(t), c)
		if err := r.Err(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if r.Sent < 10 || r.Received != 4*r.Sent || r.Delivered == 0 || r.Ack.Count == 0 || r.Receive.P50 == 0 {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

func TestEveryWrongGroupIsFound(t *testing.T) {
	// once changes the deliveries of the seventh message.
	once := func(change func(all []delivery) []delivery) func(int, []delivery) []delivery {
		return func(n int, all []delivery) []delivery {
			if n == 7 {
				return change(all)
			}
			return all
		}
	}
	var held *delivery
	for _, c := range []struct {
		name  string
		fault func(int, []delivery) []delivery
		found func(r *GroupReport) uint64
	}{
		{"one lost", once(func(all []delivery) []delivery { return all[1:] }), func(r *GroupReport) uint64 { return r.Lost }},
		{"one twice", once(func(all []delivery) []delivery { return append(all, all[2]) }), func(r *GroupReport) uint64 { return r.Duplicated }},
		{"to its sender", once(func(all []delivery) []delivery {
			back := all[0]
			back.to = back.from
			return append(all, back)
		}), func(r *GroupReport) uint64 { return r.Misplaced }},
		{"under a false sender", once(func(all []delivery) []delivery {
			all[3].from = 5
			return all
		}), func(r *GroupReport) uint64 { return r.Misplaced }},
		{"corrupt for one", once(func(all []delivery) []delivery {
			all[3].content = slices.Clone(all[3].content)
			all[3].content[60] ^= 4
			return all
		}), func(r *GroupReport) uint64 { return r.Corrupt }},
		{"another id for one", once(func(all []delivery) []delivery {
			all[3].id += 5
			return all
		}), func(r *GroupReport) uint64 { return r.BadIDs }},
		// Also where the two are of different senders.
		{"out of the group's order", func(n int, all []delivery) []delivery {
			i := slices.IndexFunc(all, func(d delivery) bool { return d.to == 5 })
			switch {
			case n == 7:
				d := all[i]
				d.content = slices.Clone(d.content)
				held = &d
				return slices.Delete(all, i, i+1)
			case held != nil:
				all = append(all, *held)
				held = nil
			}
			return all
		}, func(r *GroupReport) uint64 { return r.BadIDs }},
	} {
		t.Run(c.name, func(t *testing.T) {
			held = nil
			s := startServer(t)
			s.mu.Lock()
			s.groupFault = c.fault
			s.mu.Unlock()
			r := runGroup(t, s, Group{})
			if n := c.found(r); n == 0 {
				t.Errorf("not found: %+v", r)
			}
			if r.Err() == nil {
				t.Error("the report is content")
			}
		})
	}
}

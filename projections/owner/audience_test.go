package owner

import (
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// What a node makes of the audiences it is told is what the owner means, whatever comes
// and goes between.
func TestAudienceIsToldByItsChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := &node{audiences: map[uint32]*audience{}}
		numbers := uint64(0)
		var known []uint32 // by the node
		var number uint64
		want := map[uint32]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"comes": func(t *rapid.T) {
				user := rapid.Uint32Range(1, 60).Draw(t, "user")
				n.joined(user, 7)
				want[user] = true
			},
			"goes": func(t *rapid.T) {
				user := rapid.Uint32Range(1, 60).Draw(t, "user")
				n.left(user, 7)
				delete(want, user)
			},
			"many": func(t *rapid.T) {
				for user := rapid.Uint32Range(1, 50).Draw(t, "first"); user < 60; user++ {
					n.joined(user, 7)
					want[user] = true
				}
			},
			"": func(t *rapid.T) {
				a := n.audiences[7]
				if a == nil {
					if len(want) > 0 {
						t.Fatalf("no audience for %v", want)
					}
					return
				}
				told := a.next(7, &numbers)
				switch {
				case told.Full:
					known = told.Added
				case told.Base == 0 && told.Number == number:
				case told.Base == number && number != 0 && told.Number > number:
					known = slices.DeleteFunc(append(slices.Clone(known), told.Added...), func(u uint32) bool { return slices.Contains(told.Removed, u) })
				default:
					t.Fatalf("told %v, the node knows number %d", told, number)
				}
				number = told.Number
				slices.Sort(known)
				if !slices.Equal(known, slices.Sorted(maps.Keys(want))) {
					t.Fatalf("told %v: the node knows %v, want %v", told, known, want)
				}
			},
		})
	})
}

// groupEvents folds events in one record of a stream that is not followed.
func foldEvents(t *testing.T, st *stream, events ...*event.Event) {
	t.Helper()
	writer := event.ID{15: 9}
	sequence := st.view.Folded() + 1
	data, err := proto.Marshal(&event.Record{Writer: writer[:], N: sequence, Rule: event.Rule, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.apply([]bus.Recorded{{Sequence: sequence, Data: data}}); err != nil {
		t.Fatal(err)
	}
}

func created(group uint32, members ...uint32) *event.Event {
	key := event.Group(group)
	return &event.Event{At: 1, Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: key[:], Type: event.GroupType_GROUP_TYPE_NORMAL, Name: "g", Members: members}}}
}

func moved(group uint32, added, removed []uint32) *event.Event {
	key := event.Group(group)
	return &event.Event{At: 1, Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{
		Conversation: key[:], Added: added, Removed: removed}}}
}

func openStream(t *testing.T) *stream {
	t.Helper()
	k := bustest.New(t)
	p, err := Open(t.Context(), Config{Bus: k.Bus, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p.stream(event.ConversationStream(0))
}

// A term begins with the groups as the fold has them then, also where they change while
// they are being read.
func TestTermBeginsWithTheGroupsOfTheFold(t *testing.T) {
	st := openStream(t)
	foldEvents(t, st, created(1, 10, 11), created(2, 11, 12))
	foldEvents(t, st, moved(2, []uint32{13}, []uint32{12}))
	groups, at, ok := st.readGroups(t.Context(), nil)
	if !ok || at != 2 {
		t.Fatalf("read at %d, %v", at, ok)
	}
	// Folded while the read went on: two that the read may have met, and two beyond it.
	foldEvents(t, st, moved(1, []uint32{14}, []uint32{11}))
	foldEvents(t, st, moved(2, []uint32{12}, []uint32{13}), created(3, 14))
	if !st.begin(5, st.resets, groups, at) {
		t.Fatal("no term began")
	}
	want := memberships{10: {1}, 11: {2}, 12: {2}, 14: {1, 3}}
	if !maps.EqualFunc(st.groups, want, func(a, b []uint32) bool { return slices.Equal(slices.Sorted(slices.Values(a)), b) }) {
		t.Errorf("groups %v, want %v", st.groups, want)
	}
	// And it keeps in step.
	n := st.register(event.ID{1}, 2)
	st.add(n, 14, 1)
	st.add(n, 12, 1)
	foldEvents(t, st, moved(3, []uint32{12}, []uint32{14}))
	st.remove(n, 12, 2)
	if len(n.audiences) != 1 || n.audiences[1] == nil || !slices.Equal(sortedUsers(n.audiences[1].users), []uint32{14}) {
		t.Errorf("audiences of the node: %v", n.audiences)
	}

	// What was read before a reset is of no use after it.
	groups, at, ok = st.readGroups(t.Context(), nil)
	if !ok || at != 5 {
		t.Fatalf("read at %d, %v", at, ok)
	}
	if st.begin(6, st.resets+1, groups, at) {
		t.Error("a term began with the groups of a view that was reset")
	}
	// Nor is it where more has changed than is kept.
	if groups, at, ok = st.readGroups(t.Context(), nil); !ok {
		t.Fatal("not read")
	}
	many := make([]uint32, movesLimit)
	st.mu.Lock()
	st.moves.note(6, &view.Effect{Group: 1, Members: &view.Members{Joined: many}})
	st.moves.note(7, &view.Effect{Group: 1, Members: &view.Members{Joined: many}})
	st.mu.Unlock()
	if st.begin(6, st.resets, groups, at) {
		t.Error("a term began though too much had changed")
	}
}

// What a group's message costs its owner grows with the nodes, not with the members.
func TestFramesOfALargeGroup(t *testing.T) {
	st := openStream(t)
	members := make([]uint32, 10_000)
	for i := range members {
		members[i] = uint32(1<<20 + i)
	}
	foldEvents(t, st, created(1, members...))
	groups, at, ok := st.readGroups(t.Context(), nil)
	if !ok || !st.begin(1, st.resets, groups, at) {
		t.Fatal("no term began")
	}
	n := st.register(event.ID{1}, len(members))
	for _, user := range members {
		st.add(n, user, 1)
	}
	frames := make(chan *frame.Frame, 10)
	stop, err := st.p.bus.ReceivePushes(n.life, func(data []byte) {
		var p frame.Push
		if err := proto.Unmarshal(data, &p); err != nil {
			t.Error(err)
		}
		frames <- p.GetFrame()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	key := event.Group(1)
	message := &event.Event{At: 1, Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{Conversation: key[:], From: members[0], Type: 17, Body: []byte("x")}}}
	foldEvents(t, st, message)
	if f := <-frames; len(f.Deliveries) != 1 || len(f.Deliveries[0].Audience.Added) != len(members) {
		t.Errorf("the first frame: %d deliveries", len(f.Deliveries))
	}
	foldEvents(t, st, message, message)
	if f := <-frames; len(f.Deliveries) != 2 || proto.Size(f) > 400 {
		t.Errorf("the next frame: %d deliveries, %d bytes", len(f.Deliveries), proto.Size(f))
	}
	allocs := testing.AllocsPerRun(20, func() {
		foldEvents(t, st, message)
		<-frames
	})
	if allocs > 500 {
		t.Errorf("a message of a group of %d takes %.0f allocations", len(members), allocs)
	}
}

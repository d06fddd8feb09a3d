package timeline

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

const (
	dora = uint32(4)
	emil = uint32(5)
)

var team = event.Group(7)

const (
	normal    = event.GroupType_GROUP_TYPE_NORMAL
	temporary = event.GroupType_GROUP_TYPE_TEMPORARY
)

func created(kind event.GroupType, creator uint32, members ...uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: team[:], Type: kind, Name: "team", AvatarUrl: "/a", Creator: creator, Members: members, Session: phone[:],
	}}}
}

func limited(ev *event.Event, limit uint32) *event.Event {
	switch b := ev.Body.(type) {
	case *event.Event_GroupCreated:
		b.GroupCreated.Limit = limit
	case *event.Event_GroupMembersChanged:
		b.GroupMembersChanged.Limit = limit
	}
	return ev
}

func membersChanged(user uint32, added, removed []uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{
		Conversation: team[:], Added: added, Removed: removed, User: user, Session: phone[:],
	}}}
}

func add(user uint32, added ...uint32) *event.Event { return membersChanged(user, added, nil) }
func del(user uint32, gone ...uint32) *event.Event  { return membersChanged(user, nil, gone) }

func imported(ev *event.Event, after, step uint32) *event.Event {
	c := ev.GetGroupMembersChanged()
	c.ImportAfter, c.ImportStep = after, step
	return ev
}

func changed(user uint32, with func(c *event.GroupChanged)) *event.Event {
	c := &event.GroupChanged{Conversation: team[:], User: user, Session: phone[:]}
	with(c)
	return &event.Event{At: second(0), Body: &event.Event_GroupChanged{GroupChanged: c}}
}

func renamed(user uint32, name string) *event.Event {
	return changed(user, func(c *event.GroupChanged) { c.Name = &name })
}

func handed(user, to uint32) *event.Event {
	return changed(user, func(c *event.GroupChanged) { c.Administrator = &to })
}

func dissolved(user uint32) *event.Event {
	return changed(user, func(c *event.GroupChanged) { c.Dissolved = true })
}

func shield(user uint32, on bool) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{
		Conversation: team[:], User: user, Shielded: on, Session: phone[:],
	}}}
}

// in changes the conversation of an event.
func in(ev *event.Event, key []byte) *event.Event {
	ev.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.ContainingOneof() != nil {
			body := v.Message()
			body.Set(body.Descriptor().Fields().ByName("conversation"), protoreflect.ValueOfBytes(key))
		}
		return true
	})
	return ev
}

// step is an event and what it comes to.
type step struct {
	ev   *event.Event
	want string
}

type steps struct {
	name  string
	steps []step
}

// hold checks that events come to what is said of them.
func hold(t *testing.T, cases []steps) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := new(projectiontest.Log)
			for _, s := range c.steps {
				l.Append(writer, s.ev)
			}
			_, applied := projectiontest.Fold(t, New(0), l.Records)
			for i, a := range applied {
				if got := text(a.Effects[0]); got != c.steps[i].want {
					t.Errorf("step %d: %s, want %s", i+1, got, c.steps[i].want)
				}
				if e := a.Effects[0]; e.Void != 0 && (e.Group != 0 || e.Members != nil || e.Stored != nil || e.Deliveries != nil || e.ID != 0) {
					t.Errorf("step %d is void and came to %+v", i+1, e)
				}
			}
		})
	}
}

func TestWhatGroupEventsComeTo(t *testing.T) {
	many := func(from, n uint32) (users []uint32) {
		for u := range n {
			users = append(users, from+u)
		}
		return users
	}
	direct := annBen
	hold(t, []steps{
		{"a group is made once", []step{
			{created(temporary, ann, ben), "id 1"},
			{created(temporary, ann, ben), "no_effect"},
			{created(temporary, 0), "no_effect"},
		}},
		{"of an impossible form", []step{
			{in(created(temporary, ann), direct[:]), "malformed"},
			{in(created(temporary, ann), []byte("g")), "malformed"},
			{created(0, ann), "malformed"},
			{created(3, ann), "malformed"},
			{created(normal, 0), "malformed"},
			{created(normal, 0, 0, ben), "malformed"},
			{created(normal, 0, ben), "id 1"},
			{in(add(0, ben), direct[:]), "malformed"},
			{add(0, 0), "malformed"},
			{del(0, 0), "malformed"},
			{in(renamed(0, "x"), direct[:]), "malformed"},
			{in(shield(ann, true), direct[:]), "malformed"},
			{shield(0, true), "malformed"},
		}},
		{"a limit holds when it is made", []step{
			{limited(created(temporary, ann, ben, cleo), 2), "full"},
			{limited(created(temporary, ann, ben, ann), 2), "id 1"},
		}},
		{"ten thousand are the limit where none is said", []step{
			{created(normal, 0, many(1, 10_001)...), "full"},
			{created(normal, 0, many(1, 10_000)...), "id 1"},
			{add(0, 20_000), "full"},
			{limited(add(0, 20_000), 20_000), "id 2"},
		}},
		{"forty thousand are the limit whatever is said", []step{
			{limited(created(normal, 0, many(1, 40_001)...), 50_000), "full"},
			{limited(created(normal, 0, many(1, 40_000)...), 50_000), "id 1"},
		}},
		{"a limit holds for who is added, not for who goes", []step{
			{created(temporary, ann, ben, cleo), "id 1"},
			{limited(add(ann, dora), 3), "full"},
			{limited(add(ann, ben), 2), "no_effect"},
			{limited(del(ann, ben), 1), "id 2"},
			{limited(membersChanged(ann, []uint32{dora}, []uint32{cleo}), 2), "id 3"},
		}},
		{"there is no group", []step{
			{add(0, ben), "no_such_group"},
			{renamed(0, "x"), "no_such_group"},
			{shield(ann, true), "no_such_group"},
			{sent(second(0), team, ann), "not_party"},
			{sent(second(0), team, 0, origin(event.Origin_ORIGIN_SYSTEM)), "malformed"},
			{read(team, ann, 1), "not_party"},
			{remove(team, ann), "not_party"},
		}},
		{"members alone write, and the system", []step{
			{created(temporary, ann, ben), "id 1"},
			{sent(second(0), team, ann), "id 1"},
			{sent(second(0), team, cleo), "not_party"},
			{sent(second(0), team, cleo, origin(event.Origin_ORIGIN_API)), "not_party"},
			{sent(second(0), team, cleo, origin(event.Origin_ORIGIN_SYSTEM)), "id 2"},
			{sent(second(0), team, 0, origin(event.Origin_ORIGIN_SYSTEM)), "id 3"},
			{sent(second(0), team, 0), "malformed"},
			{sent(second(0), team, ben, oldKey(1)), "id 4"},
			{sent(second(1), team, ben, oldKey(1)), "repeat of 4"},
			{del(ann, ben), "id 2"},
			{sent(second(0), team, ben), "not_party"},
			{sent(second(1), team, ben, oldKey(1)), "not_party"},
		}},
		{"in a temporary group members add", []step{
			{created(temporary, ann, ben), "id 1"},
			{add(ben, cleo), "id 2"},
			{add(ben, cleo, ann), "no_effect"},
			{add(dora, emil), "not_party"},
			{add(dora, dora), "not_party"},
		}},
		{"in a fixed group the administrator adds", []step{
			{created(normal, ann, ben), "id 1"},
			{add(ben, cleo), "not_allowed"},
			{add(ann, cleo), "id 2"},
			{add(0, dora), "id 3"},
		}},
		{"the administrator removes, and everybody himself", []step{
			{created(temporary, ann, ben, cleo, dora), "id 1"},
			{del(ben, cleo), "not_allowed"},
			{del(ben, ben, cleo), "not_allowed"},
			{del(ben, ben, emil), "not_allowed"},
			{del(ben, ben, ben), "id 2"},
			{del(ben, ben), "not_party"},
			{del(ann, emil), "no_effect"},
			{del(ann, cleo, emil), "id 3"},
			{del(0, dora), "id 4"},
		}},
		{"who is added and removed at once is not there", []step{
			{created(temporary, ann, ben), "id 1"},
			{membersChanged(ann, []uint32{cleo}, []uint32{cleo}), "no_effect"},
			{membersChanged(ann, []uint32{ben}, []uint32{ben}), "id 2"},
			{read(team, ben, 1), "not_party"},
		}},
		{"the longest there becomes administrator", []step{
			{created(normal, ann, dora), "id 1"},
			{add(ann, ben, cleo), "id 2"},
			{del(ann, ann), "id 3"},
			{add(ben, emil), "not_allowed"},
			{add(dora, emil), "id 4"},
			{del(dora, dora), "id 5"},
			{add(cleo, ann), "not_allowed"},
			{add(ben, ann), "id 6"},
		}},
		{"an empty group stays", []step{
			{created(temporary, ann), "id 1"},
			{del(ann, ann), "id 2"},
			{add(ann, ann), "not_party"},
			{created(temporary, ann), "no_effect"},
			{add(0, ben), "id 3"},
			{renamed(ben, "x"), "not_allowed"},
			{sent(second(0), team, ben), "id 1"},
		}},
		{"the administrator changes the group", []step{
			{created(normal, ann, ben), "id 1"},
			{renamed(ben, "x"), "not_allowed"},
			{renamed(cleo, "x"), "not_party"},
			{renamed(ann, "team"), "no_effect"},
			{renamed(ann, "x"), "id 2"},
			{renamed(0, "y"), "id 3"},
			{changed(ann, func(*event.GroupChanged) {}), "no_effect"},
			{handed(ann, cleo), "not_party"},
			{handed(ann, 0), "not_allowed"},
			{handed(ann, ben), "id 4"},
			{renamed(ann, "z"), "not_allowed"},
			{renamed(ben, "z"), "id 5"},
			{handed(0, 0), "id 6"},
			{renamed(ben, "q"), "not_allowed"},
		}},
		{"a fixed group is dissolved by the API", []step{
			{created(normal, ann, ben), "id 1"},
			{dissolved(ann), "not_allowed"},
			{dissolved(0), "id 2"},
			{dissolved(0), "no_such_group"},
			{add(0, ben), "no_such_group"},
			{shield(ben, true), "no_such_group"},
			{sent(second(0), team, ben), "not_party"},
			{sent(second(0), team, 0, origin(event.Origin_ORIGIN_SYSTEM)), "malformed"},
			{created(normal, ann, ben), "no_effect"},
		}},
		{"a temporary one by its administrator", []step{
			{created(temporary, ann, ben), "id 1"},
			{dissolved(ben), "not_allowed"},
			{dissolved(ann), "id 2"},
			{renamed(ann, "x"), "no_such_group"},
		}},
		{"pushes are muted by a member", []step{
			{created(temporary, ann, ben), "id 1"},
			{shield(ben, true), "done"},
			{shield(ben, true), "no_effect"},
			{shield(ben, false), "done"},
			{shield(cleo, true), "not_party"},
			{shield(ben, true), "done"},
			{del(ben, ben), "id 2"},
			{add(ann, ben), "id 3"},
			{shield(ben, false), "no_effect"},
		}},
		{"reads of members go forward", []step{
			{created(temporary, ann, ben), "id 1"},
			{sent(second(0), team, ann), "id 1"},
			{sent(second(0), team, ann), "id 2"},
			{read(team, ben, 1), "id 1"},
			{read(team, ben, 1), "no_effect"},
			{read(team, ben, 9), "id 2"},
			{read(team, cleo, 1), "not_party"},
			{add(ann, cleo), "id 2"},
			{read(team, cleo, 2), "no_effect"},
			{sent(second(0), team, ann), "id 3"},
			{read(team, cleo, 3), "id 3"},
		}},
		{"an entry is listed from the first message on", []step{
			{created(temporary, ann, ben), "id 1"},
			{remove(team, ben), "no_effect"},
			{sent(second(0), team, ann), "id 1"},
			{remove(team, ben), "done"},
			{remove(team, ben), "no_effect"},
			{sent(second(0), team, ann), "id 2"},
			{remove(team, ben), "no_effect"},
			{sent(second(0), team, ben), "id 3"},
			{remove(team, ben), "done"},
			{sent(second(0), team, ben, origin(event.Origin_ORIGIN_API)), "id 4"},
			{remove(team, ben), "done"},
			{sent(second(0), team, ben, origin(event.Origin_ORIGIN_SYSTEM)), "id 5"},
			{remove(team, ben), "no_effect"},
			{del(ben, ben), "id 2"},
			{add(ann, ben), "id 3"},
			{remove(team, ben), "no_effect"},
			{sent(second(0), team, ann), "id 6"},
			{remove(team, ben), "done"},
		}},
		{"an import's steps count once and in their order", []step{
			{created(normal, 0, ann), "id 1"},
			{imported(add(0, ben), 1, 1), "no_effect"},
			{imported(add(0, ben), 0, 1), "id 2"},
			{imported(del(0, ben), 0, 1), "no_effect"},
			{imported(del(0, ben), 0, 2), "id 3"},
			{imported(add(0, ben), 0, 1), "no_effect"},
			{sent(second(0), team, ann), "id 1"},
			{imported(add(0, ben), 0, 3), "no_effect"},
			{imported(add(0, ben), 1, 1), "id 4"},
			{imported(del(0, ben), 1, 1), "no_effect"},
		}},
	})
}

// groupSays is a group's state in short.
func groupSays(t projectiontest.TB, v *view.View, q *query.GroupState) string {
	t.Helper()
	q.Conversation = team[:]
	a := asking(t, v, &query.Request{Body: &query.Request_GroupState{GroupState: q}}).GetGroup()
	if a.Group == nil {
		return "none"
	}
	g := a.Group
	s := fmt.Sprintf("%d v%d %q of %d by %d, subject %d", g.Group, g.Version, g.Name, g.Members, g.Administrator, g.SubjectSequence)
	if g.Dissolved {
		s += ", dissolved"
	}
	if q.User != 0 {
		s += fmt.Sprintf(", %d is one: %v, shielded: %v", q.User, a.Member, a.Shielded)
	}
	if q.Members {
		s += fmt.Sprintf(", %v", a.Members)
	}
	if q.At != 0 {
		s += fmt.Sprintf(" +%v -%v", a.Added, a.Removed)
	}
	return s
}

func TestAGroupIsToldAsItIsAndAsItWas(t *testing.T) {
	l := new(projectiontest.Log)
	at := []uint64{
		l.Append(writer, created(temporary, cleo, ann, ben)),                       // 1
		l.Append(writer, membersChanged(ben, []uint32{dora}, nil)),                 // 2
		l.Append(writer, shield(ben, true), sent(second(0), team, ben)),            // no version
		l.Append(writer, del(cleo, cleo)),                                          // 3: ann is the administrator
		l.Append(writer, membersChanged(ann, []uint32{cleo, emil}, []uint32{ben})), // 4
		l.Append(writer, renamed(ann, "crew")),                                     // 5
		l.Append(writer, renamed(ben, "void")),
		l.Append(writer, dissolved(ann)), // 6
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records[:7])
	got := []string{groupSays(t, v, &query.GroupState{User: ben}), groupSays(t, v, &query.GroupState{User: emil, Members: true})}
	for _, a := range at[:7] {
		got = append(got, groupSays(t, v, &query.GroupState{At: a, Members: true}))
	}
	got = append(got, groupSays(t, v, &query.GroupState{At: at[2], User: ben}))
	projectiontest.Apply(t, v, l.Records[7:])
	projectiontest.Commit(t, v)
	got = append(got, groupSays(t, v, &query.GroupState{User: ann, Members: true}), groupSays(t, v, &query.GroupState{At: at[7], Members: true}))
	same(t, "states", got, []string{
		`7 v5 "crew" of 4 by 1, subject 7, 2 is one: false, shielded: false`,
		`7 v5 "crew" of 4 by 1, subject 7, 5 is one: true, shielded: false, [1 3 4 5]`,
		`7 v1 "team" of 3 by 3, subject 7, [1 2 3] +[1 2 3] -[]`,
		`7 v2 "team" of 4 by 3, subject 7, [1 2 3 4] +[4] -[]`,
		`7 v2 "team" of 4 by 3, subject 7, [1 2 3 4] +[] -[]`,
		`7 v3 "team" of 3 by 1, subject 7, [1 2 4] +[] -[3]`,
		`7 v4 "team" of 4 by 1, subject 7, [1 3 4 5] +[3 5] -[2]`,
		`7 v5 "crew" of 4 by 1, subject 7, [1 3 4 5] +[] -[]`,
		`7 v5 "crew" of 4 by 1, subject 7, [1 3 4 5] +[] -[]`,
		`7 v2 "team" of 4 by 3, subject 7, 2 is one: true, shielded: true +[] -[]`,
		`7 v6 "crew" of 0 by 0, subject 8, dissolved, 1 is one: false, shielded: false, []`,
		`7 v6 "crew" of 0 by 0, subject 8, dissolved, [] +[] -[1 3 4 5]`,
	})
	none := func(q *query.GroupState) *query.Group {
		return asking(t, v, &query.Request{Body: &query.Request_GroupState{GroupState: q}}).GetGroup().GetGroup()
	}
	other := event.Group(8)
	for _, key := range [][]byte{other[:], annBen[:], nil} {
		if g := none(&query.GroupState{Conversation: key}); g != nil {
			t.Errorf("%x: %v", key, g)
		}
	}
	if g := none(&query.GroupState{Conversation: team[:], At: at[0] - 1}); at[0] > 1 && g != nil {
		t.Errorf("before it was made: %v", g)
	}
}

func TestWhatAVoidEventOnItsSubjectLeaves(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, add(0, ben))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	same(t, "not made", []string{groupSays(t, v, &query.GroupState{})}, []string{"none"})
	l.Append(writer, created(normal, ann, ben))
	l.Append(writer, sent(second(0), team, ann), renamed(ann, "not alone, so not on the subject"))
	projectiontest.Apply(t, v, l.Records[1:])
	projectiontest.Commit(t, v)
	same(t, "made", []string{groupSays(t, v, &query.GroupState{})}, []string{`7 v2 "not alone, so not on the subject" of 2 by 1, subject 2`})
}

func TestMembersReadWhatWasWrittenSinceTheyJoined(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, created(temporary, ann, ben))
	l.Append(writer, sent(second(0), team, ann), sent(second(1), team, ben))
	l.Append(writer, add(ann, cleo))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	history := func(user uint32) []uint32 {
		return askHistory(t, v, &query.History{Conversation: team[:], User: user, Count: 100})
	}
	byIDs := func(user uint32) (out []uint32) {
		a := asking(t, v, &query.Request{Body: &query.Request_ByIds{ByIds: &query.ByIds{Conversation: team[:], User: user, Ids: []uint32{1, 2, 3, 4, 5}}}})
		for _, m := range a.GetMessages().GetMessages() {
			out = append(out, m.Id)
		}
		return out
	}
	head := func(user uint32) [2]uint32 {
		h := asking(t, v, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: team[:], User: user}}}).GetHead()
		return [2]uint32{h.Head, h.Cursor}
	}
	then := func(events ...*event.Event) {
		at := len(l.Records)
		for _, ev := range events {
			l.Append(writer, ev)
		}
		projectiontest.Apply(t, v, l.Records[at:])
		projectiontest.Commit(t, v)
	}
	same(t, "cleo has just come", history(cleo), nil)
	same(t, "and nothing is unread", [][2]uint32{head(cleo), head(ben)}, [][2]uint32{{2, 2}, {2, 2}})
	same(t, "nor listed", askLists(t, v, &query.Lists{User: cleo}), nil)
	then(sent(second(2), team, ann))
	same(t, "one since", history(cleo), []uint32{3})
	same(t, "by id", byIDs(cleo), []uint32{3})
	same(t, "ben sees all", history(ben), []uint32{3, 2, 1})
	same(t, "by id too", byIDs(ben), []uint32{3, 2, 1})
	same(t, "of cleo", askLists(t, v, &query.Lists{User: cleo}), []string{`g-7 head 3 cursor 2: 3 "from 1"`})
	then(del(ann, cleo), sent(second(3), team, ann))
	same(t, "cleo was removed", history(cleo), nil)
	same(t, "and asks by id", byIDs(cleo), nil)
	same(t, "and for the head", [][2]uint32{head(cleo)}, [][2]uint32{{0, 0}})
	same(t, "and for lists", askLists(t, v, &query.Lists{User: cleo}), nil)
	same(t, "and for unread", askLists(t, v, &query.Lists{User: cleo, UnreadOnly: true}), nil)
	then(add(ann, cleo), sent(second(4), team, ann))
	same(t, "cleo is back, what came between stays closed", history(cleo), []uint32{5})
	same(t, "from below", askHistory(t, v, &query.History{Conversation: team[:], User: cleo, Begin: 4, Count: 9}), nil)
	then(shield(cleo, true))
	a := asking(t, v, &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{User: cleo}}})
	if e := a.GetLists().GetEntries(); len(e) != 1 || !e[0].Shielded {
		t.Errorf("lists %v", e)
	}
	// An entry that was taken away is gone from the recent ones, and counts as unread.
	then(remove(team, ben), sent(second(5), team, ann))
	same(t, "not recent", askLists(t, v, &query.Lists{User: ben}), nil)
	same(t, "unread", askLists(t, v, &query.Lists{User: ben, UnreadOnly: true}), []string{`g-7 head 6 cursor 5: 6 "from 1"`})
	then(sent(second(6), team, ben))
	same(t, "recent again", askLists(t, v, &query.Lists{User: ben}), []string{`g-7 head 7 cursor 7: 7 "from 2"`})
}

func TestGroupListsArePaged(t *testing.T) {
	l := new(projectiontest.Log)
	for n := uint32(1); n <= 9; n++ {
		key := event.Group(n)
		l.Append(writer, in(created(event.GroupType(1+n%2), ann, ben+n%2), key[:]))
	}
	key := event.Group(4)
	l.Append(writer, in(del(0, ben), key[:]))
	l.Append(writer, sent(second(0), annBen, ann))
	key = event.Group(6)
	l.Append(writer, in(dissolved(0), key[:]))
	key = event.Group(12)
	l.Append(writer, in(add(0, ben), key[:])) // there is none
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	page := func(user, after, limit uint32) string {
		a := asking(t, v, &query.Request{Body: &query.Request_GroupList{GroupList: &query.GroupList{User: user, After: after, Limit: limit}}}).GetGroupList()
		var out []uint32
		for _, g := range a.Groups {
			out = append(out, g.Group)
		}
		return fmt.Sprint(out, a.More)
	}
	for _, c := range []struct {
		user, after, limit uint32
		want               string
	}{
		{0, 0, 0, "[1 2 3 4 5 6 7 8 9] false"},
		{0, 0, 4, "[1 2 3 4] true"},
		{0, 4, 5, "[5 6 7 8 9] false"},
		{0, 9, 5, "[] false"},
		{ann, 0, 0, "[1 2 3 4 5 7 8 9] false"},
		{ben, 0, 0, "[2 8] false"},
		{ben, 0, 1, "[2] true"},
		{ben, 2, 1, "[8] false"},
		{cleo, 3, 2, "[5 7] true"},
		{dora, 0, 0, "[] false"},
	} {
		if got := page(c.user, c.after, c.limit); got != c.want {
			t.Errorf("of %d after %d, at most %d: %s, want %s", c.user, c.after, c.limit, got, c.want)
		}
	}
}

// tells lists what an event tells and whom, "added v2 to g-7", …
func tells(e view.Effect) (out []string) {
	for _, d := range e.Deliveries {
		c := ConcernOf(&e, d)
		whom := fmt.Sprint(c.First, " ", c.Second)
		if c.Group != 0 {
			whom = fmt.Sprint("g-", c.Group)
			if c.Leavers {
				whom += " and who left"
			}
		}
		what := fmt.Sprintf("%T", d.Body)[len("*frame.Delivery_"):]
		if g := d.GetGroupChange(); g != nil {
			what = fmt.Sprintf("%v v%d by %d, %d members, %q, administrator %d", g.Kind, g.Version, g.User, g.Members, g.Name, g.Administrator)
		}
		out = append(out, what+" to "+whom)
	}
	if m := e.Members; m != nil {
		out = append(out, fmt.Sprintf("+%v -%v", m.Joined, m.Left))
	}
	return out
}

func TestWhatGroupsAreTold(t *testing.T) {
	l := new(projectiontest.Log)
	for _, s := range []*event.Event{
		created(temporary, ann, ben),
		sent(second(0), team, ann),
		membersChanged(ann, []uint32{cleo}, []uint32{ben}),
		sent(second(0), team, ann), read(team, cleo, 2), read(team, cleo, 2),
		renamed(ann, "crew"),
		shield(ann, true),
		remove(team, ann),
		imported(add(0, dora), 2, 1),
		dissolved(0),
	} {
		l.Append(writer, s)
	}
	_, applied := projectiontest.Fold(t, New(0), l.Records)
	var got []string
	for _, a := range applied {
		got = append(got, tells(a.Effects[0])...)
	}
	same(t, "told", got, []string{
		`KIND_ADDED v1 by 1, 2 members, "team", administrator 1 to g-7`, "+[1 2] -[]",
		"Message to g-7",
		`KIND_ADDED v2 by 1, 2 members, "team", administrator 1 to g-7`,
		`KIND_REMOVED v2 by 1, 2 members, "team", administrator 1 to g-7 and who left`, "+[3] -[2]",
		"Message to g-7", "Read to g-7",
		`KIND_CHANGED v3 by 1, 2 members, "crew", administrator 1 to g-7`,
		"EntryRemoved to 1 0",
		"+[4] -[]",
		`KIND_DISSOLVED v5 by 0, 0 members, "crew", administrator 0 to g-7 and who left`, "+[] -[1 3 4]",
	})
}

func TestWhoComesAndGoesForEverKeepsASmallRow(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, created(temporary, ann, ben))
	var here, away []uint64
	for range 3 * maxIntervals / 2 {
		away = append(away, l.Append(writer, del(ben, ben)))
		here = append(here, l.Append(writer, add(ann, ben)))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	reading(t, v, func(r *view.Reader) struct{} {
		m := MembershipOf(r, team, ben)
		for i := range here {
			remembered := i >= len(here)-maxIntervals
			if m.At(here[i], 0) != remembered || m.At(away[i], 0) || m.LeftAt(here[i], 0) {
				t.Errorf("stay %d: here %v, away %v", i, m.At(here[i], 0), m.At(away[i], 0))
			}
			if left := m.LeftAt(away[i], 0); left != (i > len(here)-maxIntervals) {
				t.Errorf("leave %d: %v", i, left)
			}
		}
		if n := len(r.Get(memberBucket, new(keyBuf).number(team, ben))); n > 16*maxIntervals+32 {
			t.Errorf("a row of %d bytes", n)
		}
		return struct{}{}
	})
}

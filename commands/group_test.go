package commands

import (
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/schema/event"
	"godwit/schema/query"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

const (
	normal    = event.GroupType_GROUP_TYPE_NORMAL
	temporary = event.GroupType_GROUP_TYPE_TEMPORARY
)

func people(numbers ...uint32) (all []Person) {
	for _, n := range numbers {
		all = append(all, Person{Number: n})
	}
	return all
}

func TestCreateGroup(t *testing.T) {
	c := func(change func(*CreateGroup)) CreateGroup {
		g := CreateGroup{At: noon, From: desk, Type: temporary, Name: "lunch", AvatarURL: "http://a/g", Members: []uint32{9, 3, 9, 7}}
		change(&g)
		return g
	}
	same := func(*CreateGroup) {}
	made := func(change func(*event.GroupCreated)) *event.GroupCreated {
		e := &event.GroupCreated{Conversation: unhex("670000000000000005"), Type: temporary, Name: "lunch", AvatarUrl: "http://a/g", Creator: 7,
			Members: []uint32{3, 7, 9}, Limit: 10_000, Session: desk.ID.Bytes()}
		change(e)
		return e
	}
	state := CreateState{Number: 5, People: people(3, 7, 9)}
	api := func(creator uint32) CreateGroup {
		return CreateGroup{At: noon, Type: normal, Name: "all", Creator: creator, Members: []uint32{3}, By: "key k1"}
	}
	play(t, []scenario[CreateState]{
		{name: "members in order, each once", given: state, when: c(same), then: made(func(*event.GroupCreated) {})},
		{name: "the creator is added", given: CreateState{Number: 5, People: people(3, 9)}, when: c(func(g *CreateGroup) { g.Members = []uint32{3, 9} }), then: made(func(*event.GroupCreated) {})},
		{name: "who is unknown or disabled is left out", given: CreateState{Number: 5, People: []Person{{Number: 3, Disabled: true}, {Number: 9}}}, when: c(func(g *CreateGroup) { g.Members = []uint32{3, 4, 9, 0} }),
			then: made(func(e *event.GroupCreated) { e.Members = []uint32{7, 9} })},
		{name: "nobody else is known", given: CreateState{Number: 5}, when: c(same), then: made(func(e *event.GroupCreated) { e.Members = []uint32{7} })},
		{name: "as many as there is room for", given: state, when: c(func(g *CreateGroup) { g.Limit = 3 }), then: made(func(e *event.GroupCreated) { e.Limit = 3 })},
		{name: "one more", given: state, when: c(func(g *CreateGroup) { g.Limit = 2 }), refuse: ErrGroupFull},
		{name: "no limit is above the hard one", given: state, when: c(func(g *CreateGroup) { g.Limit = 1 << 20 }), then: made(func(e *event.GroupCreated) { e.Limit = 40_000 })},
		{name: "no name", given: state, when: c(func(g *CreateGroup) { g.Name = "" }), refuse: ErrGroupName},
		{name: "a long name", given: state, when: c(func(g *CreateGroup) { g.Name = strings.Repeat("ü", MaxGroupName+1) }), refuse: ErrGroupName},
		{name: "a name of no text", given: state, when: c(func(g *CreateGroup) { g.Name = "\xff" }), refuse: ErrGroupName},
		{name: "a long address", given: state, when: c(func(g *CreateGroup) { g.AvatarURL = strings.Repeat("x", MaxAvatarURL+1) }), refuse: ErrField},
		{name: "no list", given: state, when: c(func(g *CreateGroup) { g.Members = nil }), refuse: ErrNoMembers},
		{name: "a fixed group by a client", given: state, when: c(func(g *CreateGroup) { g.Type = normal }), refuse: ErrGroupType},
		{name: "of no type", given: state, when: c(func(g *CreateGroup) { g.Type = 0 }), refuse: ErrGroupType},
		{name: "before login", given: state, when: c(func(g *CreateGroup) { g.From = Session{} }), refuse: ErrNotLoggedIn},
		{name: "no number", when: c(same), refuse: ErrIncomplete},
		{name: "no time", given: state, when: c(func(g *CreateGroup) { g.At = time.Time{} }), refuse: ErrIncomplete},

		{name: "a fixed group by the API, of nobody's", given: state, when: api(0),
			then: &event.GroupCreated{Conversation: unhex("670000000000000005"), Type: normal, Name: "all", Members: []uint32{3}, Limit: 10_000, By: "key k1"}},
		{name: "and of somebody's", given: state, when: api(9),
			then: &event.GroupCreated{Conversation: unhex("670000000000000005"), Type: normal, Name: "all", Creator: 9, Members: []uint32{3, 9}, Limit: 10_000, By: "key k1"}},
		{name: "and of nobody known", given: CreateState{Number: 5, People: people(3)}, when: api(9), refuse: ErrNoSuchPerson},
		{name: "of nobody's, with nobody", given: CreateState{Number: 5}, when: api(0), refuse: ErrNoMembers},
		{name: "by the API and a session", given: state, when: c(func(g *CreateGroup) { g.By = "key k1" }), refuse: ErrIncomplete},
	})
}

func TestReserveNumberOfAGroup(t *testing.T) {
	got, err := CreateGroup{At: noon, From: desk, Type: temporary, Name: "lunch", Members: []uint32{3}}.Reserve()
	if want := eventOf(t, &event.GroupReserved{By: "user 7"}); err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := (CreateGroup{At: noon, From: desk, Type: temporary, Name: "lunch"}).Reserve(); err != ErrNoMembers {
		t.Errorf("a number for a group that is not made: %v, %v", got, err)
	}
}

func TestChangeMembers(t *testing.T) {
	state := func(kind event.GroupType) GroupState {
		return GroupState{Number: 5, Type: kind, Administrator: 3, Members: []uint32{3, 7, 9}, Joining: append(people(3, 4, 6, 7), Person{Number: 8, Disabled: true})}
	}
	add := func(users ...uint32) ChangeMembers {
		return ChangeMembers{At: noon, From: desk, Group: 5, Added: users}
	}
	remove := func(users ...uint32) ChangeMembers {
		return ChangeMembers{At: noon, From: desk, Group: 5, Removed: users}
	}
	by := func(user uint32, c ChangeMembers) ChangeMembers { c.From.User = user; return c }
	api := func(c ChangeMembers) ChangeMembers { c.From, c.By = Session{}, "key k1"; return c }
	changed := func(user uint32, added, removed []uint32) *event.GroupMembersChanged {
		e := &event.GroupMembersChanged{Conversation: unhex("670000000000000005"), Added: added, Removed: removed, User: user, Limit: 10_000}
		if user != 0 {
			e.Session = desk.ID.Bytes()
		} else {
			e.By = "key k1"
		}
		return e
	}
	limited := func(limit int, c ChangeMembers) ChangeMembers { c.Limit = limit; return c }
	bare := state(temporary)
	bare.Joining = nil
	over := state(temporary)
	over.Dissolved, over.Members = true, nil
	play(t, []scenario[GroupState]{
		{name: "a member adds to a temporary group", given: state(temporary), when: add(6, 4, 4), then: changed(7, []uint32{4, 6}, nil)},
		{name: "who is there, unknown or disabled is left out", given: state(temporary), when: add(4, 9, 8, 77, 0), then: changed(7, []uint32{4}, nil)},
		{name: "nobody is left", given: state(temporary), when: add(9, 8, 77), refuse: ErrNothingToDo},
		{name: "nothing is known of them", given: bare, when: add(4), refuse: ErrNothingToDo},
		{name: "a member adds to a fixed group", given: state(normal), when: add(4), refuse: ErrNotAdministrator},
		{name: "the administrator adds to a fixed group", given: state(normal), when: by(3, add(4)), then: changed(3, []uint32{4}, nil)},
		{name: "somebody else adds", given: state(temporary), when: by(4, add(4)), refuse: ErrNotMember},
		{name: "one leaves", given: state(temporary), when: remove(7), then: changed(7, nil, []uint32{7})},
		{name: "one leaves a fixed group", given: state(normal), when: remove(7, 7), then: changed(7, nil, []uint32{7})},
		{name: "a member removes another", given: state(temporary), when: remove(9), refuse: ErrNotAdministrator},
		{name: "a member goes and takes another along", given: state(temporary), when: remove(7, 9), refuse: ErrNotAdministrator},
		{name: "the administrator removes", given: state(temporary), when: by(3, remove(9, 7, 4)), then: changed(3, nil, []uint32{7, 9})},
		{name: "the administrator leaves", given: state(temporary), when: by(3, remove(3)), then: changed(3, nil, []uint32{3})},
		{name: "the administrator removes nobody there", given: state(temporary), when: by(3, remove(4)), refuse: ErrNothingToDo},
		{name: "who is not there leaves", given: state(temporary), when: by(4, remove(4)), refuse: ErrNotMember},
		{name: "nobody is named", given: state(temporary), when: add(), refuse: ErrNoMembers},
		{name: "the API does both", given: state(normal), when: api(ChangeMembers{At: noon, Group: 5, Added: []uint32{4}, Removed: []uint32{9}}), then: changed(0, []uint32{4}, []uint32{9})},
		{name: "both with one", given: state(normal), when: api(ChangeMembers{At: noon, Group: 5, Added: []uint32{4}, Removed: []uint32{4}}), refuse: ErrMembers},
		{name: "as many as there is room for", given: state(temporary), when: limited(4, add(4)), then: func() any { e := changed(7, []uint32{4}, nil); e.Limit = 4; return e }()},
		{name: "one more", given: state(temporary), when: limited(3, add(4)), refuse: ErrGroupFull},
		{name: "one goes though there are too many", given: state(temporary), when: limited(1, remove(7)), then: func() any { e := changed(7, nil, []uint32{7}); e.Limit = 1; return e }()},
		{name: "of no group", when: add(4), refuse: ErrNoSuchGroup},
		{name: "of another than was asked about", given: GroupState{Number: 6, Members: []uint32{7}}, when: add(4), refuse: ErrNoSuchGroup},
		{name: "of a dissolved group", given: over, when: add(4), refuse: ErrNoSuchGroup},
		{name: "before login", given: state(temporary), when: ChangeMembers{At: noon, Group: 5, Added: []uint32{4}}, refuse: ErrNotLoggedIn},
		{name: "no time", given: state(temporary), when: ChangeMembers{From: desk, Group: 5, Added: []uint32{4}}, refuse: ErrIncomplete},
	})
}

// Whatever is asked, an event names only those whom it changes, and never more than a group may have.
func TestChangeMembersNamesWhoReallyComesAndGoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string) []uint32 { return rapid.SliceOfN(rapid.Uint32Range(0, 9), 0, 8).Draw(t, label) }
		members := ascending(some("members"), func(user uint32) bool { return user != 0 })
		s := GroupState{Number: 5, Type: temporary, Administrator: rapid.Uint32Range(0, 9).Draw(t, "administrator"), Members: members}
		for _, user := range ascending(some("known"), func(user uint32) bool { return user != 0 }) {
			s.Joining = append(s.Joining, Person{Number: user, Disabled: rapid.Bool().Draw(t, "disabled")})
		}
		c := ChangeMembers{At: noon, Group: 5, Added: some("added"), Removed: some("removed"), Limit: rapid.IntRange(1, 9).Draw(t, "limit"), By: "x"}
		if user := rapid.Uint32Range(0, 9).Draw(t, "user"); user != 0 {
			c.From, c.By = Session{ID: id(1), User: user}, ""
		}
		ev, err := c.Decide(s)
		if err != nil {
			return
		}
		e := ev.GetGroupMembersChanged()
		for _, user := range e.Added {
			i := slices.IndexFunc(s.Joining, func(p Person) bool { return p.Number == user })
			if s.has(user) || i < 0 || s.Joining[i].Disabled || !slices.Contains(c.Added, user) {
				t.Fatalf("%d is added", user)
			}
		}
		for _, user := range e.Removed {
			if !s.has(user) || !slices.Contains(c.Removed, user) || c.By == "" && user != c.From.User && c.From.User != s.Administrator {
				t.Fatalf("%d is removed by %d", user, c.From.User)
			}
		}
		if len(e.Added)+len(e.Removed) == 0 || !slices.IsSorted(e.Added) || !slices.IsSorted(e.Removed) ||
			len(e.Added) > 0 && len(members)+len(e.Added)-len(e.Removed) > c.Limit || c.By == "" && !s.has(c.From.User) {
			t.Fatalf("%v of %v", e, members)
		}
	})
}

func TestUpdateGroup(t *testing.T) {
	state := GroupState{Number: 5, Type: temporary, Name: "lunch", AvatarURL: "a", Administrator: 7, Members: []uint32{3, 7}}
	fixed := state
	fixed.Type = normal
	c := func(change func(*UpdateGroup)) UpdateGroup {
		u := UpdateGroup{At: noon, From: desk, Group: 5}
		change(&u)
		return u
	}
	changed := func(change func(*event.GroupChanged)) *event.GroupChanged {
		e := &event.GroupChanged{Conversation: unhex("670000000000000005"), User: 7, Session: desk.ID.Bytes()}
		change(e)
		return e
	}
	rename := c(func(u *UpdateGroup) { u.Name = new("dinner") })
	dissolve := c(func(u *UpdateGroup) { u.Dissolve = true })
	play(t, []scenario[GroupState]{
		{name: "another name", given: state, when: rename, then: changed(func(e *event.GroupChanged) { e.Name = new("dinner") })},
		{name: "only what changes", given: state, when: c(func(u *UpdateGroup) { u.Name, u.AvatarURL, u.Administrator = new("lunch"), new(""), new(uint32(3)) }),
			then: changed(func(e *event.GroupChanged) { e.AvatarUrl, e.Administrator = new(""), new(uint32(3)) })},
		{name: "nothing changes", given: state, when: c(func(u *UpdateGroup) { u.Name, u.Administrator = new("lunch"), new(uint32(7)) }), refuse: ErrNothingToDo},
		{name: "nothing is asked", given: state, when: c(func(*UpdateGroup) {}), refuse: ErrNothingToDo},
		{name: "no name", given: state, when: c(func(u *UpdateGroup) { u.Name = new("") }), refuse: ErrGroupName},
		{name: "a name of two lines", given: state, when: c(func(u *UpdateGroup) { u.Name = new("a\nb") }), refuse: ErrGroupName},
		{name: "a long address", given: state, when: c(func(u *UpdateGroup) { u.AvatarURL = new(strings.Repeat("x", MaxAvatarURL+1)) }), refuse: ErrField},
		{name: "to somebody who is no member", given: state, when: c(func(u *UpdateGroup) { u.Administrator = new(uint32(4)) }), refuse: ErrNotMember},
		{name: "it is dissolved", given: state, when: dissolve, then: changed(func(e *event.GroupChanged) { e.Dissolved = true })},
		{name: "a fixed one is not", given: fixed, when: dissolve, refuse: ErrGroupType},
		{name: "but by the API", given: fixed, when: UpdateGroup{At: noon, Group: 5, Dissolve: true, By: "key k1"},
			then: &event.GroupChanged{Conversation: unhex("670000000000000005"), Dissolved: true, By: "key k1"}},
		{name: "by a member", given: GroupState{Number: 5, Type: temporary, Administrator: 3, Members: []uint32{3, 7}}, when: rename, refuse: ErrNotAdministrator},
		{name: "by somebody else", given: GroupState{Number: 5, Type: temporary, Administrator: 7, Members: []uint32{3}}, when: rename, refuse: ErrNotMember},
		{name: "of no group", when: rename, refuse: ErrNoSuchGroup},
		{name: "of a dissolved group", given: GroupState{Number: 5, Administrator: 7, Members: []uint32{7}, Dissolved: true}, when: rename, refuse: ErrNoSuchGroup},
		{name: "before login", given: state, when: UpdateGroup{At: noon, Group: 5, Dissolve: true}, refuse: ErrNotLoggedIn},
		{name: "no time", given: state, when: UpdateGroup{From: desk, Group: 5, Dissolve: true}, refuse: ErrIncomplete},
	})
}

func TestShieldGroup(t *testing.T) {
	play(t, []scenario[struct{}]{
		{name: "on", when: alone{ShieldGroup{At: noon, From: phone, Group: 5, Shielded: true}},
			then: &event.GroupShieldSet{Conversation: unhex("670000000000000005"), User: 7, Shielded: true, Session: phone.ID.Bytes()}},
		{name: "off", when: alone{ShieldGroup{At: noon, From: phone, Group: 5}},
			then: &event.GroupShieldSet{Conversation: unhex("670000000000000005"), User: 7, Session: phone.ID.Bytes()}},
		{name: "in a user's name", when: alone{ShieldGroup{At: noon, From: Session{User: 7}, Group: 5, Shielded: true, By: "key:k1"}},
			then: &event.GroupShieldSet{Conversation: unhex("670000000000000005"), User: 7, Shielded: true, By: "key:k1"}},
		{name: "in nobody's name", when: alone{ShieldGroup{At: noon, Group: 5, By: "key:k1"}}, refuse: ErrIncomplete},
		{name: "of group 0", when: alone{ShieldGroup{At: noon, From: phone}}, refuse: ErrNoSuchGroup},
		{name: "before login", when: alone{ShieldGroup{At: noon, Group: 5}}, refuse: ErrNotLoggedIn},
		{name: "no time", when: alone{ShieldGroup{From: phone, Group: 5}}, refuse: ErrIncomplete},
	})
}

func TestStateOfAGroup(t *testing.T) {
	got := GroupStateOf(&query.GroupAnswer{Group: &query.Group{Group: 5, Type: normal, Name: "n", AvatarUrl: "a", Administrator: 7, Dissolved: true}, Members: []uint32{3, 7}})
	if got.Number != 5 || got.Type != normal || got.Name != "n" || got.AvatarURL != "a" || got.Administrator != 7 || !got.Dissolved || !slices.Equal(got.Members, []uint32{3, 7}) {
		t.Errorf("%+v", got)
	}
	if none := GroupStateOf(nil); none.exists(0) || none.exists(5) {
		t.Error("no answer is a group")
	}
}

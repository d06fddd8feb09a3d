package people

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

var writer = projectiontest.ID(1)

// second is so many seconds after the beginning, as event times are.
func second(s int64) int64 { return projectiontest.Epoch + s*1000 }

// fold is the fold time of that second.
func fold(s int64) uint32 { return uint32(second(s) / 1000) }

func registered(at int64, name string, number uint32) *event.Event {
	return &event.Event{At: at, Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{
		Name: name, Number: number, PasswordHash: "hash of " + name, Nick: strings.ToUpper(name),
	}}}
}

func password(at int64, user uint32) *event.Event {
	return &event.Event{At: at, Body: &event.Event_PasswordChanged{PasswordChanged: &event.PasswordChanged{User: user, PasswordHash: "new"}}}
}

func disabled(at int64, user uint32) *event.Event {
	return &event.Event{At: at, Body: &event.Event_PersonDisabled{PersonDisabled: &event.PersonDisabled{User: user}}}
}

func enabled(at int64, user uint32) *event.Event {
	return &event.Event{At: at, Body: &event.Event_PersonEnabled{PersonEnabled: &event.PersonEnabled{User: user}}}
}

func befriended(lower, higher uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_FriendAdded{FriendAdded: &event.FriendAdded{Lower: lower, Higher: higher}}}
}

func unfriended(lower, higher uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_FriendRemoved{FriendRemoved: &event.FriendRemoved{Lower: lower, Higher: higher}}}
}

func text(e view.Effect) string {
	switch {
	case e.Void == frame.Void_VOID_NAME_TAKEN:
		return fmt.Sprintf("name_taken by %d", e.FirstID)
	case e.Void != 0:
		return strings.ToLower(strings.TrimPrefix(e.Void.String(), "VOID_"))
	case e.ID != 0:
		return fmt.Sprintf("number %d", e.ID)
	}
	var who []string
	for _, d := range e.Deliveries {
		p := d.GetPersonChanged()
		what := ""
		if p.Credentials {
			what = " " + strings.ToLower(strings.TrimPrefix(p.Reason.String(), "END_REASON_"))
		}
		if p.Friends {
			what = " friends"
		}
		if f := p.Friend; f != nil {
			what += friendText(f)
		}
		if d := p.Directory; d != nil {
			what += " directory"
			if d.AvatarUrl != nil {
				what += " avatar " + *d.AvatarUrl
			}
			if d.Signature != nil {
				what += " signature " + *d.Signature
			}
			if d.Departments {
				what += " departments"
			}
			if d.Keys {
				what += " keys"
			}
		}
		who = append(who, fmt.Sprint(p.User, what))
	}
	if len(who) == 0 {
		return "nobody"
	}
	return "tells " + strings.Join(who, ", ")
}

// friendText is " <kind> <other>", with "own" for who did it and "asked" for who had asked.
func friendText(f *frame.FriendChange) string {
	s := " " + strings.ToLower(strings.TrimPrefix(f.Kind.String(), "KIND_")) + fmt.Sprint(" ", f.Other)
	if f.Own {
		s += " own"
	}
	if f.Outgoing {
		s += " asked"
	}
	if f.Text != "" {
		s += " " + f.Text
	}
	if len(f.Session) > 0 {
		s += fmt.Sprintf(" by %x", f.Session[15])
	}
	return s
}

func TestWhatEventsComeTo(t *testing.T) {
	type step struct {
		ev   *event.Event
		want string
	}
	cases := []struct {
		name  string
		steps []step
	}{
		{"numbers follow the log", []step{
			{registered(second(0), "ann", 0), "number 1"},
			{registered(second(0), "ben", 0), "number 2"},
			{registered(second(0), "ann", 0), "name_taken by 1"},
			{registered(second(0), "cleo", 0), "number 3"},
		}},
		{"an import may name its own", []step{
			{registered(second(0), "ann", 100), "number 100"},
			{registered(second(0), "ben", 0), "number 101"},
			{registered(second(0), "cleo", 100), "number_taken"},
			{registered(second(0), "cleo", 50), "number 50"},
			{registered(second(0), "dan", 0), "number 102"},
			{registered(second(0), "ann", 7), "name_taken by 100"},
		}},
		{"numbers end", []step{
			{registered(second(0), "ann", math.MaxUint32), fmt.Sprint("number ", uint32(math.MaxUint32))},
			{registered(second(0), "ben", 0), "number_taken"},
			{registered(second(0), "ben", 3), "number 3"},
		}},
		{"names of an impossible form", []step{
			{registered(second(0), "", 0), "malformed"},
			{registered(second(0), strings.Repeat("x", MaxName+1), 0), "malformed"},
			{registered(second(0), strings.Repeat("x", MaxName), 0), "number 1"},
		}},
		{"accounts change", []step{
			{password(second(0), 1), "no_such_person"},
			{disabled(second(0), 1), "no_such_person"},
			{registered(second(0), "ann", 0), "number 1"},
			{password(second(0), 1), "tells 1 password_changed"},
			{enabled(second(0), 1), "no_effect"},
			{disabled(second(0), 1), "tells 1 disabled"},
			{disabled(second(0), 1), "no_effect"},
			{enabled(second(0), 1), "tells 1"},
		}},
		{"friends are two", []step{
			{registered(second(0), "ann", 0), "number 1"},
			{befriended(1, 2), "no_such_person"},
			{registered(second(0), "ben", 0), "number 2"},
			{befriended(2, 1), "malformed"},
			{befriended(1, 1), "malformed"},
			{befriended(0, 1), "malformed"},
			{unfriended(1, 2), "no_effect"},
			{befriended(1, 2), "tells 1 friends friends 2, 2 friends friends 1"},
			{befriended(1, 2), "no_effect"},
			{unfriended(1, 2), "tells 1 friends removed 2, 2 friends removed 1"},
			{unfriended(1, 2), "no_effect"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := new(projectiontest.Log)
			for _, s := range c.steps {
				l.Append(writer, s.ev)
			}
			_, applied := projectiontest.Fold(t, New(), l.Records)
			for i, a := range applied {
				if got := text(a.Effects[0]); got != c.steps[i].want {
					t.Errorf("step %d: %s, want %s", i+1, got, c.steps[i].want)
				}
			}
		})
	}
}

func ask(t *testing.T, v *view.View, q *query.Request) (a *query.Answer) {
	t.Helper()
	err := v.Read(func(r *view.Reader) error {
		a = New().Answer(r, q)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.Code != query.Code_CODE_OK {
		t.Fatalf("answer: %v", a)
	}
	return a
}

func byNameOf(t *testing.T, v *view.View, name string) *query.Account {
	t.Helper()
	return ask(t, v, &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: name}}}).GetAccount().GetAccount()
}

func TestAccountsAreFoundByNameAndNumber(t *testing.T) {
	l := new(projectiontest.Log)
	full := &event.PersonRegistered{
		Name: "ann", PasswordHash: "secret", Nick: "Ann", Gender: 2, AvatarUrl: "http://a", Department: 4, Email: "e",
		Telephone: "t", Domain: "ann", Employment: 3, Signature: "s",
	}
	l.Append(writer, &event.Event{At: second(3), Body: &event.Event_PersonRegistered{PersonRegistered: full}}, registered(second(3), "ben", 0))
	l.Append(writer, disabled(second(9), 1))
	v, _ := projectiontest.Fold(t, New(), l.Records)

	want := &query.Account{
		User: 1, Name: "ann", PasswordHash: "secret", Nick: "Ann", Gender: 2, AvatarUrl: "http://a", Department: 4, Email: "e",
		Telephone: "t", Domain: "ann", Employment: 3, Signature: "s", Disabled: true, Updated: fold(9), CredentialsSequence: 2,
	}
	if got := byNameOf(t, v, "ann"); !proto.Equal(got, want) {
		t.Errorf("by name: %v", got)
	}
	if got := byNameOf(t, v, "Ann"); got != nil {
		t.Errorf("by a name that is not normalised: %v", got)
	}
	if got := byNameOf(t, v, ""); got != nil {
		t.Errorf("by no name: %v", got)
	}
	want.PasswordHash = ""
	got := ask(t, v, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: []uint32{2, 9, 1}}}}).GetAccounts()
	if len(got.Accounts) != 2 || got.Accounts[0].Name != "ben" || !proto.Equal(got.Accounts[1], want) || got.More {
		t.Errorf("by number: %v", got)
	}
}

func TestListsOfPeopleComeInPages(t *testing.T) {
	l := new(projectiontest.Log)
	var events []*event.Event
	for i := range 300 {
		events = append(events, registered(second(0), fmt.Sprint("name", i), 0))
	}
	l.Append(writer, events...)
	v, _ := projectiontest.Fold(t, New(), l.Records)
	var got []uint32
	for after, more := uint32(0), true; more; {
		p := ask(t, v, &query.Request{Body: &query.Request_AccountList{AccountList: &query.AccountList{After: after, Limit: 70}}}).GetAccounts()
		for _, a := range p.Accounts {
			if a.PasswordHash != "" {
				t.Fatal("a password hash in a list")
			}
			got = append(got, a.User)
		}
		after, more = got[len(got)-1], p.More
	}
	if len(got) != 300 || !slices.IsSorted(got) {
		t.Errorf("%d accounts: %v", len(got), got)
	}
}

// TestChangesAreNeverMissed walks the changes with any limit while they go on.
func TestChangesAreNeverMissed(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, registered(second(10), "ann", 0), registered(second(99), "ben", 0))
	l.Append(writer, registered(second(10), "cleo", 0)) // the same second: one more
	l.Append(writer, registered(second(5), "dan", 0))   // an earlier one: one more again
	l.Append(writer, befriended(1, 2))                  // changes no account
	l.Append(writer, registered(second(50), "ann", 0))  // void
	l.Append(writer, registered(second(50), "eve", 0), password(second(60), 1))
	v, _ := projectiontest.Fold(t, New(), l.Records)

	changed := func(since, limit uint32) (out []string, latest uint32, more bool) {
		a := ask(t, v, &query.Request{Body: &query.Request_AccountsChanged{AccountsChanged: &query.AccountsChanged{Since: since, Limit: limit}}}).GetAccounts()
		for _, p := range a.Accounts {
			out = append(out, fmt.Sprint(p.Name, " ", int64(p.Updated)-int64(fold(0))))
		}
		return out, a.Latest, a.More
	}
	all := []string{"ben 10", "cleo 11", "dan 12", "ann 50", "eve 50"}
	if got, latest, more := changed(0, 0); !slices.Equal(got, all) || latest != fold(50) || more {
		t.Errorf("all: %v, latest %d, %v", got, latest, more)
	}
	if got, latest, more := changed(fold(50), 0); got != nil || latest != fold(50) || more {
		t.Errorf("none: %v, latest %d, %v", got, latest, more)
	}
	for limit := uint32(1); limit <= 6; limit++ {
		var got []string
		for since, more := uint32(0), true; more; {
			var page []string
			page, since, more = changed(since, limit)
			got = append(got, page...)
		}
		if !slices.Equal(got, all) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	if got, _, _ := changed(math.MaxUint32, 0); got != nil {
		t.Errorf("since the end of time: %v", got)
	}
}

func TestNamesRememberTheirSubject(t *testing.T) {
	l := new(projectiontest.Log)
	compared := func(name string, number uint32) *event.Event {
		ev := registered(second(0), name, number)
		ev.GetPersonRegistered().Compared = true
		return ev
	}
	l.Append(writer, compared("ann", 5))
	l.Append(writer, compared("ben", 5)) // void, but on ben's subject
	l.Append(writer, compared("ann", 0)) // void, on ann's
	l.Append(writer, registered(second(0), "cleo", 5), registered(second(0), "dan", 0))
	l.Append(writer, registered(second(0), "eve", 5)) // alone, but on the stream's own subject
	v, _ := projectiontest.Fold(t, New(), l.Records)
	for name, want := range map[string][2]uint64{"ann": {5, 3}, "ben": {0, 2}, "cleo": {0, 0}, "dan": {6, 0}, "eve": {0, 0}} {
		a := ask(t, v, &query.Request{Body: &query.Request_NameState{NameState: &query.NameState{Name: name}}}).GetNameState()
		if got := [2]uint64{uint64(a.User), a.SubjectSequence}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestFriendsAreSeenFromBothSides(t *testing.T) {
	l := new(projectiontest.Log)
	for i := range 4 {
		l.Append(writer, registered(second(0), fmt.Sprint("name", i), 0))
	}
	l.Append(writer, befriended(1, 2), befriended(2, 4), befriended(2, 3), unfriended(2, 3))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	for user, want := range map[uint32][]uint32{1: {2}, 2: {1, 4}, 3: nil, 4: {2}, 9: nil} {
		got := ask(t, v, &query.Request{Body: &query.Request_Friends{Friends: &query.Friends{User: user}}}).GetFriends().Users
		if !slices.Equal(got, want) {
			t.Errorf("friends of %d: %v, want %v", user, got, want)
		}
	}
}

func TestResyncNamesWhoseSessionsMustEnd(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, registered(second(0), "ann", 0), registered(second(0), "ben", 0), registered(second(0), "cleo", 0))
	l.Append(writer, password(second(0), 1))
	l.Append(projectiontest.ID(2), disabled(second(0), 2), enabled(second(0), 2), disabled(second(0), 2))
	v, _ := projectiontest.Fold(t, New(), l.Records)
	resync := func(req *frame.ResyncRequest) (a *frame.ResyncAnswer) {
		if err := v.Read(func(r *view.Reader) error { a = Resync(r, req); return nil }); err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := resync(&frame.ResyncRequest{Life: writer[:], Since: 1, Users: []*frame.ResyncUser{
		{User: 1, PeopleSequence: 1}, {User: 2, PeopleSequence: 2}, {User: 3, PeopleSequence: 1}, {User: 9},
	}})
	want := []*frame.PersonChanged{
		{User: 1, Credentials: true, Reason: event.EndReason_END_REASON_PASSWORD_CHANGED},
		{User: 2, Credentials: true, Reason: event.EndReason_END_REASON_DISABLED},
	}
	if !slices.EqualFunc(a.People, want, func(x, y *frame.PersonChanged) bool { return proto.Equal(x, y) }) || a.At != 3 || a.TooFar {
		t.Errorf("%v", a)
	}
	if len(a.Outcomes) != 1 || a.Outcomes[0].N != 2 || a.Outcomes[0].Sequence != 2 {
		t.Errorf("outcomes %v", a.Outcomes)
	}
	a = resync(&frame.ResyncRequest{Life: writer[:], Since: 3, Users: []*frame.ResyncUser{{User: 1, PeopleSequence: 2}, {User: 2, PeopleSequence: 3}}})
	if len(a.People) != 0 || len(a.Outcomes) != 0 {
		t.Errorf("decided after: %v", a)
	}
}

func TestOtherQuestionsAreRefused(t *testing.T) {
	v, _ := projectiontest.Fold(t, New(), nil)
	for _, q := range []*query.Request{
		{Body: &query.Request_Lives{}},
		{Body: &query.Request_Relations{Relations: &query.Relations{Others: make([]uint32, MaxUsers+1)}}},
		{Body: &query.Request_Relations{Relations: &query.Relations{Others: []uint32{1}, Users: []uint32{1, 2}}}},
		{Body: &query.Request_Devices{Devices: &query.Devices{Users: make([]uint32, MaxDevices+1)}}},
		{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: make([]uint32, MaxUsers+1)}}},
		{},
	} {
		err := v.Read(func(r *view.Reader) error {
			if a := New().Answer(r, q); a.Code != query.Code_CODE_BAD_REQUEST || a.Body != nil {
				t.Errorf("%v", a)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

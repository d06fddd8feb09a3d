package people

import (
	"fmt"
	"testing"

	"godwit/projections/projectiontest"
	"godwit/schema/event"
	"godwit/schema/query"
)

// A client that comes back asks for a list only if something in it has changed.
func TestWhatHasChangedForSomebodySinceATime(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, registered(second(10), "ann", 0), registered(second(10), "ben", 0), registered(second(10), "cleo", 0))
	l.Append(writer, &event.Event{At: second(20), Body: &event.Event_DepartmentChanged{
		DepartmentChanged: &event.DepartmentChanged{Make: true, Name: new("Sales")}}})
	l.Append(writer, &event.Event{At: second(30), Body: &event.Event_FriendAdded{FriendAdded: &event.FriendAdded{Lower: 1, Higher: 2}}})
	l.Append(writer, &event.Event{At: second(40), Body: &event.Event_ProfileChanged{
		ProfileChanged: &event.ProfileChanged{User: 3, Signature: new("hi")}}})
	v, _ := projectiontest.Fold(t, New(), l.Records)

	for _, c := range []struct {
		name        string
		user, since uint32
		friendsOnly bool
		want        string // directory, departments, friends
	}{
		{"ann from the beginning", 1, 0, false, "true true true"},
		{"ann since before the department", 1, fold(19), false, "true true true"},
		{"ann since the department", 1, fold(20), false, "true false true"},
		{"ann since she has a friend", 1, fold(30), false, "true false false"},
		{"cleo since then", 3, fold(20), false, "true false false"},
		{"ann now", 1, fold(40), false, "false false false"},
		{"ann, of friends only, since she has one", 1, fold(30), true, "false false false"},
		{"ann, of friends only, since before", 1, fold(29), true, "true false true"},
		{"cleo, of friends only", 3, fold(30), true, "true false false"},
		{"a time that has not come", 1, fold(41), false, "true true true"},
	} {
		got := ask(t, v, &query.Request{Body: &query.Request_PeopleChanged{PeopleChanged: &query.PeopleChanged{
			User: c.user, Since: c.since, FriendsOnly: c.friendsOnly}}}).GetPeopleChanged()
		if is := fmt.Sprint(got.GetDirectory(), got.GetDepartments(), got.GetFriends()); is != c.want {
			t.Errorf("%s: %s, want %s", c.name, is, c.want)
		}
		if got.GetLatest() != fold(40) {
			t.Errorf("%s: latest %d, want %d", c.name, got.GetLatest(), fold(40))
		}
	}
}

package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"godwit/internal/api"
	"godwit/schema/event"
)

// friendsOf are a user's friends, page by page.
func (s *side) friendsOf(user int) (all []uint32) {
	s.t.Helper()
	for next := ""; ; {
		var page struct {
			Friends []api.Friend
			Next    string
		}
		s.ok(http.StatusOK, "GET", path("/users/%d/friends?limit=2&cursor=%s", user, next), nil, &page)
		for _, f := range page.Friends {
			all = append(all, f.User)
		}
		if next = page.Next; next == "" {
			return all
		}
	}
}

func (s *side) requestsOf(user int) []string {
	s.t.Helper()
	var page struct{ Requests []api.FriendRequest }
	s.ok(http.StatusOK, "GET", path("/users/%d/friend-requests", user), nil, &page)
	all := []string{}
	for _, q := range page.Requests {
		all = append(all, fmt.Sprint(q.User, q.Outgoing, q.Text))
	}
	return all
}

func TestFriendsAreMadeAndAsked(t *testing.T) {
	r := newRig(t)
	r.people(6)
	for _, other := range []int{2, 3, 4, 5, 6} {
		r.ok(http.StatusNoContent, "PUT", path("/users/1/friends/%d", other), nil, nil)
	}
	r.ok(http.StatusNoContent, "PUT", "/users/2/friends/1", nil, nil) // they are
	if got := r.friendsOf(1); !slices.Equal(got, []uint32{2, 3, 4, 5, 6}) {
		t.Errorf("friends of 1: %v", got)
	}
	if got := r.friendsOf(6); !slices.Equal(got, []uint32{1}) {
		t.Errorf("friends of 6: %v", got)
	}
	r.ok(http.StatusNoContent, "DELETE", "/users/6/friends/1", nil, nil)
	r.ok(http.StatusNoContent, "DELETE", "/users/6/friends/1", nil, nil)
	if got := r.friendsOf(6); len(got) != 0 {
		t.Errorf("friends of 6 after the end: %v", got)
	}

	r.ok(http.StatusNoContent, "PUT", "/users/2/friend-requests/3", map[string]any{"text": "it's me"}, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/2/friend-requests/3", map[string]any{"text": "again"}, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/4/friend-requests/3", nil, nil)
	if got := r.requestsOf(3); !slices.Equal(got, []string{"2 falseit's me", "4 false"}) {
		t.Errorf("asked of 3: %q", got)
	}
	if got := r.requestsOf(2); !slices.Equal(got, []string{"3 trueit's me"}) {
		t.Errorf("asked by 2: %q", got)
	}
	r.ok(http.StatusNoContent, "POST", "/users/3/friend-requests/2", map[string]any{"accept": true}, nil)
	r.ok(http.StatusNoContent, "POST", "/users/3/friend-requests/4", map[string]any{"accept": false}, nil)
	if got := r.friendsOf(3); !slices.Equal(got, []uint32{1, 2}) || len(r.requestsOf(3)) != 0 {
		t.Errorf("friends of 3: %v, requests %v", got, r.requestsOf(3))
	}
	r.ok(http.StatusNoContent, "PUT", "/users/5/friend-requests/6", nil, nil)
	r.ok(http.StatusNoContent, "DELETE", "/users/5/friend-requests/6", nil, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/4/friend-requests/5", nil, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/5/friend-requests/4", nil, nil) // both asked
	if got := r.friendsOf(5); !slices.Equal(got, []uint32{1, 4}) || len(r.requestsOf(6)) != 0 {
		t.Errorf("friends of 5: %v, asked of 6 %v", got, r.requestsOf(6))
	}
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{404, "no_such_person", "GET", "/users/9/friends", nil},
		{404, "no_such_person", "GET", "/users/9/friend-requests", nil},
		{404, "no_such_person", "PUT", "/users/1/friends/9", nil},
		{404, "no_such_person", "DELETE", "/users/9/friends/1", nil},
		{422, "oneself", "PUT", "/users/1/friends/1", nil},
		{409, "already_friends", "PUT", "/users/1/friend-requests/2", nil},
		{404, "no_such_request", "POST", "/users/1/friend-requests/2", map[string]any{"accept": true}},
		{404, "no_such_request", "DELETE", "/users/1/friend-requests/2", nil},
		{422, "invalid", "POST", "/users/1/friend-requests/2", map[string]any{}},
		{422, "field", "PUT", "/users/5/friend-requests/6", map[string]any{"text": "a\nb"}},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
	for _, ev := range r.events(event.People) {
		if byOf(ev) != "operator" {
			t.Errorf("%v is by %q", ev, byOf(ev))
		}
	}
}

func TestAFriendGetsANameThatOnlyOneSees(t *testing.T) {
	r := newRig(t)
	r.people(3)
	r.ok(http.StatusNoContent, "PUT", "/users/1/friends/2", nil, nil)
	remark := func(user int) string {
		var page struct{ Friends []api.Friend }
		r.ok(http.StatusOK, "GET", path("/users/%d/friends", user), nil, &page)
		if len(page.Friends) != 1 {
			t.Fatalf("friends of %d: %v", user, page.Friends)
		}
		return page.Friends[0].Remark
	}
	const at = "/users/1/friends/2/remark"
	long := strings.Repeat("é", 32)
	key := r.key(api.UsersWrite)
	name := keyed(ask{method: "PUT", path: at, body: map[string]any{"remark": "Bobby"}, token: key}, "name")
	for range 2 {
		if got := r.do(name); got.status != http.StatusNoContent {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if remark(1) != "Bobby" || remark(2) != "" {
			t.Errorf("2 is %q for 1, who is %q for 2", remark(1), remark(2))
		}
	}
	for _, name := range []string{"", long} {
		r.ok(http.StatusNoContent, "PUT", at, map[string]any{"remark": name}, nil)
		if got := remark(1); got != name {
			t.Errorf("%q instead of %q", got, name)
		}
	}
	r.ok(http.StatusNoContent, "DELETE", "/users/2/friends/1", nil, nil)
	for _, c := range []struct {
		status     int
		name, path string
		body       any
	}{
		{409, "not_friends", at, map[string]any{"remark": "Bobby"}},
		{409, "not_friends", "/users/1/friends/3/remark", map[string]any{"remark": ""}},
		{422, "oneself", "/users/1/friends/1/remark", map[string]any{"remark": "I"}},
		{404, "no_such_person", "/users/1/friends/9/remark", map[string]any{"remark": "x"}},
		{404, "no_such_person", "/users/9/friends/1/remark", map[string]any{"remark": "x"}},
		{422, "field", "/users/1/friends/3/remark", map[string]any{"remark": long + "x"}},
		{422, "field", "/users/1/friends/3/remark", map[string]any{"remark": "a\nb"}},
		{422, "invalid", "/users/1/friends/3/remark", map[string]any{"remark": long + long + "x"}},
		{422, "invalid", "/users/1/friends/3/remark", map[string]any{}},
	} {
		r.refused(c.status, c.name, "PUT", c.path, c.body)
	}
	r.ok(http.StatusNoContent, "PUT", "/users/1/friends/2", nil, nil)
	if got := remark(1); got != "" {
		t.Errorf("the name %q outlived the friendship", got)
	}
	var by []string
	for _, ev := range r.events(event.People) {
		if m := ev.GetFriendRemarked(); m != nil {
			by = append(by, byOf(ev)+" "+m.GetRemark())
		}
	}
	if id := strings.Split(key, "_")[1]; !slices.Equal(by, []string{"key:" + id + " Bobby", "operator ", "operator " + long}) {
		t.Errorf("events: %q", by)
	}
}

func TestBlocksHold(t *testing.T) {
	r := newRig(t)
	r.people(4)
	blocked := func(user int) []uint32 {
		var page struct{ Users []uint32 }
		r.ok(http.StatusOK, "GET", path("/users/%d/blocks", user), nil, &page)
		return page.Users
	}
	r.ok(http.StatusNoContent, "PUT", "/users/1/blocks/3", nil, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/1/blocks/2", nil, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/1/blocks/2", nil, nil)
	if got := blocked(1); !slices.Equal(got, []uint32{2, 3}) || len(blocked(2)) != 0 {
		t.Errorf("1 blocks %v, 2 blocks %v", got, blocked(2))
	}
	for _, from := range []int{1, 2} {
		r.refused(http.StatusConflict, "blocked", "POST", "/messages", map[string]any{"from": from, "to_user": 3 - from, "text": "x"})
	}
	r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 2, "system": true, "to_user": 1, "text": "x"}, nil)
	r.refused(http.StatusConflict, "blocked", "PUT", "/users/1/friend-requests/2", nil)
	r.refused(http.StatusConflict, "blocked", "PUT", "/users/2/friend-requests/1", nil)
	r.ok(http.StatusNoContent, "DELETE", "/users/1/blocks/2", nil, nil)
	r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 2, "to_user": 1, "text": "x"}, nil)
	if got := blocked(1); !slices.Equal(got, []uint32{3}) {
		t.Errorf("1 blocks %v", got)
	}
	for _, s := range r.bus.Streams() {
		for _, ev := range r.events(s) {
			if ev.GetBlockChanged() != nil && (byOf(ev) != "operator" || ev.GetBlockChanged().GetUser() != 1) {
				t.Errorf("%v is by %q", ev, byOf(ev))
			}
		}
	}
	r.refused(http.StatusUnprocessableEntity, "oneself", "PUT", "/users/1/blocks/1", nil)
	r.refused(http.StatusNotFound, "no_such_person", "PUT", "/users/1/blocks/9", nil)
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/9/blocks", nil)
}

func TestStrangersAreRefusedWhereContactsAreFriends(t *testing.T) {
	r := newRig(t)
	r.people(2)
	r.cfg.FriendsOnly = true
	s := r.newSide(r.cfg)
	hello := map[string]any{"from": 1, "to_user": 2, "text": "x"}
	s.refused(http.StatusConflict, "not_friends", "POST", "/messages", hello)
	s.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 1, "system": true, "to_user": 2, "text": "x"}, nil)
	s.ok(http.StatusNoContent, "PUT", "/users/1/friends/2", nil, nil)
	s.ok(http.StatusCreated, "POST", "/messages", hello, nil)
}

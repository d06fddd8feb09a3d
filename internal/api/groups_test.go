package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/internal/api"
	"godwit/schema/event"
)

// people makes n accounts, numbered from 1.
func (r *rig) people(n int) {
	r.t.Helper()
	for i := range n {
		r.user(fmt.Sprintf("p%02d", i+1))
	}
}

func (s *side) members(group int) []uint32 {
	s.t.Helper()
	var all []uint32
	for next := ""; ; {
		var page struct {
			Members []uint32
			Next    string
		}
		s.ok(http.StatusOK, "GET", path("/groups/%d/members?limit=2&cursor=%s", group, next), nil, &page)
		all = append(all, page.Members...)
		if next = page.Next; next == "" {
			return all
		}
	}
}

func TestGroupsAreMadeAndChanged(t *testing.T) {
	r := newRig(t)
	r.people(6)
	var g api.Group
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "creator": 1, "members": []int{3, 2, 3}, "avatar_url": "http://a/g.png"}, &g)
	if g.Number != 1 || g.Type != "normal" || g.Name != "team" || g.AvatarURL != "http://a/g.png" || g.Creator != 1 || g.Administrator != 1 ||
		g.Version != 1 || g.Members != 3 || g.Dissolved || g.Created.IsZero() {
		t.Fatalf("%+v", g)
	}
	if got := r.members(1); !slices.Equal(got, []uint32{1, 2, 3}) {
		t.Fatalf("members %v", got)
	}
	r.ok(http.StatusOK, "POST", "/groups/1/members", map[string]any{"add": []int{4, 5, 2}, "remove": []int{3, 6}}, &g)
	if got := r.members(1); g.Version != 2 || g.Members != 4 || !slices.Equal(got, []uint32{1, 2, 4, 5}) {
		t.Fatalf("%+v, members %v", g, got)
	}
	// What is so already is no change.
	r.ok(http.StatusOK, "PUT", "/groups/1/members/5", nil, &g)
	r.ok(http.StatusOK, "DELETE", "/groups/1/members/3", nil, &g)
	r.ok(http.StatusOK, "PATCH", "/groups/1", map[string]any{"name": "team"}, &g)
	if g.Version != 2 {
		t.Fatalf("version %d after nothing", g.Version)
	}
	r.ok(http.StatusOK, "PATCH", "/groups/1", map[string]any{"name": "crew", "administrator": 4}, &g)
	if g.Version != 3 || g.Name != "crew" || g.Administrator != 4 || g.AvatarURL != "http://a/g.png" {
		t.Fatalf("%+v", g)
	}
	r.ok(http.StatusOK, "DELETE", "/groups/1/members/4", nil, &g)
	if g.Administrator != 1 {
		t.Errorf("administrator %d after the one before has left, want the oldest member", g.Administrator)
	}
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "nobody's", "type": "temporary", "members": []int{1, 2}}, &g)
	if g.Number != 2 || g.Type != "temporary" || g.Creator != 0 || g.Administrator != 0 || g.Members != 2 {
		t.Errorf("%+v", g)
	}
	r.ok(http.StatusNoContent, "DELETE", "/groups/1", nil, nil)
	r.ok(http.StatusNoContent, "DELETE", "/groups/1", nil, nil)
	r.ok(http.StatusOK, "GET", "/groups/1", nil, &g)
	if !g.Dissolved || g.Members != 0 {
		t.Errorf("%+v", g)
	}
	for _, c := range []struct {
		path string
		want []uint32
	}{{"/groups?limit=1", []uint32{1, 2}}, {"/users/1/groups", []uint32{2}}, {"/users/6/groups", nil}} {
		var got []uint32
		for next := ""; ; {
			var page struct {
				Groups []api.Group
				Next   string
			}
			sep := "?"
			if strings.Contains(c.path, "?") {
				sep = "&"
			}
			r.ok(http.StatusOK, "GET", c.path+sep+"cursor="+next, nil, &page)
			for _, g := range page.Groups {
				got = append(got, g.Number)
			}
			if next = page.Next; next == "" {
				break
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.path, got, c.want)
		}
	}
	for _, s := range r.bus.Streams() {
		for _, ev := range r.events(s) {
			if (ev.GetGroupCreated() != nil || ev.GetGroupMembersChanged() != nil || ev.GetGroupChanged() != nil || ev.GetGroupReserved() != nil) && byOf(ev) != "operator" {
				t.Errorf("%v is by %q", ev, byOf(ev))
			}
		}
	}
}

func TestGroupsAreRefused(t *testing.T) {
	r := newRig(t)
	r.people(3)
	r.ok(http.StatusOK, "POST", "/users/3/disable", nil, nil)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1}}, nil)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "gone", "members": []int{1}}, nil)
	r.ok(http.StatusNoContent, "DELETE", "/groups/2", nil, nil)
	before := r.counted()
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{404, "no_such_person", "POST", "/groups", map[string]any{"name": "x", "members": []int{1, 9}}},
		{404, "no_such_person", "POST", "/groups", map[string]any{"name": "x", "creator": 9}},
		{409, "person_disabled", "POST", "/groups", map[string]any{"name": "x", "members": []int{1, 3}}},
		{422, "no_members", "POST", "/groups", map[string]any{"name": "x"}},
		{422, "group_name", "POST", "/groups", map[string]any{"name": "a\nb", "members": []int{1}}},
		{422, "invalid", "POST", "/groups", map[string]any{"name": "", "members": []int{1}}},
		{422, "invalid", "POST", "/groups", map[string]any{"name": "x", "type": "huge", "members": []int{1}}},
		{422, "invalid", "POST", "/groups", map[string]any{"name": "x", "members": []int{-1}}},
		{404, "no_such_group", "GET", "/groups/9", nil},
		{404, "no_such_group", "GET", "/groups/9/members", nil},
		{404, "no_such_group", "PATCH", "/groups/9", map[string]any{"name": "x"}},
		{404, "no_such_group", "DELETE", "/groups/9", nil},
		{404, "no_such_group", "PUT", "/groups/9/members/1", nil},
		{404, "no_such_group", "PUT", "/groups/2/members/1", nil},
		{404, "no_such_group", "PATCH", "/groups/2", map[string]any{"name": "x"}},
		{404, "no_such_person", "PUT", "/groups/1/members/9", nil},
		{409, "person_disabled", "PUT", "/groups/1/members/3", nil},
		{409, "not_member", "PATCH", "/groups/1", map[string]any{"administrator": 2}},
		{422, "nothing_to_change", "PATCH", "/groups/1", map[string]any{}},
		{422, "members", "POST", "/groups/1/members", map[string]any{"add": []int{2}, "remove": []int{2}}},
		{422, "no_members", "POST", "/groups/1/members", map[string]any{}},
		{404, "no_such_person", "GET", "/users/9/groups", nil},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
	if after := r.counted(); after != before {
		t.Errorf("refusals added %d events", after-before)
	}
	r.cfg.GroupLimit = 2
	s := r.newSide(r.cfg)
	s.ok(http.StatusOK, "PUT", "/groups/1/members/2", nil, nil)
	r.user("p04")
	s.refused(http.StatusConflict, "group_full", "PUT", "/groups/1/members/4", nil)
	s.refused(http.StatusConflict, "group_full", "POST", "/groups", map[string]any{"name": "x", "members": []int{1, 2, 4}})
}

// Members changed by many at once end in the state that the log defines, and no change is lost.
func TestAMemberMutesAGroup(t *testing.T) {
	r := newRig(t)
	r.people(3)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1, 2}}, nil)
	r.send(map[string]any{"system": true, "to_group": 1, "text": "x"})
	muted := func(user int) bool {
		var m api.Member
		r.ok(http.StatusOK, "GET", path("/groups/1/members/%d", user), nil, &m)
		if m.User != uint32(user) {
			t.Fatalf("%+v instead of %d", m, user)
		}
		var page struct{ Conversations []api.Conversation }
		r.ok(http.StatusOK, "GET", path("/users/%d/conversations", user), nil, &page)
		if len(page.Conversations) != 1 || page.Conversations[0].Muted != m.Muted {
			t.Fatalf("the member is %+v, his conversations are %+v", m, page.Conversations)
		}
		return m.Muted
	}
	for _, on := range []bool{true, true, false, false, true} {
		var m api.Member
		r.ok(http.StatusOK, "PUT", "/groups/1/members/1/muted", map[string]any{"on": on}, &m)
		if want := (api.Member{User: 1, Muted: on}); m != want || muted(1) != on || muted(2) {
			t.Errorf("after %v: %+v, 1 is muted: %v, 2: %v", on, m, muted(1), muted(2))
		}
	}
	events := 0
	for _, s := range r.bus.Streams() {
		for _, ev := range r.events(s) {
			if m := ev.GetGroupShieldSet(); m != nil {
				events++
				if m.By != "operator" || m.User != 1 || len(m.Session) != 0 {
					t.Errorf("%v", m)
				}
			}
		}
	}
	if events != 3 {
		t.Errorf("%d events for three changes", events)
	}
	on := map[string]any{"on": true}
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{409, "not_member", "GET", "/groups/1/members/3", nil},
		{409, "not_member", "PUT", "/groups/1/members/3/muted", on},
		{409, "not_member", "PUT", "/groups/1/members/9/muted", on},
		{404, "no_such_group", "GET", "/groups/9/members/1", nil},
		{404, "no_such_group", "PUT", "/groups/9/members/1/muted", on},
		{422, "invalid", "PUT", "/groups/1/members/1/muted", map[string]any{}},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
	r.ok(http.StatusOK, "DELETE", "/groups/1/members/1", nil, nil)
	r.refused(http.StatusConflict, "not_member", "PUT", "/groups/1/members/1/muted", on)
	r.ok(http.StatusNoContent, "DELETE", "/groups/1", nil, nil)
	r.refused(http.StatusNotFound, "no_such_group", "GET", "/groups/1/members/2", nil)
}

func TestMembersChangedAtOnceAreAllChanged(t *testing.T) {
	r := newRig(t)
	r.people(9)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1}}, nil)
	var asking sync.WaitGroup
	for user := 2; user <= 9; user++ {
		asking.Go(func() {
			for { // who loses too often is told so, and comes again
				got, err := r.try(ask{method: "PUT", path: path("/groups/1/members/%d", user)})
				if err != nil {
					t.Error(err)
					return
				}
				if got.status == http.StatusOK {
					return
				}
				var p api.Problem
				if json.Unmarshal(got.body, &p); p.Name != "conflict" || got.header.Get("Retry-After") == "" {
					t.Errorf("%d %s", got.status, got.body)
					return
				}
			}
		})
	}
	asking.Wait()
	var g api.Group
	r.ok(http.StatusOK, "GET", "/groups/1", nil, &g)
	if got := r.members(1); len(got) != 9 || g.Version != 9 {
		t.Errorf("members %v, version %d", got, g.Version)
	}
}

func TestTeamTalksPathsWork(t *testing.T) {
	r := newRig(t)
	r.people(4)
	k, other := r.key(api.GroupsWrite), r.key(api.GroupsRead)
	type answer struct {
		Code    int     `json:"error_code"`
		Message string  `json:"error_msg"`
		GroupID *uint32 `json:"group_id"`
	}
	post := func(path string, body any, header ...string) answer {
		t.Helper()
		got := r.do(ask{method: "POST", path: path, body: body, token: "-", header: header})
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "text/html;charset=utf-8" || got.header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("%s: %d %v %s", path, got.status, got.header, got.body)
		}
		var a answer
		got.into(t, &a)
		if (a.GroupID != nil) != (path == "/query/CreateGroup") || a.Message == "" {
			t.Fatalf("%s: %s", path, got.body)
		}
		return a
	}
	create := func(change map[string]any) map[string]any {
		all := map[string]any{"req_user_id": 1, "app_key": k, "group_name": "old", "group_type": 1, "group_avatar": "", "user_id_list": []int{1, 2, 99}}
		for name, v := range change {
			if all[name] = v; v == nil {
				delete(all, name)
			}
		}
		return all
	}
	a := post("/query/CreateGroup", create(nil))
	if a.Code != 0 || a.Message != "成功" || *a.GroupID != 1 {
		t.Fatalf("%+v", a)
	}
	var g api.Group
	r.ok(http.StatusOK, "GET", "/groups/1", nil, &g)
	if g.Name != "old" || g.Type != "normal" || g.Creator != 0 || !slices.Equal(r.members(1), []uint32{1, 2}) {
		t.Fatalf("%+v", g)
	}
	if a := post("/query/CreateGroup", create(map[string]any{"app_key": "", "group_type": 2}), "Authorization", "Bearer "+k); a.Code != 0 || *a.GroupID != 2 {
		t.Errorf("with a bearer token: %+v", a)
	}
	for name, c := range map[string]struct {
		change map[string]any
		code   int
	}{
		"unknown key": {map[string]any{"app_key": "asdfasdf"}, 2}, "no scope": {map[string]any{"app_key": other}, 5},
		"no key": {map[string]any{"app_key": nil}, 2}, "no name": {map[string]any{"group_name": nil}, 1}, "name is a number": {map[string]any{"group_name": 5}, 2},
		"type 3": {map[string]any{"group_type": 3}, 1}, "no list": {map[string]any{"user_id_list": nil}, 1}, "nobody in it": {map[string]any{"user_id_list": []int{99}}, 11},
		"empty name": {map[string]any{"group_name": ""}, 11}, "no user": {map[string]any{"req_user_id": nil}, 1},
	} {
		if name == "name is a number" {
			continue // below, with the key beside the body
		}
		if a := post("/query/CreateGroup", create(c.change)); a.Code != c.code || *a.GroupID != 0 {
			t.Errorf("%s: %+v, want %d", name, a, c.code)
		}
	}
	for _, body := range []any{create(map[string]any{"group_name": 5}), "no JSON", create(map[string]any{"req_user_id": "1"})} {
		if a := post("/query/CreateGroup", body, "Authorization", "Bearer "+k); a.Code != 1 {
			t.Errorf("%v: %+v", body, a)
		}
	}
	change := func(kind int, users ...int) map[string]any {
		return map[string]any{"req_user_id": 1, "app_key": k, "group_id": 1, "modify_type": kind, "user_id_list": append([]int{}, users...)}
	}
	for _, c := range []struct {
		body    map[string]any
		code    int
		members []uint32
	}{
		{change(1, 3, 99), 0, []uint32{1, 2, 3}},
		{change(1, 3), 12, []uint32{1, 2, 3}},
		{change(2, 2, 77), 0, []uint32{1, 3}},
		{change(2, 2), 0, []uint32{1, 3}},
		{change(2), 0, []uint32{1, 3}},
		{change(3, 2), 1, []uint32{1, 3}},
		{map[string]any{"req_user_id": 1, "app_key": k, "group_id": 77, "modify_type": 1, "user_id_list": []int{1}}, 12, []uint32{1, 3}},
	} {
		if a := post("/query/ChangeMembers", c.body); a.Code != c.code {
			t.Errorf("%v: %+v, want %d", c.body, a, c.code)
		}
		if got := r.members(1); !slices.Equal(got, c.members) {
			t.Errorf("%v: members %v, want %v", c.body, got, c.members)
		}
	}
	// A repeat with a key is one.
	for range 2 {
		if a := post("/query/CreateGroup", create(nil), "Idempotency-Key", "k"); a.Code != 0 || *a.GroupID != 3 {
			t.Errorf("%+v", a)
		}
	}
	problemOf(t, r.do(ask{method: "POST", path: "/query/SendMessage", body: "{}"}), http.StatusNotFound, "no_such_operation")
	problemOf(t, r.do(ask{method: "GET", path: "/query/CreateGroup"}), http.StatusMethodNotAllowed, "no_such_operation")
	byKey := 0
	for _, ev := range r.events(event.People) {
		if ev.GetGroupReserved() != nil && strings.HasPrefix(byOf(ev), "key:") {
			byKey++
		}
	}
	if byKey != 3 {
		t.Errorf("%d groups by a key, want 3", byKey)
	}
}

// A group of the default limit is made in one request and read in pages.
func TestAGroupOfTenThousandIsOneRequest(t *testing.T) {
	r := newRig(t)
	const n = commands.DefaultGroupLimit
	done := make(chan error, n+1)
	for i := range n + 1 {
		ev := &event.Event{At: 1, Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: fmt.Sprint("p", i+1), PasswordHash: "-"}}}
		for {
			err := r.node.Append(event.People, ev, func(res delivery.Result) { done <- res.Err })
			if err == nil {
				break
			}
			if !errors.Is(err, bus.ErrFull) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	members := make([]uint32, n)
	for i := range n + 1 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if i < n {
			members[i] = uint32(i + 1)
		}
	}
	var g api.Group
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "all", "members": members}, &g)
	if g.Members != n {
		t.Fatalf("%d members", g.Members)
	}
	r.refused(http.StatusConflict, "group_full", "PUT", path("/groups/1/members/%d", n+1), nil)
	var got []uint32
	for next := ""; ; {
		var page struct {
			Members []uint32
			Next    string
		}
		r.ok(http.StatusOK, "GET", "/groups/1/members?limit=1000&cursor="+next, nil, &page)
		got = append(got, page.Members...)
		if next = page.Next; next == "" {
			break
		}
	}
	if !slices.Equal(got, members) {
		t.Errorf("%d members in pages", len(got))
	}
	r.ok(http.StatusOK, "POST", "/groups/1/members", map[string]any{"remove": members[1:]}, &g)
	if g.Members != 1 {
		t.Errorf("%d members left", g.Members)
	}
}

package api_test

import (
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"godwit/internal/api"
	"godwit/internal/password"
	"godwit/schema/event"
	"godwit/schema/query"
)

func TestUsersAreMadeAndChanged(t *testing.T) {
	r := newRig(t)
	var u api.User
	r.ok(http.StatusCreated, "POST", "/users", map[string]any{
		"name": "Alice", "password": "one", "gender": 2, "avatar_url": "http://a/1.png", "department": 3, "email": "a@example.org",
		"telephone": "123", "domain": "alice", "signature": "hello",
	}, &u)
	if u.Number != 1 || u.Name != "alice" || u.Nick != "Alice" || u.Gender != 2 || u.AvatarURL != "http://a/1.png" || u.Department != 3 ||
		u.Email != "a@example.org" || u.Telephone != "123" || u.Domain != "alice" || u.Signature != "hello" || u.Disabled || u.Updated == 0 {
		t.Fatalf("%+v", u)
	}
	r.ok(http.StatusOK, "PATCH", "/users/1", map[string]any{"nick": "Al", "signature": ""}, &u)
	if u.Nick != "Al" || u.Signature != "" || u.Email != "a@example.org" {
		t.Fatalf("after a change of nick and signature: %+v", u)
	}
	r.ok(http.StatusOK, "POST", "/users/1/disable", nil, &u)
	if !u.Disabled {
		t.Fatal("not disabled")
	}
	before := len(r.events(event.People))
	r.ok(http.StatusOK, "POST", "/users/1/disable", nil, &u)
	if after := len(r.events(event.People)); !u.Disabled || after != before {
		t.Fatalf("disabled again: %+v, %d events", u, after-before)
	}
	r.ok(http.StatusOK, "POST", "/users/1/enable", nil, &u)
	r.ok(http.StatusNoContent, "PUT", "/users/1/password", map[string]any{"password": "two"}, nil)
	ans, err := r.node.Ask(t.Context(), &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: "alice"}}})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := r.hasher.Verify(t.Context(), password.MD5Hex("two"), ans.GetAccount().GetAccount().GetPasswordHash()); !ok || u.Disabled || err != nil {
		t.Fatalf("password not set (%v), or not enabled: %+v", err, u)
	}
	r.ok(http.StatusNoContent, "DELETE", "/users/1", nil, nil)
	r.ok(http.StatusOK, "GET", "/users/1", nil, &u)
	if !u.Disabled || u.Employment != 3 {
		t.Fatalf("deleted: %+v", u)
	}
	for _, ev := range r.events(event.People) {
		if by := byOf(ev); by != "operator" {
			t.Errorf("%T is by %q", ev.Body, by)
		}
	}
}

// byOf is who an event of PEOPLE says it is by.
func byOf(ev *event.Event) string {
	m := ev.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().ByName("body"))
	body := m.Get(f).Message()
	return body.Get(body.Descriptor().Fields().ByName("by")).String()
}

func TestUsersAreListedInPages(t *testing.T) {
	r := newRig(t)
	var want []uint32
	for _, name := range []string{"ann", "bob", "cid", "dee", "eve"} {
		want = append(want, r.user(name))
	}
	type page struct {
		Users []api.User `json:"users"`
		Next  string     `json:"next"`
	}
	var got []uint32
	pages := 0
	for next := ""; ; {
		var p page
		r.ok(http.StatusOK, "GET", "/users?limit=2&cursor="+next, nil, &p)
		for _, u := range p.Users {
			got = append(got, u.Number)
		}
		pages++
		if next = p.Next; next == "" {
			break
		}
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("%v in %d pages, want %v in 3", got, pages, want)
	}
	var p page
	r.ok(http.StatusOK, "GET", "/users?name=CID", nil, &p)
	if len(p.Users) != 1 || p.Users[0].Name != "cid" || p.Next != "" {
		t.Errorf("by name: %+v", p)
	}
	p = page{}
	if reply := r.ok(http.StatusOK, "GET", "/users?name=zed", nil, &p); !strings.Contains(string(reply.body), `"users":[]`) {
		t.Errorf("nobody of that name: %s", reply.body)
	}
	r.refused(http.StatusUnprocessableEntity, "invalid", "GET", "/users?cursor=abc", nil)
	r.refused(http.StatusUnprocessableEntity, "invalid", "GET", "/users?limit=1001", nil)
	r.refused(http.StatusUnprocessableEntity, "invalid", "GET", "/users?page=2", nil)
}

func TestUsersAreRefused(t *testing.T) {
	r := newRig(t)
	r.user("alice")
	add := func(change map[string]any) map[string]any {
		all := map[string]any{"name": "bob", "password": "x"}
		maps.Copy(all, change)
		return all
	}
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{409, "name_taken", "POST", "/users", add(map[string]any{"name": "ALICE"})},
		{409, "number_taken", "POST", "/users", add(map[string]any{"number": 1})},
		{422, "name_characters", "POST", "/users", add(map[string]any{"name": "a b"})},
		{422, "name_too_long", "POST", "/users", add(map[string]any{"name": strings.Repeat("a", 65)})},
		{422, "field", "POST", "/users", add(map[string]any{"nick": "a\tb"})},
		{422, "invalid", "POST", "/users", add(map[string]any{"password": ""})},
		{422, "invalid", "POST", "/users", add(map[string]any{"nickname": "b"})},
		{422, "invalid", "POST", "/users", add(map[string]any{"gender": 3})},
		{422, "invalid", "POST", "/users", map[string]any{"name": "bob"}},
		{400, "invalid", "POST", "/users", `{"name":`},
		{404, "no_such_person", "GET", "/users/9", nil},
		{404, "no_such_person", "PATCH", "/users/9", map[string]any{"nick": "x"}},
		{404, "no_such_person", "DELETE", "/users/9", nil},
		{404, "no_such_person", "POST", "/users/9/disable", nil},
		{404, "no_such_person", "POST", "/users/9/enable", nil},
		{404, "no_such_person", "PUT", "/users/9/password", map[string]any{"password": "x"}},
		{422, "nothing_to_change", "PATCH", "/users/1", map[string]any{}},
		{422, "invalid", "GET", "/users/alice", nil},
		{422, "invalid", "GET", "/users/0", nil},
		{404, "no_such_operation", "GET", "/nobody", nil},
		{405, "no_such_operation", "PUT", "/users/1", nil},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
	if got := len(r.events(event.People)); got != 1 {
		t.Errorf("%d events, want alice's alone", got)
	}
	large := `{"name":"` + strings.Repeat("x", api.MaxBody) + `"}`
	for _, header := range [][]string{nil, {"Idempotency-Key", "k"}} {
		problemOf(t, r.do(ask{method: "POST", path: "/users", body: large, header: header}), http.StatusRequestEntityTooLarge, "too_large")
	}
	// What is wrong is said by its place, and what was sent is not sent back.
	p := problemOf(t, r.do(ask{method: "PUT", path: "/users/1/password", body: map[string]any{"password": strings.Repeat("geheim", 60)}}), 422, "invalid")
	if len(p.Errors) != 1 || p.Errors[0].Location != "body.password" || strings.Contains(p.Errors[0].Message, "geheim") {
		t.Errorf("%+v", p)
	}
}

// A number of more than 32 bits must not stand for the one that is left of it.
func TestNumbersThatAreTooLargeAreNobodys(t *testing.T) {
	r := newRig(t)
	r.people(2)
	for _, q := range []ask{
		{method: "POST", path: "/users/4294967297/disable"},
		{method: "DELETE", path: "/users/4294967297"},
		{method: "PUT", path: "/users/1/friends/4294967298"},
		{method: "GET", path: "/groups/4294967297"},
		{method: "DELETE", path: "/departments/4294967297"},
		{method: "GET", path: "/users/1/conversations/user-2/messages/4294967297"},
	} {
		if got := r.do(q); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s %s: %d %s", q.method, q.path, got.status, got.body)
		}
	}
	var u api.User
	if r.ok(http.StatusOK, "GET", "/users/1", nil, &u); u.Disabled {
		t.Error("user 1 was closed in the place of 4294967297")
	}
	for at, op := range operations(r.api.Document()) {
		for _, p := range op.Parameters {
			if p.Name == "since" && (op.OperationID == "get-live" || op.OperationID == "list-events") {
				continue // a time in milliseconds, of 64 bits
			}
			if s := p.Schema; op.Tags[0] != "Operator" && s.Type == "integer" && (s.Maximum == nil || *s.Maximum > math.MaxUint32) {
				t.Errorf("%s: %s has no bound that fits into 32 bits", at, p.Name)
			}
		}
	}
}

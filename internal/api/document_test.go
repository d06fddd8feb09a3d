package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"godwit/internal/admin"
	"godwit/internal/api"
)

// operations are those of the document, by method and path.
func operations(doc *huma.OpenAPI) map[string]*huma.Operation {
	all := map[string]*huma.Operation{}
	for path, item := range doc.Paths {
		for method, op := range map[string]*huma.Operation{
			"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete,
		} {
			if op != nil {
				all[method+" "+path] = op
			}
		}
	}
	return all
}

// documented holds an answer against the document: every answer of every test is what it says.
func (s *side) documented(q ask, r reply) {
	s.t.Helper()
	doc := s.api.Document()
	mux := http.NewServeMux()
	ops := operations(doc)
	for pattern := range ops {
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	}
	path, _, _ := strings.Cut(q.path, "?")
	req, err := http.NewRequest(q.method, "http://x"+api.Prefix+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	_, pattern := mux.Handler(req)
	op := ops[pattern]
	if op == nil {
		return // nothing is said of it
	}
	response := op.Responses[strconv.Itoa(r.status)]
	if response == nil && r.status >= 400 {
		response = op.Responses["default"]
	}
	if response == nil {
		s.t.Fatalf("%s answers %d, of which the document knows nothing", op.OperationID, r.status)
	}
	kind := r.header.Get("Content-Type")
	if len(response.Content) == 0 {
		if len(r.body) > 0 {
			s.t.Fatalf("%s answers %d with a body: %s", op.OperationID, r.status, r.body)
		}
		return
	}
	media := response.Content[kind]
	if media == nil {
		s.t.Fatalf("%s answers %d as %q, which the document does not know", op.OperationID, r.status, kind)
	}
	if media.Schema == nil {
		s.t.Fatalf("%s answers %d in a form of which the document says nothing", op.OperationID, r.status)
	}
	values := 0
	for d := json.NewDecoder(bytes.NewReader(r.body)); d.More(); values++ {
		var body any
		if err := d.Decode(&body); err != nil {
			s.t.Fatalf("%s: %v: %s", op.OperationID, err, r.body)
		}
		found := &huma.ValidateResult{}
		huma.Validate(doc.Components.Schemas, media.Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, body, found)
		if len(found.Errors) > 0 {
			s.t.Fatalf("%s answers %d otherwise than documented: %v: %s", op.OperationID, r.status, found.Errors, r.body)
		}
	}
	if values == 0 || values > 1 && kind != "application/x-ndjson" {
		s.t.Fatalf("%s answers %d with %d JSON values", op.OperationID, r.status, values)
	}
}

// world is what the walk finds: users 1 to 4, a group of 1 and 2, and a session of 1.
func (r *rig) world() (session string) {
	r.t.Helper()
	for _, name := range []string{"ann", "bob", "cid", "dee"} {
		r.user(name)
	}
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "creator": 1, "members": []int{2}}, nil)
	r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 1, "to_user": 2, "text": "hello"}, nil)
	return r.login(1)
}

// walk is one success of every operation. WEBHOOK, KEY and SESSION in a path stand for ids.
var walk = []struct {
	op     string
	status int
	path   string
	body   any
}{
	{"list-users", 200, "/users", nil},
	{"create-user", 201, "/users", map[string]any{"name": "eve", "password": "x"}},
	{"get-user", 200, "/users/5", nil},
	{"change-user", 200, "/users/5", map[string]any{"nick": "Eva"}},
	{"disable-user", 200, "/users/5/disable", nil},
	{"enable-user", 200, "/users/5/enable", nil},
	{"set-password", 204, "/users/5/password", map[string]any{"password": "y"}},
	{"delete-user", 204, "/users/5", nil},
	{"create-department", 201, "/departments", map[string]any{"name": "sales"}},
	{"list-departments", 200, "/departments", nil},
	{"change-department", 200, "/departments/1", map[string]any{"priority": 3}},
	{"delete-department", 204, "/departments/1", nil},
	{"list-groups", 200, "/groups", nil},
	{"list-groups-of-user", 200, "/users/1/groups", nil},
	{"create-group", 201, "/groups", map[string]any{"name": "other", "type": "temporary", "members": []int{1, 2}}},
	{"get-group", 200, "/groups/2", nil},
	{"change-group", 200, "/groups/2", map[string]any{"name": "others"}},
	{"list-members", 200, "/groups/2/members", nil},
	{"change-members", 200, "/groups/2/members", map[string]any{"add": []int{3}, "remove": []int{2}}},
	{"add-member", 200, "/groups/2/members/4", nil},
	{"get-member", 200, "/groups/2/members/4", nil},
	{"mute-group", 200, "/groups/2/members/4/muted", map[string]any{"on": true}},
	{"remove-member", 200, "/groups/2/members/4", nil},
	{"dissolve-group", 204, "/groups/2", nil},
	{"list-friends", 200, "/users/1/friends", nil},
	{"add-friend", 204, "/users/1/friends/2", nil},
	{"remark-friend", 204, "/users/1/friends/2/remark", map[string]any{"remark": "Bobby"}},
	{"remove-friend", 204, "/users/1/friends/2", nil},
	{"request-friend", 204, "/users/1/friend-requests/2", nil},
	{"list-friend-requests", 200, "/users/2/friend-requests", nil},
	{"withdraw-friend-request", 204, "/users/1/friend-requests/2", nil},
	{"request-friend", 204, "/users/1/friend-requests/2", map[string]any{"text": "hello"}},
	{"answer-friend-request", 204, "/users/2/friend-requests/1", map[string]any{"accept": true}},
	{"block-user", 204, "/users/1/blocks/3", nil},
	{"list-blocks", 200, "/users/1/blocks", nil},
	{"unblock-user", 204, "/users/1/blocks/3", nil},
	{"send-message", 201, "/messages", map[string]any{"from": 2, "to_user": 1, "text": "hello back"}},
	{"list-messages", 200, "/users/1/conversations/user-2/messages", nil},
	{"get-message", 200, "/users/1/conversations/user-2/messages/1", nil},
	{"edit-message", 200, "/users/1/conversations/user-2/messages/1", map[string]any{"text": "hallo"}},
	{"list-edits", 200, "/users/1/conversations/user-2/messages/1/edits", nil},
	{"list-receipts", 200, "/users/1/conversations/user-2/messages/1/receipts", nil},
	{"recall-message", 204, "/users/1/conversations/user-2/messages/1", nil},
	{"list-conversations", 200, "/users/1/conversations", nil},
	{"get-unread", 200, "/users/1/unread", nil},
	{"why-conversation", 200, "/users/1/conversations/user-2/why", nil},
	{"set-read-mark", 200, "/users/1/conversations/user-2/read", map[string]any{"message": 2}},
	{"get-read-mark", 200, "/users/1/conversations/user-2/read", nil},
	{"export-user", 200, "/users/1/export", nil},
	{"list-sessions", 200, "/users/1/sessions", nil},
	{"why-user", 200, "/users/1/why", nil},
	{"kick-session", 204, "/users/1/sessions/SESSION", nil},
	{"kick-sessions", 204, "/users/1/sessions", nil},
	{"get-device", 200, "/users/1/device", nil},
	{"set-device", 200, "/users/1/device", map[string]any{"type": "ios", "token": "abc"}},
	{"remove-device", 204, "/users/1/device", nil},
	{"set-quiet-nights", 200, "/users/1/quiet-nights", map[string]any{"on": true}},
	{"create-webhook", 201, "/webhooks", map[string]any{"url": "https://example.org/push"}},
	{"list-webhooks", 200, "/webhooks", nil},
	{"change-webhook", 200, "/webhooks/WEBHOOK", map[string]any{"disabled": true}},
	{"delete-webhook", 204, "/webhooks/WEBHOOK", nil},
	{"create-key", 201, "/keys", map[string]any{"name": "more", "scopes": []string{"keys"}}},
	{"list-keys", 200, "/keys", nil},
	{"revoke-key", 204, "/keys/KEY", nil},
	{"get-live", 200, "/live?since=1", nil},
	{"list-events", 200, "/events", nil},
}

// Every operation works with a key that has its scope and nothing else, is refused to one that has all others, and to who
// has none.
func TestEveryOperationNeedsItsScope(t *testing.T) {
	r := newRig(t)
	session := r.world()
	ops := map[string]*huma.Operation{}
	pattern := map[string]string{}
	for at, op := range operations(r.api.Document()) {
		if ops[op.OperationID] != nil {
			t.Fatalf("two operations are called %s", op.OperationID)
		}
		if op.Tags[0] == "Operator" {
			continue // served by package admin, see TestTheOperatorsOwnRequestsAreAsDocumented
		}
		ops[op.OperationID], pattern[op.OperationID] = op, at
	}
	with, without := map[api.Scope]string{}, map[api.Scope]string{}
	for _, s := range api.Scopes {
		with[s] = r.key(s)
		without[s] = r.key(slices.DeleteFunc(slices.Clone(api.Scopes), func(other api.Scope) bool { return other == s })...)
	}
	used := map[api.Scope]bool{}
	webhook, key := "", ""
	for _, step := range walk {
		op := ops[step.op]
		if op == nil {
			t.Fatalf("the document has no %s", step.op)
		}
		if len(op.Security) != 1 || len(op.Security[0]["bearer"]) != 1 {
			t.Fatalf("%s names no scope: %v", step.op, op.Security)
		}
		scope := api.Scope(op.Security[0]["bearer"][0])
		if !slices.Contains(api.Scopes, scope) {
			t.Fatalf("%s needs the scope %q, which there is not", step.op, scope)
		}
		used[scope] = true
		method, _, _ := strings.Cut(pattern[step.op], " ")
		q := ask{method: method, path: strings.NewReplacer("SESSION", session, "WEBHOOK", webhook, "KEY", key).Replace(step.path), body: step.body}
		q.token = "-"
		r.t.Logf("%s", step.op)
		if none := r.do(q); none.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s without a key: no challenge", step.op)
		} else {
			problemOf(t, none, http.StatusUnauthorized, "unauthorised")
		}
		q.token = without[scope]
		problemOf(t, r.do(q), http.StatusForbidden, "forbidden")
		q.token = with[scope]
		got := r.do(q)
		if got.status != step.status {
			t.Fatalf("%s: %d, want %d: %s", step.op, got.status, step.status, got.body)
		}
		if want := method != "GET"; want != slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == "Idempotency-Key" }) {
			t.Errorf("%s: takes an Idempotency-Key is %v", step.op, !want)
		}
		switch step.op {
		case "create-webhook":
			var w api.NewWebhook
			got.into(t, &w)
			webhook = w.ID
		case "create-key":
			var k api.NewKey
			got.into(t, &k)
			key = k.ID
		}
	}
	for id := range ops {
		if !slices.ContainsFunc(walk, func(s struct {
			op     string
			status int
			path   string
			body   any
		}) bool {
			return s.op == id
		}) {
			t.Errorf("the walk leaves out %s", id)
		}
	}
	for _, s := range api.Scopes {
		if !used[s] && s != api.FilesScope { // of the stores of pictures and files, on their own ports
			t.Errorf("no operation needs the scope %s", s)
		}
	}
}

func TestTheDocumentIsForEverybodyAndNamesAll(t *testing.T) {
	r := newRig(t)
	got := r.do(ask{method: "GET", path: "/openapi.json", token: "-"})
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	got.into(t, &doc)
	if got.status != http.StatusOK || !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Fatalf("%d, version %q", got.status, doc.OpenAPI)
	}
	n := 0
	for _, item := range doc.Paths {
		n += len(item)
	}
	if want := len(operations(r.api.Document())); n != want || n < 50 {
		t.Errorf("%d operations in the document, %d are served", n, want)
	}
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for at, op := range operations(r.api.Document()) {
		method, path, _ := strings.Cut(at, " ")
		line := "| `" + op.OperationID + "` | `" + method + " " + strings.TrimPrefix(path, api.Prefix) + "` | `" + strings.Join(op.Security[0]["bearer"], "") + "` |"
		if op.Tags[0] == "Operator" {
			line = "| `" + op.OperationID + "` | `" + method + " " + strings.TrimPrefix(path, api.Prefix) + "` |"
		}
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/api.md lacks %s %s |", line, op.Summary)
		}
		if op.Summary == "" || len(op.Tags) != 1 {
			t.Errorf("%s says not what it does", op.OperationID)
		}
	}
	for _, s := range api.Scopes {
		if !strings.Contains(string(text), "`"+string(s)+"`") {
			t.Errorf("docs/api.md lacks the scope %s", s)
		}
	}
}

// itself is a server that says little.
type itself struct{}

func (itself) Status(context.Context) (admin.Status, error) {
	return admin.Status{Version: "test", Ready: true, Streams: []admin.StreamStatus{{Name: "PEOPLE", View: "people"}}}, nil
}

func (itself) Ready(context.Context) error { return nil }

func (itself) Replay(_ context.Context, _ bool, progress func(view string, events, total uint64)) (admin.ReplayReport, error) {
	progress("people", 1, 2)
	return admin.ReplayReport{Views: []admin.ViewReport{{Name: "people", Equal: true}}}, nil
}

// The whole admin port: what the operator's tools ask for is as documented, needs the operator's token, and does not stand in
// the way of the API.
func TestTheOperatorsOwnRequestsAreAsDocumented(t *testing.T) {
	r := newRig(t)
	port := httptest.NewServer(admin.NewHandler(admin.Config{People: admin.NewPeople(r.node, r.hasher), Server: itself{}, Token: token, API: r.api}))
	t.Cleanup(port.Close)
	s := &side{t: t, api: r.api, url: port.URL}
	key := s.key(api.Scopes...)
	steps := []struct {
		op, path string
		status   int
		body     any
	}{
		{"operator-add-person", "/people", 201, map[string]any{"name": "ann", "password": "x"}},
		{"operator-import-people", "/people:import", 200, "{\"name\":\"bob\",\"password\":\"x\"}\n{\"name\":\"ann\",\"password\":\"x\"}"},
		{"operator-list-people", "/people?limit=1", 200, nil},
		{"operator-set-password", "/people/ann/password", 204, map[string]any{"password": "y"}},
		{"operator-disable-person", "/people/ann/disable", 204, nil},
		{"operator-enable-person", "/people/ann/enable", 204, nil},
		{"operator-add-friend", "/friends/ann/bob", 204, nil},
		{"operator-remove-friend", "/friends/ann/bob", 204, nil},
		{"operator-status", "/status", 200, nil},
		{"operator-replay", "/replay?verify=true", 200, nil},
	}
	left := map[string]string{}
	for at, op := range operations(r.api.Document()) {
		if op.Tags[0] == "Operator" {
			left[op.OperationID] = at
		}
	}
	for _, step := range steps {
		method, _, _ := strings.Cut(left[step.op], " ")
		want := http.StatusUnauthorized
		if step.op == "operator-status" { // its key may
			want = step.status
		}
		if got := s.do(ask{method: method, path: step.path, body: step.body, token: key}); got.status != want {
			t.Errorf("%s with an API key: %d", step.op, got.status)
		}
		q := keyed(ask{method: method, path: step.path, body: step.body}, step.op)
		first := s.do(q)
		if first.status != step.status {
			t.Errorf("%s: %d, want %d: %s", step.op, first.status, step.status, first.body)
		}
		again := s.do(q)
		once := slices.ContainsFunc(operations(r.api.Document())[left[step.op]].Parameters, func(p *huma.Param) bool { return p.Name == "Idempotency-Key" })
		if replayed := again.header.Get("Idempotency-Replayed") == "true"; replayed != once || once && (again.status != first.status || !bytes.Equal(again.body, first.body)) {
			t.Errorf("%s takes an Idempotency-Key: %v; repeated with one: %d %s (%v)", step.op, once, again.status, again.body, replayed)
		}
		if write := method != "GET" && step.op != "operator-import-people" && step.op != "operator-replay"; once != write {
			t.Errorf("%s takes an Idempotency-Key: %v", step.op, once)
		}
		delete(left, step.op)
	}
	if len(left) > 0 {
		t.Errorf("left out: %v", left)
	}
	s.ok(http.StatusOK, "GET", "/users/1", nil, nil)
	s.refused(http.StatusNotFound, "no_such_operation", "GET", "/nobody", nil)
	if got := s.do(ask{method: "DELETE", path: "/people"}); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") == "" {
		t.Errorf("a method that nobody takes: %d %v", got.status, got.header)
	}
	if got := s.do(ask{method: "POST", path: "/query/CreateGroup", body: "{}", token: "-"}); !strings.Contains(string(got.body), `"error_code": 2`) {
		t.Errorf("TeamTalk's path: %s", got.body)
	}
}

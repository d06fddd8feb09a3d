package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakePeople notes what it is asked and answers as it is told.
type fakePeople struct {
	mu    sync.Mutex
	calls []string
	err   error
	taken map[string]bool
}

func (f *fakePeople) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakePeople) Add(_ context.Context, p NewPerson) (Person, error) {
	return Person{Number: 7, Name: p.Name, Nick: p.Nick}, f.note("add %s %s %s", p.Name, p.Password, p.Nick)
}

func (f *fakePeople) Import(_ context.Context, people []NewPerson, report func(ImportProgress)) error {
	p := ImportProgress{}
	for i, n := range people {
		p.Handled++
		p.Refused = nil
		if f.taken[n.Name] {
			p.Refused = []ImportError{{Index: i, Name: n.Name, Taken: true, Error: "taken"}}
		} else {
			p.Added++
		}
		report(p)
	}
	return f.note("import %d", len(people))
}

func (f *fakePeople) List(_ context.Context, after uint32, limit int) (Page, error) {
	page := Page{}
	for n := after + 1; n <= 2500 && len(page.People) < limit; n++ {
		page.People = append(page.People, Person{Number: n, Name: fmt.Sprint("p", n)})
		page.More = n < 2500
	}
	return page, f.note("list %d %d", after, limit)
}

func (f *fakePeople) SetPassword(_ context.Context, name, password string) error {
	return f.note("password %s %s", name, password)
}

func (f *fakePeople) SetEnabled(_ context.Context, name string, enabled bool) error {
	return f.note("enabled %s %v", name, enabled)
}

func (f *fakePeople) SetFriends(_ context.Context, a, b string, friends bool) error {
	return f.note("friends %s %s %v", a, b, friends)
}

type fakeServer struct {
	ready  error
	replay error
	early  bool // fails before any progress
}

func (f *fakeServer) Status(context.Context) (Status, error) {
	return Status{Version: "test", PID: 5, Streams: []StreamStatus{{Name: "PEOPLE", Last: 9}}}, nil
}

func (f *fakeServer) Ready(context.Context) error { return f.ready }

func (f *fakeServer) Replay(_ context.Context, verify bool, progress func(string, uint64, uint64)) (ReplayReport, error) {
	if !f.early {
		progress("people", 1, 2)
	}
	return ReplayReport{Views: []ViewReport{{Name: "people", Events: 2, Took: time.Second, Equal: verify}}}, f.replay
}

const token = "the-token"

func start(t *testing.T, p *fakePeople, s *fakeServer) (*Client, *httptest.Server) {
	t.Helper()
	srv := httptest.NewServer(NewHandler(Config{
		People: p, Server: s, Token: token,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "godwit_ready 1\n") }),
	}))
	t.Cleanup(srv.Close)
	return NewClient(srv.URL, token), srv
}

func TestClientAndHandlerAgree(t *testing.T) {
	p := &fakePeople{}
	c, _ := start(t, p, &fakeServer{})
	ctx := t.Context()
	added, err := c.Add(ctx, NewPerson{Name: "bob", Password: "pw", Nick: "B ob"})
	if err != nil || added.Number != 7 || added.Nick != "B ob" {
		t.Errorf("added %+v, %v", added, err)
	}
	for _, err := range []error{
		c.SetPassword(ctx, "böb", "new"), c.SetEnabled(ctx, "bob", false), c.SetEnabled(ctx, "bob", true),
		c.SetFriends(ctx, "a%2f", "b?", true), c.SetFriends(ctx, "a", "b", false),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := "add bob pw B ob, password böb new, enabled bob false, enabled bob true, friends a%2f b? true, friends a b false"
	if got := strings.Join(p.calls, ", "); got != want {
		t.Errorf("calls:\n got %s\nwant %s", got, want)
	}
	n := uint32(0)
	for person, err := range c.All(ctx) {
		if n++; err != nil || person.Number != n {
			t.Fatalf("person %d: %+v, %v", n, person, err)
		}
	}
	if n != 2500 {
		t.Errorf("%d people, want 2500", n)
	}
	if st, err := c.Status(ctx); err != nil || st.PID != 5 || st.Streams[0].Last != 9 {
		t.Errorf("status %+v, %v", st, err)
	}
}

func TestErrorsKeepTheirKindOverTheWire(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{ErrNameTaken, 409}, {ErrNoSuchPerson, 404}, {ErrInvalid, 400}, {ErrUnavailable, 503}, {ErrConflict, 409},
		{context.DeadlineExceeded, 504},
	} {
		client, srv := start(t, &fakePeople{err: fmt.Errorf("outer: %w", c.err)}, &fakeServer{})
		err := client.SetEnabled(t.Context(), "x", true)
		if !errors.Is(err, c.err) {
			t.Errorf("%v becomes %v", c.err, err)
		}
		for _, other := range kinds {
			if other.err != c.err && errors.Is(err, other.err) {
				t.Errorf("%v becomes %v as well", c.err, other.err)
			}
		}
		resp := request(t, srv, "POST", "/api/v1/people/x/enable", "", token)
		var p Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			t.Fatal(err)
		}
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != c.status || p.Status != c.status || kind != "application/problem+json" || p.Title == "" || p.Type == "" {
			t.Errorf("%v: status %d, %s, %+v", c.err, resp.StatusCode, kind, p)
		}
	}
}

// Only what another try may change invites to come again: the server API keeps any other answer for a repeat.
func TestALostRaceInvitesToComeAgain(t *testing.T) {
	for err, again := range map[error]string{errRaced: "1", ErrConflict: "", ErrNameTaken: ""} {
		_, srv := start(t, &fakePeople{err: err}, &fakeServer{})
		resp := request(t, srv, "POST", "/api/v1/people/x/enable", "", token)
		if got := resp.Header.Get("Retry-After"); resp.StatusCode != http.StatusConflict || got != again {
			t.Errorf("%v: %d, Retry-After %q, want %q", err, resp.StatusCode, got, again)
		}
	}
}

func TestInternalErrorsStayInTheLog(t *testing.T) {
	client, _ := start(t, &fakePeople{err: errors.New("secret detail")}, &fakeServer{})
	err := client.SetEnabled(t.Context(), "x", true)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func request(t *testing.T, srv *httptest.Server, method, path, body, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestNothingWithoutTheToken(t *testing.T) {
	p := &fakePeople{}
	_, srv := start(t, p, &fakeServer{})
	for _, path := range []string{
		"POST /api/v1/people", "POST /api/v1/people:import", "GET /api/v1/people", "POST /api/v1/people/x/password",
		"POST /api/v1/people/x/disable", "PUT /api/v1/friends/a/b", "DELETE /api/v1/friends/a/b", "GET /api/v1/status",
		"POST /api/v1/replay", "GET /api/v1/none",
	} {
		method, path, _ := strings.Cut(path, " ")
		for _, tok := range []string{"", "wrong", token + "x", token[:len(token)-1]} {
			if resp := request(t, srv, method, path, "{}", tok); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s with %q: %d", method, path, tok, resp.StatusCode)
			}
		}
	}
	if len(p.calls) > 0 {
		t.Errorf("calls got through: %v", p.calls)
	}
	empty := httptest.NewServer(NewHandler(Config{People: p, Server: &fakeServer{}}))
	defer empty.Close()
	if resp := request(t, empty, "GET", "/api/v1/status", "", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a handler without a token lets everybody in: %d", resp.StatusCode)
	}
}

func TestSupervisorsNeedNoToken(t *testing.T) {
	_, srv := start(t, &fakePeople{}, &fakeServer{})
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "godwit_ready 1"} {
		resp := request(t, srv, "GET", path, "", "")
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(b), want) {
			t.Errorf("%s: %d %q, %v", path, resp.StatusCode, b, err)
		}
	}
	_, srv = start(t, &fakePeople{}, &fakeServer{ready: errors.New("disk is full")})
	resp := request(t, srv, "GET", "/readyz", "", "")
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || !strings.Contains(string(b), "disk is full") {
		t.Errorf("not ready: %d %q", resp.StatusCode, b)
	}
	if resp := request(t, srv, "GET", "/healthz", "", ""); resp.StatusCode != 200 {
		t.Errorf("a process that is not ready is not healthy: %d", resp.StatusCode)
	}
}

func TestBadRequestsReachNobody(t *testing.T) {
	p := &fakePeople{}
	_, srv := start(t, p, &fakeServer{})
	long := strings.Repeat("x", 300)
	for name, c := range map[string][3]string{
		"no JSON":            {"POST", "/api/v1/people", "name=bob"},
		"unknown field":      {"POST", "/api/v1/people", `{"name":"bob","password":"x","admin":true}`},
		"two values":         {"POST", "/api/v1/people", `{"name":"bob","password":"x"} {}`},
		"no name":            {"POST", "/api/v1/people", `{"password":"x"}`},
		"space in name":      {"POST", "/api/v1/people", `{"name":"b ob","password":"x"}`},
		"slash in name":      {"POST", "/api/v1/people", `{"name":"b/ob","password":"x"}`},
		"dots for a name":    {"POST", "/api/v1/people", `{"name":"..","password":"x"}`},
		"dash in front":      {"POST", "/api/v1/people", `{"name":"-bob","password":"x"}`},
		"control character":  {"POST", "/api/v1/people", `{"name":"b\u0007b","password":"x"}`},
		"name too long":      {"POST", "/api/v1/people", `{"name":"` + long + `","password":"x"}`},
		"no password":        {"POST", "/api/v1/people", `{"name":"bob"}`},
		"password too long":  {"POST", "/api/v1/people/bob/password", `{"password":"` + long + `"}`},
		"nick with a bell":   {"POST", "/api/v1/people", `{"name":"bob","password":"x","nick":"\u0007"}`},
		"nick turned round":  {"POST", "/api/v1/people", `{"name":"bob","password":"x","nick":"\u202egnp"}`},
		"last number of all": {"POST", "/api/v1/people", `{"name":"bob","password":"x","number":4294967295}`},
		"body too large":     {"POST", "/api/v1/people", `{"name":"bob","password":"` + strings.Repeat("x", MaxBody) + `"}`},
		"after is no number": {"GET", "/api/v1/people?after=x", ""},
		"verify is no bool":  {"POST", "/api/v1/replay?verify=maybe", ""},
		"import of garbage":  {"POST", "/api/v1/people:import", "{\"name\":\"a\",\"password\":\"b\"}\nnot json\n"},
		"import too many":    {"POST", "/api/v1/people:import", strings.Repeat("{}\n", MaxImport+1)},
	} {
		if resp := request(t, srv, c[0], c[1], c[2], token); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	if len(p.calls) > 0 {
		t.Errorf("calls got through: %v", p.calls)
	}
}

func TestWhatTheAPIDoesNotHaveIsAProblemDocument(t *testing.T) {
	_, srv := start(t, &fakePeople{}, &fakeServer{})
	for path, want := range map[string]int{"GET /api/v1/none": 404, "GET /api/v1/people/x/password": 405, "PATCH /api/v1/people": 405} {
		method, path, _ := strings.Cut(path, " ")
		resp := request(t, srv, method, path, "", token)
		var p Problem
		err := json.NewDecoder(resp.Body).Decode(&p)
		if err != nil || resp.StatusCode != want || p.Status != want || !strings.Contains(p.Detail, path) {
			t.Errorf("%s %s: %d %+v, %v", method, path, resp.StatusCode, p, err)
		}
		if allow := resp.Header.Get("Allow"); (allow != "") != (want == 405) {
			t.Errorf("%s %s: Allow %q", method, path, allow)
		}
	}
}

func TestImportTellsEveryRefusalOnce(t *testing.T) {
	p := &fakePeople{taken: map[string]bool{}}
	people := make([]NewPerson, 25_000) // three requests
	for i := range people {
		people[i] = NewPerson{Name: fmt.Sprint("p", i), Password: "x"}
		p.taken[people[i].Name] = i%1000 == 17
	}
	c, _ := start(t, p, &fakeServer{})
	refused := map[int]bool{}
	var last ImportProgress
	dones := 0
	err := c.Import(t.Context(), people, func(now ImportProgress) {
		if now.Handled < last.Handled || now.Added < last.Added {
			t.Errorf("from %+v back to %+v", last, now)
		}
		for _, r := range now.Refused {
			if refused[r.Index] || !r.Taken || people[r.Index].Name != r.Name {
				t.Errorf("refusal %+v", r)
			}
			refused[r.Index] = true
		}
		if now.Done {
			dones++
		}
		last = now
	})
	if err != nil || last.Handled != 25_000 || last.Added != 24_975 || len(refused) != 25 || dones != 1 {
		t.Errorf("%v: handled %d, added %d, refused %d, done %d times", err, last.Handled, last.Added, len(refused), dones)
	}
}

func TestImportThatFailsOrBreaksOffIsToldSo(t *testing.T) {
	c, _ := start(t, &fakePeople{err: ErrUnavailable}, &fakeServer{})
	if err := c.Import(t.Context(), []NewPerson{{Name: "a", Password: "b"}}, func(ImportProgress) {}); err == nil {
		t.Error("a failed import is a success")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"handled":1}`+"\n") }))
	defer srv.Close()
	if err := NewClient(srv.URL, token).Import(t.Context(), make([]NewPerson, 1), func(ImportProgress) {}); !errors.Is(err, errBrokeOff) {
		t.Errorf("an answer that breaks off: %v", err)
	}
}

func TestReplayIsStreamed(t *testing.T) {
	c, _ := start(t, &fakePeople{}, &fakeServer{})
	var told []string
	r, err := c.Replay(t.Context(), true, func(view string, events, total uint64) { told = append(told, fmt.Sprint(view, events, total)) })
	if err != nil || !r.Equal() || r.Views[0].Took != time.Second || len(told) != 1 || told[0] != "people1 2" {
		t.Errorf("%+v, %v, %v", r, err, told)
	}
	if r, err := c.Replay(t.Context(), false, func(string, uint64, uint64) {}); err != nil || r.Equal() {
		t.Errorf("a view that differs: %+v, %v", r, err)
	}
	for _, early := range []bool{true, false} {
		c, _ := start(t, &fakePeople{}, &fakeServer{replay: fmt.Errorf("%w: one is running", ErrConflict), early: early})
		if _, err := c.Replay(t.Context(), true, func(string, uint64, uint64) {}); err == nil || !strings.Contains(err.Error(), "one is running") {
			t.Errorf("early %v: %v", early, err)
		}
	}
}

func TestClientSaysWhoseTokenIsWrong(t *testing.T) {
	_, srv := start(t, &fakePeople{}, &fakeServer{})
	if _, err := NewClient(srv.URL, "wrong").Status(t.Context()); err == nil || err.Error() != "the server at "+srv.URL+" refuses the token: give the file admin.token of its data directory" {
		t.Errorf("error %v", err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	if _, err := NewClient(other.URL, token).Status(t.Context()); err == nil || err.Error() != other.URL+" answered 404 Not Found: is that the admin API of a server?" {
		t.Errorf("error %v", err)
	}
}

func TestClientSaysWhenNothingAnswers(t *testing.T) {
	_, srv := start(t, &fakePeople{}, &fakeServer{})
	srv.Close()
	if _, err := NewClient(srv.URL, token).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "is the server running?") {
		t.Errorf("error %v", err)
	}
}

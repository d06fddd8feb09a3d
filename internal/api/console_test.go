package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/schema/event"
)

// console is a browser at the console of an admin port.
type console struct {
	t   *testing.T
	url string
	http.Client
}

// console is the admin port of a process with the token, and a browser there. Its clock is that of the rig.
func (r *rig) console(t *testing.T, token string, now func() time.Time) *console {
	t.Helper()
	cfg := r.cfg
	cfg.Token = token
	side := r.newSide(cfg)
	p := httptest.NewServer(admin.NewHandler(admin.Config{
		People: admin.NewPeople(r.node, r.hasher), Server: itself{}, Token: token, API: side.api, Now: now,
		Console: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "page ", r.URL.Path) }),
	}))
	t.Cleanup(p.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &console{t: t, url: p.URL, Client: http.Client{Jar: jar}}
}

// page is a request as a page of the console makes it; header holds pairs that differ, "-" takes one away.
func (c *console) page(method, path string, body any, header ...string) reply {
	c.t.Helper()
	var from io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		from = strings.NewReader(string(b))
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, from)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Godwit-Console", "1")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Origin", c.url)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Del(header[i]); header[i+1] != "-" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

func (c *console) login(key string) reply {
	c.t.Helper()
	r := c.page("POST", "/console/login", map[string]any{"key": key})
	if r.status != http.StatusNoContent {
		c.t.Fatalf("login: %d %s", r.status, r.body)
	}
	return r
}

func TestTheConsoleKeepsAnOperatorSignedIn(t *testing.T) {
	r := newRig(t)
	c := r.console(t, token, nil)
	// Before the login there is nobody, but the pages are there.
	problemOf(t, c.page("GET", "/console/me", nil), http.StatusUnauthorized, "unauthorised")
	problemOf(t, c.page("GET", "/console/api/users", nil), http.StatusUnauthorized, "unauthorised")
	for _, path := range []string{"/console", "/console/", "/console/app/main.js"} {
		if got := c.page("GET", path, nil); got.status != http.StatusOK || string(got.body) != "page "+path {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}

	in := c.login(token)
	cookie := in.header.Get("Set-Cookie")
	for _, want := range []string{"godwit_console=", "Path=/console", "Max-Age=43200", "HttpOnly", "SameSite=Strict"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	value, _, _ := strings.Cut(strings.TrimPrefix(cookie, "godwit_console="), ";")
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || strings.Contains(string(sealed), token) || strings.Contains(cookie, "Secure") {
		t.Errorf("cookie %q: %v", cookie, err)
	}
	if again := c.login(token).header.Get("Set-Cookie"); again == cookie {
		t.Error("two logins give one cookie")
	}
	behindTLS := c.page("POST", "/console/login", map[string]any{"key": token}, "X-Forwarded-Proto", "https")
	if !strings.Contains(behindTLS.header.Get("Set-Cookie"), "Secure") {
		t.Errorf("behind TLS: %v", behindTLS.header)
	}
	c.login(token)

	var me admin.Caller
	c.page("GET", "/console/me", nil).into(t, &me)
	if me.Name != "operator" || len(me.Scopes) != len(api.Scopes) {
		t.Errorf("me: %+v", me)
	}
	// Everything of the API, that of the operator alone as well, with its queries and its headers.
	var u api.User
	made := c.page("POST", "/console/api/users", map[string]any{"name": "ann", "password": "x"}, "Idempotency-Key", "one")
	if made.into(t, &u); made.status != http.StatusCreated || u.Name != "ann" {
		t.Fatalf("%d %s", made.status, made.body)
	}
	again := c.page("POST", "/console/api/users", map[string]any{"name": "ann", "password": "x"}, "Idempotency-Key", "one")
	if again.status != http.StatusCreated || again.header.Get("Idempotency-Replayed") != "true" || string(again.body) != string(made.body) {
		t.Errorf("repeated: %d %s", again.status, again.body)
	}
	if got := c.page("GET", "/console/api/users?name=ann", nil); got.status != http.StatusOK || !strings.Contains(string(got.body), `"ann"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := c.page("GET", "/console/api/status", nil); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	if events := r.events(event.People); len(events) != 1 || events[0].GetPersonRegistered().GetBy() != "operator" {
		t.Errorf("events: %v", events)
	}
	// Nothing else of the port is behind it.
	for _, path := range []string{"/console/api/../../healthz", "/console/api/%2e%2e/%2e%2e/metrics"} {
		if got := c.page("GET", path, nil); got.status == http.StatusOK && !strings.HasPrefix(string(got.body), "ok") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
	// Out.
	if out := c.page("POST", "/console/logout", nil); out.status != http.StatusNoContent || !strings.Contains(out.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("%d %v", out.status, out.header)
	}
	problemOf(t, c.page("GET", "/console/me", nil), http.StatusUnauthorized, "unauthorised")
}

// Each of what a browser says of a page of another site, or lacks, keeps its requests out, though the cookie came along.
func TestTheConsoleListensToItsOwnPagesOnly(t *testing.T) {
	r := newRig(t)
	c := r.console(t, token, nil)
	c.login(token)
	for name, header := range map[string][]string{
		"without the header":    {"Godwit-Console", "-"},
		"with another header":   {"Godwit-Console", "0"},
		"of another site":       {"Sec-Fetch-Site", "cross-site"},
		"of another port":       {"Sec-Fetch-Site", "same-site"},
		"of another origin":     {"Origin", "https://evil.example", "Sec-Fetch-Site", "-"},
		"of an origin hidden":   {"Origin", "null", "Sec-Fetch-Site", "-"},
		"of this host's 1 port": {"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			problemOf(t, c.page("POST", "/console/api/users", map[string]any{"name": "eve", "password": "x"}, header...), http.StatusForbidden, "forbidden")
			problemOf(t, c.page("GET", "/console/api/users", nil, header...), http.StatusForbidden, "forbidden")
			if header[0] != "Godwit-Console" {
				problemOf(t, c.page("POST", "/console/login", map[string]any{"key": token}, header...), http.StatusForbidden, "forbidden")
				problemOf(t, c.page("POST", "/console/logout", nil, header...), http.StatusForbidden, "forbidden")
				problemOf(t, c.page("GET", "/console/me", nil, header...), http.StatusForbidden, "forbidden")
			}
		})
	}
	// A program that is no browser says none of it.
	if got := c.page("GET", "/console/api/users", nil, "Origin", "-", "Sec-Fetch-Site", "-"); got.status != http.StatusOK {
		t.Errorf("a program: %d %s", got.status, got.body)
	}
	if n := len(r.events(event.People)); n > 0 {
		t.Errorf("%d events", n)
	}
}

// A key signs in with its scopes, at every gateway that has the token, and no longer than it lives.
func TestAKeyInTheConsoleEndsWithWhatItHolds(t *testing.T) {
	r, clock, _ := timed(t)
	secret := r.key(api.UsersRead)
	first, second := r.console(t, token, clock.now), r.console(t, token, clock.now)
	renewed := r.console(t, "the-operators-new-token", clock.now)
	first.login(secret)
	at := func(c *console) *url.URL {
		u, err := url.Parse(c.url + "/console/")
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	cookies := first.Jar.Cookies(at(first))
	if len(cookies) != 1 {
		t.Fatalf("%v", cookies)
	}
	for _, c := range []*console{second, renewed} {
		c.Jar.SetCookies(at(c), cookies)
	}
	for _, c := range []*console{first, second} {
		var me admin.Caller
		c.page("GET", "/console/me", nil).into(t, &me)
		if !strings.HasPrefix(me.Name, "key:") || !slices.Equal(me.Scopes, []string{"users:read"}) {
			t.Errorf("me: %+v", me)
		}
		if got := c.page("GET", "/console/api/users", nil); got.status != http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
		problemOf(t, c.page("POST", "/console/api/users", map[string]any{"name": "eve", "password": "x"}), http.StatusForbidden, "forbidden")
		problemOf(t, c.page("GET", "/console/api/status", nil), http.StatusForbidden, "forbidden")
		problemOf(t, c.page("GET", "/console/api/people", nil), http.StatusUnauthorized, "unauthorised") // the operator's alone
	}
	problemOf(t, renewed.page("GET", "/console/me", nil), http.StatusUnauthorized, "unauthorised")

	// Revoked: the cookie goes as well, so that a page that goes on asking is not taken for one that guesses.
	r.ok(http.StatusNoContent, "DELETE", "/keys/"+strings.Split(secret, "_")[1], nil, nil)
	clock.move(6 * time.Second)
	gone := first.page("GET", "/console/api/users", nil)
	problemOf(t, gone, http.StatusUnauthorized, "unauthorised")
	if !strings.Contains(gone.header.Get("Set-Cookie"), "Max-Age=0") || len(first.Jar.Cookies(at(first))) != 0 {
		t.Errorf("the cookie stays: %v", gone.header)
	}
	for range 30 {
		problemOf(t, first.page("GET", "/console/api/users", nil), http.StatusUnauthorized, "unauthorised")
	}

	// After twelve hours, whatever the browser does with the cookie.
	second.login(token)
	cookies = second.Jar.Cookies(at(second))
	clock.move(12*time.Hour - time.Second)
	if got := second.page("GET", "/console/me", nil); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	clock.move(time.Second)
	second.Jar.SetCookies(at(second), cookies)
	problemOf(t, second.page("GET", "/console/me", nil), http.StatusUnauthorized, "unauthorised")

	// No bit of one can be changed.
	second.login(token)
	value := second.Jar.Cookies(at(second))[0].Value
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bent := slices.Clone(sealed)
		bent[i] ^= 1 << (i % 8)
		second.Jar.SetCookies(at(second), []*http.Cookie{{Name: "godwit_console", Value: base64.RawURLEncoding.EncodeToString(bent), Path: "/console"}})
		problemOf(t, second.page("GET", "/console/me", nil), http.StatusUnauthorized, "unauthorised")
	}
}

// The status is the operator's, and of keys that may read it; nothing else of the operator's is.
func TestTheStatusIsForKeysThatMayReadIt(t *testing.T) {
	r := newRig(t)
	c := r.console(t, token, nil)
	c.login(r.key(api.StatusRead))
	if got := c.page("GET", "/console/api/status", nil); got.status != http.StatusOK || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", got.status, got.body)
	}
	problemOf(t, c.page("POST", "/console/api/replay", nil), http.StatusUnauthorized, "unauthorised")
	c.login(r.key(api.UsersRead, api.LogRead))
	problemOf(t, c.page("GET", "/console/api/status", nil), http.StatusForbidden, "forbidden")
}

// Who guesses at the console's door is slowed down as who guesses at the API is: it is one count.
func TestWrongKeysAtTheConsoleCountAsAtTheAPI(t *testing.T) {
	r, clock, _ := timed(t) // however long it takes, no try comes back meanwhile
	c := r.console(t, token, clock.now)
	for i := range 20 {
		if i%2 == 0 {
			problemOf(t, c.page("POST", "/console/login", map[string]any{"key": fmt.Sprint("guess-", i)}), http.StatusUnauthorized, "unauthorised")
		} else {
			problemOf(t, c.page("GET", "/api/v1/users", nil, "Authorization", fmt.Sprint("Bearer guess-", i)), http.StatusUnauthorized, "unauthorised")
		}
	}
	busy := c.page("POST", "/console/login", map[string]any{"key": "guess"})
	problemOf(t, busy, http.StatusTooManyRequests, "too_many_failures")
	if busy.header.Get("Retry-After") == "" || busy.header.Get("Set-Cookie") != "" {
		t.Errorf("%v", busy.header)
	}
	for _, body := range []any{map[string]any{"key": strings.Repeat("k", 600)}, map[string]any{"password": "x"}, "key"} {
		problemOf(t, c.page("POST", "/console/login", body), http.StatusBadRequest, "invalid")
	}
	c.login(token) // the operator himself goes on
}

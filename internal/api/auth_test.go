package api_test

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/internal/api"
	"godwit/schema/event"
	"godwit/schema/query"
)

// asking counts the questions for API keys.
type asking struct {
	api.Node
	keys atomic.Int64
}

func (n *asking) Ask(ctx context.Context, q *query.Request) (*query.Answer, error) {
	if q.GetApiKeys() != nil {
		n.keys.Add(1)
	}
	return n.Node.Ask(ctx, q)
}

// clock is one that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// timed is a rig whose API lives by a clock and whose questions for keys are counted.
func timed(t *testing.T) (*rig, *clock, *asking) {
	r := newRig(t)
	c, n := &clock{at: time.Now()}, &asking{Node: r.node}
	r.cfg.Now, r.cfg.Node = c.now, n
	r.side = r.newSide(r.cfg)
	return r, c, n
}

func TestAKeyIsShownOnceAndKeptAsAHash(t *testing.T) {
	r := newRig(t)
	var k api.NewKey
	r.ok(http.StatusCreated, "POST", "/keys", map[string]any{"name": "billing", "scopes": []string{"users:read", "keys"}}, &k)
	parts := strings.SplitN(k.Secret, "_", 3)
	secret, err := base64.RawURLEncoding.DecodeString(parts[2])
	if parts[0] != "gw" || parts[1] != k.ID || len(secret) != 32 || err != nil {
		t.Fatalf("key %q: %v", k.Secret, err)
	}
	if k.Name != "billing" || k.By != "operator" || k.Revoked || k.Expires != nil || len(k.Scopes) != 2 {
		t.Errorf("%+v", k)
	}
	list := r.ok(http.StatusOK, "GET", "/keys", nil, nil)
	if strings.Contains(string(list.body), parts[2]) || !strings.Contains(string(list.body), k.ID) {
		t.Errorf("the list: %s", list.body)
	}
	for _, ev := range r.events(event.People) {
		if added := ev.GetApiKeyAdded(); strings.Contains(string(added.GetHash()), string(secret)) || strings.Contains(ev.String(), parts[2]) || len(added.GetHash()) != 32 {
			t.Errorf("the log holds the secret: %v", ev)
		}
	}
	if got := r.do(ask{method: "GET", path: "/users", token: k.Secret}); got.status != http.StatusOK {
		t.Errorf("with the key: %d %s", got.status, got.body)
	}
	// What a key does says so.
	var made api.NewKey
	got := r.do(ask{method: "POST", path: "/keys", token: k.Secret, body: map[string]any{"name": "less", "scopes": []string{"users:read"}}})
	if got.into(t, &made); got.status != http.StatusCreated || made.By != "key:"+k.ID {
		t.Errorf("by a key: %d %s", got.status, got.body)
	}
	problemOf(t, r.do(ask{method: "POST", path: "/keys", token: k.Secret, body: map[string]any{"name": "more", "scopes": []string{"users:write"}}}), http.StatusForbidden, "forbidden")
	r.refused(http.StatusUnprocessableEntity, "invalid", "POST", "/keys", map[string]any{"name": "x", "scopes": []string{"users:all"}})
	r.refused(http.StatusUnprocessableEntity, "invalid", "POST", "/keys", map[string]any{"name": "x", "scopes": []string{}})
	r.refused(http.StatusUnprocessableEntity, "field", "POST", "/keys", map[string]any{"name": "x", "scopes": []string{"keys"}, "expires": "2020-01-01T00:00:00Z"})
	r.refused(http.StatusNotFound, "no_such_key", "DELETE", "/keys/nobody", nil)
}

func TestWhoShowsNoKeyIsRefused(t *testing.T) {
	r := newRig(t)
	k := r.key(api.UsersRead)
	for name, header := range map[string]string{
		"nothing": "", "another scheme": "Basic " + k, "no token": "Bearer ", "a part": "Bearer " + k[:len(k)-1], "another secret": "Bearer " + k[:len(k)-3] + "AAA",
		"another id": "Bearer gw_abc_" + strings.Repeat("A", 43), "nearly the operator": "Bearer " + token + "x", "no form": "Bearer gw__",
	} {
		req, _ := http.NewRequest("GET", r.url+api.Prefix+"/users", nil)
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	// Without a token of his own the operator is nobody, not everybody.
	r.cfg.Token = ""
	s := r.newSide(r.cfg)
	problemOf(t, s.do(ask{method: "GET", path: "/users", token: "-", header: []string{"Authorization", "Bearer"}}), http.StatusUnauthorized, "unauthorised")
}

func TestARevokedKeyEndsHereAtOnceAndElsewhereInSeconds(t *testing.T) {
	r, c, n := timed(t)
	k := r.key(api.UsersRead)
	other := r.newSide(r.cfg)
	get := func(s *side) int {
		return s.do(ask{method: "GET", path: "/users", token: k}).status
	}
	before := n.keys.Load()
	for range 10 {
		if get(r.side) != http.StatusOK || get(other) != http.StatusOK {
			t.Fatal("the key is refused")
		}
	}
	if asked := n.keys.Load() - before; asked != 2 {
		t.Errorf("%d questions for 20 requests at two servers", asked)
	}
	id := strings.Split(k, "_")[1]
	r.ok(http.StatusNoContent, "DELETE", "/keys/"+id, nil, nil)
	if got := get(r.side); got != http.StatusUnauthorized {
		t.Errorf("at the server that revoked it: %d", got)
	}
	c.move(4 * time.Second)
	if got := get(other); got != http.StatusOK {
		t.Errorf("elsewhere, before its time: %d", got)
	}
	c.move(time.Second)
	if got := get(other); got != http.StatusUnauthorized {
		t.Errorf("elsewhere, after 5 s: %d", got)
	}
	r.ok(http.StatusNoContent, "DELETE", "/keys/"+id, nil, nil) // it is so already
}

func TestAKeyExpires(t *testing.T) {
	r, c, _ := timed(t)
	var k api.NewKey
	r.ok(http.StatusCreated, "POST", "/keys", map[string]any{"name": "short", "scopes": []string{"users:read"}, "expires": c.now().Add(3 * time.Second)}, &k)
	get := func() int { return r.do(ask{method: "GET", path: "/users", token: k.Secret}).status }
	if got := get(); got != http.StatusOK {
		t.Fatalf("at first: %d", got)
	}
	c.move(3 * time.Second) // it is still remembered
	if got := get(); got != http.StatusUnauthorized {
		t.Errorf("after its end: %d", got)
	}
}

func TestWrongKeysAreSlowedDownByAddress(t *testing.T) {
	r, c, n := timed(t)
	good, fresh := r.key(api.UsersRead), r.key(api.UsersRead)
	if got := r.do(ask{method: "GET", path: "/users", token: good}); got.status != http.StatusOK {
		t.Fatal(got.status)
	}
	wrong := ask{method: "GET", path: "/users", token: "gw_abc_" + strings.Repeat("A", 43)}
	for i := range 20 {
		if got := r.do(wrong); got.status != http.StatusUnauthorized {
			t.Fatalf("wrong key %d: %d", i, got.status)
		}
	}
	asked := n.keys.Load()
	busy := r.do(wrong)
	problemOf(t, busy, http.StatusTooManyRequests, "too_many_failures")
	if busy.header.Get("Retry-After") == "" || n.keys.Load() != asked {
		t.Errorf("no Retry-After, or a view was asked all the same: %v", busy.header)
	}
	// Who is known goes on; who would have to be asked for waits.
	for _, known := range []string{good, token} {
		if got := r.do(ask{method: "GET", path: "/users", token: known}); got.status != http.StatusOK {
			t.Errorf("a known key: %d", got.status)
		}
	}
	problemOf(t, r.do(ask{method: "GET", path: "/users", token: fresh}), http.StatusTooManyRequests, "too_many_failures")
	// Another address is another matter.
	req := httptest.NewRequest("GET", api.Prefix+"/users", nil)
	req.RemoteAddr = "192.0.2.9:1"
	req.Header.Set("Authorization", "Bearer "+fresh)
	w := httptest.NewRecorder()
	if r.api.ServeHTTP(w, req); w.Code != http.StatusOK {
		t.Errorf("another address: %d", w.Code)
	}
	c.move(6 * time.Second) // one is forgiven, and the cache is empty
	if got := r.do(ask{method: "GET", path: "/users", token: good}); got.status != http.StatusOK {
		t.Errorf("after a while: %d", got.status)
	}
}

func TestOtherPortsMayAskForAScope(t *testing.T) {
	r := newRig(t)
	k := r.key(api.FilesScope)
	req := httptest.NewRequest("POST", "/upload", nil)
	req.Header.Set("Authorization", "Bearer "+k)
	if err := r.api.Authorize(req, api.FilesScope); err != nil {
		t.Error(err)
	}
	if p, ok := r.api.Authorize(req, api.UsersRead).(*api.Problem); !ok || p.Status != http.StatusForbidden {
		t.Errorf("another scope: %+v", p)
	}
	req.Header.Del("Authorization")
	if p, ok := r.api.Authorize(req, api.FilesScope).(*api.Problem); !ok || p.Status != http.StatusUnauthorized {
		t.Errorf("no key: %+v", p)
	}
}

var _ api.Log = (*bus.Bus)(nil)

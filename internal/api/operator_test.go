package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"godwit/internal/admin"
	"godwit/internal/api"
)

// port is the whole admin port of a process.
func (r *rig) port(a *api.API) *side {
	p := httptest.NewServer(admin.NewHandler(admin.Config{People: admin.NewPeople(r.node, r.hasher), Server: itself{}, Token: token, API: a}))
	r.t.Cleanup(p.Close)
	return &side{t: r.t, api: a, url: p.URL}
}

// Every write of the operator's is cut off behind the log and repeated at another process, when what it did speaks against
// doing it, or somebody has undone it: it happens once, and the answer is the one that the first run would have given.
func TestAnOperatorsWriteThatACrashCutOffIsDoneOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		q      ask
		status int
		undo   *ask
	}{
		{"add", ask{method: "POST", path: "/people", body: map[string]any{"name": "Eve", "nick": "E.", "password": "x"}}, 201, nil},
		{"password", ask{method: "POST", path: "/people/ann/password", body: map[string]any{"password": "y"}}, 204, &ask{method: "POST", path: "/people/ann/disable"}},
		{"disable", ask{method: "POST", path: "/people/ann/disable"}, 204, &ask{method: "POST", path: "/people/ann/enable"}},
		{"enable", ask{method: "POST", path: "/people/cid/enable"}, 204, &ask{method: "POST", path: "/people/cid/disable"}},
		{"friends", ask{method: "PUT", path: "/friends/ann/dee"}, 204, &ask{method: "DELETE", path: "/friends/dee/ann"}},
		{"no friends", ask{method: "DELETE", path: "/friends/bob/ann"}, 204, &ask{method: "PUT", path: "/friends/ann/bob"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			for _, name := range []string{"ann", "bob", "cid", "dee"} {
				r.user(name)
			}
			port := r.port(r.api)
			port.ok(http.StatusNoContent, "PUT", "/friends/ann/bob", nil, nil)
			port.ok(http.StatusNoContent, "POST", "/people/cid/disable", nil, nil)
			before := r.counted()
			first := r.port(r.gone("the first").api).do(keyed(c.q, "k"))
			if first.status != c.status || r.counted() != before+1 {
				t.Fatalf("the first run: %d %s, %d events", first.status, first.body, r.counted()-before)
			}
			if c.undo != nil {
				if got := port.do(*c.undo); got.status != http.StatusNoContent || r.counted() != before+2 {
					t.Fatalf("undone: %d %s, %d events", got.status, got.body, r.counted()-before)
				}
				before++
			}
			for _, replayed := range []string{"", "true"} {
				got := port.do(keyed(c.q, "k"))
				if got.status != c.status || got.header.Get("Idempotency-Replayed") != replayed || !bytes.Equal(got.body, first.body) {
					t.Errorf("repeated: %d %s (%v), want %d %s", got.status, got.body, got.header, first.status, first.body)
				}
			}
			if r.counted() != before+1 {
				t.Errorf("the repeats added %d events", r.counted()-before-1)
			}
			other := c.q
			other.path = "/people"
			other.method, other.body = "POST", map[string]any{"name": "zoe", "password": "x"}
			problemOf(t, port.do(keyed(other, "k")), http.StatusUnprocessableEntity, "idempotency_key_reused")
		})
	}
}

// An import that is sent again as it is adds nobody twice, though it takes no Idempotency-Key.
func TestAnImportSentAgainAddsNobodyTwice(t *testing.T) {
	r := newRig(t)
	port := r.port(r.api)
	for added := range 2 {
		got := port.do(ask{method: "POST", path: "/people:import", body: "{\"name\":\"ann\",\"password\":\"x\"}\n{\"name\":\"bob\",\"password\":\"x\"}"})
		lines := strings.Split(strings.TrimSpace(string(got.body)), "\n")
		var last admin.ImportProgress
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || !last.Done || last.Added != 2*(1-added) || last.Handled != 2 {
			t.Errorf("%v: %s", err, got.body)
		}
	}
}

// Who guesses the operator's token is slowed down as who guesses a key is, wherever on the port he tries.
func TestWrongOperatorsTokensCountAsWrongKeys(t *testing.T) {
	r, _, _ := timed(t)
	port := r.port(r.api)
	paths := []string{"/status", "/people", "/users", "/status"}
	for i := range 20 {
		got := port.do(ask{method: "GET", path: paths[i%len(paths)], token: fmt.Sprint("guess-", i)})
		if got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("guess %d: no challenge", i)
		}
		problemOf(t, got, http.StatusUnauthorized, "unauthorised")
	}
	for _, path := range []string{"/status", "/users"} {
		busy := port.do(ask{method: "GET", path: path, token: "guess-20"})
		problemOf(t, busy, http.StatusTooManyRequests, "too_many_failures")
		if busy.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	problemOf(t, port.do(ask{method: "POST", path: "/people", token: "guess-21", body: map[string]any{"name": "eve", "password": "x"}}), http.StatusTooManyRequests, "too_many_failures")
	// The operator himself goes on.
	port.ok(http.StatusOK, "GET", "/status", nil, nil)
	port.ok(http.StatusCreated, "POST", "/people", map[string]any{"name": "eve", "password": "x"}, nil)
	// Nothing shown is no guess, and neither is a key that is one, though it opens nothing here.
	timed, clock, _ := timed(t)
	port = timed.port(timed.api)
	key := timed.key(api.UsersRead)
	for range 25 {
		problemOf(t, port.do(ask{method: "GET", path: "/status", token: "-"}), http.StatusUnauthorized, "unauthorised")
		problemOf(t, port.do(ask{method: "GET", path: "/people", token: key}), http.StatusUnauthorized, "unauthorised")
	}
	for range 20 {
		problemOf(t, port.do(ask{method: "GET", path: "/status", token: "guess"}), http.StatusUnauthorized, "unauthorised")
	}
	problemOf(t, port.do(ask{method: "GET", path: "/status", token: "guess"}), http.StatusTooManyRequests, "too_many_failures")
	clock.move(6 * time.Second) // one is forgiven
	problemOf(t, port.do(ask{method: "GET", path: "/status", token: "guess"}), http.StatusUnauthorized, "unauthorised")
	problemOf(t, port.do(ask{method: "GET", path: "/status", token: "guess"}), http.StatusTooManyRequests, "too_many_failures")
}

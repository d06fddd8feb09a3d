package api_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"godwit/connector/delivery"
	"godwit/internal/api"
	"godwit/schema/event"
	"godwit/schema/query"
)

// late is a node that has lost sight of the first event of a stream: it is stored all the same, when let go.
type late struct {
	api.Node
	stream event.Stream
	asked  func(q *query.Request) bool // lets it go before this question is put

	mu   sync.Mutex
	held func()
	lost int
}

func (n *late) lose(s event.Stream, done func(delivery.Result), again func(done func(delivery.Result)) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s != n.stream || n.lost > 0 {
		n.letGo()
		return again(done)
	}
	n.lost++
	n.held = func() {
		stored := make(chan struct{})
		if again(func(delivery.Result) { close(stored) }) == nil {
			<-stored
		}
	}
	go done(delivery.Result{Err: delivery.ErrPositionsLost})
	return nil
}

func (n *late) letGo() {
	if n.held != nil {
		n.held()
		n.held = nil
	}
}

func (n *late) Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error {
	return n.lose(s, done, func(done func(delivery.Result)) error { return n.Node.Append(s, ev, done) })
}

func (n *late) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error {
	return n.lose(s, done, func(done func(delivery.Result)) error { return n.Node.AppendCAS(s, subject, expect, ev, done) })
}

func (n *late) Ask(ctx context.Context, q *query.Request) (*query.Answer, error) {
	n.mu.Lock()
	if n.asked != nil && n.asked(q) {
		n.letGo()
	}
	n.mu.Unlock()
	return n.Node.Ask(ctx, q)
}

// A run was told nothing of its event, and its repeat comes before the event is folded: what it then finds to speak against
// the request is what the request itself has done.
func TestARepeatIsNotRefusedForItsOwnFirstRun(t *testing.T) {
	pair := func(q *query.Request) bool { return q.GetRelations() != nil }
	for _, c := range []struct {
		name   string
		before []ask
		q      ask
		status int
		want   string
		asked  func(q *query.Request) bool
	}{
		{"user", nil, ask{method: "POST", path: "/users", body: map[string]any{"name": "eve", "password": "x"}}, 201, `"number":3`, nil},
		{"user with a number", nil, ask{method: "POST", path: "/users", body: map[string]any{"name": "eve", "password": "x", "number": 9}}, 201, `"number":9`, nil},
		{"department", nil, ask{method: "POST", path: "/departments", body: map[string]any{"name": "sales", "number": 4}}, 201, `"number":4`,
			func(q *query.Request) bool { return q.GetDepartments() != nil }},
		{"friend", nil, ask{method: "PUT", path: "/users/1/friends/2"}, 204, "", pair},
		{"answer", []ask{{method: "PUT", path: "/users/1/friend-requests/2"}},
			ask{method: "POST", path: "/users/2/friend-requests/1", body: map[string]any{"accept": false}}, 204, "", pair},
		{"withdrawal", []ask{{method: "PUT", path: "/users/1/friend-requests/2"}}, ask{method: "DELETE", path: "/users/1/friend-requests/2"}, 204, "", pair},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.user("ann")
			r.user("bob")
			for _, q := range c.before {
				if got := r.do(q); got.status >= 300 {
					t.Fatalf("%d %s", got.status, got.body)
				}
			}
			n := &late{Node: r.node, stream: event.People}
			r.cfg.Node = n
			s := r.newSide(r.cfg)
			problemOf(t, s.do(keyed(c.q, "k")), http.StatusServiceUnavailable, "unavailable")
			n.mu.Lock()
			n.asked = c.asked
			n.mu.Unlock()
			before := r.counted()
			got := s.do(keyed(c.q, "k"))
			if got.status != c.status || !strings.Contains(string(got.body), c.want) {
				t.Errorf("repeated: %d %s", got.status, got.body)
			}
			if n.held != nil || r.counted() == before {
				t.Error("the first event was not stored in between")
			}
		})
	}
}

package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/internal/api"
	"godwit/schema/event"
)

func keyed(q ask, key string) ask {
	q.header = []string{"Idempotency-Key", key}
	return q
}

// gone is a server whose process ends when what it was asked has reached the log, and before it has noted the answer.
func (r *rig) gone(process string) *side {
	cfg := r.cfg
	cfg.Log = &failingNotes{Bus: r.bus.Bus, process: process, left: 1}
	return r.newSide(cfg)
}

func TestAWriteWithAKeyIsDoneOnce(t *testing.T) {
	r := newRig(t)
	ann := ask{method: "POST", path: "/users", body: map[string]any{"name": "ann", "password": "x"}}
	first := r.do(keyed(ann, "k1"))
	if first.status != http.StatusCreated || first.header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%d %s", first.status, first.body)
	}
	again := r.do(keyed(ann, "k1"))
	if again.status != first.status || !bytes.Equal(again.body, first.body) || again.header.Get("Idempotency-Replayed") != "true" ||
		again.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Errorf("again: %d %s", again.status, again.body)
	}
	if n := len(r.events(event.People)); n != 1 {
		t.Errorf("%d events", n)
	}
	// A refusal is an answer as well, though it would be none now.
	bob := ask{method: "PATCH", path: "/users/2", body: map[string]any{"nick": "b"}}
	problemOf(t, r.do(keyed(bob, "k2")), http.StatusNotFound, "no_such_person")
	r.user("bob")
	problemOf(t, r.do(keyed(bob, "k2")), http.StatusNotFound, "no_such_person")
	if got := r.do(keyed(bob, "k3")); got.status != http.StatusOK {
		t.Errorf("with a new key: %d", got.status)
	}
	// The same key for something else is a mistake.
	for _, other := range []ask{
		{method: "POST", path: "/users", body: map[string]any{"name": "cid", "password": "x"}},
		{method: "POST", path: "/groups", body: ann.body},
		{method: "DELETE", path: "/users/1"},
	} {
		problemOf(t, r.do(keyed(other, "k1")), http.StatusUnprocessableEntity, "idempotency_key_reused")
	}
	// Another caller's key of the same name is another key.
	k := r.key(api.UsersWrite, api.UsersRead)
	dee := ask{method: "POST", path: "/users", token: k, body: map[string]any{"name": "dee", "password": "x"}}
	if got := r.do(keyed(dee, "k1")); got.status != http.StatusCreated {
		t.Errorf("another caller: %d %s", got.status, got.body)
	}
	for _, bad := range [][]string{
		{"Idempotency-Key", ""}, {"Idempotency-Key", strings.Repeat("k", 256)}, {"Idempotency-Key", "a b"}, {"Idempotency-Key", "a", "Idempotency-Key", "b"},
	} {
		q := ann
		q.header = bad
		problemOf(t, r.do(q), http.StatusBadRequest, "invalid")
	}
	// A read needs none, and does not mind one.
	if got := r.do(keyed(ask{method: "GET", path: "/users/1"}, "k1")); got.status != http.StatusOK {
		t.Errorf("a read: %d", got.status)
	}
}

// Every write is cut off behind the log and repeated at another process: it happens once, and the answer is the one that
// the first run would have given.
func TestAWriteThatACrashCutOffIsDoneOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		q      ask
		status int
		events int // that the request adds, in all streams
		check  func(t *testing.T, r *rig, body []byte)
	}{
		{"user", ask{method: "POST", path: "/users", body: map[string]any{"name": "eve", "password": "x"}}, 201, 1, has(`"number":4`)},
		{"profile", ask{method: "PATCH", path: "/users/1", body: map[string]any{"nick": "new"}}, 200, 1, has(`"nick":"new"`)},
		{"password", ask{method: "PUT", path: "/users/1/password", body: map[string]any{"password": "y"}}, 204, 1, nil},
		{"leave", ask{method: "DELETE", path: "/users/1"}, 204, 2, nil},
		{"department", ask{method: "POST", path: "/departments", body: map[string]any{"name": "sales"}}, 201, 1, has(`"number":1`)},
		{"key", ask{method: "POST", path: "/keys", body: map[string]any{"name": "k", "scopes": []string{"users:read"}}}, 201, 1, func(t *testing.T, r *rig, body []byte) {
			var k api.NewKey
			reply{body: body}.into(t, &k)
			if got := r.do(ask{method: "GET", path: "/users", token: k.Secret}); got.status != http.StatusOK {
				t.Errorf("the key that was answered does not open: %d", got.status)
			}
		}},
		{"webhook", ask{method: "POST", path: "/webhooks", body: map[string]any{"url": "https://example.org"}}, 201, 1, has(`"secret":"`)},
		{"group", ask{method: "POST", path: "/groups", body: map[string]any{"name": "g", "members": []int{1, 2}}}, 201, 2, has(`"number":2`)},
		{"members", ask{method: "POST", path: "/groups/1/members", body: map[string]any{"add": []int{3}}}, 200, 1, has(`"version":2`)},
		{"rename", ask{method: "PATCH", path: "/groups/1", body: map[string]any{"name": "new"}}, 200, 1, has(`"version":2`)},
		{"dissolve", ask{method: "DELETE", path: "/groups/1"}, 204, 1, nil},
		{"request", ask{method: "PUT", path: "/users/1/friend-requests/2"}, 204, 1, nil},
		{"remark", ask{method: "PUT", path: "/users/1/friends/3/remark", body: map[string]any{"remark": "Bobby"}}, 204, 1, nil},
		{"block", ask{method: "PUT", path: "/users/1/blocks/2"}, 204, 1, nil},
		{"read mark", ask{method: "PUT", path: "/users/2/conversations/group-1/read", body: map[string]any{"message": 1}}, 200, 1, has(`"read":1`)},
		{"mute", ask{method: "PUT", path: "/groups/1/members/2/muted", body: map[string]any{"on": true}}, 200, 1, has(`"muted":true`)},
		{"message", ask{method: "POST", path: "/messages", body: map[string]any{"from": 1, "to_user": 2, "text": "once"}}, 201, 1, has(`"id":1`)},
		{"system message", ask{method: "POST", path: "/messages", body: map[string]any{"system": true, "to_group": 1, "text": "once"}}, 201, 1, has(`"id":2`)},
		{"recall", ask{method: "DELETE", path: "/users/1/conversations/group-1/messages/1"}, 204, 1, nil},
		{"edit", ask{method: "PATCH", path: "/users/1/conversations/group-1/messages/1", body: map[string]any{"text": "else"}}, 200, 1, has(`"edits":1`)},
		{"kick", ask{method: "DELETE", path: "/users/1/sessions/SESSION"}, 204, 1, nil},
		{"device", ask{method: "PUT", path: "/users/1/device", body: map[string]any{"type": "android", "token": "t"}}, 200, 1, has(`"android"`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			for _, name := range []string{"ann", "bob", "cid"} {
				r.user(name)
			}
			r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "creator": 1, "members": []int{2}}, nil)
			r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 1, "to_group": 1, "text": "hello"}, nil)
			r.ok(http.StatusNoContent, "PUT", "/users/1/friends/3", nil, nil)
			c.q.path = strings.Replace(c.q.path, "SESSION", r.login(1), 1)
			before := r.counted()
			dying := r.gone("the first")
			// What it answered got lost on the way, as far as its client knows.
			if got := dying.do(keyed(c.q, "k")); got.status != c.status {
				t.Fatalf("the first run: %d %s", got.status, got.body)
			}
			if r.counted()-before != c.events {
				t.Fatalf("the first run added %d events, want %d", r.counted()-before, c.events)
			}
			got := r.do(keyed(c.q, "k"))
			if got.status != c.status || got.header.Get("Idempotency-Replayed") != "" {
				t.Fatalf("repeated: %d %s (%v)", got.status, got.body, got.header)
			}
			if c.check != nil {
				c.check(t, r, got.body)
			}
			again := r.do(keyed(c.q, "k"))
			if again.status != got.status || !bytes.Equal(again.body, got.body) || again.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("and again: %d %s, not %d %s", again.status, again.body, got.status, got.body)
			}
			r.state(c.name)
		})
	}
}

// has wants some text in an answer.
func has(text string) func(*testing.T, *rig, []byte) {
	return func(t *testing.T, _ *rig, body []byte) {
		if !strings.Contains(string(body), text) {
			t.Errorf("%s lacks %s", body, text)
		}
	}
}

// counted is how many events there are in all streams.
func (r *rig) counted() int {
	n := 0
	for _, s := range r.bus.Streams() {
		n += len(r.events(s))
	}
	return n
}

// state checks that what happened has happened once, by what anybody can see.
func (r *rig) state(name string) {
	r.t.Helper()
	var users struct{ Users []api.User }
	r.ok(http.StatusOK, "GET", "/users", nil, &users)
	var g api.Group
	r.ok(http.StatusOK, "GET", "/groups/1", nil, &g)
	var groups struct{ Groups []api.Group }
	r.ok(http.StatusOK, "GET", "/groups", nil, &groups)
	var direct, team struct{ Messages []api.Message }
	r.ok(http.StatusOK, "GET", "/users/1/conversations/user-2/messages", nil, &direct)
	r.ok(http.StatusOK, "GET", "/users/1/conversations/group-1/messages", nil, &team)
	got := fmt.Sprint(len(users.Users), g.Version, len(groups.Groups), len(direct.Messages), len(team.Messages))
	want := map[string]string{
		"user": "4 1 1 0 1", "group": "3 1 2 0 1", "members": "3 2 1 0 1", "rename": "3 2 1 0 1", "dissolve": "3 2 1 0 0",
		"message": "3 1 1 1 1", "system message": "3 1 1 0 2",
	}[name]
	if want == "" {
		want = "3 1 1 0 1"
	}
	if got != want {
		r.t.Errorf("users, version, groups, messages to one, to the group: %s, want %s", got, want)
	}
}

// Where the claim is of a process that may live, a repeat waits or comes again; after a minute it takes over.
func TestARunOfAnotherProcessIsNotDoneBesideIt(t *testing.T) {
	r := newRig(t)
	c := &clock{at: time.Now()}
	cluster := func(process string, left int) *side {
		cfg := r.cfg
		cfg.Now = c.now
		cfg.Log = &shared{failingNotes{Bus: r.bus.Bus, process: process, left: left}}
		return r.newSide(cfg)
	}
	one, other := cluster("one", 1), cluster("other", 100)
	q := keyed(ask{method: "POST", path: "/users", body: map[string]any{"name": "ann", "password": "x"}}, "k")
	if got := one.do(q); got.status != http.StatusCreated {
		t.Fatalf("%d %s", got.status, got.body)
	}
	busy := other.do(q)
	problemOf(t, busy, http.StatusConflict, "in_progress")
	if busy.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	c.move(time.Minute)
	if got := other.do(q); got.status != http.StatusCreated || len(r.events(event.People)) != 1 {
		t.Errorf("after a minute: %d %s, %d events", got.status, got.body, len(r.events(event.People)))
	}
}

// shared is the log of a cluster: other processes may live.
type shared struct{ failingNotes }

func (*shared) Alone() bool { return false }

// slow holds every append of PEOPLE until it is let go.
type slow struct {
	api.Node
	held chan struct{}
	let  chan struct{}
}

func (n *slow) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error {
	n.held <- struct{}{}
	<-n.let
	return n.Node.AppendCAS(s, subject, expect, ev, done)
}

func TestTwoAtOnceWithOneKeyAreOne(t *testing.T) {
	r := newRig(t)
	n := &slow{Node: r.node, held: make(chan struct{}, 8), let: make(chan struct{})}
	r.cfg.Node = n
	s := r.newSide(r.cfg)
	q := keyed(ask{method: "POST", path: "/users", body: map[string]any{"name": "ann", "password": "x"}}, "k")
	replies := make(chan reply, 4)
	var asking sync.WaitGroup
	request := func() {
		got, err := s.try(q)
		if err != nil {
			t.Error(err)
		}
		replies <- got
	}
	asking.Go(request)
	<-n.held // the first is on its way; the others find it there
	for range cap(replies) - 1 {
		asking.Go(request)
	}
	select {
	case <-n.held:
		t.Error("another runs beside the first")
	case <-time.After(300 * time.Millisecond): // one that does not wait would have come by now
	}
	close(n.let)
	asking.Wait()
	close(replies)
	var replayed []string
	for got := range replies {
		if got.status != http.StatusCreated || !strings.Contains(string(got.body), `"number":1`) {
			t.Errorf("%d %s", got.status, got.body)
		}
		replayed = append(replayed, got.header.Get("Idempotency-Replayed"))
	}
	slices.Sort(replayed)
	if !slices.Equal(replayed, []string{"", "true", "true", "true"}) || len(r.events(event.People)) != 1 || len(n.held) != 0 {
		t.Errorf("replayed %q, %d events, %d appends more", replayed, len(r.events(event.People)), len(n.held))
	}
}

// failing refuses appends as a full log does.
type failing struct {
	api.Node
	left int
}

func (n *failing) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error {
	if n.left--; n.left >= 0 {
		return bus.ErrFull
	}
	return n.Node.AppendCAS(s, subject, expect, ev, done)
}

func TestAFailureIsNoAnswer(t *testing.T) {
	r := newRig(t)
	r.cfg.Node = &failing{Node: r.node, left: 1}
	s := r.newSide(r.cfg)
	q := keyed(ask{method: "POST", path: "/users", body: map[string]any{"name": "ann", "password": "x"}}, "k")
	first := s.do(q)
	problemOf(t, first, http.StatusServiceUnavailable, "unavailable")
	if first.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if got := s.do(q); got.status != http.StatusCreated || got.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// A day later a key is new, as its repeats would not be known for ever.
func TestAKeyLastsADay(t *testing.T) {
	r := newRig(t)
	c := &clock{at: time.Now().Add(-25 * time.Hour)}
	r.cfg.Now = c.now
	s := r.newSide(r.cfg)
	r.user("ann")
	r.user("bob")
	q := keyed(ask{method: "POST", path: "/messages", body: map[string]any{"from": 1, "to_user": 2, "text": "hello"}}, "k")
	for i, want := range []string{`"id":1,`, `"id":1,`, `"id":1,`, `"id":2,`} {
		switch i {
		case 2:
			c.move(24*time.Hour - time.Second)
		case 3:
			c.move(time.Second)
		}
		if got := s.do(q); got.status != http.StatusCreated || !strings.Contains(string(got.body), want) {
			t.Errorf("%d: %d %s, want %s", i, got.status, got.body, want)
		}
	}
}

// Notes hold nothing that could be read or tried out without the caller's credential.
func TestNotesAreSealed(t *testing.T) {
	r := newRig(t)
	spy := &spying{Bus: r.bus.Bus}
	r.cfg.Log = spy
	s := r.newSide(r.cfg)
	var k api.NewKey
	s.do(keyed(ask{method: "POST", path: "/keys", body: map[string]any{"name": "zebra", "scopes": []string{"users:read"}}}, "giraffe")).into(t, &k)
	if len(spy.notes) != 2 {
		t.Fatalf("%d notes, want the claim and the answer", len(spy.notes))
	}
	for _, note := range spy.notes {
		for _, secret := range []string{k.Secret, k.Secret[len(k.Secret)-20:], "zebra", "giraffe", token} {
			if strings.Contains(note, secret) {
				t.Errorf("a note holds %q: %s", secret, note)
			}
		}
	}
}

type spying struct {
	*bus.Bus
	mu    sync.Mutex
	notes []string
}

func (s *spying) NoteRequest(ctx context.Context, name string, note []byte, expect uint64) (uint64, error) {
	s.mu.Lock()
	s.notes = append(s.notes, name+" "+string(note))
	s.mu.Unlock()
	return s.Bus.NoteRequest(ctx, name, note, expect)
}

package api_test

import (
	"bytes"
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

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/internal/api"
	"godwit/internal/password"
	"godwit/projections/owner"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
	"godwit/schema/frame"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
)

const token = "the-operators-token"

// deaf is a node's handler without sessions.
type deaf struct{}

func (deaf) SessionOver(*frame.SessionOver)             {}
func (deaf) UserStatus(uint32, bool, uint64)            {}
func (deaf) DesktopStatus(uint32, bool, uint64)         {}
func (deaf) PersonChanged(*frame.PersonChanged, uint64) {}
func (deaf) DropCaches()                                {}
func (deaf) CloseAll(error)                             {}
func (deaf) Relay(*frame.Relay)                         {}
func (deaf) Suspend(bool)                               {}

// rig is a whole log with its views, and an API over it on a real socket.
type rig struct {
	t      testing.TB
	bus    *bustest.Kit
	node   *delivery.Node
	hasher *password.Hasher
	cfg    api.Config
	*side
}

// side is one API, as one process has it.
type side struct {
	t   testing.TB
	api *api.API
	url string
}

func newRig(t testing.TB, opts ...bustest.Option) *rig {
	t.Helper()
	k := bustest.New(t, append([]bustest.Option{bustest.Partitions(2)}, opts...)...)
	owners, err := owner.Open(t.Context(), owner.Config{Bus: k.Bus, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	node, err := delivery.New(delivery.Config{Bus: k.Bus, Handler: deaf{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	nodeCtx, stopNode := context.WithCancel(ctx)
	var running, nodeRunning sync.WaitGroup
	running.Go(func() {
		if err := owners.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	nodeRunning.Go(func() {
		if err := node.Run(nodeCtx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stopNode()
		nodeRunning.Wait()
		cancel()
		running.Wait()
		if err := owners.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-node.Started():
	case <-time.After(2 * time.Minute):
		t.Fatal("the node has not started")
	}
	h, err := password.NewHasher(password.Cost{MemoryKiB: password.MinMemoryKiB, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, bus: k, node: node, hasher: h}
	r.cfg = api.Config{ScanTime: time.Minute, Node: node, Log: k.Bus, Partitions: k.Partitions(), Hasher: h, Token: token, Version: "test", Logger: bustest.Logger(t)}
	r.side = r.newSide(r.cfg)
	return r
}

func (r *rig) newSide(cfg api.Config) *side {
	r.t.Helper()
	a, err := api.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	s := httptest.NewServer(a)
	r.t.Cleanup(s.Close)
	return &side{t: r.t, api: a, url: s.URL}
}

// events are all events of a stream but its opening.
func (r *rig) events(s event.Stream) []*event.Event {
	r.t.Helper()
	last, err := r.bus.LastSequence(r.t.Context(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []*event.Event
	for seq := uint64(2); seq <= last; seq++ {
		m, err := r.bus.ReadRecord(r.t.Context(), s, seq)
		if err != nil {
			r.t.Fatal(err)
		}
		var rec event.Record
		if err := proto.Unmarshal(m.Data, &rec); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, rec.Events...)
	}
	return all
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// into reads the body.
func (r reply) into(t testing.TB, to any) {
	t.Helper()
	if err := json.Unmarshal(r.body, to); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
}

// ask is one request; header holds pairs. A body that is no string is sent as JSON.
type ask struct {
	method, path string
	body         any
	token        string // "": the operator's, "-": none
	header       []string
}

func (s *side) do(q ask) reply {
	s.t.Helper()
	r, err := s.try(q)
	if err != nil {
		s.t.Fatal(err)
	}
	s.documented(q, r)
	return r
}

func (s *side) try(q ask) (reply, error) {
	var body io.Reader
	switch b := q.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return reply{}, err
		}
		body = bytes.NewReader(data)
	}
	path := q.path
	if !strings.HasPrefix(path, "/query/") {
		path = api.Prefix + path
	}
	req, err := http.NewRequest(q.method, s.url+path, body)
	if err != nil {
		return reply{}, err
	}
	switch q.token {
	case "":
		req.Header.Set("Authorization", "Bearer "+token)
	case "-":
	default:
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		req.Header.Add(q.header[i], q.header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, b}, err
}

// ok does a request that must succeed with the status, and reads the answer into to, if it is not nil.
func (s *side) ok(status int, method, path string, body, to any) reply {
	s.t.Helper()
	r := s.do(ask{method: method, path: path, body: body})
	if r.status != status {
		s.t.Fatalf("%s %s: %d, want %d: %s", method, path, r.status, status, r.body)
	}
	if to != nil {
		r.into(s.t, to)
	}
	return r
}

// refused does a request that must be refused with a problem of the name.
func (s *side) refused(status int, name, method, path string, body any) api.Problem {
	s.t.Helper()
	r := s.do(ask{method: method, path: path, body: body})
	return problemOf(s.t, r, status, name)
}

func problemOf(t testing.TB, r reply, status int, name string) api.Problem {
	t.Helper()
	var p api.Problem
	if r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d %s: %s is no problem document", r.status, r.header.Get("Content-Type"), r.body)
	}
	r.into(t, &p)
	if r.status != status || p.Status != status || p.Name != name || p.Title == "" ||
		p.Type != "urn:godwit:problem:"+strings.ReplaceAll(name, "_", "-") {
		t.Fatalf("%d %s, want %d %s", r.status, r.body, status, name)
	}
	return p
}

// user makes an account.
func (s *side) user(name string) uint32 {
	s.t.Helper()
	var u api.User
	s.ok(http.StatusCreated, "POST", "/users", map[string]any{"name": name, "password": "secret of " + name}, &u)
	return u.Number
}

// key makes an API key.
func (s *side) key(scopes ...api.Scope) string {
	s.t.Helper()
	var k api.NewKey
	s.ok(http.StatusCreated, "POST", "/keys", map[string]any{"name": "test", "scopes": scopes}, &k)
	return k.Secret
}

// failingNotes stand for a process that ends before it has noted an answer.
type failingNotes struct {
	*bus.Bus
	process string

	mu   sync.Mutex
	left int // notes that are written before they fail
}

func (f *failingNotes) Process() string { return f.process }

var errGone = errors.New("the process is gone")

func (f *failingNotes) NoteRequest(ctx context.Context, name string, note []byte, expect uint64) (uint64, error) {
	f.mu.Lock()
	f.left--
	gone := f.left < 0
	f.mu.Unlock()
	if gone {
		return 0, errGone
	}
	return f.Bus.NoteRequest(ctx, name, note, expect)
}

func path(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// login opens a session of a user, as a node does, and gives its id.
func (r *rig) login(user uint32) string {
	r.t.Helper()
	id := ulid.Make()
	ev, err := commands.OpenSession{At: time.Now(), Session: id, Life: r.node.Life(), ClientType: imbase.ClientType_CLIENT_TYPE_WINDOWS,
		Policy: commands.DefaultDevicePolicy()}.Decide(commands.LoginState{
		Person: commands.Person{Number: user}, PasswordProved: true, PeopleSequence: r.node.PeopleSeen()})
	if err != nil {
		r.t.Fatal(err)
	}
	if res, err := r.node.AppendWait(r.t.Context(), event.Presence, ev); err != nil || res.Void != frame.Void_VOID_NONE {
		r.t.Fatalf("login: %v, %v", res, err)
	}
	return id.String()
}

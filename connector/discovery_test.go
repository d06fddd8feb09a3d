package connector

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Without a server of its own it sends clients where beats say that there is room.
func TestMsgServerByBeats(t *testing.T) {
	now := time.Unix(1000, 0)
	node := func(id byte, advertise string, clients, capacity int) delivery.Live {
		return delivery.Live{Life: event.ID{id}, Advertise: advertise, Clients: clients, Capacity: capacity, Serves: true, Heard: now}
	}
	stopping := node(9, "gone:1", 0, 10)
	stopping.Serves = false
	gateway := delivery.Live{Life: event.ID{8}, Heard: now}
	for _, c := range []struct {
		name, advertise string
		nodes           []delivery.Live
		want            string
	}{
		{"nobody", "", nil, "1"},
		{"nobody who serves", "lb:1", []delivery.Live{stopping, gateway}, "1"},
		{"all are full", "", []delivery.Live{node(1, "a:1", 10, 10), gateway}, "2"},
		{"all behind a balancer are full", "lb:1", []delivery.Live{node(1, "a:1", 10, 10)}, "2"},
		{"the balancer", "lb:1", []delivery.Live{node(1, "a:2", 0, 10)}, "lb lb 1"},
		{"the balancer without a port", "lb", []delivery.Live{node(1, ":2", 0, 10)}, "lb lb 2"},
		{"the least loaded", "", []delivery.Live{node(1, "a:1", 5, 10), node(2, "b:1", 3, 10), stopping}, "b a 1"},
		{"by its room", "", []delivery.Live{node(1, "a:1", 5, 100), node(2, "b:1", 3, 10)}, "a b 1"},
		{"a backup has the same port", "", []delivery.Live{node(1, "a:1", 5, 10), node(2, "b:2", 3, 10)}, "b b 2"},
		{"a backup has room", "", []delivery.Live{node(1, "a:1", 10, 10), node(2, "b:1", 3, 10)}, "b b 1"},
		{"on this machine", "", []delivery.Live{node(1, ":7", 3, 10)}, "192.0.2.9 192.0.2.9 7"},
		{"IPv6", "", []delivery.Live{node(1, "[2001:db8::1]:7", 3, 10)}, "2001:db8::1 2001:db8::1 7"},
	} {
		d := &Discovery{Nodes: func() []delivery.Live { return append([]delivery.Live(nil), c.nodes...) }, Advertise: c.advertise}
		if got := askWhere(t, d); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func askWhere(t *testing.T, d *Discovery) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/msg_server", nil)
	r.Host = "192.0.2.9:8080"
	rec := httptest.NewRecorder()
	d.ServeHTTP(rec, r)
	var a struct {
		Code                    int
		PriorIP, BackupIP, Port string
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
		t.Fatal(err)
	}
	if a.Code != 0 {
		return fmt.Sprint(a.Code)
	}
	return a.PriorIP + " " + a.BackupIP + " " + a.Port
}

// Clients that come between two beats do not all go to the same node.
func TestClientsAreSpreadBetweenTwoBeats(t *testing.T) {
	heard := time.Unix(1000, 0)
	d := &Discovery{Nodes: func() (all []delivery.Live) {
		for i, clients := range []int{0, 10, 0} {
			all = append(all, delivery.Live{Life: event.ID{byte(i)}, Advertise: fmt.Sprintf("%d:1", i), Clients: clients, Capacity: 1000, Serves: true, Heard: heard})
		}
		return all
	}}
	sent := map[string]int{}
	for range 50 {
		sent[askWhere(t, d)[:1]]++
	}
	if sent["0"] != 20 || sent["1"] != 10 || sent["2"] != 20 {
		t.Errorf("sent %v", sent)
	}
	heard = heard.Add(time.Second) // and what was given is in the beats
	if askWhere(t, d); len(d.given) != 3 || d.given[event.ID{}].clients+d.given[event.ID{2}].clients != 1 {
		t.Errorf("given since the beat: %v", d.given)
	}
}

// A gate alone answers as a server does, and hears what its node says of people.
func TestGateWithoutServer(t *testing.T) {
	s := newSafe()
	g := NewGate(GateConfig{ResumeTime: time.Hour, Secrets: s.read})
	n := newFakeNode(t)
	g.Use(n)
	p := n.person(cheapHasher(t), 7, "ann")
	token, _, err := g.tokens.issue(t.Context(), 7, p.CredentialsSequence, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	let := func() (account, holds bool) {
		account, err := g.MayLogIn(t.Context(), 7)
		if err != nil {
			t.Error(err)
		}
		return account, g.HoldsToken(t.Context(), token)
	}
	if account, holds := let(); !account || !holds {
		t.Errorf("account %v, token %v", account, holds)
	}
	asked := n.asked.Load()
	if let(); n.asked.Load() != asked {
		t.Error("what is known is asked for again")
	}
	n.set(func() { p.Disabled = true })
	g.Handler().PersonChanged(&frame.PersonChanged{User: 7}, 9)
	if account, holds := let(); account || holds {
		t.Errorf("closed: account %v, token %v", account, holds)
	}
	n.set(func() { p.Disabled, p.CredentialsSequence = false, 9 })
	g.Handler().DropCaches()
	if account, holds := let(); !account || holds {
		t.Errorf("another password: account %v, token %v", account, holds)
	}
	if may, err := g.MayLogIn(t.Context(), 8); may || err != nil {
		t.Errorf("nobody: %v, %v", may, err)
	}
	n.hook(func(*query.Request) (*query.Answer, error) { return nil, errAway })
	g.Handler().DropCaches()
	if _, err := g.MayLogIn(t.Context(), 7); err == nil {
		t.Error("an answer without a view")
	}
}

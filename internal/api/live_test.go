package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/observe"
)

// heard are the processes of a cluster as a process hears them.
type heard []admin.NodeStatus

func (heard) Since(time.Time) ([]observe.Sample, map[string]observe.ProcessLive) {
	return nil, map[string]observe.ProcessLive{"one": {Sessions: 3}}
}

func (h heard) Nodes() []admin.NodeStatus { return h }

// A process that is everything at once is heard twice, and told once.
func TestAProcessIsToldOnce(t *testing.T) {
	r := newRig(t)
	cfg := r.cfg
	cfg.Live = heard{
		{Process: "far", Node: "east", Role: "connector", Clients: 1, Capacity: 5, State: "serves"},
		{Process: "one", Node: "here", Role: "connector", Advertise: "here:8000", Clients: 6, Capacity: 10, State: "serves", Clock: 0.5},
		{Process: "one", Node: "here", Role: "projector", Views: 4, Owns: 3},
		{Process: "two", Node: "here", Role: "projector", Views: 4, Owns: 1},
	}
	var live struct{ Nodes []api.LiveNode }
	r.newSide(cfg).ok(http.StatusOK, "GET", "/live", nil, &live)
	if len(live.Nodes) != 3 {
		t.Fatalf("%+v", live.Nodes)
	}
	want := admin.NodeStatus{Process: "one", Node: "here", Role: "up", Advertise: "here:8000", Clients: 6, Capacity: 10, State: "serves", Clock: 0.5, Views: 4, Owns: 3}
	if up := live.Nodes[1]; up.NodeStatus != want || up.Live == nil || up.Live.Sessions != 3 {
		t.Errorf("%+v", up)
	}
	if live.Nodes[0].Role != "connector" || live.Nodes[2].Role != "projector" {
		t.Errorf("%+v", live.Nodes)
	}
}

// Messages that come over the API are counted, each once.
func TestMessagesOverTheAPIAreCounted(t *testing.T) {
	r := told(t)
	cfg := r.cfg
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	s := r.newSide(cfg)
	body := map[string]any{"from": 1, "to_user": 2, "text": "once"}
	for range 2 {
		if got := s.do(ask{method: "POST", path: "/messages", body: body, header: []string{"Idempotency-Key", "the-same"}}); got.status != http.StatusCreated {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	s.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 1, "system": true, "to_user": 2, "text": "system"}, nil)
	s.refused(http.StatusNotFound, "no_such_person", "POST", "/messages", map[string]any{"from": 1, "to_user": 99, "text": "nobody"})
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "godwit_api_messages_total" || families[0].GetMetric()[0].GetCounter().GetValue() != 2 {
		t.Errorf("%v, %v", families, err)
	}
}

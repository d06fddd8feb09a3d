package api

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"godwit/internal/admin"
	"godwit/internal/observe"
)

// Live is how the cluster does: see [observe.Live].
type Live interface {
	Since(after time.Time) ([]observe.Sample, map[string]observe.ProcessLive)
	Nodes() []admin.NodeStatus
}

// roleUp is the role of a process that is everything at once, as `godwit up` is: what keeps views says so of itself
// besides, and both are one.
const roleUp = "up"

// LiveNode is a process of the cluster, and what it does now. Its role is connector, gateway or projector, or [roleUp].
type LiveNode struct {
	admin.NodeStatus
	Live *observe.ProcessLive `json:"live,omitempty" doc:"Not there: it does not say"`
}

type liveOut struct {
	Body struct {
		EverySeconds int              `json:"every_seconds" doc:"Between two samples"`
		Samples      []observe.Sample `json:"samples" nullable:"false" doc:"Of the last ten minutes, oldest first"`
		Nodes        []LiveNode       `json:"nodes" nullable:"false" doc:"As in operator-status, but each process once: one that is connector, gateway and projector has the role up"`
	}
}

func (a *API) live() {
	register(a, route{id: "get-live", method: http.MethodGet, path: "/live", scope: StatusRead, tag: "Status",
		summary:     "Get how the cluster does, now and in the last ten minutes",
		description: "A sample each 2 seconds, as this server has seen all processes of the cluster. What is not known is left out."}, a.getLive)
}

func (a *API) getLive(_ context.Context, in *struct {
	Since int64 `query:"since" minimum:"0" doc:"Unix milliseconds: only samples that were taken after that"`
}) (*liveOut, error) {
	out := &liveOut{}
	b := &out.Body
	b.EverySeconds, b.Samples, b.Nodes = int(observe.LiveEvery/time.Second), []observe.Sample{}, []LiveNode{}
	if a.cfg.Live == nil {
		return out, nil
	}
	samples, now := a.cfg.Live.Since(time.UnixMilli(in.Since))
	b.Samples = append(b.Samples, samples...)
	at := map[string]int{} // of processes in the list
	for _, n := range a.cfg.Live.Nodes() {
		if i, ok := at[n.Process]; ok {
			b.Nodes[i].NodeStatus = both(b.Nodes[i].NodeStatus, n)
			continue
		}
		at[n.Process] = len(b.Nodes)
		node := LiveNode{NodeStatus: n}
		if live, ok := now[n.Process]; ok {
			node.Live = &live
		}
		b.Nodes = append(b.Nodes, node)
	}
	return out, nil
}

// both is what one process says of itself as two.
func both(a, b admin.NodeStatus) admin.NodeStatus {
	return admin.NodeStatus{Process: a.Process, Node: cmp.Or(a.Node, b.Node), Role: roleUp, Advertise: cmp.Or(a.Advertise, b.Advertise),
		Clients: a.Clients + b.Clients, Capacity: a.Capacity + b.Capacity, State: cmp.Or(a.State, b.State), Clock: cmp.Or(a.Clock, b.Clock),
		Views: a.Views + b.Views, Owns: a.Owns + b.Owns}
}

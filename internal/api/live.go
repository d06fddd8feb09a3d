package api

import (
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

// LiveNode is a process of the cluster, and what it does now.
type LiveNode struct {
	admin.NodeStatus
	Live *observe.ProcessLive `json:"live,omitempty" doc:"Not there: it does not say"`
}

type liveOut struct {
	Body struct {
		EverySeconds int              `json:"every_seconds" doc:"Between two samples"`
		Samples      []observe.Sample `json:"samples" nullable:"false" doc:"Of the last ten minutes, oldest first"`
		Nodes        []LiveNode       `json:"nodes" nullable:"false" doc:"As in operator-status"`
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
	for _, n := range a.cfg.Live.Nodes() {
		node := LiveNode{NodeStatus: n}
		if live, ok := now[n.Process]; ok {
			node.Live = &live
		}
		b.Nodes = append(b.Nodes, node)
	}
	return out, nil
}

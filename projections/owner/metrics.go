package owner

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts only grow.
type counts struct {
	frames, frameBytes, frameErrors                   atomic.Uint64
	terms, handovers, resets                          atomic.Uint64
	snapshotsWritten, snapshotsTaken, snapshotsFailed atomic.Uint64
}

// Collected is what a Process tells Prometheus, by view where a view is meant.
var (
	byView      = []string{"view"}
	descLag     = prometheus.NewDesc("godwit_view_lag_records", "Records of the stream that the view has yet to fold.", byView, nil)
	descSeconds = prometheus.NewDesc("godwit_view_lag_seconds", "How long ago the stream ended where the view's fold is.", byView, nil)
	descWarm    = prometheus.NewDesc("godwit_view_warm", "1 while the view could be owned at once.", byView, nil)
	descOwned   = prometheus.NewDesc("godwit_view_owned", "1 while this process fans the view out.", byView, nil)
	descNodes   = prometheus.NewDesc("godwit_view_nodes", "Nodes attached to the view's owner.", byView, nil)
	descPeers   = prometheus.NewDesc("godwit_projectors", "Projectors that are heard, this one included.", nil, nil)
)

// counted are the counters by name.
func (p *Process) counted() map[string]struct {
	help  string
	value *atomic.Uint64
} {
	type row = struct {
		help  string
		value *atomic.Uint64
	}
	return map[string]row{
		"godwit_owner_frames_total":       {"Frames sent to nodes.", &p.count.frames},
		"godwit_owner_frame_bytes_total":  {"Bytes of frames sent to nodes.", &p.count.frameBytes},
		"godwit_owner_frame_errors_total": {"Frames that could not be sent.", &p.count.frameErrors},
		"godwit_owner_terms_total":        {"Terms of fan-out begun: take-overs, and views begun anew.", &p.count.terms},
		"godwit_owner_handovers_total":    {"Streams handed over to another projector.", &p.count.handovers},
		"godwit_view_resets_total":        {"Views dropped and replayed while running.", &p.count.resets},
		"godwit_snapshots_written_total":  {"Snapshots of views written.", &p.count.snapshotsWritten},
		"godwit_snapshots_taken_total":    {"Views begun with a snapshot.", &p.count.snapshotsTaken},
		"godwit_snapshots_failed_total":   {"Snapshots that were not written, or were passed over.", &p.count.snapshotsFailed},
	}
}

func (p *Process) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	if err := r.Register(collector{p}); err != nil {
		return fmt.Errorf("metrics of the views: %w", err)
	}
	return nil
}

func (p *Process) unregister(r prometheus.Registerer) {
	if r != nil {
		r.Unregister(collector{p})
	}
}

type collector struct{ p *Process }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLag, descSeconds, descWarm, descOwned, descNodes, descPeers} {
		ch <- d
	}
	for name, row := range c.p.counted() {
		ch <- prometheus.NewDesc(name, row.help, nil, nil)
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range c.p.Status() {
		gauge(descLag, float64(s.Last-min(s.Folded, s.Last)), s.View)
		gauge(descSeconds, s.Lag.Seconds(), s.View)
		gauge(descWarm, float64(b2i(s.Warm)), s.View)
		gauge(descOwned, float64(b2i(s.Term != nil)), s.View)
		gauge(descNodes, float64(s.Nodes), s.View)
	}
	gauge(descPeers, float64(len(c.p.roster.live(time.Now()))+1))
	for name, row := range c.p.counted() {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, row.help, nil, nil), prometheus.CounterValue, float64(row.value.Load()))
	}
}

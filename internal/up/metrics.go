package up

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/projections/owner"
)

// Version of this build: a released module's version, else the commit it was built
// from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}

// registerBus exposes what the bus counts.
func registerBus(r prometheus.Registerer, b *bus.Bus) {
	counter := func(name, help string, get func(bus.Stats) float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "godwit_bus_" + name, Help: help},
			func() float64 { return get(b.Stats()) }))
	}
	counter("records_total", "Records acknowledged by the log.", func(s bus.Stats) float64 { return float64(s.Records) })
	counter("events_total", "Events in acknowledged records.", func(s bus.Stats) float64 { return float64(s.Events) })
	counter("record_bytes_total", "Bytes of acknowledged records.", func(s bus.Stats) float64 { return float64(s.Bytes) })
	counter("append_seconds_total", "Time from the first attempt to the acknowledgement, summed over records.", func(s bus.Stats) float64 { return s.AppendLatency.Seconds() })
	counter("append_retries_total", "Attempts to store a record beyond the first.", func(s bus.Stats) float64 { return float64(s.Retries) })
	counter("append_refusals_total", "Records refused by the log, each retried.", func(s bus.Stats) float64 { return float64(s.Refusals) })
	counter("append_full_total", "Appends refused because too much was waiting.", func(s bus.Stats) float64 { return float64(s.Full) })
	counter("pushes_total", "Frames and heartbeats sent.", func(s bus.Stats) float64 { return float64(s.Pushes) })
	counter("pushes_dropped_total", "Frames and heartbeats lost because the receiver was behind.", func(s bus.Stats) float64 { return float64(s.PushesDropped) })
	counter("follow_restarts_total", "Consumers made again after a loss.", func(s bus.Stats) float64 { return float64(s.FollowRestarts) })
	counter("rollbacks_total", "Rollbacks of a stream noticed.", func(s bus.Stats) float64 { return float64(s.Rollbacks) })
	counter("questions_total", "Questions answered to nodes.", func(s bus.Stats) float64 { return float64(s.Served) })
	counter("questions_refused_total", "Questions refused because too many were waiting.", func(s bus.Stats) float64 { return float64(s.Overflowed) })
	counter("server_restarts_total", "Restarts of the embedded log server.", func(s bus.Stats) float64 { return float64(s.ServerRestarts) })
}

// viewCollector exposes how far the views are. Which there are changes while it runs.
type viewCollector struct{ owners *owner.Process }

var (
	descFolded    = prometheus.NewDesc("godwit_view_folded_sequence", "Position of the fold in memory.", []string{"view"}, nil)
	descCommitted = prometheus.NewDesc("godwit_view_committed_sequence", "Position of the view's file.", []string{"view"}, nil)
)

// Describe implements prometheus.Collector.
func (c viewCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- descFolded
	ch <- descCommitted
}

// Collect implements prometheus.Collector.
func (c viewCollector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.owners.Status() {
		ch <- prometheus.MustNewConstMetric(descFolded, prometheus.GaugeValue, float64(s.Folded), s.View)
		ch <- prometheus.MustNewConstMetric(descCommitted, prometheus.GaugeValue, float64(s.Committed), s.View)
	}
}

package up

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/connector"
	"godwit/internal/password"
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

// registerMetrics exposes what bus and views count; the connector registers its own.
func registerMetrics(r prometheus.Registerer, p *process) {
	counter := func(name, help string, get func(bus.Stats) float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "godwit_bus_" + name, Help: help},
			func() float64 { return get(p.bus.Stats()) }))
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
	for _, s := range p.bus.Streams() {
		v := p.owners.View(s)
		labels := prometheus.Labels{"view": v.Name()}
		r.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "godwit_view_folded_sequence", Help: "Position of the fold in memory.", ConstLabels: labels},
				func() float64 { return float64(v.Folded()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "godwit_view_committed_sequence", Help: "Position of the view's file.", ConstLabels: labels},
				func() float64 { return float64(v.Committed()) }))
	}
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "godwit_ready", Help: "1 while the process can do its work."}, func() float64 {
		if p.Ready(context.Background()) != nil {
			return 0
		}
		return 1
	})
	r.MustRegister(ready)
}

// connectorConfig is the connector's part of the configuration.
func connectorConfig(cfg Config, hasher *password.Hasher, b *bus.Bus, r prometheus.Registerer) connector.Config {
	return connector.Config{
		// A secret is renewed when every token under the one before it has ended.
		ResumeTime: cfg.ResumeTime, Secrets: func(ctx context.Context) ([][]byte, error) {
			return b.Secrets(ctx, "resume", cfg.ResumeTime+time.Hour)
		},
		GroupLimit: cfg.GroupLimit, RecallTime: cfg.RecallTime, EditTime: cfg.EditTime, RecalledText: cfg.RecalledText,
		Listen: cfg.Listen, TLSListen: cfg.TLSListen, TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey,
		Policy: cfg.DevicePolicy, Contacts: connector.Contacts(cfg.Contacts), StatusLimit: cfg.StatusLimit,
		Hasher: hasher, Partitions: b.Partitions(), DrainTimeout: cfg.DrainTimeout, Registerer: r,
		Logger: cfg.Logger.With("part", "connector"),
	}
}

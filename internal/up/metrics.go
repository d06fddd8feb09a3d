package up

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

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

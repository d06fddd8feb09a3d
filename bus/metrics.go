package bus

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a bus's figures for Prometheus: what Stats counts, how appends go, and what
// waits.
type metrics struct {
	b       *Bus
	events  prometheus.Histogram // in a record
	bytes   prometheus.Histogram // of a record
	latency prometheus.Histogram // seconds from a record's first attempt to its acknowledgement
}

const metricPrefix = "godwit_bus_"

// figures are those that Stats has. Gauges may fall.
var figures = []struct {
	name, help string
	gauge      bool
	get        func(Stats) float64
}{
	{"records_total", "Records acknowledged by the log.", false, func(s Stats) float64 { return float64(s.Records) }},
	{"events_total", "Events in acknowledged records.", false, func(s Stats) float64 { return float64(s.Events) }},
	{"record_bytes_total", "Bytes of acknowledged records.", false, func(s Stats) float64 { return float64(s.Bytes) }},
	{"append_seconds_total", "Time from the first attempt to the acknowledgement, summed over records.", false, func(s Stats) float64 { return s.AppendLatency.Seconds() }},
	{"append_retries_total", "Attempts to store a record beyond the first.", false, func(s Stats) float64 { return float64(s.Retries) }},
	{"append_refusals_total", "Records refused by the log, each retried.", false, func(s Stats) float64 { return float64(s.Refusals) }},
	{"append_duplicates_total", "Acknowledgements that told of an earlier attempt having been stored.", false, func(s Stats) float64 { return float64(s.Duplicates) }},
	{"append_conflicts_total", "Lost compare and sets.", false, func(s Stats) float64 { return float64(s.Conflicts) }},
	{"append_full_total", "Appends refused because too much was waiting.", false, func(s Stats) float64 { return float64(s.Full) }},
	{"pushes_total", "Frames and heartbeats sent.", false, func(s Stats) float64 { return float64(s.Pushes) }},
	{"push_bytes_total", "Bytes of frames and heartbeats sent.", false, func(s Stats) float64 { return float64(s.PushBytes) }},
	{"push_errors_total", "Frames and heartbeats that could not be sent.", false, func(s Stats) float64 { return float64(s.PushErrors) }},
	{"pushes_received_total", "Frames and heartbeats received.", false, func(s Stats) float64 { return float64(s.PushesReceived) }},
	{"pushes_dropped_total", "Frames and heartbeats lost because the receiver was behind.", false, func(s Stats) float64 { return float64(s.PushesDropped) }},
	{"followed_records_total", "Records handed to the views.", false, func(s Stats) float64 { return float64(s.Followed) }},
	{"follow_restarts_total", "Consumers made again after a loss.", false, func(s Stats) float64 { return float64(s.FollowRestarts) }},
	{"rollbacks_total", "Rollbacks of a stream noticed.", false, func(s Stats) float64 { return float64(s.Rollbacks) }},
	{"lost_sequences_total", "Records that a stream has lost for good.", false, func(s Stats) float64 { return float64(s.LostSequences) }},
	{"questions_asked_total", "Questions asked of other processes.", false, func(s Stats) float64 { return float64(s.Asked) }},
	{"questions_total", "Questions answered to nodes.", false, func(s Stats) float64 { return float64(s.Served) }},
	{"questions_refused_total", "Questions refused because too many were waiting.", false, func(s Stats) float64 { return float64(s.Overflowed) }},
	{"reconnects_total", "Connections to the log that were lost and came back.", false, func(s Stats) float64 { return float64(s.Reconnects) }},
	{"server_restarts_total", "Restarts of the embedded log server.", false, func(s Stats) float64 { return float64(s.ServerRestarts) }},
	{"leases_lost_total", "Leases that another process took, or that went.", false, func(s Stats) float64 { return float64(s.LeasesLost) }},
	{"leases_held", "Leases held.", true, func(s Stats) float64 { return float64(s.LeasesHeld) }},
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

var (
	figureDescs = func() (all []*prometheus.Desc) {
		for _, f := range figures {
			all = append(all, describe(f.name, f.help))
		}
		return all
	}()
	waitingEvents = describe("waiting_events", "Events that wait to be sent to a stream.", "stream")
	waitingBytes  = describe("waiting_bytes", "Bytes of events that wait to be sent to a stream.", "stream")
	waitingPushes = describe("waiting_pushes", "Frames and heartbeats received that wait to be taken in.")
	writable      = describe("writable", "1 while the log takes records.")
)

// measure makes the bus's metrics known, until it closes.
func (b *Bus) measure() error {
	if b.cfg.Registerer == nil {
		return nil
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		b:       b,
		events:  histogram("append_events", "Events in a record.", prometheus.ExponentialBuckets(1, 2, 10)),
		bytes:   histogram("append_bytes", "Bytes of a record.", prometheus.ExponentialBuckets(128, 2, 12)),
		latency: histogram("append_seconds", "Time from a record's first attempt to its acknowledgement.", prometheus.ExponentialBuckets(0.00025, 2, 17)),
	}
	if err := b.cfg.Registerer.Register(m); err != nil {
		return fmt.Errorf("bus: metrics: %w", err)
	}
	b.metrics = m
	return nil
}

// appended notes one record that was acknowledged.
func (m *metrics) appended(events, bytes int, took time.Duration) {
	if m == nil {
		return
	}
	m.events.Observe(float64(events))
	m.bytes.Observe(float64(bytes))
	m.latency.Observe(took.Seconds())
}

// Describe is for Prometheus.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range figureDescs {
		ch <- d
	}
	for _, d := range []*prometheus.Desc{waitingEvents, waitingBytes, waitingPushes, writable} {
		ch <- d
	}
	for _, h := range []prometheus.Histogram{m.events, m.bytes, m.latency} {
		h.Describe(ch)
	}
}

// Collect is for Prometheus.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	stats := m.b.Stats()
	for i, f := range figures {
		kind := prometheus.CounterValue
		if f.gauge {
			kind = prometheus.GaugeValue
		}
		ch <- prometheus.MustNewConstMetric(figureDescs[i], kind, f.get(stats))
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	events, bytes := m.b.writers.waiting(len(m.b.subjects))
	for _, s := range m.b.Streams() {
		gauge(waitingEvents, float64(events[s]), s.String())
		gauge(waitingBytes, float64(bytes[s]), s.String())
	}
	gauge(waitingPushes, float64(m.b.receivers.waiting()))
	takes := 1.0
	if m.b.Writable() != nil {
		takes = 0
	}
	gauge(writable, takes)
	for _, h := range []prometheus.Histogram{m.events, m.bytes, m.latency} {
		h.Collect(ch)
	}
}

// waiting sums by stream what the lanes of all writers have not sent yet.
func (ws *writers) waiting(streams int) (events, bytes []int) {
	events, bytes = make([]int, streams), make([]int, streams)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		for s := range w.lanes {
			l := w.lanes[s].Load()
			if l == nil {
				continue
			}
			l.mu.Lock()
			for _, g := range l.queue {
				events[s] += len(g.tickets)
			}
			bytes[s] += l.waiting
			l.mu.Unlock()
		}
	}
	return events, bytes
}

// waiting is how many messages wait for all receivers.
func (rs *receivers) waiting() (n int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for sub := range rs.dropped {
		if msgs, _, err := sub.Pending(); err == nil {
			n += msgs
		}
	}
	return n
}

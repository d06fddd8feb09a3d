package observe

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/schema/event"
)

// StreamSource is what a Log asks: a [bus.Bus].
type StreamSource interface {
	Streams() []event.Stream
	StreamHealth(ctx context.Context, s event.Stream) (bus.StreamHealth, error)
	DiskFree() (bytes uint64, known bool)
}

// Log is the metrics of how the log stands at its servers. A stream that can't be asked keeps
// its last figures: that it takes nothing is told elsewhere.
type Log struct {
	replicas, current, last, bytes *prometheus.GaugeVec
	source                         StreamSource
	log                            *slog.Logger
}

const lookEvery = 10 * time.Second

// NewLog registers the metrics; Run keeps them.
func NewLog(r prometheus.Registerer, source StreamSource, log *slog.Logger) (*Log, error) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "godwit", Subsystem: "stream", Name: name, Help: help}, []string{"stream"})
	}
	l := &Log{
		replicas: gauge("replicas", "Servers that hold a stream of the log."),
		current:  gauge("replicas_current", "Servers that have all of a stream of the log."),
		last:     gauge("last_sequence", "Position of the last record of a stream."),
		bytes:    gauge("bytes", "Bytes of a stream of the log at one server."),
		source:   source, log: log,
	}
	collectors := []prometheus.Collector{l.replicas, l.current, l.last, l.bytes}
	if _, known := source.DiskFree(); known {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "godwit_bus_disk_free_bytes", Help: "Room left where the embedded log lies."}, func() float64 {
			free, _ := source.DiskFree()
			return float64(free)
		}))
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
	}
	return l, nil
}

// Run looks at each stream now and every ten seconds, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, s := range l.source.Streams() {
			h, err := l.source.StreamHealth(ctx, s)
			if err != nil {
				if ctx.Err() == nil {
					l.log.Debug("health of a stream not known now", "stream", s.String(), "err", err)
				}
				continue
			}
			l.replicas.WithLabelValues(s.String()).Set(float64(h.Replicas))
			l.current.WithLabelValues(s.String()).Set(float64(h.Current))
			l.last.WithLabelValues(s.String()).Set(float64(h.Last))
			l.bytes.WithLabelValues(s.String()).Set(float64(h.Bytes))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

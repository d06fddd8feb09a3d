package observe

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/schema/event"
)

// streams has one stream, a replica of which is away from the second look on; then nobody answers.
type streams struct{ looks int }

func (s *streams) Streams() []event.Stream { return []event.Stream{event.People} }

func (s *streams) StreamHealth(context.Context, event.Stream) (bus.StreamHealth, error) {
	switch s.looks++; s.looks {
	case 1:
		return bus.StreamHealth{Last: 7, Bytes: 700, Replicas: 3, Current: 3}, nil
	case 2:
		return bus.StreamHealth{Last: 9, Replicas: 3, Current: 2}, nil
	}
	return bus.StreamHealth{}, errors.New("no leader")
}

func (s *streams) DiskFree() (bytes uint64, known bool) { return 5, true }

func TestStreamsAreLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		l, err := NewLog(r, &streams{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		for _, want := range []map[string]float64{
			{"godwit_stream_replicas": 3, "godwit_stream_replicas_current": 3, "godwit_stream_last_sequence": 7, "godwit_stream_bytes": 700, "godwit_bus_disk_free_bytes": 5},
			{"godwit_stream_replicas": 3, "godwit_stream_replicas_current": 2, "godwit_stream_last_sequence": 9},
			{"godwit_stream_replicas": 3, "godwit_stream_replicas_current": 2, "godwit_stream_last_sequence": 9},
		} {
			synctest.Wait()
			got := gathered(t, r)
			for name, v := range want {
				if got[name] != v {
					t.Errorf("%s is %v, want %v", name, got[name], v)
				}
			}
			time.Sleep(lookEvery)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// gathered are the values of gauges; of one with several labels the last.
func gathered(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values[f.GetName()] = m.GetGauge().GetValue()
		}
	}
	return values
}

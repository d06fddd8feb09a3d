package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measured is a registry with what a process of every role measures.
type measured struct {
	*prometheus.Registry
	sessions, lag, behind, owned *prometheus.GaugeVec
	connections                  prometheus.Gauge
	messages, sent, deliveries   prometheus.Counter
	appends                      prometheus.Histogram
}

func newMeasured() *measured {
	vec := func(name, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name}, []string{label})
	}
	m := &measured{
		Registry: prometheus.NewRegistry(), sessions: vec("godwit_connector_sessions", "class"), lag: vec("godwit_view_lag_records", "view"),
		behind: vec("godwit_view_lag_seconds", "view"), owned: vec("godwit_view_owned", "view"),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "godwit_connector_connections"}),
		messages:    prometheus.NewCounter(prometheus.CounterOpts{Name: "godwit_connector_messages_acked_total"}),
		sent:        prometheus.NewCounter(prometheus.CounterOpts{Name: "godwit_api_messages_total"}),
		deliveries:  prometheus.NewCounter(prometheus.CounterOpts{Name: "godwit_connector_deliveries_total"}),
		appends:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "godwit_bus_append_seconds", Buckets: []float64{0.001, 0.002, 0.004}}),
	}
	m.MustRegister(m.sessions, m.lag, m.behind, m.owned, m.connections, m.messages, m.sent, m.deliveries, m.appends)
	return m
}

// near tells whether a number that may be missing is about so large.
func near(got *float64, want float64) bool {
	return got != nil && math.Abs(*got-want) <= 0.02*math.Abs(want)+1e-9
}

func show(s Sample) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// Two processes, one of which is silent for a while and then begins anew: sums, rates and quantiles of what happened, and no
// spike, whatever comes and goes.
func TestASampleIsWhatAllProcessesDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, other := newMeasured(), newMeasured()
		var silent atomic.Bool
		var reader atomic.Pointer[Reader]
		reader.Store(NewReader("other", other))
		live := NewLive(NewReader("own", own), func(context.Context) iter.Seq2[[]byte, error] {
			return func(yield func([]byte, error) bool) {
				if silent.Load() || !yield(reader.Load().Answer(), nil) || !yield([]byte("no reading"), nil) {
					return
				}
				yield(nil, errors.New("refused"))
			}
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- live.Run(ctx) }()
		begun := time.Now()
		last := func() (Sample, map[string]ProcessLive) {
			t.Helper()
			synctest.Wait()
			all, now := live.Since(time.Time{})
			return all[len(all)-1], now
		}

		s, now := last()
		if s.Messages != nil || s.Deliveries != nil || s.AppendP50 != nil || s.LagMS != nil || s.Lag != nil || fmt.Sprint(s.Sessions) != "map[desktop:0 mobile:0 web:0]" || len(now) != 2 {
			t.Errorf("the first knows too much: %s, %v", show(s), now)
		}

		own.sessions.WithLabelValues("desktop").Set(3)
		other.sessions.WithLabelValues("desktop").Set(1)
		other.sessions.WithLabelValues("web").Set(5)
		own.connections.Set(4)
		other.connections.Set(7)
		own.messages.Add(10)
		other.messages.Add(24)
		other.sent.Add(6)
		own.deliveries.Add(100)
		for range 99 {
			own.appends.Observe(0.0015)
		}
		other.appends.Observe(1)
		for view, owner := range map[string]*measured{"people": own, "presence": other} {
			for _, m := range []*measured{own, other} {
				m.owned.WithLabelValues(view).Set(0)
				m.lag.WithLabelValues(view).Set(1000)
				m.behind.WithLabelValues(view).Set(9)
			}
			owner.owned.WithLabelValues(view).Set(1)
			owner.lag.WithLabelValues(view).Set(7)
			owner.behind.WithLabelValues(view).Set(0.25)
		}
		time.Sleep(LiveEvery)
		s, now = last()
		if s.Sessions["desktop"] != 4 || s.Sessions["web"] != 5 || s.Connections != 11 || !near(s.Messages, 20) || !near(s.Deliveries, 50) ||
			!near(s.AppendP50, 1.505) || !near(s.AppendP99, 2) || fmt.Sprint(s.Lag) != "map[people:7 presence:7]" || !near(s.LagMS, 250) {
			t.Errorf("%s", show(s))
		}
		if now["own"].Sessions != 3 || now["other"].Sessions != 6 || !near(now["other"].Messages, 15) {
			t.Errorf("%+v", now)
		}

		// Nothing happens: rates of 0, and no times of appends.
		time.Sleep(LiveEvery)
		if s, _ = last(); !near(s.Messages, 0) || s.AppendP50 != nil || s.AppendP99 != nil {
			t.Errorf("%s", show(s))
		}

		// Silent for two samples: its sessions are still counted, and what it did meanwhile comes as what it was, a second.
		silent.Store(true)
		other.messages.Add(60)
		for range 2 {
			time.Sleep(LiveEvery)
			if s, _ = last(); s.Sessions["web"] != 5 || !near(s.Messages, 0) {
				t.Errorf("while one is silent: %s", show(s))
			}
		}
		silent.Store(false)
		time.Sleep(LiveEvery)
		if s, _ = last(); !near(s.Messages, 10) {
			t.Errorf("60 messages in 6 seconds: %s", show(s))
		}

		// Begun anew, with less than before: no negative rate, and no spike of what it counts from nothing.
		other = newMeasured()
		other.messages.Add(1)
		reader.Store(NewReader("other again", other))
		time.Sleep(LiveEvery)
		if s, now = last(); !near(s.Messages, 0) || len(now) != 3 {
			t.Errorf("begun anew: %s, %v", show(s), now)
		}
		other.messages.Add(8)
		for range 3 {
			time.Sleep(LiveEvery)
		}
		if s, now = last(); s.Sessions["web"] != 0 || s.Connections != 4 || len(now) != 2 {
			t.Errorf("who is gone still counts: %s, %v", show(s), now)
		}
		// The same name and smaller counters, as no process has: still nothing absurd.
		own2 := cluster{}
		own2.sample(begun, map[string]Reading{"p": {Process: "p", At: 1000, Counters: map[string]float64{messagesMetric: 100}, Appends: []Bucket{{1, 5}, {math.MaxFloat64, 9}}}})
		s, _ = own2.sample(begun.Add(LiveEvery), map[string]Reading{"p": {Process: "p", At: 3000, Counters: map[string]float64{messagesMetric: 1}, Appends: []Bucket{{1, 0}, {math.MaxFloat64, 1}}}})
		if s.Messages != nil || s.AppendP50 != nil {
			t.Errorf("%s", show(s))
		}

		// Ten minutes are kept, and what came later than a time is found.
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		all, _ := live.Since(time.Time{})
		if len(all) != LiveKept || all[len(all)-1].At-all[0].At != (LiveKept-1)*LiveEvery.Milliseconds() {
			t.Errorf("%d samples", len(all))
		}
		for want, since := range map[int]int64{0: all[LiveKept-1].At, 1: all[LiveKept-1].At - 1, 2: all[LiveKept-3].At} {
			if got, _ := live.Since(time.UnixMilli(since)); len(got) != want {
				t.Errorf("%d samples after %d, want %d", len(got), since, want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What is beyond all buckets is infinite, which JSON does not know: it goes over the wire all the same.
func TestAReadingGoesOverTheWire(t *testing.T) {
	m := newMeasured()
	m.appends.Observe(100)
	m.sessions.WithLabelValues("web").Set(2)
	r := NewReader("p", m)
	read, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	var got Reading
	if err := json.Unmarshal(r.Answer(), &got); err != nil || got.Process != "p" || len(got.Appends) != 4 || got.Appends[3] != read.Appends[3] || !maps.Equal(got.Sessions, read.Sessions) {
		t.Errorf("%+v, %v", got, err)
	}
	if q := quantile([]Bucket{{1, 0}, {math.MaxFloat64, 1}}, 0.5); !near(q, 1000) {
		t.Errorf("beyond the last bound: %v", *q)
	}
}

package bus_test

import (
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestMetricsTellHowAppendsGo(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	k := bustest.New(t, bustest.WithConfig(func(c *bus.Config) { c.Registerer = registry }))
	w := k.NewWriter(life())
	write(t, w, 0, 3)
	stuck := make(chan struct{})
	k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{Until: stuck} })
	first := newFate()
	if err := w.Append(conv, message("on its way"), first); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the first one is on its way", func() bool { return k.DelayedAcks.Load() == 1 })
	for range 2 {
		if err := w.Append(conv, message("waits"), nil); err != nil {
			t.Fatal(err)
		}
	}
	value := func(name, label string) float64 {
		t.Helper()
		all, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			for _, m := range f.GetMetric() {
				if f.GetName() != "godwit_bus_"+name || (label != "" && m.GetLabel()[0].GetValue() != label) {
					continue
				}
				switch {
				case m.GetHistogram() != nil:
					return float64(m.GetHistogram().GetSampleCount())
				case m.GetGauge() != nil:
					return m.GetGauge().GetValue()
				}
				return m.GetCounter().GetValue()
			}
		}
		t.Fatalf("no %s", name)
		return 0
	}
	for _, want := range []struct {
		name, label string
		value       float64
	}{
		{"records_total", "", 3}, {"append_events", "", 3}, {"append_bytes", "", 3}, {"append_seconds", "", 3},
		{"waiting_events", conv.String(), 2}, {"waiting_events", "PEOPLE", 0}, {"writable", "", 1}, {"leases_held", "", 0},
	} {
		if got := value(want.name, want.label); got != want.value {
			t.Errorf("%s %s is %v, want %v", want.name, want.label, got, want.value)
		}
	}
	if value("waiting_bytes", conv.String()) == 0 {
		t.Error("what waits has no bytes")
	}
	close(stuck)
	if _, err := first.wait(t); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "nothing waits", func() bool { return value("waiting_events", conv.String()) == 0 })
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := registry.Gather(); err != nil || len(all) != 0 {
		t.Errorf("%d metrics of a closed bus, %v", len(all), err)
	}
}

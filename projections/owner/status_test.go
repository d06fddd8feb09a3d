package owner

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus/bustest"
	"godwit/schema/event"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), s)
}

// What a process tells of its views: a message by its position in the log, how they
// stand, and how often something happened.
func TestWhatAProcessTellsOfItsViews(t *testing.T) {
	k := bustest.New(t)
	var log lines
	registry := prometheus.NewRegistry()
	p := open(t, k, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Registerer = registry
	})
	run(t, p)
	settled(t, p)
	s := write(t, k, k.NewWriter(event.ID{1}), 3)
	bustest.Eventually(t, "the message's position is logged", func() bool {
		return log.has(`msg="message folded" trace=` + s.String() + `/4/0 view=` + foldFor(s).Name() + ` id=3`)
	})
	bustest.Eventually(t, "status", func() bool {
		for _, v := range p.Status() {
			if v.Stream == s {
				return v.Folded == 4 && v.Last == 4 && v.Warm && v.Lag == 0 && v.Term != nil && v.Owner == k.Process() && v.Assigned == k.Process()
			}
		}
		return false
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			values[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	want := float64(len(k.Streams()))
	for name, v := range map[string]float64{"godwit_view_owned": want, "godwit_view_warm": want, "godwit_view_lag_records": 0, "godwit_owner_terms_total": want, "godwit_projectors": 1, "godwit_view_resets_total": 0} {
		if got, ok := values[name]; !ok || got != v {
			t.Errorf("%s is %g (%v), want %g", name, got, ok, v)
		}
	}
}

// Whoever hears the beats knows the projectors.
func TestProjectorsAreHeard(t *testing.T) {
	k := bustest.New(t)
	heard, err := HearProjectors(k.Bus)
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	p := open(t, k)
	stop := run(t, p)
	settled(t, p)
	bustest.Eventually(t, "it is heard with its terms", func() bool {
		live := heard.Live()
		if len(live) != 1 || live[0].Process != k.Process() || len(live[0].Views) != len(k.Streams()) {
			return false
		}
		for _, v := range live[0].Views {
			if v.Term == nil || !v.Warm {
				return false
			}
		}
		return true
	})
	stop()
	bustest.Eventually(t, "it is gone", func() bool { return len(heard.Live()) == 0 })
}

// A view that could not be opened counts while it is this process's matter, not when it has
// become another's.
func TestAViewThatIsAnothersMatterIsNotMissed(t *testing.T) {
	p := &Process{bus: bustest.New(t).Bus, cfg: Config{Owns: []event.Stream{}}, unopened: map[event.Stream]error{event.ConversationStream(0): errNotOpen}}
	p.duties = map[event.Stream]duty{event.ConversationStream(0): {rank: 0}}
	if err := p.Ready(); err == nil {
		t.Error("ready without a view that it is to keep")
	}
	p.duties = map[event.Stream]duty{event.ConversationStream(0): {rank: -1}}
	if err := p.Ready(); err != nil {
		t.Error(err)
	}
}

package webhook

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all targets. Labels are the ids of targets, of which the log has few.
type metrics struct {
	sent, failed *prometheus.CounterVec
	backlog      *prometheus.Desc
	clock        func() time.Time

	mu      sync.Mutex
	pending map[pendingKey]time.Time // since when a feed has something that it has not sent
}

type pendingKey struct{ target, stream string }

func newMetrics(r prometheus.Registerer, clock func() time.Time) (*metrics, error) {
	label := []string{"target"}
	m := &metrics{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "godwit_webhook_documents_total", Help: "Documents that a receiver took."}, label),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "godwit_webhook_failures_total", Help: "Attempts to send a document that failed; each is made again."}, label),
		backlog: prometheus.NewDesc("godwit_webhook_backlog_seconds",
			"Age of the oldest record of the log that is not sent to a target, 0 when it has caught up.", label, nil),
		clock:   clock,
		pending: map[pendingKey]time.Time{},
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.sent, m.failed, m} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// tellSending registers who of several processes it is that sends.
func (m *metrics) tellSending(r prometheus.Registerer, sending func() bool) error {
	if r == nil {
		return nil
	}
	return r.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "godwit_webhook_sending", Help: "1 while it is this process that sends to the targets."}, func() float64 {
		if sending() {
			return 1
		}
		return 0
	}))
}

// Describe and Collect give the backlog.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { ch <- m.backlog }

// Collect is Collector's.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for target, age := range m.backlogs() {
		ch <- prometheus.MustNewConstMetric(m.backlog, prometheus.GaugeValue, age.Seconds(), target)
	}
}

// backlogs are the ages of the oldest records that wait, by target, 0 where none does.
func (m *metrics) backlogs() map[string]time.Duration {
	now := m.clock()
	oldest := map[string]time.Duration{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, since := range m.pending {
		age := time.Duration(0)
		if !since.IsZero() {
			age = max(0, now.Sub(since))
		}
		oldest[k.target] = max(oldest[k.target], age)
	}
	return oldest
}

// waits notes since when something of a feed waits; the zero time: nothing does.
func (m *metrics) waits(k pendingKey, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending[k] = since
}

func (m *metrics) drop(k pendingKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pending, k)
}

func (m *metrics) forget(target string) {
	m.sent.DeleteLabelValues(target)
	m.failed.DeleteLabelValues(target)
}

package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Times and bounds of a Live.
const (
	// LiveEvery is how often a Live takes a sample, and LiveKept how many it keeps: ten minutes of them.
	LiveEvery = 2 * time.Second
	LiveKept  = 300

	readingKept  = time.Second            // so long a process answers with what it has read
	silentAfter  = 3 * LiveEvery          // who has not answered for so long is not counted any more
	shortestSpan = 500 * time.Millisecond // between two readings that a rate is computed of
	maxProcesses = 1000
)

// Reading is what a process measures of itself at one moment: gauges as they are, and counters as far as they have come.
type Reading struct {
	Process     string             `json:"process"` // another one after each start
	At          int64              `json:"at"`      // milliseconds since it began to read; no clock that is set moves it
	Sessions    map[string]float64 `json:"sessions,omitempty"`
	Connections float64            `json:"connections,omitempty"`
	Counters    map[string]float64 `json:"counters,omitempty"`
	Appends     []Bucket           `json:"appends,omitempty"`     // times of appends, cumulative, by their bounds
	LagRecords  map[string]float64 `json:"lag_records,omitempty"` // of the views that it fans out
	LagSeconds  map[string]float64 `json:"lag_seconds,omitempty"`
	Streams     map[string]Size    `json:"streams,omitempty"`
	Memory      float64            `json:"memory,omitempty"` // bytes
}

// Bucket is how many were at most so large.
type Bucket struct {
	Bound float64 `json:"bound"` // seconds
	Count float64 `json:"count"`
}

// Size of a stream of the log.
type Size struct {
	Messages uint64 `json:"messages" doc:"Records"`
	Bytes    uint64 `json:"bytes"`
}

// Sample is how a whole cluster does, at one moment and since the sample before. What is not known is left out.
type Sample struct {
	At          int64              `json:"at" doc:"Unix milliseconds"`
	Sessions    map[string]int     `json:"sessions" nullable:"false" doc:"Signed in, by device: desktop, mobile, web"`
	Connections int                `json:"connections" doc:"Of clients, signed in or not"`
	Messages    *float64           `json:"messages,omitempty" doc:"That the log has taken, per second: of clients and over the API"`
	Deliveries  *float64           `json:"deliveries,omitempty" doc:"To sessions, per second"`
	AppendP50   *float64           `json:"append_p50_ms,omitempty" doc:"Half of the records were acknowledged by the log within so many milliseconds; not there: none was"`
	AppendP99   *float64           `json:"append_p99_ms,omitempty" doc:"99 of 100 records"`
	Lag         map[string]float64 `json:"lag,omitempty" doc:"Records that a view has yet to fold, by view"`
	LagMS       *float64           `json:"lag_ms,omitempty" doc:"How long ago the log ended where the view that is most behind is, in milliseconds"`
	Streams     map[string]Size    `json:"streams,omitempty" doc:"Of the log, looked at every 10 seconds"`
}

// ProcessLive is what one process of the cluster does now.
type ProcessLive struct {
	Sessions   int      `json:"sessions" doc:"Signed in there"`
	Messages   *float64 `json:"messages,omitempty" doc:"That it has had the log take, per second"`
	Deliveries *float64 `json:"deliveries,omitempty" doc:"To sessions, per second"`
	CPU        *float64 `json:"cpu,omitempty" doc:"Processors that it keeps busy"`
	Memory     uint64   `json:"memory_bytes"`
}

// The counters of a reading.
const (
	messagesMetric   = "godwit_connector_messages_acked_total"
	sentMetric       = "godwit_api_messages_total"
	deliveriesMetric = "godwit_connector_deliveries_total"
	cpuMetric        = "process_cpu_seconds_total"
)

// Reader reads what a process measures of itself out of its own metrics, so that nothing more is counted for it. It may be
// used by several goroutines.
type Reader struct {
	process  string
	gatherer prometheus.Gatherer
	began    time.Time

	mu   sync.Mutex
	last Reading
	at   time.Time
}

// NewReader reads the metrics of the process of that name.
func NewReader(process string, g prometheus.Gatherer) *Reader {
	return &Reader{process: process, gatherer: g, began: time.Now()}
}

// Read gives a reading, not older than a second.
func (r *Reader) Read() (Reading, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.at.IsZero() && now.Sub(r.at) < readingKept {
		return r.last, nil
	}
	families, err := r.gatherer.Gather()
	if len(families) == 0 && err != nil {
		return Reading{}, fmt.Errorf("observe: read the own metrics: %w", err)
	}
	read := Reading{Process: r.process, At: now.Sub(r.began).Milliseconds(), Sessions: map[string]float64{}, Counters: map[string]float64{},
		LagRecords: map[string]float64{}, LagSeconds: map[string]float64{}, Streams: map[string]Size{}}
	owned := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := ""
			if l := m.GetLabel(); len(l) > 0 {
				label = l[0].GetValue()
			}
			gauge := m.GetGauge().GetValue()
			switch name := f.GetName(); name {
			case "godwit_connector_sessions":
				read.Sessions[label] = gauge
			case "godwit_connector_connections":
				read.Connections = gauge
			case messagesMetric, sentMetric, deliveriesMetric, cpuMetric:
				read.Counters[name] = m.GetCounter().GetValue()
			case "godwit_bus_append_seconds":
				for _, b := range m.GetHistogram().GetBucket() {
					if bound := b.GetUpperBound(); !math.IsInf(bound, 1) {
						read.Appends = append(read.Appends, Bucket{bound, float64(b.GetCumulativeCount())})
					}
				}
				// JSON knows no infinity, which bounds the rest.
				read.Appends = append(read.Appends, Bucket{math.MaxFloat64, float64(m.GetHistogram().GetSampleCount())})
			case "godwit_view_owned":
				owned[label] = gauge == 1
			case "godwit_view_lag_records":
				read.LagRecords[label] = gauge
			case "godwit_view_lag_seconds":
				read.LagSeconds[label] = gauge
			case "godwit_stream_last_sequence":
				s := read.Streams[label]
				s.Messages = uint64(gauge)
				read.Streams[label] = s
			case "godwit_stream_bytes":
				s := read.Streams[label]
				s.Bytes = uint64(gauge)
				read.Streams[label] = s
			case "process_resident_memory_bytes":
				read.Memory = gauge
			}
		}
	}
	notOwned := func(view string, _ float64) bool { return !owned[view] }
	maps.DeleteFunc(read.LagRecords, notOwned)
	maps.DeleteFunc(read.LagSeconds, notOwned)
	r.last, r.at = read, now
	return read, nil
}

// Answer is a reading as it goes to another process, nil if there is none.
func (r *Reader) Answer() []byte {
	read, err := r.Read()
	if err != nil {
		return nil
	}
	b, err := json.Marshal(read)
	if err != nil {
		return nil
	}
	return b
}

// Live keeps the last ten minutes of a cluster, a sample every two seconds.
type Live struct {
	own    *Reader
	others func(context.Context) iter.Seq2[[]byte, error]
	log    *slog.Logger

	mu   sync.Mutex
	ring []Sample // oldest first
	now  map[string]ProcessLive
}

// NewLive samples the process that own reads, and those that answer others, unless that is nil; what they answer is from
// [Reader.Answer]. Run samples.
func NewLive(own *Reader, others func(context.Context) iter.Seq2[[]byte, error], log *slog.Logger) *Live {
	return &Live{own: own, others: others, log: log, now: map[string]ProcessLive{}}
}

// Run samples until ctx ends.
func (l *Live) Run(ctx context.Context) error {
	tick := time.NewTicker(LiveEvery)
	defer tick.Stop()
	known := cluster{}
	for {
		at := time.Now()
		sample, now := known.sample(at, l.read(ctx))
		if ctx.Err() != nil {
			return nil
		}
		l.mu.Lock()
		if l.ring = append(l.ring, sample); len(l.ring) > LiveKept {
			l.ring = slices.Delete(l.ring, 0, len(l.ring)-LiveKept)
		}
		l.now = now
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// read asks everybody.
func (l *Live) read(ctx context.Context) map[string]Reading {
	all := map[string]Reading{}
	if l.others != nil {
		for b, err := range l.others(ctx) {
			if err != nil {
				l.log.Debug("a process does not say how it does", "err", err)
				continue
			}
			var r Reading
			if json.Unmarshal(b, &r) != nil || r.Process == "" {
				continue
			}
			if all[r.Process] = r; len(all) >= maxProcesses {
				break
			}
		}
	}
	if r, err := l.own.Read(); err == nil {
		all[r.Process] = r
	} else {
		l.log.Debug("own metrics not read", "err", err)
	}
	return all
}

// Since gives the samples that were taken after a time, oldest first, and what each process does now, by its name.
func (l *Live) Since(after time.Time) ([]Sample, map[string]ProcessLive) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, _ := slices.BinarySearchFunc(l.ring, after.UnixMilli()+1, func(s Sample, at int64) int { return cmp.Compare(s.At, at) })
	return slices.Clone(l.ring[from:]), maps.Clone(l.now)
}

// cluster is what is known of each process: its last reading, and the rates up to it.
type cluster map[string]*processKnown

type processKnown struct {
	Reading
	heard   time.Time
	rates   map[string]float64 // per second since the reading before; nil: there was none
	appends []Bucket           // since then; not cumulative
}

// sample takes what the processes say and sums it. A process that has begun anew has another name and no rates yet, so a
// restart makes no spike; one that is silent for a moment keeps its gauges and has no part in the rates, and gives what it
// has counted meanwhile as a rate over that time.
func (c cluster) sample(at time.Time, said map[string]Reading) (Sample, map[string]ProcessLive) {
	for name, r := range said {
		c[name] = c[name].next(r, at)
	}
	maps.DeleteFunc(c, func(_ string, p *processKnown) bool { return at.Sub(p.heard) >= silentAfter })

	s := Sample{At: at.UnixMilli(), Sessions: map[string]int{"desktop": 0, "mobile": 0, "web": 0}}
	now := make(map[string]ProcessLive, len(c))
	var appends []Bucket
	for name, p := range c {
		one := ProcessLive{Memory: uint64(max(p.Memory, 0))}
		for class, n := range p.Sessions {
			s.Sessions[class] += int(n)
			one.Sessions += int(n)
		}
		s.Connections += int(p.Connections)
		for view, lag := range p.LagRecords {
			if s.Lag == nil {
				s.Lag = map[string]float64{}
			}
			s.Lag[view] = max(s.Lag[view], lag) // for a moment two may own it
		}
		for _, lag := range p.LagSeconds {
			if s.LagMS == nil || lag*1000 > *s.LagMS {
				s.LagMS = new(lag * 1000)
			}
		}
		for stream, size := range p.Streams {
			if s.Streams == nil {
				s.Streams = map[string]Size{}
			}
			if old := s.Streams[stream]; size.Messages >= old.Messages {
				s.Streams[stream] = size
			}
		}
		if p.heard.Equal(at) && p.rates != nil {
			one.Messages, one.Deliveries, one.CPU = sum(rate(p.rates, messagesMetric), rate(p.rates, sentMetric)), rate(p.rates, deliveriesMetric), rate(p.rates, cpuMetric)
			s.Messages, s.Deliveries = sum(s.Messages, one.Messages), sum(s.Deliveries, one.Deliveries)
			appends = addBuckets(appends, p.appends)
		}
		now[name] = one
	}
	s.AppendP50, s.AppendP99 = quantile(appends, 0.5), quantile(appends, 0.99)
	return s, now
}

func rate(rates map[string]float64, name string) *float64 {
	if r, ok := rates[name]; ok {
		return &r
	}
	return nil
}

func sum(a, b *float64) *float64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return new(*a + *b)
}

// next is what is known of a process after another reading.
func (p *processKnown) next(r Reading, at time.Time) *processKnown {
	n := &processKnown{Reading: r, heard: at}
	if p == nil {
		return n
	}
	span := time.Duration(r.At-p.At) * time.Millisecond
	if span < shortestSpan { // the same reading again: the next one tells of both
		p.heard, p.rates, p.appends = at, nil, nil
		return p
	}
	n.rates = map[string]float64{}
	for name, v := range r.Counters {
		if old, ok := p.Counters[name]; ok && v >= old {
			n.rates[name] = (v - old) / span.Seconds()
		}
	}
	if len(r.Appends) == len(p.Appends) {
		below := 0.0
		for i, b := range r.Appends {
			upTo := b.Count - p.Appends[i].Count
			if b.Bound != p.Appends[i].Bound || upTo < below {
				n.appends = nil
				break
			}
			n.appends = append(n.appends, Bucket{b.Bound, upTo - below})
			below = upTo
		}
	}
	return n
}

// addBuckets adds two lists of buckets with the same bounds; of others the first stays.
func addBuckets(a, b []Bucket) []Bucket {
	if a == nil {
		return slices.Clone(b)
	}
	if len(a) != len(b) {
		return a
	}
	for i := range a {
		if a[i].Bound != b[i].Bound {
			return a
		}
	}
	for i := range a {
		a[i].Count += b[i].Count
	}
	return a
}

// quantile is the time in milliseconds within which that part of what was counted lies, by even spread within a bucket;
// nil where nothing was counted. What is beyond the last bound counts as that bound.
func quantile(buckets []Bucket, part float64) *float64 {
	all := 0.0
	for _, b := range buckets {
		all += b.Count
	}
	if all == 0 {
		return nil
	}
	want, below, lower := part*all, 0.0, 0.0
	for _, b := range buckets {
		if b.Bound == math.MaxFloat64 {
			break
		}
		if below+b.Count >= want && b.Count > 0 {
			return new(1000 * (lower + (b.Bound-lower)*(want-below)/b.Count))
		}
		below += b.Count
		lower = b.Bound
	}
	return new(1000 * lower)
}

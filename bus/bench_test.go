package bus_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
)

// window lets so many events be under way at once.
type window chan struct{}

func (w window) Placed(uint64, int) {}
func (w window) Stored(uint64)      { <-w }
func (w window) Failed(error)       { <-w }

func quiet(c *bus.Config) { c.Hooks, c.Logger = nil, nil }

// BenchmarkAppend stores messages of 200 bytes over eight streams with 3,200 under
// way, as 200 pairs with a window of 16 do.
func BenchmarkAppend(b *testing.B) {
	for _, d := range []bus.Durability{bus.Disk, bus.OS} {
		b.Run(string(d), func(b *testing.B) {
			bs := bustest.Start(b, bustest.Partitions(8), bustest.WithConfig(func(c *bus.Config) { c.Durability = d }), bustest.WithConfig(quiet))
			w := bs.NewWriter(life())
			ev := message(string(make([]byte, 200)))
			win := make(window, 3200)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				win <- struct{}{}
				if err := w.Append(event.ConversationStream(i%8), ev, win); err != nil {
					b.Fatal(err)
				}
				i++
			}
			for range cap(win) {
				win <- struct{}{}
			}
			st := bs.Stats()
			b.ReportMetric(float64(st.Events)/float64(st.Records), "events/record")
			b.ReportMetric(float64(st.Events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(st.AppendLatency.Microseconds())/float64(st.Records), "µs/record")
		})
	}
}

// BenchmarkPut is what one append costs its caller.
func BenchmarkPut(b *testing.B) {
	k := bustest.New(b, bustest.WithConfig(func(c *bus.Config) { c.Logger = nil }))
	k.SetFree(func() (uint64, error) { return 0, nil })
	bustest.Eventually(b, "appends held", func() bool { return k.Healthy() != nil })
	w := k.NewWriter(life())
	ev := message(string(make([]byte, 200)))
	b.ReportAllocs()
	for b.Loop() {
		if w.Append(conv, ev, nil) == bus.ErrFull {
			b.StopTimer()
			ctx, cancel := context.WithCancel(b.Context())
			cancel()
			_ = w.Close(ctx)
			w = k.NewWriter(life())
			b.StartTimer()
		}
	}
}

// BenchmarkFollow is the time from an append to the follower's function, one event
// at a time and with the log busy.
func BenchmarkFollow(b *testing.B) {
	for _, busy := range []int{0, 5000} {
		b.Run(fmt.Sprintf("busy-%d", busy), func(b *testing.B) {
			bs := bustest.Start(b, bustest.Partitions(8), bustest.WithConfig(quiet))
			w := bs.NewWriter(life())
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			arrived := make(chan time.Time, 64)
			var want atomic.Uint64
			last, err := bs.LastSequence(ctx, event.Presence)
			if err != nil {
				b.Fatal(err)
			}
			want.Store(last)
			wg.Go(func() {
				at := bus.Checkpoint{}
				_ = bs.Follow(ctx, event.Presence, func() bus.Checkpoint { return at }, func(batch []bus.Recorded) error {
					r := batch[len(batch)-1]
					at = bus.Checkpoint{Sequence: r.Sequence, Fingerprint: bus.FingerprintOf(r.Data)}
					if r.Sequence > want.Load() {
						arrived <- time.Now()
					}
					return nil
				})
			})
			if busy > 0 {
				wg.Go(func() {
					t := time.NewTicker(time.Second / time.Duration(busy/10))
					defer t.Stop()
					for i := 0; ; i++ {
						select {
						case <-ctx.Done():
							return
						case <-t.C:
						}
						for range 10 {
							_ = w.Append(event.ConversationStream(i%8), message(string(make([]byte, 200))), nil)
						}
					}
				})
			}
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := w.Append(event.Presence, message("x"), nil); err != nil {
					b.Fatal(err)
				}
				took = append(took, (<-arrived).Sub(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkPaced stores 30,000 messages a second over eight streams, whatever the
// log takes, and tells the processor time of the whole process for each.
func BenchmarkPaced(b *testing.B) {
	bs := bustest.Start(b, bustest.Partitions(8), bustest.WithConfig(func(c *bus.Config) { c.Durability = bus.Disk }), bustest.WithConfig(quiet))
	w := bs.NewWriter(life())
	ev := message(string(make([]byte, 200)))
	began, used := time.Now(), rus(b)
	i := 0
	for b.Loop() {
		// 30 of them each millisecond.
		for range 30 {
			if err := w.Append(event.ConversationStream(i%8), ev, nil); err != nil {
				b.Fatal(err)
			}
			i++
		}
		if ahead := time.Duration(i/30)*time.Millisecond - time.Since(began); ahead > 0 {
			time.Sleep(ahead)
		}
	}
	st := bs.Stats()
	b.ReportMetric(float64(st.Events)/float64(st.Records), "events/record")
	b.ReportMetric(float64(st.Records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64((rus(b)-used).Microseconds())/float64(i), "cpu-µs/event")
}

func rus(b testing.TB) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkReplay reads 10,000 records of one and of 100 events back.
func BenchmarkReplay(b *testing.B) {
	for _, per := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d-events", per), func(b *testing.B) {
			k := bustest.New(b, bustest.WithConfig(func(c *bus.Config) { c.Logger = nil }))
			w := k.NewWriter(life())
			ev := message(string(make([]byte, 200)))
			for range 10000 {
				f := newFate()
				for range per - 1 {
					if err := w.Append(conv, ev, nil); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Append(conv, ev, f); err != nil {
					b.Fatal(err)
				}
				f.wait(b)
			}
			b.ReportAllocs()
			var recs, bytes int
			for b.Loop() {
				for r, err := range k.Replay(b.Context(), conv, 1, 0) {
					if err != nil {
						b.Fatal(err)
					}
					recs++
					bytes += len(r.Data)
				}
			}
			b.ReportMetric(float64(recs)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
		})
	}
}

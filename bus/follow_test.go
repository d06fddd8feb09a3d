package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"

	"google.golang.org/protobuf/proto"
)

// reader follows a stream as a view does: it keeps a checkpoint and what it saw.
type reader struct {
	mu    sync.Mutex
	at    bus.Checkpoint
	texts []string
	lost  []uint64
	jump  error
	hold  chan struct{} // not nil: each batch waits for it
	done  chan struct{}
	err   error
}

func (r *reader) from() bus.Checkpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *reader) take(batch []bus.Recorded) error {
	if len(batch) == 0 || len(batch) > bus.MaxBatchRecords {
		return fmt.Errorf("batch of %d", len(batch))
	}
	if r.hold != nil {
		<-r.hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range batch {
		if rec.Sequence != r.at.Sequence+1 {
			r.jump = fmt.Errorf("%d after %d", rec.Sequence, r.at.Sequence)
			return r.jump
		}
		r.at = bus.Checkpoint{Sequence: rec.Sequence, Fingerprint: bus.FingerprintOf(rec.Data)}
		var e event.Record
		if err := proto.Unmarshal(rec.Data, &e); err != nil {
			return err
		}
		if rec.Data == nil {
			r.lost = append(r.lost, rec.Sequence)
		}
		for _, ev := range e.GetEvents() {
			if ev.GetMessageSent() != nil {
				r.texts = append(r.texts, text(ev))
			}
		}
	}
	return nil
}

func (r *reader) seen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.texts)
}

// follow starts r from its checkpoint, to be stopped by the test's end.
func follow(t testing.TB, b *bus.Bus, r *reader) {
	t.Helper()
	r.done = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		r.err = b.Follow(ctx, conv, r.from, r.take)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
}

// write stores n events, each in a record of its own, named from..from+n-1.
func write(t testing.TB, w *bus.Writer, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		f := newFate()
		if err := w.Append(conv, message(fmt.Sprint(i)), f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, n int) (texts []string) {
	for i := from; i < from+n; i++ {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

func TestFollowersGetEveryRecordInOrder(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	write(t, w, 0, 50)
	r := &reader{}
	follow(t, k.Bus, r)
	write(t, w, 50, 50)
	bustest.Eventually(t, "all seen", func() bool { return r.seen() == 100 })
	if fmt.Sprint(r.texts) != fmt.Sprint(numbers(0, 100)) {
		t.Errorf("saw %v", r.texts)
	}
	// Another one begins at its own checkpoint.
	m, err := k.ReadRecord(t.Context(), conv, 51)
	if err != nil {
		t.Fatal(err)
	}
	late := &reader{at: bus.Checkpoint{Sequence: 51, Fingerprint: bus.FingerprintOf(m.Data)}}
	follow(t, k.Bus, late)
	bustest.Eventually(t, "the rest seen", func() bool { return late.seen() == 50 })
	if fmt.Sprint(late.texts) != fmt.Sprint(numbers(50, 50)) {
		t.Errorf("saw %v", late.texts)
	}
}

func TestFollowersResumeWithoutAGap(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	r := &reader{}
	follow(t, k.Bus, r)
	total := 0
	for round := range 12 {
		write(t, w, total, 40)
		total += 40
		if round%4 == 3 {
			k.Restart(nil)
		} else {
			k.CutConnections()
		}
	}
	write(t, w, total, 10)
	total += 10
	bustest.Eventually(t, "all seen", func() bool { return r.seen() >= total })
	if fmt.Sprint(r.texts) != fmt.Sprint(numbers(0, total)) || r.jump != nil {
		t.Errorf("saw %v, %v", r.texts, r.jump)
	}
	if k.Stats().FollowRestarts == 0 {
		t.Error("nothing was lost on the way")
	}
}

func TestASlowFollowerIsHeldBackAndLosesNothing(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	r := &reader{hold: make(chan struct{})}
	follow(t, k.Bus, r)
	body := string(make([]byte, 250<<10))
	const events = 200 // 50 MB, more than may be taken ahead
	for range events {
		f := newFate()
		if err := w.Append(conv, message(body), f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	close(r.hold)
	bustest.Eventually(t, "all seen", func() bool { return r.seen() == events })
	if r.jump != nil {
		t.Error(r.jump)
	}
	if got := k.Stats().FollowRestarts; got != 0 {
		t.Errorf("its consumer was lost %d times: it was flooded, not held back", got)
	}
}

func TestAFollowersOwnErrorEndsIt(t *testing.T) {
	k := bustest.New(t)
	mine := errors.New("mine")
	err := k.Follow(t.Context(), conv, func() bus.Checkpoint { return bus.Checkpoint{} }, func([]bus.Recorded) error { return mine })
	if err != mine {
		t.Errorf("%v, want the handler's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = k.Follow(ctx, conv, func() bus.Checkpoint { return bus.Checkpoint{} }, func([]bus.Recorded) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
}

// rolled starts a log of 20 events in a stream, keeps a copy at 10, and gives both.
func rolled(t *testing.T) (k *bustest.Kit, w *bus.Writer, copied string) {
	k = bustest.New(t)
	w = k.NewWriter(life())
	write(t, w, 0, 10)
	copied = k.Copy(conv)
	write(t, w, 10, 10)
	return k, w, copied
}

func wantRollback(t *testing.T, err error, at uint64) {
	t.Helper()
	rb, ok := errors.AsType[*bus.RollbackError](err)
	if !ok || rb.Stream != conv || rb.At != at || rb.Reason == "" {
		t.Fatalf("%v, want a rollback at %d", err, at)
	}
}

func TestALostTailIsNoticedLive(t *testing.T) {
	k, _, copied := rolled(t)
	r := &reader{}
	follow(t, k.Bus, r)
	bustest.Eventually(t, "all seen", func() bool { return r.seen() == 20 })
	k.RollBack(conv, copied)
	<-r.done
	wantRollback(t, r.err, 21)
	if last, err := k.LastSequence(t.Context(), conv); err != nil || last != 11 {
		t.Fatalf("the fault did not take place: last sequence %d, %v", last, err)
	}
	if k.Stats().Rollbacks != 1 {
		t.Errorf("%d rollbacks counted", k.Stats().Rollbacks)
	}
}

func TestALostTailIsNoticedAtStart(t *testing.T) {
	for _, shape := range []string{"shorter", "written anew", "hole"} {
		t.Run(shape, func(t *testing.T) {
			k, w, copied := rolled(t)
			r := &reader{}
			ctx, cancel := context.WithCancel(t.Context())
			err := k.Follow(ctx, conv, r.from, func(batch []bus.Recorded) error {
				defer func() {
					if r.seen() == 20 {
						cancel()
					}
				}()
				return r.take(batch)
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			switch shape {
			case "hole":
				k.RollBackHole(conv, copied)
			default:
				k.RollBack(conv, copied)
			}
			if shape == "written anew" {
				write(t, w, 100, 20)
			}
			err = k.Follow(t.Context(), conv, r.from, r.take)
			wantRollback(t, err, 21)
			if shape == "hole" {
				if last, err := k.LastSequence(t.Context(), conv); err != nil || last != 21 {
					t.Fatalf("the fault did not take place: last sequence %d, %v", last, err)
				}
			}
			// From the beginning it can be followed again; what is lost has no data.
			again := &reader{}
			follow(t, k.Bus, again)
			write(t, w, 500, 1)
			want := append(numbers(0, 10), "500")
			if shape == "written anew" {
				want = append(append(numbers(0, 10), numbers(100, 20)...), "500")
			}
			bustest.Eventually(t, "all seen", func() bool { return again.seen() == len(want) })
			if fmt.Sprint(again.texts) != fmt.Sprint(want) || again.jump != nil {
				t.Errorf("saw %v, %v", again.texts, again.jump)
			}
			if shape == "hole" && fmt.Sprint(again.lost) != "[12 13 14 15 16 17 18 19 20 21]" {
				t.Errorf("lost %v", again.lost)
			}
		})
	}
}

// A tail that is lost and at once written anew, longer than it was, is the shape that
// no consumer notices.
func TestATailWrittenAnewIsNoticedLive(t *testing.T) {
	k, _, copied := rolled(t)
	r := &reader{}
	follow(t, k.Bus, r)
	bustest.Eventually(t, "all seen", func() bool { return r.seen() == 20 })
	k.Restart(func() { k.Replace(conv, copied) })
	write(t, k.NewWriter(life()), 1000, 30)
	<-r.done
	wantRollback(t, r.err, 21)
	if r.seen() != 20 {
		t.Errorf("%d events were handed over, some after the rollback", r.seen())
	}
}

// A checkpoint in a lost stretch that was handed over as lost stays good.
func TestACheckpointInALostStretchHolds(t *testing.T) {
	k, w, copied := rolled(t)
	k.RollBackHole(conv, copied)
	r := &reader{at: bus.Checkpoint{Sequence: 15, Fingerprint: bus.FingerprintOf(nil)}}
	follow(t, k.Bus, r)
	write(t, w, 500, 1)
	bustest.Eventually(t, "the new one seen", func() bool { return r.seen() == 1 })
}

// Nor does it take another record to tell of a lost end: where nobody writes before the
// views are there, none would come.
func TestALostEndIsHandedOver(t *testing.T) {
	k, _, copied := rolled(t)
	k.RollBackHole(conv, copied)
	r := &reader{}
	follow(t, k.Bus, r)
	bustest.Eventually(t, "the lost ones seen", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Sprint(r.lost) == "[12 13 14 15 16 17 18 19 20 21]"
	})
	write(t, k.NewWriter(life()), 500, 1)
	want := append(numbers(0, 10), "500")
	bustest.Eventually(t, "all seen", func() bool { return r.seen() == len(want) })
	if fmt.Sprint(r.texts) != fmt.Sprint(want) || r.jump != nil || len(r.lost) != 10 {
		t.Errorf("saw %v, lost %v, %v", r.texts, r.lost, r.jump)
	}
}

func TestReplayIsFinite(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	write(t, w, 0, 30)
	for _, c := range []struct {
		from, to    uint64
		first, last uint64
	}{{0, 0, 1, 31}, {1, 5, 1, 5}, {7, 7, 7, 7}, {10, 0, 10, 31}, {32, 0, 0, 0}, {9, 8, 0, 0}} {
		var first, last uint64
		n := 0
		for r, err := range k.Replay(t.Context(), conv, c.from, c.to) {
			if err != nil {
				t.Fatal(err)
			}
			if first == 0 {
				first = r.Sequence
			}
			if last != 0 && r.Sequence != last+1 {
				t.Fatalf("%d after %d", r.Sequence, last)
			}
			last = r.Sequence
			n++
		}
		if first != c.first || last != c.last {
			t.Errorf("replay %d..%d gave %d..%d", c.from, c.to, first, last)
		}
	}
	for range k.Replay(t.Context(), conv, 1, 0) {
		break // stopping early is no error and no leak
	}
	for _, err := range k.Replay(t.Context(), conv, 1, 99) {
		if !errors.Is(err, bus.ErrNoRecord) {
			t.Errorf("beyond the end: %v", err)
		}
	}
}

func TestReadRecordAndLastSequence(t *testing.T) {
	k := bustest.New(t)
	if _, err := k.ReadRecord(t.Context(), conv, 2); !errors.Is(err, bus.ErrNoRecord) {
		t.Errorf("%v, want no record", err)
	}
	if _, err := k.ReadRecord(t.Context(), conv, 0); !errors.Is(err, bus.ErrNoRecord) {
		t.Errorf("%v, want no record", err)
	}
	if _, err := k.LastSequence(t.Context(), 77); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("%v, want no stream", err)
	}
	write(t, k.NewWriter(life()), 0, 1)
	r, err := k.ReadRecord(t.Context(), conv, 2)
	if err != nil || r.Sequence != 2 || len(r.Data) == 0 || r.Time.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
}

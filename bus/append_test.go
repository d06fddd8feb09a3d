package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"
)

// fate collects what a ticket hears.
type fate struct {
	mu     sync.Mutex
	n      uint64
	index  int
	placed int
	stored uint64
	err    error
	done   chan struct{}
}

func newFate() *fate { return &fate{done: make(chan struct{})} }

func (f *fate) Placed(n uint64, index int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.index = n, index
	f.placed++
}

func (f *fate) Stored(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stored = seq
	close(f.done)
}

func (f *fate) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	close(f.done)
}

// wait blocks until the event's fate is known.
func (f *fate) wait(t testing.TB) (seq uint64, err error) {
	t.Helper()
	select {
	case <-f.done:
	case <-time.After(90 * time.Second):
		t.Fatal("an event's fate stayed unknown")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stored, f.err
}

func message(text string) *event.Event {
	key := event.Direct(1, 2)
	return &event.Event{At: 1, Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
		Conversation: key[:], From: 1, Type: 1, Body: []byte(text),
	}}}
}

func text(ev *event.Event) string { return string(ev.GetMessageSent().GetBody()) }

func life() event.ID { return ulid.Make() }

// records reads the whole stream but its first record.
func records(t testing.TB, b *bus.Bus, s event.Stream) []*event.Record {
	t.Helper()
	var all []*event.Record
	for r, err := range b.Replay(t.Context(), s, 2, 0) {
		if err != nil {
			t.Fatalf("replay: %v", err)
		}
		rec := new(event.Record)
		if err := proto.Unmarshal(r.Data, rec); err != nil {
			t.Fatalf("record %d: %v", r.Sequence, err)
		}
		all = append(all, rec)
	}
	return all
}

// counted is what a fold that skips repeated records sees.
func counted(recs []*event.Record) (texts []string) {
	last := map[event.ID]uint64{}
	for _, r := range recs {
		w := event.ToID(r.GetWriter())
		if r.GetN() <= last[w] {
			continue
		}
		last[w] = r.GetN()
		for _, ev := range r.GetEvents() {
			texts = append(texts, text(ev))
		}
	}
	return texts
}

const conv = event.Conversation0

func TestAppendsAreStoredInOrderWithOneRecordInFlight(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	const events = 5000
	fates := make([]*fate, events)
	for i := range fates {
		fates[i] = newFate()
		if err := w.Append(conv, message(fmt.Sprint(i)), fates[i]); err != nil {
			t.Fatal(err)
		}
	}
	recs := func() []*event.Record {
		for _, f := range fates {
			if _, err := f.wait(t); err != nil {
				t.Fatal(err)
			}
		}
		return records(t, k.Bus, conv)
	}()
	i := 0
	for j, r := range recs {
		if r.GetN() != uint64(j+1) {
			t.Fatalf("record %d has n %d", j, r.GetN())
		}
		if len(r.GetEvents()) > event.MaxRecordEvents {
			t.Fatalf("record of %d events", len(r.GetEvents()))
		}
		for x, ev := range r.GetEvents() {
			f := fates[i]
			if text(ev) != fmt.Sprint(i) || f.n != r.GetN() || f.index != x || f.stored != uint64(j+2) || f.placed != 1 {
				t.Fatalf("event %d: %q n %d index %d stored %d placed %d times", i, text(ev), f.n, f.index, f.stored, f.placed)
			}
			i++
		}
	}
	if i != events {
		t.Fatalf("%d events in the log, want %d", i, events)
	}
	if len(recs) > events/50 {
		t.Errorf("%d records for %d events: appends were not grouped", len(recs), events)
	}
}

func TestOneRecordIsInFlight(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	gate := make(chan struct{})
	k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{Until: gate} })
	first, second := newFate(), newFate()
	if err := w.Append(conv, message("first"), first); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the first ack held back", func() bool { return k.DelayedAcks.Load() == 1 })
	if err := w.Append(conv, message("second"), second); err != nil {
		t.Fatal(err)
	}
	other := newFate()
	if err := w.Append(conv+1, message("other stream"), other); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the other stream stored", func() bool { return k.DelayedAcks.Load() == 2 })
	if last, err := k.LastSequence(t.Context(), conv); err != nil || last != 2 {
		t.Fatalf("last sequence %d, %v: a record was sent behind one in flight", last, err)
	}
	close(gate)
	for _, f := range []*fate{first, second, other} {
		if _, err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if k.Overtaken.Load() != 0 {
		t.Error("a record overtook another")
	}
}

func TestALostAckLeavesOneRecord(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	k.OnAck(func(_ event.Stream, n uint64, attempt int) bustest.Fate {
		return bustest.Fate{Lose: attempt <= 2}
	})
	first, second := newFate(), newFate()
	if err := w.Append(conv, message("a"), first); err != nil {
		t.Fatal(err)
	}
	if seq, err := first.wait(t); err != nil || seq != 2 {
		t.Fatalf("stored at %d, %v", seq, err)
	}
	if err := w.Append(conv, message("b"), second); err != nil {
		t.Fatal(err)
	}
	if seq, err := second.wait(t); err != nil || seq != 3 {
		t.Fatalf("stored at %d, %v", seq, err)
	}
	// An ack that comes late makes one more attempt, and may be lost or count in the next one.
	lost, attempts, st := k.LostAcks.Load(), k.Attempts.Load(), k.Stats()
	if attempts < 6 || lost == 0 {
		t.Errorf("%d attempts, %d acks lost", attempts, lost)
	}
	if st.Retries != attempts-2 || st.Records != 2 || st.Duplicates > 2 || (lost == 4 && attempts == 6 && st.Duplicates != 2) {
		t.Errorf("%d attempts, %d acks lost, stats %+v", attempts, lost, st)
	}
	if recs := records(t, k.Bus, conv); len(recs) != 2 {
		t.Errorf("%d records, want 2", len(recs))
	}
}

func TestARecordStoredTwiceAfterTheWindowCountsOnce(t *testing.T) {
	k := bustest.New(t, bustest.WithConfig(func(c *bus.Config) { c.Duplicates = 100 * time.Millisecond }))
	w := k.NewWriter(life())
	k.OnAck(func(_ event.Stream, n uint64, attempt int) bustest.Fate {
		return bustest.Fate{Lose: n == 1 && attempt == 1}
	})
	for i := range 3 {
		f := newFate()
		if err := w.Append(conv, message(fmt.Sprint(i)), f); err != nil {
			t.Fatal(err)
		}
		if _, err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	recs := records(t, k.Bus, conv)
	if len(recs) < 4 || recs[0].GetN() != 1 || recs[1].GetN() != 1 { // more, where an ack comes late
		t.Fatalf("the fault did not take place: %d records", len(recs))
	}
	if got := counted(recs); fmt.Sprint(got) != "[0 1 2]" {
		t.Errorf("counted %v", got)
	}
}

func TestAppendsSurviveCutConnectionsAndRestarts(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	const events = 3000
	var fates []*fate
	var want []string
	for i := range events {
		f := newFate()
		if err := w.Append(conv, message(fmt.Sprint(i)), f); err != nil {
			t.Fatal(err)
		}
		fates, want = append(fates, f), append(want, fmt.Sprint(i))
		switch {
		case i%1000 == 500:
			k.Restart(nil)
		case i%100 == 50:
			k.CutConnections()
		}
		if i%7 == 0 {
			if _, err := f.wait(t); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, f := range fates {
		if _, err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if got := counted(records(t, k.Bus, conv)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d events, want %d, or out of order", len(got), len(want))
	}
	if k.Stats().Reconnects == 0 {
		t.Error("no connection was lost")
	}
	if k.Overtaken.Load() != 0 {
		t.Error("a record overtook one of unknown fate")
	}
}

func register(t testing.TB, w *bus.Writer, name, nick string, expect uint64) *fate {
	t.Helper()
	f := newFate()
	ev := &event.Event{At: 1, Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: name, Nick: nick}}}
	if err := w.AppendCAS(event.People, bus.NameSubject(name), expect, ev, f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestACompareAndSetHasOneWinner(t *testing.T) {
	k := bustest.New(t)
	w1, w2 := k.NewWriter(life()), k.NewWriter(life())
	seq, err := register(t, w1, "ada", "first", 0).wait(t)
	if err != nil || seq != 2 {
		t.Fatalf("first: %d, %v", seq, err)
	}
	loser := register(t, w2, "ada", "second", 0)
	if _, err := loser.wait(t); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("second: %v, want a conflict", err)
	}
	// The loser's number is free again, so its numbers have no hole.
	next := register(t, w2, "ada", "third", seq)
	if seq, err := next.wait(t); err != nil || seq != 3 {
		t.Fatalf("third: %d, %v", seq, err)
	}
	if loser.n != 1 || next.n != 1 {
		t.Errorf("numbers %d and %d, want 1 and 1", loser.n, next.n)
	}
	if bus.NameSubject("Ada") != bus.NameSubject("ada") || bus.NameSubject("ada") == bus.NameSubject("eve") {
		t.Error("name subjects")
	}
	plain := newFate()
	if err := w2.AppendCAS(event.People, bus.EventSubject(event.People), 0, message("x"), plain); err == nil {
		t.Error("compare and set on the ordinary subject was taken")
	}
	if st := k.Stats(); st.Conflicts != 1 {
		t.Errorf("%d conflicts counted", st.Conflicts)
	}
}

func TestACompareAndSetWhoseAckWasLostHasWon(t *testing.T) {
	for _, overwritten := range []bool{false, true} {
		t.Run(fmt.Sprintf("overwritten=%v", overwritten), func(t *testing.T) {
			k := bustest.New(t)
			w1, w2 := k.NewWriter(life()), k.NewWriter(life())
			hurt := newFate()
			gate := make(chan struct{})
			var answers atomic.Int64
			k.OnAck(func(event.Stream, uint64, int) bustest.Fate {
				if answers.Add(1) == 1 {
					return bustest.Fate{Lose: true, Until: gate}
				}
				return bustest.Fate{}
			})
			ev := &event.Event{At: 1, Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: "ada"}}}
			if err := w1.AppendCAS(event.People, bus.NameSubject("ada"), 0, ev, hurt); err != nil {
				t.Fatal(err)
			}
			bustest.Eventually(t, "the ack held back", func() bool { return k.DelayedAcks.Load() == 1 })
			k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{} })
			if overwritten {
				// Somebody else goes on from there before the writer asks again.
				if seq, err := register(t, w2, "ada", "later", 2).wait(t); err != nil || seq != 3 {
					t.Fatalf("later: %d, %v", seq, err)
				}
			}
			close(gate)
			if seq, err := hurt.wait(t); err != nil || seq != 2 {
				t.Fatalf("the winner was told %d, %v", seq, err)
			}
			if k.LostAcks.Load() != 1 || k.Stats().Retries == 0 {
				t.Error("the fault did not take place")
			}
		})
	}
}

// A store that met a write error refuses a record that is found on the disk later.
func TestACompareAndSetThatWasRefusedAndStoredHasWon(t *testing.T) {
	url := bustest.Server(t)
	k := bustest.New(t, bustest.WithConfig(func(c *bus.Config) { c.URL = url }))
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	attempts, err := nc.SubscribeSync("people.name.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var answers atomic.Int64
	k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{Lose: answers.Add(1) == 1} })
	won := register(t, k.NewWriter(life()), "ada", "first", 0)
	m, err := attempts.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the ack lost", func() bool { return k.LostAcks.Load() == 1 })
	if err := m.Respond([]byte(`{"error":{"code":503,"err_code":10077,"description":"no space left on device"}}`)); err != nil {
		t.Fatal(err)
	}
	if seq, err := won.wait(t); err != nil || seq != 2 {
		t.Fatalf("the winner was told %d, %v", seq, err)
	}
	if k.Stats().Refusals != 1 {
		t.Error("the fault did not take place")
	}
}

// One that is in doubt and has lost to nothing that is there is not decided: the leader that
// answers may have yet to work off what the one before it had stored.
func TestACompareAndSetThatLostToNothingIsNotDecided(t *testing.T) {
	url := bustest.Server(t)
	k := bustest.New(t, bustest.At(url))
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	attempts, err := nc.SubscribeSync("people.name.>")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	k.OnAck(func(_ event.Stream, _ uint64, attempt int) bustest.Fate { return bustest.Fate{Lose: attempt == 1} })
	const expect = 1 // nothing is on the subject: every attempt is refused
	won := register(t, k.NewWriter(life()), "ada", "first", expect)
	for range 3 {
		m, err := attempts.NextMsg(60 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if k.Stats().Retries < 2 {
			continue
		}
		// What the leader had to work off.
		late := nats.NewMsg(m.Subject)
		late.Data = m.Data
		late.Header.Set(nats.MsgIdHdr, m.Header.Get(nats.MsgIdHdr))
		if err := nc.PublishMsg(late); err != nil {
			t.Fatal(err)
		}
		break
	}
	if seq, err := won.wait(t); err != nil || seq != 2 {
		t.Fatalf("the winner was told %d, %v", seq, err)
	}
}

func TestACompareAndSetOfUnknownFateThatLostIsAConflict(t *testing.T) {
	k := bustest.New(t)
	w1, w2 := k.NewWriter(life()), k.NewWriter(life())
	if _, err := register(t, w1, "ada", "first", 0).wait(t); err != nil {
		t.Fatal(err)
	}
	var answers atomic.Int64
	k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{Lose: answers.Add(1) == 1} })
	if _, err := register(t, w2, "ada", "second", 0).wait(t); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("%v, want a conflict", err)
	}
	if k.LostAcks.Load() != 1 {
		t.Error("the fault did not take place")
	}
}

func TestTooMuchAndTooLargeAreRefused(t *testing.T) {
	k := bustest.New(t)
	k.SetFree(func() (uint64, error) { return 1, nil })
	bustest.Eventually(t, "appends held", func() bool { return errors.Is(k.Healthy(), bus.ErrLowSpace) })
	w := k.NewWriter(life())
	if err := w.Append(conv, message(strings.Repeat("x", event.MaxEventBytes)), nil); !errors.Is(err, bus.ErrTooLarge) {
		t.Fatalf("%v, want too large", err)
	}
	if err := w.Append(event.Stream(99), message("x"), nil); !errors.Is(err, bus.ErrNoStream) {
		t.Fatalf("%v, want no such stream", err)
	}
	big := message(strings.Repeat("x", event.MaxEventBytes-100))
	var taken []*fate
	var err error
	for range 200 {
		f := newFate()
		if err = w.Append(conv, big, f); err != nil {
			break
		}
		taken = append(taken, f)
	}
	if !errors.Is(err, bus.ErrFull) {
		t.Fatalf("%v, want full", err)
	}
	if got := len(taken) * event.MaxEventBytes; got < bus.MaxWaiting-event.MaxEventBytes || len(taken)*(event.MaxEventBytes-200) > bus.MaxWaiting {
		t.Errorf("full after %d bytes", got)
	}
	if k.Attempts.Load() != 0 {
		t.Error("something was sent while appends were held")
	}
	// The largest events are stored one by one.
	k.SetFree(nil)
	for _, f := range taken {
		if _, err := f.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Append(conv, message("x"), nil); err != nil {
		t.Errorf("after it drained: %v", err)
	}
}

func TestLowSpaceHoldsAppendsUntilThereIsRoom(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	var free atomic.Uint64
	k.SetFree(func() (uint64, error) { return free.Load(), nil })
	bustest.Eventually(t, "low space noticed", func() bool { return errors.Is(k.Healthy(), bus.ErrLowSpace) })
	f := newFate()
	if err := w.Append(conv, message("x"), f); err != nil {
		t.Fatal(err)
	}
	// Nothing has been sent when the guard has looked again, and again.
	var probes atomic.Uint64
	k.SetFree(func() (uint64, error) { probes.Add(1); return free.Load(), nil })
	bustest.Eventually(t, "some probes", func() bool { return probes.Load() > 3 })
	if f.placed != 0 || k.Attempts.Load() != 0 {
		t.Fatal("an append was sent in spite of low space")
	}
	free.Store(1 << 40)
	if _, err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	if err := k.Healthy(); err != nil {
		t.Errorf("still unhealthy: %v", err)
	}
}

// Also what was sent before, and has to be sent again.
func TestLowSpaceHoldsAttemptsToo(t *testing.T) {
	k := bustest.New(t)
	lost := make(chan struct{})
	k.OnAck(func(_ event.Stream, _ uint64, attempt int) bustest.Fate {
		return bustest.Fate{Lose: attempt == 1, Until: lost}
	})
	f := newFate()
	if err := k.NewWriter(life()).Append(event.Conversation0, message("x"), f); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the ack held back", func() bool { return k.DelayedAcks.Load() == 1 })
	sent := k.Attempts.Load()
	var looks atomic.Int64
	k.SetFree(func() (uint64, error) { looks.Add(1); return 0, nil })
	bustest.Eventually(t, "appends are held", func() bool { return errors.Is(k.Healthy(), bus.ErrLowSpace) })
	close(lost)
	was := looks.Load()
	bustest.Eventually(t, "time for another attempt", func() bool { return looks.Load() > was+50 })
	if n := k.Attempts.Load(); n != sent {
		t.Errorf("%d attempts while the space was low", n-sent)
	}
	k.SetFree(nil)
	if _, err := f.wait(t); err != nil {
		t.Fatal(err)
	}
}

func TestAFrozenStoreIsRestartedWhenThereIsRoom(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	var frozen, low atomic.Bool
	frozen.Store(true)
	low.Store(true)
	k.SetFrozen(func() error {
		if k.Stats().ServerRestarts > 0 {
			frozen.Store(false) // as a new server's store would be
		}
		if frozen.Load() {
			return errors.New("no space left on device")
		}
		return nil
	})
	// A frozen store does not answer; losing acks looks the same to the lane.
	k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{Lose: frozen.Load()} })
	f := newFate()
	if err := w.Append(conv, message("x"), f); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "frozen noticed", func() bool { return errors.Is(k.Healthy(), bus.ErrFrozen) })
	if got := k.Stats().ServerRestarts; got > 1 {
		t.Fatalf("restarted %d times", got)
	}
	if _, err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	if got := k.Stats().ServerRestarts; got != 1 {
		t.Errorf("restarted %d times", got)
	}
	bustest.Eventually(t, "healthy again", func() bool { return k.Healthy() == nil })
	if got := counted(records(t, k.Bus, conv)); fmt.Sprint(got) != "[x]" {
		t.Errorf("stored %v", got)
	}
}

func TestCloseWaitsForWhatIsWaiting(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	var fates []*fate
	for i := range 2000 {
		f := newFate()
		fates = append(fates, f)
		if err := w.Append(conv, message(fmt.Sprint(i)), f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, f := range fates {
		if f.stored == 0 {
			t.Fatalf("event %d was not stored when Close returned", i)
		}
	}
	if err := w.Append(conv, message("late"), nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("%v, want closed", err)
	}
	if err := w.Append(conv+1, message("late"), nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("%v, want closed", err)
	}
}

func TestCloseFailsWhatWasNeverSentAndLeavesTheUnknown(t *testing.T) {
	k := bustest.New(t)
	w := k.NewWriter(life())
	k.OnAck(func(event.Stream, uint64, int) bustest.Fate { return bustest.Fate{Lose: true} })
	sent := newFate()
	if err := w.Append(conv, message("sent"), sent); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the first is under way", func() bool { return k.LostAcks.Load() > 0 })
	waiting := newFate()
	if err := w.Append(conv, message("waiting"), waiting); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if _, err := waiting.wait(t); !errors.Is(err, bus.ErrClosed) || waiting.placed != 0 {
		t.Errorf("what was never sent: %v, placed %d times", err, waiting.placed)
	}
	select {
	case <-sent.done:
		t.Error("a record of unknown fate was said to have one")
	default:
	}
}

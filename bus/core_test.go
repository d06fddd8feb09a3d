package bus_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
)

func TestPushesArriveInOrderAndDropsAreSeen(t *testing.T) {
	k := bustest.New(t)
	me, other := life(), life()
	var mu sync.Mutex
	var got []uint64
	stop, err := k.ReceivePushes(me, func(data []byte) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, binary.BigEndian.Uint64(data))
	})
	if err != nil {
		t.Fatal(err)
	}
	k.DropPushes(func(to event.ID, data []byte) bool {
		return to == me && binary.BigEndian.Uint64(data)%10 == 3
	})
	const pushes = 1000
	for i := range uint64(pushes) {
		if err := k.Push(me, binary.BigEndian.AppendUint64(nil, i)); err != nil {
			t.Fatal(err)
		}
		if err := k.Push(other, []byte("not for me")); err != nil {
			t.Fatal(err)
		}
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(got) }
	bustest.Eventually(t, "all but the dropped received", func() bool { return count() == pushes*9/10 })
	for i := 1; i < len(got); i++ {
		if got[i] <= got[i-1] {
			t.Fatalf("%d after %d", got[i], got[i-1])
		}
	}
	if k.DroppedPushes.Load() != pushes/10 {
		t.Errorf("%d dropped", k.DroppedPushes.Load())
	}
	stop()
	if err := k.Push(me, binary.BigEndian.AppendUint64(nil, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Ask(t.Context(), "nobody.there", nil); !errors.Is(err, bus.ErrNoResponder) {
		t.Errorf("%v, want no responder", err)
	}
	if count() != pushes*9/10 {
		t.Error("a push was received after stop")
	}
}

func TestASlowReceiverLosesPushesAndTheyAreCounted(t *testing.T) {
	k := bustest.New(t)
	me := life()
	gate := make(chan struct{})
	stop, err := k.ReceivePushes(me, func([]byte) { <-gate })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	defer close(gate)
	data := make([]byte, 512<<10)
	bustest.Eventually(t, "pushes dropped", func() bool {
		if err := k.Push(me, data); err != nil {
			t.Fatal(err)
		}
		return k.Stats().PushesDropped > 0
	})
	if st := k.Stats(); st.PushBytes < bus.MaxPendingPushBytes {
		t.Errorf("dropped after %d bytes", st.PushBytes)
	}
}

func TestBeatsReachEveryProcess(t *testing.T) {
	url := bustest.Server(t)
	a, b := bustest.New(t, bustest.At(url)), bustest.New(t, bustest.At(url))
	heard := make(chan string, 16)
	for name, k := range map[string]*bustest.Kit{"a": a, "b": b} {
		stop, err := k.ReceiveBeats(func(data []byte) { heard <- name + string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	if err := a.SendBeat([]byte("!")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{<-heard: true, <-heard: true}
	if !got["a!"] || !got["b!"] {
		t.Errorf("heard %v", got)
	}
}

func TestQuestionsAreAnswered(t *testing.T) {
	k := bustest.New(t)
	stop, err := k.Serve(bus.OwnerSubject(k.Process(), "query"), "owners", 2, func(_ context.Context, data []byte) []byte {
		return append([]byte("re: "), data...)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.Ask(t.Context(), bus.OwnerSubject(k.Process(), "query"), []byte("hello"))
	if err != nil || string(got) != "re: hello" {
		t.Fatalf("%q, %v", got, err)
	}
	k.CutConnections()
	bustest.Eventually(t, "answered after a cut", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Ask(ctx, bus.OwnerSubject(k.Process(), "query"), nil)
		return err == nil
	})
	stop()
	stop()
	if _, err := k.Ask(t.Context(), bus.OwnerSubject(k.Process(), "query"), nil); !errors.Is(err, bus.ErrNoResponder) {
		t.Errorf("after stop: %v, want no responder", err)
	}
}

func TestAServiceBoundsItsWorkersAndItsQueue(t *testing.T) {
	k := bustest.New(t)
	const workers = 2
	gate := make(chan struct{})
	var at, most atomic.Int64
	stop, err := k.Serve(bus.PeopleQuery, "people", workers, func(ctx context.Context, _ []byte) []byte {
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		<-gate
		return []byte("done")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var wg sync.WaitGroup
	var answered, refused atomic.Int64
	const questions = 400
	for range questions {
		wg.Go(func() {
			_, err := k.Ask(t.Context(), bus.PeopleQuery, nil)
			switch {
			case err == nil:
				answered.Add(1)
			case errors.Is(err, bus.ErrOverloaded):
				refused.Add(1)
			default:
				t.Errorf("%v", err)
			}
		})
	}
	bustest.Eventually(t, "questions refused", func() bool { return refused.Load() >= questions-workers*65 })
	close(gate)
	wg.Wait()
	if answered.Load()+refused.Load() != questions || most.Load() > workers {
		t.Errorf("%d answered, %d refused, %d at once", answered.Load(), refused.Load(), most.Load())
	}
	if st := k.Stats(); st.Overflowed != uint64(refused.Load()) {
		t.Errorf("%d counted as overflowed, %d refused", st.Overflowed, refused.Load())
	}
}

func TestALeaseGoesFromHandToHand(t *testing.T) {
	url := bustest.Server(t)
	a, b := bustest.New(t, bustest.At(url)), bustest.New(t, bustest.At(url))
	first, err := a.AcquireLease(t.Context(), "timeline-00")
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.AcquireLease(t.Context(), "timeline-01")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	type result struct {
		l   *bus.Lease
		err error
	}
	got := make(chan result, 1)
	go func() {
		l, err := b.AcquireLease(context.WithoutCancel(t.Context()), "timeline-00")
		got <- result{l, err}
	}()
	// It is renewed beyond its time to live, so the other one goes on waiting.
	renewed := time.NewTimer(bus.LeaseTTL + time.Second)
	defer renewed.Stop()
	select {
	case <-got:
		t.Fatal("two hold the lease")
	case <-first.Lost():
		t.Fatal("the lease was lost")
	case <-renewed.C:
	}
	released := time.Now()
	if err := first.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := <-got
	if second.err != nil {
		t.Fatal(second.err)
	}
	took := time.Since(released)
	for try := 0; took >= unheard && try < 4; try++ { // the machine may be busy once
		took = handOver(t, a, b, fmt.Sprint("again-", try))
	}
	if took >= unheard {
		t.Errorf("handing over took %v", took)
	}
	<-first.Lost()
	if second.l.Revision() <= first.Revision() {
		t.Errorf("revision %d after %d", second.l.Revision(), first.Revision())
	}
	// A holder that dies keeps nobody waiting for longer than the lease lives.
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	<-second.l.Lost()
	third, err := a.AcquireLease(t.Context(), "timeline-00")
	if err != nil {
		t.Fatal(err)
	}
	if third.Revision() <= second.l.Revision() {
		t.Errorf("revision %d after %d", third.Revision(), second.l.Revision())
	}
}

// unheard is how long it takes at least to notice a release that is not heard: the holder's silence counts from its last
// renewal, of which there are four in a TTL.
const unheard = bus.LeaseTTL * 3 / 4

// handOver is how long it takes from one's release until another, who waits, has the lease.
func handOver(t *testing.T, from, to *bustest.Kit, name string) time.Duration {
	t.Helper()
	l, err := from.AcquireLease(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := to.AcquireLease(context.WithoutCancel(t.Context()), name)
		got <- err
	}()
	time.Sleep(bus.LeaseTTL / 2) // by then it waits
	released := time.Now()
	if err := errors.Join(l.Release(t.Context()), <-got); err != nil {
		t.Fatal(err)
	}
	return time.Since(released)
}

// A holder whose renewals nobody answers goes on: it can't know better than the log.
func TestALeaseOutlivesTheServersAbsence(t *testing.T) {
	url := bustest.Server(t)
	way := bustest.NewProxy(t, url)
	a, b := bustest.New(t, bustest.At(way.URL())), bustest.New(t, bustest.At(url))
	l, err := a.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	way.Cut()
	away := time.NewTimer(bus.LeaseTTL * 3 / 2)
	defer away.Stop()
	select {
	case <-l.Lost():
		t.Fatal("lost without anybody having said so")
	case <-away.C:
	}
	way.Mend()
	renewed := func() time.Time {
		all, err := b.Leases(t.Context())
		if err != nil || len(all) != 1 || all[0].Name != "people" || all[0].Process != a.Process() {
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0].Renewed
	}
	was := renewed()
	bustest.Eventually(t, "renewed again", func() bool { return renewed().After(was) })
	// Another one takes it while its holder is away: then it is lost.
	way.Cut()
	taken, err := b.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.Lost():
		t.Fatal("lost without anybody having said so")
	default:
	}
	way.Mend()
	<-l.Lost()
	if n := a.Stats().LeasesLost; n != 1 || taken.Revision() <= l.Revision() {
		t.Errorf("%d leases lost, revision %d after %d", n, taken.Revision(), l.Revision())
	}
	if n := b.Stats().LeasesHeld; n != 1 {
		t.Errorf("%d leases held", n)
	}
}

// With the server gone for longer than a lease lives, nobody's lease changes hands.
func TestLeasesStayThroughARestart(t *testing.T) {
	dir := t.TempDir()
	way := bustest.NewProxy(t, "")
	start := func() func() {
		url, stop := bustest.StoppableServer(t, dir)
		way.To(url)
		return stop
	}
	stop := start()
	a, b := bustest.New(t, bustest.At(way.URL())), bustest.New(t, bustest.At(way.URL()))
	l, err := a.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := b.AcquireLease(ctx, "people")
		got <- err
	}()
	stop()
	time.Sleep(bus.LeaseTTL + leaseSlack) // the time itself is the subject
	start()
	bustest.Eventually(t, "both are back", func() bool { return a.Healthy() == nil && b.Healthy() == nil })
	back := time.NewTimer(bus.LeaseTTL + leaseSlack)
	defer back.Stop()
	select {
	case err := <-got:
		t.Fatalf("the other one has it: %v", err)
	case <-l.Lost():
		t.Fatal("the lease was lost")
	case <-back.C:
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

const leaseSlack = 500 * time.Millisecond

// Of those who wait, the one with the shortest patience comes first, every time.
func TestALeaseGoesToWhoIsPreferred(t *testing.T) {
	url := bustest.Server(t)
	a, b, c := bustest.New(t, bustest.At(url)), bustest.New(t, bustest.At(url)), bustest.New(t, bustest.At(url))
	for range 3 {
		held, err := a.AcquireLease(t.Context(), "presence")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan *bus.Lease, 1), make(chan *bus.Lease, 1)
		wait := func(k *bustest.Kit, after time.Duration, got chan *bus.Lease) {
			l, err := k.AcquireLease(ctx, "presence", after)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			got <- l
		}
		go wait(b, 20*time.Second, second)
		go wait(c, 0, first)
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		l := <-first
		cancel()
		if late := <-second; late != nil {
			t.Fatal("both have it")
		}
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The wait of whoever is not preferred ends, when nobody else comes.
func TestALeaseIsTakenByWhoeverIsLeft(t *testing.T) {
	url := bustest.Server(t)
	a, b := bustest.New(t, bustest.At(url)), bustest.New(t, bustest.At(url))
	held, err := a.AcquireLease(t.Context(), "presence")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil { // which releases nothing
		t.Fatal(err)
	}
	l, err := b.AcquireLease(t.Context(), "presence", 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if l.Revision() <= held.Revision() {
		t.Errorf("revision %d after %d", l.Revision(), held.Revision())
	}
}

// The process died and left its leases; nobody can hold one of an embedded server
// that has just started.
func TestALeaseOfADeadPredecessorIsFree(t *testing.T) {
	dir := t.TempDir()
	k := bustest.New(t, bustest.WithDir(dir))
	l, err := k.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	for try := 1; ; try++ { // the machine may be busy once
		if err := k.Close(); err != nil { // as it closes, a bus releases nothing
			t.Fatal(err)
		}
		k = bustest.New(t, bustest.WithDir(dir))
		began := time.Now()
		again, err := k.AcquireLease(t.Context(), "people")
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if again.Revision() <= l.Revision() {
			t.Errorf("revision %d after %d", again.Revision(), l.Revision())
		}
		if took < bus.LeaseTTL {
			return
		}
		if l = again; try == 5 {
			t.Fatalf("it took %v", took)
		}
	}
}

func TestAnEpochIsRenewedOnce(t *testing.T) {
	url := bustest.Server(t)
	a, b := bustest.New(t, bustest.At(url)), bustest.New(t, bustest.At(url))
	old, err := a.Epoch(t.Context(), conv)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Epoch(t.Context(), conv); err != nil || again != old {
		t.Fatalf("%v, %v, want %v", again, err, old)
	}
	if other, err := b.Epoch(t.Context(), conv+1); err != nil || other == old {
		t.Fatalf("two streams share an epoch: %v, %v", other, err)
	}
	var wg sync.WaitGroup
	got := make([]event.ID, 8)
	for i := range got {
		wg.Go(func() {
			k := a
			if i%2 == 1 {
				k = b
			}
			var err error
			if got[i], err = k.RenewEpoch(t.Context(), conv, old); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range got {
		if id == old || id != got[0] {
			t.Fatalf("renewed to %v", got)
		}
	}
	if now, err := a.Epoch(t.Context(), conv); err != nil || now != got[0] {
		t.Errorf("%v, %v, want %v", now, err, got[0])
	}
	// Who comes late with the old one changes nothing.
	if now, err := b.RenewEpoch(t.Context(), conv, old); err != nil || now != got[0] {
		t.Errorf("%v, %v, want %v", now, err, got[0])
	}
}

package owner

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// quickPace does in tenths of seconds what a cluster takes its time for.
var quickPace = pace{
	look: 20 * time.Millisecond, open: 100 * time.Millisecond, close: 500 * time.Millisecond,
	rank: 300 * time.Millisecond, settles: 200 * time.Millisecond, mourn: 6 * time.Second,
	handAfter: 600 * time.Millisecond, handEvery: 100 * time.Millisecond, handLimit: 10 * time.Second,
	rollCall: time.Second,
}

// projecting is a process with a bus of its own.
type projecting struct {
	*Process
	kit  *bustest.Kit
	stop func()
}

func projectorOn(t *testing.T, url, name string, change ...func(*Config)) *projecting {
	t.Helper()
	k := bustest.New(t, bustest.WithConfig(func(c *bus.Config) {
		c.URL, c.Process, c.Partitions, c.Replicas = url, name, 4, 1
	}))
	p := open(t, k, change...)
	p.pace = quickPace
	return &projecting{p, k, run(t, p)}
}

// owned are the streams that a process fans out.
func (p *projecting) owned() (all []event.Stream) {
	for _, st := range p.all() {
		if st.termNow() != nil {
			all = append(all, st.s)
		}
	}
	return all
}

func (p *projecting) timelines() (owned, kept int) {
	for _, st := range p.all() {
		if st.s.IsConversation() {
			kept++
			owned += b2i(st.termNow() != nil)
		}
	}
	return owned, kept
}

// shared tells whether every stream is with exactly one of the processes, the timelines
// balanced, and none kept by more than an owner and a standby.
func shared(all ...*projecting) bool {
	owners := map[event.Stream]int{}
	least, most, keep := 1000, 0, 0
	for _, p := range all {
		for _, s := range p.owned() {
			owners[s]++
		}
		owned, kept := p.timelines()
		least, most, keep = min(least, owned), max(most, owned), keep+kept
		if p.Ready() != nil {
			return false
		}
	}
	for _, s := range all[0].bus.Streams() {
		if owners[s] != 1 {
			return false
		}
	}
	return most-least <= 1 && keep == 4*min(len(all), 2)
}

// Projectors that come and go share the streams, and each hand-over goes to one that is warm.
func TestProjectorsShareTheStreams(t *testing.T) {
	at := bustest.Server(t)
	a := projectorOn(t, at, "a")
	settled(t, a.Process)
	s := write(t, a.kit, a.kit.NewWriter(event.ID{1}), 20)
	b := projectorOn(t, at, "b")
	bustest.Eventually(t, "two share", func() bool { return shared(a, b) })
	if n := a.count.handovers.Load(); n > 3 { // two of four timelines, and people or presence
		t.Errorf("%d hand-overs for one that came", n)
	}
	c := projectorOn(t, at, "c")
	bustest.Eventually(t, "three share", func() bool { return shared(a, b, c) })
	if n := a.count.handovers.Load() + b.count.handovers.Load(); n > 6 {
		t.Errorf("%d hand-overs for two that came", n)
	}
	write(t, a.kit, a.kit.NewWriter(event.ID{2}), 5)
	for _, p := range []*projecting{a, b, c} {
		if st := p.stream(s); st != nil {
			bustest.Eventually(t, "folded", func() bool { return st.view.Folded() == 26 })
		}
	}
	// Who goes with a goodbye leaves what he owned to others, and nothing else moves.
	before := map[*projecting][]event.Stream{b: b.owned(), c: c.owned()}
	gone := a.owned()
	a.stop()
	left := time.Now()
	bustest.Eventually(t, "the others own it", func() bool {
		n := 0
		for _, p := range []*projecting{b, c} {
			n += len(p.owned())
		}
		return n == 6
	})
	t.Logf("%d streams were taken over %s after the goodbye ended", len(gone), time.Since(left))
	for p, had := range before {
		for _, s := range had {
			if !slices.Contains(p.owned(), s) {
				t.Errorf("%s left its owner", s)
			}
		}
	}
	bustest.Eventually(t, "the two share again", func() bool { return shared(b, c) })
}

// A process that dies is followed by its standby, within the lease's time and a moment.
func TestAStandbyTakesOverFromTheDead(t *testing.T) {
	at := bustest.Server(t)
	cut := bustest.NewProxy(t, at)
	a := projectorOn(t, cut.URL(), "a")
	settled(t, a.Process)
	s := write(t, a.kit, a.kit.NewWriter(event.ID{1}), 20)
	b := projectorOn(t, at, "b")
	bustest.Eventually(t, "two share", func() bool { return shared(a, b) })
	first := firstTerms(t, b.kit, a.bus.Process())
	cut.Cut() // as a process that is stopped: it says nothing more, and hears nothing
	died := time.Now()
	bustest.Eventually(t, "the other owns everything", func() bool { return len(b.owned()) == 6 })
	t.Logf("all was taken over %s after the death; first term heard after %s", time.Since(died), first().Sub(died))
	if terms := a.owned(); len(terms) == 0 {
		t.Error("the paused process has no term to end")
	}
	write(t, b.kit, b.kit.NewWriter(event.ID{2}), 5)
	// It wakes, and finds that others own what it did: no term of its own is left, and
	// none of them is the later one.
	cut.Mend()
	woke := time.Now()
	bustest.Eventually(t, "its terms are over", func() bool {
		for _, st := range a.all() {
			if t, other := st.termNow(), b.stream(st.s).termNow(); t != nil && other != nil {
				return false
			}
		}
		return true
	})
	t.Logf("the paused one's terms ended %s after it woke", time.Since(woke))
	bustest.Eventually(t, "they share again", func() bool { return shared(a, b) })
	bustest.Eventually(t, "folded", func() bool { return a.stream(s).view.Folded() == 26 && b.stream(s).view.Folded() == 26 })
	da, _, erra := a.View(s).Digest()
	db, _, errb := b.View(s).Digest()
	if erra != nil || errb != nil || da != db {
		t.Errorf("views differ: %s, %s; %v, %v", da, db, erra, errb)
	}
}

// firstTerms gives the time at which the first beat with a new term of another process was
// heard.
func firstTerms(t *testing.T, k *bustest.Kit, but string) func() time.Time {
	var mu sync.Mutex
	var at time.Time
	known := map[uint32]uint64{}
	stop, err := k.ReceiveProjectorBeats(func(data []byte) {
		mu.Lock()
		defer mu.Unlock()
		b, err := parseBeat(data)
		if err != nil || b.Process == but {
			return
		}
		for _, s := range b.Streams {
			if r := s.GetTerm().GetRevision(); r > known[s.Stream] {
				if known[s.Stream] = r; at.IsZero() {
					at = time.Now()
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	bustest.Eventually(t, "a beat", func() bool { mu.Lock(); defer mu.Unlock(); return len(known) > 0 })
	mu.Lock()
	at = time.Time{}
	mu.Unlock()
	return func() time.Time {
		bustest.Eventually(t, "a new term is told", func() bool { mu.Lock(); defer mu.Unlock(); return !at.IsZero() })
		mu.Lock()
		defer mu.Unlock()
		return at
	}
}

// Where beats are lost nothing changes hands.
func TestLostBeatsMoveNothing(t *testing.T) {
	at := bustest.Server(t)
	a := projectorOn(t, at, "a")
	settled(t, a.Process)
	b := projectorOn(t, at, "b")
	bustest.Eventually(t, "two share", func() bool { return shared(a, b) })
	terms := func() map[string]uint64 {
		all := map[string]uint64{}
		for _, p := range []*projecting{a, b} {
			for _, st := range p.all() {
				if t := st.termNow(); t != nil {
					all[p.bus.Process()+" "+st.s.String()] = t.Revision<<8 + t.Start
				}
			}
		}
		return all
	}
	was, handed := terms(), a.count.handovers.Load()+b.count.handovers.Load()
	a.stopHears()
	bustest.Eventually(t, "a hears nobody", func() bool { return a.others.Load() == 0 })
	// It believes that all is its own now, and looks many times.
	bustest.Eventually(t, "a is assigned everything", func() bool {
		return !slices.ContainsFunc(a.bus.Streams(), func(s event.Stream) bool { return a.duty(s).rank != 0 })
	})
	stop, err := a.kit.ReceiveProjectorBeats(a.hearProjector)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	bustest.Eventually(t, "a hears again", func() bool { return a.others.Load() == 1 && shared(a, b) })
	is := terms()
	for s, r := range was {
		if is[s] != r {
			t.Errorf("%s: term %d became %d", s, r, is[s])
		}
	}
	if n := a.count.handovers.Load() + b.count.handovers.Load(); n != handed {
		t.Errorf("%d hand-overs", n-handed)
	}
}

// A stream is handed over only to who is warm for it.
func TestNothingIsHandedToTheCold(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	p.pace = quickPace
	run(t, p)
	settled(t, p)
	var mu sync.Mutex
	warm := false
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { // another projector, by its beats
		for pause(ctx, nil, 100*time.Millisecond) {
			b := &frame.ProjectorBeat{Process: "other"}
			mu.Lock()
			for _, s := range k.Streams() {
				b.Streams = append(b.Streams, &frame.ProjectorStream{Stream: uint32(s), Warm: warm && s != event.People, Folded: 1})
			}
			mu.Unlock()
			data, err := proto.Marshal(b)
			if err != nil {
				t.Error(err)
				return
			}
			p.hearProjector(data)
		}
	})
	assigned := func() (n int) {
		for _, s := range k.Streams() {
			n += b2i(p.duty(s).place.owner == "other" && time.Since(p.duty(s).since) > 3*quickPace.handAfter)
		}
		return n
	}
	bustest.Eventually(t, "streams are assigned to the other", func() bool { return assigned() > 0 })
	if n := p.count.handovers.Load(); n != 0 {
		t.Fatalf("%d were handed to one that is cold", n)
	}
	mu.Lock()
	warm = true
	mu.Unlock()
	bustest.Eventually(t, "one is handed over", func() bool { return p.count.handovers.Load() > 0 })
	// It does not take the lease, so it comes back.
	cancel()
	bustest.Eventually(t, "all is back", func() bool { return p.Ready() == nil })
}

package e2e

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// crowd is people on the edges of a rig, who talk all the time.
func crowd(t *testing.T, r *e2etest.Rig, window int, edges ...*e2etest.Edge) *e2etest.World {
	t.Helper()
	w := e2etest.NewWorld(t, random(t).Uint64())
	ids := edges[0].Register(t, 6)
	w.Populate(ids, window)
	w.Phones(ids, 3)
	w.Everywhere(edges...)
	w.Await(200, nil)
	return w
}

// lasting runs f at every tick until the duration of the load has passed.
func lasting(every time.Duration, f func()) {
	end := time.After(*flagDuration)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
			f()
		}
	}
}

// dice is a source of choices for hooks, which are called from anywhere.
type dice struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	left map[uint32]int // of stretches that have begun
}

// stretch is true for up to 40 calls of one kind in a row, and begins to be once in n.
func (d *dice) stretch(kind uint32, n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == nil {
		d.left = map[uint32]int{}
	}
	if d.left[kind] == 0 && d.rnd.IntN(n) == 0 {
		d.left[kind] = 1 + d.rnd.IntN(40)
	}
	lose := d.left[kind] > 0
	if lose {
		d.left[kind]--
	}
	return lose
}

func (d *dice) oneIn(n int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rnd.IntN(n) == 0
}

// TestFramesDropped loses frames at random: outcomes and deliveries, to both nodes.
func TestFramesDropped(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	a, b := r.Edge("a"), r.Edge("b")
	w := crowd(t, r, 8, a, b)
	d := &dice{rnd: random(t)}
	o.Losing(func(event.ID, *frame.Frame) bool { return d.oneIn(20) })
	lasting(50*time.Millisecond, func() { w.Check() })
	r.Eventually("20 frames were lost", func() bool { return o.Dropped.Load() >= 20 })
	w.Await(50, nil)
	w.Finish()
	t.Logf("%d of %d frames were lost", o.Dropped.Load(), o.Sent.Load())
}

// TestLastFrameBeforeSilence loses a frame after which nothing more happens: the
// message must come all the same, and so must the sender's ack.
func TestLastFrameBeforeSilence(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	a, b := r.Edge("a"), r.Edge("b")
	ids := a.Register(t, 2)
	got := make(chan e2etest.Packet, 16)
	from, err := e2etest.Open(a.Addr, e2etest.Name(0), e2etest.DeviceWindows, func(e2etest.Packet) {})
	if err != nil {
		t.Fatal(err)
	}
	defer from.End()
	to, err := e2etest.Open(b.Addr, e2etest.Name(1), e2etest.DeviceWindows, func(p e2etest.Packet) {
		if p.Command == e2etest.CmdMessage {
			got <- p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer to.End()
	if id, err := from.Say(ids[1], "first"); err != nil || id != 1 {
		t.Fatalf("id %d, %v", id, err)
	}
	<-got
	for i, at := range []*e2etest.Edge{b, a, b, a} {
		var once sync.Once
		life := at.Node.Life()
		before := o.Dropped.Load()
		o.Losing(func(to event.ID, f *frame.Frame) (lose bool) {
			if to == life && f.Stream >= uint32(event.Conversation0) && len(f.Deliveries)+len(f.Outcomes) > 0 {
				once.Do(func() { lose = true })
			}
			return lose
		})
		want := uint32(i + 2)
		if id, err := from.Say(ids[1], "before a silence"+string(rune('0'+i))); err != nil || id != want {
			t.Fatalf("message %d has id %d: %v", want, id, err)
		}
		select {
		case p := <-got:
			if p.Body.Num(3) != want {
				t.Errorf("id %d was pushed, waited for %d", p.Body.Num(3), want)
			}
		case <-time.After(e2etest.Patience):
			t.Fatalf("message %d never came", want)
		}
		if n := o.Dropped.Load() - before; n != 1 {
			t.Errorf("message %d: %d frames were lost, it should be one", want, n)
		}
	}
	if len(got) > 0 {
		t.Errorf("%d messages were pushed twice", len(got))
	}
}

// TestOwnerChange takes the owner away in mid-traffic, once with a goodbye and once
// without; another takes over.
func TestOwnerChange(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	first := r.Owner("first")
	a, b := r.Edge("a"), r.Edge("b")
	w := crowd(t, r, 8, a, b)
	second := r.Owner("second")
	w.Await(50, nil)
	first.Stop()
	w.Await(200, nil)
	third := r.Owner("third")
	w.Await(50, nil)
	second.Link.Sever(true)
	w.Await(200, nil)
	w.Finish()
	terms, _ := r.Frames.Counts()
	t.Logf("%d changes of term; frames of each owner: %d, %d, %d", terms, first.Sent.Load(), second.Sent.Load(), third.Sent.Load())
	if terms < e2etest.RigPartitions || second.Sent.Load() == 0 || third.Sent.Load() == 0 {
		t.Error("the owner has not changed twice")
	}
}

// TestTwoOwners holds the links of an owner until another has its leases. When they are
// let go it does not know, so that two fan out one stream at the same time.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	owners := []*e2etest.Owning{r.Owner("first"), r.Owner("second")}
	a, b := r.Edge("a"), r.Edge("b")
	w := crowd(t, r, 8, a, b)
	phones := w.People[6:]
	join := func(some []*e2etest.Person) {
		for _, p := range some {
			if err := errors.Join(p.Connect(p.At), p.Sync(false)); err != nil {
				t.Fatal(err)
			}
		}
	}
	held, end := 0, time.Now().Add(*flagDuration)
	for _, stale := r.Frames.Counts(); held == 0 || time.Now().Before(end) || stale == 0 && held < 20; _, stale = r.Frames.Counts() {
		// Phones leave before and come back at different moments after: then they are
		// attached at one of the two, and the other knows nothing of them.
		for _, p := range phones {
			p.Leave()
		}
		o := r.Foremost(owners...)
		o.Link.Hold()
		held++
		r.Supplanted(o)
		join(phones[:1])
		w.Await(50, nil)
		o.Link.Mend()
		join(phones[1:])
		w.Await(100, nil)
	}
	w.Finish()
	terms, stale := r.Frames.Counts()
	t.Logf("an owner was held %d times; %d changes of term, %d words of an owner that was none any more", held, terms, stale)
	if terms == 0 || stale == 0 {
		t.Errorf("two owners never fanned out at once")
	}
}

// TestNodeCutOff cuts a node off: shortly, so that it rests and goes on, and then for
// so long that it is declared lost and begins a new life.
func TestNodeCutOff(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	r.Owner("owner")
	a, b := r.Edge("a"), r.Edge("b")
	w := crowd(t, r, 1, a, b) // it takes half a minute

	life := b.Node.Life()
	b.Link.Sever(false)
	r.Eventually("the node rests", func() bool {
		return r.Lines.Count("node does not hear itself", "at=b") > 0
	})
	w.Await(10, nil) // the others go on; not so many that a slow machine has the node declared lost
	b.Link.Mend()
	r.Eventually("the node works again", func() bool { return b.Node.Ready() == nil })
	if b.Node.Life() != life {
		t.Error("a short cut ended the node's life")
	}
	for _, p := range w.People {
		select {
		case <-p.Session.Done:
			t.Errorf("%s lost the connection in a short cut: %v", p.Name, p.Session.Err)
		default:
		}
	}
	w.Await(100, nil)

	b.Link.Sever(false)
	r.Eventually("the node is declared lost", func() bool {
		ans, err := a.Node.Ask(t.Context(), &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
		return err == nil && !slices.ContainsFunc(ans.GetLives().GetLives(), func(l *query.Life) bool { return event.ToID(l.Life) == life })
	})
	w.Await(100, nil)
	b.Link.Mend()
	r.Eventually("the node has a new life", func() bool { return b.Node.Life() != life && b.Node.Ready() == nil })
	for _, p := range w.People {
		if p.At == b.Addr {
			<-p.Session.Done
		}
	}
	if err := w.Returned(); err != nil {
		t.Fatal(err)
	}
	w.Await(200, nil)
	w.Finish()
	if r.Lines.Count("declaring its life lost") == 0 {
		t.Error("nobody declared the node lost")
	}
}

// TestConnectionsCut breaks links of nodes and owners again and again, without ends
// that anybody would notice for long.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	a, b := r.Edge("a"), r.Edge("b")
	w := crowd(t, r, 8, a, b)
	rnd := random(t)
	cuts := 0
	lasting(200*time.Millisecond, func() {
		l := e2etest.AnyOf(rnd, []e2etest.Links{o.Link, a.Link, b.Link})
		l.Sever(false)
		l.Mend()
		cuts++
		w.Check()
	})
	w.Await(50, nil)
	w.Finish()
	if cuts == 0 {
		t.Error("nothing was cut")
	}
}

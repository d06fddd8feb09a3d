package e2e

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// crowd is people on the edges of a rig, who talk all the time.
func crowd(t *testing.T, r *rig, window int, edges ...*edge) *world {
	t.Helper()
	w := newWorld(t, random(t).Uint64())
	ids := edges[0].register(t, 6)
	w.populate(ids, window)
	w.phones(ids, 3)
	w.everywhere(edges...)
	w.await(200, nil)
	return w
}

// finish stops the writing and holds everything against the model.
func (w *world) finish() {
	w.t.Helper()
	w.quiet(nil)
	w.settle()
	w.audit()
	for _, p := range w.people {
		p.leave()
	}
	w.t.Logf("%d acked, %d pushed, %d sent again", w.acked, w.pushes, w.repeats)
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
	r := newRig(t)
	o := r.owner("owner")
	a, b := r.edge("a"), r.edge("b")
	w := crowd(t, r, 8, a, b)
	d := &dice{rnd: random(t)}
	o.losing(func(event.ID, *frame.Frame) bool { return d.oneIn(20) })
	lasting(50*time.Millisecond, func() { w.check() })
	r.eventually("20 frames were lost", func() bool { return o.dropped.Load() >= 20 })
	w.await(50, nil)
	w.finish()
	t.Logf("%d of %d frames were lost", o.dropped.Load(), o.sent.Load())
}

// TestLastFrameBeforeSilence loses a frame after which nothing more happens: the
// message must come all the same, and so must the sender's ack.
func TestLastFrameBeforeSilence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := r.owner("owner")
	a, b := r.edge("a"), r.edge("b")
	ids := a.register(t, 2)
	got := make(chan packet, 16)
	from, err := open(a.addr, name(0), deviceWindows, func(packet) {})
	if err != nil {
		t.Fatal(err)
	}
	defer from.close()
	to, err := open(b.addr, name(1), deviceWindows, func(p packet) {
		if p.command == cmdMessage {
			got <- p
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	if id, err := from.say(ids[1], "first"); err != nil || id != 1 {
		t.Fatalf("id %d, %v", id, err)
	}
	<-got
	for i, at := range []*edge{b, a, b, a} {
		var once sync.Once
		life := at.node.Life()
		before := o.dropped.Load()
		o.losing(func(to event.ID, f *frame.Frame) (lose bool) {
			if to == life && f.Stream >= uint32(event.Conversation0) && len(f.Deliveries)+len(f.Outcomes) > 0 {
				once.Do(func() { lose = true })
			}
			return lose
		})
		want := uint32(i + 2)
		if id, err := from.say(ids[1], "before a silence"+string(rune('0'+i))); err != nil || id != want {
			t.Fatalf("message %d has id %d: %v", want, id, err)
		}
		select {
		case p := <-got:
			if p.body.Num(3) != want {
				t.Errorf("id %d was pushed, waited for %d", p.body.Num(3), want)
			}
		case <-time.After(patience):
			t.Fatalf("message %d never came", want)
		}
		if n := o.dropped.Load() - before; n != 1 {
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
	r := newRig(t)
	first := r.owner("first")
	a, b := r.edge("a"), r.edge("b")
	w := crowd(t, r, 8, a, b)
	second := r.owner("second")
	w.await(50, nil)
	first.stop()
	w.await(200, nil)
	third := r.owner("third")
	w.await(50, nil)
	second.link.sever(true)
	w.await(200, nil)
	w.finish()
	terms, _ := r.frames.counts()
	t.Logf("%d changes of term; frames of each owner: %d, %d, %d", terms, first.sent.Load(), second.sent.Load(), third.sent.Load())
	if terms < rigPartitions || second.sent.Load() == 0 || third.sent.Load() == 0 {
		t.Error("the owner has not changed twice")
	}
}

// TestTwoOwners takes leases away from owners that do not notice at once, so that
// two fan out one stream at the same time.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.owner("first")
	r.owner("second")
	a, b := r.edge("a"), r.edge("b")
	w := crowd(t, r, 8, a, b)
	nc, err := nats.Connect(r.nats.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	leases, err := js.Stream(t.Context(), "KV_leases")
	if err != nil {
		t.Fatal(err)
	}
	phones := w.people[6:]
	taken, both := 0, time.Now().Add(patience)
	for _, stale := r.frames.counts(); stale == 0 && time.Now().Before(both) || taken == 0; _, stale = r.frames.counts() {
		ticks := 0
		lasting(20*time.Millisecond, func() {
			// Phones leave before and come back at different moments after: then they are
			// attached at one of the two, and the other knows nothing of them.
			ticks++
			switch at := ticks % 40; {
			case at == 1:
				if err := leases.Purge(t.Context()); err != nil {
					t.Error(err)
				}
				taken++
			case at == 35:
				for _, p := range phones {
					p.leave()
				}
			case at >= 10 && at < 30 && at%10 == 0 && ticks > 40:
				for i := at/10 - 1; i < len(phones); i += 2 {
					if err := errors.Join(phones[i].connect(phones[i].at), phones[i].sync(false)); err != nil {
						t.Error(err)
					}
				}
			}
			w.check()
		})
	}
	if err := w.returned(); err != nil {
		t.Fatal(err)
	}
	w.await(50, nil)
	w.finish()
	terms, stale := r.frames.counts()
	t.Logf("leases were taken away %d times; %d changes of term, %d frames of an owner that was none any more", taken, terms, stale)
	if terms == 0 || stale == 0 {
		t.Errorf("two owners never fanned out at once")
	}
}

// TestNodeCutOff cuts a node off: shortly, so that it rests and goes on, and then for
// so long that it is declared lost and begins a new life.
func TestNodeCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.owner("owner")
	a, b := r.edge("a"), r.edge("b")
	w := crowd(t, r, 1, a, b) // it takes half a minute

	life := b.node.Life()
	b.link.sever(false)
	r.eventually("the node rests", func() bool {
		return r.lines.count("node does not hear itself") == 1
	})
	w.await(100, nil) // the others go on
	b.link.mend()
	r.eventually("the node works again", func() bool { return b.node.Ready() == nil })
	if b.node.Life() != life {
		t.Error("a short cut ended the node's life")
	}
	for _, p := range w.people {
		select {
		case <-p.session.done:
			t.Errorf("%s lost the connection in a short cut: %v", p.name, p.session.err)
		default:
		}
	}
	w.await(100, nil)

	b.link.sever(false)
	r.eventually("the node is declared lost", func() bool {
		ans, err := a.node.Ask(t.Context(), &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
		return err == nil && !slices.ContainsFunc(ans.GetLives().GetLives(), func(l *query.Life) bool { return event.ToID(l.Life) == life })
	})
	w.await(100, nil)
	b.link.mend()
	r.eventually("the node has a new life", func() bool { return b.node.Life() != life && b.node.Ready() == nil })
	for _, p := range w.people {
		if p.at == b.addr {
			<-p.session.done
		}
	}
	if err := w.returned(); err != nil {
		t.Fatal(err)
	}
	w.await(200, nil)
	w.finish()
	if r.lines.count("declaring its life lost") == 0 {
		t.Error("nobody declared the node lost")
	}
}

// TestConnectionsCut breaks links of nodes and owners again and again, without ends
// that anybody would notice for long.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	o := r.owner("owner")
	a, b := r.edge("a"), r.edge("b")
	w := crowd(t, r, 8, a, b)
	rnd := random(t)
	cuts := 0
	lasting(200*time.Millisecond, func() {
		l := anyOf(rnd, []*link{o.link, a.link, b.link})
		l.sever(false)
		l.mend()
		cuts++
		w.check()
	})
	w.await(50, nil)
	w.finish()
	if cuts == 0 {
		t.Error("nothing was cut")
	}
}

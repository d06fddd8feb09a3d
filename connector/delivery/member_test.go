package delivery_test

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus/bustest"
	"godwit/connector/delivery"
	"godwit/projections/owner"
	"godwit/schema/event"
)

// Sessions come and go all the time while frames are lost and messages flow: what
// each one is promised between its Join and its Leave holds.
func TestMembersComeAndGo(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a, b := w.node(k), w.node(k)
	users := userRange(1, 8)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(3, 4))
	k.DropPushes(func(_ event.ID, data []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(100) < 5 && pushOf(data).GetFrame() != nil
	})
	var ended atomic.Bool
	counted, wait := w.traffic(6000, 60, users, a, b)
	var storm sync.WaitGroup
	for i := range 8 {
		n := []*node{a, b}[i%2]
		rnd := rand.New(rand.NewPCG(uint64(i), 5))
		storm.Go(func() {
			for round := 0; !ended.Load(); round++ {
				m := n.join(users[rnd.IntN(len(users))])
				switch stay := rnd.IntN(3); stay {
				case 0: // leaves in the middle of its attach
				case 1:
					bustest.Eventually(t, "attached", m.isAttached)
				default: // stays while some dozens of messages pass
					until := counted.Load() + int64(rnd.IntN(200))
					bustest.Eventually(t, "traffic", func() bool { return ended.Load() || counted.Load() >= until })
				}
				m.leave()
			}
		})
	}
	var stay []*member
	for i, u := range users {
		stay = append(stay, []*node{a, b}[i%2].join(u))
	}
	wait()
	ended.Store(true)
	storm.Wait()
	k.DropPushes(nil)
	w.settled(k, a, b)
	w.check(k, w.all()...)
	t.Logf("%d sessions, node a %+v, node b %+v", len(w.all()), a.Stats(), b.Stats())
	if len(w.all()) < 100 || k.DroppedPushes.Load() == 0 {
		t.Errorf("no storm: %d sessions, %d frames lost", len(w.all()), k.DroppedPushes.Load())
	}
	for _, m := range stay {
		m.leave()
	}
	if s := a.Stats(); s.Users != 0 || s.Sessions != 0 {
		t.Errorf("after all have left: %+v", s)
	}
}

// While the attach of a user is under way his frames wait; a second session that
// joins meanwhile gets them once as well, and is told that it is attached.
func TestFramesWaitBehindAnAttach(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	other := a.join(1)
	w.settled(k, a)
	for range 200 {
		first := a.joinFirst(2)
		a.send(1, 2, nil)
		second := a.join(2)
		a.send(1, 2, nil)
		bustest.Eventually(t, "both attached", func() bool { return first.isAttached() && second.isAttached() })
		a.sendWait(2, 1)
		first.leave()
		second.leave()
	}
	w.settled(k, a)
	w.check(k, w.all()...)
	if other.count() != 600 {
		t.Errorf("the other one has %d messages", other.count())
	}
}

// An attach request that the owner never gets is sent again.
func TestLostAttachIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	ghost := newGhost(t, k, a)
	ghost.lead()
	bustest.Eventually(t, "the node listens to the other term", func() bool { return ghost.attached.Load() >= 2 && a.Ready() == nil })
	ghost.loseAttaches(2)
	m := a.joinFirst(2)
	a.sendWait(1, 2)
	bustest.Eventually(t, "attached", m.isAttached)
	a.sendWait(1, 2)
	w.settled(k, a)
	w.check(k, m)
	if m.count() != 2 {
		t.Errorf("%d messages", m.count())
	}
	if ghost.lost.Load() < 2 {
		t.Error("no attach was lost")
	}
}

// An owner that has other users attached than the node says is found by the digest.
func TestDigestHealsWrongUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k)
	m := a.joinFirst(2)
	w.settled(k, a)
	ghost := newGhost(t, k, a)
	ghost.lead()
	s := a.stream(1, 2)
	bustest.Eventually(t, "the node listens to the other term", func() bool { return ghost.attached.Load() >= 2 && a.Ready() == nil })
	// Behind the node's back the owner forgets the user.
	before := a.Stats().Mismatches
	ghost.detach(s, 2)
	a.sendWait(1, 2)
	bustest.Eventually(t, "the difference is found", func() bool { return a.Stats().Mismatches > before })
	a.sendWait(1, 2)
	bustest.Eventually(t, "delivered", func() bool { return m.count() > 0 })
	w.settled(k, a)
	a.sendWait(1, 2)
	w.settled(k, a)
	if m.count() < 2 {
		t.Errorf("%d messages after the healing", m.count())
	}
}

// A session whose waiting deliveries grow over the limit is closed, not left with a
// hole.
func TestTooMuchBehindAnAttachClosesTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k, func(c *delivery.Config) { c.WithLimits(8<<20, 2000) })
	a.join(1)
	w.settled(k, a)
	ghost := newGhost(t, k, a)
	ghost.lead()
	bustest.Eventually(t, "the node listens to the other term", func() bool { return ghost.attached.Load() >= 2 && a.Ready() == nil })
	ghost.loseAttaches(1 << 30)
	m := a.joinFirst(2)
	for range 40 {
		a.send(1, 2, nil)
	}
	bustest.Eventually(t, "closed", m.isClosed)
	if reason, _ := a.rec.ended(m.session); reason != event.EndReason_END_REASON_SLOW {
		t.Errorf("closed for %s", reason)
	}
}

// More than fits behind a refill is dropped and made up by the next one.
func TestTooMuchBehindARefillIsAHoleAgain(t *testing.T) {
	w := newWorld(t)
	k := bustest.New(t)
	w.owner(k)
	a := w.node(k, func(c *delivery.Config) { c.WithLimits(500, 1<<20) })
	b := w.node(k)
	m := a.joinFirst(2)
	w.settled(k, a, b)
	var nth atomic.Int64
	k.DropPushes(func(life event.ID, data []byte) bool {
		return life == a.Life() && len(pushOf(data).GetFrame().GetDeliveries()) > 0 && nth.Add(1)%10 == 0
	})
	_, wait := w.traffic(3000, 50, userRange(1, 4), b)
	wait()
	k.DropPushes(nil)
	w.settled(k, a, b)
	w.check(k, m)
	if s := a.Stats(); s.FramesDropped == 0 {
		t.Errorf("nothing was over the limit: %+v", s)
	}
}

// A node that the owners have forgotten comes back with all it missed.
func TestForgottenNodeComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := externalServer(t)
	k, far := process(t, url, "near"), process(t, url, "far")
	w.owner(k, func(c *owner.Config) { c.ForgetAfter = 1500 * time.Millisecond })
	var cut atomic.Bool
	a, b := w.node(k), w.node(far, func(c *delivery.Config) { c.WithMute(cut.Load) })
	m := b.joinFirst(2)
	w.settled(k, a, b)
	life := b.Life()
	k.DropPushes(func(to event.ID, _ []byte) bool { return cut.Load() && to == life })
	cut.Store(true)
	refills := b.Stats().Refills
	_, wait := w.traffic(500, 20, userRange(1, 4), a)
	wait()
	bustest.Eventually(t, "the node is not heard any more", func() bool { return b.Ready() != nil })
	cut.Store(false)
	w.settled(k, a, b)
	w.check(k, m)
	if b.Stats().Refills == refills {
		t.Error("nothing was refilled")
	}
}

package cluster

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/event"
)

// TestOwnerKilled kills owners under load; others take over.
func TestOwnerKilled(t *testing.T) {
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		all := []*e2etest.Owning{c.own("o1"), c.own("o2"), c.own("o3")}
		c.Edge("a")
		c.Edge("b")
		w := c.populate()
		for _, o := range all[:2] {
			began, owned := time.Now(), 0
			for _, r := range c.Frames.Reigns() {
				if r.Owner == o.Name {
					owned++
				}
			}
			o.Kill()
			w.Await(100, nil)
			c.Supplanted(o)
			t.Logf("%s owned %d streams; all were taken over within %v", o.Name, owned, time.Since(began))
			w.Await(100, nil)
		}
		c.finish()
		if terms, _ := c.Frames.Counts(); terms == 0 {
			t.Error("no owner has changed")
		}
	})
}

// TestEdgeKilled kills an edge under load; its clients go elsewhere, and nobody
// stays online there.
func TestEdgeKilled(t *testing.T) {
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		c.own("o1")
		c.own("o2")
		a := c.Edge("a")
		c.Edge("b")
		c.Edge("d")
		w := c.populate()
		c.bury(a)
		a.Kill()
		w.Await(300, nil)
		c.finish()
		if c.Lines.Count("declaring its life lost") == 0 {
			t.Error("nobody declared the edge lost")
		}
	})
}

// TestServerKilled kills the NATS server that leads the fewest streams, and then
// the one that leads a stream that is being written.
func TestServerKilled(t *testing.T) {
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		c.own("o1")
		c.own("o2")
		c.Edge("a")
		c.Edge("b")
		w := c.populate()
		n := c.leading()
		least := c.nats[0]
		for i, s := range c.nats {
			if n[i] < n[least.at] {
				least = s
			}
		}
		t.Logf("streams led: %v", n)
		least.kill()
		w.Await(200, nil)
		least.start(false)
		c.whole()
		w.Await(100, nil)

		stream := event.ConversationStream(c.rnd.IntN(e2etest.RigPartitions)).String()
		s := c.leader(stream)
		began := time.Now()
		s.kill()
		w.Await(200, nil)
		other := c.leader(stream)
		t.Logf("%s of %s is led by %s after %v", stream, s.name, other.name, time.Since(began))
		s.start(false)
		c.whole()
		c.finish()
		if other == s {
			t.Error("the stream has the same leader as before")
		}
	})
}

// TestAllServersKilled kills all of NATS at once. Clients stay, what they send is
// held and acked when there is a log again, and who logs in meanwhile is told to come
// again.
func TestAllServersKilled(t *testing.T) {
	rounds(t, func(t *testing.T) { allKilled(t, newCluster(t), false) })
}

// TestAllServersKilledNine is the same with processes and kill -9.
func TestAllServersKilledNine(t *testing.T) {
	rounds(t, func(t *testing.T) { allKilled(t, newClusterOf(t, true), true) })
}

func allKilled(t *testing.T, c *cluster, processes bool) {
	c.own("o1")
	c.own("o2")
	a, b := c.Edge("a"), c.Edge("b")
	w := c.populate()
	stays := w.Stays()
	for _, s := range c.nats {
		s.kill()
	}
	c.noQuorum(a)
	stays("without a log")
	for _, i := range c.rnd.Perm(3) {
		c.nats[i].start(processes)
	}
	began := time.Now()
	w.Await(100, nil)
	t.Logf("100 acks %v after the servers were back", time.Since(began))
	stays("when the log was back")
	c.whole()
	w.Await(100, nil)
	c.finish()
	_ = b
}

// noQuorum waits until an edge says that the log takes nothing, and holds what it does
// with clients meanwhile against what is promised.
func (c *cluster) noQuorum(e *e2etest.Edge) {
	c.T.Helper()
	c.says(e.Name, e.Server.Ready)
	w := c.world
	acked := w.Stalled(c.T) // what was on its way is taken in
	began := time.Now()
	_, err := e2etest.Open(e.Addr, e2etest.Name(7), e2etest.DeviceAndroid, func(e2etest.Packet) {})
	if !errors.Is(err, e2etest.ErrUnavailable) {
		c.T.Errorf("a login while there is no log: %v", err)
	}
	c.T.Logf("a login without a log was answered after %v", time.Since(began))
	if n := w.InFlight(); n == 0 {
		c.T.Error("nobody sends")
	}
	w.Mu.Lock()
	defer w.Mu.Unlock()
	if w.Acked != acked {
		c.T.Errorf("%d sends were acked without a log", w.Acked-acked)
	}
}

// TestQuorumLost leaves one server of three: it is there, and takes nothing.
func TestQuorumLost(t *testing.T) {
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.own("o1")
		c.own("o2")
		a := c.Edge("a")
		c.Edge("b")
		w := c.populate()
		stays := w.Stays()
		down := c.rnd.Perm(3)[:2]
		for _, i := range down {
			c.nats[i].kill()
		}
		began := time.Now()
		c.says("o1", o.Ready)
		c.says("a", a.Server.Ready)
		t.Logf("said after %v", time.Since(began))
		c.noQuorum(a)
		time.Sleep(5 * time.Second) // longer than anything here waits for one answer
		stays("without a quorum")
		for _, i := range down {
			c.nats[i].start(false)
		}
		began = time.Now()
		w.Await(100, nil)
		t.Logf("100 acks %v after the servers were back", time.Since(began))
		stays("when the quorum was back")
		c.whole()
		c.finish()
	})
}

// TestEdgeCutOff cuts an edge off from NATS for so long that its life is declared
// lost, while its clients stay connected to it.
func TestEdgeCutOff(t *testing.T) {
	t.Parallel() // it waits most of the time
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		c.own("o1")
		c.own("o2")
		a := c.Edge("a")
		c.Edge("b")
		w := c.populate()
		life := a.Node.Life()
		quietly := c.rnd.IntN(2) == 0
		if quietly {
			a.Link.Hold() // the connections stay, and nothing comes
		} else {
			a.Link.Sever(false)
		}
		t.Logf("quietly: %v", quietly)
		c.says("a", a.Server.Ready)
		c.bury(a) // a load balancer looks at its readiness
		c.Eventually("the edge is declared lost", func() bool { return c.Lines.Count("declaring its life lost", life.String()) > 0 })
		w.Await(100, nil)
		a.Link.Mend()
		c.Eventually("the edge has a new life", func() bool { return a.Node.Life() != life && a.Server.Ready() == nil })
		c.revive(a)
		w.Await(100, nil)
		c.finish()
		if c.Lines.Count("node does not hear itself", "at=a") == 0 {
			t.Error("the edge did not say that it is cut off")
		}
	})
}

// TestServerCutOff cuts a NATS server off from the other two, with those who are
// connected to it: an edge and an owner with all they have, and others by chance. They go
// to the others.
func TestServerCutOff(t *testing.T) {
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.own("o1")
		c.own("o2")
		a := c.Edge("a")
		c.Edge("b")
		w := c.populate()
		s := c.nats[c.rnd.IntN(3)]
		o.Link.Only(s.at)
		a.Link.Only(s.at)
		c.Eventually("an edge and an owner are at one server", func() bool { return a.Link[s.at].Carries() >= 3 && o.Link[s.at].Carries() >= 3 })
		w.Await(50, nil)
		t.Logf("%s is cut off; streams led: %v", s.name, c.leading())
		s.cut(false)
		a.Link.Mend() // they may go elsewhere now
		o.Link.Mend()
		c.says("a", a.Server.Ready)
		c.says("o1", o.Ready)
		c.Eventually("the edge and the owner have gone to other servers", func() bool {
			return c.Lines.Count("has no part in the cluster") > 0 && a.Server.Ready() == nil && o.Ready() == nil
		})
		w.Await(100, nil) // without the server
		s.mend()
		c.whole()
		w.Await(100, nil)
		c.finish()
	})
}

// TestPaused stops an edge and an owner for half a minute, processes of their own,
// and lets them go on as if nothing had happened.
func TestPaused(t *testing.T) {
	t.Parallel() // it waits most of the time
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		o := c.ownerProcess("o1")
		o.find("readiness", "now=ready")
		c.own("o2")
		c.Edge("a")
		c.Edge("b")
		p := c.edgeProcess("p")
		w := c.populate()
		c.Eventually("people are on the edge that is to rest", func() bool { return p.front.Carries() >= 2 })
		o.signal(syscall.SIGSTOP)
		p.signal(syscall.SIGSTOP)
		c.hide(p)
		began := time.Now()
		c.Eventually("another owner has taken over", func() bool { return len(c.Frames.Reigns()) == 2+e2etest.RigPartitions })
		w.Await(200, nil)
		time.Sleep(*flagPause - time.Since(began))
		w.Await(50, nil)
		o.signal(syscall.SIGCONT)
		p.signal(syscall.SIGCONT)
		p.find("node life is over")
		c.Eventually("the edge that had rested is ready", func() bool { return p.last("readiness") == "ready" })
		c.show(p)
		w.Await(200, nil)
		c.finish()
		if c.Lines.Count("declaring its life lost") == 0 {
			t.Error("nobody declared the resting edge lost")
		}
		// It may hear the new owner before it asks for its leases.
		if o.out.Count("lease lost")+o.out.Count("another process fans out") == 0 {
			t.Error("the resting owner did not say that others own its views")
		}
	})
}

// TestRollingRestart stops and starts every part in turn, in good order, under load.
func TestRollingRestart(t *testing.T) {
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		owners := []*e2etest.Owning{c.own("o1"), c.own("o2")}
		edges := []*e2etest.Edge{c.Edge("a"), c.Edge("b")}
		w := c.populate()
		for _, s := range c.nats {
			s.stop()
			w.Await(30, nil)
			s.start(false)
			c.whole()
		}
		for _, o := range owners {
			o.Leave()
			w.Await(30, nil)
			c.OwnerIn(o.Name, o.Dir)
			w.Await(30, nil)
		}
		for _, e := range edges {
			c.bury(e)
			e.Leave()
			w.Await(30, nil)
			c.Edge(e.Name + "-new")
			w.Await(30, nil)
		}
		c.finish()
		if n := c.Lines.Count("declaring its life lost"); n > 0 {
			t.Errorf("%d edges left without a word", n)
		}
		if n := c.Lines.Count("NodeStopped not logged"); n > 0 {
			t.Errorf("%d edges could not say that they leave", n)
		}
	})
}

// TestTwoOwners holds the links of an owner until another has its leases. When they are
// let go it does not know, and works on for a while.
func TestTwoOwners(t *testing.T) {
	t.Parallel() // it waits most of the time
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		c.own("o1")
		c.own("o2")
		c.Edge("a")
		c.Edge("b")
		w := c.populate()
		held := 0
		for stale := 0; stale == 0 && held < 10; _, stale = c.Frames.Counts() {
			o := c.Foremost(c.owners...)
			o.Link.Hold()
			held++
			c.Supplanted(o)
			w.Await(50, nil)
			o.Link.Mend()
			w.Await(100, nil)
		}
		c.finish()
		terms, stale := c.Frames.Counts()
		t.Logf("an owner was held %d times; %d changes of term, %d words of an owner that was none any more", held, terms, stale)
		if terms == 0 || stale == 0 {
			t.Error("two owners never fanned out at once")
		}
	})
}

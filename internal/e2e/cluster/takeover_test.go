package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/event"
)

// TestTakeOver measures how long it takes until work goes on: from the kill of an owner
// to the first word of another for each of its streams, and from the kill of the NATS
// server that leads a stream to the first ack of a message that was sent after it. It
// prints each time and the medians.
func TestTakeOver(t *testing.T) {
	if *flagRounds < 2 {
		t.Skip("skipped: it measures; with -args -rounds 10 it does")
	}
	times := map[string][]time.Duration{}
	t.Cleanup(func() {
		for _, what := range slices.Sorted(maps.Keys(times)) {
			all := times[what]
			slices.Sort(all)
			t.Logf("%s: median of %d is %v (%v)", what, len(all), median(all), inWords(all))
		}
	})
	note := func(t *testing.T, what string, d time.Duration) {
		t.Logf("%s: %v", what, d.Round(time.Millisecond))
		times[what] = append(times[what], d)
	}
	rounds(t, func(t *testing.T) {
		c := newCluster(t)
		c.own("o1")
		c.own("o2")
		c.own("o3")
		a := c.Edge("a")
		c.Edge("b")
		w := c.populate()
		c.takeOverOfOwner(t, note)
		w.Await(100, nil)
		c.whole()
		for _, orderly := range []bool{true, false} {
			c.takeOverOfLeader(t, a, orderly, note)
			w.Await(100, nil)
			c.whole()
		}
		c.finish()
	})
}

// takeOverOfOwner kills the owner of the most streams.
func (c *cluster) takeOverOfOwner(t *testing.T, note func(*testing.T, string, time.Duration)) {
	before := c.Frames.Reigns()
	o := c.Foremost(c.owners...)
	began := time.Now()
	o.Kill()
	c.Supplanted(o)
	last := began
	for s, r := range c.Frames.Reigns() {
		if before[s].Owner != o.Name {
			continue
		}
		if r.Began.After(last) {
			last = r.Began
		}
		note(t, "owner killed, one stream", r.Began.Sub(began))
	}
	note(t, "owner killed, all its streams", last.Sub(began))
}

// takeOverOfLeader ends the server that leads a conversation's stream.
func (c *cluster) takeOverOfLeader(t *testing.T, e *e2etest.Edge, orderly bool, note func(*testing.T, string, time.Duration)) {
	ids := c.twins.Ids
	stream := event.Direct(ids[0], ids[1]).Stream(e2etest.RigPartitions).String()
	from, err := e2etest.Open(e.Addr, e2etest.Name(6), e2etest.DeviceAndroid, func(e2etest.Packet) {})
	if err != nil {
		t.Fatal(err)
	}
	defer from.End()
	if _, err := from.Say(ids[1], "before"); err != nil {
		t.Fatal(err)
	}
	s := c.leader(stream)
	began := time.Now()
	what := "stream leader killed"
	if orderly {
		what = "stream leader stopped"
		s.stop()
	} else {
		s.kill()
	}
	if _, err := from.Say(ids[1], fmt.Sprint("after ", rand.Uint64())); err != nil {
		t.Fatal(err)
	}
	note(t, what, time.Since(began))
	s.start(false)
}

func median(sorted []time.Duration) time.Duration {
	return sorted[len(sorted)/2].Round(time.Millisecond)
}

func inWords(all []time.Duration) string {
	var words []string
	for _, d := range all {
		words = append(words, d.Round(time.Millisecond).String())
	}
	return strings.Join(words, " ")
}

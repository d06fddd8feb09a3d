package delivery

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/frame"
)

const (
	// SkewLimit is how far a node's clock may be from the others'. What is written carries the
	// writer's time: beyond this it would do harm that lasts.
	SkewLimit = 5 * time.Minute
	// skewTold is from where on the log tells of it.
	skewTold = 30 * time.Second
	// skewStrikes is how many judgements in a row condemn a clock that was right: one alone may
	// come from beats that waited while this process was paused.
	skewStrikes = 3
	// jumpLimit is how far the clock may move against the time that has passed, from one
	// judgement to the next, before it counts as set.
	jumpLimit = time.Minute
	// clocksFor is how long another process's clock is known after its last beat.
	clocksFor = 10 * time.Second
	// maxClocks bounds the processes whose clocks are known.
	maxClocks = 1000
)

// skewOf is how far the own clock is ahead of the others', from how far each of them was ahead
// of it: the median, the own one counted among them, so that one wrong clock of many condemns
// nobody else. With a single other one the two can't both be right, and nobody knows who is.
func skewOf(ahead []time.Duration) time.Duration {
	switch len(ahead) {
	case 0:
		return 0
	case 1:
		return -ahead[0]
	}
	all := append(slices.Clone(ahead), 0)
	slices.Sort(all)
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	if low.Abs() < high.Abs() {
		return -low
	}
	return -high
}

// clockGuard compares the own clock with those of other processes. It has no lock.
type clockGuard struct {
	others  map[string]otherClock // by process
	skew    time.Duration         // of the last judgement
	strikes int
	judged  bool // against somebody, at least once
	wrong   bool
	wall    time.Time     // at the last judgement
	up      time.Duration // at the last judgement
}

type otherClock struct {
	ahead time.Duration
	heard time.Duration // on the clock that nobody sets
}

// hear notes what another process's clock showed.
func (g *clockGuard) hear(process string, ahead, up time.Duration) {
	if g.others == nil {
		g.others = make(map[string]otherClock)
	}
	if _, known := g.others[process]; known || len(g.others) < maxClocks {
		g.others[process] = otherClock{ahead, up}
	}
}

// judge is called once a second, with the clock and the time that has passed since the start.
func (g *clockGuard) judge(wall time.Time, up time.Duration) {
	set := false
	if !g.wall.IsZero() {
		// Round takes away the reading that never jumps.
		if jump := wall.Round(0).Sub(g.wall) - (up - g.up); jump.Abs() > jumpLimit {
			// What was heard before is as far from the clock as it is now.
			for p, o := range g.others {
				o.ahead -= jump
				g.others[p] = o
			}
			set = true
		}
	}
	g.wall, g.up = wall.Round(0), up
	ahead := make([]time.Duration, 0, len(g.others))
	for p, o := range g.others {
		if up-o.heard > clocksFor {
			delete(g.others, p)
			continue
		}
		ahead = append(ahead, o.ahead)
	}
	g.skew = skewOf(ahead)
	if len(ahead) == 0 {
		return // as it was: nobody says otherwise
	}
	if g.skew.Abs() <= SkewLimit {
		g.strikes, g.wrong = 0, false
	} else if g.strikes++; g.strikes >= skewStrikes || set || !g.judged {
		g.wrong = true
	}
	g.judged = true
}

// err says that the clock is wrong; nil: it is not.
func (g *clockGuard) err() error {
	if !g.wrong {
		return nil
	}
	return fmt.Errorf("%w: it is %v %s that of the others", ErrClock, g.skew.Abs().Round(time.Second), direction(g.skew))
}

func direction(skew time.Duration) string {
	if skew < 0 {
		return "behind"
	}
	return "ahead of"
}

// judgeClock looks whether this node may write; n.mu is held.
func (n *Node) judgeClock() {
	was, told := n.clock.wrong, n.clock.skew.Abs() > skewTold
	n.clock.judge(n.cfg.Clock(), n.up())
	skew := n.clock.skew.Round(time.Millisecond)
	switch {
	case n.clock.wrong && !was:
		n.log.Error("clock is wrong: nobody logs in here and nothing is written until it is set right", "skew", skew, "limit", SkewLimit)
	case !n.clock.wrong && was:
		n.log.Info("clock is right again", "skew", skew)
	case skew.Abs() > skewTold && !told:
		n.log.Warn("clock differs from the others'", "skew", skew, "limit", SkewLimit)
	}
}

// onProjectorBeat hears the clocks of processes that keep views.
func (n *Node) onProjectorBeat(data []byte) {
	var b frame.ProjectorBeat
	if proto.Unmarshal(data, &b) != nil || b.At == 0 || b.Process == n.bus.Process() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clock.hear(b.Process, time.UnixMilli(b.At).Sub(n.cfg.Clock().Round(0)), n.up())
}

// Writable is nil while what is appended is stored, else why it waits: the log takes nothing,
// the node does not hear itself, or its clock is wrong. Appends are held, not refused, while
// the log is away.
func (n *Node) Writable() error {
	if err := n.bus.Writable(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.suspended {
		return errDeaf
	}
	return n.clock.err()
}

// Skew is how far this node's clock is ahead of the others'; 0 where there are none.
func (n *Node) Skew() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clock.skew
}

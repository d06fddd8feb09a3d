package delivery

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSkewIsThatOfTheMajority(t *testing.T) {
	for _, c := range []struct {
		ahead []time.Duration // of the others, in minutes
		want  time.Duration
	}{
		{nil, 0},
		{[]time.Duration{10}, -10},
		{[]time.Duration{-10}, 10},
		{[]time.Duration{0, 10}, 0},
		{[]time.Duration{0, -10}, 0},
		{[]time.Duration{10, 10}, -10},
		{[]time.Duration{10, -10}, 0},
		{[]time.Duration{0, 10, 10}, 0},
		{[]time.Duration{10, 10, 10}, -10},
		{[]time.Duration{-9, -10, -11, 0}, 9},
	} {
		for i := range c.ahead {
			c.ahead[i] *= time.Minute
		}
		if got := skewOf(c.ahead); got != c.want*time.Minute {
			t.Errorf("others are %v ahead: %v, want %vm", c.ahead, got, c.want)
		}
	}
}

// While more than half of the clocks, the own one among them, agree within a second, a clock
// of them is not judged wrong, and one far from them is.
func TestTheMajorityDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		right := rapid.IntRange(2, 20).Draw(t, "right")
		wrong := rapid.SliceOfN(rapid.Int64Range(-1e6, 1e6), 0, right-1).Draw(t, "wrong")
		clocks := make([]time.Duration, right)
		for i := range clocks {
			clocks[i] = time.Duration(rapid.IntRange(0, 1000).Draw(t, "ms")) * time.Millisecond
		}
		for _, s := range wrong {
			clocks = append(clocks, time.Duration(s)*time.Second)
		}
		for own := range clocks {
			var ahead []time.Duration
			for i, c := range clocks {
				if i != own {
					ahead = append(ahead, c-clocks[own])
				}
			}
			skew := skewOf(ahead)
			if own < right && skew.Abs() > time.Second {
				t.Fatalf("clock %d of %v is judged %v ahead", own, clocks, skew)
			}
			if own >= right && clocks[own].Abs() > time.Minute && skew.Abs() < clocks[own].Abs()-2*time.Second {
				t.Fatalf("clock %d of %v is judged %v ahead", own, clocks, skew)
			}
		}
	})
}

// clocks is a guard whose clock, and those of two others, a test sets.
type clocks struct {
	clockGuard
	wall time.Time
	up   time.Duration
}

func (c *clocks) second(ahead ...time.Duration) {
	c.wall, c.up = c.wall.Add(time.Second), c.up+time.Second
	for i, a := range ahead {
		c.hear(fmt.Sprint("p", i), a, c.up)
	}
	c.judge(c.wall, c.up)
}

func TestClockGuard(t *testing.T) {
	const far = 10 * time.Minute
	begin := func() *clocks { return &clocks{wall: time.Unix(1_800_000_000, 0)} }
	t.Run("a minute apart does no harm", func(t *testing.T) {
		c := begin()
		for range 100 {
			c.second(time.Minute, time.Minute, -time.Minute)
		}
		if c.err() != nil || c.skew != -time.Minute && c.skew != 0 {
			t.Errorf("%v, %v", c.skew, c.err())
		}
	})
	t.Run("wrong from the start", func(t *testing.T) {
		c := begin()
		c.second()
		if c.err() != nil {
			t.Error("judged by nobody")
		}
		if c.second(far, far); c.err() == nil {
			t.Error("not at the first look")
		}
		if c.second(0, 0); c.err() != nil {
			t.Error("not let go at once")
		}
	})
	t.Run("late beats after a pause", func(t *testing.T) {
		c := begin()
		c.second(0, 0)
		c.wall, c.up = c.wall.Add(far), c.up+far
		if c.second(-far, -far); c.err() != nil {
			t.Error("condemned by beats that waited")
		}
		if c.second(0, 0); c.err() != nil || c.strikes != 0 {
			t.Error("fresh beats don't count")
		}
	})
	t.Run("set forward and back", func(t *testing.T) {
		c := begin()
		c.second(0, 0)
		c.wall = c.wall.Add(far)
		if c.second(); c.err() == nil {
			t.Error("a clock that was set is not noticed before the next beats")
		}
		c.wall = c.wall.Add(-far)
		if c.second(); c.err() != nil {
			t.Errorf("when it is set back: %v", c.err())
		}
	})
	t.Run("drifting away", func(t *testing.T) {
		c := begin()
		c.second(0, 0)
		for i := range skewStrikes {
			if c.err() != nil {
				t.Errorf("after %d looks", i)
			}
			c.second(-far, -far)
		}
		if c.err() == nil {
			t.Error("never")
		}
	})
	t.Run("the others are gone", func(t *testing.T) {
		c := begin()
		c.second(far, far)
		for range 20 {
			c.second()
		}
		if c.err() == nil || len(c.others) != 0 {
			t.Errorf("%v, %d others", c.err(), len(c.others))
		}
	})
	t.Run("many", func(t *testing.T) {
		c := begin()
		for i := range 2 * maxClocks {
			c.hear(fmt.Sprint(i), 0, 0)
		}
		if len(c.others) > maxClocks {
			t.Errorf("%d clocks are kept", len(c.others))
		}
	})
}

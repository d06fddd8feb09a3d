package password

import "time"

// clock is a time that moves when a test says so.
type clock struct{ t time.Time }

func newClock() *clock                    { return &clock{time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time           { return c.t }
func (c *clock) advance(by time.Duration) { c.t = c.t.Add(by) }

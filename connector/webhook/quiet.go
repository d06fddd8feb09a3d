package webhook

import (
	"fmt"
	"strings"
	"time"
)

// Quiet is a stretch of each day in which phones of those who want it so stay quiet: from
// From up to To, as a clock on the wall of Zone shows it. It may go over midnight. With
// From equal to To there is none.
type Quiet struct {
	From, To time.Duration // since midnight, below 24 h
	Zone     *time.Location
}

// ParseQuiet reads "22:00-07:00", or nothing for no such time.
func ParseQuiet(text string) (Quiet, error) {
	if text == "" {
		return Quiet{}, nil
	}
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return Quiet{}, fmt.Errorf("webhook: %q is no stretch of a day", text)
	}
	var q Quiet
	for _, p := range []struct {
		text string
		to   *time.Duration
	}{{from, &q.From}, {to, &q.To}} {
		at, err := time.Parse("15:04", strings.TrimSpace(p.text))
		if err != nil {
			return Quiet{}, fmt.Errorf("webhook: %q is no time of a day", p.text)
		}
		*p.to = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
	return q, nil
}

// String writes what ParseQuiet reads.
func (q Quiet) String() string {
	if q.From == q.To {
		return ""
	}
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return clock(q.From) + "-" + clock(q.To)
}

// At tells whether it is quiet at a moment.
func (q Quiet) At(t time.Time) bool {
	if q.From == q.To {
		return false
	}
	if q.Zone != nil {
		t = t.In(q.Zone)
	}
	hour, minute, second := t.Clock()
	at := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	if q.From < q.To {
		return q.From <= at && at < q.To
	}
	return at >= q.From || at < q.To
}

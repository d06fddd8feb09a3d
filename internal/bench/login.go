package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	imbase "godwit/schema/client/basedefine"
)

// Login is people who connect, log in, leave, and come back.
type Login struct {
	Sessions int // different people
	Duration time.Duration
	Parallel int // connections under way at a time, default Options.Parallel
}

// LoginReport is what a Login found.
type LoginReport struct {
	People    int     `json:"people"`
	Parallel  int     `json:"parallel"`
	Seconds   float64 `json:"measured_seconds"`
	Logins    uint64  `json:"logins"`
	PerSecond float64 `json:"logins_per_second"`
	Took      Latency `json:"connect_to_login"`
	First     float64 `json:"first_round_per_second"` // when nothing is remembered yet
	Failed    uint64  `json:"failed"`
	FailedWhy string  `json:"failed_why,omitempty"`
	ServerCPU float64 `json:"server_cpu_seconds_per_100k,omitempty"`
	OwnCPU    float64 `json:"bench_cpu_seconds_per_100k"`
}

// Err is nil where every login succeeded.
func (r *LoginReport) Err() error {
	if r.Failed > 0 {
		return fmt.Errorf("%d logins failed, the first: %s", r.Failed, r.FailedWhy)
	}
	if r.Logins == 0 {
		return errors.New("nobody logged in")
	}
	return nil
}

// Write prints the report for people.
func (r *LoginReport) Write(w io.Writer) {
	line(w, "%d people, %d connections at a time, measured %.1f s", r.People, r.Parallel, r.Seconds)
	line(w, "logins          %12.0f a second with remembered credentials", r.PerSecond)
	line(w, "first round     %12.0f a second", r.First)
	line(w, "connect to login p50 %7.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Took.P50, r.Took.P95, r.Took.P99, r.Took.Max)
	line(w, "failed          %12d", r.Failed)
	if r.ServerCPU > 0 {
		line(w, "server          %12.2f CPU seconds per 100,000 logins", r.ServerCPU)
	}
	line(w, "bench itself    %12.2f CPU seconds per 100,000 logins", r.OwnCPU)
}

// Run logs everybody in once, so that the server remembers them, and then measures.
func (c Login) Run(ctx context.Context, o Options) (*LoginReport, error) {
	o.complete()
	if c.Parallel <= 0 {
		c.Parallel = o.Parallel
	}
	c.Parallel = min(c.Parallel, c.Sessions)
	accounts, err := o.Accounts(ctx, c.Sessions)
	if err != nil {
		return nil, err
	}
	if err := raiseFileLimit(2 * c.Parallel); err != nil {
		return nil, err
	}
	l, err := o.loop(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()

	r := &LoginReport{People: c.Sessions, Parallel: c.Parallel}
	sessions := make([]*session, len(accounts))
	for i, a := range accounts {
		sessions[i] = &session{account: a}
	}
	rounds := func(until func(now time.Time, in int) bool, again bool) (in int, took *histogram, err error) {
		e := &entrance{l: l, device: imbase.ClientType(o.Device), parallel: c.Parallel}
		var failed error
		left := false
		e.finished = func(s *session, err error) {
			if err != nil {
				if r.Failed++; r.FailedWhy == "" {
					r.FailedWhy = err.Error()
				}
				failed = err
				return
			}
			in++
			s.conn.close()
			if again && !left {
				e.waiting = append(e.waiting, s) // end takes the next
			}
		}
		e.enter(sessions...)
		err = l.run(ctx, func(now time.Time) (time.Duration, bool) {
			e.expire(sessions, now, loginLimit)
			left = until(now, in)
			return 10 * time.Millisecond, left || failed != nil && !again
		})
		if !again {
			err = errors.Join(err, failed)
		}
		for _, s := range sessions {
			if s.conn != nil {
				s.conn.close()
			}
		}
		return in, &e.took, err
	}

	o.Log.Info("logging everybody in once", "people", len(accounts))
	start := time.Now()
	if _, _, err := rounds(func(_ time.Time, in int) bool { return in == len(sessions) }, false); err != nil {
		return nil, err
	}
	r.First = float64(len(sessions)) / time.Since(start).Seconds()

	o.Log.Info("measuring", "duration", c.Duration)
	before, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	start = time.Now()
	own := ownCPU()
	in, took, err := rounds(func(now time.Time, _ int) bool { return now.Sub(start) >= c.Duration }, true)
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	after, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	r.Logins, r.Took = uint64(in), took.latency()
	r.PerSecond = float64(in) / r.Seconds
	r.OwnCPU = per100k(ownCPU()-own, r.Logins)
	r.ServerCPU = per100k(after.cpu-before.cpu, r.Logins)
	return r, nil
}

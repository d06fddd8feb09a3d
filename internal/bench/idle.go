package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/pdu"
)

// Idle is sessions that log in and then say nothing but heartbeats.
type Idle struct {
	Sessions int
	Settle   time.Duration // between the last login and the reading, default 30 s
}

// IdleReport is what an Idle found.
type IdleReport struct {
	Sessions   int     `json:"sessions"`
	Seconds    float64 `json:"login_seconds"` // from the first connect to the last login
	PerSecond  float64 `json:"logins_per_second"`
	Login      Latency `json:"login"`
	Before     int64   `json:"server_rss_before_bytes"`
	After      int64   `json:"server_rss_after_bytes"`
	PerSession float64 `json:"bytes_per_session"`
	Dropped    int     `json:"disconnected"`
	DroppedWhy string  `json:"disconnected_why,omitempty"`
}

// Err is nil where every session was still there at the end.
func (r *IdleReport) Err() error {
	if r.Dropped > 0 {
		return fmt.Errorf("%d of %d sessions were disconnected, the first: %s", r.Dropped, r.Sessions, r.DroppedWhy)
	}
	return nil
}

// Write prints the report for people.
func (r *IdleReport) Write(w io.Writer) {
	line(w, "%d sessions logged in within %.1f s (%.0f a second)", r.Sessions, r.Seconds, r.PerSecond)
	line(w, "login           p50 %8.2f  p95 %8.2f  p99 %8.2f  max %8.2f ms", r.Login.P50, r.Login.P95, r.Login.P99, r.Login.Max)
	if r.Before > 0 {
		line(w, "server          %.1f MiB before, %.1f MiB after", float64(r.Before)/(1<<20), float64(r.After)/(1<<20))
		line(w, "each session    %12.0f bytes resident", r.PerSession)
	}
	line(w, "disconnected    %12d", r.Dropped)
}

// heartbeatEvery keeps a PC session alive (120 s) with room to spare.
const heartbeatEvery = 50 * time.Second

// beat sends a heartbeat of a session that is logged in.
func (s *session) beat() {
	if s.open {
		s.conn.out = pdu.Append(s.conn.out, client.Service(client.CmdHeartBeat), client.CmdHeartBeat, 0, nil)
		s.conn.queue()
	}
}

// Run logs in, waits and measures.
func (c Idle) Run(ctx context.Context, o Options) (*IdleReport, error) {
	o.complete()
	if c.Settle <= 0 {
		c.Settle = 30 * time.Second
	}
	accounts, err := o.Accounts(ctx, c.Sessions)
	if err != nil {
		return nil, err
	}
	if err := raiseFileLimit(c.Sessions); err != nil {
		return nil, err
	}
	l, err := o.loop(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()

	r := &IdleReport{Sessions: c.Sessions}
	dropped := func(err error) {
		if r.Dropped++; r.DroppedWhy == "" {
			r.DroppedWhy = err.Error()
		}
	}
	var last time.Time
	in, failed := 0, error(nil)
	e := &entrance{l: l, device: imbase.ClientType(o.Device), parallel: o.Parallel}
	e.finished = func(_ *session, err error) {
		in++
		last = time.Now()
		if err != nil && failed == nil {
			failed = err
		}
	}
	sessions := make([]*session, len(accounts))
	for i, a := range accounts {
		sessions[i] = &session{account: a, onLost: dropped}
	}
	before, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	o.Log.Info("logging in", "people", len(accounts))
	start := time.Now()
	e.enter(sessions...)
	beat := 0 // next session to send a heartbeat
	told := false
	err = l.run(ctx, func(now time.Time) (time.Duration, bool) {
		// A part of the sessions at each turn, so that all have had theirs in time.
		for due := int(now.Sub(start).Seconds() / heartbeatEvery.Seconds() * float64(len(sessions))); beat < due; beat++ {
			sessions[beat%len(sessions)].beat()
		}
		if in < len(sessions) && failed == nil {
			e.expire(sessions[:min(in+2*o.Parallel, len(sessions))], now, loginLimit)
			return 100 * time.Millisecond, false
		}
		if !told {
			told = true
			o.Log.Info("all are in, settling", "wait", c.Settle)
		}
		return 100 * time.Millisecond, failed != nil || now.Sub(last) >= c.Settle
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	after, err := usageOf(o.PID)
	if err != nil {
		return nil, err
	}
	r.Seconds = last.Sub(start).Seconds()
	r.PerSecond = float64(r.Sessions) / r.Seconds
	r.Login = e.took.latency()
	r.Before, r.After = before.rss, after.rss
	r.PerSession = float64(after.rss-before.rss) / float64(r.Sessions)
	return r, nil
}

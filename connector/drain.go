package connector

import (
	"math/rand/v2"
	"time"

	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	"godwit/schema/event"
)

const (
	// drainTick is how often a drain looks whose turn it is.
	drainTick = 10 * time.Millisecond
	// drainFloor is how many sessions a second a drain closes at least, where no rate is
	// given: so few come back to the other nodes without anybody noticing.
	drainFloor = 500
	// drainScan bounds how many sessions one look passes over in search of quiet ones, beside
	// those whose turn it is.
	drainScan = 4096
)

// pace says how many of the sessions that were there at the beginning of a drain are to be
// closed after a time.
type pace struct {
	total     int
	perSecond float64
}

// paceOf is the pace for a rate in parts of the sessions a second, 0: none is given. Whatever
// the rate, all have had their turn after four fifths of the time, so that the last one's acks
// don't come too late.
func paceOf(total int, rate float64, timeout time.Duration) pace {
	least := float64(total) / (0.8 * timeout.Seconds())
	if rate == 0 {
		return pace{total, max(least, drainFloor)}
	}
	return pace{total, max(least, rate*float64(total))}
}

// due is how many are to be closed by then. The first have their turn at once.
func (p pace) due(elapsed time.Duration) int {
	first := p.perSecond * drainTick.Seconds()
	return min(p.total, max(1, int(first+p.perSecond*elapsed.Seconds())))
}

// lasts is how long the turns of all take.
func (p pace) lasts() time.Duration {
	return time.Duration(float64(p.total) / p.perSecond * float64(time.Second))
}

// drain ends all sessions gently. Who has not logged in leaves at once, and so does who has
// nothing under way when his turn comes; whoever has is read no more and leaves when it is
// through. The log is told of each, but for those who are left when the time is over: of these
// it learns by the end of the node's life.
func (srv *Server) drain() {
	began := time.Now()
	srv.draining.Store(true)
	srv.node.Announce()
	srv.endHeadless(0, true)
	var waiting []*session
	srv.all(func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch s.state {
		case connected:
			s.closeLocked(event.EndReason_END_REASON_NODE_STOPPED, true)
		case loggingIn, open:
			waiting = append(waiting, s)
		}
	})
	p := paceOf(len(waiting), srv.cfg.DrainRate, srv.cfg.DrainTimeout)
	retry := uint32(p.lasts()/time.Second) + 1
	srv.leaving.Store(retry)
	for _, s := range waiting {
		s.mu.Lock()
		s.leavingNotice()
		s.mu.Unlock()
	}
	srv.release(waiting, p, began)

	emptied := make(chan struct{})
	srv.mu.Lock()
	srv.emptied = emptied
	if len(srv.sessions) == 0 {
		close(emptied)
		srv.emptied = nil
	}
	srv.mu.Unlock()
	srv.stopping.Store(true)
	srv.all(func(s *session) { s.close(event.EndReason_END_REASON_NODE_STOPPED, true) })
	last := time.NewTimer(srv.limits.Goodbye + 2*time.Second)
	defer last.Stop()
	select {
	case <-emptied:
	case <-last.C:
	}
	srv.all(func(s *session) {
		s.mu.Lock()
		s.abort = true
		s.mu.Unlock()
		s.wire.Wake()
	})
}

// release lets the sessions go at their pace, until all have gone or the time is over.
func (srv *Server) release(waiting []*session, p pace, began time.Time) {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	released := 0
	var leaving []*session // read no more, with something under way
	for {
		elapsed := time.Since(began)
		if elapsed >= srv.cfg.DrainTimeout {
			return
		}
		var turn []*session
		turn, waiting = turns(waiting, p.due(elapsed)-released, srv.tick())
		released += len(turn)
		for _, s := range turn {
			s.mu.Lock()
			s.leaving = true
			s.mu.Unlock()
		}
		kept := leaving[:0]
		for _, s := range append(leaving, turn...) {
			if !s.leave() {
				kept = append(kept, s)
			}
		}
		leaving = kept
		if len(waiting) == 0 && len(leaving) == 0 {
			return
		}
		<-tick.C
	}
}

// turns takes the n whose turn it is, those that have nothing under way first as far as they
// are found without looking at all of them. Whoever has left by himself counts as well.
func turns(waiting []*session, n int, now uint32) (turn, rest []*session) {
	n = min(n, len(waiting))
	if n <= 0 {
		return nil, waiting
	}
	scan := waiting[:min(len(waiting), n+drainScan)]
	busy := make([]*session, 0, len(scan))
	for i, s := range scan {
		if len(turn) == n {
			busy = append(busy, scan[i:]...)
			break
		}
		if s.quiet(now) {
			turn = append(turn, s)
		} else {
			busy = append(busy, s)
		}
	}
	short := n - len(turn)
	turn = append(turn, busy[:short]...)
	busy = busy[short:]
	// What was looked at and not taken comes last next time.
	return turn, append(waiting[len(scan):len(waiting):len(waiting)], busy...)
}

// quiet tells whether nothing is under way for the session, or it has ended.
func (s *session) quiet(now uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == closing || s.state == open && s.idleLocked() && now > s.seen.Load()+1
}

// idleLocked tells whether nothing that the client asked for is under way. mu is held.
func (s *session) idleLocked() bool {
	return s.pending == 0 && len(s.questions) == 0 && !s.asking && s.hold&(holdPermit|holdFull|holdOver) == 0
}

// leave closes a session that is read no more, once what it sent is answered; what was
// written for it leaves first. It is false while it has to stay.
func (s *session) leave() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == closing:
		return true
	case s.state == loggingIn || !s.idleLocked():
		s.wire.Wake() // so that it is held
		return false
	}
	s.closeLocked(event.EndReason_END_REASON_NODE_STOPPED, true)
	return true
}

// leavingNotice tells a client that understands it that the server stops, and when to come
// back. mu is held.
func (s *session) leavingNotice() {
	most := s.srv.leaving.Load()
	if most == 0 || s.state != open {
		return
	}
	after := 1 + rand.Uint32N(most)
	s.serverNotice(imextension.ServerState_SERVER_STATE_LEAVING, &after)
}

// serverNotice writes 0x201b to a client that understands it. mu is held.
func (s *session) serverNotice(state imextension.ServerState, after *uint32) {
	if s.state != open || !s.has(imextension.Feature_FEATURE_NOTICES) {
		return
	}
	s.sendLocked(client.CmdServerNotify, 0, &imextension.ServerNotify{State: &state, RetryAfterSeconds: after})
	s.wire.Wake()
}

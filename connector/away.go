package connector

import (
	"context"
	"time"

	imextension "godwit/schema/client/extension"
)

const (
	// awayEvery is how often the log is looked at.
	awayEvery = 250 * time.Millisecond
	// awayFor is how long nothing must have been stored before clients are told: a connection
	// that breaks and is back, or a stream whose leader moves at once, is not worth it.
	awayFor = time.Second
)

// watchLog tells clients when what they send waits, and when it does no longer. Their
// sessions stay, and so does what they have sent; who is about to log in is told to try again.
func (srv *Server) watchLog(ctx context.Context) {
	tick := time.NewTicker(awayEvery)
	defer tick.Stop()
	var since time.Time // when it was first found away; zero: it is there
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := srv.node.Writable()
		switch {
		case err == nil:
			since = time.Time{}
			if srv.away.CompareAndSwap(true, false) {
				srv.log.Info("messages are stored again")
				srv.tellAll(imextension.ServerState_SERVER_STATE_AVAILABLE)
			}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= awayFor && srv.away.CompareAndSwap(false, true):
			srv.log.Warn("messages wait: nothing is stored", "err", err)
			srv.tellAll(imextension.ServerState_SERVER_STATE_UNAVAILABLE)
		}
		if srv.away.Load() {
			// Whoever came in between has his answer at once, not at the end of his time.
			srv.all(func(s *session) {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.state == loggingIn {
					s.failLogin("unavailable", loginServer, textServer, err)
					s.wire.Wake()
				}
			})
		}
	}
}

// tellAll writes 0x201b to all who understand it.
func (srv *Server) tellAll(state imextension.ServerState) {
	srv.all(func(s *session) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.serverNotice(state, nil)
	})
}

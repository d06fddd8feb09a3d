package bus

import (
	"context"
	"encoding/json"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
)

// A server that has lost its routes keeps its clients, who then talk to each other and to
// nobody else. So each connection to a cluster is asked, over itself, for what only the side
// that has a quorum can answer.
const (
	sideEvery = 2 * time.Second
	sideAfter = 5 * time.Second  // of silence: go to the next server
	sideRest  = 10 * time.Second // between two changes: with no quorum anywhere, none helps
	// sideHolds is for how long an answer says that others are heard: beyond one question that
	// gets lost, and below the ten beats after which a silent node counts as lost.
	sideHolds = 7 * time.Second
)

// takeSides takes a connection to the next server when its own has been cut off from the
// others, until the bus closes.
func (b *Bus) takeSides(nc *nats.Conn, name string) {
	heard, changed := time.Now(), time.Time{}
	for sleep(b.ctx, sideEvery) == nil {
		began := time.Now()
		part := nc.IsConnected() && b.answered(nc, "STREAM.INFO."+event.Presence.String())
		if part && nc == b.pushes {
			b.sided.Store(began.UnixNano())
		}
		if part || !nc.IsConnected() || b.answered(nc, "STREAM.NAMES") {
			heard = time.Now()
			continue
		}
		if began.Sub(heard) < sideAfter || began.Sub(changed) < sideRest || b.ctx.Err() != nil {
			continue
		}
		b.log.Warn("the log's server has no part in the cluster, going to another", "connection", name, "server", nc.ConnectedServerName())
		changed = time.Now()
		if err := nc.ForceReconnect(); err != nil {
			b.log.Warn("going to another server", "connection", name, "err", err)
		}
		heard = time.Now()
	}
}

// HearsAll tells whether whoever is not heard is silent: the server that beats come from has
// a part in the cluster. One that is cut off hands on only what its own clients say, this
// process among them. It may be false for a while though nothing is cut.
func (b *Bus) HearsAll() bool {
	return b.emb != nil || time.Since(time.Unix(0, b.sided.Load())) < sideHolds
}

// answered tells whether a leader with a quorum answers over the connection. That of the
// stream and that of the cluster are seldom elected at the same time.
func (b *Bus) answered(nc *nats.Conn, subject string) bool {
	ctx, cancel := context.WithTimeout(b.ctx, probeTimeout)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "$JS.API."+subject, nil)
	if err != nil {
		return false
	}
	var r struct {
		Error *apiError `json:"error"`
		streamInfo
	}
	if json.Unmarshal(m.Data, &r) != nil {
		return false
	}
	return r.Error == nil && r.quorum() == nil
}

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
)

// takeSides takes a connection to the next server when its own has been cut off from the
// others, until the bus closes.
func (b *Bus) takeSides(nc *nats.Conn, name string) {
	heard, changed := time.Now(), time.Time{}
	for sleep(b.ctx, sideEvery) == nil {
		began := time.Now()
		if !nc.IsConnected() || b.answered(nc, "STREAM.INFO."+event.Presence.String()) || b.answered(nc, "STREAM.NAMES") {
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

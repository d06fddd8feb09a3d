package bus

import (
	"sync/atomic"
	"time"
)

// Stats are counters since Open; all but LeasesHeld only grow.
type Stats struct {
	Records       uint64        // records acknowledged by the log
	Events        uint64        // events in them
	Bytes         uint64        // bytes of them
	AppendLatency time.Duration // sum over records, from the first attempt to the ack
	Retries       uint64        // attempts beyond the first
	Refusals      uint64        // definite refusals by the server, each retried
	Duplicates    uint64        // acks that told of an earlier attempt having been stored
	Conflicts     uint64        // lost compare and sets
	Full          uint64        // appends refused with ErrFull

	Pushes         uint64 // pushes sent
	PushBytes      uint64 // bytes of them
	PushErrors     uint64 // pushes that could not be sent
	PushesReceived uint64 // pushes handed to a receiver
	PushesDropped  uint64 // pushes lost here because a receiver was behind

	Followed       uint64 // records handed to followers
	FollowRestarts uint64 // consumers made again after a loss
	Rollbacks      uint64 // rollbacks noticed
	LostSequences  uint64 // sequences handed over as lost

	Asked      uint64 // questions asked
	Served     uint64 // questions answered
	Overflowed uint64 // questions refused because too many were waiting

	Reconnects     uint64 // connections that were lost and came back
	ServerRestarts uint64 // restarts of the embedded server
	LeasesLost     uint64 // leases that ended without being released
	LeasesHeld     int64  // leases held now
}

type counters struct {
	records, events, bytes, latency, retries, refusals, duplicates, conflicts, full atomic.Uint64
	pushes, pushBytes, pushErrors, pushesReceived, pushesDropped                    atomic.Uint64
	followed, followRestarts, rollbacks, lostSequences                              atomic.Uint64
	asked, served, overflowed                                                       atomic.Uint64
	reconnects, serverRestarts, leasesLost                                          atomic.Uint64
	leasesHeld                                                                      atomic.Int64
}

// Stats reads the counters.
func (b *Bus) Stats() Stats {
	c := &b.count
	return Stats{
		Records:       c.records.Load(),
		Events:        c.events.Load(),
		Bytes:         c.bytes.Load(),
		AppendLatency: time.Duration(c.latency.Load()),
		Retries:       c.retries.Load(),
		Refusals:      c.refusals.Load(),
		Duplicates:    c.duplicates.Load(),
		Conflicts:     c.conflicts.Load(),
		Full:          c.full.Load(),

		Pushes:         c.pushes.Load(),
		PushBytes:      c.pushBytes.Load(),
		PushErrors:     c.pushErrors.Load(),
		PushesReceived: c.pushesReceived.Load(),
		PushesDropped:  c.pushesDropped.Load(),

		Followed:       c.followed.Load(),
		FollowRestarts: c.followRestarts.Load(),
		Rollbacks:      c.rollbacks.Load(),
		LostSequences:  c.lostSequences.Load(),

		Asked:      c.asked.Load(),
		Served:     c.served.Load(),
		Overflowed: c.overflowed.Load(),

		Reconnects:     c.reconnects.Load(),
		ServerRestarts: c.serverRestarts.Load(),
		LeasesLost:     c.leasesLost.Load(),
		LeasesHeld:     c.leasesHeld.Load(),
	}
}

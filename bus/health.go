package bus

import (
	"context"
	"fmt"

	"godwit/schema/event"
)

// StreamHealth is how a stream of the log stands at its servers.
type StreamHealth struct {
	Stream   event.Stream
	Last     uint64 // sequence of the last record
	Bytes    uint64 // of the stream at one server
	Leader   string // name of the server that leads it; empty: none is known
	Replicas int    // servers that hold the stream
	Current  int    // those of them that have all of it, the leader among them
}

// StreamHealth asks a stream's leader once. An error says that there is none, or that it does
// not answer.
func (b *Bus) StreamHealth(ctx context.Context, s event.Stream) (StreamHealth, error) {
	if err := b.check(s); err != nil {
		return StreamHealth{}, err
	}
	i := new(streamInfo)
	if err := b.api(ctx, "STREAM.INFO."+s.String(), nil, i); err != nil {
		return StreamHealth{}, fmt.Errorf("bus: health of %s: %w", s, err)
	}
	h := StreamHealth{Stream: s, Last: i.State.LastSeq, Bytes: i.State.Bytes, Replicas: 1, Current: 1}
	if i.Cluster == nil {
		return h, nil
	}
	h.Leader, h.Replicas = i.Cluster.Leader, 1+len(i.Cluster.Replicas)
	for _, r := range i.Cluster.Replicas {
		if r.Current && !r.Offline {
			h.Current++
		}
	}
	return h, nil
}

// DiskFree is the room that is left where the embedded log lies. It is not known (false) of the
// disks of external servers.
func (b *Bus) DiskFree() (bytes uint64, known bool) {
	if b.emb == nil {
		return 0, false
	}
	probe := b.emb.free
	if b.hooks != nil && b.hooks.Free != nil {
		probe = b.hooks.Free
	}
	free, err := probe()
	return free, err == nil
}

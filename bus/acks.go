package bus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// ack is the log's answer to one attempt.
type ack struct {
	n         uint64
	attempt   int
	seq       uint64
	duplicate bool
	err       error // a definite refusal
}

// ackMux gives the answers that come in on one subscription to their lanes.
type ackMux struct {
	prefix string
	sub    *nats.Subscription
	mu     sync.RWMutex
	next   uint64
	lanes  map[string]*lane
}

func (x *ackMux) open(b *Bus) error {
	x.prefix = b.events.NewInbox() + "."
	x.lanes = map[string]*lane{}
	sub, err := b.events.Subscribe(x.prefix+">", x.handle)
	if err != nil {
		return fmt.Errorf("bus: subscribe to acks: %w", err)
	}
	x.sub = sub
	return nil
}

func (x *ackMux) add(l *lane) (prefix string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next++
	key := strconv.FormatUint(x.next, 36)
	x.lanes[key] = l
	return x.prefix + key + "."
}

func (x *ackMux) remove(l *lane) {
	key := strings.TrimSuffix(l.prefix[len(x.prefix):], ".")
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.lanes, key)
}

func (x *ackMux) handle(m *nats.Msg) {
	key, rest, _ := strings.Cut(m.Subject[len(x.prefix):], ".")
	ns, as, _ := strings.Cut(rest, ".")
	x.mu.RLock()
	l := x.lanes[key]
	x.mu.RUnlock()
	if l == nil {
		return
	}
	a := parseAck(m)
	a.n, _ = strconv.ParseUint(ns, 36, 64)
	a.attempt, _ = strconv.Atoi(as)
	select {
	case l.acks <- a:
	default: // nobody waits for so many answers; the lane asks again
	}
}

func parseAck(m *nats.Msg) ack {
	if len(m.Data) == 0 {
		// No responders: the stream has no leader, or there is none.
		return ack{err: &apiError{Code: 503, Description: "no stream answers"}}
	}
	var r struct {
		Seq       uint64    `json:"seq"`
		Duplicate bool      `json:"duplicate"`
		Error     *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return ack{err: fmt.Errorf("bus: unreadable ack: %w", err)}
	}
	if r.Error != nil {
		return ack{err: r.Error}
	}
	return ack{seq: r.Seq, duplicate: r.Duplicate}
}

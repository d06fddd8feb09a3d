package connector

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"godwit/bus"
	"godwit/internal/origin"
)

const (
	// addressWait is how long a "yes" of any connector is waited for.
	addressWait = 500 * time.Millisecond
	// addressFor is how long one is believed.
	addressFor = 30 * time.Second
	// maxAddresses bounds those that are remembered.
	maxAddresses = 10_000
)

// Survey is what of [bus.Bus] asks all connectors.
type Survey interface {
	AskAll(ctx context.Context, subject string, data []byte, wait time.Duration) iter.Seq2[[]byte, error]
	ServeAll(subject string, h func(ctx context.Context, data []byte) []byte) (stop func(), err error)
}

// addressSubject is where connectors are asked whether somebody is logged in from an
// address.
var addressSubject = bus.EveryNode("address")

// The two answers.
var (
	isHere  = []byte{1}
	notHere = []byte{0}
)

// AnswerAddresses tells other processes who is logged in here, until it is stopped.
func (srv *Server) AnswerAddresses(b Survey) (stop func(), err error) {
	return b.ServeAll(addressSubject, func(_ context.Context, data []byte) []byte {
		var a netip.Addr
		if a.UnmarshalBinary(data) == nil && a.IsValid() && srv.HasAddress(a) {
			return isHere
		}
		return notHere
	})
}

// Addresses asks all connectors who is logged in with them.
type Addresses struct {
	bus Survey
	log *slog.Logger

	mu    sync.Mutex
	until map[netip.Addr]time.Time // to when one is known to be there
}

// NewAddresses makes one; log may be nil.
func NewAddresses(b Survey, log *slog.Logger) *Addresses {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Addresses{bus: b, log: log, until: make(map[netip.Addr]time.Time)}
}

// Has tells whether somebody is logged in from the address on any connector that answers
// in time. It asks again for an address from which nobody is; who asks limits the rate.
func (as *Addresses) Has(a netip.Addr) bool {
	key := origin.Of(a)
	now := time.Now()
	as.mu.Lock()
	known := now.Before(as.until[key])
	as.mu.Unlock()
	if known {
		return true
	}
	data, err := key.MarshalBinary()
	if err != nil {
		return false
	}
	for answer, err := range as.bus.AskAll(context.Background(), addressSubject, data, addressWait) {
		switch {
		case errors.Is(err, bus.ErrNoResponder): // no connector runs, so nobody is logged in
		case err != nil:
			as.log.Warn("connectors can't be asked for an address", "err", err)
		case bytes.Equal(answer, isHere):
			as.learn(key, now)
			return true
		}
	}
	return false
}

// learn notes that somebody is there.
func (as *Addresses) learn(key netip.Addr, now time.Time) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if len(as.until) >= maxAddresses {
		clear(as.until)
	}
	as.until[key] = now.Add(addressFor)
}

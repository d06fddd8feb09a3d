package connector

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"godwit/internal/origin"
)

// AddressSubject is where connectors are asked whether somebody is logged in from an
// address. Those where nobody is stay silent.
const AddressSubject = "connector.address"

const (
	// addressWait is how long a "yes" of any connector is waited for.
	addressWait = 500 * time.Millisecond
	// addressFor is how long one is believed.
	addressFor = 30 * time.Second
	// maxAddresses bounds those that are remembered.
	maxAddresses = 10_000
)

// Survey puts a question to all who serve a subject, as [godwit/bus.Bus] does.
type Survey interface {
	AskAll(ctx context.Context, subject string, data []byte, wait time.Duration) ([][]byte, error)
	ServeAll(subject string, h func(data []byte) (answer []byte)) (stop func(), err error)
}

// AnswerAddresses tells other processes who is logged in here, until it is stopped.
func (srv *Server) AnswerAddresses(b Survey) (stop func(), err error) {
	return b.ServeAll(AddressSubject, func(data []byte) []byte {
		var a netip.Addr
		if a.UnmarshalBinary(data) != nil || !a.IsValid() || !srv.HasAddress(a) {
			return nil
		}
		return []byte{1}
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*addressWait)
	defer cancel()
	answers, err := as.bus.AskAll(ctx, AddressSubject, data, addressWait)
	if err != nil {
		as.log.Warn("connectors can't be asked for an address", "err", err)
	}
	if len(answers) == 0 {
		return false
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	if len(as.until) >= maxAddresses {
		clear(as.until)
	}
	as.until[key] = now.Add(addressFor)
	return true
}

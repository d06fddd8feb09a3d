// Package observe holds what an operator sees together: the metrics of the program, the
// alarms and the dashboard in deploy that are made of them, and docs/operations.md, which
// says what each alarm means. Its tests do so; of its own it measures how the log stands and
// how full the stores are.
package observe

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store is what has a bounded room and may get full.
type Store struct {
	Name string
	// Room says how many bytes there are in all, and how many are left.
	Room func(context.Context) (all, left int64, err error)
}

// Times of Stores.
const (
	askEvery = 30 * time.Second
	askLimit = 10 * time.Second
)

// Stores is the metrics of stores. A store that can't be asked keeps its last figures.
type Stores struct {
	room, left *prometheus.GaugeVec
	stores     []Store
	log        *slog.Logger
}

// NewStores registers the metrics; Run keeps them.
func NewStores(r prometheus.Registerer, log *slog.Logger, stores ...Store) (*Stores, error) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "godwit", Subsystem: "store", Name: name, Help: help}, []string{"store"})
	}
	s := &Stores{
		room:   gauge("room_bytes", "Bytes that a store may hold."),
		left:   gauge("left_bytes", "Bytes until a store is full."),
		stores: stores, log: log,
	}
	for _, c := range []prometheus.Collector{s.room, s.left} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
	}
	return s, nil
}

// Run asks each store now and twice a minute, until ctx ends.
func (s *Stores) Run(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		for _, store := range s.stores {
			s.ask(ctx, store)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Stores) ask(ctx context.Context, store Store) {
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	all, left, err := store.Room(limited)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Debug("room of a store not known now", "store", store.Name, "err", err)
	default:
		s.room.WithLabelValues(store.Name).Set(float64(all))
		s.left.WithLabelValues(store.Name).Set(float64(left))
	}
}

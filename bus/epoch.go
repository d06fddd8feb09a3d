package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/schema/event"

	"github.com/oklog/ulid/v2"
)

// Epoch is the stream's present epoch: a ULID that is renewed when the stream has
// been rolled back, so that positions before and after can't be mixed up. The first
// to ask makes it.
func (b *Bus) Epoch(ctx context.Context, s event.Stream) (event.ID, error) {
	return b.epoch(ctx, s, func(event.ID) bool { return false })
}

// RenewEpoch gives the stream a new epoch if its present one is still old, and
// returns the present one: however many notice a rollback together, it is renewed
// once.
func (b *Bus) RenewEpoch(ctx context.Context, s event.Stream, old event.ID) (event.ID, error) {
	return b.epoch(ctx, s, func(now event.ID) bool { return now == old })
}

func (b *Bus) epoch(ctx context.Context, s event.Stream, renew func(now event.ID) bool) (event.ID, error) {
	if err := b.check(s); err != nil {
		return event.ID{}, err
	}
	for {
		e, err := b.entry(ctx, epochBucket, s.String())
		if err != nil {
			return event.ID{}, fmt.Errorf("bus: epoch of %s: %w", s, err)
		}
		if !e.gone {
			now, err := ulid.ParseStrict(e.value)
			if err != nil {
				return event.ID{}, fmt.Errorf("bus: epoch of %s: %w", s, err)
			}
			if !renew(now) {
				return now, nil
			}
		}
		next := newID()
		_, err = b.set(ctx, epochBucket, s.String(), next.String(), e.revision, false)
		switch {
		case err == nil:
			if !e.gone {
				b.log.Warn("epoch renewed", "stream", s.String(), "epoch", next.String())
			}
			return next, nil
		case errors.Is(err, ErrConflict):
			continue // somebody else did it
		}
		b.log.Warn("setting an epoch", "stream", s.String(), "err", err)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return event.ID{}, fmt.Errorf("bus: epoch of %s: %w", s, err)
		}
		if b.ctx.Err() != nil {
			return event.ID{}, ErrClosed
		}
	}
}

package owner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"godwit/bus"
	"godwit/projections/view"
	"godwit/schema/event"
)

// Rebuilt is a view that was folded anew from the log.
type Rebuilt struct {
	Digest view.Digest
	Events uint64 // folded, repeats left out
}

// Rebuild folds stream s from its beginning to position to into a new view file in
// dir, which must hold none. It has no outlets. progress, if given, is told the
// position now and then.
func Rebuild(ctx context.Context, b *bus.Bus, s event.Stream, dir string, to uint64, log *slog.Logger, progress func(done, total uint64)) (r Rebuilt, err error) {
	v, err := view.Open(view.Config{Dir: dir, Fold: foldFor(s), Log: b.LogID(), Logger: log})
	if err != nil {
		return r, fmt.Errorf("rebuild %s: %w", s, err)
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	epoch, err := b.Epoch(ctx, s)
	if err != nil {
		return r, err
	}
	v.SetEpoch(epoch)
	const most = 512
	batch := make([]bus.Recorded, 0, most)
	fold := func() error {
		applied, err := v.Apply(batch)
		if err != nil {
			return fmt.Errorf("rebuild %s: %w", s, err)
		}
		for _, a := range applied {
			r.Events += uint64(len(a.Effects))
		}
		if progress != nil && len(batch) > 0 {
			progress(batch[len(batch)-1].Sequence, to)
		}
		batch = batch[:0]
		return nil
	}
	for rec, err := range b.Replay(ctx, s, 1, to) {
		if err != nil {
			return r, fmt.Errorf("rebuild %s: %w", s, err)
		}
		if batch = append(batch, rec); len(batch) == most {
			if err := fold(); err != nil {
				return r, err
			}
		}
	}
	if err := fold(); err != nil {
		return r, err
	}
	if got := v.Folded(); got != to {
		return r, fmt.Errorf("rebuild %s: the log ends at %d, the view there is at %d", s, got, to)
	}
	if err := v.WaitCommitted(ctx, to); err != nil {
		return r, err
	}
	r.Digest, _, err = v.Digest()
	return r, err
}

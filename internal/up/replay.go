package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"godwit/bus"
	"godwit/internal/datadir"
	"godwit/projections/owner"
	"godwit/projections/view"
	"godwit/schema/event"
)

// ReplayStopped rebuilds every view of a stopped data directory beside the present
// one and compares the two at the present one's position. Without verify the
// rebuilt views then take the place of the present ones.
func ReplayStopped(ctx context.Context, path string, verify bool, log *slog.Logger, progress ReplayProgress) (report ReplayReport, err error) {
	if _, err := os.Stat(path); err != nil {
		return report, fmt.Errorf("data directory: %w", err)
	}
	dir, err := datadir.Open(path)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	b, err := bus.Open(ctx, bus.Config{Dir: dir.NATS(), Durability: bus.OS, Logger: log})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := os.MkdirAll(dir.Views(), 0o700); err != nil {
		return report, err
	}
	for _, s := range b.Streams() {
		v, err := view.Open(view.Config{Dir: dir.Views(), Fold: owner.FoldFor(s), Log: b.LogID(), Logger: log})
		if err != nil {
			return report, err
		}
		r, fresh, err := replayBeside(ctx, b, s, v, log, progress)
		if err == nil && !verify {
			last, e := b.LastSequence(ctx, s)
			err = e
			if err == nil && (r.Sequence < last || !r.Equal) {
				_ = os.RemoveAll(fresh)
				_, fresh, err = rebuildBeside(ctx, b, s, v, last, log, progress)
			}
		}
		name := v.Path()
		err = errors.Join(err, v.Close())
		if err == nil && !verify {
			err = os.Rename(filepath.Join(fresh, filepath.Base(name)), name)
		}
		err = errors.Join(err, os.RemoveAll(fresh))
		if err != nil {
			return report, err
		}
		report.Views = append(report.Views, r)
	}
	return report, nil
}

// replayBeside rebuilds one view to the position that the present one has
// committed, and compares.
func replayBeside(ctx context.Context, b *bus.Bus, s event.Stream, v *view.View, log *slog.Logger, progress ReplayProgress) (r ViewReport, dir string, err error) {
	present, at, err := v.Digest()
	if err != nil {
		return r, "", err
	}
	to := at
	if at == 0 { // nothing there: rebuild all there is
		if to, err = b.LastSequence(ctx, s); err != nil {
			return r, "", err
		}
	}
	r, dir, err = rebuildBeside(ctx, b, s, v, to, log, progress)
	if err != nil {
		return r, dir, err
	}
	r.Equal = true
	if at > 0 {
		r.Present = present.String()
		r.Equal = r.Present == r.Digest
	}
	return r, dir, nil
}

func rebuildBeside(ctx context.Context, b *bus.Bus, s event.Stream, v *view.View, to uint64, log *slog.Logger, progress ReplayProgress) (r ViewReport, dir string, err error) {
	dir, err = os.MkdirTemp(filepath.Dir(v.Path()), ".replay-")
	if err != nil {
		return r, "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	start := time.Now()
	rebuilt, err := owner.Rebuild(ctx, b, s, dir, to, log, func(done, total uint64) {
		if progress != nil {
			progress(v.Name(), done, total)
		}
	})
	if err != nil {
		return r, dir, err
	}
	return ViewReport{Name: v.Name(), Sequence: to, Events: rebuilt.Events, Took: time.Since(start), Digest: rebuilt.Digest.String()}, dir, nil
}

// replayRunning compares each of a running process's views with its replay; the
// views that serve are left alone.
func replayRunning(ctx context.Context, b *bus.Bus, p *owner.Process, log *slog.Logger, progress ReplayProgress) (report ReplayReport, err error) {
	for _, s := range b.Streams() {
		v := p.View(s)
		if v == nil {
			continue
		}
		r, dir, err := replayBeside(ctx, b, s, v, log, progress)
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			return report, err
		}
		report.Views = append(report.Views, r)
	}
	return report, nil
}

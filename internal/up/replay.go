package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/bus"
	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/projections/owner"
	"godwit/projections/view"
	"godwit/schema/event"
)

// ReplayStopped rebuilds every view of a stopped data directory beside the present
// one and compares the two at the present one's position. Without verify the
// rebuilt views then take the place of the present ones.
func ReplayStopped(ctx context.Context, path string, verify bool, log *slog.Logger, progress ReplayProgress) (report admin.ReplayReport, err error) {
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
	return replayAll(ctx, b, progress, func(ctx context.Context, s event.Stream, progress ReplayProgress) (r admin.ViewReport, err error) {
		v, err := view.Open(view.Config{Dir: dir.Views(), Fold: owner.FoldFor(s), Log: b.LogID(), Logger: log})
		if err != nil {
			return r, err
		}
		r, fresh, err := replayBeside(ctx, b, s, v, log, progress)
		if err == nil && !verify {
			last, e := b.LastSequence(ctx, s)
			err = e
			if err == nil && r.Sequence < last {
				err = os.RemoveAll(fresh)
				if err == nil {
					_, fresh, err = rebuildBeside(ctx, b, s, v, last, log, progress)
				}
			}
		}
		name := v.Path()
		err = errors.Join(err, v.Close())
		if err == nil && !verify {
			err = os.Rename(filepath.Join(fresh, filepath.Base(name)), name)
		}
		return r, errors.Join(err, os.RemoveAll(fresh))
	})
}

// replayAll replays as many views at a time as there are cores.
func replayAll(ctx context.Context, b *bus.Bus, progress ReplayProgress, one func(context.Context, event.Stream, ReplayProgress) (admin.ViewReport, error)) (admin.ReplayReport, error) {
	var mu sync.Mutex
	serial := func(view string, done, total uint64) {
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			progress(view, done, total)
		}
	}
	start := time.Now()
	views := make([]admin.ViewReport, len(b.Streams()))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range b.Streams() {
		g.Go(func() (err error) {
			views[i], err = one(ctx, s, serial)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return admin.ReplayReport{}, err
	}
	return admin.ReplayReport{Views: views, Took: time.Since(start)}, nil
}

// replayBeside rebuilds one view to the position that the present one has
// committed, and compares.
func replayBeside(ctx context.Context, b *bus.Bus, s event.Stream, v *view.View, log *slog.Logger, progress ReplayProgress) (r admin.ViewReport, dir string, err error) {
	present, at, err := v.Digest()
	if err != nil {
		return r, "", err
	}
	last, err := b.LastSequence(ctx, s)
	if err != nil {
		return r, "", err
	}
	to := min(at, last)
	if at == 0 { // nothing there: rebuild all there is
		to = last
	}
	r, dir, err = rebuildBeside(ctx, b, s, v, to, log, progress)
	if err != nil {
		return r, dir, err
	}
	r.Equal = true
	if at > 0 {
		r.Present = present.String()
		r.Equal = r.Present == r.Digest && at <= last // else the log has lost what the view holds
	}
	return r, dir, nil
}

func rebuildBeside(ctx context.Context, b *bus.Bus, s event.Stream, v *view.View, to uint64, log *slog.Logger, progress ReplayProgress) (r admin.ViewReport, dir string, err error) {
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
	return admin.ViewReport{Name: v.Name(), Sequence: to, Events: rebuilt.Events, Took: time.Since(start), Digest: rebuilt.Digest.String()}, dir, nil
}

// replayRunning compares each of a running process's views with its replay; the
// views that serve are left alone.
func replayRunning(ctx context.Context, b *bus.Bus, p *owner.Process, log *slog.Logger, progress ReplayProgress) (admin.ReplayReport, error) {
	return replayAll(ctx, b, progress, func(ctx context.Context, s event.Stream, progress ReplayProgress) (admin.ViewReport, error) {
		v := p.View(s)
		if v == nil {
			return admin.ViewReport{}, fmt.Errorf("%w: this process does not keep the view of %s now", admin.ErrUnavailable, s)
		}
		r, dir, err := replayBeside(ctx, b, s, v, log, progress)
		return r, errors.Join(err, os.RemoveAll(dir))
	})
}

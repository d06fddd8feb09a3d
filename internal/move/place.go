package move

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"godwit/bus"
	"godwit/internal/datadir"
)

// connectLimit bounds the opening of external servers.
const connectLimit = time.Minute

// place is a log that is open here, and what has to be closed after it.
type place struct {
	*bus.Raw
	after []func() error
}

func (p *place) Close() error {
	err := p.Raw.Close()
	for _, f := range p.after {
		err = errors.Join(err, f())
	}
	return err
}

// openServers connects to external servers.
func openServers(ctx context.Context, cfg bus.Config) (*place, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	raw, err := bus.OpenRaw(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &place{Raw: raw}, nil
}

// openDirectory opens the log of a data directory that no server uses, and holds it.
func openDirectory(ctx context.Context, path string, log *slog.Logger) (*place, error) {
	dir, err := datadir.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := bus.OpenRaw(ctx, embedded(dir.NATS(), log))
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &place{Raw: raw, after: []func() error{dir.Close}}, nil
}

// Reading needs no fsync, and what is written is synced as a whole at the end.
func embedded(dir string, log *slog.Logger) bus.Config {
	return bus.Config{Dir: dir, Durability: bus.OS, Logger: log}
}

// hasLog refuses a directory in which there is none, before it is made or touched.
func hasLog(path string) error {
	_, err := os.Stat(filepath.Join(path, "nats", "jetstream"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s: give the data directory of a server", ErrNoLog, path)
	}
	return err
}

// whole refuses a source that is itself a copy which broke off.
func whole(ctx context.Context, p *place) error {
	if _, err := p.Identity(ctx); errors.Is(err, bus.ErrNoRecord) {
		return nil // said better where it is copied
	}
	sealed, err := p.Sealed(ctx)
	if err == nil && !sealed {
		err = errors.New("the source is a copy that broke off: run what made it again until it ends well")
	}
	return err
}

// Move carries the log of a stopped server's data directory to the servers of a cluster.
func Move(ctx context.Context, from string, to bus.Config, o Options) (r Report, err error) {
	if err := hasLog(from); err != nil {
		return r, err
	}
	src, err := openDirectory(ctx, from, to.Logger)
	if used, ok := errors.AsType[*datadir.InUseError](err); ok {
		return r, fmt.Errorf("a server, process %d, runs in %s: stop it, and then move its log", used.PID, from)
	}
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := whole(ctx, src); err != nil {
		return r, err
	}
	dst, err := openServers(ctx, to)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	return ToLog(ctx, src, dst.Raw, o)
}

// BackUpServers adds what the servers of a cluster hold to the backup in out. The cluster may be
// in use.
func BackUpServers(ctx context.Context, from bus.Config, out string, o Options) (Report, error) {
	return backUp(ctx, out, o, func() (*place, error) { return openServers(ctx, from) })
}

// BackUpDirectory adds what a data directory holds to the backup in out. Where a server uses the
// directory its files are copied first, to below out, and read there: hot says so.
func BackUpDirectory(ctx context.Context, from, out string, log *slog.Logger, o Options) (r Report, hot bool, err error) {
	if err := hasLog(from); err != nil {
		return r, false, err
	}
	r, err = backUp(ctx, out, o, func() (*place, error) {
		src, err := openDirectory(ctx, from, log)
		if errors.Is(err, datadir.ErrInUse) {
			hot = true
			src, err = openCopy(ctx, filepath.Join(from, "nats"), out, log)
		}
		return src, err
	})
	return r, hot, err
}

// openCopy copies the files of a log in use to a directory below out, which goes away with it.
func openCopy(ctx context.Context, nats, out string, log *slog.Logger) (*place, error) {
	old, err := filepath.Glob(filepath.Join(out, copyPrefix+"*"))
	for _, path := range old { // of a run that was killed
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	dir, err := os.MkdirTemp(out, copyPrefix)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	drop := func() error { return os.RemoveAll(dir) }
	if err := bus.CopyFiles(ctx, nats, dir); err != nil {
		return nil, errors.Join(err, drop())
	}
	raw, err := bus.OpenRaw(ctx, embedded(dir, log))
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	return &place{Raw: raw, after: []func() error{drop}}, nil
}

// copyPrefix begins the names of such directories.
const copyPrefix = ".copy-"

func backUp(ctx context.Context, out string, o Options, open func() (*place, error)) (r Report, err error) {
	a, err := OpenArchive(out, true)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	src, err := open()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := whole(ctx, src); err != nil {
		return r, err
	}
	return ToArchive(ctx, src.Raw, a, o)
}

// Verify reads a backup and compares it with its own sums.
func Verify(ctx context.Context, from string, progress Progress) (c Checked, at time.Time, err error) {
	a, err := OpenArchive(from, false)
	if err != nil {
		return c, at, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	c, err = a.Verify(ctx, progress)
	return c, a.Time(), err
}

// RestoreToServers puts a backup into the servers of a cluster.
func RestoreToServers(ctx context.Context, from string, to bus.Config, o Options) (Report, error) {
	return restore(ctx, from, o, func() (*place, error) { return openServers(ctx, to) })
}

// RestoreToDirectory puts a backup into a data directory that no server uses.
func RestoreToDirectory(ctx context.Context, from, to string, log *slog.Logger, o Options) (Report, error) {
	r, err := restore(ctx, from, o, func() (*place, error) { return openDirectory(ctx, to, log) })
	if err != nil {
		return r, err
	}
	return r, syncTree(to)
}

func restore(ctx context.Context, from string, o Options, open func() (*place, error)) (r Report, err error) {
	a, err := OpenArchive(from, false)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if _, err := a.Verify(ctx, nil); err != nil { // before anything of it is somewhere else
		return r, err
	}
	dst, err := open()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	o.NewEpochs = true
	return ToLog(ctx, a, dst.Raw, o)
}

// syncTree brings all files below a directory to the disk.
func syncTree(path string) error {
	return filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		return syncDir(at)
	})
}

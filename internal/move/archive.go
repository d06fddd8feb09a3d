package move

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/oklog/ulid/v2"

	"godwit/bus"
)

const (
	manifestFile = "backup.json"
	lockFile     = "lock"
)

// maxFile is about how large a file of a backup gets, in bytes; smaller in tests.
var maxFile int64 = 64 << 20

// ErrNoBackup is the refusal of a directory that holds no whole backup.
var ErrNoBackup = errors.New("there is no backup")

// manifest is what a backup says of itself. It is replaced whole: each time a file is there, and
// once more when the backup is complete.
type manifest struct {
	Format     int    `json:"format"`
	Log        string `json:"log"`
	Partitions int    `json:"partitions"`
	// Files by stream: all that has been written, by a run that broke off too.
	Files map[string][]file `json:"files"`
	// Complete is the newest run that came to its end; nil before the first.
	Complete *cut `json:"complete"`
}

// cut is what a restore gives.
type cut struct {
	Time    time.Time `json:"time"`
	Streams []extent  `json:"streams"`
}

// extent is what belongs to a cut of one stream.
type extent struct {
	Name    string          `json:"name"`
	Kind    bus.Kind        `json:"kind"`
	First   uint64          `json:"first"`
	Last    uint64          `json:"last"`
	Deleted []uint64        `json:"deleted,omitempty"` // of a store, ascending: written once, gone when the cut was made
	Config  json.RawMessage `json:"config,omitempty"`
	Files   []file          `json:"files,omitempty"` // of a bucket, which is written anew by each run
}

// Archive is a backup: a directory that this process holds.
type Archive struct {
	dir  string
	lock *flock.Flock
	mu   sync.Mutex
	m    manifest
}

// OpenArchive opens a backup. With make a directory that is missing or empty becomes one.
func OpenArchive(dir string, make bool) (*Archive, error) {
	if !make {
		if _, err := os.Stat(filepath.Join(dir, manifestFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w in %s: it has no %s", ErrNoBackup, dir, manifestFile)
		}
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	a := &Archive{dir: dir, lock: flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))}
	held, err := a.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", dir, err)
	}
	if !held {
		return nil, fmt.Errorf("the backup in %s is being written or read by another process: wait for it", dir)
	}
	if err := a.load(make); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Archive) load(make bool) error {
	text, err := os.ReadFile(filepath.Join(a.dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) && make {
		others, err := os.ReadDir(a.dir)
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		if i := slices.IndexFunc(others, func(d fs.DirEntry) bool { return !passing(d.Name()) }); i >= 0 {
			return fmt.Errorf("%s holds %s and no backup: give an empty directory", a.dir, others[i].Name())
		}
		a.m = manifest{Format: Format, Files: map[string][]file{}}
		return nil
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := json.Unmarshal(text, &a.m); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, manifestFile, err)
	}
	if a.m.Format != Format {
		return fmt.Errorf("the backup in %s has format %d, and this program knows %d: use the version that wrote it", a.dir, a.m.Format, Format)
	}
	if a.m.Files == nil {
		a.m.Files = map[string][]file{}
	}
	return nil
}

// passing tells of names at the top of a backup that mean nothing.
func passing(name string) bool {
	return name == lockFile || strings.HasSuffix(name, partial) || strings.HasPrefix(name, copyPrefix)
}

// Close gives the directory free.
func (a *Archive) Close() error { return a.lock.Unlock() }

// Time is when the newest complete run took its cut; zero where there is none.
func (a *Archive) Time() time.Time {
	if a.m.Complete == nil {
		return time.Time{}
	}
	return a.m.Complete.Time
}

// save replaces the manifest. a.mu is held.
func (a *Archive) save() error {
	text, err := json.MarshalIndent(a.m, "", " ")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	at := filepath.Join(a.dir, manifestFile)
	f, err := os.OpenFile(at+partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(at+partial, at)
	}
	if err == nil {
		err = syncDir(a.dir)
	}
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// Identity implements Source: it is that of the newest complete run.
func (a *Archive) Identity(context.Context) (id bus.Identity, err error) {
	if a.m.Complete == nil {
		return id, fmt.Errorf("%w in %s that is complete: run godwit backup again until it ends well", ErrNoBackup, a.dir)
	}
	return a.identity()
}

func (a *Archive) identity() (id bus.Identity, err error) {
	id.Partitions = a.m.Partitions
	if id.Log, err = ulid.ParseStrict(a.m.Log); err != nil {
		return id, fmt.Errorf("%w: %s names log %q", ErrDamaged, manifestFile, a.m.Log)
	}
	return id, nil
}

// Streams implements Source.
func (a *Archive) Streams(ctx context.Context) ([]bus.RawStream, error) {
	if _, err := a.Identity(ctx); err != nil {
		return nil, err
	}
	var all []bus.RawStream
	for _, x := range a.m.Complete.Streams {
		all = append(all, bus.RawStream{Name: x.Name, Kind: x.Kind, First: x.First, Last: x.Last, Deleted: x.Deleted, Config: x.Config})
	}
	return all, nil
}

// Read implements Source.
func (a *Archive) Read(ctx context.Context, name string, from, to uint64) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		x, ok := a.extent(name)
		if !ok {
			yield(bus.Entry{}, fmt.Errorf("%w: it has no %s", ErrDamaged, name))
			return
		}
		from, to = max(from, x.First, 1), min(to, x.Last)
		for _, f := range a.files(x) {
			if f.Last < from || f.First > to {
				continue
			}
			enough := false
			err := readFile(a.dir, f, false, func(e bus.Entry) bool {
				if _, deleted := slices.BinarySearch(x.Deleted, e.Sequence); e.Sequence < from || e.Sequence > to || deleted {
					return e.Sequence < to
				}
				enough = !yield(e, nil) || ctx.Err() != nil
				return !enough
			})
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(bus.Entry{}, err)
				return
			}
			if enough {
				return
			}
		}
	}
}

func (a *Archive) extent(name string) (extent, bool) {
	if a.m.Complete == nil {
		return extent{}, false
	}
	i := slices.IndexFunc(a.m.Complete.Streams, func(x extent) bool { return x.Name == name })
	if i < 0 {
		return extent{}, false
	}
	return a.m.Complete.Streams[i], true
}

func (a *Archive) files(x extent) []file {
	if x.Kind == bus.Bucket {
		return x.Files
	}
	return a.m.Files[x.Name]
}

// Checked is what Verify has read.
type Checked struct {
	Files   int
	Entries uint64
	Bytes   int64
}

// Verify reads the whole of the newest complete backup and compares it with the manifest's sums:
// ErrDamaged. No record of the log may be missing.
func (a *Archive) Verify(ctx context.Context, progress Progress) (c Checked, err error) {
	id, err := a.Identity(ctx)
	if err != nil {
		return c, err
	}
	all, err := a.Streams(ctx)
	if err != nil {
		return c, err
	}
	if err := checkWhole(id, all); err != nil {
		return c, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	total := int64(0)
	for _, x := range a.m.Complete.Streams {
		for _, f := range a.files(x) {
			total += f.Bytes
		}
	}
	for _, x := range a.m.Complete.Streams {
		next := uint64(1)
		for _, f := range a.files(x) {
			if err := ctx.Err(); err != nil {
				return c, err
			}
			dense := true
			if err := readFile(a.dir, f, true, func(e bus.Entry) bool {
				dense = dense && e.Sequence == next
				next = e.Sequence + 1
				return true
			}); err != nil {
				return c, err
			}
			if x.Kind == bus.LogStream && !dense {
				return c, fmt.Errorf("%w: %s lacks records", ErrDamaged, f.Path)
			}
			c.Files, c.Entries, c.Bytes = c.Files+1, c.Entries+f.Entries, c.Bytes+f.Bytes
			if progress != nil {
				progress(x.Name, uint64(c.Bytes), uint64(total))
			}
		}
		if x.Kind == bus.LogStream && next <= x.Last {
			return c, fmt.Errorf("%w: %s ends at %d, not at %d", ErrDamaged, x.Name, next-1, x.Last)
		}
	}
	return c, nil
}

// sweep removes the files that the manifest does not name any more.
func (a *Archive) sweep() error {
	named := map[string]bool{}
	for files := range maps.Values(a.m.Files) {
		for _, f := range files {
			named[f.Path] = true
		}
	}
	for _, x := range a.m.Complete.Streams {
		for _, f := range x.Files {
			named[f.Path] = true
		}
	}
	return filepath.WalkDir(a.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(a.dir, path)
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), copyPrefix) {
			return fs.SkipDir // of this run
		}
		if err != nil || d.IsDir() || named[filepath.ToSlash(rel)] || filepath.Dir(rel) == "." {
			return err
		}
		return os.Remove(path)
	})
}

package move

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"godwit/bus"
)

// RolledBackError is the refusal to add to a backup that holds what the log does not hold any
// more.
type RolledBackError struct {
	Stream string
	At     uint64 // the last sequence of the backup
	Last   uint64 // of the log
}

func (e *RolledBackError) Error() string {
	if e.At > e.Last {
		return fmt.Sprintf("the log's %s ends at %d and the backup's at %d: the log has lost its tail or an older one was put in its place; keep this backup, and back up into another directory", e.Stream, e.Last, e.At)
	}
	return fmt.Sprintf("the log's %s holds another record at %d than the backup: the log has lost its tail or an older one was put in its place; keep this backup, and back up into another directory", e.Stream, e.At)
}

// backing is one run of a backup.
type backing struct {
	src *bus.Raw
	a   *Archive
	o   Options
	run string // names the files of buckets

	mu      sync.Mutex
	extents []extent
	report  Report
}

// ToArchive adds to a backup what a log has got since the run before, or all there is. The log
// may be in use.
func ToArchive(ctx context.Context, src *bus.Raw, a *Archive, o Options) (Report, error) {
	began := time.Now()
	b := &backing{src: src, a: a, o: o, run: began.UTC().Format("20060102T150405.000000000")}
	id, err := identity(ctx, src)
	if err != nil {
		return b.report, err
	}
	b.report.Log = id
	if a.m.Log == "" {
		a.m.Log, a.m.Partitions = id.Log.String(), id.Partitions
	}
	if have, err := a.identity(); err != nil {
		return b.report, err
	} else if have != id {
		return b.report, fmt.Errorf("the backup is of log %s and this one is %s: give another directory", have.Log, id.Log)
	}
	all, err := src.Streams(ctx)
	if err != nil {
		return b.report, err
	}
	if err := checkWhole(id, all); err != nil {
		return b.report, err
	}
	if err := a.save(); err != nil { // from here on the directory is a backup, begun
		return b.report, err
	}
	all = ordered(all)
	// What refers is read before what it refers to; see the package's Cuts.
	for _, s := range all {
		if s.Kind == bus.Bucket && s.Name != transfers {
			if err := b.bucket(ctx, s); err != nil {
				return b.report, err
			}
		}
	}
	for i, s := range all {
		if s.Kind != bus.LogStream {
			continue
		}
		if all[i], err = src.State(ctx, s.Name); err != nil {
			return b.report, err
		}
		if err := b.goesOn(ctx, all[i]); err != nil {
			return b.report, err
		}
	}
	at := time.Now().UTC()
	if err := each(ctx, all, bus.LogStream, b.log); err != nil {
		return b.report, err
	}
	for _, s := range all {
		if s.Name == transfers {
			if err := b.bucket(ctx, s); err != nil {
				return b.report, err
			}
		}
	}
	if err := each(ctx, all, bus.Store, b.store); err != nil {
		return b.report, err
	}
	slices.SortFunc(b.extents, func(x, y extent) int {
		return slices.IndexFunc(all, func(s bus.RawStream) bool { return s.Name == x.Name }) - slices.IndexFunc(all, func(s bus.RawStream) bool { return s.Name == y.Name })
	})
	b.prune()
	a.m.Complete = &cut{Time: at, Streams: b.extents}
	if err := a.save(); err != nil {
		return b.report, err
	}
	b.report.Took = time.Since(began)
	b.report.sort()
	return b.report, a.sweep()
}

// transfers is the table of files that are passed on. It names objects, so it is read with them.
const transfers = "KV_transfers"

func (b *backing) done(s bus.RawStream, files []file, written uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := extent{Name: s.Name, Kind: s.Kind, First: s.First, Last: s.Last, Config: s.Config, Files: files}
	if s.Kind == bus.Store {
		x.Deleted = slices.Sorted(slices.Values(s.Deleted))
	}
	b.extents = append(b.extents, x)
	b.report.Streams = append(b.report.Streams, Copied{Name: s.Name, Kind: s.Kind, Last: s.Last, New: written})
}

// has is the last file of a stream that the backup holds.
func (b *backing) has(name string) (f file, ok bool) {
	b.a.mu.Lock()
	defer b.a.mu.Unlock()
	files := b.a.m.Files[name]
	if len(files) == 0 {
		return f, false
	}
	return files[len(files)-1], true
}

// goesOn refuses a log that is not the continuation of what the backup holds.
func (b *backing) goesOn(ctx context.Context, s bus.RawStream) error {
	f, ok := b.has(s.Name)
	if !ok {
		return nil
	}
	if s.Last < f.Last {
		return &RolledBackError{Stream: s.Name, At: f.Last, Last: s.Last}
	}
	e, err := entryAt(ctx, b.src, s.Name, f.Last)
	if err != nil {
		return err
	}
	if fingerprint(e) != f.Print {
		return &RolledBackError{Stream: s.Name, At: f.Last, Last: s.Last}
	}
	return nil
}

// log writes what a stream of the log has got since.
func (b *backing) log(ctx context.Context, s bus.RawStream) error {
	last := uint64(0)
	if f, ok := b.has(s.Name); ok {
		last = f.Last
	}
	written, err := b.tail(ctx, s, last, func(e bus.Entry) error {
		if e.Sequence != last+1 {
			return fmt.Errorf("%s: the log goes on at %d after %d", s.Name, e.Sequence, last)
		}
		last++
		return nil
	})
	if err == nil && last != s.Last {
		err = fmt.Errorf("%s: the log ended at %d, not at %d", s.Name, last, s.Last)
	}
	b.done(s, nil, written)
	return err
}

// store writes what a store has got since. One that was made anew is written from its beginning.
func (b *backing) store(ctx context.Context, s bus.RawStream) error {
	s, err := b.src.State(ctx, s.Name) // now: a message of the copy may speak of the newest object
	if err != nil || s.Name == "" {
		return err
	}
	last := uint64(0)
	if f, ok := b.has(s.Name); ok {
		last = f.Last
		e, err := b.src.Entry(ctx, s.Name, last)
		switch {
		case last > s.Last, err == nil && fingerprint(e) != f.Print:
			b.a.mu.Lock()
			b.a.m.Files[s.Name], last = nil, 0
			b.a.mu.Unlock()
		case err != nil && !errors.Is(err, bus.ErrNoRecord):
			return err
		}
	}
	written, err := b.tail(ctx, s, last, func(bus.Entry) error { return nil })
	b.done(s, nil, written)
	return err
}

// tail writes what comes behind last into files of their own, each known to the manifest as soon
// as it is there.
func (b *backing) tail(ctx context.Context, s bus.RawStream, last uint64, check func(bus.Entry) error) (written uint64, err error) {
	keep := func(f file) error {
		b.a.mu.Lock()
		defer b.a.mu.Unlock()
		b.a.m.Files[s.Name] = append(b.a.m.Files[s.Name], f)
		return b.a.save()
	}
	return b.write(ctx, s, last+1, s.Name, check, keep)
}

// bucket writes all values of a bucket.
func (b *backing) bucket(ctx context.Context, s bus.RawStream) error {
	s, err := b.src.State(ctx, s.Name)
	if err != nil || s.Name == "" {
		return err
	}
	var files []file
	written, err := b.write(ctx, s, 1, path.Join(s.Name, b.run), func(bus.Entry) error { return nil }, func(f file) error {
		files = append(files, f)
		return nil
	})
	b.done(s, files, written)
	return err
}

// write reads a stream from a sequence to its end and writes it into files below a directory.
func (b *backing) write(ctx context.Context, s bus.RawStream, from uint64, dir string, check func(bus.Entry) error, keep func(file) error) (written uint64, err error) {
	var w *writer
	defer func() {
		if w != nil {
			w.drop()
		}
	}()
	finish := func() error {
		f, err := w.finish()
		w = nil
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		written += f.Entries
		return keep(f)
	}
	for e, err := range b.src.Read(ctx, s.Name, from, s.Last) {
		if err != nil {
			return written, err
		}
		if err := check(e); err != nil {
			return written, err
		}
		if w == nil {
			if w, err = newWriter(b.a.dir, path.Join(dir, fmt.Sprintf("%020d", e.Sequence))); err != nil {
				return written, fmt.Errorf("backup: %w", err)
			}
		}
		if err := w.entry(e); err != nil {
			return written, fmt.Errorf("backup: %w", err)
		}
		if w.is.Bytes >= maxFile {
			if err := finish(); err != nil {
				return written, err
			}
			b.progress(s.Name, e.Sequence, s.Last)
		}
	}
	if w != nil {
		return written, finish()
	}
	return written, nil
}

func (b *backing) progress(name string, done, total uint64) {
	if b.o.Progress != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.o.Progress(name, done, total)
	}
}

// prune forgets files of stores in which nothing is left.
func (b *backing) prune() {
	for _, x := range b.extents {
		if x.Kind == bus.Store {
			b.a.m.Files[x.Name] = slices.DeleteFunc(b.a.m.Files[x.Name], func(f file) bool { return f.Last < x.First })
		}
	}
}

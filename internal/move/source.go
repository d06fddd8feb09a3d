package move

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"

	"godwit/bus"
)

// Source is where a log is copied from: a bus.Raw or an Archive.
type Source interface {
	// Identity says which log it is; bus.ErrNoRecord where there is none.
	Identity(ctx context.Context) (bus.Identity, error)
	// Streams lists all there is to carry.
	Streams(ctx context.Context) ([]bus.RawStream, error)
	// Read yields a stream's entries from one sequence to another, both included.
	Read(ctx context.Context, name string, from, to uint64) iter.Seq2[bus.Entry, error]
}

// Progress is told now and then how much of a stream has been copied, by one goroutine at a time.
type Progress func(stream string, done, total uint64)

// Copied is what became of one stream.
type Copied struct {
	Name string
	Kind bus.Kind
	Last uint64 // its last sequence
	New  uint64 // entries that this run has written
}

// What is gathered before it is written.
var chunkEntries = 4096 // smaller in tests

const (
	chunkBytes = 16 << 20
	// atOnce is how many streams are copied at a time.
	atOnce = 4
)

// pump reads a stream and hands over what it reads in chunks.
func pump(ctx context.Context, src Source, name string, from, to uint64, write func([]bus.Entry) error) error {
	var chunk []bus.Entry
	size := 0
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		err := write(chunk)
		chunk, size = chunk[:0], 0
		return err
	}
	for e, err := range src.Read(ctx, name, from, to) {
		if err != nil {
			return err
		}
		chunk, size = append(chunk, e), size+len(e.Data)
		if len(chunk) == chunkEntries || size >= chunkBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// entryAt reads one entry.
func entryAt(ctx context.Context, src Source, name string, seq uint64) (bus.Entry, error) {
	for e, err := range src.Read(ctx, name, seq, seq) {
		return e, err
	}
	return bus.Entry{}, fmt.Errorf("%s at %d: %w", name, seq, bus.ErrNoRecord)
}

// each runs f for every stream of a kind, several at a time.
func each(ctx context.Context, all []bus.RawStream, kind bus.Kind, f func(context.Context, bus.RawStream) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, s := range all {
		if s.Kind == kind {
			g.Go(func() error { return f(ctx, s) })
		}
	}
	return g.Wait()
}

// ordered lists streams in the order in which they are copied.
func ordered(all []bus.RawStream) []bus.RawStream {
	byName := make(map[string]bus.RawStream, len(all))
	names := make([]string, 0, len(all))
	for _, s := range all {
		byName[s.Name] = s
		names = append(names, s.Name)
	}
	out := make([]bus.RawStream, 0, len(all))
	for _, name := range bus.CopyOrder(names) {
		out = append(out, byName[name])
	}
	return out
}

// ErrNoLog is the refusal of a source that holds none.
var ErrNoLog = errors.New("there is no log")

func identity(ctx context.Context, src Source) (bus.Identity, error) {
	id, err := src.Identity(ctx)
	if errors.Is(err, bus.ErrNoRecord) {
		return id, fmt.Errorf("%w to copy: give the place of one that a server has written", ErrNoLog)
	}
	return id, err
}

// checkWhole refuses a source that lacks streams of its log.
func checkWhole(id bus.Identity, all []bus.RawStream) error {
	logs := 0
	for _, s := range all {
		if s.Kind == bus.LogStream {
			logs++
		}
	}
	if want := 2 + id.Partitions; logs != want {
		return fmt.Errorf("the source holds %d of the %d streams of its log: nothing was copied", logs, want)
	}
	return nil
}

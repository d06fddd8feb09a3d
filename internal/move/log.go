package move

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"godwit/bus"
)

// Options of a copy into a log's servers. The zero value is a move.
type Options struct {
	// NewEpochs begins another history: a restore, which may go back behind what was seen.
	NewEpochs bool
	// ReplaceUnused takes the place of another log in which nothing has ever happened.
	ReplaceUnused bool
	// SkipVerify leaves out reading all of it back and comparing.
	SkipVerify bool
	Progress   Progress
	Logger     *slog.Logger // default: silent
}

// Report says what a copy has done.
type Report struct {
	Log       bus.Identity
	Streams   []Copied
	NewEpochs bool // every stream has a new epoch
	Verified  bool
	Took      time.Duration
}

// New is how many entries were written.
func (r Report) New() (n uint64) {
	for _, s := range r.Streams {
		n += s.New
	}
	return n
}

// sort lists streams in the order of copying.
func (r *Report) sort() {
	var names []string
	for _, s := range r.Streams {
		names = append(names, s.Name)
	}
	names = bus.CopyOrder(names)
	slices.SortFunc(r.Streams, func(a, b Copied) int { return slices.Index(names, a.Name) - slices.Index(names, b.Name) })
}

// Records is how many records the log has at the target.
func (r Report) Records() (n uint64) {
	for _, s := range r.Streams {
		if s.Kind == bus.LogStream {
			n += s.Last
		}
	}
	return n
}

// OtherLogError is the refusal of a target that holds something else.
type OtherLogError struct{ Have, Want bus.Identity }

func (e *OtherLogError) Error() string {
	if e.Have.Log == e.Want.Log {
		return fmt.Sprintf("the target's log has %d partitions and the source's %d: give another target", e.Have.Partitions, e.Want.Partitions)
	}
	return fmt.Sprintf("the target holds another log, %s, and the source is %s: give an empty target, or --replace-unused if nothing has happened there yet", e.Have.Log, e.Want.Log)
}

// AheadError is the refusal of a target that is not the beginning of the source.
type AheadError struct {
	Stream string
	At     uint64 // a sequence that both should hold and do not hold alike
	Last   uint64 // of the source
}

func (e *AheadError) Error() string {
	if e.At > e.Last {
		return fmt.Sprintf("%s has %d records at the target and %d at the source: a server has gone on there, or the source is older; give an empty target", e.Stream, e.At, e.Last)
	}
	return fmt.Sprintf("%s differs at record %d between target and source: they have gone different ways; give an empty target", e.Stream, e.At)
}

// copying is one copy into a log's servers.
type copying struct {
	src Source
	dst *bus.Raw
	o   Options

	mu     sync.Mutex
	report Report
}

// ToLog copies all that src holds to the servers of dst, behind what an earlier copy has left
// there, compares the two and seals the log. src must not change meanwhile: it is a directory
// that is locked, or a backup.
func ToLog(ctx context.Context, src Source, dst *bus.Raw, o Options) (Report, error) {
	began := time.Now()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &copying{src: src, dst: dst, o: o}
	id, err := identity(ctx, src)
	if err != nil {
		return c.report, err
	}
	c.report.Log = id
	all, err := src.Streams(ctx)
	if err != nil {
		return c.report, err
	}
	if err := checkWhole(id, all); err != nil {
		return c.report, err
	}
	all = ordered(all)
	if err := c.preflight(ctx, id, all); err != nil {
		return c.report, err
	}
	sealed, err := dst.Sealed(ctx)
	if err != nil {
		return c.report, err
	}
	for _, s := range all {
		if err := dst.Make(ctx, s); err != nil {
			return c.report, err
		}
	}
	for _, step := range []struct {
		kind bus.Kind
		f    func(context.Context, bus.RawStream) error
	}{{bus.Bucket, c.bucket}, {bus.LogStream, c.log}, {bus.Store, c.store}} {
		if err := each(ctx, all, step.kind, step.f); err != nil {
			return c.report, err
		}
	}
	if !o.SkipVerify {
		if err := c.verify(ctx, all); err != nil {
			return c.report, err
		}
		c.report.Verified = true
	}
	if o.NewEpochs && (!sealed || c.report.New() > 0) {
		if err := dst.NewEpochs(ctx, id.Partitions); err != nil {
			return c.report, err
		}
		c.report.NewEpochs = true
	}
	c.report.Took = time.Since(began)
	c.report.sort()
	return c.report, dst.Seal(ctx)
}

// preflight refuses before anything is written.
func (c *copying) preflight(ctx context.Context, id bus.Identity, all []bus.RawStream) error {
	have, err := c.dst.Identity(ctx)
	switch {
	case errors.Is(err, bus.ErrNoRecord):
	case err != nil:
		return err
	case have != id && c.o.ReplaceUnused:
		if err := c.dst.RemoveUnused(ctx); err != nil {
			return fmt.Errorf("the log at the target stays: %w", err)
		}
	case have != id:
		return &OtherLogError{Have: have, Want: id}
	}
	for _, s := range all {
		if s.Kind != bus.LogStream {
			continue
		}
		at, err := c.dst.State(ctx, s.Name)
		if err != nil {
			return err
		}
		if at.Last > s.Last {
			return &AheadError{Stream: s.Name, At: at.Last, Last: s.Last}
		}
		for _, seq := range []uint64{1, at.Last} {
			if at.Last == 0 {
				continue
			}
			theirs, err := c.dst.Entry(ctx, s.Name, seq)
			if errors.Is(err, bus.ErrNoRecord) {
				return &AheadError{Stream: s.Name, At: seq, Last: s.Last}
			}
			if err != nil {
				return err
			}
			ours, err := entryAt(ctx, c.src, s.Name, seq)
			if err != nil {
				return err
			}
			if !ours.Same(theirs) {
				return &AheadError{Stream: s.Name, At: seq, Last: s.Last}
			}
		}
	}
	return nil
}

func (c *copying) done(s bus.RawStream, written uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Streams = append(c.report.Streams, Copied{Name: s.Name, Kind: s.Kind, Last: s.Last, New: written})
}

func (c *copying) progress(name string, done, total uint64) {
	if c.o.Progress != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.o.Progress(name, done, total)
	}
}

// log copies a stream of the log.
func (c *copying) log(ctx context.Context, s bus.RawStream) error {
	at, err := c.dst.State(ctx, s.Name)
	if err != nil {
		return err
	}
	last := at.Last
	err = pump(ctx, c.src, s.Name, at.Last+1, s.Last, func(chunk []bus.Entry) (err error) {
		if chunk[0].Sequence != last+1 || chunk[len(chunk)-1].Sequence != last+uint64(len(chunk)) {
			return fmt.Errorf("%s: the source goes on at %d after %d", s.Name, chunk[0].Sequence, last)
		}
		last, err = c.dst.Append(ctx, s.Name, last, chunk)
		c.progress(s.Name, last, s.Last)
		return err
	})
	if err == nil && last != s.Last {
		err = fmt.Errorf("%s: the source ended at %d, not at %d", s.Name, last, s.Last)
	}
	c.done(s, last-at.Last)
	return err
}

// bucket writes the values that the target has not, or has others of.
func (c *copying) bucket(ctx context.Context, s bus.RawStream) error {
	if s.Name == bus.EpochStream && c.o.NewEpochs {
		return nil
	}
	at, err := c.dst.State(ctx, s.Name)
	if err != nil {
		return err
	}
	last, written := at.Last, uint64(0)
	err = pump(ctx, c.src, s.Name, 1, s.Last, func(chunk []bus.Entry) error {
		var fresh []bus.Entry
		for _, e := range chunk {
			if at.Last > 0 {
				v, err := c.dst.Value(ctx, s.Name, e.Subject)
				if err == nil && v.Same(e) {
					continue
				}
				if err != nil && !errors.Is(err, bus.ErrNoRecord) {
					return err
				}
			}
			fresh = append(fresh, e)
		}
		next, err := c.dst.Append(ctx, s.Name, last, fresh)
		written += next - last
		last = next
		return err
	})
	c.done(s, written)
	return err
}

// store copies objects behind what is there. Sequences of a store mean nothing.
func (c *copying) store(ctx context.Context, s bus.RawStream) error {
	from, err := c.storeFrom(ctx, s)
	if err != nil {
		return err
	}
	at, err := c.dst.State(ctx, s.Name)
	if err != nil {
		return err
	}
	last := at.Last
	err = pump(ctx, c.src, s.Name, from, s.Last, func(chunk []bus.Entry) (err error) {
		last, err = c.dst.Append(ctx, s.Name, last, chunk)
		c.progress(s.Name, chunk[len(chunk)-1].Sequence, s.Last)
		return err
	})
	c.done(s, last-at.Last)
	return err
}

// storeFrom finds where an earlier copy of a store broke off: behind the source's entry that is
// the target's last one. Where there is none the store is copied anew.
func (c *copying) storeFrom(ctx context.Context, s bus.RawStream) (uint64, error) {
	at, err := c.dst.State(ctx, s.Name)
	if err != nil || at.Last == 0 {
		return 1, err
	}
	end, err := c.dst.Entry(ctx, s.Name, at.Last)
	if errors.Is(err, bus.ErrNoRecord) {
		return 1, c.dst.Empty(ctx, s.Name)
	}
	if err != nil {
		return 0, err
	}
	for e, err := range c.src.Read(ctx, s.Name, 1, s.Last) {
		if err != nil {
			return 0, err
		}
		if e.Same(end) {
			return e.Sequence + 1, nil
		}
	}
	return 1, c.dst.Empty(ctx, s.Name)
}

// verify reads all of the log and the stores at both places and compares.
func (c *copying) verify(ctx context.Context, all []bus.RawStream) error {
	for _, kind := range []bus.Kind{bus.LogStream, bus.Store} {
		if err := each(ctx, all, kind, c.same); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) same(ctx context.Context, s bus.RawStream) error {
	at, err := c.dst.State(ctx, s.Name)
	if err != nil {
		return err
	}
	theirs, stop := iter.Pull2(c.dst.Read(ctx, s.Name, 1, at.Last))
	defer stop()
	for ours, err := range c.src.Read(ctx, s.Name, 1, s.Last) {
		if err != nil {
			return err
		}
		there, err, ok := theirs()
		if err != nil {
			return err
		}
		if !ok || !ours.Same(there) || s.Kind == bus.LogStream && ours.Sequence != there.Sequence {
			return fmt.Errorf("%s at the target is not what was copied, from sequence %d on: the target is of no use, take another", s.Name, ours.Sequence)
		}
	}
	if there, err, ok := theirs(); err != nil || ok {
		return errors.Join(err, fmt.Errorf("%s at the target holds more than was copied, at %d: somebody else writes there", s.Name, there.Sequence))
	}
	return nil
}

package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/schema/event"
)

// Limits of a view.
const (
	// CommitEvents and CommitEvery say when folded records are committed.
	CommitEvents = 10_000
	CommitEvery  = 50 * time.Millisecond
	// EffectsHeld is how many positions the effects bucket goes back at least. It is
	// part of the view's contents: changing it needs new formats.
	EffectsHeld = 1_000_000

	// An overlay that has reached one of these takes nothing more while the other is
	// being committed.
	maxOverlayEvents = 2 * CommitEvents
	maxOverlayBytes  = 24 << 20
)

// The engine's buckets, first of the slots.
const (
	metaSlot = iota
	writersSlot
	effectsSlot
	ownSlots
)

// Config says what a view is and where it lives. Dir, Fold and Log are needed.
type Config struct {
	Dir    string   // directory of the file, which must exist
	Fold   Fold     //
	Log    event.ID // the log the stream belongs to; a file of another log is rebuilt
	Logger *slog.Logger

	// Newer, if not nil, is asked by Open for a copy of the file (see View.Copy) that is
	// to take its place: have is where the file is, the zero value where there is none
	// that can be used. It gives the path of a file on the same file system, which Open
	// takes away, or "" where nothing is worth having. What it gives must fit the log:
	// Open checks only that it is of this view, format and log.
	Newer func(have bus.Checkpoint) (path string)

	// EffectsHeld overrides the constant in tests.
	EffectsHeld uint64
	// BootID overrides the machine's boot id in tests.
	BootID string
}

// View is one fold with its file. All methods may be called from any goroutine,
// Apply by one at a time. Whoever opens it closes it.
type View struct {
	fold     Fold
	name     string
	path     string
	log      event.ID
	boot     string
	held     uint64
	logger   *slog.Logger
	newer    func(bus.Checkpoint) string
	prefixes []string

	folded    atomic.Uint64
	committed atomic.Uint64
	handover  atomic.Bool // the committer wants mu; Apply yields at a record's end

	dbMu sync.RWMutex // readers of the file against its replacement; taken before mu

	mu          sync.Mutex
	cond        *sync.Cond // com, closed, broken or handover changed
	db          *bolt.DB   // replaced with dbMu and mu held
	cur, com    *overlay   // com is nil while nothing is being committed
	spare       *overlay
	rowBuf      []byte // for effects rows
	slots       []slot
	slotOf      map[string]int
	at          point  // state after the newest folded record
	lastData    []byte // of that record,
	unprint     bool   // while its fingerprint is not yet computed
	waiters     []waiter
	closed      bool
	interrupted bool  // Apply takes nothing more
	failed      error // why the last commit failed
	broken      error // the file cannot be used any more; only Reset helps
	urgent      bool
	resets      int // number of Resets, so that an Apply notices one

	beforeWrite func() error // tests only: a commit that cannot be written

	timer *time.Timer
	kick  chan struct{}
	stop  chan struct{}
	done  chan struct{}
}

// slot is a bucket as overlays number it.
type slot struct {
	name string
	key  []byte
	fill float64
}

// point is what the meta bucket says about the newest record.
type point struct {
	bus.Checkpoint
	effectsFirst  uint64 // first sequence the effects bucket holds
	effectsWeight uint64
}

type waiter struct {
	sequence uint64
	done     chan error // of capacity 1
}

// Open opens the view's file, or begins an empty one where there is none that can
// be trusted. It fails only for what replay cannot mend: a directory that cannot
// be written, a file that another process has open.
func Open(cfg Config) (*View, error) {
	v := &View{
		fold:   cfg.Fold,
		name:   cfg.Fold.Name(),
		log:    cfg.Log,
		boot:   cfg.BootID,
		held:   cfg.EffectsHeld,
		logger: cfg.Logger,
		newer:  cfg.Newer,
		slotOf: make(map[string]int),
		cur:    new(overlay),
		spare:  new(overlay),
		timer:  time.NewTimer(math.MaxInt64),
		kick:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	v.timer.Stop()
	v.cond = sync.NewCond(&v.mu)
	v.path = filepath.Join(cfg.Dir, v.name+".db")
	if v.logger == nil {
		v.logger = slog.New(slog.DiscardHandler)
	}
	v.logger = v.logger.With("view", v.name)
	if v.boot == "" {
		v.boot = bootID()
	}
	if v.held == 0 {
		v.held = EffectsHeld
	}
	for _, name := range []string{"meta", "writers", "effects"} {
		v.addSlot(name)
	}
	for _, name := range v.fold.Buckets() {
		if p, ok := strings.CutSuffix(name, "*"); ok {
			v.prefixes = append(v.prefixes, p)
		} else {
			v.addSlot(name)
		}
	}
	if err := v.open(); err != nil {
		return nil, fmt.Errorf("open view %s: %w", v.name, err)
	}
	go v.commitLoop()
	return v, nil
}

// Name is the fold's.
func (v *View) Name() string { return v.name }

// Fold is the view's fold.
func (v *View) Fold() Fold { return v.fold }

// Path is the view's file.
func (v *View) Path() string { return v.path }

// slot numbers a bucket. An undeclared one is a bug of the fold.
func (v *View) slot(name string) int {
	if s, ok := v.slotOf[name]; ok {
		return s
	}
	for _, p := range v.prefixes {
		if strings.HasPrefix(name, p) {
			return v.addSlot(name)
		}
	}
	panic(fmt.Sprintf("view %s: bucket %q is not declared", v.name, name))
}

func (v *View) addSlot(name string) int {
	s := len(v.slots)
	fill := bolt.DefaultFillPercent
	if f, ok := v.fold.(interface{ FillPercent(bucket string) float64 }); ok {
		if p := f.FillPercent(name); p > 0 {
			fill = p
		}
	}
	if s == effectsSlot {
		fill = 0.95 // keys only grow
	}
	v.slots = append(v.slots, slot{name: name, key: []byte(name), fill: fill})
	v.slotOf[name] = s
	return s
}

// Checkpoint is the newest folded record and the epoch. The fold is ahead of the
// file: what is not committed is folded again after a crash.
func (v *View) Checkpoint() bus.Checkpoint {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fingerprint()
	return v.at.Checkpoint
}

// Folded is the newest folded position.
func (v *View) Folded() uint64 { return v.folded.Load() }

// Committed is the newest position in the file. Folded is never below it, but the
// two are read one after the other.
func (v *View) Committed() uint64 { return v.committed.Load() }

// Epoch is the stream's epoch that the view's positions belong to.
func (v *View) Epoch() event.ID {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.at.Epoch
}

// SetEpoch notes the stream's epoch; it is in the file after the next commit.
func (v *View) SetEpoch(epoch event.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at.Epoch != epoch {
		v.at.Epoch = epoch
		v.markDirty()
	}
}

// Healthy says why the view does not get on: the last commit failed (it is tried
// again), the file is corrupt (Reset rebuilds it), or it is closed. Nil if fine.
func (v *View) Healthy() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.healthy()
}

func (v *View) healthy() error {
	switch {
	case v.closed:
		return ErrClosed
	case v.broken != nil:
		return v.broken
	}
	return v.failed
}

// fingerprint computes the newest record's, which is put off until somebody asks.
func (v *View) fingerprint() {
	if v.unprint {
		v.at.Fingerprint = bus.FingerprintOf(v.lastData)
		v.lastData, v.unprint = nil, false
	}
}

// Apply folds records, which must continue the newest one without a jump. It
// returns what came of each record that was folded, and then an error if one was
// not: ErrUnknownRule, ErrGap, ErrCorrupt (Reset is needed), ErrReset, ErrClosed.
// While the disk does not keep up it waits.
//
// A record that cannot be decoded is passed over, as an unknown event is, and so is
// one without data (a position that the stream has lost).
func (v *View) Apply(batch []bus.Recorded) (applied []Applied, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	v.mu.Lock()
	defer v.mu.Unlock()
	tx := &Tx{v: v}
	defer tx.release()
	defer v.recoverFault("fold", &err)
	defer func() {
		v.folded.Store(v.at.Sequence)
		if v.wanted() {
			v.kickCommit(true)
		}
	}()

	resets := v.resets
	applied = make([]Applied, 0, len(batch))
	for i := range batch {
		r := &batch[i]
		if err := v.room(tx); err != nil {
			return applied, err
		}
		if v.resets != resets {
			return applied, ErrReset
		}
		if r.Sequence != v.at.Sequence+1 {
			return applied, fmt.Errorf("%w: %d after %d", ErrGap, r.Sequence, v.at.Sequence)
		}
		a, err := v.applyOne(tx, r)
		if err != nil {
			return applied, fmt.Errorf("record %d: %w", r.Sequence, err)
		}
		applied = append(applied, a)
	}
	return applied, nil
}

// Interrupt has Apply return ErrClosed, also one that waits for a disk that does
// not keep up. What was folded is still read and committed, until Close.
func (v *View) Interrupt() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.interrupted = true
	v.cond.Broadcast()
}

// room waits until the current overlay may take another record, and lets the
// committer in where it waits.
func (v *View) room(tx *Tx) error {
	for {
		if err := cmpErr(v.closed || v.interrupted, ErrClosed, v.broken); err != nil {
			return err
		}
		full := v.cur.events >= maxOverlayEvents || v.cur.arena.bytes >= maxOverlayBytes
		if !full && !v.handover.Load() {
			return nil
		}
		if full {
			v.kickCommit(true)
		}
		v.folded.Store(v.at.Sequence)
		tx.release()
		v.cond.Wait()
	}
}

func cmpErr(closed bool, errClosed, broken error) error {
	if closed {
		return errClosed
	}
	return broken
}

func (v *View) applyOne(tx *Tx, r *bus.Recorded) (Applied, error) {
	a := Applied{Sequence: r.Sequence}
	rec := new(event.Record)
	if len(r.Data) == 0 {
		rec = nil // lost for good: a position without events
	} else if err := proto.Unmarshal(r.Data, rec); err != nil {
		v.logger.Error("record is not decodable and was passed over", "seq", r.Sequence, "err", err)
		rec = nil
	}
	if rec != nil {
		if rec.Rule == 0 || rec.Rule > event.Rule {
			return a, fmt.Errorf("rule %d: %w", rec.Rule, ErrUnknownRule)
		}
		a.Writer, a.N = event.ToID(rec.Writer), rec.N
		if a.Repeated = v.repeated(tx, &a); !a.Repeated {
			a.Effects = v.fold.Apply(tx, r.Sequence, rec)
		}
	}
	v.keepEffects(tx, &a)
	v.at.Sequence = r.Sequence
	v.lastData, v.unprint = r.Data, true
	v.cur.events += weight(len(a.Effects))
	v.markDirty()
	if v.cur.events >= CommitEvents {
		v.kickCommit(false)
	}
	return a, nil
}

// repeated tells a record that was stored twice, and notes the writer's newest.
// A record without a writer is never one.
func (v *View) repeated(tx *Tx, a *Applied) bool {
	if a.Writer == (event.ID{}) {
		return false
	}
	if last := tx.get(writersSlot, a.Writer[:]); len(last) == 8 && a.N <= be.Uint64(last) {
		return true
	}
	var n [8]byte
	be.PutUint64(n[:], a.N)
	tx.put(writersSlot, a.Writer[:], n[:])
	return false
}

// recoverFault turns a panic over a broken file into ErrCorrupt. The overlay may
// hold half a record then, so nothing but Reset goes on from there.
func (v *View) recoverFault(doing string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	v.breakLocked(doing, p)
	*err = v.broken
}

func (v *View) breakLocked(doing string, p any) {
	v.logger.Error("view is unusable and must be rebuilt", "doing", doing, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	v.broken = fmt.Errorf("%w: %s: %v", ErrCorrupt, doing, p)
	v.failWaiters(v.broken)
	v.cond.Broadcast()
}

// WaitCommitted returns when position sequence is in the file, which it makes
// happen at once when the fold has reached it.
func (v *View) WaitCommitted(ctx context.Context, sequence uint64) error {
	if v.committed.Load() >= sequence && ctx.Err() == nil {
		return nil
	}
	v.mu.Lock()
	if err := cmpErr(v.closed, ErrClosed, v.broken); err != nil {
		v.mu.Unlock()
		return err
	}
	if v.committed.Load() >= sequence {
		v.mu.Unlock()
		return ctx.Err()
	}
	w := waiter{sequence: sequence, done: make(chan error, 1)}
	v.waiters = append(v.waiters, w)
	if v.at.Sequence >= sequence {
		v.kickCommit(true)
	}
	v.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	v.mu.Lock()
	for i := range v.waiters {
		if v.waiters[i].done == w.done {
			v.waiters = append(v.waiters[:i], v.waiters[i+1:]...)
			break
		}
	}
	v.mu.Unlock()
	return fmt.Errorf("wait for position %d of %s: %w", sequence, v.name, context.Cause(ctx))
}

// wanted tells whether somebody waits for what is folded and not yet committed.
func (v *View) wanted() bool {
	for i := range v.waiters {
		if v.waiters[i].sequence <= v.at.Sequence {
			return true
		}
	}
	return false
}

func (v *View) failWaiters(err error) {
	for _, w := range v.waiters {
		w.done <- err
	}
	v.waiters = nil
}

// Reset drops everything and starts at 0 in a new epoch. Who waits for a position
// gets ErrReset. It mends a view that is corrupt.
func (v *View) Reset(epoch event.ID) error {
	// The committer holds dbMu while it writes, so it is not in the file now.
	v.dbMu.Lock()
	defer v.dbMu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	v.resets++
	v.failWaiters(ErrReset)
	v.cur, v.com, v.spare = new(overlay), nil, new(overlay)
	v.lastData, v.unprint = nil, false
	v.failed = nil
	closeQuietly(v.db)
	v.cond.Broadcast()
	if err := v.recreate(); err != nil {
		v.broken = fmt.Errorf("reset view %s: %w", v.name, err)
		return v.broken
	}
	v.broken = nil
	v.at.Epoch = epoch
	v.markDirty()
	return nil
}

// Close commits what is folded, syncs the file and marks it clean. If that fails
// the file stays marked as it was: the next start goes on from the last commit, or
// rebuilds after a reboot.
func (v *View) Close() error { return v.shut(true) }

// Abandon closes the view as a killed process does: nothing more is committed and
// the file is not marked clean. For tests.
func (v *View) Abandon() error { return v.shut(false) }

func (v *View) shut(commit bool) (err error) {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return nil
	}
	v.closed = true
	v.failWaiters(ErrClosed)
	v.cond.Broadcast()
	v.mu.Unlock()
	close(v.stop)
	<-v.done
	v.timer.Stop()

	v.dbMu.Lock()
	defer v.dbMu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if commit && v.broken == nil {
		err = v.commitRest()
		if err == nil {
			err = v.markClean()
		}
	}
	err = errors.Join(err, v.db.Close())
	if err != nil {
		return fmt.Errorf("close view %s: %w", v.name, err)
	}
	return nil
}

package owner

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"

	"godwit/bus"
	"godwit/projections/view"
	"godwit/schema/event"
)

const (
	// snapshotsKept is how many snapshots of a view are kept, the newest.
	snapshotsKept = 2
	// snapshotAge is when one is written anew though little has changed, so that a store
	// that forgets what is old never forgets the last one.
	snapshotAge = 7 * 24 * time.Hour
	// snapshotLook is how often it is looked whether one is due.
	snapshotLook = 30 * time.Second
	// snapshotPart is how much of one is an object, and snapshotPace how long a part takes
	// at least, so that views on their way leave the log its room.
	snapshotPart = bus.MaxObject
	snapshotPace = 10 * time.Millisecond
)

// snapshot is a copy of a view's file in the store, as the view's table of contents says
// it. The table is the object of the view's name; parts are objects of their own.
type snapshot struct {
	ID          string    `json:"id"`
	Format      uint32    `json:"format"`
	Log         string    `json:"log"`
	Epoch       string    `json:"epoch"`
	Sequence    uint64    `json:"sequence"`
	Fingerprint string    `json:"fingerprint"` // hex, of the record there
	Size        int64     `json:"size"`        // bytes
	Sum         string    `json:"sha256"`      // hex, of them
	Made        time.Time `json:"made"`
}

type contents struct {
	Snapshots []snapshot `json:"snapshots"`         // newest first
	Writing   *snapshot  `json:"writing,omitempty"` // may be there in part
}

func (s *snapshot) parts() int { return int((s.Size + snapshotPart - 1) / snapshotPart) }

func partName(view, id string, n int) string { return fmt.Sprintf("%s.%s.%d", view, id, n) }

// fits tells whether a snapshot is of a format, log and epoch.
func (s *snapshot) fits(format uint32, log, epoch event.ID) error {
	switch {
	case s.Format != format:
		return fmt.Errorf("it has format %d, not %d", s.Format, format)
	case s.Log != log.String():
		return errors.New("it is of another log")
	case s.Epoch != epoch.String():
		return errors.New("it is of another epoch")
	case s.Sequence == 0 || s.Size <= 0:
		return errors.New("it is empty")
	}
	return nil
}

func readContents(ctx context.Context, store *bus.Objects, view string) (c contents, err error) {
	data, _, err := store.Get(ctx, view)
	if errors.Is(err, bus.ErrNoObject) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return contents{}, fmt.Errorf("snapshots of %s: %w", view, err)
	}
	return c, nil
}

// taker finds a snapshot for a view that is being opened.
type taker struct {
	p     *Process
	ctx   context.Context
	s     event.Stream
	fold  fold
	epoch event.ID

	snapshot
	sequence uint64 // of the one that was taken
}

// newer is what view.Config asks, nil where there is no store.
func (t *taker) newer() func(bus.Checkpoint) string {
	if t.p.cfg.Snapshots == nil {
		return nil
	}
	return func(have bus.Checkpoint) string {
		if have.Epoch != t.epoch && have.Epoch != (event.ID{}) {
			have = bus.Checkpoint{} // of no use
		}
		path, err := t.take(have.Sequence)
		if err != nil && t.ctx.Err() == nil {
			t.p.count.snapshotsFailed.Add(1)
			t.p.log.Warn("snapshots passed over: what is missing is read from the log", "view", t.fold.Name(), "err", err)
		}
		return path
	}
}

// is tells whether a view that was opened from the snapshot is where that said.
func (t *taker) is(cp bus.Checkpoint) bool {
	return cp.Sequence == t.sequence && cp.Epoch == t.epoch && hex.EncodeToString(cp.Fingerprint[:]) == t.Fingerprint
}

// take fetches the newest snapshot that is right and is well ahead of a position.
func (t *taker) take(have uint64) (path string, err error) {
	name := t.fold.Name()
	c, err := readContents(t.ctx, t.p.cfg.Snapshots, name)
	if err != nil {
		return "", err
	}
	for _, s := range c.Snapshots {
		if have > 0 && s.Sequence < have+t.p.cfg.SnapshotRecords {
			continue
		}
		start := time.Now()
		path, err := t.fetch(name, &s)
		if err != nil {
			t.p.count.snapshotsFailed.Add(1)
			t.p.log.Warn("a snapshot was passed over", "view", name, "seq", s.Sequence, "made", s.Made, "err", err)
			continue
		}
		t.snapshot, t.sequence = s, s.Sequence
		t.p.count.snapshotsTaken.Add(1)
		t.p.log.Info("snapshot taken", "view", name, "seq", s.Sequence, "had", have, "bytes", s.Size, "took", time.Since(start))
		return path, nil
	}
	return "", nil
}

// fetch checks a snapshot against the log, and brings it into a file.
func (t *taker) fetch(name string, s *snapshot) (path string, err error) {
	if err := s.fits(t.fold.Format(), t.p.bus.LogID(), t.epoch); err != nil {
		return "", err
	}
	// What it was folded from must be what the log holds: nothing but the log is believed.
	rec, err := t.p.bus.ReadRecord(t.ctx, t.s, s.Sequence)
	if err != nil && !errors.Is(err, bus.ErrNoRecord) {
		return "", err
	}
	if f := bus.FingerprintOf(rec.Data); hex.EncodeToString(f[:]) != s.Fingerprint {
		return "", fmt.Errorf("the log holds another record at %d", s.Sequence)
	}
	f, err := os.CreateTemp(t.p.cfg.Dir, ".snapshot-")
	if err != nil {
		return "", err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			path, err = "", errors.Join(err, os.Remove(f.Name()))
		}
	}()
	h, size := sha256.New(), int64(0)
	w := io.MultiWriter(f, h)
	for n := range s.parts() {
		data, _, err := t.p.cfg.Snapshots.Get(t.ctx, partName(name, s.ID, n))
		if err != nil {
			return "", fmt.Errorf("part %d of %d: %w", n, s.parts(), err)
		}
		if _, err := w.Write(data); err != nil {
			return "", err
		}
		size += int64(len(data))
	}
	if sum := hex.EncodeToString(h.Sum(nil)); size != s.Size || sum != s.Sum {
		return "", fmt.Errorf("it has %d bytes of %d, or not its checksum", size, s.Size)
	}
	return f.Name(), nil
}

// written is what this process knows of the newest snapshot of a view.
type written struct {
	sequence uint64
	at       time.Time // by this process's clock: when it was written, or tried, or found
	found    bool
}

// writeSnapshots writes those that are due, one after the other, until ctx ends.
func (p *Process) writeSnapshots(ctx context.Context) {
	known := map[event.Stream]written{}
	for pause(ctx, nil, min(snapshotLook, p.cfg.SnapshotEvery)) {
		for _, st := range p.all() {
			if st.termNow() == nil {
				delete(known, st.s) // another writes them
				continue
			}
			w := known[st.s]
			if !w.found {
				w = p.findSnapshot(ctx, st)
			}
			if !p.snapshotDue(st.view.Committed(), w, time.Now()) {
				known[st.s] = w
				continue
			}
			sequence, err := p.writeSnapshot(ctx, p.cfg.Snapshots, st)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				p.count.snapshotsFailed.Add(1)
				p.log.Warn("snapshot not written", "view", st.fold.Name(), "err", err)
				sequence = w.sequence
			}
			known[st.s] = written{sequence, time.Now(), true}
		}
	}
}

// findSnapshot asks the store for the newest one. A clock that ran ahead must not keep the
// next one away for ever.
func (p *Process) findSnapshot(ctx context.Context, st *stream) written {
	c, err := readContents(ctx, p.cfg.Snapshots, st.fold.Name())
	if err != nil {
		if ctx.Err() == nil {
			p.log.Warn("snapshots not found", "view", st.fold.Name(), "err", err)
		}
		return written{}
	}
	for _, s := range c.Snapshots {
		if s.fits(st.fold.Format(), p.bus.LogID(), st.view.Epoch()) == nil {
			w := written{s.Sequence, s.Made, true}
			if w.at.After(time.Now()) {
				w.at = time.Time{}
			}
			return w
		}
	}
	return written{found: true}
}

func (p *Process) snapshotDue(committed uint64, w written, now time.Time) bool {
	age := now.Sub(w.at)
	enough := committed >= w.sequence+p.cfg.SnapshotRecords
	return w.found && age >= p.cfg.SnapshotEvery && (enough || w.sequence > 0 && age >= snapshotAge)
}

// writeSnapshot copies the view's file and puts it into the store. What is there of an
// older one, or of one that was broken off, is removed.
func (p *Process) writeSnapshot(ctx context.Context, store *bus.Objects, st *stream) (sequence uint64, err error) {
	start, name := time.Now(), st.fold.Name()
	dir, err := os.MkdirTemp(p.cfg.Dir, ".snapshot-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, name)
	copied, err := st.view.Copy(path)
	if err != nil {
		return 0, err
	}
	s := describe(st.fold, p.bus.LogID(), copied, start)
	was, err := readContents(ctx, store, name)
	if err != nil {
		return 0, err
	}
	if was.Writing != nil {
		p.removeSnapshot(ctx, store, name, was.Writing)
	}
	if was.Snapshots, err = p.makeRoom(ctx, store, name, was.Snapshots, s.Size); err != nil {
		return 0, err
	}
	// Said before it is begun, so that whoever comes after a death knows what to remove.
	if err := putContents(ctx, store, name, contents{Snapshots: was.Snapshots, Writing: &s}); err != nil {
		return 0, err
	}
	if err := putParts(ctx, store, name, &s, path); err != nil {
		return 0, err
	}
	keep := append([]snapshot{s}, was.Snapshots...)
	old := keep[min(len(keep), snapshotsKept):]
	if err := putContents(ctx, store, name, contents{Snapshots: keep[:len(keep)-len(old)]}); err != nil {
		return 0, err
	}
	for i := range old {
		p.removeSnapshot(ctx, store, name, &old[i])
	}
	p.count.snapshotsWritten.Add(1)
	p.log.Info("snapshot written", "view", name, "seq", s.Sequence, "bytes", s.Size, "took", time.Since(start))
	return s.Sequence, nil
}

func describe(f view.Fold, log event.ID, c view.Copied, made time.Time) snapshot {
	return snapshot{
		ID: ulid.MustNew(ulid.Now(), rand.Reader).String(), Format: f.Format(), Log: log.String(), Epoch: c.Epoch.String(),
		Sequence: c.Sequence, Fingerprint: hex.EncodeToString(c.Fingerprint[:]), Size: c.Size, Sum: hex.EncodeToString(c.Sum[:]), Made: made.UTC(),
	}
}

func putContents(ctx context.Context, store *bus.Objects, view string, c contents) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return store.Put(ctx, view, data, nil)
}

// makeRoom removes older snapshots of the view while the store has no room for one more. The
// newest one stays.
func (p *Process) makeRoom(ctx context.Context, store *bus.Objects, name string, have []snapshot, size int64) ([]snapshot, error) {
	for {
		room, err := store.Room(ctx)
		if err != nil {
			return have, err
		}
		// Every part has a head, and is there once more while it is being written.
		if need := size + size/64 + 2*snapshotPart; room >= need {
			return have, nil
		} else if len(have) <= 1 {
			return have, fmt.Errorf("%w: it takes %d bytes more, and %d are needed", bus.ErrNoRoom, room, need)
		}
		oldest := have[len(have)-1]
		have = have[:len(have)-1]
		if err := putContents(ctx, store, name, contents{Snapshots: have, Writing: &oldest}); err != nil {
			return have, err
		}
		p.removeSnapshot(ctx, store, name, &oldest)
	}
}

func putParts(ctx context.Context, store *bus.Objects, name string, s *snapshot, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, snapshotPart)
	for n := range s.parts() {
		began := time.Now()
		k, err := io.ReadFull(f, buf)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := store.Put(ctx, partName(name, s.ID, n), buf[:k], nil); err != nil {
			return fmt.Errorf("part %d of %d: %w", n, s.parts(), err)
		}
		if !pause(ctx, nil, snapshotPace-time.Since(began)) {
			return ctx.Err()
		}
	}
	return nil
}

func (p *Process) removeSnapshot(ctx context.Context, store *bus.Objects, name string, s *snapshot) {
	for n := range s.parts() {
		if err := store.Delete(ctx, partName(name, s.ID, n)); err != nil {
			p.log.Warn("parts of an old snapshot are left", "view", name, "seq", s.Sequence, "err", err)
			return
		}
	}
}

package view

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"godwit/bus"
	"godwit/schema/event"
)

var be = binary.BigEndian

// Keys of the meta bucket.
var (
	metaBucket     = []byte("meta")
	effectsBucket  = []byte("effects")
	keyFormat      = []byte("format")
	keyName        = []byte("name")
	keyLog         = []byte("log")
	keyCheckpoint  = []byte("checkpoint")
	keyEffects     = []byte("effects")
	keyEpoch       = []byte("epoch")
	keyBoot        = []byte("boot")
	keyClean       = []byte("clean")
	notInTheDigest = map[string]bool{"epoch": true, "boot": true, "clean": true}
)

// mapSize is the address space reserved for a file. Growing it makes a commit wait
// for all readers, and costs nothing while unused: only touched pages are resident.
const mapSize = 8 << 30

// open takes the file as it is, or a newer copy, or a new one where neither can be
// trusted.
func (v *View) open() error {
	own := v.openOwn()
	if own != nil && !errors.Is(own, ErrCorrupt) && !errors.Is(own, fs.ErrNotExist) {
		return own
	}
	if v.newer != nil {
		if path := v.newer(v.at.Checkpoint); path != "" {
			err := v.takeOver(path)
			if err == nil {
				return nil
			}
			v.logger.Warn("a copy of the view was not taken", "path", path, "err", err)
			if v.db == nil && own == nil {
				own = err // the own file has gone for it
			}
		}
	}
	switch {
	case own == nil:
		return nil
	case errors.Is(own, ErrCorrupt):
		v.logger.Warn("view file is dropped and built anew", "path", v.path, "err", own)
	}
	return v.recreate()
}

// openOwn opens the view's file and takes its state; ErrCorrupt where it can't be
// trusted, fs.ErrNotExist where there is none.
func (v *View) openOwn() error {
	if _, err := os.Stat(v.path); err != nil {
		return err
	}
	if err := whole(v.path); err != nil {
		return err
	}
	db, err := openFile(v.path)
	if err != nil {
		return err
	}
	v.db = db
	if err := v.adopt(); err != nil {
		closeQuietly(db)
		v.db, v.at = nil, point{}
		return err
	}
	return nil
}

// whole checks that a file is as long as its meta page says. When bbolt opens one for
// writing it walks all pages on a goroutine of its own, where a fault beyond the
// end cannot be caught; opened for reading it walks nothing.
func whole(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return unreadable(path, err)
	}
	defer closeQuietly(db)
	return db.View(func(tx *bolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, info.Size(), tx.Size())
		}
		return nil
	})
}

// openFile opens a bbolt file; what it cannot read is ErrCorrupt.
//
// The free list is written with every commit. Without it bbolt would walk all pages
// here and after each failed commit, in a goroutine of its own whose panics over a
// broken page nobody can recover.
func openFile(path string) (db *bolt.DB, err error) {
	var file *os.File
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// bbolt panics or faults where a page makes no sense.
		if p := recover(); p != nil {
			if file != nil {
				_ = file.Close() // gives the lock back; the file is given up
			}
			db, err = nil, fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Second,
		NoGrowSync:      true,
		NoSync:          true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mapSize,
		NoStatistics:    true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			file = f
			return f, err
		},
	})
	if err != nil {
		return nil, unreadable(path, err)
	}
	return db, nil
}

// unreadable tells a file that replay can mend (ErrCorrupt) from what it cannot.
func unreadable(path string, err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("%s is open in another process: %w", path, err)
	}
	_, path1 := errors.AsType[*fs.PathError](err)
	_, errno := errors.AsType[syscall.Errno](err)
	if path1 || errno {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// adopt checks that the opened file is this view's, whole, and to be trusted, and
// takes its state.
func (v *View) adopt() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	var clean bool
	err = v.db.View(func(tx *bolt.Tx) error {
		m := tx.Bucket(metaBucket)
		if m == nil {
			return fmt.Errorf("%w: no meta bucket", ErrCorrupt)
		}
		clean = string(m.Get(keyClean)) == "\x01"
		boot := string(m.Get(keyBoot))
		if err := v.mine(m); err != nil {
			return err
		}
		if !clean && (boot == "" || boot != v.boot) {
			return fmt.Errorf("%w: the machine went down while it was open", ErrCorrupt)
		}
		return v.loadPoint(m)
	})
	if err != nil || !clean {
		return err
	}
	// From here on pages are written in any order, so the flag must be off on disk
	// before anything else is. Twice: bbolt has two meta pages and falls back to the
	// older one.
	for range 2 {
		if err := v.setFlags(false); err != nil {
			return err
		}
		if err := v.db.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// mine checks that a file is of this view, in the present format, and of this log.
func (v *View) mine(m *bolt.Bucket) error {
	switch {
	case string(m.Get(keyFormat)) != string(be.AppendUint32(nil, v.fold.Format())):
		return fmt.Errorf("%w: another format than %d", ErrCorrupt, v.fold.Format())
	case string(m.Get(keyName)) != v.name:
		return fmt.Errorf("%w: it is of view %q", ErrCorrupt, m.Get(keyName))
	case string(m.Get(keyLog)) != string(v.log[:]):
		return fmt.Errorf("%w: it is of another log", ErrCorrupt)
	}
	return nil
}

func (v *View) loadPoint(m *bolt.Bucket) error {
	cp, held := m.Get(keyCheckpoint), m.Get(keyEffects)
	if len(cp) != 8+len(bus.Fingerprint{}) || len(held) != 16 {
		return fmt.Errorf("%w: no checkpoint", ErrCorrupt)
	}
	v.at = point{effectsFirst: be.Uint64(held), effectsWeight: be.Uint64(held[8:])}
	v.at.Sequence = be.Uint64(cp)
	copy(v.at.Fingerprint[:], cp[8:])
	v.at.Epoch = event.ToID(m.Get(keyEpoch))
	v.folded.Store(v.at.Sequence)
	v.committed.Store(v.at.Sequence)
	return nil
}

func putPoint(tx *bolt.Tx, p point) error {
	m := tx.Bucket(metaBucket)
	cp := be.AppendUint64(nil, p.Sequence)
	cp = append(cp, p.Fingerprint[:]...)
	held := be.AppendUint64(be.AppendUint64(nil, p.effectsFirst), p.effectsWeight)
	return errors.Join(
		m.Put(keyCheckpoint, cp),
		m.Put(keyEffects, held),
		m.Put(keyEpoch, p.Epoch[:]),
	)
}

// recreate begins an empty file.
func (v *View) recreate() error {
	if err := os.Remove(v.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openFile(v.path)
	if err != nil {
		return err
	}
	v.db = db
	v.at = point{effectsFirst: 1}
	v.folded.Store(0)
	v.committed.Store(0)
	err = db.Update(func(tx *bolt.Tx) error {
		m, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return errors.Join(
			m.Put(keyFormat, be.AppendUint32(nil, v.fold.Format())),
			m.Put(keyName, []byte(v.name)),
			m.Put(keyLog, v.log[:]),
			putPoint(tx, v.at),
		)
	})
	if err == nil {
		err = v.setFlags(false)
	}
	if err != nil {
		closeQuietly(db)
	}
	return err
}

func (v *View) setFlags(clean bool) error { return v.setFlagsOf(v.db, clean) }

func (v *View) setFlagsOf(db *bolt.DB, clean bool) error {
	flag := []byte{0}
	if clean {
		flag[0] = 1
	}
	return db.Update(func(tx *bolt.Tx) error {
		m := tx.Bucket(metaBucket)
		return errors.Join(m.Put(keyBoot, []byte(v.boot)), m.Put(keyClean, flag))
	})
}

// markClean says that the file is whole on disk, once it is.
func (v *View) markClean() error {
	if err := v.db.Sync(); err != nil {
		return err
	}
	if err := v.setFlags(true); err != nil {
		return err
	}
	return v.db.Sync()
}

// closeQuietly closes a file that is given up. After a panic inside bbolt its locks
// may be held for ever, so it waits a moment only; the file is unlinked anyway.
func closeQuietly(db *bolt.DB) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		_ = db.Close()
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// bootID names this boot of the machine; empty where that cannot be told, and then
// only a clean file is trusted.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

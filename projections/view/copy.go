package view

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"godwit/bus"
)

// Copied says what a copy of a view's file holds.
type Copied struct {
	bus.Checkpoint
	Size int64             // bytes
	Sum  [sha256.Size]byte // of them
}

// Copy writes the newest committed state into a new file at path, whole and of one
// position. Commits go on meanwhile, and the file can't use freed pages again.
// [Config.Newer] may give it to another process.
func (v *View) Copy(path string) (c Copied, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return c, fmt.Errorf("copy view %s: %w", v.name, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = fmt.Errorf("copy view %s: %w", v.name, errors.Join(err, os.Remove(path)))
		}
	}()
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
	err = v.Read(func(r *Reader) (err error) {
		c.Checkpoint = r.Checkpoint
		c.Size, err = r.tx.WriteTo(w)
		return err
	})
	if err == nil {
		err = w.Flush()
	}
	h.Sum(c.Sum[:0])
	return c, err
}

// takeOver puts a copy in the place of the view's file.
func (v *View) takeOver(path string) error {
	if err := v.prepare(path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	if v.db != nil {
		closeQuietly(v.db)
		v.db, v.at = nil, point{}
	}
	if err := os.Rename(path, v.path); err != nil {
		return err
	}
	return v.openOwn()
}

// prepare checks a copy and makes it a file of this boot: its pages are not on disk for
// certain, as those of any file that is open.
func (v *View) prepare(path string) (err error) {
	if err := whole(path); err != nil {
		return err
	}
	db, err := openFile(path)
	if err != nil {
		return err
	}
	defer closeQuietly(db)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	err = db.View(func(tx *bolt.Tx) error {
		m := tx.Bucket(metaBucket)
		if m == nil {
			return fmt.Errorf("%w: no meta bucket", ErrCorrupt)
		}
		return v.mine(m)
	})
	if err != nil {
		return err
	}
	return v.setFlagsOf(db, false)
}

package view

import (
	"bytes"
	"fmt"
	"iter"
	"runtime/debug"
	"unsafe"

	bolt "go.etcd.io/bbolt"

	"godwit/schema/event"
	"godwit/schema/query"
)

// Reader is one committed state of a view. All slices it gives are valid only
// inside the function that [View.Read] called, and must not be changed.
type Reader struct {
	tx *bolt.Tx
	point
	sequence uint64
}

// Read calls fn with the newest committed state. fn should be short: while it runs
// the file cannot use freed pages again. It must not call Reset or Close.
func (v *View) Read(fn func(r *Reader) error) (err error) {
	v.mu.Lock()
	broken := cmpErr(v.closed, ErrClosed, v.broken)
	v.mu.Unlock()
	if broken != nil {
		return broken
	}
	v.dbMu.RLock()
	defer v.dbMu.RUnlock()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.breakLocked("read", p)
			err = v.broken
		}
	}()
	return v.db.View(func(tx *bolt.Tx) error {
		r := &Reader{tx: tx}
		m := tx.Bucket(metaBucket)
		if m == nil {
			return fmt.Errorf("%w: no meta bucket", ErrCorrupt)
		}
		var at View // only its point
		if err := at.loadPoint(m); err != nil {
			return err
		}
		r.point, r.sequence = at.at, at.at.Sequence
		return fn(r)
	})
}

// Sequence is the position of this state.
func (r *Reader) Sequence() uint64 { return r.sequence }

// Epoch is the epoch of its positions.
func (r *Reader) Epoch() event.ID { return r.point.Epoch }

// Get returns a row's value, nil if there is none.
func (r *Reader) Get(bucket string, key []byte) []byte {
	b := r.tx.Bucket(asBytes(bucket))
	if b == nil {
		return nil
	}
	return b.Get(key)
}

// Scan yields the rows whose key begins with prefix, in the order of their keys.
func (r *Reader) Scan(bucket string, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range r.ScanFrom(bucket, prefix) {
			if !bytes.HasPrefix(k, prefix) || !yield(k, v) {
				return
			}
		}
	}
}

// ScanFrom yields the rows from the first key that is not less than from.
func (r *Reader) ScanFrom(bucket string, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		b := r.tx.Bucket(asBytes(bucket))
		if b == nil {
			return
		}
		c := b.Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// ScanBack yields the rows from the last key that is not greater than from, down.
func (r *Reader) ScanBack(bucket string, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		b := r.tx.Bucket(asBytes(bucket))
		if b == nil {
			return
		}
		c := b.Cursor()
		k, v := c.Seek(from)
		switch {
		case k == nil:
			k, v = c.Last()
		case !bytes.Equal(k, from):
			k, v = c.Prev()
		}
		for ; k != nil; k, v = c.Prev() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// asBytes is s without a copy; bbolt only reads names and keys, and copies what it
// keeps.
func asBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// At is this state's position as answers give it.
func (r *Reader) At(stream event.Stream) *query.AtLeast {
	epoch := r.Epoch()
	return &query.AtLeast{Stream: uint32(stream), Sequence: r.sequence, Epoch: epoch[:]}
}

// Buckets yields the names of all buckets that are there, the engine's too.
func (r *Reader) Buckets() iter.Seq[string] {
	return func(yield func(string) bool) {
		c := r.tx.Cursor()
		for name, _ := c.First(); name != nil; name, _ = c.Next() {
			if !yield(string(name)) {
				return
			}
		}
	}
}

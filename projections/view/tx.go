package view

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Tx is a fold's access to its rows: what was folded so far, committed or not.
// It is valid during one call of [Fold.Apply].
type Tx struct {
	v       *View
	read    *bolt.Tx       // opened at the first row that no overlay has
	cursors []*bolt.Cursor // by slot, of read
}

// Get returns a row's value, nil if there is none. The slice must not be changed
// and is valid until the row is written again or Apply ends.
func (tx *Tx) Get(bucket string, key []byte) []byte {
	return tx.get(tx.v.slot(bucket), key)
}

func (tx *Tx) get(slot int, key []byte) []byte {
	v := tx.v
	if value, found := v.cur.get(slot, key); found {
		return value
	}
	if v.com != nil {
		if value, found := v.com.get(slot, key); found {
			return value
		}
	}
	c := tx.cursor(slot)
	if c == nil {
		return nil
	}
	if k, value := c.Seek(key); bytes.Equal(k, key) {
		return value
	}
	return nil
}

// Put writes a row; key and value are copied. A key has 1 to 1,024 bytes.
func (tx *Tx) Put(bucket string, key, value []byte) {
	tx.put(tx.v.slot(bucket), key, value)
}

// maxKey is far below bbolt's 32 KiB: a key that bbolt refuses would make every
// commit fail, so it is a fold's bug at once.
const maxKey = 1024

func (tx *Tx) put(slot int, key, value []byte) {
	if len(key) == 0 || len(key) > maxKey {
		panic(fmt.Sprintf("view %s: key of %d bytes", tx.v.name, len(key)))
	}
	tx.v.cur.put(slot, key, value)
}

// Delete removes a row, if it is there.
func (tx *Tx) Delete(bucket string, key []byte) {
	tx.v.cur.delete(tx.v.slot(bucket), key)
}

// DropBucket removes all rows of a bucket.
func (tx *Tx) DropBucket(bucket string) {
	tx.v.cur.drop(tx.v.slot(bucket))
}

// Scan yields the rows whose key begins with prefix, in the order of their keys,
// as they are when the loop begins; the loop may write. It looks at every row that
// is not yet committed, so it is for rare events only.
func (tx *Tx) Scan(bucket string, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		slot := tx.v.slot(bucket)
		over := make(map[string][]byte)
		below := true
		collect := func(o *overlay) {
			if o == nil || slot >= len(o.layers) {
				return
			}
			l := &o.layers[slot]
			if l.dropped {
				clear(over)
				below = false
			}
			for k, v := range l.rows {
				if strings.HasPrefix(k, string(prefix)) {
					over[k] = bytes.Clone(v)
				}
			}
		}
		collect(tx.v.com)
		collect(tx.v.cur)
		keys := make([]string, 0, len(over))
		for k := range over {
			keys = append(keys, k)
		}
		slices.Sort(keys)

		var k, v []byte
		var c *bolt.Cursor
		if b := tx.bucket(slot); below && b != nil {
			c = b.Cursor() // its own: the loop may Get
			k, v = c.Seek(prefix)
		}
		for {
			if k != nil && !bytes.HasPrefix(k, prefix) {
				k = nil
			}
			switch {
			case k == nil && len(keys) == 0:
				return
			case k == nil || len(keys) > 0 && keys[0] <= string(k):
				if k != nil && keys[0] == string(k) {
					k, v = c.Next()
				}
				if ov := over[keys[0]]; ov != nil && !yield([]byte(keys[0]), ov) {
					return
				}
				keys = keys[1:]
			default:
				if !yield(k, v) {
					return
				}
				k, v = c.Next()
			}
		}
	}
}

func (tx *Tx) cursor(slot int) *bolt.Cursor {
	for len(tx.cursors) <= slot {
		tx.cursors = append(tx.cursors, nil)
	}
	if tx.cursors[slot] == nil {
		if b := tx.bucket(slot); b != nil {
			tx.cursors[slot] = b.Cursor()
		}
	}
	return tx.cursors[slot]
}

func (tx *Tx) bucket(slot int) *bolt.Bucket {
	if tx.read == nil {
		read, err := tx.v.db.Begin(false)
		if err != nil {
			// The database is open for as long as the view lock is held, so this is
			// no state of the world but a broken file or a bug.
			panic(fmt.Errorf("view %s: read: %w", tx.v.name, err))
		}
		tx.read = read
	}
	return tx.read.Bucket(tx.v.slots[slot].key)
}

// release lets go of the file's pages; the next row that is asked for opens them
// again.
func (tx *Tx) release() {
	if tx.read != nil {
		_ = tx.read.Rollback() // a read transaction has nothing to lose
		tx.read = nil
	}
	clear(tx.cursors)
}

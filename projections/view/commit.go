package view

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// How long a failed commit waits before it is tried again.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
)

// markDirty starts the clock of the next commit, if it does not run yet.
func (v *View) markDirty() {
	if !v.cur.dirty {
		v.cur.dirty = true
		if v.com == nil {
			v.timer.Reset(CommitEvery)
		}
	}
}

// kickCommit asks for a commit now; urgent if somebody waits for it, also when a
// commit runs already.
func (v *View) kickCommit(urgent bool) {
	v.urgent = v.urgent || urgent
	if v.com != nil {
		return // its end looks again
	}
	select {
	case v.kick <- struct{}{}:
	default:
	}
}

// commitLoop is the only goroutine that writes the file between Open and Close.
func (v *View) commitLoop() {
	defer close(v.done)
	debug.SetPanicOnFault(true)
	var keys []string
	for {
		select {
		case <-v.stop:
			return
		case <-v.kick:
		case <-v.timer.C:
		}
		for more := true; more; {
			more = v.commitOne(&keys)
		}
	}
}

// commitOne commits the current overlay and tells whether another is due at once.
func (v *View) commitOne(keys *[]string) (more bool) {
	v.lockFromApply()
	if v.closed || v.broken != nil || !v.rotate() {
		v.mu.Unlock()
		return false
	}
	o, resets := v.com, v.resets
	v.mu.Unlock()

	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		v.dbMu.RLock()
		v.mu.Lock()
		stale := v.resets != resets
		v.mu.Unlock()
		if stale { // Reset took the overlay away
			v.dbMu.RUnlock()
			return true
		}
		err := v.write(o, keys)
		v.dbMu.RUnlock()

		v.lockFromApply()
		if v.resets != resets {
			v.mu.Unlock()
			return true
		}
		if err == nil {
			more = v.committedLocked(o)
			v.mu.Unlock()
			return more
		}
		if errors.Is(err, ErrCorrupt) {
			v.breakLocked("commit", err)
			v.mu.Unlock()
			return false
		}
		if v.failed == nil {
			v.logger.Error("commit failed and is tried again", "seq", o.point.Sequence, "err", err)
		}
		v.failed = fmt.Errorf("commit view %s: %w", v.name, err)
		gone := v.closed || v.broken != nil
		v.mu.Unlock()
		if gone {
			return false
		}
		select {
		case <-v.stop:
			return false // Close tries once more
		case <-time.After(wait):
		}
	}
}

// lockFromApply takes mu at the next record's end, while Apply would hold it for
// a whole batch.
func (v *View) lockFromApply() {
	v.handover.Store(true)
	v.mu.Lock()
	v.handover.Store(false)
	v.cond.Broadcast()
}

// rotate makes the current overlay the one being committed.
func (v *View) rotate() bool {
	if v.com != nil || !v.cur.dirty {
		return false
	}
	v.timer.Stop()
	v.fingerprint()
	v.com, v.cur, v.spare = v.cur, v.spare, nil
	v.com.point, v.com.slots = v.at, v.slots
	v.urgent = false
	v.cond.Broadcast()
	return true
}

// committedLocked publishes a commit and recycles its overlay.
func (v *View) committedLocked(o *overlay) (more bool) {
	if v.failed != nil {
		v.logger.Info("commits work again", "seq", o.point.Sequence)
		v.failed = nil
	}
	committed := o.point.Sequence // reset forgets it
	v.committed.Store(committed)
	v.com = nil
	o.reset()
	v.spare = o
	v.waiters = slices.DeleteFunc(v.waiters, func(w waiter) bool {
		if w.sequence > committed {
			return false
		}
		w.done <- nil
		return true
	})
	v.cond.Broadcast()
	if !v.cur.dirty {
		return false
	}
	if v.urgent || v.cur.events >= CommitEvents || v.wanted() {
		return true
	}
	v.timer.Reset(CommitEvery)
	return false
}

// commitRest commits what is left at Close; the committer has ended.
func (v *View) commitRest() error {
	var keys []string
	for range 2 {
		if v.spare == nil {
			v.spare = new(overlay)
		}
		if v.com == nil && !v.rotate() {
			return nil
		}
		if err := v.write(v.com, &keys); err != nil {
			return err
		}
		v.committed.Store(v.com.point.Sequence)
		v.com = nil
	}
	return nil
}

// write puts an overlay into the file in one transaction. The overlay stays as it
// is, so a failure can be tried again.
func (v *View) write(o *overlay, keys *[]string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: commit: %v\n%s", ErrCorrupt, p, debug.Stack())
		}
	}()
	if v.beforeWrite != nil {
		if err := v.beforeWrite(); err != nil {
			return err
		}
	}
	return v.db.Update(func(tx *bolt.Tx) error {
		for i := range o.layers {
			l := &o.layers[i]
			if !l.dropped && len(l.rows) == 0 {
				continue
			}
			if err := writeLayer(tx, o.slots[i], l, keys); err != nil {
				return fmt.Errorf("bucket %s: %w", o.slots[i].name, err)
			}
		}
		return putPoint(tx, o.point)
	})
}

func writeLayer(tx *bolt.Tx, s slot, l *layer, keys *[]string) error {
	if l.dropped {
		if tx.Bucket(s.key) != nil {
			if err := tx.DeleteBucket(s.key); err != nil {
				return err
			}
		}
		if len(l.rows) == 0 {
			return nil
		}
	}
	b, err := tx.CreateBucketIfNotExists(s.key)
	if err != nil {
		return err
	}
	b.FillPercent = s.fill
	sorted := (*keys)[:0]
	for k := range l.rows {
		sorted = append(sorted, k)
	}
	slices.Sort(sorted)
	for _, k := range sorted {
		if value := l.rows[k]; value != nil {
			err = b.Put(asBytes(k), value)
		} else {
			err = b.Delete(asBytes(k))
		}
		if err != nil {
			return err
		}
	}
	clear(sorted) // the keys' memory is the overlay's, and used again
	*keys = sorted[:0]
	return nil
}

package password

import "time"

// stamp is a time since the Limiter's start: a third of the size of a [time.Time], and monotonic.
type stamp = time.Duration

// table is a bounded map that lets go of the entry touched longest ago, and of entries not touched for their time.
type table[V any] struct {
	limit   int
	ttl     time.Duration
	entries map[uint64]*node[V]
	root    node[V] // of a ring: next is the oldest, prev the newest
}

type node[V any] struct {
	prev, next *node[V]
	key        uint64
	touched    stamp
	value      V
}

func newTable[V any](limit int, ttl time.Duration) *table[V] {
	t := &table[V]{limit: limit, ttl: ttl, entries: make(map[uint64]*node[V])}
	t.root.prev, t.root.next = &t.root, &t.root
	return t
}

// get is nil where there is no entry, or only one past its time. It does not count as a touch.
func (t *table[V]) get(key uint64, now stamp) *V {
	e := t.entries[key]
	if e == nil || now-e.touched >= t.ttl {
		return nil
	}
	return &e.value
}

// touch gives the entry, new if need be, and makes it the newest.
func (t *table[V]) touch(key uint64, now stamp) *V {
	for oldest := t.root.next; oldest != &t.root && now-oldest.touched >= t.ttl; oldest = t.root.next {
		t.remove(oldest)
	}
	e := t.entries[key]
	if e == nil {
		if len(t.entries) >= t.limit {
			t.remove(t.root.next)
		}
		e = &node[V]{key: key}
		t.entries[key] = e
	} else {
		e.prev.next, e.next.prev = e.next, e.prev
	}
	e.touched = now
	e.prev, e.next = t.root.prev, &t.root
	e.prev.next, e.next.prev = e, e
	return &e.value
}

func (t *table[V]) dropIf(key uint64, drop bool) {
	if e := t.entries[key]; e != nil && drop {
		t.remove(e)
	}
}

func (t *table[V]) remove(e *node[V]) {
	e.prev.next, e.next.prev = e.next, e.prev
	delete(t.entries, e.key)
}

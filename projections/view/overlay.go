package view

import "unsafe"

const (
	arenaChunk = 64 << 10
	// keepRows is the size above which a layer's map is thrown away, not reused.
	keepRows = 100_000
	// keepChunks bounds the memory an idle overlay holds on to.
	keepChunks = 32
)

// arena copies many small byte slices into few big ones.
type arena struct {
	chunks [][]byte // all of length arenaChunk
	next   int      // chunks in use
	free   []byte   // rest of the last one
	bytes  int
}

func (a *arena) copy(b []byte) []byte {
	a.bytes += len(b)
	if len(b) > arenaChunk/4 {
		return append(make([]byte, 0, len(b)), b...)
	}
	if len(b) > len(a.free) {
		if a.next == len(a.chunks) {
			a.chunks = append(a.chunks, make([]byte, arenaChunk))
		}
		a.free = a.chunks[a.next]
		a.next++
	}
	c := a.free[:len(b):len(b)]
	a.free = a.free[len(b):]
	copy(c, b)
	return c
}

func (a *arena) reset() {
	if len(a.chunks) > keepChunks {
		clear(a.chunks[keepChunks:])
		a.chunks = a.chunks[:keepChunks]
	}
	a.next, a.free, a.bytes = 0, nil, 0
}

// layer is what an overlay has of one bucket.
type layer struct {
	dropped bool              // the bucket below is gone; rows came after
	rows    map[string][]byte // nil: deleted
}

// overlay holds the rows that a run of records wrote and that are not yet in the
// file. Its keys and values live in its arena.
type overlay struct {
	arena  arena
	layers []layer // by slot
	events int     // weight of the records in it
	dirty  bool    // has anything to commit
	// Set when it is handed to the committer:
	point point  // state at its end
	slots []slot // names of its layers
}

func (o *overlay) layer(slot int) *layer {
	for len(o.layers) <= slot {
		o.layers = append(o.layers, layer{})
	}
	return &o.layers[slot]
}

func (o *overlay) get(slot int, key []byte) (value []byte, found bool) {
	if slot >= len(o.layers) {
		return nil, false
	}
	l := &o.layers[slot]
	if v, ok := l.rows[string(key)]; ok {
		return v, true
	}
	return nil, l.dropped
}

// put takes copies. An equally long value is overwritten in place: hot rows are
// written many times between two commits.
func (o *overlay) put(slot int, key, value []byte) {
	l := o.layer(slot)
	if old, ok := l.rows[string(key)]; ok {
		if old != nil && len(old) == len(value) {
			copy(old, value)
			return
		}
		l.rows[string(key)] = o.value(value)
		return
	}
	if l.rows == nil {
		l.rows = make(map[string][]byte)
	}
	l.rows[o.key(key)] = o.value(value)
}

func (o *overlay) delete(slot int, key []byte) {
	l := o.layer(slot)
	if l.rows == nil {
		l.rows = make(map[string][]byte)
	}
	if _, ok := l.rows[string(key)]; ok {
		l.rows[string(key)] = nil
		return
	}
	l.rows[o.key(key)] = nil
}

func (o *overlay) drop(slot int) {
	l := o.layer(slot)
	l.dropped = true
	clear(l.rows)
}

func (o *overlay) key(b []byte) string {
	c := o.arena.copy(b)
	return unsafe.String(unsafe.SliceData(c), len(c))
}

// value is never nil, which would read as deleted.
func (o *overlay) value(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	return o.arena.copy(b)
}

// reset makes the overlay new. Nothing may refer to its rows any more.
func (o *overlay) reset() {
	for i := range o.layers {
		l := &o.layers[i]
		l.dropped = false
		if len(l.rows) > keepRows {
			l.rows = nil
		} else {
			clear(l.rows)
		}
	}
	o.arena.reset()
	o.events, o.dirty, o.point, o.slots = 0, false, point{}, nil
}

package view

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// EffectRow is what the effects bucket keeps of one record.
type EffectRow struct {
	Sequence uint64
	Writer   event.ID
	N        uint64
	Events   []StoredEffect // one per event; none for a repeated record
}

// StoredEffect is what it keeps of one event.
type StoredEffect struct {
	Void        frame.Void
	ID, FirstID uint32
	Stored      []byte // see Effect.Stored; valid as long as the reader
}

const (
	hasVoid = 1 << iota
	hasID
	hasFirstID
	hasStored
)

// weight is how many positions a record of n events counts for.
func weight(n int) int { return max(n, 1) }

// keepEffects writes the record's effects row and drops the oldest ones.
func (v *View) keepEffects(tx *Tx, a *Applied) {
	row := v.rowBuf[:0]
	row = append(row, a.Writer[:]...)
	row = be.AppendUint64(row, a.N)
	row = binary.AppendUvarint(row, uint64(len(a.Effects)))
	for i := range a.Effects {
		row = appendEffect(row, &a.Effects[i])
	}
	v.rowBuf = row
	var key [8]byte
	be.PutUint64(key[:], a.Sequence)
	tx.put(effectsSlot, key[:], row)

	p := &v.at
	p.effectsWeight += uint64(weight(len(a.Effects)))
	for p.effectsFirst < a.Sequence {
		be.PutUint64(key[:], p.effectsFirst)
		w := uint64(weight(effectCount(tx.get(effectsSlot, key[:]))))
		if p.effectsWeight-w < v.held {
			return
		}
		v.cur.delete(effectsSlot, key[:])
		p.effectsWeight -= w
		p.effectsFirst++
	}
}

func appendEffect(b []byte, e *Effect) []byte {
	flags := len(b)
	b = append(b, 0)
	if e.Void != 0 {
		b[flags] |= hasVoid
		b = append(b, byte(e.Void))
	}
	if e.ID != 0 {
		b[flags] |= hasID
		b = binary.AppendUvarint(b, uint64(e.ID))
	}
	if e.FirstID != 0 {
		b[flags] |= hasFirstID
		b = binary.AppendUvarint(b, uint64(e.FirstID))
	}
	if len(e.Stored) > 0 {
		b[flags] |= hasStored
		b = binary.AppendUvarint(b, uint64(len(e.Stored)))
		b = append(b, e.Stored...)
	}
	return b
}

const effectHead = 16 + 8

func effectCount(row []byte) int {
	if len(row) < effectHead {
		return 0
	}
	n, _ := binary.Uvarint(row[effectHead:])
	return int(n)
}

var errEffects = errors.New("effects row of an impossible form")

func parseEffects(sequence uint64, row []byte) (EffectRow, error) {
	r := EffectRow{Sequence: sequence}
	if len(row) < effectHead {
		return r, errEffects
	}
	r.Writer = event.ToID(row[:16])
	r.N = be.Uint64(row[16:])
	d := Decoder{b: row[effectHead:]}
	count := d.Uvarint()
	if count > uint64(len(row)) {
		return r, errEffects
	}
	r.Events = make([]StoredEffect, count)
	for i := range r.Events {
		e := &r.Events[i]
		flags := d.Byte()
		if flags&hasVoid != 0 {
			e.Void = frame.Void(d.Byte())
		}
		if flags&hasID != 0 {
			e.ID = uint32(d.Uvarint())
		}
		if flags&hasFirstID != 0 {
			e.FirstID = uint32(d.Uvarint())
		}
		if flags&hasStored != 0 {
			e.Stored = d.Bytes()
		}
	}
	if !d.Done() {
		return r, errEffects
	}
	return r, nil
}

// Effects yields the rows of the positions (since, to], in order, as far as they
// are held and committed. A row that is missing or unreadable ends it with an
// error.
func (r *Reader) Effects(since, to uint64) iter.Seq2[EffectRow, error] {
	return func(yield func(EffectRow, error) bool) {
		b := r.tx.Bucket(effectsBucket)
		to = min(to, r.sequence)
		if b == nil || since >= to {
			return
		}
		c := b.Cursor()
		want := since + 1
		for k, row := c.Seek(be.AppendUint64(nil, want)); want <= to; k, row = c.Next() {
			if len(k) != 8 || be.Uint64(k) != want {
				yield(EffectRow{}, fmt.Errorf("effects of position %d are not held", want))
				return
			}
			e, err := parseEffects(want, row)
			if !yield(e, err) || err != nil {
				return
			}
			want++
		}
	}
}

// EffectsHeld is the first position whose effects are held; all from there to
// Sequence are. A range (since, to] can be walked if since is at least one less.
func (r *Reader) EffectsHeld() (first uint64) {
	return r.point.effectsFirst
}

// Outcomes are what the events of one writer in (since, to] came to, at most limit
// of them; ok is false when there are more, or when the range is not held.
func (r *Reader) Outcomes(writer event.ID, since, to uint64, limit int) (out []*frame.Outcome, ok bool, err error) {
	if since+1 < r.EffectsHeld() {
		return nil, false, nil
	}
	for row, err := range r.Effects(since, to) {
		if err != nil {
			return nil, false, err
		}
		if row.Writer != writer {
			continue
		}
		if len(out)+len(row.Events) > limit {
			return nil, false, nil
		}
		for i := range row.Events {
			e := &row.Events[i]
			out = append(out, &frame.Outcome{N: row.N, Index: uint32(i), Id: e.ID, Void: e.Void, FirstId: e.FirstID, Sequence: row.Sequence})
		}
	}
	return out, true, nil
}

package view

import "encoding/binary"

// Decoder reads hand-encoded rows. After a read beyond the end everything reads as
// zero and Done is false; it never panics.
type Decoder struct {
	b   []byte
	bad bool
}

// Decode begins reading a row.
func Decode(row []byte) Decoder { return Decoder{b: row} }

// Byte reads one byte.
func (d *Decoder) Byte() byte {
	if p := d.Take(1); p != nil {
		return p[0]
	}
	return 0
}

// Uvarint reads a number as binary.AppendUvarint writes it.
func (d *Decoder) Uvarint() uint64 {
	x, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.bad = nil, true
		return 0
	}
	d.b = d.b[n:]
	return x
}

// Uint32 reads 4 bytes, big endian.
func (d *Decoder) Uint32() uint32 {
	if p := d.Take(4); p != nil {
		return be.Uint32(p)
	}
	return 0
}

// Uint64 reads 8 bytes, big endian.
func (d *Decoder) Uint64() uint64 {
	if p := d.Take(8); p != nil {
		return be.Uint64(p)
	}
	return 0
}

// Bytes reads a uvarint length and so many bytes.
func (d *Decoder) Bytes() []byte {
	n := d.Uvarint()
	if n > uint64(len(d.b)) {
		d.b, d.bad = nil, true
		return nil
	}
	return d.Take(int(n))
}

// Take reads n bytes; they are the row's own.
func (d *Decoder) Take(n int) []byte {
	if n > len(d.b) {
		d.b, d.bad = nil, true
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

// Rest reads all that is left.
func (d *Decoder) Rest() []byte { return d.Take(len(d.b)) }

// Left is the number of bytes not yet read.
func (d *Decoder) Left() int { return len(d.b) }

// Done tells that the row was read to its end and not beyond.
func (d *Decoder) Done() bool { return !d.bad && len(d.b) == 0 }

// AppendBytes appends what Decoder.Bytes reads.
func AppendBytes(b, p []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}

// Package connectortest is a TeamTalk client for tests. It writes and reads every byte
// by itself, after the tables of the protocol: it knows neither the schema's codecs
// nor a protobuf library, so that a wrong field on the server's side cannot agree with
// itself here. Whatever a server sends is held against [Commands]: right service,
// required fields present, numbers of enums within their lists, nothing that old
// clients do not know.
package connectortest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// HeaderLen is the length of a PDU's header.
const HeaderLen = 16

// PDU is one unit of the protocol, header fields in the order of the wire.
type PDU struct {
	Length   uint32
	Version  uint16
	Flag     uint16
	Service  uint16
	Command  uint16
	Seq      uint16
	Reserved uint16
	Body     []byte
}

// Bytes is the PDU on the wire; Length is what the PDU says, so that a test can lie.
func (p PDU) Bytes() []byte {
	b := make([]byte, HeaderLen, HeaderLen+len(p.Body))
	binary.BigEndian.PutUint32(b[0:], p.Length)
	binary.BigEndian.PutUint16(b[4:], p.Version)
	binary.BigEndian.PutUint16(b[6:], p.Flag)
	binary.BigEndian.PutUint16(b[8:], p.Service)
	binary.BigEndian.PutUint16(b[10:], p.Command)
	binary.BigEndian.PutUint16(b[12:], p.Seq)
	binary.BigEndian.PutUint16(b[14:], p.Reserved)
	return append(b, p.Body...)
}

// Request is a PDU as the Windows client fills its header.
func Request(service, command, seq uint16, body []byte) PDU {
	return PDU{
		Length: uint32(HeaderLen + len(body)), Version: 1,
		Service: service, Command: command, Seq: seq, Body: body,
	}
}

// ParsePDU reads the PDU that b is, no more and no less.
func ParsePDU(b []byte) (PDU, error) {
	if len(b) < HeaderLen {
		return PDU{}, fmt.Errorf("%d bytes are no header", len(b))
	}
	p := PDU{
		Length:   binary.BigEndian.Uint32(b[0:]),
		Version:  binary.BigEndian.Uint16(b[4:]),
		Flag:     binary.BigEndian.Uint16(b[6:]),
		Service:  binary.BigEndian.Uint16(b[8:]),
		Command:  binary.BigEndian.Uint16(b[10:]),
		Seq:      binary.BigEndian.Uint16(b[12:]),
		Reserved: binary.BigEndian.Uint16(b[14:]),
		Body:     b[HeaderLen:],
	}
	if int64(p.Length) != int64(len(b)) {
		return PDU{}, fmt.Errorf("length %d of %d bytes", p.Length, len(b))
	}
	return p, nil
}

// Body builds a message field by field.
type Body []byte

func varint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

// Num appends a number or an enum.
func (b Body) Num(field int, v uint32) Body {
	return varint(varint(b, uint64(field)<<3), uint64(v))
}

// Bytes appends bytes, or a text, or a message.
func (b Body) Bytes(field int, v []byte) Body {
	return append(varint(varint(b, uint64(field)<<3|2), uint64(len(v))), v...)
}

// Text appends a text.
func (b Body) Text(field int, v string) Body { return b.Bytes(field, []byte(v)) }

// Nums appends a repeated number, each element by itself: old clients do not pack.
func (b Body) Nums(field int, vs ...uint32) Body {
	for _, v := range vs {
		b = b.Num(field, v)
	}
	return b
}

// Field is one field as it stood on the wire.
type Field struct {
	Number int
	Bytes  []byte // of a text, bytes or message; nil of a number
	Num    uint64 // of a number
	IsNum  bool
}

// Message is the fields of a message in the order of the wire.
type Message []Field

var errMessage = errors.New("not a message")

// ParseMessage takes a body apart. Wire types that the protocol never uses are an
// error.
func ParseMessage(b []byte) (Message, error) {
	count := 0
	for _, err := range Fields(b) {
		if err != nil {
			return nil, err
		}
		count++
	}
	m := make(Message, 0, count) // at once: a list may have 10,000 elements
	for f := range Fields(b) {
		m = append(m, f)
	}
	return m, nil
}

// Fields walks a body. An error is the last thing that it yields.
func Fields(b []byte) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		for len(b) > 0 {
			f, rest, err := cutField(b)
			if !yield(f, err) || err != nil {
				return
			}
			b = rest
		}
	}
}

// cutField takes the first field off a body.
func cutField(b []byte) (f Field, rest []byte, err error) {
	tag, n := readVarint(b)
	if n == 0 || tag>>3 == 0 || tag>>3 > 1<<20 {
		return Field{}, nil, fmt.Errorf("%w: bad tag", errMessage)
	}
	b = b[n:]
	f.Number = int(tag >> 3)
	v, n := readVarint(b)
	if n == 0 {
		return Field{}, nil, fmt.Errorf("%w: field %d is cut off", errMessage, f.Number)
	}
	b = b[n:]
	switch tag & 7 {
	case 0:
		f.Num, f.IsNum = v, true
	case 2:
		if v > uint64(len(b)) {
			return Field{}, nil, fmt.Errorf("%w: field %d is longer than the message", errMessage, f.Number)
		}
		f.Bytes, b = b[:v:v], b[v:]
	default:
		return Field{}, nil, fmt.Errorf("%w: field %d has wire type %d", errMessage, f.Number, tag&7)
	}
	return f, b, nil
}

func readVarint(b []byte) (v uint64, n int) {
	for i := 0; i < len(b) && i < 10; i++ {
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// Has tells whether a field is there.
func (m Message) Has(field int) bool {
	for _, f := range m {
		if f.Number == field {
			return true
		}
	}
	return false
}

// Num is a number, 0 if it is not there.
func (m Message) Num(field int) uint32 {
	v := uint64(0)
	for _, f := range m {
		if f.Number == field && f.IsNum {
			v = f.Num
		}
	}
	return uint32(v)
}

// Nums is a repeated number.
func (m Message) Nums(field int) []uint32 {
	var all []uint32
	for _, f := range m {
		if f.Number == field && f.IsNum {
			all = append(all, uint32(f.Num))
		}
	}
	return all
}

// Bytes is the bytes of a field, nil if it is not there.
func (m Message) Bytes(field int) []byte {
	var v []byte
	for _, f := range m {
		if f.Number == field && !f.IsNum {
			v = f.Bytes
		}
	}
	return v
}

// Text is a text, empty if it is not there.
func (m Message) Text(field int) string { return string(m.Bytes(field)) }

// Sub is a message within, empty if it is not there or can't be read.
func (m Message) Sub(field int) Message {
	sub, err := ParseMessage(m.Bytes(field))
	if err != nil {
		return nil
	}
	return sub
}

// Subs is a repeated message; elements that can't be read are empty.
func (m Message) Subs(field int) []Message {
	var all []Message
	for _, f := range m {
		if f.Number == field && !f.IsNum {
			sub, err := ParseMessage(f.Bytes)
			if err != nil {
				sub = nil
			}
			all = append(all, sub)
		}
	}
	return all
}

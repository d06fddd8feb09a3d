// Package pdu frames the stream between a TeamTalk client and the server.
//
// A stream is PDUs back to back, each a header of 16 bytes and a body. All numbers are big-endian:
//
//	 0  uint32  length    of the whole PDU, header included; 16 for an empty body
//	 4  uint16  version   of the sender, never checked; ours is 1
//	 6  uint16  flag      unused
//	 8  uint16  service   ignored when reading; clients dispatch on it, so it must be right when writing
//	10  uint16  command   decides what the body is
//	12  uint16  seq       a reply carries that of its request, all 16 bits; a push carries 0
//	14  uint16  reserved  unused
//
// The body is one message of package client, and nothing else.
//
// Reading takes no copy: [Next] cuts a frame out of a buffer, and says so from the first four bytes when the length is one
// that must not be waited for. The one answer to such a stream is to close it. Writing appends to a buffer of the
// caller; [Append] patches the length when the body is there.
package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
)

// HeaderLen is the size of the header in bytes, and the smallest length of a PDU.
const HeaderLen = 16

// The largest PDUs, header included, in bytes.
const (
	// MaxBeforeLogin holds until a client has logged in: a stranger is not worth more memory.
	MaxBeforeLogin = 4 << 10
	// MaxAfterLogin holds for a logged-in client, and for everything sent: Android refuses larger PDUs.
	MaxAfterLogin = 400 << 10
)

// Version is what the server puts into the version field.
const Version = 1

var (
	// ErrLengthZero: the length field is 0.
	ErrLengthZero = errors.New("pdu length is zero")
	// ErrLengthShort: the length field is shorter than the header.
	ErrLengthShort = errors.New("pdu length is shorter than its header")
	// ErrTooLong: the PDU is longer than its limit.
	ErrTooLong = errors.New("pdu is too long")
	// ErrNoHeader: there are not enough bytes for a header.
	ErrNoHeader = errors.New("pdu header is incomplete")
)

// Header is the header of a PDU.
type Header struct {
	Length   uint32 // of the whole PDU, header included
	Version  uint16
	Flag     uint16
	Service  uint16
	Command  uint16
	Seq      uint16
	Reserved uint16
}

// AppendHeader appends h as it is.
func AppendHeader(b []byte, h Header) []byte {
	b = binary.BigEndian.AppendUint32(b, h.Length)
	b = binary.BigEndian.AppendUint16(b, h.Version)
	b = binary.BigEndian.AppendUint16(b, h.Flag)
	b = binary.BigEndian.AppendUint16(b, h.Service)
	b = binary.BigEndian.AppendUint16(b, h.Command)
	b = binary.BigEndian.AppendUint16(b, h.Seq)
	return binary.BigEndian.AppendUint16(b, h.Reserved)
}

// ParseHeader reads the header at the start of b and judges none of its fields. The error is ErrNoHeader.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, ErrNoHeader
	}
	return Header{
		Length:   binary.BigEndian.Uint32(b[0:4]),
		Version:  binary.BigEndian.Uint16(b[4:6]),
		Flag:     binary.BigEndian.Uint16(b[6:8]),
		Service:  binary.BigEndian.Uint16(b[8:10]),
		Command:  binary.BigEndian.Uint16(b[10:12]),
		Seq:      binary.BigEndian.Uint16(b[12:14]),
		Reserved: binary.BigEndian.Uint16(b[14:16]),
	}, nil
}

// Frame is one PDU in a buffer.
type Frame struct {
	Header
	// Body and Raw, the whole PDU, are parts of the buffer given to Next and live as long as its bytes do.
	Body []byte
	Raw  []byte
}

// Next cuts the first PDU off buf and says how many bytes it takes. While the PDU is incomplete, n is 0 and err nil. The
// errors are ErrLengthZero, ErrLengthShort and ErrTooLong, the last for a PDU of more than limit bytes; they come as soon
// as the four bytes of the length are there, and the stream can't be read beyond them.
func Next(buf []byte, limit int) (f Frame, n int, err error) {
	if len(buf) < 4 {
		return Frame{}, 0, nil
	}
	length := binary.BigEndian.Uint32(buf)
	switch {
	case length == 0:
		return Frame{}, 0, ErrLengthZero
	case length < HeaderLen:
		return Frame{}, 0, ErrLengthShort
	case int64(length) > int64(limit):
		return Frame{}, 0, ErrTooLong
	case int64(length) > int64(len(buf)):
		return Frame{}, 0, nil
	}
	n = int(length)
	// The capacity ends with the PDU: who appends to a frame must not write into the next one.
	f.Raw = buf[:n:n]
	f.Body = f.Raw[HeaderLen:]
	f.Header, err = ParseHeader(f.Raw)
	return f, n, err
}

// Append appends a PDU of the server: a header with the fields given, and what body appends. A nil body is an empty one.
// body must append to what it is given and return it, as append does; it does not escape, so a closure costs nothing. The
// caller keeps the PDU within MaxAfterLogin.
func Append(dst []byte, service, command, seq uint16, body func(dst []byte) []byte) []byte {
	start := len(dst)
	dst = AppendHeader(dst, Header{Length: HeaderLen, Version: Version, Service: service, Command: command, Seq: seq})
	if body == nil {
		return dst
	}
	dst = body(dst)
	binary.BigEndian.PutUint32(dst[start:], uint32(min(len(dst)-start, math.MaxUint32)))
	return dst
}

// AppendMessage appends a PDU with m, which must be the message of command, under the rules of client.Append. On an error
// nothing is appended: client.ErrUnknownCommand, client.ErrWrongMessage, client.ErrEnum, client.ErrIncomplete, or
// ErrTooLong when the PDU would be longer than MaxAfterLogin.
func AppendMessage(dst []byte, command, seq uint16, m proto.Message) ([]byte, error) {
	var err error
	b := Append(dst, client.Service(command), command, seq, func(b []byte) []byte {
		b, err = client.AppendCommand(b, command, m)
		return b
	})
	if err != nil {
		return dst, err
	}
	if n := len(b) - len(dst); n > MaxAfterLogin {
		return dst, fmt.Errorf("%w: %s of %d bytes", ErrTooLong, client.Name(command), n)
	}
	return b, nil
}

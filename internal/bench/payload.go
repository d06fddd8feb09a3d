package bench

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
)

// A message of the load carries all that is needed to check it wherever it turns up:
//
//	0  "GWB1"
//	4  uint64  run        random number of this run
//	12 uint32  sender     user number
//	16 uint32  receiver   user number
//	20 uint64  number     1, 2, 3, … per sender and receiver
//	28 int64   sent       nanoseconds since the program's epoch
//	36 uint32  checksum   CRC-32C of all the rest
//	40 filler             differs from message to message
//
// All numbers are big-endian.
const (
	payloadMagic = "GWB1"
	// MinSize is the smallest payload in bytes.
	MinSize = 40
	// MaxSize keeps a payload within what a client may send.
	MaxSize = 300 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errForeign = errors.New("no message of this run")
	errCorrupt = errors.New("message is damaged")
)

type stamp struct {
	run              uint64
	sender, receiver uint32
	number           uint64
	sent             int64
}

// filler is what payloads are filled with: twice the longest payload, so that every
// number has a piece of its own.
type filler []byte

func newFiller(seed uint64, size int) filler {
	f := make(filler, 2*size)
	r := rand.New(rand.NewPCG(seed, 0x60d1717))
	for i := range f {
		f[i] = byte(r.Uint32())
	}
	return f
}

// appendPayload appends a payload of size bytes.
func (f filler) appendPayload(dst []byte, s stamp, size int) []byte {
	start := len(dst)
	dst = append(dst, payloadMagic...)
	dst = binary.BigEndian.AppendUint64(dst, s.run)
	dst = binary.BigEndian.AppendUint32(dst, s.sender)
	dst = binary.BigEndian.AppendUint32(dst, s.receiver)
	dst = binary.BigEndian.AppendUint64(dst, s.number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.sent))
	dst = append(dst, 0, 0, 0, 0)
	if rest := size - MinSize; rest > 0 {
		at := int(s.number % uint64(len(f)-rest+1))
		dst = append(dst, f[at:at+rest]...)
	}
	p := dst[start:]
	binary.BigEndian.PutUint32(p[36:], checksum(p))
	return dst
}

func checksum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[:36], castagnoli), castagnoli, p[40:])
}

// parsePayload reads a payload and checks that not a bit of it has changed.
func parsePayload(p []byte, run uint64, size int) (stamp, error) {
	if len(p) < MinSize || string(p[:4]) != payloadMagic || binary.BigEndian.Uint64(p[4:]) != run {
		return stamp{}, errForeign
	}
	if len(p) != size || binary.BigEndian.Uint32(p[36:]) != checksum(p) {
		return stamp{}, errCorrupt
	}
	return stamp{
		run:      run,
		sender:   binary.BigEndian.Uint32(p[12:]),
		receiver: binary.BigEndian.Uint32(p[16:]),
		number:   binary.BigEndian.Uint64(p[20:]),
		sent:     int64(binary.BigEndian.Uint64(p[28:])),
	}, nil
}

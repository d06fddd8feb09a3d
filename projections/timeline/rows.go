package timeline

import (
	"encoding/binary"
	"time"

	"godwit/projections/view"
	"godwit/schema/event"
)

const (
	conversationBucket = "conversation"
	memberBucket       = "member"
	messageBucket      = "message"
	userBucket         = "user"
	stateBucket        = "state"
	repeatPrefix       = "repeat-"
)

var (
	be       = binary.BigEndian
	keyClock = []byte("clock")
)

// conversation is the row of one.
type conversation struct {
	head       uint32
	updated    uint32 // fold time of the newest message, seconds
	opened     uint64 // position of the first counted message, 0 before
	repeatDay  uint32 // newest day with a row in the repeat index
	repeatDays uint16 // bit i: day repeatDay-i has rows
}

func parseConversation(b []byte) (c conversation) {
	d := view.Decode(b)
	c.head, c.updated, c.opened = d.Uint32(), d.Uint32(), d.Uint64()
	c.repeatDay = d.Uint32()
	if p := d.Take(2); p != nil {
		c.repeatDays = be.Uint16(p)
	}
	return c
}

func (c *conversation) append(b []byte) []byte {
	b = be.AppendUint32(b, c.head)
	b = be.AppendUint32(b, c.updated)
	b = be.AppendUint64(b, c.opened)
	b = be.AppendUint32(b, c.repeatDay)
	return be.AppendUint16(b, c.repeatDays)
}

// interval is a stretch of positions [joined, left) in which a user is a member.
type interval struct {
	joined, left uint64 // left 0: still
}

// member is the row of a user in a conversation. It may exist before the
// conversation does (a block), without an interval then.
type member struct {
	cursor    uint32
	removed   bool // its list entry, until somebody writes
	blocks    bool
	intervals []interval
}

const (
	flagRemoved = 1 << iota
	flagBlocks
)

func parseMember(b []byte) (m member) {
	d := view.Decode(b)
	m.cursor = d.Uint32()
	flags := d.Byte()
	m.removed, m.blocks = flags&flagRemoved != 0, flags&flagBlocks != 0
	if n := d.Left() / 16; n > 0 {
		m.intervals = make([]interval, n)
		for i := range m.intervals {
			m.intervals[i] = interval{d.Uint64(), d.Uint64()}
		}
	}
	return m
}

func (m *member) append(b []byte) []byte {
	b = be.AppendUint32(b, m.cursor)
	var flags byte
	if m.removed {
		flags |= flagRemoved
	}
	if m.blocks {
		flags |= flagBlocks
	}
	b = append(b, flags)
	for _, i := range m.intervals {
		b = be.AppendUint64(b, i.joined)
		b = be.AppendUint64(b, i.left)
	}
	return b
}

// sees tells whether the member may read what was written at a position.
func (m *member) sees(position uint64) bool {
	for _, i := range m.intervals {
		if position >= i.joined && (i.left == 0 || position < i.left) {
			return true
		}
	}
	return false
}

// message is the row of one; its bytes are the row's own.
type message struct {
	sequence uint64
	index    uint32
	from     uint32
	created  uint32 // seconds, the event's own time
	kind     uint32
	session  []byte // 16 bytes or none
	keyID    string
	body     []byte
}

const (
	flagSession = 1 << iota
	flagKeyID
)

func parseMessage(b []byte) (m message) {
	d := view.Decode(b)
	m.sequence = d.Uvarint()
	m.index = uint32(d.Uvarint())
	m.from = uint32(d.Uvarint())
	m.created = uint32(d.Uvarint())
	m.kind = uint32(d.Uvarint())
	flags := d.Byte()
	if flags&flagSession != 0 {
		m.session = d.Take(16)
	}
	if flags&flagKeyID != 0 {
		m.keyID = string(d.Bytes())
	}
	m.body = d.Rest()
	return m
}

func (m *message) append(b []byte) []byte {
	b = binary.AppendUvarint(b, m.sequence)
	b = binary.AppendUvarint(b, uint64(m.index))
	b = binary.AppendUvarint(b, uint64(m.from))
	b = binary.AppendUvarint(b, uint64(m.created))
	b = binary.AppendUvarint(b, uint64(m.kind))
	flags := len(b)
	b = append(b, 0)
	if len(m.session) == 16 {
		b[flags] |= flagSession
		b = append(b, m.session...)
	}
	if m.keyID != "" {
		b[flags] |= flagKeyID
		b = view.AppendBytes(b, []byte(m.keyID))
	}
	return append(b, m.body...)
}

// keyBuf holds any key of this view; conversation keys come first in most.
type keyBuf [9 + 16]byte

func (k *keyBuf) number(key event.ConversationKey, n uint32) []byte {
	copy(k[:], key[:])
	be.PutUint32(k[9:], n)
	return k[:13]
}

func (k *keyBuf) user(user uint32, key event.ConversationKey) []byte {
	be.PutUint32(k[:], user)
	copy(k[4:], key[:])
	return k[:13]
}

func (k *keyBuf) repeat(key event.ConversationKey, repeat []byte) []byte {
	copy(k[:], key[:])
	copy(k[9:], repeat)
	return k[:25]
}

const dayMillis = int64(24 * time.Hour / time.Millisecond)

// appendDay is the name of a day's repeat bucket.
func appendDay(b []byte, day uint32) []byte {
	b = append(b, repeatPrefix...)
	for div := uint32(10_000); div > 0; div /= 10 {
		b = append(b, byte('0'+day/div%10))
	}
	return b
}

func dayBucket(day uint32) string { return string(appendDay(nil, day)) }

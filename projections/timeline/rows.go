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
	groupBucket        = "group"
	changeBucket       = "change"
	leftBucket         = "left"
	blockBucket        = "block"
	editBucket         = "edit"
	touchedBucket      = "touched"
	taskBucket         = "task"
	fileBucket         = "file"
	stateBucket        = "state"
	repeatPrefix       = "repeat-"
)

// stripeBits: the row of a user's direct conversation says in which stripe of 2^14
// records it was changed last. A sync passes over those of older stripes without a look
// at the conversation, and a fold writes the row once per stripe at most.
const stripeBits = 14

var (
	be       = binary.BigEndian
	keyClock = []byte("clock")
)

// conversation is the row of one.
type conversation struct {
	head       uint32
	updated    uint32 // fold time of the newest message, seconds
	opened     uint64 // sequence of the first counted message or of the group's making, 0 before
	changed    uint64 // sequence of the newest change that its parties may have to hear of
	repeatDay  uint32 // newest day with a row in the repeat index
	repeatDays uint16 // bit i: day repeatDay-i has rows
	touched    uint64 // sequence of the newest recall or edit, 0 if there was none
}

func parseConversation(b []byte) (c conversation) {
	d := view.Decode(b)
	c.head, c.updated, c.opened, c.changed = d.Uint32(), d.Uint32(), d.Uint64(), d.Uint64()
	c.repeatDay = d.Uint32()
	if p := d.Take(2); p != nil {
		c.repeatDays = be.Uint16(p)
	}
	if d.Left() > 0 {
		c.touched = d.Uint64()
	}
	return c
}

func (c *conversation) append(b []byte) []byte {
	b = be.AppendUint32(b, c.head)
	b = be.AppendUint32(b, c.updated)
	b = be.AppendUint64(b, c.opened)
	b = be.AppendUint64(b, c.changed)
	b = be.AppendUint32(b, c.repeatDay)
	b = be.AppendUint16(b, c.repeatDays)
	if c.touched != 0 {
		b = be.AppendUint64(b, c.touched)
	}
	return b
}

// A place is a position as one number: the sequence and, in its lowest bits, the
// index of the event. Memberships begin and end at places.
const indexBits = 10

func placeOf(sequence uint64, index uint32) uint64 {
	return sequence<<indexBits | uint64(min(index, 1<<indexBits-1))
}

// lastPlace is where a record ends.
func lastPlace(sequence uint64) uint64 { return sequence<<indexBits | (1<<indexBits - 1) }

// interval is a stretch of places [joined, left) in which a user is a member.
type interval struct {
	joined, left uint64 // left 0: still
}

// maxIntervals is how many memberships a row remembers. Of who has come and gone more
// often the oldest are forgotten.
const maxIntervals = 100

// member is the row of a user in a conversation. It may exist before the
// conversation does (a block), without an interval then.
type member struct {
	cursor    uint32
	removed   bool   // its list entry, until somebody writes; of a group until the user does
	blocks    bool   // a direct conversation
	shielded  bool   // a group's pushes
	base      uint32 // head of a group when the user joined (last): only later ids are seen
	delivered uint32 // a client has received everything up to here
	changed   uint64 // sequence of the newest change of a group's member; of a party of two of its newest block before anybody wrote
	intervals []interval
}

const (
	flagRemoved = 1 << iota
	flagBlocks
	flagShielded
	flagBase
	flagDelivered
	flagChanged
)

func parseMember(b []byte) (m member) {
	d := view.Decode(b)
	m.cursor = d.Uint32()
	flags := d.Byte()
	m.removed, m.blocks, m.shielded = flags&flagRemoved != 0, flags&flagBlocks != 0, flags&flagShielded != 0
	if flags&flagBase != 0 {
		m.base = d.Uint32()
	}
	if flags&flagDelivered != 0 {
		m.delivered = d.Uint32()
	}
	if flags&flagChanged != 0 {
		m.changed = d.Uint64()
	}
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
	flag := func(set bool, bit byte) bool {
		if set {
			flags |= bit
		}
		return set
	}
	flag(m.removed, flagRemoved)
	flag(m.blocks, flagBlocks)
	flag(m.shielded, flagShielded)
	at := len(b)
	b = append(b, 0)
	if flag(m.base != 0, flagBase) {
		b = be.AppendUint32(b, m.base)
	}
	if flag(m.delivered != 0, flagDelivered) {
		b = be.AppendUint32(b, m.delivered)
	}
	if flag(m.changed != 0, flagChanged) {
		b = be.AppendUint64(b, m.changed)
	}
	b[at] = flags
	for _, i := range m.intervals {
		b = be.AppendUint64(b, i.joined)
		b = be.AppendUint64(b, i.left)
	}
	return b
}

// present tells whether the user is a party or member now.
func (m *member) present() bool {
	return len(m.intervals) > 0 && m.intervals[len(m.intervals)-1].left == 0
}

// at tells whether the user was a party or member at a place.
func (m *member) at(place uint64) bool { return within(m.intervals, place) }

func within(intervals []interval, place uint64) bool {
	for _, i := range intervals {
		if place >= i.joined && (i.left == 0 || place < i.left) {
			return true
		}
	}
	return false
}

// join begins a membership with nothing unread.
func (m *member) join(place uint64, head uint32) {
	if len(m.intervals) >= maxIntervals {
		m.intervals = m.intervals[len(m.intervals)-maxIntervals+1:]
	}
	m.intervals = append(m.intervals, interval{joined: place})
	m.cursor, m.base = head, head
	m.removed, m.shielded = false, false
}

// leave ends the present membership.
func (m *member) leave(place uint64) { m.intervals[len(m.intervals)-1].left = place }

// joined is the place at which the present membership began.
func (m *member) joined() uint64 { return m.intervals[len(m.intervals)-1].joined }

// listed tells whether a list of recent conversations shows it.
func (m *member) listed(c *conversation) bool {
	return m.present() && !m.removed && c.head > m.base
}

// message is the row of one; its bytes are the row's own.
type message struct {
	sequence uint64
	index    uint32
	from     uint32
	created  uint32 // seconds, the event's own time
	kind     uint32
	session  []byte // 16 bytes or none
	clientID []byte // 16 bytes or none
	keyID    string
	missing  bool
	recalled bool
	edits    uint32
	edited   int64  // ms, when it got its present body, if it was edited
	touched  uint64 // sequence of its newest recall or edit
	body     []byte
}

const (
	flagSession = 1 << iota
	flagKeyID
	flagClientID
	flagMissing
	flagRecalled
	flagTouched
)

func parseMessage(b []byte) (m message) {
	d := view.Decode(b)
	m.sequence = d.Uvarint()
	m.index = uint32(d.Uvarint())
	m.from = uint32(d.Uvarint())
	m.created = uint32(d.Uvarint())
	m.kind = uint32(d.Uvarint())
	flags := d.Byte()
	m.missing, m.recalled = flags&flagMissing != 0, flags&flagRecalled != 0
	if flags&flagSession != 0 {
		m.session = d.Take(16)
	}
	if flags&flagClientID != 0 {
		m.clientID = d.Take(16)
	}
	if flags&flagKeyID != 0 {
		m.keyID = string(d.Bytes())
	}
	if flags&flagTouched != 0 {
		m.edits, m.edited, m.touched = uint32(d.Uvarint()), int64(d.Uvarint()), d.Uvarint()
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
	if m.missing {
		b[flags] |= flagMissing
	}
	if m.recalled {
		b[flags] |= flagRecalled
	}
	if len(m.session) == 16 {
		b[flags] |= flagSession
		b = append(b, m.session...)
	}
	if len(m.clientID) == 16 {
		b[flags] |= flagClientID
		b = append(b, m.clientID...)
	}
	if m.keyID != "" {
		b[flags] |= flagKeyID
		b = view.AppendBytes(b, []byte(m.keyID))
	}
	if m.touched != 0 {
		b[flags] |= flagTouched
		b = binary.AppendUvarint(b, uint64(m.edits))
		b = binary.AppendUvarint(b, uint64(m.edited))
		b = binary.AppendUvarint(b, m.touched)
	}
	return append(b, m.body...)
}

// place of the message.
func (m *message) place() uint64 { return placeOf(m.sequence, m.index) }

// group is the row of one. A row of version 0 is of a group that was never made, whose
// subject somebody has written on.
type group struct {
	kind          event.GroupType
	dissolved     bool
	version       uint32
	members       uint32 // how many
	creator       uint32
	administrator uint32
	updated       uint32 // fold time of the last change, seconds
	created       int64  // ms
	subject       uint64 // last sequence of its compare-and-set subject
	importAfter   uint32 // the last import that had an effect
	importStep    uint32
	name, avatar  string
}

func parseGroup(b []byte) (g group) {
	d := view.Decode(b)
	g.kind, g.dissolved = event.GroupType(d.Byte()), d.Byte() != 0
	g.version, g.members = d.Uint32(), d.Uint32()
	g.creator, g.administrator, g.updated = d.Uint32(), d.Uint32(), d.Uint32()
	g.created, g.subject = int64(d.Uint64()), d.Uint64()
	g.importAfter, g.importStep = d.Uint32(), d.Uint32()
	g.name, g.avatar = string(d.Bytes()), string(d.Bytes())
	return g
}

// groupMembers is how many members a group has, by its row.
func groupMembers(b []byte) uint32 {
	d := view.Decode(b)
	d.Take(6)
	return d.Uint32()
}

func (g *group) append(b []byte) []byte {
	b = append(b, byte(g.kind), 0)
	if g.dissolved {
		b[len(b)-1] = 1
	}
	for _, n := range [...]uint32{g.version, g.members, g.creator, g.administrator, g.updated} {
		b = be.AppendUint32(b, n)
	}
	b = be.AppendUint64(b, uint64(g.created))
	b = be.AppendUint64(b, g.subject)
	b = be.AppendUint32(b, g.importAfter)
	b = be.AppendUint32(b, g.importStep)
	b = view.AppendBytes(b, []byte(g.name))
	return view.AppendBytes(b, []byte(g.avatar))
}

// alive tells that the group was made and is not dissolved.
func (g *group) alive() bool { return g.version > 0 && !g.dissolved }

// file is the row of one that was offered.
type file struct {
	from, to uint32
	size     uint32
	offered  int64 // ms
	place    uint64
	name     string
}

func parseFile(b []byte) (o file) {
	d := view.Decode(b)
	o.from, o.to, o.size = d.Uint32(), d.Uint32(), d.Uint32()
	o.offered, o.place = int64(d.Uint64()), d.Uint64()
	o.name = string(d.Rest())
	return o
}

func (o *file) append(b []byte) []byte {
	b = be.AppendUint32(b, o.from)
	b = be.AppendUint32(b, o.to)
	b = be.AppendUint32(b, o.size)
	b = be.AppendUint64(b, uint64(o.offered))
	b = be.AppendUint64(b, o.place)
	return append(b, o.name...)
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

func (k *keyBuf) place(key event.ConversationKey, place uint64) []byte {
	copy(k[:], key[:])
	be.PutUint64(k[9:], place)
	return k[:17]
}

func (k *keyBuf) edit(key event.ConversationKey, id, n uint32) []byte {
	k.number(key, id)
	be.PutUint32(k[13:], n)
	return k[:17]
}

func (k *keyBuf) touched(key event.ConversationKey, sequence uint64, id uint32) []byte {
	k.place(key, sequence)
	be.PutUint32(k[17:], id)
	return k[:21]
}

func (k *keyBuf) file(user uint32, place uint64) []byte {
	be.PutUint32(k[:], user)
	be.PutUint64(k[4:], place)
	return k[:12]
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

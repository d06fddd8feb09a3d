package timeline

import (
	"fmt"
	"math"
	"time"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Format is the version of the rows.
const Format = 3

// repeatDaysKept is how many days before the fold clock's own the repeat index
// goes back.
const repeatDaysKept = 8

// maxAt is the greatest event time that is taken as such; TeamTalk's times end there.
const maxAt = int64(math.MaxUint32) * 1000

// Timeline is the fold of one partition.
type Timeline struct {
	partition int
}

var _ view.Fold = (*Timeline)(nil)

// New is the fold of CONVERSATION-pp.
func New(partition int) *Timeline { return &Timeline{partition: partition} }

// Name of its view: timeline-pp.
func (t *Timeline) Name() string { return fmt.Sprintf("timeline-%02d", t.partition) }

// Format of its rows.
func (t *Timeline) Format() uint32 { return Format }

// Stream it folds.
func (t *Timeline) Stream() event.Stream { return event.ConversationStream(t.partition) }

// Buckets of its view.
func (t *Timeline) Buckets() []string {
	return []string{
		conversationBucket, memberBucket, messageBucket, userBucket, leftBucket, blockBucket, groupBucket,
		changeBucket, editBucket, touchedBucket, taskBucket, fileBucket, stateBucket, repeatPrefix + "*",
	}
}

// FillPercent packs messages tightly: most are appended at the end of their
// conversation and never change.
func (t *Timeline) FillPercent(bucket string) float64 {
	if bucket == messageBucket {
		return 0.9
	}
	return 0
}

// Apply folds one record.
func (t *Timeline) Apply(tx *view.Tx, sequence uint64, rec *event.Record) []view.Effect {
	f := folding{tx: tx, sequence: sequence, effects: make([]view.Effect, len(rec.Events))}
	f.alone = len(rec.Events) == 1
	f.clock = int64(be64(tx.Get(stateBucket, keyClock)))
	before := f.clock
	for i, ev := range rec.Events {
		f.index, f.left = uint32(i), len(rec.Events)-i
		f.at = min(max(ev.GetAt(), 0), maxAt)
		f.tick()
		f.event(ev, &f.effects[i])
	}
	if f.clock != before {
		tx.Put(stateBucket, keyClock, be.AppendUint64(nil, uint64(f.clock)))
	}
	return f.effects
}

// folding is the work on one record.
type folding struct {
	tx       *view.Tx
	sequence uint64
	effects  []view.Effect
	alone    bool  // the record's only event
	clock    int64 // ms

	// of the event at hand
	index uint32
	left  int // events from this one on
	at    int64

	key    keyBuf
	row    []byte
	slab   []told
	stored []byte
	names  [repeatDaysKept + 2]dayName
}

type dayName struct {
	day  uint32
	name string
}

// told is the memory of one delivery; a record's are made together.
type told struct {
	pointer  [1]*frame.Delivery
	delivery frame.Delivery
	body     frame.Delivery_Message
	message  frame.Message
}

func be64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return be.Uint64(b)
}

func (f *folding) event(ev *event.Event, e *view.Effect) {
	switch body := ev.Body.(type) {
	case *event.Event_MessageSent:
		f.messageSent(body.MessageSent, e)
	case *event.Event_ReadAdvanced:
		f.readAdvanced(body.ReadAdvanced, e)
	case *event.Event_SessionEntryRemoved:
		f.entryRemoved(body.SessionEntryRemoved, e)
	case *event.Event_BlockChanged:
		f.blockChanged(body.BlockChanged, e)
	case *event.Event_GroupCreated:
		f.groupCreated(body.GroupCreated, e)
	case *event.Event_GroupMembersChanged:
		f.groupMembersChanged(body.GroupMembersChanged, e)
	case *event.Event_GroupChanged:
		f.groupChanged(body.GroupChanged, e)
	case *event.Event_GroupShieldSet:
		f.groupShieldSet(body.GroupShieldSet, e)
	case *event.Event_MessageRecalled:
		f.messageRecalled(body.MessageRecalled, e)
	case *event.Event_MessageEdited:
		f.messageEdited(body.MessageEdited, e)
	case *event.Event_DeliveredAdvanced:
		f.deliveredAdvanced(body.DeliveredAdvanced, e)
	case *event.Event_MessageImported:
		f.messageImported(body.MessageImported, e)
	case *event.Event_FileOffered:
		f.fileOffered(body.FileOffered, e)
	case *event.Event_FileRemoved:
		f.fileRemoved(body.FileRemoved, e)
	}
}

// place of the event at hand.
func (f *folding) place() uint64 { return placeOf(f.sequence, f.index) }

// tick moves the fold clock and drops the days that became too old.
func (f *folding) tick() {
	if f.at <= f.clock {
		return
	}
	was, is := f.clock/dayMillis, f.at/dayMillis
	f.clock = f.at
	// Rows exist from was-kept to was; the days before is-kept go.
	for d := max(was-repeatDaysKept, 0); d <= was && d < is-repeatDaysKept; d++ {
		f.tx.DropBucket(f.dayName(uint32(d)))
	}
}

func (f *folding) conversation(key event.ConversationKey) conversation {
	return parseConversation(f.tx.Get(conversationBucket, key[:]))
}

func (f *folding) putConversation(key event.ConversationKey, c *conversation) {
	f.row = c.append(f.row[:0])
	f.tx.Put(conversationBucket, key[:], f.row)
}

// touch notes that a conversation has changed for all its parties. Its row is written
// by the caller.
func (f *folding) touch(key event.ConversationKey, c *conversation) {
	if key.IsDirect() && (c.changed == 0 || c.changed>>stripeBits != f.sequence>>stripeBits) {
		lower, higher := key.Parties()
		f.stripe(key, lower)
		f.stripe(key, higher)
	}
	c.changed = f.sequence
}

// stripe notes in which stripe a direct conversation has changed for one of its parties.
func (f *folding) stripe(key event.ConversationKey, user uint32) {
	var stripe [4]byte
	be.PutUint32(stripe[:], uint32(f.sequence>>stripeBits))
	f.tx.Put(userBucket, f.key.user(user, key), stripe[:])
}

func (f *folding) member(key event.ConversationKey, user uint32) member {
	return parseMember(f.tx.Get(memberBucket, f.key.number(key, user)))
}

func (f *folding) isMember(key event.ConversationKey, user uint32) bool {
	m := f.member(key, user)
	return m.present()
}

func (f *folding) putMember(key event.ConversationKey, user uint32, m *member) {
	if !key.IsDirect() {
		m.changed = f.sequence
	}
	f.putMemberRow(key, user, m)
}

// putMemberRow writes what is no change to a group's member himself.
func (f *folding) putMemberRow(key event.ConversationKey, user uint32, m *member) {
	f.row = m.append(f.row[:0])
	f.tx.Put(memberBucket, f.key.number(key, user), f.row)
}

func (f *folding) messageSent(m *event.MessageSent, e *view.Effect) {
	key, ok := event.ParseConversation(m.Conversation)
	system := m.Origin == event.Origin_ORIGIN_SYSTEM
	if !ok || m.From == 0 && !system {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	// The two parties of a direct conversation; of a group the sender alone, as a
	// message costs nothing per member.
	var users [2]uint32
	var members [2]member
	n := 2
	if key.IsDirect() {
		if key.Peer(m.From) == 0 && !system {
			e.Void = frame.Void_VOID_NOT_PARTY
			return
		}
		users[0], users[1] = key.Parties()
		members[0], members[1] = f.member(key, users[0]), f.member(key, users[1])
		if (members[0].blocks || members[1].blocks) && !system {
			e.Void = frame.Void_VOID_BLOCKED
			return
		}
	} else {
		users[0], members[0], n = m.From, f.member(key, m.From), 1
		if !members[0].present() {
			n = 0
			if !system {
				e.Void = frame.Void_VOID_NOT_PARTY
				return
			}
			if g := f.group(key); !g.alive() {
				e.Void = frame.Void_VOID_MALFORMED
				return
			}
		}
		e.Group = key.GroupID()
	}
	c := f.conversation(key)
	if first := f.repeatOf(key, &c, m); first != 0 {
		e.Void, e.FirstID, e.Group = frame.Void_VOID_REPEAT, first, 0
		return
	}
	if c.head == math.MaxUint32 {
		e.Void, e.Group = frame.Void_VOID_MALFORMED, 0
		return
	}

	c.head++
	c.updated = uint32(f.clock / 1000)
	opens := c.opened == 0
	if opens {
		c.opened = f.sequence
	}
	f.remember(key, &c, m)
	f.touch(key, &c)
	f.putConversation(key, &c)
	for i, user := range users[:n] {
		mb := &members[i]
		own := user == m.From && !system
		changed := opens
		if opens {
			mb.intervals = append(mb.intervals, interval{joined: f.place()})
		}
		// A group comes back into the list of who writes there, not of all.
		if mb.removed && (own || key.IsDirect()) {
			mb.removed, changed = false, true
		}
		if own && m.Origin == event.Origin_ORIGIN_CLIENT {
			mb.cursor, changed = c.head, true
		}
		if changed {
			f.putMember(key, user, mb)
		}
	}
	row := message{
		sequence: f.sequence, index: f.index, from: m.From, created: uint32(f.at / 1000), kind: m.Type,
		session: m.Session, clientID: m.ClientMessageId, keyID: m.KeyId, body: m.Body,
	}
	f.row = row.append(f.row[:0])
	f.tx.Put(messageBucket, f.key.number(key, c.head), f.row)

	e.ID = c.head
	e.Stored = f.keep(append(append(f.row[:0], storedMessage), key[:]...))
	t := f.tell(e)
	t.message.Conversation, t.message.Id, t.message.From = m.Conversation, c.head, m.From
	t.message.Created, t.message.Type, t.message.Body, t.message.Session = row.created, m.Type, m.Body, m.Session
	if len(m.ClientMessageId) == 16 {
		t.message.ClientMessageId = m.ClientMessageId
	}
	t.body.Message = &t.message
	t.delivery.Body = &t.body
}

// keep copies what goes into Effect.Stored into memory that the record's effects
// share.
func (f *folding) keep(b []byte) []byte {
	if cap(f.stored)-len(f.stored) < len(b) {
		f.stored = make([]byte, 0, max(len(b)*f.left, len(b)))
	}
	from := len(f.stored)
	f.stored = append(f.stored, b...)
	return f.stored[from:len(f.stored):len(f.stored)]
}

// tell gives the effect its one delivery.
func (f *folding) tell(e *view.Effect) *told {
	if len(f.slab) == 0 {
		f.slab = make([]told, f.left)
	}
	t := &f.slab[0]
	f.slab = f.slab[1:]
	t.delivery.Sequence, t.delivery.Index = f.sequence, f.index
	t.pointer[0] = &t.delivery
	e.Deliveries = t.pointer[:]
	return t
}

func (f *folding) readAdvanced(r *event.ReadAdvanced, e *view.Effect) {
	key, ok := f.party(r.Conversation, r.User, e)
	if !ok {
		return
	}
	c := f.conversation(key)
	m := f.member(key, r.User)
	cursor := min(r.MsgId, c.head)
	if cursor <= m.cursor {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	m.cursor = cursor
	f.putMember(key, r.User, &m)
	f.touchOfTwo(key, &c)
	e.ID = cursor
	kind := byte(storedRead)
	if f.receipts(key) {
		kind, e.Group = storedReadGroup, key.GroupID()
	}
	e.Stored = f.storeControl(kind, key, r.User, r.Session)
	f.tell(e).delivery.Body = &frame.Delivery_Read{Read: &frame.Read{
		Conversation: r.Conversation, User: r.User, MsgId: cursor, Session: r.Session,
	}}
}

// receiptMembers is the size of a group up to which its members hear how far the others
// have read.
const receiptMembers = 100

// receipts tells whether the conversation is a group whose members hear of each other's
// reading.
func (f *folding) receipts(key event.ConversationKey) bool {
	return !key.IsDirect() && groupMembers(f.tx.Get(groupBucket, key[:])) <= receiptMembers
}

// touchOfTwo notes what a party of two has done. Members of a group have it in their
// own rows, so that the others need not look.
func (f *folding) touchOfTwo(key event.ConversationKey, c *conversation) {
	if key.IsDirect() && c.opened != 0 {
		f.touch(key, c)
		f.putConversation(key, c)
	}
}

func (f *folding) entryRemoved(r *event.SessionEntryRemoved, e *view.Effect) {
	key, ok := f.party(r.Conversation, r.User, e)
	if !ok {
		return
	}
	c := f.conversation(key)
	m := f.member(key, r.User)
	if !m.listed(&c) {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	m.removed = true
	m.cursor = c.head
	f.putMember(key, r.User, &m)
	f.touchOfTwo(key, &c)
	e.Stored = f.storeControl(storedRemoved, key, r.User, r.Session)
	f.tell(e).delivery.Body = &frame.Delivery_EntryRemoved{EntryRemoved: &frame.EntryRemoved{
		Conversation: r.Conversation, User: r.User, Session: r.Session,
	}}
}

// party reads the key and checks that the user is one of its parties, or a member now.
func (f *folding) party(conversation []byte, user uint32, e *view.Effect) (event.ConversationKey, bool) {
	key, ok := event.ParseConversation(conversation)
	switch {
	case !ok || user == 0:
		e.Void = frame.Void_VOID_MALFORMED
	case key.IsDirect() && key.Peer(user) == 0, !key.IsDirect() && !f.isMember(key, user):
		e.Void = frame.Void_VOID_NOT_PARTY
	default:
		return key, true
	}
	return key, false
}

func (f *folding) dayName(day uint32) string {
	n := &f.names[day%uint32(len(f.names))]
	if n.day != day || n.name == "" {
		*n = dayName{day, dayBucket(day)}
	}
	return n.name
}

const repeatEntry = 4 + 8

// repeatOf is the id of the earliest message that m repeats, 0 if it is new.
func (f *folding) repeatOf(key event.ConversationKey, c *conversation, m *event.MessageSent) (first uint32) {
	if len(m.RepeatKey) != 16 || c.repeatDays == 0 {
		return 0
	}
	window := int64(event.RepeatWindow / time.Millisecond)
	if len(m.ClientMessageId) == 0 {
		window = int64(event.RepeatWindowOld / time.Millisecond)
	}
	from, to := max(f.at-window, 0)/dayMillis, (f.at+window)/dayMillis
	from = max(from, f.clock/dayMillis-repeatDaysKept)
	for days, day := c.repeatDays, int64(c.repeatDay); days != 0; days, day = days>>1, day-1 {
		if days&1 == 0 || day < from || day > to {
			continue
		}
		d := view.Decode(f.tx.Get(f.dayName(uint32(day)), f.key.repeat(key, m.RepeatKey)))
		for d.Left() >= repeatEntry {
			id, at := d.Uint32(), int64(d.Uint64())
			if max(at-f.at, f.at-at) <= window && (first == 0 || id < first) {
				first = id
			}
		}
	}
	return first
}

// remember writes a counted message into the repeat index.
func (f *folding) remember(key event.ConversationKey, c *conversation, m *event.MessageSent) {
	day := f.at / dayMillis
	if len(m.RepeatKey) != 16 || day < f.clock/dayMillis-repeatDaysKept {
		return
	}
	switch newest := int64(c.repeatDay); {
	case c.repeatDays == 0 || day-newest >= 16:
		c.repeatDay, c.repeatDays = uint32(day), 1
	case day > newest:
		c.repeatDays = c.repeatDays<<(day-newest) | 1
		c.repeatDay = uint32(day)
	default:
		// At most 8 days back: older ones are not remembered.
		c.repeatDays |= 1 << (newest - day)
	}
	bucket, k := f.dayName(uint32(day)), f.key.repeat(key, m.RepeatKey)
	// An old client may use a key again after its window, so a row is a list.
	f.row = append(f.row[:0], f.tx.Get(bucket, k)...)
	f.row = be.AppendUint32(f.row, c.head)
	f.row = be.AppendUint64(f.row, uint64(f.at))
	f.tx.Put(bucket, k, f.row)
}

package timeline

import (
	"bytes"
	"math"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

const (
	// MaxEdits is how often one message may be edited.
	MaxEdits = 1000
	// maxTask is the longest name of a stored file, in bytes.
	maxTask = 128
)

// Voice messages, TeamTalk's MsgType: a transcript cannot take their place.
const (
	kindVoice      = 2
	kindVoiceGroup = 18
)

// changing is a message that somebody wants to change.
type changing struct {
	key event.ConversationKey
	id  uint32
	message
}

// messageOf finds the message that a user may change at this position.
func (f *folding) messageOf(conversation []byte, id, user, within uint32, edits bool, e *view.Effect) (c changing, ok bool) {
	if c.key, ok = event.ParseConversation(conversation); !ok || id == 0 {
		e.Void = frame.Void_VOID_MALFORMED
		return c, false
	}
	c.id = id
	if user != 0 {
		if _, ok := f.party(conversation, user, e); !ok {
			return c, false
		}
	}
	row := f.tx.Get(messageBucket, f.key.number(c.key, id))
	c.message = parseMessage(row)
	voice := c.kind == kindVoice || c.kind == kindVoiceGroup
	switch {
	case row == nil || c.recalled || c.missing:
		e.Void = frame.Void_VOID_NO_SUCH_MESSAGE
	case user != 0 && c.from != user, edits && voice:
		e.Void = frame.Void_VOID_NOT_ALLOWED
	case within > 0 && f.at/1000-int64(c.created) > int64(within):
		e.Void = frame.Void_VOID_TOO_LATE
	default:
		return c, true
	}
	return c, false
}

func (f *folding) messageRecalled(r *event.MessageRecalled, e *view.Effect) {
	m, ok := f.messageOf(r.Conversation, r.MsgId, r.User, r.Within, false, e)
	if !ok {
		return
	}
	for n := range m.edits {
		f.tx.Delete(editBucket, f.key.edit(m.key, m.id, n))
	}
	m.recalled, m.edits, m.edited, m.body, m.keyID = true, 0, 0, nil, ""
	f.changeMessage(&m, r.Session, e)
}

func (f *folding) messageEdited(r *event.MessageEdited, e *view.Effect) {
	if len(r.Body) == 0 {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	m, ok := f.messageOf(r.Conversation, r.MsgId, r.User, r.Within, true, e)
	switch {
	case !ok:
		return
	case bytes.Equal(r.Body, m.body):
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	case m.edits >= MaxEdits:
		e.Void = frame.Void_VOID_FULL
		return
	}
	at := m.edited
	if m.edits == 0 {
		at = int64(m.created) * 1000
	}
	f.row = be.AppendUint64(f.row[:0], uint64(at))
	f.row = append(f.row, m.body...)
	f.tx.Put(editBucket, f.key.edit(m.key, m.id, m.edits), f.row)
	m.edits++
	m.edited, m.body, m.keyID = f.at, r.Body, ""
	f.changeMessage(&m, r.Session, e)
}

// changeMessage writes a message that was recalled or edited, and tells it.
func (f *folding) changeMessage(m *changing, session []byte, e *view.Effect) {
	if m.touched != 0 {
		f.tx.Delete(touchedBucket, f.key.touched(m.key, m.touched, m.id))
	}
	m.touched = f.sequence
	f.tx.Put(touchedBucket, f.key.touched(m.key, m.touched, m.id), nil)
	f.row = m.message.append(f.row[:0])
	f.tx.Put(messageBucket, f.key.number(m.key, m.id), f.row)
	c := f.conversation(m.key)
	c.touched = f.sequence
	f.touch(m.key, &c)
	f.putConversation(m.key, &c)

	e.ID = m.id
	if !m.key.IsDirect() {
		e.Group = m.key.GroupID()
	}
	b := append(f.row[:0], storedChange)
	b = append(b, m.key[:]...)
	if len(session) == 16 {
		b = append(b, session...)
	}
	f.row = b
	e.Stored = f.keep(b)
	f.tell(e).delivery.Body = messageChange(m.key, m.id, &m.message, session)
}

// messageChange is what a recall or edit tells; it has the body of m, not a copy.
func messageChange(key event.ConversationKey, id uint32, m *message, session []byte) *frame.Delivery_MessageChange {
	return &frame.Delivery_MessageChange{MessageChange: &frame.MessageChange{
		Conversation: key[:], Id: id, From: m.from, Type: m.kind, Recalled: m.recalled,
		Body: m.body, Edits: m.edits, Session: session, Created: m.created,
	}}
}

func (f *folding) deliveredAdvanced(d *event.DeliveredAdvanced, e *view.Effect) {
	key, ok := f.party(d.Conversation, d.User, e)
	if !ok {
		return
	}
	c := f.conversation(key)
	m := f.member(key, d.User)
	delivered := min(d.MsgId, c.head)
	if delivered <= max(m.delivered, m.cursor) {
		e.Void = frame.Void_VOID_NO_EFFECT // who has read has received
		return
	}
	m.delivered = delivered
	f.putMemberRow(key, d.User, &m)
	f.touchOfTwo(key, &c)
	e.ID = delivered
	if key.IsDirect() {
		e.Stored = f.storeControl(storedDelivered, key, d.User, d.Session)
	} else if f.receipts(key) {
		e.Group = key.GroupID()
		e.Stored = f.storeControl(storedDelivered, key, d.User, d.Session)
	} else {
		return // nobody hears of it
	}
	f.tell(e).delivery.Body = &frame.Delivery_Receipt{Receipt: &frame.Receipt{
		Conversation: d.Conversation, User: d.User, MsgId: delivered, Session: d.Session,
	}}
}

func (f *folding) messageImported(i *event.MessageImported, e *view.Effect) {
	key, ok := event.ParseConversation(i.Conversation)
	if !ok || i.MsgId == 0 || i.From == 0 && !i.Missing || i.Missing && len(i.Body) > 0 {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	if !key.IsDirect() {
		if g := f.group(key); !g.alive() {
			e.Void = frame.Void_VOID_MALFORMED
			return
		}
	}
	c := f.conversation(key)
	if c.head == math.MaxUint32 || i.MsgId != c.head+1 {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	c.head = i.MsgId
	// Not the fold clock, by which all that was imported would be of one time.
	c.updated = max(c.updated, uint32(f.at/1000))
	opens := c.opened == 0
	if opens {
		c.opened = f.sequence
	}
	f.touch(key, &c)
	f.putConversation(key, &c)
	if opens {
		lower, higher := key.Parties()
		for _, user := range [2]uint32{lower, higher} {
			m := f.member(key, user)
			m.intervals = append(m.intervals, interval{joined: f.place()})
			f.putMember(key, user, &m)
		}
	}
	row := message{
		sequence: f.sequence, index: f.index, from: i.From, created: uint32(f.at / 1000), kind: i.Type,
		missing: i.Missing, body: i.Body,
	}
	f.row = row.append(f.row[:0])
	f.tx.Put(messageBucket, f.key.number(key, c.head), f.row)
	e.ID = c.head
}

func (f *folding) blockChanged(b *event.BlockChanged, e *view.Effect) {
	if key, ok := event.ParseConversation(b.Conversation); ok && !key.IsDirect() {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	key, ok := f.party(b.Conversation, b.User, e)
	if !ok {
		return
	}
	m := f.member(key, b.User)
	if m.blocks == b.Blocked {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	m.blocks = b.Blocked
	c := f.conversation(key)
	if c.opened == 0 { // nobody has written yet: it is a matter of who blocks alone
		m.changed = f.sequence
		f.stripe(key, b.User)
	}
	f.putMember(key, b.User, &m)
	if k := f.key.user(b.User, key); b.Blocked {
		f.tx.Put(blockBucket, k, nil)
	} else {
		f.tx.Delete(blockBucket, k)
	}
	f.touchOfTwo(key, &c)
	kind := byte(storedUnblocked)
	if b.Blocked {
		kind = storedBlocked
	}
	e.Stored = f.storeControl(kind, key, b.User, b.Session)
	f.tell(e).delivery.Body = &frame.Delivery_BlockChange{BlockChange: &frame.BlockChange{
		Conversation: b.Conversation, User: b.User, Blocked: b.Blocked, Session: b.Session,
	}}
}

func (f *folding) fileOffered(o *event.FileOffered, e *view.Effect) {
	key, ok := event.ParseConversation(o.Conversation)
	switch {
	case !ok || !key.IsDirect() || o.Task == "" || len(o.Task) > maxTask:
		e.Void = frame.Void_VOID_MALFORMED
	case key.Peer(o.From) == 0 || key.Peer(o.From) != o.To:
		e.Void = frame.Void_VOID_NOT_PARTY
	}
	if e.Void != 0 {
		return
	}
	from, to := f.member(key, o.From), f.member(key, o.To)
	switch {
	case from.blocks || to.blocks:
		e.Void = frame.Void_VOID_BLOCKED
	case f.tx.Get(taskBucket, []byte(o.Task)) != nil:
		e.Void = frame.Void_VOID_NO_EFFECT
	}
	if e.Void != 0 {
		return
	}
	row := file{from: o.From, to: o.To, size: o.Size, offered: f.at, place: f.place(), name: o.Name}
	f.row = row.append(f.row[:0])
	f.tx.Put(taskBucket, []byte(o.Task), f.row)
	f.tx.Put(fileBucket, f.key.file(o.To, f.place()), []byte(o.Task))
	b := append(f.row[:0], storedFile)
	b = append(b, key[:]...)
	b = be.AppendUint32(b, o.To)
	b = append(b, o.Task...)
	f.row = b
	e.Stored = f.keep(b)
	f.tell(e).delivery.Body = fileOffer(key, o.Task, &row)
}

func fileOffer(key event.ConversationKey, task string, o *file) *frame.Delivery_FileOffer {
	return &frame.Delivery_FileOffer{FileOffer: &frame.FileOffer{
		Conversation: key[:], From: o.from, To: o.to, Task: task, Name: o.name, Size: o.size,
	}}
}

func (f *folding) fileRemoved(r *event.FileRemoved, e *view.Effect) {
	key, ok := event.ParseConversation(r.Conversation)
	if !ok || !key.IsDirect() || r.Task == "" || len(r.Task) > maxTask {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	row := f.tx.Get(taskBucket, []byte(r.Task))
	o := parseFile(row)
	switch {
	case row == nil || event.Direct(o.from, o.to) != key:
		e.Void = frame.Void_VOID_NO_EFFECT
	case r.User != 0 && r.User != o.from && r.User != o.to:
		e.Void = frame.Void_VOID_NOT_ALLOWED
	default:
		f.tx.Delete(taskBucket, []byte(r.Task))
		f.tx.Delete(fileBucket, f.key.file(o.to, o.place))
	}
}

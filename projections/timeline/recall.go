package timeline

import (
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// What Effect.Stored begins with; then come the conversation's 9 bytes, and for
// the controls the user 4 and the session (16 bytes or none). Of a group's change the
// kinds (bits 1) come before the user.
const (
	storedMessage   = 'm'
	storedRead      = 'r'
	storedReadGroup = 'R' // told to all members
	storedRemoved   = 'e'
	storedGroup     = 'g'
	storedChange    = 'c' // session (16 bytes or none)
	storedDelivered = 'd'
	storedBlocked   = 'b'
	storedUnblocked = 'u'
	storedFile      = 'f' // receiver 4, task
)

func (f *folding) storeControl(kind byte, key event.ConversationKey, user uint32, session []byte) []byte {
	b := append(f.row[:0], kind)
	b = append(b, key[:]...)
	b = be.AppendUint32(b, user)
	if len(session) == 16 {
		b = append(b, session...)
	}
	f.row = b
	return f.keep(b)
}

// Concern is who has to hear of something: up to two users, or the members of a group.
type Concern struct {
	First, Second uint32 // 0: nobody
	Group         uint32 // its members at the position
	Leavers       bool   // and who ceased to be one at it
}

// None tells that there is nothing to tell anybody.
func (c Concern) None() bool { return c.First == 0 && c.Group == 0 }

// ConcernOf tells whom a live delivery of an effect concerns.
func ConcernOf(e *view.Effect, d *frame.Delivery) Concern {
	if e.Group != 0 {
		return Concern{Group: e.Group, Leavers: tellsLeavers(d)}
	}
	switch b := d.GetBody().(type) {
	case *frame.Delivery_Message:
		return concernOfTwo(b.Message.GetConversation())
	case *frame.Delivery_Read:
		return concernOfTwoOr(b.Read.GetConversation(), b.Read.GetUser())
	case *frame.Delivery_EntryRemoved:
		return Concern{First: b.EntryRemoved.GetUser()}
	case *frame.Delivery_MessageChange:
		return concernOfTwo(b.MessageChange.GetConversation())
	case *frame.Delivery_Receipt:
		return concernOfTwo(b.Receipt.GetConversation())
	case *frame.Delivery_BlockChange:
		return Concern{First: b.BlockChange.GetUser()}
	case *frame.Delivery_FileOffer:
		return Concern{First: b.FileOffer.GetTo()}
	}
	return Concern{}
}

// tellsLeavers tells a delivery that also goes to those who are no members any more by
// it, of an effect with several.
func tellsLeavers(d *frame.Delivery) bool {
	switch d.GetGroupChange().GetKind() {
	case frame.GroupChange_KIND_REMOVED, frame.GroupChange_KIND_DISSOLVED:
		return true
	}
	return false
}

func concernOfTwo(conversation []byte) (c Concern) {
	if key, ok := event.ParseConversation(conversation); ok && key.IsDirect() {
		c.First, c.Second = key.Parties()
	}
	return c
}

// concernOfTwoOr is the parties of a direct conversation; of a group the user alone.
func concernOfTwoOr(conversation []byte, user uint32) Concern {
	if c := concernOfTwo(conversation); c.First != 0 {
		return c
	}
	return Concern{First: user}
}

// StoredConcern tells whom a stored effect concerns. It asks no view, so it sorts out
// what Deliveries need not be called for. Of a group's change it is the concern of all
// its deliveries together; Of tells that of each.
func StoredConcern(e view.StoredEffect) Concern {
	d := view.Decode(e.Stored)
	kind := d.Byte()
	conversation := d.Take(9)
	key, ok := event.ParseConversation(conversation)
	if !ok {
		return Concern{}
	}
	switch kind {
	case storedMessage, storedChange, storedDelivered:
		if key.IsDirect() {
			return concernOfTwo(conversation)
		}
		return Concern{Group: key.GroupID()}
	case storedRead:
		return concernOfTwoOr(conversation, d.Uint32())
	case storedReadGroup:
		return Concern{Group: key.GroupID()}
	case storedRemoved, storedBlocked, storedUnblocked, storedFile:
		return Concern{First: d.Uint32()}
	case storedGroup:
		leavers := kindBits(frame.GroupChange_KIND_REMOVED) | kindBits(frame.GroupChange_KIND_DISSOLVED)
		return Concern{Group: key.GroupID(), Leavers: d.Byte()&leavers != 0}
	}
	return Concern{}
}

// Of is the concern of one delivery of the effect.
func (c Concern) Of(d *frame.Delivery) Concern {
	c.Leavers = c.Leavers && tellsLeavers(d)
	return c
}

// Deliveries makes those of an effect again, none when there is nothing to tell (any
// more). What has changed since is given as it is now: a cursor that has moved on, a
// message that was edited or recalled. They are copies and outlive the reader.
func Deliveries(r *view.Reader, sequence uint64, index int, e view.StoredEffect) []*frame.Delivery {
	d := view.Decode(e.Stored)
	kind := d.Byte()
	key, ok := event.ParseConversation(d.Take(9))
	if !ok {
		return nil
	}
	out := &frame.Delivery{Sequence: sequence, Index: uint32(index)}
	switch kind {
	case storedMessage:
		row := r.Get(messageBucket, new(keyBuf).number(key, e.ID))
		if row == nil {
			return nil
		}
		m := parseMessage(row)
		out.Body = &frame.Delivery_Message{Message: &frame.Message{
			Conversation: key[:], Id: e.ID, From: m.from, Created: m.created, Type: m.kind,
			Body: clone(m.body), Session: clone(m.session), ClientMessageId: clone(m.clientID),
			Recalled: m.recalled, Edits: m.edits,
		}}
	case storedRead, storedReadGroup:
		user, session := d.Uint32(), clone(d.Rest())
		m := parseMember(r.Get(memberBucket, new(keyBuf).number(key, user)))
		out.Body = &frame.Delivery_Read{Read: &frame.Read{Conversation: key[:], User: user, MsgId: max(m.cursor, e.ID), Session: session}}
	case storedRemoved:
		user, session := d.Uint32(), clone(d.Rest())
		out.Body = &frame.Delivery_EntryRemoved{EntryRemoved: &frame.EntryRemoved{Conversation: key[:], User: user, Session: session}}
	case storedGroup:
		kinds, user, session := d.Byte(), d.Uint32(), clone(d.Rest())
		g := parseGroup(r.Get(changeBucket, new(keyBuf).place(key, placeOf(sequence, uint32(index)))))
		return groupChanges(sequence, uint32(index), key, &g, kinds, user, session)
	case storedChange:
		row := r.Get(messageBucket, new(keyBuf).number(key, e.ID))
		if row == nil {
			return nil
		}
		m := parseMessage(row)
		m.body = clone(m.body)
		out.Body = messageChange(key, e.ID, &m, clone(d.Rest()))
	case storedDelivered:
		user, session := d.Uint32(), clone(d.Rest())
		m := parseMember(r.Get(memberBucket, new(keyBuf).number(key, user)))
		out.Body = &frame.Delivery_Receipt{Receipt: &frame.Receipt{Conversation: key[:], User: user, MsgId: max(m.delivered, e.ID), Session: session}}
	case storedBlocked, storedUnblocked:
		user, session := d.Uint32(), clone(d.Rest())
		m := parseMember(r.Get(memberBucket, new(keyBuf).number(key, user)))
		out.Body = &frame.Delivery_BlockChange{BlockChange: &frame.BlockChange{Conversation: key[:], User: user, Blocked: m.blocks, Session: session}}
	case storedFile:
		d.Uint32()
		task := d.Rest()
		row := r.Get(taskBucket, task)
		if o := parseFile(row); row != nil && o.place == placeOf(sequence, uint32(index)) {
			out.Body = fileOffer(key, string(task), &o)
			break
		}
		return nil // it was removed
	default:
		return nil
	}
	return []*frame.Delivery{out}
}

// clone is b in memory of its own, nil for nothing.
func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

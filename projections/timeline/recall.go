package timeline

import (
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// What Effect.Stored begins with; then come the conversation's 9 bytes, and for
// the controls the user 4 and the session (16 bytes or none).
const (
	storedMessage = 'm'
	storedRead    = 'r'
	storedRemoved = 'e'
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

// StoredConcerns tells the users whom a stored effect concerns, 0 where there is
// no second one; first is 0 when there is nothing to tell. It asks no view, so it
// sorts out what Recall need not be called for.
func StoredConcerns(e view.StoredEffect) (first, second uint32) {
	d := view.Decode(e.Stored)
	kind := d.Byte()
	key, ok := event.ParseConversation(d.Take(9))
	switch {
	case !ok:
	case kind == storedMessage:
		return key.Parties()
	case kind == storedRead || kind == storedRemoved:
		return d.Uint32(), 0
	}
	return 0, 0
}

// Recall makes the delivery of an effect again, nil when there is nothing to
// tell. A cursor that has moved on since is given where it is now. The delivery is
// a copy and outlives the reader.
func Recall(r *view.Reader, sequence uint64, index int, e view.StoredEffect) *frame.Delivery {
	d := view.Decode(e.Stored)
	kind := d.Byte()
	key, ok := event.ParseConversation(d.Take(9))
	if !ok {
		return nil
	}
	out := &frame.Delivery{Sequence: sequence, Index: uint32(index)}
	if kind == storedMessage {
		row := r.Get(messageBucket, new(keyBuf).number(key, e.ID))
		if row == nil {
			return nil
		}
		m := parseMessage(row)
		out.Body = &frame.Delivery_Message{Message: &frame.Message{
			Conversation: key[:], Id: e.ID, From: m.from, Created: m.created, Type: m.kind,
			Body: clone(m.body), Session: clone(m.session),
		}}
		return out
	}
	user := d.Uint32()
	session := clone(d.Rest())
	switch kind {
	case storedRead:
		m := parseMember(r.Get(memberBucket, new(keyBuf).number(key, user)))
		out.Body = &frame.Delivery_Read{Read: &frame.Read{Conversation: key[:], User: user, MsgId: max(m.cursor, e.ID), Session: session}}
	case storedRemoved:
		out.Body = &frame.Delivery_EntryRemoved{EntryRemoved: &frame.EntryRemoved{Conversation: key[:], User: user, Session: session}}
	default:
		return nil
	}
	return out
}

// Concerns tells the users whom a timeline's delivery concerns, 0 where there is
// no second one; first is 0 for a delivery of another kind.
func Concerns(d *frame.Delivery) (first, second uint32) {
	switch b := d.GetBody().(type) {
	case *frame.Delivery_Message:
		if key, ok := event.ParseConversation(b.Message.GetConversation()); ok && key.IsDirect() {
			return key.Parties()
		}
	case *frame.Delivery_Read:
		return b.Read.GetUser(), 0
	case *frame.Delivery_EntryRemoved:
		return b.EntryRemoved.GetUser(), 0
	}
	return 0, 0
}

// clone is b in memory of its own, nil for nothing.
func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

package timeline

import (
	"bytes"
	"math"
	"slices"
	"sort"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// receipts reads who has received and read a message, of those to whom it went. Any of
// them may ask.
func receipts(r *view.Reader, q *query.Receipts) *query.ReceiptsAnswer {
	out := new(query.ReceiptsAnswer)
	a, ok := ask(r, q.Conversation, q.User)
	if !ok || !a.sees(q.MsgId) {
		return out
	}
	m := parseMessage(r.Get(messageBucket, new(keyBuf).number(a.key, q.MsgId)))
	for k, row := range r.Scan(memberBucket, a.key[:]) {
		user, mb := be.Uint32(k[9:]), parseMember(row)
		switch {
		case user == m.from || !mb.at(m.place()):
		case mb.cursor >= q.MsgId:
			out.Read = append(out.Read, user)
		case mb.delivered >= q.MsgId:
			out.Delivered = append(out.Delivered, user)
		}
	}
	return out
}

// blocks reads whom a user blocks.
func blocks(r *view.Reader, user uint32) *query.UsersAnswer {
	out := new(query.UsersAnswer)
	for k := range r.Scan(blockBucket, be.AppendUint32(nil, user)) {
		out.Users = append(out.Users, event.ConversationKey(k[4:]).Peer(user))
	}
	slices.Sort(out.Users)
	return out
}

// files reads the files that wait for a user, or one of which he is a party.
func files(r *view.Reader, q *query.Files) *query.FilesAnswer {
	out := new(query.FilesAnswer)
	left := MaxBytes
	add := func(task []byte) bool {
		row := r.Get(taskBucket, task)
		o := parseFile(row)
		if row == nil || q.User != o.from && q.User != o.to {
			return true
		}
		if left -= len(task) + len(o.name) + 32; len(out.Files) > 0 && (len(out.Files) >= MaxFiles || left < 0) {
			return false
		}
		out.Files = append(out.Files, &query.File{
			From: o.from, To: o.to, Task: string(task), Name: o.name, Size: o.size, Offered: o.offered,
		})
		return true
	}
	if q.Task != "" {
		add([]byte(q.Task))
		return out
	}
	prefix := be.AppendUint32(nil, q.User)
	for k, task := range r.ScanBack(fileBucket, new(keyBuf).file(q.User, math.MaxUint64)) {
		if !bytes.HasPrefix(k, prefix) || !add(task) {
			break
		}
	}
	slices.Reverse(out.Files) // oldest first
	return out
}

// edits reads the bodies that a message has had, the present one last. Where they are too
// many the oldest come empty.
func edits(r *view.Reader, q *query.Edits) *query.EditsAnswer {
	out := new(query.EditsAnswer)
	a, ok := ask(r, q.Conversation, q.User)
	if !ok || !a.sees(q.MsgId) {
		return out
	}
	var key keyBuf
	m := parseMessage(r.Get(messageBucket, key.number(a.key, q.MsgId)))
	if m.recalled || m.missing {
		return out
	}
	for _, row := range r.Scan(editBucket, key.number(a.key, q.MsgId)) {
		d := view.Decode(row)
		out.Edits = append(out.Edits, &query.Edit{At: int64(d.Uint64()), Body: d.Rest()})
	}
	at := m.edited
	if m.edits == 0 {
		at = int64(m.created) * 1000
	}
	out.Edits = append(out.Edits, &query.Edit{At: at, Body: clone(m.body)})
	left := MaxBytes - len(m.body)
	// Only what is given is copied: a thousand large bodies are hundreds of megabytes.
	for _, e := range slices.Backward(out.Edits[:len(out.Edits)-1]) {
		if left -= len(e.Body); left < 0 {
			e.Body = nil
		}
		e.Body = clone(e.Body)
	}
	return out
}

// pushes reads what came of messages, in the order asked. It gives as many as fit into an
// answer, at least one; the rest is asked again.
func pushes(r *view.Reader, q *query.Pushes) *query.PushesAnswer {
	out := new(query.PushesAnswer)
	left := MaxBytes
	for i, asked := range q.Asked {
		if i >= MaxPushes {
			break
		}
		p := push(r, asked)
		if left -= len(p.Message.GetBody()) + 5*len(p.Recipients) + 32; left < 0 && i > 0 {
			break
		}
		out.Messages = append(out.Messages, p)
	}
	return out
}

func push(r *view.Reader, q *query.PushAsked) *query.PushMessage {
	out := new(query.PushMessage)
	key, ok := event.ParseConversation(q.Conversation)
	if !ok {
		return out
	}
	id, m, ok := messageAt(r, key, placeOf(q.Sequence, q.Index))
	if !ok {
		return out
	}
	out.Message = toQuery(id, &m)
	members := 0
	for k, row := range r.Scan(memberBucket, key[:]) {
		user, mb := be.Uint32(k[9:]), parseMember(row)
		if mb.at(m.place()) {
			if members > 0 && members%PushBlock == 0 {
				out.Blocks = append(out.Blocks, uint32(len(out.Recipients)))
			}
			members++
		}
		// Who blocks the other does not want to be called to him.
		if user != m.from && mb.present() && id > mb.base && id > mb.cursor && !mb.shielded && !mb.blocks {
			out.Recipients = append(out.Recipients, user)
		}
	}
	return out
}

// messageAt finds the message that an event became: places grow with ids.
func messageAt(r *view.Reader, key event.ConversationKey, place uint64) (id uint32, m message, ok bool) {
	head := parseConversation(r.Get(conversationBucket, key[:])).head
	var buf keyBuf
	read := func(id uint32) message { return parseMessage(r.Get(messageBucket, buf.number(key, id))) }
	n := sort.Search(int(head), func(i int) bool {
		m := read(uint32(i) + 1)
		return m.place() >= place
	})
	if n == int(head) {
		return 0, m, false
	}
	id = uint32(n) + 1
	m = read(id)
	return id, m, m.place() == place
}

// unreadTotals counts the unread messages of each user.
func unreadTotals(r *view.Reader, users []uint32) *query.UnreadTotalsAnswer {
	out := &query.UnreadTotalsAnswer{Totals: make([]uint32, len(users))}
	var key keyBuf
	for i, user := range users {
		total := uint64(0)
		for k := range r.Scan(userBucket, be.AppendUint32(nil, user)) {
			conv := event.ConversationKey(k[4:])
			head := parseConversation(r.Get(conversationBucket, conv[:])).head
			total += uint64(head - min(head, parseMember(r.Get(memberBucket, key.number(conv, user))).cursor))
		}
		out.Totals[i] = uint32(min(total, math.MaxUint32))
	}
	return out
}

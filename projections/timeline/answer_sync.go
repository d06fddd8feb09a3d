package timeline

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// maxSyncChanges bounds what one sync finds; of more the oldest are given first.
const maxSyncChanges = 100_000

// syncChange is one thing that has changed in a conversation, at a position.
type syncChange struct {
	key  event.ConversationKey
	at   uint64
	id   uint32 // of the message that was recalled or edited, 0: the conversation as such
	left bool
}

// sync reads what has changed for a user in this timeline after a position, oldest change
// first: whole conversations as they are now. A page ends between two positions, so that
// the next one goes on from its end. An entry may come again in a later page, with other
// messages that were changed, or because it has changed meanwhile.
//
// A position of another epoch is none, and says so. Who asks without one is given
// everything, without what was left or changed: he does not know anything yet.
func (t *Timeline) sync(r *view.Reader, q *query.Sync, maxBytes, maxChanges int) *query.SyncAnswer {
	out := new(query.SyncAnswer)
	since, whole := uint64(0), true
	for _, s := range q.Since {
		if event.Stream(s.Stream) != t.Stream() {
			continue
		}
		if whole = event.ToID(s.Epoch) != r.Epoch(); whole {
			out.Whole = append(out.Whole, s.Stream)
		} else {
			since = s.Sequence
		}
	}
	changes, complete := syncChanges(r, q.User, since, whole, maxChanges)
	next := r.At(t.Stream())
	next.Sequence = max(min(next.Sequence, complete), since)
	out.More = complete < r.Sequence()
	out.Next = []*query.AtLeast{next}

	type entry struct {
		*query.SyncEntry
		at uint64 // of its newest change in this page
	}
	entries := make(map[event.ConversationKey]*entry)
	left := maxBytes
	for from, to := 0, 0; from < len(changes); from = to {
		at := changes[from].at
		size := 0
		for ; to < len(changes) && changes[to].at == at; to++ {
			c := &changes[to]
			if c.id != 0 {
				size += 5
			}
			if entries[c.key] == nil {
				entries[c.key] = &entry{SyncEntry: syncEntry(r, q.User, c)}
				size += proto.Size(entries[c.key]) + 4
			}
		}
		if from > 0 && left < size {
			out.More, next.Sequence = true, changes[from-1].at
			break
		}
		for i, c := range changes[from:to] {
			e := entries[c.key]
			// What has changed by one record comes in one page, without the bodies that
			// do not fit.
			if size > left && i > 0 && e.at == 0 && e.Latest != nil {
				size -= len(e.Latest.Body)
				e.Latest.Body = nil
			}
			if e.at = at; c.id != 0 {
				e.Changed = append(e.Changed, c.id)
			}
		}
		left -= size
	}
	for _, e := range entries {
		if e.at != 0 {
			slices.Sort(e.Changed)
			out.Entries = append(out.Entries, e.SyncEntry)
		}
	}
	slices.SortFunc(out.Entries, func(a, b *query.SyncEntry) int {
		ka, kb := event.ConversationKey(a.Conversation), event.ConversationKey(b.Conversation)
		return cmp.Or(cmp.Compare(entries[ka].at, entries[kb].at), bytes.Compare(ka[:], kb[:]))
	})
	return out
}

// syncChanges finds what has changed after since, all conversations if whole, oldest
// first. Nothing is missing up to the position complete, which lies beyond the end unless
// there are more than limit. It looks at little more than
// what has changed: not at direct conversations of older stripes.
func syncChanges(r *view.Reader, user uint32, since uint64, whole bool, limit int) (out []syncChange, complete uint64) {
	complete = math.MaxUint64
	oldestFirst := func() {
		slices.SortStableFunc(out, func(a, b syncChange) int { return cmp.Compare(a.at, b.at) })
	}
	add := func(c syncChange) {
		if c.at > complete {
			return
		}
		if out = append(out, c); len(out) >= 2*limit {
			oldestFirst()
			complete = out[limit].at
			n, _ := slices.BinarySearchFunc(out, complete, func(c syncChange, at uint64) int { return cmp.Compare(c.at, at+1) })
			out = out[:n]
		}
	}
	var key keyBuf
	prefix := be.AppendUint32(nil, user)
	for k, stripe := range r.Scan(userBucket, prefix) {
		if !whole && len(stripe) == 4 && uint64(be.Uint32(stripe)) < since>>stripeBits {
			continue
		}
		change := syncChange{key: event.ConversationKey(k[4:])}
		c := parseConversation(r.Get(conversationBucket, change.key[:]))
		change.at = c.changed
		base := uint32(0)
		if !change.key.IsDirect() || c.opened == 0 {
			m := parseMember(r.Get(memberBucket, key.number(change.key, user)))
			change.at, base = max(change.at, m.changed), m.base
		}
		if whole || change.at > since {
			add(change)
		}
		if whole || c.touched <= since {
			continue
		}
		for k := range r.ScanFrom(touchedBucket, key.touched(change.key, since+1, 0)) {
			if len(k) != 21 || event.ConversationKey(k[:9]) != change.key {
				break
			}
			if id := be.Uint32(k[17:]); id > base {
				add(syncChange{key: change.key, at: be.Uint64(k[9:]), id: id})
			}
		}
	}
	if !whole {
		for k, at := range r.Scan(leftBucket, prefix) {
			if at := be64(at); at > since {
				add(syncChange{key: event.ConversationKey(k[4:]), at: at, left: true})
			}
		}
	}
	oldestFirst()
	return out, complete
}

// syncEntry reads a conversation as it is now.
func syncEntry(r *view.Reader, user uint32, s *syncChange) *query.SyncEntry {
	e := &query.SyncEntry{Conversation: s.key[:], Left: s.left}
	if s.left {
		return e
	}
	var key keyBuf
	c := parseConversation(r.Get(conversationBucket, s.key[:]))
	m := parseMember(r.Get(memberBucket, key.number(s.key, user)))
	e.Head, e.Cursor, e.Updated = c.head, m.cursor, c.updated
	e.Removed, e.Shielded, e.Blocked = m.removed, m.shielded, m.blocks
	if s.key.IsDirect() {
		peer := parseMember(r.Get(memberBucket, key.number(s.key, s.key.Peer(user))))
		e.PeerRead, e.PeerDelivered = peer.cursor, max(peer.delivered, peer.cursor)
	} else {
		g := parseGroup(r.Get(groupBucket, s.key[:]))
		e.Version = g.version
	}
	if c.head > m.base {
		e.Latest = readMessage(r, s.key, c.head)
	}
	return e
}

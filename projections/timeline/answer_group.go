package timeline

import (
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

func (g *group) query(key event.ConversationKey) *query.Group {
	return &query.Group{
		Group: key.GroupID(), Type: g.kind, Name: g.name, AvatarUrl: g.avatar, Creator: g.creator,
		Administrator: g.administrator, Version: g.version, Members: g.members, Dissolved: g.dissolved,
		Updated: g.updated, SubjectSequence: g.subject, Created: g.created,
	}
}

// groupState reads a group as it is, or as it was after the record at a position.
func groupState(r *view.Reader, q *query.GroupState) *query.GroupAnswer {
	out := new(query.GroupAnswer)
	key, ok := event.ParseConversation(q.Conversation)
	if !ok || key.IsDirect() {
		return out
	}
	g := parseGroup(r.Get(groupBucket, key[:]))
	is := (*member).present
	if q.At != 0 {
		var was bool
		if g, was = groupAt(r, key, q.At, g.subject); !was {
			return out
		}
		is = func(m *member) bool { return m.at(lastPlace(q.At)) }
	}
	if g.version == 0 {
		return out
	}
	out.Group = g.query(key)
	out.Group.Head = parseConversation(r.Get(conversationBucket, key[:])).head
	if q.User != 0 {
		m := parseMember(r.Get(memberBucket, new(keyBuf).number(key, q.User)))
		out.Member = is(&m)
		out.Shielded = out.Member && m.shielded
	}
	if !q.Members && q.At == 0 {
		return out
	}
	for k, row := range r.Scan(memberBucket, key[:]) {
		m, user := parseMember(row), be.Uint32(k[9:])
		if q.Members && is(&m) {
			out.Members = append(out.Members, user)
		}
		if q.At == 0 {
			continue
		}
		for _, i := range m.intervals {
			if i.joined>>indexBits == q.At {
				out.Added = append(out.Added, user)
			}
			if i.left>>indexBits == q.At {
				out.Removed = append(out.Removed, user)
			}
		}
	}
	return out
}

// groupAt is the group as it was after the record at a position, with the subject's
// newest sequence.
func groupAt(r *view.Reader, key event.ConversationKey, sequence, subject uint64) (g group, ok bool) {
	for k, row := range r.ScanBack(changeBucket, new(keyBuf).place(key, lastPlace(sequence))) {
		if len(k) != 17 || event.ConversationKey(k[:9]) != key {
			break
		}
		g = parseGroup(row)
		g.subject = subject
		return g, true
	}
	return g, false
}

// groupList reads the groups of a user, or all, by their numbers.
func groupList(r *view.Reader, q *query.GroupList) *query.GroupListAnswer {
	out := new(query.GroupListAnswer)
	limit, left := MaxGroups, MaxBytes
	if q.Limit > 0 {
		limit = min(limit, int(q.Limit))
	}
	// add is false where the page ends.
	add := func(key event.ConversationKey, row []byte) bool {
		g := parseGroup(row)
		if g.version == 0 || key.GroupID() <= q.After {
			return true
		}
		if left -= len(row) + 64; len(out.Groups) > 0 && (len(out.Groups) >= limit || left < 0) {
			out.More = true
			return false
		}
		out.Groups = append(out.Groups, g.query(key))
		return true
	}
	from := event.Group(q.After)
	if q.User == 0 {
		for k, row := range r.ScanFrom(groupBucket, from[:]) {
			if !add(event.ConversationKey(k), row) {
				break
			}
		}
		return out
	}
	for k := range r.ScanFrom(userBucket, new(keyBuf).user(q.User, from)) {
		if len(k) != 13 || be.Uint32(k) != q.User || k[4] != 'g' {
			break
		}
		key := event.ConversationKey(k[4:])
		if !add(key, r.Get(groupBucket, key[:])) {
			break
		}
	}
	return out
}

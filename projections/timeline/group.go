package timeline

import (
	"cmp"
	"slices"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Limits of groups that the rule holds: the most members where an event names no limit,
// and the most that an event may name.
const (
	DefaultGroupLimit = 10_000
	MaxGroupLimit     = 40_000
)

func groupLimit(limit uint32) int {
	if limit == 0 {
		limit = DefaultGroupLimit
	}
	return int(min(limit, MaxGroupLimit))
}

func (f *folding) group(key event.ConversationKey) group {
	return parseGroup(f.tx.Get(groupBucket, key[:]))
}

func (f *folding) putGroup(key event.ConversationKey, g *group) {
	f.row = g.append(f.row[:0])
	f.tx.Put(groupBucket, key[:], f.row)
}

// groupOf reads the group that an event alone on the group's subject is about. The
// subject has moved, whatever the event comes to.
func (f *folding) groupOf(conversation []byte, e *view.Effect) (key event.ConversationKey, g group, ok bool) {
	key, ok = event.ParseConversation(conversation)
	if !ok || key.IsDirect() {
		e.Void = frame.Void_VOID_MALFORMED
		return key, g, false
	}
	g = f.group(key)
	if f.alone {
		g.subject = f.sequence
		f.putGroup(key, &g)
	}
	return key, g, true
}

// sorted is a copy of a list of users, ascending and each once.
func sorted(users []uint32) []uint32 {
	users = slices.Clone(users)
	slices.Sort(users)
	return slices.Compact(users)
}

func (f *folding) groupCreated(c *event.GroupCreated, e *view.Effect) {
	key, g, ok := f.groupOf(c.Conversation, e)
	if !ok {
		return
	}
	members := c.Members
	if c.Creator != 0 {
		members = append(slices.Clone(members), c.Creator)
	}
	members = sorted(members)
	known := c.Type == event.GroupType_GROUP_TYPE_NORMAL || c.Type == event.GroupType_GROUP_TYPE_TEMPORARY
	switch {
	case g.version > 0:
		e.Void = frame.Void_VOID_NO_EFFECT
	case !known || len(members) == 0 || members[0] == 0:
		e.Void = frame.Void_VOID_MALFORMED
	case len(members) > groupLimit(c.Limit):
		e.Void = frame.Void_VOID_FULL
	}
	if e.Void != 0 {
		return
	}
	g.kind, g.name, g.avatar = c.Type, c.Name, c.AvatarUrl
	g.creator, g.administrator, g.created = c.Creator, c.Creator, f.at
	conv := f.conversation(key)
	conv.opened = f.sequence
	f.join(key, &g, &conv, members)
	f.changeGroup(key, &g, &conv)
	e.ID = g.version
	e.Members = &view.Members{Joined: members}
	f.tellGroup(e, key, &g, kindBits(frame.GroupChange_KIND_ADDED), c.Creator, c.Session)
}

func (f *folding) groupMembersChanged(c *event.GroupMembersChanged, e *view.Effect) {
	key, g, ok := f.groupOf(c.Conversation, e)
	if !ok {
		return
	}
	added, removed := sorted(c.Added), sorted(c.Removed)
	if len(added) > 0 && added[0] == 0 || len(removed) > 0 && removed[0] == 0 {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	if !g.alive() {
		e.Void = frame.Void_VOID_NO_SUCH_GROUP
		return
	}
	if e.Void = f.mayChangeMembers(key, &g, c.User, added, removed); e.Void != 0 {
		return
	}
	conv := f.conversation(key)
	if c.ImportStep != 0 {
		place := cmp.Or(cmp.Compare(c.ImportAfter, g.importAfter), cmp.Compare(c.ImportStep, g.importStep))
		if conv.head != c.ImportAfter || place <= 0 {
			e.Void = frame.Void_VOID_NO_EFFECT
			return
		}
	}
	// Who is in both lists has come and gone, or just goes.
	added = slices.DeleteFunc(added, func(user uint32) bool {
		_, both := slices.BinarySearch(removed, user)
		return both || f.isMember(key, user)
	})
	removed = slices.DeleteFunc(removed, func(user uint32) bool { return !f.isMember(key, user) })
	switch {
	case len(added)+len(removed) == 0:
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	case len(added) > 0 && int(g.members)+len(added)-len(removed) > groupLimit(c.Limit):
		e.Void = frame.Void_VOID_FULL
		return
	}
	if c.ImportStep != 0 {
		g.importAfter, g.importStep = c.ImportAfter, c.ImportStep
	}
	f.join(key, &g, &conv, added)
	f.leave(key, &g, removed)
	f.changeGroup(key, &g, &conv)
	e.ID = g.version
	e.Members = &view.Members{Joined: added, Left: removed}
	if c.ImportStep != 0 {
		e.Group = key.GroupID()
		return
	}
	var kinds byte
	if len(added) > 0 {
		kinds |= kindBits(frame.GroupChange_KIND_ADDED)
	}
	if len(removed) > 0 {
		kinds |= kindBits(frame.GroupChange_KIND_REMOVED)
	}
	f.tellGroup(e, key, &g, kinds, c.User, c.Session)
}

// mayChangeMembers says why a user may not do what he asks, by the lists as asked.
func (f *folding) mayChangeMembers(key event.ConversationKey, g *group, user uint32, added, removed []uint32) frame.Void {
	leaves := len(removed) == 1 && removed[0] == user
	switch {
	case user == 0 || user == g.administrator && f.isMember(key, user):
		return 0
	case !f.isMember(key, user):
		return frame.Void_VOID_NOT_PARTY
	case len(removed) > 0 && !leaves, len(added) > 0 && g.kind != event.GroupType_GROUP_TYPE_TEMPORARY:
		return frame.Void_VOID_NOT_ALLOWED
	}
	return 0
}

func (f *folding) groupChanged(c *event.GroupChanged, e *view.Effect) {
	key, g, ok := f.groupOf(c.Conversation, e)
	if !ok {
		return
	}
	switch {
	case !g.alive():
		e.Void = frame.Void_VOID_NO_SUCH_GROUP
	case c.User != 0 && !f.isMember(key, c.User):
		e.Void = frame.Void_VOID_NOT_PARTY
	case c.User != 0 && c.User != g.administrator,
		c.User != 0 && c.Dissolved && g.kind != event.GroupType_GROUP_TYPE_TEMPORARY,
		c.User != 0 && c.Administrator != nil && *c.Administrator == 0:
		e.Void = frame.Void_VOID_NOT_ALLOWED
	case c.Administrator != nil && *c.Administrator != 0 && !f.isMember(key, *c.Administrator):
		e.Void = frame.Void_VOID_NOT_PARTY
	}
	if e.Void != 0 {
		return
	}
	before := g
	if c.Name != nil {
		g.name = *c.Name
	}
	if c.AvatarUrl != nil {
		g.avatar = *c.AvatarUrl
	}
	if c.Administrator != nil {
		g.administrator = *c.Administrator
	}
	if g == before && !c.Dissolved {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	conv := f.conversation(key)
	kinds := kindBits(frame.GroupChange_KIND_CHANGED)
	if c.Dissolved {
		kinds = kindBits(frame.GroupChange_KIND_DISSOLVED)
		var left []uint32
		for user := range f.present(key) {
			left = append(left, user)
		}
		g.dissolved = true
		f.leave(key, &g, left)
		if len(left) > 0 {
			e.Members = &view.Members{Left: left}
		}
	}
	f.changeGroup(key, &g, &conv)
	e.ID = g.version
	f.tellGroup(e, key, &g, kinds, c.User, c.Session)
}

func (f *folding) groupShieldSet(s *event.GroupShieldSet, e *view.Effect) {
	key, ok := event.ParseConversation(s.Conversation)
	if !ok || key.IsDirect() || s.User == 0 {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	m := f.member(key, s.User)
	switch g := f.group(key); {
	case !g.alive():
		e.Void = frame.Void_VOID_NO_SUCH_GROUP
	case !m.present():
		e.Void = frame.Void_VOID_NOT_PARTY
	case m.shielded == s.Shielded:
		e.Void = frame.Void_VOID_NO_EFFECT
	default:
		m.shielded = s.Shielded
		f.putMember(key, s.User, &m)
	}
}

// join makes users members from here on. What was written before is neither unread nor
// theirs to read.
func (f *folding) join(key event.ConversationKey, g *group, c *conversation, users []uint32) {
	for _, user := range users {
		m := f.member(key, user)
		m.join(f.place(), c.head)
		f.putMember(key, user, &m)
		k := f.key.user(user, key)
		f.tx.Put(userBucket, k, nil)
		f.tx.Delete(leftBucket, k)
	}
	g.members += uint32(len(users))
}

// leave ends memberships. A group without its administrator gets the member who has
// been there longest.
func (f *folding) leave(key event.ConversationKey, g *group, users []uint32) {
	var at [8]byte
	be.PutUint64(at[:], f.sequence)
	for _, user := range users {
		m := f.member(key, user)
		m.leave(f.place())
		f.putMember(key, user, &m)
		k := f.key.user(user, key)
		f.tx.Delete(userBucket, k)
		f.tx.Put(leftBucket, k, at[:])
	}
	g.members -= uint32(len(users))
	if _, goes := slices.BinarySearch(users, g.administrator); goes {
		g.administrator = 0
		longest := uint64(0)
		for user, m := range f.present(key) {
			if g.administrator == 0 || m.joined() < longest {
				g.administrator, longest = user, m.joined()
			}
		}
	}
}

// present yields the members of a group by their numbers. It is for rare events only.
func (f *folding) present(key event.ConversationKey) func(yield func(user uint32, m *member) bool) {
	return func(yield func(user uint32, m *member) bool) {
		for k, row := range f.tx.Scan(memberBucket, key[:]) {
			if m := parseMember(row); m.present() && !yield(be.Uint32(k[9:]), &m) {
				return
			}
		}
	}
}

// changeGroup writes the group's next version, and keeps it as it is now.
func (f *folding) changeGroup(key event.ConversationKey, g *group, c *conversation) {
	g.version++
	g.updated = uint32(f.clock / 1000)
	f.putGroup(key, g)
	f.tx.Put(changeBucket, f.key.place(key, f.place()), f.row)
	f.touch(key, c)
	f.putConversation(key, c)
}

func kindBits(kind frame.GroupChange_Kind) byte { return 1 << kind }

// tellGroup gives the effect one delivery per kind, the removal last.
func (f *folding) tellGroup(e *view.Effect, key event.ConversationKey, g *group, kinds byte, user uint32, session []byte) {
	e.Group = key.GroupID()
	b := append(f.row[:0], storedGroup)
	b = append(b, key[:]...)
	b = append(b, kinds)
	b = be.AppendUint32(b, user)
	if len(session) == 16 {
		b = append(b, session...)
	}
	f.row = b
	e.Stored = f.keep(b)
	e.Deliveries = groupChanges(f.sequence, f.index, key, g, kinds, user, session)
}

// groupChanges are the deliveries of one change, as they are told and recalled.
func groupChanges(sequence uint64, index uint32, key event.ConversationKey, g *group, kinds byte, user uint32, session []byte) (out []*frame.Delivery) {
	for _, kind := range [...]frame.GroupChange_Kind{
		frame.GroupChange_KIND_ADDED, frame.GroupChange_KIND_CHANGED,
		frame.GroupChange_KIND_REMOVED, frame.GroupChange_KIND_DISSOLVED,
	} {
		if kinds&kindBits(kind) != 0 {
			out = append(out, &frame.Delivery{Sequence: sequence, Index: index, Body: &frame.Delivery_GroupChange{GroupChange: &frame.GroupChange{
				Conversation: key[:], Version: g.version, User: user, Session: session, Kind: kind,
				Members: g.members, Name: g.name, AvatarUrl: g.avatar, Administrator: g.administrator,
			}}})
		}
	}
	return out
}

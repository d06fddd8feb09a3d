package connector

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// fakeGroups are the groups of a fakeNode, guarded by its lock.
type fakeGroups struct {
	all      map[uint32]*fakeGroup
	subjects map[string]uint64
	reserved uint32
	clock    uint32
	asked    []*query.GroupState // all questions about groups
}

type fakeGroup struct {
	*query.Group
	members  map[uint32]bool
	shielded map[uint32]bool
	then     map[uint64]*query.GroupAnswer // as it was after a position
}

func (g *fakeGroups) wrote(subject string, sequence uint64) {
	if g.subjects == nil {
		g.subjects = map[string]uint64{}
	}
	g.subjects[subject] = sequence
}

func (g *fakeGroups) has(number, user uint32) bool {
	return g.all[number] != nil && g.all[number].members[user]
}

func (g *fakeGroups) members(number uint32) []uint32 {
	if g.all[number] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(g.all[number].members))
}

// apply folds what concerns groups, as far as the connector can tell.
func (g *fakeGroups) apply(a fakeAppend, r *delivery.Result, deliver func(d *frame.Delivery, users ...uint32)) {
	if g.all == nil {
		g.all = map[uint32]*fakeGroup{}
	}
	switch b := a.ev.GetBody().(type) {
	case *event.Event_GroupReserved:
		g.reserved++
		r.ID = g.reserved
	case *event.Event_GroupCreated:
		e := b.GroupCreated
		k, _ := event.ParseConversation(e.Conversation)
		f := &fakeGroup{members: map[uint32]bool{}, shielded: map[uint32]bool{}, then: map[uint64]*query.GroupAnswer{},
			Group: &query.Group{Group: k.GroupID(), Type: e.Type, Name: e.Name, AvatarUrl: e.AvatarUrl, Creator: e.Creator, Administrator: e.Creator}}
		g.all[k.GroupID()] = f
		g.changed(f, a, r.Sequence, e.Creator, e.Session, e.Members, nil, deliver, frame.GroupChange_KIND_ADDED)
	case *event.Event_GroupMembersChanged:
		e := b.GroupMembersChanged
		k, _ := event.ParseConversation(e.Conversation)
		var kinds []frame.GroupChange_Kind
		if len(e.Added) > 0 {
			kinds = append(kinds, frame.GroupChange_KIND_ADDED)
		}
		if len(e.Removed) > 0 {
			kinds = append(kinds, frame.GroupChange_KIND_REMOVED)
		}
		g.changed(g.all[k.GroupID()], a, r.Sequence, e.User, e.Session, e.Added, e.Removed, deliver, kinds...)
	case *event.Event_GroupChanged:
		e := b.GroupChanged
		k, _ := event.ParseConversation(e.Conversation)
		f, kind := g.all[k.GroupID()], frame.GroupChange_KIND_CHANGED
		if e.Name != nil {
			f.Name = *e.Name
		}
		if e.Administrator != nil {
			f.Administrator = *e.Administrator
		}
		var gone []uint32
		if e.Dissolved {
			kind, gone, f.Dissolved = frame.GroupChange_KIND_DISSOLVED, g.members(k.GroupID()), true
		}
		g.changed(f, a, r.Sequence, e.User, e.Session, nil, gone, deliver, kind)
	case *event.Event_GroupShieldSet:
		e := b.GroupShieldSet
		k, _ := event.ParseConversation(e.Conversation)
		switch {
		case !g.has(k.GroupID(), e.User):
			r.Void = frame.Void_VOID_NOT_PARTY
		case g.all[k.GroupID()].shielded[e.User] == e.Shielded:
			r.Void = frame.Void_VOID_NO_EFFECT
		default:
			g.all[k.GroupID()].shielded[e.User] = e.Shielded
		}
	}
}

func (g *fakeGroups) changed(f *fakeGroup, a fakeAppend, sequence uint64, user uint32, session []byte, added, removed []uint32,
	deliver func(d *frame.Delivery, users ...uint32), kinds ...frame.GroupChange_Kind) {
	for _, u := range added {
		f.members[u] = true
	}
	for _, u := range removed {
		delete(f.members, u)
	}
	f.Version++
	g.clock++
	f.Updated, f.Members, f.SubjectSequence = g.clock, uint32(len(f.members)), sequence
	now := slices.Sorted(maps.Keys(f.members))
	f.then[sequence] = &query.GroupAnswer{Group: proto.CloneOf(f.Group), Members: now, Added: added, Removed: removed}
	k := event.Group(f.Group.Group)
	for _, kind := range kinds {
		deliver(&frame.Delivery{Body: &frame.Delivery_GroupChange{GroupChange: &frame.GroupChange{Conversation: k[:], Version: f.Version, User: user,
			Session: session, Kind: kind, Members: f.Members, Name: f.Name, AvatarUrl: f.AvatarUrl, Administrator: f.Administrator}}},
			append(slices.Clone(now), removed...)...)
	}
}

func (g *fakeGroups) answer(q *query.Request, ans *query.Answer) bool {
	switch b := q.GetBody().(type) {
	case *query.Request_GroupState:
		s := b.GroupState
		g.asked = append(g.asked, s)
		k, _ := event.ParseConversation(s.Conversation)
		a := &query.GroupAnswer{}
		if f := g.all[k.GroupID()]; f != nil {
			a.Group, a.Member, a.Shielded = proto.CloneOf(f.Group), f.members[s.User], f.shielded[s.User]
			if s.Members {
				a.Members = g.members(k.GroupID())
			}
			if s.At > 0 {
				a = proto.CloneOf(f.then[s.At])
			}
		}
		ans.Body = &query.Answer_Group{Group: a}
	case *query.Request_GroupList:
		a := &query.GroupListAnswer{}
		for _, number := range slices.Sorted(maps.Keys(g.all)) {
			switch {
			case number <= b.GroupList.After || !g.has(number, b.GroupList.User):
			case len(a.Groups) == 5: // a small page
				a.More = true
			default:
				a.Groups = append(a.Groups, proto.CloneOf(g.all[number].Group))
			}
		}
		ans.Body = &query.Answer_GroupList{GroupList: a}
	default:
		return false
	}
	return true
}

// group makes a group as if another node had.
func (n *fakeNode) group(kind event.GroupType, name string, creator uint32, members ...uint32) uint32 {
	n.mu.Lock()
	n.groups.reserved++
	number := n.groups.reserved
	n.mu.Unlock()
	k := event.Group(number)
	n.cas(number, &event.Event{Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: k[:], Type: kind, Name: name, Creator: creator, Members: members}}})
	return number
}

// cas appends to a group's subject as if another node had.
func (n *fakeNode) cas(number uint32, ev *event.Event) {
	subject := bus.GroupSubject(number, testPartitions)
	n.mu.Lock()
	last := n.groups.subjects[subject]
	n.mu.Unlock()
	if err := n.AppendCAS(event.Group(number).Stream(testPartitions), subject, last, ev, func(delivery.Result) {}); err != nil {
		n.t.Error(err)
	}
	n.step()
}

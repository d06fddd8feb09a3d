package owner

import (
	"maps"
	"slices"

	"godwit/projections/timeline"
	"godwit/projections/view"
	"godwit/schema/frame"
)

// userBytes is the most that a user takes in a list of a frame or a page.
const userBytes = 5

// audience is the members of a group that are attached on one node, and what that node
// has been told of them since it was registered.
type audience struct {
	users          map[uint32]struct{}
	number         uint64 // the node knows them as; 0: it was told nothing
	added, removed map[uint32]struct{}
	frame          uint64 // the node's frame that says so, or says more about it
}

func (a *audience) add(user uint32) {
	if _, ok := a.users[user]; ok {
		return
	}
	a.users[user] = struct{}{}
	a.differs(user, &a.added, a.removed)
}

func (a *audience) remove(user uint32) {
	if _, ok := a.users[user]; !ok {
		return
	}
	delete(a.users, user)
	a.differs(user, &a.removed, a.added)
}

// differs notes what the node has yet to be told: user goes into one set, or back out of
// the other. When that is more than the audience itself, it is told whole again.
func (a *audience) differs(user uint32, into *map[uint32]struct{}, other map[uint32]struct{}) {
	if a.number == 0 {
		return
	}
	if _, ok := other[user]; ok {
		delete(other, user)
		return
	}
	if *into == nil {
		*into = map[uint32]struct{}{}
	}
	(*into)[user] = struct{}{}
	if len(a.added)+len(a.removed) > len(a.users)+16 {
		a.forget()
	}
}

func (a *audience) forget() {
	a.number, a.added, a.removed = 0, nil, nil
}

// next is what the node has to be told, so that it knows the audience as it is. numbers
// counts what any node was told of any audience, so that none is mistaken for another.
func (a *audience) next(group uint32, numbers *uint64) *frame.Audience {
	out := &frame.Audience{Group: group}
	switch {
	case a.number == 0:
		out.Full, out.Added = true, sortedUsers(a.users)
		*numbers++
		a.number = *numbers
	case len(a.added)+len(a.removed) > 0:
		out.Base, out.Added, out.Removed = a.number, sortedUsers(a.added), sortedUsers(a.removed)
		*numbers++
		a.number, a.added, a.removed = *numbers, nil, nil
	}
	out.Number = a.number
	return out
}

func sortedUsers(set map[uint32]struct{}) []uint32 {
	return slices.Sorted(maps.Keys(set))
}

// audienceBytes is about what an audience takes in a frame.
func audienceBytes(a *frame.Audience) int {
	return 24 + userBytes*(len(a.GetAdded())+len(a.GetRemoved())+len(a.GetAlso()))
}

// memberships are the groups of every user in a stream as of the fold.
type memberships map[uint32][]uint32

func (m memberships) add(user, group uint32) {
	if groups := m[user]; !slices.Contains(groups, group) {
		m[user] = append(groups, group)
	}
}

func (m memberships) remove(user, group uint32) {
	groups := m[user]
	i := slices.Index(groups, group)
	if i < 0 {
		return
	}
	if groups = slices.Delete(groups, i, i+1); len(groups) == 0 {
		delete(m, user)
		return
	}
	m[user] = groups
}

func (m memberships) move(group uint32, members *view.Members) {
	for _, user := range members.Joined {
		m.add(user, group)
	}
	for _, user := range members.Left {
		m.remove(user, group)
	}
}

// joined puts an attached user into the audience of a group on this node.
func (n *node) joined(user, group uint32) {
	a := n.audiences[group]
	if a == nil {
		a = &audience{users: map[uint32]struct{}{}}
		n.audiences[group] = a
	}
	a.add(user)
}

// left takes a user out of it. Of an audience without users nothing is kept.
func (n *node) left(user, group uint32) {
	a := n.audiences[group]
	if a == nil {
		return
	}
	if a.remove(user); len(a.users) == 0 {
		delete(n.audiences, group)
	}
}

// move notes who has come to a group and gone from it; st.mu is held.
func (st *stream) move(sequence uint64, e *view.Effect) {
	if st.moves != nil {
		st.moves.note(sequence, e)
	}
	if st.term == nil {
		return
	}
	st.groups.move(e.Group, e.Members)
	for _, n := range st.order {
		for _, user := range e.Members.Joined {
			if _, ok := n.users[user]; ok {
				n.joined(user, e.Group)
			}
		}
		for _, user := range e.Members.Left {
			if _, ok := n.users[user]; ok {
				n.left(user, e.Group)
			}
		}
	}
}

// movesLimit is how many comings and goings are kept while memberships are being read.
const movesLimit = 1 << 20

// moves are the changes of members that were folded while the memberships of a term were
// read from what was committed.
type moves struct {
	all   []move
	users int
}

type move struct {
	sequence uint64
	group    uint32
	members  *view.Members
}

func (m *moves) note(sequence uint64, e *view.Effect) {
	if m.users += len(e.Members.Joined) + len(e.Members.Left); m.users <= movesLimit {
		m.all = append(m.all, move{sequence, e.Group, e.Members})
	}
}

// deliverGroup puts a delivery into the frames of the nodes that have members of the
// group attached, or users whom it tells that they are none any more; st.mu is held.
func (st *stream) deliverGroup(c timeline.Concern, e *view.Effect, d *frame.Delivery) {
	for _, n := range st.order {
		var also []uint32
		if c.Leavers && e.Members != nil {
			for _, user := range e.Members.Left {
				if _, ok := n.users[user]; ok {
					also = append(also, user)
				}
			}
		}
		a := n.audiences[c.Group]
		if a == nil && also == nil {
			continue
		}
		told := &frame.Audience{Group: c.Group}
		if a != nil {
			told = st.tell(n, c.Group, a, userBytes*len(also)+deliveryBytes(d))
		}
		told.Also = also
		n.deliver(&frame.Delivery{Sequence: d.Sequence, Index: d.Index, Body: d.Body, Audience: told})
	}
}

// tell is the audience as a delivery to it says it, which takes so many bytes beside. What
// is too large for the frame that is being filled goes ahead in one of its own, unless
// that frame is about the audience already, as it was before.
func (st *stream) tell(n *node, group uint32, a *audience, beside int) *frame.Audience {
	told := a.next(group, &st.numbers)
	before := a.frame == n.frames
	a.frame = n.frames
	if size := audienceBytes(told); !before && size > audienceSoftLimit && n.size+size+beside > frameSoftLimit {
		st.sendAhead(n, told)
		return &frame.Audience{Group: group, Number: told.Number}
	}
	return told
}

// sendAhead pushes an audience in a frame that moves no position, before the one that is
// being filled. Such frames are counted as parts, so that the loss of one is a hole.
func (st *stream) sendAhead(n *node, told *frame.Audience) {
	st.push(n, &frame.Frame{Deliveries: []*frame.Delivery{{Audience: told}}}, n.to)
	n.parts++
}

package delivery

import (
	"cmp"
	"slices"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// sweepFrom is how many groups a stream knows before those without users here are sought.
const sweepFrom = 1024

// audience is the members of a group on this node, as the stream's owner has told since
// the node was registered.
type audience struct {
	number uint64
	users  []uint32 // ascending; some may have left the node
}

// change applies what has come and gone. All are ascending.
func (a *audience) change(added, removed []uint32) {
	if len(added)+len(removed) == 0 {
		return
	}
	users := make([]uint32, 0, max(len(a.users)+len(added)-len(removed), 0))
	for old := a.users; len(old) > 0 || len(added) > 0; {
		var user uint32
		switch {
		case len(added) == 0 || len(old) > 0 && old[0] < added[0]:
			user, old = old[0], old[1:]
		case len(old) > 0 && old[0] == added[0]:
			user, old, added = old[0], old[1:], added[1:]
		default:
			user, added = added[0], added[1:]
		}
		for len(removed) > 0 && removed[0] < user {
			removed = removed[1:]
		}
		if len(removed) == 0 || removed[0] != user {
			users = append(users, user)
		}
	}
	a.users = users
}

func ascending(users []uint32) []uint32 {
	if !slices.IsSorted(users) {
		slices.Sort(users)
	}
	return users
}

// knows tells whether this node has been told of every audience that a frame's deliveries
// go to. One that it was not is a hole.
func (st *stream) knows(deliveries []*frame.Delivery) bool {
	var told map[uint32]uint64 // by deliveries of this frame
	for _, d := range deliveries {
		a := d.Audience
		if a.GetNumber() == 0 {
			continue
		}
		number, ok := told[a.Group]
		if !ok {
			if known := st.audiences[a.Group]; known != nil {
				number = known.number
			}
		}
		switch {
		case a.Full:
		case a.Base != 0 && a.Base == number:
		case a.Base == 0 && a.Number == number:
			continue
		default:
			return false
		}
		if told == nil {
			told = map[uint32]uint64{}
		}
		told[a.Group] = a.Number
	}
	return true
}

// learn notes what a delivery of a frame says about its audience.
func (st *stream) learn(a *frame.Audience) {
	known := st.audiences[a.Group]
	switch {
	case a.Full:
		if known == nil {
			known = &audience{}
			if st.audiences == nil {
				st.audiences = map[uint32]*audience{}
			}
			st.audiences[a.Group] = known
		}
		known.users = ascending(a.Added)
	case a.Base == 0 || known == nil:
		return
	default:
		known.change(ascending(a.Added), ascending(a.Removed))
	}
	known.number = a.Number
}

// sweep forgets groups without users on this node, whenever there are twice as many
// groups as the last time. Should the owner still take one for known, the next delivery
// to it is a hole; so it comes between frames, as what is known is checked for a whole
// one.
func (st *stream) sweep() {
	if len(st.audiences) < max(st.sweepAt, sweepFrom) {
		return
	}
	for group, a := range st.audiences {
		if !slices.ContainsFunc(a.users, func(user uint32) bool { return st.n.users[user] != nil }) {
			delete(st.audiences, group)
		}
	}
	st.sweepAt = 2 * len(st.audiences)
}

// concerned are the users whom a delivery without an audience concerns, 0 for nobody.
func concerned(d *frame.Delivery) (first, second uint32) {
	switch b := d.Body.(type) {
	case *frame.Delivery_Message:
		return parties(b.Message.Conversation, 0)
	case *frame.Delivery_MessageChange:
		return parties(b.MessageChange.Conversation, 0)
	case *frame.Delivery_Read:
		return parties(b.Read.Conversation, b.Read.User)
	case *frame.Delivery_Receipt:
		return parties(b.Receipt.Conversation, b.Receipt.User)
	case *frame.Delivery_EntryRemoved:
		return b.EntryRemoved.User, 0
	case *frame.Delivery_FileOffer:
		return b.FileOffer.To, 0
	case *frame.Delivery_BlockChange:
		return b.BlockChange.User, 0
	}
	return 0, 0
}

// parties are the two of a direct conversation, else the one who is given.
func parties(conversation []byte, user uint32) (first, second uint32) {
	if key, ok := event.ParseConversation(conversation); ok && key.IsDirect() {
		return key.Parties()
	}
	return user, 0
}

// recipients are the users whom a delivery concerns: of a frame by what this node knows of
// its audience, of a page of changes by the page's lists.
func (st *stream) recipients(d *frame.Delivery, lists []*frame.UserList, yield func(user uint32)) {
	a := d.Audience
	if a == nil {
		first, second := concerned(d)
		for _, user := range [2]uint32{first, second} {
			if user != 0 {
				yield(user)
			}
		}
		return
	}
	var users []uint32
	if a.List > 0 {
		if int(a.List) <= len(lists) {
			users = lists[a.List-1].Users
		}
	} else if known := st.audiences[a.Group]; a.Number != 0 && known != nil {
		users = known.users
	}
	for _, user := range users {
		yield(user)
	}
	for _, user := range a.Also {
		yield(user)
	}
}

// mark is a place in a stream between two events: everything up to a sequence, and of the
// record after it the events below an index.
type mark struct {
	sequence uint64
	index    uint32
}

func (m mark) compare(o mark) int {
	return cmp.Or(cmp.Compare(m.sequence, o.sequence), cmp.Compare(m.index, o.index))
}

// before tells whether a delivery lies beyond the mark.
func (m mark) before(d *frame.Delivery) bool {
	return d.Sequence > m.sequence+1 || d.Sequence == m.sequence+1 && d.Index >= m.index
}

// whole is the first position that is not cut by the mark.
func (m mark) whole() uint64 {
	if m.index > 0 {
		return m.sequence + 1
	}
	return m.sequence
}

// end is up to where a page goes whose range ends at to.
func end(page *frame.ChangesAnswer, to uint64) mark {
	if page.More {
		return mark{page.NextSequence, page.NextIndex}
	}
	return mark{sequence: to}
}

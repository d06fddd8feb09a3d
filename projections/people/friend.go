package people

import (
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// A row of friend: since when they are friends, the fold time of that, and the name that
// the one in front gave the other.
type friendRow struct {
	since, updated uint32
	remark         string
}

func (r friendRow) bytes() []byte {
	return append(be.AppendUint32(be.AppendUint32(nil, r.since), r.updated), r.remark...)
}

func parseFriend(b []byte) friendRow {
	d := view.Decode(b)
	return friendRow{since: d.Uint32(), updated: d.Uint32(), remark: string(b[8:])}
}

// A row of circle: how many friends and open requests a person has, and the fold time of
// the newest change among them.
type circle struct{ friends, outgoing, incoming, updated uint32 }

func (c circle) bytes() []byte {
	b := be.AppendUint32(be.AppendUint32(make([]byte, 0, 16), c.friends), c.outgoing)
	return be.AppendUint32(be.AppendUint32(b, c.incoming), c.updated)
}

func parseCircle(b []byte) circle {
	if len(b) != 16 {
		return circle{}
	}
	return circle{be.Uint32(b), be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint32(b[12:])}
}

func (f *folding) circle(user uint32) circle {
	return parseCircle(f.tx.Get(circleBucket, be.AppendUint32(nil, user)))
}

// move changes a person's counts.
func (f *folding) move(user uint32, friends, outgoing, incoming int) {
	c := f.circle(user)
	c.friends += uint32(friends)
	c.outgoing += uint32(outgoing)
	c.incoming += uint32(incoming)
	c.updated = f.now()
	f.tx.Put(circleBucket, be.AppendUint32(nil, user), c.bytes())
}

func (f *folding) areFriends(a, b uint32) bool { return f.tx.Get(friendBucket, pair(a, b)) != nil }

func (f *folding) hasAsked(from, to uint32) bool { return f.tx.Get(asksBucket, pair(from, to)) != nil }

// two tells whether an event can be about these two.
func (f *folding) two(a, b uint32, e *view.Effect) bool {
	switch {
	case a == 0 || b == 0 || a == b:
		e.Void = frame.Void_VOID_MALFORMED
	case f.account(a) == nil || f.account(b) == nil:
		e.Void = frame.Void_VOID_NO_SUCH_PERSON
	default:
		return true
	}
	return false
}

// befriend makes them friends, and leaves no request between them. False: one has too many.
func (f *folding) befriend(a, b uint32) bool {
	if f.circle(a).friends >= MaxFriends || f.circle(b).friends >= MaxFriends {
		return false
	}
	f.forget(a, b)
	f.forget(b, a)
	row := friendRow{since: f.seconds(), updated: f.now()}.bytes()
	for _, p := range [2][2]uint32{{a, b}, {b, a}} {
		f.tx.Put(friendBucket, pair(p[0], p[1]), row)
		f.tx.Delete(partedBucket, pair(p[0], p[1]))
		f.move(p[0], +1, 0, 0)
	}
	return true
}

// forget takes a request away, if there is one.
func (f *folding) forget(from, to uint32) {
	if !f.hasAsked(from, to) {
		return
	}
	f.tx.Delete(asksBucket, pair(from, to))
	f.tx.Delete(askedBucket, pair(to, from))
	f.move(from, 0, -1, 0)
	f.move(to, 0, 0, -1)
}

func (f *folding) friendAdded(p *event.FriendAdded, e *view.Effect) {
	a, b := p.Lower, p.Higher
	if a > b {
		a, b = 0, 0
	}
	switch {
	case !f.two(a, b, e):
	case f.areFriends(a, b):
		e.Void = frame.Void_VOID_NO_EFFECT
	case !f.befriend(a, b):
		e.Void = frame.Void_VOID_FULL
	default:
		f.tellTwo(e, a, b, 0, &frame.FriendChange{Kind: frame.FriendChange_KIND_FRIENDS})
	}
}

func (f *folding) friendRemoved(p *event.FriendRemoved, e *view.Effect) {
	a, b := p.Lower, p.Higher
	if a > b || p.User != 0 && p.User != a && p.User != b {
		a, b = 0, 0
	}
	if !f.two(a, b, e) {
		return
	}
	if !f.areFriends(a, b) {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	for _, p := range [2][2]uint32{{a, b}, {b, a}} {
		f.tx.Delete(friendBucket, pair(p[0], p[1]))
		f.tx.Put(partedBucket, pair(p[0], p[1]), be.AppendUint32(nil, f.now()))
		f.move(p[0], -1, 0, 0)
	}
	if p.User == b {
		a, b = b, a
	}
	f.tellTwo(e, a, b, 0, &frame.FriendChange{Kind: frame.FriendChange_KIND_REMOVED, Own: p.User != 0, Session: p.Session})
}

func (f *folding) friendRequested(p *event.FriendRequested, e *view.Effect) {
	from, to := p.From, p.To
	if len(p.Text) > MaxText {
		from, to = 0, 0
	}
	if !f.two(from, to, e) {
		return
	}
	switch {
	case f.areFriends(from, to) || f.hasAsked(from, to):
		e.Void = frame.Void_VOID_NO_EFFECT
	case f.hasAsked(to, from):
		if !f.befriend(from, to) {
			e.Void = frame.Void_VOID_FULL
			return
		}
		f.tellTwo(e, from, to, to, &frame.FriendChange{Kind: frame.FriendChange_KIND_FRIENDS, Own: true, Session: p.Session})
	case f.circle(from).outgoing >= MaxRequests || f.circle(to).incoming >= MaxRequests:
		e.Void = frame.Void_VOID_FULL
	default:
		row := append(be.AppendUint32(nil, f.seconds()), p.Text...)
		f.tx.Put(asksBucket, pair(from, to), row)
		f.tx.Put(askedBucket, pair(to, from), row)
		f.move(from, 0, +1, 0)
		f.move(to, 0, 0, +1)
		f.tellTwo(e, from, to, from, &frame.FriendChange{
			Kind: frame.FriendChange_KIND_REQUESTED, Own: true, Text: p.Text, Session: p.Session,
		})
	}
}

func (f *folding) friendAnswered(p *event.FriendAnswered, e *view.Effect) {
	from, to := p.From, p.To
	if !f.two(from, to, e) {
		return
	}
	if !f.hasAsked(from, to) {
		e.Void = frame.Void_VOID_NO_SUCH_REQUEST
		return
	}
	did, other := to, from
	c := &frame.FriendChange{Own: true, Session: p.Session}
	switch {
	case p.Withdrawn:
		did, other = from, to
		c.Kind = frame.FriendChange_KIND_WITHDRAWN
		f.forget(from, to)
	case !p.Accept:
		c.Kind = frame.FriendChange_KIND_REFUSED
		f.forget(from, to)
	case !f.befriend(from, to):
		e.Void = frame.Void_VOID_FULL
		return
	default:
		c.Kind = frame.FriendChange_KIND_FRIENDS
	}
	f.tellTwo(e, did, other, from, c)
}

func (f *folding) friendRemarked(p *event.FriendRemarked, e *view.Effect) {
	if len(p.Remark) > MaxRemark {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	if !f.two(p.User, p.Friend, e) {
		return
	}
	key := pair(p.User, p.Friend)
	b := f.tx.Get(friendBucket, key)
	if b == nil || parseFriend(b).remark == p.Remark {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	row := parseFriend(b)
	row.remark = p.Remark
	f.tx.Put(friendBucket, key, row.bytes())
	f.move(p.User, 0, 0, 0)
	f.tellFriend(e, &frame.FriendChange{
		User: p.User, Other: p.Friend, Kind: frame.FriendChange_KIND_REMARKED, Own: true, Text: p.Remark, Session: p.Session,
	})
}

// tellTwo tells both of a change that c describes for the one who did it; asked is who
// made the request that it is about, 0 if it is about none.
func (f *folding) tellTwo(e *view.Effect, did, other, asked uint32, c *frame.FriendChange) {
	c.User, c.Other, c.Outgoing = did, other, did == asked
	f.tellFriend(e, c)
	f.tellFriend(e, &frame.FriendChange{User: other, Other: did, Kind: c.Kind, Outgoing: other == asked, Text: c.Text})
}

func (f *folding) tellFriend(e *view.Effect, c *frame.FriendChange) {
	friends := c.Kind == frame.FriendChange_KIND_FRIENDS || c.Kind == frame.FriendChange_KIND_REMOVED
	f.tell(e, &frame.PersonChanged{User: c.User, Friends: friends, Friend: c})
}

package connector

import (
	"slices"

	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// fakeCircle is what the fake node knows of friends, blocks, departments and devices.
type fakeCircle struct {
	remarks     map[[2]uint32]string // giver, friend
	asks        map[[2]uint32]string // from, to
	blocks      map[[2]uint32]bool   // by, whom
	devices     map[uint32]*query.Device
	departments []*query.Department
	full        bool // nobody may have another friend
}

func (n *fakeNode) areFriends(a, b uint32) bool {
	return slices.Contains(n.friends, [2]uint32{min(a, b), max(a, b)})
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// befriend makes two users friends, or ends that, as an operator would.
func (n *fakeNode) befriend(a, b uint32, friends bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setFriends(a, b, friends)
	n.sequence[event.People]++
	for _, u := range []uint32{a, b} {
		kind := frame.FriendChange_KIND_FRIENDS
		if !friends {
			kind = frame.FriendChange_KIND_REMOVED
		}
		n.handler.PersonChanged(&frame.PersonChanged{User: u, Friends: true,
			Friend: &frame.FriendChange{User: u, Other: a + b - u, Kind: kind}}, n.sequence[event.People])
	}
}

func (n *fakeNode) setFriends(a, b uint32, friends bool) {
	pair := [2]uint32{min(a, b), max(a, b)}
	n.friends = slices.DeleteFunc(n.friends, func(p [2]uint32) bool { return p == pair })
	if friends {
		n.friends = append(n.friends, pair)
	}
}

// apply does what the folds of people and of blocks do.
func (c *fakeCircle) apply(n *fakeNode, a fakeAppend, r *delivery.Result, deliver func(*frame.Delivery, ...uint32)) (after []func()) {
	tell := func(p *frame.PersonChanged) {
		after = append(after, func() { n.handler.PersonChanged(p, r.Sequence) })
	}
	// two tells who did it, if anybody, and the other one.
	two := func(did, other, asked uint32, own bool, f *frame.FriendChange) {
		friends := f.Kind == frame.FriendChange_KIND_FRIENDS || f.Kind == frame.FriendChange_KIND_REMOVED
		tell(&frame.PersonChanged{User: did, Friends: friends, Friend: &frame.FriendChange{
			User: did, Other: other, Kind: f.Kind, Own: own, Outgoing: did == asked, Text: f.Text, Session: f.Session}})
		tell(&frame.PersonChanged{User: other, Friends: friends, Friend: &frame.FriendChange{
			User: other, Other: did, Kind: f.Kind, Outgoing: other == asked, Text: f.Text}})
	}
	switch b := a.ev.GetBody().(type) {
	case *event.Event_ProfileChanged:
		x, p := b.ProfileChanged, n.people[b.ProfileChanged.User]
		n.latest++
		p.Updated = n.latest
		d := &frame.DirectoryChange{User: x.User, AvatarUrl: x.AvatarUrl, Signature: x.Signature, Session: x.Session}
		if x.AvatarUrl != nil {
			p.AvatarUrl = *x.AvatarUrl
		}
		if x.Signature != nil {
			p.Signature = *x.Signature
		}
		tell(&frame.PersonChanged{User: x.User, Directory: d})
	case *event.Event_DeviceTokenSet:
		x := b.DeviceTokenSet
		put(&c.devices, x.User, &query.Device{User: x.User, Type: x.ClientType, Token: x.Token, PushShield: c.devices[x.User].GetPushShield()})
	case *event.Event_PushShieldSet:
		x := b.PushShieldSet
		d := c.devices[x.User]
		put(&c.devices, x.User, &query.Device{User: x.User, Type: d.GetType(), Token: d.GetToken(), PushShield: x.On})
	case *event.Event_FriendRequested:
		x := b.FriendRequested
		if c.full {
			r.Void = frame.Void_VOID_FULL
			return nil
		}
		put(&c.asks, [2]uint32{x.From, x.To}, x.Text)
		two(x.From, x.To, x.From, true, &frame.FriendChange{Kind: frame.FriendChange_KIND_REQUESTED, Text: x.Text, Session: x.Session})
	case *event.Event_FriendAnswered:
		x := b.FriendAnswered
		delete(c.asks, [2]uint32{x.From, x.To})
		did, other, kind := x.To, x.From, frame.FriendChange_KIND_REFUSED
		switch {
		case x.Withdrawn:
			did, other, kind = x.From, x.To, frame.FriendChange_KIND_WITHDRAWN
		case x.Accept:
			n.setFriends(x.From, x.To, true)
			kind = frame.FriendChange_KIND_FRIENDS
		}
		two(did, other, x.From, true, &frame.FriendChange{Kind: kind, Session: x.Session})
	case *event.Event_FriendRemoved:
		x := b.FriendRemoved
		n.setFriends(x.Lower, x.Higher, false)
		two(x.User, x.Lower+x.Higher-x.User, 0, true, &frame.FriendChange{Kind: frame.FriendChange_KIND_REMOVED, Session: x.Session})
	case *event.Event_FriendRemarked:
		x := b.FriendRemarked
		put(&c.remarks, [2]uint32{x.User, x.Friend}, x.Remark)
		tell(&frame.PersonChanged{User: x.User, Friend: &frame.FriendChange{
			User: x.User, Other: x.Friend, Kind: frame.FriendChange_KIND_REMARKED, Own: true, Text: x.Remark, Session: x.Session}})
	case *event.Event_BlockChanged:
		x := b.BlockChanged
		k, _ := event.ParseConversation(x.Conversation)
		key := [2]uint32{x.User, k.Peer(x.User)}
		if c.blocks[key] == x.Blocked {
			r.Void = frame.Void_VOID_NO_EFFECT
			return nil
		}
		put(&c.blocks, key, x.Blocked)
		deliver(&frame.Delivery{Body: &frame.Delivery_BlockChange{BlockChange: &frame.BlockChange{
			Conversation: x.Conversation, User: x.User, Blocked: x.Blocked, Session: x.Session}}}, x.User)
	}
	return after
}

// answer answers what views of people and of blocks are asked.
func (c *fakeCircle) answer(n *fakeNode, q *query.Request, ans *query.Answer) bool {
	switch b := q.GetBody().(type) {
	case *query.Request_Friends:
		out := &query.FriendsAnswer{}
		for u := range n.people {
			if n.areFriends(u, b.Friends.User) {
				out.Users = append(out.Users, u)
			}
		}
		ans.Body = &query.Answer_Friends{Friends: out}
	case *query.Request_Relations:
		out := &query.RelationsAnswer{}
		for i, other := range b.Relations.Others {
			user := b.Relations.User
			if len(b.Relations.Users) > 0 {
				user = b.Relations.Users[i]
			}
			p := n.people[other]
			_, outgoing := c.asks[[2]uint32{user, other}]
			_, incoming := c.asks[[2]uint32{other, user}]
			out.Relations = append(out.Relations, &query.Relation{Other: other, Exists: p != nil, Disabled: p.GetDisabled(),
				Friends: n.areFriends(user, other), Outgoing: outgoing, Incoming: incoming})
		}
		ans.Body = &query.Answer_Relations{Relations: out}
	case *query.Request_FriendList:
		out, user := &query.FriendListAnswer{}, b.FriendList.User
		for other := range n.people {
			if n.areFriends(user, other) {
				out.Friends = append(out.Friends, &query.Friend{User: other, Friends: true, Since: 5, Remark: c.remarks[[2]uint32{user, other}]})
			}
			if text, ok := c.asks[[2]uint32{other, user}]; ok {
				out.Friends = append(out.Friends, &query.Friend{User: other, Since: 6, Text: text})
			}
			if text, ok := c.asks[[2]uint32{user, other}]; ok {
				out.Friends = append(out.Friends, &query.Friend{User: other, Outgoing: true, Since: 7, Text: text})
			}
		}
		slices.SortFunc(out.Friends, func(a, b *query.Friend) int { return int(a.User) - int(b.User) })
		ans.Body = &query.Answer_FriendList{FriendList: out}
	case *query.Request_Blocks:
		out := &query.UsersAnswer{}
		for k, on := range c.blocks {
			if on && k[0] == b.Blocks.User {
				out.Users = append(out.Users, k[1])
			}
		}
		ans.Body = &query.Answer_Users{Users: out}
	case *query.Request_Devices:
		out := &query.DevicesAnswer{}
		for _, user := range b.Devices.Users {
			if n.people[user] == nil {
				continue
			}
			d := c.devices[user]
			out.Devices = append(out.Devices, &query.Device{User: user, Type: d.GetType(), Token: d.GetToken(), PushShield: d.GetPushShield()})
		}
		ans.Body = &query.Answer_Devices{Devices: out}
	case *query.Request_Departments:
		out := &query.DepartmentsAnswer{Latest: b.Departments.Since}
		for _, d := range c.departments { // by updated
			if d.Updated <= b.Departments.Since {
				continue
			}
			if len(out.Departments) >= int(b.Departments.Limit) && d.Updated != out.Latest {
				out.More = true
				break
			}
			out.Departments, out.Latest = append(out.Departments, d), d.Updated
		}
		ans.Body = &query.Answer_Departments{Departments: out}
	default:
		return false
	}
	return true
}

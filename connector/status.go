package connector

import (
	"context"
	"sync"
	"time"

	"godwit/schema/client"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

// statusEvery is how often status notices go out; between, the newest state wins.
const statusEvery = time.Second

const (
	friendEntries = 16384   // users whose friends are cached
	friendsKept   = 4 << 20 // friends of them all
	statusMax     = 65536   // users whose change waits; beyond, clients learn by 0x020a
	shownMax      = 4096    // users whose avatar or signature waits; beyond, clients learn by 0x0208

	// noticeBytes is the most bytes of notices that a session is sent in a second with
	// everyone, a small part of what it may have waiting.
	noticeBytes = 64 << 10
)

// statuses gathers who came and went (0x0203), and whose avatar or signature has changed
// (0x0212, 0x0215), and tells it once a second.
//
// With everyone, all desktop and web sessions of the node are written the same bytes, unless
// more users are online than the limit says: then nothing is pushed, for each
// login would cost work in proportion to everybody. The number is that of the presence
// view, asked at most once a second and only when there is something to tell.
type statuses struct {
	srv *Server

	mu      sync.Mutex
	changed map[uint32]userStatus
	shown   map[uint32]shown
	friends map[uint32][]uint32
	kept    int // how many they are
	drops   uint64
}

type userStatus struct {
	sequence uint64
	online   bool
}

// shown is what has changed of a person that others see.
type shown struct {
	avatar, signature *string
}

// show gathers a change of what is shown of a person.
func (c *statuses) show(d *frame.DirectoryChange) {
	if d.AvatarUrl == nil && d.Signature == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, found := c.shown[d.GetUser()]
	if !found && len(c.shown) >= shownMax {
		c.srv.metrics.statusDropped.Inc()
		return
	}
	if d.AvatarUrl != nil {
		p.avatar = d.AvatarUrl
	}
	if d.Signature != nil {
		p.signature = d.Signature
	}
	c.shown[d.GetUser()] = p
}

func (c *statuses) add(user uint32, online bool, sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, found := c.changed[user]
	if found && old.sequence >= sequence {
		return
	}
	if !found && len(c.changed) >= statusMax {
		c.srv.metrics.statusDropped.Inc()
		return
	}
	c.changed[user] = userStatus{sequence, online}
}

func (c *statuses) dropFriends(user uint32) {
	c.mu.Lock()
	c.drops++
	c.kept -= len(c.friends[user])
	delete(c.friends, user)
	c.mu.Unlock()
}

func (c *statuses) dropAllFriends() {
	c.mu.Lock()
	c.drops++
	clear(c.friends)
	c.kept = 0
	c.mu.Unlock()
}

// run tells until ctx ends.
func (c *statuses) run(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.tell(ctx)
		}
	}
}

func (c *statuses) tell(ctx context.Context) {
	c.mu.Lock()
	changed, people := c.changed, c.shown
	if len(changed)+len(people) == 0 {
		c.mu.Unlock()
		return
	}
	c.changed, c.shown = make(map[uint32]userStatus), make(map[uint32]shown)
	c.mu.Unlock()
	if c.srv.cfg.Contacts == Friends {
		c.tellFriends(ctx, changed, people)
		return
	}
	// Of more changes than that in one second, when another node was lost, their bytes alone
	// would be more than a session may have waiting.
	if len(changed) > c.srv.cfg.StatusLimit || c.tooMany(ctx) {
		c.srv.metrics.statusDropped.Add(float64(len(changed) + len(people)))
		return
	}
	var n notices
	for user, st := range changed {
		n.seated = appendStatus(n.seated, user, st.online)
	}
	statuses := n.size()
	for user, p := range people {
		if n.size()-statuses > noticeBytes {
			c.srv.metrics.statusDropped.Inc()
			continue
		}
		n.add(user, p)
	}
	seated, phones := 0, 0
	c.srv.all(func(s *session) {
		switch told, phone := s.tell(&n); {
		case told && !phone:
			seated++
		case told:
			phones++
		}
	})
	c.srv.metrics.statuses.Add(float64(seated * len(changed)))
	c.srv.metrics.notices.Add(float64((seated + phones) * n.people))
}

// notices are PDUs that many sessions get.
type notices struct {
	seated []byte // desktop and web sessions only
	all    []byte
	people int
}

func (n *notices) size() int { return len(n.seated) + len(n.all) }

// add makes the notices of a person. Phones learn of avatars by 0x0208.
func (n *notices) add(user uint32, p shown) {
	n.people++
	// Neither can fail: their texts are valid, as the log has them.
	if p.avatar != nil {
		n.seated, _ = pdu.AppendMessage(n.seated, client.CmdAvatarChangedNotify, 0,
			&imbuddy.IMAvatarChangedNotify{ChangedUserId: &user, AvatarUrl: p.avatar})
	}
	if p.signature != nil {
		n.all, _ = pdu.AppendMessage(n.all, client.CmdSignInfoChangedNotify, 0,
			&imbuddy.IMSignInfoChangedNotify{ChangedUserId: &user, SignInfo: p.signature})
	}
}

// tell writes what concerns an open session. It tells whether there was something, and
// whether it is a phone's.
func (s *session) tell(n *notices) (told, phone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	phone = s.Mobile()
	if s.state != open || len(n.all) == 0 && (phone || len(n.seated) == 0) {
		return false, phone
	}
	s.write(func(b []byte) []byte {
		if !phone {
			b = append(b, n.seated...)
		}
		return append(b, n.all...)
	})
	s.wire.Wake()
	return true, phone
}

func appendStatus(b []byte, user uint32, online bool) []byte {
	return pdu.Append(b, service(client.CmdUserStatNotify), client.CmdUserStatNotify, 0, func(b []byte) []byte {
		return client.AppendUserStat(b, user, int32(status(online)))
	})
}

// tooMany tells whether more users are online than notices are pushed for. Where it
// can't be asked, the sessions of this node are a lower bound.
func (c *statuses) tooMany(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.srv.limits.Ask)
	defer cancel()
	ans, err := checked(c.srv.node.Ask(ctx, &query.Request{Body: &query.Request_PresenceTotals{PresenceTotals: &query.PresenceTotals{}}}))
	online := int(ans.GetPresenceTotals().GetDesktopOnlineUsers())
	if err != nil {
		online = c.srv.count()
	}
	return online > c.srv.cfg.StatusLimit
}

// tellFriends writes each change to the friends that are here, and to the user.
func (c *statuses) tellFriends(ctx context.Context, changed map[uint32]userStatus, people map[uint32]shown) {
	for user, st := range changed {
		n := &notices{seated: appendStatus(nil, user, st.online)}
		c.srv.metrics.statuses.Add(float64(c.tellFriendsOf(ctx, user, n)))
	}
	for user, p := range people {
		var n notices
		n.add(user, p)
		c.srv.metrics.notices.Add(float64(c.tellFriendsOf(ctx, user, &n)))
	}
}

// tellFriendsOf tells how many sessions were told.
func (c *statuses) tellFriendsOf(ctx context.Context, user uint32, n *notices) (told int) {
	friends, err := c.friendsOf(ctx, user)
	if err != nil {
		c.srv.log.Warn("notice not told: friends unknown", "user", user, "err", err)
		return 0
	}
	tell := func(s *session) {
		if ok, _ := s.tell(n); ok {
			told++
		}
	}
	c.srv.each(user, tell)
	for _, friend := range friends {
		c.srv.each(friend, tell)
	}
	return told
}

func (c *statuses) friendsOf(ctx context.Context, user uint32) ([]uint32, error) {
	c.mu.Lock()
	friends, ok := c.friends[user]
	drops := c.drops
	c.mu.Unlock()
	if ok {
		return friends, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.srv.limits.Ask)
	defer cancel()
	ans, err := checked(c.srv.node.Ask(ctx, &query.Request{Body: &query.Request_Friends{Friends: &query.Friends{User: user}}}))
	if err != nil {
		return nil, err
	}
	friends = ans.GetFriends().GetUsers()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops == drops {
		c.kept += len(friends) - len(c.friends[user])
		if len(c.friends) >= friendEntries || c.kept > friendsKept {
			clear(c.friends)
			c.kept = len(friends)
		}
		c.friends[user] = friends
	}
	return friends, nil
}

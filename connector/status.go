package connector

import (
	"context"
	"sync"
	"time"

	"godwit/schema/client"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

// statusEvery is how often status notices go out; between, the newest state wins.
const statusEvery = time.Second

const (
	friendEntries = 16384 // users whose friends are cached
	statusMax     = 65536 // users whose change waits; beyond, clients learn by 0x020a
)

// statuses gathers who came and went (0x0203) and tells it once a second.
//
// With everyone, all desktop sessions of the node are written the same bytes, unless
// more users are online than the limit says: then nothing is pushed, for each
// login would cost work in proportion to everybody. The number is that of the presence
// view, asked at most once a second and only when there is something to tell.
type statuses struct {
	srv *Server

	mu      sync.Mutex
	changed map[uint32]userStatus
	friends map[uint32][]uint32
	drops   uint64
}

type userStatus struct {
	sequence uint64
	online   bool
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
	delete(c.friends, user)
	c.mu.Unlock()
}

func (c *statuses) dropAllFriends() {
	c.mu.Lock()
	c.drops++
	clear(c.friends)
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
	changed := c.changed
	if len(changed) == 0 {
		c.mu.Unlock()
		return
	}
	c.changed = make(map[uint32]userStatus)
	c.mu.Unlock()
	if c.srv.cfg.Contacts == Friends {
		c.tellFriends(ctx, changed)
		return
	}
	// Of more changes than that in one second, when another node was lost, their bytes alone
	// would be more than a session may have waiting.
	if len(changed) > c.srv.cfg.StatusLimit || c.tooMany(ctx) {
		c.srv.metrics.statusDropped.Add(float64(len(changed)))
		return
	}
	var blob []byte
	for user, st := range changed {
		blob = appendStatus(blob, user, st.online)
	}
	told := 0
	c.srv.all(func(s *session) {
		if s.tell(blob) {
			told++
		}
	})
	c.srv.metrics.statuses.Add(float64(told * len(changed)))
}

// tell writes PDUs to an open desktop session.
func (s *session) tell(pdus []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != open || !s.desktop() {
		return false
	}
	s.write(func(b []byte) []byte { return append(b, pdus...) })
	s.wire.Wake()
	return true
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
func (c *statuses) tellFriends(ctx context.Context, changed map[uint32]userStatus) {
	for user, st := range changed {
		friends, err := c.friendsOf(ctx, user)
		if err != nil {
			c.srv.log.Warn("status not told: friends unknown", "user", user, "err", err)
			continue
		}
		blob := appendStatus(nil, user, st.online)
		told := 0
		tell := func(s *session) {
			if s.tell(blob) {
				told++
			}
		}
		c.srv.each(user, tell)
		for _, friend := range friends {
			c.srv.each(friend, tell)
		}
		c.srv.metrics.statuses.Add(float64(told))
	}
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
		if len(c.friends) >= friendEntries {
			clear(c.friends)
		}
		c.friends[user] = friends
	}
	return friends, nil
}

package connector

import (
	"context"
	"sync"
	"time"

	"godwit/commands"
	"godwit/schema/query"
)

// permits caches whether messages may be sent to a user: he exists and is not disabled,
// and where contacts are friends whether the sender is one. An entry that is out of date
// costs a message to somebody who can't read it, no more.
type permits struct {
	srv *Server

	mu      sync.RWMutex
	known   map[uint32]map[uint32]permit // by receiver and sender; sender 0: whoever it is
	entries int                          // of known
	waiting map[permitKey][]*session     // being asked for, and who is held meanwhile
	stale   map[uint32]struct{}          // receivers dropped while they are being asked for
	asking  bool
}

type permitKey struct{ from, to uint32 }

type permit struct {
	expires  uint32 // tick
	exists   bool
	disabled bool
	stranger bool
}

const (
	permitEntries = 65536
	permitTicks   = 60
	permitPerAsk  = 500
	permitRetry   = 500 * time.Millisecond
)

func newPermits(srv *Server) permits {
	return permits{srv: srv, known: make(map[uint32]map[uint32]permit), waiting: make(map[permitKey][]*session),
		stale: make(map[uint32]struct{})}
}

// key is what an entry is known by.
func (c *permits) key(from, to uint32) permitKey {
	if c.srv.cfg.Contacts != Friends {
		from = 0
	}
	return permitKey{from, to}
}

// between is what is known of a message from one user to another.
func (c *permits) between(from, to uint32) (p commands.Permit, known bool) {
	k := c.key(from, to)
	c.mu.RLock()
	e, known := c.known[to][k.from]
	c.mu.RUnlock()
	if !known || e.expires <= c.srv.tick() {
		return commands.Permit{}, false
	}
	if e.exists {
		p = commands.Permit{Peer: commands.Person{Number: to, Disabled: e.disabled}, Stranger: e.stranger}
	}
	return p, true
}

// ask holds the session until it is known whether its user may write to another one.
func (c *permits) ask(to uint32, s *session) {
	k := c.key(s.user, to)
	s.mu.Lock()
	s.hold |= holdPermit
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[k] = append(c.waiting[k], s)
	if !c.asking {
		c.asking = true
		c.srv.background(c.work)
	}
}

// work asks for all who are waited for, many in one question.
func (c *permits) work() {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.asking = false
			c.mu.Unlock()
			return
		}
		keys := make([]permitKey, 0, min(len(c.waiting), permitPerAsk))
		for k := range c.waiting {
			if keys = append(keys, k); len(keys) == cap(keys) {
				break
			}
		}
		clear(c.stale)
		c.mu.Unlock()

		found, err := c.look(keys)
		if err != nil {
			// Nobody's message is dropped for it: the senders are held on.
			c.srv.log.Warn("receivers can't be looked up", "err", err)
			select {
			case <-c.srv.ctx.Done():
				return
			case <-time.After(permitRetry):
				continue
			}
		}
		c.learn(keys, found)
	}
}

// look asks the people view. What it does not find does not exist.
func (c *permits) look(keys []permitKey) (map[permitKey]permit, error) {
	ctx, cancel := context.WithTimeout(c.srv.ctx, c.srv.limits.Ask)
	defer cancel()
	users, others := make([]uint32, len(keys)), make([]uint32, len(keys))
	for i, k := range keys {
		users[i], others[i] = k.from, k.to
	}
	found := make(map[permitKey]permit, len(keys))
	if c.srv.cfg.Contacts != Friends {
		ans, err := checked(c.srv.node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: others}}}))
		for _, p := range ans.GetAccounts().GetAccounts() {
			found[permitKey{0, p.GetUser()}] = permit{exists: true, disabled: p.GetDisabled()}
		}
		return found, err
	}
	ans, err := checked(c.srv.node.Ask(ctx, &query.Request{Body: &query.Request_Relations{Relations: &query.Relations{Users: users, Others: others}}}))
	for i, r := range ans.GetRelations().GetRelations() {
		if i < len(keys) && r.GetOther() == keys[i].to {
			found[keys[i]] = permit{exists: r.GetExists(), disabled: r.GetDisabled(), stranger: !r.GetFriends()}
		}
	}
	return found, err
}

func (c *permits) learn(keys []permitKey, found map[permitKey]permit) {
	expires := c.srv.tick() + permitTicks
	var held []*session
	c.mu.Lock()
	for _, k := range keys {
		if _, stale := c.stale[k.to]; stale {
			continue // asked for again
		}
		for to := range c.known {
			if c.entries < permitEntries {
				break
			}
			c.forget(to)
		}
		e := found[k]
		e.expires = expires
		if c.known[k.to] == nil {
			c.known[k.to] = make(map[uint32]permit, 1)
		}
		if _, old := c.known[k.to][k.from]; !old {
			c.entries++
		}
		c.known[k.to][k.from] = e
		held = append(held, c.waiting[k]...)
		delete(c.waiting, k)
	}
	c.mu.Unlock()
	for _, s := range held {
		s.unhold(holdPermit)
	}
}

// forget drops what is known of a receiver; mu is held.
func (c *permits) forget(to uint32) {
	c.entries -= len(c.known[to])
	delete(c.known, to)
}

// drop forgets what is known of messages to a user. When a friendship changes it is
// called for both.
func (c *permits) drop(user uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(user)
	if len(c.waiting) > 0 {
		c.stale[user] = struct{}{}
	}
}

func (c *permits) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.entries = make(map[uint32]map[uint32]permit), 0
	for k := range c.waiting {
		c.stale[k.to] = struct{}{}
	}
}

func (c *permits) sweep(now uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for to, senders := range c.known {
		for from, p := range senders {
			if p.expires <= now {
				delete(senders, from)
				c.entries--
			}
		}
		if len(senders) == 0 {
			delete(c.known, to)
		}
	}
}

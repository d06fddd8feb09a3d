package connector

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/commands"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/event"
	"godwit/schema/query"
)

const (
	// left is the employment status of who has left: hidden from directories, and not
	// let in.
	left = 3

	maxUsersInfo  = 2000  // ids in a 0x0204 that are answered
	maxUsersStat  = 20000 // ids in a 0x020a that are answered
	usersPerAsk   = 500
	statusPerAsk  = 5000
	accountsAPage = 500
)

// userInfo is a person as clients see one. All fields are on the wire.
func userInfo(p *query.Account) *imbase.UserInfo {
	return &imbase.UserInfo{
		UserId: &p.User, UserGender: &p.Gender, UserNickName: &p.Nick, AvatarUrl: &p.AvatarUrl,
		DepartmentId: &p.Department, Email: &p.Email, UserRealName: &p.Name, UserTel: &p.Telephone,
		UserDomain: &p.Domain, Status: &p.Employment, SignInfo: &p.Signature,
	}
}

// usersInfo is 0x0204. Unknown ids are left out.
func usersInfo(a *asking, m *imbuddy.IMUsersInfoReq) error {
	var list []*imbase.UserInfo
	for part := range slices.Chunk(m.GetUserIdList(), usersPerAsk) {
		ans, err := a.view(&query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: part}}})
		if err != nil {
			return err
		}
		for _, p := range ans.GetAccounts().GetAccounts() {
			list = append(list, userInfo(p))
		}
	}
	return a.answer(client.CmdUsersInfoRsp, &imbuddy.IMUsersInfoRsp{UserId: &a.s.user, UserInfoList: fits(list)})
}

// allUsers is 0x0208. A directory that does not fit in one PDU, and no other, since clients
// may take the first for the whole answer, goes out in several, all answers to the one
// request, oldest change first. Each carries the time up to which
// a client that has it is complete, so that one that leaves in the middle can go on
// from there.
func allUsers(a *asking, m *imbuddy.IMAllUserReq) error {
	asked := m.GetLatestUpdateTime()
	since, sent := asked, false
	var list []listed // not sent yet
	send := func(list []listed, latest uint32) error {
		rsp := &imbuddy.IMAllUserRsp{UserId: &a.s.user, LatestUpdateTime: &latest}
		for _, p := range list {
			rsp.UserList = append(rsp.UserList, p.info)
		}
		sent = true
		return a.answer(client.CmdAllUserRsp, rsp)
	}
	for more := true; more; {
		ans, err := a.view(&query.Request{Body: &query.Request_AccountsChanged{
			AccountsChanged: &query.AccountsChanged{Since: since, Limit: accountsAPage}}})
		if err != nil {
			return err
		}
		got := ans.GetAccounts()
		for _, p := range got.GetAccounts() {
			if asked > 0 || p.GetEmployment() != left {
				info := userInfo(p)
				list = append(list, listed{info, p.GetUpdated(), proto.Size(info) + 6})
			}
		}
		more = got.GetMore() && got.GetLatest() > since
		since = max(since, got.GetLatest())
		for len(list) > 0 {
			n := head(list)
			if n == len(list) && more {
				break // the next page may go into the same PDU
			}
			// Who changed in one second may be cut apart: then the time is that of the
			// second before, unless it would tell the client that nothing has changed.
			latest := since
			if n < len(list) {
				latest = list[n-1].updated
				if list[n].updated == latest && latest-1 > asked {
					latest--
				}
			}
			if err := send(list[:n], latest); err != nil {
				return err
			}
			if list = list[n:]; len(list) > 0 || more {
				if err := a.flush(); err != nil {
					return err
				}
			}
		}
	}
	if !sent {
		return send(nil, since)
	}
	return nil
}

// listed is a person on the way into an answer.
type listed struct {
	info    *imbase.UserInfo
	updated uint32
	size    int // in the answer, at most
}

// head is how many people fit in one answer; at least one, as none is large.
func head(list []listed) int {
	size := 64
	for i, p := range list {
		if size += p.size; size > maxAnswer && i > 0 {
			return i
		}
	}
	return len(list)
}

// usersStatus is 0x020a: who has a desktop online, in the order asked. Unknown ids are
// offline.
func usersStatus(a *asking, m *imbuddy.IMUsersStatReq) error {
	ids := m.GetUserIdList()
	list := make([]*imbase.UserStat, 0, len(ids))
	for part := range slices.Chunk(ids, statusPerAsk) {
		ans, err := a.view(&query.Request{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: part}}})
		if err != nil {
			return err
		}
		on := ans.GetStatuses().GetDesktopOnline()
		for i := range part {
			list = append(list, &imbase.UserStat{UserId: &part[i], Status: new(status(i < len(on) && on[i]))})
		}
	}
	return a.answer(client.CmdUsersStatRsp, &imbuddy.IMUsersStatRsp{UserId: &a.s.user, UserStatList: list})
}

func status(online bool) imbase.UserStatType {
	if online {
		return imbase.UserStatType_USER_STATUS_ONLINE
	}
	return imbase.UserStatType_USER_STATUS_OFFLINE
}

// accounts caches what logins need of people, for a storm of reconnecting clients.
// Entries are kept encoded, which takes a third of the room.
type accounts struct {
	srv *Server

	mu     sync.Mutex
	byName map[string]cachedAccount
	names  map[uint32]string
	drops  uint64 // grows whenever something is dropped
}

type cachedAccount struct {
	bytes   []byte
	user    uint32
	expires uint32 // tick
}

const (
	accountEntries = 8192
	accountTicks   = 60
)

// find looks up a normalised name. The account is nil if nobody has it. What is found
// holds at the PEOPLE position given with it.
func (c *accounts) find(ctx context.Context, name string) (p *query.Account, sequence uint64, err error) {
	// Before the cache is read: all changes up to there have been heard of, so what is
	// in the cache then is no older.
	sequence = c.srv.node.PeopleSeen()
	c.mu.Lock()
	e, ok := c.byName[name]
	drops := c.drops
	c.mu.Unlock()
	if ok && e.expires > c.srv.tick() {
		p = &query.Account{}
		if proto.Unmarshal(e.bytes, p) == nil {
			return p, sequence, nil
		}
	}
	ans, err := checked(c.srv.node.Ask(ctx, &query.Request{Body: &query.Request_AccountByName{
		AccountByName: &query.AccountByName{Name: name}}}))
	if err != nil {
		return nil, 0, err
	}
	for _, at := range ans.GetAt() {
		if at.GetStream() == uint32(event.People) {
			sequence = max(sequence, at.GetSequence())
		}
	}
	p = ans.GetAccount().GetAccount()
	if p.GetUser() == 0 {
		return nil, sequence, nil
	}
	if b, err := proto.Marshal(p); err == nil {
		c.mu.Lock()
		// Nothing that was dropped while it was asked for comes back.
		if c.drops == drops {
			if len(c.byName) >= accountEntries {
				for old, e := range c.byName {
					delete(c.byName, old)
					delete(c.names, e.user)
					break
				}
			}
			c.byName[name] = cachedAccount{bytes: b, user: p.GetUser(), expires: c.srv.tick() + accountTicks}
			c.names[p.GetUser()] = name
		}
		c.mu.Unlock()
	}
	return p, sequence, nil
}

func (c *accounts) drop(user uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	if name, ok := c.names[user]; ok {
		delete(c.byName, name)
		delete(c.names, user)
	}
}

func (c *accounts) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	c.byName, c.names = make(map[string]cachedAccount), make(map[uint32]string)
}

// sweep lets go of what is too old.
func (c *accounts) sweep(now uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for user, name := range c.names {
		if c.byName[name].expires <= now {
			delete(c.byName, name)
			delete(c.names, user)
		}
	}
	if len(c.byName) == 0 {
		c.byName, c.names = make(map[string]cachedAccount), make(map[uint32]string)
	}
}

// permits caches whether messages may be sent to a user: he exists and is not disabled.
// An entry that is out of date costs a message to somebody who can't read it, no more.
type permits struct {
	srv *Server

	mu      sync.RWMutex
	known   map[uint32]permit
	waiting map[uint32][]*session // being asked for, and who is held meanwhile
	stale   map[uint32]struct{}   // dropped while they are being asked for
	asking  bool
}

type permit struct {
	expires  uint32 // tick
	exists   bool
	disabled bool
}

const (
	permitEntries = 65536
	permitTicks   = 60
	permitPerAsk  = 500
	permitRetry   = 500 * time.Millisecond
)

func (c *permits) get(user uint32) (p commands.Person, known bool) {
	c.mu.RLock()
	e, known := c.known[user]
	c.mu.RUnlock()
	if !known || e.expires <= c.srv.tick() {
		return commands.Person{}, false
	}
	if e.exists {
		p = commands.Person{Number: user, Disabled: e.disabled}
	}
	return p, true
}

// ask holds the session until user is known.
func (c *permits) ask(user uint32, s *session) {
	s.mu.Lock()
	s.hold |= holdPermit
	s.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[user] = append(c.waiting[user], s)
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
		users := make([]uint32, 0, min(len(c.waiting), permitPerAsk))
		for user := range c.waiting {
			if users = append(users, user); len(users) == cap(users) {
				break
			}
		}
		clear(c.stale)
		c.mu.Unlock()

		ctx, cancel := context.WithTimeout(c.srv.ctx, c.srv.limits.Ask)
		ans, err := checked(c.srv.node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: users}}}))
		cancel()
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
		c.learn(users, ans.GetAccounts().GetAccounts())
	}
}

func (c *permits) learn(users []uint32, found []*query.Account) {
	expires := c.srv.tick() + permitTicks
	var held []*session
	c.mu.Lock()
	entries := make(map[uint32]permit, len(users))
	for _, p := range found {
		entries[p.GetUser()] = permit{exists: true, disabled: p.GetDisabled()}
	}
	for _, user := range users {
		if _, stale := c.stale[user]; stale {
			continue // asked for again
		}
		e := entries[user]
		e.expires = expires
		for old := range c.known {
			if len(c.known) < permitEntries {
				break
			}
			delete(c.known, old)
		}
		c.known[user] = e
		held = append(held, c.waiting[user]...)
		delete(c.waiting, user)
	}
	c.mu.Unlock()
	for _, s := range held {
		s.unhold(holdPermit)
	}
}

func (c *permits) drop(user uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, user)
	if _, ok := c.waiting[user]; ok {
		c.stale[user] = struct{}{}
	}
}

func (c *permits) dropAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = make(map[uint32]permit)
	for user := range c.waiting {
		c.stale[user] = struct{}{}
	}
}

func (c *permits) sweep(now uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for user, p := range c.known {
		if p.expires <= now {
			delete(c.known, user)
		}
	}
}

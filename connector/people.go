package connector

import (
	"context"
	"slices"
	"sync"

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

	relationsPerAsk = 2000
)

// userInfo is a person as clients see one. All fields are on the wire.
func userInfo(p *query.Account) *imbase.UserInfo {
	return &imbase.UserInfo{
		UserId: &p.User, UserGender: &p.Gender, UserNickName: &p.Nick, AvatarUrl: &p.AvatarUrl,
		DepartmentId: &p.Department, Email: &p.Email, UserRealName: &p.Name, UserTel: &p.Telephone,
		UserDomain: &p.Domain, Status: &p.Employment, SignInfo: &p.Signature,
	}
}

// usersInfo is 0x0204. Unknown ids are left out; where contacts are friends, also who is
// none, but for oneself and who asks to be one.
func usersInfo(a *asking, m *imbuddy.IMUsersInfoReq) error {
	var list []*imbase.UserInfo
	for part := range slices.Chunk(m.GetUserIdList(), usersPerAsk) {
		ids, err := a.visible(part, (*query.Relation).GetIncoming)
		if err != nil {
			return err
		}
		ans, err := a.view(&query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: ids}}})
		if err != nil {
			return err
		}
		for _, p := range ans.GetAccounts().GetAccounts() {
			list = append(list, userInfo(p))
		}
	}
	return a.answer(client.CmdUsersInfoRsp, &imbuddy.IMUsersInfoRsp{UserId: &a.s.user, UserInfoList: fits(list)})
}

// visible are those of the users whom the asker may see: himself and his friends, where
// contacts are friends, and for whom also says so; else all.
func (a *asking) visible(users []uint32, also func(*query.Relation) bool) ([]uint32, error) {
	if a.s.srv.cfg.Contacts != Friends || len(users) == 0 {
		return users, nil
	}
	seen := make([]uint32, 0, len(users))
	for part := range slices.Chunk(users, relationsPerAsk) {
		ans, err := a.view(&query.Request{Body: &query.Request_Relations{Relations: &query.Relations{User: a.s.user, Others: part}}})
		if err != nil {
			return nil, err
		}
		for _, r := range ans.GetRelations().GetRelations() {
			if r.GetOther() == a.s.user || r.GetFriends() || also != nil && also(r) {
				seen = append(seen, r.GetOther())
			}
		}
	}
	return seen, nil
}

// contacts are the conversations that a list shows: all, but where contacts are friends of
// those of two only the ones with friends.
func (a *asking) contacts(all []entry) ([]entry, error) {
	if a.s.srv.cfg.Contacts != Friends {
		return all, nil
	}
	var peers []uint32
	for _, e := range all {
		if e.kind == single {
			peers = append(peers, e.id)
		}
	}
	seen, err := a.visible(peers, nil)
	if err != nil {
		return nil, err
	}
	slices.Sort(seen)
	return slices.DeleteFunc(all, func(e entry) bool {
		_, friend := slices.BinarySearch(seen, e.id)
		return e.kind == single && !friend
	}), nil
}

// allUsers is 0x0208, of friends only where contacts are friends.
func allUsers(a *asking, m *imbuddy.IMAllUserReq) error {
	asked, of := m.GetLatestUpdateTime(), uint32(0)
	if a.s.srv.cfg.Contacts == Friends {
		of = a.s.user
	}
	return changesSince(a, asked, func(since uint32) (list []listed[*imbase.UserInfo], latest uint32, more bool, err error) {
		ans, err := a.view(&query.Request{Body: &query.Request_AccountsChanged{
			AccountsChanged: &query.AccountsChanged{Since: since, Limit: accountsAPage, Of: of}}})
		got := ans.GetAccounts()
		for _, p := range got.GetAccounts() {
			if asked > 0 || p.GetEmployment() != left {
				list = append(list, listed[*imbase.UserInfo]{userInfo(p), p.GetUpdated()})
			}
		}
		return list, got.GetLatest(), got.GetMore(), err
	}, func(list []*imbase.UserInfo, latest uint32) error {
		return a.answer(client.CmdAllUserRsp, &imbuddy.IMAllUserRsp{UserId: &a.s.user, LatestUpdateTime: &latest, UserList: list})
	})
}

// departments is 0x0210.
func departments(a *asking, m *imbuddy.IMDepartmentReq) error {
	return changesSince(a, m.GetLatestUpdateTime(), func(since uint32) (list []listed[*imbase.DepartInfo], latest uint32, more bool, err error) {
		ans, err := a.view(&query.Request{Body: &query.Request_Departments{
			Departments: &query.Departments{Since: since, Limit: accountsAPage}}})
		got := ans.GetDepartments()
		for _, d := range got.GetDepartments() {
			list = append(list, listed[*imbase.DepartInfo]{departInfo(d), d.GetUpdated()})
		}
		return list, got.GetLatest(), got.GetMore(), err
	}, func(list []*imbase.DepartInfo, latest uint32) error {
		return a.answer(client.CmdDepartmentRsp, &imbuddy.IMDepartmentRsp{UserId: &a.s.user, LatestUpdateTime: &latest, DeptList: list})
	})
}

// departInfo is a department as clients see one. All fields are on the wire.
func departInfo(d *query.Department) *imbase.DepartInfo {
	status := imbase.DepartmentStatusType_DEPT_STATUS_OK
	if d.GetDeleted() {
		status = imbase.DepartmentStatusType_DEPT_STATUS_DELETE
	}
	return &imbase.DepartInfo{DeptId: &d.Department, Priority: &d.Priority, DeptName: &d.Name, ParentDeptId: &d.Parent, DeptStatus: &status}
}

// changesSince answers with what has changed after a time, which page reads from a view
// and send puts into a PDU. What does not fit in one PDU, and nothing else, since clients
// may take the first for the whole answer, goes out in several, all answers to the one
// request, oldest change first. Each carries the time up to which
// a client that has it is complete, so that one that leaves in the middle can go on
// from there.
func changesSince[M proto.Message](a *asking, asked uint32,
	page func(since uint32) (list []listed[M], latest uint32, more bool, err error),
	send func(list []M, latest uint32) error) error {
	since, sent := asked, false
	var list []listed[M] // not sent yet
	for more := true; more; {
		got, latest, goesOn, err := page(since)
		if err != nil {
			return err
		}
		list = append(list, got...)
		more = goesOn && latest > since
		since = max(since, latest)
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
			part := make([]M, n)
			for i := range part {
				part[i] = list[i].info
			}
			sent = true
			if err := send(part, latest); err != nil {
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

// listed is a person or a department on the way into an answer.
type listed[M proto.Message] struct {
	info    M
	updated uint32
}

// head is how many of them fit in one answer; at least one, as none is large.
func head[M proto.Message](list []listed[M]) int {
	size := 64
	for i, p := range list {
		if size += proto.Size(p.info) + 6; size > maxAnswer && i > 0 {
			return i
		}
	}
	return len(list)
}

// usersStatus is 0x020a: who is online with a desktop or a browser, in the order asked. Unknown ids are
// offline, and where contacts are friends whoever is none.
func usersStatus(a *asking, m *imbuddy.IMUsersStatReq) error {
	ids := m.GetUserIdList()
	list := make([]*imbase.UserStat, 0, len(ids))
	var seen map[uint32]struct{} // nil: all
	if a.s.srv.cfg.Contacts == Friends {
		visible, err := a.visible(ids, nil)
		if err != nil {
			return err
		}
		seen = make(map[uint32]struct{}, len(visible))
		for _, id := range visible {
			seen[id] = struct{}{}
		}
	}
	for part := range slices.Chunk(ids, statusPerAsk) {
		ans, err := a.view(&query.Request{Body: &query.Request_Statuses{Statuses: &query.Statuses{Users: part}}})
		if err != nil {
			return err
		}
		on := ans.GetStatuses().GetOnline()
		for i := range part {
			_, friend := seen[part[i]]
			online := i < len(on) && on[i] && (friend || seen == nil)
			list = append(list, &imbase.UserStat{UserId: &part[i], Status: new(status(online))})
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
	gate *Gate
	tick func() uint32

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
	sequence = c.gate.node.PeopleSeen()
	c.mu.Lock()
	e, ok := c.byName[name]
	drops := c.drops
	c.mu.Unlock()
	if ok && e.expires > c.tick() {
		p = &query.Account{}
		if proto.Unmarshal(e.bytes, p) == nil {
			return p, sequence, nil
		}
	}
	ans, err := checked(c.gate.node.Ask(ctx, &query.Request{Body: &query.Request_AccountByName{
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
			c.byName[name] = cachedAccount{bytes: b, user: p.GetUser(), expires: c.tick() + accountTicks}
			c.names[p.GetUser()] = name
		}
		c.mu.Unlock()
	}
	return p, sequence, nil
}

// nameOf is the normalised name of a user, "" if there is none.
func (c *accounts) nameOf(ctx context.Context, user uint32) (string, error) {
	c.mu.Lock()
	name, known := c.names[user]
	c.mu.Unlock()
	if known {
		return name, nil
	}
	ans, err := checked(c.gate.node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{
		Accounts: &query.Accounts{Users: []uint32{user}}}}))
	if err != nil {
		return "", err
	}
	for _, p := range ans.GetAccounts().GetAccounts() {
		if p.GetUser() == user {
			return commands.NormalName(p.GetName()), nil
		}
	}
	return "", nil
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

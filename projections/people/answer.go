package people

import (
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Limits of answers, so that one fits into a NATS message of 1 MiB.
const (
	// MaxUsers is the most accounts that one question may name.
	MaxUsers = 2000
	// MaxRows is the most accounts that one page has, and what limit 0 means.
	MaxRows = 2000
	// MaxBytes ends a page early.
	MaxBytes = 512 << 10
	// MaxDevices is the most users whose devices one question may name.
	MaxDevices = 1000
)

// Answer answers the questions about people from one committed state; any other is
// a bad request. Only AccountByName gives a password hash, and only Devices a device
// token.
func (*People) Answer(r *view.Reader, q *query.Request) *query.Answer {
	a := &query.Answer{At: []*query.AtLeast{r.At(event.People)}}
	bad := func(why string) *query.Answer {
		a.Code, a.Error = query.Code_CODE_BAD_REQUEST, why
		return a
	}
	switch b := q.GetBody().(type) {
	case *query.Request_AccountByName:
		a.Body = &query.Answer_Account{Account: byName(r, b.AccountByName.GetName())}
	case *query.Request_Accounts:
		if len(b.Accounts.GetUsers()) > MaxUsers {
			return bad("too many users")
		}
		a.Body = &query.Answer_Accounts{Accounts: accounts(r, b.Accounts.GetUsers())}
	case *query.Request_AccountsChanged:
		if b.AccountsChanged.GetOf() != 0 {
			a.Body = &query.Answer_Accounts{Accounts: changedFriends(r, b.AccountsChanged)}
		} else {
			a.Body = &query.Answer_Accounts{Accounts: changed(r, b.AccountsChanged)}
		}
	case *query.Request_AccountList:
		a.Body = &query.Answer_Accounts{Accounts: list(r, b.AccountList)}
	case *query.Request_Friends:
		a.Body = &query.Answer_Friends{Friends: friendsOf(r, b.Friends.GetUser())}
	case *query.Request_NameState:
		user, last := parseName(r.Get(nameBucket, []byte(b.NameState.GetName())))
		a.Body = &query.Answer_NameState{NameState: &query.NameStateAnswer{User: user, SubjectSequence: last}}
	case *query.Request_Departments:
		a.Body = &query.Answer_Departments{Departments: departments(r, b.Departments)}
	case *query.Request_Relations:
		if len(b.Relations.GetOthers()) > MaxUsers {
			return bad("too many users")
		}
		if n := len(b.Relations.GetUsers()); n > 0 && n != len(b.Relations.GetOthers()) {
			return bad("not as many users as others")
		}
		a.Body = &query.Answer_Relations{Relations: relations(r, b.Relations)}
	case *query.Request_FriendList:
		a.Body = &query.Answer_FriendList{FriendList: friendList(r, b.FriendList)}
	case *query.Request_Devices:
		if len(b.Devices.GetUsers()) > MaxDevices {
			return bad("too many users")
		}
		a.Body = &query.Answer_Devices{Devices: devices(r, b.Devices.GetUsers())}
	case *query.Request_ApiKeys:
		a.Body = &query.Answer_ApiKeys{ApiKeys: apiKeys(r, b.ApiKeys.GetId())}
	case *query.Request_Webhooks:
		out := new(query.WebhooksAnswer)
		for _, row := range r.Scan(webhookBucket, nil) {
			out.Webhooks = append(out.Webhooks, parse[query.Webhook](row))
		}
		a.Body = &query.Answer_Webhooks{Webhooks: out}
	case *query.Request_RequestState:
		out := new(query.RequestStateAnswer)
		if req := b.RequestState.GetRequest(); len(req) == requestSize {
			first := r.Get(requestBucket, req)
			out.Known, out.Id = first != nil, be32(first)
		}
		a.Body = &query.Answer_RequestState{RequestState: out}
	case *query.Request_PeopleChanged:
		a.Body = &query.Answer_PeopleChanged{PeopleChanged: peopleChanged(r, b.PeopleChanged)}
	default:
		return bad("not a question about people")
	}
	return a
}

func byName(r *view.Reader, name string) *query.AccountAnswer {
	user, _ := parseName(r.Get(nameBucket, []byte(name)))
	if user == 0 {
		return &query.AccountAnswer{}
	}
	a := account(r, user)
	a.DeviceType, a.DeviceToken = 0, ""
	return &query.AccountAnswer{Account: a}
}

// account is one as it is stored.
func account(r *view.Reader, user uint32) *query.Account {
	return parseAccount(r.Get(accountBucket, be.AppendUint32(nil, user)))
}

// public is the account without what only a login may see, and whoever sends pushes.
func public(row []byte) *query.Account {
	a := parseAccount(row)
	if a != nil {
		a.PasswordHash, a.DeviceType, a.DeviceToken = "", 0, ""
	}
	return a
}

// accounts reads the asked ones in their order; unknown ones are left out. When
// they do not fit, more is set and the caller asks again for the rest.
func accounts(r *view.Reader, users []uint32) *query.AccountsAnswer {
	p := page{limit: len(users)}
	for _, user := range users {
		if a := public(r.Get(accountBucket, be.AppendUint32(nil, user))); a != nil && !p.add(a) {
			break
		}
	}
	return &p.out
}

// page collects accounts until a limit is met.
type page struct {
	out   query.AccountsAnswer
	limit int
	bytes int
}

func newPage(limit uint32) page {
	if limit == 0 || limit > MaxRows {
		limit = MaxRows
	}
	return page{limit: int(limit)}
}

// full tells whether no account may be added.
func (p *page) full() bool { return len(p.out.Accounts) >= p.limit || p.bytes >= MaxBytes }

// add puts the account in, or says that there is more than what fits.
func (p *page) add(a *query.Account) bool {
	if p.full() {
		p.out.More = true
		return false
	}
	p.bytes += proto.Size(a)
	p.out.Accounts = append(p.out.Accounts, a)
	return true
}

// changed reads the accounts whose newest change is after since. A page ends only
// between two values of updated, as the next one asks beyond the last.
func changed(r *view.Reader, q *query.AccountsChanged) *query.AccountsAnswer {
	p := newPage(q.GetLimit())
	p.out.Latest = q.GetSince()
	if q.GetSince() == math.MaxUint32 {
		return &p.out
	}
	for k := range r.ScanFrom(changedBucket, be.AppendUint32(nil, q.GetSince()+1)) {
		updated, user := be.Uint32(k), k[4:]
		if p.full() && updated != p.out.Latest {
			p.out.More = true
			break
		}
		if a := public(r.Get(accountBucket, user)); a != nil {
			p.bytes += proto.Size(a)
			p.out.Accounts = append(p.out.Accounts, a)
			p.out.Latest = updated
		}
	}
	return &p.out
}

func list(r *view.Reader, q *query.AccountList) *query.AccountsAnswer {
	p := newPage(q.GetLimit())
	p.out.Latest = be32(r.Get(stateBucket, keyUpdated))
	if q.GetAfter() == math.MaxUint32 {
		return &p.out
	}
	for _, row := range r.ScanFrom(accountBucket, be.AppendUint32(nil, q.GetAfter()+1)) {
		if !p.add(public(row)) {
			break
		}
	}
	return &p.out
}

// changedFriends is changed for one user and his friends. It reads all of them: they are
// few, and a change of friendship has a row of its own.
func changedFriends(r *view.Reader, q *query.AccountsChanged) *query.AccountsAnswer {
	p := newPage(q.GetLimit())
	p.out.Latest = q.GetSince()
	var all []*query.Account
	see := func(user, updated uint32, parted bool) {
		a := public(r.Get(accountBucket, be.AppendUint32(nil, user)))
		if a == nil {
			return
		}
		if parted {
			a.Employment, a.Updated = employmentLeft, updated // nothing that comes later is his business
		}
		if a.Updated = max(a.Updated, updated); a.Updated > q.GetSince() {
			all = append(all, a)
		}
	}
	prefix := be.AppendUint32(nil, q.GetOf())
	see(q.GetOf(), 0, false)
	for k, row := range r.Scan(friendBucket, prefix) {
		see(be.Uint32(k[4:]), parseFriend(row).updated, false)
	}
	for k, row := range r.Scan(partedBucket, prefix) {
		see(be.Uint32(k[4:]), be32(row), true)
	}
	slices.SortFunc(all, func(x, y *query.Account) int {
		return cmp.Or(cmp.Compare(x.Updated, y.Updated), cmp.Compare(x.User, y.User))
	})
	for _, a := range all {
		if p.full() && a.Updated != p.out.Latest {
			p.out.More = true
			break
		}
		p.bytes += proto.Size(a)
		p.out.Accounts = append(p.out.Accounts, a)
		p.out.Latest = a.Updated
	}
	return &p.out
}

func friendsOf(r *view.Reader, user uint32) *query.FriendsAnswer {
	out := new(query.FriendsAnswer)
	for k := range r.Scan(friendBucket, be.AppendUint32(nil, user)) {
		out.Users = append(out.Users, be.Uint32(k[4:]))
	}
	return out
}

// departments reads those whose newest change is after since; a page ends as changed's.
func departments(r *view.Reader, q *query.Departments) *query.DepartmentsAnswer {
	out := &query.DepartmentsAnswer{Latest: q.GetSince()}
	if q.GetSince() == math.MaxUint32 {
		return out
	}
	limit := newPage(q.GetLimit()).limit
	size := 0
	for k := range r.ScanFrom(departmentChangeBucket, be.AppendUint32(nil, q.GetSince()+1)) {
		updated, number := be.Uint32(k), k[4:]
		if (len(out.Departments) >= limit || size >= MaxBytes) && updated != out.Latest {
			out.More = true
			break
		}
		d := parse[query.Department](r.Get(departmentBucket, number))
		size += proto.Size(d)
		out.Departments = append(out.Departments, d)
		out.Latest = updated
	}
	return out
}

func relations(r *view.Reader, q *query.Relations) *query.RelationsAnswer {
	out := new(query.RelationsAnswer)
	for i, other := range q.GetOthers() {
		user := q.GetUser()
		if len(q.GetUsers()) > 0 {
			user = q.GetUsers()[i]
		}
		rel := &query.Relation{
			Other:    other,
			Friends:  r.Get(friendBucket, pair(user, other)) != nil,
			Outgoing: r.Get(asksBucket, pair(user, other)) != nil,
			Incoming: r.Get(askedBucket, pair(user, other)) != nil,
		}
		if a := account(r, other); a != nil {
			rel.Exists, rel.Disabled = true, a.Disabled
		}
		out.Relations = append(out.Relations, rel)
	}
	return out
}

// friendList is bounded by the limits of the fold: friends first, then who has asked, then
// who was asked.
func friendList(r *view.Reader, q *query.FriendList) *query.FriendListAnswer {
	user := be.AppendUint32(nil, q.GetUser())
	out := &query.FriendListAnswer{Latest: parseCircle(r.Get(circleBucket, user)).updated}
	if q.GetLatestOnly() {
		return out
	}
	for k, b := range r.Scan(friendBucket, user) {
		row := parseFriend(b)
		out.Friends = append(out.Friends, &query.Friend{User: be.Uint32(k[4:]), Friends: true, Since: row.since, Remark: row.remark})
	}
	for _, way := range []struct {
		bucket   string
		outgoing bool
	}{{askedBucket, false}, {asksBucket, true}} {
		for k, b := range r.Scan(way.bucket, user) {
			out.Friends = append(out.Friends, &query.Friend{
				User: be.Uint32(k[4:]), Outgoing: way.outgoing, Since: be.Uint32(b), Text: string(b[4:]),
			})
		}
	}
	return out
}

// peopleChanged looks at no more than it takes to say yes.
func peopleChanged(r *view.Reader, q *query.PeopleChanged) *query.PeopleChangedAnswer {
	out := &query.PeopleChangedAnswer{Latest: be32(r.Get(stateBucket, keyUpdated))}
	since := q.GetSince()
	if since > out.Latest { // the time of a history that was lost
		since = 0
	}
	if q.GetFriendsOnly() {
		one := &query.AccountsChanged{Since: since, Limit: 1, Of: q.GetUser()}
		out.Directory = len(changedFriends(r, one).GetAccounts()) > 0
	} else {
		out.Directory = len(changed(r, &query.AccountsChanged{Since: since, Limit: 1}).GetAccounts()) > 0
	}
	out.Departments = len(departments(r, &query.Departments{Since: since, Limit: 1}).GetDepartments()) > 0
	out.Friends = friendList(r, &query.FriendList{User: q.GetUser(), LatestOnly: true}).GetLatest() > since
	return out
}

// devices reads the asked ones in their order; unknown users are left out.
func devices(r *view.Reader, users []uint32) *query.DevicesAnswer {
	out := new(query.DevicesAnswer)
	for _, user := range users {
		if a := account(r, user); a != nil {
			out.Devices = append(out.Devices, &query.Device{
				User: user, Type: a.DeviceType, Token: a.DeviceToken, PushShield: a.PushShield,
			})
		}
	}
	return out
}

func apiKeys(r *view.Reader, id string) *query.ApiKeysAnswer {
	out := new(query.ApiKeysAnswer)
	if id != "" {
		if k := parse[query.ApiKey](r.Get(keyBucket, []byte(id))); k != nil {
			out.Keys = append(out.Keys, k)
		}
		return out
	}
	for _, row := range r.Scan(keyBucket, nil) {
		out.Keys = append(out.Keys, parse[query.ApiKey](row))
	}
	return out
}

// MaxOutcomes is the most outcomes that one Resync gives.
const MaxOutcomes = 16_384

// Resync tells which of a node's users have sessions that must end, because their
// password changed or they were disabled after the sessions were decided, and what
// the node's own events since have come to. Term is left to the owner.
func Resync(r *view.Reader, req *frame.ResyncRequest) *frame.ResyncAnswer {
	epoch := r.Epoch()
	out := &frame.ResyncAnswer{Epoch: epoch[:], At: r.Sequence()}
	var ok bool
	var err error
	out.Outcomes, ok, err = r.Outcomes(event.ToID(req.GetLife()), req.GetSince(), r.Sequence(), MaxOutcomes)
	out.TooFar = !ok || err != nil
	for _, u := range req.GetUsers() {
		a := parseAccount(r.Get(accountBucket, be.AppendUint32(nil, u.GetUser())))
		if a == nil || a.CredentialsSequence <= u.GetPeopleSequence() {
			continue
		}
		reason := event.EndReason_END_REASON_PASSWORD_CHANGED
		if a.Disabled || a.Employment == employmentLeft {
			reason = event.EndReason_END_REASON_DISABLED
		}
		out.People = append(out.People, &frame.PersonChanged{User: u.GetUser(), Credentials: true, Reason: reason})
	}
	return out
}

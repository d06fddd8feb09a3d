package people

import (
	"math"

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
	// MaxFriends is the most friends that one answer has.
	MaxFriends = 50_000
)

// Answer answers the questions about people from one committed state; any other is
// a bad request. Only AccountByName gives a password hash.
func (*People) Answer(r *view.Reader, q *query.Request) *query.Answer {
	a := &query.Answer{At: []*query.AtLeast{r.At(event.People)}}
	switch b := q.GetBody().(type) {
	case *query.Request_AccountByName:
		a.Body = &query.Answer_Account{Account: byName(r, b.AccountByName.GetName())}
	case *query.Request_Accounts:
		if len(b.Accounts.GetUsers()) > MaxUsers {
			a.Code, a.Error = query.Code_CODE_BAD_REQUEST, "too many users"
			return a
		}
		a.Body = &query.Answer_Accounts{Accounts: accounts(r, b.Accounts.GetUsers())}
	case *query.Request_AccountsChanged:
		a.Body = &query.Answer_Accounts{Accounts: changed(r, b.AccountsChanged)}
	case *query.Request_AccountList:
		a.Body = &query.Answer_Accounts{Accounts: list(r, b.AccountList)}
	case *query.Request_Friends:
		a.Body = &query.Answer_Friends{Friends: friendsOf(r, b.Friends.GetUser())}
	case *query.Request_NameState:
		user, last := parseName(r.Get(nameBucket, []byte(b.NameState.GetName())))
		a.Body = &query.Answer_NameState{NameState: &query.NameStateAnswer{User: user, SubjectSequence: last}}
	default:
		a.Code, a.Error = query.Code_CODE_BAD_REQUEST, "not a question about people"
	}
	return a
}

func byName(r *view.Reader, name string) *query.AccountAnswer {
	user, _ := parseName(r.Get(nameBucket, []byte(name)))
	if user == 0 {
		return &query.AccountAnswer{}
	}
	return &query.AccountAnswer{Account: parseAccount(r.Get(accountBucket, be.AppendUint32(nil, user)))}
}

// public is the account without what only a login may see.
func public(row []byte) *query.Account {
	a := parseAccount(row)
	if a != nil {
		a.PasswordHash = ""
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

func friendsOf(r *view.Reader, user uint32) *query.FriendsAnswer {
	out := new(query.FriendsAnswer)
	for k := range r.Scan(friendBucket, be.AppendUint32(nil, user)) {
		if len(out.Users) == MaxFriends {
			break
		}
		out.Users = append(out.Users, be.Uint32(k[4:]))
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
		if a.Disabled {
			reason = event.EndReason_END_REASON_DISABLED
		}
		out.People = append(out.People, &frame.PersonChanged{User: u.GetUser(), Credentials: true, Reason: reason})
	}
	return out
}

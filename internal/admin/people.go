package admin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/internal/password"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	by = "operator" // who the events say it was

	// attempts bounds how often a compare and set is decided anew.
	attempts = 5
	// importAhead is how many people of one import are hashed or on their way at a
	// time. It bounds memory; the log takes hundreds in a record.
	importAhead = 2048
	// importAsks is how many questions an import has open at a time.
	importAsks = 16
	// fullWait is the pause after an append that was refused because too much waits.
	fullWait = 10 * time.Millisecond
)

// Node is what a LogPeople needs of a delivery.Node.
type Node interface {
	Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error
	AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error
	AppendWait(ctx context.Context, s event.Stream, ev *event.Event) (delivery.Result, error)
	Ask(ctx context.Context, q *query.Request) (*query.Answer, error)
}

// LogPeople is People over the log: it decides with package commands, appends, and
// answers once the people view has said what the event came to.
type LogPeople struct {
	node   Node
	hasher *password.Hasher
	now    func() time.Time
}

// Request names a request in the log, so that what it does is done once.
type Request struct {
	Name  []byte // of its event, as Event.request; empty: nobody will repeat it
	Again bool   // an earlier run of it may have come as far as the log
}

type requestKey struct{}

// WithRequest gives what is done with the context the name of a request.
func WithRequest(ctx context.Context, r Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

func requestOf(ctx context.Context) Request {
	r, _ := ctx.Value(requestKey{}).(Request)
	return r
}

// first is what came of an earlier run's event, so that a decision is not taken twice: what the first one did would speak
// against it.
func (l *LogPeople) first(ctx context.Context) (id uint32, known bool, err error) {
	r := requestOf(ctx)
	if !r.Again {
		return 0, false, nil
	}
	ans, err := l.node.Ask(ctx, &query.Request{Body: &query.Request_RequestState{RequestState: &query.RequestState{Request: r.Name}}})
	if err != nil {
		return 0, false, refusal(err)
	}
	return ans.GetRequestState().GetId(), ans.GetRequestState().GetKnown(), nil
}

// errRaced invites to come again.
var errRaced = fmt.Errorf("%w: others registered the name at the same time", ErrConflict)

// NewPeople makes People of a node. New passwords get the hasher's cost.
func NewPeople(node Node, hasher *password.Hasher) *LogPeople {
	return &LogPeople{node: node, hasher: hasher, now: time.Now}
}

// tagged is an error of another room with a sentinel of this package, which the
// reader of its text need not see.
type tagged struct{ kind, err error }

func (t *tagged) Error() string   { return t.err.Error() }
func (t *tagged) Unwrap() []error { return []error{t.kind, t.err} }

// refusal gives what the rules or the log say the sentinel of this package, so that
// the handler knows the status.
func refusal(err error) error {
	for _, r := range []struct{ from, to error }{
		{commands.ErrNameTaken, ErrNameTaken},
		{commands.ErrNoSuchPerson, ErrNoSuchPerson},
		{commands.ErrPersonDisabled, ErrConflict},
		{delivery.ErrStopped, ErrUnavailable},
		{delivery.ErrUnavailable, ErrUnavailable},
		{delivery.ErrLifeLost, ErrUnavailable},
		{bus.ErrFull, ErrUnavailable},
		{bus.ErrConflict, ErrConflict},
		{bus.ErrClosed, ErrUnavailable},
	} {
		if errors.Is(err, r.from) {
			return &tagged{r.to, err}
		}
	}
	if _, ok := errors.AsType[*commands.Refusal](err); ok {
		return &tagged{ErrInvalid, err}
	}
	return err
}

// voided is what a fold says to an event of this package.
func voided(v frame.Void) error {
	switch v {
	case frame.Void_VOID_NONE, frame.Void_VOID_NO_EFFECT, frame.Void_VOID_REPEAT: // it is so already
		return nil
	case frame.Void_VOID_NAME_TAKEN:
		return commands.ErrNameTaken
	case frame.Void_VOID_NUMBER_TAKEN:
		return commands.ErrNumberTaken
	case frame.Void_VOID_NO_SUCH_PERSON:
		return commands.ErrNoSuchPerson
	}
	return fmt.Errorf("%w: the event came to nothing: %s", ErrInvalid, v)
}

// Add registers one person by compare and set on the name.
func (l *LogPeople) Add(ctx context.Context, p NewPerson) (Person, error) {
	if number, known, err := l.first(ctx); known || err != nil {
		return l.registered(ctx, number, err)
	}
	var hash string
	for range attempts {
		state, sequence, err := l.name(ctx, p.Name)
		if err != nil {
			return Person{}, err
		}
		if p.Number != 0 {
			a, err := l.accounts(ctx, p.Number)
			if err != nil {
				return Person{}, err
			}
			state.NumberTaken = len(a) > 0
		}
		c := l.registration(p)
		c.PasswordHash = hash
		if hash == "" { // refuse before the work of hashing
			c.PasswordHash = "-"
		}
		ev, err := c.Decide(state)
		if err != nil {
			return Person{}, refusal(err)
		}
		if hash == "" {
			if hash, err = l.hasher.Hash(ctx, password.MD5Hex(p.Password)); err != nil {
				return Person{}, fmt.Errorf("hash password: %w", err)
			}
			ev.GetPersonRegistered().PasswordHash = hash
		}
		ev.GetPersonRegistered().Compared, ev.Request = true, requestOf(ctx).Name
		res, err := delivery.CompareAndSet(ctx, l.node, event.People, bus.NameSubject(p.Name), sequence, ev)
		if errors.Is(err, bus.ErrConflict) {
			continue
		}
		if err == nil {
			err = voided(res.Void)
		}
		if err != nil {
			return Person{}, refusal(err)
		}
		if res.Void == frame.Void_VOID_REPEAT {
			return l.registered(ctx, res.FirstID, nil)
		}
		reg := ev.GetPersonRegistered()
		return Person{Number: res.ID, Name: reg.Name, Nick: reg.Nick}, nil
	}
	return Person{}, errRaced
}

// registered is who was registered by an earlier run of a request.
func (l *LogPeople) registered(ctx context.Context, number uint32, err error) (Person, error) {
	if err != nil {
		return Person{}, err
	}
	all, err := l.accounts(ctx, number)
	switch {
	case err != nil:
		return Person{}, err
	case len(all) == 0: // it was there, and nobody is ever taken away
		return Person{}, fmt.Errorf("person %d of an earlier run is gone", number)
	}
	return Person{Number: number, Name: all[0].GetName(), Nick: all[0].GetNick()}, nil
}

func (l *LogPeople) registration(p NewPerson) commands.RegisterPerson {
	return commands.RegisterPerson{At: l.now(), Name: p.Name, Nick: p.Nick, Number: p.Number, By: by}
}

// name asks for what a registration of the name needs to know.
func (l *LogPeople) name(ctx context.Context, name string) (commands.NameState, uint64, error) {
	a, err := l.node.Ask(ctx, &query.Request{Body: &query.Request_NameState{NameState: &query.NameState{Name: commands.NormalName(name)}}})
	if err != nil {
		return commands.NameState{}, 0, refusal(err)
	}
	s := a.GetNameState()
	return commands.NameState{Owner: s.GetUser()}, s.GetSubjectSequence(), nil
}

func (l *LogPeople) accounts(ctx context.Context, users ...uint32) ([]*query.Account, error) {
	a, err := l.node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: users}}})
	if err != nil {
		return nil, refusal(err)
	}
	return a.GetAccounts().GetAccounts(), nil
}

// find is the account of a name.
func (l *LogPeople) find(ctx context.Context, name string) (commands.Person, error) {
	a, err := l.node.Ask(ctx, &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: commands.NormalName(name)}}})
	if err != nil {
		return commands.Person{}, refusal(err)
	}
	acc := a.GetAccount().GetAccount()
	if acc == nil {
		return commands.Person{}, fmt.Errorf("%w: %q", ErrNoSuchPerson, name)
	}
	return commands.Person{Number: acc.GetUser(), Disabled: acc.GetDisabled()}, nil
}

// append stores an event and waits for what it came to.
func (l *LogPeople) append(ctx context.Context, ev *event.Event, err error) error {
	if err != nil {
		return refusal(err)
	}
	ev.Request = requestOf(ctx).Name
	res, err := l.node.AppendWait(ctx, event.People, ev)
	if err == nil {
		err = voided(res.Void)
	}
	return refusal(err)
}

// List is a page of people by number.
func (l *LogPeople) List(ctx context.Context, after uint32, limit int) (Page, error) {
	a, err := l.node.Ask(ctx, &query.Request{Body: &query.Request_AccountList{AccountList: &query.AccountList{After: after, Limit: uint32(limit)}}})
	if err != nil {
		return Page{}, refusal(err)
	}
	page := Page{More: a.GetAccounts().GetMore()}
	for _, acc := range a.GetAccounts().GetAccounts() {
		page.People = append(page.People, Person{
			Number: acc.GetUser(), Name: acc.GetName(), Nick: acc.GetNick(), Disabled: acc.GetDisabled(), Updated: acc.GetUpdated(),
		})
	}
	return page, nil
}

// SetPassword changes a password.
func (l *LogPeople) SetPassword(ctx context.Context, name, plain string) error {
	if _, known, err := l.first(ctx); known || err != nil {
		return err
	}
	p, err := l.find(ctx, name)
	if err != nil {
		return err
	}
	hash, err := l.hasher.Hash(ctx, password.MD5Hex(plain))
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	ev, err := commands.ChangePassword{At: l.now(), User: p.Number, PasswordHash: hash, By: by}.Decide(p)
	return l.append(ctx, ev, err)
}

// SetEnabled opens or closes an account; one that is as wanted stays as it is.
func (l *LogPeople) SetEnabled(ctx context.Context, name string, enabled bool) error {
	if _, known, err := l.first(ctx); known || err != nil {
		return err
	}
	p, err := l.find(ctx, name)
	if err != nil || p.Disabled != enabled {
		return err
	}
	var ev *event.Event
	if enabled {
		ev, err = commands.EnablePerson{At: l.now(), User: p.Number, By: by}.Decide(p)
	} else {
		ev, err = commands.DisablePerson{At: l.now(), User: p.Number, By: by}.Decide(p)
	}
	return l.append(ctx, ev, err)
}

// SetFriends makes or ends a friendship; one that is as wanted stays as it is.
func (l *LogPeople) SetFriends(ctx context.Context, a, b string, friends bool) error {
	if _, known, err := l.first(ctx); known || err != nil {
		return err
	}
	pa, err := l.find(ctx, a)
	if err != nil {
		return err
	}
	pb, err := l.find(ctx, b)
	if err != nil {
		return err
	}
	answer, err := l.node.Ask(ctx, &query.Request{Body: &query.Request_Friends{Friends: &query.Friends{User: pa.Number}}})
	if err != nil {
		return refusal(err)
	}
	state := commands.PairState{A: pa, B: pb}
	for _, f := range answer.GetFriends().GetUsers() {
		state.Friends = state.Friends || f == pb.Number
	}
	var ev *event.Event
	if friends {
		ev, err = commands.Befriend{At: l.now(), A: pa.Number, B: pb.Number, By: by}.Decide(state)
	} else {
		ev, err = commands.Unfriend{At: l.now(), A: pa.Number, B: pb.Number, By: by}.Decide(state)
	}
	if errors.Is(err, commands.ErrAlreadyFriends) || errors.Is(err, commands.ErrNotFriends) {
		return nil
	}
	return l.append(ctx, ev, err)
}

// outcome is what became of one person of an import.
type outcome struct {
	index int
	err   error
}

// Import registers many without compare and set: who races for a name is told apart
// by the fold, and hundreds of them share a record. Names that exist are sorted out
// first, before anything is hashed for them.
func (l *LogPeople) Import(ctx context.Context, people []NewPerson, report func(ImportProgress)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// As many outcomes as may be on their way find room, so that whoever tells one
	// never waits: the node tells them under its lock.
	run := &importing{l: l, people: people, outcomes: make(chan outcome, importAhead), room: make(chan struct{}, importAhead)}
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	working.Go(func() { run.all(ctx) })

	var p ImportProgress
	for p.Handled < len(people) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case o := <-run.outcomes:
			<-run.room
			p.Handled++
			p.Refused = nil
			if o.err == nil {
				p.Added++
			} else {
				p.Refused = []ImportError{{
					Index: o.index, Name: people[o.index].Name, Taken: errors.Is(o.err, ErrNameTaken), Error: o.err.Error(),
				}}
			}
			report(p)
		}
	}
	return nil
}

type importing struct {
	l        *LogPeople
	people   []NewPerson
	outcomes chan outcome
	room     chan struct{} // holds one for each person under way
}

// all takes everybody through both steps. The second begins when the first is
// through: a question waits until what the node has seen is committed, and would hold
// up a stream of appends.
func (r *importing) all(ctx context.Context) {
	free := r.sift(ctx)
	next := make(chan int)
	var hashing sync.WaitGroup
	defer hashing.Wait()
	defer close(next)
	for range runtime.GOMAXPROCS(0) {
		hashing.Go(func() {
			for i := range next {
				r.store(ctx, i)
			}
		})
	}
	for i, ok := range free {
		if !ok {
			continue
		}
		if !r.enter(ctx) {
			return
		}
		select {
		case next <- i:
		case <-ctx.Done():
			return
		}
	}
}

// enter takes room for one person; false: the import is over.
func (r *importing) enter(ctx context.Context) bool {
	select {
	case r.room <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// sift refuses who is no person or exists, and returns whose turn comes.
func (r *importing) sift(ctx context.Context) []bool {
	free := make([]bool, len(r.people))
	next := make(chan int)
	var asking sync.WaitGroup
	for range importAsks {
		asking.Go(func() {
			for i := range next {
				err := r.check(ctx, r.people[i])
				if free[i] = err == nil; err != nil && r.enter(ctx) {
					r.outcomes <- outcome{i, err}
				}
			}
		})
	}
feed:
	for i := range r.people {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	asking.Wait()
	return free
}

func (r *importing) check(ctx context.Context, p NewPerson) error {
	if err := p.Check(); err != nil {
		return err
	}
	state, _, err := r.l.name(ctx, p.Name)
	if err != nil {
		return err
	}
	c := r.l.registration(p)
	c.PasswordHash = "-"
	_, err = c.Decide(state)
	return refusal(err)
}

// store hashes and appends one person, who has room already.
func (r *importing) store(ctx context.Context, i int) {
	p := r.people[i]
	tell := func(err error) { r.outcomes <- outcome{i, refusal(err)} }
	hash, err := r.l.hasher.Hash(ctx, password.MD5Hex(p.Password))
	if err != nil {
		tell(fmt.Errorf("hash password: %w", err))
		return
	}
	c := r.l.registration(p)
	c.PasswordHash = hash
	ev, err := c.Decide(commands.NameState{})
	if err != nil {
		tell(err)
		return
	}
	for {
		err := r.l.node.Append(event.People, ev, func(res delivery.Result) {
			err := res.Err
			if err == nil {
				err = voided(res.Void)
			}
			tell(err)
		})
		switch {
		case err == nil:
			return
		case !errors.Is(err, bus.ErrFull):
			tell(err)
			return
		}
		select {
		case <-time.After(fullWait):
		case <-ctx.Done():
			tell(context.Cause(ctx))
			return
		}
	}
}

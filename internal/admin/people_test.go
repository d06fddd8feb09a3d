package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/internal/password"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// fakeNode is a people view and its log in memory. Outcomes come from another
// goroutine, in order, as a node's do.
type fakeNode struct {
	t *testing.T

	mu       sync.Mutex
	people   []*query.Account // by number - 1
	friends  map[[2]uint32]bool
	subjects map[string]uint64
	sequence uint64
	events   []*event.Event

	full      int    // appends to refuse with ErrFull
	conflicts int    // compare and sets to lose
	meanwhile func() // runs before a compare and set is decided
	lose      error  // outcome of everything
	tell      chan func()
}

func newNode(t *testing.T) *fakeNode {
	f := &fakeNode{t: t, friends: map[[2]uint32]bool{}, subjects: map[string]uint64{}, tell: make(chan func(), 1<<16)}
	var telling sync.WaitGroup
	telling.Go(func() {
		for do := range f.tell {
			do()
		}
	})
	t.Cleanup(func() {
		close(f.tell)
		telling.Wait()
	})
	return f
}

func (f *fakeNode) byName(name string) *query.Account {
	for _, a := range f.people {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// fold does what the people fold does, as far as these tests go.
func (f *fakeNode) fold(ev *event.Event) delivery.Result {
	f.sequence++
	f.events = append(f.events, ev)
	r := delivery.Result{Sequence: f.sequence}
	switch b := ev.Body.(type) {
	case *event.Event_PersonRegistered:
		p := b.PersonRegistered
		if f.byName(p.Name) != nil {
			r.Void = frame.Void_VOID_NAME_TAKEN
			return r
		}
		r.ID = uint32(len(f.people) + 1)
		f.people = append(f.people, &query.Account{User: r.ID, Name: p.Name, Nick: p.Nick, PasswordHash: p.PasswordHash})
	case *event.Event_PersonDisabled:
		f.people[b.PersonDisabled.User-1].Disabled = true
	case *event.Event_PersonEnabled:
		f.people[b.PersonEnabled.User-1].Disabled = false
	case *event.Event_PasswordChanged:
		f.people[b.PasswordChanged.User-1].PasswordHash = b.PasswordChanged.PasswordHash
	case *event.Event_FriendAdded:
		f.friends[[2]uint32{b.FriendAdded.Lower, b.FriendAdded.Higher}] = true
	case *event.Event_FriendRemoved:
		delete(f.friends, [2]uint32{b.FriendRemoved.Lower, b.FriendRemoved.Higher})
	default:
		f.t.Errorf("event %T", b)
	}
	return r
}

func (f *fakeNode) Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s != event.People {
		f.t.Errorf("append to %s", s)
	}
	if f.full > 0 {
		f.full--
		return bus.ErrFull
	}
	r := delivery.Result{Err: f.lose}
	if f.lose == nil {
		r = f.fold(ev)
	}
	f.tell <- func() { done(r) }
	return nil
}

func (f *fakeNode) AppendCAS(_ event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := delivery.Result{Err: bus.ErrConflict}
	if f.conflicts > 0 {
		f.conflicts--
	} else if f.subjects[subject] == expect {
		r = f.fold(ev)
		f.subjects[subject] = f.sequence
	}
	f.tell <- func() { done(r) }
	return nil
}

func (f *fakeNode) AppendWait(ctx context.Context, s event.Stream, ev *event.Event) (delivery.Result, error) {
	got := make(chan delivery.Result, 1)
	if err := f.Append(s, ev, func(r delivery.Result) { got <- r }); err != nil {
		return delivery.Result{}, err
	}
	r := <-got
	return r, r.Err
}

func (f *fakeNode) Ask(_ context.Context, q *query.Request) (*query.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &query.Answer{}
	switch b := q.Body.(type) {
	case *query.Request_NameState:
		name := b.NameState.Name
		a.Body = &query.Answer_NameState{NameState: &query.NameStateAnswer{User: f.byName(name).GetUser(), SubjectSequence: f.subjects[bus.NameSubject(name)]}}
	case *query.Request_AccountByName:
		a.Body = &query.Answer_Account{Account: &query.AccountAnswer{Account: f.byName(b.AccountByName.Name)}}
	case *query.Request_Accounts:
		var found []*query.Account
		for _, n := range b.Accounts.Users {
			if int(n) <= len(f.people) {
				found = append(found, f.people[n-1])
			}
		}
		a.Body = &query.Answer_Accounts{Accounts: &query.AccountsAnswer{Accounts: found}}
	case *query.Request_AccountList:
		rest := f.people[min(int(b.AccountList.After), len(f.people)):]
		page := rest[:min(int(b.AccountList.Limit), len(rest))]
		a.Body = &query.Answer_Accounts{Accounts: &query.AccountsAnswer{Accounts: page, More: len(page) < len(rest)}}
	case *query.Request_Friends:
		var of []uint32
		for pair := range f.friends {
			if at := slices.Index(pair[:], b.Friends.User); at >= 0 {
				of = append(of, pair[1-at])
			}
		}
		a.Body = &query.Answer_Friends{Friends: &query.FriendsAnswer{Users: of}}
	default:
		return nil, fmt.Errorf("question %T", b)
	}
	return a, nil
}

func newPeople(t *testing.T) (*LogPeople, *fakeNode, *password.Hasher) {
	t.Helper()
	h, err := password.NewHasher(password.Cost{MemoryKiB: password.MinMemoryKiB, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	return NewPeople(n, h), n, h
}

func TestAddRegistersUnderTheNormalName(t *testing.T) {
	l, n, h := newPeople(t)
	p, err := l.Add(t.Context(), NewPerson{Name: "BOB", Password: "pw"})
	if err != nil || p.Number != 1 || p.Name != "bob" || p.Nick != "BOB" {
		t.Fatalf("%+v, %v", p, err)
	}
	if ok, err := h.Verify(t.Context(), password.MD5Hex("pw"), n.people[0].PasswordHash); !ok || err != nil {
		t.Errorf("the stored hash is not of the password: %v", err)
	}
	if _, err := l.Add(t.Context(), NewPerson{Name: "Bob", Password: "x"}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("the same name again: %v", err)
	}
	if len(n.events) != 1 {
		t.Errorf("%d events", len(n.events))
	}
}

func TestAddDecidesAnewAfterALostRace(t *testing.T) {
	l, n, _ := newPeople(t)
	n.conflicts = 2
	if p, err := l.Add(t.Context(), NewPerson{Name: "bob", Password: "pw"}); err != nil || p.Number != 1 {
		t.Errorf("after two lost races: %+v, %v", p, err)
	}
	n.conflicts = attempts
	if _, err := l.Add(t.Context(), NewPerson{Name: "eve", Password: "pw"}); !errors.Is(err, ErrConflict) {
		t.Errorf("after %d: %v", attempts, err)
	}
	n.conflicts = 0
	var once sync.Once
	n.meanwhile = func() {
		once.Do(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.fold(&event.Event{Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: "ann"}}})
			n.subjects[bus.NameSubject("ann")] = n.sequence
		})
	}
	if _, err := l.Add(t.Context(), NewPerson{Name: "ann", Password: "pw"}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("somebody else was faster: %v", err)
	}
}

// An import stores without compare and set, so a name may be taken though the name's
// own subject has not moved.
func TestAddHearsOfANameThatAnImportTook(t *testing.T) {
	l, n, _ := newPeople(t)
	var once sync.Once
	n.meanwhile = func() {
		once.Do(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.fold(&event.Event{Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: "ann"}}})
		})
	}
	if _, err := l.Add(t.Context(), NewPerson{Name: "ann", Password: "pw"}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("%v", err)
	}
}

func TestChangesThatAreSoAlreadyStoreNothing(t *testing.T) {
	l, n, _ := newPeople(t)
	ctx := t.Context()
	for _, name := range []string{"ann", "bob"} {
		if _, err := l.Add(ctx, NewPerson{Name: name, Password: "pw"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		do     func() error
		events int // in all, after it
	}{
		{func() error { return l.SetFriends(ctx, "Bob", "ann", true) }, 3},
		{func() error { return l.SetFriends(ctx, "ann", "bob", true) }, 3},
		{func() error { return l.SetFriends(ctx, "ann", "bob", false) }, 4},
		{func() error { return l.SetFriends(ctx, "bob", "ann", false) }, 4},
		{func() error { return l.SetEnabled(ctx, "bob", true) }, 4},
		{func() error { return l.SetEnabled(ctx, "bob", false) }, 5},
		{func() error { return l.SetEnabled(ctx, "bob", false) }, 5},
		{func() error { return l.SetPassword(ctx, "bob", "new") }, 6},
		{func() error { return l.SetEnabled(ctx, "bob", true) }, 7},
	} {
		if err := c.do(); err != nil || len(n.events) != c.events {
			t.Errorf("%d events, want %d; %v", len(n.events), c.events, err)
		}
	}
	for _, err := range []error{
		l.SetFriends(ctx, "ann", "zed", true), l.SetEnabled(ctx, "zed", true), l.SetPassword(ctx, "zed", "x"),
	} {
		if !errors.Is(err, ErrNoSuchPerson) {
			t.Errorf("nobody: %v", err)
		}
	}
	if err := l.SetFriends(ctx, "ann", "ann", true); !errors.Is(err, ErrInvalid) || !errors.Is(err, commands.ErrOneself) {
		t.Errorf("oneself: %v", err)
	}
}

func TestImportAddsWhomItCan(t *testing.T) {
	l, n, h := newPeople(t)
	ctx := t.Context()
	if _, err := l.Add(ctx, NewPerson{Name: "old", Password: "pw"}); err != nil {
		t.Fatal(err)
	}
	n.full = 5 // it waits and tries again
	people := []NewPerson{{Name: "OLD", Password: "x"}, {Name: "twin", Password: "1"}, {Name: "Twin", Password: "2"}, {Name: "", Password: "x"}, {Name: "weak"}}
	for i := range 3000 { // more than are under way at a time
		people = append(people, NewPerson{Name: fmt.Sprint("p", i), Password: "x"})
	}
	var last ImportProgress
	refused := map[int]ImportError{}
	err := l.Import(ctx, people, func(p ImportProgress) {
		if p.Handled != last.Handled+1 {
			t.Errorf("from %d to %d", last.Handled, p.Handled)
		}
		for _, r := range p.Refused {
			refused[r.Index] = r
		}
		last = p
	})
	if err != nil || last.Handled != 3005 || last.Added != 3001 || len(n.people) != 3002 {
		t.Fatalf("%v: %+v, %d people", err, last, len(n.people))
	}
	twin := 1
	if _, ok := refused[2]; ok {
		twin = 2
	}
	if len(refused) != 4 || !refused[0].Taken || !refused[twin].Taken || refused[3].Taken || refused[4].Taken {
		t.Errorf("refused %+v", refused)
	}
	if ok, err := h.Verify(ctx, password.MD5Hex("pw"), n.people[0].PasswordHash); !ok || err != nil {
		t.Errorf("the password of who was there has changed: %v", err)
	}
}

func TestImportTellsWhoseFateIsUnknown(t *testing.T) {
	l, n, _ := newPeople(t)
	n.lose = delivery.ErrLifeLost
	var got []ImportError
	err := l.Import(t.Context(), []NewPerson{{Name: "a", Password: "x"}}, func(p ImportProgress) { got = append(got, p.Refused...) })
	if err != nil || len(got) != 1 || got[0].Taken {
		t.Errorf("%v, %+v", err, got)
	}
}

func TestImportEndsWithItsContext(t *testing.T) {
	l, n, _ := newPeople(t)
	n.full = 1 << 30
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the client left")
	people := []NewPerson{{Name: "a", Password: "x"}, {Name: "-", Password: "x"}}
	err := l.Import(ctx, people, func(ImportProgress) { cancel(why) }) // the second is refused, the first waits
	if !errors.Is(err, why) {
		t.Errorf("ended with %v", err)
	}
}

func TestListPages(t *testing.T) {
	l, _, _ := newPeople(t)
	for i := range 5 {
		if _, err := l.Add(t.Context(), NewPerson{Name: fmt.Sprint("p", i), Password: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := l.List(t.Context(), 0, 3)
	if err != nil || len(first.People) != 3 || !first.More {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := l.List(t.Context(), first.People[2].Number, 3)
	if err != nil || len(rest.People) != 2 || rest.More || rest.People[1].Name != "p4" {
		t.Errorf("%+v, %v", rest, err)
	}
}

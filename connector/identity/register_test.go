package identity_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/connector/identity"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// silent is a Handler for a node without sessions.
type silent struct{}

func (silent) SessionOver(*frame.SessionOver)             {}
func (silent) UserStatus(uint32, bool, uint64)            {}
func (silent) DesktopStatus(uint32, bool, uint64)         {}
func (silent) PersonChanged(*frame.PersonChanged, uint64) {}
func (silent) DropCaches()                                {}
func (silent) CloseAll(error)                             {}
func (silent) Relay(*frame.Relay)                         {}
func (silent) Suspend(bool)                               {}

// start brings up a node with the views it asks.
func start(t *testing.T) *delivery.Node {
	t.Helper()
	b := bustest.Start(t)
	p, err := owner.Open(t.Context(), owner.Config{Bus: b, Dir: t.TempDir(), Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	n, err := delivery.New(delivery.Config{Bus: b, Handler: silent{}, Name: "n", Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stopOwner := context.WithCancel(context.Background())
	nodeCtx, stopNode := context.WithCancel(context.Background())
	var wg, node sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	node.Go(func() {
		if err := n.Run(nodeCtx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stopNode()
		node.Wait()
		stopOwner()
		wg.Wait()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	<-n.Started()
	return n
}

// meeting is a node on which all who register know the state of the name before anybody
// appends.
type meeting struct {
	*delivery.Node
	asked     sync.WaitGroup
	first     atomic.Int32 // how many have not asked yet
	conflicts atomic.Int32
}

func meet(n *delivery.Node, people int32) *meeting {
	m := &meeting{Node: n}
	m.asked.Add(int(people))
	m.first.Store(people)
	return m
}

func (m *meeting) Ask(ctx context.Context, q *query.Request) (*query.Answer, error) {
	ans, err := m.Node.Ask(ctx, q)
	if q.GetNameState() != nil && m.first.Add(-1) >= 0 {
		m.asked.Done()
	}
	m.asked.Wait()
	return ans, err
}

func (m *meeting) AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error {
	return m.Node.AppendCAS(s, subject, expect, ev, func(r delivery.Result) {
		if errors.Is(r.Err, bus.ErrConflict) {
			m.conflicts.Add(1)
		}
		done(r)
	})
}

const hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestFirstLoginMakesTheAccount(t *testing.T) {
	n := start(t)
	a, sequence, err := identity.Register(t.Context(), n, identity.Claims{Name: "älice", Nick: "Alice"}, hash, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a.GetUser() == 0 || a.GetName() != "älice" || a.GetNick() != "Alice" || a.GetPasswordHash() != hash || sequence == 0 {
		t.Errorf("got %v at %d", a, sequence)
	}
	again, _, err := identity.Register(t.Context(), n, identity.Claims{Name: "älice", Nick: "Eve"}, "other", time.Now())
	if err != nil || again.GetUser() != a.GetUser() || again.GetNick() != "Alice" || again.GetPasswordHash() != hash {
		t.Errorf("the second login got %v, %v", again, err)
	}
	if _, _, err := identity.Register(t.Context(), n, identity.Claims{Name: "al ice"}, hash, time.Now()); !errors.Is(err, commands.ErrNameCharacters) {
		t.Errorf("a name that is none: %v", err)
	}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := identity.Register(cut, n, identity.Claims{Name: "bob"}, hash, time.Now()); err == nil {
		t.Error("nothing was said of a request that had ended")
	}
}

func TestFirstLoginsAtOnceGetOneAccount(t *testing.T) {
	const people = 8
	n := start(t)
	m := meet(n, people)
	var wg sync.WaitGroup
	users := make([]uint32, people)
	for i := range people {
		wg.Go(func() {
			a, _, err := identity.Register(t.Context(), m, identity.Claims{Name: "alice", Nick: fmt.Sprint("Alice ", i)}, hash, time.Now())
			if err != nil {
				t.Errorf("login %d: %v", i, err)
				return
			}
			users[i] = a.GetUser()
		})
	}
	wg.Wait()
	if m.conflicts.Load() == 0 {
		t.Error("nobody lost the race; the test shows nothing")
	}
	for i, u := range users {
		if u == 0 || u != users[0] {
			t.Errorf("login %d got user %d, the first one %d", i, u, users[0])
		}
	}
	ans, err := n.Ask(t.Context(), &query.Request{Body: &query.Request_AccountList{AccountList: &query.AccountList{Limit: 10}}})
	if err != nil || len(ans.GetAccounts().GetAccounts()) != 1 {
		t.Errorf("accounts: %v, %v", ans, err)
	}
}

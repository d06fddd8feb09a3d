package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// by is who the events of a first login say it was.
const by = "identity"

// attempts bounds how often a registration is decided anew, settle is the pause before the
// second time, in which the view hears of who was there first; it doubles each time.
const (
	attempts = 8
	settle   = 5 * time.Millisecond
)

// Node is what Register needs of a [delivery.Node].
type Node interface {
	AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error
	Ask(ctx context.Context, q *query.Request) (*query.Answer, error)
}

// Register makes the account of somebody's first login and gives it as of the PEOPLE
// position that comes with it. hash is the stored hash of the account's password: one
// that no password has. Of several first logins at once one makes the account and all
// get it; so does who finds it made by somebody else meanwhile. An account that exists
// is left as it is, also a disabled one: whether it may log in is the caller's to decide.
func Register(ctx context.Context, n Node, c Claims, hash string, at time.Time) (*query.Account, uint64, error) {
	for i := range attempts {
		if i > 0 {
			if err := sleep(ctx, settle<<(i-1)); err != nil {
				return nil, 0, fmt.Errorf("first login: %w", err)
			}
		}
		ans, err := n.Ask(ctx, &query.Request{Body: &query.Request_NameState{NameState: &query.NameState{Name: c.Name}}})
		if err != nil {
			return nil, 0, fmt.Errorf("first login: %w", err)
		}
		state := ans.GetNameState()
		ev, err := commands.RegisterPerson{At: at, Name: c.Name, Nick: c.Nick, PasswordHash: hash, By: by}.
			Decide(commands.NameState{Owner: state.GetUser()})
		if errors.Is(err, commands.ErrNameTaken) {
			return account(ctx, n, c.Name, 0)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("first login: %w", err)
		}
		ev.GetPersonRegistered().Compared = true
		res, err := delivery.CompareAndSet(ctx, n, event.People, bus.NameSubject(c.Name), state.GetSubjectSequence(), ev)
		switch {
		case errors.Is(err, bus.ErrConflict):
			continue // somebody else was there first
		case err != nil:
			return nil, 0, fmt.Errorf("first login: %w", err)
		}
		switch res.Void {
		case frame.Void_VOID_NONE, frame.Void_VOID_NAME_TAKEN:
			return account(ctx, n, c.Name, res.Sequence)
		}
		return nil, 0, fmt.Errorf("first login: the account came to nothing: %s", res.Void)
	}
	return nil, 0, fmt.Errorf("first login: %w", bus.ErrConflict)
}

// account reads the account of a name, as of the given position at least.
func account(ctx context.Context, n Node, name string, sequence uint64) (*query.Account, uint64, error) {
	ans, err := n.Ask(ctx, &query.Request{
		AtLeast: []*query.AtLeast{{Stream: uint32(event.People), Sequence: sequence}},
		Body:    &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: name}},
	})
	if err != nil {
		return nil, 0, fmt.Errorf("first login: %w", err)
	}
	a := ans.GetAccount().GetAccount()
	if a.GetUser() == 0 {
		return nil, 0, errors.New("first login: the account is not there")
	}
	for _, at := range ans.GetAt() {
		if at.GetStream() == uint32(event.People) {
			sequence = max(sequence, at.GetSequence())
		}
	}
	return a, sequence, nil
}

// sleep waits d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// first is what came of an earlier run's event, so that a decision is not taken twice: what the first one did would speak
// against it.
func (a *API) first(ctx context.Context, n byte, at ...*query.AtLeast) (id uint32, known bool, err error) {
	c := callOf(ctx)
	if !c.again {
		return 0, false, nil
	}
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{AtLeast: at, Body: &query.Request_RequestState{RequestState: &query.RequestState{Request: c.request(n)}}})
	if err != nil {
		return 0, false, err
	}
	return ans.GetRequestState().GetId(), ans.GetRequestState().GetKnown(), nil
}

// unlessDone passes the refusal of a decision about PEOPLE on, unless an earlier run has done it since that was asked for:
// its event may have been on its way still, and then speaks against the decision itself. It gives what came of that one.
func (a *API) unlessDone(ctx context.Context, n byte, refusal error) (id uint32, err error) {
	if _, refused := commands.AsRefusal(refusal); !refused || !callOf(ctx).again {
		return 0, refusal
	}
	last, err := a.cfg.Log.LastSequence(ctx, event.People)
	if err != nil {
		return 0, err
	}
	id, known, err := a.first(ctx, n, &query.AtLeast{Stream: uint32(event.People), Sequence: last})
	if err == nil && !known {
		err = refusal
	}
	return id, err
}

// people appends an event of PEOPLE, the n-th of its request, and waits for what it came to. It takes the decision as it
// was given, so that a refusal passes through.
func (a *API) people(ctx context.Context, n byte, ev *event.Event, err error) (delivery.Result, error) {
	if err != nil {
		id, err := a.unlessDone(ctx, n, err)
		return delivery.Result{ID: id}, err
	}
	ev.Request = callOf(ctx).request(n)
	return a.append(ctx, event.People, ev)
}

// append waits for what an event came to; of a repeat it gives the first one's outcome.
func (a *API) append(ctx context.Context, s event.Stream, ev *event.Event) (delivery.Result, error) {
	return await(ctx, func(done func(delivery.Result)) error { return a.cfg.Node.Append(s, ev, done) })
}

// compareAndSet is append where the event is stored only while expect is the subject's last sequence; else it is
// bus.ErrConflict.
func (a *API) compareAndSet(ctx context.Context, s event.Stream, subject string, expect uint64, ev *event.Event) (delivery.Result, error) {
	return await(ctx, func(done func(delivery.Result)) error { return a.cfg.Node.AppendCAS(s, subject, expect, ev, done) })
}

func await(ctx context.Context, begin func(done func(delivery.Result)) error) (delivery.Result, error) {
	r, err := delivery.Await(ctx, begin)
	if err != nil {
		return r, err
	}
	if r.Void == frame.Void_VOID_REPEAT {
		r.ID = r.FirstID
	}
	return r, voided(r)
}

// How often a change of a group is decided anew because another came first, and how long it waits at most before.
const (
	changeTries = 50
	changePause = 20 * time.Millisecond
)

// retried decides and appends by compare and set, anew after a lost race: then with what the winner has written.
func (a *API) retried(ctx context.Context, s event.Stream, try func(at []*query.AtLeast) error) error {
	var at []*query.AtLeast
	var err error
	for range changeTries {
		if err = try(at); !errors.Is(err, bus.ErrConflict) {
			return err
		}
		last, e := a.cfg.Log.LastSequence(ctx, s)
		if e != nil {
			return e
		}
		at = []*query.AtLeast{{Stream: uint32(s), Sequence: last}}
		select { // many at once come apart
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(rand.N(changePause)):
		}
	}
	return fmt.Errorf("%d times: %w", changeTries, err)
}

// unless passes every error on but those that say that it is so already.
func unless(err error, already ...*commands.Refusal) error {
	for _, r := range already {
		if errors.Is(err, r) {
			return nil
		}
	}
	return err
}

// accounts are those of the users that exist, by number.
func (a *API) accounts(ctx context.Context, users ...uint32) (map[uint32]*query.Account, error) {
	all := make(map[uint32]*query.Account, len(users))
	for len(users) > 0 {
		part := users[:min(len(users), accountsAtOnce)]
		ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: part}}})
		if err != nil {
			return nil, err
		}
		got := ans.GetAccounts().GetAccounts()
		for _, acc := range got {
			all[acc.GetUser()] = acc
		}
		done := len(part)
		if ans.GetAccounts().GetMore() && len(got) > 0 { // large ones: it goes on behind the last
			done = slices.Index(part, got[len(got)-1].GetUser()) + 1
		}
		users = users[done:]
	}
	return all, nil
}

// accountsAtOnce is how many accounts one question asks for.
const accountsAtOnce = 500

// person is what a decision needs to know of a user; who does not exist is a *Problem.
func (a *API) person(ctx context.Context, user uint32) (commands.Person, *query.Account, error) {
	all, err := a.accounts(ctx, user)
	if err != nil {
		return commands.Person{}, nil, err
	}
	acc := all[user]
	if acc == nil {
		return commands.Person{}, nil, noSuchUser(user)
	}
	return personOf(acc), acc, nil
}

func personOf(acc *query.Account) commands.Person {
	return commands.Person{Number: acc.GetUser(), Disabled: acc.GetDisabled()}
}

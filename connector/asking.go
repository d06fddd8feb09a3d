package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/query"
)

// owners puts a question about all timelines to all owners.
func (a *asking) owners(q *query.Request) (*query.Answer, error) {
	ctx, cancel := a.timeout()
	defer cancel()
	ans, err := checked(a.s.srv.node.AskLists(ctx, q))
	a.stands(ans.GetAt())
	return ans, err
}

// stands notes the positions of an answer. Where several answers make one, each stream's
// lowest counts: what lies between is pushed after it, and is newer than what is in it.
func (a *asking) stands(at []*query.AtLeast) {
	a.last = at
	for _, p := range at {
		i := slices.IndexFunc(a.at, func(o *query.AtLeast) bool { return o.GetStream() == p.GetStream() })
		switch {
		case i < 0:
			a.at = append(slices.Clip(a.at), p)
		case p.GetSequence() < a.at[i].GetSequence():
			a.at = slices.Clone(a.at)
			a.at[i] = p
		}
	}
}

// position is where the last answer stood on a stream.
func (a *asking) position(s event.Stream) uint64 {
	for _, p := range a.last {
		if p.GetStream() == uint32(s) {
			return p.GetSequence()
		}
	}
	return 0
}

// append appends an event and waits for its outcome; with a subject by compare and set. The
// error is that of the outcome, or says that there is none in time. From here on the
// answer stands for the event's position, if that is in a timeline.
func (a *asking) append(stream event.Stream, subject string, expect uint64, ev *event.Event) (delivery.Result, error) {
	s := a.s
	ctx, cancel := a.timeout()
	defer cancel()
	outcome := make(chan delivery.Result, 1)
	for {
		ordinal := s.begin()
		settle := func() {
			s.mu.Lock()
			s.settle(ordinal)
			s.mu.Unlock()
		}
		done := func(r delivery.Result) {
			settle()
			s.srv.node.NotifyFlush(s)
			outcome <- r
		}
		var err error
		if subject == "" {
			err = s.srv.node.Append(stream, ev, done)
		} else {
			err = s.srv.node.AppendCAS(stream, subject, expect, ev, done)
		}
		if err == nil {
			break
		}
		settle()
		if errors.Is(err, bus.ErrTooLarge) || errors.Is(err, delivery.ErrStopped) || errors.Is(err, bus.ErrClosed) {
			return delivery.Result{}, err
		}
		s.srv.metrics.held.WithLabelValues("full").Inc()
		select {
		case <-ctx.Done():
			return delivery.Result{}, fmt.Errorf("append: %w", err)
		case <-time.After(fullPause):
		}
	}
	select {
	case r := <-outcome:
		if r.Err == nil && stream.IsConversation() {
			a.at = []*query.AtLeast{{Stream: uint32(stream), Sequence: r.Sequence}}
			a.last = a.at
		}
		return r, r.Err
	case <-ctx.Done():
		return delivery.Result{}, fmt.Errorf("outcome of an append: %w", context.Cause(ctx))
	}
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/schema/event"
	"godwit/schema/query"
)

// AnswerError is an answer that says why there is none.
type AnswerError struct {
	Code query.Code
	Text string
}

func (e *AnswerError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Text) }

// Ask puts a question to the people or the presence view. The answer is not older
// than what this node has seen of that stream. It blocks, at most AskTimeout.
func (n *Node) Ask(ctx context.Context, q *query.Request) (*query.Answer, error) {
	s, subject := event.People, bus.PeopleQuery
	switch q.Body.(type) {
	case *query.Request_Statuses, *query.Request_SessionLive, *query.Request_Lives, *query.Request_SessionsOf, *query.Request_PresenceTotals:
		s, subject = event.Presence, bus.PresenceQuery
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.AskTimeout)
	defer cancel()
	return n.askUntil(ctx, q, s, func(*stream) string { return subject })
}

// atLeast asks for what the node has seen of a stream, or more if al says so
// already; n.mu is held.
func atLeast(asked []*query.AtLeast, st *stream) []*query.AtLeast {
	epoch := st.epoch
	all := make([]*query.AtLeast, 0, len(asked)+1)
	own := &query.AtLeast{Stream: uint32(st.s), Sequence: st.seen, Epoch: epoch[:]}
	for _, al := range asked {
		if al.Stream == own.Stream {
			own.Sequence = max(own.Sequence, al.Sequence)
		} else {
			all = append(all, al)
		}
	}
	return append(all, own)
}

// askUntil asks about stream s again, until ctx ends, where the answerer was away,
// behind, of another epoch, or no longer the owner.
func (n *Node) askUntil(ctx context.Context, q *query.Request, s event.Stream, subject func(st *stream) string) (*query.Answer, error) {
	var last error = ErrUnavailable
	for {
		var to string
		ask := &query.Request{Body: q.Body}
		n.mu.Lock()
		if int(s) < len(n.streams) {
			st, life := n.streams[s], n.life
			to = subject(st)
			ask.Life, ask.AtLeast = life[:], atLeast(q.AtLeast, st)
		}
		n.mu.Unlock()
		if to != "" {
			ans, err := n.askOnce(ctx, to, ask)
			if err == nil {
				return ans, nil
			}
			last = err
			if final(err) {
				return nil, err
			}
		}
		sleep(ctx, retryEvery)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, last)
		}
	}
}

// final tells an answer that asking again does not change.
func final(err error) bool {
	ae, ok := errors.AsType[*AnswerError](err)
	return ok && (ae.Code == query.Code_CODE_BAD_REQUEST || ae.Code == query.Code_CODE_INTERNAL)
}

func (n *Node) askOnce(ctx context.Context, subject string, q *query.Request) (*query.Answer, error) {
	// An answerer that dies with the question answers nothing: leave time to ask another.
	ctx, cancel := context.WithTimeout(ctx, n.cfg.AskTimeout/2)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		q.WaitMs = max(1, time.Until(deadline).Milliseconds())
	}
	b, err := proto.Marshal(q)
	if err != nil {
		return nil, err
	}
	b, err = n.bus.Ask(ctx, subject, b)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, ErrUnavailable
	}
	ans := &query.Answer{}
	if err := proto.Unmarshal(b, ans); err != nil {
		return nil, fmt.Errorf("answer not understood: %w", err)
	}
	if ans.Code != query.Code_CODE_OK {
		return nil, &AnswerError{Code: ans.Code, Text: ans.Error}
	}
	return ans, nil
}

// AskTimeline asks the owner of a conversation. It returns only when this node has
// worked off everything up to the answer's position: pushes up to it went before.
func (n *Node) AskTimeline(ctx context.Context, conv event.ConversationKey, q *query.Request) (*query.Answer, error) {
	return n.AskStream(ctx, conv.Stream(n.bus.Partitions()), q)
}

// AskStream is AskTimeline for a question about several conversations of one stream.
func (n *Node) AskStream(ctx context.Context, s event.Stream, q *query.Request) (*query.Answer, error) {
	if !s.IsConversation() {
		return nil, &AnswerError{Code: query.Code_CODE_BAD_REQUEST, Text: fmt.Sprintf("%s holds no conversations", s)}
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.AskTimeout)
	defer cancel()
	ans, err := n.askUntil(ctx, q, s, (*stream).questions)
	if err != nil {
		return nil, err
	}
	return ans, n.waitSeen(ctx, ans)
}

// questions is where the stream's owner answers, "" while there is none; n.mu is held.
func (st *stream) questions() string {
	if st.term == nil {
		return ""
	}
	return bus.OwnerSubject(st.owner, "query")
}

// AskLists asks every owner process once what concerns all timelines (Lists, GroupList,
// Sync, Blocks, Files, UnreadTotals) and merges; the streams of the question are of no
// matter. It returns only when this node has worked off everything up to the answer's
// positions.
func (n *Node) AskLists(ctx context.Context, q *query.Request) (*query.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.AskTimeout)
	defer cancel()
	if _, ok := query.Streams(q); !ok {
		return nil, &AnswerError{Code: query.Code_CODE_BAD_REQUEST, Text: "not a question for all timelines"}
	}
	for {
		n.mu.Lock()
		owners, ok := n.owners()
		life := n.life
		var asks []ownerAsk
		for _, owner := range slices.Sorted(maps.Keys(owners)) {
			var streams []uint32
			at := q.AtLeast
			for _, st := range owners[owner] {
				streams = append(streams, uint32(st.s))
				at = atLeast(at, st)
			}
			part := query.About(q, streams)
			part.Life, part.AtLeast = life[:], at
			asks = append(asks, ownerAsk{owner: owner, q: part})
		}
		n.mu.Unlock()
		if ok && len(asks) > 0 {
			ans, err := n.askAll(ctx, q, asks)
			if err == nil {
				return ans, n.waitSeen(ctx, ans)
			}
			if final(err) {
				return nil, err
			}
		}
		sleep(ctx, retryEvery)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("lists: %w", ErrUnavailable)
		}
	}
}

type ownerAsk struct {
	owner string
	q     *query.Request
}

// askAll asks the owners at once; the answer is whole or none.
func (n *Node) askAll(ctx context.Context, q *query.Request, asks []ownerAsk) (*query.Answer, error) {
	if len(asks) == 1 { // the usual case, no goroutine
		return n.askOwner(ctx, asks[0])
	}
	answers := make([]*query.Answer, len(asks))
	errs := make([]error, len(asks))
	done := make(chan struct{})
	for i, a := range asks {
		n.wg.Go(func() {
			defer func() { done <- struct{}{} }()
			answers[i], errs[i] = n.askOwner(ctx, a)
		})
	}
	for range asks {
		<-done
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return query.Merge(q, answers...), nil
}

// askOwner asks one owner process, again for the streams that did not fit.
func (n *Node) askOwner(ctx context.Context, a ownerAsk) (*query.Answer, error) {
	subject := bus.OwnerSubject(a.owner, "query")
	var parts []*query.Answer
	for q := a.q; ; {
		ans, err := n.askOnce(ctx, subject, q)
		if err != nil {
			return nil, err
		}
		rest := ans.Rest
		asked, _ := query.Streams(q)
		if len(rest) > 0 && len(rest) >= len(asked) {
			return nil, fmt.Errorf("%w: an answer about nothing", ErrUnavailable)
		}
		ans.Rest = nil
		if len(rest) == 0 && len(parts) == 0 {
			return ans, nil
		}
		parts = append(parts, ans)
		if len(rest) == 0 {
			return query.Merge(a.q, parts...), nil
		}
		next := query.About(q, rest)
		next.Life, next.AtLeast = q.Life, q.AtLeast
		q = next
	}
}

// waitSeen holds an answer until the node has worked off its positions.
func (n *Node) waitSeen(ctx context.Context, ans *query.Answer) error {
	for _, at := range ans.At {
		n.mu.Lock()
		if int(at.Stream) >= len(n.streams) {
			n.mu.Unlock()
			continue
		}
		st := n.streams[at.Stream]
		if !st.s.IsConversation() || st.seen >= at.Sequence {
			n.mu.Unlock()
			continue
		}
		w := waiter{sequence: at.Sequence, done: make(chan error, 1)}
		st.waiters = append(st.waiters, w)
		n.mu.Unlock()
		select {
		case err := <-w.done:
			if err != nil {
				return fmt.Errorf("frames up to the answer: %w", err)
			}
		case <-ctx.Done():
			n.mu.Lock()
			st.waiters = slices.DeleteFunc(st.waiters, func(x waiter) bool { return x.done == w.done })
			n.mu.Unlock()
			return fmt.Errorf("frames up to the answer: %w", ErrUnavailable)
		}
	}
	return nil
}

package connector

import (
	"context"

	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Node is what the connector needs of [delivery.Node]; its contract is written
// there.
type Node interface {
	Started() <-chan struct{}
	Ready() error
	Writable() error
	Life() event.ID
	Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error
	AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error
	Relay(ctx context.Context, r *frame.Relay) error
	Join(m delivery.Member)
	Leave(m delivery.Member)
	NotifyFlush(m delivery.Member)
	Ask(ctx context.Context, q *query.Request) (*query.Answer, error)
	AskTimeline(ctx context.Context, conv event.ConversationKey, q *query.Request) (*query.Answer, error)
	AskLists(ctx context.Context, q *query.Request) (*query.Answer, error)
	PeopleSeen() uint64
	Epoch(s event.Stream) event.ID
	Announce()
}

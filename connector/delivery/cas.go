package delivery

import (
	"context"

	"godwit/schema/event"
)

// Appender is what CompareAndSet needs of a Node.
type Appender interface {
	AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(Result)) error
}

// CompareAndSet is [Node.AppendCAS] for one who waits for the outcome. Of an event that was
// not stored because another came first the error is bus.ErrConflict; when ctx ends first,
// its fate is not known.
func CompareAndSet(ctx context.Context, n Appender, s event.Stream, subject string, expect uint64, ev *event.Event) (Result, error) {
	return Await(ctx, func(done func(Result)) error { return n.AppendCAS(s, subject, expect, ev, done) })
}

// Await waits for the outcome of the append that begin hands to a node. The error is
// begin's own, that of the Result, or ctx's cause.
func Await(ctx context.Context, begin func(done func(Result)) error) (Result, error) {
	got := make(chan Result, 1) // done may come after ctx has ended
	if err := begin(func(r Result) { got <- r }); err != nil {
		return Result{}, err
	}
	select {
	case r := <-got:
		return r, r.Err
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
}

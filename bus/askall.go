package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// maxPendingAnswers is how many answers to one AskAll may wait for who asked; what is over
// it is lost.
const maxPendingAnswers = 4096

// allWorkers is how many questions a ServeAll answers at once.
const allWorkers = 4

// AskAll puts a question to everybody who serves the subject (see [EveryNode]) and yields
// their answers as they come, until wait has passed or ctx ends: nobody knows how many will
// answer. Whoever has heard enough stops. A refusal is yielded as an error and the rest goes
// on; ErrNoResponder, where nobody serves the subject, and a lost connection end it.
func (b *Bus) AskAll(ctx context.Context, subject string, data []byte, wait time.Duration) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		b.count.asked.Add(1)
		inbox := b.queries.NewInbox()
		sub, err := b.queries.SubscribeSync(inbox)
		if err == nil {
			defer func() { _ = sub.Unsubscribe() }() // fails only where the connection has gone
			if err = sub.SetPendingLimits(maxPendingAnswers, MaxPendingPushBytes); err == nil {
				err = b.queries.PublishRequest(subject, inbox, data)
			}
		}
		if err != nil {
			yield(nil, b.coreError("ask all "+subject, err))
			return
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		for {
			m, err := sub.NextMsgWithContext(ctx)
			switch {
			case errors.Is(err, nats.ErrSlowConsumer):
				continue // told once, and counted in what was lost
			case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
				return
			case err != nil:
				yield(nil, b.coreError("ask all "+subject, err))
				return
			case len(m.Data) == 0 && m.Header.Get("Status") == "503":
				yield(nil, fmt.Errorf("bus: ask all %s: %w", subject, ErrNoResponder))
				return
			}
			answer, err := m.Data, refusal(subject, m)
			if err != nil {
				answer = nil
			}
			if !yield(answer, err) {
				return
			}
		}
	}
}

// refusal is the error that stands in an answer, nil if it is none.
func refusal(subject string, m *nats.Msg) error {
	switch code := m.Header.Get(micro.ErrorCodeHeader); code {
	case "":
		return nil
	case codeOverloaded:
		return fmt.Errorf("bus: ask %s: %w", subject, ErrOverloaded)
	case codeStopping:
		return fmt.Errorf("bus: ask %s: %w", subject, ErrNoResponder)
	default:
		return fmt.Errorf("bus: ask %s: %s: %s", subject, code, m.Header.Get(micro.ErrorHeader))
	}
}

// ServeAll answers the questions that AskAll puts to everybody: each process that serves the
// subject gets them all. h and stop are as in [Bus.Serve].
func (b *Bus) ServeAll(subject string, h func(ctx context.Context, data []byte) []byte) (stop func(), err error) {
	return b.Serve(subject, "", allWorkers, h)
}

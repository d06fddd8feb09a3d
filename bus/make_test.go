package bus

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// forming is a cluster that has no place for a stream until all of its servers have been heard.
type forming struct {
	jetstream.JetStream
	refusals int
	with     error
	asked    int
}

func (f *forming) CreateStream(context.Context, jetstream.StreamConfig) (jetstream.Stream, error) {
	if f.asked++; f.asked <= f.refusals {
		return nil, f.with
	}
	return nil, nil
}

// A stream that has no place yet is asked for again, for half a minute; any other refusal holds.
func TestMakeWaitsForAPlace(t *testing.T) {
	noPeers := &jetstream.APIError{Code: 400, ErrorCode: errCodeNoPeers, Description: "no suitable peers for placement, peer offline"}
	other := &jetstream.APIError{Code: 400, ErrorCode: 10052, Description: "invalid stream"}
	for _, c := range []struct {
		name            string
		refusals        int
		with            error
		asked           int
		refused, ending bool
	}{
		{name: "comes up", refusals: 8, with: noPeers, asked: 9},
		{name: "never comes up", refusals: 1000, with: noPeers, asked: 122, refused: true},
		{name: "another refusal", refusals: 1, with: other, asked: 1, refused: true},
		{name: "given up by the caller", refusals: 1000, with: noPeers, asked: 5, refused: true, ending: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.ending {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 1100*time.Millisecond)
					defer cancel()
				}
				js := &forming{refusals: c.refusals, with: c.with}
				r := &Raw{b: &Bus{js: js, log: slog.New(slog.DiscardHandler), cfg: Config{Replicas: 3}}}
				err := r.Make(ctx, RawStream{Name: "KV_epochs", Config: []byte("{}")})
				if c.refused != errors.Is(err, c.with) || !c.refused && err != nil {
					t.Errorf("error %v", err)
				}
				if c.ending != errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if js.asked != c.asked {
					t.Errorf("asked %d times, want %d", js.asked, c.asked)
				}
			})
		})
	}
}

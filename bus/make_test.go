package bus

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"godwit/schema/event"

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

// reluctant servers refuse everything twice before they do it.
type reluctant struct {
	jetstream.JetStream
	refused map[string]int
}

func (r *reluctant) refuse(what string) error {
	if r.refused[what]++; r.refused[what] <= 2 {
		return &jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "JetStream system temporarily unavailable"}
	}
	return nil
}

func (r *reluctant) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if err := r.refuse("look"); err != nil {
		return nil, err
	}
	return r.JetStream.Stream(ctx, name)
}

func (r *reluctant) UpdateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	if err := r.refuse("seal"); err != nil {
		return nil, err
	}
	return r.JetStream.UpdateStream(ctx, cfg)
}

func (r *reluctant) OrderedConsumer(ctx context.Context, name string, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	if err := r.refuse("read"); err != nil {
		return nil, err
	}
	return r.JetStream.OrderedConsumer(ctx, name, cfg)
}

// What a cluster that has no leader just now refuses is asked for again, whatever a move is at.
func TestAMoveWaitsForALeader(t *testing.T) {
	r, err := OpenRaw(t.Context(), Config{Dir: t.TempDir(), Durability: OS, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	name := event.People.String()
	if err := r.Make(t.Context(), RawStream{Name: name, Kind: LogStream}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(t.Context(), name, 0, []Entry{{Sequence: 1, Subject: EventSubject(event.People), Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	js := &reluctant{r.b.js, map[string]int{}}
	r.b.js = js
	if sealed, err := r.Sealed(t.Context()); sealed || err != nil {
		t.Errorf("before: %v, %v", sealed, err)
	}
	if err := r.Seal(t.Context()); err != nil {
		t.Error(err)
	}
	if sealed, err := r.Sealed(t.Context()); !sealed || err != nil {
		t.Errorf("after: %v, %v", sealed, err)
	}
	for e, err := range r.Read(t.Context(), name, 1, 1) {
		if string(e.Data) != "x" || err != nil {
			t.Errorf("%s, %v", e.Data, err)
		}
	}
	if js.refused["look"] != 4 || js.refused["seal"] != 3 || js.refused["read"] != 3 {
		t.Errorf("asked %v", js.refused)
	}
}

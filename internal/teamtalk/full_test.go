package teamtalk

import (
	"context"
	"errors"
	"testing"
	"time"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/schema/event"
)

// fullNode is a node whose log takes nothing.
type fullNode struct{ Node }

func (fullNode) AppendCAS(event.Stream, string, uint64, *event.Event, func(delivery.Result)) error {
	return bus.ErrFull
}

func TestAnImportIntoAFullLogCanBeStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	i := &importer{node: fullNode{}, o: Options{Partitions: 1}}
	got := make(chan error, 1)
	go func() {
		_, err := i.cas(ctx, event.Group(1), 0, &event.Event{})
		got <- err
	}()
	cancel(stopped)
	select {
	case err := <-got:
		if !errors.Is(err, stopped) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
}

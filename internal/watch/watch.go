// Package watch declares node lives lost that have fallen silent. It measures
// silence in beats of its own that it has received, never in time alone: while the
// watch itself is paused, or cut off, nobody grows silent, and after a gap in its own
// beats the count of everybody starts anew. So it does with a server that is itself cut
// off from the cluster, and brings the watch its own beats and nobody else's.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	ownGap   = 3 * time.Second // between two own beats: all counts start anew
	askEvery = 2 * time.Second
)

// Tracker counts silence. Its zero value is ready.
type Tracker struct {
	missed  map[event.ID]int // own beats heard since the life's last one
	lastOwn time.Time
}

// Heard notes the beat of a life. own tells that it is the watch's own.
func (t *Tracker) Heard(life event.ID, own bool, now time.Time) {
	if t.missed == nil {
		t.missed = map[event.ID]int{}
	}
	if own {
		if gap := now.Sub(t.lastOwn); t.lastOwn.IsZero() || gap > ownGap {
			clear(t.missed)
		}
		t.lastOwn = now
		for l := range t.missed {
			t.missed[l]++
		}
		return
	}
	t.missed[life] = 0
}

// Deaf says that others can't be heard, whether they speak or not: all counts start anew.
func (t *Tracker) Deaf() { clear(t.missed) }

// Watch begins to count for lives that the log calls live, and forgets the others.
func (t *Tracker) Watch(live []event.ID) {
	if t.missed == nil {
		t.missed = map[event.ID]int{}
	}
	known := make(map[event.ID]int, len(live))
	for _, l := range live {
		known[l] = t.missed[l]
	}
	t.missed = known
}

// Lost are the watched lives that have been silent for too long, and for how many
// beats.
func (t *Tracker) Lost() map[event.ID]int {
	lost := map[event.ID]int{}
	for l, n := range t.missed {
		if n >= commands.LostAfterBeats {
			lost[l] = n
		}
	}
	return lost
}

// Run watches until ctx ends. The node is the one whose beats count as own.
func Run(ctx context.Context, b *bus.Bus, node *delivery.Node, log *slog.Logger) error {
	var (
		mu sync.Mutex
		t  Tracker
	)
	stop, err := b.ReceiveBeats(func(data []byte) {
		var beat frame.Beat
		if proto.Unmarshal(data, &beat) != nil {
			return
		}
		life := event.ToID(beat.Life)
		own := life == node.Life()
		mu.Lock()
		defer mu.Unlock()
		t.Heard(life, own, time.Now())
		if own && !b.HearsAll() {
			t.Deaf()
		}
	})
	if err != nil {
		return fmt.Errorf("watch beats: %w", err)
	}
	defer stop()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		ans, err := node.Ask(ctx, &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
		if err != nil {
			continue // asked again; silence goes on being counted
		}
		own := node.Life()
		var live []event.ID
		for _, l := range ans.GetLives().GetLives() {
			if id := event.ToID(l.Life); id != own {
				live = append(live, id)
			}
		}
		mu.Lock()
		t.Watch(live)
		lost := t.Lost()
		mu.Unlock()
		for life, missed := range lost {
			log.Warn("node fell silent, declaring its life lost", "life", life, "beats", missed)
			if err := declare(ctx, node, commands.LoseNode{Life: life, Missed: missed}); err != nil {
				log.Warn("lost node not logged", "life", life, "err", err)
			}
		}
	}
}

// Succeed ends the lives that the log still calls live and whose place this node has
// taken: it holds what only one process can hold, so nobody has to be waited for.
func Succeed(ctx context.Context, node *delivery.Node, theirs func(*query.Life) bool) error {
	ans, err := node.Ask(ctx, &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
	if err != nil {
		return fmt.Errorf("lives of predecessors: %w", err)
	}
	own := node.Life()
	for _, l := range ans.GetLives().GetLives() {
		life := event.ToID(l.Life)
		if life == own || !theirs(l) {
			continue
		}
		if err := declare(ctx, node, commands.LoseNode{Life: life, Successor: true}); err != nil {
			return fmt.Errorf("end the life of a predecessor: %w", err)
		}
	}
	return nil
}

// declare ends a life in the log. Declaring twice does no harm.
func declare(ctx context.Context, node *delivery.Node, c commands.LoseNode) error {
	c.At, c.By = time.Now(), node.Life()
	ev, err := c.Decide(commands.LifeState{Begun: true, Live: true})
	if err != nil {
		return err
	}
	_, err = node.AppendWait(ctx, event.Presence, ev)
	return err
}

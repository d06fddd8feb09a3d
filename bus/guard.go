package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"godwit/schema/event"
)

// health is why appends can't be taken just now.
type health struct {
	mu           sync.Mutex
	hold         error // nothing is sent: too little space, or a restart is due
	holdSince    time.Time
	refused      map[event.Stream]error // the server's last refusal, until something is stored
	refusedSince map[event.Stream]time.Time
	waiting      map[event.Stream]int // lanes whose attempt is overdue
	waitingSince map[event.Stream]time.Time
	unanswered   map[event.Stream]*trouble // what the probe has seen
	cut          trouble                   // of the connection
	released     signal                    // hold has gone
}

// Healthy tells why appends can't be stored just now (too little space, a frozen
// store, a refusal by the server, no quorum, no connection), and nil when they can. It is
// quicker to complain than [Bus.Writable].
func (b *Bus) Healthy() error {
	if b.closed.Load() {
		return ErrClosed
	}
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	errs := []error{h.hold}
	for s, err := range h.refused {
		errs = append(errs, fmt.Errorf("bus: %s takes no records: %w", s, err))
	}
	if h.hold == nil && len(h.refused) == 0 {
		for s, n := range h.waiting {
			if n > 0 {
				errs = append(errs, fmt.Errorf("bus: %s does not answer", s))
			}
		}
	}
	if !b.events.IsConnected() {
		errs = append(errs, ErrDisconnected)
	}
	if errors.Join(errs...) == nil {
		if e := h.held(time.Now(), b.stored); e != nil {
			return e
		}
	}
	return errors.Join(errs...)
}

// held gives the reason to send nothing, with a channel that is closed when it
// changes.
func (b *Bus) held() (released <-chan struct{}, why error) {
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hold == nil {
		return nil, nil
	}
	return h.released.wait(), h.hold
}

func (b *Bus) setHold(err error) {
	h := &b.health
	h.mu.Lock()
	was := h.hold
	if h.hold = err; was == nil {
		h.holdSince = time.Now()
	}
	h.mu.Unlock()
	switch {
	case err == nil && was != nil:
		b.log.Info("appends are taken again", "was", was)
		h.released.fire()
	case err != nil && (was == nil || was.Error() != err.Error()):
		b.log.Error("appends are held", "err", err)
	}
}

func (b *Bus) setRefused(s event.Stream, err error) {
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.refused, s)
		return
	}
	if h.refused == nil {
		h.refused, h.refusedSince = map[event.Stream]error{}, map[event.Stream]time.Time{}
	}
	if h.refused[s] == nil {
		h.refusedSince[s] = time.Now()
	}
	h.refused[s] = err
}

func (b *Bus) setOverdue(s event.Stream, by int) {
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting, h.waitingSince = map[event.Stream]int{}, map[event.Stream]time.Time{}
	}
	if h.waiting[s] == 0 {
		h.waitingSince[s] = time.Now().Add(-overdueWait)
	}
	h.waiting[s] += by
}

// suspicious tells whether the store is worth a look: something is refused, late, or
// held back anyway.
func (b *Bus) suspicious() bool {
	h := &b.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.refused) > 0 || h.hold != nil || b.trouble.Load() {
		return true
	}
	for _, n := range h.waiting {
		if n > 0 {
			return true
		}
	}
	return false
}

// watch looks after the embedded server's disk until the bus closes.
func (b *Bus) watch() {
	if b.emb == nil {
		return
	}
	t := time.NewTicker(b.hooks.guardEvery())
	defer t.Stop()
	var restarted time.Time
	pause := b.hooks.guardEvery()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-t.C:
		}
		if !errors.Is(b.guard(), ErrFrozen) || b.stopped.Load() {
			if time.Since(restarted) > time.Minute {
				pause = b.hooks.guardEvery()
			}
			continue
		}
		// Its store never thaws by itself, and a restart before there is room would
		// only freeze it again.
		if space := b.space(); space != nil || time.Since(restarted) < pause {
			continue
		}
		restarted, pause = time.Now(), min(2*pause, 30*time.Second)
		b.restart()
	}
}

// guard holds appends while they must not be sent and lets them go when they may.
func (b *Bus) guard() error {
	if b.emb == nil {
		return nil
	}
	space := b.space()
	var frozen error
	if space != nil || b.suspicious() {
		if frozen = b.frozen(); frozen != nil {
			frozen = fmt.Errorf("%w: %w", ErrFrozen, frozen)
		}
	}
	b.setHold(errors.Join(space, frozen))
	return frozen
}

func (b *Bus) frozen() error {
	if b.hooks != nil && b.hooks.Frozen != nil {
		if err := b.hooks.Frozen(); err != nil {
			return err
		}
	}
	return b.emb.frozen()
}

func (b *Bus) space() error {
	probe := b.emb.free
	if b.hooks != nil && b.hooks.Free != nil {
		probe = b.hooks.Free
	}
	free, err := probe()
	if err != nil {
		return err
	}
	if free < b.cfg.MinFree {
		return fmt.Errorf("%w: below %d MiB", ErrLowSpace, b.cfg.MinFree>>20)
	}
	return nil
}

// restart stops the embedded server and starts it again; connections, consumers
// and appends find it by themselves.
func (b *Bus) restart() {
	b.log.Warn("restarting the embedded server, its store is frozen")
	b.count.serverRestarts.Add(1)
	b.emb.stop()
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Minute)
	defer cancel()
	if err := b.emb.start(ctx); err != nil {
		b.log.Error("the embedded server did not come back", "err", err)
		return
	}
	b.changed.fire()
}

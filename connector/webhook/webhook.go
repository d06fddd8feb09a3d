// Package webhook tells programs outside of the messages that people should be called to
// their phones for: one JSON document for each message and at most 500 of its recipients,
// posted to every target that the log knows.
//
// For each target and each conversation stream there is a cursor (see [bus.Cursor]): the
// place in the log up to which everything has been sent. It stands outside the views and moves only
// after the receiver has answered with 2xx, or past what there is nothing to send of. So a
// receiver that was away is caught up, and what a crash leaves unsaid is sent again, under
// the event id it had before; a replay, a new view, another owner send nothing, for nothing
// hangs on a fold. Of each target and stream one document is under way at a time, in the
// order of the log.
//
// What a document says is what holds when it is sent: who has read the message meanwhile is
// left out, and of a message that was recalled nothing is sent. docs/webhooks.md is the
// receiver's side.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/schema/event"
	"godwit/schema/query"
)

// leaseName is held by the one process that sends.
const leaseName = "webhook"

// Times of a Sender.
const (
	lookEvery  = time.Second            // at the targets
	seenEvery  = 100 * time.Millisecond // at how far the log has come
	saveEvery  = time.Second            // of a cursor, while there is nothing to send
	postLimit  = 10 * time.Second       // from connecting to the end of the answer
	retryLeast = time.Second            // after the first failure; twice as long after each further one,
	retryMost  = 5 * time.Minute        // and never longer than this
	stopLimit  = 2 * time.Second        // for what is under way when a Sender stops
)

// Node is what a Sender needs of a [delivery.Node].
type Node interface {
	Seen(s event.Stream) uint64
	Ask(ctx context.Context, q *query.Request) (*query.Answer, error)
	AskTimeline(ctx context.Context, conv event.ConversationKey, q *query.Request) (*query.Answer, error)
	AskLists(ctx context.Context, q *query.Request) (*query.Answer, error)
}

// Config of a Sender. Bus and Node are needed; the rest has defaults.
type Config struct {
	Bus    *bus.Bus
	Node   Node
	Quiet  Quiet // when those who want quiet nights are left out; zero: never
	NoText bool  // leave the preview of a text out

	Logger     *slog.Logger          // default: silent
	Registerer prometheus.Registerer // of the metrics; default: none
	Clock      func() time.Time      // default: time.Now

	// What tests change.
	look, post, least, most time.Duration
	setCursor               func(ctx context.Context, name string, was bus.Cursor, value uint64) (bus.Cursor, error)
}

// Sender sends while it holds the lease. Of several in a cluster one does.
type Sender struct {
	sending atomic.Bool
	cfg     Config
	log     *slog.Logger
	metrics *metrics
}

// New makes a Sender; Run sets it to work.
func New(cfg Config) (*Sender, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.look == 0 {
		cfg.look = lookEvery
	}
	if cfg.post == 0 {
		cfg.post = postLimit
	}
	if cfg.least == 0 {
		cfg.least = retryLeast
	}
	if cfg.most == 0 {
		cfg.most = retryMost
	}
	if cfg.setCursor == nil {
		cfg.setCursor = cfg.Bus.SetCursor
	}
	m, err := newMetrics(cfg.Registerer, cfg.Clock)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	s := &Sender{cfg: cfg, log: cfg.Logger, metrics: m}
	if err := m.tellSending(cfg.Registerer, s.Sending); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return s, nil
}

// Run sends until ctx ends; then it saves how far it has come, and nothing of it is left.
func (s *Sender) Run(ctx context.Context) error {
	for {
		lease, err := s.cfg.Bus.AcquireLease(ctx, leaseName)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("webhook: %w", err)
		}
		s.sending.Store(true)
		s.lead(ctx, lease.Lost())
		s.sending.Store(false)
		if ctx.Err() == nil {
			s.log.Warn("another process sends the pushes now, or none for a moment")
		}
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		if err := lease.Release(leave); err != nil {
			s.log.Debug("the lease of the pushes runs out by itself", "err", err)
		}
		cancel()
	}
}

// Sending tells whether it is this process that sends.
func (s *Sender) Sending() bool { return s.sending.Load() }

// Backlogs are the ages of the oldest records that are not worked off, by the targets that this process sends to; 0 for one
// that has caught up.
func (s *Sender) Backlogs() map[string]time.Duration { return s.metrics.backlogs() }

// lead keeps a sender for each target until ctx ends or the lease is lost.
func (s *Sender) lead(ctx context.Context, lost <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	targets := map[string]*target{}
	defer func() {
		for _, t := range targets {
			t.cancel()
		}
		for _, t := range targets {
			t.stop()
		}
	}()
	tick := time.NewTicker(s.cfg.look)
	defer tick.Stop()
	for {
		if hooks, err := s.targets(ctx); err == nil {
			s.settle(ctx, targets, hooks)
		} else if ctx.Err() == nil {
			s.log.Debug("the targets of pushes are not known just now", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-lost:
			return
		case <-tick.C:
		}
	}
}

func (s *Sender) targets(ctx context.Context) ([]*query.Webhook, error) {
	ans, err := s.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Webhooks{Webhooks: &query.Webhooks{}}})
	return ans.GetWebhooks().GetWebhooks(), err
}

// settle starts and stops senders, so that they are those of the targets that are enabled.
func (s *Sender) settle(ctx context.Context, targets map[string]*target, hooks []*query.Webhook) {
	there := make(map[string]*query.Webhook, len(hooks))
	for _, h := range hooks {
		there[h.GetId()] = h
	}
	for id, t := range targets {
		now := there[id]
		if now != nil && !now.GetDisabled() && t.same(now) {
			continue
		}
		t.stop()
		delete(targets, id)
		if now == nil {
			s.forget(ctx, id)
		}
	}
	for id, h := range there {
		if targets[id] == nil && !h.GetDisabled() {
			targets[id] = s.start(ctx, h)
		}
	}
}

// forget takes away what is known of a target that is no more.
func (s *Sender) forget(ctx context.Context, id string) {
	for _, st := range s.cfg.Bus.Streams() {
		if !st.IsConversation() {
			continue
		}
		name := cursorName(id, st)
		c, err := s.cfg.Bus.Cursor(ctx, name)
		if err == nil {
			err = s.cfg.Bus.RemoveCursor(ctx, name, c)
		}
		if err != nil && !errors.Is(err, bus.ErrConflict) && ctx.Err() == nil {
			s.log.Warn("a cursor of a target that was removed stays", "target", id, "cursor", name, "err", err)
		}
	}
	s.metrics.forget(id)
	s.log.Info("pushes go no more to a target that was removed", "target", id)
}

// target is one receiver at work.
type target struct {
	hook   *query.Webhook
	client *http.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (t *target) same(h *query.Webhook) bool {
	return h.GetUrl() == t.hook.GetUrl() && h.GetSecret() == t.hook.GetSecret() && h.GetAdded() == t.hook.GetAdded()
}

func (s *Sender) start(ctx context.Context, h *query.Webhook) *target {
	ctx, cancel := context.WithCancel(ctx)
	t := &target{hook: h, client: newClient(s.cfg.post), cancel: cancel}
	s.log.Info("pushes go to a target", "target", h.GetId(), "host", hostOf(h.GetUrl()))
	for _, st := range s.cfg.Bus.Streams() {
		if st.IsConversation() {
			f := newFeed(s, t, st)
			t.wg.Go(func() { f.run(ctx) })
		}
	}
	return t
}

func (t *target) stop() {
	t.cancel()
	t.wg.Wait()
	t.client.CloseIdleConnections()
}

// cursorName is the name of a target's cursor in a stream.
func cursorName(id string, s event.Stream) string { return "webhook." + id + "." + s.String() }

// Begin has a new target begin at the present end of the log. It comes before the event
// that makes the target, so that nothing that happens after that event is missed.
func Begin(ctx context.Context, b *bus.Bus, id string) error {
	for _, s := range b.Streams() {
		if !s.IsConversation() {
			continue
		}
		if err := begin(ctx, b, cursorName(id, s), s); err != nil {
			return fmt.Errorf("webhook: begin %s: %w", id, err)
		}
	}
	return nil
}

func begin(ctx context.Context, b *bus.Bus, name string, s event.Stream) error {
	for {
		end, err := b.LastSequence(ctx, s)
		if err != nil {
			return err
		}
		c, err := b.Cursor(ctx, name)
		if err != nil {
			return err
		}
		if _, err = b.SetCursor(ctx, name, c, behind(end)); !errors.Is(err, bus.ErrConflict) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

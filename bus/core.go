package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Limits of what waits for a receiver of pushes, or of beats, before the newest are
// dropped.
const (
	MaxPendingPushes    = 65536
	MaxPendingPushBytes = 32 << 20
	maxPendingBeats     = 4096
)

// queuePerWorker is how many questions may wait for each worker of a service.
const queuePerWorker = 64

// receivers knows what was last counted as dropped of each subscription.
type receivers struct {
	mu      sync.Mutex
	dropped map[*nats.Subscription]int
}

// slow counts what a subscription has dropped since it was last asked.
func (b *Bus) slow(sub *nats.Subscription) {
	n, err := sub.Dropped()
	if err != nil {
		return
	}
	b.receivers.mu.Lock()
	defer b.receivers.mu.Unlock()
	if was, ok := b.receivers.dropped[sub]; ok && n > was {
		b.receivers.dropped[sub] = n
		b.count.pushesDropped.Add(uint64(n - was))
	}
}

// Push sends data to a node life. All pushes of this bus go over one connection and
// arrive in the order they were sent, or not at all. It does not block on the
// receiver, and keeps nothing of data.
func (b *Bus) Push(life event.ID, data []byte) error {
	b.count.pushes.Add(1)
	b.count.pushBytes.Add(uint64(len(data)))
	if b.hooks != nil && b.hooks.DropPush != nil && b.hooks.DropPush(life, data) {
		return nil
	}
	if err := b.pushes.Publish(deliverSubject(life), data); err != nil {
		b.count.pushErrors.Add(1)
		return b.coreError("push", err)
	}
	return nil
}

// ReceivePushes hands h every push to the node life, in order, on one goroutine. At
// most MaxPendingPushes and MaxPendingPushBytes wait for h, then the newest are
// dropped and counted. data is h's to keep. stop waits until h has returned and must
// not be called by h; after it h is not called again.
func (b *Bus) ReceivePushes(life event.ID, h func(data []byte)) (stop func(), err error) {
	return b.receive(b.pushes, deliverSubject(life), MaxPendingPushes, MaxPendingPushBytes, func(data []byte) {
		b.count.pushesReceived.Add(1)
		h(data)
	})
}

// SendBeat tells every process of this node's life.
func (b *Bus) SendBeat(data []byte) error {
	if err := b.pushes.Publish(beatSubject, data); err != nil {
		return b.coreError("beat", err)
	}
	return nil
}

// ReceiveBeats hands h all nodes' beats, this one's own among them, on one goroutine.
func (b *Bus) ReceiveBeats(h func(data []byte)) (stop func(), err error) {
	return b.receive(b.pushes, beatSubject, maxPendingBeats, 1<<20, h)
}

// SendProjectorBeat tells every process which views this one keeps.
func (b *Bus) SendProjectorBeat(data []byte) error {
	if err := b.pushes.Publish(projectorSubject, data); err != nil {
		return b.coreError("projector's beat", err)
	}
	return nil
}

// ReceiveProjectorBeats hands h the beats of all processes that keep views, this one's own
// among them, on one goroutine. stop is as in ReceivePushes.
func (b *Bus) ReceiveProjectorBeats(h func(data []byte)) (stop func(), err error) {
	return b.receive(b.pushes, projectorSubject, maxPendingBeats, 4<<20, h)
}

func (b *Bus) receive(nc *nats.Conn, subject string, msgs, bytes int, h func(data []byte)) (func(), error) {
	if b.closed.Load() {
		return nil, ErrClosed
	}
	var mu sync.Mutex // held while h runs, so that stop can wait for it
	stopped := false
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			h(m.Data)
		}
	})
	if err != nil {
		return nil, b.coreError("subscribe to "+subject, err)
	}
	if err := sub.SetPendingLimits(msgs, bytes); err != nil {
		return nil, b.coreError("subscribe to "+subject, err)
	}
	b.receivers.mu.Lock()
	if b.receivers.dropped == nil {
		b.receivers.dropped = map[*nats.Subscription]int{}
	}
	b.receivers.dropped[sub] = 0
	b.receivers.mu.Unlock()
	// The server knows of it when this returns: nothing sent after is missed.
	if err := nc.FlushTimeout(apiTimeout); err != nil {
		b.log.Warn("subscribing", "subject", subject, "err", err)
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			b.slow(sub)
			_ = sub.Unsubscribe() // fails only where the connection has gone, and it with it
			b.receivers.mu.Lock()
			delete(b.receivers.dropped, sub)
			b.receivers.mu.Unlock()
			mu.Lock()
			stopped = true
			mu.Unlock()
		})
	}, nil
}

func (b *Bus) coreError(what string, err error) error {
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), b.closed.Load():
		return fmt.Errorf("bus: %s: %w", what, ErrClosed)
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("bus: %s: %w", what, ErrDisconnected)
	}
	return fmt.Errorf("bus: %s: %w", what, err)
}

// AskTimeout ends a question whose context has no deadline: both it and its answer
// may be lost on the way.
const AskTimeout = 10 * time.Second

// Ask puts a question to whoever serves the subject and waits for one answer.
// ErrNoResponder: nobody does; ErrOverloaded: too many questions wait there; else
// ctx's error, when it ends first (context.DeadlineExceeded after AskTimeout, where
// it has no deadline of its own).
func (b *Bus) Ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	b.count.asked.Add(1)
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, AskTimeout)
		defer cancel()
	}
	m, err := b.queries.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, fmt.Errorf("bus: ask %s: %w", subject, ErrNoResponder)
	case err != nil:
		return nil, b.coreError("ask "+subject, err)
	}
	if err := refusal(subject, m); err != nil {
		return nil, err
	}
	return m.Data, nil
}

const (
	codeOverloaded = "429"
	codeStopping   = "503"
)

// Serve answers the questions put to subject with what h makes of them, at most
// workers at once; as many questions wait as 64 times that, what is over is answered
// with ErrOverloaded. Services with one queue share the subject's questions; with
// an empty one each gets them all. h's context ends when the service stops. stop
// waits until every question taken has been answered.
func (b *Bus) Serve(subject, queue string, workers int, h func(ctx context.Context, data []byte) []byte) (stop func(), err error) {
	if b.closed.Load() {
		return nil, ErrClosed
	}
	workers = max(workers, 1)
	ctx, cancel := context.WithCancel(b.ctx)
	s := &service{b: b, ctx: ctx, h: h, work: make(chan micro.Request, workers*queuePerWorker)}
	opts := []micro.EndpointOpt{
		micro.WithEndpointSubject(subject),
		// Handing on and refusing are quick, so this is room for a burst; what is over it
		// would be lost without an answer.
		micro.WithEndpointPendingLimits(MaxPendingPushes, 64<<20),
	}
	if queue == "" {
		opts = append(opts, micro.WithEndpointQueueGroupDisabled())
	} else {
		opts = append(opts, micro.WithEndpointQueueGroup(queue))
	}
	name := strings.NewReplacer(".", "-", "*", "_", ">", "_").Replace(subject)
	svc, err := micro.AddService(b.queries, micro.Config{Name: "godwit-" + name, Version: "1.0.0"})
	if err != nil {
		cancel()
		return nil, b.coreError("serve "+subject, err)
	}
	for range workers {
		s.wg.Go(s.run)
	}
	stop = sync.OnceFunc(func() {
		if err := svc.Stop(); err != nil && !b.closed.Load() {
			b.log.Warn("stopping a service", "subject", subject, "err", err)
		}
		s.mu.Lock()
		s.stopped = true
		s.mu.Unlock()
		cancel()
		close(s.work)
		s.wg.Wait()
	})
	if err := svc.AddEndpoint(name, micro.HandlerFunc(s.handle), opts...); err != nil {
		stop()
		return nil, b.coreError("serve "+subject, err)
	}
	if err := b.queries.FlushTimeout(apiTimeout); err != nil {
		b.log.Warn("serving", "subject", subject, "err", err)
	}
	if err := b.spawn(func() { <-ctx.Done(); stop() }); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

type service struct {
	b    *Bus
	ctx  context.Context
	h    func(ctx context.Context, data []byte) []byte
	work chan micro.Request
	wg   sync.WaitGroup

	mu      sync.RWMutex
	stopped bool // and work closed
}

// handle runs on the subscription's goroutine and must not wait.
func (s *service) handle(r micro.Request) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.stopped {
		s.refuse(r, codeStopping, "stopping")
		return
	}
	select {
	case s.work <- r:
	default:
		s.b.count.overflowed.Add(1)
		s.refuse(r, codeOverloaded, "too many questions waiting")
	}
}

func (s *service) run() {
	for r := range s.work {
		if s.ctx.Err() != nil {
			s.refuse(r, codeStopping, "stopping")
			continue
		}
		answer := s.h(s.ctx, r.Data())
		s.b.count.served.Add(1)
		if err := r.Respond(answer); err != nil && s.b.ctx.Err() == nil {
			s.b.log.Warn("answering a question", "subject", r.Subject(), "err", err)
		}
	}
}

func (s *service) refuse(r micro.Request, code, text string) {
	if err := r.Error(code, text, nil); err != nil && s.b.ctx.Err() == nil {
		s.b.log.Warn("refusing a question", "subject", r.Subject(), "err", err)
	}
}

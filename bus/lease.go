package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
)

// LeaseTTL is how long a lease outlives its holder; it is renewed each third of it.
const LeaseTTL = 3 * time.Second

// leaseMargin is how much earlier than the server its holder takes a lease for lost.
const leaseMargin = LeaseTTL / 6

// Buckets, as streams: epochs of the log's streams, and leases.
const (
	epochBucket = "epochs"
	leaseBucket = "leases"
)

func bucketStream(bucket string) string { return "KV_" + bucket }
func keySubject(bucket, key string) string {
	return "$KV." + bucket + "." + key
}

// ensureBuckets makes the buckets where they are missing.
func (b *Bus) ensureBuckets(ctx context.Context) error {
	bucket := func(name string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name:              bucketStream(name),
			Subjects:          []string{keySubject(name, ">")},
			MaxMsgsPerSubject: 1,
			MaxMsgs:           -1,
			MaxBytes:          -1,
			MaxMsgSize:        -1,
			MaxConsumers:      -1,
			Discard:           jetstream.DiscardNew,
			Storage:           jetstream.FileStorage,
			Replicas:          b.cfg.Replicas,
			AllowRollup:       true,
			DenyDelete:        true,
		}
	}
	leases := bucket(leaseBucket)
	leases.MaxAge, leases.Duplicates = LeaseTTL, LeaseTTL
	for _, cfg := range []jetstream.StreamConfig{bucket(epochBucket), bucket(cursorBucket), leases, b.requestConfig()} {
		if _, err := b.js.CreateStream(ctx, cfg); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("bus: create bucket %s: %w", cfg.Name, err)
		}
	}
	if b.emb != nil {
		// What a predecessor held nobody holds now; revisions go on from where they were.
		return b.retried(ctx, "STREAM.PURGE."+bucketStream(leaseBucket), nil, nil)
	}
	return nil
}

// entry is the newest value of a key; revision 0 where there never was one.
type entry struct {
	value    string
	revision uint64
	gone     bool // deleted or never there
}

func (b *Bus) entry(ctx context.Context, bucket, key string) (entry, error) {
	m, err := b.get(ctx, bucketStream(bucket), msgGet{Last: keySubject(bucket, key)})
	if errors.Is(err, ErrNoRecord) {
		return entry{gone: true}, nil
	}
	if err != nil {
		return entry{}, err
	}
	e := entry{value: string(m.Data), revision: m.Sequence}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return entry{}, fmt.Errorf("bus: headers of %s: %w", m.Subject, err)
		}
		e.gone = h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != ""
	}
	return e, nil
}

// set writes a key if its newest revision is expect, ErrConflict if not. On any
// other error the value may have been written.
func (b *Bus) set(ctx context.Context, bucket, key, value string, expect uint64, remove bool) (uint64, error) {
	m := nats.NewMsg(keySubject(bucket, key))
	m.Data = []byte(value)
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(expect, 10))
	if remove {
		m.Header.Set("KV-Operation", "DEL")
	}
	ctx, cancel := context.WithTimeout(ctx, LeaseTTL/3)
	defer cancel()
	r, err := b.events.RequestMsgWithContext(ctx, m)
	if err != nil {
		b.trouble.Store(true) // a frozen store gives no answer
		return 0, fmt.Errorf("bus: set %s: %w", m.Subject, err)
	}
	b.trouble.Store(false)
	a := parseAck(r)
	switch {
	case a.err == nil:
		return a.seq, nil
	case isWrongLast(a.err):
		return 0, ErrConflict
	}
	return 0, fmt.Errorf("bus: set %s: %w", m.Subject, a.err)
}

// Epoch is the stream's present epoch: a ULID that is renewed when the stream has
// been rolled back, so that positions before and after can't be mixed up. The first
// to ask makes it.
func (b *Bus) Epoch(ctx context.Context, s event.Stream) (event.ID, error) {
	return b.epoch(ctx, s, func(event.ID) bool { return false })
}

// RenewEpoch gives the stream a new epoch if its present one is still old, and
// returns the present one: however many notice a rollback together, it is renewed
// once.
func (b *Bus) RenewEpoch(ctx context.Context, s event.Stream, old event.ID) (event.ID, error) {
	return b.epoch(ctx, s, func(now event.ID) bool { return now == old })
}

func (b *Bus) epoch(ctx context.Context, s event.Stream, renew func(now event.ID) bool) (event.ID, error) {
	if err := b.check(s); err != nil {
		return event.ID{}, err
	}
	for {
		e, err := b.entry(ctx, epochBucket, s.String())
		if err != nil {
			return event.ID{}, fmt.Errorf("bus: epoch of %s: %w", s, err)
		}
		if !e.gone {
			now, err := ulid.ParseStrict(e.value)
			if err != nil {
				return event.ID{}, fmt.Errorf("bus: epoch of %s: %w", s, err)
			}
			if !renew(now) {
				return now, nil
			}
		}
		next := newID()
		_, err = b.set(ctx, epochBucket, s.String(), next.String(), e.revision, false)
		switch {
		case err == nil:
			if !e.gone {
				b.log.Warn("epoch renewed", "stream", s.String(), "epoch", next.String())
			}
			return next, nil
		case errors.Is(err, ErrConflict):
			continue // somebody else did it
		}
		b.log.Warn("setting an epoch", "stream", s.String(), "err", err)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return event.ID{}, fmt.Errorf("bus: epoch of %s: %w", s, err)
		}
		if b.ctx.Err() != nil {
			return event.ID{}, ErrClosed
		}
	}
}

// Lease is the right to be the one who does something, for as long as it is renewed.
// It is no lock: for a moment two may believe that they hold it, and the one with
// the lower revision is then wrong.
type Lease struct {
	b        *Bus
	name     string
	value    string
	acquired uint64
	revision uint64 // newest; run's own
	until    time.Time
	lost     chan struct{}
	stop     context.CancelFunc
	done     chan struct{}
	mu       sync.Mutex
}

// AcquireLease waits until the lease of that name is free and takes it. It is
// renewed until it is released, lost, or the bus closes.
func (b *Bus) AcquireLease(ctx context.Context, name string) (*Lease, error) {
	if !validToken(name) {
		return nil, fmt.Errorf("bus: lease name %q must be one token", name)
	}
	l := &Lease{b: b, name: name, value: b.cfg.Process + " " + newID().String(), lost: make(chan struct{}), done: make(chan struct{})}
	for {
		if b.closed.Load() {
			return nil, ErrClosed
		}
		ok, err := l.try(ctx)
		if ok {
			break
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("acquiring a lease", "lease", name, "err", err)
		}
		if err := sleep(ctx, LeaseTTL/10); err != nil {
			return nil, fmt.Errorf("bus: lease %s: %w", name, err)
		}
	}
	ctx, l.stop = context.WithCancel(b.ctx)
	if err := b.spawn(func() { l.run(ctx) }); err != nil {
		return nil, err
	}
	b.log.Info("lease acquired", "lease", name, "revision", l.acquired)
	return l, nil
}

func (l *Lease) try(ctx context.Context) (bool, error) {
	began := time.Now()
	e, err := l.b.entry(ctx, leaseBucket, l.name)
	if err != nil {
		return false, err
	}
	if !e.gone {
		if e.value != l.value {
			return false, nil
		}
		// An earlier attempt was stored after all. How long ago is not known.
		l.acquired, l.revision, l.until = e.revision, e.revision, began
		return true, nil
	}
	rev, err := l.b.set(ctx, leaseBucket, l.name, l.value, e.revision, false)
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.acquired, l.revision, l.until = rev, rev, began.Add(LeaseTTL-leaseMargin)
	return true, nil
}

// run renews the lease until it is told to stop or has lost it.
func (l *Lease) run(ctx context.Context) {
	defer close(l.done)
	defer close(l.lost)
	next := LeaseTTL / 3
	if !l.until.After(time.Now()) {
		next = 0
	}
	for {
		if sleep(ctx, next) != nil {
			return
		}
		began := time.Now()
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			l.until = began.Add(LeaseTTL - leaseMargin)
			next = LeaseTTL / 3
			continue
		case errors.Is(err, ErrConflict):
		case time.Now().Before(l.until):
			next = min(LeaseTTL/30, time.Until(l.until))
			continue
		}
		l.b.count.leasesLost.Add(1)
		l.b.log.Warn("lease lost", "lease", l.name, "err", err)
		return
	}
}

func (l *Lease) renew(ctx context.Context) error {
	if !l.until.IsZero() && time.Now().Before(l.until) {
		// A renewal must not outlast the lease it renews.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, l.until)
		defer cancel()
	}
	rev, err := l.b.set(ctx, leaseBucket, l.name, l.value, l.revision, false)
	if errors.Is(err, ErrConflict) {
		// An earlier renewal of unknown fate may have been the one that was faster.
		e, gerr := l.b.entry(ctx, leaseBucket, l.name)
		if gerr != nil {
			return gerr
		}
		if e.gone || e.value != l.value || e.revision == l.revision {
			return ErrConflict
		}
		rev, err = e.revision, nil
	}
	if err == nil {
		l.revision = rev
	}
	return err
}

// Revision is that of the acquisition: of two holders of a name the later one has
// the higher.
func (l *Lease) Revision() uint64 { return l.acquired }

// Lost is closed when the lease is held no more: lost, released, or the bus closed.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Release gives the lease up at once, so that another need not wait for its end.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.done:
		return nil
	default:
	}
	l.stop()
	<-l.done
	_, err := l.b.set(ctx, leaseBucket, l.name, "", l.revision, true)
	if errors.Is(err, ErrConflict) {
		return nil // it had gone already
	}
	return err
}

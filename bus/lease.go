package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// LeaseTTL is how long whoever waits for a lease hears nothing of its holder before it takes
// it. The holder renews it four times as often.
const LeaseTTL = 2 * time.Second

const (
	leaseRenewal = LeaseTTL / 4
	// leaseSettles is how long an attempt to release or take a lease that was heard of may
	// need to be stored.
	leaseSettles = time.Second
	leaseLook    = 25 * time.Millisecond // between two looks at the lease meanwhile
	leasePause   = 100 * time.Millisecond
)

// Lease is the right to be the one who does something, for as long as it is renewed.
// It is no lock: for a while two may believe that they hold it, and the one with the
// lower revision is then wrong. A holder whose renewals are not answered goes on: it learns
// that another has the lease as soon as there is somebody to tell it.
type Lease struct {
	b        *Bus
	name     string
	holder   string // the process and a token of this lease
	acquired uint64

	revision uint64 // of the newest renewal; after the acquisition run's own
	count    uint64 // of attempts to write the lease; as above

	news chan struct{} // somebody else wrote, or tries to
	lost chan struct{}
	stop context.CancelFunc
	done chan struct{}
	mu   sync.Mutex // of Release

	seenMu sync.Mutex
	seen   sighting
}

// sighting is what one who waits for a lease knows of its holder. The time is its own: an
// outage or a pause of its own starts it anew.
type sighting struct {
	holder  string    // "" while there is none
	count   uint64    // of the newest attempt that was heard or read
	heard   time.Time // when it was
	settles time.Time // until then the lease may be about to change hands
}

// read takes over what the leader of the leases holds.
func (s *sighting) read(holder string, count uint64, now time.Time) {
	if holder != s.holder || count > s.count {
		s.holder, s.count, s.heard = holder, count, now
	}
}

// hear takes note of an attempt to write the lease. It is true when the lease may have
// changed hands, and is to be read.
func (s *sighting) hear(holder string, count uint64, now time.Time) bool {
	if holder == s.holder && holder != "" {
		s.count, s.heard = max(s.count, count), now
		return false
	}
	s.settles = now.Add(leaseSettles)
	return true
}

// anew starts the count of silence once more: nothing could be heard for a while.
func (s *sighting) anew(now time.Time) { s.heard = now }

// free tells whether the lease may be taken: it was given up, or its holder is silent.
func (s *sighting) free(now time.Time) bool {
	return s.holder == "" || now.Sub(s.heard) >= LeaseTTL
}

// AcquireLease waits until the lease of that name is free and takes it, after having let it
// stand for after, so that those with a shorter wait come first. It is renewed until it is
// released, lost, or the bus closes. A holder that has died is noticed LeaseTTL after its
// last renewal, a release at once.
func (b *Bus) AcquireLease(ctx context.Context, name string, after ...time.Duration) (*Lease, error) {
	if !validToken(name) {
		return nil, fmt.Errorf("bus: lease name %q must be one token", name)
	}
	if b.closed.Load() {
		return nil, ErrClosed
	}
	l := &Lease{
		b: b, name: name, holder: b.cfg.Process + " " + newID().String(),
		news: make(chan struct{}, 1), lost: make(chan struct{}), done: make(chan struct{}),
	}
	// Every attempt to write the lease is heard, stored or not: so a holder is known to live
	// while the leases' stream has no leader.
	sub, err := b.events.Subscribe(keySubject(leaseBucket, name), l.hear)
	if err != nil {
		return nil, b.coreError("lease "+name, err)
	}
	var wait time.Duration
	if len(after) > 0 {
		wait = after[0]
	}
	if err := l.acquire(ctx, wait); err != nil {
		_ = sub.Unsubscribe() // fails only where the connection has gone, and it with it
		return nil, err
	}
	ctx, l.stop = context.WithCancel(b.ctx)
	if err := b.spawn(func() {
		defer sub.Unsubscribe()
		b.count.leasesHeld.Add(1)
		defer b.count.leasesHeld.Add(-1)
		l.run(ctx)
	}); err != nil {
		_ = sub.Unsubscribe()
		return nil, err
	}
	b.log.Info("lease acquired", "lease", name, "revision", l.acquired)
	return l, nil
}

// hear is called with every attempt to write the lease, our own too.
func (l *Lease) hear(m *nats.Msg) {
	holder, count := parseLease(string(m.Data))
	if m.Header.Get("KV-Operation") != "" {
		holder, count = "", 0
	}
	if holder == l.holder {
		return
	}
	l.seenMu.Lock()
	look := l.seen.hear(holder, count, time.Now())
	l.seenMu.Unlock()
	if look {
		select {
		case l.news <- struct{}{}:
		default:
		}
	}
}

func (l *Lease) acquire(ctx context.Context, after time.Duration) error {
	var freeSince time.Time
	for {
		changed := l.b.changed.wait()
		got, pause, err := l.look(ctx, changed, after, &freeSince)
		if got {
			return nil
		}
		switch {
		case l.b.closed.Load():
			return ErrClosed
		case ctx.Err() != nil:
			return fmt.Errorf("bus: lease %s: %w", l.name, ctx.Err())
		case err != nil:
			l.b.log.Warn("acquiring a lease", "lease", l.name, "err", err)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-l.b.ctx.Done():
		case <-changed:
			l.seenMu.Lock()
			l.seen.anew(time.Now())
			l.seenMu.Unlock()
		case <-l.news:
		case <-t.C:
		}
		t.Stop()
	}
}

// look reads the lease, and takes it if it is its turn. Else it says when to look again.
func (l *Lease) look(ctx context.Context, changed <-chan struct{}, after time.Duration, freeSince *time.Time) (got bool, again time.Duration, err error) {
	e, err := l.b.entry(ctx, leaseBucket, l.name) // asks until there is a leader
	if err != nil {
		return false, leasePause, err
	}
	holder, count := parseLease(e.value)
	if e.gone {
		holder, count = "", 0
	}
	if holder == l.holder { // an earlier attempt was stored after all
		l.acquired, l.revision = e.revision, e.revision
		return true, 0, nil
	}
	now := time.Now()
	l.seenMu.Lock()
	select {
	case <-changed: // the holder may have been cut off as well, and need a moment
		l.seen.anew(now)
	default:
	}
	l.seen.read(holder, count, now)
	seen := l.seen
	l.seenMu.Unlock()
	if !seen.free(now) {
		*freeSince = time.Time{}
		if now.Before(seen.settles) {
			return false, leaseLook, nil
		}
		return false, seen.heard.Add(LeaseTTL).Sub(now), nil
	}
	if freeSince.IsZero() {
		*freeSince = now
	}
	if left := freeSince.Add(after).Sub(now); left > 0 {
		return false, left, nil
	}
	rev, err := l.write(ctx, e.revision)
	switch {
	case errors.Is(err, ErrConflict):
		return false, leaseLook, nil
	case errors.Is(err, errUnderWay):
		return false, leasePause, nil
	case err != nil:
		return false, leasePause, err
	}
	l.acquired, l.revision = rev, rev
	return true, 0, nil
}

// write makes one attempt to hold the lease, if its newest revision is expect.
func (l *Lease) write(ctx context.Context, expect uint64) (uint64, error) {
	l.count++
	return l.b.set(ctx, leaseBucket, l.name, l.holder+" "+strconv.FormatUint(l.count, 10), expect, false)
}

// parseLease reads a lease's value: who holds it, and its how manieth attempt to write it
// this is.
func parseLease(v string) (holder string, count uint64) {
	i := strings.LastIndexByte(v, ' ')
	if i < 0 {
		return v, 0
	}
	count, err := strconv.ParseUint(v[i+1:], 10, 64)
	if err != nil {
		return v, 0
	}
	return v[:i], count
}

// run renews the lease until it is told to stop or has lost it.
func (l *Lease) run(ctx context.Context) {
	defer close(l.done)
	defer close(l.lost)
	t := time.NewTicker(leaseRenewal)
	defer t.Stop()
	silent := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-l.news: // somebody believes that it is free, or has it already
		}
		err := l.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if silent {
				silent = false
				l.b.log.Info("lease renewed again", "lease", l.name)
			}
		case errors.Is(err, ErrConflict):
			l.b.count.leasesLost.Add(1)
			l.b.log.Warn("lease lost", "lease", l.name, "err", err)
			return
		case !silent:
			silent = true
			l.b.log.Warn("a lease can't be renewed, it is kept until another has it", "lease", l.name, "err", err)
		}
	}
}

func (l *Lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*leaseRenewal)
	defer cancel()
	rev, err := l.write(ctx, l.revision)
	if errors.Is(err, ErrConflict) {
		// An earlier renewal of unknown fate may have been the one that was faster.
		e, gerr := l.b.entry(ctx, leaseBucket, l.name)
		if gerr != nil {
			return gerr
		}
		if holder, _ := parseLease(e.value); e.gone || holder != l.holder || e.revision == l.revision {
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
	for {
		_, err := l.b.set(ctx, leaseBucket, l.name, "", l.revision, true)
		if errors.Is(err, errUnderWay) && sleep(ctx, leaseLook) == nil {
			continue // the last renewal is, and must not be what stays
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		// The last renewal may have been stored without our hearing of it.
		e, err := l.b.entry(ctx, leaseBucket, l.name)
		if err != nil {
			return err
		}
		if holder, _ := parseLease(e.value); e.gone || holder != l.holder || e.revision == l.revision {
			return nil // it had gone already
		}
		l.revision = e.revision
	}
}

// LeaseInfo is a lease as it stands, for people.
type LeaseInfo struct {
	Name     string
	Process  string // that holds it, "" if it was given up
	Revision uint64 // of its newest renewal
	Renewed  time.Time
}

// Leases lists the leases by name. A holder that has died is listed until another takes its
// lease: Renewed, by the servers' clock, tells.
func (b *Bus) Leases(ctx context.Context) ([]LeaseInfo, error) {
	if b.closed.Load() {
		return nil, ErrClosed
	}
	names, err := b.keys(ctx, leaseBucket, ">")
	if err != nil {
		return nil, fmt.Errorf("bus: leases: %w", err)
	}
	var all []LeaseInfo
	for _, name := range names {
		e, err := b.entry(ctx, leaseBucket, name)
		if err != nil {
			return nil, fmt.Errorf("bus: lease %s: %w", name, err)
		}
		i := LeaseInfo{Name: name, Revision: e.revision, Renewed: e.time}
		if !e.gone {
			i.Process, _, _ = strings.Cut(e.value, " ")
		}
		all = append(all, i)
	}
	return all, nil
}

package password

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// The rules of [Limiter].
const (
	// FailureWindow is how long a failure counts.
	FailureWindow = 30 * time.Minute
	// PairFailures is how often one address may be wrong about one name within the window.
	PairFailures = 10
	// PairFailuresUnderAttack takes the place of PairFailures while a name is under attack.
	PairFailuresUnderAttack = 3
	// NameFailures within one window, from wherever, are an attack on the name.
	NameFailures = 100
	// AddressFailures is how often one address may be wrong at once over all names; then it may be wrong once every
	// AddressEvery.
	AddressFailures = 200
	AddressEvery    = 2 * time.Second
	// DefaultLimiterEntries bounds each of a Limiter's tables.
	DefaultLimiterEntries = 100_000
)

// A Rule names the rule of [Limiter] that refused.
type Rule string

// The rules that refuse.
const (
	RulePair    Rule = "too many failures of this address for this name"
	RuleAddress Rule = "too many failures of this address"
)

// LimitError refuses an attempt before the password is looked at. To a client it is the result of a wrong password (6).
type LimitError struct {
	Rule       Rule
	RetryAfter time.Duration // when an attempt may be allowed again; at least a second
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s, again in %s", e.Rule, e.RetryAfter.Round(time.Second))
}

// Limiter slows guessing without giving anybody the means to lock another person out.
//
//   - An address that was wrong [PairFailures] times about a name within [FailureWindow] is refused for that name until the
//     oldest of these failures is past the window. Attempts under way count as failures until they end, so that
//     many guesses at once are no way around.
//   - An address that was wrong [AddressFailures] times over any names is slowed to one failure every [AddressEvery]: in
//     between it is refused, except for names that have logged in from there lately (familiar pairs). So one guesser
//     behind a shared address does not send his neighbours away. Guesses under way when the limit was met are owed as well,
//     at most as many again.
//   - A name about which [NameFailures] were wrong within a window, from wherever, is under attack: an address that is no
//     familiar pair with it has only [PairFailuresUnderAttack]. The name itself is never refused: from an address without failures
//     the right password always passes.
//   - A success clears the failures of its pair only: whoever owns one account could else clear his address by
//     logging in between guesses. Refused attempts are not counted as failures.
//
// Addresses are taken by IPv4 address (mapped ones too) or by IPv6 /64, which is what one subscriber holds. Names must come
// normalised. Every table is bounded and lets go of what was touched longest ago; filling one takes so many
// failures that the address rule makes it slow. It may be used from any goroutine and starts none.
type Limiter struct {
	now   func() time.Time
	start time.Time
	seed  maphash.Seed

	mu        sync.Mutex
	pairs     *table[pair]
	addresses *table[bucket]
	names     *table[bucket]
	familiar  familiar
}

// NewLimiter makes a Limiter whose tables hold at most entries each. now is the clock, time.Now outside of tests.
func NewLimiter(now func() time.Time, entries int) *Limiter {
	entries = max(entries, 1)
	return &Limiter{
		now: now, start: now(), seed: maphash.MakeSeed(),
		pairs:     newTable[pair](entries, FailureWindow),
		addresses: newTable[bucket](entries, 2*AddressFailures*AddressEvery),
		names:     newTable[bucket](entries, 2*FailureWindow),
		familiar:  familiar{limit: entries},
	}
}

// Allow refuses an attempt with a [*LimitError], or lets it pass; then exactly one of Succeeded, Failed and Abandoned must
// follow. An attempt whose end is never told counts as a failure until the window has passed.
func (l *Limiter) Allow(addr netip.Addr, name string) error {
	a, p, n := l.keys(addr, name)
	now := l.stamp()
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.familiar.has(p, now)
	if b := l.addresses.get(a, now); b != nil && !known {
		if wait := b.wait(now, AddressFailures, AddressEvery); wait > 0 {
			return &LimitError{Rule: RuleAddress, RetryAfter: max(wait, time.Second)}
		}
	}
	limit := PairFailures
	if b := l.names.get(n, now); b != nil && !known && b.wait(now, NameFailures, FailureWindow/NameFailures) > 0 {
		limit = PairFailuresUnderAttack
	}
	if q := l.pairs.get(p, now); q != nil {
		if wait, refused := q.wait(now, limit); refused {
			return &LimitError{Rule: RulePair, RetryAfter: max(wait, time.Second)}
		}
	}
	l.pairs.touch(p, now).pending++
	return nil
}

// Succeeded ends an allowed attempt whose password was right.
func (l *Limiter) Succeeded(addr netip.Addr, name string) {
	_, p, _ := l.keys(addr, name)
	now := l.stamp()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.familiar.add(p, now)
	if q := l.pairs.get(p, now); q != nil {
		q.end()
		q.n = 0
		l.pairs.dropIf(p, q.idle())
	}
}

// Failed ends an allowed attempt whose name or password was wrong.
func (l *Limiter) Failed(addr netip.Addr, name string) {
	a, p, n := l.keys(addr, name)
	now := l.stamp()
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.pairs.touch(p, now)
	q.end()
	q.fail(now)
	l.addresses.touch(a, now).fail(now, AddressFailures, AddressEvery)
	l.names.touch(n, now).fail(now, NameFailures, FailureWindow/NameFailures)
}

// Abandoned ends an allowed attempt of which nothing was learnt: the client left, the server could not ask.
func (l *Limiter) Abandoned(addr netip.Addr, name string) {
	_, p, _ := l.keys(addr, name)
	now := l.stamp()
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.pairs.get(p, now); q != nil {
		q.end()
		l.pairs.dropIf(p, q.idle())
	}
}

func (l *Limiter) stamp() stamp { return max(l.now().Sub(l.start), 0) }

// keys are 64-bit hashes under a random seed: two things that share one by chance share a limit, and nobody can bring it
// about.
func (l *Limiter) keys(addr netip.Addr, name string) (address, pair, named uint64) {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			addr = prefix.Addr()
		}
	}
	type both struct {
		addr netip.Addr
		name string
	}
	return maphash.Comparable(l.seed, addr), maphash.Comparable(l.seed, both{addr, name}), maphash.Comparable(l.seed, name)
}

// pair holds the last failures of one address about one name, oldest first.
type pair struct {
	failures [PairFailures]stamp
	n        int
	pending  int // attempts under way
}

func (p *pair) forget(now stamp) {
	k := 0
	for k < p.n && now-p.failures[k] >= FailureWindow {
		k++
	}
	p.n = copy(p.failures[:], p.failures[k:p.n])
}

// wait tells whether the pair is refused, and how long until one failure fewer counts. With attempts under way and no
// failure that is not known, and zero.
func (p *pair) wait(now stamp, limit int) (time.Duration, bool) {
	p.forget(now)
	if p.n+p.pending < limit {
		return 0, false
	}
	if p.n < limit {
		return 0, true
	}
	return FailureWindow - (now - p.failures[p.n-limit]), true
}

func (p *pair) fail(now stamp) {
	p.forget(now)
	if p.n == PairFailures { // more were under way than the limit allows now
		p.n = copy(p.failures[:], p.failures[1:])
	}
	p.failures[p.n] = now
	p.n++
}

func (p *pair) end()       { p.pending = max(p.pending-1, 0) }
func (p *pair) idle() bool { return p.n == 0 && p.pending == 0 }

// bucket counts failures that drain one by one: full is when the last of them will have drained.
type bucket struct{ full stamp }

// wait is how long until there is room for one more of size failures, at most zero if there is now.
func (b *bucket) wait(now stamp, size int, every time.Duration) time.Duration {
	return b.full + every - now - time.Duration(size)*every
}

// fail adds a failure; the bucket holds at most twice its size.
func (b *bucket) fail(now stamp, size int, every time.Duration) {
	b.full = min(max(b.full, now)+every, now+2*time.Duration(size)*every)
}

// familiar remembers which pairs have logged in, for one to two days, in some 15 bytes each: two generations, of which the
// older is dropped when a day has passed or the younger is full.
type familiar struct {
	limit      int
	since      stamp
	young, old map[uint64]struct{}
}

const familiarFor = 24 * time.Hour

func (f *familiar) turn(now stamp) {
	if f.young != nil && len(f.young) < f.limit && now-f.since < familiarFor {
		return
	}
	f.old, f.young = f.young, make(map[uint64]struct{})
	if now-f.since >= 2*familiarFor {
		f.old = nil
	}
	f.since = now
}

func (f *familiar) has(key uint64, now stamp) bool {
	f.turn(now)
	if _, found := f.young[key]; found {
		return true
	}
	_, found := f.old[key]
	return found
}

func (f *familiar) add(key uint64, now stamp) {
	f.turn(now)
	f.young[key] = struct{}{}
}

package password

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	home   = netip.MustParseAddr("192.0.2.1")
	office = netip.MustParseAddr("198.51.100.7")
)

// try makes one attempt that ends as said, and tells the rule that refused it, or none.
func try(t interface{ Fatalf(string, ...any) }, l *Limiter, addr netip.Addr, name string, right bool) Rule {
	if err := l.Allow(addr, name); err != nil {
		e, ok := errors.AsType[*LimitError](err)
		if !ok || e.RetryAfter < time.Second || e.RetryAfter > FailureWindow {
			t.Fatalf("refused with %v", err)
		}
		return e.Rule
	}
	if right {
		l.Succeeded(addr, name)
	} else {
		l.Failed(addr, name)
	}
	return ""
}

func TestTenFailuresBlockTheAddressForThatNameOnly(t *testing.T) {
	c := newClock()
	l := NewLimiter(c.now, 1000)
	for i := range PairFailures {
		if rule := try(t, l, home, "alice", false); rule != "" {
			t.Fatalf("failure %d refused: %s", i+1, rule)
		}
		c.advance(time.Minute)
	}
	for range 50 { // refused ones do not count, or the block would never end
		if rule := try(t, l, home, "alice", true); rule != RulePair {
			t.Fatalf("attempt after %d failures: %q", PairFailures, rule)
		}
	}
	if rule := try(t, l, office, "alice", true); rule != "" {
		t.Errorf("the victim is locked out: %s", rule)
	}
	if rule := try(t, l, home, "bob", true); rule != "" {
		t.Errorf("another name is refused: %s", rule)
	}
	err := l.Allow(home, "alice")
	if e, ok := errors.AsType[*LimitError](err); !ok || e.RetryAfter != FailureWindow-PairFailures*time.Minute {
		t.Errorf("told to come back otherwise than when the first failure is past: %v", err)
	}
	c.advance(FailureWindow - PairFailures*time.Minute)
	if rule := try(t, l, home, "alice", false); rule != "" {
		t.Errorf("refused when the first failure is past: %s", rule)
	}
	if rule := try(t, l, home, "alice", true); rule != RulePair {
		t.Errorf("a second attempt before the second failure is past: %q", rule)
	}
}

func TestASuccessClearsThePair(t *testing.T) {
	l := NewLimiter(newClock().now, 1000)
	for range 3 {
		for range PairFailures - 1 {
			try(t, l, home, "alice", false)
		}
		if rule := try(t, l, home, "alice", true); rule != "" {
			t.Fatalf("refused: %s", rule)
		}
	}
	if l.pairs.entries == nil || len(l.pairs.entries) != 0 {
		t.Errorf("%d pairs are held after a success", len(l.pairs.entries))
	}
}

func TestGuessesUnderWayCountUntilTheyEnd(t *testing.T) {
	l := NewLimiter(newClock().now, 1000)
	for range PairFailures {
		if err := l.Allow(home, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Allow(home, "alice"); err == nil {
		t.Error("more guesses at once than failures are allowed")
	}
	l.Abandoned(home, "alice")
	if err := l.Allow(home, "alice"); err != nil {
		t.Errorf("an abandoned attempt counts: %v", err)
	}
	for range PairFailures {
		l.Failed(home, "alice")
	}
	if err := l.Allow(home, "alice"); err == nil {
		t.Error("failures under way were lost")
	}
}

func TestAnAttemptWhoseEndIsNeverToldIsForgottenWithTheWindow(t *testing.T) {
	c := newClock()
	l := NewLimiter(c.now, 1000)
	for range PairFailures {
		l.Allow(home, "alice")
	}
	c.advance(FailureWindow)
	if rule := try(t, l, home, "alice", true); rule != "" {
		t.Errorf("refused: %s", rule)
	}
}

func TestAnAddressThatGuessesOverManyNamesIsSlowed(t *testing.T) {
	c := newClock()
	l := NewLimiter(c.now, 10_000)
	try(t, l, home, "neighbour", true)
	allowed := 0
	for i := range 10 * AddressFailures {
		if try(t, l, home, fmt.Sprint("name", i), false) == "" {
			allowed++
		}
	}
	if allowed != AddressFailures {
		t.Fatalf("%d failures passed at once, want %d", allowed, AddressFailures)
	}
	if rule := try(t, l, home, "neighbour", true); rule != "" {
		t.Errorf("a person who logs in from there is refused: %s", rule)
	}
	if rule := try(t, l, office, "name1", true); rule != "" {
		t.Errorf("another address is refused: %s", rule)
	}
	if err, ok := errors.AsType[*LimitError](l.Allow(home, "stranger")); !ok || err.Rule != RuleAddress || err.RetryAfter != AddressEvery {
		t.Errorf("a stranger from there: %v", err)
	}
	for i := range 100 {
		c.advance(AddressEvery)
		if rule := try(t, l, home, fmt.Sprint("more", i), false); rule != "" {
			t.Fatalf("refused after the wait: %s", rule)
		}
		if rule := try(t, l, home, fmt.Sprint("again", i), false); rule != RuleAddress {
			t.Fatalf("a second one after the wait: %q", rule)
		}
	}
}

func TestGuessesUnderWayWhenAnAddressReachesItsLimitAreOwed(t *testing.T) {
	c := newClock()
	l := NewLimiter(c.now, 10_000)
	for i := range 5 * AddressFailures {
		if err := l.Allow(home, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 * AddressFailures {
		l.Failed(home, fmt.Sprint(i))
	}
	c.advance(AddressFailures * AddressEvery)
	if rule := try(t, l, home, "x", false); rule != RuleAddress {
		t.Errorf("what was owed is not repaid: %q", rule)
	}
	c.advance(AddressEvery)
	if rule := try(t, l, home, "x", false); rule != "" {
		t.Errorf("more is owed than once the size: %s", rule)
	}
}

func TestANameUnderAttackFromEverywhereIsNeverClosedToItsOwner(t *testing.T) {
	c := newClock()
	l := NewLimiter(c.now, 10_000)
	for range PairFailuresUnderAttack + 1 {
		try(t, l, office, "alice", true) // a familiar pair
	}
	for i := range 2000 { // a thousand addresses, two guesses each
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})
		if rule := try(t, l, addr, "alice", false); rule != "" {
			t.Fatalf("first guess of %s: %s", addr, rule)
		}
	}
	for i := range PairFailuresUnderAttack {
		if rule := try(t, l, home, "alice", false); rule != "" {
			t.Fatalf("typing error %d: %s", i+1, rule)
		}
	}
	if rule := try(t, l, home, "alice", false); rule != RulePair {
		t.Errorf("an address has the full number of guesses at a name under attack: %q", rule)
	}
	for range PairFailures {
		if rule := try(t, l, office, "alice", false); rule != "" {
			t.Errorf("a familiar pair has fewer attempts: %s", rule)
		}
	}
	if rule := try(t, l, netip.MustParseAddr("203.0.113.9"), "alice", true); rule != "" {
		t.Errorf("the owner at a new address is refused: %s", rule)
	}
	c.advance(2 * FailureWindow)
	for range PairFailures {
		if rule := try(t, l, home, "alice", false); rule != "" {
			t.Errorf("the attack is over, but: %s", rule)
		}
	}
}

func TestAddressesAreTakenByTheirOwner(t *testing.T) {
	l := NewLimiter(newClock().now, 100)
	key := func(addr string) uint64 {
		_, pair, _ := l.keys(netip.MustParseAddr(addr), "alice")
		return pair
	}
	if key("2001:db8::1") != key("2001:db8::ffff:1") || key("192.0.2.1") != key("::ffff:192.0.2.1") || key("fe80::1%eth0") != key("fe80::1") {
		t.Error("one subscriber has several limits")
	}
	if key("2001:db8::1") == key("2001:db8:0:1::1") || key("192.0.2.1") == key("192.0.2.2") {
		t.Error("two subscribers share a limit")
	}
	if err := l.Allow(netip.Addr{}, "alice"); err != nil {
		t.Errorf("an unknown address: %v", err)
	}
}

func TestTheLimiterStaysWithinItsTables(t *testing.T) {
	c := newClock()
	l := NewLimiter(c.now, 50)
	for i := range 1000 {
		c.advance(time.Second)
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i / 256), byte(i)})
		try(t, l, addr, fmt.Sprint(i), i%3 == 0)
		if len(l.pairs.entries) > 50 || len(l.addresses.entries) > 50 || len(l.names.entries) > 50 || len(l.familiar.young)+len(l.familiar.old) > 100 {
			t.Fatal("a table is over its limit")
		}
	}
	for range PairFailures {
		try(t, l, home, "alice", false)
	}
	for i := range 49 {
		try(t, l, home, fmt.Sprint("other", i), false)
	}
	if rule := try(t, l, home, "alice", false); rule != RulePair {
		t.Errorf("the newest fifty do not hold what was touched fifty ago: %q", rule)
	}
	c.advance(2 * FailureWindow)
	try(t, l, office, "bob", false)
	if len(l.pairs.entries) != 1 || len(l.addresses.entries) != 1 || len(l.names.entries) != 1 {
		t.Errorf("%d pairs, %d addresses, %d names after their time", len(l.pairs.entries), len(l.addresses.entries), len(l.names.entries))
	}
}

func TestFamiliarPairsFadeWithinTwoDays(t *testing.T) {
	var f familiar
	f.limit = 3
	f.add(1, 0)
	for _, c := range []struct {
		at   stamp
		want bool
	}{{time.Hour, true}, {familiarFor + time.Hour, true}, {2*familiarFor + 2*time.Hour, false}} {
		if got := f.has(1, c.at); got != c.want {
			t.Errorf("after %s: %v", c.at, got)
		}
	}
	f = familiar{limit: 3}
	f.add(1, 0)
	if f.has(1, 5*familiarFor) {
		t.Error("familiar after five silent days")
	}
}

// Whatever anybody does elsewhere, the right password from an address without failures passes.
func TestNobodyCanLockAnotherOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		l := NewLimiter(c.now, rapid.IntRange(1, 500).Draw(t, "entries"))
		for range rapid.IntRange(1, 100).Draw(t, "bursts") {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "addr")})
			name := rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "name")
			for range rapid.IntRange(1, 40).Draw(t, "guesses") {
				try(t, l, addr, name, rapid.IntRange(0, 20).Draw(t, "right") == 0)
			}
			c.advance(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			if rule := try(t, l, home, "alice", true); rule != "" {
				t.Fatalf("the victim is refused: %s", rule)
			}
		}
	})
}

func BenchmarkAllowAndSucceed(b *testing.B) {
	l := NewLimiter(time.Now, DefaultLimiterEntries)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Allow(home, "alice"); err != nil {
			b.Fatal(err)
		}
		l.Succeeded(home, "alice")
	}
}

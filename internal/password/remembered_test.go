package password

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const oldPHC, newPHC = "$argon2id$v=19$m=64,t=1,p=1$b2xkc2FsdA$x", "$argon2id$v=19$m=64,t=1,p=1$bmV3c2FsdA$x"

func TestRememberedKnowsExactlyTheTripleThatWasProved(t *testing.T) {
	r := NewRemembered(newClock().now, DefaultRememberFor, 100)
	r.Remember("alice", MD5Hex("a"), 1, oldPHC)
	for _, c := range []struct {
		what, name, text, phc string
		want                  bool
	}{
		{"the same", "alice", MD5Hex("a"), oldPHC, true},
		{"another name", "bob", MD5Hex("a"), oldPHC, false},
		{"another text", "alice", MD5Hex("b"), oldPHC, false},
		{"after a change of password", "alice", MD5Hex("a"), newPHC, false},
		{"parts moved over their border", "alic", "e" + MD5Hex("a"), oldPHC, false},
		{"empty", "", "", "", false},
	} {
		if got := r.Check(c.name, c.text, c.phc); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if NewRemembered(newClock().now, DefaultRememberFor, 100).keyLocked("alice", "x", "y") == r.keyLocked("alice", "x", "y") {
		t.Error("two processes have one key")
	}
}

func TestRememberedForgetsInTimeAndAHitDoesNotExtend(t *testing.T) {
	c := newClock()
	c.advance(900 * time.Millisecond) // start and entries off the second
	r := NewRemembered(c.now, 10*time.Minute, 100)
	c.advance(700 * time.Millisecond)
	r.Remember("alice", "x", 1, oldPHC)
	for range 9 {
		c.advance(time.Minute)
		if !r.Check("alice", "x", oldPHC) {
			t.Fatal("forgotten too early")
		}
	}
	c.advance(58 * time.Second)
	if !r.Check("alice", "x", oldPHC) {
		t.Error("forgotten more than a second early")
	}
	c.advance(2 * time.Second)
	if r.Check("alice", "x", oldPHC) {
		t.Error("remembered past its time")
	}
	r.Remember("alice", "x", 1, oldPHC)
	if !r.Check("alice", "x", oldPHC) || r.Len() != 1 {
		t.Errorf("not remembered anew, or %d entries where the old one should have gone", r.Len())
	}
}

func TestForgetTouchesOneUserAndForgetAllEverybody(t *testing.T) {
	r := NewRemembered(newClock().now, time.Hour, 100)
	r.Remember("alice", "x", 1, oldPHC)
	r.Remember("alice", "x", 1, newPHC)
	r.Remember("bob", "y", 2, oldPHC)
	r.Forget(1)
	r.Forget(7)
	if r.Check("alice", "x", oldPHC) || r.Check("alice", "x", newPHC) || !r.Check("bob", "y", oldPHC) {
		t.Error("Forget(1) did not forget exactly user 1")
	}
	r.Remember("alice", "x", 1, newPHC)
	if !r.Check("alice", "x", newPHC) {
		t.Error("a forgotten user is not remembered again")
	}
	r.ForgetAll()
	if r.Check("alice", "x", newPHC) || r.Check("bob", "y", oldPHC) || r.Len() != 0 {
		t.Error("ForgetAll left something")
	}
}

func TestAFullMemoryLetsTheOldestGo(t *testing.T) {
	c := newClock()
	r := NewRemembered(c.now, time.Hour, 1000)
	for i := range 2500 {
		c.advance(time.Millisecond)
		r.Remember(fmt.Sprint(i), "x", uint32(i), oldPHC)
	}
	if r.Len() != 1000 || len(r.ring) != 1000 || len(r.index) != 1000 {
		t.Fatalf("%d entries, %d places, %d indexed; want 1000", r.Len(), len(r.ring), len(r.index))
	}
	for i := range 2500 {
		if got := r.Check(fmt.Sprint(i), "x", oldPHC); got != (i >= 1500) {
			t.Fatalf("entry %d: %v", i, got)
		}
	}
}

// Whatever happens in whatever order, the memory answers as a plain list of the newest entries would.
func TestRememberedBehavesAsAList(t *testing.T) {
	type entry struct {
		name, phc string
		user      uint32
		at        time.Time
		gone      bool
	}
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		r := NewRemembered(c.now, time.Minute, limit)
		var list []entry
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			user := rapid.Uint32Range(1, 30).Draw(t, "user")
			name, phc := fmt.Sprint(user), rapid.SampledFrom([]string{oldPHC, newPHC}).Draw(t, "phc")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3, 4:
				r.Remember(name, "x", user, phc)
				list = append(list, entry{name: name, phc: phc, user: user, at: c.now()})
			case 5, 6:
				c.advance(time.Duration(rapid.IntRange(1, 30).Draw(t, "seconds")) * time.Second)
			case 7:
				r.Forget(user)
				for i := range list {
					list[i].gone = list[i].gone || list[i].user == user
				}
			case 8:
				want := false
				for _, e := range list[max(len(list)-limit, 0):] {
					want = want || e.name == name && e.phc == phc && !e.gone && c.now().Sub(e.at) < time.Minute
				}
				if got := r.Check(name, "x", phc); got != want {
					t.Fatalf("Check(%s) = %v, the list says %v", name, got, want)
				}
			case 9:
				if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
					r.ForgetAll()
					list = nil
				}
			}
			if r.Len() > limit || len(r.index) > r.Len() {
				t.Fatalf("%d entries and %d indexed, limit %d", r.Len(), len(r.index), limit)
			}
		}
	})
}

func TestARememberedEntryTakesLessThan64Bytes(t *testing.T) {
	const entries = 150_000
	r := NewRemembered(newClock().now, time.Hour, DefaultRemembered)
	before := heap()
	for i := range entries {
		r.Remember(fmt.Sprint(i), "x", uint32(i), oldPHC)
	}
	if each := float64(heap()-before) / entries; each > 64 {
		t.Errorf("an entry takes %.1f bytes", each)
	} else {
		t.Logf("an entry takes %.1f bytes", each)
	}
	runtime.KeepAlive(r)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestARememberedCheckAllocatesNothing(t *testing.T) {
	r := NewRemembered(newClock().now, time.Hour, 10)
	text := MD5Hex("a")
	r.Remember("alice", text, 1, oldPHC)
	if n := testing.AllocsPerRun(1000, func() { r.Check("alice", text, oldPHC) }); n >= 1 {
		t.Errorf("%v allocations a check", n)
	}
}

func BenchmarkRememberedCheck(b *testing.B) {
	r := NewRemembered(time.Now, time.Hour, DefaultRemembered)
	for i := range 100_000 {
		r.Remember(fmt.Sprint(i), "x", uint32(i), oldPHC)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !r.Check("5000", "x", oldPHC) {
			b.Fatal("forgotten")
		}
	}
}

func BenchmarkForgetInAFullMemory(b *testing.B) {
	r := NewRemembered(time.Now, time.Hour, DefaultRemembered)
	for i := range DefaultRemembered {
		r.Remember(fmt.Sprint(i), "x", uint32(i), oldPHC)
	}
	for b.Loop() {
		r.Forget(1 << 30)
	}
}

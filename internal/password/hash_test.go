package password

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

var cheap = Cost{MemoryKiB: 64, Iterations: 1}

func newHasher(t testing.TB, cost Cost) *Hasher {
	t.Helper()
	h, err := NewHasher(cost)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMD5HexIsWhatATeamTalkClientSends(t *testing.T) {
	if got := MD5Hex("12345"); got != "827ccb0eea8a706c4c34a16891f84e7b" {
		t.Errorf("MD5Hex(12345) = %s", got)
	}
}

func TestAHashVerifiesItsOwnPasswordAndNoOther(t *testing.T) {
	h := newHasher(t, cheap)
	right, wrong := MD5Hex("right"), MD5Hex("wrong")
	phc, err := h.Hash(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("hash %q is no PHC string of the cost", phc)
	}
	again, err := h.Hash(t.Context(), right)
	if err != nil || again == phc {
		t.Errorf("a second hash is equal to the first (err %v): the salt is not new", err)
	}
	dearer := newHasher(t, Cost{MemoryKiB: 128, Iterations: 2})
	for _, c := range []struct {
		name string
		h    *Hasher
		text string
		want bool
	}{
		{"right", h, right, true},
		{"right, by a hasher of another cost", dearer, right, true},
		{"wrong", h, wrong, false},
		{"right in upper case", h, strings.ToUpper(right), false},
		{"right and a NUL", h, right + "\x00", false},
		{"the plain password", h, "right", false},
		{"empty", h, "", false},
	} {
		if got, err := c.h.Verify(t.Context(), c.text, phc); err != nil || got != c.want {
			t.Errorf("%s: Verify = %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// The sum below was made by the reference implementation of argon2, so that our hashes can be checked by other programs.
func TestAPHCStringOfAnotherImplementationVerifies(t *testing.T) {
	const phc = "$argon2id$v=19$m=256,t=2,p=1$Z29kd2l0LXRlc3Qtc2FsdA$sQoRG8ooxd3eIDkzZ45W+5LJNsDG9XoPOThxVQzxOrc"
	ok, err := newHasher(t, cheap).Verify(t.Context(), MD5Hex("12345"), phc)
	if err != nil || !ok {
		t.Errorf("Verify = %v, %v", ok, err)
	}
}

func TestHashRefusesWhatNoClientSends(t *testing.T) {
	for _, text := range []string{"", "secret", MD5Hex("x") + "0", strings.ToUpper(MD5Hex("x")), strings.Repeat("g", 32)} {
		if _, err := newHasher(t, cheap).Hash(t.Context(), text); !errors.Is(err, ErrNotMD5Hex) {
			t.Errorf("Hash(%q): %v", text, err)
		}
	}
}

func TestAStoredHashOutsideTheBoundsIsRefusedBeforeItCosts(t *testing.T) {
	const salt, sum = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for name, phc := range map[string]string{
		"empty":                   "",
		"plain md5":               MD5Hex("x"),
		"argon2i":                 "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"old version":             "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum,
		"no version":              "$argon2id$m=64,t=1,p=1$" + salt + "$" + sum,
		"terabytes of memory":     "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + sum,
		"one KiB too much":        "$argon2id$v=19$m=262145,t=1,p=1$" + salt + "$" + sum,
		"memory beyond 32 bits":   "$argon2id$v=19$m=4294967360,t=1,p=1$" + salt + "$" + sum,
		"no memory":               "$argon2id$v=19$m=0,t=1,p=1$" + salt + "$" + sum,
		"no iterations":           "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum,
		"a thousand iterations":   "$argon2id$v=19$m=64,t=1000,p=1$" + salt + "$" + sum,
		"many lanes":              "$argon2id$v=19$m=64,t=1,p=200$" + salt + "$" + sum,
		"parameters out of order": "$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + sum,
		"signed number":           "$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + sum,
		"leading zero":            "$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + sum,
		"short salt":              "$argon2id$v=19$m=64,t=1,p=1$AAAA$" + sum,
		"no sum":                  "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"padded sum":              "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum + "=",
		"loose last bits":         "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum[:42] + "B",
		"one field more":          "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum + "$x",
		"too long":                "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("A", 400),
	} {
		ok, err := newHasher(t, cheap).Verify(t.Context(), MD5Hex("x"), phc)
		if ok || (!errors.Is(err, ErrHash) && !errors.Is(err, ErrCost)) {
			t.Errorf("%s: Verify = %v, %v", name, ok, err)
		}
	}
}

func TestAnyTextIsReadWithoutPanicAndWhatIsReadIsWrittenBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(),
			rapid.StringMatching(`\$argon2id\$v=19\$m=[0-9]{1,6},t=[0-9]{1,2},p=1\$[A-Za-z0-9+/]{11,30}\$[A-Za-z0-9+/]{22,60}`)).Draw(t, "text")
		if p, err := parsePHC(text); err == nil && p.String() != text {
			t.Fatalf("%q is written back as %q", text, p)
		}
	})
}

func TestParseCost(t *testing.T) {
	for text, want := range map[string]Cost{
		"19456,2":                DefaultCost,
		" 64 , 1 ":               cheap,
		"8,1":                    {8, 1},
		"262144,16":              {262144, 16},
		"":                       {},
		"19456":                  {},
		"19456,2,1":              {},
		"-1,2":                   {},
		"7,1":                    {},
		"262145,2":               {},
		"19456,0":                {},
		"19456,17":               {},
		"lots,2":                 {},
		"99999999999999999999,2": {},
	} {
		got, err := ParseCost(text)
		if got != want || (err == nil) != (want != Cost{}) {
			t.Errorf("ParseCost(%q) = %v, %v; want %v", text, got, err, want)
		}
		if err != nil {
			if !errors.Is(err, ErrCost) || !strings.Contains(err.Error(), "password-cost") || !strings.Contains(err.Error(), `"`+text+`"`) ||
				!strings.Contains(err.Error(), "19456,2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("ParseCost(%q) does not say option, value and mend in a sentence: %v", text, err)
			}
		}
		if err == nil {
			if back, err := ParseCost(got.String()); back != got || err != nil {
				t.Errorf("%v is read back as %v, %v", got, back, err)
			}
		}
	}
	if _, err := NewHasher(Cost{}); !errors.Is(err, ErrCost) {
		t.Errorf("a hasher of no cost: %v", err)
	}
}

func TestVerifyNobodyCostsWhatAVerifyCosts(t *testing.T) {
	h := newHasher(t, Cost{MemoryKiB: 1024, Iterations: 1})
	phc, err := h.Hash(t.Context(), MD5Hex("x"))
	if err != nil {
		t.Fatal(err)
	}
	// The work is told by its memory, which unlike its time is the same on a busy machine.
	known := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Verify(b.Context(), MD5Hex("guess"), phc)
		}
	}).AllocedBytesPerOp()
	unknown := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.VerifyNobody(b.Context(), MD5Hex("guess"))
		}
	}).AllocedBytesPerOp()
	if unknown < 1<<20 || known < 1<<20 || unknown > known+4096 || known > unknown+4096 {
		t.Errorf("a check takes %d bytes for a known name, %d for an unknown one", known, unknown)
	}
}

func TestChecksWaitForACoreAndGiveUpWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(t, cheap)
		for range cap(h.slots) {
			h.slots <- struct{}{} // every core is busy
		}
		gone := errors.New("client is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		var hashErr, verifyErr, nobodyErr error
		wg.Go(func() { _, hashErr = h.Hash(ctx, MD5Hex("x")) })
		wg.Go(func() { _, verifyErr = h.Verify(ctx, MD5Hex("x"), h.dummy.String()) })
		wg.Go(func() { nobodyErr = h.VerifyNobody(ctx, MD5Hex("x")) })
		served := false
		wg.Go(func() {
			ok, err := h.Verify(t.Context(), MD5Hex("x"), h.dummy.String())
			served = err == nil && !ok
		})
		synctest.Wait()
		if served {
			t.Error("a check ran beyond the number of cores")
		}
		cancel(gone)
		synctest.Wait()
		<-h.slots
		wg.Wait()
		for _, err := range []error{hashErr, verifyErr, nobodyErr} {
			if !errors.Is(err, gone) {
				t.Errorf("a check without its client ended with %v", err)
			}
		}
		if !served {
			t.Error("a check that waited was not served")
		}
		if len(h.slots) != cap(h.slots)-1 {
			t.Errorf("%d of %d cores are held after the checks", len(h.slots), cap(h.slots))
		}
		if err := h.VerifyNobody(ctx, MD5Hex("x")); !errors.Is(err, gone) {
			t.Errorf("a check ran for a client that was gone: %v", err)
		}
	})
}

func BenchmarkVerifyDefaultCost(b *testing.B) {
	h := newHasher(b, DefaultCost)
	b.ReportAllocs()
	for b.Loop() {
		h.VerifyNobody(b.Context(), MD5Hex("x"))
	}
}

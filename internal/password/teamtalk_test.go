package password

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestAHashOfTeamTalkVerifies(t *testing.T) {
	h := newHasher(t, cheap)
	// The sum is from TeamTalk's own setup: password 12345, salt 1234.
	stored, err := TeamTalkHash("1234", "e63d43d38a008d9ca3cfdef06f6ac223")
	if err != nil || stored != "$teamtalk$1234$e63d43d38a008d9ca3cfdef06f6ac223" {
		t.Fatalf("%q, %v", stored, err)
	}
	if !Outdated(stored) {
		t.Error("not outdated")
	}
	for text, want := range map[string]bool{
		MD5Hex("12345"): true, MD5Hex("12346"): false, "12345": false, "": false,
		"e63d43d38a008d9ca3cfdef06f6ac223": false, strings.ToUpper(MD5Hex("12345")): false,
	} {
		if got, err := h.Verify(t.Context(), text, stored); err != nil || got != want {
			t.Errorf("Verify(%q) = %v, %v", text, got, err)
		}
	}
	// A salt may hold anything, and may be missing.
	for _, c := range []struct{ salt, sum string }{{"a$b", "59e8a4eb2a3b3e1b8e6a9b7d1c2f3a4b"}, {"", "59e8a4eb2a3b3e1b8e6a9b7d1c2f3a4b"}} {
		odd, err := TeamTalkHash(c.salt, c.sum)
		if err != nil {
			t.Errorf("salt %q: %v", c.salt, err)
		}
		if ok, err := h.Verify(t.Context(), MD5Hex("12345"), odd); ok || err != nil {
			t.Errorf("salt %q: Verify = %v, %v", c.salt, ok, err)
		}
	}
	ours, err := h.Hash(t.Context(), MD5Hex("12345"))
	if err != nil || Outdated(ours) {
		t.Errorf("our own hash is outdated (%v)", err)
	}
}

func TestAnythingElseIsNoHashOfTeamTalk(t *testing.T) {
	h := newHasher(t, cheap)
	for _, stored := range []string{
		"$teamtalk$", "$teamtalk$1234", "$teamtalk$1234$", "$teamtalk$1234$e63d43d38a008d9ca3cfdef06f6ac22",
		"$teamtalk$1234$E63D43D38A008D9CA3CFDEF06F6AC223", "$teamtalk$" + strings.Repeat("x", 65) + "$e63d43d38a008d9ca3cfdef06f6ac223",
	} {
		if ok, err := h.Verify(t.Context(), MD5Hex("12345"), stored); ok || !errors.Is(err, ErrHash) {
			t.Errorf("%q: Verify = %v, %v", stored, ok, err)
		}
	}
	if _, err := TeamTalkHash("1234", "no"); !errors.Is(err, ErrHash) {
		t.Errorf("a sum that is none: %v", err)
	}
}

// A quick check would tell which accounts are still to be guessed quickly. The costs lie so far apart that no scheduling
// makes up for the difference.
func TestAHashOfTeamTalkCostsWhatAnyCosts(t *testing.T) {
	h := newHasher(t, Cost{MemoryKiB: 1024, Iterations: 1})
	stored, err := TeamTalkHash("1234", "e63d43d38a008d9ca3cfdef06f6ac223")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := h.Hash(t.Context(), MD5Hex("12345"))
	if err != nil {
		t.Fatal(err)
	}
	// The work is told by its memory, which unlike its time is the same on a busy machine.
	work := func(text, stored string) int64 {
		return testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.Verify(b.Context(), text, stored)
			}
		}).AllocedBytesPerOp()
	}
	own := work(MD5Hex("no"), ours)
	for _, text := range []string{MD5Hex("12345"), MD5Hex("no")} {
		if took := work(text, stored); took < 1<<20 || took > own+4096 || own > took+4096 {
			t.Errorf("Verify(%q) takes %d bytes, of a hash of our own %d", text, took, own)
		}
	}
	// It waits for a core like the others.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Verify(ctx, MD5Hex("12345"), stored); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
}

package password

import (
	"slices"
	"strings"
	"testing"
)

func TestUnusableHashIsReadAndFitsNothing(t *testing.T) {
	h, err := NewHasher(Cost{MemoryKiB: 64, Iterations: 1})
	if err != nil {
		t.Fatal(err)
	}
	a, b := h.Unusable(), h.Unusable()
	if a == b {
		t.Error("two unusable hashes are the same")
	}
	usable, err := h.Hash(t.Context(), MD5Hex(""))
	if err != nil {
		t.Fatal(err)
	}
	like, have := strings.Split(usable, "$"), strings.Split(a, "$")
	if len(a) != len(usable) || !slices.Equal(have[:4], like[:4]) {
		t.Errorf("%q can be told from %q", a, usable)
	}
	for _, text := range []string{MD5Hex(""), MD5Hex("password"), "", "!"} {
		if ok, err := h.Verify(t.Context(), text, a); ok || err != nil {
			t.Errorf("%q: %v, %v", text, ok, err)
		}
	}
}

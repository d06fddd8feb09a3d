package bus_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
)

func TestASecretIsMadeOnceAndStays(t *testing.T) {
	dir := t.TempDir()
	k := bustest.New(t, bustest.WithDir(dir))
	var wg sync.WaitGroup
	got := make([][]byte, 8)
	for i := range got {
		wg.Go(func() {
			s, err := k.Secret(t.Context(), "resume")
			if err != nil {
				t.Error(err)
			}
			got[i] = s
		})
	}
	wg.Wait()
	for _, s := range got {
		if len(s) != bus.SecretSize || !bytes.Equal(s, got[0]) || bytes.Equal(s, make([]byte, bus.SecretSize)) {
			t.Fatalf("secrets %x", got)
		}
	}
	other, err := k.Secret(t.Context(), "other")
	if err != nil || bytes.Equal(other, got[0]) {
		t.Errorf("another name: %x, %v", other, err)
	}
	if _, err := k.Secret(t.Context(), "a.b"); err == nil {
		t.Error("a name of two tokens was taken")
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	again := bustest.New(t, bustest.WithDir(dir))
	if s, err := again.Secret(t.Context(), "resume"); err != nil || !bytes.Equal(s, got[0]) {
		t.Errorf("after a restart: %x, %v", s, err)
	}
}

func TestAnOldSecretIsRenewedAndTheOneBeforeStaysValid(t *testing.T) {
	k := bustest.New(t)
	secrets := func(maxAge time.Duration) [][]byte {
		t.Helper()
		all, err := k.Secrets(t.Context(), "resume", maxAge)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	first := secrets(time.Hour)
	if len(first) != 1 {
		t.Fatalf("%d secrets at first", len(first))
	}
	if same := secrets(time.Hour); len(same) != 1 || !bytes.Equal(same[0], first[0]) {
		t.Fatal("renewed before its time")
	}
	time.Sleep(2 * time.Millisecond)
	second := secrets(time.Millisecond)
	if len(second) != 2 || bytes.Equal(second[0], first[0]) || !bytes.Equal(second[1], first[0]) {
		t.Fatalf("renewed: %x, before %x", second, first)
	}
	if same := secrets(0); len(same) != 2 || !bytes.Equal(same[0], second[0]) {
		t.Fatal("without an age it was renewed")
	}
	time.Sleep(2 * time.Millisecond)
	third := secrets(time.Millisecond)
	if len(third) != 2 || !bytes.Equal(third[1], second[0]) || bytes.Equal(third[0], second[0]) {
		t.Fatalf("renewed again: %x, before %x", third, second)
	}
}

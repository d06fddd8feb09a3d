package bus_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
)

// small mounts a file system of so many bytes, where that is permitted.
func small(t *testing.T, size int) (dir string, free func() (uint64, error)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("can't mount a small file system here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, func() (uint64, error) {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		return st.Bavail * uint64(st.Bsize), err
	}
}

// The disk is full before the guard has seen it: the server's store freezes, and
// thaws only by the restart that comes with room.
func TestAFullDiskLosesNothingThatWasAcked(t *testing.T) {
	for _, d := range []bus.Durability{bus.Disk, bus.OS} {
		t.Run(string(d), func(t *testing.T) {
			dir, free := small(t, 64<<20)
			k := bustest.New(t, bustest.WithDir(filepath.Join(dir, "log")),
				bustest.Partitions(2), bustest.WithConfig(func(c *bus.Config) { c.Durability, c.MinFree = d, 8<<20 }))
			filler := filepath.Join(dir, "filler")
			if err := os.WriteFile(filler, make([]byte, 48<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			w := k.NewWriter(life())
			body := strings.Repeat("x", 200<<10)
			var acked atomic.Int64
			var want []string
			var last *fate
			for i := 0; !errors.Is(k.Healthy(), bus.ErrFrozen) && i < 150; i++ { // a late answer is unhealthy as well
				last = newFate()
				name := fmt.Sprint(i, " ", body)
				if err := w.Append(conv, message(name), counting{last, &acked}); err != nil {
					t.Fatal(err)
				}
				want = append(want, name)
			}
			bustest.Eventually(t, "the store frozen", func() bool { return errors.Is(k.Healthy(), bus.ErrFrozen) })
			k.SetFree(free) // now the guard sees it as well
			bustest.Eventually(t, "low space seen", func() bool { return errors.Is(k.Healthy(), bus.ErrLowSpace) })
			t.Logf("frozen with %d of %d acked", acked.Load(), len(want))
			if int(acked.Load()) == len(want) {
				t.Fatal("the fault did not take place")
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if _, err := last.wait(t); err != nil {
				t.Fatal(err)
			}
			if k.Stats().ServerRestarts == 0 {
				t.Error("the server was not restarted")
			}
			got := counted(records(t, k.Bus, conv))
			if len(got) != len(want) {
				t.Fatalf("%d events, want %d", len(got), len(want))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("event %d is another one", i)
				}
			}
			bustest.Eventually(t, "healthy again", func() bool { return k.Healthy() == nil })
		})
	}
}

// counting is a ticket that also counts what was acknowledged.
type counting struct {
	*fate
	acked *atomic.Int64
}

func (c counting) Stored(seq uint64) {
	c.acked.Add(1)
	c.fate.Stored(seq)
}

// The guard refuses before the disk is full, and the server never meets the error.
func TestTheGuardHoldsAppendsBeforeTheDiskIsFull(t *testing.T) {
	dir, free := small(t, 64<<20)
	k := bustest.New(t, bustest.WithDir(filepath.Join(dir, "log")), bustest.Partitions(2),
		bustest.WithConfig(func(c *bus.Config) { c.MinFree = 16 << 20 }))
	k.SetFree(free)
	w := k.NewWriter(life())
	write(t, w, 0, 3)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 52<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "low space seen", func() bool { return errors.Is(k.Healthy(), bus.ErrLowSpace) })
	sent := k.Attempts.Load()
	f := newFate()
	if err := w.Append(conv, message("3"), f); err != nil {
		t.Fatal(err)
	}
	if k.Attempts.Load() != sent {
		t.Error("something was sent")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := f.wait(t); err != nil {
		t.Fatal(err)
	}
	if k.Stats().ServerRestarts != 0 {
		t.Error("the server was restarted for nothing")
	}
}

// A bucket may meet the full disk when no append does; leases work again afterwards.
func TestAFrozenBucketThaws(t *testing.T) {
	dir, free := small(t, 48<<20)
	k := bustest.New(t, bustest.WithDir(filepath.Join(dir, "log")), bustest.Partitions(2),
		bustest.WithConfig(func(c *bus.Config) { c.MinFree = 8 << 20 }))
	k.SetFree(free)
	l, err := k.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 { // their renewals soon fill the last page the bucket has
		if _, err := k.AcquireLease(t.Context(), fmt.Sprint("other-", i)); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for _, err = f.Write(make([]byte, 1<<20)); err == nil; _, err = f.Write(make([]byte, 1<<10)) {
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the bucket frozen", func() bool { return errors.Is(k.Healthy(), bus.ErrFrozen) })
	if k.Stats().ServerRestarts != 0 {
		t.Error("restarted without room")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	renewed := func() time.Time {
		all, err := k.Leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at := all[slices.IndexFunc(all, func(i bus.LeaseInfo) bool { return i.Name == "people" })].Renewed
		return at
	}
	bustest.Eventually(t, "the bucket thawed", func() bool { return k.Stats().ServerRestarts > 0 && k.Healthy() == nil })
	was := renewed()
	bustest.Eventually(t, "renewed again", func() bool { return renewed().After(was) })
	select {
	case <-l.Lost():
		t.Error("the lease was lost, though nobody else took it")
	default:
	}
}

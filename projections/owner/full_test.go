package owner

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/projections/view"
	"godwit/schema/event"
)

// fullDisk is a small disk, and what fills it up; gone, there is room again.
func fullDisk(t *testing.T) (dir string, fill func() (ballast string)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("skipped: a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, func() string {
		ballast, err := os.Create(filepath.Join(dir, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = ballast.Write(make([]byte, 4096))
		}
		ballast.Close()
		return ballast.Name()
	}
}

// much writes twice what a view holds in memory: one part is being committed, one waits
// for it.
func much(t *testing.T, w *bus.Writer, s event.Stream) {
	t.Helper()
	for i := range 3 * view.CommitEvents {
		last := make(ticket, 1)
		if err := w.Append(s, text(1, 2, "hello"), last); err != nil {
			t.Fatal(err)
		}
		if i%500 == 499 {
			if err := <-last; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Where there are others, a process whose disk is full leaves to them what it fans out, as
// what it says to nodes waits with its fold.
func TestAFullDiskLeavesTheStreamsToOthers(t *testing.T) {
	dir, fill := fullDisk(t)
	at := bustest.Server(t)
	a := projectorOn(t, at, "a", func(c *Config) { c.Dir = dir })
	settled(t, a.Process)
	b := projectorOn(t, at, "b")
	bustest.Eventually(t, "two share", func() bool { return shared(a, b) })
	s := event.Direct(1, 2).Stream(a.bus.Partitions())
	ballast := fill()
	much(t, b.kit.NewWriter(event.ID{1}), s)
	bustest.Eventually(t, "the other owns everything", func() bool { return len(b.owned()) == 6 })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "they share again", func() bool { return shared(a, b) })
}

// A process whose disk is full ends when it is told to, though a fold that waits for room
// stands in the way of giving its lease up.
func TestAProcessWithAFullDiskEnds(t *testing.T) {
	dir, fill := fullDisk(t)
	k := bustest.New(t, bustest.Partitions(1))
	p, err := Open(t.Context(), Config{Bus: k.Bus, Dir: dir, Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	settled(t, p)
	ballast := fill()
	s := event.ConversationStream(0)
	st := p.stream(s)
	much(t, k.NewWriter(event.ID{1}), s)
	stands := 0
	bustest.Eventually(t, "the fold waits for room", func() bool {
		stands++
		if st.view.Healthy() == nil {
			stands = 0
		}
		if st.mu.TryLock() {
			st.mu.Unlock()
			stands = 0
		}
		return stands > 20
	})
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("it does not end")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

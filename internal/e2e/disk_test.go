package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
)

// smallDisk mounts a file system of so many bytes, or skips the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("skipped: a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill writes a file until the file system has no more than so many bytes left.
func fill(t *testing.T, dir string, leave uint64) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		free := st.Bavail * uint64(st.Bsize)
		if free <= leave {
			return ballast
		}
		if _, err := f.Write(make([]byte, min(1<<20, free-leave))); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return ballast
			}
			t.Fatal(err)
		}
	}
}

// until asks /readyz again and again until it says what is wanted.
func (s *server) until(t *testing.T, status int) (text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, text := s.ready(t)
		if got == status {
			return text
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("/readyz is %d %s, waited for %d\n%s", got, text, status, s.Out.Tail())
		}
	}
}

// starved drives two writers into a disk that takes nothing more, and out again: no
// ack while it is full, readiness off and an error in the log that says why; then
// everything is acked late, in order, and nothing acked is missing.
func starved(t *testing.T, disk string, s *server, leave uint64, words ...string) {
	t.Helper()
	w := e2etest.NewWorld(t, random(t).Uint64())
	w.Populate(s.register(t, 2), 32)
	w.Each(func(p *e2etest.Person) error { return p.Connect(s.Clients) })
	w.Each(func(p *e2etest.Person) error { return p.Sync(true) })
	w.Each(func(p *e2etest.Person) error { return p.TalkOn() })
	w.Await(50, s)

	ballast := fill(t, disk, leave)
	reason := s.until(t, http.StatusServiceUnavailable)
	t.Logf("not ready: %s", strings.TrimSpace(reason))
	if _, err := s.Out.Find(words...); err != nil {
		t.Error(err)
	}
	// What was on its way when the disk filled may still be told; after that, nothing.
	before := w.Stalled(t)
	if w.InFlight() == 0 {
		t.Error("nothing was in flight while the disk was full")
	}
	if status, text := s.ready(t); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz became %d %s though the disk is full", status, text)
	}
	if now := w.AckedSoFar(); now != before {
		t.Errorf("%d sends were acked on a full disk", now-before)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.until(t, http.StatusOK)
	revive(t, w, s)
	w.Await(50, s)
	w.Quiet(s)
	w.Settle()
	w.Audit()
	for _, p := range w.People {
		p.Leave()
	}
}

// revive logs those in again whose connection has ended, as clients do; what they
// had in flight goes out again.
func revive(t *testing.T, w *e2etest.World, s *server) {
	t.Helper()
	for _, p := range w.People {
		select {
		case <-p.Session.Done:
			p.Leave()
			if err := errors.Join(p.Connect(s.Clients), p.Sync(false), p.TalkOn()); err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
}

// TestDiskFull fills the disk to the last byte, so that the log's store meets the
// error itself and freezes.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t, "96m")
	s := start(t, filepath.Join(disk, "data"), "--min-free", "1")
	starved(t, disk, s, 0, "level=ERROR")
	s.stop(t)
	verify(t, filepath.Join(disk, "data"))
}

// TestLowSpaceGuard leaves less than --min-free, which the bus refuses before the
// store meets an error.
func TestLowSpaceGuard(t *testing.T) {
	disk := smallDisk(t, "96m")
	s := start(t, filepath.Join(disk, "data"), "--min-free", "16777216")
	starved(t, disk, s, 8<<20, "level=ERROR", "free")
	s.stop(t)
	verify(t, filepath.Join(disk, "data"))
}

// TestDiskFullThenKilled kills the server on a full disk: it does not come up as if
// nothing were wrong, and with room again it has everything that was acked.
func TestDiskFullThenKilled(t *testing.T) {
	disk := smallDisk(t, "96m")
	data := filepath.Join(disk, "data")
	s := start(t, data, "--min-free", "1")
	w := e2etest.NewWorld(t, random(t).Uint64())
	w.Populate(s.register(t, 2), 32)
	w.Each(func(p *e2etest.Person) error { return p.Connect(s.Clients) })
	w.Each(func(p *e2etest.Person) error { return p.Sync(true) })
	w.Each(func(p *e2etest.Person) error { return p.TalkOn() })
	w.Await(50, s)
	ballast := fill(t, disk, 0)
	s.until(t, http.StatusServiceUnavailable)
	s.Kill()
	for _, p := range w.People {
		p.Leave()
	}
	w.Check()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}

	s = start(t, data, "--min-free", "1")
	w.Each(func(p *e2etest.Person) error { return p.Connect(s.Clients) })
	w.Each(func(p *e2etest.Person) error { return p.Sync(true) })
	w.Each(func(p *e2etest.Person) error { return p.TalkOn() })
	w.Await(50, s)
	w.Quiet(s)
	w.Settle()
	w.Audit()
	for _, p := range w.People {
		p.Leave()
	}
	s.stop(t)
	verify(t, data)
}

// TestReadOnlyDataDir starts on a directory that cannot be written: the program
// ends with an error that names it, and is never ready.
func TestReadOnlyDataDir(t *testing.T) {
	disk := smallDisk(t, "96m")
	data := filepath.Join(disk, "data")
	s := start(t, data)
	s.register(t, 2)
	s.stop(t)
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=96m"); err != nil {
		t.Skipf("skipped: the file system cannot be made read-only: %v", err)
	}
	s = launch(t, nil, data)
	select {
	case <-s.Gone:
	case <-time.After(e2etest.Patience):
		t.Fatalf("still there after %v on a read-only directory:\n%s", e2etest.Patience, s.Out.Tail())
	}
	if s.Err == nil {
		t.Error("ended without an error on a read-only directory")
	}
	if s.Out.Count("ready", "clients=") > 0 {
		t.Error("said it was ready on a read-only directory")
	}
	if s.Out.Count("read-only") == 0 || s.Out.Count(data) == 0 {
		t.Errorf("the error does not name the directory and what is wrong with it:\n%s", s.Out.Tail())
	}
}

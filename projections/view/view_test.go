package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/bus"
	"godwit/schema/event"
)

// counting is a fold that counts events by their times: row at -> how often, and a
// bucket per hundred. It panics on request, as on a broken page.
type counting struct {
	format uint32
	panics bool
}

func (c *counting) Name() string         { return "counting" }
func (c *counting) Format() uint32       { return max(c.format, 1) }
func (c *counting) Stream() event.Stream { return event.People }
func (c *counting) Buckets() []string    { return []string{"count", "by-*"} }

func (c *counting) Apply(tx *Tx, sequence uint64, rec *event.Record) []Effect {
	if c.panics {
		panic("page 7 makes no sense")
	}
	for _, ev := range rec.Events {
		key := be.AppendUint64(nil, uint64(ev.At))
		n := uint64(0)
		if old := tx.Get("count", key); old != nil {
			n = be.Uint64(old)
		}
		tx.Put("count", key, be.AppendUint64(nil, n+1))
		tx.Put(fmt.Sprint("by-", ev.At/100), key, []byte("x"))
	}
	return make([]Effect, len(rec.Events))
}

var (
	testLog    = event.ID{1}
	testWriter = event.ID{2}
)

func record(sequence uint64, at ...int64) bus.Recorded {
	rec := &event.Record{Writer: testWriter[:], N: sequence, Rule: event.Rule}
	for _, a := range at {
		rec.Events = append(rec.Events, &event.Event{At: a})
	}
	data, err := proto.Marshal(rec)
	if err != nil {
		panic(err)
	}
	return bus.Recorded{Sequence: sequence, Data: data}
}

func config(dir string) Config {
	return Config{Dir: dir, Fold: &counting{}, Log: testLog, BootID: "this boot"}
}

func open(t *testing.T, cfg Config) *View {
	t.Helper()
	v, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Abandon() })
	return v
}

func fold(t *testing.T, v *View, records ...bus.Recorded) {
	t.Helper()
	if _, err := v.Apply(records); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, v *View) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := v.WaitCommitted(ctx, v.Folded()); err != nil {
		t.Fatal(err)
	}
}

func countOf(t *testing.T, v *View, at int64) (n uint64) {
	t.Helper()
	err := v.Read(func(r *Reader) error {
		if row := r.Get("count", be.AppendUint64(nil, uint64(at))); row != nil {
			n = be.Uint64(row)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("timed out: ", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestFoldedRecordsAreCommittedBehindWithoutAsking(t *testing.T) {
	v := open(t, config(t.TempDir()))
	fold(t, v, record(1, 5), record(2, 5, 6))
	if v.Folded() != 2 {
		t.Fatalf("folded %d", v.Folded())
	}
	until(t, "a commit after 50 ms", func() bool { return v.Committed() == 2 })
	if n := countOf(t, v, 5); n != 2 {
		t.Fatalf("counted %d", n)
	}
}

func TestReadersSeeTheCommittedStateOnly(t *testing.T) {
	v := open(t, config(t.TempDir()))
	fold(t, v, record(1, 5))
	commit(t, v)
	var free atomic.Bool
	v.mu.Lock()
	v.beforeWrite = func() error {
		if free.Load() {
			return nil
		}
		return syscall.ENOSPC
	}
	v.mu.Unlock()
	fold(t, v, record(2, 5))
	err := v.Read(func(r *Reader) error {
		if r.Sequence() != 1 {
			t.Errorf("reader at %d", r.Sequence())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countOf(t, v, 5); n != 1 {
		t.Fatalf("counted %d", n)
	}
	free.Store(true)
	commit(t, v)
	if n := countOf(t, v, 5); n != 2 {
		t.Fatalf("counted %d", n)
	}
}

func TestAFailingCommitIsReportedRetriedAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	v := open(t, config(dir))
	var full atomic.Bool
	full.Store(true)
	v.mu.Lock()
	v.beforeWrite = func() error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}
	v.mu.Unlock()
	for n := range uint64(20) {
		fold(t, v, record(n+1, 7))
	}
	until(t, "an unhealthy view", func() bool { return errors.Is(v.Healthy(), syscall.ENOSPC) })
	for n := range uint64(20) { // on top of what waits to be committed
		fold(t, v, record(n+21, 7))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := v.WaitCommitted(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waited for what is not there: %v", err)
	}
	if v.Committed() != 0 || countOf(t, v, 7) != 0 {
		t.Fatalf("committed %d", v.Committed())
	}
	full.Store(false)
	commit(t, v)
	if err := v.Healthy(); err != nil {
		t.Fatal(err)
	}
	if n := countOf(t, v, 7); n != 40 {
		t.Fatalf("counted %d", n)
	}
}

func TestAFoldThatWaitsForTheDiskCanBeInterrupted(t *testing.T) {
	v := open(t, config(t.TempDir()))
	var full atomic.Bool
	full.Store(true)
	v.mu.Lock()
	v.beforeWrite = func() error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}
	v.mu.Unlock()
	var batch []bus.Recorded
	for n := range uint64(200) {
		batch = append(batch, record(n+1, make([]int64, 500)...))
	}
	done := make(chan error)
	go func() {
		_, err := v.Apply(batch)
		done <- err
	}()
	until(t, "a stuck fold", func() bool { return v.Folded() >= (maxOverlayEvents+500-1)/500 && v.Healthy() != nil })
	v.Interrupt()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Fatalf("interrupted: %v", err)
	}
	full.Store(false)
	folded := v.Folded()
	if err := v.WaitCommitted(t.Context(), folded); err != nil {
		t.Fatal(err)
	}
	if n := countOf(t, v, 0); n != folded*500 {
		t.Fatalf("counted %d of %d records", n, folded)
	}
}

func TestAFullOverlayMakesTheFoldWait(t *testing.T) {
	v := open(t, config(t.TempDir()))
	var full atomic.Bool
	full.Store(true)
	v.mu.Lock()
	v.beforeWrite = func() error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return nil
	}
	v.mu.Unlock()
	const records = 200 // of 500 events: far more than two overlays hold
	var batch []bus.Recorded
	for n := range uint64(records) {
		batch = append(batch, record(n+1, make([]int64, 500)...))
	}
	done := make(chan error)
	go func() {
		_, err := v.Apply(batch)
		done <- err
	}()
	until(t, "a stuck fold", func() bool { return v.Folded() >= (maxOverlayEvents+500-1)/500 && v.Healthy() != nil })
	select {
	case err := <-done:
		t.Fatalf("%d records went in: %v", v.Folded(), err)
	default:
	}
	full.Store(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	commit(t, v)
	if n := countOf(t, v, 0); n != records*500 {
		t.Fatalf("counted %d", n)
	}
}

func TestAWaitingFoldEndsWithTheView(t *testing.T) {
	v := open(t, config(t.TempDir()))
	v.mu.Lock()
	v.beforeWrite = func() error { return syscall.ENOSPC }
	v.mu.Unlock()
	var batch []bus.Recorded
	for n := range uint64(200) {
		batch = append(batch, record(n+1, make([]int64, 500)...))
	}
	done := make(chan error)
	go func() {
		_, err := v.Apply(batch)
		done <- err
	}()
	until(t, "a stuck fold", func() bool { return v.Healthy() != nil })
	if err := v.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("close: %v", err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Fatalf("apply: %v", err)
	}
}

func TestRecordsMustFollowEachOther(t *testing.T) {
	v := open(t, config(t.TempDir()))
	fold(t, v, record(1, 5))
	for _, seq := range []uint64{1, 3} {
		if _, err := v.Apply([]bus.Recorded{record(seq, 5)}); !errors.Is(err, ErrGap) {
			t.Fatalf("%d after 1: %v", seq, err)
		}
	}
	fold(t, v, record(2, 5))
	commit(t, v)
	if n := countOf(t, v, 5); n != 2 {
		t.Fatalf("counted %d", n)
	}
}

// written leaves a file with one record, closed cleanly or not.
func written(t *testing.T, dir string, clean bool) string {
	t.Helper()
	v := open(t, config(dir))
	fold(t, v, record(1, 5))
	commit(t, v)
	end := v.Abandon
	if clean {
		end = v.Close
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	return v.Path()
}

func TestWhichFilesAreTrusted(t *testing.T) {
	cases := []struct {
		name  string
		clean bool
		then  func(t *testing.T, cfg *Config, path string)
		kept  bool
	}{
		{name: "closed cleanly", clean: true, kept: true},
		{name: "killed", kept: true},
		{name: "closed cleanly, then a reboot", clean: true, kept: true,
			then: func(t *testing.T, cfg *Config, path string) { cfg.BootID = "next boot" }},
		{name: "killed, then a reboot",
			then: func(t *testing.T, cfg *Config, path string) { cfg.BootID = "next boot" }},
		{name: "closed cleanly, opened and killed, then a reboot", clean: true,
			then: func(t *testing.T, cfg *Config, path string) {
				if err := open(t, *cfg).Abandon(); err != nil {
					t.Fatal(err)
				}
				cfg.BootID = "next boot"
			}},
		{name: "of another format", clean: true,
			then: func(t *testing.T, cfg *Config, path string) { cfg.Fold = &counting{format: 2} }},
		{name: "of another log", clean: true,
			then: func(t *testing.T, cfg *Config, path string) { cfg.Log = event.ID{9} }},
		{name: "empty", clean: true, then: truncateTo(0)},
		{name: "cut off in a meta page", clean: true, then: truncateTo(5000)},
		{name: "cut off after the meta pages", clean: true, then: truncateTo(8192)},
		{name: "cut off near the end", clean: true, then: truncateTo(-4096)},
		{name: "overwritten with noise", clean: true,
			then: func(t *testing.T, cfg *Config, path string) {
				write(t, path, 0, bytes.Repeat([]byte("noise"), 10_000))
			}},
		{name: "with noise for all pages but the meta pages", clean: true,
			then: func(t *testing.T, cfg *Config, path string) {
				write(t, path, 8192, bytes.Repeat([]byte{0xff}, 100_000))
			}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t.TempDir())
			path := written(t, cfg.Dir, c.clean)
			if c.then != nil {
				c.then(t, &cfg, path)
			}
			v := open(t, cfg)
			if kept := v.Folded() == 1; kept != c.kept {
				t.Fatalf("opened at %d, kept %v, want %v", v.Folded(), kept, c.kept)
			}
			if v.Committed() != v.Folded() || v.Checkpoint().Sequence != v.Folded() {
				t.Fatalf("committed %d, checkpoint %d, folded %d", v.Committed(), v.Checkpoint().Sequence, v.Folded())
			}
			fold(t, v, record(v.Folded()+1, 5)) // it goes on from there
			commit(t, v)
			if n := countOf(t, v, 5); n != v.Folded() {
				t.Fatalf("counted %d of %d", n, v.Folded())
			}
		})
	}
}

func truncateTo(size int64) func(*testing.T, *Config, string) {
	return func(t *testing.T, cfg *Config, path string) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		to := size
		if to < 0 {
			to += info.Size()
		}
		if err := os.Truncate(path, to); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAnOlderCopyGoesOnFromWhereItIs(t *testing.T) {
	dir := t.TempDir()
	path := written(t, dir, true)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, config(dir))
	fold(t, v, record(2, 5), record(3, 5))
	commit(t, v)
	want, _, err := v.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	v = open(t, config(dir))
	if v.Folded() != 1 {
		t.Fatalf("opened at %d", v.Folded())
	}
	fold(t, v, record(2, 5), record(3, 5))
	commit(t, v)
	if got, _, err := v.Digest(); err != nil || got != want {
		t.Fatalf("digest %v (%v), want %v", got, err, want)
	}
}

// TestAFileInUseIsNotDropped runs itself as a second process.
func TestAFileInUseIsNotDropped(t *testing.T) {
	if dir := os.Getenv("VIEW_TEST_DIR"); dir != "" {
		_, err := Open(config(dir))
		fmt.Println("second process:", err)
		return
	}
	v := open(t, config(t.TempDir()))
	fold(t, v, record(1, 5))
	commit(t, v)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestAFileInUseIsNotDropped$")
	cmd.Env = append(os.Environ(), "VIEW_TEST_DIR="+filepath.Dir(v.Path()))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "open in another process") {
		t.Fatalf("%v: %s", err, out)
	}
	if n := countOf(t, v, 5); n != 1 {
		t.Fatalf("counted %d", n)
	}
}

func TestAPanicInTheFileBreaksTheViewUntilItIsReset(t *testing.T) {
	cfg := config(t.TempDir())
	c := &counting{}
	cfg.Fold = c
	v := open(t, cfg)
	fold(t, v, record(1, 5))
	commit(t, v)
	c.panics = true
	if _, err := v.Apply([]bus.Recorded{record(2, 5)}); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	c.panics = false
	for what, err := range map[string]error{
		"apply":   second(v.Apply([]bus.Recorded{record(2, 5)})),
		"read":    v.Read(func(*Reader) error { return nil }),
		"wait":    v.WaitCommitted(t.Context(), 5),
		"healthy": v.Healthy(),
	} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	epoch := event.ID{4}
	if err := v.Reset(epoch); err != nil {
		t.Fatal(err)
	}
	if v.Folded() != 0 || v.Epoch() != epoch || v.Healthy() != nil {
		t.Fatalf("folded %d, epoch %v, %v", v.Folded(), v.Epoch(), v.Healthy())
	}
	fold(t, v, record(1, 5), record(2, 5))
	commit(t, v)
	if n := countOf(t, v, 5); n != 2 {
		t.Fatalf("counted %d", n)
	}
}

func second(_ []Applied, err error) error { return err }

func TestAFaultInTheMappedFileIsAnError(t *testing.T) {
	v := open(t, config(t.TempDir()))
	for n := range uint64(200) {
		fold(t, v, record(n+1, int64(n*1000)))
	}
	commit(t, v)
	if err := os.Truncate(v.Path(), 8192); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Digest(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("read beyond the end: %v", err)
	}
	if err := v.Reset(event.ID{4}); err != nil {
		t.Fatal(err)
	}
	fold(t, v, record(1, 5))
	commit(t, v)
}

func TestResetFailsThoseWhoWaitAndSurvivesAReopen(t *testing.T) {
	dir := t.TempDir()
	v := open(t, config(dir))
	fold(t, v, record(1, 5))
	waiting := make(chan error)
	go func() { waiting <- v.WaitCommitted(t.Context(), 100) }()
	until(t, "a waiter", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return len(v.waiters) == 1
	})
	epoch := event.ID{4}
	if err := v.Reset(epoch); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, ErrReset) {
		t.Fatal(err)
	}
	until(t, "the epoch in the file", func() bool {
		var found event.ID
		if err := v.Read(func(r *Reader) error { found = r.Epoch(); return nil }); err != nil {
			t.Fatal(err)
		}
		return found == epoch
	})
	if err := v.Abandon(); err != nil {
		t.Fatal(err)
	}
	v = open(t, config(dir))
	if v.Epoch() != epoch || v.Folded() != 0 {
		t.Fatalf("epoch %v at %d", v.Epoch(), v.Folded())
	}
}

func TestTheDigestLeavesOutEpochBootAndCleanFlag(t *testing.T) {
	digest := func(cfg Config, epoch event.ID, end func(*View) error) Digest {
		v := open(t, cfg)
		v.SetEpoch(epoch)
		fold(t, v, record(1, 5))
		commit(t, v)
		if err := end(v); err != nil {
			t.Fatal(err)
		}
		v = open(t, cfg)
		d, at, err := v.Digest()
		if err != nil || at != 1 {
			t.Fatalf("digest at %d: %v", at, err)
		}
		if v.Epoch() != epoch {
			t.Fatalf("epoch %v", v.Epoch())
		}
		return d
	}
	a := digest(config(t.TempDir()), event.ID{3}, (*View).Close)
	other := config(t.TempDir())
	other.BootID = "another"
	if b := digest(other, event.ID{4}, (*View).Abandon); a != b {
		t.Fatalf("%v and %v", a, b)
	}
}

func TestADiskThatIsFullHoldsNothingBackForEver(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("no small file system can be made here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	v := open(t, config(dir))
	fold(t, v, record(1, 5))
	commit(t, v)
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the file system is not full")
	}
	const records = 2000
	var batch []bus.Recorded
	for n := range uint64(records - 1) {
		batch = append(batch, record(n+2, int64(n)))
	}
	fold(t, v, batch...)
	until(t, "a full disk", func() bool { return errors.Is(v.Healthy(), syscall.ENOSPC) })
	if n := countOf(t, v, 5); n != 1 {
		t.Fatalf("counted %d", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	commit(t, v)
	if n := countOf(t, v, 5); n != 2 {
		t.Fatalf("counted %d", n)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if v = open(t, config(dir)); v.Folded() != records {
		t.Fatalf("opened at %d", v.Folded())
	}
}

// scripted is a fold that does what a test tells it, one step per record.
type scripted struct {
	counting
	steps map[uint64]func(tx *Tx)
}

func (s *scripted) Apply(tx *Tx, sequence uint64, rec *event.Record) []Effect {
	s.steps[sequence](tx)
	return make([]Effect, len(rec.Events))
}

// TestOverlaysActLikeTheMapTheyStandFor runs drawn writes, deletes, drops, scans
// and commits against a plain map.
func TestOverlaysActLikeTheMapTheyStandFor(t *testing.T) {
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		s := &scripted{steps: make(map[uint64]func(*Tx))}
		cfg := config(dir)
		cfg.Fold = s
		v, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Abandon()
		gate := make(chan struct{}) // a commit passes when it is closed
		close(gate)
		v.mu.Lock()
		v.beforeWrite = func() error {
			v.mu.Lock()
			g := gate
			v.mu.Unlock()
			<-g
			return nil
		}
		v.mu.Unlock()
		hold := func() {
			v.mu.Lock()
			gate = make(chan struct{})
			v.kickCommit(true)
			v.mu.Unlock()
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Microsecond) {
				v.mu.Lock()
				in := v.com != nil
				v.mu.Unlock()
				if in {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("no commit began")
				}
			}
		}
		held := false
		release := func() {
			if held {
				v.mu.Lock()
				close(gate)
				v.mu.Unlock()
				held = false
			}
		}
		defer release()
		model := make(map[string]string)
		key := rapid.StringMatching("[ab]{1,3}")
		for seq := range uint64(rapid.IntRange(1, 40).Draw(t, "steps")) {
			k, value := key.Draw(t, "key"), rapid.StringN(0, 4, -1).Draw(t, "value")
			op := rapid.IntRange(0, 9).Draw(t, "op")
			s.steps[seq+1] = func(tx *Tx) {
				switch op {
				case 0:
					tx.Delete("count", []byte(k))
					delete(model, k)
				case 1:
					tx.DropBucket("count")
					clear(model)
				case 2, 3:
					var got []string
					for sk, sv := range tx.Scan("count", []byte(k)) {
						got = append(got, string(sk)+"="+string(sv))
						tx.Put("count", sk, sv) // a loop may write
					}
					var want []string
					for _, mk := range slices.Sorted(maps.Keys(model)) {
						if strings.HasPrefix(mk, k) {
							want = append(want, mk+"="+model[mk])
						}
					}
					if !slices.Equal(got, want) {
						t.Fatalf("scan %q: %q, want %q", k, got, want)
					}
				default:
					tx.Put("count", []byte(k), []byte(value))
					model[k] = value
				}
				for _, any := range []string{"a", "ab", k} {
					got := tx.Get("count", []byte(any))
					if want, ok := model[any]; ok != (got != nil) || string(got) != want {
						t.Fatalf("get %q: %q, want %q %v", any, got, want, ok)
					}
				}
			}
			if _, err := v.Apply([]bus.Recorded{record(seq+1, 1)}); err != nil {
				t.Fatal(err)
			}
			switch rapid.IntRange(0, 4).Draw(t, "commit") {
			case 1: // goes on beside a commit that takes its time
				if !held {
					hold()
					held = true
				}
			case 0:
				release()
				if err := v.WaitCommitted(context.Background(), seq+1); err != nil {
					t.Fatal(err)
				}
				got := make(map[string]string)
				_ = v.Read(func(r *Reader) error {
					for k, value := range r.Scan("count", nil) {
						got[string(k)] = string(value)
					}
					return nil
				})
				if !maps.Equal(got, model) {
					t.Fatalf("committed %q, want %q", got, model)
				}
			}
		}
	})
}

func TestReadersScanBothWays(t *testing.T) {
	v := open(t, config(t.TempDir()))
	fold(t, v, record(1, 10, 20, 30))
	commit(t, v)
	err := v.Read(func(r *Reader) error {
		collect := func(seq func(func(k, v []byte) bool)) (out []uint64) {
			for k := range seq {
				out = append(out, be.Uint64(k))
			}
			return out
		}
		key := func(n uint64) []byte { return be.AppendUint64(nil, n) }
		for _, c := range []struct {
			name      string
			got, want []uint64
		}{
			{"from a key", collect(r.ScanFrom("count", key(20))), []uint64{20, 30}},
			{"from between", collect(r.ScanFrom("count", key(11))), []uint64{20, 30}},
			{"from beyond", collect(r.ScanFrom("count", key(31))), nil},
			{"back from a key", collect(r.ScanBack("count", key(20))), []uint64{20, 10}},
			{"back from between", collect(r.ScanBack("count", key(29))), []uint64{20, 10}},
			{"back from beyond", collect(r.ScanBack("count", key(99))), []uint64{30, 20, 10}},
			{"back from before", collect(r.ScanBack("count", key(9))), nil},
			{"of no bucket", collect(r.ScanBack("nowhere", key(9))), nil},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOutcomesAreTheWritersOwnAndBounded(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.EffectsHeld = 4
	v := open(t, cfg)
	fold(t, v, record(1, 1, 1), record(2, 1), record(3, 1, 1), record(4, 1))
	commit(t, v)
	err := v.Read(func(r *Reader) error {
		if r.EffectsHeld() != 2 {
			t.Errorf("held from %d", r.EffectsHeld())
		}
		out, ok, err := r.Outcomes(testWriter, 1, 4, 10)
		if err != nil || !ok || len(out) != 4 || out[1].N != 3 || out[2].Index != 1 {
			t.Errorf("%v %v %v", out, ok, err)
		}
		if out, ok, _ := r.Outcomes(event.ID{8}, 1, 4, 10); !ok || len(out) != 0 {
			t.Errorf("another writer's: %v", out)
		}
		if _, ok, _ := r.Outcomes(testWriter, 0, 4, 10); ok {
			t.Error("a range that is not held")
		}
		if _, ok, _ := r.Outcomes(testWriter, 1, 4, 3); ok {
			t.Error("more than the limit")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A position that the stream has lost for good is handed over without data. It is a
// record like any other: its fingerprint is that of nothing, whatever the batches.
func TestLostPositionsAreFolded(t *testing.T) {
	lost := bus.Recorded{Sequence: 2}
	together, apart := open(t, config(t.TempDir())), open(t, config(t.TempDir()))
	fold(t, together, record(1, 5), lost)
	fold(t, apart, record(1, 5))
	if apart.Checkpoint().Fingerprint != bus.FingerprintOf(record(1, 5).Data) {
		t.Error("fingerprint of the record before")
	}
	fold(t, apart, lost)
	for _, v := range []*View{together, apart} {
		if cp := v.Checkpoint(); cp.Sequence != 2 || cp.Fingerprint != bus.FingerprintOf(nil) {
			t.Errorf("checkpoint %+v, want the fingerprint of nothing", cp)
		}
		fold(t, v, record(3, 6))
		commit(t, v)
	}
	a, _, err := together.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b, _, err := apart.Digest(); err != nil || a != b {
		t.Errorf("digests %v and %v, %v", a, b, err)
	}
}

package move_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/internal/datadir"
	"godwit/internal/move"
	"godwit/schema/event"
)

// A backup of servers in use, with what was added later, is restored to a directory: the same
// log, in which every stream begins another history.
func TestBackupAndRestore(t *testing.T) {
	move.SmallChunks(t, 100, 2000)
	url := bustest.Server(t)
	b := bustest.Start(t, bustest.At(url), bustest.Partitions(partitions))
	w := newWorld(t, b)
	w.populate()
	out := t.TempDir()
	store, err := b.Objects(t.Context(), bus.StoreConfig{Name: "pictures", MaxBytes: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	var files int
	for run := range 3 {
		w.talk(40)
		if run == 1 { // what was in the first backup is deleted
			if err := store.Delete(t.Context(), "picture 3"); err != nil {
				t.Fatal(err)
			}
		}
		r, err := move.BackUpServers(t.Context(), servers(t, url), out, move.Options{})
		if err != nil {
			t.Fatal(err)
		}
		c, at, err := move.Verify(t.Context(), out, nil)
		if err != nil || at.IsZero() || c.Files <= files {
			t.Fatalf("run %d: %+v %v %v", run, c, at, err)
		}
		files = c.Files
		for _, s := range r.Streams {
			if s.Name == "PEOPLE" && (s.New > 0) != (run == 0) {
				t.Errorf("run %d wrote %d entries of PEOPLE", run, s.New)
			}
		}
	}
	has := look(t, b)
	w.talk(5) // is not in the backup

	data := t.TempDir()
	r, err := move.RestoreToDirectory(t.Context(), out, data, bustest.Logger(t), move.Options{})
	if err != nil || !r.NewEpochs || !r.Verified {
		t.Fatalf("%+v %v", r, err)
	}
	restored := bustest.New(t, bustest.WithDir(natsOf(data)))
	has.equal(t, look(t, restored.Bus), false)
	newWorld(t, restored.Bus).talk(5) // and it can be written to
	if err := restored.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = move.RestoreToDirectory(t.Context(), out, data, bustest.Logger(t), move.Options{})
	if _, ok := errors.AsType[*move.AheadError](err); !ok {
		t.Errorf("over a log that has gone on: %v", err)
	}

	// To servers, broken off and run again.
	target := bustest.Server(t)
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := move.RestoreToServers(ctx, out, servers(t, target), move.Options{Progress: func(string, uint64, uint64) {
			if n++; n >= stop {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	has.equal(t, look(t, bustest.Start(t, bustest.At(target))), false)
}

// A backup of a log that lost its tail and went on otherwise is refused, and stays as it was.
func TestBackupOfAnOlderLog(t *testing.T) {
	dir := t.TempDir()
	k := bustest.New(t, bustest.WithDir(natsOf(dir)), bustest.Partitions(partitions))
	w := newWorld(t, k.Bus)
	w.populate()
	w.talk(20)
	s := event.ConversationStream(1)
	old := k.Copy(s)
	w.talk(20)
	out := t.TempDir()
	backUp := func() error {
		_, _, err := move.BackUpDirectory(t.Context(), dir, out, bustest.Logger(t), move.Options{})
		return err
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if err := backUp(); err != nil {
		t.Fatal(err)
	}
	k = bustest.New(t, bustest.WithDir(natsOf(dir)))
	k.RollBack(s, old)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*move.RolledBackError](backUp()); !ok || e.At <= e.Last {
		t.Errorf("of a log without its tail: %v", e)
	}
	k = bustest.New(t, bustest.WithDir(natsOf(dir)))
	newWorld(t, k.Bus).talk(100)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*move.RolledBackError](backUp()); !ok || e.At > e.Last {
		t.Errorf("of a log that went another way: %v", e)
	}
	if _, _, err := move.Verify(t.Context(), out, nil); err != nil {
		t.Error(err)
	}
	other, _ := laptop(t, 1)
	if _, _, err := move.BackUpDirectory(t.Context(), other, out, bustest.Logger(t), move.Options{}); err == nil || !strings.Contains(err.Error(), "give another directory") {
		t.Errorf("of another log: %v", err)
	}
}

// While its server writes, the files of an embedded log are copied and read: what was
// acknowledged before is in the backup, and no stream lacks anything.
func TestHotBackupOfADirectory(t *testing.T) {
	data := t.TempDir()
	d, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	k := bustest.New(t, bustest.WithDir(natsOf(data)), bustest.Partitions(partitions))
	w := newWorld(t, k.Bus)
	w.populate()
	w.talk(20)
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			w.talk(1)
		}
	})
	defer writing.Wait()
	defer stop()
	out := t.TempDir()
	for range 4 {
		acked := map[event.Stream]uint64{}
		for _, s := range k.Streams() {
			if acked[s], err = k.LastSequence(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		r, hot, err := move.BackUpDirectory(t.Context(), data, out, bustest.Logger(t), move.Options{})
		if err != nil || !hot {
			t.Fatal(hot, err)
		}
		for _, s := range r.Streams {
			for of, last := range acked {
				if of.String() == s.Name && s.Last < last {
					t.Errorf("%s: the backup ends at %d, %d was acknowledged before it began", s.Name, s.Last, last)
				}
			}
		}
		if _, _, err := move.Verify(t.Context(), out, nil); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(out, ".copy-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	stop()
	writing.Wait()
	if _, _, err := move.BackUpDirectory(t.Context(), data, out, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	has := look(t, k.Bus)
	restored := t.TempDir()
	if _, err := move.RestoreToDirectory(t.Context(), out, restored, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	has.equal(t, look(t, bustest.Start(t, bustest.WithDir(natsOf(restored)))), false)
}

// A run that breaks off leaves the backup before it good, and the next one goes on.
func TestBackupGoesOn(t *testing.T) {
	move.SmallChunks(t, 10, 300)
	data := t.TempDir()
	k := bustest.New(t, bustest.WithDir(natsOf(data)), bustest.Partitions(partitions))
	w := newWorld(t, k.Bus)
	w.populate()
	w.talk(10)
	d, err := datadir.Open(data) // the server is there
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out := t.TempDir()
	backUp := func(ctx context.Context, o move.Options) error {
		_, _, err := move.BackUpDirectory(ctx, data, out, bustest.Logger(t), o)
		return err
	}
	breakOff := func() {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		err := backUp(ctx, move.Options{Progress: func(string, uint64, uint64) {
			if n++; n == 5 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("it should have broken off: %v", err)
		}
	}
	breakOff()
	if _, _, err := move.Verify(t.Context(), out, nil); !errors.Is(err, move.ErrNoBackup) {
		t.Errorf("the half of a first backup: %v", err)
	}
	if err := backUp(t.Context(), move.Options{}); err != nil {
		t.Fatal(err)
	}
	before := look(t, k.Bus)
	w.talk(30)
	breakOff()
	restored := t.TempDir()
	if _, err := move.RestoreToDirectory(t.Context(), out, restored, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	before.equal(t, look(t, bustest.Start(t, bustest.WithDir(natsOf(restored)))), false)
	if err := backUp(t.Context(), move.Options{}); err != nil {
		t.Fatal(err)
	}
	after := look(t, k.Bus)
	restored = t.TempDir()
	if _, err := move.RestoreToDirectory(t.Context(), out, restored, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	after.equal(t, look(t, bustest.Start(t, bustest.WithDir(natsOf(restored)))), false)
}

// One wrong byte in any file is found before anything of the backup is elsewhere.
func TestDamagedBackup(t *testing.T) {
	dir, _ := laptop(t, 20)
	out := t.TempDir()
	if _, _, err := move.BackUpDirectory(t.Context(), dir, out, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	var files []string
	if err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Dir(path) != out {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) < 2+partitions {
		t.Fatalf("%d files", len(files))
	}
	damage := func(path string, change func([]byte) []byte) {
		t.Helper()
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		put := func(data []byte) {
			t.Helper()
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put(change(append([]byte(nil), whole...)))
		target := filepath.Join(t.TempDir(), "data")
		_, err = move.RestoreToDirectory(t.Context(), out, target, bustest.Logger(t), move.Options{})
		if !errors.Is(err, move.ErrDamaged) {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
			t.Error("the target was touched")
		}
		put(whole)
	}
	for _, path := range files {
		damage(path, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		damage(path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		damage(path, func(b []byte) []byte { return b[:len(b)-1] })
		damage(path, func(b []byte) []byte { return append(b, 0) })
	}
	if _, _, err := move.Verify(t.Context(), out, nil); err != nil {
		t.Error(err)
	}
	if _, _, err := move.Verify(t.Context(), t.TempDir(), nil); !errors.Is(err, move.ErrNoBackup) {
		t.Error(err)
	}
}

// A view of the time before a restore must not be taken for one of the time after, nor the token
// of a client: both hold epochs. A second restore of the same backup changes nothing, one of a newer
// backup begins another history again.
func TestRestoreBeginsAnotherHistory(t *testing.T) {
	dir, has := laptop(t, 10)
	out, target := t.TempDir(), t.TempDir()
	if _, _, err := move.BackUpDirectory(t.Context(), dir, out, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	seenAt := func() map[string]string {
		k := bustest.New(t, bustest.WithDir(natsOf(target)))
		s := look(t, k.Bus)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		return s.epochs
	}
	var first map[string]string
	for run := range 2 {
		if _, err := move.RestoreToDirectory(t.Context(), out, target, bustest.Logger(t), move.Options{}); err != nil {
			t.Fatal(err)
		}
		epochs := seenAt()
		for s, e := range epochs {
			if _, err := ulid.ParseStrict(e); err != nil || e == has.epochs[s] || (run == 1 && e != first[s]) {
				t.Errorf("run %d: %s has the epoch %s, had %s", run, s, e, has.epochs[s])
			}
		}
		first = epochs
	}
	k := bustest.New(t, bustest.WithDir(natsOf(dir)))
	newWorld(t, k.Bus).talk(5)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := move.BackUpDirectory(t.Context(), dir, out, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := move.RestoreToDirectory(t.Context(), out, target, bustest.Logger(t), move.Options{}); err != nil {
		t.Fatal(err)
	}
	for s, e := range seenAt() {
		if e == first[s] || e == has.epochs[s] {
			t.Errorf("after a newer backup %s still has the epoch %s", s, e)
		}
	}
}

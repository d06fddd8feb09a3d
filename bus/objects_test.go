package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
)

func openObjects(t *testing.T, b *bus.Bus, cfg bus.StoreConfig) *bus.Objects {
	t.Helper()
	o, err := b.Objects(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestObjectsAreKeptReplacedAndRemoved(t *testing.T) {
	b := bustest.Start(t)
	o := openObjects(t, b, bus.StoreConfig{Name: "files", MaxBytes: 8 << 20, Keep: time.Hour})
	ctx := t.Context()
	full, err := o.Room(ctx)
	if err != nil || full != 8<<20 {
		t.Fatalf("room of an empty store: %d, %v", full, err)
	}
	if _, _, err := o.Get(ctx, "a.0"); !errors.Is(err, bus.ErrNoObject) {
		t.Fatalf("nothing there: %v", err)
	}
	first, second := bytes.Repeat([]byte("one"), 100_000), bytes.Repeat([]byte{7}, bus.MaxObject)
	for _, want := range [][]byte{first, second, {}} {
		if err := o.Put(ctx, "a.0", want, map[string]string{"size": fmt.Sprint(len(want))}); err != nil {
			t.Fatal(err)
		}
		data, notes, err := o.Get(ctx, "a.0")
		if err != nil || !bytes.Equal(data, want) || notes["size"] != fmt.Sprint(len(want)) {
			t.Fatalf("got %d bytes, %v, %v; want %d", len(data), notes, err, len(want))
		}
	}
	if err := o.Put(ctx, "a.0", make([]byte, bus.MaxObject+1), nil); !errors.Is(err, bus.ErrTooLarge) {
		t.Fatalf("too large: %v", err)
	}
	if err := o.Put(ctx, "b.0", first, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.Delete(ctx, "a.0"); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := o.Get(ctx, "a.0"); !errors.Is(err, bus.ErrNoObject) {
		t.Fatalf("after its removal: %v", err)
	}
	if data, _, err := o.Get(ctx, "b.0"); err != nil || !bytes.Equal(data, first) {
		t.Fatalf("the other one: %d bytes, %v", len(data), err)
	}
	if err := o.Delete(ctx, "b.0"); err != nil {
		t.Fatal(err)
	}
	if room, err := o.Room(ctx); err != nil || room != full {
		t.Fatalf("what was replaced and removed still takes %d bytes, %v", full-room, err)
	}
}

func TestAFullStoreTakesNothingMoreAndLosesNothing(t *testing.T) {
	b := bustest.Start(t)
	o := openObjects(t, b, bus.StoreConfig{Name: "files", MaxBytes: 1 << 20})
	ctx, part := t.Context(), bytes.Repeat([]byte("x"), 300<<10)
	stored, err := 0, error(nil)
	for ; err == nil; stored++ {
		if stored > 4 {
			t.Fatal("a store of 1 MiB holds more than it may")
		}
		err = o.Put(ctx, fmt.Sprintf("f.%d", stored), part, nil)
	}
	if stored--; !errors.Is(err, bus.ErrNoRoom) || stored != 3 {
		t.Fatalf("after %d: %v", stored, err)
	}
	for i := range stored {
		if data, _, err := o.Get(ctx, fmt.Sprintf("f.%d", i)); err != nil || !bytes.Equal(data, part) {
			t.Fatalf("part %d: %d bytes, %v", i, len(data), err)
		}
	}
	if err := o.Delete(ctx, "f.0"); err != nil {
		t.Fatal(err)
	}
	if err := o.Put(ctx, "f.9", part, nil); err != nil {
		t.Fatalf("with room again: %v", err)
	}
}

func TestStoresKeepTheirContentsAndTakeNewLimits(t *testing.T) {
	dir := t.TempDir()
	cfg := bus.StoreConfig{Name: "pictures", MaxBytes: 1 << 20}
	open := func() *bustest.Kit { return bustest.New(t, bustest.WithDir(dir)) }
	k := open()
	o := openObjects(t, k.Bus, cfg)
	if err := o.Put(t.Context(), "p", []byte("kept"), nil); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.Get(t.Context(), "p"); !errors.Is(err, bus.ErrClosed) {
		t.Fatalf("closed: %v", err)
	}
	k = open()
	cfg.MaxBytes, cfg.Keep = 4<<20, time.Hour
	o = openObjects(t, k.Bus, cfg)
	if data, _, err := o.Get(t.Context(), "p"); err != nil || string(data) != "kept" {
		t.Fatalf("after a restart: %q, %v", data, err)
	}
	for i := range 5 {
		if err := o.Put(t.Context(), fmt.Sprint("more", i), make([]byte, 400<<10), nil); err != nil {
			t.Fatalf("within the larger limit: %v", err)
		}
	}
	// Another kind of stream in its place is not silently used.
	if _, err := k.Table(t.Context(), bus.StoreConfig{Name: "leases", MaxBytes: 1 << 20}); err == nil {
		t.Fatal("a table took the place of the leases")
	} else if ce, ok := errors.AsType[*bus.ConfigError](err); !ok || ce.Stream != "KV_leases" {
		t.Fatalf("error of a stream of another kind: %v", err)
	}
}

func TestObjectsEndWithTheirTime(t *testing.T) {
	b := bustest.Start(t)
	o := openObjects(t, b, bus.StoreConfig{Name: "files", MaxBytes: 1 << 20, Keep: time.Second})
	if err := o.Put(t.Context(), "short", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the object is gone", func() bool {
		_, _, err := o.Get(t.Context(), "short")
		return errors.Is(err, bus.ErrNoObject)
	})
	bustest.Eventually(t, "its room is free", func() bool {
		room, err := o.Room(t.Context())
		return err == nil && room == 1<<20
	})
}

func TestObjectsRespectTheFreeSpaceAndSurviveTheServer(t *testing.T) {
	k := bustest.New(t)
	o := openObjects(t, k.Bus, bus.StoreConfig{Name: "files", MaxBytes: 8 << 20})
	table, err := k.Table(t.Context(), bus.StoreConfig{Name: "transfers", MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Put(t.Context(), "before", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	k.SetFree(func() (uint64, error) { return 1, nil })
	bustest.Eventually(t, "the log is held", func() bool { return errors.Is(k.Healthy(), bus.ErrLowSpace) })
	if err := o.Put(t.Context(), "a", []byte("x"), nil); !errors.Is(err, bus.ErrLowSpace) {
		t.Fatalf("without space: %v", err)
	}
	if _, err := table.Put(t.Context(), "a", []byte("x"), 0); !errors.Is(err, bus.ErrLowSpace) {
		t.Fatalf("table without space: %v", err)
	}
	if _, _, err := o.Get(t.Context(), "before"); err != nil {
		t.Fatalf("reading without space: %v", err)
	}
	k.SetFree(nil)
	bustest.Eventually(t, "the log goes on", func() bool { return k.Healthy() == nil })
	k.Restart(nil)
	bustest.Eventually(t, "an object is stored after a restart", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return o.Put(ctx, "a", []byte("y"), nil) == nil
	})
	k.CutConnections()
	data, _, err := o.Get(t.Context(), "a")
	if err != nil || string(data) != "y" || k.Cuts.Load() == 0 || k.Restarts.Load() == 0 {
		t.Fatalf("after a restart and a cut: %q, %v", data, err)
	}
}

func TestTablesCompareAndSet(t *testing.T) {
	b := bustest.Start(t)
	ctx := t.Context()
	table, err := b.Table(ctx, bus.StoreConfig{Name: "transfers", MaxBytes: 64 << 10, Keep: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := table.Get(ctx, "t.1"); !errors.Is(err, bus.ErrNoObject) {
		t.Fatalf("nothing there: %v", err)
	}
	one, err := table.Put(ctx, "t.1", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Put(ctx, "t.1", []byte("other"), 0); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("made twice: %v", err)
	}
	two, err := table.Put(ctx, "t.1", []byte("two"), one)
	if err != nil || two <= one {
		t.Fatalf("revision %d after %d, %v", two, one, err)
	}
	if _, err := table.Put(ctx, "t.1", []byte("late"), one); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("by an old revision: %v", err)
	}
	if v, rev, err := table.Get(ctx, "t.1"); err != nil || string(v) != "two" || rev != two {
		t.Fatalf("got %q at %d, %v", v, rev, err)
	}
	for _, key := range []string{"u.7.b", "u.7.a", "u.70.c"} {
		if _, err := table.Put(ctx, key, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := table.Keys(ctx, "u.7"); err != nil || fmt.Sprint(keys) != "[u.7.a u.7.b]" {
		t.Fatalf("keys %v, %v", keys, err)
	}
	for range 2 {
		if err := table.Delete(ctx, "t.1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.Put(ctx, "t.1", []byte("anew"), 0); err != nil {
		t.Fatalf("after its removal: %v", err)
	}
	for _, key := range []string{"", "a..b", "a.*", "a b", ">", strings.Repeat("k", 300)} {
		if _, err := table.Put(ctx, key, nil, 0); err == nil {
			t.Errorf("key %q was taken", key)
		}
	}
	for i := 0; ; i++ {
		if i > 10 {
			t.Fatal("the table holds more than it may")
		}
		if _, err := table.Put(ctx, fmt.Sprint("big.", i), make([]byte, 16<<10), 0); err != nil {
			if !errors.Is(err, bus.ErrNoRoom) {
				t.Fatalf("full: %v", err)
			}
			break
		}
	}
}

func TestObjectsOutliveTheirLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	urls, stopLeader := bustest.Cluster(t)
	k := bustest.New(t, bustest.At(urls), bustest.WithConfig(func(c *bus.Config) { c.Partitions = 1 }))
	cfg := bus.StoreConfig{Name: "files", MaxBytes: 8 << 20, Keep: time.Hour}
	o := openObjects(t, k.Bus, cfg)
	if again := openObjects(t, k.Bus, cfg); again == nil {
		t.Fatal("opened once only")
	}
	st, err := jetStream(t, urls).Stream(t.Context(), "OBJ_files")
	if err != nil {
		t.Fatal(err)
	}
	if r := st.CachedInfo().Config.Replicas; r != 3 {
		t.Fatalf("%d replicas", r)
	}
	part := bytes.Repeat([]byte("z"), 100<<10)
	for i := range 10 {
		if i == 5 {
			stopLeader("OBJ_files")
		}
		// What is said to be stored has to stay; what is not may be tried again.
		bustest.Eventually(t, "the object is stored", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return o.Put(ctx, fmt.Sprint("o.", i), part, nil) == nil
		})
		if data, _, err := o.Get(t.Context(), fmt.Sprint("o.", i)); err != nil || !bytes.Equal(data, part) {
			t.Fatalf("right after it was stored: %d bytes, %v", len(data), err)
		}
	}
	for i := range 10 {
		if data, _, err := o.Get(t.Context(), fmt.Sprint("o.", i)); err != nil || !bytes.Equal(data, part) {
			t.Errorf("object %d: %d bytes, %v", i, len(data), err)
		}
	}
}

package move_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/internal/datadir"
	"godwit/internal/move"
	"godwit/schema/event"
)

// A moved log is the same log: records at their sequences, views that come to the same, and all
// that lies beside. Compare and set goes on where it was. The servers let init do all of it.
func TestMove(t *testing.T) {
	dir, has := laptop(t, 150)
	roles := bustest.NewRoles(t)
	url := bustest.Server(t, roles.Change)
	to := servers(t, url)
	to.NKeyFile = roles.Seed(bus.RoleInit)
	r, err := move.Move(t.Context(), dir, to, move.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Verified || r.NewEpochs || r.New() == 0 {
		t.Errorf("report %+v", r)
	}
	b := bustest.Start(t, roles.As(bus.RoleAll, url))
	has.equal(t, look(t, b), true)
	w := b.NewWriter(event.ToID(make([]byte, 16)))
	again := func(expect uint64) error {
		f := &fates{}
		f.Add(1)
		ev := &event.Event{At: 1, Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: "user-3"}}}
		if err := w.AppendCAS(event.People, bus.NameSubject("user-3"), expect, ev, f); err != nil {
			t.Fatal(err)
		}
		f.Wait()
		return errors.Join(f.errs...)
	}
	if err := again(0); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := again(4); err != nil { // the third person's record: 1 is the opening
		t.Errorf("a name at its sequence: %v", err)
	}
	if leases, err := b.Leases(t.Context()); err != nil || len(leases) > 0 {
		t.Errorf("leases %v, %v", leases, err)
	}
}

// A move that broke off anywhere goes on, and no server starts on the half of a log.
func TestMoveGoesOn(t *testing.T) {
	move.SmallChunks(t, 7, 1<<20)
	dir, has := laptop(t, 120)
	url := bustest.Server(t)
	broken := 0
	for stop := 1; ; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := move.Move(ctx, dir, servers(t, url), move.Options{Progress: func(string, uint64, uint64) {
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
		broken++
		if err := tryOpen(t, url); err == nil {
			t.Fatal("a server started on half a log")
		}
		if stop > 200 {
			t.Fatal("it never ends")
		}
	}
	if broken < 3 {
		t.Errorf("it broke off %d times only", broken)
	}
	has.equal(t, look(t, bustest.Start(t, bustest.At(url))), true)
	r, err := move.Move(t.Context(), dir, servers(t, url), move.Options{})
	if err != nil || r.New() != 0 {
		t.Errorf("once more: %d new, %v", r.New(), err)
	}
}

// A sequence that the source has lost for good is a position without events at the target.
func TestMoveWithLostRecords(t *testing.T) {
	dir, has := laptop(t, 30, func(k *bustest.Kit, w *world) {
		s := event.ConversationStream(0)
		old := k.Copy(s)
		w.talk(20)
		k.RollBackHole(s, old)
		w.talk(20)
	})
	lost := 0
	for _, p := range has.records[event.ConversationStream(0).String()] {
		if p == bus.FingerprintOf(nil) {
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("nothing was lost")
	}
	url := bustest.Server(t)
	if _, err := move.Move(t.Context(), dir, servers(t, url), move.Options{}); err != nil {
		t.Fatal(err)
	}
	has.equal(t, look(t, bustest.Start(t, bustest.At(url))), true)
}

func TestMoveRefuses(t *testing.T) {
	dir, _ := laptop(t, 20)
	try := func(url string, o move.Options) error {
		_, err := move.Move(t.Context(), dir, servers(t, url), o)
		return err
	}
	t.Run("a directory in use", func(t *testing.T) {
		d, err := datadir.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := try("nats://127.0.0.1:1", move.Options{}); err == nil || !strings.Contains(err.Error(), "stop it") || strings.Contains(err.Error(), "\n") {
			t.Error(err)
		}
	})
	t.Run("a directory without a log", func(t *testing.T) {
		if _, err := move.Move(t.Context(), t.TempDir(), servers(t, "nats://127.0.0.1:1"), move.Options{}); !errors.Is(err, move.ErrNoLog) {
			t.Error(err)
		}
	})
	t.Run("another log", func(t *testing.T) {
		url := bustest.Server(t)
		b := bustest.Start(t, bustest.At(url))
		before, err := b.Epoch(t.Context(), event.People)
		if err != nil {
			t.Fatal(err)
		}
		err = try(url, move.Options{})
		if _, ok := errors.AsType[*move.OtherLogError](err); !ok {
			t.Fatalf("into another log: %v", err)
		}
		if now, err := b.Epoch(t.Context(), event.People); err != nil || now != before {
			t.Errorf("a refused move has changed the epoch: %v", err)
		}
		newWorld(t, b).talk(1)
		if err := try(url, move.Options{ReplaceUnused: true}); !errors.Is(err, bus.ErrUsed) {
			t.Errorf("into another log in use: %v", err)
		}
	})
	t.Run("an unused log is replaced when asked", func(t *testing.T) {
		url := bustest.Server(t)
		if err := tryOpen(t, url); err != nil {
			t.Fatal(err)
		}
		// It has another number of partitions, too.
		if err := try(url, move.Options{ReplaceUnused: true}); err != nil {
			t.Fatal(err)
		}
		if b := bustest.Start(t, bustest.At(url)); b.Partitions() != partitions {
			t.Errorf("%d partitions", b.Partitions())
		}
	})
	t.Run("a log that has gone on", func(t *testing.T) {
		url := bustest.Server(t)
		if err := try(url, move.Options{}); err != nil {
			t.Fatal(err)
		}
		newWorld(t, bustest.Start(t, bustest.At(url))).talk(3)
		err := try(url, move.Options{})
		if e, ok := errors.AsType[*move.AheadError](err); !ok || e.At <= e.Last {
			t.Errorf("into a log that has gone on: %v", err)
		}
	})
	t.Run("logs that went different ways", func(t *testing.T) {
		url := bustest.Server(t)
		if err := try(url, move.Options{}); err != nil {
			t.Fatal(err)
		}
		newWorld(t, bustest.Start(t, bustest.At(url))).talk(3)
		k := bustest.New(t, bustest.WithDir(natsOf(dir)))
		newWorld(t, k.Bus).talk(9)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		err := try(url, move.Options{})
		if e, ok := errors.AsType[*move.AheadError](err); !ok || e.At > e.Last {
			t.Errorf("into a log that went another way: %v", err)
		}
	})
}

// Into a cluster, streams have its replicas.
func TestMoveToCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	dir, has := laptop(t, 60)
	urls, _ := bustest.Cluster(t)
	if _, err := move.Move(t.Context(), dir, servers(t, urls), move.Options{}); err != nil {
		t.Fatal(err)
	}
	has.equal(t, look(t, bustest.Start(t, bustest.At(urls))), true)
}

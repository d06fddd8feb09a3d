package owner

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
)

func store(t *testing.T, b *bus.Bus, room int64) *bus.Objects {
	t.Helper()
	o, err := b.Objects(t.Context(), bus.StoreConfig{Name: "snapshots", MaxBytes: room})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func withSnapshots(o *bus.Objects) func(*Config) {
	return func(c *Config) { c.Snapshots, c.SnapshotRecords, c.SnapshotEvery = o, 50, 50*time.Millisecond }
}

// contentsOf are the sequences of a view's snapshots, and whether one is being written.
func contentsOf(t *testing.T, o *bus.Objects, view string) (sequences []uint64, writing bool) {
	t.Helper()
	c, err := readContents(t.Context(), o, view)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Snapshots {
		sequences = append(sequences, s.Sequence)
	}
	return sequences, c.Writing != nil
}

// An owner puts snapshots into the store, and a process without views begins with the
// newest one and the log's tail: it does not read what is before.
func TestANewProcessBeginsWithASnapshot(t *testing.T) {
	at := bustest.Server(t)
	ka := bustest.New(t, bustest.WithConfig(func(c *bus.Config) { c.URL, c.Process, c.Partitions, c.Replicas = at, "a", 1, 1 }))
	sa := store(t, ka.Bus, 64<<20)
	a := open(t, ka, withSnapshots(sa))
	a.pace = quickPace
	stop := run(t, a)
	settled(t, a)
	w := ka.NewWriter(event.ID{1})
	s := write(t, ka, w, 200)
	name := a.stream(s).fold.Name()
	bustest.Eventually(t, "a snapshot", func() bool { n, _ := contentsOf(t, sa, name); return len(n) > 0 && n[0] > 50 })
	write(t, ka, w, 100)
	bustest.Eventually(t, "another one", func() bool { n, _ := contentsOf(t, sa, name); return len(n) == 2 && n[0] >= n[1]+50 })
	first, _ := readContents(t.Context(), sa, name)
	write(t, ka, w, 100)
	bustest.Eventually(t, "two are kept", func() bool {
		n, writing := contentsOf(t, sa, name)
		return len(n) == 2 && n[0] >= 350 && !writing
	})
	oldest := first.Snapshots[1]
	bustest.Eventually(t, "the oldest is removed", func() bool {
		_, _, err := sa.Get(t.Context(), partName(name, oldest.ID, 0))
		return errors.Is(err, bus.ErrNoObject)
	})
	n, _ := contentsOf(t, sa, name)
	want, last, err := a.View(s).Digest()
	for err == nil && last < 401 {
		want, last, err = a.View(s).Digest()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop()

	kb := bustest.New(t, bustest.WithConfig(func(c *bus.Config) { c.URL, c.Process, c.Partitions, c.Replicas = at, "b", 1, 1 }))
	b := open(t, kb, withSnapshots(store(t, kb.Bus, 64<<20)))
	run(t, b)
	bustest.Eventually(t, "b owns all", func() bool { return b.Ready() == nil && b.View(s) != nil && b.View(s).Folded() == 401 })
	if err := b.View(s).WaitCommitted(t.Context(), 401); err != nil {
		t.Fatal(err)
	}
	if got, at, err := b.View(s).Digest(); err != nil || got != want || at != last {
		t.Errorf("digest %s at %d, want %s at %d, %v", got, at, want, last, err)
	}
	// The tail, and the first records of two streams that are too short for a snapshot.
	if followed, most := kb.Stats().Followed, 401-n[0]+2; followed > most || b.count.snapshotsTaken.Load() != 1 {
		t.Errorf("%d records were followed, at most %d; %d snapshots taken", followed, most, b.count.snapshotsTaken.Load())
	}
	left, err := filepath.Glob(filepath.Join(b.cfg.Dir, ".snapshot-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	rebuilt, err := Rebuild(t.Context(), kb.Bus, s, t.TempDir(), last, nil, nil)
	if err != nil || rebuilt.Digest != want {
		t.Errorf("rebuilt %s, %v", rebuilt.Digest, err)
	}
}

// A snapshot that is not right is passed over, and the view is folded from the log.
func TestSnapshotsThatAreNotRightArePassedOver(t *testing.T) {
	k := bustest.New(t, bustest.Partitions(1))
	o := store(t, k.Bus, 64<<20)
	a := open(t, k)
	stop := run(t, a)
	settled(t, a)
	s := write(t, k, k.NewWriter(event.ID{1}), 100)
	st := a.stream(s)
	if err := st.view.WaitCommitted(t.Context(), 101); err != nil {
		t.Fatal(err)
	}
	want, _, err := st.view.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := a.writeSnapshot(t.Context(), o, st); err != nil || n != 101 {
		t.Fatal(n, err)
	}
	stop()
	name := st.fold.Name()
	good, err := readContents(t.Context(), o, name)
	if err != nil {
		t.Fatal(err)
	}
	begun := func(what string, takes uint64) {
		t.Helper()
		p := open(t, k, withSnapshots(o))
		stop := run(t, p)
		bustest.Eventually(t, what+": the view is whole", func() bool { return p.View(s) != nil && p.View(s).Committed() == 101 })
		if got, _, err := p.View(s).Digest(); err != nil || got != want {
			t.Errorf("%s: digest %s, want %s, %v", what, got, want, err)
		}
		if n := p.count.snapshotsTaken.Load(); n != takes {
			t.Errorf("%s: %d snapshots were taken, want %d", what, n, takes)
		}
		stop()
	}
	epoch, err := k.Epoch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	part, _, err := o.Get(t.Context(), partName(name, good.Snapshots[0].ID, 0))
	if err != nil {
		t.Fatal(err)
	}
	begun("as it was written", 1)
	for what, change := range map[string]func(s *snapshot){
		"format":      func(s *snapshot) { s.Format++ },
		"log":         func(s *snapshot) { s.Log = event.ID{9}.String() },
		"epoch":       func(s *snapshot) { s.Epoch = event.ID{9}.String() },
		"checksum":    func(s *snapshot) { s.Sum = s.Sum[1:] + "0" },
		"size":        func(s *snapshot) { s.Size-- },
		"fingerprint": func(s *snapshot) { s.Fingerprint = s.Fingerprint[1:] + "0" },
		"sequence":    func(s *snapshot) { s.Sequence-- },
		"beyond":      func(s *snapshot) { s.Sequence = 1000 },
		"gone":        func(s *snapshot) { s.ID = event.ID{9}.String() },
		"nothing":     func(s *snapshot) { s.Size = 0 },
	} {
		c := contents{Snapshots: []snapshot{good.Snapshots[0]}}
		change(&c.Snapshots[0])
		if err := putContents(t.Context(), o, name, c); err != nil {
			t.Fatal(err)
		}
		begun(what, 0)
		c.Snapshots = append(c.Snapshots, good.Snapshots[0])
		if err := putContents(t.Context(), o, name, c); err != nil {
			t.Fatal(err)
		}
		begun(what+", and an older one that is right", 1)
	}
	if err := putContents(t.Context(), o, name, good); err != nil {
		t.Fatal(err)
	}
	if err := o.Put(t.Context(), partName(name, good.Snapshots[0].ID, 0), part[:len(part)-5000], nil); err != nil {
		t.Fatal(err)
	}
	begun("cut off", 0)
	if now, err := k.Epoch(t.Context(), s); err != nil || now != epoch {
		t.Errorf("the epoch was renewed: %v", err)
	}
}

// A snapshot of a history that the log does not have any more is not believed, though
// nobody has noticed yet what became of the log.
func TestASnapshotOfAnotherHistoryIsNotBelieved(t *testing.T) {
	k := bustest.New(t, bustest.Partitions(1))
	o := store(t, k.Bus, 64<<20)
	s := write(t, k, k.NewWriter(event.ID{1}), 10)
	copied := k.Copy(s)
	write(t, k, k.NewWriter(event.ID{2}), 90)
	a := open(t, k)
	stop := run(t, a)
	settled(t, a)
	st := a.stream(s)
	if err := st.view.WaitCommitted(t.Context(), 101); err != nil {
		t.Fatal(err)
	}
	if _, err := a.writeSnapshot(t.Context(), o, st); err != nil {
		t.Fatal(err)
	}
	stop()
	k.RollBack(s, copied)
	write(t, k, k.NewWriter(event.ID{3}), 120)
	epoch, err := k.Epoch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	p := open(t, k, withSnapshots(o))
	run(t, p)
	bustest.Eventually(t, "the view is whole", func() bool { return p.View(s) != nil && p.View(s).Committed() == 131 })
	got, _, err := p.View(s).Digest()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Rebuild(t.Context(), k.Bus, s, t.TempDir(), 131, nil, nil); err != nil || r.Digest != got {
		t.Errorf("digest %s, rebuilt %s, %v", got, r.Digest, err)
	}
	if now, err := k.Epoch(t.Context(), s); err != nil || now != epoch || p.count.snapshotsTaken.Load() != 0 {
		t.Errorf("taken %d, epoch %s was %s, %v", p.count.snapshotsTaken.Load(), now, epoch, err)
	}
}

// A store that has no room keeps the newest snapshot and takes no further one.
func TestSnapshotsKeepToTheirRoom(t *testing.T) {
	k := bustest.New(t, bustest.Partitions(1))
	a := open(t, k)
	run(t, a)
	settled(t, a)
	s := write(t, k, k.NewWriter(event.ID{1}), 100)
	st := a.stream(s)
	if err := st.view.WaitCommitted(t.Context(), 101); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	c, err := st.view.Copy(path)
	if err != nil {
		t.Fatal(err)
	}
	o := store(t, k.Bus, 3*snapshotPart+2*c.Size+c.Size/2)
	for range 4 {
		if _, err := a.writeSnapshot(t.Context(), o, st); err != nil && !errors.Is(err, bus.ErrNoRoom) {
			t.Fatal(err)
		}
		if n, _ := contentsOf(t, o, st.fold.Name()); len(n) == 0 {
			t.Error("no snapshot is left")
		}
	}
	if _, err := a.writeSnapshot(t.Context(), store(t, k.Bus, 1000), st); !errors.Is(err, bus.ErrNoRoom) {
		t.Errorf("a store of 1000 bytes took it: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(a.cfg.Dir, ".snapshot-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSnapshotsAreDue(t *testing.T) {
	p := &Process{cfg: Config{SnapshotRecords: 50_000, SnapshotEvery: 10 * time.Minute}}
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		folded uint64
		w      written
		want   bool
	}{
		{49_999, written{found: true}, false},
		{50_000, written{found: true}, true},
		{50_000, written{}, false}, // what is there could not be asked
		{150_000, written{100_000, ago(9 * time.Minute), true}, false},
		{150_000, written{100_000, ago(10 * time.Minute), true}, true},
		{149_999, written{100_000, ago(time.Hour), true}, false},
		{100_000, written{100_000, ago(snapshotAge), true}, true},
		{10, written{0, ago(snapshotAge), true}, false},
	} {
		if got := p.snapshotDue(c.folded, c.w, now); got != c.want {
			t.Errorf("at %d after %+v: %v", c.folded, c.w, got)
		}
	}
}

// What a killed process left in its directory goes.
func TestLeftoversAreRemoved(t *testing.T) {
	k := bustest.New(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, ".replay-123", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".replay-123/deep/people.db", ".snapshot-9", "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, k, func(c *Config) { c.Dir = dir })
	for name, want := range map[string]bool{".replay-123": false, ".snapshot-9": false, "mine": true, "people.db": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(t.Context(), Config{Bus: k.Bus, Dir: filepath.Join(dir, "nowhere")}); err == nil {
		t.Error("a directory that is not there was taken")
	}
}

// A follower that stands below a cut learns the epoch that another has renewed, without
// a replay.
func TestAFollowerLearnsTheNewEpoch(t *testing.T) {
	k := bustest.New(t)
	p := open(t, k)
	run(t, p)
	settled(t, p)
	s := write(t, k, k.NewWriter(event.ID{1}), 5)
	st := p.stream(s)
	if err := st.view.WaitCommitted(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	term := st.termNow()
	old := st.view.Epoch()
	epoch, err := k.RenewEpoch(t.Context(), s, old)
	if err != nil || epoch == old {
		t.Fatal(epoch, err)
	}
	bustest.Eventually(t, "the epoch is learned", func() bool { return st.view.Epoch() == epoch })
	bustest.Eventually(t, "another term", func() bool { return later(st.termNow(), term) })
	if st.view.Folded() != 6 || p.count.resets.Load() != 0 {
		t.Errorf("folded %d, %d resets", st.view.Folded(), p.count.resets.Load())
	}
	if ans := st.heartbeat(event.ID{7}); ans == nil || event.ToID(ans.Epoch) != epoch {
		t.Errorf("heartbeat %v", ans)
	}
	if got := proto.Size(st.beat()); got == 0 {
		t.Error("no beat")
	}
}

package e2e

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/e2e/e2etest"
)

// TestKillNine kills the server again and again under load, spoils its views while it
// is down, and demands each time that nothing acked is lost, doubled or renumbered.
func TestKillNine(t *testing.T) {
	durabilities(t, func(t *testing.T, durability string) {
		t.Parallel()
		data := t.TempDir()
		old := filepath.Join(t.TempDir(), "views")
		s := start(t, data, "--durability", durability)
		rnd := random(t)
		w := e2etest.NewWorld(t, rnd.Uint64())
		ids := s.register(t, 6)
		w.Populate(ids, 16)
		w.Phones(ids, 2)

		inFlight, spoiled := 0, map[string]int{}
		for round := range *flagRounds {
			if round > 0 {
				s = start(t, data, "--durability", durability)
			}
			w.Each(func(p *e2etest.Person) error { return p.Connect(s.Clients) })
			w.Each(func(p *e2etest.Person) error { return p.Sync(true) })
			w.Each(func(p *e2etest.Person) error { return p.TalkOn() })
			w.Await(50+rnd.IntN(400), s)

			// One client comes back while the others go on.
			p := e2etest.AnyOf(rnd, w.People)
			p.Leave()
			if err := errors.Join(p.Connect(s.Clients), p.Sync(false), p.TalkOn()); err != nil {
				t.Fatal(err)
			}
			w.Await(50+rnd.IntN(200), s)

			inFlight += w.InFlight()
			s.Kill()
			for _, p := range w.People {
				p.Leave()
			}
			w.Check()
			if round%5 == 4 {
				verify(t, data)
			}
			if kind := spoil(t, rnd, data, old, round); kind != "" {
				spoiled[kind]++
			}
			if round%7 == 1 {
				copyTree(t, filepath.Join(data, "views"), old)
			}
		}

		s = start(t, data, "--durability", durability)
		w.Each(func(p *e2etest.Person) error { return p.Connect(s.Clients) })
		w.Each(func(p *e2etest.Person) error { return p.Sync(true) })
		w.Each(func(p *e2etest.Person) error { return p.TalkOn() })
		w.Await(100, s)
		verify(t, data) // beside the running server
		w.Quiet(s)
		w.Settle()
		w.Audit()
		for _, p := range w.People {
			p.Leave()
		}
		s.stop(t)
		verify(t, data)

		t.Logf("%d rounds: %d acked, %d in flight at the kills, %d sent again, of them %d stored before; %d pushes, %d reads; views spoiled: %v",
			*flagRounds, w.Acked, inFlight, w.Repeats, w.Late, w.Pushes, w.Reads, spoiled)
		if inFlight == 0 || w.Repeats == 0 {
			t.Errorf("nothing was in flight at the kills")
		}
		if *flagRounds >= 10 && (w.Late == 0 || w.Late == w.Repeats) {
			t.Errorf("of %d sends that were cut off %d had been stored: both kinds should have come up", w.Repeats, w.Late)
		}
		for i := range min(*flagRounds, len(spoilers)) {
			if kind := spoilers[i].kind; kind != "" && spoiled[kind] == 0 {
				t.Errorf("no view was ever %s", kind)
			}
		}
	})
}

// spoilers are what may happen to the views of a stopped directory, by turns.
var spoilers = []struct {
	kind  string
	spoil func(t *testing.T, rnd *rand.Rand, data, old string) bool
}{
	{"", func(*testing.T, *rand.Rand, string, string) bool { return true }},
	{"deleted", func(t *testing.T, rnd *rand.Rand, data, _ string) bool {
		return remove(t, e2etest.AnyOf(rnd, views(t, data)))
	}},
	{"truncated", func(t *testing.T, rnd *rand.Rand, data, _ string) bool {
		file := e2etest.AnyOf(rnd, views(t, data))
		info, err := os.Stat(file)
		if err == nil {
			err = os.Truncate(file, rnd.Int64N(info.Size()))
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}},
	{"replaced by an older copy", func(t *testing.T, rnd *rand.Rand, data, old string) bool {
		if _, err := os.Stat(old); err != nil {
			return false
		}
		file := e2etest.AnyOf(rnd, views(t, data))
		from := filepath.Join(old, filepath.Base(file))
		if _, err := os.Stat(from); err != nil {
			return false
		}
		copyFile(t, from, file)
		return true
	}},
	{"all deleted", func(t *testing.T, _ *rand.Rand, data, _ string) bool {
		for _, file := range views(t, data) {
			remove(t, file)
		}
		return true
	}},
	{"scribbled over", func(t *testing.T, rnd *rand.Rand, data, _ string) bool {
		f, err := os.OpenFile(e2etest.AnyOf(rnd, views(t, data)), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 8<<10) // the pages that say what is where
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		return true
	}},
}

func spoil(t *testing.T, rnd *rand.Rand, data, old string, round int) (kind string) {
	t.Helper()
	s := spoilers[round%len(spoilers)]
	if !s.spoil(t, rnd, data, old) {
		return ""
	}
	return s.kind
}

func remove(t *testing.T, file string) bool {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	return true
}

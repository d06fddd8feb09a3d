package e2e

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"godwit/bus"
	"godwit/internal/datadir"
	"godwit/internal/e2e/e2etest"
)

// TestKillNineWithGroups kills the server in the middle of all that people can do to
// conversations, spoils its views while it is down, and demands at the end what the log
// defines: nothing that was acked is lost, doubled or elsewhere, everybody is a member of
// what he is a member of, and has heard what was his to hear.
func TestKillNineWithGroups(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	old := filepath.Join(t.TempDir(), "views")
	flags := []string{"--recall-time", "1h", "--edit-time", "1h"}
	s := start(t, data, flags...)
	ids := s.register(t, 6)
	rnd := random(t)
	c := newCompany(t, rnd.Uint64())
	for i, id := range ids {
		c.add(id, e2etest.Name(i), e2etest.DeviceWindows, s.Clients)
		if i%2 == 0 {
			c.add(id, e2etest.Name(i), e2etest.DeviceAndroid, s.Clients)
		}
	}
	var fixed struct {
		Number uint32 `json:"number"`
	}
	if err := s.Admin(t).Call(t.Context(), http.MethodPost, "/groups", map[string]any{
		"name": "fixed", "type": "normal", "creator": ids[0], "members": ids[:4]}, &fixed); err != nil {
		t.Fatal(err)
	}
	c.groups = append(c.groups, fixed.Number)
	c.begin(3)

	rounds := max(2, *flagRounds/5)
	inFlight, spoiled := 0, map[string]int{}
	for round := range rounds {
		c.act(5*time.Millisecond, func() {
			time.Sleep(*flagDuration/4 + time.Duration(rnd.Int64N(int64(*flagDuration/4))))
			// Killed while they go on; what they have sent by then may be lost or not.
			s.Kill()
			inFlight += c.inFlight()
		})
		for _, d := range c.devices {
			if d.visit != nil {
				<-d.visit.done
			}
		}
		if kind := spoil(t, rnd, data, old, round); kind != "" {
			spoiled[kind]++
		}
		if round%3 == 0 {
			copyTree(t, filepath.Join(data, "views"), old)
		}
		s = start(t, data, flags...)
		for _, d := range c.devices {
			d.at = s.Clients
		}
		c.quiet()
	}
	// Once more without an end to anybody's visit, so that the log stands still.
	for _, d := range c.devices {
		d.may = func(what string) bool { return what != "lose the connection" }
	}
	enough := map[string]int{"sent": 100, "pushed": 300, "members changed": 10, "0x040b heard": 10}
	c.act(5*time.Millisecond, func() {
		time.Sleep(*flagDuration / 2)
		c.until(enough)
	})
	c.quiet()
	verify(t, data) // beside the running server
	// What the log holds can be seen once the server has stopped; what the server says must
	// be asked for before.
	said := c.record()
	s.stop(t)
	verify(t, data)
	h := stoppedHistory(t, data)
	said.against(h)
	c.compare(h)
	t.Logf("%d rounds: %d in flight at the kills; views spoiled: %v", rounds, inFlight, spoiled)
	c.told(enough)
	if inFlight == 0 || c.repeats == 0 {
		t.Errorf("%d in flight at the kills, %d sent again", inFlight, c.repeats)
	}
}

// stoppedHistory reads the log of a stopped directory.
func stoppedHistory(t *testing.T, data string) *history {
	t.Helper()
	dir, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}()
	b, err := bus.Open(t.Context(), bus.Config{Dir: dir.NATS(), Durability: bus.OS})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	return readHistory(t, b)
}

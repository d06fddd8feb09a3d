package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/connector/webhook"
	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/datadir"
	"godwit/internal/e2e/e2etest"
)

// pushes is a receiver of webhooks that fails now and then, and keeps what it took.
type pushes struct {
	t   *testing.T
	rnd *rand.Rand

	mu     sync.Mutex
	first  map[string]webhook.Document // by event id
	order  []string                    // event ids as they came first
	ids    map[[2]uint32]map[uint32]bool
	again  int
	failed int
}

func (p *pushes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender was killed
	}
	var d webhook.Document
	if err := json.Unmarshal(body, &d); err != nil || len(d.Recipients) != 1 {
		p.t.Errorf("%s: %v", body, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rnd.IntN(200) == 0 {
		p.failed++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	pair := [2]uint32{d.Message.From, d.Recipients[0].User}
	if was, ok := p.first[d.EventID]; ok {
		p.again++
		if was.Message.ID != d.Message.ID || [2]uint32{was.Message.From, was.Recipients[0].User} != pair || was.Message.Text != d.Message.Text {
			p.t.Errorf("%s stands for %+v and for %+v", d.EventID, was, d)
		}
		return
	}
	p.first[d.EventID] = d
	p.order = append(p.order, d.EventID)
	if p.ids[pair] == nil {
		p.ids[pair] = map[uint32]bool{}
	}
	if p.ids[pair][d.Message.ID] {
		p.t.Errorf("message %d of %v came under two event ids", d.Message.ID, pair)
	}
	p.ids[pair][d.Message.ID] = true
}

func (p *pushes) taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.order)
}

// TestPushesOverKills kills the server again and again while messages are sent to people
// who are away, and demands that each of them was pushed, in the order of its stream, and
// again only under the event id it had.
func TestPushesOverKills(t *testing.T) {
	const people = 6
	data := t.TempDir()
	rnd := random(t)
	p := &pushes{t: t, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 1)), first: map[string]webhook.Document{}, ids: map[[2]uint32]map[uint32]bool{}}
	receiver := httptest.NewServer(p)
	defer receiver.Close()

	s := start(t, data)
	caller := func() *admin.Client {
		where, token, err := datadir.FindAdmin(data)
		if err != nil {
			t.Fatal(err)
		}
		return admin.NewClient(where, token)
	}
	c := caller()
	for i := range people {
		if err := c.Call(t.Context(), http.MethodPost, "/users", map[string]any{"name": e2etest.Name(i), "password": e2etest.Name(i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Call(t.Context(), http.MethodPost, "/webhooks", map[string]any{"url": receiver.URL}, nil); err != nil {
		t.Fatal(err)
	}
	// Everybody writes to the next one only: who writes has read what was written to him.
	send := func(ctx context.Context, c *admin.Client, from uint32, text string) (uint32, error) {
		var m api.Message
		err := c.Call(ctx, http.MethodPost, "/messages", map[string]any{"from": from, "to_user": from%people + 1, "text": text}, &m)
		return m.ID, err
	}
	var mu sync.Mutex
	acked, cut, behind := 0, 0, 0
	rounds := max(*flagRounds/2, 2)
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var senders sync.WaitGroup
		for from := range uint32(people) {
			senders.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					_, err := send(ctx, c, from+1, fmt.Sprintf("round %d, text %d", round, i))
					mu.Lock()
					if err == nil {
						acked++
					} else {
						cut++
						cancel()
					}
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(200+rnd.IntN(600)) * time.Millisecond) // how long is of no matter
		s.Kill()
		senders.Wait()
		cancel()
		mu.Lock()
		if p.taken() < acked {
			behind++
		}
		mu.Unlock()
		s = start(t, data)
		c = caller()
	}
	// The id of the last message of a conversation is how many it has.
	want := map[[2]uint32]uint32{}
	total := 0
	for from := range uint32(people) {
		id, err := send(t.Context(), c, from+1, "the last")
		if err != nil {
			t.Fatal(err)
		}
		want[[2]uint32{from + 1, (from+1)%people + 1}] = id
		total += int(id)
	}
	for deadline := time.Now().Add(e2etest.Patience); p.taken() < total && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	s.stop(t)

	p.mu.Lock()
	defer p.mu.Unlock()
	for pair, head := range want {
		for id := uint32(1); id <= head; id++ {
			if !p.ids[pair][id] {
				t.Errorf("message %d of %d from %d to %d was never pushed", id, head, pair[0], pair[1])
			}
		}
		if len(p.ids[pair]) != int(head) {
			t.Errorf("%d messages of %v were pushed, of %d", len(p.ids[pair]), pair, head)
		}
	}
	last := map[string][2]uint64{}
	for _, id := range p.order {
		stream, rest, _ := strings.Cut(id, ":")
		var at [2]uint64
		if _, err := fmt.Sscanf(rest, "%d:%d", &at[0], &at[1]); err != nil {
			t.Fatalf("event id %q: %v", id, err)
		}
		if was := last[stream]; at[0] < was[0] || at[0] == was[0] && at[1] <= was[1] {
			t.Errorf("%s came after %v", id, was)
		}
		last[stream] = at
	}
	t.Logf("%d rounds: %d acked, %d cut off, %d documents, %d of them again, %d refused; behind at %d kills",
		rounds, acked, cut, len(p.order), p.again, p.failed, behind)
	if acked == 0 || cut == 0 || behind == 0 {
		t.Error("no kill came upon work that was under way")
	}
}

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"godwit/connector/connectortest"
	"godwit/connector/delivery"
	"godwit/internal/e2e/e2etest"
	"godwit/internal/ttclient"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	"godwit/schema/event"
)

const newFeatures = uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RESUME)

// TestRepeatsOverAKill kills the server under a client's sends, again and again. The client
// comes back with the token of its last login and no password, sends all again that it has
// no ack for, and some that it has: each is acked with one id for ever.
func TestRepeatsOverAKill(t *testing.T) {
	t.Parallel()
	const senders = 16
	data := t.TempDir()
	s := start(t, data)
	ids := s.register(t, 2)
	rnd := random(t)
	login := func(o ttclient.Options) *ttclient.Client {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
		defer cancel()
		o.Addr, o.Features = s.Clients, newFeatures
		c, err := ttclient.Login(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if c.ID() != ids[0] {
			t.Fatalf("logged in as %d, not %d", c.ID(), ids[0])
		}
		return c
	}
	c := login(ttclient.Options{Name: e2etest.Name(0), Password: connectortest.MD5(e2etest.Name(0))})
	type message struct {
		text string
		id   []byte
		ack  uint32
	}
	var all []*message
	lost, again := 0, 0
	to := ttclient.Conversation{ID: ids[1]}
	for range max(2, *flagRounds/5) {
		var mine []*message
		var mu sync.Mutex
		var sending sync.WaitGroup
		acked := make(chan struct{})
		for range senders {
			sending.Go(func() {
				for {
					mu.Lock()
					m := &message{text: fmt.Sprint("message ", len(all)+len(mine)), id: ttclient.NewMessageID()}
					mine = append(mine, m)
					mu.Unlock()
					id, err := c.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText(m.text), ID: m.id})
					if err != nil {
						return // killed
					}
					m.ack = id
					select {
					case acked <- struct{}{}:
					case <-c.Done():
					}
				}
			})
		}
		for range 1 + rnd.IntN(60) {
			select {
			case <-acked:
			case <-c.Done():
				t.Fatal(c.Err())
			}
		}
		s.Kill()
		sending.Wait()
		all = append(all, mine...)
		token, expires := c.ResumeToken()
		if len(token) == 0 || time.Until(expires) < time.Hour {
			t.Fatalf("a token of %d bytes that expires at %v", len(token), expires)
		}
		c.Close()

		s = start(t, data)
		c = login(ttclient.Options{ResumeToken: token})
		for _, m := range mine {
			if m.ack == 0 {
				lost++
			}
		}
		rnd.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		for _, m := range all {
			if m.ack != 0 && rnd.IntN(4) > 0 {
				continue
			}
			text := m.text
			if m.ack != 0 {
				again++
				text = "in other words" // the id alone counts
			}
			sending.Go(func() {
				id, err := c.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText(text), ID: m.id})
				if err != nil || m.ack != 0 && id != m.ack {
					t.Errorf("%q, acked as %d, is acked as %d when it is sent again: %v", m.text, m.ack, id, err)
				}
				m.ack = id
			})
		}
		sending.Wait()
	}
	slices.SortFunc(all, func(a, b *message) int { return int(a.ack) - int(b.ack) })
	for i, m := range all {
		if m.ack != uint32(i+1) {
			t.Fatalf("%d messages have ids up to %d, %q is %d", len(all), all[len(all)-1].ack, m.text, m.ack)
		}
	}
	for begin := uint32(len(all)); begin > 0; {
		list, err := c.Messages(t.Context(), to, begin, e2etest.Page)
		if err != nil || len(list) == 0 {
			t.Fatalf("the history from %d on: %d messages, %v", begin, len(list), err)
		}
		for _, m := range list {
			text, err := content.DecryptText(m.GetMsgData())
			if err != nil || m.GetMsgId() != begin || text != all[begin-1].text {
				t.Fatalf("message %d is %q, acked was %d %q", m.GetMsgId(), text, begin, all[begin-1].text)
			}
			begin--
		}
	}
	c.Close()
	s.stop(t)
	verify(t, data)
	t.Logf("%d messages, %d without an ack at the kills, %d sent again though acked", len(all), lost, again)
	if lost == 0 || again == 0 {
		t.Errorf("%d messages were without an ack at the kills, %d were sent again though acked", lost, again)
	}
}

// TestRepeatsDaysLater has clients send again what the log has of long ago: within a day,
// for so long an id is good, and what a client sends again is as old as the log says. A
// node whose clock is days ahead knows them as well.
func TestRepeatsDaysLater(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	r.Owner("owner")
	e := r.Edge("a")
	ids := e.Register(t, 2)
	key := event.Direct(ids[0], ids[1])
	stored := func(at time.Time, id ulid.ULID, text string) delivery.Result {
		t.Helper()
		got := make(chan delivery.Result, 1)
		err := e.Node.Append(key.Stream(e2etest.RigPartitions), &event.Event{At: at.UnixMilli(), Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
			Conversation: key[:], From: ids[0], Type: 1, Body: content.EncryptText(text), ClientMessageId: id[:], RepeatKey: event.RepeatKey(ids[0], key, id[:]),
		}}}, func(r delivery.Result) { got <- r })
		if err != nil {
			t.Fatal(err)
		}
		select {
		case res := <-got:
			if res.Err != nil {
				t.Fatal(res.Err)
			}
			return res
		case <-time.After(e2etest.Patience):
			t.Fatal("no outcome")
		}
		return delivery.Result{}
	}
	now := time.Now()
	entropy := rand.NewChaCha8([32]byte{1})
	var written []ulid.ULID
	for i, ago := range []time.Duration{23 * time.Hour, 12 * time.Hour, time.Hour} {
		id := ulid.MustNew(ulid.Timestamp(now.Add(-ago)), entropy)
		if res := stored(now.Add(-ago), id, fmt.Sprint("of ", ago)); res.ID != uint32(i+1) {
			t.Fatalf("message %d got the id %d", i+1, res.ID)
		}
		written = append(written, id)
	}
	c, err := ttclient.Login(t.Context(), ttclient.Options{Addr: e.Addr, Name: e2etest.Name(0), Password: connectortest.MD5(e2etest.Name(0)), Features: newFeatures})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	to := ttclient.Conversation{ID: ids[1]}
	for i, id := range written {
		got, err := c.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText("again"), ID: id[:]})
		if err != nil || got != uint32(i+1) {
			t.Errorf("message %d is acked as %d when it is sent again: %v", i+1, got, err)
		}
	}
	old := ulid.MustNew(ulid.Timestamp(now.Add(-25*time.Hour)), entropy)
	_, err = c.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText("too old"), ID: old[:]})
	if refused, ok := errors.AsType[*ttclient.RefusedError](err); !ok || refused.Why != imextension.Refusal_REFUSAL_MALFORMED {
		t.Errorf("an id of more than a day ago: %v", err)
	}

	// The clock of another node goes ahead by six days: still repeats, and after eight they
	// are forgotten.
	for i, id := range written {
		if res := stored(now.Add(6*24*time.Hour), id, "days later"); res.FirstID != uint32(i+1) {
			t.Errorf("message %d, six days later, came to %+v", i+1, res)
		}
	}
	if res := stored(now.Add(9*24*time.Hour), written[0], "much later"); res.ID != 4 {
		t.Errorf("message 1, nine days later, came to %+v", res)
	}
	list, err := c.Messages(t.Context(), to, 0, e2etest.Page)
	if err != nil || len(list) != 4 {
		t.Errorf("there are %d messages, should be 4: %v", len(list), err)
	}
}

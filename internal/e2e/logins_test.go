package e2e

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/internal/e2e/e2etest"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/query"
)

// contender is one login of the contested device class.
type contender struct {
	tag    string
	conn   *e2etest.Conn
	in     atomic.Bool // was let in
	kicked atomic.Bool // was told so
	gone   chan struct{}
	err    error // why it was not let in, once gone is closed
}

// contend logs in and stays for as long as the server lets it.
func contend(t *testing.T, addr, tag string, device int) *contender {
	c, err := e2etest.Dial(addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	k := &contender{tag: tag, conn: c, gone: make(chan struct{})}
	go func() {
		defer close(k.gone)
		if _, k.err = c.LoginAs(e2etest.Name(0), device, tag); k.err != nil {
			return // lost before it was let in
		}
		k.in.Store(true)
		for {
			p, err := c.Next()
			if err != nil {
				return
			}
			if p.Command == e2etest.CmdKicked {
				k.kicked.Store(true)
				if reason := p.Body.Num(2); reason != 1 {
					t.Errorf("%s was kicked for reason %d", tag, reason)
				}
			} else if k.kicked.Load() {
				t.Errorf("%s got %#04x after it was kicked", tag, p.Command)
			}
		}
	}()
	return k
}

func (k *contender) over() bool {
	select {
	case <-k.gone:
		return true
	default:
		return false
	}
}

// TestTwoLoginsOneSurvivor logs one user in on desktops of two nodes at once, one of
// them cut from the log for a while. Of all of them the last in log order survives,
// and a replay says the same.
func TestTwoLoginsOneSurvivor(t *testing.T) {
	t.Parallel()
	r := e2etest.NewRig(t)
	o := r.Owner("owner")
	edges := []*e2etest.Edge{r.Edge("a"), r.Edge("b")}
	id := edges[0].Register(t, 1)[0]
	rnd := random(t)

	var all []*contender
	defer func() {
		if !t.Failed() {
			return
		}
		for _, k := range all {
			_ = k.conn.Close()
			<-k.gone
			t.Logf("%s: let in %v, kicked %v, %v", k.tag, k.in.Load(), k.kicked.Load(), k.err)
		}
	}()
	paused, kicked, unanswered := 0, 0, 0
	for round := range *flagRounds {
		still := edges[rnd.IntN(2)]
		pause := rnd.IntN(4) > 0
		if pause {
			still.Link.Hold()
			paused++
		}
		var mu sync.Mutex
		var starts sync.WaitGroup
		for i := range 4 {
			device := []int{e2etest.DeviceWindows, e2etest.DeviceMac}[rnd.IntN(2)]
			starts.Go(func() {
				k := contend(t, edges[i%2].Addr, fmt.Sprintf("round %d login %d", round, i), device)
				mu.Lock()
				defer mu.Unlock()
				if k != nil {
					all = append(all, k)
				}
			})
		}
		starts.Wait()
		if pause {
			// The other node goes through with a login of its own while this one rests.
			r.Eventually("a login on the node that is not paused", func() bool {
				return slices.ContainsFunc(all, func(k *contender) bool {
					return k.in.Load() && !k.over() && k.tag[:8] == fmt.Sprintf("round %d login", round)[:8]
				})
			})
			still.Link.Mend()
		}
		r.Eventually("one is left", func() bool {
			left := 0
			for _, k := range all {
				if !k.over() {
					left++
				}
			}
			return left == 1
		})
		i := slices.IndexFunc(all, func(k *contender) bool { return !k.over() })
		survivor := all[i]
		r.Eventually("the survivor was let in", func() bool { return survivor.in.Load() || survivor.over() })
		if last := lastLogin(t, o, id); survivor.over() || survivor.tag != last {
			t.Fatalf("round %d: %q survived (%v), the last in the log is %q", round, survivor.tag, !survivor.over(), last)
		}
		rows, err := edges[round%2].Node.Ask(t.Context(), &query.Request{
			Body: &query.Request_SessionsOf{SessionsOf: &query.SessionsOf{User: id}}})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(rows.GetSessionsOf().GetSessions()); n != 1 {
			t.Fatalf("round %d: the view has %d sessions", round, n)
		}
		for _, k := range slices.Delete(slices.Clone(all), i, i+1) {
			if k.kicked.Load() {
				kicked++
			} else {
				unanswered++
			}
			_ = k.conn.Close()
		}
		all = []*contender{survivor}
	}
	_ = all[0].conn.Close()
	<-all[0].gone
	t.Logf("%d rounds, %d with a paused node: %d kicked with 0x0107, %d closed without", *flagRounds, paused, kicked, unanswered)
	if paused == 0 || kicked == 0 {
		t.Error("no node was paused, or nobody was kicked")
	}
	replayed(t, o, event.Presence)
}

// lastLogin is the client version of the user's last SessionOpened in the log.
func lastLogin(t *testing.T, o *e2etest.Owning, user uint32) (tag string) {
	t.Helper()
	last, err := o.Bus.LastSequence(t.Context(), event.Presence)
	if err != nil {
		t.Fatal(err)
	}
	for rec, err := range o.Bus.Replay(t.Context(), event.Presence, 1, last) {
		if err != nil {
			t.Fatal(err)
		}
		var r event.Record
		if err := proto.Unmarshal(rec.Data, &r); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if s := e.GetSessionOpened(); s != nil && s.User == user {
				tag = s.ClientVersion
			}
		}
	}
	return tag
}

// replayed demands that a replay of the stream comes to what the owner's view holds.
func replayed(t *testing.T, o *e2etest.Owning, s event.Stream) {
	t.Helper()
	last, err := o.Bus.LastSequence(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	v := o.View(s)
	if err := v.WaitCommitted(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	present, at, err := v.Digest()
	if err != nil {
		t.Fatal(err)
	}
	rebuilt, err := owner.Rebuild(t.Context(), o.Bus, s, t.TempDir(), at, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if rebuilt.Digest.String() != present.String() {
		t.Errorf("the view of %s at %d has digest %s, its replay %s", s, at, present, rebuilt.Digest)
	}
}

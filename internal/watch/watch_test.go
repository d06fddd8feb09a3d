package watch_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus/bustest"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/internal/watch"
	"godwit/projections/owner"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

func id(n byte) event.ID { return event.ID{15: n} }

// Silence is counted in own beats that were heard, never in time alone.
func TestTrackerCountsOwnBeats(t *testing.T) {
	own, a, b := id(1), id(2), id(3)
	// Steps: o own beat, d one while nobody else can be heard, a and b beats of the others,
	// w the log calls both live, x it calls only b live, p a pause without any beat, . a
	// second passes.
	for _, c := range []struct {
		name, steps, lost string
	}{
		{"nobody is watched", "o.o.o.o.o.o.o.o.o.o.o.o.", ""},
		{"silent for one beat less", "ow" + seconds(9, "o"), ""},
		{"silent for ten beats", "ow" + seconds(10, "o"), "a10 b10"},
		{"silent for more", "ow" + seconds(13, "o"), "a13 b13"},
		{"one of them speaks", "ow" + seconds(10, "ob"), "a10"},
		{"a word starts the count anew", "ow" + seconds(9, "o") + "a" + seconds(9, "o"), "b18"},
		{"time without own beats counts for nothing", "ow" + seconds(9, "") + "p", ""},
		{"a pause starts all counts anew", "ow" + seconds(9, "o") + "p" + "wo" + seconds(9, "o"), ""},
		{"and then ten beats are enough again", "ow" + seconds(9, "o") + "p" + "ow" + seconds(10, "o"), "a10 b10"},
		{"a gap of three seconds is none", "ow" + seconds(5, "o") + "..." + "o" + seconds(4, "o"), "a10 b10"},
		{"whose life is over is forgotten", "ow" + seconds(10, "o") + "x", "b10"},
		{"one that comes back into the log begins at nothing", "ow" + seconds(10, "o") + "xw" + seconds(9, "o"), "b19"},
		{"whose server is cut off hears itself and declares nobody", "ow" + seconds(6, "o") + seconds(30, "dw"), ""},
		{"ten beats count from when others can be heard again", "ow" + seconds(8, "d") + "w" + seconds(9, "o"), ""},
		{"and no more", "ow" + seconds(8, "d") + "w" + seconds(10, "o"), "a10 b10"},
		{"others are not heard because of the same outage", seconds(5, "oab") + "w" + "ppp" + "oab", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tr watch.Tracker
			now := time.Unix(1000, 0)
			for _, step := range c.steps {
				switch step {
				case 'o':
					tr.Heard(own, true, now)
				case 'd':
					tr.Heard(own, true, now)
					tr.Deaf()
				case 'a':
					tr.Heard(a, false, now)
				case 'b':
					tr.Heard(b, false, now)
				case 'w':
					tr.Watch([]event.ID{a, b})
				case 'x':
					tr.Watch([]event.ID{b})
				case '.':
					now = now.Add(time.Second)
				case 'p':
					now = now.Add(30 * time.Second)
				}
			}
			got := ""
			lost := tr.Lost()
			for _, l := range []event.ID{a, b} {
				if n, ok := lost[l]; ok {
					got += fmt.Sprintf(" %c%d", 'a'+l[15]-2, n)
				}
			}
			if got != "" {
				got = got[1:]
			}
			if got != c.lost || len(lost) > 2 {
				t.Errorf("lost: %q, want %q", got, c.lost)
			}
		})
	}
	if commands.LostAfterBeats != 10 {
		t.Error("the table counts to ten")
	}
}

// seconds is n seconds, each of which begins with these steps.
func seconds(n int, steps string) (all string) {
	for range n {
		all += "." + steps
	}
	return all
}

type deaf struct{}

func (deaf) SessionOver(*frame.SessionOver)             {}
func (deaf) UserStatus(uint32, bool, uint64)            {}
func (deaf) DesktopStatus(uint32, bool, uint64)         {}
func (deaf) PersonChanged(*frame.PersonChanged, uint64) {}
func (deaf) DropCaches()                                {}
func (deaf) CloseAll(error)                             {}
func (deaf) Relay(*frame.Relay)                         {}
func (deaf) Suspend(bool)                               {}

// A life that is in the log and never beats is declared lost; one that beats is not.
// A successor need not wait for either.
func TestSilentLifeIsDeclaredLost(t *testing.T) {
	k := bustest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	p, err := owner.Open(t.Context(), owner.Config{Bus: k.Bus, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	node, err := delivery.New(delivery.Config{Bus: k.Bus, Handler: deaf{}, Name: "watch"})
	if err != nil {
		t.Fatal(err)
	}
	nodeCtx, stopNode := context.WithCancel(context.Background())
	done := make(chan error, 3)
	go func() { done <- p.Run(ctx) }()
	nodeDone := make(chan error, 1)
	go func() { nodeDone <- node.Run(nodeCtx) }()
	t.Cleanup(func() {
		stopNode()
		if err := <-nodeDone; err != nil {
			t.Error(err)
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	<-node.Started()
	begin := func(life event.ID, name string) {
		ev := &event.Event{At: 1, Body: &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{Life: life[:], Node: name}}}
		if r, err := node.AppendWait(t.Context(), event.Presence, ev); err != nil || r.Void != 0 {
			t.Fatal(r, err)
		}
	}
	live := func() map[event.ID]bool {
		ans, err := node.Ask(t.Context(), &query.Request{Body: &query.Request_Lives{Lives: &query.Lives{}}})
		if err != nil {
			t.Error(err)
		}
		all := map[event.ID]bool{}
		for _, l := range ans.GetLives().GetLives() {
			all[event.ToID(l.Life)] = true
		}
		return all
	}
	silent, talks, before := id(7), id(8), id(9)
	begin(before, "old")
	if err := watch.Succeed(t.Context(), node, func(l *query.Life) bool { return l.Node == "old" }); err != nil {
		t.Fatal(err)
	}
	if all := live(); all[before] || !all[node.Life()] {
		t.Errorf("after the succession there live %v", all)
	}
	begin(silent, "silent")
	begin(talks, "talks")
	go func() { done <- watch.Run(ctx, k.Bus, node, bustest.Logger(t)) }()
	// The one that talks does so whenever the watch's own node is heard.
	var beats atomic.Int32
	stop, err := k.ReceiveBeats(func(data []byte) {
		var b frame.Beat
		if proto.Unmarshal(data, &b) == nil && event.ToID(b.Life) == node.Life() {
			beats.Add(1)
			out, err := proto.Marshal(&frame.Beat{Life: talks[:]})
			if err == nil {
				err = k.SendBeat(out)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	bustest.Eventually(t, "the silent one is declared lost", func() bool { return !live()[silent] })
	if n := beats.Load(); n < commands.LostAfterBeats-1 {
		t.Errorf("after only %d beats", n)
	}
	if all := live(); !all[talks] || !all[node.Life()] {
		t.Errorf("there live %v", all)
	}
}

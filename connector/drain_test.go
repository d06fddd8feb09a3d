package connector

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"godwit/schema/client"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
)

// Whatever the numbers, nobody's turn is taken back, all have had theirs in time, and never
// more than the rate asks for, unless the time is too short for it.
func TestPaceOfADrain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(0, 1_000_000).Draw(t, "total")
		rate := rapid.SampledFrom([]float64{0, 0.001, 0.02, 0.05, 1}).Draw(t, "rate")
		timeout := time.Duration(rapid.IntRange(100, 600_000).Draw(t, "timeout")) * time.Millisecond
		p := paceOf(total, rate, timeout)
		was := 0
		for i := range 50 {
			at := timeout * time.Duration(i) / 49
			due := p.due(at)
			if due < was || due > total {
				t.Fatalf("after %v %d are due, of %d, and %d were", at, due, total, was)
			}
			was = due
			if i == 45 && due < total {
				t.Fatalf("%d of %d are due after %v of %v", due, total, at, timeout)
			}
			most := max(rate, 1/(0.8*timeout.Seconds())) * float64(total) * (at + drainTick).Seconds()
			if rate > 0 && float64(due) > most+1 {
				t.Fatalf("%d are due after %v, where %v are the most", due, at, most)
			}
		}
		if rate == 0 && total <= drainFloor/2 && p.due(time.Second) < total {
			t.Fatal("a few are kept waiting")
		}
	})
}

// guests logs in so many people with one desktop each; every other one understands notices.
func (r *rig) guests(n int) (all []*wire) {
	for i := range n {
		name := fmt.Sprint("p", i)
		r.node.person(r.hasher, uint32(100+i), name)
		w, features := (*wire)(nil), uint32(0)
		if i%2 == 0 {
			features = uint32(imextension.Feature_FEATURE_NOTICES)
		}
		w = r.enterAs(name, windows, features)
		all = append(all, w)
	}
	r.step(all...)
	for _, w := range all {
		w.take()
	}
	return all
}

func drained(r *rig) chan struct{} {
	done := make(chan struct{})
	go func() { r.srv.drain(); close(done) }()
	synctest.Wait()
	return done
}

func gone(all []*wire) (n int) {
	for _, w := range all {
		if w.over {
			n++
		}
	}
	return n
}

// A drain closes a few per cent a second, quiet ones first, never with 0x0107, tells new
// clients, lets nobody in, and tells the log of each.
func TestDrainClosesAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.DrainRate, c.DrainTimeout = 0.1, 30*time.Second })
		close(r.srv.listening)
		all := r.guests(40)
		stranger := r.connect()
		r.sleep(3*time.Second, all...)
		for _, w := range all {
			w.take()
		}
		all[0].send(all[0].pack(client.CmdMsgData, 7, msg(2, text, "under way")))
		done := drained(r)
		if s := r.srv.Serving(); s.Serves || s.Clients != 41 {
			t.Errorf("beats say %+v", s)
		}
		if r.node.announced.Load() != 1 {
			t.Error("and say it late")
		}
		if r.connect() != nil {
			t.Error("somebody is let in")
		}
		r.settle(append(all, stranger)...)
		if !stranger.over {
			t.Error("who has not logged in is kept")
		}
		for i, w := range all {
			got := w.take()
			if i%2 == 1 {
				if len(got) > 0 {
					t.Errorf("an old client got %v", got)
				}
				continue
			}
			if len(got) != 1 {
				t.Fatalf("a new client got %v", got)
			}
			m := got[0].m.(*imextension.ServerNotify)
			if m.GetState() != imextension.ServerState_SERVER_STATE_LEAVING || m.GetRetryAfterSeconds() < 1 || m.GetRetryAfterSeconds() > 11 || got[0].Seq != 0 {
				t.Errorf("a new client got %v", got)
			}
		}
		for second := range 8 {
			if n := gone(all); n < 4*second || n > 4*second+2 {
				t.Errorf("after %d s %d have left", second, n)
			}
			for range 10 {
				r.sleep(100*time.Millisecond, all...)
			}
		}
		if all[0].over {
			t.Error("who has something under way left before those who have not")
		}
		// Those whose turn has not come are served as ever.
		for _, w := range all {
			if !w.over {
				w.send(w.pack(client.CmdMsgData, 8, msg(2, text, "still here")))
			}
		}
		for range 100 {
			r.step(all...)
			r.sleep(100*time.Millisecond, all...)
		}
		<-done
		r.step(all...)
		for i, w := range all {
			if !w.over {
				t.Fatalf("%d is still there", i)
			}
			for _, g := range w.take() {
				if _, kicked := g.m.(*imlogin.IMKickUser); kicked {
					t.Errorf("%d is kicked", i)
				}
			}
		}
		ends := 0
		for _, kind := range r.node.kinds() {
			if kind == "SessionEnded" {
				ends++
			}
		}
		if ends != 40 {
			t.Errorf("the log is told of %d ends", ends)
		}
	})
}

// The acks of what was sent leave before the socket closes, whatever the outcome's time.
func TestDrainWaitsForAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.DrainTimeout = 10 * time.Second })
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		ann.take()
		ann.send(ann.pack(client.CmdMsgData, 44, msg(2, text, "x")))
		done := drained(r)
		r.sleep(3*time.Second, ann, bob)
		if !bob.over || ann.over {
			t.Errorf("bob has left: %v, ann: %v", bob.over, ann.over)
		}
		if ann.read {
			t.Error("more is read of who leaves")
		}
		r.step(ann)
		r.sleep(time.Second, ann)
		acks := 0
		for _, g := range ann.take() {
			if _, ok := g.m.(*immessage.IMMsgDataAck); ok {
				acks++
			}
		}
		if acks != 1 || !ann.over {
			t.Errorf("%d acks, closed: %v", acks, ann.over)
		}
		<-done
	})
}

// The deadline holds, though acks don't come and clients don't read; who is left is the end
// of the node's life to tell of.
func TestDrainEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.DrainTimeout, c.DrainRate = 10*time.Second, 0.01 })
		all := r.guests(20)
		all[0].send(all[0].pack(client.CmdMsgData, 44, msg(2, text, "x")))
		all[1].deaf = true
		began := time.Now()
		done := drained(r)
		over := false
		for !over {
			r.sleep(50*time.Millisecond, all...)
			select {
			case <-done:
				over = true
			default:
			}
			if time.Since(began) > 20*time.Second {
				t.Fatal("it goes on")
			}
		}
		if took := time.Since(began); took > 15*time.Second+100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		r.settle(all...)
		r.node.step()
		for _, kind := range r.node.kinds()[20:] {
			if kind != "SessionEnded" && kind != "MessageSent" {
				t.Errorf("the log has %s", kind)
			}
		}
		if r.node.find("SessionEnded") == nil {
			t.Error("nobody's end was told")
		}
	})
}

// A login that is under way gets its answer, and then its turn.
func TestLoginDuringADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.connect()
		req := loginReq("ann", "pw", windows)
		req.Features = new(uint32(imextension.Feature_FEATURE_NOTICES))
		w.send(w.pack(client.CmdLoginReq, 9, req))
		r.settle(w)
		done := drained(r)
		r.sleep(100*time.Millisecond, w)
		if w.over {
			t.Fatal("it is closed without an answer")
		}
		r.step(w)
		r.sleep(time.Second, w)
		got := w.take()
		if len(got) != 2 || got[0].m.(*imlogin.IMLoginRes).GetResultCode() != loginOK ||
			got[1].m.(*imextension.ServerNotify).GetState() != imextension.ServerState_SERVER_STATE_LEAVING || !w.over {
			t.Errorf("got %v, closed: %v", got, w.over)
		}
		<-done
	})
}

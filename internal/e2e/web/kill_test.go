package web

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/network"

	"godwit/internal/e2e/e2etest"
	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
)

// TestServerIsKilledWhileBothWrite kills the server under two browsers that write, with messages on their way, and starts it
// again where it was: all that was written is there, once, and in one order for both browsers and for the log. The first time
// some messages are in the log and only their acks are lost; the second time the server dies while it deals with them.
func TestServerIsKilledWhileBothWrite(t *testing.T) {
	data, clients, http := t.TempDir(), e2etest.FreePort(), e2etest.FreePort()
	s := alone(t, data, "--listen", clients, "--http", http)
	anna, bela := s.account(t, "anna", "Anna Lind"), s.account(t, "bela", "Bela Kovacs")
	net := newRelay(t, http)
	a, b := net.signedIn(t, anna).with(bela), net.signedIn(t, bela).with(anna)
	a.tolerate(away...)
	b.tolerate(away...)

	var written []string
	both := func(what string, n int) {
		var all sync.WaitGroup
		for _, c := range []*client{a, b} {
			all.Go(func() {
				for i := range n {
					c.write(fmt.Sprintf("%s %s %d", c.me.name, what, i+1))
				}
			})
			for i := range n {
				written = append(written, fmt.Sprintf("%s %s %d", c.me.name, what, i+1))
			}
		}
		all.Wait()
	}
	waiting := func(c *client) (n int) {
		for _, m := range c.messages() {
			if m.State == "pending" {
				n++
			}
		}
		return n
	}
	const rounds = 2
	for round := range rounds {
		both(fmt.Sprintf("before kill %d,", round+1), 4)
		for _, c := range []*client{a, b} {
			c.until("no message on its way", func() (bool, string) { n := waiting(c); return n == 0, fmt.Sprint(n) })
		}
		w := s.windows(t, anna, ttclient.Options{Device: imbase.ClientType_CLIENT_TYPE_ANDROID})
		stored := func() int { return len(history(t, w, ttclient.Conversation{ID: bela.id})) }
		before := stored()
		if round == 0 {
			net.setMute(true) // what the server says from here on, acks among it, is lost
		} else if err := s.Cmd.Process.Signal(syscall.SIGSTOP); err != nil { // messages come as far as its sockets
			t.Fatal(err)
		}
		both(fmt.Sprintf("into kill %d,", round+1), 3)
		if na, nb := waiting(a), waiting(b); na == 0 || nb == 0 {
			t.Fatalf("%d and %d messages on their way, neither may be 0", na, nb)
		}
		if round == 0 {
			a.until("messages in the log whose acks are lost", func() (bool, string) {
				n := stored()
				return n >= before+2, fmt.Sprintf("%d of %d", n, before+2)
			})
		} else if err := s.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		s.Kill()
		net.setMute(false)
		a.connection("connecting", "offline")
		b.connection("connecting", "offline")
		both(fmt.Sprintf("during kill %d,", round+1), 2)
		if round == 0 {
			a.is("a notice", `(() => { const s = getComputedStyle(document.querySelector(".connection[role=status]")); return s.visibility === "visible" && s.opacity === "1"; })()`)
			a.shoot("server is away")
		}
		s = alone(t, data, "--listen", clients, "--http", http)
		for _, c := range []*client{a, b} {
			c.connection("online")
			c.until("all messages sent", func() (bool, string) { n := waiting(c); return n == 0, fmt.Sprint(n, " wait") })
		}
	}
	a.write("the end")
	b.hears("the end")
	written = append(written, "the end")

	log := history(t, s.windows(t, anna, ttclient.Options{}), ttclient.Conversation{ID: bela.id})
	for _, c := range []*client{a, b} {
		c.until("what the log has", func() (bool, string) {
			var shown []string
			for _, m := range c.messages() {
				shown = append(shown, m.Text)
			}
			return len(shown) <= len(log) && len(shown) > 0 && slices.Equal(shown, log[len(log)-len(shown):]), fmt.Sprintf("it shows\n%s\nthe log has\n%s", lines(shown), lines(log))
		})
		if n := len(c.messages()); n < len(log) {
			t.Logf("%s shows the last %d of %d", c.me.name, n, len(log))
		}
	}
	slices.Sort(written)
	sorted := slices.Sorted(slices.Values(log))
	if !slices.Equal(sorted, written) {
		t.Errorf("in the log:\n%s\nwritten:\n%s", lines(sorted), lines(written))
	}
	for _, who := range []person{anna, bela} { // each one's own in the order written
		var own []string
		for _, text := range log {
			if strings.HasPrefix(text, who.name) {
				own = append(own, text)
			}
		}
		for round := range rounds {
			i := slices.Index(own, fmt.Sprintf("%s before kill %d, 1", who.name, round+1))
			for k, part := range []string{"before kill %d, 1", "before kill %d, 2", "before kill %d, 3", "before kill %d, 4", "into kill %d, 1", "into kill %d, 2", "into kill %d, 3", "during kill %d, 1", "during kill %d, 2"} {
				if want := who.name + " " + fmt.Sprintf(part, round+1); i < 0 || i+k >= len(own) || own[i+k] != want {
					t.Fatalf("%s wrote, by the log:\n%s\nthere should be %q in place %d", who.name, lines(own), want, i+k)
				}
			}
		}
	}
}

// offline has the browser know of it, as it does where a device has no network.
func (p *tab) offline(on bool) {
	p.t.Helper()
	must(p, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: on, DownloadThroughput: -1, UploadThroughput: -1})
}

// TestOffline takes the network from a browser: it says so, keeps what is written meanwhile, and sends it once as soon as
// the network is there.
func TestOffline(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	net := newRelay(t, s.HTTP)
	a := net.signedIn(t, anna).with(bela)
	a.tolerate(away...)
	b := s.signedIn(t, bela, desktop).with(anna)
	a.write("before")
	b.hears("before")

	net.set(true)
	a.offline(true)
	a.connection("offline", "connecting")
	a.write("written without a network")
	a.shows("pending", "written without a network", func(m said) bool { return m.State == "pending" })
	b.write("said meanwhile")
	b.marked("said meanwhile", "sent", "delivered")
	a.says(css(".connection"), "offline")
	a.shoot("offline")
	a.fit("offline")

	net.set(false)
	a.offline(false)
	a.connection("online")
	a.marked("written without a network", "sent", "delivered", "read")
	a.hears("said meanwhile")
	b.hears("written without a network")
	want := []string{"before", "said meanwhile", "written without a network"}
	if log := history(t, s.windows(t, anna, ttclient.Options{}), ttclient.Conversation{ID: bela.id}); !slices.Equal(log, want) {
		t.Errorf("the log has %q, should have %q", log, want)
	}
	for _, c := range []*client{a, b} {
		var shown []string
		for _, m := range c.messages() {
			shown = append(shown, m.Text)
		}
		if !slices.Equal(shown, want) {
			t.Errorf("%s is shown %q", c.me.name, shown)
		}
	}
}

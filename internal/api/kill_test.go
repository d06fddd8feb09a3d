package api_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/internal/api"
)

// dirVariable tells the test binary that it is to be the process that gets killed.
const dirVariable = "GODWIT_API_KILL_DIR"

// killed ends its process without a word when an answer is about to be noted: what was asked is in the log by then.
type killed struct {
	*bus.Bus
	answers int // to note before the end
	notes   int
}

func (k *killed) NoteRequest(ctx context.Context, name string, note []byte, expect uint64) (uint64, error) {
	if k.notes++; k.notes == 2*k.answers+2 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return k.Bus.NoteRequest(ctx, name, note, expect)
}

var killedRequests = []ask{
	keyed(ask{method: "POST", path: "/users", body: map[string]any{"name": "ann", "password": "x"}}, "ann"),
	keyed(ask{method: "POST", path: "/users", body: map[string]any{"name": "bob", "password": "x"}}, "bob"),
	keyed(ask{method: "POST", path: "/messages", body: map[string]any{"from": 1, "to_user": 2, "text": "once"}}, "message"),
}

// TestTheProcessThatIsKilled runs in a process of its own.
func TestTheProcessThatIsKilled(t *testing.T) {
	dir, at, _ := strings.Cut(os.Getenv(dirVariable), "|")
	if dir == "" {
		t.Skip("started by TestAKillBetweenTheLogAndTheAnswer")
	}
	answers, err := strconv.Atoi(at)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, bustest.WithDir(dir))
	r.cfg.Log = &killed{Bus: r.bus.Bus, answers: answers}
	s := r.newSide(r.cfg)
	for _, q := range killedRequests {
		s.do(q)
	}
	t.Fatal("it lives")
}

func TestAKillBetweenTheLogAndTheAnswer(t *testing.T) {
	wants := []string{`"number":1`, `"number":2`, `"id":1,`}
	for last := range killedRequests {
		t.Run(strconv.Itoa(last), func(t *testing.T) {
			dir := t.TempDir()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTheProcessThatIsKilled$")
			child.Env = append(os.Environ(), dirVariable+"="+dir+"|"+strconv.Itoa(last))
			out, err := child.CombinedOutput()
			if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the process was not killed: %v\n%s", err, out)
			}
			r := newRig(t, bustest.WithDir(dir))
			done := func() (n int) {
				for _, s := range r.bus.Streams() {
					for _, ev := range r.events(s) {
						if ev.GetMessageSent() != nil || ev.GetPersonRegistered() != nil {
							n++
						}
					}
				}
				return n
			}
			if done() != last+1 {
				t.Fatalf("at the kill the log held %d events of %d requests", done(), last+1)
			}
			for i, q := range killedRequests {
				got := r.do(q)
				replayed := got.header.Get("Idempotency-Replayed") == "true"
				if got.status != http.StatusCreated || !strings.Contains(string(got.body), wants[i]) || replayed != (i < last) {
					t.Errorf("%d: %d %s, given before: %v", i, got.status, got.body, replayed)
				}
			}
			var page struct{ Users []api.User }
			r.ok(http.StatusOK, "GET", "/users", nil, &page)
			if messages := len(r.history(2, "user-1")); len(page.Users) != 2 || messages != 1 {
				t.Errorf("in the end %d people, %d messages", len(page.Users), messages)
			}
		})
	}
}

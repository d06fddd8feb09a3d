package up_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/internal/password"
	"godwit/internal/up"
)

// start brings godwit up in dir and returns what it printed until it was ready, and
// how to end it.
func start(t *testing.T, dir string, change func(*up.Config)) (lines []string, stop func() error) {
	t.Helper()
	out, in := io.Pipe()
	cfg := up.Config{DataDir: dir, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Durability: bus.OS, PasswordCost: password.Cost{MemoryKiB: 64, Iterations: 1}, Out: in}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := up.Run(ctx, cfg)
		in.Close()
		ended <- err
	}()
	stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
	t.Cleanup(func() { _ = stop() })
	s := bufio.NewScanner(out)
	for s.Scan() {
		lines = append(lines, s.Text())
		if strings.HasPrefix(s.Text(), "ready ") {
			return lines, stop
		}
	}
	return lines, stop
}

func TestReadyLineNamesItsAddressesAndTheEndIsClean(t *testing.T) {
	dir := t.TempDir()
	lines, stop := start(t, dir, nil)
	if len(lines) != 1 {
		t.Fatalf("printed %q", lines)
	}
	for _, key := range []string{"clients=127.0.0.1:", "http=127.0.0.1:", "admin=127.0.0.1:", "durability=os", "reach=loopback-only"} {
		if !strings.Contains(lines[0], key) {
			t.Errorf("ready line %q lacks %s", lines[0], key)
		}
	}
	if strings.Contains(lines[0], ":0 ") {
		t.Errorf("ready line %q names a port that nobody can reach", lines[0])
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, _ = start(t, dir, nil)
	err := up.Run(t.Context(), up.Config{DataDir: dir, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0"})
	if !errors.Is(err, datadir.ErrInUse) {
		t.Fatalf("second process: %v", err)
	}
	if _, err := up.ReplayStopped(t.Context(), dir, true, nil, nil); !errors.Is(err, datadir.ErrInUse) {
		t.Fatalf("replay beside a running one: %v", err)
	}
}

func TestReplayOfAStoppedDirectory(t *testing.T) {
	dir := t.TempDir()
	_, stop := start(t, dir, func(c *up.Config) { c.Demo = true })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, verify := range []bool{true, false, true} {
		r, err := up.ReplayStopped(t.Context(), dir, verify, nil, nil)
		if err != nil || !r.Equal() || len(r.Views) != 10 {
			t.Fatalf("verify %v: %d views, equal %v, %v", verify, len(r.Views), r.Equal(), err)
		}
		if people := r.Views[0]; people.Name != "people" || people.Events < 10 || people.Present == "" {
			t.Fatalf("people: %+v", people)
		}
	}
}

func TestADemoTouchesNobodyElsesPeople(t *testing.T) {
	dir := t.TempDir()
	first, stop := start(t, dir, func(c *up.Config) { c.Demo = true })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	again, stop := start(t, dir, func(c *up.Config) { c.Demo = true })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(first) != 3 || len(again) != 3 || first[0] != again[0] || first[1] != again[1] {
		t.Fatalf("demo printed %q, then %q", first, again)
	}

	other := t.TempDir()
	addPerson(t, other)
	var out bytes.Buffer
	err := up.Run(t.Context(), up.Config{DataDir: other, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Durability: bus.OS, PasswordCost: password.Cost{MemoryKiB: 64, Iterations: 1}, Demo: true, Out: &out})
	if err == nil || !strings.Contains(err.Error(), "holds people of its own") || out.Len() > 0 {
		t.Fatalf("demo among others' people: %v, printed %q", err, out.String())
	}
}

func addPerson(t *testing.T, dir string) {
	t.Helper()
	_, stop := start(t, dir, nil)
	addr, token, err := datadir.FindAdmin(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.NewClient(addr, token).Add(t.Context(), admin.NewPerson{Name: "anna", Password: "a long one"}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// reached is an address of the ready line.
func reached(t *testing.T, lines []string, name string) string {
	t.Helper()
	for word := range strings.FieldsSeq(lines[len(lines)-1]) {
		if at, ok := strings.CutPrefix(word, name+"="); ok {
			return at
		}
	}
	t.Fatalf("no %s in %q", name, lines)
	return ""
}

// The page for browsers is on the public port and the console on the admin's, each with the policy that guards it, and
// none where the other is.
func TestPagesAreServed(t *testing.T) {
	lines, _ := start(t, t.TempDir(), func(c *up.Config) { c.Contacts, c.RecallTime, c.PictureUpload = "friends", 2*time.Minute, "off" })
	public, private := "http://"+reached(t, lines, "http"), "http://"+reached(t, lines, "admin")
	for url, want := range map[string]int{
		public + "/": 200, public + "/client.json": 200, public + "/console/": 404, public + "/metrics": 404,
		private + "/console/": 200, private + "/console": 200, private + "/": 404, private + "/client.json": 404,
	} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s answers %d, %v; want %d", url, resp.StatusCode, err, want)
		}
		if want == 200 && !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s has the policy %q", url, resp.Header.Get("Content-Security-Policy"))
		}
		if strings.HasSuffix(url, ".json") && want == 200 {
			for _, part := range []string{`"contacts":"friends"`, `"recallSeconds":120`, `"editSeconds":0`, `"groupLimit":10000`, `"pictures":false`, `"ws":"/ws"`} {
				if !strings.Contains(string(body), part) {
					t.Errorf("%s lacks %s", body, part)
				}
			}
		}
	}
}

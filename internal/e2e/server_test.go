package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/admin"
	"godwit/internal/e2e/e2etest"
)

// server is one godwit process over a data directory.
type server struct{ *e2etest.Server }

// start runs `godwit up` over the data directory and waits for its ready line. The
// process is killed at the end of the test at the latest.
func start(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	s, err := tryStart(t, nil, data, flags...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tryStart is start that may fail; wrap, where given, is a command that runs the
// program (strace).
func tryStart(t *testing.T, wrap []string, data string, flags ...string) (*server, error) {
	t.Helper()
	s := launch(t, wrap, data, flags...)
	if err := s.Up(); err != nil {
		return nil, err
	}
	return s, nil
}

// launch runs `godwit up` and waits for nothing.
func launch(t *testing.T, wrap []string, data string, flags ...string) *server {
	t.Helper()
	running, err := e2etest.Launch(append(slices.Clone(wrap), program(t)), data, flags...)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{running}
	t.Cleanup(func() {
		s.Kill()
		if s.Out.Count(e2etest.DataRace) > 0 {
			t.Error("the race detector found something in the program")
		}
		s.Explain(t)
	})
	return s
}

// Over is closed when the process has ended. A nil server, one in this process, never
// does.
func (s *server) Over() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.Gone
}

// stop ends the process as an operator would, and demands that it ends well.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop: %v\n%s", err, s.Out.Tail())
	}
	select {
	case <-s.Gone:
	case <-time.After(e2etest.Patience):
		_ = s.Cmd.Process.Signal(syscall.SIGQUIT) // for the stacks
		<-s.Gone
		t.Fatalf("did not stop in %v:\n%s", e2etest.Patience, s.Out.Tail())
	}
	if s.Err != nil {
		t.Fatalf("stop: %v\n%s", s.Err, s.Out.Tail())
	}
}

// register makes people u1, u2, … with their names as passwords, and returns their
// numbers.
func (s *server) register(t *testing.T, n int) []uint32 {
	t.Helper()
	people := make([]admin.NewPerson, n)
	for i := range people {
		people[i] = admin.NewPerson{Name: e2etest.Name(i), Password: e2etest.Name(i)}
	}
	client := s.Admin(t)
	err := client.Import(t.Context(), people, func(p admin.ImportProgress) {
		for _, r := range p.Refused {
			t.Errorf("import of %s: %s", r.Name, r.Error)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	number := map[string]uint32{}
	for p, err := range client.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		number[p.Name] = p.Number
	}
	ids := make([]uint32, n)
	for i := range ids {
		if ids[i] = number[e2etest.Name(i)]; ids[i] == 0 {
			t.Fatalf("%s is not among the people", e2etest.Name(i))
		}
	}
	return ids
}

// ready asks /readyz of the admin port.
func (s *server) ready(t *testing.T) (status int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.AdminAddr+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// rss is the resident memory of the process in bytes.
func (s *server) rss(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// godwit runs a command of the program to its end and returns what it printed.
func godwit(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*e2etest.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program(t), args...).CombinedOutput()
	return string(out), err
}

// verify replays the log of a stopped directory beside its views and demands that
// they are equal.
func verify(t *testing.T, data string) {
	t.Helper()
	if out, err := godwit(t, "replay", "--verify", "--data", data); err != nil {
		t.Fatalf("godwit replay --verify: %v\n%s", err, out)
	}
}

// views lists the view files of a stopped directory.
func views(t *testing.T, data string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "views", "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatal("no view files: ", err)
	}
	return files
}

// copyTree copies a directory of a stopped process, keeping what sparse files hold.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

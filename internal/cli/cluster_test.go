package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"godwit/internal/datadir"
)

func TestClusterMakeSaysWhatItDid(t *testing.T) {
	dir := t.TempDir()
	args := []string{"cluster", "make", "--dir", dir, "--server", "nats-1", "--server", "nats-2=10.0.0.2", "--server", "nats-3"}
	run := func(args ...string) (string, string, int) {
		var out, wrong bytes.Buffer
		code := Run(t.Context(), args, IO{In: strings.NewReader(""), Out: &out, Err: &wrong})
		return out.String(), wrong.String(), code
	}
	out, wrong, code := run(args...)
	if code != ExitOK || !strings.Contains(out, "made     nats-2/nats.conf\n") || !strings.Contains(out, "3 NATS servers") {
		t.Fatalf("exit code %d, %q, %q", code, out, wrong)
	}
	if out, _, code = run(args...); code != ExitOK || strings.Count(out, "\n") != 1 || !strings.Contains(out, " 0 files made, 0 renewed, 0 changed,") {
		t.Errorf("again: exit code %d, %q", code, out)
	}
	out, _, code = run(append(args, "--name", "logs.example.org")...)
	if code != ExitOK || !strings.Contains(out, "renewed  nats-3/server.crt\n") || !strings.Contains(out, "restart, one after the other: nats-1, nats-2, nats-3\n") {
		t.Errorf("one name more: exit code %d, %q", code, out)
	}
	if _, err := datadir.ReadToken(dir + "/gateway/admin.token"); err != nil {
		t.Errorf("the gateway can't read its token: %v", err)
	}
	for _, wrong := range [][]string{
		{"cluster", "make", "--dir", dir},
		{"cluster", "make", "--server", "a"},
		{"cluster", "make", "--dir", dir, "--server", "connector"},
	} {
		if _, text, code := run(wrong...); code != ExitUsage || text == "" {
			t.Errorf("%q: exit code %d, %q", wrong, code, text)
		}
	}
}

func TestHealthAsksUntilReady(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 || r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "the log has no quorum")
			return
		}
		fmt.Fprintln(w, "ready")
	}))
	defer s.Close()
	addr := strings.TrimPrefix(s.URL, "http://")
	run := func(args ...string) (string, string, int) {
		var out, wrong bytes.Buffer
		code := Run(t.Context(), append([]string{"health", "--admin", addr}, args...), IO{In: strings.NewReader(""), Out: &out, Err: &wrong})
		return out.String(), wrong.String(), code
	}
	if _, text, code := run(); code != ExitError || !strings.Contains(text, "not ready: the log has no quorum") {
		t.Errorf("exit code %d, %q", code, text)
	}
	if text, _, code := run("--wait", "1m"); code != ExitOK || text != "ready\n" || asked.Load() != 3 {
		t.Errorf("exit code %d, %q, asked %d times", code, text, asked.Load())
	}
	if text, _, code := run("--say", "come in\n"); code != ExitOK || text != "come in\n" {
		t.Errorf("exit code %d, %q", code, text)
	}
	s.Close()
	if _, text, code := run(); code != ExitError || !strings.Contains(text, "does not answer") {
		t.Errorf("nobody there: exit code %d, %q", code, text)
	}
	for listened, asked := range map[string]string{"0.0.0.0:8081": "127.0.0.1:8081", "[::]:9": "127.0.0.1:9", "gateway:8081": "gateway:8081"} {
		if got := reachable(listened); got != asked {
			t.Errorf("%s is asked at %s, want %s", listened, got, asked)
		}
	}
}

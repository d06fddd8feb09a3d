package cli

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/internal/api"
	"godwit/internal/datadir"
	"godwit/internal/password"
	"godwit/internal/up"
)

// served is the data directory of a whole server.
func served(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		err := up.Run(ctx, up.Config{DataDir: dir, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Durability: bus.OS,
			PasswordCost: password.Cost{MemoryKiB: password.MinMemoryKiB, Iterations: 1}, Out: in})
		in.CloseWithError(io.EOF)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for s := bufio.NewScanner(out); s.Scan(); {
		if strings.HasPrefix(s.Text(), "ready ") {
			return dir
		}
	}
	t.Fatal("the server did not get ready")
	return ""
}

func TestKeysFromTheCommandLine(t *testing.T) {
	data := served(t)
	r := runWith(t, "", "key", "add", "billing", "--scope", "users:read,messages:send", "--scope", "users:read", "--expires-in", "48h", "--data", data)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if r.code != 0 || len(lines) != 2 {
		t.Fatalf("%+v", r)
	}
	id := strings.TrimSuffix(strings.TrimPrefix(lines[0], "added "), " for billing")
	key, _ := strings.CutPrefix(lines[1], "key ")
	if !strings.HasPrefix(key, "gw_"+id+"_") {
		t.Fatalf("%q", lines)
	}
	if r := runWith(t, "", "key", "add", strings.Repeat("a", 65), "--scope", "files", "--data", data); r.code != 1 || !strings.Contains(r.err, "name: expected length <= 64") {
		t.Errorf("a name that is too long: %+v", r)
	}
	addr, _, err := datadir.FindAdmin(data)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+api.Prefix+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	// A key opens the server API as far as its scopes go, and nothing of the operator's own.
	if users, groups, people := get("/users"), get("/groups"), get("/people"); users != http.StatusOK || groups != http.StatusForbidden || people != http.StatusUnauthorized {
		t.Errorf("users %d, groups %d, people %d", users, groups, people)
	}
	until := time.Now().UTC().Add(48 * time.Hour).Format(time.DateOnly)
	r = runWith(t, "", "key", "list", "--data", data)
	lines = strings.Split(strings.TrimSpace(r.out), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "ID") || strings.Contains(r.out, key) {
		t.Fatalf("%q", r.out)
	}
	for _, want := range []string{id, "billing", "until " + until, "operator", "messages:send,users:read"} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("%q lacks %q", lines[1], want)
		}
	}
	if r := runWith(t, "", "key", "revoke", id, "--data", data); r.code != 0 || r.out != "revoked "+id+"\n" {
		t.Errorf("%+v", r)
	}
	if got := get("/users"); got != http.StatusUnauthorized {
		t.Errorf("revoked, and %d", got)
	}
	if r := runWith(t, "", "key", "list", "--json", "--data", data); !strings.Contains(r.out, `"revoked":true`) || !strings.Contains(r.out, id) {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, "", "key", "revoke", "nobody", "--data", data); r.code != ExitError || r.err != "godwit: nobody: there is no such API key\n" {
		t.Errorf("%+v", r)
	}
}

func TestKeysOfUnknownScopesAreRefused(t *testing.T) {
	all := strings.Join(scopeNames(), ", ")
	for line, want := range map[string]string{
		"key add x":             "--scope is missing: give at least one of " + all,
		"key add x --scope all": `--scope is "all": give ` + all,
		"key add x --scope keys --expires-in -5m": `--expires-in is "-5m0s": give a duration above zero, for example 720h`,
		"key add --scope keys":                    "write: godwit key add NAME; see godwit key add --help",
		"key ad x":                                `godwit key has no command "ad": did you mean add?; see godwit key --help`,
	} {
		if r := runWith(t, "", strings.Fields(line)...); r.code != ExitUsage || r.err != "godwit: "+want+"\n" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

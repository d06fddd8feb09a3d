package datadir

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestSecondHolderIsRefusedUntilTheFirstCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(path)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("second open: %v, want ErrInUse with our pid", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("refusal is more than a sentence: %q", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatalf("after close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// TestHold is the other process of the test below.
func TestHold(t *testing.T) {
	path := os.Getenv("HOLD_DATADIR")
	if path == "" {
		t.Skip("is run by TestLockOfAKilledProcessIsFree")
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("held", d.Path())
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent kills or leaves
}

func TestLockOfAKilledProcessIsFree(t *testing.T) {
	path := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestHold$", "-test.v")
	child.Env = append(os.Environ(), "HOLD_DATADIR="+path)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); ; {
		if !lines.Scan() {
			t.Fatal("the other process did not get the lock")
		}
		if strings.HasPrefix(lines.Text(), "held") {
			break
		}
	}
	refused, ok := errors.AsType[*InUseError](func() error { _, err := Open(path); return err }())
	if !ok || refused.PID != child.Process.Pid {
		t.Errorf("refusal %+v, want pid %d", refused, child.Process.Pid)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	d, err := Open(path)
	if err != nil {
		t.Fatalf("after the kill: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestTokenIsMadeOnceAndForItsOwnerOnly(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	token, err := d.Token()
	if err != nil || len(token) < 43 {
		t.Fatalf("token %q, %v", token, err)
	}
	if again, err := d.Token(); err != nil || again != token {
		t.Errorf("second token %q, %v", again, err)
	}
	file := filepath.Join(path, TokenFile)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("token that others may read: %v", err)
	}
}

func TestAdminIsFoundWhileItRuns(t *testing.T) {
	path := t.TempDir()
	if _, _, err := FindAdmin(path); !errors.Is(err, ErrNoServer) {
		t.Fatalf("before: %v", err)
	}
	d := open(t, path)
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	for bound, want := range map[string]string{
		"127.0.0.1:8081": "127.0.0.1:8081", "0.0.0.0:9": "127.0.0.1:9", "[::]:9": "127.0.0.1:9", "10.1.2.3:4": "10.1.2.3:4",
	} {
		addr, err := net.ResolveTCPAddr("tcp", bound)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.PublishAdmin(addr); err != nil {
			t.Fatal(err)
		}
		if got, gotToken, err := FindAdmin(path); err != nil || got != want || gotToken != token {
			t.Errorf("bound to %s: found %s, %v", bound, got, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := FindAdmin(path); !errors.Is(err, ErrNoServer) {
		t.Errorf("after: %v", err)
	}
}

func TestOpenForgetsTheAddressOfAKilledServer(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, addrFile), []byte("127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if _, _, err := FindAdmin(path); !errors.Is(err, ErrNoServer) {
		t.Errorf("stale address: %v", err)
	}
}

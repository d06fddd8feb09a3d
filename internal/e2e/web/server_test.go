package web

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/internal/e2e/e2etest"
)

// server is one godwit process over a data directory.
type server struct {
	data               string
	clients, http, adm string
	out                *e2etest.Output
	cmd                *exec.Cmd
	gone               chan struct{} // closed when the process has ended
}

// launch runs `godwit up` and waits for its ready line.
func launch(data string, flags ...string) (*server, error) {
	program, err := build()
	if err != nil {
		return nil, err
	}
	s := &server{data: data, out: e2etest.NewOutput(), gone: make(chan struct{})}
	s.cmd = exec.Command(program, append([]string{"up", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--file-listen", "127.0.0.1:0", "--password-cost", "64,1"}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not to outlive a test binary that is killed
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in its output
		s.out.End()
		close(s.gone)
	}()
	line, err := s.out.Find("ready", "clients=")
	if err != nil {
		s.kill()
		return nil, fmt.Errorf("start: %w", err)
	}
	for f := range strings.FieldsSeq(line) {
		switch k, v, _ := strings.Cut(f, "="); k {
		case "clients":
			s.clients = v
		case "http":
			s.http = v
		case "admin":
			s.adm = v
		}
	}
	return s, nil
}

// kill ends the process as a power button would, and waits for its end.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.gone
}

func (s *server) token(t *testing.T) string {
	t.Helper()
	_, token, err := datadir.FindAdmin(s.data)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (s *server) admin(t *testing.T) *admin.Client {
	t.Helper()
	return admin.NewClient(s.adm, s.token(t))
}

// shared is the server of all tests that leave it alive.
var shared sharedServer

type sharedServer struct {
	mu sync.Mutex
	s  *server
}

func (x *sharedServer) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.s != nil {
		x.s.kill()
	}
}

// together is the server that tests share; each has people of its own on it.
func together(t *testing.T) *server {
	t.Helper()
	chromium(t) // first: where there is none, nothing else is needed
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.s == nil {
		data, err := os.MkdirTemp(workDir, "data")
		if err == nil {
			shared.s, err = launch(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	explain(t, shared.s)
	return shared.s
}

// alone is a server of the test's own.
func alone(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	chromium(t)
	s, err := launch(data, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	explain(t, s)
	return s
}

// explain shows the server's log where the test fails.
func explain(t *testing.T, s *server) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of process %d:\n%s", s.cmd.Process.Pid, s.out.Tail())
		}
	})
}

// freePort is a port that nobody listens at, for a server that must come back where it was.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// person is an account. The password is the login name.
type person struct {
	name, nick string
	id         uint32
}

var made struct {
	mu sync.Mutex
	n  int
}

var surnames = strings.Fields("Lind Kovacs Ferrari Novak Haas Silva Moreau Jansen Weber Rossi Varga Dubois Berg Costa Horvat Keller Larsen Meyer Nagy Olsen " +
	"Petit Ricci Santos Tóth Urban Vogel Wagner Ziegler Adler Bauer Conti Dahl Engel Fischer Gallo Hansen Ivanov Jung Koch Lang")

// person makes an account that no other test has; the nick is the name with one of the surnames.
func (s *server) person(t *testing.T, name string) person {
	t.Helper()
	made.mu.Lock()
	n := made.n
	made.n++
	made.mu.Unlock()
	return s.account(t, fmt.Sprint(strings.ToLower(name), n), name+" "+surnames[n%len(surnames)])
}

func (s *server) account(t *testing.T, name, nick string) person {
	t.Helper()
	p, err := s.admin(t).Add(t.Context(), admin.NewPerson{Name: name, Nick: nick, Password: name})
	if err != nil {
		t.Fatal(err)
	}
	return person{name: name, nick: nick, id: p.Number}
}

// key names the conversation with a person, as the pages do.
func (p person) key() string { return fmt.Sprintf("u%d", p.id) }

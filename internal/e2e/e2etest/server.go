package e2etest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"godwit/internal/admin"
	"godwit/internal/datadir"
)

// Build makes the program; flags go to go build.
func Build(program string, flags ...string) error {
	args := append([]string{"build", "-o", program}, flags...)
	if out, err := exec.Command("go", append(args, "godwit")...).CombinedOutput(); err != nil {
		return fmt.Errorf("build of the program: %w\n%s", err, out)
	}
	return nil
}

// FreePort is an address that nobody listens at, for a server that must come back where
// it was. Its port is none of those that the system gives to whoever connects: one of them
// could be somebody's while the server is away.
func FreePort() string {
	for {
		at := fmt.Sprint("127.0.0.1:", 20_000+rand.IntN(10_000))
		if ln, err := net.Listen("tcp", at); err == nil {
			_ = ln.Close()
			return at
		}
	}
}

// Server is one godwit process over a data directory.
type Server struct {
	Data                     string
	Clients, HTTP, AdminAddr string
	Out                      *Output // standard output and error
	Cmd                      *exec.Cmd
	Gone                     chan struct{} // closed when the process has ended
	Err                      error         // how, once Gone is closed
}

// Launch runs `godwit up` on ports that are free, and waits for nothing. Program is the
// path of godwit, behind a command that runs it, where there is one (strace).
func Launch(program []string, data string, flags ...string) (*Server, error) {
	args := slices.Concat(program, []string{"up", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--admin", "127.0.0.1:0", "--file-listen", "127.0.0.1:0", "--password-cost", "64,1"}, flags)
	s := &Server{Data: data, Out: NewOutput(), Gone: make(chan struct{})}
	s.Cmd = exec.Command(args[0], args[1:]...)
	s.Cmd.Stdout, s.Cmd.Stderr = s.Out, s.Out
	// The process must not outlive a test binary that is killed itself. It leads a
	// group of its own, so that what runs under strace is met as well.
	s.Cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.Cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.Err = s.Cmd.Wait()
		s.Out.End()
		close(s.Gone)
	}()
	return s, nil
}

// Up waits for the ready line, and kills a process that says none.
func (s *Server) Up() error {
	line, err := s.Out.Find("ready", "clients=")
	if err != nil {
		s.Kill()
		return fmt.Errorf("start: %w", err)
	}
	for f := range strings.FieldsSeq(line) {
		switch k, v, _ := strings.Cut(f, "="); k {
		case "clients":
			s.Clients = v
		case "http":
			s.HTTP = v
		case "admin":
			s.AdminAddr = v
		}
	}
	if s.Clients == "" || s.HTTP == "" || s.AdminAddr == "" {
		s.Kill()
		return fmt.Errorf("start: incomplete ready line %q", line)
	}
	return nil
}

// Kill ends the process as a power button would, and waits for its end.
func (s *Server) Kill() {
	select {
	case <-s.Gone: // by itself; its number may be somebody else's by now
	default:
		_ = syscall.Kill(-s.Cmd.Process.Pid, syscall.SIGKILL)
		<-s.Gone
	}
}

// Explain shows the end of the log where the test fails.
func (s *Server) Explain(t *testing.T) {
	if t.Failed() {
		t.Logf("the end of the log of process %d:\n%s", s.Cmd.Process.Pid, s.Out.Tail())
	}
}

// Token is that of the process's admin API.
func (s *Server) Token(t *testing.T) string {
	t.Helper()
	_, token, err := datadir.FindAdmin(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Admin is a client of the process's admin API.
func (s *Server) Admin(t *testing.T) *admin.Client {
	t.Helper()
	return admin.NewClient(s.AdminAddr, s.Token(t))
}

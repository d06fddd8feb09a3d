package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"godwit/internal/e2e/e2etest"
)

// terminal is a `godwit chat` that a script drives.
type terminal struct {
	t    *testing.T
	name string
	in   io.WriteCloser
	out  *e2etest.Output
	mark int // lines that have been looked at
	cmd  *exec.Cmd
	gone chan struct{}
}

// chat starts a terminal and waits until it is logged in. The password is the name.
func chat(t *testing.T, addr, name, device string) *terminal {
	t.Helper()
	c := &terminal{t: t, name: name, out: e2etest.NewOutput(), gone: make(chan struct{})}
	c.cmd = exec.Command(program(t), "chat", name, "--server", addr, "--device", device)
	c.cmd.Env = append(os.Environ(), "GODWIT_PASSWORD="+name)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.gone)
		_ = c.cmd.Wait() // its exit code is asked for
		c.out.End()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.gone
		if t.Failed() {
			t.Logf("terminal of %s:\n%s", name, c.out.Tail())
		}
	})
	c.see("ready " + name)
	c.mark = 0 // notices may have come before
	return c
}

// see waits for a line that begins so, after those seen before.
func (c *terminal) see(begin string) string {
	c.t.Helper()
	line, at, err := c.out.Begins(c.mark, begin)
	if err != nil {
		c.t.Fatalf("terminal of %s: %v", c.name, err)
	}
	c.mark = at + 1
	return line
}

// do gives a command, and waits for the line that ends its answer.
func (c *terminal) do(command, end string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.in, command+"\n"); err != nil {
		c.t.Fatalf("terminal of %s: %v", c.name, err)
	}
	return c.see(end)
}

// ends waits for the end of the program.
func (c *terminal) ends(code int) {
	c.t.Helper()
	select {
	case <-c.gone:
	case <-time.After(e2etest.Patience):
		c.t.Fatalf("terminal of %s does not end", c.name)
	}
	if got := c.cmd.ProcessState.ExitCode(); got != code {
		c.t.Errorf("terminal of %s ended with code %d, should be %d", c.name, got, code)
	}
}

// TestTwoTerminals has two people talk with the program's own client, over a restart
// of the server, and has devices replace or leave alone one another.
func TestTwoTerminals(t *testing.T) {
	t.Parallel()
	data, addr := t.TempDir(), e2etest.FreePort()
	s := start(t, data, "--listen", addr)
	s.register(t, 3)
	a := chat(t, addr, "u1", "windows")
	b := chat(t, addr, "u2", "mac")

	// They see each other, and talk.
	a.do("wait status u2 online\ncontacts", "contact u2 online 0")
	a.see("end contacts 2")
	a.do("to u2 hello, \\ are you there?", "sent u2 1")
	if line := b.see("message u1 1 "); line != `message u1 1 u1 hello, \\ are you there?` {
		t.Errorf("u2 got %q", line)
	}
	b.do("unread", "unread u1 1")
	b.see("end unread 1")
	b.do("to u1 yes", "sent u1 2")
	b.do("unread", "end unread 0") // who writes has read
	a.see("message u2 2 u2 yes")
	a.do("unread", "end unread 1")
	a.do("to u2 fine", "sent u2 3")
	b.see("message u1 3 u1 fine")

	// A restart: they come back by themselves, and all is as it was.
	s.stop(t)
	start(t, data, "--listen", addr)
	a.see("back")
	b.see("back")
	b.do("unread", "unread u1 1")
	b.see("end unread 1")
	b.do("history u1", "end history u1 3")
	b.do("read u1", "read u1 3")
	b.do("unread", "end unread 0")
	a.do("unread", "end unread 0")
	a.do("wait status u2 online\ncontacts", "contact u2 online")

	// A phone leaves the desktop alone and is told of it; a message reaches both.
	phone := chat(t, addr, "u2", "android")
	phone.see("desktop online")
	phone.do("history u1", "history u1 1 u1 hello")
	phone.see("end history u1 3")
	a.do("to u2 to both", "sent u2 4")
	b.see("message u1 4 u1 to both")
	phone.see("message u1 4 u1 to both")
	phone.do("read u1", "read u1 4")
	b.see("read u1 4")

	// A second desktop replaces the first, whose program says so and ends.
	b2 := chat(t, addr, "u2", "windows")
	b.see("kicked")
	b.ends(3)
	b2.do("history u1 1", "history u1 4 u1 to both")
	b2.see("end history u1 1")
	phone.do("to u1 still here", "sent u1 5")
	b2.see("message u1 5 u2 still here")
	a.see("message u2 5 u2 still here")

	// The phone sends the desktop away.
	phone.do("kick-desktop", "desktop offline")
	b2.see("kicked")
	b2.ends(3)
	a.see("status u2 offline")

	if _, err := io.WriteString(a.in, "quit\n"); err != nil {
		t.Fatal(err)
	}
	a.ends(0)

	// On the wire: 0x0107, and the socket is closed.
	kicked := make(chan e2etest.Packet, 16)
	raw, err := e2etest.Open(addr, "u3", e2etest.DeviceMac, func(p e2etest.Packet) { kicked <- p })
	if err != nil {
		t.Fatal(err)
	}
	chat(t, addr, "u3", "windows")
	select {
	case <-raw.Done:
	case <-time.After(e2etest.Patience):
		t.Fatal("the socket of the replaced session was not closed")
	}
	if !errors.Is(raw.Err, io.EOF) {
		t.Errorf("the replaced session ended with %v", raw.Err)
	}
	var last e2etest.Packet
	for len(kicked) > 0 {
		last = <-kicked
	}
	if last.Command != e2etest.CmdKicked || last.Body.Num(1) != raw.User || last.Body.Num(2) != 1 {
		t.Errorf("the last PDU was %#04x, reason %d; should be a kick for reason 1", last.Command, last.Body.Num(2))
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"godwit/internal/cli"
)

// patience bounds every wait for what must come.
const patience = 60 * time.Second

// program is one run of the command line, with pipes where a terminal would be.
type program struct {
	t     *testing.T
	args  []string
	stop  context.CancelFunc
	in    io.WriteCloser
	lines chan string
	code  chan int
	seen  []string
}

func run(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in, typed := io.Pipe()
	printed, out := io.Pipe()
	p := &program{t: t, args: args, stop: cancel, in: typed, lines: make(chan string, 1024), code: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(printed); s.Scan(); {
			select {
			case p.lines <- s.Text():
			case <-ended:
			}
		}
	}()
	go func() {
		var said bytes.Buffer
		code := cli.Run(ctx, args, cli.IO{In: in, Out: out, Err: &said})
		out.Close()
		close(ended)
		if code != 0 {
			t.Logf("%v ended with %d: %s", args, code, said.String())
		}
		p.code <- code
	}()
	t.Cleanup(func() {
		cancel()
		typed.Close()
		if t.Failed() {
			t.Logf("%v printed:\n%s", args, strings.Join(p.seen, "\n"))
		}
	})
	return p
}

// types writes a line to the program.
func (p *program) types(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatalf("%v takes no %q: %v", p.args, line, err)
	}
}

// expect waits for lines with these beginnings, in this order, others between them.
func (p *program) expect(beginnings ...string) (last string) {
	p.t.Helper()
	limit := time.After(patience)
	for _, b := range beginnings {
		for !strings.HasPrefix(last, b) {
			select {
			case line, more := <-p.lines:
				if !more {
					p.t.Fatalf("%v ended without %q", p.args, b)
				}
				p.seen = append(p.seen, line)
				last = line
			case <-limit:
				p.t.Fatalf("%v printed no %q", p.args, b)
			}
		}
	}
	return last
}

// expectBoth waits for two lines in either order.
func (p *program) expectBoth(one, other string) {
	p.t.Helper()
	from := len(p.seen)
	p.expect(one)
	for _, line := range p.seen[from:] {
		if strings.HasPrefix(line, other) {
			return
		}
	}
	p.expect(other)
}

// ends waits for the end of the program.
func (p *program) ends(want int) {
	p.t.Helper()
	limit := time.After(patience)
	lines := p.lines
	for {
		select {
		case line, more := <-lines:
			if !more {
				lines = nil
				continue
			}
			p.seen = append(p.seen, line)
		case code := <-p.code:
			if code != want {
				p.t.Errorf("%v ended with %d, want %d", p.args, code, want)
			}
			return
		case <-limit:
			p.t.Fatalf("%v does not end", p.args)
		}
	}
}

// up starts a server over the directory, at an address for clients that may be chosen.
func up(t *testing.T, data, listen string) (server *program, clients string) {
	t.Helper()
	server = run(t, "up", "--data", data, "--listen", listen, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--password-cost", "8,1", "--log-level", "error")
	for field := range strings.FieldsSeq(server.expect("ready ")) {
		if addr, found := strings.CutPrefix(field, "clients="); found {
			return server, addr
		}
	}
	t.Fatal("the ready line names no address for clients")
	return nil, ""
}

// Two people talk on two terminals, see each other come, and find unread messages and
// history after the server was restarted under them. A second desktop sends the
// first away; a phone does not, is told of it, and may send it away.
func TestTwoTerminals(t *testing.T) {
	data := t.TempDir()
	server, clients := up(t, data, "127.0.0.1:0")
	for _, args := range [][]string{
		{"user", "add", "anna", "--password", "anna's", "--data", data},
		{"user", "add", "--data", data, "--password", "bela's", "bela"},
		{"friend", "add", "anna", "bela", "--data", data},
	} {
		run(t, args...).ends(cli.ExitOK)
	}
	chat := func(name string, args ...string) *program {
		p := run(t, append([]string{"chat", name, "--server", clients, "--password", name + "'s"}, args...)...)
		p.expect("ready " + name)
		return p
	}

	anna, bela := chat("anna"), chat("bela")
	anna.expect("status bela online")
	anna.types("to bela good morning")
	anna.expect("sent bela 1")
	bela.expect("message anna 1 anna good morning")
	bela.types("contacts")
	bela.expect("contact anna online 1", "end contacts 1")

	server.stop()
	server.ends(cli.ExitOK)
	anna.expect("lost ")
	server, _ = up(t, data, clients)
	anna.expect("back")
	bela.expect("back")
	bela.types("unread")
	bela.expect("unread anna 1", "end unread 1")
	bela.types("history anna")
	bela.expect("history anna 1 anna good morning", "end history anna 1")
	bela.types("read anna")
	bela.expect("read anna 1")
	bela.types("unread")
	bela.expect("end unread 0")
	bela.types("to anna and to you")
	bela.expect("sent anna 2")
	anna.expect("message bela 2 bela and to you")

	other := chat("anna", "--device", "mac")
	anna.expect("kicked ")
	anna.ends(cli.ExitKicked)

	phone := run(t, "chat", "anna", "--server", clients, "--password", "anna's", "--device", "android")
	phone.expectBoth("ready anna", "desktop online")
	phone.types("to bela from the phone")
	phone.expect("sent bela 3")
	other.expect("message bela 3 anna from the phone")
	phone.types("kick-desktop")
	other.expect("kicked ")
	other.ends(cli.ExitKicked)
	phone.expect("desktop offline")
	bela.expect("status anna offline")

	for _, p := range []*program{phone, bela} {
		p.types("quit")
		p.ends(cli.ExitOK)
	}
	server.stop()
	server.ends(cli.ExitOK)
	run(t, "replay", "--verify", "--data", data).ends(cli.ExitOK)
}

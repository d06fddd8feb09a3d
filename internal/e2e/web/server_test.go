package web

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"godwit/internal/admin"
	"godwit/internal/e2e/e2etest"
)

// server is one godwit process over a data directory.
type server struct{ *e2etest.Server }

// launch runs `godwit up` and waits for its ready line.
func launch(data string, flags ...string) (*server, error) {
	program, err := build()
	if err != nil {
		return nil, err
	}
	s, err := e2etest.Launch([]string{program}, data, flags...)
	if err != nil {
		return nil, err
	}
	if err := s.Up(); err != nil {
		return nil, err
	}
	return &server{s}, nil
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
		x.s.Kill()
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
	s := shared.s
	t.Cleanup(func() { s.Explain(t) })
	return s
}

// alone is a server of the test's own.
func alone(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	chromium(t)
	s, err := launch(data, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	t.Cleanup(func() { s.Explain(t) })
	return s
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
	nick := name + " " + surnames[n%len(surnames)]
	if again := n / len(surnames); again > 0 {
		nick += fmt.Sprint(" ", again+1)
	}
	return s.account(t, fmt.Sprint(strings.ToLower(name), n), nick)
}

func (s *server) account(t *testing.T, name, nick string) person {
	t.Helper()
	p, err := s.Admin(t).Add(t.Context(), admin.NewPerson{Name: name, Nick: nick, Password: name})
	if err != nil {
		t.Fatal(err)
	}
	return person{name: name, nick: nick, id: p.Number}
}

// key names the conversation with a person, as the pages do.
func (p person) key() string { return fmt.Sprintf("u%d", p.id) }

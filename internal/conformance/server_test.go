package conformance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/internal/password"
	"godwit/internal/up"
)

var flagSilence = flag.Duration("silence", 17*time.Second,
	"how long clients keep silent where the protocol lets them; at 4m it is what Android does, and longer than the 120 s of a PC")

// patience bounds what must come. It is no measure of speed.
const patience = time.Minute

// server is a whole godwit in this process.
type server struct {
	clients, http  string
	tls, files     string // empty: none
	people         *admin.Client
	adminAt, token string // of the server API
	stop           func() error
}

// main serves all tests that need nothing special: contacts are everybody, and everything that
// can be switched on is.
var main *server

// reserved is the server with the other settings: contacts are friends, groups are small, and
// what can be switched off is. The first test that asks for it starts it.
var reserved = sync.OnceValues(func() (*server, error) {
	return start(func(c *up.Config) {
		c.Partitions, c.Contacts, c.GroupLimit = 2, "friends", reservedGroups
		c.FileListen, c.ResumeTime, c.RecallTime, c.EditTime = "", 0, 0, 0
	})
})

// reservedGroups is how many members a group of the reserved server may have.
const reservedGroups = 5

// reservedServer is the reserved server, for a test.
func reservedServer(t *testing.T) *server {
	t.Helper()
	s, err := reserved()
	if err != nil {
		t.Fatal(err)
	}
	used.Store(s)
	return s
}

// used is the reserved server, if there is one.
var used atomic.Pointer[server]

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if main, err = start(nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Tests wait for clocks and for each other's notices more than they work; but a server that
	// is short of CPU turns logins away.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	code := m.Run()
	for _, s := range []*server{main, used.Load()} {
		if s == nil {
			continue
		}
		if err := s.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the server did not end cleanly:", err)
			code = max(code, 1)
		}
	}
	return code
}

// logged is what a server logs; its end is shown when it fails.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.b.Bytes()
	return string(all[max(0, len(all)-4000):])
}

// start runs a server and waits until clients may come. Its directory is a new one, gone
// in the end, unless edit names another.
func start(edit func(*up.Config)) (*server, error) {
	dir, err := os.MkdirTemp("", "godwit-conformance-")
	if err != nil {
		return nil, err
	}
	lines, out := io.Pipe()
	remove := func() error { return os.RemoveAll(dir) }
	log := &logged{}
	cfg := up.Config{
		DataDir: dir, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Durability: bus.OS, MinFree: bus.DefaultMinFree, PasswordCost: password.Cost{MemoryKiB: 64, Iterations: 1},
		Contacts: "everyone", StatusLimit: 1000, DevicePolicy: commands.DefaultDevicePolicy(), DrainTimeout: 5 * time.Second,
		FileListen: "127.0.0.1:0", ResumeTime: time.Hour, RecallTime: time.Hour, EditTime: time.Hour,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})), Out: out,
	}
	if edit != nil {
		edit(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := up.Run(ctx, cfg)
		_ = out.CloseWithError(io.EOF) // ends the reading of lines
		ended <- err
	}()
	s := &server{stop: sync.OnceValue(func() error {
		cancel()
		err := <-ended
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, log.tail())
		}
		return errors.Join(err, remove())
	})}
	in := bufio.NewScanner(lines)
	for in.Scan() {
		if !strings.HasPrefix(in.Text(), "ready ") {
			continue
		}
		for f := range strings.FieldsSeq(in.Text()) {
			switch k, v, _ := strings.Cut(f, "="); k {
			case "clients":
				s.clients = v
			case "http":
				s.http = v
			case "tls":
				s.tls = v
			case "files":
				s.files = v
			}
		}
		go func() { _, _ = io.Copy(io.Discard, lines) }()
		addr, token, err := datadir.FindAdmin(cfg.DataDir)
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		s.people, s.adminAt, s.token = admin.NewClient(addr, token), addr, token
		return s, nil
	}
	return nil, fmt.Errorf("the server is not ready: %w", s.stop())
}

// other is a server with settings of its own.
func other(t *testing.T, edit func(*up.Config)) *server {
	t.Helper()
	s, err := start(func(c *up.Config) {
		c.Partitions = 2 // of eight the first server has enough
		edit(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the server did not end cleanly: %v", err)
		}
	})
	return s
}

// person is somebody that a test made.
type person struct {
	id   uint32
	name string
	nick string

	signature string // that the person has set
}

const password1 = "12345"

var made atomic.Uint32

// person registers somebody new.
func (s *server) person(t testing.TB) person {
	t.Helper()
	n := made.Add(1)
	p := person{name: fmt.Sprintf("person-%d", n), nick: fmt.Sprintf("Person № %d", n)}
	added, err := s.people.Add(t.Context(), admin.NewPerson{Name: p.name, Password: password1, Nick: p.nick})
	if err != nil {
		t.Fatal(err)
	}
	p.id = added.Number
	return p
}

// crowd registers many at once.
func (s *server) crowd(t testing.TB, n int) []person {
	t.Helper()
	list := make([]admin.NewPerson, n)
	byName := make(map[string]bool, n)
	for i := range list {
		list[i] = admin.NewPerson{Name: fmt.Sprintf("crowd-%d", made.Add(1)), Password: password1}
		byName[list[i].Name] = true
	}
	err := s.people.Import(t.Context(), list, func(p admin.ImportProgress) {
		if len(p.Refused) > 0 {
			t.Errorf("refused: %v", p.Refused)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []person
	for p, err := range s.people.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if byName[p.Name] {
			all = append(all, person{id: p.Number, name: p.Name, nick: p.Nick})
		}
	}
	if len(all) != n {
		t.Fatalf("%d of %d people were made", len(all), n)
	}
	return all
}

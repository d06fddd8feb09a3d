package move_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/projections/owner"
	"godwit/schema/event"
)

const partitions = 2

// fates waits for appended events.
type fates struct {
	sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

func (f *fates) Placed(uint64, int) {}
func (f *fates) Stored(uint64)      { f.Done() }
func (f *fates) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs = append(f.errs, err)
	f.Done()
}

// world writes a small company into a log: people, groups, messages with receipts, recalls
// and edits, sessions, and what lies beside the log.
type world struct {
	t  *testing.T
	b  *bus.Bus
	w  *bus.Writer
	n  int
	at int64
}

func newWorld(t *testing.T, b *bus.Bus) *world {
	t.Helper()
	return &world{t: t, b: b, w: b.NewWriter(ulid.Make()), at: 1_700_000_000_000}
}

func (w *world) append(s event.Stream, subject string, expect uint64, events ...*event.Event) {
	w.t.Helper()
	f := &fates{}
	for _, ev := range events {
		w.at++
		ev.At = w.at
		f.Add(1)
		var err error
		if subject != "" {
			err = w.w.AppendCAS(s, subject, expect, ev, f)
		} else {
			err = w.w.Append(s, ev, f)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	f.Wait()
	if err := errors.Join(f.errs...); err != nil {
		w.t.Fatal(err)
	}
}

// populate registers people by compare and set, makes a group, opens sessions and fills what
// lies beside the log.
func (w *world) populate() {
	w.t.Helper()
	t, life := w.t, ulid.Make()
	for i := range 6 {
		name := fmt.Sprintf("user-%d", i+1)
		w.append(event.People, bus.NameSubject(name), 0, &event.Event{Body: &event.Event_PersonRegistered{
			PersonRegistered: &event.PersonRegistered{Name: name, Nick: name, Compared: true}}})
	}
	w.append(event.People, "", 0, &event.Event{Body: &event.Event_GroupReserved{GroupReserved: &event.GroupReserved{}}})
	w.append(event.Presence, "", 0, &event.Event{Body: &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{Life: life[:], Node: "test"}}})
	for i := range uint32(6) {
		session := ulid.Make()
		w.append(event.Presence, "", 0, &event.Event{Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{
			Session: session[:], User: i + 1, ClientType: 1, DeviceClass: 1, Life: life[:], PeopleSequence: 7}}})
	}
	g := event.Group(1)
	w.append(g.Stream(partitions), bus.GroupSubject(1, partitions), 0, &event.Event{Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: g[:], Type: 1, Name: "all", Creator: 1, Members: []uint32{1, 2, 3, 4}, Limit: 100}}})
	store, err := w.b.Objects(t.Context(), bus.StoreConfig{Name: "pictures", MaxBytes: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := store.Put(t.Context(), fmt.Sprint("picture ", i), []byte(strings.Repeat(fmt.Sprint(i), 1000*i+1)), map[string]string{"n": fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(store.Put(t.Context(), "picture 1", []byte("replaced"), nil), store.Delete(t.Context(), "picture 2")); err != nil {
		t.Fatal(err)
	}
	table, err := w.b.Table(t.Context(), bus.StoreConfig{Name: "transfers", MaxBytes: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Put(t.Context(), "task.1", []byte("half"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.b.SetCursor(t.Context(), "webhook.a", bus.Cursor{}, 17); err != nil {
		t.Fatal(err)
	}
	gone, err := w.b.SetCursor(t.Context(), "webhook.b", bus.Cursor{}, 18)
	if err := errors.Join(err, w.b.RemoveCursor(t.Context(), "webhook.b", gone)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.b.NoteRequest(t.Context(), "request", []byte("answered"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.b.Secret(t.Context(), "resume"); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.b.Streams() {
		if _, err := w.b.Epoch(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// talk writes n messages here and there, and says what was read, recalled and edited.
func (w *world) talk(n int) {
	w.t.Helper()
	for range n {
		w.n++
		i := uint32(w.n)
		key := event.Direct(1+i%3, 4+i%3)
		from := 1 + i%3
		if i%4 == 0 {
			key, from = event.Group(1), 1+i%4
		}
		id := i / 8
		s := key.Stream(partitions)
		events := []*event.Event{{Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
			Conversation: key[:], From: from, Type: 1, Body: fmt.Appendf(nil, "message %d", i)}}}}
		switch i % 7 {
		case 1:
			events = append(events, &event.Event{Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: key[:], User: 4 + i%3, MsgId: id}}})
		case 3:
			events = append(events, &event.Event{Body: &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{Conversation: key[:], User: 4 + i%3, MsgId: id}}})
		case 5:
			events = append(events, &event.Event{Body: &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{Conversation: key[:], MsgId: id, User: from}}})
		case 6:
			events = append(events, &event.Event{Body: &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{Conversation: key[:], MsgId: id, User: from, Body: []byte("edited")}}})
		}
		w.append(s, "", 0, events...)
	}
}

// seen is all that a log holds, for comparing.
type seen struct {
	records map[string][]bus.Fingerprint // of each stream
	digests map[string]string            // of each view, folded anew
	epochs  map[string]string
	beside  string // buckets, stores, tables
}

func look(t *testing.T, b *bus.Bus) seen {
	t.Helper()
	out := seen{map[string][]bus.Fingerprint{}, map[string]string{}, map[string]string{}, ""}
	for _, s := range b.Streams() {
		last, err := b.LastSequence(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range b.Replay(t.Context(), s, 1, 0) {
			if err != nil {
				t.Fatal(err)
			}
			out.records[s.String()] = append(out.records[s.String()], bus.FingerprintOf(r.Data))
		}
		r, err := owner.Rebuild(t.Context(), b, s, t.TempDir(), last, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		out.digests[s.String()] = r.Digest.String()
		epoch, err := b.Epoch(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		out.epochs[s.String()] = epoch.String()
	}
	store, err := b.Objects(t.Context(), bus.StoreConfig{Name: "pictures", MaxBytes: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		data, notes, err := store.Get(t.Context(), fmt.Sprint("picture ", i))
		out.beside += fmt.Sprintln(len(data), bus.FingerprintOf(data), notes, errors.Is(err, bus.ErrNoObject))
	}
	room, err := store.Room(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if used := 1<<26 - room; used > 20_000 {
		t.Errorf("%d bytes are used of the store: objects were stored twice", used)
	}
	table, err := b.Table(t.Context(), bus.StoreConfig{Name: "transfers", MaxBytes: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	row, _, err := table.Get(t.Context(), "task.1")
	out.beside += fmt.Sprintln(string(row), err)
	for _, name := range []string{"webhook.a", "webhook.b"} {
		c, err := b.Cursor(t.Context(), name)
		out.beside += fmt.Sprintln(c.Value, c.Set, err)
	}
	note, _, err := b.RequestNote(t.Context(), "request")
	out.beside += fmt.Sprintln(string(note), err)
	secret, err := b.Secret(t.Context(), "resume")
	out.beside += fmt.Sprintf("%x %v\n", secret, err)
	return out
}

// equal demands that two logs hold the same; epochs only if they have to stay.
func (a seen) equal(t *testing.T, b seen, epochs bool) {
	t.Helper()
	for s, want := range a.records {
		if got := b.records[s]; !slices.Equal(got, want) {
			t.Errorf("%s: %d records, want %d, or others", s, len(got), len(want))
		}
		if b.digests[s] != a.digests[s] {
			t.Errorf("%s: the view differs", s)
		}
		if (a.epochs[s] == b.epochs[s]) != epochs {
			t.Errorf("%s: epoch %s, was %s", s, b.epochs[s], a.epochs[s])
		}
	}
	if a.beside != b.beside {
		t.Errorf("beside the log:\n%swant\n%s", b.beside, a.beside)
	}
}

// laptop is a data directory with a world in it, closed; change may write more.
func laptop(t *testing.T, messages int, change ...func(*bustest.Kit, *world)) (dir string, has seen) {
	t.Helper()
	dir = t.TempDir()
	k := bustest.New(t, bustest.WithDir(natsOf(dir)), bustest.Partitions(partitions))
	w := newWorld(t, k.Bus)
	w.populate()
	w.talk(messages)
	for _, f := range change {
		f(k, w)
	}
	has = look(t, k.Bus)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, has
}

func natsOf(dir string) string { return filepath.Join(dir, "nats") }

func servers(t *testing.T, url string) bus.Config {
	return bus.Config{URL: url, Role: bus.RoleInit, Logger: bustest.Logger(t)}
}

// tryOpen opens a log as a server does.
func tryOpen(t *testing.T, url string) error {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Config{URL: url, Logger: bustest.Logger(t)})
	if err == nil {
		err = b.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return err
}

// Package bustest brings up a bus for tests, on a real embedded server in the test's
// own directory, and breaks it on purpose: pushes lost, acks delayed or lost,
// connections cut, streams rolled back, the server restarted, the disk full. What it
// did can be counted, so that a test knows that the fault took place.
package bustest

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/bus"
	"godwit/schema/event"
)

// Option changes how a kit's bus is opened.
type Option func(*Kit)

// WithConfig changes the bus's configuration: durability (os unless said
// otherwise), partitions, windows, names.
func WithConfig(f func(*bus.Config)) Option { return func(k *Kit) { f(&k.cfg) } }

// WithDir uses dir instead of a new directory, so that one log can be opened again.
func WithDir(dir string) Option { return func(k *Kit) { k.cfg.Dir = dir } }

// Partitions of a new log.
func Partitions(p int) Option { return WithConfig(func(c *bus.Config) { c.Partitions = p }) }

// Kit is a bus with handles on its faults. Its methods may be called at any time.
type Kit struct {
	*bus.Bus
	Hooks *bus.Hooks

	// Counts of the faults that took place.
	DroppedPushes atomic.Uint64
	LostAcks      atomic.Uint64
	DelayedAcks   atomic.Uint64
	Cuts          atomic.Uint64
	Restarts      atomic.Uint64
	// Attempts counts the attempts to store a record. Overtaken counts the records
	// that were sent while another of their stream was under way; it means something
	// where the kit's bus has one writer.
	Attempts  atomic.Uint64
	Overtaken atomic.Uint64

	t       testing.TB
	cfg     bus.Config
	control bus.Control

	mu       sync.Mutex
	dropPush func(life event.ID, data []byte) bool
	onAck    func(s event.Stream, n uint64, attempt int) Fate
	free     func() (uint64, error)
	frozen   func() error
	inFlight map[event.Stream]uint64 // the record of each stream that is under way
}

// Fate is what becomes of the log's answer to an attempt to store a record.
type Fate struct {
	// Lose keeps the answer from the writer, which tries again after the ack timeout.
	Lose bool
	// Until, if not nil, delays the answer until it is closed.
	Until <-chan struct{}
}

// Start opens a bus for the length of the test. P is 2 and durability os unless an
// option says otherwise.
func Start(t testing.TB, opts ...Option) *bus.Bus { return New(t, opts...).Bus }

// New is Start with handles on the faults.
func New(t testing.TB, opts ...Option) *Kit {
	t.Helper()
	k, err := Open(t, opts...)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	return k
}

// Open is New for a test that expects Open to fail.
func Open(t testing.TB, opts ...Option) (*Kit, error) {
	t.Helper()
	k := &Kit{t: t, inFlight: map[event.Stream]uint64{}}
	k.Hooks = &bus.Hooks{
		DropPush:    k.hookPush,
		Sending:     k.hookSending,
		Acked:       k.hookAcked,
		Free:        k.hookFree,
		Frozen:      k.hookFrozen,
		AckTimeout:  300 * time.Millisecond,
		GuardEvery:  20 * time.Millisecond,
		VerifyEvery: 50 * time.Millisecond,
		Opened:      func(c bus.Control) { k.control = c },
	}
	k.cfg = bus.Config{Durability: bus.OS, Hooks: k.Hooks, Logger: Logger(t)}
	for _, o := range opts {
		o(k)
	}
	if k.cfg.Dir == "" {
		if k.cfg.URL == "" {
			k.cfg.Dir = t.TempDir()
		}
		if k.cfg.Partitions == 0 {
			k.cfg.Partitions = 2
		}
	}
	b, err := bus.Open(t.Context(), k.cfg)
	if err != nil {
		return nil, err
	}
	k.Bus = b
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("bustest: close: %v", err)
		}
	})
	return k, nil
}

// Eventually waits until cond holds, and fails the test after a minute and a half.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("bustest: never came about: %s", what)
		}
	}
}

// Logger writes to the test's output, until the test has ended.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// DropPushes loses every push for which drop is true; nil loses none.
func (k *Kit) DropPushes(drop func(life event.ID, data []byte) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropPush = drop
}

func (k *Kit) hookPush(life event.ID, data []byte) bool {
	k.mu.Lock()
	drop := k.dropPush
	k.mu.Unlock()
	if drop == nil || !drop(life, data) {
		return false
	}
	k.DroppedPushes.Add(1)
	return true
}

// OnAck decides what becomes of the log's answers; nil lets all through.
func (k *Kit) OnAck(f func(s event.Stream, n uint64, attempt int) Fate) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onAck = f
}

func (k *Kit) hookSending(s event.Stream, n uint64, _ int) {
	k.Attempts.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if was, ok := k.inFlight[s]; ok && was != n {
		k.Overtaken.Add(1)
	}
	k.inFlight[s] = n
}

func (k *Kit) hookAcked(s event.Stream, n uint64, attempt int) bool {
	k.mu.Lock()
	f := k.onAck
	k.mu.Unlock()
	var fate Fate
	if f != nil {
		fate = f(s, n, attempt)
	}
	if fate.Until != nil {
		k.DelayedAcks.Add(1)
		<-fate.Until
	}
	if fate.Lose {
		k.LostAcks.Add(1)
		return true
	}
	k.mu.Lock()
	delete(k.inFlight, s)
	k.mu.Unlock()
	return false
}

// SetFree makes the disk look as if so many bytes were free; nil asks the disk.
func (k *Kit) SetFree(free func() (uint64, error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.free = free
}

func (k *Kit) hookFree() (uint64, error) {
	k.mu.Lock()
	f := k.free
	k.mu.Unlock()
	if f == nil {
		return 1 << 50, nil
	}
	return f()
}

// SetFrozen makes the server's store look frozen by an error; nil asks the server.
func (k *Kit) SetFrozen(frozen func() error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.frozen = frozen
}

func (k *Kit) hookFrozen() error {
	k.mu.Lock()
	f := k.frozen
	k.mu.Unlock()
	if f == nil {
		return nil
	}
	return f()
}

// CutConnections breaks all connections of the bus; they come back by themselves.
func (k *Kit) CutConnections() {
	k.t.Helper()
	if err := k.control.CutConnections(); err != nil {
		k.t.Errorf("bustest: cut connections: %v", err)
	}
	k.Cuts.Add(1)
}

// Restart stops the server, calls between while it is down (nil: nothing), and
// starts it again.
func (k *Kit) Restart(between func()) {
	k.t.Helper()
	k.control.StopServer()
	if between != nil {
		between()
	}
	if err := k.control.StartServer(); err != nil {
		k.t.Fatalf("bustest: start server: %v", err)
	}
	k.Restarts.Add(1)
}

// StreamDir is the directory of a stream's files. They may be touched while the
// server is stopped (see Restart).
func (k *Kit) StreamDir(s event.Stream) string { return StreamDir(k.cfg.Dir, s) }

// StreamDir is the directory of a stream's files in the log at dir.
func StreamDir(dir string, s event.Stream) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", s.String())
}

// Copy stops the server, copies the stream's files, and starts it again. The copy
// can be given to RollBack.
func (k *Kit) Copy(s event.Stream) (copied string) {
	k.t.Helper()
	copied = filepath.Join(k.t.TempDir(), s.String())
	k.Restart(func() { k.copyTree(k.StreamDir(s), copied) })
	return copied
}

// RollBack stops the server, puts an older copy in the place of the stream, calls
// also (nil: nothing), and starts the server again: the stream's tail is lost, and
// what is written next gets its sequences anew.
func (k *Kit) RollBack(s event.Stream, copied string) {
	k.t.Helper()
	k.Restart(func() { k.Replace(s, copied) })
}

// Replace puts an older copy in the place of the stream; the server is stopped.
func (k *Kit) Replace(s event.Stream, copied string) {
	k.t.Helper()
	dir := k.StreamDir(s)
	if err := os.RemoveAll(dir); err != nil {
		k.t.Fatalf("bustest: roll back: %v", err)
	}
	k.copyTree(copied, dir)
}

// RollBackHole puts back an older copy's messages but leaves the server's index of
// them, as a power loss may do: the stream's last sequence stays, and the records
// behind the copy's end are gone.
func (k *Kit) RollBackHole(s event.Stream, copied string) {
	k.t.Helper()
	k.Restart(func() {
		index := filepath.Join("msgs", "index.db")
		newest, err := os.ReadFile(filepath.Join(k.StreamDir(s), index))
		if err != nil {
			k.t.Fatalf("bustest: roll back: %v", err)
		}
		k.Replace(s, copied)
		if err := os.WriteFile(filepath.Join(k.StreamDir(s), index), newest, 0o600); err != nil {
			k.t.Fatalf("bustest: roll back: %v", err)
		}
	})
}

func (k *Kit) copyTree(from, to string) {
	k.t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(at, 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, data, 0o600)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.t.Fatalf("bustest: copy %s: %v", from, err)
	}
}

package files

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"godwit/bus"
)

// PartSize is how much of a file is stored at once, in bytes.
const PartSize = 256 << 10

// MaxName is the longest name of a file, in bytes. Windows gives a whole path.
const MaxName = 4096

// What the store refuses.
var (
	// ErrNoTask: there is no such task, or its time is over.
	ErrNoTask = errors.New("no such file transfer")
	// ErrSize: the file is empty or larger than the limit.
	ErrSize = errors.New("file size not allowed")
	// ErrName: the file's name is empty or too long.
	ErrName = errors.New("file name not allowed")
	// ErrTooMany: the user has as many transfers as he may.
	ErrTooMany = errors.New("too many file transfers of one user")
	// ErrNoRoom: the store has no room for the file.
	ErrNoRoom = errors.New("no room for the file")
	// ErrMoved: somebody else has changed the task meanwhile.
	ErrMoved = errors.New("file transfer changed elsewhere")
)

// Task is one transfer.
type Task struct {
	ID       string
	From, To uint32
	Name     string // as received: any bytes
	Size     uint32
	Online   bool
	Made     time.Time
	Stored   uint32    // bytes of it that are stored: whole parts, or all
	Complete time.Time // when all of it was stored; zero: not yet

	revision uint64
}

// row is a task in the table.
type row struct {
	From     uint32 `json:"from"`
	To       uint32 `json:"to"`
	Name     []byte `json:"name"`
	Size     uint32 `json:"size"`
	Online   bool   `json:"online,omitempty"`
	Made     int64  `json:"made"`
	Stored   uint32 `json:"stored,omitempty"`
	Complete int64  `json:"complete,omitempty"`
}

// parts is how many parts hold n bytes.
func parts(n uint32) int { return int((int64(n) + PartSize - 1) / PartSize) }

// Defaults of a StoreConfig.
const (
	DefaultRoom    = 4 << 30
	DefaultMaxSize = 100 << 20
	DefaultKeep    = 168 * time.Hour
)

// StoreConfig says what a Store holds. Bus is needed; the rest has defaults.
type StoreConfig struct {
	Bus      *bus.Bus
	Room     int64         // bytes of all stored files; default DefaultRoom
	MaxSize  uint32        // bytes of one file; default DefaultMaxSize
	Keep     time.Duration // how long a stored file waits to be fetched; default DefaultKeep
	TaskTime time.Duration // from a task's making to its last byte; default 24 h
	PerUser  int           // transfers of one sender that are not over; default 16
	Logger   *slog.Logger
	Clock    func() time.Time
}

func (c *StoreConfig) defaults() error {
	if c.Bus == nil {
		return errors.New("files: no bus")
	}
	c.limits()
	if c.Room < 0 || c.Keep < time.Second || c.TaskTime < time.Second || c.PerUser < 0 {
		return errors.New("files: a limit is negative or too short")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return nil
}

func (c *StoreConfig) limits() {
	if c.Room == 0 {
		c.Room = DefaultRoom
	}
	if c.MaxSize == 0 {
		c.MaxSize = DefaultMaxSize
	}
	if c.Keep == 0 {
		c.Keep = DefaultKeep
	}
	if c.TaskTime == 0 {
		c.TaskTime = 24 * time.Hour
	}
	if c.PerUser == 0 {
		c.PerUser = 16
	}
}

// Bounds of what stands beside the files.
const (
	tableRoom    = 256 << 20 // bytes of all tasks
	maxCleanings = 1024      // files that wait to be removed
	cleanTime    = 2 * time.Minute
)

// Store keeps tasks and files. Its methods may be called at once from several goroutines.
type Store struct {
	cfg   StoreConfig
	tasks *bus.Table
	parts *bus.Objects
	clean chan Task
}

// OpenStore opens the store in the log's servers. ctx bounds the opening only.
func OpenStore(ctx context.Context, cfg StoreConfig) (*Store, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, clean: make(chan Task, maxCleanings)}
	parts, tasks := cfg.Stores()
	var err error
	if s.parts, err = cfg.Bus.Objects(ctx, parts); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	if s.tasks, err = cfg.Bus.Table(ctx, tasks); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return s, nil
}

// Stores are the store of files and the table of tasks that a Store of this configuration
// opens, for whoever makes them before.
func (c StoreConfig) Stores() (parts, tasks bus.StoreConfig) {
	c.limits()
	// What is stored first must outlast what is stored last.
	keep := c.Keep + c.TaskTime
	return bus.StoreConfig{Name: bus.FilesStore, MaxBytes: c.Room, Keep: keep}, bus.StoreConfig{Name: bus.TransfersTable, MaxBytes: tableRoom, Keep: keep}
}

// Run removes the parts of files that are gone, until ctx ends. What it doesn't come to
// goes with its time.
func (s *Store) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			if n := len(s.clean); n > 0 {
				s.cfg.Logger.Info("parts of removed files are left to their time", "files", n)
			}
			return nil
		case t := <-s.clean:
			if err := s.removeParts(ctx, t); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("parts of a removed file are left to their time", "task", short(t.ID), "err", err)
			}
		}
	}
}

func (s *Store) removeParts(ctx context.Context, t Task) error {
	ctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	// All that there may be: what the task said may be out of date.
	for n := range parts(t.Size) {
		if err := s.parts.Delete(ctx, partName(t.ID, n)); err != nil {
			return err
		}
	}
	return nil
}

// Keep is how long a stored file waits to be fetched.
func (s *Store) Keep() time.Duration { return s.cfg.Keep }

func partName(id string, n int) string  { return fmt.Sprintf("%s.%d", id, n) }
func taskKey(id string) string          { return "task." + id }
func userKey(u uint32) string           { return fmt.Sprintf("user.%d", u) }
func ownKey(u uint32, id string) string { return userKey(u) + "." + id }

// Room is how many bytes the store is to hold, and how many it takes until it is full.
func (s *Store) Room(ctx context.Context) (all, left int64, err error) {
	left, err = s.parts.Room(ctx)
	return s.parts.MaxBytes(), left, err
}

// Create makes a task. The error is ErrSize, ErrName, ErrTooMany, ErrNoRoom, or a failure.
func (s *Store) Create(ctx context.Context, from, to uint32, name string, size uint32, online bool) (Task, error) {
	t := Task{ID: newTaskID(), From: from, To: to, Name: name, Size: size, Online: online, Made: s.cfg.Clock()}
	switch {
	case name == "" || len(name) > MaxName:
		return Task{}, fmt.Errorf("%w: %d bytes", ErrName, len(name))
	case size == 0 || size > s.cfg.MaxSize:
		return Task{}, fmt.Errorf("%w: %d bytes, at most %d", ErrSize, size, s.cfg.MaxSize)
	}
	if err := s.mayHaveMore(ctx, from); err != nil {
		return Task{}, err
	}
	if !online {
		room, err := s.parts.Room(ctx)
		if err != nil {
			return Task{}, fmt.Errorf("files: %w", err)
		}
		if room < int64(size)+int64(parts(size))<<10 {
			return Task{}, ErrNoRoom
		}
	}
	// The sender's list first: a task that is not in it would not count.
	if _, err := s.tasks.Put(ctx, ownKey(from, t.ID), nil, 0); err != nil {
		return Task{}, noRoom(err)
	}
	if err := s.save(ctx, &t); err != nil {
		return Task{}, err
	}
	return t, nil
}

// mayHaveMore refuses a sender who has as many transfers as he may. What is over, and was
// not taken out of his list, is first.
func (s *Store) mayHaveMore(ctx context.Context, from uint32) error {
	own, err := s.tasks.Keys(ctx, userKey(from))
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	n := len(own)
	for _, key := range own {
		if n < s.cfg.PerUser {
			return nil
		}
		_, err := s.Find(ctx, key[strings.LastIndexByte(key, '.')+1:])
		switch {
		case errors.Is(err, ErrNoTask):
			if err := s.tasks.Delete(ctx, key); err != nil {
				return fmt.Errorf("files: %w", err)
			}
			n--
		case err != nil:
			return err
		}
	}
	if n >= s.cfg.PerUser {
		return ErrTooMany
	}
	return nil
}

func noRoom(err error) error {
	if errors.Is(err, bus.ErrNoRoom) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return fmt.Errorf("files: %w", err)
}

// save writes the task over the one it was read as.
func (s *Store) save(ctx context.Context, t *Task) error {
	r := row{From: t.From, To: t.To, Name: []byte(t.Name), Size: t.Size, Online: t.Online, Made: t.Made.UnixMilli(), Stored: t.Stored}
	if !t.Complete.IsZero() {
		r.Complete = t.Complete.UnixMilli()
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	revision, err := s.tasks.Put(ctx, taskKey(t.ID), b, t.revision)
	if errors.Is(err, bus.ErrConflict) {
		return ErrMoved
	}
	if err != nil {
		return noRoom(err)
	}
	t.revision = revision
	return nil
}

// Find is the task of that id; ErrNoTask also for one whose time is over.
func (s *Store) Find(ctx context.Context, id string) (Task, error) {
	if !validTaskID(id) {
		return Task{}, ErrNoTask
	}
	b, revision, err := s.tasks.Get(ctx, taskKey(id))
	if errors.Is(err, bus.ErrNoObject) {
		return Task{}, ErrNoTask
	}
	if err != nil {
		return Task{}, fmt.Errorf("files: %w", err)
	}
	var r row
	if err := json.Unmarshal(b, &r); err != nil {
		return Task{}, fmt.Errorf("files: task %s: %w", short(id), err)
	}
	t := Task{ID: id, From: r.From, To: r.To, Name: string(r.Name), Size: r.Size, Online: r.Online,
		Made: time.UnixMilli(r.Made), Stored: r.Stored, revision: revision}
	if r.Complete != 0 {
		t.Complete = time.UnixMilli(r.Complete)
	}
	if !s.cfg.Clock().Before(s.ends(&t)) {
		return Task{}, ErrNoTask
	}
	return t, nil
}

// ends is when the task's time is over.
func (s *Store) ends(t *Task) time.Time {
	if t.Complete.IsZero() {
		return t.Made.Add(s.cfg.TaskTime)
	}
	return t.Complete.Add(s.cfg.Keep)
}

// Remove ends a task; what is stored of it is removed behind the caller's back. It is no
// error that it has ended already.
func (s *Store) Remove(ctx context.Context, t Task) error {
	// The task itself first: whoever still writes to it notices.
	if err := s.tasks.Delete(ctx, taskKey(t.ID)); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if err := s.tasks.Delete(ctx, ownKey(t.From, t.ID)); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if t.Online {
		return nil
	}
	select {
	case s.clean <- t:
	default:
		s.cfg.Logger.Warn("parts of a removed file are left to their time", "task", short(t.ID), "err", "too many at once")
	}
	return nil
}

// putPart stores the part behind what is stored, and the task with it.
func (s *Store) putPart(ctx context.Context, t *Task, data []byte) error {
	if t.Stored%PartSize != 0 || len(data) == 0 || len(data) > PartSize ||
		(len(data) < PartSize && t.Stored+uint32(len(data)) != t.Size) {
		return fmt.Errorf("files: part of %d bytes at %d of %d", len(data), t.Stored, t.Size)
	}
	if err := s.parts.Put(ctx, partName(t.ID, int(t.Stored/PartSize)), data, nil); err != nil {
		return noRoom(err)
	}
	was := *t
	t.Stored += uint32(len(data))
	if t.Stored == t.Size {
		t.Complete = s.cfg.Clock()
	}
	if err := s.save(ctx, t); err != nil {
		*t = was
		return err
	}
	return nil
}

// part reads the part that holds the byte at offset.
func (s *Store) part(ctx context.Context, t *Task, offset uint32) ([]byte, error) {
	n := int(offset / PartSize)
	data, _, err := s.parts.Get(ctx, partName(t.ID, n))
	if err != nil {
		return nil, fmt.Errorf("files: part %d: %w", n, err)
	}
	if want := min(PartSize, int(t.Size)-n*PartSize); len(data) != want {
		return nil, fmt.Errorf("files: part %d has %d bytes, not %d", n, len(data), want)
	}
	return data, nil
}

// newTaskID is a random UUID as text.
func newTaskID() string {
	var u [16]byte
	rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// short is what logs say of a task id: whoever knows all of it may use it.
func short(id string) string { return id[:min(8, len(id))] }

// validTaskID tells whether id has the form of our ids. Nothing else reaches the store.
func validTaskID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i, c := range []byte(id) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	return true
}

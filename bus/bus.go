package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Durability says what an acknowledged record has survived.
type Durability string

const (
	// Disk: fsynced before the ack; survives a power loss.
	Disk Durability = "disk"
	// OS: handed to the operating system before the ack; survives kill -9, a power
	// loss may cut the tail.
	OS Durability = "os"
)

// DefaultMinFree is Config.MinFree where nothing else is said.
const DefaultMinFree = 64 << 20

// defaultDuplicates is the servers' own default.
const defaultDuplicates = 2 * time.Minute

// Config says where the log is. The zero value of a field means its default.
type Config struct {
	URL             string // external NATS (comma separated servers, tls:// for TLS); empty: the embedded server
	User            string // external
	Password        string // external
	CredentialsFile string // external: NATS credentials
	NKeyFile        string // external: file with the seed of an nkey
	CAFile          string // external: certificates that the servers' own are checked against
	CertFile        string // external: certificate that this process shows the servers, with KeyFile
	KeyFile         string // external: its private key
	SystemNKeyFile  string // external: seed of an nkey of the system account, for Prepare to ask how the servers write to disk

	// Role says what this process is, and so what it may do where the servers know roles
	// (see Permissions). It decides under which subjects it gets its answers.
	Role Role
	// CheckOnly makes nothing: what is missing is an ErrNotPrepared, which says to run godwit init.
	// The connector, the projector and the gateway of a cluster set it; who makes the log doesn't.
	CheckOnly bool

	Dir        string     // embedded: the directory of the log; the caller has locked it
	Durability Durability // embedded; default Disk

	Partitions int           // of a new log, default event.DefaultPartitions; of an existing one 0 or exactly its P
	Replicas   int           // of the streams: embedded 1; external 0: 3 in a cluster, else 1; with CheckOnly 0: as many as there are
	Duplicates time.Duration // window in which the server itself recognises a repeated record, default 2 minutes
	MinFree    uint64        // embedded: appends are held while fewer bytes are free below Dir, default DefaultMinFree
	Process    string        // name of this process, one subject token; default random

	Logger     *slog.Logger          // default: silent
	Registerer prometheus.Registerer // takes the bus's metrics until it is closed; nil: nobody
	Hooks      *Hooks                // nil outside tests
}

// Bus is an open log and the roads around it. All methods may be called at once
// from several goroutines.
type Bus struct {
	cfg   Config
	log   *slog.Logger
	hooks *Hooks
	emb   *embedded // nil with an external server

	events  *nats.Conn // appends, follows, JetStream's API
	pushes  *nats.Conn // frames and beats
	queries *nats.Conn // questions and answers
	js      jetstream.JetStream

	objectsMu sync.Mutex // also of prepared
	objects   *nats.Conn // what is large; made when the first store is opened

	logID      event.ID
	partitions int
	prepared   preparation
	subjects   []string       // event subject by stream
	lastStored []atomic.Int64 // by stream, Unix nanoseconds of the newest acknowledgement
	sided      atomic.Int64   // Unix nanoseconds when pushes came from a server with a part in the cluster

	ctx       context.Context // ends when Close begins
	cancel    context.CancelFunc
	mu        sync.Mutex     // between spawn and Close
	wg        sync.WaitGroup // everything the bus itself runs
	changed   signal         // the events connection was lost or is back
	health    health
	trouble   atomic.Bool // a bucket could not be written
	stopped   atomic.Bool // a test has stopped the server and will start it
	acks      ackMux
	receivers receivers
	writers   writers
	count     counters
	metrics   *metrics // nil: nobody wants them
	closed    atomic.Bool
	closeErr  error
	closeOnce sync.Once
}

// Open connects to the log, or brings up the embedded server; makes what is
// missing; and refuses streams that do not belong together or are configured
// differently (joined *ConfigError, ErrMixedLog). ctx bounds the opening only.
func Open(ctx context.Context, cfg Config) (*Bus, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := newBus(cfg)
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func newBus(cfg Config) *Bus {
	b := &Bus{cfg: cfg, log: cfg.Logger, hooks: cfg.Hooks, prepared: preparation{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

func (c *Config) complete() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Process == "" {
		c.Process = newID().String()
	}
	if !validToken(c.Process) {
		return fmt.Errorf("bus: process name %q must be one token without spaces, dots and wildcards", c.Process)
	}
	if c.Partitions < 0 || c.Partitions > event.MaxPartitions {
		return fmt.Errorf("bus: %d partitions, at most %d", c.Partitions, event.MaxPartitions)
	}
	if c.Duplicates == 0 {
		c.Duplicates = defaultDuplicates
	}
	if c.MinFree == 0 {
		c.MinFree = DefaultMinFree
	}
	if !c.Role.valid() {
		return fmt.Errorf("bus: role %q, must be empty, connector, projector, gateway or init", c.Role)
	}
	if c.URL != "" {
		return c.completeExternal()
	}
	switch c.Durability {
	case "":
		c.Durability = Disk
	case Disk, OS:
	default:
		return fmt.Errorf("bus: durability %q, must be disk or os", c.Durability)
	}
	if c.Dir == "" {
		return errors.New("bus: neither a server's URL nor a directory for the log")
	}
	if c.Replicas > 1 {
		return fmt.Errorf("bus: %d replicas need an external cluster", c.Replicas)
	}
	c.Replicas = 1
	return nil
}

func (c *Config) completeExternal() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("bus: a client certificate needs both its file and that of its key")
	}
	ways := 0
	for _, way := range []string{c.User, c.CredentialsFile, c.NKeyFile} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("bus: of user and password, credentials and nkey only one can be used")
	}
	return nil
}

func (b *Bus) open(ctx context.Context) error {
	if b.cfg.URL == "" {
		if err := os.MkdirAll(b.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("bus: %w", err)
		}
		b.emb = &embedded{dir: b.cfg.Dir, durability: b.cfg.Durability, log: b.log}
		if err := b.emb.start(ctx); err != nil {
			return err
		}
	}
	var err error
	// Nothing may be sent late on its own: a record of unknown fate is retried by its
	// lane and by nobody else, and an old frame is worse than none.
	inbox := b.cfg.Role.inbox()
	if b.events, err = b.dial(ctx, "events", inbox, -1, b.connected); err != nil {
		return err
	}
	if b.pushes, err = b.dial(ctx, "pushes", inbox, -1, func(bool) {}); err != nil {
		return err
	}
	if b.queries, err = b.dial(ctx, "queries", b.cfg.Role.answers(), 1<<20, func(bool) {}); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.events); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	if most := b.events.MaxPayload(); most < maxPayload {
		return fmt.Errorf("bus: the server takes messages of at most %d bytes: set its max_payload to %d or more", most, maxPayload)
	}
	for {
		err := b.ensure(ctx)
		if err == nil {
			break
		}
		if !passing(err) {
			return err
		}
		b.log.Warn("the log is not ready", "err", err)
		if sleep(ctx, 250*time.Millisecond) != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	for _, s := range event.Streams(b.partitions) {
		b.subjects = append(b.subjects, EventSubject(s))
	}
	b.lastStored = make([]atomic.Int64, len(b.subjects))
	if !b.cfg.CheckOnly {
		// Here, so that none but who makes the log, and who finds it rolled back, need write them.
		for _, s := range b.Streams() {
			if _, err := b.Epoch(ctx, s); err != nil {
				return err
			}
		}
	}
	if err := b.acks.open(b); err != nil {
		return err
	}
	if err := b.measure(); err != nil {
		return err
	}
	b.guard() // before the first append, not a second after it
	b.wg.Go(b.watch)
	if b.emb == nil {
		b.wg.Go(b.probe)
		b.wg.Go(func() { b.takeSides(b.events, "events") })
		b.wg.Go(func() { b.takeSides(b.pushes, "pushes") })
		b.wg.Go(func() { b.takeSides(b.queries, "queries") })
	}
	if b.hooks != nil && b.hooks.Opened != nil {
		b.hooks.Opened(b.control())
	}
	return nil
}

// passing tells whether an error of opening is one that a cluster has while it comes
// up; where ctx has ended the caller sees that itself.
func passing(err error) bool {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.Code == 503 || e.ErrorCode == errCodeNoPeers
	}
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Code == 503
	}
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrReconnectBufExceeded)
}

func (b *Bus) control() Control {
	return Control{
		CutConnections: func() error {
			errs := []error{b.events.ForceReconnect(), b.pushes.ForceReconnect(), b.queries.ForceReconnect()}
			b.objectsMu.Lock()
			defer b.objectsMu.Unlock()
			if b.objects != nil {
				errs = append(errs, b.objects.ForceReconnect())
			}
			return errors.Join(errs...)
		},
		StopServer: func() {
			b.stopped.Store(true)
			b.emb.stop()
		},
		StartServer: func() error {
			defer b.stopped.Store(false)
			ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
			defer cancel()
			return b.emb.start(ctx)
		},
	}
}

// Close ends everything the bus runs: writers that are still open (what they have
// not sent fails with ErrClosed), follows, leases, services, connections and the
// embedded server, in that order. It returns when all of it has ended, and may be
// called twice.
func (b *Bus) Close() error {
	b.closeOnce.Do(func() {
		b.mu.Lock()
		b.closed.Store(true)
		b.mu.Unlock()
		b.cancel()
		if b.metrics != nil {
			b.cfg.Registerer.Unregister(b.metrics)
		}
		b.changed.fire()
		b.writers.wait()
		b.wg.Wait()
		b.objectsMu.Lock()
		objects := b.objects
		b.objectsMu.Unlock()
		for _, nc := range []*nats.Conn{objects, b.queries, b.pushes, b.events} {
			if nc == nil {
				continue
			}
			if nc.IsConnected() {
				if err := nc.FlushTimeout(time.Second); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
					b.log.Warn("closing a connection", "err", err)
				}
			}
			nc.Close()
		}
		if b.emb != nil {
			b.emb.stop()
		}
	})
	return b.closeErr
}

// Partitions is P of this log.
func (b *Bus) Partitions() int { return b.partitions }

// Streams lists the log's streams by number.
func (b *Bus) Streams() []event.Stream { return event.Streams(b.partitions) }

// LogID is the log's identity, the same in all of its streams for ever.
func (b *Bus) LogID() event.ID { return b.logID }

// Process is the name of this process.
func (b *Bus) Process() string { return b.cfg.Process }

// DurabilityText says for people what an acknowledged record has survived.
func (b *Bus) DurabilityText() string {
	switch {
	case b.emb == nil:
		return "as the servers at " + b.events.ConnectedUrlRedacted() + " are configured (not verified)"
	case b.cfg.Durability == Disk:
		return "disk (fsync before every ack)"
	default:
		return "os (survives kill -9; a power loss may cut the tail)"
	}
}

// LastSequence is the stream's last sequence as its leader knows it. It asks until
// there is an answer or ctx ends.
func (b *Bus) LastSequence(ctx context.Context, s event.Stream) (uint64, error) {
	if err := b.check(s); err != nil {
		return 0, err
	}
	i, err := b.info(ctx, s)
	if err != nil {
		return 0, fmt.Errorf("bus: last sequence of %s: %w", s, err)
	}
	return i.State.LastSeq, nil
}

// ReadRecord reads one record from the stream's leader; ErrNoRecord where there is
// none. It asks until there is an answer or ctx ends.
func (b *Bus) ReadRecord(ctx context.Context, s event.Stream, seq uint64) (Recorded, error) {
	if err := b.check(s); err != nil {
		return Recorded{}, err
	}
	if seq == 0 {
		return Recorded{}, ErrNoRecord
	}
	m, err := b.get(ctx, s.String(), msgGet{Seq: seq})
	if err != nil {
		return Recorded{}, fmt.Errorf("bus: record %d of %s: %w", seq, s, err)
	}
	return Recorded{Sequence: m.Sequence, Data: m.Data, Time: m.Time}, nil
}

func (b *Bus) info(ctx context.Context, s event.Stream) (*streamInfo, error) {
	i := new(streamInfo)
	return i, b.retried(ctx, "STREAM.INFO."+s.String(), nil, i)
}

func (b *Bus) check(s event.Stream) error {
	if b.closed.Load() {
		return ErrClosed
	}
	if int(s) >= len(b.subjects) {
		return fmt.Errorf("%w: %d", ErrNoStream, s)
	}
	return nil
}

// spawn runs f on a goroutine that Close waits for.
func (b *Bus) spawn(f func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return ErrClosed
	}
	b.wg.Go(f)
	return nil
}

// newID is a new ULID that no other process comes upon.
func newID() event.ID { return ulid.MustNew(ulid.Now(), rand.Reader) }

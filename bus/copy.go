package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

// Raw is a log as it lies at its servers, for whoever carries one from place to place: its
// streams, and the buckets and stores beside them. Unlike [Open] it makes and checks nothing
// by itself. Nobody else may write where a Raw writes.
type Raw struct {
	b  *Bus
	js jetstream.JetStream // of its own: with many messages in flight
}

// Identity says which log streams belong to.
type Identity struct {
	Log        event.ID
	Partitions int
}

// Entry is one message of a stream. A sequence of the log that the stream has lost for good
// comes without data, and so it is stored: a position without events, as every fold takes it.
type Entry struct {
	Sequence uint64
	Subject  string
	Time     time.Time // when it was stored; another at each place
	Data     []byte
}

// Same tells whether two entries hold the same.
func (e Entry) Same(o Entry) bool {
	return e.Subject == o.Subject && FingerprintOf(e.Data) == FingerprintOf(o.Data)
}

// Kind is what a stream is to its log.
type Kind string

const (
	LogStream Kind = "log"    // a stream of the log: dense, written at its end only
	Bucket    Kind = "bucket" // newest values by key
	Store     Kind = "store"  // objects: what was written once is never changed
)

// RawStream is a stream as it is at the moment.
type RawStream struct {
	Name    string
	Kind    Kind
	First   uint64 // sequences of the oldest and the newest entry, also where that one has been deleted
	Last    uint64
	Deleted []uint64        // between First and Last, of a store
	Config  json.RawMessage // its settings, nil for a stream of the log: those are known
}

// What is of the moment, and never carried: who holds which lease, and copies of views.
var momentary = []string{bucketStream(leaseBucket), "OBJ_snapshots"}

// EpochStream is the stream of the bucket that holds the epochs.
const EpochStream = "KV_" + epochBucket

// OpenRaw connects to the servers, or brings up the embedded one. ctx bounds the opening only.
func OpenRaw(ctx context.Context, cfg Config) (*Raw, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg, log: cfg.Logger, hooks: cfg.Hooks}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	r := &Raw{b: b}
	if err := r.open(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return r, nil
}

func (r *Raw) open(ctx context.Context) (err error) {
	b := r.b
	if b.cfg.URL == "" {
		if err := os.MkdirAll(b.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("bus: %w", err)
		}
		b.emb = &embedded{dir: b.cfg.Dir, durability: b.cfg.Durability, log: b.log}
		if err := b.emb.start(ctx); err != nil {
			return err
		}
	}
	if b.events, err = b.dial(ctx, "copy", b.cfg.Role.inbox(), -1, b.connected); err != nil {
		return err
	}
	if b.js, err = jetstream.New(b.events); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	if r.js, err = jetstream.New(b.events, jetstream.WithPublishAsyncMaxPending(64*maxInFlight), jetstream.WithPublishAsyncTimeout(copyAckTimeout)); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	if b.cfg.Replicas == 0 {
		b.cfg.Replicas = 1
		if b.events.ConnectedClusterName() != "" {
			b.cfg.Replicas = 3
		}
	}
	// A cluster that comes up answers nothing for a while.
	return b.retried(ctx, "INFO", nil, nil)
}

// Close ends the connection, and the embedded server.
func (r *Raw) Close() error { return r.b.Close() }

// Identity reads which log lies there; ErrNoRecord where there is none. What it says is that of
// PEOPLE, else of any stream of a log: a copy that broke off has no PEOPLE yet.
func (r *Raw) Identity(ctx context.Context) (id Identity, err error) {
	names, err := r.b.names(ctx)
	if err != nil {
		return id, err
	}
	found := false
	for _, name := range names {
		m, err := r.b.get(ctx, name, msgGet{Seq: 1})
		if errors.Is(err, ErrNoRecord) {
			continue
		}
		if err != nil {
			return id, fmt.Errorf("bus: first record of %s: %w", name, err)
		}
		var rec event.Record
		if err := proto.Unmarshal(m.Data, &rec); err != nil || len(rec.GetEvents()) == 0 || rec.GetEvents()[0].GetStreamOpened() == nil {
			return id, fmt.Errorf("%w: %s does not begin with its opening", ErrMixedLog, name)
		}
		o := rec.GetEvents()[0].GetStreamOpened()
		of := Identity{event.ToID(o.GetLog()), int(o.GetPartitions())}
		if o.GetStream() != name || (found && of != id) {
			return id, fmt.Errorf("%w: %s was opened as %s of log %s", ErrMixedLog, name, o.GetStream(), of.Log)
		}
		id, found = of, true
	}
	if !found {
		return id, ErrNoRecord
	}
	return id, nil
}

// Streams lists all that is carried, the streams of the log first, by name.
func (r *Raw) Streams(ctx context.Context) ([]RawStream, error) {
	logs, err := r.b.names(ctx)
	if err != nil {
		return nil, err
	}
	beside, err := r.b.allNames(ctx)
	if err != nil {
		return nil, err
	}
	beside = slices.DeleteFunc(beside, func(name string) bool { return kindOf(name) == LogStream || slices.Contains(momentary, name) })
	var all []RawStream
	for _, name := range append(logs, beside...) {
		s, err := r.State(ctx, name)
		if err != nil {
			return nil, err
		}
		if s.Kind != "" {
			all = append(all, s)
		}
	}
	return all, nil
}

// kindOf is "" for what is none of a log's.
func kindOf(name string) Kind {
	switch {
	case name == event.People.String() || name == event.Presence.String() || strings.HasPrefix(name, "CONVERSATION-"):
		return LogStream
	case strings.HasPrefix(name, "KV_"):
		return Bucket
	case strings.HasPrefix(name, "OBJ_"):
		return Store
	}
	return ""
}

// State is a stream as its leader knows it; the zero RawStream where there is none.
func (r *Raw) State(ctx context.Context, name string) (RawStream, error) {
	kind := kindOf(name)
	var req any
	if kind == Store {
		req = struct {
			Deleted bool `json:"deleted_details"`
		}{true}
	}
	var i struct {
		Config jetstream.StreamConfig `json:"config"`
		State  struct {
			FirstSeq uint64   `json:"first_seq"`
			LastSeq  uint64   `json:"last_seq"`
			Deleted  []uint64 `json:"deleted"`
		} `json:"state"`
	}
	err := r.b.retried(ctx, "STREAM.INFO."+name, req, &i)
	if isCode(err, errCodeStreamNotFound) {
		return RawStream{}, nil
	}
	if err != nil {
		return RawStream{}, fmt.Errorf("bus: %s: %w", name, err)
	}
	s := RawStream{Name: name, Kind: kind, First: i.State.FirstSeq, Last: i.State.LastSeq, Deleted: i.State.Deleted}
	if kind == LogStream {
		return s, nil
	}
	i.Config.Metadata, i.Config.Placement = nil, nil // of those servers
	if s.Config, err = json.Marshal(i.Config); err != nil {
		return s, fmt.Errorf("bus: %s: %w", name, err)
	}
	return s, nil
}

// Entry reads one message from the leader; ErrNoRecord where there is none.
func (r *Raw) Entry(ctx context.Context, name string, seq uint64) (Entry, error) {
	m, err := r.b.get(ctx, name, msgGet{Seq: seq})
	if err != nil {
		return Entry{}, fmt.Errorf("bus: %s at %d: %w", name, seq, err)
	}
	return Entry{Sequence: m.Sequence, Subject: m.Subject, Time: m.Time, Data: m.Data}, nil
}

// Read yields what a stream holds from one sequence to another, both included. In a stream of
// the log no sequence is left out; elsewhere what was deleted is. It ends with an error and no
// entry when ctx ends or the servers refuse.
func (r *Raw) Read(ctx context.Context, name string, from, to uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		next := max(from, 1)
		for next <= to {
			last, err := r.readOn(ctx, name, next, to, yield)
			if errors.Is(err, errEnough) {
				return
			}
			if err == nil {
				next, err = r.rest(ctx, name, last+1, to, yield)
			}
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("bus: read %s: %w", name, err))
				return
			}
		}
	}
}

var errEnough = errors.New("bus: no more is wanted")

// readOn reads with one consumer as far as that has something, and gives the last sequence that
// was passed.
func (r *Raw) readOn(ctx context.Context, name string, from, to uint64, yield func(Entry, error) bool) (last uint64, err error) {
	last = from - 1
	var c jetstream.Consumer
	if err := r.patiently(ctx, "consumer", func() (err error) {
		c, err = r.b.js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from, InactiveThreshold: consumerForgotten,
		})
		return err
	}); err != nil {
		return last, err
	}
	if c.CachedInfo().NumPending == 0 {
		return last, nil
	}
	it, err := c.Messages(jetstream.PullMaxBytes(2 * feedBytes))
	if err != nil {
		return last, err
	}
	defer it.Stop()
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return last, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return last, err
		}
		seq := meta.Sequence.Stream
		if seq <= last {
			continue // the consumer was made anew
		}
		if seq > to {
			return last, nil
		}
		if kindOf(name) == LogStream && seq != last+1 {
			return last, nil // the leader is asked what is there
		}
		last = seq
		if !gone(m.Headers()) && !yield(Entry{Sequence: seq, Subject: m.Subject(), Time: meta.Timestamp, Data: m.Data()}, nil) {
			return last, errEnough
		}
		if seq == to || meta.NumPending == 0 {
			return last, nil
		}
	}
}

// rest passes what the leader says is not there, and gives the sequence to go on with.
func (r *Raw) rest(ctx context.Context, name string, from, to uint64, yield func(Entry, error) bool) (next uint64, err error) {
	if from > to {
		return from, nil
	}
	m, err := r.b.get(ctx, name, msgGet{Seq: from, Next: ">"})
	switch {
	case errors.Is(err, ErrNoRecord):
		next = to + 1
	case err != nil:
		return from, err
	default:
		next = min(m.Sequence, to+1)
	}
	if next == from { // whom the consumer read from is behind
		return from, sleep(ctx, 50*time.Millisecond)
	}
	if kindOf(name) != LogStream {
		return next, nil
	}
	i := new(streamInfo)
	if err := r.b.retried(ctx, "STREAM.INFO."+name, nil, i); err != nil {
		return from, err
	}
	if !i.current() {
		r.b.log.Warn("records are missing, but not all replicas are up to date", "stream", name, "seq", from)
		return from, sleep(ctx, time.Second)
	}
	if i.State.LastSeq < to {
		return from, fmt.Errorf("it ends at %d, before %d: %w", i.State.LastSeq, to, ErrNoRecord)
	}
	r.b.log.Warn("the log has lost records for good", "stream", name, "from", from, "to", next-1)
	for ; from < next; from++ {
		if !yield(Entry{Sequence: from, Subject: plainSubject(name)}, nil) {
			return from, errEnough
		}
	}
	return next, nil
}

// plainSubject is the subject of ordinary records of the stream of that name.
func plainSubject(name string) string {
	switch name {
	case event.People.String():
		return peopleEvent
	case event.Presence.String():
		return presenceEvent
	}
	return "conversation." + strings.TrimPrefix(name, "CONVERSATION-") + ".event"
}

// gone tells whether a message only says that its key has been deleted.
func gone(h nats.Header) bool {
	return h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != ""
}

// Make makes a stream that is missing, as the one that s describes. A stream of the log is made
// open: Open refuses it until Seal. Where a cluster has no place for it, it tries until ctx ends
// or for half a minute.
func (r *Raw) Make(ctx context.Context, s RawStream) error {
	var cfg jetstream.StreamConfig
	if s.Kind == LogStream {
		st, err := streamNamed(s.Name)
		if err != nil {
			return err
		}
		cfg = r.b.streamConfig(st)
		cfg.DenyDelete, cfg.DenyPurge = false, false
	} else {
		if err := json.Unmarshal(s.Config, &cfg); err != nil {
			return fmt.Errorf("bus: settings of %s: %w", s.Name, err)
		}
		cfg.Name, cfg.Replicas = s.Name, r.b.cfg.Replicas
	}
	st, err := r.create(ctx, cfg)
	if err != nil || s.Kind != LogStream {
		return err
	}
	have := st.CachedInfo().Config
	have.DenyDelete, have.DenyPurge = false, false
	return differences(have, cfg)
}

// create gives the stream, which is made where it is missing. A server that is just away, or not
// heard yet by the one that places streams, is waited for.
func (r *Raw) create(ctx context.Context, cfg jetstream.StreamConfig) (st jetstream.Stream, err error) {
	err = r.patiently(ctx, "create "+cfg.Name, func() (err error) {
		st, err = r.b.js.CreateStream(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			st, err = r.b.js.Stream(ctx, cfg.Name)
		}
		return err
	})
	return st, err
}

// patiently does what servers refuse while they come up or elect a leader, until it is done, ctx ends or half a minute
// has passed.
func (r *Raw) patiently(ctx context.Context, what string, do func() error) error {
	for began := time.Now(); ; {
		err := do()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("bus: %s: %w", what, err)
		if !passing(err) || time.Since(began) > makePatience {
			return err
		}
		r.b.log.Warn("the servers are not ready", "err", err)
		if serr := sleep(ctx, 250*time.Millisecond); serr != nil {
			return errors.Join(err, serr)
		}
	}
}

func streamNamed(name string) (event.Stream, error) {
	for _, s := range event.Streams(event.MaxPartitions) {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("%w: %q", ErrNoStream, name)
}

// Sealed tells whether all streams of the log are sealed.
func (r *Raw) Sealed(ctx context.Context) (bool, error) {
	names, err := r.b.names(ctx)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		var cfg jetstream.StreamConfig
		if err := r.patiently(ctx, "is it sealed", func() (err error) { cfg, err = r.b.stream(ctx, name); return err }); err != nil {
			return false, err
		}
		if !cfg.DenyDelete || !cfg.DenyPurge {
			return false, nil
		}
	}
	return len(names) > 0, nil
}

// Seal ends the making of a log: nothing is deleted from its streams any more, and Open takes
// them. PEOPLE comes last, so that a log is open until all of it is sealed.
func (r *Raw) Seal(ctx context.Context) error {
	names, err := r.b.names(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int { // PEOPLE to the end
		return strings.Compare(strconv.FormatBool(a == event.People.String())+a, strconv.FormatBool(b == event.People.String())+b)
	})
	for _, name := range names {
		s, err := streamNamed(name)
		if err != nil {
			return err
		}
		if err := r.patiently(ctx, "seal "+name, func() error {
			_, err := r.b.js.UpdateStream(ctx, r.b.streamConfig(s))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// ErrUsed is the refusal to take away a log that holds more than its openings.
var ErrUsed = errors.New("bus: the log has been in use")

// RemoveUnused takes away the streams of a log in which nothing has ever happened; ErrUsed.
func (r *Raw) RemoveUnused(ctx context.Context) error {
	names, err := r.b.names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		s, err := r.State(ctx, name)
		if err != nil {
			return err
		}
		if s.Last > 1 {
			return fmt.Errorf("%w: %s holds %d records", ErrUsed, name, s.Last)
		}
	}
	for _, name := range names {
		if err := r.b.js.DeleteStream(ctx, name); err != nil {
			return fmt.Errorf("bus: remove %s: %w", name, err)
		}
	}
	return nil
}

// Empty removes all that a store holds.
func (r *Raw) Empty(ctx context.Context, name string) error {
	if kindOf(name) != Store {
		return fmt.Errorf("bus: %s is no store", name)
	}
	return r.b.retried(ctx, "STREAM.PURGE."+name, nil, nil)
}

// Value is the newest entry of a bucket's key, by its subject; ErrNoRecord.
func (r *Raw) Value(ctx context.Context, name, subject string) (Entry, error) {
	m, err := r.b.get(ctx, name, msgGet{Last: subject})
	if err != nil {
		return Entry{}, err
	}
	return Entry{Sequence: m.Sequence, Subject: m.Subject, Time: m.Time, Data: m.Data}, nil
}

// NewEpochs gives every stream of a log with p partitions a new epoch: the history that follows
// is another one than clients and views may have seen. The bucket is there.
func (r *Raw) NewEpochs(ctx context.Context, p int) error {
	for _, s := range event.Streams(p) {
		e, err := r.b.entry(ctx, epochBucket, s.String())
		if err == nil {
			_, err = r.b.set(ctx, epochBucket, s.String(), newID().String(), e.revision, false)
		}
		if err != nil {
			return fmt.Errorf("bus: new epoch of %s: %w", s, err)
		}
	}
	return nil
}

// What may be on its way to a stream.
const (
	maxInFlight      = 512
	maxInFlightBytes = 8 << 20
	// copyAckTimeout is long: a slow disk syncs each of them.
	copyAckTimeout = 30 * time.Second
	// appendPatience is how long nothing may be stored before Append gives up.
	appendPatience = 2 * time.Minute
	// makePatience is how long a cluster may have no place for a stream before Make gives up.
	makePatience = 30 * time.Second
)

// ErrOtherWriter says that somebody else writes to a stream that is being copied to.
var ErrOtherWriter = errors.New("bus: somebody else writes to the stream")

// Append stores entries as the messages behind last, which is the stream's last sequence, and
// gives the new one. Each is stored only right behind the one before it, so one that is sent
// again, late or twice, takes no other's place. It tries until ctx ends or nothing has been
// stored for two minutes.
func (r *Raw) Append(ctx context.Context, name string, last uint64, entries []Entry) (uint64, error) {
	progress := time.Now()
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && n < maxInFlight && (n == 0 || size+len(entries[n].Data) <= maxInFlightBytes) {
			size += len(entries[n].Data)
			n++
		}
		err := r.send(ctx, last, entries[:n])
		if err == nil {
			entries, last, progress = entries[n:], last+uint64(n), time.Now()
			continue
		}
		if ctx.Err() != nil {
			return last, errors.Join(err, ctx.Err())
		}
		st, serr := r.State(ctx, name)
		if serr != nil {
			return last, errors.Join(err, serr)
		}
		if st.Last < last || st.Last > last+uint64(n) {
			return last, fmt.Errorf("%w: %s ends at %d, not between %d and %d", ErrOtherWriter, name, st.Last, last, last+uint64(n))
		}
		if stored := st.Last - last; stored > 0 {
			e, serr := r.Entry(ctx, name, st.Last)
			if serr != nil {
				return last, errors.Join(err, serr)
			}
			if !e.Same(entries[stored-1]) {
				return last, fmt.Errorf("%w: %s holds another record at %d", ErrOtherWriter, name, st.Last)
			}
			entries, last, progress = entries[stored:], st.Last, time.Now()
		}
		if refusedForGood(err) || time.Since(progress) > appendPatience {
			return last, fmt.Errorf("bus: append to %s: %w", name, err)
		}
		r.b.log.Warn("copying goes on after an error", "stream", name, "seq", last, "err", err)
		if serr := sleep(ctx, 100*time.Millisecond); serr != nil {
			return last, errors.Join(err, serr)
		}
	}
	return last, nil
}

// refusedForGood tells of refusals that another attempt only meets again.
func refusedForGood(err error) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (int(e.ErrorCode) == errCodeStoreFailed || e.Code == 400 && !isWrongLast(err))
}

// send puts entries on their way and waits for all the answers.
func (r *Raw) send(ctx context.Context, last uint64, entries []Entry) error {
	var first error
	futures := make([]jetstream.PubAckFuture, 0, len(entries))
	for i, e := range entries {
		m := &nats.Msg{Subject: e.Subject, Data: e.Data, Header: nats.Header{
			nats.ExpectedLastSeqHdr: {strconv.FormatUint(last+uint64(i), 10)},
		}}
		if isHead(e.Subject) {
			m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
		}
		// Without attempts of its own: one that is late would only be refused.
		f, err := r.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(1))
		if err != nil {
			first = err
			break
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return first
}

// isHead tells whether a subject is that of an object's head, which takes the place of the one
// before.
func isHead(subject string) bool {
	parts := strings.Split(subject, ".")
	return len(parts) == 4 && parts[0] == "$O" && parts[2] == "M"
}

// CopyFiles copies the files of an embedded log while its server runs, so that a server of its
// own can be brought up on the copy. What a stream of the log had stored when CopyFiles began is
// in it: its files only grow, and a server cuts off what is half written at an end, as after a
// crash. Streams are copied in an order in which nothing refers to what is not in the copy yet.
func CopyFiles(ctx context.Context, from, to string) error {
	streams := filepath.Join("jetstream", "$G", "streams")
	dirs, err := os.ReadDir(filepath.Join(from, streams))
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	var names []string
	for _, d := range dirs {
		if d.IsDir() && kindOf(d.Name()) != "" && !slices.Contains(momentary, d.Name()) {
			names = append(names, d.Name())
		}
	}
	for _, name := range CopyOrder(names) {
		if err := copyStream(ctx, filepath.Join(from, streams, name), filepath.Join(to, streams, name)); err != nil {
			return fmt.Errorf("bus: copy %s: %w", name, err)
		}
	}
	return nil
}

// CopyOrder is the order in which streams that are being written are copied, or their ends are
// taken. First what says that something is in the log (cursors, notes of requests), then the
// conversations, then sessions, then people and numbers that both refer to, last files and
// pictures that messages speak of.
func CopyOrder(names []string) []string {
	rank := func(name string) int {
		switch kind := kindOf(name); {
		case kind == Bucket && name != "KV_transfers":
			return 0
		case strings.HasPrefix(name, "CONVERSATION-"):
			return 1
		case name == event.Presence.String():
			return 2
		case name == event.People.String():
			return 3
		}
		return 4
	}
	names = slices.Clone(names)
	slices.SortFunc(names, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// copyStream copies the settings and the blocks of messages, oldest first; not the index, which
// belongs to a moment, and no consumers.
func copyStream(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Join(to, "msgs"), 0o700); err != nil {
		return err
	}
	blocks, err := filepath.Glob(filepath.Join(from, "msgs", "*.blk"))
	if err != nil {
		return err
	}
	number := func(path string) uint64 {
		n, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".blk"), 10, 64)
		return n
	}
	slices.SortFunc(blocks, func(a, b string) int { return int(number(a)) - int(number(b)) })
	for _, meta := range []string{"meta.inf", "meta.sum"} {
		if err := copyFile(ctx, filepath.Join(from, meta), filepath.Join(to, meta)); err != nil {
			return err
		}
	}
	for _, block := range blocks {
		err := copyFile(ctx, block, filepath.Join(to, "msgs", filepath.Base(block)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // all in it has been deleted meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(ctx context.Context, from, to string) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

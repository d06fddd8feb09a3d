package bus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxObject is the largest object, in bytes. What is larger is stored as several, so that
// it can be written and read piece by piece, and written on where it was broken off.
const MaxObject = 512 << 10

// maxTableValue is the largest value of a table, in bytes.
const maxTableValue = 16 << 10

// objectTimeout bounds one write to a store or a table.
const objectTimeout = 15 * time.Second

// What stores and tables refuse, beside [ErrConflict], [ErrTooLarge], [ErrLowSpace] and
// [ErrFrozen].
var (
	// ErrNoObject: there is nothing of that name, or no more.
	ErrNoObject = errors.New("bus: no such object")
	// ErrNoRoom: the store or the table holds as much as it may.
	ErrNoRoom = errors.New("bus: the store is full")
	// ErrDamaged: an object is not what was stored.
	ErrDamaged = errors.New("bus: object damaged")
)

// errCodeStore is JetStream's answer to what a stream has no room for.
const errCodeStore = 10077

// StoreConfig is one store of objects, or one table. Both limits are the operator's: they
// may differ from one start to the next.
type StoreConfig struct {
	Name     string        // one subject token, the same for ever
	MaxBytes int64         // over it nothing more is taken; needed
	Keep     time.Duration // how long something is kept after it was written, at least a second; 0: for ever
}

func (c StoreConfig) check() error {
	if !validToken(c.Name) || c.MaxBytes <= 0 || c.Keep < 0 || (c.Keep > 0 && c.Keep < time.Second) {
		return fmt.Errorf("bus: store %q of %d bytes, kept %s", c.Name, c.MaxBytes, c.Keep)
	}
	return nil
}

// storeStream is what the streams of stores and tables have in common.
func (b *Bus) storeStream(c StoreConfig, name string, subjects ...string) jetstream.StreamConfig {
	duplicates := b.cfg.Duplicates
	if c.Keep > 0 {
		duplicates = min(duplicates, c.Keep)
	}
	return jetstream.StreamConfig{
		Name:              name,
		Subjects:          subjects,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          b.cfg.Replicas,
		Duplicates:        duplicates,
		MaxBytes:          c.MaxBytes,
		MaxAge:            c.Keep,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		AllowRollup:       true,
		AllowDirect:       true,
	}
}

// ensureStore makes the stream, or gives the one there is the limits of now; whoever only
// checks takes its limits as they are. Any other difference is refused. It tries until ctx
// ends while the servers come up, and gives the limit of bytes that holds.
func (b *Bus) ensureStore(ctx context.Context, want jetstream.StreamConfig) (maxBytes int64, err error) {
	for {
		have, err := b.tryStore(ctx, want)
		if err == nil || !passing(err) || b.closed.Load() {
			return have.MaxBytes, err
		}
		if sleep(ctx, 100*time.Millisecond) != nil {
			return 0, errors.Join(err, ctx.Err())
		}
	}
}

func (b *Bus) tryStore(ctx context.Context, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	have, err := b.stream(ctx, want.Name)
	if errors.Is(err, ErrNotPrepared) && !b.cfg.CheckOnly {
		if _, err = b.js.CreateStream(ctx, want); err == nil {
			b.notePrepared(want.Name, Made, want.Replicas)
			return want, nil
		}
		if !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return want, fmt.Errorf("bus: create %s: %w", want.Name, err)
		}
		have, err = b.stream(ctx, want.Name) // somebody else was faster
	}
	if err != nil {
		return want, err
	}
	limited := have
	limited.MaxBytes, limited.MaxAge, limited.Duplicates = want.MaxBytes, want.MaxAge, want.Duplicates
	if err := b.differences(limited, want); err != nil {
		return have, err
	}
	if b.cfg.CheckOnly || have.MaxBytes == want.MaxBytes && have.MaxAge == want.MaxAge && have.Duplicates == want.Duplicates {
		b.notePrepared(want.Name, Fits, have.Replicas)
		return have, nil
	}
	if _, err := b.js.UpdateStream(ctx, limited); err != nil {
		return have, fmt.Errorf("bus: limits of %s: %w", want.Name, err)
	}
	b.notePrepared(want.Name, Changed, have.Replicas)
	b.log.Info("limits of a store changed", "store", want.Name, "bytes", want.MaxBytes, "keep", want.MaxAge)
	return limited, nil
}

func (b *Bus) notePrepared(name string, state State, replicas int) {
	b.objectsMu.Lock()
	defer b.objectsMu.Unlock()
	b.prepared.note(name, state, replicas)
}

// stream is the configuration of a stream; ErrNotPrepared where it is missing.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.StreamConfig, error) {
	s, err := b.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return jetstream.StreamConfig{}, fmt.Errorf("%w: stream %s is missing", ErrNotPrepared, name)
	}
	if err != nil {
		return jetstream.StreamConfig{}, fmt.Errorf("bus: stream %s: %w", name, err)
	}
	return s.CachedInfo().Config, nil
}

// bulk is the connection for what is large: it must not stand before records on theirs.
func (b *Bus) bulk(ctx context.Context) (*nats.Conn, error) {
	b.objectsMu.Lock()
	defer b.objectsMu.Unlock()
	if b.closed.Load() {
		return nil, ErrClosed
	}
	if b.objects == nil {
		nc, err := b.dial(ctx, "objects", b.cfg.Role.inbox(), -1, func(bool) {})
		if err != nil {
			return nil, err
		}
		b.objects = nc
	}
	return b.objects, nil
}

// Objects is a bounded store of named objects, laid out as JetStream's object store, one
// chunk to each object. What is stored is as durable as a record of the log. Errors don't
// say the name: it may be all that one needs to be given the object.
type Objects struct {
	b      *Bus
	nc     *nats.Conn
	cfg    StoreConfig
	stream string
}

// Objects opens a store and makes it where it is missing. ctx bounds the opening only.
func (b *Bus) Objects(ctx context.Context, cfg StoreConfig) (*Objects, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	nc, err := b.bulk(ctx)
	if err != nil {
		return nil, err
	}
	o := &Objects{b: b, nc: nc, cfg: cfg, stream: objectStream(cfg.Name)}
	o.cfg.MaxBytes, err = b.ensureStore(ctx, b.storeStream(cfg, o.stream, o.chunkSubject(">"), "$O."+cfg.Name+".M.>"))
	return o, err
}

func (o *Objects) chunkSubject(chunk string) string { return "$O." + o.cfg.Name + ".C." + chunk }
func (o *Objects) metaSubject(name string) string {
	return "$O." + o.cfg.Name + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

func digest(data []byte) string {
	h := sha256.New()
	h.Write(data)
	return jetstream.GetObjectDigestValue(h)
}

// Put stores an object of at most [MaxObject] bytes, in the place of one of the same name,
// with what notes say about it. The error is ErrNoRoom, ErrTooLarge, ErrLowSpace or
// ErrFrozen where nothing was stored; after any other it may have been.
func (o *Objects) Put(ctx context.Context, name string, data []byte, notes map[string]string) error {
	if name == "" || len(name) > 256 {
		return fmt.Errorf("bus: object name of %d bytes", len(name))
	}
	if len(data) > MaxObject {
		return fmt.Errorf("%w: object of %d bytes", ErrTooLarge, len(data))
	}
	old, err := o.meta(ctx, name)
	if err != nil && !errors.Is(err, ErrNoObject) {
		return err
	}
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Metadata: notes, Opts: &jetstream.ObjectMetaOptions{ChunkSize: MaxObject}},
		Bucket:     o.cfg.Name, NUID: newID().String(), Size: uint64(len(data)), Chunks: 1, Digest: digest(data),
	}
	head, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("bus: store %s: %w", o.cfg.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	// The chunk first: what has a head is whole.
	if _, err := o.b.write(ctx, o.nc, o.chunkSubject(info.NUID), data, nil); err != nil {
		return fmt.Errorf("bus: store %s: %w", o.cfg.Name, err)
	}
	_, err = o.b.write(ctx, o.nc, o.metaSubject(name), head, nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}})
	if err != nil {
		if errors.Is(err, ErrNoRoom) || errors.Is(err, ErrLowSpace) {
			err = errors.Join(err, o.purge(ctx, o.chunkSubject(info.NUID)))
		}
		return fmt.Errorf("bus: store %s: %w", o.cfg.Name, err)
	}
	if old != nil && !old.Deleted {
		if err := o.purge(ctx, o.chunkSubject(old.NUID)); err != nil {
			o.b.log.Warn("replaced object not removed", "store", o.cfg.Name, "err", err)
		}
	}
	return nil
}

// Get reads an object and its notes; ErrNoObject, ErrDamaged.
func (o *Objects) Get(ctx context.Context, name string) (data []byte, notes map[string]string, err error) {
	var last string
	for {
		info, err := o.meta(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		if info.Deleted || info.NUID == last {
			return nil, nil, ErrNoObject
		}
		data, err := o.chunk(ctx, o.chunkSubject(info.NUID))
		if errors.Is(err, ErrNoRecord) {
			last = info.NUID // it was replaced meanwhile, or is gone
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("bus: store %s: %w", o.cfg.Name, err)
		}
		if uint64(len(data)) != info.Size || digest(data) != info.Digest {
			return nil, nil, fmt.Errorf("%w: in store %s", ErrDamaged, o.cfg.Name)
		}
		return data, info.Metadata, nil
	}
}

// Delete removes an object; it is no error that there is none.
func (o *Objects) Delete(ctx context.Context, name string) error {
	info, err := o.meta(ctx, name)
	if errors.Is(err, ErrNoObject) {
		return nil
	}
	if err != nil {
		return err
	}
	// The head last: as long as it is there this can be done again.
	if err := o.purge(ctx, o.chunkSubject(info.NUID)); err != nil {
		return err
	}
	return o.purge(ctx, o.metaSubject(name))
}

// MaxBytes is how many bytes the store may hold: what it was made with, also where this
// process asked for another limit and may not set it.
func (o *Objects) MaxBytes() int64 { return o.cfg.MaxBytes }

// Room is how many bytes the store takes until it is full.
func (o *Objects) Room(ctx context.Context) (int64, error) {
	if o.b.closed.Load() {
		return 0, ErrClosed
	}
	var i struct {
		State struct {
			Bytes int64 `json:"bytes"`
		} `json:"state"`
	}
	if err := o.b.retried(ctx, "STREAM.INFO."+o.stream, nil, &i); err != nil {
		return 0, fmt.Errorf("bus: room in %s: %w", o.cfg.Name, err)
	}
	return max(0, o.cfg.MaxBytes-i.State.Bytes), nil
}

func (o *Objects) meta(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	if o.b.closed.Load() {
		return nil, ErrClosed
	}
	m, err := o.b.get(ctx, o.stream, msgGet{Last: o.metaSubject(name)})
	if errors.Is(err, ErrNoRecord) {
		return nil, ErrNoObject
	}
	if err != nil {
		return nil, fmt.Errorf("bus: store %s: %w", o.cfg.Name, err)
	}
	i := new(jetstream.ObjectInfo)
	if err := json.Unmarshal(m.Data, i); err != nil {
		return nil, fmt.Errorf("%w: in store %s: %w", ErrDamaged, o.cfg.Name, err)
	}
	return i, nil
}

// chunk reads what a subject holds: from whoever has it, which costs no text encoding, and
// from the leader where that one is behind.
func (o *Objects) chunk(ctx context.Context, subject string) ([]byte, error) {
	once, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	m, err := o.nc.RequestWithContext(once, "$JS.API.DIRECT.GET."+o.stream+"."+subject, nil)
	if err == nil && m.Header.Get("Status") == "" {
		return m.Data, nil
	}
	s, err := o.b.get(ctx, o.stream, msgGet{Last: subject})
	return s.Data, err
}

func (o *Objects) purge(ctx context.Context, subject string) error {
	return o.b.purge(ctx, o.stream, subject)
}

func (b *Bus) purge(ctx context.Context, stream, subject string) error {
	req := struct {
		Filter string `json:"filter"`
	}{subject}
	return b.retried(ctx, "STREAM.PURGE."+stream, req, nil)
}

// write stores one message outside of the log's streams, unless records are held.
func (b *Bus) write(ctx context.Context, nc *nats.Conn, subject string, data []byte, h nats.Header) (uint64, error) {
	if b.closed.Load() {
		return 0, ErrClosed
	}
	if _, why := b.held(); why != nil {
		return 0, why
	}
	r, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Data: data, Header: h})
	if err != nil {
		b.trouble.Store(true) // a frozen store gives no answer
		return 0, err
	}
	b.trouble.Store(false)
	a := parseAck(r)
	switch {
	case a.err == nil:
		return a.seq, nil
	case isWrongLast(a.err):
		return 0, ErrConflict
	case isCode(a.err, errCodeStore):
		return 0, fmt.Errorf("%w: %w", ErrNoRoom, a.err)
	}
	return 0, a.err
}

// Table is a bounded table of small values by key. Keys are subject tokens joined by dots.
type Table struct {
	b      *Bus
	cfg    StoreConfig
	stream string
}

// Table opens a table and makes it where it is missing. ctx bounds the opening only.
func (b *Bus) Table(ctx context.Context, cfg StoreConfig) (*Table, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	t := &Table{b: b, cfg: cfg, stream: bucketStream(cfg.Name)}
	s := b.storeStream(cfg, t.stream, keySubject(cfg.Name, ">"))
	s.MaxMsgsPerSubject = 1
	_, err := b.ensureStore(ctx, s)
	return t, err
}

func validKey(key string) bool {
	return len(key) <= 256 && !slices.ContainsFunc(strings.Split(key, "."), func(t string) bool { return !validToken(t) })
}

// Get is the value of a key, with its revision; ErrNoObject.
func (t *Table) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	if t.b.closed.Load() {
		return nil, 0, ErrClosed
	}
	if !validKey(key) {
		return nil, 0, fmt.Errorf("bus: key %q", key)
	}
	m, err := t.b.get(ctx, t.stream, msgGet{Last: keySubject(t.cfg.Name, key)})
	if errors.Is(err, ErrNoRecord) {
		return nil, 0, ErrNoObject
	}
	if err != nil {
		return nil, 0, fmt.Errorf("bus: table %s: %w", t.cfg.Name, err)
	}
	return bytes.Clone(m.Data), m.Sequence, nil
}

// Put writes a value where the key's revision is expect, 0 for none; else ErrConflict. It
// is refused with ErrNoRoom, ErrLowSpace and ErrFrozen; after any other error it may have
// been written.
func (t *Table) Put(ctx context.Context, key string, value []byte, expect uint64) (revision uint64, err error) {
	if !validKey(key) {
		return 0, fmt.Errorf("bus: key %q", key)
	}
	if len(value) > maxTableValue {
		return 0, fmt.Errorf("%w: value of %d bytes", ErrTooLarge, len(value))
	}
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	revision, err = t.b.write(ctx, t.b.events, keySubject(t.cfg.Name, key), value,
		nats.Header{nats.ExpectedLastSubjSeqHdr: {strconv.FormatUint(expect, 10)}})
	if err != nil {
		return 0, fmt.Errorf("bus: table %s: %w", t.cfg.Name, err)
	}
	return revision, nil
}

// Delete removes a key and leaves nothing behind; it is no error that there is none.
func (t *Table) Delete(ctx context.Context, key string) error {
	if t.b.closed.Load() {
		return ErrClosed
	}
	if !validKey(key) {
		return fmt.Errorf("bus: key %q", key)
	}
	return t.b.purge(ctx, t.stream, keySubject(t.cfg.Name, key))
}

// Keys lists the keys that begin with the tokens of prefix. Only for few of them.
func (t *Table) Keys(ctx context.Context, prefix string) ([]string, error) {
	if t.b.closed.Load() {
		return nil, ErrClosed
	}
	if !validKey(prefix) {
		return nil, fmt.Errorf("bus: key %q", prefix)
	}
	keys, err := t.b.keys(ctx, t.cfg.Name, prefix+".>")
	if err != nil {
		return nil, fmt.Errorf("bus: keys of %s: %w", t.cfg.Name, err)
	}
	return keys, nil
}

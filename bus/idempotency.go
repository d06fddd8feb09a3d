package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// RequestTTL is how long what was noted of a request is kept, counted from the newest note.
const RequestTTL = 24 * time.Hour

const (
	requestBucket = "requests"

	// MaxRequestNote is the most bytes that one note takes.
	MaxRequestNote = 256 << 10
	// maxRequestBytes bounds the bucket: over it nothing new is noted, [ErrFull].
	maxRequestBytes = 1 << 30

	// requestTimeout bounds one write of a note.
	requestTimeout = 5 * time.Second
)

// requestConfig is the bucket of requests, as a stream.
func (b *Bus) requestConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              bucketStream(requestBucket),
		Subjects:          []string{keySubject(requestBucket, ">")},
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          maxRequestBytes,
		MaxAge:            RequestTTL,
		MaxMsgSize:        MaxRequestNote + 1024, // headers count as well
		MaxConsumers:      -1,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          b.cfg.Replicas,
		Duplicates:        defaultDuplicates,
		DenyDelete:        true,
	}
}

// RequestNote reads what was noted last under a name; revision 0 where there is nothing,
// or no more. The name is one subject token. It asks the leader until there is an answer
// or ctx ends.
func (b *Bus) RequestNote(ctx context.Context, name string) (note []byte, revision uint64, err error) {
	if !validToken(name) {
		return nil, 0, fmt.Errorf("bus: request name %q must be one token", name)
	}
	if b.closed.Load() {
		return nil, 0, ErrClosed
	}
	m, err := b.get(ctx, bucketStream(requestBucket), msgGet{Last: keySubject(requestBucket, name)})
	if errors.Is(err, ErrNoRecord) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("bus: note of a request: %w", err)
	}
	return m.Data, m.Sequence, nil
}

// NoteRequest writes a note in place of the one with the revision expect, 0 for none, and
// gives the new revision: the note is then as durable as a record of the log.
// [ErrConflict] says that another note stands there; [ErrFull] that the bucket holds as
// much as it may. After any other error the note may or may not have been written.
func (b *Bus) NoteRequest(ctx context.Context, name string, note []byte, expect uint64) (revision uint64, err error) {
	switch {
	case !validToken(name):
		return 0, fmt.Errorf("bus: request name %q must be one token", name)
	case len(note) > MaxRequestNote:
		return 0, fmt.Errorf("bus: note of %d bytes: %w", len(note), ErrTooLarge)
	case b.closed.Load():
		return 0, ErrClosed
	}
	m := nats.NewMsg(keySubject(requestBucket, name))
	m.Data = note
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(expect, 10))
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := b.events.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("bus: note a request: %w", err)
	}
	a := parseAck(r)
	switch {
	case a.err == nil:
		return a.seq, nil
	case isWrongLast(a.err):
		return 0, ErrConflict
	case isCode(a.err, errCodeStoreFailed):
		return 0, fmt.Errorf("%w: %w", ErrFull, a.err)
	}
	return 0, fmt.Errorf("bus: note a request: %w", a.err)
}

// Alone tells whether no other process can have this log open: it is the embedded
// server's, and its directory is locked.
func (b *Bus) Alone() bool { return b.emb != nil }

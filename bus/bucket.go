package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Buckets, as streams: epochs of the log's streams, and leases.
const (
	epochBucket = "epochs"
	leaseBucket = "leases"
)

func bucketStream(bucket string) string { return "KV_" + bucket }
func keySubject(bucket, key string) string {
	return "$KV." + bucket + "." + key
}

// setTimeout bounds one write to a bucket.
const setTimeout = 2 * time.Second

// errUnderWay: another write of the key is not decided yet. It may be an earlier one of this
// process, whose answer did not come; without a quorum that lasts until the leader steps down.
var errUnderWay = errors.New("bus: another write of the key is under way")

// ensureBuckets makes the buckets where they are missing.
func (b *Bus) ensureBuckets(ctx context.Context) error {
	bucket := func(name string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name:              bucketStream(name),
			Subjects:          []string{keySubject(name, ">")},
			MaxMsgsPerSubject: 1,
			MaxMsgs:           -1,
			MaxBytes:          -1,
			MaxMsgSize:        -1,
			MaxConsumers:      -1,
			Discard:           jetstream.DiscardNew,
			Storage:           jetstream.FileStorage,
			Replicas:          b.cfg.Replicas,
			Duplicates:        defaultDuplicates,
			AllowRollup:       true,
			DenyDelete:        true,
		}
	}
	secrets := bucket(secretBucket)
	secrets.MaxMsgSize = 1024
	var errs []error
	for _, cfg := range []jetstream.StreamConfig{bucket(epochBucket), bucket(cursorBucket), bucket(leaseBucket), secrets, b.requestConfig()} {
		if _, err := b.tryStore(ctx, cfg); err != nil {
			errs = append(errs, fmt.Errorf("bus: bucket %s: %w", cfg.Name, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if b.emb != nil {
		// What a predecessor held nobody holds now; revisions go on from where they were.
		return b.retried(ctx, "STREAM.PURGE."+bucketStream(leaseBucket), nil, nil)
	}
	return nil
}

// entry is the newest value of a key; revision 0 where there never was one.
type entry struct {
	value    string
	revision uint64
	time     time.Time // when the server stored it
	gone     bool      // deleted or never there
}

func (b *Bus) entry(ctx context.Context, bucket, key string) (entry, error) {
	m, err := b.get(ctx, bucketStream(bucket), msgGet{Last: keySubject(bucket, key)})
	if errors.Is(err, ErrNoRecord) {
		return entry{gone: true}, nil
	}
	if err != nil {
		return entry{}, err
	}
	e := entry{value: string(m.Data), revision: m.Sequence, time: m.Time}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return entry{}, fmt.Errorf("bus: headers of %s: %w", m.Subject, err)
		}
		e.gone = h.Get("KV-Operation") != "" || h.Get("Nats-Marker-Reason") != ""
	}
	return e, nil
}

// set writes a key if its newest revision is expect, ErrConflict if not. On any
// other error the value may have been written, but for errUnderWay.
func (b *Bus) set(ctx context.Context, bucket, key, value string, expect uint64, remove bool) (uint64, error) {
	m := nats.NewMsg(keySubject(bucket, key))
	m.Data = []byte(value)
	m.Header.Set(nats.ExpectedLastSubjSeqHdr, strconv.FormatUint(expect, 10))
	if remove {
		m.Header.Set("KV-Operation", "DEL")
	}
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	r, err := b.events.RequestMsgWithContext(ctx, m)
	if err != nil {
		b.trouble.Store(true) // a frozen store gives no answer
		return 0, fmt.Errorf("bus: set %s: %w", m.Subject, err)
	}
	b.trouble.Store(false)
	a := parseAck(r)
	switch {
	case a.err == nil:
		return a.seq, nil
	case isCode(a.err, errCodeWrongLastConst):
		return 0, fmt.Errorf("bus: set %s: %w", m.Subject, errUnderWay)
	case isWrongLast(a.err):
		return 0, ErrConflict
	}
	return 0, fmt.Errorf("bus: set %s: %w", m.Subject, a.err)
}

// keys lists the keys of a bucket that a pattern of subjects fits.
func (b *Bus) keys(ctx context.Context, bucket, pattern string) ([]string, error) {
	var i struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	req := struct {
		Filter string `json:"subjects_filter"`
	}{keySubject(bucket, pattern)}
	if err := b.retried(ctx, "STREAM.INFO."+bucketStream(bucket), req, &i); err != nil {
		return nil, err
	}
	keys := slices.Sorted(maps.Keys(i.State.Subjects))
	for n, k := range keys {
		keys[n] = strings.TrimPrefix(k, keySubject(bucket, ""))
	}
	return keys, nil
}

package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// RawReport is bare JetStream on this machine with the payloads of the load: what a
// server on it could reach if it did nothing else.
type RawReport struct {
	Durability string    `json:"durability"`
	Streams    int       `json:"streams"`
	Batched    RawResult `json:"batched"` // records as the server's, one in flight on each stream
	Single     RawResult `json:"single"`  // a record for each message, as many in flight as the load had
}

// RawResult is one way of storing.
type RawResult struct {
	PerRecord   int     `json:"messages_per_record"`
	RecordBytes int     `json:"record_bytes"`
	Records     float64 `json:"records_per_second"`
	PerSecond   float64 `json:"messages_per_second"`  // acknowledged and read by a consumer
	Share       float64 `json:"server_share_of_this"` // of the server's delivered messages
	CPU         float64 `json:"cpu_seconds_per_100k"` // of both ends
}

func (r *RawReport) write(w io.Writer) {
	for _, x := range []struct {
		name string
		RawResult
	}{{"batched", r.Batched}, {"single", r.Single}} {
		line(w, "raw JetStream   %12.0f messages/s %s: %d streams, %d a record of %d bytes, %s; %.2f CPU seconds per 100,000; the server reached %.0f %%",
			x.PerSecond, x.name, r.Streams, x.PerRecord, x.RecordBytes, r.Durability, x.CPU, 100*x.Share)
	}
}

const (
	// eventOverhead is about what the log keeps beside a message's content:
	// conversation, people, time, keys.
	eventOverhead = 90
	// The server cuts a record before these.
	mostPerRecord   = 512
	mostRecordBytes = 256 << 10
	rawPartitions   = 8
	rawMost         = 15 * time.Second
)

// raw measures both ways, one after the other, in a store of its own.
func (b *oneOne) raw(ctx context.Context) (*RawReport, error) {
	streams, durability := rawPartitions, "disk"
	if b.o.Probe != nil {
		p, err := b.o.Probe(ctx)
		if err != nil {
			return nil, err
		}
		streams, durability = p.Partitions, p.Durability
	}
	batch := b.c.RawBatch
	if batch == 0 {
		batch = max(int(b.r.PerRecord+0.5), 1)
	}
	event := b.c.Size + eventOverhead
	batch = min(batch, mostPerRecord, max(mostRecordBytes/event, 1))
	r := &RawReport{Durability: durability, Streams: streams}
	for _, way := range []struct {
		to       *RawResult
		batch    int
		inFlight int // on each stream
	}{
		{&r.Batched, batch, 1},
		{&r.Single, 1, max(len(b.writers)*b.c.Window/streams, 1)},
	} {
		b.o.Log.Info("bare JetStream", "messages_per_record", way.batch, "streams", streams)
		result, err := rawRun{
			dir: b.c.RawDir, sync: !strings.HasPrefix(durability, "os"), streams: streams,
			batch: way.batch, bytes: way.batch * event, inFlight: way.inFlight, duration: min(b.c.Duration, rawMost),
		}.run(ctx)
		if err != nil {
			return nil, err
		}
		result.Share = b.r.PerSecond / result.PerSecond
		*way.to = result
	}
	return r, nil
}

type rawRun struct {
	dir      string
	sync     bool
	streams  int
	batch    int
	bytes    int
	inFlight int
	duration time.Duration
}

func (r rawRun) run(ctx context.Context) (result RawResult, err error) {
	dir, err := os.MkdirTemp(r.dir, "godwit-bench-raw-")
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	srv, err := server.NewServer(&server.Options{
		ServerName: "raw", DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: r.sync, NoSigs: true, NoLog: true,
		MaxPayload: 1 << 20,
	})
	if err != nil {
		return result, err
	}
	go srv.Start()
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	if !srv.ReadyForConnections(10 * time.Second) {
		return result, errors.New("its server did not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return result, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(r.streams*r.inFlight))
	if err != nil {
		return result, err
	}
	var read atomic.Uint64
	for i := range r.streams {
		stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: fmt.Sprintf("RAW-%02d", i), Subjects: []string{fmt.Sprintf("raw.%d", i)},
			Storage: jetstream.FileStorage, Replicas: 1, Discard: jetstream.DiscardNew,
		})
		if err != nil {
			return result, err
		}
		consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return result, err
		}
		consuming, err := consumer.Consume(func(jetstream.Msg) { read.Add(1) })
		if err != nil {
			return result, err
		}
		defer consuming.Stop()
	}
	begun, own := time.Now(), ownCPU()
	stored, err := r.publish(ctx, js, begun.Add(r.duration))
	if err != nil {
		return result, err
	}
	took, cpu := time.Since(begun), ownCPU()-own
	n := min(stored, read.Load())
	result = RawResult{
		PerRecord: r.batch, RecordBytes: r.bytes,
		Records:   float64(n) / took.Seconds(),
		PerSecond: float64(n) * float64(r.batch) / took.Seconds(),
		CPU:       per100k(cpu, n*uint64(r.batch)),
	}
	if n == 0 {
		return result, errors.New("it stored nothing")
	}
	return result, nil
}

// publish keeps inFlight records under way on each stream until the end.
func (r rawRun) publish(ctx context.Context, js jetstream.JetStream, end time.Time) (uint64, error) {
	var stored atomic.Uint64
	g, ctx := errgroup.WithContext(ctx)
	run := time.Now().UnixNano()
	for i := range r.streams {
		g.Go(func() error {
			subject := fmt.Sprintf("raw.%d", i)
			body := make([]byte, r.bytes)
			waiting := make(chan jetstream.PubAckFuture, r.inFlight)
			var failed error
			take := func(f jetstream.PubAckFuture) {
				select {
				case <-f.Ok():
					stored.Add(1)
				case err := <-f.Err():
					failed = err
				case <-ctx.Done():
					failed = context.Cause(ctx)
				}
			}
			for n := uint64(1); failed == nil && time.Now().Before(end); n++ {
				if len(waiting) == cap(waiting) {
					take(<-waiting)
				}
				binary.BigEndian.PutUint64(body, n)
				f, err := js.PublishMsgAsync(&nats.Msg{
					Subject: subject, Data: append([]byte(nil), body...),
					Header: nats.Header{jetstream.MsgIDHeader: []string{fmt.Sprintf("%d-%d-%d", run, i, n)}},
				})
				if err != nil {
					return err
				}
				waiting <- f
			}
			for len(waiting) > 0 && failed == nil {
				take(<-waiting)
			}
			return failed
		})
	}
	err := g.Wait()
	return stored.Load(), err
}

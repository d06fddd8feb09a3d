package bus

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

// streamConfig is what a stream of the log must be: kept for ever, written at its
// end only, refusing what it can't hold. Reads go to the leader, hence no direct
// gets.
func (b *Bus) streamConfig(s event.Stream) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.String(),
		Subjects:          streamSubjects(s),
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          b.cfg.Replicas,
		Duplicates:        b.cfg.Duplicates,
		DenyDelete:        true,
		DenyPurge:         true,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
	}
}

// differences names every field in which have is not as want. The number of replicas is
// for who made the log to know, unless this process was told one.
func (b *Bus) differences(have, want jetstream.StreamConfig) error {
	if b.cfg.Replicas == 0 {
		want.Replicas = have.Replicas
	}
	return differences(have, want)
}

func differences(have, want jetstream.StreamConfig) error {
	var errs []error
	note := func(field string, h, w any) {
		hs, ws := show(h), show(w)
		if hs != ws {
			errs = append(errs, &ConfigError{Stream: want.Name, Field: field, Have: hs, Want: ws})
		}
	}
	// Neither changes what the log is: text about the stream, and where it is.
	free := []string{"Description", "Metadata", "Placement", "ConsumerLimits", "Template"}
	hv, wv := reflect.ValueOf(have), reflect.ValueOf(want)
	for i := range hv.NumField() {
		name := hv.Type().Field(i).Name
		if slices.Contains(free, name) {
			continue
		}
		note(name, hv.Field(i).Interface(), wv.Field(i).Interface())
	}
	return errors.Join(errs...)
}

func show(v any) string {
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if rv.IsNil() || (rv.Kind() != reflect.Pointer && rv.Len() == 0) {
			return "none"
		}
		if rv.Kind() == reflect.Pointer {
			return fmt.Sprintf("%+v", rv.Elem().Interface())
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		// "No limit" comes back from the server as -1 where it was sent as 0.
		if _, named := v.(fmt.Stringer); !named && rv.Int() <= 0 {
			return "unlimited"
		}
	}
	return fmt.Sprintf("%v", v)
}

// ensure finds the log or makes it, and checks that all its streams are parts of it.
// Several processes may do this at once: the first record of PEOPLE decides, and is
// written only where the stream is empty.
func (b *Bus) ensure(ctx context.Context) error {
	if b.cfg.Replicas == 0 && !b.cfg.CheckOnly {
		b.cfg.Replicas = 1
		if b.events.ConnectedClusterName() != "" {
			b.cfg.Replicas = 3
		}
	}
	used, err := b.used(ctx)
	if err != nil {
		return err
	}
	first, err := b.first(ctx, event.People)
	if errors.Is(err, ErrNoRecord) {
		if used != "" {
			return fmt.Errorf("%w: %s is missing or empty, but %s holds records", ErrMixedLog, event.People, used)
		}
		if b.cfg.CheckOnly {
			return fmt.Errorf("%w: there is no log", ErrNotPrepared)
		}
		p := b.cfg.Partitions
		if p == 0 {
			p = event.DefaultPartitions
		}
		if err := b.make(ctx, event.People, newID(), p); err != nil {
			return err
		}
		first, err = b.first(ctx, event.People)
	}
	if err != nil {
		return err
	}
	b.logID, b.partitions = event.ToID(first.GetLog()), int(first.GetPartitions())
	if b.partitions < 1 || b.partitions > event.MaxPartitions {
		return fmt.Errorf("%w: %s says it has %d partitions", ErrMixedLog, event.People, b.partitions)
	}
	if want := b.cfg.Partitions; want != 0 && want != b.partitions {
		return fmt.Errorf("bus: the log has %d partitions and %d were asked for: their number is fixed when a log is made, so leave --partitions out", b.partitions, want)
	}
	var errs []error
	for _, s := range event.Streams(b.partitions) {
		errs = append(errs, b.join(ctx, s, used != ""))
	}
	errs = append(errs, b.noStrangers(ctx), b.ensureBuckets(ctx))
	return errors.Join(errs...)
}

// used names a stream of the log that holds more than its first record, "" if none
// does. A record beyond the first is only ever written when all streams are there.
func (b *Bus) used(ctx context.Context) (string, error) {
	names, err := b.names(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		i := new(streamInfo)
		if err := b.retried(ctx, "STREAM.INFO."+name, nil, i); err != nil {
			return "", err
		}
		if i.State.LastSeq > 1 || (i.State.LastSeq > 0 && name != event.People.String() && !slices.Contains(names, event.People.String())) {
			return name, nil
		}
	}
	return "", nil
}

// names lists the streams there are that look like a log's.
func (b *Bus) names(ctx context.Context) ([]string, error) {
	all, err := b.allNames(ctx)
	return slices.DeleteFunc(all, func(name string) bool {
		return name != event.People.String() && name != event.Presence.String() && !strings.HasPrefix(name, "CONVERSATION-")
	}), err
}

// allNames lists the streams there are, in order.
func (b *Bus) allNames(ctx context.Context) ([]string, error) {
	var all []string
	for offset := 0; ; {
		var page struct {
			Total   int      `json:"total"`
			Streams []string `json:"streams"`
		}
		// A cluster that is still forming loses such a question; it is asked again.
		if err := b.retried(ctx, "STREAM.NAMES", map[string]int{"offset": offset}, &page); err != nil {
			return nil, fmt.Errorf("bus: list streams: %w", err)
		}
		all = append(all, page.Streams...)
		offset += len(page.Streams)
		if len(page.Streams) == 0 || offset >= page.Total {
			slices.Sort(all)
			return all, nil
		}
	}
}

// noStrangers refuses conversation streams beyond P.
func (b *Bus) noStrangers(ctx context.Context) error {
	names, err := b.names(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if !slices.ContainsFunc(event.Streams(b.partitions), func(s event.Stream) bool { return s.String() == name }) {
			errs = append(errs, fmt.Errorf("%w: %s is no part of a log with %d partitions", ErrMixedLog, name, b.partitions))
		}
	}
	return errors.Join(errs...)
}

// join brings one stream into the log, or checks that it is in it.
func (b *Bus) join(ctx context.Context, s event.Stream, used bool) error {
	first, err := b.first(ctx, s)
	if errors.Is(err, ErrNoRecord) {
		if _, err := b.js.Stream(ctx, s.String()); errors.Is(err, jetstream.ErrStreamNotFound) && used {
			return fmt.Errorf("%w: %s is missing though the log has been in use", ErrMixedLog, s)
		}
		if b.cfg.CheckOnly {
			return fmt.Errorf("%w: %s is missing or empty", ErrNotPrepared, s)
		}
		if used {
			b.log.Error("a stream of a used log is empty, its records are lost", "stream", s.String())
		}
		if err := b.make(ctx, s, b.logID, b.partitions); err != nil {
			return err
		}
		first, err = b.first(ctx, s)
	}
	if err != nil {
		return err
	}
	have, want := first, b.opened(s, b.logID, b.partitions)
	if !proto.Equal(have, want) {
		return fmt.Errorf("%w: %s was opened as %v, want %v", ErrMixedLog, s, have, want)
	}
	cfg, err := b.stream(ctx, s.String())
	if err != nil {
		return err
	}
	if err := b.differences(cfg, b.streamConfig(s)); err != nil {
		return err
	}
	b.notePrepared(cfg.Name, Fits, cfg.Replicas)
	return nil
}

func (b *Bus) opened(s event.Stream, log event.ID, partitions int) *event.StreamOpened {
	return &event.StreamOpened{
		Log:         log[:],
		Stream:      s.String(),
		Partition:   uint32(max(0, s.Partition())),
		Partitions:  uint32(partitions),
		HashVersion: event.HashVersion,
	}
}

// make creates the stream where there is none, and writes its first record where it
// is empty. Somebody else may have been faster, which is as good.
func (b *Bus) make(ctx context.Context, s event.Stream, log event.ID, partitions int) error {
	cfg := b.streamConfig(s)
	if _, err := b.js.CreateStream(ctx, cfg); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("bus: create stream %s: %w", s, err)
	}
	have, err := b.stream(ctx, s.String())
	if err != nil {
		return err
	}
	if err := b.differences(have, cfg); err != nil {
		return err
	}
	data, err := proto.Marshal(&event.Record{
		Writer: log[:], N: 1, Rule: event.Rule,
		Events: []*event.Event{{
			At:   time.Now().UnixMilli(),
			Body: &event.Event_StreamOpened{StreamOpened: b.opened(s, log, partitions)},
		}},
	})
	if err != nil {
		return fmt.Errorf("bus: open stream %s: %w", s, err)
	}
	m := nats.NewMsg(EventSubject(s))
	m.Data = data
	for {
		_, err = b.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequence(0), jetstream.WithMsgID(msgID(idText(log), 1)))
		if err == nil {
			b.notePrepared(s.String(), Made, have.Replicas)
			return nil
		}
		if isWrongLast(err) {
			return nil
		}
		b.log.Warn("can't write a stream's first record", "stream", s.String(), "err", err)
		if ctxErr := sleep(ctx, 100*time.Millisecond); ctxErr != nil {
			return fmt.Errorf("bus: open stream %s: %w", s, errors.Join(err, ctxErr))
		}
	}
}

func isWrongLast(err error) bool {
	if isCode(err, errCodeWrongLast, errCodeWrongLastConst) {
		return true
	}
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (e.ErrorCode == errCodeWrongLast || e.ErrorCode == errCodeWrongLastConst)
}

// first reads what the stream was opened as; ErrNoRecord if it is missing or empty.
func (b *Bus) first(ctx context.Context, s event.Stream) (*event.StreamOpened, error) {
	m, err := b.get(ctx, s.String(), msgGet{Seq: 1})
	if isCode(err, errCodeStreamNotFound) {
		err = ErrNoRecord
	}
	if errors.Is(err, ErrNoRecord) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("bus: first record of %s: %w", s, err)
	}
	var rec event.Record
	if err := proto.Unmarshal(m.Data, &rec); err != nil {
		return nil, fmt.Errorf("%w: the first record of %s is none of ours: %w", ErrMixedLog, s, err)
	}
	if len(rec.GetEvents()) == 0 || rec.GetEvents()[0].GetStreamOpened() == nil {
		return nil, fmt.Errorf("%w: %s does not begin with its opening", ErrMixedLog, s)
	}
	return rec.GetEvents()[0].GetStreamOpened(), nil
}

// msgID is what JetStream knows a record by: its writer and number, in as few
// bytes as may be, for the server keeps each of them in memory for a while.
func msgID(writer string, n uint64) string { return writer + "." + strconv.FormatUint(n, 10) }

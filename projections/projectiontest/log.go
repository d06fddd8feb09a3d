package projectiontest

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/bus"
	"godwit/schema/event"
)

// Epoch is when generated logs begin, Unix milliseconds.
var Epoch = time.Date(2026, 11, 1, 22, 0, 0, 0, time.UTC).UnixMilli()

// Log builds the records of one stream by hand.
type Log struct {
	Records []bus.Recorded
	last    map[event.ID]uint64
}

// ID is a ULID that is told from others by its number; zero is not the zero ID.
func ID(n byte) event.ID { return event.ID{0: 1, 15: n} }

// Append adds a record with the writer's next number and returns its sequence.
func (l *Log) Append(writer event.ID, events ...*event.Event) uint64 {
	if l.last == nil {
		l.last = make(map[event.ID]uint64)
	}
	l.last[writer]++
	return l.add(&event.Record{Writer: writer[:], N: l.last[writer], Rule: event.Rule, Events: events})
}

// AppendRule adds a record of any rule, numbered like any other.
func (l *Log) AppendRule(rule uint32, writer event.ID, events ...*event.Event) uint64 {
	seq := l.Append(writer, events...)
	rec := l.Decode(seq)
	rec.Rule = rule
	l.Records[seq-1].Data = encode(rec)
	return seq
}

// Repeat stores the record at a sequence once more.
func (l *Log) Repeat(sequence uint64) uint64 { return l.AppendData(l.Records[sequence-1].Data) }

// AppendData adds a record of any bytes.
func (l *Log) AppendData(data []byte) uint64 {
	seq := uint64(len(l.Records) + 1)
	l.Records = append(l.Records, bus.Recorded{Sequence: seq, Data: data, Time: time.UnixMilli(Epoch)})
	return seq
}

// Decode is the record at a sequence.
func (l *Log) Decode(sequence uint64) *event.Record {
	rec := new(event.Record)
	if err := proto.Unmarshal(l.Records[sequence-1].Data, rec); err != nil {
		panic(err)
	}
	return rec
}

func (l *Log) add(rec *event.Record) uint64 { return l.AppendData(encode(rec)) }

func encode(rec *event.Record) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(rec)
	if err != nil {
		panic(err)
	}
	return data
}

// Unknown is an event whose body this version does not know.
func Unknown() *event.Event {
	ev := &event.Event{At: Epoch}
	raw := protowire.AppendTag(nil, 901, protowire.BytesType)
	ev.ProtoReflect().SetUnknown(protowire.AppendBytes(raw, []byte("from the future")))
	return ev
}

// Generate draws a log of several writers: records of one to six events, some of
// them unknown, some records stored twice or not decodable.
func Generate(t *rapid.T, draw func(t *rapid.T) *event.Event, records int) *Log {
	l := new(Log)
	l.Append(ID(99), &event.Event{At: Epoch, Body: &event.Event_StreamOpened{StreamOpened: &event.StreamOpened{}}})
	one := rapid.Custom(func(t *rapid.T) *event.Event {
		if rapid.IntRange(0, 19).Draw(t, "unknown") == 0 {
			return Unknown()
		}
		return draw(t)
	})
	for range rapid.IntRange(1, records).Draw(t, "records") {
		switch rapid.IntRange(0, 14).Draw(t, "kind") {
		case 0:
			l.Repeat(uint64(rapid.IntRange(1, len(l.Records)).Draw(t, "repeated")))
		case 1:
			l.AppendData([]byte{0xff, 0xff, 0xff})
		default:
			writer := ID(byte(rapid.IntRange(1, 3).Draw(t, "writer")))
			l.Append(writer, rapid.SliceOfN(one, 1, 6).Draw(t, "events")...)
		}
	}
	return l
}

// Known are the events of the log with their positions, as a model folds them:
// without repeated records and such as cannot be decoded.
func (l *Log) Known(each func(sequence uint64, index int, ev *event.Event)) {
	last := make(map[string]uint64)
	for _, r := range l.Records {
		rec := new(event.Record)
		if proto.Unmarshal(r.Data, rec) != nil || rec.N <= last[string(rec.Writer)] {
			continue
		}
		last[string(rec.Writer)] = rec.N
		for i, ev := range rec.Events {
			each(r.Sequence, i, ev)
		}
	}
}

// cuts splits the log into batches at drawn places.
func cuts(t *rapid.T, records []bus.Recorded) [][]bus.Recorded {
	var out [][]bus.Recorded
	for len(records) > 0 {
		n := rapid.IntRange(1, len(records)).Draw(t, "batch")
		out = append(out, slices.Clone(records[:n]))
		records = records[n:]
	}
	return out
}

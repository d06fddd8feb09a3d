package owner

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// An owner folds records of messages and frames them for two nodes. "fold" is the
// same without anybody to tell.
func BenchmarkApply(b *testing.B) {
	b.Run("fold", func(b *testing.B) { benchmarkApply(b, 0) })
	b.Run("one node", func(b *testing.B) { benchmarkApply(b, 1) })
	b.Run("two nodes", func(b *testing.B) { benchmarkApply(b, 2) })
}

func benchmarkApply(b *testing.B, nodes int) {
	const users, perRecord = 1000, 100
	k := bustest.New(b)
	p, err := Open(b.Context(), Config{Bus: k.Bus, Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	st := p.stream(event.ConversationStream(0))
	st.term = &frame.Term{Revision: 1, Start: 1}
	for i := range nodes {
		life := event.ID{15: byte(i + 1)}
		n := st.register(life, users)
		for u := range uint32(users) {
			if int(u)%nodes == i {
				st.add(n, u+1, 1)
			}
		}
	}
	keys := make([]event.ConversationKey, perRecord)
	for i := range keys {
		keys[i] = event.Direct(uint32(i%users+1), uint32((i*7+3)%users+1))
	}
	body := make([]byte, 100)
	sequence, n := uint64(0), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		sequence, n = sequence+1, n+1
		writer := event.ID{15: 1}
		rec := &event.Record{Writer: writer[:], N: n, Rule: event.Rule}
		for i := range uint32(perRecord) {
			lower, _ := keys[i].Parties()
			repeat := make([]byte, 16)
			binary.BigEndian.PutUint64(repeat, n<<16+uint64(i))
			rec.Events = append(rec.Events, &event.Event{At: 1700000000000 + int64(n), Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
				Conversation: keys[i][:], From: lower, Type: 1, Body: body, Session: writer[:], RepeatKey: repeat}}})
		}
		data, err := proto.Marshal(rec)
		if err != nil {
			b.Fatal(err)
		}
		batch := []bus.Recorded{{Sequence: sequence, Data: data}}
		b.StartTimer()
		if err := st.apply(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perRecord, "ns/message")
}

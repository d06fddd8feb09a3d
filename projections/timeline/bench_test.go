package timeline

import (
	"fmt"
	"testing"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// benchLog is records of 100 messages of 200 bytes over 200 conversations, as old
// clients write them.
func benchLog(records int) *projectiontest.Log {
	l := new(projectiontest.Log)
	n := 0
	for range records {
		events := make([]*event.Event, 100)
		for i := range events {
			pair := uint32(n%200) * 2
			k := event.Direct(pair+1, pair+2)
			session := projectiontest.ID(byte(n % 200))
			body := fmt.Appendf(make([]byte, 0, 200), "%0200d", n)
			events[i] = &event.Event{
				At: projectiontest.Epoch + int64(n/30), // 30,000 a second
				Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
					Conversation: k[:], From: pair + 1 + uint32(n/200)%2, Type: 1, Body: body, Session: session[:],
					DeviceClass: event.DeviceClass_DEVICE_CLASS_DESKTOP,
					RepeatKey:   event.RepeatKeyOld(pair+1, 1, uint16(n/200+1), body),
				}},
			}
			n++
		}
		l.Append(projectiontest.ID(1), events...)
	}
	return l
}

// BenchmarkReplay folds and commits 200,000 messages, as a rebuild does.
func BenchmarkReplay(b *testing.B) {
	l := benchLog(2000)
	b.ReportAllocs()
	for b.Loop() {
		v, err := view.Open(view.Config{Dir: b.TempDir(), Fold: New(0), Log: projectiontest.LogID})
		if err != nil {
			b.Fatal(err)
		}
		for rest := l.Records; len(rest) > 0; {
			n := min(len(rest), 100)
			projectiontest.Apply(b, v, rest[:n])
			rest = rest[n:]
		}
		projectiontest.Commit(b, v)
		if err := v.Abandon(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*200_000/b.Elapsed().Seconds(), "events/s")
}

// openBench opens a view that is committed as in service.
func openBench(b *testing.B) *view.View {
	v, err := view.Open(view.Config{Dir: b.TempDir(), Fold: New(0), Log: projectiontest.LogID})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := v.Abandon(); err != nil {
			b.Error(err)
		}
	})
	return v
}

// BenchmarkGroup folds what happens in a group of 10,000.
func BenchmarkGroup(b *testing.B) {
	const size = 10_000
	members := make([]uint32, size)
	for i := range members {
		members[i] = uint32(i + 1)
	}
	numbered := func(n int, ev *event.Event) *event.Event {
		key := event.Group(uint32(n))
		return in(ev, key[:])
	}
	// run folds one event after the other.
	run := func(name string, before func(l *projectiontest.Log), next func(n int) *event.Event) {
		b.Run(name, func(b *testing.B) {
			v := openBench(b)
			l := new(projectiontest.Log)
			if before != nil {
				before(l)
				projectiontest.Apply(b, v, l.Records)
			}
			projectiontest.Commit(b, v)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				at := len(l.Records)
				l.Append(writer, next(n))
				if a := projectiontest.Apply(b, v, l.Records[at:]); a[0].Effects[0].Void != 0 {
					b.Fatal(a[0].Effects[0].Void)
				}
			}
		})
	}
	one := func(l *projectiontest.Log) { l.Append(writer, created(normal, 1, members...)) }
	run("create", nil, func(n int) *event.Event { return numbered(n, created(normal, 1, members...)) })
	run("message", one, func(n int) *event.Event { return sent(second(0), team, uint32(n%size+1)) })
	run("add and remove one", one, func(n int) *event.Event {
		if n%2 == 1 {
			return del(1, 5000)
		}
		return add(1, 5000)
	})
	run("add and remove 5000", one, func(n int) *event.Event {
		if n%2 == 1 {
			return del(1, members[5000:]...)
		}
		return add(1, members[5000:]...)
	})
	run("the administrator leaves and comes back", one, func(n int) *event.Event {
		if n%2 == 1 {
			return del(0, members[n/2%size]) // who has been there longest
		}
		return add(0, members[n/2%size-1])
	})
}

// BenchmarkSync asks for what has changed of 10,000 conversations in one timeline.
func BenchmarkSync(b *testing.B) {
	const conversations = 10_000
	v := openBench(b)
	l := new(projectiontest.Log)
	for n := range uint32(conversations) {
		l.Append(writer, sent(second(float64(n)), event.Direct(ann, 10+n), ann), sent(second(float64(n)), event.Direct(20_000+n, 10+n), 10+n))
	}
	// The world goes on without ann: what has changed lies in older stripes.
	for len(l.Records) < 2<<stripeBits {
		l.Append(writer, sent(second(0), event.Direct(20_000, 20_001), 20_000))
	}
	for n := range uint32(3) {
		l.Append(writer, sent(second(0), event.Direct(ann, 10+n*1000), 10+n*1000))
	}
	projectiontest.Apply(b, v, l.Records)
	projectiontest.Commit(b, v)
	last := uint64(len(l.Records))
	for _, c := range []struct {
		name  string
		since uint64
		want  int
	}{
		{"unchanged", last, 0}, {"3 changed", last - 3, 3}, {"unchanged in this stripe", conversations, 3},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := &query.Request{Body: &query.Request_Sync{Sync: &query.Sync{
				User: ann, Since: []*query.AtLeast{{Stream: uint32(event.Conversation0), Sequence: c.since, Epoch: make([]byte, 16)}},
			}}}
			b.ReportAllocs()
			for b.Loop() {
				if got := len(asking(b, v, q).GetSync().Entries); got != c.want {
					b.Fatalf("%d entries", got)
				}
			}
		})
	}
}

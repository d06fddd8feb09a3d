package timeline

import (
	"fmt"
	"testing"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
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

package ws

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"godwit/connector/reactor"
	"godwit/schema/client"
	"godwit/schema/client/content"
	"godwit/schema/pdu"
)

// push is a message to a group as its members get it.
func push(id uint32, words string) []byte {
	return pdu.Append(nil, 3, client.CmdMsgData, 0, func(b []byte) []byte {
		return client.AppendMsgData(b, 1, 9, id, 1_795_000_000, 0x11, content.EncryptText(words))
	})
}

// alone is the text of PDUs as a client gets it that is the only one.
func alone(t failer, body []byte) []byte {
	s := reader(t, nil)
	s.out = [][]byte{body}
	s.pump()
	return s.wire
}

// reader is a client of texts, of the same server as another.
func reader(t failer, shared *Shared) *side {
	s := newSide(t)
	if shared != nil {
		s.conn.shared = shared
	}
	s.send(s.frame(1, true, []byte(heartbeat)), 100)
	return s
}

// What many get is what each would get alone, whatever was written before, and in whatever pieces.
func TestSharedTextsAreTheSame(t *testing.T) {
	shared := newSide(t).conn.shared
	shared.Wrote = func(int) {}
	bodies := make([][]byte, 600) // more than there is room for
	want := make([][]byte, len(bodies))
	for i := range bodies {
		bodies[i] = push(uint32(i), fmt.Sprint("message ", i))
		if i%50 == 7 {
			bodies[i] = append(bodies[i], push(uint32(i), strings.Repeat("large\x01", 2000+10*i))...)
			bodies[i] = append(bodies[i], pdu.Append(nil, 7, client.CmdHeartBeat, uint16(i), nil)...)
		}
		want[i] = alone(t, bodies[i])
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			some := []*side{reader(t, shared), reader(t, shared), reader(t, shared), reader(t, shared)}
			for i, body := range bodies {
				for _, s := range some {
					s.out, s.wire = [][]byte{bytes.Clone(body)}, nil
					s.pump()
					if !bytes.Equal(s.wire, want[i]) {
						t.Errorf("body %d: got %.200q", i, s.wire)
						return
					}
					if s.conn.out != nil || s.conn.body != nil {
						t.Error("buffers are kept")
					}
				}
			}
		})
	}
	all.Wait()
}

// Of a large text that many get there is one, however many do not read it, and none when they have gone.
func TestALargeTextIsThereOnce(t *testing.T) {
	const n = 50
	body := push(7, strings.Repeat("\x01", 290_000))
	size := len(alone(t, body))
	shared := newSide(t).conn.shared
	deaf := make([]*side, n)
	for i := range deaf {
		deaf[i] = reader(t, shared)
		deaf[i].deaf = true
	}
	before := heap()
	for _, s := range deaf {
		s.out = [][]byte{body}
		s.pump()
		if len(s.stuck) != size {
			t.Fatalf("%d bytes wait of %d", len(s.stuck), size)
		}
	}
	if held := heap() - before; held > 4*size {
		t.Errorf("%d clients that do not read hold %d bytes of a text of %d", n, held, size)
	}
	for _, s := range deaf {
		s.stuck, s.last = nil, reactor.Next{}
		s.conn.Closed(nil)
	}
	if held := heap() - before; held > size/2 {
		t.Errorf("%d bytes are held for nobody", held)
	}
	runtime.KeepAlive(deaf)
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A message that a hundred clients of texts get.
func BenchmarkFanOut(b *testing.B) {
	for _, size := range []int{20, 300, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			shared := newSide(b).conn.shared
			shared.Wrote = func(int) {}
			var all []*side
			for range 100 {
				all = append(all, reader(b, shared))
			}
			words := strings.Repeat("g", size)
			for i := range b.N {
				one := push(uint32(i), words)
				for _, s := range all {
					s.out, s.wire = append(s.out[:0], one), s.wire[:0]
					s.pump()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/push")
		})
	}
}

// A message that one client of texts gets.
func BenchmarkPush(b *testing.B) {
	s := reader(b, nil)
	for i := range b.N {
		s.out, s.wire = append(s.out[:0], push(uint32(i), "what one of two says to the other")), s.wire[:0]
		s.pump()
	}
}

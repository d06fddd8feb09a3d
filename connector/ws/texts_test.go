package ws

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
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

// alone is what a client gets that is the only one.
func alone(t failer, body []byte) []got {
	s := reader(t, nil)
	s.out = [][]byte{body}
	s.pump()
	return s.frames()
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
	want := make([][]got, len(bodies))
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
					if !slices.Equal(s.frames(), want[i]) {
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
	size := len(alone(t, body)[0].body)
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
	}
	if n := len(deaf[n-1].stuck); n <= size {
		t.Fatalf("%d bytes wait of %d", n, size)
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

// Of a large text that one client gets alone no more is there than its PDU takes, twice, and a few pieces.
func TestALargeTextForOneIsNeverWhole(t *testing.T) {
	body := push(7, strings.Repeat("\x01", 290_000))
	body[12]++ // an answer: nobody else's
	whole := alone(t, body)
	if n := len(whole[0].body); n < 2<<20 {
		t.Fatalf("a text of %d bytes", n)
	}
	const n = 20
	before := heap()
	deaf := make([]*side, n)
	for i := range deaf {
		deaf[i] = reader(t, nil)
		deaf[i].deaf = true
		deaf[i].out = [][]byte{body}
		deaf[i].pump()
	}
	if each := (heap() - before) / n; each > 2*len(body)+4*frameUpTo {
		t.Errorf("a client that does not read holds %d bytes beside a PDU of %d", each, len(body))
	}
	// One reads after all, and is answered between the pieces; the answer to a text comes behind them.
	s := deaf[0]
	s.conn.Input(s.frame(9, true, []byte("x")))
	s.conn.Input(s.frame(1, true, []byte(`{"command":"IMNothing"}`)))
	s.deaf = false
	s.pump()
	all := s.frames()
	if len(all) != 3 || all[0] != whole[0] || all[1] != (got{10, "x"}) || !strings.Contains(all[2].body, "error") {
		t.Errorf("%d messages", len(all))
	}
	if s.conn.rare != nil || s.conn.out != nil || s.lent != nil || s.given+s.wrote != len(s.wire) {
		t.Errorf("%d and %d bytes counted of %d", s.given, s.wrote, len(s.wire))
	}
	// One is told between the pieces why it ends at once.
	s = deaf[1]
	s.wire, s.stuck = append(s.wire, s.stuck...), nil
	s.conn.Sent(s.last.Write)
	s.close, s.why, s.deaf = reactor.CloseNow, SentAway, false
	s.pump()
	if b := s.wire[len(s.wire)-50:]; s.closed != reactor.CloseGently || !bytes.Contains(b, []byte("\x0f\xa2")) {
		t.Errorf("close %v, ends with %q", s.closed, b)
	}
	for _, s := range deaf {
		s.conn.Closed(nil)
		s.stuck, s.last, s.wire, s.lent = nil, reactor.Next{}, nil, nil
	}
	all = nil
	if held := heap() - before; held > len(body) {
		t.Errorf("%d bytes are held for nobody", held)
	}
	runtime.KeepAlive(deaf)
	runtime.KeepAlive(whole)
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

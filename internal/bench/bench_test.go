package bench

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func TestCheckerTellsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name                          string
		numbers                       []uint64
		sent                          uint64
		received, repeated, late, bad uint64
		lost                          []uint64
	}{
		{name: "all in order", numbers: []uint64{1, 2, 3}, sent: 3, received: 3},
		{name: "nothing", sent: 2, lost: []uint64{1, 2}},
		{name: "one in the middle lost", numbers: []uint64{1, 3, 4}, sent: 4, received: 3, lost: []uint64{2}},
		{name: "the last lost", numbers: []uint64{1, 2}, sent: 3, received: 2, lost: []uint64{3}},
		{name: "the first lost", numbers: []uint64{2, 3}, sent: 3, received: 2, lost: []uint64{1}},
		{name: "twice in a row", numbers: []uint64{1, 1, 2}, sent: 2, received: 2, repeated: 1},
		{name: "again much later", numbers: []uint64{1, 2, 3, 1}, sent: 3, received: 3, repeated: 1},
		{name: "two exchanged", numbers: []uint64{1, 3, 2, 4}, sent: 4, received: 4, late: 1, bad: 1},
		{name: "late and again", numbers: []uint64{2, 1, 1}, sent: 2, received: 2, late: 1, repeated: 1, bad: 1},
		{name: "several lost", numbers: []uint64{5, 9}, sent: 10, received: 2, lost: []uint64{1, 2, 3, 4, 6, 7, 8, 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k checker
			for _, n := range c.numbers {
				k.see(n, uint32(n)+100)
			}
			if k.received != c.received || k.repeated != c.repeated || k.late != c.late || k.badIDs != c.bad {
				t.Errorf("received %d, repeated %d, late %d, bad ids %d", k.received, k.repeated, k.late, k.badIDs)
			}
			if lost := k.lost(c.sent); !slices.Equal(lost, c.lost) {
				t.Errorf("lost %v, want %v", lost, c.lost)
			}
		})
	}
}

func TestCheckerWantsGrowingIDs(t *testing.T) {
	var k checker
	for n, id := range []uint32{5, 6, 6, 8, 7} {
		k.see(uint64(n+1), id)
	}
	if k.badIDs != 2 {
		t.Errorf("%d bad ids, want 2", k.badIDs)
	}
}

func TestPayloadShowsEveryChange(t *testing.T) {
	f := newFiller(7, 200)
	want := stamp{run: 99, sender: 1, receiver: 2, number: 3, sent: 4}
	for _, size := range []int{MinSize, MinSize + 1, 200} {
		p := f.appendPayload(nil, want, size)
		if len(p) != size {
			t.Fatalf("%d bytes, want %d", len(p), size)
		}
		if got, err := parsePayload(p, 99, size); err != nil || got != want {
			t.Fatalf("got %+v, %v", got, err)
		}
		for i := range p {
			changed := slices.Clone(p)
			changed[i] ^= 1
			if got, err := parsePayload(changed, 99, size); err == nil {
				t.Errorf("size %d: a change of byte %d is not noticed: %+v", size, i, got)
			}
		}
		if _, err := parsePayload(p[:size-1], 99, size); err == nil {
			t.Errorf("size %d: a cut payload is not noticed", size)
		}
		if _, err := parsePayload(p, 98, size); err != errForeign {
			t.Errorf("payload of another run: %v", err)
		}
	}
	if a, b := f.appendPayload(nil, stamp{number: 1}, 200), f.appendPayload(nil, stamp{number: 2}, 200); slices.Equal(a[40:], b[40:]) {
		t.Error("two messages have the same filler")
	}
}

func TestHistogramIsWithinAThirtySecond(t *testing.T) {
	var h histogram
	r := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(math.Exp(r.Float64() * 25))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
		want := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		if got := h.quantile(q); got < want || float64(got) > float64(want)*(1+1.0/32)+1 {
			t.Errorf("quantile %v is %d, want %d and at most a 32nd more", q, got, want)
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing is %v", got)
	}
	h.add(math.MaxInt64)
	h.add(-5)
	if h.quantile(1) != math.MaxInt64 {
		t.Errorf("longest is %v", h.quantile(1))
	}
}

func TestNumberOfTurnsSequenceNumbersBack(t *testing.T) {
	for _, sent := range []uint64{1, 2, 100, seqMost - 1, seqMost, seqMost + 1, 3*seqMost + 17} {
		for back := range min(sent, 300) {
			if n := sent - back; numberOf(seqOf(n), sent) != n {
				t.Errorf("number %d of %d comes back as %d", n, sent, numberOf(seqOf(n), sent))
			}
		}
	}
	for _, c := range []struct {
		seq  uint16
		sent uint64
	}{{0, 5}, {seqMost + 1, 5}, {6, 5}, {1, 0}} {
		if n := numberOf(c.seq, c.sent); n != 0 {
			t.Errorf("sequence number %d with %d sent is %d, want none", c.seq, c.sent, n)
		}
	}
}

func TestUsageReadsThisProcess(t *testing.T) {
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.rss < 1<<20 || u.rss > 1<<40 {
		t.Errorf("%d bytes resident", u.rss)
	}
	if nobody, err := usageOf(0); err != nil || nobody != (usage{}) {
		t.Errorf("nobody uses %+v, %v", nobody, err)
	}
	if _, err := usageOf(1 << 30); err == nil {
		t.Error("a process that is not there has usage")
	}
}

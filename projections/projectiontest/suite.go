package projectiontest

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/bus"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// EffectsHeld is small in the suite, so that trimming happens.
const EffectsHeld = 25

// LogID is the log that the suite's views belong to.
var LogID = ID(77)

// Suite proves a fold. New makes it, Event draws one of its events from so small a
// world that they meet each other.
type Suite struct {
	New     func() view.Fold
	Event   func(t *rapid.T) *event.Event
	Records int // most records of a log; 0: 30
}

// Run runs all of it.
func (s Suite) Run(t *testing.T) {
	if s.Records == 0 {
		s.Records = 30
	}
	t.Run("any batches and commits give the same rows and effects", s.batches)
	t.Run("a prefix, a clean stop and the rest are the whole", s.prefix)
	t.Run("a crash anywhere loses nothing that replay does not bring back", s.crash)
	t.Run("a repeated record is skipped and its position counts", s.repeated)
	t.Run("unknown events and unreadable records pass", s.unknown)
	t.Run("an unknown rule stops the fold", s.unknownRule)
	t.Run("effects are held as far back as promised", s.effects)
}

// OpenView opens a view of the suite's log, failing the test if it cannot.
func OpenView(t TB, dir string, fold view.Fold) *view.View {
	t.Helper()
	v, err := view.Open(view.Config{Dir: dir, Fold: fold, Log: LogID, EffectsHeld: EffectsHeld})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return v
}

// TB is what *testing.T and *rapid.T have in common.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// Fold opens a new view in a directory of the test's, folds the records and
// commits them. The view is closed at the test's end.
func Fold(t testing.TB, fold view.Fold, records []bus.Recorded) (*view.View, []view.Applied) {
	t.Helper()
	v := OpenView(t, t.TempDir(), fold)
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	applied := Apply(t, v, records)
	Commit(t, v)
	return v, applied
}

// Apply folds records that must all be taken.
func Apply(t TB, v *view.View, records []bus.Recorded) []view.Applied {
	t.Helper()
	applied, err := v.Apply(records)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if len(applied) != len(records) {
		t.Fatalf("applied %d of %d records", len(applied), len(records))
	}
	return applied
}

// Commit waits until all that was folded is in the file.
func Commit(t TB, v *view.View) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := v.WaitCommitted(ctx, v.Folded()); err != nil {
		t.Fatalf("wait committed: %v", err)
	}
	if v.Committed() < v.Folded() {
		t.Fatalf("committed %d, folded %d", v.Committed(), v.Folded())
	}
}

// Digest is the view's, which must stand at a position.
func Digest(t TB, v *view.View, at uint64) view.Digest {
	t.Helper()
	d, seq, err := v.Digest()
	if err != nil {
		t.Fatalf("digest: %v", err)
	}
	if seq != at {
		t.Fatalf("digest at %d, want %d", seq, at)
	}
	return d
}

// check runs a property in a directory of its own.
func check(t *testing.T, prop func(t *rapid.T, dir func() string)) {
	root := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		prop(rt, func() string {
			dir, err := os.MkdirTemp(root, "")
			if err != nil {
				rt.Fatal(err)
			}
			return dir
		})
	})
}

// whole folds a log at once: what everything else is compared with.
func (s Suite) whole(t *rapid.T, dir string, l *Log) (view.Digest, []view.Applied) {
	v := OpenView(t, dir, s.New())
	defer v.Abandon()
	applied := Apply(t, v, l.Records)
	Commit(t, v)
	return Digest(t, v, uint64(len(l.Records))), applied
}

func (s Suite) generate(t *rapid.T) *Log { return Generate(t, s.Event, s.Records) }

func (s Suite) batches(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		want, effects := s.whole(t, dir(), l)
		v := OpenView(t, dir(), s.New())
		defer v.Abandon()
		var got []view.Applied
		for _, batch := range cuts(t, l.Records) {
			got = append(got, Apply(t, v, batch)...)
			if rapid.Bool().Draw(t, "commit") {
				Commit(t, v)
			}
		}
		Commit(t, v)
		if d := Digest(t, v, uint64(len(l.Records))); d != want {
			t.Fatalf("digest %v, want %v", d, want)
		}
		sameEffects(t, got, effects)
	})
}

func (s Suite) prefix(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		want, effects := s.whole(t, dir(), l)
		where := dir()
		var got []view.Applied
		for _, batch := range cuts(t, l.Records) {
			v := OpenView(t, where, s.New())
			if at := v.Checkpoint().Sequence; at != batch[0].Sequence-1 {
				t.Fatalf("opened at %d, closed at %d", at, batch[0].Sequence-1)
			}
			got = append(got, Apply(t, v, batch)...)
			if err := v.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
		}
		v := OpenView(t, where, s.New())
		defer v.Abandon()
		if d := Digest(t, v, uint64(len(l.Records))); d != want {
			t.Fatalf("digest %v, want %v", d, want)
		}
		sameEffects(t, got, effects)
	})
}

func (s Suite) crash(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		want, effects := s.whole(t, dir(), l)
		where := dir()
		v := OpenView(t, where, s.New())
		defer func() { v.Abandon() }()
		for crashes := 0; v.Folded() < uint64(len(l.Records)); {
			rest := l.Records[v.Folded():]
			batch := rest[:rapid.IntRange(1, len(rest)).Draw(t, "batch")]
			sameEffects(t, Apply(t, v, batch), effects[v.Folded()-uint64(len(batch)):v.Folded()])
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0:
				Commit(t, v)
			case 1:
				if crashes++; crashes > 8 {
					continue
				}
				committed := v.Committed()
				if err := v.Abandon(); err != nil {
					t.Fatalf("abandon: %v", err)
				}
				v = OpenView(t, where, s.New())
				if at := v.Folded(); at < committed {
					t.Fatalf("said committed %d, found %d", committed, at)
				}
				if cp := v.Checkpoint(); cp.Sequence > 0 && cp.Fingerprint != bus.FingerprintOf(l.Records[cp.Sequence-1].Data) {
					t.Fatalf("fingerprint at %d is not the record's", cp.Sequence)
				}
			}
		}
		Commit(t, v)
		if d := Digest(t, v, uint64(len(l.Records))); d != want {
			t.Fatalf("digest %v, want %v", d, want)
		}
	})
}

func (s Suite) repeated(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		v := OpenView(t, dir(), s.New())
		defer v.Abandon()
		Apply(t, v, l.Records)
		Commit(t, v)
		before := Rows(t, v)
		var readable []uint64
		for _, r := range l.Records {
			if proto.Unmarshal(r.Data, new(event.Record)) == nil {
				readable = append(readable, r.Sequence)
			}
		}
		seq := l.Repeat(rapid.SampledFrom(readable).Draw(t, "again"))
		a := Apply(t, v, l.Records[seq-1:])[0]
		Commit(t, v)
		if !a.Repeated || len(a.Effects) != 0 {
			t.Fatalf("repeated %v with %d effects", a.Repeated, len(a.Effects))
		}
		if v.Folded() != seq {
			t.Fatalf("folded %d, want %d", v.Folded(), seq)
		}
		sameRows(t, Rows(t, v), before)
	})
}

func (s Suite) unknown(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		v := OpenView(t, dir(), s.New())
		defer v.Abandon()
		Apply(t, v, l.Records)
		Commit(t, v)
		before := Rows(t, v)
		l.Append(ID(1), Unknown(), Unknown())
		seq := l.AppendData([]byte("no record at all"))
		a := Apply(t, v, l.Records[seq-2:])
		Commit(t, v)
		if len(a[0].Effects) != 2 || len(a[1].Effects) != 0 {
			t.Fatalf("%d and %d effects", len(a[0].Effects), len(a[1].Effects))
		}
		for _, e := range a[0].Effects {
			if e.Void != 0 || e.ID != 0 || e.Stored != nil || e.Deliveries != nil {
				t.Fatalf("an unknown event came to %+v", e)
			}
		}
		if v.Folded() != seq {
			t.Fatalf("folded %d, want %d", v.Folded(), seq)
		}
		sameRows(t, Rows(t, v), before)
	})
}

func (s Suite) unknownRule(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		rule := rapid.SampledFrom([]uint32{0, event.Rule + 1, 1 << 30}).Draw(t, "rule")
		seq := l.AppendRule(rule, ID(1), rapid.Custom(s.Event).Draw(t, "of another rule"))
		after := l.Append(ID(2), rapid.Custom(s.Event).Draw(t, "after"))
		v := OpenView(t, dir(), s.New())
		defer v.Abandon()
		for range 2 { // it stays where it is, however often it is asked
			a, err := v.Apply(l.Records[v.Folded():after])
			if !errors.Is(err, view.ErrUnknownRule) {
				t.Fatalf("error %v", err)
			}
			if v.Folded() != seq-1 || len(a) > 0 && a[len(a)-1].Sequence != seq-1 {
				t.Fatalf("folded %d, want %d", v.Folded(), seq-1)
			}
		}
		Commit(t, v)
		want, _ := s.whole(t, dir(), &Log{Records: l.Records[:seq-1]})
		if d := Digest(t, v, seq-1); d != want {
			t.Fatalf("something of the record was folded")
		}
	})
}

func (s Suite) effects(t *testing.T) {
	check(t, func(t *rapid.T, dir func() string) {
		l := s.generate(t)
		v := OpenView(t, dir(), s.New())
		defer v.Abandon()
		applied := Apply(t, v, l.Records)
		Commit(t, v)
		err := v.Read(func(r *view.Reader) error {
			first := r.EffectsHeld()
			held := 0
			for row, err := range r.Effects(first-1, r.Sequence()) {
				if err != nil {
					return err
				}
				a := applied[row.Sequence-1]
				if row.Writer != a.Writer || row.N != a.N || len(row.Events) != len(a.Effects) {
					t.Fatalf("row of %d: %+v of %+v", row.Sequence, row, a)
				}
				for i, e := range row.Events {
					w := a.Effects[i]
					if e.Void != w.Void || e.ID != w.ID || e.FirstID != w.FirstID || string(e.Stored) != string(w.Stored) {
						t.Fatalf("effect %d of %d: %+v, want %+v", i, row.Sequence, e, w)
					}
				}
				held += max(1, len(row.Events))
			}
			oldest := max(1, len(applied[first-1].Effects))
			if first > 1 && held < EffectsHeld || held-oldest >= EffectsHeld {
				t.Fatalf("%d positions held from %d on, want %d", held, first, EffectsHeld)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("read: %v", err)
		}
	})
}

// Row is one row of a view.
type Row struct{ Bucket, Key, Value string }

// Rows are all committed rows of the fold, without the engine's own.
func Rows(t TB, v *view.View) (rows []Row) {
	t.Helper()
	err := v.Read(func(r *view.Reader) error {
		for bucket := range r.Buckets() {
			if bucket == "meta" || bucket == "writers" || bucket == "effects" {
				continue
			}
			for k, value := range r.Scan(bucket, nil) {
				rows = append(rows, Row{bucket, string(k), string(value)})
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("rows: %v", err)
	}
	return rows
}

func sameRows(t TB, got, want []Row) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("rows changed:\n%q\nwere\n%q", got, want)
	}
}

func sameEffects(t TB, got, want []view.Applied) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.Sequence != w.Sequence || g.Writer != w.Writer || g.N != w.N || g.Repeated != w.Repeated || len(g.Effects) != len(w.Effects) {
			t.Fatalf("record %d: %+v, want %+v", w.Sequence, g, w)
		}
		for j := range g.Effects {
			if !sameEffect(g.Effects[j], w.Effects[j]) {
				t.Fatalf("effect %d of %d: %+v, want %+v", j, w.Sequence, g.Effects[j], w.Effects[j])
			}
		}
	}
}

func sameEffect(a, b view.Effect) bool {
	return a.Void == b.Void && a.ID == b.ID && a.FirstID == b.FirstID && string(a.Stored) == string(b.Stored) &&
		a.Group == b.Group && sameMembers(a.Members, b.Members) &&
		slices.EqualFunc(a.Deliveries, b.Deliveries, func(x, y *frame.Delivery) bool { return proto.Equal(x, y) }) &&
		slices.EqualFunc(a.Routes, b.Routes, func(x, y view.Route) bool { return x.All == y.All && slices.Equal(x.Lives, y.Lives) })
}

func sameMembers(a, b *view.Members) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Joined, b.Joined) && slices.Equal(a.Left, b.Left)
}

package view_test

import (
	"encoding/binary"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/projections/view"
	"godwit/schema/event"
)

// rows is a fold that keeps a row of a kilobyte per record.
type rows struct{}

func (rows) Name() string         { return "rows" }
func (rows) Format() uint32       { return 1 }
func (rows) Stream() event.Stream { return event.People }
func (rows) Buckets() []string    { return []string{"rows"} }
func (rows) Apply(tx *view.Tx, sequence uint64, _ *event.Record) []view.Effect {
	tx.Put("rows", binary.BigEndian.AppendUint64(nil, sequence), make([]byte, 1<<10))
	return []view.Effect{{}}
}

// TestTruncated cuts a view file at many lengths: each time it must begin anew, and
// never bring the process down.
func TestTruncated(t *testing.T) {
	cfg := view.Config{Dir: t.TempDir(), Fold: rows{}, Log: event.ID{1}}
	fill := func() string {
		v, err := view.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for seq := v.Folded() + 1; seq <= 200; seq++ {
			b, err := proto.Marshal(&event.Record{Writer: make([]byte, 16), N: seq, Rule: event.Rule})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Apply([]bus.Recorded{{Sequence: seq, Data: b}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		return v.Path()
	}
	path := fill()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	const cuts = 40
	for i := range int64(cuts) {
		if err := os.Truncate(path, info.Size()*i/cuts); err != nil {
			t.Fatal(err)
		}
		v, err := view.Open(cfg)
		if err != nil {
			t.Fatalf("cut to %d of %d bytes: %v", info.Size()*i/cuts, info.Size(), err)
		}
		if n := v.Folded(); n != 0 {
			t.Errorf("cut to %d of %d bytes: the view says it is at %d", info.Size()*i/cuts, info.Size(), n)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		fill()
	}
}

package bus_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
)

func TestCursorsAreKeptAndComparedBeforeTheyAreSet(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	b := bustest.Start(t, bustest.WithDir(dir))
	none, err := b.Cursor(ctx, "w.a.S-00")
	if err != nil || none.Set || none.Value != 0 {
		t.Fatalf("a cursor that never was: %+v, %v", none, err)
	}
	one, err := b.SetCursor(ctx, "w.a.S-00", none, 7)
	if err != nil || one.Value != 7 || !one.Set {
		t.Fatalf("set: %+v, %v", one, err)
	}
	if _, err := b.SetCursor(ctx, "w.a.S-00", none, 8); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("made a second time: %v", err)
	}
	two, err := b.SetCursor(ctx, "w.a.S-00", one, 1<<63)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetCursor(ctx, "w.a.S-00", one, 9); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("set from an old value: %v", err)
	}
	if other, err := b.Cursor(ctx, "w.a.S-01"); err != nil || other.Set {
		t.Errorf("another cursor: %+v, %v", other, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Cursor(ctx, "w.a.S-00"); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("read from a closed bus: %v", err)
	}

	b = bustest.Start(t, bustest.WithDir(dir))
	kept, err := b.Cursor(ctx, "w.a.S-00")
	if err != nil || kept != two {
		t.Fatalf("after a restart: %+v, %v; want %+v", kept, err, two)
	}
	if err := b.RemoveCursor(ctx, "w.a.S-00", one); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("removed from an old value: %v", err)
	}
	if err := b.RemoveCursor(ctx, "w.a.S-00", kept); err != nil {
		t.Fatal(err)
	}
	gone, err := b.Cursor(ctx, "w.a.S-00")
	if err != nil || gone.Set || gone.Value != 0 {
		t.Errorf("after its removal: %+v, %v", gone, err)
	}
	if _, err := b.SetCursor(ctx, "w.a.S-00", kept, 1); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("set as it was before its removal: %v", err)
	}
	if again, err := b.SetCursor(ctx, "w.a.S-00", gone, 3); err != nil || again.Value != 3 {
		t.Errorf("made anew: %+v, %v", again, err)
	}
}

func TestOneOfManyMovesACursor(t *testing.T) {
	b := bustest.Start(t)
	was, err := b.Cursor(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range uint64(8) {
		wg.Go(func() {
			switch _, err := b.SetCursor(t.Context(), "c", was, i+1); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, bus.ErrConflict):
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d set it and %d lost", won.Load(), lost.Load())
	}
}

func TestCursorNames(t *testing.T) {
	b := bustest.Start(t)
	for _, name := range []string{"", ".", "a.", "a..b", "a b", "a.*", ">", strings.Repeat("a", 201)} {
		if _, err := b.Cursor(t.Context(), name); err == nil {
			t.Errorf("%q is read", name)
		}
		if _, err := b.SetCursor(t.Context(), name, bus.Cursor{}, 1); err == nil {
			t.Errorf("%q is set", name)
		}
	}
}

package bus_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"godwit/bus"
	"godwit/bus/bustest"
)

func TestANoteOfARequestIsWrittenByCompareAndSet(t *testing.T) {
	k := bustest.New(t)
	ctx := t.Context()
	if note, rev, err := k.RequestNote(ctx, "a"); note != nil || rev != 0 || err != nil {
		t.Fatalf("nothing noted: %q, %d, %v", note, rev, err)
	}
	first, err := k.NoteRequest(ctx, "a", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.NoteRequest(ctx, "a", []byte("two"), 0); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("a second first note: %v", err)
	}
	second, err := k.NoteRequest(ctx, "a", []byte("two"), first)
	if err != nil || second <= first {
		t.Fatalf("revision %d after %d, %v", second, first, err)
	}
	if _, err := k.NoteRequest(ctx, "b", []byte("other"), 0); err != nil {
		t.Fatal(err)
	}
	if note, rev, err := k.RequestNote(ctx, "a"); string(note) != "two" || rev != second || err != nil {
		t.Fatalf("%q at %d, %v", note, rev, err)
	}
}

func TestNotesOfRequestsSurviveARestart(t *testing.T) {
	k := bustest.New(t)
	ctx := t.Context()
	rev, err := k.NoteRequest(ctx, "a", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	k.Restart(nil)
	note, again, err := k.RequestNote(ctx, "a")
	if string(note) != "one" || again != rev || err != nil {
		t.Fatalf("%q at %d, want revision %d; %v", note, again, rev, err)
	}
	if _, err := k.NoteRequest(ctx, "a", []byte("two"), rev); err != nil {
		t.Fatal(err)
	}
}

func TestNotesOfRequestsAreBounded(t *testing.T) {
	k := bustest.New(t)
	ctx := t.Context()
	if _, err := k.NoteRequest(ctx, "a", make([]byte, bus.MaxRequestNote+1), 0); !errors.Is(err, bus.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	most := bytes.Repeat([]byte("x"), bus.MaxRequestNote)
	if _, err := k.NoteRequest(ctx, "a", most, 0); err != nil {
		t.Errorf("the largest: %v", err)
	}
	for _, name := range []string{"", "a b", "a.b", "*", ">"} {
		if _, err := k.NoteRequest(ctx, name, nil, 0); err == nil || !strings.Contains(err.Error(), "token") {
			t.Errorf("name %q: %v", name, err)
		}
		if _, _, err := k.RequestNote(ctx, name); err == nil {
			t.Errorf("name %q is read", name)
		}
	}
}

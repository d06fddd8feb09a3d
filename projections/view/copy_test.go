package view

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"godwit/bus"
)

// A copy is the view at one position, also while it moves on, and another process goes on
// from it.
func TestACopyIsTakenOver(t *testing.T) {
	v := open(t, config(t.TempDir()))
	for i := range uint64(100) {
		if _, err := v.Apply([]bus.Recorded{record(i+1, int64(i), 7)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.WaitCommitted(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "copy")
	c, err := v.Copy(path)
	if err != nil {
		t.Fatal(err)
	}
	want, at, err := v.Digest()
	if err != nil || c.Checkpoint != v.Checkpoint() || at != 100 {
		t.Fatalf("copied %+v, the view is at %d, %v", c, at, err)
	}
	data, err := os.ReadFile(path)
	if err != nil || int64(len(data)) != c.Size || sha256.Sum256(data) != c.Sum {
		t.Fatalf("%d bytes, said %d, or another sum; %v", len(data), c.Size, err)
	}
	if _, err := v.Copy(path); err == nil {
		t.Error("a file was written over")
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file that was there: %v", err)
	}

	cfg := config(dir)
	cfg.BootID = "another machine"
	var asked []uint64
	cfg.Newer = func(have bus.Checkpoint) string { asked = append(asked, have.Sequence); return path }
	w := open(t, cfg)
	if got, at, err := w.Digest(); err != nil || got != want || at != 100 || len(asked) != 1 || asked[0] != 0 {
		t.Errorf("taken over: %s at %d, want %s; asked at %v; %v", got, at, want, asked, err)
	}
	if _, err := w.Apply([]bus.Recorded{record(101, 5)}); err != nil {
		t.Error(err)
	}
	// The next start goes on from there, and is asked again.
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Newer = func(have bus.Checkpoint) string { asked = append(asked, have.Sequence); return "" }
	w = open(t, cfg)
	if w.Folded() != 101 || len(asked) != 2 || asked[1] != 101 {
		t.Errorf("opened at %d, asked at %v", w.Folded(), asked)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// What is not of this view, format and log, or is no file of ours, leaves the own one
	// as it is.
	foreign := filepath.Join(dir, "foreign")
	for what, change := range map[string]func(*Config){
		"log":    func(c *Config) { c.Log = testLog; c.Log[3] = 9 },
		"format": func(c *Config) { c.Fold = &counting{format: 8} },
		"none":   nil,
		"torn":   func(c *Config) {},
	} {
		if change == nil {
			if err := os.WriteFile(foreign, []byte("no file of ours"), 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			other := config(t.TempDir())
			change(&other)
			o := open(t, other)
			if _, err := o.Copy(foreign); err != nil {
				t.Fatal(err)
			}
			if what == "torn" {
				if err := os.Truncate(foreign, 5000); err != nil {
					t.Fatal(err)
				}
			}
		}
		cfg.Newer = func(have bus.Checkpoint) string { return foreign }
		w = open(t, cfg)
		if w.Folded() != 101 {
			t.Errorf("%s: the view is at %d", what, w.Folded())
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(foreign); err == nil {
			t.Errorf("%s: the copy was left", what)
		}
	}
}

package e2etest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Output gathers the lines of a process, and lets a test wait for one.
type Output struct {
	Mu    sync.Mutex
	part  []byte
	Lines []string
	more  chan struct{} // closed and replaced at every line, and at the end
	ended bool
}

func NewOutput() *Output { return &Output{more: make(chan struct{})} }

func (o *Output) Write(b []byte) (int, error) {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	o.part = append(o.part, b...)
	for {
		i := bytes.IndexByte(o.part, '\n')
		if i < 0 {
			return len(b), nil
		}
		o.Lines = append(o.Lines, string(o.part[:i]))
		o.part = o.part[i+1:]
		o.tell()
	}
}

func (o *Output) tell() {
	close(o.more)
	o.more = make(chan struct{})
}

func (o *Output) End() {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	if !o.ended {
		o.ended = true
		o.tell()
	}
}

// Find waits for a line that has all the words.
func (o *Output) Find(words ...string) (string, error) {
	limit := time.After(Patience)
	for mark := 0; ; {
		o.Mu.Lock()
		for ; mark < len(o.Lines); mark++ {
			if has(o.Lines[mark], words) {
				line := o.Lines[mark]
				o.Mu.Unlock()
				return line, nil
			}
		}
		more, ended := o.more, o.ended
		o.Mu.Unlock()
		if ended {
			return "", fmt.Errorf("ended without a line with %q:\n%s", words, o.Tail())
		}
		select {
		case <-more:
		case <-limit:
			return "", fmt.Errorf("no line with %q in %v:\n%s", words, Patience, o.Tail())
		}
	}
}

func has(line string, words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
}

// Count is how many lines have all the words.
func (o *Output) Count(words ...string) int {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	n := 0
	for _, l := range o.Lines {
		if has(l, words) {
			n++
		}
	}
	return n
}

// DataRace is what a program built with -race-child says when it finds one.
const DataRace = "WARNING: DATA RACE"

// Tail is the end of what was said, or the beginning of a crash.
func (o *Output) Tail() string {
	o.Mu.Lock()
	defer o.Mu.Unlock()
	for i, l := range o.Lines {
		if strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") || strings.HasPrefix(l, "unexpected fault address") || strings.HasPrefix(l, "SIG") || strings.HasPrefix(l, DataRace) {
			return strings.Join(o.Lines[max(0, i-10):min(len(o.Lines), i+50)], "\n")
		}
	}
	return strings.Join(o.Lines[max(0, len(o.Lines)-60):], "\n")
}

func Name(i int) string { return "u" + strconv.Itoa(i+1) }

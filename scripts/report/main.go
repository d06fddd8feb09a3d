// Command report reads what go test -json writes and prints what a person wants to know: the closing line of every
// package, everything that a failed test said, the slowest tests, and what was skipped and why. It fails when a test
// failed and when no test ran.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// running is a package whose closing line has not come yet.
type running struct {
	order  []string            // tests in the order in which they began
	output map[string][]string // lines by test; "" is the package itself
}

type test struct {
	name    string // package and test
	seconds float64
	said    string // why it was skipped
}

type totals struct {
	out     io.Writer
	open    map[string]*running
	passed  []test
	skipped []test
	failed  int
}

const slowest = 8

func report(in io.Reader, out io.Writer) error {
	t := &totals{out: out, open: make(map[string]*running)}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			t.line(line)
		}
		if errors.Is(err, io.EOF) {
			return t.end()
		}
		if err != nil {
			return fmt.Errorf("read the test events: %w", err)
		}
	}
}

// line takes one line; what is no event is passed on as it is.
func (t *totals) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		fmt.Fprint(t.out, string(line))
		return
	}
	switch e.Action {
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "output":
		p := t.of(e.Package)
		if _, known := p.output[e.Test]; !known {
			p.order = append(p.order, e.Test)
		}
		p.output[e.Test] = append(p.output[e.Test], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.closePackage(e)
		} else {
			t.closeTest(e)
		}
	}
}

func (t *totals) of(name string) *running {
	p := t.open[name]
	if p == nil {
		p = &running{output: make(map[string][]string)}
		t.open[name] = p
	}
	return p
}

func (t *totals) closeTest(e event) {
	p := t.of(e.Package)
	done := test{name: e.Package + " " + e.Test, seconds: e.Elapsed}
	switch e.Action {
	case "fail":
		t.failed++
		return // what it said is printed with its package
	case "skip":
		done.said = reason(p.output[e.Test])
		t.skipped = append(t.skipped, done)
	case "pass":
		t.passed = append(t.passed, done)
	}
	delete(p.output, e.Test)
}

// closePackage prints the closing line, and before it what is left to say: the output of tests that failed or never
// ended.
func (t *totals) closePackage(e event) {
	p := t.of(e.Package)
	delete(t.open, e.Package)
	if e.Action == "fail" {
		t.failed++
		for _, name := range p.order {
			if name != "" {
				fmt.Fprint(t.out, strings.Join(p.output[name], ""))
			}
		}
		fmt.Fprint(t.out, strings.Join(p.output[""], ""))
		return
	}
	for _, line := range p.output[""] {
		if line != "PASS\n" && !strings.HasPrefix(line, "-test.shuffle ") {
			fmt.Fprint(t.out, line)
		}
	}
}

// reason is what a skipped test said, on one line.
func reason(lines []string) string {
	var said []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}

func (t *totals) end() error {
	for name := range t.open {
		t.failed++
		fmt.Fprintf(t.out, "FAIL\t%s ended without a result\n", name)
	}
	slices.SortStableFunc(t.passed, func(a, b test) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Fprintln(t.out)
	for _, s := range t.passed[:min(slowest, len(t.passed))] {
		fmt.Fprintf(t.out, "slowest: %6.1fs %s\n", s.seconds, s.name)
	}
	for _, s := range t.skipped {
		fmt.Fprintf(t.out, "skipped: %s: %s\n", s.name, s.said)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", len(t.passed), t.failed, len(t.skipped))
	switch {
	case t.failed > 0:
		return errors.New("there are failures")
	case len(t.passed) == 0:
		return errors.New("no test ran")
	}
	return nil
}

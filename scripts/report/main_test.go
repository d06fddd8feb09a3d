package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := map[string]struct {
		in    string
		want  []string
		never []string
		err   string
	}{
		"a passed package shows its closing line only": {
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t1.5s\n"}
{"Action":"pass","Package":"p"}
`,
			want:  []string{"ok  \tp\t1.5s\n", "1 passed, 0 failed, 0 skipped", "slowest:    1.5s p TestA"},
			never: []string{"chatter"},
		},
		"a skip says why": {
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: no strace here\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}
`,
			want: []string{"skipped: p TestA: a_test.go:1: no strace here\n", "1 passed, 0 failed, 1 skipped"},
		},
		"a failed test says everything": {
			in: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: got 1\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			want: []string{"a_test.go:1: got 1\n", "FAIL\tp\t0.1s\n"},
			err:  "there are failures",
		},
		"a package that never ends is a failure": {
			in: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"half\n"}
`,
			want: []string{"FAIL\tp ended without a result"},
			err:  "there are failures",
		},
		"a build that fails is shown": {
			in: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}
{"Action":"fail","Package":"p"}
`,
			want: []string{"p.go:1: syntax error\n"},
			err:  "there are failures",
		},
		"nothing run is a failure": {
			in:   `{"Action":"skip","Package":"p"}` + "\n",
			want: []string{"0 passed"},
			err:  "no test ran",
		},
		"what is no event is passed on": {
			in:   "go: cannot find main module\n",
			want: []string{"go: cannot find main module\n"},
			err:  "no test ran",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			got := ""
			if err := report(strings.NewReader(tc.in), &out); err != nil {
				got = err.Error()
			}
			if got != tc.err {
				t.Errorf("error %q, want %q", got, tc.err)
			}
			for _, w := range tc.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("missing %q in:\n%s", w, out.String())
				}
			}
			for _, w := range tc.never {
				if strings.Contains(out.String(), w) {
					t.Errorf("has %q:\n%s", w, out.String())
				}
			}
		})
	}
}

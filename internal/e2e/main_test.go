package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "godwit/internal/cli"
	"godwit/internal/e2e/e2etest"
)

var (
	flagRounds     = flag.Int("rounds", 20, "rounds of every kill test")
	flagSeed       = flag.Uint64("seed", 0, "seed of random choices; 0 takes one")
	flagDurability = flag.String("durability", "disk,os", "durability levels to test")
	flagDuration   = flag.Duration("duration", 2*time.Second, "length of load where a test runs for a time")
	flagRaceChild  = flag.Bool("race-child", false, "build the program with the race detector")
)

// workDir is where this run's program lies.
var workDir string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if workDir, err = os.MkdirTemp("", "godwit-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(workDir)
	return m.Run()
}

// build makes the program, once for all tests that run it.
var build = sync.OnceValues(func() (string, error) {
	program := filepath.Join(workDir, "godwit")
	var flags []string
	if *flagRaceChild {
		flags = append(flags, "-race")
	}
	return program, e2etest.Build(program, flags...)
})

// program is the path of the godwit that this run built.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// random gives a test its source of choices and says the seed where it fails.
func random(t *testing.T) *rand.Rand {
	seed := *flagSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with: go test ./internal/e2e -run '%s' -args -seed %d -rounds %d", t.Name(), seed, *flagRounds)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// durabilities runs the test at every level that was asked for.
func durabilities(t *testing.T, test func(t *testing.T, durability string)) {
	for d := range strings.SplitSeq(*flagDurability, ",") {
		t.Run(d, func(t *testing.T) { test(t, d) })
	}
}

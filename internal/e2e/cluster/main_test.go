package cluster

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

var (
	flagRounds = flag.Int("rounds", 1, "rounds of every fault, each in a cluster of its own")
	flagSeed   = flag.Uint64("seed", 0, "seed of random choices; 0 takes one")
	flagPause  = flag.Duration("pause", 30*time.Second, "for how long processes are stopped")
)

func TestMain(m *testing.M) {
	if code, asked := runChild(); asked {
		os.Exit(code)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// random gives a test its source of choices and says the seed where it fails.
func random(t *testing.T) *rand.Rand {
	seed := *flagSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with: go test ./internal/e2e/cluster -run '%s' -args -seed %d", t.Name(), seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

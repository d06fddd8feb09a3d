package password

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of a cost, for configured ones and for those found in a stored hash alike: one check may take at most 256 MiB and
// a few seconds of one core, whoever wrote the hash.
const (
	MinMemoryKiB  = 8
	MaxMemoryKiB  = 256 << 10
	MinIterations = 1
	MaxIterations = 16
)

// ErrCost is wrapped by every refusal of a cost.
var ErrCost = errors.New("bad password cost")

// Cost says how dear one check is: argon2id with one lane over MemoryKiB of memory, Iterations times.
type Cost struct {
	MemoryKiB  uint32 // MinMemoryKiB..MaxMemoryKiB
	Iterations uint32 // MinIterations..MaxIterations
}

// DefaultCost is OWASP's recommendation for argon2id: 19 MiB, two passes, one lane; some 20 ms of one core.
var DefaultCost = Cost{MemoryKiB: 19456, Iterations: 2}

// String is the form that [ParseCost] reads.
func (c Cost) String() string { return fmt.Sprintf("%d,%d", c.MemoryKiB, c.Iterations) }

// ParseCost reads "MEMORY_KIB,ITERATIONS" as in --password-cost. Its error is one sentence with the option, the value and
// what would be accepted.
func ParseCost(text string) (Cost, error) {
	memory, iterations, found := strings.Cut(text, ",")
	m, errM := strconv.ParseUint(strings.TrimSpace(memory), 10, 32)
	t, errT := strconv.ParseUint(strings.TrimSpace(iterations), 10, 32)
	c := Cost{MemoryKiB: uint32(m), Iterations: uint32(t)}
	if !found || errM != nil || errT != nil || c.check() != nil {
		return Cost{}, fmt.Errorf("%w: password-cost is %q; give MEMORY_KIB,ITERATIONS with memory from %d to %d and iterations from %d to %d, for example %s",
			ErrCost, text, MinMemoryKiB, MaxMemoryKiB, MinIterations, MaxIterations, DefaultCost)
	}
	return c, nil
}

func (c Cost) check() error {
	if c.MemoryKiB < MinMemoryKiB || c.MemoryKiB > MaxMemoryKiB {
		return fmt.Errorf("%w: memory of %d KiB is not within %d..%d", ErrCost, c.MemoryKiB, MinMemoryKiB, MaxMemoryKiB)
	}
	if c.Iterations < MinIterations || c.Iterations > MaxIterations {
		return fmt.Errorf("%w: %d iterations are not within %d..%d", ErrCost, c.Iterations, MinIterations, MaxIterations)
	}
	return nil
}

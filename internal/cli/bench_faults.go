package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/bench"
	"godwit/internal/config"
)

func newBenchFaults(streams IO) *cobra.Command {
	var (
		b benchFlags
		c bench.Faults
	)
	cmd := &cobra.Command{
		Use: "faults", Short: "Pairs who write to each other whatever is killed meanwhile",
		Long: `Pairs of people who write to each other and go on whatever happens to the server
meanwhile: who is cut off comes back, reads what was missed, and sends again what has no ack.
At the end every conversation is read as a whole. Ends with exit code 1 if a message that was
acknowledged is missing, is there twice, is out of order or has another id than its ack, or if
somebody who was online was not told of it.

An interrupt ends the writing before --duration is over, and the check goes on; a second one
ends all.`,
		Example: `  godwit bench faults --pairs 50 --rate 5 --duration 2m`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Duration <= 0 || c.Drain <= 0 || c.Rate <= 0 {
				return usagef("--duration, --drain and --rate are above zero")
			}
			c.Enough = cmd.Context().Done()
			return measure(context.WithoutCancel(cmd.Context()), &b, streams, c.Run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&c.Pairs, 50, 1, 10_000), "pairs", "pairs of people")
	f.Var(config.Int(&c.Size, 100, bench.MinSize, bench.MaxSize), "size", "bytes of a message's content")
	f.Float64Var(&c.Rate, "rate", 5, "messages a second of each person")
	f.DurationVar(&c.Duration, "duration", time.Minute, "how long they write")
	f.DurationVar(&c.Drain, "drain", time.Minute, "how long to wait then for what is on its way")
	b.friendsFlag(cmd, "the two of a pair friends")
	b.flags(cmd)
	return cmd
}

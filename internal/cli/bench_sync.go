package cli

import (
	"github.com/spf13/cobra"

	"godwit/internal/bench"
	"godwit/internal/config"
)

func newBenchSync(streams IO) *cobra.Command {
	var (
		b benchFlags
		c bench.Sync
	)
	cmd := &cobra.Command{
		Use: "sync", Short: "Somebody with many conversations who comes back",
		Long: `Gives one person many conversations, and logs in as that person again and again with a
sync token: for everything, after some conversations have changed, and when nothing has.
Measures the bytes that the server sends for the login and what has changed, and the
time from the request to the last of them. Ends with exit code 1 if a login was told
wrong, or if one that found nothing new took more than one request, two PDUs and 500
bytes. Conversations that are there from an earlier run are used again.`,
		Example: "  godwit bench sync --conversations 10000 --changed 3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Changed > c.Conversations {
				return usagef("--changed %d is more than there are conversations: %d", c.Changed, c.Conversations)
			}
			return measure(cmd.Context(), &b, streams, c.Run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&c.Conversations, 10_000, 1, 100_000), "conversations", "conversations, each with another person")
	f.Var(config.Int(&c.Changed, 3, 0, 1000), "changed", "of them get a message between two logins")
	f.Var(config.Int(&c.Logins, 20, 1, 10_000), "logins", "logins of each kind")
	b.flags(cmd)
	return cmd
}

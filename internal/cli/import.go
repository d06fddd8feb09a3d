package cli

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"godwit/bus"
	"godwit/internal/config"
	"godwit/internal/teamtalk"
	"godwit/internal/up"
	"godwit/schema/event"
)

func newImport(streams IO) *cobra.Command {
	return group("import", "Move another system's people, groups and messages in", newImportTeamTalk(streams))
}

func newImportTeamTalk(streams IO) *cobra.Command {
	var (
		cfg     up.Config
		o       teamtalk.Options
		limit   int
		nats    natsFlags
		logging logOptions
	)
	cmd := &cobra.Command{
		Use:   "teamtalk DUMP.sql",
		Short: "Move a TeamTalk installation in, from a dump of its MySQL database",
		Long: `Reads what mysqldump wrote of TeamTalk's database: people, departments, groups with
their members, messages. Numbers of users, groups and departments, and the ids and
times of messages, stay what they were. People log in with the passwords that they
have. An id that the dump lacks becomes a placeholder.

The server of the data directory must be stopped. An import that was interrupted is
run again and completes what is missing; what is there already is not touched.`,
		Example: `  mysqldump --default-character-set=utf8mb4 teamtalk > teamtalk.sql
  godwit import teamtalk teamtalk.sql --data /var/lib/godwit --voices /var/lib/msfs`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// A wrong one would make placeholders of all voices, for good.
			if o.Audio != "" {
				if info, err := os.Stat(filepath.Join(o.Audio, "g0")); err != nil || !info.IsDir() {
					return usagef("--voices is %q: give the directory of TeamTalk's picture and voice store, which holds g0", o.Audio)
				}
			}
			if err := nats.settle(&cfg, false); err != nil {
				return err
			}
			cfg.Logger = logging.logger(streams.Err)
			o.GroupLimit = uint32(limit)
			bar := newProgress(streams.Err, "importing", "")
			what := ""
			o.Progress = func(now string, done, total uint64) {
				if now != what {
					bar.end()
					what, bar.what, bar.unit = now, "importing "+now, now
				}
				bar.set(done, total)
			}
			report, err := up.ImportTeamTalk(cmd.Context(), cfg, args[0], o)
			bar.end()
			if err != nil {
				return err
			}
			up.WriteImport(streams.Out, report)
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&cfg.DataDir, "data", defaultData, "data directory `DIR`; made if it is missing")
	f.StringVar(&o.Audio, "voices", "", "directory `DIR` of TeamTalk's picture and voice store (it holds g0); without it voices become placeholders")
	f.Var(config.Int(&limit, 10_000, 2, 40_000), "group-limit", "most members of a group; one that has more keeps them")
	f.Var(config.OneOf(&cfg.Durability, bus.Disk, bus.Disk, bus.OS), "durability", "what stored messages survive: a power loss (disk), or the end of the process (os)")
	f.Var(config.Int(&cfg.Partitions, 0, 0, event.MaxPartitions), "partitions", "conversation streams of a new log; 0: what the log has, else the default")
	f.Var(config.Bytes(&cfg.MinFree, bus.DefaultMinFree), "min-free", "free disk space below which nothing more is accepted")
	nats.flags(f, &cfg, orEmbedded)
	logging.flags(cmd)
	return cmd
}

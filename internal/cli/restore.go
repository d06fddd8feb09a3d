package cli

import (
	"github.com/spf13/cobra"

	"godwit/internal/move"
	"godwit/internal/up"
)

func newRestore(streams IO) *cobra.Command {
	var (
		from    string
		data    string
		o       carryFlags
		cfg     up.Config
		nats    natsFlags
		logging logOptions
	)
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Put a backup into a data directory or a cluster",
		Long: `Reads a whole backup, compares it with its sums, and writes it to an empty data directory,
or to the NATS servers of a cluster that hold no log, with sequences, order and message ids
kept. A restore that broke off is run again and goes on; until it has ended well no server
starts on the target.

What happened after the backup was made is gone, and people may have seen it. Therefore all
streams get a new epoch: clients sync in full when they come back, and views that are left
begin anew. Sessions of the past end when a server starts.`,
		Example: `  godwit restore --from /mnt/backup --data /var/lib/godwit
  godwit restore --from /mnt/backup --nats tls://n1:4222,tls://n2:4222,tls://n3:4222`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usagef("--from is not given: give the directory of a backup, for example --from /mnt/backup")
			}
			if err := nats.settle(&cfg, false); err != nil {
				return err
			}
			if (cfg.NATSURL == "") == (data == "") {
				return usagef("the backup goes to one place: give either --data or --nats")
			}
			log := logging.logger(streams.Err)
			bar := newProgress(streams.Err, "restoring", "records")
			opts := o.options(bar, "restoring", logging, streams)
			var (
				report move.Report
				err    error
			)
			if cfg.NATSURL != "" {
				report, err = move.RestoreToServers(cmd.Context(), from, cfg.Servers(log), opts)
			} else {
				report, err = move.RestoreToDirectory(cmd.Context(), from, data, log, opts)
			}
			bar.end()
			if err != nil {
				return err
			}
			return writeCarried(streams.Out, report)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&from, "from", "", "directory `DIR` of a backup; needed")
	f.StringVar(&data, "data", "", "data directory `DIR` to restore to, made if it is missing")
	o.flags(cmd)
	nats.flags(f, &cfg, "instead of --data")
	logging.flags(cmd)
	return cmd
}

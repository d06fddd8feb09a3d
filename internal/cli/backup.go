package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/config"
	"godwit/internal/move"
	"godwit/internal/up"
)

func newBackup(streams IO) *cobra.Command {
	var (
		data    string
		out     string
		cfg     up.Config
		nats    natsFlags
		logging logOptions
	)
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back a log up into a directory, while it is in use or not",
		Long: `Writes what the log of --data, or of the NATS servers of a cluster, holds into a directory:
the log, webhook cursors, secrets, files and pictures; no views. Servers may go on meanwhile.
Where a server runs in --data its files are copied first, which takes as much room again
below --out until the backup is done.

Given a directory that holds a backup of this log it adds what is new. A backup that broke
off is run again; what an earlier one has written stays good all the time.

A backup holds everything, the secrets of resume tokens too: keep it as safe as the log.`,
		Example: `  godwit backup --data /var/lib/godwit --out /mnt/backup
  godwit backup --nats tls://n1:4222,tls://n2:4222,tls://n3:4222 --out /mnt/backup
  godwit backup verify /mnt/backup`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("--out is not given: give the directory of the backup, for example --out /mnt/backup")
			}
			if err := nats.settle(&cfg, false); err != nil {
				return err
			}
			if cfg.NATSURL != "" && cmd.Flags().Changed("data") {
				return usagef("--data and --nats are both given: give the one that holds the log")
			}
			log := logging.logger(streams.Err)
			bar := newProgress(streams.Err, "backing up", "records")
			o := move.Options{Progress: carried(bar, "backing up"), Logger: log}
			var (
				report move.Report
				err    error
				hot    bool
			)
			if cfg.NATSURL != "" {
				report, err = move.BackUpServers(cmd.Context(), cfg.Servers(log), out, o)
			} else {
				report, hot, err = move.BackUpDirectory(cmd.Context(), data, out, log, o)
			}
			bar.end()
			if err != nil {
				return err
			}
			if hot {
				fmt.Fprintln(streams.Err, "a server uses "+data+": its files were copied first")
			}
			return writeCarried(streams.Out, report)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&data, "data", defaultData, "data directory `DIR` that holds the log; a server may run in it")
	f.StringVar(&out, "out", "", "directory `DIR` of the backup, made if it is missing; needed")
	nats.flags(f, &cfg, "instead of --data")
	logging.flags(cmd)
	cmd.AddCommand(newBackupVerify(streams))
	return cmd
}

func newBackupVerify(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:   "verify DIR",
		Short: "Read a whole backup and compare it with its sums",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bar := newProgress(streams.Err, "reading", "bytes")
			c, at, err := move.Verify(cmd.Context(), args[0], carried(bar, "reading"))
			bar.end()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(streams.Out, "the backup of %s is whole: %d files, %d entries, %s\n",
				at.Format(time.RFC3339), c.Files, c.Entries, config.FormatBytes(uint64(c.Bytes)))
			return err
		},
	}
}

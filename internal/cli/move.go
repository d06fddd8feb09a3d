package cli

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"godwit/bus"
	"godwit/internal/move"
	"godwit/internal/up"
)

func newMove(streams IO) *cobra.Command {
	var (
		from    string
		o       carryFlags
		cfg     up.Config
		nats    natsFlags
		logging logOptions
	)
	cmd := &cobra.Command{
		Use:   "move",
		Short: "Carry the log of one node to a cluster",
		Long: `Carries what the data directory of a stopped server holds to the NATS servers of a
cluster: the log with sequences, order and message ids kept, webhook cursors, secrets (so
resume tokens stay good), files and pictures. Then it reads all of it back and compares.
Views are not carried: projectors fold them again and come to the same.

A move that broke off is run again and goes on; until it has ended well no server starts on
the target. A target that holds anything else is refused. Keep the data directory, and don't
start a server in it again: from here on the cluster has the log.`,
		Example: `  godwit move --from /var/lib/godwit --nats tls://n1:4222,tls://n2:4222,tls://n3:4222`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usagef("--from is not given: give the data directory of a stopped server, for example --from %s", defaultData)
			}
			if err := nats.settle(&cfg, true); err != nil {
				return err
			}
			log := logging.logger(streams.Err)
			bar := newProgress(streams.Err, "moving", "records")
			report, err := move.Move(cmd.Context(), from, cfg.Servers(log), o.options(bar, "moving", logging, streams))
			bar.end()
			if err != nil {
				return err
			}
			return writeCarried(streams.Out, report)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&from, "from", "", "data directory `DIR` of a stopped server; needed")
	o.flags(cmd)
	nats.flags(f, &cfg, andNeeded)
	logging.flags(cmd)
	return cmd
}

// carryFlags are those of whatever writes a log to a target.
type carryFlags struct {
	replace bool
	verify  bool
}

func (o *carryFlags) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.replace, "replace-unused", false, "take the place of another log at the target in which nothing has happened yet, as godwit init makes it")
	cmd.Flags().BoolVar(&o.verify, "verify", true, "read everything back at the end and compare")
}

func (o *carryFlags) options(bar *progress, what string, logging logOptions, streams IO) move.Options {
	return move.Options{ReplaceUnused: o.replace, SkipVerify: !o.verify, Progress: carried(bar, what), Logger: logging.logger(streams.Err)}
}

// carried shows the progress of one stream after another.
func carried(bar *progress, what string) move.Progress {
	stream := ""
	return func(name string, done, total uint64) {
		if name != stream {
			bar.end()
			stream, bar.what = name, what+" "+name
		}
		bar.set(done, total)
	}
}

// writeCarried says what a copy has done.
func writeCarried(out io.Writer, r move.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STREAM\tLAST\tNEW")
	for _, s := range r.Streams {
		last := fmt.Sprint(s.Last)
		if s.Kind != bus.LogStream {
			last = "-" // sequences mean nothing there
		}
		fmt.Fprintf(w, "%s\t%s\t%d\n", s.Name, last, s.New)
	}
	err := w.Flush()
	fmt.Fprintf(out, "log %s: %d records, %d entries new, in %s", r.Log.Log, r.Records(), r.New(), r.Took.Round(time.Millisecond))
	if r.Verified {
		fmt.Fprint(out, "; read back and compared: equal")
	}
	if r.NewEpochs {
		fmt.Fprint(out, "; a new epoch for every stream")
	}
	_, e := fmt.Fprintln(out)
	return errors.Join(err, e)
}

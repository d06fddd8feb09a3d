package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"godwit/internal/admin"
	"godwit/internal/datadir"
	"godwit/internal/up"
)

func newReplay(streams IO) *cobra.Command {
	var (
		t       target
		verify  bool
		asJSON  bool
		logging logOptions
	)
	cmd := &cobra.Command{
		Use: "replay", Short: "Rebuild the views from the log and compare them with the present ones",
		Long: `Rebuilds every view from the log beside the present one and says whether the two are
equal, and how fast it went. It ends with exit code 1 when one differs.

In the directory of a stopped server it works by itself, and the rebuilt views take
the place of the present ones unless --verify is given. A running server is asked
through its admin API; its views stay as they are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			bar := newProgress(streams.Err, "replaying", "events")
			view := ""
			progress := func(name string, done, total uint64) {
				if name != view {
					bar.end()
					view, bar.what = name, "replaying "+name
				}
				bar.set(done, total)
			}
			report, err := replay(cmd.Context(), &t, verify, &logging, streams, progress)
			bar.end()
			if err != nil {
				return err
			}
			if err := writeReport(streams.Out, report, asJSON); err != nil {
				return err
			}
			if !report.Equal() {
				return errors.New("a view differs from its replay: it was wrong, or the rebuild is; start the server with that view's file removed and compare again")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&verify, "verify", false, "only compare: change nothing")
	f.BoolVar(&asJSON, "json", false, "the report as JSON")
	t.flags(cmd)
	logging.flags(cmd)
	return cmd
}

// replay works in the directory, unless a server has it or another one is named.
func replay(ctx context.Context, t *target, verify bool, logging *logOptions, streams IO, progress up.ReplayProgress) (admin.ReplayReport, error) {
	if t.addr == "" {
		r, err := up.ReplayStopped(ctx, t.data, verify, logging.logger(streams.Err), progress)
		if !errors.Is(err, datadir.ErrInUse) {
			return r, err
		}
	}
	c, err := t.client()
	if err != nil {
		return admin.ReplayReport{}, err
	}
	return c.Replay(ctx, verify, progress)
}

func writeReport(out io.Writer, r admin.ReplayReport, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VIEW\tRECORDS\tEVENTS\tEVENTS/S\tDIGEST\tRESULT")
	events := uint64(0)
	for _, v := range r.Views {
		events += v.Events
		fmt.Fprintf(w, "%s\t%d\t%d\t%.0f\t%s\t%s\n", v.Name, v.Sequence, v.Events, rate(v.Events, v.Took.Seconds()), short(v.Digest), verdict(v))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	word := "all views are equal to their replay"
	if !r.Equal() {
		word = "NOT EQUAL"
	}
	_, err := fmt.Fprintf(out, "%d events, %.0f a second: %s\n", events, rate(events, r.Took.Seconds()), word)
	return err
}

func rate(n uint64, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

func short(digest string) string { return digest[:min(16, len(digest))] }

func verdict(v admin.ViewReport) string {
	switch {
	case v.Present == "":
		return "rebuilt (there was none)"
	case v.Equal:
		return "equal"
	}
	return "DIFFERS from " + short(v.Present)
}

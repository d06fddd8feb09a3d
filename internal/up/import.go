package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/internal/datadir"
	"godwit/internal/teamtalk"
	"godwit/internal/watch"
	"godwit/projections/owner"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// ImportTeamTalk reads a dump of TeamTalk's database into the log: that of a data directory which no server uses, or the
// external one of cfg. Of cfg count the data directory, the log's settings and the logger.
func ImportTeamTalk(ctx context.Context, cfg Config, dump string, o teamtalk.Options) (report teamtalk.Report, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	in, err := os.Open(dump)
	if err != nil {
		return report, fmt.Errorf("dump: %w", err)
	}
	defer in.Close()
	dir, err := datadir.Open(cfg.DataDir)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := os.MkdirAll(dir.Views(), 0o700); err != nil {
		return report, fmt.Errorf("data directory: %w", err)
	}
	opening, cancel := ctx, context.CancelFunc(func() {})
	if cfg.NATSURL != "" {
		opening, cancel = context.WithTimeout(ctx, connectLimit)
	}
	defer cancel()
	b, err := bus.Open(opening, cfg.log(bus.RoleAll, dir, cfg.Logger))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	owners, err := owner.Open(ctx, owner.Config{Bus: b, Dir: dir.Views(), Logger: cfg.Logger})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, owners.Close()) }()
	node, err := delivery.New(delivery.Config{Bus: b, Handler: nobody{}, Name: "import", Logger: cfg.Logger})
	if err != nil {
		return report, err
	}
	run := newStages()
	defer func() { err = errors.Join(err, run.stop()) }()
	run.start("owner", owners.Run)
	run.start("node", node.Run)
	select {
	case <-node.Started():
	case err := <-run.failed:
		return report, err
	case <-ctx.Done():
		return report, context.Cause(ctx)
	}
	if cfg.NATSURL == "" {
		// Nobody else is here: what is left of a server that was killed ends before its numbers are looked at.
		if err := watch.Succeed(ctx, node, func(*query.Life) bool { return true }); err != nil {
			return report, err
		}
	}
	o.Partitions = b.Partitions()
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case err := <-run.failed:
			stop(err)
		case <-working.Done():
		}
	}()
	return teamtalk.Import(working, node, in, o)
}

// WriteImport writes a report for people.
func WriteImport(out io.Writer, r teamtalk.Report) {
	line := func(what string, c teamtalk.Count) {
		fmt.Fprintf(out, "%-12s %9d new, %d here before\n", what, c.New, c.Known)
	}
	line("people", r.People)
	line("departments", r.Departments)
	line("groups", r.Groups)
	line("joins, leaves", r.Changes)
	line("messages", r.Messages)
	fmt.Fprintf(out, "%d messages are placeholders; the messages took %.1f s, %.0f a second\n",
		r.Placeholders, r.Took.Seconds(), float64(r.Messages.New+r.Messages.Known)/max(r.Took.Seconds(), 1e-3))
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	if r.MoreNotes > 0 {
		fmt.Fprintf(out, "and %d notes more\n", r.MoreNotes)
	}
}

// nobody is the handler of a node without sessions.
type nobody struct{}

func (nobody) SessionOver(*frame.SessionOver)             {}
func (nobody) UserStatus(uint32, bool, uint64)            {}
func (nobody) DesktopStatus(uint32, bool, uint64)         {}
func (nobody) PersonChanged(*frame.PersonChanged, uint64) {}
func (nobody) DropCaches()                                {}
func (nobody) CloseAll(error)                             {}
func (nobody) Relay(*frame.Relay)                         {}
func (nobody) Suspend(bool)                               {}

var (
	_ delivery.Handler = nobody{}
	_ teamtalk.Node    = (*delivery.Node)(nil)
)

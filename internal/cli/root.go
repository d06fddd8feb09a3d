// Package cli is the command line of godwit: one command a file, each a few lines that
// turn flags into the configuration of the room that does the work.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"godwit/internal/config"
	"godwit/internal/ttclient"
)

// What a process ends with.
const (
	ExitOK      = 0
	ExitError   = 1 // it failed
	ExitUsage   = 2 // a flag, an argument or a setting was wrong; nothing was begun
	ExitKicked  = 3 // chat: the server sent this device away
	ExitRefused = 4 // chat: wrong name or password
)

// IO is where a command reads and writes.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// terminal is the file behind r if it is a terminal.
func terminal(r any) (*os.File, bool) {
	f, ok := r.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// Main runs a command line and returns what the process should end with. SIGINT and
// SIGTERM end what runs in order; a second one ends the process.
func Main(args []string, streams IO) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, args, streams)
}

// Run is Main without signals.
func Run(ctx context.Context, args []string, streams IO) int {
	root := newRoot(streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if !errors.Is(err, errSaid) {
		for text := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(streams.Err, "godwit: "+text)
		}
	}
	return exitCode(err)
}

// errSaid marks a failure that the command itself has reported.
var errSaid = errors.New("said already")

// usageError is a command line that can't be run.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	_, usage := errors.AsType[usageError](err)
	_, kicked := errors.AsType[*ttclient.KickedError](err)
	_, refused := errors.AsType[*ttclient.LoginError](err)
	switch {
	case usage, errors.Is(err, config.ErrSetting):
		return ExitUsage
	case kicked:
		return ExitKicked
	case refused:
		return ExitRefused
	}
	return ExitError
}

func newRoot(streams IO) *cobra.Command {
	root := &cobra.Command{
		Use:   "godwit",
		Short: "A messaging server for TeamTalk clients that never loses what it acknowledged",
		Long: `godwit is a messaging server for TeamTalk clients. What it acknowledges is in a
durable log; everything else it knows is derived from that log and can be replayed.

  godwit up --demo          a server with ten people to try
  godwit chat NAME          talk to somebody`,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(config.FlagError)
	root.PersistentFlags().String(config.FileFlag, "", "configuration file (YAML, TOML or JSON): the flags as keys, without --")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return config.Apply(cmd) }
	root.AddCommand(newUp(streams), newInit(streams), newConnector(streams), newProjector(streams), newGateway(streams),
		newUser(streams), newFriend(streams), newKey(streams), newStatus(streams), newChat(streams),
		newBench(streams), newReplay(streams), newImport(streams), newMove(streams), newBackup(streams), newRestore(streams), newCluster(streams), newHealth(streams), newVersion(streams))
	root.SetHelpTemplate(root.HelpTemplate() + helpFooter)
	explainArgs(root)
	completeWords(root)
	return root
}

const helpFooter = `{{if .HasAvailableLocalFlags}}
Every flag may also come from the environment (--password-cost as GODWIT_PASSWORD_COST) or
from the file that --config names (as password-cost); the command line wins, then the
environment. Flags may stand before or after arguments.
{{end}}`

// noCommand names what was meant to be a command and is none.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += ": did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("%s; see %s --help", text, cmd.CommandPath())
}

// explainArgs gives every refusal of arguments the command's own usage line.
func explainArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil && cmd.HasParent() {
		cmd.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if _, done := errors.AsType[usageError](err); err == nil || done {
				return err
			}
			return usagef("write: %s; see %s --help", strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		explainArgs(sub)
	}
}

// completeWords lets a shell complete the values of flags that take one of a few words.
func completeWords(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if words := strings.Split(f.Value.Type(), "|"); len(words) > 1 {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	})
	for _, sub := range cmd.Commands() {
		completeWords(sub)
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}

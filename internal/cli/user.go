package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"godwit/internal/admin"
)

func newUser(streams IO) *cobra.Command {
	return group("user", "Make and change people", newUserAdd(streams), newUserImport(streams), newUserList(streams),
		newUserPasswd(streams), newUserEnabled(streams, false), newUserEnabled(streams, true))
}

// secretFlags are the ways to give a password.
type secretFlags struct {
	password string
	file     string
}

func (s *secretFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.password, "password", "", "the password; rather by GODWIT_PASSWORD or --password-file, since others may see command lines")
	f.StringVar(&s.file, "password-file", "", "`FILE` whose first line is the password, - for standard input")
}

// get is the password as given, or "" where none is.
func (s *secretFlags) get(streams IO) (string, error) {
	switch {
	case s.password != "" && s.file != "":
		return "", usagef("--password and --password-file exclude each other: give one")
	case s.password != "":
		return s.password, nil
	case s.file == "":
		return "", nil
	}
	text, err := readLine(streams, s.file)
	if err == nil && text == "" {
		err = fmt.Errorf("password file %s has an empty first line", s.file)
	}
	return text, err
}

func readLine(streams IO, file string) (string, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(io.LimitReader(streams.In, 4096))
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimSuffix(string(first), "\r"), nil
}

// prompt asks for a password without echo.
func prompt(streams IO, f *os.File, question string) (string, error) {
	fmt.Fprint(streams.Err, question)
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(streams.Err)
	if err != nil {
		return "", fmt.Errorf("read password: %w", err)
	}
	return string(text), nil
}

// newPassword is a password for an account: given, typed twice, or made.
func (s *secretFlags) newPassword(streams IO) (plain string, made bool, err error) {
	plain, err = s.get(streams)
	if err != nil || plain != "" {
		return plain, false, err
	}
	if f, ok := terminal(streams.In); ok {
		if plain, err = prompt(streams, f, "New password (empty: make one): "); err != nil {
			return "", false, err
		}
		if plain != "" {
			again, err := prompt(streams, f, "Again: ")
			if err == nil && again != plain {
				err = errors.New("the two passwords differ")
			}
			return plain, false, err
		}
	}
	return strings.ToLower(rand.Text()[:16]), true, nil
}

func newUserAdd(streams IO) *cobra.Command {
	var (
		t      target
		secret secretFlags
		p      admin.NewPerson
	)
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make an account",
		Long:    "Makes an account. Without a password it asks for one on a terminal, and else makes one and prints it.",
		Example: "  godwit user add alice\n  godwit user add bob --nick 'Bob B.' --password-file -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Name = args[0]
			if err := admin.CheckName(p.Name); err != nil {
				return usageError{err}
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			made := false
			if p.Password, made, err = secret.newPassword(streams); err != nil {
				return err
			}
			added, err := c.Add(cmd.Context(), p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			fmt.Fprintf(streams.Out, "added %s, number %d\n", added.Name, added.Number)
			if made {
				fmt.Fprintf(streams.Out, "password %s\n", p.Password)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&p.Nick, "nick", "", "name that others see; default: NAME")
	secret.flags(cmd)
	t.flags(cmd)
	return cmd
}

func newUserPasswd(streams IO) *cobra.Command {
	var (
		t      target
		secret secretFlags
	)
	cmd := &cobra.Command{
		Use: "passwd NAME", Short: "Change a password; the person's sessions end",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			plain, made, err := secret.newPassword(streams)
			if err != nil {
				return err
			}
			if err := c.SetPassword(cmd.Context(), args[0], plain); err != nil {
				return err
			}
			fmt.Fprintf(streams.Out, "changed the password of %s\n", args[0])
			if made {
				fmt.Fprintf(streams.Out, "password %s\n", plain)
			}
			return nil
		},
	}
	secret.flags(cmd)
	t.flags(cmd)
	return cmd
}

func newUserEnabled(streams IO, enabled bool) *cobra.Command {
	var t target
	use, short, did := "disable NAME", "Close an account; the person's sessions end", "disabled"
	if enabled {
		use, short, did = "enable NAME", "Open a closed account again", "enabled"
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			if err := c.SetEnabled(cmd.Context(), args[0], enabled); err != nil {
				return err
			}
			fmt.Fprintf(streams.Out, "%s %s\n", did, args[0])
			return nil
		},
	}
	t.flags(cmd)
	return cmd
}

func newUserList(streams IO) *cobra.Command {
	var (
		t      target
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List people by number",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(streams.Out)
				for p, err := range c.All(cmd.Context()) {
					if err == nil {
						err = enc.Encode(p)
					}
					if err != nil {
						return err
					}
				}
				return nil
			}
			w := tabwriter.NewWriter(streams.Out, 0, 0, 2, ' ', 0)
			header := sync.OnceFunc(func() { fmt.Fprintln(w, "NUMBER\tNAME\tNICK\tSTATE") })
			for p, err := range c.All(cmd.Context()) {
				if err != nil {
					return errors.Join(w.Flush(), err)
				}
				header()
				state := "enabled"
				if p.Disabled {
					state = "disabled"
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", p.Number, p.Name, p.Nick, state)
			}
			header()
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	t.flags(cmd)
	return cmd
}

// maxRefusals of an import are printed one by one.
const maxRefusals = 50

func newUserImport(streams IO) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "import FILE.csv", Short: "Make many accounts from a CSV file",
		Long: `Makes an account for each line of a CSV file whose first line names the columns:
name, password and, if wanted, nick. Who is there already stays as he is, so that an
import that broke off can be run again. FILE - is standard input.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			people, lines, err := readCSV(streams, args[0])
			if err != nil {
				return err
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			bar := newProgress(streams.Err, "importing", "people")
			start, taken, refused, added := time.Now(), 0, 0, 0
			err = c.Import(cmd.Context(), people, func(p admin.ImportProgress) {
				added = p.Added
				for _, r := range p.Refused {
					if r.Taken {
						taken++
						continue
					}
					if refused++; refused <= maxRefusals {
						bar.note("line %d: %s: %s", lines[r.Index], r.Name, r.Error)
					}
				}
				bar.set(uint64(p.Handled), uint64(len(people)))
			})
			bar.end()
			if refused > maxRefusals {
				fmt.Fprintf(streams.Err, "and %d more refusals\n", refused-maxRefusals)
			}
			fmt.Fprintf(streams.Out, "added %d, there already %d, refused %d, in %.1f s\n", added, taken, refused, time.Since(start).Seconds())
			if err == nil && refused > 0 {
				err = errSaid
			}
			return err
		},
	}
	t.flags(cmd)
	return cmd
}

// readCSV reads people and the line of each.
func readCSV(streams IO, file string) (people []admin.NewPerson, lines []int, err error) {
	in := streams.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		in = f
	}
	r := csv.NewReader(in)
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("%s is empty: its first line is to be name,password,nick", file)
	} else if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff") // as spreadsheets begin a file
	column := map[string]int{"name": -1, "password": -1, "nick": -1}
	for i, h := range header {
		h = lower(strings.TrimSpace(h))
		if at, known := column[h]; !known || at >= 0 {
			return nil, nil, fmt.Errorf("%s: column %q is not one of name, password and nick, each once", file, h)
		}
		column[h] = i
	}
	if column["name"] < 0 || column["password"] < 0 {
		return nil, nil, fmt.Errorf("%s: the first line is %q: it is to be name,password or name,password,nick", file, strings.Join(header, ","))
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return people, lines, nil
		} else if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		p := admin.NewPerson{Name: row[column["name"]], Password: row[column["password"]]}
		if at := column["nick"]; at >= 0 {
			p.Nick = row[at]
		}
		at, _ := r.FieldPos(0)
		people, lines = append(people, p), append(lines, at)
	}
}

func newFriend(streams IO) *cobra.Command {
	change := func(use, short, did string, friends bool) *cobra.Command {
		var t target
		cmd := &cobra.Command{
			Use: use, Short: short, Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				if slices.Contains(args, "") {
					return usagef("a name is empty")
				}
				c, err := t.client()
				if err != nil {
					return err
				}
				if err := c.SetFriends(cmd.Context(), args[0], args[1], friends); err != nil {
					return err
				}
				fmt.Fprintf(streams.Out, did+"\n", args[0], args[1])
				return nil
			},
		}
		t.flags(cmd)
		return cmd
	}
	return group("friend", "Make and end friendships",
		change("add A B", "Make two people friends", "%s and %s are friends", true),
		change("remove A B", "End a friendship", "%s and %s are no friends", false))
}

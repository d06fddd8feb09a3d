package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/api"
)

func newKey(streams IO) *cobra.Command {
	return group("key", "Make and revoke API keys", newKeyAdd(streams), newKeyList(streams), newKeyRevoke(streams))
}

// scopeNames are all scopes, for help and refusals.
func scopeNames() []string {
	var names []string
	for _, s := range api.Scopes {
		names = append(names, string(s))
	}
	return names
}

func newKeyAdd(streams IO) *cobra.Command {
	var (
		t      target
		scopes []string
		lasts  time.Duration
	)
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make an API key and print it",
		Long: `Makes an API key for a program that uses the server API, and prints it. It is printed this
once: the server keeps a hash of it. NAME says what it is for. The scopes are

  ` + strings.Join(scopeNames(), " ") + "\n\nand docs/api.md says what each of them lets a key do.",
		Example: "  godwit key add billing --scope users:read --scope messages:send\n  godwit key add report --scope messages:read --expires-in 720h",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(scopes) == 0 {
				return usagef("--scope is missing: give at least one of %s", strings.Join(scopeNames(), ", "))
			}
			for _, s := range scopes {
				if !slices.Contains(scopeNames(), s) {
					return usagef("--scope is %q: give %s", s, strings.Join(scopeNames(), ", "))
				}
			}
			if lasts < 0 {
				return usagef("--expires-in is %q: give a duration above zero, for example 720h", lasts)
			}
			c, err := t.client()
			if err != nil {
				return err
			}
			ask := api.KeyRequest{Name: args[0], Scopes: slices.Compact(slices.Sorted(slices.Values(scopes)))}
			if lasts > 0 {
				ask.Expires = new(time.Now().Add(lasts).UTC())
			}
			var k api.NewKey
			if err := c.Call(cmd.Context(), http.MethodPost, "/keys", ask, &k); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			fmt.Fprintf(streams.Out, "added %s for %s\nkey %s\n", k.ID, k.Name, k.Secret)
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "`SCOPE` that the key has; several times or with commas for several")
	cmd.Flags().DurationVar(&lasts, "expires-in", 0, "how long the key lasts; 0: until it is revoked")
	t.flags(cmd)
	return cmd
}

func newKeyList(streams IO) *cobra.Command {
	var (
		t      target
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "list", Short: "List API keys, the oldest first",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			var list api.KeyList
			if err := c.Call(cmd.Context(), http.MethodGet, "/keys", nil, &list); err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(streams.Out)
				for _, k := range list.Keys {
					if err := enc.Encode(k); err != nil {
						return err
					}
				}
				return nil
			}
			w := tabwriter.NewWriter(streams.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tSTATE\tADDED\tBY\tSCOPES")
			now := time.Now()
			for _, k := range list.Keys {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, keyState(k, now), k.Added.Format(time.DateOnly), k.By, strings.Join(k.Scopes, ","))
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	t.flags(cmd)
	return cmd
}

func keyState(k api.Key, now time.Time) string {
	switch {
	case k.Revoked:
		return "revoked"
	case k.Expires != nil && !now.Before(*k.Expires):
		return "expired"
	case k.Expires != nil:
		return "until " + k.Expires.Format(time.DateOnly)
	}
	return "valid"
}

func newKeyRevoke(streams IO) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use: "revoke ID", Short: "End an API key for good",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client()
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/keys/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			fmt.Fprintf(streams.Out, "revoked %s\n", args[0])
			return nil
		},
	}
	t.flags(cmd)
	return cmd
}

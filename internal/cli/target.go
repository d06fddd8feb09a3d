package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/admin"
	"godwit/internal/config"
	"godwit/internal/datadir"
)

// target is the running server that a command talks to.
type target struct {
	data  string
	addr  string
	token string // file
}

func (t *target) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.data, "data", defaultData, "data directory `DIR` of a server on this machine: address and token are found there")
	f.Var(config.Server(&t.addr, "", 8081), "admin", "address of the admin API, instead of finding it in --data")
	f.StringVar(&t.token, "token-file", "", "`FILE` with the admin token; default: admin.token in --data")
}

// client finds the server.
func (t *target) client() (*admin.Client, error) {
	if t.addr == "" {
		if t.token != "" {
			return nil, usagef("--token-file goes with --admin: give both, or neither")
		}
		addr, token, err := datadir.FindAdmin(t.data)
		if err != nil {
			return nil, err
		}
		return admin.NewClient(addr, token), nil
	}
	token, err := datadir.ReadToken(t.tokenFile())
	if errors.Is(err, fs.ErrNotExist) && t.token == "" {
		return nil, fmt.Errorf("--admin is given and %s does not exist: give the server's admin.token with --token-file, or its --data", t.tokenFile())
	}
	if err != nil {
		return nil, err
	}
	return admin.NewClient(t.addr, token), nil
}

func (t *target) tokenFile() string {
	if t.token != "" {
		return t.token
	}
	return filepath.Join(t.data, datadir.TokenFile)
}

// secret is the bearer token, for whoever derives something from it.
func (t *target) secret() (string, error) { return datadir.ReadToken(t.tokenFile()) }

func lower(s string) string { return strings.ToLower(s) }

package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/config"
	"godwit/internal/natsconf"
)

func newCluster(streams IO) *cobra.Command {
	cmd := group("cluster", "What a cluster of NATS servers needs beside godwit", newClusterMake(streams))
	return cmd
}

func newClusterMake(streams IO) *cobra.Command {
	var (
		cfg     natsconf.Config
		servers []string
		dir     string
	)
	cmd := &cobra.Command{
		Use: "make", Short: "Make certificates, keys and configuration files for a cluster",
		Long: `Makes what a cluster needs to trust itself: an authority, a certificate for each NATS
server, a key for each role, the admin token, and a configuration file for each server in
which every role may do what its work needs and nothing else.

Each server and role has a folder in the directory with all that it needs and nothing of
the others: copy or mount that one only. A role finds in it role.nk (--nats-nkey) and ca.crt
(--nats-ca); a NATS server starts with nats-server --config nats.conf.

What is there stays, so the command may run at every start. Certificates are for two years;
one with less than half a year left is made anew by the next run, and its server takes it
when it is reloaded or restarted. To give somebody a new key, remove the old file, run this
again, and restart the servers and that role.`,
		Example: `  godwit cluster make --dir /var/lib/godwit/cluster --server nats-1 --server nats-2 --server nats-3
  godwit cluster make --dir ./cluster --server a=10.0.0.1 --server b=10.0.0.2 --server c=10.0.0.3 --seen-at /etc/godwit`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || len(servers) == 0 {
				return usagef("--dir and --server are needed, for example --dir ./cluster --server nats-1 --server nats-2 --server nats-3")
			}
			cfg.Dir = dir
			for _, s := range servers {
				name, host, _ := strings.Cut(s, "=")
				cfg.Servers = append(cfg.Servers, natsconf.Server{Name: name, Host: host})
			}
			r, err := natsconf.Make(cfg)
			if errors.Is(err, natsconf.ErrConfig) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			return printCluster(streams.Out, dir, &cfg, r)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&dir, "dir", "", "directory `DIR` for all of it")
	f.StringSliceVar(&servers, "server", nil, "NATS server `NAME[=HOST]`, once for each: its name, and the host where the others find it unless that is the name")
	f.StringSliceVar(&cfg.Names, "name", nil, "one more host `NAME` or address under which clients reach the servers, for their certificates")
	f.StringVar(&cfg.Cluster, "cluster", "godwit", "`NAME` of the NATS cluster")
	f.StringVar(&cfg.SeenAt, "seen-at", "", "where the servers find --dir, `DIR`; default: where it is")
	f.StringVar(&cfg.Store, "store", natsconf.DefaultStore, "directory `DIR` of the log at each server")
	f.Var(config.Bytes(&cfg.MaxStore, natsconf.DefaultMaxStore), "max-store", "what the log may take at each server")
	return cmd
}

// printCluster tells what was done, and what has to be done because of it.
func printCluster(w io.Writer, dir string, cfg *natsconf.Config, r natsconf.Report) error {
	var b strings.Builder
	for _, done := range []struct {
		what  string
		files []string
	}{{"made", r.Made}, {"renewed", r.Renewed}, {"changed", r.Changed}} {
		for _, f := range done.files {
			fmt.Fprintf(&b, "%-8s %s\n", done.what, f)
		}
	}
	var restart []string
	for _, s := range cfg.Servers {
		if slices.ContainsFunc(slices.Concat(r.Renewed, r.Changed), func(f string) bool { return strings.HasPrefix(f, s.Name+"/") }) {
			restart = append(restart, s.Name)
		}
	}
	if len(restart) > 0 {
		fmt.Fprintf(&b, "restart, one after the other: %s\n", strings.Join(restart, ", "))
	}
	fmt.Fprintf(&b, "%s: %d NATS servers, certificates until %s; %d files made, %d renewed, %d changed, %d kept\n",
		dir, len(cfg.Servers), r.Until.Format(time.DateOnly), len(r.Made), len(r.Renewed), len(r.Changed), len(r.Kept))
	_, err := io.WriteString(w, b.String())
	return err
}

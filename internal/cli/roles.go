package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"godwit/internal/config"
	"godwit/internal/up"
	"godwit/schema/event"
)

// role is one command of a cluster: its flags, and what runs it.
type role struct {
	cfg     up.Config
	nats    natsFlags
	logging logOptions
	check   func() error
	run     func(context.Context, up.Config) error
}

// command completes the command of a role with what all roles have.
func (r *role) command(streams IO, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(r.nats.settle(&r.cfg, true), r.check()); err != nil {
			return err
		}
		r.cfg.Out, r.cfg.Logger = streams.Out, r.logging.logger(streams.Err)
		return r.run(cmd.Context(), r.cfg)
	}
	r.nats.flags(cmd.Flags(), &r.cfg, andNeeded)
	r.logging.flags(cmd)
	return cmd
}

func (r *role) health(cmd *cobra.Command) {
	cmd.Flags().Var(config.Listen(&r.cfg.Admin, defaultAdmin), "admin", "HTTP address of health (/healthz, /readyz) and metrics")
}

func newConnector(streams IO) *cobra.Command {
	r := &role{run: up.Connector}
	r.check = func() error { return errors.Join(checkClients(&r.cfg), checkRules(&r.cfg), checkFiles(&r.cfg)) }
	cmd := &cobra.Command{
		Use: "connector", Short: "Run a connector of a cluster: it serves clients",
		Long: `Runs a connector of a cluster, which serves clients and keeps nothing. Any number may
run; more take more load. Prints one line containing "ready" when clients may connect.
SIGTERM and SIGINT drain and end it.

--contacts, --group-limit, --resume-time, --recall-time, --edit-time, --password-cost and the
limits of files have to be the same on all connectors and gateways: one file for --config may
serve them all.`,
		Example: `  godwit connector --nats tls://n1:4222,tls://n2:4222,tls://n3:4222 --advertise chat.example.org`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Advertise(&r.cfg.Advertise), "advertise", "address at which clients reach this connector; needed where no gateway has --advertise")
	f.Var(config.OptionalListen(&r.cfg.HTTP), "http", "HTTP address of sessions over WebSocket (/ws) and of the page that uses them; empty: none")
	clientFlags(f, &r.cfg)
	ruleFlags(f, &r.cfg)
	drainFlags(f, &r.cfg, defaultClusterDrain)
	f.Var(config.Advertise(&r.cfg.FileAdvertise), "file-advertise", "address of the gateways' file server that clients are told; empty: they send no files")
	fileFlags(f, &r.cfg)
	r.health(cmd)
	return r.command(streams, cmd)
}

func newProjector(streams IO) *cobra.Command {
	r := &role{run: up.Projector}
	r.check = func() error {
		if r.cfg.Standbys == 0 {
			return usagef(`--standbys is "0": give 1 or more, or -1 for all`)
		}
		return checkData(&r.cfg)
	}
	cmd := &cobra.Command{
		Use: "projector", Short: "Run a projector of a cluster: it keeps views",
		Long: `Runs a projector of a cluster, which folds the log into views, answers from them and
tells connectors what happens. Two or more share the work and stand in for each other.
What lies in --data can be deleted at any time. Prints one line containing "ready" when its
views have caught up. SIGTERM and SIGINT end it.`,
		Example: `  godwit projector --nats tls://n1:4222,tls://n2:4222,tls://n3:4222 --data /var/lib/godwit`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.cfg.DataDir, "data", defaultData, "directory `DIR` of the views; made if it is missing, locked while in use")
	f.Var(config.Int(&r.cfg.Standbys, 1, -1, 100), "standbys", "other projectors that keep each conversation view warm, to take it over at once; -1: all; the same on all projectors")
	r.health(cmd)
	return r.command(streams, cmd)
}

func newGateway(streams IO) *cobra.Command {
	var quiet pushTime
	r := &role{run: up.Gateway}
	r.check = func() error {
		r.cfg.PushQuiet, r.cfg.PushNoText = quiet.settle()
		errs := []error{checkCertificate(&r.cfg, "--https"), checkRules(&r.cfg), checkFiles(&r.cfg), checkPictures(&r.cfg)}
		if r.cfg.TokenFile == "" {
			errs = append(errs, usagef(`--token-file is "": give the file with the token of the admin API`))
		}
		return errors.Join(errs...)
	}
	cmd := &cobra.Command{
		Use: "gateway", Short: "Run a gateway of a cluster: HTTP, files, pictures, pushes",
		Long: `Runs a gateway of a cluster: it tells clients where to connect (/msg_server), has the admin
API and the server API, keeps pictures and files, and sends pushes to webhooks. Several may
run. Prints one line containing "ready" when it serves. SIGTERM and SIGINT end it.

--contacts, --group-limit, --resume-time, --recall-time, --edit-time, --password-cost and the
limits of files have to be the same on all connectors and gateways: one file for --config may
serve them all.`,
		Example: `  godwit gateway --nats tls://n1:4222,tls://n2:4222,tls://n3:4222 --token-file admin.token`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Listen(&r.cfg.HTTP, defaultHTTP), "http", "public HTTP address: the page for browsers, pictures, and GET /msg_server, which tells clients where to go")
	certificateFlags(f, &r.cfg)
	f.Var(config.Listen(&r.cfg.Admin, defaultAdmin), "admin", "HTTP address of the console, the admin API, the server API, health and metrics")
	f.StringVar(&r.cfg.TokenFile, "token-file", "", "`FILE` with the token of the admin API, the same for all gateways")
	f.Var(config.Advertise(&r.cfg.Advertise), "advertise", "address that /msg_server answers, as where a load balancer stands before the connectors; default: that of the connector with the fewest clients")
	ruleFlags(f, &r.cfg)
	f.Var(config.OptionalListen(&r.cfg.FileListen), "file-listen", "TCP address of the file server; empty: none")
	f.Var(config.Advertise(&r.cfg.FileAdvertise), "file-advertise", "address of the file server that clients are told; default: the host of --advertise, else the one listened on")
	fileFlags(f, &r.cfg)
	pictureFlags(f, &r.cfg)
	quiet.flags(f)
	return r.command(streams, cmd)
}

func newInit(streams IO) *cobra.Command {
	r := &role{run: up.Init}
	r.check = func() error {
		return errors.Join(checkStores(&r.cfg), checkRoom("snapshot-store", r.cfg.SnapshotStore), checkKeep("file-keep", r.cfg.FileKeep))
	}
	cmd := &cobra.Command{
		Use: "init", Short: "Make what a cluster's log needs at its NATS servers, or check it",
		Long: `Makes the streams and buckets of a log at the NATS servers of a cluster, and checks those
that are there. It may be run again at any time. What does not fit is refused, and the
difference said.`,
		Example: `  godwit init --nats tls://n1:4222,tls://n2:4222,tls://n3:4222 --partitions 8`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&r.cfg.Partitions, 0, 0, event.MaxPartitions), "partitions", fmt.Sprintf("conversation streams of a new log; 0: what the log has, else %d", event.DefaultPartitions))
	f.Var(config.Int(&r.cfg.Replicas, 0, 0, 5), "replicas", "servers that hold each stream that is made; 0: 3 in a cluster, else 1")
	storeFlags(f, &r.cfg)
	f.Var(config.Bytes(&r.cfg.SnapshotStore, up.DefaultSnapshotStore), "snapshot-store", "room for copies of views, with which a new projector begins")
	keepFlag(f, &r.cfg)
	f.StringVar(&r.cfg.NATSSystemNKey, "nats-system-nkey", "", "`FILE` with the seed of an nkey of the system account, to ask the servers how they write to disk")
	return r.command(streams, cmd)
}

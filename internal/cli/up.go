package cli

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"godwit/bus"
	"godwit/internal/config"
	"godwit/internal/up"
	"godwit/schema/event"
)

// The ports of the original, and the admin port beside them.
const (
	defaultListen = ":8000"
	defaultHTTP   = ":8080"
	defaultAdmin  = "127.0.0.1:8081"
	defaultData   = "./godwit-data"

	defaultFilePort = 8600

	defaultStatusLimit  = 1000
	defaultDrain        = 10 * time.Second
	defaultClusterDrain = 30 * time.Second // others take the clients
	defaultResume       = 720 * time.Hour
	defaultRecall       = 2 * time.Minute
	defaultEdit         = 15 * time.Minute
)

func newUp(streams IO) *cobra.Command {
	var (
		cfg     up.Config
		logging logOptions
		nats    natsFlags
		quiet   pushTime
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a server: everything in one process",
		Long: `Runs a whole server in one process, with the log, the views and the tokens in one
data directory. Prints one line containing "ready", with its addresses and the
durability, when clients may connect. SIGTERM and SIGINT drain and end it.`,
		Example: `  godwit up --demo
  godwit up --data /var/lib/godwit --advertise chat.example.org
  godwit up --config godwit.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Out = streams.Out
			if cfg.Demo {
				stayHome(cmd, &cfg)
			}
			if !cmd.Flags().Changed("file-listen") {
				cfg.FileListen = besideListen(cfg.Listen)
			}
			cfg.PushQuiet, cfg.PushNoText = quiet.settle()
			if err := checkUp(cmd, &cfg, &nats); err != nil {
				return err
			}
			cfg.Logger = logging.logger(streams.Err)
			return up.Run(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&cfg.DataDir, "data", defaultData, "data directory `DIR`; made if it is missing, locked while in use")
	f.Var(config.Listen(&cfg.HTTP, defaultHTTP), "http", "public HTTP address: the page for browsers and its sessions (/ws), pictures, and GET /msg_server, which tells clients where to go")
	f.Var(config.Listen(&cfg.Admin, defaultAdmin), "admin", "HTTP address of the console, the admin API, the server API, health and metrics")
	f.Var(config.Advertise(&cfg.Advertise), "advertise", "address that /msg_server answers; default: the one that a client asked at")
	clientFlags(f, &cfg)
	ruleFlags(f, &cfg)
	drainFlags(f, &cfg, defaultDrain)
	f.Var(config.OneOf(&cfg.Durability, bus.Disk, bus.Disk, bus.OS), "durability", "what an acknowledged message survives: a power loss (disk), or the end of the process (os)")
	f.Var(config.Int(&cfg.Partitions, 0, 0, event.MaxPartitions), "partitions", fmt.Sprintf("conversation streams of a new log; 0: what the log has, else %d", event.DefaultPartitions))
	f.Var(config.Bytes(&cfg.MinFree, bus.DefaultMinFree), "min-free", "free disk space below which nothing more is accepted")
	f.Var(config.OptionalListen(&cfg.FileListen), "file-listen", fmt.Sprintf("TCP address of the file server, empty for none; default: the host of --listen with port %d, or any port where that has any", defaultFilePort))
	f.Var(config.Advertise(&cfg.FileAdvertise), "file-advertise", "address of the file server that clients are told; default: the host of --advertise, else the one listened on")
	fileFlags(f, &cfg)
	pictureFlags(f, &cfg)
	storeFlags(f, &cfg)
	quiet.flags(f)
	nats.flags(f, &cfg, orEmbedded)
	logging.flags(cmd)
	f.BoolVar(&cfg.Demo, "demo", false, "make ten people who know each other and print their password; listens on loopback unless told otherwise")
	return cmd
}

// stayHome keeps a demo on this machine, where the addresses were not given.
func stayHome(cmd *cobra.Command, cfg *up.Config) {
	for name, addr := range map[string]*string{"listen": &cfg.Listen, "http": &cfg.HTTP} {
		if _, port, err := net.SplitHostPort(*addr); err == nil && !cmd.Flags().Changed(name) {
			*addr = net.JoinHostPort("127.0.0.1", port)
		}
	}
}

// besideListen is where the file server listens by itself: on the host of the clients'
// port, and on the original's port unless that port is a free one too.
func besideListen(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if port != "0" {
		port = strconv.Itoa(defaultFilePort)
	}
	return net.JoinHostPort(host, port)
}

// checkUp refuses settings that are each right and do not go together.
func checkUp(cmd *cobra.Command, cfg *up.Config, nats *natsFlags) error {
	errs := []error{checkData(cfg), checkClients(cfg), checkRules(cfg), checkFiles(cfg), checkPictures(cfg), checkStores(cfg), nats.settle(cfg, false)}
	if cfg.NATSURL != "" && (cmd.Flags().Changed("durability") || cmd.Flags().Changed("min-free")) {
		errs = append(errs, usagef("--durability and --min-free are settings of the embedded log: with --nats, set them at the NATS servers"))
	}
	return errors.Join(errs...)
}

func checkData(cfg *up.Config) error {
	if cfg.DataDir == "" {
		return usagef(`--data is "": give a directory, for example %s`, defaultData)
	}
	return nil
}

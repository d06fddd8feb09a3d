package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector"
	"godwit/connector/files"
	"godwit/connector/pictures"
	"godwit/internal/config"
	"godwit/internal/password"
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

	defaultStatusLimit = 1000
	defaultDrain       = 10 * time.Second
	defaultResume      = 720 * time.Hour
	defaultRecall      = 2 * time.Minute
	defaultEdit        = 15 * time.Minute
)

type contacts string

func newUp(streams IO) *cobra.Command {
	var (
		cfg     up.Config
		logging logOptions
		who     contacts
		nats    []string
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
			cfg.Contacts, cfg.NATSURL, cfg.Out = string(who), joinURLs(nats), streams.Out
			if cfg.Demo {
				stayHome(cmd, &cfg)
			}
			if !cmd.Flags().Changed("file-listen") {
				cfg.FileListen = besideListen(cfg.Listen)
			}
			cfg.PushQuiet, cfg.PushNoText = quiet.settle()
			if err := checkUp(cmd, &cfg); err != nil {
				return err
			}
			cfg.Logger = logging.logger(streams.Err)
			return up.Run(cmd.Context(), cfg)
		},
	}
	cfg.PasswordCost, cfg.DevicePolicy = password.DefaultCost, commands.DefaultDevicePolicy()
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&cfg.DataDir, "data", defaultData, "data directory `DIR`; made if it is missing, locked while in use")
	f.Var(config.Listen(&cfg.Listen, defaultListen), "listen", "TCP address for clients")
	f.Var(config.Listen(&cfg.HTTP, defaultHTTP), "http", "public HTTP address (GET /msg_server tells clients where to go)")
	f.Var(config.Listen(&cfg.Admin, defaultAdmin), "admin", "HTTP address of the admin API and of metrics")
	f.Var(config.Advertise(&cfg.Advertise), "advertise", "address that /msg_server answers; default: the one that a client asked at")
	f.Var(config.OptionalListen(&cfg.TLSListen), "tls-listen", "TLS address for clients; needs --tls-cert and --tls-key")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "certificate `FILE` (PEM), read again when it changes")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "private key `FILE` (PEM), read again when it changes")
	f.Var(config.OneOf(&cfg.Durability, bus.Disk, bus.Disk, bus.OS), "durability", "what an acknowledged message survives: a power loss (disk), or the end of the process (os)")
	f.Var(config.Int(&cfg.Partitions, 0, 0, event.MaxPartitions), "partitions", fmt.Sprintf("conversation streams of a new log; 0: what the log has, else %d", event.DefaultPartitions))
	f.Var(config.Bytes(&cfg.MinFree, bus.DefaultMinFree), "min-free", "free disk space below which nothing more is accepted")
	f.Var(config.Value(&cfg.PasswordCost, "MEMORY_KIB,ITERATIONS", parseCost, password.Cost.String), "password-cost", "cost of argon2id for new passwords")
	f.Var(config.OneOf(&who, "everyone", "everyone", "friends"), "contacts", "who is told of whose status")
	f.Var(config.Int(&cfg.StatusLimit, defaultStatusLimit, 1, math.MaxInt32), "status-limit", "online people above which status is no longer pushed to everyone, but answered when asked")
	f.Var(config.Value(&cfg.DevicePolicy, "POLICY", parsePolicy, commands.DevicePolicy.String), "device-policy",
		"which devices of a person exclude each other: desktop,mobile (one of each), desktop+mobile (one in all), or none")
	f.DurationVar(&cfg.DrainTimeout, "drain-timeout", defaultDrain, "how long the end may take to bring out what is under way")
	f.DurationVar(&cfg.ResumeTime, "resume-time", defaultResume, "how long a client's resume token lets it in without the password; 0: none are given")
	f.Var(config.Int(&cfg.GroupLimit, commands.DefaultGroupLimit, 1, commands.MaxGroupLimit), "group-limit", "members of a group")
	f.DurationVar(&cfg.RecallTime, "recall-time", defaultRecall, "how long after it a message may be recalled by its sender; 0: never")
	f.DurationVar(&cfg.EditTime, "edit-time", defaultEdit, "how long after it a message may be edited by its sender; 0: never")
	f.StringVar(&cfg.RecalledText, "recalled-text", connector.DefaultRecalledText, "what clients show in place of a recalled message")
	f.Var(config.OptionalListen(&cfg.FileListen), "file-listen", fmt.Sprintf("TCP address of the file server, empty for none; default: the host of --listen with port %d, or any port where that has any", defaultFilePort))
	f.Var(config.Advertise(&cfg.FileAdvertise), "file-advertise", "address of the file server that clients are told; default: the host of --advertise, else the one listened on")
	f.Var(config.Bytes(&cfg.FileMaxSize, files.DefaultMaxSize), "file-max-size", "largest file that clients may send each other")
	f.Var(config.Bytes(&cfg.FileStore, files.DefaultRoom), "file-store", "room for the files that wait to be fetched")
	f.DurationVar(&cfg.FileKeep, "file-keep", files.DefaultKeep, "how long a file waits to be fetched")
	f.Var(config.OneOf(&cfg.PictureUpload, string(pictures.Session), string(pictures.Session), string(pictures.Open), string(pictures.Off)), "picture-upload",
		"who may upload pictures: whoever is logged in from the same address or shows a token (session), everybody (open), nobody (off)")
	f.StringVar(&cfg.PictureURL, "picture-url", "", "`URL` under which clients reach the pictures; default: that of --http as they reach it")
	f.Var(config.Bytes(&cfg.PictureStore, pictures.DefaultRoom), "picture-store", "room for pictures and voice")
	f.DurationVar(&cfg.PictureKeep, "picture-keep", 0, "how long a picture is kept; 0: for ever")
	identityFlags(f, &cfg.Identity)
	quiet.flags(f)
	f.StringSliceVar(&nats, "nats", nil, "`URL` of an external NATS server, several for a cluster; default: embedded")
	f.StringVar(&cfg.NATSUser, "nats-user", "", "user at the external NATS")
	f.StringVar(&cfg.NATSPassword, "nats-password", "", "password at the external NATS; rather by GODWIT_NATS_PASSWORD")
	f.StringVar(&cfg.NATSCredentials, "nats-creds", "", "credentials `FILE` for the external NATS")
	f.StringVar(&cfg.NATSCA, "nats-ca", "", "certificates `FILE` (PEM) that the external NATS is checked against")
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

const (
	// maxResume is ten years: a token says its end in 32 bits of seconds.
	maxResume = 87_600 * time.Hour
	// maxRecalled is the longest text of recalled messages, in bytes: an answer holds a
	// thousand of them.
	maxRecalled = 200
)

// checkUp refuses settings that are each right and do not go together.
func checkUp(cmd *cobra.Command, cfg *up.Config) error {
	var errs []error
	if cfg.DataDir == "" {
		errs = append(errs, usagef(`--data is "": give a directory, for example %s`, defaultData))
	}
	if tls := []string{cfg.TLSListen, cfg.TLSCert, cfg.TLSKey}; tls[0]+tls[1]+tls[2] != "" && (tls[0] == "" || tls[1] == "" || tls[2] == "") {
		errs = append(errs, usagef("--tls-listen, --tls-cert and --tls-key go together: give all three or none"))
	}
	if cfg.FileMaxSize > math.MaxUint32 || cfg.FileMaxSize == 0 {
		errs = append(errs, usagef("--file-max-size is %s: give an amount from 1 byte to 4 GiB less one, for example 100MiB", config.FormatBytes(cfg.FileMaxSize)))
	}
	for flag, n := range map[string]uint64{"file-store": cfg.FileStore, "picture-store": cfg.PictureStore} {
		if n < 1<<20 || n > 1<<49 {
			errs = append(errs, usagef("--%s is %s: give an amount from 1 MiB to 512 TiB, for example 16GiB", flag, config.FormatBytes(n)))
		}
	}
	if cfg.FileKeep < time.Minute || cfg.PictureKeep < 0 || cfg.PictureKeep > 0 && cfg.PictureKeep < time.Minute {
		errs = append(errs, usagef("--file-keep is %q and --picture-keep %q: give a minute or more, for example 168h; 0 keeps pictures for ever", cfg.FileKeep, cfg.PictureKeep))
	}
	if u, err := url.Parse(cfg.PictureURL); cfg.PictureURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery+u.Fragment != "") {
		errs = append(errs, usagef("--picture-url is %q: give an http or https URL, for example https://pictures.example.org/", cfg.PictureURL))
	}
	if err := checkIdentity(&cfg.Identity); err != nil {
		errs = append(errs, err)
	}
	if cfg.NATSURL == "" && cfg.NATSUser+cfg.NATSPassword+cfg.NATSCredentials+cfg.NATSCA != "" {
		errs = append(errs, usagef("--nats-user, --nats-password, --nats-creds and --nats-ca are for an external NATS: give --nats as well"))
	}
	if cfg.NATSURL != "" && (cmd.Flags().Changed("durability") || cmd.Flags().Changed("min-free")) {
		errs = append(errs, usagef("--durability and --min-free are settings of the embedded log: with --nats, set them at the NATS servers"))
	}
	for flag, d := range map[string]time.Duration{"resume-time": cfg.ResumeTime, "recall-time": cfg.RecallTime, "edit-time": cfg.EditTime} {
		if d < 0 {
			errs = append(errs, usagef("--%s is %q: give a duration such as 2m, or 0", flag, d))
		}
	}
	if t := cfg.ResumeTime; t > 0 && t < time.Minute || t > maxResume {
		errs = append(errs, usagef("--resume-time is %q: give 1m to %dh, for example 720h, or 0 for none", t, maxResume/time.Hour))
	}
	if t := cfg.RecalledText; t == "" || len(t) > maxRecalled || !utf8.ValidString(t) {
		errs = append(errs, usagef("--recalled-text has %d bytes: give 1 to %d of UTF-8, for example %s", len(t), maxRecalled, connector.DefaultRecalledText))
	}
	if cfg.DrainTimeout <= 0 {
		errs = append(errs, usagef("--drain-timeout is %q: give a duration above zero, for example 10s", cfg.DrainTimeout))
	}
	return errors.Join(errs...)
}

// parseCost says the mend only: flag and value are said by whoever asks.
func parseCost(s string) (password.Cost, error) {
	c, err := password.ParseCost(s)
	if err != nil {
		return c, fmt.Errorf("give MEMORY_KIB,ITERATIONS with memory from %d to %d and iterations from %d to %d, for example %s",
			password.MinMemoryKiB, password.MaxMemoryKiB, password.MinIterations, password.MaxIterations, password.DefaultCost)
	}
	return c, nil
}

func parsePolicy(s string) (commands.DevicePolicy, error) {
	p, err := commands.ParseDevicePolicy(s)
	if err != nil {
		return nil, errors.New("give desktop,mobile or desktop+mobile or none")
	}
	return p, nil
}

func joinURLs(urls []string) string {
	joined := ""
	for _, u := range urls {
		if joined != "" {
			joined += ","
		}
		joined += u
	}
	return joined
}

type logFormat string

// logOptions are the flags of whatever logs.
type logOptions struct {
	level  slog.Level
	format logFormat
}

func (o *logOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var(config.Value(&o.level, "debug|info|warn|error", func(s string) (slog.Level, error) {
		var l slog.Level
		if err := l.UnmarshalText([]byte(s)); err != nil {
			return l, errors.New("give debug, info, warn or error")
		}
		return l, nil
	}, func(l slog.Level) string { return lower(l.String()) }), "log-level", "least level that is logged, to standard error")
	f.Var(config.OneOf(&o.format, "text", "text", "json"), "log-format", "form of the log")
}

func (o *logOptions) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: o.level}
	if o.format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

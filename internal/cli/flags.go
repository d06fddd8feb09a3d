package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/commands"
	"godwit/connector"
	"godwit/connector/files"
	"godwit/connector/pictures"
	"godwit/internal/config"
	"godwit/internal/password"
	"godwit/internal/up"
)

// Flags that several commands have stand here once, each group with what is checked of it.

// clientFlags are those of whatever lets clients in.
func clientFlags(f *pflag.FlagSet, cfg *up.Config) {
	f.Var(config.Listen(&cfg.Listen, defaultListen), "listen", "TCP address for clients")
	f.Var(config.Networks(&cfg.ProxyFrom), "proxy-from", "networks of load balancers that say who a client is: by the PROXY protocol, and over HTTP by X-Forwarded-For")
	f.StringSliceVar(&cfg.Origins, "origin", nil, "`ORIGIN` of other sites whose pages may open sessions over WebSocket, such as https://chat.example.org, or * for any; may be given several times")
	f.Var(config.OptionalListen(&cfg.TLSListen), "tls-listen", "TLS address for clients; needs --tls-cert and --tls-key")
	certificateFlags(f, cfg)
	f.Var(config.Int(&cfg.StatusLimit, defaultStatusLimit, 1, math.MaxInt32), "status-limit", "online people above which status is no longer pushed to everyone, but answered when asked")
	cfg.DevicePolicy = commands.DefaultDevicePolicy()
	f.Var(config.Value(&cfg.DevicePolicy, "POLICY", parsePolicy, commands.DevicePolicy.String), "device-policy",
		"which devices of a person exclude each other: desktop,mobile,web (one of each), desktop+web,mobile (one of desktop and web, one mobile), or none; of a class that is left out there may be many")
	f.StringVar(&cfg.RecalledText, "recalled-text", connector.DefaultRecalledText, "what clients show in place of a recalled message")
	identityFlags(f, &cfg.Identity)
}

const (
	// maxResume is ten years: a token says its end in 32 bits of seconds.
	maxResume = 87_600 * time.Hour
	// maxRecalled is the longest text of recalled messages, in bytes: an answer holds a
	// thousand of them.
	maxRecalled = 200
)

// drainFlags are those of the end of a server.
func drainFlags(f *pflag.FlagSet, cfg *up.Config, limit time.Duration) {
	f.DurationVar(&cfg.DrainTimeout, "drain-timeout", limit, "how long the end may take to see clients off and bring out what is under way")
	f.Var(config.Value(&cfg.DrainRate, "PERCENT", func(s string) (float64, error) {
		n, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
		if err != nil || n < 0 || n > 100 || n != n {
			return 0, errors.New("give a number from 0 to 100, for example 5")
		}
		return n / 100, nil
	}, func(part float64) string { return strconv.FormatFloat(part*100, 'f', -1, 64) }),
		"drain-rate", "per cent of the clients that are seen off each second; 0: what --drain-timeout needs")
}

func checkClients(cfg *up.Config) error {
	errs := []error{checkCertificate(cfg, "--tls-listen or --https")}
	for _, o := range cfg.Origins {
		if !connector.ValidOrigin(o) {
			errs = append(errs, usagef("--origin is %q: give an origin such as https://chat.example.org, or a host, or * for any", o))
		}
	}
	if t := cfg.RecalledText; t == "" || len(t) > maxRecalled || !utf8.ValidString(t) {
		errs = append(errs, usagef("--recalled-text has %d bytes: give 1 to %d of UTF-8, for example %s", len(t), maxRecalled, connector.DefaultRecalledText))
	}
	if cfg.DrainTimeout <= 0 {
		errs = append(errs, usagef("--drain-timeout is %q: give a duration above zero, for example 10s", cfg.DrainTimeout))
	}
	return errors.Join(append(errs, checkIdentity(&cfg.Identity))...)
}

// certificateFlags are those of the HTTPS port, and of the certificate that all TLS ports show.
func certificateFlags(f *pflag.FlagSet, cfg *up.Config) {
	f.Var(config.OptionalListen(&cfg.HTTPS), "https", "HTTPS address, which serves what --http does; needs --tls-cert and --tls-key; empty: none")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "certificate `FILE` (PEM), read again when it changes")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "private key `FILE` (PEM), read again when it changes")
}

// checkCertificate refuses a certificate without a port, and a port without a certificate.
func checkCertificate(cfg *up.Config, ports string) error {
	port, cert, key := cfg.TLSListen+cfg.HTTPS != "", cfg.TLSCert != "", cfg.TLSKey != ""
	if port != cert || cert != key {
		return usagef("%s, --tls-cert and --tls-key go together: give all three or none", ports)
	}
	return nil
}

// ruleFlags are the rules that connectors and gateways of a cluster must be given alike.
func ruleFlags(f *pflag.FlagSet, cfg *up.Config) {
	f.Var(config.OneOf(&cfg.Contacts, "everyone", "everyone", "friends"), "contacts", "who is told of whose status")
	f.Var(config.Int(&cfg.GroupLimit, commands.DefaultGroupLimit, 1, commands.MaxGroupLimit), "group-limit", "members of a group")
	f.DurationVar(&cfg.ResumeTime, "resume-time", defaultResume, "how long a client's resume token lets it in without the password; 0: none are given")
	f.DurationVar(&cfg.RecallTime, "recall-time", defaultRecall, "how long after it a message may be recalled by its sender; 0: never")
	f.DurationVar(&cfg.EditTime, "edit-time", defaultEdit, "how long after it a message may be edited by its sender; 0: never")
	cfg.PasswordCost = password.DefaultCost
	f.Var(config.Value(&cfg.PasswordCost, "MEMORY_KIB,ITERATIONS", parseCost, password.Cost.String), "password-cost", "cost of argon2id for new passwords")
}

func checkRules(cfg *up.Config) error {
	var errs []error
	if t := cfg.ResumeTime; t < 0 || t > 0 && t < time.Minute || t > maxResume {
		errs = append(errs, usagef("--resume-time is %q: give 1m to %dh, for example 720h, or 0 for none", t, maxResume/time.Hour))
	}
	for flag, d := range map[string]time.Duration{"recall-time": cfg.RecallTime, "edit-time": cfg.EditTime} {
		if d < 0 {
			errs = append(errs, usagef("--%s is %q: give a duration such as 2m, or 0", flag, d))
		}
	}
	return errors.Join(errs...)
}

// fileFlags are those of the files that clients send each other.
func fileFlags(f *pflag.FlagSet, cfg *up.Config) {
	f.Var(config.Bytes(&cfg.FileMaxSize, files.DefaultMaxSize), "file-max-size", "largest file that clients may send each other")
	keepFlag(f, cfg)
}

func keepFlag(f *pflag.FlagSet, cfg *up.Config) {
	f.DurationVar(&cfg.FileKeep, "file-keep", files.DefaultKeep, "how long a file waits to be fetched")
}

func checkFiles(cfg *up.Config) error {
	var errs []error
	if cfg.FileMaxSize > math.MaxUint32 || cfg.FileMaxSize == 0 {
		errs = append(errs, usagef("--file-max-size is %s: give an amount from 1 byte to 4 GiB less one, for example 100MiB", config.FormatBytes(cfg.FileMaxSize)))
	}
	return errors.Join(append(errs, checkKeep("file-keep", cfg.FileKeep))...)
}

// storeFlags are those of what files and pictures lie in.
func storeFlags(f *pflag.FlagSet, cfg *up.Config) {
	f.Var(config.Bytes(&cfg.FileStore, files.DefaultRoom), "file-store", "room for the files that wait to be fetched")
	f.Var(config.Bytes(&cfg.PictureStore, pictures.DefaultRoom), "picture-store", "room for pictures and voice")
	f.DurationVar(&cfg.PictureKeep, "picture-keep", 0, "how long a picture is kept; 0: for ever")
}

func checkStores(cfg *up.Config) error {
	errs := []error{checkRoom("file-store", cfg.FileStore), checkRoom("picture-store", cfg.PictureStore)}
	if cfg.PictureKeep != 0 {
		errs = append(errs, checkKeep("picture-keep", cfg.PictureKeep))
	}
	return errors.Join(errs...)
}

// pictureFlags are those of who may do what with pictures.
func pictureFlags(f *pflag.FlagSet, cfg *up.Config) {
	f.Var(config.OneOf(&cfg.PictureUpload, string(pictures.Session), string(pictures.Session), string(pictures.Open), string(pictures.Off)), "picture-upload",
		"who may upload pictures: whoever is logged in from the same address or shows a token (session), everybody (open), nobody (off)")
	f.StringVar(&cfg.PictureURL, "picture-url", "", "`URL` under which clients reach the pictures; default: that of --http as they reach it")
}

func checkPictures(cfg *up.Config) error {
	if u, err := url.Parse(cfg.PictureURL); cfg.PictureURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery+u.Fragment != "") {
		return usagef("--picture-url is %q: give an http or https URL, for example https://pictures.example.org/", cfg.PictureURL)
	}
	return nil
}

func checkRoom(flag string, n uint64) error {
	if n < 1<<20 || n > 1<<49 {
		return usagef("--%s is %s: give an amount from 1 MiB to 512 TiB, for example 16GiB", flag, config.FormatBytes(n))
	}
	return nil
}

func checkKeep(flag string, d time.Duration) error {
	if d < time.Minute {
		return usagef("--%s is %q: give a minute or more, for example 168h", flag, d)
	}
	return nil
}

// natsFlags are those of the external NATS.
type natsFlags struct{ urls []string }

func (n *natsFlags) flags(f *pflag.FlagSet, cfg *up.Config, without string) {
	f.StringSliceVar(&n.urls, "nats", nil, "`URL` of an external NATS server, several for a cluster; "+without)
	f.StringVar(&cfg.NATSUser, "nats-user", "", "user at the external NATS")
	f.StringVar(&cfg.NATSPassword, "nats-password", "", "password at the external NATS; rather by GODWIT_NATS_PASSWORD")
	f.StringVar(&cfg.NATSCredentials, "nats-creds", "", "credentials `FILE` for the external NATS")
	f.StringVar(&cfg.NATSNKey, "nats-nkey", "", "`FILE` with the seed of the nkey that the external NATS knows this process by")
	f.StringVar(&cfg.NATSCA, "nats-ca", "", "certificates `FILE` (PEM) that the external NATS is checked against")
	f.StringVar(&cfg.NATSCert, "nats-cert", "", "certificate `FILE` (PEM) that is shown to the external NATS")
	f.StringVar(&cfg.NATSKey, "nats-key", "", "private key `FILE` (PEM) of --nats-cert")
}

// Where there may be an embedded log, and where not.
const (
	orEmbedded = "default: embedded"
	andNeeded  = "needed"
)

// settle puts the URLs where they belong, and refuses settings that don't go together.
func (n *natsFlags) settle(cfg *up.Config, needed bool) error {
	cfg.NATSURL = strings.Join(n.urls, ",")
	ways := 0
	for _, way := range []string{cfg.NATSUser, cfg.NATSCredentials, cfg.NATSNKey} {
		if way != "" {
			ways++
		}
	}
	switch {
	case cfg.NATSURL == "" && needed:
		return usagef("--nats is not given: give the URL of each NATS server, for example --nats nats://127.0.0.1:4222")
	case cfg.NATSURL == "" && cfg.NATSUser+cfg.NATSPassword+cfg.NATSCredentials+cfg.NATSNKey+cfg.NATSCA+cfg.NATSCert+cfg.NATSKey != "":
		return usagef("--nats-user and all others that begin with --nats- are for an external NATS: give --nats as well")
	case ways > 1:
		return usagef("of --nats-user, --nats-creds and --nats-nkey only one can be used: give one of them")
	case cfg.NATSUser == "" && cfg.NATSPassword != "":
		return usagef("--nats-password is given without --nats-user: give both")
	case (cfg.NATSCert == "") != (cfg.NATSKey == ""):
		return usagef("--nats-cert and --nats-key go together: give both or none")
	}
	return nil
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
		return nil, errors.New("give groups of desktop, mobile and web, such as desktop,mobile,web or desktop+web,mobile, or none")
	}
	return p, nil
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

// Package natsconf makes what a cluster needs to trust itself: certificates for the NATS
// servers, a key for every role, and a configuration file for every server in which each
// role may do what its work needs and nothing else.
//
// Everything lies in one directory, with one folder for each who needs something of it. A
// folder holds all that its owner needs and nothing of anybody else's, so it can be copied
// or mounted alone:
//
//	ca/         the certificate authority and the password of the routes: secret of Make
//	NAME/       one for each NATS server: nats.conf, server.crt, server.key, ca.crt
//	connector/  role.nk, ca.crt
//	projector/  role.nk, ca.crt
//	gateway/    role.nk, ca.crt, admin.token
//	init/       role.nk, ca.crt, system.nk
//
// Secrets are made once and stay. The rest follows from them and from what is asked for:
// it is written anew where it differs.
package natsconf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/gofrs/flock"
)

// The files of a folder.
const (
	ConfigFile    = "nats.conf"
	ServerCert    = "server.crt"
	ServerKey     = "server.key"
	CAFile        = "ca.crt"
	RoleKey       = "role.nk"
	SystemKey     = "system.nk"
	TokenFile     = "admin.token"
	caFolder      = "ca"
	caKey         = "ca.key"
	routePassword = "route.password"
	lockFile      = "lock"
)

// Ports of a NATS server; the monitor is reached on its own machine only.
const (
	ClientPort  = 4222
	RoutePort   = 6222
	MonitorPort = 8222
)

// What a NATS server may keep, where nothing else is said. The limit of the store is no
// reservation: it is above any disk, because a server that guesses it from the free space
// guesses less at every start.
const (
	DefaultStore     = "/data"
	DefaultMaxStore  = 1 << 50
	DefaultMaxMemory = 256 << 20
)

// ErrConfig is wrapped by the refusal of a Config.
var ErrConfig = errors.New("bad cluster")

// Server is one NATS server.
type Server struct {
	Name string // of the server and of its folder
	Host string // name or address at which clients and the other servers reach it; default Name
}

// Config says what to make. The zero value of a field means its default.
type Config struct {
	Dir       string
	Servers   []Server // at least one; three for a log that outlives the loss of one
	Names     []string // more names and addresses of every server, for its certificate
	Cluster   string   // name of the NATS cluster, default "godwit"
	SeenAt    string   // where the servers find Dir, default Dir itself
	Store     string   // directory of the streams, as a server sees it; default DefaultStore
	MaxStore  uint64   // bytes that the streams of a server may take, default DefaultMaxStore
	MaxMemory uint64   // bytes of what a server keeps in memory for streams, default DefaultMaxMemory

	Now func() time.Time // default time.Now
}

// Report tells what Make did, each in the order in which it was done: names of files
// below Config.Dir.
type Report struct {
	Made    []string
	Changed []string // derived files that were no longer as they should be
	Renewed []string // certificates near their end, or for other names than now
	Kept    []string
	// Until is when the first of the certificates ends.
	Until time.Time
}

var folderName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (c *Config) complete() error {
	if c.Dir == "" {
		return fmt.Errorf("%w: no directory", ErrConfig)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("%w: directory %s: %w", ErrConfig, c.Dir, err)
	}
	c.Dir = dir
	if len(c.Servers) == 0 {
		return fmt.Errorf("%w: no server", ErrConfig)
	}
	taken := []string{caFolder}
	for _, r := range roles {
		taken = append(taken, r.folder)
	}
	c.Servers = slices.Clone(c.Servers)
	for i := range c.Servers {
		s := &c.Servers[i]
		if !folderName.MatchString(s.Name) {
			return fmt.Errorf("%w: server %q: a name has letters, digits, dots, dashes and underscores", ErrConfig, s.Name)
		}
		if slices.Contains(taken, s.Name) {
			return fmt.Errorf("%w: server %q: the name is taken", ErrConfig, s.Name)
		}
		taken = append(taken, s.Name)
		if s.Host == "" {
			s.Host = s.Name
		}
		if err := checkHost(s.Host); err != nil {
			return err
		}
	}
	for _, n := range c.Names {
		if err := checkHost(n); err != nil {
			return err
		}
	}
	if c.Cluster == "" {
		c.Cluster = "godwit"
	}
	if !folderName.MatchString(c.Cluster) {
		return fmt.Errorf("%w: cluster %q: a name has letters, digits, dots, dashes and underscores", ErrConfig, c.Cluster)
	}
	if c.SeenAt == "" {
		c.SeenAt = c.Dir
	}
	if c.Store == "" {
		c.Store = DefaultStore
	}
	if c.MaxStore == 0 {
		c.MaxStore = DefaultMaxStore
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?$`)

func checkHost(host string) error {
	if net.ParseIP(host) == nil && !hostName.MatchString(host) {
		return fmt.Errorf("%w: %q is neither a host name nor an address", ErrConfig, host)
	}
	return nil
}

// Make makes what is missing, leaves what is there, and says which was which. It may be
// run again at any time, also after a run that was cut off; two at once wait for each other.
func Make(cfg Config) (Report, error) {
	if err := cfg.complete(); err != nil {
		return Report{}, err
	}
	m := &maker{cfg: cfg, now: cfg.Now()}
	if err := m.run(); err != nil {
		return Report{}, fmt.Errorf("cluster in %s: %w", cfg.Dir, err)
	}
	return m.report, nil
}

type maker struct {
	cfg    Config
	now    time.Time
	report Report
}

func (m *maker) run() (err error) {
	folder := filepath.Join(m.cfg.Dir, caFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(folder, lockFile), flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()

	ca, err := m.authority()
	if err != nil {
		return err
	}
	route, err := m.secret(caFolder, routePassword, randomText)
	if err != nil {
		return err
	}
	users, system, err := m.keys()
	if err != nil {
		return err
	}
	for _, r := range roles {
		if err := m.derived(r.folder, CAFile, ca.pem, 0o644); err != nil {
			return err
		}
	}
	if _, err := m.secret(gatewayFolder, TokenFile, randomText); err != nil {
		return err
	}
	for _, s := range m.cfg.Servers {
		if err := m.derived(s.Name, CAFile, ca.pem, 0o644); err != nil {
			return err
		}
		if err := m.certificate(ca, s); err != nil {
			return err
		}
		if err := m.derived(s.Name, ConfigFile, m.config(s, route, users, system), 0o600); err != nil {
			return err
		}
	}
	return nil
}

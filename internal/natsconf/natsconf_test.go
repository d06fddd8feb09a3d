package natsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/schema/event"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

var three = []Server{{Name: "nats-1"}, {Name: "nats-2"}, {Name: "nats-3"}}

func makeIn(t *testing.T, cfg Config) Report {
	t.Helper()
	r, err := Make(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// files are all files below dir with their text.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestASecondRunChangesNothing(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Servers: three}
	first := makeIn(t, cfg)
	before := files(t, dir)
	second := makeIn(t, cfg)
	if n := len(second.Made) + len(second.Changed) + len(second.Renewed); n != 0 || len(second.Kept) == 0 {
		t.Errorf("the second run: %+v", second)
	}
	if len(first.Kept)+len(first.Changed)+len(first.Renewed) != 0 || len(first.Made) != len(second.Kept) {
		t.Errorf("the first run: %+v, the second kept %v", first, second.Kept)
	}
	after := files(t, dir)
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s has changed", name)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, were %d", len(after), len(before))
	}
}

// Whatever a run that was cut off has left, the next one makes whole, and no secret changes.
func TestARunMakesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Servers: three}
	makeIn(t, cfg)
	whole := files(t, dir)
	for name := range whole {
		if name == filepath.Join(caFolder, lockFile) || name == filepath.Join(caFolder, caKey) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		makeIn(t, cfg)
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s was removed and is not made again: %v", name, err)
		}
		if name == filepath.Join(caFolder, CAFile) {
			checkChains(t, dir) // all of them belong to the new authority
		}
	}
	if err := os.Remove(filepath.Join(dir, caFolder, caKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(cfg); err == nil {
		t.Error("an authority without its key is taken for one")
	}
}

func checkChains(t *testing.T, dir string) {
	t.Helper()
	for _, s := range three {
		ca, _, err := readCertificate(filepath.Join(dir, s.Name, CAFile))
		if err != nil {
			t.Fatal(err)
		}
		cert, _, err := readCertificate(filepath.Join(dir, s.Name, ServerCert))
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.CheckSignatureFrom(ca); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
}

func TestNobodyElseMayReadASecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	makeIn(t, Config{Dir: dir, Servers: three})
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		public := strings.HasSuffix(path, ".crt")
		if mode := info.Mode().Perm(); mode&0o077 != 0 && !public {
			t.Errorf("%s has mode %04o", path, mode)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCertificatesAreRenewedInTime(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	cfg := Config{Dir: dir, Servers: three, Now: func() time.Time { return now }}
	r := makeIn(t, cfg)
	if want := now.Add(certificateLife); !r.Until.Equal(want) {
		t.Errorf("until %s, want %s", r.Until, want)
	}
	key := files(t, dir)["nats-1/"+ServerKey]
	now = r.Until.Add(-RenewBefore - time.Hour)
	if r = makeIn(t, cfg); len(r.Renewed) != 0 {
		t.Errorf("renewed too early: %v", r.Renewed)
	}
	now = now.Add(2 * time.Hour)
	if r = makeIn(t, cfg); len(r.Renewed) != len(three) || len(r.Made)+len(r.Changed) != 0 {
		t.Errorf("near the end: %+v", r)
	}
	if want := now.Add(certificateLife); !r.Until.Equal(want) || files(t, dir)["nats-1/"+ServerKey] == key {
		t.Errorf("renewed until %s, want %s and a new key", r.Until, want)
	}
	// Other names than now need another certificate, at once.
	cfg.Names = []string{"logs.example.org", "192.0.2.7"}
	if r = makeIn(t, cfg); len(r.Renewed) != len(three) {
		t.Errorf("with more names: %+v", r)
	}
	cert, _, err := readCertificate(filepath.Join(dir, "nats-2", ServerCert))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nats-2", "localhost", "127.0.0.1", "logs.example.org", "192.0.2.7"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if cert.VerifyHostname("nats-1") == nil {
		t.Error("a server's certificate is good for another server")
	}
	// The authority's own end is said, not mended in silence.
	now = now.Add(authorityLife)
	if _, err := Make(cfg); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("an authority that has ended: %v", err)
	}
}

func TestWhatIsAskedForIsChecked(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no directory":       {Servers: three},
		"no server":          {Dir: "x"},
		"twice":              {Dir: "x", Servers: []Server{{Name: "a"}, {Name: "a"}}},
		"a role's folder":    {Dir: "x", Servers: []Server{{Name: "gateway"}}},
		"outside the folder": {Dir: "x", Servers: []Server{{Name: "../a"}}},
		"no host":            {Dir: "x", Servers: []Server{{Name: "a", Host: "b c"}}},
		"no name":            {Dir: "x", Servers: three, Names: []string{`"`}},
		"no cluster":         {Dir: "x", Servers: three, Cluster: "a b"},
	} {
		if _, err := Make(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// cluster starts the servers from the very files; only what belongs to the machine is
// another: addresses of loopback, and where the streams lie.
type cluster struct {
	dir     string
	port    int
	servers []*server.Server
	urls    []string
}

func start(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir()}
	hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	var list []Server
	for i, h := range hosts {
		list = append(list, Server{Name: three[i].Name, Host: h})
	}
	makeIn(t, Config{Dir: c.dir, Servers: list})
	ports := freePorts(t, hosts, 2)
	for i, s := range list {
		o, err := server.ProcessConfigFile(filepath.Join(c.dir, s.Name, ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		if o.StoreDir != DefaultStore || !o.SyncAlways || o.Port != ClientPort || o.Cluster.Port != RoutePort {
			t.Errorf("%s: store %s, sync always %t, ports %d and %d", s.Name, o.StoreDir, o.SyncAlways, o.Port, o.Cluster.Port)
		}
		o.Host, o.Port, o.HTTPPort, o.StoreDir, o.NoSigs, o.NoLog = s.Host, ports[0], 0, t.TempDir(), true, true
		o.Cluster.Host, o.Cluster.Port = s.Host, ports[1]
		for _, r := range o.Routes {
			r.Host = net.JoinHostPort(r.Hostname(), fmt.Sprint(ports[1]))
		}
		srv, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		go srv.Start()
		t.Cleanup(func() {
			srv.Shutdown()
			srv.WaitForShutdown()
		})
		c.servers = append(c.servers, srv)
		c.urls = append(c.urls, fmt.Sprintf("tls://%s:%d", hosts[i], ports[0]))
	}
	c.port = ports[1]
	eventually(t, "the cluster is one, with a leader", func() bool {
		for _, s := range c.servers {
			if s.NumRoutes() == 0 || !s.JetStreamIsCurrent() {
				return false
			}
		}
		return slices.ContainsFunc(c.servers, (*server.Server).JetStreamIsLeader)
	})
	return c
}

// freePorts finds ports that are free on all hosts, and none of those that the system gives to whoever asks for any.
func freePorts(t *testing.T, hosts []string, n int) []int {
	t.Helper()
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range 100 {
		port, free := 15_000+rand.IntN(15_000), true
		for _, h := range hosts {
			l, err := net.Listen("tcp", net.JoinHostPort(h, fmt.Sprint(port)))
			if err != nil {
				free = false
				break
			}
			held = append(held, l)
		}
		if !free {
			continue
		}
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Skip("this machine has no loopback addresses beside 127.0.0.1")
	return nil
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (c *cluster) connect(folder, key string, options ...nats.Option) (*nats.Conn, error) {
	id, err := nats.NkeyOptionFromSeed(filepath.Join(c.dir, folder, key))
	if err != nil {
		return nil, err
	}
	options = append([]nats.Option{id, nats.RootCAs(filepath.Join(c.dir, folder, CAFile)), nats.NoReconnect()}, options...)
	return nats.Connect(strings.Join(c.urls, ","), options...)
}

func TestThreeServersFromTheseFilesAreOneCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	c := start(t)

	// The role that makes the log makes it, on three servers; the others find it so.
	open := func(r role) (*bus.Bus, error) {
		return bus.Open(t.Context(), bus.Config{
			URL: strings.Join(c.urls, ","), NKeyFile: filepath.Join(c.dir, r.folder, RoleKey), CAFile: filepath.Join(c.dir, r.folder, CAFile),
			Role: r.bus, CheckOnly: r.bus != bus.RoleInit, Partitions: 1,
		})
	}
	backwards := slices.Clone(roles)
	slices.Reverse(backwards) // init stands last and comes first
	for _, r := range backwards {
		b, err := open(r)
		if err != nil {
			t.Fatalf("%s: %v", r.folder, err)
		}
		if n, err := b.LastSequence(t.Context(), event.People); err != nil || n != 1 {
			t.Errorf("%s: PEOPLE ends at %d, %v", r.folder, n, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	// A key is good for its own role only: nobody else's answers come in by it.
	wrong := role{folder: "connector", bus: bus.RoleInit}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if b, err := bus.Open(ctx, bus.Config{
		URL: c.urls[0], NKeyFile: filepath.Join(c.dir, wrong.folder, RoleKey), CAFile: filepath.Join(c.dir, wrong.folder, CAFile), Role: wrong.bus,
	}); err == nil {
		_ = b.Close()
		t.Error("with a connector's key the log can be made")
	}

	// The key of the system account shows how the servers are set, and nothing more.
	sys, err := c.connect(initFolder, SystemKey)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	m, err := sys.Request("$SYS.REQ.SERVER.PING.VARZ", nil, time.Minute)
	if err != nil || !strings.Contains(string(m.Data), `"sync_always":true`) {
		t.Errorf("asked for the settings: %v %s", err, m.Data)
	}
	if m, err := sys.Request("$SYS.REQ.SERVER."+c.servers[0].ID()+".RELOAD", nil, time.Second); err == nil {
		t.Errorf("the system key reloads a server: %s", m.Data)
	}

	t.Run("nobody else gets in", func(t *testing.T) {
		stranger := t.TempDir()
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stranger, RoleKey), seed, 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := nats.NkeyOptionFromSeed(filepath.Join(stranger, RoleKey))
		if err != nil {
			t.Fatal(err)
		}
		for name, o := range map[string][]nats.Option{"a wrong key": {id}, "no key": {nats.Nkey("", nil)}} {
			o = append(o, nats.RootCAs(filepath.Join(c.dir, initFolder, CAFile)), nats.NoReconnect())
			if nc, err := nats.Connect(c.urls[0], o...); err == nil {
				nc.Close()
				t.Errorf("%s is let in", name)
			}
		}
		// A right key does not trust a server with another authority's certificate.
		makeIn(t, Config{Dir: stranger, Servers: three})
		if nc, err := c.connect(initFolder, RoleKey, func(o *nats.Options) error {
			o.TLSConfig, o.RootCAsCB = nil, nil
			return nats.RootCAs(filepath.Join(stranger, initFolder, CAFile))(o)
		}); err == nil {
			nc.Close()
			t.Error("a server is trusted without a certificate of the authority")
		}
		// A route needs a certificate of the authority, and the password as well.
		own, err := tls.LoadX509KeyPair(filepath.Join(stranger, "nats-1", ServerCert), filepath.Join(stranger, "nats-1", ServerKey))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "nats-1", ServerCert), filepath.Join(c.dir, "nats-1", ServerKey))
		if err != nil {
			t.Fatal(err)
		}
		for name, o := range map[string]struct {
			cert     tls.Certificate
			password string
		}{
			"another authority's certificate": {own, routeSecret(t, c.dir)},
			"a wrong password":                {ours, "guessed"},
		} {
			if joins(t, c, o.cert, o.password, 4*time.Second) {
				t.Errorf("a server with %s joins the cluster", name)
			}
		}
		if !joins(t, c, ours, routeSecret(t, c.dir), time.Minute) {
			t.Error("a server with certificate and password does not join, so the refusals prove nothing")
		}
	})
}

func routeSecret(t *testing.T, dir string) string {
	t.Helper()
	return strings.TrimSpace(files(t, filepath.Join(dir, caFolder))[routePassword])
}

// joins tells whether one more server becomes part of the cluster in time.
func joins(t *testing.T, c *cluster, cert tls.Certificate, password string, in time.Duration) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, caFolder, CAFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	srv, err := server.NewServer(&server.Options{
		ServerName: "stranger", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{
			Name: "godwit", Host: "127.0.0.1", Port: server.RANDOM_PORT,
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, MinVersion: tls.VersionTLS13}, TLSTimeout: 5,
		},
		Routes: []*url.URL{{Scheme: "nats-route", User: url.UserPassword(routeUser, password), Host: fmt.Sprintf("127.0.0.1:%d", c.port)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	// One that is refused has a route for a moment, until its password has been looked at.
	lasted := 0
	for deadline := time.Now().Add(in); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if lasted++; srv.NumRoutes() == 0 {
			lasted = 0
		}
		if lasted == 40 {
			return true
		}
	}
	return false
}

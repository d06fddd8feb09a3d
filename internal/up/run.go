package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"godwit/bus"
	"godwit/connector"
	"godwit/connector/delivery"
	"godwit/connector/pictures"
	"godwit/connector/webhook"
	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/datadir"
	"godwit/internal/password"
	"godwit/internal/watch"
	"godwit/projections/owner"
	"godwit/schema/query"
)

// connectLimit bounds the opening of an external log. An embedded one takes as long
// as it takes to read, and views as long as they have to be replayed.
const connectLimit = 2 * time.Minute

// tellEvery is how often a long start says how far it is.
const tellEvery = 10 * time.Second

// Run brings a whole godwit up and serves until ctx ends; then it drains and
// returns nil. Errors before the ready line are the operator's to mend.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	log := cfg.Logger
	raiseFileLimit(log)
	tuneCollector()
	provider, err := openIdentity(cfg)
	if err != nil {
		return err
	}
	dir, err := datadir.Open(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	token, err := dir.Token()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir.Views(), 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}

	// Ports first: an address that is taken is told before the log is touched.
	if err := tryClients(cfg); err != nil {
		return err
	}
	public, err := listen("http", cfg.HTTP)
	if err != nil {
		return err
	}
	defer public.Close()
	private, err := listen("admin", cfg.Admin)
	if err != nil {
		return err
	}
	defer private.Close()
	var fileListener net.Listener
	if cfg.FileListen != "" {
		if fileListener, err = listen("file-listen", cfg.FileListen); err != nil {
			return err
		}
		defer fileListener.Close()
	}

	opening := ctx
	if cfg.NATSURL != "" {
		limited, cancel := context.WithTimeout(ctx, connectLimit)
		defer cancel()
		opening = limited
	}
	b, err := bus.Open(opening, cfg.log(dir, log.With("part", "bus")))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	owners, err := owner.Open(opening, owner.Config{Bus: b, Dir: dir.Views(), Logger: log.With("part", "owner")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, owners.Close()) }()

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	hasher, err := password.NewHasher(cfg.PasswordCost)
	if err != nil {
		return err
	}
	var srv *connector.Server
	fileServer, err := openFiles(opening, cfg, b, fileListener, func(ctx context.Context, user uint32) (bool, error) { return srv.MayLogIn(ctx, user) }, registry)
	if err != nil {
		return err
	}
	srv, err = connector.New(provider.offered(fileServer.offered(connectorConfig(cfg, hasher, b, registry))))
	if err != nil {
		return err
	}
	node, err := delivery.New(delivery.Config{
		Bus: b, Handler: srv.Handler(), Advertise: cfg.Advertise, Logger: log.With("part", "node")})
	if err != nil {
		return err
	}
	p := &process{cfg: cfg, bus: b, owners: owners, node: node, srv: srv, log: log, started: time.Now(), http: public.Addr().String(), files: fileServer}
	registerMetrics(registry, p)
	people := admin.NewPeople(node, hasher)
	serverAPI, err := api.New(api.Config{
		Node: node, Log: b, Partitions: b.Partitions(), Hasher: hasher, Token: token, Version: Version(),
		GroupLimit: cfg.GroupLimit, FriendsOnly: cfg.Contacts == string(connector.Friends), Logger: log.With("part", "api"),
		BeginWebhook: func(ctx context.Context, id string) error { return webhook.Begin(ctx, b, id) }})
	if err != nil {
		return err
	}

	pushes, err := webhook.New(webhook.Config{
		Bus: b, Node: node, Quiet: cfg.PushQuiet, NoText: cfg.PushNoText, Logger: log.With("part", "webhook"), Registerer: registry})
	if err != nil {
		return err
	}
	store, err := openPictures(opening, cfg, b, srv, serverAPI, registry)
	if err != nil {
		return err
	}

	p.pictures, p.pushes = store, pushes

	run := newStages()
	defer func() { err = errors.Join(err, run.stop()) }()
	run.start("owner", owners.Run)
	run.start("node", node.Run)
	run.start("watch", func(ctx context.Context) error { return watch.Run(ctx, b, node, log.With("part", "watch")) })
	run.start("admin", serveHTTP(private, adminConnections, 0, admin.NewHandler(admin.Config{
		People: people, Server: p, Token: token, API: serverAPI,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Logger: log.With("part", "admin")})))
	if err := dir.PublishAdmin(private.Addr()); err != nil {
		return err
	}
	if err := p.awaitStart(ctx, run.failed); err != nil || ctx.Err() != nil {
		return err
	}
	if err := watch.Succeed(ctx, node, p.predecessor); err != nil {
		return err
	}
	if cfg.Demo {
		if err := demo(ctx, dir.Path(), people, cfg.Out); err != nil {
			return err
		}
	}
	provider.start(run)
	run.start("connector", func(ctx context.Context) error { return srv.Run(ctx, node) })
	select {
	case <-srv.Listening():
	case err := <-run.failed:
		return err
	}
	fileServer.start(run)
	run.start("webhook", pushes.Run)
	run.start("http", serveHTTP(public, publicConnections, publicPerAddress, publicPort(
		&connector.Discovery{Server: srv, Advertise: cfg.Advertise, MSFS: cfg.PictureURL, Pictures: true}, store)))
	fmt.Fprintln(cfg.Out, p.readyLine(private.Addr().String()))
	log.Info("ready", "version", Version(), "durability", b.DurabilityText(), "log", b.LogID())
	select {
	case <-ctx.Done():
		log.Info("draining")
		return nil
	case err := <-run.failed:
		return err
	}
}

// awaitStart waits until the node has started, and says how far the views are.
func (p *process) awaitStart(ctx context.Context, failed <-chan error) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.node.Started():
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, s := range p.bus.Streams() {
			v := p.owners.View(s)
			if last, err := p.bus.LastSequence(ctx, s); err == nil && v.Folded() < last {
				p.log.Info("replaying", "view", v.Name(), "seq", v.Folded(), "of", last)
			}
		}
	}
}

// raiseFileLimit lifts the soft limit of open files to the hard one: each session
// is one.
func raiseFileLimit(log *slog.Logger) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur >= l.Max {
		return
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		log.Warn("limit of open files not raised", "err", err)
	}
}

// gcPercent lets the heap grow by half before it is collected. Most of what this
// process holds is idle sessions: their memory matters more than the tenth of the
// processor time that this costs under full load (docs/performance.md).
const gcPercent = 50

// tuneCollector leaves the operator's own GOGC alone.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// process is what the admin API asks about.
type process struct {
	cfg     Config
	bus     *bus.Bus
	owners  *owner.Process
	node    *delivery.Node
	srv     *connector.Server
	log     *slog.Logger
	started time.Time
	http    string
	files   *fileRole
	// Set before the admin port is served.
	pictures *pictures.Handler
	pushes   *webhook.Sender

	replaying sync.Mutex
}

// predecessor tells whether a life can only be one of this process's own past: with
// an embedded log, whose directory is locked, every other one.
func (p *process) predecessor(l *query.Life) bool {
	if p.cfg.NATSURL == "" {
		return true
	}
	host, err := os.Hostname()
	return err == nil && l.Node == host && l.Advertise == p.cfg.Advertise
}

func (p *process) readyLine(adminAddr string) string {
	reach := "all-interfaces"
	if host, _, err := net.SplitHostPort(p.srv.Addr().String()); err == nil {
		switch ip := net.ParseIP(host); {
		case ip.IsLoopback():
			reach = "loopback-only"
		case !ip.IsUnspecified():
			reach = "one-address"
		}
	}
	durability := string(p.cfg.Durability)
	if p.cfg.NATSURL != "" {
		durability = "external"
	}
	line := fmt.Sprintf("ready clients=%s http=%s admin=%s durability=%s reach=%s", p.srv.Addr(), p.http, adminAddr, durability, reach)
	if a := p.srv.TLSAddr(); a != nil {
		line += " tls=" + a.String()
	}
	if p.files != nil {
		line += " files=" + p.files.ln.Addr().String()
	}
	return line
}

// Ready is nil while clients are served and the views keep up.
func (p *process) Ready(context.Context) error {
	return errors.Join(p.bus.Healthy(), p.owners.Ready(), p.node.Ready())
}

// Status gathers what there is to say about the process.
func (p *process) Status(ctx context.Context) (admin.Status, error) {
	st := admin.Status{
		Version: Version(), PID: os.Getpid(), Started: p.started, Durability: p.bus.DurabilityText(),
		Listen: p.srv.Addr().String(), HTTP: p.http, Log: p.bus.LogID().String(), Partitions: p.bus.Partitions(),
		Sessions: p.srv.Sessions(), Contacts: p.cfg.Contacts,
	}
	if a := p.srv.TLSAddr(); a != nil {
		st.TLSListen = a.String()
	}
	if err := p.Ready(ctx); err != nil {
		st.NotReady = err.Error()
	} else {
		st.Ready = true
	}
	for _, s := range p.bus.Streams() {
		v := p.owners.View(s)
		last, err := p.bus.LastSequence(ctx, s)
		if err != nil {
			return st, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
		}
		st.Streams = append(st.Streams, admin.StreamStatus{Name: s.String(), Last: last, View: v.Name(), Folded: v.Folded(), Committed: v.Committed()})
	}
	ans, err := p.node.Ask(ctx, &query.Request{Body: &query.Request_PresenceTotals{PresenceTotals: &query.PresenceTotals{}}})
	if err != nil {
		return st, fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	st.DesktopOnline = int(ans.GetPresenceTotals().GetDesktopOnlineUsers())
	return st, p.outside(ctx, &st)
}

// Replay rebuilds and compares every view while the server goes on.
func (p *process) Replay(ctx context.Context, _ bool, progress func(view string, done, total uint64)) (admin.ReplayReport, error) {
	if !p.replaying.TryLock() {
		return admin.ReplayReport{}, fmt.Errorf("%w: a replay is running", admin.ErrConflict)
	}
	defer p.replaying.Unlock()
	return replayRunning(ctx, p.bus, p.owners, p.log, progress)
}

package up

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"godwit/bus"
	"godwit/connector"
	"godwit/connector/certfile"
	"godwit/connector/delivery"
	"godwit/connector/pictures"
	"godwit/connector/webhook"
	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/datadir"
	"godwit/internal/observe"
	"godwit/internal/password"
	"godwit/projections/owner"
)

// process is a process of godwit: the parts that the steps of its role have made. What its
// role lacks is nil.
type process struct {
	cfg      Config
	role     bus.Role
	log      *slog.Logger
	registry *prometheus.Registry
	started  time.Time
	stages   *stages
	closers  []func() error // of what was opened, in that order

	provider identityProvider
	dir      *datadir.Dir
	token    string // of the admin API
	hasher   *password.Hasher

	public       net.Listener // --http
	secure       net.Listener // --https
	certificate  *certfile.Files
	private      net.Listener // --admin
	fileListener net.Listener

	bus        *bus.Bus
	owners     *owner.Process
	projectors *owner.Projectors // that are heard
	node       *delivery.Node
	srv        *connector.Server
	gate       *connector.Gate
	files      *fileRole
	people     admin.People
	serverAPI  *api.API
	pictures   *pictures.Handler
	pushes     *webhook.Sender
	reader     *observe.Reader // of what this process measures
	live       *observe.Live   // how the cluster does

	replaying sync.Mutex
}

// step makes or starts one part; the parts that it needs are there.
type step func(context.Context) error

// run takes the steps of a role, says that the process is ready and serves until ctx
// ends; then it stops in the opposite order and returns nil. Errors before the ready line
// are the operator's to mend.
func run(ctx context.Context, cfg Config, role bus.Role, steps func(*process) []step) (err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	p := &process{cfg: cfg, role: role, log: cfg.Logger, registry: cmp.Or(cfg.Registry, prometheus.NewRegistry()), started: time.Now(), stages: newStages()}
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	raiseFileLimit(p.log)
	tuneCollector()
	defer func() { err = errors.Join(err, p.end()) }()
	for _, s := range steps(p) {
		if err := s(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	fmt.Fprintln(cfg.Out, p.readyLine())
	p.log.Info("ready", "version", Version(), "durability", p.bus.DurabilityText(), "log", p.bus.LogID())
	select {
	case <-ctx.Done():
		p.log.Info("draining")
		return nil
	case err := <-p.stages.failed:
		return err
	}
}

// end stops what runs and closes what was opened, the last first.
func (p *process) end() error {
	errs := []error{p.stages.stop()}
	for _, closer := range slices.Backward(p.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// close has c closed at the end.
func (p *process) close(c io.Closer) { p.closers = append(p.closers, c.Close) }

// opening bounds the opening of what lies in an external log. An embedded one takes as
// long as it takes to read, and views as long as they have to be replayed.
func (p *process) opening(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.cfg.NATSURL == "" {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, connectLimit)
}

const connectLimit = 2 * time.Minute

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

package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// maxPayload is NATS's limit on one message; the largest record stays well under it.
const maxPayload = 1 << 20

// embedded is the nats-server inside this process. It may be stopped and started
// again while connections through InProcessConn stay and come back.
type embedded struct {
	dir        string
	durability Durability
	log        *slog.Logger

	mu  sync.RWMutex
	srv *server.Server // nil while stopped
}

func (e *embedded) options() *server.Options {
	return &server.Options{
		ServerName: "godwit",
		DontListen: true,
		NoSigs:     true,
		MaxPayload: maxPayload,
		MaxPending: 128 << 20,

		JetStream:              true,
		StoreDir:               e.dir,
		DisableJetStreamBanner: true,
		SyncAlways:             e.durability == Disk,
		// Consumers live in memory and cost next to nothing; the log must end where
		// the disk does and MinFree says, not at a share of what was free at start.
		JetStreamMaxMemory: 64 << 20,
		JetStreamMaxStore:  1 << 50,
	}
}

// start brings the server up and waits until it takes connections.
func (e *embedded) start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.srv != nil {
		return nil
	}
	srv, err := server.NewServer(e.options())
	if err != nil {
		return fmt.Errorf("bus: embedded server: %w", err)
	}
	lg := &serverLog{log: e.log}
	srv.SetLoggerV2(lg, false, false, false)
	go srv.Start() // ended by Shutdown, awaited by WaitForShutdown
	for !srv.ReadyForConnections(100 * time.Millisecond) {
		err := lg.fatal()
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			srv.Shutdown()
			srv.WaitForShutdown()
			return fmt.Errorf("bus: embedded server did not start: %w", err)
		}
	}
	if err := lg.fatal(); err != nil || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		return fmt.Errorf("bus: embedded server did not start: %w", errors.Join(err, errors.New("no JetStream")))
	}
	e.srv = srv
	return nil
}

func (e *embedded) stop() {
	e.mu.Lock()
	srv := e.srv
	e.srv = nil
	e.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// InProcessConn makes a connection to the server of the moment.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.srv == nil {
		return nil, errors.New("embedded server is stopped")
	}
	return e.srv.InProcessConn()
}

// frozen tells why the server's store takes nothing any more, nil if it does. A
// frozen store does not answer a publish at all, so this is the only way to know.
func (e *embedded) frozen() error {
	e.mu.RLock()
	srv := e.srv
	e.mu.RUnlock()
	if srv == nil {
		return errors.New("embedded server is stopped")
	}
	h := srv.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Details: true})
	if h.StatusCode == 200 {
		return nil
	}
	var errs []error
	for _, e := range h.Errors {
		errs = append(errs, errors.New(e.Error))
	}
	if h.Error != "" || len(errs) == 0 {
		errs = append(errs, errors.New(h.Status+" "+h.Error))
	}
	return errors.Join(errs...)
}

// free is the number of bytes that an ordinary user may still write below dir.
func (e *embedded) free() (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(e.dir, &st); err != nil {
		return 0, fmt.Errorf("bus: free space of %s: %w", e.dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// serverLog carries the server's lines into slog. Its notices are our debug lines.
type serverLog struct {
	log *slog.Logger
	mu  sync.Mutex
	err error // the first fatal line
}

func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *serverLog) line(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "nats-server", "line", fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.line(slog.LevelError, format, v) }

// Fatalf does not end the process: start reports the line as its error.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	if l.err == nil {
		l.err = fmt.Errorf(format, v...)
	}
	l.mu.Unlock()
	l.line(slog.LevelError, format, v)
}

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// signal wakes everybody who waits on it, again and again.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait gives a channel that is closed by the next fire.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// dial makes one of the bus's connections, trying until ctx ends while the server
// can't be reached. Answers come to it under inbox.
func (b *Bus) dial(ctx context.Context, name, inbox string, bufSize int, changed func(connected bool)) (*nats.Conn, error) {
	lg := b.log.With("connection", name)
	opts := []nats.Option{
		nats.Name("godwit " + string(b.cfg.Role) + " " + b.cfg.Process + " " + name),
		nats.CustomInboxPrefix(inbox),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(bufSize),
		nats.IgnoreAuthErrorAbort(),
		// A server that is paused, or behind a cut, takes connections and says nothing: go to
		// the next one soon.
		nats.Timeout(3 * time.Second),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if b.ctx.Err() == nil {
				lg.Warn("connection to the log lost", "err", err)
			}
			changed(false)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.count.reconnects.Add(1)
			lg.Info("connection to the log is back", "server", nc.ConnectedServerName())
			changed(true)
		}),
		nats.ClosedHandler(func(*nats.Conn) { changed(false) }),
		// It goes on until the server closes it; the others are known by then.
		nats.LameDuckModeHandler(func(nc *nats.Conn) { lg.Info("the log's server is about to stop", "server", nc.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			b.asyncError(lg, sub, err)
		}),
	}
	var url string
	if b.emb != nil {
		opts = append(opts, nats.InProcessServer(b.emb),
			nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond))
	} else {
		url = b.cfg.URL
		opts = append(opts, nats.ReconnectWait(250*time.Millisecond), nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond))
		secured, err := b.cfg.identity()
		if err != nil {
			return nil, err
		}
		opts = append(opts, secured...)
	}
	for {
		nc, err := nats.Connect(url, opts...)
		if err == nil {
			return nc, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, fmt.Errorf("bus: connect: %w", err)
		}
		lg.Warn("can't reach the log's server", "err", err)
		if sleep(ctx, 500*time.Millisecond) != nil {
			return nil, fmt.Errorf("bus: connect: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// identity is how the servers know this process, and it them.
func (c *Config) identity() ([]nats.Option, error) {
	var opts []nats.Option
	if c.User != "" {
		opts = append(opts, nats.UserInfo(c.User, c.Password))
	}
	if c.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredentialsFile))
	}
	if c.NKeyFile != "" {
		nkey, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("bus: nkey file %s: %w", c.NKeyFile, err)
		}
		opts = append(opts, nkey)
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		opts = append(opts, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	return opts, nil
}

func (b *Bus) asyncError(lg *slog.Logger, sub *nats.Subscription, err error) {
	if sub == nil {
		lg.Warn("nats", "err", err)
		return
	}
	if errors.Is(err, nats.ErrSlowConsumer) {
		b.slow(sub)
	}
	lg.Warn("nats", "subject", sub.Subject, "err", err)
}

// sleep waits d or until ctx ends, and gives ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// apiError is a refusal by JetStream.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("jetstream: %s (%d)", e.Description, e.ErrCode)
}

// Error codes of JetStream that mean something here.
const (
	errCodeNoPeers        = 10005 // a cluster that is not all there
	errCodeNoMessage      = 10037
	errCodeStreamNotFound = 10059
	errCodeWrongLast      = 10071
	errCodeStoreFailed    = 10077 // a limit of the stream, or of the disk
	errCodeWrongLastConst = 10164
)

func isCode(err error, codes ...int) bool {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		return false
	}
	return slices.Contains(codes, e.ErrCode)
}

// apiTimeout bounds one request to JetStream's API.
const apiTimeout = 5 * time.Second

// api asks JetStream something once, over the events connection, and reads the
// answer into resp. A refusal is an *apiError.
func (b *Bus) api(ctx context.Context, subject string, req, resp any) error {
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return fmt.Errorf("bus: %s: %w", subject, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	m, err := b.events.RequestWithContext(ctx, "$JS.API."+subject, body)
	if err != nil {
		switch {
		case errors.Is(err, nats.ErrConnectionClosed):
			err = ErrClosed
		case errors.Is(err, nats.ErrReconnectBufExceeded):
			err = fmt.Errorf("%w: %w", ErrDisconnected, err)
		}
		return fmt.Errorf("bus: %s: %w", subject, err)
	}
	var head struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &head); err != nil {
		return fmt.Errorf("bus: %s: %w", subject, err)
	}
	if head.Error != nil {
		return fmt.Errorf("bus: %s: %w", subject, head.Error)
	}
	if resp == nil {
		return nil
	}
	if err := json.Unmarshal(m.Data, resp); err != nil {
		return fmt.Errorf("bus: %s: %w", subject, err)
	}
	return nil
}

// retried asks until there is an answer, a refusal, or ctx ends.
func (b *Bus) retried(ctx context.Context, subject string, req, resp any) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := b.api(ctx, subject, req, resp)
		if e, ok := errors.AsType[*apiError](err); err == nil || errors.Is(err, ErrClosed) || (ok && e.Code != 503) {
			return err
		}
		if b.ctx.Err() != nil {
			return ErrClosed
		}
		changed := b.changed.wait()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(err, ctx.Err())
		case <-b.ctx.Done():
			t.Stop()
			return ErrClosed
		case <-changed:
			t.Stop()
		case <-t.C:
		}
	}
}

type streamState struct {
	Messages uint64 `json:"messages"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Bytes    uint64 `json:"bytes"`
}

type streamInfo struct {
	State   streamState   `json:"state"`
	Cluster *clusterState `json:"cluster"`
}

type clusterState struct {
	Name     string         `json:"name"` // "" where the server is in none: it names itself as the leader
	Leader   string         `json:"leader"`
	Replicas []replicaState `json:"replicas"`
}

type replicaState struct {
	Name    string        `json:"name"`
	Current bool          `json:"current"`
	Offline bool          `json:"offline"`
	Active  time.Duration `json:"active"` // since the leader heard of it
}

// current tells whether a leader and all replicas are up to date, so that what is
// missing is lost and not late.
func (i *streamInfo) current() bool {
	if i.Cluster == nil {
		return true
	}
	for _, r := range i.Cluster.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return i.Cluster.Leader != ""
}

type storedMsg struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Header   []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
}

type msgGet struct {
	Seq  uint64 `json:"seq,omitempty"`
	Last string `json:"last_by_subj,omitempty"`
	Next string `json:"next_by_subj,omitempty"`
}

// get reads one stored message from the stream's leader; ErrNoRecord when there is
// none.
func (b *Bus) get(ctx context.Context, stream string, g msgGet) (storedMsg, error) {
	var r struct {
		Message storedMsg `json:"message"`
	}
	err := b.retried(ctx, "STREAM.MSG.GET."+stream, g, &r)
	if isCode(err, errCodeNoMessage) {
		return storedMsg{}, ErrNoRecord
	}
	return r.Message, err
}

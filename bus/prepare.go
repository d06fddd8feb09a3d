package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/schema/event"

	"github.com/nats-io/nats.go"
)

// Stores are what Prepare makes beside the log.
type Stores struct {
	Objects []StoreConfig
	Tables  []StoreConfig
}

// State is what Prepare found of a stream, and did.
type State string

// The states there are.
const (
	Made    State = "made"    // it was missing
	Changed State = "changed" // its limits were others
	Fits    State = "fits"
	Differs State = "differs" // and was left as it is
)

// Prepared is a stream as Prepare left it.
type Prepared struct {
	Name        string
	State       State
	Replicas    int      // 0 where it is not known
	Differences []string // of one that differs, each with what it has and what it should have
}

// Report is what Prepare did.
type Report struct {
	LogID      event.ID
	Partitions int
	Streams    []Prepared // of the log, of buckets, stores and tables, by name
	Durability string     // for people: what an acknowledged record has survived
	Verified   bool       // the servers said so
}

// Prepare makes what is missing of the log, its buckets and the stores, and checks what there
// is. It may be called again at any time, and then makes nothing. Where something differs it
// changes nothing of that (but the limits of a store), names it in the report, and gives an
// error that joins all differences; CheckOnly and Registerer of cfg don't count.
func Prepare(ctx context.Context, cfg Config, stores Stores) (Report, error) {
	cfg.CheckOnly, cfg.Registerer = false, nil
	if err := cfg.complete(); err != nil {
		return Report{}, err
	}
	b := newBus(cfg)
	err := b.open(ctx)
	if err == nil {
		for _, c := range stores.Objects {
			_, e := b.Objects(ctx, c)
			err = errors.Join(err, e)
		}
		for _, c := range stores.Tables {
			_, e := b.Table(ctx, c)
			err = errors.Join(err, e)
		}
	}
	r := Report{LogID: b.logID, Partitions: b.partitions}
	r.Streams = b.prepared.list(err)
	if err == nil {
		r.Durability, r.Verified, err = b.durability(ctx)
	}
	return r, errors.Join(err, b.Close())
}

// preparation gathers what was made and found. Who opens the log may try several times.
type preparation map[string]Prepared

func (p preparation) note(name string, state State, replicas int) {
	if was, ok := p[name]; ok && state == Fits {
		state = was.State // found, for it was just made
	}
	p[name] = Prepared{Name: name, State: state, Replicas: replicas}
}

// list adds the differences that err joins.
func (p preparation) list(err error) []Prepared {
	for _, c := range configErrors(err) {
		one := p[c.Stream]
		one.Name, one.State = c.Stream, Differs
		one.Differences = append(one.Differences, fmt.Sprintf("%s is %s, want %s", c.Field, c.Have, c.Want))
		p[c.Stream] = one
	}
	var all []Prepared
	for _, one := range p {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Prepared) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func configErrors(err error) (all []*ConfigError) {
	switch e := err.(type) {
	case *ConfigError:
		return []*ConfigError{e}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			all = append(all, configErrors(one)...)
		}
	case interface{ Unwrap() error }:
		return configErrors(e.Unwrap())
	}
	return all
}

// durability says what an acknowledged record has survived, by what the servers themselves
// say of it where this process may ask them.
func (b *Bus) durability(ctx context.Context) (text string, verified bool, err error) {
	if b.emb != nil || b.cfg.SystemNKeyFile == "" {
		return b.DurabilityText(), b.emb != nil, nil
	}
	servers, err := b.serverSyncs(ctx)
	if err != nil {
		return "", false, err
	}
	var lazy []string
	for _, s := range servers {
		if !s.always {
			lazy = append(lazy, fmt.Sprintf("%s each %s", s.name, s.interval))
		}
	}
	if len(lazy) == 0 {
		return fmt.Sprintf("disk (fsync before every ack, as all %d servers say)", len(servers)), true, nil
	}
	return fmt.Sprintf("os (of %d servers %s; a power loss of all at once may cut the tail; want sync_interval: always)",
		len(servers), strings.Join(lazy, ", ")), true, nil
}

// serverSync is how a server writes to its disk.
type serverSync struct {
	name     string
	always   bool
	interval time.Duration
}

// Times of asking all servers: one that has not answered by then does not.
const (
	serversTimeout = 10 * time.Second
	serversQuiet   = time.Second // after the last answer, where their number is not known
)

// serverSyncs asks all servers with JetStream, by name, in the name of the system account.
func (b *Bus) serverSyncs(ctx context.Context) ([]serverSync, error) {
	cfg := b.cfg
	cfg.User, cfg.CredentialsFile, cfg.NKeyFile = "", "", cfg.SystemNKeyFile
	opts, err := cfg.identity()
	if err != nil {
		return nil, err
	}
	ctx, refused := context.WithCancelCause(ctx)
	defer refused(nil)
	nc, err := nats.Connect(cfg.URL, append(opts, nats.Name("godwit system"), nats.Timeout(5*time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused(err) }))...)
	if err != nil {
		return nil, fmt.Errorf("bus: connect to the system account: %w", err)
	}
	defer nc.Close()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err == nil {
		err = nc.PublishRequest("$SYS.REQ.SERVER.PING.VARZ", inbox, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: ask the servers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, serversTimeout)
	defer cancel()
	var all []serverSync
	for size := 1; ; {
		quiet, stop := context.WithTimeout(ctx, serversTimeout)
		if len(all) >= size {
			stop()
			quiet, stop = context.WithTimeout(ctx, serversQuiet)
		}
		m, err := sub.NextMsgWithContext(quiet)
		stop()
		if err != nil || len(m.Data) == 0 {
			if len(all) >= size {
				break
			}
			if err == nil {
				err = nats.ErrNoResponders
			} else if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, fmt.Errorf("bus: ask the servers: %d of %d answered: %w", len(all), size, err)
		}
		var r struct {
			Server struct {
				Name string `json:"name"`
			} `json:"server"`
			Data struct {
				JetStream struct {
					Config *struct {
						Interval time.Duration `json:"sync_interval"`
						Always   bool          `json:"sync_always"`
					} `json:"config"`
					Meta *struct {
						Size int `json:"cluster_size"`
					} `json:"meta"`
				} `json:"jetstream"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return nil, fmt.Errorf("bus: ask the servers: %w", err)
		}
		if c := r.Data.JetStream.Config; c != nil {
			all = append(all, serverSync{r.Server.Name, c.Always, c.Interval})
		}
		if m := r.Data.JetStream.Meta; m != nil {
			size = max(size, m.Size)
			if len(all) == m.Size {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b serverSync) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}

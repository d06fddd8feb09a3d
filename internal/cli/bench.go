package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"godwit/connector"
	"godwit/internal/admin"
	"godwit/internal/bench"
	"godwit/internal/config"
	"godwit/internal/password"
)

func newBench(streams IO) *cobra.Command {
	cmd := group("bench", "Load a server and check every message", newBenchOneOne(streams), newBenchGroup(streams), newBenchIdle(streams), newBenchLogin(streams), newBenchSync(streams), newBenchFaults(streams))
	cmd.Long = `Loads a server over the protocol of the clients. The people of the load (bench-1,
bench-2, ...) are made through the admin API, with passwords that only who has the
admin token can tell, or come from --users, a CSV file as for godwit user import.`
	return cmd
}

// benchFlags are common to all benches.
type benchFlags struct {
	t       target
	server  string
	also    []string
	as      device
	users   string
	pid     int
	asJSON  bool
	seed    uint64
	par     int
	friends bool
	by      bench.Transport // empty where the bench has no choice
	given   func(flag string) bool
}

func (b *benchFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var(config.Server(&b.server, "127.0.0.1:8000", 8000), "server", "server to load")
	f.StringSliceVar(&b.also, "also", nil, "`HOST:PORT` of one more connector of the same cluster; people connect to all of them by turns")
	deviceFlag(cmd, &b.as)
	f.StringVar(&b.users, "users", "", "CSV `FILE` of people to log in as, instead of making them")
	f.Var(config.Int(&b.pid, 0, 0, math.MaxInt32), "pid", "process of the server, to measure its memory and CPU; default: asked through the admin API")
	f.BoolVar(&b.asJSON, "json", false, "the report as JSON")
	f.Uint64Var(&b.seed, "seed", 1, "of the payloads: the same seed makes the same bytes")
	f.Var(config.Int(&b.par, 64, 1, 10_000), "parallel", "logins under way at a time")
	b.t.flags(cmd)
	b.given = f.Changed
}

// transportFlag is for the benches whose people may come by WebSocket as well.
func (b *benchFlags) transportFlag(cmd *cobra.Command) {
	cmd.Flags().Var(config.OneOf(&b.by, bench.TCP, bench.TCP, bench.WebSocket, bench.JSON), "transport",
		"how people connect: tcp; ws, binary frames of a WebSocket; json, its text frames. Of the last two --server is the HTTP port, by default 127.0.0.1:8080")
}

// friendsFlag is for the benches whose people write to each other.
func (b *benchFlags) friendsFlag(cmd *cobra.Command, who string) {
	cmd.Flags().BoolVar(&b.friends, "friends", false, "make "+who+" first; done anyway where the server has --contacts friends")
}

func (b *benchFlags) options(ctx context.Context, streams IO) (bench.Options, error) {
	o := bench.Options{
		Server: b.server, Also: b.also, Transport: b.by, Device: uint32(devices[b.as]), PID: b.pid, Seed: b.seed, Parallel: b.par,
		Log: slog.New(slog.NewTextHandler(streams.Err, nil)),
	}
	if b.by != "" && b.by != bench.TCP && !b.given("server") {
		o.Server = "127.0.0.1:8080"
	}
	c, err := b.t.client()
	if b.users != "" {
		o.Accounts = fromFile(streams, b.users)
		if err != nil && !b.friends { // no admin API: then less is known
			return o, nil
		} else if err != nil {
			return o, fmt.Errorf("--friends are made through the admin API: %w", err)
		}
	} else if err != nil {
		return o, err
	} else {
		secret, err := b.t.secret()
		if err != nil {
			return o, err
		}
		o.Accounts = madeBy(c, secret, streams)
	}
	st, err := c.Status(ctx)
	if err != nil {
		return o, fmt.Errorf("the server's status: %w", err)
	}
	if o.PID == 0 {
		o.PID = st.PID
	}
	if b.friends || st.Contacts == string(connector.Friends) {
		o.Befriend = befriend(c, streams)
	}
	o.Probe = func(ctx context.Context) (bench.Probe, error) {
		st, err := c.Status(ctx)
		p := bench.Probe{Partitions: st.Partitions, Durability: st.Durability}
		for _, s := range st.Streams {
			if strings.HasPrefix(s.Name, "CONVERSATION-") {
				p.Records += s.Last
			}
		}
		return p, err
	}
	return o, nil
}

// madeBy makes people where they are missing. Their passwords follow from the admin
// token, so that another run knows them and nobody else does.
func madeBy(c *admin.Client, secret string, streams IO) func(context.Context, int) ([]bench.Account, error) {
	return func(ctx context.Context, n int) ([]bench.Account, error) {
		people := make([]admin.NewPerson, n)
		accounts := make([]bench.Account, n)
		for i := range n {
			name := fmt.Sprintf("bench-%d", i+1)
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte("bench password of " + name))
			plain := hex.EncodeToString(mac.Sum(nil)[:16])
			people[i] = admin.NewPerson{Name: name, Password: plain}
			accounts[i] = bench.Account{Name: name, Password: password.MD5Hex(plain)}
		}
		bar := newProgress(streams.Err, "making people", "people")
		defer bar.end()
		var wrong error
		err := c.Import(ctx, people, func(p admin.ImportProgress) {
			bar.set(uint64(p.Handled), uint64(n))
			for _, r := range p.Refused {
				if !r.Taken && wrong == nil {
					wrong = fmt.Errorf("make %s: %s", r.Name, r.Error)
				}
			}
		})
		return accounts, errors.Join(err, wrong)
	}
}

// friendsAtOnce is how many friendships are made at a time; those share records.
const friendsAtOnce = 32

// befriend makes friends of people where they are not.
func befriend(c *admin.Client, streams IO) func(context.Context, [][2]bench.Account) error {
	return func(ctx context.Context, pairs [][2]bench.Account) error {
		bar := newProgress(streams.Err, "making friends", "pairs")
		defer bar.end()
		work, ctx := errgroup.WithContext(ctx)
		work.SetLimit(friendsAtOnce)
		var mu sync.Mutex
		made := uint64(0)
		for _, p := range pairs {
			work.Go(func() error {
				if err := c.SetFriends(ctx, p[0].Name, p[1].Name, true); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				made++
				bar.set(made, uint64(len(pairs)))
				return nil
			})
		}
		return work.Wait()
	}
}

func fromFile(streams IO, file string) func(context.Context, int) ([]bench.Account, error) {
	return func(_ context.Context, n int) ([]bench.Account, error) {
		people, _, err := readCSV(streams, file)
		if err != nil {
			return nil, err
		}
		if len(people) < n {
			return nil, fmt.Errorf("%s has %d people, the load needs %d", file, len(people), n)
		}
		accounts := make([]bench.Account, n)
		for i, p := range people[:n] {
			accounts[i] = bench.Account{Name: p.Name, Password: password.MD5Hex(p.Password)}
		}
		return accounts, nil
	}
}

// report is what every bench ends with.
type report interface {
	Write(io.Writer)
	Err() error
}

// measure runs one bench and prints what it found.
func measure[R report](ctx context.Context, b *benchFlags, streams IO, run func(context.Context, bench.Options) (R, error)) error {
	o, err := b.options(ctx, streams)
	if err != nil {
		return err
	}
	r, err := run(ctx, o)
	if err != nil {
		return err
	}
	return b.print(streams, r)
}

func (b *benchFlags) print(streams IO, r report) error {
	if !b.asJSON {
		r.Write(streams.Out)
		return r.Err()
	}
	enc := json.NewEncoder(streams.Out)
	enc.SetIndent("", "  ")
	return errors.Join(enc.Encode(r), r.Err())
}

func newBenchOneOne(streams IO) *cobra.Command {
	var (
		b benchFlags
		c bench.OneOne
	)
	cmd := &cobra.Command{
		Use: "oneone", Short: "Pairs of people of whom one writes to the other",
		Long: `Pairs of people of whom one writes to the other, as fast as a window of unacknowledged
messages allows. Every message is checked: sender, receiver, number, order, id and
checksum. Ends with exit code 1 if one of them was lost, came twice, out of order or
changed.

With --receipts everybody says ten times a second what was received and read, and the
other one has to be told so: never more, never less than before, and at the end all.

The server lets a session send 500 messages a second on average: with few pairs
and a small window --rate keeps a load below that.

Misbehaving clients for --hostile:

` + indent(strings.Join(bench.HostileKinds(), "\n")),
		Example: `  godwit bench oneone --pairs 200 --window 16 --size 200 --duration 20s --raw
  godwit bench oneone --pairs 5 --window 1 --rate 200
  godwit bench oneone --pairs 100 --hostile slowloris`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Duration <= 0 || c.Warmup < 0 || c.Rate < 0 {
				return usagef("--duration is above zero, --warmup and --rate are not below it")
			}
			if c.Hostile != "" && b.by != bench.TCP {
				return usagef("--hostile clients come by TCP: leave --transport at tcp")
			}
			if _, err := os.Stat(b.t.data); err == nil && c.RawDir == "" {
				c.RawDir = filepath.Dir(filepath.Clean(b.t.data)) // the disk of the server's own log
			}
			return measure(cmd.Context(), &b, streams, c.Run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&c.Pairs, 200, 1, 100_000), "pairs", "pairs of people")
	f.Var(config.Int(&c.Window, 16, 1, 4096), "window", "messages of a sender without an ack")
	f.Var(config.Int(&c.Size, 200, bench.MinSize, bench.MaxSize), "size", "bytes of a message's content")
	f.DurationVar(&c.Duration, "duration", 20*time.Second, "how long to measure")
	f.DurationVar(&c.Warmup, "warmup", 3*time.Second, "how long to load before measuring")
	f.BoolVar(&c.Both, "both", false, "both of a pair write")
	f.Float64Var(&c.Rate, "rate", 0, "messages a second of each sender; 0: as the window allows")
	f.BoolVar(&c.Receipts, "receipts", false, "all say what they have received and read, and what the others are told of it is checked")
	b.friendsFlag(cmd, "the two of a pair friends")
	f.Var(config.Value(&c.Hostile, "KIND", func(s string) (string, error) { return s, bench.CheckHostile(s) }, func(s string) string { return s }),
		"hostile", "misbehaving clients beside the load")
	f.Var(config.Int(&c.HostileCount, 0, 0, 20_000), "hostile-count", "how many of them; 0: as suits the kind")
	f.BoolVar(&c.Raw, "raw", false, "measure bare JetStream as well: same payloads, records, streams and durability")
	f.StringVar(&c.RawDir, "raw-dir", "", "`DIR` for its store, removed again; default: beside --data, to measure the same disk")
	f.Var(config.Int(&c.RawBatch, 0, 0, 512), "raw-batch", "messages in a record of --raw; 0: as many as the server's records held")
	b.transportFlag(cmd)
	b.flags(cmd)
	return cmd
}

func newBenchGroup(streams IO) *cobra.Command {
	var (
		b benchFlags
		c bench.Group
	)
	cmd := &cobra.Command{
		Use: "group", Short: "One group whose members are all online, and some write to it",
		Long: `Makes a group of people who are all logged in, of whom some write to it as fast as a
window of unacknowledged messages allows. Every delivery is checked: each member gets
each message of the others exactly once, in the order of the group, from its sender,
unchanged. Ends with exit code 1 if one of them does not. The group is dissolved at the
end.

With --receipts each member says once a second what it has received and read, and each
of the others has to be told so: never more, never less than before, and at the end all.`,
		Example: `  godwit bench group --members 500 --senders 10 --size 200 --duration 20s
  godwit bench group --members 50 --receipts
  godwit bench group --members 10000 --senders 1 --window 1 --rate 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case c.Duration <= 0 || c.Warmup < 0 || c.Rate < 0:
				return usagef("--duration is above zero, --warmup and --rate are not below it")
			case c.Senders > c.Members:
				return usagef("--senders %d are members: there are %d", c.Senders, c.Members)
			case c.Receipts && c.Members > bench.MaxReceipts:
				return usagef("--receipts are told in groups of at most %d members: give --members", bench.MaxReceipts)
			}
			return measure(cmd.Context(), &b, streams, c.Run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&c.Members, 500, 2, 40_000), "members", "members of the group, all online")
	f.Var(config.Int(&c.Senders, 10, 1, 1000), "senders", "how many of them write")
	f.Var(config.Int(&c.Window, 16, 1, 4096), "window", "messages of a sender without an ack")
	f.Var(config.Int(&c.Size, 200, bench.MinSize, bench.MaxSize), "size", "bytes of a message's content")
	f.DurationVar(&c.Duration, "duration", 20*time.Second, "how long to measure")
	f.DurationVar(&c.Warmup, "warmup", 3*time.Second, "how long to load before measuring")
	f.Float64Var(&c.Rate, "rate", 0, "messages a second of each sender; 0: as the window allows")
	f.BoolVar(&c.Receipts, "receipts", false, fmt.Sprintf("all say what they have received and read, and what the others are told of it is checked; at most %d members", bench.MaxReceipts))
	b.friendsFlag(cmd, "the members friends of the one who makes the group")
	b.transportFlag(cmd)
	b.flags(cmd)
	return cmd
}

func newBenchIdle(streams IO) *cobra.Command {
	var (
		b benchFlags
		c bench.Idle
	)
	cmd := &cobra.Command{
		Use: "idle", Short: "Sessions that say nothing: memory of each",
		Long: `Logs in sessions, lets them rest, and divides the growth of the server's resident
memory, from before the first connection to the end of the rest, by their number.`,
		Example: `  godwit bench idle --sessions 10000
  godwit bench idle --sessions 2000 --transport ws --device web`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Settle <= 0 {
				return usagef("--settle is above zero, for example 30s")
			}
			return measure(cmd.Context(), &b, streams, c.Run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&c.Sessions, 10_000, 1, 1_000_000), "sessions", "sessions, each of another person")
	f.DurationVar(&c.Settle, "settle", 30*time.Second, "rest after the last login")
	b.transportFlag(cmd)
	b.flags(cmd)
	return cmd
}

func newBenchLogin(streams IO) *cobra.Command {
	var (
		b benchFlags
		c bench.Login
	)
	cmd := &cobra.Command{
		Use: "login", Short: "People who come and go: logins a second",
		Long: `Logs everybody in once, so that the server remembers their credentials, and then
measures how many connect, log in and leave in a second.`,
		Example: "  godwit bench login --sessions 1000 --duration 10s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Duration <= 0 {
				return usagef("--duration is above zero, for example 10s")
			}
			return measure(cmd.Context(), &b, streams, c.Run)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(config.Int(&c.Sessions, 1000, 1, 1_000_000), "sessions", "different people")
	f.DurationVar(&c.Duration, "duration", 10*time.Second, "how long to measure")
	b.transportFlag(cmd)
	b.flags(cmd)
	return cmd
}

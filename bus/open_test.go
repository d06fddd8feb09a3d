package bus_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/internal/certtest"
	"godwit/schema/event"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
)

func TestEveryStreamBeginsWithItsOpening(t *testing.T) {
	k := bustest.New(t, bustest.Partitions(3))
	if k.Partitions() != 3 || len(k.Streams()) != 5 || k.LogID() == (event.ID{}) {
		t.Fatalf("P %d, %d streams, log %v", k.Partitions(), len(k.Streams()), k.LogID())
	}
	for _, s := range k.Streams() {
		m, err := k.ReadRecord(t.Context(), s, 1)
		if err != nil {
			t.Fatal(err)
		}
		var rec event.Record
		if err := proto.Unmarshal(m.Data, &rec); err != nil {
			t.Fatal(err)
		}
		o := rec.GetEvents()[0].GetStreamOpened()
		if event.ToID(rec.GetWriter()) != k.LogID() || rec.GetN() != 1 || len(rec.GetEvents()) != 1 ||
			event.ToID(o.GetLog()) != k.LogID() || o.GetStream() != s.String() || o.GetPartitions() != 3 ||
			o.GetPartition() != uint32(max(0, s.Partition())) || o.GetHashVersion() != event.HashVersion {
			t.Errorf("%s: %v", s, &rec)
		}
	}
}

func TestAnExistingLogKeepsItsPartitions(t *testing.T) {
	dir := t.TempDir()
	k := bustest.New(t, bustest.WithDir(dir), bustest.Partitions(3))
	log := k.LogID()
	write(t, k.NewWriter(life()), 0, 1)
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	again := bustest.New(t, bustest.WithDir(dir))
	if again.Partitions() != 3 || again.LogID() != log {
		t.Errorf("P %d, log %v, want 3, %v", again.Partitions(), again.LogID(), log)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bustest.Open(t, bustest.WithDir(dir), bustest.Partitions(4)); err == nil || !strings.Contains(err.Error(), "3 partitions") {
		t.Errorf("another P: %v", err)
	}
}

func TestStartersAtOnceMakeOneLog(t *testing.T) {
	url := bustest.Server(t)
	var wg sync.WaitGroup
	kits := make([]*bustest.Kit, 4)
	for i := range kits {
		wg.Go(func() {
			var err error
			if kits[i], err = bustest.Open(t, bustest.At(url)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, k := range kits {
		if k.LogID() != kits[0].LogID() {
			t.Errorf("logs %v and %v", k.LogID(), kits[0].LogID())
		}
		for _, s := range k.Streams() {
			if last, err := k.LastSequence(t.Context(), s); err != nil || last != 1 {
				t.Errorf("%s ends at %d, %v", s, last, err)
			}
		}
	}
}

// jetStream is a plain connection to a server, to disturb it with.
func jetStream(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestADifferingStreamIsRefusedByName(t *testing.T) {
	url := bustest.Server(t)
	bustest.New(t, bustest.At(url))
	js := jetStream(t, url)
	for _, c := range []struct {
		field, have, want string
		change            func(*jetstream.StreamConfig)
	}{
		{"MaxAge", "1h0m0s", "0s", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"MaxMsgs", "1000", "unlimited", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }},
		{"Duplicates", "1s", "2m0s", func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }},
		{"AllowRollup", "true", "false", func(c *jetstream.StreamConfig) { c.DenyPurge, c.AllowRollup = true, true }},
		{"Discard", "DiscardOld", "DiscardNew", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
		{"Subjects", "[presence.event more]", "[presence.event]", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more") }},
	} {
		st, err := js.Stream(t.Context(), event.Presence.String())
		if err != nil {
			t.Fatal(err)
		}
		good := st.CachedInfo().Config
		bad := good
		c.change(&bad)
		if _, err := js.UpdateStream(t.Context(), bad); err != nil {
			t.Logf("%s can't be changed: %v", c.field, err)
			continue
		}
		_, err = bustest.Open(t, bustest.At(url))
		ce, ok := errors.AsType[*bus.ConfigError](err)
		if !ok || ce.Stream != "PRESENCE" || ce.Field != c.field || ce.Have != c.have || ce.Want != c.want {
			t.Errorf("%s: %v", c.field, err)
		}
		if _, err := js.UpdateStream(t.Context(), good); err != nil {
			t.Fatal(err)
		}
	}
	bustest.New(t, bustest.At(url))
}

func TestMixedLogsAreRefused(t *testing.T) {
	one, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, other} {
		k := bustest.New(t, bustest.WithDir(dir), bustest.Partitions(2))
		write(t, k.NewWriter(life()), 0, 1)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what, names string) {
		t.Helper()
		_, err := bustest.Open(t, bustest.WithDir(one))
		if !errors.Is(err, bus.ErrMixedLog) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v", what, err)
		}
	}
	dir := func(d string, s event.Stream) string { return bustest.StreamDir(d, s) }
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	aside := filepath.Join(t.TempDir(), "aside")
	move(dir(one, event.Presence), aside)
	refused("a stream missing", "PRESENCE")
	move(dir(other, event.Presence), dir(one, event.Presence))
	refused("a stream of another log", "PRESENCE")
	if err := os.RemoveAll(dir(one, event.Presence)); err != nil {
		t.Fatal(err)
	}
	move(aside, dir(one, event.Presence))
	move(dir(one, event.People), aside)
	refused("PEOPLE missing", "CONVERSATION-00")
	move(aside, dir(one, event.People))
	bustest.New(t, bustest.WithDir(one))
}

func TestABadConfigurationIsRefused(t *testing.T) {
	for name, c := range map[string]bus.Config{
		"nowhere":    {},
		"durability": {Dir: t.TempDir(), Durability: "maybe"},
		"partitions": {Dir: t.TempDir(), Partitions: event.MaxPartitions + 1},
		"process":    {Dir: t.TempDir(), Process: "a.b"},
		"replicas":   {Dir: t.TempDir(), Replicas: 3},
		"a file":     {Dir: filepath.Join(file(t), "log")},
	} {
		if b, err := bus.Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			_ = b.Close()
		}
	}
}

func file(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAnExternalServerWithTLSAndPassword(t *testing.T) {
	ca, key := certtest.Write(t, t.TempDir(), "test", certtest.Ends)
	pair, err := tls.LoadX509KeyPair(ca, key)
	if err != nil {
		t.Fatal(err)
	}
	url := bustest.Server(t, bustest.TLS(pair),
		func(o *server.Options) { o.Username, o.Password = "godwit", "secret" })
	cfg := bus.Config{URL: url, User: "godwit", Password: "secret", CAFile: ca}
	b, err := bus.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	write(t, b.NewWriter(life()), 0, 1)
	if !strings.Contains(b.DurabilityText(), "not verified") || strings.Contains(b.DurabilityText(), "secret") {
		t.Errorf("durability: %s", b.DurabilityText())
	}
	cfg.Password = "wrong"
	if b, err := bus.Open(t.Context(), cfg); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("wrong password: %v", err)
		if err == nil {
			_ = b.Close()
		}
	}
}

// ours are the goroutines that run this package's code.
func ours() (n int, all string) {
	buf := make([]byte, 4<<20)
	all = string(buf[:runtime.Stack(buf, true)])
	for g := range strings.SplitSeq(all, "\n\n") {
		if strings.Contains(g, "godwit/bus.") || strings.Contains(g, "nats.go") || strings.Contains(g, "nats-server") {
			if !strings.Contains(g, "testing.tRunner") {
				n++
			}
		}
	}
	return n, all
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	was, _ := ours()
	for calm := 0; calm < 50; calm++ { // what tests before left is ending still
		time.Sleep(time.Millisecond)
		if now, _ := ours(); now != was {
			was, calm = now, 0
		}
	}
	k := bustest.New(t)
	w := k.NewWriter(life())
	write(t, w, 0, 10)
	r := &reader{}
	follow(t, k.Bus, r)
	bustest.Eventually(t, "followed", func() bool { return r.seen() == 10 })
	if _, err := k.ReceivePushes(life(), func([]byte) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Serve(bus.PeopleQuery, "q", 4, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := k.AcquireLease(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if now, _ := ours(); now <= was {
		t.Fatal("nothing was running that could be left behind")
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	if !errors.Is(r.err, bus.ErrClosed) {
		t.Errorf("the follower ended with %v", r.err)
	}
	if err := k.Healthy(); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("health: %v", err)
	}
	if err := w.Append(conv, message("late"), nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := k.AcquireLease(t.Context(), "x"); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("lease: %v", err)
	}
	if _, err := k.LastSequence(t.Context(), conv); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("last sequence: %v", err)
	}
	if err := k.Push(life(), nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("push: %v", err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		now, all := ours()
		if now <= was {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after:\n%s", was, now, all)
		}
		runtime.Gosched()
	}
}

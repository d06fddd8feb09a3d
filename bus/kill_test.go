package bus_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/bus/bustest"

	"github.com/nats-io/nats-server/v2/server"
)

// childServer is the environment variable that makes the test's program a server of the log,
// which can be killed.
const childServer = "GODWIT_TEST_SERVER"

// child is what such a server is told.
type child struct {
	Name, Dir  string
	Port, Peer int
	Routes     []string
}

func TestMain(m *testing.M) {
	if told := os.Getenv(childServer); told != "" {
		if err := serveChild(told); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveChild runs the server until its standard input ends, with the test at the latest.
func serveChild(told string) error {
	var c child
	if err := json.Unmarshal([]byte(told), &c); err != nil {
		return err
	}
	var routes []*url.URL
	for _, r := range c.Routes {
		u, err := url.Parse(r)
		if err != nil {
			return err
		}
		routes = append(routes, u)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: c.Name, Host: "127.0.0.1", Port: c.Port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: c.Dir, SyncAlways: true,
		Cluster: server.ClusterOpts{Name: "children", Host: "127.0.0.1", Port: c.Peer}, Routes: routes,
	})
	if err != nil {
		return err
	}
	s.Start()
	_, err = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	return err
}

// children are three servers, each a process of its own.
type children struct {
	t    *testing.T
	told []child
	runs []*exec.Cmd
}

func startChildren(t *testing.T) *children {
	t.Helper()
	const size = 3
	ports := bustest.FreePorts(t, 2*size)
	var routes []string
	for _, p := range ports[:size] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	cs := &children{t: t, runs: make([]*exec.Cmd, size)}
	t.Cleanup(func() {
		for i := range cs.runs {
			cs.kill(i)
		}
	})
	for i := range size {
		cs.told = append(cs.told, child{fmt.Sprintf("s%d", i), t.TempDir(), ports[size+i], ports[i], routes})
		cs.start(i)
	}
	return cs
}

func (cs *children) start(i int) {
	cs.t.Helper()
	told, err := json.Marshal(cs.told[i])
	if err != nil {
		cs.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childServer+"="+string(told))
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		cs.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		cs.t.Fatal(err)
	}
	cs.runs[i] = cmd
}

// kill ends a server without a word.
func (cs *children) kill(i int) {
	if cmd := cs.runs[i]; cmd != nil {
		cs.runs[i] = nil
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
}

func (cs *children) urls() string {
	var all []string
	for _, c := range cs.told {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", c.Port))
	}
	return strings.Join(all, ",")
}

// leader is the number of the server that leads the stream that traffic is written to.
func (cs *children) leader() int {
	cs.t.Helper()
	js, leader := jetStream(cs.t, cs.urls()), -1
	bustest.Eventually(cs.t, "somebody leads", func() bool {
		st, err := js.Stream(cs.t.Context(), conv.String())
		if err == nil {
			leader = slices.IndexFunc(cs.told, func(c child) bool { return st.CachedInfo().Cluster.Leader == c.Name })
		}
		return leader >= 0
	})
	return leader
}

// The server that leads the stream is killed while records are on their way to it, and comes
// back; then all three are.
func TestKilledServersLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("three processes")
	}
	cs := startChildren(t)
	k := bustest.New(t, bustest.At(cs.urls()), bustest.Partitions(1))
	lease, err := k.AcquireLease(t.Context(), "people")
	if err != nil {
		t.Fatal(err)
	}
	f := startTraffic(t, k)
	f.more(20)
	leader := cs.leader()
	killed := time.Now()
	cs.kill(leader)
	f.more(1)
	t.Logf("the first record %v after the kill", time.Since(killed))
	f.more(20)
	cs.start(leader)
	f.more(20)
	for i := range cs.runs {
		cs.kill(i)
	}
	unwritable(t, k)
	for i := range cs.runs {
		cs.start(i)
	}
	f.more(20)
	f.whole()
	bustest.Eventually(t, "writable", func() bool { return k.Writable() == nil })
	select {
	case <-lease.Lost():
		t.Error("a lease was lost to nobody")
	default:
	}
}

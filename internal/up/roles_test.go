package up_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/bus"
	"godwit/bus/bustest"
	"godwit/internal/admin"
	"godwit/internal/api"
	"godwit/internal/observe"
	"godwit/internal/password"
	"godwit/internal/ttclient"
	"godwit/internal/up"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	immsg "godwit/schema/client/message"

	"google.golang.org/protobuf/proto"
)

// cluster is some processes of one log, each as its command runs it.
type cluster struct {
	t     *testing.T
	nats  string
	roles *bustest.Roles // who comes with which key
	dir   string
}

// member is one of them.
type member struct {
	at   map[string]string // addresses of its ready line
	stop func() error      // what SIGTERM does; again: what that gave
}

const operatorToken = "the operator's"

// newCluster has a server that lets each role do what its work needs, and no more.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	roles := bustest.NewRoles(t)
	c := &cluster{t: t, nats: bustest.Server(t, roles.Change), roles: roles, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(c.dir, "token"), []byte(operatorToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := c.config(bus.RoleInit)
	cfg.Partitions = 2
	if err := up.Init(t.Context(), cfg); err != nil {
		t.Fatalf("init: %v", err)
	}
	return c
}

func (c *cluster) config(role bus.Role) up.Config {
	return up.Config{NATSURL: c.nats, NATSNKey: c.roles.Seed(role), Admin: "127.0.0.1:0", PasswordCost: password.Cost{MemoryKiB: 64, Iterations: 1},
		DrainTimeout: 5 * time.Second, Out: io.Discard, Logger: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
}

// run starts a process and waits for its ready line.
func (c *cluster) run(role bus.Role, change func(*up.Config)) *member {
	c.t.Helper()
	cfg := c.config(role)
	out, in := io.Pipe()
	cfg.Out = in
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := map[bus.Role]func(context.Context, up.Config) error{
			bus.RoleConnector: up.Connector, bus.RoleProjector: up.Projector, bus.RoleGateway: up.Gateway,
		}[role](ctx, cfg)
		in.Close()
		ended <- err
	}()
	m := &member{at: map[string]string{}, stop: func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}}
	c.t.Cleanup(func() {
		if err := m.stop(); err != nil {
			c.t.Errorf("%s: %v", m.at["role"], err)
		}
	})
	s := bufio.NewScanner(out)
	for s.Scan() {
		words := strings.Fields(s.Text())
		if words[0] != "ready" {
			continue
		}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			m.at[key] = value
		}
		return m
	}
	c.t.Fatalf("no ready line: %v", m.stop())
	return nil
}

func (c *cluster) connector() *member {
	return c.run(bus.RoleConnector, func(cfg *up.Config) { cfg.Listen, cfg.HTTP, cfg.Advertise = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1" })
}

func (c *cluster) projector() *member {
	return c.run(bus.RoleProjector, func(cfg *up.Config) { cfg.DataDir = c.t.TempDir() })
}

func (c *cluster) gateway() *member {
	return c.run(bus.RoleGateway, func(cfg *up.Config) {
		cfg.HTTP, cfg.FileListen, cfg.TokenFile = "127.0.0.1:0", "127.0.0.1:0", filepath.Join(c.dir, "token")
	})
}

// get is what an HTTP path says.
func (c *cluster) get(url string) (status int, body string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// ready waits until a process says that it can do its work.
func (c *cluster) ready(m *member) {
	c.t.Helper()
	bustest.Eventually(c.t, m.at["role"]+" is ready", func() bool {
		status, _ := c.get("http://" + m.at["admin"] + "/readyz")
		return status == http.StatusOK
	})
}

// login logs a person in at a connector, at once or a little later.
func (c *cluster) login(m *member, name string) (*ttclient.Client, chan proto.Message) {
	c.t.Helper()
	return c.loginBy(ttclient.Options{Addr: m.at["clients"], Name: name})
}

// browse is login as the page in a browser does it.
func (c *cluster) browse(m *member, name string) (*ttclient.Client, chan proto.Message) {
	c.t.Helper()
	return c.loginBy(ttclient.Options{Addr: "ws://" + m.at["http"] + "/ws", JSON: true, Name: name, Device: imbase.ClientType_CLIENT_TYPE_WEB})
}

func (c *cluster) loginBy(o ttclient.Options) (*ttclient.Client, chan proto.Message) {
	c.t.Helper()
	pushes := make(chan proto.Message, 256)
	var client *ttclient.Client
	o.Password, o.Push = password.MD5Hex("secret"), func(_ uint16, m proto.Message) { pushes <- m }
	bustest.Eventually(c.t, "login of "+o.Name, func() (in bool) {
		ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
		defer cancel()
		var err error
		client, err = ttclient.Login(ctx, o)
		if err != nil {
			c.t.Logf("login of %s: %v", o.Name, err) // a connector may say "not now"
		}
		return err == nil
	})
	c.t.Cleanup(client.Close)
	return client, pushes
}

func (c *cluster) hears(pushes chan proto.Message, text string) {
	c.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case m := <-pushes:
			if msg, ok := m.(*immsg.IMMsgData); ok {
				if said, _ := content.DecryptText(msg.GetMsgData()); said == text {
					return
				}
			}
		case <-limit:
			c.t.Fatalf("%q never came", text)
		}
	}
}

// say sends a text and waits for its ack.
func (c *cluster) say(from *ttclient.Client, to uint32, text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	if _, err := from.SendMessage(ctx, ttclient.Conversation{ID: to}, ttclient.Message{Data: content.EncryptText(text)}); err != nil {
		c.t.Fatalf("%q: %v", text, err)
	}
}

// The roles of one log serve together: what is sent at one connector comes out at another,
// and the gateway has the rest. Each of them may go while the others stay.
func TestRolesServeTogether(t *testing.T) {
	c := newCluster(t)
	projector, second := c.projector(), c.projector()
	a, b := c.connector(), c.connector()
	gateway := c.gateway()
	for _, m := range []*member{projector, a, b, gateway} {
		c.ready(m)
		for path, want := range map[string]string{"/healthz": "ok", "/metrics": "godwit_ready 1"} {
			if status, body := c.get("http://" + m.at["admin"] + path); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%s%s answers %d %.60q", m.at["role"], path, status, body)
			}
		}
	}
	operator := admin.NewClient(gateway.at["admin"], operatorToken)
	for _, name := range []string{"ann", "bob", "cy"} {
		if _, err := operator.Add(t.Context(), admin.NewPerson{Name: name, Password: "secret"}); err != nil {
			t.Fatal(err)
		}
	}
	bustest.Eventually(t, "msg_server names a connector", func() bool {
		_, body := c.get("http://" + gateway.at["http"] + "/msg_server")
		var where struct{ PriorIP, Port string }
		err := json.Unmarshal([]byte(body), &where)
		at := where.PriorIP + ":" + where.Port
		return err == nil && (at == a.at["clients"] || at == b.at["clients"])
	})
	ann, annHears := c.login(a, "ann")
	bob, bobHears := c.login(b, "bob")
	c.say(ann, bob.ID(), "across")
	c.hears(bobHears, "across")
	if err := operator.Call(t.Context(), http.MethodPost, "/messages", map[string]any{"from": ann.ID(), "to_user": bob.ID(), "text": "by the API"}, nil); err != nil {
		t.Fatal(err)
	}
	c.hears(bobHears, "by the API")

	// A browser is a device of its own beside his desktop, and is spoken to as that is.
	page, pageHears := c.browse(a, "bob")
	c.say(ann, bob.ID(), "to both of his")
	c.hears(bobHears, "to both of his")
	c.hears(pageHears, "to both of his")
	c.say(page, ann.ID(), "from the page")
	c.hears(annHears, "from the page")
	cy, _ := c.browse(b, "cy")
	bustest.Eventually(t, "ann sees one who is there in a browser alone", func() bool { // whoever she asks may have yet to hear of it
		online, err := ann.Statuses(t.Context(), []uint32{cy.ID()})
		return err == nil && online[cy.ID()]
	})
	for _, at := range []string{a.at["http"], gateway.at["http"]} {
		if status, body := c.get("http://" + at + "/"); status != http.StatusOK || !strings.Contains(body, "<html") {
			t.Errorf("the page of %s: %d %.60q", at, status, body)
		}
		if status, body := c.get("http://" + at + "/client.json"); status != http.StatusOK || !strings.Contains(body, `"groupLimit":10000`) {
			t.Errorf("its settings: %d %s", status, body)
		}
	}
	if status, body := c.get("http://" + gateway.at["http"] + "/ws"); status != http.StatusNotFound || !strings.Contains(body, "connectors") {
		t.Errorf("sessions at the gateway: %d %q", status, body)
	}

	bustest.Eventually(t, "a status tells of all", func() bool {
		st, err := operator.Status(t.Context())
		roles := map[string]int{}
		owned := 0
		for _, n := range st.Nodes {
			roles[n.Role]++
		}
		for _, s := range st.Streams {
			if s.Owner != nil && len(s.Standbys) == 1 && s.Replicas == 1 {
				owned++
			}
		}
		return err == nil && st.Role == "gateway" && roles["connector"] == 2 && roles["gateway"] == 1 && roles["projector"] == 2 &&
			owned == 4 && len(st.Leases) > 4 && len(st.Unknown) == 0 && st.DesktopOnline == 3
	})

	// The console's: the gateway sums what all say of themselves, and reads the log with no more rights than it has.
	bustest.Eventually(t, "figures of all", func() bool {
		var live struct {
			Samples []observe.Sample
			Nodes   []api.LiveNode
		}
		err := operator.Call(t.Context(), http.MethodGet, "/live", nil, &live)
		said := 0
		for _, n := range live.Nodes {
			if n.Live != nil {
				said++
			}
		}
		last := observe.Sample{}
		if n := len(live.Samples); n > 0 {
			last = live.Samples[n-1]
		}
		return err == nil && said == 5 && last.Sessions["desktop"] == 2 && last.Sessions["web"] == 2 && last.Connections == 4 &&
			len(last.Lag) == 4 && len(last.Streams) == 4 && last.Messages != nil
	})
	var why struct {
		Unread      int
		Explanation []string
		Complete    bool
	}
	if err := operator.Call(t.Context(), http.MethodGet, fmt.Sprintf("/users/%d/conversations/user-%d/why", bob.ID(), ann.ID()), nil, &why); err != nil || !why.Complete ||
		!strings.Contains(strings.Join(why.Explanation, " "), "is bob's own, written on the web on ") {
		t.Errorf("%+v, %v", why, err)
	}
	var log struct{ Events []api.LogEvent }
	if err := operator.Call(t.Context(), http.MethodGet, fmt.Sprintf("/events?type=SessionOpened&user=%d", bob.ID()), nil, &log); err != nil || len(log.Events) < 2 || log.Events[len(log.Events)-1].Summary != "bob signed in on desktop (Windows)" {
		t.Errorf("%+v, %v", log, err)
	}

	if err := projector.stop(); err != nil {
		t.Fatal(err)
	}
	c.say(ann, bob.ID(), "after the first projector")
	c.hears(bobHears, "after the first projector")
	c.ready(second)
	c.ready(a) // it may be reading what it missed
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-bob.Done():
	case <-time.After(time.Minute):
		t.Error("the client of a connector that stopped is still connected")
	}
	_, bobHears = c.login(a, "bob")
	c.say(ann, bob.ID(), "at one connector")
	c.hears(bobHears, "at one connector")
}

// Of several gateways one sends the pushes, and another does when it ends.
func TestRolesOfGatewaysPassOn(t *testing.T) {
	c := newCluster(t)
	c.projector()
	gateways := []*member{c.gateway(), c.gateway()}
	var clients []*admin.Client
	for _, g := range gateways {
		c.ready(g)
		clients = append(clients, admin.NewClient(g.at["admin"], operatorToken))
	}
	got := make(chan string, 64)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}))
	defer receiver.Close()
	for _, name := range []string{"ann", "bob"} {
		if _, err := clients[0].Add(t.Context(), admin.NewPerson{Name: name, Password: "secret"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := clients[0].Call(t.Context(), http.MethodPost, "/webhooks", map[string]any{"url": receiver.URL}, nil); err != nil {
		t.Fatal(err)
	}
	says := func(by *admin.Client, text string) {
		t.Helper()
		if err := by.Call(t.Context(), http.MethodPost, "/messages", map[string]any{"from": 1, "to_user": 2, "text": text}, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case said := <-got:
			if !strings.Contains(said, text) {
				t.Errorf("%q is pushed as %s", text, said)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q is never pushed", text)
		}
	}
	says(clients[1], "both are there")
	sender := -1
	bustest.Eventually(t, "one sends", func() bool {
		n := 0
		for i, g := range clients {
			if st, err := g.Status(t.Context()); err == nil && st.Pushes.Sending {
				sender, n = i, n+1
			}
		}
		return n == 1
	})
	if err := gateways[sender].stop(); err != nil {
		t.Fatal(err)
	}
	says(clients[1-sender], "one has gone")
	if len(got) > 0 {
		t.Errorf("pushed again: %s", <-got)
	}
}

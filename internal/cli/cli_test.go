package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/admin"
	"godwit/internal/config"
	"godwit/internal/datadir"
	"godwit/internal/up"
)

type result struct {
	code     int
	out, err string
}

func runWith(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code := Run(t.Context(), args, IO{In: strings.NewReader(in), Out: &out, Err: &errs})
	return result{code, out.String(), errs.String()}
}

// people is an account list in memory.
type people struct {
	mu   sync.Mutex
	list []admin.Person
	log  []string
}

func (p *people) find(name string) int {
	return slices.IndexFunc(p.list, func(x admin.Person) bool { return x.Name == strings.ToLower(name) })
}

func (p *people) Add(_ context.Context, n admin.NewPerson) (admin.Person, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.find(n.Name) >= 0 {
		return admin.Person{}, fmt.Errorf("%w", admin.ErrNameTaken)
	}
	x := admin.Person{Number: uint32(len(p.list) + 1), Name: strings.ToLower(n.Name), Nick: n.Nick}
	p.list = append(p.list, x)
	p.log = append(p.log, "add "+n.Name+" "+n.Password)
	return x, nil
}

func (p *people) Import(ctx context.Context, list []admin.NewPerson, report func(admin.ImportProgress)) error {
	var at admin.ImportProgress
	for i, n := range list {
		at.Handled++
		at.Refused = nil
		err := n.Check()
		if err == nil {
			_, err = p.Add(ctx, n)
		}
		if err != nil {
			at.Refused = []admin.ImportError{{Index: i, Name: n.Name, Taken: errors.Is(err, admin.ErrNameTaken), Error: err.Error()}}
		} else {
			at.Added++
		}
		report(at)
	}
	return nil
}

func (p *people) List(_ context.Context, after uint32, limit int) (admin.Page, error) {
	rest := p.list[min(int(after), len(p.list)):]
	return admin.Page{People: rest[:min(limit, len(rest))], More: len(rest) > limit}, nil
}

func (p *people) change(name, what string) error {
	at := p.find(name)
	if at < 0 {
		return fmt.Errorf("%w: %q", admin.ErrNoSuchPerson, name)
	}
	p.list[at].Disabled = what == "disable"
	p.log = append(p.log, what+" "+name)
	return nil
}

func (p *people) SetPassword(_ context.Context, name, password string) error {
	return p.change(name, "password "+password)
}

func (p *people) SetEnabled(_ context.Context, name string, on bool) error {
	if on {
		return p.change(name, "enable")
	}
	return p.change(name, "disable")
}

func (p *people) SetFriends(_ context.Context, a, b string, on bool) error {
	p.log = append(p.log, fmt.Sprint("friends ", a, " ", b, " ", on))
	return nil
}

type server struct{ equal bool }

func (s server) Status(context.Context) (admin.Status, error) {
	return admin.Status{Version: "test", PID: 5, Ready: true, Durability: "disk", Streams: []admin.StreamStatus{{Name: "PEOPLE", Last: 3, View: "people"}}}, nil
}

func (s server) Ready(context.Context) error { return nil }

func (s server) Replay(_ context.Context, _ bool, progress func(string, uint64, uint64)) (admin.ReplayReport, error) {
	progress("people", 3, 3)
	return admin.ReplayReport{Views: []admin.ViewReport{{Name: "people", Events: 3, Digest: "abc", Present: "abd", Equal: s.equal}}}, nil
}

// running is a data directory with a server in it.
func running(t *testing.T, s server) (string, *people) {
	t.Helper()
	path := t.TempDir()
	d, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	p := &people{}
	srv := httptest.NewServer(admin.NewHandler(admin.Config{People: p, Server: s, Token: token}))
	if err := d.PublishAdmin(srv.Listener.Addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		srv.Close()
		_ = d.Close()
	})
	return path, p
}

func TestBadSettingsAreOneSentenceAndBeginNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "never-made")
	for line, want := range map[string]string{
		"up --listen nowhere":                                         `godwit: --listen is "nowhere": give HOST:PORT or :PORT, for example :8000`,
		"up --durability ram":                                         `godwit: --durability is "ram": give disk or os`,
		"up --partitions 65":                                          `godwit: --partitions is "65": give a whole number from 0 to 64`,
		"up --password-cost cheap":                                    `godwit: --password-cost is "cheap": give MEMORY_KIB,ITERATIONS with memory from 8 to 262144 and iterations from 1 to 16, for example 19456,2`,
		"up --contacts nobody":                                        `godwit: --contacts is "nobody": give everyone or friends`,
		"up --log-level loud":                                         `godwit: --log-level is "loud": give debug, info, warn or error`,
		"up --device-policy x":                                        `godwit: --device-policy is "x": give groups of desktop, mobile and web, such as desktop,mobile,web or desktop+web,mobile, or none`,
		"up --min-free lots":                                          `godwit: --min-free is "lots": give a size such as 64MiB, 1GB or a number of bytes`,
		"up --advertise http://x":                                     `godwit: --advertise is "http://x": give the HOST or HOST:PORT that clients can reach, for example chat.example.org:8000`,
		"up --tls-listen :1":                                          `godwit: --tls-listen or --https, --tls-cert and --tls-key go together: give all three or none`,
		"up --nats-user x":                                            `godwit: --nats-user and all others that begin with --nats- are for an external NATS: give --nats as well`,
		"up --nats nats://x --durability os":                          `godwit: --durability and --min-free are settings of the embedded log: with --nats, set them at the NATS servers`,
		"up --drain-timeout 0s":                                       `godwit: --drain-timeout is "0s": give a duration above zero, for example 10s`,
		"up --nats nats://x --nats-user u --nats-nkey k":              `godwit: of --nats-user, --nats-creds and --nats-nkey only one can be used: give one of them`,
		"up --nats nats://x --nats-password p":                        `godwit: --nats-password is given without --nats-user: give both`,
		"up --proxy-from me":                                          `godwit: --proxy-from is "me": give networks and addresses, for example 10.0.0.0/8,192.0.2.7`,
		"up --origin https://a.example/x":                             `godwit: --origin is "https://a.example/x": give an origin such as https://chat.example.org, or a host, or * for any`,
		"gateway --nats nats://x --token-file t --edit-time=-1s":      `godwit: --edit-time is "-1s": give a duration such as 2m, or 0`,
		"gateway --nats nats://x --token-file t --https :1":           `godwit: --https, --tls-cert and --tls-key go together: give all three or none`,
		"connector --nats nats://x --http 8080":                       `godwit: --http is "8080": give HOST:PORT or :PORT, for example 127.0.0.1:8000`,
		"up --file-keep 1s":                                           `godwit: --file-keep is "1s": give a minute or more, for example 168h`,
		"connector":                                                   `godwit: --nats is not given: give the URL of each NATS server, for example --nats nats://127.0.0.1:4222`,
		"projector --data= --nats nats://x":                           `godwit: --data is "": give a directory, for example ./godwit-data`,
		"gateway --nats nats://x":                                     `godwit: --token-file is "": give the file with the token of the admin API`,
		"connector --nats nats://x --tls-cert c":                      `godwit: --tls-listen or --https, --tls-cert and --tls-key go together: give all three or none`,
		"connector --nats nats://x --nats-cert c":                     `godwit: --nats-cert and --nats-key go together: give both or none`,
		"gateway --nats nats://x --token-file t --picture-url x":      `godwit: --picture-url is "x": give an http or https URL, for example https://pictures.example.org/`,
		"init --nats nats://x --picture-store 1":                      `godwit: --picture-store is 1: give an amount from 1 MiB to 512 TiB, for example 16GiB`,
		"init --nats nats://x --replicas 6":                           `godwit: --replicas is "6": give a whole number from 0 to 5`,
		"up --jwt-key-file k":                                         `godwit: --jwt-key-file and --jwt-jwks-url need --jwt-issuer and --jwt-audience: give both`,
		"up --jwt-jwks-url http://x/ --jwt-issuer i --jwt-audience a": `godwit: --jwt-jwks-url is "http://x/": give an https URL, or an http one of this machine, without a password`,
		"up --jwt-issuer i":                                           `godwit: --jwt-issuer, --jwt-audience and --jwt-create are for login tokens: give --jwt-key-file or --jwt-jwks-url as well`,
		"up --recalled-text=":                                         `godwit: --recalled-text has 0 bytes: give 1 to 200 of UTF-8, for example 此消息已撤回`,
		"up --resume-time 1s":                                         `godwit: --resume-time is "1s": give 1m to 87600h, for example 720h, or 0 for none`,
		"up --resume-time 900000h":                                    `godwit: --resume-time is "900000h0m0s": give 1m to 87600h, for example 720h, or 0 for none`,
		"up --push-quiet night":                                       `godwit: --push-quiet is "night": give a stretch of the day such as 22:00-07:00, or nothing for none`,
		"up --push-zone Mars/Base":                                    `godwit: --push-zone is "Mars/Base": give Local, UTC or the name of a time zone such as Europe/Berlin`,
		"import teamtalk dump.sql --voices /nowhere":                  `godwit: --voices is "/nowhere": give the directory of TeamTalk's picture and voice store, which holds g0`,
		"up extra":                         `godwit: write: godwit up; see godwit up --help`,
		"up --demoo":                       `godwit: unknown flag: --demoo; see godwit up --help`,
		"upp":                              `godwit: godwit has no command "upp": did you mean up?; see godwit --help`,
		"user ad bob":                      `godwit: godwit user has no command "ad": did you mean add?; see godwit user --help`,
		"user add":                         `godwit: write: godwit user add NAME; see godwit user add --help`,
		"user add b/ob":                    `godwit: name "b/ob": give 1 to 64 characters without spaces and slashes, not beginning with -`,
		"user list --token-file x":         `godwit: --token-file goes with --admin: give both, or neither`,
		"chat bob":                         `godwit: no password: give GODWIT_PASSWORD or --password-file`,
		"chat bob --password x --tls-ca y": `godwit: --tls-ca goes with --tls: give both, or neither`,
		"chat bob --server http://x":       `godwit: --server is "http://x": give HOST or HOST:PORT, for example 127.0.0.1:8000, or a URL such as wss://chat.example.org/ws`,
		"chat bob --server ws://x --tls":   `godwit: --tls is for HOST:PORT, and --server is "ws://x/ws": give a URL with wss://`,
		"chat bob --device pc":             `godwit: --device is "pc": give windows, mac, ios, android or web`,
		"chat bob --server a:b:c":          `godwit: --server is "a:b:c": give HOST or HOST:PORT, for example 127.0.0.1:8000`,
		"bench oneone --hostile nice":      `godwit: --hostile is "nice": give flood, garbage, lying-length, never-reads, silent-connections, slowloris`,
		"bench oneone --size 3":            `godwit: --size is "3": give a whole number from 40 to 307200`,
	} {
		args := strings.Fields(line)
		if args[0] == "up" {
			args = append(args, "--data", data)
		}
		r := runWith(t, "", args...)
		if r.code != ExitUsage || r.err != want+"\n" || r.out != "" {
			t.Errorf("godwit %s\n got %d %s%s\nwant %s", line, r.code, r.out, r.err, want)
		}
	}
	if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused command made its data directory: %v", err)
	}
}

func TestSettingsOfOtherCommandsMayStandInTheFile(t *testing.T) {
	data, _ := running(t, server{equal: true})
	file := filepath.Join(t.TempDir(), "godwit.yaml")
	text := fmt.Sprintf("data: %s\nlisten: ':9000'\npairs: 7\n", data)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runWith(t, "", "user", "list", "--config", file); r.code != 0 || !strings.HasPrefix(r.out, "NUMBER") {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(file, []byte(text+"lissten: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runWith(t, "", "user", "list", "--config", file)
	if r.code != ExitUsage || !strings.Contains(r.err, `unknown key "lissten": did you mean "listen"?`) {
		t.Errorf("%+v", r)
	}
}

func TestUsersFromTheCommandLine(t *testing.T) {
	data, p := running(t, server{})
	if r := runWith(t, "", "user", "--data", data, "add", "Bob", "--password", "pw", "--nick", "B"); r.code != 0 || r.out != "added bob, number 1\n" {
		t.Errorf("%+v", r)
	}
	r := runWith(t, "", "user", "add", "ann", "--data", data)
	made := strings.TrimPrefix(p.log[len(p.log)-1], "add ann ")
	if r.code != 0 || r.out != "added ann, number 2\npassword "+made+"\n" || len(made) < 16 {
		t.Errorf("generated password %q: %+v", made, r)
	}
	if r := runWith(t, "from stdin\nrest", "user", "passwd", "ann", "--password-file", "-", "--data", data); r.code != 0 || p.log[len(p.log)-1] != "password from stdin ann" {
		t.Errorf("%+v, %v", r, p.log)
	}
	if r := runWith(t, "", "user", "add", "bob", "--password", "x", "--data", data); r.code != ExitError || r.err != "godwit: bob: name is taken\n" {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, "", "user", "disable", "zed", "--data", data); r.code != ExitError || r.err != "godwit: no such person: \"zed\"\n" {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"user", "disable", "bob"}, {"user", "enable", "bob"}, {"user", "disable", "ann"}, {"friend", "add", "ann", "bob"}, {"friend", "remove", "ann", "bob"}} {
		if r := runWith(t, "", append(args, "--data", data)...); r.code != 0 {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if got := p.log[len(p.log)-1]; got != "friends ann bob false" {
		t.Errorf("last call %q", got)
	}
	want := "NUMBER  NAME  NICK  STATE\n1       bob   B     enabled\n2       ann         disabled\n"
	if r := runWith(t, "", "user", "list", "--data", data); r.out != want {
		t.Errorf("list:\n%s", r.out)
	}
}

func TestPasswordMayComeFromTheEnvironment(t *testing.T) {
	data, p := running(t, server{})
	t.Setenv("GODWIT_PASSWORD", "from env")
	t.Setenv("GODWIT_DATA", data)
	if r := runWith(t, "", "user", "add", "bob"); r.code != 0 || p.log[0] != "add bob from env" {
		t.Errorf("%+v, %v", r, p.log)
	}
}

func TestImportFromACSVFile(t *testing.T) {
	data, p := running(t, server{})
	csv := "\ufeffname,password,nick\nann,1,Ann A.\n\"bob\", 2,\nb ad,3,\nANN,4,\n"
	r := runWith(t, csv, "user", "import", "-", "--data", data)
	if r.code != ExitError || !strings.HasPrefix(r.out, "added 2, there already 1, refused 1, in ") {
		t.Errorf("%+v", r)
	}
	if !strings.HasPrefix(r.err, `line 4: b ad: name "b ad"`) || strings.Contains(r.err, "godwit:") {
		t.Errorf("stderr %q", r.err)
	}
	if p.list[0].Nick != "Ann A." || p.log[1] != "add bob 2" {
		t.Errorf("%+v, %v", p.list, p.log)
	}
	if r := runWith(t, "password,name\n1,ann\n", "user", "import", "-", "--data", data); r.code != 0 || !strings.Contains(r.out, "there already 1") {
		t.Errorf("other order of columns: %+v", r)
	}
	for text, want := range map[string]string{
		"":                        "is empty",
		"ann,1\n":                 `column "ann" is not one of`,
		"name,nick\nann,A\n":      "it is to be name,password",
		"name,password\nann\n":    "wrong number of fields",
		"name,name,password\na,b": `column "name"`,
	} {
		if r := runWith(t, text, "user", "import", "-", "--data", data); r.code == 0 || !strings.Contains(r.err, want) {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

func TestCommandsSayWhereNoServerIs(t *testing.T) {
	none := t.TempDir()
	r := runWith(t, "", "status", "--data", none)
	if r.code != ExitError || !strings.HasPrefix(r.err, "godwit: no server runs in "+none) || strings.Count(r.err, "\n") != 1 {
		t.Errorf("%+v", r)
	}
}

func TestAdminAndTokenFileReachAServerWithoutItsDirectory(t *testing.T) {
	data, _ := running(t, server{})
	addr, _, err := datadir.FindAdmin(data)
	if err != nil {
		t.Fatal(err)
	}
	r := runWith(t, "", "status", "--admin", addr, "--token-file", filepath.Join(data, datadir.TokenFile), "--json")
	var st admin.Status
	if err := json.Unmarshal([]byte(r.out), &st); err != nil || st.PID != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAdminWithoutATokenSaysWhatIsMissing(t *testing.T) {
	r := runWith(t, "", "user", "list", "--admin", "127.0.0.1:1", "--data", t.TempDir())
	if r.code != ExitError || r.out != "" || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, "--token-file") {
		t.Errorf("%+v", r)
	}
}

func TestReplayAsksARunningServer(t *testing.T) {
	data, _ := running(t, server{equal: true})
	if r := runWith(t, "", "replay", "--verify", "--data", data); r.code != 0 || !strings.Contains(r.out, "all views are equal") {
		t.Errorf("%+v", r)
	}
	data, _ = running(t, server{})
	if r := runWith(t, "", "replay", "--verify", "--data", data); r.code != ExitError || !strings.Contains(r.out, "NOT EQUAL") || !strings.Contains(r.out, "DIFFERS from abd") {
		t.Errorf("%+v", r)
	}
}

func TestSecondServerIsRefusedInOneSentence(t *testing.T) {
	data, _ := running(t, server{})
	r := runWith(t, "", "up", "--data", data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	want := fmt.Sprintf("godwit: %s is in use by process %d: stop it first, or give another --data\n", data, os.Getpid())
	if r.code != ExitError || r.err != want {
		t.Errorf("got %+v\nwant %s", r, want)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	if r := runWith(t, "", "version"); r.code != 0 || !strings.HasPrefix(r.out, "godwit ") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, "", "completion", "bash"); r.code != 0 || !strings.Contains(r.out, "complete") {
		t.Errorf("%d, %d bytes", r.code, len(r.out))
	}
	if r := runWith(t, "", "__complete", "user", "a"); !strings.Contains(r.out, "add\t") {
		t.Errorf("%+v", r)
	}
	if r := runWith(t, "", "__complete", "up", "--durability", ""); !strings.HasPrefix(r.out, "disk\nos\n") {
		t.Errorf("%+v", r)
	}
}

func TestEveryCommandAndFlagExplainsItself(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.CommandPath(), f.Name)
			}
		})
		r := runWith(t, "", append(strings.Fields(c.CommandPath())[1:], "--help")...)
		if r.code != 0 || !strings.Contains(r.out, "Usage:") {
			t.Errorf("%s --help: %d %s", c.CommandPath(), r.code, r.err)
		}
		for line := range strings.SplitSeq(r.out, "\n") {
			if strings.Contains(line, "%!") {
				t.Errorf("%s --help: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, c := range newRoot(IO{}).Commands() {
		walk(c)
	}
}

func TestDemoStaysHomeUnlessToldOtherwise(t *testing.T) {
	at := func(args ...string) [2]string {
		var cfg up.Config
		cmd := &cobra.Command{Use: "up"}
		cmd.Flags().Var(config.Listen(&cfg.Listen, defaultListen), "listen", "")
		cmd.Flags().Var(config.Listen(&cfg.HTTP, defaultHTTP), "http", "")
		if err := errors.Join(cmd.ParseFlags(args), config.Apply(cmd)); err != nil {
			t.Fatal(err)
		}
		stayHome(cmd, &cfg)
		return [2]string{cfg.Listen, cfg.HTTP}
	}
	if got := at(); got != [2]string{"127.0.0.1:8000", "127.0.0.1:8080"} {
		t.Errorf("listens at %v", got)
	}
	if got := at("--listen", ":9000"); got != [2]string{":9000", "127.0.0.1:8080"} {
		t.Errorf("with a flag it listens at %v", got)
	}
	t.Setenv(config.EnvName("http"), ":7000")
	if got := at(); got != [2]string{"127.0.0.1:8000", ":7000"} {
		t.Errorf("with a variable it listens at %v", got)
	}
}

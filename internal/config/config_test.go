package config

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// values are what the command of these tests ends up with.
type values struct {
	listen string
	mode   string
	count  int
	size   uint64
	urls   []string
	wait   time.Duration
	demo   bool
	args   []string
}

// runWith runs a command line of a program with one command and another beside it.
func runWith(t *testing.T, args ...string) (values, error) {
	t.Helper()
	var v values
	root := &cobra.Command{Use: "prog", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().String(FileFlag, "", "")
	root.SetFlagErrorFunc(FlagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return Apply(cmd) }
	cmd := &cobra.Command{Use: "up", RunE: func(_ *cobra.Command, args []string) error { v.args = args; return nil }}
	f := cmd.Flags()
	f.Var(Listen(&v.listen, ":8000"), "listen", "")
	f.Var(OneOf(&v.mode, "disk", "disk", "os"), "durability-mode", "")
	f.Var(Int(&v.count, 5, 1, 9), "count", "")
	f.Var(Bytes(&v.size, 1<<20), "min-free", "")
	f.StringSliceVar(&v.urls, "nats", nil, "")
	f.DurationVar(&v.wait, "wait", time.Second, "")
	f.BoolVar(&v.demo, "demo", false, "")
	other := &cobra.Command{Use: "other", Run: func(*cobra.Command, []string) {}}
	other.Flags().String("elsewhere", "", "")
	root.AddCommand(cmd, other)
	root.SetOut(io.Discard)
	root.SetArgs(append([]string{"up"}, args...))
	return v, root.Execute()
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagWinsOverVariableOverFileOverDefault(t *testing.T) {
	path := file(t, "godwit.yaml", "listen: ':1'\nelsewhere: x\n")
	for _, c := range []struct {
		name string
		env  string
		args []string
		want string
	}{
		{"default", "", nil, ":8000"},
		{"file", "", []string{"--config", path}, ":1"},
		{"variable over file", ":2", []string{"--config", path}, ":2"},
		{"flag over all", ":2", []string{"--config", path, "--listen", ":3"}, ":3"},
		{"variable alone", ":2", nil, ":2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv("GODWIT_LISTEN", c.env)
			}
			v, err := runWith(t, c.args...)
			if err != nil || v.listen != c.want {
				t.Errorf("listen is %q, %v; want %q", v.listen, err, c.want)
			}
		})
	}
}

func TestFileMayBeNamedByAVariable(t *testing.T) {
	t.Setenv("GODWIT_CONFIG", file(t, "godwit.toml", "count = 7\n"))
	if v, err := runWith(t); err != nil || v.count != 7 {
		t.Errorf("count is %d, %v", v.count, err)
	}
}

func TestEveryKindOfValueComesFromEverywhere(t *testing.T) {
	want := values{listen: ":1", mode: "os", count: 3, size: 5 << 20, urls: []string{"a", "b"}, wait: time.Minute, demo: true}
	check := func(t *testing.T, v values, err error) {
		t.Helper()
		if err != nil || v.listen != want.listen || v.mode != want.mode || v.count != want.count || v.size != want.size ||
			!slices.Equal(v.urls, want.urls) || v.wait != want.wait || v.demo != want.demo {
			t.Errorf("got %+v, %v", v, err)
		}
	}
	t.Run("flags", func(t *testing.T) {
		v, err := runWith(t, "--listen", ":1", "--durability-mode=os", "--count", "3", "--min-free", "5MiB", "--nats", "a", "--nats", "b", "--wait", "1m", "--demo")
		check(t, v, err)
	})
	t.Run("variables", func(t *testing.T) {
		for k, v := range map[string]string{
			"LISTEN": ":1", "DURABILITY_MODE": "os", "COUNT": "3", "MIN_FREE": "5242880", "NATS": "a,b", "WAIT": "1m", "DEMO": "true",
		} {
			t.Setenv("GODWIT_"+k, v)
		}
		v, err := runWith(t)
		check(t, v, err)
	})
	t.Run("file", func(t *testing.T) {
		v, err := runWith(t, "--config", file(t, "c.yaml", "listen: ':1'\ndurability-mode: os\ncount: 3\nmin-free: 5MiB\nnats: [a, b]\nwait: 1m\ndemo: true\n"))
		check(t, v, err)
	})
}

func TestFlagsMayStandAnywhere(t *testing.T) {
	v, err := runWith(t, "x", "--count", "3", "y", "--demo", "z")
	if err != nil || v.count != 3 || !v.demo || !slices.Equal(v.args, []string{"x", "y", "z"}) {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestARefusalIsOneSentenceWithPlaceValueAndMend(t *testing.T) {
	bad := file(t, "c.yaml", "count: 12\n")
	for _, c := range []struct {
		name string
		env  [2]string
		args []string
		want string
	}{
		{name: "flag", args: []string{"--listen", "foo"}, want: `--listen is "foo": give HOST:PORT or :PORT, for example :8000`},
		{name: "port out of range", args: []string{"--listen", ":70000"}, want: `--listen is ":70000": give HOST:PORT or :PORT, for example :8000`},
		{name: "word", args: []string{"--durability-mode", "ram"}, want: `--durability-mode is "ram": give disk or os`},
		{name: "number out of range", args: []string{"--count", "10"}, want: `--count is "10": give a whole number from 1 to 9`},
		{name: "size", args: []string{"--min-free", "much"}, want: `--min-free is "much": give a size such as 64MiB, 1GB or a number of bytes`},
		{name: "duration", args: []string{"--wait", "soon"}, want: `--wait is "soon": give a duration such as 30s or 2m`},
		{name: "bool", args: []string{"--demo=perhaps"}, want: `--demo is "perhaps": give true or false`},
		{name: "variable", env: [2]string{"GODWIT_COUNT", "no"}, want: `GODWIT_COUNT is "no": give a whole number from 1 to 9`},
		{name: "file", args: []string{"--config", bad}, want: `count in ` + bad + ` is "12": give a whole number from 1 to 9`},
		{name: "unknown flag", args: []string{"--cout", "3"}, want: `unknown flag: --cout; see prog up --help`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env[0] != "" {
				t.Setenv(c.env[0], c.env[1])
			}
			_, err := runWith(t, c.args...)
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if !errors.Is(err, ErrSetting) {
				t.Error("it is no ErrSetting")
			}
		})
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"lisen: ':1'\n":               `has the unknown key "lisen": did you mean "listen"?`,
		"tls:\n  listen: ':1'\n":      `has the unknown key "tls.listen"`,
		"colour: blue\n":              `has the unknown key "colour": remove it`,
		"count: 3\nconfig: other\n":   `has the unknown key "config"`,
		"elsewhere: x\nhelp: true\n":  `has the unknown key "help"`,
		"count: 3\n  listen: [broken": `is no configuration file`,
	} {
		_, err := runWith(t, "--config", file(t, "c.yaml", text))
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrSetting) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := runWith(t, "--config", filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, ErrSetting) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestServersAreCompleted(t *testing.T) {
	for in, want := range map[string]string{
		"localhost": "localhost:8000", "10.0.0.1:9": "10.0.0.1:9", "::1": "[::1]:8000", "[::1]:9": "[::1]:9", ":9": "127.0.0.1:9",
		"chat.example.org": "chat.example.org:8000",
	} {
		var got string
		if err := Server(&got, "", 8000).Set(in); err != nil || got != want {
			t.Errorf("%s becomes %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "a b", "http://x", "x:0", "x:70000", "a:b:c", ":"} {
		var got string
		if err := Server(&got, "", 8000).Set(in); err == nil {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

func TestEntrancesAreServersAndURLs(t *testing.T) {
	for in, want := range map[string]string{
		"a.example": "a.example:8000", "[::1]:9": "[::1]:9",
		"ws://127.0.0.1:8080": "ws://127.0.0.1:8080/ws", "wss://a.example/": "wss://a.example/ws", "wss://a.example/chat/ws": "wss://a.example/chat/ws",
	} {
		var got string
		if err := Entrance(&got, "", 8000).Set(in); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "http://a.example/ws", "ws://", "ws:///ws", "ws://user@a.example/", "ws://a.example/?x=1", "wss://a.example/#x", "ws://a b/"} {
		var got string
		if err := Entrance(&got, "", 8000).Set(in); err == nil {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

func TestNetworksAreListed(t *testing.T) {
	var got []netip.Prefix
	v := Networks(&got)
	if err := v.Set("10.1.2.3/8, 192.0.2.7 2001:db8::/32"); err != nil || v.String() != "10.0.0.0/8,192.0.2.7/32,2001:db8::/32" {
		t.Errorf("%s, %v", v, err)
	}
	if err := v.Set(v.String()); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	if err := v.Set("nowhere"); err == nil {
		t.Errorf("a word is %v", got)
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]uint64{"0": 0, "17": 17, "64MiB": 64 << 20, "1 GB": 1e9, "2k": 2 << 10, "3KB": 3000, "5B": 5} {
		var got uint64
		if err := Bytes(&got, 0).Set(in); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", in, got, err, want)
		}
	}
	for _, n := range []uint64{0, 1, 1023, 1 << 10, 64 << 20, 3 << 30, 1<<20 + 1} {
		var got uint64
		if err := Bytes(&got, 0).Set(FormatBytes(n)); err != nil || got != n {
			t.Errorf("%d is written %s and read %d, %v", n, FormatBytes(n), got, err)
		}
	}
	var none uint64
	if err := Bytes(&none, 0).Set("99999999999TiB"); err == nil {
		t.Errorf("too much is %d", none)
	}
}

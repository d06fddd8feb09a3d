package observe_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/spf13/viper"

	"godwit/bus"
	"godwit/internal/certtest"
	"godwit/internal/password"
	"godwit/internal/up"
)

const (
	dashboardFile  = "../../deploy/grafana/dashboards/godwit.json"
	alertsFile     = "../../deploy/prometheus/alerts.yml"
	alertTestsFile = "../../deploy/prometheus/alerts_test.yml"
	scrapeFile     = "../../deploy/prometheus/prometheus.yml"
	document       = "../../docs/operations.md"
)

// A metric as the program describes it.
type metric struct {
	help   string
	labels []string
}

// program brings a whole server up, which has the parts of every role, and says what it measures.
func program(t *testing.T) (metrics map[string]metric, registry *prometheus.Registry) {
	t.Helper()
	registry = prometheus.NewRegistry()
	cert, key := certtest.Write(t, t.TempDir(), "test", certtest.Ends)
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		defer in.Close()
		ended <- up.Run(ctx, up.Config{
			DataDir: t.TempDir(), Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", FileListen: "127.0.0.1:0",
			TLSListen: "127.0.0.1:0", HTTPS: "127.0.0.1:0", TLSCert: cert, TLSKey: key,
			Durability: bus.OS, PasswordCost: password.Cost{MemoryKiB: 64, Iterations: 1}, Out: in, Registry: registry,
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	ready := false
	for s := bufio.NewScanner(out); !ready && s.Scan(); {
		ready = strings.HasPrefix(s.Text(), "ready ")
	}
	if !ready {
		t.Fatal("the server did not come up")
	}
	metrics = map[string]metric{}
	described := make(chan *prometheus.Desc)
	go func() {
		defer close(described)
		registry.Describe(described)
	}()
	for d := range described {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("can't read %s", d)
		}
		help, err := strconv.Unquote(m[2])
		if err != nil {
			t.Fatal(err)
		}
		labels := metrics[m[1]].labels
		for _, l := range constant.FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, l[1])
		}
		metrics[m[1]] = metric{help, append(labels, strings.FieldsFunc(m[4], func(r rune) bool { return r == ',' })...)}
	}
	return metrics, registry
}

var (
	description = regexp.MustCompile(`^Desc\{fqName: "(.*?)", help: (".*?[^\\]"|""), .*?constLabels: \{(.*?)\}, variableLabels: \{(.*?)\}\}$`)
	constant    = regexp.MustCompile(`(\w+)="`)
)

// What a metric's samples are called beside its name: those of histograms.
var suffixes = []string{"", "_bucket", "_sum", "_count"}

// rule is an alarm.
type rule struct{ alert, expr string }

func rules(t *testing.T) (all []rule) {
	t.Helper()
	v := viper.New()
	v.SetConfigFile(alertsFile)
	if err := v.ReadInConfig(); err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Rules []struct{ Alert, Expr string }
	}
	if err := v.UnmarshalKey("groups", &groups); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			all = append(all, rule{r.Alert, r.Expr})
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no alarms")
	}
	return all
}

// expressions are those of alarms and dashboard, by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, r := range rules(t) {
		found["alarm "+r.alert] = r.expr
	}
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	for _, p := range d.Panels {
		for i, target := range p.Targets {
			found[fmt.Sprintf("panel %s, %d", p.Title, i)] = target.Expr
		}
	}
	for _, v := range d.Templating.List {
		if q, ok := v.Query.(map[string]any); ok {
			found["variable "+v.Name] = fmt.Sprint(q["query"])
		}
	}
	return found
}

var (
	ours   = regexp.MustCompile(`\bgodwit_[a-z0-9_]+\b`)
	quoted = regexp.MustCompile(`"[^"]*"`)
	rated  = regexp.MustCompile(`\b(?:rate|increase|irate)\((\w+)`)
	words  = regexp.MustCompile(`(?:\bby|\bon|\bwithout) \(([^)]*)\)|([a-zA-Z_]\w*)(?:=~|!~|!=|=)"`)
)

// What Prometheus itself or its configuration gives each sample.
var given = []string{"job", "instance", "role", "le", "alertstate", "alertname"}

// What an operator is shown is what the program measures, and what it measures is named well.
func TestMetrics(t *testing.T) {
	metrics, registry := program(t)
	t.Run("named by alarms and panels", func(t *testing.T) { namedAreThere(t, metrics) })
	t.Run("names and help", func(t *testing.T) { wellNamed(t, metrics) })
	t.Run("lint", func(t *testing.T) { lint(t, registry) })
}

// namedAreThere: every metric that an alarm or a panel names is there, is a counter where its rate is taken, and has the labels
// that are asked of it.
func namedAreThere(t *testing.T, metrics map[string]metric) {
	named := func(sample string) (string, bool) {
		for _, s := range suffixes {
			name := strings.TrimSuffix(sample, s)
			if _, ok := metrics[name]; ok {
				return name, true
			}
		}
		return "", false
	}
	used := map[string]bool{}
	for where, expr := range expressions(t) {
		labels := slices.Clone(given)
		for _, sample := range ours.FindAllString(quoted.ReplaceAllString(expr, `""`), -1) {
			name, ok := named(sample)
			if !ok {
				t.Errorf("%s: the program has no %s", where, sample)
				continue
			}
			used[name] = true
			labels = append(labels, metrics[name].labels...)
		}
		for _, m := range rated.FindAllStringSubmatch(expr, -1) {
			if !slices.ContainsFunc([]string{"_total", "_bucket", "_sum", "_count", "_sequence"}, func(s string) bool { return strings.HasSuffix(m[1], s) }) {
				t.Errorf("%s: rate of %s, which only ever goes up and down", where, m[1])
			}
		}
		for _, m := range words.FindAllStringSubmatch(expr, -1) {
			for l := range strings.SplitSeq(m[1]+m[2], ",") {
				if l = strings.TrimSpace(l); l != "" && l != "__name__" && !slices.Contains(labels, l) {
					t.Errorf("%s: none of its metrics has the label %s", where, l)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if strings.HasPrefix(name, "godwit_") && !used[name] {
			t.Logf("%s is in no panel and no alarm", name)
		}
	}
}

// wellNamed: every metric says what it is, and none has a label whose values grow with the people.
func wellNamed(t *testing.T, metrics map[string]metric) {
	for name, m := range metrics {
		if !strings.HasPrefix(name, "godwit_") {
			if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
				t.Errorf("%s is not of the family godwit_", name)
			}
			continue
		}
		if !strings.HasSuffix(m.help, ".") || len(m.help) < 10 {
			t.Errorf("%s: help is %q, not a sentence", name, m.help)
		}
		for _, l := range m.labels {
			if slices.Contains([]string{"user", "name", "conversation", "group", "session", "address", "ip", "life", "trace"}, l) {
				t.Errorf("%s has the label %s, of which there are too many", name, l)
			}
			if slices.Contains(given, l) {
				t.Errorf("%s has the label %s, which the scrape sets", name, l)
			}
		}
	}
}

func lint(t *testing.T, registry *prometheus.Registry) {
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "godwit_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// Every alarm has an entry in the document, in the same words, and a test of its own; and none is described that is not there.
func TestAlarmsAreDescribed(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(alertTestsFile)
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]string{}
	for section := range strings.SplitSeq(string(text), "\n### ") {
		section, _, _ = strings.Cut(section, "\n## ")
		if title, what, _ := strings.Cut(section, "\n"); strings.HasPrefix(title, "Godwit") {
			described[title] = what
		}
	}
	for _, r := range rules(t) {
		what, ok := described[r.alert]
		switch {
		case !ok:
			t.Errorf("%s has no entry %q in docs/operations.md", r.alert, "### "+r.alert)
		case !strings.Contains(what, "**Means**") || !strings.Contains(what, "**Do**"):
			t.Errorf("the entry of %s lacks what it means or what to do", r.alert)
		}
		delete(described, r.alert)
		if !bytes.Contains(tests, []byte("alertname: "+r.alert+"\n")) {
			t.Errorf("alerts_test.yml does not test %s", r.alert)
		}
	}
	for alert := range described {
		t.Errorf("docs/operations.md describes %s, which is no alarm", alert)
	}
}

// Prometheus itself reads the configuration and the expressions of the dashboard, and tries the alarms, where its tool is there.
func TestPrometheusTakesTheAlarms(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not there")
	}
	panels := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(panels, panelsAsRules(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "config", scrapeFile}, {"check", "rules", panels}, {"test", "rules", alertTestsFile}} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// panelsAsRules are the expressions of the dashboard as Grafana sends them, as rules that promtool can read.
func panelsAsRules(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("groups:\n  - name: panels\n    rules:\n")
	grafana := strings.NewReplacer("$__rate_interval", "30s", "$role", ".*", "$instance", ".*")
	n := 0
	for where, expr := range expressions(t) {
		if strings.HasPrefix(where, "panel ") {
			fmt.Fprintf(&b, "      - record: panel_%d\n        expr: %q\n", n, grafana.Replace(expr))
			n++
		}
	}
	return b.Bytes()
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"godwit/internal/cli"
)

// The house rules. A room is a top-level folder; what it may import of ours is listed, and every edge that is not is
// forbidden for the room's reason. Libraries are named where a room must not know them.

const module = "godwit"

type room struct {
	may    []string // rooms of ours, or packages that are nobody's wiring
	reason string   // why no other
	never  []banned // libraries and packages of the standard library
}

// helpers stand in internal and import nothing of ours, so a room may use one that its rule names.
var helpers = []string{"internal/origin", "internal/password"}

type banned struct {
	prefix string // an import path, or the beginning of one that ends in a slash
	reason string
}

const (
	natsReason   = "JetStream is known to bus only, so that one place knows how it fails"
	bboltReason  = "bbolt is known to projections only: a file has one process, and views are asked over the bus"
	pureReason   = "a decision must be the same on every replay; bring the value along as an argument"
	silentReason = "a decision has no effects; its caller logs"
)

var nats = []banned{
	{"github.com/nats-io/", natsReason},
}

var bbolt = []banned{
	{"go.etcd.io/bbolt", bboltReason},
}

var rooms = map[string]room{
	"schema": {
		reason: "schema is what all parts agree on, so it knows none of them",
		never:  slices.Concat(nats, bbolt),
	},
	"bus": {
		may:    []string{"schema"},
		reason: "bus carries events and has no opinion of them",
		never:  bbolt,
	},
	"commands": {
		may:    []string{"schema"},
		reason: "a decision is a pure function of what it is given",
		never: slices.Concat(nats, bbolt, []banned{
			{"net", pureReason},
			{"net/", pureReason},
			{"os", pureReason},
			{"os/", pureReason},
			{"math/rand", pureReason},
			{"math/rand/", pureReason},
			{"crypto/rand", pureReason},
			{"log", silentReason},
			{"log/", silentReason},
		}),
	},
	"projections": {
		may:    []string{"schema", "bus"},
		reason: "what happened may not depend on what was asked, nor on who is connected",
		never:  nats,
	},
	"connector": {
		may:    []string{"schema", "bus", "commands", "internal/origin", "internal/password"},
		reason: "a connector keeps nothing that matters after a crash: it asks views over the bus, and is wired by internal",
		never:  slices.Concat(nats, bbolt),
	},
	"internal": {
		may: []string{"schema", "bus", "commands", "projections", "connector"},
	},
	"scripts": {
		reason: "a script runs on its own",
	},
	"": { // main.go
		may:    []string{"internal"},
		reason: "main holds no logic: internal wires",
	},
}

// folds are the packages that must give the same view for the same log.
var folds = []string{"projections/people", "projections/presence", "projections/timeline"}

// clocks are the functions that make a result depend on when or where it is computed.
var clocks = map[string][]string{
	"time":                     {"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"},
	"math/rand":                nil, // every function of it
	"math/rand/v2":             nil,
	"crypto/rand":              nil,
	"github.com/oklog/ulid/v2": {"Make", "Now", "DefaultEntropy"},
}

// folders are all that may stand at the top.
var folders = []string{".ci", "bus", "commands", "connector", "deploy", "docs", "internal", "projections", "schema", "scripts"}

// pkg is what go list tells of a package.
type pkg struct {
	Dir        string
	ImportPath string
	Name       string
	Doc        string
	GoFiles    []string
	Imports    []string
}

// in is the package's path below the module, "" for the top.
func (p pkg) in() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

// forTests tells whether a package is a test kit: it is imported by tests only, so it may use what tests use.
func (p pkg) forTests() bool { return strings.HasSuffix(p.Name, "test") }

func roomOf(in string) string {
	first, _, _ := strings.Cut(in, "/")
	return first
}

var packages = sync.OnceValues(func() ([]pkg, error) {
	out, err := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Name,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		return nil, err
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
})

func allPackages(t *testing.T) []pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < len(rooms) {
		t.Fatalf("go list found %d packages only", len(all))
	}
	return all
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, p := range allPackages(t) {
		from := roomOf(p.in())
		rules, known := rooms[from]
		if !known {
			t.Errorf("%s is in no room that has rules", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if why := forbidden(from, rules, imported); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, why)
			}
		}
	}
}

// forbidden is why the import is, "" if it is not.
func forbidden(from string, rules room, imported string) string {
	if imported == module {
		return "main is nobody's library"
	}
	if below, ours := strings.CutPrefix(imported, module+"/"); ours {
		to := roomOf(below)
		if to == from || slices.Contains(rules.may, to) || slices.Contains(rules.may, below) {
			return ""
		}
		return rules.reason
	}
	for _, b := range rules.never {
		if imported == b.prefix || strings.HasSuffix(b.prefix, "/") && strings.HasPrefix(imported, b.prefix) {
			return b.reason
		}
	}
	return ""
}

func TestHelpersKnowNoRoom(t *testing.T) {
	for _, p := range allPackages(t) {
		if !slices.Contains(helpers, p.in()) {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module+"/") {
				t.Errorf("%s imports %s: rooms use it, so it may not bring another room along", p.ImportPath, imported)
			}
		}
	}
	for name, rules := range rooms {
		for _, may := range rules.may {
			if strings.Contains(may, "/") && !slices.Contains(helpers, may) {
				t.Errorf("the rule of %s names %s, which is no helper", name, may)
			}
		}
	}
}

func TestForbiddenEdgesAreFound(t *testing.T) {
	for _, edge := range []struct{ from, to, reason string }{
		{"schema", "godwit/bus", rooms["schema"].reason},
		{"bus", "godwit/projections/view", rooms["bus"].reason},
		{"commands", "godwit/bus", rooms["commands"].reason},
		{"commands", "net/netip", pureReason},
		{"commands", "log/slog", silentReason},
		{"commands", "os", pureReason},
		{"commands", "math/rand/v2", pureReason},
		{"projections", "godwit/commands", rooms["projections"].reason},
		{"projections", "github.com/nats-io/nats.go", natsReason},
		{"connector", "go.etcd.io/bbolt", bboltReason},
		{"connector", "github.com/nats-io/nats.go/jetstream", natsReason},
		{"connector", "godwit/projections/timeline", rooms["connector"].reason},
		{"connector", "godwit/internal/up", rooms["connector"].reason},
		{"", "godwit/bus", rooms[""].reason},
		{"internal", "godwit", "main is nobody's library"},
		{"connector", "godwit/bus", ""},
		{"connector", "godwit/internal/password", ""},
		{"projections", "go.etcd.io/bbolt", ""},
		{"commands", "godwit/schema/event", ""},
		{"commands", "errors", ""},
		{"internal", "godwit/projections/owner", ""},
	} {
		if got := forbidden(edge.from, rooms[edge.from], edge.to); got != edge.reason {
			t.Errorf("%q imports %q: reason %q, want %q", edge.from, edge.to, got, edge.reason)
		}
	}
}

func TestTestCodeStaysInTests(t *testing.T) {
	for _, p := range allPackages(t) {
		if p.forTests() {
			continue
		}
		for _, imported := range p.Imports {
			if imported == "testing" || strings.HasPrefix(imported, "testing/") || strings.HasSuffix(imported, "test") {
				t.Errorf("%s imports %s: the program must not carry test code; only packages named …test may", p.ImportPath, imported)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range allPackages(t) {
		if generated(p) {
			continue // its .proto file says it
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: its doc comment should begin with %q, begins with %q", p.ImportPath, want, p.Doc)
		}
	}
}

// generated tells whether no file of the program in p was written by hand.
func generated(p pkg) bool {
	return !slices.ContainsFunc(p.GoFiles, func(name string) bool { return !strings.HasSuffix(name, ".pb.go") })
}

// Decisions and folds see no clock and no chance: every call of that kind is found in their syntax.
func TestDecisionsAndFoldsAreDeterministic(t *testing.T) {
	looked := 0
	for _, p := range allPackages(t) {
		if p.forTests() || roomOf(p.in()) != "commands" && !slices.Contains(folds, p.in()) {
			continue
		}
		looked++
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range clockCalls(file) {
				t.Errorf("%s/%s uses %s: %s", p.ImportPath, name, call, pureReason)
			}
		}
	}
	if looked == 0 {
		t.Error("found neither commands nor folds")
	}
}

// clockCalls names every use of a function in clocks.
func clockCalls(file *ast.File) []string {
	names := make(map[string]string) // as the file calls the package -> its path
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		if _, watched := clocks[imported]; !watched {
			continue
		}
		name := path.Base(imported)
		if versioned.MatchString(name) {
			name = path.Base(path.Dir(imported))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		imported, watched := names[x.Name]
		if !watched {
			return true
		}
		if only := clocks[imported]; only == nil || slices.Contains(only, selector.Sel.Name) {
			found = append(found, imported+"."+selector.Sel.Name)
		}
		return true
	})
	return found
}

var versioned = regexp.MustCompile(`^v[0-9]+$`)

func TestClockCallsAreFound(t *testing.T) {
	const source = `package p
import ("time"; r "math/rand/v2"; "github.com/oklog/ulid/v2")
var _ = time.Now
var _ = time.Second
func f(t time.Time) int { ulid.Make(); _ = ulid.ULID{}; return r.IntN(3) }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"time.Now", "github.com/oklog/ulid/v2.Make", "math/rand/v2.IntN"}
	if got := clockCalls(file); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestTheTopHoldsTheRoomsOnly(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	ignored := ignoredNames(t)
	var found []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != ".git" && !ignores(ignored, e.Name()) {
			found = append(found, e.Name())
		}
	}
	if !slices.Equal(found, folders) {
		t.Errorf("folders at the top: %q, the house has %q", found, folders)
	}
}

// ignores tells whether one of the patterns of .gitignore fits the file's own name.
func ignores(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		fits, err := path.Match(p, filepath.Base(name))
		return err == nil && fits
	})
}

func ignoredNames(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		names = append(names, strings.Trim(strings.TrimSpace(line), "/"))
	}
	return names
}

// The repository must mean the same on every machine: it names no path of the one it was written on, and no server
// that modules are fetched from.
func TestNothingNamesThisMachine(t *testing.T) {
	words := []string{"/" + "work/", "/root/" + "go", "proxy.golang" + ".org", "sum.golang" + ".org"}
	if out, err := exec.Command("go", "env", "GOPROXY", "GOSUMDB").Output(); err == nil {
		for _, part := range strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(",|\n ", r) }) {
			if u, err := url.Parse(part); err == nil && u.Host != "" {
				words = append(words, u.Host)
			}
		}
	}
	if cwd, err := os.Getwd(); err == nil && strings.Count(cwd, "/") > 1 {
		words = append(words, cwd+"/")
	}
	ignored := ignoredNames(t)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == ".git" || ignores(ignored, name) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, w := range words {
			if bytes.Contains(text, []byte(w)) {
				t.Errorf("%s names %q", name, w)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// documents are all Markdown files.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == ".git" {
			return filepath.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			found[name] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	fenced = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	linked = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
)

// commandsOf are the command lines that a document shows.
func commandsOf(text string) []string {
	var lines []string
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	for name, text := range documents(t) {
		for _, link := range linked.FindAllStringSubmatch(text, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), link[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, link[1], err)
			}
		}
	}
}

// A document that names a test, a script or a package names one that is there.
func TestDocumentedCommandsExist(t *testing.T) {
	shown := 0
	for name, text := range documents(t) {
		for _, line := range commandsOf(text) {
			words := shellWords(line)
			switch {
			case strings.HasPrefix(words[0], "scripts/"):
				shown++
				info, err := os.Stat(words[0])
				if err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("%s: %q: no such script that runs", name, line)
				}
			case words[0] == "./godwit":
				shown++
				if fault := faultOfCommand(words[1:]); fault != "" {
					t.Errorf("%s: %q: %s", name, line, fault)
				}
			case len(words) > 3 && words[0] == "go" && words[1] == "run" && words[2] == ".":
				shown++
				if fault := faultOfCommand(words[3:]); fault != "" {
					t.Errorf("%s: %q: %s", name, line, fault)
				}
			case len(words) > 2 && words[0] == "go" && words[1] == "test":
				shown++
				for _, fault := range faultsOfTest(words[2:]) {
					t.Errorf("%s: %q: %s", name, line, fault)
				}
			}
		}
	}
	if shown == 0 {
		t.Error("no document shows a command")
	}
}

// faultOfCommand says what a command of godwit has that it does not take: asked for help, it reads its flags first.
func faultOfCommand(args []string) string {
	var path, said, wrong strings.Builder
	for _, a := range args {
		if strings.HasPrefix(a, "-") || a == strings.ToUpper(a) || strings.ContainsAny(a, "./") {
			break
		}
		path.WriteString(" " + a)
	}
	streams := cli.IO{In: strings.NewReader(""), Out: &said, Err: &wrong}
	if code := cli.Run(context.Background(), append(slices.Clone(args), "--help"), streams); code != cli.ExitOK {
		return wrong.String()
	}
	// The usage line of chat anna is that of chat: a word may be an argument's value.
	for words := strings.Fields(path.String()); len(words) > 0; words = words[:len(words)-1] {
		if strings.Contains(said.String(), "godwit "+strings.Join(words, " ")) {
			return ""
		}
	}
	return "no such command"
}

func TestFaultsOfCommandsAreFound(t *testing.T) {
	for args, right := range map[string]bool{
		"up --demo":                    true,
		"chat anna --device android":   true,
		"user add NAME --nick x":       true,
		"bench oneone --pairs 5 --raw": true,
		"up --demos":                   false,
		"chat anna --device toaster":   false,
		"talk anna":                    false,
		"bench oneone --pairs many":    false,
	} {
		if fault := faultOfCommand(strings.Fields(args)); (fault == "") != right {
			t.Errorf("%q: fault %q", args, fault)
		}
	}
}

// shellWords splits a simple command line: spaces, and quotes around whole words.
func shellWords(line string) []string {
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = strings.Trim(w, `'"`)
	}
	return words
}

// faultsOfTest says what a go test command names that is not there.
func faultsOfTest(args []string) (faults []string) {
	var dirs, patterns, flags []string
	own := false
	for i, a := range args {
		before := ""
		if i > 0 {
			before = args[i-1]
		}
		switch {
		case a == "-args":
			own = true
		case own:
			if strings.HasPrefix(a, "-") {
				flags = append(flags, strings.TrimLeft(a, "-"))
			}
		case before == "-run" || before == "-fuzz" || before == "-bench":
			patterns = append(patterns, strings.Split(a, "|")...)
		case a == "." || strings.HasPrefix(a, "./"):
			dirs = append(dirs, a)
		}
	}
	if len(dirs) == 0 {
		return []string{"names no package"}
	}
	if strings.Contains(dirs[0], "...") {
		return nil
	}
	var names []string
	var source strings.Builder
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			faults = append(faults, "no tests in "+dir)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				return append(faults, err.Error())
			}
			source.Write(text)
			for _, m := range testFunction.FindAllSubmatch(text, -1) {
				names = append(names, string(m[1]))
			}
		}
	}
	for _, p := range patterns {
		top, _, _ := strings.Cut(p, "/")
		re, err := regexp.Compile(top)
		if err != nil {
			faults = append(faults, err.Error())
		} else if !slices.ContainsFunc(names, re.MatchString) {
			faults = append(faults, "no test is called "+p)
		}
	}
	for _, f := range flags {
		if !strings.Contains(source.String(), `("`+f+`"`) {
			faults = append(faults, "no test takes -"+f)
		}
	}
	return faults
}

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)

func TestFaultsOfTestCommandsAreFound(t *testing.T) {
	for args, faults := range map[string]int{
		"./scripts/report -run TestReport":                      0,
		"./scripts/report -run TestReport|TestNothingOfTheKind": 1,
		"./scripts/report -run TestReport/a_skip -args -rounds": 1,
		"./nowhere":               1,
		"-run TestReport":         1,
		"-race ./... -shuffle=on": 0,
	} {
		if got := faultsOfTest(strings.Fields(args)); len(got) != faults {
			t.Errorf("%s: %d faults %q, want %d", args, len(got), got, faults)
		}
	}
}

// The test command of the README is what .ci/run ends with.
func TestContinuousIntegrationRunsTheTestCommand(t *testing.T) {
	const command = "scripts/test"
	if !slices.Contains(commandsOf(documents(t)["README.md"]), command) {
		t.Errorf("README.md does not show %q", command)
	}
	text, err := os.ReadFile(".ci/run")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; last != command {
		t.Errorf(".ci/run ends with %q, not with %q", last, command)
	}
}

package web

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
)

// TestConversationOfTheDocument pastes what docs/protocol.md says of JSON into a browser's console, block by block, and
// demands that the console prints what the document says, and answers nothing else.
func TestConversationOfTheDocument(t *testing.T) {
	s := alone(t, t.TempDir(), "--demo")
	line, err := s.Out.Find("demo password of all:")
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(line, ": ")
	anna, bela := person{"anna", "Anna", 1}, person{"bela", "Bela", 2}
	b := s.web(t, bela, desktop)
	b.signIn(secret)
	b.ready()
	b.with(anna)
	const greeting = "Grüße von Bela"
	b.write(greeting)
	b.marked(greeting, "sent")

	c := inspect(t, s, secret)
	for _, block := range document(t, "### A conversation to paste") {
		if block.script {
			c.paste(block.text)
			continue
		}
		for _, want := range block.lines() {
			if said := pushed(want); said != "" {
				b.write(said)
			}
		}
		c.prints(block.lines())
		if strings.Contains(block.text, `"IMGetMsgListRsp"`) {
			b.marked(greeting, "read")
		}
	}
	c.shoot("console, the conversation of the document")
	c.nothingElse()

	// The examples before it are requests with their answers, of somebody who is signed in.
	c.paste(`login({ userName: "anna", plainPassword: "..." })`)
	c.answers(1)
	for _, block := range document(t, "### The JSON form") {
		for _, l := range block.lines() {
			if request, ok := strings.CutPrefix(l, "-> "); ok {
				c.paste("ws.send(" + string(quoted(request)) + ")")
			} else {
				c.prints([]string{l})
			}
		}
	}
	c.nothingElse()
}

// block is one of the document's blocks of code.
type block struct {
	script bool
	text   string
}

func (b block) lines() []string { return strings.Split(strings.TrimSpace(b.text), "\n") }

// document gives the blocks of a section.
func document(t *testing.T, heading string) (all []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("the document has no section %q", heading)
	}
	if end := regexp.MustCompile(`(?m)^##`).FindStringIndex(section); end != nil {
		section = section[:end[0]]
	}
	for _, m := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
		all = append(all, block{m[1] == "js", m[2]})
	}
	if len(all) == 0 {
		t.Fatalf("nothing to paste under %q", heading)
	}
	return all
}

// pushed is what somebody else has to write for a line to be printed.
func pushed(line string) string {
	var frame struct {
		Command string
		Body    struct{ Text string }
	}
	if _, text, ok := strings.Cut(line, "<- "); !ok || json.Unmarshal([]byte(text), &frame) != nil || frame.Command != "IMMsgData" {
		return ""
	}
	return frame.Body.Text
}

// inspector is the console of a browser in which nobody is signed in.
type inspector struct {
	*tab
	secret string
	seen   int // of the lines printed
	over   []string
}

func inspect(t *testing.T, s *server, secret string) *inspector {
	t.Helper()
	c := &inspector{tab: open(t, "the console", s.HTTP, desktop), secret: secret}
	c.visit("/")
	c.see(button("Sign in"))
	c.paste(`var printed = []; console.log = (...words) => printed.push(words.join(" "))`)
	return c
}

// paste runs a script as the console does, with the password where the document has dots.
func (c *inspector) paste(script string) {
	c.t.Helper()
	script = strings.ReplaceAll(script, `"..."`, string(quoted(c.secret)))
	r := must(c.tab, runtime.Evaluate, runtime.EvaluateParams{Expression: script, ReplMode: new(true)})
	if e := r.ExceptionDetails; e != nil {
		c.fatalf("%s\n%s", e.Exception.Description, script)
	}
}

// fresh takes what was printed since.
func (c *inspector) fresh() {
	c.t.Helper()
	all := eval[[]string](c.tab, "printed")
	c.over = append(c.over, all[c.seen:]...)
	c.seen = len(all)
}

// prints waits until each of the lines was printed, once.
func (c *inspector) prints(lines []string) {
	c.t.Helper()
	for _, want := range lines {
		c.until(want, func() (bool, string) {
			c.fresh()
			i := slices.IndexFunc(c.over, func(got string) bool { return same(want, got) })
			if i < 0 {
				return false, "printed is\n" + strings.Join(c.over, "\n")
			}
			c.over = slices.Delete(c.over, i, i+1)
			return true, ""
		})
	}
}

// varies finds what is another thing each time: times, tokens and ids of clients.
var varies = regexp.MustCompile(`("(?:serverTime|createTime|updatedTime|latestUpdateTime|resumeExpires)"):\d+|("(?:resumeToken|syncToken|clientMessageId)"):"[\w+/=]+"`)

// same tells whether a line is what the document says. Its "…" stands for what it leaves out.
func same(want, got string) bool {
	const other = "$1$2:0"
	want, got = varies.ReplaceAllString(want, other), varies.ReplaceAllString(strings.TrimSpace(got), other)
	if begin, end, short := strings.Cut(want, "…"); short {
		return len(got) > len(want) && strings.HasPrefix(got, begin) && strings.HasSuffix(got, end)
	}
	return got == want
}

// answers waits for the answer to a request, whatever it is.
func (c *inspector) answers(seq int) {
	c.t.Helper()
	part := `"seq":` + string(quoted(seq)) + ","
	c.until("the answer "+part, func() (bool, string) {
		c.fresh()
		i := slices.IndexFunc(c.over, func(l string) bool { return strings.Contains(l, part) })
		if i >= 0 {
			c.over = slices.Delete(c.over, i, i+1)
		}
		return i >= 0, strings.Join(c.over, "\n")
	})
}

// nothingElse demands that all that was printed beside is pushes.
func (c *inspector) nothingElse() {
	c.t.Helper()
	c.fresh()
	for _, l := range c.over {
		if !strings.Contains(l, `"seq":0,`) {
			c.t.Errorf("the document does not say that this is printed: %s", l)
		}
	}
	c.over = nil
}

func quoted(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
)

// interactive are the roles of what people use, each of which needs a name.
var interactive = []string{"button", "link", "textbox", "searchbox", "checkbox", "radio", "combobox", "listbox", "option", "menuitem", "tab", "switch",
	"slider", "spinbutton", "dialog", "log", "navigation", "image", "img"}

// nameless are the things on the page that a screen reader could not name.
func (p *tab) nameless() (found []string) {
	p.t.Helper()
	tree := must(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role, name := plain(n.Role), plain(n.Name)
		if slices.Contains(interactive, role) && strings.TrimSpace(name) == "" {
			found = append(found, fmt.Sprintf("%s %d %s", role, n.BackendDOMNodeID, plain(n.Value)))
		}
	}
	return found
}

func plain(v *accessibility.Value) string {
	var s string
	if v != nil {
		_ = json.Unmarshal(v.Value, &s) // what is no string is no name
	}
	return s
}

// pale are texts that are hard to read before what lies behind them.
func (p *tab) pale() []string {
	p.t.Helper()
	r := eval[struct {
		Looked int
		Found  []string
	}](p, "kit.pale()")
	if r.Looked == 0 {
		p.fatalf("no text to look at")
	}
	return r.Found
}

// wide are things that stick out of the window to the side.
func (p *tab) wide() []string {
	p.t.Helper()
	return eval[[]string](p, "kit.wide()")
}

// fit demands of a page what every page owes: names, contrast, and no need to scroll sideways.
func (p *tab) fit(what string) {
	p.t.Helper()
	for _, f := range p.nameless() {
		p.t.Errorf("%s: %s: without a name: %s", p.who, what, f)
	}
	for _, f := range p.pale() {
		p.t.Errorf("%s: %s: contrast: %s", p.who, what, f)
	}
	for _, f := range p.wide() {
		p.t.Errorf("%s: %s: too wide: %s", p.who, what, f)
	}
}

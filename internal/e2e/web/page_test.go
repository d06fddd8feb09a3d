package web

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

//go:embed page.js
var pageScript string

// tab is a window of a browser, in a profile of its own, that somebody looks at.
type tab struct {
	t    *testing.T
	who  string // for messages
	host string // all that it may talk to
	ctx  context.Context

	mu        sync.Mutex
	faults    []string
	tolerated []string
	closed    bool
	received  map[network.RequestID]*resource
	order     []network.RequestID
	frames    []string // the last ones of its WebSocket
	sockets   int      // how many it has opened
}

// resource is something that the page has fetched.
type resource struct {
	url    string
	status int64
	wire   float64 // bytes of the answer as it travelled, its header among them
	size   float64 // bytes of the body after it was unpacked
}

// view is how a tab looks.
type view struct {
	width, height int64
	dark, phone   bool
	scale         float64 // pixels of the device to one of the page; 0: 1
}

var desktop = view{width: 1200, height: 800}

// open gives somebody a window, empty yet, of what host serves.
func open(t *testing.T, who, host string, v view) *tab {
	t.Helper()
	p := &tab{t: t, who: who, host: host, received: map[network.RequestID]*resource{}}
	parent := chromium(t)
	var cancel context.CancelFunc
	p.ctx, cancel = chromedp.NewContext(parent, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.hear))
	if err := chromedp.Do(p.ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			p.shoot("failed " + strings.ReplaceAll(t.Name(), "/", " ") + " " + who)
			p.mu.Lock()
			t.Logf("the last frames of %s:\n%s", who, strings.Join(p.frames, "\n"))
			p.mu.Unlock()
		}
		p.sound()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		cancel()
	})
	must(p, network.Enable, network.EnableParams{})
	must(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}) // all windows at once
	p.look(v)
	return p
}

// must runs a command of the browser's protocol.
func must[P, R any](p *tab, c cdp.Command[P, R], params P) R {
	p.t.Helper()
	r, err := chromedp.Call(p.ctx, c, params)
	if err != nil {
		p.fatalf("%s: %v", c.Method, err)
	}
	return r
}

// look changes the window.
func (p *tab) look(v view) {
	p.t.Helper()
	if v.scale == 0 {
		v.scale = 1
	}
	must(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: v.width, Height: v.height, DeviceScaleFactor: v.scale, Mobile: v.phone})
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	must(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	eval[bool](p, "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))") // until it is laid out anew
}

// hear takes what the browser tells of the page.
func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.fault("exception: " + text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var words []string
			for _, a := range e.Args {
				words = append(words, a.Description+string(a.Value))
			}
			p.fault(fmt.Sprintf("console.%s: %s", e.Type, strings.Join(words, " ")))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning || e.Entry.Source == log.EntrySourceSecurity {
			p.fault(fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *page.EventJavascriptDialogOpening:
		p.fault("a dialog of a script: " + e.Message)
	case *network.EventWebSocketCreated:
		p.sockets++
		p.goesTo(e.URL)
	case *network.EventWebSocketFrameSent:
		p.frame("→", string(e.Response.PayloadData))
	case *network.EventWebSocketFrameReceived:
		p.frame("←", string(e.Response.PayloadData))
	case *network.EventWebSocketClosed:
		p.frame("×", "closed")
	case *network.EventRequestWillBeSent:
		p.goesTo(e.Request.URL)
		p.received[e.RequestID] = &resource{url: e.Request.URL}
		p.order = append(p.order, e.RequestID)
	case *network.EventResponseReceived:
		if r := p.received[e.RequestID]; r != nil {
			r.status = e.Response.Status
		}
	case *network.EventDataReceived:
		if r := p.received[e.RequestID]; r != nil {
			r.size += float64(e.DataLength)
		}
	case *network.EventLoadingFinished:
		if r := p.received[e.RequestID]; r != nil {
			r.wire = e.EncodedDataLength
		}
	}
}

func (p *tab) goesTo(address string) {
	u, err := url.Parse(address)
	if err != nil || u.Host != p.host && !slices.Contains([]string{"blob", "data", "about"}, u.Scheme) {
		p.fault("a request to another host: " + address)
	}
}

func (p *tab) frame(way, text string) {
	const most = 50
	if len(p.frames) >= most {
		p.frames = slices.Delete(p.frames, 0, 1)
	}
	p.frames = append(p.frames, fmt.Sprintf("%s %s %.200s", time.Now().Format("05.000"), way, text))
}

func (p *tab) fault(text string) { p.faults = append(p.faults, text) }

// tolerate expects faults with one of these in them: what a browser says of a server that
// is away, it says to everybody.
func (p *tab) tolerate(parts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tolerated = append(p.tolerated, parts...)
}

// away are complaints about a server that cannot be reached.
var away = []string{"WebSocket connection to", "net::ERR_"}

// sound fails the test for each fault that nobody expects.
func (p *tab) sound() {
	p.t.Helper()
	for _, f := range p.unexpected() {
		p.t.Errorf("%s: %s", p.who, f)
	}
}

func (p *tab) unexpected() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.faults), func(f string) bool {
		return slices.ContainsFunc(p.tolerated, func(part string) bool { return strings.Contains(f, part) })
	})
}

// fatalf ends the test, and says what the page shows.
func (p *tab) fatalf(format string, args ...any) {
	p.t.Helper()
	shown, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`(document.querySelector("dialog[open]") ?? document.body)?.innerText ?? ""`))
	if len(shown) > 1500 {
		shown = shown[:700] + "\n…\n" + shown[len(shown)-700:]
	}
	p.t.Fatalf("%s: %s\nThe page shows:\n%s", p.who, fmt.Sprintf(format, args...), shown)
}

// visit goes to a path of the server.
func (p *tab) visit(path string) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, chromedp.Navigate("http://"+p.host+path)); err != nil {
		p.fatalf("visit %s: %v", path, err)
	}
}

// shoot takes a picture. It never fails: a picture is for people.
func (p *tab) shoot(name string) []byte {
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	b, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(artefacts, strings.NewReplacer(" ", "-", ",", "").Replace(name)+".png"), b, 0o644)
	}
	if err != nil {
		p.t.Logf("no picture %s: %v", name, err)
	}
	return b
}

// eval gives what an expression of JavaScript is in the page.
func eval[T any](p *tab, expression string, args ...any) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](script(expression, args...), chromedp.EvalAwaitPromise))
	if err != nil {
		p.fatalf("%s: %v", expression, err)
	}
	return v
}

// script puts arguments, as JSON, into an expression; kit is page.js there.
func script(expression string, args ...any) string {
	for i, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			panic(err)
		}
		args[i] = string(b)
	}
	if len(args) > 0 {
		expression = fmt.Sprintf(expression, args...)
	}
	return "(() => { const kit = " + strings.TrimSpace(pageScript) + "; return " + expression + "; })()"
}

// until waits until something is so; says gives whether it is, and what is there instead.
func (p *tab) until(what string, so func() (bool, string)) {
	p.t.Helper()
	var instead string
	for limit, pause := time.Now().Add(*flagPatience), 5*time.Millisecond; time.Now().Before(limit); pause = min(2*pause, 100*time.Millisecond) {
		var ok bool
		if ok, instead = so(); ok {
			return
		}
		time.Sleep(pause)
	}
	p.fatalf("%s did not come in %v: %s", what, *flagPatience, instead)
}

// is waits until an expression is true in the page.
func (p *tab) is(what, expression string, args ...any) {
	p.t.Helper()
	expression = script(expression, args...)
	p.until(what, func() (bool, string) {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](expression))
		if err != nil {
			return false, err.Error() // the page may be between two documents
		}
		return ok, "it is not so"
	})
}

// where says which element is meant: by role and name as a screen reader has them, or by a selector; with both, the selector
// says within what.
type where struct {
	role, name string
	within     string
	unseen     bool // it need not be visible
}

// by name "" is by role alone.
func by(role, name string) where         { return where{role: role, name: name} }
func css(selector string) where          { return where{within: selector} }
func (w where) in(selector string) where { return where{role: w.role, name: w.name, within: selector} }
func (w where) hidden() where            { w.unseen = true; return w }
func button(name string) where           { return by("button", name) }
func textbox(name string) where          { return by("textbox", name) }
func message(id int, rest ...string) where {
	return css(fmt.Sprintf(`[role="log"] article[data-id="%d"] `, id) + strings.Join(rest, " "))
}

func (w where) String() string {
	switch {
	case w.role == "":
		return w.within
	case w.within == "":
		return fmt.Sprintf("%s %q", w.role, w.name)
	}
	return fmt.Sprintf("%s %q in %s", w.role, w.name, w.within)
}

const group = "godwit-tests" // of what this holds in the page; released after every use

var errNone = errors.New("is not there")

// find gives the only visible element that is meant.
func (p *tab) find(w where) (runtime.RemoteObjectID, error) {
	root := "document"
	if w.within != "" {
		b, err := json.Marshal(w.within)
		if err != nil {
			return "", err
		}
		root = fmt.Sprintf("[...document.querySelectorAll(%s)].filter((e) => %t || e.checkVisibility({visibilityProperty: true}))[0] ?? null", b, w.unseen)
	}
	at, err := chromedp.Call(p.ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: root, ObjectGroup: group})
	if err != nil {
		return "", err
	}
	if at.ExceptionDetails != nil {
		return "", fmt.Errorf("%s: %s", root, at.ExceptionDetails.Text)
	}
	if at.Result.ObjectID == "" {
		return "", errNone
	}
	if w.role == "" {
		return at.Result.ObjectID, nil
	}
	found, err := chromedp.Call(p.ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{ObjectID: at.Result.ObjectID, Role: w.role, AccessibleName: w.name})
	if err != nil {
		return "", err
	}
	nodes := slices.DeleteFunc(found.Nodes, func(n *accessibility.Node) bool { return n.Ignored })
	switch len(nodes) {
	case 0:
		return "", errNone
	case 1:
	default:
		return "", fmt.Errorf("is there %d times", len(nodes))
	}
	el, err := chromedp.Call(p.ctx, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: nodes[0].BackendDOMNodeID, ObjectGroup: group})
	if err != nil {
		return "", err
	}
	return el.Object.ObjectID, nil
}

func (p *tab) release() {
	_, _ = chromedp.Call(p.ctx, runtime.ReleaseObjectGroup, runtime.ReleaseObjectGroupParams{ObjectGroup: group}) // gone with the page anyway
}

// on calls a function of JavaScript with the element, and gives what it returns.
func on[T any](p *tab, el runtime.RemoteObjectID, function string, args ...any) (v T, err error) {
	params := runtime.CallFunctionOnParams{ObjectID: el, ReturnByValue: new(true), AwaitPromise: new(true),
		FunctionDeclaration: "function(...args) { const kit = " + strings.TrimSpace(pageScript) + "; return (" + function + ")(this, ...args); }"}
	for _, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			return v, err
		}
		params.Arguments = append(params.Arguments, &runtime.CallArgument{Value: b})
	}
	r, err := chromedp.Call(p.ctx, runtime.CallFunctionOn, params)
	if err != nil {
		return v, err
	}
	if r.ExceptionDetails != nil {
		if r.ExceptionDetails.Exception != nil {
			return v, errors.New(r.ExceptionDetails.Exception.Description)
		}
		return v, errors.New(r.ExceptionDetails.Text)
	}
	if len(r.Result.Value) > 0 {
		err = json.Unmarshal(r.Result.Value, &v)
	}
	return v, err
}

// with waits for the element, and until f with it succeeds.
func (p *tab) take(w where, what string, f func(el runtime.RemoteObjectID) error) {
	p.t.Helper()
	p.until(what+" "+w.String(), func() (bool, string) {
		el, err := p.find(w)
		if err == nil {
			err = f(el)
		}
		p.release()
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}

// of gives what a function of JavaScript makes of the element, once that is there.
func of[T any](p *tab, w where, function string, args ...any) (v T) {
	p.t.Helper()
	p.take(w, "look at", func(el runtime.RemoteObjectID) (err error) {
		v, err = on[T](p, el, function, args...)
		return err
	})
	return v
}

// see waits for the element.
func (p *tab) see(w where) {
	p.t.Helper()
	p.take(w, "see", func(el runtime.RemoteObjectID) error {
		seen, err := on[bool](p, el, "kit.seen")
		if err == nil && !seen {
			err = errors.New("is there, but not visible")
		}
		return err
	})
}

// there tells whether the element is there now.
func (p *tab) there(w where) bool {
	_, err := p.find(w)
	p.release()
	return err == nil
}

// goes waits until the element is not there.
func (p *tab) goes(w where) {
	p.t.Helper()
	p.until("the end of "+w.String(), func() (bool, string) {
		_, err := p.find(w)
		p.release()
		return errors.Is(err, errNone), fmt.Sprint(err)
	})
}

// still is for how long a thing must not have moved to be clicked on: one that moves would be missed.
const still = 40 * time.Millisecond

// click clicks on the element with the mouse, where it is and nothing lies over it.
func (p *tab) click(w where) {
	p.t.Helper()
	var last [2]float64
	var since time.Time
	p.take(w, "click on", func(el runtime.RemoteObjectID) error {
		at, err := on[struct {
			X, Y  float64
			Fault string
		}](p, el, "kit.point")
		if err != nil {
			return err
		}
		if at.Fault != "" {
			return errors.New(at.Fault)
		}
		if now := [2]float64{at.X, at.Y}; now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < still {
			return errors.New("does not stand still")
		}
		if err := chromedp.Do(p.ctx, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at.X, at.Y), chromedp.MouseClickXY(at.X, at.Y)); err != nil {
			return err
		}
		if hit, err := on[bool](p, el, "kit.hit"); err == nil && !hit { // an error: the click has led to another page
			return errors.New("was painted anew under the mouse")
		}
		return nil
	})
}

// hover moves the mouse over the element.
func (p *tab) hover(w where) {
	p.t.Helper()
	p.take(w, "hover over", func(el runtime.RemoteObjectID) error {
		at, err := on[struct {
			X, Y  float64
			Fault string
		}](p, el, "kit.point")
		if err == nil && at.Fault != "" {
			err = errors.New(at.Fault)
		}
		if err != nil {
			return err
		}
		return chromedp.Do(p.ctx, chromedp.MouseEvent(input.DispatchMouseEventTypeMouseMoved, at.X, at.Y))
	})
}

// fill clicks into a field and puts a text in the place of what is there.
func (p *tab) fill(w where, text string) {
	p.t.Helper()
	p.click(w)
	p.take(w, "fill", func(el runtime.RemoteObjectID) error {
		if _, err := on[any](p, el, "(e) => { e.focus(); e.select(); }"); err != nil {
			return err
		}
		p.put(text)
		has, err := on[string](p, el, "(e) => e.value")
		if err == nil && has != text {
			err = fmt.Errorf("has %q", has) // the page took the focus, or painted the field anew
		}
		return err
	})
}

// put puts a text in at the cursor at once, as a paste of plain text or an input method does.
func (p *tab) put(text string) {
	p.t.Helper()
	must(p, input.InsertText, input.InsertTextParams{Text: text})
}

// press types keys one after the other: characters, and those of package kb. What a page does with a key can keep the
// browser from typing it, as with true keys.
func (p *tab) press(keys string, modifiers ...chromedp.Modifier) {
	p.t.Helper()
	var held int64
	for _, m := range modifiers {
		held |= int64(m)
	}
	for _, r := range keys {
		for _, e := range kb.Encode(r) {
			switch e.Type {
			case input.DispatchKeyEventTypeChar:
				continue // comes with the key itself
			case input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyDown:
				e.Type = input.DispatchKeyEventTypeRawKeyDown
				if k := kb.Keys[r]; (k == nil || k.Print) && held&^int64(chromedp.ModifierShift) == 0 {
					e.Type, e.Text = input.DispatchKeyEventTypeKeyDown, string(r)
					if k != nil {
						e.Text = k.Text
					}
				}
			}
			e.Modifiers |= held
			must(p, input.DispatchKeyEvent, *e)
		}
	}
}

// says waits until the element shows all of these.
func (p *tab) says(w where, parts ...string) {
	p.t.Helper()
	p.take(w, fmt.Sprintf("%q in", parts), func(el runtime.RemoteObjectID) error {
		text, err := on[string](p, el, "(e) => e.innerText")
		if err != nil {
			return err
		}
		for _, part := range parts {
			if !strings.Contains(text, part) {
				return fmt.Errorf("it says %q", text)
			}
		}
		return nil
	})
}

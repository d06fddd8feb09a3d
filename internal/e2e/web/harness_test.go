package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhatBrowsersComplainOfIsHeard has a page do each thing that must not go by unnoticed in the tests here.
func TestWhatBrowsersComplainOfIsHeard(t *testing.T) {
	const policy = "default-src 'none'; script-src 'self'; img-src 'self' data:; require-trusted-types-for 'script'; trusted-types 'none'"
	for name, c := range map[string]struct{ html, script, want string }{
		"an error in the console": {script: `console.error("boo")`, want: "boo"},
		"an exception":            {script: `null.boo`, want: "exception"},
		"a rejected promise":      {script: `Promise.reject(new Error("boo"))`, want: "boo"},
		"an inline script":        {html: `<script>1</script>`, want: "Content Security Policy"},
		"an inline handler":       {html: `<img src="none.png" onerror="1">`, want: "Content Security Policy"},
		"markup from text":        {script: `document.body.innerHTML = "<b>x</b>"`, want: "TrustedHTML"},
		"another host":            {script: `new Image().src = "http://godwit.invalid/x.png"`, want: "godwit.invalid"},
		"a picture that is gone":  {html: `<img src="none.png" alt="">`, want: "404"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Security-Policy", policy)
				switch r.URL.Path {
				case "/":
					w.Header().Set("Content-Type", "text/html")
					fmt.Fprintf(w, `<!doctype html><link rel=icon href="data:,"><title>x</title><body>%s<script src=s.js></script>`, c.html)
				case "/s.js":
					w.Header().Set("Content-Type", "text/javascript")
					fmt.Fprint(w, c.script)
				default:
					http.NotFound(w, r)
				}
			}))
			defer srv.Close()
			p := open(t, "the page", strings.TrimPrefix(srv.URL, "http://"), desktop)
			p.visit("/")
			p.until("the complaint", func() (bool, string) {
				all := p.unexpected()
				return strings.Contains(strings.Join(all, "\n"), c.want), fmt.Sprint(all)
			})
			p.tolerate("")
		})
	}
}

// TestWhatPagesMayNotBeIsFound has a page of everything that the checks of pages are there for, and one without.
func TestWhatPagesMayNotBeIsFound(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><html lang=en><link rel=icon href="data:,"><title>x</title>`)
		if r.URL.Path == "/cut" {
			fmt.Fprint(w, `<div style="overflow:hidden;width:300px;height:90px"><button style="position:relative;left:1500px">Gone</button></div>`)
		} else if r.URL.Path == "/bad" {
			fmt.Fprint(w, `<p style="color:#999">pale</p><button></button><input><a href="x"><img src="data:,"></a>
				<div style="width:2000px">wide</div><p style="opacity:.5">weak</p><input placeholder="hint" style="background:#888">`)
		} else {
			fmt.Fprint(w, `<p style="color:#555">plain</p><button>Go</button><label>Name <input></label>
				<div style="overflow:auto;width:100px"><div style="width:2000px">scrolled <button>There</button></div></div>
				<div style="overflow:hidden;width:100px"><div style="width:2000px">cut off</div></div>`)
		}
	}))
	defer srv.Close()
	p := open(t, "the page", strings.TrimPrefix(srv.URL, "http://"), desktop)
	p.visit("/good")
	if f := p.nameless(); len(f) > 0 {
		t.Errorf("without a name on the good page: %q", f)
	}
	if f := p.pale(); len(f) > 0 {
		t.Errorf("pale on the good page: %q", f)
	}
	if f := p.wide(); len(f) > 0 {
		t.Errorf("wide on the good page: %q", f)
	}
	p.see(button("Go"))
	p.fill(textbox("Name"), "somebody")
	if v := of[string](p, textbox("Name"), "(e) => e.value"); v != "somebody" {
		t.Errorf("the field has %q", v)
	}
	p.visit("/bad")
	if f := p.nameless(); len(f) != 4 {
		t.Errorf("without a name on the bad page: %d %q", len(f), f)
	}
	if f := p.pale(); len(f) != 3 {
		t.Errorf("pale on the bad page: %d %q", len(f), f)
	}
	if f := p.wide(); len(f) == 0 {
		t.Error("nothing is wide on the bad page")
	}
	p.visit("/cut")
	if f := p.wide(); len(f) != 1 {
		t.Errorf("cut off on the third page: %q", f)
	}
}

// TestWhatIsPaintedAnewIsPressedAgain has a page put another button in the place of the pressed one, once, and take the focus from a
// field when it has it for the first two times.
func TestWhatIsPaintedAnewIsPressedAgain(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><html lang=en><link rel=icon href="data:,"><title>x</title><div><button>Go</button></div><label>Name <input></label><input id=other aria-label=Other><script>
			let pressed = 0;
			addEventListener("click", (e) => { if (e.target.localName === "button") pressed++; });
			addEventListener("mousedown", (e) => { if (e.target.localName === "button") e.target.parentNode.innerHTML = "<button>Go</button>"; }, { once: true });
			let focused = 0; // the focus moves on a moment later, as after a dialog
			document.querySelector("input").addEventListener("focus", (e) => { if (focused++ < 2) setTimeout(() => document.querySelector("#other").focus()); });
			document.querySelector("input").value = "nobody";
		</script>`)
	}))
	defer srv.Close()
	p := open(t, "the page", strings.TrimPrefix(srv.URL, "http://"), desktop)
	p.visit("/")
	p.click(button("Go"))
	if n := eval[int](p, "pressed"); n != 1 {
		t.Errorf("the button heard %d clicks", n)
	}
	p.fill(textbox("Name"), "somebody")
	if v := of[string](p, textbox("Name"), "(e) => e.value"); v != "somebody" {
		t.Errorf("the field has %q", v)
	}
}

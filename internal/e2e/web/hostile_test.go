package web

import (
	"strings"
	"testing"

	"godwit/internal/ttclient"
)

// hostile is text that means more than it says to whom takes it for something else.
var hostile = []string{
	`<script>window.pwned = "script"</script>`,
	`<img src=x onerror="window.pwned='img'">`,
	`"><svg/onload=window.pwned='svg'>`,
	`<a href="javascript:window.pwned='a'">click</a>`,
	`javascript:window.pwned='url'//https://example.org/`,
	`https://example.org/"onmouseover="window.pwned='attr'"`,
	`</textarea></article></main><iframe srcdoc="<script>parent.pwned='frame'</script>"></iframe>`,
	"${window.pwned='template'} {{constructor.constructor('window.pwned=1')()}} `${pwned=2}` %s %d",
	"\u202Eesrever \u2066isolated \u202Dforced\u202C end", // and never closed
	strings.Repeat("x", 2900),
	strings.Repeat("W̷̨̗̺͚͔̜͎̐̐̈́̾͘", 60),
	"&lt;b&gt; &amp;amp; &#x3C;script&#x3E;",
	"line\u2028separator\u2029paragraph\x00\x01\x1b[31mred\x7f",
	"&$#@~^@[{:http://127.0.0.1:1/g0/javascript:1:}&$~@#@",
	"&$#@~^@[{:javascript:window.pwned='picture':}&$~@#@",
	"🏳️‍🌈👩‍👩‍👧‍👦 " + strings.Repeat("\u0301", 200),
}

// TestHostileText sends what is meant to run, and what is meant to break the page, as message, nick, signature and group
// name. It is shown as it is, runs nothing, and nothing else on the page is the worse for it.
func TestHostileText(t *testing.T) {
	s := together(t)
	anna := s.person(t, "Anna")
	mallory := s.account(t, anna.name+"-mallory", `<img src=x onerror="pwned=1">`)
	right := s.account(t, anna.name+"-right", "שלום <b>עולם</b> ${1}")
	a := s.signedIn(t, anna, desktop)
	a.tolerate("Failed to load resource", "net::ERR_") // a picture that is not there
	m := s.windows(t, mallory, ttclient.Options{})
	to := ttclient.Conversation{ID: anna.id}
	r := s.windows(t, right, ttclient.Options{})
	says(t, r, to, "hello")
	for _, text := range hostile[:4] {
		says(t, m, to, text)
	}
	group, err := m.CreateGroup(t.Context(), `<b onclick="pwned=1">group</b>`, anna.id, mallory.id, right.id)
	if err != nil {
		t.Fatal(err)
	}
	says(t, m, ttclient.Conversation{ID: group, Group: true}, `<script>window.pwned = "group"</script>`)
	a.unread(mallory.key(), 4)
	a.unread(right.key(), 1)
	a.unread("g"+itoa(group), 1) // the list is in its order
	a.shoot("hostile, list")
	a.click(item(mallory.key()))
	for _, text := range hostile[4:] {
		says(t, m, to, text)
	}
	a.is("the last of it", `[...document.querySelectorAll('[role="log"] article')].at(-1)?.innerText.includes("🏳️‍🌈")`)
	shown := map[string]bool{}
	for _, x := range a.messages() {
		shown[x.Text] = true
	}
	for _, text := range hostile[:8] {
		if !shown[text] {
			t.Errorf("%q is not shown as it is", text)
		}
	}
	a.shoot("hostile, conversation")

	// A click on everything that could be a link to a script leads nowhere else.
	if links := eval[[]string](a.tab, `[...document.querySelectorAll("a[href]")].map((l) => l.href).filter((h) => !/^https?:/.test(h))`); len(links) > 0 {
		t.Errorf("links to %q", links)
	}
	sound := func(what string) {
		t.Helper()
		if pwned := eval[string](a.tab, `String(window.pwned ?? "")`); pwned != "" {
			t.Errorf("%s: %s ran", what, pwned)
		}
		if n := eval[int](a.tab, `document.querySelectorAll("script:not([src]), iframe, object, embed, [onerror], [onload], [onclick], svg[onload]").length`); n > 0 {
			t.Errorf("%s: %d elements of the text's own", what, n)
		}
		for _, f := range a.wide() {
			t.Errorf("%s: too wide: %s", what, f)
		}
		if f := a.nameless(); len(f) > 0 {
			t.Errorf("%s: without a name: %q", what, f)
		}
	}
	sound("conversation")
	a.look(view{width: 360, height: 640, phone: true})
	sound("conversation on a phone")
	a.shoot("hostile, conversation on a phone")
	a.look(desktop)

	// What runs the other way stays within its own line: the names beside it stand where they stood.
	if wrong := eval[[]string](a.tab, `[...document.querySelectorAll('[role="log"] .text, nav [data-key] *')].filter((e) => e.children.length === 0 && e.textContent.trim() !== "" && !["isolate", "plaintext", "isolate-override"].includes(getComputedStyle(e).unicodeBidi) && !e.closest("bdi, [dir=auto], time, .badge, .avatar")).map((e) => e.outerHTML.slice(0, 80))`); len(wrong) > 0 {
		t.Errorf("text whose direction reaches beyond it: %q", wrong)
	}
	a.click(item(right.key()))
	a.hears("hello")
	a.click(item("g" + itoa(group)))
	a.hears(`<script>window.pwned = "group"</script>`)
	sound("group")
	a.shoot("hostile, group")
	a.write("<b>and back</b>")
	a.marked("<b>and back</b>", "sent", "delivered")
}

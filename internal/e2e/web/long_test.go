package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"godwit/internal/ttclient"
)

// TestDissolvedGroup dissolves a group while another member edits a message in it: both see that it is no more, can read on, and
// are offered nothing that can't work. A member who is not the administrator was not before, either.
func TestDissolvedGroup(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	a, b := s.signedIn(t, anna, desktop), s.signedIn(t, bela, desktop)
	const name = "Moving house"
	a.click(button("New group"))
	a.fill(by("textbox", "Name of the group").in("dialog[open]"), name)
	a.choose(bela)
	a.answers("Create")
	a.see(by("heading", name).in("main"))
	key := eval[string](a.tab, `document.querySelector("main").dataset.conversation`)
	a.write("Who has a van?")
	b.see(item(key))
	b.converse(name, key)
	b.write("I have")
	m := b.marked("I have", "sent")
	b.about()
	for _, verb := range []string{"Rename", "Dissolve the group"} {
		if b.there(button(verb).in("aside.details")) {
			t.Errorf("%q is offered to who is no administrator", verb)
		}
	}
	b.click(button("More about " + anna.nick).in("aside.details"))
	b.see(by("menuitem", "Write"))
	if b.there(by("menuitem", "Remove from the group")) {
		t.Error("who is no administrator is offered to remove the one who is")
	}
	b.press("\x1b")
	b.do(m, "Edit")
	b.see(button("Save"))

	a.about()
	a.click(button("Dissolve the group").in("aside.details"))
	a.answers("Dissolve")
	for _, c := range []*client{a, b} {
		c.says(css("main header"), "This group was dissolved")
		c.says(css("main footer"), "This group was dissolved")
		c.says(css("aside.details"), "This group was dissolved")
		c.hears("Who has a van?")
		c.hears("I have")
		c.goes(textbox("Message"))
		c.is("nobody is listed, and nothing offered", `document.querySelector("aside.details [data-person]") === null && document.querySelectorAll("aside.details button, aside.details input").length === 1`)
		if eval[bool](c.tab, `document.querySelector(".edit-bar").checkVisibility()`) {
			t.Errorf("%s: the edit is still open", c.who)
		}
		c.fit("dissolved group")
	}
	b.hover(message(m.ID))
	b.click(button("Message actions").in(message(m.ID).within))
	b.see(by("menuitem", "Copy text"))
	if n := eval[int](b.tab, `document.querySelectorAll("[role=menuitem]").length`); n != 1 {
		t.Errorf("%d actions are offered for a message of a group that is no more", n)
	}
	b.press("\x1b")
	b.shoot("dissolved group")
	b.look(view{width: 360, height: 740, phone: true})
	b.fit("dissolved group on a phone")
	b.shoot("dissolved group on a phone")
}

// TestFarUnread leaves more unread than is loaded at once: a button says how much stands above, and leads to the first of it.
func TestFarUnread(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	w := s.windows(t, anna, ttclient.Options{})
	long := strings.Repeat("a long story ", 230)
	const n = 700 // of 4 KiB each, as they travel: five answers take less than that
	for i := range n {
		says(t, w, ttclient.Conversation{ID: bela.id}, fmt.Sprintf("%d: %s", i+1, long))
	}
	b := s.signedIn(t, bela, view{width: 1000, height: 600}).with(anna)
	b.see(css("button.older"))
	b.is("how many are above", `(() => {
		const above = Number(/^(\d+) older unread messages$/.exec(document.querySelector("button.older").textContent)?.[1]);
		const first = Number(document.querySelector('[role="log"] article').dataset.id);
		return above > 0 && above < %s && first > above && document.querySelector(".fresh") === null; })()`, n)
	b.fit("unread far above")
	b.shoot("unread far above")
	b.click(css("button.older"))
	b.is("the first unread message, under its line, in view", `(() => {
		const log = document.querySelector('[role="log"]').getBoundingClientRect();
		const line = document.querySelector(".fresh")?.getBoundingClientRect();
		const first = document.querySelector('[role="log"] article[data-id="1"]')?.getBoundingClientRect();
		return line && first && line.top < first.top && first.top < log.bottom && line.bottom > log.top; })()`)
	b.is("they are unread still", `document.querySelector(%s).textContent === "99+"`, item(anna.key()).within+" .badge")
	b.shoot("unread far above, its first message")
}

// TestClockOfTheBrowser has browsers whose clocks are an hour off: they offer to edit and to recall what the server takes.
func TestClockOfTheBrowser(t *testing.T) {
	var p past
	anna, bela := p.person("Anna Lind"), p.person("Bela Kovacs")
	p.talks = []talk{{a: anna, b: bela, lines: []line{{anna, "half an hour ago", time.Now().Add(-30 * time.Minute)}}}}
	s := p.server(t)
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		a := &client{open(t, anna.name, s.HTTP, desktop), anna}
		must(a.tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf(`
			globalThis.Date = class extends Date {
				constructor(...a) { if (a.length) super(...a); else super(new.target.now()); }
				static now() { return super.now() + %d; }
			}`, off.Milliseconds())})
		a.visit("/")
		a.signIn(anna.name)
		a.ready()
		a.with(bela)
		old := a.hears("half an hour ago")
		text := fmt.Sprint("just now, ", off)
		a.write(text)
		m := a.marked(text, "sent")
		offered := func(m said) string {
			t.Helper()
			a.hover(message(m.ID))
			a.click(button("Message actions").in(message(m.ID).within))
			a.see(by("menuitem", "Copy text"))
			defer a.goes(css("[role=menu]"))
			defer a.press("\x1b")
			return eval[string](a.tab, `[...document.querySelectorAll("[role=menuitem]")].map((i) => i.textContent).join()`)
		}
		if got := offered(m); got != "Edit,Copy text,Recall" {
			t.Errorf("a clock that is %v off: a new message may be: %s", off, got)
		}
		if got := offered(old); got != "Copy text" {
			t.Errorf("a clock that is %v off: a message of half an hour ago may be: %s", off, got)
		}
	}
}

// TestDraftIsKept loads the page anew with something half written: it is there again, and gone once one has signed out.
func TestDraftIsKept(t *testing.T) {
	s := together(t)
	anna, bela, chen := s.person(t, "Anna"), s.person(t, "Bela"), s.person(t, "Chen")
	a := s.signedIn(t, anna, desktop).with(bela)
	a.write("hello")
	a.marked("hello", "sent")
	const text = "half a thought, and"
	a.fill(textbox("Message"), text)
	reload := func() {
		t.Helper()
		if err := chromedp.Do(a.ctx, chromedp.Reload()); err != nil {
			t.Fatal(err)
		}
	}
	there := func(want string) {
		t.Helper()
		a.is(fmt.Sprintf("%q in the field", want), `document.querySelector("main[data-conversation=" + %s + "] textarea")?.value === %s`, bela.key(), want)
	}
	reload()
	a.ready()
	there(text)
	a.with(chen)
	a.atTop()
	a.says(item(bela.key()), "Draft: "+text)
	a.with(bela)
	there(text)
	a.click(button("Profile"))
	a.click(button("Sign out").in("dialog[open]"))
	a.see(textbox("Password"))
	reload()
	a.signIn(anna.name)
	a.ready()
	a.with(bela)
	there("")
}

// TestWhoReadsFurtherUp leaves a page with its reader above the end while very much comes in: it does not grow with it, and the
// way down is there.
func TestWhoReadsFurtherUp(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	w := s.windows(t, anna, ttclient.Options{})
	say := func(n int) {
		t.Helper()
		for range n {
			says(t, w, ttclient.Conversation{ID: bela.id}, "one of many")
		}
	}
	say(120)
	b := s.signedIn(t, bela, view{width: 1000, height: 600}).with(anna)
	b.click(css("button.jump"))
	b.unread(anna.key(), 0)
	// place is where a message stands in the window.
	place := func(id int) float64 {
		t.Helper()
		return eval[float64](b.tab, `document.querySelector('[role="log"] article[data-id="' + %s + '"]').getBoundingClientRect().top`, id)
	}
	b.is("scrolled up", `(document.querySelector('[role="log"]').scrollTop = 300) === 300`)
	b.is("the way back", `document.querySelector(".jump").checkVisibility({ visibilityProperty: true })`)
	seen := eval[int](b.tab, `Number([...document.querySelectorAll('[role="log"] article')].find((a) => a.getBoundingClientRect().top > 200).dataset.id)`)
	before := place(seen)
	const more = 500
	say(more)
	b.is("unread", `document.querySelector(%s).textContent === "99+"`, item(anna.key()).within+" .badge")
	b.is("all has come", `document.querySelector(".jump").getAttribute("aria-label").includes(%s)`, fmt.Sprint(more))
	if n := eval[int](b.tab, `document.querySelectorAll('[role="log"] article').length`); n > 400 {
		t.Errorf("%d messages are in the page", n)
	}
	if now := place(seen); now < before-3 || now > before+3 {
		t.Errorf("what was before one's eyes moved from %v to %v", before, now)
	}
	b.click(css("button.jump"))
	b.is("the newest in view", `(() => {
		const r = document.querySelector('[role="log"] article[data-id="' + %s + '"]')?.getBoundingClientRect();
		return r && r.top >= 0 && r.bottom <= innerHeight; })()`, 120+more)
	b.unread(anna.key(), 0)
}

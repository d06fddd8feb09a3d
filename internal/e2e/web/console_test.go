package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"godwit/internal/ttclient"
)

// console is the operator's console in somebody's window.
type console struct{ *tab }

// console opens it, with nobody signed in.
func (s *server) console(t *testing.T, v view) *console {
	t.Helper()
	c := &console{open(t, "operator", s.AdminAddr, v)}
	c.tolerate("status of 401") // browsers note each answer that says so
	c.visit("/console/")
	return c
}

func (c *console) signIn(key string) {
	c.t.Helper()
	c.fill(by("textbox", "Key"), key)
	c.click(button("Sign in"))
}

func (c *console) page(name string) {
	c.t.Helper()
	c.click(by("link", name).in(`nav[aria-label="Console"]`))
	c.is("its address", `location.hash === %s`, "#/"+strings.ToLower(name))
	c.see(by("heading", name).in("main"))
	c.is("the page is loaded", `document.querySelector("main [aria-busy=true]") === null`)
}

// tells waits until the page says something that the server may learn a little later: what the page has asked once it asks again.
func (c *console) tells(what, expression string) {
	c.t.Helper()
	c.is(what, `(() => {
		if (`+expression+`) return true;
		if (document.querySelector("main [aria-busy=true]") === null) dispatchEvent(new HashChangeEvent("hashchange"));
		return false; })()`)
}

// person opens the page of somebody, found by his login name.
func (c *console) person(p person) {
	c.t.Helper()
	c.page("People")
	c.fill(by("searchbox", "Search people"), p.name)
	c.click(by("link", p.nick).in("main table"))
	c.see(by("heading", "").in("main .page-head"))
	c.says(css("main .page-head"), p.nick)
}

// asks presses a button that asks first, and answers with that verb.
func (c *console) asks(w where, verb string) {
	c.t.Helper()
	c.click(w)
	c.see(button("Cancel").in("dialog[open]"))
	c.click(button(verb).in("dialog[open]"))
	c.goes(button(verb).in("dialog[open]"))
}

// TestConsole does an operator's day: sees how the server does, makes an account, resets its password, kicks a session, whose
// browser says so, closes the account, and finds all of it in the log, with why.
func TestConsole(t *testing.T) {
	s := together(t)
	bela := s.person(t, "Bela")
	c := s.console(t, desktop)
	c.shoot("console sign in")
	c.fit("console sign in")
	c.signIn("not the key")
	c.says(css("main"), "not known")
	c.signIn(s.Token(t))
	c.see(by("navigation", "Console"))

	// Numbers that live: another session, and messages, show within seconds.
	b := s.signedIn(t, bela, desktop)
	c.page("Overview")
	c.says(css("main"), "Ready")
	c.is("a live session", `[...document.querySelectorAll("main figure.chart")].some((f) => /session/i.test(f.innerText) && /[1-9]/.test(f.innerText))`)
	chen := s.person(t, "Chen")
	w := s.windows(t, chen, ttclient.Options{})
	for i := range 5 {
		says(t, w, ttclient.Conversation{ID: bela.id}, fmt.Sprint("note ", i))
	}
	c.is("messages per second", `[...document.querySelectorAll("main figure.chart")].some((f) => /message/i.test(f.innerText) && /[1-9]/.test(f.innerText))`)
	c.shoot("console overview")
	c.fit("console overview")
	c.look(view{width: 1200, height: 800, dark: true})
	c.fit("console overview, dark")
	c.shoot("console overview dark")
	c.look(desktop)

	// A new account, whose person signs in.
	dora := person{name: bela.name + "-dora", nick: "Dora Maar"}
	c.page("People")
	c.shoot("console people")
	c.fit("console people")
	c.click(button("New person"))
	c.fill(by("textbox", "Login name").in("dialog[open]"), dora.name)
	c.fill(by("textbox", "Nick").in("dialog[open]"), dora.nick)
	c.fill(by("textbox", "Password").in("dialog[open]"), dora.name)
	c.shoot("console new person")
	c.fit("console new person")
	c.click(button("Create person").in("dialog[open]"))
	c.says(css("dialog[open]"), "was made")
	c.click(button("Done").in("dialog[open]"))
	c.says(css("main .page-head"), dora.nick)
	dora.id = uint32(eval[int](c.tab, `Number(location.hash.split("/").at(-1))`))
	d := s.signedIn(t, dora, desktop)
	c.person(dora) // found by her name
	c.tells("her session", `/browser/.test([...document.querySelectorAll("main table")].find((t) => /Sessions/.test(t.caption?.textContent))?.innerText)`)
	c.shoot("console person")
	c.fit("console person")

	// A question that is cancelled changes nothing; a kick ends the session, and the browser says who did it.
	c.click(button("Kick").in("main"))
	c.says(css("dialog[open]"), dora.nick)
	c.shoot("console kick")
	c.click(button("Cancel").in("dialog[open]"))
	c.goes(css("dialog[open]"))
	d.connection("online")
	c.asks(button("Kick").in("main"), "Kick")
	d.see(css(`section[data-ended="operator"]`))
	d.says(css("section"), "operator")
	d.shoot("signed out by an operator")
	d.click(button("Sign in again"))
	d.signIn(dora.name)
	d.ready()

	// Another password: the session ends, the old one does not do any more, the new one does.
	c.asks(button("Reset password"), "Reset password")
	secret := of[string](c.tab, css("dialog[open] input[readonly]"), "(e) => e.value")
	c.click(button("Done").in("dialog[open]"))
	d.see(css(`section[data-ended="password"]`))
	d.click(button("Sign in again"))
	d.signIn(dora.name)
	d.says(css("main"), "wrong")
	d.signIn(secret)
	d.ready()

	// The account is closed.
	c.asks(button("Disable"), "Disable")
	d.see(css(`section[data-ended="disabled"]`))
	d.shoot("account disabled")
	d.click(button("Sign in again"))
	d.signIn(secret)
	d.is("no way in", `document.querySelector("main").innerText.length > 0 && document.querySelector('nav[aria-label="Conversations"]') === null && document.querySelector("#sign-in-error, .error")?.textContent.trim() !== ""`)
	c.see(button("Enable"))

	// Why a count is what it is, and why a session ended.
	b.tolerate(away...)
	const words = "a word that stands in no log"
	b.with(chen)
	b.unread(chen.key(), 0)
	b.tolerate("favicon.ico") // of a page that names none
	b.visit("/client.json")   // no page of the client: he is away
	for range 3 {
		says(t, w, ttclient.Conversation{ID: bela.id}, words)
	}
	c.visit(fmt.Sprintf("/console/#/why/%d/user-%d", bela.id, chen.id))
	c.says(css("main"), "3")
	c.tells("an explanation of 3 unread", `/unread/i.test(document.querySelector("main").innerText) && /\b3\b/.test(document.querySelector("main").innerText)`)
	c.shoot("console why unread")
	c.fit("console why unread")
	c.visit(fmt.Sprintf("/console/#/why/%d", dora.id))
	c.tells("why her sessions ended", `/operator/i.test(document.querySelector("main").innerText) && /password/i.test(document.querySelector("main").innerText) && /disabled|closed/i.test(document.querySelector("main").innerText)`)
	c.shoot("console why ended")
	c.fit("console why ended")

	// The log has all of it, and nothing that was written.
	c.visit(fmt.Sprintf("/console/#/log?user=%d", dora.id))
	c.tells("the events", `["PersonAdded|Account|Added", "SessionEnded", "Password", "Disabled"].every((e) => new RegExp(e).test(document.querySelector("main").innerText))`)
	c.shoot("console log of a person")
	c.page("Log")
	c.tells("a message's event", `/MessageSent/.test(document.querySelector("main").innerText)`)
	c.shoot("console log")
	c.fit("console log")
	if text := eval[string](c.tab, "document.documentElement.outerHTML"); strings.Contains(text, words) || strings.Contains(text, "note 3") || strings.Contains(text, secret) {
		t.Error("the log shows what was written, or a secret")
	}
	for _, page := range []string{"Groups", "Departments", "Keys", "Webhooks"} {
		c.page(page)
		c.shoot("console " + strings.ToLower(page))
		c.fit("console " + page)
	}

	// Signed out, nothing is shown; without the header of its own, its cookie opens nothing.
	if status := eval[int](c.tab, `fetch("/console/api/users").then((r) => r.status)`); status != http.StatusForbidden {
		t.Errorf("a request that any page could send is answered %d", status)
	}
	c.tolerate("status of 403")
	c.click(button("Operator"))
	c.click(by("menuitem", "Sign out"))
	c.see(by("textbox", "Key"))
	c.visit("/console/#/people")
	c.see(by("textbox", "Key"))
}

package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// tabTo presses Tab until the element that is meant has the focus.
func (p *tab) tabTo(w where) {
	p.t.Helper()
	for range 60 {
		on := of[bool](p, w, "(e) => e === document.activeElement || e.contains(document.activeElement) && !document.activeElement.matches('body')")
		if on {
			p.focused(w.String())
			return
		}
		p.press(kb.Tab)
	}
	p.fatalf("60 times Tab do not lead to %s; the focus is on %s", w, eval[string](p, "document.activeElement.outerHTML.slice(0, 150)"))
}

// focused demands that one sees where the focus is.
func (p *tab) focused(what string) {
	p.t.Helper()
	seen := eval[bool](p, `(() => {
		const e = document.activeElement, s = getComputedStyle(e);
		const ring = (s) => (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none";
		for (let up = e, n = 0; up && n < 3; up = up.parentElement, n++) if (ring(getComputedStyle(up)) || up.matches(":focus, :focus-within") && getComputedStyle(up).borderColor !== getComputedStyle(document.body).borderColor) return true;
		return false; })()`)
	if !seen {
		p.t.Errorf("%s: one does not see that the focus is on %s", p.who, what)
	}
}

// TestKeyboardOnly signs in, finds somebody, writes, edits, recalls and signs out without a mouse.
func TestKeyboardOnly(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	a := s.web(t, anna, desktop)
	a.see(textbox("Name"))
	a.tabTo(textbox("Name"))
	a.press(anna.name + kb.Tab + anna.name + kb.Enter)
	a.ready()
	a.see(css(conversations + " [data-key]")) // the directory is there

	// Ctrl K goes to the search; Enter opens the first that is found.
	a.press("k", chromedp.ModifierCtrl)
	a.is("the search has the focus", `document.activeElement.type === "search"`)
	a.press(bela.nick)
	a.see(item(bela.key()))
	a.press(kb.Enter)
	a.see(by("heading", bela.nick).in("main"))
	a.is("the focus in the field, which is empty", `document.activeElement.tagName === "TEXTAREA" && document.activeElement.value === ""`)
	a.press("typed by hand" + kb.Enter)
	m := a.marked("typed by hand", "sent", "delivered")
	a.is("an empty field", `document.activeElement.tagName === "TEXTAREA" && document.activeElement.value === ""`)

	// Arrow up edits the last message; Escape leaves it as it is.
	a.press(kb.ArrowUp)
	a.is("the message in the field", `document.activeElement.value === "typed by hand"`)
	a.press(kb.Escape)
	a.is("an empty field again", `document.activeElement.value === ""`)
	a.press(kb.ArrowUp)
	a.is("the message in the field again", `document.activeElement.value === "typed by hand"`)
	a.press(" and mended" + kb.Enter)
	a.hears("typed by hand and mended")

	// Shift Enter is a line.
	a.press("one")
	a.press(kb.Enter, chromedp.ModifierShift)
	a.press("two" + kb.Enter)

	// The menu of the last message is reached by Tab; what it asks is answered by keys.
	last := a.marked("one\ntwo", "sent", "delivered")
	for range 60 {
		if eval[bool](a.tab, `document.activeElement.closest("article")?.dataset.id === %s`, fmt.Sprint(last.ID)) {
			break
		}
		a.press(kb.Tab, chromedp.ModifierShift)
	}
	a.focused("the message's actions")
	a.press(kb.Enter)
	a.see(by("menuitem", "Recall"))
	for range 10 {
		if eval[bool](a.tab, `document.activeElement.textContent.includes("Recall")`) {
			break
		}
		a.press(kb.ArrowDown)
	}
	a.press(kb.Enter)
	a.see(css("dialog[open]"))
	a.tabTo(button("Recall").in("dialog[open]"))
	a.press(kb.Enter)
	a.goes(css("dialog[open]"))
	a.until("the recall", func() (bool, string) {
		for _, x := range a.messages() {
			if x.ID == last.ID {
				return strings.Contains(x.All, "recalled"), x.All
			}
		}
		return false, "it is not there"
	})
	if m.ID == last.ID {
		t.Error("two messages have one id")
	}
	// A dialog gives the focus back to where it came from.
	a.tabTo(button("Profile"))
	a.press(kb.Enter)
	a.see(by("dialog", "Profile"))
	a.press(kb.Escape)
	a.goes(css("dialog[open]"))
	a.is("the focus back", `document.activeElement.getAttribute("aria-label") === "Profile"`)
	a.press(kb.Enter)
	a.tabTo(button("Sign out").in("dialog[open]"))
	a.press(kb.Enter)
	a.see(textbox("Password"))
}

// TestLooks shows the pages dark and light, wide and on a phone (the other tests look at wide and light ones): text is readable, everything has a name, and nothing has to
// be scrolled sideways.
func TestLooks(t *testing.T) {
	var p past
	anna, s := smallTown(t, &p)
	for _, v := range []struct {
		name string
		view view
	}{
		{"desktop dark", view{width: 1200, height: 800, dark: true}}, {"tablet", view{width: 800, height: 1000}},
		{"phone", view{width: 360, height: 740, phone: true}}, {"phone dark", view{width: 360, height: 740, phone: true, dark: true}},
	} {
		t.Run(v.name, func(t *testing.T) {
			shoot := func(p *tab, what string) {
				p.shoot("look " + v.name + " " + what)
				p.fit(v.name + " " + what)
			}
			a := s.web(t, anna, v.view)
			a.see(textbox("Name"))
			shoot(a.tab, "sign in")
			a.signIn(anna.name)
			a.ready()
			shoot(a.tab, "list")
			a.click(item(p.people[1].key()))
			a.see(textbox("Message"))
			a.is("messages", `document.querySelectorAll('[role="log"] article').length > 5`)
			shoot(a.tab, "conversation")
			a.about()
			shoot(a.tab, "details")
			a.click(button("Close details"))
			if v.view.phone {
				a.click(button("Back to the list"))
			}
			for _, name := range []string{"New group", "People", "Profile"} {
				a.click(button(name))
				a.see(by("dialog", name))
				shoot(a.tab, strings.ToLower(name))
				a.press(kb.Escape)
				a.goes(css("dialog[open]"))
			}
			if v.name == "phone dark" {
				return // the console's colours are those of the client
			}
			c := s.console(t, v.view)
			c.see(by("textbox", "Key"))
			c.signIn(s.Token(t))
			c.see(by("navigation", "Console"))
			for _, page := range []string{"Overview", "People", "Groups", "Log", "Why"} {
				c.page(page)
				if page == "Overview" {
					c.says(css("main"), "Ready")
				}
				shoot(c.tab, "console "+strings.ToLower(page))
			}
		})
	}
}

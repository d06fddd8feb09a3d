package web

import (
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// TestTwoPeopleTalk has two browsers talk: what is written shows as pending, sent and read; unread counts, typing, edit
// and recall.
func TestTwoPeopleTalk(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	net := newRelay(t, s.HTTP)
	a, b := net.signedIn(t, anna), s.signedIn(t, bela, desktop)
	a.shoot("list of conversations, none yet")
	a.with(bela)
	a.is("nothing said yet", `document.querySelectorAll('[role="log"] article').length === 0`)
	a.shoot("conversation, empty")

	net.held(func() {
		a.write("Lunch at noon?")
		a.marked("Lunch at noon?", "pending")
	})
	b.unread(anna.key(), 1)
	b.is("unread in the title", `document.title.startsWith("(1)")`)
	a.marked("Lunch at noon?", "sent", "delivered")
	b.shoot("list of conversations, one unread")

	b.with(anna)
	b.hears("Lunch at noon?")
	b.unread(anna.key(), 0)
	b.is("no unread in the title", `!document.title.startsWith("(")`)
	a.marked("Lunch at noon?", "read")

	// What the one types the other is told, and only then.
	b.click(textbox("Message"))
	b.press("Sure")
	a.is("somebody types", `/typing/i.test(document.querySelector("main").innerText)`)
	b.press(kb.Enter)
	a.hears("Sure")
	a.is("nobody types", `!/typing/i.test(document.querySelector("main").innerText)`)

	// Lines stay lines; an address is a link that opens elsewhere, and gives nothing away.
	b.write("First line\nsecond line, see https://example.org/menu?x=1&y=2.")
	a.shows("with its lines", "First line\nsecond line, see https://example.org/menu?x=1&y=2.", func(m said) bool { return strings.Contains(m.All, "First line\nsecond") })
	if link := eval[[]string](a.tab, `[...document.querySelectorAll('[role="log"] article a')].flatMap((l) => [l.href, l.target, l.rel])`); len(link) > 0 {
		if link[0] != "https://example.org/menu?x=1&y=2" || link[1] != "_blank" || !strings.Contains(link[2], "noopener") {
			t.Errorf("the link is %q", link)
		}
	}

	// An edit, and a recall, are seen by both.
	a.write("At the corner palce")
	m := a.marked("At the corner palce", "read")
	a.do(m, "Edit")
	a.see(button("Save"))
	a.fill(textbox("Message"), "At the corner place")
	a.press(kb.Enter)
	b.hears("At the corner place")
	a.shows("edited", "At the corner place", func(m said) bool { return strings.Contains(strings.ToLower(m.All), "edited") })
	b.shows("edited", "At the corner place", func(m said) bool { return strings.Contains(strings.ToLower(m.All), "edited") })
	a.write("Never mind this")
	m = a.marked("Never mind this", "read")
	a.shoot("conversation, both sides")
	b.shoot("conversation, the other side")
	a.do(m, "Recall")
	a.answers("Recall")
	for _, c := range []*client{a, b} {
		c.until("the recall", func() (bool, string) {
			all := c.messages()
			i := slices.IndexFunc(all, func(x said) bool { return x.ID == m.ID })
			if i < 0 {
				return false, "it is not there"
			}
			return !strings.Contains(all[i].All, "Never mind") && strings.Contains(strings.ToLower(all[i].All), "recalled"), all[i].All
		})
	}
	a.shoot("conversation, edited and recalled")
	a.fit("conversation")
}

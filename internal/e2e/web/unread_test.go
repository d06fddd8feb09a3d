package web

import (
	"fmt"
	"testing"

	"godwit/internal/ttclient"
)

// TestReadIsWhatIsInView leaves more unread than fits on the screen: whoever opens the conversation, now or after the page
// was loaded again, stands before the first of it, and has read it when its end is in view, not before.
func TestReadIsWhatIsInView(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	a, b := s.signedIn(t, anna, desktop), s.signedIn(t, bela, view{width: 1000, height: 600})
	const lines = 25
	a.with(bela)
	for i := range lines {
		a.write(fmt.Sprintf("Line %d", i+1))
	}
	last := fmt.Sprintf("Line %d", lines)
	first := func(what string) {
		t.Helper()
		b.hears(last)
		b.is(what, `(() => {
			const log = document.querySelector('[role="log"]').getBoundingClientRect();
			const at = document.querySelector('[role="log"] .fresh')?.getBoundingClientRect();
			return at && at.top >= log.top && at.bottom <= log.bottom; })()`)
		b.unread(anna.key(), lines)
		a.marked(last, "delivered")
	}
	b.unread(anna.key(), lines)
	b.with(anna)
	first("the first unread one in view")
	b.visit("/?again#" + anna.key())
	b.ready()
	first("the first unread one in view, after a reload")
	b.shoot("conversation, at what is unread")
	b.click(css(`button.jump`))
	b.unread(anna.key(), 0)
	a.marked(last, "read")

	// Who has scrolled up reads on where he is.
	b.is("the way back", `(() => {
		const shown = document.querySelector(".jump").checkVisibility({ visibilityProperty: true });
		if (!shown) document.querySelector('[role="log"]').scrollTop = 0; // again, if the page went to its end once more
		return shown; })()`)
	a.write("One more")
	b.unread(anna.key(), 1)
	b.is("unread in the title", `document.title.startsWith("(1)")`)
	a.marked("One more", "delivered")
	b.click(css(`button.jump`))
	b.unread(anna.key(), 0)
	a.marked("One more", "read")
}

// TestMuchUnread leaves more unread than a page of the history, and more than is loaded at once: neither is read by opening
// the conversation.
func TestMuchUnread(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	w := s.windows(t, anna, ttclient.Options{})
	b := s.signedIn(t, bela, view{width: 1000, height: 600})
	n := 0
	for _, many := range []struct {
		lines int
		badge string
		where string // of what is in view
	}{
		{80, "80", `(() => {
			const log = document.querySelector('[role="log"]').getBoundingClientRect();
			const at = document.querySelector('[role="log"] .fresh')?.getBoundingClientRect();
			return at && at.top >= log.top && at.bottom <= log.bottom; })()`},
		{420, "99+", `(() => {
			const log = document.querySelector('[role="log"]');
			return log.querySelector("article") && log.scrollHeight - log.scrollTop - log.clientHeight > 1000; })()`},
	} {
		for ; n < many.lines; n++ {
			says(t, w, ttclient.Conversation{ID: bela.id}, fmt.Sprintf("Line %d", n+1))
		}
		b.visit(fmt.Sprintf("/?%d#", n)) // another address each time: a page of its own
		b.ready()
		badge := fmt.Sprintf(`document.querySelector('[data-key="%s"] .badge')?.textContent === %%s`, anna.key())
		b.is("unread before", badge, many.badge)
		b.with(anna)
		b.is(fmt.Sprintf("%d unread, not at their end", n), many.where)
		b.is("unread after", badge, many.badge)
	}
	b.click(css(`button.jump`))
	b.unread(anna.key(), 0)
}

package web

import (
	"fmt"
	"testing"
	"time"
)

// TestHistoryOnScroll opens a conversation of three days: its end is shown, what came before is loaded as one scrolls up, in
// order, each once, under the heading of its day, and what is before one's eyes stays where it is.
func TestHistoryOnScroll(t *testing.T) {
	var p past
	anna, bela := p.person("Anna Lind"), p.person("Bela Kovacs")
	const perDay, days = 70, 3
	talk := talk{a: anna, b: bela}
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour) // of yesterday: the last day that is over everywhere else but one
	for day := range days {
		for i := range perDay {
			from := []person{anna, bela}[i/3%2]
			talk.lines = append(talk.lines, line{from, fmt.Sprintf("day %d, line %d", day+1, i+1), noon.AddDate(0, 0, day-days+1).Add(time.Duration(i) * time.Minute)})
		}
	}
	p.talks = append(p.talks, talk)
	s := p.server(t)
	a := s.signedIn(t, anna, view{width: 1000, height: 900}).with(bela)
	last := len(talk.lines)
	a.hears(talk.lines[last-1].text)
	a.is("the last message in view", `(() => {
		const r = document.querySelector('[role="log"] article[data-id="' + %s + '"]').getBoundingClientRect();
		return r.top >= 0 && r.bottom <= innerHeight && r.height > 0; })()`, last)
	if n := len(a.messages()); n >= last {
		t.Errorf("all %d messages are there before anybody scrolled", n)
	}
	a.shoot("history, its end")

	// Scroll up, as with a wheel, until the first is there. seen keeps the order in which ids stand.
	seen := map[int]string{}
	note := func() (lowest int) {
		all := a.messages()
		for i, m := range all {
			if i > 0 && m.ID != all[i-1].ID+1 {
				a.fatalf("message %d stands behind %d", m.ID, all[i-1].ID)
			}
			if m.ID < 1 || m.ID > last || m.Text != talk.lines[m.ID-1].text {
				a.fatalf("message %d says %q", m.ID, m.Text)
			}
			seen[m.ID] = m.Text
		}
		return all[0].ID
	}
	note()
	days3 := map[string]bool{}
	a.until("the first message", func() (bool, string) {
		jumped := eval[float64](a.tab, scrollUp)
		if jumped > 3 {
			a.fatalf("what was before one's eyes moved by %v pixels", jumped)
		}
		for _, d := range eval[[]string](a.tab, `[...document.querySelectorAll('[role="log"] [role="separator"], [role="log"] .day')].map((d) => d.textContent.trim()).filter(Boolean)`) {
			days3[d] = true
		}
		lowest := note()
		return lowest == 1, fmt.Sprintf("the first one there is %d", lowest)
	})
	if len(seen) != last {
		t.Errorf("%d messages were shown, there are %d", len(seen), last)
	}
	if len(days3) != days && len(days3) != days+1 {
		t.Errorf("the days were %v", days3)
	}
	a.shoot("history, its beginning")
	a.fit("history")
}

// scrollUp scrolls by a part of what is seen, waits until the page has dealt with it, and tells by how many pixels what was
// before one's eyes has moved beside that.
const scrollUp = `(async () => {
	const box = (() => { for (let e = document.querySelector('[role="log"]'); e; e = e.parentElement) if (e.scrollHeight > e.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(e).overflowY)) return e; })();
	const top = box.getBoundingClientRect().top;
	const mark = [...box.querySelectorAll("article")].find((a) => a.getBoundingClientRect().top > top);
	box.scrollBy({ top: -box.clientHeight * 0.8, behavior: "instant" });
	await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
	const place = mark?.getBoundingClientRect().top;
	const size = box.scrollHeight;
	for (let i = 0; i < 30 && box.scrollTop < 1000 && box.scrollHeight === size; i++) await new Promise((done) => setTimeout(done, 10));
	await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
	return mark?.isConnected ? Math.abs(mark.getBoundingClientRect().top - place) : 0;
})()`

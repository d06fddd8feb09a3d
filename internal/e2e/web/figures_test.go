package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp/kb"
)

// mostPageWeight is what the client may weigh at most, unpacked.
const mostPageWeight = 150 << 10

// TestPageWeight adds up what a browser fetches to show the client, until there is nothing left that it would fetch.
func TestPageWeight(t *testing.T) {
	s := together(t)
	a := s.signedIn(t, s.person(t, "Anna"), desktop)
	for _, name := range []string{"New group", "People", "Profile"} { // what is fetched when it is first wanted
		a.click(button(name))
		a.see(by("dialog", name))
		a.press(kb.Escape)
		a.goes(css("dialog[open]"))
	}
	files, wire, size := 0, 0.0, 0.0
	a.until("all that is fetched", func() (bool, string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		files, wire, size = 0, 0, 0
		for _, id := range a.order {
			r := a.received[id]
			if strings.Contains(r.url, "/g0/") {
				continue // somebody's picture
			}
			if r.wire == 0 || r.status != 200 {
				return false, fmt.Sprintf("%s: status %d", r.url, r.status)
			}
			files, wire, size = files+1, wire+r.wire, size+r.size
		}
		return files > 0, "nothing"
	})
	t.Logf("page weight: %.1f KiB in %d files, %.1f KiB as they travel with their headers", size/1024, files, wire/1024)
	if size > mostPageWeight {
		t.Errorf("the client weighs %.0f bytes, may weigh %d", size, mostPageWeight)
	}
}

// TestFigures measures what there is no promise about: times and memory.
func TestFigures(t *testing.T) {
	if !*flagFigures {
		t.Skip("measures only with -args -figures")
	}
	const talks, each, runs = 1000, 10, 10
	var past past
	anna := past.person("Anna Lind")
	begin := time.Now().AddDate(0, 0, -20)
	for i := range talks {
		other := past.person(fmt.Sprintf("Person %d", i+1))
		talk := talk{a: anna, b: other}
		for n := range each {
			from := []person{anna, other}[n%2]
			talk.lines = append(talk.lines, line{from, fmt.Sprintf("Message %d of %d with person %d, about as long as what people write to each other.", n+1, each, i+1),
				begin.Add(time.Duration(i)*20*time.Minute + time.Duration(n)*time.Minute)})
		}
		past.talks = append(past.talks, talk)
	}
	s := past.server(t)
	a := s.signedIn(t, anna, desktop)
	last := past.talks[talks-1]

	// The time to the first conversation: from the navigation, with a kept session, to its message being drawn.
	must(a.tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: noteFirst})
	measure := func() (times []float64) {
		for range runs {
			must(a.tab, network.SetCacheDisabled, network.SetCacheDisabledParams{CacheDisabled: true})
			a.visit("/?" + fmt.Sprint(len(times)) + "#" + last.b.key()) // another address: a navigation, not a jump within the page
			a.is("the conversation", `[...document.querySelectorAll('[role="log"] article')].some((m) => m.innerText.includes(%s))`, last.lines[each-1].text)
			a.is("the time of it", firstConversation+" > 0")
			times = append(times, eval[float64](a.tab, firstConversation))
		}
		slices.Sort(times)
		return times
	}
	times := measure()
	t.Logf("time to first conversation, %d conversations, nothing in the browser's cache: median %.0f ms, %.0f to %.0f", talks, times[runs/2], times[0], times[runs-1])

	heap := func() float64 {
		must(a.tab, heapprofiler.CollectGarbage, cdp.Empty{})
		return must(a.tab, runtime.GetHeapUsage, cdp.Empty{}).UsedSize
	}
	before := heap()
	keys := make([]string, talks)
	for i, talk := range past.talks {
		keys[i] = talk.b.key()
	}
	loaded := eval[int](a.tab, loadAll, keys, each)
	if loaded != talks*each {
		t.Errorf("%d messages were loaded, there are %d", loaded, talks*each)
	}
	t.Logf("memory: JavaScript heap %.1f MiB with %d conversations, %.1f MiB with all their %d messages loaded as well", before/(1<<20), talks, heap()/(1<<20), loaded)
	a.shoot("a thousand conversations")
}

// noteFirst has a page note when the first message was drawn.
const noteFirst = `new MutationObserver((_, o) => {
	if (!document.querySelector('[role="log"] article')) return;
	o.disconnect();
	requestAnimationFrame(() => setTimeout(() => performance.mark("first-conversation")));
}).observe(document, { subtree: true, childList: true })`

// firstConversation is that time, in ms since the navigation began.
const firstConversation = `(performance.getEntriesByName("first-conversation")[0]?.startTime ?? 0)`

// loadAll opens one conversation after the other, and counts what was shown.
const loadAll = `(async () => {
	let n = 0;
	for (const key of %s) {
		location.hash = "#" + key;
		for (let i = 0; ; i++) {
			const main = document.querySelector("main[data-conversation=" + key + "]");
			const there = main?.querySelectorAll('[role="log"] article').length ?? 0;
			if (there >= %s || i > 3000) {
				n += there;
				break;
			}
			await new Promise((done) => setTimeout(done, 2));
		}
	}
	return n;
})()`

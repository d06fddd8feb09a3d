package web

import (
	"errors"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"godwit/internal/ttclient"
)

// TestPressOutlastsAChange has somebody come and go while a button is held down that a list shows beside him: the press is a
// click all the same, and what has changed is shown after it.
func TestPressOutlastsAChange(t *testing.T) {
	s := together(t)
	anna, wei := s.person(t, "Anna"), s.person(t, "Wei")
	a := s.signedIn(t, anna, desktop).with(wei)
	a.about()

	let := a.hold(button("Block").in("aside.details"))
	w := s.windows(t, wei, ttclient.Options{})
	a.is("the other online", `/online/i.test(document.querySelector("main header").innerText)`)
	time.Sleep(repaints)
	a.is("details as they were", `!document.querySelector("aside.details [data-online=true]")`)
	let()
	a.see(button("Block").in("dialog[open]"))
	a.press("\x1b")
	a.is("who is online in the details", `Boolean(document.querySelector("aside.details [data-online=true]"))`)

	a.click(button("People"))
	a.fill(by("searchbox", "Search people").in("dialog[open]"), wei.name)
	let = a.hold(button("Write to " + wei.nick).in("dialog[open]"))
	w.Close()
	a.is("the other away", `!/online/i.test(document.querySelector("main header").innerText)`)
	time.Sleep(repaints)
	let()
	a.goes(css("dialog[open]"))
}

// repaints is longer than details wait before they are painted anew, so that a press would not outlast it.
const repaints = 400 * time.Millisecond

// hold presses the mouse on an element, and gives what lets it go there.
func (p *tab) hold(w where) (let func()) {
	p.t.Helper()
	type point struct {
		X, Y  float64
		Fault string
	}
	var at point
	p.take(w, "press", func(el runtime.RemoteObjectID) error {
		before := at
		var err error
		if at, err = on[point](p, el, "kit.point"); err != nil {
			return err
		}
		if at.Fault != "" || at != before {
			return errors.New("does not stand still " + at.Fault)
		}
		return nil
	})
	do := func(kind input.DispatchMouseEventType) {
		p.t.Helper()
		left := func(e *input.DispatchMouseEventParams) { e.Button, e.ClickCount = input.MouseButtonLeft, 1 }
		if err := chromedp.Do(p.ctx, chromedp.MouseEvent(kind, at.X, at.Y, left)); err != nil {
			p.fatalf("%s %s: %v", kind, w, err)
		}
	}
	do(input.DispatchMouseEventTypeMouseMoved)
	do(input.DispatchMouseEventTypeMousePressed)
	return func() { do(input.DispatchMouseEventTypeMouseReleased) }
}

package web

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
)

// TestSignedInElsewhere signs in twice: the first window says where it went and when, and has one way back.
func TestSignedInElsewhere(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	first := s.web(t, anna, desktop)
	first.shoot("sign in")
	first.fit("sign in")
	first.signIn("not the password")
	first.says(css("main"), "wrong")
	first.shoot("sign in, refused")
	first.fit("sign in, refused")
	first.signIn(anna.name)
	first.ready()

	second := s.signedIn(t, anna, desktop)
	first.see(css(`section[data-ended="replaced"]`))
	first.says(by("heading", "").in("section"), "Signed in elsewhere")
	if n := eval[int](first.tab, `document.querySelectorAll("button, a").length`); n != 1 {
		t.Errorf("there are %d ways on, should be one", n)
	}
	first.shoot("signed in elsewhere")
	first.fit("signed in elsewhere")
	// It does not come back by itself: the other would be sent away, and so on for ever.
	opened := func() int {
		first.mu.Lock()
		defer first.mu.Unlock()
		return first.sockets
	}
	before := opened()
	second.with(bela).write("I am here now")
	second.marked("I am here now", "sent", "delivered")
	eval[bool](first.tab, `new Promise((done) => setTimeout(() => done(true), 1500))`) // longer than the first pause before a retry
	if n := opened(); n != before {
		t.Errorf("who was sent away came back by himself: %d connections, there were %d", n, before)
	}

	first.click(button("Use here again"))
	first.ready()
	second.see(css(`section[data-ended="replaced"]`))
	first.with(bela)
	first.hears("I am here now")
	first.write("and now here")
	first.marked("and now here", "sent", "delivered")

	// A phone leaves the browser alone, and may send it away.
	phone := s.windows(t, anna, ttclient.Options{Device: imbase.ClientType_CLIENT_TYPE_ANDROID})
	first.write("still here")
	first.marked("still here", "sent", "delivered")
	if err := phone.KickDesktop(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.see(css(`section[data-ended="phone"]`))
	first.shoot("signed out by the phone")
	first.click(button("Sign in again"))
	first.is("a way to sign in", `document.querySelector('nav[aria-label="Conversations"], input[type=password]') !== null`)
}

// TestSessionIsKept reloads a page: who wanted to stay signed in does, with the password kept nowhere; who signs out has to
// sign in again.
func TestSessionIsKept(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	a := s.signedIn(t, anna, desktop).with(bela)
	a.write("hello")
	a.marked("hello", "sent", "delivered")
	if stored := eval[string](a.tab, `JSON.stringify({...localStorage, ...sessionStorage})`); strings.Contains(stored, anna.name+`"`) && strings.Contains(strings.ToLower(stored), "password") || stored == "{}" {
		t.Errorf("the browser keeps %s", stored)
	}
	if err := chromedp.Do(a.ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	a.ready()
	a.hears("hello")
	a.click(button("Profile"))
	a.click(button("Sign out").in("dialog[open]"))
	a.see(textbox("Password"))
	if err := chromedp.Do(a.ctx, chromedp.Reload()); err != nil {
		t.Fatal(err)
	}
	a.see(textbox("Password"))
	if stored := eval[string](a.tab, `JSON.stringify({...localStorage, ...sessionStorage})`); strings.Contains(stored, "token") {
		t.Errorf("after signing out the browser keeps %s", stored)
	}
}

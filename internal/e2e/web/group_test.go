package web

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/runtime"
)

// choose ticks people in the picker of an open dialog.
func (c *client) choose(people ...person) {
	c.t.Helper()
	for _, p := range people {
		c.fill(by("searchbox", "Search people").in("dialog[open]"), p.nick)
		c.click(by("checkbox", p.nick).in("dialog[open]"))
	}
}

// answers presses a button of the open dialog, and waits for its end.
func (c *client) answers(verb string) {
	c.t.Helper()
	c.click(button(verb).in("dialog[open]"))
	c.goes(css("dialog[open]"))
}

// about opens what there is to know about the open conversation.
func (c *client) about() {
	c.t.Helper()
	if !c.there(css("aside.details")) {
		c.click(button("Details"))
	}
	c.see(by("complementary", "Details"))
}

// TestGroup makes a group in one browser, which others see; its members talk, come and go, and it gets another name.
func TestGroup(t *testing.T) {
	s := together(t)
	anna, bela, chen := s.person(t, "Anna"), s.person(t, "Bela"), s.person(t, "Chen")
	a, b, c := s.signedIn(t, anna, desktop), s.signedIn(t, bela, desktop), s.signedIn(t, chen, desktop)

	a.knows(bela)
	a.knows(chen)
	const name = "Lunch on Tuesdays"
	a.click(button("New group"))
	a.click(button("Create").in("dialog[open]")) // not without a name
	a.says(css("dialog[open]"), "Please give the group a name.")
	a.fill(by("textbox", "Name of the group").in("dialog[open]"), name)
	a.choose(bela)
	a.shoot("new group")
	a.fit("new group")
	a.answers("Create")
	a.see(by("heading", name).in("main"))
	key := eval[string](a.tab, `document.querySelector("main").dataset.conversation`)
	a.write("Who comes today?")
	b.see(item(key))
	b.unread(key, 1)
	b.converse(name, key)
	b.hears("Who comes today?")
	b.write("I do")
	a.hears("I do")
	if c.there(item(key)) {
		t.Error("who is in no group sees it")
	}

	// A member is added, sees what is written from then on, and is seen by all.
	a.about()
	a.click(button("Add members").in("aside.details"))
	a.choose(chen)
	a.answers("Add")
	c.see(item(key))
	a.write("Welcome, Chen")
	c.converse(name, key)
	c.hears("Welcome, Chen")
	if all := c.messages(); len(all) != 1 {
		t.Errorf("the new member is shown %d messages, of before as well", len(all))
	}
	b.about()
	b.see(css(`aside.details [data-person="` + itoa(chen.id) + `"]`))
	b.shoot("group with its members")
	b.fit("group with its members")

	// Who has seen a message.
	m := a.hears("Welcome, Chen")
	b.hears("Welcome, Chen")
	a.until("a message that both have seen", func() (bool, string) { // what it shows is what was so when it was opened
		a.do(m, "Seen by")
		a.see(css(`dialog[open] .body > .stack:not([aria-busy])`))
		text := of[string](a.tab, css("dialog[open]"), "(e) => e.innerText")
		if strings.Contains(text, "Read (2)") {
			return true, ""
		}
		a.answers("Close")
		return false, text
	})
	a.says(css("dialog[open]"), "Seen by", bela.nick, chen.nick)
	a.shoot("seen by")
	a.answers("Close")

	// The group gets another name, and one is sent away.
	a.click(button("Rename").in("aside.details"))
	a.fill(by("textbox", "Name").in("dialog[open]"), "Lunch on Fridays")
	a.answers("Save")
	for _, x := range []*client{a, b, c} {
		x.see(by("heading", "Lunch on Fridays").in("main"))
	}
	a.click(button("More about " + chen.nick).in("aside.details"))
	a.click(by("menuitem", "Remove from the group"))
	a.answers("Remove")
	c.says(css("main"), "no longer in this group")
	if c.there(textbox("Message")) {
		t.Error("who is out can go on writing")
	}
	c.shoot("out of the group")
	a.write("Between us two")
	b.hears("Between us two")
	if all := c.messages(); strings.Contains(all[len(all)-1].Text, "Between") {
		t.Error("who is out reads on")
	}
	// One leaves by himself.
	b.click(button("Leave the group").in("aside.details"))
	b.answers("Leave")
	b.says(css("main"), "no longer in this group")
	a.goes(css(`aside.details [data-person="` + itoa(bela.id) + `"]`))
}

// picture draws one that is unlike others of another size.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			m.Set(x, y, color.RGBA{uint8(255 * x / width), uint8(255 * y / height), 160, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPicturesAreSent sends pictures as people do: pasted, dropped, chosen as a file. Each is shown before it goes out, at both
// sides afterwards, and again after the page is loaded anew.
func TestPicturesAreSent(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	a, b := s.signedIn(t, anna, desktop).with(bela), s.signedIn(t, bela, desktop).with(anna)
	type file struct {
		Name   string `json:"name"`
		Type   string `json:"type"`
		Base64 string `json:"base64"`
	}
	give := func(w where, how string, width int) {
		t.Helper()
		files := []file{{"view.png", "image/png", base64.StdEncoding.EncodeToString(picture(t, width, 120))}}
		a.take(w, "use", func(el runtime.RemoteObjectID) error {
			_, err := on[any](a.tab, el, "kit.give", how, files)
			return err
		})
	}
	sent := 0
	check := func(how string, width int) {
		t.Helper()
		a.is("preview of what is "+how, `[...document.querySelectorAll("dialog[open] img")].some((i) => i.naturalWidth === %s)`, width)
		a.shoot("picture " + how + " before it is sent")
		if sent == 0 {
			a.fit("preview")
		}
		a.answers("Send")
		sent++
		for _, c := range []*client{a, b} {
			c.until("the picture "+how, func() (bool, string) {
				all := c.messages()
				return len(all) == sent && len(all[sent-1].Pictures) == 1 && all[sent-1].Pictures[0] == width && all[sent-1].ID > 0, fmt.Sprintf("%+v", all)
			})
		}
	}
	give(textbox("Message"), "paste", 200)
	check("pasted", 200)
	give(by("log", "Messages"), "drop", 210)
	check("dropped", 210)

	path := filepath.Join(t.TempDir(), "chosen.png")
	if err := os.WriteFile(path, picture(t, 220, 130), 0o600); err != nil {
		t.Fatal(err)
	}
	a.see(button("Add picture"))
	a.take(css(`main input[type=file]`).hidden(), "use", func(el runtime.RemoteObjectID) error {
		must(a.tab, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{path}, ObjectID: el})
		return nil
	})
	check("chosen", 220)
	b.shoot("pictures at the other side")

	// Cancelled, nothing is sent; what is no picture is not taken.
	give(textbox("Message"), "paste", 230)
	a.see(button("Send").in("dialog[open]"))
	a.answers("Cancel")
	a.write("no more")
	b.hears("no more")
	if n := len(b.messages()); n != sent+1 {
		t.Errorf("%d messages have come, %d were sent", n, sent+1)
	}
	// Large, and back.
	b.click(button("Show picture").in(`[role="log"] article[data-id="1"]`))
	b.is("the picture, large", `document.querySelector("dialog[open] img")?.naturalWidth === 200`)
	b.shoot("picture large")
	b.press("\x1b")
	b.goes(css("dialog[open]"))
	b.visit("/?again#" + anna.key()) // another address: a page of its own
	b.ready()
	b.until("the pictures after loading anew", func() (bool, string) {
		n := 0
		for _, m := range b.messages() {
			n += len(m.Pictures)
		}
		return n == sent, itoa(uint32(n))
	})
}

// TestFriendsAndProfile asks somebody to be friends, who accepts; a signature and a picture of oneself are seen by others.
func TestFriendsAndProfile(t *testing.T) {
	s := together(t)
	anna, bela := s.person(t, "Anna"), s.person(t, "Bela")
	a, b := s.signedIn(t, anna, desktop).with(bela), s.signedIn(t, bela, desktop)

	a.about()
	a.click(button("Send friend request").in("aside.details"))
	a.fill(css("dialog[open] input"), "We met at lunch")
	a.answers("Send request")
	a.see(button("Withdraw request").in("aside.details"))
	b.is("a request in the badge", `document.querySelector('button[aria-label="People"] .badge').textContent === "1"`)
	b.click(button("People"))
	b.says(css("dialog[open]"), anna.nick, "We met at lunch")
	b.shoot("friend request")
	b.fit("friend request")
	b.click(button("Accept").in("dialog[open]"))
	b.says(css("dialog[open]"), "No open requests")
	b.click(by("tab", "Friends").in("dialog[open]"))
	b.see(css(`dialog[open] [data-person="` + itoa(anna.id) + `"]`))
	b.answers("Close")
	a.says(css("aside.details"), "You are friends")
	a.see(button("Remove from friends").in("aside.details"))

	b.click(button("Profile"))
	b.fill(by("textbox", "Signature").in("dialog[open]"), "Back on Monday")
	b.shoot("profile")
	b.fit("profile")
	b.answers("Save")
	a.says(css("aside.details"), "Back on Monday")
	path := filepath.Join(t.TempDir(), "me.png")
	if err := os.WriteFile(path, picture(t, 300, 200), 0o600); err != nil {
		t.Fatal(err)
	}
	b.click(button("Profile"))
	b.take(css(`dialog[open] input[type=file]`).hidden(), "use", func(el runtime.RemoteObjectID) error {
		must(b.tab, dom.SetFileInputFiles, dom.SetFileInputFilesParams{Files: []string{path}, ObjectID: el})
		return nil
	})
	a.is("the other's picture", `[...document.querySelectorAll("aside.details .avatar img")].some((i) => i.complete && i.naturalWidth > 0)`)
	a.shoot("details of a friend")
	a.fit("details of a friend")

	// A block holds both from writing, until it is taken back.
	a.click(button("Block").in("aside.details"))
	a.answers("Block")
	a.says(css("main"), "You have blocked")
	a.click(button("Unblock").in("main"))
	a.see(textbox("Message"))
	a.write("all is well")
	a.marked("all is well", "sent", "delivered")
}

package web

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"godwit/internal/e2e/e2etest"
	"godwit/internal/password"
	"godwit/internal/ttclient"
	"godwit/schema/client/content"
)

// client is the web client in somebody's window.
type client struct {
	*tab
	me person
}

// web gives somebody a window with the client, not signed in yet.
func (s *server) web(t *testing.T, me person, v view) *client {
	t.Helper()
	c := &client{open(t, me.name, s.HTTP, v), me}
	c.visit("/")
	return c
}

// signedIn gives somebody a window where he is signed in.
func (s *server) signedIn(t *testing.T, me person, v view) *client {
	t.Helper()
	c := s.web(t, me, v)
	c.signIn(me.name)
	c.ready()
	return c
}

func (c *client) signIn(password string) {
	c.t.Helper()
	c.fill(textbox("Name"), c.me.name)
	c.fill(textbox("Password"), password)
	c.click(button("Sign in"))
}

// conversations is the list, as far as it is drawn.
const conversations = `nav[aria-label="Conversations"]`

// atTop scrolls the list to its beginning, where conversations are: who is opened further down, among the people, scrolls it there,
// and what is far from what one sees is not drawn.
func (c *client) atTop() {
	c.t.Helper()
	eval[int](c.tab, `document.querySelector(".list-scroll").scrollTop = 0`)
}

func item(key string) where { return css(fmt.Sprintf(`%s [data-key="%s"]`, conversations, key)) }

// ready waits until the list is there and nothing is wrong with the connection.
func (c *client) ready() {
	c.t.Helper()
	c.see(by("navigation", "Conversations"))
	c.connection("online")
}

// connection waits for a state of it.
func (c *client) connection(states ...string) {
	c.t.Helper()
	c.is(fmt.Sprint("the connection ", states), `%s.includes(document.querySelector(".connection")?.dataset.connection)`, states)
}

// knows waits until somebody is in the directory of the page, which comes after the list.
func (c *client) knows(p person) {
	c.t.Helper()
	c.fill(by("searchbox", "Search"), p.nick)
	c.see(item(p.key()))
	c.press(kb.Escape)
	c.is("an empty search", `document.activeElement.value === ""`)
}

// converse opens the conversation with somebody or a group, by its name in the search, and demands that it is that one.
func (c *client) converse(name, key string) {
	c.t.Helper()
	c.fill(by("searchbox", "Search"), name)
	c.see(item(key))
	c.press(kb.Enter) // the first that is found
	c.see(by("heading", name).in(fmt.Sprintf(`main[data-conversation="%s"]`, key)))
	c.see(textbox("Message"))
}

func (c *client) with(p person) *client {
	c.t.Helper()
	c.converse(p.nick, p.key())
	return c
}

// write sends a text as people do.
func (c *client) write(text string) {
	c.t.Helper()
	c.fill(textbox("Message"), text)
	c.press(kb.Enter)
}

// said is a message as the page shows it.
type said struct {
	ID       int
	Client   string
	State    string
	Mark     string
	Text     string
	All      string
	Pictures []int
}

// messages are those of the open conversation that are drawn.
func (c *client) messages() []said {
	c.t.Helper()
	return eval[[]said](c.tab, "kit.messages()")
}

// shows waits for the one message with the text, in which so holds, and gives it.
func (c *client) shows(what, text string, so func(said) bool) (m said) {
	c.t.Helper()
	c.until(fmt.Sprintf("%q %s", text, what), func() (bool, string) {
		all := c.messages()
		same := slices.DeleteFunc(slices.Clone(all), func(m said) bool { return m.Text != text })
		if len(same) != 1 {
			return false, fmt.Sprintf("it is there %d times among %d", len(same), len(all))
		}
		m = same[0]
		return so == nil || so(m), fmt.Sprintf("it is %+v", m)
	})
	return m
}

// hears waits for a message.
func (c *client) hears(text string) said { c.t.Helper(); return c.shows("there", text, nil) }

// marked waits for a message's mark.
func (c *client) marked(text string, marks ...string) said {
	c.t.Helper()
	return c.shows(fmt.Sprint("marked ", marks), text, func(m said) bool { return slices.Contains(marks, m.Mark) })
}

// do takes a choice of the menu of a message.
func (c *client) do(m said, choice string) {
	c.t.Helper()
	c.hover(message(m.ID))
	c.click(button("Message actions").in(message(m.ID).within))
	c.click(by("menuitem", choice))
}

// unread waits for the number at a conversation in the list.
func (c *client) unread(key string, n int) {
	c.t.Helper()
	c.atTop()
	want := ""
	if n > 0 {
		want = fmt.Sprint(n)
	}
	c.is(fmt.Sprintf("%d unread of %s", n, key), `(document.querySelector(%s)?.textContent ?? "") === %s`, item(key).within+" .badge", want)
}

// windows is somebody at TeamTalk's own program.
func (s *server) windows(t *testing.T, me person, o ttclient.Options) *ttclient.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2etest.Patience)
	defer cancel()
	o.Addr, o.Name, o.Password, o.Timeout = s.Clients, me.name, password.MD5Hex(me.name), e2etest.Patience
	c, err := ttclient.Login(ctx, o)
	if err != nil {
		t.Fatalf("login of %s: %v", me.name, err)
	}
	t.Cleanup(c.Close)
	return c
}

// says sends a text from there, and gives its id.
func says(t *testing.T, c *ttclient.Client, to ttclient.Conversation, text string) uint32 {
	t.Helper()
	id, err := c.SendMessage(t.Context(), to, ttclient.Message{Data: content.EncryptText(text), ID: ttclient.NewMessageID()})
	if err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	return id
}

// history is all that was said, the oldest first, as the server has it.
func history(t *testing.T, c *ttclient.Client, with ttclient.Conversation) (texts []string) {
	t.Helper()
	for begin := uint32(0); ; {
		page, err := c.Messages(t.Context(), with, begin, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page {
			text, err := content.DecryptText(m.GetMsgData())
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
			begin = m.GetMsgId() - 1
		}
		if len(page) == 0 || begin == 0 {
			slices.Reverse(texts)
			return texts
		}
	}
}

// lines shortens a list for a message.
func lines(texts []string) string { return strings.Join(texts, "\n") }

func itoa(n uint32) string { return fmt.Sprint(n) }

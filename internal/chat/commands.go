package chat

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/ttclient"
	"godwit/schema/client/content"
)

var errQuit = errors.New("quit")

const (
	defaultHistory = 20
	mostHistory    = 1000
	defaultWait    = 30 * time.Second
	// sendFor bounds how long a send is tried: the server knows a repeat of an old
	// client for two minutes.
	sendFor = 100 * time.Second
)

// scan reads the lines of a script. Its goroutine ends with the input.
func scan(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(in)
		s.Buffer(nil, 64<<10)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// command runs one line and returns when it is done.
func (c *chat) command(ctx context.Context, line string) error {
	verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	switch verb {
	case "":
		return nil
	case "quit":
		return errQuit
	case "wait":
		return c.wait(ctx, strings.Fields(rest))
	}
	run, ok := map[string]func(context.Context, *ttclient.Client, string) error{
		"contacts":     c.contacts,
		"unread":       c.unread,
		"history":      c.history,
		"read":         c.read,
		"open":         c.openConversation,
		"groups":       c.listGroups,
		"group":        c.makeGroup,
		"members":      c.listMembers,
		"add":          c.addMembers,
		"remove":       c.removeMembers,
		"leave":        c.leaveGroup,
		"rename":       c.renameGroup,
		"recall":       c.recall,
		"edit":         c.edit,
		"receipts":     c.askReceipts,
		"friends":      c.friends,
		"kick-desktop": func(ctx context.Context, client *ttclient.Client, _ string) error { return client.KickDesktop(ctx) },
	}[verb]
	action, befriends := friendActions[verb]
	switch {
	case verb == "to":
		return c.to(ctx, rest)
	case befriends:
		run = func(ctx context.Context, client *ttclient.Client, rest string) error {
			return c.befriend(ctx, client, verb, action, rest)
		}
	case !ok:
		return fmt.Errorf("%q is no command: see godwit chat --help for those there are", verb)
	}
	return c.retry(ctx, func(client *ttclient.Client) error { return run(ctx, client, rest) })
}

// retry asks again what a lost connection took along.
func (c *chat) retry(ctx context.Context, ask func(*ttclient.Client) error) error {
	for {
		client, err := c.connected(ctx)
		if err != nil {
			return err
		}
		if err = ask(client); err == nil || client.Err() == nil || ctx.Err() != nil {
			return err
		}
		if err := c.until(ctx, func() bool { return c.client != client }); err != nil {
			return err
		}
	}
}

// to sends and waits for the ack, over as many connections as it takes. Number and
// bytes stay the same, so that the server knows a repeat.
func (c *chat) to(ctx context.Context, rest string) error {
	name, words, _ := strings.Cut(rest, " ")
	if words = strings.TrimSpace(words); name == "" || words == "" {
		return errors.New("write: to NAME TEXT")
	}
	if len(words) > content.MaxText {
		return fmt.Errorf("the text has %d bytes, at most %d go", len(words), content.MaxText)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sendFor, fmt.Errorf("no ack for %s: see the history for what became of it", sendFor))
	defer cancel()
	var peer place
	err := c.retry(ctx, func(client *ttclient.Client) (err error) {
		peer, err = c.findPlace(ctx, client, name)
		return err
	})
	if err != nil {
		return err
	}
	// One number and one id for all attempts: a server that knows ids knows a repeat for days.
	m := ttclient.Message{Data: content.EncryptText(words), Seq: c.sequence.Next(), ID: ttclient.NewMessageID()}
	for {
		var id uint32
		err := c.retry(ctx, func(client *ttclient.Client) (err error) {
			id, err = client.SendMessage(ctx, peer.at, m)
			return err
		})
		switch {
		case err == nil:
			return c.sent(peer, id, words)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}
	}
}

func (c *chat) sent(peer place, id uint32, words string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.conversationLocked(peer.at)
	v.take(id)
	v.readUpTo(id)
	c.ui.sent(message{peer: peer, from: c.self, mine: true, id: id, at: time.Now(), text: words})
	return nil
}

func (c *chat) contacts(ctx context.Context, client *ttclient.Client, _ string) error {
	if err := c.refresh(ctx, client); err != nil {
		return err
	}
	if _, err := c.askUnread(ctx, client); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var people []*person
	for _, p := range c.people {
		if !p.left && p.id != c.self.id {
			people = append(people, p)
		}
	}
	slices.SortFunc(people, func(a, b *person) int { return cmp.Compare(a.name, b.name) })
	for _, p := range people {
		c.ui.contact(*p, c.conversationLocked(ttclient.Conversation{ID: p.id}).unread())
	}
	c.ui.end("contacts", nil, uint32(len(people)))
	return nil
}

func (c *chat) unread(ctx context.Context, client *ttclient.Client, _ string) error {
	unread, err := c.askUnread(ctx, client)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	total := uint32(0)
	for _, u := range unread {
		total += u.GetUnreadCnt()
		c.ui.unread(c.placeLocked(conversationOf(u.GetSessionId(), u.GetSessionType())), u.GetUnreadCnt())
	}
	c.ui.end("unread", nil, total)
	return nil
}

func (c *chat) history(ctx context.Context, client *ttclient.Client, rest string) error {
	words := strings.Fields(rest)
	count := uint64(defaultHistory)
	if len(words) == 2 {
		var err error
		if count, err = strconv.ParseUint(words[1], 10, 32); err != nil || count == 0 || count > mostHistory {
			return fmt.Errorf("history of %s: give a number of messages from 1 to %d", words[0], mostHistory)
		}
	} else if len(words) != 1 {
		return errors.New("write: history NAME [N]")
	}
	peer, err := c.findPlace(ctx, client, words[0])
	if err != nil {
		return err
	}
	messages, err := client.Messages(ctx, peer.at, 0, uint32(count))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range slices.Backward(messages) {
		c.ui.history(c.messageLocked(peer.at, m))
	}
	c.ui.end("history", &peer, uint32(len(messages)))
	return nil
}

func (c *chat) read(ctx context.Context, client *ttclient.Client, rest string) error {
	if rest == "" {
		return errors.New("write: read NAME")
	}
	peer, err := c.findPlace(ctx, client, rest)
	if err != nil {
		return err
	}
	newest, err := client.Messages(ctx, peer.at, 0, 1)
	if err != nil {
		return err
	}
	if len(newest) == 0 {
		return nil
	}
	id := newest[0].GetMsgId()
	if err := client.Read(peer.at, id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conversationLocked(peer.at).readUpTo(id)
	c.ui.read(peer, id)
	return nil
}

// openConversation is the terminal's: what comes from this peer is read at once.
func (c *chat) openConversation(ctx context.Context, client *ttclient.Client, name string) error {
	peer, err := c.findPlace(ctx, client, name)
	if err != nil {
		return err
	}
	if err := c.history(ctx, client, peer.name+" 10"); err != nil {
		return err
	}
	c.mu.Lock()
	c.open = peer.at
	c.ui.opened(peer)
	unread := c.conversationLocked(peer.at).unread()
	c.mu.Unlock()
	if unread > 0 {
		return c.read(ctx, client, peer.name)
	}
	return nil
}

// wait is for scripts: a while, a message, or somebody's status.
func (c *chat) wait(ctx context.Context, words []string) error {
	if len(words) == 0 {
		return errors.New("write: wait SECONDS, wait message or wait status NAME online|offline")
	}
	what, limit := words[0], defaultWait
	args := map[string]int{"message": 1, "status": 3}[what]
	switch {
	case args == 0 && len(words) == 1:
		d, err := seconds(what)
		if err != nil {
			return err
		}
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	case args > 0 && len(words) == args+1:
		var err error
		if limit, err = seconds(words[args]); err != nil {
			return err
		}
	case args == 0 || len(words) != args:
		return errors.New("write: wait SECONDS, wait message [SECONDS] or wait status NAME online|offline [SECONDS]")
	}
	holds := func() bool {
		if c.awaited >= c.arrived {
			return false
		}
		c.awaited++
		return true
	}
	if what == "status" {
		if words[2] != "online" && words[2] != "offline" {
			return fmt.Errorf("a status is online or offline, not %q", words[2])
		}
		holds = func() bool {
			p := c.findLocked(words[1])
			return p != nil && p.online == (words[2] == "online")
		}
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := c.until(waiting, holds); ctx.Err() == nil && err != nil {
		return fmt.Errorf("waited %s in vain for %s", limit, strings.Join(words, " "))
	} else if err != nil {
		return err
	}
	return nil
}

func seconds(word string) (time.Duration, error) {
	s, err := strconv.ParseFloat(word, 64)
	if err != nil || s < 0 || s > 3600 {
		return 0, fmt.Errorf("%q is no number of seconds up to 3600", word)
	}
	return time.Duration(s * float64(time.Second)), nil
}

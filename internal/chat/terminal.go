package chat

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"godwit/internal/ttclient"
)

// help is what /help prints.
const help = `  /to NAME          open the conversation with NAME; what you type then goes there
  /to NAME TEXT     send without opening
  /contacts         everybody, with status and unread messages
  /unread           conversations with unread messages
  /history NAME [N] the newest N messages
  /read NAME        mark everything of NAME as read
  /groups           your groups; #NUMBER stands for one wherever NAME does
  /group NAME PERSON...   make one;  /add /remove #N PERSON...  /members /leave #N  /rename #N NAME
  /recall NAME ID   take a message back;  /edit NAME ID TEXT  /receipts NAME ID
  /friends          friends and requests;  /friend /accept /refuse /unfriend /block /unblock NAME
  /kick-desktop     send your desktop away (from a phone)
  /quit             log out (or Ctrl-D); Tab completes names`

// mostContacts bounds the list on a screen; a script gets all.
const mostContacts = 60

// Terminal is the screen and the keyboard of a chat: a line editor that leaves the
// line being typed alone while messages come in above it.
type Terminal struct {
	fd    int
	state *term.State
	t     *term.Terminal
	names func(prefix string) []string

	self     string
	peer     string // whose conversation is open
	contacts int    // printed in this list
}

// NewTerminal puts the terminal into raw mode; Restore puts it back.
func NewTerminal(in *os.File, out io.Writer) (*Terminal, error) {
	fd := int(in.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("set up the terminal: %w", err)
	}
	u := &Terminal{fd: fd, state: state}
	u.t = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	u.t.AutoCompleteCallback = u.complete
	u.resize()
	return u, nil
}

// Restore gives the terminal back as it was.
func (u *Terminal) Restore() error { return term.Restore(u.fd, u.state) }

func (u *Terminal) resize() {
	if w, h, err := term.GetSize(u.fd); err == nil && w > 0 && h > 0 {
		_ = u.t.SetSize(w, h) // it only redraws
	}
}

// lines reads what is typed. Its goroutine ends with the terminal's input, or stays in
// a read that nothing can end but the program.
func (u *Terminal) lines(ctx context.Context, _ io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for {
			typed, err := u.t.ReadLine()
			if err != nil {
				return
			}
			select {
			case lines <- typed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// translate makes a command of what is typed: a text goes to the open conversation.
// What the terminal answers by itself becomes an empty one.
func (u *Terminal) translate(typed string) string {
	typed = strings.TrimSpace(typed)
	command, isCommand := strings.CutPrefix(typed, "/")
	switch {
	case typed == "":
		return ""
	case !isCommand && u.peer == "":
		u.print("%s", u.dim("whom to? open a conversation with /to NAME; /help tells more"))
		return ""
	case !isCommand:
		return "to " + u.peer + " " + typed
	case command == "help":
		u.print("%s", help)
		return ""
	}
	if words := strings.Fields(command); len(words) == 2 && words[0] == "to" {
		return "open " + words[1]
	}
	return command
}

func (u *Terminal) opened(p place) {
	u.peer = p.name
	u.t.SetPrompt(printable(p.name) + "> ")
}

// complete finishes the last word on Tab.
func (u *Terminal) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' || pos != len(line) || u.names == nil {
		return "", 0, false
	}
	at := strings.LastIndexByte(line, ' ') + 1
	found := u.names(line[at:])
	if at == 0 || len(found) == 0 {
		return "", 0, false
	}
	done := found[0]
	for _, f := range found[1:] {
		for !strings.HasPrefix(f, done) {
			done = done[:len(done)-1]
		}
	}
	if len(found) == 1 {
		done += " "
	}
	line = line[:at] + done
	return line, len(line), true
}

func (u *Terminal) print(format string, args ...any) {
	u.resize()
	_, _ = fmt.Fprintf(u.t, format+"\n", args...) // a terminal that is gone ends the input as well
}

func (u *Terminal) colour(code []byte, s string) string {
	return string(code) + s + string(u.t.Escape.Reset)
}

func (u *Terminal) dim(s string) string  { return "\x1b[2m" + s + "\x1b[0m" }
func (u *Terminal) bold(s string) string { return "\x1b[1m" + s + "\x1b[0m" }

// printable takes the control characters out of what somebody else wrote: a message
// must not steer the reader's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

func (u *Terminal) ready(self person) {
	u.self = self.name
	u.print("%s  %s", u.bold("You are "+printable(self.name)+"."), u.dim("/contacts lists people, /to NAME opens a conversation, /help tells more."))
}

func (u *Terminal) dot(online bool) string {
	if online {
		return u.colour(u.t.Escape.Green, "●")
	}
	return u.dim("○")
}

func (u *Terminal) contact(p person, unread uint32) {
	if u.contacts++; u.contacts > mostContacts && unread == 0 {
		return
	}
	mark := ""
	if unread > 0 {
		mark = "  " + u.colour(u.t.Escape.Yellow, fmt.Sprintf("%d unread", unread))
	}
	nick := ""
	if p.nick != "" && p.nick != p.name {
		nick = u.dim(" (" + printable(p.nick) + ")")
	}
	u.print("  %s %s%s%s", u.dot(p.online), printable(p.name), nick, mark)
}

func (u *Terminal) end(of string, _ *place, count uint32) {
	switch {
	case of == "contacts" && u.contacts > mostContacts:
		u.print("%s", u.dim(fmt.Sprintf("  and more, %d in all", count)))
	case of == "contacts" && count == 0:
		u.print("%s", u.dim("  nobody but you"))
	case of == "unread" && count == 0:
		u.print("%s", u.dim("  everything is read"))
	case (of == "groups" || of == "friends") && count == 0:
		u.print("%s", u.dim("  none yet"))
	case of == "history" && count == 0:
		u.print("%s", u.dim("  nothing yet"))
	}
	u.contacts = 0
}

func (u *Terminal) body(m message) string {
	stamp := m.at.Format("15:04")
	if time.Since(m.at) > 24*time.Hour {
		stamp = m.at.Format("2 Jan 15:04")
	}
	who := u.colour(u.t.Escape.Cyan, printable(m.from.name))
	if m.mine {
		who = u.colour(u.t.Escape.Green, "me")
	}
	text := printable(m.text)
	switch {
	case m.recalled:
		text = u.dim("(taken back)")
	case m.edits > 0:
		text += u.dim(" (edited)")
	}
	return fmt.Sprintf("%s %s %s: %s", u.dim(stamp), u.dim(fmt.Sprintf("%d", m.id)), who, text)
}

func (u *Terminal) changed(m message) {
	note := ""
	if !strings.EqualFold(m.peer.name, u.peer) {
		note = u.dim("  [/to " + printable(m.peer.name) + "]")
	}
	u.print("%s%s", u.body(m), note)
}

// receipt shows what was read in the open conversation; that a phone somewhere has received
// something is no news.
func (u *Terminal) receipt(p place, who person, id uint32, read bool) {
	if read && strings.EqualFold(p.name, u.peer) {
		u.print("%s", u.dim(fmt.Sprintf("  %s has read up to %d", printable(who.name), id)))
	}
}

func (u *Terminal) receipts(_ place, id uint32, read, delivered []string) {
	u.print("  %s", u.dim(fmt.Sprintf("%d: read by %s; received by %s", id, printable(list(read)), printable(list(delivered)))))
}

func (u *Terminal) group(g group, p place) {
	u.print("  %s %s %s", printable(p.name), u.bold(printable(g.name)), u.dim(fmt.Sprintf("%d members", len(g.members))))
}

func (u *Terminal) member(_ place, name string) { u.print("  %s", printable(name)) }

func (u *Terminal) members(p place, who string, added bool, names []string) {
	word := "left"
	if added {
		word = "joined"
	}
	by := ""
	if len(names) != 1 || names[0] != who {
		by = " (by " + printable(who) + ")"
	}
	u.print("  %s", u.dim(fmt.Sprintf("%s: %s %s%s", p.name, printable(strings.Join(names, ", ")), word, by)))
}

func (u *Terminal) friend(what, name, text string) {
	u.print("  %s %s %s", u.bold(printable(name)), what, u.dim(printable(text)))
}

func (u *Terminal) done(what, name string) { u.print("%s", u.dim("  "+what+": "+printable(name))) }

func (u *Terminal) message(m message, missed bool) {
	note := ""
	if !strings.EqualFold(m.peer.name, u.peer) {
		note = u.dim("  [/to " + printable(m.peer.name) + "]")
	}
	if missed {
		note += u.dim("  (while you were away)")
	}
	u.print("%s%s", u.body(m), note)
}

func (u *Terminal) sent(m message) {
	note := ""
	if !strings.EqualFold(m.peer.name, u.peer) {
		note = u.dim("  -> " + printable(m.peer.name))
	}
	u.print("%s %s%s", u.body(m), u.dim("✓"), note)
}

func (u *Terminal) history(m message) { u.print("  %s", u.body(m)) }

func (u *Terminal) unread(p place, count uint32) {
	u.print("  %s  %s", printable(p.name), u.colour(u.t.Escape.Yellow, fmt.Sprintf("%d unread", count)))
}

func (u *Terminal) read(p place, _ uint32) {
	u.print("%s", u.dim("  "+printable(p.name)+": all read"))
}

func (u *Terminal) status(p person) {
	u.print("  %s %s", u.dot(p.online), u.dim(printable(p.name)+" is "+onOff(p.online)))
}

func (u *Terminal) desktop(online bool) {
	u.print("  %s %s", u.dot(online), u.dim("your desktop is "+onOff(online)))
}

func (u *Terminal) lost(err error) {
	u.print("%s %s", u.colour(u.t.Escape.Red, "connection lost, trying again"), u.dim("("+err.Error()+")"))
}

func (u *Terminal) back() { u.print("%s", u.colour(u.t.Escape.Green, "connected again")) }

func (u *Terminal) kicked(err *ttclient.KickedError) {
	u.print("%s", u.colour(u.t.Escape.Red, err.Error()))
}

func (u *Terminal) failed(err error) { u.print("%s", u.colour(u.t.Escape.Red, printable(err.Error()))) }

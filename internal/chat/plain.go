package chat

import (
	"fmt"
	"io"
	"strings"

	"godwit/internal/ttclient"
)

// plain prints one line per fact, for scripts. See Lines.
type plain struct {
	out io.Writer
}

func (p *plain) line(format string, args ...any) {
	_, _ = fmt.Fprintf(p.out, format+"\n", args...) // a script that does not listen is its own affair
}

var escape = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\r", `\r`)

func onOff(online bool) string {
	if online {
		return "online"
	}
	return "offline"
}

func (p *plain) ready(self person)          { p.line("ready %s %d", self.name, self.id) }
func (p *plain) contact(w person, n uint32) { p.line("contact %s %s %d", w.name, onOff(w.online), n) }
func (p *plain) sent(m message)             { p.line("sent %s %d", m.peer.name, m.id) }
func (p *plain) unread(w place, n uint32)   { p.line("unread %s %d", w.name, n) }
func (p *plain) read(w place, id uint32)    { p.line("read %s %d", w.name, id) }
func (p *plain) opened(place)               {}
func (p *plain) done(what, name string)     { p.line("done %s %s", what, name) }
func (p *plain) member(w place, n string)   { p.line("member %s %s", w.name, n) }
func (p *plain) status(w person)            { p.line("status %s %s", w.name, onOff(w.online)) }
func (p *plain) desktop(online bool)        { p.line("desktop %s", onOff(online)) }
func (p *plain) lost(err error)             { p.line("lost %s", escape.Replace(err.Error())) }
func (p *plain) back()                      { p.line("back") }
func (p *plain) failed(err error)           { p.line("error %s", escape.Replace(err.Error())) }

func (p *plain) kicked(err *ttclient.KickedError) {
	p.line("kicked %s", strings.TrimPrefix(err.Error(), "kicked: "))
}

func (p *plain) message(m message, _ bool) {
	p.line("message %s %d %s %s", m.peer.name, m.id, m.from.name, escape.Replace(m.text))
}

func (p *plain) history(m message) {
	p.line("history %s %d %s %s", m.peer.name, m.id, m.from.name, escape.Replace(m.text))
}

func (p *plain) changed(m message) {
	if m.recalled {
		p.line("recalled %s %d", m.peer.name, m.id)
		return
	}
	p.line("edited %s %d %s %s", m.peer.name, m.id, m.from.name, escape.Replace(m.text))
}

func (p *plain) receipt(w place, who person, id uint32, read bool) {
	if read {
		p.line("seen %s %d %s", w.name, id, who.name)
		return
	}
	p.line("delivered %s %d %s", w.name, id, who.name)
}

// list is names in one word.
func list(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

func (p *plain) receipts(w place, id uint32, read, delivered []string) {
	p.line("receipts %s %d read %s delivered %s", w.name, id, list(read), list(delivered))
}

func (p *plain) group(g group, w place) {
	p.line("group %s %d %s", w.name, len(g.members), escape.Replace(g.name))
}

func (p *plain) members(w place, who string, added bool, names []string) {
	word := "left"
	if added {
		word = "joined"
	}
	p.line("%s %s %s %s", word, w.name, who, list(names))
}

func (p *plain) friend(what, name, text string) {
	p.line("%s", strings.TrimRight("friends "+what+" "+name+" "+escape.Replace(text), " "))
}

func (p *plain) end(of string, w *place, count uint32) {
	if w != nil {
		p.line("end %s %s %d", of, w.name, count)
		return
	}
	p.line("end %s %d", of, count)
}

package conformance

import (
	"fmt"
	"slices"
	"testing"

	ct "godwit/connector/connectortest"
	"godwit/schema/client"
)

// scene is who asks, and about whom. They have never met.
type scene struct {
	d        *device
	me, peer person
	request  fields
}

// line is a field of a request as a client fills it.
type line struct {
	no       int
	kind     byte // n number, e enum, t text, m message
	num      uint32
	text     []byte
	optional bool // or repeated: may be missing
}

type fields []line

func num(no int, v uint32) line  { return line{no: no, kind: 'n', num: v} }
func enum(no int, v uint32) line { return line{no: no, kind: 'e', num: v} }
func str(no int, v string) line  { return line{no: no, kind: 't', text: []byte(v)} }
func sub(no int, v ct.Body) line { return line{no: no, kind: 'm', text: v} }
func opt(l line) line            { l.optional = true; return l }
func list(no int, v ...uint32) (f fields) {
	for _, x := range v {
		f = append(f, opt(num(no, x)))
	}
	return f
}

func (f fields) body() (b ct.Body) {
	for _, l := range f {
		if l.kind == 'n' || l.kind == 'e' {
			b = b.Num(l.no, l.num)
		} else {
			b = b.Bytes(l.no, l.text)
		}
	}
	return b
}

// packed is the body with the repeated numbers of field no in one packed list.
func (f fields) packed(no int) ct.Body {
	var rest fields
	var elements []byte
	for _, l := range f {
		if l.no != no {
			rest = append(rest, l)
			continue
		}
		elements = append(elements, ct.Body(nil).Num(1, l.num)[1:]...)
	}
	return rest.body().Bytes(no, elements)
}

// command is one of the protocol, and what this version of the server does with it.
type command struct {
	// body is a request that is complete; nil where the body is empty or where it is no
	// request.
	body func(s scene) fields
	// answer is the command of the answer, 0: there is none; and want its body for
	// two people who have never met.
	answer uint16
	want   func(s scene) ct.Body
	time   bool // field 1 of the answer is the server's time
	open   bool // the answer has bytes of the server's own: of the tables is only its form

	mobile bool // only phones are answered
	once   bool // what it does changes the answer of the next
	reply  bool // only servers send it; a client that does is ignored
	packed int  // a repeated number

	// effect is, where there is no answer, what tells somebody that it was served: it is awaited
	// in a detail of the command's.
	effect uint16
	void   string // why nothing comes of it
	unsent string // why this version never sends it
}

// comes says what is known of the command here.
func (c command) comes() string {
	switch {
	case c.unsent != "":
		return "never sent, " + c.unsent
	case c.reply:
		return "sent"
	case c.void != "":
		return "ignored: " + c.void
	case c.answer != 0:
		return fmt.Sprintf("answered by 0x%04x", c.answer)
	default:
		return fmt.Sprintf("seen by 0x%04x", c.effect)
	}
}

func none(scene) fields { return nil }

func user(s scene) fields { return fields{num(1, s.me.id)} }

// conversation is a request about the one with the peer.
func conversation(more ...line) func(s scene) fields {
	return func(s scene) fields {
		return append(fields{num(1, s.me.id), enum(2, 1), num(3, s.peer.id)}, more...)
	}
}

// message is a request about a message to the peer.
func message(more ...line) func(s scene) fields {
	return func(s scene) fields {
		return append(fields{num(1, s.peer.id), enum(2, 1), num(3, 1)}, more...)
	}
}

// refusedOf says no to one.
func refusedOf(s scene, refusal uint32) ct.Body {
	return ct.Body(nil).Num(1, refusal).Num(2, s.peer.id).Num(3, 1).Num(4, 1)
}

// me begins an answer with the asker's number, which it takes whatever the request says.
func me(s scene) ct.Body { return ct.Body(nil).Num(1, s.me.id) }

const later = uint32(4_000_000_000) // a time after which nothing has changed

// catalogue is every command that a client may meet on the connection to a
// msg_server.
var catalogue = map[uint16]command{
	0x0101: {body: none, void: "the original's login_server took it, on a port of its own, and no client sends it"},
	0x0102: {reply: true, unsent: "the answer to 0x0101"},
	0x0103: {effect: 0x0104, body: func(s scene) fields {
		return fields{str(1, s.me.name), str(2, ct.MD5(password1)), enum(3, 1), enum(4, s.d.kind), opt(str(5, "1.0.0"))}
	}}, // on a connection that is logged in: ignored
	0x0104: {reply: true},
	0x0105: {body: none, answer: 0x0106, once: true, want: func(scene) ct.Body { return ct.Body(nil).Num(1, 0) }},
	0x0106: {reply: true},
	0x0107: {reply: true},
	0x0108: {mobile: true, answer: 0x0109, want: me, body: func(s scene) fields {
		return fields{num(1, s.me.id), str(2, "0123456789abcdef"), opt(num(3, s.d.kind))}
	}},
	0x0109: {reply: true},
	0x010a: {mobile: true, body: user, answer: 0x010b, want: func(s scene) ct.Body { return me(s).Num(2, 0) }},
	0x010b: {reply: true},
	0x010c: {answer: 0x010d, want: func(s scene) ct.Body { return me(s).Num(2, 0).Num(3, 1) },
		body: func(s scene) fields { return fields{num(1, s.me.id), num(2, 1)} }},
	0x010d: {reply: true},
	0x010e: {body: user, answer: 0x010f, want: func(s scene) ct.Body { return me(s).Num(2, 0).Num(3, 0) }},
	0x010f: {reply: true},

	0x0201: {answer: 0x0202, want: me, body: func(s scene) fields { return fields{num(1, s.me.id), num(2, 0)} }},
	0x0202: {reply: true},
	0x0203: {reply: true},
	0x0204: {answer: 0x0205, packed: 2,
		body: func(s scene) fields { return append(user(s), list(2, s.peer.id, 1<<32-1, s.me.id)...) },
		want: func(s scene) ct.Body { return me(s).Bytes(2, userInfo(s.peer)).Bytes(2, userInfo(s.me)) }},
	0x0205: {reply: true},
	0x0206: {body: conversation(), answer: 0x0207,
		want: func(s scene) ct.Body { return me(s).Num(2, 1).Num(3, 1).Num(4, s.peer.id) }},
	0x0207: {reply: true},
	0x0208: {answer: 0x0209, body: func(s scene) fields { return fields{num(1, s.me.id), num(2, later)} },
		want: func(s scene) ct.Body { return me(s).Num(2, later) }},
	0x0209: {reply: true},
	0x020a: {answer: 0x020b, packed: 2,
		body: func(s scene) fields { // the peer has a PC
			return append(user(s), list(2, 1<<32-1, s.peer.id, s.peer.id)...)
		},
		want: func(s scene) ct.Body {
			return me(s).Bytes(2, ct.Body(nil).Num(1, 1<<32-1).Num(2, 2)).
				Bytes(2, ct.Body(nil).Num(1, s.peer.id).Num(2, 1)).Bytes(2, ct.Body(nil).Num(1, s.peer.id).Num(2, 1))
		}},
	0x020b: {reply: true},
	0x020c: {answer: 0x020d, body: func(s scene) fields { return fields{num(1, s.me.id), str(2, "http://x/a.png")} },
		want: func(s scene) ct.Body { return me(s).Num(2, 0) }},
	0x020d: {reply: true},
	0x020e: {reply: true},
	0x020f: {reply: true},
	0x0210: {answer: 0x0211, body: func(s scene) fields { return fields{num(1, s.me.id), num(2, later)} },
		want: func(s scene) ct.Body { return me(s).Num(2, later) }},
	0x0211: {reply: true},
	0x0212: {reply: true},
	0x0213: {answer: 0x0214, body: func(s scene) fields { return fields{num(1, s.me.id), str(2, "away")} },
		want: func(s scene) ct.Body { return me(s).Num(2, 0).Text(3, "away") }},
	0x0214: {reply: true},
	0x0215: {reply: true},

	0x0301: {answer: 0x0302, once: true,
		body: func(s scene) fields {
			return fields{num(1, s.me.id), num(2, s.peer.id), num(3, 0), num(4, 0), enum(5, 1), str(6, "x")}
		},
		want: func(s scene) ct.Body { return ack(s.me.id, s.peer.id, 1) }},
	0x0302: {void: "a receipt, which means nothing", body: func(s scene) fields { return fields{num(1, s.peer.id), num(2, s.me.id), num(3, 1), enum(4, 1)} }},
	0x0303: {effect: 0x0304, body: func(s scene) fields { return fields{num(1, s.me.id), num(2, s.peer.id), num(3, 1), enum(4, 1)} }},
	0x0304: {reply: true},
	0x0305: {body: none, answer: 0x0306, time: true, want: func(scene) ct.Body { return nil }},
	0x0306: {reply: true},
	0x0307: {body: user, answer: 0x0308, want: func(s scene) ct.Body { return me(s).Num(2, 0) }},
	0x0308: {reply: true},
	0x0309: {body: conversation(num(4, 0), num(5, 20)), answer: 0x030a,
		want: func(s scene) ct.Body { return me(s).Num(2, 1).Num(3, s.peer.id).Num(4, 0) }},
	0x030a: {reply: true},
	0x030b: {body: conversation(), answer: 0x030c,
		want: func(s scene) ct.Body { return me(s).Num(2, 1).Num(3, s.peer.id).Num(4, 0) }},
	0x030c: {reply: true},
	0x030d: {body: conversation(list(4, 1, 2, 3)...), answer: 0x030e, packed: 4,
		want: func(s scene) ct.Body { return me(s).Num(2, 1).Num(3, s.peer.id) }},
	0x030e: {reply: true},

	// Here groups are asked for that there are not; those that there are have tests of their
	// own.
	0x0401: {body: user, answer: 0x0402, want: me},
	0x0402: {reply: true},
	0x0403: {answer: 0x0404, want: me,
		body: func(s scene) fields { return append(user(s), opt(sub(2, ct.Body(nil).Num(1, 9).Num(2, 0)))) }},
	0x0404: {reply: true},
	0x0405: {answer: 0x0406, packed: 5,
		body: func(s scene) fields {
			return append(fields{num(1, s.me.id), enum(2, 2), str(3, ""), str(4, "")}, list(5, s.me.id, s.peer.id)...)
		},
		want: func(s scene) ct.Body { return me(s).Num(2, 1).Text(4, "") }},
	0x0406: {reply: true},
	0x0407: {answer: 0x0408, packed: 4,
		body: func(s scene) fields {
			return append(fields{num(1, s.me.id), enum(2, 1), num(3, 9)}, list(4, s.peer.id)...)
		},
		want: func(s scene) ct.Body { return me(s).Num(2, 1).Num(3, 1).Num(4, 9) }},
	0x0408: {reply: true},
	0x0409: {answer: 0x040a, body: func(s scene) fields { return fields{num(1, s.me.id), num(2, 9), num(3, 1)} },
		want: func(s scene) ct.Body { return me(s).Num(2, 9).Num(3, 1) }},
	0x040a: {reply: true},
	0x040b: {reply: true},

	// Those of the file server's port; on this one they come to nothing.
	0x0501: {effect: 0x0502, body: func(s scene) fields { return fields{num(1, s.me.id), str(2, task), enum(3, 1)} }},
	0x0502: {reply: true},
	0x0503: {effect: 0x0503, body: func(s scene) fields { return fields{enum(1, 1), str(2, task), num(3, s.me.id)} }},
	0x0504: {effect: 0x0505, body: func(s scene) fields {
		return fields{str(1, task), num(2, s.me.id), enum(3, 1), num(4, 0), num(5, 32768)}
	}},
	0x0505: {effect: 0x0505, body: func(s scene) fields {
		return fields{num(1, 0), str(2, task), num(3, s.me.id), num(4, 0), str(5, "data")}
	}},
	0x0506: {answer: 0x0507,
		body: func(s scene) fields {
			return fields{num(1, s.me.id), num(2, s.me.id), str(3, `C:\Träume\x.txt`), num(4, 7), enum(5, 1)} // to oneself
		},
		want: func(s scene) ct.Body { return fileRefused(s.me.id, s.me.id, `C:\Träume\x.txt`, online) }},
	0x0507: {reply: true},
	0x0508: {reply: true},
	0x0509: {body: user, answer: 0x050a, want: func(s scene) ct.Body { return me(s).Bytes(3, main.address(s.d.t)) }},
	0x050a: {reply: true},
	0x050b: {effect: 0x0508, body: func(s scene) fields {
		return fields{num(1, s.me.id), num(2, s.peer.id), str(3, task), str(4, "x.txt"), num(5, 7)}
	}},
	0x050c: {effect: 0x050a, body: func(s scene) fields { return fields{num(1, s.peer.id), num(2, s.me.id), str(3, task)} }},

	0x0601: {effect: 0x0601, body: func(s scene) fields {
		return fields{num(1, s.me.id), num(2, s.peer.id), str(3, `{"service_id":2,"cmd_id":131073,"content":"writing"}`)}
	}},
	0x0701: {body: none, answer: 0x0701, want: func(scene) ct.Body { return nil }},

	// godwit's own. The notices go to clients that ask for them: see TestExtensions and
	// TestFriends.
	0x2001: {body: func(scene) fields { return fields{str(1, "")} }, answer: 0x2002, open: true},
	0x2002: {reply: true},
	0x2003: {reply: true},
	0x2005: {body: message(), answer: 0x2006, want: func(s scene) ct.Body { return refusedOf(s, 4) }},
	0x2006: {reply: true},
	0x2007: {body: message(str(4, "x")), answer: 0x2008, want: func(s scene) ct.Body { return refusedOf(s, 4) }},
	0x2008: {reply: true},
	0x2009: {reply: true},
	0x200a: {effect: 0x200b, body: message()},
	0x200b: {reply: true},
	0x200c: {body: message(), answer: 0x200d,
		want: func(s scene) ct.Body { return ct.Body(nil).Num(1, s.peer.id).Num(2, 1).Num(3, 1) }},
	0x200d: {reply: true},
	0x200e: {effect: 0x200f, body: func(s scene) fields { return fields{num(1, s.peer.id), enum(2, 1), num(3, 1)} }},
	0x200f: {reply: true},
	0x2011: {body: none, answer: 0x2012, want: func(scene) ct.Body { return nil }},
	0x2012: {reply: true},
	0x2013: {answer: 0x2014, // a name for somebody who is no friend
		body: func(s scene) fields { return fields{num(1, s.peer.id), num(2, 6), opt(str(3, "Peer"))} },
		want: func(s scene) ct.Body { return ct.Body(nil).Num(1, 7).Num(2, s.peer.id).Num(3, 6) }},
	0x2014: {reply: true},
	0x2015: {reply: true},
	0x2017: {answer: 0x2018, // of a group that the asker is not in
		body: func(s scene) fields { return fields{num(1, s.peer.id), opt(str(2, "name"))} },
		want: func(s scene) ct.Body { return ct.Body(nil).Num(1, 3).Num(2, s.peer.id) }},
	0x2018: {reply: true},
	0x2019: {reply: true},
	0x201b: {reply: true},
}

const task = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

// before are the commands that are served before a login.
var before = []uint16{0x0103, 0x0305, 0x0701}

// TestCatalogueIsWhole fails for a command of the protocol that nothing here drives: each that
// clients send has an answer or an effect, or a reason to have none; and with -v it lists them.
func TestCatalogueIsWhole(t *testing.T) {
	known := map[uint16]bool{}
	for c := range client.Commands() {
		if c.Direction&(client.FromClient|client.ToClient) == 0 {
			continue // driven by TestServersCommandsAreIgnored
		}
		known[c.ID] = true
		mine, ok := catalogue[c.ID]
		switch {
		case !ok:
			t.Errorf("0x%04x %s has no case", c.ID, c.Name)
		case !mine.reply && mine.body == nil:
			t.Errorf("0x%04x %s has no request", c.ID, c.Name)
		case mine.reply == (c.Direction&client.FromClient != 0):
			t.Errorf("0x%04x %s is sent by the other side", c.ID, c.Name)
		case !mine.reply && mine.answer == 0 && mine.effect == 0 && mine.void == "":
			t.Errorf("0x%04x %s is sent, and nobody looks at what comes of it", c.ID, c.Name)
		default:
			t.Logf("0x%04x %-40s %s", c.ID, c.Name, mine.comes())
		}
	}
	for id := range catalogue {
		if !known[id] {
			t.Errorf("0x%04x is not in the protocol", id)
		}
	}
	for service, last := range map[uint16]uint16{1: 0x0f, 2: 0x15, 3: 0x0e, 4: 0x0b, 5: 0x0c, 6: 0x01, 7: 0x01} {
		for id := service<<8 | 1; id <= service<<8|last; id++ {
			if _, ok := catalogue[id]; !ok {
				t.Errorf("0x%04x has no case", id)
			}
		}
	}
}

// TestCommands drives every command from a PC and from a phone: complete, with each
// required field missing, with enums outside their lists, with garbage, and with every kind of
// sequence number; and what only servers send.
func TestCommands(t *testing.T) {
	t.Parallel()
	t.Run("drive", func(t *testing.T) {
		ids := make([]uint16, 0, len(catalogue))
		for id := range catalogue {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for i, id := range ids {
			t.Run(fmt.Sprintf("0x%04x", id), func(t *testing.T) {
				t.Parallel()
				// Either kind of each class for half of the commands.
				for _, kind := range [2]uint32{1 + uint32(i)%2, 17 + uint32(i)%2} {
					t.Run(map[bool]string{false: "pc", true: "phone"}[mobile(kind)], func(t *testing.T) { drive(t, id, kind) })
				}
				if detail := details[id]; detail != nil {
					for _, k := range kinds {
						t.Run("detail "+k.name, func(t *testing.T) { detail(t, k.kind) })
					}
				}
			})
		}
	})
	t.Run("the server leaves", func(t *testing.T) { serverLeaves(t, overTCP) })
	if f := flagRun(); f != "" {
		return
	}
	// Every answer and push that this version sends has come and was compared with the tables.
	wholly(t, overTCP)
}

// wholly fails for a command that no client said over a transport, and for an answer or push of
// this version that did not come by it, or was not compared with the tables.
func wholly(t *testing.T, over transport) {
	compared.Lock()
	defer compared.Unlock()
	for c := range client.Commands() {
		if c.Direction&client.FromClient != 0 && compared.asked[over][c.ID] == 0 {
			t.Errorf("0x%04x %s was never asked for", c.ID, c.Name)
		}
		n, why := compared.commands[over][c.ID], catalogue[c.ID].unsent
		if over != overTCP && elsewhere[c.ID] {
			continue
		}
		switch {
		case c.Direction&client.ToClient == 0:
		case n == 0 && why == "":
			t.Errorf("0x%04x %s was never sent and compared", c.ID, c.Name)
		case n > 0 && why != "":
			t.Errorf("0x%04x %s was sent, %s", c.ID, c.Name, why)
		default:
			t.Logf("0x%04x %-40s compared %d times", c.ID, c.Name, n)
		}
	}
}

// drive is what every command goes through.
func drive(t *testing.T, id uint16, kind uint32) {
	c := catalogue[id]
	s := scene{me: main.person(t), peer: main.person(t)}
	s.d = main.login(t, s.me, kind)
	d := s.d
	peerPC, peerPhone := main.login(t, s.peer, ct.Windows), main.login(t, s.peer, ct.Android)
	forget(peerPhone)

	if c.reply {
		// It reaches nobody and is not answered, whatever it says.
		for _, body := range []ct.Body{nil, ct.Body(nil).Num(1, s.me.id).Num(2, 1).Num(3, s.peer.id).Num(4, 1), status(s.peer.id, 2)} {
			d.request(id, 9, body)
		}
		d.quiet("a client sent what only servers send")
		peerPC.quiet("somebody sent what only servers send")
		return
	}

	s.request = c.body(s)
	if id == 0x0105 {
		d.request(id, 0xff01, ct.Body(nil))
		d.closedAfter(ct.Request(1, 0x0106, 0xff01, c.want(s)))
		return
	}

	// What cannot be read is ignored, the connection kept. In JSON each is told why.
	if len(s.request) > 0 {
		wrong := 0
		bad := func(body ct.Body) {
			wrong++
			d.request(id, 100, body)
		}
		for i, l := range s.request {
			if !l.optional && !(d.over == overJSON && unlooked(id, l)) {
				bad(slices.Delete(slices.Clone(s.request), i, i+1).body())
			}
			if l.kind == 'e' {
				for _, v := range []uint32{3, 99, 1<<32 - 1} {
					if v == 3 && slices.Contains([]uint16{0x0103, 0x0501, 0x0503}, id) {
						continue // those have enums with a 3
					}
					outside := slices.Clone(s.request)
					outside[i].num = v
					bad(outside.body())
				}
			}
		}
		bad(ct.Body("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
		bad(append(s.request.body(), 0x80))
		if d.over != overJSON || slices.ContainsFunc(s.request, func(l line) bool { return !l.optional && !unlooked(id, l) }) {
			bad(ct.Body(nil))
		}
		d.quiet("ignored what cannot be read")
		d.wasTold(id, 100, wrong)
		peerPC.quiet("what cannot be read reaches nobody")
	}

	answered := c.answer != 0 && (!c.mobile || mobile(kind))
	seqs := []uint16{0, 1, 0x7ffe, 0xff01, 0xff02, 0xff03, 0xffff}
	if c.once {
		seqs = []uint16{0xff01}
	}
	for _, seq := range seqs {
		d.request(id, seq, s.request.body())
		if answered {
			d.answered(c, s, seq)
		}
	}
	sent := len(seqs)
	if !c.once {
		sent++
		// The service of a request is not looked at, its user is the session's, what only
		// servers put in is not passed on, and lists may come packed.
		foreign := slices.Clone(s.request)
		if len(foreign) > 0 && foreign[0].no == 1 && foreign[0].kind == 'n' {
			foreign[0].num = s.peer.id
		}
		p := d.pdu(id, 7, append(foreign.body(), ct.Body(nil).Bytes(20, []byte("cookie")).Num(99, 1)...))
		if len(s.request) == 0 {
			p = d.pdu(id, 7, nil)
		}
		p.Service = 0x7777
		if id == 0x0701 {
			p.Service = 7 // it comes back as it was
		}
		d.Write(p.Bytes())
		if answered {
			d.answered(c, s, 7)
		}
		if d.over == overJSON {
			sent++
			d.request(id, 9, slices.DeleteFunc(slices.Clone(s.request), func(l line) bool { return unlooked(id, l) }).body())
			if answered {
				d.answered(c, s, 9)
			}
		}
		if c.packed > 0 {
			d.request(id, 8, s.request.packed(c.packed))
			d.answered(c, s, 8)
		}
	}
	d.quiet("nothing comes after the answers")
	if id == 0x0601 { // passed on, with the sender filled in and without what only servers put in
		for _, p := range []*device{peerPC, peerPhone} {
			for range sent {
				p.expect(id, 0, s.request.body())
			}
			p.quiet("more commands than were sent")
		}
		return
	}
	if id == 0x0301 {
		for _, p := range []*device{peerPC, peerPhone} {
			if rest := p.rest(); len(rest) != 1 || rest[0].Command != 0x0301 || rest[0].Seq != 0 {
				t.Errorf("the peer got %v", rest)
			}
		}
		return
	}
	peerPC.quiet("the peer is told nothing")
	peerPhone.quiet("the peer is told nothing")
}

// answered awaits the answer to a request of the table and compares it.
func (d *device) answered(c command, s scene, seq uint16) {
	d.t.Helper()
	got := d.await(c.answer, seq)
	if c.open {
		d.compare(got, c.answer, seq, got.Body)
		return
	}
	want := c.want(s)
	if c.time {
		want = ct.Body(nil).Num(1, d.clock(field(d.t, got, 1)))
	}
	if c.answer == 0x0701 { // comes back with the client's own header
		if w := d.pdu(0x0701, seq, nil); string(got.Bytes()) != string(w.Bytes()) {
			d.t.Errorf("\n got %s\nwant %s", show(got), show(w))
		}
		d.compared(c.answer)
		return
	}
	d.compare(got, c.answer, seq, want)
}

// TestServersCommandsAreIgnored: what servers of the original send each other, and what
// nobody sends, comes to nothing.
func TestServersCommandsAreIgnored(t *testing.T) {
	t.Parallel()
	me, peer := main.person(t), main.person(t)
	d, victim := main.login(t, me, ct.Windows), main.login(t, peer, ct.Android)
	body := ct.Body(nil).Num(1, peer.id).Num(2, 1).Num(3, 1)
	ids := []uint16{0, 1, 0x00ff, 0x0100, 0x0110, 0x0216, 0x030f, 0x040c, 0x050d, 0x0602, 0x0735, 0x0801, 0x7fff, 0xffff}
	for id := uint16(0x0702); id <= 0x0734; id++ {
		ids = append(ids, id)
	}
	for _, id := range ids {
		d.request(id, 5, body)
		if d.over != overJSON { // a hundred that can't be understood end a session in JSON
			d.request(id, 5, nil)
		}
	}
	d.quiet("ignored")
	victim.quiet("reaches nobody")
}

// TestBeforeLogin: all but login, heartbeat and time comes to nothing, and the
// connection stays.
func TestBeforeLogin(t *testing.T) { // defect 4
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := scene{me: main.person(t), peer: main.person(t)}
			witness := main.login(t, s.peer, ct.Windows)
			s.d = main.dial(t, k.kind)
			d := s.d
			seq := uint16(0x0100)
			for id := range uint16(0x0800) {
				if slices.Contains(before, id) {
					continue
				}
				var body ct.Body
				if c, ok := catalogue[id]; ok && c.body != nil {
					body = c.body(s).body()
				}
				d.request(id, seq, body)
			}
			d.request(0x0701, 1, nil)
			d.answered(catalogue[0x0701], s, 1)
			d.request(0x0305, 0xff01, nil)
			d.answered(catalogue[0x0305], s, 0xff01)
			if late := d.Late(); len(late) > 0 {
				t.Errorf("before login came %v", late)
			}
			d.signIn(s.me) // its answer is the first PDU that comes
			if n := d.Latest(s.peer.id); n != 0 {
				t.Errorf("a message of nobody was stored: %d", n)
			}
			d.quiet("nothing of before comes later")
			witness.quiet("nobody wrote to anybody")
		})
	}
}

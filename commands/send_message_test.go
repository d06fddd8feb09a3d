package commands

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// later is a client message id whose time is that far from noon.
func later(by time.Duration) []byte {
	u := id(5)
	if err := u.SetTime(uint64(noon.Add(by).UnixMilli())); err != nil {
		panic(err)
	}
	return u.Bytes()
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestSendMessage(t *testing.T) {
	permit := Permit{Peer: bob}
	with := func(change func(*SendMessage)) SendMessage {
		c := SendMessage{At: noon, From: desk, To: 3, Type: imbase.MsgType_MSG_TYPE_SINGLE_TEXT, Body: []byte("hello")}
		change(&c)
		return c
	}
	sent := func(change func(*event.MessageSent)) *event.MessageSent {
		e := &event.MessageSent{Conversation: unhex("640000000300000007"), From: 7, Type: 1, Body: []byte("hello"), Session: desk.ID.Bytes(), DeviceClass: desktop}
		change(e)
		return e
	}
	same := func(*SendMessage) {}
	typed := func(k imbase.MsgType) SendMessage { return with(func(c *SendMessage) { c.Type = k }) }
	newID := func(id []byte) SendMessage { return with(func(c *SendMessage) { c.ClientMessageID = id }) }
	direct := event.Direct(3, 7)
	most := strings.Repeat("x", event.MaxEventBytes-100)
	play(t, []scenario[Permit]{
		{name: "seq_num 0 and no id: repeats are not recognised", given: permit, when: with(func(c *SendMessage) { c.Received = []byte("pdu") }), then: sent(func(*event.MessageSent) {})},
		{name: "an old client is known by seq_num and bytes", given: permit, when: with(func(c *SendMessage) { c.Seq, c.Received = 5, []byte("pdu") }),
			then: sent(func(e *event.MessageSent) { e.RepeatKey = event.RepeatKeyOld(7, desktop, 5, []byte("pdu")) })},
		{name: "a new client by its id, whatever its seq_num", given: permit, when: with(func(c *SendMessage) { c.Seq, c.Received, c.ClientMessageID = 5, []byte("pdu"), id(5).Bytes() }),
			then: sent(func(e *event.MessageSent) {
				e.ClientMessageId, e.RepeatKey = id(5).Bytes(), event.RepeatKey(7, direct, id(5).Bytes())
			})},
		{name: "a voice message", given: permit, when: with(func(c *SendMessage) {
			c.Type, c.Body = imbase.MsgType_MSG_TYPE_SINGLE_AUDIO, []byte("\x00\x00\x00\x01v")
		}),
			then: sent(func(e *event.MessageSent) { e.Type, e.Body = 2, []byte("\x00\x00\x00\x01v") })},
		{name: "from the phone, whose seq_nums are its own", given: permit, when: with(func(c *SendMessage) { c.From, c.Seq, c.Received = phone, 5, []byte("pdu") }),
			then: sent(func(e *event.MessageSent) {
				e.Session, e.DeviceClass, e.RepeatKey = phone.ID.Bytes(), mobile, event.RepeatKeyOld(7, mobile, 5, []byte("pdu"))
			})},
		{name: "any bytes are a body", given: permit, when: with(func(c *SendMessage) { c.Body = []byte{0, 0xff} }), then: sent(func(e *event.MessageSent) { e.Body = []byte{0, 0xff} })},
		{name: "nearly too large", given: permit, when: with(func(c *SendMessage) { c.Body = []byte(most) }), then: sent(func(e *event.MessageSent) { e.Body = []byte(most) })},
		{name: "an id of a day ago", given: permit, when: newID(later(-ClientIDAge)), then: sent(func(e *event.MessageSent) {
			e.ClientMessageId, e.RepeatKey = later(-ClientIDAge), event.RepeatKey(7, direct, later(-ClientIDAge))
		})},
		{name: "an id of a clock that is a day ahead", given: permit, when: newID(later(ClientIDAge)), then: sent(func(e *event.MessageSent) {
			e.ClientMessageId, e.RepeatKey = later(ClientIDAge), event.RepeatKey(7, direct, later(ClientIDAge))
		})},

		{name: "before login", given: permit, when: with(func(c *SendMessage) { c.From = Session{} }), refuse: ErrNotLoggedIn},
		{name: "without a session id", given: permit, when: with(func(c *SendMessage) { c.From.ID = event.ID{} }), refuse: ErrNotLoggedIn},
		{name: "no body", given: permit, when: with(func(c *SendMessage) { c.Body = nil }), refuse: ErrEmptyBody},
		{name: "a voice message of a duration only", given: permit, when: with(func(c *SendMessage) {
			c.Type, c.Body = imbase.MsgType_MSG_TYPE_SINGLE_AUDIO, []byte("1234")
		}), refuse: ErrEmptyBody},
		{name: "to oneself", given: Permit{Peer: alice}, when: with(func(c *SendMessage) { c.To = 7 }), refuse: ErrOneself},
		{name: "to nobody", when: with(same), refuse: ErrNoSuchPerson},
		{name: "to number 0", when: with(func(c *SendMessage) { c.To = 0 }), refuse: ErrNoSuchPerson},
		{name: "to another than was asked about", given: Permit{Peer: Person{Number: 4}}, when: with(same), refuse: ErrNoSuchPerson},
		{name: "to a closed account", given: Permit{Peer: gone}, when: with(same), refuse: ErrPersonDisabled},
		{name: "blocked", given: Permit{Peer: bob, Blocked: true}, when: with(same), refuse: ErrBlocked},
		{name: "to a stranger, where only friends may", given: Permit{Peer: bob, Stranger: true}, when: with(same), refuse: ErrNotFriends},
		{name: "of an unknown type", given: permit, when: typed(3), refuse: ErrMessageType},
		{name: "of no type", given: permit, when: typed(0), refuse: ErrMessageType},
		{name: "too large", given: permit, when: with(func(c *SendMessage) { c.Body = make([]byte, event.MaxEventBytes) }), refuse: ErrTooLarge},
		{name: "too large with what is around it", given: permit, when: with(func(c *SendMessage) { c.Body = make([]byte, event.MaxEventBytes-20) }), refuse: ErrTooLarge},
		{name: "an id older than a day", given: permit, when: newID(later(-ClientIDAge - time.Millisecond)), refuse: ErrClientMessageID},
		{name: "an id of the far future", given: permit, when: newID(later(ClientIDAge + time.Millisecond)), refuse: ErrClientMessageID},
		{name: "an id of the end of time", given: permit, when: newID(bytes.Repeat([]byte{0xff}, 16)), refuse: ErrClientMessageID},
		{name: "a short id", given: permit, when: newID([]byte("short")), refuse: ErrClientMessageID},
		{name: "an id of nothing", given: permit, when: newID(make([]byte, 16)), refuse: ErrClientMessageID},
		{name: "no time", given: permit, when: with(func(c *SendMessage) { c.At = time.Time{} }), refuse: ErrIncomplete},
	})
}

func TestSendMessageToAGroup(t *testing.T) {
	permit := Permit{Group: GroupPermit{Number: 3, Member: true}}
	with := func(change func(*SendMessage)) SendMessage {
		c := SendMessage{At: noon, From: desk, To: 3, Type: imbase.MsgType_MSG_TYPE_GROUP_TEXT, Body: []byte("hello")}
		change(&c)
		return c
	}
	sent := func(change func(*event.MessageSent)) *event.MessageSent {
		e := &event.MessageSent{Conversation: unhex("670000000000000003"), From: 7, Type: 17, Body: []byte("hello"), Session: desk.ID.Bytes(), DeviceClass: desktop}
		change(e)
		return e
	}
	same, plain := func(*SendMessage) {}, func(*event.MessageSent) {}
	of := event.Group(3)
	play(t, []scenario[Permit]{
		{name: "by a member", given: permit, when: with(same), then: sent(plain)},
		{name: "voice", given: permit, when: with(func(c *SendMessage) {
			c.Type, c.Body = imbase.MsgType_MSG_TYPE_GROUP_AUDIO, []byte("\x00\x00\x00\x01v")
		}), then: sent(func(e *event.MessageSent) { e.Type, e.Body = 18, []byte("\x00\x00\x00\x01v") })},
		{name: "known by an id of its client", given: permit, when: with(func(c *SendMessage) { c.ClientMessageID = id(5).Bytes() }), then: sent(func(e *event.MessageSent) {
			e.ClientMessageId, e.RepeatKey = id(5).Bytes(), event.RepeatKey(7, of, id(5).Bytes())
		})},
		{name: "known by seq_num and bytes", given: permit, when: with(func(c *SendMessage) { c.Seq, c.Received = 5, []byte("pdu") }),
			then: sent(func(e *event.MessageSent) { e.RepeatKey = event.RepeatKeyOld(7, desktop, 5, []byte("pdu")) })},
		{name: "to a group of one's own number", given: Permit{Group: GroupPermit{Number: 7, Member: true}}, when: with(func(c *SendMessage) { c.To = 7 }),
			then: sent(func(e *event.MessageSent) { e.Conversation = unhex("670000000000000007") })},
		{name: "by nobody of it", given: Permit{Group: GroupPermit{Number: 3}}, when: with(same), refuse: ErrNotMember},
		{name: "to none", when: with(same), refuse: ErrNoSuchGroup},
		{name: "to number 0", given: permit, when: with(func(c *SendMessage) { c.To = 0 }), refuse: ErrNoSuchGroup},
		{name: "to another than was asked about", given: Permit{Group: GroupPermit{Number: 4, Member: true}}, when: with(same), refuse: ErrNoSuchGroup},
		{name: "to a dissolved one", given: Permit{Group: GroupPermit{Number: 3, Member: true, Dissolved: true}}, when: with(same), refuse: ErrNoSuchGroup},
		{name: "a permit for a person is none for a group", given: Permit{Peer: bob}, when: with(same), refuse: ErrNoSuchGroup},
		{name: "voice of a duration only", given: permit, when: with(func(c *SendMessage) {
			c.Type, c.Body = imbase.MsgType_MSG_TYPE_GROUP_AUDIO, []byte("1234")
		}), refuse: ErrEmptyBody},
		{name: "before login", given: permit, when: with(func(c *SendMessage) { c.From = Session{} }), refuse: ErrNotLoggedIn},
	})
}

func TestSendMessageOfTheAPI(t *testing.T) {
	const api, system = event.Origin_ORIGIN_API, event.Origin_ORIGIN_SYSTEM
	single, group := imbase.MsgType_MSG_TYPE_SINGLE_TEXT, imbase.MsgType_MSG_TYPE_GROUP_TEXT
	c := func(o event.Origin, as uint32, kind imbase.MsgType) SendMessage {
		return SendMessage{At: noon, From: Session{User: as}, Origin: o, To: 3, Type: kind, Body: []byte("hello"), Seq: 5, Received: []byte("pdu")}
	}
	sent := func(o event.Origin, as uint32, kind imbase.MsgType, conversation string) *event.MessageSent {
		return &event.MessageSent{Conversation: unhex(conversation), From: as, Type: uint32(kind), Body: []byte("hello"), Origin: o}
	}
	known := c(api, 7, single)
	known.ClientMessageID = id(5).Bytes()
	knownSent := sent(api, 7, single, "640000000300000007")
	knownSent.ClientMessageId, knownSent.RepeatKey = id(5).Bytes(), event.RepeatKey(7, event.Direct(3, 7), id(5).Bytes())
	play(t, []scenario[Permit]{
		{name: "as a user, without a session", given: Permit{Peer: bob}, when: c(api, 7, single), then: sent(api, 7, single, "640000000300000007")},
		{name: "known by its id", given: Permit{Peer: bob}, when: known, then: knownSent},
		{name: "as a member", given: Permit{Group: GroupPermit{Number: 3, Member: true}}, when: c(api, 7, group), then: sent(api, 7, group, "670000000000000003")},
		{name: "as no member", given: Permit{Group: GroupPermit{Number: 3}}, when: c(api, 7, group), refuse: ErrNotMember},
		{name: "as nobody", given: Permit{Peer: bob}, when: c(api, 0, single), refuse: ErrIncomplete},
		{name: "as nobody in a group", given: Permit{Group: GroupPermit{Number: 3, Member: true}}, when: c(api, 0, group), refuse: ErrIncomplete},
		{name: "blocked", given: Permit{Peer: bob, Blocked: true}, when: c(api, 7, single), refuse: ErrBlocked},
		{name: "the system is not blocked", given: Permit{Peer: gone, Blocked: true, Stranger: true}, when: c(system, 7, single), then: sent(system, 7, single, "640000000300000007")},
		{name: "the system is no member", given: Permit{Group: GroupPermit{Number: 3}}, when: c(system, 0, group), then: sent(system, 0, group, "670000000000000003")},
		{name: "the system to nobody", when: c(system, 7, single), refuse: ErrNoSuchPerson},
		{name: "the system to no group", when: c(system, 7, group), refuse: ErrNoSuchGroup},
		{name: "the system between nobody and somebody", given: Permit{Peer: bob}, when: c(system, 0, single), refuse: ErrIncomplete},
	})
}

func TestWhatIsLetInIsNeverLargerThanAnEvent(t *testing.T) {
	permit := Permit{Peer: Person{Number: 1<<32 - 1}}
	for size := event.MaxEventBytes - 1100; size <= event.MaxEventBytes; size++ {
		c := SendMessage{At: noon, From: Session{ID: id(1), User: 1<<32 - 2, Class: web}, To: 1<<32 - 1, Type: imbase.MsgType_MSG_TYPE_SINGLE_TEXT,
			Body: make([]byte, size), ClientMessageID: id(5).Bytes()}
		e, err := c.Decide(permit)
		if err == nil && proto.Size(e) > event.MaxEventBytes {
			t.Fatalf("a body of %d bytes gives an event of %d", size, proto.Size(e))
		}
		if err != nil && size < event.MaxEventBytes-200 {
			t.Fatalf("a body of %d bytes is refused", size)
		}
	}
}

// Two messages of one client have one repeat key exactly when everything that the key stands for is the same.
func TestRepeatKeysAreEqualExactlyWhenTheMessageIsTheSame(t *testing.T) {
	type sending struct {
		user, to uint32
		class    event.DeviceClass
		seq      uint16
		received string
		id       byte
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) sending {
			return sending{
				user: rapid.Uint32Range(1, 2).Draw(t, label+" user"), to: rapid.Uint32Range(3, 4).Draw(t, label+" to"),
				class: rapid.SampledFrom([]event.DeviceClass{desktop, mobile}).Draw(t, label+" class"), seq: rapid.Uint16Range(0, 2).Draw(t, label+" seq"),
				received: rapid.SampledFrom([]string{"a", "b", "ab"}).Draw(t, label+" bytes"), id: rapid.SampledFrom([]byte{0, 0, 1, 2}).Draw(t, label+" id"),
			}
		}
		key := func(s sending) []byte {
			c := SendMessage{At: noon, From: Session{ID: id(1), User: s.user, Class: s.class}, To: s.to, Type: imbase.MsgType_MSG_TYPE_SINGLE_TEXT,
				Body: []byte("x"), Seq: s.seq, Received: []byte(s.received)}
			if s.id != 0 {
				c.ClientMessageID = id(s.id).Bytes()
			}
			e, err := c.Decide(Permit{Peer: Person{Number: s.to}})
			if err != nil {
				t.Fatal(err)
			}
			return e.GetMessageSent().GetRepeatKey()
		}
		a, b := draw("a"), draw("b")
		if field := rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 6}).Draw(t, "the only field that may differ"); field > 0 { // 0: all may
			c := b
			b = a
			switch field {
			case 1:
				b.user = c.user
			case 2:
				b.to = c.to
			case 3:
				b.class = c.class
			case 4:
				b.seq = c.seq
			case 5:
				b.received = c.received
			case 6:
				b.id = c.id
			}
		}
		same := false
		switch {
		case a.id != 0 && b.id != 0: // the conversation is of two: equal users and peers here
			same = a.user == b.user && a.to == b.to && a.id == b.id
		case a.id == 0 && b.id == 0:
			same = a.user == b.user && a.class == b.class && a.seq == b.seq && a.seq != 0 && a.received == b.received
		}
		ka, kb := key(a), key(b)
		if got := len(ka) > 0 && bytes.Equal(ka, kb); got != same {
			t.Fatalf("%+v and %+v: keys %x and %x, same message: %v", a, b, ka, kb, same)
		}
		for s, k := range map[sending][]byte{a: ka, b: kb} {
			if want := 16; s.id == 0 && s.seq == 0 {
				if len(k) != 0 {
					t.Fatalf("%+v has a key", s)
				}
			} else if len(k) != want {
				t.Fatalf("%+v has a key of %d bytes", s, len(k))
			}
		}
	})
}

func BenchmarkSendMessage(b *testing.B) {
	permit := Permit{Peer: bob}
	c := SendMessage{At: noon, From: desk, To: 3, Type: imbase.MsgType_MSG_TYPE_SINGLE_TEXT, Body: make([]byte, 200), Seq: 5, Received: make([]byte, 220)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Decide(permit); err != nil {
			b.Fatal(err)
		}
	}
}

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/schema/event"
)

// history is what the log says, read by the test itself: event by event, by the rules as
// they are written, and with nothing of what the server makes of it.
type history struct {
	dialogs    map[event.ConversationKey]*dialog
	visits     map[event.ID]string // session -> the client's version, which names the visit
	partitions int
}

// dialog is one conversation as the log has it.
type dialog struct {
	key      event.ConversationKey
	messages []*written // id - 1
	parties  map[uint32]*party
	heard    map[string][]heardAt // repeat key -> messages with it

	// Of a group.
	version   uint32
	name      string
	creator   uint32
	admin     uint32
	kind      event.GroupType
	dissolved bool
	changes   []change // of members, in order
	states    map[uint32]string
}

type heardAt struct {
	id uint32
	at int64
}

// written is a message.
type written struct {
	from     uint32
	at       int64
	place    uint64
	session  event.ID
	bodies   [][]byte // as written, and after each edit
	recalled bool
	voice    bool
}

// party is somebody in a conversation.
type party struct {
	spans     []span // of a group
	base      uint32 // the head when he joined, last
	cursor    uint32
	delivered uint32
	removed   bool
	shielded  bool
	blocks    bool
}

// span is a membership: from a place on, and up to another one, 0 while it lasts.
type span struct{ from, to uint64 }

// change is a change of members that had an effect.
type change struct {
	place          uint64
	session        event.ID
	added, removed []uint32 // ascending
	now            []uint32 // after it
	by             uint32
}

func newHistory(partitions int) *history {
	return &history{dialogs: map[event.ConversationKey]*dialog{}, visits: map[event.ID]string{}, partitions: partitions}
}

// readHistory folds the log of presence and of all conversations as it is now.
func readHistory(t *testing.T, b *bus.Bus) *history {
	t.Helper()
	h := newHistory(b.Partitions())
	for _, s := range b.Streams() {
		if s == event.People {
			continue
		}
		if err := h.read(t.Context(), b, s); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *history) read(ctx context.Context, b *bus.Bus, s event.Stream) error {
	last, err := b.LastSequence(ctx, s)
	if err != nil {
		return err
	}
	type name struct {
		writer event.ID
		n      uint64
	}
	seen := map[name]bool{}
	for rec, err := range b.Replay(ctx, s, 1, last) {
		if err != nil {
			return err
		}
		var r event.Record
		if err := proto.Unmarshal(rec.Data, &r); err != nil {
			return fmt.Errorf("%s %d: %w", s, rec.Sequence, err)
		}
		id := name{event.ToID(r.Writer), r.N}
		if seen[id] {
			continue // stored twice
		}
		seen[id] = true
		for i, e := range r.Events {
			h.event(rec.Sequence<<16|uint64(i), e)
		}
	}
	return nil
}

func (h *history) dialog(key []byte) *dialog {
	k := event.ConversationKey(key)
	if h.dialogs[k] == nil {
		h.dialogs[k] = &dialog{key: k, parties: map[uint32]*party{}, heard: map[string][]heardAt{}, states: map[uint32]string{}}
	}
	return h.dialogs[k]
}

func (h *history) event(place uint64, e *event.Event) {
	switch b := e.Body.(type) {
	case *event.Event_SessionOpened:
		h.visits[event.ToID(b.SessionOpened.Session)] = b.SessionOpened.ClientVersion
	case *event.Event_MessageSent:
		h.dialog(b.MessageSent.Conversation).sent(place, e.At, b.MessageSent)
	case *event.Event_ReadAdvanced:
		r := b.ReadAdvanced
		if c := h.dialog(r.Conversation); c.has(r.User) {
			p := c.of(r.User)
			p.cursor = max(p.cursor, min(r.MsgId, c.head()))
		}
	case *event.Event_DeliveredAdvanced:
		r := b.DeliveredAdvanced
		if c := h.dialog(r.Conversation); c.has(r.User) {
			p := c.of(r.User)
			p.delivered = max(p.delivered, min(r.MsgId, c.head()))
		}
	case *event.Event_SessionEntryRemoved:
		r := b.SessionEntryRemoved
		if c := h.dialog(r.Conversation); c.has(r.User) && c.listed(r.User) {
			p := c.of(r.User)
			p.removed, p.cursor = true, c.head()
		}
	case *event.Event_BlockChanged:
		h.dialog(b.BlockChanged.Conversation).of(b.BlockChanged.User).blocks = b.BlockChanged.Blocked
	case *event.Event_GroupCreated:
		g := b.GroupCreated
		c := h.dialog(g.Conversation)
		if c.version > 0 {
			return
		}
		c.kind, c.name, c.creator, c.admin = g.Type, g.Name, g.Creator, g.Creator
		members := slices.Clone(g.Members)
		if g.Creator != 0 {
			members = append(members, g.Creator)
		}
		c.change(place, g.Creator, g.Session, ascending(members), nil)
	case *event.Event_GroupMembersChanged:
		g := b.GroupMembersChanged
		h.dialog(g.Conversation).members(place, g)
	case *event.Event_GroupChanged:
		g := b.GroupChanged
		h.dialog(g.Conversation).changed(place, g)
	case *event.Event_GroupShieldSet:
		g := b.GroupShieldSet
		if c := h.dialog(g.Conversation); c.has(g.User) {
			c.of(g.User).shielded = g.Shielded
		}
	case *event.Event_MessageRecalled:
		r := b.MessageRecalled
		if m := h.dialog(r.Conversation).mine(r.User, r.MsgId, r.Within, e.At); m != nil {
			m.recalled = true
		}
	case *event.Event_MessageEdited:
		r := b.MessageEdited
		m := h.dialog(r.Conversation).mine(r.User, r.MsgId, r.Within, e.At)
		if m != nil && !m.voice && len(r.Body) > 0 && !bytes.Equal(m.body(), r.Body) {
			m.bodies = append(m.bodies, r.Body)
		}
	}
}

func (c *dialog) head() uint32 { return uint32(len(c.messages)) }

// party is what is known of somebody, to be looked at.
func (c *dialog) party(user uint32) party {
	if p := c.parties[user]; p != nil {
		return *p
	}
	return party{}
}

// of is the same to be changed.
func (c *dialog) of(user uint32) *party {
	if c.parties[user] == nil {
		c.parties[user] = &party{}
	}
	return c.parties[user]
}

// has tells whether somebody is of the conversation now.
func (c *dialog) has(user uint32) bool {
	if c.key.IsDirect() {
		return c.key.Peer(user) != 0
	}
	spans := c.party(user).spans
	return len(spans) > 0 && spans[len(spans)-1].to == 0
}

func (c *dialog) listed(user uint32) bool {
	p := c.party(user)
	return c.has(user) && !p.removed && c.head() > p.base
}

func (c *dialog) now() (users []uint32) {
	for _, u := range slices.Sorted(maps.Keys(c.parties)) {
		if c.has(u) {
			users = append(users, u)
		}
	}
	return users
}

// hears tells whether a message came while somebody was of the conversation.
func (c *dialog) hears(user uint32, m *written) bool {
	return c.key.IsDirect() || slices.ContainsFunc(c.party(user).spans, func(s span) bool {
		return s.from <= m.place && (s.to == 0 || m.place < s.to)
	})
}

func (c *dialog) sent(place uint64, at int64, m *event.MessageSent) {
	if !c.has(m.From) {
		return
	}
	if c.key.IsDirect() {
		lower, higher := c.key.Parties()
		if c.party(lower).blocks || c.party(higher).blocks {
			return
		}
	}
	if len(m.RepeatKey) == 16 {
		window := event.RepeatWindowOld
		if len(m.ClientMessageId) > 0 {
			window = event.RepeatWindow
		}
		for _, before := range c.heard[string(m.RepeatKey)] {
			if time.Duration(max(at-before.at, before.at-at))*time.Millisecond <= window {
				return
			}
		}
		c.heard[string(m.RepeatKey)] = append(c.heard[string(m.RepeatKey)], heardAt{c.head() + 1, at})
	}
	c.messages = append(c.messages, &written{
		from: m.From, at: at, place: place, session: event.ToID(m.Session), bodies: [][]byte{m.Body}, voice: m.Type == 2 || m.Type == 18,
	})
	for user, p := range c.parties {
		p.removed = p.removed && !c.key.IsDirect() && user != m.From
	}
	if m.Origin == event.Origin_ORIGIN_CLIENT {
		c.of(m.From).cursor = c.head()
	}
}

// mine finds a message that somebody may change.
func (c *dialog) mine(user, id, within uint32, at int64) *written {
	if user != 0 && !c.has(user) || id == 0 || id > c.head() {
		return nil
	}
	m := c.messages[id-1]
	late := within > 0 && at/1000-m.at/1000 > int64(within)
	if m.recalled || user != 0 && m.from != user || late {
		return nil
	}
	return m
}

func (m *written) body() []byte { return m.bodies[len(m.bodies)-1] }

// was tells whether a message ever said that.
func (m *written) was(body string) bool {
	return slices.ContainsFunc(m.bodies, func(b []byte) bool { return string(b) == body })
}

func ascending(users []uint32) []uint32 {
	users = slices.Clone(users)
	slices.Sort(users)
	return slices.Compact(users)
}

func (c *dialog) members(place uint64, g *event.GroupMembersChanged) {
	leaves := len(ascending(g.Removed)) == 1 && g.Removed[0] == g.User
	switch {
	case c.version == 0 || c.dissolved:
		return
	case g.User == 0 || g.User == c.admin && c.has(g.User):
	case !c.has(g.User):
		return
	case len(g.Removed) > 0 && !leaves, len(g.Added) > 0 && c.kind != event.GroupType_GROUP_TYPE_TEMPORARY:
		return
	}
	removed := ascending(g.Removed)
	added := slices.DeleteFunc(ascending(g.Added), func(u uint32) bool { return c.has(u) || slices.Contains(removed, u) })
	removed = slices.DeleteFunc(removed, func(u uint32) bool { return !c.has(u) })
	limit := min(cmp.Or(g.Limit, 10_000), 40_000)
	switch {
	case len(added)+len(removed) == 0:
	case len(added) > 0 && len(c.now())+len(added)-len(removed) > int(limit):
	default:
		c.change(place, g.User, g.Session, added, removed)
	}
}

// change makes the next version of the group with other members.
func (c *dialog) change(place uint64, by uint32, session []byte, added, removed []uint32) {
	for _, u := range added {
		p := c.of(u)
		p.spans = append(p.spans, span{from: place})
		p.base, p.cursor, p.removed, p.shielded = c.head(), c.head(), false, false
	}
	for _, u := range removed {
		p := c.of(u)
		p.spans[len(p.spans)-1].to = place
	}
	if slices.Contains(removed, c.admin) {
		c.admin = 0
		longest := uint64(0)
		for _, u := range c.now() {
			spans := c.party(u).spans
			if from := spans[len(spans)-1].from; c.admin == 0 || from < longest {
				c.admin, longest = u, from
			}
		}
	}
	c.next()
	c.changes = append(c.changes, change{place, event.ToID(session), added, removed, c.now(), by})
}

// next notes what the group is at its next version.
func (c *dialog) next() {
	c.version++
	c.states[c.version] = fmt.Sprintf("%q of %d", c.name, c.admin)
}

func (c *dialog) changed(place uint64, g *event.GroupChanged) {
	switch {
	case c.version == 0 || c.dissolved:
		return
	case g.User != 0 && (!c.has(g.User) || g.User != c.admin):
		return
	case g.User != 0 && g.Dissolved && c.kind != event.GroupType_GROUP_TYPE_TEMPORARY:
		return
	case g.Administrator != nil && !c.has(*g.Administrator) && (*g.Administrator != 0 || g.User != 0):
		return
	}
	name, admin := c.name, c.admin
	if g.Name != nil {
		name = *g.Name
	}
	if g.Administrator != nil {
		admin = *g.Administrator
	}
	if !g.Dissolved && name == c.name && admin == c.admin && g.AvatarUrl == nil {
		return
	}
	c.name, c.admin = name, admin
	if g.Dissolved {
		c.dissolved = true
		c.change(place, g.User, g.Session, nil, c.now())
		return
	}
	c.next()
}

// by counts the messages of the log by what they said at first.
func (h *history) by() map[string][]spot {
	found := map[string][]spot{}
	for key, c := range h.dialogs {
		for i, m := range c.messages {
			text := string(m.bodies[0])
			found[text] = append(found[text], spot{key, uint32(i + 1)})
		}
	}
	return found
}

// spot is a message's place in the world of ids.
type spot struct {
	key event.ConversationKey
	id  uint32
}

func nameOf(key event.ConversationKey) string {
	if key.IsDirect() {
		a, b := key.Parties()
		return fmt.Sprintf("the talk of %d and %d", a, b)
	}
	return fmt.Sprintf("group %d", key.GroupID())
}

// numbers writes users for a comparison.
func numbers(users []uint32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(users), " ", ","), "[]")
}

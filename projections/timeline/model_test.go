package timeline

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// naive is the timeline as its definition says it, with nothing kept that could be
// counted anew: all messages with those who were there when they came, and for
// everybody what he has seen.
type naive struct {
	clock int64
	now   int // events so far
	convs map[string]*naiveConversation
	tasks map[string]*event.FileOffered
}

func newNaive() *naive {
	return &naive{convs: make(map[string]*naiveConversation), tasks: make(map[string]*event.FileOffered)}
}

type naiveConversation struct {
	messages []*naiveMessage
	members  map[uint32]*naiveMember // of a group those who are there, of two those who were ever heard of
	gone     map[uint32]*naiveMember // who left the group, as he was then
	group    *naiveGroup
}

type naiveMember struct {
	cursor, delivered         int
	removed, blocks, shielded bool
	since                     int // messages before he came
	came                      int // event with which he came
}

type naiveGroup struct {
	kind          event.GroupType
	gone          bool
	administrator uint32
	version       int
	name          string
	step          [2]uint32
}

type naiveMessage struct {
	at        int64
	key       string
	from      uint32
	kind      uint32
	missing   bool
	recalled  bool
	bodies    []string // the last one is the present one
	toMembers map[uint32]bool
}

func (n *naive) conversation(c []byte) *naiveConversation {
	conv := n.convs[string(c)]
	if conv == nil {
		conv = &naiveConversation{members: make(map[uint32]*naiveMember), gone: make(map[uint32]*naiveMember)}
		n.convs[string(c)] = conv
		if c[0] == 'd' {
			lower, higher := naiveParties(c)
			conv.members[lower], conv.members[higher] = new(naiveMember), new(naiveMember)
		}
	}
	return conv
}

func naiveParties(c []byte) (uint32, uint32) { return uint32(c[4]), uint32(c[8]) }

func badKey(c []byte) bool {
	lower, higher := naiveParties(c)
	return c[0] == 'd' && lower >= higher
}

// event says what an event comes to, as text does of an effect.
func (n *naive) event(ev *event.Event) string {
	n.now++
	at := min(max(ev.At, 0), int64(math.MaxUint32)*1000)
	n.clock = max(n.clock, at)
	switch b := ev.Body.(type) {
	case *event.Event_MessageSent:
		return n.message(at, b.MessageSent)
	case *event.Event_ReadAdvanced:
		return n.asMember(b.ReadAdvanced.Conversation, b.ReadAdvanced.User, func(c *naiveConversation, m *naiveMember) string {
			to := min(int(b.ReadAdvanced.MsgId), len(c.messages))
			if to <= m.cursor {
				return "no_effect"
			}
			m.cursor = to
			return fmt.Sprintf("id %d", to)
		})
	case *event.Event_DeliveredAdvanced:
		return n.asMember(b.DeliveredAdvanced.Conversation, b.DeliveredAdvanced.User, func(c *naiveConversation, m *naiveMember) string {
			to := min(int(b.DeliveredAdvanced.MsgId), len(c.messages))
			if to <= m.cursor || to <= m.delivered {
				return "no_effect"
			}
			m.delivered = to
			return fmt.Sprintf("id %d", to)
		})
	case *event.Event_SessionEntryRemoved:
		return n.asMember(b.SessionEntryRemoved.Conversation, b.SessionEntryRemoved.User, func(c *naiveConversation, m *naiveMember) string {
			if m.removed || len(c.messages) == m.since {
				return "no_effect"
			}
			m.removed, m.cursor = true, len(c.messages)
			return "done"
		})
	case *event.Event_BlockChanged:
		if b.BlockChanged.Conversation[0] == 'g' {
			return "malformed"
		}
		return n.asMember(b.BlockChanged.Conversation, b.BlockChanged.User, func(c *naiveConversation, m *naiveMember) string {
			if m.blocks == b.BlockChanged.Blocked {
				return "no_effect"
			}
			m.blocks = b.BlockChanged.Blocked
			return "done"
		})
	case *event.Event_GroupCreated:
		return n.groupCreated(b.GroupCreated)
	case *event.Event_GroupMembersChanged:
		return n.groupMembersChanged(b.GroupMembersChanged)
	case *event.Event_GroupChanged:
		return n.groupChanged(b.GroupChanged)
	case *event.Event_GroupShieldSet:
		if b.GroupShieldSet.User == 0 {
			return "malformed"
		}
		if c := n.conversation(b.GroupShieldSet.Conversation); c.group == nil || c.group.gone {
			return "no_such_group"
		}
		return n.asMember(b.GroupShieldSet.Conversation, b.GroupShieldSet.User, func(c *naiveConversation, m *naiveMember) string {
			if m.shielded == b.GroupShieldSet.Shielded {
				return "no_effect"
			}
			m.shielded = b.GroupShieldSet.Shielded
			return "done"
		})
	case *event.Event_MessageRecalled:
		r := b.MessageRecalled
		return n.ofMessage(at, r.Conversation, r.MsgId, r.User, r.Within, func(m *naiveMessage) string {
			m.recalled, m.bodies = true, []string{""}
			return fmt.Sprintf("id %d", r.MsgId)
		})
	case *event.Event_MessageEdited:
		r := b.MessageEdited
		if len(r.Body) == 0 {
			return "malformed"
		}
		voice := false
		void := n.ofMessage(at, r.Conversation, r.MsgId, r.User, 0, func(m *naiveMessage) string {
			voice = m.kind == 2 || m.kind == 18
			return ""
		})
		if void == "" && voice {
			return "not_allowed"
		}
		return n.ofMessage(at, r.Conversation, r.MsgId, r.User, r.Within, func(m *naiveMessage) string {
			if m.bodies[len(m.bodies)-1] == string(r.Body) {
				return "no_effect"
			}
			m.bodies = append(m.bodies, string(r.Body))
			return fmt.Sprintf("id %d", r.MsgId)
		})
	case *event.Event_MessageImported:
		i := b.MessageImported
		c := n.conversation(i.Conversation)
		switch {
		case badKey(i.Conversation), i.From == 0 && !i.Missing, i.Missing && len(i.Body) > 0,
			i.Conversation[0] == 'g' && (c.group == nil || c.group.gone):
			return "malformed"
		case int(i.MsgId) != len(c.messages)+1:
			return "no_effect"
		}
		return n.add(c, &naiveMessage{at: at, from: i.From, kind: i.Type, missing: i.Missing, bodies: []string{string(i.Body)}})
	case *event.Event_FileOffered:
		o := b.FileOffered
		if badKey(o.Conversation) || o.Conversation[0] == 'g' || o.Task == "" {
			return "malformed"
		}
		c := n.conversation(o.Conversation)
		from, to := c.members[o.From], c.members[o.To]
		switch {
		case from == nil || to == nil || from == to:
			return "not_party"
		case from.blocks || to.blocks:
			return "blocked"
		case n.tasks[o.Task] != nil:
			return "no_effect"
		}
		n.tasks[o.Task] = o
		return "done"
	case *event.Event_FileRemoved:
		r := b.FileRemoved
		o := n.tasks[r.Task]
		switch {
		case badKey(r.Conversation) || r.Conversation[0] == 'g':
			return "malformed"
		case o == nil || !bytes.Equal(o.Conversation, r.Conversation):
			return "no_effect"
		case r.User != 0 && r.User != o.From && r.User != o.To:
			return "not_allowed"
		}
		delete(n.tasks, r.Task)
		return "done"
	}
	return "done"
}

func (n *naive) asMember(conversation []byte, user uint32, do func(c *naiveConversation, m *naiveMember) string) string {
	if user == 0 || badKey(conversation) {
		return "malformed"
	}
	c := n.conversation(conversation)
	if m := c.members[user]; m != nil {
		return do(c, m)
	}
	return "not_party"
}

func (n *naive) ofMessage(at int64, conversation []byte, id, user, within uint32, do func(m *naiveMessage) string) string {
	if badKey(conversation) || id == 0 {
		return "malformed"
	}
	c := n.conversation(conversation)
	if user != 0 && c.members[user] == nil {
		return "not_party"
	}
	if int(id) > len(c.messages) || c.messages[id-1].recalled || c.messages[id-1].missing {
		return "no_such_message"
	}
	m := c.messages[id-1]
	if user != 0 && user != m.from {
		return "not_allowed"
	}
	if within != 0 && at/1000-m.at/1000 > int64(within) {
		return "too_late"
	}
	return do(m)
}

// add counts a message.
func (n *naive) add(c *naiveConversation, m *naiveMessage) string {
	m.toMembers = make(map[uint32]bool)
	for user := range c.members {
		m.toMembers[user] = true
	}
	c.messages = append(c.messages, m)
	return fmt.Sprintf("id %d", len(c.messages))
}

func (n *naive) message(at int64, m *event.MessageSent) string {
	system := m.Origin == event.Origin_ORIGIN_SYSTEM
	if badKey(m.Conversation) || m.From == 0 && !system {
		return "malformed"
	}
	c := n.conversation(m.Conversation)
	isGroup := m.Conversation[0] == 'g'
	sender := c.members[m.From]
	switch {
	case isGroup && system && (c.group == nil || c.group.gone):
		return "malformed"
	case sender == nil && !system:
		return "not_party"
	}
	if !isGroup && !system {
		for _, mb := range c.members {
			if mb.blocks {
				return "blocked"
			}
		}
	}
	if len(m.RepeatKey) == 16 {
		window := 2 * time.Minute.Milliseconds()
		if len(m.ClientMessageId) > 0 {
			window = 7 * 24 * time.Hour.Milliseconds()
		}
		const aDay = 24 * 3600 * 1000
		for i, old := range c.messages {
			if old.key == string(m.RepeatKey) && max(old.at-at, at-old.at) <= window && old.at/aDay >= n.clock/aDay-8 {
				return fmt.Sprintf("repeat of %d", i+1)
			}
		}
	}
	id := n.add(c, &naiveMessage{at: at, key: string(m.RepeatKey), from: m.From, kind: m.Type, bodies: []string{string(m.Body)}})
	if sender != nil && m.Origin == event.Origin_ORIGIN_CLIENT {
		sender.cursor = len(c.messages)
	}
	if sender != nil && !system {
		sender.removed = false
	}
	if !isGroup {
		for _, mb := range c.members {
			mb.removed = false
		}
	}
	return id
}

func set(users []uint32) map[uint32]bool {
	s := make(map[uint32]bool)
	for _, u := range users {
		s[u] = true
	}
	return s
}

func (n *naive) join(c *naiveConversation, user uint32) {
	m := c.gone[user]
	if m == nil {
		m = new(naiveMember)
	}
	delete(c.gone, user)
	m.cursor, m.since, m.came = len(c.messages), len(c.messages), n.now
	m.removed, m.shielded = false, false
	c.members[user] = m
}

func (n *naive) groupCreated(g *event.GroupCreated) string {
	c := n.conversation(g.Conversation)
	members := set(g.Members)
	if g.Creator != 0 {
		members[g.Creator] = true
	}
	limit := int(g.Limit)
	if limit == 0 {
		limit = 10_000
	}
	switch {
	case c.group != nil:
		return "no_effect"
	case g.Type == 0, len(members) == 0, members[0]:
		return "malformed"
	case len(members) > limit:
		return "full"
	}
	c.group = &naiveGroup{kind: g.Type, administrator: g.Creator, version: 1, name: g.Name}
	for user := range members {
		n.join(c, user)
	}
	return "id 1"
}

func (n *naive) groupMembersChanged(g *event.GroupMembersChanged) string {
	c := n.conversation(g.Conversation)
	added, removed := set(g.Added), set(g.Removed)
	if added[0] || removed[0] {
		return "malformed"
	}
	if c.group == nil || c.group.gone {
		return "no_such_group"
	}
	if g.User != 0 {
		if c.members[g.User] == nil {
			return "not_party"
		}
		if g.User != c.group.administrator {
			onlyHimself := len(removed) == 0 || len(removed) == 1 && removed[g.User]
			if !onlyHimself || len(added) > 0 && c.group.kind == normal {
				return "not_allowed"
			}
		}
	}
	step := [2]uint32{g.ImportAfter, g.ImportStep}
	if g.ImportStep != 0 && (int(g.ImportAfter) != len(c.messages) || slices.Compare(step[:], c.group.step[:]) <= 0) {
		return "no_effect"
	}
	after := maps.Clone(c.members)
	grows := false
	for user := range added {
		if after[user] == nil && !removed[user] {
			after[user], grows = new(naiveMember), true
		}
	}
	for user := range removed {
		delete(after, user)
	}
	if maps.EqualFunc(after, c.members, func(a, b *naiveMember) bool { return true }) {
		return "no_effect"
	}
	limit := int(g.Limit)
	if limit == 0 {
		limit = 10_000
	}
	if grows && len(after) > limit {
		return "full"
	}
	if g.ImportStep != 0 {
		c.group.step = step
	}
	for user := range after {
		if c.members[user] == nil {
			n.join(c, user)
		}
	}
	for user, m := range c.members {
		if after[user] == nil {
			c.gone[user] = m
			delete(c.members, user)
		}
	}
	if g := c.group; g.administrator != 0 && c.members[g.administrator] == nil {
		g.administrator = 0
		for _, user := range slices.Sorted(maps.Keys(c.members)) {
			if g.administrator == 0 || c.members[user].came < c.members[g.administrator].came {
				g.administrator = user
			}
		}
	}
	c.group.version++
	return fmt.Sprintf("id %d", c.group.version)
}

func (n *naive) groupChanged(g *event.GroupChanged) string {
	c := n.conversation(g.Conversation)
	if c.group == nil || c.group.gone {
		return "no_such_group"
	}
	if g.User != 0 {
		if c.members[g.User] == nil {
			return "not_party"
		}
		if g.User != c.group.administrator || g.Dissolved && c.group.kind == normal || g.Administrator != nil && *g.Administrator == 0 {
			return "not_allowed"
		}
	}
	if g.Administrator != nil && *g.Administrator != 0 && c.members[*g.Administrator] == nil {
		return "not_party"
	}
	before := *c.group
	if g.Name != nil {
		c.group.name = *g.Name
	}
	if g.Administrator != nil {
		c.group.administrator = *g.Administrator
	}
	if *c.group == before && !g.Dissolved {
		return "no_effect"
	}
	if g.Dissolved {
		c.group.gone, c.group.administrator = true, 0
		for user, m := range c.members {
			c.gone[user] = m
			delete(c.members, user)
		}
	}
	c.group.version++
	return fmt.Sprintf("id %d", c.group.version)
}

// sees are the ids that a user may read, newest first.
func (c *naiveConversation) sees(user uint32) (ids []uint32) {
	if m := c.members[user]; m != nil {
		for id := len(c.messages); id > m.since; id-- {
			ids = append(ids, uint32(id))
		}
	}
	return ids
}

// says is a conversation of a user in a list, "" if there is none.
func (c *naiveConversation) says(key string, user uint32, unread bool) string {
	m := c.members[user]
	k, _ := event.ParseConversation([]byte(key))
	switch {
	case m == nil || len(c.messages) == m.since,
		unread && (len(c.messages) == m.cursor || m.removed && k.IsDirect()),
		!unread && m.removed:
		return ""
	}
	last := c.messages[len(c.messages)-1]
	return fmt.Sprintf("%s head %d cursor %d: %d %q", k, len(c.messages), m.cursor, len(c.messages), last.bodies[len(last.bodies)-1])
}

const drawnUsers = 4

// TestTheTimelineAgreesWithItsDefinition folds drawn logs and compares every
// effect, every message, and every list with the naive model.
func TestTheTimelineAgreesWithItsDefinition(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		agrees(t, root, n, projectiontest.Generate(t, drawEvent, 60), func(string) {})
	})
}

// TestLongLogsAgreeWithTheDefinition does so with logs in which much has happened.
func TestLongLogsAgreeWithTheDefinition(t *testing.T) {
	came := make(map[string]int)
	root := t.TempDir()
	for seed := range 40 {
		l := randomLog(rand.New(rand.NewPCG(uint64(seed), 2)), 160)
		agrees(t, root, seed, l, func(what string) { came[what]++ })
	}
	for _, what := range mustHappen {
		if came[what] == 0 {
			t.Errorf("never happened: %s", what)
		}
	}
}

// mustHappen in the long logs, for them to say anything.
var mustHappen = []string{
	"MessageSent malformed", "MessageSent not_party", "MessageSent blocked", "MessageSent repeat of",
	"ReadAdvanced not_party", "ReadAdvanced no_effect", "SessionEntryRemoved done", "SessionEntryRemoved no_effect",
	"BlockChanged done", "BlockChanged malformed", "BlockChanged no_effect",
	"GroupCreated id", "GroupCreated full", "GroupCreated malformed", "GroupCreated no_effect",
	"GroupMembersChanged id", "GroupMembersChanged full", "GroupMembersChanged not_party", "GroupMembersChanged not_allowed",
	"GroupMembersChanged no_effect", "GroupMembersChanged no_such_group", "GroupMembersChanged malformed",
	"GroupChanged id", "GroupChanged not_allowed", "GroupChanged not_party", "GroupChanged no_effect", "GroupChanged no_such_group",
	"GroupShieldSet done", "GroupShieldSet no_effect", "GroupShieldSet not_party", "GroupShieldSet no_such_group",
	"MessageRecalled id", "MessageRecalled too_late", "MessageRecalled no_such_message", "MessageRecalled not_allowed",
	"MessageRecalled not_party", "MessageRecalled malformed",
	"MessageEdited id", "MessageEdited too_late", "MessageEdited no_such_message", "MessageEdited not_allowed",
	"MessageEdited not_party", "MessageEdited malformed", "MessageEdited no_effect",
	"DeliveredAdvanced id", "DeliveredAdvanced no_effect", "DeliveredAdvanced not_party",
	"MessageImported id", "MessageImported no_effect", "MessageImported malformed",
	"FileOffered done", "FileOffered no_effect", "FileOffered blocked", "FileOffered not_party", "FileOffered malformed",
	"FileRemoved done", "FileRemoved no_effect", "FileRemoved not_allowed", "FileRemoved malformed",
}

var numbers = regexp.MustCompile(` \d+`)

// randomLog is a log of a small world in which most of what is asked can be done.
func randomLog(r *rand.Rand, records int) *projectiontest.Log {
	l := new(projectiontest.Log)
	l.Append(projectiontest.ID(99), &event.Event{At: projectiontest.Epoch, Body: &event.Event_StreamOpened{StreamOpened: &event.StreamOpened{}}})
	clock := second(0)
	for len(l.Records) < records {
		if r.IntN(25) == 0 {
			l.Repeat(1 + r.Uint64N(uint64(len(l.Records))))
			continue
		}
		var events []*event.Event
		for range 1 + r.IntN(3) {
			clock += r.Int64N(40_000)
			ev := randomEvent(r, uint32(len(l.Records)/60))
			ev.At = clock - r.Int64N(30_000)
			events = append(events, ev)
		}
		l.Append(projectiontest.ID(byte(1+r.IntN(3))), events...)
	}
	return l
}

// randomEvent draws one; the groups are others in each stage of the log.
func randomEvent(r *rand.Rand, stage uint32) *event.Event {
	user := 1 + r.Uint32N(3)
	if r.IntN(12) == 0 {
		user = 4 * r.Uint32N(2) // nobody, or one who is nowhere at first
	}
	conv := event.Direct(1, 2+r.Uint32N(2))
	group := event.Group(1 + stage + r.Uint32N(2)*r.Uint32N(2))
	any := conv
	if r.IntN(2) == 0 {
		any = group
	}
	if r.IntN(40) == 0 {
		any = event.Direct(2, 2)
	}
	asked := user
	if r.IntN(10) == 0 {
		asked = 0
	}
	users := func() (out []uint32) {
		for range r.IntN(4) {
			out = append(out, 1+r.Uint32N(4))
		}
		if r.IntN(40) == 0 {
			out = append(out, 0)
		}
		return out
	}
	id := r.Uint32N(12)
	session := projectiontest.ID(byte(user))
	within := 60 * r.Uint32N(2)
	ev := new(event.Event)
	switch n := r.IntN(100); {
	case n < 7:
		ev.Body = &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: any[:], User: user, MsgId: id * 3, Session: session[:]}}
	case n < 12:
		ev.Body = &event.Event_DeliveredAdvanced{DeliveredAdvanced: &event.DeliveredAdvanced{Conversation: any[:], User: user, MsgId: id * 2, Session: session[:]}}
	case n < 16:
		ev.Body = &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{Conversation: any[:], User: user, Session: session[:]}}
	case n < 20:
		ev.Body = &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{Conversation: any[:], User: user, Blocked: r.IntN(4) == 0, Session: session[:]}}
	case n < 23:
		ev.Body = &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
			Conversation: group[:], Type: event.GroupType((1 + r.Int32N(2)) * min(1, r.Int32N(8))), Name: "group", Creator: asked,
			Members: users(), Limit: 2 * min(1, r.Uint32N(3)), Session: session[:],
		}}
	case n < 34:
		c := &event.GroupMembersChanged{Conversation: group[:], User: asked, Limit: 3 * min(1, r.Uint32N(3)), Session: session[:]}
		switch r.IntN(6) {
		case 0:
			c.Removed = []uint32{user}
		case 1:
			c.Removed = users()
		case 2:
			c.Added, c.Removed = users(), users()
		case 3:
			c.User, c.Added, c.ImportAfter, c.ImportStep = 0, users(), id, 1+r.Uint32N(2)
		default:
			c.Added = users()
		}
		ev.Body = &event.Event_GroupMembersChanged{GroupMembersChanged: c}
	case n < 38:
		c := &event.GroupChanged{Conversation: group[:], User: asked, Session: session[:]}
		switch r.IntN(5) {
		case 0:
			c.Administrator = new(r.Uint32N(5))
		case 1:
			c.Dissolved = r.IntN(6) == 0
		default:
			c.Name = new([]string{"group", "crew"}[r.IntN(2)])
		}
		ev.Body = &event.Event_GroupChanged{GroupChanged: c}
	case n < 41:
		ev.Body = &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{Conversation: group[:], User: user, Shielded: r.IntN(2) == 0, Session: session[:]}}
	case n < 46:
		ev.Body = &event.Event_MessageRecalled{MessageRecalled: &event.MessageRecalled{Conversation: any[:], MsgId: id, User: asked, Within: within, Session: session[:]}}
	case n < 54:
		ev.Body = &event.Event_MessageEdited{MessageEdited: &event.MessageEdited{
			Conversation: any[:], MsgId: id, User: asked, Within: within, Body: []byte([]string{"", "x", "y", "x"}[r.IntN(4)]), Session: session[:],
		}}
	case n < 58:
		i := &event.MessageImported{Conversation: any[:], MsgId: 1 + r.Uint32N(4), From: user, Type: 1, Body: []byte("old"), Missing: r.IntN(4) == 0}
		if i.Missing && r.IntN(4) > 0 {
			i.Body = nil
		}
		ev.Body = &event.Event_MessageImported{MessageImported: i}
	case n < 62:
		ev.Body = &event.Event_FileOffered{FileOffered: &event.FileOffered{
			Conversation: any[:], From: user, To: any.Peer(user), Task: []string{"one", "two", "three"}[r.IntN(3)], Name: "f", Size: 9, Session: session[:],
		}}
	case n < 65:
		ev.Body = &event.Event_FileRemoved{FileRemoved: &event.FileRemoved{Conversation: any[:], User: asked, Task: []string{"one", "two", "three"}[r.IntN(3)], Session: session[:]}}
	case n < 66:
		return projectiontest.Unknown()
	default:
		m := &event.MessageSent{
			Conversation: any[:], From: user, Type: []uint32{1, 1, 1, 2, 18}[r.IntN(5)], Body: fmt.Appendf(nil, "from %d", user), Session: session[:],
			Origin: event.Origin([]int32{0, 0, 0, 0, 0, 1, 2}[r.IntN(7)]),
		}
		if n < 80 {
			m.RepeatKey = bytes.Repeat([]byte{byte(r.IntN(30))}, 16)
			if n < 74 {
				m.ClientMessageId = m.RepeatKey
			}
		}
		ev.Body = &event.Event_MessageSent{MessageSent: m}
	}
	return ev
}

// agrees folds a log and compares it with the naive model; came hears what each event
// came to.
func agrees(t projectiontest.TB, root string, n int, l *projectiontest.Log, came func(what string)) {
	t.Helper()
	v, err := view.Open(view.Config{Dir: root, Fold: New(n), Log: projectiontest.LogID})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer v.Abandon()
	applied := projectiontest.Apply(t, v, l.Records)
	projectiontest.Commit(t, v)

	model := newNaive()
	l.Known(func(seq uint64, index int, ev *event.Event) {
		before := make(map[string][]uint32)
		for k, c := range model.convs {
			before[k] = slices.Sorted(maps.Keys(c.members))
		}
		want := model.event(ev)
		e := applied[seq-1].Effects[index]
		if got := text(e); got != want {
			t.Fatalf("event %d of %d: %s, want %s: %v", index, seq, got, want, ev)
		}
		came(strings.TrimPrefix(fmt.Sprintf("%T ", ev.Body), "*event.Event_") + numbers.ReplaceAllString(want, ""))
		model.compareMembers(t, seq, index, &e, before)
		// Who hears of a message is who was there.
		if d := e.Deliveries; len(d) == 1 && d[0].GetMessage() != nil {
			c := model.convs[string(ev.GetMessageSent().Conversation)]
			to := c.messages[len(c.messages)-1].toMembers
			concern := ConcernOf(&e, d[0])
			for user := uint32(1); user <= drawnUsers; user++ {
				hears := user == concern.First || user == concern.Second
				if concern.Group != 0 {
					m := reading(t, v, func(r *view.Reader) Membership { return MembershipOf(r, event.Group(concern.Group), user) })
					hears = m.Hears(concern, seq, index)
				}
				if hears != to[user] {
					t.Fatalf("message %d of %d: user %d hears %v, was there %v", index, seq, user, hears, to[user])
				}
			}
		}
	})
	for user := uint32(1); user <= drawnUsers; user++ {
		model.compare(t, v, user)
	}
	model.compareGroups(t, v)
}

// compareMembers holds who came and went, as the owner hears it, against the model.
func (n *naive) compareMembers(t projectiontest.TB, seq uint64, index int, e *view.Effect, before map[string][]uint32) {
	t.Helper()
	moved := false
	for k, c := range n.convs {
		var joined, left []uint32
		for user := uint32(1); k[0] == 'g' && user <= drawnUsers; user++ {
			switch was, is := slices.Contains(before[k], user), c.members[user] != nil; {
			case is && !was:
				joined = append(joined, user)
			case was && !is:
				left = append(left, user)
			}
		}
		if len(joined)+len(left) == 0 {
			continue
		}
		moved = true
		if e.Members == nil || !slices.Equal(e.Members.Joined, joined) || !slices.Equal(e.Members.Left, left) || e.Group != uint32(k[8]) {
			t.Fatalf("event %d of %d: members %+v of %d, want +%v -%v of %d", index, seq, e.Members, e.Group, joined, left, k[8])
		}
	}
	if e.Members != nil && !moved {
		t.Fatalf("event %d of %d: members %+v", index, seq, e.Members)
	}
}

// reading reads something from the newest committed state.
func reading[T any](t projectiontest.TB, v *view.View, fn func(r *view.Reader) T) (out T) {
	t.Helper()
	if err := v.Read(func(r *view.Reader) error { out = fn(r); return nil }); err != nil {
		t.Fatalf("read: %v", err)
	}
	return out
}

// compare holds what one user may see against the model.
func (n *naive) compare(t projectiontest.TB, v *view.View, user uint32) {
	var listed, unread, blocked []string
	total := uint32(0)
	var groups []uint32
	for _, k := range slices.Sorted(maps.Keys(n.convs)) {
		c := n.convs[k]
		key, ok := event.ParseConversation([]byte(k))
		if !ok {
			continue
		}
		if s := c.says(k, user, false); s != "" {
			listed = append(listed, s)
		}
		if s := c.says(k, user, true); s != "" {
			unread = append(unread, s)
		}
		m := c.members[user]
		if m != nil && m.blocks {
			blocked = append(blocked, fmt.Sprint(key.Peer(user)))
		}
		h := asking(t, v, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: key[:], User: user}}}).GetHead()
		if m != nil && len(c.messages) > 0 {
			total += uint32(len(c.messages) - m.cursor)
			if int(h.Head) != len(c.messages) || int(h.Cursor) != m.cursor {
				t.Fatalf("%s of %d: %v, want head %d cursor %d", key, user, h, len(c.messages), m.cursor)
			}
		} else if h.Head != 0 || h.Cursor != 0 {
			t.Fatalf("%s of %d: %v", key, user, h)
		}
		if m != nil && !key.IsDirect() {
			groups = append(groups, key.GroupID())
		}
		want := c.sees(user)
		if got := askHistory(t, v, &query.History{Conversation: key[:], User: user, Count: 1000}); !slices.Equal(got, want) {
			t.Fatalf("history of %s for %d: %v, want %v", key, user, got, want)
		}
		all := make([]uint32, len(c.messages))
		for i := range all {
			all[i] = uint32(i + 1)
		}
		byIDs := asking(t, v, &query.Request{Body: &query.Request_ByIds{ByIds: &query.ByIds{Conversation: key[:], User: user, Ids: all}}}).GetMessages().GetMessages()
		if len(byIDs) != len(want) {
			t.Fatalf("by id from %s for %d: %v, want %v", key, user, byIDs, want)
		}
		for i, got := range byIDs {
			w := c.messages[want[i]-1]
			if got.Id != want[i] || got.From != w.from || got.Type != w.kind || string(got.Body) != w.bodies[len(w.bodies)-1] ||
				got.Recalled != w.recalled || got.Missing != w.missing || int(got.Edits) != len(w.bodies)-1 {
				t.Fatalf("message %v, want %+v", got, w)
			}
		}
		n.compareMessages(t, v, key, c, user, all)
	}
	lists := askLists(t, v, &query.Lists{User: user})
	slices.Sort(lists)
	slices.Sort(listed)
	if !slices.Equal(lists, listed) {
		t.Fatalf("lists of %d:\n%v\nwant\n%v", user, lists, listed)
	}
	lists = askLists(t, v, &query.Lists{User: user, UnreadOnly: true})
	slices.Sort(lists)
	slices.Sort(unread)
	if !slices.Equal(lists, unread) {
		t.Fatalf("unread of %d:\n%v\nwant\n%v", user, lists, unread)
	}
	totals := asking(t, v, &query.Request{Body: &query.Request_UnreadTotals{UnreadTotals: &query.UnreadTotals{Users: []uint32{9, user}}}}).GetUnreadTotals().GetTotals()
	if !slices.Equal(totals, []uint32{0, total}) {
		t.Fatalf("unread of %d: %v, want %d", user, totals, total)
	}
	var got []string
	for _, peer := range asking(t, v, &query.Request{Body: &query.Request_Blocks{Blocks: &query.Blocks{User: user}}}).GetUsers().GetUsers() {
		got = append(got, fmt.Sprint(peer))
	}
	slices.Sort(blocked)
	if !slices.Equal(got, blocked) {
		t.Fatalf("blocks of %d: %v, want %v", user, got, blocked)
	}
	if of := reading(t, v, func(r *view.Reader) []uint32 { return slices.Collect(GroupsOf(r, user)) }); !slices.Equal(of, groups) {
		t.Fatalf("groups of %d: %v, want %v", user, of, groups)
	}
	var files []string
	for _, f := range asking(t, v, &query.Request{Body: &query.Request_Files{Files: &query.Files{User: user}}}).GetFiles().GetFiles() {
		files = append(files, f.Task)
	}
	slices.Sort(files)
	var waiting []string
	for _, task := range slices.Sorted(maps.Keys(n.tasks)) {
		if n.tasks[task].To == user {
			waiting = append(waiting, task)
		}
		one := asking(t, v, &query.Request{Body: &query.Request_Files{Files: &query.Files{User: user, Task: task}}}).GetFiles().GetFiles()
		if party := n.tasks[task].To == user || n.tasks[task].From == user; party != (len(one) == 1) {
			t.Fatalf("file %s for %d: %v", task, user, one)
		}
	}
	if !slices.Equal(files, waiting) {
		t.Fatalf("files of %d: %v, want %v", user, files, waiting)
	}
}

// compareMessages holds receipts and edits of messages against the model.
func (n *naive) compareMessages(t projectiontest.TB, v *view.View, key event.ConversationKey, c *naiveConversation, user uint32, ids []uint32) {
	for _, id := range ids {
		m, visible := c.messages[id-1], slices.Contains(c.sees(user), id)
		var read, delivered []uint32
		for other := uint32(1); visible && other <= drawnUsers; other++ {
			if !m.toMembers[other] || other == m.from {
				continue
			}
			o := c.members[other]
			if o == nil {
				o = c.gone[other]
			}
			switch {
			case o.cursor >= int(id):
				read = append(read, other)
			case o.delivered >= int(id):
				delivered = append(delivered, other)
			}
		}
		got := asking(t, v, &query.Request{Body: &query.Request_Receipts{Receipts: &query.Receipts{Conversation: key[:], User: user, MsgId: id}}}).GetReceipts()
		if !slices.Equal(got.Read, read) || !slices.Equal(got.Delivered, delivered) {
			t.Fatalf("receipts of %s %d for %d: %v, want %v %v", key, id, user, got, read, delivered)
		}
		var bodies []string
		for _, e := range asking(t, v, &query.Request{Body: &query.Request_Edits{Edits: &query.Edits{Conversation: key[:], User: user, MsgId: id}}}).GetEdits().GetEdits() {
			bodies = append(bodies, string(e.Body))
		}
		want := m.bodies
		if !visible || m.recalled || m.missing {
			want = nil
		}
		if !slices.Equal(bodies, want) {
			t.Fatalf("edits of %s %d for %d: %q, want %q", key, id, user, bodies, want)
		}
	}
}

// compareGroups holds the groups themselves against the model.
func (n *naive) compareGroups(t projectiontest.TB, v *view.View) {
	var all [][2]uint32
	for _, k := range slices.Sorted(maps.Keys(n.convs)) {
		c := n.convs[k]
		if k[0] != 'g' {
			continue
		}
		a := asking(t, v, &query.Request{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: []byte(k), Members: true}}}).GetGroup()
		if c.group == nil {
			if a.Group != nil {
				t.Fatalf("there is %v", a)
			}
			continue
		}
		g, w := a.Group, c.group
		if g.GetType() != w.kind || int(g.GetVersion()) != w.version || g.GetName() != w.name || g.GetAdministrator() != w.administrator ||
			g.GetDissolved() != w.gone || int(g.GetMembers()) != len(c.members) || !slices.Equal(a.Members, slices.Sorted(maps.Keys(c.members))) {
			t.Fatalf("group %v, want %+v of %v", a, w, slices.Sorted(maps.Keys(c.members)))
		}
		for _, user := range a.Members {
			all = append(all, [2]uint32{user, g.GetGroup()})
		}
	}
	got := reading(t, v, func(r *view.Reader) (got [][2]uint32) {
		for user, group := range Memberships(r) {
			got = append(got, [2]uint32{user, group})
		}
		return got
	})
	if !slices.Equal(got, all) {
		t.Fatalf("memberships %v, want %v", got, all)
	}
}

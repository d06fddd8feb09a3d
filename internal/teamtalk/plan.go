package teamtalk

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"

	"godwit/schema/event"
)

// person is a row of IMUser.
type person struct {
	id, sex, department, status uint32
	name, domain, nick          string
	password, salt              string
	phone, email, avatar, sign  string
	shield                      bool
}

type department struct {
	id, priority, parent, status uint32
	name                         string
}

type group struct {
	id, creator, kind uint32
	created           uint32
	name, avatar      string
	members           []membership
}

// membership is a stay of a user in a group. TeamTalk keeps the last one only.
type membership struct {
	user         uint32
	joined, left uint32 // seconds; left 0: still there
}

// place is where a message stands in the dump, and where it belongs.
type place struct {
	offset  int64
	of      uint32 // relation or group
	id      uint32
	created uint32
	table   uint8 // into dump.tables
	group   bool
}

// audio is a row of IMAudio.
type audio struct {
	path     string
	duration uint32 // seconds
}

type pair struct{ lower, higher uint32 }

// table is one of those that hold messages.
type table struct {
	name    string
	columns map[string]int
}

// dump is what the first pass keeps.
type dump struct {
	people      []person
	departments []department
	groups      map[uint32]*group
	relations   map[uint32]pair
	removed     map[[3]uint32]bool // user, peer, type: entries taken out of a list
	audios      map[uint32]audio
	places      []place
	tables      []table
	notes       notes
	names       map[string]uint32 // the lowest number of each login name
}

// notes are what a reader of the report has to know, the first ones in words.
type notes struct {
	lines []string
	more  int
}

const maxNotes = 200

func (n *notes) add(format string, args ...any) {
	if len(n.lines) < maxNotes {
		n.lines = append(n.lines, fmt.Sprintf(format, args...))
	} else {
		n.more++
	}
}

var plainTables = []string{"imuser", "imdepart", "imgroup", "imgroupmember", "imrelationship", "imrecentsession", "imaudio"}

// messageTable tells whether a table holds messages, and whether of groups.
func messageTable(table string) (group, ok bool) {
	t := strings.ToLower(table)
	if rest, found := strings.CutPrefix(t, "imgroupmessage"); found && (rest == "" || rest[0] == '_') {
		return true, true
	}
	rest, found := strings.CutPrefix(t, "immessage")
	return false, found && (rest == "" || rest[0] == '_')
}

// read is the first pass.
func read(in io.Reader) (*dump, error) {
	d := &dump{groups: map[uint32]*group{}, relations: map[uint32]pair{}, removed: map[[3]uint32]bool{},
		audios: map[uint32]audio{}}
	found := map[string]bool{}
	want := func(table string) bool {
		_, messages := messageTable(table)
		return messages || slices.Contains(plainTables, strings.ToLower(table))
	}
	members := map[[2]uint32]membership{} // group, user
	err := scan(in, want, func(r *row) error {
		table := strings.ToLower(r.table)
		found[table] = true
		if of, ok := messageTable(table); ok {
			d.message(table, of, r)
			return nil
		}
		switch table {
		case "imuser":
			d.people = append(d.people, person{
				id: r.number("id"), sex: r.number("sex"), department: r.number("departid"), status: r.number("status"),
				name: r.text("name"), domain: r.text("domain"), nick: r.text("nick"),
				password: r.text("password"), salt: r.text("salt"),
				phone: r.text("phone"), email: r.text("email"), avatar: r.text("avatar"), sign: r.text("sign_info"),
				shield: r.number("push_shield_status") == 1,
			})
		case "imdepart":
			d.departments = append(d.departments, department{id: r.number("id"), priority: r.number("priority"), parent: r.number("parentid"),
				status: r.number("status"), name: r.text("departname")})
		case "imgroup":
			g := d.group(r.number("id"))
			g.creator, g.kind, g.created, g.name, g.avatar = r.number("creator"), r.number("type"), r.number("created"), r.text("name"), r.text("avatar")
		case "imgroupmember":
			// A row is used again at each return; should there be several, the newest counts.
			k := [2]uint32{r.number("groupid"), r.number("userid")}
			m := membership{user: k[1], joined: r.number("created")}
			if r.number("status") != 0 {
				m.left = max(r.number("updated"), m.joined, 1)
			}
			if old, ok := members[k]; !ok || old.joined <= m.joined {
				members[k] = m
			}
		case "imrelationship":
			a, b := r.number("smallid"), r.number("bigid")
			d.relations[r.number("id")] = pair{min(a, b), max(a, b)}
		case "imrecentsession":
			if r.number("status") == 1 {
				d.removed[[3]uint32{r.number("userid"), r.number("peerid"), r.number("type")}] = true
			}
		case "imaudio":
			d.audios[r.number("id")] = audio{path: r.text("path"), duration: r.number("duration")}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !found["imuser"] {
		return nil, fmt.Errorf("%w: it holds no rows of IMUser; give a dump of TeamTalk's database", ErrDump)
	}
	for k, m := range members {
		if g := d.groups[k[0]]; g != nil && m.user != 0 {
			g.members = append(g.members, m)
		}
	}
	for _, g := range d.groups {
		slices.SortFunc(g.members, func(a, b membership) int { return cmp.Or(cmp.Compare(a.joined, b.joined), cmp.Compare(a.user, b.user)) })
	}
	return d, nil
}

func (d *dump) group(id uint32) *group {
	if d.groups[id] == nil {
		d.groups[id] = &group{id: id}
	}
	return d.groups[id]
}

// message remembers where a message stands.
func (d *dump) message(name string, of bool, r *row) {
	t := slices.IndexFunc(d.tables, func(t table) bool { return t.name == name })
	if t < 0 {
		if t = len(d.tables); t > math.MaxUint8 {
			d.notes.add("%s is one of too many tables of messages: left out", name)
			return
		}
		d.tables = append(d.tables, table{name, r.columns})
	}
	p := place{offset: r.offset, table: uint8(t), id: r.number("msgid"), created: r.number("created"), group: of}
	if of {
		p.of = r.number("groupid")
	} else {
		p.of = r.number("relateid")
	}
	if p.id == 0 || p.of == 0 {
		d.notes.add("a message in %s at byte %d has no id or no conversation: left out", name, r.offset)
		return
	}
	d.places = append(d.places, p)
}

// conversation is one with its messages in the order of their ids.
type conversation struct {
	key    event.ConversationKey
	group  *group // nil: of two
	places []int  // into dump.places
	anew   bool   // ids were given anew, because some were there twice
}

// conversations sorts the messages. Two relations of one pair, and ids that are there twice, are a known
// defect of TeamTalk: such a conversation is numbered anew, by time.
func (d *dump) conversations() []conversation {
	by := map[event.ConversationKey]*conversation{}
	for i := range d.places {
		p := &d.places[i]
		var key event.ConversationKey
		var g *group
		if p.group {
			if g = d.groups[p.of]; g == nil || len(g.members) == 0 {
				d.notes.add("messages of group %d, which is not there or never had a member: left out", p.of)
				continue
			}
			key = event.Group(p.of)
		} else {
			pr, ok := d.relations[p.of]
			if !ok || pr.lower == 0 || pr.lower == pr.higher {
				d.notes.add("messages of relation %d, which is not there or not of two: left out", p.of)
				continue
			}
			key = event.Direct(pr.lower, pr.higher)
		}
		c := by[key]
		if c == nil {
			c = &conversation{key: key, group: g}
			by[key] = c
		}
		c.places = append(c.places, i)
	}
	for id, g := range d.groups {
		if key := event.Group(id); by[key] == nil && len(g.members) > 0 {
			by[key] = &conversation{key: key, group: g}
		}
	}
	all := make([]conversation, 0, len(by))
	for _, c := range by {
		slices.SortFunc(c.places, func(x, y int) int {
			a, b := &d.places[x], &d.places[y]
			return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.created, b.created), cmp.Compare(a.offset, b.offset))
		})
		for i := 1; i < len(c.places); i++ {
			c.anew = c.anew || d.places[c.places[i]].id == d.places[c.places[i-1]].id
		}
		if c.anew {
			slices.SortFunc(c.places, func(x, y int) int {
				a, b := &d.places[x], &d.places[y]
				return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.of, b.of), cmp.Compare(a.id, b.id), cmp.Compare(a.offset, b.offset))
			})
			d.notes.add("conversation %s has ids that are there twice: its messages are numbered anew, by time", name(c.key))
		}
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b conversation) int { return slices.Compare(a.key[:], b.key[:]) })
	return all
}

// name says which conversation a key is, for people.
func name(k event.ConversationKey) string {
	if k.IsDirect() {
		a, b := k.Parties()
		return fmt.Sprintf("of users %d and %d", a, b)
	}
	return fmt.Sprintf("of group %d", k.GroupID())
}

// step is one event of a conversation: a message at its id, or who came and went before the next one.
type step struct {
	id      uint32
	place   int // of the message, -1: the dump lacks it
	created uint32
	after   uint32 // of a change of members: the id of the message before it
	added   []uint32
	removed []uint32
}

// maxHole is how many ids in a row a dump may lack. More is no loss but an id that was never given.
const maxHole = 100_000

// steps are what an import of a conversation does, in order. A group's members of its beginning are not among them.
func (d *dump) steps(c *conversation) iter.Seq[step] {
	return func(yield func(step) bool) {
		changes := c.group.changes()
		// before gives what happened to the members before a message of a time was sent: who joined in the very
		// second sees it, as TeamTalk has it, and so does who left in it.
		before := func(head, created uint32) (step, bool) {
			s := step{after: head, place: -1}
			now := map[uint32]bool{}
			var order []uint32
			for len(changes) > 0 && (changes[0].at < created || changes[0].at == created && changes[0].joins) {
				ch := changes[0]
				changes = changes[1:]
				if _, ok := now[ch.user]; !ok {
					order = append(order, ch.user)
				}
				now[ch.user] = ch.joins
			}
			for _, u := range order {
				if now[u] {
					s.added = append(s.added, u)
				} else {
					s.removed = append(s.removed, u)
				}
			}
			slices.Sort(s.added)
			slices.Sort(s.removed)
			return s, len(order) > 0
		}
		head, last := uint32(0), uint32(0)
		for _, i := range c.places {
			p := &d.places[i]
			id := p.id
			if c.anew {
				id = head + 1
			}
			if id-head > maxHole {
				d.notes.add("conversation %s goes on with id %d after %d: that and what follows is left out", name(c.key), id, head)
				return
			}
			last = max(last, p.created)
			if s, ok := before(head, last); ok && !yield(s) {
				return
			}
			for head+1 < id {
				head++
				if !yield(step{id: head, place: -1, created: p.created}) {
					return
				}
			}
			head = id
			if !yield(step{id: id, place: i, created: p.created}) {
				return
			}
		}
		if s, ok := before(head, math.MaxUint32); ok {
			yield(s)
		}
	}
}

type change struct {
	at    uint32
	user  uint32
	joins bool
}

// founders are the members that a group begins with: those who were there when it was made, or the first ones.
func (g *group) founders() []uint32 {
	var users []uint32
	begin := max(g.created, g.members[0].joined)
	for _, m := range g.members {
		if m.joined <= begin {
			users = append(users, m.user)
		}
	}
	slices.Sort(users)
	return users
}

// changes are the comings and goings after that, in order.
func (g *group) changes() []change {
	if g == nil || len(g.members) == 0 {
		return nil
	}
	begin := max(g.created, g.members[0].joined)
	var all []change
	for _, m := range g.members {
		if m.joined > begin {
			all = append(all, change{m.joined, m.user, true})
		}
		if m.left != 0 {
			all = append(all, change{max(m.left, m.joined), m.user, false})
		}
	}
	slices.SortStableFunc(all, func(a, b change) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		if a.joins != b.joins { // joining first
			if a.joins {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.user, b.user)
	})
	return all
}

// members are those who are still there at the end.
func (g *group) present() []uint32 {
	var users []uint32
	for _, m := range g.members {
		if m.left == 0 {
			users = append(users, m.user)
		}
	}
	slices.Sort(users)
	return users
}

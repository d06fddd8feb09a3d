package teamtalk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Node is what an import needs of [delivery.Node].
type Node interface {
	Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error
	AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error
	Ask(ctx context.Context, q *query.Request) (*query.Answer, error)
	AskTimeline(ctx context.Context, conv event.ConversationKey, q *query.Request) (*query.Answer, error)
}

// Options of an import.
type Options struct {
	Partitions int
	Audio      string // directory with the files of TeamTalk's picture and voice store (g0/…); empty: voices become placeholders
	GroupLimit uint32 // most members of a group
	Progress   func(what string, done, total uint64)
}

// Report says what an import did.
type Report struct {
	People, Departments, Groups, Changes Count
	Messages                             Count
	Placeholders                         uint64        // of the new messages: ids that the dump lacks, deleted ones, voices without a file
	Took                                 time.Duration // of the messages
	Notes                                []string      // what to know, the first ones
	MoreNotes                            int
}

// Count is how many were new here, and how many were here before.
type Count struct{ New, Known uint64 }

// ErrOther is wrapped by the refusal of an import into a server where the dump's numbers are somebody else's.
var ErrOther = errors.New("the numbers of the dump are taken here")

const (
	by        = "import"
	askAtOnce = 500
	// maxVoice is the most bytes of a voice; clients record a minute.
	maxVoice = 256 << 10
)

// Import reads a dump and appends what is not there yet. Nothing is appended when the dump can't be read or its numbers are
// taken by others. An error after that leaves a part, which the next run completes.
func Import(ctx context.Context, node Node, in *os.File, o Options) (Report, error) {
	if o.Progress == nil {
		o.Progress = func(string, uint64, uint64) {}
	}
	d, err := read(in)
	if err != nil {
		return Report{}, err
	}
	i := &importer{node: node, dump: d, in: in, o: o}
	i.room = sync.NewCond(&i.mu)
	defer context.AfterFunc(ctx, i.room.Broadcast)()
	for _, part := range []func(context.Context) error{i.check, i.directory, i.groups, i.messages} {
		if err = part(ctx); err != nil {
			break
		}
	}
	if e := i.settle(ctx); err == nil {
		err = e
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.report.Notes, i.report.MoreNotes = d.notes.lines, d.notes.more
	return i.report, err
}

// importer is one import at work.
type importer struct {
	node Node
	dump *dump
	in   *os.File
	o    Options

	mu      sync.Mutex // what outcomes change
	room    *sync.Cond
	waiting int // appends without outcome
	failed  error
	report  Report
}

// maxWaiting bounds the appends without outcome.
const maxWaiting = 8192

// append hands an event over, waits while too many are under way, and tells its outcome under the importer's lock.
func (i *importer) append(ctx context.Context, s event.Stream, ev *event.Event, done func(delivery.Result)) error {
	i.mu.Lock()
	for i.waiting >= maxWaiting && i.failed == nil && ctx.Err() == nil {
		i.room.Wait()
	}
	err := i.failed
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		i.mu.Unlock()
		return err
	}
	i.waiting++
	i.mu.Unlock()
	for {
		err := i.node.Append(s, ev, func(r delivery.Result) { i.outcome(r, done) })
		if !errors.Is(err, bus.ErrFull) {
			if err != nil {
				i.outcome(delivery.Result{Err: err}, done)
			}
			return err
		}
		select {
		case <-ctx.Done():
			i.outcome(delivery.Result{Err: context.Cause(ctx)}, done)
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (i *importer) outcome(r delivery.Result, done func(delivery.Result)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting--
	if r.Err != nil && i.failed == nil {
		i.failed = r.Err
	}
	if r.Err == nil {
		done(r)
	}
	i.room.Broadcast()
}

// settle waits until every append has its outcome.
func (i *importer) settle(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.waiting > 0 && i.failed == nil && ctx.Err() == nil {
		i.room.Wait()
	}
	if i.failed != nil {
		return i.failed
	}
	return context.Cause(ctx)
}

// count is an outcome that is new or known; all else is noted.
func (i *importer) count(c *Count, what string, known ...frame.Void) func(delivery.Result) {
	return func(r delivery.Result) {
		switch {
		case r.Void == frame.Void_VOID_NONE:
			c.New++
		case slices.Contains(known, r.Void):
			c.Known++
		default:
			i.dump.notes.add("%s: %s", what, r.Void)
		}
	}
}

// check refuses a dump whose numbers are others' here, before anything is appended.
func (i *importer) check(ctx context.Context) error {
	var taken []string
	for part := range slices.Chunk(i.dump.people, askAtOnce) {
		users := make([]uint32, len(part))
		names := make(map[uint32]string, len(part))
		for k, p := range part {
			users[k], names[p.id] = p.id, i.dump.login(p)
		}
		for len(users) > 0 {
			ans, err := i.ask(i.node.Ask(ctx, &query.Request{Body: &query.Request_Accounts{Accounts: &query.Accounts{Users: users}}}))
			if err != nil {
				return err
			}
			got := ans.GetAccounts()
			for _, a := range got.GetAccounts() {
				if a.Name != names[a.User] {
					taken = append(taken, fmt.Sprintf("user %d is %q here and %q in the dump", a.User, a.Name, names[a.User]))
				}
			}
			if !got.GetMore() || len(got.GetAccounts()) == 0 {
				break
			}
			users = users[slices.Index(users, got.Accounts[len(got.Accounts)-1].User)+1:]
		}
	}
	for _, g := range i.dump.groups {
		if len(g.members) == 0 {
			continue
		}
		here, err := i.state(ctx, g.id)
		if err != nil {
			return err
		}
		if here != nil && here.Created != int64(g.created)*1000 {
			taken = append(taken, fmt.Sprintf("group %d is %q here, made at another time, and %q in the dump", g.id, here.Name, g.name))
		}
	}
	if len(taken) == 0 {
		return nil
	}
	slices.Sort(taken)
	more := ""
	if n := len(taken); n > 5 {
		taken, more = taken[:5], fmt.Sprintf(" and %d more", n-5)
	}
	return fmt.Errorf("%w: %s%s: import into a new server", ErrOther, strings.Join(taken, "; "), more)
}

func (i *importer) ask(ans *query.Answer, err error) (*query.Answer, error) {
	if err == nil && ans.GetCode() != query.Code_CODE_OK {
		err = fmt.Errorf("view: %s: %s", ans.GetCode(), ans.GetError())
	}
	return ans, err
}

// state is a group as it is here, nil if it is not.
func (i *importer) state(ctx context.Context, id uint32) (*query.Group, error) {
	key := event.Group(id)
	ans, err := i.ask(i.node.AskTimeline(ctx, key, &query.Request{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: key[:]}}}))
	return ans.GetGroup().GetGroup(), err
}

// login is the name that a person logs in by.
func (d *dump) login(p person) string {
	name := commands.NormalName(p.name)
	if commands.CheckName(name) != nil || d.twice(p) {
		return fmt.Sprintf("user-%d", p.id)
	}
	return name
}

// twice tells whether somebody with a lower number has the name: TeamTalk's table allows it.
func (d *dump) twice(p person) bool {
	if d.names == nil {
		d.names = make(map[string]uint32, len(d.people))
		for _, q := range d.people {
			name := commands.NormalName(q.name)
			if first, ok := d.names[name]; !ok || q.id < first {
				d.names[name] = q.id
			}
		}
	}
	return d.names[commands.NormalName(p.name)] != p.id
}

// directory appends departments and people.
func (i *importer) directory(ctx context.Context) error {
	now := time.Now().UnixMilli()
	for _, p := range i.dump.departments {
		if p.id == 0 {
			continue
		}
		c := &event.DepartmentChanged{Department: p.id, Make: true, Name: new(strings.ToValidUTF8(p.name, "�")), Priority: &p.priority, Parent: &p.parent, By: by}
		if p.status != 0 {
			c.Deleted = new(true)
		}
		ev := &event.Event{At: now, Body: &event.Event_DepartmentChanged{DepartmentChanged: c}}
		if err := i.append(ctx, event.People, ev, i.count(&i.report.Departments, fmt.Sprintf("department %d", p.id), frame.Void_VOID_NUMBER_TAKEN)); err != nil {
			return err
		}
	}
	for k, p := range i.dump.people {
		i.o.Progress("people", uint64(k), uint64(len(i.dump.people)))
		if err := i.person(ctx, now, p); err != nil {
			return err
		}
	}
	return i.settle(ctx)
}

func (i *importer) person(ctx context.Context, now int64, p person) error {
	if p.id == 0 {
		return nil
	}
	login := i.dump.login(p)
	if login != commands.NormalName(p.name) {
		i.dump.notes.add("user %d, %q, logs in as %s: the name is somebody else's too, or none", p.id, p.name, login)
	}
	c := commands.RegisterPerson{
		At: time.UnixMilli(now), Name: login, PasswordHash: "$teamtalk$" + p.salt + "$" + strings.ToLower(p.password),
		Nick: clean(p.nick, commands.MaxNick), Number: p.id, Gender: p.sex, AvatarURL: clean(p.avatar, commands.MaxAvatarURL),
		Department: p.department, Email: clean(p.email, commands.MaxEmail), Telephone: clean(p.phone, commands.MaxTelephone),
		Domain: clean(p.domain, commands.MaxDomain), Employment: p.status, Signature: cutBytes(clean(p.sign, commands.MaxSignature), commands.MaxSignature), By: by,
	}
	if c.Gender > 2 {
		c.Gender = 0
	}
	if c.Employment > 4 {
		c.Employment = 0
	}
	ev, err := c.Decide(commands.NameState{})
	if err != nil {
		i.dump.notes.add("user %d, %q: %v: left out", p.id, p.name, err)
		return nil
	}
	what := fmt.Sprintf("user %d", p.id)
	counted := i.count(&i.report.People, what, frame.Void_VOID_NAME_TAKEN, frame.Void_VOID_NUMBER_TAKEN)
	fresh := make(chan bool, 1)
	extra := p.shield || p.status == left
	if err := i.append(ctx, event.People, ev, func(r delivery.Result) {
		counted(r)
		fresh <- r.Void == frame.Void_VOID_NONE
	}); err != nil || !extra {
		return err
	}
	// What the registration has no field for; of who was here before nothing is changed.
	if err := i.settle(ctx); err != nil || !<-fresh {
		return err
	}
	ignore := func(delivery.Result) {}
	if p.shield {
		ev := &event.Event{At: now, Body: &event.Event_PushShieldSet{PushShieldSet: &event.PushShieldSet{User: p.id, On: true, By: by}}}
		if err := i.append(ctx, event.People, ev, ignore); err != nil {
			return err
		}
	}
	if p.status == left {
		ev := &event.Event{At: now, Body: &event.Event_PersonDisabled{PersonDisabled: &event.PersonDisabled{User: p.id, By: by}}}
		return i.append(ctx, event.People, ev, ignore)
	}
	return nil
}

// left is the employment of who is gone.
const left = 3

// clean makes a text one that a profile takes: UTF-8, without control characters, cut at a number of characters.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	if letters := []rune(text); len(letters) > limit {
		text = string(letters[:limit])
	}
	return text
}

// cutBytes cuts a text at a number of bytes, between characters.
func cutBytes(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "")
}

// groups reserves the numbers and makes the groups.
func (i *importer) groups(ctx context.Context) error {
	ids := make([]uint32, 0, len(i.dump.groups))
	for id, g := range i.dump.groups {
		if id == 0 || len(g.members) == 0 {
			i.dump.notes.add("group %d has never had a member: left out", id)
			continue
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var reserved Count
	for _, id := range ids {
		ev := &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_GroupReserved{GroupReserved: &event.GroupReserved{Number: id, By: by}}}
		if err := i.append(ctx, event.People, ev, i.count(&reserved, fmt.Sprintf("group %d", id), frame.Void_VOID_NUMBER_TAKEN)); err != nil {
			return err
		}
	}
	if err := i.settle(ctx); err != nil {
		return err
	}
	for k, id := range ids {
		i.o.Progress("groups", uint64(k), uint64(len(ids)))
		here, err := i.state(ctx, id)
		if err != nil {
			return err
		}
		if here != nil {
			i.report.Groups.Known++
			continue
		}
		g := i.dump.groups[id]
		key := event.Group(id)
		c := &event.GroupCreated{Conversation: key[:], Type: event.GroupType_GROUP_TYPE_TEMPORARY, Name: clean(g.name, 256), AvatarUrl: clean(g.avatar, 256),
			Members: g.founders(), Limit: max(i.o.GroupLimit, uint32(len(g.members))), By: by}
		if g.kind == uint32(imbase.GroupType_GROUP_TYPE_NORMAL) {
			c.Type = event.GroupType_GROUP_TYPE_NORMAL
		}
		if slices.Contains(c.Members, g.creator) {
			c.Creator = g.creator // else nobody administers it but the API
		}
		r, err := i.cas(ctx, key, 0, &event.Event{At: int64(g.created) * 1000, Body: &event.Event_GroupCreated{GroupCreated: c}})
		if err != nil {
			return fmt.Errorf("group %d: %w", id, err)
		}
		i.mu.Lock()
		i.count(&i.report.Groups, fmt.Sprintf("group %d", id), frame.Void_VOID_NO_EFFECT)(r)
		i.mu.Unlock()
	}
	return nil
}

// cas appends on a group's subject and waits for the outcome.
func (i *importer) cas(ctx context.Context, key event.ConversationKey, expect uint64, ev *event.Event) (delivery.Result, error) {
	subject := bus.GroupSubject(key.GroupID(), i.o.Partitions)
	for {
		r, err := delivery.CompareAndSet(ctx, i.node, key.Stream(i.o.Partitions), subject, expect, ev)
		if !errors.Is(err, bus.ErrFull) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return delivery.Result{}, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// messages appends the conversations, one after the other.
func (i *importer) messages(ctx context.Context) error {
	start := time.Now()
	all := i.dump.conversations()
	done := uint64(0)
	for _, c := range all {
		if err := i.conversation(ctx, &c); err != nil {
			return fmt.Errorf("conversation %s: %w", name(c.key), err)
		}
		done += uint64(len(c.places))
		i.o.Progress("messages", done, uint64(len(i.dump.places)))
	}
	err := i.settle(ctx)
	i.mu.Lock()
	i.report.Took = time.Since(start)
	i.mu.Unlock()
	return err
}

func (i *importer) conversation(ctx context.Context, c *conversation) error {
	stream := c.key.Stream(i.o.Partitions)
	var subject uint64
	var begin uint32 // the head here: what lies at or below it is known
	if c.group != nil {
		here, err := i.state(ctx, c.group.id)
		if err != nil {
			return err
		}
		if here == nil {
			return errors.New("the group was not made")
		}
		subject, begin = here.SubjectSequence, here.Head
	} else {
		lower, _ := c.key.Parties()
		here, err := i.head(ctx, c.key, lower)
		if err != nil {
			return err
		}
		begin = here.GetHead()
	}
	counted := i.count(&i.report.Messages, "a message "+name(c.key), frame.Void_VOID_NO_EFFECT)
	var head uint32
	lastWasNew := false // guarded by i.mu
	for s := range i.dump.steps(c) {
		if len(s.added)+len(s.removed) > 0 {
			if s.after < begin {
				i.mu.Lock()
				i.report.Changes.Known++
				i.mu.Unlock()
				continue
			}
			seq, err := i.change(ctx, c, s, subject)
			if err != nil {
				return err
			}
			subject = seq
			continue
		}
		head = s.id
		if s.id <= begin {
			i.mu.Lock()
			i.report.Messages.Known++
			i.mu.Unlock()
			continue
		}
		m, err := i.message(c, s)
		if err != nil {
			return err
		}
		missing := m.Missing
		ev := &event.Event{At: int64(s.created) * 1000, Body: &event.Event_MessageImported{MessageImported: m}}
		err = i.append(ctx, stream, ev, func(r delivery.Result) {
			counted(r)
			lastWasNew = r.Void == frame.Void_VOID_NONE
			if missing && lastWasNew {
				i.report.Placeholders++
			}
		})
		if err != nil {
			return err
		}
	}
	var users []uint32
	if c.group != nil {
		users = c.group.present()
	} else {
		a, b := c.key.Parties()
		users = []uint32{a, b}
	}
	if head < begin || head == 0 || len(users) == 0 {
		return nil // all of it was here before, and more
	}
	if head == begin {
		// All of it was here before; what follows may have been cut off. The last one tells.
		here, err := i.head(ctx, c.key, users[len(users)-1])
		if err != nil || here.GetCursor() >= head {
			return err
		}
	}
	// All is read; and what somebody took out of his list stays out, unless the conversation was here before.
	now := time.Now().UnixMilli()
	ignore := func(delivery.Result) {}
	for _, u := range users {
		ev := &event.Event{At: now, Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{Conversation: c.key[:], User: u, MsgId: head}}}
		if err := i.append(ctx, stream, ev, ignore); err != nil {
			return err
		}
	}
	gone := i.goneFrom(c, users)
	if len(gone) == 0 {
		return nil
	}
	if err := i.settle(ctx); err != nil {
		return err
	}
	i.mu.Lock()
	fresh := lastWasNew
	i.mu.Unlock()
	for _, u := range gone {
		if !fresh {
			break
		}
		ev := &event.Event{At: now, Body: &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{Conversation: c.key[:], User: u}}}
		if err := i.append(ctx, stream, ev, ignore); err != nil {
			return err
		}
	}
	return nil
}

// head is where a conversation stands, for one of its members.
func (i *importer) head(ctx context.Context, key event.ConversationKey, user uint32) (*query.HeadAnswer, error) {
	ans, err := i.ask(i.node.AskTimeline(ctx, key, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: key[:], User: user}}}))
	return ans.GetHead(), err
}

// goneFrom are those who took the conversation out of their list.
func (i *importer) goneFrom(c *conversation, users []uint32) []uint32 {
	var gone []uint32
	for _, u := range users {
		k := [3]uint32{u, c.key.Peer(u), uint32(imbase.SessionType_SESSION_TYPE_SINGLE)}
		if c.group != nil {
			k = [3]uint32{u, c.group.id, uint32(imbase.SessionType_SESSION_TYPE_GROUP)}
		}
		if i.dump.removed[k] {
			gone = append(gone, u)
		}
	}
	return gone
}

// change appends who came and went, and tells the new last sequence of the group's subject.
func (i *importer) change(ctx context.Context, c *conversation, s step, subject uint64) (uint64, error) {
	ev := &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{
		Conversation: c.key[:], Added: s.added, Removed: s.removed, ImportAfter: s.after, ImportStep: 1,
		Limit: max(i.o.GroupLimit, uint32(len(c.group.members))), By: by,
	}}}
	r, err := i.cas(ctx, c.key, subject, ev)
	if errors.Is(err, bus.ErrConflict) {
		return 0, fmt.Errorf("somebody changes the group meanwhile: %w", err)
	}
	if err != nil {
		return 0, err
	}
	i.mu.Lock()
	i.count(&i.report.Changes, "a change of members "+name(c.key), frame.Void_VOID_NO_EFFECT)(r)
	i.mu.Unlock()
	return r.Sequence, nil
}

// message makes the event of a step.
func (i *importer) message(c *conversation, s step) (*event.MessageImported, error) {
	m := &event.MessageImported{Conversation: c.key[:], MsgId: s.id, Type: uint32(imbase.MsgType_MSG_TYPE_SINGLE_TEXT)}
	if c.group != nil {
		m.Type = uint32(imbase.MsgType_MSG_TYPE_GROUP_TEXT)
	} else {
		m.From, _ = c.key.Parties()
	}
	if s.place < 0 {
		m.Missing = true
		return m, nil
	}
	p := i.dump.places[s.place]
	t := i.dump.tables[p.table]
	r := row{table: t.name, columns: t.columns}
	if err := rowAt(i.in, p.offset, &r); err != nil {
		return nil, fmt.Errorf("the dump has changed while it is read: %w", err)
	}
	m.From = r.number("fromid")
	if c.group != nil {
		m.From = r.number("userid")
	} else if c.key.Peer(m.From) == 0 {
		i.dump.notes.add("message %d %s is by user %d: a placeholder", s.id, name(c.key), m.From)
		m.From, _ = c.key.Parties()
		m.Missing = true
		return m, nil
	}
	content := r.text("content")
	kind := imbase.MsgType(r.number("type"))
	if c.group != nil && kind < imbase.MsgType_MSG_TYPE_GROUP_TEXT {
		kind += imbase.MsgType_MSG_TYPE_GROUP_TEXT - imbase.MsgType_MSG_TYPE_SINGLE_TEXT
	}
	text, voice := imbase.MsgType_MSG_TYPE_SINGLE_TEXT, imbase.MsgType_MSG_TYPE_SINGLE_AUDIO
	if c.group != nil {
		text, voice = imbase.MsgType_MSG_TYPE_GROUP_TEXT, imbase.MsgType_MSG_TYPE_GROUP_AUDIO
	}
	switch {
	case r.number("status") != 0 || content == "":
		m.Missing = true
	case kind == text:
		m.Body = []byte(content)
	case kind == voice:
		body, err := i.voice(content)
		if err != nil {
			i.dump.notes.add("message %d %s: %v: a placeholder", s.id, name(c.key), err)
			m.Missing = true
			break
		}
		m.Type, m.Body = uint32(kind), body
	default:
		i.dump.notes.add("message %d %s is of type %d, which is none: a placeholder", s.id, name(c.key), kind)
		m.Missing = true
	}
	if proto.Size(m) > event.MaxEventBytes-64 {
		return nil, fmt.Errorf("message %d is larger than an event may be", s.id)
	}
	return m, nil
}

// voice reads what a voice message held: four bytes of duration and the sound.
func (i *importer) voice(id string) ([]byte, error) {
	var n uint32
	if _, err := fmt.Sscan(id, &n); err != nil {
		return nil, fmt.Errorf("the voice's number %q is none", id)
	}
	a, ok := i.dump.audios[n]
	if !ok {
		return nil, fmt.Errorf("voice %d is not in the dump", n)
	}
	if i.o.Audio == "" {
		return nil, errors.New("no directory of voices was named")
	}
	where := a.path
	if u, err := url.Parse(where); err == nil && u.Path != "" {
		where = u.Path
	}
	f, err := os.OpenInRoot(i.o.Audio, filepath.FromSlash(strings.TrimPrefix(path.Clean("/"+where), "/")))
	if err != nil {
		return nil, fmt.Errorf("voice %d: %w", n, err)
	}
	defer f.Close()
	sound, err := io.ReadAll(io.LimitReader(f, maxVoice+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("voice %d: %w", n, err)
	case len(sound) == 0 || len(sound) > maxVoice:
		return nil, fmt.Errorf("voice %d has %d bytes", n, len(sound))
	}
	return append(binary.BigEndian.AppendUint32(nil, a.duration), sound...), nil
}

package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"godwit/internal/ttclient"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	immsg "godwit/schema/client/message"
)

// ErrCommandFailed ends a script in which a command failed; the script has seen an
// error line for each.
var ErrCommandFailed = errors.New("a command failed")

// Waits between attempts to connect again.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 5 * time.Second
)

// Config of a chat. Connect's Push and Sequence are the chat's own.
type Config struct {
	Connect ttclient.Options
	In      io.Reader // read by one goroutine, which ends with In
	Out     io.Writer
	// Terminal: In and Out are one. Otherwise it is a script.
	Terminal *Terminal
}

// features are what the chat understands beyond the protocol.
const features = uint32(imextension.Feature_FEATURE_NOTICES | imextension.Feature_FEATURE_RECEIPTS)

// ui shows what happens. Its methods are called under the chat's lock, one at a time.
type ui interface {
	ready(self person)
	contact(p person, unread uint32)
	message(m message, missed bool)
	sent(m message)
	unread(p place, count uint32)
	history(m message)
	changed(m message)
	end(of string, p *place, count uint32)
	opened(p place)
	read(p place, id uint32)
	receipt(p place, who person, id uint32, read bool)
	receipts(p place, id uint32, read, delivered []string)
	group(g group, p place)
	members(p place, who string, added bool, names []string)
	member(p place, name string)
	friend(what, name, text string)
	done(what, name string)
	status(p person)
	desktop(online bool)
	lost(err error)
	back()
	kicked(err *ttclient.KickedError)
	failed(err error)
}

// place is a conversation as the user names it: a person by name, a group by # and its
// number.
type place struct {
	at   ttclient.Conversation
	name string
}

// group is what is known of one.
type group struct {
	id            uint32
	name          string
	administrator uint32
	members       []uint32
}

type person struct {
	id     uint32
	name   string
	nick   string
	online bool
	left   bool // no colleague any more
}

// message is one message as the user sees it.
type message struct {
	peer place // its conversation
	from person
	mine bool
	id   uint32
	at   time.Time
	text string

	recalled bool
	edits    uint32
}

// conversation is what the chat knows of one. Ids may come out of order: the ack of an
// own message is sent before messages of the other that precede it.
type conversation struct {
	floor  uint32              // everything up to it was shown, or was there before
	above  map[uint32]struct{} // what was shown above it
	head   uint32              // newest id
	cursor uint32              // everything up to it is read
}

// mostAbove bounds what is kept of a conversation with a hole; the hole is then given
// up.
const mostAbove = 1000

// take notes that an id is about to be shown; false: it was.
func (v *conversation) take(id uint32) bool {
	if _, seen := v.above[id]; seen || id <= v.floor {
		return false
	}
	if v.above == nil {
		v.above = map[uint32]struct{}{}
	}
	v.above[id] = struct{}{}
	v.head = max(v.head, id)
	if len(v.above) > mostAbove {
		v.floor = v.head
		clear(v.above)
	}
	for {
		if _, next := v.above[v.floor+1]; !next {
			return true
		}
		v.floor++
		delete(v.above, v.floor)
	}
}

// skip notes that everything up to an id is not to be shown.
func (v *conversation) skip(id uint32) {
	v.floor, v.head = max(v.floor, id), max(v.head, id)
	for seen := range v.above {
		if seen <= v.floor {
			delete(v.above, seen)
		}
	}
}

func (v *conversation) readUpTo(id uint32) { v.cursor = max(v.cursor, id) }

func (v *conversation) unread() uint32 { return v.head - min(v.cursor, v.head) }

type chat struct {
	cfg      Config
	ui       ui
	sequence ttclient.Sequence
	ctx      context.Context         // of the whole chat
	over     context.CancelCauseFunc // ends the chat with a reason
	work     sync.WaitGroup          // what pushes have begun

	mu            sync.Mutex
	changed       chan struct{} // closed and replaced at every change of what is below
	client        *ttclient.Client
	self          person
	people        map[uint32]*person
	peopleSince   uint32
	conversations map[ttclient.Conversation]*conversation
	groups        map[uint32]*group
	arrived       int                   // messages of others
	awaited       int                   // of these, waited for
	held          []*immsg.IMMsgData    // of people whose names are being asked for, and what came after
	open          ttclient.Conversation // terminal: the one that is open; of number 0: none
}

// Run chats until the input ends, ctx ends, or the server sends this device away. It
// returns nil after a quit, a ttclient.KickedError, a ttclient.LoginError, or what
// kept the first connection from being made.
func Run(ctx context.Context, cfg Config) error {
	ctx, over := context.WithCancelCause(ctx)
	defer over(nil)
	c := &chat{
		cfg: cfg, ctx: ctx, over: over, changed: make(chan struct{}),
		people: map[uint32]*person{}, conversations: map[ttclient.Conversation]*conversation{}, groups: map[uint32]*group{},
	}
	c.ui = &plain{out: cfg.Out}
	lines := scan
	if cfg.Terminal != nil {
		c.ui = cfg.Terminal
		cfg.Terminal.names = c.names
		lines = cfg.Terminal.lines
	}
	client, err := c.connect(ctx, true)
	if err != nil {
		return err
	}
	var keeping sync.WaitGroup
	keeping.Go(func() { c.keep(ctx, client) })

	failed := c.serve(ctx, lines(ctx, cfg.In))
	reason := context.Cause(ctx)
	over(nil)
	keeping.Wait()
	c.leave()
	c.work.Wait()
	switch {
	case errors.Is(reason, context.Canceled): // interrupted: a goodbye as any other
		return nil
	case reason != nil:
		return reason
	case failed:
		return ErrCommandFailed
	}
	return nil
}

// leave logs out, if there is still something to log out of.
func (c *chat) leave() {
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client == nil || client.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = client.Logout(ctx) // it is closed in any case
}

// serve runs the commands of the input until it ends or the chat does.
func (c *chat) serve(ctx context.Context, lines <-chan string) (failed bool) {
	for {
		select {
		case <-ctx.Done():
			return failed
		case line, ok := <-lines:
			if !ok {
				return failed
			}
			if t := c.cfg.Terminal; t != nil {
				// Only now: what was typed before may have opened a conversation.
				c.mu.Lock()
				line = t.translate(line)
				c.mu.Unlock()
			}
			err := c.command(ctx, line)
			if errors.Is(err, errQuit) || ctx.Err() != nil {
				return failed
			}
			if err != nil {
				failed = true
				c.mu.Lock()
				c.ui.failed(err)
				c.mu.Unlock()
			}
		}
	}
}

// connect logs in and brings the chat up to date.
func (c *chat) connect(ctx context.Context, first bool) (*ttclient.Client, error) {
	o := c.cfg.Connect
	o.Sequence = &c.sequence
	o.Features = features
	o.Push = c.push
	client, err := ttclient.Login(ctx, o)
	if err != nil {
		return nil, err
	}
	u := client.Self()
	c.mu.Lock()
	c.self = person{id: u.GetUserId(), name: u.GetUserRealName(), nick: u.GetUserNickName()}
	c.mu.Unlock()
	if err := c.sync(ctx, client, first); err != nil {
		client.Close()
		return nil, cmp.Or(client.Err(), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.client = client
	if first {
		c.ui.ready(c.self)
	} else {
		c.ui.back()
	}
	c.changeLocked()
	return client, nil
}

// keep connects again whenever the connection is lost, and ends the chat where that
// is no use.
func (c *chat) keep(ctx context.Context, client *ttclient.Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-client.Done():
		}
		err := client.Err()
		client.Close()
		c.mu.Lock()
		c.client = nil
		if !permanent(err) {
			c.ui.lost(err)
		}
		c.mu.Unlock()
		for wait := retryFirst; !permanent(err); wait = min(2*wait, retryMost) {
			var next *ttclient.Client
			if next, err = c.connect(ctx, false); err == nil {
				client = next
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		if err != nil {
			if kicked, ok := errors.AsType[*ttclient.KickedError](err); ok {
				c.mu.Lock()
				c.ui.kicked(kicked)
				c.mu.Unlock()
			}
			c.over(err)
			return
		}
	}
}

// permanent tells errors that another attempt would only meet again.
func permanent(err error) bool {
	if refused, ok := errors.AsType[*ttclient.LoginError](err); ok {
		return refused.Code == imbase.ResultType_REFUSE_REASON_DB_VALIDATE_FAILED ||
			refused.Code == imbase.ResultType_REFUSE_REASON_VERSION_TOO_OLD
	}
	_, kicked := errors.AsType[*ttclient.KickedError](err)
	return kicked
}

// connected waits until there is a connection.
func (c *chat) connected(ctx context.Context) (*ttclient.Client, error) {
	var client *ttclient.Client
	err := c.until(ctx, func() bool {
		client = c.client
		return client != nil
	})
	return client, err
}

// until waits for a condition over what the lock guards.
func (c *chat) until(ctx context.Context, holds func() bool) error {
	for {
		c.mu.Lock()
		ok, changed := holds(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *chat) changeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// sync asks for what may have changed while there was no connection. At the first
// time nothing is shown: what is unread is told by its marks.
func (c *chat) sync(ctx context.Context, client *ttclient.Client, first bool) error {
	if err := c.refresh(ctx, client); err != nil {
		return err
	}
	recent, err := client.Recent(ctx, 0)
	if err != nil {
		return err
	}
	if err := c.learnGroups(ctx, client, recent); err != nil {
		return err
	}
	// Oldest first, as they would have come.
	for _, r := range slices.Backward(recent) {
		at := conversationOf(r.GetSessionId(), r.GetSessionType())
		head := r.GetLatestMsgId()
		c.mu.Lock()
		v := c.conversationLocked(at)
		if first {
			v.skip(head)
		}
		missing := head - min(v.floor, head)
		c.mu.Unlock()
		if missing == 0 {
			continue
		}
		missed, err := client.Messages(ctx, at, 0, min(missing, mostHistory))
		if err != nil {
			return err
		}
		c.mu.Lock()
		for _, m := range slices.Backward(missed) {
			c.showLocked(at, m, true)
		}
		v.skip(head)
		c.mu.Unlock()
	}
	_, err = c.askUnread(ctx, client)
	return err
}

func conversationOf(id uint32, kind imbase.SessionType) ttclient.Conversation {
	return ttclient.Conversation{ID: id, Group: kind == imbase.SessionType_SESSION_TYPE_GROUP}
}

// learnGroups asks for the groups that are in a list, and for the fixed ones.
func (c *chat) learnGroups(ctx context.Context, client *ttclient.Client, recent []*imbase.ContactSessionInfo) error {
	fixed, err := client.FixedGroups(ctx)
	if err != nil {
		return err
	}
	var ids []uint32
	for _, g := range fixed {
		ids = append(ids, g.GetGroupId())
	}
	for _, r := range recent {
		if r.GetSessionType() == imbase.SessionType_SESSION_TYPE_GROUP {
			ids = append(ids, r.GetSessionId())
		}
	}
	c.mu.Lock()
	for id := range c.groups {
		ids = append(ids, id)
	}
	c.mu.Unlock()
	slices.Sort(ids)
	return c.askGroups(ctx, client, slices.Compact(ids)...)
}

// askGroups asks for some groups; those that the user is no member of are forgotten.
func (c *chat) askGroups(ctx context.Context, client *ttclient.Client, ids ...uint32) error {
	if len(ids) == 0 {
		return nil
	}
	infos, err := client.Groups(ctx, ids...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.groups, id)
	}
	for _, g := range infos {
		c.groups[g.GetGroupId()] = &group{id: g.GetGroupId(), name: g.GetGroupName(), administrator: g.GetGroupCreatorId(), members: g.GetGroupMemberList()}
	}
	c.changeLocked()
	return nil
}

// refresh asks for people and their statuses.
func (c *chat) refresh(ctx context.Context, client *ttclient.Client) error {
	c.mu.Lock()
	since := c.peopleSince
	c.mu.Unlock()
	users, latest, err := client.Users(ctx, since)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.peopleSince = latest
	for _, u := range users {
		p := c.personLocked(u.GetUserId())
		p.name, p.nick, p.left = u.GetUserRealName(), u.GetUserNickName(), u.GetStatus() == 3
	}
	ids := slices.Sorted(maps.Keys(c.people))
	c.mu.Unlock()
	online, err := client.Statuses(ctx, ids)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, on := range online {
		c.personLocked(id).online = on
	}
	return nil
}

// askUnread takes over the server's counts.
func (c *chat) askUnread(ctx context.Context, client *ttclient.Client) ([]*imbase.UnreadInfo, error) {
	unread, err := client.Unread(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.conversations {
		v.cursor = v.head
	}
	for _, u := range unread {
		v := c.conversationLocked(conversationOf(u.GetSessionId(), u.GetSessionType()))
		v.head = max(v.head, u.GetLatestMsgId())
		v.cursor = u.GetLatestMsgId() - min(u.GetUnreadCnt(), u.GetLatestMsgId())
	}
	return unread, nil
}

func (c *chat) conversationLocked(at ttclient.Conversation) *conversation {
	v := c.conversations[at]
	if v == nil {
		v = new(conversation)
		c.conversations[at] = v
	}
	return v
}

// placeLocked is a conversation with its name.
func (c *chat) placeLocked(at ttclient.Conversation) place {
	if at.Group {
		return place{at, fmt.Sprintf("#%d", at.ID)}
	}
	return place{at, c.personLocked(at.ID).name}
}

// namesLocked are people by their names.
func (c *chat) namesLocked(ids []uint32) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = c.personLocked(id).name
	}
	slices.Sort(names)
	return names
}

// personLocked is a person, if need be one of whom only the number is known.
func (c *chat) personLocked(id uint32) *person {
	if id == c.self.id {
		return &c.self
	}
	p := c.people[id]
	if p == nil {
		p = &person{id: id, name: fmt.Sprintf("#%d", id)}
		c.people[id] = p
	}
	return p
}

// push handles what comes unasked, on the connection's reading goroutine.
func (c *chat) push(_ uint16, m proto.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changeLocked()
	switch m := m.(type) {
	case *immsg.IMMsgData:
		c.arriveLocked(m)
	case *immsg.IMMsgDataReadNotify:
		at := conversationOf(m.GetSessionId(), m.GetSessionType())
		c.conversationLocked(at).readUpTo(m.GetMsgId())
		c.ui.read(c.placeLocked(at), m.GetMsgId())
	case *imbuddy.IMUserStatNotify:
		p := c.personLocked(m.GetUserStat().GetUserId())
		p.online = m.GetUserStat().GetStatus() == imbase.UserStatType_USER_STATUS_ONLINE
		if p.id != c.self.id {
			c.ui.status(*p)
		}
	case *imgroup.IMGroupChangeMemberNotify:
		c.membersLocked(m)
	case *imextension.GroupNotify:
		c.groupLocked(m)
	case *imextension.MessageChangedNotify:
		at := conversationOf(m.GetSessionId(), m.GetSessionType())
		if client := c.client; client != nil && len(m.GetMessage().GetMsgData()) == 0 {
			p, id := c.placeLocked(at), m.GetMessage().GetMsgId()
			c.work.Go(func() { _ = c.showChanged(c.ctx, client, p, id) }) // found in the history as well
			break
		}
		c.ui.changed(c.messageLocked(at, m.GetMessage()))
	case *imextension.ReceiptNotify:
		p, who := c.placeLocked(conversationOf(m.GetSessionId(), m.GetSessionType())), *c.personLocked(m.GetUserId())
		if m.ReadMsgId != nil {
			c.ui.receipt(p, who, m.GetReadMsgId(), true)
		} else {
			c.ui.receipt(p, who, m.GetDeliveredMsgId(), false)
		}
	case *imextension.FriendNotify:
		c.ui.friend(friendWord(m.GetAction(), m.GetOwn()), c.personLocked(m.GetUserId()).name, m.GetText())
	case *imbuddy.IMPCLoginStatusNotify:
		c.ui.desktop(m.GetLoginStat() == imbase.UserStatType_USER_STATUS_ONLINE)
	}
}

// membersLocked takes over who came to a group and went from it.
func (c *chat) membersLocked(m *imgroup.IMGroupChangeMemberNotify) {
	id, added := m.GetGroupId(), m.GetChangeType() == imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD
	p := c.placeLocked(ttclient.Conversation{ID: id, Group: true})
	who := "server"
	if m.GetUserId() != 0 {
		who = c.personLocked(m.GetUserId()).name
	}
	g := c.groups[id]
	switch {
	case !slices.Contains(m.GetCurUserIdList(), c.self.id):
		delete(c.groups, id)
	case g != nil:
		g.members = m.GetCurUserIdList()
	default:
		c.groups[id] = &group{id: id, members: m.GetCurUserIdList()}
		if client := c.client; client != nil {
			c.work.Go(func() { _ = c.askGroups(c.ctx, client, id) }) // its name; without it the number does
		}
	}
	c.ui.members(p, who, added, c.namesLocked(m.GetChgUserIdList()))
}

func (c *chat) groupLocked(m *imextension.GroupNotify) {
	id := m.GetGroupId()
	g := c.groups[id]
	if g == nil || m.GetDissolved() {
		delete(c.groups, id)
		return
	}
	g.name, g.administrator = m.GetGroupName(), m.GetAdministratorId()
	c.ui.group(*g, c.placeLocked(ttclient.Conversation{ID: id, Group: true}))
}

// friendWord says what was done, by the other one or by this user on another device.
func friendWord(a imextension.FriendAction, own bool) string {
	word := map[imextension.FriendAction]string{
		imextension.FriendAction_FRIEND_ACTION_REQUEST: "request", imextension.FriendAction_FRIEND_ACTION_ACCEPT: "friend",
		imextension.FriendAction_FRIEND_ACTION_REFUSE: "refused", imextension.FriendAction_FRIEND_ACTION_WITHDRAW: "withdrawn",
		imextension.FriendAction_FRIEND_ACTION_REMOVE: "unfriended", imextension.FriendAction_FRIEND_ACTION_REMARK: "remark",
		imextension.FriendAction_FRIEND_ACTION_BLOCK: "blocked", imextension.FriendAction_FRIEND_ACTION_UNBLOCK: "unblocked",
	}[a]
	if own && a == imextension.FriendAction_FRIEND_ACTION_REQUEST {
		return "asked"
	}
	return word
}

// mostHeld bounds what waits for a name; the rest is shown with a number for it.
const mostHeld = 1000

// arriveLocked handles a pushed message: of somebody else, or of this user's other
// device. One of a stranger waits until his name is known.
func (c *chat) arriveLocked(m *immsg.IMMsgData) {
	from := m.GetFromUserId()
	stranger := from != c.self.id && c.people[from] == nil
	if client := c.client; client != nil && len(c.held) < mostHeld && (stranger || len(c.held) > 0) {
		if c.held = append(c.held, m); len(c.held) == 1 {
			c.work.Go(func() { c.introduce(client) })
		}
		return
	}
	c.takeLocked(m)
}

// introduce asks for people and then shows what was held back for it, in order.
func (c *chat) introduce(client *ttclient.Client) {
	_ = c.refresh(c.ctx, client) // without it they have numbers for names
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.held {
		c.takeLocked(m)
	}
	c.held = nil
	c.changeLocked()
}

func (c *chat) takeLocked(m *immsg.IMMsgData) {
	at := ttclient.Conversation{ID: m.GetFromUserId()}
	switch {
	case !single(m.GetMsgType()):
		at = ttclient.Conversation{ID: m.GetToSessionId(), Group: true}
	case at.ID == c.self.id:
		at.ID = m.GetToSessionId()
	}
	c.showLocked(at, &imbase.MsgInfo{
		MsgId: m.MsgId, FromSessionId: m.FromUserId, CreateTime: m.CreateTime, MsgType: m.MsgType, MsgData: m.MsgData,
		Recalled: m.Recalled, Edits: m.Edits,
	}, false)
}

// showLocked shows a message once, whichever way it came first.
func (c *chat) showLocked(at ttclient.Conversation, m *imbase.MsgInfo, missed bool) {
	v := c.conversationLocked(at)
	if !v.take(m.GetMsgId()) {
		return
	}
	shown := c.messageLocked(at, m)
	if shown.mine {
		v.readUpTo(m.GetMsgId())
	} else {
		c.arrived++
	}
	c.ui.message(shown, missed)
	if client := c.client; client != nil && !shown.mine {
		id, open := v.head, at == c.open
		if open {
			v.readUpTo(id)
		}
		// Lost with the connection, and made up for by the next.
		c.work.Go(func() {
			if open {
				_ = client.Read(at, id)
			} else {
				_ = client.Received(at, id)
			}
		})
	}
}

func (c *chat) messageLocked(at ttclient.Conversation, m *imbase.MsgInfo) message {
	return message{
		peer: c.placeLocked(at),
		from: *c.personLocked(m.GetFromSessionId()),
		mine: m.GetFromSessionId() == c.self.id,
		id:   m.GetMsgId(),
		at:   time.Unix(int64(m.GetCreateTime()), 0),
		text: text(m.GetMsgType(), m.GetMsgData()),

		recalled: m.GetRecalled(), edits: m.GetEdits(),
	}
}

func single(t imbase.MsgType) bool {
	return t == imbase.MsgType_MSG_TYPE_SINGLE_TEXT || t == imbase.MsgType_MSG_TYPE_SINGLE_AUDIO
}

// text is a message for the eye: what is no text is named.
func text(t imbase.MsgType, data []byte) string {
	if t == imbase.MsgType_MSG_TYPE_SINGLE_AUDIO || t == imbase.MsgType_MSG_TYPE_GROUP_AUDIO {
		seconds, _, err := content.ParseVoice(data)
		if err != nil {
			return "[voice]"
		}
		return fmt.Sprintf("[voice, %d s]", seconds)
	}
	if s, err := content.DecryptText(data); err == nil {
		return s
	}
	if utf8.Valid(data) {
		return string(data)
	}
	return fmt.Sprintf("[%d bytes]", len(data))
}

// find is the person whom a command names.
func (c *chat) find(ctx context.Context, client *ttclient.Client, name string) (person, error) {
	for attempt := range 2 {
		c.mu.Lock()
		p := c.findLocked(name)
		c.mu.Unlock()
		if p != nil {
			return *p, nil
		}
		if attempt == 0 { // somebody new, perhaps
			if err := c.refresh(ctx, client); err != nil {
				return person{}, err
			}
		}
	}
	return person{}, fmt.Errorf("nobody is called %q", name)
}

// findPlace is the conversation that a command names.
func (c *chat) findPlace(ctx context.Context, client *ttclient.Client, name string) (place, error) {
	number, isGroup := strings.CutPrefix(name, "#")
	if isGroup {
		if id, err := strconv.ParseUint(number, 10, 32); err == nil && id > 0 {
			return place{ttclient.Conversation{ID: uint32(id), Group: true}, fmt.Sprintf("#%d", id)}, nil
		}
	}
	p, err := c.find(ctx, client, name)
	return place{ttclient.Conversation{ID: p.id}, p.name}, err
}

func (c *chat) findLocked(name string) *person {
	for _, p := range c.people {
		if strings.EqualFold(p.name, name) {
			return p
		}
	}
	return nil
}

// names are those that begin with a prefix, for completion.
func (c *chat) names(prefix string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for _, p := range c.people {
		if len(p.name) >= len(prefix) && strings.EqualFold(p.name[:len(prefix)], prefix) {
			found = append(found, p.name)
		}
	}
	for id := range c.groups {
		if name := fmt.Sprintf("#%d", id); strings.HasPrefix(name, prefix) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

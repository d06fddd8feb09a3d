package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/internal/e2e/e2etest"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
)

// live has the device do things by chance until the company's stop, coming back whenever
// its visit has ended.
func (d *device) live(pause time.Duration) error {
	for {
		select {
		case <-d.c.stop:
			return nil
		default:
		}
		d.c.mu.Lock()
		v := d.visit
		d.c.mu.Unlock()
		if v == nil || v.over() {
			if err := d.back(); err != nil {
				return err
			}
		} else {
			d.act(v)
		}
		d.c.mu.Lock()
		wait := time.Duration(d.c.rnd.Int64N(int64(2 * pause)))
		d.c.mu.Unlock()
		select {
		case <-d.c.stop:
		case <-time.After(wait):
		}
	}
}

// back logs in again. A server that is being killed is no fault.
func (d *device) back() error {
	err := d.connect()
	select {
	case <-d.c.stop:
		return nil
	default:
	}
	if err != nil && !errors.Is(err, e2etest.ErrRefused) && isNetwork(err) {
		return nil
	}
	return err
}

// deeds are what devices do, and how often.
var deeds = []struct {
	name  string
	often int
	do    func(d *device, v *visit)
}{
	{"write to a group", 40, func(d *device, v *visit) {
		if k := d.group(); k != 0 {
			v.say(event.Group(k))
		}
	}},
	{"write to a person", 25, func(d *device, v *visit) { v.say(event.Direct(d.user, d.peer())) }},
	{"read", 12, func(d *device, v *visit) { v.mark(client.CmdMsgDataReadAck) }},
	{"received", 6, func(d *device, v *visit) { v.mark(client.CmdReceivedReq) }},
	{"make a group", 1, func(d *device, v *visit) {
		d.c.mu.Lock()
		enough := len(d.c.groups) >= 60 // a list of recent sessions has 100 at most
		d.c.mu.Unlock()
		if !enough {
			v.found(d.some(3))
		}
	}},
	{"add members", 7, func(d *device, v *visit) {
		v.changeMembers(imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, d.group(), d.some(2))
	}},
	{"remove members", 5, func(d *device, v *visit) {
		v.changeMembers(imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL, d.group(), d.some(1))
	}},
	{"leave a group", 2, func(d *device, v *visit) {
		v.changeMembers(imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL, d.group(), []uint32{d.user})
	}},
	{"recall", 4, func(d *device, v *visit) {
		k, id := d.own()
		to, kind := sessionOf(k, d.user)
		one(v, client.CmdRecallReq, &imextension.RecallReq{SessionId: to, SessionType: kind, MsgId: &id},
			func(a *imextension.RecallRsp) {
				if d.c.count("recalled", a.GetRefusal()) {
					d.keeping(k).has[id] = seen{recalled: true}
				}
			})
	}},
	{"edit", 6, func(d *device, v *visit) {
		k, id := d.own()
		to, kind := sessionOf(k, d.user)
		d.c.mu.Lock()
		d.c.bodies++
		text := fmt.Sprintf("%s edits %d of %s #%d", d.name, id, nameOf(k), d.c.bodies)
		d.c.mu.Unlock()
		one(v, client.CmdEditReq, &imextension.EditReq{SessionId: to, SessionType: kind, MsgId: &id, MsgData: []byte(text)},
			func(a *imextension.EditRsp) {
				if d.c.count("edited", a.GetRefusal()) {
					d.keeping(k).has[id] = seen{body: text}
				}
			})
	}},
	{"shield", 2, func(d *device, v *visit) {
		on := uint32(0)
		if d.c.chance(2) {
			on = 1
		}
		one(v, client.CmdGroupShieldReq, &imgroup.IMGroupShieldReq{UserId: &d.user, GroupId: new(d.group()), ShieldStatus: &on},
			func(*imgroup.IMGroupShieldRsp) {})
	}},
	{"take from the list", 2, func(d *device, v *visit) {
		to, kind := sessionOf(d.somewhere(), d.user)
		one(v, client.CmdRemoveSessionReq, &imbuddy.IMRemoveSessionReq{UserId: &d.user, SessionType: kind, SessionId: to},
			func(*imbuddy.IMRemoveSessionRsp) {})
	}},
	{"rename a group", 1, func(d *device, v *visit) {
		d.c.mu.Lock()
		d.c.bodies++
		name := fmt.Sprintf("name %d", d.c.bodies)
		d.c.mu.Unlock()
		v.update(&imextension.GroupUpdateReq{GroupId: new(d.group()), GroupName: &name})
	}},
	{"hand a group over", 1, func(d *device, v *visit) {
		v.update(&imextension.GroupUpdateReq{GroupId: new(d.group()), AdministratorId: new(d.peer())})
	}},
	{"block", 1, func(d *device, v *visit) { v.befriend(imextension.FriendAction_FRIEND_ACTION_BLOCK) }},
	{"unblock", 3, func(d *device, v *visit) { v.befriend(imextension.FriendAction_FRIEND_ACTION_UNBLOCK) }},
	{"kick the desktop", 1, func(d *device, v *visit) {
		if event.ClassOf(uint32(d.client)) == event.DeviceClass_DEVICE_CLASS_MOBILE {
			one(v, client.CmdKickPCClientReq, &imlogin.IMKickPCClientReq{UserId: &d.user}, func(*imlogin.IMKickPCClientRsp) {})
		}
	}},
	{"log out", 1, func(d *device, v *visit) {
		one(v, client.CmdLogoutReq, &imlogin.IMLogoutReq{}, func(*imlogin.IMLogoutRsp) { v.left = true })
		v.leave()
	}},
	{"lose the connection", 1, func(d *device, v *visit) { v.leave() }},
	{"log in beside oneself", 1, func(d *device, v *visit) {
		// The device's own visit goes on until the server ends it.
		if d.connect() == nil {
			select {
			case <-v.done:
			case <-time.After(e2etest.Patience):
				d.c.mu.Lock()
				defer d.c.mu.Unlock()
				d.c.fault("%s: another login of its class does not end %s", d.name, v.tag)
			}
		}
	}},
	{"look at the lists", 2, func(d *device, v *visit) {
		one(v, client.CmdUnreadMsgCntReq, &immessage.IMUnreadMsgCntReq{UserId: &d.user}, func(*immessage.IMUnreadMsgCntRsp) {})
		v.groupInfo([]uint32{d.group()})
	}},
}

// act does one of the deeds.
func (d *device) act(v *visit) {
	total := 0
	for _, x := range deeds {
		total += x.often
	}
	d.c.mu.Lock()
	n := d.c.rnd.IntN(total)
	d.c.mu.Unlock()
	for _, x := range deeds {
		if n -= x.often; n >= 0 {
			continue
		}
		if d.may != nil && !d.may(x.name) {
			return
		}
		d.c.mu.Lock()
		d.c.did[x.name]++
		d.c.mu.Unlock()
		x.do(d, v)
		return
	}
}

// count notes a success, and tells it.
func (c *company) count(what string, why imextension.Refusal) bool {
	done := why == imextension.Refusal_REFUSAL_NONE
	if done {
		c.did[what]++
	}
	return done
}

// group is one of all groups, mostly one that the device has its user in; or 0.
func (d *device) group() uint32 {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	of := d.c.groups
	if d.c.rnd.IntN(6) > 0 {
		of = slices.DeleteFunc(slices.Clone(of), func(g uint32) bool { return !d.in[g] })
	}
	if len(of) == 0 {
		return 0
	}
	return e2etest.AnyOf(d.c.rnd, of)
}

// peer is somebody else.
func (d *device) peer() uint32 {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	for {
		if u := e2etest.AnyOf(d.c.rnd, d.c.users); u != d.user {
			return u
		}
	}
}

// some are up to n people, who may be the user himself.
func (d *device) some(n int) (users []uint32) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	for range 1 + d.c.rnd.IntN(n) {
		users = append(users, e2etest.AnyOf(d.c.rnd, d.c.users))
	}
	return users
}

func (d *device) somewhere() event.ConversationKey {
	if g := d.group(); g != 0 && d.c.chance(2) {
		return event.Group(g)
	}
	return event.Direct(d.user, d.peer())
}

// own is a message that the device knows, one of the user's own more often than not.
func (d *device) own() (event.ConversationKey, uint32) {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	var first spot
	for body, at := range d.c.acked {
		if first == (spot{}) {
			first = at
		}
		if len(body) > len(d.name) && body[:len(d.name)+1] == d.name+" " {
			return at.key, at.id
		}
	}
	if first == (spot{}) {
		first = spot{event.Direct(d.user, d.user+1), 1}
	}
	if first.key.IsDirect() && first.key.Peer(d.user) == 0 {
		return event.Group(1), first.id
	}
	return first.key, first.id
}

// mark reads, or has received, up to about what the device has.
func (v *visit) mark(command uint16) {
	d := v.d
	k := d.somewhere()
	d.c.mu.Lock()
	id := d.keeping(k).whole
	if id > 0 {
		id = id - uint32(d.c.rnd.IntN(int(min(id, 5)))) + uint32(d.c.rnd.IntN(2))
	}
	d.c.mu.Unlock()
	to, kind := sessionOf(k, d.user)
	var m proto.Message = &immessage.IMMsgDataReadAck{UserId: &d.user, SessionId: to, SessionType: kind, MsgId: &id}
	if command == client.CmdReceivedReq {
		m = &imextension.ReceivedReq{SessionId: to, SessionType: kind, MsgId: &id}
	}
	_ = v.write(command, m, nil)
}

// found makes a group.
func (v *visit) found(members []uint32) {
	d := v.d
	members = append(slices.Clip(members), d.user)
	one(v, client.CmdGroupCreateReq, &imgroup.IMGroupCreateReq{UserId: &d.user, GroupType: imbase.GroupType_GROUP_TYPE_TMP.Enum(),
		GroupName: new("made by " + d.name), GroupAvatar: new(""), MemberIdList: members}, func(a *imgroup.IMGroupCreateRsp) {
		if a.GetResultCode() == 0 {
			d.c.heardOf(a.GetGroupId())
			d.in[a.GetGroupId()] = true
			if numbers(a.GetUserIdList()) != numbers(ascending(members)) {
				d.c.fault("%s: a group of %v has %v", v.tag, members, a.GetUserIdList())
			}
		}
	})
}

func (v *visit) changeMembers(kind imbase.GroupModifyType, group uint32, users []uint32) {
	if group != 0 && v.change(kind, group, users).GetResultCode() == 0 {
		v.d.c.mu.Lock()
		v.d.c.did["members changed"]++
		v.d.c.mu.Unlock()
	}
}

// change is 0x0407 and its answer; result 1 where none came.
func (v *visit) change(kind imbase.GroupModifyType, group uint32, users []uint32) *imgroup.IMGroupChangeMemberRsp {
	answer := &imgroup.IMGroupChangeMemberRsp{ResultCode: new(uint32(1))}
	one(v, client.CmdGroupChangeMemberReq, &imgroup.IMGroupChangeMemberReq{UserId: &v.d.user, ChangeType: &kind, GroupId: &group, MemberIdList: users},
		func(a *imgroup.IMGroupChangeMemberRsp) { answer = a })
	return answer
}

func (v *visit) update(m *imextension.GroupUpdateReq) {
	one(v, client.CmdGroupUpdateReq, m, func(a *imextension.GroupUpdateRsp) { v.d.c.count("groups changed", a.GetRefusal()) })
}

func (v *visit) befriend(action imextension.FriendAction) {
	one(v, client.CmdFriendReq, &imextension.FriendReq{UserId: new(v.d.peer()), Action: &action},
		func(a *imextension.FriendRsp) { v.d.c.count("blocks changed", a.GetRefusal()) })
}

// groupInfo asks for groups whatever their version.
func (v *visit) groupInfo(numbers []uint32) (list []*imbase.GroupInfo, ok bool) {
	req := &imgroup.IMGroupInfoListReq{UserId: &v.d.user}
	for _, g := range numbers {
		req.GroupVersionList = append(req.GroupVersionList, &imbase.GroupVersionInfo{GroupId: &g, Version: new(uint32(0))})
	}
	ok = one(v, client.CmdGroupInfoListReq, req, func(a *imgroup.IMGroupInfoListRsp) { list = a.GetGroupInfoList() })
	return list, ok
}

// begin starts the visits and the groups that there are at first.
func (c *company) begin(groups int) {
	c.t.Helper()
	c.each(func(d *device) error { return d.connect() })
	for range groups {
		d := e2etest.AnyOf(c.rnd, c.devices)
		d.visit.found(d.some(len(c.users)))
	}
	c.check()
}

// act has all devices do things until the given stop.
func (c *company) act(pause time.Duration, until func()) {
	c.t.Helper()
	c.mu.Lock()
	c.stop = make(chan struct{})
	stop := c.stop
	c.mu.Unlock()
	ended := make(chan error)
	go func() { ended <- c.all(func(d *device) error { return d.live(pause) }) }()
	until()
	close(stop)
	err := <-ended
	c.check()
	if err != nil {
		c.t.Fatal(err)
	}
}

// quiet has everybody there, with every send acked or refused and every change heard of.
func (c *company) quiet() {
	c.t.Helper()
	limit := time.Now().Add(e2etest.Patience)
	for {
		c.each(func(d *device) error {
			if d.visit == nil || d.visit.over() {
				return d.connect()
			}
			return nil
		})
		if c.inFlight() == 0 && !slices.ContainsFunc(c.devices, func(d *device) bool { return d.visit.over() }) {
			break
		}
		if time.Now().After(limit) {
			c.t.Fatalf("%d sends are without an ack after %v", c.inFlight(), e2etest.Patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
	// What each has sent is done before its question is answered, and what is done then
	// is pushed to each before his next question is.
	for range 2 {
		c.each(func(d *device) error { return d.visit.flush() })
	}
	c.each(func(d *device) error { d.visit.catchUp(); return nil })
}

// flush asks every timeline a question that is answered after all pushes before it.
func (v *visit) flush() error {
	c := v.d.c
	c.mu.Lock()
	keys := []event.ConversationKey{}
	for _, g := range c.groups {
		keys = append(keys, event.Group(g))
	}
	for _, u := range c.users {
		if u != v.d.user {
			keys = append(keys, event.Direct(u, v.d.user))
		}
	}
	c.mu.Unlock()
	for _, k := range keys {
		to, kind := sessionOf(k, v.d.user)
		if !one(v, client.CmdGetLatestMsgIdReq, &immessage.IMGetLatestMsgIdReq{UserId: &v.d.user, SessionType: kind, SessionId: to},
			func(*immessage.IMGetLatestMsgIdRsp) {}) {
			return fmt.Errorf("%s of %s ended in a quiet world: %w", v.tag, v.d.name, v.err)
		}
	}
	return nil
}

// answers are what the server said to everybody in a quiet world, to be held against the log.
type answers struct {
	c    *company
	mu   sync.Mutex
	hold []func(h *history)
}

// record asks for everything that everybody can ask for. The log must not go on between
// this and the end of the visits.
func (c *company) record() *answers {
	c.t.Helper()
	all := &answers{c: c}
	c.mu.Lock()
	for _, v := range c.visits {
		v.full = false // it may have ended since it was
	}
	c.mu.Unlock()
	c.each(func(d *device) error {
		v := d.visit
		c.mu.Lock()
		v.full = true
		c.mu.Unlock()
		for _, ask := range []func() (func(*history), bool){v.unread, v.recent, v.groupInfos, v.syncAll, v.histories} {
			hold, ok := ask()
			if !ok {
				return fmt.Errorf("%s of %s ended in a quiet world: %w", v.tag, d.name, v.err)
			}
			all.mu.Lock()
			all.hold = append(all.hold, hold)
			all.mu.Unlock()
		}
		return nil
	})
	return all
}

// against holds the answers against the log.
func (a *answers) against(h *history) {
	a.c.t.Helper()
	a.c.mu.Lock()
	for _, hold := range a.hold {
		hold(h)
	}
	a.c.mu.Unlock()
	a.c.check()
}

// of yields the conversations that a user is in now and that something was written in.
func (h *history) of(user uint32) map[event.ConversationKey]*dialog {
	found := map[event.ConversationKey]*dialog{}
	for k, c := range h.dialogs {
		if c.has(user) && (c.head() > 0 || !k.IsDirect()) {
			found[k] = c
		}
	}
	return found
}

// keyed is the key of a conversation that an answer names.
func (d *device) keyed(id uint32, kind imbase.SessionType) event.ConversationKey {
	if kind == group {
		return event.Group(id)
	}
	return event.Direct(d.user, id)
}

// differ notes where two descriptions of a user's conversations differ.
func (v *visit) differ(what string, got, want map[event.ConversationKey]string) {
	for k := range got {
		if got[k] != want[k] {
			v.d.c.fault("%s for %d: %s is %q, the log says %q", what, v.d.user, nameOf(k), got[k], want[k])
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			v.d.c.fault("%s for %d: %s is missing, the log says %q", what, v.d.user, nameOf(k), want[k])
		}
	}
}

func (v *visit) unread() (func(*history), bool) {
	d := v.d
	got, all := map[event.ConversationKey]string{}, uint32(0)
	ok := one(v, client.CmdUnreadMsgCntReq, &immessage.IMUnreadMsgCntReq{UserId: &d.user}, func(a *immessage.IMUnreadMsgCntRsp) {
		all = a.GetTotalCnt()
		for _, e := range a.GetUnreadinfoList() {
			got[d.keyed(e.GetSessionId(), e.GetSessionType())] = fmt.Sprintf("%d of %d", e.GetUnreadCnt(), e.GetLatestMsgId())
		}
	})
	return func(h *history) {
		want, total := map[event.ConversationKey]string{}, uint32(0)
		for k, c := range h.of(d.user) {
			p := c.party(d.user)
			if n := c.head() - p.cursor; n > 0 && !(p.removed && k.IsDirect()) {
				want[k] = fmt.Sprintf("%d of %d", n, c.head())
				total += n
			}
		}
		v.differ("unread", got, want)
		if all != total {
			d.c.fault("unread of %d: %d in all, the log says %d", d.user, all, total)
		}
	}, ok
}

func (v *visit) recent() (func(*history), bool) {
	d := v.d
	list := map[event.ConversationKey]*imbase.ContactSessionInfo{}
	ok := one(v, client.CmdRecentContactSessionReq, &imbuddy.IMRecentContactSessionReq{UserId: &d.user, LatestUpdateTime: new(uint32(0))},
		func(a *imbuddy.IMRecentContactSessionRsp) {
			for _, e := range a.GetContactSessionList() {
				list[d.keyed(e.GetSessionId(), e.GetSessionType())] = e
			}
		})
	return func(h *history) {
		got, want := map[event.ConversationKey]string{}, map[event.ConversationKey]string{}
		for k, e := range list {
			text := string(e.GetLatestMsgData())
			if c := h.dialogs[k]; c != nil && e.GetLatestMsgId() == c.head() && c.messages[c.head()-1].recalled && !c.messages[c.head()-1].was(text) {
				text = "recalled"
			}
			got[k] = fmt.Sprintf("%d from %d: %s", e.GetLatestMsgId(), e.GetLatestMsgFromUserId(), text)
		}
		for k, c := range h.of(d.user) {
			if !c.listed(d.user) {
				continue
			}
			m := c.messages[c.head()-1]
			from, text := m.from, string(m.body())
			if k.IsDirect() {
				from = k.Peer(d.user)
			}
			if m.recalled {
				text = "recalled"
			}
			want[k] = fmt.Sprintf("%d from %d: %s", c.head(), from, text)
		}
		v.differ("recent", got, want)
	}, ok
}

func (v *visit) groupInfos() (func(*history), bool) {
	d := v.d
	d.c.mu.Lock()
	all := slices.Clone(d.c.groups)
	d.c.mu.Unlock()
	list, ok := v.groupInfo(all)
	return func(h *history) {
		got, want := map[event.ConversationKey]string{}, map[event.ConversationKey]string{}
		for _, g := range list {
			got[event.Group(g.GetGroupId())] = fmt.Sprintf("version %d, %q by %d, shielded %v, of %s",
				g.GetVersion(), g.GetGroupName(), g.GetGroupCreatorId(), g.GetShieldStatus() == 1, numbers(ascending(g.GetGroupMemberList())))
		}
		for k, c := range h.dialogs {
			if !k.IsDirect() && c.has(d.user) {
				want[k] = fmt.Sprintf("version %d, %q by %d, shielded %v, of %s", c.version, c.name, c.admin, c.party(d.user).shielded, numbers(c.now()))
			}
		}
		v.differ("groups", got, want)
	}, ok
}

func (v *visit) syncAll() (func(*history), bool) {
	d := v.d
	state := func(head, read uint32, removed, shielded, blocked bool, version, peerRead, peerDelivered uint32) string {
		return fmt.Sprintf("head %d, read %d, removed %v, shielded %v, blocked %v, version %d, peer %d %d",
			head, read, removed, shielded, blocked, version, peerRead, peerDelivered)
	}
	got := map[event.ConversationKey]string{}
	ok := v.ask(client.CmdSyncReq, &imextension.SyncReq{SyncToken: []byte{}}, func(m proto.Message) bool {
		a, ok := m.(*imextension.SyncRsp)
		if !ok {
			d.c.fault("%s: a sync is answered with %T", v.tag, m)
			return true
		}
		for _, e := range a.GetEntries() {
			got[d.keyed(e.GetSessionId(), e.GetSessionType())] = state(e.GetLatestMsgId(), e.GetReadMsgId(), e.GetRemoved(), e.GetShielded(),
				e.GetBlocked(), e.GetVersion(), e.GetPeerRead(), e.GetPeerDelivered())
		}
		return !a.GetMore()
	})
	return func(h *history) {
		want := map[event.ConversationKey]string{}
		for k, c := range h.of(d.user) {
			p := c.party(d.user)
			peerRead, peerDelivered := uint32(0), uint32(0)
			if k.IsDirect() {
				peer := c.party(k.Peer(d.user))
				peerRead, peerDelivered = peer.cursor, max(peer.cursor, peer.delivered)
			}
			want[k] = state(c.head(), p.cursor, p.removed, p.shielded, p.blocks, c.version, peerRead, peerDelivered)
		}
		for k := range got {
			// A block may be all that there is.
			if c := h.dialogs[k]; want[k] == "" && k.IsDirect() && c != nil {
				want[k] = state(0, 0, false, false, c.party(d.user).blocks, 0, 0, 0)
			}
		}
		v.differ("sync", got, want)
	}, ok
}

// histories reads every conversation that the user could be in, from its end.
func (v *visit) histories() (func(*history), bool) {
	d := v.d
	d.c.mu.Lock()
	keys := map[event.ConversationKey][]*imbase.MsgInfo{}
	for _, g := range d.c.groups {
		keys[event.Group(g)] = nil
	}
	for _, u := range d.c.users {
		if u != d.user {
			keys[event.Direct(u, d.user)] = nil
		}
	}
	d.c.mu.Unlock()
	for k := range keys {
		for begin, more := uint32(0), true; more; {
			ok := v.page(k, begin, func(list []*imbase.MsgInfo) {
				keys[k] = append(keys[k], list...)
				if more = len(list) == e2etest.Page; more {
					begin = list[len(list)-1].GetMsgId() - 1
					more = begin > 0
				}
			})
			if !ok {
				return nil, false
			}
		}
	}
	return func(h *history) {
		for k, c := range h.dialogs {
			if k.IsDirect() && (k.Peer(d.user) == 0 || c.head() == 0) {
				continue
			}
			list, asked := keys[k]
			if !asked {
				d.c.fault("nobody has heard of %s", nameOf(k))
			}
			next, base := c.head(), c.party(d.user).base
			if !c.has(d.user) {
				base = next
			}
			for _, m := range list {
				if next <= base || m.GetMsgId() != next {
					d.c.fault("history of %s for %d: %d comes, and %d is next to come", nameOf(k), d.user, m.GetMsgId(), next)
					break
				}
				if why := c.is(next, seenOf(m), m.GetFromSessionId()); why != "" {
					d.c.fault("history of %s for %d: %d %s", nameOf(k), d.user, next, why)
				}
				next--
			}
			if next != base {
				d.c.fault("history of %s for %d ends at %d, before %d", nameOf(k), d.user, next+1, base+1)
			}
		}
	}, true
}

// is says what is wrong with a message as somebody sees it at last, or nothing.
func (c *dialog) is(id uint32, s seen, from uint32) string {
	m := c.messages[id-1]
	switch {
	case from != m.from:
		return fmt.Sprintf("is from %d, not %d", from, m.from)
	case s.recalled != m.recalled:
		return fmt.Sprintf("is recalled: %v", s.recalled)
	case m.recalled && m.was(s.body):
		return fmt.Sprintf("was recalled and says %q", s.body)
	case !m.recalled && s.body != string(m.body()):
		return fmt.Sprintf("says %q, the log says %q", s.body, m.body())
	}
	return ""
}

// compare holds what everybody was told, all the time, against the log.
func (c *company) compare(h *history) {
	c.t.Helper()
	c.mu.Lock()
	places := h.by()
	for body, at := range c.acked {
		if is := places[body]; len(is) != 1 || is[0] != at {
			c.fault("%q was acked as %d of %s, the log has it %v", body, at.id, nameOf(at.key), is)
		}
	}
	for body := range c.refused {
		if is := places[body]; len(is) > 0 {
			c.fault("%q was refused, and the log has it %v", body, is)
		}
	}
	for body, is := range places {
		if len(is) > 1 {
			c.fault("%q is in the log %d times", body, len(is))
		}
	}
	for _, v := range c.visits {
		v.compare(h)
	}
	for _, d := range c.devices {
		d.compare(h)
	}
	c.mu.Unlock()
	c.check()
}

// compare holds the pushes of a visit against the log: it heard each message of its user's
// memberships from its sync on, in order, once, but those that it wrote itself.
func (v *visit) compare(h *history) {
	if !v.synced {
		return
	}
	keys := map[event.ConversationKey]bool{}
	for k := range v.pushed {
		keys[k] = true
	}
	for k := range v.early {
		keys[k] = true
	}
	for k, c := range h.dialogs {
		if p := c.parties[v.d.user]; p != nil || k.IsDirect() && k.Peer(v.d.user) != 0 {
			keys[k] = true
		}
	}
	for k := range keys {
		c := h.dialogs[k]
		if c == nil {
			v.d.c.fault("%s: pushes of %s, which the log does not know", v.tag, nameOf(k))
			continue
		}
		v.compareIn(h, c)
		if !k.IsDirect() {
			v.compareNotices(h, c)
		}
	}
}

func (v *visit) compareIn(h *history, c *dialog) {
	user, pushed := v.d.user, v.pushed[c.key]
	for _, p := range slices.Concat(v.early[c.key], pushed) {
		if p.id == 0 || p.id > c.head() {
			v.d.c.fault("%s: push of %d of %s, which has %d messages", v.tag, p.id, nameOf(c.key), c.head())
			return
		}
		m := c.messages[p.id-1]
		if !c.hears(user, m) {
			v.d.c.fault("%s of %d: push of %d of %s, written while he was no member", v.tag, user, p.id, nameOf(c.key))
			return
		}
		if p.seen.recalled && !m.recalled || !p.seen.recalled && !m.was(p.seen.body) {
			v.d.c.fault("%s: push of %d of %s as %q, which it never was", v.tag, p.id, nameOf(c.key), p.seen.body)
		}
	}
	// expected are the ids that it should hear from a place on.
	expected := func(after uint32, from uint64) (ids []uint32) {
		for i, m := range c.messages {
			if id := uint32(i) + 1; id > after && m.place >= from && c.hears(user, m) && h.visits[m.session] != v.tag {
				ids = append(ids, id)
			}
		}
		return ids
	}
	var got []uint32
	for _, p := range pushed {
		got = append(got, p.id)
	}
	fits := func(want []uint32) bool {
		if v.full {
			return slices.Equal(got, want)
		}
		return len(got) <= len(want) && slices.Equal(got, want[:len(got)])
	}
	head, was := v.heads[c.key]
	if c.key.IsDirect() || was {
		if want := expected(head, 0); !fits(want) {
			v.d.c.fault("%s of %d (full: %v): %s ended at %d, pushed were %v, should be %v", v.tag, user, v.full, nameOf(c.key), head, got, want)
		}
		return
	}
	// He was no member when it began, so it hears from one of his joinings on: from the
	// first that came later.
	stream := c.key.Stream(h.partitions)
	var may [][]uint32 // by where it may have begun
	var must []uint32  // what it heard if it began with nothing
	for _, s := range slices.Backward(c.parties[user].spans) {
		switch {
		case v.after != nil && s.from>>16 > v.after[stream]:
			must = expected(0, s.from) // joined while it was there
		case v.before == nil || s.to == 0 || s.to>>16 > v.before[stream]:
			may = append(may, expected(0, s.from))
		}
	}
	if may = append(may, must); !slices.ContainsFunc(may, fits) {
		v.d.c.fault("%s of %d (full: %v): he was not in %s; pushed were %v, should be one of %v", v.tag, user, v.full, nameOf(c.key), got, may)
	}
}

// compareNotices holds the 0x040b of a visit against the log: a stretch of the changes
// that concern its user, without a hole; the end of them, if it saw the end.
func (v *visit) compareNotices(h *history, c *dialog) {
	user := v.d.user
	var all []string
	later := 0 // changes that came for certain while it was there
	for _, x := range c.changes {
		if h.visits[x.session] == v.tag || !slices.Contains(x.now, user) && !slices.Contains(x.removed, user) {
			continue
		}
		if v.after != nil && x.place>>16 > v.after[c.key.Stream(h.partitions)] {
			later++
		}
		if len(x.added) > 0 {
			all = append(all, noticeText(true, x.by, x.added, x.now))
		}
		if len(x.removed) > 0 {
			all = append(all, noticeText(false, x.by, x.removed, x.now))
		}
	}
	got := v.notices[c.key.GroupID()]
	if v.full {
		if len(got) > len(all) || !slices.Equal(got, all[len(all)-len(got):]) || len(got) < later {
			v.d.c.fault("%s of %d: 0x040b of %s were %q, should be the last %d or more of %q", v.tag, user, nameOf(c.key), got, later, all)
		}
		return
	}
	for i := range len(all) - len(got) + 1 {
		if slices.Equal(got, all[i:i+len(got)]) {
			return
		}
	}
	v.d.c.fault("%s of %d: 0x040b of %s were %q, should be a stretch of %q", v.tag, user, nameOf(c.key), got, all)
}

// compare holds what a device has at last against the log.
func (d *device) compare(h *history) {
	if d.visit == nil || !d.visit.full {
		return
	}
	for k, c := range h.of(d.user) {
		has := d.keeping(k).has
		for id := c.party(d.user).base + 1; id <= c.head(); id++ {
			s, ok := has[id]
			if !ok {
				d.c.fault("%s (%s): %d of %s never came", d.name, d.visit.tag, id, nameOf(k))
				break
			}
			if why := c.is(id, s, c.messages[id-1].from); why != "" {
				d.c.fault("%s (%s): it holds that %d of %s %s", d.name, d.visit.tag, id, nameOf(k), why)
			}
		}
	}
}

// until waits until there was enough, however slow the machine is: told judges.
func (c *company) until(least map[string]int) {
	for limit := time.Now().Add(e2etest.Patience); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		lacks := slices.ContainsFunc(slices.Collect(maps.Keys(least)), func(what string) bool { return c.did[what] < least[what] })
		c.mu.Unlock()
		if !lacks {
			return
		}
	}
}

// told is a line on what there was, and demands that there was enough of it.
func (c *company) told(least map[string]int) {
	c.t.Helper()
	c.t.Logf("%d visits, %d acked, %d sent again (%d of them stored before), %d groups; %v",
		len(c.visits), len(c.acked), c.repeats, c.late, len(c.groups), c.did)
	for _, what := range slices.Sorted(maps.Keys(least)) {
		if c.did[what] < least[what] {
			c.t.Errorf("%q came up %d times, should be %d", what, c.did[what], least[what])
		}
	}
}

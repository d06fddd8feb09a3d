package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/pdu"
	"godwit/schema/query"
)

const (
	maxGroupInfos = 2000                  // groups of one 0x0403 that are looked at
	fewGroups     = 4                     // so many are asked for without a look at their versions
	relationsAsk  = 500                   // users in one question to people
	changeTries   = 50                    // times that a change is decided anew because another came first
	changePause   = 20 * time.Millisecond // most that the later ones of them wait, each by chance
)

// groupHandlers serve groups, service 4, and what new clients may do to them beside.
func groupHandlers() map[uint16]handler {
	return map[uint16]handler{
		client.CmdNormalGroupListReq:   timeline[imgroup.IMNormalGroupListReq](groupList),
		client.CmdGroupInfoListReq:     timeline[imgroup.IMGroupInfoListReq](groupInfo),
		client.CmdGroupCreateReq:       timeline[imgroup.IMGroupCreateReq](createGroup),
		client.CmdGroupChangeMemberReq: timeline[imgroup.IMGroupChangeMemberReq](changeMembers),
		client.CmdGroupShieldReq:       body((*session).onGroupShield),
		client.CmdGroupUpdateReq:       timeline[imextension.GroupUpdateReq](updateGroup),
	}
}

// groupList is 0x0401: the fixed groups of the user, latest change first. What does not fit
// in one answer is left out; it would take more groups than anybody is in.
func groupList(a *asking, _ *imgroup.IMNormalGroupListReq) error {
	groups, err := a.groupsOf(a.s.user)
	if err != nil {
		return err
	}
	var list []*imbase.GroupVersionInfo
	for _, g := range groups {
		if g.GetType() == event.GroupType_GROUP_TYPE_NORMAL {
			list = append(list, &imbase.GroupVersionInfo{GroupId: &g.Group, Version: &g.Version})
		}
	}
	return a.answer(client.CmdNormalGroupListRsp, &imgroup.IMNormalGroupListRsp{UserId: &a.s.user, GroupVersionList: fits(list)})
}

// groupsOf are a user's groups, latest change first.
func (a *asking) groupsOf(user uint32) ([]*query.Group, error) {
	var groups []*query.Group
	for more, after := true, uint32(0); more; {
		ans, err := a.owners(&query.Request{Body: &query.Request_GroupList{GroupList: &query.GroupList{User: user, After: after}}})
		if err != nil {
			return nil, err
		}
		page := ans.GetGroupList().GetGroups()
		groups = append(groups, page...)
		if more = ans.GetGroupList().GetMore() && len(page) > 0; more {
			after = page[len(page)-1].GetGroup()
		}
	}
	slices.SortStableFunc(groups, func(x, y *query.Group) int {
		return cmp.Or(cmp.Compare(y.GetUpdated(), x.GetUpdated()), cmp.Compare(x.GetGroup(), y.GetGroup()))
	})
	return groups, nil
}

// groupInfo is 0x0403: of the groups named those that the user is in and knows an older
// version of, latest change first. More than fits in one PDU comes as several, each with
// the seq of the request.
func groupInfo(a *asking, m *imgroup.IMGroupInfoListReq) error {
	known := make(map[uint32]uint32)
	for _, v := range m.GetGroupVersionList() {
		known[v.GetGroupId()] = v.GetVersion()
	}
	delete(known, 0)
	var wanted []uint32
	if len(known) > fewGroups {
		groups, err := a.groupsOf(a.s.user)
		if err != nil {
			return err
		}
		for _, g := range groups {
			if version, asked := known[g.GetGroup()]; asked && g.GetVersion() > version {
				wanted = append(wanted, g.GetGroup())
			}
		}
	} else {
		for number := range known {
			wanted = append(wanted, number)
		}
		slices.Sort(wanted)
	}
	var found []*query.GroupAnswer
	size := 0
	send := func() error {
		slices.SortStableFunc(found, func(x, y *query.GroupAnswer) int {
			return cmp.Compare(y.GetGroup().GetUpdated(), x.GetGroup().GetUpdated())
		})
		var list []*imbase.GroupInfo
		for _, g := range found {
			list = append(list, groupInfoOf(g))
		}
		found, size = nil, 0
		return a.answer(client.CmdGroupInfoListRsp, &imgroup.IMGroupInfoListRsp{UserId: &a.s.user, GroupInfoList: list})
	}
	for _, number := range wanted {
		g, err := a.group(number, true, 0)
		if err != nil {
			return err
		}
		if !g.GetMember() || g.GetGroup().GetDissolved() || g.GetGroup().GetVersion() <= known[number] {
			continue
		}
		need := proto.Size(groupInfoOf(g)) + 16
		if len(found) > 0 && size+need > maxAnswer {
			if err := send(); err != nil {
				return err
			}
			if err := a.flush(); err != nil {
				return err
			}
		}
		found = append(found, g)
		size += need
	}
	return send()
}

func groupInfoOf(a *query.GroupAnswer) *imbase.GroupInfo {
	g := a.GetGroup()
	shield := uint32(0)
	if a.GetShielded() {
		shield = 1
	}
	return &imbase.GroupInfo{GroupId: &g.Group, Version: &g.Version, GroupName: &g.Name, GroupAvatar: &g.AvatarUrl,
		GroupCreatorId: &g.Administrator, GroupType: new(imbase.GroupType(g.GetType())), ShieldStatus: &shield, GroupMemberList: a.GetMembers()}
}

// group asks for a group as the session's user sees it, of a state that holds everything up
// to a position of its stream.
func (a *asking) group(number uint32, members bool, atLeast uint64) (*query.GroupAnswer, error) {
	k := event.Group(number)
	q := &query.Request{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: k[:], User: a.s.user, Members: members}}}
	if atLeast > 0 {
		q.AtLeast = []*query.AtLeast{{Stream: uint32(k.Stream(a.s.srv.cfg.Partitions)), Sequence: atLeast}}
	}
	ans, err := a.timeline(k, q)
	return ans.GetGroup(), err
}

// people are what is known of users who are to become members. Where only friends may write
// to each other, a user brings only friends into a group.
func (a *asking) people(users []uint32) ([]commands.Person, error) {
	friends := a.s.srv.cfg.Contacts == Friends
	var known []commands.Person
	for part := range slices.Chunk(users, relationsAsk) {
		ans, err := a.view(&query.Request{Body: &query.Request_Relations{Relations: &query.Relations{User: a.s.user, Others: part}}})
		if err != nil {
			return nil, err
		}
		for _, r := range ans.GetRelations().GetRelations() {
			if r.GetExists() && (!friends || r.GetFriends() || r.GetOther() == a.s.user) {
				known = append(known, commands.Person{Number: r.GetOther(), Disabled: r.GetDisabled()})
			}
		}
	}
	return known, nil
}

// tooManyMembers is the most users of a request that are kept; no group holds so many.
const tooManyMembers = commands.MaxGroupLimit + 1

// each is the users named, ascending and each once; ok is false if they are too many.
func each(users []uint32) (all []uint32, ok bool) {
	ok = len(users) < tooManyMembers
	slices.Sort(users)
	return slices.Compact(users), ok
}

// createGroup is 0x0405.
func createGroup(a *asking, m *imgroup.IMGroupCreateReq) error {
	s := a.s
	if m.GetGroupType() == imbase.GroupType_GROUP_TYPE_NORMAL {
		return nil // not for clients to make, and not answered
	}
	answer := func(result uint32, made *event.GroupCreated) error {
		name := strings.ToValidUTF8(m.GetGroupName(), "\ufffd") // of a refused one
		rsp := &imgroup.IMGroupCreateRsp{UserId: &s.user, ResultCode: &result, GroupName: &name, UserIdList: made.GetMembers()}
		if k, ok := event.ParseConversation(made.GetConversation()); ok {
			rsp.GroupId = new(k.GroupID())
		}
		return a.answer(client.CmdGroupCreateRsp, rsp)
	}
	refuse := func(err error) error {
		s.refused(err)
		return answer(failed, nil)
	}
	c := commands.CreateGroup{At: time.Now(), From: s.who(), Type: event.GroupType(m.GetGroupType()),
		Name: m.GetGroupName(), AvatarURL: m.GetGroupAvatar(), Limit: s.srv.cfg.GroupLimit}
	var ok bool
	if c.Members, ok = each(m.GetMemberIdList()); !ok {
		return refuse(commands.ErrGroupFull)
	}
	reserve, err := c.Reserve()
	if err != nil {
		return refuse(err)
	}
	people, err := a.people(c.Members)
	if err != nil {
		return err
	}
	r, err := a.append(event.People, "", 0, reserve)
	if err != nil {
		return err
	}
	ev, err := c.Decide(commands.CreateState{Number: r.ID, People: people})
	if err != nil {
		return refuse(err)
	}
	partitions := s.srv.cfg.Partitions
	r, err = a.append(event.Group(r.ID).Stream(partitions), bus.GroupSubject(r.ID, partitions), 0, ev)
	switch {
	case errors.Is(err, bus.ErrConflict):
		return refuse(commands.ErrGroupExists)
	case err != nil:
		return err
	case r.Void != frame.Void_VOID_NONE:
		s.srv.void(s, r.Void)
		return answer(failed, nil)
	}
	return answer(0, ev.GetGroupCreated())
}

// errVoid is a change that came to nothing in the log.
type errVoid struct{ why frame.Void }

func (e *errVoid) Error() string { return "void: " + voidName(e.why) }

// change decides about a group and appends by compare and set, again when somebody else's
// change came first. It gives the group as it was before, and the event. The error is a
// refusal, an errVoid, or a failure.
func (a *asking) change(number uint32, decide func(s commands.GroupState) (*event.Event, error)) (commands.GroupState, *event.Event, error) {
	if number == 0 {
		return commands.GroupState{}, nil, commands.ErrNoSuchGroup
	}
	partitions := a.s.srv.cfg.Partitions
	stream := event.Group(number).Stream(partitions)
	var atLeast, last uint64
	for try := range changeTries {
		if try > 1 {
			time.Sleep(rand.N(changePause)) // many at once come apart
		}
		var state commands.GroupState
		for {
			a.at = nil // what was found before counts no more
			g, err := a.group(number, true, atLeast)
			if err != nil {
				return state, nil, err
			}
			state = commands.GroupStateOf(g)
			if last == 0 || g.GetGroup().GetSubjectSequence() != last {
				last = g.GetGroup().GetSubjectSequence()
				break
			}
			// What came first is not in it yet.
			atLeast = a.position(stream) + 1
		}
		ev, err := decide(state)
		if err != nil {
			return state, nil, err
		}
		r, err := a.append(stream, bus.GroupSubject(number, partitions), last, ev)
		switch {
		case errors.Is(err, bus.ErrConflict):
			atLeast = a.position(stream) + 1
			continue
		case err != nil:
			return state, nil, err
		case r.Void != frame.Void_VOID_NONE:
			a.s.srv.void(a.s, r.Void)
			return state, nil, &errVoid{r.Void}
		}
		return state, ev, nil
	}
	return commands.GroupState{}, nil, errBusy
}

// errBusy: others change the same thing all the time.
var errBusy = errors.New("changed by others all the time")

// changeMembers is 0x0407. Of a removal the ids asked for are told, whoever of them was a
// member; it succeeds when nobody was, and when nobody is named.
func changeMembers(a *asking, m *imgroup.IMGroupChangeMemberReq) error {
	s := a.s
	answer := func(result uint32, members, changed []uint32) error {
		rsp := &imgroup.IMGroupChangeMemberRsp{UserId: &s.user, ChangeType: m.ChangeType, ResultCode: &result, GroupId: m.GroupId,
			CurUserIdList: members, ChgUserIdList: changed}
		for proto.Size(rsp) > maxAnswer && len(rsp.ChgUserIdList) > 0 { // of tens of thousands
			rsp.ChgUserIdList = rsp.ChgUserIdList[:len(rsp.ChgUserIdList)/2]
		}
		return a.answer(client.CmdGroupChangeMemberRsp, rsp)
	}
	c := commands.ChangeMembers{At: time.Now(), From: s.who(), Group: m.GetGroupId(), Limit: s.srv.cfg.GroupLimit}
	asked, ok := each(m.GetMemberIdList())
	if !ok {
		s.refused(commands.ErrGroupFull)
		return answer(failed, nil, nil)
	}
	var people []commands.Person
	adds := m.GetChangeType() == imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD
	if adds {
		var err error
		if people, err = a.people(asked); err != nil {
			return err
		}
		c.Added = asked
	} else {
		c.Removed = asked
	}
	before, ev, err := a.change(c.Group, func(state commands.GroupState) (*event.Event, error) {
		state.Joining = people
		return c.Decide(state)
	})
	switch {
	case err == nil:
	case (errors.Is(err, commands.ErrNothingToDo) || errors.Is(err, commands.ErrNoMembers)) && !adds:
		return answer(0, before.Members, asked)
	case refusing(err):
		s.refused(err)
		return answer(failed, nil, nil)
	default:
		return err
	}
	// The log has changed what was asked for and nothing else, for it was compared and set.
	changed := ev.GetGroupMembersChanged()
	if adds {
		asked = changed.GetAdded()
	}
	return answer(0, changedMembers(before.Members, changed), asked)
}

// changedMembers are the members after a change.
func changedMembers(before []uint32, c *event.GroupMembersChanged) []uint32 {
	after := make([]uint32, 0, len(before)+len(c.GetAdded()))
	after = append(append(after, before...), c.GetAdded()...)
	slices.Sort(after)
	return slices.DeleteFunc(after, func(user uint32) bool {
		_, gone := slices.BinarySearch(c.GetRemoved(), user)
		return gone
	})
}

// refusing tells an error that a client is told of from one that nobody can answer.
func refusing(err error) bool {
	_, void := errors.AsType[*errVoid](err)
	_, refused := commands.AsRefusal(err)
	return void || refused || errors.Is(err, errBusy)
}

// updateGroup is 0x2017.
func updateGroup(a *asking, m *imextension.GroupUpdateReq) error {
	c := commands.UpdateGroup{At: time.Now(), From: a.s.who(), Group: m.GetGroupId(), Name: m.GroupName, AvatarURL: m.GroupAvatar,
		Administrator: m.AdministratorId, Dissolve: m.GetDissolve()}
	_, _, err := a.change(c.Group, c.Decide)
	if err != nil && !refusing(err) {
		return err
	}
	why := refusalOf(err)
	if void, ok := errors.AsType[*errVoid](err); ok {
		why = refusalOfVoid(void.why, true)
	}
	if err != nil {
		a.s.refused(err)
	}
	return a.answer(client.CmdGroupUpdateRsp, &imextension.GroupUpdateRsp{Refusal: &why, GroupId: m.GroupId})
}

// onGroupShield is 0x0409. A shield that is as it was is no failure.
func (s *session) onGroupShield(seq uint16, m *imgroup.IMGroupShieldReq) bool {
	answer := func(code uint32) *imgroup.IMGroupShieldRsp {
		return &imgroup.IMGroupShieldRsp{UserId: &s.user, GroupId: m.GroupId, ResultCode: &code}
	}
	ev, err := commands.ShieldGroup{At: time.Now(), From: s.who(), Group: m.GetGroupId(), Shielded: m.GetShieldStatus() != 0}.Decide()
	if err != nil {
		s.refused(err)
		s.send(client.CmdGroupShieldRsp, seq, answer(failed))
		return true
	}
	return s.append(event.Group(m.GetGroupId()).Stream(s.srv.cfg.Partitions), ev, func(r delivery.Result) {
		code := uint32(0)
		if r.Err != nil || r.Void != frame.Void_VOID_NONE && r.Void != frame.Void_VOID_NO_EFFECT {
			code = failed
		}
		s.sendLocked(client.CmdGroupShieldRsp, seq, answer(code))
	})
}

// appendGroupNotice appends 0x2019, for those who understand it: what has changed of a
// group but for its members.
func (s *session) appendGroupNotice(b []byte, c *frame.GroupChange) []byte {
	k, ok := event.ParseConversation(c.GetConversation())
	kind := c.GetKind()
	if !ok || event.ToID(c.GetSession()) == s.id || !s.has(imextension.Feature_FEATURE_NOTICES) ||
		kind != frame.GroupChange_KIND_CHANGED && kind != frame.GroupChange_KIND_DISSOLVED {
		return b
	}
	m := &imextension.GroupNotify{GroupId: new(k.GroupID()), Version: &c.Version, UserId: &c.User, GroupName: &c.Name,
		GroupAvatar: &c.AvatarUrl, AdministratorId: &c.Administrator}
	if kind == frame.GroupChange_KIND_DISSOLVED {
		m.Dissolved = new(true)
	}
	b, err := pdu.AppendMessage(b, client.CmdGroupNotify, 0, m)
	if err != nil {
		s.srv.log.Error("notice can't be encoded", "group", k.GroupID(), "err", err)
	}
	return b
}

// memberNotice is 0x040b, which is the same for all who get it. Its lists are not in the
// frame: they are asked for once, and the sessions write it when they are there. mu is held.
func (s *session) memberNotice(d *delivery.Delivery, c *frame.GroupChange) *shared {
	k, ok := event.ParseConversation(c.GetConversation())
	if !ok || c.GetKind() == frame.GroupChange_KIND_CHANGED {
		return nil
	}
	s.srv.members.drop(s.user, k.GroupID())
	if event.ToID(c.GetSession()) == s.id {
		return nil
	}
	if d.Shared == nil {
		sh := &shared{guess: 64 + 5*int(c.GetMembers())}
		d.Shared = sh
		s.srv.notices.put(&notice{srv: s.srv, key: k, stream: d.Stream, sequence: d.Sequence, change: c, shared: sh})
	}
	sh, _ := d.Shared.(*shared)
	return sh
}

// notice is a 0x040b that is being made.
type notice struct {
	srv      *Server
	key      event.ConversationKey
	stream   event.Stream
	sequence uint64
	change   *frame.GroupChange
	shared   *shared
}

// noticeWorkers is how many notices are made at once.
const noticeWorkers = 16

// make asks for the lists and encodes the notice. Nobody's notice is dropped: where nobody
// answers, those who wait for it come back and ask for all.
func (n *notice) make() {
	ctx, cancel := context.WithTimeout(n.srv.ctx, n.srv.limits.Ask)
	defer cancel()
	ans, err := checked(n.srv.node.AskTimeline(ctx, n.key, &query.Request{
		AtLeast: []*query.AtLeast{{Stream: uint32(n.stream), Sequence: n.sequence}},
		Body:    &query.Request_GroupState{GroupState: &query.GroupState{Conversation: n.key[:], Members: true, At: n.sequence}},
	}))
	if err == nil && ans.GetGroup().GetGroup() == nil {
		err = fmt.Errorf("there is no such group at %d", n.sequence)
	}
	if err != nil {
		n.srv.log.Warn("who is in a group is not known", "group", n.key.GroupID(), "err", err)
		n.shared.made(nil)
		return
	}
	pdus, err := appendMemberNotices(nil, n.key.GroupID(), n.change, ans.GetGroup())
	if err != nil {
		n.srv.log.Error("notice can't be encoded", "group", n.key.GroupID(), "err", err)
		n.shared.made(nil)
		return
	}
	n.shared.made(pdus)
}

// appendMemberNotices appends 0x040b, several with parts of those who came or went if one
// can't hold them beside all members.
func appendMemberNotices(b []byte, group uint32, c *frame.GroupChange, a *query.GroupAnswer) ([]byte, error) {
	kind, changed := imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, a.GetAdded()
	if c.GetKind() != frame.GroupChange_KIND_ADDED {
		kind, changed = imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL, a.GetRemoved()
	}
	m := &imgroup.IMGroupChangeMemberNotify{UserId: &c.User, ChangeType: &kind, GroupId: &group, CurUserIdList: a.GetMembers()}
	each := max(1, (maxAnswer-proto.Size(m))/6) // a number takes at most 6 bytes
	for first := true; first || len(changed) > 0; first = false {
		n := min(each, len(changed))
		m.ChgUserIdList, changed = changed[:n], changed[n:]
		var err error
		if b, err = pdu.AppendMessage(b, client.CmdGroupChangeMemberNotify, 0, m); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// memberships caches whether users may write to groups. An entry that is out of date costs
// a message that comes to nothing, no more: its sender is told. What is not so is kept for a
// moment only.
type memberships struct {
	srv  *Server
	asks pool[membership]

	mu      sync.RWMutex
	known   map[membership]memberPermit
	waiting map[membership][]*session // being asked for, and who is held meanwhile
	stale   map[membership]struct{}   // dropped while it is being asked for
}

type membership struct{ user, group uint32 }

type memberPermit struct {
	expires uint32 // tick
	permit  commands.GroupPermit
}

const (
	memberEntries   = 65536
	memberTicks     = 60
	outsiderTicks   = 2
	memberQuestions = 32
)

func (c *memberships) get(user, group uint32) (p commands.GroupPermit, known bool) {
	c.mu.RLock()
	of := membership{user, group}
	e, known := c.known[of]
	c.mu.RUnlock()
	if known && !e.permit.Member {
		// For the one message that it was asked for: who asks about groups that are not his
		// must not push out what is known of others.
		c.mu.Lock()
		delete(c.known, of)
		c.mu.Unlock()
	}
	return e.permit, known && e.expires > c.srv.tick()
}

// ask holds the session until it is known whether its user may write to the group.
func (c *memberships) ask(s *session, group uint32) {
	s.mu.Lock()
	s.hold |= holdPermit
	s.mu.Unlock()
	of := membership{s.user, group}
	c.mu.Lock()
	defer c.mu.Unlock()
	line, asked := c.waiting[of]
	c.waiting[of] = append(line, s)
	if !asked {
		c.asks.put(of)
	}
}

// look asks until there is an answer: nobody's message is dropped for it, its sender is
// held on.
func (c *memberships) look(of membership) {
	k := event.Group(of.group)
	for {
		c.mu.Lock()
		delete(c.stale, of)
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(c.srv.ctx, c.srv.limits.Ask)
		ans, err := checked(c.srv.node.AskTimeline(ctx, k, &query.Request{Body: &query.Request_GroupState{
			GroupState: &query.GroupState{Conversation: k[:], User: of.user}}}))
		cancel()
		if err != nil {
			c.srv.log.Warn("membership can't be looked up", "group", of.group, "user", of.user, "err", err)
			select {
			case <-c.srv.ctx.Done():
				return
			case <-time.After(permitRetry):
				continue
			}
		}
		if c.learn(of, ans.GetGroup()) {
			return
		}
	}
}

// learn keeps an answer and lets go of who waits for it. It is false if it is out of date.
func (c *memberships) learn(of membership, a *query.GroupAnswer) bool {
	e := memberPermit{expires: c.srv.tick() + memberTicks, permit: commands.GroupPermit{
		Number: a.GetGroup().GetGroup(), Member: a.GetMember(), Dissolved: a.GetGroup().GetDissolved()}}
	if !e.permit.Member || e.permit.Dissolved {
		e.expires = c.srv.tick() + outsiderTicks
	}
	c.mu.Lock()
	if _, stale := c.stale[of]; stale {
		c.mu.Unlock()
		return false
	}
	for old := range c.known {
		if len(c.known) < memberEntries {
			break
		}
		delete(c.known, old)
	}
	c.known[of] = e
	held := c.waiting[of]
	delete(c.waiting, of)
	c.mu.Unlock()
	for _, s := range held {
		s.unhold(holdPermit)
	}
	return true
}

// drop forgets what has changed.
func (c *memberships) drop(user, group uint32) {
	of := membership{user, group}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, of)
	if _, asked := c.waiting[of]; asked {
		c.stale[of] = struct{}{}
	}
}

func (c *memberships) sweep(now uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for of, e := range c.known {
		if e.expires <= now {
			delete(c.known, of)
		}
	}
}

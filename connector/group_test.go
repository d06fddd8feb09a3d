package connector

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
	immessage "godwit/schema/client/message"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	normal = event.GroupType_GROUP_TYPE_NORMAL
	temp   = event.GroupType_GROUP_TYPE_TEMPORARY
	adding = imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD
	taking = imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL

	groupText = imbase.MsgType_MSG_TYPE_GROUP_TEXT
)

// loginNew logs in a client that understands everything.
func (r *rig) loginNew(name string, kind imbase.ClientType, others ...*wire) *wire {
	r.t.Helper()
	w := r.connect()
	req := loginReq(name, "pw", kind)
	req.Features = new(uint32(imextension.Feature_FEATURE_NOTICES))
	w.send(w.pack(client.CmdLoginReq, 9, req))
	r.step(append(others, w)...)
	if len(w.take()) == 0 {
		r.t.Fatal("no answer to the login")
	}
	return w
}

// works lets the node work off a chain of appends.
func (r *rig) works(ws ...*wire) {
	for range 6 {
		r.step(ws...)
	}
}

func takeAll(ws ...*wire) {
	for _, w := range ws {
		w.take()
	}
}

func (w *wire) create(name string, members ...uint32) {
	w.send(w.pack(client.CmdGroupCreateReq, 5, &imgroup.IMGroupCreateReq{UserId: new(uint32(99)), GroupType: new(imbase.GroupType_GROUP_TYPE_TMP),
		GroupName: &name, GroupAvatar: new("http://a/g"), MemberIdList: members}))
}

func (w *wire) change(kind imbase.GroupModifyType, number uint32, users ...uint32) {
	w.send(w.pack(client.CmdGroupChangeMemberReq, 6, &imgroup.IMGroupChangeMemberReq{UserId: new(uint32(99)), ChangeType: &kind, GroupId: &number, MemberIdList: users}))
}

// notified takes exactly one 0x040b.
func (w *wire) notified(by uint32, kind imbase.GroupModifyType, number uint32, members, changed []uint32) {
	w.r.t.Helper()
	m := one[*imgroup.IMGroupChangeMemberNotify](w, 0)
	if m.GetUserId() != by || m.GetChangeType() != kind || m.GetGroupId() != number || !slices.Equal(m.GetCurUserIdList(), members) || !slices.Equal(m.GetChgUserIdList(), changed) {
		w.r.t.Errorf("notice %v, want %d %v %d %v %v", m, by, kind, number, members, changed)
	}
}

// changed takes exactly one 0x0408.
func (w *wire) changed(result uint32, members, changed []uint32) {
	w.r.t.Helper()
	m := one[*imgroup.IMGroupChangeMemberRsp](w, 6)
	if m.GetUserId() != w.s.user || m.GetResultCode() != result || !slices.Equal(m.GetCurUserIdList(), members) || !slices.Equal(m.GetChgUserIdList(), changed) {
		w.r.t.Errorf("answer %v, want %d %v %v", m, result, members, changed)
	}
}

func TestGroupIsMadeAndItsMembersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone, bob, cy := r.login("ann", windows), r.login("ann", android), r.login("bob", mac), r.login("cy", windows)
		all := []*wire{ann, phone, bob, cy}
		r.step(all...)
		takeAll(all...)
		r.node.set(func() { r.node.people[3].Disabled = true })
		ann.create("lunch", 2, 77, 3, 2) // not herself; one unknown, one disabled
		r.works(all...)
		m := one[*imgroup.IMGroupCreateRsp](ann, 5)
		if m.GetUserId() != 1 || m.GetResultCode() != 0 || m.GetGroupId() != 1 || m.GetGroupName() != "lunch" || !slices.Equal(m.GetUserIdList(), []uint32{1, 2}) {
			t.Errorf("answer %v", m)
		}
		phone.notified(1, adding, 1, []uint32{1, 2}, []uint32{1, 2})
		bob.notified(1, adding, 1, []uint32{1, 2}, []uint32{1, 2})
		cy.nothing()
		made := r.node.find("GroupCreated").GetGroupCreated()
		if made.GetCreator() != 1 || made.GetType() != temp || made.GetLimit() != commands.DefaultGroupLimit || made.GetAvatarUrl() != "http://a/g" {
			t.Errorf("event %v", made)
		}
		if r.srv.pending.Load() != 0 || ann.s.pending != 0 {
			t.Error("an append is still counted")
		}
	})
}

func TestGroupsThatAreNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.GroupLimit = 2 })
		ann := r.login("ann", windows)
		many := make([]uint32, commands.MaxGroupLimit+1)
		for i := range many {
			many[i] = uint32(i + 1)
		}
		for name, create := range map[string]func(){
			"no name":                     func() { ann.create("", 2) },
			"no members":                  func() { ann.create("lunch") },
			"more than there is room for": func() { ann.create("lunch", 1, 2, 3) },
			"more than any has":           func() { ann.create("lunch", many...) },
		} {
			time.Sleep(5 * time.Second) // so many members count as many requests
			create()
			r.works(ann)
			if m := one[*imgroup.IMGroupCreateRsp](ann, 5); m.GetResultCode() != failed || m.GroupId != nil || len(m.GetUserIdList()) != 0 {
				t.Errorf("%s: %v", name, m)
			}
		}
		time.Sleep(5 * time.Second)
		ann.send(ann.pack(client.CmdGroupCreateReq, 5, &imgroup.IMGroupCreateReq{UserId: new(uint32(1)), GroupType: new(imbase.GroupType_GROUP_TYPE_NORMAL),
			GroupName: new("all"), GroupAvatar: new(""), MemberIdList: []uint32{1}}))
		r.works(ann)
		ann.nothing()
		if slices.Contains(r.node.kinds(), "GroupCreated") {
			t.Error("a group was made")
		}
	})
}

func TestOnlyFriendsAreBroughtIntoAGroupWhereOnlyFriendsWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Contacts = Friends })
		r.node.friends = [][2]uint32{{1, 3}}
		ann := r.login("ann", windows)
		ann.create("lunch", 2, 3)
		r.works(ann)
		if m := one[*imgroup.IMGroupCreateRsp](ann, 5); !slices.Equal(m.GetUserIdList(), []uint32{1, 3}) {
			t.Errorf("answer %v", m)
		}
	})
}

func TestMembersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob, cy := r.login("ann", windows), r.login("bob", windows), r.login("cy", windows)
		desk2 := r.login("cy", android, cy)
		all := []*wire{ann, bob, cy, desk2}
		r.step(all...)
		number := r.node.group(temp, "lunch", 1, 1, 2)
		r.step(all...)
		takeAll(all...)

		cy.change(adding, number, 3) // nobody of it
		r.works(all...)
		cy.changed(failed, nil, nil)

		bob.change(adding, number, 3, 1, 77) // any member adds
		r.works(all...)
		bob.changed(0, []uint32{1, 2, 3}, []uint32{3})
		for _, w := range []*wire{ann, cy, desk2} {
			w.notified(2, adding, number, []uint32{1, 2, 3}, []uint32{3})
		}
		bob.change(adding, number, 3) // again
		r.works(all...)
		bob.changed(failed, nil, nil)

		bob.change(taking, number, 3) // not the administrator
		r.works(all...)
		bob.changed(failed, nil, nil)

		ann.change(taking, number, 3, 77)
		r.works(all...)
		ann.changed(0, []uint32{1, 2}, []uint32{3, 77})
		for _, w := range []*wire{bob, cy, desk2} {
			w.notified(1, taking, number, []uint32{1, 2}, []uint32{3})
		}
		ann.change(taking, number, 3) // is out already
		r.works(all...)
		ann.changed(0, []uint32{1, 2}, []uint32{3})
		bob.nothing()

		bob.change(taking, number, 2) // leaves
		r.works(all...)
		bob.changed(0, []uint32{1}, []uint32{2})
		ann.notified(2, taking, number, []uint32{1}, []uint32{2})
		bob.nothing()
		bob.change(adding, number, 3)
		r.works(all...)
		bob.changed(failed, nil, nil)

		ann.change(adding, 77, 3)
		r.works(all...)
		ann.changed(failed, nil, nil)
	})
}

// Two change a group at the same moment: one of them comes second, looks again and decides
// on what it finds.
func TestMembersChangedByTwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.person(r.hasher, 4, "dan")
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		number := r.node.group(temp, "lunch", 1, 1, 2)
		r.step(ann, bob)
		takeAll(ann, bob)
		conflicts := 0
		r.node.set(func() { r.node.conflict = func() { conflicts++ } })
		ann.change(taking, number, 2)
		bob.change(adding, number, 3, 4)
		r.settle(ann, bob)
		if n := len(r.node.queue); n != 2 {
			t.Fatalf("%d appended at once", n)
		}
		// The view of the second one's owner is behind at first.
		k := event.Group(number)
		old, asked := &query.GroupAnswer{}, []uint64(nil)
		ans, _ := r.node.AskTimeline(t.Context(), k, &query.Request{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: k[:], User: 2, Members: true}}})
		old = ans.GetGroup()
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if s := q.GetGroupState(); s == nil || s.GetUser() != 2 {
				return nil, nil
			}
			asked = append(asked, q.GetAtLeast()[0].GetSequence())
			if len(asked) > 1 {
				return nil, nil
			}
			return &query.Answer{At: []*query.AtLeast{{Stream: uint32(k.Stream(testPartitions)), Sequence: 40}}, Body: &query.Answer_Group{Group: old}}, nil
		})
		r.works(ann, bob)
		if conflicts != 1 {
			t.Errorf("%d conflicts", conflicts)
		}
		if len(asked) != 2 || asked[1] != 41 {
			t.Errorf("asked again with positions %v", asked)
		}
		ann.changed(0, []uint32{1}, []uint32{2})
		// Bob was out by then, and is told so before he is refused.
		all := bob.take()
		if len(all) != 2 || all[0].Command != client.CmdGroupChangeMemberNotify || all[1].m.(*imgroup.IMGroupChangeMemberRsp).GetResultCode() != failed {
			t.Errorf("got %v", all)
		}
		if got := r.node.groups.members(number); !slices.Equal(got, []uint32{1}) {
			t.Errorf("members %v", got)
		}
	})
}

func TestChangeIsGivenUpAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		number := r.node.group(temp, "lunch", 1, 1)
		r.step(ann)
		ann.take()
		tries := 0
		r.node.set(func() {
			r.node.onAppend = func(ev *event.Event) {
				if ev.GetGroupMembersChanged() != nil {
					tries++
					r.node.set(func() { // somebody else is faster, each time
						g := r.node.groups.all[number]
						g.SubjectSequence += 1000
						r.node.groups.wrote(bus.GroupSubject(number, testPartitions), g.SubjectSequence)
					})
				}
			}
		})
		ann.change(adding, number, 2)
		for range changeTries {
			time.Sleep(changePause)
			r.step(ann)
		}
		ann.changed(failed, nil, nil)
		if tries != changeTries || ann.s.pending != 0 {
			t.Errorf("%d tries, %d pending", tries, ann.s.pending)
		}
	})
}

func TestVoidChangeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		number := r.node.group(temp, "lunch", 1, 1)
		r.step(ann)
		ann.take()
		r.node.set(func() {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Void: frame.Void_VOID_FULL}, ev.GetGroupMembersChanged() != nil
			}
		})
		ann.change(adding, number, 2)
		r.works(ann)
		ann.changed(failed, nil, nil)
	})
}

// What a client asks behind a change holds it.
func TestQuestionsWaitForAChangeBeforeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		ann.take()
		ann.create("lunch", 2)
		ann.send(ann.pack(client.CmdGroupInfoListReq, 7, infoReq(1, 0)))
		r.works(ann)
		all := ann.take()
		if len(all) != 2 || all[0].Command != client.CmdGroupCreateRsp || all[1].Seq != 7 || len(all[1].m.(*imgroup.IMGroupInfoListRsp).GetGroupInfoList()) != 1 {
			t.Errorf("got %v", all)
		}
	})
}

func infoReq(versions ...uint32) *imgroup.IMGroupInfoListReq {
	m := &imgroup.IMGroupInfoListReq{UserId: new(uint32(99))}
	for v := range slices.Chunk(versions, 2) {
		m.GroupVersionList = append(m.GroupVersionList, &imbase.GroupVersionInfo{GroupId: &v[0], Version: &v[1]})
	}
	return m
}

func TestGroupInfoIsForMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		ours := r.node.group(normal, "ours", 1, 1, 2, 3)
		theirs := r.node.group(temp, "theirs", 2, 2, 3)
		var small []uint32
		for i := range uint32(6) {
			small = append(small, r.node.group(temp, fmt.Sprint("g", i), 1, 1))
		}
		r.works(ann, bob)
		ann.send(ann.pack(client.CmdGroupShieldReq, 4, &imgroup.IMGroupShieldReq{UserId: new(uint32(99)), GroupId: &ours, ShieldStatus: new(uint32(1))}))
		r.works(ann, bob)
		takeAll(ann, bob)
		ask := func(w *wire, versions ...uint32) []*imbase.GroupInfo {
			w.send(w.pack(client.CmdGroupInfoListReq, 7, infoReq(versions...)))
			r.works(ann, bob)
			return one[*imgroup.IMGroupInfoListRsp](w, 7).GetGroupInfoList()
		}
		got := ask(ann, ours, 0, theirs, 0, 77, 0, 0, 0)
		if len(got) != 1 || got[0].GetGroupId() != ours || got[0].GetVersion() != 1 || got[0].GetGroupName() != "ours" || got[0].GetGroupCreatorId() != 1 ||
			got[0].GetGroupType() != imbase.GroupType_GROUP_TYPE_NORMAL || got[0].GetShieldStatus() != 1 || !slices.Equal(got[0].GetGroupMemberList(), []uint32{1, 2, 3}) {
			t.Errorf("ann is told %v", got)
		}
		got = ask(bob, ours, 0, theirs, 0)
		if len(got) != 2 || got[0].GetGroupId() != theirs || got[1].GetShieldStatus() != 0 {
			t.Errorf("bob is told %v", got) // the latest change first
		}
		if got := ask(ann, ours, 1); len(got) != 0 {
			t.Errorf("what is known already is told: %v", got)
		}
		// Of many only those that are newer are looked at.
		r.node.set(func() { r.node.groups.asked = nil })
		got = ask(ann, ours, 1, theirs, 0, small[0], 1, small[1], 0, small[2], 1, small[5], 0, 77, 0)
		if len(got) != 2 || got[0].GetGroupId() != small[5] || got[1].GetGroupId() != small[1] || len(r.node.groups.asked) != 2 {
			t.Errorf("told %v, asked for %d", got, len(r.node.groups.asked))
		}
		if got := ask(ann); len(got) != 0 {
			t.Errorf("nothing asked, told %v", got)
		}
	})
}

func TestGroupInfoOfManyMembersComesInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		members := make([]uint32, 30_000)
		for i := range members {
			members[i] = uint32(1<<31 + i)
		}
		members[0] = 1
		var asked []uint32
		for i := range 3 {
			asked = append(asked, r.node.group(temp, fmt.Sprint("g", i), 1, members...), 0)
			r.works(ann)
			ann.take()
		}
		ann.send(ann.pack(client.CmdGroupInfoListReq, 7, infoReq(asked...)))
		r.works(ann)
		told := map[uint32]int{}
		parts := ann.take()
		for _, g := range parts {
			for _, info := range g.m.(*imgroup.IMGroupInfoListRsp).GetGroupInfoList() {
				told[info.GetGroupId()] += len(info.GetGroupMemberList())
			}
			if g.Seq != 7 {
				t.Errorf("seq %d", g.Seq)
			}
		}
		if len(parts) != 2 || len(told) != 3 || told[asked[0]] != len(members) {
			t.Errorf("%d parts, %v", len(parts), told)
		}
	})
}

func TestGroupList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		first := r.node.group(normal, "a", 2, 1, 2)
		r.node.group(temp, "b", 1, 1, 2)
		second := r.node.group(normal, "c", 2, 1, 2)
		r.node.group(normal, "d", 2, 2)
		r.works(ann)
		ann.take()
		ann.send(ann.pack(client.CmdNormalGroupListReq, 7, &imgroup.IMNormalGroupListReq{UserId: new(uint32(9))}))
		r.works(ann)
		l := one[*imgroup.IMNormalGroupListRsp](ann, 7).GetGroupVersionList()
		if len(l) != 2 || l[0].GetGroupId() != second || l[1].GetGroupId() != first || l[0].GetVersion() != 1 {
			t.Errorf("list %v", l)
		}
	})
}

func TestShield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		ours, theirs := r.node.group(temp, "a", 1, 1), r.node.group(temp, "b", 2, 2)
		r.works(ann)
		ann.take()
		for i, c := range []struct{ group, status, result uint32 }{{ours, 1, 0}, {ours, 1, 0}, {ours, 0, 0}, {theirs, 1, 1}, {0, 1, 1}} {
			ann.send(ann.pack(client.CmdGroupShieldReq, 4, &imgroup.IMGroupShieldReq{UserId: new(uint32(99)), GroupId: &c.group, ShieldStatus: &c.status}))
			r.works(ann)
			if m := one[*imgroup.IMGroupShieldRsp](ann, 4); m.GetResultCode() != c.result || m.GetUserId() != 1 || m.GetGroupId() != c.group {
				t.Errorf("%d: %v", i, m)
			}
		}
	})
}

func TestGroupIsRenamedHandedOverAndDissolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob, old := r.loginNew("ann", windows), r.loginNew("bob", windows), r.login("cy", windows)
		all := []*wire{ann, bob, old}
		number := r.node.group(temp, "lunch", 1, 1, 2, 3)
		r.works(all...)
		takeAll(all...)
		update := func(w *wire, m *imextension.GroupUpdateReq) imextension.Refusal {
			m.GroupId = &number
			w.send(w.pack(client.CmdGroupUpdateReq, 8, m))
			r.works(all...)
			return one[*imextension.GroupUpdateRsp](w, 8).GetRefusal()
		}
		if got := update(bob, &imextension.GroupUpdateReq{GroupName: new("dinner")}); got != imextension.Refusal_REFUSAL_NOT_ALLOWED {
			t.Errorf("a member renames: %v", got)
		}
		if got := update(ann, &imextension.GroupUpdateReq{GroupName: new("lunch")}); got != imextension.Refusal_REFUSAL_NO_EFFECT {
			t.Errorf("the name that it has: %v", got)
		}
		if got := update(ann, &imextension.GroupUpdateReq{GroupName: new("")}); got != imextension.Refusal_REFUSAL_MALFORMED {
			t.Errorf("no name: %v", got)
		}
		if got := update(ann, &imextension.GroupUpdateReq{GroupName: new("dinner"), AdministratorId: new(uint32(2))}); got != 0 {
			t.Errorf("renamed: %v", got)
		}
		m := one[*imextension.GroupNotify](bob, 0)
		if m.GetGroupId() != number || m.GetVersion() != 2 || m.GetUserId() != 1 || m.GetGroupName() != "dinner" || m.GetAdministratorId() != 2 || m.Dissolved != nil {
			t.Errorf("notice %v", m)
		}
		old.nothing() // does not know of such
		if got := update(bob, &imextension.GroupUpdateReq{Dissolve: new(true)}); got != 0 {
			t.Errorf("dissolved: %v", got)
		}
		old.notified(2, taking, number, nil, []uint32{1, 2, 3})
		both := ann.take()
		if len(both) != 2 || both[0].Command != client.CmdGroupChangeMemberNotify || !both[1].m.(*imextension.GroupNotify).GetDissolved() {
			t.Errorf("got %v", both)
		}
		if got := update(ann, &imextension.GroupUpdateReq{GroupName: new("x")}); got != imextension.Refusal_REFUSAL_NO_SUCH_GROUP {
			t.Errorf("of a dissolved one: %v", got)
		}
	})
}

func (w *wire) say(seq uint16, number uint32, data string) {
	w.send(w.pack(client.CmdMsgData, seq, msg(number, groupText, data)))
}

func TestMessageToAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, phone, bob, cy := r.login("ann", windows), r.login("ann", android), r.login("bob", windows), r.login("cy", windows)
		all := []*wire{ann, phone, bob, cy}
		r.step(all...)
		number := r.node.group(temp, "lunch", 1, 1, 2)
		r.works(all...)
		takeAll(all...)
		ann.say(3, number, "hello")
		r.works(all...)
		ack := one[*immessage.IMMsgDataAck](ann, 3)
		if ack.GetUserId() != 1 || ack.GetSessionId() != number || ack.GetMsgId() != 1 || ack.GetSessionType() != group || ack.ClientMessageId != nil {
			t.Errorf("ack %v", ack)
		}
		for _, w := range []*wire{phone, bob} {
			m := one[*immessage.IMMsgData](w, 0)
			if m.GetFromUserId() != 1 || m.GetToSessionId() != number || m.GetMsgId() != 1 || string(m.GetMsgData()) != "hello" || m.GetMsgType() != groupText {
				t.Errorf("copy %v", m)
			}
		}
		cy.nothing()

		// Who may write is asked once, until something changes.
		// What is asked about others' groups is not kept.
		for range 3 {
			cy.say(9, number, "let me in")
			r.works(all...)
			cy.nothing()
		}
		if n := len(r.srv.members.known); n != 1 {
			t.Errorf("%d memberships are kept", n)
		}
		asked := r.node.asked.Load()
		ann.say(4, number, "again")
		r.works(all...)
		one[*immessage.IMMsgDataAck](ann, 4)
		if r.node.asked.Load() != asked {
			t.Error("asked again")
		}
		k := event.Group(number)
		r.node.cas(number, &event.Event{Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{Conversation: k[:], Removed: []uint32{1}}}})
		r.works(all...)
		takeAll(all...)
		ann.say(5, number, "out")
		r.works(all...)
		ann.nothing()
		bob.nothing()
		if last := r.node.find("MessageSent").GetMessageSent(); string(last.GetBody()) != "again" {
			t.Errorf("written by a permit that is out of date: %q", last.GetBody())
		}
		r.node.cas(number, &event.Event{Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{Conversation: k[:], Added: []uint32{1}}}})
		r.works(all...)
		takeAll(all...)
		ann.say(6, number, "in")
		r.works(all...)
		one[*immessage.IMMsgDataAck](ann, 6)
		bob.take()
	})
}

// While it is asked whether he is a member he is removed: the answer from before must not
// be kept.
func TestMembershipThatChangesWhileItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		number := r.node.group(temp, "lunch", 2, 1, 2)
		r.works(ann)
		ann.take()
		held := make(chan struct{})
		first := true
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if s := q.GetGroupState(); s.GetUser() == 1 && s.GetAt() == 0 && first {
				first = false
				<-held
				return &query.Answer{Body: &query.Answer_Group{Group: &query.GroupAnswer{Group: &query.Group{Group: number}, Member: true}}}, nil
			}
			return nil, nil
		})
		ann.say(3, number, "x")
		k := event.Group(number)
		r.node.cas(number, &event.Event{Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{Conversation: k[:], Removed: []uint32{1}}}})
		r.settle(ann)
		close(held)
		r.works(ann)
		if slices.Contains(r.node.kinds(), "MessageSent") {
			t.Error("written by an outdated permit")
		}
		if first {
			t.Fatal("never asked")
		}
	})
}

func TestUnknownGroupsHoldUntilTheirTimelineAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann := r.login("ann", windows)
		number := r.node.group(temp, "lunch", 1, 1)
		r.works(ann)
		ann.take()
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetGroupState() != nil {
				return nil, errAway
			}
			return nil, nil
		})
		ann.say(3, number, "x")
		r.sleep(5*time.Second, ann)
		if ann.read || len(r.node.queue) != 0 {
			t.Fatal("sent without a permit")
		}
		r.node.hook(nil)
		r.sleep(time.Second, ann)
		r.works(ann)
		one[*immessage.IMMsgDataAck](ann, 3)
	})
}

func TestRefusedMessagesAreToldToNewClients(t *testing.T) {
	id := func(by time.Duration) []byte {
		u := event.ID{15: 7}
		if err := u.SetTime(uint64(time.Now().Add(by).UnixMilli())); err != nil {
			t.Fatal(err)
		}
		return u.Bytes()
	}
	void := func(v frame.Void) func(r *rig) {
		return func(r *rig) {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Void: v}, ev.GetMessageSent() != nil
			}
		}
	}
	for _, c := range []struct {
		name string
		to   uint32
		kind imbase.MsgType
		data string
		id   func() []byte
		edit func(r *rig)
		want imextension.Refusal
	}{
		{"to oneself", 1, text, "x", nil, nil, imextension.Refusal_REFUSAL_NOT_ALLOWED},
		{"to nobody", 77, text, "x", nil, nil, imextension.Refusal_REFUSAL_NO_SUCH_USER},
		{"to a disabled account", 2, text, "x", nil, func(r *rig) { r.node.people[2].Disabled = true }, imextension.Refusal_REFUSAL_NO_SUCH_USER},
		{"empty", 2, text, "", nil, nil, imextension.Refusal_REFUSAL_MALFORMED},
		{"too large", 2, text, strings.Repeat("x", 390<<10), nil, nil, imextension.Refusal_REFUSAL_LIMIT},
		{"with an old id", 2, text, "x", func() []byte { return id(-25 * time.Hour) }, nil, imextension.Refusal_REFUSAL_MALFORMED},
		{"with an id of nothing", 2, text, "x", func() []byte { return []byte("short") }, nil, imextension.Refusal_REFUSAL_MALFORMED},
		{"to no group", 77, groupText, "x", nil, nil, imextension.Refusal_REFUSAL_NO_SUCH_GROUP},
		{"to group 0", 0, groupText, "x", nil, nil, imextension.Refusal_REFUSAL_NO_SUCH_GROUP},
		{"to others' group", 1, groupText, "x", nil, func(r *rig) { r.node.group(temp, "g", 2, 2) }, imextension.Refusal_REFUSAL_NO_SUCH_GROUP},
		{"blocked", 2, text, "x", func() []byte { return id(0) }, void(frame.Void_VOID_BLOCKED), imextension.Refusal_REFUSAL_BLOCKED},
		{"removed meanwhile", 1, groupText, "x", nil, func(r *rig) {
			r.node.group(temp, "g", 1, 1)
			void(frame.Void_VOID_NOT_PARTY)(r)
		}, imextension.Refusal_REFUSAL_NO_SUCH_GROUP},
		{"of unknown fate", 2, text, "x", nil, func(r *rig) {
			r.node.result = func(ev *event.Event) (delivery.Result, bool) {
				return delivery.Result{Err: delivery.ErrUnavailable}, ev.GetMessageSent() != nil
			}
		}, imextension.Refusal_REFUSAL_UNKNOWN},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				if c.edit != nil {
					c.edit(r)
				}
				ann, old := r.loginNew("ann", windows), r.login("ann", android)
				r.works(ann, old)
				takeAll(ann, old)
				m := msg(c.to, c.kind, c.data)
				if c.id != nil {
					m.ClientMessageId = c.id()
				}
				for _, w := range []*wire{ann, old} {
					w.send(w.pack(client.CmdMsgData, 4, m))
					r.works(ann, old)
				}
				old.nothing() // runs into its own timeout
				got := one[*imextension.SendRefused](ann, 4)
				kind := single
				if c.kind == groupText {
					kind = group
				}
				if got.GetRefusal() != c.want || got.GetSessionId() != c.to || got.GetSessionType() != kind || string(got.GetClientMessageId()) != string(m.GetClientMessageId()) {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestClientMessageIDIsEchoed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ann, bob := r.login("ann", windows), r.login("bob", windows)
		r.step(ann, bob)
		takeAll(ann, bob)
		id := r.srv.newID()
		m := msg(2, text, "hello")
		m.ClientMessageId = id.Bytes()
		at := uint32(time.Now().Unix())
		ann.send(ann.pack(client.CmdMsgData, 4, m))
		r.works(ann, bob)
		ack := one[*immessage.IMMsgDataAck](ann, 4)
		if string(ack.GetClientMessageId()) != string(id.Bytes()) || ack.GetCreateTime() != at || ack.GetMsgId() != 1 {
			t.Errorf("ack %v", ack)
		}
		if got := one[*immessage.IMMsgData](bob, 0); string(got.GetClientMessageId()) != string(id.Bytes()) {
			t.Errorf("copy %v", got)
		}
		// Sent again, minutes later and with another seq_num, it is the same message.
		time.Sleep(time.Hour)
		phone := r.login("ann", android, ann, bob)
		phone.take()
		phone.send(phone.pack(client.CmdMsgData, 9, m))
		r.works(ann, bob, phone)
		again := one[*immessage.IMMsgDataAck](phone, 9)
		if again.GetMsgId() != 1 || string(again.GetClientMessageId()) != string(id.Bytes()) || again.CreateTime != nil {
			t.Errorf("ack %v", again)
		}
		if all := bob.take(); slices.ContainsFunc(all, func(g got) bool { return g.Command == client.CmdMsgData }) {
			t.Errorf("delivered again: %v", all)
		}
	})
}

// notices to and from a session that is given deliveries by hand.

func (r *rig) bare(user uint32) *wire {
	w := &wire{r: r}
	w.s = r.srv.admit(w, testAddr)
	w.s.user, w.s.id, w.s.state, w.s.class, w.s.attached = user, r.srv.newID(), open, uint8(event.DeviceClass_DEVICE_CLASS_DESKTOP), true
	return w
}

func (n *fakeNode) deliver(d *delivery.Delivery, ws ...*wire) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range ws {
		w.s.Deliver(d)
		w.s.Flush()
	}
}

func membersDelivery(number uint32, sequence uint64, members uint32) *delivery.Delivery {
	k := event.Group(number)
	return &delivery.Delivery{Stream: k.Stream(testPartitions), Sequence: sequence, Delivery: &frame.Delivery{Sequence: sequence,
		Body: &frame.Delivery_GroupChange{GroupChange: &frame.GroupChange{Conversation: k[:], Kind: frame.GroupChange_KIND_ADDED, Members: members, User: 9}}}}
}

func groupDelivery(number uint32, sequence uint64, id uint32, body string) *delivery.Delivery {
	k := event.Group(number)
	return &delivery.Delivery{Stream: k.Stream(testPartitions), Sequence: sequence, Delivery: &frame.Delivery{Sequence: sequence,
		Body: &frame.Delivery_Message{Message: &frame.Message{Conversation: k[:], Id: id, From: 9, Created: 1, Type: uint32(groupText), Body: []byte(body)}}}}
}

// slowGroups answers what a group was like once it is let go, with so many members.
func (r *rig) slowGroups(members int) (letGo func()) {
	held := make(chan struct{})
	r.node.hook(func(q *query.Request) (*query.Answer, error) {
		s := q.GetGroupState()
		if s.GetAt() == 0 {
			return nil, nil
		}
		<-held
		a := &query.GroupAnswer{Group: &query.Group{Group: 1, Version: 2}, Added: []uint32{7}}
		for i := range members {
			a.Members = append(a.Members, uint32(1_000_000+i))
		}
		return &query.Answer{Body: &query.Answer_Group{Group: a}}, nil
	})
	return sync.OnceFunc(func() { close(held) })
}

func TestPushesWaitBehindANoticeThatIsBeingMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		letGo := r.slowGroups(3)
		defer letGo()
		w := r.bare(1)
		r.node.deliver(groupDelivery(1, 5, 1, "before"), w)
		r.node.deliver(membersDelivery(1, 6, 3), w)
		r.node.deliver(groupDelivery(1, 7, 2, "after"), w)
		r.node.deliver(groupDelivery(1, 8, 3, strings.Repeat("large", lendFrom)), w)
		r.node.deliver(groupDelivery(1, 9, 4, "last"), w)
		r.settle(w)
		if got := one[*immessage.IMMsgData](w, 0); string(got.GetMsgData()) != "before" {
			t.Errorf("got %v", got)
		}
		// What is no push goes on.
		w.send(header(client.CmdHeartBeat, 5, nil))
		if all := w.take(); len(all) != 1 || all[0].Command != client.CmdHeartBeat {
			t.Errorf("got %v", all)
		}
		letGo()
		r.settle(w)
		all := w.take()
		if len(all) != 4 || all[0].Command != client.CmdGroupChangeMemberNotify || all[1].m.(*immessage.IMMsgData).GetMsgId() != 2 ||
			all[2].m.(*immessage.IMMsgData).GetMsgId() != 3 || all[3].m.(*immessage.IMMsgData).GetMsgId() != 4 {
			t.Errorf("got %v", all)
		}
		if w.s.box != nil || w.s.backlog() != 0 {
			t.Errorf("%d bytes are still counted", w.s.backlog())
		}
	})
}

// An answer about timelines stands between the pushes before and after it, shared ones too.
func TestAnswersAndSharedPushesKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		letGo := r.slowGroups(3)
		defer letGo()
		w := r.bare(1)
		stream := event.Group(1).Stream(testPartitions)
		answer := make(chan struct{})
		inner := r.node.onAsk
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetHead() == nil {
				return inner(q)
			}
			<-answer
			return &query.Answer{At: []*query.AtLeast{{Stream: uint32(stream), Sequence: 7}}, Body: &query.Answer_Head{Head: &query.HeadAnswer{Head: 2}}}, nil
		})
		w.send(w.pack(client.CmdGetLatestMsgIdReq, 4, &immessage.IMGetLatestMsgIdReq{UserId: new(uint32(1)), SessionType: new(group), SessionId: new(uint32(1))}))
		r.node.deliver(membersDelivery(1, 6, 3), w)
		r.node.deliver(groupDelivery(1, 7, 2, "in the answer"), w)
		r.node.deliver(membersDelivery(1, 8, 3), w)
		r.node.deliver(groupDelivery(1, 9, 3, "not in it"), w)
		close(answer)
		r.settle(w)
		w.nothing() // all waits for the first notice
		letGo()
		r.settle(w)
		var got []string
		for _, g := range w.take() {
			got = append(got, client.Name(g.Command)[len("CID_"):])
		}
		want := []string{"GROUP_CHANGE_MEMBER_NOTIFY", "MSG_DATA", "MSG_GET_LATEST_MSG_ID_RSP", "GROUP_CHANGE_MEMBER_NOTIFY", "MSG_DATA"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// However many sessions get a notice, its lists are asked for once and its bytes are there
// once, also while nobody reads them.
func TestNoticeIsMadeOnceAndSharedByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		letGo := r.slowGroups(10_000)
		letGo()
		var ws []*wire
		for i := range uint32(500) {
			w := r.bare(i + 1)
			w.deaf = true
			ws = append(ws, w)
		}
		asked := r.node.asked.Load()
		r.node.deliver(membersDelivery(1, 6, 10_000), ws...)
		r.node.deliver(groupDelivery(1, 7, 2, strings.Repeat("x", 100<<10)), ws...)
		r.settle(ws...)
		if n := r.node.asked.Load() - asked; n != 1 {
			t.Errorf("asked %d times", n)
		}
		for _, w := range ws {
			w.s.mu.Lock()
			own := 0
			if w.s.out != nil {
				own += cap(w.s.out.b)
			}
			for _, it := range w.s.box.items {
				if it.own != nil {
					own += cap(it.own.b)
				}
			}
			first := &ws[0].s.sending.b[0]
			if own != 0 || w.s.sending == nil || &w.s.sending.b[0] != first || w.s.backlog() < 139<<10 {
				t.Fatalf("%d bytes of its own, %d wait", own, w.s.backlog())
			}
			w.s.mu.Unlock()
		}
		for _, w := range ws[:2] { // they begin to read
			w.deaf = false
			w.got = append(w.got, w.s.sending.b...)
			w.s.Sent(w.s.sending.b)
			w.pump()
			all := w.take()
			if len(all) != 2 || len(all[0].m.(*imgroup.IMGroupChangeMemberNotify).GetCurUserIdList()) != 10_000 || len(all[1].m.(*immessage.IMMsgData).GetMsgData()) != 100<<10 {
				t.Errorf("got %d PDUs", len(all))
			}
		}
	})
}

func TestSharedPushesCountAgainstWhoDoesNotReadThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		letGo := r.slowGroups(10_000) // 50 KB each
		defer letGo()
		w := r.bare(1)
		w.deaf = true
		for i := range uint64(12) {
			r.node.deliver(membersDelivery(1, 6+i, 10_000), w)
		}
		r.settle(w)
		if w.over {
			t.Fatal("closed below the limit")
		}
		for i := range uint64(12) {
			r.node.deliver(membersDelivery(1, 20+i, 10_000), w)
		}
		r.settle(w)
		if !w.over || w.s.reason != event.EndReason_END_REASON_SLOW {
			t.Errorf("closed %v, %v", w.over, w.s.reason)
		}
	})
}

// A notice that turns out to be larger than it was guessed to be counts with what it is.
func TestNoticeIsCountedAsLargeAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		letGo := r.slowGroups(10_000)
		defer letGo()
		w := r.bare(1)
		w.deaf = true
		for i := range uint64(30) {
			r.node.deliver(membersDelivery(1, 6+i, 1), w)
		}
		r.settle(w)
		if w.over {
			t.Fatal("closed for what it is guessed to be")
		}
		letGo()
		r.settle(w)
		if !w.over {
			t.Error("not closed")
		}
	})
}

func TestNoticeThatCannotBeMadeClosesWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			if q.GetGroupState().GetAt() != 0 {
				return nil, errAway
			}
			return nil, nil
		})
		waits, other := r.bare(1), r.bare(2)
		r.node.deliver(membersDelivery(1, 6, 3), waits)
		r.settle(waits, other)
		if !waits.over || waits.s.reason != event.EndReason_END_REASON_CLOSED || other.over {
			t.Errorf("closed %v for %v, the other %v", waits.over, waits.s.reason, other.over)
		}
	})
}

func TestLargeNoticesComeInParts(t *testing.T) {
	all := make([]uint32, commands.MaxGroupLimit)
	for i := range all {
		all[i] = uint32(1<<31 + i)
	}
	b, err := appendMemberNotices(nil, 5, &frame.GroupChange{Kind: frame.GroupChange_KIND_ADDED}, &query.GroupAnswer{Members: all, Added: all})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{r: &rig{t: t}, got: b}
	var changed []uint32
	parts := w.take()
	for _, g := range parts {
		m := g.m.(*imgroup.IMGroupChangeMemberNotify)
		if len(m.GetCurUserIdList()) != len(all) {
			t.Errorf("%d members", len(m.GetCurUserIdList()))
		}
		changed = append(changed, m.GetChgUserIdList()...)
	}
	if len(parts) < 2 || !slices.Equal(changed, all) {
		t.Errorf("%d parts with %d users", len(parts), len(changed))
	}
}

func TestGroupMessageIsEncodedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		d := groupDelivery(1, 6, 1, "hello")
		a, b := r.bare(1), r.bare(2)
		r.node.deliver(d, a)
		if d.PDU == nil {
			t.Fatal("not kept")
		}
		d.GetMessage().Body = []byte("other") // nobody looks at it again
		r.node.deliver(d, b)
		r.settle(a, b)
		for _, w := range []*wire{a, b} {
			if m := one[*immessage.IMMsgData](w, 0); string(m.GetMsgData()) != "hello" {
				t.Errorf("got %v", m)
			}
		}
	})
}

func TestRecalledMessagesAreShownAsText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.RecalledText = "gone" })
		w := r.bare(1)
		k := event.Group(1)
		voice := uint32(imbase.MsgType_MSG_TYPE_GROUP_AUDIO)
		d := groupDelivery(1, 6, 1, "")
		d.GetMessage().Type, d.GetMessage().Recalled = voice, true
		r.node.deliver(d, w)
		r.settle(w)
		if m := one[*immessage.IMMsgData](w, 0); plain(t, m.GetMsgData()) != "gone" || m.GetMsgType() != groupText || !m.GetRecalled() {
			t.Errorf("push %v", m)
		}
		list := []*query.Message{{Id: 3, From: 2, Type: voice, Recalled: true}, {Id: 2, From: 2, Type: voice, Missing: true}, {Id: 1, From: 2, Type: 17, Body: []byte("x"), Edits: 2}}
		r.node.hook(func(q *query.Request) (*query.Answer, error) {
			switch q.GetBody().(type) {
			case *query.Request_History:
				return &query.Answer{Body: &query.Answer_Messages{Messages: &query.MessagesAnswer{Messages: list}}}, nil
			case *query.Request_Lists:
				return &query.Answer{Body: &query.Answer_Lists{Lists: &query.ListsAnswer{Entries: []*query.ListEntry{
					{Conversation: k[:], Head: 3, Updated: 5, Latest: list[0]}}}}}, nil
			}
			return nil, nil
		})
		w.send(w.pack(client.CmdGetMsgListReq, 2, &immessage.IMGetMsgListReq{UserId: new(uint32(1)), SessionType: new(group), SessionId: new(uint32(1)),
			MsgIdBegin: new(uint32(0)), MsgCnt: new(uint32(9))}))
		r.settle(w)
		got := one[*immessage.IMGetMsgListRsp](w, 2).GetMsgList()
		if len(got) != 3 || plain(t, got[0].GetMsgData()) != "gone" || got[0].GetMsgType() != groupText || !got[0].GetRecalled() ||
			plain(t, got[1].GetMsgData()) != "[missing at import]" || got[1].GetMsgType() != groupText || got[1].Recalled != nil ||
			string(got[2].GetMsgData()) != "x" || got[2].GetEdits() != 2 {
			t.Errorf("history %v", got)
		}
		w.send(w.pack(client.CmdUnreadMsgCntReq, 3, &immessage.IMUnreadMsgCntReq{UserId: new(uint32(1))}))
		r.settle(w)
		unread := one[*immessage.IMUnreadMsgCntRsp](w, 3).GetUnreadinfoList()
		if len(unread) != 1 || plain(t, unread[0].GetLatestMsgData()) != "gone" || unread[0].GetLatestMsgType() != groupText || unread[0].GetSessionType() != group ||
			unread[0].GetLatestMsgFromUserId() != 2 || unread[0].GetUnreadCnt() != 3 {
			t.Errorf("unread %v", unread)
		}
	})
}

func plain(t *testing.T, data []byte) string {
	t.Helper()
	text, err := content.DecryptText(data)
	if err != nil {
		t.Errorf("%q: %v", data, err)
	}
	return text
}

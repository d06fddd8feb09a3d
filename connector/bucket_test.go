package connector

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imgroup "godwit/schema/client/group"
)

// Each member of a group is rows in a view and a line in a record: one client must not make
// hundreds of thousands of them in a second with the few requests that hold so many.
func TestMembersOfGroupsCountAgainstTheRate(t *testing.T) {
	members := make([]uint32, 10_000)
	for i := range members {
		members[i] = uint32(i) + 1
	}
	create := &imgroup.IMGroupCreateReq{UserId: new(uint32(0)), GroupType: new(imbase.GroupType_GROUP_TYPE_TMP),
		GroupName: new("g"), GroupAvatar: new(""), MemberIdList: members}
	change := &imgroup.IMGroupChangeMemberReq{UserId: new(uint32(0)), ChangeType: new(imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD),
		GroupId: new(uint32(1)), MemberIdList: members}
	for command, m := range map[uint16]proto.Message{client.CmdGroupCreateReq: create, client.CmdGroupChangeMemberReq: change} {
		limits := Limits{}
		limits.defaults()
		r, length := newRate(limits.Rate, limits.Burst), proto.Size(m)
		var b bucket
		passed := 0
		const seconds = 10
		for now := time.Duration(0); now < seconds*time.Second; now += time.Millisecond {
			for b.take(r, now, cost(command, length)) == 0 {
				passed++
			}
		}
		// The burst is two at once, and then one a second.
		if passed < seconds || passed > seconds+4 {
			t.Errorf("%s: %d of 10,000 members in %d seconds", client.Name(command), passed, seconds)
		}
	}
	// A new group is one more conversation of everybody in it, for ever, whether he wants it or not.
	limits := Limits{}
	limits.defaults()
	r, made := newRate(limits.Rate, limits.Burst), 0
	var b bucket
	for now := time.Duration(0); now < time.Minute; now += time.Millisecond {
		for b.take(r, now, cost(client.CmdGroupCreateReq, 40)) == 0 {
			made++
		}
	}
	if made < 10*60 || made > 10*60+25 {
		t.Errorf("%d groups in a minute", made)
	}
	if few, one := cost(client.CmdGroupChangeMemberReq, 40), cost(client.CmdMsgData, 40); few != one {
		t.Errorf("a member costs %d, a message %d", few, one)
	}
}

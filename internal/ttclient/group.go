package ttclient

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imextension "godwit/schema/client/extension"
	imgroup "godwit/schema/client/group"
)

// ErrRefused is a request that the protocol answers with no more than that it was refused.
var ErrRefused = errors.New("refused by the server")

// CreateGroup makes a temporary group of the members and the user.
func (c *Client) CreateGroup(ctx context.Context, name string, members ...uint32) (id uint32, err error) {
	a, err := ask[*imgroup.IMGroupCreateRsp](ctx, c, client.CmdGroupCreateReq, &imgroup.IMGroupCreateReq{
		UserId: new(c.ID()), GroupType: imbase.GroupType_GROUP_TYPE_TMP.Enum(), GroupName: &name, GroupAvatar: new(""),
		MemberIdList: append([]uint32{c.ID()}, members...),
	})
	switch {
	case err != nil:
		return 0, err
	case a.GetResultCode() != 0 || a.GetGroupId() == 0:
		return 0, ErrRefused
	}
	return a.GetGroupId(), nil
}

// AddMembers and RemoveMembers give the members after the change, as far as it was one.
// Whoever removes himself leaves.
func (c *Client) AddMembers(ctx context.Context, group uint32, users ...uint32) ([]uint32, error) {
	return c.changeMembers(ctx, imbase.GroupModifyType_GROUP_MODIFY_TYPE_ADD, group, users)
}

// RemoveMembers is AddMembers the other way.
func (c *Client) RemoveMembers(ctx context.Context, group uint32, users ...uint32) ([]uint32, error) {
	return c.changeMembers(ctx, imbase.GroupModifyType_GROUP_MODIFY_TYPE_DEL, group, users)
}

func (c *Client) changeMembers(ctx context.Context, change imbase.GroupModifyType, group uint32, users []uint32) ([]uint32, error) {
	a, err := ask[*imgroup.IMGroupChangeMemberRsp](ctx, c, client.CmdGroupChangeMemberReq, &imgroup.IMGroupChangeMemberReq{
		UserId: new(c.ID()), ChangeType: &change, GroupId: &group, MemberIdList: users,
	})
	if err == nil && a.GetResultCode() != 0 {
		err = ErrRefused
	}
	return a.GetCurUserIdList(), err
}

// Groups are those of the given ids that the user is a member of.
func (c *Client) Groups(ctx context.Context, ids ...uint32) ([]*imbase.GroupInfo, error) {
	req := &imgroup.IMGroupInfoListReq{UserId: new(c.ID())}
	for _, id := range ids {
		req.GroupVersionList = append(req.GroupVersionList, &imbase.GroupVersionInfo{GroupId: &id, Version: new(uint32(0))})
	}
	a, err := ask[*imgroup.IMGroupInfoListRsp](ctx, c, client.CmdGroupInfoListReq, req)
	return a.GetGroupInfoList(), err
}

// FixedGroups are the normal groups of the user, with their versions.
func (c *Client) FixedGroups(ctx context.Context) ([]*imbase.GroupVersionInfo, error) {
	a, err := ask[*imgroup.IMNormalGroupListRsp](ctx, c, client.CmdNormalGroupListReq, &imgroup.IMNormalGroupListReq{UserId: new(c.ID())})
	return a.GetGroupVersionList(), err
}

// UpdateGroup changes what the administrator may: what is nil stays.
func (c *Client) UpdateGroup(ctx context.Context, m *imextension.GroupUpdateReq) error {
	a, err := ask[*imextension.GroupUpdateRsp](ctx, c, client.CmdGroupUpdateReq, m)
	if err != nil {
		return err
	}
	return refusal(a.GetRefusal())
}

// Friends are the user's friends and open requests, and whom he blocks.
func (c *Client) Friends(ctx context.Context) (friends []*imextension.Friend, blocked []uint32, err error) {
	all, err := c.call(ctx, client.CmdFriendListReq, c.o.Sequence.Next(), &imextension.FriendListReq{}, func(m proto.Message) bool {
		r, ok := m.(*imextension.FriendListRsp)
		return !ok || !r.GetMore()
	})
	for _, m := range all {
		if r, ok := m.(*imextension.FriendListRsp); ok {
			friends, blocked = append(friends, r.GetFriends()...), append(blocked, r.GetBlocked()...)
		}
	}
	return friends, blocked, err
}

// Befriend does something between the user and another; text is that of a request or the
// remark.
func (c *Client) Befriend(ctx context.Context, user uint32, action imextension.FriendAction, text string) error {
	req := &imextension.FriendReq{UserId: &user, Action: &action}
	if text != "" {
		req.Text = &text
	}
	a, err := ask[*imextension.FriendRsp](ctx, c, client.CmdFriendReq, req)
	if err != nil {
		return err
	}
	return refusal(a.GetRefusal())
}

package chat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/ttclient"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
)

// listGroups names the user's groups.
func (c *chat) listGroups(ctx context.Context, client *ttclient.Client, _ string) error {
	recent, err := client.Recent(ctx, 0)
	if err != nil {
		return err
	}
	if err := c.learnGroups(ctx, client, recent); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.SortedFunc(maps.Values(c.groups), func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	for _, g := range all {
		c.ui.group(*g, c.placeLocked(ttclient.Conversation{ID: g.id, Group: true}))
	}
	c.ui.end("groups", nil, uint32(len(all)))
	return nil
}

// people are the numbers of those whom a command names.
func (c *chat) peopleOf(ctx context.Context, client *ttclient.Client, names []string) ([]uint32, error) {
	var ids []uint32
	for _, name := range names {
		p, err := c.find(ctx, client, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, p.id)
	}
	return ids, nil
}

func (c *chat) makeGroup(ctx context.Context, client *ttclient.Client, rest string) error {
	words := strings.Fields(rest)
	if len(words) < 2 {
		return errors.New("write: group NAME PERSON and further ones")
	}
	members, err := c.peopleOf(ctx, client, words[1:])
	if err != nil {
		return err
	}
	id, err := client.CreateGroup(ctx, words[0], members...)
	if err != nil {
		return fmt.Errorf("make the group: %w", err)
	}
	if err := c.askGroups(ctx, client, id); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[id]; g != nil {
		c.ui.group(*g, c.placeLocked(ttclient.Conversation{ID: id, Group: true}))
	}
	return nil
}

// groupOf is the group that a command's first word names.
func (c *chat) groupOf(ctx context.Context, client *ttclient.Client, name string) (place, error) {
	if !strings.HasPrefix(name, "#") {
		return place{}, fmt.Errorf("%q is no group: a group is # and its number, such as #12", name)
	}
	return c.findPlace(ctx, client, name)
}

func (c *chat) listMembers(ctx context.Context, client *ttclient.Client, rest string) error {
	p, err := c.groupOf(ctx, client, rest)
	if err != nil {
		return err
	}
	if err := c.askGroups(ctx, client, p.at.ID); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[p.at.ID]
	if g == nil {
		return fmt.Errorf("you are no member of %s", p.name)
	}
	for _, name := range c.namesLocked(g.members) {
		c.ui.member(p, name)
	}
	c.ui.end("members", &p, uint32(len(g.members)))
	return nil
}

func (c *chat) addMembers(ctx context.Context, client *ttclient.Client, rest string) error {
	return c.changeMembers(ctx, client, "add", rest, client.AddMembers)
}

func (c *chat) removeMembers(ctx context.Context, client *ttclient.Client, rest string) error {
	return c.changeMembers(ctx, client, "remove", rest, client.RemoveMembers)
}

func (c *chat) changeMembers(ctx context.Context, client *ttclient.Client, verb, rest string,
	change func(context.Context, uint32, ...uint32) ([]uint32, error)) error {
	words := strings.Fields(rest)
	if len(words) < 2 {
		return fmt.Errorf("write: %s #NUMBER PERSON and further ones", verb)
	}
	p, err := c.groupOf(ctx, client, words[0])
	if err != nil {
		return err
	}
	users, err := c.peopleOf(ctx, client, words[1:])
	if err != nil {
		return err
	}
	members, err := change(ctx, p.at.ID, users...)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[p.at.ID]; g != nil {
		g.members = members
	}
	c.ui.members(p, c.self.name, verb == "add", c.namesLocked(users))
	return nil
}

func (c *chat) leaveGroup(ctx context.Context, client *ttclient.Client, rest string) error {
	p, err := c.groupOf(ctx, client, rest)
	if err != nil {
		return err
	}
	if _, err := client.RemoveMembers(ctx, p.at.ID, client.ID()); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.groups, p.at.ID)
	c.ui.members(p, c.self.name, false, []string{c.self.name})
	return nil
}

func (c *chat) renameGroup(ctx context.Context, client *ttclient.Client, rest string) error {
	number, name, _ := strings.Cut(rest, " ")
	if name = strings.TrimSpace(name); name == "" {
		return errors.New("write: rename #NUMBER NAME")
	}
	p, err := c.groupOf(ctx, client, number)
	if err != nil {
		return err
	}
	if err := client.UpdateGroup(ctx, &imextension.GroupUpdateReq{GroupId: &p.at.ID, GroupName: &name}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.groups[p.at.ID]; g != nil {
		g.name = name
	}
	c.ui.done("renamed", p.name)
	return nil
}

// messageOf is the message that PEER ID names.
func (c *chat) messageOf(ctx context.Context, client *ttclient.Client, usage string, words []string) (place, uint32, error) {
	if len(words) < 2 {
		return place{}, 0, errors.New(usage)
	}
	id, err := strconv.ParseUint(words[1], 10, 32)
	if err != nil || id == 0 {
		return place{}, 0, errors.New(usage)
	}
	p, err := c.findPlace(ctx, client, words[0])
	return p, uint32(id), err
}

func (c *chat) recall(ctx context.Context, client *ttclient.Client, rest string) error {
	p, id, err := c.messageOf(ctx, client, "write: recall NAME ID", strings.Fields(rest))
	if err != nil {
		return err
	}
	if err := client.Recall(ctx, p.at, id); err != nil {
		return err
	}
	return c.showChanged(ctx, client, p, id)
}

func (c *chat) edit(ctx context.Context, client *ttclient.Client, rest string) error {
	const usage = "write: edit NAME ID TEXT"
	words := strings.SplitN(rest, " ", 3)
	p, id, err := c.messageOf(ctx, client, usage, words)
	if err != nil {
		return err
	}
	if len(words) < 3 || strings.TrimSpace(words[2]) == "" {
		return errors.New(usage)
	}
	if err := client.Edit(ctx, p.at, id, content.EncryptText(strings.TrimSpace(words[2]))); err != nil {
		return err
	}
	return c.showChanged(ctx, client, p, id)
}

func (c *chat) showChanged(ctx context.Context, client *ttclient.Client, p place, id uint32) error {
	now, err := client.MessagesByID(ctx, p.at, id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range now {
		c.ui.changed(c.messageLocked(p.at, m))
	}
	return nil
}

func (c *chat) askReceipts(ctx context.Context, client *ttclient.Client, rest string) error {
	p, id, err := c.messageOf(ctx, client, "write: receipts NAME ID", strings.Fields(rest))
	if err != nil {
		return err
	}
	read, delivered, err := client.Receipts(ctx, p.at, id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ui.receipts(p, id, c.namesLocked(read), c.namesLocked(delivered))
	return nil
}

var friendActions = map[string]imextension.FriendAction{
	"friend":   imextension.FriendAction_FRIEND_ACTION_REQUEST,
	"accept":   imextension.FriendAction_FRIEND_ACTION_ACCEPT,
	"refuse":   imextension.FriendAction_FRIEND_ACTION_REFUSE,
	"withdraw": imextension.FriendAction_FRIEND_ACTION_WITHDRAW,
	"unfriend": imextension.FriendAction_FRIEND_ACTION_REMOVE,
	"remark":   imextension.FriendAction_FRIEND_ACTION_REMARK,
	"block":    imextension.FriendAction_FRIEND_ACTION_BLOCK,
	"unblock":  imextension.FriendAction_FRIEND_ACTION_UNBLOCK,
}

// befriend changes something between the user and another. Of a text only requests and
// remarks make use.
func (c *chat) befriend(ctx context.Context, client *ttclient.Client, verb string, action imextension.FriendAction, rest string) error {
	name, text, _ := strings.Cut(rest, " ")
	if name == "" {
		return fmt.Errorf("write: %s NAME", verb)
	}
	p, err := c.find(ctx, client, name)
	if err != nil {
		return err
	}
	if err := client.Befriend(ctx, p.id, action, strings.TrimSpace(text)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ui.done(verb, p.name)
	return nil
}

func (c *chat) friends(ctx context.Context, client *ttclient.Client, _ string) error {
	all, blocked, err := client.Friends(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range all {
		word, text := "friend", f.GetRemark()
		switch f.GetState() {
		case imextension.FriendState_FRIEND_STATE_INCOMING:
			word, text = "request", f.GetText()
		case imextension.FriendState_FRIEND_STATE_OUTGOING:
			word, text = "asked", f.GetText()
		}
		c.ui.friend(word, c.personLocked(f.GetUserId()).name, text)
	}
	for _, name := range c.namesLocked(blocked) {
		c.ui.friend("blocked", name, "")
	}
	c.ui.end("friends", nil, uint32(len(all)))
	return nil
}

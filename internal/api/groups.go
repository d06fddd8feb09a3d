package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"godwit/bus"
	"godwit/commands"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// The words for types of groups.
const (
	normalGroup    = "normal"
	temporaryGroup = "temporary"
)

var groupTypes = map[string]event.GroupType{
	normalGroup: event.GroupType_GROUP_TYPE_NORMAL, temporaryGroup: event.GroupType_GROUP_TYPE_TEMPORARY,
}

// Group is a group without its members.
type Group struct {
	Number        uint32    `json:"number" minimum:"1"`
	Type          string    `json:"type" enum:"normal,temporary" doc:"normal: members are changed by its administrator and this API; temporary: any member adds others"`
	Name          string    `json:"name"`
	AvatarURL     string    `json:"avatar_url"`
	Creator       uint32    `json:"creator" doc:"0: nobody"`
	Administrator uint32    `json:"administrator" doc:"0: nobody"`
	Version       uint32    `json:"version" doc:"1 at first, one more per change"`
	Members       uint32    `json:"members" doc:"How many there are"`
	Dissolved     bool      `json:"dissolved" doc:"All members have left, for good"`
	Created       time.Time `json:"created"`
	Updated       uint32    `json:"updated" doc:"Fold time of the last change, Unix seconds"`
}

func groupOf(g *query.Group) Group {
	out := Group{
		Number: g.GetGroup(), Type: normalGroup, Name: g.GetName(), AvatarURL: g.GetAvatarUrl(), Creator: g.GetCreator(),
		Administrator: g.GetAdministrator(), Version: g.GetVersion(), Members: g.GetMembers(), Dissolved: g.GetDissolved(),
		Created: time.UnixMilli(g.GetCreated()).UTC(), Updated: g.GetUpdated(),
	}
	if g.GetType() == event.GroupType_GROUP_TYPE_TEMPORARY {
		out.Type = temporaryGroup
	}
	return out
}

// OfGroup is the path of whatever belongs to one group.
type OfGroup struct {
	Group uint32 `path:"group" minimum:"1" maximum:"4294967295" doc:"Number of the group"`
}

// OfMember is the path of one member.
type OfMember struct {
	OfGroup
	OfUser
}

type groupOut struct{ Body Group }

type groupPage struct {
	Body struct {
		Groups []Group `json:"groups" nullable:"false"`
		Next   string  `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}

func (a *API) groups() {
	const tag = "Groups"
	register(a, route{id: "list-groups", method: http.MethodGet, path: "/groups", scope: GroupsRead, tag: tag,
		summary:     "List all groups by number, dissolved ones as well",
		description: "With search only those in whose name that stands, whatever the case, and the one of that number; a page may hold fewer than limit, or none, and have a next all the same."},
		func(ctx context.Context, in *struct {
			Paged
			Search string `query:"search" maxLength:"128" doc:"Part of a name"`
		}) (*groupPage, error) {
			return a.listGroups(ctx, 0, in.Paged, in.Search)
		})
	register(a, route{id: "list-groups-of-user", method: http.MethodGet, path: "/users/{user}/groups", scope: GroupsRead, tag: tag,
		summary: "List the groups that a user is a member of, by number"}, func(ctx context.Context, in *struct {
		OfUser
		Paged
	}) (*groupPage, error) {
		if _, _, err := a.person(ctx, in.User); err != nil {
			return nil, err
		}
		return a.listGroups(ctx, in.User, in.Paged, "")
	})
	register(a, route{id: "create-group", method: http.MethodPost, path: "/groups", scope: GroupsWrite, tag: tag, status: http.StatusCreated,
		summary: "Make a group", description: "The creator becomes a member and the administrator. Without one nobody is."}, a.createGroup)
	register(a, route{id: "get-group", method: http.MethodGet, path: "/groups/{group}", scope: GroupsRead, tag: tag,
		summary: "Get a group"}, a.getGroup)
	register(a, route{id: "change-group", method: http.MethodPatch, path: "/groups/{group}", scope: GroupsWrite, tag: tag,
		summary: "Rename a group, change its avatar or its administrator"}, a.changeGroup)
	register(a, route{id: "dissolve-group", method: http.MethodDelete, path: "/groups/{group}", scope: GroupsWrite, tag: tag,
		summary: "Dissolve a group for good; all members leave"}, a.dissolveGroup)
	register(a, route{id: "list-members", method: http.MethodGet, path: "/groups/{group}/members", scope: GroupsRead, tag: tag,
		summary: "List the members of a group by number"}, a.listMembers)
	register(a, route{id: "change-members", method: http.MethodPost, path: "/groups/{group}/members", scope: GroupsWrite, tag: tag,
		summary:     "Add and remove members in one change",
		description: "Who is a member already, or is none, stays so."}, a.changeMembers)
	register(a, route{id: "add-member", method: http.MethodPut, path: "/groups/{group}/members/{user}", scope: GroupsWrite, tag: tag,
		summary: "Add a member"}, func(ctx context.Context, in *OfMember) (*groupOut, error) {
		return a.alterMembers(ctx, in.Group, []uint32{in.User}, nil)
	})
	register(a, route{id: "remove-member", method: http.MethodDelete, path: "/groups/{group}/members/{user}", scope: GroupsWrite, tag: tag,
		summary: "Remove a member"}, func(ctx context.Context, in *OfMember) (*groupOut, error) {
		return a.alterMembers(ctx, in.Group, nil, []uint32{in.User})
	})
	register(a, route{id: "get-member", method: http.MethodGet, path: "/groups/{group}/members/{user}", scope: GroupsRead, tag: tag,
		summary: "Get a member"}, a.getMember)
	register(a, route{id: "mute-group", method: http.MethodPut, path: "/groups/{group}/members/{user}/muted", scope: GroupsWrite, tag: tag,
		summary: "Turn the pushes of a group off or on for a member", description: "He goes on to get its messages while he is online, and to count them as unread."}, a.muteGroup)
}

// Member is one of a group.
type Member struct {
	User  uint32 `json:"user"`
	Muted bool   `json:"muted" doc:"He wants no pushes of the group"`
}

type memberOut struct{ Body Member }

// member is what a group knows of a user who is a member of it; else it is a *Problem or a refusal.
func (a *API) member(ctx context.Context, of OfMember) (*memberOut, error) {
	s, err := a.groupState(ctx, of.Group, of.User, false, nil)
	switch {
	case err != nil:
		return nil, err
	case s.GetGroup() == nil || s.GetGroup().GetDissolved():
		return nil, noSuchGroup(of.Group)
	case !s.GetMember():
		return nil, commands.ErrNotMember
	}
	return &memberOut{Body: Member{User: of.User, Muted: s.GetShielded()}}, nil
}

func (a *API) getMember(ctx context.Context, in *OfMember) (*memberOut, error) {
	return a.member(ctx, *in)
}

func (a *API) muteGroup(ctx context.Context, in *struct {
	OfMember
	Body struct {
		On bool `json:"on"`
	}
}) (*memberOut, error) {
	if m, err := a.member(ctx, in.OfMember); err != nil || m.Body.Muted == in.Body.On {
		return m, err
	}
	ev, err := commands.ShieldGroup{At: a.now(), From: commands.Session{User: in.User}, Group: in.Group, Shielded: in.Body.On, By: callOf(ctx).name}.Decide()
	if err != nil {
		return nil, err
	}
	if _, err := a.append(ctx, event.Group(in.Group).Stream(a.cfg.Partitions), ev); err != nil {
		return nil, err
	}
	return a.member(ctx, in.OfMember)
}

func (a *API) listGroups(ctx context.Context, user uint32, in Paged, search string) (*groupPage, error) {
	kind := fmt.Sprint("groups ", user)
	after, err := in.number(kind)
	if err != nil {
		return nil, err
	}
	page := func(after, limit uint32) ([]*query.Group, bool, error) {
		l, err := a.groupList(ctx, user, after, limit)
		return l.GetGroups(), l.GetMore(), err
	}
	var all []*query.Group
	var more bool
	if search == "" {
		all, more, err = page(after, in.limit())
		if len(all) > 0 {
			after = all[len(all)-1].GetGroup()
		}
	} else {
		all, after, more, err = searched(after, in.limit(), page, (*query.Group).GetGroup, func(g *query.Group) bool {
			return search == strconv.FormatUint(uint64(g.GetGroup()), 10) || holds(search, g.GetName())
		})
	}
	if err != nil {
		return nil, err
	}
	out := &groupPage{}
	out.Body.Groups = []Group{}
	for _, g := range all {
		out.Body.Groups = append(out.Body.Groups, groupOf(g))
	}
	if more {
		out.Body.Next = cursor(kind, strconv.FormatUint(uint64(after), 10))
	}
	return out, nil
}

func (a *API) groupList(ctx context.Context, user, after, limit uint32) (*query.GroupListAnswer, error) {
	ans, err := a.cfg.Node.AskLists(ctx, &query.Request{Body: &query.Request_GroupList{GroupList: &query.GroupList{User: user, After: after, Limit: limit}}})
	return ans.GetGroupList(), err
}

// groupState asks for a group; one that was never made is an answer without it.
func (a *API) groupState(ctx context.Context, group, user uint32, members bool, at []*query.AtLeast) (*query.GroupAnswer, error) {
	key := event.Group(group)
	ans, err := a.cfg.Node.AskTimeline(ctx, key, &query.Request{AtLeast: at, Body: &query.Request_GroupState{GroupState: &query.GroupState{
		Conversation: key[:], User: user, Members: members,
	}}})
	return ans.GetGroup(), err
}

func noSuchGroup(group uint32) *Problem {
	return notFound(commands.ErrNoSuchGroup.Name(), fmt.Sprintf("there is no group %d", group))
}

func (a *API) getGroup(ctx context.Context, in *OfGroup) (*groupOut, error) {
	s, err := a.groupState(ctx, in.Group, 0, false, nil)
	switch {
	case err != nil:
		return nil, err
	case s.GetGroup() == nil:
		return nil, noSuchGroup(in.Group)
	}
	return &groupOut{Body: groupOf(s.GetGroup())}, nil
}

func (a *API) listMembers(ctx context.Context, in *struct {
	OfGroup
	Paged
}) (*struct {
	Body struct {
		Members []uint32 `json:"members" nullable:"false" doc:"Numbers of users"`
		Version uint32   `json:"version" doc:"Of the group: another one than on the page before says that the list has changed meanwhile"`
		Next    string   `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}, error) {
	kind := fmt.Sprint("members ", in.Group)
	after, err := in.number(kind)
	if err != nil {
		return nil, err
	}
	s, err := a.groupState(ctx, in.Group, 0, true, nil)
	switch {
	case err != nil:
		return nil, err
	case s.GetGroup() == nil:
		return nil, noSuchGroup(in.Group)
	}
	all := s.GetMembers()
	from, found := slices.BinarySearch(all, after)
	if found {
		from++
	}
	page := all[from:min(len(all), from+int(in.limit()))]
	out := new(struct {
		Body struct {
			Members []uint32 `json:"members" nullable:"false" doc:"Numbers of users"`
			Version uint32   `json:"version" doc:"Of the group: another one than on the page before says that the list has changed meanwhile"`
			Next    string   `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
		}
	})
	out.Body.Members, out.Body.Version = append([]uint32{}, page...), s.GetGroup().GetVersion()
	if from+len(page) < len(all) {
		out.Body.Next = cursor(kind, strconv.FormatUint(uint64(page[len(page)-1]), 10))
	}
	return out, nil
}

func (a *API) createGroup(ctx context.Context, in *struct {
	Body struct {
		Name      string   `json:"name" minLength:"1" maxLength:"64"`
		Type      string   `json:"type,omitempty" enum:"normal,temporary" default:"normal"`
		AvatarURL string   `json:"avatar_url,omitempty" maxLength:"255"`
		Creator   uint32   `json:"creator,omitempty" doc:"0: nobody"`
		Members   []uint32 `json:"members,omitempty" maxItems:"40000" nullable:"false" doc:"Numbers of users"`
	}
}) (*groupOut, error) {
	b := in.Body
	number, err := a.makeGroup(ctx, commands.CreateGroup{
		Type: groupTypes[b.Type], Name: b.Name, AvatarURL: b.AvatarURL, Creator: b.Creator, Members: b.Members,
	}, true)
	if err != nil {
		return nil, err
	}
	return a.getGroup(ctx, &OfGroup{number})
}

// makeGroup makes a group in two steps; strict refuses members who do not exist or are disabled, who are left out else. A
// repeated request gets the number that its first run has reserved, and makes the group unless that was done.
func (a *API) makeGroup(ctx context.Context, c commands.CreateGroup, strict bool) (number uint32, err error) {
	c.At, c.By, c.Limit = a.now(), callOf(ctx).name, a.cfg.GroupLimit
	if err := c.Check(); err != nil {
		return 0, err
	}
	number, known, err := a.first(ctx, 0)
	if err != nil {
		return 0, err
	}
	// Who is meant is found out before a number is spent.
	state := commands.CreateState{Number: 1}
	if state.People, err = a.joining(ctx, append([]uint32{c.Creator}, c.Members...), strict && !known); err != nil {
		return 0, err
	}
	if _, err := c.Decide(state); err != nil {
		return 0, err
	}
	if !known {
		ev, err := c.Reserve()
		res, err := a.people(ctx, 0, ev, err)
		if err != nil {
			return 0, err
		}
		number = res.ID
	}
	key := event.Group(number)
	s := key.Stream(a.cfg.Partitions)
	return number, a.retried(ctx, s, func(at []*query.AtLeast) error {
		there, err := a.groupState(ctx, number, 0, false, at)
		if err != nil || there.GetGroup() != nil {
			return err
		}
		c.At, state.Number = a.now(), number
		ev, err := c.Decide(state)
		if err != nil {
			return err
		}
		_, err = a.compareAndSet(ctx, s, bus.GroupSubject(number, a.cfg.Partitions), 0, ev)
		return err
	})
}

// joining is what a decision needs to know of those who are to become members; 0 is nobody.
func (a *API) joining(ctx context.Context, users []uint32, strict bool) ([]commands.Person, error) {
	users = slices.DeleteFunc(slices.Clone(users), func(user uint32) bool { return user == 0 })
	slices.Sort(users)
	users = slices.Compact(users)
	all, err := a.accounts(ctx, users...)
	if err != nil {
		return nil, err
	}
	people := make([]commands.Person, 0, len(users))
	for _, user := range users {
		acc := all[user]
		switch {
		case acc == nil && strict:
			return nil, noSuchUser(user)
		case acc == nil:
			continue
		case acc.GetDisabled() && strict:
			return nil, fmt.Errorf("%w: user %d", commands.ErrPersonDisabled, user)
		}
		people = append(people, personOf(acc))
	}
	return people, nil
}

func (a *API) changeMembers(ctx context.Context, in *struct {
	OfGroup
	Body struct {
		Add    []uint32 `json:"add,omitempty" maxItems:"40000" nullable:"false" doc:"Numbers of users"`
		Remove []uint32 `json:"remove,omitempty" maxItems:"40000" nullable:"false" doc:"Numbers of users"`
	}
}) (*groupOut, error) {
	return a.alterMembers(ctx, in.Group, in.Body.Add, in.Body.Remove)
}

func (a *API) alterMembers(ctx context.Context, group uint32, add, remove []uint32) (*groupOut, error) {
	people, err := a.joining(ctx, add, true)
	if err != nil {
		return nil, err
	}
	if err := a.setMembers(ctx, group, add, remove, people); err != nil && !errors.Is(err, commands.ErrNothingToDo) {
		return nil, err
	}
	return a.getGroup(ctx, &OfGroup{group})
}

// setMembers changes members by compare and set; commands.ErrNothingToDo says that it is so already.
func (a *API) setMembers(ctx context.Context, group uint32, add, remove []uint32, people []commands.Person) error {
	return a.decideGroup(ctx, group, true, func(s commands.GroupState) (*event.Event, error) {
		s.Joining = people
		return commands.ChangeMembers{
			At: a.now(), Group: group, Added: add, Removed: remove, Limit: a.cfg.GroupLimit, By: callOf(ctx).name,
		}.Decide(s)
	})
}

// decideGroup decides about a group as it is, and appends by compare and set.
func (a *API) decideGroup(ctx context.Context, group uint32, members bool, decide func(commands.GroupState) (*event.Event, error)) error {
	s := event.Group(group).Stream(a.cfg.Partitions)
	return a.retried(ctx, s, func(at []*query.AtLeast) error {
		state, err := a.groupState(ctx, group, 0, members, at)
		if err != nil {
			return err
		}
		ev, err := decide(commands.GroupStateOf(state))
		if err != nil {
			return err
		}
		res, err := a.compareAndSet(ctx, s, bus.GroupSubject(group, a.cfg.Partitions), state.GetGroup().GetSubjectSequence(), ev)
		if res.Void == frame.Void_VOID_FULL {
			return commands.ErrGroupFull
		}
		return err
	})
}

func (a *API) changeGroup(ctx context.Context, in *struct {
	OfGroup
	Body struct {
		Name          *string `json:"name,omitempty" minLength:"1" maxLength:"64"`
		AvatarURL     *string `json:"avatar_url,omitempty" maxLength:"255"`
		Administrator *uint32 `json:"administrator,omitempty" minimum:"1" doc:"A member"`
	}
}) (*groupOut, error) {
	b := in.Body
	if b.Name == nil && b.AvatarURL == nil && b.Administrator == nil {
		return nil, commands.ErrNothingToChange
	}
	err := a.decideGroup(ctx, in.Group, true, func(s commands.GroupState) (*event.Event, error) {
		return commands.UpdateGroup{
			At: a.now(), Group: in.Group, Name: b.Name, AvatarURL: b.AvatarURL, Administrator: b.Administrator, By: callOf(ctx).name,
		}.Decide(s)
	})
	if err := unless(err, commands.ErrNothingToDo); err != nil {
		return nil, err
	}
	return a.getGroup(ctx, &in.OfGroup)
}

func (a *API) dissolveGroup(ctx context.Context, in *OfGroup) (*struct{}, error) {
	var before commands.GroupState
	err := a.decideGroup(ctx, in.Group, false, func(s commands.GroupState) (*event.Event, error) {
		before = s
		return commands.UpdateGroup{At: a.now(), Group: in.Group, Dissolve: true, By: callOf(ctx).name}.Decide(s)
	})
	if before.Dissolved {
		return nil, nil // it is so already
	}
	return nil, err
}

package commands

import (
	"fmt"
	"slices"
	"time"

	"godwit/schema/event"
	"godwit/schema/query"
)

// Limits of groups.
const (
	DefaultGroupLimit = 10_000 // members, where nothing else is said
	MaxGroupLimit     = 40_000 // members, whatever is said
	MaxGroupName      = 64     // characters
)

// GroupState is a group as the timeline knows it. The zero value is no group.
type GroupState struct {
	Number        uint32
	Type          event.GroupType
	Name          string
	AvatarURL     string
	Administrator uint32 // 0: nobody
	Dissolved     bool
	Members       []uint32 // ascending
	// Joining is what the people view knows of those who are to be added. Who is not in it, or is
	// disabled, is not added.
	Joining []Person
}

// GroupStateOf reads a timeline's answer that lists the members.
func GroupStateOf(a *query.GroupAnswer) GroupState {
	g := a.GetGroup()
	return GroupState{
		Number: g.GetGroup(), Type: g.GetType(), Name: g.GetName(), AvatarURL: g.GetAvatarUrl(),
		Administrator: g.GetAdministrator(), Dissolved: g.GetDissolved(), Members: a.GetMembers(),
	}
}

// exists also tells a state that was read for another group from the one asked for.
func (s GroupState) exists(group uint32) bool { return group != 0 && s.Number == group && !s.Dissolved }

func (s GroupState) has(user uint32) bool {
	_, found := slices.BinarySearch(s.Members, user)
	return found
}

// joining are those of the users who may be added, ascending and each once.
func joining(users []uint32, known []Person) []uint32 {
	open := make(map[uint32]bool, len(known))
	for _, p := range known {
		open[p.Number] = !p.Disabled
	}
	return ascending(users, func(user uint32) bool { return user != 0 && open[user] })
}

// ascending are the users that fit, in order, each once.
func ascending(users []uint32, fits func(user uint32) bool) []uint32 {
	var all []uint32
	for _, user := range users {
		if fits(user) {
			all = append(all, user)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// groupLimit is the limit that an event carries.
func groupLimit(limit int) uint32 {
	if limit <= 0 {
		limit = DefaultGroupLimit
	}
	return uint32(min(limit, MaxGroupLimit))
}

func checkGroupName(name string) error {
	if name == "" {
		return fmt.Errorf("%w: it is empty", ErrGroupName)
	}
	if err := checkField("group name", name, MaxGroupName); err != nil {
		return fmt.Errorf("%w: %w", ErrGroupName, err)
	}
	return nil
}

// actor tells who does something to a group: a session that is logged in, or the API, which
// names its caller and has no user.
func actor(at time.Time, from Session, by string) error {
	switch {
	case noTime(at):
		return ErrIncomplete
	case by == "" && !from.loggedIn():
		return ErrNotLoggedIn
	case by != "" && from != (Session{}):
		return ErrIncomplete
	}
	return nil
}

// CreateGroup makes a group, in two steps: its number is reserved on PEOPLE, and with that the group
// is made by compare and set on its own subject, on which nothing has been written.
type CreateGroup struct {
	At        time.Time
	From      Session // zero for the API
	Type      event.GroupType
	Name      string
	AvatarURL string
	Creator   uint32   // of the API: who becomes a member and the administrator, 0 for nobody; a session is its own
	Members   []uint32 // in any order
	Limit     int      // most members; 0: the default
	By        string   // the API's caller; empty for a session
}

// Check refuses what needs no state to be refused.
func (c CreateGroup) Check() error {
	if err := actor(c.At, c.From, c.By); err != nil {
		return err
	}
	switch {
	case c.Type != event.GroupType_GROUP_TYPE_NORMAL && c.Type != event.GroupType_GROUP_TYPE_TEMPORARY:
		return ErrGroupType
	case c.By == "" && c.Type != event.GroupType_GROUP_TYPE_TEMPORARY:
		return ErrGroupType // fixed groups are not for clients to make
	case len(c.Members) == 0 && c.creator() == 0 || c.By == "" && len(c.Members) == 0:
		return ErrNoMembers
	}
	if err := checkGroupName(c.Name); err != nil {
		return err
	}
	return checkField("avatar URL", c.AvatarURL, MaxAvatarURL)
}

func (c CreateGroup) creator() uint32 {
	if c.By == "" {
		return c.From.User
	}
	return c.Creator
}

// Reserve gives GroupReserved, whose outcome is the group's number.
func (c CreateGroup) Reserve() (*event.Event, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	by := c.By
	if by == "" {
		by = fmt.Sprint("user ", c.From.User)
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_GroupReserved{GroupReserved: &event.GroupReserved{By: cut(by, maxBy)}}}, nil
}

// CreateState is what is known where a group is to be made.
type CreateState struct {
	Number uint32   // reserved for it
	People []Person // of the members and the creator; a session's user needs not be there
}

// Decide gives GroupCreated. Who is unknown or disabled is left out; the creator is a member.
func (c CreateGroup) Decide(s CreateState) (*event.Event, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if s.Number == 0 {
		return nil, ErrIncomplete
	}
	creator := c.creator()
	members := joining(c.Members, s.People)
	switch {
	case creator == 0:
	case c.By == "" || len(joining([]uint32{creator}, s.People)) > 0:
		if at, found := slices.BinarySearch(members, creator); !found {
			members = slices.Insert(members, at, creator)
		}
	default:
		return nil, ErrNoSuchPerson
	}
	limit := groupLimit(c.Limit)
	switch {
	case len(members) == 0:
		return nil, ErrNoMembers
	case len(members) > int(limit):
		return nil, ErrGroupFull
	}
	conversation := event.Group(s.Number)
	return &event.Event{At: millis(c.At), Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{
		Conversation: conversation[:], Type: c.Type, Name: c.Name, AvatarUrl: c.AvatarURL, Creator: creator, Members: members,
		Limit: limit, Session: c.From.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// ChangeMembers adds and removes members of a group.
type ChangeMembers struct {
	At      time.Time
	From    Session // zero for the API, which may do everything
	Group   uint32
	Added   []uint32 // in any order, members or not
	Removed []uint32
	Limit   int    // most members; 0: the default
	By      string // the API's caller; empty for a session
}

// Decide gives GroupMembersChanged with those who are really added and removed, to be appended by compare and set with the
// subject sequence that the state was read with. Any member of a temporary group adds members, in a normal
// one only its administrator; the administrator removes anybody, and everybody himself.
func (c ChangeMembers) Decide(s GroupState) (*event.Event, error) {
	if err := actor(c.At, c.From, c.By); err != nil {
		return nil, err
	}
	if !s.exists(c.Group) {
		return nil, ErrNoSuchGroup
	}
	if c.By == "" {
		if err := c.mayBy(s); err != nil {
			return nil, err
		}
	}
	if len(c.Added) == 0 && len(c.Removed) == 0 {
		return nil, ErrNoMembers
	}
	asked := ascending(c.Added, func(uint32) bool { return true })
	for _, user := range c.Removed {
		if _, both := slices.BinarySearch(asked, user); both {
			return nil, ErrMembers
		}
	}
	added := slices.DeleteFunc(joining(asked, s.Joining), s.has)
	removed := ascending(c.Removed, s.has)
	limit := groupLimit(c.Limit)
	switch {
	case len(added) == 0 && len(removed) == 0:
		return nil, ErrNothingToDo
	case len(added) > 0 && len(s.Members)+len(added)-len(removed) > int(limit):
		return nil, ErrGroupFull
	}
	conversation := event.Group(c.Group)
	return &event.Event{At: millis(c.At), Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{
		Conversation: conversation[:], Added: added, Removed: removed, User: c.From.User, Limit: limit,
		Session: c.From.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// mayBy tells whether the session's user may do it.
func (c ChangeMembers) mayBy(s GroupState) error {
	user := c.From.User
	switch administrator := s.Administrator == user; {
	case !s.has(user):
		return ErrNotMember
	case administrator:
		return nil
	case len(c.Added) > 0 && s.Type != event.GroupType_GROUP_TYPE_TEMPORARY:
		return ErrNotAdministrator
	case slices.ContainsFunc(c.Removed, func(other uint32) bool { return other != user }):
		return ErrNotAdministrator
	}
	return nil
}

// UpdateGroup changes what is set.
type UpdateGroup struct {
	At            time.Time
	From          Session // zero for the API, which may do everything
	Group         uint32
	Name          *string
	AvatarURL     *string
	Administrator *uint32 // a member
	Dissolve      bool    // everybody leaves, for good
	By            string  // the API's caller; empty for a session
}

// Decide gives GroupChanged with what really changes, to be appended by compare and set as in ChangeMembers. Of clients
// the administrator's may do it, and dissolve temporary groups only.
func (c UpdateGroup) Decide(s GroupState) (*event.Event, error) {
	if err := actor(c.At, c.From, c.By); err != nil {
		return nil, err
	}
	if !s.exists(c.Group) {
		return nil, ErrNoSuchGroup
	}
	if c.By == "" {
		switch {
		case !s.has(c.From.User):
			return nil, ErrNotMember
		case s.Administrator != c.From.User:
			return nil, ErrNotAdministrator
		case c.Dissolve && s.Type != event.GroupType_GROUP_TYPE_TEMPORARY:
			return nil, ErrGroupType
		}
	}
	conversation := event.Group(c.Group)
	changed := &event.GroupChanged{Conversation: conversation[:], User: c.From.User, Dissolved: c.Dissolve, Session: c.From.session(), By: cut(c.By, maxBy)}
	if c.Name != nil {
		if err := checkGroupName(*c.Name); err != nil {
			return nil, err
		}
		if *c.Name != s.Name {
			changed.Name = c.Name
		}
	}
	if c.AvatarURL != nil {
		if err := checkField("avatar URL", *c.AvatarURL, MaxAvatarURL); err != nil {
			return nil, err
		}
		if *c.AvatarURL != s.AvatarURL {
			changed.AvatarUrl = c.AvatarURL
		}
	}
	if c.Administrator != nil {
		if !s.has(*c.Administrator) {
			return nil, ErrNotMember
		}
		if *c.Administrator != s.Administrator {
			changed.Administrator = c.Administrator
		}
	}
	if changed.Name == nil && changed.AvatarUrl == nil && changed.Administrator == nil && !changed.Dissolved {
		return nil, ErrNothingToDo
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_GroupChanged{GroupChanged: changed}}, nil
}

// ShieldGroup mutes the pushes of a group for a member.
type ShieldGroup struct {
	At       time.Time
	From     Session // of the API: the user alone
	Group    uint32
	Shielded bool
	By       string // the API's caller; empty for a session
}

// Decide gives GroupShieldSet. Whether the user is a member is told by the outcome of the event.
func (c ShieldGroup) Decide() (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if err := c.From.asks(c.By); err != nil {
		return nil, err
	}
	if c.Group == 0 {
		return nil, ErrNoSuchGroup
	}
	conversation := event.Group(c.Group)
	return &event.Event{At: millis(c.At), Body: &event.Event_GroupShieldSet{GroupShieldSet: &event.GroupShieldSet{
		Conversation: conversation[:], User: c.From.User, Shielded: c.Shielded, Session: c.From.session(), By: cut(c.By, maxBy),
	}}}, nil
}

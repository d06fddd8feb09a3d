package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"godwit/commands"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Friend is one of a user's friends.
type Friend struct {
	User   uint32 `json:"user" doc:"Number of the friend"`
	Remark string `json:"remark" doc:"The user's own name for him; empty: none"`
	Since  uint32 `json:"since" doc:"Unix seconds"`
}

// FriendRequest is one that nobody has answered yet.
type FriendRequest struct {
	User     uint32 `json:"user" doc:"Number of the other one"`
	Outgoing bool   `json:"outgoing" doc:"The user of the path has asked; else he was asked"`
	Text     string `json:"text"`
	Since    uint32 `json:"since" doc:"Unix seconds"`
}

// OfPair is the path of what is between two users.
type OfPair struct {
	OfUser
	Other uint32 `path:"other" minimum:"1" maximum:"4294967295" doc:"Number of the other user"`
}

func (a *API) friends() {
	const tag = "Friends"
	register(a, route{id: "list-friends", method: http.MethodGet, path: "/users/{user}/friends", scope: UsersRead, tag: tag,
		summary: "List a user's friends by number"}, a.listFriends)
	register(a, route{id: "add-friend", method: http.MethodPut, path: "/users/{user}/friends/{other}", scope: UsersWrite, tag: tag,
		summary: "Make two users friends, without asking them"}, a.addFriend)
	register(a, route{id: "remove-friend", method: http.MethodDelete, path: "/users/{user}/friends/{other}", scope: UsersWrite, tag: tag,
		summary: "End a friendship for both"}, a.removeFriend)
	register(a, route{id: "remark-friend", method: http.MethodPut, path: "/users/{user}/friends/{other}/remark", scope: UsersWrite, tag: tag,
		summary: "Give a friend a name that only the user sees", description: "Empty takes it away. It goes with the friendship."}, a.remarkFriend)
	register(a, route{id: "list-friend-requests", method: http.MethodGet, path: "/users/{user}/friend-requests", scope: UsersRead, tag: tag,
		summary: "List a user's open requests, both ways"}, a.listRequests)
	register(a, route{id: "request-friend", method: http.MethodPut, path: "/users/{user}/friend-requests/{other}", scope: UsersWrite, tag: tag,
		summary: "Ask somebody to be friends, in the user's name", description: "When the other one has asked already, both are friends at once."}, a.requestFriend)
	register(a, route{id: "answer-friend-request", method: http.MethodPost, path: "/users/{user}/friend-requests/{other}", scope: UsersWrite, tag: tag,
		summary: "Accept or refuse what somebody has asked, in the user's name"}, a.answerRequest)
	register(a, route{id: "withdraw-friend-request", method: http.MethodDelete, path: "/users/{user}/friend-requests/{other}", scope: UsersWrite, tag: tag,
		summary: "Take a request back, in the user's name"}, a.withdrawRequest)
	register(a, route{id: "list-blocks", method: http.MethodGet, path: "/users/{user}/blocks", scope: UsersRead, tag: tag,
		summary: "List whom a user blocks, by number"}, a.listBlocks)
	register(a, route{id: "block-user", method: http.MethodPut, path: "/users/{user}/blocks/{other}", scope: UsersWrite, tag: tag,
		summary: "Block somebody: neither can write to the other"}, a.block(true))
	register(a, route{id: "unblock-user", method: http.MethodDelete, path: "/users/{user}/blocks/{other}", scope: UsersWrite, tag: tag,
		summary: "Unblock somebody"}, a.block(false))
}

// circle are a user's friends and open requests, by number.
func (a *API) circle(ctx context.Context, user uint32, friends bool) ([]*query.Friend, error) {
	if _, _, err := a.person(ctx, user); err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_FriendList{FriendList: &query.FriendList{User: user}}})
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(ans.GetFriendList().GetFriends(), func(f *query.Friend) bool { return f.GetFriends() != friends })
	slices.SortFunc(all, func(x, y *query.Friend) int { return cmp.Compare(x.GetUser(), y.GetUser()) })
	return all, nil
}

// pageOf cuts a page out of a list that is sorted by number.
func pageOf[T any](in Paged, kind string, all []T, number func(T) uint32) (page []T, next string, err error) {
	after, err := in.number(kind)
	if err != nil {
		return nil, "", err
	}
	from, found := slices.BinarySearchFunc(all, after, func(one T, after uint32) int { return cmp.Compare(number(one), after) })
	if found {
		from++
	}
	page = all[from:min(len(all), from+int(in.limit()))]
	if from+len(page) < len(all) {
		next = cursor(kind, strconv.FormatUint(uint64(number(page[len(page)-1])), 10))
	}
	return page, next, nil
}

type friendPage struct {
	Body struct {
		Friends []Friend `json:"friends" nullable:"false"`
		Next    string   `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}

func (a *API) listFriends(ctx context.Context, in *struct {
	OfUser
	Paged
}) (*friendPage, error) {
	all, err := a.circle(ctx, in.User, true)
	if err != nil {
		return nil, err
	}
	out := &friendPage{}
	out.Body.Friends = []Friend{}
	page, next, err := pageOf(in.Paged, fmt.Sprint("friends ", in.User), all, (*query.Friend).GetUser)
	for _, f := range page {
		out.Body.Friends = append(out.Body.Friends, Friend{User: f.GetUser(), Remark: f.GetRemark(), Since: f.GetSince()})
	}
	out.Body.Next = next
	return out, err
}

type requestPage struct {
	Body struct {
		Requests []FriendRequest `json:"requests" nullable:"false"`
		Next     string          `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}

func (a *API) listRequests(ctx context.Context, in *struct {
	OfUser
	Paged
}) (*requestPage, error) {
	all, err := a.circle(ctx, in.User, false)
	if err != nil {
		return nil, err
	}
	out := &requestPage{}
	out.Body.Requests = []FriendRequest{}
	page, next, err := pageOf(in.Paged, fmt.Sprint("requests ", in.User), all, (*query.Friend).GetUser)
	for _, f := range page {
		out.Body.Requests = append(out.Body.Requests, FriendRequest{User: f.GetUser(), Outgoing: f.GetOutgoing(), Text: f.GetText(), Since: f.GetSince()})
	}
	out.Body.Next = next
	return out, err
}

// pair is what a decision about two users needs.
func (a *API) pair(ctx context.Context, of OfPair) (s commands.PairState, err error) {
	all, err := a.accounts(ctx, of.User, of.Other)
	if err != nil {
		return s, err
	}
	for _, user := range []uint32{of.User, of.Other} {
		if all[user] == nil {
			return s, noSuchUser(user)
		}
	}
	r, err := a.relation(ctx, of.User, of.Other)
	s.A, s.B = personOf(all[of.User]), personOf(all[of.Other])
	s.Friends, s.AAsked, s.BAsked = r.GetFriends(), r.GetOutgoing(), r.GetIncoming()
	return s, err
}

// relation is what a user is to another one; nil is nothing.
func (a *API) relation(ctx context.Context, user, other uint32) (*query.Relation, error) {
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Relations{Relations: &query.Relations{User: user, Others: []uint32{other}}}})
	for _, r := range ans.GetRelations().GetRelations() {
		return r, err
	}
	return nil, err
}

// between decides about two users and appends to PEOPLE; what is so already is done.
func (a *API) between(ctx context.Context, of OfPair, decide func(commands.PairState) (*event.Event, error), already ...*commands.Refusal) error {
	if _, known, err := a.first(ctx, 0); known || err != nil {
		return err
	}
	s, err := a.pair(ctx, of)
	if err != nil {
		return err
	}
	ev, err := decide(s)
	_, err = a.people(ctx, 0, ev, err)
	return unless(err, already...)
}

func (a *API) addFriend(ctx context.Context, in *OfPair) (*struct{}, error) {
	return nil, a.between(ctx, *in, func(s commands.PairState) (*event.Event, error) {
		return commands.Befriend{At: a.now(), A: in.User, B: in.Other, By: callOf(ctx).name}.Decide(s)
	}, commands.ErrAlreadyFriends)
}

func (a *API) removeFriend(ctx context.Context, in *OfPair) (*struct{}, error) {
	return nil, a.between(ctx, *in, func(s commands.PairState) (*event.Event, error) {
		return commands.Unfriend{At: a.now(), A: in.User, B: in.Other, By: callOf(ctx).name}.Decide(s)
	}, commands.ErrNotFriends)
}

func (a *API) remarkFriend(ctx context.Context, in *struct {
	OfPair
	Body struct {
		Remark string `json:"remark" maxLength:"64" doc:"At most 64 bytes"`
	}
}) (*struct{}, error) {
	return nil, a.between(ctx, in.OfPair, func(s commands.PairState) (*event.Event, error) {
		return commands.RemarkFriend{At: a.now(), User: in.User, Friend: in.Other, Remark: in.Body.Remark, By: callOf(ctx).name}.Decide(s)
	})
}

func (a *API) requestFriend(ctx context.Context, in *struct {
	OfPair
	Body *struct {
		Text string `json:"text,omitempty" maxLength:"256" doc:"What the other one reads"`
	}
}) (*struct{}, error) {
	text := ""
	if in.Body != nil {
		text = in.Body.Text
	}
	blocked, err := a.blocked(ctx, in.OfPair)
	if err != nil {
		return nil, err
	}
	return nil, a.between(ctx, in.OfPair, func(s commands.PairState) (*event.Event, error) {
		s.Blocked = blocked
		return commands.RequestFriend{At: a.now(), From: in.User, To: in.Other, Text: text, By: callOf(ctx).name}.Decide(s)
	}, commands.ErrAlreadyAsked)
}

func (a *API) answerRequest(ctx context.Context, in *struct {
	OfPair
	Body struct {
		Accept bool `json:"accept"`
	}
}) (*struct{}, error) {
	return nil, a.between(ctx, in.OfPair, func(s commands.PairState) (*event.Event, error) {
		return commands.AnswerFriend{At: a.now(), User: in.User, Asker: in.Other, Accept: in.Body.Accept, By: callOf(ctx).name}.Decide(s)
	})
}

func (a *API) withdrawRequest(ctx context.Context, in *OfPair) (*struct{}, error) {
	return nil, a.between(ctx, *in, func(s commands.PairState) (*event.Event, error) {
		return commands.WithdrawFriend{At: a.now(), From: in.User, To: in.Other, By: callOf(ctx).name}.Decide(s)
	})
}

func (a *API) listBlocks(ctx context.Context, in *struct {
	OfUser
	Paged
}) (*struct {
	Body struct {
		Users []uint32 `json:"users" nullable:"false" doc:"Numbers of users"`
		Next  string   `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}, error) {
	if _, _, err := a.person(ctx, in.User); err != nil {
		return nil, err
	}
	all, err := a.blocks(ctx, in.User)
	if err != nil {
		return nil, err
	}
	out := new(struct {
		Body struct {
			Users []uint32 `json:"users" nullable:"false" doc:"Numbers of users"`
			Next  string   `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
		}
	})
	page, next, err := pageOf(in.Paged, fmt.Sprint("blocks ", in.User), all, func(user uint32) uint32 { return user })
	out.Body.Users, out.Body.Next = append([]uint32{}, page...), next
	return out, err
}

// blocks are whom a user blocks, by number.
func (a *API) blocks(ctx context.Context, user uint32) ([]uint32, error) {
	ans, err := a.cfg.Node.AskLists(ctx, &query.Request{Body: &query.Request_Blocks{Blocks: &query.Blocks{User: user}}})
	all := ans.GetUsers().GetUsers()
	slices.Sort(all)
	return all, err
}

// blocked tells whether one of the two blocks the other.
func (a *API) blocked(ctx context.Context, of OfPair) (bool, error) {
	for _, way := range [][2]uint32{{of.User, of.Other}, {of.Other, of.User}} {
		all, err := a.blocks(ctx, way[0])
		if _, found := slices.BinarySearch(all, way[1]); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (a *API) block(blocked bool) func(context.Context, *OfPair) (*struct{}, error) {
	return func(ctx context.Context, in *OfPair) (*struct{}, error) {
		s, err := a.pair(ctx, *in)
		if err != nil {
			return nil, err
		}
		ev, err := commands.BlockUser{At: a.now(), User: in.User, Other: in.Other, Blocked: blocked, By: callOf(ctx).name}.Decide(s)
		if err != nil {
			return nil, err
		}
		_, err = a.append(ctx, event.Direct(in.User, in.Other).Stream(a.cfg.Partitions), ev)
		return nil, err
	}
}

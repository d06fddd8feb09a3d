package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"godwit/bus"
	"godwit/commands"
	"godwit/internal/password"
	"godwit/schema/event"
	"godwit/schema/query"
)

// employmentLeft is TeamTalk's word for a person who has left.
const employmentLeft = 3

// User is one account.
type User struct {
	Number     uint32 `json:"number" doc:"Names the user everywhere" minimum:"1"`
	Name       string `json:"name" doc:"Login name, normalised"`
	Nick       string `json:"nick" doc:"Name that others see"`
	Gender     uint32 `json:"gender" doc:"1 male, 2 female, 0 unknown"`
	AvatarURL  string `json:"avatar_url"`
	Department uint32 `json:"department" doc:"0: none"`
	Email      string `json:"email"`
	Telephone  string `json:"telephone"`
	Domain     string `json:"domain" doc:"Latin form of the name, by which clients search"`
	Employment uint32 `json:"employment" doc:"TeamTalk's status of a person: 3 has left"`
	Signature  string `json:"signature"`
	Disabled   bool   `json:"disabled" doc:"Nobody can log in to the account"`
	Updated    uint32 `json:"updated" doc:"Unix seconds of the last change"`
}

func userOf(acc *query.Account) User {
	return User{
		Number: acc.GetUser(), Name: acc.GetName(), Nick: acc.GetNick(), Gender: acc.GetGender(), AvatarURL: acc.GetAvatarUrl(),
		Department: acc.GetDepartment(), Email: acc.GetEmail(), Telephone: acc.GetTelephone(), Domain: acc.GetDomain(),
		Employment: acc.GetEmployment(), Signature: acc.GetSignature(), Disabled: acc.GetDisabled(), Updated: acc.GetUpdated(),
	}
}

// OfUser is the path of whatever belongs to one user.
type OfUser struct {
	User uint32 `path:"user" minimum:"1" maximum:"4294967295" doc:"Number of the user"`
}

type userOut struct{ Body User }

// newUser is an account to be made.
type newUser struct {
	Name       string `json:"name" minLength:"1" maxLength:"128" doc:"Login name: up to 64 characters that can be seen"`
	Password   string `json:"password" minLength:"1" maxLength:"256" doc:"Plain; clients send its MD5, of which a slow hash is kept"`
	Nick       string `json:"nick,omitempty" maxLength:"32" doc:"Empty: the name as given"`
	Number     uint32 `json:"number,omitempty" maximum:"2147483647" doc:"0: the next free one"`
	Gender     uint32 `json:"gender,omitempty" maximum:"2"`
	AvatarURL  string `json:"avatar_url,omitempty" maxLength:"255"`
	Department uint32 `json:"department,omitempty"`
	Email      string `json:"email,omitempty" maxLength:"64"`
	Telephone  string `json:"telephone,omitempty" maxLength:"11"`
	Domain     string `json:"domain,omitempty" maxLength:"32"`
	Employment uint32 `json:"employment,omitempty" maximum:"4"`
	Signature  string `json:"signature,omitempty" maxLength:"128"`
}

// profile is what may be changed of an account; what is left out stays.
type profile struct {
	Nick       *string `json:"nick,omitempty" minLength:"1" maxLength:"32"`
	Gender     *uint32 `json:"gender,omitempty" maximum:"2"`
	AvatarURL  *string `json:"avatar_url,omitempty" maxLength:"255"`
	Department *uint32 `json:"department,omitempty"`
	Email      *string `json:"email,omitempty" maxLength:"64"`
	Telephone  *string `json:"telephone,omitempty" maxLength:"11"`
	Domain     *string `json:"domain,omitempty" maxLength:"32"`
	Employment *uint32 `json:"employment,omitempty" maximum:"4" doc:"3, has left, ends the user's sessions"`
	Signature  *string `json:"signature,omitempty" maxLength:"128"`
}

type userPage struct {
	Body struct {
		Users []User `json:"users" nullable:"false"`
		Next  string `json:"next,omitempty" doc:"Cursor of the next page; not there on the last"`
	}
}

func (a *API) users() {
	const tag = "Users"
	register(a, route{id: "list-users", method: http.MethodGet, path: "/users", scope: UsersRead, tag: tag,
		summary: "List users by number",
		description: "With name only the user of that login name, or nobody. With search only those in whose login name, nick, latin name, email or " +
			"telephone that stands, whatever the case, and the one of that number; a page may hold fewer than limit, or none, and have a next all the same."}, a.listUsers)
	register(a, route{id: "create-user", method: http.MethodPost, path: "/users", scope: UsersWrite, tag: tag, status: http.StatusCreated,
		summary: "Make an account"}, a.createUser)
	register(a, route{id: "get-user", method: http.MethodGet, path: "/users/{user}", scope: UsersRead, tag: tag,
		summary: "Get a user"}, a.getUser)
	register(a, route{id: "change-user", method: http.MethodPatch, path: "/users/{user}", scope: UsersWrite, tag: tag,
		summary: "Change a user's profile"}, a.changeUser)
	register(a, route{id: "delete-user", method: http.MethodDelete, path: "/users/{user}", scope: UsersWrite, tag: tag,
		summary:     "Have a user leave",
		description: "The account is disabled and shown as one that has left. Its number, its name and what it wrote stay."}, a.deleteUser)
	register(a, route{id: "disable-user", method: http.MethodPost, path: "/users/{user}/disable", scope: UsersWrite, tag: tag,
		summary: "Close an account; its sessions end"}, a.enableUser(false))
	register(a, route{id: "enable-user", method: http.MethodPost, path: "/users/{user}/enable", scope: UsersWrite, tag: tag,
		summary: "Open a closed account again"}, a.enableUser(true))
	register(a, route{id: "set-password", method: http.MethodPut, path: "/users/{user}/password", scope: UsersWrite, tag: tag,
		summary: "Set a password; the user's sessions end"}, a.setPassword)
}

func (a *API) listUsers(ctx context.Context, in *struct {
	Paged
	Name   string `query:"name" maxLength:"128" doc:"A login name"`
	Search string `query:"search" maxLength:"128" doc:"Part of a name or an address"`
}) (*userPage, error) {
	out := &userPage{}
	out.Body.Users = []User{}
	if in.Name != "" {
		ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_AccountByName{AccountByName: &query.AccountByName{Name: commands.NormalName(in.Name)}}})
		if err != nil {
			return nil, err
		}
		if acc := ans.GetAccount().GetAccount(); acc != nil {
			out.Body.Users = append(out.Body.Users, userOf(acc))
		}
		return out, nil
	}
	after, err := in.number("users")
	if err != nil {
		return nil, err
	}
	page := func(after, limit uint32) ([]*query.Account, bool, error) {
		ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_AccountList{AccountList: &query.AccountList{After: after, Limit: limit}}})
		return ans.GetAccounts().GetAccounts(), ans.GetAccounts().GetMore(), err
	}
	var all []*query.Account
	var more bool
	if in.Search == "" {
		all, more, err = page(after, in.limit())
		if len(all) > 0 {
			after = all[len(all)-1].GetUser()
		}
	} else {
		all, after, more, err = searched(after, in.limit(), page, (*query.Account).GetUser, func(acc *query.Account) bool {
			return in.Search == strconv.FormatUint(uint64(acc.GetUser()), 10) ||
				holds(in.Search, acc.GetName(), acc.GetNick(), acc.GetDomain(), acc.GetEmail(), acc.GetTelephone())
		})
	}
	if err != nil {
		return nil, err
	}
	for _, acc := range all {
		out.Body.Users = append(out.Body.Users, userOf(acc))
	}
	if more {
		out.Body.Next = cursor("users", strconv.FormatUint(uint64(after), 10))
	}
	return out, nil
}

func (a *API) getUser(ctx context.Context, in *OfUser) (*userOut, error) {
	_, acc, err := a.person(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return &userOut{Body: userOf(acc)}, nil
}

func (a *API) createUser(ctx context.Context, in *struct{ Body newUser }) (*userOut, error) {
	user, known, err := a.first(ctx, 0)
	if err != nil {
		return nil, err
	}
	if !known {
		if user, err = a.registerUser(ctx, in.Body); err != nil {
			user, err = a.unlessDone(ctx, 0, err)
		}
		if err != nil {
			return nil, err
		}
	}
	return a.getUser(ctx, &OfUser{user})
}

// registerUser makes an account by compare and set on its name.
func (a *API) registerUser(ctx context.Context, p newUser) (user uint32, err error) {
	c := commands.RegisterPerson{
		Name: p.Name, Nick: p.Nick, Number: p.Number, Gender: p.Gender, AvatarURL: p.AvatarURL, Department: p.Department, Email: p.Email,
		Telephone: p.Telephone, Domain: p.Domain, Employment: p.Employment, Signature: p.Signature, By: callOf(ctx).name,
	}
	err = a.retried(ctx, event.People, func(at []*query.AtLeast) error {
		ans, err := a.cfg.Node.Ask(ctx, &query.Request{AtLeast: at, Body: &query.Request_NameState{NameState: &query.NameState{Name: commands.NormalName(p.Name)}}})
		if err != nil {
			return err
		}
		state := commands.NameState{Owner: ans.GetNameState().GetUser()}
		if p.Number != 0 {
			taken, err := a.accounts(ctx, p.Number)
			if err != nil {
				return err
			}
			state.NumberTaken = len(taken) > 0
		}
		c.At = a.now()
		if hash := c.PasswordHash; hash == "" { // refused before the work of hashing
			c.PasswordHash = "-"
			if _, err := c.Decide(state); err != nil {
				return err
			}
			if c.PasswordHash, err = a.cfg.Hasher.Hash(ctx, password.MD5Hex(p.Password)); err != nil {
				return fmt.Errorf("hash password: %w", err)
			}
		}
		ev, err := c.Decide(state)
		if err != nil {
			return err
		}
		ev.Request, ev.GetPersonRegistered().Compared = callOf(ctx).request(0), true
		res, err := a.compareAndSet(ctx, event.People, bus.NameSubject(p.Name), ans.GetNameState().GetSubjectSequence(), ev)
		user = res.ID
		return err
	})
	return user, err
}

func (a *API) changeUser(ctx context.Context, in *struct {
	OfUser
	Body profile
}) (*userOut, error) {
	p := in.Body
	err := a.changeProfile(ctx, 0, commands.ChangeProfile{
		User: in.User, Nick: p.Nick, Gender: p.Gender, AvatarURL: p.AvatarURL, Department: p.Department, Email: p.Email,
		Telephone: p.Telephone, Domain: p.Domain, Employment: p.Employment, Signature: p.Signature,
	})
	if err != nil {
		return nil, err
	}
	return a.getUser(ctx, &in.OfUser)
}

func (a *API) changeProfile(ctx context.Context, n byte, c commands.ChangeProfile) error {
	p, _, err := a.person(ctx, c.User)
	if err != nil {
		return err
	}
	c.At, c.By = a.now(), callOf(ctx).name
	ev, err := c.Decide(p)
	_, err = a.people(ctx, n, ev, err)
	return err
}

func (a *API) deleteUser(ctx context.Context, in *OfUser) (*struct{}, error) {
	if err := a.changeProfile(ctx, 0, commands.ChangeProfile{User: in.User, Employment: new(uint32(employmentLeft))}); err != nil {
		return nil, err
	}
	return nil, a.setEnabled(ctx, 1, in.User, false)
}

func (a *API) enableUser(enabled bool) func(context.Context, *OfUser) (*userOut, error) {
	return func(ctx context.Context, in *OfUser) (*userOut, error) {
		if err := a.setEnabled(ctx, 0, in.User, enabled); err != nil {
			return nil, err
		}
		return a.getUser(ctx, in)
	}
}

// setEnabled opens or closes an account; one that is as wanted stays as it is.
func (a *API) setEnabled(ctx context.Context, n byte, user uint32, enabled bool) error {
	p, _, err := a.person(ctx, user)
	if err != nil {
		return err
	}
	var ev *event.Event
	if enabled {
		ev, err = commands.EnablePerson{At: a.now(), User: user, By: callOf(ctx).name}.Decide(p)
	} else {
		ev, err = commands.DisablePerson{At: a.now(), User: user, By: callOf(ctx).name}.Decide(p)
	}
	_, err = a.people(ctx, n, ev, err)
	return unless(err, commands.ErrNotDisabled, commands.ErrAlreadyDisabled)
}

func (a *API) setPassword(ctx context.Context, in *struct {
	OfUser
	Body struct {
		Password string `json:"password" minLength:"1" maxLength:"256" doc:"Plain"`
	}
}) (*struct{}, error) {
	if _, known, err := a.first(ctx, 0); known || err != nil {
		return nil, err
	}
	p, _, err := a.person(ctx, in.User)
	if err != nil {
		return nil, err
	}
	hash, err := a.cfg.Hasher.Hash(ctx, password.MD5Hex(in.Body.Password))
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	ev, err := commands.ChangePassword{At: a.now(), User: in.User, PasswordHash: hash, By: callOf(ctx).name}.Decide(p)
	_, err = a.people(ctx, 0, ev, err)
	return nil, err
}

// number reads a cursor that is a number; 0 is the beginning.
func (p Paged) number(kind string) (uint32, error) {
	at, err := p.begin(kind)
	if err != nil || at == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(at, 10, 32)
	if err != nil {
		return 0, errors.Join(invalid("the cursor is none of this list"), err)
	}
	return uint32(n), nil
}

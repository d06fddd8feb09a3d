package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"godwit/commands"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Session is one login of a user that lives.
type Session struct {
	ID         string    `json:"id"`
	Device     string    `json:"device" doc:"desktop, mobile or web"`
	ClientType uint32    `json:"client_type" doc:"TeamTalk's: 1 Windows, 2 Mac, 17 iOS, 18 Android; 33 web"`
	Node       string    `json:"node" doc:"Life of the node that holds the connection"`
	Opened     time.Time `json:"opened"`
}

func sessionOf(s *query.SessionRow) Session {
	return Session{
		ID: event.ToID(s.GetSession()).String(), Device: strings.ToLower(strings.TrimPrefix(s.GetDeviceClass().String(), "DEVICE_CLASS_")),
		ClientType: s.GetClientType(), Node: event.ToID(s.GetLife()).String(), Opened: time.UnixMilli(s.GetOpened()).UTC(),
	}
}

func (a *API) sessions() {
	const tag = "Sessions"
	register(a, route{id: "list-sessions", method: http.MethodGet, path: "/users/{user}/sessions", scope: SessionsRead, tag: tag,
		summary: "List a user's sessions"}, a.listSessions)
	register(a, route{id: "kick-session", method: http.MethodDelete, path: "/users/{user}/sessions/{session}", scope: SessionsWrite, tag: tag,
		summary: "End a session", description: "Its connection is closed. Its client may log in again: to keep it out, close the account or set another password."}, a.kickSession)
	register(a, route{id: "kick-sessions", method: http.MethodDelete, path: "/users/{user}/sessions", scope: SessionsWrite, tag: tag,
		summary: "End all sessions of a user"}, a.kickSessions)
}

func (a *API) sessionsOf(ctx context.Context, user uint32) ([]*query.SessionRow, error) {
	if _, _, err := a.person(ctx, user); err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_SessionsOf{SessionsOf: &query.SessionsOf{User: user}}})
	return ans.GetSessionsOf().GetSessions(), err
}

type sessionList struct {
	Body struct {
		Sessions []Session `json:"sessions" nullable:"false"`
	}
}

func (a *API) listSessions(ctx context.Context, in *OfUser) (*sessionList, error) {
	all, err := a.sessionsOf(ctx, in.User)
	if err != nil {
		return nil, err
	}
	out := &sessionList{}
	out.Body.Sessions = []Session{}
	for _, s := range all {
		out.Body.Sessions = append(out.Body.Sessions, sessionOf(s))
	}
	return out, nil
}

func (a *API) kickSession(ctx context.Context, in *struct {
	OfUser
	Session string `path:"session" minLength:"26" maxLength:"26" doc:"Id of the session"`
}) (*struct{}, error) {
	id, err := ulid.ParseStrict(in.Session)
	if err != nil {
		return nil, invalid("%s is no id of a session", in.Session)
	}
	all, err := a.sessionsOf(ctx, in.User)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if event.ToID(s.GetSession()) == id {
			return nil, a.kick(ctx, s)
		}
	}
	if callOf(ctx).again {
		return nil, nil // the first run has ended it
	}
	return nil, notFound("no_such_session", fmt.Sprintf("user %d has no session %s", in.User, in.Session))
}

func (a *API) kickSessions(ctx context.Context, in *OfUser) (*struct{}, error) {
	all, err := a.sessionsOf(ctx, in.User)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if err := a.kick(ctx, s); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// kick ends a session; one that has ended meanwhile is as well.
func (a *API) kick(ctx context.Context, s *query.SessionRow) error {
	ev, err := commands.EndSession{
		At: a.now(), Session: event.ToID(s.GetSession()), User: s.GetUser(), Reason: event.EndReason_END_REASON_ADMIN, By: callOf(ctx).name,
	}.Decide(commands.SessionState{User: s.GetUser()})
	if err != nil {
		return err
	}
	_, err = a.append(ctx, event.Presence, ev)
	return err
}

// Device is the phone that takes a user's pushes.
type Device struct {
	Type        string `json:"type" enum:"ios,android,none" doc:"none: pushes go nowhere"`
	Token       string `json:"token"`
	QuietNights bool   `json:"quiet_nights" doc:"No pushes from 22:00 to 07:00"`
}

var deviceTypes = map[string]imbase.ClientType{
	"ios": imbase.ClientType_CLIENT_TYPE_IOS, "android": imbase.ClientType_CLIENT_TYPE_ANDROID,
}

func (a *API) devices() {
	const tag = "Devices"
	register(a, route{id: "get-device", method: http.MethodGet, path: "/users/{user}/device", scope: UsersRead, tag: tag,
		summary: "Get where and when a user's pushes may go"}, a.getDevice)
	register(a, route{id: "set-device", method: http.MethodPut, path: "/users/{user}/device", scope: UsersWrite, tag: tag,
		summary: "Set the phone that takes a user's pushes", description: "The token is taken from whoever had it."}, a.setDevice)
	register(a, route{id: "remove-device", method: http.MethodDelete, path: "/users/{user}/device", scope: UsersWrite, tag: tag,
		summary: "Have a user's pushes go nowhere"}, a.removeDevice)
	register(a, route{id: "set-quiet-nights", method: http.MethodPut, path: "/users/{user}/quiet-nights", scope: UsersWrite, tag: tag,
		summary: "Turn a user's quiet nights on or off"}, a.setQuietNights)
}

func (a *API) device(ctx context.Context, user uint32) (*query.Device, error) {
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Devices{Devices: &query.Devices{Users: []uint32{user}}}})
	if err != nil {
		return nil, err
	}
	for _, d := range ans.GetDevices().GetDevices() {
		if d.GetUser() == user {
			return d, nil
		}
	}
	return nil, noSuchUser(user)
}

func deviceOf(d *query.Device) Device {
	out := Device{Type: "none", Token: d.GetToken(), QuietNights: d.GetPushShield()}
	for name, kind := range deviceTypes {
		if d.GetToken() != "" && uint32(kind) == d.GetType() {
			out.Type = name
		}
	}
	return out
}

type deviceOut struct{ Body Device }

func (a *API) getDevice(ctx context.Context, in *OfUser) (*deviceOut, error) {
	d, err := a.device(ctx, in.User)
	if err != nil {
		return nil, err
	}
	return &deviceOut{Body: deviceOf(d)}, nil
}

func (a *API) setDevice(ctx context.Context, in *struct {
	OfUser
	Body struct {
		Type  string `json:"type" enum:"ios,android"`
		Token string `json:"token" minLength:"1" maxLength:"512"`
	}
}) (*deviceOut, error) {
	if err := a.setToken(ctx, in.User, deviceTypes[in.Body.Type], in.Body.Token); err != nil {
		return nil, err
	}
	return a.getDevice(ctx, &in.OfUser)
}

func (a *API) removeDevice(ctx context.Context, in *OfUser) (*struct{}, error) {
	d, err := a.device(ctx, in.User)
	if err != nil || d.GetToken() == "" {
		return nil, err
	}
	return nil, a.setToken(ctx, in.User, imbase.ClientType(d.GetType()), "")
}

func (a *API) setToken(ctx context.Context, user uint32, kind imbase.ClientType, token string) error {
	p, _, err := a.person(ctx, user)
	if err != nil {
		return err
	}
	ev, err := commands.SetDeviceToken{At: a.now(), User: user, ClientType: kind, Token: token, By: callOf(ctx).name}.Decide(p)
	_, err = a.people(ctx, 0, ev, err)
	return err
}

func (a *API) setQuietNights(ctx context.Context, in *struct {
	OfUser
	Body struct {
		On bool `json:"on"`
	}
}) (*deviceOut, error) {
	p, _, err := a.person(ctx, in.User)
	if err != nil {
		return nil, err
	}
	ev, err := commands.SetPushShield{At: a.now(), User: in.User, On: in.Body.On, By: callOf(ctx).name}.Decide(p)
	if _, err = a.people(ctx, 0, ev, err); err != nil {
		return nil, err
	}
	return a.getDevice(ctx, &in.OfUser)
}

package commands

import (
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

// maxClientVersion is how many bytes of a client's free text are kept.
const maxClientVersion = 64

// Session is who asks: a session that is logged in. The zero value is a client that is not.
type Session struct {
	ID    event.ID
	User  uint32
	Class event.DeviceClass
}

func (s Session) loggedIn() bool { return s.User != 0 && s.ID != event.ID{} }

// asks refuses who may not ask for something of a user's own: a session must be logged in, and a caller of the API has
// none, but names the user.
func (s Session) asks(by string) error {
	switch {
	case by == "" && !s.loggedIn():
		return ErrNotLoggedIn
	case by != "" && (s.User == 0 || s.ID != event.ID{}):
		return ErrIncomplete
	}
	return nil
}

// session is the id as an event has it, nil where no session asks.
func (s Session) session() []byte {
	if s.ID == (event.ID{}) {
		return nil
	}
	return s.ID.Bytes()
}

// LoginState is what is known of a login's person.
type LoginState struct {
	Person         Person // of the name that was given
	PasswordProved bool   // the password was checked against that person's hash and is right
	PeopleSequence uint64 // position of PEOPLE that both are from
}

// OpenSession logs in.
type OpenSession struct {
	At            time.Time
	Session       event.ID // new
	Life          event.ID // of the node that holds the socket
	ClientType    imbase.ClientType
	OnlineStatus  imbase.UserStatType // what is outside the list counts as online
	ClientVersion string              // free text, cut to 64 bytes
	Policy        DevicePolicy
}

// Decide gives SessionOpened. An unknown name and a wrong password are one refusal, and an account is said to be disabled
// only to who knows its password.
func (c OpenSession) Decide(s LoginState) (*event.Event, error) {
	if noTime(c.At) || c.Session == (event.ID{}) || c.Life == (event.ID{}) {
		return nil, ErrIncomplete
	}
	class := event.ClassOf(uint32(c.ClientType))
	if class == event.DeviceClass_DEVICE_CLASS_UNSPECIFIED {
		return nil, ErrUnknownDevice
	}
	if s.Person.Number == 0 || !s.PasswordProved {
		return nil, ErrWrongPassword
	}
	if s.Person.Disabled {
		return nil, ErrPersonDisabled
	}
	status := c.OnlineStatus
	if status < imbase.UserStatType_USER_STATUS_ONLINE || status > imbase.UserStatType_USER_STATUS_LEAVE {
		status = imbase.UserStatType_USER_STATUS_ONLINE
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{
		Session:        c.Session.Bytes(),
		User:           s.Person.Number,
		ClientType:     uint32(c.ClientType),
		DeviceClass:    class,
		Life:           c.Life.Bytes(),
		Replaces:       c.Policy.Replaces(class),
		PeopleSequence: s.PeopleSequence,
		OnlineStatus:   uint32(status),
		ClientVersion:  cut(c.ClientVersion, maxClientVersion),
	}}}, nil
}

// SessionState is what is known of a session. A session that no view shows yet may be ended as well: its client left
// before the login was through.
type SessionState struct {
	User  uint32 // whose it is
	Ended bool
}

// EndSession ends one session for a reason that its node or an operator has.
type EndSession struct {
	At      time.Time
	Session event.ID
	User    uint32
	Reason  event.EndReason
	By      string
}

// Decide gives SessionEnded. The reasons that follow from other events (replaced, kicked, node stopped or lost) are not an
// EndSession's to give: [ErrIncomplete].
func (c EndSession) Decide(s SessionState) (*event.Event, error) {
	if noTime(c.At) || c.Session == (event.ID{}) || c.User == 0 || !endsOne(c.Reason) {
		return nil, ErrIncomplete
	}
	if s.User != c.User {
		return nil, ErrNotYours
	}
	if s.Ended {
		return nil, ErrSessionOver
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_SessionEnded{SessionEnded: &event.SessionEnded{
		Session: c.Session.Bytes(), User: c.User, Reason: c.Reason, By: cut(c.By, maxBy),
	}}}, nil
}

func endsOne(r event.EndReason) bool {
	switch r {
	case event.EndReason_END_REASON_LOGOUT, event.EndReason_END_REASON_CLOSED, event.EndReason_END_REASON_TIMEOUT,
		event.EndReason_END_REASON_DISABLED, event.EndReason_END_REASON_PASSWORD_CHANGED, event.EndReason_END_REASON_ABANDONED,
		event.EndReason_END_REASON_ADMIN, event.EndReason_END_REASON_SLOW, event.EndReason_END_REASON_PROTOCOL:
		return true
	}
	return false
}

// KickDesktop is the phone's wish that the user's desktop sessions end, and those in browsers with them: to the phone
// they are one.
type KickDesktop struct {
	At   time.Time
	From Session
}

// Decide gives DeviceClassKicked, also when no such session is known to be there: a login may be under way, and
// log order decides which are meant.
func (c KickDesktop) Decide() (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !c.From.loggedIn() {
		return nil, ErrNotLoggedIn
	}
	if c.From.Class != event.DeviceClass_DEVICE_CLASS_MOBILE {
		return nil, ErrNotMobile
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_DeviceClassKicked{DeviceClassKicked: &event.DeviceClassKicked{
		User:        c.From.User,
		DeviceClass: event.DeviceClass_DEVICE_CLASS_DESKTOP,
		Also:        []event.DeviceClass{event.DeviceClass_DEVICE_CLASS_WEB},
		Reason:      event.EndReason_END_REASON_KICKED,
		BySession:   c.From.ID.Bytes(),
	}}}, nil
}

package commands

import (
	"errors"
	"testing"
	"time"

	"godwit/schema/event"

	"google.golang.org/protobuf/proto"
)

var (
	noon  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	phc   = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c3Vt"
	alice = Person{Number: 7}
	bob   = Person{Number: 3}
	gone  = Person{Number: 3, Disabled: true}

	desk  = Session{ID: id(1), User: 7, Class: event.DeviceClass_DEVICE_CLASS_DESKTOP}
	phone = Session{ID: id(2), User: 7, Class: event.DeviceClass_DEVICE_CLASS_MOBILE}
)

// id is a ULID of the second before noon.
func id(n byte) event.ID {
	var u event.ID
	if err := u.SetTime(uint64(noon.Add(-time.Second).UnixMilli())); err != nil {
		panic(err)
	}
	u[15] = n
	return u
}

// decides is a command whose decision hangs on what the views say.
type decides[S any] interface {
	Decide(S) (*event.Event, error)
}

// alone turns a command that hangs on nothing into one of those.
type alone struct {
	c interface{ Decide() (*event.Event, error) }
}

func (a alone) Decide(struct{}) (*event.Event, error) { return a.c.Decide() }

// scenario: given what the views say, when this is asked, then that event, at noon, or that refusal.
type scenario[S any] struct {
	name   string
	given  S
	when   decides[S]
	then   any // the body of the event: *event.MessageSent and so on
	refuse error
}

func play[S any](t *testing.T, scenarios []scenario[S]) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			got, err := s.when.Decide(s.given)
			if !errors.Is(err, s.refuse) {
				t.Fatalf("error is %v, want %v", err, s.refuse)
			}
			if (got == nil) != (err != nil) {
				t.Fatalf("event %v together with error %v", got, err)
			}
			if err != nil {
				if _, ok := AsRefusal(err); ok == errors.Is(err, ErrIncomplete) {
					t.Errorf("%v is a refusal: %v", err, ok)
				}
				return
			}
			want := eventOf(t, s.then)
			if !proto.Equal(got, want) {
				t.Errorf("event is\n %v\nwant\n %v", got, want)
			}
			again, _ := s.when.Decide(s.given)
			if !proto.Equal(got, again) {
				t.Errorf("decided again it is\n %v\nfirst it was\n %v", again, got)
			}
			if b, err := proto.Marshal(got); err != nil || len(b) > event.MaxEventBytes {
				t.Errorf("the log cannot hold it: %d bytes, %v", len(b), err)
			}
		})
	}
}

func eventOf(t *testing.T, body any) *event.Event {
	t.Helper()
	e := &event.Event{At: noon.UnixMilli()}
	switch b := body.(type) {
	case *event.PersonRegistered:
		e.Body = &event.Event_PersonRegistered{PersonRegistered: b}
	case *event.PasswordChanged:
		e.Body = &event.Event_PasswordChanged{PasswordChanged: b}
	case *event.PersonDisabled:
		e.Body = &event.Event_PersonDisabled{PersonDisabled: b}
	case *event.PersonEnabled:
		e.Body = &event.Event_PersonEnabled{PersonEnabled: b}
	case *event.FriendAdded:
		e.Body = &event.Event_FriendAdded{FriendAdded: b}
	case *event.FriendRemoved:
		e.Body = &event.Event_FriendRemoved{FriendRemoved: b}
	case *event.SessionOpened:
		e.Body = &event.Event_SessionOpened{SessionOpened: b}
	case *event.SessionEnded:
		e.Body = &event.Event_SessionEnded{SessionEnded: b}
	case *event.DeviceClassKicked:
		e.Body = &event.Event_DeviceClassKicked{DeviceClassKicked: b}
	case *event.NodeStarted:
		e.Body = &event.Event_NodeStarted{NodeStarted: b}
	case *event.NodeStopped:
		e.Body = &event.Event_NodeStopped{NodeStopped: b}
	case *event.NodeLost:
		e.Body = &event.Event_NodeLost{NodeLost: b}
	case *event.MessageSent:
		e.Body = &event.Event_MessageSent{MessageSent: b}
	case *event.ReadAdvanced:
		e.Body = &event.Event_ReadAdvanced{ReadAdvanced: b}
	case *event.SessionEntryRemoved:
		e.Body = &event.Event_SessionEntryRemoved{SessionEntryRemoved: b}
	default:
		t.Fatalf("no event has a body of %T", body)
	}
	return e
}

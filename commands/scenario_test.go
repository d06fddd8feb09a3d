package commands

import (
	"errors"
	"testing"
	"time"

	"godwit/schema/event"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
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

// eventOf is an event at noon with the body given.
func eventOf(t *testing.T, body any) *event.Event {
	t.Helper()
	e := &event.Event{At: noon.UnixMilli()}
	m, ok := body.(proto.Message)
	if !ok {
		t.Fatalf("no event has a body of %T", body)
	}
	bodies := e.ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range bodies.Len() {
		if f := bodies.Get(i); f.Message().FullName() == m.ProtoReflect().Descriptor().FullName() {
			e.ProtoReflect().Set(f, protoreflect.ValueOfMessage(m.ProtoReflect()))
			return e
		}
	}
	t.Fatalf("no event has a body of %T", body)
	return nil
}

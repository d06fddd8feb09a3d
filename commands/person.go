package commands

import (
	"time"

	"godwit/schema/event"
)

// Person is what the people view knows about one user. The zero value is nobody.
type Person struct {
	Number   uint32
	Disabled bool
}

// exists also tells a state that was read for somebody else from the one asked for.
func (p Person) exists(user uint32) bool { return user != 0 && p.Number == user }

// ChangePassword gives a person another password. A disabled account may get one: it needs it when it is enabled again.
type ChangePassword struct {
	At           time.Time
	User         uint32
	PasswordHash string // PHC string
	By           string
}

// Decide gives PasswordChanged, which ends the sessions that were opened before it.
func (c ChangePassword) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	if c.PasswordHash == "" {
		return nil, ErrNoPassword
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_PasswordChanged{PasswordChanged: &event.PasswordChanged{
		User: c.User, PasswordHash: c.PasswordHash, By: cut(c.By, maxBy),
	}}}, nil
}

// DisablePerson closes an account: its sessions end, nobody logs in to it or writes to it.
type DisablePerson struct {
	At   time.Time
	User uint32
	By   string
}

// Decide gives PersonDisabled.
func (c DisablePerson) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	if s.Disabled {
		return nil, ErrAlreadyDisabled
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_PersonDisabled{PersonDisabled: &event.PersonDisabled{
		User: c.User, By: cut(c.By, maxBy),
	}}}, nil
}

// EnablePerson opens a disabled account again.
type EnablePerson struct {
	At   time.Time
	User uint32
	By   string
}

// Decide gives PersonEnabled.
func (c EnablePerson) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	if !s.Disabled {
		return nil, ErrNotDisabled
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_PersonEnabled{PersonEnabled: &event.PersonEnabled{
		User: c.User, By: cut(c.By, maxBy),
	}}}, nil
}

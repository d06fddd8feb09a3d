package commands

import (
	"time"

	"godwit/schema/event"
)

// RehashPassword replaces the stored hash of a password that was just proved by a better one of the same password.
type RehashPassword struct {
	At                  time.Time
	User                uint32
	PasswordHash        string // PHC string
	CredentialsSequence uint64 // of the account when the password was proved: a change since then wins
}

// Decide gives PasswordRehashed, which ends no session.
func (c RehashPassword) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	if c.PasswordHash == "" {
		return nil, ErrNoPassword
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_PasswordRehashed{PasswordRehashed: &event.PasswordRehashed{
		User: c.User, PasswordHash: c.PasswordHash, CredentialsSequence: c.CredentialsSequence,
	}}}, nil
}

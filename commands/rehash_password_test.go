package commands

import (
	"testing"

	"godwit/schema/event"
)

func TestRehashPassword(t *testing.T) {
	c := RehashPassword{At: noon, User: 3, PasswordHash: phc, CredentialsSequence: 9}
	play(t, []scenario[Person]{
		{name: "a better hash", given: bob, when: c,
			then: &event.PasswordRehashed{User: 3, PasswordHash: phc, CredentialsSequence: 9}},
		{name: "nobody", when: c, refuse: ErrNoSuchPerson},
		{name: "another than was read", given: alice, when: c, refuse: ErrNoSuchPerson},
		{name: "no hash", given: bob, when: RehashPassword{At: noon, User: 3}, refuse: ErrNoPassword},
		{name: "no time", given: bob, when: RehashPassword{User: 3, PasswordHash: phc}, refuse: ErrIncomplete},
	})
}

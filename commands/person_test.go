package commands

import (
	"testing"

	"godwit/schema/event"
)

func TestChangePassword(t *testing.T) {
	c := ChangePassword{At: noon, User: 3, PasswordHash: phc, By: "admin"}
	play(t, []scenario[Person]{
		{name: "a person gets another password", given: bob, when: c, then: &event.PasswordChanged{User: 3, PasswordHash: phc, By: "admin"}},
		{name: "a disabled one as well", given: gone, when: c, then: &event.PasswordChanged{User: 3, PasswordHash: phc, By: "admin"}},
		{name: "nobody", when: c, refuse: ErrNoSuchPerson},
		{name: "nobody by number 0", when: ChangePassword{At: noon, PasswordHash: phc}, refuse: ErrNoSuchPerson},
		{name: "another than was read", given: alice, when: c, refuse: ErrNoSuchPerson},
		{name: "no password", given: bob, when: ChangePassword{At: noon, User: 3}, refuse: ErrNoPassword},
		{name: "no time", given: bob, when: ChangePassword{User: 3, PasswordHash: phc}, refuse: ErrIncomplete},
	})
}

func TestDisablePerson(t *testing.T) {
	c := DisablePerson{At: noon, User: 3, By: "admin"}
	play(t, []scenario[Person]{
		{name: "an account is closed", given: bob, when: c, then: &event.PersonDisabled{User: 3, By: "admin"}},
		{name: "twice", given: gone, when: c, refuse: ErrAlreadyDisabled},
		{name: "nobody", when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: bob, when: DisablePerson{User: 3}, refuse: ErrIncomplete},
	})
}

func TestEnablePerson(t *testing.T) {
	c := EnablePerson{At: noon, User: 3, By: "admin"}
	play(t, []scenario[Person]{
		{name: "an account is opened again", given: gone, when: c, then: &event.PersonEnabled{User: 3, By: "admin"}},
		{name: "an open one", given: bob, when: c, refuse: ErrNotDisabled},
		{name: "nobody", when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: gone, when: EnablePerson{User: 3}, refuse: ErrIncomplete},
	})
}

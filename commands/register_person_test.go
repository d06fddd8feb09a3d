package commands

import (
	"strings"
	"testing"

	"godwit/schema/event"
)

func TestRegisterPerson(t *testing.T) {
	// with is Alice's registration with one thing changed.
	with := func(change func(*RegisterPerson)) RegisterPerson {
		c := RegisterPerson{At: noon, Name: "Alice", PasswordHash: phc, By: "admin"}
		change(&c)
		return c
	}
	same := func(*RegisterPerson) {}
	play(t, []scenario[NameState]{
		{name: "the name is made lower case, the nick stays as typed",
			when: with(same),
			then: &event.PersonRegistered{Name: "alice", Nick: "Alice", PasswordHash: phc, By: "admin"}},
		{name: "the name is composed",
			when: with(func(c *RegisterPerson) { c.Name = "A\u0308nne" }),
			then: &event.PersonRegistered{Name: "\u00e4nne", Nick: "\u00c4nne", PasswordHash: phc, By: "admin"}},
		{name: "a name of 64 characters in three bytes each gives a nick of 32",
			when: with(func(c *RegisterPerson) { c.Name = strings.Repeat("雁", 64) }),
			then: &event.PersonRegistered{Name: strings.Repeat("雁", 64), Nick: strings.Repeat("雁", 32), PasswordHash: phc, By: "admin"}},
		{name: "everything is recorded",
			when: with(func(c *RegisterPerson) {
				*c = RegisterPerson{At: noon, Name: "bob", PasswordHash: phc, Nick: "Bob B.", Number: 42, Gender: 1, AvatarURL: "http://x/a.png",
					Department: 2, Email: "b@example.org", Telephone: "01234567890", Domain: "bob", Employment: 2, Signature: "hm", By: "import"}
			}),
			then: &event.PersonRegistered{Name: "bob", PasswordHash: phc, Nick: "Bob B.", Number: 42, Gender: 1, AvatarUrl: "http://x/a.png",
				Department: 2, Email: "b@example.org", Telephone: "01234567890", Domain: "bob", Employment: 2, Signature: "hm", By: "import"}},
		{name: "a taken number does not matter to who asks for none",
			given: NameState{NumberTaken: true}, when: with(same),
			then: &event.PersonRegistered{Name: "alice", Nick: "Alice", PasswordHash: phc, By: "admin"}},
		{name: "an origin that is no text is made one",
			when: with(func(c *RegisterPerson) { c.By = "k\xff" }),
			then: &event.PersonRegistered{Name: "alice", Nick: "Alice", PasswordHash: phc, By: "k\ufffd"}},

		{name: "the name is taken", given: NameState{Owner: 3}, when: with(same), refuse: ErrNameTaken},
		{name: "the number is taken", given: NameState{NumberTaken: true}, when: with(func(c *RegisterPerson) { c.Number = 42 }), refuse: ErrNumberTaken},
		{name: "no name", when: with(func(c *RegisterPerson) { c.Name = "" }), refuse: ErrNameEmpty},
		{name: "65 characters", when: with(func(c *RegisterPerson) { c.Name = strings.Repeat("a", 65) }), refuse: ErrNameTooLong},
		{name: "a space", when: with(func(c *RegisterPerson) { c.Name = "alice smith" }), refuse: ErrNameCharacters},
		{name: "a space that has no width", when: with(func(c *RegisterPerson) { c.Name = "ali\u200bce" }), refuse: ErrNameCharacters},
		{name: "text that runs backwards", when: with(func(c *RegisterPerson) { c.Name = "\u202eecila" }), refuse: ErrNameCharacters},
		{name: "a NUL", when: with(func(c *RegisterPerson) { c.Name = "alice\x00" }), refuse: ErrNameCharacters},
		{name: "a name that is no text", when: with(func(c *RegisterPerson) { c.Name = "al\xffice" }), refuse: ErrNameCharacters},
		{name: "no password", when: with(func(c *RegisterPerson) { c.PasswordHash = "" }), refuse: ErrNoPassword},
		{name: "long nick", when: with(func(c *RegisterPerson) { c.Nick = strings.Repeat("雁", 33) }), refuse: ErrField},
		{name: "a line break in the nick", when: with(func(c *RegisterPerson) { c.Nick = "a\nb" }), refuse: ErrField},
		{name: "a nick that is no text", when: with(func(c *RegisterPerson) { c.Nick = "\xff" }), refuse: ErrField},
		{name: "long e-mail", when: with(func(c *RegisterPerson) { c.Email = strings.Repeat("e", 65) }), refuse: ErrField},
		{name: "long telephone", when: with(func(c *RegisterPerson) { c.Telephone = "012345678901" }), refuse: ErrField},
		{name: "long domain", when: with(func(c *RegisterPerson) { c.Domain = strings.Repeat("d", 33) }), refuse: ErrField},
		{name: "long avatar", when: with(func(c *RegisterPerson) { c.AvatarURL = strings.Repeat("u", 256) }), refuse: ErrField},
		{name: "a signature of 129 bytes", when: with(func(c *RegisterPerson) { c.Signature = strings.Repeat("雁", 43) }), refuse: ErrField},
		{name: "an unknown gender", when: with(func(c *RegisterPerson) { c.Gender = 3 }), refuse: ErrField},
		{name: "an unknown employment", when: with(func(c *RegisterPerson) { c.Employment = 5 }), refuse: ErrField},
		{name: "no time", when: RegisterPerson{Name: "alice", PasswordHash: phc}, refuse: ErrIncomplete},
	})
}

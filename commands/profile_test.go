package commands

import (
	"strings"
	"testing"

	"godwit/schema/event"
)

func TestChangeProfile(t *testing.T) {
	change := func(f func(c *ChangeProfile)) ChangeProfile {
		c := ChangeProfile{At: noon, User: 3, By: "admin"}
		f(&c)
		return c
	}
	signature := func(s string) ChangeProfile { return change(func(c *ChangeProfile) { c.Signature = &s }) }
	play(t, []scenario[Person]{
		{name: "only what is set", given: bob, when: ChangeProfile{At: noon, User: 3, Signature: new("hi"), Session: id(4)},
			then: &event.ProfileChanged{User: 3, Signature: new("hi"), Session: id(4).Bytes()}},
		{name: "everything", given: bob, when: ChangeProfile{
			At: noon, User: 3, Nick: new("e\u0301"), Gender: new(uint32(2)), AvatarURL: new("http://a"), Department: new(uint32(9)),
			Email: new("b@x"), Telephone: new("1"), Domain: new("bob"), Employment: new(uint32(3)), Signature: new(""), By: "key:1",
		}, then: &event.ProfileChanged{
			User: 3, Nick: new("é"), Gender: new(uint32(2)), AvatarUrl: new("http://a"), Department: new(uint32(9)),
			Email: new("b@x"), Telephone: new("1"), Domain: new("bob"), Employment: new(uint32(3)), Signature: new(""), By: "key:1",
		}},
		{name: "of a closed account", given: gone, when: signature("hi"), then: &event.ProfileChanged{User: 3, Signature: new("hi"), By: "admin"}},
		{name: "a signature of 128 bytes", given: bob, when: signature(strings.Repeat("é", 64)),
			then: &event.ProfileChanged{User: 3, Signature: new(strings.Repeat("é", 64)), By: "admin"}},
		{name: "of 129 bytes, in fewer characters", given: bob, when: signature(strings.Repeat("é", 64) + "x"), refuse: ErrField},
		{name: "a signature of two lines", given: bob, when: signature("a\nb"), refuse: ErrField},
		{name: "no nick", given: bob, when: change(func(c *ChangeProfile) { c.Nick = new("") }), refuse: ErrField},
		{name: "a nick that is too long", given: bob, when: change(func(c *ChangeProfile) { c.Nick = new(strings.Repeat("x", 33)) }), refuse: ErrField},
		{name: "an avatar that is too long", given: bob, when: change(func(c *ChangeProfile) { c.AvatarURL = new(strings.Repeat("x", 256)) }), refuse: ErrField},
		{name: "no text", given: bob, when: change(func(c *ChangeProfile) { c.Email = new("\xff") }), refuse: ErrField},
		{name: "a third gender of a protocol of two", given: bob, when: change(func(c *ChangeProfile) { c.Gender = new(uint32(3)) }), refuse: ErrField},
		{name: "an employment beyond the list", given: bob, when: change(func(c *ChangeProfile) { c.Employment = new(uint32(5)) }), refuse: ErrField},
		{name: "nothing", given: bob, when: ChangeProfile{At: noon, User: 3}, refuse: ErrNothingToChange},
		{name: "nobody", when: signature("hi"), refuse: ErrNoSuchPerson},
		{name: "another than was read", given: alice, when: signature("hi"), refuse: ErrNoSuchPerson},
		{name: "no time", given: bob, when: ChangeProfile{User: 3, Signature: new("hi")}, refuse: ErrIncomplete},
	})
}

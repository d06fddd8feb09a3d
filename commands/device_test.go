package commands

import (
	"strings"
	"testing"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

func TestSetDeviceToken(t *testing.T) {
	c := SetDeviceToken{At: noon, User: 3, ClientType: imbase.ClientType_CLIENT_TYPE_IOS, Token: "0011", Session: id(4)}
	with := func(f func(c *SetDeviceToken)) SetDeviceToken {
		c := c
		f(&c)
		return c
	}
	set := &event.DeviceTokenSet{User: 3, ClientType: uint32(imbase.ClientType_CLIENT_TYPE_IOS), Token: "0011", Session: id(4).Bytes()}
	play(t, []scenario[Person]{
		{name: "a phone", given: bob, when: c, then: set},
		{name: "of a closed account", given: gone, when: c, then: set},
		{name: "no pushes any more", given: bob, when: SetDeviceToken{At: noon, User: 3, ClientType: imbase.ClientType_CLIENT_TYPE_ANDROID, By: "admin"},
			then: &event.DeviceTokenSet{User: 3, ClientType: uint32(imbase.ClientType_CLIENT_TYPE_ANDROID), By: "admin"}},
		{name: "a desktop", given: bob, when: with(func(c *SetDeviceToken) { c.ClientType = imbase.ClientType_CLIENT_TYPE_WINDOWS }), refuse: ErrNotMobile},
		{name: "no kind", given: bob, when: with(func(c *SetDeviceToken) { c.ClientType = 0 }), refuse: ErrNotMobile},
		{name: "a token that is too long", given: bob, when: with(func(c *SetDeviceToken) { c.Token = strings.Repeat("é", 257) }), refuse: ErrField},
		{name: "no text", given: bob, when: with(func(c *SetDeviceToken) { c.Token = "\x00" }), refuse: ErrField},
		{name: "nobody", when: c, refuse: ErrNoSuchPerson},
		{name: "no time", given: bob, when: with(func(c *SetDeviceToken) { c.At = c.At.AddDate(-100, 0, 0) }), refuse: ErrIncomplete},
	})
}

func TestSetPushShield(t *testing.T) {
	play(t, []scenario[Person]{
		{name: "on", given: bob, when: SetPushShield{At: noon, User: 3, On: true, Session: id(4)},
			then: &event.PushShieldSet{User: 3, On: true, Session: id(4).Bytes()}},
		{name: "off, by an operator", given: gone, when: SetPushShield{At: noon, User: 3, By: "admin"}, then: &event.PushShieldSet{User: 3, By: "admin"}},
		{name: "nobody", when: SetPushShield{At: noon, User: 3}, refuse: ErrNoSuchPerson},
		{name: "no time", given: bob, when: SetPushShield{User: 3}, refuse: ErrIncomplete},
	})
}

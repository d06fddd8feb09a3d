package commands

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"godwit/schema/event"
)

func TestAddAPIKey(t *testing.T) {
	hash := bytes.Repeat([]byte{7}, 32)
	c := AddAPIKey{At: noon, ID: "k_1", Hash: hash, Name: "shop", Scopes: []string{"users:read", "*"}, By: "operator"}
	with := func(f func(c *AddAPIKey)) AddAPIKey {
		c := c
		f(&c)
		return c
	}
	play(t, []scenario[KeyState]{
		{name: "for ever", when: c, then: &event.ApiKeyAdded{Id: "k_1", Hash: hash, Name: "shop", Scopes: []string{"users:read", "*"}, By: "operator"}},
		{name: "for an hour", when: with(func(c *AddAPIKey) { c.Expires = noon.Add(time.Hour) }), then: &event.ApiKeyAdded{
			Id: "k_1", Hash: hash, Name: "shop", Scopes: []string{"users:read", "*"}, Expires: noon.Add(time.Hour).UnixMilli(), By: "operator"}},
		{name: "until now", when: with(func(c *AddAPIKey) { c.Expires = noon }), refuse: ErrField},
		{name: "again", given: KeyState{Exists: true}, when: c, refuse: ErrKeyTaken},
		{name: "one that was revoked", given: KeyState{Exists: true, Revoked: true}, when: c, refuse: ErrKeyTaken},
		{name: "no id", when: with(func(c *AddAPIKey) { c.ID = "" }), refuse: ErrField},
		{name: "an id of other characters", when: with(func(c *AddAPIKey) { c.ID = "k.1" }), refuse: ErrField},
		{name: "an id that is too long", when: with(func(c *AddAPIKey) { c.ID = strings.Repeat("x", 65) }), refuse: ErrField},
		{name: "no name", when: with(func(c *AddAPIKey) { c.Name = "" }), refuse: ErrNameEmpty},
		{name: "no scope", when: with(func(c *AddAPIKey) { c.Scopes = nil }), refuse: ErrField},
		{name: "a scope twice", when: with(func(c *AddAPIKey) { c.Scopes = []string{"a", "a"} }), refuse: ErrField},
		{name: "a scope of other characters", when: with(func(c *AddAPIKey) { c.Scopes = []string{"a b"} }), refuse: ErrField},
		{name: "too many scopes", when: with(func(c *AddAPIKey) { c.Scopes = strings.Split("abcdefghijklmnopq", "") }), refuse: ErrField},
		{name: "the secret instead of its hash", when: with(func(c *AddAPIKey) { c.Hash = []byte("secret") }), refuse: ErrIncomplete},
		{name: "no time", when: with(func(c *AddAPIKey) { c.At = time.UnixMilli(0) }), refuse: ErrIncomplete},
	})
}

func TestRevokeAPIKey(t *testing.T) {
	c := RevokeAPIKey{At: noon, ID: "k1", By: "operator"}
	play(t, []scenario[KeyState]{
		{name: "a key", given: KeyState{Exists: true}, when: c, then: &event.ApiKeyRevoked{Id: "k1", By: "operator"}},
		{name: "twice", given: KeyState{Exists: true, Revoked: true}, when: c, refuse: ErrKeyRevoked},
		{name: "none", when: c, refuse: ErrNoSuchKey},
		{name: "no time", given: KeyState{Exists: true}, when: RevokeAPIKey{ID: "k1"}, refuse: ErrIncomplete},
	})
}

func TestSetWebhook(t *testing.T) {
	const secret = "0123456789abcdef"
	c := SetWebhook{At: noon, ID: "w1", URL: "https://example.org/push?a=b", Secret: secret, By: "key:k1"}
	with := func(f func(c *SetWebhook)) SetWebhook {
		c := c
		f(&c)
		return c
	}
	there := WebhookState{Exists: true}
	play(t, []scenario[WebhookState]{
		{name: "a new one", when: c, then: &event.WebhookSet{Id: "w1", Url: "https://example.org/push?a=b", Secret: secret, By: "key:k1"}},
		{name: "another secret", given: there, when: c, then: &event.WebhookSet{Id: "w1", Url: "https://example.org/push?a=b", Secret: secret, By: "key:k1"}},
		{name: "with the secret that it has", given: there, when: SetWebhook{At: noon, ID: "w1", URL: "http://[::1]:80/", Disabled: true},
			then: &event.WebhookSet{Id: "w1", Url: "http://[::1]:80/", Disabled: true}},
		{name: "a new one without a secret", when: with(func(c *SetWebhook) { c.Secret = "" }), refuse: ErrField},
		{name: "a secret that can be guessed", when: with(func(c *SetWebhook) { c.Secret = secret[1:] }), refuse: ErrField},
		{name: "a secret that is too long", when: with(func(c *SetWebhook) { c.Secret = strings.Repeat("x", 257) }), refuse: ErrField},
		{name: "no id", when: with(func(c *SetWebhook) { c.ID = "" }), refuse: ErrField},
		{name: "no URL", when: with(func(c *SetWebhook) { c.URL = "" }), refuse: ErrField},
		{name: "a path", when: with(func(c *SetWebhook) { c.URL = "/push" }), refuse: ErrField},
		{name: "another protocol", when: with(func(c *SetWebhook) { c.URL = "file:///etc/passwd" }), refuse: ErrField},
		{name: "no host", when: with(func(c *SetWebhook) { c.URL = "http://:80/" }), refuse: ErrField},
		{name: "a URL that is too long", when: with(func(c *SetWebhook) { c.URL += strings.Repeat("x", 2048) }), refuse: ErrField},
		{name: "no time", when: with(func(c *SetWebhook) { c.At = time.UnixMilli(0) }), refuse: ErrIncomplete},
	})
}

func TestRemoveWebhook(t *testing.T) {
	c := RemoveWebhook{At: noon, ID: "w1", By: "key:k1"}
	play(t, []scenario[WebhookState]{
		{name: "a target", given: WebhookState{Exists: true}, when: c, then: &event.WebhookRemoved{Id: "w1", By: "key:k1"}},
		{name: "none", when: c, refuse: ErrNoSuchWebhook},
		{name: "no time", given: WebhookState{Exists: true}, when: RemoveWebhook{ID: "w1"}, refuse: ErrIncomplete},
	})
}

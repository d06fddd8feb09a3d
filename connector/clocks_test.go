package connector

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"godwit/commands"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

// What one server made holds on another whose clock is a minute behind or ahead.
func TestClocksAMinuteApart(t *testing.T) {
	s := newSafe()
	now := time.Now()
	for _, apart := range []time.Duration{-time.Minute, 0, time.Minute} {
		made, read := &keeper{ttl: time.Hour, read: s.read}, &keeper{ttl: time.Hour, read: s.read}
		token, _, err := made.issue(t.Context(), 7, 3, now.Add(apart))
		if err != nil {
			t.Fatal(err)
		}
		if user, credentials, err := read.check(t.Context(), token, now); user != 7 || credentials != 3 || err != nil {
			t.Errorf("a token made %v apart: user %d, %v", apart, user, err)
		}
		id := ulid.ULID{15: 1}
		if err := id.SetTime(uint64(now.Add(apart).UnixMilli())); err != nil {
			t.Fatal(err)
		}
		c := commands.SendMessage{At: now, From: commands.Session{ID: event.ID{1}, User: 1, Class: event.DeviceClass_DEVICE_CLASS_DESKTOP}, To: 2,
			Type: imbase.MsgType_MSG_TYPE_SINGLE_TEXT, Body: []byte("x"), ClientMessageID: id[:]}
		if _, err := c.Decide(commands.Permit{Peer: commands.Person{Number: 2}}); err != nil {
			t.Errorf("a client's id made %v apart: %v", apart, err)
		}
	}
}

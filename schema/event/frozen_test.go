package event_test

import (
	"encoding/hex"
	"testing"

	. "godwit/schema/event"
)

// The functions below are part of every log: what they give must never change.

func TestThePartitionOfAConversationIsFrozen(t *testing.T) {
	for _, c := range []struct {
		key      ConversationKey
		p8, p64  int
		text     string
		elements string
	}{
		{Direct(2, 1), 5, 29, "d-1-2", "640000000100000002"},
		{Direct(1000, 70000), 0, 40, "d-1000-70000", "64000003e800011170"},
		{Group(7), 4, 44, "g-7", "670000000000000007"},
	} {
		if got := c.key.Partition(8); got != c.p8 {
			t.Errorf("%v of 8: %d, must be %d", c.key, got, c.p8)
		}
		if got := c.key.Partition(64); got != c.p64 {
			t.Errorf("%v of 64: %d, must be %d", c.key, got, c.p64)
		}
		if got := c.key.Partition(1); got != 0 {
			t.Errorf("%v of 1: %d", c.key, got)
		}
		if c.key.String() != c.text || hex.EncodeToString(c.key[:]) != c.elements {
			t.Errorf("%v is %x", c.key, c.key[:])
		}
		if back, ok := ParseConversation(c.key[:]); !ok || back != c.key {
			t.Errorf("%v is read as %v, %v", c.key, back, ok)
		}
	}
}

func TestRepeatKeysAreFrozen(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"new":   {RepeatKey(7, Direct(7, 9), id(6)), "cf3a94a1ccc2888050950f59502cf4be"},
		"old":   {RepeatKeyOld(7, DeviceClass_DEVICE_CLASS_DESKTOP, 300, []byte("body")), "11724305c3459468497e3eaa4a340c50"},
		"seq 0": {RepeatKeyOld(7, DeviceClass_DEVICE_CLASS_DESKTOP, 0, []byte("body")), ""},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s: %s, must be %s", name, got, c.want)
		}
	}
}

func TestDeviceClassesAreFrozen(t *testing.T) {
	classes := map[uint32]DeviceClass{
		1: DeviceClass_DEVICE_CLASS_DESKTOP, 2: DeviceClass_DEVICE_CLASS_DESKTOP,
		17: DeviceClass_DEVICE_CLASS_MOBILE, 18: DeviceClass_DEVICE_CLASS_MOBILE,
		33: DeviceClass_DEVICE_CLASS_WEB,
	}
	for clientType := range uint32(300) {
		if got := ClassOf(clientType); got != classes[clientType] {
			t.Errorf("client type %d: %s, must be %s", clientType, got, classes[clientType])
		}
	}
	shown := map[DeviceClass]bool{DeviceClass_DEVICE_CLASS_DESKTOP: true, DeviceClass_DEVICE_CLASS_WEB: true}
	for number := range DeviceClass_name {
		if class := DeviceClass(number); class.Shown() != shown[class] {
			t.Errorf("%s makes its user online to others: %v", class, class.Shown())
		}
	}
}

func TestKeysThatNoConversationHas(t *testing.T) {
	for _, text := range []string{
		"", "64", "6400000001000000", "64000000010000000200", // lengths
		"640000000000000002", "640000000200000001", "640000000200000002", // users
		"670000000000000000", "670000000100000007", // groups
		"780000000100000002", // kind
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := ParseConversation(b); ok {
			t.Errorf("%s is read as %v", text, key)
		}
	}
}

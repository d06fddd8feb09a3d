package event

import (
	"time"

	"github.com/oklog/ulid/v2"
)

// Limits of the log (design section 3). A record is cut before it exceeds any of
// them; an event that can't fit alone is refused to its client.
const (
	MaxRecordEvents = 512
	MaxRecordBytes  = 256 << 10
	// MaxEventBytes is the most one event may take; it then travels alone in a
	// record, which stays well under NATS's max_payload of 1 MiB.
	MaxEventBytes = 384 << 10
)

// Rule is the version of the rules that new records are written with.
const Rule uint32 = 1

// Windows within which a repeated message is recognised, between the times in the
// two events themselves.
const (
	RepeatWindow    = 7 * 24 * time.Hour // messages with a client message id
	RepeatWindowOld = 2 * time.Minute    // old clients, told by seq_num and bytes
)

// ID is a ULID as it travels in events: 16 bytes.
type ID = ulid.ULID

// ToID reads a ULID out of an event's field. A field of another length gives the
// zero ID, which no writer uses.
func ToID(b []byte) ID {
	var id ID
	if len(b) == len(id) {
		copy(id[:], b)
	}
	return id
}

// ClassOf is the device class of a client type: of TeamTalk's (1 Windows, 2 Mac, 17 iOS,
// 18 Android), or 33, a browser. The types are a closed list.
func ClassOf(clientType uint32) DeviceClass {
	switch clientType {
	case 1, 2:
		return DeviceClass_DEVICE_CLASS_DESKTOP
	case 17, 18:
		return DeviceClass_DEVICE_CLASS_MOBILE
	case 33:
		return DeviceClass_DEVICE_CLASS_WEB
	}
	return DeviceClass_DEVICE_CLASS_UNSPECIFIED
}

// Shown tells whether a session of the class makes its user online to others. Phones come
// and go unseen.
func (c DeviceClass) Shown() bool {
	return c == DeviceClass_DEVICE_CLASS_DESKTOP || c == DeviceClass_DEVICE_CLASS_WEB
}

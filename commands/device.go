package commands

import (
	"time"

	imbase "godwit/schema/client/basedefine"
	"godwit/schema/event"
)

// MaxDeviceToken is the most bytes of a device token.
const MaxDeviceToken = 512

// SetDeviceToken says where pushes for a person's phone go. It is taken from whoever had the token before.
type SetDeviceToken struct {
	At         time.Time
	User       uint32
	ClientType imbase.ClientType // of the phone
	Token      string            // empty: no pushes any more
	Session    event.ID          // of the client that asks, if one does
	By         string
}

// Decide gives DeviceTokenSet.
func (c SetDeviceToken) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	if event.ClassOf(uint32(c.ClientType)) != event.DeviceClass_DEVICE_CLASS_MOBILE {
		return nil, ErrNotMobile
	}
	if err := checkField("device token", c.Token, MaxDeviceToken); err != nil {
		return nil, err
	}
	if err := checkBytes("device token", c.Token, MaxDeviceToken); err != nil {
		return nil, err
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_DeviceTokenSet{DeviceTokenSet: &event.DeviceTokenSet{
		User: c.User, ClientType: uint32(c.ClientType), Token: c.Token, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

// SetPushShield turns a person's quiet nights on or off.
type SetPushShield struct {
	At      time.Time
	User    uint32
	On      bool
	Session event.ID
	By      string
}

// Decide gives PushShieldSet. Whether it was so already is told by the outcome of the event.
func (c SetPushShield) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_PushShieldSet{PushShieldSet: &event.PushShieldSet{
		User: c.User, On: c.On, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}}}, nil
}

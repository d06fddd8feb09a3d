package commands

import (
	"time"

	"godwit/schema/event"
)

// ReserveGroup asks for the number of a group that is about to be made.
type ReserveGroup struct {
	At     time.Time
	Number uint32 // 0: the next free one; an import names its own
	By     string
}

// Decide gives GroupReserved. The number is the outcome of the event.
func (c ReserveGroup) Decide() (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_GroupReserved{GroupReserved: &event.GroupReserved{
		Number: c.Number, By: cut(c.By, maxBy),
	}}}, nil
}

// Package explain says in plain words what the log holds, and why something is as it is: what one event means, why a
// conversation is unread, why a session ended. All of it is pure: events and answers of views go in, sentences come out.
//
// What it says is for operators, who may read the log but not what people write to each other: no body of a message, no
// password's hash, token or secret, no text or file's name that somebody wrote to somebody ever comes out. [Describe]
// gives only the fields that a list in this package names.
//
// A fold decides what an event comes to: a message may have been void, a mark may have been there already. One event
// alone does not say so; [Unread] and [Sessions], which see an event among its neighbours, do.
package explain

import (
	"time"

	"godwit/schema/event"
)

// Entry is an event where it stands in the log.
type Entry struct {
	Stream   event.Stream
	Sequence uint64
	Index    int       // of the event in its record, from 0
	Stored   time.Time // when the log took the record; orders entries of different streams
	Event    *event.Event
}

// At is when the event was decided, by the clock of the node that did.
func (e Entry) At() time.Time { return time.UnixMilli(e.Event.GetAt()).UTC() }

// Names are what users, groups and departments are called; who is not in them is called by a number.
type Names struct {
	Users       map[uint32]string
	Groups      map[uint32]string
	Departments map[uint32]string
	Nodes       map[event.ID]string // hosts by life
}

package explain

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"godwit/schema/event"
)

// people are the fields that hold users' numbers.
var people = []protoreflect.Name{"user", "from", "to", "lower", "higher", "friend", "creator", "administrator", "members", "added", "removed"}

// Users are those whom an event names: who did it, to whom it was done, and both parties of a conversation of two; the
// first ones, at most so many.
func Users(ev *event.Event, most int) []uint32 {
	var all []uint32
	visit(ev, func(u uint32) bool {
		if !slices.Contains(all, u) {
			all = append(all, u)
		}
		return len(all) < most
	})
	return all
}

// visit shows the users whom an event names, until see has seen enough; some come twice.
func visit(ev *event.Event, see func(user uint32) (more bool)) {
	b := body(ev)
	if b == nil {
		return
	}
	more := true
	add := func(v protoreflect.Value) bool {
		if u := uint32(v.Uint()); u != 0 {
			more = see(u)
		}
		return more
	}
	if k, ok := Conversation(ev); ok && k.IsDirect() {
		lower, higher := k.Parties()
		if !see(lower) || !see(higher) {
			return
		}
	}
	b.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Name() == "number" && ev.GetPersonRegistered() != nil:
			return add(v)
		case f.Kind() != protoreflect.Uint32Kind || !slices.Contains(people, f.Name()):
			return true
		case !f.IsList():
			return add(v)
		}
		for i := range v.List().Len() {
			if !add(v.List().Get(i)) {
				return false
			}
		}
		return true
	})
}

// Conversation is that which an event belongs to, if it belongs to one.
func Conversation(ev *event.Event) (event.ConversationKey, bool) {
	b := body(ev)
	if b == nil {
		return event.ConversationKey{}, false
	}
	f := b.Descriptor().Fields().ByName("conversation")
	if f == nil {
		return event.ConversationKey{}, false
	}
	return event.ParseConversation(b.Get(f).Bytes())
}

// Filter chooses events. What is zero chooses all.
type Filter struct {
	Type         string // as [Types] names them
	User         uint32 // one whom the event names
	Name         string // login name of User: an account's first event has no number yet
	Conversation event.ConversationKey
}

// Matches tells whether an event is one of those chosen.
func (f Filter) Matches(ev *event.Event) bool {
	if f.Type != "" && TypeOf(ev) != f.Type {
		return false
	}
	if f.Conversation != (event.ConversationKey{}) {
		if k, ok := Conversation(ev); !ok || k != f.Conversation {
			return false
		}
	}
	if f.User == 0 {
		return true
	}
	if r := ev.GetPersonRegistered(); r != nil && f.Name != "" && r.GetName() == f.Name {
		return true
	}
	return names(ev, f.User)
}

// names tells whether an event names a user.
func names(ev *event.Event, user uint32) bool {
	switch b := ev.Body.(type) { // most of what is in a log
	case *event.Event_MessageSent:
		if b.MessageSent.GetFrom() == user {
			return true
		}
		k, ok := event.ParseConversation(b.MessageSent.GetConversation())
		return ok && k.IsDirect() && k.Peer(user) != 0
	case *event.Event_SessionOpened:
		return b.SessionOpened.GetUser() == user
	case *event.Event_SessionEnded:
		return b.SessionEnded.GetUser() == user
	}
	found := false
	visit(ev, func(u uint32) bool {
		found = u == user
		return !found
	})
	return found
}

// presenceTypes are what PRESENCE holds.
var presenceTypes = []string{"NodeStarted", "NodeStopped", "NodeLost", "SessionOpened", "SessionEnded", "DeviceClassKicked"}

// Streams are those of a log of p partitions that may hold events of the filter.
func (f Filter) Streams(p int) []event.Stream {
	all := event.Streams(p)
	ofConversation := false
	for i := range bodies.Fields().Len() {
		if m := bodies.Fields().Get(i).Message(); string(m.Name()) == f.Type {
			ofConversation = m.Fields().ByName("conversation") != nil
		}
	}
	switch {
	case f.Conversation != (event.ConversationKey{}):
		return []event.Stream{f.Conversation.Stream(p)}
	case f.Type == "" || f.Type == "StreamOpened":
		return all
	case ofConversation:
		return all[event.Conversation0:]
	case slices.Contains(presenceTypes, f.Type):
		return []event.Stream{event.Presence}
	}
	return []event.Stream{event.People}
}

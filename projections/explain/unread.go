package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"godwit/schema/event"
)

// Mark is how far a user has read in a conversation, by its view.
type Mark struct {
	User         uint32
	Conversation event.ConversationKey
	Head, Read   uint32
	// Messages are the newest of the conversation that the user may read, newest first: all above Read, or as many as were
	// asked for, and if there is one the message Read itself.
	Messages []Message
	// Devices tells on which device a session is, of those that are known.
	Devices map[event.ID]event.DeviceClass
}

// Message is one as the view has it.
type Message struct {
	ID       uint32
	From     uint32
	Created  uint32 // seconds, the event's own time
	Recalled bool
}

// unread walks back from the newest event of a conversation to what its user has read.
type unread struct {
	Mark
	names Names

	next   int     // of Messages: the newest that no event walked over is
	cause  *Entry  // the oldest event, of those walked over, that put the mark where it is
	shown  []Entry // what explains, newest first
	passed bool    // over the message that was read last: nothing older can have moved the mark
	begun  bool    // the beginning of the conversation was seen
}

// Walk walks over the events of a conversation, newest first, and explains its unread messages.
type Walk struct{ u unread }

// Unread begins the explanation of a mark. Every event of the conversation is to be given to [Walk.Over], newest first,
// until it has seen enough or the log has no more.
func Unread(m Mark, n Names) *Walk {
	return &Walk{unread{Mark: m, names: n}}
}

// Names has later sentences use these names.
func (w *Walk) Names(n Names) { w.u.names = n }

// Over takes the next older event, and tells whether it has seen all that can have moved the mark.
func (w *Walk) Over(e Entry) (enough bool) {
	w.u.over(e)
	return w.Complete()
}

// Complete tells whether the walk has come far enough to be sure.
func (w *Walk) Complete() bool { return w.u.passed || w.u.begun }

// End says that the log has no older events.
func (w *Walk) End() { w.u.begun = true }

// Entries are the events that explain the mark, newest first: what put it where it is, and the newest of what came since.
func (w *Walk) Entries() []Entry { return w.u.shown }

// head is the id of the newest message right after the event at hand, if that is known.
func (u *unread) head() (id uint32, known bool) {
	switch n := len(u.Messages); {
	case u.next < n:
		return u.Messages[u.next].ID, true
	case u.Head == u.Read, n > 0 && u.Messages[n-1].ID == u.Read+1:
		return u.Read, true // all that is unread lies behind, and what is older is not the user's to read
	}
	return 0, false
}

// at tells whether the newest message right after the event at hand was the one that is read last.
func (u *unread) at() bool {
	id, known := u.head()
	return known && id == u.Read
}

func (u *unread) over(e Entry) {
	switch b := e.Event.Body.(type) {
	case *event.Event_MessageSent:
		u.message(e, b.MessageSent.GetFrom(), b.MessageSent.GetOrigin() == event.Origin_ORIGIN_CLIENT)
	case *event.Event_MessageImported:
		u.message(e, b.MessageImported.GetFrom(), false)
	case *event.Event_MessageRecalled:
		if b.MessageRecalled.GetMsgId() > u.Read {
			u.show(e)
		}
	case *event.Event_ReadAdvanced:
		if r := b.ReadAdvanced; r.GetUser() == u.User && u.reached(r.GetMsgId()) {
			u.found(e)
		}
	case *event.Event_SessionEntryRemoved:
		if b.SessionEntryRemoved.GetUser() == u.User && u.at() {
			u.found(e)
		}
	case *event.Event_GroupMembersChanged:
		// Joining puts the mark at the newest message, whatever was before.
		if slices.Contains(b.GroupMembersChanged.GetAdded(), u.User) && u.at() {
			u.found(e)
			u.passed = true
		}
	case *event.Event_GroupCreated:
		u.begun = true
		if u.Read == 0 && (b.GroupCreated.GetCreator() == u.User || slices.Contains(b.GroupCreated.GetMembers(), u.User)) {
			u.found(e)
		}
	}
}

// reached tells whether reading up to a message put the mark where it is: what is above the newest message counts as that.
func (u *unread) reached(id uint32) bool {
	if h, known := u.head(); known {
		id = min(id, h)
	}
	return u.Read > 0 && id == u.Read
}

// message walks over a message, if it is the next one of those that count: one of a blocked sender, or one that was sent
// twice, has no id.
func (u *unread) message(e Entry, from uint32, client bool) {
	if u.next >= len(u.Messages) {
		return
	}
	m := u.Messages[u.next]
	if m.From != from || int64(m.Created) != e.Event.GetAt()/1000 {
		return
	}
	u.next++
	switch {
	case m.ID > u.Read:
		u.show(e)
	case m.ID == u.Read && from == u.User && client:
		u.found(e)
	}
	// Of a group there is still how the user came to be a member.
	if m.ID <= u.Read || m.ID == 1 && u.Conversation.IsDirect() {
		u.passed = true
	}
}

// mostShown is how many events stand beside an explanation; of more the newest.
const mostShown = 50

func (u *unread) show(e Entry) {
	if len(u.shown) < mostShown {
		u.shown = append(u.shown, e)
	}
}

// found keeps the oldest of what would have moved the mark: the ones after it found it there already.
func (u *unread) found(e Entry) {
	if u.cause != nil {
		for i := range u.shown {
			if u.shown[i].Event == u.cause.Event {
				u.shown = append(u.shown[:i], u.shown[i+1:]...)
				break
			}
		}
	}
	u.cause = &e
	u.shown = append(u.shown, e)
}

// Explanation says in sentences why so much is unread. since is how far back the log was read, where that was not enough.
func (w *Walk) Explanation(since time.Time) []string {
	u := &w.u
	who, where := u.names.user(u.User), u.names.conversation(u.Conversation[:], u.User)
	unread := u.Head - min(u.Read, u.Head)
	var out []string
	say := func(format string, args ...any) {
		s := fmt.Sprintf(format, args...)
		if !strings.HasPrefix(s, who) { // a name stays as it is
			s = capital(s)
		}
		out = append(out, s)
	}
	switch {
	case u.Head == 0:
		say("nothing has been written in %s yet, so nothing is unread.", where)
		return out
	case unread == 0:
		say("%s has read %s up to its newest message, %d: nothing is unread.", who, where, u.Head)
	case u.Read == 0:
		say("%s has %s in %s: the newest message is %d, and none of them was read.", who, count(int(unread), "unread message"), where, u.Head)
	default:
		say("%s has %s in %s: the newest message is %d, and %s has read up to message %d.", who, count(int(unread), "unread message"), where, u.Head, who, u.Read)
	}

	if u.cause == nil {
		switch {
		case !w.Complete():
			say("what put the read mark at message %d was not found: the log was read back to %s only.", u.Read, when(since))
		case u.Read > 0:
			say("what put the read mark at message %d is not in the log: it may have come with an import.", u.Read)
		case unread > 0:
			say("no device of %s has ever said that it showed one.", who)
		}
	} else {
		say("%s", u.because())
	}
	if unread > 0 {
		out = append(out, u.since()...)
	}
	return out
}

// because says what put the mark where it is.
func (u *unread) because() string {
	e := *u.cause
	who, at := u.names.user(u.User), when(e.At())
	switch b := e.Event.Body.(type) {
	case *event.Event_ReadAdvanced:
		if by := b.ReadAdvanced.GetBy(); by != "" {
			return fmt.Sprintf("the mark was put at message %d over the API by %s, on %s.", u.Read, by, at)
		}
		return fmt.Sprintf("%s read up to message %d %s, on %s.", who, u.Read, u.on(b.ReadAdvanced.GetSession()), at)
	case *event.Event_MessageSent:
		device := ""
		if c := b.MessageSent.GetDeviceClass(); c != event.DeviceClass_DEVICE_CLASS_UNSPECIFIED {
			device = " on the " + Device(c)
		}
		return fmt.Sprintf("message %d is %s's own, written%s on %s: who writes has read all that stood before.", u.Read, who, device, at)
	case *event.Event_SessionEntryRemoved:
		return fmt.Sprintf("%s took the conversation off the list on %s, which marks all of it as read, up to message %d.", who, at, u.Read)
	case *event.Event_GroupMembersChanged:
		return fmt.Sprintf("%s joined on %s (%s): of a group a member reads, and counts as unread, what is written after joining.", who, at, u.by(e))
	case *event.Event_GroupCreated:
		return fmt.Sprintf("%s is a member since the group was made, on %s, and no device of %s has ever said that it showed a message.", who, at, who)
	}
	return ""
}

func (u *unread) by(e Entry) string {
	who, _ := u.names.tell(e.Event)
	return "by " + who
}

// on says on which device a session is.
func (u *unread) on(session []byte) string {
	id := event.ToID(session)
	if c, ok := u.Devices[id]; ok {
		return fmt.Sprintf("on the %s (session %s, which still lives)", Device(c), id)
	}
	if id == (event.ID{}) {
		return "on a device that the log does not name"
	}
	return fmt.Sprintf("in the session %s", id)
}

// since tells of the messages that are unread.
func (u *unread) since() (out []string) {
	var newer []Message
	recalled, own := 0, 0
	by := map[uint32]int{}
	var order []uint32
	for _, m := range u.Messages {
		if m.ID <= u.Read {
			break
		}
		newer = append(newer, m)
		if m.Recalled {
			recalled++
		}
		if m.From == u.User {
			own++
		}
		if by[m.From]++; by[m.From] == 1 {
			order = append(order, m.From)
		}
	}
	if len(newer) == 0 {
		return nil
	}
	var who []string
	for _, from := range order[:min(len(order), listed)] {
		name := "the system"
		if from != 0 {
			name = u.names.user(from)
		}
		who = append(who, fmt.Sprintf("%d by %s", by[from], name))
	}
	if more := len(order) - len(who); more > 0 {
		who = append(who, fmt.Sprintf("the others by %d more", more))
	}
	first, last := newer[len(newer)-1], newer[0]
	span := "from " + seconds(first.Created) + " to " + seconds(last.Created)
	if first.Created == last.Created {
		span = "on " + seconds(last.Created)
	}
	if len(order) == 1 {
		who[0] = strings.Replace(who[0], fmt.Sprint(len(newer), " by"), "all by", 1)
	}
	switch {
	case len(newer) == 1:
		out = append(out, fmt.Sprintf("Since then came message %d, %s, %s.", last.ID, strings.TrimPrefix(who[0], "all "), span))
	case int(u.Head-u.Read) > len(newer):
		out = append(out, fmt.Sprintf("The newest %d of them, messages %d to %d, are %s, %s.", len(newer), first.ID, last.ID, and(who), span))
	case u.Read == 0:
		out = append(out, fmt.Sprintf("They are the messages %d to %d: %s, %s.", first.ID, last.ID, and(who), span))
	default:
		out = append(out, fmt.Sprintf("Since then came the messages %d to %d: %s, %s.", first.ID, last.ID, and(who), span))
	}
	if recalled > 0 {
		out = append(out, fmt.Sprintf("%d of them %s recalled: a recalled message keeps its number and counts until it is read.", recalled, which(recalled == 1, "was", "were")))
	}
	if own > 0 {
		out = append(out, fmt.Sprintf("%d of them %s written in %s's own name over the API, which does not move the mark.", own, which(own == 1, "was", "were"), u.names.user(u.User)))
	}
	return out
}

func seconds(s uint32) string { return when(time.Unix(int64(s), 0)) }

// capital begins a sentence.
func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"godwit/schema/event"
)

// Session is one login of a user, as far as the log was read.
type Session struct {
	ID          event.ID
	Class       event.DeviceClass // unspecified where its beginning was not read
	ClientType  uint32
	Version     string
	Life        event.ID        // of the node that held it
	Opened      time.Time       // zero: before what was read
	Ended       time.Time       // zero: it lives, unless it is over
	Over        bool            // it does not live, and the log does not say since when
	Reason      event.EndReason // why it ended
	Explanation string          // in sentences
	Entries     []Entry         // that explain it, newest first
}

// Account is what the people view says of a user now.
type Account struct {
	User     uint32
	Disabled bool
}

// Sessions explains the sessions of a user, the newest first, and in a few sentences why somebody is logged in or nobody
// is. entries are what was read of PRESENCE and PEOPLE, in any order: of the user, and of the starts and ends of nodes;
// live are the sessions that the presence view had after that was read; it has the last word. complete says that entries
// reach back to the beginning of the log, and since when they reach back if they don't.
func Sessions(a Account, entries []Entry, live []Session, n Names, complete bool, since time.Time) (all []Session, explanation []string) {
	f := presence{user: a.User, names: n}
	for _, s := range live {
		if !f.began(entries, s.ID) {
			f.all = append(f.all, &s)
		}
	}
	// What happened to the account ends no session by itself: its node ends it then, and says why.
	account := inOrder(entries, event.People)
	for _, e := range inOrder(entries, event.Presence) {
		for len(account) > 0 && !account[0].Stored.After(e.Stored) {
			f.account(account[0])
			account = account[1:]
		}
		f.apply(e)
	}
	for _, e := range account {
		f.account(e)
	}
	for _, s := range slices.Backward(f.all) {
		switch lives := slices.ContainsFunc(live, func(l Session) bool { return l.ID == s.ID }); {
		case !s.Ended.IsZero():
		case lives:
			s.Explanation = f.beginning(s) + "It lives."
		default:
			s.Over = true
			s.Explanation = f.beginning(s) + "It is over: it has ended just now, or never came to be, since its node was taken for lost at that moment."
		}
		all = append(all, *s)
	}
	return all, f.summary(a, complete, since)
}

// inOrder are the entries of a stream as they stand in it.
func inOrder(entries []Entry, s event.Stream) []Entry {
	var all []Entry
	for _, e := range entries {
		if e.Stream == s {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Index, b.Index))
	})
	return all
}

// presence is a small fold of one user's sessions that remembers why.
type presence struct {
	user  uint32
	names Names
	all   []*Session // by their beginning

	password, disabled, enabled, left *Entry // the last of each
}

func (f *presence) began(entries []Entry, id event.ID) bool {
	return slices.ContainsFunc(entries, func(e Entry) bool { return event.ToID(e.Event.GetSessionOpened().GetSession()) == id })
}

func (f *presence) account(e Entry) {
	switch b := e.Event.Body.(type) {
	case *event.Event_PasswordChanged:
		if b.PasswordChanged.GetUser() == f.user {
			f.password = &e
		}
	case *event.Event_PersonDisabled:
		if b.PersonDisabled.GetUser() == f.user {
			f.disabled, f.enabled = &e, nil
		}
	case *event.Event_PersonEnabled:
		if b.PersonEnabled.GetUser() == f.user {
			f.enabled = &e
		}
	case *event.Event_ProfileChanged:
		if p := b.ProfileChanged; p.GetUser() == f.user && p.Employment != nil && p.GetEmployment() == employmentLeft {
			f.left = &e
		}
	}
}

func (f *presence) apply(e Entry) {
	at := e.At()
	switch b := e.Event.Body.(type) {
	case *event.Event_SessionOpened:
		o := b.SessionOpened
		if o.GetUser() != f.user {
			return
		}
		s := &Session{ID: event.ToID(o.GetSession()), Class: o.GetDeviceClass(), ClientType: o.GetClientType(), Version: plain(o.GetClientVersion()),
			Life: event.ToID(o.GetLife()), Opened: at, Entries: []Entry{e}}
		f.end(event.EndReason_END_REASON_REPLACED, e, func(old *Session) bool { return slices.Contains(o.GetReplaces(), old.Class) }, func(old *Session) string {
			return fmt.Sprintf("%s signed in again on %s, which replaced it: with the device policy at that login a %s session takes the place of a %s one. If that was not %s, somebody else knows the password.",
				f.names.user(f.user), f.device(s), Device(s.Class), Device(old.Class), f.names.user(f.user))
		})
		f.all = append(f.all, s)
	case *event.Event_SessionEnded:
		o := b.SessionEnded
		if o.GetUser() != f.user {
			return
		}
		id := event.ToID(o.GetSession())
		if !slices.ContainsFunc(f.all, func(s *Session) bool { return s.ID == id }) {
			f.all = append(f.all, &Session{ID: id}) // it began before
		}
		f.end(o.GetReason(), e, func(s *Session) bool { return s.ID == id }, func(s *Session) string { return f.ended(s, o, at) })
	case *event.Event_DeviceClassKicked:
		o := b.DeviceClassKicked
		if o.GetUser() != f.user {
			return
		}
		f.end(o.GetReason(), e, func(s *Session) bool { return s.Class == o.GetDeviceClass() || slices.Contains(o.GetAlso(), s.Class) }, func(*Session) string {
			by := "The phone"
			if i := slices.IndexFunc(f.all, func(s *Session) bool { return s.ID == event.ToID(o.GetBySession()) }); i >= 0 {
				by = "The phone, signed in on " + f.device(f.all[i]) + ","
			}
			return fmt.Sprintf("%s sent it away: its user chose to sign out of the other devices.", by)
		})
	case *event.Event_NodeStopped:
		life := event.ToID(b.NodeStopped.GetLife())
		f.end(event.EndReason_END_REASON_NODE_STOPPED, e, func(s *Session) bool { return s.Life == life && s.Life != event.ID{} }, func(*Session) string {
			return fmt.Sprintf("%s, which held its connection, was stopped in order, as for an upgrade. Clients sign in again by themselves.", capital(f.names.node(life)))
		})
	case *event.Event_NodeLost:
		life, by := event.ToID(b.NodeLost.GetLife()), event.ToID(b.NodeLost.GetBy())
		f.end(event.EndReason_END_REASON_NODE_LOST, e, func(s *Session) bool { return s.Life == life && s.Life != event.ID{} }, func(*Session) string {
			noticed := ""
			if by != (event.ID{}) {
				noticed = ", which " + f.names.node(by) + " noticed"
			}
			return fmt.Sprintf("%s, which held its connection, was lost%s: it was killed, or the network to it broke. Clients sign in again by themselves.", capital(f.names.node(life)), noticed)
		})
	}
}

// end ends the sessions that match and live.
func (f *presence) end(reason event.EndReason, e Entry, match func(*Session) bool, why func(*Session) string) {
	for _, s := range f.all {
		if s.Ended.IsZero() && match(s) {
			s.Ended, s.Reason = e.At(), reason
			s.Explanation = f.beginning(s) + fmt.Sprintf("It ended on %s. %s", when(s.Ended), why(s))
			s.Entries = append([]Entry{e}, s.Entries...)
			if cause := f.cause(reason, s); cause != nil {
				s.Entries = slices.Insert(s.Entries, 1, *cause)
			}
		}
	}
}

// cause is what happened to the account that had the session end.
func (f *presence) cause(reason event.EndReason, s *Session) *Entry {
	var cause *Entry
	switch reason {
	case event.EndReason_END_REASON_PASSWORD_CHANGED:
		cause = f.password
	case event.EndReason_END_REASON_DISABLED:
		if cause = f.disabled; cause == nil {
			cause = f.left
		}
	}
	// A cause that is older than the session is another one's.
	if cause != nil && !s.Opened.IsZero() && cause.Stored.Before(s.Opened.Add(-clocksApart)) {
		return nil
	}
	return cause
}

// clocksApart is how far the clocks of a node and of the log may be apart without an explanation being lost.
const clocksApart = time.Minute

// ended says why a session that an event of its own ended did so.
func (f *presence) ended(s *Session, o *event.SessionEnded, at time.Time) string {
	who := f.names.user(f.user)
	cause := f.cause(o.GetReason(), s)
	switch o.GetReason() {
	case event.EndReason_END_REASON_LOGOUT:
		return fmt.Sprintf("%s signed out.", who)
	case event.EndReason_END_REASON_CLOSED:
		return "Its connection was closed from the client's side: the program or page was closed, or its network went away."
	case event.EndReason_END_REASON_TIMEOUT:
		return "Nothing was heard of its client for too long: a device that sleeps, or a network that is gone without saying so."
	case event.EndReason_END_REASON_ABANDONED:
		return "Its client was gone before the sign-in was through."
	case event.EndReason_END_REASON_ADMIN:
		return fmt.Sprintf("%s ended it by hand.", capital(f.operator(o.GetBy())))
	case event.EndReason_END_REASON_SLOW:
		return "Its client did not read what was sent to it, so the server closed it to keep others from waiting: a slow network, or a program that hangs."
	case event.EndReason_END_REASON_PROTOCOL:
		return "Its client broke the protocol; the log of the node that held it says how."
	case event.EndReason_END_REASON_PASSWORD_CHANGED:
		if cause == nil {
			return "The password was changed, which ends all sessions."
		}
		return fmt.Sprintf("The password was set by %s on %s, which ends all sessions. The new password is needed to sign in.", f.doer(*cause), when(cause.At()))
	case event.EndReason_END_REASON_DISABLED:
		switch {
		case cause == nil:
			return "The account was disabled, which ends all sessions."
		case cause.Event.GetProfileChanged() != nil:
			return fmt.Sprintf("%s was marked as one who has left, by %s on %s, which ends all sessions.", who, f.doer(*cause), when(cause.At()))
		}
		return fmt.Sprintf("The account was disabled by %s on %s, which ends all sessions.", f.doer(*cause), when(cause.At()))
	case event.EndReason_END_REASON_UNSPECIFIED:
		return "The log does not say why."
	}
	return "It ended: " + because(o.GetReason()) + "."
}

// operator names who did something by hand.
func (f *presence) operator(by string) string {
	if by == "" || by == "operator" {
		return "an operator"
	}
	if id, ok := cutKey(by); ok {
		return "the holder of the API key " + id
	}
	return by
}

func (f *presence) doer(e Entry) string {
	who, _ := f.names.tell(e.Event)
	if who == f.names.user(f.user) {
		return who
	}
	return f.operator(who)
}

func cutKey(by string) (string, bool) {
	if len(by) > 4 && by[:4] == "key:" {
		return by[4:], true
	}
	return "", false
}

func (f *presence) device(s *Session) string {
	if s.Class == event.DeviceClass_DEVICE_CLASS_UNSPECIFIED {
		return "a device that is not known any more"
	}
	if Client(s.ClientType) == Device(s.Class) {
		return "the " + Device(s.Class)
	}
	return fmt.Sprintf("the %s (%s)", Device(s.Class), Client(s.ClientType))
}

func (f *presence) beginning(s *Session) string {
	switch {
	case s.Opened.IsZero():
		return "It began before what was read of the log. "
	case f.names.Nodes[s.Life] != "":
		return fmt.Sprintf("%s signed in on %s on %s, at %s. ", f.names.user(f.user), f.device(s), when(s.Opened), f.names.node(s.Life))
	}
	return fmt.Sprintf("%s signed in on %s on %s. ", f.names.user(f.user), f.device(s), when(s.Opened))
}

// summary says who is logged in now, or why nobody is.
func (f *presence) summary(a Account, complete bool, since time.Time) []string {
	who := f.names.user(a.User)
	var living []string
	var last *Session
	for _, s := range f.all {
		if s.Over {
			continue
		}
		if s.Ended.IsZero() {
			living = append(living, f.device(s))
		} else if last == nil || s.Ended.After(last.Ended) {
			last = s
		}
	}
	var out []string
	switch {
	case len(living) > 0:
		out = append(out, fmt.Sprintf("%s is signed in on %s.", who, and(living)))
	case last != nil:
		out = append(out, fmt.Sprintf("%s is not signed in anywhere. The last session, on %s, ended on %s: %s.", who, f.device(last), when(last.Ended), because(last.Reason)))
	case complete:
		out = append(out, fmt.Sprintf("%s is not signed in anywhere, and never was.", who))
	default:
		out = append(out, fmt.Sprintf("%s is not signed in anywhere, and no sign-in was found since %s: so far the log was read.", who, when(since)))
	}
	switch {
	case !a.Disabled:
	case f.disabled != nil:
		out = append(out, fmt.Sprintf("The account is disabled, by %s on %s: nobody can sign in to it until it is enabled again.", f.doer(*f.disabled), when(f.disabled.At())))
	default:
		out = append(out, "The account is disabled: nobody can sign in to it until it is enabled again.")
	}
	if len(living) == 0 && !a.Disabled {
		if f.password != nil && (last == nil || !f.password.At().Before(last.Ended.Add(-clocksApart))) {
			out = append(out, fmt.Sprintf("The password was set by %s on %s, and nobody has signed in with the new one since.", f.doer(*f.password), when(f.password.At())))
		}
		out = append(out, "A sign-in that is refused, with a wrong password for instance, leaves nothing in the log: the log of the server says more.")
	}
	return out
}

// because is why a session ended, in a few words.
func because(r event.EndReason) string {
	switch r {
	case event.EndReason_END_REASON_LOGOUT:
		return "signed out"
	case event.EndReason_END_REASON_CLOSED:
		return "the client closed its connection"
	case event.EndReason_END_REASON_TIMEOUT:
		return "nothing was heard of its client for too long"
	case event.EndReason_END_REASON_REPLACED:
		return "replaced by a newer sign-in"
	case event.EndReason_END_REASON_KICKED:
		return "sent away by the phone"
	case event.EndReason_END_REASON_NODE_STOPPED:
		return "its node was stopped"
	case event.EndReason_END_REASON_NODE_LOST:
		return "its node was lost"
	case event.EndReason_END_REASON_DISABLED:
		return "the account was disabled"
	case event.EndReason_END_REASON_PASSWORD_CHANGED:
		return "the password was changed"
	case event.EndReason_END_REASON_ABANDONED:
		return "its client left before the sign-in was through"
	case event.EndReason_END_REASON_ADMIN:
		return "an operator ended it"
	case event.EndReason_END_REASON_SLOW:
		return "its client did not read what was sent to it"
	case event.EndReason_END_REASON_PROTOCOL:
		return "its client broke the protocol"
	}
	return "for a reason that the log does not say"
}

// when is a time as a sentence has it.
func when(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04:05 UTC") }

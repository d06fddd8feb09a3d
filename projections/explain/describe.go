package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"godwit/schema/event"
)

// Description is one event in words.
type Description struct {
	Type    string         // name of the event, as in schema/event: "PasswordChanged"
	Who     string         // who did it: a user's name, "operator", "key:<id>", "identity provider", "server"
	Summary string         // what happened, in one sentence without a full stop
	Fields  map[string]any // what is harmless of the event, by the fields' names in schema/event
}

// Server is who did what no person did.
const Server = "server"

// bodies is the choice of an event's body.
var bodies = (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("body")

// Types lists the names of all events there are, by their numbers in the log.
func Types() []string {
	var all []string
	for i := range bodies.Fields().Len() {
		all = append(all, string(bodies.Fields().Get(i).Message().Name()))
	}
	return all
}

// body is the message within an event, nil for one that this program does not know.
func body(ev *event.Event) protoreflect.Message {
	m := ev.ProtoReflect()
	f := m.WhichOneof(bodies)
	if f == nil {
		return nil
	}
	return m.Get(f).Message()
}

// TypeOf is the name of an event, "" for one that this program does not know.
func TypeOf(ev *event.Event) string {
	if b := body(ev); b != nil {
		return string(b.Descriptor().Name())
	}
	return ""
}

// Describe puts an event into words.
func Describe(ev *event.Event, n Names) Description {
	b := body(ev)
	if b == nil {
		return Description{Type: "Unknown", Who: Server, Summary: "an event of a kind that this version does not know", Fields: map[string]any{}}
	}
	d := Description{Type: string(b.Descriptor().Name()), Fields: fields(b)}
	d.Who, d.Summary = n.tell(ev)
	return d
}

// user is what a user is called.
func (n Names) user(u uint32) string {
	if name := n.Users[u]; name != "" {
		return name
	}
	return fmt.Sprint("user ", u)
}

func (n Names) group(g uint32) string {
	if name := n.Groups[g]; name != "" {
		return fmt.Sprintf("the group %q", name)
	}
	return fmt.Sprint("group ", g)
}

func (n Names) department(d uint32) string {
	if name := n.Departments[d]; name != "" {
		return fmt.Sprintf("the department %q", name)
	}
	return fmt.Sprint("department ", d)
}

func (n Names) node(life event.ID) string {
	if name := n.Nodes[life]; name != "" {
		return "the node on " + name
	}
	return "the node " + life.String()
}

// listed is how many names a sentence holds.
const listed = 5

// users lists some names.
func (n Names) users(all []uint32) string {
	var names []string
	for _, u := range all[:min(len(all), listed)] {
		names = append(names, n.user(u))
	}
	if more := len(all) - len(names); more > 0 {
		return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", more)
	}
	return and(names)
}

func and(parts []string) string {
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

// conversation is what a conversation is called, as user sees it.
func (n Names) conversation(key []byte, user uint32) string {
	k, ok := event.ParseConversation(key)
	switch {
	case !ok:
		return "a conversation that is none"
	case !k.IsDirect():
		return n.group(k.GroupID())
	case k.Peer(user) != 0:
		return "the conversation with " + n.user(k.Peer(user))
	}
	lower, higher := k.Parties()
	return fmt.Sprintf("the conversation of %s and %s", n.user(lower), n.user(higher))
}

// by is who did what another than the user himself may do in his name.
func (n Names) by(by string, user uint32) string {
	switch {
	case by == "identity":
		return "identity provider"
	case by != "":
		return by
	case user != 0:
		return n.user(user)
	}
	return Server
}

func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", " ")
}

// Device is a device class in one word: "desktop", "mobile", "web".
func Device(c event.DeviceClass) string {
	if c == event.DeviceClass_DEVICE_CLASS_UNSPECIFIED {
		return "unknown device"
	}
	return word(c.String(), "DEVICE_CLASS_")
}

// Reason is why a session ended, in one word: "replaced", "node_lost".
func Reason(r event.EndReason) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "END_REASON_"))
}

func which(yes bool, is, isNot string) string {
	if yes {
		return is
	}
	return isNot
}

// tell says who did what.
func (n Names) tell(ev *event.Event) (who, what string) {
	say := func(who, format string, args ...any) (string, string) { return who, fmt.Sprintf(format, args...) }
	switch b := ev.Body.(type) {
	case *event.Event_StreamOpened:
		return say(Server, "the stream %s of the log was made", b.StreamOpened.GetStream())

	case *event.Event_PersonRegistered:
		return say(n.by(b.PersonRegistered.GetBy(), 0), "an account for %s was made", b.PersonRegistered.GetName())
	case *event.Event_PasswordChanged:
		return say(n.by(b.PasswordChanged.GetBy(), 0), "%s's password was set", n.user(b.PasswordChanged.GetUser()))
	case *event.Event_PersonDisabled:
		return say(n.by(b.PersonDisabled.GetBy(), 0), "%s's account was disabled", n.user(b.PersonDisabled.GetUser()))
	case *event.Event_PersonEnabled:
		return say(n.by(b.PersonEnabled.GetBy(), 0), "%s's account was enabled again", n.user(b.PersonEnabled.GetUser()))
	case *event.Event_FriendAdded:
		e := b.FriendAdded
		return say(n.by(e.GetBy(), 0), "%s and %s were made friends", n.user(e.GetLower()), n.user(e.GetHigher()))
	case *event.Event_FriendRemoved:
		e := b.FriendRemoved
		return say(n.by(e.GetBy(), e.GetUser()), "%s and %s are friends no more", n.user(e.GetLower()), n.user(e.GetHigher()))
	case *event.Event_ProfileChanged:
		e := b.ProfileChanged
		if e.Employment != nil && e.GetEmployment() == employmentLeft {
			return say(n.by(e.GetBy(), e.GetUser()), "%s was marked as one who has left", n.user(e.GetUser()))
		}
		return say(n.by(e.GetBy(), e.GetUser()), "%s's profile was changed: %s", n.user(e.GetUser()), changed(e, "user", "session", "by"))
	case *event.Event_DepartmentChanged:
		e := b.DepartmentChanged
		switch {
		case e.GetDepartment() == 0 || e.GetMake():
			return say(n.by(e.GetBy(), 0), "the department %q was made", e.GetName())
		case e.GetDeleted():
			return say(n.by(e.GetBy(), 0), "%s was deleted", n.department(e.GetDepartment()))
		}
		return say(n.by(e.GetBy(), 0), "%s was changed: %s", n.department(e.GetDepartment()), changed(e, "department", "make", "by"))
	case *event.Event_GroupReserved:
		return say(n.by(b.GroupReserved.GetBy(), 0), "a number was given for a new group")
	case *event.Event_FriendRequested:
		e := b.FriendRequested
		return say(n.by(e.GetBy(), e.GetFrom()), "%s asked %s to be friends", n.user(e.GetFrom()), n.user(e.GetTo()))
	case *event.Event_FriendAnswered:
		e := b.FriendAnswered
		if e.GetWithdrawn() {
			return say(n.by(e.GetBy(), e.GetFrom()), "%s took back asking %s to be friends", n.user(e.GetFrom()), n.user(e.GetTo()))
		}
		return say(n.by(e.GetBy(), e.GetTo()), "%s %s to be friends with %s", n.user(e.GetTo()), which(e.GetAccept(), "accepted", "refused"), n.user(e.GetFrom()))
	case *event.Event_FriendRemarked:
		e := b.FriendRemarked
		return say(n.by(e.GetBy(), e.GetUser()), "%s %s", n.user(e.GetUser()),
			which(e.GetRemark() == "", "took the remark for ", "wrote a remark for ")+n.user(e.GetFriend())+which(e.GetRemark() == "", " away", ""))
	case *event.Event_DeviceTokenSet:
		e := b.DeviceTokenSet
		return say(n.by(e.GetBy(), e.GetUser()), "pushes to %s's phone (%s) were turned %s", n.user(e.GetUser()), Client(e.GetClientType()), which(e.GetToken() == "", "off", "on"))
	case *event.Event_PushShieldSet:
		e := b.PushShieldSet
		return say(n.by(e.GetBy(), e.GetUser()), "%s's quiet nights were turned %s", n.user(e.GetUser()), which(e.GetOn(), "on", "off"))
	case *event.Event_PasswordRehashed:
		return say(Server, "the hash of %s's password was renewed; the password is the same", n.user(b.PasswordRehashed.GetUser()))
	case *event.Event_ApiKeyAdded:
		e := b.ApiKeyAdded
		return say(n.by(e.GetBy(), 0), "the API key %s was made for %q, with the scopes %s", e.GetId(), e.GetName(), and(e.GetScopes()))
	case *event.Event_ApiKeyRevoked:
		return say(n.by(b.ApiKeyRevoked.GetBy(), 0), "the API key %s was revoked", b.ApiKeyRevoked.GetId())
	case *event.Event_WebhookSet:
		e := b.WebhookSet
		return say(n.by(e.GetBy(), 0), "the webhook %s was set%s", e.GetId(), which(e.GetDisabled(), ", and is disabled", ""))
	case *event.Event_WebhookRemoved:
		return say(n.by(b.WebhookRemoved.GetBy(), 0), "the webhook %s was removed", b.WebhookRemoved.GetId())

	case *event.Event_NodeStarted:
		return say(Server, "a node started on %s", b.NodeStarted.GetNode())
	case *event.Event_NodeStopped:
		return say(Server, "%s stopped in order, and its sessions ended", n.node(event.ToID(b.NodeStopped.GetLife())))
	case *event.Event_NodeLost:
		return say(Server, "%s was lost, and its sessions ended", n.node(event.ToID(b.NodeLost.GetLife())))
	case *event.Event_SessionOpened:
		e := b.SessionOpened
		return say(n.user(e.GetUser()), "%s signed in on %s (%s)", n.user(e.GetUser()), Device(e.GetDeviceClass()), Client(e.GetClientType()))
	case *event.Event_SessionEnded:
		e := b.SessionEnded
		who := Server
		switch e.GetReason() {
		case event.EndReason_END_REASON_LOGOUT, event.EndReason_END_REASON_CLOSED, event.EndReason_END_REASON_ABANDONED:
			who = n.user(e.GetUser())
		}
		if e.GetBy() != "" {
			who = n.by(e.GetBy(), 0)
		}
		return say(who, "a session of %s ended: %s", n.user(e.GetUser()), because(e.GetReason()))
	case *event.Event_DeviceClassKicked:
		e := b.DeviceClassKicked
		classes := []string{Device(e.GetDeviceClass())}
		for _, c := range e.GetAlso() {
			classes = append(classes, Device(c))
		}
		return say(n.user(e.GetUser()), "%s's phone sent the %s sessions away", n.user(e.GetUser()), and(classes))

	case *event.Event_MessageSent:
		e := b.MessageSent
		who := n.by(e.GetBy(), e.GetFrom())
		sender := n.user(e.GetFrom())
		if e.GetFrom() == 0 {
			sender = "the system"
		}
		how := which(e.GetOrigin() == event.Origin_ORIGIN_CLIENT, "", " over the API")
		return say(who, "%s wrote a message in %s%s", sender, n.conversation(e.GetConversation(), e.GetFrom()), how)
	case *event.Event_ReadAdvanced:
		e := b.ReadAdvanced
		return say(n.by(e.GetBy(), e.GetUser()), "%s read %s up to message %d", n.user(e.GetUser()), n.conversation(e.GetConversation(), e.GetUser()), e.GetMsgId())
	case *event.Event_SessionEntryRemoved:
		e := b.SessionEntryRemoved
		return say(n.user(e.GetUser()), "%s took %s off the list, which marks it as read", n.user(e.GetUser()), n.conversation(e.GetConversation(), e.GetUser()))
	case *event.Event_BlockChanged:
		e := b.BlockChanged
		return say(n.by(e.GetBy(), e.GetUser()), "%s %s %s", n.user(e.GetUser()), which(e.GetBlocked(), "blocked", "unblocked"), n.conversation(e.GetConversation(), e.GetUser()))
	case *event.Event_GroupCreated:
		e := b.GroupCreated
		return say(n.by(e.GetBy(), e.GetCreator()), "the group %q was made with %s", e.GetName(), count(len(e.GetMembers()), "member"))
	case *event.Event_GroupMembersChanged:
		e := b.GroupMembersChanged
		group := n.conversation(e.GetConversation(), 0)
		var did []string
		if len(e.GetAdded()) > 0 {
			did = append(did, n.users(e.GetAdded())+which(len(e.GetAdded()) == 1, " was", " were")+" added to "+group)
		}
		if gone := e.GetRemoved(); len(gone) == 1 && gone[0] == e.GetUser() {
			did = append(did, n.user(gone[0])+" left "+group)
		} else if len(gone) > 0 {
			did = append(did, n.users(gone)+which(len(gone) == 1, " was", " were")+" removed from "+group)
		}
		return say(n.by(e.GetBy(), e.GetUser()), "%s", which(len(did) > 0, and(did), "nothing was changed in "+group))
	case *event.Event_GroupChanged:
		e := b.GroupChanged
		group := n.conversation(e.GetConversation(), 0)
		if e.GetDissolved() {
			return say(n.by(e.GetBy(), e.GetUser()), "%s was dissolved", group)
		}
		return say(n.by(e.GetBy(), e.GetUser()), "%s was changed: %s", group, changed(e, "conversation", "user", "session", "by"))
	case *event.Event_GroupShieldSet:
		e := b.GroupShieldSet
		return say(n.by(e.GetBy(), e.GetUser()), "%s turned pushes of %s %s", n.user(e.GetUser()), n.conversation(e.GetConversation(), 0), which(e.GetShielded(), "off", "on"))
	case *event.Event_MessageRecalled:
		e := b.MessageRecalled
		return say(n.by(e.GetBy(), e.GetUser()), "message %d of %s was recalled", e.GetMsgId(), n.conversation(e.GetConversation(), e.GetUser()))
	case *event.Event_MessageEdited:
		e := b.MessageEdited
		return say(n.by(e.GetBy(), e.GetUser()), "message %d of %s was edited", e.GetMsgId(), n.conversation(e.GetConversation(), e.GetUser()))
	case *event.Event_DeliveredAdvanced:
		e := b.DeliveredAdvanced
		return say(n.user(e.GetUser()), "a device of %s has received %s up to message %d", n.user(e.GetUser()), n.conversation(e.GetConversation(), e.GetUser()), e.GetMsgId())
	case *event.Event_MessageImported:
		e := b.MessageImported
		return say("import", "message %d of %s, by %s, was imported", e.GetMsgId(), n.conversation(e.GetConversation(), e.GetFrom()), n.user(e.GetFrom()))
	case *event.Event_FileOffered:
		e := b.FileOffered
		return say(n.user(e.GetFrom()), "%s offered %s a file of %d bytes", n.user(e.GetFrom()), n.user(e.GetTo()), e.GetSize())
	case *event.Event_FileRemoved:
		e := b.FileRemoved
		if e.GetUser() == 0 {
			return say(Server, "a file that nobody fetched was removed from %s", n.conversation(e.GetConversation(), 0))
		}
		return say(n.user(e.GetUser()), "%s took a file, or refused it, in %s", n.user(e.GetUser()), n.conversation(e.GetConversation(), e.GetUser()))
	}
	return "", "" // a test asks for each
}

// employmentLeft is TeamTalk's word for a person who has left.
const employmentLeft = 3

// Client is what TeamTalk's number of a client stands for.
func Client(kind uint32) string {
	switch kind {
	case 1:
		return "Windows"
	case 2:
		return "Mac"
	case 17:
		return "iOS"
	case 18:
		return "Android"
	case 33:
		return "web"
	}
	return fmt.Sprint("client type ", kind)
}

// changed names the fields of an event that are set, but those that say of what and by whom.
func changed(m proto.Message, but ...protoreflect.Name) string {
	var names []string
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(but, f.Name()) {
			names = append(names, strings.ReplaceAll(string(f.Name()), "_", " "))
		}
		return true
	})
	slices.Sort(names)
	if len(names) == 0 {
		return "nothing"
	}
	return and(names)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// shown are the fields that are given of each event, beside all numbers, switches and choices. Bytes and text that are not
// here are kept back: they may be what somebody wrote, or a secret.
var shown = map[protoreflect.Name][]protoreflect.Name{
	"StreamOpened":        {"log", "stream"},
	"PersonRegistered":    {"name", "nick", "by"},
	"PasswordChanged":     {"by"},
	"PersonDisabled":      {"by"},
	"PersonEnabled":       {"by"},
	"FriendAdded":         {"by"},
	"FriendRemoved":       {"session", "by"},
	"ProfileChanged":      {"nick", "session", "by"},
	"DepartmentChanged":   {"name", "by"},
	"GroupReserved":       {"by"},
	"FriendRequested":     {"session", "by"},
	"FriendAnswered":      {"session", "by"},
	"FriendRemarked":      {"session", "by"},
	"DeviceTokenSet":      {"session", "by"},
	"PushShieldSet":       {"session", "by"},
	"ApiKeyAdded":         {"id", "name", "scopes", "by"},
	"ApiKeyRevoked":       {"id", "by"},
	"WebhookSet":          {"id", "by"},
	"WebhookRemoved":      {"id", "by"},
	"NodeStarted":         {"life", "node", "advertise"},
	"NodeStopped":         {"life"},
	"NodeLost":            {"life", "by"},
	"SessionOpened":       {"session", "life", "client_version"},
	"SessionEnded":        {"session", "by"},
	"DeviceClassKicked":   {"by_session"},
	"MessageSent":         {"conversation", "session", "by"},
	"ReadAdvanced":        {"conversation", "session", "by"},
	"SessionEntryRemoved": {"conversation", "session"},
	"BlockChanged":        {"conversation", "session", "by"},
	"GroupCreated":        {"conversation", "name", "session", "by"},
	"GroupMembersChanged": {"conversation", "session", "by"},
	"GroupChanged":        {"conversation", "name", "session", "by"},
	"GroupShieldSet":      {"conversation", "session", "by"},
	"MessageRecalled":     {"conversation", "session", "by"},
	"MessageEdited":       {"conversation", "session", "by"},
	"DeliveredAdvanced":   {"conversation", "session"},
	"MessageImported":     {"conversation"},
	"FileOffered":         {"conversation", "session"},
	"FileRemoved":         {"conversation", "session"},
}

// mostListed bounds a list among the fields.
const mostListed = 50

// fields gives what is harmless of an event's body.
func fields(b protoreflect.Message) map[string]any {
	all := map[string]any{}
	allowed := shown[b.Descriptor().Name()]
	b.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch f.Kind() {
		case protoreflect.StringKind, protoreflect.BytesKind:
			if !slices.Contains(allowed, f.Name()) {
				return true
			}
		}
		if !f.IsList() {
			all[string(f.Name())] = field(f, v)
			return true
		}
		list := []any{}
		for i := range min(v.List().Len(), mostListed) {
			list = append(list, field(f, v.List().Get(i)))
		}
		all[string(f.Name())] = list
		if n := v.List().Len(); n > mostListed {
			all[string(f.Name())+"_count"] = n
		}
		return true
	})
	return all
}

func field(f protoreflect.FieldDescriptor, v protoreflect.Value) any {
	switch f.Kind() {
	case protoreflect.StringKind:
		return plain(v.String())
	case protoreflect.BytesKind:
		if f.Name() == "conversation" {
			if k, ok := event.ParseConversation(v.Bytes()); ok {
				return k.String()
			}
			return ""
		}
		return event.ToID(v.Bytes()).String()
	case protoreflect.EnumKind:
		return enum(f.Enum(), v.Enum())
	case protoreflect.Int64Kind:
		return time.UnixMilli(v.Int()).UTC() // the only one is a time
	}
	return v.Interface()
}

// enum is a value without the name of its type: "desktop", "replaced".
func enum(e protoreflect.EnumDescriptor, v protoreflect.EnumNumber) any {
	d := e.Values().ByNumber(v)
	if d == nil {
		return int32(v)
	}
	var prefix strings.Builder // DeviceClass: DEVICE_CLASS_
	for i, r := range string(e.Name()) {
		if unicode.IsUpper(r) && i > 0 {
			prefix.WriteByte('_')
		}
		prefix.WriteRune(unicode.ToUpper(r))
	}
	return strings.ToLower(strings.TrimPrefix(string(d.Name()), prefix.String()+"_"))
}

// plain is a text without what a terminal or a page would not show.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

package explain_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"godwit/projections/explain"
	"godwit/schema/event"
)

// bodies calls f with an event of every kind there is, empty, and its body.
func bodies(t *testing.T, f func(t *testing.T, ev *event.Event, body protoreflect.Message)) {
	t.Helper()
	fields := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range fields.Len() {
		ev := &event.Event{At: 1_700_000_000_000}
		m := ev.ProtoReflect()
		body := m.Mutable(fields.Get(i)).Message()
		t.Run(string(body.Descriptor().Name()), func(t *testing.T) { f(t, ev, body) })
	}
}

// Every kind of event has words, so that a new one is not forgotten: in tell, and in shown.
func TestEveryEventHasADescription(t *testing.T) {
	bodies(t, func(t *testing.T, ev *event.Event, body protoreflect.Message) {
		d := explain.Describe(ev, explain.Names{})
		if d.Type != string(body.Descriptor().Name()) || d.Who == "" || d.Summary == "" {
			t.Errorf("%+v", d)
		}
		if !slices.Contains(explain.Types(), d.Type) || explain.TypeOf(ev) != d.Type {
			t.Errorf("%s is not among the types", d.Type)
		}
	})
	if d := explain.Describe(&event.Event{}, explain.Names{}); d.Type != "Unknown" || d.Summary == "" || d.Who == "" {
		t.Errorf("an event without a body: %+v", d)
	}
}

// harmless are the fields of text and bytes that may come out. Whoever adds one here has asked: may who reads the log, but
// not messages, see it? All others are kept back, those of events to come as well.
var harmless = map[string]string{
	"log": "id", "stream": "name of a stream", "by": "operator, key:<id>, id of a life", "session": "id", "by_session": "id", "life": "id",
	"conversation":     "key",
	"NodeStarted.node": "host", "NodeStarted.advertise": "address",
	"SessionOpened.client_version": "of a program",
	"PersonRegistered.name":        "login name", "PersonRegistered.nick": "seen by all", "ProfileChanged.nick": "seen by all",
	"DepartmentChanged.name": "seen by all", "GroupCreated.name": "of a group", "GroupChanged.name": "of a group",
	"ApiKeyAdded.id": "public part", "ApiKeyAdded.name": "what for", "ApiKeyAdded.scopes": "what may be done", "ApiKeyRevoked.id": "public part",
	"WebhookSet.id": "id", "WebhookRemoved.id": "id",
}

// No body of a message, no token, hash or secret comes out: each field of text or bytes of each event is filled with
// something that would be found again.
func TestNothingWrittenAndNoSecretComesOut(t *testing.T) {
	bodies(t, func(t *testing.T, ev *event.Event, body protoreflect.Message) {
		fields := body.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if f.Kind() != protoreflect.StringKind && f.Kind() != protoreflect.BytesKind {
				continue
			}
			text := "MARKERofthefield"
			value := protoreflect.ValueOfString(text)
			if f.Kind() == protoreflect.BytesKind {
				value = protoreflect.ValueOfBytes([]byte(text))
			}
			if f.IsList() {
				body.Mutable(f).List().Append(value)
			} else {
				body.Set(f, value)
			}
			name := string(body.Descriptor().Name()) + "." + string(f.Name())
			_, all := harmless[string(f.Name())]
			_, this := harmless[name]
			said, err := json.Marshal(explain.Describe(ev, explain.Names{}))
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{text, hex.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text))[:20], event.ToID([]byte(text)).String()} {
				if out := strings.Contains(strings.ToLower(string(said)), strings.ToLower(form)); out && !all && !this {
					t.Errorf("%s comes out, as %q: %s", name, form, said)
				}
			}
			body.Clear(f)
		}
	})
}

func TestDescriptions(t *testing.T) {
	names := explain.Names{Users: map[uint32]string{1: "anna", 2: "bela"}, Groups: map[uint32]string{5: "lunch"}}
	direct, group := event.Direct(1, 2), event.Group(5)
	for _, c := range []struct {
		ev        *event.Event
		who, what string
	}{
		{&event.Event{Body: &event.Event_PasswordChanged{PasswordChanged: &event.PasswordChanged{User: 2, By: "operator"}}}, "operator", "bela's password was set"},
		{&event.Event{Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: "chen", By: "identity"}}}, "identity provider", "an account for chen was made"},
		{&event.Event{Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{Conversation: direct[:], From: 1}}}, "anna", "anna wrote a message in the conversation with bela"},
		{&event.Event{Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{Conversation: group[:], From: 0, Origin: event.Origin_ORIGIN_SYSTEM, By: "key:k"}}},
			"key:k", `the system wrote a message in the group "lunch" over the API`},
		{&event.Event{Body: &event.Event_SessionEnded{SessionEnded: &event.SessionEnded{User: 9, Reason: event.EndReason_END_REASON_ADMIN, By: "operator"}}},
			"operator", "a session of user 9 ended: an operator ended it"},
		{&event.Event{Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{Conversation: group[:], Removed: []uint32{2}, User: 2}}},
			"bela", `bela left the group "lunch"`},
		{&event.Event{Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{Conversation: group[:], Added: []uint32{1, 2, 3, 4, 6, 7, 8}, By: "key:k"}}},
			"key:k", `anna, bela, user 3, user 4, user 6 and 2 more were added to the group "lunch"`},
		{&event.Event{Body: &event.Event_ProfileChanged{ProfileChanged: &event.ProfileChanged{User: 1, Nick: new("A."), Signature: new("hush")}}}, "anna", "anna's profile was changed: nick and signature"},
		{&event.Event{Body: &event.Event_GroupChanged{GroupChanged: &event.GroupChanged{Conversation: group[:], User: 1, Dissolved: true}}}, "anna", `the group "lunch" was dissolved`},
		{&event.Event{Body: &event.Event_DeviceTokenSet{DeviceTokenSet: &event.DeviceTokenSet{User: 2, ClientType: 17, Token: "t"}}}, "bela", "pushes to bela's phone (iOS) were turned on"},
	} {
		if d := explain.Describe(c.ev, names); d.Who != c.who || d.Summary != c.what {
			t.Errorf("%q: %q, want %q: %q", d.Who, d.Summary, c.who, c.what)
		}
	}
	d := explain.Describe(&event.Event{Body: &event.Event_SessionOpened{SessionOpened: &event.SessionOpened{
		User: 1, DeviceClass: event.DeviceClass_DEVICE_CLASS_WEB, ClientType: 33, ClientVersion: "x\x1b[2Jy", Replaces: []event.DeviceClass{event.DeviceClass_DEVICE_CLASS_WEB}}}}, names)
	if got := fmt.Sprint(d.Fields["device_class"], d.Fields["replaces"], d.Fields["user"], d.Fields["client_version"]); got != "web[web] 1x[2Jy" {
		t.Errorf("fields: %s", got)
	}
	many := make([]uint32, 9000)
	for i := range many {
		many[i] = uint32(i + 1)
	}
	d = explain.Describe(&event.Event{Body: &event.Event_GroupCreated{GroupCreated: &event.GroupCreated{Conversation: group[:], Name: "all", Members: many}}}, names)
	if list, _ := d.Fields["members"].([]any); len(list) != 50 || d.Fields["members_count"] != 9000 {
		t.Errorf("%d members are listed, of %v", len(list), d.Fields["members_count"])
	}
}

func TestFilters(t *testing.T) {
	direct, group := event.Direct(1, 2), event.Group(5)
	sent := func(k event.ConversationKey, from uint32) *event.Event {
		return &event.Event{Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{Conversation: k[:], From: from}}}
	}
	made := &event.Event{Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{Name: "anna"}}}
	added := &event.Event{Body: &event.Event_GroupMembersChanged{GroupMembersChanged: &event.GroupMembersChanged{Conversation: group[:], Added: []uint32{7, 1}, User: 3}}}
	asked := &event.Event{Body: &event.Event_FriendRequested{FriendRequested: &event.FriendRequested{From: 4, To: 1}}}
	for i, c := range []struct {
		f    explain.Filter
		ev   *event.Event
		want bool
	}{
		{explain.Filter{}, made, true},
		{explain.Filter{Type: "MessageSent"}, made, false},
		{explain.Filter{Type: "MessageSent"}, sent(direct, 1), true},
		{explain.Filter{User: 1, Name: "anna"}, made, true},
		{explain.Filter{User: 1, Name: "bela"}, made, false},
		{explain.Filter{User: 1}, sent(direct, 2), true},
		{explain.Filter{User: 3}, sent(direct, 2), false},
		{explain.Filter{User: 1}, sent(group, 2), false},
		{explain.Filter{User: 2}, sent(group, 2), true},
		{explain.Filter{User: 1}, added, true},
		{explain.Filter{User: 3}, added, true},
		{explain.Filter{User: 2}, added, false},
		{explain.Filter{User: 1}, asked, true},
		{explain.Filter{Conversation: group}, sent(group, 9), true},
		{explain.Filter{Conversation: group}, sent(direct, 1), false},
		{explain.Filter{Conversation: group, User: 2}, sent(group, 9), false},
		{explain.Filter{Conversation: direct}, made, false},
		{explain.Filter{User: 1}, &event.Event{}, false},
	} {
		if got := c.f.Matches(c.ev); got != c.want {
			t.Errorf("case %d: %+v matches %v: %v", i, c.f, c.ev, got)
		}
	}
}

// The bounds of kinds of events to streams are those of the numbers in event.proto: 10 to 29 PEOPLE, 30 to 49 PRESENCE,
// from 50 on conversations.
func TestEveryKindOfEventIsLookedForWhereItIs(t *testing.T) {
	fields := (&event.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		got := explain.Filter{Type: string(f.Message().Name())}.Streams(4)
		want := []event.Stream{2, 3, 4, 5}
		switch n := f.Number(); {
		case n < 10:
			want = []event.Stream{0, 1, 2, 3, 4, 5}
		case n < 30:
			want = []event.Stream{event.People}
		case n < 50:
			want = []event.Stream{event.Presence}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", f.Message().Name(), got, want)
		}
	}
	if k := event.Direct(1, 2); !slices.Equal(explain.Filter{Conversation: k}.Streams(4), []event.Stream{k.Stream(4)}) {
		t.Error("a conversation is in one stream")
	}
}

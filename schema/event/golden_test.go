package event_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	. "godwit/schema/event"
)

// createGolden writes the golden file of an event that has none yet. It was used
// once per event, when the event was new; it never changes a file.
var createGolden = flag.Bool("create-golden", false, "write golden files that are missing; existing ones are never touched")

// golden events have every field set, so that every number and type is pinned. The
// name is the file's: body and the date from which events of these bytes are in
// logs. An event that grows gets another entry; the old one stays and must decode.
var golden = []struct {
	name string
	ev   *Event
}{
	{"stream_opened-2026-11-23", &Event{At: 1, Body: &Event_StreamOpened{StreamOpened: &StreamOpened{
		Log: id(1), Stream: "CONVERSATION-03", Partition: 3, Partitions: 8, HashVersion: 1,
	}}}},
	{"person_registered-2026-11-23", &Event{At: 2, Body: &Event_PersonRegistered{PersonRegistered: &PersonRegistered{
		Name: "ann", PasswordHash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA", Nick: "Ann", Number: 7, Gender: 2,
		AvatarUrl: "http://example.org/a.png", Department: 5, Email: "ann@example.org", Telephone: "123", Domain: "ann",
		Employment: 3, Signature: "hello", By: "admin",
	}}}},
	{"password_changed-2026-11-23", &Event{At: 3, Body: &Event_PasswordChanged{PasswordChanged: &PasswordChanged{
		User: 7, PasswordHash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$b3RoZXI", By: "admin",
	}}}},
	{"person_disabled-2026-11-23", &Event{At: 4, Body: &Event_PersonDisabled{PersonDisabled: &PersonDisabled{User: 7, By: "admin"}}}},
	{"person_enabled-2026-11-23", &Event{At: 5, Body: &Event_PersonEnabled{PersonEnabled: &PersonEnabled{User: 7, By: "admin"}}}},
	{"friend_added-2026-11-23", &Event{At: 6, Body: &Event_FriendAdded{FriendAdded: &FriendAdded{Lower: 7, Higher: 9, By: "admin"}}}},
	{"friend_removed-2026-11-23", &Event{At: 7, Body: &Event_FriendRemoved{FriendRemoved: &FriendRemoved{Lower: 7, Higher: 9, By: "admin"}}}},
	{"node_started-2026-11-23", &Event{At: 8, Body: &Event_NodeStarted{NodeStarted: &NodeStarted{
		Life: id(2), Node: "node-a", Advertise: "im.example.org:8000",
	}}}},
	{"node_stopped-2026-11-23", &Event{At: 9, Body: &Event_NodeStopped{NodeStopped: &NodeStopped{Life: id(2)}}}},
	{"node_lost-2026-11-23", &Event{At: 10, Body: &Event_NodeLost{NodeLost: &NodeLost{Life: id(2), By: id(3)}}}},
	{"session_opened-2026-11-23", &Event{At: 11, Body: &Event_SessionOpened{SessionOpened: &SessionOpened{
		Session: id(4), User: 7, ClientType: 1, DeviceClass: DeviceClass_DEVICE_CLASS_DESKTOP, Life: id(2),
		Replaces:       []DeviceClass{DeviceClass_DEVICE_CLASS_DESKTOP, DeviceClass_DEVICE_CLASS_WEB},
		PeopleSequence: 300, OnlineStatus: 1, ClientVersion: "1.0",
	}}}},
	{"session_ended-2026-11-23", &Event{At: 12, Body: &Event_SessionEnded{SessionEnded: &SessionEnded{
		Session: id(4), User: 7, Reason: EndReason_END_REASON_TIMEOUT, By: "node-a",
	}}}},
	{"device_class_kicked-2026-11-23", &Event{At: 13, Body: &Event_DeviceClassKicked{DeviceClassKicked: &DeviceClassKicked{
		User: 7, DeviceClass: DeviceClass_DEVICE_CLASS_DESKTOP, Reason: EndReason_END_REASON_KICKED, BySession: id(5),
	}}}},
	{"message_sent-2026-11-23", &Event{At: 1793570400123, Body: &Event_MessageSent{MessageSent: &MessageSent{
		Conversation: key(7, 9), From: 7, Type: 1, Body: []byte("hello\x00\xff"), Session: id(4),
		DeviceClass: DeviceClass_DEVICE_CLASS_DESKTOP, ClientMessageId: id(6), RepeatKey: id(8), KeyId: "key-1",
		Origin: Origin_ORIGIN_API,
	}}}},
	{"read_advanced-2026-11-23", &Event{At: 14, Body: &Event_ReadAdvanced{ReadAdvanced: &ReadAdvanced{
		Conversation: key(7, 9), User: 9, MsgId: 300, Session: id(5),
	}}}},
	{"session_entry_removed-2026-11-23", &Event{At: 15, Body: &Event_SessionEntryRemoved{SessionEntryRemoved: &SessionEntryRemoved{
		Conversation: key(7, 9), User: 9, Session: id(5),
	}}}},
	{"block_changed-2026-11-23", &Event{At: 16, Body: &Event_BlockChanged{BlockChanged: &BlockChanged{
		Conversation: key(7, 9), User: 9, Blocked: true,
	}}}},
	{"person_registered-compared-2026-11-23", &Event{At: 2, Body: &Event_PersonRegistered{PersonRegistered: &PersonRegistered{
		Name: "ann", PasswordHash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA", Nick: "Ann", By: "admin", Compared: true,
	}}}},
	{"profile_changed-2026-11-23", &Event{At: 17, Request: id(7), Body: &Event_ProfileChanged{ProfileChanged: &ProfileChanged{
		User: 7, Nick: new("Annie"), Gender: new(uint32(2)), AvatarUrl: new("http://example.org/b.png"), Department: new(uint32(5)),
		Email: new("annie@example.org"), Telephone: new("124"), Domain: new("annie"), Employment: new(uint32(3)), Signature: new("bye"),
		Session: id(4), By: "admin",
	}}}},
	{"department_changed-2026-11-23", &Event{At: 18, Body: &Event_DepartmentChanged{DepartmentChanged: &DepartmentChanged{
		Department: 5, Make: true, Name: new("Sales"), Priority: new(uint32(3)), Parent: new(uint32(1)), Deleted: new(true), By: "admin",
	}}}},
	{"group_reserved-2026-11-23", &Event{At: 19, Body: &Event_GroupReserved{GroupReserved: &GroupReserved{Number: 12, By: "admin"}}}},
	{"friend_requested-2026-11-23", &Event{At: 20, Body: &Event_FriendRequested{FriendRequested: &FriendRequested{
		From: 7, To: 9, Text: "hello", Session: id(4), By: "admin",
	}}}},
	{"friend_answered-2026-11-23", &Event{At: 21, Body: &Event_FriendAnswered{FriendAnswered: &FriendAnswered{
		From: 7, To: 9, Accept: true, Withdrawn: true, Session: id(5), By: "admin",
	}}}},
	{"friend_remarked-2026-11-23", &Event{At: 22, Body: &Event_FriendRemarked{FriendRemarked: &FriendRemarked{
		User: 7, Friend: 9, Remark: "Bobby", Session: id(4),
	}}}},
	{"device_token_set-2026-11-23", &Event{At: 23, Body: &Event_DeviceTokenSet{DeviceTokenSet: &DeviceTokenSet{
		User: 7, ClientType: 17, Token: "0011", Session: id(4), By: "admin",
	}}}},
	{"push_shield_set-2026-11-23", &Event{At: 24, Body: &Event_PushShieldSet{PushShieldSet: &PushShieldSet{
		User: 7, On: true, Session: id(4), By: "admin",
	}}}},
	{"password_rehashed-2026-11-23", &Event{At: 25, Body: &Event_PasswordRehashed{PasswordRehashed: &PasswordRehashed{
		User: 7, PasswordHash: "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$b3RoZXI", CredentialsSequence: 300,
	}}}},
	{"api_key_added-2026-11-23", &Event{At: 26, Body: &Event_ApiKeyAdded{ApiKeyAdded: &ApiKeyAdded{
		Id: "k1", Hash: id(9), Name: "shop", Scopes: []string{"users:read", "groups:write"}, Expires: 1793570400123, By: "operator",
	}}}},
	{"api_key_revoked-2026-11-23", &Event{At: 27, Body: &Event_ApiKeyRevoked{ApiKeyRevoked: &ApiKeyRevoked{Id: "k1", By: "operator"}}}},
	{"webhook_set-2026-11-23", &Event{At: 28, Body: &Event_WebhookSet{WebhookSet: &WebhookSet{
		Id: "w1", Url: "https://example.org/push", Secret: "s", Disabled: true, By: "key:k1",
	}}}},
	{"webhook_removed-2026-11-23", &Event{At: 29, Body: &Event_WebhookRemoved{WebhookRemoved: &WebhookRemoved{Id: "w1", By: "key:k1"}}}},
	{"group_created-2026-11-23", &Event{At: 30, Body: &Event_GroupCreated{GroupCreated: &GroupCreated{
		Conversation: group(12), Type: GroupType_GROUP_TYPE_TEMPORARY, Name: "lunch", AvatarUrl: "http://example.org/g.png", Creator: 7,
		Members: []uint32{7, 9, 300}, Limit: 10000, Session: id(4), By: "key:k1",
	}}}},
	{"group_members_changed-2026-11-23", &Event{At: 31, Body: &Event_GroupMembersChanged{GroupMembersChanged: &GroupMembersChanged{
		Conversation: group(12), Added: []uint32{10, 301}, Removed: []uint32{9}, User: 7, Limit: 10000, ImportAfter: 5, ImportStep: 2,
		Session: id(4), By: "key:k1",
	}}}},
	{"group_changed-2026-11-23", &Event{At: 32, Body: &Event_GroupChanged{GroupChanged: &GroupChanged{
		Conversation: group(12), User: 7, Name: new("dinner"), AvatarUrl: new("http://example.org/h.png"), Administrator: new(uint32(9)),
		Dissolved: true, Session: id(4), By: "key:k1",
	}}}},
	{"group_shield_set-2026-11-23", &Event{At: 33, Body: &Event_GroupShieldSet{GroupShieldSet: &GroupShieldSet{
		Conversation: group(12), User: 7, Shielded: true, Session: id(4),
	}}}},
	{"message_recalled-2026-11-23", &Event{At: 34, Body: &Event_MessageRecalled{MessageRecalled: &MessageRecalled{
		Conversation: key(7, 9), MsgId: 300, User: 7, Within: 120, Session: id(4), By: "key:k1",
	}}}},
	{"message_edited-2026-11-23", &Event{At: 35, Body: &Event_MessageEdited{MessageEdited: &MessageEdited{
		Conversation: key(7, 9), MsgId: 300, User: 7, Body: []byte("hallo\x00\xff"), Within: 900, Session: id(4), By: "key:k1",
	}}}},
	{"delivered_advanced-2026-11-23", &Event{At: 36, Body: &Event_DeliveredAdvanced{DeliveredAdvanced: &DeliveredAdvanced{
		Conversation: key(7, 9), User: 9, MsgId: 300, Session: id(5),
	}}}},
	{"message_sent-by-2026-11-23", &Event{At: 37, Body: &Event_MessageSent{MessageSent: &MessageSent{
		Conversation: group(12), Type: 17, Body: []byte("hello"), ClientMessageId: id(6), RepeatKey: id(8), Origin: Origin_ORIGIN_SYSTEM, By: "key:k1",
	}}}},
	{"message_imported-2026-11-23", &Event{At: 37, Body: &Event_MessageImported{MessageImported: &MessageImported{
		Conversation: key(7, 9), MsgId: 300, From: 7, Type: 1, Body: []byte("old"), Missing: true,
	}}}},
	{"file_offered-2026-11-23", &Event{At: 38, Body: &Event_FileOffered{FileOffered: &FileOffered{
		Conversation: key(7, 9), From: 7, To: 9, Task: "00000000-0000-4000-8000-000000000000", Name: "a.txt", Size: 300, Session: id(4),
	}}}},
	{"friend_removed-user-2026-11-23", &Event{At: 7, Body: &Event_FriendRemoved{FriendRemoved: &FriendRemoved{
		Lower: 7, Higher: 9, User: 9, Session: id(5), By: "admin",
	}}}},
	{"block_changed-session-2026-11-23", &Event{At: 16, Body: &Event_BlockChanged{BlockChanged: &BlockChanged{
		Conversation: key(7, 9), User: 9, Blocked: true, Session: id(5), By: "key:k1",
	}}}},
	{"file_removed-2026-11-23", &Event{At: 39, Body: &Event_FileRemoved{FileRemoved: &FileRemoved{
		Conversation: key(7, 9), User: 9, Task: "00000000-0000-4000-8000-000000000000", Session: id(5),
	}}}},
	{"friend_remarked-by-2026-11-23", &Event{At: 40, Request: id(7), Body: &Event_FriendRemarked{FriendRemarked: &FriendRemarked{
		User: 7, Friend: 9, Remark: "Bobby", By: "key:k1",
	}}}},
	{"read_advanced-by-2026-11-23", &Event{At: 41, Body: &Event_ReadAdvanced{ReadAdvanced: &ReadAdvanced{
		Conversation: key(7, 9), User: 9, MsgId: 300, By: "key:k1",
	}}}},
	{"group_shield_set-by-2026-11-23", &Event{At: 42, Body: &Event_GroupShieldSet{GroupShieldSet: &GroupShieldSet{
		Conversation: group(12), User: 7, Shielded: true, By: "key:k1",
	}}}},
	{"device_class_kicked-also-2026-11-23", &Event{At: 13, Body: &Event_DeviceClassKicked{DeviceClassKicked: &DeviceClassKicked{
		User: 7, DeviceClass: DeviceClass_DEVICE_CLASS_DESKTOP, Reason: EndReason_END_REASON_KICKED, BySession: id(5),
		Also: []DeviceClass{DeviceClass_DEVICE_CLASS_WEB, DeviceClass_DEVICE_CLASS_MOBILE},
	}}}},
}

func id(n byte) []byte { return bytes.Repeat([]byte{n}, 16) }

func key(a, b uint32) []byte {
	k := Direct(a, b)
	return k[:]
}

func group(n uint32) []byte {
	k := Group(n)
	return k[:]
}

// goldenBytes reads a golden file: hexadecimal digits, white space ignored.
func goldenBytes(t *testing.T, name string, m proto.Message) []byte {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *createGolden {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(fold(hex.EncodeToString(b)))
			err = errors.Join(err, f.Close())
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("golden bytes are missing: %v", err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fold breaks digits into lines.
func fold(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		n := min(len(s), 64)
		out.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	return out.String()
}

func TestEveryEventHasItsBytesForEver(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := goldenBytes(t, g.name, g.ev)
			got, err := proto.MarshalOptions{Deterministic: true}.Marshal(g.ev)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("written as\n%x\nbut logs hold\n%x", got, want)
			}
			ev := new(Event)
			if err := proto.Unmarshal(want, ev); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(ev, g.ev) {
				t.Errorf("read as %v, want %v", ev, g.ev)
			}
			if unknown := unknownFields(ev.ProtoReflect()); unknown > 0 {
				t.Errorf("%d bytes are not understood any more", unknown)
			}
		})
	}
}

func TestTheRecordHasItsBytesForEver(t *testing.T) {
	rec := &Record{Writer: id(2), N: 300, Rule: Rule, Events: []*Event{golden[13].ev, golden[14].ev}}
	want := goldenBytes(t, "record-2026-11-23", rec)
	if got, err := (proto.MarshalOptions{Deterministic: true}).Marshal(rec); err != nil || !bytes.Equal(got, want) {
		t.Errorf("written as\n%x (%v)\nbut logs hold\n%x", got, err, want)
	}
	back := new(Record)
	if err := proto.Unmarshal(want, back); err != nil || !proto.Equal(back, rec) {
		t.Errorf("read as %v (%v)", back, err)
	}
}

func TestNoEventAndNoFieldIsWithoutGoldenBytes(t *testing.T) {
	seen := make(map[protoreflect.Name]map[protoreflect.Name]bool)
	for _, g := range golden {
		ev := g.ev.ProtoReflect()
		body := ev.WhichOneof(ev.Descriptor().Oneofs().ByName("body"))
		if seen[body.Name()] == nil {
			seen[body.Name()] = make(map[protoreflect.Name]bool)
		}
		for fd := range ev.Get(body).Message().Range {
			seen[body.Name()][fd.Name()] = true
		}
	}
	bodies := (&Event{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range bodies.Len() {
		body := bodies.Get(i)
		fields := body.Message().Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).Name(); !seen[body.Name()][name] {
				t.Errorf("%s.%s is in no golden event", body.Name(), name)
			}
		}
	}
}

func TestEveryGoldenFileIsRead(t *testing.T) {
	known := map[string]bool{"record-2026-11-23.hex": true}
	for _, g := range golden {
		known[g.name+".hex"] = true
	}
	files, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) == ".hex" && !known[f.Name()] {
			t.Errorf("%s is read by no test", f.Name())
		}
	}
}

// unknownFields counts the bytes in a message and below that no field explains.
func unknownFields(m protoreflect.Message) int {
	n := len(m.GetUnknown())
	for fd, v := range m.Range {
		if fd.Message() != nil && !fd.IsList() {
			n += unknownFields(v.Message())
		}
	}
	return n
}

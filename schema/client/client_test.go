package client_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imgroup "godwit/schema/client/group"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
)

// ours tells whether a name is of the protocol, or of what godwit adds to it.
func ours(name protoreflect.FullName) bool {
	return strings.HasPrefix(string(name), "IM.") || strings.HasPrefix(string(name), "Godwit.")
}

// messages are all message types of the protocol, those inside others included.
func messages(t testing.TB) []protoreflect.MessageType {
	t.Helper()
	var all []protoreflect.MessageType
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		if ours(m.Descriptor().FullName()) {
			all = append(all, m)
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.MessageType) int {
		return strings.Compare(string(a.Descriptor().FullName()), string(b.Descriptor().FullName()))
	})
	// 95 commands and 15 records; of godwit's own 23 commands and 2 records.
	if len(all) != 135 {
		t.Fatalf("%d messages, want 135", len(all))
	}
	return all
}

// fill sets every field of m, optional ones if all, to small values that are allowed and not 0 where possible.
func fill(m protoreflect.Message, all bool) proto.Message {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !all && f.Cardinality() != protoreflect.Required {
			continue
		}
		if f.IsList() {
			l := m.Mutable(f).List()
			for k := range 3 {
				if f.Message() != nil {
					e := l.NewElement()
					fill(e.Message(), all)
					l.Append(e)
				} else {
					l.Append(scalar(f, 100*k+i+1))
				}
			}
			continue
		}
		if f.Message() != nil {
			fill(m.Mutable(f).Message(), all)
			continue
		}
		m.Set(f, scalar(f, i+1))
	}
	return m.Interface()
}

func scalar(f protoreflect.FieldDescriptor, n int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n) * 1000)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprint(f.Name(), n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0, 255, byte(n)})
	case protoreflect.EnumKind:
		v := f.Enum().Values()
		return protoreflect.ValueOfEnum(v.Get(n % v.Len()).Number())
	}
	panic("the protocol has no " + f.Kind().String())
}

// enumFields visits every enum field in m, at any depth, with the message that holds it.
func enumFields(m protoreflect.Message, path string, visit func(protoreflect.Message, protoreflect.FieldDescriptor, string)) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := path + "." + string(f.Name())
		switch {
		case f.Enum() != nil:
			visit(m, f, name)
		case f.Message() != nil && f.IsList():
			l := m.Get(f).List()
			// The last one: a check that stops early is found out.
			enumFields(l.Get(l.Len()-1).Message(), name, visit)
		case f.Message() != nil:
			enumFields(m.Get(f).Message(), name, visit)
		}
	}
}

func TestUnknownEnumNumbers(t *testing.T) {
	withEnums, required, optional := 0, 0, 0
	for _, mt := range messages(t) {
		d := mt.Descriptor()
		t.Run(string(d.FullName()), func(t *testing.T) {
			m := fill(mt.New(), true)
			encoded, err := client.Append(nil, m)
			if err != nil {
				t.Fatalf("every field allowed: %v", err)
			}
			if err := client.Unmarshal(encoded, mt.New().Interface()); err != nil {
				t.Fatalf("every field allowed: %v", err)
			}
			found := false
			enumFields(m.ProtoReflect(), string(d.Name()), func(in protoreflect.Message, f protoreflect.FieldDescriptor, name string) {
				found = true
				before := in.Get(f)
				for _, bad := range []protoreflect.EnumNumber{99, -1, 1 << 30} {
					in.Set(f, protoreflect.ValueOfEnum(bad))
					// Go's own runtime writes what it is told to.
					wire, err := proto.Marshal(m)
					if err != nil {
						t.Fatal(err)
					}
					back := mt.New().Interface()
					err = client.Unmarshal(wire, back)
					if f.Cardinality() == protoreflect.Required {
						if !errors.Is(err, client.ErrEnum) || !errors.Is(err, client.ErrMalformed) {
							t.Errorf("%s = %d received: %v", name, bad, err)
						}
					} else {
						if err != nil {
							t.Errorf("optional %s = %d received: %v", name, bad, err)
						}
						want := proto.Clone(m)
						if f.ContainingMessage() != d {
							t.Fatalf("%s: the protocol has optional enums only in outer messages", name)
						}
						want.ProtoReflect().Clear(f)
						if !proto.Equal(back, want) {
							t.Errorf("optional %s = %d received: %v, want it not set", name, bad, back)
						}
					}
					dst := []byte("before")
					out, err := client.Append(dst, m)
					if !errors.Is(err, client.ErrEnum) {
						t.Errorf("%s = %d sent: %v", name, bad, err)
					}
					if string(out) != "before" {
						t.Errorf("%s = %d sent: %q appended", name, bad, out[len(dst):])
					}
				}
				if f.Cardinality() == protoreflect.Required {
					required++
				} else {
					optional++
				}
				in.Set(f, before)
			})
			if found {
				withEnums++
			}
		})
	}
	// Counted in the protocol's tables; a walk that misses some must not pass.
	if withEnums != 71 || required != 87 || optional != 3 {
		t.Errorf("%d messages with %d required and %d optional enum fields were tried", withEnums, required, optional)
	}
}

func TestRequiredFields(t *testing.T) {
	tried := 0
	for _, mt := range messages(t) {
		d := mt.Descriptor()
		t.Run(string(d.FullName()), func(t *testing.T) {
			for i := range d.Fields().Len() {
				f := d.Fields().Get(i)
				if f.Cardinality() != protoreflect.Required {
					continue
				}
				tried++
				m := fill(mt.New(), true)
				m.ProtoReflect().Clear(f)
				wire, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				if err := client.Unmarshal(wire, mt.New().Interface()); !errors.Is(err, client.ErrMalformed) {
					t.Errorf("%s missing received: %v", f.Name(), err)
				}
				out, err := client.Append([]byte("before"), m)
				if !errors.Is(err, client.ErrIncomplete) || string(out) != "before" {
					t.Errorf("%s missing sent: %q, %v", f.Name(), out, err)
				}
			}
			// Zero values are on the wire, or original clients throw the message away.
			zero := mt.New()
			for i := range d.Fields().Len() {
				if f := d.Fields().Get(i); f.Cardinality() == protoreflect.Required {
					switch {
					case f.Message() != nil:
						fill(zero.Mutable(f).Message(), false)
					case f.Enum() != nil:
						zero.Set(f, protoreflect.ValueOfEnum(f.Enum().Values().Get(0).Number()))
					case f.Kind() == protoreflect.BytesKind:
						zero.Set(f, protoreflect.ValueOfBytes([]byte{}))
					default:
						zero.Set(f, f.Default())
					}
				}
			}
			wire, err := client.Append(nil, zero.Interface())
			if err != nil {
				t.Fatal(err)
			}
			on := map[protowire.Number]bool{}
			for b := wire; len(b) > 0; {
				num, _, n := protowire.ConsumeField(b)
				if n < 0 {
					t.Fatal(protowire.ParseError(n))
				}
				on[num], b = true, b[n:]
			}
			for i := range d.Fields().Len() {
				f := d.Fields().Get(i)
				if want := f.Cardinality() == protoreflect.Required; on[f.Number()] != want {
					t.Errorf("%s on the wire: %t, want %t", f.Name(), !want, want)
				}
			}
		})
	}
	if tried != 350 {
		t.Errorf("%d required fields were tried, want 350", tried)
	}
}

func TestRepeatedNumbers(t *testing.T) {
	m := &imbuddy.IMUsersStatReq{UserId: new(uint32(7)), UserIdList: []uint32{1, 300, 0}}
	const unpacked = "0807" + "1001" + "10ac02" + "1000"
	wire, err := client.Append(nil, m)
	if err != nil || hex.EncodeToString(wire) != unpacked {
		t.Errorf("sent %x, %v, want %s", wire, err, unpacked)
	}
	for form, s := range map[string]string{
		"unpacked": unpacked,
		"packed":   "0807" + "1204" + "01ac0200",
		"mixed":    "1001" + "0807" + "1203" + "ac0200",
	} {
		body, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		var got imbuddy.IMUsersStatReq
		if err := client.Unmarshal(body, &got); err != nil || !proto.Equal(&got, m) {
			t.Errorf("%s: %v, %v", form, &got, err)
		}
	}
	// And for every list of numbers in the protocol.
	lists := 0
	for _, mt := range messages(t) {
		for i := range mt.Descriptor().Fields().Len() {
			f := mt.Descriptor().Fields().Get(i)
			if f.IsList() && f.Message() == nil {
				lists++
				if f.IsPacked() {
					t.Errorf("%s is packed", f.FullName())
				}
			}
		}
	}
	if lists != 17 {
		t.Errorf("%d lists of numbers, want 17", lists)
	}
}

func TestCatalogue(t *testing.T) {
	ids := map[uint16]bool{}
	names := map[protoreflect.FullName]bool{}
	last := uint16(0)
	for c := range client.Commands() {
		t.Run(c.Name, func(t *testing.T) {
			if c.ID <= last {
				t.Errorf("0x%04x after 0x%04x", c.ID, last)
			}
			last = c.ID
			if names[c.Message] {
				t.Errorf("%s twice", c.Message)
			}
			ids[c.ID], names[c.Message] = true, true
			if c.Direction == 0 {
				t.Error("sent by nobody")
			}
			if got := client.Service(c.ID); got != c.ID>>8 || got != c.Service() {
				t.Errorf("service %d", got)
			}
			if got, ok := client.Lookup(c.ID); !ok || got.Message != c.Message {
				t.Errorf("Lookup finds %v", got)
			}
			if got := client.Name(c.ID); got != c.Name {
				t.Errorf("Name is %s", got)
			}

			m := fill(c.New().ProtoReflect(), true)
			body, err := client.AppendCommand(nil, c.ID, m)
			if err != nil {
				t.Fatal(err)
			}
			want, err := proto.Marshal(m)
			if err != nil || !bytes.Equal(body, want) {
				t.Errorf("encoded %x, want %x, %v", body, want, err)
			}
			back, err := client.Decode(c.ID, body)
			if err != nil || !proto.Equal(back, m) {
				t.Errorf("decoded %v, %v", back, err)
			}
			var other proto.Message = &imlogin.IMLogoutReq{}
			if c.ID == client.CmdLogoutReq {
				other = &imlogin.IMMsgServReq{}
			}
			if b, err := client.AppendCommand(nil, c.ID, other); !errors.Is(err, client.ErrWrongMessage) || len(b) > 0 {
				t.Errorf("another message: %x, %v", b, err)
			}
			if _, err := client.Decode(c.ID, []byte{0xff}); !errors.Is(err, client.ErrMalformed) {
				t.Errorf("garbage: %v", err)
			}
		})
	}
	if len(ids) != 118 {
		t.Errorf("%d commands, want 118", len(ids))
	}

	// The protocol's own enums say the same.
	listed := 0
	for _, e := range []protoreflect.Enum{
		imbase.LoginCmdID(0), imbase.BuddyListCmdID(0), imbase.MessageCmdID(0), imbase.GroupCmdID(0),
		imbase.FileCmdID(0), imbase.SwitchServiceCmdID(0), imbase.OtherCmdID(0),
	} {
		for i := range e.Descriptor().Values().Len() {
			v := e.Descriptor().Values().Get(i)
			listed++
			if c, ok := client.Lookup(uint16(v.Number())); !ok || c.Name != string(v.Name()) {
				t.Errorf("%s = 0x%04x is %q in the catalogue", v.Name(), v.Number(), c.Name)
			}
			if s := imbase.ServiceID(v.Number() >> 8); imbase.ServiceID_name[int32(s)] == "" {
				t.Errorf("%s is of no service", v.Name())
			}
		}
	}
	if listed != len(ids)-23 { // those of godwit's own service are in none
		t.Errorf("%d commands in the enums, %d in the catalogue", listed, len(ids))
	}

	for _, id := range []uint16{0, 1, 0x0100, 0x0110, 0x01ff, 0x0216, 0x0602, 0x070c, 0x0713, 0x0730, 0x0735, 0x0801, 0xffff} {
		if c, ok := client.Lookup(id); ok {
			t.Errorf("0x%04x is %s", id, c.Name)
		}
		if s := client.Service(id); s != 0 {
			t.Errorf("0x%04x has service %d", id, s)
		}
		if _, err := client.Decode(id, nil); !errors.Is(err, client.ErrUnknownCommand) {
			t.Errorf("0x%04x decodes: %v", id, err)
		}
		if _, err := client.AppendCommand(nil, id, &imlogin.IMLogoutReq{}); !errors.Is(err, client.ErrUnknownCommand) {
			t.Errorf("0x%04x encodes: %v", id, err)
		}
	}
	if got := client.Name(0x070c); got != "0x070c" {
		t.Errorf("Name(0x070c) = %s", got)
	}
}

// Bytes written out by hand from the protocol's tables, so that a wrong number in a .proto file cannot agree with itself.
func TestGoldenBodies(t *testing.T) {
	user := &imbase.UserInfo{
		UserId: new(uint32(5)), UserGender: new(uint32(1)), UserNickName: new("n"), AvatarUrl: new(""),
		DepartmentId: new(uint32(2)), Email: new(""), UserRealName: new("r"), UserTel: new(""), UserDomain: new("d"),
		Status: new(uint32(0)), SignInfo: new(""),
	}
	const userHex = "0805" + "1001" + "1a016e" + "2200" + "2802" + "3200" + "3a0172" + "4200" + "4a0164" + "5000" + "5a00"
	for _, c := range []struct {
		cmd  uint16
		m    proto.Message
		want string
	}{
		{client.CmdLoginReq, &imlogin.IMLoginReq{
			UserName: new("bob"), Password: new("pw"), OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(),
			ClientType: imbase.ClientType_CLIENT_TYPE_ANDROID.Enum(), ClientVersion: new("1"),
		}, "0a03626f62" + "12027077" + "1801" + "2012" + "2a0131"},
		{client.CmdLoginRes, &imlogin.IMLoginRes{
			ServerTime: new(uint32(300)), ResultCode: imbase.ResultType_REFUSE_REASON_NONE.Enum(),
			OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), UserInfo: user,
		}, "08ac02" + "1000" + "2001" + "2a19" + userHex},
		{client.CmdKickUser, &imlogin.IMKickUser{
			UserId: new(uint32(5)), KickReason: imbase.KickReasonType_KICK_REASON_MOBILE_KICK.Enum(),
		}, "0805" + "1002"},
		{client.CmdMsgData, &immessage.IMMsgData{
			FromUserId: new(uint32(1)), ToSessionId: new(uint32(2)), MsgId: new(uint32(0)), CreateTime: new(uint32(4294967295)),
			MsgType: imbase.MsgType_MSG_TYPE_GROUP_AUDIO.Enum(), MsgData: []byte("x"), AttachData: []byte("y"),
		}, "0801" + "1002" + "1800" + "20ffffffff0f" + "2812" + "320178" + "a2010179"},
		{client.CmdUserStatNotify, &imbuddy.IMUserStatNotify{UserStat: &imbase.UserStat{
			UserId: new(uint32(300)), Status: imbase.UserStatType_USER_STATUS_OFFLINE.Enum(),
		}}, "0a05" + "08ac02" + "1002"},
		{client.CmdGetMsgListRsp, &immessage.IMGetMsgListRsp{
			UserId: new(uint32(1)), SessionType: imbase.SessionType_SESSION_TYPE_GROUP.Enum(), SessionId: new(uint32(9)),
			MsgIdBegin: new(uint32(0)), MsgList: []*imbase.MsgInfo{{
				MsgId: new(uint32(3)), FromSessionId: new(uint32(4)), CreateTime: new(uint32(5)),
				MsgType: imbase.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte("z"),
			}},
		}, "0801" + "1002" + "1809" + "2000" + "2a0b" + "0803" + "1004" + "1805" + "2011" + "2a017a"},
	} {
		got, err := client.AppendCommand(nil, c.cmd, c.m)
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s: %x, %v, want %s", client.Name(c.cmd), got, err, c.want)
		}
		body, _ := hex.DecodeString(c.want)
		if back, err := client.Decode(c.cmd, body); err != nil || !proto.Equal(back, c.m) {
			t.Errorf("%s: %v, %v", client.Name(c.cmd), back, err)
		}
	}
	// The one default in the protocol.
	if got := (&imgroup.IMGroupCreateReq{}).GetGroupType(); got != imbase.GroupType_GROUP_TYPE_TMP {
		t.Errorf("default group type %v", got)
	}
}

// TestProtocol holds the .proto files and the catalogue against a list written from the protocol's tables, and one of
// what godwit adds, which only grows.
func TestProtocol(t *testing.T) {
	var list []byte
	for _, name := range []string{"testdata/teamtalk.txt", "testdata/extensions.txt"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b...)
	}
	want := map[string]bool{}
	owner := ""
	for line := range strings.Lines(string(list)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ':
			want[owner+line] = true
		default:
			owner = line
			want[owner] = true
		}
	}
	got := map[string]bool{}
	protoregistry.GlobalTypes.RangeEnums(func(e protoreflect.EnumType) bool {
		d := e.Descriptor()
		if !ours(d.FullName()) {
			return true
		}
		owner := "enum " + string(d.FullName())
		got[owner] = true
		for i := range d.Values().Len() {
			v := d.Values().Get(i)
			got[fmt.Sprintf("%s  %s = %d", owner, v.Name(), v.Number())] = true
		}
		return true
	})
	for _, mt := range messages(t) {
		d := mt.Descriptor()
		owner := "message " + string(d.FullName())
		got[owner] = true
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			kind := f.Kind().String()
			switch {
			case f.Enum() != nil:
				kind = string(f.Enum().FullName())
			case f.Message() != nil:
				kind = string(f.Message().FullName())
			}
			line := fmt.Sprintf("%s  %s %s %s = %d", owner, f.Cardinality(), kind, f.Name(), f.Number())
			if f.HasDefault() {
				line += " default " + string(f.DefaultEnumValue().Name())
			}
			got[line] = true
		}
	}
	for c := range client.Commands() {
		got[fmt.Sprintf("command 0x%04x service %d %s %s", c.ID, c.Service(), c.Name, c.Message.Name())] = true
	}
	for line := range want {
		if !got[line] {
			t.Errorf("missing or different: %s", line)
		}
	}
	for line := range got {
		if !want[line] {
			t.Errorf("not in the protocol: %s", line)
		}
	}
	if len(want) < 700 {
		t.Errorf("only %d lines", len(want))
	}
}

func TestUnmarshalDropsUnknownFields(t *testing.T) {
	var m imlogin.IMLogoutRsp
	if err := client.Unmarshal([]byte{0x08, 0, 0xf8, 0x07, 1}, &m); err != nil {
		t.Fatal(err)
	}
	if n := len(m.ProtoReflect().GetUnknown()); n > 0 {
		t.Errorf("%d bytes kept", n)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for c := range client.Commands() {
		for _, all := range []bool{false, true} {
			body, err := client.Append(nil, fill(c.New().ProtoReflect(), all))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(c.ID, body)
		}
	}
	f.Fuzz(func(t *testing.T, cmd uint16, body []byte) {
		m, err := client.Decode(cmd, body)
		if err != nil {
			if !errors.Is(err, client.ErrMalformed) && !errors.Is(err, client.ErrUnknownCommand) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		// What was let in can be sent, and is then in its final form.
		first, err := client.AppendCommand(nil, cmd, m)
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		back, err := client.Decode(cmd, first)
		if err != nil || !proto.Equal(back, m) {
			t.Fatalf("%v became %v, %v", m, back, err)
		}
		second, err := client.AppendCommand(nil, cmd, back)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%x became %x, %v", first, second, err)
		}
	})
}

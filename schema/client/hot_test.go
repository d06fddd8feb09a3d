package client_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	immessage "godwit/schema/client/message"
)

// Each length of a varint, and the numbers around where it changes.
var numbers = []uint32{0, 1, 127, 128, 16383, 16384, 1<<21 - 1, 1 << 21, 1<<28 - 1, 1 << 28, 1763880000, math.MaxUint32}

func same(t *testing.T, got []byte, m proto.Message) {
	t.Helper()
	want, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(got, []byte("before"))
	if !ok || !bytes.Equal(rest, want) {
		t.Errorf("%s: %x, want %x", m.ProtoReflect().Descriptor().Name(), rest, want)
	}
	if err := client.Unmarshal(rest, m.ProtoReflect().New().Interface()); err != nil {
		t.Errorf("%s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
}

func TestHotEncodersWriteTheSameBytes(t *testing.T) {
	dst := []byte("before")
	for i, a := range numbers {
		b, c, d := numbers[(i+1)%len(numbers)], numbers[(i+5)%len(numbers)], numbers[(i+7)%len(numbers)]
		for typ := range imbase.MsgType_name {
			for _, data := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte{0xff}, 127), bytes.Repeat([]byte{1}, 128), make([]byte, 70000)} {
				same(t, client.AppendMsgData(dst, a, b, c, d, typ, data), &immessage.IMMsgData{
					FromUserId: &a, ToSessionId: &b, MsgId: &c, CreateTime: &d, MsgType: new(imbase.MsgType(typ)), MsgData: data,
				})
			}
		}
		id := bytes.Repeat([]byte{byte(i)}, 16)
		for _, x := range []client.MsgData{
			{}, {ClientMessageID: []byte{}}, {ClientMessageID: id}, {Recalled: true}, {Edits: a}, {ClientMessageID: id, Recalled: true, Edits: b},
		} {
			want := &immessage.IMMsgData{FromUserId: &a, ToSessionId: &b, MsgId: &c, CreateTime: &d,
				MsgType: imbase.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte("x")}
			if len(x.ClientMessageID) > 0 {
				want.ClientMessageId = x.ClientMessageID
			}
			if x.Recalled {
				want.Recalled = new(true)
			}
			if x.Edits > 0 {
				want.Edits = &x.Edits
			}
			x.From, x.To, x.ID, x.Created, x.Type, x.Data = a, b, c, d, int32(imbase.MsgType_MSG_TYPE_GROUP_TEXT), []byte("x")
			same(t, client.AppendExtendedMsgData(dst, x), want)
		}
		for typ := range imbase.SessionType_name {
			plain := &immessage.IMMsgDataAck{UserId: &a, SessionId: &b, MsgId: &c, SessionType: new(imbase.SessionType(typ))}
			same(t, client.AppendExtendedMsgDataAck(dst, a, b, c, typ, nil, d), plain)
			if plain.ClientMessageId = id; d != 0 {
				plain.CreateTime = &d
			}
			same(t, client.AppendExtendedMsgDataAck(dst, a, b, c, typ, id, d), plain)
			same(t, client.AppendMsgDataAck(dst, a, b, c, typ), &immessage.IMMsgDataAck{
				UserId: &a, SessionId: &b, MsgId: &c, SessionType: new(imbase.SessionType(typ)),
			})
			same(t, client.AppendReadNotify(dst, a, b, c, typ), &immessage.IMMsgDataReadNotify{
				UserId: &a, SessionId: &b, MsgId: &c, SessionType: new(imbase.SessionType(typ)),
			})
		}
		for status := range imbase.UserStatType_name {
			same(t, client.AppendUserStat(dst, a, status), &imbuddy.IMUserStatNotify{
				UserStat: &imbase.UserStat{UserId: &a, Status: new(imbase.UserStatType(status))},
			})
		}
	}
	// A missing msg_data is an empty one.
	if got, want := client.AppendMsgData(nil, 1, 2, 3, 4, 1, nil), client.AppendMsgData(nil, 1, 2, 3, 4, 1, []byte{}); !bytes.Equal(got, want) {
		t.Errorf("nil data: %x, want %x", got, want)
	}
}

func TestHotEncodersKnowTheLists(t *testing.T) {
	for n := int32(-300); n < 300; n++ {
		_, msgType := imbase.MsgType_name[n]
		_, sessionType := imbase.SessionType_name[n]
		_, status := imbase.UserStatType_name[n]
		for _, c := range []struct {
			name string
			in   bool
			told bool
			out  []byte
		}{
			{"AppendMsgData", msgType, client.KnownMsgType(n), client.AppendMsgData([]byte("before"), 1, 2, 3, 4, n, []byte("x"))},
			{"AppendExtendedMsgData", msgType, client.KnownMsgType(n), client.AppendExtendedMsgData([]byte("before"),
				client.MsgData{Type: n, Data: []byte("x"), Edits: 1})},
			{"AppendExtendedMsgDataAck", sessionType, client.KnownSessionType(n),
				client.AppendExtendedMsgDataAck([]byte("before"), 1, 2, 3, n, []byte("id"), 4)},
			{"AppendMsgDataAck", sessionType, client.KnownSessionType(n), client.AppendMsgDataAck([]byte("before"), 1, 2, 3, n)},
			{"AppendReadNotify", sessionType, client.KnownSessionType(n), client.AppendReadNotify([]byte("before"), 1, 2, 3, n)},
			{"AppendUserStat", status, client.KnownUserStat(n), client.AppendUserStat([]byte("before"), 1, n)},
		} {
			if c.in != c.told {
				t.Errorf("%s: %d known: %t, want %t", c.name, n, c.told, c.in)
			}
			if wrote := string(c.out) != "before"; wrote != c.in {
				t.Errorf("%s: %d written: %t, want %t", c.name, n, wrote, c.in)
			}
		}
	}
}

// agree compares the two decoders on one body.
func agree(t *testing.T, body []byte) (accepted bool) {
	t.Helper()
	kept := bytes.Clone(body)
	got, err := client.ParseMsgData(body)
	var want immessage.IMMsgData
	wantErr := client.Unmarshal(body, &want)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: ParseMsgData says %v, Unmarshal says %v", body, err, wantErr)
	}
	if err != nil {
		if !errors.Is(err, client.ErrMalformed) {
			t.Fatalf("%x: untyped error %v", body, err)
		}
		if errors.Is(err, client.ErrEnum) != errors.Is(wantErr, client.ErrEnum) {
			t.Fatalf("%x: ParseMsgData says %v, Unmarshal says %v", body, err, wantErr)
		}
		return false
	}
	if got.From != want.GetFromUserId() || got.To != want.GetToSessionId() || got.ID != want.GetMsgId() ||
		got.Created != want.GetCreateTime() || got.Type != int32(want.GetMsgType()) || !bytes.Equal(got.Data, want.GetMsgData()) ||
		!bytes.Equal(got.ClientMessageID, want.GetClientMessageId()) || (got.ClientMessageID == nil) != (want.ClientMessageId == nil) ||
		got.Recalled != want.GetRecalled() || got.Edits != want.GetEdits() {
		t.Fatalf("%x: ParseMsgData reads %+v, Unmarshal reads %v", body, got, &want)
	}
	if !bytes.Equal(body, kept) {
		t.Fatalf("%x was changed to %x", kept, body)
	}
	return true
}

const plainMsgData = "0801" + "1002" + "1800" + "2005" + "2801" + "320178"

var msgDataBodies = []struct {
	name string
	body string
	ok   bool
}{
	{"plain", plainMsgData, true},
	{"backwards", "320178" + "2801" + "2005" + "1800" + "1002" + "0801", true},
	{"attach_data", plainMsgData + "a2010179", true},
	{"attach_data cut off", plainMsgData + "a2010579", false},
	{"attach_data as a number", plainMsgData + "a00105", true},
	{"empty data", "0801" + "1002" + "1800" + "2005" + "2801" + "3200", true},
	{"last one wins", "0809" + "320161" + plainMsgData, true},
	{"last type wins", "2863" + plainMsgData, true},
	{"last type wins and is unknown", plainMsgData + "2863", false},
	{"unknown type", "0801" + "1002" + "1800" + "2005" + "2803" + "320178", false},
	{"negative type", "0801" + "1002" + "1800" + "2005" + "28ffffffffffffffffff01" + "320178", false},
	{"type over 32 bits", "0801" + "1002" + "1800" + "2005" + "288180808010" + "320178", true},
	{"number over 32 bits", "088180808010" + "1002" + "1800" + "2005" + "2801" + "320178", true},
	{"long form of a number", "088180808000" + "1002" + "1800" + "2005" + "2801" + "320178", true},
	{"long form of a tag", "888000" + "01" + "1002" + "1800" + "2005" + "2801" + "320178", true},
	{"number of eleven bytes", "08ffffffffffffffffffff01" + plainMsgData, false},
	{"no from_user_id", "1002" + "1800" + "2005" + "2801" + "320178", false},
	{"no to_session_id", "0801" + "1800" + "2005" + "2801" + "320178", false},
	{"no msg_id", "0801" + "1002" + "2005" + "2801" + "320178", false},
	{"no create_time", "0801" + "1002" + "1800" + "2801" + "320178", false},
	{"no msg_type", "0801" + "1002" + "1800" + "2005" + "320178", false},
	{"no msg_data", "0801" + "1002" + "1800" + "2005" + "2801", false},
	{"msg_data as a number", "0801" + "1002" + "1800" + "2005" + "2801" + "3001", false},
	{"a number as bytes", "0a0101" + "1002" + "1800" + "2005" + "2801" + "320178", false},
	{"a number as fixed32", plainMsgData + "0d01000000", true},
	{"unknown fields", "3801" + "4900000000000000ff" + plainMsgData + "55ffffffff" + "f2ff7f0161", true},
	{"unknown group", plainMsgData + "3b0801433c44" + "", false},
	{"unknown group, whole", plainMsgData + "3b08013c", true},
	{"unknown group inside another", plainMsgData + "3b430801443c", true},
	{"group not ended", plainMsgData + "3b0801", false},
	{"group ended as another", plainMsgData + "3b080144", false},
	{"group end alone", plainMsgData + "3c", false},
	{"group end of a known field", plainMsgData + "0c", false},
	{"groups too deep", plainMsgData + strings.Repeat("3b", 10010) + strings.Repeat("3c", 10010), false},
	{"field 0", plainMsgData + "0001", false},
	{"largest field", plainMsgData + "f8ffffff0f" + "01", true},
	{"field over the largest", plainMsgData + "8080808010" + "01", false},
	{"field far over the largest", plainMsgData + "f8ffffffffffffffff01" + "01", false},
	{"wire type 6", plainMsgData + "0e", false},
	{"wire type 7", plainMsgData + "0f", false},
	{"cut tag", plainMsgData + "80", false},
	{"cut number", plainMsgData + "08", false},
	{"cut data", plainMsgData + "320578", false},
	{"data of a lying length", plainMsgData + "32ffffffff0f78", false},
	{"data of a huge length", plainMsgData + "32ffffffffffffffffff01", false},
	{"client message id", plainMsgData + "a20610" + "000102030405060708090a0b0c0d0e0f", true},
	{"client message id first", "a20610" + "000102030405060708090a0b0c0d0e0f" + plainMsgData, true},
	{"client message id of one byte", plainMsgData + "a2060101", true},
	{"empty client message id", plainMsgData + "a20600", true},
	{"last client message id wins", plainMsgData + "a2060101" + "a2060102", true},
	{"client message id cut off", plainMsgData + "a2061001", false},
	{"client message id as a number", plainMsgData + "a00601", true},
	{"recalled and edited", plainMsgData + "a80601" + "b00603", true},
	{"recalled as 2", plainMsgData + "a80602", true},
	{"not recalled", plainMsgData + "a80601" + "a80600", true},
	{"edits over 32 bits", plainMsgData + "b0068180808010", true},
	{"edits as bytes", plainMsgData + "b20600", true},
	{"cut edits", plainMsgData + "b006", false},
	{"empty", "", false},
	{"garbage", "ffffffffffffffffffffffff", false},
}

func TestParseMsgData(t *testing.T) {
	for _, c := range msgDataBodies {
		t.Run(c.name, func(t *testing.T) {
			body, err := hex.DecodeString(c.body)
			if err != nil {
				t.Fatal(err)
			}
			if ok := agree(t, body); ok != c.ok {
				t.Errorf("accepted: %t, want %t", ok, c.ok)
			}
			// Every beginning of a body, and every byte of it changed.
			if len(body) > 1000 {
				return
			}
			for i := range body {
				agree(t, body[:i])
				for _, x := range []byte{1, 2, 4, 8, 0x80, 0xff} {
					changed := bytes.Clone(body)
					changed[i] ^= x
					agree(t, changed)
				}
			}
		})
	}
	body := client.AppendMsgData(nil, 1, 2, 3, 4, 17, []byte("content"))
	m, err := client.ParseMsgData(body)
	if err != nil || m.From != 1 || m.To != 2 || m.ID != 3 || m.Created != 4 || m.Type != 17 || string(m.Data) != "content" {
		t.Fatalf("%+v, %v", m, err)
	}
	body[len(body)-1] = 'T'
	if string(m.Data) != "contenT" {
		t.Error("Data is a copy of the body")
	}
}

func FuzzParseMsgData(f *testing.F) {
	for _, c := range msgDataBodies {
		if body, err := hex.DecodeString(c.body); err == nil && len(body) < 1000 {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}

func TestHotCodecsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 1024)
	data := bytes.Repeat([]byte("x"), 200)
	id := []byte("0123456789abcdef")
	body := client.AppendExtendedMsgData(nil, client.MsgData{From: 1, To: 2, ID: 3, Created: 4, Type: 1, Data: data, ClientMessageID: id})
	unknown := client.AppendMsgData(nil, 1, 2, 3, 4, 1, nil)
	unknown[9] = 99
	for name, f := range map[string]func(){
		"AppendMsgData":    func() { client.AppendMsgData(dst, 1, 2, 3, 4, 1, data) },
		"AppendMsgDataAck": func() { client.AppendMsgDataAck(dst, 1, 2, 3, 1) },
		"AppendExtendedMsgData": func() {
			client.AppendExtendedMsgData(dst, client.MsgData{From: 1, To: 2, ID: 3, Created: 4, Type: 1, Data: data, ClientMessageID: id, Edits: 1})
		},
		"AppendExtendedMsgDataAck": func() { client.AppendExtendedMsgDataAck(dst, 1, 2, 3, 1, id, 4) },
		"AppendReadNotify":         func() { client.AppendReadNotify(dst, 1, 2, 3, 1) },
		"AppendUserStat":           func() { client.AppendUserStat(dst, 1, 1) },
		"ParseMsgData": func() {
			if _, err := client.ParseMsgData(body); err != nil {
				t.Error(err)
			}
		},
		"ParseMsgData of an unknown type": func() {
			if _, err := client.ParseMsgData(unknown); !errors.Is(err, client.ErrEnum) {
				t.Error(err)
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAppendMsgData(b *testing.B) {
	dst := make([]byte, 0, 1024)
	data := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	for b.Loop() {
		client.AppendMsgData(dst, 100001, 100002, 300, 1763880000, 1, data)
	}
}

func BenchmarkParseMsgData(b *testing.B) {
	body := client.AppendMsgData(nil, 100001, 100002, 0, 1763880000, 1, bytes.Repeat([]byte("x"), 200))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.ParseMsgData(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnmarshalMsgData(b *testing.B) {
	body := client.AppendMsgData(nil, 100001, 100002, 0, 1763880000, 1, bytes.Repeat([]byte("x"), 200))
	b.ReportAllocs()
	for b.Loop() {
		var m immessage.IMMsgData
		if err := client.Unmarshal(body, &m); err != nil {
			b.Fatal(err)
		}
	}
}

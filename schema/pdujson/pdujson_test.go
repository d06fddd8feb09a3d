package pdujson_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	"godwit/schema/client/content"
	imextension "godwit/schema/client/extension"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

// plainNames are the fields that the wire does not have.
var plainNames = []string{"text", "latestText", "plainPassword"}

// message draws a message of a command: fields that must be there, and some that need not.
func message(c client.Command) *rapid.Generator[proto.Message] {
	return rapid.Custom(func(t *rapid.T) proto.Message {
		m := c.New()
		rapid.Bool().Draw(t, "unused") // rapid wants something drawn, and some messages hold nothing
		draw(t, m.ProtoReflect())
		return m
	})
}

func draw(t *rapid.T, m protoreflect.Message) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		name := string(f.Name())
		switch {
		case f.IsList():
			l := m.Mutable(f).List()
			for range rapid.IntRange(0, 3).Draw(t, name) {
				if f.Message() != nil {
					draw(t, l.AppendMutable().Message())
				} else {
					l.Append(scalar(t, f))
				}
			}
		case f.Cardinality() != protoreflect.Required && !rapid.Bool().Draw(t, "has "+name):
		case f.Message() != nil:
			draw(t, m.Mutable(f).Message())
		default:
			m.Set(f, scalar(t, f))
		}
	}
}

func scalar(t *rapid.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	name := string(f.Name())
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rapid.Bool().Draw(t, name))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, name))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, name))
	case protoreflect.BytesKind:
		if rapid.Bool().Draw(t, "text in "+name) {
			return protoreflect.ValueOfBytes(content.EncryptText(rapid.String().Draw(t, name)))
		}
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name))
	case protoreflect.EnumKind:
		v := f.Enum().Values()
		return protoreflect.ValueOfEnum(v.Get(rapid.IntRange(0, v.Len()-1).Draw(t, name)).Number())
	}
	panic("the protocol has no " + f.Kind().String())
}

// frame is the PDU of a message.
func frame(t testing.TB, command, seq uint16, m proto.Message) *pdu.Frame {
	t.Helper()
	b, err := pdu.AppendMessage(nil, command, seq, m)
	if err != nil {
		t.Fatal(err)
	}
	return only(t, b)
}

// only is the one PDU in b.
func only(t testing.TB, b []byte) *pdu.Frame {
	t.Helper()
	f, n, err := pdu.Next(b, pdu.MaxAfterLogin)
	if err != nil || n != len(b) || n == 0 {
		t.Fatalf("%d bytes are not one PDU: %d, %v", len(b), n, err)
	}
	return &f
}

func text(t testing.TB, f *pdu.Frame) string {
	t.Helper()
	b, err := pdujson.AppendText([]byte("before"), f)
	if err != nil {
		t.Fatal(err)
	}
	s, found := strings.CutPrefix(string(b), "before")
	if !found {
		t.Fatalf("%s does not append", b)
	}
	return s
}

// strip takes away what the wire does not have.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if slices.Contains(plainNames, name) && (v["msgData"] != nil || v["latestMsgData"] != nil) {
				delete(v, name)
			} else {
				v[name] = strip(inner)
			}
		}
	case []any:
		for i := range v {
			v[i] = strip(v[i])
		}
	}
	return v
}

func parse(t testing.TB, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// thereAndBack holds one message against protobuf's own JSON, and its PDU against the one that its text gives.
func thereAndBack(t testing.TB, c client.Command, seq uint16, m proto.Message) {
	t.Helper()
	f := frame(t, c.ID, seq, m)
	s := text(t, f)
	back, err := pdujson.Append([]byte("before"), []byte(s))
	if err != nil || string(back) != "before"+string(f.Raw) {
		t.Fatalf("%s\nbecame %x, %v\nwant   %x", s, back, err, f.Raw)
	}

	var frame struct {
		Service, Command, Seq any
		Body                  json.RawMessage
	}
	if err := json.Unmarshal([]byte(s), &frame); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	if frame.Service != float64(c.ID>>8) || frame.Command != string(c.Message.Name()) || frame.Seq != float64(seq) {
		t.Fatalf("%s is not of %s, %d", s, c.Name, seq)
	}
	own, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, own); err != nil {
		t.Fatal(err)
	}
	if got, want := strip(parse(t, frame.Body)), parse(t, own); !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\nis not %s", frame.Body, compact.Bytes())
	}
	if !strings.Contains(s, `ext":"`) && compact.String() != string(frame.Body) { // of text and latestText
		t.Fatalf("%s\nis not %s", frame.Body, compact.Bytes())
	}
	// What protobuf writes is read as well, whatever white space it puts in.
	back, err = pdujson.Append(nil, fmt.Appendf(nil, ` { "body" : %s , "seq" : %d , "command" : %d } `, own, seq, c.ID))
	if err != nil || !bytes.Equal(back, f.Raw) {
		t.Fatalf("%s\nbecame %x, %v\nwant   %x", own, back, err, f.Raw)
	}
}

func TestEveryCommandThereAndBack(t *testing.T) {
	for c := range client.Commands() {
		t.Run(c.Name, func(t *testing.T) {
			thereAndBack(t, c, 0, message(c).Example(0))
			for seed := range 5 {
				thereAndBack(t, c, uint16(0xff01+seed), message(c).Example(seed+1))
			}
		})
	}
}

func TestAnyMessageThereAndBack(t *testing.T) {
	all := slices.Collect(client.Commands())
	rapid.Check(t, func(r *rapid.T) {
		c := all[rapid.IntRange(0, len(all)-1).Draw(r, "command")]
		thereAndBack(tb{t, r}, c, rapid.Uint16().Draw(r, "seq"), message(c).Draw(r, "message"))
	})
}

// tb tells rapid what fails, so that it looks for the smallest message that does.
type tb struct {
	testing.TB
	r *rapid.T
}

func (t tb) Helper()                   {}
func (t tb) Fatal(args ...any)         { t.r.Fatal(args...) }
func (t tb) Fatalf(f string, a ...any) { t.r.Fatalf(f, a...) }

func TestGoldenTexts(t *testing.T) {
	for _, c := range []struct {
		name    string
		command uint16
		seq     uint16
		message proto.Message
		want    string
	}{
		{"a message is pushed", client.CmdMsgData, 0, &immessage.IMMsgData{
			FromUserId: new(uint32(7)), ToSessionId: new(uint32(9)), MsgId: new(uint32(3)), CreateTime: new(uint32(1700000000)),
			MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: content.EncryptText("hi \"you\" \U0001f60a\n<b>\u2028"),
			ClientMessageId: []byte{0xff, 0xfe}, Edits: new(uint32(2)),
		}, `{"service":3,"command":"IMMsgData","seq":0,"body":{"fromUserId":7,"toSessionId":9,"msgId":3,"createTime":1700000000,` +
			`"msgType":"MSG_TYPE_SINGLE_TEXT","msgData":"` + base64.StdEncoding.EncodeToString(content.EncryptText("hi \"you\" \U0001f60a\n<b>\u2028")) +
			`","text":"hi \"you\" ` + "\U0001f60a" + `\n<b>` + "\u2028" + `","clientMessageId":"//4=","edits":2}}`},
		{"voice is no text", client.CmdMsgData, 0, &immessage.IMMsgData{
			FromUserId: new(uint32(7)), ToSessionId: new(uint32(9)), MsgId: new(uint32(3)), CreateTime: new(uint32(1)),
			MsgType: imbase.MsgType_MSG_TYPE_GROUP_AUDIO.Enum(), MsgData: content.EncryptText("looks like one"),
		}, `{"service":3,"command":"IMMsgData","seq":0,"body":{"fromUserId":7,"toSessionId":9,"msgId":3,"createTime":1,` +
			`"msgType":"MSG_TYPE_GROUP_AUDIO","msgData":"` + base64.StdEncoding.EncodeToString(content.EncryptText("looks like one")) + `"}}`},
		{"a text that is none", client.CmdMsgData, 0, &immessage.IMMsgData{
			FromUserId: new(uint32(7)), ToSessionId: new(uint32(9)), MsgId: new(uint32(3)), CreateTime: new(uint32(1)),
			MsgType: imbase.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: []byte{0xff, 0},
		}, `{"service":3,"command":"IMMsgData","seq":0,"body":{"fromUserId":7,"toSessionId":9,"msgId":3,"createTime":1,` +
			`"msgType":"MSG_TYPE_GROUP_TEXT","msgData":"/wA="}}`},
		{"a text that is no UTF-8", client.CmdMsgData, 0, &immessage.IMMsgData{
			FromUserId: new(uint32(7)), ToSessionId: new(uint32(9)), MsgId: new(uint32(3)), CreateTime: new(uint32(1)),
			MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: content.EncryptText("\xff"),
		}, `{"service":3,"command":"IMMsgData","seq":0,"body":{"fromUserId":7,"toSessionId":9,"msgId":3,"createTime":1,` +
			`"msgType":"MSG_TYPE_SINGLE_TEXT","msgData":"` + base64.StdEncoding.EncodeToString(content.EncryptText("\xff")) + `"}}`},
		{"a message is acknowledged", client.CmdMsgDataAck, 65535, &immessage.IMMsgDataAck{
			UserId: new(uint32(7)), SessionId: new(uint32(9)), MsgId: new(uint32(4294967295)), SessionType: imbase.SessionType_SESSION_TYPE_GROUP.Enum(),
		}, `{"service":3,"command":"IMMsgDataAck","seq":65535,"body":{"userId":7,"sessionId":9,"msgId":4294967295,"sessionType":"SESSION_TYPE_GROUP"}}`},
		{"nothing to say", client.CmdHeartBeat, 5, client0(client.CmdHeartBeat), `{"service":7,"command":"IMHeartBeat","seq":5,"body":{}}`},
		{"a string that is no UTF-8", client.CmdSignInfoChangedNotify, 0, &imbuddy.IMSignInfoChangedNotify{
			ChangedUserId: new(uint32(1)), SignInfo: new("a\xffb\xc3"),
		}, "{\"service\":2,\"command\":\"IMSignInfoChangedNotify\",\"seq\":0,\"body\":{\"changedUserId\":1,\"signInfo\":\"a\uFFFDb\uFFFD\"}}"},
		{"a list says what a voice message shows", client.CmdRecentContactSessionRsp, 1, &imbuddy.IMRecentContactSessionRsp{
			UserId: new(uint32(7)), ContactSessionList: []*imbase.ContactSessionInfo{{
				SessionId: new(uint32(1)), SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(),
				SessionStatus: imbase.SessionStatusType_SESSION_STATUS_OK.Enum(), UpdatedTime: new(uint32(2)), LatestMsgId: new(uint32(3)),
				LatestMsgData: []byte(content.VoicePreview), LatestMsgType: imbase.MsgType_MSG_TYPE_SINGLE_AUDIO.Enum(), LatestMsgFromUserId: new(uint32(1)),
			}},
		}, `{"service":2,"command":"IMRecentContactSessionRsp","seq":1,"body":{"userId":7,"contactSessionList":[{"sessionId":1,` +
			`"sessionType":"SESSION_TYPE_SINGLE","sessionStatus":"SESSION_STATUS_OK","updatedTime":2,"latestMsgId":3,` +
			`"latestMsgData":"UWhHWGxwRmp2TUZVTnJ0bDFhYVB6QT09","latestText":"[语音]","latestMsgType":"MSG_TYPE_SINGLE_AUDIO","latestMsgFromUserId":1}]}}`},
		{"a message inside of another", client.CmdMessageChangedNotify, 0, &imextension.MessageChangedNotify{
			SessionId: new(uint32(1)), SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(), Message: &imbase.MsgInfo{
				MsgId: new(uint32(3)), FromSessionId: new(uint32(7)), CreateTime: new(uint32(1)),
				MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: content.EncryptText(""), Recalled: new(true),
			},
		}, `{"service":32,"command":"MessageChangedNotify","seq":0,"body":{"sessionId":1,"sessionType":"SESSION_TYPE_SINGLE","message":{"msgId":3,` +
			`"fromSessionId":7,"createTime":1,"msgType":"MSG_TYPE_SINGLE_TEXT","msgData":"` + base64.StdEncoding.EncodeToString(content.EncryptText("")) +
			`","text":"","recalled":true}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := text(t, frame(t, c.command, c.seq, c.message)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// The pieces of a text are together the text, and none is much longer than it should be.
func TestPieces(t *testing.T) {
	check := func(t failer, f *pdu.Frame, size int) {
		want, err := pdujson.AppendText(nil, f)
		if err != nil {
			want = pdujson.AppendError(nil, err)
		}
		var got []byte
		for piece := range pdujson.Pieces(f, size) {
			if len(piece) > 2*size+256 {
				t.Fatalf("a piece of %d bytes, not %d", len(piece), size)
			}
			got = append(got, piece...)
			clear(piece)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("in pieces of %d bytes %.300q, want %.300q", size, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		c := rapid.SampledFrom(slices.Collect(client.Commands())).Draw(r, "command")
		check(r, frame(tb{t, r}, c.ID, 7, message(c).Draw(r, "message")), rapid.IntRange(1, 300).Draw(r, "size"))
	})
	data := func(words string) *pdu.Frame {
		return only(t, pdu.Append(nil, 3, client.CmdMsgData, 0, func(b []byte) []byte {
			return client.AppendMsgData(b, 1, 2, 3, 4, 1, content.EncryptText(words))
		}))
	}
	for _, words := range []string{strings.Repeat("\x01", 5000), strings.Repeat("a😀ä", 2000), strings.Repeat("\xbf", 3000), strings.Repeat("\xf0\x9f", 3000)} {
		for _, size := range []int{1, 50, 51, 1000, 32 << 10, 1 << 20} {
			check(t, data(words), size)
		}
	}
	// A string of another client that is no UTF-8.
	check(t, frame(t, client.CmdLoginReq, 1, &imlogin.IMLoginReq{UserName: new(strings.Repeat("\xe2\x82A", 500)), Password: new("x"),
		OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: imbase.ClientType_CLIENT_TYPE_WEB.Enum()}), 10)
	check(t, &pdu.Frame{Header: pdu.Header{Command: client.CmdLoginReq}, Body: []byte("?")}, 10)
	check(t, &pdu.Frame{Header: pdu.Header{Command: 0x7fff}}, 10)
	// Whoever wants no more is given no more.
	for range pdujson.Pieces(data(strings.Repeat("x", 5000)), 100) {
		break
	}
}

type failer interface {
	Fatalf(format string, args ...any)
}

func client0(command uint16) proto.Message {
	c, _ := client.Lookup(command)
	return c.New()
}

func TestOneRequestInManyForms(t *testing.T) {
	want := frame(t, client.CmdMsgData, 7, &immessage.IMMsgData{
		FromUserId: new(uint32(1)), ToSessionId: new(uint32(2)), MsgId: new(uint32(0)), CreateTime: new(uint32(0)),
		MsgType: imbase.MsgType_MSG_TYPE_GROUP_TEXT.Enum(), MsgData: content.EncryptText("é\x00/\U0001f60a"),
	}).Raw
	const rest = `"fromUserId":1,"toSessionId":2,"msgId":0,"createTime":0`
	wrapped := base64.StdEncoding.EncodeToString(content.EncryptText("é\x00/\U0001f60a"))
	for _, s := range []string{
		`{"service":3,"command":"IMMsgData","seq":7,"body":{` + rest + `,"msgType":"MSG_TYPE_GROUP_TEXT","text":"é\u0000/` + "\U0001f60a" + `"}}`,
		"\t{\r\n\"seq\": 7, \"body\": {\"text\" :\"\\u00e9\\u0000\\/\\ud83d\\ude0a\", \"msgType\": 17 ,\n" + rest + `}, "command": "CID_MSG_DATA"} `,
		`{"command":769,"seq":"7","body":{"from_user_id":1.0,"to_session_id":2e0,"msg_id":-0,"create_time":"0","msg_type":"17","attachData":null,"msg_data":"` + wrapped + `"}}`,
		`{"command":"IMMsgData","seq":7,"body":{` + rest + `,"msgType":17,"text":null,"msgData":"` + strings.TrimRight(wrapped, "=") + `"}}`,
		// What the server does not look at need not be said.
		`{"command":"IMMsgData","seq":7,"body":{"fromUserId":1,"toSessionId":2,"msgType":17,"text":"é\u0000/` + "\U0001f60a" + `"}}`,
		// What is pushed can be said again as it is.
		`{"command":"IMMsgData","seq":7,"body":{` + rest + `,"msgType":17,"text":"é\u0000/` + "\U0001f60a" + `","msgData":"` + wrapped + `"}}`,
	} {
		got, err := pdujson.Append(nil, []byte(s))
		if strings.Contains(s, `"msg_type":"17"`) {
			// An enum in quotes is a name.
			if err == nil {
				t.Errorf("%s\nis understood", s)
			}
			got, err = pdujson.Append(nil, []byte(strings.Replace(s, `"17"`, `17`, 1)))
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s\nis %x, %v\nwant %x", s, got, err, want)
		}
	}
}

func TestPlainPassword(t *testing.T) {
	want := frame(t, client.CmdLoginReq, 1, &imlogin.IMLoginReq{
		UserName: new("ada"), Password: new("e10adc3949ba59abbe56e057f20f883e"),
		OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: imbase.ClientType_CLIENT_TYPE_WINDOWS.Enum(),
	})
	got, err := pdujson.Append(nil, []byte(`{"command":"IMLoginReq","seq":1,"body":{"userName":"ada","plainPassword":"123456",`+
		`"onlineStatus":"USER_STATUS_ONLINE","clientType":"CLIENT_TYPE_WINDOWS"}}`))
	if err != nil || !bytes.Equal(got, want.Raw) {
		t.Errorf("%x, %v, want %x", got, err, want.Raw)
	}
	if s := text(t, want); strings.Contains(s, "plainPassword") || !strings.Contains(s, `"password":"e10adc`) {
		t.Errorf("shown as %s", s)
	}
}

// What may be left out are numbers of requests that the wire requires, and every request that says who asks has it so.
func TestWhatTheServerDoesNotLookAt(t *testing.T) {
	others := map[string]bool{ // whose user is not the one who asks
		"IMFileLoginReq": true, "IMFilePullDataReq": true, "IMFilePullDataRsp": true, "IMFileDelOfflineReq": true,
		"IMMsgDataAck": true, "FriendReq": true,
	}
	for c := range client.Commands() {
		d := c.New().ProtoReflect().Descriptor()
		f := d.Fields().ByNumber(1)
		if c.Direction&client.FromClient == 0 || f == nil || f.Kind() != protoreflect.Uint32Kind || !strings.HasSuffix(string(f.Name()), "user_id") || others[string(d.Name())] {
			continue
		}
		m := message(c).Example(3)
		body, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(body, &object); err != nil {
			t.Fatal(err)
		}
		delete(object, f.JSONName())
		body, err = json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		m.ProtoReflect().Set(f, protoreflect.ValueOfUint32(0))
		got, err := pdujson.Append(nil, fmt.Appendf(nil, `{"command":%d,"body":%s}`, c.ID, body))
		if want := frame(t, c.ID, 0, m).Raw; err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s without %s is %x, %v", d.Name(), f.Name(), got, err)
		}
	}
}

const message1 = `{"command":"IMMsgData","seq":7,"body":{"fromUserId":1,"toSessionId":2,"msgId":0,"createTime":0,"msgType":17,"text":"x"}}`

func TestRefusals(t *testing.T) {
	// replaced is a good text with one piece in place of another.
	replaced := func(old, new string) string {
		if !strings.Contains(message1, old) {
			t.Fatalf("no %s in it", old)
		}
		return strings.Replace(message1, old, new, 1)
	}
	if _, err := pdujson.Append(nil, []byte(message1)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		want       string // what the client is told
		is         error
	}{
		{"nothing", "", `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"white space", " \n", `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"a number", "7", `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"an array", "[" + message1 + "]", `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"two", message1 + message1, `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"half of one", message1[:len(message1)-1], `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"no UTF-8", replaced(`"x"`, "\"\xff\""), `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},
		{"a mark before", "\ufeff" + message1, `{"seq":0,"error":"not a JSON object"}`, pdujson.ErrNotJSON},

		{"an empty object", "{}", `{"seq":0,"error":"command: missing"}`, client.ErrUnknownCommand},
		{"an unknown member", replaced(`"seq"`, `"Seq"`), `{"seq":0,"error":"Seq: unknown; there are service, command, seq and body"}`, nil},
		{"an unknown member behind the seq", replaced(`"body"`, `"bödy"`), `{"seq":7,"error":"bödy: unknown; there are service, command, seq and body"}`, nil},
		{"a seq too large", replaced(`7`, `65536`), `{"seq":0,"error":"seq: want a number from 0 to 65535"}`, nil},
		{"a seq below 0", replaced(`7`, `-1`), `{"seq":0,"error":"seq: want a number from 0 to 65535"}`, nil},
		{"a seq that is no number", replaced(`7`, `"x"`), `{"seq":0,"error":"seq: want a whole number"}`, nil},
		{"a member twice", replaced(`"seq":7`, `"seq":7,"seq":8`), `{"seq":7,"error":"seq: given twice"}`, nil},
		{"an unknown name", replaced("IMMsgData", "IMMsgDate"), `{"seq":7,"error":"command: there is no \"IMMsgDate\""}`, client.ErrUnknownCommand},
		{"an unknown number", replaced(`"IMMsgData"`, "5"), `{"seq":7,"error":"command: there is no 0x0005"}`, client.ErrUnknownCommand},
		{"a number in words", replaced(`IMMsgData`, "0x0301"), `{"seq":7,"error":"command: there is no \"0x0301\""}`, client.ErrUnknownCommand},
		{"a command of no kind", replaced(`"IMMsgData"`, "[1]"), `{"seq":7,"error":"command: want the name of a message, or a number"}`, client.ErrUnknownCommand},
		{"a long name", replaced("IMMsgData", strings.Repeat("é", 1000)), `{"seq":7,"error":"command: there is no \"` + strings.Repeat("é", 32) + `…\""}`, client.ErrUnknownCommand},
		{"another service", replaced(`"seq"`, `"service":2,"seq"`), `{"command":"IMMsgData","seq":7,"error":"service: that of IMMsgData is 3"}`, nil},

		{"a body of no kind", replaced(`{"fromUserId":1,"toSessionId":2,"msgId":0,"createTime":0,"msgType":17,"text":"x"}`, `[]`), `{"command":"IMMsgData","seq":7,"error":"body: want an object"}`, nil},
		{"no body", `{"seq":7,"command":"IMMsgData"}`, `{"command":"IMMsgData","seq":7,"error":"body.toSessionId: missing"}`, nil},
		{"an unknown field", replaced(`"msgId"`, `"msgid"`), `{"command":"IMMsgData","seq":7,"error":"body.msgid: unknown to IMMsgData"}`, nil},
		{"a field missing", replaced(`"msgType":17,`, ``), `{"command":"IMMsgData","seq":7,"error":"body.msgType: missing"}`, nil},
		{"a field that is null", replaced(`"toSessionId":2`, `"toSessionId":null`), `{"command":"IMMsgData","seq":7,"error":"body.toSessionId: missing"}`, nil},
		{"no text", replaced(`,"text":"x"`, ``), `{"command":"IMMsgData","seq":7,"error":"body.msgData: missing, and so is text"}`, nil},
		{"a field twice", replaced(`"msgId":0`, `"msgId":0,"msg_id":0`), `{"command":"IMMsgData","seq":7,"error":"body.msgId: given twice"}`, nil},
		{"the text twice", replaced(`"text":"x"`, `"text":"x","text":"x"`), `{"command":"IMMsgData","seq":7,"error":"body.text: given twice"}`, nil},
		{"two texts", replaced(`"text":"x"`, `"text":"x","msgData":"`+base64.StdEncoding.EncodeToString(content.EncryptText("y"))+`"`), `{"command":"IMMsgData","seq":7,"error":"body.text: given beside msgData, which says something else"}`, nil},
		{"text in voice", replaced(`17`, `18`), `{"command":"IMMsgData","seq":7,"error":"body.text: given in a message whose msgType is not that of a text"}`, nil},
		{"text that is no string", replaced(`"x"`, `["x"]`), `{"command":"IMMsgData","seq":7,"error":"body.text: want a string"}`, nil},
		{"half a character", replaced(`"x"`, `"\ud83d"`), `{"command":"IMMsgData","seq":7,"error":"body.text: holds half of a surrogate pair"}`, nil},
		{"the other half", replaced(`"x"`, `"\ude0ax"`), `{"command":"IMMsgData","seq":7,"error":"body.text: holds half of a surrogate pair"}`, nil},
		{"halves in the wrong order", replaced(`"x"`, `"\ude0a\ud83d"`), `{"command":"IMMsgData","seq":7,"error":"body.text: holds half of a surrogate pair"}`, nil},
		{"half a character in a name", replaced(`"msgId"`, `"msgId\ud83d"`), `{"command":"IMMsgData","seq":7,"error":"body: a name: holds half of a surrogate pair"}`, nil},
		{"an enum's unknown name", replaced(`17`, `"MSG_TYPE_ODD"`), `{"command":"IMMsgData","seq":7,"error":"body.msgType: \"MSG_TYPE_ODD\" is no MsgType"}`, nil},
		{"an enum's unknown number", replaced(`17`, `3`), `{"command":"IMMsgData","seq":7,"error":"body.msgType: want the name or the number of a MsgType"}`, nil},
		{"an enum of no kind", replaced(`17`, `true`), `{"command":"IMMsgData","seq":7,"error":"body.msgType: want the name or the number of a MsgType"}`, nil},
		{"a number too large", replaced(`"fromUserId":1`, `"fromUserId":4294967296`), `{"command":"IMMsgData","seq":7,"error":"body.fromUserId: want a number from 0 to 4294967295"}`, nil},
		{"a number without bounds", replaced(`"fromUserId":1`, `"fromUserId":1e999999999`), `{"command":"IMMsgData","seq":7,"error":"body.fromUserId: want a number from 0 to 4294967295"}`, nil},
		{"a broken number", replaced(`"fromUserId":1`, `"fromUserId":1.5`), `{"command":"IMMsgData","seq":7,"error":"body.fromUserId: want a whole number"}`, nil},
		{"a number in bad quotes", replaced(`"fromUserId":1`, `"fromUserId":" 1"`), `{"command":"IMMsgData","seq":7,"error":"body.fromUserId: want a whole number"}`, nil},
		{"a number in empty quotes", replaced(`"fromUserId":1`, `"fromUserId":""`), `{"command":"IMMsgData","seq":7,"error":"body.fromUserId: want a whole number"}`, nil},
		{"an infinite number", replaced(`"fromUserId":1`, `"fromUserId":"Inf"`), `{"command":"IMMsgData","seq":7,"error":"body.fromUserId: want a whole number"}`, nil},
		{"bytes that are no base64", replaced(`"text":"x"`, `"msgData":"a?"`), `{"command":"IMMsgData","seq":7,"error":"body.msgData: want base64"}`, nil},
		{"bytes that are no string", replaced(`"text":"x"`, `"msgData":7`), `{"command":"IMMsgData","seq":7,"error":"body.msgData: want a string"}`, nil},
		{"an optional enum out of its list", `{"command":"IMDeviceTokenReq","body":{"userId":1,"deviceToken":"","clientType":99}}`,
			`{"command":"IMDeviceTokenReq","seq":0,"error":"body.clientType: want the name or the number of a ClientType"}`, nil},
		{"a truth of another kind", `{"command":"TypingReq","body":{"sessionId":1,"sessionType":1,"typing":1}}`,
			`{"command":"TypingReq","seq":0,"error":"body.typing: want true or false"}`, nil},
		{"a list of another kind", `{"command":"IMUsersStatReq","body":{"userId":1,"userIdList":1}}`,
			`{"command":"IMUsersStatReq","seq":0,"error":"body.userIdList: want an array"}`, nil},
		{"an element of another kind", `{"command":"IMUsersStatReq","body":{"userId":1,"userIdList":[1,2,null]}}`,
			`{"command":"IMUsersStatReq","seq":0,"error":"body.userIdList[2]: want a whole number"}`, nil},
		{"deep inside", `{"command":"IMGroupInfoListReq","body":{"userId":1,"groupVersionList":[{"groupId":1,"version":2},{"groupId":1}]}}`,
			`{"command":"IMGroupInfoListReq","seq":0,"error":"body.groupVersionList[1].version: missing"}`, nil},
		{"two passwords", `{"command":"IMLoginReq","body":{"userName":"a","password":"b","plainPassword":"c","onlineStatus":1,"clientType":1}}`,
			`{"command":"IMLoginReq","seq":0,"error":"body.plainPassword: given beside password, which says something else"}`, nil},
		{"too long for a PDU", replaced(`"x"`, `"`+strings.Repeat("x", pdu.MaxAfterLogin*3/4)+`"`), `{"command":"IMMsgData","seq":7,"error":"body: too long; a PDU has at most 409600 bytes"}`, pdu.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := pdujson.Append([]byte("before"), []byte(c.text))
			if string(out) != "before" {
				t.Errorf("%q was appended", out)
			}
			if _, ok := errors.AsType[*pdujson.Error](err); ok == errors.Is(err, pdujson.ErrNotJSON) {
				t.Fatalf("%T, %v", err, err)
			}
			if c.is != nil && !errors.Is(err, c.is) || errors.Is(err, pdujson.ErrNotJSON) != (c.is == pdujson.ErrNotJSON) {
				t.Errorf("%v is not %v", err, c.is)
			}
			if got := string(pdujson.AppendError([]byte("before"), err)); got != "before"+c.want {
				t.Errorf("told %s\nwant %s", got, "before"+c.want)
			}
		})
	}
}

func TestWhatHasNoText(t *testing.T) {
	for name, c := range map[string]struct {
		frame pdu.Frame
		want  error
	}{
		"an unknown command": {pdu.Frame{Header: pdu.Header{Command: 0x0999, Seq: 3}}, client.ErrUnknownCommand},
		"an empty body":      {pdu.Frame{Header: pdu.Header{Command: client.CmdMsgData, Seq: 3}}, client.ErrMalformed},
		"an enum":            {pdu.Frame{Header: pdu.Header{Command: client.CmdKickUser, Seq: 3}, Body: []byte{8, 1, 16, 99}}, client.ErrEnum},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := pdujson.AppendText([]byte("before"), &c.frame)
			e, ok := errors.AsType[*pdujson.Error](err)
			if !ok || !errors.Is(err, c.want) || e.Seq != 3 || string(out) != "before" {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
	if got := string(pdujson.AppendError(nil, errors.New("else"))); got != `{"seq":0,"error":"else"}` {
		t.Error(got)
	}
}

// A text can cost no more than its length, whatever it holds.
func TestHostileTexts(t *testing.T) {
	const n = 1 << 20
	for name, s := range map[string]string{
		"depth":            `{"body":` + strings.Repeat("[", n),
		"depth, closed":    `{"command":"IMMsgData","body":{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}}`,
		"objects":          `{"command":"IMMsgData","body":` + strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5001),
		"empty objects":    `{"command":"IMGroupInfoListReq","body":{"userId":1,"groupVersionList":[` + strings.Repeat("{},", n/3) + `{}]}}`,
		"numbers":          `{"command":"IMUsersStatReq","body":{"userId":1,"userIdList":[` + strings.Repeat("0,", n/2) + `0]}}`,
		"a long number":    `{"command":"IMUsersStatReq","body":{"userId":` + strings.Repeat("9", n) + `}}`,
		"a long fraction":  `{"command":"IMUsersStatReq","body":{"userId":0.5` + strings.Repeat("0", n) + `1}}`,
		"a long name":      `{"command":"IMMsgData","body":{"` + strings.Repeat(`\u0000`, n/6) + `":1}}`,
		"escapes":          `{"command":"IMMsgData","body":{"text":"` + strings.Repeat(`\\`, n/2) + `\"`,
		"many members":     `{` + strings.Repeat(`"a":1,`, n/6) + `"a":1}`,
		"a long attribute": `{"command":"IMMsgData","body":{"text":"` + strings.Repeat("x", n) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pdujson.Append(nil, []byte(s))
			if err == nil {
				t.Fatal("understood")
			}
			if told := pdujson.AppendError(nil, err); len(told) > 1000 || !json.Valid(told) {
				t.Errorf("told %d bytes: %.100s", len(told), told)
			}
		})
	}
}

// Every name means one command, and what stands beside the wire's fields hides none of them.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range client.Commands() {
		for _, name := range []string{string(c.Message.Name()), c.Name} {
			if seen[name] {
				t.Errorf("%s twice", name)
			}
			seen[name] = true
		}
		checkPlain(t, c.New().ProtoReflect().Descriptor(), c)
	}
}

// checkPlain finds every field of what clients say or are told that holds a text on the wire.
func checkPlain(t *testing.T, d protoreflect.MessageDescriptor, c client.Command) {
	m := map[protoreflect.FullName]string{
		"IM.Message.IMMsgData": "text", "IM.BaseDefine.MsgInfo": "text", "Godwit.Extension.EditReq": "text",
		"IM.BaseDefine.ContactSessionInfo": "latestText", "IM.BaseDefine.UnreadInfo": "latestText", "IM.Login.IMLoginReq": "plainPassword",
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() != nil {
			checkPlain(t, f.Message(), c)
		}
		if f.JSONName() == m[d.FullName()] {
			t.Errorf("%s has a field %s of its own", d.FullName(), f.Name())
		}
		if strings.HasSuffix(string(f.Name()), "msg_data") && f.Kind() == protoreflect.BytesKind && m[d.FullName()] == "" {
			t.Errorf("%s.%s has no plain form", d.FullName(), f.Name())
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte(message1))
	for c := range client.Commands() {
		m := message(c).Example(1)
		b, err := pdu.AppendMessage(nil, c.ID, 1, m)
		if err != nil {
			f.Fatal(err)
		}
		s, err := pdujson.AppendText(nil, only(f, b))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s)
	}
	for _, s := range []string{``, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"command":"\u`, `{"seq":"`, "{\"command\":769,\"body\":{\"text\":\"\\ud83d\\u\"}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		b, err := pdujson.Append([]byte("before"), s)
		if err != nil {
			e, ok := errors.AsType[*pdujson.Error](err)
			if ok == errors.Is(err, pdujson.ErrNotJSON) || string(b) != "before" || ok && (e.Reason == "" || len(e.Reason) > 300) {
				t.Fatalf("%q, %v", b, err)
			}
			if told := pdujson.AppendError(nil, err); !json.Valid(told) {
				t.Fatalf("told %q", told)
			}
			var object map[string]json.RawMessage
			if notJSON := json.Unmarshal(s, &object) != nil || object == nil; notJSON != errors.Is(err, pdujson.ErrNotJSON) && utf8.Valid(s) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		frame := only(t, b[len("before"):])
		shown, err := pdujson.AppendText(nil, frame)
		if err != nil {
			t.Fatalf("%q was understood and can't be shown: %v", s, err)
		}
		again, err := pdujson.Append(nil, shown)
		if err != nil || !bytes.Equal(again, frame.Raw) {
			t.Fatalf("%q\nis %x\nshown as %s\nis %x, %v", s, frame.Raw, shown, again, err)
		}
	})
}

// Any body that a client could be sent has a text, and a body that has none does no harm.
func FuzzAppendText(f *testing.F) {
	for c := range client.Commands() {
		b, err := client.Append(nil, message(c).Example(2))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.ID, uint16(9), b)
	}
	f.Fuzz(func(t *testing.T, command, seq uint16, body []byte) {
		m, bad := client.Decode(command, body)
		s, err := pdujson.AppendText(nil, &pdu.Frame{Header: pdu.Header{Command: command, Seq: seq}, Body: body})
		if (err == nil) != (bad == nil) {
			t.Fatalf("%v, but %v", err, bad)
		}
		if err != nil {
			return
		}
		if !json.Valid(s) {
			t.Fatalf("%q is no JSON", s)
		}
		back, err := pdujson.Append(nil, s)
		if errors.Is(err, pdu.ErrTooLong) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		again, err := client.Decode(command, only(t, back).Body)
		if err != nil || !bytes.Contains(s, []byte("\uFFFD")) && !proto.Equal(m, again) {
			t.Fatalf("%s is %v, %v, want %v", s, again, err, m)
		}
	})
}

var pushed = &immessage.IMMsgData{
	FromUserId: new(uint32(70001)), ToSessionId: new(uint32(9)), MsgId: new(uint32(300)), CreateTime: new(uint32(1700000000)),
	MsgType: imbase.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: content.EncryptText("hello, is anybody there?"),
	ClientMessageId: []byte("0123456789abcdef"),
}

func BenchmarkAppendTextMsgData(b *testing.B) {
	f := frame(b, client.CmdMsgData, 0, pushed)
	b.ReportAllocs()
	var s []byte
	for b.Loop() {
		s, _ = pdujson.AppendText(s[:0], f)
	}
}

func BenchmarkAppendTextMsgDataAck(b *testing.B) {
	f := frame(b, client.CmdMsgDataAck, 7, &immessage.IMMsgDataAck{
		UserId: new(uint32(70001)), SessionId: new(uint32(9)), MsgId: new(uint32(300)),
		SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(), ClientMessageId: []byte("0123456789abcdef"), CreateTime: new(uint32(1700000000)),
	})
	b.ReportAllocs()
	var s []byte
	for b.Loop() {
		s, _ = pdujson.AppendText(s[:0], f)
	}
}

func BenchmarkAppendMsgData(b *testing.B) {
	s := []byte(`{"command":"IMMsgData","seq":7,"body":{"fromUserId":70001,"toSessionId":9,"msgId":0,"createTime":0,` +
		`"msgType":"MSG_TYPE_SINGLE_TEXT","text":"hello, is anybody there?","clientMessageId":"MDEyMzQ1Njc4OWFiY2RlZg=="}}`)
	b.ReportAllocs()
	var p []byte
	for b.Loop() {
		p, _ = pdujson.Append(p[:0], s)
	}
}

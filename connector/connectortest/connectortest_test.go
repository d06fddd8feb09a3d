package connectortest

import (
	"bytes"
	"encoding/hex"
	"net"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	immsg "godwit/schema/client/message"
	"godwit/schema/pdu"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestBytesAreThoseOfTheProtocol(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"heartbeat of a Windows client", Request(7, 0x0701, 0, nil).Bytes(),
			"00000010 0001 0000 0007 0701 0000 0000"},
		{"login of a phone, by hand", Request(1, 0x0103, 1, LoginBody("bob", "12345", Android)).Bytes(),
			"00000041 0001 0000 0001 0103 0001 0000" +
				"0a03 626f62" +
				"1220 3832376363623065656138613730366334633334613136383931663834653762" +
				"1801 2012 2a04 74657374"},
		{"message to user 300", Request(3, 0x0301, 0xff01, MessageBody(300, []byte("hi"))).Bytes(),
			"0000001f 0001 0000 0003 0301 ff01 0000" + "0800 10ac02 1800 2000 2801 3202 6869"},
		{"repeated numbers are not packed", Body(nil).Nums(2, 1, 128), "1001 108001"},
	} {
		if !bytes.Equal(c.got, unhex(c.want)) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, c.got, unhex(c.want))
		}
	}
}

func TestPasswordAndTextAreThoseOfTheClients(t *testing.T) {
	if got := MD5("12345"); got != "827ccb0eea8a706c4c34a16891f84e7b" {
		t.Errorf("MD5 of 12345 is %s", got)
	}
	for plain, want := range map[string]string{
		"a":                `8+lyaGSNdKxdsEEADyYxvw==`,
		"hello":            `nnZSBwfPCz60q69ddmfIJA==`,
		"hello world!":     `B4ARdOHy4UktX4x32eJ3vQ==`,
		"hello world!!":    `7W7M97iH/ULKFoq4Tji+uwr+GZ43+2mMfQMFqTsGBjY=`,
		"0123456789abcdef": `BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g=`,
		"你好":               `UKheN9KmjZEOcj7ZdGedvw==`,
		"[语音]":             `QhGXlpFjvMFUNrtl1aaPzA==`,
		"&$#@~^@[{:http://127.0.0.1:8700/g0/000/000/1.png:}]&$~@#@": `dgjzZcuwYVvgiMtBlzoa8eN8fHjZTwqiCiw3dkhroNnghL/8YXz41O16OvQpqunilQqpRdqEzFToT0edbMXMXw==`,
	} {
		if got := string(EncryptText(plain)); got != want {
			t.Errorf("EncryptText(%q) = %s, want %s", plain, got, want)
		}
	}
}

// The two ways to the same bytes, this package's and the schema's, must meet.
func TestHandMadeBodiesAreReadByTheSchema(t *testing.T) {
	m, err := client.Decode(client.CmdLoginReq, LoginBody("bob", "12345", IOS))
	if err != nil {
		t.Fatal(err)
	}
	want := &imlogin.IMLoginReq{
		UserName: new("bob"), Password: new("827ccb0eea8a706c4c34a16891f84e7b"), ClientVersion: new("test"),
		OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), ClientType: imbase.ClientType_CLIENT_TYPE_IOS.Enum(),
	}
	if !proto.Equal(m, want) {
		t.Errorf("got %v, want %v", m, want)
	}
	d, err := client.ParseMsgData(MessageBody(7, []byte("x")))
	if err != nil || d.To != 7 || d.Type != 1 || string(d.Data) != "x" {
		t.Errorf("message: %+v, %v", d, err)
	}
}

func serverPDU(t *testing.T, command, seq uint16, m proto.Message) PDU {
	t.Helper()
	b, err := pdu.AppendMessage(nil, command, seq, m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePDU(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCheckAcceptsWhatTheSchemaSends(t *testing.T) {
	info := &imbase.UserInfo{
		UserId: new(uint32(1)), UserGender: new(uint32(0)), UserNickName: new("n"), AvatarUrl: new(""), DepartmentId: new(uint32(0)),
		Email: new(""), UserRealName: new("bob"), UserTel: new(""), UserDomain: new(""), Status: new(uint32(0)), SignInfo: new(""),
	}
	stat := &imbase.UserStat{UserId: new(uint32(1)), Status: imbase.UserStatType_USER_STATUS_ONLINE.Enum()}
	for _, p := range []PDU{
		serverPDU(t, client.CmdLoginRes, 9, &imlogin.IMLoginRes{
			ServerTime: new(uint32(1)), ResultCode: imbase.ResultType_REFUSE_REASON_NONE.Enum(), ResultString: new("成功"),
			OnlineStatus: imbase.UserStatType_USER_STATUS_ONLINE.Enum(), UserInfo: info,
		}),
		serverPDU(t, client.CmdUserStatNotify, 0, &imbuddy.IMUserStatNotify{UserStat: stat}),
		serverPDU(t, client.CmdUnreadMsgCntRsp, 1, &immsg.IMUnreadMsgCntRsp{UserId: new(uint32(1)), TotalCnt: new(uint32(0))}),
	} {
		if err := Check(p); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckRefusesWhatAnOldClientCouldNotUse(t *testing.T) {
	reply := func(command, service uint16, body Body) PDU { return Request(service, command, 5, body) }
	push := func(command, service uint16, body Body) PDU { return Request(service, command, 0, body) }
	good := Body(nil).Num(1, 1).Num(2, 2).Num(3, 3).Num(4, 1)
	if err := Check(reply(0x0302, 3, good)); err != nil {
		t.Fatalf("a good ack: %v", err)
	}
	versioned := reply(0x0302, 3, good)
	versioned.Version = 0
	for name, p := range map[string]PDU{
		"wrong service":            reply(0x0302, 4, good),
		"required field missing":   reply(0x0302, 3, Body(nil).Num(1, 1).Num(2, 2).Num(4, 1)),
		"enum outside its list":    reply(0x0302, 3, Body(nil).Num(1, 1).Num(2, 2).Num(3, 3).Num(4, 9)),
		"attach_data":              reply(0x0302, 3, good.Bytes(20, []byte("x"))),
		"field twice":              reply(0x0302, 3, good.Num(4, 1)),
		"number as text":           reply(0x0302, 3, Body(nil).Text(1, "1").Num(2, 2).Num(3, 3).Num(4, 1)),
		"message with a number":    Request(3, 0x0301, 7, MessageBody(1, []byte("x"))),
		"kick with a number":       reply(0x0107, 1, Body(nil).Num(1, 1).Num(2, 1)),
		"broken inner message":     push(0x0203, 2, Body(nil).Bytes(1, Body(nil).Num(1, 1))),
		"packed list":              reply(0x0404, 4, Body(nil).Num(1, 1).Bytes(2, Body(nil).Num(1, 1).Num(2, 1).Text(3, "").Text(4, "").Num(5, 1).Num(6, 1).Num(7, 0).Bytes(8, []byte{1, 2}))),
		"text that is no UTF-8":    push(0x0215, 2, Body(nil).Num(1, 1).Bytes(2, []byte{0xff})),
		"client command":           reply(0x0309, 3, nil),
		"heartbeat with a body":    reply(0x0701, 7, Body(nil).Num(1, 1)),
		"version of another":       versioned,
		"number of more than 32 b": reply(0x0106, 1, append(varint(nil, 8), varint(nil, 1<<33)...)),
	} {
		if err := Check(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, p := range map[string]PDU{
		"field of an extension":   reply(0x0302, 3, good.Bytes(100, []byte("id"))),
		"push of an extension":    push(0x200f, 32, good),
		"refusal of an extension": reply(0x2003, 32, Body(nil).Num(1, 1).Num(2, 1).Num(3, 2)),
	} {
		if err := Check(p); err == nil {
			t.Errorf("an old client: %s: accepted", name)
		}
		if err := CheckNewer(p); err != nil {
			t.Errorf("a new client: %v", err)
		}
	}
}

func TestParseMessageRefusesWhatIsCutOff(t *testing.T) {
	whole := Body(nil).Num(1, 300).Text(2, "abc")
	for n := 1; n < len(whole); n++ {
		if n == 3 { // the first field is whole there
			continue
		}
		if m, err := ParseMessage(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes are read as %v", n, len(whole), m)
		}
	}
}

func TestAwaitKeepsWhatCameBefore(t *testing.T) {
	near, far := net.Pipe()
	c := New(t, near)
	go func() {
		_, _ = far.Write(append(
			Request(3, 0x0301, 0, Body(nil).Num(1, 2).Num(2, 1).Num(3, 1).Num(4, 1).Num(5, 1).Text(6, "first")).Bytes(),
			Request(3, 0x0306, 4, Body(nil).Num(1, 99)).Bytes()...))
	}()
	if m := c.Answer(0x0306, 4); m.Num(1) != 99 {
		t.Errorf("time is %d", m.Num(1))
	}
	if r := c.Receive(); string(r.Content) != "first" || r.From != 2 {
		t.Errorf("received %+v", r)
	}
}

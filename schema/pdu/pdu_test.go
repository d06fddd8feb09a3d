package pdu_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	imbuddy "godwit/schema/client/buddy"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	"godwit/schema/pdu"
	"godwit/schema/pdu/pdutest"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// headers are the headers that clients are known to send.
var headers = []struct {
	name   string
	header pdu.Header
	bytes  string
}{
	{"Windows heartbeat", pdu.Header{Length: 16, Version: 1, Service: 7, Command: 0x0701},
		"00000010 0001 0000 0007 0701 0000 0000"},
	{"Windows history", pdu.Header{Length: 26, Version: 1, Service: 3, Command: 0x0309, Seq: 0xff03},
		"0000001a 0001 0000 0003 0309 ff03 0000"},
	{"iOS", pdu.Header{Length: 409600, Version: 13, Service: 1, Command: 0x0103, Seq: 0x8001, Reserved: 1},
		"00064000 000d 0000 0001 0103 8001 0001"},
	{"Android", pdu.Header{Length: 17, Version: 6, Service: 5, Command: 0x050c, Seq: 32766, Reserved: 48},
		"00000011 0006 0000 0005 050c 7ffe 0030"},
	{"Python", pdu.Header{Length: 20, Version: 1, Flag: 1, Service: 2, Command: 0x0215, Seq: 65535},
		"00000014 0001 0001 0002 0215 ffff 0000"},
	{"every field", pdu.Header{Length: 0x01020304, Version: 0x0506, Flag: 0x0708, Service: 0x090a, Command: 0x0b0c, Seq: 0x0d0e, Reserved: 0x0f10},
		"01020304 0506 0708 090a 0b0c 0d0e 0f10"},
}

func TestHeader(t *testing.T) {
	for _, c := range headers {
		want := unhex(t, c.bytes)
		if got := pdu.AppendHeader([]byte("before"), c.header); string(got) != "before"+string(want) {
			t.Errorf("%s: written %x, want %x", c.name, got[6:], want)
		}
		if got, err := pdu.ParseHeader(append(want, "body"...)); err != nil || got != c.header {
			t.Errorf("%s: read %+v, %v, want %+v", c.name, got, err, c.header)
		}
		for n := range pdu.HeaderLen {
			if _, err := pdu.ParseHeader(want[:n]); !errors.Is(err, pdu.ErrNoHeader) {
				t.Errorf("%s: %d bytes: %v", c.name, n, err)
			}
		}
	}
}

func TestAppend(t *testing.T) {
	heartbeat := pdu.Append(nil, 7, client.CmdHeartBeat, 0, nil)
	if !bytes.Equal(heartbeat, pdutest.Heartbeat) {
		t.Errorf("heartbeat %x, want %x", heartbeat, pdutest.Heartbeat)
	}
	// The body grows the buffer, and the PDU stands behind another.
	got := pdu.Append(heartbeat, 3, client.CmdMsgData, 0xff01, func(b []byte) []byte {
		return append(b, make([]byte, 5000)...)
	})
	want := slices.Concat(pdutest.Heartbeat, unhex(t, "00001398 0001 0000 0003 0301 ff01 0000"), make([]byte, 5000))
	if !bytes.Equal(got, want) {
		t.Errorf("appended %x...", got[:32])
	}
}

func TestAppendMessage(t *testing.T) {
	got, err := pdu.AppendMessage([]byte("before"), client.CmdLogoutRsp, 0x8001, &imlogin.IMLogoutRsp{ResultCode: new(uint32(0))})
	want := "before" + string(unhex(t, "00000012 0001 0000 0001 0106 8001 0000 0800"))
	if err != nil || string(got) != want {
		t.Errorf("%x, %v, want %x", got, err, want)
	}
	large := func(n int) proto.Message {
		return &immessage.IMMsgData{
			FromUserId: new(uint32(1)), ToSessionId: new(uint32(2)), MsgId: new(uint32(3)), CreateTime: new(uint32(4)),
			MsgType: imbase.MsgType_MSG_TYPE_SINGLE_AUDIO.Enum(), MsgData: make([]byte, n),
		}
	}
	// 16 bytes of header, 10 of numbers, 4 of tag and length.
	if got, err := pdu.AppendMessage(nil, client.CmdMsgData, 0, large(pdu.MaxAfterLogin-30)); err != nil || len(got) != pdu.MaxAfterLogin {
		t.Errorf("largest PDU: %d bytes, %v", len(got), err)
	}
	for _, c := range []struct {
		name string
		cmd  uint16
		m    proto.Message
		want error
	}{
		{"too long", client.CmdMsgData, large(pdu.MaxAfterLogin - 29), pdu.ErrTooLong},
		{"unknown command", 0x070c, &imlogin.IMLogoutRsp{ResultCode: new(uint32(0))}, client.ErrUnknownCommand},
		{"another command", client.CmdLogoutReq, &imlogin.IMLogoutRsp{ResultCode: new(uint32(0))}, client.ErrWrongMessage},
		{"required field missing", client.CmdLogoutRsp, &imlogin.IMLogoutRsp{}, client.ErrIncomplete},
		{"unknown enum number", client.CmdUserStatNotify, &imbuddy.IMUserStatNotify{UserStat: &imbase.UserStat{
			UserId: new(uint32(1)), Status: imbase.UserStatType(0).Enum(),
		}}, client.ErrEnum},
	} {
		got, err := pdu.AppendMessage([]byte("before"), c.cmd, 1, c.m)
		if !errors.Is(err, c.want) || string(got) != "before" {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
}

func TestNext(t *testing.T) {
	var stream []byte
	for _, c := range headers[:2] {
		h := c.header
		stream = pdu.AppendHeader(stream, h)
		stream = append(stream, bytes.Repeat([]byte{byte(h.Command)}, int(h.Length)-pdu.HeaderLen)...)
	}
	whole := bytes.Clone(stream)
	// A PDU is there with its last byte and not before.
	for n := range stream {
		f, took, err := pdu.Next(stream[:n], pdu.MaxAfterLogin)
		if want := n >= 16; err != nil || (took == 16) != want || (f.Raw != nil) != want || !want && took != 0 {
			t.Fatalf("%d bytes: took %d, %v", n, took, err)
		}
	}
	for _, c := range headers[:2] {
		f, n, err := pdu.Next(stream, pdu.MaxAfterLogin)
		if err != nil || n != int(c.header.Length) || f.Header != c.header {
			t.Fatalf("%s: %+v, %d, %v", c.name, f.Header, n, err)
		}
		if len(f.Body) != n-16 || !bytes.Equal(f.Raw, stream[:n]) {
			t.Errorf("%s: body %x, raw %x", c.name, f.Body, f.Raw)
		}
		if len(f.Body) > 0 && &f.Body[0] != &stream[16] {
			t.Errorf("%s: the body is a copy", c.name)
		}
		_ = append(f.Raw, 0xee)
		_ = append(f.Body, 0xee)
		stream = stream[n:]
	}
	if f, n, err := pdu.Next(stream, pdu.MaxAfterLogin); f.Raw != nil || n != 0 || err != nil {
		t.Errorf("at the end: %v, %d, %v", f, n, err)
	}
	if got := whole; !bytes.Equal(got[16:32], unhex(t, headers[1].bytes)) {
		t.Error("appending to a frame wrote into the next one")
	}
}

func TestNextLimits(t *testing.T) {
	for _, limit := range []int{pdu.HeaderLen, pdu.MaxBeforeLogin, pdu.MaxAfterLogin} {
		for _, c := range []struct {
			length uint32
			want   error
		}{
			{0, pdu.ErrLengthZero},
			{1, pdu.ErrLengthShort},
			{15, pdu.ErrLengthShort},
			{16, nil},
			{uint32(limit), nil},
			{uint32(limit) + 1, pdu.ErrTooLong},
			{math.MaxInt32, pdu.ErrTooLong},
			{math.MaxInt32 + 1, pdu.ErrTooLong},
			{math.MaxUint32, pdu.ErrTooLong},
		} {
			b := binary.BigEndian.AppendUint32(nil, c.length)
			for n := range b { // nothing is known before the whole length is there
				if _, took, err := pdu.Next(b[:n], limit); took != 0 || err != nil {
					t.Errorf("length %d, %d bytes of it: %d, %v", c.length, n, took, err)
				}
			}
			if _, n, err := pdu.Next(b, limit); n != 0 || !errors.Is(err, c.want) {
				t.Errorf("length %d, limit %d: %d, %v, want %v", c.length, limit, n, err, c.want)
			}
			if c.want == nil {
				b = append(b, make([]byte, c.length-4)...)
				if f, n, err := pdu.Next(b, limit); n != int(c.length) || len(f.Raw) != n || err != nil {
					t.Errorf("length %d, limit %d, whole: %d, %v", c.length, limit, n, err)
				}
			}
		}
	}
}

// The table says what a server does; here is the part of it that is decided by the bytes alone.
func TestMalformed(t *testing.T) {
	names := map[string]bool{}
	for _, c := range pdutest.Malformed {
		t.Run(c.Name, func(t *testing.T) {
			if names[c.Name] {
				t.Error("name used twice")
			}
			names[c.Name] = true
			limit := pdu.MaxBeforeLogin
			if c.AfterLogin {
				limit = pdu.MaxAfterLogin
			}
			got := ""
			for buf := c.Bytes; got == ""; {
				f, n, err := pdu.Next(buf, limit)
				switch {
				case err != nil:
					got = pdutest.Close
				case n == 0 && len(buf) > 0:
					got = pdutest.Wait
				case n == 0:
					t.Fatal("nothing is wrong with it")
				case f.Command != client.CmdHeartBeat || len(f.Body) > 0:
					c, ok := client.Lookup(f.Command)
					_, err := client.Decode(f.Command, f.Body)
					if ok && c.Direction&client.FromClient != 0 && err == nil {
						t.Fatalf("%s is accepted", c.Name)
					}
					if ok && c.Direction&client.FromClient == 0 && err != nil {
						t.Fatalf("%s is meant to be whole: %v", c.Name, err)
					}
					if f.Command == client.CmdMsgData {
						if _, err := client.ParseMsgData(f.Body); err == nil {
							t.Error("ParseMsgData accepts it")
						}
					}
					got = pdutest.Ignore
				}
				buf = buf[n:]
			}
			if got != c.Want {
				t.Errorf("%s, want %s", got, c.Want)
			}
		})
	}
	if len(names) < 250 {
		t.Errorf("%d cases", len(names))
	}
}

// Each malformed request differs from a right one in what its name says, because these are right.
func TestRightRequests(t *testing.T) {
	seen := map[uint16]bool{}
	for command, body := range pdutest.Requests {
		seen[command] = true
		m, err := client.Decode(command, body)
		if err != nil {
			t.Errorf("%s: %v", client.Name(command), err)
			continue
		}
		if back, err := client.Append(nil, m); err != nil || !bytes.Equal(back, body) {
			t.Errorf("%s: %x became %x, %v", client.Name(command), body, back, err)
		}
	}
	for c := range client.Commands() {
		inner := c.Direction&client.FromClient == 0 || c.ID <= 0x0103 || c.ID >= 0x0501 && c.ID <= 0x0505
		if !inner && c.New().ProtoReflect().Descriptor().Fields().Len() > 0 && !seen[c.ID] {
			t.Errorf("%s is not in the table", c.Name)
		}
	}
}

func FuzzNext(f *testing.F) {
	for _, c := range pdutest.Malformed {
		f.Add(c.Bytes, c.AfterLogin)
	}
	for _, c := range headers {
		f.Add(append(unhex(f, c.bytes), "0123456789"...), true)
	}
	f.Fuzz(func(t *testing.T, stream []byte, afterLogin bool) {
		limit := pdu.MaxBeforeLogin
		if afterLogin {
			limit = pdu.MaxAfterLogin
		}
		var back []byte
		rest := stream
		for {
			frame, n, err := pdu.Next(rest, limit)
			if err != nil || n == 0 {
				if n != 0 || frame.Raw != nil {
					t.Fatalf("a frame and %v", err)
				}
				// The only reasons, said in another way.
				switch length := first4(rest); {
				case len(rest) < 4:
					if err != nil {
						t.Fatalf("%d bytes: %v", len(rest), err)
					}
				case length == 0:
					if !errors.Is(err, pdu.ErrLengthZero) {
						t.Fatalf("length 0: %v", err)
					}
				case length < 16:
					if !errors.Is(err, pdu.ErrLengthShort) {
						t.Fatalf("length %d: %v", length, err)
					}
				case length > uint64(limit):
					if !errors.Is(err, pdu.ErrTooLong) {
						t.Fatalf("length %d: %v", length, err)
					}
				case err != nil || length <= uint64(len(rest)):
					t.Fatalf("length %d of %d bytes: %v", length, len(rest), err)
				}
				break
			}
			if n != len(frame.Raw) || n != int(frame.Length) || n < pdu.HeaderLen || n > limit {
				t.Fatalf("took %d for a length of %d", n, frame.Length)
			}
			back = append(pdu.AppendHeader(back, frame.Header), frame.Body...)
			rest = rest[n:]
		}
		if whole := stream[:len(stream)-len(rest)]; !bytes.Equal(back, whole) {
			t.Fatalf("%x became %x", whole, back)
		}
	})
}

func first4(b []byte) uint64 {
	if len(b) < 4 {
		return 0
	}
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

func TestNoAllocations(t *testing.T) {
	dst := make([]byte, 0, 1024)
	data := bytes.Repeat([]byte("x"), 200)
	to, id := uint32(2), uint32(3) // captured by the closures below
	wire := pdu.Append(nil, 3, client.CmdMsgData, 1, func(b []byte) []byte {
		return client.AppendMsgData(b, 1, to, id, 4, 1, data)
	})
	for name, f := range map[string]func(){
		"Append": func() {
			pdu.Append(dst, 3, client.CmdMsgData, 1, func(b []byte) []byte {
				return client.AppendMsgData(b, 1, to, id, 4, 1, data)
			})
		},
		"Next and ParseMsgData": func() {
			frame, _, err := pdu.Next(wire, pdu.MaxAfterLogin)
			if err != nil {
				t.Error(err)
			}
			if _, err := client.ParseMsgData(frame.Body); err != nil {
				t.Error(err)
			}
		},
		"Next of a bad length": func() {
			if _, _, err := pdu.Next(wire, len(wire)-1); !errors.Is(err, pdu.ErrTooLong) {
				t.Error(err)
			}
		},
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	dst := make([]byte, 0, 1024)
	data := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	for b.Loop() {
		pdu.Append(dst, 3, client.CmdMsgData, 0, func(body []byte) []byte {
			return client.AppendMsgData(body, 100001, 100002, 300, 1763880000, 1, data)
		})
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	dst := make([]byte, 0, 1024)
	m := &immessage.IMMsgDataAck{
		UserId: new(uint32(100001)), SessionId: new(uint32(100002)), MsgId: new(uint32(300)),
		SessionType: imbase.SessionType_SESSION_TYPE_SINGLE.Enum(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pdu.AppendMessage(dst, client.CmdMsgDataAck, 1, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 200)
	var stream []byte
	for range 16 {
		stream = pdu.Append(stream, 3, client.CmdMsgData, 1, func(body []byte) []byte {
			return client.AppendMsgData(body, 100001, 100002, 0, 1763880000, 1, data)
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		for rest := stream; len(rest) > 0; {
			_, n, err := pdu.Next(rest, pdu.MaxAfterLogin)
			if err != nil || n == 0 {
				b.Fatal(n, err)
			}
			rest = rest[n:]
		}
	}
}

// Package pdutest is bad and golden input for tests of everything that reads PDUs.
//
// Its bytes are written out from the protocol's tables and not made by packages pdu and client, so that a mistake there
// cannot agree with itself.
package pdutest

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// What a server does with a [Case].
const (
	// Close: the connection is closed without an answer.
	Close = "close"
	// Ignore: the PDU is dropped without an answer, and the connection goes on.
	Ignore = "ignore"
	// Wait: the server waits for the rest of a PDU, until one of its time limits.
	Wait = "wait"
)

// Case is something that a broken or hostile client sends.
type Case struct {
	Name string
	// Bytes are sent at once on a connection that has sent nothing else, or nothing else but its login.
	Bytes []byte
	// AfterLogin: the client has logged in. Else it has not; limits and the commands allowed differ.
	AfterLogin bool
	// Want is Close, Ignore or Wait. A heartbeat in front of the bad PDU is answered whatever Want says.
	Want string
}

// Heartbeat is the heartbeat of a Windows client, which a server sends back as it came.
var Heartbeat = unhex("00000010 0001 0000 0007 0701 0000 0000")

// Malformed is what no correct client sends. Names are unique.
var Malformed = malformed()

const (
	maxBeforeLogin = 4096
	maxAfterLogin  = 409600
)

// header is the header of a PDU that claims to have the given length.
func header(length uint32, command uint16) []byte {
	b := binary.BigEndian.AppendUint32(nil, length)
	b = append(b, 0, 1, 0, 0)
	b = binary.BigEndian.AppendUint16(b, command>>8)
	b = binary.BigEndian.AppendUint16(b, command)
	return append(b, 0, 1, 0, 0) // seq 1
}

// pdu is a whole PDU with a body given in hex.
func pdu(command uint16, body string) []byte {
	b := unhex(body)
	return append(header(uint32(16+len(b)), command), b...)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic("pdutest: " + err.Error())
	}
	return b
}

// requests are the bodies of clients' commands. Each begins with a required field of two bytes, mostly a user id
// of 5. good is right; enum is the same with a
// number outside its list in a required enum field, if there is one.
var requests = []struct {
	command uint16
	name    string
	good    string
	enum    string
}{
	{0x0108, "device token", "0805 120174", ""},
	{0x010a, "kick the PC", "0805", ""},
	{0x010c, "push shield", "0805 1001", ""},
	{0x010e, "query push shield", "0805", ""},
	{0x0201, "recent sessions", "0805 1000", ""},
	{0x0204, "user info", "0805 1006", ""},
	{0x0206, "remove session", "0805 1001 1806", "0805 1003 1806"},
	{0x0208, "all users", "0805 1000", ""},
	{0x020a, "user status", "0805 1006", ""},
	{0x020c, "change avatar", "0805 120175", ""},
	{0x0210, "departments", "0805 1000", ""},
	{0x0213, "change signature", "0805 120173", ""},
	{0x0301, "message", "0805 1006 1800 2000 2801 320178", "0805 1006 1800 2000 2803 320178"},
	{0x0302, "message receipt", "0805 1006 1801 2001", "0805 1006 1801 2000"},
	{0x0303, "read ack", "0805 1006 1801 2001", "0805 1006 1801 2003"},
	{0x0307, "unread", "0805", ""},
	{0x0309, "history", "0805 1001 1806 2000 280a", "0805 1063 1806 2000 280a"},
	{0x030b, "latest id", "0805 1001 1806", "0805 1000 1806"},
	{0x030d, "messages by id", "0805 1001 1806 2001", "0805 10ffffffffffffffffff01 1806 2001"},
	{0x0401, "fixed groups", "0805", ""},
	{0x0403, "group info", "0805 1204 0809 1000", ""},
	{0x0405, "create group", "0805 1002 1a0167 2200 2805", "0805 1003 1a0167 2200 2805"},
	{0x0407, "change members", "0805 1001 1809 2006", "0805 1000 1809 2006"},
	{0x0409, "shield group", "0805 1009 1801", ""},
	{0x0506, "send file", "0805 1006 1a0166 2001 2801", "0805 1006 1a0166 2001 2800"},
	{0x0509, "waiting files", "0805", ""},
	{0x050b, "file uploaded", "0805 1006 1a0174 220166 2801", ""},
	{0x050c, "file fetched", "0805 1006 1a0174", ""},
	{0x0601, "peer command", "0805 1006 1a027b7d", ""},
	{0x2001, "sync", "0a00", ""},
	{0x2005, "recall", "0805 1001 1806", "0805 1003 1806"},
	{0x2007, "edit", "0805 1001 1806 220178", "0805 1003 1806 220178"},
	{0x200a, "received", "0805 1001 1806", "0805 1003 1806"},
	{0x200c, "receipts", "0805 1001 1806", "0805 1003 1806"},
	{0x200e, "typing", "0805 1001 1801", "0805 1003 1801"},
	{0x2013, "friend", "0805 1001", "0805 1009"},
	{0x2017, "group update", "0805 120178", ""},
}

// Requests yields the commands that a logged-in client may send and whose body is not empty, each with a right one.
func Requests(yield func(command uint16, body []byte) bool) {
	for _, r := range requests {
		if !yield(r.command, unhex(r.good)) {
			return
		}
	}
}

func malformed() []Case {
	var all []Case
	add := func(name string, afterLogin bool, want string, b []byte) {
		all = append(all, Case{Name: name, Bytes: b, AfterLogin: afterLogin, Want: want})
	}

	for _, after := range []bool{false, true} {
		when, limit := "before login: ", uint32(maxBeforeLogin)
		if after {
			when, limit = "after login: ", maxAfterLogin
		}
		add(when+"length 0", after, Close, header(0, 0x0701))
		add(when+"length 0, only the length", after, Close, unhex("00000000"))
		add(when+"length 1", after, Close, header(1, 0x0701))
		add(when+"length 15", after, Close, header(15, 0x0701))
		add(when+"length 15, only the length", after, Close, unhex("0000000f"))
		add(when+"length over the limit by one", after, Close, header(limit+1, 0x0301))
		add(when+"length over the limit, only the length", after, Close, binary.BigEndian.AppendUint32(nil, limit+1))
		add(when+"length of 2 GiB", after, Close, header(1<<31, 0x0301))
		add(when+"largest length", after, Close, header(1<<32-1, 0x0301))
		add(when+"length in the wrong byte order", after, Close, unhex("10000000 0100 0000 0700 0107 0000 0000"))
		add(when+"an HTTP request", after, Close, []byte("GET /msg_server HTTP/1.1\r\nHost: x\r\n\r\n"))
		add(when+"a TLS greeting", after, Close, unhex("16030100 c8010000 c40303"))
		add(when+"only 0xff", after, Close, unhex(strings.Repeat("ff", 64)))
		add(when+"a heartbeat, then length 0", after, Close, append(header(16, 0x0701), header(0, 0x0701)...))

		add(when+"one byte", after, Wait, unhex("00"))
		add(when+"half a length", after, Wait, unhex("0000"))
		add(when+"half a header", after, Wait, header(16, 0x0701)[:9])
		add(when+"header without its last byte", after, Wait, header(16, 0x0701)[:15])
		add(when+"header without its body", after, Wait, header(32, 0x0701))
		add(when+"length at the limit, no body", after, Wait, header(limit, 0x0301))
		add(when+"body without its last byte", after, Wait, append(header(20, 0x0701), 0, 0, 0))
	}
	add("before login: length of a large message", false, Close, header(maxAfterLogin, 0x0301))

	for _, c := range []struct{ name, body string }{
		{"login without a body", ""},
		{"login of garbage", "ffffffffffffffffffffffff"},
		{"login without a name", "12027077 1801 2001"},
		{"login without a password", "0a03626f62 1801 2001"},
		{"login without a status", "0a03626f62 12027077 2001"},
		{"login without a client type", "0a03626f62 12027077 1801"},
		{"login of an unknown status", "0a03626f62 12027077 1804 2001"},
		{"login of status 0", "0a03626f62 12027077 1800 2001"},
		{"login of an unknown client type", "0a03626f62 12027077 1801 2003"},
		{"login of client type 0x10", "0a03626f62 12027077 1801 2010"},
		{"login with a name longer than the body", "0aff7f626f62"},
		{"login with a name of a negative length", "0affffffffffffffffff01 626f62"},
		{"login with the name as a number", "0805 12027077 1801 2001"},
		{"login in a group that does not end", "0a03626f62 12027077 1801 2001 3b"},
		{"login that ends a group", "0a03626f62 12027077 1801 2001 3c"},
		{"login with field 0", "0a03626f62 12027077 1801 2001 0000"},
		{"login with an unknown wire type", "0a03626f62 12027077 1801 2001 3f"},
		{"login cut in a number", "0a03626f62 12027077 1801 2080"},
	} {
		add("before login: "+c.name, false, Ignore, pdu(0x0103, c.body))
	}

	for _, r := range requests {
		name := "after login: " + r.name
		add(name+" without a body", true, Ignore, pdu(r.command, ""))
		add(name+" of garbage", true, Ignore, pdu(r.command, "ffffffffffffffffffffffff"))
		add(name+" without its first field", true, Ignore, pdu(r.command, r.good[len("0805"):]))
		add(name+" cut in a tag", true, Ignore, pdu(r.command, r.good+"80"))
		add(name+" with more said than sent", true, Ignore, pdu(r.command, r.good+"fa0105 00"))
		add(name+" in groups without end", true, Ignore, pdu(r.command, r.good+strings.Repeat("fb01", 2000)))
		if r.enum != "" {
			add(name+" with an unknown enum number", true, Ignore, pdu(r.command, r.enum))
		}
	}
	add("after login: group info with an incomplete group", true, Ignore, pdu(0x0403, "0805 1202 0809"))
	add("after login: group info with a group of garbage", true, Ignore, pdu(0x0403, "0805 1202 ffff"))
	add("after login: user info with a packed list cut off", true, Ignore, pdu(0x0204, "0805 1202 0180"))

	for _, command := range []uint16{0, 0x00ff, 0x0100, 0x0199, 0x0216, 0x030f, 0x070c, 0x0713, 0x0801, 0x1701, 0x2000, 0x2016, 0x203f, 0x2101, 0xffff} {
		name := "after login: unassigned command " + hex.EncodeToString(binary.BigEndian.AppendUint16(nil, command))
		add(name, true, Ignore, pdu(command, "0805"))
		add(name+" without a body", true, Ignore, pdu(command, ""))
	}
	for _, c := range []struct {
		command uint16
		name    string
		body    string
	}{
		{0x0104, "a login answer", "0801 1000"},
		{0x0107, "a kick", "0805 1001"},
		{0x0203, "a status notice", "0a04 0805 1001"},
		{0x0304, "a read notice", "0805 1006 1801 2001"},
		{0x040b, "a member notice", "0805 1001 1809"},
		{0x0703, "a password check", "0a0162 120170"},
		{0x0707, "a role", "0801"},
		{0x070d, "a kick between servers", "0805 1001 1801"},
		{0x0731, "a transfer task", "0805 1006 1a0166 2001 2801"},
	} {
		add("after login: "+c.name+" from a client", true, Ignore, pdu(c.command, c.body))
	}
	return all
}

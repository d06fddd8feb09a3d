package connectortest

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

type label int

const (
	required label = iota
	optional
	repeated
)

type kind int

const (
	number kind = iota
	text
	data
	message
)

// fieldSpec is a line of the protocol's tables.
type fieldSpec struct {
	no    int
	label label
	kind  kind
	list  []uint64 // numbers that an enum may have; nil: no enum
	sub   []fieldSpec
	newer bool // only clients with extensions are given it
}

// CommandSpec is what the protocol says about a command that servers send.
type CommandSpec struct {
	Service uint16
	Push    bool // clients do not ask for it: sequence number 0
	fields  []fieldSpec
	newer   bool
}

func num(no int, l label) fieldSpec { return fieldSpec{no: no, label: l, kind: number} }
func str(no int, l label) fieldSpec { return fieldSpec{no: no, label: l, kind: text} }
func raw(no int, l label) fieldSpec { return fieldSpec{no: no, label: l, kind: data} }
func enum(no int, l label, list []uint64) fieldSpec {
	return fieldSpec{no: no, label: l, kind: number, list: list}
}
func more(f fieldSpec) fieldSpec { f.newer = true; return f }
func sub(no int, l label, fields []fieldSpec) fieldSpec {
	return fieldSpec{no: no, label: l, kind: message, sub: fields}
}

// The lists of the enums.
var (
	resultType    = []uint64{0, 1, 2, 3, 4, 5, 6, 7}
	kickReason    = []uint64{1, 2}
	serverState   = []uint64{1, 2, 3}
	userStatType  = []uint64{1, 2, 3}
	sessionType   = []uint64{1, 2}
	sessionStatus = []uint64{0, 1}
	msgType       = []uint64{1, 2, 17, 18}
	deptStatus    = []uint64{0, 1}
	groupModify   = []uint64{1, 2}
	fileState     = []uint64{0, 1, 2, 3}
	transferMode  = []uint64{1, 2}
	refusal       = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	friendAction  = []uint64{1, 2, 3, 4, 5, 6, 7, 8}
	friendState   = []uint64{1, 2, 3}
)

// The messages within messages.
var (
	userInfo = []fieldSpec{
		num(1, required), num(2, required), str(3, required), str(4, required), num(5, required), str(6, required),
		str(7, required), str(8, required), str(9, required), num(10, required), str(11, optional),
	}
	contactSession = []fieldSpec{
		num(1, required), enum(2, required, sessionType), enum(3, required, sessionStatus), num(4, required),
		num(5, required), raw(6, required), enum(7, required, msgType), num(8, required),
	}
	userStat   = []fieldSpec{num(1, required), enum(2, required, userStatType)}
	unreadInfo = []fieldSpec{
		num(1, required), enum(2, required, sessionType), num(3, required), num(4, required), raw(5, required),
		enum(6, required, msgType), num(7, required),
	}
	msgInfo = []fieldSpec{
		num(1, required), num(2, required), num(3, required), enum(4, required, msgType), raw(5, required),
		more(num(101, optional)), more(num(102, optional)), more(raw(103, optional)),
	}
	groupVersion = []fieldSpec{num(1, required), num(2, required)}
	groupInfo    = []fieldSpec{
		num(1, required), num(2, required), str(3, required), str(4, required), num(5, required),
		enum(6, required, []uint64{1, 2}), num(7, required), num(8, repeated),
	}
	departInfo = []fieldSpec{
		num(1, required), num(2, required), str(3, required), num(4, required), enum(5, required, deptStatus),
	}
	ipAddr      = []fieldSpec{str(1, required), num(2, required)}
	offlineFile = []fieldSpec{num(1, required), str(2, required), str(3, required), num(4, required)}

	syncEntry = []fieldSpec{
		num(1, required), enum(2, required, sessionType), num(3, required), num(4, required), num(5, optional), num(6, optional),
		num(7, optional), num(8, optional), num(9, optional), num(10, optional), num(11, optional), num(12, optional),
		sub(13, optional, msgInfo), num(14, repeated),
	}
	changed = []fieldSpec{enum(1, required, refusal), num(2, required), enum(3, required, sessionType), num(4, required)}
	friend  = []fieldSpec{num(1, required), enum(2, required, friendState), num(3, required), str(4, optional), str(5, optional)}

	msgData = []fieldSpec{
		num(1, required), num(2, required), num(3, required), num(4, required), enum(5, required, msgType), raw(6, required),
		more(raw(100, optional)), more(num(101, optional)), more(num(102, optional)),
	}
	ack = []fieldSpec{num(1, required), num(2, required), num(3, required), enum(4, required, sessionType)}
)

// Commands is what servers send to clients. attach_data (field 20) is in none of them:
// no client may see it.
var Commands = map[uint16]CommandSpec{
	0x0102: {Service: 1, fields: []fieldSpec{enum(1, required, resultType), str(2, optional), str(3, optional), num(4, optional)}},
	0x0104: {Service: 1, fields: []fieldSpec{
		num(1, required), enum(2, required, resultType), str(3, optional), enum(4, optional, userStatType), sub(5, optional, userInfo),
		more(num(100, optional)), more(raw(101, optional)), more(num(102, optional)),
	}},
	0x0106: {Service: 1, fields: []fieldSpec{num(1, required)}},
	0x0107: {Service: 1, Push: true, fields: []fieldSpec{num(1, required), enum(2, required, kickReason)}},
	0x0109: {Service: 1, fields: []fieldSpec{num(1, required)}},
	0x010b: {Service: 1, fields: []fieldSpec{num(1, required), num(2, required)}},
	0x010d: {Service: 1, fields: []fieldSpec{num(1, required), num(2, required), num(3, optional)}},
	0x010f: {Service: 1, fields: []fieldSpec{num(1, required), num(2, required), num(3, optional)}},
	0x0202: {Service: 2, fields: []fieldSpec{num(1, required), sub(2, repeated, contactSession)}},
	0x0203: {Service: 2, Push: true, fields: []fieldSpec{sub(1, required, userStat)}},
	0x0205: {Service: 2, fields: []fieldSpec{num(1, required), sub(2, repeated, userInfo)}},
	0x0207: {Service: 2, fields: []fieldSpec{num(1, required), num(2, required), enum(3, required, sessionType), num(4, required)}},
	0x0209: {Service: 2, fields: []fieldSpec{num(1, required), num(2, required), sub(3, repeated, userInfo)}},
	0x020b: {Service: 2, fields: []fieldSpec{num(1, required), sub(2, repeated, userStat)}},
	0x020d: {Service: 2, fields: []fieldSpec{num(1, required), num(2, required)}},
	0x020e: {Service: 2, Push: true, fields: []fieldSpec{num(1, required), enum(2, required, userStatType)}},
	0x020f: {Service: 2, Push: true, fields: []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required)}},
	0x0211: {Service: 2, fields: []fieldSpec{num(1, required), num(2, required), sub(3, repeated, departInfo)}},
	0x0212: {Service: 2, Push: true, fields: []fieldSpec{num(1, required), str(2, required)}},
	0x0214: {Service: 2, fields: []fieldSpec{num(1, required), num(2, required), str(3, optional)}},
	0x0215: {Service: 2, Push: true, fields: []fieldSpec{num(1, required), str(2, required)}},
	0x0301: {Service: 3, Push: true, fields: msgData},
	0x0302: {Service: 3, fields: append(ack[:len(ack):len(ack)], more(raw(100, optional)), more(num(101, optional)))},
	0x0304: {Service: 3, Push: true, fields: ack},
	0x0306: {Service: 3, fields: []fieldSpec{num(1, required)}},
	0x0308: {Service: 3, fields: []fieldSpec{num(1, required), num(2, required), sub(3, repeated, unreadInfo)}},
	0x030a: {Service: 3, fields: []fieldSpec{
		num(1, required), enum(2, required, sessionType), num(3, required), num(4, required), sub(5, repeated, msgInfo),
	}},
	0x030c: {Service: 3, fields: []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required), num(4, required)}},
	0x030e: {Service: 3, fields: []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required), sub(4, repeated, msgInfo)}},
	0x0402: {Service: 4, fields: []fieldSpec{num(1, required), sub(2, repeated, groupVersion)}},
	0x0404: {Service: 4, fields: []fieldSpec{num(1, required), sub(2, repeated, groupInfo)}},
	0x0406: {Service: 4, fields: []fieldSpec{num(1, required), num(2, required), num(3, optional), str(4, required), num(5, repeated)}},
	0x0408: {Service: 4, fields: []fieldSpec{
		num(1, required), enum(2, required, groupModify), num(3, required), num(4, required), num(5, repeated), num(6, repeated),
	}},
	0x040a: {Service: 4, fields: []fieldSpec{num(1, required), num(2, required), num(3, required)}},
	0x040b: {Service: 4, Push: true, fields: []fieldSpec{
		num(1, required), enum(2, required, groupModify), num(3, required), num(4, repeated), num(5, repeated),
	}},
	0x0502: {Service: 5, fields: []fieldSpec{num(1, required), raw(2, required)}}, // names the task as the client did
	0x0503: {Service: 5, Push: true, fields: []fieldSpec{enum(1, required, fileState), str(2, required), num(3, required)}},
	0x0504: {Service: 5, fields: []fieldSpec{
		str(1, required), num(2, required), enum(3, required, transferMode), num(4, required), num(5, required),
	}},
	0x0505: {Service: 5, fields: []fieldSpec{num(1, required), str(2, required), num(3, required), num(4, required), raw(5, required)}},
	0x0507: {Service: 5, fields: []fieldSpec{
		num(1, required), num(2, required), num(3, required), raw(4, required), // the name comes back byte for byte
		str(5, required), sub(6, repeated, ipAddr),
		enum(7, required, transferMode),
	}},
	0x0508: {Service: 5, Push: true, fields: []fieldSpec{
		num(1, required), num(2, required), str(3, required), num(4, required), str(5, required), sub(6, repeated, ipAddr),
		enum(7, required, transferMode), num(8, required),
	}},
	0x050a: {Service: 5, fields: []fieldSpec{num(1, required), sub(2, repeated, offlineFile), sub(3, repeated, ipAddr)}},
	0x0601: {Service: 6, Push: true, fields: []fieldSpec{num(1, required), num(2, required), str(3, required)}},
	0x0701: {Service: 7},

	// godwit's own answers. Its pushes, and what it has as an answer to an
	// old command, are only for clients that ask for them.
	0x2002: {Service: 32, fields: []fieldSpec{
		raw(1, required), num(2, optional), num(3, optional), sub(4, repeated, syncEntry), num(5, optional), num(6, optional), num(7, optional),
	}},
	0x2006: {Service: 32, fields: changed},
	0x2008: {Service: 32, fields: changed},
	0x200d: {Service: 32, fields: []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required), num(4, repeated), num(5, repeated)}},
	0x2012: {Service: 32, fields: []fieldSpec{sub(1, repeated, friend), num(2, repeated), num(3, optional)}},
	0x2014: {Service: 32, fields: []fieldSpec{enum(1, required, refusal), num(2, required), enum(3, required, friendAction)}},
	0x2018: {Service: 32, fields: []fieldSpec{enum(1, required, refusal), num(2, required)}},
	0x2003: {Service: 32, newer: true, fields: []fieldSpec{
		num(1, required), enum(2, required, sessionType), enum(3, required, refusal), raw(4, optional),
	}},
	0x2009: {Service: 32, Push: true, newer: true, fields: []fieldSpec{num(1, required), enum(2, required, sessionType), sub(3, required, msgInfo)}},
	0x200b: {Service: 32, Push: true, newer: true, fields: []fieldSpec{
		num(1, required), enum(2, required, sessionType), num(3, required), num(4, optional), num(5, optional),
	}},
	0x200f: {Service: 32, Push: true, newer: true, fields: []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required), num(4, required)}},
	0x2015: {Service: 32, Push: true, newer: true, fields: []fieldSpec{num(1, required), enum(2, required, friendAction), num(3, optional), str(4, optional)}},
	0x2019: {Service: 32, Push: true, newer: true, fields: []fieldSpec{
		num(1, required), num(2, required), num(3, required), str(4, required), str(5, required), num(6, required), num(7, optional),
	}},
	0x201b: {Service: 32, Push: true, newer: true, fields: []fieldSpec{enum(1, required, serverState), num(2, optional)}},
}

// Check holds what a server sent to an old client against the protocol.
func Check(p PDU) error { return check(p, false) }

// CheckNewer is Check for a client that understands what godwit has beyond the protocol.
func CheckNewer(p PDU) error { return check(p, true) }

func check(p PDU, newer bool) error {
	spec, ok := Commands[p.Command]
	switch {
	case !ok, spec.newer && !newer:
		return fmt.Errorf("0x%04x is nothing that a server sends", p.Command)
	case p.Service != spec.Service:
		return fmt.Errorf("0x%04x came with service %d, clients look for it under %d", p.Command, p.Service, spec.Service)
	case spec.Push && p.Seq != 0:
		return fmt.Errorf("0x%04x is a push and came with sequence number %d", p.Command, p.Seq)
	}
	if p.Command == 0x0701 { // echoed as it came
		if len(p.Body) != 0 {
			return fmt.Errorf("heartbeat with a body of %d bytes", len(p.Body))
		}
		return nil
	}
	passed := p.Command == 0x0504 || p.Command == 0x0505 // from client to client, with the sender's header
	if !passed && (p.Version != 1 || p.Flag != 0 || p.Reserved != 0) {
		return fmt.Errorf("0x%04x came with version %d, flag %d, reserved %d, not 1, 0, 0", p.Command, p.Version, p.Flag, p.Reserved)
	}
	if err := checkMessage(p.Body, spec.fields, newer); err != nil {
		return fmt.Errorf("0x%04x: %w", p.Command, err)
	}
	return nil
}

func checkMessage(body []byte, fields []fieldSpec, newer bool) error {
	seen := map[int]int{}
	for f, err := range Fields(body) {
		if err != nil {
			return err
		}
		at := slices.IndexFunc(fields, func(s fieldSpec) bool { return s.no == f.Number && (newer || !s.newer) })
		if at < 0 {
			return fmt.Errorf("unknown field %d", f.Number)
		}
		s := fields[at]
		if seen[f.Number]++; seen[f.Number] > 1 && s.label != repeated {
			return fmt.Errorf("field %d came twice", f.Number)
		}
		if err := checkField(f, s, newer); err != nil {
			return err
		}
	}
	for _, s := range fields {
		if s.label == required && seen[s.no] == 0 {
			return fmt.Errorf("required field %d is missing", s.no)
		}
	}
	return nil
}

func checkField(f Field, s fieldSpec, newer bool) error {
	switch {
	case f.IsNum != (s.kind == number):
		return fmt.Errorf("field %d has the wrong wire type (a packed list, perhaps)", f.Number)
	case f.IsNum && f.Num > 1<<32-1:
		return fmt.Errorf("field %d is %d, more than 32 bits", f.Number, f.Num)
	case s.list != nil && !slices.Contains(s.list, f.Num):
		return fmt.Errorf("field %d is %d, not in the list of its enum", f.Number, f.Num)
	case s.kind == text && !utf8.Valid(f.Bytes):
		return fmt.Errorf("field %d is no UTF-8", f.Number)
	case s.kind == message:
		if err := checkMessage(f.Bytes, s.sub, newer); err != nil {
			return fmt.Errorf("in field %d: %w", f.Number, err)
		}
	}
	return nil
}

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
}

// CommandSpec is what the protocol says about a command that servers send.
type CommandSpec struct {
	Service uint16
	Push    bool // clients do not ask for it: sequence number 0
	fields  []fieldSpec
}

func num(no int, l label) fieldSpec                 { return fieldSpec{no: no, label: l, kind: number} }
func str(no int, l label) fieldSpec                 { return fieldSpec{no: no, label: l, kind: text} }
func raw(no int, l label) fieldSpec                 { return fieldSpec{no: no, label: l, kind: data} }
func enum(no int, l label, list []uint64) fieldSpec { return fieldSpec{no, l, number, list, nil} }
func sub(no int, l label, fields []fieldSpec) fieldSpec {
	return fieldSpec{no: no, label: l, kind: message, sub: fields}
}

// The lists of the enums.
var (
	resultType    = []uint64{0, 1, 2, 3, 4, 5, 6, 7}
	kickReason    = []uint64{1, 2}
	userStatType  = []uint64{1, 2, 3}
	sessionType   = []uint64{1, 2}
	sessionStatus = []uint64{0, 1}
	msgType       = []uint64{1, 2, 17, 18}
	deptStatus    = []uint64{0, 1}
	groupModify   = []uint64{1, 2}
	transferMode  = []uint64{1, 2}
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

	msgData = []fieldSpec{
		num(1, required), num(2, required), num(3, required), num(4, required), enum(5, required, msgType), raw(6, required),
	}
	ack = []fieldSpec{num(1, required), num(2, required), num(3, required), enum(4, required, sessionType)}
)

// Commands is what servers send to clients. attach_data (field 20) is in none of them:
// no client may see it.
var Commands = map[uint16]CommandSpec{
	0x0102: {1, false, []fieldSpec{enum(1, required, resultType), str(2, optional), str(3, optional), num(4, optional)}},
	0x0104: {1, false, []fieldSpec{
		num(1, required), enum(2, required, resultType), str(3, optional), enum(4, optional, userStatType), sub(5, optional, userInfo),
	}},
	0x0106: {1, false, []fieldSpec{num(1, required)}},
	0x0107: {1, true, []fieldSpec{num(1, required), enum(2, required, kickReason)}},
	0x0109: {1, false, []fieldSpec{num(1, required)}},
	0x010b: {1, false, []fieldSpec{num(1, required), num(2, required)}},
	0x010d: {1, false, []fieldSpec{num(1, required), num(2, required), num(3, optional)}},
	0x010f: {1, false, []fieldSpec{num(1, required), num(2, required), num(3, optional)}},
	0x0202: {2, false, []fieldSpec{num(1, required), sub(2, repeated, contactSession)}},
	0x0203: {2, true, []fieldSpec{sub(1, required, userStat)}},
	0x0205: {2, false, []fieldSpec{num(1, required), sub(2, repeated, userInfo)}},
	0x0207: {2, false, []fieldSpec{num(1, required), num(2, required), enum(3, required, sessionType), num(4, required)}},
	0x0209: {2, false, []fieldSpec{num(1, required), num(2, required), sub(3, repeated, userInfo)}},
	0x020b: {2, false, []fieldSpec{num(1, required), sub(2, repeated, userStat)}},
	0x020d: {2, false, []fieldSpec{num(1, required), num(2, required)}},
	0x020e: {2, true, []fieldSpec{num(1, required), enum(2, required, userStatType)}},
	0x020f: {2, true, []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required)}},
	0x0211: {2, false, []fieldSpec{num(1, required), num(2, required), sub(3, repeated, departInfo)}},
	0x0212: {2, true, []fieldSpec{num(1, required), str(2, required)}},
	0x0214: {2, false, []fieldSpec{num(1, required), num(2, required), str(3, optional)}},
	0x0215: {2, true, []fieldSpec{num(1, required), str(2, required)}},
	0x0301: {3, true, msgData},
	0x0302: {3, false, ack},
	0x0304: {3, true, ack},
	0x0306: {3, false, []fieldSpec{num(1, required)}},
	0x0308: {3, false, []fieldSpec{num(1, required), num(2, required), sub(3, repeated, unreadInfo)}},
	0x030a: {3, false, []fieldSpec{
		num(1, required), enum(2, required, sessionType), num(3, required), num(4, required), sub(5, repeated, msgInfo),
	}},
	0x030c: {3, false, []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required), num(4, required)}},
	0x030e: {3, false, []fieldSpec{num(1, required), enum(2, required, sessionType), num(3, required), sub(4, repeated, msgInfo)}},
	0x0402: {4, false, []fieldSpec{num(1, required), sub(2, repeated, groupVersion)}},
	0x0404: {4, false, []fieldSpec{num(1, required), sub(2, repeated, groupInfo)}},
	0x0406: {4, false, []fieldSpec{num(1, required), num(2, required), num(3, optional), str(4, required), num(5, repeated)}},
	0x0408: {4, false, []fieldSpec{
		num(1, required), enum(2, required, groupModify), num(3, required), num(4, required), num(5, repeated), num(6, repeated),
	}},
	0x040a: {4, false, []fieldSpec{num(1, required), num(2, required), num(3, required)}},
	0x040b: {4, true, []fieldSpec{
		num(1, required), enum(2, required, groupModify), num(3, required), num(4, repeated), num(5, repeated),
	}},
	0x0507: {5, false, []fieldSpec{
		num(1, required), num(2, required), num(3, required), str(4, required), str(5, required), sub(6, repeated, ipAddr),
		enum(7, required, transferMode),
	}},
	0x0508: {5, true, []fieldSpec{
		num(1, required), num(2, required), str(3, required), num(4, required), str(5, required), sub(6, repeated, ipAddr),
		enum(7, required, transferMode), num(8, required),
	}},
	0x050a: {5, false, []fieldSpec{num(1, required), sub(2, repeated, offlineFile), sub(3, repeated, ipAddr)}},
	0x0701: {7, false, nil},
}

// Check holds what a server sent against the protocol.
func Check(p PDU) error {
	spec, ok := Commands[p.Command]
	switch {
	case !ok:
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
	if p.Version != 1 || p.Flag != 0 || p.Reserved != 0 {
		return fmt.Errorf("0x%04x came with version %d, flag %d, reserved %d, not 1, 0, 0", p.Command, p.Version, p.Flag, p.Reserved)
	}
	m, err := ParseMessage(p.Body)
	if err == nil {
		err = checkMessage(m, spec.fields)
	}
	if err != nil {
		return fmt.Errorf("0x%04x: %w", p.Command, err)
	}
	return nil
}

func checkMessage(m Message, fields []fieldSpec) error {
	seen := map[int]int{}
	for _, f := range m {
		at := slices.IndexFunc(fields, func(s fieldSpec) bool { return s.no == f.Number })
		if at < 0 {
			return fmt.Errorf("unknown field %d", f.Number)
		}
		s := fields[at]
		if seen[f.Number]++; seen[f.Number] > 1 && s.label != repeated {
			return fmt.Errorf("field %d came twice", f.Number)
		}
		if err := checkField(f, s); err != nil {
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

func checkField(f Field, s fieldSpec) error {
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
		m, err := ParseMessage(f.Bytes)
		if err == nil {
			err = checkMessage(m, s.sub)
		}
		if err != nil {
			return fmt.Errorf("in field %d: %w", f.Number, err)
		}
	}
	return nil
}

package pdujson

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"godwit/schema/client"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
)

// beside says that a field may be given, or is shown, in a plain form under a name of its own.
type beside struct {
	message protoreflect.FullName
	field   protoreflect.Name // on the wire
	name    string            // in JSON
	// kind is the field that tells whether the wire's is a text; without one it always is meant to be.
	kind protoreflect.Name
	// in makes the wire's form, and out the plain one if there is one; without out it is never shown.
	in  func(plain string) []byte
	out func(wire []byte) (string, bool)
}

// plainForms are all of them. Lists of conversations show a voice message by a text, so what they show has no kind.
var plainForms = []beside{
	{"IM.Message.IMMsgData", "msg_data", "text", "msg_type", content.EncryptText, textOf},
	{"IM.BaseDefine.MsgInfo", "msg_data", "text", "msg_type", content.EncryptText, textOf},
	{"Godwit.Extension.EditReq", "msg_data", "text", "", content.EncryptText, textOf},
	{"IM.BaseDefine.ContactSessionInfo", "latest_msg_data", "latestText", "", content.EncryptText, textOf},
	{"IM.BaseDefine.UnreadInfo", "latest_msg_data", "latestText", "", content.EncryptText, textOf},
	{"IM.Login.IMLoginReq", "password", "plainPassword", "", hashOf, nil},
}

// textOf is the text in a msg_data. What is no text, or not one that JSON can hold, has none.
func textOf(data []byte) (string, bool) {
	text, err := content.DecryptText(data)
	return text, err == nil && utf8.ValidString(text)
}

// hashOf is the form in which clients send a password.
func hashOf(password string) []byte {
	sum := md5.Sum([]byte(password))
	return hex.AppendEncode(nil, sum[:])
}

// ignored are the required fields of requests that say who asks, or what the server decides: it never looks at them, so they
// may be left out, and are 0 then.
var ignored = map[protoreflect.FullName][]protoreflect.Name{
	"IM.Message.IMMsgData":               {"from_user_id", "msg_id", "create_time"},
	"IM.Message.IMMsgDataReadAck":        {"user_id"},
	"IM.Message.IMUnreadMsgCntReq":       {"user_id"},
	"IM.Message.IMGetMsgListReq":         {"user_id"},
	"IM.Message.IMGetLatestMsgIdReq":     {"user_id"},
	"IM.Message.IMGetMsgByIdReq":         {"user_id"},
	"IM.Login.IMDeviceTokenReq":          {"user_id"},
	"IM.Login.IMKickPCClientReq":         {"user_id"},
	"IM.Login.IMPushShieldReq":           {"user_id"},
	"IM.Login.IMQueryPushShieldReq":      {"user_id"},
	"IM.Buddy.IMRecentContactSessionReq": {"user_id"},
	"IM.Buddy.IMUsersInfoReq":            {"user_id"},
	"IM.Buddy.IMRemoveSessionReq":        {"user_id"},
	"IM.Buddy.IMAllUserReq":              {"user_id"},
	"IM.Buddy.IMUsersStatReq":            {"user_id"},
	"IM.Buddy.IMChangeAvatarReq":         {"user_id"},
	"IM.Buddy.IMDepartmentReq":           {"user_id"},
	"IM.Buddy.IMChangeSignInfoReq":       {"user_id"},
	"IM.Group.IMNormalGroupListReq":      {"user_id"},
	"IM.Group.IMGroupInfoListReq":        {"user_id"},
	"IM.Group.IMGroupCreateReq":          {"user_id"},
	"IM.Group.IMGroupChangeMemberReq":    {"user_id"},
	"IM.Group.IMGroupShieldReq":          {"user_id"},
	"IM.File.IMFileReq":                  {"from_user_id"},
	"IM.File.IMFileHasOfflineReq":        {"user_id"},
	"IM.File.IMFileAddOfflineReq":        {"from_user_id"},
	"IM.SwitchService.IMP2PCmdMsg":       {"from_user_id"},
}

// plan is what the two directions need to know of a message type.
type plan struct {
	fields []field        // in the order of the .proto file
	byName map[string]int // of fields, by both names
	plain  *plainForm
}

type field struct {
	desc     protoreflect.FieldDescriptor
	name     string // in JSON
	key      string // `"name":`
	list     bool
	required bool
	ignored  bool // may be left out all the same
	kind     protoreflect.Kind
	message  *plan
}

type plainForm struct {
	beside
	of     int // the field
	kindOf int // the field that is its kind, -1 for none
	key    string
}

type commandsAndPlans struct {
	byName map[string]client.Command // short names of messages, and names of the protocol's enum
	plans  map[protoreflect.FullName]*plan
}

// catalogue is made at first use: most processes never speak JSON.
var catalogue = sync.OnceValue(func() commandsAndPlans {
	c := commandsAndPlans{map[string]client.Command{}, map[protoreflect.FullName]*plan{}}
	for command := range client.Commands() {
		c.byName[string(command.Message.Name())] = command
		c.byName[command.Name] = command
		c.plan(command.New().ProtoReflect().Descriptor())
	}
	return c
})

func planOf(d protoreflect.MessageDescriptor) *plan { return catalogue().plans[d.FullName()] }

// plan makes the plan of d and of what it holds. The protocol has no message inside itself and no maps.
func (c *commandsAndPlans) plan(d protoreflect.MessageDescriptor) *plan {
	if p := c.plans[d.FullName()]; p != nil {
		return p
	}
	p := &plan{byName: map[string]int{}}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		one := field{
			desc: f, name: f.JSONName(), key: strconv.Quote(f.JSONName()) + ":",
			list: f.IsList(), required: f.Cardinality() == protoreflect.Required, kind: f.Kind(),
			ignored: slices.Contains(ignored[d.FullName()], f.Name()),
		}
		if f.Message() != nil {
			one.message = c.plan(f.Message())
		}
		p.byName[string(f.Name())], p.byName[f.JSONName()] = i, i
		p.fields = append(p.fields, one)
	}
	for _, b := range plainForms {
		if b.message == d.FullName() {
			p.plain = &plainForm{beside: b, of: p.byName[string(b.field)], kindOf: -1, key: strconv.Quote(b.name) + ":"}
			if b.kind != "" {
				p.plain.kindOf = p.byName[string(b.kind)]
			}
		}
	}
	c.plans[d.FullName()] = p
	return p
}

// isText tells whether m is of a kind whose field is a text.
func (p *plan) isText(m protoreflect.Message) bool {
	if p.plain.kindOf < 0 {
		return true
	}
	switch imbase.MsgType(m.Get(p.fields[p.plain.kindOf].desc).Enum()) {
	case imbase.MsgType_MSG_TYPE_SINGLE_TEXT, imbase.MsgType_MSG_TYPE_GROUP_TEXT:
		return true
	}
	return false
}

// read fills m, which is empty, from an object.
func (p *plan) read(m protoreflect.Message, object []byte) *fault {
	if object[0] != '{' {
		return &fault{reason: "want an object"}
	}
	var given uint64 // a bit for each field; no message of the protocol has as many
	var plain []byte
	wrong := members(object, func(name string, value []byte) *fault {
		if p.plain != nil && name == p.plain.name {
			if plain != nil {
				return &fault{path: "." + name, reason: "given twice"}
			}
			plain = value
			return nil
		}
		i, ok := p.byName[name]
		if !ok {
			return &fault{path: "." + short(name), reason: "unknown to " + string(m.Descriptor().Name())}
		}
		f := &p.fields[i]
		if given&(1<<i) != 0 {
			return &fault{path: "." + f.name, reason: "given twice"}
		}
		given |= 1 << i
		if string(value) == "null" {
			return nil // as if it were not there
		}
		if wrong := f.read(m, value); wrong != nil {
			return wrong.in("." + f.name)
		}
		return nil
	})
	if wrong != nil {
		return wrong
	}
	if plain != nil && string(plain) != "null" {
		if f := p.readPlain(m, plain); f != nil {
			return f.in("." + p.plain.name)
		}
	}
	for i := range p.fields {
		f := &p.fields[i]
		switch {
		case !f.required || m.Has(f.desc):
		case f.ignored:
			m.Set(f.desc, protoreflect.ValueOfUint32(0))
		default:
			reason := "missing"
			if p.plain != nil && p.plain.of == i {
				reason += ", and so is " + p.plain.name
			}
			return &fault{path: "." + f.name, reason: reason}
		}
	}
	return nil
}

// readPlain sets a field from its plain form. Both may be given when they agree: so what was written can be read again.
func (p *plan) readPlain(m protoreflect.Message, value []byte) *fault {
	plain, f := readString(value)
	if f != nil {
		return f
	}
	of := &p.fields[p.plain.of]
	if m.Has(of.desc) {
		if p.plain.out != nil {
			if out, ok := p.plain.out(m.Get(of.desc).Bytes()); ok && out == plain && p.isText(m) {
				return nil
			}
		}
		return &fault{reason: "given beside " + of.name + ", which says something else"}
	}
	if !p.isText(m) {
		return &fault{reason: "given in a message whose " + p.fields[p.plain.kindOf].name + " is not that of a text"}
	}
	wire := p.plain.in(plain)
	if of.kind == protoreflect.StringKind {
		m.Set(of.desc, protoreflect.ValueOfString(string(wire)))
	} else {
		m.Set(of.desc, protoreflect.ValueOfBytes(wire))
	}
	return nil
}

// read sets the field from a value that is not null.
func (f *field) read(m protoreflect.Message, value []byte) *fault {
	if !f.list {
		if f.message != nil {
			return f.message.read(m.Mutable(f.desc).Message(), value)
		}
		v, wrong := f.scalar(value)
		if wrong == nil {
			m.Set(f.desc, v)
		}
		return wrong
	}
	if value[0] != '[' {
		return &fault{reason: "want an array"}
	}
	list := m.Mutable(f.desc).List()
	return elements(value, func(i int, value []byte) *fault {
		var wrong *fault
		if f.message != nil {
			wrong = f.message.read(list.AppendMutable().Message(), value)
		} else {
			var v protoreflect.Value
			if v, wrong = f.scalar(value); wrong == nil {
				list.Append(v)
			}
		}
		if wrong != nil {
			return wrong.in("[" + strconv.Itoa(i) + "]")
		}
		return nil
	})
}

// scalar reads a value of the kinds that the protocol has.
func (f *field) scalar(value []byte) (protoreflect.Value, *fault) {
	switch f.kind {
	case protoreflect.BoolKind:
		switch value[0] {
		case 't', 'f':
			return protoreflect.ValueOfBool(value[0] == 't'), nil
		}
		return protoreflect.Value{}, &fault{reason: "want true or false"}
	case protoreflect.Uint32Kind:
		n, wrong := readUint(value, math.MaxUint32)
		return protoreflect.ValueOfUint32(n), wrong
	case protoreflect.StringKind:
		s, wrong := readString(value)
		return protoreflect.ValueOfString(s), wrong
	case protoreflect.BytesKind:
		s, wrong := readString(value)
		if wrong != nil {
			return protoreflect.Value{}, wrong
		}
		b, err := decodeBase64(s)
		if err != nil {
			return protoreflect.Value{}, &fault{reason: "want base64"}
		}
		return protoreflect.ValueOfBytes(b), nil
	case protoreflect.EnumKind:
		n, wrong := readEnum(f.desc.Enum(), value)
		return protoreflect.ValueOfEnum(n), wrong
	}
	panic("pdujson: the protocol has no " + f.kind.String())
}

func readEnum(d protoreflect.EnumDescriptor, value []byte) (protoreflect.EnumNumber, *fault) {
	if value[0] == '"' {
		name, f := readString(value)
		if f != nil {
			return 0, f
		}
		if v := d.Values().ByName(protoreflect.Name(name)); v != nil {
			return v.Number(), nil
		}
		return 0, &fault{reason: strconv.Quote(short(name)) + " is no " + string(d.Name())}
	}
	n, f := readUint(value, math.MaxInt32)
	if f != nil || d.Values().ByNumber(protoreflect.EnumNumber(n)) == nil {
		return 0, &fault{reason: "want the name or the number of a " + string(d.Name())}
	}
	return protoreflect.EnumNumber(n), nil
}

// decodeBase64 takes what protobuf's JSON takes: both alphabets, with padding and without.
func decodeBase64(s string) ([]byte, error) {
	e := base64.StdEncoding
	if strings.ContainsAny(s, "-_") {
		e = base64.URLEncoding
	}
	if len(s)%4 != 0 {
		e = e.WithPadding(base64.NoPadding)
	}
	return e.DecodeString(s)
}

// writer takes a text. Where it gives pieces away it holds no more of the text than about one.
type writer struct {
	b    []byte
	size int               // of a piece; 0: the text is one
	give func([]byte) bool // false: nobody wants the rest
	over bool              // nobody does
}

// room gives a piece away if there is one; it is false once nobody wants more.
func (w *writer) room() bool {
	if w.size > 0 && len(w.b) >= w.size && !w.over {
		w.over = !w.give(w.b)
		w.b = w.b[:0]
	}
	return !w.over
}

// part is how many bytes of a long value are written at a time: each may take six, as an escape does.
func (w *writer) part() int {
	if w.size == 0 {
		return math.MaxInt
	}
	return max(w.size/8/3*3, 6) // whole groups of base64, and room for any rune
}

func (w *writer) text(s string) {
	w.b = append(w.b, '"')
	for len(s) > 0 && w.room() {
		n := min(len(s), w.part())
		for n < len(s) && n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		if n == 0 {
			n = w.part() // no UTF-8, and no rune that this could cut
		}
		w.b = appendEscaped(w.b, s[:n])
		s = s[n:]
	}
	w.b = append(w.b, '"')
}

func (w *writer) bytes(b []byte) {
	w.b = append(w.b, '"')
	for len(b) > 0 && w.room() {
		n := min(len(b), w.part())
		w.b = base64.StdEncoding.AppendEncode(w.b, b[:n])
		b = b[n:]
	}
	w.b = append(w.b, '"')
}

// write writes m as an object.
func (p *plan) write(w *writer, m protoreflect.Message) {
	w.b = append(w.b, '{')
	first := true
	for i := range p.fields {
		f := &p.fields[i]
		if !m.Has(f.desc) {
			continue
		}
		if !w.room() {
			return
		}
		if !first {
			w.b = append(w.b, ',')
		}
		first = false
		w.b = append(w.b, f.key...)
		v := m.Get(f.desc)
		if f.list {
			f.writeList(w, v.List())
		} else {
			f.write(w, v)
		}
		if p.plain != nil && p.plain.of == i && p.plain.out != nil && p.isText(m) {
			if plain, ok := p.plain.out(v.Bytes()); ok {
				w.b = append(w.b, ',')
				w.b = append(w.b, p.plain.key...)
				w.text(plain)
			}
		}
	}
	w.b = append(w.b, '}')
}

func (f *field) writeList(w *writer, l protoreflect.List) {
	w.b = append(w.b, '[')
	for i := range l.Len() {
		if !w.room() {
			return
		}
		if i > 0 {
			w.b = append(w.b, ',')
		}
		f.write(w, l.Get(i))
	}
	w.b = append(w.b, ']')
}

func (f *field) write(w *writer, v protoreflect.Value) {
	switch f.kind {
	case protoreflect.BoolKind:
		w.b = strconv.AppendBool(w.b, v.Bool())
	case protoreflect.Uint32Kind:
		w.b = strconv.AppendUint(w.b, v.Uint(), 10)
	case protoreflect.StringKind:
		w.text(v.String())
	case protoreflect.BytesKind:
		w.bytes(v.Bytes())
	case protoreflect.EnumKind:
		// Its number is in the list, or the message would not have been read.
		w.b = append(w.b, '"')
		w.b = append(w.b, f.desc.Enum().Values().ByNumber(v.Enum()).Name()...)
		w.b = append(w.b, '"')
	case protoreflect.MessageKind:
		f.message.write(w, v.Message())
	default:
		panic(fmt.Sprintf("pdujson: the protocol has no %v", f.kind))
	}
}

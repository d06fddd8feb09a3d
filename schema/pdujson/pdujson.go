// Package pdujson is the JSON form of the PDUs of package pdu: what a client says in a text frame of a WebSocket, and what
// it is told there. One text is one PDU, both ways:
//
//	{"service":3,"command":"IMMsgData","seq":7,"body":{"fromUserId":1,"toSessionId":2,...}}
//
// The command is named by its message, without the package; what comes in may also name it as the protocol's enum does
// (CID_MSG_DATA) or by its number (769). The service may be left out, as may seq where it is 0, and a body that is empty.
//
// The body is protobuf's own JSON: names in lowerCamelCase (coming in also as in the .proto files), enums by name (coming
// in also by number), bytes in base64, fields that are not set left out. It is stricter than that where the wire is: an
// enum number outside its list, a required field that is missing, a field that is not known or is given twice is
// refused, with a reason that names the field. What the server does not look at (who asks, which it knows; of a message
// its id and time) may be left out although the wire requires it. What is written is always the same for the same PDU: no white space, the
// fields in the order of the .proto files.
//
// Two things stand beside what the wire has. The text of a message, which on the wire is wrapped as package content
// says, is plain in a field text beside msgData (latestText beside latestMsgData): coming in, either is enough; going
// out, it is added where msgData is a text. And a login may give plainPassword instead of password, which is hashed as
// original clients do it.
//
// The package is pure: it keeps nothing between calls.
package pdujson

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"godwit/schema/client"
	"godwit/schema/pdu"
)

// ErrNotJSON: a text is no JSON object in UTF-8, so whoever sent it does not speak this form.
var ErrNotJSON = errors.New("not a JSON object")

// Error says why a text is no PDU, or a PDU can't be a text.
type Error struct {
	// Command is the short name of the text's command, empty while it is not known.
	Command string
	// Seq is the text's seq, 0 while it is not known.
	Seq uint16
	// Reason is for whoever wrote the text; it begins with the path of the field where one is to blame, such as
	// "body.msgType: ...". It repeats names of the text only, cut so that it is never longer than 300 bytes.
	Reason string

	err error
}

func (e *Error) Error() string {
	if e.Command == "" {
		return "pdu in JSON: " + e.Reason
	}
	return "pdu in JSON: " + e.Command + ": " + e.Reason
}

// Unwrap gives the error of package client or pdu that was met, or nil.
func (e *Error) Unwrap() error { return e.err }

// AppendError appends what a client is told when its text was not understood, a text with no body:
//
//	{"command":"IMMsgData","seq":7,"error":"body.msgType: missing"}
//
// command is left out where it is not known. An err without an *Error inside is told as it is.
func AppendError(dst []byte, err error) []byte {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Reason: err.Error()}
	}
	dst = append(dst, '{')
	if e.Command != "" {
		dst = append(dst, `"command":`...)
		dst = appendString(dst, e.Command)
		dst = append(dst, ',')
	}
	dst = append(dst, `"seq":`...)
	dst = strconv.AppendUint(dst, uint64(e.Seq), 10)
	dst = append(dst, `,"error":`...)
	dst = appendString(dst, e.Reason)
	return append(dst, '}')
}

// envelope is the outermost object of a text; the values are pieces of it, nil where they are not given.
type envelope struct{ service, command, seq, body []byte }

// Append appends the PDU that text says, with the header of a server's. On an error nothing is appended: it is ErrNotJSON
// when the text is not even an object, else an *Error, with pdu.ErrTooLong inside when the PDU would be longer than
// pdu.MaxAfterLogin. It keeps nothing of text, and takes memory of the order of its length, which the caller bounds.
func Append(dst, text []byte) ([]byte, error) {
	var failed Error
	fail := func(reason string, err error) ([]byte, error) {
		failed.Reason, failed.err = reason, err
		return dst, &failed
	}
	// What follows relies on both: the syntax is right, and every string is UTF-8.
	if !utf8.Valid(text) || !json.Valid(text) {
		return dst, ErrNotJSON
	}
	text = trim(text)
	if text[0] != '{' {
		return dst, ErrNotJSON
	}
	// Members come in any order, so all are cut out before one is read: an error is told with the seq if there is one.
	var e envelope
	wrong := members(text, func(name string, value []byte) *fault {
		var to *[]byte
		switch name {
		case "service":
			to = &e.service
		case "command":
			to = &e.command
		case "seq":
			to = &e.seq
		case "body":
			to = &e.body
		default:
			return &fault{path: "." + short(name), reason: "unknown; there are service, command, seq and body"}
		}
		if *to != nil {
			return &fault{path: "." + name, reason: "given twice"}
		}
		*to = value
		return nil
	})
	if e.seq != nil {
		seq, f := readUint(e.seq, math.MaxUint16)
		if f != nil && wrong == nil {
			wrong = f.in(".seq")
		}
		failed.Seq = uint16(seq)
	}
	if wrong != nil {
		return fail(wrong.Error(), nil)
	}
	c, f := readCommand(e.command)
	if f != nil {
		return fail(f.in(".command").Error(), client.ErrUnknownCommand)
	}
	failed.Command = short(c.Message.Name())
	if e.service != nil {
		service, f := readUint(e.service, math.MaxUint16)
		if f == nil && uint16(service) != c.Service() {
			f = &fault{reason: fmt.Sprintf("that of %s is %d", failed.Command, c.Service())}
		}
		if f != nil {
			return fail(f.in(".service").Error(), nil)
		}
	}
	m := c.New().ProtoReflect()
	p := planOf(m.Descriptor())
	if e.body == nil {
		e.body = []byte("{}")
	}
	if f := p.read(m, e.body); f != nil {
		return fail(f.in(".body").Error(), nil)
	}
	b, err := pdu.AppendMessage(dst, c.ID, failed.Seq, m.Interface())
	switch {
	case errors.Is(err, pdu.ErrTooLong):
		return fail(fmt.Sprintf("body: too long; a PDU has at most %d bytes", pdu.MaxAfterLogin), err)
	case err != nil:
		return fail("body: "+err.Error(), err)
	}
	return b, nil
}

// readCommand finds the command that a value names.
func readCommand(value []byte) (client.Command, *fault) {
	switch {
	case value == nil:
		return client.Command{}, &fault{reason: "missing"}
	case value[0] == '"':
		name, f := readString(value)
		if f != nil {
			return client.Command{}, f
		}
		c, ok := catalogue().byName[name]
		if !ok {
			return client.Command{}, &fault{reason: "there is no " + strconv.Quote(short(name))}
		}
		return c, nil
	}
	id, f := readUint(value, math.MaxUint16)
	if f != nil {
		return client.Command{}, &fault{reason: "want the name of a message, or a number"}
	}
	c, ok := client.Lookup(uint16(id))
	if !ok {
		return client.Command{}, &fault{reason: fmt.Sprintf("there is no 0x%04x", id)}
	}
	return c, nil
}

// AppendText appends the text of a PDU. Of the header it shows the seq, and the service that goes with the command. A
// string that is not UTF-8, which the wire allows, is shown with U+FFFD for what JSON can't hold: who receives it is not
// to blame. On an error, an *Error, nothing is appended; what a server sends under the rules of package client has none.
func AppendText(dst []byte, f *pdu.Frame) ([]byte, error) {
	w := writer{b: dst}
	if err := w.frame(f); err != nil {
		return dst, err
	}
	return w.b, nil
}

// Pieces gives what AppendText appends, or what a client is told of its error, in pieces of about size bytes, so that a
// large PDU's text need not be held as a whole. A piece is valid until the next. Of the PDU nothing is looked at once the
// first piece was given.
func Pieces(f *pdu.Frame, size int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		w := writer{size: size, give: yield}
		if err := w.frame(f); err != nil {
			w.b = AppendError(w.b[:0], err)
		}
		if !w.over {
			yield(w.b)
		}
	}
}

// frame writes a PDU; what has an error is not begun.
func (w *writer) frame(f *pdu.Frame) error {
	c, ok := client.Lookup(f.Command)
	if !ok {
		return &Error{Seq: f.Seq, Reason: fmt.Sprintf("command: there is no 0x%04x", f.Command), err: client.ErrUnknownCommand}
	}
	m, err := client.Decode(c.ID, f.Body)
	if err != nil {
		return &Error{Command: string(c.Message.Name()), Seq: f.Seq, Reason: "body: " + err.Error(), err: err}
	}
	w.b = appendEnvelope(w.b, c.Service(), c.Message.Name(), f.Seq)
	r := m.ProtoReflect()
	planOf(r.Descriptor()).write(w, r)
	w.b = append(w.b, '}')
	return nil
}

func appendEnvelope(dst []byte, service uint16, command protoreflect.Name, seq uint16) []byte {
	dst = append(dst, `{"service":`...)
	dst = strconv.AppendUint(dst, uint64(service), 10)
	dst = append(dst, `,"command":"`...)
	dst = append(dst, command...)
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, uint64(seq), 10)
	return append(dst, `,"body":`...)
}

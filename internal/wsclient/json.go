package wsclient

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"godwit/schema/client"
	"godwit/schema/client/content"
	"godwit/schema/pdu"
)

// Refusal is what a server answers to a text that it does not understand.
type Refusal struct {
	Command string
	Seq     uint16
	Error   string
}

// Refused is what was refused since it was last asked. It is no PDU, so it is not read.
func (c *Conn) Refused() []Refusal {
	c.refused.Lock()
	defer c.refused.Unlock()
	all := c.refused.all
	c.refused.all = nil
	return all
}

// Text sends a text as it is, in JSON connections.
func (c *Conn) Text(text string) error { return c.send(1, []byte(text)) }

// plain are the names that texts go by, in JSON and on the wire.
var plain = [][2]string{{"text", "msgData"}, {"latestText", "latestMsgData"}}

// toJSON is a PDU in JSON. What is wrong with it stays wrong: a field that is missing is missing, a number outside its list
// is there; what is no message at all becomes a body with a field that no message has. Texts are given in plain.
func toJSON(b []byte) ([]byte, error) {
	h, err := pdu.ParseHeader(b)
	if err != nil {
		return nil, err
	}
	var frame struct {
		Command any    `json:"command"`
		Seq     uint16 `json:"seq,omitempty"`
		Body    any    `json:"body,omitempty"`
	}
	frame.Seq, frame.Command = h.Seq, h.Command
	if c, ok := client.Lookup(h.Command); ok {
		frame.Command = string(c.Message.Name())
		frame.Body = bodyToJSON(c.New(), b[pdu.HeaderLen:])
	}
	return json.Marshal(frame)
}

func bodyToJSON(m proto.Message, b []byte) any {
	nothing := map[string]any{"unreadable": b}
	if err := (proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return nothing
	}
	text, err := protojson.MarshalOptions{AllowPartial: true}.Marshal(m)
	if err != nil {
		return nothing
	}
	body, err := parse(text)
	if err != nil {
		return nothing
	}
	visit(body, func(object map[string]any, name, wrapped string) error {
		data, _ := object[wrapped].(string)
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil
		}
		words, err := content.DecryptText(raw)
		if err == nil && utf8.ValidString(words) && bytes.Equal(content.EncryptText(words), raw) {
			object[name] = words
			delete(object, wrapped)
		}
		return nil
	})
	return body
}

// fromJSON appends the PDU of a text, if it is one. The plain form of what it holds is held against the wrapped one.
func (c *Conn) fromJSON(dst, text []byte) ([]byte, error) {
	var frame struct {
		Service *uint16         `json:"service"`
		Command string          `json:"command"`
		Seq     *uint16         `json:"seq"`
		Body    json.RawMessage `json:"body"`
		Error   *string         `json:"error"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	wrong := func(err error) ([]byte, error) { return dst, fmt.Errorf("%w: %.400s", err, text) }
	if err := d.Decode(&frame); err != nil {
		return wrong(err)
	}
	if frame.Seq == nil {
		return wrong(errors.New("a text without a seq"))
	}
	if frame.Error != nil {
		if frame.Body != nil || frame.Service != nil {
			return wrong(errors.New("a text that is both an error and a PDU"))
		}
		c.refused.Lock()
		defer c.refused.Unlock()
		c.refused.all = append(c.refused.all, Refusal{frame.Command, *frame.Seq, *frame.Error})
		return dst, nil
	}
	var command client.Command
	for one := range client.Commands() {
		if string(one.Message.Name()) == frame.Command {
			command = one
		}
	}
	if command.ID == 0 || frame.Service == nil || *frame.Service != command.ID>>8 || frame.Body == nil {
		return wrong(errors.New("a text of no command, or not of its service, or without a body"))
	}
	body, err := parse(frame.Body)
	if err != nil {
		return wrong(err)
	}
	if err := visit(body, takePlain); err != nil {
		return wrong(err)
	}
	stripped, err := json.Marshal(body)
	if err != nil {
		return wrong(err)
	}
	m := command.New()
	if err := protojson.Unmarshal(stripped, m); err != nil {
		return wrong(err)
	}
	b, err := pdu.AppendMessage(dst, command.ID, *frame.Seq, m)
	if err != nil {
		return wrong(err)
	}
	return b, nil
}

// takePlain takes the plain form out of an object that has the wrapped one, and says if the two do not belong together.
func takePlain(object map[string]any, name, wrapped string) error {
	data, ok := object[wrapped].(string)
	if !ok {
		return nil // a message of its own with such a field
	}
	shown, has := object[name]
	delete(object, name)
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return err
	}
	words, err := content.DecryptText(raw)
	want := err == nil && utf8.ValidString(words)
	if kind, ok := object["msgType"]; ok && !slices.Contains([]any{"MSG_TYPE_SINGLE_TEXT", "MSG_TYPE_GROUP_TEXT"}, kind) {
		want = false
	}
	if has != want || has && shown != words {
		return fmt.Errorf("%s does not go with %s", name, wrapped)
	}
	return nil
}

// parse reads JSON without making floats of its numbers.
func parse(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// visit calls f for each object within v and each plain form, inner ones first.
func visit(v any, f func(object map[string]any, name, wrapped string) error) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := visit(e, f); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, e := range v {
			if err := visit(e, f); err != nil {
				return err
			}
		}
		for _, p := range plain {
			if err := f(v, p[0], p[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

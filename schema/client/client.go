// Package client is the messages of the TeamTalk protocol: the catalogue of its commands, and codecs that keep its rules.
//
// The messages themselves are proto2 and live in the packages below this one, one for each of the protocol's files. Their
// rules are stricter than those of Go's protobuf runtime. To an original client an enum number that it does not know
// makes a required field missing, and a message with a missing required field is thrown away whole; Go keeps such
// numbers as if they were known. So everything that goes to or comes from a socket passes [Append] or one of the hand
// written encoders, and [Unmarshal], [Decode] or [ParseMsgData].
//
// Repeated numbers are written unpacked, as the original clients expect, and are accepted in both forms. Strings are meant
// to be UTF-8, but proto2 does not check it and neither does this package: who stores one where UTF-8 is required has
// to check.
package client

import (
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	// ErrUnknownCommand: the protocol assigns no message to the command id.
	ErrUnknownCommand = errors.New("unknown command")
	// ErrMalformed: the body is no message of its command: garbage, a required field missing, or ErrEnum.
	ErrMalformed = errors.New("malformed body")
	// ErrEnum: an enum field holds a number outside its list.
	ErrEnum = errors.New("enum number outside its list")
	// ErrIncomplete: a message to be sent lacks a required field.
	ErrIncomplete = errors.New("required field not set")
	// ErrWrongMessage: the message is not the one that its command carries.
	ErrWrongMessage = errors.New("message of another command")
)

// Direction tells who sends a command; a command may be sent by several.
type Direction uint8

const (
	// FromClient: clients send it to a server.
	FromClient Direction = 1 << iota
	// ToClient: servers send it to clients.
	ToClient
	// BetweenServers: the servers of a TeamTalk installation send it to each other.
	BetweenServers
)

// Command is one command of the protocol.
type Command struct {
	// ID stands in the header of the PDU; it alone decides what the body is.
	ID uint16
	// Name is the name of ID in the protocol's enum, such as CID_MSG_DATA.
	Name string
	// Direction tells who sends it.
	Direction Direction
	// Message is the full name of the message in the body, such as IM.Message.IMMsgData.
	Message protoreflect.FullName

	new func() proto.Message
}

// Service is the service id that goes with the command.
func (c Command) Service() uint16 { return c.ID >> 8 }

// New makes an empty message of the command.
func (c Command) New() proto.Message { return c.new() }

func command[T any, P interface {
	*T
	proto.Message
}](id uint16, name string, d Direction) Command {
	return Command{
		ID:        id,
		Name:      name,
		Direction: d,
		Message:   P(nil).ProtoReflect().Descriptor().FullName(),
		new:       func() proto.Message { return P(new(T)) },
	}
}

// The ids are dense enough for a table: services 1 to 7 and 32, of at most 0x34 commands each.
const (
	services           = ServiceExtension + 1
	commandsPerService = 0x40
)

var byID = func() (t [services][commandsPerService]*Command) {
	for i := range table {
		c := &table[i]
		t[c.ID>>8][c.ID&0xff] = c
	}
	return t
}()

func find(cmd uint16) *Command {
	if cmd>>8 >= services || cmd&0xff >= commandsPerService {
		return nil
	}
	return byID[cmd>>8][cmd&0xff]
}

// Commands lists every command of the protocol, by id.
func Commands() iter.Seq[Command] {
	return func(yield func(Command) bool) {
		for _, c := range table {
			if !yield(c) {
				return
			}
		}
	}
}

// Lookup finds a command by its id.
func Lookup(cmd uint16) (Command, bool) {
	c := find(cmd)
	if c == nil {
		return Command{}, false
	}
	return *c, true
}

// Service is the service id that goes with a command: original clients dispatch on it, so what is sent must carry the
// right one. It is 0 for a command that the protocol does not assign.
func Service(cmd uint16) uint16 {
	if c := find(cmd); c != nil {
		return c.Service()
	}
	return 0
}

// Name is a command's name for people: that of the protocol's enum, or the number if it is not assigned.
func Name(cmd uint16) string {
	if c := find(cmd); c != nil {
		return c.Name
	}
	return fmt.Sprintf("0x%04x", cmd)
}

// Decode reads the body of a command under the rules of [Unmarshal]. The message keeps nothing of body. The error is
// ErrUnknownCommand or wraps ErrMalformed.
func Decode(cmd uint16, body []byte) (proto.Message, error) {
	c := find(cmd)
	if c == nil {
		return nil, fmt.Errorf("%w 0x%04x", ErrUnknownCommand, cmd)
	}
	m := c.new()
	if err := Unmarshal(body, m); err != nil {
		return nil, err
	}
	return m, nil
}

// Unmarshal reads body into m, which is cleared first and keeps nothing of body. A required field that is missing, or that
// is an enum with a number outside its list, is an error, at any depth; an optional enum with such a number counts as
// not set, as it does for the original. Unknown fields are dropped. The error wraps ErrMalformed.
func Unmarshal(body []byte, m proto.Message) error {
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r := m.ProtoReflect()
	if p := planOf(r.Descriptor()); p != nil {
		if err := p.checkReceived(r); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
	return nil
}

// Append appends m's encoding to dst. Nothing is appended, and ErrEnum or ErrIncomplete is returned, when an original
// client would throw m away: for an enum number outside its list, required or not, or a required field that is not set.
func Append(dst []byte, m proto.Message) ([]byte, error) {
	r := m.ProtoReflect()
	if p := planOf(r.Descriptor()); p != nil {
		if err := p.checkSent(r); err != nil {
			return dst, err
		}
	}
	b, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	return b, nil
}

// AppendCommand is [Append] for a message that must be the one that cmd carries; else the error is ErrUnknownCommand or
// ErrWrongMessage.
func AppendCommand(dst []byte, cmd uint16, m proto.Message) ([]byte, error) {
	c := find(cmd)
	if c == nil {
		return dst, fmt.Errorf("%w 0x%04x", ErrUnknownCommand, cmd)
	}
	if name := m.ProtoReflect().Descriptor().FullName(); name != c.Message {
		return dst, fmt.Errorf("%w: %s for %s", ErrWrongMessage, name, c.Name)
	}
	return Append(dst, m)
}

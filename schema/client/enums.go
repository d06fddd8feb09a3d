package client

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// plan says where in a message enum numbers are found, so that a check walks only there. Messages without any have no
// plan.
type plan struct {
	enums    []protoreflect.FieldDescriptor
	messages []nested
}

type nested struct {
	field protoreflect.FieldDescriptor
	plan  *plan
}

// plans holds the *plan of each message descriptor seen, nil if it needs no check. It is bounded by the number of
// message types in the program.
var plans sync.Map

func planOf(d protoreflect.MessageDescriptor) *plan {
	if p, ok := plans.Load(d); ok {
		return p.(*plan)
	}
	p, _ := plans.LoadOrStore(d, makePlan(d, nil))
	return p.(*plan)
}

// makePlan makes the plan of d. path holds the messages around it: a message inside itself is refused, because the
// protocol has none and the walk would have no bound.
func makePlan(d protoreflect.MessageDescriptor, path []protoreflect.FullName) *plan {
	for _, name := range path {
		if name == d.FullName() {
			panic("client: recursive message " + string(name))
		}
	}
	path = append(path, d.FullName())
	var p plan
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		switch {
		case f.IsMap():
			panic("client: map field " + string(f.FullName()))
		case f.Enum() != nil:
			p.enums = append(p.enums, f)
		case f.Message() != nil:
			if inner := makePlan(f.Message(), path); inner != nil {
				p.messages = append(p.messages, nested{f, inner})
			}
		}
	}
	if p.enums == nil && p.messages == nil {
		return nil
	}
	return &p
}

func known(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
	return f.Enum().Values().ByNumber(v.Enum()) != nil
}

func outside(f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	return fmt.Errorf("%w: %s = %d", ErrEnum, f.FullName(), v.Enum())
}

// checkReceived refuses unknown numbers in required fields and clears optional ones.
func (p *plan) checkReceived(m protoreflect.Message) error {
	return p.check(m, func(f protoreflect.FieldDescriptor, v protoreflect.Value) error {
		if f.Cardinality() == protoreflect.Optional {
			m.Clear(f)
			return nil
		}
		return outside(f, v)
	}, (*plan).checkReceived)
}

// checkSent refuses unknown numbers everywhere.
func (p *plan) checkSent(m protoreflect.Message) error {
	return p.check(m, outside, (*plan).checkSent)
}

func (p *plan) check(m protoreflect.Message, unknown func(protoreflect.FieldDescriptor, protoreflect.Value) error,
	inner func(*plan, protoreflect.Message) error) error {
	for _, f := range p.enums {
		if !m.Has(f) {
			continue
		}
		v := m.Get(f)
		if f.IsList() {
			for l, i := v.List(), 0; i < l.Len(); i++ {
				if !known(f, l.Get(i)) {
					return outside(f, l.Get(i))
				}
			}
			continue
		}
		if !known(f, v) {
			if err := unknown(f, v); err != nil {
				return err
			}
		}
	}
	for _, n := range p.messages {
		if !m.Has(n.field) {
			continue
		}
		v := m.Get(n.field)
		if !n.field.IsList() {
			if err := inner(n.plan, v.Message()); err != nil {
				return err
			}
			continue
		}
		for l, i := v.List(), 0; i < l.Len(); i++ {
			if err := inner(n.plan, l.Get(i).Message()); err != nil {
				return err
			}
		}
	}
	return nil
}

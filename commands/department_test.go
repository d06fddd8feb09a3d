package commands

import (
	"strings"
	"testing"

	"godwit/schema/event"
)

func TestMakeDepartment(t *testing.T) {
	made := func(number, parent uint32) *event.DepartmentChanged {
		return &event.DepartmentChanged{Department: number, Make: true, Name: new("Sales"), Priority: new(uint32(2)), Parent: &parent, By: "admin"}
	}
	c := MakeDepartment{At: noon, Name: "Sales", Priority: 2, By: "admin"}
	below := func(number, parent uint32) MakeDepartment {
		c := c
		c.Number, c.Parent = number, parent
		return c
	}
	play(t, []scenario[DepartmentState]{
		{name: "at the root, with the next number", when: c, then: made(0, 0)},
		{name: "below another", given: DepartmentState{Above: []uint32{5, 1}}, when: below(0, 5), then: made(0, 5)},
		{name: "with a number", when: below(9, 0), then: made(9, 0)},
		{name: "with one that is taken", given: DepartmentState{Exists: true}, when: below(9, 0), refuse: ErrDepartmentTaken},
		{name: "below nothing", when: below(0, 5), refuse: ErrNoSuchDepartment},
		{name: "below another than was read", given: DepartmentState{Above: []uint32{6, 5}}, when: below(0, 5), refuse: ErrNoSuchDepartment},
		{name: "below itself", when: below(9, 9), refuse: ErrDepartmentLoop},
		{name: "no name", when: MakeDepartment{At: noon}, refuse: ErrNameEmpty},
		{name: "a name that is too long", when: MakeDepartment{At: noon, Name: strings.Repeat("x", 65)}, refuse: ErrField},
		{name: "no time", when: MakeDepartment{Name: "Sales"}, refuse: ErrIncomplete},
	})
}

func TestChangeDepartment(t *testing.T) {
	under := func(parent uint32) ChangeDepartment {
		return ChangeDepartment{At: noon, Department: 5, Parent: &parent, By: "admin"}
	}
	there := DepartmentState{Exists: true}
	play(t, []scenario[DepartmentState]{
		{name: "only what is set", given: there, when: ChangeDepartment{At: noon, Department: 5, Name: new("Sales")},
			then: &event.DepartmentChanged{Department: 5, Name: new("Sales")}},
		{name: "deleted", given: there, when: ChangeDepartment{At: noon, Department: 5, Deleted: new(true), Priority: new(uint32(0))},
			then: &event.DepartmentChanged{Department: 5, Deleted: new(true), Priority: new(uint32(0))}},
		{name: "elsewhere", given: DepartmentState{Exists: true, Above: []uint32{7, 1}}, when: under(7),
			then: &event.DepartmentChanged{Department: 5, Parent: new(uint32(7)), By: "admin"}},
		{name: "to the root", given: there, when: under(0), then: &event.DepartmentChanged{Department: 5, Parent: new(uint32(0)), By: "admin"}},
		{name: "below itself", given: there, when: under(5), refuse: ErrDepartmentLoop},
		{name: "below its own child", given: DepartmentState{Exists: true, Above: []uint32{7, 6, 5, 1}}, when: under(7), refuse: ErrDepartmentLoop},
		{name: "below nothing", given: there, when: under(7), refuse: ErrNoSuchDepartment},
		{name: "no name", given: there, when: ChangeDepartment{At: noon, Department: 5, Name: new("")}, refuse: ErrNameEmpty},
		{name: "nothing", given: there, when: ChangeDepartment{At: noon, Department: 5}, refuse: ErrNothingToChange},
		{name: "of none", when: under(0), refuse: ErrNoSuchDepartment},
		{name: "of number 0", given: there, when: ChangeDepartment{At: noon, Name: new("Sales")}, refuse: ErrNoSuchDepartment},
		{name: "no time", given: there, when: ChangeDepartment{Department: 5, Name: new("Sales")}, refuse: ErrIncomplete},
	})
}

func TestReserveGroup(t *testing.T) {
	play(t, []scenario[struct{}]{
		{name: "the next number", when: alone{ReserveGroup{At: noon, By: "admin"}}, then: &event.GroupReserved{By: "admin"}},
		{name: "one of an import", when: alone{ReserveGroup{At: noon, Number: 12}}, then: &event.GroupReserved{Number: 12}},
		{name: "no time", when: alone{ReserveGroup{}}, refuse: ErrIncomplete},
	})
}

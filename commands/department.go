package commands

import (
	"slices"
	"time"

	"godwit/schema/event"
)

// MaxDepartmentName is the longest name of a department, in characters.
const MaxDepartmentName = 64

// DepartmentState is what the people view knows about a department and about the one that it is to be put under.
type DepartmentState struct {
	Exists bool // the department of the command; deleted ones do
	// Above is the wanted parent and all above it, the root last; empty if there is no such department.
	Above []uint32
}

// checkParent refuses a place that is not there, or that is below the department itself.
func (s DepartmentState) checkParent(department, parent uint32) error {
	switch {
	case parent == 0:
		return nil
	case parent == department:
		return ErrDepartmentLoop
	case len(s.Above) == 0 || s.Above[0] != parent:
		return ErrNoSuchDepartment
	case slices.Contains(s.Above, department):
		return ErrDepartmentLoop
	}
	return nil
}

// MakeDepartment makes a department.
type MakeDepartment struct {
	At       time.Time
	Number   uint32 // 0: the next free one, given by the fold
	Name     string
	Priority uint32 // order in which clients show departments
	Parent   uint32 // 0: the root
	By       string
}

// Decide gives DepartmentChanged.
func (c MakeDepartment) Decide(s DepartmentState) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if err := checkDepartmentName(c.Name); err != nil {
		return nil, err
	}
	if c.Number != 0 && s.Exists {
		return nil, ErrDepartmentTaken
	}
	if c.Parent != 0 {
		if err := s.checkParent(c.Number, c.Parent); err != nil {
			return nil, err
		}
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_DepartmentChanged{DepartmentChanged: &event.DepartmentChanged{
		Department: c.Number, Make: true, Name: &c.Name, Priority: &c.Priority, Parent: &c.Parent, By: cut(c.By, maxBy),
	}}}, nil
}

// ChangeDepartment changes the fields that are set. A deleted department is still sent to clients, which drop it; the people
// in it stay in it.
type ChangeDepartment struct {
	At         time.Time
	Department uint32
	Name       *string
	Priority   *uint32
	Parent     *uint32
	Deleted    *bool
	By         string
}

// Decide gives DepartmentChanged.
func (c ChangeDepartment) Decide(s DepartmentState) (*event.Event, error) {
	switch {
	case noTime(c.At):
		return nil, ErrIncomplete
	case c.Department == 0 || !s.Exists:
		return nil, ErrNoSuchDepartment
	case c.Name == nil && c.Priority == nil && c.Parent == nil && c.Deleted == nil:
		return nil, ErrNothingToChange
	}
	if c.Name != nil {
		if err := checkDepartmentName(*c.Name); err != nil {
			return nil, err
		}
	}
	if c.Parent != nil {
		if err := s.checkParent(c.Department, *c.Parent); err != nil {
			return nil, err
		}
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_DepartmentChanged{DepartmentChanged: &event.DepartmentChanged{
		Department: c.Department, Name: c.Name, Priority: c.Priority, Parent: c.Parent, Deleted: c.Deleted, By: cut(c.By, maxBy),
	}}}, nil
}

func checkDepartmentName(name string) error {
	if name == "" {
		return ErrNameEmpty
	}
	return checkField("name", name, MaxDepartmentName)
}

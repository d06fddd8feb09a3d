package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"godwit/commands"
	"godwit/schema/query"
)

// Department is a part of the organisation that clients show as a tree.
type Department struct {
	Number   uint32 `json:"number" minimum:"1"`
	Name     string `json:"name"`
	Priority uint32 `json:"priority" doc:"Order in which clients show departments"`
	Parent   uint32 `json:"parent" doc:"0: at the root"`
	Deleted  bool   `json:"deleted" doc:"Clients drop it; the people in it stay in it"`
	Updated  uint32 `json:"updated" doc:"Fold time of the last change, Unix seconds"`
}

func departmentOf(d *query.Department) Department {
	return Department{Number: d.GetDepartment(), Name: d.GetName(), Priority: d.GetPriority(), Parent: d.GetParent(),
		Deleted: d.GetDeleted(), Updated: d.GetUpdated()}
}

type departmentOut struct{ Body Department }

type OfDepartment struct {
	Department uint32 `path:"department" minimum:"1" maximum:"4294967295" doc:"Number of the department"`
}

func (a *API) departments() {
	const tag = "Departments"
	register(a, route{id: "list-departments", method: http.MethodGet, path: "/departments", scope: UsersRead, tag: tag,
		summary:     "List departments, the oldest change first",
		description: "Deleted ones are in the list as well. The cursor of the last page is given too: asked with it later, the list holds what has changed since."}, a.listDepartments)
	register(a, route{id: "create-department", method: http.MethodPost, path: "/departments", scope: DirectoryWrite, tag: tag, status: http.StatusCreated,
		summary: "Make a department"}, a.createDepartment)
	register(a, route{id: "change-department", method: http.MethodPatch, path: "/departments/{department}", scope: DirectoryWrite, tag: tag,
		summary: "Change a department"}, a.changeDepartment)
	register(a, route{id: "delete-department", method: http.MethodDelete, path: "/departments/{department}", scope: DirectoryWrite, tag: tag,
		summary: "Delete a department"}, a.deleteDepartment)
}

type departmentPage struct {
	Body struct {
		Departments []Department `json:"departments" nullable:"false"`
		More        bool         `json:"more" doc:"There is another page now"`
		Next        string       `json:"next" doc:"Cursor of the next page, or of what changes later"`
	}
}

func (a *API) listDepartments(ctx context.Context, in *struct{ Paged }) (*departmentPage, error) {
	since, err := in.number("departments")
	if err != nil {
		return nil, err
	}
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Departments{Departments: &query.Departments{Since: since, Limit: in.limit()}}})
	if err != nil {
		return nil, err
	}
	out := &departmentPage{}
	out.Body.Departments = []Department{}
	for _, d := range ans.GetDepartments().GetDepartments() {
		out.Body.Departments = append(out.Body.Departments, departmentOf(d))
	}
	out.Body.More = ans.GetDepartments().GetMore()
	out.Body.Next = cursor("departments", strconv.FormatUint(uint64(ans.GetDepartments().GetLatest()), 10))
	return out, nil
}

// allDepartments are all by number: a decision about one needs to know what is above it.
func (a *API) allDepartments(ctx context.Context) (map[uint32]*query.Department, error) {
	all := map[uint32]*query.Department{}
	for since := uint32(0); ; {
		ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_Departments{Departments: &query.Departments{Since: since}}})
		if err != nil {
			return nil, err
		}
		d := ans.GetDepartments()
		for _, one := range d.GetDepartments() {
			all[one.GetDepartment()] = one
		}
		if !d.GetMore() || d.GetLatest() <= since {
			return all, nil
		}
		since = d.GetLatest()
	}
}

// departmentState is what a decision about a department and its wanted parent needs.
func departmentState(all map[uint32]*query.Department, department uint32, parent *uint32) commands.DepartmentState {
	s := commands.DepartmentState{Exists: all[department] != nil}
	if parent == nil {
		return s
	}
	for d := all[*parent]; d != nil && !slices.Contains(s.Above, d.GetDepartment()); d = all[d.GetParent()] {
		s.Above = append(s.Above, d.GetDepartment())
	}
	return s
}

func (a *API) createDepartment(ctx context.Context, in *struct {
	Body struct {
		Name     string `json:"name" minLength:"1" maxLength:"64"`
		Number   uint32 `json:"number,omitempty" maximum:"2147483647" doc:"0: the next free one"`
		Priority uint32 `json:"priority,omitempty"`
		Parent   uint32 `json:"parent,omitempty"`
	}
}) (*departmentOut, error) {
	number, known, err := a.first(ctx, 0)
	if err != nil {
		return nil, err
	}
	all, err := a.allDepartments(ctx)
	if err != nil {
		return nil, err
	}
	b := in.Body
	if !known {
		ev, err := commands.MakeDepartment{
			At: a.now(), Number: b.Number, Name: b.Name, Priority: b.Priority, Parent: b.Parent, By: callOf(ctx).name,
		}.Decide(departmentState(all, b.Number, &b.Parent))
		res, err := a.people(ctx, 0, ev, err)
		if err != nil {
			return nil, err
		}
		number = res.ID
	}
	return a.department(ctx, number)
}

func (a *API) department(ctx context.Context, number uint32) (*departmentOut, error) {
	all, err := a.allDepartments(ctx)
	if err != nil {
		return nil, err
	}
	d := all[number]
	if d == nil {
		return nil, notFound(commands.ErrNoSuchDepartment.Name(), fmt.Sprintf("there is no department %d", number))
	}
	return &departmentOut{Body: departmentOf(d)}, nil
}

func (a *API) changeDepartment(ctx context.Context, in *struct {
	OfDepartment
	Body struct {
		Name     *string `json:"name,omitempty" minLength:"1" maxLength:"64"`
		Priority *uint32 `json:"priority,omitempty"`
		Parent   *uint32 `json:"parent,omitempty" doc:"0: the root"`
		Deleted  *bool   `json:"deleted,omitempty" doc:"false brings a deleted one back"`
	}
}) (*departmentOut, error) {
	b := in.Body
	c := commands.ChangeDepartment{Department: in.Department, Name: b.Name, Priority: b.Priority, Parent: b.Parent, Deleted: b.Deleted}
	if err := a.alterDepartment(ctx, c); err != nil {
		return nil, err
	}
	return a.department(ctx, in.Department)
}

func (a *API) deleteDepartment(ctx context.Context, in *OfDepartment) (*struct{}, error) {
	return nil, a.alterDepartment(ctx, commands.ChangeDepartment{Department: in.Department, Deleted: new(true)})
}

func (a *API) alterDepartment(ctx context.Context, c commands.ChangeDepartment) error {
	all, err := a.allDepartments(ctx)
	if err != nil {
		return err
	}
	c.At, c.By = a.now(), callOf(ctx).name
	ev, err := c.Decide(departmentState(all, c.Department, c.Parent))
	_, err = a.people(ctx, 0, ev, err)
	return err
}

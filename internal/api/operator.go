package api

import (
	"context"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"godwit/internal/admin"
)

const operatorName = "operator"

// Operator has a request of the operator's served: see [admin.API].
func (a *API) Operator(once bool, next http.Handler) http.Handler {
	serve := func(w http.ResponseWriter, r *http.Request) {
		c := callOf(r.Context())
		next.ServeHTTP(w, r.WithContext(admin.WithRequest(r.Context(), admin.Request{Name: c.request(0), Again: c.again})))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		c, err := a.gate.admit(r.Context(), r.RemoteAddr, bearer(r))
		if err == nil && !c.all {
			err = unauthorised("send the token of the data directory (file admin.token), not an API key")
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="godwit"`)
			a.problem("admit", err).write(w)
			return
		}
		if once {
			ctx, cancel := context.WithTimeout(r.Context(), runLimit)
			defer cancel()
			r = r.WithContext(ctx)
		}
		if err := a.once(w, r, c, once, serve); err != nil {
			a.problem("operator", err).write(w)
		}
	})
}

// Permitted has a request served to who has a scope: see [admin.API].
func (a *API) Permitted(scope string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		c, err := a.gate.admit(r.Context(), r.RemoteAddr, bearer(r))
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="godwit"`)
			a.problem("admit", err).write(w)
			return
		}
		if !c.may(Scope(scope)) {
			lacks(Scope(scope)).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Who tells who shows a credential: see [admin.API].
func (a *API) Who(w http.ResponseWriter, r *http.Request, credential string) (admin.Caller, bool) {
	c, err := a.gate.admit(r.Context(), r.RemoteAddr, credential)
	if err != nil {
		a.problem("admit", err).write(w)
		return admin.Caller{}, false
	}
	who := admin.Caller{Name: c.name, Scopes: []string{}}
	for _, s := range Scopes {
		if c.may(s) {
			who.Scopes = append(who.Scopes, string(s))
		}
	}
	return who, true
}

// operators puts the operator's own requests into the document. Package admin serves them on the same port, and only to who
// has the token of the data directory.
func (a *API) operators() {
	doc := a.huma.OpenAPI()
	doc.Components.SecuritySchemes[operatorName] = &huma.SecurityScheme{Type: "http", Scheme: "bearer", Description: "The token of the data directory."}
	schema := func(of any) *huma.Schema {
		return doc.Components.Schemas.Schema(reflect.TypeOf(of), true, "")
	}
	content := func(kind string, of any) map[string]*huma.MediaType {
		return map[string]*huma.MediaType{kind: {Schema: schema(of)}}
	}
	const (
		plain = "application/json"
		lines = "application/x-ndjson"
	)
	for _, o := range []struct {
		id, method, path, summary string
		in, out                   any
		inKind, outKind           string
		status                    int
		query                     map[string]*huma.Schema
		params                    []string
		once                      bool
		scope                     Scope // that a key needs for it; empty: no key does
	}{
		{id: "operator-add-person", once: true, method: http.MethodPost, path: "/people", summary: "Make an account",
			in: admin.NewPerson{}, inKind: plain, out: admin.Person{}, outKind: plain, status: http.StatusCreated},
		{id: "operator-import-people", method: http.MethodPost, path: "/people:import", summary: "Make many accounts, one a line",
			in: admin.NewPerson{}, inKind: lines, out: admin.ImportProgress{}, outKind: lines},
		{id: "operator-list-people", method: http.MethodGet, path: "/people", summary: "List people by number", out: admin.Page{}, outKind: plain,
			query: map[string]*huma.Schema{"after": {Type: huma.TypeInteger}, "limit": {Type: huma.TypeInteger}}},
		{id: "operator-set-password", once: true, method: http.MethodPost, path: "/people/{name}/password", summary: "Set a password", params: []string{"name"},
			in: admin.Password{}, inKind: plain, status: http.StatusNoContent},
		{id: "operator-disable-person", once: true, method: http.MethodPost, path: "/people/{name}/disable", summary: "Close an account", params: []string{"name"}, status: http.StatusNoContent},
		{id: "operator-enable-person", once: true, method: http.MethodPost, path: "/people/{name}/enable", summary: "Open an account again", params: []string{"name"}, status: http.StatusNoContent},
		{id: "operator-add-friend", once: true, method: http.MethodPut, path: "/friends/{a}/{b}", summary: "Make two people friends", params: []string{"a", "b"}, status: http.StatusNoContent},
		{id: "operator-remove-friend", once: true, method: http.MethodDelete, path: "/friends/{a}/{b}", summary: "End a friendship", params: []string{"a", "b"}, status: http.StatusNoContent},
		{id: "operator-status", method: http.MethodGet, path: "/status", summary: "What the server says about itself", out: admin.Status{}, outKind: plain, scope: StatusRead},
		{id: "operator-replay", method: http.MethodPost, path: "/replay", summary: "Rebuild and compare the views", out: admin.ReplayProgress{}, outKind: lines,
			query: map[string]*huma.Schema{"verify": {Type: huma.TypeBoolean}}},
	} {
		op := &huma.Operation{
			OperationID: o.id, Method: o.method, Path: Prefix + o.path, Summary: o.summary, Tags: []string{"Operator"},
			Security:  []map[string][]string{{operatorName: {}}},
			Responses: map[string]*huma.Response{"default": {Description: "Error", Content: content("application/problem+json", Problem{})}},
		}
		if o.scope != "" {
			op.Security = append(op.Security, map[string][]string{securityName: {string(o.scope)}})
		}
		if o.status == 0 {
			o.status = http.StatusOK
		}
		ok := &huma.Response{Description: http.StatusText(o.status)}
		if o.out != nil {
			ok.Content = content(o.outKind, o.out)
		}
		op.Responses[strconv.Itoa(o.status)] = ok
		if o.in != nil {
			op.RequestBody = &huma.RequestBody{Required: true, Content: content(o.inKind, o.in)}
		}
		if o.once {
			op.Parameters = append(op.Parameters, idempotencyParam())
		}
		for _, name := range o.params {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
		for name, s := range o.query {
			op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "query", Schema: s})
		}
		doc.AddOperation(op)
	}
}

package api_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"godwit/internal/api"
	"godwit/schema/event"
	"godwit/schema/query"
)

func TestSessionsAreListedAndKicked(t *testing.T) {
	r := newRig(t)
	r.people(2)
	id := r.login(1)
	var list struct{ Sessions []api.Session }
	r.ok(http.StatusOK, "GET", "/users/1/sessions", nil, &list)
	if len(list.Sessions) != 1 || list.Sessions[0].ID != id || list.Sessions[0].Device != "desktop" || list.Sessions[0].ClientType != 1 ||
		list.Sessions[0].Node != r.node.Life().String() || list.Sessions[0].Opened.IsZero() {
		t.Fatalf("%+v", list)
	}
	r.refused(http.StatusNotFound, "no_such_session", "DELETE", "/users/2/sessions/"+id, nil)
	r.refused(http.StatusUnprocessableEntity, "invalid", "DELETE", "/users/1/sessions/"+strings.Repeat("!", 26), nil)
	r.refused(http.StatusNotFound, "no_such_person", "DELETE", "/users/9/sessions", nil)
	r.ok(http.StatusNoContent, "DELETE", "/users/1/sessions/"+id, nil, nil)
	r.refused(http.StatusNotFound, "no_such_session", "DELETE", "/users/1/sessions/"+id, nil)
	r.login(1)
	r.ok(http.StatusNoContent, "DELETE", "/users/1/sessions", nil, nil)
	r.ok(http.StatusOK, "GET", "/users/1/sessions", nil, &list)
	if len(list.Sessions) != 0 {
		t.Errorf("%+v", list)
	}
	kicked := 0
	for _, ev := range r.events(event.Presence) {
		if e := ev.GetSessionEnded(); e != nil {
			if kicked++; e.Reason != event.EndReason_END_REASON_ADMIN || e.By != "operator" {
				t.Errorf("%v", e)
			}
		}
	}
	if kicked != 2 {
		t.Errorf("%d sessions ended", kicked)
	}
}

func TestDevicesAreSet(t *testing.T) {
	r := newRig(t)
	r.people(2)
	var d api.Device
	r.ok(http.StatusOK, "GET", "/users/1/device", nil, &d)
	if d.Type != "none" || d.Token != "" || d.QuietNights {
		t.Errorf("%+v", d)
	}
	r.ok(http.StatusOK, "PUT", "/users/1/device", map[string]any{"type": "android", "token": "t"}, &d)
	r.ok(http.StatusOK, "PUT", "/users/1/quiet-nights", map[string]any{"on": true}, &d)
	if d.Type != "android" || d.Token != "t" || !d.QuietNights {
		t.Errorf("%+v", d)
	}
	r.ok(http.StatusOK, "PUT", "/users/2/device", map[string]any{"type": "ios", "token": "t"}, &d)
	r.ok(http.StatusOK, "GET", "/users/1/device", nil, &d)
	if d.Token != "" || d.Type != "none" || !d.QuietNights {
		t.Errorf("the token is somebody else's now: %+v", d)
	}
	r.ok(http.StatusNoContent, "DELETE", "/users/2/device", nil, nil)
	r.ok(http.StatusNoContent, "DELETE", "/users/2/device", nil, nil)
	r.ok(http.StatusOK, "GET", "/users/2/device", nil, &d)
	if d.Type != "none" {
		t.Errorf("%+v", d)
	}
	r.refused(http.StatusUnprocessableEntity, "invalid", "PUT", "/users/1/device", map[string]any{"type": "none", "token": "t"})
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/9/device", nil)
	r.refused(http.StatusNotFound, "no_such_person", "PUT", "/users/9/device", map[string]any{"type": "ios", "token": "t"})
	r.refused(http.StatusNotFound, "no_such_person", "DELETE", "/users/9/device", nil)
	r.refused(http.StatusNotFound, "no_such_person", "PUT", "/users/9/quiet-nights", map[string]any{"on": true})
}

func TestDepartmentsAreATree(t *testing.T) {
	r := newRig(t)
	var d api.Department
	r.ok(http.StatusCreated, "POST", "/departments", map[string]any{"name": "all", "priority": 7}, &d)
	if d.Number != 1 || d.Name != "all" || d.Priority != 7 || d.Parent != 0 || d.Deleted || d.Updated == 0 {
		t.Errorf("%+v", d)
	}
	r.ok(http.StatusCreated, "POST", "/departments", map[string]any{"name": "sales", "parent": 1}, &d)
	r.ok(http.StatusCreated, "POST", "/departments", map[string]any{"name": "east", "parent": 2, "number": 9}, &d)
	if d.Number != 9 || d.Parent != 2 {
		t.Errorf("%+v", d)
	}
	var page struct {
		Departments []api.Department
		More        bool
		Next        string
	}
	seen := 0
	for next := ""; ; next = page.Next {
		r.ok(http.StatusOK, "GET", "/departments?limit=2&cursor="+next, nil, &page)
		if seen += len(page.Departments); !page.More {
			break
		}
	}
	if seen != 3 {
		t.Errorf("%d departments", seen)
	}
	r.ok(http.StatusOK, "PATCH", "/departments/2", map[string]any{"name": "selling"}, &d)
	r.ok(http.StatusNoContent, "DELETE", "/departments/9", nil, nil)
	r.ok(http.StatusOK, "GET", "/departments?cursor="+page.Next, nil, &page)
	if len(page.Departments) != 2 || page.Departments[0].Name != "selling" || !page.Departments[1].Deleted {
		t.Errorf("changed since: %+v", page.Departments)
	}
	r.ok(http.StatusOK, "PATCH", "/departments/9", map[string]any{"deleted": false}, &d)
	if d.Deleted {
		t.Error("it is still deleted")
	}
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{409, "department_loop", "PATCH", "/departments/1", map[string]any{"parent": 9}},
		{404, "no_such_department", "PATCH", "/departments/1", map[string]any{"parent": 5}},
		{404, "no_such_department", "PATCH", "/departments/5", map[string]any{"name": "x"}},
		{404, "no_such_department", "DELETE", "/departments/5", nil},
		{404, "no_such_department", "POST", "/departments", map[string]any{"name": "x", "parent": 5}},
		{409, "department_taken", "POST", "/departments", map[string]any{"name": "x", "number": 9}},
		{422, "nothing_to_change", "PATCH", "/departments/1", map[string]any{}},
		{422, "invalid", "POST", "/departments", map[string]any{}},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
}

func TestAWebhooksSecretIsShownOnce(t *testing.T) {
	r := newRig(t)
	var begun []string
	atMaking := false
	r.cfg.BeginWebhook = func(ctx context.Context, id string) error {
		begun = append(begun, id)
		ans, err := r.node.Ask(ctx, &query.Request{Body: &query.Request_Webhooks{Webhooks: &query.Webhooks{}}})
		atMaking = len(ans.GetWebhooks().GetWebhooks()) > 0
		return err
	}
	s := r.newSide(r.cfg)
	var w api.NewWebhook
	s.ok(http.StatusCreated, "POST", "/webhooks", map[string]any{"url": "https://example.org/push"}, &w)
	if secret, err := base64.RawURLEncoding.DecodeString(w.Secret); len(secret) != 32 || err != nil || w.URL != "https://example.org/push" || w.Disabled {
		t.Fatalf("%+v", w)
	}
	if len(begun) != 1 || begun[0] != w.ID || atMaking {
		t.Errorf("begun %q, made before: %v", begun, atMaking)
	}
	if list := s.ok(http.StatusOK, "GET", "/webhooks", nil, nil); strings.Contains(string(list.body), w.Secret) || !strings.Contains(string(list.body), w.ID) {
		t.Errorf("%s", list.body)
	}
	var changed api.Webhook
	s.ok(http.StatusOK, "PATCH", "/webhooks/"+w.ID, map[string]any{"url": "https://example.org/other", "disabled": true}, &changed)
	if changed.URL != "https://example.org/other" || !changed.Disabled {
		t.Errorf("%+v", changed)
	}
	ans, err := r.node.Ask(t.Context(), &query.Request{Body: &query.Request_Webhooks{Webhooks: &query.Webhooks{}}})
	if err != nil || ans.GetWebhooks().GetWebhooks()[0].GetSecret() != w.Secret {
		t.Errorf("the secret is not what it was: %v", err)
	}
	s.refused(http.StatusUnprocessableEntity, "nothing_to_change", "PATCH", "/webhooks/"+w.ID, map[string]any{})
	s.refused(http.StatusUnprocessableEntity, "field", "PATCH", "/webhooks/"+w.ID, map[string]any{"url": "ftp://x"})
	s.ok(http.StatusNoContent, "DELETE", "/webhooks/"+w.ID, nil, nil)
	s.refused(http.StatusNotFound, "no_such_webhook", "DELETE", "/webhooks/"+w.ID, nil)
	s.refused(http.StatusNotFound, "no_such_webhook", "PATCH", "/webhooks/"+w.ID, map[string]any{"disabled": false})
	for _, bad := range []string{"example.org", "https://a%zz/", "https://:80", "https://a/#b", "http:///x", "https://a b/"} {
		s.refused(http.StatusUnprocessableEntity, "field", "POST", "/webhooks", map[string]any{"url": bad})
	}
	if len(begun) != 1 {
		t.Errorf("begun for what was refused: %q", begun)
	}
	// One whose beginning could not be noted is not made.
	r.cfg.BeginWebhook = func(context.Context, string) error { return errors.New("the log is away") }
	r.newSide(r.cfg).refused(http.StatusInternalServerError, "internal", "POST", "/webhooks", map[string]any{"url": "https://example.org"})
	if list := s.ok(http.StatusOK, "GET", "/webhooks", nil, nil); !strings.Contains(string(list.body), "[]") {
		t.Errorf("%s", list.body)
	}
}

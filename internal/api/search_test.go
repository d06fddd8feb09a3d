package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"godwit/internal/api"
)

func TestPeopleAndGroupsAreFoundByParts(t *testing.T) {
	r := newRig(t)
	for _, u := range []map[string]any{
		{"name": "anna", "nick": "Änne Groß", "email": "a.gross@example.org"}, {"name": "bela", "nick": "Bela", "telephone": "0305551"}, {"name": "johanna", "nick": "Jo", "domain": "yuehan"},
	} {
		u["password"] = "x"
		r.ok(http.StatusCreated, "POST", "/users", u, nil)
	}
	for i := range 12 {
		r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": fmt.Sprintf("Team %c", 'A'+i), "creator": 1}, nil)
	}
	users := func(query string) (names, next string) {
		t.Helper()
		var p struct {
			Users []api.User
			Next  string
		}
		r.ok(http.StatusOK, "GET", "/users?"+query, nil, &p)
		var all []string
		for _, u := range p.Users {
			all = append(all, u.Name)
		}
		return strings.Join(all, " "), p.Next
	}
	for search, want := range map[string]string{
		"ann": "anna johanna", "ANNA": "anna johanna", "änne": "anna", "Example.org": "anna", "555": "bela", "yue": "johanna", "2": "bela", " bela ": "bela", "nobody": "", "%": "", "groß": "anna",
	} {
		if got, next := users("search=" + url.QueryEscape(search)); got != want || next != "" {
			t.Errorf("%q: %q, next %q; want %q", search, got, next, want)
		}
	}
	first, next := users("search=ann&limit=1")
	second, end := users("search=ann&limit=1&cursor=" + next)
	if first != "anna" || second != "johanna" || next == "" || end != "" {
		t.Errorf("by pages: %q, %q, next %q and %q", first, second, next, end)
	}
	groups := func(query string) (numbers, next string) {
		t.Helper()
		var p struct {
			Groups []api.Group
			Next   string
		}
		r.ok(http.StatusOK, "GET", "/groups?"+query, nil, &p)
		var all []string
		for _, g := range p.Groups {
			all = append(all, fmt.Sprint(g.Number))
		}
		return strings.Join(all, " "), p.Next
	}
	if got, _ := groups("search=team%20c"); got != "3" {
		t.Error(got)
	}
	if got, _ := groups("search=11"); got != "11" {
		t.Error(got)
	}
	first, next = groups("search=team&limit=7")
	second, end = groups("search=team&limit=7&cursor=" + next)
	if first != "1 2 3 4 5 6 7" || second != "8 9 10 11 12" || end != "" {
		t.Errorf("by pages: %q, %q, %q", first, second, end)
	}
}

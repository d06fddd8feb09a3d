package api_test

import (
	"net/http"
	"slices"
	"testing"

	"godwit/internal/api"
)

// Who blocks somebody he has never written with has no conversation by that.
func TestABlockMakesNoConversation(t *testing.T) {
	r := newRig(t)
	r.user("ann")
	r.user("bob")
	list := func() (names []string) {
		var page struct{ Conversations []api.Conversation }
		r.ok(http.StatusOK, "GET", "/users/1/conversations", nil, &page)
		for _, c := range page.Conversations {
			names = append(names, c.Name)
		}
		return names
	}
	r.ok(http.StatusNoContent, "PUT", "/users/1/blocks/2", nil, nil)
	if got := list(); len(got) != 0 {
		t.Errorf("after a block: %v", got)
	}
	r.ok(http.StatusNoContent, "DELETE", "/users/1/blocks/2", nil, nil)
	r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 2, "to_user": 1, "text": "hello"}, nil)
	if got := list(); !slices.Equal(got, []string{"user-2"}) {
		t.Errorf("after a message: %v", got)
	}
}

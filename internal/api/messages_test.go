package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"godwit/commands"
	"godwit/internal/api"
	imbase "godwit/schema/client/basedefine"
	"godwit/schema/client/content"
	"godwit/schema/event"
	"godwit/schema/frame"
)

func (s *side) send(body map[string]any) uint32 {
	s.t.Helper()
	var sent api.Sent
	s.ok(http.StatusCreated, "POST", "/messages", body, &sent)
	return sent.ID
}

// history is all that a user may read in a conversation, the newest first, two at a time.
func (s *side) history(user int, conversation string) (all []api.Message) {
	s.t.Helper()
	for next := ""; ; {
		var page struct {
			Messages []api.Message
			Next     string
		}
		s.ok(http.StatusOK, "GET", path("/users/%d/conversations/%s/messages?limit=2&cursor=%s", user, conversation, next), nil, &page)
		all = append(all, page.Messages...)
		if next = page.Next; next == "" {
			return all
		}
	}
}

func TestMessagesAreSentAsAUserAndAsTheSystem(t *testing.T) {
	r := newRig(t)
	r.people(3)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1, 2}}, nil)
	for i := range 5 {
		if id := r.send(map[string]any{"from": 1, "to_user": 2, "text": fmt.Sprint("grüße ", i)}); id != uint32(i+1) {
			t.Fatalf("message %d has id %d", i, id)
		}
	}
	voice := content.AppendVoice(nil, 3, []byte("audio"))
	r.send(map[string]any{"from": 2, "to_user": 1, "kind": "voice", "data": voice})
	got := r.history(2, "user-1")
	if len(got) != 6 || got[0].Kind != "voice" || !bytes.Equal(got[0].Data, voice) || got[0].From != 2 || got[0].Text != "" {
		t.Fatalf("%+v", got)
	}
	for i, m := range slices.Backward(got[1:]) {
		if want := fmt.Sprint("grüße ", 4-i); m.Text != want || m.From != 1 || m.Kind != "text" || m.Created.IsZero() || string(m.Data) != string(content.EncryptText(want)) {
			t.Errorf("%+v, want %s", m, want)
		}
	}
	r.send(map[string]any{"from": 1, "to_group": 1, "data": content.EncryptText("raw")})
	if id := r.send(map[string]any{"system": true, "to_group": 1, "text": "welcome"}); id != 2 {
		t.Errorf("id %d in the group", id)
	}
	r.send(map[string]any{"system": true, "from": 3, "to_group": 1, "text": "by no member"})
	team := r.history(1, "group-1")
	if len(team) != 3 || team[0].From != 3 || team[1].From != 0 || team[1].Text != "welcome" || team[2].Text != "raw" {
		t.Errorf("%+v", team)
	}
	if others := r.history(3, "group-1"); len(others) != 0 {
		t.Errorf("who is no member reads %+v", others)
	}

	// It moved no cursor.
	var unread struct {
		Total         uint32
		Conversations []api.Conversation
	}
	r.ok(http.StatusOK, "GET", "/users/1/unread", nil, &unread)
	if unread.Total != 9 || len(unread.Conversations) != 2 {
		t.Errorf("unread of 1: %+v", unread)
	}
	for _, c := range unread.Conversations {
		if want := map[string]uint32{"user-2": 6, "group-1": 3}[c.Name]; c.Unread != want || c.Head != want || c.Read != 0 || c.Latest == nil || c.Latest.ID != want {
			t.Errorf("%+v, want %d", c, want)
		}
	}
	for _, s := range r.bus.Streams() {
		for _, ev := range r.events(s) {
			if m := ev.GetMessageSent(); m != nil {
				if m.By != "operator" {
					t.Errorf("%v is by %q", m, m.By)
				}
				if system := m.Origin == event.Origin_ORIGIN_SYSTEM; m.Origin == event.Origin_ORIGIN_CLIENT || len(m.Session) > 0 || system != (m.From == 0 || m.From == 3) {
					t.Errorf("%v", m)
				}
			}
		}
	}
	for _, c := range []struct {
		status int
		name   string
		body   map[string]any
	}{
		{404, "no_such_person", map[string]any{"from": 9, "to_user": 1, "text": "x"}},
		{404, "no_such_person", map[string]any{"from": 1, "to_user": 9, "text": "x"}},
		{404, "no_such_group", map[string]any{"from": 1, "to_group": 9, "text": "x"}},
		{404, "no_such_group", map[string]any{"system": true, "to_group": 9, "text": "x"}},
		{409, "not_member", map[string]any{"from": 3, "to_group": 1, "text": "x"}},
		{422, "oneself", map[string]any{"from": 1, "to_user": 1, "text": "x"}},
		{422, "empty_body", map[string]any{"from": 1, "to_user": 2}},
		{422, "empty_body", map[string]any{"from": 1, "to_user": 2, "kind": "voice", "data": []byte{0, 0, 0, 1}}},
		{422, "invalid", map[string]any{"from": 1, "to_user": 2, "kind": "voice", "text": "x"}},
		{422, "invalid", map[string]any{"from": 1, "to_user": 2, "text": "x", "data": []byte("y")}},
		{422, "invalid", map[string]any{"from": 1, "text": "x"}},
		{422, "invalid", map[string]any{"from": 1, "to_user": 2, "to_group": 1, "text": "x"}},
		{422, "invalid", map[string]any{"to_user": 2, "text": "x"}},
		{422, "invalid", map[string]any{"system": true, "to_user": 2, "text": "x"}},
		{422, "invalid", map[string]any{"from": 1, "to_user": 2, "kind": "smell", "text": "x"}},
		{422, "too_large", map[string]any{"from": 1, "to_user": 2, "data": make([]byte, event.MaxEventBytes)}},
	} {
		r.refused(c.status, c.name, "POST", "/messages", c.body)
	}
	r.ok(http.StatusOK, "POST", "/users/3/disable", nil, nil)
	r.refused(http.StatusConflict, "person_disabled", "POST", "/messages", map[string]any{"from": 3, "to_user": 2, "text": "x"})
	r.refused(http.StatusConflict, "person_disabled", "POST", "/messages", map[string]any{"from": 2, "to_user": 3, "text": "x"})
}

func TestMessagesAreRecalledAndEdited(t *testing.T) {
	r := newRig(t)
	r.people(3)
	r.send(map[string]any{"from": 1, "to_user": 2, "text": "one"})
	r.send(map[string]any{"from": 2, "to_user": 1, "text": "two"})
	r.send(map[string]any{"from": 1, "to_user": 2, "kind": "voice", "data": content.AppendVoice(nil, 1, []byte("a"))})
	const at = "/users/1/conversations/user-2/messages/"
	var m api.Message
	r.ok(http.StatusOK, "PATCH", at+"1", map[string]any{"text": "uno"}, &m)
	r.ok(http.StatusOK, "PATCH", at+"1", map[string]any{"text": "uno"}, &m) // it is so already
	r.ok(http.StatusOK, "PATCH", at+"1", map[string]any{"data": content.EncryptText("eins")}, &m)
	if m.Text != "eins" || m.Edits != 2 || m.ID != 1 || m.From != 1 {
		t.Errorf("%+v", m)
	}
	var edits struct{ Edits []api.Edit }
	r.ok(http.StatusOK, "GET", at+"1/edits", nil, &edits)
	var texts []string
	for _, e := range edits.Edits {
		texts = append(texts, e.Text)
	}
	if !slices.Equal(texts, []string{"one", "uno", "eins"}) {
		t.Errorf("edits %q", texts)
	}
	r.ok(http.StatusNoContent, "DELETE", at+"2", nil, nil)
	r.ok(http.StatusNoContent, "DELETE", at+"2", nil, nil) // it is so already
	r.ok(http.StatusOK, "GET", at+"2", nil, &m)
	if !m.Recalled || m.ID != 2 || m.From != 2 {
		t.Errorf("%+v", m)
	}
	r.ok(http.StatusOK, "PATCH", at+"1", map[string]any{"text": "vier"}, nil)
	r.ok(http.StatusNoContent, "DELETE", at+"1", nil, nil)
	if got := r.ok(http.StatusOK, "GET", at+"1/edits", nil, &edits); len(edits.Edits) != 0 {
		t.Errorf("a recalled message has what it was: %s", got.body)
	}
	if got := r.ok(http.StatusOK, "GET", at+"2", nil, nil); strings.Contains(string(got.body), "data") {
		t.Errorf("a recalled message has its body: %s", got.body)
	}
	var receipts struct{ Read, Delivered []uint32 }
	r.ok(http.StatusOK, "GET", at+"3/receipts", nil, &receipts)
	if len(receipts.Read) != 0 || len(receipts.Delivered) != 0 {
		t.Errorf("%+v", receipts)
	}
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{404, "no_such_message", "GET", at + "9", nil},
		{404, "no_such_message", "PATCH", at + "9", map[string]any{"text": "x"}},
		{404, "no_such_message", "DELETE", at + "9", nil},
		{404, "no_such_message", "PATCH", at + "2", map[string]any{"text": "x"}},
		{404, "no_such_message", "GET", at + "9/edits", nil},
		{404, "no_such_message", "GET", at + "9/receipts", nil},
		{404, "no_such_message", "GET", "/users/3/conversations/user-2/messages/1", nil},
		{422, "empty_body", "PATCH", at + "3", map[string]any{}},
		{409, "not_allowed", "PATCH", at + "3", map[string]any{"text": "x"}},
		{422, "oneself", "GET", "/users/1/conversations/user-1/messages", nil},
		{422, "invalid", "GET", "/users/1/conversations/bob/messages", nil},
		{422, "invalid", "GET", "/users/1/conversations/user-9999999999/messages", nil},
		{404, "no_such_person", "GET", "/users/9/conversations/user-1/messages", nil},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
	for _, s := range r.bus.Streams() {
		for _, ev := range r.events(s) {
			if (ev.GetMessageRecalled() != nil || ev.GetMessageEdited() != nil) && byOf(ev) != "operator" {
				t.Errorf("%v is by %q", ev, byOf(ev))
			}
		}
	}
}

// delivered has a client of a user have received what was written up to a message.
func (r *rig) delivered(user uint32, conversation string, message uint32) {
	r.t.Helper()
	d := commands.AdvanceDelivered{At: time.Now(), From: commands.Session{User: user, ID: ulid.Make()}, Kind: imbase.SessionType_SESSION_TYPE_SINGLE, Peer: 1, MsgID: message}
	key := event.Direct(user, 1)
	if strings.HasPrefix(conversation, "group") {
		d.Kind, key = imbase.SessionType_SESSION_TYPE_GROUP, event.Group(1)
	}
	ev, err := d.Decide(commands.DeliveredState{})
	if err != nil {
		r.t.Fatal(err)
	}
	if res, err := r.node.AppendWait(r.t.Context(), key.Stream(r.bus.Partitions()), ev); err != nil || res.Void != frame.Void_VOID_NONE {
		r.t.Fatalf("delivered: %v, %v", res, err)
	}
}

// A mark that the API sets is one as a client's: it counts as read, and is a receipt for who wrote.
func TestReadMarksOnlyGoForward(t *testing.T) {
	r := newRig(t)
	r.people(4)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1, 2, 3}}, nil)
	for range 5 {
		r.send(map[string]any{"from": 1, "to_user": 2, "text": "x"})
		r.send(map[string]any{"from": 1, "to_group": 1, "text": "x"})
	}
	for _, conversation := range []string{"user-1", "group-1"} {
		at := path("/users/2/conversations/%s/read", conversation)
		for _, step := range []struct{ message, read uint32 }{{3, 3}, {3, 3}, {2, 3}, {4, 4}, {4_000_000_000, 5}, {1, 5}} {
			var set, got api.ReadMark
			r.ok(http.StatusOK, "PUT", at, map[string]any{"message": step.message}, &set)
			r.ok(http.StatusOK, "GET", at, nil, &got)
			if want := (api.ReadMark{Read: step.read, Head: 5, Unread: 5 - step.read}); set != want || got != want {
				t.Errorf("%s read to %d: %+v, then %+v, want %+v", conversation, step.message, set, got, want)
			}
			if step.message != 4 {
				continue
			}
			// Who wrote sees what is read, what has only arrived, and no more.
			r.delivered(2, conversation, 5)
			from := map[string]string{"user-1": "user-2", "group-1": "group-1"}[conversation]
			for message, want := range map[int][2][]uint32{4: {{2}, {}}, 5: {{}, {2}}} {
				var receipts struct{ Read, Delivered []uint32 }
				r.ok(http.StatusOK, "GET", path("/users/1/conversations/%s/messages/%d/receipts", from, message), nil, &receipts)
				if !slices.Equal(receipts.Read, want[0]) || !slices.Equal(receipts.Delivered, want[1]) {
					t.Errorf("receipts of message %d of %s: %+v, want %v", message, from, receipts, want)
				}
			}
		}
	}
	var unread struct{ Total uint32 }
	r.ok(http.StatusOK, "GET", "/users/2/unread", nil, &unread)
	if unread.Total != 0 {
		t.Errorf("%d unread", unread.Total)
	}
	marks := 0
	for _, s := range r.bus.Streams() {
		for _, ev := range r.events(s) {
			if m := ev.GetReadAdvanced(); m != nil {
				marks++
				if m.By != "operator" || m.User != 2 || len(m.Session) != 0 {
					t.Errorf("%v", m)
				}
			}
		}
	}
	if marks != 2*3 {
		t.Errorf("%d events for two times three marks that moved", marks)
	}
	one := map[string]any{"message": 1}
	for _, c := range []struct {
		status             int
		name, method, path string
		body               any
	}{
		{409, "not_member", "PUT", "/users/4/conversations/group-1/read", one},
		{409, "not_member", "GET", "/users/4/conversations/group-1/read", nil},
		{404, "no_such_group", "PUT", "/users/2/conversations/group-9/read", one},
		{404, "no_such_person", "PUT", "/users/2/conversations/user-9/read", one},
		{404, "no_such_person", "PUT", "/users/9/conversations/user-2/read", one},
		{404, "no_such_person", "GET", "/users/9/conversations/group-1/read", nil},
		{422, "oneself", "PUT", "/users/2/conversations/user-2/read", one},
		{422, "invalid", "PUT", "/users/2/conversations/bob/read", one},
		{422, "invalid", "PUT", "/users/2/conversations/user-1/read", map[string]any{"message": 0}},
		{422, "invalid", "PUT", "/users/2/conversations/user-1/read", map[string]any{}},
	} {
		r.refused(c.status, c.name, c.method, c.path, c.body)
	}
	r.ok(http.StatusNoContent, "DELETE", "/groups/1", nil, nil)
	r.refused(http.StatusNotFound, "no_such_group", "PUT", "/users/2/conversations/group-1/read", one)
}

func TestConversationsAreListedAndThenOnlyWhatChanged(t *testing.T) {
	r := newRig(t)
	r.people(5)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1, 2}}, nil)
	for _, other := range []int{2, 3, 4} {
		r.send(map[string]any{"from": other, "to_user": 1, "text": fmt.Sprint("from ", other)})
	}
	var page struct {
		Conversations []api.Conversation
		More          bool
		Next          string
	}
	list := func(next string) []string {
		page.Conversations = nil
		r.ok(http.StatusOK, "GET", "/users/1/conversations?cursor="+next, nil, &page)
		all := []string{}
		for _, c := range page.Conversations {
			all = append(all, fmt.Sprint(c.Name, " ", c.Head, " ", c.Unread))
		}
		slices.Sort(all)
		return all
	}
	if got := list(""); page.More || !slices.Equal(got, []string{"group-1 0 0", "user-2 1 1", "user-3 1 1", "user-4 1 1"}) {
		t.Fatalf("%q, more %v", got, page.More)
	}
	if got := list(page.Next); len(got) != 0 {
		t.Errorf("nothing changed, and %q", got)
	}
	r.send(map[string]any{"from": 3, "to_user": 1, "text": "again"})
	r.ok(http.StatusOK, "DELETE", "/groups/1/members/1", nil, nil)
	got := list(page.Next)
	if !slices.Contains(got, "user-3 2 2") || slices.ContainsFunc(got, func(c string) bool { return strings.HasPrefix(c, "user-2") }) {
		t.Errorf("after a message of 3: %q", got)
	}
	for _, c := range page.Conversations {
		if c.Name == "group-1" && !c.Left {
			t.Errorf("a group that was left: %+v", c)
		}
	}
	r.refused(http.StatusUnprocessableEntity, "invalid", "GET", "/users/1/conversations?cursor=xyz", nil)
	r.refused(http.StatusUnprocessableEntity, "invalid", "GET", "/users/2/conversations?cursor="+page.Next, nil)
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/9/conversations", nil)
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/9/unread", nil)
}

func TestAnExportHoldsAllThatIsKeptOfAPerson(t *testing.T) {
	r := newRig(t)
	r.people(4)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "members": []int{1, 2}}, nil)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "others", "members": []int{2, 3}}, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/1/friends/2", nil, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/3/friend-requests/1", map[string]any{"text": "hello"}, nil)
	r.ok(http.StatusNoContent, "PUT", "/users/1/blocks/4", nil, nil)
	r.ok(http.StatusOK, "PUT", "/users/1/device", map[string]any{"type": "ios", "token": "phone"}, nil)
	session := r.login(1)
	const many = 450 // more than two pages
	for i := range many {
		r.send(map[string]any{"from": 1, "to_user": 2, "text": fmt.Sprint("m", i)})
	}
	r.send(map[string]any{"from": 2, "to_group": 1, "text": "in the group"})
	r.send(map[string]any{"from": 2, "to_group": 2, "text": "not his"})
	r.send(map[string]any{"from": 2, "to_user": 3, "text": "not his"})
	got := r.ok(http.StatusOK, "GET", "/users/1/export", nil, nil)
	kinds := map[string]int{}
	texts := map[string]bool{}
	lines := 0
	last := ""
	for text := range bytes.Lines(got.body) {
		var l api.ExportLine
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		kinds[l.Kind]++
		switch last = l.Kind; l.Kind {
		case "message":
			texts[l.In+" "+l.Message.Text] = true
		case "session":
			if l.Session.ID != session {
				t.Errorf("session %+v", l.Session)
			}
		case "device":
			if l.Device.Token != "phone" {
				t.Errorf("device %+v", l.Device)
			}
		case "end":
			if l.Lines != lines {
				t.Errorf("the end counts %d lines of %d", l.Lines, lines)
			}
		}
		lines++
	}
	want := map[string]int{"user": 1, "device": 1, "friend": 1, "request": 1, "blocked": 1, "session": 1, "group": 1, "conversation": 2, "message": many + 1, "end": 1}
	for kind, n := range want {
		// The one whom he blocks may be a conversation as well.
		if kinds[kind] != n && !(kind == "conversation" && kinds[kind] == 3) {
			t.Errorf("%d lines of the kind %s, want %d", kinds[kind], kind, n)
		}
	}
	if last != "end" || !texts["group-1 in the group"] || !texts["user-2 m0"] || !texts["user-2 m449"] || len(texts) != many+1 || bytes.Contains(got.body, []byte("not his")) {
		t.Errorf("last %s, %d texts", last, len(texts))
	}
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/9/export", nil)
}

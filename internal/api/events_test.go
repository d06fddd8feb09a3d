package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"godwit/bus"
	"godwit/connector/delivery"
	"godwit/internal/api"
	"godwit/schema/event"
)

// page is a page of events.
type page struct {
	Events     []api.LogEvent
	Next       string
	SearchedTo *time.Time `json:"searched_to"`
	AsOf       int64      `json:"as_of"`
}

func (s *side) eventPage(query string) page {
	s.t.Helper()
	var p page
	s.ok(http.StatusOK, "GET", "/events"+query, nil, &p)
	return p
}

// types are those of events, oldest first.
func (p page) types() string {
	var all []string
	for _, e := range slices.Backward(p.Events) {
		all = append(all, e.Type)
	}
	return strings.Join(all, " ")
}

// told is a small history: ann and bob write to each other, and to a group with cid.
func told(t *testing.T) *rig {
	r := newRig(t)
	for _, name := range []string{"ann", "bob", "cid"} {
		r.user(name)
	}
	send := func(from int, to string, number int) {
		r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": from, to: number, "text": "hush hush"}, nil)
	}
	send(1, "to_user", 2)
	send(3, "to_user", 1)
	r.ok(http.StatusCreated, "POST", "/groups", map[string]any{"name": "team", "creator": 1, "members": []int{2, 3}}, nil)
	send(3, "to_group", 1)
	send(2, "to_group", 1)
	r.login(2)
	r.login(3)
	r.ok(http.StatusNoContent, "PUT", "/users/2/password", map[string]any{"password": "new secret"}, nil)
	r.ok(http.StatusOK, "PUT", "/users/2/conversations/user-1/read", map[string]any{"message": 1}, nil)
	return r
}

// many writes to the group at once, so that some share a record.
func (r *rig) many() {
	r.t.Helper()
	key := event.Group(1)
	results := make(chan delivery.Result, 20)
	for i := range cap(results) {
		ev := &event.Event{At: time.Now().UnixMilli(), Body: &event.Event_MessageSent{MessageSent: &event.MessageSent{
			Conversation: key[:], From: uint32(1 + i%3), Type: 17, Body: []byte("hush hush")}}}
		if err := r.node.Append(key.Stream(2), ev, func(res delivery.Result) { results <- res }); err != nil {
			r.t.Fatal(err)
		}
	}
	for range cap(results) {
		if res := <-results; res.Err != nil {
			r.t.Fatal(res.Err)
		}
	}
}

func TestTheLogIsListedAndFiltered(t *testing.T) {
	r := told(t)
	all := r.eventPage("?limit=200")
	if all.Next != "" || all.SearchedTo != nil || len(all.Events) < 12 {
		t.Fatalf("%d events, next %q, searched to %v", len(all.Events), all.Next, all.SearchedTo)
	}
	for i, e := range all.Events {
		if e.Summary == "" || e.Who == "" || e.Type == "" || e.Fields == nil || strings.Contains(fmt.Sprint(e), "hush") || strings.Contains(fmt.Sprint(e), "secret") {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if newest := all.Events[0]; newest.Type != "ReadAdvanced" || newest.Who != "operator" || newest.Summary != "bob read the conversation with ann up to message 1" {
		t.Errorf("the newest: %+v", newest)
	}
	for query, want := range map[string]string{
		"?type=PasswordChanged":                      "PasswordChanged",
		"?type=NodeLost":                             "",
		"?stream=PRESENCE&type=SessionOpened":        "SessionOpened SessionOpened",
		"?stream=PEOPLE&type=SessionOpened":          "",
		"?stream=PEOPLE":                             "StreamOpened PersonRegistered PersonRegistered PersonRegistered GroupReserved PasswordChanged",
		"?user=2":                                    "PersonRegistered MessageSent GroupCreated MessageSent SessionOpened PasswordChanged ReadAdvanced",
		"?user=3":                                    "PersonRegistered MessageSent GroupCreated MessageSent SessionOpened",
		"?user=2&conversation=user-1":                "MessageSent ReadAdvanced",
		"?conversation=d-1-2":                        "MessageSent ReadAdvanced",
		"?conversation=group-1":                      "GroupCreated MessageSent MessageSent",
		"?conversation=g-1&user=3":                   "GroupCreated MessageSent",
		"?conversation=group-1&type=SessionOpened":   "",
		"?user=2&conversation=user-3":                "",
		"?user=2&stream=PRESENCE&type=SessionOpened": "SessionOpened",
	} {
		if got := r.eventPage(query); got.types() != want || got.Next != "" {
			t.Errorf("%s: %s, next %q; want %s", query, got.types(), got.Next, want)
		}
	}
	r.many()
	all = r.eventPage("?limit=200")
	// Page by page it is the same, whatever the size of a page.
	for _, limit := range []int{1, 2, 5} {
		var got []api.LogEvent
		p := page{Next: "first"}
		for before := ""; p.Next != ""; before = "&before=" + p.Next {
			p = r.eventPage(fmt.Sprintf("?limit=%d%s", limit, before))
			if got = append(got, p.Events...); len(p.Events) > limit {
				t.Fatalf("%d events in a page of %d", len(p.Events), limit)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(all.Events) {
			t.Errorf("pages of %d:\n%v\nwant\n%v", limit, page{Events: got}.types(), all.types())
		}
	}
	for query, status := range map[string]int{
		"?type=PasswordSet": 422, "?stream=CONVERSATION-99": 422, "?stream=EVENTS": 422, "?before=x": 422, "?before=" + "ZXZlbnRzOjA6MQ": 422, "?limit=0": 422, "?limit=201": 422,
		"?conversation=user-1": 422, "?conversation=d-2-1": 422, "?conversation=d-0-1": 422, "?conversation=g-99999999999": 422, "?user=1&conversation=user-1": 422, "?nothing=1": 422,
	} {
		if got := r.do(ask{method: "GET", path: "/events" + query}); got.status != status {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/events?user=99", nil)
}

// slowLog takes its time, and lets a test see how many read it at once.
type slowLog struct {
	api.Log
	pause time.Duration
}

func (s slowLog) ReadRecord(ctx context.Context, st event.Stream, seq uint64) (bus.Recorded, error) {
	select {
	case <-time.After(s.pause):
	case <-ctx.Done():
		return bus.Recorded{}, ctx.Err()
	}
	return s.Log.ReadRecord(ctx, st, seq)
}

// A log that can't be read in time is read as far as it goes, and from there on the next time.
func TestAScanEndsInTimeAndGoesOn(t *testing.T) {
	r := told(t)
	cfg := r.cfg
	cfg.Log, cfg.ScanTime = slowLog{r.cfg.Log, 30 * time.Millisecond}, 50*time.Millisecond
	for range 60 {
		r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 1, "to_user": 2, "text": "more"}, nil)
	}
	slow := r.newSide(cfg)
	found, pages := []string{}, 0
	for before := ""; pages < 100; pages++ {
		p := slow.eventPage("?type=MessageSent&user=3&limit=10" + before)
		for _, e := range p.Events {
			found = append(found, e.Stream)
		}
		if p.Next == "" {
			break
		}
		if p.SearchedTo == nil {
			t.Fatal("a page that is not the last does not say how far it has come")
		}
		before = "&before=" + p.Next
	}
	if len(found) != 2 || pages == 0 || pages == 100 {
		t.Errorf("%v in %d pages", found, pages+1)
	}
}

// heldLog has one record in each stream, which is read once it is let go; it says that somebody reads.
type heldLog struct {
	api.Log
	reading chan struct{}
	free    chan struct{}
}

func (heldLog) LastSequence(context.Context, event.Stream) (uint64, error) { return 1, nil }

func (h heldLog) ReadRecord(ctx context.Context, st event.Stream, seq uint64) (bus.Recorded, error) {
	h.reading <- struct{}{}
	select {
	case <-h.free:
	case <-ctx.Done():
		return bus.Recorded{}, ctx.Err()
	}
	return h.Log.ReadRecord(ctx, st, seq)
}

// While four read the log others wait for their turn, but not for long: they are told so, and have it later.
func TestWhoHasToWaitForTheLogIsToldSo(t *testing.T) {
	r := told(t)
	cfg := r.cfg
	held := heldLog{r.cfg.Log, make(chan struct{}, 1000), make(chan struct{})}
	cfg.Log, cfg.ScanTurn = held, 10*time.Millisecond
	side := r.newSide(cfg)
	done := make(chan int, 4)
	for range 4 {
		go func() {
			got, err := side.try(ask{method: "GET", path: "/events?stream=PEOPLE"})
			if err != nil {
				t.Error(err)
			}
			done <- got.status
		}()
	}
	for range 4 {
		<-held.reading
	}
	for _, path := range []string{"/events", "/users/1/why", "/users/2/conversations/user-1/why"} {
		got := side.do(ask{method: "GET", path: path})
		problemOf(t, got, http.StatusServiceUnavailable, "log_busy")
		if got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
	close(held.free)
	for range 4 {
		if status := <-done; status != http.StatusOK {
			t.Errorf("one that read: %d", status)
		}
	}
	for _, path := range []string{"/events", "/users/1/why", "/users/2/conversations/user-1/why"} {
		side.ok(http.StatusOK, "GET", path, nil, nil)
	}
}

// fatLog has large records only, and counts how many are read. One of them, so far from the end, is what is looked for.
type fatLog struct {
	api.Log
	wanted uint64
	reads  *atomic.Int64
}

const fatLast = 1000

func (fatLog) LastSequence(context.Context, event.Stream) (uint64, error) { return fatLast, nil }

func (l fatLog) ReadRecord(_ context.Context, _ event.Stream, seq uint64) (bus.Recorded, error) {
	l.reads.Add(1)
	ev := &event.Event{At: 1, Body: &event.Event_PasswordRehashed{PasswordRehashed: &event.PasswordRehashed{User: 1, PasswordHash: strings.Repeat("x", event.MaxRecordBytes-100)}}}
	if seq == fatLast-l.wanted {
		ev.Body = &event.Event_PasswordChanged{PasswordChanged: &event.PasswordChanged{User: 1}}
	}
	data, err := proto.Marshal(&event.Record{Events: []*event.Event{ev}})
	return bus.Recorded{Sequence: seq, Data: data, Time: time.Unix(int64(seq), 0)}, err
}

// However far a scan looks, it holds no more of the log at once than so many bytes: records may be large, and streams many.
func TestAScanReadsLittleAhead(t *testing.T) {
	r := told(t)
	var reads atomic.Int64
	const wanted = 125
	cfg := r.cfg
	cfg.Log, cfg.ScanTime = fatLog{r.cfg.Log, wanted, &reads}, time.Hour
	p := r.newSide(cfg).eventPage("?stream=PEOPLE&type=PasswordChanged&limit=1")
	if len(p.Events) != 1 || p.Events[0].Sequence != fatLast-wanted {
		t.Fatalf("found %+v", p.Events)
	}
	if ahead := reads.Load() - wanted; ahead > 80 {
		t.Errorf("%d records of %d bytes were read ahead", ahead, event.MaxRecordBytes)
	}
}

// Who watches what comes reads no more than that, however rare what is looked for is.
func TestWhatCameSinceIsReadAndNoMore(t *testing.T) {
	r := told(t)
	var reads atomic.Int64
	cfg := r.cfg
	cfg.Log, cfg.ScanTime = fatLog{r.cfg.Log, 10, &reads}, time.Hour
	fat := r.newSide(cfg)
	for since, want := range map[int64]int{fatLast - 10: 1, fatLast - 9: 0} {
		reads.Store(0)
		p := fat.eventPage(fmt.Sprintf("?stream=PEOPLE&type=PasswordChanged&since=%d", since*1000))
		if len(p.Events) != want || p.Next != "" || reads.Load() > 100 {
			t.Errorf("since %d: %d events, next %q after %d reads", since, len(p.Events), p.Next, reads.Load())
		}
	}
	before := time.Now().UnixMilli()
	if p := r.eventPage("?limit=2"); p.AsOf < before || p.AsOf > time.Now().UnixMilli() || p.Next == "" {
		t.Errorf("as of %d, next %q", p.AsOf, p.Next)
	}
	if p := r.eventPage("?limit=2&since=1"); len(p.Events) != 2 || p.Next == "" {
		t.Errorf("%d of many that came since, next %q", len(p.Events), p.Next)
	}
}

type whyConversation struct {
	Unread, Head, Read uint32
	Explanation        []string
	Events             []api.LogEvent
	Complete           bool
}

func TestWhyAConversationIsUnreadOverTheAPI(t *testing.T) {
	r := told(t)
	for range 2 {
		r.ok(http.StatusCreated, "POST", "/messages", map[string]any{"from": 1, "to_user": 2, "text": "more"}, nil)
	}
	r.ok(http.StatusNoContent, "DELETE", "/users/1/conversations/user-2/messages/3", nil, nil)
	why := func(path string) (w whyConversation, text string) {
		t.Helper()
		r.ok(http.StatusOK, "GET", path+"/why", nil, &w)
		return w, strings.Join(w.Explanation, " ")
	}
	w, text := why("/users/2/conversations/user-1")
	for _, want := range []string{
		"bob has 2 unread messages in the conversation with ann: the newest message is 3, and bob has read up to message 1.",
		"The mark was put at message 1 over the API by operator, on ",
		"Since then came the messages 2 to 3: all by ann, ",
		"1 of them was recalled",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said in: %s", want, text)
		}
	}
	if w.Unread != 2 || w.Head != 3 || w.Read != 1 || !w.Complete || (page{Events: w.Events}).types() != "ReadAdvanced MessageSent MessageSent MessageRecalled" {
		t.Errorf("%+v", w)
	}
	w, text = why("/users/3/conversations/group-1")
	if !strings.Contains(text, `cid has 2 unread messages in the group "team"`) || !strings.Contains(text, "cid is a member since the group was made") || !w.Complete {
		t.Errorf("%+v", w)
	}
	if _, text = why("/users/1/conversations/user-2"); !strings.Contains(text, "No device of ann has ever said that it showed one.") {
		t.Error(text)
	}
	if _, text = why("/users/2/conversations/user-3"); text != "Nothing has been written in the conversation with cid yet, so nothing is unread." {
		t.Error(text)
	}
	r.user("dee")
	r.refused(http.StatusConflict, "not_member", "GET", "/users/4/conversations/group-1/why", nil)
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/1/conversations/user-9/why", nil)
	r.refused(http.StatusNotFound, "no_such_person", "GET", "/users/9/why", nil)
}

func TestWhyAUsersSessionsEnded(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"ann", "bob"} {
		r.user(name)
	}
	why := func(user int) (w struct {
		Sessions    []api.WhySession
		Explanation []string
		Complete    bool
	}) {
		t.Helper()
		r.ok(http.StatusOK, "GET", path("/users/%d/why", user), nil, &w)
		return w
	}
	if w := why(1); len(w.Sessions) != 0 || !w.Complete || !strings.HasPrefix(strings.Join(w.Explanation, " "), "ann is not signed in anywhere, and never was.") {
		t.Errorf("%+v", w)
	}
	first := r.login(1)
	second := r.login(1)
	r.login(2)
	w := why(1)
	if len(w.Sessions) != 2 || w.Sessions[0].ID != second || !w.Sessions[0].Lives || w.Sessions[0].Node == "" ||
		w.Sessions[1].ID != first || w.Sessions[1].Lives || w.Sessions[1].Reason != "replaced" || w.Sessions[1].Ended == nil || w.Sessions[1].Opened == nil ||
		(page{Events: w.Sessions[1].Events}).types() != "SessionOpened SessionOpened" {
		t.Errorf("%+v", w)
	}
	if text := strings.Join(w.Explanation, " "); !strings.HasPrefix(text, "ann is signed in on the desktop (Windows).") {
		t.Error(text)
	}
	key := r.key(api.SessionsWrite)
	if got := r.do(ask{method: "DELETE", path: "/users/1/sessions/" + second, token: key}); got.status != http.StatusNoContent {
		t.Fatalf("%d %s", got.status, got.body)
	}
	r.ok(http.StatusOK, "POST", "/users/1/disable", nil, nil)
	w = why(1)
	if s := w.Sessions[0]; s.ID != second || s.Reason != "admin" || !strings.Contains(s.Explanation, "The holder of the API key "+strings.Split(key, "_")[1]+" ended it by hand.") {
		t.Errorf("%+v", s)
	}
	if text := strings.Join(w.Explanation, " "); !strings.Contains(text, "The account is disabled, by an operator on ") {
		t.Error(text)
	}
}

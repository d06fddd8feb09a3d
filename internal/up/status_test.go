package up_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/admin"
	"godwit/internal/api"
)

// A status says where files and pictures are and how full, and which target of pushes is behind.
func TestStatusTellsOfFilesPicturesAndPushes(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	var tried atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if tried.Add(1); broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer receiver.Close()
	s := serve(t, t.TempDir(), nil)
	s.people("anna", "bela")
	c := s.admin()
	call := func(method, path string, body, to any) {
		t.Helper()
		if err := c.Call(t.Context(), method, path, body, to); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	// status waits until it is as wanted.
	status := func(what string, fits func(st admin.Status) bool) admin.Status {
		t.Helper()
		var st admin.Status
		for until := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			var err error
			if st, err = c.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
			if fits(st) {
				return st
			}
			if time.Now().After(until) {
				t.Fatalf("not %s: %+v", what, st)
			}
		}
	}
	st := status("sending", func(st admin.Status) bool { return st.Pushes.Sending })
	if st.Files == nil || st.Files.Listen == "" || st.Files.Advertise == "" || st.Files.Left == nil || *st.Files.Left != st.Files.Room || st.Files.Room == 0 {
		t.Errorf("files: %+v", st.Files)
	}
	if st.Pictures.Upload != "session" || st.Pictures.Left == nil || *st.Pictures.Left > st.Pictures.Room || st.Pictures.Room == 0 || len(st.Pushes.Targets) != 0 {
		t.Errorf("pictures: %+v, pushes: %+v", st.Pictures, st.Pushes)
	}
	var good, off api.NewWebhook
	call("POST", "/webhooks", map[string]any{"url": receiver.URL}, &good)
	call("POST", "/webhooks", map[string]any{"url": receiver.URL}, &off)
	call("PATCH", "/webhooks/"+off.ID, map[string]any{"disabled": true}, nil)
	age := func(st admin.Status, id string) *float64 {
		for _, t := range st.Pushes.Targets {
			if t.ID == id {
				return t.BacklogSeconds
			}
		}
		return nil
	}
	status("caught up", func(st admin.Status) bool { a := age(st, good.ID); return a != nil && *a == 0 })
	call("POST", "/messages", map[string]any{"from": 1, "to_user": 2, "text": "hello"}, nil)
	st = status("behind", func(st admin.Status) bool { a := age(st, good.ID); return a != nil && *a > 0 && tried.Load() > 0 })
	if tried.Load() == 0 || len(st.Pushes.Targets) != 2 || age(st, off.ID) != nil {
		t.Errorf("after %d attempts: %+v", tried.Load(), st.Pushes)
	}
	for _, target := range st.Pushes.Targets {
		if target.Disabled != (target.ID == off.ID) {
			t.Errorf("%+v", target)
		}
	}
	broken.Store(false)
	status("caught up again", func(st admin.Status) bool { a := age(st, good.ID); return a != nil && *a == 0 })
}

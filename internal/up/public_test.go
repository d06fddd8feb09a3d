package up

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"godwit/internal/web"
)

func TestThePublicPortLeadsEachRequestToItsPlace(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })
	}
	all := places{sessions: named("sessions"), discovery: named("discovery"), pictures: named("pictures"), settings: web.Settings{Name: "settings"}}
	gateway := all
	gateway.sessions = nil
	edge := places{sessions: named("sessions"), settings: all.settings} // a connector of a cluster
	for _, c := range []struct {
		request   string
		all       string // what the answer has
		atTheEdge string
	}{
		{"GET /", "<html", "<html"},
		{"GET /shared/style.css", ":root", ":root"},
		{"GET /client.json", "settings", "settings"},
		{"GET /ws", "sessions", "sessions"},
		{"GET /ws/x", "not found", "not found"},
		{"GET /msg_server", "discovery", "not found"},
		{"POST /msg_server", "discovery", "only GET"},
		{"GET /g0/000/000/1.png", "pictures", "not found"},
		{"POST /", "pictures", "only GET"},
		{"POST /ws", "pictures", "sessions"}, // which refuses it in its own words
		{"PUT /", "pictures", "only GET"},
		{"GET /nothing", "not found", "not found"},
		{"GET /api/v1/users", "not found", "not found"}, // the admin port's
		{"GET /console/", "not found", "not found"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		for name, at := range map[string]struct {
			to   places
			want string
		}{"all": {all, c.all}, "connector": {edge, c.atTheEdge}, "gateway": {gateway, strings.Replace(c.all, "sessions", "at the connectors", 1)}} {
			w := httptest.NewRecorder()
			publicPort(at.to).ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if got := w.Body.String(); !strings.Contains(got, at.want) {
				t.Errorf("%s: %s answers %d %.60q, want %s", name, c.request, w.Code, got, at.want)
			}
		}
	}
}

// A connection that became a session stops counting as one of the HTTP port: sessions have limits of their own.
func TestAReleasedConnectionGivesItsPlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		l := newLimited(p, 1, 1, nil)
		defer l.Close()
		defer p.dial().Close()
		first, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer p.dial().Close()
		second := make(chan error, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
			}
			second <- err
		}()
		synctest.Wait()
		if len(second) > 0 {
			t.Fatal("the second is accepted beside the first")
		}
		first.(interface{ Release() }).Release()
		synctest.Wait()
		if len(second) == 0 {
			t.Fatal("no place after the first was released")
		}
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		first.Close() // gives back nothing more
		if n := len(l.room); n != 0 || len(l.from) != 0 {
			t.Errorf("%d places are taken, addresses %v", n, l.from)
		}
	})
}

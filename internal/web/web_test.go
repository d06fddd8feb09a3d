package web

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

// ask is what a handler answers; headers come in pairs.
func ask(h http.Handler, method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, "http://godwit.test/", nil)
	r.URL.Path = target // as a client may have written it, unclean
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sites are both, with a page and a style sheet of each.
var sites = []struct {
	name        string
	h           http.Handler
	page, style string
}{
	{"client", Client(), "/", "/shared/style.css"},
	{"console", Console(), "/console/", "/console/shared/style.css"},
}

func TestPagesAreServedWithTheirTypes(t *testing.T) {
	for _, s := range sites {
		for target, mime := range map[string]string{s.page: "text/html; charset=utf-8", s.style: "text/css; charset=utf-8"} {
			r := ask(s.h, "GET", target)
			if got := r.Header.Get("Content-Type"); r.StatusCode != http.StatusOK || got != mime || len(body(t, r)) == 0 {
				t.Errorf("%s: %s answers %d, %q", s.name, target, r.StatusCode, got)
			}
			head := ask(s.h, "HEAD", target)
			if len(body(t, head)) > 0 || head.Header.Get("Content-Length") != r.Header.Get("Content-Length") {
				t.Errorf("%s: HEAD %s differs from GET in more than the body", s.name, target)
			}
		}
	}
}

// Every file of the tree is served by the page that needs it; one of an unknown kind would silently be missing.
func TestEveryFileIsServed(t *testing.T) {
	mounts := map[string][]struct {
		h  http.Handler
		at string
	}{
		"client":  {{Client(), "/client/"}},
		"console": {{Console(), "/console/app/"}},
		"shared":  {{Client(), "/shared/"}, {Console(), "/console/shared/"}},
	}
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Base(name) == indexName {
			return err
		}
		folder, below, _ := strings.Cut(strings.TrimPrefix(name, "static/"), "/")
		if len(mounts[folder]) == 0 {
			t.Errorf("%s is in no folder that is served", name)
		}
		for _, m := range mounts[folder] {
			if r := ask(m.h, "GET", m.at+below); r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != types[path.Ext(name)] {
				t.Errorf("%s answers %d, %q", m.at+below, r.StatusCode, r.Header.Get("Content-Type"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is refused is as guarded as what is served: it is of the same origin.
func TestEveryAnswerIsGuarded(t *testing.T) {
	etag := ask(Client(), "GET", "/").Header.Get("ETag")
	for _, s := range sites {
		for name, r := range map[string]*http.Response{
			"page":         ask(s.h, "GET", s.page),
			"style":        ask(s.h, "GET", s.style, "Accept-Encoding", "gzip"),
			"not modified": ask(s.h, "GET", s.page, "If-None-Match", etag),
			"nothing":      ask(s.h, "GET", s.page+"nothing"),
			"method":       ask(s.h, "PUT", s.page),
			"settings":     ask(Settings{}, "GET", "/client.json"),
			"without /":    ask(s.h, "GET", strings.TrimSuffix(s.page, "/")),
		} {
			policy := r.Header.Get("Content-Security-Policy")
			for _, must := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'",
				"base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"} {
				if !strings.Contains(policy+";", must+";") {
					t.Errorf("%s, %s: the policy lacks %s", s.name, name, must)
				}
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
				t.Errorf("%s, %s: the policy is %q", s.name, name, policy)
			}
			for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"} {
				if got := r.Header.Get(header); got != want {
					t.Errorf("%s, %s: %s is %q", s.name, name, header, got)
				}
			}
			if r.Header.Get("Permissions-Policy") == "" {
				t.Errorf("%s, %s: no Permissions-Policy", s.name, name)
			}
		}
	}
}

func TestWhatABrowserHasIsNotSentAgain(t *testing.T) {
	for _, accept := range []string{"", "gzip, deflate, br"} {
		first := ask(Client(), "GET", "/", "Accept-Encoding", accept)
		etag := first.Header.Get("ETag")
		if etag == "" || first.Header.Get("Cache-Control") != "no-cache" || first.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("accepting %q: headers %v", accept, first.Header)
		}
		for _, named := range []string{etag, `"other", W/` + etag, "*"} {
			r := ask(Client(), "GET", "/", "Accept-Encoding", accept, "If-None-Match", named)
			if r.StatusCode != http.StatusNotModified || len(body(t, r)) > 0 || r.Header.Get("ETag") != etag {
				t.Errorf("If-None-Match %s: %d", named, r.StatusCode)
			}
		}
		if r := ask(Client(), "GET", "/", "Accept-Encoding", accept, "If-None-Match", `"other"`); r.StatusCode != http.StatusOK {
			t.Errorf("If-None-Match of another file: %d", r.StatusCode)
		}
	}
	if plain, small := ask(Client(), "GET", "/").Header.Get("ETag"), ask(Client(), "GET", "/", "Accept-Encoding", "gzip").Header.Get("ETag"); plain == small {
		t.Error("both forms have one tag")
	}
}

func TestPagesAreSentSmall(t *testing.T) {
	plain := body(t, ask(Client(), "GET", "/"))
	for accept, want := range map[string]string{
		"": "", "br": "", "gzip": "gzip", "br, GZIP;q=0.5": "gzip", "gzip;q=0": "", "gzip; q=0.0, *": "", "*": "gzip", "identity, *;q=0": "", "gzip;q=x": "",
	} {
		r := ask(Client(), "GET", "/", "Accept-Encoding", accept)
		b := body(t, r)
		if got := r.Header.Get("Content-Encoding"); got != want {
			t.Errorf("accepting %q: encoding %q", accept, got)
			continue
		}
		if want == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if len(b) >= len(plain) {
				t.Errorf("%d bytes of gzip for %d", len(b), len(plain))
			}
			if b, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(b, plain) {
			t.Errorf("accepting %q: another page", accept)
		}
	}
}

// Only what is meant to be served has a path, however it is written.
func TestNothingElseIsServed(t *testing.T) {
	for _, s := range sites {
		for _, target := range []string{
			"/client", "/client/", "/shared", "/shared/", "/console/app", "/console/app/", "/console/shared/", // no listings
			"/client/index.html", "/index.html", "/console/index.html", "/console/app/index.html",
			"/client/../shared/style.css", "/shared/../../web.go", "//", "/./", "/client//", "/console/../", "/static/client/index.html",
			"/shared/style.css/", "/shared/STYLE.CSS", "/shared/style.css\x00", "/..", "/shared/%2e%2e/web.go", `/shared/..\..\web.go`,
		} {
			if r := ask(s.h, "GET", target); r.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %q answers %d", s.name, target, r.StatusCode)
			}
		}
		if r := ask(s.h, "POST", s.page); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: POST answers %d, Allow %q", s.name, r.StatusCode, r.Header.Get("Allow"))
		}
	}
	if r := ask(Console(), "GET", "/console"); r.StatusCode != http.StatusPermanentRedirect || r.Header.Get("Location") != "/console/" {
		t.Errorf("/console answers %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
}

// A browser would refuse what stands inline, and the page would be broken without a word. Other hosts are never asked.
func TestPagesHoldToTheirPolicy(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<script(\s[^>]*)?>[^<]+|<style|\sstyle\s*=|\son[a-z]+\s*=|=\s*["']?javascript:`)
	absolute := regexp.MustCompile(`(?i)(src|href)\s*=\s*"?/`) // one tree stands below two mounts
	elsewhere := regexp.MustCompile(`(?i)(src|href)\s*=\s*["']?[a-z]+:|url\(\s*["']?(https?:)?//|@import|from\s+["']https?:`)
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		if path.Ext(name) == ".html" {
			for _, re := range []*regexp.Regexp{inline, absolute} {
				if found := re.Find(text); found != nil {
					t.Errorf("%s has %q", name, found)
				}
			}
		}
		if found := elsewhere.Find(text); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSettingsAreWhatTheClientReads(t *testing.T) {
	r := ask(Settings{Name: "godwit", Version: "1", WS: "/ws", Contacts: "everyone", RecallSeconds: 120, EditSeconds: 900, GroupLimit: 10_000, Pictures: true}, "GET", "/client.json")
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("type %q", got)
	}
	b := body(t, r)
	const want = `{"name":"godwit","version":"1","ws":"/ws","contacts":"everyone","recallSeconds":120,"editSeconds":900,"groupLimit":10000,"pictures":true}`
	if got := strings.TrimSpace(string(b)); got != want || !json.Valid(b) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The client is small: what a browser has to have before it can show anything, unpacked.
func TestTheClientIsSmall(t *testing.T) {
	const most = 150 << 10
	references := map[string]*regexp.Regexp{
		"":    regexp.MustCompile(`(?:src|href)=["']?([^"'\s>]+)`),
		".js": regexp.MustCompile(`(?:\bfrom|\bimport)\s*["'](\.[^"']+)["']`),
	}
	weight, packed := 0, 0
	seen := map[string]bool{}
	for next := []string{"/"}; len(next) > 0; next = next[1:] {
		at := next[0]
		if seen[at] {
			continue
		}
		seen[at] = true
		r := ask(Client(), "GET", at)
		if r.StatusCode != http.StatusOK {
			t.Fatalf("%s, which the page wants, answers %d", at, r.StatusCode)
		}
		b := body(t, r)
		weight += len(b)
		packed += len(body(t, ask(Client(), "GET", at, "Accept-Encoding", "gzip")))
		if re := references[path.Ext(at)]; re != nil {
			for _, m := range re.FindAllSubmatch(b, -1) {
				next = append(next, path.Join(path.Dir(at), string(m[1])))
			}
		}
	}
	t.Logf("%d files of %d bytes, %d packed", len(seen), weight, packed)
	if weight > most {
		t.Errorf("%d bytes, more than %d", weight, most)
	}
}

// What can't be read by the shortener would go out long, and is a mistake in most cases.
func TestScriptsAndStyleSheetsAreShortened(t *testing.T) {
	err := fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := static.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := shorten(path.Ext(name), text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	const script = "// For people.\nexport function twice(number) { return number * 2 }\n"
	short, err := shorten(".js", []byte(script))
	if err != nil || bytes.Contains(short, []byte("people")) || !bytes.Contains(short, []byte("export function twice(")) {
		t.Errorf("%q, %v", short, err)
	}
}

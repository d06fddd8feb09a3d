// Package web has the pages that the binary brings along: the client that people talk with, and the operator's console.
// Both are plain HTML, CSS and ES modules below static; nothing is built. Browsers get scripts and style sheets without
// comments, spaces and long local names, which the first request makes of them. The HTML names what it needs by relative
// addresses, so that one tree serves below both mounts:
//
//	/                    static/client/index.html      /console/          static/console/index.html
//	/client/FILE         static/client/FILE            /console/app/FILE  static/console/FILE
//	/shared/FILE         static/shared/FILE            /console/shared/FILE
//	/favicon.svg         static/shared/favicon.svg
//
// Whoever writes a file there: no script or style stands inline in HTML, no request leaves the origin, and text becomes
// text nodes, never markup. The policy that goes out with each answer has browsers hold this.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/css"
	"github.com/tdewolff/minify/v2/js"
)

//go:embed static
var static embed.FS

// headers go out with every answer, so that no page of this origin can be made to run what is not ours.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; " +
		"manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
}

// types are all kinds of files that are served; a file of another is left out.
var types = map[string]string{
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".svg":         "image/svg+xml",
	".webmanifest": "application/manifest+json",
}

// Client serves the client to GET and HEAD.
func Client() http.Handler { return handler(client) }

// Console serves the console to GET and HEAD, at /console and below.
func Console() http.Handler { return handler(console) }

func handler(of func() site) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { of().ServeHTTP(w, r) })
}

// Each is made once, by the first request: it never changes while the process lives, and many live that nobody asks.
var (
	client = sync.OnceValue(func() site {
		s := make(site)
		s.index("/", "client")
		s.folder("/client/", "client")
		s.folder("/shared/", "shared")
		if icon := s["/shared/favicon.svg"]; icon != nil {
			s["/favicon.svg"] = icon
		}
		return s
	})
	console = sync.OnceValue(func() site {
		s := make(site)
		s.index("/console/", "console")
		s.folder("/console/app/", "console")
		s.folder("/console/shared/", "shared")
		return s
	})
)

// site is what is served, by path. Nothing else is, so no path leads out of it.
type site map[string]*file

// file is one, in both forms in which it is sent.
type file struct {
	mime         string
	plain, small form // small is gzip, and empty where that saves nothing
}

type form struct {
	body []byte
	etag string // quoted
}

func formOf(body []byte) form {
	sum := sha256.Sum256(body)
	return form{body, `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`}
}

// index serves the page of a folder at a path.
func (s site) index(at, folder string) { s[at] = read("static/" + folder + "/" + indexName) }

// indexName is no part of a page's address: its relative references would go astray.
const indexName = "index.html"

// folder serves the other files of a folder, and of those in it, below a path.
func (s site) folder(at, folder string) {
	root := "static/" + folder + "/"
	err := fs.WalkDir(static, strings.TrimSuffix(root, "/"), func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below := strings.TrimPrefix(name, root)
		if d.IsDir() || below == indexName || types[path.Ext(name)] == "" {
			return nil
		}
		s[at+below] = read(name)
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("web: the binary's own files: %v", err))
	}
}

func read(name string) *file {
	body, err := static.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("web: the binary's own files: %v", err))
	}
	if small, err := shorten(path.Ext(name), body); err == nil { // else it goes out as it stands; a test says so first
		body = small
	}
	f := &file{mime: types[path.Ext(name)], plain: formOf(body)}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic(fmt.Sprintf("web: %v", err))
	}
	_, _ = z.Write(body) // a buffer takes all
	_ = z.Close()
	if b.Len() < len(body) {
		f.small = formOf(b.Bytes())
	}
	return f
}

// shorten leaves out of a script or style sheet what only people read.
func shorten(ext string, body []byte) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch ext {
	case ".js":
		err = js.Minify(minify.New(), &b, bytes.NewReader(body), nil)
	case ".css":
		err = css.Minify(minify.New(), &b, bytes.NewReader(body), nil)
	default:
		return body, nil
	}
	return b.Bytes(), err
}

// ServeHTTP implements http.Handler.
func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := harden(w)
	if !reading(w, r) {
		return
	}
	f := s[r.URL.Path]
	if f == nil {
		if s[r.URL.Path+"/"] != nil { // the console without its slash
			head.Set("Location", r.URL.Path+"/")
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	out := f.plain
	head.Set("Vary", "Accept-Encoding")
	if f.small.body != nil && takesGzip(r.Header.Values("Accept-Encoding")) {
		out = f.small
		head.Set("Content-Encoding", "gzip")
	}
	head.Set("Content-Type", f.mime)
	head.Set("Cache-Control", "no-cache") // kept, and asked about: a new binary's pages fit together at once
	head.Set("ETag", out.etag)
	if matches(r.Header.Values("If-None-Match"), out.etag) {
		head.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	head.Set("Content-Length", strconv.Itoa(len(out.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(out.body) // a client that has gone does not read it
	}
}

// harden sets the headers that every answer has.
func harden(w http.ResponseWriter) http.Header {
	head := w.Header()
	for name, value := range headers {
		head.Set(name, value)
	}
	return head
}

// reading tells whether a request only reads, and answers one that does not.
func reading(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
	return false
}

// takesGzip reads Accept-Encoding: gzip, or what stands for all, that is not weighed with nothing.
func takesGzip(accepted []string) bool {
	takes := false
	for one := range strings.SplitSeq(strings.Join(accepted, ","), ",") {
		coding, weight, _ := strings.Cut(one, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "gzip" && coding != "*" {
			continue
		}
		_, q, weighed := strings.Cut(weight, "=")
		n, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
		takes = !weighed || err == nil && n > 0
		if coding == "gzip" {
			return takes
		}
	}
	return takes
}

// matches tells whether If-None-Match names a tag; a proxy may have made it a weak one.
func matches(named []string, etag string) bool {
	for one := range strings.SplitSeq(strings.Join(named, ","), ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == etag {
			return true
		}
	}
	return false
}

// Settings are what the client must know of the server before anybody has signed in: /client.json.
type Settings struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	WS            string `json:"ws"`            // path of WebSocket sessions
	Contacts      string `json:"contacts"`      // "everyone" or "friends"
	RecallSeconds int    `json:"recallSeconds"` // how old a message may be that is recalled; 0: none is
	EditSeconds   int    `json:"editSeconds"`   // and edited
	GroupLimit    int    `json:"groupLimit"`    // members of a group
	Pictures      bool   `json:"pictures"`      // whether the picture store is at this origin and takes uploads
}

// ServeHTTP implements http.Handler.
func (s Settings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := harden(w)
	if !reading(w, r) {
		return
	}
	body, err := json.Marshal(s)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "no-cache")
	_, _ = w.Write(append(body, '\n')) // a client that has gone does not read it
}

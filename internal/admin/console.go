package admin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The console is pages of static files and, beside them, what a page can't do for itself: keep an operator signed in
// without keeping the key where scripts find it.
//
//	POST /console/login   {"key": "…"} -> 204 and a cookie; wrong keys count as everywhere on the port
//	POST /console/logout  -> 204, and the cookie is gone
//	GET  /console/me      Caller, or 401
//	*    /console/api/…   /api/v1/… with the cookie's key; needs the header Godwit-Console: 1
//
// The cookie is the key itself, sealed under a key that comes out of the operator's token. So nothing is kept at the
// server, every gateway with that token takes it, and it ends with what it holds: with a key that is revoked, or with
// the token when another one is made.
const (
	consolePath   = "/console/"
	consoleCookie = "godwit_console"
	consoleTime   = 12 * time.Hour
	// consoleHeader is what a page of the console sends with every request to the API. A page of another site can't send
	// it without asking this server first, which says no.
	consoleHeader = "Godwit-Console"
	// maxConsoleKey bounds the key of a login, in bytes.
	maxConsoleKey = 512
)

// Caller is who uses an API.
type Caller struct {
	Name   string   `json:"name"`   // as events say: "operator", "key:<id>"
	Scopes []string `json:"scopes"` // what the caller may do; of the operator all there are
}

// console keeps operators signed in.
type console struct {
	api    API
	serve  http.Handler // everything under /api/v1/
	sealer cipher.AEAD
	now    func() time.Time
}

// handleConsole has mux serve the console: pages, and what stands behind them.
func handleConsole(mux *http.ServeMux, cfg Config, api http.Handler) {
	c := &console{api: cfg.API, serve: api, sealer: newSealer(cfg.Token), now: cfg.Now}
	mux.HandleFunc("POST /console/login", c.own(c.login))
	mux.HandleFunc("POST /console/logout", c.own(c.logout))
	mux.HandleFunc("GET /console/me", c.own(c.me))
	mux.HandleFunc("/console/api/", c.own(c.forward))
	if cfg.Console != nil {
		mux.Handle("/console", cfg.Console)
		mux.Handle(consolePath, cfg.Console)
	}
}

// newSealer seals under a key that comes out of the token.
func newSealer(token string) cipher.AEAD {
	var sealer cipher.AEAD
	key, err := hkdf.Key(sha256.New, []byte(token), nil, "godwit console cookie 1", 32)
	if err == nil {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			sealer, err = cipher.NewGCMWithRandomNonce(block)
		}
	}
	if err != nil { // the sizes are right
		panic(err)
	}
	return sealer
}

// own serves requests of the console's own pages, and of programs that are no browsers.
func (c *console) own(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !sameOrigin(r) {
			writeProblem(w, &Problem{Type: "urn:godwit:problem:forbidden", Title: "Not allowed", Status: http.StatusForbidden,
				Detail: "the console takes requests of its own pages only; a proxy in front of it must leave the Host header as it is"})
			return
		}
		serve(w, r)
	}
}

// sameOrigin tells whether a browser says that a page of this very origin asks; what says nothing is no browser, and no
// other site can make it send what it has.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
	}
	return true
}

func (c *console) login(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Key string `json:"key"`
	}
	err := readJSON(w, r, &in)
	if in.Key = strings.TrimSpace(in.Key); err == nil && len(in.Key) > maxConsoleKey {
		err = invalidf("a key has at most %d bytes", maxConsoleKey)
	}
	if err != nil {
		writeProblem(w, &Problem{Type: "urn:godwit:problem:invalid", Title: "Invalid request", Status: http.StatusBadRequest, Detail: err.Error()})
		return
	}
	if _, ok := c.api.Who(w, r, in.Key); !ok {
		return
	}
	until := c.now().Add(consoleTime)
	http.SetCookie(w, c.cookie(r, c.seal(in.Key, until), int(consoleTime/time.Second)))
	w.WriteHeader(http.StatusNoContent)
}

func (c *console) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, c.cookie(r, "", -1))
	w.WriteHeader(http.StatusNoContent)
}

func (c *console) me(w http.ResponseWriter, r *http.Request) {
	if who, _, ok := c.who(w, r); ok {
		_ = writeJSON(w, http.StatusOK, who) // plain fields
	}
}

// forward has the API answer a request with the cookie's key.
func (c *console) forward(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(consoleHeader) != "1" {
		writeProblem(w, &Problem{Type: "urn:godwit:problem:forbidden", Title: "Not allowed", Status: http.StatusForbidden,
			Detail: "requests of the console bring the header " + consoleHeader + ": 1"})
		return
	}
	_, key, ok := c.who(w, r)
	if !ok {
		return
	}
	to := r.Clone(r.Context())
	below := func(path string) string { return strings.Replace(path, "/console/api/", "/api/v1/", 1) }
	to.URL.Path, to.URL.RawPath, to.RequestURI = below(r.URL.Path), below(r.URL.RawPath), below(r.RequestURI)
	to.Header.Del("Cookie")
	to.Header.Set("Authorization", "Bearer "+key)
	c.serve.ServeHTTP(w, to)
}

// who is whom the cookie of a request stands for, and with which key. If it is nobody that is answered, and a browser
// drops the cookie: a console that goes on asking with a dead key would use up the tries of its address.
func (c *console) who(w http.ResponseWriter, r *http.Request) (who Caller, key string, ok bool) {
	cookie, err := r.Cookie(consoleCookie)
	if err == nil {
		key, err = c.open(cookie.Value)
	}
	if err != nil {
		writeProblem(w, &Problem{Type: "urn:godwit:problem:unauthorised", Title: "Unauthorised", Status: http.StatusUnauthorized,
			Detail: "nobody is signed in here, or no longer"})
		return Caller{}, "", false
	}
	refused := dropCookie{ResponseWriter: w, cookie: c.cookie(r, "", -1)}
	who, ok = c.api.Who(&refused, r, key)
	return who, key, ok
}

// dropCookie takes the cookie away with an answer that says that its key is none.
type dropCookie struct {
	http.ResponseWriter
	cookie *http.Cookie
}

func (d *dropCookie) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		http.SetCookie(d.ResponseWriter, d.cookie)
	}
	d.ResponseWriter.WriteHeader(status)
}

func (c *console) cookie(r *http.Request, value string, age int) *http.Cookie {
	return &http.Cookie{Name: consoleCookie, Value: value, Path: "/console", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")}
}

var errCookie = errors.New("no cookie of the console, or too old")

// seal hides a key until a time.
func (c *console) seal(key string, until time.Time) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(c.sealer.Seal(nil, nil, append(plain, key...), []byte(consoleCookie)))
}

// open gives the key that seal has hidden.
func (c *console) open(value string) (string, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return "", errCookie
	}
	plain, err := c.sealer.Open(nil, nil, sealed, []byte(consoleCookie))
	if err != nil || len(plain) < 8 || c.now().Unix() >= int64(binary.BigEndian.Uint64(plain)) {
		return "", errCookie
	}
	return string(plain[8:]), nil
}

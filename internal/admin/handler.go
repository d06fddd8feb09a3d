package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Handlers that take longer than a server of small requests allows move their deadlines:
// a body of an import may take importTime to arrive, a line of a stream lineTime to leave.
const (
	importTime = 5 * time.Minute
	lineTime   = 30 * time.Second
)

// statusScope is what a key needs for the status; for all else here it needs to be the operator's token.
const statusScope = "status:read"

// progressEvery spaces the lines of an answer that streams.
const progressEvery = 100 * time.Millisecond

// API is the server API on the same port.
type API interface {
	http.Handler
	// Operator has next served to who shows the operator's token, and to nobody else; wrong ones count as wrong keys do.
	// With once a request with an Idempotency-Key is done once, and next finds its [Request] in the context.
	Operator(once bool, next http.Handler) http.Handler
	// Permitted has next, which changes nothing, served to who has the scope, the operator among them.
	Permitted(scope string, next http.Handler) http.Handler
	// Who tells who shows a credential, the operator's token or a key; wrong ones count as they do everywhere. One that is
	// nobody's is answered, and ok is false.
	Who(w http.ResponseWriter, r *http.Request, credential string) (c Caller, ok bool)
}

// Config of the handler. All but API, Console, Metrics, Logger and Now are needed.
type Config struct {
	People  People
	Server  Server
	Token   string           // bearer token
	API     API              // gets what this package does not have under /api/v1/ and /query/; nil: nobody, and there is no console, as without a token
	Console http.Handler     // pages of the console, for /console and below; nil: none
	Metrics http.Handler     // nil: none
	Logger  *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// Problem is an error as it travels: an RFC 9457 problem document. It is an error
// of the client as well.
type Problem struct {
	Type   string `json:"type"`
	Name   string `json:"name,omitempty"` // the end of the type, in one word
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Errors are the fields that were wrong, where the server API says them.
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors,omitempty"`
}

func (p *Problem) Error() string {
	if len(p.Errors) > 0 {
		return strings.TrimPrefix(p.Errors[0].Location, "body.") + ": " + p.Errors[0].Message
	}
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Is gives a problem that came over the wire the sentinel it began as.
func (p *Problem) Is(target error) bool {
	for _, k := range kinds {
		if k.err == target {
			return p.Type == k.uri
		}
	}
	return false
}

var kinds = []struct {
	err    error
	uri    string
	title  string
	status int
}{
	{ErrNameTaken, "urn:godwit:problem:name-taken", "Name is taken", http.StatusConflict},
	{ErrNoSuchPerson, "urn:godwit:problem:no-such-person", "No such person", http.StatusNotFound},
	{ErrInvalid, "urn:godwit:problem:invalid", "Invalid request", http.StatusBadRequest},
	{ErrUnavailable, "urn:godwit:problem:unavailable", "Not available now", http.StatusServiceUnavailable},
	{ErrConflict, "urn:godwit:problem:conflict", "Conflict", http.StatusConflict},
	{context.DeadlineExceeded, "urn:godwit:problem:timeout", "Took too long", http.StatusGatewayTimeout},
}

type handler struct {
	Config
	tokenSum [sha256.Size]byte
}

// NewHandler is the whole admin port.
func NewHandler(cfg Config) http.Handler {
	h := &handler{Config: cfg, tokenSum: sha256.Sum256([]byte(cfg.Token))}
	if h.Logger == nil {
		h.Logger = slog.New(slog.DiscardHandler)
	}
	if h.Now == nil {
		h.Now = time.Now
	}
	api := http.NewServeMux()
	const once = true
	for pattern, o := range map[string]struct {
		once  bool
		serve func(http.ResponseWriter, *http.Request) error
	}{
		"POST /api/v1/people":                 {once, h.add},
		"POST /api/v1/people:import":          {!once, h.importPeople}, // streams, and may be sent again as it is
		"GET /api/v1/people":                  {!once, h.list},
		"POST /api/v1/people/{name}/password": {once, h.password},
		"POST /api/v1/people/{name}/disable":  {once, h.enabled(false)},
		"POST /api/v1/people/{name}/enable":   {once, h.enabled(true)},
		"PUT /api/v1/friends/{a}/{b}":         {once, h.friends(true)},
		"DELETE /api/v1/friends/{a}/{b}":      {once, h.friends(false)},
		"POST /api/v1/replay":                 {!once, h.replay}, // streams, and changes nothing
	} {
		api.Handle(pattern, h.operator(o.once, h.answer(o.serve)))
	}
	status := h.answer(h.status)
	if h.API != nil {
		api.Handle("GET /api/v1/status", h.API.Permitted(statusScope, status))
	} else {
		api.Handle("GET /api/v1/status", h.authorised(status))
	}
	mux := http.NewServeMux()
	all := h.known(api)
	mux.Handle("/api/v1/", all)
	if cfg.API != nil {
		mux.Handle("/query/", cfg.API)
		if cfg.Token != "" { // it is what the console's cookie is sealed with
			handleConsole(mux, h.Config, all)
		}
	}
	handleHealth(mux, cfg.Server, cfg.Metrics)
	return mux
}

// operator serves who knows the token, with the server API's help where there is one.
func (h *handler) operator(once bool, next http.Handler) http.Handler {
	if h.API == nil {
		return h.authorised(next)
	}
	return h.API.Operator(once, next)
}

// authorised lets through who knows the token. Sums are compared, so that not even
// the token's length shows in the time that it takes.
func (h *handler) authorised(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || h.Token == "" || subtle.ConstantTimeCompare(sum[:], h.tokenSum[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="godwit"`)
			writeProblem(w, &Problem{
				Type: "urn:godwit:problem:unauthorised", Title: "Unauthorised", Status: http.StatusUnauthorized,
				Detail: "send the token of the data directory (file admin.token) as Authorization: Bearer TOKEN",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// known hands what is not here to the server API, and without one answers it with a problem document, as it does all
// else.
func (h *handler) known(api *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := api.Handler(r); pattern != "" {
			api.ServeHTTP(w, r)
			return
		}
		said := refusedRequest{header: make(http.Header), status: http.StatusNotFound}
		api.ServeHTTP(&said, r)
		allow := said.header.Get("Allow")
		if h.API != nil && allow == "" {
			h.API.ServeHTTP(w, r)
			return
		}
		h.operator(false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := &Problem{Type: "urn:godwit:problem:no-such-operation", Title: "No such operation", Status: said.status,
				Detail: fmt.Sprintf("the API has no %s", r.URL.Path)}
			if allow != "" {
				w.Header().Set("Allow", allow)
				p.Detail = fmt.Sprintf("%s takes %s, not %s", r.URL.Path, allow, r.Method)
			}
			writeProblem(w, p)
		})).ServeHTTP(w, r)
	})
}

// refusedRequest hears how a mux refuses a request.
type refusedRequest struct {
	header http.Header
	status int
}

func (r *refusedRequest) Header() http.Header         { return r.header }
func (r *refusedRequest) WriteHeader(status int)      { r.status = status }
func (r *refusedRequest) Write(b []byte) (int, error) { return len(b), nil }

// answer runs a handler and turns its error into a problem document.
func (h *handler) answer(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lineTime)) // an import's body may have taken long
			if errors.Is(err, errRaced) {
				w.Header().Set("Retry-After", "1")
			}
			writeProblem(w, h.problem(r, err))
		}
	})
}

func (h *handler) problem(r *http.Request, err error) *Problem {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return &Problem{Type: k.uri, Title: k.title, Status: k.status, Detail: err.Error()}
		}
	}
	h.Logger.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	return &Problem{
		Type: "urn:godwit:problem:internal", Title: "Internal error", Status: http.StatusInternalServerError,
		Detail: "the server could not do it; its log says why",
	}
}

func (h *handler) add(w http.ResponseWriter, r *http.Request) error {
	var p NewPerson
	if err := readJSON(w, r, &p); err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return err
	}
	added, err := h.People.Add(r.Context(), p)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, added)
}

func (h *handler) importPeople(w http.ResponseWriter, r *http.Request) error {
	// A writer that has no deadlines has nothing to move.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(importTime))
	people, err := readLines(http.MaxBytesReader(w, r.Body, MaxImportBytes))
	if err != nil {
		return err
	}
	s := newStream(w)
	last := ImportProgress{}
	pending := []ImportError(nil)
	err = h.People.Import(r.Context(), people, func(p ImportProgress) {
		pending = append(pending, p.Refused...)
		last = p
		last.Refused = pending
		if s.send(last, false) {
			pending = nil
		}
	})
	last.Refused, last.Done = pending, true
	if err != nil {
		last.Error = h.problem(r, err).Error()
	}
	s.send(last, true)
	return nil
}

// readLines reads one person per line; an empty line is none.
func readLines(body io.Reader) ([]NewPerson, error) {
	var people []NewPerson
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 4096), MaxBody)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var p NewPerson
		if err := decode(bytes.NewReader(line), &p); err != nil {
			return nil, invalidf("line %d is no person: %w", n, err)
		}
		if people = append(people, p); len(people) > MaxImport {
			return nil, invalidf("more than %d people in one import: send several", MaxImport)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, invalidf("read people: %w", err)
	}
	return people, nil
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	after, errA := strconv.ParseUint(orZero(q.Get("after")), 10, 32)
	limit, errL := strconv.ParseUint(orZero(q.Get("limit")), 10, 32)
	if err := errors.Join(errA, errL); err != nil {
		return invalidf("after and limit are whole numbers")
	}
	if limit == 0 || limit > MaxPage {
		limit = MaxPage
	}
	page, err := h.People.List(r.Context(), uint32(after), int(limit))
	if err != nil {
		return err
	}
	if page.People == nil {
		page.People = []Person{}
	}
	return writeJSON(w, http.StatusOK, page)
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

func (h *handler) password(w http.ResponseWriter, r *http.Request) error {
	var p Password
	if err := readJSON(w, r, &p); err != nil {
		return err
	}
	if err := CheckPassword(p.Password); err != nil {
		return err
	}
	return noContent(w, h.People.SetPassword(r.Context(), r.PathValue("name"), p.Password))
}

func (h *handler) enabled(on bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		return noContent(w, h.People.SetEnabled(r.Context(), r.PathValue("name"), on))
	}
}

func (h *handler) friends(on bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		return noContent(w, h.People.SetFriends(r.Context(), r.PathValue("a"), r.PathValue("b"), on))
	}
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	st, err := h.Server.Status(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, st)
}

func (h *handler) replay(w http.ResponseWriter, r *http.Request) error {
	verify := true
	if v := r.URL.Query().Get("verify"); v != "" {
		var err error
		if verify, err = strconv.ParseBool(v); err != nil {
			return invalidf("verify is true or false")
		}
	}
	s := newStream(w)
	report, err := h.Server.Replay(r.Context(), verify, func(view string, events, total uint64) {
		s.send(ReplayProgress{View: view, Events: events, Total: total}, false)
	})
	if err != nil && !s.begun() {
		return err
	}
	last := ReplayProgress{Done: true, Report: &report}
	if err != nil {
		last = ReplayProgress{Done: true, Error: h.problem(r, err).Error()}
	}
	s.send(last, true)
	return nil
}

// stream writes an answer of JSON lines.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu    sync.Mutex
	enc   *json.Encoder
	last  time.Time
	wrote bool
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, rc: http.NewResponseController(w), enc: json.NewEncoder(w)}
}

func (s *stream) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrote
}

// send writes a line, or leaves it out when one was written just now, unless it
// must be sent. A reader that is gone is noticed through the request's context.
func (s *stream) send(line any, must bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !must && now.Sub(s.last) < progressEvery {
		return false
	}
	if s.last = now; !s.wrote {
		s.wrote = true
		s.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	_ = s.rc.SetWriteDeadline(now.Add(lineTime))
	if s.enc.Encode(line) == nil {
		_ = s.rc.Flush()
	}
	return true
}

func readJSON(w http.ResponseWriter, r *http.Request, to any) error {
	if err := decode(http.MaxBytesReader(w, r.Body, MaxBody), to); err != nil {
		return invalidf("body: %w", err)
	}
	return nil
}

// decode reads one JSON value and nothing else; a field that does not exist is a
// typing error to be told, not to be passed over.
func decode(from io.Reader, to any) error {
	d := json.NewDecoder(from)
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a reader that is gone needs no answer
	return nil
}

func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	p.Name = strings.ReplaceAll(strings.TrimPrefix(p.Type, "urn:godwit:problem:"), "-", "_")
	b, err := json.Marshal(p)
	if err != nil { // four plain fields
		panic(err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n'))
}

package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"godwit/connector/delivery"
	"godwit/internal/password"
	"godwit/schema/event"
	"godwit/schema/query"
)

const (
	// Prefix of every path but TeamTalk's.
	Prefix = "/api/v1"
	// DocumentPath is where the OpenAPI document is, for everybody.
	DocumentPath = Prefix + "/openapi.json"

	// MaxBody bounds the body of a request, in bytes: the largest message in base64, or all members of a group.
	MaxBody = 1 << 20
	// runLimit bounds one request, and streamLimit one page of an export.
	runLimit    = 25 * time.Second
	streamLimit = 30 * time.Second

	securityName = "bearer"
)

// Node is what the API needs of a [delivery.Node].
type Node interface {
	Append(s event.Stream, ev *event.Event, done func(delivery.Result)) error
	AppendCAS(s event.Stream, subject string, expect uint64, ev *event.Event, done func(delivery.Result)) error
	Ask(ctx context.Context, q *query.Request) (*query.Answer, error)
	AskTimeline(ctx context.Context, conv event.ConversationKey, q *query.Request) (*query.Answer, error)
	AskLists(ctx context.Context, q *query.Request) (*query.Answer, error)
}

// Config of an API. Node, Log, Hasher and Partitions are needed.
type Config struct {
	Node       Node
	Log        Log
	Partitions int // of the log
	Hasher     *password.Hasher
	Token      string // of the operator
	Version    string
	GroupLimit int // most members of a group; 0: the default
	// FriendsOnly: only friends write to each other, also through the API as users.
	FriendsOnly bool

	// Live is how the cluster does; nil: that is not known.
	Live Live
	// ScanTime bounds how long the log is read for one page of events, or one explanation; 0: the default.
	ScanTime time.Duration
	// ScanTurn bounds how long such a reading waits for its turn; 0: the default.
	ScanTurn time.Duration

	// BeginWebhook notes where a new target of pushes begins, before it is made; nil: nowhere.
	BeginWebhook func(ctx context.Context, id string) error

	Registerer prometheus.Registerer // of the metrics; nil: none
	Logger     *slog.Logger          // nil: silent
	Now        func() time.Time      // nil: time.Now
}

// API serves everything under [Prefix], and TeamTalk's two paths under /query/.
type API struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	gate   *gate
	repeat *repeats
	mux    *http.ServeMux
	huma   huma.API
	routes map[string]route // by pattern of the mux
	doc    []byte
	scans  chan struct{} // holds one for each reading of the log that is under way
	sent   prometheus.Counter
}

// route is one operation.
type route struct {
	id          string // of the operation, as in the OpenAPI document
	method      string
	path        string // below Prefix
	scope       Scope
	summary     string
	description string
	status      int // of success; 0: 200, or 204 without a body
	tag         string
	lines       reflect.Type // of an answer of JSON lines: what each of them is
}

// writes tells whether the operation changes something.
func (r route) writes() bool { return r.method != http.MethodGet }

// New makes the API.
func New(cfg Config) (*API, error) {
	if cfg.Node == nil || cfg.Log == nil || cfg.Hasher == nil || cfg.Partitions < 1 {
		return nil, errors.New("api: Node, Log, Hasher and Partitions are needed")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &API{cfg: cfg, log: cfg.Logger, now: cfg.Now, gate: newGate(cfg.Token, cfg.Node, cfg.Now),
		mux: http.NewServeMux(), routes: map[string]route{}, scans: make(chan struct{}, maxScans),
		sent: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "godwit", Subsystem: "api", Name: "messages_total", Help: "Messages sent over the server API."})}
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(a.sent); err != nil {
			return nil, fmt.Errorf("api: metrics: %w", err)
		}
	}
	a.repeat = newRepeats(cfg.Log, cfg.Now, a.log)

	hc := huma.DefaultConfig("godwit server API", cfg.Version)
	hc.Info.Description = "Drives a godwit from outside. See docs/api.md."
	hc.OpenAPIPath, hc.DocsPath, hc.SchemasPath = "", "", ""
	hc.CreateHooks = nil // no $schema in every body
	hc.RejectUnknownQueryParameters = true
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityName: {
		Type: "http", Scheme: "bearer",
		Description: "An API key, gw_<id>_<secret>, or the token of the data directory. The list of an operation names the scope that a key needs for it.",
	}}
	a.huma = humago.New(a.mux, hc)
	a.users()
	a.departments()
	a.groups()
	a.friends()
	a.messages()
	a.conversations()
	a.sessions()
	a.devices()
	a.webhooks()
	a.keys()
	a.export()
	a.live()
	a.logRead()
	a.operators()
	doc, err := a.huma.OpenAPI().MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("api: OpenAPI document: %w", err)
	}
	a.doc = append(doc, '\n')
	return a, nil
}

// Document is the OpenAPI document.
func (a *API) Document() *huma.OpenAPI { return a.huma.OpenAPI() }

// idempotencyKey is the header of every write.
const idempotencyKey = "Idempotency-Key"

func idempotencyParam() *huma.Param {
	return &huma.Param{
		Name: idempotencyKey, In: "header",
		Description: "Names the request, so that it may be repeated for a day and is done once",
		Schema:      &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(maxKeyLength)},
	}
}

// register adds an operation.
func register[I, O any](a *API, r route, do func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: Prefix + r.path, Summary: r.summary, Description: r.description,
		DefaultStatus: r.status, Tags: []string{r.tag}, MaxBodyBytes: MaxBody,
		Security: []map[string][]string{{securityName: {string(r.scope)}}},
	}
	if r.writes() {
		op.Parameters = append(op.Parameters, idempotencyParam())
	}
	if r.lines != nil {
		op.Responses = map[string]*huma.Response{"200": {Description: "JSON lines", Content: map[string]*huma.MediaType{
			"application/x-ndjson": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(r.lines, true, r.id)},
		}}}
	}
	what := r.id
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.problem(what, err)
		}
		return out, nil
	})
	a.routes[r.method+" "+Prefix+r.path] = r
}

// call is a request on its way through an operation, from its context.
type call struct {
	caller
	id    event.ID // names it in the log; zero where it has no Idempotency-Key
	again bool     // an earlier run of it may have come as far as the log
}

type callKey struct{}

func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// ServeHTTP admits, repeats or runs a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == DocumentPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(a.doc)
		return
	}
	if strings.HasPrefix(r.URL.Path, teamTalkPrefix) {
		a.teamTalk(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	c, err := a.gate.admit(r.Context(), r.RemoteAddr, bearer(r))
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="godwit"`)
		a.problem("admit", err).write(w)
		return
	}
	_, pattern := a.mux.Handler(r)
	op, known := a.routes[pattern]
	if !known {
		a.unknown(w, r)
		return
	}
	if !c.may(op.scope) {
		lacks(op.scope).write(w)
		return
	}
	ctx := r.Context()
	if op.scope != ExportScope {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, runLimit)
		defer cancel()
	}
	if err := a.once(w, r.WithContext(ctx), c, op.writes(), a.mux.ServeHTTP); err != nil {
		a.problem(op.id, err).write(w)
	}
}

// once runs a request of a caller; a write with an Idempotency-Key only where it has not been run before.
func (a *API) once(w http.ResponseWriter, r *http.Request, c caller, writes bool, serve http.HandlerFunc) error {
	run := func(w http.ResponseWriter, r *http.Request, c call) {
		serve(w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	}
	if !writes || len(r.Header.Values(idempotencyKey)) == 0 {
		run(w, r, call{caller: c})
		return nil
	}
	return a.repeat.serve(w, r, c, r.Header.Get(idempotencyKey), run)
}

// Authorize tells whether a request that came to another port may do what a scope stands for: it needs the operator's
// token or an API key with that scope. The error is a *Problem that says why not.
func (a *API) Authorize(r *http.Request, s Scope) error {
	c, err := a.gate.admit(r.Context(), r.RemoteAddr, bearer(r))
	if err == nil && !c.may(s) {
		err = lacks(s)
	}
	if err != nil {
		return a.problem("admit", err)
	}
	return nil
}

func lacks(s Scope) *Problem {
	return newProblem(http.StatusForbidden, nameForbidden, "Not allowed", fmt.Sprintf("the key lacks the scope %s", s))
}

// unknown answers what the API does not have.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); a.routes[pattern].method == method {
			allow = append(allow, method)
		}
	}
	if len(allow) == 0 {
		notFound(nameNoOperation, fmt.Sprintf("the API has no %s", r.URL.Path)).write(w)
		return
	}
	slices.Sort(allow)
	w.Header().Set("Allow", strings.Join(allow, ", "))
	newProblem(http.StatusMethodNotAllowed, nameNoOperation, "No such operation", fmt.Sprintf("%s takes %s, not %s", r.URL.Path, strings.Join(allow, ", "), r.Method)).write(w)
}

package pictures

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/internal/origin"
)

// DefaultRoom is Config.Room where nothing else is said.
const DefaultRoom = 4 << 30

// Upload says who may upload.
type Upload string

const (
	// Session: who is logged in from the address of the request, or shows a token or a key.
	Session Upload = "session"
	// Open: everybody, as in the original.
	Open Upload = "open"
	// Off: nobody.
	Off Upload = "off"
)

// Config of a Handler. Bus is needed; zero values take the defaults named.
type Config struct {
	Bus     *bus.Bus
	Room    int64         // bytes of all files; default DefaultRoom
	Keep    time.Duration // how long a file is kept; 0: for ever
	MaxSize int64         // bytes of one file; default 5 MiB, at most 64 MiB
	Upload  Upload        // default Session
	// URL is under which clients reach this handler, with a slash at its end; empty: as the
	// request came.
	URL string

	// HasAddress tells whether somebody is logged in from an address; nil: nobody.
	HasAddress func(netip.Addr) bool
	// Allow are other ways to a permission: one of them has to say yes to the request.
	Allow []func(*http.Request) bool

	Rate       float64 // uploads a second and address, sustained; default 10
	Burst      int     // uploads of an address at once; default 200
	Uploads    int     // being received at once, each in memory; default 32
	PerAddress int     // of these from one address; default 8

	Logger     *slog.Logger
	Registerer prometheus.Registerer // of the metrics; default: none
}

// Times of a request.
const (
	uploadTime = 2 * time.Minute
	fetchTime  = 2 * time.Minute
	waitTime   = 10 * time.Second // for a place to upload
)

// maxAddresses bounds the addresses whose rate is known.
const maxAddresses = 10_000

// Handler serves the store: POST to any path, GET below /g0/.
type Handler struct {
	cfg   Config
	log   *slog.Logger
	store *bus.Objects
	slots chan struct{}
	count *prometheus.CounterVec

	mu        sync.Mutex
	addresses map[netip.Addr]*client
}

// client is what is known of an address.
type client struct {
	room    float64 // uploads it may begin now
	at      time.Time
	running int
}

// New opens the store. ctx bounds the opening only.
func New(ctx context.Context, cfg Config) (*Handler, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if cfg.Room == 0 {
		cfg.Room = DefaultRoom
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = 5 << 20
	}
	if cfg.Rate == 0 {
		cfg.Rate = 10
	}
	def(&cfg.Burst, 200)
	def(&cfg.Uploads, 32)
	def(&cfg.PerAddress, 8)
	if cfg.Upload == "" {
		cfg.Upload = Session
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Bus == nil:
		return nil, errors.New("pictures: no bus")
	case cfg.MaxSize < 1 || cfg.MaxSize > 64<<20 || cfg.Rate < 0 || cfg.Burst < 1 || cfg.Uploads < 1 || cfg.PerAddress < 1:
		return nil, errors.New("pictures: a limit is out of range")
	case !slices.Contains([]Upload{Session, Open, Off}, cfg.Upload):
		return nil, fmt.Errorf("pictures: upload %q is none of session, open, off", cfg.Upload)
	}
	if cfg.URL != "" && !strings.HasSuffix(cfg.URL, "/") {
		cfg.URL += "/"
	}
	store, err := cfg.Bus.Objects(ctx, StoreConfig(cfg.Room, cfg.Keep))
	if err != nil {
		return nil, fmt.Errorf("pictures: %w", err)
	}
	h := &Handler{cfg: cfg, log: cfg.Logger, store: store, slots: make(chan struct{}, cfg.Uploads), addresses: make(map[netip.Addr]*client),
		count: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "godwit", Subsystem: "pictures", Name: "requests_total",
			Help: "Requests to the picture store."}, []string{"result"})}
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(h.count); err != nil {
			return nil, fmt.Errorf("pictures: %w", err)
		}
	}
	return h, nil
}

// Room is how many bytes the store is to hold, and how many it takes until it is full.
func (h *Handler) Room(ctx context.Context) (all, left int64, err error) {
	left, err = h.store.Room(ctx)
	return h.store.MaxBytes(), left, err
}

// ServeHTTP serves both ways.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		h.upload(w, r)
	case http.MethodGet, http.MethodHead:
		h.fetch(w, r)
	default:
		h.count.WithLabelValues("method").Inc()
		http.Error(w, "forbidden", http.StatusForbidden)
	}
}

// answer writes what an upload came to, in the very form of the original.
func (h *Handler) answer(w http.ResponseWriter, status, code int, path, url string) {
	quote := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			return `""`
		}
		return string(b)
	}
	body := fmt.Sprintf(`{"error_code":%d,"error_msg": %s,"path":%s,"url":%s}`, code, quote(message(code)), quote(path), quote(url))
	result := "uploaded"
	if code != codeOK {
		body = fmt.Sprintf(`{"error_code":%d,"error_msg": %s,"url":""}`, code, quote(message(code)))
		result = "code_" + strconv.Itoa(code)
	}
	h.count.WithLabelValues(result).Inc()
	head := w.Header()
	head.Set("Content-Type", "text/html;charset=utf-8")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	head.Set("Connection", "close")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a client that has gone does not read it
}

func remote(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func (h *Handler) allowed(r *http.Request) bool {
	switch h.cfg.Upload {
	case Open:
		return true
	case Off:
		return false
	}
	if slices.ContainsFunc(h.cfg.Allow, func(allow func(*http.Request) bool) bool { return allow(r) }) {
		return true
	}
	a := remote(r)
	return a.IsValid() && h.cfg.HasAddress != nil && h.cfg.HasAddress(a)
}

// begin counts an upload of an address; false is too many.
func (h *Handler) begin(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	c := h.addresses[a]
	if c == nil {
		if len(h.addresses) >= maxAddresses {
			for old, o := range h.addresses {
				if o.running == 0 && h.refill(o, now) >= float64(h.cfg.Burst) {
					delete(h.addresses, old) // nothing is forgotten with it
				}
			}
			if len(h.addresses) >= maxAddresses {
				return false
			}
		}
		c = &client{room: float64(h.cfg.Burst), at: now}
		h.addresses[a] = c
	}
	if h.refill(c, now) < 1 || c.running >= h.cfg.PerAddress {
		return false
	}
	c.room--
	c.running++
	return true
}

func (h *Handler) refill(c *client, now time.Time) float64 {
	c.room = min(float64(h.cfg.Burst), c.room+now.Sub(c.at).Seconds()*h.cfg.Rate)
	c.at = now
	return c.room
}

func (h *Handler) finish(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addresses[a].running--
}

// upload is the POST.
func (h *Handler) upload(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if !h.allowed(r) {
		status := http.StatusUnauthorized
		if h.cfg.Upload == Off {
			status = http.StatusForbidden
		} else {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		_ = rc.SetReadDeadline(time.Now()) // what a stranger sends is not waited for
		h.answer(w, status, codeNotAllowed, "", "")
		return
	}
	a := origin.Of(remote(r))
	if !h.begin(a) {
		_ = rc.SetReadDeadline(time.Now())
		w.Header().Set("Retry-After", "1")
		h.answer(w, http.StatusTooManyRequests, codeTryLater, "", "")
		return
	}
	defer h.finish(a)
	ctx, cancel := context.WithTimeout(r.Context(), uploadTime)
	defer cancel()
	wait := time.NewTimer(waitTime)
	defer wait.Stop()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-wait.C:
		h.answer(w, http.StatusServiceUnavailable, codeTryLater, "", "")
		return
	case <-ctx.Done():
		return
	}
	// A phone on a bad line needs longer than a question does. Tests have writers without
	// deadlines.
	_ = rc.SetReadDeadline(time.Now().Add(uploadTime))
	_ = rc.SetWriteDeadline(time.Now().Add(uploadTime + 30*time.Second))

	limit := h.cfg.MaxSize + maxMultipartExtra
	body, err := read(r, limit)
	if err != nil {
		h.log.Debug("upload broke off", "addr", a, "err", err)
		return
	}
	if int64(len(body)) > limit {
		// The client reads no answer before it has sent what it has to.
		_, _ = io.CopyN(io.Discard, r.Body, 4*limit)
		h.answer(w, http.StatusOK, codeTooLarge, "", "")
		return
	}
	f, code := parse(r.Header.Get("Content-Type"), body)
	switch {
	case code != codeOK:
	case int64(len(f.data)) > h.cfg.MaxSize:
		code = codeTooLarge
	case len(f.data) == 0 || !fits(f.ext, f.data):
		code = codeWrongContent
	}
	if code != codeOK {
		h.answer(w, http.StatusOK, code, "", "")
		return
	}
	path := newPath(time.Now(), f.pixels, f.ext)
	if err := put(ctx, h.store, path, f.data); err != nil {
		h.log.Warn("picture not stored", "bytes", len(f.data), "err", err)
		if errors.Is(err, bus.ErrNoRoom) {
			h.answer(w, http.StatusInsufficientStorage, codeNoRoom, "", "")
		} else {
			h.answer(w, http.StatusServiceUnavailable, codeTryLater, "", "")
		}
		return
	}
	h.answer(w, http.StatusOK, codeOK, path, h.base(r)+path)
}

// read reads at most limit bytes and one more.
func read(r *http.Request, limit int64) ([]byte, error) {
	size := int64(4 << 10)
	if r.ContentLength > 0 {
		size = min(r.ContentLength, limit) + 1
	}
	body := make([]byte, 0, size)
	for int64(len(body)) <= limit {
		if len(body) == cap(body) {
			body = slices.Grow(body, int(min(int64(len(body)), limit+1-int64(len(body)))))
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}

// base is the URL of the store, for the client that asks.
func (h *Handler) base(r *http.Request) string {
	if h.cfg.URL != "" {
		return h.cfg.URL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + "/"
}

// paths are what is stored; behind one a client may have put the size that it wants an
// avatar in, which the original ignores by knowing no such file.
var paths = regexp.MustCompile(`^/(g0/[0-9]{3}/[0-9]{3}/([0-9]{1,20})_[0-9a-f]{16}(?:_[0-9]{1,4}x[0-9]{1,4})?\.([0-9a-z]{1,15}))(?:_[0-9]{1,4}x[0-9]{1,4}\.jpg)?$`)

// fetch is the GET.
func (h *Handler) fetch(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	if strings.Contains(r.URL.Path, "..") || strings.Contains(r.URL.RawPath, "..") {
		h.count.WithLabelValues("bad_path").Inc()
		head.Set("Connection", "close")
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	m := paths.FindStringSubmatch(r.URL.Path)
	if m == nil {
		h.count.WithLabelValues("not_found").Inc()
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	path, ext := m[1], m[3]
	ctx, cancel := context.WithTimeout(r.Context(), fetchTime)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(fetchTime)) // tests have writers without
	f, err := open(ctx, h.store, path)
	switch {
	case errors.Is(err, errNotFound):
		h.count.WithLabelValues("not_found").Inc()
		http.Error(w, "not found", http.StatusNotFound)
		return
	case err != nil:
		h.count.WithLabelValues("failed").Inc()
		h.log.Warn("picture not read", "err", err)
		http.Error(w, "unavailable", http.StatusServiceUnavailable)
		return
	}
	h.count.WithLabelValues("fetched").Inc()
	name := path[strings.LastIndexByte(path, '/')+1:]
	if _, picture := pictureTypes[ext]; picture {
		head.Set("Content-Type", "image/"+ext) // as the original spells it
		head.Set("Content-Disposition", `inline; filename="`+name+`"`)
	} else {
		head.Set("Content-Type", "application/octet-stream")
		head.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
	head.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	head.Set("ETag", `"`+name+`"`)
	var made time.Time
	if micros, err := strconv.ParseInt(m[2], 10, 64); err == nil {
		made = time.UnixMicro(micros)
	}
	http.ServeContent(w, r, name, made, f)
}

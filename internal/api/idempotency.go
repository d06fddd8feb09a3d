package api

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"godwit/bus"
	"godwit/commands"
	"godwit/schema/event"
)

// How a request with an Idempotency-Key is done once.
//
// Before it runs, a claim is noted under the caller and the key: an id, whose time is the claim's. The id names the
// request's events in the log: as Event.request, by which the people view gives a repeated event the first one's outcome,
// and as the client message id of a message. After it has run, and before it is answered, the answer is noted beside the
// claim. A repeat gets that answer. A repeat that finds a claim alone, because a process ended in between, or because the
// log was away, runs the request again under the same id: what had been appended is recognised and not done twice.
//
// What is noted can be read only with the credential that asked: an answer may hold the secret of a new key, and a
// request the password of a person, of which not even a plain hash is kept.

// Log is what the API needs of a [bus.Bus]. Notes of requests are kept for a day, and written by compare and set.
type Log interface {
	LastSequence(ctx context.Context, s event.Stream) (uint64, error)
	ReadRecord(ctx context.Context, s event.Stream, seq uint64) (bus.Recorded, error)
	RequestNote(ctx context.Context, name string) (note []byte, revision uint64, err error)
	NoteRequest(ctx context.Context, name string, note []byte, expect uint64) (revision uint64, err error)
	Process() string
	Alone() bool
}

const (
	maxKeyLength = 255
	// maxAnswer is the largest answer that is noted. A larger one is not, and its request runs again when it is
	// repeated; no write answers so much.
	maxAnswer = 128 << 10
	// claimTime is how long a claim of another process is taken for alive.
	claimTime = time.Minute
	// claimAge is how old a claim without an answer may be: its id is a client message id, which is refused when it is
	// older than a day, so a run under it must be through by then.
	claimAge = commands.ClientIDAge - time.Minute
	// attempts bounds how often a compare and set is tried anew.
	attempts = 5

	// replayed marks an answer that was given before.
	replayed = "Idempotency-Replayed"
)

// note is what is noted of a request.
type note struct {
	ID      []byte    `json:"id"`      // of the claim
	Request []byte    `json:"request"` // keyed hash of method, path and body
	Process string    `json:"process"` // that runs it
	Until   time.Time `json:"until"`   // when others may take it over
	Answer  []byte    `json:"answer,omitempty"`
}

// answer is a response as it is noted, sealed.
type answer struct {
	Status int    `json:"status"`
	Type   string `json:"type,omitempty"`
	Body   []byte `json:"body,omitempty"`
}

// repeats runs requests once.
type repeats struct {
	notes Log
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex
	running map[string]chan struct{} // closed at the end of the run
}

func newRepeats(notes Log, now func() time.Time, log *slog.Logger) *repeats {
	return &repeats{notes: notes, now: now, log: log, running: map[string]chan struct{}{}}
}

type runner func(w http.ResponseWriter, r *http.Request, c call)

// serve runs a request of a caller or repeats its answer. It has written an answer unless it gives an error.
func (s *repeats) serve(w http.ResponseWriter, r *http.Request, c caller, key string, run runner) error {
	if err := checkKey(key, len(r.Header.Values(idempotencyKey))); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return newProblem(http.StatusRequestEntityTooLarge, nameTooLarge, "Too large", fmt.Sprintf("the body has more than %d bytes", MaxBody))
	} else if err != nil {
		return newProblem(http.StatusBadRequest, nameInvalid, "Invalid request", "the body did not arrive whole")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	name, err := keyed(c, "name", key)
	if err != nil {
		return err
	}
	request, err := keyed(c, "request", r.Method, r.URL.RequestURI(), string(body))
	if err != nil {
		return err
	}
	at := hex.EncodeToString(name[:16])
	leave, err := s.enter(r.Context(), at)
	if err != nil {
		return err
	}
	defer leave()
	n, revision, again, err := s.claim(r.Context(), at, request)
	if err != nil {
		return err
	}
	if len(n.Answer) > 0 {
		given, err := unseal(c, n)
		if err != nil {
			return err
		}
		w.Header().Set(replayed, "true")
		given.write(w)
		return nil
	}
	got := &recorder{header: http.Header{}, status: http.StatusOK}
	run(got, r, call{caller: c, id: event.ToID(n.ID), again: again})
	// An answer that invites to come again is none: the next run may come to another. Others may take over at once.
	if n.Until = s.now(); !got.passing() {
		if n.Answer, err = seal(c, n, got.answer()); err != nil {
			return err
		}
	}
	// The answer is given also if it could not be noted: a repeat then runs again, and comes to the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
	defer cancel()
	if _, err := s.write(ctx, at, n, revision); err != nil {
		s.log.Warn("answer to a request with an idempotency key not noted", "err", err)
	}
	got.writeTo(w)
	return nil
}

func checkKey(key string, count int) error {
	bad := count != 1 || key == "" || len(key) > maxKeyLength
	for i := range len(key) {
		bad = bad || key[i] < 0x21 || key[i] > 0x7e
	}
	if bad {
		return newProblem(http.StatusBadRequest, nameInvalid, "Invalid request",
			fmt.Sprintf("%s must be one value of 1 to %d ASCII characters without spaces", idempotencyKey, maxKeyLength))
	}
	return nil
}

// enter waits until no other request of this process runs under the name.
func (s *repeats) enter(ctx context.Context, name string) (leave func(), err error) {
	for {
		s.mu.Lock()
		other, busy := s.running[name]
		if !busy {
			done := make(chan struct{})
			s.running[name] = done
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.running, name)
				s.mu.Unlock()
				close(done)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, inProgress()
		}
	}
}

func inProgress() *Problem {
	p := newProblem(http.StatusConflict, nameInProgress, "In progress", "a request with this Idempotency-Key is under way")
	p.again = 1
	return p
}

// claim finds the answer to a request, or takes the right to run it; again: somebody may have run it before.
func (s *repeats) claim(ctx context.Context, name string, request []byte) (n note, revision uint64, again bool, err error) {
	for range attempts {
		data, revision, err := s.notes.RequestNote(ctx, name)
		if err != nil {
			return n, 0, false, err
		}
		n = note{}
		now := s.now()
		if len(data) > 0 {
			if err := json.Unmarshal(data, &n); err != nil {
				return n, 0, false, fmt.Errorf("note of a request: %w", err)
			}
			again = true
			age := now.Sub(time.UnixMilli(int64(event.ToID(n.ID).Time())))
			if age >= bus.RequestTTL || age > claimAge && len(n.Answer) == 0 {
				n, again = note{}, false
			}
		}
		switch {
		case !again:
			id := ulid.MustNew(ulid.Timestamp(now), rand.Reader)
			n = note{ID: id.Bytes(), Request: request}
		case !hmac.Equal(n.Request, request):
			return n, 0, false, newProblem(http.StatusUnprocessableEntity, nameKeyReused, "Idempotency-Key was used already",
				"the Idempotency-Key stands for another request: take a new one")
		case len(n.Answer) > 0:
			return n, revision, true, nil
		case n.Process != s.notes.Process() && !s.notes.Alone() && now.Before(n.Until):
			return n, 0, false, inProgress()
		}
		n.Process, n.Until = s.notes.Process(), now.Add(claimTime)
		revision, err = s.write(ctx, name, n, revision)
		if errors.Is(err, bus.ErrConflict) {
			again = false
			continue
		}
		return n, revision, again, err
	}
	return n, 0, false, inProgress()
}

func (s *repeats) write(ctx context.Context, name string, n note, expect uint64) (uint64, error) {
	data, err := json.Marshal(n)
	if err != nil {
		return 0, fmt.Errorf("note a request: %w", err)
	}
	return s.notes.NoteRequest(ctx, name, data, expect)
}

// derive makes a key for one use of a caller's credential.
func derive(c caller, salt []byte, use string) ([]byte, error) {
	return hkdf.Key(sha256.New, c.credential, salt, "godwit api: "+use, 32)
}

// keyed is a hash that can't be tried out by who does not know the credential.
func keyed(c caller, use string, parts ...string) ([]byte, error) {
	key, err := derive(c, nil, use)
	if err != nil {
		return nil, fmt.Errorf("hash of a request: %w", err)
	}
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return h.Sum(nil), nil
}

func sealer(c caller, n note) (cipher.AEAD, error) {
	key, err := derive(c, n.ID, "answer")
	if err != nil {
		return nil, err
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(b)
}

func seal(c caller, n note, given answer) ([]byte, error) {
	aead, err := sealer(c, n)
	if err != nil {
		return nil, fmt.Errorf("seal an answer: %w", err)
	}
	plain, err := json.Marshal(given)
	if err != nil {
		return nil, fmt.Errorf("seal an answer: %w", err)
	}
	return aead.Seal(nil, nil, plain, nil), nil
}

func unseal(c caller, n note) (given answer, err error) {
	aead, err := sealer(c, n)
	if err != nil {
		return given, fmt.Errorf("read a noted answer: %w", err)
	}
	plain, err := aead.Open(nil, nil, n.Answer, nil)
	if err == nil {
		err = json.Unmarshal(plain, &given)
	}
	if err != nil {
		return given, fmt.Errorf("read a noted answer: %w", err)
	}
	return given, nil
}

func (given answer) write(w http.ResponseWriter) {
	if given.Type != "" {
		w.Header().Set("Content-Type", given.Type)
	}
	w.WriteHeader(given.Status)
	_, _ = w.Write(given.Body)
}

// recorder keeps an answer until it is noted.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.wrote, r.status = true, status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	return r.body.Write(b)
}

// passing tells an answer that another run may change.
func (r *recorder) passing() bool {
	return r.status >= 500 || r.header.Get("Retry-After") != "" || r.body.Len() > maxAnswer
}

func (r *recorder) answer() answer {
	return answer{Status: r.status, Type: r.header.Get("Content-Type"), Body: r.body.Bytes()}
}

func (r *recorder) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.header)
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes())
}

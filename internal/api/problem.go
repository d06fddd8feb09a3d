package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/delivery"
	"godwit/schema/frame"
)

// Problem is an error as it travels: an RFC 9457 problem document.
type Problem struct {
	Type   string   `json:"type" doc:"A URN that never changes: urn:godwit:problem: and the name with dashes"`
	Name   string   `json:"name" doc:"One word that never changes, to be compared by programs" example:"no_such_person"`
	Title  string   `json:"title" doc:"What it is, for people"`
	Status int      `json:"status" doc:"The HTTP status"`
	Detail string   `json:"detail,omitempty" doc:"What was wrong this time, for people"`
	Errors []Defect `json:"errors,omitempty" doc:"Every field that was not as it must be"`

	again int // seconds after which the request may be repeated as it is; 0: it should not be
}

// Defect is one thing that is wrong with a request.
type Defect struct {
	Location string `json:"location,omitempty" doc:"Where: a path into the request" example:"body.nick"`
	Message  string `json:"message" doc:"What"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// GetStatus is for the library that writes it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes JSON of a problem a problem document.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders tells when to come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.again > 0 {
		h.Set("Retry-After", strconv.Itoa(p.again))
	}
	return h
}

func newProblem(status int, name, title, detail string) *Problem {
	return &Problem{Type: "urn:godwit:problem:" + strings.ReplaceAll(name, "_", "-"), Name: name, Title: title, Status: status, Detail: detail}
}

// Problems of the API itself.
const (
	nameInvalid      = "invalid"
	nameUnauthorised = "unauthorised"
	nameForbidden    = "forbidden"
	nameNoOperation  = "no_such_operation"
	nameTooLarge     = "too_large"
	nameBusy         = "too_many_failures"
	nameUnavailable  = "unavailable"
	nameScans        = "log_busy"
	nameConflict     = "conflict"
	nameTimeout      = "timeout"
	nameInternal     = "internal"
	nameKeyReused    = "idempotency_key_reused"
	nameInProgress   = "in_progress"
)

func invalid(format string, args ...any) *Problem {
	return newProblem(http.StatusUnprocessableEntity, nameInvalid, "Invalid request", fmt.Sprintf(format, args...))
}

func notFound(name, what string) *Problem {
	return newProblem(http.StatusNotFound, name, "There is none", what)
}

func noSuchUser(user uint32) *Problem {
	return notFound(commands.ErrNoSuchPerson.Name(), fmt.Sprintf("there is no user %d", user))
}

func init() {
	// What the library finds wrong becomes a Problem. The values are not echoed: among them are passwords.
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		p := newProblem(status, nameInvalid, "Invalid request", message)
		switch status {
		case http.StatusRequestEntityTooLarge:
			p = newProblem(status, nameTooLarge, "Too large", message)
		case http.StatusInternalServerError:
			return internal()
		}
		for _, err := range errs {
			if d, ok := err.(huma.ErrorDetailer); ok {
				detail := d.ErrorDetail()
				p.Errors = append(p.Errors, Defect{Location: detail.Location, Message: detail.Message})
			} else if err != nil {
				p.Errors = append(p.Errors, Defect{Message: err.Error()})
			}
		}
		return p
	}
}

func internal() *Problem {
	return newProblem(http.StatusInternalServerError, nameInternal, "Internal error", "the server could not do it; its log says why")
}

// statuses of refusals that are not 422.
var statuses = map[string]int{}

func init() {
	for status, refusals := range map[int][]*commands.Refusal{
		http.StatusNotFound: {commands.ErrNoSuchPerson, commands.ErrNoSuchGroup, commands.ErrNoSuchMessage,
			commands.ErrNoSuchDepartment, commands.ErrNoSuchKey, commands.ErrNoSuchWebhook, commands.ErrNoSuchRequest},
		http.StatusConflict: {
			commands.ErrNameTaken, commands.ErrNumberTaken, commands.ErrPersonDisabled, commands.ErrAlreadyDisabled, commands.ErrNotDisabled,
			commands.ErrAlreadyFriends, commands.ErrNotFriends, commands.ErrSessionOver, commands.ErrBlocked, commands.ErrNotParty,
			commands.ErrNotMember, commands.ErrNotAdministrator, commands.ErrGroupType, commands.ErrGroupFull, commands.ErrGroupExists,
			commands.ErrNothingToDo, commands.ErrNothingNew, commands.ErrDepartmentTaken, commands.ErrDepartmentLoop, commands.ErrKeyTaken,
			commands.ErrKeyRevoked,
		},
	} {
		for _, r := range refusals {
			statuses[r.Name()] = status
		}
	}
}

// failures are errors of the rooms below that a caller can wait out.
var failures = []struct {
	err    error
	name   string
	title  string
	status int
	again  int
}{
	{delivery.ErrStopped, nameUnavailable, "Not available now", http.StatusServiceUnavailable, 1},
	{delivery.ErrUnavailable, nameUnavailable, "Not available now", http.StatusServiceUnavailable, 1},
	{delivery.ErrLifeLost, nameUnavailable, "Not available now", http.StatusServiceUnavailable, 1},
	{delivery.ErrPositionsLost, nameUnavailable, "Not available now", http.StatusServiceUnavailable, 1},
	{bus.ErrFull, nameUnavailable, "Not available now", http.StatusServiceUnavailable, 1},
	{bus.ErrClosed, nameUnavailable, "Not available now", http.StatusServiceUnavailable, 1},
	{bus.ErrConflict, nameConflict, "Others were faster", http.StatusConflict, 1},
	{context.DeadlineExceeded, nameTimeout, "Took too long", http.StatusGatewayTimeout, 1},
	{context.Canceled, nameTimeout, "Given up", http.StatusGatewayTimeout, 1},
	{bus.ErrTooLarge, nameTooLarge, "Too large", http.StatusRequestEntityTooLarge, 0},
}

// problem is how an error travels. One that is none of a caller's is logged and hidden.
func (a *API) problem(what string, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if r, ok := commands.AsRefusal(err); ok {
		status := statuses[r.Name()]
		if status == 0 {
			status = http.StatusUnprocessableEntity
		}
		return newProblem(status, r.Name(), title(r), err.Error())
	}
	for _, f := range failures {
		if errors.Is(err, f.err) {
			p := newProblem(f.status, f.name, f.title, f.err.Error())
			p.again = f.again
			a.log.Warn("request not done", "request", what, "err", err)
			return p
		}
	}
	a.log.Error("request failed", "request", what, "err", err)
	return internal()
}

func title(r *commands.Refusal) string {
	text := r.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// voids are what a fold says to an event of this package, as the refusal that a decision with full knowledge would have
// given.
var voids = map[frame.Void]*commands.Refusal{
	frame.Void_VOID_NOT_PARTY:          commands.ErrNotParty,
	frame.Void_VOID_BLOCKED:            commands.ErrBlocked,
	frame.Void_VOID_NAME_TAKEN:         commands.ErrNameTaken,
	frame.Void_VOID_NUMBER_TAKEN:       commands.ErrNumberTaken,
	frame.Void_VOID_NO_SUCH_PERSON:     commands.ErrNoSuchPerson,
	frame.Void_VOID_NO_SUCH_GROUP:      commands.ErrNoSuchGroup,
	frame.Void_VOID_NO_SUCH_MESSAGE:    commands.ErrNoSuchMessage,
	frame.Void_VOID_NO_SUCH_DEPARTMENT: commands.ErrNoSuchDepartment,
	frame.Void_VOID_NO_SUCH_REQUEST:    commands.ErrNoSuchRequest,
}

// voided is the error that a result stands for; an event without effect is none: it is so already, and neither is a
// repeat, whose outcome is the first one's.
func voided(res delivery.Result) error {
	switch res.Void {
	case frame.Void_VOID_NONE, frame.Void_VOID_NO_EFFECT, frame.Void_VOID_REPEAT:
		return nil
	}
	if r := voids[res.Void]; r != nil {
		return r
	}
	name := strings.ToLower(strings.TrimPrefix(res.Void.String(), "VOID_"))
	return newProblem(http.StatusConflict, name, "The event came to nothing", "it came to nothing: "+strings.ReplaceAll(name, "_", " "))
}

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter) {
	b, err := json.Marshal(p)
	if err != nil { // plain fields
		panic(err)
	}
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n')) // who is gone needs no answer
}

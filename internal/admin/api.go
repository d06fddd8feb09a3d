// Package admin is the administrators' HTTP API: its handler, and the client that
// the command line uses.
//
// Everything under /api/v1 takes and gives JSON and needs the bearer token of the
// data directory; the status is given to API keys with the scope status:read as well:
//
//	POST   /api/v1/people                     add a person: NewPerson -> Person
//	POST   /api/v1/people:import              add many: a NewPerson per line -> ImportProgress per line
//	GET    /api/v1/people?after=&limit=       a page of people, by number
//	POST   /api/v1/people/{name}/password     Password -> 204
//	POST   /api/v1/people/{name}/disable      -> 204; the person's sessions end
//	POST   /api/v1/people/{name}/enable       -> 204
//	PUT    /api/v1/friends/{a}/{b}            -> 204
//	DELETE /api/v1/friends/{a}/{b}            -> 204
//	GET    /api/v1/status                     Status
//	POST   /api/v1/replay?verify=true         ReplayProgress per line, the last with a report
//
// Beside the server API (package api) wrong tokens of an address are limited, and a write with an Idempotency-Key is done
// once; an import and a replay know none: both may be sent again as they are.
//
// Three paths need no token, since they tell nothing about people and are read by
// supervisors and collectors that should hold no secret: /healthz (the process
// answers), /readyz (it can do its work; 503 and why if not) and /metrics
// (Prometheus). They stand on the admin port only, which listens on loopback unless
// configured otherwise.
//
// An error is a problem document (RFC 9457). An answer that streams ends with a line
// that has done set; a stream without it broke off.
package admin

import (
	"context"
	"errors"
	"time"

	"godwit/commands"
)

// Bounds of requests.
const (
	MaxImport      = 50_000           // people in one import; a longer list is several imports
	MaxImportBytes = 32 << 20         // of one import's body
	MaxBody        = 64 << 10         // of any other body
	MaxPage        = 1_000            // people in one page, and the default
	MaxName        = commands.MaxName // characters of a login name
	MaxPassword    = 256              // bytes of a password
	MaxNick        = commands.MaxNick // characters of a nick
	// MaxNumber of a person who is given one: the next free number is above the greatest,
	// and once the last 32-bit number is somebody's nobody can be added any more.
	MaxNumber = 1<<31 - 1
)

// Refusals and failures that a backend tells apart. Whatever wraps none of them is
// an internal error, whose text stays in the log.
var (
	ErrNameTaken    = errors.New("name is taken")
	ErrNoSuchPerson = errors.New("no such person")
	ErrInvalid      = errors.New("invalid request")   // its text says what and how to mend it
	ErrUnavailable  = errors.New("not available now") // log or view away, disk full, …: try again
	ErrConflict     = errors.New("conflict")          // state does not allow it, e.g. a replay is running
)

// NewPerson is who is to be registered.
type NewPerson struct {
	Name     string `json:"name"`
	Password string `json:"password"`         // plain
	Nick     string `json:"nick,omitempty"`   // default: the name as given
	Number   uint32 `json:"number,omitempty"` // 0: the next free one
}

// Person is one account.
type Person struct {
	Number   uint32 `json:"number"`
	Name     string `json:"name"`
	Nick     string `json:"nick"`
	Disabled bool   `json:"disabled,omitempty"`
	Updated  uint32 `json:"updated,omitempty"` // Unix seconds of the last change
}

// Page is some people in the order of their numbers.
type Page struct {
	People []Person `json:"people"`
	More   bool     `json:"more"` // ask again after the last number
}

// Password is a new password.
type Password struct {
	Password string `json:"password"`
}

// ImportProgress is one line of an import's answer: how far it is, and whom it
// refused since the line before. Numbers count people of the request.
type ImportProgress struct {
	Handled int           `json:"handled"` // stored or refused
	Added   int           `json:"added"`
	Refused []ImportError `json:"refused,omitempty"`
	Done    bool          `json:"done,omitempty"`
	Error   string        `json:"error,omitempty"` // why the import ended early; done is set as well
}

// ImportError is a person that an import could not add.
type ImportError struct {
	Index int    `json:"index"` // from 0, in the order of the request
	Name  string `json:"name"`
	Taken bool   `json:"taken,omitempty"` // there already
	Error string `json:"error"`
}

// Status is what a server says about itself.
type Status struct {
	Version       string         `json:"version"`
	Role          string         `json:"role,omitempty"` // of a cluster
	PID           int            `json:"pid"`
	Started       time.Time      `json:"started"`
	Ready         bool           `json:"ready"`
	NotReady      string         `json:"not_ready,omitempty"` // why
	Durability    string         `json:"durability"`
	Listen        string         `json:"listen"`
	TLSListen     string         `json:"tls_listen,omitempty"`
	HTTP          string         `json:"http"`
	Log           string         `json:"log"` // ULID
	Partitions    int            `json:"partitions"`
	Contacts      string         `json:"contacts"`            // who may write to whom: "everyone" or "friends"
	Advertise     string         `json:"advertise,omitempty"` // where all clients are sent; not there: to the connector with the fewest
	Nodes         []NodeStatus   `json:"nodes"`               // all that are heard, this one included
	Streams       []StreamStatus `json:"streams"`
	Sessions      int            `json:"sessions"`        // on this node
	DesktopOnline int            `json:"desktop_online"`  // people online at a desktop or in a browser, everywhere
	Files         *FileStatus    `json:"files,omitempty"` // not there: no file server
	Pictures      PictureStatus  `json:"pictures"`
	Pushes        PushStatus     `json:"pushes"`
	Leases        []LeaseStatus  `json:"leases"`
	Unknown       []string       `json:"unknown,omitempty"` // what could not be found out now, and why
}

// NodeStatus is a live process of the log.
type NodeStatus struct {
	Process   string  `json:"process"`
	Node      string  `json:"node"` // its host
	Role      string  `json:"role"` // "connector" (also `godwit up`), "gateway" or "projector"
	Advertise string  `json:"advertise,omitempty"`
	Clients   int     `json:"clients"` // connected, logged in or not
	Capacity  int     `json:"capacity,omitempty"`
	State     string  `json:"state,omitempty"`         // of a connector: "serves" or "no clients now"; "stopping"
	Clock     float64 `json:"clock_seconds,omitempty"` // ahead of this process's, the way of its beat included
	Views     int     `json:"views,omitempty"`         // of a projector
	Owns      int     `json:"owns,omitempty"`          // of these, fanned out by it
}

// ViewCopy is a view as one projector keeps it.
type ViewCopy struct {
	Process string `json:"process"`
	Node    string `json:"node"`
	Folded  uint64 `json:"folded"`
	Warm    bool   `json:"warm"` // it could take over at once
}

// LeaseStatus is a lease: who has the right to own a view, or to send pushes.
type LeaseStatus struct {
	Name    string    `json:"name"`
	Process string    `json:"process,omitempty"` // not there: nobody
	Renewed time.Time `json:"renewed"`           // by the servers' clock
}

// StoreStatus is how full a store is.
type StoreStatus struct {
	Room uint64  `json:"room"`           // bytes
	Left *uint64 `json:"left,omitempty"` // bytes until it is full; not there: not known now
}

// FileStatus is the file server.
type FileStatus struct {
	Listen    string `json:"listen"`
	Advertise string `json:"advertise"` // what clients are told to connect to
	StoreStatus
}

// PictureStatus is the picture store, which is on the public HTTP port.
type PictureStatus struct {
	URL    string `json:"url,omitempty"` // where clients find pictures; not there: at the HTTP port as they reach it
	Upload string `json:"upload"`        // who may: "session", "open" or "off"
	StoreStatus
}

// PushStatus is who sends pushes to webhooks.
type PushStatus struct {
	Sending bool           `json:"sending"` // this process; else another of the cluster, or none for the moment
	Targets []TargetStatus `json:"targets"`
}

// TargetStatus is one target of pushes.
type TargetStatus struct {
	ID       string `json:"id"`
	Disabled bool   `json:"disabled,omitempty"`
	// BacklogSeconds is the age of the oldest record that is not worked off, 0 when it has caught up; not there: this
	// process does not send to it.
	BacklogSeconds *float64 `json:"backlog_seconds,omitempty"`
}

// StreamStatus is one stream of the log and the view that follows it.
type StreamStatus struct {
	Name      string `json:"name"`
	Last      uint64 `json:"last"` // sequence of the last record
	View      string `json:"view"`
	Folded    uint64 `json:"folded"`    // in memory of this process, 0 where it does not keep the view
	Committed uint64 `json:"committed"` // in its file

	Leader   string     `json:"leader,omitempty"` // server that leads the stream; not there: no cluster, or none
	Replicas int        `json:"replicas"`         // servers that hold it; 0: not known now
	Current  int        `json:"current"`          // of these, that have all of it
	Owner    *ViewCopy  `json:"owner,omitempty"`  // who fans it out
	Standbys []ViewCopy `json:"standbys"`         // who could take over
}

// ReplayProgress is one line of a replay's answer.
type ReplayProgress struct {
	View   string        `json:"view,omitempty"` // being rebuilt
	Events uint64        `json:"events"`         // folded so far, of this view
	Total  uint64        `json:"total"`
	Done   bool          `json:"done,omitempty"`
	Report *ReplayReport `json:"report,omitempty"` // with done, where it came to an end
	Error  string        `json:"error,omitempty"`  // with done, where it did not
}

// ReplayReport is what a replay found.
type ReplayReport struct {
	Views []ViewReport  `json:"views"`
	Took  time.Duration `json:"took_ns"` // of all; several views are replayed at a time
}

// Equal tells whether every view came out as it was.
func (r ReplayReport) Equal() bool {
	for _, v := range r.Views {
		if !v.Equal {
			return false
		}
	}
	return true
}

// ViewReport is the replay of one view.
type ViewReport struct {
	Name     string        `json:"name"`
	Sequence uint64        `json:"sequence"` // position both were compared at
	Events   uint64        `json:"events"`
	Took     time.Duration `json:"took_ns"`
	Digest   string        `json:"digest"`            // of the rebuilt view
	Present  string        `json:"present,omitempty"` // of the one that was there; empty: none
	Equal    bool          `json:"equal"`
}

// People is what the API does to accounts and friendships. Its errors wrap the
// errors above; a nil error means that the change is stored and its outcome known.
type People interface {
	Add(ctx context.Context, p NewPerson) (Person, error)
	// Import adds all who can be added. report is called from one goroutine, with
	// growing numbers; who is refused does not end it.
	Import(ctx context.Context, people []NewPerson, report func(ImportProgress)) error
	List(ctx context.Context, after uint32, limit int) (Page, error)
	SetPassword(ctx context.Context, name, password string) error
	SetEnabled(ctx context.Context, name string, enabled bool) error
	SetFriends(ctx context.Context, a, b string, friends bool) error
}

// Server is what the API asks about the process.
type Server interface {
	Health
	Status(ctx context.Context) (Status, error)
	// Replay rebuilds every view beside the present one and compares them.
	// progress is called from one goroutine. A second replay at a time is
	// ErrConflict.
	Replay(ctx context.Context, verify bool, progress func(view string, events, total uint64)) (ReplayReport, error)
}

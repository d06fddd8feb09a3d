// Package up brings godwit up: the whole of it in one process, or one of the roles of a
// cluster. A role is a list of steps, and each step is the same code wherever it stands
// (see Run, Connector, Projector and Gateway).
package up

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/commands"
	"godwit/connector/identity"
	"godwit/connector/webhook"
	"godwit/internal/password"
)

// Config of a process. Each role reads what its parts need and leaves the rest alone. The
// command line checks the form of every value; the steps check what only the running
// parts know.
type Config struct {
	DataDir   string // up: the log, the views, the admin token and the lock; projector: the views and the lock
	Listen    string // TCP for clients, "host:port"; port 0 takes a free one
	HTTP      string // public HTTP: the page, sessions over WebSocket, GET /msg_server, pictures; connector: empty for none
	HTTPS     string // the same over TLS, which browsers want for notifications and the like; empty: none
	Admin     string // health and metrics; with up and gateway the admin API and the server API
	TokenFile string // gateway: holds the bearer token of both
	Advertise string // HOST[:PORT] that /msg_server answers; empty: derived

	// ProxyFrom are load balancers that say who a client is: by the PROXY protocol on the ports of clients, by
	// X-Forwarded-For in HTTP.
	ProxyFrom []netip.Prefix
	// Origins are sites, beside this one, whose pages may open sessions over WebSocket; "*" is any.
	Origins []string

	TLSListen string // TLS for clients, empty: none
	TLSCert   string // of both TLS ports; PEM files, read again when they change
	TLSKey    string

	NATSURL         string // external NATS; empty: embedded
	NATSUser        string
	NATSPassword    string
	NATSCredentials string
	NATSNKey        string // file with the seed of an nkey
	NATSCA          string
	NATSCert        string // what this process shows the servers
	NATSKey         string
	NATSSystemNKey  string // init: file with the seed of an nkey of the system account

	Replicas     int // init: of new streams; 0: 3 where there are several servers, else 1
	Durability   bus.Durability
	Partitions   int    // 0: what the log has, else the default
	MinFree      uint64 // free bytes below which appends are refused
	PasswordCost password.Cost

	Standbys      int    // projector: views of each timeline beside the owner's; below 0: all
	SnapshotStore uint64 // init: bytes of the store of copies of views; 0: the default

	Contacts     string // "everyone" or "friends"
	StatusLimit  int    // everyone: no pushed status notices above so many online users
	DevicePolicy commands.DevicePolicy
	DrainTimeout time.Duration
	DrainRate    float64       // part of the sessions that is closed each second meanwhile; 0: what the time needs
	ResumeTime   time.Duration // how long a login goes on without the password; 0: not at all
	GroupLimit   int           // members of a group
	RecallTime   time.Duration // how long after it a message may be recalled; 0: never
	EditTime     time.Duration // and edited
	RecalledText string        // that stands in place of a recalled message

	FileListen    string        // up and gateway: file server; empty: none
	FileAdvertise string        // HOST[:PORT] that clients find it at; empty: derived, and without --file-listen: no files
	FileMaxSize   uint64        // bytes of one file; 0: the default
	FileStore     uint64        // bytes of all stored files; 0: the default
	FileKeep      time.Duration // how long a file waits to be fetched; 0: the default

	PictureUpload string        // "session", "open" or "off"
	PictureURL    string        // where clients find the picture store; empty: derived
	PictureStore  uint64        // bytes of all pictures; 0: the default
	PictureKeep   time.Duration // 0: for ever

	Identity identity.Config // an identity provider's tokens let people in; without keys: none does

	PushQuiet  webhook.Quiet // when phones of who wants quiet nights are not called; zero: never
	PushNoText bool          // webhooks say nothing of what a message says

	Demo bool // ten people who know each other, one random password

	Logger *slog.Logger
	Out    io.Writer // the ready line, the people of the demo, and what Init finds

	// For tests.
	BusHooks *bus.Hooks
	Registry *prometheus.Registry // of the metrics; nil: one of its own
}

// ReplayProgress is told during a replay, by one goroutine at a time: records folded
// and records there are.
type ReplayProgress func(view string, done, total uint64)

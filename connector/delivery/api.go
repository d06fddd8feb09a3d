// Package delivery is the node side of the log: it appends events for a node life,
// tells each appender what its event came to, and brings every session each of its
// messages exactly once, whatever gets lost between the owners and this node.
package delivery

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"godwit/bus"
	"godwit/schema/event"
	"godwit/schema/frame"
)

// Errors of appends and questions.
var (
	// ErrLifeLost: the node's life ended while the event was on its way; its fate
	// is found in the history.
	ErrLifeLost = errors.New("node life lost")
	// ErrPositionsLost: what this node had seen can't be joined to what the log
	// holds now (its tail was lost, or too much was missed).
	ErrPositionsLost = errors.New("positions lost")
	// ErrUnavailable: no view or owner answered in time.
	ErrUnavailable = errors.New("view unavailable")
	// ErrClock: this machine's clock is too far from the others', so nothing is written.
	ErrClock = errors.New("clock is wrong")
	// ErrStopped: the node is stopping and takes nothing new.
	ErrStopped = errors.New("node stopped")

	errDeaf = errors.New("suspended: the node does not hear itself")
)

// Config of a Node. Bus and Handler are needed; the rest has defaults.
type Config struct {
	Bus       *bus.Bus
	Handler   Handler
	Name      string // of the node, for people; default: host name
	Advertise string // address clients reach this node at
	Logger    *slog.Logger
	// Serving is what beats say of the sockets; nil: the node has none. It is asked once a
	// second, and must not block or call the node.
	Serving func() Serving

	Registerer prometheus.Registerer // of the metrics; default: none

	AskTimeout   time.Duration // a question to a view; default 10 s
	SilenceLimit time.Duration // own beats unheard for so long: suspend; default 5 s
	Clock        func() time.Time

	// What tests change.
	waitingLimit, userWaitLimit int // bytes
	sendBeat                    func(data []byte) error
}

// Stats tell how much a node had to do to lose nothing.
type Stats struct {
	Users         int    // with sessions on this node
	Sessions      int    // joined
	Frames        uint64 // worked off, also those of which nothing was new
	Deliveries    uint64 // handed to sessions
	Holes         uint64 // found by a frame or a heartbeat
	Refills       uint64 // begun, also for a new term
	FramesDropped uint64 // while a refill was under way, over the limit
	Mismatches    uint64 // of the attached users
	Terms         uint64 // gone over to
	Epochs        uint64 // of streams that were rolled back
	Restarts      uint64 // lives begun anew
	Relays        uint64 // handed to owners
	RelaysDropped uint64 // that were not: no owner, or too many under way
	Relayed       uint64 // heard from owners
}

// Result is what an appended event came to.
type Result struct {
	ID       uint32     // message: msg id; person: user number
	Void     frame.Void // why it came to nothing
	FirstID  uint32     // repeat: id of the first one
	Sequence uint64     // position of its record
	Index    uint32     // and within it
	Err      error      // set when the outcome is not known or nothing was stored
}

// Member is one session that takes deliveries. Its methods are called under the
// node's lock: they must not block and must not call the Node.
type Member interface {
	User() uint32
	Session() event.ID
	Mobile() bool
	// Deliver hands over one delivery of a timeline. Called in order per
	// conversation, at most once per delivery. The member skips what stems from
	// its own session (a message it sent, a read it reported).
	Deliver(d *Delivery)
	// Flush ends the run of Deliver calls and acks that one frame caused: what was
	// gathered leaves in one write.
	Flush()
	// Attached tells once that the attach is through on all streams: from here on
	// lists may be answered. What is not pushed lies at or below what the node has
	// seen by now.
	Attached()
}

// Delivery is one effect of a timeline at its position. PDU and Shared are for the
// connector's use: the encoded push, made once and shared by all sessions, or what will
// be one.
type Delivery struct {
	Stream   event.Stream
	Sequence uint64
	Index    uint32
	*frame.Delivery
	PDU    []byte
	Shared any
}

// Handler hears what concerns the whole node. Its methods are called under the
// node's lock: they must not block and must not call the Node synchronously.
type Handler interface {
	// SessionOver: the log ended a session (of this node, as far as it knows); or, with
	// the reason SLOW, the node gives it up, and its holder has to end it in the log.
	SessionOver(over *frame.SessionOver)
	// UserStatus: whether others see a user online as of the PRESENCE sequence; newest wins.
	UserStatus(user uint32, online bool, sequence uint64)
	// DesktopStatus is for the user's mobile sessions on this node.
	DesktopStatus(user uint32, online bool, sequence uint64)
	// PersonChanged: drop what is cached of the person; end its sessions when
	// c.Credentials is set and they were decided before the PEOPLE sequence.
	PersonChanged(c *frame.PersonChanged, sequence uint64)
	// DropCaches: PEOPLE frames were missed; everything cached of people is suspect.
	DropCaches()
	// CloseAll: every session closes without 0x0107 and syncs again at its return.
	// With ErrLifeLost the log has ended them all; with any other reason it has not,
	// and a SessionEnded has to follow for each.
	CloseAll(reason error)
	// Relay passes on what r.To's sessions on this node are to get, but r.Session.
	Relay(r *frame.Relay)
	// Suspend(true): the node hears nothing; stop reading and writing sockets.
	Suspend(suspended bool)
}

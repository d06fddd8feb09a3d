package view

import (
	"errors"

	"godwit/schema/event"
	"godwit/schema/frame"
)

// Errors of a view.
var (
	ErrUnknownRule = errors.New("record obeys a rule that this program does not know")
	ErrGap         = errors.New("record is not the next one")
	ErrClosed      = errors.New("view is closed")
	ErrReset       = errors.New("view was reset")
	ErrCorrupt     = errors.New("view file is corrupt")
)

// Fold turns the records of one stream into rows. It must be pure: the rows and
// the effects follow from the records alone.
type Fold interface {
	// Name of the view and of its file: "people", "presence", "timeline-03".
	Name() string
	// Format is the version of the rows; a file of another format is rebuilt.
	Format() uint32
	Stream() event.Stream
	// Buckets lists the buckets of the fold. A name that ends in "*" stands for all
	// buckets that begin so; the fold makes them by writing and drops them whole.
	// "meta", "writers" and "effects" are the engine's.
	Buckets() []string
	// Apply folds one record of a known rule and returns one effect per event, in
	// order. An event it does not know gives the zero Effect. It keeps neither tx
	// nor any slice got from it; effects may refer to the record.
	Apply(tx *Tx, sequence uint64, rec *event.Record) []Effect
}

// Effect is what one event came to.
type Effect struct {
	Void    frame.Void
	ID      uint32 // message: its id; read: the new cursor; person: the number
	FirstID uint32 // of a repeat
	// Stored is kept in the effects bucket beside the outcome, for Recall.
	Stored []byte
	// Deliveries are what the owner may have to tell nodes, positions set.
	Deliveries []*frame.Delivery
	// Routes say where each delivery goes, index by index (PRESENCE). Nil: the owner
	// decides by the delivery (timelines), or all nodes (PEOPLE).
	Routes []Route
	// Group is the group whose members the deliveries concern, 0 where each delivery
	// names its users (timelines). Members says who came to the group and went from it,
	// also where nothing is to be told; nil for nobody.
	Group   uint32
	Members *Members
}

// Members is how the members of a group have changed by one event.
type Members struct {
	Joined, Left []uint32 // ascending
}

// Route is the nodes that one delivery goes to.
type Route struct {
	All   bool
	Lives []event.ID
}

// Applied is one record after its fold.
type Applied struct {
	Sequence uint64
	Writer   event.ID
	N        uint64
	Repeated bool // its (writer, n) was folded before: nothing happened
	Effects  []Effect
}

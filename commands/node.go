package commands

import (
	"time"

	"godwit/schema/event"
)

// LostAfterBeats is how many beats in a row a node must have missed, counted by what the watch itself has received
// meanwhile, before it is declared lost. A node beats once a second.
const LostAfterBeats = 10

// maxNodeText is how many bytes are kept of a node's name and address.
const maxNodeText = 255

// LifeState is what the presence view knows of a node life. The zero value has never begun.
type LifeState struct {
	Begun bool // the log holds its NodeStarted
	Live  bool // and not its end
}

// StartNode begins a node life.
type StartNode struct {
	At        time.Time
	Life      event.ID // new
	Node      string   // the node's name, for people
	Advertise string   // the address for clients, may be empty
}

// Decide gives NodeStarted. A life begins once.
func (c StartNode) Decide(s LifeState) (*event.Event, error) {
	if noTime(c.At) || c.Life == (event.ID{}) {
		return nil, ErrIncomplete
	}
	if s.Begun {
		return nil, ErrLifeBegun
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_NodeStarted{NodeStarted: &event.NodeStarted{
		Life: c.Life.Bytes(), Node: cut(c.Node, maxNodeText), Advertise: cut(c.Advertise, maxNodeText),
	}}}, nil
}

// StopNode ends a node's own life in an orderly way; its sessions end with it.
type StopNode struct {
	At   time.Time
	Life event.ID
}

// Decide gives NodeStopped.
func (c StopNode) Decide(s LifeState) (*event.Event, error) {
	if noTime(c.At) || c.Life == (event.ID{}) {
		return nil, ErrIncomplete
	}
	if !s.Live {
		return nil, ErrLifeOver
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_NodeStopped{NodeStopped: &event.NodeStopped{Life: c.Life.Bytes()}}}, nil
}

// LoseNode declares the life of another node lost; its sessions end with it.
type LoseNode struct {
	At        time.Time
	Life      event.ID
	By        event.ID // life of the node that noticed
	Missed    int      // beats in a row that did not come
	Successor bool     // By holds what Life held alone (the data directory's lock), which is proof without waiting
}

// Decide gives NodeLost.
func (c LoseNode) Decide(s LifeState) (*event.Event, error) {
	if noTime(c.At) || c.Life == (event.ID{}) || c.By == (event.ID{}) {
		return nil, ErrIncomplete
	}
	if c.Life == c.By {
		return nil, ErrOwnNodeLost
	}
	if !s.Live {
		return nil, ErrLifeOver
	}
	if c.Missed < LostAfterBeats && !c.Successor {
		return nil, ErrNotLostYet
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_NodeLost{NodeLost: &event.NodeLost{Life: c.Life.Bytes(), By: c.By.Bytes()}}}, nil
}

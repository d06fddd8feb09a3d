package bus

import (
	"errors"
	"fmt"

	"godwit/schema/event"
)

// What a bus refuses, and why.
var (
	// ErrClosed: the bus or the writer has been closed.
	ErrClosed = errors.New("bus: closed")
	// ErrFull: MaxWaiting bytes wait on the stream already.
	ErrFull = errors.New("bus: too much waiting on the stream")
	// ErrTooLarge: the event exceeds event.MaxEventBytes.
	ErrTooLarge = errors.New("bus: event too large")
	// ErrConflict: another writer was there first; the event will never be stored.
	ErrConflict = errors.New("bus: lost a compare and set")
	// ErrNoRecord: the stream holds no record at that sequence.
	ErrNoRecord = errors.New("bus: no record at that sequence")
	// ErrNoResponder: nobody serves the subject.
	ErrNoResponder = errors.New("bus: nobody answers")
	// ErrOverloaded: whoever serves the subject has too many questions waiting.
	ErrOverloaded = errors.New("bus: too many questions waiting")
	// ErrLowSpace: the file system of the log has less free space than MinFree.
	ErrLowSpace = errors.New("bus: too little free space")
	// ErrFrozen: the log's store met a write error and takes nothing until it is restarted.
	ErrFrozen = errors.New("bus: store frozen by a write error")
	// ErrDisconnected: there is no connection to the server just now.
	ErrDisconnected = errors.New("bus: disconnected")
	// ErrMixedLog: the streams do not belong to one log.
	ErrMixedLog = errors.New("bus: streams of different logs")
	// ErrNotPrepared: a part of the log is missing, and this process is not the one to make it.
	ErrNotPrepared = errors.New("bus: run godwit init first")
	// ErrNoStream: the log has no stream of that number.
	ErrNoStream = errors.New("bus: no such stream")
)

// ConfigError names one setting in which a stream differs from what this version
// of godwit needs. Open joins all of them.
type ConfigError struct {
	Stream string
	Field  string
	Have   string
	Want   string
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("bus: stream %s: %s is %s, want %s", e.Stream, e.Field, e.Have, e.Want)
}

// RollbackError says that the stream no longer holds what a checkpoint says it
// held: its tail was lost, and perhaps written anew. Every view beyond that point
// is void.
type RollbackError struct {
	Stream event.Stream
	At     uint64 // the checkpoint's sequence
	Reason string
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("bus: stream %s was rolled back: at sequence %d %s", e.Stream, e.At, e.Reason)
}

package reactor

import "errors"

// lingerBytes bounds what is read and thrown away after the last write.
const lingerBytes = 1 << 20

// ErrReset is the cause of a connection that broke while it was not read.
var ErrReset = errors.New("connection reset")

// Close says how a connection ends.
type Close uint8

const (
	// Stay open.
	Stay Close = iota
	// CloseGently: write what is left, then close in a way that the client still
	// reads it (half-close, read and discard until the client closes too).
	CloseGently
	// CloseNow throws away what is left.
	CloseNow
)

// Next is what a peer wants from the loop.
type Next struct {
	Write []byte // to be written; the loop has it until Sent
	Read  bool   // go on reading; else the socket is left alone, and TCP holds the client
	Hold  bool   // write nothing for now
	Close Close
}

// Waker is what a peer holds of its connection.
type Waker interface {
	// Wake makes the connection give the peer a turn soon. It may be called from any
	// goroutine, with any lock held, and never blocks on I/O or on the peer.
	Wake()
}

// Peer is the session behind a connection. Its methods are called one at a time; they
// must not block.
type Peer interface {
	// Input takes what was read. The bytes are only lent, and may be changed.
	Input(p []byte)
	// Turn does what is due and says what comes next. free tells that the buffer
	// handed out before has left; only then Write may be set. It is called after
	// every Input, Sent and Wake.
	Turn(free bool) Next
	// Sent gives back a buffer of Turn, written wholly.
	Sent(b []byte)
	// Hangup tells, at most once, that the client will send no more while it is not
	// read. What it sent before can still be read.
	Hangup()
	// Closed is the last call. err is nil if the peer wanted it, io.EOF if the
	// client closed.
	Closed(err error)
}

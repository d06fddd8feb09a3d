package bus

import (
	"time"

	"godwit/schema/event"
)

// Hooks let a test look into a bus and disturb it. Each may be nil. They are set
// by package bustest; nothing outside tests has a use for them.
type Hooks struct {
	// DropPush tells whether a push is to be lost on its way. It is called by the
	// sender, after the push has been counted as sent.
	DropPush func(life event.ID, data []byte) bool

	// Sending is called on the lane's goroutine before each attempt to store a
	// record, the first being 1.
	Sending func(s event.Stream, n uint64, attempt int)

	// Acked is called on the lane's goroutine with each answer to an attempt. It may
	// block, which delays the answer for this lane alone; answering true loses it.
	Acked func(s event.Stream, n uint64, attempt int) (lose bool)

	// Free replaces the probe of the file system's free bytes.
	Free func() (uint64, error)

	// Frozen, when it gives an error, stands for a stream's store that has met a
	// write error and takes nothing any more.
	Frozen func() error

	// AckTimeout, GuardEvery and VerifyEvery replace the built-in times where they
	// are not zero.
	AckTimeout  time.Duration
	GuardEvery  time.Duration
	VerifyEvery time.Duration

	// Opened is called with a handle on the bus's insides at the end of Open.
	Opened func(Control)
}

// Control is what a test may do to an open bus.
type Control struct {
	// CutConnections breaks every connection of the bus; they come back by themselves.
	CutConnections func() error
	// StopServer ends the embedded server, connections of the bus notice.
	StopServer func()
	// StartServer starts it again.
	StartServer func() error
}

func (h *Hooks) ackTimeout() time.Duration {
	if h != nil && h.AckTimeout > 0 {
		return h.AckTimeout
	}
	return 2 * time.Second
}

func (h *Hooks) guardEvery() time.Duration {
	if h != nil && h.GuardEvery > 0 {
		return h.GuardEvery
	}
	return time.Second
}

func (h *Hooks) verifyEvery() time.Duration {
	if h != nil && h.VerifyEvery > 0 {
		return h.VerifyEvery
	}
	return 5 * time.Second
}

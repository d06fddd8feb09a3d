// Package connector is the edge: it holds the sockets of TeamTalk clients, gates and
// serves their sessions, turns what they ask into events and questions, and writes to
// them what the log says concerns them. It keeps nothing that matters after a crash.
//
// # A session
//
// A session (see session.go) is a state machine that knows nothing of sockets: bytes
// come in through Input, what is to be written and whether to go on reading comes out
// of Turn, and package reactor carries both, for plain TCP on its loops and for TLS on
// the standard library's connections. It has four states:
//
//	connected   only login, heartbeat and time are served, PDUs of at most 4 KiB;
//	            closed 15 s after connecting
//	logging in  nothing more is read; what was read waits; result 3 after 15 s
//	open        everything is served, PDUs of at most 400 KiB; closed after 120 s
//	            (desktop) or 300 s (mobile) of silence
//	closing     nothing is read; what is left is written, within a few seconds
//
// An idle session costs its struct, its connection and two table entries: no
// goroutine, timer or buffer. One sweep a second looks after all time limits.
//
// # Who calls what, and locks
//
// Input and Turn run on the connection's own goroutine. The node calls Deliver, Flush,
// Attached, the Handler and the outcomes of appends under its lock. So a session's lock
// and the server's are taken inside the node's: no code here calls the node while it
// holds one of them. Calls that block (questions, password checks) run on bounded pools of
// goroutines.
//
// # Holding a client
//
// A client is held by not reading its socket; then TCP holds it, and nothing is dropped.
// It is held while it logs in, while 64 of its appends have no outcome, while its questions
// wait in a full queue, while it is over its rate, while the log takes no more, while what
// is known of a message's receiver is being asked, and while the node is suspended. At most
// one read (64 KiB) and the PDU it belongs to wait here meanwhile.
//
// # Order
//
// All that one frame brings for a session leaves in one write. The answer to a question
// about timelines has a position on each stream: pushes that arrive while it is
// under way are held, those at or below the position go out before the answer and the
// later ones after it. A question waits for the outcomes of the session's own earlier
// appends and until the session is attached.
//
// # How a session ends
//
// 0x0107 is sent only to a session that lost its place for good: to a newer login of its
// class (reason 1, once that login is known to live) and to the user's phone (reason 2). In
// all other cases the client is meant to come back, or to hear from its next login
// why it may not: an account that was disabled, a changed password, an operator, a slow
// reader, a node that lost its life.
package connector

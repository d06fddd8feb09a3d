// Package connector is the edge: it holds the sockets of TeamTalk clients, gates and
// serves their sessions, turns what they ask into events and questions, and writes to
// them what the log says concerns them. It keeps nothing that matters after a crash.
//
// # A session
//
// A session (see session.go) is a state machine that knows nothing of sockets: bytes
// come in through Input, what is to be written and whether to go on reading comes out
// of Turn, and package reactor carries both, for plain TCP on its loops and for TLS on
// the standard library's connections. Over WebSocket (see websocket.go) package ws stands
// between the two and takes PDUs out of frames and puts them into frames. It has four states:
//
//	connected   only login, heartbeat and time are served, PDUs of at most 4 KiB;
//	            closed 15 s after connecting
//	logging in  nothing more is read; what was read waits; result 3 after 15 s
//	open        everything is served, PDUs of at most 400 KiB; closed after 120 s
//	            (desktop, web) or 300 s (mobile) of silence
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
// is known of a message's receiver or group is being asked, and while the node is suspended. At most
// one read (64 KiB) and the PDU it belongs to wait here meanwhile.
//
// # Order
//
// All that one frame brings for a session leaves in one write. The answer to a question
// about timelines has a position on each stream: pushes that arrive while it is
// under way are held, those at or below the position go out before the answer and the
// later ones after it. A question waits for the outcomes of the session's own earlier
// appends and until the session is attached. A long answer goes out in parts at the pace at
// which the client reads: each part stands between the pushes as if it were an answer.
//
// # Logging in again
//
// A login with a resume token (token.go) is proved by a signature instead of a password, under
// secrets that all nodes share. One with a sync token (sync.go) is a login and a question at
// once: the question stands first in the session's line. Neither kind of token is kept here.
//
// # What passes
//
// Commands from client to client and who is typing (change.go) stand in the session's line,
// are put to the owner of the conversation once, and written to whoever is there and reads:
// nobody's output is filled by them.
//
// # Pushes to many
//
// What a delivery means to the members of a group is the same for all of them, so it is
// encoded once (see [delivery.Delivery]). A small push is copied into each session's
// output. A large one is shared: a session's outbox holds a reference, and its connection
// takes the bytes when it has drained, so that a message to ten thousand members is here
// once, also while they do not read. A change of members comes without its lists; they are
// asked for once, and 0x040b is shared before it is made: what is pushed later waits behind
// it in the outbox, while answers that are about no timeline, acks and heartbeats pass. All
// that waits in an outbox counts as output, at its full size.
//
// # Changes of groups
//
// A request that changes a group is a question like others (see asking.go and group.go): it
// asks for the group, decides, appends by compare and set, and begins anew when somebody
// else's change came first. So changes of one session are made in the order asked, and
// what it asks after them is answered with them in it. That a user may write to a group is
// cached for a minute, and forgotten when a change of its members passes by; a message by a
// permit that is out of date comes to nothing in the log, and its sender is told.
//
// # How a session ends
//
// 0x0107 is sent only to a session that lost its place for good: to a newer login of its
// class (reason 1, once that login is known to live) and to the user's phone (reason 2). In
// all other cases the client is meant to come back, or to hear from its next login
// why it may not: an account that was disabled, a changed password, an operator, a slow
// reader, a node that lost its life.
package connector

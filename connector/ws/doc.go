// Package ws speaks WebSocket (RFC 6455) to clients whose sessions know only PDUs: bytes of frames come in and PDUs go on
// to the session, and each PDU that the session writes goes out as one message. It knows no socket and has no goroutine,
// timer or lock: a [Conn] stands between a connection of package reactor and its session, and is driven like a session.
//
// A message is one PDU, exactly. A client chooses the form of all messages, both ways, by its first one: binary, the
// bytes of the PDU, or text, its JSON form (package pdujson). Messages may come in fragments; there are no extensions and
// no subprotocols.
//
// # What is held
//
// Of a binary message the bytes go on to the session as they come, so what is kept of it, and counted, is what is kept of
// a PDU on a plain connection. A text is kept until it is whole; it counts as partial input too. Of pings that come faster
// than they can be answered the last is answered. What is framed to go out is made a piece at a time from the session's
// own buffer, and a large PDU is not copied. The text of a large PDU, which may be six times as long, goes out in
// fragments as it is made; one that many clients get, as a message to a group, is made once for all of them. An idle
// connection holds no buffer.
//
// # How a connection ends
//
// The session says why it ended, and the close frame says it to the client, behind all that was written for it (see
// [Code]); who breaks the rules of frames is told so instead. Then the connection is half-closed, and what the client
// still sends is thrown away. A client that says goodbye first is answered with its own code, once what it sent before has
// been served. A session that was cut off in the middle of a frame ends without one.
package ws

// Package files is the file server: TeamTalk clients pass files through it, while both are
// there (online) or by way of the store (offline).
//
// A transfer is a [Task]. It is made on the message port, has an id that nobody guesses,
// and is kept in a table of the log's servers, not here: whichever server a client comes to
// knows it, also after a restart. The id with the party that belongs to it is what lets a
// connection in. A task that nobody has finished ends with its time; a stored file with
// its own.
//
// # Online
//
// Both sides connect here. What the receiver pulls goes to the sender as it came, and the
// sender's data back under the number of the pull. Nothing is kept: a side that does not
// read holds up its own transfer and is closed after a while. A side whose connection
// breaks may come back within a grace; then the other one is told that it was cancelled.
//
// # Offline
//
// The server pulls the file from its sender, [Piece] by piece, and stores parts of
// [PartSize]. The task says how much of it is stored, so an upload that broke off, here or
// there, goes on behind the last whole part. The receiver pulls in order, from wherever he
// begins.
package files

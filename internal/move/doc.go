// Package move carries a log from place to place: a data directory, the servers of a cluster, a
// backup. Sequences, order, subjects and bytes of all records stay what they were, so message
// ids, unread counts and compare-and-set subjects do too, and a view folded at the target equals
// the one folded at the source.
//
// # What is carried
//
// The streams of the log; the buckets: epochs, cursors of webhooks, secrets of resume tokens,
// notes of API requests, transfers of files; the stores: files and pictures. Not carried: leases
// and copies of views, which are of the moment, and views, which are computed.
//
// # Half a log
//
// While it is written a target takes no server: its streams are open, which bus.Open refuses,
// and are sealed when all is there and has been compared. What broke off is run again and goes on
// behind the last record of each stream, if that is the source's.
//
// # Cuts
//
// A log that is being written has no one moment at which all of its streams can be read. Their
// ends are taken in the order of bus.CopyOrder, what refers before what it refers to: cursors and
// notes of requests, conversations, sessions, people and numbers. So a copy may hold a person
// whose session it lacks, never the other way round. Files and pictures come last: a message of
// the copy finds its own, unless it was deleted while copying.
//
// # History
//
// A move ends one place and begins another: epochs stay, and with them the positions that
// clients and views hold. A restore may go back behind what people have seen: every stream gets
// a new epoch, so clients sync in full and views begin anew.
package move

// Package bus is the road between the rooms: the log in JetStream, pushes and
// questions over core NATS, and leases. It is the only package that speaks NATS, and
// it looks into no event beyond what it takes to put one in a record.
//
// # Streams
//
// A log is PEOPLE (subjects people.event and people.name.<hash>), PRESENCE
// (presence.event) and P streams CONVERSATION-pp (conversation.<pp>.event and
// conversation.<pp>.group.<id>), kept on disk for ever, never deleted from, refusing
// what they can't hold. The first record of each is StreamOpened, written only where
// the stream is empty, with the log's ULID as writer and 1 as number. [Open] refuses
// streams of different logs ([ErrMixedLog]) and settings that differ ([ConfigError]).
// Buckets stand beside them: epochs, cursors, leases, and secrets ([Bus.Secret]).
// So do stores for what is large and passes ([Bus.Objects]) and tables of what belongs to
// it ([Bus.Table]), each with a limit of room, and over a connection of their own.
//
// # Order
//
// The appends of one [Writer] to one stream are stored in the order in which they
// were made: there is one record in flight per stream, what comes meanwhile gathers
// in the next, and nothing is sent before the record ahead of it has been
// acknowledged. Nothing is promised between streams, nor between writers. A follower
// gets the records of its stream by sequence without a jump. Pushes of one bus to one
// life arrive in the order they were sent.
//
// # Duplicates
//
// A record of unknown fate (no answer, a lost connection) is sent again under the
// same message id until its fate is known, for as long as the writer lives. Within
// the server's window that is stored once. After it, it may be stored twice: then
// both carry the same (writer, n), and whoever skips a number not above the last one
// it saw of that writer counts each event once. A follower may be handed a record
// again only when it ends and is started anew from an older checkpoint. Pushes are
// never repeated but may be lost.
//
// A compare and set travels alone. The server checks what it expects before it knows
// the message id, so a refusal of anything but a clean first attempt proves nothing:
// then what was written next on that subject is read, and if it is our record, it
// was stored and its ticket hears so.
//
// # Acknowledgement
//
// [Ticket.Stored] is called when the log has the record at the configured durability:
// with [Disk] it has been fsynced, with [OS] it has been written. Two things delay
// records. Under load the next record of a stream waits up to 4 ms after the one
// before it, so that it holds more. And while the disk has less than Config.MinFree
// bytes free, or the server refuses, or its store is frozen by a write error, records
// are held and [Bus.Healthy] says why; a frozen store makes the bus restart its own
// server as soon as there is room. Held records are stored later; nothing is given up
// but by closing.
//
// # Back-pressure
//
// An append never blocks. At most [MaxWaiting] bytes wait per stream and writer, what
// is over is refused with [ErrFull]; an event over event.MaxEventBytes with
// [ErrTooLarge]. A slow follower slows nobody: at most 8 MiB are taken off the
// connection ahead of it and the server's flow control holds back the rest, at most
// 32 MiB of it under way. A slow receiver of pushes loses the newest beyond
// [MaxPendingPushes] or [MaxPendingPushBytes], counted. A service takes as many
// questions as it has workers and lets 64 times that many wait; what is over is
// answered with [ErrOverloaded].
//
// # Rollbacks
//
// A server may lose the tail of a stream (a power loss with [OS], an old backup) and
// give its sequences to other records, and no consumer would notice. Therefore
// [Bus.Follow] compares the record at the caller's checkpoint with what the stream's
// leader holds, before the first record after every start, lost consumer and
// reconnect, and every five seconds. Another record there, or none although leader
// and replicas are up to date, is a [RollbackError]. Sequences that a stream has lost
// ahead of the checkpoint are handed over as records without data, the same in
// every replay.
//
// # Leases
//
// A lease is renewed twice a second, and free when its holder has been silent for two
// seconds. Its revision grows with each acquisition. It is no lock: a holder whose
// renewals get no answer goes on until it learns that another one has the lease, so two
// may believe that they hold it, and whoever relies on it must compare revisions.
//
// # Clusters
//
// A process may have a [Role], and the servers let it do what [Permissions] lists.
// [Prepare] makes a log with all that stands beside it; whoever sets Config.CheckOnly
// makes nothing. [Bus.Writable] says within about five seconds that a quorum or the
// connection is lost, though nothing be appended. Appends are taken meanwhile, and
// stored when an election is over.
package bus

// Package view keeps one bbolt file per view and runs a fold over one stream into
// it: in memory ahead of the disk, committed behind.
//
// # How a view moves
//
// [View.Apply] folds records into an overlay in memory and returns what came of
// them at once, so that an owner can tell nodes before anything is on disk. A
// committer writes overlays to the file: after 10,000 events, 50 ms after the
// first uncommitted one, or at once when [View.WaitCommitted] waits; one commit at
// a time, keys sorted, rows and checkpoint in one transaction. There are two
// overlays: the one being folded into and the one being committed. When both are
// full Apply waits, so memory is bounded.
//
// [View.Read] sees the committed state only, at the position [Reader.Sequence].
//
// # What survives
//
// The file is written without fsync. That is safe when a process dies (the pages
// are the kernel's), and unsafe when the machine does: pages may then be on disk
// in any order. So the file names the boot it was last written in, and a flag says
// whether it was closed cleanly, set after everything else was synced. A file of
// another boot without that flag is deleted and the view starts at 0, as does one
// of another format or log, and one that bbolt cannot read: nothing is ever
// repaired. A commit that fails (disk full) keeps its overlay, is tried again,
// and shows in [View.Healthy].
//
// # Determinism
//
// The rows at a position are a function of the stream up to there and of nothing
// else: not of batches, commits, restarts or clocks. [View.Digest] is a hash over
// all of them but epoch, boot and clean flag.
//
// # The engine's own buckets
//
//	meta     "format"      -> 4 bytes BE, the fold's format
//	         "name"        -> the fold's name
//	         "log"         -> 16 bytes, ULID of the log
//	         "checkpoint"  -> sequence 8 BE ‖ fingerprint 16 of the last folded record
//	         "effects"     -> first held sequence 8 BE ‖ weight of all held rows 8 BE
//	         "epoch"       -> 16 bytes, the stream's epoch (not in the digest)
//	         "boot"        -> the machine's boot id (not in the digest)
//	         "clean"       -> 1 byte, 1 = closed cleanly (not in the digest)
//	writers  writer 16     -> last n 8 BE
//	effects  sequence 8 BE -> writer 16 ‖ n 8 BE ‖ count uvarint ‖ count effects
//
// An effect is a flag byte (1 void, 2 id, 4 first id, 8 stored) and the parts it
// names: void 1 byte, id and first id as uvarint, stored as uvarint length and
// bytes. Every position has an effects row, also a repeated record (no effects).
// A row weighs as many positions as it has effects, at least one; after each
// record the oldest rows are dropped while the rest weighs [EffectsHeld] or more.
package view

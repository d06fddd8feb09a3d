// Package owner runs the views of a process: it follows their streams, folds,
// commits behind the fold, fans out to the nodes, and answers questions.
//
// # Fan-out
//
// Of all processes that follow a stream the one that holds its lease fans out. One
// unbroken stretch of that is a term, (lease revision, start number); a node
// listens to one term at a time, so two owners at once do no harm. A term begins
// only after the view has been folded, silently, to the stream's last sequence as
// read after the lease was gained: what was folded before that is brought to nodes
// by their refills.
//
// A frame covers the positions (from, to] of one stream for one node. It leaves at
// the end of every folded batch that concerns the node, before the batch is
// committed; four times a second, and before an answer, an empty frame brings the
// node up to the fold. A view that is rebuilt has no term, hence no outlet.
//
// # Who gets what
//
// Timelines: the users of a node are attached to each stream; a delivery goes to
// the nodes that have one of its parties attached. PRESENCE: a delivery names the
// node lives it goes to. PEOPLE: everything goes to every node. Outcomes go to the
// node whose life wrote the record.
//
// # Limits
//
// A frame is cut at a record boundary above 256 KiB, a page of changes above 512
// KiB; both stay below NATS's max_payload. A node not heard for 10 s is forgotten.
package owner

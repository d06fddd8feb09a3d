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
// # Several projectors
//
// Every process that keeps views says twice a second which, how far they are, and which it
// fans out. From what is heard within two seconds each computes the same assignment: an
// owner and standbys for each stream ([Config.Standbys]). PEOPLE and PRESENCE are kept by
// all. Views are opened and closed by it while the process runs. A lease that is free is
// taken by the assigned process at once, by the standbys after 0.3 s a rank; an owner that
// another is to follow hands the stream over when that one is heard and warm, one stream at
// a time. So losing beats moves nothing, and two that see different projectors are at odds
// for a moment at most. A process that stops says so, gives up what it owns, and goes on
// folding until others can have it. One that was paused ends its terms when its lease turns
// out to be gone, or a later term of another is heard, whichever is first.
//
// # Snapshots
//
// With a store ([Config.Snapshots]) the owner of a view puts copies of its file there, and a
// process whose own file is missing, useless or far behind begins with one. A copy is
// believed only where the log holds, at its position, the record that it names; else the
// view is folded from the log.
//
// A process that can't write its views, as on a full disk, leaves its streams to the others
// after five seconds, and takes none until it can: what it tells nodes waits with its folds.
//
// # Who gets what
//
// Timelines: the users of a node are attached to each stream; a delivery goes to
// the nodes that have one of its parties attached. PRESENCE: a delivery names the
// node lives it goes to. PEOPLE: everything goes to every node. Outcomes go to the
// node whose life wrote the record.
//
// What happens in a group costs its owner as much as there are nodes, however many
// members it has. In a term the owner knows the groups of every user, read at its
// beginning and moved by the fold, and of each node and group the members who are
// attached: the audience. A delivery names it by a number that grows with every
// change. The node is told the whole once, after that what has changed, and keeps it
// until its attach is renewed or nobody is left; a number that it does not know is a
// hole. Who is removed is told so beside the audience, being in it no more.
//
// Pages of changes are made from the memberships at each position, and name the users
// by lists.
//
// # Limits
//
// A frame is cut at a record boundary above 256 KiB; an audience that it has no room
// for goes ahead in a frame of its own. A page of changes is cut above 512 KiB, between
// two events, also of one record. All stay below NATS's max_payload. Answers of several
// timelines that do not fit into one message go in several. A node not heard for 10 s is
// forgotten. What is passed on without being kept (relays) is worked off by two workers
// with a bounded line before them, and in groups only up to 100 attached members.
package owner

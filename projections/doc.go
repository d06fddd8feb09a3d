// Package projections holds the views and those who keep them: folds that turn the
// streams of the log into rows, the engine that runs them into files, and the owner
// that follows, commits and tells nodes.
//
//	view            the engine: one bbolt file per fold, folded ahead, committed behind
//	people          PEOPLE: accounts, names, friendships
//	presence        PRESENCE: node lives, sessions, who is online
//	timeline        CONVERSATION-pp: messages, ids, cursors, lists
//	owner           follows streams into views, answers queries, fans out
//	projectiontest  the suite that every fold passes
//
// A view is disposable: its file may be deleted at any time and comes back by
// replay, the same to the byte of every row. What is in it is listed here in short
// and exactly in the packages' own documentation.
//
//	every view   meta         format, log, checkpoint, epoch, boot, clean flag
//	             writers      writer -> last record number
//	             effects      position -> what each event of the record came to
//	people       account      user -> account
//	             name         name -> user, last sequence of the name's subject
//	             changed      updated ‖ user
//	             friend       user ‖ friend -> position
//	             state        "number", "updated"
//	presence     life         life -> node, its sessions
//	             user         user -> live sessions
//	             held         life ‖ session -> user
//	             status       user -> when last online or gone
//	             changes      position ‖ user
//	             ended        session -> why
//	             ended-at     serial -> session
//	             state        "totals", "ended"
//	timeline-pp  conversation key -> head, updated, opened
//	             member       key ‖ user -> cursor, flags, intervals
//	             message      key ‖ id -> position, sender, body
//	             user         user ‖ key
//	             repeat-DDDDD key ‖ repeat key -> ids and times
//	             state        "clock"
package projections

// Package presence is the fold of PRESENCE: which node lives there are, which
// sessions they hold, and who is online. Its rows by user are the online routes.
//
// A user is online while a desktop or a web session of theirs lives. That is what
// others see: phones come and go unseen.
//
// # Buckets
//
//	life      life 16              -> position 8, started ms 8, sessions 4, node and advertise (uvarint length, bytes)
//	user      user 4               -> the user's live sessions, oldest first: session 16, life 16, client type, class, people sequence, opened ms, position (uvarints), again and again
//	held      life 16 ‖ session 16 -> user 4
//	status    user 4               -> position 8, 1 byte (1 online): when the user last came online or went
//	changes   position 8 ‖ user 4  -> empty; each user once, under that transition
//	ended     session 16           -> serial 8, user 4, reason 1, by session 16
//	ended-at  serial 8             -> session 16
//	state     "totals"             -> sessions 4, users online 4
//	          "ended"              -> first serial kept 8, next serial 8
//
// Numbers are big endian. A row goes when nothing is left in it: a life's with its
// end, a user's with the last session.
//
// # Rule 1
//
//	NodeStarted        MALFORMED      no life of 16 bytes, or names that are too long
//	                   NO_EFFECT      it lives already
//	NodeStopped,       NODE_NOT_LIVE
//	NodeLost           its sessions end
//	SessionOpened      MALFORMED      session, life or user is missing
//	                   NODE_NOT_LIVE  its life is not live at this position
//	                   NO_EFFECT      the session is there already, or the user has MaxSessions
//	                   counted        every live session of the user in the replaced classes ends
//	SessionEnded       NO_EFFECT      there is no such session
//	DeviceClassKicked  NO_EFFECT      there is none of the classes
//
// # Who is told
//
// An end is told to the life that held the session; not after NodeStopped, as that
// node has ended its sessions itself. That a user has come online or
// gone is told to all nodes, and to the lives that hold the user's mobile sessions; a
// mobile session that begins while the user is online is told so as well. A session
// that takes the place of another in the same event is no transition, and neither is a
// desktop that leaves while a browser stays.
//
// # What is remembered of the ended
//
// For nodes that come back from a hole: why each of the last [EndedKept] sessions
// ended, in the order of their ends.
package presence

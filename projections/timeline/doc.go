// Package timeline is the fold of one conversation stream: which messages count
// and under what id, who has read how far, and what a user's list shows.
//
// # Buckets
//
//	conversation  key 9              -> head 4, updated 4, opened 8, newest repeat day 4, repeat days 2
//	member        key 9 ‖ user 4     -> cursor 4, flags 1 (1 entry removed, 2 blocks), intervals (joined 8, left 8)…
//	message       key 9 ‖ id 4       -> position, index, from, created, type (uvarints), flags 1, [session 16], [key id], body
//	user          user 4 ‖ key 9     -> empty; the conversation is in the user's list
//	repeat-DDDDD  key 9 ‖ repeat key -> (id 4, event time ms 8)…
//	state         "clock"            -> fold clock, ms 8
//
// Numbers are big endian where nothing else is said, so that keys sort by them. A
// key of 9 bytes is an event.ConversationKey. An interval's left is 0 while it
// lasts. Repeat days is a set of bits: bit i stands for the newest day less i, on
// which the conversation wrote into the index. DDDDD is a day since 1970.
//
// # The fold clock
//
// It is the greatest event time met so far, so it never runs back. From it come
// `updated` of a conversation (the clock at its newest message, in seconds) and the
// age of the repeat index: a day is dropped whole when the clock's day is more than
// 8 later. Lists compare what a client hands back with [SinceMargin] to spare,
// because two messages of one second may lie on both sides of an answer.
//
// # Rule 1
//
// As package event says; what an event comes to, in the order asked:
//
//	MessageSent          MALFORMED       no such key; no sender but system; a system message to a group that is not there
//	                     NOT_PARTY       the sender is no party (not for system); groups have no members yet
//	                     BLOCKED         one of the two blocks (not for system)
//	                     REPEAT          its repeat key (16 bytes) was counted within the window; first id is the earliest
//	                     counted         id = head + 1; the entries of both parties are listed again
//	ReadAdvanced         NOT_PARTY
//	                     NO_EFFECT       the cursor is there already (after cutting to the head)
//	SessionEntryRemoved  NOT_PARTY
//	                     NO_EFFECT       not listed, or removed already
//	BlockChanged         MALFORMED       not a direct conversation
//	                     NOT_PARTY
//	                     NO_EFFECT       it is so already
package timeline

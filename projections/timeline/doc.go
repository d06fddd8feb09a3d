// Package timeline is the fold of one conversation stream: which messages count
// and under what id, who has read how far, and what a user's list shows.
//
// # Buckets
//
//	conversation  key 9              -> head 4, updated 4, opened 8, changed 8, newest repeat day 4, repeat days 2, [touched 8]
//	member        key 9 ‖ user 4     -> cursor 4, flags 1, [base 4], [delivered 4], [changed 8], intervals (joined 8, left 8)…
//	message       key 9 ‖ id 4       -> position, index, from, created, type (uvarints), flags 1, [session 16], [client id 16],
//	                                    [key id], [edits, time of the last one, its position (uvarints)], body
//	user          user 4 ‖ key 9     -> stripe 4, of groups nothing; the conversation is in the user's list, or he has blocked
//	                                    the other one, or ceased to, before anybody wrote
//	left          user 4 ‖ key 9     -> position 8 at which the user left the group, gone when he comes back
//	block         user 4 ‖ key 9     -> empty; the user blocks the other one
//	group         key 9              -> the group as it is
//	change        key 9 ‖ place 8    -> the group as it was after a change
//	edit          key 9 ‖ id 4 ‖ n 4 -> time ms 8, body: what a message was before its edit n
//	touched       key 9 ‖ position 8 ‖ id 4 -> empty; the message was recalled or edited there, last
//	task          task               -> the file that was offered
//	file          user 4 ‖ place 8   -> task that waits for the user
//	repeat-DDDDD  key 9 ‖ repeat key -> (id 4, event time ms 8)…
//	state         "clock"            -> fold clock, ms 8
//
// Numbers are big endian where nothing else is said, so that keys sort by them. A
// key of 9 bytes is an event.ConversationKey. A place is a position (sequence, index) in
// one number; a membership's interval is of places, and its left is 0 while it
// lasts. Base is the head when the member joined (last): only later messages are
// listed, and given from the history. Repeat days is a set of bits: bit i stands for the
// newest day less i, on which the conversation wrote into the index. DDDDD is a day
// since 1970.
//
// A message costs no row per member of a group. What a member of a group does by himself
// is in his own row (changed), what a party of two does is in the conversation's, once
// somebody has written. The stripe of a direct conversation is its changed by 2^14.
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
// As package event says; what an event comes to, in the order asked. A user is no party
// of a group unless he is a member at the event's own place.
//
//	MessageSent          MALFORMED       no such key; no sender but system; a system message to a group that is not there
//	                     NOT_PARTY       the sender is no party (not for system)
//	                     BLOCKED         one of two blocks (not for system)
//	                     REPEAT          its repeat key (16 bytes) was counted within the window; first id is the earliest
//	                     counted         id = head + 1; the entries of both parties are listed again, of a group the sender's
//	ReadAdvanced         NOT_PARTY
//	                     NO_EFFECT       the cursor is there already (after cutting to the head)
//	SessionEntryRemoved  NOT_PARTY
//	                     NO_EFFECT       not listed, or removed already; a group is listed from its first message since he joined
//	BlockChanged         MALFORMED       not a direct conversation
//	                     NOT_PARTY
//	                     NO_EFFECT       it is so already
//	GroupCreated         MALFORMED       not a group's key
//	                     NO_EFFECT       it was made before, also if it is dissolved now
//	                     MALFORMED       no such type; no member with the creator; a member 0
//	                     FULL            more members than the limit (0: 10,000; 40,000 at most)
//	GroupMembersChanged  MALFORMED       not a group's key; a user 0
//	                     NO_SUCH_GROUP   not made, or dissolved
//	                     NOT_PARTY       who asks is no member (not for 0, the API, which may do all)
//	                     NOT_ALLOWED     others than himself are removed, or somebody is added to a NORMAL group, by another
//	                                     than the administrator
//	                     NO_EFFECT       an import whose time is over or not yet come; nobody comes and nobody goes
//	                     FULL            somebody is added beyond the limit
//	GroupChanged         MALFORMED, NO_SUCH_GROUP, NOT_PARTY as before
//	                     NOT_ALLOWED     not by the administrator; a NORMAL group dissolved or left without administrator but by the API
//	                     NOT_PARTY       the new administrator is no member
//	                     NO_EFFECT       it is so already
//	GroupShieldSet       MALFORMED, NO_SUCH_GROUP, NOT_PARTY
//	                     NO_EFFECT       it is so already
//	MessageRecalled      MALFORMED       no such key; id 0
//	                     NOT_PARTY       who asks is none (not for 0, the API)
//	                     NO_SUCH_MESSAGE not there, recalled already, or missing since an import
//	                     NOT_ALLOWED     it is another's (not for 0)
//	                     TOO_LATE        more seconds after the message than within, if it is not 0
//	MessageEdited        MALFORMED       also without a body
//	                     NOT_PARTY, NO_SUCH_MESSAGE as before
//	                     NOT_ALLOWED     also a voice message
//	                     TOO_LATE
//	                     NO_EFFECT       the body is the present one
//	                     FULL            it was edited [MaxEdits] times
//	DeliveredAdvanced    NOT_PARTY
//	                     NO_EFFECT       received or read already (after cutting to the head)
//	MessageImported      MALFORMED       no such key; id 0; a body that is missing and there; nobody's but missing; a group that
//	                                     is not there
//	                     NO_EFFECT       not the next id
//	                     counted         updated is its own time, if that is later; no cursor moves and nobody is told
//	FileOffered          MALFORMED       not a direct conversation; no task, or one of more than 128 bytes
//	                     NOT_PARTY       from and to are not its two parties
//	                     BLOCKED
//	                     NO_EFFECT       the task is there already
//	FileRemoved          MALFORMED
//	                     NO_EFFECT       there is no such task in this conversation
//	                     NOT_ALLOWED     neither its sender nor its receiver (not for 0)
//
// A recall takes the body out of the message and of its history; the rest stays, and
// lists do not move. What others hear of reading and receiving they hear in
// conversations of two and in groups of at most 100 members.
//
// Of GroupCreated, GroupMembersChanged and GroupChanged that count the id is the group's
// version after it. Who is added and removed by one event is removed. When the
// administrator goes, who has been a member longest, then the smallest number, follows.
// These three, alone in their records, move the last sequence of the group's subject
// whatever they come to.
package timeline

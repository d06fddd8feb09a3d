// Package event defines the words of the log: records, the events in them, the
// streams they live in, and the few pure functions that every part must agree on
// for ever (conversation keys, the partition hash, repeat keys).
//
// # Streams
//
// A log has a PEOPLE stream, a PRESENCE stream and P conversation streams. Each
// has a number, used wherever a position is sent: 0, 1 and 2+pp. The first record
// of each stream holds one StreamOpened, which names the log it belongs to.
//
// # Records
//
// One JetStream message is one Record: a batch of at most MaxRecordEvents events
// and MaxRecordBytes bytes by one writer. (writer, n) names a record for ever; the
// same pair met again in the log is a repeated store and is skipped by every view.
//
// # Rules
//
// What an event comes to where writers raced is decided by log order, by rules
// that are frozen and named by the record's rule number. Rule 1, for MessageSent:
// it is void (no id, no delivery) when at its position the sender is no party of
// the conversation (of a direct conversation the two users in its key, of a group
// its members), when the conversation is blocked, or when it is a repeat. Origin
// system is exempt from the first two, origin api moves no cursor. A repeat is a
// message whose repeat key was counted before in that conversation, at an event
// time at most RepeatWindow away when it has a client message id, else
// RepeatWindowOld. ReadAdvanced has an effect only when it moves the reader's
// cursor forward, at most to the head; it is cut to the head first.
// SessionEntryRemoved has an effect only for a listed entry.
//
// A group's members are those whom GroupCreated and GroupMembersChanged made so, in log
// order. Who changes a group must be allowed to at the event's position: the
// administrator (at first the creator) everything, any member to leave and, in a
// temporary group, to add others, user 0 (the API) all. A change that is not allowed,
// would change nothing or go over the limit is void; so is any of a group that was not
// made or is dissolved.
//
// A message is recalled or edited by its sender while he is a party, or by user 0, within
// the seconds that the event names between the times of the two; a recalled message
// keeps its id. An imported message counts only as the next one of its conversation.
// DeliveredAdvanced is like ReadAdvanced on a cursor of its own. A file may be offered
// where a message may be sent. Package projections/timeline lists every void with its order.
package event

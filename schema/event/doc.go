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
package event

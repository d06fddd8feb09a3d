// Package teamtalk moves a TeamTalk installation in: it reads a dump of its MySQL database and appends what it held to the
// log.
//
// The dump is read twice. The first pass keeps the people, departments, groups and members, and of each message only
// where it stands and where it belongs (32 bytes), so that a dump larger than memory can be read; the second fetches the
// messages of one conversation after the other, in the order of their ids.
//
// # What an import may be sure of
//
// Numbers of users, departments and groups stay what they were, and so do the ids and times of messages: a message counts
// only if its id is the next one of its conversation, and a change of members only at its place between the messages (see
// event.MessageImported and event.GroupMembersChanged). So an import that was interrupted is run again, and does what is
// missing; run a third time it does nothing. An id that the dump lacks, a deleted message or a voice whose file is not
// there becomes a placeholder, so that ids stay dense.
//
// Everything is taken as read by everybody: the unread marks of TeamTalk are in its Redis, not in the dump.
package teamtalk

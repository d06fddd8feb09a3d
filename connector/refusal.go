package connector

import (
	"godwit/commands"
	imextension "godwit/schema/client/extension"
	"godwit/schema/frame"
)

// refusals are what a new client is told of the rules that say no. What is not here is malformed.
var refusals = map[*commands.Refusal]imextension.Refusal{
	commands.ErrNoSuchPerson:     imextension.Refusal_REFUSAL_NO_SUCH_USER,
	commands.ErrPersonDisabled:   imextension.Refusal_REFUSAL_NO_SUCH_USER,
	commands.ErrNoSuchGroup:      imextension.Refusal_REFUSAL_NO_SUCH_GROUP,
	commands.ErrNotMember:        imextension.Refusal_REFUSAL_NO_SUCH_GROUP,
	commands.ErrNoSuchMessage:    imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE,
	commands.ErrNotAdministrator: imextension.Refusal_REFUSAL_NOT_ALLOWED,
	commands.ErrGroupType:        imextension.Refusal_REFUSAL_NOT_ALLOWED,
	commands.ErrNotParty:         imextension.Refusal_REFUSAL_NOT_ALLOWED,
	commands.ErrOneself:          imextension.Refusal_REFUSAL_NOT_ALLOWED,
	commands.ErrBlocked:          imextension.Refusal_REFUSAL_BLOCKED,
	commands.ErrNotFriends:       imextension.Refusal_REFUSAL_NOT_FRIENDS,
	commands.ErrTooLarge:         imextension.Refusal_REFUSAL_LIMIT,
	commands.ErrGroupFull:        imextension.Refusal_REFUSAL_LIMIT,
	commands.ErrNothingToDo:      imextension.Refusal_REFUSAL_NO_EFFECT,
	commands.ErrNothingNew:       imextension.Refusal_REFUSAL_NO_EFFECT,
	commands.ErrAlreadyFriends:   imextension.Refusal_REFUSAL_NO_EFFECT,
	commands.ErrAlreadyAsked:     imextension.Refusal_REFUSAL_NO_EFFECT,
	commands.ErrNoSuchRequest:    imextension.Refusal_REFUSAL_NO_EFFECT,
}

// refusalOf is what a new client is told of the error of a decision; of a failure that nobody knows what came of it.
func refusalOf(err error) imextension.Refusal {
	if err == nil {
		return imextension.Refusal_REFUSAL_NONE
	}
	r, ok := commands.AsRefusal(err)
	if !ok {
		return imextension.Refusal_REFUSAL_UNKNOWN
	}
	if told, ok := refusals[r]; ok {
		return told
	}
	return imextension.Refusal_REFUSAL_MALFORMED
}

// refusalOfVoid is what a new client is told of an event that came to nothing. In a group, who is no party is no member.
func refusalOfVoid(v frame.Void, group bool) imextension.Refusal {
	switch v {
	case frame.Void_VOID_NONE:
		return imextension.Refusal_REFUSAL_NONE
	case frame.Void_VOID_NOT_PARTY:
		if group {
			return imextension.Refusal_REFUSAL_NO_SUCH_GROUP
		}
		return imextension.Refusal_REFUSAL_NOT_ALLOWED
	case frame.Void_VOID_BLOCKED:
		return imextension.Refusal_REFUSAL_BLOCKED
	case frame.Void_VOID_REPEAT, frame.Void_VOID_NO_EFFECT, frame.Void_VOID_NO_SUCH_REQUEST:
		return imextension.Refusal_REFUSAL_NO_EFFECT
	case frame.Void_VOID_NO_SUCH_PERSON:
		return imextension.Refusal_REFUSAL_NO_SUCH_USER
	case frame.Void_VOID_NOT_ALLOWED:
		return imextension.Refusal_REFUSAL_NOT_ALLOWED
	case frame.Void_VOID_NO_SUCH_GROUP:
		return imextension.Refusal_REFUSAL_NO_SUCH_GROUP
	case frame.Void_VOID_NO_SUCH_MESSAGE:
		return imextension.Refusal_REFUSAL_NO_SUCH_MESSAGE
	case frame.Void_VOID_TOO_LATE:
		return imextension.Refusal_REFUSAL_TOO_LATE
	case frame.Void_VOID_FULL:
		return imextension.Refusal_REFUSAL_LIMIT
	case frame.Void_VOID_MALFORMED:
		return imextension.Refusal_REFUSAL_MALFORMED
	}
	return imextension.Refusal_REFUSAL_UNKNOWN
}

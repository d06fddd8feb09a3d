package commands

import (
	"errors"
	"time"
)

// Refusal is a rule that says no to a request. Compare with errors.Is; it may be wrapped with what was wrong.
type Refusal struct{ name, text string }

func (r *Refusal) Error() string { return r.text }

// Name is one word that never changes, for metrics and logs: "name_taken".
func (r *Refusal) Name() string { return r.name }

// AsRefusal finds the refusal in an error; ok is false for a failure.
func AsRefusal(err error) (r *Refusal, ok bool) { return errors.AsType[*Refusal](err) }

// Refusals, by what they are about.
var (
	// Names and profiles.
	ErrNameEmpty       = &Refusal{"name_empty", "the name is empty"}
	ErrNameTooLong     = &Refusal{"name_too_long", "the name is longer than 64 characters"}
	ErrNameCharacters  = &Refusal{"name_characters", "the name holds a space or a character that is not seen"}
	ErrNameTaken       = &Refusal{"name_taken", "the name is taken"}
	ErrNumberTaken     = &Refusal{"number_taken", "the user number is taken"}
	ErrField           = &Refusal{"field", "a field is too long or not valid text"}
	ErrNoPassword      = &Refusal{"no_password", "there is no password"}
	ErrNothingToChange = &Refusal{"nothing_to_change", "no field is named that is to change"}

	// Departments.
	ErrNoSuchDepartment = &Refusal{"no_such_department", "there is no such department"}
	ErrDepartmentTaken  = &Refusal{"department_taken", "the number is another department's"}
	ErrDepartmentLoop   = &Refusal{"department_loop", "a department can't be below itself"}

	// API keys and webhook targets.
	ErrNoSuchKey     = &Refusal{"no_such_key", "there is no such API key"}
	ErrKeyTaken      = &Refusal{"key_taken", "there is an API key of this id already"}
	ErrKeyRevoked    = &Refusal{"key_revoked", "the API key is revoked already"}
	ErrNoSuchWebhook = &Refusal{"no_such_webhook", "there is no such webhook target"}

	// People.
	ErrNoSuchPerson    = &Refusal{"no_such_person", "there is no such person"}
	ErrPersonDisabled  = &Refusal{"person_disabled", "the account is disabled"}
	ErrAlreadyDisabled = &Refusal{"already_disabled", "the account is disabled already"}
	ErrNotDisabled     = &Refusal{"not_disabled", "the account is not disabled"}
	ErrOneself         = &Refusal{"oneself", "this cannot be done with oneself"}
	ErrAlreadyFriends  = &Refusal{"already_friends", "they are friends already"}
	ErrNotFriends      = &Refusal{"not_friends", "they are no friends"}
	ErrAlreadyAsked    = &Refusal{"already_asked", "the request is open already"}
	ErrNoSuchRequest   = &Refusal{"no_such_request", "there is no such request"}

	// Sessions.
	ErrWrongPassword = &Refusal{"wrong_password", "name or password is wrong"}
	ErrUnknownDevice = &Refusal{"unknown_device", "the client type is unknown"}
	ErrNotLoggedIn   = &Refusal{"not_logged_in", "the client is not logged in"}
	ErrSessionOver   = &Refusal{"session_over", "the session has ended already"}
	ErrNotYours      = &Refusal{"not_yours", "the session is another user's"}
	ErrNotMobile     = &Refusal{"not_mobile", "only a phone may do this"}

	// Conversations.
	ErrEmptyBody       = &Refusal{"empty_body", "the message is empty"}
	ErrTooLarge        = &Refusal{"too_large", "the message is larger than an event may be"}
	ErrMessageType     = &Refusal{"message_type", "the message type is unknown"}
	ErrSessionType     = &Refusal{"session_type", "the kind of conversation is unknown"}
	ErrNoSuchGroup     = &Refusal{"no_such_group", "there is no such group"}
	ErrBlocked         = &Refusal{"blocked", "the conversation is blocked"}
	ErrClientMessageID = &Refusal{"client_message_id", "the client message id is no ULID of the last day"}
	ErrNothingNew      = &Refusal{"nothing_new", "nothing new has been read"}
	ErrNothingToDo     = &Refusal{"nothing_to_do", "it is so already"}
	ErrNoSuchMessage   = &Refusal{"no_such_message", "there is no such message"}
	ErrNotParty        = &Refusal{"not_party", "it is between others"}

	// Groups.
	ErrNotMember        = &Refusal{"not_member", "the user is no member of the group"}
	ErrNotAdministrator = &Refusal{"not_administrator", "only the group's administrator may do this"}
	ErrGroupType        = &Refusal{"group_type", "this is not done with groups of this type"}
	ErrGroupName        = &Refusal{"group_name", "the group's name is empty or too long, or not plain text"}
	ErrNoMembers        = &Refusal{"no_members", "no members are named"}
	ErrMembers          = &Refusal{"members", "a member is to be added and removed at once"}
	ErrGroupFull        = &Refusal{"group_full", "the group has no room for so many members"}
	ErrGroupExists      = &Refusal{"group_exists", "there is such a group already"}

	// Files.
	ErrFile = &Refusal{"file", "the file has no name, task or size that can be kept"}

	// Node lives.
	ErrLifeBegun   = &Refusal{"life_begun", "the node life has begun already"}
	ErrLifeOver    = &Refusal{"life_over", "the node life is not live"}
	ErrNotLostYet  = &Refusal{"not_lost_yet", "the node has not been silent for long enough"}
	ErrOwnNodeLost = &Refusal{"own_node_lost", "a node cannot declare itself lost"}
)

// ErrIncomplete means that the caller left out what every such command brings: an id, the time, a user.
var ErrIncomplete = errors.New("command without an id, a time or a user")

// millis is the time of an event. A time before 1970 is none.
func millis(at time.Time) int64 { return at.UnixMilli() }

func noTime(at time.Time) bool { return at.UnixMilli() <= 0 }

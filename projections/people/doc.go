// Package people is the fold of PEOPLE: accounts by number and by name, departments, who is
// whose friend or wants to be, where pushes go, the numbers of groups, and who may use the
// server API.
//
// # Buckets
//
//	account     user 4                -> query.Account as protobuf, with password hash and device token
//	name        name                  -> user 4 (0: free) ‖ last sequence of the name's subject 8
//	changed     updated 4 ‖ user 4    -> empty; each account once, under its newest change
//	friend      user 4 ‖ friend 4     -> since 4 ‖ updated 4 ‖ the name that user gives friend; both ways
//	parted      user 4 ‖ other 4      -> updated 4; who were friends and are no more, both ways
//	asks        from 4 ‖ to 4         -> since 4 ‖ text; open requests
//	asked       to 4 ‖ from 4         -> the same
//	circle      user 4                -> friends 4 ‖ requests made 4 ‖ requests got 4 ‖ updated 4
//	department  number 4              -> query.Department as protobuf, deleted ones too
//	department_changed
//	            updated 4 ‖ number 4  -> empty; each department once, under its newest change
//	group       number 4              -> position 8; numbers given to groups
//	token       device token          -> user 4
//	key         id                    -> query.ApiKey as protobuf
//	webhook     id                    -> query.Webhook as protobuf
//	request     request 16            -> number that it gave 4, 0 if it gave none
//	state       "number"              -> greatest number given to a person 4
//	            "department", "group" -> the same of those 4
//	            "keys", "webhooks"    -> how many rows there are 4
//	            "updated"             -> newest updated 4
//
// Numbers are big endian. `since` is the event's own time in seconds.
//
// # Numbers and times
//
// A person, department or group gets the number that its event names if that is free,
// else none does and it is void; if it names none, one more than the greatest so far.
// A number is never given twice: nothing that has one is ever forgotten. `updated` is
// given once to all changes of a record: the seconds of the first change's event,
// or one more than the newest, whichever is greater. So it grows strictly from
// record to record, and whoever has asked up to one value misses nothing by asking
// for greater ones.
//
// Device tokens, quiet nights and another hash of the same password are no changes of an
// account that others could see, and don't move its `updated`.
//
// # Requests
//
// An event may name the request that it was decided for. The first event of a request that
// is not void settles it; all later ones are void, REPEAT, and first id is the number that
// the first one gave. What was void leaves no trace, so that it may be asked again.
//
// # Rule 1
//
//	any                  MALFORMED       its request is not of 16 bytes
//	                     REPEAT          see above
//	PersonRegistered     MALFORMED       no name, or one of more than MaxName bytes
//	                     NAME_TAKEN      first id is the holder's number
//	                     NUMBER_TAKEN    by another account, or no number is left
//	PasswordChanged      NO_SUCH_PERSON
//	PasswordRehashed     MALFORMED       no hash
//	                     NO_SUCH_PERSON
//	                     NO_EFFECT       credentials have changed since, or it is the same hash
//	PersonDisabled,      NO_SUCH_PERSON
//	PersonEnabled        NO_EFFECT       it is so already
//	ProfileChanged       NO_SUCH_PERSON
//	                     NO_EFFECT       nothing that it sets is another value
//	DepartmentChanged    NUMBER_TAKEN    a new one: by another one, or no number is left
//	                     NO_SUCH_DEPARTMENT
//	                     NO_EFFECT       nothing that it sets is another value
//	GroupReserved        NUMBER_TAKEN    by another one, or no number is left
//	FriendAdded,         MALFORMED       lower is not below higher, or user is neither
//	FriendRemoved        NO_SUCH_PERSON
//	                     NO_EFFECT       it is so already
//	                     FULL            added: one of them has MaxFriends
//	FriendRequested      MALFORMED       with oneself, or more than MaxText bytes of text
//	                     NO_SUCH_PERSON
//	                     NO_EFFECT       they are friends, or from has asked already
//	                     FULL            over MaxFriends where to had asked, else over MaxRequests
//	FriendAnswered       MALFORMED       with oneself
//	                     NO_SUCH_PERSON
//	                     NO_SUCH_REQUEST
//	                     FULL            accepted: one of them has MaxFriends; the request stays
//	FriendRemarked       MALFORMED       with oneself, or more than MaxRemark bytes
//	                     NO_SUCH_PERSON
//	                     NO_EFFECT       they are no friends, or it is so already
//	DeviceTokenSet       MALFORMED       more than MaxToken bytes
//	                     NO_SUCH_PERSON
//	                     NO_EFFECT       it is so already
//	PushShieldSet        NO_SUCH_PERSON
//	                     NO_EFFECT       it is so already
//	ApiKeyAdded          MALFORMED       no id, or one of more than MaxName bytes, a hash that is not of 32 bytes, or a row over MaxKey
//	                     NAME_TAKEN      the id is used
//	                     FULL            MaxKeys, none of them revoked
//	ApiKeyRevoked        NO_EFFECT       there is no such key, or it is revoked already
//	WebhookSet           MALFORMED       no id, or one of more than MaxName bytes, no URL, or a row over MaxWebhook
//	                     NO_EFFECT       it is so already
//	                     FULL            MaxWebhooks
//	WebhookRemoved       NO_EFFECT       there is none
//
// A registration that came by compare and set says so; also where it is void it has
// moved the last sequence of its name's subject. Becoming friends takes the requests
// between the two away, and ending a friendship the names that they gave each other. An
// account whose employment becomes "left" ends its sessions, as one that is disabled.
package people

// Package people is the fold of PEOPLE: accounts by number and by name, and who is
// whose friend.
//
// # Buckets
//
//	account  user 4             -> query.Account as protobuf, with the password hash
//	name     name               -> user 4 (0: free) ‖ last sequence of the name's subject 8
//	changed  updated 4 ‖ user 4 -> empty; each account once, under its newest change
//	friend   user 4 ‖ friend 4  -> position 8; both ways
//	state    "number"           -> greatest number given 4
//	         "updated"          -> newest updated 4
//
// Numbers are big endian.
//
// # Numbers and times
//
// A registration gets the number that it names if that is free, else none does and
// it is void; if it names none, one more than the greatest so far. `updated` is
// given once to all changes of a record: the seconds of the first change's event,
// or one more than the newest, whichever is greater. So it grows strictly from
// record to record, and whoever has asked up to one value misses nothing by asking
// for greater ones.
//
// # Rule 1
//
//	PersonRegistered  MALFORMED       no name, or one of more than MaxName bytes
//	                  NAME_TAKEN      first id is the holder's number
//	                  NUMBER_TAKEN    by another account, or no number is left
//	PasswordChanged   NO_SUCH_PERSON
//	PersonDisabled,   NO_SUCH_PERSON
//	PersonEnabled     NO_EFFECT       it is so already
//	FriendAdded,      MALFORMED       lower is not below higher
//	FriendRemoved     NO_SUCH_PERSON
//	                  NO_EFFECT       it is so already
//
// A registration that came by compare and set says so; also where it is void it has
// moved the last sequence of its name's subject.
package people

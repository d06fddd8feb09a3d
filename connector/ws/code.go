package ws

// Code says in a close frame why a connection ends.
type Code uint16

// The codes of the standard that are sent.
const (
	Normal      Code = 1000 // logged out
	GoingAway   Code = 1001 // the server leaves: log in again
	BadFrame    Code = 1002 // frames that RFC 6455 forbids
	WrongForm   Code = 1003 // text where binary was chosen, or the other way round
	NotPDU      Code = 1007 // a message that is not exactly one PDU
	Policy      Code = 1008 // over a limit, or broken protocol
	TooLarge    Code = 1009 // a message, or the PDU that it says, is too large
	TryLater    Code = 1013 // too slow, or nobody could answer: log in again later
	Replaced    Code = 4001 // by a newer login
	SentAway    Code = 4002 // by the user's phone
	ByOperator  Code = 4003
	Disabled    Code = 4004
	NewPassword Code = 4005
	Refused     Code = 4006 // the login
	Silent      Code = 4007 // for too long, or no login came
)

// text is what stands beside a code that comes without a text of its own.
func (c Code) text() string {
	switch c {
	case Normal:
		return "logged out"
	case GoingAway:
		return "the server leaves, log in again"
	case Policy:
		return "a limit was passed or the protocol broken"
	case TryLater:
		return "too slow or nothing could answer, log in again later"
	case Replaced:
		return "replaced by a newer login"
	case SentAway:
		return "sent away by your phone"
	case ByOperator:
		return "ended by an operator"
	case Disabled:
		return "the account is disabled"
	case NewPassword:
		return "the password was changed"
	case Refused:
		return "the login was refused"
	case Silent:
		return "silent for too long"
	}
	return ""
}

// farewell is a close frame that is not the session's: a code and a text of at most 123 bytes.
type farewell struct {
	code Code // 0: the frame is empty
	text string
}

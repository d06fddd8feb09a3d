package client

import (
	"google.golang.org/protobuf/encoding/protowire"

	imbase "godwit/schema/client/basedefine"
)

// The messages that make up nearly all traffic are coded by hand: the same bytes as [Append] and [Unmarshal], without
// reflection and without allocation.

// MsgData is an IMMsgData as [ParseMsgData] reads it.
type MsgData struct {
	From    uint32 // user id of the sender
	To      uint32 // user id or group id, as Type says
	ID      uint32 // 0 in a request
	Created uint32 // Unix seconds
	Type    int32  // always a number of MsgType's list
	Data    []byte // part of the body that was parsed

	// Extensions, see the .proto.
	ClientMessageID []byte // as Data; of any length: what is no id is refused later; nil where there is none
	Recalled        bool
	Edits           uint32
}

// The numbers of the extension fields of IMMsgData and IMMsgDataAck.
const (
	fieldClientMessageID = 100
	fieldRecalled        = 101 // of IMMsgData
	fieldEdits           = 102
	fieldCreateTime      = 101 // of IMMsgDataAck
)

// The required fields of IMMsgData have the numbers 1 to 6; a bit for each that was seen.
const allMsgDataFields = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6

// ParseMsgData reads the body of an IMMsgData. It accepts what [Unmarshal] accepts, with the same result: fields in any
// order, the last one of several, unknown fields and attach_data skipped. Data and ClientMessageID are parts of body and not
// copied. The error is ErrMalformed or ErrEnum wrapped in ErrMalformed.
func ParseMsgData(body []byte) (MsgData, error) {
	var m MsgData
	seen := 0
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		// protowire itself lets through numbers that only the old message sets have.
		if n < 0 || num > protowire.MaxValidNumber {
			return MsgData{}, ErrMalformed
		}
		body = body[n:]
		switch {
		case num <= 5 && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(body)
			if n < 0 {
				return MsgData{}, ErrMalformed
			}
			body = body[n:]
			seen |= 1 << num
			// Numbers are cut to 32 bits, as every protobuf decoder does.
			switch num {
			case 1:
				m.From = uint32(v)
			case 2:
				m.To = uint32(v)
			case 3:
				m.ID = uint32(v)
			case 4:
				m.Created = uint32(v)
			case 5:
				m.Type = int32(v)
			}
		case num == 6 && typ == protowire.BytesType:
			v, n := protowire.ConsumeBytes(body)
			if n < 0 {
				return MsgData{}, ErrMalformed
			}
			body = body[n:]
			seen |= 1 << num
			m.Data = v
		case num == fieldClientMessageID && typ == protowire.BytesType:
			v, n := protowire.ConsumeBytes(body)
			if n < 0 {
				return MsgData{}, ErrMalformed
			}
			body = body[n:]
			m.ClientMessageID = v
		case (num == fieldRecalled || num == fieldEdits) && typ == protowire.VarintType:
			v, n := protowire.ConsumeVarint(body)
			if n < 0 {
				return MsgData{}, ErrMalformed
			}
			body = body[n:]
			if num == fieldRecalled {
				m.Recalled = v != 0
			} else {
				m.Edits = uint32(v)
			}
		default:
			n := protowire.ConsumeFieldValue(num, typ, body)
			if n < 0 {
				return MsgData{}, ErrMalformed
			}
			body = body[n:]
		}
	}
	if seen != allMsgDataFields {
		return MsgData{}, ErrMalformed
	}
	if !KnownMsgType(m.Type) {
		return MsgData{}, errMsgType
	}
	return m, nil
}

// errMsgType is made once: a hostile client must not make the parser work.
var errMsgType error = enumError("IM.Message.IMMsgData.msg_type")

// enumError is an ErrEnum in an ErrMalformed, naming the field.
type enumError string

func (e enumError) Error() string {
	return ErrMalformed.Error() + ": " + ErrEnum.Error() + ": " + string(e)
}

func (e enumError) Is(target error) bool { return target == ErrMalformed || target == ErrEnum }

// KnownMsgType tells whether t is in MsgType's list.
func KnownMsgType(t int32) bool {
	switch imbase.MsgType(t) {
	case imbase.MsgType_MSG_TYPE_SINGLE_TEXT, imbase.MsgType_MSG_TYPE_SINGLE_AUDIO,
		imbase.MsgType_MSG_TYPE_GROUP_TEXT, imbase.MsgType_MSG_TYPE_GROUP_AUDIO:
		return true
	}
	return false
}

// KnownSessionType tells whether t is in SessionType's list.
func KnownSessionType(t int32) bool {
	return t == int32(imbase.SessionType_SESSION_TYPE_SINGLE) || t == int32(imbase.SessionType_SESSION_TYPE_GROUP)
}

// KnownUserStat tells whether s is in UserStatType's list.
func KnownUserStat(s int32) bool {
	switch imbase.UserStatType(s) {
	case imbase.UserStatType_USER_STATUS_ONLINE, imbase.UserStatType_USER_STATUS_OFFLINE,
		imbase.UserStatType_USER_STATUS_LEAVE:
		return true
	}
	return false
}

// AppendMsgData appends an IMMsgData without attach_data. If msgType is not a MsgType, nothing is appended: no client
// could read it.
func AppendMsgData(dst []byte, from, to, id, created uint32, msgType int32, data []byte) []byte {
	if !KnownMsgType(msgType) {
		return dst
	}
	dst = appendUint32(dst, 1, from)
	dst = appendUint32(dst, 2, to)
	dst = appendUint32(dst, 3, id)
	dst = appendUint32(dst, 4, created)
	dst = appendUint32(dst, 5, uint32(msgType))
	dst = protowire.AppendTag(dst, 6, protowire.BytesType)
	return protowire.AppendBytes(dst, data)
}

// AppendExtendedMsgData is [AppendMsgData] of m with the extensions that it has: a ClientMessageID that is not empty,
// Recalled where it is true, Edits where they are not 0.
func AppendExtendedMsgData(dst []byte, m MsgData) []byte {
	if !KnownMsgType(m.Type) {
		return dst
	}
	dst = AppendMsgData(dst, m.From, m.To, m.ID, m.Created, m.Type, m.Data)
	dst = appendClientMessageID(dst, m.ClientMessageID)
	if m.Recalled {
		dst = appendUint32(dst, fieldRecalled, 1)
	}
	if m.Edits != 0 {
		dst = appendUint32(dst, fieldEdits, m.Edits)
	}
	return dst
}

func appendClientMessageID(dst, id []byte) []byte {
	if len(id) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, fieldClientMessageID, protowire.BytesType)
	return protowire.AppendBytes(dst, id)
}

// AppendMsgDataAck appends an IMMsgDataAck. If sessionType is not a SessionType, nothing is appended.
func AppendMsgDataAck(dst []byte, user, session, id uint32, sessionType int32) []byte {
	return appendUserSessionID(dst, user, session, id, sessionType)
}

// AppendExtendedMsgDataAck is [AppendMsgDataAck] with the extensions that answer a message with a client message id: the id,
// and the time in Unix seconds that the server gave the message, unless that is 0, for it is not known. Without an id it
// adds nothing.
func AppendExtendedMsgDataAck(dst []byte, user, session, id uint32, sessionType int32, clientMessageID []byte, created uint32) []byte {
	if !KnownSessionType(sessionType) {
		return dst
	}
	dst = appendUserSessionID(dst, user, session, id, sessionType)
	if len(clientMessageID) == 0 {
		return dst
	}
	dst = appendClientMessageID(dst, clientMessageID)
	if created == 0 {
		return dst
	}
	return appendUint32(dst, fieldCreateTime, created)
}

// AppendReadNotify appends an IMMsgDataReadNotify. If sessionType is not a SessionType, nothing is appended.
func AppendReadNotify(dst []byte, user, session, id uint32, sessionType int32) []byte {
	return appendUserSessionID(dst, user, session, id, sessionType)
}

func appendUserSessionID(dst []byte, user, session, id uint32, sessionType int32) []byte {
	if !KnownSessionType(sessionType) {
		return dst
	}
	dst = appendUint32(dst, 1, user)
	dst = appendUint32(dst, 2, session)
	dst = appendUint32(dst, 3, id)
	return appendUint32(dst, 4, uint32(sessionType))
}

// AppendUserStat appends an IMUserStatNotify. If status is not a UserStatType, nothing is appended.
func AppendUserStat(dst []byte, user uint32, status int32) []byte {
	if !KnownUserStat(status) {
		return dst
	}
	size := protowire.SizeTag(1) + protowire.SizeVarint(uint64(user)) +
		protowire.SizeTag(2) + protowire.SizeVarint(uint64(status))
	dst = protowire.AppendTag(dst, 1, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendUint32(dst, 1, user)
	return appendUint32(dst, 2, uint32(status))
}

func appendUint32(dst []byte, num protowire.Number, v uint32) []byte {
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(v))
}

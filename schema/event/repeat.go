package event

import (
	"crypto/sha256"
	"encoding/binary"
)

// RepeatKey of a message by a new client: the first 16 bytes of a SHA-256 over the
// user, the conversation and the client message id.
func RepeatKey(user uint32, conversation ConversationKey, clientMessageID []byte) []byte {
	b := make([]byte, 0, 64)
	b = append(b, 1)
	b = binary.BigEndian.AppendUint32(b, user)
	b = append(b, conversation[:]...)
	b = append(b, clientMessageID...)
	sum := sha256.Sum256(b)
	return sum[:16:16]
}

// RepeatKeyOld of a message by an old client: over the user, the device class, the
// 16-bit seq_num and the PDU's body as received (Windows sends the same bytes
// again when an ack is late). Sequence number 0 means nothing and gives no key.
func RepeatKeyOld(user uint32, class DeviceClass, seq uint16, body []byte) []byte {
	if seq == 0 {
		return nil
	}
	h := sha256.New()
	var head [8]byte
	head[0] = 2
	binary.BigEndian.PutUint32(head[1:], user)
	head[5] = byte(class)
	binary.BigEndian.PutUint16(head[6:], seq)
	h.Write(head[:])
	h.Write(body)
	return h.Sum(nil)[:16:16]
}

package event

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// Stream is the number of a stream within its log.
type Stream uint32

// The streams that are not conversations, and the first that is.
const (
	People        Stream = 0
	Presence      Stream = 1
	Conversation0 Stream = 2
)

// DefaultPartitions is P where nothing else is said; it is fixed when a log is
// made.
const DefaultPartitions = 8

// MaxPartitions bounds P.
const MaxPartitions = 64

// HashVersion names the function of Partition in StreamOpened.
const HashVersion = 1

// ConversationStream is the stream of partition pp.
func ConversationStream(pp int) Stream { return Conversation0 + Stream(pp) }

// Partition is pp of a conversation stream, and -1 of the other two.
func (s Stream) Partition() int { return int(s) - int(Conversation0) }

// IsConversation tells whether s is one of the P conversation streams.
func (s Stream) IsConversation() bool { return s >= Conversation0 }

// String is the stream's name in JetStream: PEOPLE, PRESENCE or CONVERSATION-pp.
func (s Stream) String() string {
	switch s {
	case People:
		return "PEOPLE"
	case Presence:
		return "PRESENCE"
	}
	return fmt.Sprintf("CONVERSATION-%02d", s.Partition())
}

// Streams lists all streams of a log with p partitions, in the order of their
// numbers.
func Streams(p int) []Stream {
	all := make([]Stream, 0, 2+p)
	for n := range Stream(2 + p) {
		all = append(all, n)
	}
	return all
}

// ConversationKey names a conversation: a kind byte ('d' direct, 'g' group) and
// two big-endian numbers: the lower and the higher user of a direct one, 0 and the
// group's number of a group. In text it is d-<lower>-<higher> or g-<group>.
type ConversationKey [9]byte

// Direct is the conversation of two users; the order of the arguments does not
// matter.
func Direct(a, b uint32) ConversationKey {
	var k ConversationKey
	k[0] = 'd'
	binary.BigEndian.PutUint32(k[1:], min(a, b))
	binary.BigEndian.PutUint32(k[5:], max(a, b))
	return k
}

// Group is the conversation of a group.
func Group(id uint32) ConversationKey {
	var k ConversationKey
	k[0] = 'g'
	binary.BigEndian.PutUint32(k[5:], id)
	return k
}

// ParseConversation reads a key out of an event's field; ok is false for bytes
// that no conversation has.
func ParseConversation(b []byte) (k ConversationKey, ok bool) {
	if len(b) != len(k) {
		return k, false
	}
	copy(k[:], b)
	lo, hi := k.Parties()
	switch k[0] {
	case 'd':
		return k, lo > 0 && lo < hi
	case 'g':
		return k, lo == 0 && hi > 0
	}
	return k, false
}

// IsDirect tells a conversation of two from a group.
func (k ConversationKey) IsDirect() bool { return k[0] == 'd' }

// Parties are the lower and the higher user of a direct conversation.
func (k ConversationKey) Parties() (lower, higher uint32) {
	return binary.BigEndian.Uint32(k[1:]), binary.BigEndian.Uint32(k[5:])
}

// GroupID is the number of a group conversation.
func (k ConversationKey) GroupID() uint32 { return binary.BigEndian.Uint32(k[5:]) }

// Peer is the other party of a direct conversation, 0 if user is none of the two.
func (k ConversationKey) Peer(user uint32) uint32 {
	lo, hi := k.Parties()
	switch user {
	case lo:
		return hi
	case hi:
		return lo
	}
	return 0
}

func (k ConversationKey) String() string {
	lo, hi := k.Parties()
	if k.IsDirect() {
		return fmt.Sprintf("d-%d-%d", lo, hi)
	}
	return fmt.Sprintf("g-%d", hi)
}

// Partition is the partition of the conversation in a log of p partitions:
// FNV-1a over the 9 bytes, its halves folded, mod p. Frozen as HashVersion 1.
func (k ConversationKey) Partition(p int) int {
	h := fnv.New64a()
	h.Write(k[:])
	s := h.Sum64()
	return int((s ^ s>>32) % uint64(p))
}

// Stream is the conversation's stream in a log of p partitions.
func (k ConversationKey) Stream(p int) Stream { return ConversationStream(k.Partition(p)) }

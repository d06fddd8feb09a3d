package timeline

import (
	"iter"

	"godwit/projections/view"
	"godwit/schema/event"
)

// Membership is when a user was a member of a group, or a party of a conversation of
// two. The zero value is never.
type Membership struct {
	intervals []interval
}

// MembershipOf reads one; it outlives the reader.
func MembershipOf(r *view.Reader, key event.ConversationKey, user uint32) Membership {
	m := parseMember(r.Get(memberBucket, new(keyBuf).number(key, user)))
	return Membership{m.intervals}
}

// At tells whether the user was a member at a position: after the event there, if it
// changed that.
func (m Membership) At(sequence uint64, index int) bool {
	return within(m.intervals, placeOf(sequence, uint32(index)))
}

// LeftAt tells whether the event at a position made the user leave.
func (m Membership) LeftAt(sequence uint64, index int) bool {
	place := placeOf(sequence, uint32(index))
	for _, i := range m.intervals {
		if i.left == place {
			return true
		}
	}
	return false
}

// Hears tells whether what concerns the group at a position concerns this user.
func (m Membership) Hears(c Concern, sequence uint64, index int) bool {
	return m.At(sequence, index) || c.Leavers && m.LeftAt(sequence, index)
}

// Memberships yields everybody who is a member of a group, group by group.
func Memberships(r *view.Reader) iter.Seq2[uint32, uint32] {
	return func(yield func(user, group uint32) bool) {
		// Keys of groups come after all those of two.
		for k, row := range r.ScanFrom(memberBucket, []byte{'g'}) {
			if len(k) != 13 || k[0] != 'g' {
				return
			}
			if presentIn(row) && !yield(be.Uint32(k[9:]), event.ConversationKey(k[:9]).GroupID()) {
				return
			}
		}
	}
}

// presentIn tells by a member's row whether he is one now. It makes nothing: there are as
// many rows as all groups have members.
func presentIn(row []byte) bool {
	d := view.Decode(row)
	d.Uint32()
	flags := d.Byte()
	if flags&flagBase != 0 {
		d.Uint32()
	}
	if flags&flagDelivered != 0 {
		d.Uint32()
	}
	if flags&flagChanged != 0 {
		d.Uint64()
	}
	n := d.Left()
	return n >= 16 && be.Uint64(row[len(row)-n%16-8:]) == 0
}

// GroupsOf yields the groups of which a user is a member, by their numbers.
func GroupsOf(r *view.Reader, user uint32) iter.Seq[uint32] {
	return func(yield func(group uint32) bool) {
		for k := range r.Scan(userBucket, append(be.AppendUint32(nil, user), 'g')) {
			if !yield(event.ConversationKey(k[4:]).GroupID()) {
				return
			}
		}
	}
}

// Never tells that the user was no member at any time.
func (m Membership) Never() bool { return len(m.intervals) == 0 }

// MembersEver yields everybody who is or was a member of a group, by number, and when.
// What it yields outlives the reader.
func MembersEver(r *view.Reader, key event.ConversationKey) iter.Seq2[uint32, Membership] {
	return func(yield func(uint32, Membership) bool) {
		for k, row := range r.Scan(memberBucket, key[:]) {
			if m := parseMember(row); len(k) == 13 && len(m.intervals) > 0 && !yield(be.Uint32(k[9:]), Membership{m.intervals}) {
				return
			}
		}
	}
}

// Blocked tells whether one of the two of a direct conversation blocks the other.
func Blocked(r *view.Reader, key event.ConversationKey) bool {
	lower, higher := key.Parties()
	var k keyBuf
	for _, user := range [2]uint32{lower, higher} {
		if m := parseMember(r.Get(memberBucket, k.number(key, user))); m.blocks {
			return true
		}
	}
	return false
}

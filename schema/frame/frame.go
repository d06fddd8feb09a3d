// Package frame defines what owners and nodes say to each other live: frames with
// outcomes and deliveries, heartbeats, attaches and the questions that repair a
// hole. Frames may be lost; their positions make that visible.
package frame

// Less tells whether term t is older than u. A nil term is older than any other.
func (t *Term) Less(u *Term) bool {
	if t.GetRevision() != u.GetRevision() {
		return t.GetRevision() < u.GetRevision()
	}
	return t.GetStart() < u.GetStart()
}

// Same tells whether t and u are one term.
func (t *Term) Same(u *Term) bool { return !t.Less(u) && !u.Less(t) }

// UserDigest is one user's share of the digest of an attached set; the digest is
// the xor of all of them, so that sets can be kept and compared incrementally.
func UserDigest(user uint32) uint64 {
	x := uint64(user) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

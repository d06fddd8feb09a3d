package password

import "crypto/rand"

// Unusable makes a stored hash that no password has: its sum is random. It looks, and takes as long to check, like any
// other, so that nobody learns by guessing which accounts have no password. It does no work.
func (h *Hasher) Unusable() string {
	p := phc{cost: h.cost, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}
	rand.Read(p.salt)
	rand.Read(p.hash)
	return p.String()
}

package view

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"

	bolt "go.etcd.io/bbolt"
)

// Digest is a SHA-256 over the rows of a view.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Digest hashes all rows of the newest committed state, ordered by bucket and key,
// and says its position. Two views of one fold and one stream at one position have
// the same. It reads the whole file.
func (v *View) Digest() (d Digest, sequence uint64, err error) {
	err = v.Read(func(r *Reader) error {
		sequence = r.sequence
		h := sha256.New()
		err := r.tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, value []byte) error {
				if string(name) == "meta" && notInTheDigest[string(k)] {
					return nil
				}
				for _, part := range [][]byte{name, k, value} {
					writePart(h, part)
				}
				return nil
			})
		})
		h.Sum(d[:0])
		return err
	})
	if err != nil {
		return Digest{}, 0, fmt.Errorf("digest of %s: %w", v.name, err)
	}
	return d, sequence, nil
}

func writePart(h hash.Hash, part []byte) {
	var n [8]byte
	be.PutUint64(n[:], uint64(len(part)))
	h.Write(n[:])
	h.Write(part)
}

package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// Defaults of a [Remembered].
const (
	DefaultRememberFor = 10 * time.Minute
	DefaultRemembered  = 200_000
)

// Remembered knows for some minutes which (name, client's text, stored hash) were proved to belong together, so that a
// storm of reconnecting clients costs one HMAC each. An entry holds no password: it is 128 bits of HMAC-SHA256, under a
// random key of this process, over all three. A changed password (another stored hash, for its salt is new) can therefore
// never match an old entry.
//
// An entry lives for the given time from its Remember, to the second and never longer; a hit does not extend it. When the
// table is full the oldest entry goes. An entry costs some 50 bytes. It may be used from any goroutine and starts none.
type Remembered struct {
	now   func() time.Time
	start time.Time
	ttl   uint32 // seconds
	limit int

	mu    sync.Mutex
	mac   hash.Hash // HMAC under the key; a third of a microsecond, so the lock is no bottleneck
	text  []byte    // what it hashes
	sum   []byte
	ring  []remembered      // in order of age: entry i of n stands at (head+i) % len(ring)
	head  int               // place of the oldest
	n     int               // entries in use, forgotten ones included
	first uint32            // number of the oldest; numbers run on and wrap
	index map[uint64]uint32 // first half of a key -> number of its newest entry
}

// remembered is 24 bytes. A forgotten entry is not in the index and leaves the ring with its age.
type remembered struct {
	key  [16]byte
	user uint32
	at   uint32 // seconds since start
}

func (e *remembered) prefix() uint64 { return binary.NativeEndian.Uint64(e.key[:]) }

// NewRemembered makes an empty memory of at most limit entries that live ttl each (whole seconds, at least one). now is the
// clock, time.Now outside of tests.
func NewRemembered(now func() time.Time, ttl time.Duration, limit int) *Remembered {
	var secret [32]byte
	rand.Read(secret[:])
	return &Remembered{
		now: now, start: now(), ttl: uint32(min(max(ttl/time.Second, 1), 1<<30)), limit: max(limit, 1),
		mac: hmac.New(sha256.New, secret[:]), index: make(map[uint64]uint32),
	}
}

// Remember records that a [Hasher.Verify] of these three has just been true for the user.
func (r *Remembered) Remember(name, md5hex string, user uint32, phc string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.keyLocked(name, md5hex, phc)
	at := r.seconds()
	for r.n > 0 && (r.n == r.limit || r.old(&r.ring[r.head], at)) {
		r.dropOldestLocked()
	}
	if r.n == 0 {
		r.clearLocked() // a storm that has passed gives its memory back
	}
	if r.n == len(r.ring) {
		r.growLocked()
	}
	e := &r.ring[(r.head+r.n)%len(r.ring)]
	*e = remembered{key: key, user: user, at: at}
	r.index[e.prefix()] = r.first + uint32(r.n)
	r.n++
}

// Check tells whether these three were remembered and not forgotten since. It allocates nothing.
func (r *Remembered) Check(name, md5hex, phc string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.keyLocked(name, md5hex, phc)
	number, found := r.index[binary.NativeEndian.Uint64(key[:])]
	if !found {
		return false
	}
	e := &r.ring[(r.head+int(number-r.first))%len(r.ring)]
	return e.key == key && !r.old(e, r.seconds())
}

// Forget drops what is remembered of a user: after a change of password or a disabled account. It walks the table, which
// takes some hundred microseconds when it is full.
func (r *Remembered) Forget(user uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.n {
		if e := &r.ring[(r.head+i)%len(r.ring)]; e.user == user {
			r.unindexLocked(e, r.first+uint32(i))
		}
	}
}

// ForgetAll drops everything and gives its memory back.
func (r *Remembered) ForgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clearLocked()
}

// Len is the number of entries held, those included that are too old or forgotten but not yet overwritten.
func (r *Remembered) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// keyLocked hashes the three with their lengths, so that no two different triples give the same text.
func (r *Remembered) keyLocked(name, md5hex, phc string) (key [16]byte) {
	r.text = r.text[:0]
	for _, part := range [...]string{name, md5hex, phc} {
		r.text = binary.BigEndian.AppendUint32(r.text, uint32(len(part)))
		r.text = append(r.text, part...)
	}
	r.mac.Reset()
	r.mac.Write(r.text)
	clear(r.text)
	r.sum = r.mac.Sum(r.sum[:0])
	copy(key[:], r.sum)
	return key
}

func (r *Remembered) seconds() uint32 { return uint32(max(r.now().Sub(r.start), 0) / time.Second) }

// old never lets an entry live past its time: both ends are cut to the second, so it may end up to a second early.
func (r *Remembered) old(e *remembered, now uint32) bool { return now-e.at >= r.ttl }

func (r *Remembered) dropOldestLocked() {
	r.unindexLocked(&r.ring[r.head], r.first)
	r.head = (r.head + 1) % len(r.ring)
	r.first++
	r.n--
}

// unindexLocked leaves the index alone where a newer entry of the same key has taken the place.
func (r *Remembered) unindexLocked(e *remembered, number uint32) {
	if newest, found := r.index[e.prefix()]; found && newest == number {
		delete(r.index, e.prefix())
	}
}

func (r *Remembered) clearLocked() {
	r.ring, r.head, r.n = nil, 0, 0
	if len(r.index) > 0 || r.first != 0 {
		r.index, r.first = make(map[uint64]uint32), 0
	}
}

func (r *Remembered) growLocked() {
	bigger := make([]remembered, min(len(r.ring)+len(r.ring)/4+16, r.limit))
	k := copy(bigger, r.ring[r.head:])
	copy(bigger[k:], r.ring[:r.head])
	r.ring, r.head = bigger, 0
}

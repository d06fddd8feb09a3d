package password

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

const (
	saltSize = 16
	hashSize = 32

	// A stored hash outside these is not ours, and is refused before anything is allocated for it.
	minSalt, maxSalt = 8, 64
	minHash, maxHash = 16, 64
	maxPHC           = 256
)

var (
	// ErrNotMD5Hex refuses to hash what no client could send: anything but 32 lower-case hex digits.
	ErrNotMD5Hex = errors.New("password is not 32 lower-case hex digits of an MD5")
	// ErrHash is wrapped by every refusal of a stored hash that cannot be read.
	ErrHash = errors.New("bad password hash")
)

// MD5Hex is what a TeamTalk client sends for a plain password: its MD5 in 32 lower-case hex digits.
func MD5Hex(plain string) string {
	sum := md5.Sum([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// Hasher makes and checks hashes, at most one per core at a time; who comes later waits in order of arrival. One serves a
// whole process. It may be used from any goroutine and starts none.
type Hasher struct {
	cost  Cost
	slots chan struct{}
	dummy phc // what VerifyNobody measures itself against
}

// NewHasher makes a Hasher that gives new hashes the cost. Hashes made at another cost stay readable.
func NewHasher(cost Cost) (*Hasher, error) {
	if err := cost.check(); err != nil {
		return nil, err
	}
	h := &Hasher{cost: cost, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	h.dummy = phc{cost: cost, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}
	rand.Read(h.dummy.salt)
	rand.Read(h.dummy.hash)
	return h, nil
}

// Hash makes the PHC string to store for what a client sends, "$argon2id$v=19$m=..,t=..,p=1$salt$hash", with a new salt. It
// fails with [ErrNotMD5Hex], or with the cause of ctx while it waits for a core.
func (h *Hasher) Hash(ctx context.Context, md5hex string) (string, error) {
	if !isMD5Hex(md5hex) {
		return "", ErrNotMD5Hex
	}
	p := phc{cost: h.cost, salt: make([]byte, saltSize)}
	rand.Read(p.salt)
	sum, err := h.derive(ctx, md5hex, p, hashSize)
	if err != nil {
		return "", err
	}
	p.hash = sum
	return p.String(), nil
}

// Verify tells whether the client's text is the one behind the stored hash; the sums are compared in constant time. What no
// client could send is false at once, for every name alike. It fails with [ErrHash] or [ErrCost] when the stored hash cannot
// be read or asks for more than the bounds, and with the cause of ctx while it waits for a core.
func (h *Hasher) Verify(ctx context.Context, md5hex, stored string) (bool, error) {
	if Outdated(stored) {
		return h.verifyTeamTalk(ctx, md5hex, stored)
	}
	p, err := parsePHC(stored)
	if err != nil {
		return false, err
	}
	return h.verify(ctx, md5hex, p)
}

// VerifyNobody takes the time of a [Hasher.Verify] that fails, for a name that does not exist. Its only error is the cause
// of ctx.
func (h *Hasher) VerifyNobody(ctx context.Context, md5hex string) error {
	_, err := h.verify(ctx, md5hex, h.dummy)
	return err
}

func (h *Hasher) verify(ctx context.Context, md5hex string, p phc) (bool, error) {
	if !isMD5Hex(md5hex) {
		return false, nil
	}
	sum, err := h.derive(ctx, md5hex, p, len(p.hash))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, p.hash) == 1, nil
}

// derive runs argon2id in one of the slots. Once begun it is not interrupted.
func (h *Hasher) derive(ctx context.Context, md5hex string, p phc, size int) ([]byte, error) {
	if ctx.Err() != nil { // select would choose at random
		return nil, fmt.Errorf("wait for a password check: %w", context.Cause(ctx))
	}
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a password check: %w", context.Cause(ctx))
	}
	defer func() { <-h.slots }()
	return argon2.IDKey([]byte(md5hex), p.salt, p.cost.Iterations, p.cost.MemoryKiB, 1, uint32(size)), nil
}

func isMD5Hex(s string) bool {
	if len(s) != 2*md5.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// phc is a stored hash taken apart.
type phc struct {
	cost       Cost
	salt, hash []byte
}

var phcBase64 = base64.RawStdEncoding.Strict()

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, p.cost.MemoryKiB, p.cost.Iterations,
		phcBase64.EncodeToString(p.salt), phcBase64.EncodeToString(p.hash))
}

// parsePHC reads exactly what String writes, other sizes of salt and hash apart, and never names the hash in an error.
func parsePHC(text string) (phc, error) {
	if len(text) > maxPHC {
		return phc{}, fmt.Errorf("%w: %d bytes long, at most %d", ErrHash, len(text), maxPHC)
	}
	f := strings.Split(text, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, fmt.Errorf("%w: no argon2id PHC string of version %d", ErrHash, argon2.Version)
	}
	params := strings.Split(f[3], ",")
	if len(params) != 3 || params[2] != "p=1" {
		return phc{}, fmt.Errorf("%w: parameters are not m, t and p=1", ErrHash)
	}
	m, errM := parseParam(params[0], "m=")
	t, errT := parseParam(params[1], "t=")
	if err := errors.Join(errM, errT); err != nil {
		return phc{}, err
	}
	p := phc{cost: Cost{MemoryKiB: m, Iterations: t}}
	if err := p.cost.check(); err != nil {
		return phc{}, err
	}
	var err error
	if p.salt, err = phcBase64.DecodeString(f[4]); err != nil || len(p.salt) < minSalt || len(p.salt) > maxSalt {
		return phc{}, fmt.Errorf("%w: salt is not base64 of %d to %d bytes", ErrHash, minSalt, maxSalt)
	}
	if p.hash, err = phcBase64.DecodeString(f[5]); err != nil || len(p.hash) < minHash || len(p.hash) > maxHash {
		return phc{}, fmt.Errorf("%w: sum is not base64 of %d to %d bytes", ErrHash, minHash, maxHash)
	}
	return p, nil
}

func parseParam(text, name string) (uint32, error) {
	digits, found := strings.CutPrefix(text, name)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !found || err != nil || digits != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("%w: parameter %s is no plain number", ErrHash, strings.TrimSuffix(name, "="))
	}
	return uint32(n), nil
}

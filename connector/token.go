package connector

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// A resume token says that somebody has proved a password (or an identity) already. All
// numbers are big-endian:
//
//	 0   1  version, 1
//	 1   4  user number
//	 5   8  credentials_sequence of the account: of another one the token is no more
//	13   4  Unix seconds until which it is good
//	17   8  random bytes
//	25  32  HMAC-SHA256 over what stands before, under a secret that all nodes share
const (
	tokenVersion = 1
	tokenBody    = 25
	tokenSize    = tokenBody + sha256.Size
)

// TokenSize is the size of a resume token, in bytes.
const TokenSize = tokenSize

var (
	// errForged: no token that a node of this log has made, or one of long ago.
	errForged = errors.New("resume token is not ours")
	// errExpired: its time is over.
	errExpired = errors.New("resume token has expired")
	// errOutlived: it was made for another password, or another name is given with it.
	errOutlived = errors.New("resume token is no longer good for the account")
	// errNoResume: tokens are switched off.
	errNoResume = errors.New("resume tokens are not served")
)

const (
	// secretsFor is how long secrets count as fresh: a node learns of a new one within it, or
	// by the first token that it can't read.
	secretsFor = 10 * time.Minute
	// secretsPause is the least time between two looks.
	secretsPause = 5 * time.Second
)

// keeper makes and checks resume tokens.
type keeper struct {
	ttl  time.Duration                               // 0: none
	read func(ctx context.Context) ([][]byte, error) // the shared secrets, the present one first

	mu      sync.Mutex // held while they are read: one look serves all who wait
	secrets [][]byte
	fresh   time.Time // until when they count as fresh
	looked  time.Time // when they were read last
	failed  error     // of that
}

func (k *keeper) on() bool { return k.ttl > 0 && k.read != nil }

// issue makes a token.
func (k *keeper) issue(ctx context.Context, user uint32, credentials uint64, now time.Time) (token []byte, expires uint32, err error) {
	secrets, err := k.keys(ctx, now, false)
	if err != nil {
		return nil, 0, err
	}
	expires = uint32(now.Add(k.ttl).Unix())
	token = make([]byte, tokenBody, tokenSize)
	token[0] = tokenVersion
	binary.BigEndian.PutUint32(token[1:], user)
	binary.BigEndian.PutUint64(token[5:], credentials)
	binary.BigEndian.PutUint32(token[13:], expires)
	rand.Read(token[17:])
	return sign(token, secrets[0]), expires, nil
}

func sign(body, secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return mac.Sum(body)
}

// check tells whom a token is for, and the credentials that it was made for. It fails with
// errForged or errExpired, or because the secrets can't be read.
func (k *keeper) check(ctx context.Context, token []byte, now time.Time) (user uint32, credentials uint64, err error) {
	if len(token) != tokenSize || token[0] != tokenVersion {
		return 0, 0, errForged
	}
	secrets, err := k.keys(ctx, now, false)
	if err != nil {
		return 0, 0, err
	}
	if !signed(token, secrets) {
		// Another node may have made it under a secret that is newer than what is known here.
		if secrets, err = k.keys(ctx, now, true); err != nil {
			return 0, 0, err
		}
		if !signed(token, secrets) {
			return 0, 0, errForged
		}
	}
	if now.Unix() >= int64(binary.BigEndian.Uint32(token[13:])) {
		return 0, 0, errExpired
	}
	return binary.BigEndian.Uint32(token[1:]), binary.BigEndian.Uint64(token[5:]), nil
}

func signed(token []byte, secrets [][]byte) bool {
	for _, s := range secrets {
		body := token[:tokenBody:tokenBody]
		if hmac.Equal(sign(body, s), token) {
			return true
		}
	}
	return false
}

// keys are the secrets: those known, while they are fresh or can't be read anew. again looks
// before that, but not all the time.
func (k *keeper) keys(ctx context.Context, now time.Time, again bool) ([][]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known := len(k.secrets) > 0
	// Whoever has waited for another one's look in vain is not kept waiting for his own.
	recent := !k.looked.IsZero() && time.Since(k.looked) < secretsPause
	if !recent && (!known || again || !now.Before(k.fresh)) {
		var secrets [][]byte
		if secrets, k.failed = k.read(ctx); k.failed == nil {
			k.secrets, k.fresh, known = secrets, now.Add(secretsFor), true
		}
		k.looked = time.Now()
	}
	if !known {
		return nil, k.failed
	}
	return k.secrets, nil
}

package bus

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// SecretSize is the length of a secret in bytes.
const SecretSize = 32

const (
	secretBucket = "secrets"
	secretHead   = 1 + 8 // version and time of making, Unix milliseconds; then the secrets, newest first
)

// Secret is what all processes on this log share under a name, and nobody else knows:
// random bytes that the first to ask makes, kept beside the log. The name is one subject
// token. It asks until there is an answer or ctx ends.
func (b *Bus) Secret(ctx context.Context, name string) ([]byte, error) {
	all, err := b.Secrets(ctx, name, 0)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Secrets is [Bus.Secret] for what is renewed: the present secret, and behind it the one
// before, if there was one. A present one that is as old as maxAge is replaced; 0 is never.
// So what was made under a secret can be checked for at least maxAge after it.
func (b *Bus) Secrets(ctx context.Context, name string, maxAge time.Duration) ([][]byte, error) {
	if !validToken(name) {
		return nil, fmt.Errorf("bus: secret name %q must be one token", name)
	}
	for {
		if b.closed.Load() {
			return nil, ErrClosed
		}
		e, err := b.entry(ctx, secretBucket, name)
		if err != nil {
			return nil, fmt.Errorf("bus: secret %s: %w", name, err)
		}
		now := time.Now()
		var all [][]byte
		if !e.gone {
			at, stored, err := parseSecrets([]byte(e.value))
			if err != nil {
				return nil, fmt.Errorf("bus: secret %s: %w", name, err)
			}
			if maxAge <= 0 || now.Sub(at) < maxAge {
				return stored, nil
			}
			all = stored[:1]
		}
		fresh := make([]byte, SecretSize)
		rand.Read(fresh)
		all = append([][]byte{fresh}, all...)
		_, err = b.set(ctx, secretBucket, name, string(formatSecrets(now, all)), e.revision, false)
		switch {
		case err == nil:
			b.log.Info("secret made", "secret", name, "renewed", len(all) > 1)
			return all, nil
		case errors.Is(err, ErrConflict):
			continue // somebody else did it
		}
		// It may have been written: what stands there counts.
		b.log.Warn("making a secret", "secret", name, "err", err)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("bus: secret %s: %w", name, err)
		}
	}
}

func formatSecrets(at time.Time, all [][]byte) []byte {
	v := binary.BigEndian.AppendUint64([]byte{1}, uint64(at.UnixMilli()))
	return append(v, bytes.Join(all, nil)...)
}

var errSecret = errors.New("stored secret can't be read")

func parseSecrets(v []byte) (at time.Time, all [][]byte, err error) {
	n := len(v) - secretHead
	if n < SecretSize || n > 2*SecretSize || n%SecretSize != 0 || v[0] != 1 {
		return time.Time{}, nil, errSecret
	}
	at = time.UnixMilli(int64(binary.BigEndian.Uint64(v[1:])))
	for v = v[secretHead:]; len(v) > 0; v = v[SecretSize:] {
		all = append(all, v[:SecretSize:SecretSize])
	}
	return at, all, nil
}

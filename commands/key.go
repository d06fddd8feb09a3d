package commands

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/schema/event"
)

// Limits of an API key.
const (
	MaxKeyID      = 64 // bytes
	MaxKeyName    = 64 // characters
	MaxScopes     = 16
	MaxScopeBytes = 32
)

// KeyState is what the people view knows of an API key.
type KeyState struct {
	Exists  bool
	Revoked bool
}

// AddAPIKey lets a program use the server API.
type AddAPIKey struct {
	At      time.Time
	ID      string // public part: letters, digits, "-" and "_"
	Hash    []byte // SHA-256 of the secret part
	Name    string // what it is for
	Scopes  []string
	Expires time.Time // zero: never
	By      string
}

// Decide gives ApiKeyAdded. Which scopes there are is the API's to know.
func (c AddAPIKey) Decide(s KeyState) (*event.Event, error) {
	if noTime(c.At) || len(c.Hash) != sha256.Size {
		return nil, ErrIncomplete
	}
	if err := checkID("id", c.ID, MaxKeyID); err != nil {
		return nil, err
	}
	if c.Name == "" {
		return nil, ErrNameEmpty
	}
	if err := checkField("name", c.Name, MaxKeyName); err != nil {
		return nil, err
	}
	if len(c.Scopes) == 0 || len(c.Scopes) > MaxScopes {
		return nil, fmt.Errorf("%w: there are %d scopes, not 1 to %d", ErrField, len(c.Scopes), MaxScopes)
	}
	for i, scope := range c.Scopes {
		if scope == "" || len(scope) > MaxScopeBytes || strings.ContainsFunc(scope, notScope) || slices.Contains(c.Scopes[:i], scope) {
			return nil, fmt.Errorf("%w: scope %q", ErrField, cut(scope, MaxScopeBytes))
		}
	}
	expires := int64(0)
	if !c.Expires.IsZero() {
		if expires = millis(c.Expires); expires <= millis(c.At) {
			return nil, fmt.Errorf("%w: the key expires before it is made", ErrField)
		}
	}
	if s.Exists {
		return nil, ErrKeyTaken
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_ApiKeyAdded{ApiKeyAdded: &event.ApiKeyAdded{
		Id: c.ID, Hash: c.Hash, Name: c.Name, Scopes: c.Scopes, Expires: expires, By: cut(c.By, maxBy),
	}}}, nil
}

// RevokeAPIKey ends a key for good.
type RevokeAPIKey struct {
	At time.Time
	ID string
	By string
}

// Decide gives ApiKeyRevoked.
func (c RevokeAPIKey) Decide(s KeyState) (*event.Event, error) {
	switch {
	case noTime(c.At):
		return nil, ErrIncomplete
	case c.ID == "" || !s.Exists:
		return nil, ErrNoSuchKey
	case s.Revoked:
		return nil, ErrKeyRevoked
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_ApiKeyRevoked{ApiKeyRevoked: &event.ApiKeyRevoked{
		Id: c.ID, By: cut(c.By, maxBy),
	}}}, nil
}

// checkID refuses what is no short word of letters, digits, "-" and "_".
func checkID(field, id string, limit int) error {
	if id == "" || len(id) > limit || strings.ContainsFunc(id, func(r rune) bool { return r != '-' && r != '_' && !letterOrDigit(r) }) {
		return fmt.Errorf("%w: %s is not 1 to %d letters, digits, \"-\" and \"_\"", ErrField, field, limit)
	}
	return nil
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// notScope tells a character that no scope has: they are like "users:read" and "*".
func notScope(r rune) bool { return !letterOrDigit(r) && !strings.ContainsRune(":*_.-", r) }

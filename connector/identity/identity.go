// Package identity lets people log in with a JWT of an identity provider instead of a
// password: it checks tokens, and makes the account of a first login.
//
// A token says by its signature who somebody is, so everything rests on whose signature
// is believed: a key is used with the one algorithm that its kind has (a secret with
// HS256, RSA with RS256, Ed25519 with EdDSA), whatever the token says of itself, and a
// token must name the issuer and the audience that this server was told, and must end.
package identity

import (
	"context"
	"errors"
	"time"
)

// Bounds of a token.
const (
	// MaxToken is the longest token in bytes that is looked at.
	MaxToken = 8 << 10
	// Leeway is how far the clocks of this server and the provider may be apart.
	Leeway = 30 * time.Second
)

var (
	// ErrRefused is wrapped by every refusal of a token: it is the token's fault, and trying
	// again does not help.
	ErrRefused = errors.New("token refused")
	// ErrNoKeys: nothing can be said of the token, because the provider's keys could not be
	// had yet.
	ErrNoKeys = errors.New("keys of the identity provider not available")
)

// Claims are what a token that was proved says.
type Claims struct {
	Name    string    // login name, normalised and checked by package commands
	Nick    string    // for a new account; empty: the token has none that an account could have
	Subject string    // the provider's own id of the person, may be empty
	Expires time.Time // of the token; a session that it opened goes on
}

// Verifier checks tokens. It may be used from any goroutine.
type Verifier interface {
	// Verify proves a token and gives what it claims. It may ask the provider for its keys,
	// as long as ctx lasts. Its errors wrap ErrRefused or ErrNoKeys, or are ctx's; none holds
	// the token or a part of it.
	Verify(ctx context.Context, token string) (Claims, error)
	// Creates tells whether a person without an account gets one, by Register.
	Creates() bool
}

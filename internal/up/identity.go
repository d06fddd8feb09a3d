package up

import (
	"errors"
	"fmt"

	"godwit/connector"
	"godwit/connector/identity"
)

// identityProvider is the provider whose tokens let people in, if there is one.
type identityProvider struct{ *identity.Provider }

// openIdentity reads the keys of files. Its errors name the flag to mend.
func openIdentity(cfg Config) (identityProvider, error) {
	c := cfg.Identity
	if len(c.KeyFiles) == 0 && c.JWKSURL == "" {
		return identityProvider{}, nil
	}
	c.Logger = cfg.Logger.With("part", "identity")
	p, err := identity.New(c)
	switch {
	case errors.Is(err, identity.ErrKeyFile):
		return identityProvider{}, fmt.Errorf("--jwt-key-file: %w", err)
	case errors.Is(err, identity.ErrJWKSURL):
		return identityProvider{}, fmt.Errorf("--jwt-jwks-url: %w", err)
	case errors.Is(err, identity.ErrIssuer):
		return identityProvider{}, errors.New("--jwt-issuer and --jwt-audience are needed where there are keys for tokens")
	case err != nil:
		return identityProvider{}, err
	}
	return identityProvider{p}, nil
}

// offered has logins by its tokens taken.
func (p identityProvider) offered(c connector.Config) connector.Config {
	if p.Provider != nil {
		c.Identity = p.Provider
	}
	return c
}

// start has its keys kept fresh.
func (p identityProvider) start(run *stages) {
	if p.Provider != nil {
		run.start("identity", p.Run)
	}
}

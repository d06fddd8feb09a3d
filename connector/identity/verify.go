package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/text/unicode/norm"

	"godwit/commands"
)

// DefaultNameClaim and DefaultNickClaim are where a token says who somebody is, unless
// Config says otherwise.
const (
	DefaultNameClaim = "sub"
	DefaultNickClaim = "name"
)

// Config of a Provider.
type Config struct {
	KeyFiles []string // "[KID=]FILE": a public key in PEM, or a secret
	JWKSURL  string   // https, or http on this machine

	Issuer   string // what iss must be; needed
	Audience string // what aud must name; needed

	NameClaim string // of the login name; default "sub"
	NickClaim string // of the nick of a new account; default "name"
	Create    bool   // the first login makes an account

	Logger *slog.Logger     // default: silent
	Clock  func() time.Time // default: time.Now
}

// Settings are wrong in one way each.
var (
	ErrKeyFile  = errors.New("no key")
	ErrJWKSURL  = errors.New("no address of a JWKS")
	ErrIssuer   = errors.New("issuer and audience are needed")
	ErrNoSource = errors.New("no keys")
)

// Provider is a Verifier over the keys of an identity provider.
type Provider struct {
	cfg    Config
	files  []key
	source *source // nil: keys of files only
	parser *jwt.Parser
}

// New reads the keys of files. Those of a URL are read by Run.
func New(cfg Config) (*Provider, error) {
	if len(cfg.KeyFiles) == 0 && cfg.JWKSURL == "" {
		return nil, ErrNoSource
	}
	if cfg.Issuer == "" || cfg.Audience == "" {
		return nil, ErrIssuer
	}
	if cfg.NameClaim == "" {
		cfg.NameClaim = DefaultNameClaim
	}
	if cfg.NickClaim == "" {
		cfg.NickClaim = DefaultNickClaim
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	p := &Provider{cfg: cfg}
	for _, f := range cfg.KeyFiles {
		k, err := loadKey(f)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrKeyFile, f, err)
		}
		p.files = append(p.files, k)
	}
	if cfg.JWKSURL != "" {
		var err error
		if p.source, err = newSource(cfg.JWKSURL, cfg.Logger); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrJWKSURL, cfg.JWKSURL, err)
		}
	}
	p.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{hs256, rs256, edDSA}),
		jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(Leeway), jwt.WithTimeFunc(cfg.Clock))
	return p, nil
}

// Run keeps the keys of the URL until ctx ends. Without a URL it only waits.
func (p *Provider) Run(ctx context.Context) error {
	if p.source == nil {
		<-ctx.Done()
		return nil
	}
	p.source.run(ctx)
	return nil
}

// Creates tells whether a first login makes an account.
func (p *Provider) Creates() bool { return p.cfg.Create }

// refused is a token that is not believed, in words that hold nothing of it.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// errNoKey: none of the keys may have signed the token.
var errNoKey = errors.New("no key fits")

// Verify is Verifier's. A token whose key is not known has the keys of the URL read anew,
// at most every ten seconds. While the URL does not answer, the keys that were read last
// stay good, and a token with another one is ErrNoKeys.
func (p *Provider) Verify(ctx context.Context, token string) (Claims, error) {
	if len(token) > MaxToken {
		return Claims{}, refused("longer than %d bytes", MaxToken)
	}
	claims, err := p.parse(token)
	if errors.Is(err, errNoKey) && p.source != nil {
		if err := p.source.ask(ctx); err != nil {
			return Claims{}, err
		}
		claims, err = p.parse(token)
		if _, failed := p.source.have(); errors.Is(err, errNoKey) && failed != nil {
			return Claims{}, ErrNoKeys
		}
	}
	if err != nil {
		return Claims{}, refused("%s", reason(err))
	}
	return p.read(claims)
}

func (p *Provider) parse(token string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	_, err := p.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		// What must be understood is not.
		if _, critical := t.Header["crit"]; critical {
			return nil, errCritical
		}
		id, _ := t.Header["kid"].(string)
		keys := p.files
		if p.source != nil {
			more, _ := p.source.have()
			keys = append(keys[:len(keys):len(keys)], more...)
		}
		fit := pick(keys, t.Method.Alg(), id)
		if len(fit) == 0 {
			return nil, errNoKey
		}
		return jwt.VerificationKeySet{Keys: fit}, nil
	})
	return claims, err
}

var errCritical = errors.New("critical header")

// reason says why in words of our own: those of the parser may hold pieces of the token.
func reason(err error) string {
	for _, r := range []struct {
		is   error
		text string
	}{
		{errCritical, "it has a critical header"},
		{errNoKey, "no key fits its algorithm and key id"},
		{jwt.ErrTokenMalformed, "it is malformed"},
		{jwt.ErrTokenSignatureInvalid, "its signature or algorithm is wrong"},
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenInvalidIssuer, "it is of another issuer"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "it lacks a claim"},
	} {
		if errors.Is(err, r.is) {
			return r.text
		}
	}
	return "it can't be verified"
}

// read takes out of a proved token what is wanted of it.
func (p *Provider) read(claims jwt.MapClaims) (Claims, error) {
	name, _ := claims[p.cfg.NameClaim].(string)
	c := Claims{Name: commands.NormalName(name)}
	if err := commands.CheckName(c.Name); err != nil {
		return Claims{}, refused("its claim %s is no login name: %s", p.cfg.NameClaim, cause(err))
	}
	if nick, ok := claims[p.cfg.NickClaim].(string); ok {
		c.Nick = nickOf(nick)
	}
	c.Subject, _ = claims["sub"].(string)
	if at, err := claims.GetExpirationTime(); err == nil && at != nil {
		c.Expires = at.Time
	}
	return c, nil
}

// cause is a refusal's own text, without what it was wrapped with.
func cause(err error) error {
	if r, ok := commands.AsRefusal(err); ok {
		return r
	}
	return err
}

// nickOf makes a nick that an account may have of a claim: what can't be shown is left
// out, and the rest is cut.
func nickOf(claim string) string {
	nick := norm.NFC.String(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, claim))
	if r := []rune(nick); len(r) > commands.MaxNick {
		nick = string(r[:commands.MaxNick])
	}
	return strings.TrimSpace(nick)
}

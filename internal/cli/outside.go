package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"godwit/connector/identity"
	"godwit/connector/webhook"
	"godwit/internal/config"
)

// identityFlags are those of logins by the tokens of an identity provider.
func identityFlags(f *pflag.FlagSet, c *identity.Config) {
	f.StringSliceVar(&c.KeyFiles, "jwt-key-file", nil, "`[KID=]FILE` with a key that signs login tokens: a public key (PEM), or a secret; several are possible")
	f.StringVar(&c.JWKSURL, "jwt-jwks-url", "", "`URL` of an identity provider's keys (JWKS), read again and again")
	f.StringVar(&c.Issuer, "jwt-issuer", "", "what a login token's iss must be")
	f.StringVar(&c.Audience, "jwt-audience", "", "what a login token's aud must name")
	f.StringVar(&c.NameClaim, "jwt-name-claim", identity.DefaultNameClaim, "claim of a login token that is the login name")
	f.StringVar(&c.NickClaim, "jwt-nick-claim", identity.DefaultNickClaim, "claim that is the nick of a new account")
	f.BoolVar(&c.Create, "jwt-create", false, "make an account at the first login of somebody who has none")
}

// checkIdentity refuses half of what tokens need.
func checkIdentity(c *identity.Config) error {
	keys := len(c.KeyFiles) > 0 || c.JWKSURL != ""
	if c.JWKSURL != "" {
		if err := identity.CheckURL(c.JWKSURL); err != nil {
			return &config.SettingError{Where: "--jwt-jwks-url", Value: c.JWKSURL, Mend: err}
		}
	}
	switch {
	case keys && (c.Issuer == "" || c.Audience == ""):
		return usagef("--jwt-key-file and --jwt-jwks-url need --jwt-issuer and --jwt-audience: give both")
	case !keys && (c.Issuer+c.Audience != "" || c.Create):
		return usagef("--jwt-issuer, --jwt-audience and --jwt-create are for login tokens: give --jwt-key-file or --jwt-jwks-url as well")
	case c.NameClaim == "":
		return usagef("--jwt-name-claim is %q: give the claim that is the login name, for example %s", "", identity.DefaultNameClaim)
	}
	return nil
}

// pushTime is when phones are not called, and whether they show what a message says.
type pushTime struct {
	quiet webhook.Quiet
	zone  *time.Location
	text  bool
}

const defaultQuiet = "22:00-07:00"

func (p *pushTime) flags(f *pflag.FlagSet) {
	p.zone = time.Local
	p.quiet, _ = webhook.ParseQuiet(defaultQuiet) // a constant that is right
	f.Var(config.Value(&p.quiet, "FROM-TO", func(s string) (webhook.Quiet, error) {
		q, err := webhook.ParseQuiet(s)
		if err != nil {
			return q, errors.New("give a stretch of the day such as " + defaultQuiet + ", or nothing for none")
		}
		return q, nil
	}, webhook.Quiet.String), "push-quiet", "when the iPhones of those who want quiet nights are not called; empty: never")
	f.Var(config.Value(&p.zone, "ZONE", func(s string) (*time.Location, error) {
		zone, err := time.LoadLocation(s)
		if err != nil || s == "" {
			return nil, errors.New("give Local, UTC or the name of a time zone such as Europe/Berlin")
		}
		return zone, nil
	}, (*time.Location).String), "push-zone", "time zone of --push-quiet")
	f.BoolVar(&p.text, "push-text", true, "show the beginning of a text in pushes")
}

func (p *pushTime) settle() (quiet webhook.Quiet, noText bool) {
	p.quiet.Zone = p.zone
	return p.quiet, !p.text
}

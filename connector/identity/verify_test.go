package identity

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// now is the present of these tests.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

const (
	issuer   = "https://id.example.org"
	audience = "chat"
)

var secret = []byte("0123456789abcdef0123456789abcdef0123456789")

// rsaKey is made once: it is the slow part.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

var edKey = sync.OnceValue(func() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

// good are the claims of a token that is believed.
func good(change ...jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "alice", "exp": now.Add(time.Hour).Unix()}
	for _, m := range change {
		maps.Copy(c, m)
	}
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func sign(t testing.TB, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims, header ...map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	for _, h := range header {
		maps.Copy(tok.Header, h)
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func provider(t testing.TB, change func(*Config)) *Provider {
	t.Helper()
	cfg := Config{Issuer: issuer, Audience: audience, Clock: clock}
	change(&cfg)
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// files is a provider with a key of each kind, each with a kid.
func files(t testing.TB) *Provider {
	return provider(t, func(c *Config) {
		c.KeyFiles = []string{
			"h=" + write(t, "secret", append(secret, '\n')),
			"r=" + write(t, "rsa.pem", publicPEM(t, rsaKey().Public())),
			"e=" + write(t, "ed.pem", publicPEM(t, edKey().Public())),
		}
	})
}

func TestTokensOfEachKindAreBelieved(t *testing.T) {
	p := files(t)
	for name, token := range map[string]string{
		"HS256":            sign(t, jwt.SigningMethodHS256, secret, "h", good()),
		"RS256":            sign(t, jwt.SigningMethodRS256, rsaKey(), "r", good()),
		"EdDSA":            sign(t, jwt.SigningMethodEdDSA, edKey(), "e", good()),
		"no kid":           sign(t, jwt.SigningMethodEdDSA, edKey(), "", good()),
		"several audience": sign(t, jwt.SigningMethodEdDSA, edKey(), "e", good(jwt.MapClaims{"aud": []string{"mail", audience}})),
		"just expired":     sign(t, jwt.SigningMethodEdDSA, edKey(), "e", good(jwt.MapClaims{"exp": now.Add(-Leeway + time.Second).Unix()})),
		"valid in a blink": sign(t, jwt.SigningMethodEdDSA, edKey(), "e", good(jwt.MapClaims{"nbf": now.Add(Leeway - time.Second).Unix()})),
	} {
		c, err := p.Verify(t.Context(), token)
		if err != nil || c.Name != "alice" || c.Subject != "alice" || c.Nick != "" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestTokensThatProveNothingAreRefused(t *testing.T) {
	p := files(t)
	ed := func(change jwt.MapClaims, header ...map[string]any) string {
		return sign(t, jwt.SigningMethodEdDSA, edKey(), "e", good(change), header...)
	}
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := ed(nil)
	parts := strings.Split(signed, ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"` + issuer + `","aud":"chat","sub":"root","exp":99999999999}`))
	for name, c := range map[string]struct{ token, why string }{
		"empty":                   {"", "malformed"},
		"no token":                {"alice", "malformed"},
		"two parts":               {parts[0] + "." + parts[1], "malformed"},
		"too long":                {signed + strings.Repeat("A", MaxToken), "longer"},
		"other claims":            {parts[0] + "." + forged + "." + parts[2], "signature"},
		"no signature":            {parts[0] + "." + parts[1] + ".", "signature"},
		"algorithm none":          {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", good()), "algorithm"},
		"none with a kid":         {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "e", good()), "algorithm"},
		"public key as secret":    {sign(t, jwt.SigningMethodHS256, publicPEM(t, rsaKey().Public()), "r", good()), "no key"},
		"public key, no kid":      {sign(t, jwt.SigningMethodHS256, publicPEM(t, rsaKey().Public()), "", good()), "signature"},
		"Ed25519 key as secret":   {sign(t, jwt.SigningMethodHS256, []byte(edKey().Public().(ed25519.PublicKey)), "e", good()), "no key"},
		"secret under another":    {sign(t, jwt.SigningMethodHS256, secret, "r", good()), "no key"},
		"another HMAC":            {sign(t, jwt.SigningMethodHS384, secret, "h", good()), "algorithm"},
		"another RSA":             {sign(t, jwt.SigningMethodRS512, rsaKey(), "r", good()), "algorithm"},
		"PSS":                     {sign(t, jwt.SigningMethodPS256, rsaKey(), "r", good()), "algorithm"},
		"a stranger's key":        {sign(t, jwt.SigningMethodEdDSA, stranger, "e", good()), "signature"},
		"unknown kid":             {sign(t, jwt.SigningMethodEdDSA, edKey(), "x", good()), "no key"},
		"critical header":         {ed(nil, map[string]any{"crit": []string{"exp"}}), "critical"},
		"expired":                 {ed(jwt.MapClaims{"exp": now.Add(-Leeway - time.Second).Unix()}), "expired"},
		"for ever":                {ed(jwt.MapClaims{"exp": nil}), "lacks"},
		"exp of another kind":     {ed(jwt.MapClaims{"exp": "tomorrow"}), ""},
		"not yet":                 {ed(jwt.MapClaims{"nbf": now.Add(Leeway + time.Second).Unix()}), "not valid yet"},
		"another issuer":          {ed(jwt.MapClaims{"iss": issuer + "/"}), "issuer"},
		"no issuer":               {ed(jwt.MapClaims{"iss": nil}), ""},
		"another audience":        {ed(jwt.MapClaims{"aud": []string{"mail"}}), "audience"},
		"no audience":             {ed(jwt.MapClaims{"aud": nil}), ""},
		"nobody":                  {ed(jwt.MapClaims{"sub": nil}), "login name"},
		"a number for a name":     {ed(jwt.MapClaims{"sub": 7}), "login name"},
		"a name with a space":     {ed(jwt.MapClaims{"sub": "alice smith"}), "login name"},
		"a name that is too long": {ed(jwt.MapClaims{"sub": strings.Repeat("x", 65)}), "login name"},
	} {
		claims, err := p.Verify(t.Context(), c.token)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %+v, %v; want a refusal that says %q", name, claims, err, c.why)
		}
		if err != nil && (strings.Contains(err.Error(), "alice") || len(c.token) > 40 && strings.Contains(err.Error(), c.token[10:30])) {
			t.Errorf("%s: the refusal holds what is in the token: %v", name, err)
		}
	}
}

func TestClaimsAreTakenFromWhereTheyAreSaidToBe(t *testing.T) {
	p := provider(t, func(c *Config) {
		c.KeyFiles = []string{write(t, "secret", secret)}
		c.NameClaim, c.NickClaim = "preferred_username", "given_name"
	})
	token := sign(t, jwt.SigningMethodHS256, secret, "any", good(jwt.MapClaims{
		"sub": "2f6ab1d4", "preferred_username": "Älice", "name": "No", "given_name": "Al\x00ice\n " + strings.Repeat("é", 40),
	}))
	c, err := p.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "älice" || c.Subject != "2f6ab1d4" || c.Nick != "Alice "+strings.Repeat("é", 26) || !c.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("got %+v", c)
	}
	token = sign(t, jwt.SigningMethodHS256, secret, "", good())
	if _, err := p.Verify(t.Context(), token); !errors.Is(err, ErrRefused) {
		t.Errorf("a token without the claim: %v; sub is no stand-in", err)
	}
}

func TestKeysWithAndWithoutIds(t *testing.T) {
	other := append([]byte("other"), secret...)
	p := provider(t, func(c *Config) {
		c.KeyFiles = []string{"a=" + write(t, "a", secret), write(t, "b", other)}
	})
	for _, c := range []struct {
		key []byte
		kid string
		ok  bool
	}{
		{secret, "a", true}, {other, "a", false}, // a is a, and nothing else
		{other, "z", true}, {secret, "z", false}, // a key without an id may have any that is not given
		{secret, "", true}, {other, "", true},
	} {
		_, err := p.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, c.key, c.kid, good()))
		if (err == nil) != c.ok {
			t.Errorf("%.8s with kid %q: %v, want %v", c.key, c.kid, err, c.ok)
		}
	}
}

func TestKeyFilesThatAreNone(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this build makes no weak keys: ", err)
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(edKey())
	if err != nil {
		t.Fatal(err)
	}
	two := append(publicPEM(t, rsaKey().Public()), publicPEM(t, edKey().Public())...)
	for name, c := range map[string]struct {
		data []byte
		why  string
	}{
		"short secret":  {[]byte("hunter2\n"), "32"},
		"empty":         {nil, "32"},
		"DER":           {der, "in PEM"},
		"PKCS1 DER":     {x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey), "in PEM"},
		"SSH":           {[]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL a@b"), "in PEM"},
		"JWK":           {[]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`), "in PEM"},
		"private key":   {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "PRIVATE KEY"},
		"torn PEM":      {publicPEM(t, rsaKey().Public())[:80], "can't be read"},
		"wrong PEM":     {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "can't be read"},
		"two keys":      {two, "more than one"},
		"weak RSA":      {publicPEM(t, small.Public()), "1024 bits"},
		"far too large": {make([]byte, maxKeyFile+1), "at most"},
	} {
		_, err := New(Config{Issuer: issuer, Audience: audience, KeyFiles: []string{write(t, "k", c.data)}})
		if !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
	if _, err := New(Config{Issuer: issuer, Audience: audience, KeyFiles: []string{"a=" + t.TempDir() + "/none"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestSettingsThatDoNotDo(t *testing.T) {
	k := write(t, "k", secret)
	for _, c := range []struct {
		cfg  Config
		want error
	}{
		{Config{Issuer: issuer, Audience: audience}, ErrNoSource},
		{Config{Audience: audience, KeyFiles: []string{k}}, ErrIssuer},
		{Config{Issuer: issuer, KeyFiles: []string{k}}, ErrIssuer},
		{Config{Issuer: issuer, Audience: audience, JWKSURL: "http://id.example.org/keys"}, ErrJWKSURL},
		{Config{Issuer: issuer, Audience: audience, JWKSURL: "https://user:pass@id.example.org/keys"}, ErrJWKSURL},
		{Config{Issuer: issuer, Audience: audience, JWKSURL: "file:///etc/keys"}, ErrJWKSURL},
		{Config{Issuer: issuer, Audience: audience, JWKSURL: "keys"}, ErrJWKSURL},
	} {
		if _, err := New(c.cfg); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.cfg, err, c.want)
		}
	}
	for _, u := range []string{"https://id.example.org/keys", "http://127.0.0.1:9/keys", "http://localhost/keys", "http://[::1]/keys"} {
		if _, err := New(Config{Issuer: issuer, Audience: audience, JWKSURL: u}); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// FuzzVerify: no text makes the verifier fail otherwise than by a refusal.
func FuzzVerify(f *testing.F) {
	p := files(f)
	f.Add(sign(f, jwt.SigningMethodHS256, secret, "h", good()))
	f.Add("e30.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := p.Verify(context.Background(), token); err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

// jwk writes a public key as providers do.
func jwk(t testing.TB, kid string, key any, more ...map[string]any) map[string]any {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	m := map[string]any{"kid": kid, "use": "sig"}
	switch k := key.(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), "AQAB"
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	case []byte:
		m["kty"], m["k"] = "oct", b64(k)
	default:
		t.Fatalf("key of %T", key)
	}
	for _, c := range more {
		maps.Copy(m, c)
	}
	return m
}

func jwks(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// Algorithms, each with the one kind of key that it is used with.
const (
	hs256 = "HS256" // []byte
	rs256 = "RS256" // *rsa.PublicKey
	edDSA = "EdDSA" // ed25519.PublicKey
)

// Bounds of keys.
const (
	minSecret  = 32 // bytes: what HS256 asks for at least
	maxSecret  = 4 << 10
	minRSA     = 2048 // bits
	maxRSA     = 8192 // a larger one costs more to check than a login may
	maxKeys    = 100  // of a set
	maxKeyFile = 64 << 10
)

// key is a key with what it may be used for.
type key struct {
	id  string // the token's kid, empty: of any token
	alg string
	key jwt.VerificationKey
}

// pick are the keys that a token's header allows: those with its kid, else those without
// one; all of its algorithm where it names no kid.
func pick(keys []key, alg, id string) []jwt.VerificationKey {
	var named, unnamed []jwt.VerificationKey
	for _, k := range keys {
		switch {
		case k.alg != alg:
		case id == "" || k.id == id:
			named = append(named, k.key)
		case k.id == "":
			unnamed = append(unnamed, k.key)
		}
	}
	if len(named) > 0 {
		return named
	}
	return unnamed
}

// loadKey reads a key from "[KID=]FILE".
func loadKey(setting string) (key, error) {
	id, name, named := strings.Cut(setting, "=")
	if !named || strings.ContainsAny(id, `/\`) {
		id, name = "", setting
	}
	info, err := os.Stat(name)
	if err != nil {
		return key{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return key{}, fmt.Errorf("no file of at most %d bytes", maxKeyFile)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return key{}, err
	}
	k, err := parseKey(data)
	k.id = id
	return k, err
}

// parseKey reads a public key in PEM, or takes a secret as it is but for the ends of its
// last line. What looks like a public key in another form is refused: everybody may
// know it, so it must never be a secret.
func parseKey(data []byte) (key, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		secret := bytes.TrimRight(data, "\r\n")
		switch {
		case bytes.Contains(data, []byte("-----BEGIN")):
			return key{}, errors.New("the PEM can't be read")
		case looksPublic(secret):
			return key{}, errors.New("a public key has to be in PEM")
		case len(secret) < minSecret || len(secret) > maxSecret:
			return key{}, fmt.Errorf("a secret of %d bytes; it takes %d to %d", len(secret), minSecret, maxSecret)
		}
		return key{alg: hs256, key: secret}, nil
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return key{}, errors.New("it holds more than one key; give each its own file")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = c.PublicKey
		}
	default:
		return key{}, fmt.Errorf("it holds %q; it takes the public key of RSA or Ed25519", block.Type)
	}
	if err != nil {
		return key{}, fmt.Errorf("%s can't be read: %w", block.Type, err)
	}
	return publicKey(public)
}

// looksPublic recognises public keys in DER (a sequence that fills the data), of SSH, and
// in JSON.
func looksPublic(data []byte) bool {
	if _, err := x509.ParsePKIXPublicKey(data); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PublicKey(data); err == nil {
		return true
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return true
	}
	text := bytes.TrimSpace(data)
	return bytes.HasPrefix(text, []byte("ssh-")) || bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("---- BEGIN SSH2"))
}

// publicKey binds a public key to its algorithm.
func publicKey(public any) (key, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return key{}, fmt.Errorf("an RSA key of %d bits; it takes %d to %d", bits, minRSA, maxRSA)
		}
		if k.E < 3 || k.E%2 == 0 {
			return key{}, errors.New("the RSA key's exponent is none")
		}
		return key{alg: rs256, key: k}, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return key{}, errors.New("the Ed25519 key is too short")
		}
		return key{alg: edDSA, key: k}, nil
	}
	return key{}, fmt.Errorf("a key of kind %T; it takes RSA or Ed25519", public)
}

// fromSet gives the keys of a JWKS that can be used here; others are passed over.
func fromSet(set jwkset.JWKSMarshal) []key {
	var keys []key
	for _, m := range set.Keys[:min(len(set.Keys), maxKeys)] {
		if m.USE != "" && m.USE != jwkset.UseSig {
			continue
		}
		// A symmetric key is no key where everybody can read it; the certificates of a key
		// say nothing here.
		m.X5C, m.X5U, m.X5T, m.X5TS256 = nil, "", "", ""
		j, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipAll: true})
		if err != nil {
			continue
		}
		k, err := publicKey(j.Key())
		if err != nil || m.ALG != "" && string(m.ALG) != k.alg {
			continue
		}
		k.id = m.KID
		keys = append(keys, k)
	}
	return keys
}

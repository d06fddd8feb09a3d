package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"godwit/internal/origin"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Scope is what a key may do.
type Scope string

// The scopes. An operation needs exactly one.
const (
	UsersRead      Scope = "users:read"
	UsersWrite     Scope = "users:write"
	GroupsRead     Scope = "groups:read"
	GroupsWrite    Scope = "groups:write"
	MessagesSend   Scope = "messages:send"
	MessagesRead   Scope = "messages:read"
	SessionsRead   Scope = "sessions:read"
	SessionsWrite  Scope = "sessions:write"
	DirectoryWrite Scope = "directory:write"
	WebhooksScope  Scope = "webhooks"
	KeysScope      Scope = "keys"
	ExportScope    Scope = "export"
	FilesScope     Scope = "files"
	StatusRead     Scope = "status:read"
	LogRead        Scope = "log:read"
)

// Scopes are all there are.
var Scopes = []Scope{UsersRead, UsersWrite, GroupsRead, GroupsWrite, MessagesSend, MessagesRead, SessionsRead, SessionsWrite,
	DirectoryWrite, WebhooksScope, KeysScope, ExportScope, FilesScope, StatusRead, LogRead}

const (
	operator = "operator" // who has the token of the data directory

	// keyPrefix begins every key, so that one that got into the wrong hands is found by searching.
	keyPrefix = "gw"
	secretLen = 32 // bytes

	// rememberKeys is how long a node takes a key for what it was: so long a revoked one may go on elsewhere.
	rememberKeys = 5 * time.Second
	maxKeys      = 1024

	// Wrong keys of one address: so many at once, then one every so often. Beyond that only who is known already is
	// let in, and what would have to be asked of a view is refused.
	failBurst    = 20
	failEvery    = 5 * time.Second
	maxAddresses = 10_000
)

// caller is who asks.
type caller struct {
	name       string   // as events say: "operator", "key:<id>"
	scopes     []string // of a key
	all        bool     // the operator
	credential []byte   // what was shown; nobody else knows it
}

func (c caller) may(s Scope) bool { return c.all || slices.Contains(c.scopes, string(s)) }

// FormatKey is the text of a key.
func FormatKey(id string, secret []byte) string {
	return keyPrefix + "_" + id + "_" + base64.RawURLEncoding.EncodeToString(secret)
}

// parseKey reads the text of a key. The secret may hold underscores.
func parseKey(text string) (id string, secret []byte, ok bool) {
	parts := strings.SplitN(text, "_", 3)
	if len(parts) != 3 || parts[0] != keyPrefix || parts[1] == "" {
		return "", nil, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	return parts[1], secret, err == nil && len(secret) == secretLen
}

// hashSecret is what is kept of a key's secret. A fast hash is enough, where a password needs a slow one: the secret is
// 32 random bytes, so there is no list of likely ones to try, and trying all is out of anybody's reach.
func hashSecret(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:]
}

// newKeyID is the public part of a new key.
func newKeyID() string { return strings.ToLower(rand.Text()[:12]) }

// bearer is the credential of a request, "" if there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// gate knows callers by what they show.
type gate struct {
	operator [sha256.Size]byte
	none     bool // there is no operator's token
	node     Node
	now      func() time.Time

	mu     sync.Mutex
	keys   map[string]knownKey
	failed map[netip.Addr]*rate.Limiter
}

type knownKey struct {
	*query.ApiKey
	until time.Time // it is asked for again then
}

func newGate(token string, node Node, now func() time.Time) *gate {
	return &gate{operator: sha256.Sum256([]byte(token)), none: token == "", node: node, now: now,
		keys: map[string]knownKey{}, failed: map[netip.Addr]*rate.Limiter{}}
}

var errWrongKey = errors.New("wrong key")

// admit tells who shows a credential. A *Problem says why nobody.
func (g *gate) admit(ctx context.Context, from, credential string) (caller, error) {
	if credential == "" {
		return caller{}, unauthorised("send an API key, or the token of the data directory, as Authorization: Bearer KEY")
	}
	// Sums are compared, so that not even the token's length shows in the time that it takes.
	sum := sha256.Sum256([]byte(credential))
	if !g.none && subtle.ConstantTimeCompare(sum[:], g.operator[:]) == 1 {
		return caller{name: operator, all: true, credential: []byte(credential)}, nil
	}
	addr := origin.OfPeer(from)
	id, secret, ok := parseKey(credential)
	if ok {
		if k := g.remembered(id); k != nil {
			if c, err := g.check(k, credential, secret); err == nil {
				return c, nil
			}
		}
	}
	if wait := g.exhausted(addr); wait > 0 {
		p := newProblem(http.StatusTooManyRequests, nameBusy, "Too many wrong keys", "too many wrong keys came from this address: wait")
		p.again = int(wait/time.Second) + 1
		return caller{}, p
	}
	if !ok {
		g.fail(addr)
		return caller{}, unauthorised("the key has not the form " + keyPrefix + "_<id>_<secret>, and is not the token of the data directory")
	}
	k, err := g.lookUp(ctx, id)
	if err != nil {
		return caller{}, err
	}
	c, err := g.check(k, credential, secret)
	if err != nil {
		g.fail(addr)
		return caller{}, unauthorised("the key is unknown, revoked or expired")
	}
	return c, nil
}

func unauthorised(detail string) *Problem {
	return newProblem(http.StatusUnauthorized, nameUnauthorised, "Unauthorised", detail)
}

// check compares a secret with what is known of its key; nil is no key.
func (g *gate) check(k *query.ApiKey, credential string, secret []byte) (caller, error) {
	same := subtle.ConstantTimeCompare(hashSecret(secret), k.GetHash()) == 1
	if k == nil || !same || k.GetRevoked() || k.GetExpires() > 0 && g.now().UnixMilli() >= k.GetExpires() {
		return caller{}, errWrongKey
	}
	return caller{name: "key:" + k.GetId(), scopes: k.GetScopes(), credential: []byte(credential)}, nil
}

func (g *gate) remembered(id string) *query.ApiKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k, ok := g.keys[id]; ok && g.now().Before(k.until) {
		return k.ApiKey
	}
	return nil
}

// lookUp asks for a key, nil if there is none.
func (g *gate) lookUp(ctx context.Context, id string) (*query.ApiKey, error) {
	ans, err := g.node.Ask(ctx, &query.Request{Body: &query.Request_ApiKeys{ApiKeys: &query.ApiKeys{Id: id}}})
	if err != nil {
		return nil, err
	}
	for _, k := range ans.GetApiKeys().GetKeys() {
		if k.GetId() != id {
			continue
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		now := g.now()
		if len(g.keys) >= maxKeys {
			for old, known := range g.keys {
				if !now.Before(known.until) || len(g.keys) >= maxKeys {
					delete(g.keys, old)
				}
			}
		}
		g.keys[id] = knownKey{k, now.Add(rememberKeys)}
		return k, nil
	}
	return nil, nil
}

// forget has a key be asked for again at its next use.
func (g *gate) forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.keys, id)
}

// exhausted is how long an address has to wait, 0 if it need not.
func (g *gate) exhausted(addr netip.Addr) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.failed[addr]
	if l == nil {
		return 0
	}
	if left := l.TokensAt(g.now()); left < 1 {
		return time.Duration((1 - left) * float64(failEvery))
	}
	return 0
}

func (g *gate) fail(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	l := g.failed[addr]
	if l == nil {
		if len(g.failed) >= maxAddresses {
			for old, l := range g.failed {
				// Who has its whole burst again is as good as never seen; if nobody has, somebody is forgiven.
				if l.TokensAt(now) >= failBurst || len(g.failed) >= maxAddresses {
					delete(g.failed, old)
				}
			}
		}
		l = rate.NewLimiter(rate.Every(failEvery), failBurst)
		g.failed[addr] = l
	}
	l.AllowN(now, 1)
}

// knownScopes refuses words that are no scopes.
func knownScopes(scopes []string) error {
	for _, s := range scopes {
		if !slices.Contains(Scopes, Scope(s)) {
			return invalid("there is no scope %q", s)
		}
	}
	return nil
}

// request names one of the events of a request in the log, nil for a request that nobody will repeat.
func (c call) request(n byte) []byte {
	if c.id == (event.ID{}) {
		return nil
	}
	if n == 0 {
		return c.id.Bytes()
	}
	sum := sha256.Sum256(append(c.id.Bytes(), n))
	return sum[:16]
}

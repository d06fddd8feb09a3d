package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"godwit/commands"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Key is an API key without its secret.
type Key struct {
	ID      string     `json:"id" doc:"Public part"`
	Name    string     `json:"name" doc:"What it is for"`
	Scopes  []string   `json:"scopes" nullable:"false"`
	Added   time.Time  `json:"added"`
	By      string     `json:"by" doc:"Who made it"`
	Expires *time.Time `json:"expires,omitempty" doc:"Not there: never"`
	Revoked bool       `json:"revoked"`
}

// NewKey is a key with its secret.
type NewKey struct {
	Key
	Secret string `json:"key" doc:"The whole key, gw_<id>_<secret>. It is shown this once: of the secret only a hash is kept"`
}

// KeyRequest asks for a key.
type KeyRequest struct {
	Name    string     `json:"name" minLength:"1" maxLength:"64"`
	Scopes  []string   `json:"scopes" minItems:"1" maxItems:"16" uniqueItems:"true" nullable:"false" doc:"A key gives only scopes that it has"`
	Expires *time.Time `json:"expires,omitempty" doc:"Not there: never"`
}

// KeyList are all keys.
type KeyList struct {
	Keys []Key `json:"keys" nullable:"false"`
}

func keyOf(k *query.ApiKey) Key {
	out := Key{ID: k.GetId(), Name: k.GetName(), Scopes: append([]string{}, k.GetScopes()...), Added: time.UnixMilli(k.GetAdded()).UTC(), By: k.GetBy(), Revoked: k.GetRevoked()}
	if k.GetExpires() > 0 {
		out.Expires = new(time.UnixMilli(k.GetExpires()).UTC())
	}
	return out
}

func (a *API) keys() {
	const tag = "API keys"
	register(a, route{id: "list-keys", method: http.MethodGet, path: "/keys", scope: KeysScope, tag: tag,
		summary: "List API keys, revoked ones as well"}, a.listKeys)
	register(a, route{id: "create-key", method: http.MethodPost, path: "/keys", scope: KeysScope, tag: tag, status: http.StatusCreated,
		summary: "Make an API key"}, a.createKey)
	register(a, route{id: "revoke-key", method: http.MethodDelete, path: "/keys/{key}", scope: KeysScope, tag: tag,
		summary:     "Revoke an API key for good",
		description: "At this server it ends at once, at others within five seconds."}, a.revokeKey)
}

func (a *API) apiKeys(ctx context.Context, id string) ([]*query.ApiKey, error) {
	ans, err := a.cfg.Node.Ask(ctx, &query.Request{Body: &query.Request_ApiKeys{ApiKeys: &query.ApiKeys{Id: id}}})
	return ans.GetApiKeys().GetKeys(), err
}

func (a *API) listKeys(ctx context.Context, _ *struct{}) (*struct{ Body KeyList }, error) {
	all, err := a.apiKeys(ctx, "")
	if err != nil {
		return nil, err
	}
	out := &struct{ Body KeyList }{}
	out.Body.Keys = []Key{}
	for _, k := range all {
		out.Body.Keys = append(out.Body.Keys, keyOf(k))
	}
	slices.SortFunc(out.Body.Keys, func(x, y Key) int { return cmp.Or(x.Added.Compare(y.Added), strings.Compare(x.ID, y.ID)) })
	return out, nil
}

func (a *API) createKey(ctx context.Context, in *struct{ Body KeyRequest }) (*struct{ Body NewKey }, error) {
	c := callOf(ctx)
	if err := knownScopes(in.Body.Scopes); err != nil {
		return nil, err
	}
	for _, s := range in.Body.Scopes {
		if !c.may(Scope(s)) {
			return nil, newProblem(http.StatusForbidden, nameForbidden, "Not allowed", fmt.Sprintf("the key lacks the scope %s, so it can't give it", s))
		}
	}
	id, secret, err := c.newSecret("api key")
	if err != nil {
		return nil, err
	}
	_, known, err := a.first(ctx, 0)
	if err != nil {
		return nil, err
	}
	if !known {
		add := commands.AddAPIKey{At: a.now(), ID: id, Hash: hashSecret(secret), Name: in.Body.Name, Scopes: in.Body.Scopes, By: c.name}
		if in.Body.Expires != nil {
			add.Expires = *in.Body.Expires
		}
		ev, err := add.Decide(commands.KeyState{})
		if _, err = a.people(ctx, 0, ev, err); err != nil {
			return nil, err
		}
	}
	all, err := a.apiKeys(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("key %s was added and is not there", id)
	}
	return &struct{ Body NewKey }{NewKey{keyOf(all[0]), FormatKey(id, secret)}}, nil
}

func (a *API) revokeKey(ctx context.Context, in *struct {
	Key string `path:"key" maxLength:"64" doc:"Id of the key"`
}) (*struct{}, error) {
	all, err := a.apiKeys(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	state := commands.KeyState{Exists: len(all) > 0, Revoked: len(all) > 0 && all[0].GetRevoked()}
	ev, err := commands.RevokeAPIKey{At: a.now(), ID: in.Key, By: callOf(ctx).name}.Decide(state)
	_, err = a.people(ctx, 0, ev, err)
	a.gate.forget(in.Key)
	return nil, unless(err, commands.ErrKeyRevoked)
}

// newSecret is an id and a secret for something new. A repeat of the request comes to the same ones, also when its first
// run was not answered: they follow from the claim and from the caller's credential, which is as secret as they are.
func (c call) newSecret(use string) (id string, secret []byte, err error) {
	if c.id == (event.ID{}) {
		secret = make([]byte, secretLen)
		_, _ = rand.Read(secret) // never fails
		return newKeyID(), secret, nil
	}
	if secret, err = derive(c.caller, c.id.Bytes(), use); err != nil {
		return "", nil, fmt.Errorf("make a secret: %w", err)
	}
	named, err := derive(c.caller, c.id.Bytes(), use+" id")
	if err != nil {
		return "", nil, fmt.Errorf("make a secret: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(named)[:12]), secret, nil
}

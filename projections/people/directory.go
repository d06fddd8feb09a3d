package people

import (
	"google.golang.org/protobuf/proto"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// set changes a field to what an event says of it, if anything, and tells whether that is
// another value.
func set[T comparable](field *T, to *T) bool {
	if to == nil || *to == *field {
		return false
	}
	*field = *to
	return true
}

func (f *folding) profile(p *event.ProfileChanged, e *view.Effect) {
	f.change(p.User, e, func(a *query.Account) *frame.PersonChanged {
		told := &frame.PersonChanged{}
		shown := &frame.DirectoryChange{User: p.User, Session: p.Session}
		if set(&a.AvatarUrl, p.AvatarUrl) {
			shown.AvatarUrl, told.Directory = p.AvatarUrl, shown
		}
		if set(&a.Signature, p.Signature) {
			shown.Signature, told.Directory = p.Signature, shown
		}
		changed := told.Directory != nil
		for _, other := range []bool{
			set(&a.Nick, p.Nick), set(&a.Gender, p.Gender), set(&a.Department, p.Department), set(&a.Email, p.Email),
			set(&a.Telephone, p.Telephone), set(&a.Domain, p.Domain),
		} {
			changed = changed || other
		}
		if set(&a.Employment, p.Employment) {
			changed = true
			if a.Employment == employmentLeft {
				a.CredentialsSequence = f.sequence
				told.Credentials, told.Reason = true, event.EndReason_END_REASON_DISABLED
			}
		}
		if !changed {
			return nil
		}
		return told
	})
}

func (f *folding) department(p *event.DepartmentChanged, e *view.Effect) {
	d := &query.Department{Department: p.Department}
	if p.Department == 0 || p.Make {
		if d.Department = f.free(departmentBucket, keyDepartment, p.Department); d.Department == 0 {
			e.Void = frame.Void_VOID_NUMBER_TAKEN
			return
		}
		f.given(keyDepartment, d.Department)
	} else if d = parse[query.Department](f.tx.Get(departmentBucket, be.AppendUint32(nil, p.Department))); d == nil {
		e.Void = frame.Void_VOID_NO_SUCH_DEPARTMENT
		return
	}
	changed := d.Updated == 0 // a new one
	for _, field := range []bool{
		set(&d.Name, p.Name), set(&d.Priority, p.Priority), set(&d.Parent, p.Parent), set(&d.Deleted, p.Deleted),
	} {
		changed = changed || field
	}
	if !changed {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	e.ID = d.Department
	if d.Updated != 0 {
		f.tx.Delete(departmentChangeBucket, pair(d.Updated, d.Department))
	}
	d.Updated = f.now()
	f.tx.Put(departmentChangeBucket, pair(d.Updated, d.Department), nil)
	f.row(departmentBucket, be.AppendUint32(nil, d.Department), d)
	f.tell(e, &frame.PersonChanged{Directory: &frame.DirectoryChange{Departments: true}})
}

func (f *folding) group(p *event.GroupReserved, e *view.Effect) {
	number := f.free(groupBucket, keyGroup, p.Number)
	if number == 0 {
		e.Void = frame.Void_VOID_NUMBER_TAKEN
		return
	}
	f.given(keyGroup, number)
	f.tx.Put(groupBucket, be.AppendUint32(nil, number), be.AppendUint64(nil, f.sequence))
	e.ID = number
}

func (f *folding) deviceToken(p *event.DeviceTokenSet, e *view.Effect) {
	a := f.account(p.User)
	if len(p.Token) > MaxToken {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	if a == nil {
		e.Void = frame.Void_VOID_NO_SUCH_PERSON
		return
	}
	kind := p.ClientType
	if p.Token == "" {
		kind = 0
	}
	if a.DeviceToken == p.Token && a.DeviceType == kind {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	if a.DeviceToken != "" {
		f.tx.Delete(tokenBucket, []byte(a.DeviceToken))
	}
	if p.Token != "" {
		token := []byte(p.Token)
		if holder := be32(f.tx.Get(tokenBucket, token)); holder != 0 && holder != p.User {
			former := f.account(holder)
			former.DeviceToken, former.DeviceType = "", 0
			f.keep(former)
		}
		f.tx.Put(tokenBucket, token, be.AppendUint32(nil, p.User))
	}
	a.DeviceToken, a.DeviceType = p.Token, kind
	f.keep(a)
}

func (f *folding) pushShield(p *event.PushShieldSet, e *view.Effect) {
	switch a := f.account(p.User); {
	case a == nil:
		e.Void = frame.Void_VOID_NO_SUCH_PERSON
	case a.PushShield == p.On:
		e.Void = frame.Void_VOID_NO_EFFECT
	default:
		a.PushShield = p.On
		f.keep(a)
	}
}

func (f *folding) rehashed(p *event.PasswordRehashed, e *view.Effect) {
	switch a := f.account(p.User); {
	case p.PasswordHash == "":
		e.Void = frame.Void_VOID_MALFORMED
	case a == nil:
		e.Void = frame.Void_VOID_NO_SUCH_PERSON
	case a.CredentialsSequence != p.CredentialsSequence || a.PasswordHash == p.PasswordHash:
		e.Void = frame.Void_VOID_NO_EFFECT
	default:
		a.PasswordHash = p.PasswordHash
		f.keep(a)
		f.tell(e, &frame.PersonChanged{User: p.User}) // caches of logins drop the old one
	}
}

// keyHash is how many bytes the hash of an API key has.
const keyHash = 32

func (f *folding) keyAdded(p *event.ApiKeyAdded, e *view.Effect) {
	row := &query.ApiKey{Id: p.Id, Hash: p.Hash, Name: p.Name, Scopes: p.Scopes, Expires: p.Expires, Added: f.at, By: p.By}
	switch {
	case p.Id == "" || len(p.Id) > MaxName || len(p.Hash) != keyHash || proto.Size(row) > MaxKey:
		e.Void = frame.Void_VOID_MALFORMED
		return
	case f.tx.Get(keyBucket, []byte(p.Id)) != nil:
		e.Void = frame.Void_VOID_NAME_TAKEN
		return
	case be32(f.tx.Get(stateBucket, keyKeys)) >= MaxKeys && !f.dropKey():
		e.Void = frame.Void_VOID_FULL
		return
	}
	f.row(keyBucket, []byte(p.Id), row)
	f.count(keyKeys, +1)
	f.tellKeys(e)
}

// dropKey forgets the oldest of the revoked keys, if there is one.
func (f *folding) dropKey() bool {
	var oldest *query.ApiKey
	for _, b := range f.tx.Scan(keyBucket, nil) {
		if k := parse[query.ApiKey](b); k.Revoked && (oldest == nil || k.Added < oldest.Added) {
			oldest = k
		}
	}
	if oldest == nil {
		return false
	}
	f.tx.Delete(keyBucket, []byte(oldest.Id))
	f.count(keyKeys, -1)
	return true
}

func (f *folding) keyRevoked(p *event.ApiKeyRevoked, e *view.Effect) {
	var k *query.ApiKey
	if p.Id != "" {
		k = parse[query.ApiKey](f.tx.Get(keyBucket, []byte(p.Id)))
	}
	if k == nil || k.Revoked {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	k.Revoked = true
	f.row(keyBucket, []byte(p.Id), k)
	f.tellKeys(e)
}

func (f *folding) webhookSet(p *event.WebhookSet, e *view.Effect) {
	row := &query.Webhook{Id: p.Id, Url: p.Url, Secret: p.Secret, Disabled: p.Disabled, Added: f.at}
	var old *query.Webhook
	if p.Id != "" && len(p.Id) <= MaxName {
		old = parse[query.Webhook](f.tx.Get(webhookBucket, []byte(p.Id)))
	}
	if old != nil {
		row.Added = old.Added
		if row.Secret == "" {
			row.Secret = old.Secret
		}
	}
	switch {
	case p.Id == "" || len(p.Id) > MaxName || p.Url == "" || proto.Size(row) > MaxWebhook:
		e.Void = frame.Void_VOID_MALFORMED
	case old == nil && be32(f.tx.Get(stateBucket, keyWebhooks)) >= MaxWebhooks:
		e.Void = frame.Void_VOID_FULL
	case proto.Equal(old, row):
		e.Void = frame.Void_VOID_NO_EFFECT
	default:
		if old == nil {
			f.count(keyWebhooks, +1)
		}
		f.row(webhookBucket, []byte(p.Id), row)
		f.tellKeys(e)
	}
}

func (f *folding) webhookRemoved(p *event.WebhookRemoved, e *view.Effect) {
	if p.Id == "" || f.tx.Get(webhookBucket, []byte(p.Id)) == nil {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	f.tx.Delete(webhookBucket, []byte(p.Id))
	f.count(keyWebhooks, -1)
	f.tellKeys(e)
}

// count moves a count in state.
func (f *folding) count(key []byte, by int) {
	n := int(be32(f.tx.Get(stateBucket, key))) + by
	f.tx.Put(stateBucket, key, be.AppendUint32(nil, uint32(n)))
}

func (f *folding) tellKeys(e *view.Effect) {
	f.tell(e, &frame.PersonChanged{Directory: &frame.DirectoryChange{Keys: true}})
}

package people

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/proto"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

// Format is the version of the rows.
const Format = 1

// MaxName is the most bytes of a name that the fold takes. Decisions are stricter.
const MaxName = 512

const (
	accountBucket = "account"
	nameBucket    = "name"
	changedBucket = "changed"
	friendBucket  = "friend"
	stateBucket   = "state"
)

var (
	be         = binary.BigEndian
	keyNumber  = []byte("number")
	keyUpdated = []byte("updated")
	marshal    = proto.MarshalOptions{Deterministic: true}
)

// People is the fold. The zero value is ready.
type People struct{}

var _ view.Fold = (*People)(nil)

// New is the fold of PEOPLE.
func New() *People { return &People{} }

// Name of its view.
func (*People) Name() string { return "people" }

// Format of its rows.
func (*People) Format() uint32 { return Format }

// Stream it folds.
func (*People) Stream() event.Stream { return event.People }

// Buckets of its view.
func (*People) Buckets() []string {
	return []string{accountBucket, nameBucket, changedBucket, friendBucket, stateBucket}
}

// Apply folds one record.
func (*People) Apply(tx *view.Tx, sequence uint64, rec *event.Record) []view.Effect {
	f := folding{tx: tx, sequence: sequence}
	effects := make([]view.Effect, len(rec.Events))
	for i, ev := range rec.Events {
		f.index, f.at = uint32(i), ev.GetAt()
		f.event(ev, &effects[i])
	}
	return effects
}

// folding is the work on one record.
type folding struct {
	tx       *view.Tx
	sequence uint64
	updated  uint32 // of this record's changes, 0 before the first

	// of the event at hand
	index uint32
	at    int64
}

func (f *folding) event(ev *event.Event, e *view.Effect) {
	switch b := ev.Body.(type) {
	case *event.Event_PersonRegistered:
		f.registered(b.PersonRegistered, e)
	case *event.Event_PasswordChanged:
		f.change(b.PasswordChanged.GetUser(), e, func(a *query.Account) *frame.PersonChanged {
			a.PasswordHash = b.PasswordChanged.PasswordHash
			a.CredentialsSequence = f.sequence
			return &frame.PersonChanged{Credentials: true, Reason: event.EndReason_END_REASON_PASSWORD_CHANGED}
		})
	case *event.Event_PersonDisabled:
		f.change(b.PersonDisabled.GetUser(), e, func(a *query.Account) *frame.PersonChanged {
			if a.Disabled {
				return nil
			}
			a.Disabled = true
			a.CredentialsSequence = f.sequence
			return &frame.PersonChanged{Credentials: true, Reason: event.EndReason_END_REASON_DISABLED}
		})
	case *event.Event_PersonEnabled:
		f.change(b.PersonEnabled.GetUser(), e, func(a *query.Account) *frame.PersonChanged {
			if !a.Disabled {
				return nil
			}
			a.Disabled = false
			return &frame.PersonChanged{}
		})
	case *event.Event_FriendAdded:
		f.friends(b.FriendAdded.GetLower(), b.FriendAdded.GetHigher(), true, e)
	case *event.Event_FriendRemoved:
		f.friends(b.FriendRemoved.GetLower(), b.FriendRemoved.GetHigher(), false, e)
	}
}

func (f *folding) registered(p *event.PersonRegistered, e *view.Effect) {
	if p.Name == "" || len(p.Name) > MaxName {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	name := []byte(p.Name)
	holder, last := parseName(f.tx.Get(nameBucket, name))
	if p.Compared {
		last = f.sequence // also where it is void: the subject has moved
	}
	switch number := f.freeNumber(p.Number); {
	case holder != 0:
		e.Void, e.FirstID = frame.Void_VOID_NAME_TAKEN, holder
	case number == 0:
		e.Void = frame.Void_VOID_NUMBER_TAKEN
	default:
		holder = number
		e.ID = number
	}
	if holder != 0 || last != 0 {
		f.tx.Put(nameBucket, name, be.AppendUint64(be.AppendUint32(nil, holder), last))
	}
	if e.Void != frame.Void_VOID_NONE {
		return
	}
	if e.ID > be32(f.tx.Get(stateBucket, keyNumber)) {
		f.tx.Put(stateBucket, keyNumber, be.AppendUint32(nil, e.ID))
	}
	f.put(&query.Account{
		User: e.ID, Name: p.Name, PasswordHash: p.PasswordHash, Nick: p.Nick, Gender: p.Gender,
		AvatarUrl: p.AvatarUrl, Department: p.Department, Email: p.Email, Telephone: p.Telephone,
		Domain: p.Domain, Employment: p.Employment, Signature: p.Signature,
	})
	f.tell(e, &frame.PersonChanged{User: e.ID})
}

// freeNumber is the number of a new account, 0 if there is none.
func (f *folding) freeNumber(asked uint32) uint32 {
	if asked != 0 {
		if f.account(asked) != nil {
			return 0
		}
		return asked
	}
	greatest := be32(f.tx.Get(stateBucket, keyNumber))
	if greatest == math.MaxUint32 {
		return 0
	}
	return greatest + 1
}

// change applies an event to an account; do returns nil if it has no effect.
func (f *folding) change(user uint32, e *view.Effect, do func(*query.Account) *frame.PersonChanged) {
	a := f.account(user)
	if a == nil {
		e.Void = frame.Void_VOID_NO_SUCH_PERSON
		return
	}
	told := do(a)
	if told == nil {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	f.put(a)
	told.User = user
	f.tell(e, told)
}

func (f *folding) friends(lower, higher uint32, become bool, e *view.Effect) {
	if lower == 0 || lower >= higher {
		e.Void = frame.Void_VOID_MALFORMED
		return
	}
	if f.account(lower) == nil || f.account(higher) == nil {
		e.Void = frame.Void_VOID_NO_SUCH_PERSON
		return
	}
	there, back := pair(lower, higher), pair(higher, lower)
	if are := f.tx.Get(friendBucket, there) != nil; are == become {
		e.Void = frame.Void_VOID_NO_EFFECT
		return
	}
	if become {
		at := be.AppendUint64(nil, f.sequence)
		f.tx.Put(friendBucket, there, at)
		f.tx.Put(friendBucket, back, at)
	} else {
		f.tx.Delete(friendBucket, there)
		f.tx.Delete(friendBucket, back)
	}
	f.tell(e, &frame.PersonChanged{User: lower, Friends: true})
	f.tell(e, &frame.PersonChanged{User: higher, Friends: true})
}

func (f *folding) account(user uint32) *query.Account {
	return parseAccount(f.tx.Get(accountBucket, be.AppendUint32(nil, user)))
}

// put writes an account and moves it to the end of the changes.
func (f *folding) put(a *query.Account) {
	if f.updated == 0 {
		newest := be32(f.tx.Get(stateBucket, keyUpdated))
		seconds := min(max(f.at/1000, 0), math.MaxUint32)
		f.updated = max(uint32(seconds), newest+min(1, math.MaxUint32-newest))
		f.tx.Put(stateBucket, keyUpdated, be.AppendUint32(nil, f.updated))
	}
	if a.Updated != 0 {
		f.tx.Delete(changedBucket, pair(a.Updated, a.User))
	}
	a.Updated = f.updated
	f.tx.Put(changedBucket, pair(a.Updated, a.User), nil)
	b, err := marshal.Marshal(a)
	if err != nil {
		// Only strings that are not UTF-8 do that, and decoding has refused those.
		panic(err)
	}
	f.tx.Put(accountBucket, be.AppendUint32(nil, a.User), b)
}

func (f *folding) tell(e *view.Effect, p *frame.PersonChanged) {
	e.Deliveries = append(e.Deliveries, &frame.Delivery{
		Sequence: f.sequence, Index: f.index, Body: &frame.Delivery_PersonChanged{PersonChanged: p},
	})
}

func parseAccount(b []byte) *query.Account {
	if b == nil {
		return nil
	}
	a := new(query.Account)
	if err := proto.Unmarshal(b, a); err != nil {
		panic(err) // a row of our own: the file is corrupt
	}
	return a
}

func parseName(b []byte) (user uint32, last uint64) {
	d := view.Decode(b)
	return d.Uint32(), d.Uint64()
}

func pair(a, b uint32) []byte {
	return be.AppendUint32(be.AppendUint32(make([]byte, 0, 8), a), b)
}

func be32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return be.Uint32(b)
}

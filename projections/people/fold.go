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
const Format = 2

// Limits of the fold, part of rule 1. Decisions are stricter, or the same.
const (
	// MaxName is the most bytes of a name.
	MaxName = 512
	// MaxFriends is the most friends that a person has.
	MaxFriends = 5000
	// MaxRequests is the most open requests that a person has made, and has got.
	MaxRequests = 1000
	// MaxText and MaxRemark are the most bytes of a request's text and of a friend's name.
	MaxText   = 128
	MaxRemark = 64
	// MaxToken is the most bytes of a device token.
	MaxToken = 512
	// MaxKeys is the most API keys, revoked ones included: the oldest of those makes room.
	MaxKeys = 400
	// MaxKey is the most bytes of an API key's row.
	MaxKey = 2048
	// MaxWebhooks is the most webhook targets, and MaxWebhook the most bytes of one's row.
	MaxWebhooks = 100
	MaxWebhook  = 4096
)

// employmentLeft is the employment of who has left: sessions end, as of a disabled account.
const employmentLeft = 3

const (
	accountBucket          = "account"
	nameBucket             = "name"
	changedBucket          = "changed"
	friendBucket           = "friend"
	partedBucket           = "parted"
	asksBucket             = "asks"
	askedBucket            = "asked"
	circleBucket           = "circle"
	departmentBucket       = "department"
	departmentChangeBucket = "department_changed"
	groupBucket            = "group"
	tokenBucket            = "token"
	keyBucket              = "key"
	webhookBucket          = "webhook"
	requestBucket          = "request"
	stateBucket            = "state"
)

var (
	be            = binary.BigEndian
	keyNumber     = []byte("number")
	keyUpdated    = []byte("updated")
	keyDepartment = []byte("department")
	keyGroup      = []byte("group")
	keyKeys       = []byte("keys")
	keyWebhooks   = []byte("webhooks")
	marshal       = proto.MarshalOptions{Deterministic: true}
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
	return []string{accountBucket, nameBucket, changedBucket, friendBucket, partedBucket, asksBucket, askedBucket,
		circleBucket, departmentBucket, departmentChangeBucket, groupBucket, tokenBucket, keyBucket, webhookBucket,
		requestBucket, stateBucket}
}

// Apply folds one record.
func (*People) Apply(tx *view.Tx, sequence uint64, rec *event.Record) []view.Effect {
	f := folding{tx: tx, sequence: sequence}
	effects := make([]view.Effect, len(rec.Events))
	for i, ev := range rec.Events {
		f.index, f.at = uint32(i), ev.GetAt()
		f.event(ev, &effects[i])
		f.remember(ev, &effects[i])
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

// requestSize is how long the name of a request is, if it has one.
const requestSize = 16

// repeated tells whether the event is not to be looked at for its request's sake.
func (f *folding) repeated(ev *event.Event, e *view.Effect) bool {
	switch len(ev.Request) {
	case 0:
		return false
	case requestSize:
		first := f.tx.Get(requestBucket, ev.Request)
		if first == nil {
			return false
		}
		e.Void, e.FirstID = frame.Void_VOID_REPEAT, be32(first)
	default:
		e.Void = frame.Void_VOID_MALFORMED
	}
	return true
}

// remember keeps what a request has come to, once it has come to something.
func (f *folding) remember(ev *event.Event, e *view.Effect) {
	if len(ev.Request) == requestSize && ev.Body != nil && e.Void == frame.Void_VOID_NONE {
		f.tx.Put(requestBucket, ev.Request, be.AppendUint32(nil, e.ID))
	}
}

func (f *folding) event(ev *event.Event, e *view.Effect) {
	if f.repeated(ev, e) {
		if p := ev.GetPersonRegistered(); p.GetCompared() && p.Name != "" && len(p.Name) <= MaxName {
			holder, _ := parseName(f.tx.Get(nameBucket, []byte(p.Name)))
			f.putName(p.Name, holder, f.sequence) // the subject has moved all the same
		}
		return
	}
	switch b := ev.Body.(type) {
	case *event.Event_PersonRegistered:
		f.registered(b.PersonRegistered, e)
	case *event.Event_ProfileChanged:
		f.profile(b.ProfileChanged, e)
	case *event.Event_DepartmentChanged:
		f.department(b.DepartmentChanged, e)
	case *event.Event_GroupReserved:
		f.group(b.GroupReserved, e)
	case *event.Event_FriendRequested:
		f.friendRequested(b.FriendRequested, e)
	case *event.Event_FriendAnswered:
		f.friendAnswered(b.FriendAnswered, e)
	case *event.Event_FriendRemarked:
		f.friendRemarked(b.FriendRemarked, e)
	case *event.Event_DeviceTokenSet:
		f.deviceToken(b.DeviceTokenSet, e)
	case *event.Event_PushShieldSet:
		f.pushShield(b.PushShieldSet, e)
	case *event.Event_PasswordRehashed:
		f.rehashed(b.PasswordRehashed, e)
	case *event.Event_ApiKeyAdded:
		f.keyAdded(b.ApiKeyAdded, e)
	case *event.Event_ApiKeyRevoked:
		f.keyRevoked(b.ApiKeyRevoked, e)
	case *event.Event_WebhookSet:
		f.webhookSet(b.WebhookSet, e)
	case *event.Event_WebhookRemoved:
		f.webhookRemoved(b.WebhookRemoved, e)
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
		f.friendAdded(b.FriendAdded, e)
	case *event.Event_FriendRemoved:
		f.friendRemoved(b.FriendRemoved, e)
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
	switch number := f.free(accountBucket, keyNumber, p.Number); {
	case holder != 0:
		e.Void, e.FirstID = frame.Void_VOID_NAME_TAKEN, holder
	case number == 0:
		e.Void = frame.Void_VOID_NUMBER_TAKEN
	default:
		holder = number
		e.ID = number
	}
	if holder != 0 || last != 0 {
		f.putName(p.Name, holder, last)
	}
	if e.Void != frame.Void_VOID_NONE {
		return
	}
	f.given(keyNumber, e.ID)
	f.put(&query.Account{
		User: e.ID, Name: p.Name, PasswordHash: p.PasswordHash, Nick: p.Nick, Gender: p.Gender,
		AvatarUrl: p.AvatarUrl, Department: p.Department, Email: p.Email, Telephone: p.Telephone,
		Domain: p.Domain, Employment: p.Employment, Signature: p.Signature,
	})
	f.tell(e, &frame.PersonChanged{User: e.ID})
}

func (f *folding) putName(name string, holder uint32, last uint64) {
	f.tx.Put(nameBucket, []byte(name), be.AppendUint64(be.AppendUint32(nil, holder), last))
}

// free is the number of something new, 0 if there is none: the one that is asked for, or
// else one more than the greatest so far.
func (f *folding) free(bucket string, counter []byte, asked uint32) uint32 {
	if asked != 0 {
		if f.tx.Get(bucket, be.AppendUint32(nil, asked)) != nil {
			return 0
		}
		return asked
	}
	greatest := be32(f.tx.Get(stateBucket, counter))
	if greatest == math.MaxUint32 {
		return 0
	}
	return greatest + 1
}

// given moves a counter to a number that was given.
func (f *folding) given(counter []byte, number uint32) {
	if number > be32(f.tx.Get(stateBucket, counter)) {
		f.tx.Put(stateBucket, counter, be.AppendUint32(nil, number))
	}
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

func (f *folding) account(user uint32) *query.Account {
	return parseAccount(f.tx.Get(accountBucket, be.AppendUint32(nil, user)))
}

// now is the time of this record's changes; see the package.
func (f *folding) now() uint32 {
	if f.updated == 0 {
		newest := be32(f.tx.Get(stateBucket, keyUpdated))
		f.updated = max(f.seconds(), newest+min(1, math.MaxUint32-newest))
		f.tx.Put(stateBucket, keyUpdated, be.AppendUint32(nil, f.updated))
	}
	return f.updated
}

// seconds is the event's own time.
func (f *folding) seconds() uint32 { return uint32(min(max(f.at/1000, 0), math.MaxUint32)) }

// put writes an account and moves it to the end of the changes.
func (f *folding) put(a *query.Account) {
	if a.Updated != 0 {
		f.tx.Delete(changedBucket, pair(a.Updated, a.User))
	}
	a.Updated = f.now()
	f.tx.Put(changedBucket, pair(a.Updated, a.User), nil)
	f.keep(a)
}

// keep writes an account in which nobody else sees a change.
func (f *folding) keep(a *query.Account) { f.row(accountBucket, be.AppendUint32(nil, a.User), a) }

// row writes a message as a row.
func (f *folding) row(bucket string, key []byte, m proto.Message) {
	b, err := marshal.Marshal(m)
	if err != nil {
		// Only strings that are not UTF-8 do that, and decoding has refused those.
		panic(err)
	}
	f.tx.Put(bucket, key, b)
}

func (f *folding) tell(e *view.Effect, p *frame.PersonChanged) {
	e.Deliveries = append(e.Deliveries, &frame.Delivery{
		Sequence: f.sequence, Index: f.index, Body: &frame.Delivery_PersonChanged{PersonChanged: p},
	})
}

func parseAccount(b []byte) *query.Account { return parse[query.Account](b) }

// parse reads a row, nil if there is none.
func parse[T any, P interface {
	*T
	proto.Message
}](b []byte) P {
	if b == nil {
		return nil
	}
	m := P(new(T))
	if err := proto.Unmarshal(b, m); err != nil {
		panic(err) // a row of our own: the file is corrupt
	}
	return m
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

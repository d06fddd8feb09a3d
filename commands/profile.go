package commands

import (
	"fmt"
	"time"

	"godwit/schema/event"

	"golang.org/x/text/unicode/norm"
)

// ChangeProfile changes what is shown of a person: the fields that are set, and no other.
type ChangeProfile struct {
	At         time.Time
	User       uint32
	Nick       *string
	Gender     *uint32 // 1 male, 2 female, 0 unknown
	AvatarURL  *string
	Department *uint32 // may be unknown; 0: none
	Email      *string
	Telephone  *string
	Domain     *string
	Employment *uint32 // TeamTalk's UserInfo.status, 0..4; 3, left, ends the person's sessions
	Signature  *string
	Session    event.ID // of the client that asks, if one does
	By         string
}

// Decide gives ProfileChanged. A disabled account may be changed. Whether anything is another value than before is told by
// the outcome of the event.
func (c ChangeProfile) Decide(s Person) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	if !s.exists(c.User) {
		return nil, ErrNoSuchPerson
	}
	p := &event.ProfileChanged{
		User: c.User, AvatarUrl: c.AvatarURL, Department: c.Department, Email: c.Email, Telephone: c.Telephone,
		Domain: c.Domain, Signature: c.Signature, Session: Session{ID: c.Session}.session(), By: cut(c.By, maxBy),
	}
	if c.Nick != nil {
		p.Nick = new(norm.NFC.String(*c.Nick))
		if *p.Nick == "" {
			return nil, fmt.Errorf("%w: nick is empty", ErrField)
		}
	}
	for _, f := range []struct {
		name  string
		text  *string
		limit int
	}{
		{"nick", p.Nick, MaxNick},
		{"avatar URL", p.AvatarUrl, MaxAvatarURL},
		{"e-mail", p.Email, MaxEmail},
		{"telephone", p.Telephone, MaxTelephone},
		{"domain", p.Domain, MaxDomain},
		{"signature", p.Signature, MaxSignature},
	} {
		if f.text == nil {
			continue
		}
		if err := checkField(f.name, *f.text, f.limit); err != nil {
			return nil, err
		}
	}
	if c.Signature != nil {
		if err := checkBytes("signature", *c.Signature, MaxSignature); err != nil {
			return nil, err
		}
	}
	if c.Gender != nil {
		if *c.Gender > 2 {
			return nil, fmt.Errorf("%w: gender is %d, not 0, 1 or 2", ErrField, *c.Gender)
		}
		p.Gender = c.Gender
	}
	if c.Employment != nil {
		if *c.Employment > 4 {
			return nil, fmt.Errorf("%w: employment is %d, not 0 to 4", ErrField, *c.Employment)
		}
		p.Employment = c.Employment
	}
	if c.Nick == nil && c.Gender == nil && c.AvatarURL == nil && c.Department == nil && c.Email == nil && c.Telephone == nil &&
		c.Domain == nil && c.Employment == nil && c.Signature == nil {
		return nil, ErrNothingToChange
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_ProfileChanged{ProfileChanged: p}}, nil
}

package commands

import (
	"fmt"
	"time"

	"godwit/schema/event"

	"golang.org/x/text/unicode/norm"
)

// NameState is what the people view knows about a name, and about a number that an import asks for.
type NameState struct {
	Owner       uint32 // who has the name, 0 if it is free
	NumberTaken bool   // the number asked for is somebody's
}

// RegisterPerson makes an account.
type RegisterPerson struct {
	At           time.Time
	Name         string // as typed; the account gets NormalName of it
	PasswordHash string // PHC string
	Nick         string // empty: the name as typed, its first 32 characters
	Number       uint32 // 0: the next free one, given by the fold
	Gender       uint32 // 1 male, 2 female, 0 unknown
	AvatarURL    string
	Department   uint32
	Email        string
	Telephone    string
	Domain       string
	Employment   uint32 // TeamTalk's UserInfo.status, 0..4
	Signature    string
	By           string // who does it: "operator", an API key, an import
}

// Decide gives PersonRegistered. s is about NormalName(c.Name) and c.Number.
func (c RegisterPerson) Decide(s NameState) (*event.Event, error) {
	if noTime(c.At) {
		return nil, ErrIncomplete
	}
	name := NormalName(c.Name)
	if err := CheckName(name); err != nil {
		return nil, err
	}
	nick := norm.NFC.String(c.Nick)
	if nick == "" {
		nick = firstLetters(norm.NFC.String(c.Name), MaxNick)
	}
	for _, f := range []struct {
		name, text string
		limit      int
	}{
		{"nick", nick, MaxNick},
		{"avatar URL", c.AvatarURL, MaxAvatarURL},
		{"e-mail", c.Email, MaxEmail},
		{"telephone", c.Telephone, MaxTelephone},
		{"domain", c.Domain, MaxDomain},
		{"signature", c.Signature, MaxSignature},
	} {
		if err := checkField(f.name, f.text, f.limit); err != nil {
			return nil, err
		}
	}
	if err := checkBytes("signature", c.Signature, MaxSignature); err != nil {
		return nil, err
	}
	if c.Gender > 2 {
		return nil, fmt.Errorf("%w: gender is %d, not 0, 1 or 2", ErrField, c.Gender)
	}
	if c.Employment > 4 {
		return nil, fmt.Errorf("%w: employment is %d, not 0 to 4", ErrField, c.Employment)
	}
	if c.PasswordHash == "" {
		return nil, ErrNoPassword
	}
	if s.Owner != 0 {
		return nil, ErrNameTaken
	}
	if c.Number != 0 && s.NumberTaken {
		return nil, ErrNumberTaken
	}
	return &event.Event{At: millis(c.At), Body: &event.Event_PersonRegistered{PersonRegistered: &event.PersonRegistered{
		Name:         name,
		PasswordHash: c.PasswordHash,
		Nick:         nick,
		Number:       c.Number,
		Gender:       c.Gender,
		AvatarUrl:    c.AvatarURL,
		Department:   c.Department,
		Email:        c.Email,
		Telephone:    c.Telephone,
		Domain:       c.Domain,
		Employment:   c.Employment,
		Signature:    c.Signature,
		By:           cut(c.By, maxBy),
	}}}, nil
}

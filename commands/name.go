package commands

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Longest values of a person's fields, in characters where TeamTalk's tables count characters; a signature in bytes, as
// clients do.
const (
	MaxName      = 64 // TeamTalk's own table has 32; a UUID of an identity provider has 36
	MaxNick      = 32
	MaxDomain    = 32
	MaxTelephone = 11
	MaxEmail     = 64
	MaxAvatarURL = 255
	MaxSignature = 128 // bytes
	maxBy        = 128 // bytes
)

// NormalName is the one form of a login name: lower case, in Unicode's composed form (NFC), so that what looks the same is
// the same. It takes any text; a text that could not be registered gives a name that nobody has.
func NormalName(name string) string {
	return norm.NFC.String(strings.ToLower(norm.NFC.String(name)))
}

// CheckName refuses a normalised name that nobody may register: names have 1 to 64 characters that can be seen. Spaces are
// out as well: a name is a word of a command line, and two that differ in a space look alike.
func CheckName(normal string) error {
	switch {
	case normal == "":
		return ErrNameEmpty
	case !utf8.ValidString(normal):
		return ErrNameCharacters
	case utf8.RuneCountInString(normal) > MaxName:
		return ErrNameTooLong
	}
	for _, r := range normal {
		if r == ' ' || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return fmt.Errorf("%w: %U", ErrNameCharacters, r)
		}
	}
	return nil
}

// checkField refuses text that no client could show or no event could hold.
func checkField(field, text string, limit int) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%w: %s is not plain text", ErrField, field)
	}
	if n := utf8.RuneCountInString(text); n > limit {
		return fmt.Errorf("%w: %s has %d characters, at most %d", ErrField, field, n, limit)
	}
	return nil
}

// checkBytes refuses text whose bytes are too many, whatever its characters are.
func checkBytes(field, text string, limit int) error {
	if len(text) > limit {
		return fmt.Errorf("%w: %s has %d bytes, at most %d", ErrField, field, len(text), limit)
	}
	return nil
}

// cut shortens text to whole characters within limit bytes and replaces what is no UTF-8, which events cannot hold.
func cut(text string, limit int) string {
	text = strings.ToValidUTF8(text, string(unicode.ReplacementChar))
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// firstLetters cuts a text behind so many characters.
func firstLetters(text string, limit int) string {
	for at := range text {
		if limit == 0 {
			return text[:at]
		}
		limit--
	}
	return text
}

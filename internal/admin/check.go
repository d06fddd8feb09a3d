package admin

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Check refuses what is no person, with ErrInvalid.
func (p NewPerson) Check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if err := CheckPassword(p.Password); err != nil {
		return err
	}
	bad := func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	}
	if !utf8.ValidString(p.Nick) || utf8.RuneCountInString(p.Nick) > MaxNick || strings.ContainsFunc(p.Nick, bad) {
		return invalidf("nick %q: give at most %d printable characters", p.Nick, MaxNick)
	}
	if p.Number > MaxNumber {
		return invalidf("number %d: give at most %d, since the next free number is above the greatest", p.Number, MaxNumber)
	}
	return nil
}

// CheckName refuses what can't be a login name: it must be printable, without
// spaces and slashes, so that it can stand in a path and in one word of a command.
func CheckName(name string) error {
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '/' || r == utf8.RuneError
	}
	if n := utf8.RuneCountInString(name); n == 0 || n > MaxName || strings.ContainsFunc(name, bad) || strings.HasPrefix(name, "-") || strings.Trim(name, ".") == "" {
		return invalidf("name %q: give 1 to %d characters without spaces and slashes, not beginning with -", name, MaxName)
	}
	return nil
}

// CheckPassword refuses an empty or oversized password.
func CheckPassword(password string) error {
	if n := len(password); n == 0 || n > MaxPassword {
		return invalidf("password of %d bytes: give 1 to %d", n, MaxPassword)
	}
	return nil
}

// invalidf is an ErrInvalid whose text says it all.
func invalidf(format string, args ...any) error {
	return &tagged{ErrInvalid, fmt.Errorf(format, args...)}
}

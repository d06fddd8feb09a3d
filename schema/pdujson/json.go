package pdujson

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Reading JSON. The text as a whole has passed json.Valid and utf8.Valid before anything here looks at it, so the syntax
// needs no second check: these functions only find where values end.

// fault is what is wrong with a value, and where it is.
type fault struct {
	path   string // steps such as ".body" and "[3]", from the outside in
	reason string
}

func (f *fault) Error() string {
	if f.path == "" {
		return f.reason
	}
	return f.path[1:] + ": " + f.reason
}

// in puts a step before the path.
func (f *fault) in(step string) *fault {
	f.path = step + f.path
	return f
}

// short cuts a name that somebody else chose to a length that is worth repeating.
func short[T ~string](s T) string {
	const most = 64
	if len(s) <= most {
		return string(s)
	}
	n := most
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return string(s[:n]) + "…"
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// trim cuts white space off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && space(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && space(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// stringEnd is the length of the string, in its quotes, at the start of b.
func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// valueEnd is the length of the value at the start of b.
func valueEnd(b []byte) int {
	switch b[0] {
	case '"':
		return stringEnd(b)
	case '{', '[':
		depth := 0
		for i := 0; ; i++ {
			switch b[i] {
			case '"':
				i += stringEnd(b[i:]) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i, c := range b {
		if space(c) || c == ',' || c == '}' || c == ']' {
			return i
		}
	}
	return len(b)
}

// members calls visit with the name and the value of each member of an object until it finds a fault.
func members(object []byte, visit func(name string, value []byte) *fault) *fault {
	b := trim(object[1 : len(object)-1])
	for len(b) > 0 {
		n := stringEnd(b)
		name, f := readString(b[:n])
		if f != nil {
			return &fault{reason: "a name: " + f.reason}
		}
		b = trim(b[n:]) // :
		b = trim(b[1:]) // the value
		n = valueEnd(b)
		if f := visit(name, b[:n:n]); f != nil {
			return f
		}
		if b = trim(b[n:]); len(b) > 0 {
			b = trim(b[1:]) // ,
		}
	}
	return nil
}

// elements calls visit with each value of an array, as members does.
func elements(array []byte, visit func(i int, value []byte) *fault) *fault {
	b := trim(array[1 : len(array)-1])
	for i := 0; len(b) > 0; i++ {
		n := valueEnd(b)
		if f := visit(i, b[:n:n]); f != nil {
			return f
		}
		if b = trim(b[n:]); len(b) > 0 {
			b = trim(b[1:]) // ,
		}
	}
	return nil
}

// readString reads a string. Half of a surrogate pair is refused: it is no character, and UTF-8 has no form for it.
func readString(value []byte) (string, *fault) {
	if value[0] != '"' {
		return "", &fault{reason: "want a string"}
	}
	b := value[1 : len(value)-1]
	at := 0
	for at < len(b) && b[at] != '\\' {
		at++
	}
	if at == len(b) {
		return string(b), nil
	}
	s := make([]byte, 0, len(b))
	for ; len(b) > 0; at = 0 {
		for at < len(b) && b[at] != '\\' {
			at++
		}
		s = append(s, b[:at]...)
		if at == len(b) {
			break
		}
		c := b[at+1]
		b = b[at+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(b)
			b = b[4:]
			if utf16.IsSurrogate(r) {
				if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
					return "", &fault{reason: "holds half of a surrogate pair"}
				}
				if r = utf16.DecodeRune(r, hex4(b[2:])); r == utf8.RuneError {
					return "", &fault{reason: "holds half of a surrogate pair"}
				}
				b = b[6:]
			}
			s = utf8.AppendRune(s, r)
			continue
		}
		s = append(s, c)
	}
	return string(s), nil
}

// hex4 reads the four digits of a \u.
func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n)
}

// readUint reads a whole number of at most limit, which may also stand in quotes, as protobuf's JSON allows.
func readUint(value []byte, limit uint32) (uint32, *fault) {
	if value[0] == '"' {
		value = value[1 : len(value)-1]
		if !json.Valid(value) {
			return 0, &fault{reason: notWhole}
		}
	}
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return 0, &fault{reason: notWhole}
	}
	if n, err := strconv.ParseUint(string(value), 10, 64); err == nil && n <= uint64(limit) {
		return uint32(n), nil
	}
	// 7.0 and 7e0 are whole as well. Nearly everybody's numbers are floats, so the nearest one is what was meant.
	n, err := strconv.ParseFloat(string(value), 64)
	switch {
	case err != nil || n < 0 || n > float64(limit):
		return 0, &fault{reason: "want a number from 0 to " + strconv.FormatUint(uint64(limit), 10)}
	case n != math.Trunc(n):
		return 0, &fault{reason: notWhole}
	}
	return uint32(n), nil
}

const notWhole = "want a whole number"

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped appends what stands between the quotes. Only what must be escaped is.
func appendEscaped(dst []byte, s string) []byte {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[done:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			done = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[done:i]...)
			dst = append(dst, "\uFFFD"...)
			done = i + n
		}
		i += n
	}
	return append(dst, s[done:]...)
}

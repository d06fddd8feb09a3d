package teamtalk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxValue is the most bytes of one value; TeamTalk's longest has 4,096 characters.
const maxValue = 1 << 20

// ErrDump is wrapped by every refusal of a dump; the text says where.
var ErrDump = errors.New("not a dump that can be read")

// value is one value of a row.
type value struct {
	null bool
	text []byte
}

// row is one row of an INSERT. Its values are valid until the next one is read.
type row struct {
	table   string
	columns map[string]int // by lower-case name
	values  []value
	offset  int64 // of its opening parenthesis in the dump
}

func (r *row) text(column string) string {
	if i, ok := r.columns[column]; ok && i < len(r.values) && !r.values[i].null {
		return string(r.values[i].text)
	}
	return ""
}

// number is a column as a number that fits into 32 bits; what is none is 0.
func (r *row) number(column string) uint32 {
	n, err := strconv.ParseUint(r.text(column), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// scanner reads a dump as mysqldump writes it: statements of which only CREATE TABLE, for the order of its columns, and
// INSERT and REPLACE matter.
type scanner struct {
	in      *bufio.Reader
	offset  int64 // of the next byte
	columns map[string][]string
	want    func(table string) bool
	give    func(*row) error
	buf     []byte
}

// scan reads a whole dump and gives the rows of the wanted tables.
func scan(in io.Reader, want func(table string) bool, give func(*row) error) error {
	s := &scanner{in: bufio.NewReaderSize(in, 1<<20), columns: map[string][]string{}, want: want, give: give}
	for {
		err := s.statement()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("%w: byte %d: %s", ErrDump, s.offset, fmt.Sprintf(format, args...))
}

func (s *scanner) next() (byte, error) {
	c, err := s.in.ReadByte()
	if err == nil {
		s.offset++
	}
	return c, err
}

func (s *scanner) peek() (byte, error) {
	b, err := s.in.Peek(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// must is next where the dump may not end.
func (s *scanner) must() (byte, error) {
	c, err := s.next()
	if errors.Is(err, io.EOF) {
		return 0, s.fail("it ends in the middle of a statement")
	}
	return c, err
}

// space skips white space and comments, those that MySQL would carry out included: they set up a session.
func (s *scanner) space() error {
	for {
		b, err := s.in.Peek(3)
		if len(b) == 0 {
			return err
		}
		switch {
		case b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r':
			_, _ = s.next()
		case b[0] == '#', len(b) > 2 && b[0] == '-' && b[1] == '-' && (b[2] == ' ' || b[2] == '\n' || b[2] == '\t' || b[2] == '\r'):
			for {
				c, err := s.next()
				if err != nil {
					return err
				}
				if c == '\n' {
					break
				}
			}
		case len(b) > 1 && b[0] == '/' && b[1] == '*':
			_, _ = s.next()
			_, _ = s.next()
			last := byte(0)
			for {
				c, err := s.must()
				if err != nil {
					return err
				}
				if last == '*' && c == '/' {
					break
				}
				last = c
			}
		default:
			return nil
		}
	}
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// word reads a keyword or a bare name, empty where there is none.
func (s *scanner) word() (string, error) {
	if err := s.space(); err != nil {
		return "", err
	}
	s.buf = s.buf[:0]
	for {
		c, err := s.peek()
		if err != nil || !isWord(c) {
			return string(s.buf), nil
		}
		if len(s.buf) == 256 {
			return "", s.fail("a word is too long")
		}
		_, _ = s.next()
		s.buf = append(s.buf, c)
	}
}

// name reads a name, quoted or not, of which the last part counts: `db`.`table`.
func (s *scanner) name() (string, error) {
	for {
		if err := s.space(); err != nil {
			return "", s.noEnd(err)
		}
		c, err := s.peek()
		if err != nil {
			return "", s.noEnd(err)
		}
		var name string
		if c == '`' || c == '"' {
			_, _ = s.next()
			b, err := s.quoted(c, s.buf[:0])
			if err != nil {
				return "", err
			}
			s.buf = b
			name = string(b)
		} else if name, err = s.word(); err != nil {
			return "", s.noEnd(err)
		}
		if name == "" {
			return "", s.fail("a name is missing")
		}
		if c, err := s.peek(); err != nil || c != '.' {
			return name, nil
		}
		_, _ = s.next()
	}
}

func (s *scanner) noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return s.fail("it ends in the middle of a statement")
	}
	return err
}

// quoted reads up to the closing quote, which has been opened, and takes escapes away.
func (s *scanner) quoted(quote byte, into []byte) ([]byte, error) {
	for {
		c, err := s.must()
		if err != nil {
			return nil, err
		}
		switch {
		case c == quote:
			if n, err := s.peek(); err != nil || n != quote {
				return into, nil
			}
			_, _ = s.next()
		case c == '\\' && quote != '`':
			if c, err = s.must(); err != nil {
				return nil, err
			}
			switch c {
			case '0':
				c = 0
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			case 't':
				c = '\t'
			case 'b':
				c = '\b'
			case 'Z':
				c = 26
			}
		}
		if len(into) == maxValue {
			return nil, s.fail("a value has more than %d bytes", maxValue)
		}
		into = append(into, c)
	}
}

// statement reads one statement. io.EOF is the end of the dump.
func (s *scanner) statement() error {
	word, err := s.word()
	if err != nil {
		return err
	}
	switch strings.ToUpper(word) {
	case "CREATE":
		word, err := s.word()
		if err != nil {
			return s.noEnd(err)
		}
		if strings.EqualFold(word, "TABLE") {
			return s.create()
		}
	case "INSERT", "REPLACE":
		return s.insert()
	case "":
		c, err := s.next()
		if err != nil || c == ';' {
			return err
		}
		return s.skip(c)
	}
	return s.skip(0)
}

// skip reads on to the end of a statement of which c was the last byte read.
func (s *scanner) skip(c byte) error {
	for {
		switch c {
		case ';':
			return nil
		case '\'', '"', '`':
			b, err := s.quoted(c, s.buf[:0])
			if err != nil {
				return err
			}
			s.buf = b
		}
		if err := s.space(); err != nil {
			return err // the last statement may end with the dump
		}
		var err error
		if c, err = s.next(); err != nil {
			return err
		}
	}
}

// keys begin what is no column in a CREATE TABLE.
var keys = []string{"PRIMARY", "KEY", "UNIQUE", "INDEX", "CONSTRAINT", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK"}

// create remembers the columns of a table.
func (s *scanner) create() error {
	table, err := s.name()
	if err != nil {
		return err
	}
	for _, w := range []string{"IF", "NOT", "EXISTS"} { // CREATE TABLE IF NOT EXISTS name
		if strings.EqualFold(table, w) {
			if table, err = s.name(); err != nil {
				return err
			}
		}
	}
	if err := s.expect('('); err != nil {
		return err
	}
	var columns []string
	for depth := 1; depth > 0; {
		if err := s.space(); err != nil {
			return s.noEnd(err)
		}
		c, err := s.peek()
		if err != nil {
			return s.noEnd(err)
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		isKey := false
		for _, k := range keys {
			isKey = isKey || c != '`' && strings.EqualFold(name, k)
		}
		if !isKey {
			columns = append(columns, strings.ToLower(name))
		}
	item: // to the comma behind it
		for {
			if err := s.space(); err != nil {
				return s.noEnd(err)
			}
			c, err := s.must()
			if err != nil {
				return err
			}
			switch c {
			case '\'', '"', '`':
				b, err := s.quoted(c, s.buf[:0])
				if err != nil {
					return err
				}
				s.buf = b
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 {
					break item
				}
			case ',':
				if depth == 1 {
					break item
				}
			}
		}
	}
	s.columns[strings.ToLower(table)] = columns
	return s.skip(0)
}

func (s *scanner) expect(want byte) error {
	if err := s.space(); err != nil {
		return s.noEnd(err)
	}
	c, err := s.must()
	if err != nil {
		return err
	}
	if c != want {
		return s.fail("there is %q, not %q", c, want)
	}
	return nil
}

// insert gives the rows of an INSERT.
func (s *scanner) insert() error {
	table := ""
	for {
		word, err := s.word()
		if err != nil {
			return s.noEnd(err)
		}
		if strings.EqualFold(word, "INTO") {
			break
		}
		if word == "" { // INSERT `table`
			break
		}
		switch strings.ToUpper(word) {
		case "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE":
		default:
			table = word
		}
		if table != "" {
			break
		}
	}
	if table == "" {
		name, err := s.name()
		if err != nil {
			return err
		}
		table = name
	}
	columns := s.columns[strings.ToLower(table)]
	if err := s.space(); err != nil {
		return s.noEnd(err)
	}
	if c, err := s.peek(); err == nil && c == '(' {
		_, _ = s.next()
		columns = nil
		for {
			name, err := s.name()
			if err != nil {
				return err
			}
			columns = append(columns, strings.ToLower(name))
			if err := s.space(); err != nil {
				return s.noEnd(err)
			}
			c, err := s.must()
			if err != nil {
				return err
			}
			if c == ')' {
				break
			}
			if c != ',' {
				return s.fail("there is %q in a list of columns", c)
			}
		}
	}
	word, err := s.word()
	if err != nil {
		return s.noEnd(err)
	}
	if !strings.EqualFold(word, "VALUES") && !strings.EqualFold(word, "VALUE") {
		return s.skip(0) // INSERT … SELECT and INSERT … SET: no dump has them
	}
	wanted := s.want(table)
	if wanted && len(columns) == 0 {
		return s.fail("the columns of %s are not known: dump it with its CREATE TABLE, or with --complete-insert", table)
	}
	r := row{table: table, columns: make(map[string]int, len(columns))}
	for i, c := range columns {
		r.columns[c] = i
	}
	for {
		if err := s.space(); err != nil {
			return s.noEnd(err)
		}
		r.offset = s.offset
		if err := s.tuple(&r); err != nil {
			return err
		}
		if wanted {
			if len(r.values) != len(columns) {
				return s.fail("a row of %s has %d values for %d columns", table, len(r.values), len(columns))
			}
			if err := s.give(&r); err != nil {
				return err
			}
		}
		if err := s.space(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			return s.fail("it ends in the middle of a statement")
		case err != nil:
			return err
		case c == ';':
			return nil
		case c == ',':
		default: // ON DUPLICATE KEY UPDATE …
			return s.skip(c)
		}
	}
}

// tuple reads one parenthesised row.
func (s *scanner) tuple(r *row) error {
	if err := s.expect('('); err != nil {
		return err
	}
	n := 0
	for {
		if n == len(r.values) {
			r.values = append(r.values, value{})
		}
		v := &r.values[n]
		n++
		v.null, v.text = false, v.text[:0]
		if err := s.value(v); err != nil {
			return err
		}
		if err := s.space(); err != nil {
			return s.noEnd(err)
		}
		c, err := s.must()
		if err != nil {
			return err
		}
		switch c {
		case ')':
			r.values = r.values[:n]
			return nil
		case ',':
		default:
			return s.fail("there is %q behind a value", c)
		}
	}
}

// value reads a string, a number, a blob in hexadecimal digits or NULL.
func (s *scanner) value(v *value) error {
	if err := s.space(); err != nil {
		return s.noEnd(err)
	}
	c, err := s.peek()
	if err != nil {
		return s.noEnd(err)
	}
	if c == '\'' || c == '"' {
		_, _ = s.next()
		v.text, err = s.quoted(c, v.text)
		return err
	}
	for {
		c, err := s.peek()
		if err != nil {
			return s.noEnd(err)
		}
		if !isWord(c) && c != '-' && c != '+' && c != '.' {
			break
		}
		if len(v.text) == maxValue {
			return s.fail("a value has more than %d bytes", maxValue)
		}
		_, _ = s.next()
		v.text = append(v.text, c)
	}
	switch {
	case len(v.text) == 0:
		return s.fail("a value is missing")
	case bytes.EqualFold(v.text, []byte("NULL")):
		v.null, v.text = true, v.text[:0]
	case v.text[0] == '_': // a character set in front of a string
		v.text = v.text[:0]
		return s.value(v)
	case len(v.text) > 2 && v.text[0] == '0' && (v.text[1] == 'x' || v.text[1] == 'X'):
		digits := v.text[2:]
		if len(digits)%2 != 0 {
			return s.fail("a blob has half a byte")
		}
		for i := 0; i < len(digits); i += 2 {
			b, err := strconv.ParseUint(string(digits[i:i+2]), 16, 8)
			if err != nil {
				return s.fail("a blob has digits that are none")
			}
			v.text[i/2] = byte(b) // never ahead of what is read
		}
		v.text = v.text[:len(digits)/2]
	}
	return nil
}

// rowAt reads one row again, whose parenthesis stands at an offset.
func rowAt(in io.ReaderAt, offset int64, r *row) error {
	s := &scanner{in: bufio.NewReaderSize(io.NewSectionReader(in, offset, 1<<62), 8<<10), offset: offset}
	return s.tuple(r)
}

package api

import (
	"encoding/base64"
	"strings"
)

// Sizes of pages.
const (
	defaultPage = 100
	maxPage     = 1000
)

// Paged is the query of a list.
type Paged struct {
	Cursor string `query:"cursor" maxLength:"2048" doc:"Where the page begins: next of the page before it, empty for the first"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most entries of the page"`
}

func (p Paged) limit() uint32 {
	if p.Limit <= 0 {
		return defaultPage
	}
	return uint32(min(p.Limit, maxPage))
}

// cursor hides where a page ends from callers, who should not count on what it is made of. kind tells lists apart.
func cursor(kind, at string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(kind + ":" + at))
}

// begin reads a cursor of a kind of list; "" is the beginning.
func (p Paged) begin(kind string) (at string, err error) {
	if p.Cursor == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	at, ok := strings.CutPrefix(string(b), kind+":")
	if err != nil || !ok {
		return "", invalid("the cursor is none of this list")
	}
	return at, nil
}

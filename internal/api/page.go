package api

import (
	"encoding/base64"
	"slices"
	"strings"

	"godwit/commands"
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

// searchedPages is how many pages of the largest size one search goes through; it goes on with the next.
const searchedPages = 20

// searched collects what fits, at most limit, out of a list by number that ask gives in pages. It gives up after
// searchedPages. last is the number of the last one that it has looked at.
func searched[T any](after, limit uint32, ask func(after, limit uint32) (page []T, more bool, err error), number func(T) uint32, fits func(T) bool) (found []T, last uint32, more bool, err error) {
	last, more = after, true
	for pages := 0; more && pages < searchedPages; pages++ {
		var page []T
		if page, more, err = ask(last, maxPage); err != nil {
			return nil, 0, false, err
		}
		for i, one := range page {
			last = number(one)
			if !fits(one) {
				continue
			}
			if found = append(found, one); len(found) == int(limit) {
				return found, last, more || i+1 < len(page), nil
			}
		}
	}
	return found, last, more, nil
}

// holds tells whether a part stands in one of some texts, whatever the case.
func holds(part string, texts ...string) bool {
	part = commands.NormalName(strings.TrimSpace(part))
	return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(commands.NormalName(text), part) })
}

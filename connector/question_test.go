package connector

import (
	"testing"

	"godwit/schema/query"
)

// What a part of an answer leaves held back counts for as much as it is, so that a session
// is not taken for slow because of what it is sent once.
func TestSplitCountsSharedPushesOnce(t *testing.T) {
	sh := ready(make([]byte, 5000))
	g := &gate{bytes: []byte("abcdef"), shared: 2 * sh.size(), held: []heldPush{
		{stream: 1, sequence: 4, end: 3}, {stream: 1, sequence: 5, end: 3, shared: sh},
		{stream: 1, sequence: 8, end: 6}, {stream: 1, sequence: 9, end: 6, shared: sh},
	}}
	upTo, later := g.split([]*query.AtLeast{{Stream: 1, Sequence: 5}})
	for name, part := range map[string]*gate{"abc": upTo, "def": later} {
		if string(part.bytes) != name || len(part.held) != 2 || part.shared != sh.size() {
			t.Errorf("%q in %d pushes, shared ones of %d bytes; want %q in 2, of %d", part.bytes, len(part.held), part.shared, name, sh.size())
		}
	}
}

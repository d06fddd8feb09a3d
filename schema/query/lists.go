package query

import (
	"cmp"
	"slices"
)

// NewestFirst sorts lists that were merged from several timelines, the latest
// change first, and cuts them to limit, 0 meaning none.
func NewestFirst(lists *ListsAnswer, limit uint32) {
	slices.SortStableFunc(lists.Entries, func(a, b *ListEntry) int {
		return cmp.Or(cmp.Compare(b.Updated, a.Updated), slices.Compare(a.Conversation, b.Conversation))
	})
	if limit > 0 && uint32(len(lists.Entries)) > limit {
		lists.Entries = lists.Entries[:limit]
	}
}

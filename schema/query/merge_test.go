package query_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/schema/query"
)

// questions are all those that are put to every timeline.
func questions() []*query.Request {
	return []*query.Request{
		{Body: &query.Request_Lists{Lists: &query.Lists{User: 7, Limit: 5}}},
		{Body: &query.Request_GroupList{GroupList: &query.GroupList{User: 7, Limit: 4}}},
		{Body: &query.Request_Sync{Sync: &query.Sync{User: 7}}},
		{Body: &query.Request_Blocks{Blocks: &query.Blocks{User: 7}}},
		{Body: &query.Request_Files{Files: &query.Files{User: 7}}},
		{Body: &query.Request_UnreadTotals{UnreadTotals: &query.UnreadTotals{Users: []uint32{1, 2, 3}}}},
	}
}

func TestAboutNamesTheStreamsAndLeavesTheQuestionAlone(t *testing.T) {
	for _, q := range questions() {
		before := proto.CloneOf(q)
		part := query.About(q, []uint32{2, 5})
		if got, ok := query.Streams(part); !ok || !slices.Equal(got, []uint32{2, 5}) {
			t.Errorf("%T: streams %v, %v", q.Body, got, ok)
		}
		if !proto.Equal(q, before) {
			t.Errorf("%T: the question was changed", q.Body)
		}
	}
	history := &query.Request{Body: &query.Request_History{History: &query.History{Conversation: []byte("c")}}}
	if _, ok := query.Streams(history); ok {
		t.Error("a history is of one conversation")
	}
	if got := query.About(history, []uint32{2}); !proto.Equal(got, history) {
		t.Errorf("a question about one conversation became %v", got)
	}
}

func TestConversationOfAQuestion(t *testing.T) {
	key := []byte("key")
	for _, q := range []*query.Request{
		{Body: &query.Request_History{History: &query.History{Conversation: key}}},
		{Body: &query.Request_ByIds{ByIds: &query.ByIds{Conversation: key}}},
		{Body: &query.Request_Head{Head: &query.Head{Conversation: key}}},
		{Body: &query.Request_GroupState{GroupState: &query.GroupState{Conversation: key}}},
		{Body: &query.Request_Receipts{Receipts: &query.Receipts{Conversation: key}}},
		{Body: &query.Request_Edits{Edits: &query.Edits{Conversation: key}}},
		{Body: &query.Request_Pushes{Pushes: &query.Pushes{Asked: []*query.PushAsked{{Conversation: key}}}}},
	} {
		if string(query.Conversation(q)) != "key" {
			t.Errorf("%T: conversation %q", q.Body, query.Conversation(q))
		}
	}
	for _, q := range append(questions(), &query.Request{Body: &query.Request_Pushes{Pushes: &query.Pushes{}}}, nil) {
		if got := query.Conversation(q); got != nil {
			t.Errorf("%v: conversation %q", q, got)
		}
	}
}

func TestMergeLists(t *testing.T) {
	entry := func(name string, updated uint32) *query.ListEntry {
		return &query.ListEntry{Conversation: []byte(name), Updated: updated}
	}
	a := &query.Answer{
		At:   []*query.AtLeast{{Stream: 3, Sequence: 30}},
		Rest: []uint32{9},
		Body: &query.Answer_Lists{Lists: &query.ListsAnswer{Entries: []*query.ListEntry{entry("a", 9), entry("b", 2)}}},
	}
	b := &query.Answer{
		At:   []*query.AtLeast{{Stream: 2, Sequence: 20}},
		Rest: []uint32{4},
		Body: &query.Answer_Lists{Lists: &query.ListsAnswer{Entries: []*query.ListEntry{entry("c", 9), entry("d", 5)}}},
	}
	q := &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{Limit: 3}}}
	got := query.Merge(q, b, a)
	var names strings.Builder
	for _, e := range got.GetLists().GetEntries() {
		names.WriteString(string(e.Conversation))
	}
	if names.String() != "acd" {
		t.Errorf("entries %s, want acd", names.String())
	}
	if len(got.At) != 2 || got.At[0].Stream != 2 || got.At[1].Stream != 3 || !slices.Equal(got.Rest, []uint32{4, 9}) {
		t.Errorf("at %v, rest %v", got.At, got.Rest)
	}
}

func TestMergeSync(t *testing.T) {
	part := func(stream uint32, more bool, names ...string) *query.Answer {
		s := &query.SyncAnswer{More: more, Whole: []uint32{stream}, Next: []*query.AtLeast{{Stream: stream, Sequence: uint64(stream)}}}
		for _, n := range names {
			s.Entries = append(s.Entries, &query.SyncEntry{Conversation: []byte(n)})
		}
		return &query.Answer{Body: &query.Answer_Sync{Sync: s}}
	}
	q := &query.Request{Body: &query.Request_Sync{Sync: &query.Sync{}}}
	got := query.Merge(q, part(4, true, "x", "a"), part(2, false, "b")).GetSync()
	var names strings.Builder
	for _, e := range got.Entries {
		names.WriteString(string(e.Conversation))
	}
	if names.String() != "xab" || !got.More || !slices.Equal(got.Whole, []uint32{2, 4}) || len(got.Next) != 2 || got.Next[0].Stream != 2 {
		t.Errorf("merged to %v", got)
	}
}

func TestMergeUsersFilesAndTotals(t *testing.T) {
	users := func(u ...uint32) *query.Answer {
		return &query.Answer{Body: &query.Answer_Users{Users: &query.UsersAnswer{Users: u}}}
	}
	q := &query.Request{Body: &query.Request_Blocks{Blocks: &query.Blocks{}}}
	if got := query.Merge(q, users(5, 2), users(3, 5)).GetUsers().GetUsers(); !slices.Equal(got, []uint32{2, 3, 5}) {
		t.Errorf("users %v", got)
	}

	file := func(task string, offered int64) *query.Answer {
		return &query.Answer{Body: &query.Answer_Files{Files: &query.FilesAnswer{Files: []*query.File{{Task: task, Offered: offered}}}}}
	}
	q = &query.Request{Body: &query.Request_Files{Files: &query.Files{}}}
	var tasks strings.Builder
	for _, f := range query.Merge(q, file("c", 3), file("b", 1), file("a", 3)).GetFiles().GetFiles() {
		tasks.WriteString(f.Task)
	}
	if tasks.String() != "bac" {
		t.Errorf("files %s, want the oldest first", tasks.String())
	}

	totals := func(n ...uint32) *query.Answer {
		return &query.Answer{Body: &query.Answer_UnreadTotals{UnreadTotals: &query.UnreadTotalsAnswer{Totals: n}}}
	}
	q = &query.Request{Body: &query.Request_UnreadTotals{UnreadTotals: &query.UnreadTotals{Users: []uint32{1, 2, 3}}}}
	got := query.Merge(q, totals(1, 0, 1<<32-1), totals(2, 0, 5)).GetUnreadTotals().GetTotals()
	if !slices.Equal(got, []uint32{3, 0, 1<<32 - 1}) {
		t.Errorf("totals %v", got)
	}
	if got := query.Merge(q).GetUnreadTotals().GetTotals(); !slices.Equal(got, []uint32{0, 0, 0}) {
		t.Errorf("totals of nothing %v, want one for each user", got)
	}
}

// Groups that lie in any number of streams, answered in pages of any size and merged in
// two steps, come out whole: each once, by number.
func TestGroupsPageWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		streams := make([][]uint32, rapid.IntRange(1, 5).Draw(t, "streams"))
		var want []uint32
		for n := range uint32(rapid.IntRange(0, 40).Draw(t, "groups")) {
			s := rapid.IntRange(0, len(streams)-1).Draw(t, "stream")
			streams[s] = append(streams[s], n+1)
			want = append(want, n+1)
		}
		limit := uint32(rapid.IntRange(1, 7).Draw(t, "limit"))
		// A stream may give less than it was asked for.
		short := rapid.IntRange(1, 7).Draw(t, "short")
		page := func(q *query.Request, groups []uint32) *query.Answer {
			l := &query.GroupListAnswer{}
			for _, g := range groups {
				if g <= q.GetGroupList().After {
					continue
				}
				if len(l.Groups) == min(int(limit), short) {
					l.More = true
					break
				}
				l.Groups = append(l.Groups, &query.Group{Group: g})
			}
			return &query.Answer{Body: &query.Answer_GroupList{GroupList: l}}
		}
		split := rapid.IntRange(0, len(streams)).Draw(t, "split")
		var got []uint32
		for after := uint32(0); ; {
			q := &query.Request{Body: &query.Request_GroupList{GroupList: &query.GroupList{After: after, Limit: limit}}}
			var parts []*query.Answer
			for _, s := range streams {
				parts = append(parts, page(q, s))
			}
			l := query.Merge(q, query.Merge(q, parts[:split]...), query.Merge(q, parts[split:]...)).GetGroupList()
			if uint32(len(l.Groups)) > limit {
				t.Fatalf("a page of %d groups, asked for %d", len(l.Groups), limit)
			}
			for _, g := range l.Groups {
				got = append(got, g.Group)
			}
			if !l.More {
				break
			}
			if len(l.Groups) == 0 {
				t.Fatal("an empty page that says there is more")
			}
			after = l.Groups[len(l.Groups)-1].Group
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// It does not matter who merges what first.
func TestMergeInAnyGrouping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []*query.Answer
		q := &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{Limit: uint32(rapid.IntRange(0, 6).Draw(t, "limit"))}}}
		for i := range rapid.IntRange(1, 5).Draw(t, "parts") {
			l := &query.ListsAnswer{}
			for j := range rapid.IntRange(0, 5).Draw(t, "entries") {
				l.Entries = append(l.Entries, &query.ListEntry{
					Conversation: []byte{byte(i), byte(j)}, Updated: uint32(rapid.IntRange(0, 3).Draw(t, "updated"))})
			}
			slices.SortStableFunc(l.Entries, func(a, b *query.ListEntry) int { return cmp.Compare(b.Updated, a.Updated) })
			parts = append(parts, &query.Answer{At: []*query.AtLeast{{Stream: uint32(i)}}, Body: &query.Answer_Lists{Lists: l}})
		}
		split := rapid.IntRange(0, len(parts)).Draw(t, "split")
		whole := query.Merge(q, parts...)
		steps := query.Merge(q, query.Merge(q, parts[:split]...), query.Merge(q, parts[split:]...))
		if !proto.Equal(whole, steps) {
			t.Fatalf("at once %v, in steps %v", whole, steps)
		}
	})
}

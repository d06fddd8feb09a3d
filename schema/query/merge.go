package query

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"
)

// Streams are the streams that a question about all timelines names, none meaning all
// that the answerer owns; ok is false for any other question.
func Streams(q *Request) (streams []uint32, ok bool) {
	switch b := q.GetBody().(type) {
	case *Request_Lists:
		return b.Lists.GetStreams(), true
	case *Request_GroupList:
		return b.GroupList.GetStreams(), true
	case *Request_Sync:
		return b.Sync.GetStreams(), true
	case *Request_Blocks:
		return b.Blocks.GetStreams(), true
	case *Request_Files:
		return b.Files.GetStreams(), true
	case *Request_UnreadTotals:
		return b.UnreadTotals.GetStreams(), true
	}
	return nil, false
}

// About is the question q put to some streams only, without q's positions. Where q is not
// about all timelines it is q's body unchanged.
func About(q *Request, streams []uint32) *Request {
	part := &Request{Body: q.GetBody()}
	if _, ok := Streams(q); !ok {
		return part
	}
	part = proto.CloneOf(part)
	switch b := part.Body.(type) {
	case *Request_Lists:
		b.Lists.Streams = streams
	case *Request_GroupList:
		b.GroupList.Streams = streams
	case *Request_Sync:
		b.Sync.Streams = streams
	case *Request_Blocks:
		b.Blocks.Streams = streams
	case *Request_Files:
		b.Files.Streams = streams
	case *Request_UnreadTotals:
		b.UnreadTotals.Streams = streams
	}
	return part
}

// Conversation is the conversation whose timeline has to be asked; nil for a question that
// is not about one. Of Pushes it is the first one asked for: all lie in its stream.
func Conversation(q *Request) []byte {
	switch b := q.GetBody().(type) {
	case *Request_History:
		return b.History.GetConversation()
	case *Request_ByIds:
		return b.ByIds.GetConversation()
	case *Request_Head:
		return b.Head.GetConversation()
	case *Request_GroupState:
		return b.GroupState.GetConversation()
	case *Request_Receipts:
		return b.Receipts.GetConversation()
	case *Request_Edits:
		return b.Edits.GetConversation()
	case *Request_Pushes:
		if asked := b.Pushes.GetAsked(); len(asked) > 0 {
			return asked[0].GetConversation()
		}
	}
	return nil
}

// Merge makes one answer of those that several timelines gave to one question about all of
// them. Merged answers can be merged again: it does not matter who merges what first. All
// parts are whole answers, with the code OK; they are not changed, but the merged answer
// shares what is in them.
func Merge(q *Request, parts ...*Answer) *Answer {
	all := &Answer{}
	for _, p := range parts {
		all.At = append(all.At, p.GetAt()...)
		all.Rest = append(all.Rest, p.GetRest()...)
	}
	slices.SortFunc(all.At, func(a, b *AtLeast) int { return cmp.Compare(a.GetStream(), b.GetStream()) })
	slices.Sort(all.Rest)
	switch b := q.GetBody().(type) {
	case *Request_Lists:
		all.Body = &Answer_Lists{Lists: mergeLists(b.Lists, parts)}
	case *Request_GroupList:
		all.Body = &Answer_GroupList{GroupList: mergeGroups(b.GroupList, parts)}
	case *Request_Sync:
		all.Body = &Answer_Sync{Sync: mergeSync(parts)}
	case *Request_Blocks:
		all.Body = &Answer_Users{Users: mergeUsers(parts)}
	case *Request_Files:
		all.Body = &Answer_Files{Files: mergeFiles(parts)}
	case *Request_UnreadTotals:
		all.Body = &Answer_UnreadTotals{UnreadTotals: mergeTotals(b.UnreadTotals, parts)}
	}
	return all
}

// mergeLists sorts by the latest change first and cuts to the asked number.
func mergeLists(q *Lists, parts []*Answer) *ListsAnswer {
	out := &ListsAnswer{}
	for _, p := range parts {
		out.Entries = append(out.Entries, p.GetLists().GetEntries()...)
	}
	slices.SortStableFunc(out.Entries, func(a, b *ListEntry) int {
		return cmp.Or(cmp.Compare(b.GetUpdated(), a.GetUpdated()), slices.Compare(a.GetConversation(), b.GetConversation()))
	})
	if limit := q.GetLimit(); limit > 0 && uint32(len(out.Entries)) > limit {
		out.Entries = out.Entries[:limit]
	}
	return out
}

// mergeGroups sorts by number. A part that says there is more is complete up to its last
// group only, and so is the whole.
func mergeGroups(q *GroupList, parts []*Answer) *GroupListAnswer {
	out := &GroupListAnswer{}
	complete := ^uint32(0)
	for _, p := range parts {
		l := p.GetGroupList()
		out.Groups = append(out.Groups, l.GetGroups()...)
		if n := len(l.GetGroups()); l.GetMore() && n > 0 {
			out.More, complete = true, min(complete, l.GetGroups()[n-1].GetGroup())
		}
	}
	slices.SortStableFunc(out.Groups, func(a, b *Group) int { return cmp.Compare(a.GetGroup(), b.GetGroup()) })
	out.Groups = slices.DeleteFunc(out.Groups, func(g *Group) bool { return g.GetGroup() > complete })
	if limit := q.GetLimit(); limit > 0 && uint32(len(out.Groups)) > limit {
		out.Groups, out.More = out.Groups[:limit], true
	}
	return out
}

// mergeSync keeps each stream's order; positions of different streams can't be compared.
func mergeSync(parts []*Answer) *SyncAnswer {
	out := &SyncAnswer{}
	for _, p := range parts {
		s := p.GetSync()
		out.Entries = append(out.Entries, s.GetEntries()...)
		out.Whole = append(out.Whole, s.GetWhole()...)
		out.Next = append(out.Next, s.GetNext()...)
		out.More = out.More || s.GetMore()
	}
	slices.Sort(out.Whole)
	slices.SortStableFunc(out.Next, func(a, b *AtLeast) int { return cmp.Compare(a.GetStream(), b.GetStream()) })
	return out
}

// mergeUsers gives each user once, ascending.
func mergeUsers(parts []*Answer) *UsersAnswer {
	out := &UsersAnswer{}
	for _, p := range parts {
		out.Users = append(out.Users, p.GetUsers().GetUsers()...)
	}
	slices.Sort(out.Users)
	out.Users = slices.Compact(out.Users)
	return out
}

func mergeFiles(parts []*Answer) *FilesAnswer {
	out := &FilesAnswer{}
	for _, p := range parts {
		out.Files = append(out.Files, p.GetFiles().GetFiles()...)
	}
	slices.SortStableFunc(out.Files, func(a, b *File) int {
		return cmp.Or(cmp.Compare(a.GetOffered(), b.GetOffered()), cmp.Compare(a.GetTask(), b.GetTask()))
	})
	return out
}

// mergeTotals adds up, and stays at the highest number rather than begin anew.
func mergeTotals(q *UnreadTotals, parts []*Answer) *UnreadTotalsAnswer {
	out := &UnreadTotalsAnswer{Totals: make([]uint32, len(q.GetUsers()))}
	for _, p := range parts {
		for i, n := range p.GetUnreadTotals().GetTotals() {
			if i < len(out.Totals) {
				out.Totals[i] = uint32(min(uint64(out.Totals[i])+uint64(n), 1<<32-1))
			}
		}
	}
	return out
}

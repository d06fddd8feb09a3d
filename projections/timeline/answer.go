package timeline

import (
	"math"
	"slices"

	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/query"
)

// Limits of answers, so that one fits into a NATS message of 1 MiB.
const (
	// SinceMargin is how many seconds before Lists.since rows are given again. A
	// client's time may be of this view or of another, and a row that is given twice
	// does no harm, while one that is missing does.
	SinceMargin = 5 * 60
	// MaxIds is how many messages ByIds looks for; the rest is not looked at.
	MaxIds = 100
	// MaxCount is the most messages that one History gives.
	MaxCount = 1000
	// MaxEntries is the most rows that one Lists gives; the oldest are left out.
	MaxEntries = 5000
	// MaxGroups is the most groups that one GroupList gives; there are more pages.
	MaxGroups = 1000
	// MaxFiles is the most files that one Files gives; the oldest are left out: they may be
	// long gone from the store, which tells nobody.
	MaxFiles = 1000
	// MaxPushes is the most messages that one Pushes looks for; the rest is asked again.
	MaxPushes = 100
	// PushBlock is how many members of a message's position are of one block of its
	// recipients.
	PushBlock = 500
	// MaxBytes is the most bytes of bodies that one answer gives, and what 0 means.
	// At least one message is given however large it is.
	// In Lists the messages of older rows come without bodies once it is spent.
	MaxBytes = 512 << 10
)

// Answer answers the timeline's questions from one committed state; any other is a bad
// request. Who is no party of a conversation or no member of a group (any more) gets an
// empty answer, as if it was not there. Of a group a member sees what was written since
// he joined, last. Which timelines a question is put to is not looked at.
func (t *Timeline) Answer(r *view.Reader, q *query.Request) *query.Answer {
	a := &query.Answer{At: []*query.AtLeast{r.At(t.Stream())}}
	switch b := q.GetBody().(type) {
	case *query.Request_Lists:
		a.Body = &query.Answer_Lists{Lists: lists(r, b.Lists)}
	case *query.Request_History:
		a.Body = &query.Answer_Messages{Messages: history(r, b.History)}
	case *query.Request_ByIds:
		a.Body = &query.Answer_Messages{Messages: byIDs(r, b.ByIds)}
	case *query.Request_Head:
		a.Body = &query.Answer_Head{Head: head(r, b.Head)}
	case *query.Request_GroupState:
		a.Body = &query.Answer_Group{Group: groupState(r, b.GroupState)}
	case *query.Request_GroupList:
		a.Body = &query.Answer_GroupList{GroupList: groupList(r, b.GroupList)}
	case *query.Request_Sync:
		a.Body = &query.Answer_Sync{Sync: t.sync(r, b.Sync, MaxBytes, maxSyncChanges)}
	case *query.Request_Receipts:
		a.Body = &query.Answer_Receipts{Receipts: receipts(r, b.Receipts)}
	case *query.Request_Blocks:
		a.Body = &query.Answer_Users{Users: blocks(r, b.Blocks.GetUser())}
	case *query.Request_Files:
		a.Body = &query.Answer_Files{Files: files(r, b.Files)}
	case *query.Request_Edits:
		a.Body = &query.Answer_Edits{Edits: edits(r, b.Edits)}
	case *query.Request_Pushes:
		a.Body = &query.Answer_Pushes{Pushes: pushes(r, b.Pushes)}
	case *query.Request_UnreadTotals:
		a.Body = &query.Answer_UnreadTotals{UnreadTotals: unreadTotals(r, b.UnreadTotals.GetUsers())}
	default:
		a.Code, a.Error = query.Code_CODE_BAD_REQUEST, "not a question for a timeline"
	}
	return a
}

// lists reads a user's conversations, newest first. A group whose entry its user has
// taken away counts as unread all the same.
func lists(r *view.Reader, q *query.Lists) *query.ListsAnswer {
	type row struct {
		key event.ConversationKey
		member
		conversation
	}
	var rows []row
	since := uint32(0)
	if q.Since > SinceMargin {
		since = q.Since - SinceMargin
	}
	var key keyBuf
	for k := range r.Scan(userBucket, be.AppendUint32(nil, q.User)) {
		conv := event.ConversationKey(k[4:])
		c := parseConversation(r.Get(conversationBucket, conv[:]))
		if c.updated < since {
			continue
		}
		m := parseMember(r.Get(memberBucket, key.number(conv, q.User)))
		if q.UnreadOnly {
			if c.head <= m.cursor || m.removed && conv.IsDirect() {
				continue
			}
		} else if !m.listed(&c) {
			continue
		}
		rows = append(rows, row{conv, m, c})
	}
	slices.SortStableFunc(rows, func(a, b row) int { return int(int64(b.updated) - int64(a.updated)) })
	limit := MaxEntries
	if q.Limit > 0 {
		limit = min(limit, int(q.Limit))
	}
	rows = rows[:min(len(rows), limit)]
	left := MaxBytes
	out := &query.ListsAnswer{Entries: make([]*query.ListEntry, 0, len(rows))}
	for _, c := range rows {
		var latest *query.Message
		if row := r.Get(messageBucket, key.number(c.key, c.head)); row != nil {
			m := parseMessage(row)
			if left -= len(m.body); left < 0 {
				m.body = nil // before it is copied
			}
			latest = toQuery(c.head, &m)
		}
		out.Entries = append(out.Entries, &query.ListEntry{
			Conversation: c.key[:], Head: c.head, Cursor: c.cursor, Updated: c.updated,
			Latest: latest, Shielded: c.shielded,
		})
	}
	return out
}

// asked is a conversation as one of its parties sees it.
type asked struct {
	key event.ConversationKey
	conversation
	member
}

func ask(r *view.Reader, conv []byte, user uint32) (a asked, ok bool) {
	if a.key, ok = event.ParseConversation(conv); !ok {
		return a, false
	}
	a.conversation = parseConversation(r.Get(conversationBucket, conv))
	a.member = parseMember(r.Get(memberBucket, new(keyBuf).number(a.key, user)))
	return a, a.present()
}

// sees tells whether the asker may read the message of an id: of a group only those
// since he joined, last.
func (a *asked) sees(id uint32) bool { return id > a.base && id <= a.head }

// collect adds messages until a limit is met; the first one always fits.
type collect struct {
	out   query.MessagesAnswer
	count int
	bytes int
}

func (c *collect) add(id uint32, m *message) (goesOn bool) {
	if n := len(c.out.Messages); n > 0 && (n >= c.count || len(m.body) > c.bytes) {
		return false
	}
	c.bytes -= len(m.body)
	c.out.Messages = append(c.out.Messages, toQuery(id, m))
	return len(c.out.Messages) < c.count
}

func history(r *view.Reader, q *query.History) *query.MessagesAnswer {
	a, ok := ask(r, q.Conversation, q.User)
	c := collect{count: min(int(q.Count), MaxCount), bytes: bodyBytes(q.MaxBytes)}
	if !ok || c.count == 0 {
		return &c.out
	}
	begin := a.head
	if q.Begin > 0 {
		begin = min(begin, q.Begin)
	}
	for k, row := range r.ScanBack(messageBucket, new(keyBuf).number(a.key, begin)) {
		if len(k) != 13 || event.ConversationKey(k[:9]) != a.key {
			break
		}
		id := be.Uint32(k[9:])
		if !a.sees(id) {
			break
		}
		m := parseMessage(row)
		if !c.add(id, &m) {
			break
		}
	}
	return &c.out
}

func byIDs(r *view.Reader, q *query.ByIds) *query.MessagesAnswer {
	a, ok := ask(r, q.Conversation, q.User)
	c := collect{count: math.MaxInt, bytes: bodyBytes(q.MaxBytes)}
	if !ok {
		return &c.out
	}
	ids := slices.Clone(q.Ids[:min(len(q.Ids), MaxIds)])
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var key keyBuf
	for _, id := range slices.Backward(ids) {
		if !a.sees(id) {
			continue
		}
		m := parseMessage(r.Get(messageBucket, key.number(a.key, id)))
		if !c.add(id, &m) {
			break
		}
	}
	return &c.out
}

func head(r *view.Reader, q *query.Head) *query.HeadAnswer {
	a, ok := ask(r, q.Conversation, q.User)
	if !ok {
		return &query.HeadAnswer{}
	}
	return &query.HeadAnswer{Head: a.head, Cursor: a.cursor}
}

func bodyBytes(asked uint32) int {
	if asked == 0 {
		return MaxBytes
	}
	return min(int(asked), MaxBytes)
}

func readMessage(r *view.Reader, key event.ConversationKey, id uint32) *query.Message {
	row := r.Get(messageBucket, new(keyBuf).number(key, id))
	if row == nil {
		return nil
	}
	m := parseMessage(row)
	return toQuery(id, &m)
}

func toQuery(id uint32, m *message) *query.Message {
	return &query.Message{
		Id: id, From: m.from, Created: m.created, Type: m.kind, Body: clone(m.body),
		Recalled: m.recalled, Edits: m.edits, Missing: m.missing, ClientMessageId: clone(m.clientID),
	}
}

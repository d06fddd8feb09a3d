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
	// MaxBytes is the most bytes of bodies that one answer gives, and what 0 means.
	// At least one message is given however large it is.
	// In Lists the messages of older rows come without bodies once it is spent.
	MaxBytes = 512 << 10
)

// Answer answers the timeline's questions from one committed state: Lists,
// History, ByIds and Head; any other is a bad request. Who is no party of a
// conversation gets an empty answer, as if it was not there.
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
	default:
		a.Code, a.Error = query.Code_CODE_BAD_REQUEST, "not a question for a timeline"
	}
	return a
}

// lists reads a user's conversations, newest first.
func lists(r *view.Reader, q *query.Lists) *query.ListsAnswer {
	type row struct {
		key    event.ConversationKey
		cursor uint32
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
		if m.removed || q.UnreadOnly && c.head <= m.cursor {
			continue
		}
		rows = append(rows, row{conv, m.cursor, c})
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
		latest := readMessage(r, c.key, c.head)
		if left -= len(latest.GetBody()); left < 0 && latest != nil {
			latest.Body = nil
		}
		out.Entries = append(out.Entries, &query.ListEntry{
			Conversation: c.key[:], Head: c.head, Cursor: c.cursor, Updated: c.updated,
			Latest: latest,
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
	return a, len(a.intervals) > 0
}

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
		m := parseMessage(row)
		if !a.sees(m.sequence) {
			continue
		}
		if !c.add(be.Uint32(k[9:]), &m) {
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
		row := r.Get(messageBucket, key.number(a.key, id))
		if row == nil {
			continue
		}
		m := parseMessage(row)
		if a.sees(m.sequence) && !c.add(id, &m) {
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
	return &query.Message{Id: id, From: m.from, Created: m.created, Type: m.kind, Body: clone(m.body)}
}

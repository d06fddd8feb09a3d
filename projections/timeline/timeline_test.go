package timeline

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"godwit/projections/projectiontest"
	"godwit/projections/view"
	"godwit/schema/event"
	"godwit/schema/frame"
	"godwit/schema/query"
)

const (
	ann  = uint32(1)
	ben  = uint32(2)
	cleo = uint32(3)
)

var (
	annBen  = event.Direct(ann, ben)
	annCleo = event.Direct(ann, cleo)
	writer  = projectiontest.ID(1)
	phone   = projectiontest.ID(50)
)

// second is so many seconds after the beginning, as event times are.
func second(s float64) int64 { return projectiontest.Epoch + int64(s*1000) }

func day(d float64) int64 { return second(d * 24 * 3600) }

func sent(at int64, key event.ConversationKey, from uint32, with ...func(*event.MessageSent)) *event.Event {
	m := &event.MessageSent{Conversation: key[:], From: from, Type: 1, Body: fmt.Appendf(nil, "from %d", from), Session: phone[:]}
	for _, w := range with {
		w(m)
	}
	return &event.Event{At: at, Body: &event.Event_MessageSent{MessageSent: m}}
}

func origin(o event.Origin) func(*event.MessageSent) {
	return func(m *event.MessageSent) { m.Origin = o }
}

func oldKey(b byte) func(*event.MessageSent) {
	return func(m *event.MessageSent) { m.RepeatKey = bytes.Repeat([]byte{b}, 16) }
}

func newKey(b byte) func(*event.MessageSent) {
	return func(m *event.MessageSent) {
		oldKey(b)(m)
		m.ClientMessageId = m.RepeatKey
	}
}

func body(b string) func(*event.MessageSent) {
	return func(m *event.MessageSent) { m.Body = []byte(b) }
}

func read(key event.ConversationKey, user, id uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_ReadAdvanced{ReadAdvanced: &event.ReadAdvanced{
		Conversation: key[:], User: user, MsgId: id, Session: phone[:],
	}}}
}

func remove(key event.ConversationKey, user uint32) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_SessionEntryRemoved{SessionEntryRemoved: &event.SessionEntryRemoved{
		Conversation: key[:], User: user, Session: phone[:],
	}}}
}

func block(key event.ConversationKey, user uint32, blocked bool) *event.Event {
	return &event.Event{At: second(0), Body: &event.Event_BlockChanged{BlockChanged: &event.BlockChanged{
		Conversation: key[:], User: user, Blocked: blocked,
	}}}
}

// text is an effect in short: "id 3", "repeat of 1", "blocked".
func text(e view.Effect) string {
	switch {
	case e.Void == frame.Void_VOID_REPEAT:
		return fmt.Sprintf("repeat of %d", e.FirstID)
	case e.Void != 0:
		return strings.ToLower(strings.TrimPrefix(e.Void.String(), "VOID_"))
	case e.ID != 0:
		return fmt.Sprintf("id %d", e.ID)
	}
	return "done"
}

func TestWhatEventsComeTo(t *testing.T) {
	type step struct {
		ev   *event.Event
		want string
	}
	group := event.Group(7)
	cases := []struct {
		name  string
		steps []step
	}{
		{"ids are dense per conversation", []step{
			{sent(second(0), annBen, ann), "id 1"},
			{sent(second(0), annCleo, ann), "id 1"},
			{sent(second(0), annBen, ben), "id 2"},
			{sent(second(0), annBen, cleo), "not_party"},
			{sent(second(0), annBen, ann), "id 3"},
		}},
		{"who is no party is exempt as the system only", []step{
			{sent(second(0), annBen, cleo, origin(event.Origin_ORIGIN_API)), "not_party"},
			{sent(second(0), annBen, cleo, origin(event.Origin_ORIGIN_SYSTEM)), "id 1"},
			{sent(second(0), annBen, 0, origin(event.Origin_ORIGIN_SYSTEM)), "id 2"},
			{sent(second(0), annBen, 0), "malformed"},
		}},
		{"keys of an impossible form", []step{
			{sent(second(0), event.ConversationKey{'x', 0, 0, 0, 1, 0, 0, 0, 2}, ann), "malformed"},
			{sent(second(0), event.Direct(ann, ann), ann), "malformed"},
			{sent(second(0), annBen, ann, func(m *event.MessageSent) { m.Conversation = m.Conversation[:8] }), "malformed"},
			{read(event.ConversationKey{}, ann, 1), "malformed"},
			{remove(annBen, 0), "malformed"},
		}},
		{"groups have no members yet", []step{
			{sent(second(0), group, ann), "not_party"},
			{sent(second(0), group, ann, origin(event.Origin_ORIGIN_SYSTEM)), "malformed"},
			{read(group, ann, 1), "not_party"},
			{remove(group, ann), "not_party"},
			{block(group, ann, true), "malformed"},
		}},
		{"either party blocks, and only the system passes", []step{
			{sent(second(0), annBen, ann), "id 1"},
			{block(annBen, ben, true), "done"},
			{block(annBen, ben, true), "no_effect"},
			{sent(second(0), annBen, ann), "blocked"},
			{sent(second(0), annBen, ben), "blocked"},
			{sent(second(0), annBen, ann, origin(event.Origin_ORIGIN_API)), "blocked"},
			{sent(second(0), annBen, cleo), "not_party"},
			{sent(second(0), annBen, ann, origin(event.Origin_ORIGIN_SYSTEM)), "id 2"},
			{block(annBen, ann, true), "done"},
			{block(annBen, ben, false), "done"},
			{sent(second(0), annBen, ann), "blocked"},
			{block(annBen, ann, false), "done"},
			{sent(second(0), annBen, ann), "id 3"},
			{block(annBen, cleo, true), "not_party"},
		}},
		{"a block before the first message holds", []step{
			{block(annBen, ben, true), "done"},
			{sent(second(0), annBen, ann), "blocked"},
			{remove(annBen, ben), "no_effect"},
			{block(annBen, ben, false), "done"},
			{sent(second(0), annBen, ann), "id 1"},
		}},
		{"a read goes forward only and never beyond the head", []step{
			{read(annBen, ben, 1), "no_effect"},
			{sent(second(0), annBen, ann), "id 1"},
			{sent(second(0), annBen, ann), "id 2"},
			{sent(second(0), annBen, ann), "id 3"},
			{read(annBen, ann, 3), "no_effect"},
			{read(annBen, ben, 2), "id 2"},
			{read(annBen, ben, 2), "no_effect"},
			{read(annBen, ben, 1), "no_effect"},
			{read(annBen, ben, 1000), "id 3"},
			{read(annBen, ben, 1000), "no_effect"},
			{read(annBen, cleo, 1), "not_party"},
		}},
		{"an entry is removed once, until somebody writes", []step{
			{remove(annBen, ben), "no_effect"},
			{sent(second(0), annBen, ann), "id 1"},
			{remove(annBen, ben), "done"},
			{remove(annBen, ben), "no_effect"},
			{sent(second(0), annBen, ann), "id 2"},
			{remove(annBen, ben), "done"},
			{remove(annBen, cleo), "not_party"},
		}},
		{"an old client's repeat is known for two minutes", []step{
			{sent(second(0), annBen, ann, oldKey(1)), "id 1"},
			{sent(second(120), annBen, ann, oldKey(1)), "repeat of 1"},
			{sent(second(120), annCleo, ann, oldKey(1)), "id 1"},
			{sent(second(120.001), annBen, ann, oldKey(1)), "id 2"},
			{sent(second(121), annBen, ann, oldKey(1)), "repeat of 2"},
			{sent(second(60), annBen, ann, oldKey(1)), "repeat of 1"},
			{sent(second(-120), annBen, ann, oldKey(1)), "repeat of 1"},
			{sent(second(-120.001), annBen, ann, oldKey(1)), "id 3"},
		}},
		{"over midnight too", []step{
			{sent(second(2*3600-1), annBen, ann, oldKey(1)), "id 1"},
			{sent(second(2*3600+100), annBen, ann, oldKey(1)), "repeat of 1"},
			{sent(second(2*3600+119.001), annBen, ann, oldKey(1)), "id 2"},
		}},
		{"a new client's repeat is known for seven days", []step{
			{sent(day(0), annBen, ann, newKey(1)), "id 1"},
			{sent(day(7), annBen, ann, newKey(1)), "repeat of 1"},
			{sent(day(7)+1, annBen, ann, newKey(1)), "id 2"},
			{sent(day(7)+2, annBen, ann, newKey(1)), "repeat of 2"},
			{sent(day(3), annBen, ann, newKey(1)), "repeat of 1"},
		}},
		{"a void message is no first one", []step{
			{block(annBen, ben, true), "done"},
			{sent(second(0), annBen, ann, oldKey(1)), "blocked"},
			{block(annBen, ben, false), "done"},
			{sent(second(1), annBen, ann, oldKey(1)), "id 1"},
			{sent(second(2), annBen, ann, oldKey(1)), "repeat of 1"},
		}},
		{"keys of another length are none", []step{
			{sent(second(0), annBen, ann, func(m *event.MessageSent) { m.RepeatKey = []byte("short") }), "id 1"},
			{sent(second(0), annBen, ann, func(m *event.MessageSent) { m.RepeatKey = []byte("short") }), "id 2"},
			{sent(second(0), annBen, ann), "id 3"},
			{sent(second(0), annBen, ann), "id 4"},
		}},
		{"times out of all bounds are cut, not trusted", []step{
			{sent(math.MinInt64, annBen, ann, oldKey(1)), "id 1"},
			{sent(0, annBen, ann, oldKey(1)), "repeat of 1"},
			{sent(math.MaxInt64, annBen, ann, oldKey(2)), "id 2"},
			{sent(math.MaxInt64-1, annBen, ann, oldKey(2)), "repeat of 2"},
		}},
		{"the index forgets by the fold clock", []step{
			{sent(day(0), annBen, ann, newKey(1)), "id 1"},
			{sent(day(9), annBen, ann), "id 2"},
			{sent(day(0), annBen, ann, newKey(1)), "id 3"},
			{sent(day(0), annBen, ann, newKey(1)), "id 4"},
			{sent(day(1), annBen, ann, newKey(1)), "id 5"},
			{sent(day(2), annBen, ann, newKey(1)), "repeat of 5"},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := new(projectiontest.Log)
			for _, s := range c.steps {
				l.Append(writer, s.ev)
			}
			_, applied := projectiontest.Fold(t, New(0), l.Records)
			for i, a := range applied {
				if got := text(a.Effects[0]); got != c.steps[i].want {
					t.Errorf("step %d: %s, want %s", i+1, got, c.steps[i].want)
				}
			}
		})
	}
}

// asking answers questions in the newest committed state.
func asking(t projectiontest.TB, v *view.View, q *query.Request) (a *query.Answer) {
	t.Helper()
	err := v.Read(func(r *view.Reader) error {
		a = New(0).Answer(r, q)
		return nil
	})
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if a.Code != query.Code_CODE_OK {
		t.Fatalf("answer: %v", a)
	}
	return a
}

func askLists(t projectiontest.TB, v *view.View, q *query.Lists) (out []string) {
	t.Helper()
	a := asking(t, v, &query.Request{Body: &query.Request_Lists{Lists: q}})
	for _, e := range a.GetLists().GetEntries() {
		key, _ := event.ParseConversation(e.Conversation)
		out = append(out, fmt.Sprintf("%s head %d cursor %d: %d %q", key, e.Head, e.Cursor, e.Latest.GetId(), e.Latest.GetBody()))
	}
	return out
}

func askHistory(t projectiontest.TB, v *view.View, q *query.History) (out []uint32) {
	t.Helper()
	a := asking(t, v, &query.Request{Body: &query.Request_History{History: q}})
	for _, m := range a.GetMessages().GetMessages() {
		out = append(out, m.Id)
	}
	return out
}

func same[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%v\nwant\n%v", what, got, want)
	}
}

func TestListsShowWhatAClientNeeds(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(0), annBen, ann, body("one")), sent(second(1000), annCleo, cleo, body("two")))
	l.Append(writer, sent(second(1000), annBen, ben, body("three"), origin(event.Origin_ORIGIN_API)))
	v, _ := projectiontest.Fold(t, New(0), l.Records)

	same(t, "of ann", askLists(t, v, &query.Lists{User: ann}), []string{
		`d-1-2 head 2 cursor 1: 2 "three"`, `d-1-3 head 1 cursor 0: 1 "two"`,
	})
	same(t, "of ben, whose API message moved no cursor", askLists(t, v, &query.Lists{User: ben}), []string{`d-1-2 head 2 cursor 0: 2 "three"`})
	same(t, "of cleo", askLists(t, v, &query.Lists{User: cleo}), []string{`d-1-3 head 1 cursor 1: 1 "two"`})
	same(t, "unread of cleo", askLists(t, v, &query.Lists{User: cleo, UnreadOnly: true}), nil)
	same(t, "of nobody", askLists(t, v, &query.Lists{User: 9}), nil)
	same(t, "the newest of ann", askLists(t, v, &query.Lists{User: ann, Limit: 1}), []string{`d-1-2 head 2 cursor 1: 2 "three"`})

	at := len(l.Records)
	l.Append(writer, sent(second(2000), annCleo, cleo, body("four")), read(annBen, ann, 2), remove(annBen, ben))
	projectiontest.Apply(t, v, l.Records[at:])
	projectiontest.Commit(t, v)
	same(t, "newest first", askLists(t, v, &query.Lists{User: ann}), []string{
		`d-1-3 head 2 cursor 0: 2 "four"`, `d-1-2 head 2 cursor 2: 2 "three"`,
	})
	same(t, "unread of ann", askLists(t, v, &query.Lists{User: ann, UnreadOnly: true}), []string{`d-1-3 head 2 cursor 0: 2 "four"`})
	same(t, "removed by ben", askLists(t, v, &query.Lists{User: ben}), nil)

	newest := uint32(second(2000) / 1000)
	same(t, "since the newest", askLists(t, v, &query.Lists{User: ann, Since: newest}), []string{`d-1-3 head 2 cursor 0: 2 "four"`})
	older := uint32(second(1000) / 1000)
	for since, rows := range map[uint32]int{older + SinceMargin: 2, older + SinceMargin + 1: 1, 10: 2} {
		if got := askLists(t, v, &query.Lists{User: ann, Since: since}); len(got) != rows {
			t.Errorf("since %d: %v, want %d", since, got, rows)
		}
	}

	at = len(l.Records)
	l.Append(writer, sent(second(2001), annBen, ann, body("five")))
	projectiontest.Apply(t, v, l.Records[at:])
	projectiontest.Commit(t, v)
	same(t, "ben's entry is back, its unread gone with the removal", askLists(t, v, &query.Lists{User: ben}), []string{`d-1-2 head 3 cursor 2: 3 "five"`})
}

func TestListsNeverRunBackInTime(t *testing.T) {
	l := new(projectiontest.Log)
	l.Append(writer, sent(second(5000), annBen, ann), sent(second(0), annCleo, ann))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	a := asking(t, v, &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{User: ann}}})
	for _, e := range a.GetLists().Entries {
		if e.Updated != uint32(second(5000)/1000) {
			t.Errorf("updated %d", e.Updated)
		}
	}
}

func TestListsStayBelowTheSizeOfAnAnswer(t *testing.T) {
	l := new(projectiontest.Log)
	for user := uint32(2); user <= 12; user++ {
		l.Append(writer, sent(second(float64(user)), event.Direct(ann, user), user, body(strings.Repeat("x", 100_000))))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	a := asking(t, v, &query.Request{Body: &query.Request_Lists{Lists: &query.Lists{User: ann}}})
	if n := proto.Size(a); n > MaxBytes+10_000 || len(a.GetLists().Entries) != 11 {
		t.Errorf("%d bytes, %d entries", n, len(a.GetLists().Entries))
	}
	for i, e := range a.GetLists().Entries {
		if whole := len(e.Latest.Body) == 100_000; whole != (i < 5) || e.Latest.Id != 1 {
			t.Errorf("entry %d: body of %d bytes, id %d", i, len(e.Latest.Body), e.Latest.Id)
		}
	}
}

func TestHistoryGoesBackFromTheNewest(t *testing.T) {
	l := new(projectiontest.Log)
	for i := range 9 {
		l.Append(writer, sent(second(float64(i)), annBen, ann, body(strings.Repeat("x", 100))),
			sent(second(float64(i)), annCleo, cleo))
	}
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	for _, c := range []struct {
		name string
		q    *query.History
		want []uint32
	}{
		{"the newest", &query.History{User: ben, Count: 3}, []uint32{9, 8, 7}},
		{"from an id", &query.History{User: ben, Begin: 4, Count: 2}, []uint32{4, 3}},
		{"to the beginning", &query.History{User: ben, Begin: 2, Count: 100}, []uint32{2, 1}},
		{"from beyond the head", &query.History{User: ann, Begin: 4000, Count: 1}, []uint32{9}},
		{"as many bytes", &query.History{User: ann, Count: 9, MaxBytes: 250}, []uint32{9, 8}},
		{"at least one", &query.History{User: ann, Count: 9, MaxBytes: 1}, []uint32{9}},
		{"none", &query.History{User: ann}, nil},
		{"by somebody else", &query.History{User: cleo, Count: 3}, nil},
		{"by nobody", &query.History{Count: 3}, nil},
	} {
		c.q.Conversation = annBen[:]
		same(t, c.name, askHistory(t, v, c.q), c.want)
	}
	strangers := event.Direct(ben, cleo)
	same(t, "of nothing", askHistory(t, v, &query.History{Conversation: strangers[:], User: ben, Count: 9}), nil)
	same(t, "of no key", askHistory(t, v, &query.History{Conversation: []byte("d"), User: ben, Count: 9}), nil)
}

func TestMessagesByIdAndHead(t *testing.T) {
	l := new(projectiontest.Log)
	for range 5 {
		l.Append(writer, sent(second(7), annBen, ann))
	}
	l.Append(writer, read(annBen, ben, 2))
	v, _ := projectiontest.Fold(t, New(0), l.Records)
	ids := func(user uint32, ids ...uint32) (out []uint32) {
		a := asking(t, v, &query.Request{Body: &query.Request_ByIds{ByIds: &query.ByIds{Conversation: annBen[:], User: user, Ids: ids}}})
		for _, m := range a.GetMessages().GetMessages() {
			if m.From != ann || m.Created != uint32(second(7)/1000) || m.Type != 1 || string(m.Body) != "from 1" {
				t.Errorf("message %v", m)
			}
			out = append(out, m.Id)
		}
		return out
	}
	same(t, "newest first, once, those that exist", ids(ben, 2, 5, 2, 0, 9, 4), []uint32{5, 4, 2})
	same(t, "a stranger's", ids(cleo, 1), nil)
	many := make([]uint32, MaxIds, MaxIds+1)
	same(t, "beyond the limit", ids(ben, append(many, 1)...), nil)

	head := func(user uint32) [2]uint32 {
		h := asking(t, v, &query.Request{Body: &query.Request_Head{Head: &query.Head{Conversation: annBen[:], User: user}}}).GetHead()
		return [2]uint32{h.Head, h.Cursor}
	}
	same(t, "heads", []([2]uint32){head(ann), head(ben), head(cleo)}, []([2]uint32){{5, 5}, {5, 2}, {0, 0}})
}

func TestOtherQuestionsAreRefused(t *testing.T) {
	v, _ := projectiontest.Fold(t, New(3), nil)
	err := v.Read(func(r *view.Reader) error {
		a := New(3).Answer(r, &query.Request{Body: &query.Request_Lives{}})
		if a.Code != query.Code_CODE_BAD_REQUEST || a.At[0].Stream != uint32(event.ConversationStream(3)) {
			t.Errorf("%v", a)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecallTellsWhatWasToldLive compares the deliveries of a drawn log with what
// the effects bucket gives back.
func TestRecallTellsWhatWasToldLive(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		l := projectiontest.Generate(t, drawEvent, 20)
		n++
		v, err := view.Open(view.Config{Dir: root, Fold: New(n), Log: projectiontest.LogID})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Abandon()
		applied := projectiontest.Apply(t, v, l.Records)
		projectiontest.Commit(t, v)
		err = v.Read(func(r *view.Reader) error {
			for row, err := range r.Effects(0, r.Sequence()) {
				if err != nil {
					return err
				}
				for i, e := range row.Events {
					live := &applied[row.Sequence-1].Effects[i]
					all, concern := Deliveries(r, row.Sequence, i, e), StoredConcern(e)
					if len(live.Deliveries) == 0 {
						if len(all) > 0 || !concern.None() {
							t.Fatalf("recalled %v for nothing", all)
						}
						continue
					}
					if live.Deliveries[0].GetFileOffer() != nil && len(all) == 0 {
						continue // it was removed, and may be offered again by now
					}
					if len(all) != len(live.Deliveries) {
						t.Fatalf("recalled %v, told %v", all, live.Deliveries)
					}
					for k, d := range live.Deliveries {
						if got, want := concern.Of(all[k]), ConcernOf(live, d); got != want || want.None() {
							t.Fatalf("concerns %+v, live %+v", got, want)
						}
						asItIs(d, all[k])
						if !proto.Equal(d, all[k]) {
							t.Fatalf("recalled %v, told %v", all[k], d)
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// asItIs brings a delivery to what it is by now, as far as it may have changed since.
func asItIs(was, is *frame.Delivery) {
	switch b := was.Body.(type) {
	case *frame.Delivery_Message:
		if m := is.GetMessage(); m.GetRecalled() || m.GetEdits() > b.Message.Edits {
			b.Message.Recalled, b.Message.Edits, b.Message.Body = m.Recalled, m.Edits, m.Body
		}
	case *frame.Delivery_MessageChange:
		if m := is.GetMessageChange(); m.GetRecalled() || m.GetEdits() > b.MessageChange.Edits {
			b.MessageChange.Recalled, b.MessageChange.Edits, b.MessageChange.Body = m.Recalled, m.Edits, m.Body
		}
	case *frame.Delivery_Read:
		b.Read.MsgId = max(b.Read.MsgId, is.GetRead().GetMsgId())
	case *frame.Delivery_Receipt:
		b.Receipt.MsgId = max(b.Receipt.MsgId, is.GetReceipt().GetMsgId())
	case *frame.Delivery_BlockChange:
		b.BlockChange.Blocked = is.GetBlockChange().GetBlocked()
	}
}
